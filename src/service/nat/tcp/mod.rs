//! TCP through the gateway: every connection of a guest is one of the host, too, and bytes go from the one to the
//! other.
//!
//! # Theory of operation
//! A flow is found by its addresses and ports, or by its socket's name: both are one look into a hash table, so the
//! cost of a packet does not grow with the number of flows. Flows with work are on a list and take turns: each moves a
//! bounded number of bytes and goes to the end. All others rest, and cost nothing but a place among the timers.
//!
//! A guest's segments go to the MAC that its connection was begun from. Another MAC gets them only when it sends the
//! next segment, whose two numbers nobody else has seen, or when the neighbour table has moved the guest there, for
//! which the old station must have failed to answer.
//!
//! Buffers grow with the bytes in flight and are given back when these have arrived; the memory of all flows is
//! bounded.
//!
//! # Why a TCP of its own
//! The [`Endpoint`] ends its connections in smoltcp's TCP. A gateway does not: it is one half of a connection whose
//! other half is a socket of the host, and smoltcp 0.14 is a whole host's.
//!
//! | the gateway | smoltcp's socket |
//! |---|---|
//! | answers a SYN when the host's connection stands, or with the error that it failed with | answers a SYN that it listens for at once |
//! | acknowledges bytes when the host has taken them, or holds them | acknowledges what its buffer has taken |
//! | has no buffer at rest, up to 1 MiB under way, and a bound over all flows | has two buffers of a size that is settled when it is made |
//! | reads from the host into the buffer that a super-frame of 65,000 bytes leaves from, uncut and without a checksum | writes segments of one MSS each |
//! | sends again what the SACK blocks of the guest leave out (RFC 6675) | tells SACK blocks, and reads none |
//! | finds a flow by a hash of its addresses, and its socket's name | asks every socket of an interface whether a segment is its |
//! | follows its guest to another MAC, and the way to it to another MTU, while it stands | has the MTU of its interface |
//!
//! # The states of RFC 9293
//! There is no field with a state: each half has its own, and the RFC's is the pair. `sender` is what goes to the guest
//! (its `Phase`), `receiver` what comes from it, which there is none of before the guest's SYN.
//!
//! | RFC 9293, 3.3.2 | sender | receiver | and |
//! |---|---|---|---|
//! | LISTEN, CLOSED | | | no flow: a SYN begins one, all else is answered with a reset |
//! | SYN-SENT | `Opening` | none | a client of a forward (`Connection::asking`) |
//! | SYN-RECEIVED, not answered | `Opening` | there | `dialling`: the host's connection does not stand yet |
//! | SYN-RECEIVED | `Opening` | there | the SYN and its acknowledgement are sent |
//! | ESTABLISHED | `Open` | there | |
//! | CLOSE-WAIT | `Open` | has ended | the host was told (`Flow::shut`) when it had taken all |
//! | FIN-WAIT-1 | `Ending` | there | |
//! | FIN-WAIT-2 | `Done` | there | |
//! | CLOSING | `Ending` | has ended | the host's end came first (`host_ended_first`) |
//! | LAST-ACK | `Ending` | has ended | the guest's end came first |
//! | TIME-WAIT | `Done` | has ended | no socket any more: 2 s where the host's end came first, no time otherwise |

mod congestion;
mod connection;
mod ended;
mod exchange;
mod flow;
mod isn;
mod receiver;
mod ring;
mod room;
mod round_trip;
mod scoreboard;
mod segment;
mod sender;

use super::icmp;
use super::packet::Packet;
use super::wire::{Cx, Way, Wire, has_room};
use crate::frame::{Batch, PortId};
use crate::limits::{NAT_MEMORY, NAT_TCP_FLOWS};
use crate::service::detail::{Details, PAGE};
use crate::service::endpoint::Endpoint;
use crate::service::outside::{Outside, Refusal, SocketId};
use crate::service::path_mtu::TooBig;
use crate::service::station::Station;
use crate::service::table::Table;
use crate::time::Instant;
use crate::wire::Mac;
use connection::{Connection, Verdict};
use ended::{End, Ended};
use flow::{Fate, Flow, Key};
use isn::Isn;
use room::Room;
use segment::{Flags, Segment};
use sender::SUPER_PAYLOAD;
use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Bytes of one read from the host.
const CHUNK: usize = 64 << 10;
/// Bytes that every flow may hold, whatever the others do. A buffer of so many is not worth the work of making it
/// smaller.
const SMALL: usize = 16 << 10;

