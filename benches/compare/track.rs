//! What became of numbered frames: which are missing, which came twice, which came late.
//!
//! A sender numbers its frames from 0. As long as the next number is the expected one, nothing is remembered. A jump
//! forward leaves a hole; a number from a hole is a frame that was overtaken, any other number below the expected one
//! is a frame that came twice. What is left in holes at the end, and behind the last number, is lost.

use std::collections::BTreeMap;

/// The frames of one sender as one receiver saw them.
#[derive(Default, Debug)]
pub struct Track {
    next: u64,
    /// Missing numbers: first to one behind the last.
    holes: BTreeMap<u64, u64>,
    seen: u64,
    /// Frames that came after one with a higher number.
    pub reordered: u64,
    /// Frames that had come before.
    pub doubled: u64,
}

impl Track {
    /// Notes that frame `number` has come.
    #[inline]
    pub fn saw(&mut self, number: u64) {
        if number == self.next {
            self.next += 1;
            self.seen += 1;
        } else {
            self.saw_odd(number);
        }
    }

    #[cold]
    fn saw_odd(&mut self, number: u64) {
        if number > self.next {
            self.holes.insert(self.next, number);
            self.next = number + 1;
            self.seen += 1;
            return;
        }
        let hole = self.holes.range(..=number).next_back().map(|(&first, &end)| (first, end));
        let Some((first, end)) = hole.filter(|&(_, end)| number < end) else {
            self.doubled += 1;
            return;
        };
        self.holes.remove(&first);
        if first < number {
            self.holes.insert(first, number);
        }
        if number + 1 < end {
            self.holes.insert(number + 1, end);
        }
        self.reordered += 1;
        self.seen += 1;
    }

    /// Different frames that have come.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}
