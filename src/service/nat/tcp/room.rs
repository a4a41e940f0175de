//! Which flow ends so that another can begin, where there are as many as there may be.
//!
//! # Theory of operation
//! Only time would free the place of a connection that its guest has closed and its server has not, and a guest that asks
//! such a server often would have no TCP at all. So a new flow takes the place of another, of the same port of the switch
//! where that has its share, and else of the port that has most: first of one that both sides have ended, then of one that
//! one side has ended, then of one that does not stand yet, and of one that stands and rests last. In each the one goes
//! that has rested longest. One that stands and has not rested for a while stays.
//!
//! To find it all flows are looked at, which costs too much for each packet of a flood: several are noted in one look, and
//! are gone through before the next one.

use super::flow::{Flow, Key, Worth};
use crate::frame::PortId;
use crate::service::nat::table::Table;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// How long a flow has to rest that stands, to make room for another.
const REST: Duration = Duration::from_secs(60);
/// Flows that are noted in one look.
const NOTED: usize = 64;
/// After a look that found none there is none for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// How soon a flow is to go: the least first.
type Rank = (Worth, Instant);

/// Whose flow may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Whose {
    port: Option<PortId>,
    /// Also one that counts for nobody: what is lacking is a place, and not somebody's share.
    nobodys: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Room {
    /// Flows that were found, the first to go first, of the port that was looked for.
    noted: VecDeque<(Key, Rank)>,
    of: Option<Whose>,
    /// There was none to be found.
    again: Option<Instant>,
}

impl Room {
    /// The flow to end so that `port` can have another one.
    pub fn make(&mut self, now: Instant, port: PortId, flows: &Table<Flow>) -> Option<u32> {
        let whose = Whose { port: flows.whose_to_go(port), nobodys: flows.is_within(port) };
        if self.of != Some(whose) {
            *self = Self { of: Some(whose), ..Self::default() };
        }
        loop {
            while let Some((key, rank)) = self.noted.pop_front() {
                let index = flows.find(&key);
                if index.and_then(|index| flows.get(index)).is_some_and(|flow| rank_of(flow) == rank) {
                    return index;
                }
            }
            if self.again.is_some_and(|at| now < at) {
                return None;
            }
            self.look(now, whose, flows);
        }
    }

    fn look(&mut self, now: Instant, whose: Whose, flows: &Table<Flow>) {
        let may_go = |flow: &&Flow| match flow.worth() {
            Worth::Over => whose.nobodys,
            _ if whose.port != Some(flow.station.port()) => false,
            Worth::Half | Worth::Opening => true,
            Worth::Open => now - flow.rests_since() >= REST,
        };
        let mut found: Vec<(Rank, Key)> = flows.iter().filter(may_go).map(|flow| (rank_of(flow), flow.key)).collect();
        if found.len() > NOTED {
            found.select_nth_unstable_by_key(NOTED, |(rank, _)| *rank);
            found.truncate(NOTED);
        }
        found.sort_unstable_by_key(|(rank, _)| *rank);
        self.again = found.is_empty().then_some(now + PAUSE);
        self.noted = found.into_iter().map(|(rank, key)| (key, rank)).collect();
    }
}

fn rank_of(flow: &Flow) -> Rank {
    (flow.worth(), flow.rests_since())
}
