//! Ports up and down: by their link, which comes and goes with the peer, and by command, as if a cable were pulled.
//!
//! A port takes part while its link is there and it was not set down. Either way down its stations are forgotten, and what
//! waits for it or is held on its ways is lost; the reasons tell both apart. A port that was set down stays so whatever its
//! link does meanwhile.

use super::Switch;
use super::port::Port;
use crate::counters::DropReason;
use crate::frame::PortId;
use crate::time::Instant;

impl Switch {
    /// Sets a port up or down, as its link is. Frames from a port that is down are dropped; going down clears its stations
    /// and its queue.
    pub fn set_up(&mut self, now: Instant, id: PortId, up: bool) {
        let Some(port) = self.port_mut(id) else { return };
        port.linked = up;
        let up = up && !port.pulled;
        if self.count_up(id, up) && !up {
            self.fall(now, id, [DropReason::IngressDown, DropReason::LinkDown], false);
        }
    }

    /// Sets a port down as if its cable were pulled, or up again; for its peer nothing else changes. With `begun`, part of
    /// the oldest frame that waits has left, and its rest is to follow.
    pub fn pull(&mut self, now: Instant, id: PortId, pulled: bool, begun: bool) {
        let Some(port) = self.port_mut(id) else { return };
        port.pulled = pulled;
        let up = port.linked && !pulled;
        if self.count_up(id, up) && !up {
            self.fall(now, id, [DropReason::RxDown, DropReason::TxDown], begun);
        }
    }

    /// What goes with a port that goes down.
    fn fall(&mut self, now: Instant, id: PortId, reasons: [DropReason; 2], begun: bool) {
        let [_, reason] = reasons;
        self.set_time(now);
        self.drop_held(id, reasons);
        if begun {
            self.empty_behind_first(id, reason);
        } else {
            self.empty_queue(id, reason);
        }
        self.flush_port(now, id);
    }

    /// Whether a port takes part.
    pub fn is_up(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| port.up)
    }

    /// Whether the link of a port is there, be the port set down or not.
    pub fn is_linked(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| port.linked)
    }

    /// Whether a port was set down.
    pub fn is_pulled(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| port.pulled)
    }

    /// Forgets the stations of a port, which stays as it is.
    pub fn flush_port(&mut self, now: Instant, id: PortId) {
        if self.port(id).is_some() {
            self.fdb.flush_port(id, now);
            self.guard.flush_port(id);
            self.hosts.answers.remove_port(id);
        }
    }

    /// Keeps the sums of ports that are up. True when this is a change.
    pub(super) fn count_up(&mut self, id: PortId, up: bool) -> bool {
        let Some(port) = self.port_mut(id).filter(|port| port.up != up) else { return false };
        port.up = up;
        port.blocked = false;
        let open = usize::from(!port.config.isolate);
        if up {
            self.up += 1;
            self.up_open += open;
        } else {
            self.up -= 1;
            self.up_open -= open;
        }
        true
    }

    /// Drops what waits for a port, but for the oldest frame.
    fn empty_behind_first(&mut self, id: PortId, reason: DropReason) {
        let now = self.now;
        let Some(Port { queue, counters, blocked, stalled, full_since, .. }) =
            self.ports.get_mut(id.index()).and_then(Option::as_mut)
        else {
            return;
        };
        let cut = queue.cut(0, &mut self.memory, |frame, bytes| {
            counters.lose(now, reason, Some(bytes));
            if let Some(tape) = &mut self.tape {
                tape.lose(id, reason, frame, bytes);
            }
        });
        counters.count(reason, cut as u64);
        // Its rest leaves as soon as the peer takes it.
        (*blocked, *stalled, *full_since) = (!queue.is_empty(), false, None);
        self.relax(id);
    }
}
