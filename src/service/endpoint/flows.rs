//! The table of TCP connections: finds a segment's connection, admits new ones, and serves them in turn.
//!
//! # Theory of operation
//! A segment is looked up by its addresses and ports. A SYN for a listener makes a connection of its own at once, with
//! a socket that listens for this one SYN; so any number can come in one burst, and a listener that waits costs nothing.
//! Any other segment that finds no connection is answered with RST.
//!
//! A connection is in a [`Table`], by its addresses, its turn and its deadline; one with pending events is in `events`,
//! too.
//!
//! A connection in TIME-WAIT gives up its socket: its last acknowledgement answers further segments.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;
use smoltcp::wire::IpListenEndpoint;

use super::config::Limits;
use super::event::{CloseReason, ConnId, Event, ListenerId};
use super::flow::{Cause, Fate, Flow, FlowKey};
use super::linger::Lingering;
use super::link::LinkLayer;
use super::scratch::Scratch;
use super::stack::{Connection, Stack};
use crate::error::{Error, Result};
use crate::frame::PortId;
use crate::service::path_mtu::{Paths, TooBig};
use crate::service::shares::Shares;
use crate::service::station::{Ingress, Station};
use crate::service::table::{self, Table};
use crate::time::{Instant, earliest};

/// First of the ephemeral ports (RFC 6335, section 6).
const EPHEMERAL: u16 = 49152;

/// A TCP segment that came: its connection and flags.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub key: FlowKey,
    pub syn: bool,
    pub ack: bool,
    pub rst: bool,
    /// Its sender.
    pub whom: Station,
    /// The whole IP packet.
    pub packet: &'a [u8],
}

struct Listener {
    id: ListenerId,
    port: u16,
    backlog: usize,
    /// Handshakes under way, by the port of the switch.
    opening: Shares,
}

/// A connection in the table.
struct Entry {
    flow: Flow,
    /// Tells it from earlier connections of this index.
    generation: u32,
    /// The port of the switch that it counts for, if a peer has opened it.
    port: Option<PortId>,
    /// It is in the queue of events.
    telling: bool,
    due: Option<Instant>,
}

impl table::Flow for Box<Entry> {
    type Key = FlowKey;

    fn key(&self) -> FlowKey {
        self.flow.key
    }

    fn port(&self) -> PortId {
        self.port.unwrap_or(Ingress::NONE.port)
    }

    fn counts(&self) -> bool {
        self.port.is_some()
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// Counters of the table.
#[derive(Default)]
pub(super) struct Counters {
    pub accepted: u64,
    pub refused: u64,
    pub backlogged: u64,
    pub resets: u64,
    pub timeouts: u64,
    pub foreign: u64,
}

/// See the module.
pub(super) struct Flows {
    limits: Limits,
    table: Table<Box<Entry>>,
    generation: u32,
    per_source: HashMap<IpAddr, usize, FixedState>,
    listeners: Vec<Listener>,
    next_listener: u32,
    next_port: u16,
    events: VecDeque<u32>,
    lingering: Lingering,
    paths: Paths,
    pub counters: Counters,
}

enum Admission {
    Accept(ListenerId),
    Refuse,
    Ignore,
}

impl Flows {
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            table: Table::new(seed, limits.connections),
            generation: 0,
            per_source: HashMap::with_hasher(FixedState::with_seed(seed)),
            listeners: Vec::new(),
            next_listener: 0,
            next_port: EPHEMERAL | (seed >> 17) as u16,
            events: VecDeque::new(),
            lingering: Lingering::new(seed),
            paths: Paths::default(),
            counters: Counters::default(),
        }
    }

