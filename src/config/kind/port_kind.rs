//! The kinds of ports as an enum, and their properties.
//!
//! No match here has a wildcard: whoever adds a kind is asked by the compiler.
#![deny(clippy::wildcard_enum_match_arm)]

use super::{IpPeer, KindText, Nat, Packet, Slip, Tap, Tcp, Transport, Udp, UnixGram, UnixSocket, Usbip, Wpan};
use crate::limits::QUEUE_FRAMES;
use crate::switch::Address;
use std::net::IpAddr;

/// How the first peer of a port comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It connects to the port, as do others after it, up to a number. Each becomes a port of its own.
    LetIn {
        /// As `clients=` says.
        clients: Option<usize>,
    },
    /// The port connects to it.
    Dialled,
    /// The port is there once it is opened.
    Opened,
}

/// A port, by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PortKind {
    /// A TAP interface of this machine.
    Tap(Tap),
    /// Length-prefixed frames on a UNIX stream socket.
    Unix(UnixSocket),
    /// One frame a datagram on a UNIX socket.
    UnixGram(UnixGram),
    /// Length-prefixed frames on a TCP connection.
    Tcp(Tcp),
    /// One frame a UDP datagram.
    Udp(Udp),
    /// An existing interface of this machine.
    Packet(Packet),
    /// SLIP on a serial line.
    Slip(Slip),
    /// A node of an IEEE 802.15.4 medium, on a serial line.
    Wpan(Wpan),
    /// A USB/IP server with its devices.
    Usbip(Usbip),
    /// A gateway to the host's networks.
    Nat(Nat),
}

impl PortKind {
    /// The addresses of a service, which is a host on the switch.
    pub fn hosts(&self) -> Vec<IpAddr> {
        let cidrs = match self {
            Self::Nat(nat) => nat.addrs(),
            Self::Usbip(usbip) => usbip.addrs.clone(),
            Self::Tap(_) | Self::Packet(_) | Self::Unix(_) | Self::UnixGram(_) | Self::Tcp(_) | Self::Udp(_) => {
                Vec::new()
            }
            Self::Slip(_) | Self::Wpan(_) => Vec::new(),
        };
        cidrs.into_iter().map(|cidr| cidr.addr).collect()
    }

    /// Bits per second, where the kind has a rate: a serial line's.
    pub fn speed(&self) -> Option<u64> {
        let transport = match self {
            Self::Slip(slip) => &slip.transport,
            Self::Wpan(wpan) => &wpan.transport,
            Self::Tap(_) | Self::Packet(_) | Self::Unix(_) | Self::UnixGram(_) | Self::Tcp(_) | Self::Udp(_) => {
                return None;
            }
            Self::Usbip(_) | Self::Nat(_) => return None,
        };
        match transport {
            Transport::Serial(uart) => Some(uart.baud.into()),
            Transport::Unix { .. } | Transport::Pty { .. } | Transport::Tcp { .. } => None,
            Transport::Pipe { .. } | Transport::Fd(_) | Transport::Exec { .. } => None,
        }
    }

    /// Its own addresses on the switch, as far as configured, which no other port has: of a service, of the machine on
    /// its TAP, of a peer with bare IP packets.
    pub fn own_addresses(&self) -> Vec<Address> {
        let (mac, cidrs) = match self {
            Self::Nat(nat) => (Some(nat.mac()), &[][..]),
            Self::Usbip(usbip) => (Some(usbip.mac()), &[][..]),
            Self::Tap(tap) => (tap.mac, &tap.addrs[..]),
            Self::Unix(_) | Self::UnixGram(_) | Self::Tcp(_) | Self::Udp(_) | Self::Wpan(_) => (None, &[][..]),
            Self::Packet(_) | Self::Slip(_) => {
                self.ip_peer().map_or((None, &[][..]), |peer| (peer.mac, &peer.addrs[..]))
            }
        };
        let addrs = self.hosts().into_iter().chain(cidrs.iter().map(|cidr| cidr.addr));
        mac.map(Address::Mac).into_iter().chain(addrs.map(Address::Ip)).collect()
    }

