//! `nat:`: the way out. A gateway on the switch whose connections beyond are ordinary sockets of the host.
//!
//! # Theory of operation
//! Towards the switch the gateway is an [`Endpoint`], which answers ARP, neighbour discovery and pings. Traffic through
//! it is taken apart here: TCP connections end in a small TCP of the gateway's own (`tcp`), UDP and pings are handed on
//! by datagram (`datagram`), and a failure of the host is answered as a router would, by ICMP (`icmp`). Questions to
//! the gateway itself, such as DHCP's, go to its [`Servers`] (`local`).
//!
//! ```text
//!  guests ── frames ── Nat ─┬─ Endpoint   ARP, ND, pings to the gateway
//!                           ├─ local      what the gateway itself serves
//!                           ├─ tcp        flow ⇄ connection of the host
//!                           └─ datagram   guest's port ⇄ UDP socket; ping's identifier ⇄ ping socket
//! ```
//!
//! # The walk of a TCP segment
//! ```text
//! Nat::handle_frame     an IP packet to the gateway's MAC; all else is the endpoint's
//!   Packet::read        lengths and header checksum hold (wire::ip)
//!   handle_packet       of a guest's address; a fragment waits in reassembly until the datagram is whole
//!   translate           the checksum holds, it has a hop left, and it may go there
//!   Tcp::handle         its flow, found by its addresses; a SYN begins one with Outside::connect
//!   Flow::handle        Connection::handle takes it, its bytes go into Outside::send, an acknowledgement is owed
//! Nat::poll_transmit    takes turns
//!   Flow::work          Outside::recv into the sender's ring, as much as the guest's window and the memory allow
//!   Connection::next    says which bytes leave; Flow::emit writes their headers and them into the port's batch
//! ```
//!
//! Nothing here blocks or touches a descriptor: sockets are the [`Outside`]'s, which also reports their events. A frame
//! or an event does a bounded amount of work; bulk transfer takes turns in [`Nat::poll_transmit`].

mod change;
mod datagram;
mod forward;
#[cfg(test)]
mod guest;
mod icmp;
mod local;
mod packet;
mod reassembly;
mod report;
mod stats;
mod tcp;
mod wire;

pub(crate) use stats::DROPS;
pub use stats::{Flows, Stats};

use super::endpoint::{DEFAULT_MTU, Endpoint, EndpointConfig};
use super::lan::servers::LanServers;
use crate::config::{self, Forward, PortSpec};
use crate::error::Result;
use crate::frame::{Batch, PortId};
use crate::service::change::{Change, Changed};
use crate::service::detail::Details;
use crate::service::lease::Lease;
use crate::service::machine::{Arrived, Service, Unsent};
use crate::service::outside::{Datagrams, Event, Found, Outside, Refusal, SocketId, Want};
use crate::service::path_mtu::TooBig;
use crate::service::questions::Servers;
use crate::service::report::Report;
use crate::service::station::Station;
use crate::time::{Instant, earliest};
use crate::wire::{Cidr, Ethernet, Gso, Offload, arp, neighbour, segment};
use packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV4, ICMPV6, Packet, TCP, UDP};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::SystemTime;
use wire::{Cx, Wire, has_room};

/// The window of connections that end in the endpoint, those to the servers.
const WINDOW: usize = 64 << 10;
/// Parts that take turns at filling a batch first: TCP, datagrams, forwards with the servers, and the endpoint's queue.
const PARTS: u8 = 4;

/// See the module.
pub struct Nat {
    endpoint: Endpoint,
    wire: Wire,
    tcp: tcp::Tcp,
    datagrams: datagram::Ports,
    forwards: forward::Forwards,
    reassembly: reassembly::Reassembly,
    local: local::Local,
    /// Identification of the gateway's own next fragmented packet.
    number: u32,
    /// The part that began with the last batch.
    first: u8,
    /// The last batch was full, perhaps before every part had a turn.
    full: bool,
    told: report::Told,
    /// The version of the leases that were last given to be stored.
    saved: u64,
    /// Forwards may be addresses that other hosts can reach.
    public: bool,
    networks: Vec<Cidr>,
}

