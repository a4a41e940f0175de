//! Types of the sender: an acknowledgement and its verdict, a segment to be sent, and the phase.

use super::segment::Blocks;
use std::ops::Range;

/// The verdict on an acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acked {
    /// It is of numbers never sent, or older than any window (RFC 5961, 5.2).
    Invalid,
    /// Nothing new is acknowledged.
    Nothing,
    /// Something new is acknowledged.
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

/// Acknowledgement and window of a guest's segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub seq: u32,
    pub ack: u32,
    /// In bytes, not yet scaled.
    pub window: u16,
    /// It carried nothing else.
    pub bare: bool,
    /// Its SACK blocks.
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
