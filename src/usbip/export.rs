//! The table of exported devices: bus id, device, and importer.

use super::monitor::Monitor;
use super::op::{DeviceRecord, InterfaceRecord};
use super::server::ConnectionId;
use crate::time::Instant;
use crate::usb::{Address, Device, Status, TransferKind, Urb};

/// Why a device cannot be exported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Not `N-M` with N in 1..=255 and M in 1..=254.
    #[error("{0:?} is not a bus id (write 1-1 to 255-254)")]
    BusId(String),
    /// Another device has this bus id.
    #[error("bus id {0} is taken")]
    Taken(String),
}

/// Transfers of a device, of all its importers so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct UrbTally {
    /// Ended well.
    pub done: u64,
    /// Ended with an error.
    pub errors: u64,
    /// Taken back by the importer.
    pub unlinked: u64,
}

impl UrbTally {
    /// A transfer has ended.
    pub(super) fn ended(&mut self, urb: &Urb) {
        if urb.status == Status::Ok {
            self.done += 1;
        } else {
            self.errors += 1;
        }
    }
}

/// One exported device.
pub(super) struct Export {
    pub busid: String,
    busnum: u8,
    devnum: u8,
    pub device: Device,
    pub importer: Option<ConnectionId>,
    pub tally: UrbTally,
    /// What a capture sees of it, while there is one.
    pub monitor: Option<Box<Monitor>>,
}

impl Export {
    pub fn new(busid: &str, device: Device) -> Result<Self, ExportError> {
        let (busnum, devnum) = numbers(busid).ok_or_else(|| ExportError::BusId(busid.to_owned()))?;
        let (importer, monitor, tally) = (None, None, UrbTally::default());
        Ok(Self { busid: busid.to_owned(), busnum, devnum, device, importer, tally, monitor })
    }

    /// The device as lists and imports show it. An unconfigured device shows its first configuration, as a host would
    /// have chosen it.
    pub fn record(&self) -> DeviceRecord {
        let description = self.device.description();
        let chosen = self.device.configuration().max(1);
        let configuration = description.configurations.get(usize::from(chosen) - 1);
        let interfaces = configuration.map_or(&[][..], |it| &it.interfaces);
        DeviceRecord {
            path: format!("/sys/bus/usb/devices/usb{}/{}", self.busnum, self.busid),
            busid: self.busid.clone(),
            busnum: u32::from(self.busnum),
            devnum: u32::from(self.devnum),
            speed: description.speed.into(),
            vendor: description.vendor,
            product: description.product,
            release: description.release,
            class: description.class,
            configuration: chosen,
            configurations: description.configurations.len() as u8,
            interfaces: interfaces
                .iter()
                .map(|interface| InterfaceRecord(interface.alternates.first().map(|it| it.class).unwrap_or_default()))
                .collect(),
        }
    }

    /// The name of the device in the URB phase.
    pub fn devid(&self) -> u32 {
        u32::from(self.busnum) << 16 | u32::from(self.devnum)
    }

    /// A capture wants so many bytes of each transfer, or there is none any more.
    pub fn watch(&mut self, now: Instant, snap: Option<u32>) {
        match (&mut self.monitor, snap) {
            (Some(monitor), Some(snap)) => monitor.set_snap(snap),
            (monitor, snap) => {
                let place = (self.busnum, self.devnum);
                let new = snap.map(|snap| Monitor::new(now, &self.busid, place, &self.device, snap));
                *monitor = new.map(Box::new);
            }
        }
    }

    /// Lets `note` tell a capture of the endpoint's kind and of what is said of it, if there is one.
    pub fn show(&mut self, address: Address, note: impl FnOnce(&mut Monitor, Option<TransferKind>)) {
        if let Some(monitor) = &mut self.monitor {
            note(monitor, self.device.endpoint_kind(address));
        }
    }

    /// The time of what is seen next.
    pub fn set_time(&mut self, now: Instant) {
        self.monitor.iter_mut().for_each(|monitor| monitor.set_time(now));
    }

    /// Takes the device from its importer, as if it had been unplugged and plugged in again.
    pub fn free(&mut self) {
        self.importer = None;
        self.device.detach();
    }
}

/// Bus and device number of a bus id. Device 1 of a bus is its root hub, so that port M is device M + 1.
fn numbers(busid: &str) -> Option<(u8, u8)> {
    let (bus, port) = busid.split_once('-')?;
    let number = |text: &str| {
        let value = text.parse::<u8>().ok()?;
        (value > 0 && value.to_string() == text).then_some(value)
    };
    Some((number(bus)?, number(port)?.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_ids_become_numbers_of_eight_bits() {
        assert_eq!(numbers("1-1"), Some((1, 2)));
        assert_eq!(numbers("255-254"), Some((255, 255)));
        for bad in ["", "1", "1-", "0-1", "1-0", "1-255", "256-1", "01-1", "1-+1", "1-1.2"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }
}
