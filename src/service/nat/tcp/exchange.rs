//! What a sender is told of the guest, what it has to be sent, and how far it has come.

use super::segment::Blocks;
use std::ops::Range;

/// What an acknowledgement was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acked {
    /// Of nothing that was ever sent, or of what was so long ago that no window reaches back to it.
    Invalid,
    /// Of nothing new.
    Nothing,
    /// Of something new.
    Something,
}

/// A segment to be sent, before it has its acknowledgement, window and options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Draft {
    pub seq: u32,
    pub syn: bool,
    pub fin: bool,
    /// Which of the bytes.
    pub range: Range<usize>,
}

impl Draft {
    /// Nothing but an acknowledgement.
    pub fn bare(seq: u32) -> Self {
        Self { seq, syn: false, fin: false, range: 0..0 }
    }
}

/// What a guest announced with a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub seq: u32,
    pub ack: u32,
    /// In bytes, not yet scaled.
    pub window: u16,
    /// It carried nothing else.
    pub bare: bool,
    /// What it holds behind what is missing.
    pub blocks: Blocks,
}

/// How far the half that sends has come; it only ever goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Phase {
    /// The SYN is not acknowledged, or not even sent.
    Opening,
    /// Bytes come from the host.
    Open,
    /// Nothing follows the bytes but a FIN.
    Ending,
    /// The FIN is acknowledged, and all before it.
    Done,
}
