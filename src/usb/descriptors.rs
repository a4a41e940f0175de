//! The descriptors of a device at one speed, as bytes (USB 2.0, 9.6; USB 3.2, 9.6).
//!
//! Built once from a [`Description`] and then only read: a request for a descriptor is a slice.

use super::describe::{Alternate, Configuration, Description, Endpoint};
use super::types::{ClassCode, Speed, TransferKind};
use super::validate::{self, DescriptionError};
use std::time::Duration;

/// Descriptor types (USB 2.0, table 9-5; USB 3.2, table 9-6).
pub(super) mod kind {
    pub const DEVICE: u8 = 1;
    pub const CONFIGURATION: u8 = 2;
    pub const STRING: u8 = 3;
    pub const INTERFACE: u8 = 4;
    pub const ENDPOINT: u8 = 5;
    pub const DEVICE_QUALIFIER: u8 = 6;
    pub const OTHER_SPEED: u8 = 7;
    pub const ASSOCIATION: u8 = 11;
    pub const BOS: u8 = 15;
    pub const ENDPOINT_COMPANION: u8 = 48;
}

/// US English, the one language of the strings.
const LANGUAGE: u16 = 0x0409;
/// USB 2.0 extension: LPM supported (USB 3.2, table 9-13). SuperSpeed devices have to have it.
const USB2_EXTENSION: [u8; 7] = [7, 0x10, 2, 0x02, 0, 0, 0];
/// SuperSpeed device capability: full, high and SuperSpeed, all functions from full speed on, exit latencies of
/// 10 µs from U1 and 2047 µs from U2 (USB 3.2, table 9-14).
const SUPERSPEED: [u8; 10] = [10, 0x10, 3, 0, 0x0e, 0, 1, 0x0a, 0xff, 0x07];

/// All descriptors of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptors {
    device: [u8; 18],
    configurations: Vec<Vec<u8>>,
    qualifier: Option<[u8; 10]>,
    other_speed: Vec<Vec<u8>>,
    bos: Option<Vec<u8>>,
    strings: Vec<Vec<u8>>,
}

