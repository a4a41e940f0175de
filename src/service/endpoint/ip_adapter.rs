//! A small IP-to-Ethernet adapter: makes a peer that speaks bare IP packets a host of an Ethernet.
//!
//! ```text
//! Ethernet frames ─ packets, handle_frame ┐                     ┌── IP packets to the peer
//!                                        ├─ MAC, neighbours, mtu ┤
//! Ethernet frames ─ poll_transmit ───────┘                      └── handle_packet ─ IP packets from it
//! ```
//!
//! Theory of operation. The adapter has a MAC address and no IP address: it uses those of its peer, which are given, or
//! learned from the source of the peer's packets (64 at most; a new one replaces the oldest). It answers ARP and
//! neighbour discovery for them with its MAC. The peer's packets go to the MAC of their next hop: multicast and
//! broadcast MACs are fixed; an address of the peer's networks is resolved itself; any other goes by the gateway, or,
//! without one, is resolved itself too. Packets wait for ARP or ND in the neighbour table, bounded.
//!
//! A packet over the peer's MTU is fragmented, if it may be (RFC 791); any other is dropped, and its sender gets an
//! ICMP "too big" (RFC 1191; RFC 8201). An IPv6 packet of 1280 bytes always passes, because IPv6 has no smaller path
//! MTU (RFC 8200, section 5).
//!
//! Neighbour discovery stays on the Ethernet: the line has no link-layer addresses, and stacks have failed over one
//! (RIOT, with an assertion). The adapter handles neighbour solicitations and advertisements itself; redirects name a
//! station of a link that the peer is not on, and multicast reports are for routers and snooping switches: both are
//! dropped. Two messages still reach the peer, as over a point-to-point link: a router solicitation, as it may be a
//! router; and a router advertisement, from which a host takes its prefix, unless its IPv6 addresses are given: the
//! adapter would not answer for another one. Both pass without their options of the link: its addresses and its MTU.

mod line;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::{ALL_NODES, group_mac, solicited_node};
use super::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV4, ICMPV6, Packet, start};
use super::neighbour::{Neighbours, Probe};
use super::scratch::{Outbox, Scratch};
use super::{icmp, nd};
use crate::counters::DropReason;
use crate::service::allowance::{Allowance, ICMP_ERRORS};
use crate::service::station::{Ingress, Station};
use crate::time::Instant;
use crate::wire::headers::finish_icmp;
use crate::wire::{Cidr, Ethernet, Mac, arp};

/// Addresses that are learned at most: those of a border router's nodes, for example.
const LEARNED: usize = 64;
/// Neighbours that are remembered at most.
const NEIGHBOURS: usize = 256;
/// The least MTU of an IPv6 link (RFC 8200, section 5).
const IPV6_MTU: usize = 1280;
/// ICMPv6 neighbour solicitation and advertisement, and the redirect.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Multicast listener reports, and done (RFC 2710; RFC 3810).
const LISTENERS: [u8; 3] = [131, 132, 143];
/// Destinations of IGMPv3 and MLDv2 reports, which only a router could use.
const REPORTS: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(224, 0, 0, 22), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16));

/// The settings of an adapter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterConfig {
    /// The peer's MAC on the Ethernet.
    pub mac: Mac,
    /// The peer's addresses and their networks. Those of a family that has none here are learned.
    pub addrs: Vec<Cidr>,
    /// Next hops for all other networks, one a family at most.
    pub gateways: Vec<IpAddr>,
    /// The longest packet for the peer, in bytes.
    pub mtu: usize,
}

/// A malformed IP packet: its lengths or its header checksum are wrong, as after bytes were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a whole IP packet")]
pub struct BadPacket;

/// See the module.
pub struct IpAdapter {
    config: AdapterConfig,
    learned: VecDeque<IpAddr>,
    neighbours: Neighbours,
    /// Packets dropped by the neighbour table that were already reported.
    told: u64,
    telling: Allowance,
    outbox: Outbox,
    scratch: Scratch,
    /// Buffer for fragments, and rewritten messages, to the peer.
    made: Vec<u8>,
}

impl IpAdapter {
    /// An adapter whose peer has sent nothing so far. `seed` is for the hash of its neighbour table.
    pub fn new(config: AdapterConfig, seed: u64) -> Self {
        let scratch = Scratch::new(1500);
        let neighbours = Neighbours::new(NEIGHBOURS, seed);
        Self {
            config,
            learned: VecDeque::new(),
            neighbours,
            told: 0,
            telling: ICMP_ERRORS,
            outbox: Outbox::default(),
            scratch,
            made: Vec::new(),
        }
    }

    /// The MAC by which the peer is known.
    pub fn mac(&self) -> Mac {
        self.config.mac
    }

