//! A host in user space: MAC, IP addresses, ARP, ND, ICMP echo and TCP, for any service that sits on a port.
//!
//! # Theory of operation
//! Ethernet, ARP, ND, MLD and echo are done here (`link`, `icmp`); TCP is smoltcp's, with one socket set for each
//! connection (`stack`, `flows`). [`Endpoint::handle_frame`] takes one frame and does what that frame asks for;
//! immediate answers wait in an outbox. [`Endpoint::poll_transmit`] sends the outbox and then segments of the
//! connections that have work, a few of each in turn, up to the caller's budget. So one call does a bounded amount of
//! work, whatever comes in, and nothing is allocated for a frame in steady state.
//!
//! A peer can end its own connection, and do no other harm: limits bound connections, neighbours and waiting packets,
//! and each frame that is not used is counted in [`Stats`].
//!
//! The caller's loop: `handle_frame` for what came, the service's work on [`Endpoint::poll_event`], `poll_transmit` as
//! far as there is room for frames, then sleep until [`Endpoint::poll_timeout`] or the next frame.
//!
//! A smaller MTU on the path is learned from the router that tells of it ([`super::path_mtu`]).
//!
//! Not done: reassembly of fragments, duplicate address detection, and router discovery.

mod addresses;
mod config;
mod event;
mod fill;
mod flow;
mod flows;
mod icmp;
mod ip;
pub(crate) mod ip_adapter;
mod linger;
mod link;
mod nd;
mod neighbour;
mod scratch;
mod stack;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use self::addresses::Addresses;
pub use self::addresses::{group_mac, link_local};
pub use self::config::{DEFAULT_MTU, EndpointConfig, Limits, MAX_ADDRS, MAX_WINDOW, MIN_MTU};
pub use self::event::{CloseReason, ConnId, Event, ListenerId, Stats};
use self::flow::FlowKey;
use self::flows::{Flows, Segment};
use self::icmp::{Echo, Pings};
use self::link::LinkLayer;
use self::neighbour::Neighbours;
use self::scratch::Scratch;
use self::stack::Stack;
use crate::error::{Class, Error, Result};
use crate::service::path_mtu::TooBig;
use crate::service::station::{Ingress, Station};
use crate::time::{Instant, earliest};
use crate::wire::{Ethernet, Mac, arp};

/// Segments that one connection may send before the next one has its turn.
const TURN: usize = 16;
/// Echo replies that wait to be told.
const REPLIES: usize = 256;

/// See the module.
pub struct Endpoint {
    now: Instant,
    /// The ingress of the frame being handled.
    ingress: Ingress,
    mtu: usize,
    link: LinkLayer,
    stack: Stack,
    flows: Flows,
    pings: Pings,
    replies: VecDeque<Event>,
    scratch: Scratch,
    stats: Stats,
}

impl Endpoint {
    /// An endpoint that has not sent anything yet; it announces itself when it is first polled.
    ///
    /// # Errors
    /// Class usage: addresses, gateways, an MTU or limits that cannot work.
    pub fn new(config: &EndpointConfig) -> Result<Self> {
        config.check()?;
        let neighbours = Neighbours::new(config.limits.neighbours, config.seed);
        Ok(Self {
            now: Instant::ZERO,
            ingress: Ingress::ONLY,
            mtu: config.mtu.into(),
            link: LinkLayer::new(Addresses::new(config), neighbours),
            stack: Stack::new(config),
            flows: Flows::new(config.limits, config.seed),
            pings: Pings::default(),
            replies: VecDeque::new(),
            scratch: Scratch::new(config.mtu),
            stats: Stats::default(),
        })
    }

    /// Its MAC address.
    pub fn mac(&self) -> Mac {
        self.link.addresses.mac
    }

    /// Its addresses, the link-local one included.
    pub fn addrs(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.link.addresses.iter()
    }

