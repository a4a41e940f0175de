//! The port's devices and their importers, for who asks.

use super::UsbipPort;
use super::line::Line;
use super::watch::{Foreign, Presence};
use crate::service::detail::{DeviceDetail, ImporterDetail, UrbCounts};
use crate::time::Instant;
use crate::usbip::{Exported, SpeedCode};

impl UsbipPort {
    /// Its own devices, and those of other servers.
    pub(super) fn devices(&self, now: Instant) -> Vec<DeviceDetail> {
        let own = self.server.exported().map(|exported| self.own(now, &exported));
        own.chain(self.foreign.iter().map(|foreign| self.imported(now, foreign))).collect()
    }

    fn own(&self, now: Instant, exported: &Exported<'_>) -> DeviceDetail {
        let description = exported.device.description();
        let line = exported.importer.and_then(|id| self.lines.iter().find(|line| line.id == id));
        DeviceDetail {
            busid: exported.busid.to_owned(),
            id: Some((description.vendor, description.product)),
            name: description.product_name.clone().unwrap_or_default(),
            speed: SpeedCode::from(description.speed).word(),
            import: None,
            state: if exported.importer.is_some() { "in use" } else { "free" },
            why: None,
            importer: line.map(|line| importer(now, line)),
            urbs: Some(UrbCounts {
                done: exported.counts.done,
                errors: exported.counts.errors,
                unlinked: exported.counts.unlinked,
                in_flight: exported.in_flight,
            }),
        }
    }

    fn imported(&self, now: Instant, foreign: &Foreign) -> DeviceDetail {
        let line = self.lines.iter().find(|line| line.holds(&foreign.busid, &self.server, &self.foreign));
        let (state, why) = match &foreign.presence {
            _ if line.is_some() => ("in use", None),
            Presence::There => ("free", None),
            Presence::Asked => ("connecting", None),
            Presence::Away(why) => ("waiting", Some(why.clone())),
        };
        let record = foreign.record.as_ref();
        DeviceDetail {
            busid: foreign.busid.clone(),
            id: record.map(|record| (record.vendor, record.product)),
            // Its name is in a string descriptor, which only its importer reads.
            name: String::new(),
            speed: record.map_or("", |record| record.speed.word()),
            import: Some(foreign.import.to_string()),
            state,
            why,
            importer: line.map(|line| importer(now, line)),
            urbs: None,
        }
    }
}

fn importer(now: Instant, line: &Line) -> ImporterDetail {
    ImporterDetail { peer: line.source, age: now - line.since }
}