/// See the module.
pub(super) struct Tcp {
    flows: Table<Flow>,
    /// Flows that wait for memory.
    starved: BTreeSet<u32>,
    /// Bytes that all flows hold.
    held: usize,
    buffer: Vec<u8>,
    isn: Isn,
    room: Room,
    /// Those that have ended lately.
    ended: Ended,
}

impl Tcp {
    pub fn new(seed: u64) -> Self {
        Self {
            flows: Table::new(seed, NAT_TCP_FLOWS),
            starved: BTreeSet::new(),
            held: 0,
            buffer: vec![0; CHUNK],
            isn: Isn::new(seed),
            room: Room::default(),
            ended: Ended::default(),
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Bytes that all flows hold.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes that guests sent before their FIN and the host has not taken yet.
    pub fn last_words(&self) -> usize {
        self.flows.iter().map(Flow::last_words).sum()
    }

    /// Puts the flows from the slot `from` on into `details`, until that is a page. `None`: these were the last, and those
    /// that have ended lately are there, too.
    pub fn details(&self, now: Instant, from: usize, details: &mut Details) -> Option<usize> {
        let next = self.flows.page(from, PAGE, |flow| details.flows.push(flow.detail(now)));
        if next.is_none() {
            details.flows.extend(self.ended.rows(now));
        }
        next
    }

    /// Whether a flow has something to do.
    pub fn is_ready(&self) -> bool {
        self.flows.waiting() > 0 || self.feeds()
    }

    /// Whether there is memory again for flows that wait for it.
    fn feeds(&self) -> bool {
        !self.starved.is_empty() && self.held + CHUNK <= NAT_MEMORY
    }

    /// When [`Self::handle_timeout`] may have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flows.poll_timeout()
    }

    /// Takes a guest's packet with a valid checksum. The endpoint has the neighbour table.
    pub fn handle(&mut self, cx: &mut Cx, (whom, endpoint): (Station, &mut Endpoint), packet: &Packet<'_>) {
        let Some(((from, to), segment, payload)) = Segment::parse(packet.payload) else {
            cx.wire.stats.malformed += 1;
            return;
        };
        let key = Key { guest: SocketAddr::new(packet.src, from), remote: SocketAddr::new(packet.dst, to) };
        let asks = segment.flags.syn && !segment.flags.ack && !segment.flags.rst;
        let mut found = self.flows.find(&key);
        if let Some(index) = found.filter(|&index| asks && self.is_lingering(index)) {
            self.remove(cx.now, index, cx.host, (false, End::Orderly));
            found = None;
        }
        match found {
            Some(index) if self.is_its_own(cx.now, index, (whom.mac, endpoint), &segment) => {
                self.handle_known(cx, index, (whom, &segment, payload));
            }
            Some(_) => cx.wire.stats.foreign += 1,
            None if asks => {
                endpoint.meet(cx.now, packet.src, whom);
                self.begin(cx, whom, key, &segment, packet);
            }
            None => answer_stray(whom.mac, key, &segment, payload.len(), cx.wire),
        }
    }

    /// Whether a segment from `mac` is of the flow's guest. If so, segments to it go there from now on; if not, the
    /// guest is probed at the MAC that it has.
    fn is_its_own(&mut self, now: Instant, index: u32, (mac, endpoint): (Mac, &Endpoint), segment: &Segment) -> bool {
        let Some(flow) = self.flows.get_mut(index) else { return false };
        if flow.station.mac == mac {
            return true;
        }
        let has_address = || endpoint.station(flow.key.guest.ip()).is_some_and(|station| station.mac == mac);
        let moved = flow.connection.is_next(segment) || has_address();
        if moved {
            flow.station.mac = mac;
        } else {
            flow.connection.challenge(now);
            self.flows.make_ready(index);
        }
        moved
    }

    fn is_lingering(&self, index: u32) -> bool {
        self.flows.get(index).is_some_and(|flow| flow.socket.is_none())
    }

    fn handle_known(&mut self, cx: &mut Cx, index: u32, (whom, segment, payload): (Station, &Segment, &[u8])) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let before = flow.connection.held();
        let room = room(self.held, before);
        if room < payload.len() {
            cx.wire.stats.memory += 1;
        }
        let verdict = flow.handle(cx.now, segment, payload, room, cx.host);
        self.held = self.held + flow.connection.held() - before;
        match verdict {
            Verdict::Lives => self.flows.make_ready(index),
            Verdict::Reset => self.remove(cx.now, index, cx.host, (true, End::Guest)),
            Verdict::Stray => answer_stray(whom.mac, flow.key, segment, payload.len(), cx.wire),
        }
    }

