//! A mock of the outside, for tests.

use super::machine::{Arrived, Service};
use super::outside::{Datagrams, Found, Outside, Refused, SocketId, Want};
use super::station::Ingress;
use crate::config::value::HostPort;
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::time::Instant;
use crate::wire::Offload;
use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};

/// Sockets take `takes` bytes more, and give `gives`, all together.
#[derive(Default)]
pub struct Script {
    pub sockets: BTreeSet<SocketId>,
    pub takes: usize,
    pub gives: usize,
    /// Datagrams that have come, and from where.
    pub datagrams: Vec<SocketAddr>,
    /// Bytes of each, if not four.
    pub length: usize,
    /// The host's address that datagrams come to.
    pub asked: Option<IpAddr>,
    /// Datagrams that were sent: destination, and source if it was given.
    pub sent: Vec<(SocketAddr, Option<IpAddr>)>,
    /// Don't-fragment, as it was last set.
    pub whole: Option<bool>,
    /// Datagrams are too long.
    pub too_long: bool,
    /// Datagrams that did not arrive.
    pub refused: Vec<Refused>,
    /// Clients that wait.
    pub clients: usize,
    /// Addresses of the host itself.
    pub own: Vec<IpAddr>,
    /// The error that ends a connection after `gives`: as with the kernel, one call gets it, and later ones the end.
    pub fails: Option<ErrorKind>,
    /// The error was reported.
    pub failed: bool,
    /// Sockets that were closed by a reset.
    pub aborted: BTreeSet<SocketId>,
    /// There are no more sockets.
    pub exhausted: bool,
    /// Bytes that come before `gives`.
    pub bytes: VecDeque<u8>,
    /// Streams are at their end after `gives`.
    pub ended: bool,
    /// Streams take nothing for good.
    pub refuses: bool,
    /// Connections that were dialled.
    pub dialled: Vec<SocketId>,
    /// A connection that was begun is under way, or fails.
    pub silent: bool,
    pub unreachable: bool,
    /// Sockets that were closed.
    pub closed: Vec<SocketId>,
    pub next: u64,
}

impl Script {
    fn insert(&mut self) -> Result<SocketId> {
        if self.exhausted {
            return Err(ErrorKind::Other.into());
        }
        self.next += 1;
        self.sockets.insert(SocketId(self.next));
        Ok(SocketId(self.next))
    }
}

impl Outside for Script {
    fn connect(&mut self, _: SocketAddr) -> Result<SocketId> {
        self.insert()
    }
    fn connected(&mut self, _: SocketId) -> Result<()> {
        match (self.silent, self.unreachable) {
            (true, _) => Err(ErrorKind::WouldBlock.into()),
            (_, true) => Err(ErrorKind::ConnectionRefused.into()),
            _ => Ok(()),
        }
    }
    fn obtain(&mut self, want: &Want) -> crate::error::Result<(SocketId, Found)> {
        let found = if matches!(want, Want::Disk { .. }) { Found::Disk(8) } else { Found::Ready };
        Ok((self.insert().unwrap(), found))
    }
    fn dial(&mut self, _: &HostPort) -> Result<SocketId> {
        let socket = self.insert()?;
        self.dialled.push(socket);
        Ok(socket)
    }
    fn open(&mut self, _: Datagrams, _: bool) -> Result<SocketId> {
        self.insert()
    }
    fn accept(&mut self, _: SocketId) -> Result<(SocketId, SocketAddr)> {
        if self.clients == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let socket = self.insert()?;
        self.clients -= 1;
        Ok((socket, SocketAddr::from(([127, 0, 0, 1], 9))))
    }
    fn send(&mut self, _: SocketId, bytes: &[u8]) -> Result<usize> {
        if let Some(error) = self.fails.take() {
            self.failed = true;
            return Err(error.into());
        }
        if self.failed || self.refuses {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.takes);
        self.takes -= count;
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
    fn recv(&mut self, _: SocketId, room: &mut [u8]) -> Result<usize> {
        if !self.bytes.is_empty() {
            let count = self.bytes.len().min(room.len());
            room.iter_mut().zip(self.bytes.drain(..count)).for_each(|(place, byte)| *place = byte);
            return Ok(count);
        }
        let count = room.len().min(self.gives);
        self.gives -= count;
        if count == 0 && (self.failed || self.ended) {
            return Ok(0);
        }
        if let Some(error) = self.fails.filter(|_| count == 0) {
            (self.fails, self.failed) = (None, true);
            return Err(error.into());
        }
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
    fn send_to(&mut self, _: SocketId, _: &[u8], to: SocketAddr) -> Result<()> {
        self.sent.push((to, None));
        if self.too_long { Err(ErrorKind::Other.into()) } else { Ok(()) }
    }
    fn recv_at(&mut self, socket: SocketId, room: &mut [u8]) -> Result<(usize, SocketAddr, Option<IpAddr>)> {
        self.recv_from(socket, room).map(|(length, from)| (length, from, self.asked))
    }
    fn send_from(&mut self, _: SocketId, _: &[u8], to: SocketAddr, at: Option<IpAddr>) -> Result<()> {
        self.sent.push((to, at));
        Ok(())
    }
    fn keep_whole(&mut self, _: SocketId, _: bool, whole: bool) {
        self.whole = Some(whole);
    }
    fn recv_from(&mut self, _: SocketId, _: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let length = if self.length == 0 { 4 } else { self.length };
        self.datagrams.pop().map(|from| (length, from)).ok_or(ErrorKind::WouldBlock.into())
    }
    fn refused(&mut self, _: SocketId) -> Option<Refused> {
        self.refused.pop()
    }
    fn is_own(&mut self, addr: IpAddr) -> bool {
        self.own.contains(&addr)
    }
    fn shutdown(&mut self, _: SocketId) {}
    fn close(&mut self, socket: SocketId, abort: bool) {
        if abort {
            self.aborted.insert(socket);
        }
        self.closed.push(socket);
        assert!(self.sockets.remove(&socket), "{socket:?} is closed twice");
    }
}

/// A frame that has come in by the only port.
pub fn arrived(frame: &[u8]) -> Arrived<'_> {
    Arrived { ingress: Ingress::ONLY, frame, offload: Offload::NONE }
}

/// Frames that a service sends at this instant.
pub fn sent(service: &mut impl Service, now: Instant, outside: &mut Script) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut out = Batch::new(4 * (PREFIX + MAX_FRAME));
    loop {
        service.handle_timeout(now, outside);
        let more = service.poll_transmit(now, outside, &mut out);
        all.extend(Outgoing::rest_of(&out, 0).frames().map(|(_, bytes)| bytes.to_vec()));
        out.clear();
        if !more {
            return all;
        }
    }
}
