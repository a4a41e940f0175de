//! The outside of a service: sockets, files and disks of the machine by name, and no call that blocks.
//!
//! A service has no descriptors. Its [`Outside`] owns the sockets, terminals, files and disks: every call returns at
//! once, `WouldBlock` where nothing can be read or written, and an [`Event`] tells when that has changed. So neither
//! side makes the other's memory grow: unread bytes stay in the socket, and unsent ones in the service. A script is an
//! outside, too: so services are tested.
//!
//! Permanent things are opened at the start (a [`Want`]); connections come and go. Only disks and files, which may
//! block, answer later, by name: a [`Job`], or a [`FileAnswer`].

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

/// The name of a socket, terminal, file or disk. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u64);

/// Something that a service opens at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Want {
    /// A TCP address that clients connect to.
    Tcp {
        /// The address; port 0 takes a free one.
        addr: HostPort,
        /// One client at a time, which may leave its bytes unread for as long as it likes.
        single: bool,
        /// How long a client may be silent before it counts as gone.
        patience: Duration,
    },
    /// A UNIX socket at this path with this access; one client at a time.
    Unix(PathBuf, Access),
    /// A pseudo-terminal with a link to it at this path, and this access. Its stream is there from the beginning.
    Pty(PathBuf, Access),
    /// A file to append to. Nothing is read from it.
    Append(PathBuf),
    /// A file or a pipe to be read.
    Read(PathBuf),
    /// A disk's blocks.
    Disk {
        /// The file.
        image: PathBuf,
        /// It is never written.
        read_only: bool,
        /// Copy on write: the image stays as it is.
        cow: bool,
        /// Raw blocks, even if they look like another format.
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

/// The result of a [`Want`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Found {
    /// Open.
    Ready,
    /// A listener, at this address.
    Listening(SocketAddr),
    /// A disk of so many blocks of 512 bytes.
    Disk(u64),
    /// A folder that lacks these of the expected files.
    Missing(Vec<String>),
    /// The leases from the file.
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

/// The result of a job: its number, and the bytes read (none for other jobs).
pub type JobDone = (u32, std::result::Result<Vec<u8>, JobError>);

/// An event of a socket. It stays readable, or writable, until a call says `WouldBlock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The socket.
    pub socket: SocketId,
    /// It has bytes, datagrams, clients or finished jobs, or has come to its end.
    pub readable: bool,
    /// It takes bytes, or its connection stands or has failed.
    pub writable: bool,
    /// A datagram did not arrive: see [`Outside::refused`].
    pub refused: bool,
}

/// A socket of datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Datagrams {
    /// UDP.
    Udp,
    /// ICMP echo: the kernel sets the identifier, and delivers only replies to its requests. A datagram is the ICMP
    /// message from its type on.
    Echo,
}

/// A datagram that did not arrive, as an ICMP error or the host's own routing told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Its destination.
    pub to: SocketAddr,
    /// The sender of the ICMP error, where that is known.
    pub by: Option<IpAddr>,
    /// The sequence number of a ping.
    pub number: u16,
    /// Why.
    pub why: Refusal,
}

/// Why a datagram did not arrive.
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
    /// Its source address is not valid here.
    Source,
    /// Its hop limit was exceeded.
    Hops,
    /// It exceeds the path MTU, this many bytes of IP packet.
    TooBig(u16),
}

/// The result of an operation on a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileAnswer {
    /// It is open.
    Opened {
        /// Its name.
        file: u64,
        /// Its length. `Err`: there is no such file below the folder, or it cannot be read.
        size: io::Result<u64>,
    },
    /// It was read.
    Read {
        /// Its name.
        file: u64,
        /// From this byte on.
        offset: u64,
        /// As many bytes as were wanted. `Err`: it is shorter, or cannot be read.
        bytes: io::Result<Vec<u8>>,
    },
    /// It was written to.
    Written {
        /// Its name.
        file: u64,
        /// `Err`: there is no room.
        done: io::Result<()>,
    },
    /// It was renamed to its path.
    Kept {
        /// Its name.
        file: u64,
        /// `Err`: it cannot be.
        done: io::Result<()>,
    },
}

/// System calls of a service: sockets, files, disks and terminals.
pub trait Outside {
    /// Opens something at the service's start, which may block; a [`Want::Forward`], which does not, at any time.
    ///
    /// # Errors
    /// It cannot be opened; the error has a hint.
    fn obtain(&mut self, want: &Want) -> Result<(SocketId, Found)> {
        Err(Error::usage(format!("{want:?}: there is none here")))
    }

    /// Begins a connection. An [`Event`] that says `writable` tells when it stands or has failed.
    ///
    /// # Errors
    /// Where it fails at once, or there are no descriptors left.
    fn connect(&mut self, to: SocketAddr) -> io::Result<SocketId>;

