//! UDP and pings through the gateway: a port of a guest (or the identifier of its pings) is a socket of the host.
//!
//! # Theory of operation
//! A guest's port keeps one socket for all its peers (RFC 4787, REQ-1: endpoint-independent mapping), and hears each
//! peer from any port (REQ-8: address-dependent filtering): a TFTP server answers from another one. An idle socket is
//! closed; when there are too many, the longest idle one is, of the port of the switch that has most, or has its share.
//!
//! A socket belongs to the address *and* the MAC that it was opened for, and what comes goes to that MAC. Nothing
//! acknowledges a datagram, so nothing would show that another station may have the socket: one that sends from the
//! same address gets a socket of its own, and neither hears nor speaks for the first.
//!
//! A guest's datagrams go to the socket at once, with the rest of their hop limit, so that traceroute sees the routers
//! beyond. Datagrams that the host received are read when there is room for frames, a bounded number in a turn.

use super::icmp;
use super::packet::{self, Headers, Packet, UDP, unfinished};
use super::wire::{Cx, Way, Wire, has_room};
use crate::frame::{Batch, PortId};
use crate::limits::NAT_DATAGRAM_FLOWS;
use crate::service::detail::{Details, FlowDetail, PAGE};
use crate::service::outside::{Datagrams, Outside, Refusal, SocketId};
use crate::service::path_mtu::TooBig;
use crate::service::station::{Ingress, Station};
use crate::service::table::{self, Table};
use crate::time::{Duration, Instant};
use crate::wire::checksum::Sum;
use crate::wire::headers::{finish_icmp, udp};
use crate::wire::{Mac, Offload};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

/// An idle UDP mapping ends after this long (RFC 4787, REQ-5: not below two minutes).
const UDP_IDLE: Duration = Duration::from_secs(180);
/// The same of an ICMP query mapping (RFC 5508, REQ-2: not below a minute).
const ECHO_IDLE: Duration = Duration::from_secs(60);
/// Addresses that one socket hears.
const PEERS: usize = 64;
/// Datagrams of one turn.
const TURN: usize = 32;
/// The longest datagram.
const LONGEST: usize = 65_535;
/// Bytes of a UDP header, and of an echo message before its data.
const HEADER: usize = 8;

/// A socket's guest: the protocol, its address and port (of an echo: the identifier), and its MAC.
type Key = (Datagrams, SocketAddr, Mac);

struct Flow {
    key: Key,
    /// The port of the switch that it was opened from, and counts for.
    ingress: Ingress,
    /// The port of the switch where its guest is.
    at: Ingress,
    socket: SocketId,
    /// Peers of the guest, by the addresses that it knows; the last one first.
    peers: VecDeque<IpAddr>,
    readable: bool,
    /// The hop limit of its datagrams.
    hops: u8,
    /// Their don't-fragment bit, as the guest set it.
    whole: bool,
    /// Bytes of the longest packet that its guest was sent.
    longest: usize,
    begun: Instant,
    active: Instant,
    /// The port of the peer that was sent to last.
    peer_port: u16,
    /// Bytes of the guest, and bytes for it.
    carried: (u64, u64),
}

impl table::Flow for Flow {
    type Key = Key;

    fn key(&self) -> Key {
        self.key
    }

    fn port(&self) -> PortId {
        self.ingress.port
    }

    fn socket(&self) -> Option<SocketId> {
        Some(self.socket)
    }

    fn due(&self) -> Option<Instant> {
        Some(self.active + if self.key.0 == Datagrams::Udp { UDP_IDLE } else { ECHO_IDLE })
    }
}

impl Flow {
    fn station(&self) -> Station {
        Station { mac: self.key.2, ingress: self.at }
    }

    /// Whether the guest has talked to `peer`; most often it is the one that it talks to.
    fn has_met(&self, peer: &IpAddr) -> bool {
        self.peers.front() == Some(peer) || self.peers.contains(peer)
    }

    fn detail(&self, now: Instant) -> FlowDetail {
        let (kind, guest, mac) = self.key;
        FlowDetail {
            protocol: if kind == Datagrams::Udp { "udp" } else { "icmp" },
            inward: false,
            guest,
            mac: Some(mac),
            remote: self.peers.front().map(|peer| SocketAddr::new(*peer, self.peer_port)),
            others: self.peers.len().saturating_sub(1),
            state: "open",
            up: self.carried.0,
            down: self.carried.1,
            round_trip: None,
            resent: 0,
            age: now - self.begun,
            idle: now - self.active,
        }
    }

    fn knows(&mut self, peer: IpAddr) {
        if self.peers.front() == Some(&peer) {
            return;
        }
        self.peers.retain(|known| *known != peer);
        self.peers.truncate(PEERS - 1);
        self.peers.push_front(peer);
    }
}

