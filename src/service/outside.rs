//! The outside as a service sees it: things of the machine by name, and nothing that waits.
//!
//! A service is a machine without descriptors. Whoever runs it owns the sockets, terminals, files and disks, and is its
//! [`Outside`]: every call is answered at once, `WouldBlock` where something has nothing or takes nothing, and an [`Event`]
//! tells when that has changed. So neither side makes the other's memory grow: what a service does not read stays where it
//! is, and what is not taken stays with the service. A script is an outside, too, which is how services are tested.
//!
//! What a service always works with it obtains at its beginning (a [`Want`]); connections come and go. Only what may wait for
//! a disk is a question with an answer that comes later, by name as everything: a [`Job`], and what is done with a file.

use crate::codec::ByteQueue;
use crate::config::value::HostPort;
use crate::config::{Access, Protocol};
use crate::error::{Error, Result};
use crate::service::lease::Lease;
use crate::time::Duration;
use crate::usb::class::cdc_acm::Line;
use crate::usb::class::storage::{Job, JobError};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The name of a socket, or of what is used as one: a terminal, a file, a disk. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u64);

/// Something that a service works with from its beginning.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Want {
    /// A TCP address that clients connect to.
    Tcp {
        /// The address; port 0 takes a free one.
        addr: HostPort,
        /// Clients take turns: one that is there may leave unread what it was sent for as long as it likes.
        single: bool,
        /// How long a client may be silent before it counts as gone.
        patience: Duration,
    },
    /// A socket at this path, for those of the access, whose clients take turns.
    Unix(PathBuf, Access),
    /// A pseudo-terminal with a link to it at this path, likewise. Its stream is there from the beginning.
    Pty(PathBuf, Access),
    /// A file that what is sent is appended to. Nothing comes from it.
    Append(PathBuf),
    /// A file or a pipe to be read.
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
    /// An address of the host whose clients, or datagrams, lead to a guest.
    Forward(Protocol, SocketAddr),
    /// A folder whose files are served, see [`Outside::open_file`].
    Folder {
        /// Where it is.
        path: PathBuf,
        /// Files may be put into it.
        writes: bool,
        /// Files that should be there.
        expects: Vec<String>,
    },
    /// A file that keeps leases, see [`Outside::save_leases`].
    Leases(PathBuf),
}

/// What a want turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Found {
    /// As it was wanted.
    Ready,
    /// A listener, at this address.
    Listening(SocketAddr),
    /// A disk of so many blocks of 512 bytes.
    Disk(u64),
    /// A folder in which these files, that should be there, are not.
    Missing(Vec<String>),
    /// The leases that were kept.
    Leases(Vec<Lease>),
}

impl Found {
    /// Where it listens.
    pub fn listening(&self) -> Option<SocketAddr> {
        match self {
            Self::Listening(addr) => Some(*addr),
            _ => None,
        }
    }
}

/// What came of a job: its number, and what was read (nothing for other jobs).
pub type JobDone = (u32, std::result::Result<Vec<u8>, JobError>);

/// Something has changed. It stays readable, or writable, until a call says `WouldBlock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What.
    pub socket: SocketId,
    /// It has bytes, datagrams, clients or finished jobs, or has come to its end.
    pub readable: bool,
    /// It takes bytes, or its connection stands or has failed.
    pub writable: bool,
    /// Something was refused on the way: see [`Outside::refused`].
    pub refused: bool,
}

/// A socket of datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Datagrams {
    /// UDP.
    Udp,
    /// ICMP echo: the kernel writes the identifier, and gives only answers to what was asked. A message is the ICMP
    /// message from its type on.
    Echo,
}

/// A datagram that did not arrive, as an ICMP error or the host's own routing told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Where it was sent.
    pub to: SocketAddr,
    /// Who said so, where that is known.
    pub by: Option<IpAddr>,
    /// Of a ping, its sequence number.
    pub number: u16,
    /// Why.
    pub why: Refusal,
}

