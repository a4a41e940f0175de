//! The forwarding database: which port a station was last heard on.
//!
//! Theory of operation. One open-addressing table with linear probing; an entry is 16 bytes, four to a cache line, and
//! its key is the address and the VLAN id in one word. Ageing is lazy: an entry that has not been refreshed for the
//! ageing time simply no longer counts, so no timer ever runs. A port that leaves is forgotten just as lazily: each
//! port has a generation, an entry remembers the one it was learned in, and flushing a port is one increment. What no
//! longer counts is reclaimed by a hand that goes round the table, a few slots for every address that finds the table
//! or its port's share full, and by the move when the table doubles.
//!
//! A table of a million entries takes tens of milliseconds to move, in which frames would be lost. So it is moved a few
//! slots at a time (`table.rs`): with every new address, so that it is done long before it could be full again, and with
//! every batch.
//!
//! What an attacker can do: choose addresses. The hash is seeded, so that chains cannot be aimed at. The table is
//! bounded, and so is each port's share of it; at either bound a *new* address is refused (frames to it still flood,
//! as to any unknown destination). Nothing that is known is ever evicted for something new, so a flood on one port
//! harms neither static entries nor what was learned elsewhere. A station that is heard on another port has left its
//! old one in any case: where its new port has no room, it is known on neither.
//!
//! Where the system has no memory for a larger table, the one that there is goes on to seven eighths, and then is full.
//!
//! A station whose port was flushed has *left* until it would have aged: a slot that no longer counts may stay for as long
//! as nobody needs it, and says so for no longer than that.
//!
//! The clock of the table ticks every 2^26 ns (67 ms); an entry is too old when its last refresh is as many ticks
//! away as the ageing time has, rounded up.

mod table;

use crate::frame::PortId;
use crate::time::{Duration, Instant};
use crate::wire::Mac;
use table::{Place, Table};
pub use table::{Scan, Scanned};

const TICK_SHIFT: u32 = 26;
const STATIC: u32 = u32::MAX;
const FIRST_CAPACITY: usize = 1024;
/// Slots that a refused address makes the hand look at: enough to go round twice before the table could fill again.
const SWEEP: usize = 32;
/// Slots that are moved with every new address while the table grows. Two would do.
const MOVE: usize = 16;
/// Slots that are moved with every batch: about 10 µs.
const MOVE_PER_BATCH: usize = 1024;
/// Slots that tell how many of a large table's entries still count.
const SAMPLE: usize = 4096;

/// A station's address in a VLAN, as the table's key: the address in the upper 48 bits, the VLAN id in the lower 12.
/// One of the bits between is always set, so that no frame, whatever its addresses, has the key of a free slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u64);

impl Key {
    /// The key of no station.
    pub const EMPTY: Self = Self(0);
    const USED: u64 = 0x1000;

    /// The key of `mac` in VLAN `vid` (0 where VLANs are not told apart).
    pub const fn new(mac: u64, vid: u16) -> Self {
        Self(mac << 16 | Self::USED | vid as u64)
    }

    /// The address.
    pub const fn mac(self) -> Mac {
        Mac::from_u64(self.0 >> 16)
    }

    /// Whether the address is a group's. It and the next two are asked of each frame, without the octets one by one.
    pub const fn is_group(self) -> bool {
        self.0 >> 56 & 1 != 0
    }

    /// See [`Mac::is_reserved_group`].
    pub const fn is_reserved_group(self) -> bool {
        const RESERVED: u64 = Mac([0x01, 0x80, 0xc2, 0, 0, 0]).as_u64() >> 4;
        self.0 >> 20 == RESERVED
    }

    /// Whether the address is zero, which is nobody's.
    pub const fn is_nobodys(self) -> bool {
        self.0 >> 16 == 0
    }

    /// The VLAN id.
    pub const fn vid(self) -> u16 {
        self.0 as u16 & 0xfff
    }
}

#[derive(Clone, Copy)]
struct Slot {
    key: Key,
    port: PortId,
    generation: u16,
    /// Tick of the last refresh, or [`STATIC`].
    stamp: u32,
}

impl Slot {
    const fn pack(&self) -> [u64; 2] {
        [self.key.0, self.port.0 as u64 | (self.generation as u64) << 16 | (self.stamp as u64) << 32]
    }

    const fn unpack([key, rest]: [u64; 2]) -> Self {
        Self { key: Key(key), port: PortId(rest as u16), generation: (rest >> 16) as u16, stamp: (rest >> 32) as u32 }
    }
}

