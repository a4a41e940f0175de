//! Detects flapping addresses: the same station heard now on one port, now on another.
//!
//! Simulated instances of one image often share one MAC address (every Zephyr native_sim starts as 02:00:5e:00:53:3b);
//! then each takes the other's frames away. A station that really moves does so now and then; one that moves [`MOVES`]
//! times within [`WINDOW`] is reported, once, or immediately if two answer one request (`twice.rs`). Only the most
//! recent suspects are kept, so made-up addresses of an attacker cost nothing.
//!
//! A loop moves all stations at once, more than are remembered. So pairs of ports are watched, too: between two that
//! are joined by a second path, stations move to and fro. [`TURNS`] changes of direction from one station to another
//! within the window are reported as a loop, once. Any number of stations that move one way (a failover) is no loop.

use crate::frame::PortId;
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// Moves within the window that make it a flap.
pub const MOVES: u32 = 4;
/// The window in which moves are counted.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Changes of the direction within the window that make it a loop: more than a few stations that walk about.
pub const TURNS: u32 = 16;
const SUSPECTS: usize = 32;
const PAIRS: usize = 128;

/// An address that is heard on two ports by turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Flap {
    /// The address.
    pub mac: Mac,
    /// Where it was.
    pub from: PortId,
    /// Where it is now.
    pub to: PortId,
}

struct Suspect {
    /// Its last move.
    flap: Flap,
    since: Instant,
    moves: u32,
    told: bool,
}

/// Two ports between which stations move.
struct Pair {
    /// From, to: as the last one moved.
    last: (PortId, PortId),
    /// The station that did.
    mac: Mac,
    since: Instant,
    turns: u32,
    told: bool,
}

/// The finding from a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The address is heard on two ports by turns.
    One(Flap),
    /// Many are, on these two ports.
    Many(Flap),
}

/// Watches station moves.
#[derive(Default)]
pub struct Watch {
    suspects: Vec<Suspect>,
    pairs: Vec<Pair>,
}

impl Watch {
    /// Notes a move. Returns it if the address is found to flap for the first time, or if many are between these ports.
    pub fn moved(&mut self, now: Instant, flap: Flap) -> Option<Found> {
        let many = self.moved_between(now, &flap);
        let one = self.moved_one(now, flap).map(Found::One);
        one.or(many.then_some(Found::Many(flap)))
    }

    /// The addresses that were reported, each with the ports of its last move.
    pub fn told(&self) -> impl Iterator<Item = Flap> {
        self.suspects.iter().filter(|suspect| suspect.told).map(|suspect| suspect.flap)
    }

    /// Marks this address as certainly that of two stations. True: that was not reported yet.
    pub fn is_certain(&mut self, now: Instant, flap: Flap) -> bool {
        let suspect = self.suspect(now, flap);
        !std::mem::replace(&mut suspect.told, true)
    }

    /// Forgets a port, whose number goes to another one.
    pub fn forget_port(&mut self, port: PortId) {
        self.pairs.retain(|pair| pair.last.0 != port && pair.last.1 != port);
    }

    fn moved_between(&mut self, now: Instant, flap: &Flap) -> bool {
        let (this, back) = ((flap.from, flap.to), (flap.to, flap.from));
        let Some(pair) = self.pairs.iter_mut().find(|pair| pair.last == this || pair.last == back) else {
            if self.pairs.len() == PAIRS {
                let oldest = (0..PAIRS).min_by_key(|&index| self.pairs[index].since);
                if let Some(index) = oldest {
                    self.pairs.swap_remove(index);
                }
            }
            self.pairs.push(Pair { last: this, mac: flap.mac, since: now, turns: 0, told: false });
            return false;
        };
        if now - pair.since > WINDOW {
            (pair.since, pair.turns) = (now, 0);
        }
        pair.turns += u32::from(pair.last == back && pair.mac != flap.mac);
        (pair.last, pair.mac) = (this, flap.mac);
        let tell = pair.turns >= TURNS && !pair.told;
        pair.told |= tell;
        tell
    }

    fn moved_one(&mut self, now: Instant, flap: Flap) -> Option<Flap> {
        let suspect = self.suspect(now, flap);
        if now - suspect.since > WINDOW {
            suspect.since = now;
            suspect.moves = 0;
        }
        suspect.moves += 1;
        let tell = suspect.moves >= MOVES && !suspect.told;
        suspect.told |= tell;
        tell.then_some(flap)
    }

    fn suspect(&mut self, now: Instant, flap: Flap) -> &mut Suspect {
        let index = match self.suspects.iter().position(|suspect| suspect.flap.mac == flap.mac) {
            Some(index) => index,
            None => {
                if self.suspects.len() == SUSPECTS {
                    self.forget_one();
                }
                self.suspects.push(Suspect { flap, since: now, moves: 0, told: false });
                self.suspects.len() - 1
            }
        };
        self.suspects[index].flap = flap;
        &mut self.suspects[index]
    }

    /// Makes room: drops the oldest suspect, unreported ones first.
    fn forget_one(&mut self) {
        let oldest =
            (0..self.suspects.len()).min_by_key(|&index| (self.suspects[index].told, self.suspects[index].since));
        if let Some(index) = oldest {
            self.suspects.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flap(mac: u64) -> Flap {
        Flap { mac: Mac::from_u64(mac), from: PortId(0), to: PortId(1) }
    }

    #[test]
    fn a_flap_is_told_once_and_a_move_never() {
        let mut watch = Watch::default();
        let told = |watch: &mut Watch, at| watch.moved(Instant::from_millis(at), flap(1)).is_some();
        assert_eq!((0..10).filter(|at| told(&mut watch, at * 100)).count(), 1);
        let mut calm = Watch::default();
        assert_eq!((0..100).filter(|at| told(&mut calm, at * 20_000)).count(), 0);
    }

    /// As many as there may be, each moving with all others: no suspect is remembered long enough.
    #[test]
    fn a_loop_of_any_number_of_stations_is_told_once_and_a_failover_never() {
        for stations in [33, 64, 5000] {
            let mut watch = Watch::default();
            let mut told = Vec::new();
            for round in 0..40 {
                for mac in 1..=stations {
                    let (from, to) = if round % 2 == 0 { (PortId(0), PortId(1)) } else { (PortId(1), PortId(0)) };
                    let flap = Flap { mac: Mac::from_u64(mac), from, to };
                    told.extend(watch.moved(Instant::from_millis(round * 100), flap));
                }
            }
            assert_eq!(told.iter().filter(|found| matches!(found, Found::Many(_))).count(), 1, "{stations}");
        }
        let mut watch = Watch::default();
        assert!((1..10_000).all(|mac| watch.moved(Instant::from_millis(mac / 10), flap(mac)).is_none()));
    }

    #[test]
    fn made_up_addresses_cost_nothing_and_hide_nothing() {
        let mut watch = Watch::default();
        let told = (0..10_000_u64).filter_map(|step| {
            let mac = if step % 8 == 0 { 1 } else { step + 100 };
            watch.moved(Instant::from_millis(step), flap(mac))
        });
        assert_eq!(told.collect::<Vec<_>>(), [Found::One(flap(1))]);
        assert!(watch.suspects.len() <= SUSPECTS);
    }
}
