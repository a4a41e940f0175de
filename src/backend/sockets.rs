//! The sockets of a gateway ([`crate::service::nat`]): ordinary, non-blocking sockets of the host under a poll.
//!
//! Theory of operation. A socket's name is its token, and neither is ever used twice, so an event that was on its way when
//! its socket was closed finds nobody. mio is edge-triggered: an event says that something has changed, and the gateway
//! goes on until a call says `WouldBlock`.
//!
//! A connection is reset when its socket is closed, unless a guest has ended it: it is so from its beginning, so that it
//! is so however the socket is closed, by the end of the process too. A stream that was cut off never looks like one that
//! is whole.
//!
//! Everything happens on the thread that polls, but for files (`folder.rs`), which
//! may make their reader wait.

use super::folder::Folder;
use super::resolvers::Resolvers;
use super::uploads::Uploads;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::limits::{NAT_ASKED, NAT_ASKED_EVERY, NAT_SILENCE};
use crate::port::netlink::Netlink;
use crate::port::sys::{self, recv_at, refusal, refuse_fragments, send_from, want_destinations, want_refusals};
use crate::port::{descriptors, inet};
use crate::service::host::{Datagrams, Event, FileAnswer, Host, Refusal, Refused, SocketId};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token, Waker};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(usize::MAX);
/// This part of the numbers that descriptors may have, the highest, is not for flows but for whom the process serves
/// else. A new descriptor has the lowest number that is free, so that the number tells how many there are.
const KEPT: u64 = 4;

/// See the module.
pub struct Sockets {
    registry: Registry,
    waker: Arc<Waker>,
    sockets: HashMap<u64, Socket, foldhash::fast::RandomState>,
    /// The descriptors of flows are below this number.
    below: u64,
    next: u64,
    resolvers: Resolvers,
    folder: Option<Folder>,
    /// Where the machine's own addresses are asked for; opened when somebody first does.
    routes: Option<Netlink>,
    writer: Option<Writer>,
}

