//! Deadlines of many flows: setting one later costs nothing, and only the first is ever looked at.
//!
//! A flow's deadline moves with every packet, mostly to later. So a flow has one entry, which may be earlier than its
//! deadline: when it comes up the deadline is checked, and the flow entered again if it was too early. Only a deadline
//! that is earlier than the entry moves it.
//!
//! Entries are also kept by port of the switch: so a port's first deadline is found without a scan of all flows.

use crate::frame::PortId;
use crate::time::Instant;
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashMap};

type Entries = BTreeSet<(Instant, u32)>;

/// See the module. A flow is named by its index, and has a port that stays the same.
#[derive(Default)]
pub(super) struct Timers {
    all: Entries,
    of: HashMap<PortId, Entries, RandomState>,
}

impl Timers {
    /// The flow's deadline is `due`. `entry` belongs to the flow: where it stands in here.
    pub fn set(&mut self, (flow, port): (u32, PortId), entry: &mut Option<Instant>, due: Instant) {
        if entry.is_some_and(|at| at <= due) {
            return;
        }
        self.move_to((flow, port), entry, due);
    }

    /// The flow's entry is moved to its deadline, which may be later.
    pub fn move_to(&mut self, (flow, port): (u32, PortId), entry: &mut Option<Instant>, due: Instant) {
        self.remove((flow, port), entry);
        self.all.insert((due, flow));
        self.of.entry(port).or_default().insert((due, flow));
        *entry = Some(due);
    }

    /// The flow is no more.
    pub fn remove(&mut self, (flow, port): (u32, PortId), entry: &mut Option<Instant>) {
        let Some(at) = entry.take() else { return };
        self.all.remove(&(at, flow));
        if let Some(its) = self.of.get_mut(&port) {
            its.remove(&(at, flow));
            if its.is_empty() {
                self.of.remove(&port);
            }
        }
    }

    /// When a flow may be due.
    pub fn first(&self) -> Option<(Instant, u32)> {
        self.all.first().copied()
    }

    /// The same of a port's flows.
    pub fn first_of(&self, port: PortId) -> Option<(Instant, u32)> {
        self.of.get(&port)?.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_deadline_moves_the_entry() {
        let (at, port) = (Instant::from_secs, PortId(3));
        let (mut timers, mut entry) = (Timers::default(), None);
        timers.set((7, port), &mut entry, at(5));
        timers.set((7, port), &mut entry, at(9));
        assert_eq!(timers.first(), Some((at(5), 7)));
        timers.set((7, port), &mut entry, at(3));
        assert_eq!((timers.first(), timers.first_of(port), timers.all.len()), (Some((at(3), 7)), Some((at(3), 7)), 1));
        timers.move_to((7, port), &mut entry, at(9));
        assert_eq!((timers.first_of(port), timers.first_of(PortId(4)), entry), (Some((at(9), 7)), None, Some(at(9))));
        timers.remove((7, port), &mut entry);
        assert_eq!((timers.first(), timers.of.len(), entry), (None, 0, None));
    }
}
