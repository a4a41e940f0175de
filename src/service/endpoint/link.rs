//! The Ethernet side: resolves next hops, answers ARP, ND and MLD, and announces its addresses.
//!
//! It announces its addresses when it starts and once more two seconds later (RFC 5227, section 2.3; RFC 4861, section
//! 7.2.6), so that switches and neighbours know at once where they are now, and reports its IPv6 groups so that a
//! snooping switch lets solicitations through. There is no duplicate address detection, and no address is given up;
//! another host's claim to an IPv4 address is answered by an announcement (RFC 5227, section 2.4 c).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::{ALL_NODES, Addresses, group_mac, solicited_node};
use super::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Packet, destination};
use super::nd;
use super::neighbour::{Neighbours, Probe};
use super::scratch::{Outbox, Scratch};
use crate::service::station::{Ingress, Station};
use crate::time::{Duration, Instant};
use crate::wire::{Mac, arp};

/// Announcements of every address (RFC 5227, ANNOUNCE_NUM).
const ANNOUNCEMENTS: u8 = 2;
/// Time between them (RFC 5227, ANNOUNCE_INTERVAL).
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);
/// A claim to an address is answered once in this time, so that two hosts do not defend it for ever (RFC 5227,
/// DEFEND_INTERVAL).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// A report waits this long after a query, so that several queries get one.
const REPORT_AFTER: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct LinkLayer {
    pub addresses: Addresses,
    pub neighbours: Neighbours,
    pub outbox: Outbox,
    announce_at: Option<Instant>,
    announced: u8,
    report_at: Option<Instant>,
    /// Addresses defended lately, and when.
    defended: Vec<(Ipv4Addr, Instant)>,
    /// Packets without a route.
    pub no_route: u64,
    /// Messages by which another host claimed one of our addresses.
    pub conflicts: u64,
}

impl LinkLayer {
    pub fn new(addresses: Addresses, neighbours: Neighbours) -> Self {
        Self {
            addresses,
            neighbours,
            outbox: Outbox::default(),
            announce_at: Some(Instant::ZERO),
            announced: 0,
            report_at: None,
            defended: Vec::new(),
            no_route: 0,
            conflicts: 0,
        }
    }

    /// Puts the Ethernet header in front of the packet in `scratch`. `false`: it cannot go out now; it waits for its
    /// neighbour's MAC, or has no route.
    pub fn seal(&mut self, now: Instant, scratch: &mut Scratch) -> bool {
        let Some(dst) = destination(scratch.packet()) else { return false };
        let ethertype = if dst.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        let own = self.addresses.mac;
        if let IpAddr::V6(group) = dst
            && group.is_multicast()
        {
            scratch.address(group_mac(group), own, ethertype);
            return true;
        }
        let Some(hop) = self.addresses.next_hop(dst) else {
            self.no_route += 1;
            return false;
        };
        let mac = self.neighbours.resolve(now, hop);
        scratch.address(mac.unwrap_or_default(), own, ethertype);
        if mac.is_none() {
            self.neighbours.park(hop, scratch.frame());
        }
        mac.is_some()
    }

    /// The station of the next hop to `dst`, if the neighbour table knows it; no ARP or ND is sent.
    pub fn towards(&self, dst: IpAddr) -> Option<Station> {
        self.addresses.next_hop(dst).and_then(|hop| self.neighbours.station(hop))
    }

    /// Queues the packet in `scratch`, if there is one.
    pub fn send(&mut self, now: Instant, scratch: &mut Scratch) {
        if !scratch.is_empty() && self.seal(now, scratch) {
            self.outbox.push(scratch.frame());
        }
        scratch.clear();
    }

    /// An ARP message (RFC 826, "Packet Reception"; RFC 5227 for probes and conflicts). `false`: it is none.
    pub fn handle_arp(&mut self, now: Instant, (bytes, ingress): (&[u8], Ingress), scratch: &mut Scratch) -> bool {
        let Some(message) = arp::Message::read(bytes) else { return false };
        let for_us = self.addresses.owns(message.target.into());
        if self.addresses.owns(message.sender.into()) {
            self.conflicts += 1;
            self.defend(now, message.sender, scratch);
            return true;
        }
        let sender = IpAddr::V4(message.sender);
        if self.addresses.plausible_source(sender) && self.addresses.on_link(sender) {
            self.learn(now, sender, Station { mac: message.sender_mac, ingress }, for_us, true);
        }
        if for_us && message.operation == arp::Operation::Request {
            let reply = arp::Message {
                operation: arp::Operation::Reply,
                sender_mac: self.addresses.mac,
                sender: message.target,
                target_mac: message.sender_mac,
                target: message.sender,
            };
            self.send_arp(reply, message.sender_mac, scratch);
        }
        true
    }

    /// Announces `addr` again, which another host has claimed.
    fn defend(&mut self, now: Instant, addr: Ipv4Addr, scratch: &mut Scratch) {
        self.defended.retain(|(_, at)| now - *at < DEFEND_INTERVAL);
        if self.defended.iter().all(|(known, _)| *known != addr) {
            self.defended.push((addr, now));
            self.send_arp_request(addr, addr, Mac::BROADCAST, scratch);
        }
    }