/// See the module.
pub(super) struct Ports {
    flows: Table<Flow>,
    /// How many of them are of pings.
    echoes: usize,
    buffer: Vec<u8>,
    /// The number of the next datagram that is sent in fragments.
    number: u32,
    /// It was said that the system allows no pings.
    told: bool,
}

impl Ports {
    pub fn new(seed: u64) -> Self {
        Self {
            flows: Table::new(seed, NAT_DATAGRAM_FLOWS),
            echoes: 0,
            buffer: vec![0; LONGEST],
            number: seed as u32,
            told: false,
        }
    }

    /// How many sockets of a kind there are.
    pub fn count(&self, kind: Datagrams) -> usize {
        match kind {
            Datagrams::Echo => self.echoes,
            Datagrams::Udp => self.flows.len() - self.echoes,
        }
    }

    /// Puts the flows from the slot `from` on into `details`, until that is a page. `None`: these were the last.
    pub fn details(&self, now: Instant, from: usize, details: &mut Details) -> Option<usize> {
        self.flows.page(from, PAGE, |flow| details.flows.push(flow.detail(now)))
    }

    /// Whether a socket is readable.
    pub fn is_ready(&self) -> bool {
        self.flows.waiting() > 0
    }

    /// When [`Self::handle_timeout`] may have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flows.poll_timeout()
    }

    /// Takes a UDP datagram of a guest, or an echo request, as one packet. With `segment` it stands for several, of
    /// so many bytes each but the last.
    pub fn handle(&mut self, cx: &mut Cx, (whom, segment): (Station, Option<usize>), packet: &Packet<'_>) {
        let Some((kind, from, to, bytes)) = read(packet) else {
            cx.wire.stats.malformed += 1;
            return;
        };
        let key = (kind, SocketAddr::new(packet.src, from), whom.mac);
        let found = self.flows.find(&key);
        let Some(addr) = self.way(cx, found, whom, packet) else { return };
        let addr = SocketAddr::new(addr, to);
        let Some(index) = found.or_else(|| self.open(cx, whom, key, packet.whole)) else { return };
        let Some(flow) = self.flows.get_mut(index) else { return };
        (flow.active, flow.at) = (cx.now, whom.ingress);
        flow.knows(packet.dst);
        flow.peer_port = to;
        flow.carried.0 += bytes.len() as u64;
        // The gateway is the first of them.
        let hops = packet.hop_limit.saturating_sub(1).max(1);
        if std::mem::replace(&mut flow.hops, hops) != hops {
            cx.host.set_hops(flow.socket, key.1.is_ipv6(), hops);
        }
        let whole = packet.is_kept_whole();
        if std::mem::replace(&mut flow.whole, whole) != whole {
            cx.host.keep_whole(flow.socket, key.1.is_ipv6(), whole);
        }
        for bytes in bytes.chunks(segment.unwrap_or(bytes.len()).max(1)) {
            self.send(cx, index, packet, bytes, addr);
        }
        if bytes.is_empty() {
            self.send(cx, index, packet, bytes, addr);
        }
    }

    /// The address beyond for a packet's destination; `None`: there is none, which ICMP told the guest unless it is no
    /// packet for a gateway. Peers of the flow were checked before.
    fn way(&self, cx: &mut Cx, flow: Option<u32>, whom: Station, packet: &Packet<'_>) -> Option<IpAddr> {
        let known = flow.and_then(|index| self.flows.get(index));
        let way = match known.filter(|flow| flow.has_met(&packet.dst)) {
            Some(_) => cx.wire.way(packet.dst),
            None => cx.wire.way_of_new(packet.dst, cx.host),
        };
        match way {
            Way::Out(addr) => Some(addr),
            Way::Forbidden => {
                cx.wire.stats.forbidden += 1;
                icmp::refuse(cx.wire, whom, packet.src, Refusal::Prohibited, packet.whole);
                None
            }
            Way::Nowhere => {
                cx.wire.stats.ignored += 1;
                icmp::refuse(cx.wire, whom, packet.src, Refusal::Host, packet.whole);
                None
            }
            Way::Astray => {
                cx.wire.stats.ignored += 1;
                None
            }
        }
    }

    /// Whether the packet that an ICMP "too big" quotes was sent to `whom`: by a peer of a socket of that very station,
    /// which got a packet over the reported MTU. `None`: the station has no such socket.
    pub fn has_sent(&self, told: &TooBig<'_>, whom: Station) -> Option<bool> {
        let &[_, _, d0, d1, i0, i1, ..] = told.quote else { return Some(false) };
        let (kind, port) = if told.protocol == UDP { (Datagrams::Udp, [d0, d1]) } else { (Datagrams::Echo, [i0, i1]) };
        let index = self.flows.find(&(kind, SocketAddr::new(told.dst, u16::from_be_bytes(port)), whom.mac))?;
        let flow = self.flows.get(index).filter(|flow| flow.has_met(&told.src))?;
        Some(whom.is_on_the_way_to(&flow.station()) && flow.longest > told.mtu.into())
    }

    fn send(&mut self, cx: &mut Cx, index: u32, packet: &Packet<'_>, bytes: &[u8], addr: SocketAddr) {
        let Some(flow) = self.flows.get(index) else { return };
        let (socket, whom) = (flow.socket, flow.station());
        let mut sent = cx.host.send_to(socket, bytes, addr);
        if sent.as_ref().is_err_and(|error| is_passing(error.kind())) {
            // The error may be an earlier datagram's: a socket reports it at the next call.
            self.tell_refusals(cx, index);
            sent = cx.host.send_to(socket, bytes, addr);
        }
        let refusal = match sent.map_err(|error| error.kind()) {
            Ok(()) => return,
            Err(ErrorKind::HostUnreachable) => Refusal::Host,
            Err(ErrorKind::NetworkUnreachable) => Refusal::Network,
            Err(ErrorKind::PermissionDenied) => Refusal::Prohibited,
            // It may exceed the path MTU: the error queue tells that as it does ICMP errors.
            Err(_) if self.tell_refusals(cx, index) => return,
            Err(_) => {
                cx.wire.stats.host += 1;
                return;
            }
        };
        icmp::refuse(cx.wire, whom, packet.src, refusal, packet.whole);
    }

    /// Opens a socket for a guest's port, or identifier, which has none.
    fn open(&mut self, cx: &mut Cx, whom: Station, key: Key, quote: &[u8]) -> Option<u32> {
        if !self.flows.admits(whom.port()) {
            cx.wire.stats.flows += 1;
            if let Some(index) = self.flows.first_to_go(whom.port()) {
                self.remove(index, cx.host);
            }
        }
        match cx.host.open(key.0, key.1.is_ipv6()) {
            Ok(socket) => {
                match key.0 {
                    Datagrams::Udp => cx.wire.stats.udp += 1,
                    Datagrams::Echo => cx.wire.stats.echo += 1,
                }
                self.echoes += usize::from(key.0 == Datagrams::Echo);
                let (peers, ingress) = (VecDeque::new(), whom.ingress);
                Some(self.flows.insert(Flow {
                    key,
                    ingress,
                    at: ingress,
                    socket,
                    peers,
                    readable: false,
                    hops: 0,
                    whole: false,
                    longest: 0,
                    begun: cx.now,
                    active: cx.now,
                    peer_port: 0,
                    carried: (0, 0),
                }))
            }
            Err(error) => {
                if key.0 == Datagrams::Echo {
                    icmp::refuse(cx.wire, whom, key.1.ip(), Refusal::Prohibited, quote);
                    if !std::mem::replace(&mut self.told, true) {
                        log::warn!(
                            "pings of guests cannot leave: {error}; `sysctl net.ipv4.ping_group_range=\"0 2147483647\"` \
                             lets them"
                        );
                    }
                }
                cx.wire.stats.host += 1;
                None
            }
        }
    }

    fn remove(&mut self, index: u32, host: &mut dyn Outside) {
        let Some(flow) = self.flows.remove(index) else { return };
        self.echoes -= usize::from(flow.key.0 == Datagrams::Echo);
        host.close(flow.socket, false);
    }

    /// The host's socket has changed. `false`: it is none of these.
    pub fn handle_event(&mut self, cx: &mut Cx, socket: SocketId, refused: bool) -> bool {
        let Some(index) = self.flows.find_socket(socket) else { return false };
        if refused {
            self.tell_refusals(cx, index);
        }
        if let Some(flow) = self.flows.get_mut(index) {
            flow.readable = true;
            self.flows.make_ready(index);
        }
        true
    }

    /// Sends a guest ICMP errors for datagrams that did not arrive. Returns whether there were any.
    fn tell_refusals(&mut self, cx: &mut Cx, index: u32) -> bool {
        let Some(flow) = self.flows.get(index) else { return false };
        let mut told = false;
        while let Some(refused) = cx.host.refused(flow.socket) {
            icmp::pass_on(cx.wire, flow.station(), (flow.key.0, flow.key.1), refused);
            told = true;
        }
        told
    }

    /// Reads datagrams, as long as there is room in `out`.
    pub fn work(&mut self, cx: &mut Cx, out: &mut Batch) {
        for _ in 0..self.flows.waiting() {
            if !has_room(out) {
                return;
            }
            let Some(index) = self.flows.next_ready() else { return };
            let Some(flow) = self.flows.get_mut(index) else { continue };
            for _ in 0..TURN {
                if !flow.readable || !has_room(out) {
                    break;
                }
                match cx.host.recv_from(flow.socket, &mut self.buffer) {
                    Ok((len, from)) => {
                        let number = self.number;
                        self.number = self.number.wrapping_add(1);
                        let bytes = self.buffer.get_mut(..len).unwrap_or_default();
                        if deliver(flow, bytes, from, number, cx.wire, out) {
                            flow.active = cx.now;
                            flow.carried.1 += len as u64;
                        }
                    }
                    Err(error) if is_passing(error.kind()) => {}
                    Err(_) => flow.readable = false,
                }
            }
            if flow.readable {
                self.flows.make_ready(index);
            }
        }
    }

    /// Closes idle sockets.
    pub fn handle_timeout(&mut self, now: Instant, host: &mut dyn Outside) {
        while let Some(index) = self.flows.pop_due(now) {
            self.remove(index, host);
        }
    }
}

