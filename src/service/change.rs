//! Changes of a service that runs: forwards of a gateway, names and leases of its network.
//!
//! They come from other threads the way questions do, and are carried out in the service's next turn
//! ([`Service::change`](super::Service::change)), so that no frame sees half a change.

use crate::config::{Forward, LanHost, Protocol};
use crate::wire::Mac;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Change {
    /// An address of the host leads to a guest from now on.
    AddForward {
        /// The forward.
        forward: Forward,
        /// Other hosts than this one may reach it.
        public: bool,
    },
    /// It does so no more. Connections that stand go on.
    DelForward {
        /// Its transport.
        protocol: Protocol,
        /// Where the host listens.
        listen: SocketAddr,
    },
    /// The resolver knows a name: a host's, or `*.` and a zone for all names below it.
    AddName {
        /// The name; one without a dot is of the network's domain.
        name: String,
        /// Its addresses.
        addrs: Vec<IpAddr>,
    },
    /// It knows the name no more.
    DelName {
        /// The name.
        name: String,
    },
    /// A host always has this address, and this name.
    Pin(LanHost),
    /// The lease of a host ends, and it is pinned no more.
    DropLease(Holder),
}

/// Whose lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// Of the host with this address.
    Addr(Ipv4Addr),
    /// Of the host with this MAC address.
    Mac(Mac),
}

/// What a change came to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Changed {
    /// It is done.
    Done,
    /// It is done: the forward listens here.
    Forward(Forward),
    /// It was so before.
    Already,
    /// The same is there already, but otherwise: so it is now.
    Otherwise(String),
    /// There is none of this name or address.
    Missing,
    /// The address is of another network.
    Elsewhere,
}