/// Why something did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Nobody listens on the port.
    Port,
    /// There is no way to the host, or it does not answer.
    Host,
    /// There is no way to its network.
    Network,
    /// A rule forbids it.
    Prohibited,
    /// Nobody here has the address that it is from.
    Source,
    /// It was on its way for too long.
    Hops,
    /// It is longer than this many bytes of IP packet, which is what a link on the way carries.
    TooBig(u16),
}

/// What was done with a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileAnswer {
    /// It is open.
    Opened {
        /// Its name.
        file: u64,
        /// Its bytes. Otherwise there is no such file below the folder, or it cannot be read.
        size: io::Result<u64>,
    },
    /// It was read.
    Read {
        /// Its name.
        file: u64,
        /// From this byte on.
        offset: u64,
        /// As many bytes as were wanted. Otherwise it is shorter, or cannot be read.
        bytes: io::Result<Vec<u8>>,
    },
    /// It was written to.
    Written {
        /// Its name.
        file: u64,
        /// Otherwise there is no room.
        done: io::Result<()>,
    },
    /// It has its place.
    Kept {
        /// Its name.
        file: u64,
        /// Otherwise it cannot have it.
        done: io::Result<()>,
    },
}

/// What a service may ask of the machine.
pub trait Outside {
    /// Opens what a service works with from its beginning. This may take its time, as nothing else does.
    ///
    /// # Errors
    /// It cannot be opened, and what to do about it.
    fn obtain(&mut self, want: &Want) -> Result<(SocketId, Found)> {
        Err(Error::usage(format!("{want:?}: there is none here")))
    }

    /// Begins a connection. An [`Event`] that says `writable` tells when it stands or has failed.
    ///
    /// # Errors
    /// Where it fails at once, or there are no descriptors left.
    fn connect(&mut self, to: SocketAddr) -> io::Result<SocketId>;

