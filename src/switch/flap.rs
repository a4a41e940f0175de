//! Finds addresses that live in two places: the same station heard now on one port, now on another.
//!
//! Simulated instances of one image often share one MAC address (every Zephyr native_sim starts as
//! 02:00:5e:00:53:3b); then each takes the other's frames away. A station that really moves does so now and then; one
//! that moves [`MOVES`] times within [`WINDOW`] is reported, once. Only the most recent suspects are remembered, so an
//! attacker who makes up addresses costs nothing.

use crate::frame::PortId;
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// Moves within the window that make it a flap.
pub const MOVES: u32 = 4;
/// The window that is counted in.
pub const WINDOW: Duration = Duration::from_secs(10);
const SUSPECTS: usize = 32;

/// An address that is heard on two ports by turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flap {
    /// The address.
    pub mac: Mac,
    /// Where it was.
    pub from: PortId,
    /// Where it is now.
    pub to: PortId,
}

struct Suspect {
    mac: Mac,
    since: Instant,
    moves: u32,
    told: bool,
}

/// Watches station moves.
#[derive(Default)]
pub struct Watch {
    suspects: Vec<Suspect>,
}

impl Watch {
    /// Notes a move. Returns it when it makes the address a flapping one for the first time.
    pub fn moved(&mut self, now: Instant, flap: Flap) -> Option<Flap> {
        let index = match self.suspects.iter().position(|suspect| suspect.mac == flap.mac) {
            Some(index) => index,
            None => {
                if self.suspects.len() == SUSPECTS {
                    self.forget_one();
                }
                self.suspects.push(Suspect { mac: flap.mac, since: now, moves: 0, told: false });
                self.suspects.len() - 1
            }
        };
        let suspect = &mut self.suspects[index];
        if now - suspect.since > WINDOW {
            suspect.since = now;
            suspect.moves = 0;
        }
        suspect.moves += 1;
        let tell = suspect.moves >= MOVES && !suspect.told;
        suspect.told |= tell;
        tell.then_some(flap)
    }

    /// Makes room: the oldest suspect that was not told of goes first.
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

    #[test]
    fn made_up_addresses_cost_nothing_and_hide_nothing() {
        let mut watch = Watch::default();
        let told = (0..10_000_u64).filter_map(|step| {
            let mac = if step % 8 == 0 { 1 } else { step + 100 };
            watch.moved(Instant::from_millis(step), flap(mac))
        });
        assert_eq!(told.collect::<Vec<_>>(), [flap(1)]);
        assert!(watch.suspects.len() <= SUSPECTS);
    }
}
