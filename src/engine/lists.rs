//! The work lists of a switch: ports to read, ports to flush, and paused ports to read on from later. A port is on each
//! list once.

use crate::frame::PortId;
use std::collections::VecDeque;

/// A set of ports.
#[derive(Default)]
pub(super) struct Members(Vec<bool>);

impl Members {
    /// Adds a port. False: it was in.
    pub fn add(&mut self, id: PortId) -> bool {
        if self.0.len() <= id.index() {
            self.0.resize(id.index() + 1, false);
        }
        !std::mem::replace(&mut self.0[id.index()], true)
    }

    /// Takes a port out. False: it was not in.
    pub fn remove(&mut self, id: PortId) -> bool {
        self.0.get_mut(id.index()).is_some_and(std::mem::take)
    }

    /// Whether a port is in.
    pub fn has(&self, id: PortId) -> bool {
        self.0.get(id.index()).is_some_and(|is_in| *is_in)
    }
}

/// Ports that take turns, in the order in which they came.
#[derive(Default)]
pub(super) struct Round {
    order: VecDeque<PortId>,
    members: Members,
}

impl Round {
    /// Puts a port at the end, unless it waits for its turn already.
    pub fn add(&mut self, id: PortId) {
        if self.members.add(id) {
            self.order.push_back(id);
        }
    }

    /// Takes out the port whose turn it is.
    pub fn next(&mut self) -> Option<PortId> {
        let id = self.order.pop_front()?;
        self.members.remove(id);
        Some(id)
    }

    /// Whether a port waits for its turn.
    pub fn has(&self, id: PortId) -> bool {
        self.members.has(id)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn remove(&mut self, id: PortId) {
        if self.members.remove(id) {
            self.order.retain(|&other| other != id);
        }
    }
}

/// The lists of a switch.
#[derive(Default)]
pub(super) struct Lists {
    /// Ports that have something to read.
    pub ready: Round,
    /// Ports that are writable and have something queued.
    pub flushing: Round,
    /// Ports that had something to read when they were paused.
    pub parked: Members,
}

impl Lists {
    /// Takes a removed port off all lists.
    pub fn forget(&mut self, id: PortId) {
        self.ready.remove(id);
        self.flushing.remove(id);
        self.parked.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(round: &mut Round) -> Vec<u16> {
        std::iter::from_fn(|| round.next()).map(|id| id.0).collect()
    }

    #[test]
    fn ports_take_turns_and_none_waits_twice() {
        let mut round = Round::default();
        [3, 1, 3, 70, 1].map(PortId).into_iter().for_each(|id| round.add(id));
        assert_eq!((round.len(), round.has(PortId(70)), round.has(PortId(2))), (3, true, false));
        assert_eq!(round.next(), Some(PortId(3)));
        round.add(PortId(3));
        assert_eq!(turns(&mut round), [1, 70, 3], "whoever had its turn goes to the end");
        assert!(round.is_empty() && !round.has(PortId(3)));
    }

    #[test]
    fn a_port_that_is_no_more_leaves_nothing_to_its_successor() {
        let mut lists = Lists::default();
        let [gone, other] = [PortId(5), PortId(900)];
        for id in [gone, other] {
            lists.ready.add(id);
            lists.flushing.add(id);
            assert!(lists.parked.add(id) && !lists.parked.add(id));
        }
        lists.forget(gone);
        lists.forget(PortId(u16::MAX));
        assert_eq!((turns(&mut lists.ready), turns(&mut lists.flushing)), (vec![900], vec![900]));
        assert!(!lists.parked.has(gone) && lists.parked.remove(other) && !lists.parked.remove(other));
        lists.ready.add(gone);
        assert_eq!(turns(&mut lists.ready), [5]);
    }
}