    /// Counters since it was made.
    pub fn stats(&self) -> Stats {
        let (link, tcp) = (&self.link, &self.flows.counters);
        Stats {
            dropped: link.outbox.dropped + link.neighbours.dropped,
            no_route: link.no_route,
            conflicts: link.conflicts,
            accepted: tcp.accepted,
            refused: tcp.refused,
            backlogged: tcp.backlogged,
            resets: tcp.resets,
            timeouts: tcp.timeouts,
            foreign: tcp.foreign,
            ..self.stats
        }
    }

    /// TCP connections that there are now, in whatever state.
    pub fn connections(&self) -> usize {
        self.flows.len()
    }

    /// The MAC of a neighbour. `None`: it is being asked for.
    pub fn neighbour(&mut self, now: Instant, addr: IpAddr) -> Option<Mac> {
        self.link.neighbours.resolve(now, addr)
    }

    /// The station that has an address, if the neighbour table knows it; no ARP or ND is sent.
    pub fn station(&self, addr: IpAddr) -> Option<Station> {
        self.link.neighbours.station(addr)
    }

    /// A packet claims that `addr` is at `station`. The claim is taken if nobody has the address; else the holder is
    /// asked first.
    pub fn meet(&mut self, now: Instant, addr: IpAddr, station: Station) {
        self.link.learn(now, addr, station, true, true);
    }

    /// Broadcasts an ARP request for `addr`, known or not. The answer comes as any frame does.
    pub fn ask(&mut self, addr: Ipv4Addr) {
        let probe = neighbour::Probe { addr: addr.into(), mac: None };
        self.link.ask(self.now, probe, &mut self.scratch);
    }

    /// Repeats ARP or ND for `addr`, or its gateway, at once, if it is unanswered so far; returns whether it is. For
    /// callers that wait for a host about to start; others leave the pace to the neighbour table (RFC 1122, 2.3.2.1).
    pub fn look_again(&mut self, addr: IpAddr) -> bool {
        let hop = self.link.addresses.next_hop(addr).filter(|hop| self.link.neighbours.is_sought(*hop));
        if let Some(hop) = hop {
            self.link.ask(self.now, neighbour::Probe { addr: hop, mac: None }, &mut self.scratch);
        }
        hop.is_some()
    }