impl Sockets {
    /// Sockets under the watch of `poll`, and what wakes it. Lets the process have as many descriptors as it may.
    ///
    /// # Errors
    /// The system has none left.
    pub fn new(poll: &Poll) -> Result<(Self, Arc<Waker>)> {
        let cannot = |error| Error::system("cannot wait for descriptors", &error);
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(cannot)?);
        let registry = poll.registry().try_clone().map_err(cannot)?;
        let limit = descriptors::raise();
        let (sockets, resolvers) = (HashMap::default(), Resolvers::default());
        let below = limit - limit / KEPT;
        let own = waker.clone();
        let (folder, routes, writer) = (None, None, None);
        Ok((Self { registry, waker, sockets, below, next: 0, resolvers, folder, routes, writer }, own))
    }

    /// Lets guests read the files of a folder.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn serve(&mut self, folder: &Path) -> Result<()> {
        self.folder = Some(Folder::open(folder, self.waker.clone())?);
        Ok(())
    }

    /// Lets guests write files into a folder.
    ///
    /// # Errors
    /// There is no such folder, or this user may not write into it.
    pub fn take_files(&mut self, folder: &Path) -> Result<()> {
        self.writer = Some(Writer::start(Uploads::open(folder)?, folder, self.waker.clone())?);
        Ok(())
    }

    /// What a poll's event means for a socket; `None`: it was the waker.
    pub fn event(event: &mio::event::Event) -> Option<Event> {
        let socket = (event.token() != WAKER).then(|| SocketId(event.token().0 as u64))?;
        Some(Event {
            socket,
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            refused: event.is_error(),
        })
    }

    /// Listens for TCP connections. Gives the address, too, whose port the system may have chosen.
    ///
    /// # Errors
    /// The address is taken, or not the host's.
    pub fn listen(&mut self, addr: SocketAddr) -> Result<(SocketId, SocketAddr)> {
        self.bind(addr, Type::STREAM, Protocol::TCP).map_err(|error| explain("tcp", addr, &error))
    }

    /// Takes UDP datagrams at an address. As [`Sockets::listen`].
    ///
    /// # Errors
    /// As [`Sockets::listen`].
    pub fn listen_udp(&mut self, addr: SocketAddr) -> Result<(SocketId, SocketAddr)> {
        self.bind(addr, Type::DGRAM, Protocol::UDP).map_err(|error| explain("udp", addr, &error))
    }

    fn bind(&mut self, addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<(SocketId, SocketAddr)> {
        let socket = inet::socket(addr, kind, protocol)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if kind == Type::DGRAM && addr.ip().is_unspecified() {
            want_destinations(&socket, addr.is_ipv6())?;
        }
        let bound = inet::bind(&socket, addr)?;
        Ok((self.add(socket)?, bound))
    }

    /// Names and watches a socket that does not block.
    fn add(&mut self, socket: Socket) -> io::Result<SocketId> {
        let name = self.next;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(name as usize), interest)?;
        self.next += 1;
        self.sockets.insert(name, socket);
        Ok(SocketId(name))
    }

    /// The same for the socket of a flow, as long as there are enough descriptors for others.
    fn add_flow(&mut self, socket: Socket) -> io::Result<SocketId> {
        if u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number < self.below) {
            self.add(socket)
        } else {
            Err(Errno::MFILE.into())
        }
    }

    fn get(&self, socket: SocketId) -> io::Result<&Socket> {
        self.sockets.get(&socket.0).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn explain(word: &str, addr: SocketAddr, error: &io::Error) -> Error {
    inet::in_use(Error::system(format_args!("cannot listen on {word} {addr}"), error), error)
}

/// A connection of a flow.
fn prepare(socket: &Socket) -> io::Result<()> {
    reset_at_end(socket, true);
    // The gateway asks guests so, too: where either is silent for good, the other one is told.
    let asks = TcpKeepalive::new().with_time(NAT_SILENCE).with_interval(NAT_ASKED_EVERY).with_retries(NAT_ASKED.into());
    socket.set_tcp_keepalive(&asks)?;
    // A byte that is urgent stays where it was said, as guests' are left, and is not taken out of the stream.
    socket.set_out_of_band_inline(true)
}

/// Whether the connection of `socket` is reset when that is closed, whoever closes it.
fn reset_at_end(socket: &Socket, reset: bool) {
    // Where it fails the connection ends in the usual way. A socket of datagrams has nothing to reset.
    let _ = socket.set_linger(reset.then_some(Duration::ZERO));
}

/// What an ICMP message said.
fn meaning(told: &sys::Refusal) -> Refusal {
    match told.errno {
        libc::ECONNREFUSED => Refusal::Port,
        libc::EMSGSIZE => Refusal::TooBig(u16::try_from(told.info).unwrap_or(u16::MAX)),
        libc::EACCES | libc::EPERM => Refusal::Prohibited,
        libc::ENETUNREACH => Refusal::Network,
        _ if told.origin == libc::SO_EE_ORIGIN_ICMP && told.kind == 11 => Refusal::Hops,
        _ if told.origin == libc::SO_EE_ORIGIN_ICMP6 && told.kind == 3 => Refusal::Hops,
        _ => Refusal::Host,
    }
}

impl Host for Sockets {
    fn connect(&mut self, to: SocketAddr) -> io::Result<SocketId> {
        let socket = inet::begin(to)?;
        prepare(&socket)?;
        self.add_flow(socket)
    }

    fn connected(&mut self, socket: SocketId) -> io::Result<()> {
        inet::connected(self.get(socket)?).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    fn open(&mut self, kind: Datagrams, v6: bool) -> io::Result<SocketId> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let protocol = match (kind, v6) {
            (Datagrams::Udp, _) => Protocol::UDP,
            (Datagrams::Echo, false) => Protocol::ICMPV4,
            (Datagrams::Echo, true) => Protocol::ICMPV6,
        };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol))?;
        want_refusals(&socket, v6)?;
        self.add_flow(socket)
    }

    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        let (socket, from) = self.get(listener)?.accept()?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        prepare(&socket)?;
        let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((self.add_flow(socket)?, from))
    }

    fn send(&mut self, socket: SocketId, bytes: &[u8]) -> io::Result<usize> {
        (&mut self.get(socket)?).write(bytes)
    }

    fn recv(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<usize> {
        (&mut self.get(socket)?).read(room)
    }

    fn set_hops(&mut self, socket: SocketId, v6: bool, hops: u8) {
        if let Ok(socket) = self.get(socket) {
            let hops = u32::from(hops);
            // Where it fails they go as far as the host's own.
            let _ = if v6 { socket.set_unicast_hops_v6(hops) } else { socket.set_ttl_v4(hops) };
        }
    }

    fn send_to(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.get(socket)?.send_to(bytes, &SockAddr::from(to)).map(drop)
    }

    fn recv_from(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, from) = rustix::net::recvfrom(self.get(socket)?, room, rustix::net::RecvFlags::empty())
            .map(|(_, count, from)| (count, from))?;
        let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok((count, from))
    }

    fn recv_at(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        Ok(recv_at(self.get(socket)?, room)?)
    }

    fn send_from(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr, at: Option<IpAddr>) -> io::Result<()> {
        match at {
            Some(at) => Ok(send_from(self.get(socket)?, bytes, to, at)?),
            None => self.send_to(socket, bytes, to),
        }
    }

    fn keep_whole(&mut self, socket: SocketId, v6: bool, whole: bool) {
        if let Ok(socket) = self.get(socket) {
            // Where it fails they go in pieces.
            let _ = refuse_fragments(socket, v6, whole);
        }
    }

    fn refused(&mut self, socket: SocketId) -> Option<Refused> {
        let socket = self.get(socket).ok()?;
        loop {
            let told = refusal(socket).ok()?;
            // Of what the host itself refused, the call that was refused has told; not how long it may be.
            if told.origin != libc::SO_EE_ORIGIN_LOCAL || told.errno == libc::EMSGSIZE {
                let [.., n0, n1] = told.head;
                return Some(Refused {
                    to: told.to,
                    why: meaning(&told),
                    by: told.by,
                    number: u16::from_be_bytes([n0, n1]),
                });
            }
        }
    }

    fn shutdown(&mut self, socket: SocketId) {
        if let Ok(socket) = self.get(socket) {
            // It fails where the connection has ended already.
            let _ = socket.shutdown(Shutdown::Write);
            reset_at_end(socket, false);
        }
    }

    fn close(&mut self, socket: SocketId, abort: bool) {
        let Some(socket) = self.sockets.remove(&socket.0) else { return };
        if abort {
            reset_at_end(&socket, true);
        }
        // The poll forgets a descriptor that is closed.
    }

    fn is_own(&mut self, addr: IpAddr) -> bool {
        if self.routes.is_none() {
            self.routes = Netlink::open().ok();
        }
        let unreachable =
            [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS, Errno::INVAL].map(|it| Some(it.raw_os_error()));
        match self.routes.as_mut().map(|routes| routes.is_own(addr.to_canonical())) {
            Some(Ok(own)) => own,
            // There is no way to it, so it is not here.
            Some(Err(error)) if unreachable.contains(&error.raw_os_error()) => false,
            // What cannot be told from the machine's own is not reached.
            _ => true,
        }
    }

    fn resolvers(&mut self) -> Vec<SocketAddr> {
        self.resolvers.list()
    }

    fn open_file(&mut self, file: u64, path: &str) {
        if let Some(folder) = &mut self.folder {
            folder.open_file(file, path);
        }
    }

    fn read_file(&mut self, file: u64, offset: u64, len: usize) {
        if let Some(folder) = &mut self.folder {
            folder.read_file(file, offset, len);
        }
    }

    fn poll_file(&mut self) -> Option<FileAnswer> {
        let read = self.folder.as_mut().and_then(Folder::poll);
        read.or_else(|| self.writer.as_mut().and_then(Writer::poll))
    }

    fn create_file(&mut self, file: u64, path: &str) {
        if let Some(writer) = &mut self.writer {
            writer.create(file, path);
        }
    }

    fn write_file(&mut self, file: u64, offset: u64, bytes: Vec<u8>) {
        if let Some(writer) = &mut self.writer {
            writer.write(file, offset, bytes);
        }
    }

    fn keep_file(&mut self, file: u64) {
        if let Some(writer) = &mut self.writer {
            writer.keep(file);
        }
    }

    fn close_file(&mut self, file: u64) {
        if let Some(writer) = &mut self.writer {
            writer.close(file);
        }
        if let Some(folder) = &mut self.folder {
            folder.close_file(file);
        }
    }
}
