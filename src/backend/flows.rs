//! The sockets of a gateway's flows ([`crate::service::nat`]): ordinary, non-blocking sockets of the host.
//!
//! A connection is reset when its socket is closed, unless a guest has ended it (SO_LINGER, set from the beginning): so
//! it holds for the end of the process, too. A stream that was cut off never looks like a complete one.

use super::Backend;
use super::slot::{Owned, Slot};
use crate::error::{Error, Result};
use crate::limits::{NAT_ASKED, NAT_ASKED_EVERY, NAT_SILENCE};
use crate::port::inet;
use crate::port::sys::{self, refusal, want_destinations, want_refusals};
use crate::service::outside::{Datagrams, Refusal, Refused, SocketId};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

impl Backend {
    /// Listens for TCP connections, or takes UDP datagrams. Gives the address, too, whose port the system may have chosen.
    ///
    /// # Errors
    /// The address is taken, or not the host's.
    pub(super) fn listen(&mut self, udp: bool, addr: SocketAddr) -> Result<(SocketId, SocketAddr)> {
        let (kind, protocol) = if udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let bind = || {
            let socket = inet::socket(addr, kind, protocol)?;
            if addr.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            if udp && addr.ip().is_unspecified() {
                want_destinations(&socket, addr.is_ipv6())?;
            }
            let bound = inet::bind(&socket, addr)?;
            Ok((socket, bound))
        };
        let word = if udp { "udp" } else { "tcp" };
        let placed = bind().and_then(|(socket, bound)| Ok((self.add(Slot::new(Owned::Flow(socket)))?, bound)));
        placed.map_err(|error: io::Error| {
            inet::in_use(Error::system(format_args!("cannot listen on {word} {addr}"), &error), &error)
        })
    }

    /// Names and watches the socket of a flow, as long as there are enough descriptors for others.
    pub(super) fn add_flow(&mut self, socket: Socket) -> io::Result<SocketId> {
        if u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number < self.below) {
            self.add(Slot::new(Owned::Flow(socket)))
        } else {
            Err(Errno::MFILE.into())
        }
    }

    pub(super) fn flow(&self, socket: SocketId) -> io::Result<&Socket> {
        match self.slots.get(&socket.0) {
            Some(Slot { owned: Owned::Flow(socket), .. }) => Ok(socket),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A socket of datagrams with an error queue (IP_RECVERR).
pub(super) fn datagrams(kind: Datagrams, v6: bool) -> io::Result<Socket> {
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let protocol = match (kind, v6) {
        (Datagrams::Udp, _) => Protocol::UDP,
        (Datagrams::Echo, false) => Protocol::ICMPV4,
        (Datagrams::Echo, true) => Protocol::ICMPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol))?;
    want_refusals(&socket, v6)?;
    Ok(socket)
}

/// The next datagram that did not arrive.
pub(super) fn refused(socket: &Socket) -> Option<Refused> {
    loop {
        let told = refusal(socket).ok()?;
        // The host's own refusals were returned by the call that failed, but for the path MTU (EMSGSIZE).
        if told.origin != libc::SO_EE_ORIGIN_LOCAL || told.errno == libc::EMSGSIZE {
            let [.., n0, n1] = told.head;
            return Some(Refused {
                to: told.to,
                why: meaning(&told),
                by: told.by,
                number: u16::from_be_bytes([n0, n1]),
            });
        }
    }
}

/// Options of a flow's connection.
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    reset_at_end(socket, true);
    // The gateway probes guests alike: when either side vanishes, the other is told.
    let asks = TcpKeepalive::new().with_time(NAT_SILENCE).with_interval(NAT_ASKED_EVERY).with_retries(NAT_ASKED.into());
    socket.set_tcp_keepalive(&asks)?;
    // Urgent bytes stay in the stream, as those of guests do.
    socket.set_out_of_band_inline(true)
}

/// Sets whether closing `socket` resets its connection (SO_LINGER), in the process's end too.
pub(super) fn reset_at_end(socket: &Socket, reset: bool) {
    // If it fails the connection ends in the usual way. A socket of datagrams has nothing to reset.
    let _ = socket.set_linger(reset.then_some(Duration::ZERO));
}

/// The reason in an ICMP error.
fn meaning(told: &sys::Refusal) -> Refusal {
    match told.errno {
        libc::ECONNREFUSED => Refusal::Port,
        libc::EMSGSIZE => Refusal::TooBig(u16::try_from(told.info).unwrap_or(u16::MAX)),
        libc::EACCES | libc::EPERM => Refusal::Prohibited,
        libc::ENETUNREACH => Refusal::Network,
        _ if told.origin == libc::SO_EE_ORIGIN_ICMP && told.kind == 11 => Refusal::Hops,
        _ if told.origin == libc::SO_EE_ORIGIN_ICMP6 && told.kind == 3 => Refusal::Hops,
        _ => Refusal::Host,
    }
}