impl Nat {
    /// The gateway of the port `spec`, whose kind is `nat`. `seed` is a number that nobody can guess.
    ///
    /// # Errors
    /// Class usage: addresses that cannot work.
    pub fn new(spec: &PortSpec, nat: &config::Nat, seed: u64) -> Result<Self> {
        let mut config = EndpointConfig::new(nat.mac(), nat.addrs());
        config.seed = seed;
        if let Some(mtu) = spec.mtu {
            config.mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        }
        let resolver = nat.lan.dns.filter(|dns| *dns != nat.gateway);
        config.addrs.extend(resolver.map(|dns| Cidr { addr: dns.into(), prefix: nat.prefix }));
        config.limits.window = WINDOW;
        config.router = !nat.restrict;
        Ok(Self {
            endpoint: Endpoint::new(&config)?,
            wire: Wire::new(nat, config.mtu.into()),
            tcp: tcp::Tcp::new(seed),
            datagrams: datagram::Ports::new(seed),
            forwards: forward::Forwards::new(seed),
            reassembly: reassembly::Reassembly::default(),
            local: local::Local::default(),
            number: seed as u32,
            first: 0,
            full: false,
            told: report::Told::default(),
            saved: 0,
            public: nat.public,
            networks: nat.addrs(),
        })
    }

