//! The frames that wait for one busy port, bounded in number and in bytes.
//!
//! The bound in bytes holds for all sources. The bound in number is for sources that go on sending; a source that is
//! paused for this very port adds only frames that it had sent before, which are taken.
//!
//! Theory of operation. The queue is a list of batches ("segments") of the same layout as the one the frames were
//! copied from, so that it is sent as they would have been: a whole segment in one gather list. Segments come from the
//! switch's [`Memory`] and go back there, so queues that come and go do not allocate, and a port for which nothing
//! waits has no memory at all. What the queues of a switch may hold together is bounded there too, and a queue's marks
//! shrink with its share of that.

use super::memory::{Memory, cost};
use crate::counters::DropReason;
use crate::frame::{Batch, Frame, Outgoing};
use crate::limits::{PREFIX, QUEUE_BYTES};
use std::collections::VecDeque;

/// Frames that would wait beside those that do: their number, bytes and cost.
#[derive(Clone, Copy, Default, Debug)]
pub struct Waiting {
    pub frames: usize,
    pub bytes: usize,
    pub cost: usize,
}

impl Waiting {
    /// One frame more.
    pub fn add(&mut self, len: usize) {
        self.frames += 1;
        self.bytes += len;
        self.cost += cost(len);
    }
}

/// A bounded queue of frames. See the head of the file.
pub struct Queue {
    segments: VecDeque<Batch>,
    /// Frames of the first segment that have left.
    gone: usize,
    frames: usize,
    bytes: usize,
    /// What it costs of the memory of all queues.
    cost: usize,
    limit: usize,
}

impl Queue {
    /// At most so many frames wait from now on; those that wait stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// A queue of at most `limit` frames and [`QUEUE_BYTES`] bytes.
    pub fn new(limit: usize) -> Self {
        Self { segments: VecDeque::new(), gone: 0, frames: 0, bytes: 0, cost: 0, limit }
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// The bytes that it may have at present.
    fn share(&self, memory: &Memory) -> usize {
        QUEUE_BYTES.min(memory.share(self.cost))
    }

    /// The high-water mark, a quarter: its sources should pause.
    pub fn is_above_mark(&self, memory: &Memory) -> bool {
        self.frames > self.limit / 4 || self.bytes > self.share(memory) / 4
    }

    /// The low-water mark, an eighth: paused sources may go on.
    pub fn is_low(&self, memory: &Memory) -> bool {
        self.frames <= self.limit / 8 && self.bytes <= self.share(memory) / 8
    }

    /// It has as many frames as its limit, with `more` than wait now.
    pub fn is_full(&self, more: &Waiting) -> bool {
        self.frames + more.frames >= self.limit
    }

    /// Why a frame of `len` bytes cannot wait, whatever the limit of frames, behind `more` than does now.
    #[inline]
    pub fn refuses(&self, len: usize, more: &Waiting, memory: &Memory) -> Option<DropReason> {
        if self.bytes + more.bytes + len > QUEUE_BYTES {
            return Some(DropReason::QueueFull);
        }
        (self.cost + more.cost + cost(len) > memory.free().saturating_sub(more.cost)).then_some(DropReason::QueuesFull)
    }

    /// Copies a frame to the end, even above the limit of frames.
    ///
    /// # Errors
    /// Why it cannot wait: the queue, or all of the switch together, would have more bytes than they may, or the system
    /// has no memory.
    pub fn push(&mut self, frame: &Frame, bytes: &[u8], memory: &mut Memory) -> Result<(), DropReason> {
        match self.refuses(bytes.len(), &Waiting::default(), memory) {
            Some(reason) => Err(reason),
            None => self.put(frame, bytes, memory),
        }
    }

    /// Copies a partly sent frame into an empty queue, even above the limit of all queues, which may be exceeded by one
    /// frame for each such port.
    ///
    /// # Errors
    /// The system has no memory.
    pub fn push_begun(&mut self, frame: &Frame, bytes: &[u8], memory: &mut Memory) -> Result<(), DropReason> {
        self.put(frame, bytes, memory)
    }

    /// Copies a frame to the end, for which there is room.
    ///
    /// # Errors
    /// The system has no memory.
    pub fn put(&mut self, frame: &Frame, bytes: &[u8], memory: &mut Memory) -> Result<(), DropReason> {
        let there = self.segments.back_mut().is_some_and(|last| last.push(bytes, frame.ingress, frame.offload));
        if !there {
            let first = self.segments.is_empty();
            let mut segment = memory.take(first, PREFIX + bytes.len()).ok_or(DropReason::System)?;
            if !segment.push(bytes, frame.ingress, frame.offload) {
                return Err(DropReason::QueueFull);
            }
            self.segments.push_back(segment);
        }
        self.frames += 1;
        self.bytes += bytes.len();
        self.set_cost(self.cost + cost(bytes.len()), memory);
        Ok(())
    }

    /// The oldest frames, as many as lie in one segment.
    pub fn front(&self) -> Option<Outgoing<'_>> {
        self.segments.front().map(|segment| Outgoing::rest_of(segment, self.gone))
    }