impl Descriptors {
    /// The descriptors of `device` at its speed.
    ///
    /// # Errors
    /// The first rule that the description breaks.
    pub fn new(device: &Description) -> Result<Self, DescriptionError> {
        validate::check(device)?;
        let mut texts: Vec<&str> = Vec::new();
        for text in device.texts() {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let build = |speed, kind| -> Result<Vec<Vec<u8>>, DescriptionError> {
            let all = device.configurations.iter().enumerate();
            all.map(|(at, configuration)| Builder { speed, texts: &texts }.configuration(at, kind, configuration))
                .collect()
        };
        let high = device.speed == Speed::High;
        Ok(Self {
            device: device_descriptor(device, &texts),
            configurations: build(device.speed, kind::CONFIGURATION)?,
            qualifier: high.then(|| qualifier(device)),
            other_speed: if high { build(Speed::Full, kind::OTHER_SPEED)? } else { Vec::new() },
            bos: bos(device),
            strings: strings(&texts),
        })
    }

    /// The device descriptor.
    pub fn device(&self) -> &[u8; 18] {
        &self.device
    }

    /// The configurations' descriptors, each with those of its interfaces and endpoints.
    pub fn configurations(&self) -> &[Vec<u8>] {
        &self.configurations
    }

    /// The descriptor of type `kind` with `index`, as GET_DESCRIPTOR names it in `wValue`; `None` where the device
    /// has none and has to answer STALL.
    pub fn get(&self, kind: u8, index: u8) -> Option<&[u8]> {
        let index = usize::from(index);
        match kind {
            kind::DEVICE => Some(&self.device),
            kind::CONFIGURATION => self.configurations.get(index).map(Vec::as_slice),
            kind::OTHER_SPEED => self.other_speed.get(index).map(Vec::as_slice),
            kind::DEVICE_QUALIFIER => self.qualifier.as_ref().map(<[u8; 10]>::as_slice),
            kind::BOS => self.bos.as_deref(),
            kind::STRING => self.strings.get(index).map(Vec::as_slice),
            _ => None,
        }
    }
}

fn has_bos(device: &Description) -> bool {
    device.speed == Speed::Super || !device.capabilities.is_empty()
}

/// `bcdUSB`: below 3.00 a SuperSpeed device is reset for ever, and a BOS is asked for from 2.01 on.
fn release(device: &Description) -> u16 {
    match device.speed {
        Speed::Super => 0x0300,
        _ if has_bos(device) => 0x0210,
        _ => 0x0200,
    }
}

fn device_descriptor(device: &Description, texts: &[&str]) -> [u8; 18] {
    let [usb_low, usb_high] = release(device).to_le_bytes();
    let [vendor_low, vendor_high] = device.vendor.to_le_bytes();
    let [product_low, product_high] = device.product.to_le_bytes();
    let [release_low, release_high] = device.release.to_le_bytes();
    let ClassCode(class, subclass, protocol) = device.class;
    [
        18,
        kind::DEVICE,
        usb_low,
        usb_high,
        class,
        subclass,
        protocol,
        device.speed.max_packet_size_0(),
        vendor_low,
        vendor_high,
        product_low,
        product_high,
        release_low,
        release_high,
        text_index(texts, device.manufacturer.as_deref()),
        text_index(texts, device.product_name.as_deref()),
        text_index(texts, device.serial.as_deref()),
        device.configurations.len() as u8,
    ]
}

/// The device qualifier: the high-speed device at full speed (USB 2.0, 9.6.2).
fn qualifier(device: &Description) -> [u8; 10] {
    let [usb_low, usb_high] = release(device).to_le_bytes();
    let ClassCode(class, subclass, protocol) = device.class;
    let configurations = device.configurations.len() as u8;
    let packet = Speed::Full.max_packet_size_0();
    [10, kind::DEVICE_QUALIFIER, usb_low, usb_high, class, subclass, protocol, packet, configurations, 0]
}

fn bos(device: &Description) -> Option<Vec<u8>> {
    if !has_bos(device) {
        return None;
    }
    let mut capabilities: Vec<&[u8]> = vec![&USB2_EXTENSION];
    if device.speed == Speed::Super {
        capabilities.push(&SUPERSPEED);
    }
    capabilities.extend(device.capabilities.iter().map(Vec::as_slice));
    let total = 5 + capabilities.iter().map(|bytes| bytes.len()).sum::<usize>();
    let [low, high] = (total as u16).to_le_bytes();
    let mut bytes = vec![5, kind::BOS, low, high, capabilities.len() as u8];
    capabilities.iter().for_each(|capability| bytes.extend_from_slice(capability));
    Some(bytes)
}

/// String 0 is the list of languages, string n text n-1.
fn strings(texts: &[&str]) -> Vec<Vec<u8>> {
    if texts.is_empty() {
        return Vec::new();
    }
    let string = |units: &mut dyn Iterator<Item = u16>| {
        let mut bytes = vec![0, kind::STRING];
        units.for_each(|unit| bytes.extend(unit.to_le_bytes()));
        bytes[0] = bytes.len() as u8;
        bytes
    };
    let languages = string(&mut std::iter::once(LANGUAGE));
    std::iter::once(languages).chain(texts.iter().map(|text| string(&mut text.encode_utf16()))).collect()
}

/// The index of a text, 0 for none.
fn text_index(texts: &[&str], text: Option<&str>) -> u8 {
    let place = text.and_then(|text| texts.iter().position(|other| *other == text));
    place.map_or(0, |place| place as u8 + 1)
}

/// Builds a configuration at one speed.
struct Builder<'a> {
    speed: Speed,
    texts: &'a [&'a str],
}

