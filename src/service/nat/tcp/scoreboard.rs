//! SACK scoreboard: ranges that the guest has received beyond its cumulative acknowledgement (RFC 2018; RFC 6675).
//!
//! Ranges of numbers, sorted and apart. The caller sees to it that all lie between the acknowledged and the sent
//! numbers.

use super::segment::before;

/// Ranges that are remembered. Bytes beyond them may be sent twice.
const RANGES: usize = 64;
/// So many segments, or ranges, received behind a missing one mean that it is lost (RFC 6675, 2: DupThresh).
pub(super) const DUPLICATES: u8 = 3;

/// See the module. A range is its first number, and the one behind its last.
#[derive(Default)]
pub(super) struct Scoreboard(Vec<(u32, u32)>);

impl Scoreboard {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The guest holds `from..to`.
    pub fn add(&mut self, mut from: u32, mut to: u32) {
        let first = self.0.partition_point(|&(_, end)| before(end, from));
        let behind = self.0.partition_point(|&(start, _)| !before(to, start));
        if let Some(joined @ [(start, _), ..]) = self.0.get(first..behind) {
            from = if before(*start, from) { *start } else { from };
            to = joined.last().map(|&(_, end)| end).filter(|&end| before(to, end)).unwrap_or(to);
        } else if self.0.len() >= RANGES {
            return;
        }
        self.0.splice(first..behind, [(from, to)]);
    }

    /// The guest has acknowledged all before `una`.
    pub fn advance(&mut self, una: u32) {
        let gone = self.0.partition_point(|&(_, end)| !before(una, end));
        self.0.drain(..gone);
        if let Some((start, _)) = self.0.first_mut()
            && before(*start, una)
        {
            *start = una;
        }
    }

    /// Forgets all ranges: a guest may discard bytes that it has reported (RFC 2018, 8).
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// How many numbers of `from..to` the guest holds.
    pub fn held(&self, from: u32, to: u32) -> u32 {
        let inside = |&(start, end): &(u32, u32)| {
            let (start, end) = (if before(start, from) { from } else { start }, if before(to, end) { to } else { end });
            if before(start, end) { end.wrapping_sub(start) } else { 0 }
        };
        self.0.iter().map(inside).sum()
    }

    /// The first gap from `from` on: its first number, and the one behind its last; `end` at most.
    pub fn hole(&self, from: u32, end: u32) -> (u32, u32) {
        let at = self.0.partition_point(|&(_, behind)| !before(from, behind));
        match self.0.get(at..) {
            Some([(start, behind), rest @ ..]) if !before(from, *start) => {
                (*behind, rest.first().map_or(end, |next| next.0))
            }
            Some([(start, _), ..]) => (from, *start),
            _ => (from, end),
        }
    }

    /// Gaps before this number are lost (RFC 6675, 4), where segments carry `mss` bytes.
    pub fn lost(&self, mss: usize) -> Option<u32> {
        let (mut bytes, mut ranges) = (0, 0);
        let enough = |&&(start, end): &&(u32, u32)| {
            bytes += end.wrapping_sub(start) as usize;
            ranges += 1;
            bytes > usize::from(DUPLICATES - 1) * mss || ranges >= DUPLICATES
        };
        self.0.iter().rev().find(enough).map(|range| range.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers of the tests begin here, so that they wrap.
    const BASE: u32 = u32::MAX - 100;
    const COUNT: u32 = 300;

    fn seq(at: u32) -> u32 {
        BASE.wrapping_add(at)
    }

    #[test]
    fn three_segments_behind_a_missing_one_mean_a_loss() {
        let mut board = Scoreboard::default();
        board.add(seq(20), seq(30));
        board.add(seq(30), seq(40));
        assert_eq!(board.lost(10), None);
        board.add(seq(40), seq(41));
        assert_eq!((board.lost(10), board.lost(100)), (Some(seq(20)), None));
        board.add(seq(60), seq(61));
        board.add(seq(80), seq(81));
        assert_eq!((board.lost(10), board.lost(100)), (Some(seq(20)), Some(seq(20))));
        board.add(seq(81), seq(102));
        assert_eq!(board.lost(10), Some(seq(80)));
    }

    #[test]
    fn it_remembers_a_bounded_number() {
        let mut board = Scoreboard::default();
        (0..COUNT).step_by(2).for_each(|at| board.add(seq(at), seq(at + 1)));
        assert_eq!((board.0.len(), board.held(seq(0), seq(COUNT))), (RANGES, RANGES as u32));
        board.add(seq(0), seq(COUNT));
        assert_eq!(board.0, [(seq(0), seq(COUNT))]);
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(steps in prop::collection::vec((0..COUNT, 1..20u32, 0..COUNT), 1..40)) {
            let (mut board, mut set) = (Scoreboard::default(), [false; COUNT as usize]);
            let mut una = 0;
            for (from, len, look) in steps {
                if from % 7 == 0 {
                    una = una.max(from);
                    board.advance(seq(una));
                    set[..una as usize].fill(false);
                }
                let (from, to) = (from.max(una), (from.max(una) + len).min(COUNT));
                if from < to {
                    board.add(seq(from), seq(to));
                    set[from as usize..to as usize].fill(true);
                }
                let held = set[look as usize..].iter().filter(|held| **held).count();
                prop_assert_eq!(board.held(seq(look), seq(COUNT)), held as u32);
                let find = |from: u32, what| set[from as usize..].iter().position(|held| *held == what);
                let hole = find(look, false).map_or(COUNT, |at| look + at as u32);
                let end = find(hole, true).map_or(COUNT, |at| hole + at as u32);
                prop_assert_eq!(board.hole(seq(look), seq(COUNT)), (seq(hole), seq(end)));
            }
        }
    }
}