    /// Forgets the `count` oldest frames, which were all in [`Queue::front`]. Returns how many bytes they had.
    pub fn advance(&mut self, count: usize, memory: &mut Memory) -> usize {
        let Some(segment) = self.segments.front() else { return 0 };
        let leaving = Outgoing::rest_of(segment, self.gone);
        let count = count.min(leaving.len());
        let bytes = (0..count).map(|position| leaving.frame(position).len()).sum::<usize>();
        let cost = bytes + count * cost(0);
        self.bytes -= bytes;
        self.frames -= count;
        self.gone += count;
        let all = self.gone == segment.len();
        self.set_cost(self.cost - cost, memory);
        if all {
            self.gone = 0;
            if let Some(empty) = self.segments.pop_front() {
                memory.give(empty);
            }
        }
        bytes
    }

    /// Drops the newest frames until it costs `most` at most, but never the oldest, which may be partly sent. Returns
    /// how many; each is shown to `lose` first.
    pub fn cut(&mut self, most: usize, memory: &mut Memory, mut lose: impl FnMut(&Frame, &[u8])) -> usize {
        let before = self.frames;
        let mut cost = self.cost;
        while cost > most && self.frames > 1 {
            let Some(last) = self.segments.back_mut() else { break };
            if let Some(frame) = last.frames().last() {
                lose(frame, last.bytes(frame));
            }
            let bytes = last.pop().unwrap_or_default();
            self.frames -= 1;
            self.bytes -= bytes;
            cost -= super::memory::cost(bytes);
            if last.is_empty() {
                self.segments.pop_back().into_iter().for_each(|empty| memory.give(empty));
            }
        }
        self.set_cost(cost, memory);
        before - self.frames
    }

    fn set_cost(&mut self, cost: usize, memory: &mut Memory) {
        memory.hold(self.cost, cost);
        self.cost = cost;
    }

    /// What it costs of the memory of all queues.
    pub fn cost(&self) -> usize {
        self.cost
    }

    /// Every frame that waits, the oldest first.
    pub fn frames(&self) -> impl Iterator<Item = (&Frame, &[u8])> {
        let first = self.front().into_iter();
        first
            .chain(self.segments.iter().skip(1).map(|segment| Outgoing::rest_of(segment, 0)))
            .flat_map(Outgoing::frames)
    }