/// What came of [`Fdb::learn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Learned {
    /// It was known on this port, or is static.
    Known,
    /// It is new.
    New,
    /// It was known on another port.
    Moved {
        /// That port.
        from: PortId,
    },
    /// The port has its share of the table. If it was known on another port, it no longer is.
    PortFull,
    /// The table has its limit.
    TableFull,
}

/// An entry as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The station.
    pub mac: Mac,
    /// Its VLAN; 0 where VLANs are not told apart.
    pub vid: u16,
    /// Where it is.
    pub port: PortId,
    /// Time since it was last heard; `None` for a static entry.
    pub age: Option<Duration>,
}

#[derive(Clone, Copy, Default)]
struct Share {
    generation: u16,
    learned: u32,
    fixed: u32,
}

/// The bounds of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FdbLimits {
    /// Entries in all, static ones included.
    pub entries: usize,
    /// Learned entries of one port.
    pub per_port: usize,
    /// Time after which an entry that was not refreshed no longer counts.
    pub ageing: Duration,
}

/// The forwarding database. See the head of the file.
pub struct Fdb {
    table: Table,
    used: usize,
    hand: usize,
    limits: FdbLimits,
    ageing_ticks: u32,
    shares: Vec<Share>,
}

/// The table's clock.
pub fn tick(now: Instant) -> u32 {
    // Nine years pass before the clock stands still just below the mark of static entries.
    u32::try_from(now.as_nanos() >> TICK_SHIFT).unwrap_or(STATIC).min(STATIC - 1)
}

impl Fdb {
    /// An empty table whose hash is seeded with `seed`.
    pub fn new(limits: FdbLimits, seed: u64) -> Self {
        let ticks = limits.ageing.as_nanos().div_ceil(1 << TICK_SHIFT);
        Self {
            table: Table::new(FIRST_CAPACITY, seed),
            used: 0,
            hand: 0,
            limits,
            ageing_ticks: u32::try_from(ticks).unwrap_or(STATIC - 1),
            shares: Vec::new(),
        }
    }

    /// How many entries there are, those included whose time is over.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Makes room for the bookkeeping of `port`.
    pub fn add_port(&mut self, port: PortId) {
        if self.shares.len() <= port.index() {
            self.shares.resize(port.index() + 1, Share::default());
        }
    }

    /// The hash of `key`, to be handed to the calls below.
    #[inline]
    pub fn hash(&self, key: Key) -> u64 {
        self.table.hash(key)
    }

    /// Reads the word where a probe for `hash` will start, so that the cache line is under way while other frames
    /// are being looked at. The result only serves to keep the read from being optimised away.
    #[inline]
    pub fn touch(&self, hash: u64) -> u64 {
        self.table.touch(hash)
    }

    #[inline]
    fn counts(&self, slot: &Slot, tick: u32) -> bool {
        slot.stamp == STATIC
            || (slot.generation == self.shares[slot.port.index()].generation && self.is_fresh(slot, tick))
    }

    /// Whether what was learned is not too old to count.
    #[inline]
    fn is_fresh(&self, slot: &Slot, tick: u32) -> bool {
        tick.saturating_sub(slot.stamp) < self.ageing_ticks
    }

    /// The port where `key` is. Always inlined: a call would be a tenth of what a frame costs.
    #[inline(always)]
    pub fn lookup(&self, key: Key, hash: u64, tick: u32) -> Option<PortId> {
        let slot = self.table.get(key, hash)?;
        self.counts(&slot, tick).then_some(slot.port)
    }

    /// Whether `key` would count if the port that it was learned on had not been flushed since.
    #[inline(never)]
    pub fn has_left(&self, key: Key, hash: u64, tick: u32) -> bool {
        self.table.get(key, hash).is_some_and(|slot| self.is_fresh(&slot, tick) && !self.counts(&slot, tick))
    }

    /// The entry of `key`, if it counts.
    pub fn find(&self, key: Key, hash: u64, tick: u32) -> Option<Entry> {
        self.table.get(key, hash).filter(|slot| self.counts(slot, tick)).map(|slot| entry(&slot, tick))
    }