    /// A guest asks for a connection: the host begins it.
    fn begin(&mut self, cx: &mut Cx, whom: Station, key: Key, syn: &Segment, packet: &Packet<'_>) {
        let addr = match cx.wire.way_of_new(key.remote.ip(), cx.host) {
            Way::Out(addr) => addr,
            Way::Forbidden => {
                cx.wire.stats.forbidden += 1;
                return icmp::refuse(cx.wire, whom, key.guest.ip(), Refusal::Prohibited, packet.whole);
            }
            Way::Nowhere => {
                cx.wire.stats.ignored += 1;
                return icmp::refuse(cx.wire, whom, key.guest.ip(), Refusal::Host, packet.whole);
            }
            Way::Astray => {
                cx.wire.stats.ignored += 1;
                return;
            }
        };
        if !self.finds_room(cx, whom) {
            return;
        }
        match cx.host.connect(SocketAddr::new(addr, key.remote.port())) {
            Ok(socket) => {
                let mut connection = Connection::asked(syn, self.isn.number(cx.now, &key), own_mss(cx.wire, &key));
                connection.limit(way_mss(cx.wire, &key, whom));
                cx.wire.stats.tcp += 1;
                self.flows.insert(Flow::new(cx.now, key, whom, connection, socket, packet.whole));
            }
            Err(error) => refuse(whom, key, syn, packet.whole, error.kind(), cx.wire),
        }
    }

    /// Opens a connection to the guest, from `remote`, for `client` of a forward. There is room for it. `false`: the
    /// address is in use.
    pub fn open(
        &mut self,
        now: Instant,
        (guest, whom): (SocketAddr, Station),
        (remote, client): (SocketAddr, SocketAddr),
        socket: SocketId,
        wire: &mut Wire,
    ) -> bool {
        let key = Key { guest, remote };
        if self.flows.find(&key).is_some() {
            return false;
        }
        let mut connection = Connection::asking(self.isn.number(now, &key), own_mss(wire, &key));
        connection.limit(way_mss(wire, &key, whom));
        wire.stats.tcp += 1;
        let mut flow = Flow::new(now, key, whom, connection, socket, &[]);
        flow.client = Some(client);
        let index = self.flows.insert(flow);
        self.flows.make_ready(index);
        true
    }

    /// Makes room for a flow of `whom`; another one may be evicted. `false`: there is none.
    pub fn finds_room(&mut self, cx: &mut Cx, whom: Station) -> bool {
        if self.flows.admits(whom.port()) {
            return true;
        }
        cx.wire.stats.flows += 1;
        if let Some(index) = self.room.make(cx.now, whom.port(), &self.flows) {
            self.end(cx, index, End::Evicted);
        }
        self.flows.admits(whom.port())
    }

    /// Ends a flow for both sides, by a reset where one has not ended.
    fn end(&mut self, cx: &mut Cx, index: u32, why: End) {
        if let Some(flow) = self.flows.get(index).filter(|flow| flow.socket.is_some()) {
            flow.reset(cx.wire);
        }
        self.remove(cx.now, index, cx.host, (true, why));
    }

