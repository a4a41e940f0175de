//! One TCP flow: a connection with a guest, the host's socket behind it, and the bytes between the two.
//!
//! # How it ends
//! Each side's FIN becomes the other's. An error of the host's socket ends what the guest sends, and nothing that was
//! there before it: whatever the socket has received goes to the guest first, and is acknowledged; then the guest is
//! reset. So a server that answers and closes before it has read all of a request is heard, as it is without a gateway.

use super::connection::{Connection, Verdict};
use super::segment::{CHECKSUM, Segment};
use crate::frame::{Batch, PortId};
use crate::limits::{NAT_ASKED, NAT_ASKED_EVERY, NAT_SILENCE};
use crate::service::detail::FlowDetail;
use crate::service::nat::icmp::QUOTE;
use crate::service::nat::packet::{Headers, TCP, pseudo, unfinished};
use crate::service::nat::wire::{Cx, Wire, has_room};
use crate::service::outside::{Outside, SocketId};
use crate::service::station::Station;
use crate::service::table::{self, Flow as _};
use crate::time::{Duration, Instant, earliest};
use crate::wire::{Gso, Mac, Offload};
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Both ends as the guest knows them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(in crate::service::nat) struct Key {
    pub guest: SocketAddr,
    pub remote: SocketAddr,
}

/// A flow without a packet ends after this long (RFC 5382, REQ-5: not below two hours and four minutes).
const IDLE: Duration = Duration::from_secs(2 * 3600 + 4 * 60);
/// A half-closed flow ends after this long (RFC 5382, REQ-5: not below four minutes).
const HALF_CLOSED: Duration = Duration::from_secs(240);
/// Keep-alive probes of a silent guest.
const SILENCE: Asks = Asks { first: NAT_SILENCE, pause: NAT_ASKED_EVERY, left: NAT_ASKED };
/// The same after its port of the switch was left.
const DEPARTED: Asks = Asks { first: Duration::from_secs(1), pause: Duration::from_secs(1), left: 5 };
/// How long a guest may leave unread the rest of a connection whose host's half has failed.
const LAST_WORDS: Duration = Duration::from_secs(240);
/// A connection that does not come to stand ends after this long: longer than the host's own patience.
const OPENING: Duration = Duration::from_secs(240);
/// How long an ended flow still acknowledges retransmissions.
const LINGER: Duration = Duration::from_secs(2);
/// Reads of one turn.
const READS: usize = 4;

/// Keep-alive probes of a silent guest (RFC 9293, 3.8.4, but sooner: see [`NAT_SILENCE`]).
#[derive(Clone, Copy, Debug)]
struct Asks {
    /// Silence before the first probe.
    first: Duration,
    pause: Duration,
    /// Probes that are left.
    left: u8,
}

/// Order in which flows are evicted for a new one, the first first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Worth {
    /// Both sides have ended.
    Over,
    /// One side has ended, or failed.
    Half,
    /// It does not stand yet.
    Opening,
    /// Bytes may come from both sides.
    Open,
}

/// The result of a flow's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It waits for something to happen.
    Rests,
    /// It has more to do at once.
    Works,
    /// It waits for memory.
    Starves,
    /// It is over, and its socket with it.
    Over,
    /// The host's half has failed: the guest is told so by a reset.
    Broken,
    /// The host's half never stood.
    Failed(ErrorKind),
}

/// See the module.
pub(super) struct Flow {
    pub key: Key,
    /// Its guest. The port of the switch is the one that it counts for, and stays.
    pub station: Station,
    pub connection: Connection,
    /// `None`: both sides have ended.
    pub socket: Option<SocketId>,
    pub readable: bool,
    pub writable: bool,
    /// The beginning of the guest's SYN, for an ICMP message about it.
    pub quote: Box<[u8]>,
    /// The client of a forward that it was made for.
    pub client: Option<SocketAddr>,
    begun: Instant,
    /// Bytes that the host took, and bytes that it gave.
    carried: (u64, u64),
    active: Instant,
    /// The host's socket was told that nothing follows.
    shut: bool,
    failure: Option<Failure>,
    /// When the guest is asked next, and how.
    ask_at: Instant,
    asks: Asks,
    /// Its port of the switch was left since the guest was heard last.
    doubted: bool,
}

/// The host's half has failed.
#[derive(Clone, Copy, Debug)]
struct Failure {
    /// When the guest last took something.
    since: Instant,
    /// All that the socket had received was read.
    read: bool,
}

impl table::Flow for Flow {
    type Key = Key;

    fn key(&self) -> Key {
        self.key
    }

    fn port(&self) -> PortId {
        self.station.port()
    }

    fn socket(&self) -> Option<SocketId> {
        self.socket
    }

    fn due(&self) -> Option<Instant> {
        let rest = match self.worth() {
            Worth::Over => LINGER,
            Worth::Half => HALF_CLOSED,
            Worth::Opening => OPENING,
            Worth::Open => IDLE,
        };
        let end = self.failure.map_or(self.active + rest, |failure| failure.since + LAST_WORDS);
        let end = if self.may_ask() { end.min(self.ask_at) } else { end };
        earliest(self.connection.poll_timeout(), Some(end))
    }
}

