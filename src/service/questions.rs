//! Between a gateway and its servers: datagrams from guests, and answers.
//!
//! A gateway hands each datagram to one of its own addresses, to multicast or broadcast to its [`Servers`] first, as a
//! [`Question`]. They reply with an [`Answer`], to which the gateway adds the headers.

use crate::error::{Error, Result};
use crate::service::change::{Change, Changed};
use crate::service::detail::Details;
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
    /// Its sender.
    pub from: Station,
    /// Its source; 0.0.0.0 while a DHCP client has no address.
    pub src: SocketAddr,
    /// Its destination: an address of the gateway's network, broadcast or multicast.
    pub dst: SocketAddr,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A server's reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A UDP datagram.
    Udp {
        /// Its source: an address and port of the gateway.
        src: SocketAddr,
        /// Its destination: a guest, multicast or broadcast.
        dst: SocketAddr,
        /// The destination MAC, where ARP or ND cannot tell it.
        mac: Option<Mac>,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// No datagram: an ARP request for this address. [`Servers::hear`] takes the answer.
    Ask(Ipv4Addr),
    /// An ICMPv6 message of neighbour discovery, checksum included. It leaves with hop limit 255 (RFC 4861, 6.2.1).
    Discovery {
        /// Its source: an address of the gateway.
        src: Ipv6Addr,
        /// Its destination: a guest or multicast.
        dst: Ipv6Addr,
        /// As above.
        mac: Option<Mac>,
        /// From its type on.
        message: Vec<u8>,
    },
}

/// Servers on the gateway's addresses. They share the gateway's [`Outside`], and get the events of their own sockets.
pub trait Servers: Send {
    /// Takes a datagram. `false`: no server has this address and port, and the gateway handles the datagram itself.
    fn handle_datagram(&mut self, now: Instant, question: Question<'_>, host: &mut dyn Outside) -> bool;

    /// Takes a router solicitation: its sender, its hop limit, and the message, whose checksum is right.
    fn handle_solicitation(&mut self, now: Instant, from: (Ipv6Addr, Mac), hop_limit: u8, message: &[u8]);

    /// An ARP message has shown that a host has this address. Returns whether there is something to do.
    fn hear(&mut self, now: Instant, whom: Station, addr: Ipv4Addr) -> bool {
        let _ = (now, whom, addr);
        false
    }

    /// A station says that it has this IPv6 address.
    fn hear_six(&mut self, mac: Mac, addr: Ipv6Addr) {
        let _ = (mac, addr);
    }

    /// Carries out a change of names or leases.
    ///
    /// # Errors
    /// It cannot be done, or there is no such server.
    fn change(&mut self, now: Instant, change: &Change) -> Result<Changed> {
        let _ = (now, change);
        Err(Error::usage("it has no servers for its network"))
    }

    /// Adds its names and leases to `details`.
    fn details(&self, now: Instant, details: &mut Details) {
        let _ = (now, details);
    }

    /// A socket has changed. `false`: it is none of theirs.
    fn handle_event(&mut self, now: Instant, event: Event, host: &mut dyn Outside) -> bool;

    /// Takes results of file operations. Returns whether there were any.
    fn handle_files(&mut self, now: Instant, host: &mut dyn Outside) -> bool {
        let _ = (now, host);
        false
    }

    /// The next answer. Called after everything that may have made one.
    fn poll_transmit(&mut self, now: Instant, host: &mut dyn Outside) -> Option<Answer>;

    /// When [`Servers::handle_timeout`] has something to do.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant, host: &mut dyn Outside);

    /// The TCP port that a server listens on; [`Servers::hears_stream`] tells the addresses.
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

    /// Sends bytes on connections. Called after [`Servers::poll_transmit`].
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

    /// Datagrams dropped because too many answers waited.
    fn dropped(&self) -> u64 {
        0
    }

    /// Datagrams that no server could read.
    fn malformed(&self) -> u64 {
        0
    }
}