/// Whether an error is an earlier datagram's, and the socket can be tried again at once.
pub(super) fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
    )
}

/// Reads a UDP or echo header: the kind, source port (or identifier), destination port, and payload for the socket.
fn read<'a>(packet: &Packet<'a>) -> Option<(Datagrams, u16, u16, &'a [u8])> {
    let (&[a0, a1, b0, b1, c0, c1, _, _], data) = packet.payload.split_first_chunk::<HEADER>()?;
    if packet.protocol != UDP {
        return Some((Datagrams::Echo, u16::from_be_bytes([c0, c1]), 0, packet.payload));
    }
    let length = usize::from(u16::from_be_bytes([c0, c1])).checked_sub(HEADER)?;
    let (from, to) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([b0, b1]));
    if to == 0 {
        return None;
    }
    Some((Datagrams::Udp, from, to, data.get(..length)?))
}

/// Gives a guest a datagram from `from`. `false`: `from` is no peer of its, and does not keep the mapping alive either.
fn deliver(flow: &mut Flow, bytes: &mut [u8], from: SocketAddr, number: u32, wire: &mut Wire, out: &mut Batch) -> bool {
    let ((kind, guest, _), whom) = (flow.key, flow.station());
    let Some(from) = wire.seen_as(from).filter(|from| flow.has_met(&from.ip())) else {
        wire.stats.ignored += 1;
        return false;
    };
    let addrs = (from.ip(), guest.ip());
    match kind {
        Datagrams::Udp => {
            flow.longest = flow.longest.max(ip_header(&addrs.1) + HEADER + bytes.len());
            send_udp(wire, whom, (from, guest), bytes, number, out);
        }
        Datagrams::Echo => {
            let Some(ident) = bytes.get_mut(4..6) else { return false };
            ident.copy_from_slice(&guest.port().to_be_bytes());
            finish_icmp(bytes, addrs);
            flow.longest = flow.longest.max(ip_header(&addrs.1) + bytes.len());
            send_whole(wire, whom, addrs, (icmp::protocol(guest.ip()), number), &[bytes], out);
        }
    }
    true
}

