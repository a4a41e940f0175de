//! The names of hosts, and the addresses behind them.
//!
//! The system's resolver (getaddrinfo(3)) waits: for name servers that do not answer, as long as resolv.conf(5) says,
//! ten seconds and more. A thread that must not block has another thread look names up ([`look_up`]); a switch then
//! opens the port with numeric addresses ([`in_numbers`]).

use crate::config::value::HostPort;
use crate::config::{PortKind, PortSpec, Serial, Slip, Transport, UsbKind, Wpan};
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, FILES, NETWORK, SOCKETS};
use crate::rights::{self, Role};
use std::net::{SocketAddr, ToSocketAddrs};

/// The system's resolver may read what it likes of the system, load plug-ins, and ask whom it likes.
static ROLE: Role = Role { loads: true, ..Role::new("resolver", &[BASE, SOCKETS, NETWORK, FILES]) };

/// The first address of a host. Waits for the resolver, unless it is written in numbers.
///
/// # Errors
/// Nobody knows the name.
pub fn resolve(addr: &HostPort) -> Result<SocketAddr> {
    let subject = format!("cannot resolve {}", addr.host);
    let mut found =
        (addr.host.as_str(), addr.port).to_socket_addrs().map_err(|error| Error::system(&subject, &error))?;
    found.next().ok_or_else(|| Error::new(Class::NoObject, format!("{subject}: it has no address")))
}

/// Calls `find` on a new thread, and then `tell` with its result.
///
/// # Errors
/// The system has no thread left.
pub fn look_up<T>(find: impl FnOnce() -> T + Send + 'static, tell: impl FnOnce(T) + Send + 'static) -> Result<()> {
    let started = rights::spawn("zb-name", &ROLE, move || tell(find()));
    started.map(drop).map_err(|error| Error::system("cannot start a thread to look up a name", &error))
}

/// The first name that has to be looked up before a port can be opened.
pub fn first_name(spec: &PortSpec) -> Option<String> {
    let mut spec = spec.clone();
    hosts(&mut spec).into_iter().find(|addr| addr.ip().is_none()).map(|addr| addr.host.clone())
}

/// The same specification with names replaced by addresses.
///
/// # Errors
/// As [`resolve`].
pub fn in_numbers(spec: &PortSpec) -> Result<PortSpec> {
    let mut spec = spec.clone();
    for addr in hosts(&mut spec) {
        if addr.ip().is_none() {
            addr.host = match resolve(addr)? {
                // A link-local address includes its interface.
                SocketAddr::V6(found) if found.scope_id() != 0 => format!("{}%{}", found.ip(), found.scope_id()),
                found => found.ip().to_string(),
            };
        }
    }
    Ok(spec)
}

/// The hosts that are dialled or bound when the port is opened; a service's later dials are not among them.
fn hosts(spec: &mut PortSpec) -> Vec<&mut HostPort> {
    match &mut spec.kind {
        PortKind::Tcp(tcp) => vec![&mut tcp.addr],
        PortKind::Udp(udp) => vec![&mut udp.local, &mut udp.remote],
        PortKind::Slip(Slip { transport, .. }) | PortKind::Wpan(Wpan { transport }) => match transport {
            Transport::Tcp { addr, .. } => vec![addr],
            Transport::Unix { .. } | Transport::Pty { .. } | Transport::Pipe { .. } => Vec::new(),
            Transport::Serial(_) | Transport::Fd(_) | Transport::Exec { .. } => Vec::new(),
        },
        PortKind::Usbip(usbip) => {
            let serial = usbip.devices.iter_mut().filter_map(|device| match &mut device.kind {
                UsbKind::CdcAcm(Serial::Tcp(addr)) => Some(addr),
                UsbKind::CdcAcm(Serial::Echo | Serial::Pty(..) | Serial::Unix(..) | Serial::File(_)) => None,
                UsbKind::Loopback | UsbKind::MassStorage { .. } | UsbKind::Keyboard(_) | UsbKind::Mouse(_) => None,
            });
            serial.chain(&mut usbip.listen).collect()
        }
        PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Nat(_) => Vec::new(),
        PortKind::Unix(_) | PortKind::UnixGram(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_not_written_in_numbers() {
        for (spec, name) in [
            ("tcp:board.example:5000,public", Some("board.example")),
            ("tcp:[::1]:5000,listen", None),
            ("udp:127.0.0.1:1->localhost:2", Some("localhost")),
            ("slip:tcp:localhost:5000", Some("localhost")),
            ("wpan:tcp:127.0.0.1:5000", None),
            ("usbip:192.0.2.1/24,device=cdc-acm+tcp=localhost:5000", Some("localhost")),
            ("usbip:192.0.2.1/24,import=board.example:3240/1-1", None),
            ("unix:board.example:5000", None),
        ] {
            assert_eq!(first_name(&PortSpec::parse(spec).unwrap()).as_deref(), name, "{spec}");
        }
    }

    #[test]
    fn numbers_take_the_place_of_names() {
        let spec = PortSpec::parse("udp:127.0.0.1:1->localhost:2,isolate").unwrap();
        let numbers = in_numbers(&spec).unwrap();
        assert_eq!(first_name(&numbers), None, "{numbers}");
        assert!(numbers.isolate && numbers.name == spec.name);
        assert_eq!(in_numbers(&numbers), Ok(numbers));
    }
}
