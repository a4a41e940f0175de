//! The answer to `stations`: what stations say of themselves, and which addresses two have.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The answer to `stations`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct StationsInfo {
    /// The IP addresses that stations say they have, sorted by switch and address.
    pub addresses: Vec<AddressInfo>,
    /// MAC addresses that are heard on two ports by turns, by switch.
    #[serde(default)]
    pub flapping: BTreeMap<String, Vec<String>>,
    /// The same, each with its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flaps: Vec<FlapInfo>,
}

/// A MAC address that is heard on two ports by turns.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct FlapInfo {
    /// The switch.
    pub switch: String,
    /// The address.
    pub mac: String,
    /// The ports.
    pub ports: [String; 2],
}

impl StationsInfo {
    /// The ports that an address is heard on by turns, in words: `a and b`. Nothing of a bridge that does not tell.
    pub fn flap_ports(&self, switch: &str, mac: &str) -> String {
        let flap = self.flaps.iter().find(|flap| flap.switch == switch && flap.mac == mac);
        flap.map_or_else(String::new, |flap| flap.ports.join(" and "))
    }
}

/// An IP address of a station.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The switch.
    pub switch: String,
    /// The address.
    pub addr: IpAddr,
    /// The station's MAC address.
    pub mac: String,
    /// The port that it is behind.
    pub port: String,
    /// Seconds since it was told last.
    pub age: u64,
    /// The MAC address of another station that has it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
}
