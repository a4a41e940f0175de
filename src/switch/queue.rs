//! The frames that wait for one busy port, bounded in number and in bytes.
//!
//! The bound in bytes holds for everybody. The one in number is for sources that go on sending; one that is paused for
//! this very port can add no more than what it had sent before, which is taken.
//!
//! Theory of operation. The queue is a list of batches ("segments") of the same layout as the one the frames were
//! copied from, so that it leaves the way it would have left at once: a whole segment in one gather list. Segments come
//! from the switch's [`Spares`] and go back there, so queues that come and go do not allocate, and a port for which
//! nothing waits has no memory at all.

use crate::frame::{Batch, Frame, Outgoing};
use crate::limits::{QUEUE_BYTES, QUEUE_SEGMENT, SPARE_SEGMENTS};
use std::collections::VecDeque;

/// Empty segments that wait for their next queue, [`SPARE_SEGMENTS`] at most.
#[derive(Default)]
pub struct Spares(Vec<Batch>);

impl Spares {
    fn take(&mut self) -> Batch {
        self.0.pop().unwrap_or_else(|| Batch::new(QUEUE_SEGMENT))
    }

    fn give(&mut self, mut segment: Batch) {
        if self.0.len() < SPARE_SEGMENTS {
            segment.clear();
            self.0.push(segment);
        }
    }
}

/// A bounded queue of frames. See the head of the file.
pub struct Queue {
    segments: VecDeque<Batch>,
    /// Frames of the first segment that have left.
    gone: usize,
    frames: usize,
    bytes: usize,
    limit: usize,
}

impl Queue {
    /// A queue of at most `limit` frames and [`QUEUE_BYTES`] bytes.
    pub fn new(limit: usize) -> Self {
        Self { segments: VecDeque::new(), gone: 0, frames: 0, bytes: 0, limit }
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

    /// It has as many frames as it is to have.
    pub fn is_full(&self) -> bool {
        self.frames >= self.limit
    }

    /// Copies a frame to the end, also of a full queue. False when it would have more bytes than it may.
    pub fn push(&mut self, frame: &Frame, bytes: &[u8], spares: &mut Spares) -> bool {
        if self.bytes + bytes.len() > QUEUE_BYTES {
            return false;
        }
        let there = self.segments.back_mut().is_some_and(|last| last.push(bytes, frame.ingress, frame.offload));
        if !there {
            let mut segment = spares.take();
            if !segment.push(bytes, frame.ingress, frame.offload) {
                return false;
            }
            self.segments.push_back(segment);
        }
        self.frames += 1;
        self.bytes += bytes.len();
        true
    }

    /// The oldest frames, as many as lie in one segment.
    pub fn front(&self) -> Option<Outgoing<'_>> {
        self.segments.front().map(|segment| Outgoing::rest_of(segment, self.gone))
    }

    /// Forgets the `count` oldest frames, which were all in [`Queue::front`]. Returns how many bytes they had.
    pub fn advance(&mut self, count: usize, spares: &mut Spares) -> usize {
        let Some(segment) = self.segments.front() else { return 0 };
        let leaving = Outgoing::rest_of(segment, self.gone);
        let count = count.min(leaving.len());
        let bytes = (0..count).map(|position| leaving.frame(position).len()).sum::<usize>();
        self.bytes -= bytes;
        self.frames -= count;
        self.gone += count;
        if self.gone == segment.len() {
            self.gone = 0;
            if let Some(empty) = self.segments.pop_front() {
                spares.give(empty);
            }
        }
        bytes
    }

    /// Forgets all frames. Returns how many there were.
    pub fn clear(&mut self, spares: &mut Spares) -> usize {
        let waiting = self.frames;
        self.segments.drain(..).for_each(|segment| spares.give(segment));
        *self = Self::new(self.limit);
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;
    use crate::limits::{MAX_FRAME, PREFIX};
    use crate::wire::Offload;

    fn push(queue: &mut Queue, spares: &mut Spares, len: usize, fill: u8) -> bool {
        let mut batch = Batch::new(len + PREFIX);
        assert!(batch.push(&vec![fill; len], PortId(1), Offload::NONE));
        queue.push(&batch.frames()[0], &vec![fill; len], spares)
    }

    #[test]
    fn frames_leave_in_order_across_segments() {
        let (mut queue, mut spares) = (Queue::new(1000), Spares::default());
        for number in 0..200_u8 {
            assert!(push(&mut queue, &mut spares, 1000, number));
        }
        let mut next = 0;
        while let Some(out) = queue.front() {
            let take = out.len().min(7);
            for position in 0..take {
                assert_eq!(out.bytes(position), [next; 1000]);
                next += 1;
            }
            queue.advance(take, &mut spares);
        }
        assert_eq!((next, queue.len(), queue.bytes), (200, 0, 0));
        assert_eq!((queue.segments.len(), spares.0.len()), (0, 4));
    }

    #[test]
    fn both_bounds_hold() {
        let (mut queue, mut spares) = (Queue::new(3), Spares::default());
        assert!((0..3).all(|_| !queue.is_full() && push(&mut queue, &mut spares, MAX_FRAME, 0)));
        assert!(queue.is_full());
        assert_eq!(queue.clear(&mut spares), 3);
        let mut queue = Queue::new(10_000);
        let taken = (0..10_000).take_while(|_| push(&mut queue, &mut spares, 60_000, 0)).count();
        assert_eq!(taken, QUEUE_BYTES / 60_000);
        assert!(queue.is_above_mark() && !queue.is_low());
        assert_eq!(queue.clear(&mut spares), taken);
        assert_eq!(spares.0.len(), SPARE_SEGMENTS);
    }
}
