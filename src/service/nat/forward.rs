//! Forwards: addresses of the host that lead to guests.
//!
//! # Theory of operation
//! Clients are accepted when the guest's MAC is known: until then they wait in the host's backlog while ARP or ND asks
//! for it. If the guest does not answer they are turned away. A connection comes to the guest from the gateway's
//! address and a port of its own, for TCP and UDP alike, so a guest needs no route to answer it.

use super::datagram::{is_passing, send_udp};
use super::packet::{Packet, TCP, UDP};
use super::tcp::Tcp;
use super::wire::{Cx, Way, Wire, has_room};
use crate::config::{Forward, Protocol};
use crate::frame::Batch;
use crate::limits::NAT_DATAGRAM_FLOWS;
use crate::service::detail::{Details, FlowDetail};
use crate::service::endpoint::Endpoint;
use crate::service::lan::tftp;
use crate::service::outside::{Outside, SocketId};
use crate::service::station::Station;
use crate::time::{Duration, Instant, earliest};
use crate::wire::Mac;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// How long a guest may take to answer ARP or ND.
const SEARCH: Duration = Duration::from_secs(3);
/// A client of a UDP forward is forgotten after this long without a datagram (RFC 4787, REQ-5).
const IDLE: Duration = Duration::from_secs(180);
/// How long a host that could not take a client is left in peace.
const RETRY: Duration = Duration::from_secs(1);
/// Clients, or datagrams, of one turn.
const TURN: usize = 32;
/// Ports that the gateway speaks from: the dynamic ones (RFC 6335, 6) but for those of its TFTP server, which is asked
/// first what a datagram is.
const PORTS: Range<u16> = 49_152..*tftp::PORTS.start();
/// Ports that are tried before a client is turned away.
const TRIES: usize = 64;

struct Listener {
    socket: SocketId,
    forward: Forward,
    /// Clients may be waiting.
    readable: bool,
    /// Since when the guest is being asked for.
    searching: Option<Instant>,
    /// The host had no descriptors: when to accept again, as no event tells that some are free.
    retry: Option<Instant>,
}

/// A client of a UDP forward: the host's socket, the client's address, and the host's address that it sent to, where
/// there are several. It is answered from there.
type Key = (SocketId, SocketAddr, Option<IpAddr>);

/// A client of a UDP forward.
struct Client {
    guest: SocketAddr,
    /// The guest's MAC; only it may answer.
    mac: Mac,
    port: u16,
    begun: Instant,
    active: Instant,
    /// Bytes of the guest, and bytes for it.
    carried: (u64, u64),
}

/// See the module.
pub(super) struct Forwards {
    listeners: Vec<Listener>,
    clients: HashMap<Key, Client, FixedState>,
    /// The client behind a guest's address and the gateway's port.
    ports: HashMap<(SocketAddr, u16), Key, FixedState>,
    next: u16,
    /// When clients are looked through for those that rest.
    sweep: Option<Instant>,
    buffer: Vec<u8>,
    number: u32,
}

impl Forwards {
    pub fn new(seed: u64) -> Self {
        Self {
            listeners: Vec::new(),
            clients: HashMap::with_hasher(FixedState::with_seed(seed)),
            ports: HashMap::with_hasher(FixedState::with_seed(seed)),
            next: PORTS.start,
            sweep: None,
            buffer: Vec::new(),
            number: seed as u32,
        }
    }

    /// Forwards connections or datagrams of `socket` to a guest.
    pub fn add(&mut self, socket: SocketId, forward: Forward) {
        self.listeners.push(Listener { socket, forward, readable: false, searching: None, retry: None });
        self.buffer.resize(usize::from(u16::MAX), 0);
    }

    /// The forward of a host's address, if there is one.
    pub fn find(&self, protocol: Protocol, listen: SocketAddr) -> Option<Forward> {
        let is_it = |it: &&Forward| it.protocol == protocol && it.listen == listen;
        self.listeners.iter().map(|listener| &listener.forward).find(is_it).copied()
    }

    /// Ends the forward of a host's address. Its connections go on; datagrams of its clients have nowhere to go. Gives its
    /// socket, which is to be closed; `None`: there is none.
    pub fn remove(&mut self, protocol: Protocol, listen: SocketAddr) -> Option<SocketId> {
        let is_it = |it: &Listener| it.forward.protocol == protocol && it.forward.listen == listen;
        let place = self.listeners.iter().position(is_it)?;
        let socket = self.listeners.swap_remove(place).socket;
        self.clients.retain(|(of, ..), _| *of != socket);
        self.ports.retain(|_, (of, ..)| *of != socket);
        Some(socket)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.listeners.len()
    }