    /// What [`Self::learn`] would come to. Where there is no room, learning may still find some.
    pub fn would_learn(&self, key: Key, hash: u64, port: PortId, tick: u32) -> Learned {
        let known = self.table.get(key, hash);
        let counting = known.filter(|slot| self.counts(slot, tick));
        if known.is_some_and(|slot| slot.stamp == STATIC) || counting.is_some_and(|slot| slot.port == port) {
            return Learned::Known;
        }
        // Its slot, and its part of its port's share, would be free.
        let of_port = self.shares.get(port.index()).map_or(0, |share| share.learned as usize);
        let shared = known.is_some_and(|slot| {
            slot.port == port && self.shares.get(port.index()).is_some_and(|share| share.generation == slot.generation)
        });
        if of_port - usize::from(shared && of_port > 0) >= self.limits.per_port {
            return Learned::PortFull;
        }
        if self.used - usize::from(known.is_some()) >= self.limits.entries || self.is_crammed() {
            return Learned::TableFull;
        }
        counting.map_or(Learned::New, |slot| Learned::Moved { from: slot.port })
    }

    /// Notes that `key` was heard on `port`.
    #[inline]
    pub fn learn(&mut self, key: Key, hash: u64, port: PortId, tick: u32) -> Learned {
        match self.table.get(key, hash) {
            Some(slot) if slot.port == port && self.counts(&slot, tick) => {
                if slot.stamp != tick && slot.stamp != STATIC {
                    self.table.replace(&Slot { stamp: tick, ..slot }, hash);
                }
                Learned::Known
            }
            _ => self.learn_slowly(key, hash, port, tick),
        }
    }

    /// What is not a mere refresh: a new station, a moved one, one that had been forgotten.
    fn learn_slowly(&mut self, key: Key, hash: u64, port: PortId, tick: u32) -> Learned {
        self.move_on(MOVE, tick);
        let known = self.table.find(key, hash).map(|place| (place, self.table.slot(place)));
        let mut from = None;
        if let Some((place, known)) = known {
            if known.stamp == STATIC {
                return Learned::Known;
            }
            from = self.counts(&known, tick).then_some(known.port);
            // Whatever comes of it now, the station is not where it was.
            self.remove_at(place);
        }
        let full = |fdb: &Self| fdb.shares[port.index()].learned as usize >= fdb.limits.per_port;
        if full(self) || self.used >= self.limits.entries {
            self.sweep(SWEEP, tick);
        }
        if full(self) {
            return Learned::PortFull;
        }
        if self.used >= self.limits.entries || self.is_crammed() {
            return Learned::TableFull;
        }
        self.occupy(key, hash, port, tick);
        self.grow_if_crowded(tick);
        from.map_or(Learned::New, |from| Learned::Moved { from })
    }

    /// Takes an entry off its port's share, unless it was learned and the port was flushed since.
    fn release(&mut self, slot: &Slot) {
        let share = &mut self.shares[slot.port.index()];
        if slot.stamp == STATIC {
            share.fixed -= 1;
        } else if slot.generation == share.generation {
            share.learned -= 1;
        }
    }

    /// Takes a slot for `key`, which has none.
    fn occupy(&mut self, key: Key, hash: u64, port: PortId, stamp: u32) {
        let share = &mut self.shares[port.index()];
        share.learned += u32::from(stamp != STATIC);
        share.fixed += u32::from(stamp == STATIC);
        self.used += 1;
        self.table.insert(&Slot { key, port, generation: share.generation, stamp }, hash);
    }

    /// Looks at `count` slots from the hand on and frees those that no longer count. Before that it moves on, so that the
    /// hand does not have to look where something may still come to.
    fn sweep(&mut self, count: usize, tick: u32) {
        self.move_on(2 * count, tick);
        for _ in 0..count {
            match self.table.at(self.hand) {
                Some((place, slot)) if !self.counts(&slot, tick) => self.remove_at(place),
                _ => self.hand = (self.hand + 1) & (self.table.capacity() - 1),
            }
        }
    }

    /// Forgets what is at `place`.
    fn remove_at(&mut self, place: Place) {
        let slot = self.table.slot(place);
        self.release(&slot);
        self.used -= 1;
        self.table.remove(place);
    }

    /// Begins to move to a table of twice the size when two thirds are taken, or to one of the same size when most of
    /// that no longer counts. What does not count is left behind.
    fn grow_if_crowded(&mut self, tick: u32) {
        let capacity = self.table.capacity();
        if self.used * 3 < capacity * 2 || self.table.is_moving() {
            return;
        }
        let sample = capacity.min(SAMPLE);
        let of_sample = (0..sample).filter_map(|step| self.table.at((self.hand + step) & (capacity - 1)));
        let live = of_sample.filter(|(_, slot)| self.counts(slot, tick)).count();
        if self.table.begin_move(if live * 3 < sample { capacity } else { capacity * 2 }) {
            self.hand = 0;
        }
    }

