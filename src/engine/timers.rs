//! The timers of a switch's thread. There is one for each [`Due`] at most: setting it anew replaces it.

use crate::frame::PortId;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// The owner of a wish: a port of the switch, or the listener of this index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Wisher {
    Port(PortId),
    Listener(usize),
}

/// The purpose of a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    /// Try to open a port or listener again.
    Try(Wisher),
    /// Let further clients of a listener in.
    Accept(usize),
    /// Check a link that is down.
    Link(PortId),
    /// Check all links.
    Links,
    /// Flush a port again after a shortage of memory.
    Flush(PortId),
    /// Check whether the peer of a line has come.
    Peer(PortId),
    /// Log the number of suppressed lines on a listener's clients.
    Unsaid(usize),
}

impl Due {
    /// All timers of a port.
    fn of_port(id: PortId) -> [Self; 4] {
        [Self::Try(Wisher::Port(id)), Self::Link(id), Self::Flush(id), Self::Peer(id)]
    }

    /// All timers of a listener.
    fn of_listener(index: usize) -> [Self; 3] {
        [Self::Try(Wisher::Listener(index)), Self::Accept(index), Self::Unsaid(index)]
    }
}

/// The running timers, by time and by purpose.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Instant, Due)>,
    times: BTreeMap<Due, Instant>,
}

impl Timers {
    /// Sets the timer for `due`, and replaces an earlier one.
    pub fn set(&mut self, due: Due, at: Instant) {
        if let Some(before) = self.times.insert(due, at) {
            self.queue.remove(&(before, due));
        }
        self.queue.insert((at, due));
    }

    /// The same, unless it is due sooner already.
    pub fn set_by(&mut self, due: Due, at: Instant) {
        if self.times.get(&due).is_none_or(|&before| before > at) {
            self.set(due, at);
        }
    }

    /// Cancels the timers of a port.
    pub fn forget_port(&mut self, id: PortId) {
        Due::of_port(id).into_iter().for_each(|due| self.cancel(due));
    }

    /// Cancels the timers of a listener.
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