    /// Clients of UDP forwards.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Puts the forwards and the clients of those for UDP into `details`.
    pub fn details(&self, now: Instant, details: &mut Details) {
        let waits = |Listener { forward, .. }: &Listener| FlowDetail {
            protocol: match forward.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            },
            inward: true,
            guest: forward.guest,
            mac: None,
            remote: Some(forward.listen),
            others: 0,
            state: "listening",
            up: 0,
            down: 0,
            round_trip: None,
            resent: 0,
            age: Duration::ZERO,
            idle: Duration::ZERO,
        };
        let client = |((_, addr, _), client): (&Key, &Client)| FlowDetail {
            protocol: "udp",
            inward: true,
            guest: client.guest,
            mac: Some(client.mac),
            remote: Some(*addr),
            others: 0,
            state: "open",
            up: client.carried.0,
            down: client.carried.1,
            round_trip: None,
            resent: 0,
            age: now - client.begun,
            idle: now - client.active,
        };
        details.flows.extend(self.listeners.iter().map(waits));
        details.flows.extend(self.clients.iter().map(client));
    }

    /// A socket has changed. `false`: it is none of these.
    pub fn handle_event(&mut self, socket: SocketId) -> bool {
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.socket == socket) else { return false };
        listener.readable = true;
        true
    }

    /// Whether clients are waiting for something other than their guest.
    pub fn is_ready(&self) -> bool {
        let waits = |listener: &Listener| listener.searching.is_some() || listener.retry.is_some();
        self.listeners.iter().any(|listener| listener.readable && !waits(listener))
    }

    /// The guest behind the forward whose host address is the packet's destination.
    pub fn behind(&self, packet: &Packet<'_>, wire: &Wire, host: &mut dyn Outside) -> Option<IpAddr> {
        let protocol = match packet.protocol {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            _ => return None,
        };
        let port = u16::from_be_bytes(*packet.payload.get(2..)?.first_chunk()?);
        let Way::Out(addr) = wire.way(packet.dst) else { return None };
        let leads = |forward: &Forward, host: &mut dyn Outside| {
            let listen = forward.listen;
            let same = listen.ip() == addr || listen.ip().is_unspecified() && host.is_own(addr);
            forward.protocol == protocol && listen.port() == port && same
        };
        self.listeners.iter().find(|it| leads(&it.forward, host)).map(|it| it.forward.guest.ip())
    }

    /// A datagram of the guest at `mac` to one of the gateway's ports. `false`: no client is behind it.
    pub fn handle(&mut self, cx: &mut Cx, mac: Mac, packet: &Packet<'_>) -> bool {
        let Some((&[f0, f1, t0, t1, l0, l1, _, _], data)) = packet.payload.split_first_chunk::<8>() else {
            return false;
        };
        let guest = SocketAddr::new(packet.src, u16::from_be_bytes([f0, f1]));
        let Some(key) = self.ports.get(&(guest, u16::from_be_bytes([t0, t1]))) else { return false };
        let length = usize::from(u16::from_be_bytes([l0, l1])).saturating_sub(8).min(data.len());
        let &(listener, addr, at) = key;
        if let Some(client) = self.clients.get_mut(key) {
            if client.mac != mac {
                cx.wire.stats.foreign += 1;
                return true;
            }
            client.active = cx.now;
            client.carried.0 += length as u64;
            if cx.host.send_from(listener, &data[..length], addr, at).is_err() {
                cx.wire.stats.host += 1;
            }
        }
        true
    }

    /// Takes clients whose guest is known, a bounded number.
    pub fn work(&mut self, cx: &mut Cx, endpoint: &mut Endpoint, tcp: &mut Tcp, out: &mut Batch) {
        for index in 0..self.listeners.len() {
            let listener = &mut self.listeners[index];
            if !listener.readable || listener.retry.is_some_and(|at| cx.now < at) {
                continue;
            }
            listener.retry = None;
            let guest = listener.forward.guest.ip();
            let whom = endpoint.neighbour(cx.now, guest).and_then(|_| endpoint.station(guest));
            let since = *listener.searching.get_or_insert(cx.now);
            if whom.is_some() {
                listener.searching = None;
            } else if cx.now - since < SEARCH {
                continue;
            } else {
                listener.searching = None;
            }
            match listener.forward.protocol {
                Protocol::Tcp => self.accept(cx, index, whom, tcp),
                Protocol::Udp => self.receive(cx, index, whom, out),
            }
        }
    }

    fn next_port(&mut self) -> u16 {
        let port = self.next;
        self.next = if port + 1 < PORTS.end { port + 1 } else { PORTS.start };
        port
    }

    fn accept(&mut self, cx: &mut Cx, index: usize, whom: Option<Station>, tcp: &mut Tcp) {
        let Some(gateway) = cx.wire.gateway(self.listeners[index].forward.guest.ip()) else { return };
        for _ in 0..TURN {
            let listener = &mut self.listeners[index];
            let guest = listener.forward.guest;
            let (socket, client) = match cx.host.accept(listener.socket) {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    listener.readable = false;
                    return;
                }
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(_) => {
                    listener.retry = Some(cx.now + RETRY);
                    cx.wire.stats.host += 1;
                    return;
                }
            };
            let opened = whom.filter(|whom| tcp.finds_room(cx, *whom)).is_some_and(|whom| {
                (0..TRIES).any(|_| {
                    let remote = SocketAddr::new(gateway, self.next_port());
                    tcp.open(cx.now, (guest, whom), (remote, client), socket, cx.wire)
                })
            });
            if !opened {
                cx.host.close(socket, true);
            }
        }
    }

    fn receive(&mut self, cx: &mut Cx, index: usize, whom: Option<Station>, out: &mut Batch) {
        let (socket, guest) = (self.listeners[index].socket, self.listeners[index].forward.guest);
        let Some(gateway) = cx.wire.gateway(guest.ip()) else { return };
        for _ in 0..TURN {
            if !has_room(out) {
                return;
            }
            let (length, from, at) = match cx.host.recv_at(socket, &mut self.buffer) {
                Ok(found) => found,
                Err(error) if is_passing(error.kind()) => continue,
                Err(_) => {
                    self.listeners[index].readable = false;
                    return;
                }
            };
            let Some(whom) = whom else { continue };
            let Some(port) = self.port_of(cx.now, (socket, from, at), (guest, whom.mac, length), cx.wire) else {
                cx.wire.stats.flows += 1;
                continue;
            };
            self.number = self.number.wrapping_add(1);
            let bytes = self.buffer.get(..length).unwrap_or_default();
            send_udp(cx.wire, whom, (SocketAddr::new(gateway, port), guest), bytes, self.number, out);
        }
    }

    /// The gateway's port that stands for a client, which has sent `length` bytes.
    fn port_of(
        &mut self,
        now: Instant,
        key: Key,
        (guest, mac, length): (SocketAddr, Mac, usize),
        wire: &mut Wire,
    ) -> Option<u16> {
        if let Some(client) = self.clients.get_mut(&key) {
            (client.active, client.mac) = (now, mac);
            client.carried.1 += length as u64;
            return Some(client.port);
        }
        if self.clients.len() >= NAT_DATAGRAM_FLOWS {
            wire.stats.flows += 1;
            self.evict();
        }
        let port = (0..TRIES).find_map(|_| {
            let port = self.next_port();
            (!self.ports.contains_key(&(guest, port))).then_some(port)
        })?;
        wire.stats.udp += 1;
        self.clients.insert(key, Client { guest, mac, port, begun: now, active: now, carried: (0, length as u64) });
        self.ports.insert((guest, port), key);
        self.sweep.get_or_insert(now + IDLE);
        Some(port)
    }

    /// Forgets the client that rests longest.
    fn evict(&mut self) {
        let oldest = self.clients.iter().min_by_key(|(_, client)| client.active).map(|(key, _)| *key);
        if let Some(client) = oldest.and_then(|key| self.clients.remove(&key)) {
            self.ports.remove(&(client.guest, client.port));
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let searching = self.listeners.iter().filter_map(|listener| listener.searching).min();
        let retry = self.listeners.iter().filter_map(|listener| listener.retry).min();
        earliest(earliest(searching.map(|since| since + SEARCH), retry), self.sweep)
    }

    /// Forgets clients that have rested too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.sweep.is_none_or(|at| at > now) {
            return;
        }
        let ports = &mut self.ports;
        self.clients.retain(|_, client| {
            let keep = now - client.active < IDLE;
            if !keep {
                ports.remove(&(client.guest, client.port));
            }
            keep
        });
        self.sweep = (!self.clients.is_empty()).then(|| now + IDLE);
    }
}

#[cfg(test)]
mod tests;
