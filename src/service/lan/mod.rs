//! The servers of a segment, for hosts without configuration: DHCP, DNS, router advertisements, TFTP.
//!
//! | file | serves |
//! |---|---|
//! | [`dhcp4`], [`leases`] | an IPv4 address, its router, resolver, domain, MTU and boot file |
//! | [`dns`], [`names`] | names of this segment, those that were added, and all others from the host's resolvers |
//! | [`ra`], [`dhcp6`] | IPv6: prefix, router, MTU; resolver and domain |
//! | [`tftp`] | files of one folder, for boards that boot from the net |
//! | [`segment`], [`servers`] | all of them together, behind a gateway |
//!
//! [`client`] is the other side: a host that asks for its address.
//!
//! All of them are sans-I/O: the payload of a datagram and the time come in, [`Datagram`]s and a next deadline come
//! out. The gateway, which has the neighbour table, adds the headers.
//!
//! A host of the segment can send anything as often as it likes. So each server has bounded memory, bounded answers,
//! and ignores malformed messages.

pub(crate) mod client;
pub(crate) mod dhcp4;
pub(crate) mod dhcp6;
pub(crate) mod dns;
pub(crate) mod leases;
pub(crate) mod name;
pub(crate) mod names;
pub(crate) mod ra;
mod random;
pub(crate) mod segment;
pub(crate) mod servers;
pub(crate) mod tftp;
mod trial;

use crate::wire::Mac;
use std::net::SocketAddr;

/// A UDP datagram from one of the servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// The server's address and port.
    pub src: SocketAddr,
    /// Its destination.
    pub dst: SocketAddr,
    /// The destination MAC, where ARP cannot tell it: a DHCP client has no address yet.
    pub mac: Option<Mac>,
    /// Its payload.
    pub payload: Vec<u8>,
}
