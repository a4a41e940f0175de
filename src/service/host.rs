//! The host as the gateway sees it: sockets by name, and nothing that waits.
//!
//! The gateway is a machine without descriptors. Whoever runs it owns the sockets and is its [`Host`]: every call is
//! answered at once, `WouldBlock` where a socket has nothing or takes nothing, and an [`Event`] tells when that has
//! changed. A script is a host, too, which is how the gateway is tested.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The name of a socket; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u64);

/// A socket has changed. It stays readable, or writable, until a call says `WouldBlock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// Which.
    pub socket: SocketId,
    /// It has bytes, datagrams or clients, or has come to its end.
    pub readable: bool,
    /// It takes bytes, or its connection stands or has failed.
    pub writable: bool,
    /// Something was refused on the way: see [`Host::refused`].
    pub refused: bool,
}

/// A socket of datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

/// The sockets of the host.
pub trait Host {
    /// Begins a connection. An [`Event`] that says `writable` tells when it stands or has failed.
    ///
    /// # Errors
    /// Where it fails at once, or there are no descriptors left.
    fn connect(&mut self, to: SocketAddr) -> io::Result<SocketId>;

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

    /// Takes the next client of a listener, and where it comes from.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)>;

    /// Sends bytes on a connection; returns how many were taken.
    ///
    /// # Errors
    /// `WouldBlock` where none are, and what ended the connection.
    fn send(&mut self, socket: SocketId, bytes: &[u8]) -> io::Result<usize>;

    /// Receives bytes of a connection; 0 is its end.
    ///
    /// # Errors
    /// As [`Host::send`].
    fn recv(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<usize>;

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
    /// As [`Host::send_to`], and `WouldBlock` where there is none.
    fn recv_from(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Receives a datagram as [`Host::recv_from`] does, and tells at which of the host's addresses, where the socket may be
    /// asked at several.
    ///
    /// # Errors
    /// As [`Host::recv_from`].
    fn recv_at(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        self.recv_from(socket, room).map(|(length, from)| (length, from, None))
    }

    /// Sends a datagram from that address.
    ///
    /// # Errors
    /// As [`Host::send_to`].
    fn send_from(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr, at: Option<IpAddr>) -> io::Result<()> {
        let _ = at;
        self.send_to(socket, bytes, to)
    }

    /// Whether datagrams of a socket of one family that are too long for their way are refused from now on, and not sent
    /// in pieces, where that is possible. [`Host::refused`] tells of it.
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

    /// Has a file of the folder that is served opened for reading, under a name that was never used before.
    /// [`Host::poll_file`] tells what came of it; nobody waits for that.
    fn open_file(&mut self, file: u64, path: &str) {
        let _ = (file, path);
    }

    /// Has `len` bytes read from `offset` on. As [`Host::open_file`].
    fn read_file(&mut self, file: u64, offset: u64, len: usize) {
        let _ = (file, offset, len);
    }

    /// The next thing that was done with a file.
    fn poll_file(&mut self) -> Option<FileAnswer> {
        None
    }

    /// Has a file made in the folder that is served, for writing, under a name that was never used before. It is at `path`
    /// once it is [kept](Host::keep_file). [`FileAnswer::Opened`] tells what came of it.
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
