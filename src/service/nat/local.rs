//! Servers of the gateway's own: packets to its addresses, multicast and broadcast go to its [`Servers`] before any
//! translation.
//!
//! A server takes and gives payloads of datagrams. Here they get their headers, and wait a moment for ARP or ND where
//! the destination's MAC is not known yet.

use super::datagram::send_udp;
use super::icmp;
use super::packet::{Headers, ICMPV6, Packet, TCP, UDP};
use super::wire::{Cx, Wire, has_room};
use crate::error::{Error, Result};
use crate::frame::{Batch, PortId};
use crate::service::change::{Change, Changed};
use crate::service::detail::Details;
use crate::service::endpoint::{Endpoint, Event as StreamEvent, group_mac};
use crate::service::lease::Lease;
use crate::service::outside::{Event, Outside};
use crate::service::questions::{Answer, Question, Servers};
use crate::service::station::{Ingress, Station};
use crate::time::{Duration, Instant, earliest};
use crate::wire::{Mac, Offload};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// ICMPv6 router solicitation (RFC 4861, 4.1).
const SOLICITATION: u8 = 133;
/// Answers that wait for their host's MAC at most, and for how long.
const WAITING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(3);
/// How often they are looked at meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
/// Handshakes of connections to servers that may be under way.
const BACKLOG: usize = 16;
/// Answers of one turn.
const TURN: usize = 32;
/// Bytes of a UDP header.
const HEADER: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Local {
    servers: Option<Box<dyn Servers>>,
    /// Answers that wait for ARP or ND, and since when.
    waiting: VecDeque<(Instant, Answer)>,
    /// When these are looked at again.
    again: Option<Instant>,
    /// A server may have an answer.
    ready: bool,
    number: u32,
}

impl Local {
    /// Sets the servers.
    pub fn set(&mut self, servers: Box<dyn Servers>, endpoint: &mut Endpoint) -> Result<()> {
        if let Some(port) = servers.stream_port() {
            endpoint.listen(port, BACKLOG)?;
        }
        (self.servers, self.ready) = (Some(servers), true);
        Ok(())
    }

    /// Whether a packet is of a connection to a server, which is the endpoint's.
    pub fn hears_stream(&self, packet: &Packet<'_>) -> bool {
        let port = || packet.payload.get(2..4).and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        packet.protocol == TCP
            && packet.fragment.is_none()
            && self.servers.as_ref().is_some_and(|servers| {
                port().is_some_and(|port| servers.hears_stream(SocketAddr::new(packet.dst, port)))
            })
    }

    /// Something happened to a connection of the endpoint.
    pub fn handle_stream(&mut self, now: Instant, event: StreamEvent, endpoint: &mut Endpoint, host: &mut dyn Outside) {
        if let Some(servers) = &mut self.servers {
            servers.handle_stream(now, event, endpoint, host);
            self.ready = true;
        }
    }

    /// See [`Servers::leases`].
    pub fn leases(&self, now: Instant) -> Vec<Lease> {
        self.servers.as_ref().map(|servers| servers.leases(now)).unwrap_or_default()
    }

    /// See [`Servers::leases_version`].
    pub fn leases_version(&self) -> u64 {
        self.servers.as_ref().map_or(0, |servers| servers.leases_version())
    }

    /// See [`Servers::change`].
    pub fn change(&mut self, now: Instant, change: &Change) -> Result<Changed> {
        match &mut self.servers {
            Some(servers) => servers.change(now, change),
            None => Err(Error::usage("this gateway has no servers for its network")),
        }
    }

    /// See [`Servers::details`].
    pub fn details(&self, now: Instant, details: &mut Details) {
        self.servers.iter().for_each(|servers| servers.details(now, details));
    }

    /// See [`Servers::hear_six`].
    pub fn hear_six(&mut self, mac: Mac, addr: Ipv6Addr) {
        self.servers.iter_mut().for_each(|servers| servers.hear_six(mac, addr));
    }

    /// See [`Servers::dropped`].
    pub fn dropped(&self) -> u64 {
        self.servers.as_ref().map_or(0, |servers| servers.dropped())
    }

    /// See [`Servers::malformed`].
    pub fn malformed(&self) -> u64 {
        self.servers.as_ref().map_or(0, |servers| servers.malformed())
    }

    /// Whether a server listens to multicast and broadcast.
    pub fn hears_groups(&self) -> bool {
        self.servers.is_some()
    }

    /// Takes a packet in one piece. `false`: it is for no server.
    pub fn handle(
        &mut self,
        now: Instant,
        whom: Station,
        packet: &Packet<'_>,
        offload: Offload,
        host: &mut dyn Outside,
    ) -> bool {
        let Some(servers) = self.servers.as_mut().filter(|_| packet.fragment.is_none() && !whom.mac.is_group()) else {
            return false;
        };
        let taken = match (packet.protocol, packet.src, packet.payload) {
            (UDP, ..) => {
                let question = question(whom, packet).filter(|_| packet.checksum_fits(offload.checksum));
                question.is_some_and(|question| servers.handle_datagram(now, question, host))
            }
            (ICMPV6, IpAddr::V6(src), message @ [SOLICITATION, ..]) if packet.checksum_fits(offload.checksum) => {
                servers.handle_solicitation(now, (src, whom.mac), packet.hop_limit, message);
                true
            }
            _ => false,
        };
        self.ready |= taken;
        taken
    }