    /// Forgets all frames. Returns how many there were.
    pub fn clear(&mut self, memory: &mut Memory) -> usize {
        let waiting = self.frames;
        self.set_cost(0, memory);
        self.segments.drain(..).for_each(|segment| memory.give(segment));
        *self = Self::new(self.limit);
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;
    use crate::limits::{MAX_FRAME, QUEUE_LIMIT, SPARE_FIRST_SEGMENTS, SPARE_SEGMENTS};
    use crate::wire::Offload;

    fn push(queue: &mut Queue, memory: &mut Memory, len: usize, fill: u8) -> Result<(), DropReason> {
        let mut batch = Batch::new(len + PREFIX);
        assert!(batch.push(&vec![fill; len], PortId(1), Offload::NONE));
        queue.push(&batch.frames()[0], &vec![fill; len], memory)
    }

    /// Pushes frames of `len` bytes until one is refused: how many were taken, and why the last was not.
    fn fill(queue: &mut Queue, memory: &mut Memory, len: usize) -> (usize, DropReason) {
        let mut taken = 0;
        loop {
            match push(queue, memory, len, 0) {
                Ok(()) => taken += 1,
                Err(reason) => return (taken, reason),
            }
        }
    }

    #[test]
    fn frames_leave_in_order_across_segments() {
        let (mut queue, mut memory) = (Queue::new(1000), Memory::new(QUEUE_LIMIT));
        for number in 0..200_u8 {
            assert_eq!(push(&mut queue, &mut memory, 1000, number), Ok(()));
        }
        let mut next = 0;
        while let Some(out) = queue.front() {
            let take = out.len().min(7);
            for position in 0..take {
                assert_eq!(out.bytes(position), [next; 1000]);
                next += 1;
            }
            queue.advance(take, &mut memory);
        }
        assert_eq!((next, queue.len(), queue.bytes, memory.free()), (200, 0, 0, QUEUE_LIMIT));
        // a small one, of four frames, and four of 65
        assert_eq!((queue.segments.len(), memory.spares()), (0, 5));
    }

    #[test]
    fn both_bounds_hold() {
        let (mut queue, mut memory) = (Queue::new(3), Memory::new(QUEUE_LIMIT));
        assert!(
            (0..3).all(|_| !queue.is_full(&Waiting::default()) && push(&mut queue, &mut memory, MAX_FRAME, 0).is_ok())
        );
        assert!(queue.is_full(&Waiting::default()));
        assert_eq!(queue.clear(&mut memory), 3);
        let mut queue = Queue::new(10_000);
        let (taken, reason) = fill(&mut queue, &mut memory, 60_000);
        assert_eq!((taken, reason), (QUEUE_BYTES / 60_000, DropReason::QueueFull));
        assert!(queue.is_above_mark(&memory) && !queue.is_low(&memory));
        assert_eq!(queue.clear(&mut memory), taken);
        assert_eq!((memory.spares(), memory.free()), (SPARE_SEGMENTS, QUEUE_LIMIT));
    }

    #[test]
    fn what_one_queue_may_have_shrinks_as_the_memory_of_all_fills() {
        const LIMIT: usize = 4 << 20;
        let mut memory = Memory::new(LIMIT);
        let mut queues: Vec<Queue> = (0..4).map(|_| Queue::new(100_000)).collect();
        for (number, queue) in queues.iter_mut().enumerate() {
            let (taken, reason) = fill(queue, &mut memory, 1000);
            assert_eq!(reason, DropReason::QueuesFull);
            assert!((taken * cost(1000)).abs_diff(LIMIT >> (number + 1)) < 2 * cost(1000), "half of what was left");
            assert!(queue.is_above_mark(&memory) && !queue.is_low(&memory), "its marks are in proportion");
        }
        assert_eq!(memory.fair(), LIMIT / 5);
        let held: usize = queues.iter().map(Queue::cost).sum();
        assert_eq!(memory.free(), LIMIT - held);
        for queue in &mut queues {
            queue.clear(&mut memory);
        }
        assert_eq!((memory.free(), memory.fair()), (LIMIT, LIMIT));
    }

    #[test]
    fn the_newest_frames_go_and_the_oldest_stays() {
        let (mut queue, mut memory) = (Queue::new(1000), Memory::new(QUEUE_LIMIT));
        for number in 0..200_u8 {
            assert_eq!(push(&mut queue, &mut memory, 1000, number), Ok(()));
        }
        // four frames are in the first segment
        queue.advance(4, &mut memory);
        queue.advance(6, &mut memory);
        assert_eq!(queue.cut(100 * cost(1000) + 1, &mut memory, |_, bytes| assert!(bytes[0] >= 110)), 90);
        assert_eq!((queue.len(), queue.cost(), QUEUE_LIMIT - memory.free()), (100, 100 * cost(1000), 100 * cost(1000)));
        assert_eq!(push(&mut queue, &mut memory, 1000, 200), Ok(()));
        let mut left = Vec::new();
        while let Some(out) = queue.front() {
            left.extend(out.frames().map(|(_, bytes)| bytes[0]));
            queue.advance(out.len(), &mut memory);
        }
        assert_eq!(left, (10..110).chain([200]).collect::<Vec<u8>>());
        assert_eq!(push(&mut queue, &mut memory, 1000, 1), Ok(()));
        assert_eq!((queue.cut(0, &mut memory, |_, _| ()), queue.len()), (0, 1));
    }

    #[test]
    fn a_thousand_queues_of_one_frame_are_small_and_all_memory_but_the_spares_goes_back() {
        let mut memory = Memory::new(QUEUE_LIMIT);
        let mut queues: Vec<Queue> = (0..1000).map(|_| Queue::new(10)).collect();
        for queue in &mut queues {
            assert_eq!(push(queue, &mut memory, 60, 0), Ok(()));
        }
        let size: usize = queues.iter().flat_map(|queue| &queue.segments).map(Batch::free).sum();
        assert!(size < 1000 * 4096, "{size}");
        for queue in &mut queues {
            queue.clear(&mut memory);
        }
        assert_eq!(memory.spares(), SPARE_FIRST_SEGMENTS);
    }
}
