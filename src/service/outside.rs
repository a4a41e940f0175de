//! The outside of a service: byte streams and disks, as messages.
//!
//! A service touches no descriptor. It says what it works with (its [`Want`]s), is told what was [`Found`], and then
//! exchanges messages with whoever owns the descriptors: [`Input`] comes in, [`Output`] goes out. A want is named by
//! its place in the list, a stream by a number of its own, because the clients of one listener come and go.
//!
//! Both directions of a stream have a window of [`WINDOW`] bytes, so that neither side can make the other's memory
//! grow. The service sends while less than so many bytes are under way that no [`Input::Sent`] has told of, so that one
//! piece may go beyond it. The owner hands over as many as [`Output::Room`] has given, and none before the first: so a
//! client that comes after another gets what that one has left of the window.

use crate::config::Access;
use crate::config::value::HostPort;
use crate::time::Duration;
use crate::usb::class::cdc_acm::Line;
use crate::usb::class::storage::{Job, JobError};
use std::net::IpAddr;
use std::path::PathBuf;

/// Bytes under way in each direction of a stream.
pub const WINDOW: usize = 256 << 10;

/// Something outside that a service works with.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Want {
    /// A TCP address that clients connect to, each a stream; all of them at once, or one behind the other.
    Tcp {
        /// The address; port 0 takes a free one.
        addr: HostPort,
        /// Whether a client waits until the one before has left.
        single: bool,
        /// How long a client may be silent before it counts as gone.
        patience: Duration,
    },
    /// A socket at this path, for those of the access, whose clients are streams one behind the other.
    Unix(PathBuf, Access),
    /// A pseudo-terminal with a link to it at this path, likewise: one stream.
    Pty(PathBuf, Access),
    /// A file that what is sent is appended to: one stream, nothing comes from it.
    Append(PathBuf),
    /// A file or a pipe to be read: one stream.
    Read(PathBuf),
    /// A disk's blocks.
    Disk {
        /// The file.
        image: PathBuf,
        /// It is never written.
        read_only: bool,
        /// What is written is kept aside.
        cow: bool,
        /// It may look like another format.
        raw: bool,
    },
    /// A TCP address that is connected to when [`Output::Dial`] says so.
    Dial(HostPort),
}

/// What a want turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Found {
    /// As it was wanted.
    Ready,
    /// A TCP listener, at this address.
    Listening(std::net::SocketAddr),
    /// A disk of so many blocks of 512 bytes.
    Disk(u64),
}

impl Found {
    /// Where it listens.
    pub fn listening(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Listening(addr) => Some(*addr),
            _ => None,
        }
    }
}

/// The name of a stream; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stream(pub u64);

/// What comes from the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Input {
    /// A stream has begun.
    Opened {
        /// The want that it belongs to.
        want: usize,
        /// Its name.
        stream: Stream,
        /// The address of its other end, where it has one.
        peer: Option<IpAddr>,
    },
    /// What was to be dialled does not answer, and why.
    Unreachable(usize, String),
    /// Bytes from a stream; never none.
    Data(Stream, Vec<u8>),
    /// So many bytes more have left.
    Sent(Stream, usize),
    /// Somebody is at the other end of the stream, or nobody any more and what is sent waits. Only of terminals: other
    /// streams end with their other end.
    Peer(Stream, bool),
    /// The other end of a socket sends no more. It may still read, until it or this side ends the stream.
    PeerClosed(Stream),
    /// The stream has ended. Bytes under way are lost; its name is void.
    Ended(Stream),
    /// The result of a job.
    Done {
        /// The disk.
        want: usize,
        /// The job.
        id: u32,
        /// What was read; nothing for other jobs.
        result: Result<Vec<u8>, JobError>,
    },
}

/// What goes to the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Bytes for a stream.
    Send(Stream, Vec<u8>),
    /// There is room for so many bytes more from a stream.
    Room(Stream, usize),
    /// What the host has set of a serial line, for the other end of its stream to see as far as that can.
    Line(Stream, Line),
    /// End the stream at once; its name is void.
    Close(Stream),
    /// Work for a disk.
    Job(usize, Job),
    /// Connect to what this want names: a stream if that succeeds.
    Dial(usize),
    /// Give up one [`Output::Dial`] of this want that has come to nothing yet.
    GiveUp(usize),
    /// Ask the other end of a TCP stream for a sign of life now.
    Probe(Stream),
}
