//! An edge: a descriptor that frames pass through, of whatever kind.
//!
//! A query that few kinds support has a default answer here; the other arms call the kind's own file.

use super::channel::Channel;
use super::datagram::{Sequenced, Udp};
use super::inquiry::Inquirer;
use super::interface::LinkState;
use super::ip_interface::IpInterface;
use super::packet::Packet;
use super::seat::Carrier;
use super::serial::Serial;
use super::stream::Stream;
use super::tap::Tap;
use super::unix::BoundGram;
use super::{Broken, Budget, Gone, Inhaled, frame_io, inet};
use crate::config::{self, PortKind, PortSpec};
use crate::counters::Counters;
use crate::frame::{Batch, Outgoing, PortId};
use crate::service::report::Shown;
use crate::time::Duration;
use crate::wire::Mac;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

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

/// The abilities of an edge that the switch has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Its peer waits while nothing is read from it.
    pub pausable: bool,
    /// It takes super-frames and partial checksums.
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
            Self::Tap(_) | Self::Packet(_) | Self::Ip(_) => false,
            Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => false,
        }
    }
}

impl Edge {
    /// The descriptors to poll: none for a channel, which uses the waker; two for a line with separate input and
    /// output, or if another one tells of room. They change when the peer of a serial line arrives or leaves.
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

    /// The MAC of the only host behind it, if there is one: the machine on a TAP, a peer with bare IP packets.
    pub fn mac(&self) -> Option<Mac> {
        match self {
            Self::Tap(edge) => edge.mac(),
            Self::Ip(edge) => Some(edge.mac()),
            Self::Serial(edge) => edge.mac(),
            Self::Packet(_) => None,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => None,
        }
    }

