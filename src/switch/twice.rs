//! Two answers to one question: the first certain sign that two stations have one address.
//!
//! Only the owner of an address answers a request for it, and only to the station that asked. So two answers to one
//! station for one address, from two ports within [`WITHIN`], come from two stations, with the same MAC address (copies
//! of one image) or not. A station that restarts or moves answers from one port after the other, but the first has lost
//! its peer by then; and answers to other stations do not count.
//!
//! Without answers it takes longer to be sure: `flap.rs` for MAC addresses, `hosts.rs` for IP addresses.

use super::hosts::{Place, Shared};
use super::{Event, Flap, Switch};
use crate::frame::PortId;
use crate::time::{Duration, Instant};
use crate::wire::Mac;
use crate::wire::neighbour::Said;
use std::collections::VecDeque;

/// Both answer at once; a request is repeated after a second or more (RFC 4861, RETRANS_TIMER).
const WITHIN: Duration = Duration::from_millis(900);
/// Answers that are remembered.
const ANSWERS: usize = 64;

/// An answer that was heard.
struct Answer {
    place: Place,
    /// The station that had asked.
    asker: Mac,
    mac: Mac,
    port: PortId,
    at: Instant,
}

/// The last answers.
#[derive(Default)]
pub(super) struct Answers(VecDeque<Answer>);

impl Answers {
    /// Forgets the answers from a port that has lost its peer.
    pub fn remove_port(&mut self, port: PortId) {
        self.0.retain(|answer| answer.port != port);
    }

    /// Notes an answer. Returns the station and port of an earlier answer to the same request from another port.
    fn note(&mut self, now: Instant, answer: Answer) -> Option<(Mac, PortId)> {
        while self.0.front().is_some_and(|first| now - first.at > WITHIN) || self.0.len() >= ANSWERS {
            self.0.pop_front();
        }
        let same = |other: &&Answer| (other.place, other.asker) == (answer.place, answer.asker);
        let other = self.0.iter().filter(same).find(|other| other.port != answer.port);
        let found = other.map(|other| (other.mac, other.port));
        self.0.push_back(answer);
        found
    }
}

