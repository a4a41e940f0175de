//! The frames that a line holds, by the time when they leave.
//!
//! Theory of operation. Frames lie in buffers of their own, as each leaves at a time of its own; buffers of frames of the
//! usual length are used again. What they cost is held against the memory of all queues of the switch, which bounds it
//! together with the line's own limits. Frames of one time leave in the order in which they came.
//!
//! Most lines hold each frame as long as the one before. So there is a queue for frames that leave no earlier than the last
//! of it, which costs nothing to keep; only those that overtake are in a heap.

use crate::frame::PortId;
use crate::switch::memory::{Memory, cost};
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Buffers that are kept.
const SPARES: usize = 64;
/// A longer buffer is not kept.
const SPARE_BYTES: usize = 2048;

/// A frame that is held.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    until: Instant,
    number: u64,
    ingress: PortId,
    bytes: Vec<u8>,
}

/// See the head of the file.
#[derive(Default)]
pub struct Held {
    /// In the order in which they leave.
    ordered: VecDeque<Waiting>,
    /// Those that leave before the last of these.
    others: BinaryHeap<Reverse<Waiting>>,
    bytes: usize,
    number: u64,
    /// What it costs of the memory of all queues.
    cost: usize,
    spares: Vec<Vec<u8>>,
}

impl Held {
    /// Frames that are held.
    pub fn len(&self) -> usize {
        self.ordered.len() + self.others.len()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of them leaves.
    pub fn next(&self) -> Option<Instant> {
        self.first().map(|first| first.until)
    }

    /// Holds a copy of a frame, which `alter` may alter. False: the switch has no memory left for it.
    pub fn push(
        &mut self,
        until: Instant,
        ingress: PortId,
        frame: &[u8],
        memory: &mut Memory,
        alter: impl FnOnce(&mut [u8]),
    ) -> bool {
        if cost(frame.len()) > memory.free() {
            return false;
        }
        let mut bytes = self.spares.pop().unwrap_or_default();
        if bytes.try_reserve(frame.len()).is_err() {
            return false;
        }
        bytes.extend_from_slice(frame);
        alter(&mut bytes);
        self.bytes += frame.len();
        self.set_cost(self.cost + cost(frame.len()), memory);
        let waiting = Waiting { until, number: self.number, ingress, bytes };
        match self.ordered.back() {
            Some(last) if last.until > until => self.others.push(Reverse(waiting)),
            _ => self.ordered.push_back(waiting),
        }
        self.number += 1;
        true
    }

    /// Hands the first frame to `take` with the port that it came in by, and forgets it if that took it.
    pub fn pop(&mut self, memory: &mut Memory, take: impl FnOnce(PortId, &[u8]) -> bool) -> Option<usize> {
        let first = self.first()?;
        if !take(first.ingress, &first.bytes) {
            return None;
        }
        let mut gone = self.take_first()?;
        let len = gone.bytes.len();
        self.bytes -= len;
        self.set_cost(self.cost - cost(len), memory);
        if self.spares.len() < SPARES && gone.bytes.capacity() <= SPARE_BYTES {
            gone.bytes.clear();
            self.spares.push(gone.bytes);
        }
        Some(len)
    }

    /// Every frame that is held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (PortId, &[u8])> {
        let others = self.others.iter().map(|Reverse(frame)| frame);
        self.ordered.iter().chain(others).map(|frame| (frame.ingress, frame.bytes.as_slice()))
    }

    /// Forgets all. Returns how many there were.
    pub fn clear(&mut self, memory: &mut Memory) -> usize {
        let held = self.len();
        self.set_cost(0, memory);
        (self.ordered, self.others, self.bytes) = (VecDeque::new(), BinaryHeap::new(), 0);
        held
    }

    /// Who leaves first. Both have theirs at the front.
    fn first(&self) -> Option<&Waiting> {
        match (self.ordered.front(), self.others.peek()) {
            (Some(one), Some(Reverse(other))) => Some(one.min(other)),
            (one, other) => one.or(other.map(|Reverse(other)| other)),
        }
    }

    fn take_first(&mut self) -> Option<Waiting> {
        match (self.ordered.front(), self.others.peek()) {
            (Some(one), Some(Reverse(other))) if other < one => self.others.pop().map(|Reverse(other)| other),
            (None, _) => self.others.pop().map(|Reverse(other)| other),
            _ => self.ordered.pop_front(),
        }
    }

    fn set_cost(&mut self, cost: usize, memory: &mut Memory) {
        memory.hold(self.cost, cost);
        self.cost = cost;
    }
}