    /// Its abilities.
    pub fn abilities(&self) -> Abilities {
        match self {
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) => Abilities { pausable: true, offload: false },
            Self::Channel(edge) => Abilities { pausable: true, offload: edge.takes_offloads() },
            // The kernel drops the host's frames when its queue is full: pausing would lose frames.
            Self::Tap(edge) => Abilities { pausable: false, offload: edge.takes_offloads() },
            Self::Packet(edge) => Abilities { pausable: false, offload: edge.takes_offloads() },
            // A sender over UDP or IP does not wait: the kernel drops datagrams that are not read.
            Self::Udp(_) | Self::Ip(_) => Abilities { pausable: false, offload: false },
            Self::Serial(edge) => Abilities { pausable: edge.is_pausable(), offload: false },
        }
    }

    /// Whether it took less than it was offered for want of memory. No event tells when to try again.
    pub fn is_starved(&self) -> bool {
        matches!(self, Self::Stream(edge) if edge.is_starved())
    }

    /// Whether the other side of a channel has signalled.
    pub fn take_ready(&self) -> bool {
        matches!(self, Self::Channel(edge) if edge.take_ready())
    }

    /// The outcome of a connection attempt, or of waiting for a line's peer: `None` while that goes on.
    pub fn connected(&mut self) -> Option<std::io::Result<()>> {
        match self {
            Self::Stream(edge) => inet::connected(edge),
            Self::Serial(edge) => edge.arrive(),
            Self::Tap(_) | Self::Packet(_) | Self::Ip(_) => Some(Ok(())),
            Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => Some(Ok(())),
        }
    }

    /// Its state until [`Edge::connected`], in a word.
    pub fn waits_by(&self) -> &'static str {
        self.serial().map_or("connecting", |edge| edge.line().waits_by())
    }

    /// Whether [`Edge::connected`] has to be asked from time to time, as no descriptor tells of it.
    pub fn arrivals_are_silent(&self) -> bool {
        matches!(self, Self::Serial(edge) if edge.line().arrivals_are_silent())
    }

    /// Its peer has left. True if it can wait for the next one without being reopened; then see [`Edge::connected`].
    pub fn depart(&mut self, gone: &Gone) -> bool {
        match self {
            Self::Serial(edge) => edge.depart(&gone.0),
            Self::Tap(_) | Self::Packet(_) | Self::Ip(_) => false,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => false,
        }
    }

    /// Whether it has frames for the switch without an event on a descriptor.
    pub fn has_own(&self) -> bool {
        match self {
            Self::Serial(edge) => edge.has_own(),
            Self::Ip(edge) => edge.has_own(),
            Self::Tap(_) | Self::Packet(_) => false,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => false,
        }
    }

    /// Whether it has timers ([`Edge::due_in`]).
    pub fn keeps_time(&self) -> bool {
        match self {
            Self::Serial(edge) => edge.keeps_time(),
            Self::Ip(_) => true,
            Self::Tap(_) | Self::Packet(_) => false,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => false,
        }
    }

    /// The time until [`Edge::handle_timeout`] has something to do.
    pub fn due_in(&self) -> Option<Duration> {
        match self {
            Self::Serial(edge) => edge.due_in(),
            Self::Ip(edge) => edge.due_in(),
            Self::Tap(_) | Self::Packet(_) => None,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => None,
        }
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self) {
        match self {
            Self::Serial(edge) => edge.handle_timeout(),
            Self::Ip(edge) => edge.handle_timeout(),
            Self::Tap(_) | Self::Packet(_) => {}
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => {}
        }
    }

    /// Its peer, if that can change while it is open.
    pub fn peer(&self) -> Option<String> {
        match self {
            Self::UnixGram(edge) => Some(edge.gram.peer()),
            // The present interface: the program may have made another.
            Self::Packet(_) | Self::Ip(_) => {
                self.packet().filter(|packet| packet.waits()).map(|packet| packet.name().to_owned())
            }
            Self::Serial(edge) => Some(edge.line().peer().to_owned()),
            // A service shows its peer in its report.
            Self::Tap(_) | Self::Stream(_) | Self::Sequenced(_) | Self::Udp(_) | Self::Channel(_) => None,
        }
    }

    /// The state of its service in a word, if it has one that reports it.
    pub fn standing(&self) -> Option<&'static str> {
        self.channel().and_then(Channel::standing)
    }

    /// The report of its service, if it has one that reports.
    pub fn shown(&self) -> Option<Shown> {
        self.channel().and_then(Channel::shown)
    }

    /// Asks its service, if it has one.
    pub fn inquirer(&self) -> Option<Inquirer> {
        self.channel().map(Channel::inquirer)
    }

    fn channel(&self) -> Option<&Channel> {
        match self {
            Self::Channel(edge) => Some(edge),
            Self::Tap(_) | Self::Packet(_) | Self::Ip(_) => None,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Serial(_) => None,
        }
    }

    fn serial(&self) -> Option<&Serial> {
        match self {
            Self::Serial(edge) => Some(edge),
            Self::Tap(_) | Self::Packet(_) | Self::Ip(_) => None,
            Self::Stream(_) | Self::Sequenced(_) | Self::UnixGram(_) | Self::Udp(_) | Self::Channel(_) => None,
        }
    }

    /// The command that attaches a peer to the port of `spec`, unless a service shows it in its report.
    pub fn attach(&self, spec: &PortSpec) -> Option<config::Attach> {
        match self {
            Self::Packet(edge) => {
                // No other kind has such an edge.
                let PortKind::Packet(packet) = &spec.kind else { return spec.attach_hint() };
                packet.attach_to(edge.link() == LinkState::Down, edge.is_tap())
            }
            Self::Tap(edge) => match edge.lacks() {
                Some(command) => Some(config::Attach { who: "host", line: command.to_owned() }),
                None => spec.attach_hint(),
            },
            Self::Ip(_) => spec.attach_hint(),
            Self::Stream(_)
            | Self::Sequenced(_)
            | Self::UnixGram(_)
            | Self::Udp(_)
            | Self::Channel(_)
            | Self::Serial(_) => spec.attach_hint(),
        }
    }

    /// Whether its descriptor becomes writable when the link behind it comes up.
    pub fn tells_its_link(&self) -> bool {
        matches!(self, Self::Tap(_) | Self::Packet(_) | Self::Ip(_))
    }

    /// Whether the link behind the descriptor is down: an interface that is set down, or a program's that is not open.
    pub fn link_is_down(&self) -> bool {
        match self {
            Self::Tap(edge) => edge.link() != LinkState::Up,
            Self::Packet(_) | Self::Ip(_) => self.packet().is_some_and(|packet| packet.link() != LinkState::Up),
            Self::Stream(_)
            | Self::Sequenced(_)
            | Self::UnixGram(_)
            | Self::Udp(_)
            | Self::Channel(_)
            | Self::Serial(_) => false,
        }
    }

    /// Its packet socket, if it has one.
    fn packet(&self) -> Option<&Packet> {
        match self {
            Self::Packet(edge) => Some(edge),
            Self::Ip(edge) => Some(edge.packet()),
            Self::Tap(_) => None,
            Self::Stream(_)
            | Self::Sequenced(_)
            | Self::UnixGram(_)
            | Self::Udp(_)
            | Self::Channel(_)
            | Self::Serial(_) => None,
        }
    }

    /// Whether its interface is a program's and not open.
    pub fn is_unopened(&self) -> bool {
        self.packet().is_some_and(|packet| packet.link() == LinkState::Unopened)
    }

    /// Whether its interface is made for a program, which opens and closes it.
    pub fn is_of_program(&self) -> bool {
        self.packet().is_some_and(Packet::is_of_program)
    }

    /// Whether its interface is a program's, which may close it and make another one.
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
            Self::Stream(_)
            | Self::Sequenced(_)
            | Self::UnixGram(_)
            | Self::Udp(_)
            | Self::Channel(_)
            | Self::Serial(_) => Ok(()),
        }
    }

    /// Whether the carrier of its interface has changed since the last call.
    pub fn carrier_has_changed(&mut self) -> bool {
        match self {
            Self::Packet(edge) => edge.carrier_has_changed(),
            Self::Ip(edge) => edge.carrier_has_changed(),
            Self::Tap(_) => false,
            Self::Stream(_)
            | Self::Sequenced(_)
            | Self::UnixGram(_)
            | Self::Udp(_)
            | Self::Channel(_)
            | Self::Serial(_) => false,
        }
    }

    /// Has the interface of a TAP lose its carrier, or have it again. What other kinds have behind them knows of no cable.
    ///
    /// # Errors
    /// The kernel cannot.
    pub fn set_carrier(&self, carrier: bool) -> std::io::Result<()> {
        match self {
            Self::Tap(edge) => Ok(edge.set_carrier(carrier)?),
            Self::Packet(_) | Self::Ip(_) => Ok(()),
            Self::Stream(_)
            | Self::Sequenced(_)
            | Self::UnixGram(_)
            | Self::Udp(_)
            | Self::Channel(_)
            | Self::Serial(_) => Ok(()),
        }
    }

    /// Whether opening it created its interface, which then has to be created again when it is gone.
    pub fn made_its_interface(&self) -> bool {
        matches!(self, Self::Tap(edge) if edge.created())
    }
}
