//! `nat:`: the way out. A gateway on the switch whose connections beyond are ordinary sockets of the host.
//!
//! # Theory of operation
//! Towards the switch the gateway is an [`Endpoint`], which answers ARP, neighbour discovery and pings. What a guest sends
//! through it is taken apart here: TCP connections end in a small TCP of the gateway's own ([`tcp`]), UDP and pings are
//! handed on by datagram ([`datagram`]), and what the host cannot do is answered as a router would, by ICMP ([`icmp`]).
//!
//! ```text
//!  guests ── frames ── Nat ─┬─ Endpoint   ARP, ND, pings to the gateway
//!                           ├─ services   DHCP, DNS, RA, TFTP: what the gateway does for its segment
//!                           ├─ tcp        flow ⇄ connection of the host
//!                           └─ datagram   guest's port ⇄ UDP socket; ping's identifier ⇄ ping socket
//! ```
//!
//! Nothing here waits or touches a descriptor: sockets are the [`Host`]'s, who also tells what has become of them. A frame
//! or an event does a bounded amount of work; what moves many bytes has its turn in [`Nat::poll_transmit`].

mod datagram;
mod forward;
pub mod host;
mod icmp;
mod packet;
mod pieces;
mod services;
mod stats;
mod tcp;
mod timers;
mod wire;

pub use stats::{Flows, Stats};

use super::endpoint::{Endpoint, EndpointConfig};
use super::lan::leases::Lease;
use crate::config::{self, Forward, PortSpec};
use crate::error::Result;
use crate::frame::{Batch, PortId};
use crate::time::{Instant, earliest};
use crate::wire::{Ethernet, Gso, Mac, Offload, finish_checksum};
use host::{Datagrams, Event, Host, Refusal, SocketId};
use packet::{ICMPV4, ICMPV6, IPV4, IPV6, Packet, TCP, UDP};
use wire::{Wire, has_room};

/// Frames that the endpoint sends in one turn.
const TURN: usize = 64;
/// The window of connections that end in the endpoint: those of the resolver.
const WINDOW: usize = 64 << 10;

/// See the module.
pub struct Nat {
    endpoint: Endpoint,
    wire: Wire,
    tcp: tcp::Tcp,
    datagrams: datagram::Table,
    forwards: forward::Forwards,
    pieces: pieces::Pieces,
    services: services::Services,
    /// Of the next packet that the gateway itself sends in pieces.
    number: u32,
}

impl Nat {
    /// The gateway of the port `spec`, whose kind is `nat`. `seed` is a number that nobody can guess.
    ///
    /// # Errors
    /// Of class usage, for addresses that cannot work.
    pub fn new(spec: &PortSpec, nat: &config::Nat, seed: u64) -> Result<Self> {
        let mut config = EndpointConfig::new(nat.mac(), nat.addrs());
        config.seed = seed;
        if let Some(mtu) = spec.mtu {
            config.mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        }
        let services = services::Services::new(nat, config.mtu, seed);
        config.addrs.extend(services.extra_addr());
        config.limits.window = WINDOW;
        let mut endpoint = Endpoint::new(&config)?;
        services.listen(&mut endpoint)?;
        Ok(Self {
            endpoint,
            services,
            wire: Wire::new(nat, config.mtu.into()),
            tcp: tcp::Tcp::new(seed),
            datagrams: datagram::Table::new(seed),
            forwards: forward::Forwards::new(seed),
            pieces: pieces::Pieces::default(),
            number: seed as u32,
        })
    }

    /// Leads what comes to `socket`, which listens, to a guest.
    pub fn add_forward(&mut self, socket: SocketId, forward: Forward) {
        self.forwards.add(socket, forward);
    }

    /// What it has counted.
    pub fn stats(&self) -> Stats {
        Stats { ignored: self.wire.stats.ignored + self.pieces.lost, ..self.wire.stats }
    }

    /// What there is now.
    pub fn flows(&self) -> Flows {
        Flows {
            tcp: self.tcp.len(),
            udp: self.datagrams.count(Datagrams::Udp) + self.forwards.clients(),
            echo: self.datagrams.count(Datagrams::Echo),
            held: self.tcp.held(),
        }
    }

    /// The leases of its segment, by address.
    pub fn leases(&self, now: Instant) -> Vec<Lease> {
        self.services.leases(now)
    }

    /// A number that is another one when a lease has changed.
    pub fn leases_version(&self) -> u64 {
        self.services.leases_version()
    }

