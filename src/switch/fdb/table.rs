//! The slots of the forwarding database: an open-addressing table with linear probing that grows a little at a time.
//!
//! Theory of operation. A new table is allocated zeroed and untouched, and the slots of the old one are moved over from
//! its start to its end, a few with every call of [`Table::next_to_move`]. As an address's slot is the low bits of its
//! hash, a stretch of the old table goes to one or two stretches of the new: memory is accessed in order. Meanwhile new
//! entries go to the new table, and a key that is not found there is looked up among the slots of the old one that are
//! still to be moved. The moved slots stay as they were, as chains run through them, but count no more; and a removal
//! there leaves a tombstone instead of closing the gap.
//!
//! The table is scanned a part at a time ([`Table::scan`]), while entries come, go and are moved. No entry that stays
//! is missed, for three reasons. The part still to be moved is scanned first, so that entries moved meanwhile are found
//! at their new place. A part of the new table ends at a free slot: an entry behind it has its home behind it, and
//! closing a gap takes none in front of its home. Chains that wrap around the end of the table go on at its start,
//! which is scanned once more at the end. When the table is moved anew, the scan starts over. An entry may be found
//! twice.

use super::{Key, Slot};
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// A slot in memory: the key word, and the rest.
type Words = [u64; 2];

const FREE: Words = [0; 2];
/// The tombstone of an entry that was removed from the old table: no frame has this key.
const GONE: Words = [1, 0];

/// The place of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    at: usize,
    is_old: bool,
}

/// The position of a scan. See the head of the file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Scan {
    /// Moves of the table when the scan began; `None` before.
    moves: Option<u64>,
    part: Part,
    /// The next slot of the part.
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Part {
    /// The slots that are still to be moved.
    #[default]
    Old,
    New,
    /// The start once more, as far as the first free slot.
    Start,
}

/// The outcome of a part of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scanned {
    /// There is more.
    More,
    /// There is more, and the results before this part are void: the scan has started over.
    Anew,
    /// This was the last part.
    All,
}

/// See the head of the file. Its owner keeps it from becoming full.
pub struct Table {
    slots: Vec<Words>,
    /// The table before, while it is being moved.
    old: Vec<Words>,
    /// Slots of it that were moved.
    moved: usize,
    /// Moves that were begun.
    moves: u64,
    hasher: FixedState,
}

impl Table {
    /// A table of `capacity` slots, a power of two.
    pub fn new(capacity: usize, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self { slots: vec![FREE; capacity], old: Vec::new(), moved: 0, moves: 0, hasher }
    }

    /// How many slots there are.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The hash of `key`, to be handed to the calls below.
    #[inline]
    pub fn hash(&self, key: Key) -> u64 {
        self.hasher.hash_one(key.0)
    }

    /// Reads the word where a probe for `hash` will start.
    #[inline]
    pub fn touch(&self, hash: u64) -> u64 {
        self.slots[hash as usize & (self.slots.len() - 1)][0]
    }

    /// Where the entry of `key` is.
    #[inline]
    pub fn find(&self, key: Key, hash: u64) -> Option<Place> {
        let at = probe(&self.slots, key, hash);
        if self.slots[at][0] == key.0 {
            return Some(Place { at, is_old: false });
        }
        if self.old.is_empty() { None } else { self.find_old(key, hash) }
    }

    #[cold]
    fn find_old(&self, key: Key, hash: u64) -> Option<Place> {
        let at = probe(&self.old, key, hash);
        (at >= self.moved && self.old[at][0] == key.0).then_some(Place { at, is_old: true })
    }

    /// The entry of `key`. Inline: twice a frame, a third of its instructions would be the way there and back.
    #[inline(always)]
    pub fn get(&self, key: Key, hash: u64) -> Option<Slot> {
        let words = self.slots[probe(&self.slots, key, hash)];
        if words[0] == key.0 {
            return Some(Slot::unpack(words));
        }
        if self.old.is_empty() { None } else { self.find_old(key, hash).map(|place| self.slot(place)) }
    }

    /// The entry at `place`.
    #[inline]
    pub fn slot(&self, place: Place) -> Slot {
        let slots = if place.is_old { &self.old } else { &self.slots };
        Slot::unpack(slots[place.at])
    }

    /// Overwrites the entry that has the key of `slot`.
    pub fn replace(&mut self, slot: &Slot, hash: u64) {
        if let Some(place) = self.find(slot.key, hash) {
            let slots = if place.is_old { &mut self.old } else { &mut self.slots };
            slots[place.at] = slot.pack();
        }
    }