    /// Takes an Ethernet frame without FCS, at most the MTU and its header long. One of a VLAN is not for an endpoint; a
    /// tag with a priority alone is none (IEEE 802.1Q-2022, 6.9).
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        self.handle_frame_from(now, Ingress::ONLY, frame);
    }

    /// The same behind a switch, which the frame entered by `ingress`.
    pub fn handle_frame_from(&mut self, now: Instant, ingress: Ingress, frame: &[u8]) {
        (self.now, self.ingress) = (now, ingress);
        self.stats.frames_in += 1;
        self.stats.bytes_in += frame.len() as u64;
        let Ok(view) = Ethernet::new(frame) else {
            self.stats.malformed += 1;
            return;
        };
        let (dst, src, payload) = (view.destination(), view.source(), view.payload());
        if src == self.mac() || src.is_group() || !self.link.addresses.hears(dst) || !view.is_untagged() {
            self.stats.ignored += 1;
            return;
        }
        match view.ether_type().0 {
            arp::ETHERTYPE => {
                if !self.link.handle_arp(now, (payload, ingress), &mut self.scratch) {
                    self.stats.malformed += 1;
                }
            }
            ethertype @ (ip::ETHERTYPE_IPV4 | ip::ETHERTYPE_IPV6) => match ip::parse(ethertype, payload) {
                Ok(packet) if packet.whole.len() <= self.mtu => self.handle_ip(now, (src, dst), packet),
                _ => self.stats.malformed += 1,
            },
            _ => self.stats.ignored += 1,
        }
    }

    fn handle_ip(&mut self, now: Instant, (src, dst): (Mac, Mac), packet: ip::Packet<'_>) {
        if packet.fragment.is_some() {
            // An endpoint reassembles none.
            self.stats.fragments += 1;
            return;
        }
        let ours = self.link.addresses.owns(packet.dst);
        let group = matches!(packet.dst, IpAddr::V6(dst) if self.link.addresses.groups().any(|group| group == dst));
        let plausible = self.link.addresses.plausible_source(packet.src);
        let probe = packet.protocol == ip::ICMPV6 && packet.src.is_unspecified();
        if !(plausible || probe) {
            self.stats.malformed += 1;
            return;
        }
        if ours && plausible {
            let station = Station { mac: src, ingress: self.ingress };
            self.link.neighbours.confirm(now, packet.src, station);
            self.link.neighbours.dispute(now, packet.src, station);
        }
        match packet.protocol {
            ip::TCP if ours && plausible && dst == self.mac() => self.handle_tcp(now, src, &packet),
            ip::ICMPV4 if ours && packet.dst.is_ipv4() => self.handle_icmp(now, src, &packet),
            ip::ICMPV6 if (ours || group) && packet.dst.is_ipv6() => self.handle_icmp(now, src, &packet),
            _ => self.stats.ignored += 1,
        }
    }

    fn handle_tcp(&mut self, now: Instant, src: Mac, packet: &ip::Packet<'_>) {
        let Some((&[s0, s1, d0, d1, _, _, _, _, _, _, _, _, _, flags], _)) = packet.payload.split_first_chunk::<14>()
        else {
            self.stats.malformed += 1;
            return;
        };
        let key = FlowKey {
            local: (packet.dst, u16::from_be_bytes([d0, d1])),
            remote: (packet.src, u16::from_be_bytes([s0, s1])),
        };
        let (syn, rst, ack) = (flags & 0x02 != 0, flags & 0x04 != 0, flags & 0x10 != 0);
        let segment =
            Segment { key, syn, ack, rst, whom: Station { mac: src, ingress: self.ingress }, packet: packet.whole };
        self.flows.handle_segment(now, segment, &self.link, (&mut self.stack, &mut self.scratch));
        self.link.send(now, &mut self.scratch);
    }

    fn handle_icmp(&mut self, now: Instant, src: Mac, packet: &ip::Packet<'_>) {
        if !icmp::checksum_fits(packet) {
            self.stats.malformed += 1;
            return;
        }
        match (packet.protocol, packet.payload.first()) {
            (ip::ICMPV6, Some(&(nd::SOLICITATION | nd::ADVERTISEMENT))) => {
                if !self.link.handle_nd(now, (packet, self.ingress), &mut self.scratch) {
                    self.stats.malformed += 1;
                }
            }
            (ip::ICMPV6, Some(&nd::MLD_QUERY)) if packet.hop_limit == 1 => self.link.handle_mld_query(now),
            _ if packet.src.is_unspecified() => self.stats.ignored += 1,
            _ => match TooBig::read(packet).filter(|told| told.protocol == ip::TCP) {
                Some(told) => {
                    let whom = Station { mac: src, ingress: self.ingress };
                    let there = self.link.towards(told.dst);
                    let known = there.is_some_and(|there| whom.is_on_the_way_to(&there))
                        && self.flows.handle_too_big(now, &told, whom);
                    self.stats.ignored += u64::from(!known);
                }
                None => self.handle_echo(now, packet),
            },
        }
    }

    fn handle_echo(&mut self, now: Instant, packet: &ip::Packet<'_>) {
        match icmp::parse(packet) {
            Some(Echo::Request { message }) => {
                let own = if packet.dst.is_multicast() {
                    self.link.addresses.source_for(packet.src)
                } else {
                    Some(packet.dst)
                };
                if let Some(own) = own {
                    icmp::reply(&mut self.scratch, own, packet.src, message);
                    self.link.send(now, &mut self.scratch);
                }
            }
            Some(Echo::Reply { ident, seq, len }) => {
                let from = packet.src;
                if let Some(rtt) = self.pings.answered(now, from, ident, seq)
                    && self.replies.len() < REPLIES
                {
                    self.replies.push_back(Event::EchoReply { from, ident, seq, len, rtt });
                }
            }
            None => self.stats.ignored += 1,
        }
    }

    /// Gives up to `budget` frames to `out`, and returns how many. More wait while [`Self::poll_timeout`] is not after
    /// `now`.
    pub fn poll_transmit(&mut self, now: Instant, budget: usize, out: &mut impl FnMut(&[u8])) -> usize {
        self.handle_timeout(now);
        let stats = &mut self.stats;
        let mut out = |frame: &[u8]| {
            stats.frames_out += 1;
            stats.bytes_out += frame.len() as u64;
            out(frame);
        };
        let mut given = self.link.outbox.drain(budget, &mut out);
        // Segments that wait for their neighbour's MAC are work, too, but not sent.
        let mut left = budget - given;
        while left > 0 {
            let Some(index) = self.flows.take_ready() else { break };
            let turn = left.min(TURN);
            for done in 1..=turn {
                if !self.flows.egress(now, index, &mut self.stack, &mut self.scratch) {
                    break;
                }
                left -= 1;
                if self.link.seal(now, &mut self.scratch) {
                    out(self.scratch.frame());
                    given += 1;
                }
                if done == turn {
                    self.flows.put_back(index);
                }
            }
        }
        self.scratch.clear();
        self.link.handle_timeout(now, &mut self.scratch);
        given + self.link.outbox.drain(left, &mut out)
    }

    /// When [`Self::poll_transmit`] is to be called next. In the past: at once; so it is while an event waits, as
    /// sending may find further ones.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let frames = !self.link.outbox.is_empty() || self.flows.is_ready();
        if frames || self.flows.has_events() || !self.replies.is_empty() {
            return Some(self.now);
        }
        earliest(self.link.poll_timeout(), self.flows.poll_timeout())
    }

    /// Does what is due at `now`; frames of it are for [`Self::poll_transmit`], which calls this itself.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.link.handle_timeout(now, &mut self.scratch);
        self.flows.handle_timeout(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.flows.poll_event().or_else(|| self.replies.pop_front())
    }

    /// Lets peers connect to `port` of every address. Of connections whose handshake is under way, `backlog` at most are
    /// held; the peer of one more asks again a second later.
    ///
    /// # Errors
    /// Class usage: a port that is 0 or taken, or a backlog of 0.
    pub fn listen(&mut self, port: u16, backlog: usize) -> Result<ListenerId> {
        self.flows.listen(port, backlog)
    }

    /// Ends a listener. Its connections stay.
    pub fn unlisten(&mut self, listener: ListenerId) {
        self.flows.unlisten(listener);
    }

    /// Opens a connection; [`Event::Connected`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    /// Where there is no route, the address is not one to connect to, or all connections are in use.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnId> {
        let local = self.source_towards(remote.ip())?;
        self.now = now;
        let whom = self.link.towards(remote.ip());
        self.flows.connect(now, local, (remote, whom), &mut self.stack)
    }

    fn source_towards(&self, addr: IpAddr) -> Result<IpAddr> {
        let addresses = &self.link.addresses;
        if !addresses.plausible_source(addr) {
            return Err(Error::usage(format!("{addr}: not an address of another host")));
        }
        let source = addresses.next_hop(addr).and_then(|_| addresses.source_for(addr));
        source.ok_or_else(|| {
            let error = Error::new(Class::Runtime, format!("{addr}: no route"));
            error.hint("give the endpoint an address in that network, or a gateway")
        })
    }

    /// Lets `read` see the data that has arrived, as far as it is contiguous; `read` returns how much of it is done
    /// with. Returns that; 0 where there is nothing to read. Call it again until then: a ring buffer has two parts.
    pub fn recv(&mut self, conn: ConnId, read: impl FnOnce(&[u8]) -> usize) -> usize {
        let take = |data: &mut [u8]| {
            let taken = read(data).min(data.len());
            (taken, taken)
        };
        let receive = |flow: &mut flow::Flow| match flow.tcp.socket().can_recv() {
            true => flow.tcp.socket_mut().recv(take).unwrap_or(0),
            false => 0,
        };
        self.flows.with(conn, receive).unwrap_or(0)
    }

    /// Bytes that can be read.
    pub fn recv_len(&self, conn: ConnId) -> usize {
        self.flows.get(conn).map_or(0, |flow| flow.tcp.socket().recv_queue())
    }

    /// Queues as much of `data` as there is room for, and returns how much. After less than all, an
    /// [`Event::Writable`] follows.
    pub fn send(&mut self, conn: ConnId, data: &[u8]) -> usize {
        let queue = |flow: &mut flow::Flow| {
            let queued = flow.tcp.socket_mut().send_slice(data).unwrap_or(0);
            if queued < data.len() {
                flow.wants_space();
            }
            queued
        };
        self.flows.with(conn, queue).unwrap_or(0)
    }

    /// Lets `write` fill the send buffer itself, as far as it is contiguous; `write` returns how much it wrote, and
    /// so does this. When the buffer is full afterwards, an [`Event::Writable`] follows.
    pub fn send_with(&mut self, conn: ConnId, write: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let fill = |room: &mut [u8]| {
            let written = write(room).min(room.len());
            (written, written)
        };
        let queue = |flow: &mut flow::Flow| {
            let queued = flow.tcp.socket_mut().send(fill).unwrap_or(0);
            if flow.tcp.socket().send_queue() == flow.tcp.socket().send_capacity() {
                flow.wants_space();
            }
            queued
        };
        self.flows.with(conn, queue).unwrap_or(0)
    }

    /// Bytes that [`Self::send`] would take now.
    pub fn send_capacity(&self, conn: ConnId) -> usize {
        self.flows.get(conn).map(|flow| flow.tcp.socket()).map_or(0, |socket| match socket.may_send() {
            true => socket.send_capacity() - socket.send_queue(),
            false => 0,
        })
    }

    /// Bytes that were sent and not yet acknowledged, or still wait to be.
    pub fn send_queue(&self, conn: ConnId) -> usize {
        self.flows.get(conn).map_or(0, |flow| flow.tcp.socket().send_queue())
    }

    /// The peer of a connection.
    pub fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.flows.get(conn).map(flow::Flow::peer)
    }

    /// Sends a keep-alive probe now, and not only when the connection has been idle. A peer that has forgotten the
    /// connection answers with a RST.
    pub fn probe(&mut self, conn: ConnId) {
        self.flows.with(conn, flow::Flow::probe);
    }

    /// When the last segment of a connection came.
    pub fn heard(&self, conn: ConnId) -> Option<Instant> {
        self.flows.get(conn).map(flow::Flow::last_heard)
    }

    /// Sends a FIN after the data that is queued. Receiving goes on. A connection that does not stand yet is aborted.
    pub fn shutdown(&mut self, conn: ConnId) {
        self.flows.with(conn, |flow| match flow.is_opening() {
            true => flow.abort(),
            false => flow.tcp.socket_mut().close(),
        });
    }

    /// Sends a RST and forgets the connection: its name is void at once, and no event of it follows.
    pub fn abort(&mut self, conn: ConnId) {
        self.flows.with(conn, flow::Flow::abort);
    }

    /// Sends an echo request with `data`; the answer is an [`Event::EchoReply`].
    ///
    /// # Errors
    /// Where there is no route, or the data does not fit into one packet.
    pub fn ping(&mut self, now: Instant, addr: IpAddr, ident: u16, seq: u16, data: &[u8]) -> Result<()> {
        let source = self.source_towards(addr)?;
        if icmp::overhead(addr) + data.len() > self.mtu {
            return Err(Error::usage(format!("{} bytes of ping data: more than one packet", data.len())));
        }
        self.now = now;
        icmp::request(&mut self.scratch, source, addr, ident, seq, data);
        self.pings.asked(now, addr, ident, seq);
        self.link.send(now, &mut self.scratch);
        Ok(())
    }
}