    /// Takes a frame from the switch, with what its port said of it.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8], offload: Offload, host: &mut dyn Host) {
        let Ok(view) = Ethernet::new(frame) else {
            self.wire.stats.malformed += 1;
            return;
        };
        let (ether_type, mac) = (view.ether_type().0, view.source());
        let ip = matches!(ether_type, IPV4 | IPV6) && view.tag().is_none();
        if !ip || view.destination() != self.wire.mac {
            let group = ip && view.destination().is_group();
            let packet = if group { services::to_group(ether_type, view.payload(), offload) } else { None };
            if packet.is_some_and(|packet| self.services.handle(now, mac, &packet, host)) {
                return;
            }
            // The endpoint looks whether it is meant.
            return self.endpoint.handle_frame(now, frame);
        }
        match packet::parse(ether_type, view.payload()) {
            Ok(packet) => self.handle_packet(now, mac, packet, (frame, offload), host),
            Err(_) => self.wire.stats.malformed += 1,
        }
    }

    fn handle_packet(
        &mut self,
        now: Instant,
        mac: Mac,
        packet: Packet<'_>,
        (frame, offload): (&[u8], Offload),
        host: &mut dyn Host,
    ) {
        let beyond = !self.wire.owns(packet.dst);
        let ours = match packet.protocol {
            _ if packet.fragment.is_some() => true,
            TCP | UDP => true,
            ICMPV4 | ICMPV6 => beyond && icmp::is_request(&packet),
            _ => beyond,
        };
        if !ours || packet.dst.is_multicast() {
            return self.endpoint.handle_frame(now, frame);
        }
        if !self.wire.is_guest(packet.src) || mac.is_group() {
            self.wire.stats.foreign += 1;
            return;
        }
        if packet.fragment.is_none() && self.services.hears_streams(&packet) {
            let mut frame = frame.to_vec();
            if finish_checksum(&mut frame, offload.checksum).is_ok() {
                self.endpoint.handle_frame(now, &frame);
            }
            return;
        }
        if packet.fragment.is_some() {
            if let Some(whole) = self.pieces.add(now, &packet) {
                self.translate(now, mac, whole.packet(), Offload::NONE, host);
            }
            return;
        }
        self.translate(now, mac, packet, offload, host);
    }

    /// Takes a whole packet of a guest that leads out, or to the host.
    fn translate(&mut self, now: Instant, mac: Mac, packet: Packet<'_>, offload: Offload, host: &mut dyn Host) {
        if !packet::checksum_fits(&packet, offload.checksum) {
            self.wire.stats.malformed += 1;
            return;
        }
        if packet.hop_limit <= 1 && !self.wire.owns(packet.dst) {
            return icmp::refuse(&mut self.wire, mac, packet.src, Refusal::Hops, packet.whole);
        }
        match packet.protocol {
            TCP => self.tcp.handle(now, mac, &packet, host, &mut self.wire),
            UDP if self.services.handle(now, mac, &packet, host) => {}
            UDP if self.wire.owns(packet.dst) && self.forwards.handle(now, &packet, host, &mut self.wire) => {}
            ICMPV4 | ICMPV6 if self.wire.owns(packet.dst) && icmp::is_request(&packet) => {
                self.number = self.number.wrapping_add(1);
                icmp::pong(&mut self.wire, mac, &packet, self.number);
            }
            ICMPV4 | ICMPV6 if !icmp::is_request(&packet) => self.wire.stats.ignored += 1,
            UDP | ICMPV4 | ICMPV6 => {
                let piece = (offload.gso == Gso::Udp).then_some(offload.gso_size.into());
                self.datagrams.handle(now, (mac, piece), &packet, host, &mut self.wire);
            }
            _ => self.wire.stats.ignored += 1,
        }
    }

    /// A socket of the host has changed.
    pub fn handle_event(&mut self, now: Instant, event: Event, host: &mut dyn Host) {
        if !self.services.handle_event(now, event.socket, host)
            && !self.tcp.handle_event(event.socket, event.readable, event.writable)
            && !self.datagrams.handle_event(event.socket, host, &mut self.wire, event.refused)
        {
            self.forwards.handle_event(event.socket);
        }
    }

    /// Moves bytes between guests and the host, and puts frames into `out`, as many as fit.
    pub fn poll_transmit(&mut self, now: Instant, host: &mut dyn Host, out: &mut Batch) {
        self.tcp.work(now, host, &mut self.wire, out);
        self.datagrams.work(now, host, &mut self.wire, out);
        self.forwards.work(now, &mut self.endpoint, &mut self.tcp, (host, &mut self.wire), out);
        self.services.work(now, &mut self.endpoint, host, &mut self.wire, out);
        self.wire.drain(out);
        for _ in 0..TURN {
            let put = &mut |frame: &[u8]| {
                out.push(frame, PortId(0), Offload::NONE);
            };
            if self.endpoint.poll_transmit(now, 1, put) == 0 || !has_room(out) {
                break;
            }
        }
    }

    /// Whether [`Nat::poll_transmit`] has something to do at once.
    pub fn is_ready(&self) -> bool {
        let flows = self.tcp.is_ready() || self.datagrams.is_ready() || self.forwards.is_ready();
        flows || self.services.is_ready() || self.wire.is_waiting()
    }

    /// When [`Nat::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let flows = earliest(self.tcp.poll_timeout(), self.datagrams.poll_timeout());
        let others = [self.endpoint.poll_timeout(), self.forwards.poll_timeout(), self.services.poll_timeout()];
        others.into_iter().fold(flows, earliest)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, host: &mut dyn Host) {
        self.endpoint.handle_timeout(now);
        while let Some(event) = self.endpoint.poll_event() {
            self.services.handle_stream(now, event, &mut self.endpoint, host);
        }
        self.services.handle_timeout(now, &mut self.endpoint);
        self.tcp.handle_timeout(now, host, &mut self.wire);
        self.datagrams.handle_timeout(now, host);
        self.forwards.handle_timeout(now);
    }
}
