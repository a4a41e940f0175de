//! Impairments: what a line of a bad network does to the frames of one direction of a port. Words and meanings are those
//! of Linux's netem (tc-netem(8), net/sched/sch_netem.c), where netem has them.
//!
//! Theory of operation. A [`Line`] belongs to a port and a direction. [`Line::judge`] decides what becomes of a frame when
//! it comes: it is lost, passes, or is held until a time; once or twice; whole or with a flipped bit. [`Line::hold`] keeps a
//! frame, and [`Line::release`] gives those whose time has come. The switch calls them (`bend.rs`); here is neither a clock
//! nor a port.
//!
//! The fate of the Nth frame depends on the seed, the names of port and direction, the settings and the frames before it of
//! the same direction; never on time (but for what a rate, a slot or `limit` make of the moment when it comes), nor on other
//! ports. Its number counts all frames of the direction since the port is there, also those that no setting concerned.

mod dice;
mod distribution;
mod held;
mod line;
mod loss;
mod prospect;

pub(super) use dice::mix;
pub use dice::{Chance, Share};
pub use distribution::Distribution;
pub use line::{Fate, Line, Verdict, flip_bit};
pub use loss::Loss;
pub use prospect::{Prospect, Sure};

use crate::time::Duration;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Frames that a line holds at most, unless said: netem's own.
pub const LIMIT_FRAMES: usize = 1000;

/// A question to a frame's bytes.
pub type Test = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Says of a frame, from its destination address on, whether a setting concerns it.
#[derive(Clone)]
pub struct Matcher {
    /// The words it was made of.
    pub words: Arc<str>,
    /// The test.
    pub holds: Arc<Test>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Matcher {}

impl fmt::Debug for Matcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Matcher({:?})", self.words)
    }
}

/// What becomes of the frames of one direction. The default leaves them as they are.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Impairment {
    /// Only frames with these numbers, from 1 on, are concerned; the others pass.
    pub only: Option<RangeInclusive<u64>>,
    /// Only frames that it holds for are concerned; the others pass.
    pub matches: Option<Matcher>,
    /// Every so-manieth frame that is concerned is lost.
    pub nth: Option<NonZeroU64>,
    /// Losses.
    pub loss: Loss,
    /// Frames that come twice.
    pub duplicate: Chance,
    /// Frames of which one bit is flipped. Their checksums are left as they are.
    pub corrupt: Chance,
    /// How long each is held.
    pub delay: Duration,
    /// The deviation of that.
    pub jitter: Duration,
    /// How much of a delay is that of the frame before.
    pub delay_correlation: Share,
    /// How delays spread.
    pub distribution: Distribution,
    /// Frames that overtake those held.
    pub reorder: Chance,
    /// How many are held between two that may overtake; 0 and 1: any may.
    pub gap: u32,
    /// Bits of frames, from the destination address on, that leave in a second.
    pub rate: Option<NonZeroU64>,
    /// Bytes that leave at once after a rest, whatever the rate.
    pub burst: u64,
    /// Frames that may be held.
    pub limit: usize,
    /// Bytes that may be held.
    pub limit_bytes: Option<usize>,
    /// Frames leave together at times.
    pub slot: Option<Slot>,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            only: None,
            matches: None,
            nth: None,
            loss: Loss::default(),
            duplicate: Chance::default(),
            corrupt: Chance::default(),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            delay_correlation: Share::default(),
            distribution: Distribution::default(),
            reorder: Chance::default(),
            gap: 0,
            rate: None,
            burst: 0,
            limit: LIMIT_FRAMES,
            limit_bytes: None,
            slot: None,
        }
    }
}

impl Impairment {
    /// Whether every frame passes as it is.
    pub fn is_none(&self) -> bool {
        let alters = self.nth.is_some()
            || !self.loss.is_none()
            || !self.duplicate.share.is_none()
            || !self.corrupt.share.is_none();
        !alters && !self.holds()
    }

    /// Whether frames may be held.
    fn holds(&self) -> bool {
        !self.delay.is_zero() || !self.jitter.is_zero() || self.rate.is_some() || self.slot.is_some()
    }
}

/// Frames leave together, as by a medium with turns: the next opens `from` to `to` after the last began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The least time to the next.
    pub from: Duration,
    /// The longest.
    pub to: Duration,
    /// Frames that leave in one.
    pub frames: Option<NonZeroU64>,
    /// Bytes after which it is over.
    pub bytes: Option<NonZeroU64>,
}
