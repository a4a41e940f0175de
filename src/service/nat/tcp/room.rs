//! Eviction: which flow ends so that another can begin, when the table is full.
//!
//! # Theory of operation
//! A connection that the guest has closed and the server has not would end by its timeout only, and a guest that asks
//! such a server often would have no TCP at all. So a new flow evicts another, of the same port of the switch if that
//! has its share, and else of the port that has most: first a flow that both sides have ended, then a half-closed one,
//! then one that does not stand yet, and last an idle one that stands; of each the longest idle. One that stands and is
//! not idle stays.
//!
//! To find it all flows are scanned, which costs too much for each packet of a flood: so one scan notes several
//! candidates of every port, and the next scan waits until they are used up. If a port had fewer than a scan would
//! note, there is no scan for it for a while: so one scan serves many packets, however many ports take turns at asking.

use super::flow::{Flow, Key, Worth};
use crate::frame::PortId;
use crate::service::table::Table;
use crate::time::{Duration, Instant};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// How long a flow that stands must be idle to be evicted.
const REST: Duration = Duration::from_secs(60);
/// Candidates of one port that a scan notes.
const NOTED: usize = 64;
/// How long a port whose candidates were all noted waits for another scan.
const PAUSE: Duration = Duration::from_millis(100);

/// Order of eviction: the least first.
type Rank = (Worth, Instant);

/// Candidates of one port, or of the ended flows.
struct Notes {
    /// The first to go last.
    left: Vec<(Rank, Key)>,
    /// The scan left others out.
    more: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Room {
    /// Candidates by port. `None`: ended flows, which count for no port but take a place.
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

    /// The next candidate whose rank has not changed.
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
    /// Shares of a port that is alone, and of one that comes second.
    const SHARES: [usize; 2] = [NAT_TCP_FLOWS / 8 * 7, NAT_TCP_FLOWS / 64 * 7];

    /// How often all flows are looked at while two ports that have their shares take turns at asking for 1000 more
    /// each.
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
