//! The implementation of [`Outside`]: system calls on the descriptors of the back end.

use super::slot::{Clients, Owned, Slot};
use super::{Backend, Told, flows, keep_alive};
use crate::codec::ByteQueue;
use crate::config::value::HostPort;
use crate::error::Result;
use crate::port::accept::Accepted;
use crate::port::netlink::Netlink;
use crate::port::sys::{recv_at, refuse_fragments, send_from};
use crate::port::{inet, names};
use crate::service::lease::Lease;
use crate::service::outside::{Datagrams, FileAnswer, Found, JobDone, Outside, Refused, SocketId, Want};
use crate::usb::class::cdc_acm::Line;
use crate::usb::class::storage::Job;
use rustix::io::{Errno, retry_on_intr};
use socket2::{SockAddr, SockRef};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Chunks of memory in one write.
const GATHER: usize = 16;

fn nothing() -> io::Error {
    ErrorKind::WouldBlock.into()
}

/// The address of the other end; of a path, the unspecified one.
fn peer(socket: &OwnedFd) -> SocketAddr {
    let addr = SockRef::from(socket).peer_addr().ok().and_then(|addr| addr.as_socket());
    addr.unwrap_or_else(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
}

impl Backend {
    /// Accepts a client. A lack of descriptors is logged once, and accepting tried again.
    fn accept_client(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        let slot = self.slot(listener)?;
        let Owned::Listener(clients) = &mut slot.owned else { return Err(ErrorKind::NotConnected.into()) };
        while slot.readable {
            match clients.starvation.judge("a service", clients.listener.accept_socket()) {
                Accepted::Client((socket, _)) => {
                    let Clients { single, patience, .. } = **clients;
                    clients.starved = None;
                    let from = peer(&socket);
                    return Ok((self.add(Slot::client(socket, single, patience)?)?, from));
                }
                Accepted::Nobody => {
                    clients.starved = None;
                    slot.readable = false;
                }
                Accepted::Gone => {}
                Accepted::Starved => {
                    clients.starved = Some(Instant::now());
                    slot.readable = false;
                    self.late.insert(listener.0);
                    break;
                }
            }
        }
        Err(nothing())
    }
}

impl Outside for Backend {
    fn obtain(&mut self, want: &Want) -> Result<(SocketId, Found)> {
        self.open_want(want)
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<SocketId> {
        let socket = inet::begin(to)?;
        flows::prepare(&socket)?;
        self.add_flow(socket)
    }

    fn dial(&mut self, to: &HostPort) -> io::Result<SocketId> {
        let socket = self.add(Slot::new(Owned::Unreachable(None)))?;
        let (addr, tell) = (to.clone(), self.tell(socket.0));
        // The service may have ended in the meantime.
        let tell = move |addr| _ = tell(Told::Address(addr));
        names::look_up(move || names::resolve(&addr), tell).map_err(|error| {
            self.slots.remove(&socket.0);
            io::Error::other(error.what().to_owned())
        })?;
        Ok(socket)
    }

    fn connected(&mut self, socket: SocketId) -> io::Result<()> {
        let slot = self.slot(socket)?;
        let settled = match &mut slot.owned {
            Owned::Unreachable(why) => why.take().map(Err),
            Owned::Flow(socket) => inet::connected(&*socket),
            Owned::Stream(fd) if slot.writable => inet::connected(&*fd),
            _ => None,
        };
        slot.writable = settled.is_some();
        settled.unwrap_or_else(|| Err(nothing()))
    }

    fn open(&mut self, kind: Datagrams, v6: bool) -> io::Result<SocketId> {
        self.add_flow(flows::datagrams(kind, v6)?)
    }

    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        if let Ok(listener) = self.flow(listener) {
            let (socket, from) = listener.accept()?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            flows::prepare(&socket)?;
            let from = from.as_socket().ok_or(ErrorKind::InvalidData)?;
            return Ok((self.add_flow(socket)?, from));
        }
        self.accept_client(listener)
    }

    fn send(&mut self, socket: SocketId, bytes: &[u8]) -> io::Result<usize> {
        let slot = self.slot(socket)?;
        if !slot.writable {
            return Err(nothing());
        }
        let result = match &mut slot.owned {
            Owned::Flow(socket) => (&*socket).write(bytes),
            Owned::Stream(fd) => retry_on_intr(|| rustix::io::write(&*fd, bytes)).map_err(io::Error::from),
            Owned::Terminal(terminal) => terminal.write(&[IoSlice::new(bytes)]),
            Owned::Append(file) => file.send(bytes),
            _ => Err(nothing()),
        };
        slot.has_written(result)
    }

    fn send_queue(&mut self, socket: SocketId, queue: &ByteQueue) -> io::Result<usize> {
        let slot = self.slot(socket)?;
        if !slot.writable {
            return Err(nothing());
        }
        let mut list = [IoSlice::new(&[]); GATHER];
        let count = queue.gather(&mut list);
        let list = list.get(..count).unwrap_or_default();
        let result = match &mut slot.owned {
            Owned::Stream(fd) => retry_on_intr(|| rustix::io::writev(&*fd, list)).map_err(io::Error::from),
            Owned::Terminal(terminal) => terminal.write(list),
            _ => return self.send(socket, queue.first()),
        };
        slot.has_written(result)
    }

    fn recv(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<usize> {
        let slot = self.slot(socket)?;
        if !slot.readable {
            return Err(nothing());
        }
        let result = match &mut slot.owned {
            Owned::Flow(socket) => (&*socket).read(room),
            Owned::Stream(fd) => retry_on_intr(|| rustix::io::read(&*fd, &mut *room)).map_err(io::Error::from),
            Owned::Terminal(terminal) => terminal.read(room),
            Owned::Read(file) => file.read(room),
            _ => Err(nothing()),
        };
        slot.has_read(result, room.len())
    }

    fn is_there(&self, socket: SocketId) -> bool {
        match self.slots.get(&socket.0).map(|slot| &slot.owned) {
            Some(Owned::Terminal(terminal)) => terminal.is_there(),
            _ => true,
        }
    }

    fn unwritten(&self, socket: SocketId) -> usize {
        match self.slots.get(&socket.0).map(|slot| &slot.owned) {
            Some(Owned::Append(file)) => file.waiting(),
            _ => 0,
        }
    }

    fn set_line(&mut self, socket: SocketId, line: &Line) -> Vec<u8> {
        // Other streams have no place for it.
        let Some(Slot { owned: Owned::Terminal(terminal), .. }) = self.slots.get_mut(&socket.0) else {
            return Vec::new();
        };
        let bytes = terminal.set(line);
        if terminal.late_in().is_some() {
            self.late.insert(socket.0);
        }
        bytes
    }

    fn probe(&mut self, socket: SocketId) {
        if let Ok(Slot { owned: Owned::Stream(fd), .. }) = self.slot(socket)
            && let Err(error) = keep_alive::probe((&*fd).into())
        {
            log::debug!("a connection cannot be probed: {error}");
        }
    }

    fn submit(&mut self, disk: SocketId, job: Job) {
        if let Ok(Slot { owned: Owned::Disk(disk, _), .. }) = self.slot(disk) {
            disk.send(job);
        }
    }

    fn job_done(&mut self, disk: SocketId) -> Option<JobDone> {
        match self.slot(disk) {
            Ok(Slot { owned: Owned::Disk(_, done), .. }) => done.pop_front(),
            _ => None,
        }
    }

    fn set_hops(&mut self, socket: SocketId, v6: bool, hops: u8) {
        if let Ok(socket) = self.flow(socket) {
            let hops = u32::from(hops);
            // If it fails they have the host's default hop limit.
            let _ = if v6 { socket.set_unicast_hops_v6(hops) } else { socket.set_ttl_v4(hops) };
        }
    }

    fn send_to(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.flow(socket)?.send_to(bytes, &SockAddr::from(to)).map(drop)
    }

    fn recv_from(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (count, from) = rustix::net::recvfrom(self.flow(socket)?, room, rustix::net::RecvFlags::empty())
            .map(|(_, count, from)| (count, from))?;
        let from = from.and_then(|from| SocketAddr::try_from(from).ok()).ok_or(ErrorKind::InvalidData)?;
        Ok((count, from))
    }

    fn recv_at(&mut self, socket: SocketId, room: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
        Ok(recv_at(self.flow(socket)?, room)?)
    }

    fn send_from(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr, at: Option<IpAddr>) -> io::Result<()> {
        match at {
            Some(at) => Ok(send_from(self.flow(socket)?, bytes, to, at)?),
            None => self.send_to(socket, bytes, to),
        }
    }

    fn keep_whole(&mut self, socket: SocketId, v6: bool, whole: bool) {
        if let Ok(socket) = self.flow(socket) {
            // If it fails they are fragmented.
            let _ = refuse_fragments(socket, v6, whole);
        }
    }

    fn refused(&mut self, socket: SocketId) -> Option<Refused> {
        flows::refused(self.flow(socket).ok()?)
    }

    fn shutdown(&mut self, socket: SocketId) {
        // It fails if the connection has ended already.
        match self.slots.get(&socket.0).map(|slot| &slot.owned) {
            Some(Owned::Flow(socket)) => {
                let _ = socket.shutdown(Shutdown::Write);
                flows::reset_at_end(socket, false);
            }
            Some(Owned::Stream(fd)) => _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Write),
            _ => {}
        }
    }

    fn close(&mut self, socket: SocketId, abort: bool) {
        let Some(slot) = self.slots.remove(&socket.0) else { return };
        self.peak.note(self.slots.len());
        if let Owned::Flow(socket) = &slot.owned
            && abort
        {
            flows::reset_at_end(socket, true);
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
            // No route, so it is not the host's own.
            Some(Err(error)) if unreachable.contains(&error.raw_os_error()) => false,
            // If unknown, it counts as the host's own, and is not reached.
            _ => true,
        }
    }

    fn resolvers(&mut self) -> Vec<SocketAddr> {
        self.resolvers.list()
    }

    fn save_leases(&mut self, leases: Vec<Lease>) {
        if let Some(file) = &self.leases {
            file.save(leases);
        }
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
        let read = self.folder.as_mut().and_then(super::Folder::poll);
        read.or_else(|| self.writer.as_mut().and_then(super::Writer::poll))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;
    use crate::service::outside::Event;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    /// Whether an event of that name comes within a moment.
    fn happens(backend: &mut Backend, socket: SocketId) -> bool {
        backend.wait(Some(Duration::from_millis(200))).unwrap();
        std::iter::from_fn(|| backend.poll_event()).any(|event: Event| event.socket == socket)
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line");
        let mut backend = Backend::new().unwrap();
        let (listener, _) = backend.obtain(&Want::Unix(path.clone(), Access::default())).unwrap();
        assert!(backend.accept(listener).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        let mut theirs = UnixStream::connect(&path).unwrap();
        assert!(happens(&mut backend, listener));
        let (ours, from) = backend.accept(listener).unwrap();
        assert!(from.ip().is_unspecified());
        let mut room = [0; 64];
        assert!(backend.recv(ours, &mut room).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
        theirs.write_all(b"one").unwrap();
        assert!(happens(&mut backend, ours));
        assert_eq!(backend.recv(ours, &mut room).unwrap(), 3);
        // Its end comes together with its last bytes: one event tells of both.
        theirs.write_all(b"last").unwrap();
        drop(theirs);
        assert!(happens(&mut backend, ours));
        assert_eq!(backend.recv(ours, &mut room).unwrap(), 4);
        assert_eq!(backend.recv(ours, &mut room).unwrap(), 0);
        assert!(backend.send(ours, b"too late").is_err());
        backend.close(ours, false);
        assert!(backend.recv(ours, &mut room).is_err_and(|error| error.kind() == ErrorKind::NotConnected));
    }

    #[test]
    fn what_is_dialled_stands_or_is_told_of() {
        let mut backend = Backend::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for (stands, host) in [(true, "127.0.0.1"), (false, "127.0.0.1"), (false, "no-such-name.invalid")] {
            let socket = backend.dial(&HostPort { host: host.into(), port: if stands { port } else { 1 } }).unwrap();
            let settled = (0..100).find_map(|_| {
                happens(&mut backend, socket);
                Some(backend.connected(socket))
                    .filter(|it| !it.as_ref().is_err_and(|it| it.kind() == ErrorKind::WouldBlock))
            });
            assert_eq!(settled.map(|it| it.is_ok()), Some(stands), "{host}");
        }
    }
}
