//! The edges of the switch: one file for each kind of port, with its descriptor and its system calls.
//!
//! Theory of operation. [`open`] turns a port's specification into a [`Listener`], whose clients become ports of
//! their own, or into an [`Edge`] (a descriptor that frames pass through). An edge never blocks and never ends the
//! process: a call takes what it can, counts what it has to drop, and says [`Gone`] when the descriptor is of no more
//! use; by then it has left its [`seat`] and cannot be called again. What then happens (wait, open again, remove) is the
//! engine's business. The kinds are a closed enum, matched here and nowhere else.

mod access;
pub mod channel;
pub mod datagram;
pub mod descriptors;
pub mod folder;
pub mod frame_io;
pub mod inet;
pub mod interface;
pub mod ip_interface;
pub mod keeper;
pub mod link_news;
mod listener;
pub mod made;
pub mod memory;
pub mod names;
pub mod netlink;
mod owner;
pub mod packet;
pub mod port_set;
pub mod seat;
pub mod serial;
pub mod stream;
pub(crate) mod sys;
pub mod tap;
pub mod unix;
pub mod writer;

pub use listener::Listener;
pub use sys::{inherited, process};

use crate::config::{self, PortKind, PortSpec, Transport};
use crate::counters::Counters;
use crate::error::{Class, Error, Result};
use crate::frame::{Batch, Outgoing, PortId};
use crate::rights::deed;
use crate::service::lan::leases::Lease;
use crate::service::nat::{Flows, Stats};
use crate::time::Duration;
use crate::wire::Mac;
use channel::Channel;
use datagram::{Sequenced, Udp};
use interface::Link;
use ip_interface::IpInterface;
use packet::{Carries, Packet};
use rustix::net::SocketType;
use seat::Carrier;
use serial::Serial;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::SystemTime;
use stream::Stream;
use tap::Tap;
use unix::BoundGram;

/// What one receive may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes of a stream.
    pub bytes: usize,
    /// Frames of a descriptor that is read frame by frame.
    pub frames: usize,
}

/// How a receive ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inhaled {
    /// Nothing is left: the descriptor will say when there is more.
    Drained,
    /// The budget or the batch ended first: call again.
    More,
}

/// A descriptor is of no more use, and why, as a person is told: `its peer closed the connection`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone(pub String);

/// A descriptor that turned out to be of no more use while it was sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Frames that were done with before: sent or dropped, and counted.
    pub done: usize,
    /// Why it is of no more use.
    pub gone: Gone,
}

/// A descriptor that frames pass through.
pub enum Edge {
    /// A TAP.
    Tap(Tap),
    /// An interface that exists already.
    Packet(Packet),
    /// One that carries IP packets.
    Ip(Box<IpInterface>),
    /// A stream socket.
    Stream(Stream),
    /// A SOCK_SEQPACKET socket.
    Sequenced(Sequenced),
    /// A UNIX datagram socket.
    UnixGram(BoundGram),
    /// A UDP socket.
    Udp(Udp),
    /// A channel to a thread of this process.
    Channel(Channel),
    /// A serial line.
    Serial(Box<Serial>),
}

/// What an edge can do, as the switch has to know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Its peer waits while nothing is read from it.
    pub pausable: bool,
    /// It takes frames whose checksum or segmentation is not finished.
    pub offload: bool,
}

impl Carrier for Edge {
    fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        budget: Budget,
        counters: &mut Counters,
    ) -> Result<Inhaled, Gone> {
        match self {
            Self::Tap(edge) => frame_io::receive(edge, batch, id, budget.frames, counters),
            Self::Packet(edge) => edge.receive(batch, id, budget.frames, counters),
            Self::Ip(edge) => edge.receive(batch, id, budget.frames, counters),
            Self::Stream(edge) => edge.receive(batch, id, budget.bytes, counters),
            Self::Sequenced(edge) => frame_io::receive(edge, batch, id, budget.frames, counters),
            Self::UnixGram(edge) => frame_io::receive(&mut edge.gram, batch, id, budget.frames, counters),
            Self::Udp(edge) => frame_io::receive(edge, batch, id, budget.frames, counters),
            Self::Channel(edge) => edge.receive(batch, id, counters),
            Self::Serial(edge) => edge.receive(batch, id, counters),
        }
    }

    fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
        match self {
            Self::Tap(edge) => frame_io::transmit(edge, out, counters),
            Self::Packet(edge) => frame_io::transmit(edge, out, counters),
            Self::Ip(edge) => edge.transmit(out, counters),
            Self::Stream(edge) => edge.transmit(out, counters),
            Self::Sequenced(edge) => frame_io::transmit(edge, out, counters),
            Self::UnixGram(edge) => frame_io::transmit(&mut edge.gram, out, counters),
            Self::Udp(edge) => frame_io::transmit(edge, out, counters),
            Self::Channel(edge) => edge.transmit(out, counters),
            Self::Serial(edge) => edge.transmit(out, counters),
        }
    }

    fn has_begun(&self) -> bool {
        match self {
            Self::Stream(edge) => edge.has_begun(),
            Self::Serial(edge) => edge.has_begun(),
            _ => false,
        }
    }
}

