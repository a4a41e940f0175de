//! Details of a service beyond its report: its flows one by one, its USB devices with their importers.
//!
//! They are asked for, and collected only then ([`Service::details`](super::Service::details)), a page at a time, so
//! that a service with thousands of flows is held up for some microseconds each time. A service that has flows, or
//! devices, fills these rows in; all that shows them follows by itself.

use crate::time::Duration;
use crate::wire::Mac;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Rows of one page, more or less.
pub const PAGE: usize = 512;

/// A page of details.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Details {
    /// Its flows.
    pub flows: Vec<FlowDetail>,
    /// Its USB devices.
    pub devices: Vec<DeviceDetail>,
    /// The names that its resolver knows by itself.
    pub names: Vec<NameDetail>,
    /// The addresses that it leases, or keeps for a host.
    pub leases: Vec<LeaseDetail>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<usize>,
}

/// A connection, a conversation by datagrams, or a forward that waits for clients.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FlowDetail {
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    /// A forward has brought it in, or waits for those that it will bring.
    pub inward: bool,
    /// The guest's end. The port of a ping is its identifier.
    pub guest: SocketAddr,
    /// The guest's MAC address; `None` where it is not asked for yet.
    pub mac: Option<Mac>,
    /// The other end: as the guest knows it, or the client of a forward. The last one of several.
    pub remote: Option<SocketAddr>,
    /// How many other ends there are, beside the last.
    pub others: usize,
    /// Its state, in a word.
    pub state: &'static str,
    /// Bytes of the guest, and bytes for it.
    pub up: u64,
    /// Bytes for the guest.
    pub down: u64,
    /// Round trip to the guest, where it is measured.
    pub round_trip: Option<Duration>,
    /// Segments that were sent to the guest again.
    pub resent: u64,
    /// Time since its beginning.
    pub age: Duration,
    /// Time since its last packet.
    pub idle: Duration,
}

/// A name that a resolver knows by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NameDetail {
    /// The whole name; that of a zone begins with `*.`.
    pub name: String,
    /// Its addresses.
    pub addrs: Vec<IpAddr>,
    /// Where it is from: `added`, `lease`, `host` or `gateway`.
    pub source: &'static str,
}

/// An address that a host has, or that is kept for it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LeaseDetail {
    /// The address.
    pub addr: Ipv4Addr,
    /// The host's MAC address.
    pub mac: Mac,
    /// Its name in the network's domain.
    pub name: Option<String>,
    /// How long the lease still lasts; `None`: the host has not asked for it.
    pub left: Option<Duration>,
    /// The host always has this address.
    pub pinned: bool,
}

/// A USB device, and who uses it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DeviceDetail {
    /// Its bus id.
    pub busid: String,
    /// Vendor and product id; `None` of a device elsewhere that was not there yet.
    pub id: Option<(u16, u16)>,
    /// What it is called.
    pub name: String,
    /// `full`, `high` …; empty if it is not known.
    pub speed: &'static str,
    /// Its server, `HOST:PORT/BUSID`, where it is imported from there.
    pub import: Option<String>,
    /// `free`, `in use`, `connecting` or `waiting`.
    pub state: &'static str,
    /// Why it waits.
    pub why: Option<String>,
    /// Its importer.
    pub importer: Option<ImporterDetail>,
    /// Its transfers; `None` of a device elsewhere, whose transfers only pass.
    pub urbs: Option<UrbCounts>,
}

/// Who uses a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ImporterDetail {
    /// Its address.
    pub peer: SocketAddr,
    /// For how long.
    pub age: Duration,
}

/// Transfers of a device, of all its importers so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct UrbCounts {
    /// Ended well.
    pub done: u64,
    /// Ended with an error, a stall among them.
    pub errors: u64,
    /// Taken back by the importer.
    pub unlinked: u64,
    /// Under way now.
    pub in_flight: usize,
}
