//! What a subscriber of `events` hears: a line each.

use serde::{Deserialize, Serialize};

/// The words of [`EventInfo::of`].
pub const EVENTS_OF: &[(&str, &str)] = &[
    ("switch", "one that hangs or has ended"),
    ("port", "its state, its peer, and what a bad line does to its frames"),
    ("station", "a MAC address, and the port that it is behind"),
    ("address", "an IP address that a station says it has"),
    ("lease", "an address that a gateway has given to a host"),
    ("drop", "frames that a port drops for a reason: from when they begin until none was dropped for ten seconds"),
    ("refused", "flows that a gateway refuses: likewise"),
    ("usb", "a device, and who uses it"),
    ("instance", "a program of a bench"),
    ("missed", "events that were not told, because they were not read"),
];

/// Something has come, changed or gone.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct EventInfo {
    /// When it was seen, in milliseconds since 1970.
    pub time: u64,
    /// Of what: a word of [`EVENTS_OF`].
    #[serde(rename = "event")]
    pub of: String,
    /// `new`, `changed`, `gone`, or `initial`: it was so before the subscription.
    pub what: String,
    /// The switch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub switch: String,
    /// Its name: of a port, station (the MAC address), address, instance; of a drop the reason, of a device its bus id.
    pub name: String,
    /// The port that it is of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub port: String,
    /// What it is now; of what is gone, what it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// What it was before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub was: String,
    /// How many events were missed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