impl Edge {
    /// The descriptors to wait on: none for a channel, which calls by itself; two for a line with a way in and a way
    /// out, or where another tells of room. They change when a peer of a serial line arrives or leaves.
    pub fn fds(&self) -> [Option<RawFd>; 2] {
        let one = |fd: BorrowedFd<'_>| [Some(fd.as_raw_fd()), None];
        match self {
            Self::Tap(edge) => one(edge.as_fd()),
            Self::Packet(edge) => one(edge.as_fd()),
            Self::Ip(edge) => one(edge.as_fd()),
            Self::Stream(edge) => one(edge.as_fd()),
            Self::Sequenced(edge) => one(edge.as_fd()),
            Self::UnixGram(edge) => [Some(edge.gram.as_fd().as_raw_fd()), Some(edge.gram.lookout().as_raw_fd())],
            Self::Udp(edge) => one(edge.as_fd()),
            Self::Channel(_) => [None, None],
            Self::Serial(edge) => edge.line().fds(),
        }
    }

    /// The MAC address of the host on the switch that it is, where it is one: the machine on a TAP, a peer with bare IP
    /// packets.
    pub fn mac(&self) -> Option<Mac> {
        match self {
            Self::Tap(edge) => edge.mac(),
            Self::Ip(edge) => Some(edge.mac()),
            Self::Serial(edge) => edge.mac(),
            _ => None,
        }
    }

