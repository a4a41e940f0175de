//! From a port's specification to its descriptor: opened, opened again, or made of one that somebody else has opened.

use super::edge::Edge;
use super::ip_interface::IpInterface;
use super::listener::Listener;
use super::packet::{Carries, Packet};
use super::serial::Serial;
use super::tap::{self, Tap};
use super::{inet, unix};
use crate::config::{self, Arrival, Framing, PortKind, PortSpec};
use crate::error::{Class, Error, Result};
use crate::rights::deed;
use rustix::net::SocketType;
use std::os::fd::OwnedFd;

/// The result of opening a specification.
pub enum Opened {
    /// A port, and who is at its other end.
    Edge(Edge, String),
    /// A port whose connection is under way, or whose peer has not come; see [`Edge::connected`].
    Connecting(Edge, String),
    /// A listener.
    Listener(Listener),
}

/// Whether a port that cannot be opened at the start is tried again even then: it dials a peer.
pub fn dials(spec: &PortSpec) -> bool {
    spec.kind.arrival() == Arrival::Dialled
}

/// Whether a port that cannot be opened is tried until it is there.
pub fn is_awaited(spec: &PortSpec) -> bool {
    spec.optional || dials(spec)
}

/// Whether a port's clients become ports.
pub fn listens(spec: &PortSpec) -> bool {
    matches!(spec.kind.arrival(), Arrival::LetIn { .. })
}

/// Opens a lost port again. An interface that this process did not make ([`Edge::made_its_interface`]) has to exist
/// first.
///
/// # Errors
/// As [`open`].
pub fn open_again(spec: &PortSpec, made: bool) -> Result<Opened> {
    if let PortKind::Tap(tap) = &spec.kind
        && !tap::may_open_again(tap, made)
    {
        return Err(Error::new(Class::NoObject, format!("the interface {} was deleted", tap.name)));
    }
    open(spec)
}

/// Opens a port.
///
/// # Errors
/// What could not be opened, why, and what to do about it.
pub fn open(spec: &PortSpec) -> Result<Opened> {
    // The caller adds the port's name; so do some kinds themselves.
    open_kind(spec).map_err(|error| error.within(format_args!("{}:{}", spec.kind.word(), spec.kind.text().target())))
}

/// Makes a port of a descriptor that somebody else opened, maybe in another network namespace.
///
/// # Errors
/// It is not what `spec` says, or ports of this kind are not made of a descriptor.
pub fn adopt(spec: &PortSpec, fd: OwnedFd) -> Result<Edge> {
    let place = format!("{}:{}", spec.kind.word(), spec.kind.text().target());
    let adopted = match &spec.kind {
        PortKind::Tap(tap) => Tap::adopt(fd, tap, spec.mtu).map(Edge::Tap),
        PortKind::Packet(packet) => Packet::adopt(fd).and_then(|found| match found.name() == packet.ifname {
            true => on_interface(found.may_wait(spec.optional), spec, packet),
            false => Err(Error::usage(format!("the descriptor is that of {}", found.name()))),
        }),
        PortKind::Unix(unix) if unix.connect && unix.framing == Framing::Prefix => unix::adopt(fd),
        PortKind::Unix(_)
        | PortKind::UnixGram(_)
        | PortKind::Tcp(_)
        | PortKind::Udp(_)
        | PortKind::Slip(_)
        | PortKind::Wpan(_)
        | PortKind::Usbip(_)
        | PortKind::Nat(_) => Err(Error::usage("no port of this kind is made of a descriptor")
            .hint("tap:, packet: and unix:, the last with connect, are")),
    };
    adopted.map_err(|error| error.within(place))
}

fn open_kind(spec: &PortSpec) -> Result<Opened> {
    let edge = |(edge, peer)| Opened::Edge(edge, peer);
    match &spec.kind {
        PortKind::Unix(unix) if unix.connect => unix::dial(&unix.path, socket_type(unix.framing)).map(edge),
        PortKind::Unix(unix) => unix::UnixListener::bind(&unix.path, socket_type(unix.framing), &unix.access)
            .map(Listener::Unix)
            .map(Opened::Listener),
        PortKind::UnixGram(unix) => {
            let bound = unix::gram(&unix.path, unix.peer.as_deref(), &unix.access)?;
            let peer = unix.peer.as_ref().map_or_else(String::new, |peer| peer.display().to_string());
            Ok(Opened::Edge(Edge::UnixGram(bound), peer))
        }
        PortKind::Tcp(tcp) if tcp.listen => inet::TcpListener::bind(&tcp.addr).map(Listener::Tcp).map(Opened::Listener),
        PortKind::Tcp(tcp) => inet::dial(&tcp.addr).map(|(edge, peer)| Opened::Connecting(edge, peer)),
        PortKind::Udp(udp) => inet::udp(&udp.local, &udp.remote).map(edge),
        PortKind::Tap(tap) => open_tap(spec, tap).map(|tap| Opened::Edge(Edge::Tap(tap), String::new())),
        PortKind::Packet(packet) => open_packet(spec, packet)
            .and_then(|found| on_interface(found, spec, packet))
            .map(|edge| Opened::Edge(edge, String::new())),
        PortKind::Usbip(_) | PortKind::Nat(_) => {
            Err(Error::new(Class::Runtime, "a service has no descriptor: the engine starts it"))
        }
        PortKind::Slip(slip) => Serial::slip(spec, slip).map(opened),
        PortKind::Wpan(wpan) => Serial::wpan(spec, wpan).map(opened),
    }
}

/// Opens a TAP, through the keeper if this thread has given up the right to.
fn open_tap(spec: &PortSpec, tap: &config::Tap) -> Result<Tap> {
    match tap.fd.is_none().then(|| deed::port(|| bare(spec))).flatten() {
        // The keeper has set it up.
        Some(kept) => kept.and_then(|(fd, made)| Tap::kept(fd, &tap.name, made)),
        None => Tap::open(tap, spec.mtu),
    }
}

/// The same for a packet socket.
fn open_packet(spec: &PortSpec, packet: &config::Packet) -> Result<Packet> {
    match deed::port(|| bare(spec)) {
        Some(kept) => kept.and_then(|(fd, _)| Packet::adopt(fd)).map(Packet::of_this_namespace),
        None => open_interface(packet),
    }
}

pub(super) fn open_interface(packet: &config::Packet) -> Result<Packet> {
    if packet.up { Packet::open_up(&packet.ifname) } else { Packet::open(&packet.ifname) }
}

/// The port on an open interface.
fn on_interface(found: Packet, spec: &PortSpec, packet: &config::Packet) -> Result<Edge> {
    Ok(match &packet.ip {
        Some(ip) => Edge::Ip(Box::new(IpInterface::new(found.that_carries(Carries::Packets)?, spec, ip))),
        None => Edge::Packet(found.that_carries(Carries::Frames)?.with_offload(packet.offload)),
    })
}

/// The part of a specification that the keeper needs.
fn bare(spec: &PortSpec) -> String {
    PortSpec { mtu: spec.mtu, ..PortSpec::new(spec.kind.clone()) }.canonical()
}

fn opened(serial: Serial) -> Opened {
    let (open, peer) = (serial.line().is_open(), serial.line().peer().to_owned());
    let edge = Edge::Serial(Box::new(serial));
    if open { Opened::Edge(edge, peer) } else { Opened::Connecting(edge, peer) }
}

fn socket_type(framing: Framing) -> SocketType {
    match framing {
        Framing::Prefix => SocketType::STREAM,
        Framing::Packets => SocketType::SEQPACKET,
    }
}
