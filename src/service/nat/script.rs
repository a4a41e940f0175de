//! A host for tests, whose sockets do what the test says, and frames of a guest.

use super::Nat;
use super::packet::{Headers, Link};
use crate::config::{PortKind, PortSpec};
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::service::host::{Datagrams, Host, Refused, SocketId};
use crate::service::station::{Ingress, Station};
use crate::time::Instant;
use crate::wire::{Checksum, Ethernet, Mac, Offload};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};

pub(super) const GATEWAY: Mac = Mac([2, 0x6e, 10, 0, 2, 2]);
pub(super) const GUEST: Mac = Mac([2, 0, 0x5e, 0, 0x53, 9]);
/// The guest, behind the first port of the switch.
pub(super) const WHOM: Station = Station { mac: GUEST, ingress: Ingress::ONLY };

/// Sockets take `takes` bytes more, and give `gives`, all together.
#[derive(Default)]
pub(super) struct Script {
    pub sockets: BTreeSet<SocketId>,
    pub takes: usize,
    pub gives: usize,
    /// Datagrams that have come, and from where.
    pub datagrams: Vec<SocketAddr>,
    /// Bytes of each, if not four.
    pub length: usize,
    /// At which address of the host a listener is asked.
    pub asked: Option<IpAddr>,
    /// Datagrams that were sent: to whom, and from where, if that was said.
    pub sent: Vec<(SocketAddr, Option<IpAddr>)>,
    /// What was said last of whether datagrams may be cut.
    pub whole: Option<bool>,
    /// Datagrams are too long.
    pub too_long: bool,
    /// Datagrams that did not arrive.
    pub refused: Vec<Refused>,
    /// Clients that wait.
    pub clients: usize,
    /// Addresses of the host itself.
    pub own: Vec<IpAddr>,
    /// A connection ends by this, behind what it gives: as of the kernel, one call is told, and later ones that it is over.
    pub fails: Option<ErrorKind>,
    /// That was told.
    pub failed: bool,
    /// Sockets that were closed by a reset.
    pub aborted: BTreeSet<SocketId>,
    /// There are no more sockets.
    pub exhausted: bool,
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

impl Host for Script {
    fn connect(&mut self, _: SocketAddr) -> Result<SocketId> {
        self.insert()
    }
    fn connected(&mut self, _: SocketId) -> Result<()> {
        Ok(())
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
        if self.failed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(self.takes);
        self.takes -= count;
        if count == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
    fn recv(&mut self, _: SocketId, room: &mut [u8]) -> Result<usize> {
        let count = room.len().min(self.gives);
        self.gives -= count;
        if count == 0 && self.failed {
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
        assert!(self.sockets.remove(&socket), "{socket:?} is closed twice");
    }
}

/// A gateway at 10.0.2.2.
pub(super) fn gateway() -> Nat {
    gateway_with("")
}

/// The same with more keys.
pub(super) fn gateway_with(keys: &str) -> Nat {
    let spec = PortSpec::parse(&format!("nat:10.0.2.2/24{keys}")).unwrap();
    let PortKind::Nat(config) = &spec.kind else { panic!("not a nat") };
    Nat::new(&spec, config, 7).unwrap()
}

/// Lets the gateway hear a packet of the guest; the transport's checksum is vouched for.
pub(super) fn hear(
    nat: &mut Nat,
    now: Instant,
    dst: Mac,
    addrs: (&str, &str),
    (protocol, hops): (u8, Option<u8>),
    parts: &[&[u8]],
    host: &mut Script,
) {
    hear_from(WHOM, nat, now, dst, addrs, (protocol, hops), parts, host);
}

/// The same of any station.
#[allow(clippy::too_many_arguments)] // what a frame is made of
pub(super) fn hear_from(
    whom: Station,
    nat: &mut Nat,
    now: Instant,
    dst: Mac,
    addrs: (&str, &str),
    (protocol, hops): (u8, Option<u8>),
    parts: &[&[u8]],
    host: &mut Script,
) {
    let length = parts.iter().map(|part| part.len()).sum();
    let addrs: (IpAddr, IpAddr) = (addrs.0.parse().unwrap(), addrs.1.parse().unwrap());
    let mut headers = Headers::new(Link { src: whom.mac, dst }, addrs, protocol, length, None);
    if let Some(hops) = hops {
        headers.set_hop_limit(hops);
    }
    let frame = [&[headers.bytes()], parts].concat().concat();
    let offload = Offload { checksum: Checksum::Valid, ..Offload::NONE };
    nat.handle_frame(now, whom.ingress, (&frame, offload), host);
}

/// What the gateway sends at this instant: to which MAC, EtherType, and what follows.
pub(super) fn said(nat: &mut Nat, now: Instant, host: &mut Script) -> Vec<(Mac, u16, Vec<u8>)> {
    let mut all = Vec::new();
    let mut out = Batch::new(4 * (PREFIX + MAX_FRAME));
    loop {
        nat.handle_timeout(now, host);
        nat.poll_transmit(now, host, &mut out);
        let frames = Outgoing::rest_of(&out, 0).frames();
        let views = frames.map(|(_, bytes)| Ethernet::new(bytes).unwrap());
        all.extend(views.map(|view| (view.destination(), view.ether_type().0, view.payload().to_vec())));
        out.clear();
        if !nat.is_ready() {
            return all;
        }
    }
}