    /// A host said by ARP that it has this address.
    pub fn hear(&mut self, now: Instant, addr: Ipv4Addr, whom: Station) {
        self.ready |= self.servers.as_mut().is_some_and(|servers| servers.hear(now, whom, addr));
    }

    /// A socket has changed. `false`: it is none of a server.
    pub fn handle_event(&mut self, now: Instant, event: Event, host: &mut dyn Outside) -> bool {
        let taken = self.servers.as_mut().is_some_and(|servers| servers.handle_event(now, event, host));
        self.ready |= taken;
        taken
    }

    /// Whether a server may have an answer.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Sends answers, as long as there is room in `out`.
    pub fn work(&mut self, cx: &mut Cx, endpoint: &mut Endpoint, out: &mut Batch) {
        if self.again.is_some_and(|at| at <= cx.now) && has_room(out) {
            self.again = None;
            for _ in 0..self.waiting.len() {
                let Some((since, answer)) = self.waiting.pop_front() else { break };
                self.send(cx.now, since, answer, endpoint, cx.wire, out);
            }
        }
        self.ready |= self.servers.as_mut().is_some_and(|servers| servers.handle_files(cx.now, cx.host));
        for _ in 0..TURN {
            if !self.ready || !has_room(out) {
                break;
            }
            match self.servers.as_mut().and_then(|servers| servers.poll_transmit(cx.now, cx.host)) {
                Some(answer) => self.send(cx.now, cx.now, answer, endpoint, cx.wire, out),
                None => self.ready = false,
            }
        }
        if let Some(servers) = &mut self.servers {
            servers.work_streams(cx.now, endpoint);
        }
    }

    fn send(
        &mut self,
        now: Instant,
        since: Instant,
        answer: Answer,
        endpoint: &mut Endpoint,
        wire: &mut Wire,
        out: &mut Batch,
    ) {
        let (mac, dst) = match &answer {
            Answer::Ask(addr) => return endpoint.ask(*addr),
            Answer::Udp { dst, mac, .. } => (*mac, dst.ip()),
            Answer::Discovery { dst, mac, .. } => (*mac, IpAddr::from(*dst)),
        };
        let Some(mac) = mac.or_else(|| group(dst)).or_else(|| endpoint.neighbour(now, dst)) else {
            if now - since < PATIENCE && self.waiting.len() < WAITING {
                self.waiting.push_back((since, answer));
                self.again = Some(now + PAUSE);
            } else {
                wire.stats.ignored += 1;
            }
            return;
        };
        self.number = self.number.wrapping_add(1);
        match answer {
            Answer::Ask(addr) => endpoint.ask(addr),
            Answer::Udp { src, dst, payload, .. } => {
                let known = endpoint.station(dst.ip()).filter(|known| known.mac == mac);
                let whom = known.unwrap_or(Station { mac, ingress: Ingress::NONE });
                send_udp(wire, whom, (src, dst), &payload, self.number, out);
            }
            Answer::Discovery { src, dst, message, .. } => {
                let addrs = (src.into(), dst.into());
                let mut headers = Headers::new(wire.link(mac), addrs, icmp::protocol(addrs.1), message.len(), None);
                headers.set_hop_limit(255);
                wire.count(out.push_all(headers.bytes(), &[&message], PortId(0), Offload::NONE));
            }
        }
    }

    /// When [`Self::handle_timeout`] or [`Self::work`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.again, self.servers.as_ref().and_then(|servers| servers.poll_timeout()))
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, host: &mut dyn Outside) {
        if let Some(servers) = self.servers.as_mut().filter(|it| it.poll_timeout().is_some_and(|at| at <= now)) {
            servers.handle_timeout(now, host);
            self.ready = true;
        }
    }
}

fn question<'a>(from: Station, packet: &Packet<'a>) -> Option<Question<'a>> {
    let (&[s0, s1, d0, d1, l0, l1, _, _], data) = packet.payload.split_first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(HEADER)?;
    Some(Question {
        from,
        src: SocketAddr::new(packet.src, u16::from_be_bytes([s0, s1])),
        dst: SocketAddr::new(packet.dst, u16::from_be_bytes([d0, d1])),
        payload: data.get(..length)?,
    })
}

/// The MAC of a multicast (of IPv4: RFC 1112, 6.4) or broadcast address.
fn group(dst: IpAddr) -> Option<Mac> {
    match dst {
        IpAddr::V4(dst) if dst.is_broadcast() => Some(Mac::BROADCAST),
        IpAddr::V4(dst) if dst.is_multicast() => {
            let [_, a, b, c] = dst.octets();
            Some(Mac([0x01, 0x00, 0x5e, a & 0x7f, b, c]))
        }
        IpAddr::V6(dst) if dst.is_multicast() => Some(group_mac(dst)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