    /// The same towards a name, which is looked up first. The other end is asked for signs of life when it is silent.
    ///
    /// # Errors
    /// As [`Outside::connect`].
    fn dial(&mut self, to: &HostPort) -> io::Result<SocketId> {
        let _ = to;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How a connection that was begun stands.
    ///
    /// # Errors
    /// `WouldBlock` while it is under way; otherwise why it failed.
    fn connected(&mut self, socket: SocketId) -> io::Result<()>;

    /// Opens a socket of datagrams of one family, `v6` or not.
    ///
    /// # Errors
    /// There are no descriptors left, or the system allows none of this kind.
    fn open(&mut self, kind: Datagrams, v6: bool) -> io::Result<SocketId>;

    /// Takes the next client of a listener, and where it comes from: of one at a path, the unspecified address.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)>;

    /// Sends bytes on a connection; returns how many were taken.
    ///
    /// # Errors
    /// `WouldBlock` where none are, and what ended the connection.
    fn send(&mut self, socket: SocketId, bytes: &[u8]) -> io::Result<usize>;

    /// Sends the first of these chunks, several in one call where that is possible. They stay.
    ///
    /// # Errors
    /// As [`Outside::send`].
    fn send_queue(&mut self, socket: SocketId, queue: &ByteQueue) -> io::Result<usize> {
        self.send(socket, queue.first())
    }

    /// Receives bytes of a connection; 0 is its end.
    ///
    /// # Errors
    /// As [`Outside::send`].
    fn recv(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<usize>;

    /// Whether somebody is at the other end: a program may leave a terminal, and come back. Other streams end.
    fn is_there(&self, socket: SocketId) -> bool {
        let _ = socket;
        true
    }

    /// Bytes that were taken for a file and are not written yet. What a kernel has taken has left.
    fn unwritten(&self, socket: SocketId) -> usize {
        let _ = socket;
        0
    }

    /// Shows the other end of a serial line what the host has set, as far as it can see that. Returns what is to be sent
    /// behind all that was sent before: the beginning of a break, as the program there reads it.
    fn set_line(&mut self, socket: SocketId, line: &Line) -> Vec<u8> {
        let _ = (socket, line);
        Vec::new()
    }

    /// Asks the other end of a connection for a sign of life now.
    fn probe(&mut self, socket: SocketId) {
        let _ = socket;
    }

    /// Gives a disk something to do.
    fn submit(&mut self, disk: SocketId, job: Job) {
        let _ = (disk, job);
    }

    /// The next job that a disk has done.
    fn job_done(&mut self, disk: SocketId) -> Option<JobDone> {
        let _ = disk;
        None
    }

    /// Gives datagrams that a socket of one family sends from now on this hop limit, where that is possible.
    fn set_hops(&mut self, socket: SocketId, v6: bool, hops: u8) {
        let _ = (socket, v6, hops);
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// It was not sent; that may concern an earlier one.
    fn send_to(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Receives a datagram, and where it comes from.
    ///
    /// # Errors
    /// As [`Outside::send_to`], and `WouldBlock` where there is none.
    fn recv_from(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Receives a datagram as [`Outside::recv_from`] does, and tells at which of the host's addresses, where the socket may be
    /// asked at several.
    ///
    /// # Errors
    /// As [`Outside::recv_from`].
    fn recv_at(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        self.recv_from(socket, room).map(|(length, from)| (length, from, None))
    }

    /// Sends a datagram from that address.
    ///
    /// # Errors
    /// As [`Outside::send_to`].
    fn send_from(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr, at: Option<IpAddr>) -> io::Result<()> {
        let _ = at;
        self.send_to(socket, bytes, to)
    }

    /// Whether datagrams of a socket of one family that are too long for their way are refused from now on, and not sent
    /// as fragments, where that is possible. [`Outside::refused`] tells of it.
    fn keep_whole(&mut self, socket: SocketId, v6: bool, whole: bool) {
        let _ = (socket, v6, whole);
    }

    /// The next datagram that did not arrive.
    fn refused(&mut self, socket: SocketId) -> Option<Refused>;

    /// Tells the other end of a connection that nothing more will be sent.
    fn shutdown(&mut self, socket: SocketId);

    /// Closes a socket. `abort`: its connection is reset.
    fn close(&mut self, socket: SocketId, abort: bool);

    /// Whether `addr` is one of the host's own at this moment, on whichever of its interfaces.
    fn is_own(&mut self, addr: IpAddr) -> bool {
        addr.is_loopback()
    }

    /// The resolvers that the host itself asks, as they are now.
    fn resolvers(&mut self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Has the leases kept, as they are now, if there is a place for them.
    fn save_leases(&mut self, leases: Vec<Lease>) {
        let _ = leases;
    }

    /// Has a file of the folder that is served opened for reading, under a name that was never used before.
    /// [`Outside::poll_file`] tells what came of it; nobody waits for that.
    fn open_file(&mut self, file: u64, path: &str) {
        let _ = (file, path);
    }

    /// Has `len` bytes read from `offset` on. As [`Outside::open_file`].
    fn read_file(&mut self, file: u64, offset: u64, len: usize) {
        let _ = (file, offset, len);
    }

    /// The next thing that was done with a file.
    fn poll_file(&mut self) -> Option<FileAnswer> {
        None
    }

    /// Has a file made in the folder that is served, for writing, under a name that was never used before. It is at `path`
    /// once it is [kept](Outside::keep_file). [`FileAnswer::Opened`] tells what came of it.
    fn create_file(&mut self, file: u64, path: &str) {
        let _ = (file, path);
    }

    /// Has bytes written to a file that was made, from `offset` on.
    fn write_file(&mut self, file: u64, offset: u64, bytes: Vec<u8>) {
        let _ = (file, offset, bytes);
    }

    /// A file that was made is whole, and is to take the place of the one that was at its path.
    fn keep_file(&mut self, file: u64) {
        let _ = file;
    }

    /// Closes a file. One that was made and not kept goes.
    fn close_file(&mut self, file: u64) {
        let _ = file;
    }
}