/// Bytes of the IP header of packets to `addr`.
fn ip_header(addr: &IpAddr) -> usize {
    if addr.is_ipv4() { 20 } else { 40 }
}

/// Sends a UDP datagram to a guest, in fragments where it is too long for one packet.
pub(super) fn send_udp(
    wire: &mut Wire,
    whom: Station,
    (from, guest): (SocketAddr, SocketAddr),
    bytes: &[u8],
    number: u32,
    out: &mut Batch,
) {
    let length = HEADER + bytes.len();
    let addrs = (from.ip(), guest.ip());
    let (mut header, seed) = udp((from, guest), bytes.len());
    if ip_header(&addrs.1) + length <= wire.mtu_to(addrs.1, whom) {
        header[6..8].copy_from_slice(&seed.folded().to_be_bytes());
        let headers = Headers::new(wire.link(whom.mac), addrs, UDP, length, None);
        let offload = unfinished(headers.len(), 6);
        wire.count(out.push_all(headers.bytes(), &[&header, bytes], PortId(0), offload));
        return;
    }
    let sum = seed.join(Sum::ZERO.add_bytes(&header)).join(Sum::ZERO.add_bytes(bytes)).checksum_nonzero();
    header[6..8].copy_from_slice(&sum.to_be_bytes());
    send_whole(wire, whom, addrs, (UDP, number), &[&header, bytes], out);
}

/// Sends a packet whose payload is finished. Fragments that find no room are lost, and their datagram with them.
fn send_whole(
    wire: &mut Wire,
    whom: Station,
    addrs: (IpAddr, IpAddr),
    what: (u8, u32),
    parts: &[&[u8]],
    out: &mut Batch,
) {
    let mut whole = true;
    packet::cut(wire.link(whom.mac), wire.mtu_to(addrs.1, whom), addrs, what, parts, &mut |headers, parts| {
        whole = whole && out.push_all(headers.bytes(), parts, PortId(0), Offload::NONE);
    });
    wire.count(whole);
}
