//! The frames that wait for one busy port, bounded in number and in bytes.
//!
//! Theory of operation. The queue is a list of batches ("segments") of the same layout as the one the frames were
//! copied from, so that it leaves the way it would have left at once: a whole segment in one gather list. Segments are
//! made as they are needed and one empty one is kept, so a queue that comes and goes does not allocate, and a port
//! that is never busy has no memory at all.

use crate::frame::{Batch, Frame, Outgoing};
use crate::limits::{PREFIX, QUEUE_BYTES, QUEUE_SEGMENT};
use std::collections::VecDeque;

/// A bounded queue of frames. See the head of the file.
pub struct Queue {
    segments: VecDeque<Batch>,
    spare: Option<Batch>,
    /// Frames of the first segment that have left.
    gone: usize,
    frames: usize,
    bytes: usize,
    limit: usize,
}

impl Queue {
    /// A queue of at most `limit` frames and [`QUEUE_BYTES`] bytes.
    pub fn new(limit: usize) -> Self {
        Self { segments: VecDeque::new(), spare: None, gone: 0, frames: 0, bytes: 0, limit }
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// A quarter of it is taken: those who fill it should pause.
    pub fn is_above_mark(&self) -> bool {
        self.frames > self.limit / 4 || self.bytes > QUEUE_BYTES / 4
    }

    /// An eighth of it is taken at most: those who paused may go on.
    pub fn is_low(&self) -> bool {
        self.frames <= self.limit / 8 && self.bytes <= QUEUE_BYTES / 8
    }

    /// Copies a frame to the end. False when the queue is full.
    pub fn push(&mut self, frame: &Frame, bytes: &[u8]) -> bool {
        if self.frames >= self.limit || self.bytes + bytes.len() > QUEUE_BYTES.max(bytes.len()) {
            return false;
        }
        let there = self.segments.back_mut().is_some_and(|last| last.push(bytes, frame.ingress, frame.offload));
        if !there {
            let mut segment = self.segment_for(bytes.len());
            if !segment.push(bytes, frame.ingress, frame.offload) {
                return false;
            }
            self.segments.push_back(segment);
        }
        self.frames += 1;
        self.bytes += bytes.len();
        true
    }

    fn segment_for(&mut self, len: usize) -> Batch {
        match self.spare.take() {
            Some(spare) if spare.free() >= len + PREFIX => spare,
            _ => Batch::new(QUEUE_SEGMENT.max(len + PREFIX)),
        }
    }

    /// The oldest frames, as many as lie in one segment.
    pub fn front(&self) -> Option<Outgoing<'_>> {
        self.segments.front().map(|segment| Outgoing::rest_of(segment, self.gone))
    }

    /// Forgets the `count` oldest frames, which were all in [`Queue::front`].
    pub fn advance(&mut self, count: usize) {
        let Some(segment) = self.segments.front() else { return };
        let leaving = Outgoing::rest_of(segment, self.gone);
        let count = count.min(leaving.len());
        self.bytes -= (0..count).map(|position| leaving.frame(position).len()).sum::<usize>();
        self.frames -= count;
        self.gone += count;
        if self.gone == segment.len() {
            self.gone = 0;
            if let Some(mut empty) = self.segments.pop_front() {
                empty.clear();
                self.spare = Some(empty);
            }
        }
    }

    /// Forgets all frames and gives the memory back. Returns how many there were.
    pub fn clear(&mut self) -> usize {
        let waiting = self.frames;
        *self = Self::new(self.limit);
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;
    use crate::wire::Offload;

    fn push(queue: &mut Queue, len: usize, fill: u8) -> bool {
        let mut batch = Batch::new(len + PREFIX);
        assert!(batch.push(&vec![fill; len], PortId(1), Offload::NONE));
        queue.push(&batch.frames()[0], &vec![fill; len])
    }

    #[test]
    fn frames_leave_in_order_across_segments() {
        let mut queue = Queue::new(1000);
        for number in 0..200_u8 {
            assert!(push(&mut queue, 1000, number));
        }
        let mut next = 0;
        while let Some(out) = queue.front() {
            let take = out.len().min(7);
            for position in 0..take {
                assert_eq!(out.bytes(position), [next; 1000]);
                next += 1;
            }
            queue.advance(take);
        }
        assert_eq!((next, queue.len(), queue.bytes), (200, 0, 0));
    }

    #[test]
    fn both_bounds_hold() {
        let mut queue = Queue::new(3);
        assert!((0..3).all(|_| push(&mut queue, 20, 0)));
        assert!(!push(&mut queue, 20, 0));
        assert_eq!(queue.clear(), 3);
        let mut queue = Queue::new(10_000);
        let taken = (0..10_000).take_while(|_| push(&mut queue, 60_000, 0)).count();
        assert_eq!(taken, QUEUE_BYTES / 60_000);
        assert!(queue.is_above_mark() && !queue.is_low());
    }
}