    /// Puts an entry in whose key is not there.
    pub fn insert(&mut self, slot: &Slot, hash: u64) {
        let at = probe(&self.slots, slot.key, hash);
        self.slots[at] = slot.pack();
    }

    /// Takes an entry out, and closes the gap in the chains that run through it.
    pub fn remove(&mut self, place: Place) {
        if place.is_old {
            self.old[place.at] = GONE;
            return;
        }
        let mask = self.slots.len() - 1;
        let (mut gap, mut next) = (place.at, place.at);
        loop {
            next = (next + 1) & mask;
            let words = self.slots[next];
            if words == FREE {
                break;
            }
            let home = self.hash(Key(words[0])) as usize & mask;
            // It may move to the gap unless its home lies cyclically in (gap, next].
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                self.slots[gap] = words;
                gap = next;
            }
        }
        self.slots[gap] = FREE;
    }

    /// The entry in slot `at`, which may be any number below the capacity. None of those that are still to be moved.
    pub fn at(&self, at: usize) -> Option<(Place, Slot)> {
        let words = self.slots[at];
        (words != FREE).then(|| (Place { at, is_old: false }, Slot::unpack(words)))
    }

    /// Every entry, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = Slot> {
        let to_move = self.old.get(self.moved..).unwrap_or_default();
        to_move
            .iter()
            .chain(&self.slots)
            .filter(|&&words| words != FREE && words != GONE)
            .map(|&words| Slot::unpack(words))
    }

    /// Begins to move to a table of `capacity` slots, which must hold all entries. False, with nothing done: the system
    /// has no memory for it.
    pub fn begin_move(&mut self, capacity: usize) -> bool {
        debug_assert!(!self.is_moving());
        // Allocated twice: there is no fallible allocation of zeroed memory, which the system provides at no cost.
        if Vec::<Words>::new().try_reserve_exact(capacity).is_err() {
            return false;
        }
        self.old = std::mem::replace(&mut self.slots, vec![FREE; capacity]);
        self.moved = 0;
        self.moves += 1;
        true
    }

    /// Scans about `slots` slots on from `scan` (to the end of the chain there), and gives their entries to `out`.
    pub fn scan(&self, scan: &mut Scan, slots: usize, out: &mut impl FnMut(Slot)) -> Scanned {
        let anew = scan.moves.is_some_and(|moves| moves != self.moves);
        if scan.moves != Some(self.moves) {
            *scan = Scan { moves: Some(self.moves), ..Scan::default() };
        }
        let mut take = |words: &Words| {
            if *words != FREE && *words != GONE {
                out(Slot::unpack(*words));
            }
        };
        match scan.part {
            Part::Old => {
                let from = scan.at.max(self.moved);
                let part = self.old.get(from..).unwrap_or_default();
                let part = part.get(..slots).unwrap_or(part);
                part.iter().for_each(&mut take);
                scan.at = from + part.len();
                if scan.at >= self.old.len() {
                    (scan.part, scan.at) = (Part::New, 0);
                }
            }
            Part::New | Part::Start => {
                let least = if scan.part == Part::Start { 0 } else { slots };
                let rest = self.slots.get(scan.at..).unwrap_or_default();
                for (count, words) in rest.iter().enumerate() {
                    take(words);
                    scan.at += 1;
                    if count >= least && *words == FREE {
                        break;
                    }
                }
                match scan.part {
                    Part::Start => return Scanned::All,
                    _ if scan.at >= self.slots.len() => (scan.part, scan.at) = (Part::Start, 0),
                    _ => {}
                }
            }
        }
        if anew { Scanned::Anew } else { Scanned::More }
    }

    /// Whether a table is being moved.
    #[inline]
    pub fn is_moving(&self) -> bool {
        !self.old.is_empty()
    }

    /// Takes the next slot out of the old table: `Some(None)` when it is free, else an entry that is to be inserted, or
    /// not. `None` when all were moved.
    pub fn next_to_move(&mut self) -> Option<Option<Slot>> {
        let Some(&words) = self.old.get(self.moved) else {
            self.old = Vec::new();
            return None;
        };
        self.moved += 1;
        Some((words != FREE && words != GONE).then(|| Slot::unpack(words)))
    }
}