impl Flow {
    pub fn new(
        now: Instant,
        key: Key,
        station: Station,
        connection: Connection,
        socket: SocketId,
        quote: &[u8],
    ) -> Self {
        Self {
            key,
            station,
            connection,
            socket: Some(socket),
            readable: false,
            writable: false,
            quote: quote.get(..QUOTE).unwrap_or(quote).into(),
            client: None,
            begun: now,
            carried: (0, 0),
            active: now,
            shut: false,
            failure: None,
            ask_at: now + SILENCE.first,
            asks: SILENCE,
            doubted: false,
        }
    }

    /// Its port of the switch was left: the guest is probed. A port that is left again and again does not put off the
    /// end.
    pub fn doubt(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.doubted, true) {
            (self.asks, self.ask_at) = (DEPARTED, now + DEPARTED.first);
        }
    }

    /// Whether a keep-alive probe would be answered.
    fn may_ask(&self) -> bool {
        self.socket.is_some() && self.connection.is_open()
    }

    /// Bytes that a guest sent before its FIN and the host has not taken.
    pub fn last_words(&self) -> usize {
        let takes = self.socket.is_some() && self.failure.is_none();
        if takes { self.connection.last_words() } else { 0 }
    }

    /// As it is shown.
    pub fn detail(&self, now: Instant) -> FlowDetail {
        let (round_trip, resent) = self.connection.measured();
        FlowDetail {
            protocol: "tcp",
            inward: self.client.is_some(),
            guest: self.key.guest,
            mac: Some(self.station.mac),
            remote: Some(self.client.unwrap_or(self.key.remote)),
            others: 0,
            state: if self.socket.is_some() { self.connection.word() } else { "closed" },
            up: self.carried.0,
            down: self.carried.1,
            round_trip,
            resent,
            age: now - self.begun,
            idle: now - self.active,
        }
    }

    /// When the last segment of it came.
    pub fn rests_since(&self) -> Instant {
        self.failure.map_or(self.active, |failure| failure.since)
    }

    /// See [`Worth`].
    pub fn worth(&self) -> Worth {
        match self.socket {
            None => Worth::Over,
            Some(_) if !self.connection.is_open() => Worth::Opening,
            Some(_) if self.failure.is_some() || self.connection.is_half_closed() => Worth::Half,
            Some(_) => Worth::Open,
        }
    }

    /// The host takes no more; its bytes are read to the end.
    fn fail(failure: &mut Option<Failure>, now: Instant) {
        failure.get_or_insert(Failure { since: now, read: false });
    }

    /// Something is due. `false`: it is over.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            return self.connection.handle_timeout(now);
        }
        if self.may_ask() && self.ask_at <= now {
            let Some(left) = self.asks.left.checked_sub(1) else { return false };
            (self.asks.left, self.ask_at) = (left, now + self.asks.pause);
            self.connection.ask();
        }
        self.due().is_none_or(|due| due > now)
    }

    /// Takes a segment of the guest. `room` bytes may be held in addition to what the host takes.
    pub fn handle(
        &mut self,
        now: Instant,
        segment: &Segment,
        payload: &[u8],
        room: usize,
        host: &mut dyn Outside,
    ) -> Verdict {
        // An answer to a keep-alive probe shows life, but is no traffic.
        if !(self.asks.left < SILENCE.left && segment.is_bare(payload.len())) {
            self.active = now;
        }
        (self.asks, self.ask_at, self.doubted) = (SILENCE, now + SILENCE.first, false);
        let Self { connection, socket, writable, readable, failure, carried: (up, _), .. } = self;
        let before = connection.acknowledged();
        let verdict = connection.handle(now, segment, payload, room, &mut |bytes| match *socket {
            // Nobody is there to take them.
            _ if failure.is_some() => bytes.len(),
            Some(socket) if *writable => {
                host.send(socket, bytes).inspect(|count| *up += *count as u64).unwrap_or_else(|error| {
                    match error.kind() {
                        ErrorKind::Interrupted => {}
                        ErrorKind::WouldBlock => *writable = false,
                        _ => {
                            Self::fail(failure, now);
                            *readable = true;
                        }
                    }
                    0
                })
            }
            _ => 0,
        });
        if let Some(failure) = failure.as_mut().filter(|_| connection.acknowledged() != before) {
            failure.since = now;
        }
        verdict
    }

    /// Moves bytes in both directions and puts segments into `out`, a bounded number of each.
    pub fn work(&mut self, cx: &mut Cx, buffer: &mut [u8], room: usize, out: &mut Batch) -> Fate {
        if let Some(socket) = self.socket {
            if self.connection.is_dialling() {
                match self.dial(cx.now, socket, cx.host) {
                    Fate::Works => {}
                    other => return other,
                }
            }
            self.write(cx.now, socket, cx.host);
            self.read(cx.now, socket, cx.host, buffer, room);
        }
        let all_sent = self.emit(cx.now, cx.wire, out);
        if self.connection.is_done() && self.socket.is_some() {
            self.active = cx.now;
            // A flow that lingers needs no memory.
            self.connection.rest();
            return Fate::Over;
        }
        let read = |failure: Failure| failure.read || self.connection.has_host_ended();
        if self.failure.is_some_and(read) && self.connection.has_delivered() {
            return Fate::Broken;
        }
        let more = self.socket.is_some() && self.readable && self.connection.wanted() > 0;
        match all_sent {
            true if !more => {
                self.connection.rest();
                Fate::Rests
            }
            true if self.connection.affords(room) == 0 => Fate::Starves,
            _ => Fate::Works,
        }
    }

    fn dial(&mut self, now: Instant, socket: SocketId, host: &mut dyn Outside) -> Fate {
        if !self.writable {
            return Fate::Rests;
        }
        match host.connected(socket) {
            Ok(()) => {
                self.connection.dialled();
                self.quote = Box::default();
                Fate::Works
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Fate::Rests
            }
            // It stood, and may have carried bytes: a connection that is not accepted is refused.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.connection.dialled();
                self.quote = Box::default();
                Self::fail(&mut self.failure, now);
                self.readable = true;
                Fate::Works
            }
            Err(error) => Fate::Failed(error.kind()),
        }
    }

    /// Sends the bytes held for the host.
    fn write(&mut self, now: Instant, socket: SocketId, host: &mut dyn Outside) {
        while self.failure.is_none() && self.writable && !self.connection.waiting().is_empty() {
            match host.send(socket, self.connection.waiting()) {
                Ok(count) => {
                    self.active = now;
                    self.carried.0 += count as u64;
                    self.connection.taken(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    // The socket has told of its error, and will now say that it is at its end.
                    Self::fail(&mut self.failure, now);
                    self.readable = true;
                }
            }
        }
        if self.failure.is_some() {
            self.connection.discard_waiting();
        } else if self.connection.has_drained() && !std::mem::replace(&mut self.shut, true) {
            host.shutdown(socket);
        }
    }

    /// Reads from the host as much as the guest takes.
    fn read(&mut self, now: Instant, socket: SocketId, host: &mut dyn Outside, buffer: &mut [u8], mut room: usize) {
        for _ in 0..READS {
            let wanted = self.connection.affords(room).min(buffer.len());
            if !self.readable || wanted == 0 {
                return;
            }
            let before = self.connection.held();
            match self.connection.fill(wanted, buffer, |room| host.recv(socket, room)) {
                Ok(0) if self.failure.is_none() => {
                    self.connection.end();
                    self.readable = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.failure.is_none() => self.readable = false,
                Ok(count) if count > 0 => {
                    self.active = now;
                    self.carried.1 += count as u64;
                    room = room.saturating_sub(self.connection.held() - before);
                }
                Ok(_) | Err(_) => {
                    self.failure = Some(Failure { since: now, read: true });
                    self.readable = false;
                }
            }
        }
    }

    /// Sends what may be sent. `false`: there was no room for all of it.
    fn emit(&mut self, now: Instant, wire: &mut Wire, out: &mut Batch) -> bool {
        while has_room(out) {
            let Some(next) = self.connection.next(now) else { return true };
            let parts = self.connection.slices(&next.range);
            let length = next.range.len();
            let (headers, mut offload) = headers(wire, self.station.mac, self.key, &next.segment, length);
            let mss = self.connection.mss();
            if length > mss {
                let (four, six) = (Gso::Tcp4 { ecn: false }, Gso::Tcp6 { ecn: false });
                offload.gso = if self.key.guest.is_ipv4() { four } else { six };
                offload.gso_size = mss as u16;
            }
            wire.count(out.push_all(headers.bytes(), &parts, PortId(0), offload));
        }
        false
    }

    /// Tells the guest that the connection is reset.
    pub fn reset(&self, wire: &mut Wire) {
        let (headers, offload) = headers(wire, self.station.mac, self.key, &self.connection.reset(), 0);
        wire.send(&headers, &[], offload);
    }
}

/// The headers of a segment to the guest with `length` bytes of payload, and the offload of its frame.
pub(super) fn headers(wire: &Wire, mac: Mac, key: Key, segment: &Segment, length: usize) -> (Headers, Offload) {
    let addrs = (key.remote.ip(), key.guest.ip());
    let (bytes, len) = segment.emit((key.remote.port(), key.guest.port()), 0);
    let mut headers = Headers::new(wire.link(mac), addrs, TCP, len + length, None);
    let start = headers.len();
    headers.push(&bytes[..len]);
    let seed = pseudo(addrs.0, addrs.1, TCP, len + length).folded();
    headers.set(start + usize::from(CHECKSUM), seed.to_be_bytes());
    let offload = Offload { header_len: headers.len() as u16, ..unfinished(start, CHECKSUM) };
    (headers, offload)
}
