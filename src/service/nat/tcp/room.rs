//! Which flow ends so that another can begin, where there are as many as there may be.
//!
//! # Theory of operation
//! Only time would free the place of a connection that its guest has closed and its server has not, and a guest that asks
//! such a server often would have no TCP at all. So a new flow takes the place of another, of the same port of the switch
//! where that has its share, and else of the port that has most: first of one that both sides have ended, then of one that
//! one side has ended, then of one that does not stand yet, and of one that stands and rests last. In each the one goes
//! that has rested longest. One that stands and has not rested for a while stays.
//!
//! To find it all flows are looked at, which costs too much for each packet of a flood: one look notes several of every
//! port, which are gone through before the next one. Where it has found fewer for somebody than it would have noted there
//! are no others for a while: so a look has to do for many packets, however many ports take turns at asking.

use super::flow::{Flow, Key, Worth};
use crate::frame::PortId;
use crate::service::table::Table;
use crate::time::{Duration, Instant};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// How long a flow has to rest that stands, to make room for another.
const REST: Duration = Duration::from_secs(60);
/// Flows of one port that are noted in one look.
const NOTED: usize = 64;
/// How long there is no other look for whom it has noted all that there were.
const PAUSE: Duration = Duration::from_millis(100);

/// How soon a flow is to go: the least first.
type Rank = (Worth, Instant);

/// What was noted of somebody's flows.
struct Notes {
    /// The first to go last.
    left: Vec<(Rank, Key)>,
    /// There were others.
    more: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Room {
    /// Of each port, and of those that count for nobody: what is lacking may be a place, and not somebody's share.
    noted: HashMap<Option<PortId>, Notes, RandomState>,
    looked: Option<Instant>,
}

impl Room {
    /// The flow to end so that `port` can have another one.
    pub fn make(&mut self, now: Instant, port: PortId, flows: &Table<Flow>) -> Option<u32> {
        let whose = flows.whose_to_go(port);
        let nobodys = flows.is_within(port).then_some(None);
        let sources = || nobodys.into_iter().chain(whose.map(Some));
        if let Some(index) = sources().find_map(|of| self.take(of, flows)) {
            return Some(index);
        }
        let there_are_more = sources().any(|of| self.noted.get(&of).is_some_and(|notes| notes.more));
        if !there_are_more && self.looked.is_some_and(|at| now < at + PAUSE) {
            return None;
        }
        self.look(now, flows);
        sources().find_map(|of| self.take(of, flows))
    }

    /// The next that was noted and is as it was.
    fn take(&mut self, of: Option<PortId>, flows: &Table<Flow>) -> Option<u32> {
        let notes = self.noted.get_mut(&of)?;
        while let Some((rank, key)) = notes.left.pop() {
            let index = flows.find(&key);
            if index.and_then(|index| flows.get(index)).is_some_and(|flow| rank_of(flow) == rank) {
                return index;
            }
        }
        None
    }

    fn look(&mut self, now: Instant, flows: &Table<Flow>) {
        let mut found: HashMap<Option<PortId>, Vec<(Rank, Key)>, RandomState> = HashMap::default();
        for flow in flows.iter() {
            let of = match flow.worth() {
                Worth::Over => None,
                Worth::Open if now - flow.rests_since() < REST => continue,
                Worth::Half | Worth::Opening | Worth::Open => Some(flow.station.port()),
            };
            found.entry(of).or_default().push((rank_of(flow), flow.key));
        }
        let noted = found.into_iter().map(|(of, mut left)| {
            let more = left.len() > NOTED;
            if more {
                left.select_nth_unstable_by_key(NOTED, |(rank, _)| *rank);
                left.truncate(NOTED);
                left.shrink_to_fit();
            }
            left.sort_unstable_by_key(|(rank, _)| std::cmp::Reverse(*rank));
            (of, Notes { left, more })
        });
        self.noted = noted.collect();
        self.looked = Some(now);
    }
}

fn rank_of(flow: &Flow) -> Rank {
    (flow.worth(), flow.rests_since())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NAT_TCP_FLOWS;
    use crate::service::nat::guest::WHOM;
    use crate::service::nat::tests::Bench;

    const SYN: u8 = 2;
    /// Of a port that is alone, and of one that comes second.
    const SHARES: [usize; 2] = [NAT_TCP_FLOWS / 8 * 7, NAT_TCP_FLOWS / 64 * 7];

    /// How often all flows are looked at while two ports that have their shares take turns at asking for 1000 more each.
    fn looks(begin: impl Fn(&mut Bench, u16, u64)) -> usize {
        let mut bench = Bench::new();
        let mut socket = 0;
        let speak = |bench: &mut Bench, second: bool| {
            bench.whom = WHOM;
            bench.guest = if second { "10.0.2.16" } else { "10.0.2.15" };
            if second {
                bench.speak_as(16);
            }
        };
        for (second, share) in [(false, SHARES[0]), (true, SHARES[1])] {
            speak(&mut bench, second);
            for number in 0..share {
                socket += 1;
                begin(&mut bench, number as u16, socket);
            }
        }
        assert_eq!(bench.nat.flows().tcp, SHARES[0] + SHARES[1]);
        let asks = (0..2000).filter(|number| {
            bench.now += Duration::from_micros(1);
            speak(&mut bench, number % 2 == 1);
            bench.segment(20_000 + number, (0, 0), SYN, &[]);
            bench.nat.tcp.room.looked == Some(bench.now)
        });
        asks.count()
    }

    #[test]
    fn ports_that_take_turns_are_looked_at_together() {
        let flood = looks(|bench, port, _| bench.segment(port, (0, 0), SYN, &[]));
        assert!(flood <= 2000 / NOTED, "{flood} looks, each of which notes {NOTED} for both");
        let in_use = looks(|bench, port, socket| {
            bench.open(port, socket);
        });
        assert_eq!(in_use, 1, "there is none to be found");
    }
}
