//! Services: programs inside the process that sit on a port of the switch.
//!
//! Each is built on an [`endpoint::Endpoint`], a user-space host with MAC, IP addresses and TCP. All of it is sans-I/O:
//! frames, events and time come in as arguments, frames and a next deadline come out. A service knows neither the switch
//! nor a descriptor: sockets, files and disks are its [`outside::Outside`]'s. The thread that runs one belongs to the
//! engine.
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
//! | [`questions`] | between a gateway and its servers: datagrams and answers |
//! | [`endpoint`] | the user-space host |
//! | [`machine`] | the trait of a service, for the thread that runs it |
//! | [`outside`], [`report`] | sockets, files and disks of the machine; state and counters for `status` |
//! | [`detail`] | flows, USB devices, names and leases one by one, for who asks |
//! | [`change`] | forwards, names and leases that come and go while it runs |
//! | [`station`], [`shares`], [`allowance`], [`lease`], [`path_mtu`] | senders, shares, rate limits, leases, MTUs |
//! | [`table`] | flows by key, socket, turn and deadline |

pub(crate) mod allowance;
pub(crate) mod change;
pub(crate) mod detail;
pub mod endpoint;
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
#[cfg(test)]
pub(crate) mod script;
pub(crate) mod shares;
pub(crate) mod station;
pub(crate) mod table;
pub(crate) mod usbip;

pub use crate::codec::ByteQueue;
use crate::config::{PortKind, PortSpec};
use crate::error::{Error, Result};
use crate::time::Instant;
pub use change::{Change, Changed, Holder};
pub use detail::{Details, DeviceDetail, FlowDetail, ImporterDetail, LeaseDetail, NameDetail, UrbCounts};
pub use lease::{Lease, Who};
pub use machine::{Arrived, Service, Unsent};
pub(crate) use nat::DROPS as NAT_DROPS;
use nat::Nat;
pub use outside::{Datagrams, Event, FileAnswer, Found, JobDone, Outside, Refusal, Refused, SocketId, Want};
pub use ping_host::{PingHost, PingStats};
pub use report::{Figures, Leased, Report, Show, Shown, Standing};
pub use station::{Ingress, Station};
pub use usbip::UsbipPort;

/// The words on a reason for which a service drops.
pub(crate) fn lost_row(word: &str) -> Option<&'static report::LostRow> {
    NAT_DROPS.iter().map(|(row, _)| row).find(|row| row.word == word)
}

/// Whether a port is a service.
pub(crate) fn is_one(spec: &PortSpec) -> bool {
    match &spec.kind {
        PortKind::Usbip(_) | PortKind::Nat(_) => true,
        PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Tcp(_) | PortKind::Udp(_) => false,
        PortKind::Unix(_) | PortKind::UnixGram(_) => false,
        PortKind::Slip(_) | PortKind::Wpan(_) => false,
    }
}

/// Makes the service of a port, which opens its sockets and files through `outside`. `seed` is a secret random number.
///
/// # Errors
/// Invalid addresses or devices, a failure to open something, or a port that is no service.
pub(crate) fn make(
    spec: &PortSpec,
    now: Instant,
    outside: &mut dyn Outside,
    seed: u64,
) -> Result<Box<dyn Service + Send>> {
    match &spec.kind {
        PortKind::Usbip(usbip) => Ok(Box::new(UsbipPort::new(spec, usbip, outside, seed)?)),
        PortKind::Nat(nat) => Ok(Box::new(Nat::serving(spec, nat, now, outside, seed)?)),
        other => Err(Error::usage(format!("{}: not a service", other.word()))),
    }
}
