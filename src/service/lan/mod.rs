//! The servers of a segment: what makes a port of the switch a network that hosts can just be plugged into.
//!
//! | file | what hosts ask it for |
//! |---|---|
//! | [`dhcp4`], [`leases`] | an IPv4 address, its router, resolver, domain, MTU and boot file |
//! | [`dns`] | names of this segment, and all others from the host's resolvers |
//! | [`ra`], [`dhcp6`] | IPv6: prefix, router, MTU; resolver and domain |
//! | [`tftp`] | files of one folder, for boards that boot from the net |
//! | [`segment`], [`servers`] | all of them together, behind a gateway |
//!
//! [`client`] is the other side: a host that asks for its address.
//!
//! All of them are sans-I/O: the payload of a datagram and the time come in, [`Datagram`]s and a next deadline come
//! out. They know no frames; whoever has the gateway's MAC and its neighbours puts headers around what they say.
//!
//! A host of the segment can send anything as often as it likes. So each holds a bounded number of things, answers
//! with a bounded number of bytes, and refuses by silence what is not a question.

pub(crate) mod client;
pub(crate) mod dhcp4;
pub(crate) mod dhcp6;
pub(crate) mod dns;
pub(crate) mod leases;
pub(crate) mod name;
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
    /// Where it goes.
    pub dst: SocketAddr,
    /// Whose it is on the link, where the address alone does not say: a DHCP client has none yet.
    pub mac: Option<Mac>,
    /// What it carries.
    pub payload: Vec<u8>,
}