    /// The addresses by which the peer is known: given ones, then learned ones.
    pub fn peer_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.config.addrs.iter().map(|cidr| cidr.addr).chain(self.learned.iter().copied())
    }

    /// Forgets what was learned: another peer may come.
    pub fn forget_peer(&mut self) {
        self.learned.clear();
    }

    fn is_peer(&self, addr: IpAddr) -> bool {
        self.peer_addresses().any(|known| known == addr)
    }

    fn limit(&self, addr: IpAddr) -> usize {
        if addr.is_ipv6() { self.config.mtu.max(IPV6_MTU) } else { self.config.mtu }
    }

    /// Gives `put` the packet in `frame` for the peer, or its fragments. False if the frame has none; it is for
    /// [`Self::handle_frame`] then. Calling it twice does no harm.
    pub fn packets(&mut self, now: Instant, frame: &[u8], put: &mut impl FnMut(&[u8])) -> bool {
        let Some((dst, src, ethertype, bytes)) = split(frame) else { return false };
        if dst != self.config.mac && !dst.is_group() {
            return false;
        }
        let Ok(packet) = Packet::read(ethertype, bytes) else { return false };
        let wanted = match packet.dst {
            _ if dst == self.config.mac => true,
            IpAddr::V4(addr) => dst == Mac::BROADCAST || addr.is_multicast() && addr != REPORTS.0,
            IpAddr::V6(addr) => addr.is_multicast() && addr != REPORTS.1,
        };
        let limit = self.limit(packet.dst);
        let fits = packet.whole.len() <= limit;
        if !wanted || !fits && !line::may_be_cut(&packet) {
            return false;
        }
        let given = self.config.addrs.iter().any(|cidr| cidr.addr.is_ipv6());
        let made = match icmpv6_type(&packet) {
            Some(SOLICITATION | ADVERTISEMENT | REDIRECT) => return false,
            Some(kind) if LISTENERS.contains(&kind) => return false,
            Some(line::ROUTER_ADVERTISEMENT) if given => return false,
            Some(line::ROUTER_SOLICITATION | line::ROUTER_ADVERTISEMENT) => {
                let Some(packet) = line::without_link(&packet, &mut self.made) else { return false };
                put(packet);
                true
            }
            _ if !fits => line::cut(&packet, limit, &mut self.made, put),
            _ => {
                put(packet.whole);
                true
            }
        };
        if made {
            self.neighbours.confirm(now, packet.src, Station { mac: src, ingress: Ingress::ONLY });
        }
        made
    }

    /// Takes a frame without a packet for the peer: answers ARP and ND for it, and sends ICMP "too big".
    ///
    /// # Errors
    /// The reason of the drop, if it was not for the adapter either.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) -> Result<(), DropReason> {
        let Some((dst, src, ethertype, bytes)) = split(frame) else { return Err(DropReason::NotForPeer) };
        if dst != self.config.mac && !dst.is_group() {
            return Err(DropReason::NotForPeer);
        }
        if ethertype == arp::ETHERTYPE {
            return self.handle_arp(now, bytes);
        }
        let Ok(packet) = Packet::read(ethertype, bytes) else { return Err(DropReason::NotForPeer) };
        match icmpv6_type(&packet) {
            Some(SOLICITATION) => return self.handle_solicitation(now, &packet, src),
            Some(ADVERTISEMENT) => return self.hear_advertisement(now, &packet),
            _ => {}
        }
        if packet.whole.len() > self.limit(packet.dst) {
            if dst == self.config.mac && packet.may_be_told() && self.telling.take(now) {
                self.tell_too_big(&packet, src);
            }
            return Err(DropReason::TooBig);
        }
        Err(DropReason::NotForPeer)
    }

    fn handle_arp(&mut self, now: Instant, bytes: &[u8]) -> Result<(), DropReason> {
        let message = arp::Message::read(bytes).ok_or(DropReason::NotForPeer)?;
        let sender = IpAddr::V4(message.sender);
        let for_peer = self.is_peer(message.target.into()) && !self.is_peer(sender);
        if !self.is_peer(sender) && !message.sender.is_unspecified() && !message.sender.is_multicast() {
            self.learn_neighbour(now, sender, message.sender_mac, for_peer, true);
        }
        if for_peer && message.operation == arp::Operation::Request {
            let reply = arp::Message {
                operation: arp::Operation::Reply,
                sender_mac: self.config.mac,
                sender: message.target,
                target_mac: message.sender_mac,
                target: message.sender,
            };
            self.send_arp(reply, message.sender_mac);
        }
        if for_peer { Ok(()) } else { Err(DropReason::NotForPeer) }
    }

    fn handle_solicitation(&mut self, now: Instant, packet: &Packet<'_>, from: Mac) -> Result<(), DropReason> {
        let IpAddr::V6(src) = packet.src else { return Err(DropReason::NotForPeer) };
        match discovery(packet) {
            Some(nd::Message::Solicitation { target, mac }) if self.is_peer(target.into()) => {
                if let Some(mac) = mac.filter(|_| !src.is_unspecified() && !self.is_peer(src.into())) {
                    self.learn_neighbour(now, src.into(), mac, true, true);
                }
                // A DAD probe for the peer's own address is answered to all nodes: the address is taken.
                let probe = src.is_unspecified();
                let (to, at) = if probe { (ALL_NODES, group_mac(ALL_NODES)) } else { (src, mac.unwrap_or(from)) };
                nd::advertise(&mut self.scratch, (target, to), !probe, (self.config.mac, false));
                self.send(at, ETHERTYPE_IPV6);
                Ok(())
            }
            _ => Err(DropReason::NotForPeer),
        }
    }

    fn hear_advertisement(&mut self, now: Instant, packet: &Packet<'_>) -> Result<(), DropReason> {
        match discovery(packet) {
            Some(nd::Message::Advertisement { target, mac: Some(mac), replace }) => {
                self.learn_neighbour(now, target.into(), mac, false, replace);
                Ok(())
            }
            _ => Err(DropReason::NotForPeer),
        }
    }

    fn learn_neighbour(&mut self, now: Instant, addr: IpAddr, mac: Mac, create: bool, replace: bool) {
        let station = Station { mac, ingress: Ingress::ONLY };
        for mut frame in self.neighbours.learn(now, addr, station, create, replace) {
            if let Some(dst) = frame.get_mut(..6) {
                dst.copy_from_slice(&mac.0);
            }
            self.outbox.push(&frame);
        }
    }

    /// Takes a packet that the peer sent.
    ///
    /// # Errors
    /// [`BadPacket`]; it was not forwarded.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Result<(), BadPacket> {
        let ethertype = match packet.first().map(|byte| byte >> 4) {
            Some(4) => ETHERTYPE_IPV4,
            Some(6) => ETHERTYPE_IPV6,
            _ => return Err(BadPacket),
        };
        let read = Packet::read(ethertype, packet).ok().filter(|read| read.whole.len() == packet.len());
        let Packet { src, dst, .. } = read.ok_or(BadPacket)?;
        self.learn_peer(src);
        self.scratch.start(packet.len()).copy_from_slice(packet);
        let known = self.group_of(dst);
        let hop = self.next_hop(dst);
        let mac = known.or_else(|| self.neighbours.resolve(now, hop));
        match mac {
            Some(mac) => self.send(mac, ethertype),
            None => {
                self.scratch.address(Mac::default(), self.config.mac, ethertype);
                self.neighbours.park(hop, self.scratch.frame());
                self.scratch.clear();
                self.handle_timeout(now);
            }
        }
        Ok(())
    }

    /// Notes a source address of the peer.
    fn learn_peer(&mut self, addr: IpAddr) {
        let link_local = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
        let given = !link_local && self.config.addrs.iter().any(|cidr| cidr.addr.is_ipv4() == addr.is_ipv4());
        let broadcast = matches!(addr, IpAddr::V4(addr) if addr.is_broadcast());
        let odd = addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || broadcast;
        if given || odd || self.is_peer(addr) {
            return;
        }
        if self.learned.len() >= LEARNED {
            self.learned.pop_front();
        }
        self.learned.push_back(addr);
    }

    /// The MAC of a multicast or broadcast address (RFC 1112, section 6.4; RFC 2464, section 7).
    fn group_of(&self, dst: IpAddr) -> Option<Mac> {
        match dst {
            IpAddr::V6(addr) => addr.is_multicast().then(|| group_mac(addr)),
            IpAddr::V4(addr) if addr.is_multicast() => {
                let [_, b, c, d] = addr.octets();
                Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            IpAddr::V4(addr) => {
                let directed = |cidr: &Cidr| match cidr.addr {
                    IpAddr::V4(own) if cidr.prefix < 31 => u32::from(own) | u32::MAX >> cidr.prefix == u32::from(addr),
                    _ => false,
                };
                (addr.is_broadcast() || self.config.addrs.iter().any(directed)).then_some(Mac::BROADCAST)
            }
        }
    }

    fn next_hop(&self, dst: IpAddr) -> IpAddr {
        let on_link = self.config.addrs.iter().any(|cidr| cidr.contains(dst))
            || matches!(dst, IpAddr::V6(addr) if addr.is_unicast_link_local());
        let gateway = self.config.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == dst.is_ipv4());
        gateway.filter(|_| !on_link).unwrap_or(dst)
    }

    /// Sends "too big" to a packet's sender: ICMP type 3, code 4 (RFC 1191, section 4), or ICMPv6 type 2 (RFC 4443,
    /// section 3.2), with the packet's destination as the source.
    fn tell_too_big(&mut self, packet: &Packet<'_>, to: Mac) {
        let limit = self.limit(packet.dst);
        let (own, dst) = (packet.dst, packet.src);
        let (protocol, kind, code, quoted, ethertype) = if own.is_ipv4() {
            let quoted = packet.whole.len() - packet.payload.len() + packet.payload.len().min(8);
            (ICMPV4, 3, 4, quoted, ETHERTYPE_IPV4)
        } else {
            (ICMPV6, 2, 0, packet.whole.len().min(IPV6_MTU - 48), ETHERTYPE_IPV6)
        };
        let [m0, m1] = u16::try_from(limit).unwrap_or(u16::MAX).to_be_bytes();
        let message = start(&mut self.scratch, (own, dst), protocol, None, 8 + quoted);
        message[..8].copy_from_slice(&[kind, code, 0, 0, 0, 0, m0, m1]);
        message[8..].copy_from_slice(&packet.whole[..quoted]);
        finish_icmp(message, (own, dst));
        self.send(to, ethertype);
    }

    /// Queues the packet in the scratch.
    fn send(&mut self, dst: Mac, ethertype: u16) {
        self.scratch.address(dst, self.config.mac, ethertype);
        self.outbox.push(self.scratch.frame());
        self.scratch.clear();
    }

    fn send_arp(&mut self, message: arp::Message, dst: Mac) {
        self.scratch.start(arp::LEN).copy_from_slice(&message.bytes());
        self.send(dst, arp::ETHERTYPE);
    }

    /// Whether a frame waits for [`Self::poll_transmit`].
    pub fn has_frames(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Gives up to `budget` frames for the Ethernet to `put`, oldest first. Returns how many.
    pub fn poll_transmit(&mut self, budget: usize, put: &mut impl FnMut(&[u8])) -> usize {
        self.outbox.drain(budget, put)
    }

    /// Packets dropped since the last call because their next hop did not answer.
    pub fn take_unresolved(&mut self) -> u64 {
        let all = self.neighbours.dropped;
        all - std::mem::replace(&mut self.told, all)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.neighbours.poll_timeout()
    }

    /// Sends ARP and ND requests that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(probe) = self.neighbours.next_probe(now) {
            self.ask(probe);
        }
    }

    /// Sends an ARP or ND request with the peer's address.
    fn ask(&mut self, probe: Probe) {
        let mut sources = self.peer_addresses();
        match probe.addr {
            IpAddr::V4(target) => {
                let source = sources.find_map(|addr| match addr {
                    IpAddr::V4(addr) => Some(addr),
                    IpAddr::V6(_) => None,
                });
                drop(sources);
                let request = arp::Message {
                    operation: arp::Operation::Request,
                    sender_mac: self.config.mac,
                    sender: source.unwrap_or(Ipv4Addr::UNSPECIFIED),
                    target_mac: Mac::default(),
                    target,
                };
                self.send_arp(request, probe.mac.unwrap_or(Mac::BROADCAST));
            }
            IpAddr::V6(target) => {
                let link_local = target.is_unicast_link_local();
                let source = sources.find_map(|addr| match addr {
                    IpAddr::V6(addr) if addr.is_unicast_link_local() == link_local => Some(addr),
                    _ => None,
                });
                drop(sources);
                let Some(source) = source else { return };
                let dst = if probe.mac.is_some() { target } else { solicited_node(target) };
                nd::solicit(&mut self.scratch, (source, dst), target, self.config.mac);
                self.send(probe.mac.unwrap_or_else(|| group_mac(dst)), ETHERTYPE_IPV6);
            }
        }
    }
}

/// Destination, source, EtherType and payload of an untagged frame.
fn split(frame: &[u8]) -> Option<(Mac, Mac, u16, &[u8])> {
    let view = Ethernet::new(frame).ok().filter(Ethernet::is_untagged)?;
    Some((view.destination(), view.source(), view.ether_type().0, view.payload()))
}

/// The message of neighbour discovery in `packet`, if it is a valid one.
fn discovery(packet: &Packet<'_>) -> Option<nd::Message> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return None };
    icmp::checksum_fits(packet).then(|| nd::parse(src, dst, packet.hop_limit, packet.payload)).flatten()
}

/// The type of the ICMPv6 message in `packet`, behind extension headers or not.
fn icmpv6_type(packet: &Packet<'_>) -> Option<u8> {
    let carried = packet.dst.is_ipv6().then(|| packet.carried().ok()).flatten()?;
    let whole = carried.fragment.is_none_or(|fragment| fragment.offset == 0);
    (whole && carried.protocol == ICMPV6).then(|| carried.payload.first().copied()).flatten()
}

#[cfg(test)]
mod tests;