    /// Takes a flow out, and closes its socket; `abort`: by a reset.
    fn remove(&mut self, now: Instant, index: u32, host: &mut dyn Outside, (abort, why): (bool, End)) {
        let Some(flow) = self.flows.remove(index) else { return };
        // One that lingers has ended before.
        self.ended.keep(now, flow.detail(now), if flow.socket.is_none() { End::Orderly } else { why });
        self.held -= flow.connection.held();
        self.starved.remove(&index);
        if let Some(socket) = flow.socket {
            host.close(socket, abort);
        }
    }

    /// The host's socket has changed. `false`: it is none of a flow.
    pub fn handle_event(&mut self, socket: SocketId, readable: bool, writable: bool) -> bool {
        let Some(index) = self.flows.find_socket(socket) else { return false };
        if let Some(flow) = self.flows.get_mut(index) {
            flow.readable |= readable;
            flow.writable |= writable;
        }
        self.flows.make_ready(index);
        true
    }

    /// The flow whose segment was too big, and that segment's sequence number.
    fn quoted(&self, told: &TooBig<'_>) -> Option<(u32, u32)> {
        let &[s0, s1, d0, d1, q0, q1, q2, q3, ..] = told.quote else { return None };
        let end = |addr, port| SocketAddr::new(addr, u16::from_be_bytes(port));
        let key = Key { guest: end(told.dst, [d0, d1]), remote: end(told.src, [s0, s1]) };
        Some((self.flows.find(&key)?, u32::from_be_bytes([q0, q1, q2, q3])))
    }

    /// The station that a too big segment was sent to; `None`: it is of no flow.
    pub fn station_of(&self, told: &TooBig<'_>) -> Option<Station> {
        let (index, _) = self.quoted(told)?;
        self.flows.get(index).map(|flow| flow.station)
    }

    /// ICMP "too big" for a segment to a guest. `false`: it is of no flow, or not in flight; a forged one does not know
    /// the sequence number.
    pub fn handle_too_big(&mut self, told: &TooBig<'_>) -> bool {
        let Some((index, seq)) = self.quoted(told) else { return false };
        let narrowed = self.flows.get_mut(index).is_some_and(|flow| {
            let mss = mss_of(told.mtu.into(), &flow.key);
            flow.connection.narrow(seq, mss)
        });
        if narrowed {
            self.flows.make_ready(index);
        }
        narrowed
    }

    /// These ports of the switch were left. Others may come to them with the same guests behind, so the guests are
    /// probed before their flows end.
    pub fn doubt(&mut self, now: Instant, ports: &BTreeSet<PortId>) {
        if ports.is_empty() {
            return;
        }
        for index in self.flows.of_ports(ports) {
            if let Some(flow) = self.flows.get_mut(index) {
                flow.doubt(now);
                self.flows.schedule(index);
            }
        }
    }

    /// Gives every flow that has something to do a turn, as long as there is room in `out`.
    pub fn work(&mut self, cx: &mut Cx, out: &mut Batch) {
        if self.feeds() {
            std::mem::take(&mut self.starved).into_iter().for_each(|index| self.flows.make_ready(index));
        }
        for _ in 0..self.flows.waiting() {
            if !has_room(out) {
                return;
            }
            let Some(index) = self.flows.next_ready() else { return };
            let Some(flow) = self.flows.get_mut(index) else { continue };
            let before = flow.connection.held();
            let room = room(self.held, before);
            let fate = flow.work(cx, &mut self.buffer, room, out);
            self.held = self.held + flow.connection.held() - before;
            match fate {
                Fate::Rests => {}
                Fate::Works => self.flows.make_ready(index),
                Fate::Starves => {
                    self.starved.insert(index);
                }
                Fate::Over => self.finish(cx.now, index, cx.host),
                Fate::Broken => self.end(cx, index, End::Host),
                Fate::Failed(why) => {
                    let (whom, key, quote, syn) = (flow.station, flow.key, flow.quote.clone(), flow.connection.reset());
                    let syn = Segment { seq: syn.ack.wrapping_sub(1), ..Segment::default() };
                    refuse(whom, key, &syn, &quote, why, cx.wire);
                    self.remove(cx.now, index, cx.host, (false, End::Failed(why)));
                }
            }
            self.flows.schedule(index);
        }
    }

