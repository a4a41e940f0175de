//! The answers about gateways: forwards, names and leases, and what a change of them came to.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The answer to `forward-ls`, sorted by switch, port and where the host listens.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ForwardsInfo {
    /// The forwards.
    pub forwards: Vec<ForwardInfo>,
}

/// An address of the host that leads to a guest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ForwardInfo {
    /// The switch.
    pub switch: String,
    /// The gateway's port.
    pub port: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where the host listens.
    pub listen: SocketAddr,
    /// Where the guest does.
    pub guest: SocketAddr,
    /// The guest's name, where its address is leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its present clients.
    #[serde(default)]
    pub clients: u64,
}

/// The answer to `dns-ls`, sorted by switch, port and name.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct NamesInfo {
    /// The names.
    pub names: Vec<NameInfo>,
}

/// A name that a gateway's resolver knows by itself.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct NameInfo {
    /// The switch.
    pub switch: String,
    /// The gateway's port.
    pub port: String,
    /// The whole name; that of a zone begins with `*.`.
    pub name: String,
    /// Its addresses.
    pub addrs: Vec<IpAddr>,
    /// Where it is from: `added`, `lease`, `host` (pinned) or `gateway`.
    pub source: String,
}

/// The answer to `lease-ls`, sorted by switch, port and address.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct LeasesInfo {
    /// The leases, and hosts that are pinned.
    pub leases: Vec<HeldInfo>,
}

/// An address that a host has, or that is kept for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct HeldInfo {
    /// The switch.
    pub switch: String,
    /// The gateway's port.
    pub port: String,
    /// The address.
    pub addr: Ipv4Addr,
    /// The host's MAC address.
    pub mac: String,
    /// Its name in the network's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Seconds that the lease still lasts; none where the host has not asked for its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// The host always has this address.
    #[serde(default)]
    pub pinned: bool,
}

/// The answer to `forward-add`, `dns-add`, `lease-pin` and their opposites.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ChangedInfo {
    /// The gateway's port.
    pub port: String,
    /// Whether it was not so before.
    pub changed: bool,
    /// The forward, with the port that the system has chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<String>,
}
