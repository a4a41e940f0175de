//! From the words of a configuration to devices and their drivers.
//!
//! The wants of a port are in the order of its devices, one for each that has something outside, and behind them the
//! address of the machine that is served, too, and the servers of its imports.

use super::driver::{Disk, Driver, Script, SerialPort};
use super::watch::Foreign;
use crate::config::{Serial, UsbDevice, UsbKind, UsbSpeed, Usbip};
use crate::error::{Error, Result};
use crate::service::outside::{Found, Want};
use crate::usb::class::hid::Kind;
use crate::usb::class::{CdcAcm, Hid, Identity, Loopback, MassStorage, Pattern};
use crate::usb::{Device, Speed};
use crate::usbip::{DEAD_PEER, Server};

/// What a USB/IP port works with outside.
pub fn wants(usbip: &Usbip) -> Vec<Want> {
    let devices = usbip.devices.iter().filter_map(want);
    let listen =
        usbip.listen.iter().map(|addr| Want::Tcp { addr: addr.clone(), single: false, patience: usbip.patience() });
    let dials = usbip.imports.iter().map(|import| Want::Dial(import.server.clone()));
    devices.chain(listen).chain(dials).collect()
}

/// The devices of other servers.
pub(super) fn foreign(usbip: &Usbip) -> Vec<Foreign> {
    let first = wants(usbip).len() - usbip.imports.len();
    let busids = usbip.busids().into_iter().skip(usbip.devices.len());
    let named = usbip.imports.iter().zip(busids).zip(first..);
    named.map(|((import, busid), want)| Foreign::new(busid, import.clone(), want)).collect()
}

/// The want whose streams are clients of the server.
pub(super) fn host_want(usbip: &Usbip) -> Option<usize> {
    usbip.listen.as_ref().map(|_| usbip.devices.iter().filter_map(want).count())
}

fn want(device: &UsbDevice) -> Option<Want> {
    match &device.kind {
        UsbKind::CdcAcm(Serial::Echo) | UsbKind::Loopback => None,
        UsbKind::CdcAcm(Serial::Pty(path, access)) => Some(Want::Pty(path.clone(), access.clone())),
        UsbKind::CdcAcm(Serial::Unix(path, access)) => Some(Want::Unix(path.clone(), access.clone())),
        UsbKind::CdcAcm(Serial::Tcp(addr)) => Some(Want::Tcp { addr: addr.clone(), single: true, patience: DEAD_PEER }),
        UsbKind::CdcAcm(Serial::File(path)) => Some(Want::Append(path.clone())),
        UsbKind::MassStorage { image, read_only, cow, raw } => {
            Some(Want::Disk { image: image.clone(), read_only: *read_only, cow: *cow, raw: *raw })
        }
        UsbKind::Keyboard(script) | UsbKind::Mouse(script) => script.clone().map(Want::Read),
    }
}

/// Makes the devices and exports them. Gives the drivers of those that have something outside.
pub(super) fn export(server: &mut Server, name: &str, usbip: &Usbip, found: &[Found]) -> Result<Vec<Driver>> {
    let mut drivers = Vec::new();
    let mut next = 0;
    for (device, busid) in usbip.devices.iter().zip(usbip.busids()) {
        let refused = |why: String| Error::usage(format!("device={device}: {why}"));
        let wanted = want(device).map(|_| next);
        next += usize::from(wanted.is_some());
        let serial = device.serial.clone().unwrap_or_else(|| serial_number(name, usbip, &busid));
        let made = make(device, serial, wanted.and_then(|want| found.get(want)))
            .map_err(|why| refused(why.to_string()).because(why))?;
        drivers.extend(wanted.map(|want| driver(device, &busid, want)));
        server.export(&busid, made).map_err(|why| refused(why.to_string()).because(why))?;
    }
    Ok(drivers)
}

/// A serial number that no other device of the machine is likely to have, and that is the same at every start: made of
/// the port's name and address and the bus id. 16 hexadecimal digits: a disk wants twelve or more (BOT 1.0, 4.1.1). Hosts
/// name devices after it (`/dev/serial/by-id`), and take two disks with one number for the same disk.
fn serial_number(name: &str, usbip: &Usbip, busid: &str) -> String {
    let addr = usbip.addrs.first().map(ToString::to_string).unwrap_or_default();
    format!("{:016X}", fnv1a(&format!("{name} {addr} {busid}")))
}

/// FNV-1a, whose last step is spread over all bits as splitmix64 does, since texts that differ in one digit are the rule.
fn fnv1a(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

fn make(
    device: &UsbDevice,
    serial: String,
    found: Option<&Found>,
) -> std::result::Result<Device, crate::usb::DescriptionError> {
    let identity = Identity {
        speed: match device.speed {
            UsbSpeed::Full => Speed::Full,
            UsbSpeed::High => Speed::High,
            UsbSpeed::Super => Speed::Super,
        },
        vendor: device.vendor,
        product: device.product,
        serial: Some(serial),
    };
    match &device.kind {
        UsbKind::CdcAcm(end) => CdcAcm::device(&identity, *end == Serial::Echo),
        UsbKind::Loopback => Loopback::device(&identity, Pattern::Zero),
        UsbKind::MassStorage { read_only, .. } => {
            let blocks = match found {
                Some(Found::Disk(blocks)) => *blocks,
                _ => 0,
            };
            MassStorage::device(&identity, blocks, *read_only)
        }
        UsbKind::Keyboard(_) => Hid::device(&identity, Kind::Keyboard),
        UsbKind::Mouse(_) => Hid::device(&identity, Kind::Mouse),
    }
}

fn driver(device: &UsbDevice, busid: &str, want: usize) -> Driver {
    match device.kind {
        UsbKind::MassStorage { .. } => Driver::Disk(Disk::new(busid, want)),
        UsbKind::Keyboard(_) | UsbKind::Mouse(_) => Driver::Script(Script::new(busid, want)),
        UsbKind::CdcAcm(_) | UsbKind::Loopback => Driver::Serial(SerialPort::new(busid, want)),
    }
}