    /// What it can do.
    pub fn abilities(&self) -> Abilities {
        match self {
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) => Abilities { pausable: true, offload: false },
            Self::Channel(edge) => Abilities { pausable: true, offload: edge.takes_offloads() },
            // The kernel queues what the host sends, and drops it when that is full: waiting would lose frames.
            Self::Tap(edge) => Abilities { pausable: false, offload: edge.takes_offloads() },
            Self::Packet(edge) => Abilities { pausable: false, offload: edge.takes_offloads() },
            // The sender of a datagram over IP does not wait; the kernel drops what is not read.
            Self::Udp(_) | Self::Ip(_) => Abilities { pausable: false, offload: false },
            Self::Serial(edge) => Abilities { pausable: edge.is_pausable(), offload: false },
        }
    }

    /// Whether it took less than it was offered for want of memory. Nothing tells when there is some again: it has to be
    /// tried.
    pub fn is_starved(&self) -> bool {
        matches!(self, Self::Stream(edge) if edge.is_starved())
    }

    /// Whether the other side of a channel has called.
    pub fn take_ready(&self) -> bool {
        matches!(self, Self::Channel(edge) if edge.take_ready())
    }

    /// Asks a connection that was begun how it stands, or a line whether its peer has come: `None` while not.
    pub fn connected(&mut self) -> Option<std::io::Result<()>> {
        match self {
            Self::Stream(edge) => inet::connected(edge),
            Self::Serial(edge) => edge.arrive(),
            _ => Some(Ok(())),
        }
    }

    /// What it does until [`Edge::connected`], in a word.
    pub fn waits_by(&self) -> &'static str {
        match self {
            Self::Serial(edge) => edge.line().waits_by(),
            _ => "connecting",
        }
    }

    /// Whether [`Edge::connected`] has to be asked from time to time, as no descriptor tells of it.
    pub fn arrivals_are_silent(&self) -> bool {
        matches!(self, Self::Serial(edge) if edge.line().arrivals_are_silent())
    }

    /// Its peer has left. True if it can wait for the next one as it is; then see [`Edge::connected`].
    pub fn depart(&mut self, gone: &Gone) -> bool {
        match self {
            Self::Serial(edge) => edge.depart(&gone.0),
            _ => false,
        }
    }

    /// Whether it has something for the switch that no descriptor tells of.
    pub fn has_own(&self) -> bool {
        match self {
            Self::Serial(edge) => edge.has_own(),
            Self::Ip(edge) => edge.has_own(),
            _ => false,
        }
    }

    /// Whether it may ever have a time for [`Edge::due_in`].
    pub fn keeps_time(&self) -> bool {
        match self {
            Self::Serial(edge) => edge.keeps_time(),
            Self::Ip(_) => true,
            _ => false,
        }
    }

    /// The time until [`Edge::handle_timeout`] has something to do.
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Serial(edge) => edge.due_in(),
            Self::Ip(edge) => edge.due_in(),
            _ => None,
        }
    }

    /// Sees to what is due.
    pub fn handle_timeout(&mut self) {
        match self {
            Self::Serial(edge) => edge.handle_timeout(),
            Self::Ip(edge) => edge.handle_timeout(),
            _ => {}
        }
    }

    /// Who is at the other end, where that changes while it is open.
    pub fn peer(&self) -> Option<String> {
        match self {
            Self::UnixGram(edge) => Some(edge.gram.peer()),
            // Which one it is now: the program may have made another.
            Self::Packet(_) | Self::Ip(_) => {
                self.packet().filter(|packet| packet.waits()).map(|packet| packet.name().to_owned())
            }
            Self::Serial(edge) => Some(edge.line().peer().to_owned()),
            Self::Channel(edge) => {
                edge.flows().map(|(flows, _)| flows.to_string()).or_else(|| edge.shown().map(|shown| shown.peer))
            }
            _ => None,
        }
    }

    /// Its state in a word, where its service says it.
    pub fn state(&self) -> Option<&'static str> {
        match self {
            Self::Channel(edge) => edge.shown().map(|shown| shown.state),
            _ => None,
        }
    }

    /// The flows of a gateway, and what it has counted.
    pub fn flows(&self) -> Option<(Flows, Stats)> {
        match self {
            Self::Channel(edge) => edge.flows(),
            _ => None,
        }
    }

    /// The leases that its service has given out, each with its end.
    pub fn leases(&self) -> Vec<(Lease, SystemTime)> {
        match self {
            Self::Channel(edge) => edge.leases(),
            _ => Vec::new(),
        }
    }

    /// How a peer is attached to what `spec` became.
    pub fn attach(&self, spec: &PortSpec) -> Option<config::Attach> {
        match (self, &spec.kind) {
            (Self::Packet(edge), PortKind::Packet(packet)) => {
                packet.attach_to(edge.link() == Link::Down, edge.is_tap())
            }
            (Self::Tap(edge), _) => match edge.lacks() {
                Some(command) => Some(config::Attach { who: "host", line: command.to_owned() }),
                None => spec.attach_hint(),
            },
            (Self::Channel(edge), _) => edge.shown().map_or_else(|| spec.attach_hint(), |shown| shown.attach),
            _ => spec.attach_hint(),
        }
    }

    /// Whether its descriptor becomes writable when the link behind it comes up.
    pub fn tells_its_link(&self) -> bool {
        matches!(self, Self::Tap(_) | Self::Packet(_) | Self::Ip(_))
    }

    /// The state of the link behind the descriptor, where it has one of its own: an interface that is set down, or that no
    /// program has open.
    pub fn link_is_down(&self) -> bool {
        match self {
            Self::Tap(edge) => edge.link() != Link::Up,
            _ => self.packet().is_some_and(|packet| packet.link() != Link::Up),
        }
    }

    /// The packet socket that it has, if it does.
    fn packet(&self) -> Option<&Packet> {
        match self {
            Self::Packet(edge) => Some(edge),
            Self::Ip(edge) => Some(edge.packet()),
            _ => None,
        }
    }

    /// Whether no program has the interface open, for whose it is.
    pub fn is_unopened(&self) -> bool {
        self.packet().is_some_and(|packet| packet.link() == Link::Unopened)
    }

    /// Whether the interface behind it is there for a program, which opens and closes it.
    pub fn is_of_program(&self) -> bool {
        self.packet().is_some_and(Packet::is_of_program)
    }

    /// Whether the interface behind it is a program's, which may close it and make another one.
    pub fn awaits_interfaces(&self) -> bool {
        self.packet().is_some_and(Packet::waits)
    }

    /// Asks the system for the state of that link.
    ///
    /// # Errors
    /// [`Gone`] when the interface is no more.
    pub fn check_link(&mut self) -> Result<(), Gone> {
        match self {
            Self::Tap(edge) => edge.check_link().map(drop),
            Self::Packet(edge) => edge.check_link().map(drop),
            Self::Ip(edge) => edge.check_link().map(drop),
            _ => Ok(()),
        }
    }

    /// Whether the carrier of its interface has come or gone since this was asked last.
    pub fn carrier_has_changed(&mut self) -> bool {
        match self {
            Self::Packet(edge) => edge.carrier_has_changed(),
            Self::Ip(edge) => edge.carrier_has_changed(),
            _ => false,
        }
    }

    /// Whether opening it made the interface behind it, which then has to be made again when it is gone.
    pub fn made_its_interface(&self) -> bool {
        matches!(self, Self::Tap(edge) if edge.created())
    }
}

