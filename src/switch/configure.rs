//! Settings of a port that change while it is there.

use super::Switch;
use super::fdb::Key;
use super::guard::Address;
use crate::frame::PortId;
use crate::time::Instant;
use crate::wire::Mac;

/// What may change of a port: see [`PortConfig`](super::PortConfig).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Source addresses are learned.
    pub learn: bool,
    /// Exchanges nothing with other isolated ports.
    pub isolate: bool,
    /// Its addresses are its alone.
    pub guard: bool,
    /// The longest payload.
    pub mtu: Option<u32>,
    /// Frames that may wait for it.
    pub queue: usize,
}

impl Switch {
    /// The settings of a port that may change.
    pub fn settings(&self, id: PortId) -> Option<Settings> {
        let config = &self.port(id)?.config;
        let (learn, isolate, guard) = (config.learn, config.isolate, self.guard.has_port(id));
        Some(Settings { learn, isolate, guard, mtu: config.mtu, queue: config.queue })
    }

    /// Changes them, from the next frame on. Frames that wait stay; where nothing is learned any more, what was is
    /// forgotten.
    pub fn configure(&mut self, now: Instant, id: PortId, settings: Settings) {
        let guarded = self.guard.has_port(id);
        let Some(port) = self.port_mut(id) else { return };
        let before = port.config.clone();
        port.config.learn = settings.learn;
        port.config.isolate = settings.isolate;
        port.config.guard = settings.guard;
        port.config.mtu = settings.mtu;
        port.config.queue = settings.queue;
        port.queue.set_limit(settings.queue.max(1));
        if port.up && before.isolate != settings.isolate {
            if settings.isolate {
                self.up_open -= 1;
            } else {
                self.up_open += 1;
            }
        }
        let cuts = std::mem::take(&mut self.cuts);
        self.set_cuts(cuts);
        match (guarded, settings.guard) {
            (false, true) => self.guard.add_port(id),
            (true, false) => self.guard.release_port(id),
            _ => {}
        }
        if before.learn && !settings.learn {
            self.fdb.flush_port(id, now);
        }
    }

    /// Whether a station is bound to this port for good.
    pub fn has_static(&self, mac: Mac, port: PortId, now: Instant) -> bool {
        self.fdb.entries(now).any(|entry| entry.mac == mac && entry.port == port && entry.age.is_none())
    }

    /// A station is no longer bound to a port for good, if it is.
    pub fn remove_static(&mut self, mac: Mac, port: PortId, now: Instant) {
        let key = Key::new(mac.as_u64(), 0);
        if self.has_static(mac, port, now) {
            self.fdb.remove(key);
        }
        self.guard.unbind(Address::Mac(mac), port);
    }
}
