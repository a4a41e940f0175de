//! The segment's own servers behind the gateway: datagrams from guests to them, and what they want of host and guests.
//!
//! # Theory of operation
//! [`Segment`] is asked whether it hears an address; what it hears is taken out of the gateway's way before anything is
//! translated. Guests without an address speak to everybody, so broadcasts and multicasts pass here too. What the
//! servers want done is done in [`Services::work`]: datagrams become frames, queries sockets of the host
//! ([`asks`]), and streams to the resolver are connections of the gateway's endpoint ([`streams`]). An answer goes to the
//! MAC that its question came from, so nobody has to be looked for.

mod asks;
mod streams;

use super::datagram::send_udp;
use super::host::{Host, SocketId};
use super::packet::{self, ETHERNET, Headers, ICMPV6, Packet, TCP, UDP};
use super::wire::{Wire, has_room};
use crate::config;
use crate::frame::Batch;
use crate::service::endpoint::{Endpoint, Event};
use crate::service::lan::leases::Lease;
use crate::service::lan::ra::Advertisement;
use crate::service::lan::segment::{Output, Segment};
use crate::service::lan::tftp::packet::Fault;
use crate::service::lan::{Datagram, dns, tftp};
use crate::time::{Instant, earliest};
use crate::wire::{Cidr, Mac, Offload};
use asks::Asks;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use streams::Streams;

/// Guests whose MAC is remembered until they are answered.
const ASKERS: usize = 4096;
/// Outputs of one turn.
const TURN: usize = 256;

/// See the module.
pub(super) struct Services {
    segment: Segment,
    /// The resolver's address, where it is not the gateway's own.
    extra: Option<Cidr>,
    askers: HashMap<IpAddr, Mac, FixedState>,
    asks: Asks,
    streams: Streams,
    /// What found no room.
    pending: Option<Output>,
    /// Of the next datagram that is sent in pieces.
    number: u32,
}

impl Services {
    pub fn new(nat: &config::Nat, mtu: u16, seed: u64) -> Self {
        let extra = nat.lan.dns.filter(|dns| *dns != nat.gateway);
        Self {
            segment: Segment::new(nat, mtu, seed),
            extra: extra.map(|dns| Cidr { addr: dns.into(), prefix: nat.prefix }),
            askers: HashMap::with_hasher(FixedState::with_seed(seed)),
            asks: Asks::default(),
            streams: Streams::default(),
            pending: None,
            number: seed as u32,
        }
    }

    /// An address that the endpoint has to have beside the gateway's.
    pub fn extra_addr(&self) -> Option<Cidr> {
        self.extra
    }

    /// Has the endpoint listen for streams.
    pub fn listen(&self, endpoint: &mut Endpoint) -> crate::error::Result<()> {
        streams::listen(endpoint)
    }

    /// Whether a TCP packet is for the resolver: it is the endpoint's.
    pub fn hears_streams(&self, packet: &Packet<'_>) -> bool {
        let port = |bytes: &[u8]| bytes.get(2..4).and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        packet.protocol == TCP
            && port(packet.payload).is_some_and(|port| self.segment.hears_streams(SocketAddr::new(packet.dst, port)))
    }

    /// Takes a whole packet whose checksum is right, from a guest at `mac`, if it is for one of the servers.
    pub fn handle(&mut self, now: Instant, mac: Mac, packet: &Packet<'_>, host: &mut dyn Host) -> bool {
        if let (ICMPV6, IpAddr::V6(src)) = (packet.protocol, packet.src) {
            return self.segment.handle_icmp6(now, (src, mac), packet.hop_limit, packet.payload);
        }
        let Some((&[s0, s1, d0, d1, l0, l1, _, _], data)) = packet.payload.split_first_chunk::<8>() else {
            return false;
        };
        let src = SocketAddr::new(packet.src, u16::from_be_bytes([s0, s1]));
        let dst = SocketAddr::new(packet.dst, u16::from_be_bytes([d0, d1]));
        if packet.protocol != UDP || !self.segment.hears(dst) {
            return false;
        }
        let length = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(8);
        let Some(bytes) = length.and_then(|length| data.get(..length)) else { return true };
        if self.askers.len() >= ASKERS && !self.askers.contains_key(&packet.src) {
            self.askers.clear();
        }
        self.askers.insert(packet.src, mac);
        self.look_up(dst.port(), host);
        self.segment.handle(now, src, dst, bytes);
        true
    }

    /// Before a question: who is to be asked.
    fn look_up(&mut self, port: u16, host: &mut dyn Host) {
        if port == dns::PORT
            && let Some(dns) = self.segment.dns()
        {
            dns.set_resolvers(host.resolvers());
        }
    }

