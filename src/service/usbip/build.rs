//! Makes devices and their drivers from the configuration.
//!
//! It opens their back ends, in the devices' order.

use super::driver::{Disk, Driver, Script, SerialPort, Source};
use super::watch::Foreign;
use crate::config::{Serial, UsbDevice, UsbKind, UsbSpeed, Usbip};
use crate::error::{Error, Result};
use crate::service::outside::{Found, Outside, SocketId, Want};
use crate::usb::class::hid::Kind;
use crate::usb::class::{CdcAcm, Hid, Identity, Loopback, MassStorage, Pattern};
use crate::usb::{Device, Speed};
use crate::usbip::{DEAD_PEER, Server};

/// The devices of other servers.
pub(super) fn foreign(usbip: &Usbip) -> Vec<Foreign> {
    let busids = usbip.busids().into_iter().skip(usbip.devices.len());
    usbip.imports.iter().zip(busids).map(|(import, busid)| Foreign::new(busid, import.clone())).collect()
}

/// Listens on the machine's own address, too, if one is configured.
pub(super) fn listen(name: &str, usbip: &Usbip, outside: &mut dyn Outside) -> Result<Option<SocketId>> {
    let Some(addr) = &usbip.listen else { return Ok(None) };
    let want = Want::Tcp { addr: addr.clone(), single: false, patience: usbip.patience() };
    obtain(name, "USB/IP", &want, outside).map(|(socket, _)| Some(socket))
}

/// Opens a back end, and logs its address if it listens.
fn obtain(name: &str, what: &str, want: &Want, outside: &mut dyn Outside) -> Result<(SocketId, Found)> {
    let (socket, found) = outside.obtain(want)?;
    if let Some(addr) = found.listening() {
        log::info!("{name}: {what} is served at tcp {addr}, too");
    }
    Ok((socket, found))
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

/// Makes the devices and exports them. Gives the drivers of those with a back end.
pub(super) fn export(server: &mut Server, name: &str, usbip: &Usbip, outside: &mut dyn Outside) -> Result<Vec<Driver>> {
    let mut drivers = Vec::new();
    for (device, busid) in usbip.devices.iter().zip(usbip.busids()) {
        let refused = |why: String| Error::usage(format!("device={device}: {why}"));
        let obtained = want(device).map(|want| obtain(name, "a serial port", &want, outside)).transpose()?;
        let serial = device.serial.clone().unwrap_or_else(|| serial_number(name, usbip, &busid));
        let found = obtained.as_ref().map(|(_, found)| found);
        let made = make(device, serial, found).map_err(|why| refused(why.to_string()).because(why))?;
        drivers.extend(obtained.map(|(socket, _)| driver(device, &busid, socket)));
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

/// FNV-1a with splitmix64's finalizer, which spreads the last step over all bits, as most texts differ in one digit
/// only.
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

fn driver(device: &UsbDevice, busid: &str, socket: SocketId) -> Driver {
    let source = match &device.kind {
        UsbKind::MassStorage { .. } => return Driver::Disk(Disk::new(busid, socket)),
        UsbKind::Keyboard(_) | UsbKind::Mouse(_) => return Driver::Script(Script::new(busid, socket)),
        UsbKind::CdcAcm(Serial::Unix(..) | Serial::Tcp(_)) => Source::Listener(socket),
        UsbKind::CdcAcm(_) | UsbKind::Loopback => Source::Stream(socket),
    };
    Driver::Serial(SerialPort::new(busid, source))
}