    /// The same with its servers, and with all that it obtains from the host.
    ///
    /// # Errors
    /// As [`Nat::new`], and failures to open.
    pub fn serving(
        spec: &PortSpec,
        nat: &config::Nat,
        now: Instant,
        outside: &mut dyn Outside,
        seed: u64,
    ) -> Result<Self> {
        let mut gateway = Self::new(spec, nat, seed)?;
        let mtu = spec.mtu.map_or(DEFAULT_MTU, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
        let mut servers = LanServers::new(nat, mtu, seed);
        if let Some(path) = &nat.lan.leases
            && let (_, Found::Leases(leases)) = outside.obtain(&Want::Leases(path.clone()))?
        {
            servers.restore(now, &leases);
        }
        gateway.set_servers(Box::new(servers))?;
        if let Some(path) = &nat.lan.tftp {
            let here = nat.lan.bootfiles.iter().filter(|boot| !boot.is_url());
            let expects = here.map(|boot| boot.file.clone()).collect();
            let folder = Want::Folder { path: path.clone(), writes: nat.lan.tftp_write, expects };
            if let (_, Found::Missing(files)) = outside.obtain(&folder)? {
                for file in files {
                    let (name, folder) = (&spec.name, path.display());
                    log::warn!("{name}: there is no file {file} in {folder} yet, which boards are told to boot");
                }
            }
        }
        for forward in &nat.forwards {
            let (socket, found) = outside.obtain(&Want::Forward(forward.protocol, forward.listen))?;
            let bound = found.listening().unwrap_or(forward.listen);
            log::info!("{}: {} {bound} leads to {}", spec.name, forward.protocol, forward.guest);
            gateway.add_forward(socket, Forward { listen: bound, ..*forward });
        }
        Ok(gateway)
    }

    /// Forwards connections or datagrams of `socket`, which listens, to a guest.
    pub fn add_forward(&mut self, socket: SocketId, forward: Forward) {
        self.forwards.add(socket, forward);
    }

    /// Sets the servers: packets to the gateway's addresses, multicast and broadcast go to these first.
    ///
    /// # Errors
    /// The port of its streams is none.
    pub fn set_servers(&mut self, servers: Box<dyn Servers>) -> Result<()> {
        self.local.set(servers, &mut self.endpoint)
    }

    /// The leases that the servers have given out.
    pub fn leases(&self, now: Instant) -> Vec<Lease> {
        self.local.leases(now)
    }

    /// A number that is another one when a lease has changed.
    pub fn leases_version(&self) -> u64 {
        self.local.leases_version()
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        let Stats { foreign, ignored, overrun, malformed, .. } = self.wire.stats;
        Stats {
            foreign: foreign + self.endpoint.stats().foreign,
            ignored: ignored + self.reassembly.lost,
            overrun: overrun + self.local.dropped(),
            malformed: malformed + self.local.malformed(),
            ..self.wire.stats
        }
    }

    /// Its present flows, by protocol.
    pub fn flows(&self) -> Flows {
        Flows {
            tcp: self.tcp.len(),
            udp: self.datagrams.count(Datagrams::Udp) + self.forwards.clients(),
            echo: self.datagrams.count(Datagrams::Echo),
            held: self.tcp.held(),
        }
    }

    /// Takes a UDP GSO frame apart into its datagrams: servers and clients of forwards take them one by one.
    fn handle_segments(&mut self, now: Instant, arrived: Arrived<'_>, host: &mut dyn Outside) {
        let Arrived { ingress, frame, offload } = arrived;
        let each = |parts: &[&[u8]]| {
            self.handle_frame(now, Arrived { ingress, frame: &parts.concat(), offload: Offload::NONE }, host);
        };
        if segment::finish(frame, &offload, each).is_err() {
            self.wire.stats.malformed += 1;
        }
    }

    fn handle_packet(
        &mut self,
        now: Instant,
        whom: Station,
        packet: Packet<'_>,
        Arrived { frame, offload, .. }: Arrived<'_>,
        host: &mut dyn Outside,
    ) {
        // A router is known by its link-local address (RFC 4861, 4.2), which is the endpoint's.
        let link_local = matches!(packet.dst, IpAddr::V6(dst) if dst.is_unicast_link_local());
        let beyond = |wire: &Wire| !wire.owns(packet.dst) && !link_local;
        let too_big = TooBig::read(&packet).filter(|_| packet.checksum_fits(offload.checksum));
        if let Some(told) = too_big.filter(|_| self.wire.is_guest(packet.src))
            && self.handle_too_big(&told, whom)
        {
            return;
        }
        let ours = match packet.protocol {
            _ if packet.fragment.is_some() => true,
            TCP | UDP => true,
            ICMPV4 | ICMPV6 => icmp::is_request(&packet) && beyond(&self.wire),
            _ => beyond(&self.wire),
        };
        if !ours || packet.dst.is_multicast() {
            self.hear_six(frame, whom);
            return self.endpoint.handle_frame_from(now, whom.ingress, frame);
        }
        if !self.wire.is_guest(packet.src) || whom.mac.is_group() {
            self.wire.stats.foreign += 1;
            // The source's prefix is not valid any more: the guest is to take another address (RFC 7084, L-14).
            if packet.src.is_ipv6() && beyond(&self.wire) && !whom.mac.is_group() && packet.may_be_told() {
                icmp::refuse(&mut self.wire, whom, packet.src, Refusal::Source, packet.whole);
            }
            return;
        }
        if self.local.hears_stream(&packet) {
            // The endpoint takes plain frames only.
            let each = |parts: &[&[u8]]| self.endpoint.handle_frame_from(now, whom.ingress, &parts.concat());
            if segment::finish(frame, &offload, each).is_err() {
                self.wire.stats.malformed += 1;
            }
            return;
        }
        if packet.fragment.is_some() {
            if let Some(whole) = self.reassembly.add(now, whom, &packet)
                && !self.local.handle(now, whom, &whole.packet(), Offload::NONE, host)
            {
                self.translate(now, whom, whole.packet(), Offload::NONE, host);
            }
            return;
        }
        self.translate(now, whom, packet, offload, host);
    }

    /// ICMP "too big" from a router behind the switch, or from the end of a line, for a packet to a guest. `false`: the
    /// packet is not known to be one of ours.
    fn handle_too_big(&mut self, told: &TooBig<'_>, whom: Station) -> bool {
        if !self.wire.is_guest(told.dst) {
            return false;
        }
        let is_on_the_way = |there: Option<Station>| there.is_some_and(|there| whom.is_on_the_way_to(&there));
        // An answer of the gateway's own servers is of no flow: then the neighbour table decides.
        let has_address = is_on_the_way(self.endpoint.station(told.dst));
        let known = match told.protocol {
            TCP => (has_address || is_on_the_way(self.tcp.station_of(told))) && self.tcp.handle_too_big(told),
            _ => self.datagrams.has_sent(told, whom).unwrap_or(has_address && self.wire.owns(told.src)),
        };
        if known {
            self.wire.note_path(told.dst, whom, told.mtu);
        }
        known
    }

    /// Takes an unfragmented packet of a guest to the world or to the host.
    fn translate(&mut self, now: Instant, whom: Station, packet: Packet<'_>, offload: Offload, host: &mut dyn Outside) {
        if !packet.checksum_fits(offload.checksum) {
            self.wire.stats.malformed += 1;
            return;
        }
        if packet.hop_limit <= 1 && self.wire.passes_on(packet.dst) {
            self.wire.stats.ignored += 1;
            if packet.may_be_told() {
                icmp::refuse(&mut self.wire, whom, packet.src, Refusal::Hops, packet.whole);
            }
            return;
        }
        if whom.ingress.isolated && self.reaches_isolated(now, whom, &packet, host) {
            self.wire.stats.forbidden += 1;
            return icmp::refuse(&mut self.wire, whom, packet.src, Refusal::Prohibited, packet.whole);
        }
        let cx = &mut Cx { now, host, wire: &mut self.wire };
        match packet.protocol {
            TCP => self.tcp.handle(cx, (whom, &mut self.endpoint), &packet),
            UDP if cx.wire.owns(packet.dst) && self.forwards.handle(cx, whom.mac, &packet) => {}
            ICMPV4 | ICMPV6 if cx.wire.owns(packet.dst) && icmp::is_request(&packet) => {
                self.number = self.number.wrapping_add(1);
                icmp::pong(cx.wire, whom, &packet, self.number);
            }
            ICMPV4 | ICMPV6 if !icmp::is_request(&packet) => cx.wire.stats.ignored += 1,
            UDP | ICMPV4 | ICMPV6 => {
                let segment = (offload.gso == Gso::Udp).then_some(offload.gso_size.into());
                self.datagrams.handle(cx, (whom, segment), &packet);
            }
            _ => cx.wire.stats.ignored += 1,
        }
    }

    /// Whether a packet from an isolated port leads, through a forward, to a guest behind another one. Until the
    /// guest's port is known the answer is yes, and ARP or ND asks for it: the sender retransmits.
    fn reaches_isolated(&mut self, now: Instant, whom: Station, packet: &Packet<'_>, host: &mut dyn Outside) -> bool {
        let Some(guest) = self.forwards.behind(packet, &self.wire, host) else { return false };
        let there = self.endpoint.neighbour(now, guest).and_then(|_| self.endpoint.station(guest));
        there.is_none_or(|there| there.ingress.isolated && there.port() != whom.port())
    }

    /// A station may say that it has an IPv6 address.
    fn hear_six(&mut self, frame: &[u8], whom: Station) {
        if neighbour::may_say(frame)
            && let Some(said) = neighbour::said(frame).filter(|said| said.mac == whom.mac)
            && let IpAddr::V6(addr) = said.addr
        {
            self.local.hear_six(said.mac, addr);
        }
    }

    /// Whether [`Nat::poll_transmit`] has something to do at once.
    fn is_ready(&self) -> bool {
        self.tcp.is_ready()
            || self.datagrams.is_ready()
            || self.forwards.is_ready()
            || self.local.is_ready()
            || self.wire.is_waiting()
            || self.full
    }
}

impl Service for Nat {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, host: &mut dyn Outside) {
        let Arrived { ingress, frame, offload } = arrived;
        self.wire.set_now(now);
        let Ok(view) = Ethernet::new(frame) else {
            self.wire.stats.malformed += 1;
            return;
        };
        let (ether_type, whom) = (view.ether_type().0, Station { mac: view.source(), ingress });
        if let Some((addr, mac)) = arp::sender(&view) {
            self.local.hear(now, addr, Station { mac, ingress });
        }
        let ip = matches!(ether_type, ETHERTYPE_IPV4 | ETHERTYPE_IPV6) && view.is_untagged();
        let own = view.destination() == self.wire.mac;
        if !ip || !(own || (view.destination().is_group() && self.local.hears_groups())) {
            // The endpoint checks the destination.
            return self.endpoint.handle_frame_from(now, ingress, frame);
        }
        match Packet::read(ether_type, view.payload()).and_then(Packet::carried) {
            Ok(packet) if offload.gso == Gso::Udp && (!own || self.wire.owns(packet.dst)) => {
                self.handle_segments(now, arrived, host);
            }
            Ok(packet) if self.local.handle(now, whom, &packet, offload, host) => {}
            Ok(packet) if own => self.handle_packet(now, whom, packet, arrived, host),
            Ok(_) => {
                self.hear_six(frame, whom);
                self.endpoint.handle_frame_from(now, ingress, frame);
            }
            Err(_) => self.wire.stats.malformed += 1,
        }
    }

