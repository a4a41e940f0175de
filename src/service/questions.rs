//! Questions of guests to a gateway, and whoever answers them.
//!
//! A gateway hands each datagram to one of its own addresses, or to all, to its [`Servers`] first, as a [`Question`]. What
//! they say is an [`Answer`], to which the gateway puts the headers.

use crate::service::endpoint::{Endpoint, Event as StreamEvent};
use crate::service::lease::Lease;
use crate::service::outside::{Event, Outside};
use crate::service::station::Station;
use crate::time::Instant;
use crate::wire::Mac;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A datagram of a guest.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who sent it.
    pub from: Station,
    /// From where; 0.0.0.0 of who has no address yet.
    pub src: SocketAddr,
    /// To which address: one of the gateway's network, a broadcast or a group.
    pub dst: SocketAddr,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A UDP datagram.
    Udp {
        /// From which of the gateway's addresses and ports.
        src: SocketAddr,
        /// To a guest, a group or all.
        dst: SocketAddr,
        /// Whose it is on the link, where the address alone does not say.
        mac: Option<Mac>,
        /// What it carries.
        payload: Vec<u8>,
    },
    /// No message: the link is asked by ARP who has this address. [`Servers::hear`] takes the answer.
    Ask(Ipv4Addr),
    /// An ICMPv6 message of neighbour discovery, checksum included. It leaves with hop limit 255 (RFC 4861, 6.2.1).
    Discovery {
        /// From which of the gateway's addresses.
        src: Ipv6Addr,
        /// To a guest or a group.
        dst: Ipv6Addr,
        /// As above.
        mac: Option<Mac>,
        /// From its type on.
        message: Vec<u8>,
    },
}

/// Servers behind the gateway's addresses. Whatever they need of the host is the gateway's [`Outside`]'s, whose events for
/// sockets of theirs they are told.
pub trait Servers: Send {
    /// Takes a datagram. `false`: nobody serves this address and port, and the gateway does with it what it would.
    fn handle_datagram(&mut self, now: Instant, question: Question<'_>, host: &mut dyn Outside) -> bool;

    /// Takes a router solicitation of whom, its packet's hop limit, and the message, whose checksum is right.
    fn handle_solicitation(&mut self, now: Instant, from: (Ipv6Addr, Mac), hop_limit: u8, message: &[u8]);

    /// A host said by ARP that it has this address. Returns whether that makes something to do.
    fn hear(&mut self, now: Instant, whom: Station, addr: Ipv4Addr) -> bool {
        let _ = (now, whom, addr);
        false
    }

    /// A socket has changed. `false`: it is none of theirs.
    fn handle_event(&mut self, now: Instant, event: Event, host: &mut dyn Outside) -> bool;

    /// Takes what was done with files. Returns whether there was anything.
    fn handle_files(&mut self, now: Instant, host: &mut dyn Outside) -> bool {
        let _ = (now, host);
        false
    }

    /// The next answer. Asked after everything that may have made one.
    fn poll_transmit(&mut self, now: Instant, host: &mut dyn Outside) -> Option<Answer>;

    /// When [`Servers::handle_timeout`] has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant, host: &mut dyn Outside);

    /// The TCP port on which one listens; [`Servers::hears_stream`] tells at which addresses.
    fn stream_port(&self) -> Option<u16> {
        None
    }

    /// Whether connections to this address are for a server: they end in the gateway's endpoint.
    fn hears_stream(&self, dst: SocketAddr) -> bool {
        let _ = dst;
        false
    }

    /// Something happened to a connection of the endpoint.
    fn handle_stream(&mut self, now: Instant, event: StreamEvent, endpoint: &mut Endpoint, host: &mut dyn Outside) {
        let _ = (now, event, endpoint, host);
    }

    /// Sends what there is to be sent on connections. Asked as [`Servers::poll_transmit`] is, after it.
    fn work_streams(&mut self, now: Instant, endpoint: &mut Endpoint) {
        let _ = (now, endpoint);
    }

    /// The leases that stand, by address.
    fn leases(&self, now: Instant) -> Vec<Lease> {
        let _ = now;
        Vec::new()
    }

    /// A number that is another one when a lease has changed.
    fn leases_version(&self) -> u64 {
        0
    }

    /// Datagrams that were not taken because too many answers waited.
    fn dropped(&self) -> u64 {
        0
    }

    /// Datagrams that no server could read.
    fn malformed(&self) -> u64 {
        0
    }
}
