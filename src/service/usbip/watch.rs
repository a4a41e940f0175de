//! Polls other servers for the presence of imported devices.
//!
//! Theory of operation. The server of an import is asked for its list when the port starts; the port's report shows the
//! result. While the device is absent, the server is asked again after 100 ms, then at twice the interval up to two
//! seconds. Once it is present there is no polling: its user detects the loss by a dial that fails or a connection that
//! ends, and leaves a note at its [`Foreign`]. While it is in use there is none either, since some servers have room
//! for one connection.

use super::line::World;
use super::relay::{Ask, PATIENCE};
use crate::config::Import;
use crate::time::{Duration, Instant};
use crate::usbip::DeviceRecord;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Presence of a device, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// Its server has not answered yet.
    Asked,
    There,
    /// It is absent, for this reason.
    Away(String),
}

/// A device of another server.
pub(super) struct Foreign {
    /// Its name here.
    pub busid: String,
    pub import: Import,
    pub busy: bool,
    pub presence: Presence,
    /// What its server told of it last.
    pub record: Option<DeviceRecord>,
    /// A line's note of its presence.
    pub note: Option<Result<(), String>>,
}

impl Foreign {
    pub fn new(busid: String, import: Import) -> Self {
        Self { busid, import, busy: false, presence: Presence::Asked, record: None, note: None }
    }

    pub fn path(&self) -> String {
        format!("/zbridge/{}/{}", self.import.server, self.import.busid)
    }

    /// As a port shows it: `1-2 127.0.0.1:3240/1-1`, and why it cannot be had.
    pub fn shown(&self) -> String {
        let import = format!("{} {}", self.busid, self.import);
        match &self.presence {
            Presence::There => import,
            Presence::Asked => format!("{import} (being asked for)"),
            Presence::Away(why) => format!("{import} ({why})"),
        }
    }
}

/// The poller of one device.
pub(super) struct Watch {
    /// The list request under way, and its timeout.
    ask: Option<(Ask, Instant)>,
    /// When to poll next.
    next: Option<Instant>,
    retry: Duration,
}

impl Watch {
    pub fn new() -> Self {
        Self { ask: None, next: Some(Instant::ZERO), retry: FIRST_RETRY }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ask.as_ref().map(|(_, due)| *due).or(self.next)
    }

    /// Polls for the device number `at` if it is time. `tell` takes it when it has come or gone. Returns whether its
    /// presence, or the reason of its absence, has changed.
    pub fn work(&mut self, now: Instant, at: usize, world: &mut World, tell: impl FnOnce(&Foreign)) -> bool {
        let Some(busy) = world.foreign.get(at).map(|foreign| foreign.busy) else { return false };
        if self.ask.is_none() && self.next.is_some_and(|next| next <= now) {
            self.next = None;
            if busy {
                self.next = Some(now + LAST_RETRY);
            } else {
                self.ask = Some((Ask::new(at, world), now + PATIENCE));
            }
        }
        if let Some((mut ask, due)) = self.ask.take() {
            if ask.work(world, now >= due) {
                ask.close(world);
            } else {
                self.ask = Some((ask, due));
            }
        }
        let Some(foreign) = world.foreign.get_mut(at) else { return false };
        let Some(note) = foreign.note.take() else { return false };
        let before = std::mem::replace(&mut foreign.presence, note.map_or_else(Presence::Away, |()| Presence::There));
        let is_there = foreign.presence == Presence::There;
        if is_there {
            (self.retry, self.next) = (FIRST_RETRY, None);
        } else if self.ask.is_none() {
            self.next = Some(now + self.retry);
            self.retry = (self.retry * 2).min(LAST_RETRY);
        }
        if before == Presence::Asked || is_there != (before == Presence::There) {
            tell(foreign);
        }
        before != foreign.presence
    }
}
