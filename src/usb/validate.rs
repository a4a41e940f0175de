//! The rules that a description has to keep before it becomes a device. A host that meets a breach of one of them
//! rejects the device, or loops in its enumeration, so they are checked where the device is built.

use super::describe::{Alternate, Configuration, Description, Endpoint, Interface};
use super::types::{Speed, TransferKind};

/// Why a description cannot become a device.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// No configuration, or more than 255.
    #[error("a device has 1 to 255 configurations, not {0}")]
    Configurations(usize),
    /// No interface, or more than 32.
    #[error("configuration {0}: a configuration has 1 to 32 interfaces, not {1}")]
    Interfaces(usize, usize),
    /// No alternate setting, or more than 255.
    #[error("interface {0}: an interface has 1 to 255 alternate settings, not {1}")]
    Alternates(usize, usize),
    /// `bMaxPower` above what a port gives to a device.
    #[error("configuration {0}: {1} mA is more than a port gives (500)")]
    Power(usize, u16),
    /// An association names interfaces that do not exist, or shares one with another association.
    #[error("configuration {0}: an association of interfaces {1}..{2} names one that is missing or taken")]
    Association(usize, usize, usize),
    /// Endpoint 0 or a control endpoint was declared.
    #[error("endpoint {0:02x}: only endpoints 1 to 15 of kinds bulk, interrupt and isochronous are declared")]
    Endpoint(u8),
    /// Two interfaces of one configuration, or one alternate setting twice, use an address.
    #[error("endpoint {0:02x}: declared twice")]
    Duplicate(u8),
    /// A packet size of zero, or above 1024.
    #[error("endpoint {0:02x}: packets of {1} bytes")]
    Packet(u8, u16),
    /// An interval below 125 µs (1 ms at full speed).
    #[error("endpoint {0:02x}: interval too short for the speed")]
    Interval(u8),
    /// `bMaxBurst` above 15, or a burst of packets that are not full (USB 3.2, 9.6.6).
    #[error("endpoint {0:02x}: burst {1} is not possible")]
    Burst(u8, u8),
    /// The first setting of an interface may not reserve isochronous bandwidth (USB 2.0, 5.6.3).
    #[error("endpoint {0:02x}: isochronous in alternate setting 0")]
    Reserved(u8),
    /// Class-specific bytes are not a chain of descriptors that each begin with their length.
    #[error("class-specific bytes are not whole descriptors")]
    Extra,
    /// The configuration is longer than `wTotalLength` can say.
    #[error("configuration {0}: descriptors of more than 65535 bytes")]
    TotalLength(usize),
    /// More device capabilities than a BOS can count, or one of more than one descriptor.
    #[error("{0} device capabilities are too many")]
    Capabilities(usize),
    /// A string of more than 126 UTF-16 units, or more than 255 strings.
    #[error("string {0:?} is too long, or one too many")]
    Text(String),
}

/// The largest number of interfaces of a configuration that Linux accepts (`USB_MAXINTERFACES`).
const MAX_INTERFACES: usize = 32;
/// The largest current of a device, in mA (USB 2.0, 7.2.1).
const MAX_POWER: u16 = 500;
/// The most device capabilities besides the two of a SuperSpeed device, so that `bNumDeviceCaps` can count them.
const MAX_CAPABILITIES: usize = 253;
/// The most UTF-16 units of a string: (255 - 2) / 2.
const MAX_TEXT: usize = 126;

/// Checks everything that can be said without building the bytes.
pub(super) fn check(device: &Description) -> Result<(), DescriptionError> {
    if !(1..=255).contains(&device.configurations.len()) {
        return Err(DescriptionError::Configurations(device.configurations.len()));
    }
    let mut texts: Vec<&str> = Vec::new();
    for text in device.texts() {
        if !texts.contains(&text) {
            texts.push(text);
        }
        if texts.len() > 255 || text.encode_utf16().count() > MAX_TEXT {
            return Err(DescriptionError::Text(text.to_owned()));
        }
    }
    for capability in &device.capabilities {
        check_extra(capability)?;
    }
    if device.capabilities.len() > MAX_CAPABILITIES {
        return Err(DescriptionError::Capabilities(device.capabilities.len()));
    }
    for (at, configuration) in device.configurations.iter().enumerate() {
        check_configuration(at + 1, configuration, device.speed)?;
    }
    Ok(())
}

fn check_configuration(value: usize, configuration: &Configuration, speed: Speed) -> Result<(), DescriptionError> {
    let interfaces = configuration.interfaces.len();
    if !(1..=MAX_INTERFACES).contains(&interfaces) {
        return Err(DescriptionError::Interfaces(value, interfaces));
    }
    if configuration.max_power > MAX_POWER {
        return Err(DescriptionError::Power(value, configuration.max_power));
    }
    let mut grouped = [false; MAX_INTERFACES];
    for group in &configuration.associations {
        let (first, end) = (usize::from(group.first), usize::from(group.first) + usize::from(group.count));
        let taken = grouped.get_mut(first..end.min(interfaces));
        match taken {
            Some(taken) if end <= interfaces && first < end && !taken.contains(&true) => taken.fill(true),
            _ => return Err(DescriptionError::Association(value, first, end)),
        }
    }
    let mut used = [false; 32];
    for (number, interface) in configuration.interfaces.iter().enumerate() {
        check_interface(number, interface, speed, &mut used)?;
    }
    Ok(())
}