    /// A socket of the host has changed. `false`: it is none of these.
    pub fn handle_event(&mut self, now: Instant, socket: SocketId, host: &mut dyn Host) -> bool {
        self.asks.handle_event(now, socket, &mut self.segment, host)
    }

    /// Something happened to a stream.
    pub fn handle_stream(&mut self, now: Instant, event: Event, endpoint: &mut Endpoint, host: &mut dyn Host) {
        self.look_up(dns::PORT, host);
        self.streams.handle(now, event, &mut self.segment, endpoint);
    }

    /// Does what the servers want, as long as there is room in `out`.
    pub fn work(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        host: &mut dyn Host,
        wire: &mut Wire,
        out: &mut Batch,
    ) {
        for _ in 0..TURN {
            if !has_room(out) {
                return;
            }
            let Some(output) = self.pending.take().or_else(|| self.segment.poll_output(now)) else { return };
            match output {
                Output::Datagram(datagram) => self.send(now, &datagram, endpoint, wire, out),
                Output::Advertisement(advertisement) => advertise(&advertisement, wire),
                Output::Stream(stream, answer) => self.streams.answer(now, stream, &answer, endpoint),
                Output::Dns(output) => self.asks.perform(now, output, &mut self.segment, host),
                Output::File(output) => self.file(now, output, host),
            }
        }
        self.pending = self.segment.poll_output(now);
    }

    fn send(&mut self, now: Instant, datagram: &Datagram, endpoint: &mut Endpoint, wire: &mut Wire, out: &mut Batch) {
        let dst = datagram.dst.ip();
        let known = datagram.mac.or_else(|| self.askers.get(&dst).copied());
        let Some(mac) = known.or_else(|| endpoint.neighbour(now, dst)) else {
            wire.stats.ignored += 1;
            return;
        };
        self.number = self.number.wrapping_add(1);
        send_udp(wire, mac, (datagram.src, datagram.dst), &datagram.payload, self.number, out);
    }

    fn file(&mut self, now: Instant, output: tftp::Output, host: &mut dyn Host) {
        match output {
            tftp::Output::Open { file, path } => {
                let opened = host.open_file(file, &path).map_err(|error| match error.kind() {
                    ErrorKind::NotFound => Fault::NoFile,
                    ErrorKind::PermissionDenied => Fault::Forbidden,
                    _ => Fault::Other,
                });
                self.segment.handle_opened(now, file, opened);
            }
            tftp::Output::Read { file, offset, len } => {
                let mut bytes = vec![0; len];
                let read = host.read_file(file, offset, &mut bytes).is_ok();
                self.segment.handle_data(now, file, offset, read.then_some(bytes));
            }
            tftp::Output::Close(file) => host.close_file(file),
            tftp::Output::Send(_) => {}
        }
    }

    /// Whether [`Self::work`] has something to do at once.
    pub fn is_ready(&self) -> bool {
        self.pending.is_some()
    }

    /// When [`Self::handle_timeout`] and [`Self::work`] have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.segment.poll_timeout(), self.streams.poll_timeout())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.segment.handle_timeout(now);
        self.streams.handle_timeout(now, &mut self.segment, endpoint);
    }

    /// The leases that stand, by address.
    pub fn leases(&self, now: Instant) -> Vec<Lease> {
        self.segment.leases(now).collect()
    }

    /// A number that is another one when a lease has changed.
    pub fn leases_version(&self) -> u64 {
        self.segment.leases_version()
    }
}

/// Sends an advertisement, with the hop limit that nothing from beyond a router has.
fn advertise(advertisement: &Advertisement, wire: &mut Wire) {
    // RFC 2464, section 7: the group's last four octets behind 33:33
    let [.., a, b, c, d] = advertisement.dst.octets();
    let mac = advertisement.mac.unwrap_or(Mac([0x33, 0x33, a, b, c, d]));
    let addrs = (advertisement.src.into(), advertisement.dst.into());
    let mut headers = Headers::new(wire.link(mac), addrs, ICMPV6, advertisement.message.len(), None);
    headers.set(ETHERNET + 6, [ICMPV6, 255]);
    wire.send(&headers, &[&advertisement.message], Offload::NONE);
}

/// Reads a packet that is for a group of the link, if it is one that a server may want: whole, its checksum right.
pub(super) fn to_group(ether_type: u16, bytes: &[u8], offload: Offload) -> Option<Packet<'_>> {
    let packet = packet::parse(ether_type, bytes).ok()?;
    let may_be = matches!(packet.protocol, UDP | ICMPV6) && packet.fragment.is_none();
    (may_be && packet::checksum_fits(&packet, offload.checksum)).then_some(packet)
}