    /// Guests behind these ports get keep-alive probes.
    fn handle_departures(&mut self, now: Instant, ports: &BTreeSet<PortId>) {
        self.tcp.doubt(now, ports);
    }

    fn handle_event(&mut self, now: Instant, event: Event, host: &mut dyn Outside) {
        self.wire.set_now(now);
        let cx = &mut Cx { now, host, wire: &mut self.wire };
        if !self.tcp.handle_event(event.socket, event.readable, event.writable)
            && !self.datagrams.handle_event(cx, event.socket, event.refused)
            && !self.forwards.handle_event(event.socket)
        {
            self.local.handle_event(now, event, cx.host);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let flows = earliest(self.tcp.poll_timeout(), self.datagrams.poll_timeout());
        let others = [self.endpoint.poll_timeout(), self.forwards.poll_timeout(), self.local.poll_timeout()];
        others.into_iter().fold(flows, earliest)
    }

    fn handle_timeout(&mut self, now: Instant, host: &mut dyn Outside) {
        self.wire.set_now(now);
        self.endpoint.handle_timeout(now);
        while let Some(event) = self.endpoint.poll_event() {
            self.local.handle_stream(now, event, &mut self.endpoint, host);
        }
        self.tcp.handle_timeout(&mut Cx { now, host, wire: &mut self.wire });
        self.datagrams.handle_timeout(now, host);
        self.forwards.handle_timeout(now);
        self.local.handle_timeout(now, host);
    }

    /// Moves bytes between guests and the host, and puts frames into `out`, as many as fit. The first part may fill it
    /// alone, so each time another one is first.
    fn poll_transmit(&mut self, now: Instant, host: &mut dyn Outside, out: &mut Batch) -> bool {
        self.wire.set_now(now);
        self.first = (self.first + 1) % PARTS;
        let cx = &mut Cx { now, host, wire: &mut self.wire };
        for turn in 0..PARTS {
            match (self.first + turn) % PARTS {
                0 => self.tcp.work(cx, out),
                1 => self.datagrams.work(cx, out),
                2 => {
                    self.forwards.work(cx, &mut self.endpoint, &mut self.tcp, out);
                    self.local.work(cx, &mut self.endpoint, out);
                }
                _ => {
                    cx.wire.drain(out);
                    self.endpoint.fill(now, out);
                }
            }
        }
        self.full = !has_room(out);
        if self.leases_version() != self.saved {
            self.saved = self.leases_version();
            host.save_leases(self.leases(now));
        }
        self.is_ready()
    }

    fn poll_report(&mut self, now: Instant, wall: fn() -> SystemTime) -> Option<Report> {
        self.tell(now, wall)
    }

    fn details(&self, now: Instant, from: usize) -> Details {
        self.page(now, from)
    }

    fn change(&mut self, now: Instant, change: &Change, host: &mut dyn Outside) -> Result<Changed> {
        self.carry_out(now, change, host)
    }

    fn takes_offloads(&self) -> bool {
        true
    }

    /// Bytes of guests that have sent their FIN still leave.
    fn unsent(&self, _: &dyn Outside) -> Vec<Unsent> {
        let bytes = self.tcp.last_words();
        let unsent = Unsent { from: "a gateway".to_owned(), bytes, taken: true };
        if bytes > 0 { vec![unsent] } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests;
