//! One TCP connection: its state, its events for the service, and its end.

use std::net::{IpAddr, SocketAddr};

use smoltcp::socket::tcp::State;
use smoltcp::wire::{Ipv4Packet, TcpPacket};

use super::config::Limits;
use super::event::{CloseReason, ConnId, Event, ListenerId};
use super::stack::Connection;
use crate::service::station::Station;
use crate::time::Instant;
use crate::wire::Mac;

/// Addresses and ports of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct FlowKey {
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
}

/// Pending events, one bit each; the lowest is first.
const OPENED: u8 = 1;
const READABLE: u8 = 2;
const WRITABLE: u8 = 4;
const PEER_CLOSED: u8 = 8;
const CLOSED: u8 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The handshake is under way; the service knows nothing yet, unless it asked for the connection.
    Opening,
    Open,
    /// Over, for `reason`.
    Ended(CloseReason),
}

/// The cause of a change of the socket's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// A segment.
    Segment { rst: bool },
    /// Time, or our own doing.
    Ourselves,
}

/// The fate of a connection that has nothing more to send for now.
pub(super) enum Fate {
    Keep,
    /// In TIME-WAIT: further segments are answered with this packet, our last acknowledgement.
    Linger(Box<[u8]>),
    Gone,
}

/// See the module.
pub(super) struct Flow {
    pub key: FlowKey,
    pub tcp: Connection,
    /// Its listener; `None`: we opened it.
    pub listener: Option<ListenerId>,
    /// The MAC of the peer's station, once it is known.
    pub mac: Option<Mac>,
    phase: Phase,
    opened: Instant,
    heard: Instant,
    /// The first segment since `heard` that obliges the peer to answer.
    unanswered: Option<Instant>,
    pending: u8,
    wants_space: bool,
    told_fin: bool,
    told_end: bool,
    /// The service does not know the connection any more.
    detached: bool,
    last_ack: Option<Box<[u8]>>,
    probes: bool,
    /// The sequence number of the last segment sent.
    sent: u32,
}

impl Flow {
    pub fn new(
        now: Instant,
        key: FlowKey,
        tcp: Connection,
        (listener, whom): (Option<ListenerId>, Option<Station>),
    ) -> Self {
        Self {
            key,
            tcp,
            listener,
            mac: whom.map(|whom| whom.mac),
            phase: Phase::Opening,
            opened: now,
            heard: now,
            unanswered: None,
            pending: 0,
            wants_space: false,
            told_fin: false,
            told_end: false,
            detached: false,
            last_ack: None,
            probes: false,
            sent: 0,
        }
    }

    pub fn is_opening(&self) -> bool {
        self.phase == Phase::Opening
    }

    pub fn is_detached(&self) -> bool {
        self.detached
    }

    pub fn has_pending(&self) -> bool {
        self.pending != 0
    }

