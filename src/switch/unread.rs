//! Ports that are full and read nothing, where nobody is paused for them.
//!
//! Theory of operation. Whom sources are paused for is checked every few milliseconds (`egress.rs`). A port that is only
//! flooded to, or sent to by ports that cannot be paused, is never checked so; that its peer is dead shows by this: it had
//! to drop a frame as there was no room, and for [`STALL`] from then on nothing left its queue. Then it counts as stalled,
//! as any other. A slow peer that takes a frame now and then loses what is too much by its queue's limit, and is no dead one.
//!
//! A port is on the list from its first such drop until the next look after it has taken a frame, was emptied, or has
//! stalled: what a port that reads costs is one comparison for each time that its queue is flushed.

use super::{Event, Switch};
use crate::frame::PortId;
use crate::limits::STALL_MILLIS;
use crate::time::{Duration, Instant};

/// How long a full port may take nothing.
const STALL: Duration = Duration::from_millis(STALL_MILLIS);

impl Switch {
    /// Notes that a frame was dropped because `id` has no room.
    pub(super) fn note_full(&mut self, id: PortId) {
        let now = self.now;
        let Some(port) = self.port_mut(id).filter(|port| !port.stalled && port.full_since.is_none()) else { return };
        port.full_since = Some(now);
        if !std::mem::replace(&mut port.is_unread, true) {
            self.unread.push(id);
        }
    }

    /// When the first of them counts as stalled.
    pub(super) fn next_unread(&self) -> Option<Instant> {
        self.unread.iter().filter_map(|&id| Some(self.port(id)?.full_since? + STALL)).min()
    }

    /// Looks who has taken nothing for too long.
    pub(super) fn tend_unread(&mut self, now: Instant) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.retain(|&id| {
            let Some(port) = self.port_mut(id) else { return false };
            match port.full_since.filter(|_| !port.stalled) {
                Some(since) if now < since + STALL => return true,
                Some(_) => {
                    port.stalled = true;
                    port.restart_pace(now);
                    self.end_congestion(id);
                    self.tell(Event::Stalled(id));
                }
                None => {}
            }
            if let Some(port) = self.port_mut(id) {
                (port.full_since, port.is_unread) = (None, false);
            }
            false
        });
        self.unread = unread;
    }

    /// Forgets a port that leaves.
    pub(super) fn forget_unread(&mut self, id: PortId) {
        self.unread.retain(|&other| other != id);
    }
}