    /// Both sides have ended. The flow lingers where the guest may not have seen its end acknowledged.
    fn finish(&mut self, now: Instant, index: u32, host: &mut dyn Outside) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        if !flow.connection.host_ended_first() {
            return self.remove(now, index, host, (false, End::Orderly));
        }
        if let Some(socket) = flow.socket.take() {
            self.flows.forget_socket(socket);
            host.close(socket, false);
        }
    }

    /// Does what is due: sends again, gives up.
    pub fn handle_timeout(&mut self, cx: &mut Cx) {
        while let Some(index) = self.flows.pop_due(cx.now) {
            let Some(flow) = self.flows.get_mut(index) else { continue };
            if flow.handle_timeout(cx.now) {
                self.flows.make_ready(index);
                self.flows.schedule(index);
                continue;
            }
            self.end(cx, index, End::Silence);
        }
    }
}

/// How many bytes a flow that holds `own` may hold in addition, when all together hold `all`.
fn room(all: usize, own: usize) -> usize {
    NAT_MEMORY.saturating_sub(all).max(SMALL.saturating_sub(own))
}

/// Shrinks a buffer, so that the flows' bytes tell how much memory they take: to nothing when it is empty, and else
/// when three quarters are free.
fn give_back(bytes: &mut VecDeque<u8>) {
    if bytes.is_empty() {
        bytes.shrink_to(0);
    } else if bytes.capacity() > SMALL && bytes.len() < bytes.capacity() / 4 {
        bytes.shrink_to(bytes.len() * 2);
    }
}

/// Payload of the longest segment that fits the link, and a frame of ours.
fn own_mss(wire: &Wire, key: &Key) -> u16 {
    mss_of(wire.mtu, key)
}

/// The same of the path MTU to the guest, where it is known.
fn way_mss(wire: &Wire, key: &Key, whom: Station) -> u16 {
    mss_of(wire.mtu_to(key.guest.ip(), whom), key)
}

fn mss_of(mtu: usize, key: &Key) -> u16 {
    let headers = if key.guest.is_ipv4() { 40 } else { 60 };
    mtu.saturating_sub(headers).min(SUPER_PAYLOAD) as u16
}

/// A segment of no connection is answered with a reset (RFC 9293, 3.5.2).
fn answer_stray(mac: Mac, key: Key, segment: &Segment, payload: usize, wire: &mut Wire) {
    if segment.flags.rst || !matches!(wire.way(key.remote.ip()), Way::Out(_)) {
        return;
    }
    let rst = Flags { rst: true, ..Flags::default() };
    let answer = if segment.flags.ack {
        Segment { seq: segment.ack, flags: rst, ..Segment::default() }
    } else {
        let ack = segment.seq.wrapping_add(segment.space(payload));
        Segment { ack, flags: Flags { ack: true, ..rst }, ..Segment::default() }
    };
    let (headers, offload) = flow::headers(wire, mac, key, &answer, 0);
    wire.send(&headers, &[], offload);
}

/// The host could not connect: the guest gets a RST or an ICMP error.
fn refuse(whom: Station, key: Key, syn: &Segment, quote: &[u8], why: ErrorKind, wire: &mut Wire) {
    let refusal = match why {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => {
            let syn = Segment { flags: Flags { syn: true, ..Flags::default() }, ..*syn };
            return answer_stray(whom.mac, key, &syn, 0, wire);
        }
        ErrorKind::HostUnreachable | ErrorKind::TimedOut => Refusal::Host,
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => Refusal::Network,
        ErrorKind::PermissionDenied => Refusal::Prohibited,
        // No descriptors, no ports: the guest will retransmit its SYN.
        _ => {
            wire.stats.host += 1;
            return;
        }
    };
    icmp::refuse(wire, whom, key.guest.ip(), refusal, quote);
}

#[cfg(test)]
mod tests;
