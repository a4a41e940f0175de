//! Services: what sits on a port of the switch and is neither a wire nor a process of its own.
//!
//! Each is built on an [`endpoint::Endpoint`], a user-space host with MAC, IP addresses and TCP. All of it is sans-I/O:
//! frames and time come in as arguments, frames and a next deadline come out. A service knows neither the switch nor
//! a descriptor; the thread that runs one belongs to the engine.
//!
//! # The plan
//! Imports point downwards only; `tests/architecture` checks it here as it does in the whole house.
//!
//! | rooms | what they are |
//! |---|---|
//! | [`usbip`] | the port that exports USB devices |
//! | [`nat`] | the gateway: flows of guests are sockets of the host |
//! | [`lan`] | the servers of a gateway's network: DHCP, DNS, TFTP, router advertisements |
//! | [`ping_host`], [`prober`] | a host that only answers, and one that only asks |
//! | [`questions`] | what a gateway asks its servers |
//! | [`endpoint`] | the user-space host |
//! | [`machine`] | a service as its thread sees it |
//! | [`outside`], [`host`], [`report`] | what services say to those who own descriptors, and to the port |
//! | [`station`], [`shares`], [`allowance`], [`lease`], [`path_mtu`] | who has sent something, and what is held for whom |

pub(crate) mod allowance;
pub mod endpoint;
pub(crate) mod host;
pub(crate) mod lan;
pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod nat;
pub(crate) mod outside;
pub(crate) mod path_mtu;
pub(crate) mod ping_host;
pub(crate) mod prober;
pub(crate) mod questions;
pub(crate) mod report;
pub(crate) mod shares;
pub(crate) mod station;
pub(crate) mod usbip;

use crate::config::{PortKind, PortSpec};
use crate::error::Result;
pub use machine::{Service, Unsent};
pub use outside::{Found, Input, Output, Stream, Want};
pub use ping_host::{PingHost, PingStats};
pub use report::{Figures, Leased, Report, Show, Shown, Standing};
pub use station::{Ingress, Station};
pub use usbip::UsbipPort;

/// What the service of a port works with outside; `None` if the port is no service.
pub(crate) fn wants(spec: &PortSpec) -> Option<Vec<Want>> {
    match &spec.kind {
        PortKind::Usbip(usbip) => Some(usbip::wants(usbip)),
        // It calls its sockets itself, without a back end.
        PortKind::Nat(_) => None,
        PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Tcp(_) | PortKind::Udp(_) => None,
        PortKind::Unix(_) | PortKind::UnixGram(_) => None,
        PortKind::Slip(_) | PortKind::Wpan(_) => None,
    }
}

/// Makes the service of a port. `found` answers its [`wants`], `seed` is a number that nobody can guess.
///
/// # Errors
/// Addresses or devices that cannot be, or a port that is no service.
pub(crate) fn make(spec: &PortSpec, found: &[Found], seed: u64) -> Result<Box<dyn Service + Send>> {
    match &spec.kind {
        PortKind::Usbip(usbip) => Ok(Box::new(UsbipPort::new(spec, usbip, found, seed)?)),
        other => Err(crate::error::Error::usage(format!("{}: not a service", other.word()))),
    }
}
