//! Deadlines of many flows: setting one later costs nothing, and only the first is ever looked at.
//!
//! A flow's deadline moves with every packet, mostly away. So a flow has one entry, which may be earlier than its
//! deadline: when it comes up the flow is asked, and entered again if it was too early. Only a deadline that is earlier
//! than the entry moves it.

use crate::time::Instant;
use std::collections::BTreeSet;

/// See the module. A flow is named by its index.
#[derive(Default)]
pub(super) struct Timers(BTreeSet<(Instant, u32)>);

impl Timers {
    /// The flow's deadline is `due`. `entry` belongs to the flow: where it stands in here.
    pub fn set(&mut self, flow: u32, entry: &mut Option<Instant>, due: Instant) {
        match *entry {
            Some(at) if at <= due => return,
            Some(at) => {
                self.0.remove(&(at, flow));
            }
            None => {}
        }
        self.0.insert((due, flow));
        *entry = Some(due);
    }

    /// The flow is no more.
    pub fn remove(&mut self, flow: u32, entry: &mut Option<Instant>) {
        if let Some(at) = entry.take() {
            self.0.remove(&(at, flow));
        }
    }

    /// When a flow may be due.
    pub fn first(&self) -> Option<(Instant, u32)> {
        self.0.first().copied()
    }

    /// The next flow that may be due at `now`. Its entry is gone: the flow has to forget it, too.
    pub fn pop(&mut self, now: Instant) -> Option<u32> {
        let &(at, _) = self.0.first()?;
        if at > now { None } else { self.0.pop_first().map(|(_, flow)| flow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_deadline_moves_the_entry() {
        let at = Instant::from_secs;
        let (mut timers, mut entry) = (Timers::default(), None);
        timers.set(7, &mut entry, at(5));
        timers.set(7, &mut entry, at(9));
        assert_eq!(timers.first(), Some((at(5), 7)));
        timers.set(7, &mut entry, at(3));
        assert_eq!((timers.first(), timers.0.len()), (Some((at(3), 7)), 1));
        assert_eq!((timers.pop(at(2)), timers.pop(at(3))), (None, Some(7)));
        entry = None;
        timers.set(7, &mut entry, at(9));
        timers.remove(7, &mut entry);
        assert_eq!((timers.first(), entry), (None, None));
    }
}
