//! The answers about services: flows of gateways, and USB devices.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The answer to `flows`, sorted by switch, port and guest.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct FlowsInfo {
    /// The flows; at most 16,384.
    pub flows: Vec<FlowInfo>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: u64,
}

/// A connection, a conversation by datagrams, or a forward that waits for clients.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct FlowInfo {
    /// The switch.
    pub switch: String,
    /// The gateway's port.
    pub port: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// `out`: a guest has begun it. `in`: a client of a forward.
    pub direction: String,
    /// The guest's end. The port of a ping is its identifier.
    pub guest: SocketAddr,
    /// The guest's name, where its address is leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The guest's MAC address; none of a forward that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The other end as the guest knows it, the last of several; of a forward its client, or where it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// How many other ends there are beside that.
    #[serde(default)]
    pub others: u64,
    /// `listening`, `connecting` (to the host's side), `opening` (to the guest), `open`, `guest ended`, `host ended`,
    /// `closing` or `closed`.
    pub state: String,
    /// Bytes of the guest.
    pub up: u64,
    /// Bytes for the guest.
    pub down: u64,
    /// Mean round trip to the guest in microseconds, where it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// TCP segments that were sent to the guest again.
    #[serde(default)]
    pub resent: u64,
    /// Seconds since its beginning.
    pub age: u64,
    /// Seconds since its last packet.
    pub idle: u64,
}

/// The answer to `usb`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct UsbInfo {
    /// The devices, port by port.
    pub devices: Vec<DeviceInfo>,
}

/// A USB device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// The switch.
    pub switch: String,
    /// The port that exports it.
    pub port: String,
    /// Its bus id there.
    pub busid: String,
    /// `VENDOR:PRODUCT` in hexadecimal digits; none of an imported device that was not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What it calls itself; empty if that is not known.
    #[serde(default)]
    pub name: String,
    /// `low`, `full`, `high`, `super` or `super+`; empty if that is not known.
    #[serde(default)]
    pub speed: String,
    /// Where it is imported from, `HOST:PORT/BUSID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<String>,
    /// `free`, `in use`, `connecting` (its server is being asked) or `waiting` (it is not there).
    pub state: String,
    /// Why it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Who uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importer: Option<ImporterInfo>,
    /// Its transfers; none of an imported device, whose transfers only pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urbs: Option<UrbInfo>,
}

/// Who uses a USB device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ImporterInfo {
    /// Its address.
    pub peer: SocketAddr,
    /// Seconds since it came.
    pub age: u64,
}

/// Transfers of a USB device.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct UrbInfo {
    /// Ended well.
    pub done: u64,
    /// Ended with an error, a stall among them.
    pub errors: u64,
    /// Taken back by the importer.
    pub unlinked: u64,
    /// Under way.
    pub in_flight: u64,
}