/// `used` are the addresses of the interfaces before this one: alternate settings of one interface may share an
/// address, two interfaces may not.
fn check_interface(
    number: usize,
    interface: &Interface,
    speed: Speed,
    used: &mut [bool; 32],
) -> Result<(), DescriptionError> {
    if !(1..=255).contains(&interface.alternates.len()) {
        return Err(DescriptionError::Alternates(number, interface.alternates.len()));
    }
    let mut mine = [false; 32];
    for (setting, alternate) in interface.alternates.iter().enumerate() {
        let here = check_alternate(setting, alternate, speed, used)?;
        for (mine, here) in mine.iter_mut().zip(here) {
            *mine |= here;
        }
    }
    for (used, mine) in used.iter_mut().zip(mine) {
        *used |= mine;
    }
    Ok(())
}

fn check_alternate(
    setting: usize,
    alternate: &Alternate,
    speed: Speed,
    used: &[bool; 32],
) -> Result<[bool; 32], DescriptionError> {
    check_extra(&alternate.extra)?;
    let mut here = [false; 32];
    for endpoint in &alternate.endpoints {
        let (byte, at) = (endpoint.address.byte(), endpoint.address.index());
        check_endpoint(endpoint, speed)?;
        if here[at] || used[at] {
            return Err(DescriptionError::Duplicate(byte));
        }
        if setting == 0 && endpoint.kind == TransferKind::Isochronous {
            return Err(DescriptionError::Reserved(byte));
        }
        here[at] = true;
    }
    Ok(here)
}

fn check_endpoint(endpoint: &Endpoint, speed: Speed) -> Result<(), DescriptionError> {
    let byte = endpoint.address.byte();
    if endpoint.address.number() == 0 || endpoint.kind == TransferKind::Control {
        return Err(DescriptionError::Endpoint(byte));
    }
    check_extra(&endpoint.extra)?;
    let full = endpoint.kind == TransferKind::Bulk || endpoint.packet(Speed::Super) == 1024;
    if endpoint.burst > 15 || (endpoint.burst > 0 && !full) {
        return Err(DescriptionError::Burst(byte, endpoint.burst));
    }
    if endpoint.kind == TransferKind::Bulk {
        return Ok(());
    }
    if !(1..=1024).contains(&endpoint.max_packet) {
        return Err(DescriptionError::Packet(byte, endpoint.max_packet));
    }
    let shortest = if speed == Speed::Full { 1000 } else { 125 };
    if endpoint.interval.as_micros() < shortest {
        return Err(DescriptionError::Interval(byte));
    }
    Ok(())
}

/// Class-specific bytes: descriptors one behind the other, each with its length in front.
fn check_extra(mut bytes: &[u8]) -> Result<(), DescriptionError> {
    while let Some(&length) = bytes.first() {
        if length < 2 {
            return Err(DescriptionError::Extra);
        }
        bytes = bytes.get(usize::from(length)..).ok_or(DescriptionError::Extra)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::{Address, Association};
    use std::time::Duration;

    fn with(alternates: Vec<Vec<Endpoint>>) -> Description {
        let alternates =
            alternates.into_iter().map(|endpoints| Alternate { endpoints, ..Alternate::default() }).collect();
        let mut device = Description::new(1, 2);
        device.configurations =
            vec![Configuration { interfaces: vec![Interface { alternates }], ..Configuration::default() }];
        device
    }

    #[test]
    fn each_rule_has_its_error() {
        let bulk = |number| Endpoint::bulk(Address::input(number));
        let iso = Endpoint::isochronous(Address::input(2), 1024, Duration::from_millis(1));
        let odd = Endpoint::interrupt(Address::input(1), 8, Duration::from_micros(10));
        let cases = [
            (Description::new(1, 2), DescriptionError::Configurations(0)),
            (with(vec![]), DescriptionError::Alternates(0, 0)),
            (with(vec![vec![bulk(0)]]), DescriptionError::Endpoint(0x80)),
            (with(vec![vec![bulk(1), bulk(1)]]), DescriptionError::Duplicate(0x81)),
            (with(vec![vec![iso.clone()]]), DescriptionError::Reserved(0x82)),
            (with(vec![vec![odd]]), DescriptionError::Interval(0x81)),
            (with(vec![vec![bulk(1).with_burst(16)]]), DescriptionError::Burst(0x81, 16)),
            (
                with(vec![vec![Endpoint::interrupt(Address::input(1), 0, Duration::from_secs(1))]]),
                DescriptionError::Packet(0x81, 0),
            ),
        ];
        for (device, error) in cases {
            assert_eq!(check(&device), Err(error));
        }
        assert_eq!(check(&with(vec![vec![bulk(1)], vec![bulk(1), iso]])), Ok(()));
    }

    #[test]
    fn groups_power_texts_and_extras() {
        let good = with(vec![vec![]]);
        let changed = |change: fn(&mut Description)| {
            let mut device = good.clone();
            change(&mut device);
            check(&device)
        };
        let group = |device: &mut Description| {
            device.configurations[0].associations = vec![Association { first: 0, count: 2, ..Association::default() }];
        };
        assert_eq!(changed(group), Err(DescriptionError::Association(1, 0, 2)));
        assert_eq!(changed(|d| d.configurations[0].max_power = 501), Err(DescriptionError::Power(1, 501)));
        assert!(matches!(changed(|d| d.serial = Some("x".repeat(127))), Err(DescriptionError::Text(_))));
        assert_eq!(changed(|d| d.capabilities = vec![vec![3, 0x10]]), Err(DescriptionError::Extra));
        assert_eq!(changed(|d| d.capabilities = vec![vec![0]]), Err(DescriptionError::Extra));
        assert_eq!(check(&good), Ok(()));
    }
}