    /// A neighbour solicitation or advertisement whose checksum fits (RFC 4861, section 7.2). `false`: an invalid one.
    pub fn handle_nd(
        &mut self,
        now: Instant,
        (packet, ingress): (&Packet<'_>, Ingress),
        scratch: &mut Scratch,
    ) -> bool {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return false };
        match nd::parse(src, dst, packet.hop_limit, packet.payload) {
            Some(nd::Message::Solicitation { target, mac }) => {
                let asker = mac.map(|mac| Station { mac, ingress });
                self.answer(now, src, target, asker, scratch);
            }
            Some(nd::Message::Advertisement { target, mac, replace }) => {
                if self.addresses.owns(target.into()) {
                    self.conflicts += 1;
                } else if let Some(mac) = mac {
                    self.learn(now, target.into(), Station { mac, ingress }, false, replace);
                }
            }
            None => return false,
        }
        true
    }

    fn answer(
        &mut self,
        now: Instant,
        src: Ipv6Addr,
        target: Ipv6Addr,
        station: Option<Station>,
        scratch: &mut Scratch,
    ) {
        if !self.addresses.owns(target.into()) {
            return;
        }
        let asker = IpAddr::V6(src);
        if let Some(station) = station
            && self.addresses.plausible_source(asker)
            && self.addresses.on_link(asker)
        {
            self.learn(now, asker, station, true, true);
        }
        let probe = src.is_unspecified();
        let own = (self.addresses.mac, self.addresses.router);
        nd::advertise(scratch, (target, if probe { ALL_NODES } else { src }), !probe, own);
        self.send(now, scratch);
    }

    /// A listener query (RFC 3810, section 5.1): the groups are reported soon.
    pub fn handle_mld_query(&mut self, now: Instant) {
        self.report_at.get_or_insert(now + REPORT_AFTER);
    }

    /// See [`Neighbours::learn`].
    pub fn learn(&mut self, now: Instant, addr: IpAddr, station: Station, create: bool, replace: bool) {
        for mut frame in self.neighbours.learn(now, addr, station, create, replace) {
            frame[..6].copy_from_slice(&station.mac.0);
            self.outbox.push(&frame);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.announce_at, self.report_at, self.neighbours.poll_timeout()].into_iter().flatten().min()
    }

    /// Sends announcements, reports and solicitations that are due.
    pub fn handle_timeout(&mut self, now: Instant, scratch: &mut Scratch) {
        if self.announce_at.is_some_and(|at| at <= now) {
            self.announced += 1;
            self.announce_at = (self.announced < ANNOUNCEMENTS).then(|| now + ANNOUNCE_EVERY);
            self.announce(now, scratch);
        }
        if self.report_at.is_some_and(|at| at <= now) {
            self.report(now, true, scratch);
        }
        while let Some(probe) = self.neighbours.next_probe(now) {
            self.ask(now, probe, scratch);
        }
    }

    fn announce(&mut self, now: Instant, scratch: &mut Scratch) {
        self.report(now, false, scratch);
        let (mac, router) = (self.addresses.mac, self.addresses.router);
        let own: Vec<IpAddr> = self.addresses.iter().collect();
        for addr in own {
            match addr {
                IpAddr::V4(addr) => self.send_arp_request(addr, addr, Mac::BROADCAST, scratch),
                IpAddr::V6(addr) => {
                    nd::advertise(scratch, (addr, ALL_NODES), false, (mac, router));
                    self.send(now, scratch);
                }
            }
        }
    }

    /// Reports our groups: `asked`, or because we have joined them.
    fn report(&mut self, now: Instant, asked: bool, scratch: &mut Scratch) {
        self.report_at = None;
        let mut groups: Vec<Ipv6Addr> = self.addresses.solicited_node_groups().collect();
        groups.sort();
        groups.dedup();
        nd::report(scratch, self.addresses.link_local, &groups, asked);
        self.send(now, scratch);
    }

    /// Sends an ARP request or neighbour solicitation.
    pub fn ask(&mut self, now: Instant, probe: Probe, scratch: &mut Scratch) {
        let Some(src) = self.addresses.source_for(probe.addr) else { return };
        match (src, probe.addr) {
            (IpAddr::V4(src), IpAddr::V4(addr)) => {
                self.send_arp_request(src, addr, probe.mac.unwrap_or(Mac::BROADCAST), scratch);
            }
            (IpAddr::V6(src), IpAddr::V6(addr)) => {
                let dst = if probe.mac.is_some() { addr } else { solicited_node(addr) };
                nd::solicit(scratch, (src, dst), addr, self.addresses.mac);
                self.send(now, scratch);
            }
            _ => {}
        }
    }

    fn send_arp_request(&mut self, sender: Ipv4Addr, target: Ipv4Addr, dst: Mac, scratch: &mut Scratch) {
        let operation = arp::Operation::Request;
        let sender_mac = self.addresses.mac;
        self.send_arp(arp::Message { operation, sender_mac, sender, target_mac: Mac::default(), target }, dst, scratch);
    }

    fn send_arp(&mut self, message: arp::Message, dst: Mac, scratch: &mut Scratch) {
        scratch.start(arp::LEN).copy_from_slice(&message.bytes());
        scratch.address(dst, self.addresses.mac, arp::ETHERTYPE);
        self.outbox.push(scratch.frame());
        scratch.clear();
    }
}