/// The slot that holds `key`, or the free one where the probe for it ends.
#[inline]
fn probe(slots: &[Words], key: Key, hash: u64) -> usize {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at][0] != key.0 && slots[at][0] != FREE[0] {
        at = (at + 1) & mask;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;

    fn slot(mac: u64) -> Slot {
        Slot { key: Key::new(mac, 0), port: PortId(mac as u16), generation: 7, stamp: mac as u32 }
    }

    fn find(table: &Table, mac: u64) -> Option<Place> {
        let key = Key::new(mac, 0);
        table.find(key, table.hash(key))
    }

    /// Between any two slots that are moved the table is whole, whatever is put in and taken out meanwhile.
    #[test]
    fn a_table_that_is_being_moved_is_whole() {
        const FULL: u64 = 680;
        let mut table = Table::new(1024, 3);
        let insert = |table: &mut Table, mac| table.insert(&slot(mac), table.hash(Key::new(mac, 0)));
        (0..FULL).for_each(|mac| insert(&mut table, mac));
        assert!(table.begin_move(2048));
        let mut there: std::collections::BTreeSet<u64> = (0..FULL).collect();
        let mut step = 0;
        while let Some(moved) = table.next_to_move() {
            if let Some(slot) = moved {
                table.insert(&slot, table.hash(slot.key));
            }
            // one comes and one goes, of the new ones and of those that were moved and that are to be moved
            insert(&mut table, FULL + step);
            there.insert(FULL + step);
            let goes = step * 37 % FULL;
            assert_eq!(find(&table, goes).is_some(), there.remove(&goes));
            if let Some(place) = find(&table, goes) {
                table.remove(place);
            }
            step += 1;
            if step % 64 == 0 {
                for mac in 0..FULL + step {
                    let found = find(&table, mac).map(|place| table.slot(place).stamp);
                    assert_eq!(found, there.contains(&mac).then_some(mac as u32), "step {step}");
                }
                let mut entries: Vec<u64> = table.entries().map(|slot| slot.stamp.into()).collect();
                entries.sort_unstable();
                assert!(entries.iter().eq(&there), "step {step}");
            }
        }
        assert_eq!((step, table.is_moving(), table.capacity()), (1024, false, 2048));
        assert_eq!(table.entries().count(), there.len());
    }

    /// A reading of small parts, between which entries come, go, change their place and make the table grow, has every
    /// entry that was there all the time.
    #[test]
    fn a_reading_misses_nothing_that_stays() {
        for seed in 0..24 {
            let mut table = Table::new(256, seed);
            let insert = |table: &mut Table, mac| table.insert(&slot(mac), table.hash(Key::new(mac, 0)));
            // what stays, and what comes and goes among it
            let (stays, others) = (0..90_u64, 90..160_u64);
            stays.clone().chain(others.clone()).for_each(|mac| insert(&mut table, mac));
            if seed % 3 == 0 {
                assert!(table.begin_move(512));
            }
            let (mut scan, mut got) = (Scan::default(), std::collections::BTreeSet::new());
            for step in 0_u64.. {
                assert!(step < 2000, "seed {seed}: it comes to an end");
                let mut part = Vec::new();
                match table.scan(&mut scan, 1 + (step as usize * 7) % 5, &mut |slot| part.push(slot.stamp)) {
                    Scanned::Anew => got.clear(),
                    Scanned::More => {}
                    Scanned::All => {
                        got.extend(part);
                        break;
                    }
                }
                got.extend(part);
                let other = others.start + (step * 31 + seed) % (others.end - others.start);
                match find(&table, other) {
                    Some(place) => table.remove(place),
                    None => insert(&mut table, other),
                }
                if table.is_moving()
                    && let Some(Some(slot)) = table.next_to_move()
                {
                    table.insert(&slot, table.hash(slot.key));
                }
                if step == 40 && seed % 2 == 1 && !table.is_moving() {
                    assert!(table.begin_move(512));
                }
            }
            assert!(stays.clone().all(|mac| got.contains(&(mac as u32))), "seed {seed}");
        }
    }

    #[test]
    fn an_entry_is_two_words() {
        let slot = Slot { key: Key::new(0x0200_5e00_5301, 0xabc), port: PortId(0x1234), generation: 0x5678, stamp: !1 };
        let same = Slot::unpack(slot.pack());
        assert_eq!(
            (same.key, same.port, same.generation, same.stamp),
            (slot.key, slot.port, slot.generation, slot.stamp)
        );
        assert_ne!(slot.pack()[0], FREE[0]);
    }
}