impl Switch {
    /// Notes what was said on `port`, if it is an answer.
    pub(super) fn hear_answer(&mut self, now: Instant, port: PortId, place: Place, said: &Said) {
        let Some(asker) = said.answers else { return };
        let answer = Answer { place, asker, mac: said.mac, port, at: now };
        let Some((mac, from)) = self.hosts.answers.note(now, answer) else { return };
        if !self.port(from).is_some_and(|from| from.up) {
            return;
        }
        if mac != said.mac {
            self.tell_shared(now, place, Shared { addr: said.addr, one: (mac, from), other: (said.mac, port) });
        } else {
            let flap = Flap { mac, from, to: port };
            if self.watch.is_certain(now, flap) {
                self.tell(Event::Flapping(flap));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::frame::{Batch, Outgoing};
    use crate::switch::{PortConfig, SwitchConfig, Taken, Transmit};
    use crate::wire::Offload;
    use crate::wire::neighbour::{Tags, announcement};
    use std::net::IpAddr;

    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
    const ONE: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const TWO: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const P1: PortId = PortId(1);
    const P2: PortId = PortId(2);

    struct Nowhere;

    impl Transmit for Nowhere {
        fn transmit(&mut self, _: PortId, out: Outgoing<'_>, _: &mut Counters) -> Taken {
            Taken { frames: out.len() }
        }
    }

    struct Lab(Switch, Instant);

    impl Lab {
        fn new() -> Self {
            let mut switch = Switch::new(&SwitchConfig::default());
            (0..3).for_each(|number| assert_eq!(switch.add_port(PortConfig::default()), Some(PortId(number))));
            Self(switch, Instant::from_secs(100))
        }

        /// `mac` behind `port` answers `to` after so many milliseconds. Gives what is told of it.
        fn answer(&mut self, after: u64, (mac, port): (Mac, PortId), addr: &str, to: Mac) -> Vec<Event> {
            self.1 += Duration::from_millis(after);
            let addr: IpAddr = addr.parse().unwrap();
            let said = Said { tags: Tags::default(), addr, mac, router: None, answers: None };
            let mut frame = announcement(&said);
            frame[..6].copy_from_slice(&to.0);
            if addr.is_ipv4() {
                frame[21] = 2;
            }
            let mut batch = Batch::new(4096);
            assert!(batch.push(&frame, port, Offload::NONE));
            self.0.run(self.1, &batch, &mut Nowhere);
            std::iter::from_fn(|| self.0.poll_event()).collect()
        }
    }

    #[test]
    fn two_that_answer_one_question_are_told_of_at_once_and_once() {
        for addr in ["192.0.2.1", "2001:db8::1"] {
            let mut lab = Lab::new();
            assert_eq!(lab.answer(0, (ONE, P1), addr, ASKER), []);
            let shared = Shared { addr: addr.parse().unwrap(), one: (ONE, P1), other: (TWO, P2) };
            assert_eq!(lab.answer(50, (TWO, P2), addr, ASKER), [Event::Shared(shared)]);
            let again: Vec<Event> =
                [(ONE, P1), (TWO, P2), (ONE, P1)].into_iter().flat_map(|it| lab.answer(50, it, addr, ASKER)).collect();
            assert_eq!(again, []);

            let mut copies = Lab::new();
            assert_eq!(copies.answer(0, (ONE, P1), addr, ASKER), []);
            let flap = Flap { mac: ONE, from: P1, to: P2 };
            assert_eq!(copies.answer(50, (ONE, P2), addr, ASKER), [Event::Flapping(flap)]);
            let turns = [P1, P2, P1, P2, P1, P2];
            assert!(turns.iter().all(|port| copies.answer(300, (ONE, *port), addr, ASKER).is_empty()));
        }
    }

    #[test]
    fn one_that_is_started_again_moves_or_is_asked_twice_is_not_told_of() {
        for next in [ONE, TWO] {
            let first = || {
                let mut lab = Lab::new();
                assert_eq!(lab.answer(0, (ONE, P1), "192.0.2.1", ASKER), []);
                lab
            };
            assert_eq!(first().answer(1000, (next, P2), "192.0.2.1", ASKER), [], "asked again");
            assert_eq!(first().answer(10, (next, P2), "192.0.2.1", OTHER), [], "another one asks");
            assert_eq!(first().answer(10, (next, P2), "192.0.2.3", ASKER), [], "another address");
            assert_eq!(first().answer(10, (next, P1), "192.0.2.1", ASKER), [], "in the same place");
            let mut down = first();
            down.0.set_up(down.1, P1, false);
            assert_eq!(down.answer(10, (next, P2), "192.0.2.1", ASKER), [], "its port has lost its peer");
            let mut emptied = first();
            emptied.0.flush_port(emptied.1, P1);
            assert_eq!(emptied.answer(10, (next, P2), "192.0.2.1", ASKER), [], "its port's link was down meanwhile");
            let mut gone = first();
            gone.0.remove_port(gone.1, P1);
            assert_eq!(gone.answer(10, (next, P2), "192.0.2.1", ASKER), [], "its port is gone");
        }
    }

    #[test]
    fn answers_are_remembered_within_bounds() {
        let mut lab = Lab::new();
        for number in 0..1000 {
            lab.answer(0, (ONE, P1), &format!("10.0.{}.{}", number / 250, number % 250 + 1), ASKER);
        }
        assert_eq!(lab.0.hosts.answers.0.len(), ANSWERS);
        lab.answer(1000, (ONE, P1), "10.0.0.1", ASKER);
        assert_eq!(lab.0.hosts.answers.0.len(), 1);
    }
}