    /// The table should have grown long ago, and the system had no memory for it: it is not filled to the brim.
    fn is_crammed(&self) -> bool {
        self.used * 8 >= self.table.capacity() * 7
    }

    /// Moves a part of the table, if it is being moved.
    #[inline]
    pub fn handle_batch(&mut self, tick: u32) {
        if self.table.is_moving() {
            self.move_on(MOVE_PER_BATCH, tick);
        }
    }

    fn move_on(&mut self, slots: usize, tick: u32) {
        if !self.table.is_moving() {
            return;
        }
        for _ in 0..slots {
            match self.table.next_to_move() {
                None => return,
                Some(None) => {}
                Some(Some(slot)) if self.counts(&slot, tick) => self.table.insert(&slot, self.hash(slot.key)),
                Some(Some(slot)) => {
                    self.release(&slot);
                    self.used -= 1;
                }
            }
        }
    }

    /// Binds `key` to `port` for good. False when the table is full.
    pub fn add_static(&mut self, key: Key, port: PortId, now: Instant) -> bool {
        // It may be one of thousands that come with no frame between them.
        self.move_on(MOVE, tick(now));
        self.remove(key);
        if self.used >= self.limits.entries {
            self.purge(tick(now), |_| false);
        }
        let fits = self.used < self.limits.entries && !self.is_crammed();
        if fits {
            self.occupy(key, self.hash(key), port, STATIC);
            self.grow_if_crowded(tick(now));
        }
        fits
    }

    /// Forgets one entry, static or not. False when there was none.
    pub fn remove(&mut self, key: Key) -> bool {
        let place = self.table.find(key, self.hash(key));
        if let Some(place) = place {
            self.remove_at(place);
        }
        place.is_some()
    }

    /// Forgets all that was learned on `port`. Static entries stay.
    pub fn flush_port(&mut self, port: PortId, now: Instant) {
        if self.shares[port.index()].generation == u16::MAX {
            // The generations start anew: nothing may be left of the last round that could seem to be of the new one.
            self.purge(tick(now), |slot| slot.port == port && slot.stamp != STATIC);
        }
        let share = &mut self.shares[port.index()];
        share.generation = share.generation.wrapping_add(1);
        share.learned = 0;
    }

    /// Forgets everything about `port`, static entries too: its number goes to another port.
    pub fn remove_port(&mut self, port: PortId, now: Instant) {
        self.flush_port(port, now);
        if self.shares[port.index()].fixed > 0 {
            self.purge(tick(now), |slot| slot.port == port && slot.stamp == STATIC);
        }
    }

    /// Frees every slot that no longer counts or that `doomed` names.
    fn purge(&mut self, tick: u32, doomed: impl Fn(&Slot) -> bool) {
        self.move_on(usize::MAX, tick);
        let mut at = 0;
        while at < self.table.capacity() {
            match self.table.at(at) {
                Some((place, slot)) if doomed(&slot) || !self.counts(&slot, tick) => self.remove_at(place),
                _ => at += 1,
            }
        }
    }

    /// Entries that count at `now`, in no particular order.
    pub fn entries(&self, now: Instant) -> impl Iterator<Item = Entry> {
        let tick = tick(now);
        self.table.entries().filter(move |slot| self.counts(slot, tick)).map(move |slot| entry(&slot, tick))
    }

    /// Adds to `out` the entries that count among the next `slots` slots or so, from `scan` on. Those that count from the
    /// first call to the last are met at least once, whatever is learned, forgotten or moved between two calls; those
    /// that come or go meanwhile may be met.
    pub fn scan(&self, now: Instant, scan: &mut Scan, slots: usize, out: &mut Vec<Entry>) -> Scanned {
        let tick = tick(now);
        self.table.scan(scan, slots, &mut |slot| {
            if self.counts(&slot, tick) {
                out.push(entry(&slot, tick));
            }
        })
    }
}

fn entry(slot: &Slot, tick: u32) -> Entry {
    let age = || Duration::from_nanos(u64::from(tick.saturating_sub(slot.stamp)) << TICK_SHIFT);
    Entry { mac: slot.key.mac(), vid: slot.key.vid(), port: slot.port, age: (slot.stamp != STATIC).then(age) }
}

#[cfg(test)]
#[path = "fdb_tests.rs"]
mod tests;