    /// The same to a host name, which is looked up first. The connection has keep-alive probes.
    ///
    /// # Errors
    /// As [`Outside::connect`].
    fn dial(&mut self, to: &HostPort) -> io::Result<SocketId> {
        let _ = to;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The state of a connection that was begun.
    ///
    /// # Errors
    /// `WouldBlock` while it is under way; otherwise why it failed.
    fn connected(&mut self, socket: SocketId) -> io::Result<()>;

    /// Opens a socket of datagrams of one family, `v6` or not.
    ///
    /// # Errors
    /// There are no descriptors left, or the system allows none of this kind.
    fn open(&mut self, kind: Datagrams, v6: bool) -> io::Result<SocketId>;

    /// Accepts the next client of a listener, with its address: the unspecified one for a UNIX socket.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)>;

    /// Sends bytes on a connection; returns how many were taken.
    ///
    /// # Errors
    /// `WouldBlock` where none are, or the error that ended the connection.
    fn send(&mut self, socket: SocketId, bytes: &[u8]) -> io::Result<usize>;

    /// Sends the first of these chunks, several in one call (gather) where that is possible. They stay in the queue.
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

    /// Whether a program has the other end open: of a terminal it may leave, and come back. Other streams end.
    fn is_there(&self, socket: SocketId) -> bool {
        let _ = socket;
        true
    }

    /// Bytes queued for a file and not written yet. Bytes in a kernel's buffer count as sent.
    fn unwritten(&self, socket: SocketId) -> usize {
        let _ = socket;
        0
    }

    /// Applies a serial line's settings to the other end, as far as it has them. Returns bytes to append to the stream:
    /// the beginning of a break, as the program there reads it.
    fn set_line(&mut self, socket: SocketId, line: &Line) -> Vec<u8> {
        let _ = (socket, line);
        Vec::new()
    }

    /// Sends a keep-alive probe now.
    fn probe(&mut self, socket: SocketId) {
        let _ = socket;
    }

    /// Queues a job for a disk.
    fn submit(&mut self, disk: SocketId, job: Job) {
        let _ = (disk, job);
    }

    /// The next job that a disk has done.
    fn job_done(&mut self, disk: SocketId) -> Option<JobDone> {
        let _ = disk;
        None
    }

    /// Sets the hop limit of the datagrams of a socket of one family, where that is possible.
    fn set_hops(&mut self, socket: SocketId, v6: bool, hops: u8) {
        let _ = (socket, v6, hops);
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// It was not sent; the error may be an earlier datagram's.
    fn send_to(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Receives a datagram, and where it comes from.
    ///
    /// # Errors
    /// As [`Outside::send_to`], and `WouldBlock` where there is none.
    fn recv_from(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Receives a datagram as [`Outside::recv_from`] does, with its destination address, where the socket listens on
    /// several.
    ///
    /// # Errors
    /// As [`Outside::recv_from`].
    fn recv_at(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        self.recv_from(socket, room).map(|(length, from)| (length, from, None))
    }

    /// Sends a datagram from the source address `at`.
    ///
    /// # Errors
    /// As [`Outside::send_to`].
    fn send_from(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr, at: Option<IpAddr>) -> io::Result<()> {
        let _ = at;
        self.send_to(socket, bytes, to)
    }

    /// Sets don't-fragment for a socket of one family, where that is possible: datagrams over the path MTU are refused,
    /// and [`Outside::refused`] tells of it.
    fn keep_whole(&mut self, socket: SocketId, v6: bool, whole: bool) {
        let _ = (socket, v6, whole);
    }

    /// The next datagram that did not arrive.
    fn refused(&mut self, socket: SocketId) -> Option<Refused>;

    /// Sends a FIN.
    fn shutdown(&mut self, socket: SocketId);

    /// Closes a socket. `abort`: its connection is reset.
    fn close(&mut self, socket: SocketId, abort: bool);

    /// Whether `addr` is one of the host's own at this moment, on any interface.
    fn is_own(&mut self, addr: IpAddr) -> bool {
        addr.is_loopback()
    }

    /// The host's own DNS resolvers, as they are now.
    fn resolvers(&mut self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Writes the leases to their file, if there is one.
    fn save_leases(&mut self, leases: Vec<Lease>) {
        let _ = leases;
    }

    /// Opens a file of the served folder for reading, under a fresh name. The result comes by [`Outside::poll_file`].
    fn open_file(&mut self, file: u64, path: &str) {
        let _ = (file, path);
    }

    /// Reads `len` bytes from `offset` on. As [`Outside::open_file`].
    fn read_file(&mut self, file: u64, offset: u64, len: usize) {
        let _ = (file, offset, len);
    }

    /// The next result of an operation on a file.
    fn poll_file(&mut self) -> Option<FileAnswer> {
        None
    }

    /// Creates a file in the served folder, for writing, under a fresh name. It is at `path` once it is
    /// [kept](Outside::keep_file). The result is a [`FileAnswer::Opened`].
    fn create_file(&mut self, file: u64, path: &str) {
        let _ = (file, path);
    }

    /// Writes bytes to a file that was created, from `offset` on.
    fn write_file(&mut self, file: u64, offset: u64, bytes: Vec<u8>) {
        let _ = (file, offset, bytes);
    }

    /// Renames a created file, which is whole, to its path, over the old one.
    fn keep_file(&mut self, file: u64) {
        let _ = file;
    }

    /// Closes a file. One that was created and not kept is deleted.
    fn close_file(&mut self, file: u64) {
        let _ = file;
    }
}
