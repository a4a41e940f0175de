//! The memory of all queues of a switch: one bound for them together, and the segments that they are made of.
//!
//! Theory of operation. A frame that waits costs its length and [`QUEUE_FRAME_COST`]. What all queues may cost together
//! is the switch's `queue_limit`. How much of it one queue may have shrinks as it fills: never more than what is still
//! free (dynamic thresholds, Choudhury and Hahne 1998, with alpha = 1). So one busy port finds room for a burst, and
//! several leave some to others.
//!
//! That alone would let dead ports hold their queues for ever, each half of the rest. So every queue is entitled to a
//! *fair* share: the limit divided by the number of queues in use plus one. If less is free, the longest queue loses
//! its newest frames (`egress.rs`).
//!
//! Segments come in two sizes: the first of a queue is small, so that thousands of ports with a frame or two each cost
//! little. Empty ones are kept for the next queue, a few; the others go back to the system.
//!
//! The system may have less memory than the bound allows (`RLIMIT_AS`, or no overcommit). A segment that it refuses
//! means a dropped frame. For allocations elsewhere, whose failure would abort, a *reserve* is left: a segment is taken
//! only while the system would give the reserve, too.

use crate::frame::Batch;
use crate::limits::{
    QUEUE_FIRST_SEGMENT, QUEUE_FRAME_COST, QUEUE_RESERVE, QUEUE_SEGMENT, SPARE_FIRST_SEGMENTS, SPARE_SEGMENTS,
};

/// The cost of a queued frame of `len` bytes.
pub const fn cost(len: usize) -> usize {
    len + QUEUE_FRAME_COST
}

/// See the head of the file.
pub struct Memory {
    limit: usize,
    held: usize,
    /// Queues that hold anything.
    holders: usize,
    spare: Vec<Batch>,
    spare_first: Vec<Batch>,
}

impl Memory {
    /// Memory for queues that cost `limit` bytes together at most.
    pub fn new(limit: usize) -> Self {
        Self { limit, held: 0, holders: 0, spare: Vec::new(), spare_first: Vec::new() }
    }

    /// Free bytes.
    pub fn free(&self) -> usize {
        // A partly sent frame that had to be queued may exceed the limit.
        self.limit.saturating_sub(self.held)
    }

    /// The fair share of each queue.
    pub fn fair(&self) -> usize {
        self.limit / (self.holders + 1)
    }

    /// The limit of a queue that costs `cost` now, if no other grows.
    pub fn share(&self, cost: usize) -> usize {
        self.fair().max((self.free() + cost) / 2)
    }

    /// Changes a queue's cost from `before` to `after`. Its growth is free memory.
    pub fn hold(&mut self, before: usize, after: usize) {
        self.held = self.held + after - before;
        self.holders = self.holders + usize::from(after > 0) - usize::from(before > 0);
    }

    /// An empty segment for a frame that takes `needed` bytes with its prefix; of the smaller kind for the `first` of a
    /// queue, if that holds it. `None` when the system has no memory.
    pub fn take(&mut self, first: bool, needed: usize) -> Option<Batch> {
        let (spare, size) = match first && needed <= QUEUE_FIRST_SEGMENT {
            true => (&mut self.spare_first, QUEUE_FIRST_SEGMENT),
            false => (&mut self.spare, QUEUE_SEGMENT),
        };
        if let Some(segment) = spare.pop() {
            return Some(segment);
        }
        let segment = Batch::try_new(size)?;
        Vec::<u8>::new().try_reserve_exact(QUEUE_RESERVE).is_ok().then_some(segment)
    }

    /// Takes a segment back.
    pub fn give(&mut self, mut segment: Batch) {
        segment.clear();
        let (spare, most) = match segment.free() {
            QUEUE_FIRST_SEGMENT => (&mut self.spare_first, SPARE_FIRST_SEGMENTS),
            _ => (&mut self.spare, SPARE_SEGMENTS),
        };
        if spare.len() < most {
            spare.push(segment);
        }
    }

    #[cfg(test)]
    pub fn spares(&self) -> usize {
        self.spare.len() + self.spare_first.len()
    }
}