    /// Connections that there are, in whatever state.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn listen(&mut self, port: u16, backlog: usize) -> Result<ListenerId> {
        if port == 0 || backlog == 0 {
            return Err(Error::usage(format!("port {port}, backlog {backlog}: both count from 1")));
        }
        if self.listeners.iter().any(|listener| listener.port == port) {
            return Err(Error::usage(format!("port {port}: already listened on")));
        }
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        self.listeners.push(Listener { id, port, backlog, opening: Shares::default() });
        Ok(id)
    }

    pub fn unlisten(&mut self, id: ListenerId) {
        self.listeners.retain(|listener| listener.id != id);
    }

    /// Opens a connection from `local`, by way of `whom` if that is known.
    pub fn connect(
        &mut self,
        now: Instant,
        local: IpAddr,
        (remote, whom): (SocketAddr, Option<Station>),
        stack: &mut Stack,
    ) -> Result<ConnId> {
        let full = || Error::new(crate::error::Class::Runtime, format!("{remote}: no connection is free"));
        if self.len() >= self.limits.connections {
            return Err(full());
        }
        let key = self.free_port(local, remote).ok_or_else(full)?;
        let mut tcp = self.connection(now, remote.ip(), whom);
        if !stack.connect(&mut tcp, key.local.into(), remote) {
            return Err(Error::usage(format!("{remote}: not an address to connect to")));
        }
        let index = self.insert(Flow::new(now, key, tcp, (None, whom)), None);
        self.table.make_ready(index);
        Ok(ConnId { index, generation: self.generation })
    }

    fn connection(&self, now: Instant, remote: IpAddr, whom: Option<Station>) -> Connection {
        let mut tcp = Connection::new(&self.limits);
        if let Some(mtu) = whom.and_then(|whom| self.paths.of(now, remote, whom)) {
            tcp.narrow(mtu);
        }
        tcp
    }

    /// ICMP "too big" from the router `whom`: the segment is retransmitted in smaller ones. `false`: it is of no
    /// connection, or not of its last window.
    pub fn handle_too_big(&mut self, now: Instant, told: &TooBig<'_>, whom: Station) -> bool {
        let &[s0, s1, d0, d1, q0, q1, q2, q3, ..] = told.quote else { return false };
        let port = |bytes| u16::from_be_bytes(bytes);
        let key = FlowKey { local: (told.src, port([s0, s1])), remote: (told.dst, port([d0, d1])) };
        let Some(index) = self.table.find(&key) else { return false };
        let (seq, window) = (u32::from_be_bytes([q0, q1, q2, q3]), self.limits.window);
        let known = self.table.get_mut(index).is_some_and(|entry| entry.flow.narrow(seq, told.mtu, window));
        if known {
            self.paths.note(now, told.dst, whom, told.mtu);
        }
        known
    }

    fn free_port(&mut self, local: IpAddr, remote: SocketAddr) -> Option<FlowKey> {
        for _ in EPHEMERAL..=u16::MAX {
            let port = self.next_port;
            self.next_port = EPHEMERAL | port.wrapping_add(1);
            let key = FlowKey { local: (local, port), remote: (remote.ip(), remote.port()) };
            if self.table.find(&key).is_none() && !self.lingering.contains(&key) {
                return Some(key);
            }
        }
        None
    }

    /// Takes a segment. An immediate answer is in `tx` afterwards. The link has the neighbour table.
    pub fn handle_segment(
        &mut self,
        now: Instant,
        segment: Segment<'_>,
        link: &LinkLayer,
        (stack, tx): (&mut Stack, &mut Scratch),
    ) {
        let opens = segment.syn && !segment.ack && !segment.rst;
        if let Some(index) = self.table.find(&segment.key) {
            if self.is_its_own(index, &segment, link) {
                self.feed(now, index, segment, stack, tx);
            } else {
                self.counters.foreign += 1;
            }
        } else if opens {
            match self.admit(&segment.key, segment.whom.port()) {
                Admission::Accept(listener) => self.open(now, listener, segment, stack, tx),
                Admission::Refuse => stack.refuse(now, segment.packet, tx),
                Admission::Ignore => self.counters.backlogged += 1,
            }
        } else if !self.lingering.answer(&segment, tx) {
            stack.refuse(now, segment.packet, tx);
        }
    }

    /// Whether a segment comes from the peer's station: the one that has sent its segments so far, or the neighbour
    /// table's for its address or router. Nobody else can interfere, even by guessing sequence numbers.
    fn is_its_own(&mut self, index: u32, segment: &Segment<'_>, link: &LinkLayer) -> bool {
        let Some(Entry { flow, .. }) = self.table.get_mut(index).map(Box::as_mut) else { return false };
        let mac = segment.whom.mac;
        let known = flow.mac == Some(mac);
        let moved = !known && link.towards(segment.key.remote.0).is_some_and(|there| there.mac == mac);
        if moved {
            flow.mac = Some(mac);
        }
        known || moved
    }

    /// Whether a connection may be begun. The connections of one port of the switch are bounded, too, as a peer can
    /// forge addresses.
    fn admit(&mut self, key: &FlowKey, port: PortId) -> Admission {
        let Some(listener) = self.listeners.iter().find(|listener| listener.port == key.local.1) else {
            return Admission::Refuse;
        };
        let of_source = self.per_source.get(&key.remote.0).copied().unwrap_or(0);
        if !self.table.admits(port) || of_source >= self.limits.per_source {
            self.counters.refused += 1;
            Admission::Refuse
        } else if !listener.opening.admits(port, listener.backlog) {
            Admission::Ignore
        } else {
            Admission::Accept(listener.id)
        }
    }

    fn open(&mut self, now: Instant, id: ListenerId, segment: Segment<'_>, stack: &mut Stack, tx: &mut Scratch) {
        let mut tcp = self.connection(now, segment.key.remote.0, Some(segment.whom));
        let (addr, port) = segment.key.local;
        if tcp.socket_mut().listen(IpListenEndpoint { addr: Some(addr.into()), port }).is_err() {
            return;
        }
        self.lingering.forget(&segment.key);
        let index =
            self.insert(Flow::new(now, segment.key, tcp, (Some(id), Some(segment.whom))), Some(segment.whom.port()));
        if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id == id) {
            listener.opening.take(segment.whom.port());
        }
        self.feed(now, index, segment, stack, tx);
    }

    /// A handshake of a listener is over.
    fn shook_hands(&mut self, id: ListenerId, port: Option<PortId>) {
        let listener = self.listeners.iter_mut().find(|listener| listener.id == id);
        if let Some((listener, port)) = listener.zip(port) {
            listener.opening.give(port);
        }
    }

    fn insert(&mut self, flow: Flow, port: Option<PortId>) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        *self.per_source.entry(flow.key.remote.0).or_default() += 1;
        self.table.insert(Box::new(Entry { flow, generation: self.generation, port, telling: false, due: None }))
    }

    fn feed(&mut self, now: Instant, index: u32, segment: Segment<'_>, stack: &mut Stack, tx: &mut Scratch) {
        let cause = Cause::Segment { rst: segment.rst };
        self.watch(index, cause, |flow| {
            let before = flow.tcp.socket().recv_queue();
            stack.feed(now, &mut flow.tcp, segment.packet, tx);
            let new_data = flow.tcp.socket().recv_queue() > before;
            flow.heard(now, new_data);
        });
        self.table.make_ready(index);
    }

    /// Acts on a connection and notes the changes.
    fn watch<R>(&mut self, index: u32, cause: Cause, act: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        let Entry { flow, port, .. } = self.table.get_mut(index)?.as_mut();
        let port = *port;
        let (opening, ended) = (flow.is_opening(), flow.ended().is_some());
        let result = act(flow);
        flow.observe(cause);
        let (listener, tell) = (flow.listener, flow.has_pending());
        let opened = opening && !flow.is_opening();
        let accepted = opened && listener.is_some() && !flow.is_detached();
        let end = flow.ended().filter(|_| !ended);
        if let (true, Some(listener)) = (opened, listener) {
            self.shook_hands(listener, port);
        }
        self.counters.accepted += u64::from(accepted);
        self.counters.resets += u64::from(end == Some(CloseReason::Reset));
        self.counters.timeouts += u64::from(end == Some(CloseReason::TimedOut));
        if tell {
            self.tell(index);
        }
        Some(result)
    }

    fn tell(&mut self, index: u32) {
        if let Some(entry) = self.table.get_mut(index)
            && !std::mem::replace(&mut entry.telling, true)
        {
            self.events.push_back(index);
        }
    }

    /// Whether a connection waits for [`Self::egress`].
    pub fn is_ready(&self) -> bool {
        self.table.waiting() > 0
    }

    /// Whether a connection has events.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Takes the next connection with work.
    pub fn take_ready(&mut self) -> Option<u32> {
        self.table.next_ready()
    }

    /// Puts a connection that has more to do back to the end of the queue.
    pub fn put_back(&mut self, index: u32) {
        self.table.make_ready(index);
    }

    /// Writes the next segment of a connection into `tx`. `false`: it has none now; its next deadline is set, or it is
    /// gone.
    pub fn egress(&mut self, now: Instant, index: u32, stack: &mut Stack, tx: &mut Scratch) -> bool {
        let limits = self.limits;
        let sent = self.watch(index, Cause::Ourselves, |flow| {
            if flow.dead_at(&limits).is_some_and(|at| at <= now) {
                flow.give_up();
            }
            // A later time makes smoltcp's keep-alive, or its retransmission, due.
            let when = if flow.take_probe() { now + limits.keep_alive } else { now };
            let sent = stack.egress(when, &mut flow.tcp, tx);
            if sent {
                flow.sent(now, tx.packet());
            }
            sent
        });
        if sent == Some(false) {
            self.settle(now, index, stack);
        }
        sent == Some(true)
    }

    fn settle(&mut self, now: Instant, index: u32, stack: &mut Stack) {
        let limits = self.limits;
        let Some(entry) = self.table.get_mut(index) else { return };
        match entry.flow.fate() {
            Fate::Keep => {
                entry.due = earliest(stack.deadline(now, &entry.flow.tcp), entry.flow.dead_at(&limits));
                self.table.schedule(index);
            }
            Fate::Linger(last_ack) => {
                let key = entry.flow.key;
                self.remove(index);
                self.lingering.insert(now, key, last_ack);
            }
            Fate::Gone => self.remove(index),
        }
    }

    fn remove(&mut self, index: u32) {
        let Some(Entry { flow, port, .. }) = self.table.remove(index).map(|entry| *entry) else { return };
        if let Some(count) = self.per_source.get_mut(&flow.key.remote.0) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&flow.key.remote.0);
            }
        }
        if let (true, Some(listener)) = (flow.is_opening(), flow.listener) {
            self.shook_hands(listener, port);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.table.poll_timeout(), self.lingering.poll_timeout())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.lingering.handle_timeout(now);
        while let Some(index) = self.table.pop_due(now) {
            self.table.make_ready(index);
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            let index = *self.events.front()?;
            let (event, more) = self.table.get_mut(index).map_or((None, false), |entry| {
                let event = entry.flow.take_event(ConnId { index, generation: entry.generation });
                entry.telling = entry.flow.has_pending();
                (event, entry.telling)
            });
            if !more {
                self.events.pop_front();
            }
            if let Some(Event::Closed(..)) = event {
                self.table.make_ready(index);
            }
            if event.is_some() {
                return event;
            }
        }
    }

    /// The connection of that name, while its service may use it.
    pub fn get(&self, conn: ConnId) -> Option<&Flow> {
        let entry = self.table.get(conn.index).filter(|entry| entry.generation == conn.generation)?;
        Some(&entry.flow).filter(|flow| !flow.is_detached())
    }

    /// Acts on the connection of that name for its service, and notes the changes.
    pub fn with<R>(&mut self, conn: ConnId, act: impl FnOnce(&mut Flow) -> R) -> Option<R> {
        self.get(conn)?;
        let result = self.watch(conn.index, Cause::Ourselves, act);
        self.table.make_ready(conn.index);
        result
    }
}
