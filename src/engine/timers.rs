//! What a switch's thread has to do at a time of its own. Each deed has one time at most: a timer that was set anew, or
//! taken back, never comes.

use crate::frame::PortId;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// Who has asked for something that is not there: a port of the switch, or the listener of this index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wisher {
    Port(PortId),
    Listener(usize),
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    /// What was asked for is tried again.
    Try(Wisher),
    /// A listener lets further clients in.
    Accept(usize),
    /// A link that is down is looked at.
    Link(PortId),
    /// All links are looked at.
    Links,
    /// A port may have memory again for what waits for it.
    Flush(PortId),
    /// Whether the peer of a line has come.
    Peer(PortId),
    /// What was left unsaid of a listener's clients.
    Unsaid(usize),
}

impl Due {
    /// All that a port may have set.
    fn of_port(id: PortId) -> [Self; 4] {
        [Self::Try(Wisher::Port(id)), Self::Link(id), Self::Flush(id), Self::Peer(id)]
    }

    /// All that a listener may have set.
    fn of_listener(index: usize) -> [Self; 3] {
        [Self::Try(Wisher::Listener(index)), Self::Accept(index), Self::Unsaid(index)]
    }
}

/// The timers that run, by their time and by what they are for.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Due)>,
    times: BTreeMap<Due, Instant>,
}

impl Timers {
    /// Sets the time of `due`, whatever it was.
    pub fn set(&mut self, due: Due, at: Instant) {
        if let Some(before) = self.times.insert(due, at) {
            self.queue.remove(&(before, due));
        }
        self.queue.insert((at, due));
    }

    /// The same, unless its time comes sooner anyhow.
    pub fn set_by(&mut self, due: Due, at: Instant) {
        if self.times.get(&due).is_none_or(|&before| before > at) {
            self.set(due, at);
        }
    }

    /// A port is no more.
    pub fn forget_port(&mut self, id: PortId) {
        Due::of_port(id).into_iter().for_each(|due| self.cancel(due));
    }

    /// A listener is no more.
    pub fn forget_listener(&mut self, index: usize) {
        Due::of_listener(index).into_iter().for_each(|due| self.cancel(due));
    }

    fn cancel(&mut self, due: Due) {
        if let Some(at) = self.times.remove(&due) {
            self.queue.remove(&(at, due));
        }
    }

    /// The time of the next one.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// Takes out one whose time has come.
    pub fn pop(&mut self, now: Instant) -> Option<Due> {
        let (_, due) = self.queue.first().copied().filter(|&(at, _)| at <= now)?;
        self.cancel(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn each_deed_has_one_time() {
        let mut timers = Timers::default();
        let (link, flush) = (Due::Link(PortId(1)), Due::Flush(PortId(2)));
        timers.set(link, at(50));
        timers.set(flush, at(20));
        timers.set(flush, at(70));
        assert_eq!((timers.next(), timers.pop(at(49))), (Some(at(50)), None));
        timers.set_by(link, at(60));
        timers.set_by(flush, at(40));
        assert_eq!([60, 60, 60].map(|now| timers.pop(at(now))), [Some(flush), Some(link), None]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn who_is_no_more_leaves_no_timer() {
        let mut timers = Timers::default();
        for due in Due::of_port(PortId(3)).into_iter().chain(Due::of_listener(3)) {
            timers.set(due, at(1));
        }
        timers.set(Due::Links, at(2));
        timers.forget_port(PortId(3));
        timers.forget_listener(3);
        assert_eq!([timers.pop(at(9)), timers.pop(at(9))], [Some(Due::Links), None]);
    }
}