/// What a specification became.
pub enum Opened {
    /// A port, and who is at its other end.
    Edge(Edge, String),
    /// A port whose connection is under way, or whose peer has not come; see [`Edge::connected`].
    Connecting(Edge, String),
    /// A listener.
    Listener(Listener),
}

/// Whether a port that cannot be opened is worth trying again from the first moment: it dials somebody.
pub fn dials(spec: &PortSpec) -> bool {
    match &spec.kind {
        PortKind::Unix(unix) => unix.connect,
        PortKind::UnixSeq(unix) => unix.connect,
        PortKind::Tcp(tcp) => !tcp.listen,
        PortKind::Slip(config::Slip { transport, .. }) | PortKind::Wpan(config::Wpan { transport }) => {
            matches!(transport, Transport::Unix { connect: true, .. } | Transport::Tcp { listen: false, .. })
        }
        _ => false,
    }
}

/// Whether a port that cannot be opened is tried until it is there.
pub fn is_awaited(spec: &PortSpec) -> bool {
    spec.optional || dials(spec)
}

/// Whether a port's clients become ports.
pub fn listens(spec: &PortSpec) -> bool {
    match &spec.kind {
        PortKind::Unix(unix) => !unix.connect,
        PortKind::UnixSeq(unix) => !unix.connect,
        PortKind::Tcp(tcp) => tcp.listen,
        _ => false,
    }
}

/// Opens a port that was open before and was lost. What this process did not make ([`Edge::made_its_interface`]) has to
/// be there first.
///
/// # Errors
/// As [`open`].
pub fn open_again(spec: &PortSpec, made: bool) -> Result<Opened> {
    match &spec.kind {
        PortKind::Tap(tap) if !tap::may_open_again(tap, made) => {
            Err(Error::new(Class::NoObject, format!("the interface {} was deleted", tap.name)))
        }
        _ => open(spec),
    }
}

/// Opens a port.
///
/// # Errors
/// What could not be opened, why, and what to do about it.
pub fn open(spec: &PortSpec) -> Result<Opened> {
    // The caller says which port it was; some kinds say so too.
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
        PortKind::Unix(unix) if unix.connect => unix::adopt(fd),
        _ => Err(Error::usage("no port of this kind is made of a descriptor")
            .hint("tap:, packet: and unix:, the last with connect, are")),
    };
    adopted.map_err(|error| error.within(place))
}

fn open_kind(spec: &PortSpec) -> Result<Opened> {
    let edge = |(edge, peer)| Opened::Edge(edge, peer);
    match &spec.kind {
        PortKind::Unix(unix) if unix.connect => unix::dial(&unix.path, SocketType::STREAM).map(edge),
        PortKind::UnixSeq(unix) if unix.connect => unix::dial(&unix.path, SocketType::SEQPACKET).map(edge),
        PortKind::Unix(unix) => listen(&unix.path, SocketType::STREAM, &unix.access),
        PortKind::UnixSeq(unix) => listen(&unix.path, SocketType::SEQPACKET, &unix.access),
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

/// Opens a TAP, by the keeper where this thread has given up the right to.
fn open_tap(spec: &PortSpec, tap: &config::Tap) -> Result<Tap> {
    match tap.fd.is_none().then(|| deed::port(|| bare(spec))).flatten() {
        // Whoever opened it has set it up.
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

/// The port on an interface that is open.
fn on_interface(found: Packet, spec: &PortSpec, packet: &config::Packet) -> Result<Edge> {
    Ok(match &packet.ip {
        Some(ip) => Edge::Ip(Box::new(IpInterface::new(found.that_carries(Carries::Packets)?, spec, ip))),
        None => Edge::Packet(found.that_carries(Carries::Frames)?.with_offload(packet.offload)),
    })
}

/// What the keeper needs of a specification.
fn bare(spec: &PortSpec) -> String {
    PortSpec { mtu: spec.mtu, ..PortSpec::new(spec.kind.clone()) }.canonical()
}

fn opened(serial: Serial) -> Opened {
    let (open, peer) = (serial.line().is_open(), serial.line().peer().to_owned());
    let edge = Edge::Serial(Box::new(serial));
    if open { Opened::Edge(edge, peer) } else { Opened::Connecting(edge, peer) }
}

fn listen(path: &std::path::Path, kind: SocketType, access: &crate::config::Access) -> Result<Opened> {
    unix::UnixListener::bind(path, kind, access).map(Listener::Unix).map(Opened::Listener)
}