impl Builder<'_> {
    fn configuration(&self, at: usize, kind: u8, configuration: &Configuration) -> Result<Vec<u8>, DescriptionError> {
        let mut bytes = vec![9, kind, 0, 0, configuration.interfaces.len() as u8, at as u8 + 1];
        bytes.push(text_index(self.texts, configuration.name.as_deref()));
        // Bit 7 is reserved and set (USB 2.0, table 9-10).
        bytes.push(0x80 | u8::from(configuration.self_powered) << 6 | u8::from(configuration.remote_wakeup) << 5);
        let unit = if self.speed == Speed::Super { 8 } else { 2 };
        bytes.push(configuration.max_power.div_ceil(unit).min(255) as u8);
        for (number, interface) in configuration.interfaces.iter().enumerate() {
            for group in configuration.associations.iter().filter(|group| usize::from(group.first) == number) {
                let ClassCode(class, subclass, protocol) = group.class;
                let name = text_index(self.texts, group.name.as_deref());
                bytes.extend([8, kind::ASSOCIATION, group.first, group.count, class, subclass, protocol, name]);
            }
            for (setting, alternate) in interface.alternates.iter().enumerate() {
                self.alternate(&mut bytes, number as u8, setting as u8, alternate);
            }
        }
        let total = u16::try_from(bytes.len()).map_err(|_| DescriptionError::TotalLength(at + 1))?;
        bytes[2..4].copy_from_slice(&total.to_le_bytes());
        Ok(bytes)
    }

    fn alternate(&self, bytes: &mut Vec<u8>, number: u8, setting: u8, alternate: &Alternate) {
        let ClassCode(class, subclass, protocol) = alternate.class;
        let name = text_index(self.texts, alternate.name.as_deref());
        let endpoints = alternate.endpoints.len() as u8;
        bytes.extend([9, kind::INTERFACE, number, setting, endpoints, class, subclass, protocol, name]);
        bytes.extend_from_slice(&alternate.extra);
        for endpoint in &alternate.endpoints {
            self.endpoint(bytes, endpoint);
            bytes.extend_from_slice(&endpoint.extra);
        }
    }

    fn endpoint(&self, bytes: &mut Vec<u8>, endpoint: &Endpoint) {
        let packet = endpoint.packet(self.speed);
        let [low, high] = packet.to_le_bytes();
        let interval = interval(endpoint, self.speed);
        bytes.extend([7, kind::ENDPOINT, endpoint.address.byte(), endpoint.kind as u8, low, high, interval]);
        if self.speed == Speed::Super {
            let periodic = endpoint.kind != TransferKind::Bulk;
            let per_interval = if periodic { packet * (u16::from(endpoint.burst) + 1) } else { 0 };
            let [low, high] = per_interval.to_le_bytes();
            bytes.extend([6, kind::ENDPOINT_COMPANION, endpoint.burst, 0, low, high]);
        }
    }
}

/// `bInterval` (USB 2.0, table 9-13): milliseconds for interrupt endpoints at full speed; otherwise the exponent n of
/// 2^(n-1) frames (full speed) or microframes.
fn interval(endpoint: &Endpoint, speed: Speed) -> u8 {
    let micros = endpoint.interval.as_micros();
    match (endpoint.kind, speed) {
        (TransferKind::Bulk | TransferKind::Control, _) => 0,
        (TransferKind::Interrupt, Speed::Full) => (micros / 1000).clamp(1, 255) as u8,
        (_, speed) => {
            let unit = if speed == Speed::Full { 1000 } else { 125 };
            ((micros / unit).max(1).ilog2() + 1).min(16) as u8
        }
    }
}

/// The time between two packets that [`interval`] stands for.
pub(super) fn period(endpoint: &Endpoint, speed: Speed) -> Duration {
    let value = interval(endpoint, speed);
    match (endpoint.kind, speed) {
        (TransferKind::Bulk | TransferKind::Control, _) => Duration::ZERO,
        (TransferKind::Interrupt, Speed::Full) => Duration::from_millis(u64::from(value)),
        (_, Speed::Full) => Duration::from_millis(1) * (1 << (value - 1)),
        _ => Duration::from_micros(125) * (1 << (value - 1)),
    }
}

#[cfg(test)]
mod tests;
