//! The description of a device, once for all speeds: configurations, interfaces, alternate settings, endpoints.
//!
//! Sizes that a speed prescribes (bulk packets, `bMaxPacketSize0`) are not said at all, and intervals are said as
//! times; [`super::Descriptors`] turns both into what each speed wants.

use super::types::{Address, ClassCode, Speed, TransferKind};
use std::time::Duration;

/// An endpoint of an alternate setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Number 1..=15 and direction.
    pub address: Address,
    /// Any kind but control.
    pub kind: TransferKind,
    /// The most bytes of a packet; of an isochronous endpoint the most bytes of a service interval at high and
    /// SuperSpeed. A speed that allows less uses what it allows. Bulk endpoints ignore it: their speed prescribes it.
    pub max_packet: u16,
    /// Time between two packets of an interrupt or isochronous endpoint; rounded down to what a speed can say.
    pub interval: Duration,
    /// `bMaxBurst` at SuperSpeed: packets of a burst less one, 0..=15 (USB 3.2, 9.6.7).
    pub burst: u8,
    /// Class-specific descriptors that follow the endpoint's own.
    pub extra: Vec<u8>,
}

impl Endpoint {
    /// A bulk endpoint.
    pub fn bulk(address: Address) -> Self {
        Self { address, kind: TransferKind::Bulk, max_packet: 0, interval: Duration::ZERO, burst: 0, extra: Vec::new() }
    }

    /// An interrupt endpoint for packets of `max_packet` bytes, served every `interval`.
    pub fn interrupt(address: Address, max_packet: u16, interval: Duration) -> Self {
        Self { kind: TransferKind::Interrupt, max_packet, interval, ..Self::bulk(address) }
    }

    /// An isochronous endpoint for `max_packet` bytes every `interval`.
    pub fn isochronous(address: Address, max_packet: u16, interval: Duration) -> Self {
        Self { kind: TransferKind::Isochronous, max_packet, interval, ..Self::bulk(address) }
    }

    /// The same endpoint with `burst + 1` packets in a burst at SuperSpeed.
    #[must_use]
    pub fn with_burst(mut self, burst: u8) -> Self {
        self.burst = burst;
        self
    }

    /// Bytes of a packet at `speed`.
    pub fn packet(&self, speed: Speed) -> u16 {
        match self.kind {
            TransferKind::Control => 64,
            TransferKind::Bulk => speed.bulk_packet(),
            TransferKind::Interrupt => self.max_packet.min(speed.interrupt_packet()),
            TransferKind::Isochronous => self.max_packet.min(speed.isochronous_packet()),
        }
    }
}

/// One alternate setting of an interface. Its number is its place in [`Interface::alternates`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Alternate {
    /// Class, subclass and protocol.
    pub class: ClassCode,
    /// The text of `iInterface`.
    pub name: Option<String>,
    /// Class-specific descriptors that follow the interface descriptor.
    pub extra: Vec<u8>,
    /// The endpoints, in the order of their descriptors.
    pub endpoints: Vec<Endpoint>,
}

/// An interface. Its number is its place in [`Configuration::interfaces`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Interface {
    /// The alternate settings; the first is the one after SET_CONFIGURATION.
    pub alternates: Vec<Alternate>,
}

impl Interface {
    /// An interface with one setting.
    pub fn new(alternate: Alternate) -> Self {
        Self { alternates: vec![alternate] }
    }
}

/// A group of interfaces that belong to one function of the device (Interface Association Descriptor ECN).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Association {
    /// Number of the first interface.
    pub first: u8,
    /// How many interfaces, one behind the other.
    pub count: u8,
    /// Class, subclass and protocol of the function.
    pub class: ClassCode,
    /// The text of `iFunction`.
    pub name: Option<String>,
}

/// A configuration. Its `bConfigurationValue` is its place in [`Description::configurations`] plus one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Configuration {
    /// The text of `iConfiguration`.
    pub name: Option<String>,
    /// Has its own power supply.
    pub self_powered: bool,
    /// Can wake a sleeping host.
    pub remote_wakeup: bool,
    /// Current drawn from the bus in mA, at most 500.
    pub max_power: u16,
    /// The groups of interfaces.
    pub associations: Vec<Association>,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The speed at which it shows itself.
    pub speed: Speed,
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// Class, subclass and protocol of the device.
    pub class: ClassCode,
    /// The text of `iManufacturer`.
    pub manufacturer: Option<String>,
    /// The text of `iProduct`.
    pub product_name: Option<String>,
    /// The text of `iSerialNumber`.
    pub serial: Option<String>,
    /// Strings that class-specific descriptors name by index: the first has index 1.
    pub strings: Vec<String>,
    /// Device capability descriptors for the BOS besides those that the speed demands (USB 3.2, 9.6.2). At full and
    /// high speed the device has a BOS only if there are some.
    pub capabilities: Vec<Vec<u8>>,
    /// The configurations.
    pub configurations: Vec<Configuration>,
}

impl Description {
    /// A high-speed device `vendor:product` without strings and configurations.
    pub fn new(vendor: u16, product: u16) -> Self {
        Self {
            speed: Speed::High,
            vendor,
            product,
            release: 0x0100,
            class: ClassCode::PER_INTERFACE,
            manufacturer: None,
            product_name: None,
            serial: None,
            strings: Vec::new(),
            capabilities: Vec::new(),
            configurations: Vec::new(),
        }
    }

    /// The same device with manufacturer, product and serial number as texts.
    #[must_use]
    pub fn named(mut self, manufacturer: &str, product: &str, serial: &str) -> Self {
        self.manufacturer = Some(manufacturer.to_owned());
        self.product_name = Some(product.to_owned());
        self.serial = Some(serial.to_owned());
        self
    }

    /// Every text of the device, in the order of the string indexes that it gets.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let configurations = self.configurations.iter().flat_map(|configuration| {
            let associations = configuration.associations.iter().filter_map(|group| group.name.as_deref());
            let alternates = configuration.interfaces.iter().flat_map(|interface| &interface.alternates);
            let interfaces = alternates.filter_map(|alternate| alternate.name.as_deref());
            configuration.name.as_deref().into_iter().chain(associations).chain(interfaces)
        });
        let device = [&self.manufacturer, &self.product_name, &self.serial];
        let device = device.into_iter().filter_map(|text| text.as_deref());
        self.strings.iter().map(String::as_str).chain(device).chain(configurations)
    }
}