    /// Whether it is a host of its own on the switch.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Nat(_) | Self::Usbip(_))
    }

    /// Whether machines beyond this one reach the switch by it: an interface of this one, or a socket that is public.
    pub fn leads_to_a_network(&self) -> bool {
        match self {
            Self::Packet(_) => true,
            Self::Tcp(tcp) => tcp.public,
            Self::Udp(udp) => udp.public,
            Self::Slip(slip) => slip.transport.is_public(),
            // A radio medium has no gateway.
            Self::Wpan(_) => false,
            Self::Tap(_) | Self::Unix(_) | Self::UnixGram(_) => false,
            Self::Usbip(_) | Self::Nat(_) => false,
        }
    }

    /// The transport of a serial line.
    pub fn transport(&self) -> Option<&Transport> {
        match self {
            Self::Slip(Slip { transport, .. }) | Self::Wpan(Wpan { transport }) => Some(transport),
            Self::Tap(_) | Self::Packet(_) | Self::Unix(_) | Self::UnixGram(_) | Self::Tcp(_) | Self::Udp(_) => None,
            Self::Usbip(_) | Self::Nat(_) => None,
        }
    }

    /// The peer with bare IP packets, if there is one behind it.
    pub fn ip_peer(&self) -> Option<&IpPeer> {
        match self {
            Self::Slip(slip) => slip.ip.as_ref(),
            Self::Packet(packet) => packet.ip.as_ref(),
            Self::Tap(_) | Self::Unix(_) | Self::UnixGram(_) | Self::Tcp(_) | Self::Udp(_) | Self::Wpan(_) => None,
            Self::Usbip(_) | Self::Nat(_) => None,
        }
    }

    /// How its first peer comes.
    pub(crate) fn arrival(&self) -> Arrival {
        let of = |connect: bool, clients| if connect { Arrival::Dialled } else { Arrival::LetIn { clients } };
        match self {
            Self::Unix(unix) => of(unix.connect, unix.clients),
            Self::Tcp(tcp) => of(!tcp.listen, tcp.clients),
            Self::Slip(Slip { transport, .. }) | Self::Wpan(Wpan { transport }) if transport.dials() => {
                Arrival::Dialled
            }
            Self::Tap(_) | Self::Packet(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Slip(_) | Self::Wpan(_) => {
                Arrival::Opened
            }
            Self::Usbip(_) | Self::Nat(_) => Arrival::Opened,
        }
    }

    /// The word before the colon: `tap`.
    pub fn word(&self) -> &'static str {
        self.text().row().word
    }

    /// Whether it is a node of a radio medium, and not a port of an Ethernet switch.
    pub fn is_radio(&self) -> bool {
        matches!(self, Self::Wpan(_))
    }

    /// Whether the port itself enforces its mtu, by ICMP to senders, and not the switch, by dropping.
    pub fn tells_mtu(&self) -> bool {
        self.ip_peer().is_some()
    }

    /// Frames that wait for a busy peer unless `queue=` says otherwise.
    pub fn queue(&self) -> usize {
        self.transport().map_or(QUEUE_FRAMES, Transport::queue)
    }

    /// The clients that a listener lets in at once.
    pub fn clients(&self) -> usize {
        match self.arrival() {
            Arrival::LetIn { clients } => clients.unwrap_or(usize::MAX),
            Arrival::Dialled | Arrival::Opened => usize::MAX,
        }
    }

    /// The one place where the kinds are told apart for their words.
    pub(crate) fn text(&self) -> &dyn KindText {
        match self {
            Self::Tap(kind) => kind,
            Self::Unix(kind) => kind,
            Self::UnixGram(kind) => kind,
            Self::Tcp(kind) => kind,
            Self::Udp(kind) => kind,
            Self::Packet(kind) => kind,
            Self::Slip(kind) => kind,
            Self::Wpan(kind) => kind,
            Self::Usbip(kind) => kind,
            Self::Nat(kind) => kind,
        }
    }
}