    /// The reason of the end, if it has ended.
    pub fn ended(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Ended(reason) => Some(reason),
            _ => None,
        }
    }

    /// A segment came; `new_data`: with data that can be read now.
    pub fn heard(&mut self, now: Instant, new_data: bool) {
        self.heard = now;
        self.unanswered = None;
        if new_data {
            self.pending |= READABLE;
        }
    }

    /// Makes a keep-alive probe due.
    pub fn probe(&mut self) {
        self.probes = self.phase == Phase::Open;
    }

    /// Whether a probe is due; then it counts as sent.
    pub fn take_probe(&mut self) -> bool {
        std::mem::take(&mut self.probes)
    }

    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// A segment goes out, in an IP packet.
    pub fn sent(&mut self, now: Instant, packet: &[u8]) {
        if let Some(seq) = obliges(packet) {
            self.unanswered.get_or_insert(now);
            self.sent = seq;
        }
        if self.tcp.socket().state() == State::TimeWait {
            self.last_ack = Some(packet.into());
        }
    }

    /// ICMP "too big": the segment with number `seq` exceeded the path MTU `mtu`. `false`: `seq` is not within the last
    /// `window` bytes, so the message is forged or late.
    pub fn narrow(&mut self, seq: u32, mtu: u16, window: usize) -> bool {
        let sent = self.sent.wrapping_sub(seq) as usize <= window;
        if sent {
            self.tcp.narrow(mtu);
        }
        sent
    }

    /// A send was cut short.
    pub fn wants_space(&mut self) {
        self.wants_space = true;
    }

    /// When the peer counts as dead: at the handshake's timeout; later when it has been silent for `dead_after`, and a
    /// segment that it must answer was sent at least that long ago less one keep-alive.
    pub fn dead_at(&self, limits: &Limits) -> Option<Instant> {
        match (self.phase, self.tcp.socket().state()) {
            (_, State::Closed | State::TimeWait) => None,
            (Phase::Opening, _) if self.listener.is_some() => Some(self.opened + limits.handshake),
            (Phase::Opening, _) => Some(self.opened + limits.dead_after),
            _ => {
                let asked = self.unanswered? + limits.dead_after.saturating_sub(limits.keep_alive);
                Some(asked.max(self.heard + limits.dead_after))
            }
        }
    }

    /// Gives up a dead peer with a RST.
    pub fn give_up(&mut self) {
        self.end(CloseReason::TimedOut);
        self.tcp.socket_mut().abort();
    }

    /// The service aborts the connection: a RST goes out, and no more events follow.
    pub fn abort(&mut self) {
        self.detached = true;
        self.pending = 0;
        if self.tcp.socket().state() != State::TimeWait {
            self.tcp.socket_mut().abort();
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if self.is_opening() && self.listener.is_some() {
            self.detached = true;
        }
        self.phase = Phase::Ended(reason);
    }

    /// Derives events from the socket's new state.
    pub fn observe(&mut self, cause: Cause) {
        if self.detached {
            return;
        }
        let state = self.tcp.socket().state();
        if self.is_opening() {
            match state {
                State::SynSent | State::SynReceived => return,
                State::Listen => self.end(CloseReason::Refused),
                State::Closed if cause == Cause::Ourselves => self.end(CloseReason::TimedOut),
                State::Closed => self.end(CloseReason::Refused),
                _ => {
                    self.phase = Phase::Open;
                    self.pending |= OPENED;
                }
            }
        }
        if self.phase == Phase::Open {
            self.observe_open(state, cause);
        }
        if let Phase::Ended(reason) = self.phase {
            let drained = reason != CloseReason::Finished || self.tcp.socket().recv_queue() == 0;
            if drained && !self.told_end && !self.detached {
                self.told_end = true;
                self.pending |= CLOSED;
            }
        }
    }

    fn observe_open(&mut self, state: State, cause: Cause) {
        let fin = matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        if fin && !self.told_fin {
            self.told_fin = true;
            self.pending |= PEER_CLOSED;
        }
        let socket = self.tcp.socket();
        if self.wants_space
            && socket.may_send()
            && socket.send_capacity() - socket.send_queue() >= socket.send_capacity() / 4
        {
            self.wants_space = false;
            self.pending |= WRITABLE;
        }
        match (state, cause) {
            (State::TimeWait, _) | (State::Closed, Cause::Segment { rst: false }) => self.end(CloseReason::Finished),
            (State::Closed, Cause::Segment { rst: true }) => self.end(CloseReason::Reset),
            (State::Closed, Cause::Ourselves) => self.end(CloseReason::TimedOut),
            _ => {}
        }
    }

    /// The next event.
    pub fn take_event(&mut self, conn: ConnId) -> Option<Event> {
        let bit = self.pending & self.pending.wrapping_neg();
        self.pending &= !bit;
        match bit {
            OPENED => Some(match self.listener {
                Some(listener) => Event::Accepted { conn, listener, local: self.local(), peer: self.peer() },
                None => Event::Connected(conn),
            }),
            READABLE => Some(Event::Readable(conn)),
            WRITABLE => Some(Event::Writable(conn)),
            PEER_CLOSED => Some(Event::PeerClosed(conn)),
            CLOSED => {
                self.detached = true;
                self.pending = 0;
                self.ended().map(|reason| Event::Closed(conn, reason))
            }
            _ => None,
        }
    }

    /// The fate of the connection, which has nothing to send now.
    pub fn fate(&mut self) -> Fate {
        let socket = self.tcp.socket();
        match socket.state() {
            _ if !self.detached => Fate::Keep,
            State::TimeWait => self.last_ack.take().map_or(Fate::Keep, Fate::Linger),
            State::Listen => Fate::Gone,
            State::Closed if socket.remote_endpoint().is_none() => Fate::Gone,
            _ => Fate::Keep,
        }
    }

    pub fn local(&self) -> SocketAddr {
        self.key.local.into()
    }

    pub fn peer(&self) -> SocketAddr {
        self.key.remote.into()
    }
}

/// The sequence number of the segment in our packet, if a peer has to answer it: it has data, SYN or FIN.
fn obliges(packet: &[u8]) -> Option<u32> {
    let header = match packet.first().map(|byte| byte >> 4) {
        Some(4) => Ipv4Packet::new_checked(packet).map_or(0, |packet| usize::from(packet.header_len())),
        _ => 40,
    };
    let segment = packet.get(header..).and_then(|bytes| TcpPacket::new_checked(bytes).ok());
    segment.filter(|segment| segment.segment_len() > 0).map(|segment| segment.seq_number().0 as u32)
}
