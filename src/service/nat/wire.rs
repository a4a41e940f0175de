//! State that all flows share: the gateway's addresses, the translation of guests' addresses to the host's and back,
//! and frames that wait to be sent.

use super::packet::{Headers, MacPair};
use super::stats::Stats;
use crate::config;
use crate::frame::{Batch, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::service::allowance::{Allowance, ICMP_ERRORS};
use crate::service::outside::Outside;
use crate::service::path_mtu::Paths;
use crate::service::station::Station;
use crate::time::Instant;
use crate::wire::{Cidr, Mac, Offload};
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Frames that wait at most; further ones are dropped, as on any link.
const OUTBOX: usize = 1024;

/// Context of a call into a part of the gateway.
pub(super) struct Cx<'a> {
    pub now: Instant,
    pub host: &'a mut dyn Outside,
    pub wire: &'a mut Wire,
}

/// Where a packet of a guest leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// To this address of the host's networks.
    Out(IpAddr),
    /// Nowhere: it is not to leave.
    Forbidden,
    /// To an IPv4 link-local address (RFC 3927, 2.7): the guest gets an ICMP error at once, and need not wait. Cloud
    /// images ask for their metadata at such an address.
    Nowhere,
    /// It is no packet for a gateway: to a neighbour, a group, or nobody.
    Astray,
}

/// See the module.
pub(super) struct Wire {
    pub mac: Mac,
    /// Bytes of the longest IP packet.
    pub mtu: usize,
    pub stats: Stats,
    four: Ipv4Addr,
    six: Option<Ipv6Addr>,
    /// The resolver's address, which may be another one.
    resolver: Option<IpAddr>,
    networks: Vec<Cidr>,
    host_loopback: bool,
    restrict: bool,
    /// Rate limit of ICMP errors to the guests behind each port.
    telling: HashMap<PortId, Allowance, RandomState>,
    /// Path MTUs to guests, as routers behind the switch reported them.
    paths: Paths,
    /// The time of the present call.
    now: Instant,
    outbox: VecDeque<(Vec<u8>, Offload)>,
}

impl Wire {
    pub fn new(nat: &config::Nat, mtu: usize) -> Self {
        let six = nat.ipv6.and_then(|cidr| match cidr.addr {
            IpAddr::V6(addr) => Some(addr),
            IpAddr::V4(_) => None,
        });
        Self {
            mac: nat.mac(),
            mtu,
            stats: Stats::default(),
            four: nat.gateway,
            six,
            resolver: nat.lan.dns.map(IpAddr::V4),
            networks: nat.addrs(),
            host_loopback: nat.host_loopback.unwrap_or(true),
            restrict: nat.restrict,
            telling: HashMap::default(),
            paths: Paths::default(),
            now: Instant::ZERO,
            outbox: VecDeque::new(),
        }
    }

    /// Sets the time of the present call.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Whether another ICMP error may be sent to a guest behind `port`; then it counts as sent.
    pub fn may_tell(&mut self, port: PortId) -> bool {
        self.telling.entry(port).or_insert(ICMP_ERRORS).take(self.now)
    }

    /// Bytes of the longest IP packet that reaches `guest` by way of `whom`.
    pub fn mtu_to(&self, guest: IpAddr, whom: Station) -> usize {
        self.paths.of(self.now, guest, whom).map_or(self.mtu, |told| self.mtu.min(told.into()))
    }

    /// Notes the path MTU to `guest` by way of `whom`.
    pub fn note_path(&mut self, guest: IpAddr, whom: Station, mtu: u16) {
        self.paths.note(self.now, guest, whom, mtu);
    }

    /// The gateway's address of the family of `addr`.
    pub fn gateway(&self, addr: IpAddr) -> Option<IpAddr> {
        match addr {
            IpAddr::V4(_) => Some(self.four.into()),
            IpAddr::V6(_) => self.six.map(IpAddr::V6),
        }
    }

    /// Whether `addr` is one of the gateway's.
    pub fn owns(&self, addr: IpAddr) -> bool {
        self.gateway(addr) == Some(addr) || self.resolver == Some(addr)
    }

    /// Whether a guest can have this address. A link-local one is allowed: a guest may have no other yet, and the host
    /// sends its data from its own address, so no packet with a link-local source leaves the link.
    pub fn is_guest(&self, addr: IpAddr) -> bool {
        self.is_on_link(addr) && !self.owns(addr)
    }

    /// The same for an address that is none of the gateway's.
    fn is_on_link(&self, addr: IpAddr) -> bool {
        let link_local = matches!(addr, IpAddr::V6(addr) if self.six.is_some() && addr.is_unicast_link_local());
        link_local || self.networks.iter().any(|network| network.contains(addr))
    }

    /// Where a packet to `dst` leads.
    pub fn way(&self, dst: IpAddr) -> Way {
        if self.owns(dst) {
            let host_loopback = self.host_loopback && !self.restrict && self.gateway(dst) == Some(dst);
            return match (host_loopback, dst) {
                (false, _) => Way::Forbidden,
                (true, IpAddr::V4(_)) => Way::Out(Ipv4Addr::LOCALHOST.into()),
                (true, IpAddr::V6(_)) => Way::Out(Ipv6Addr::LOCALHOST.into()),
            };
        }
        let odd = match dst {
            IpAddr::V4(dst) if dst.is_link_local() => return Way::Nowhere,
            IpAddr::V4(dst) => dst.is_broadcast() || dst.octets()[0] == 0,
            IpAddr::V6(dst) => dst.is_unicast_link_local() || dst.to_ipv4_mapped().is_some(),
        };
        if odd || dst.is_multicast() || dst.is_unspecified() || dst.is_loopback() || self.is_on_link(dst) {
            return Way::Astray;
        }
        if self.restrict { Way::Forbidden } else { Way::Out(dst) }
    }

    /// Whether a packet to `dst` is forwarded, so that its hop limit counts: not one that ends here, or leads nowhere.
    pub fn passes_on(&self, dst: IpAddr) -> bool {
        !self.owns(dst) && matches!(self.way(dst), Way::Out(_) | Way::Forbidden)
    }

    /// Where the first packet of a flow to `dst` leads. Without `host-loopback` none leads to the host, by any of its
    /// addresses: they are looked up now, as they change.
    pub fn way_of_new(&self, dst: IpAddr, host: &mut dyn Outside) -> Way {
        match self.way(dst) {
            Way::Out(addr) if !self.host_loopback && host.is_own(addr) => Way::Forbidden,
            way => way,
        }
    }

    /// The address by which guests know the host's `addr`. `None`: they cannot know it.
    pub fn seen_as(&self, addr: SocketAddr) -> Option<SocketAddr> {
        let ip = addr.ip().to_canonical();
        let ip = if ip.is_loopback() { self.gateway(ip)? } else { ip };
        Some(SocketAddr::new(ip, addr.port()))
    }

    /// From the gateway to a guest.
    pub fn link(&self, guest: Mac) -> MacPair {
        MacPair { src: self.mac, dst: guest }
    }

    /// Notes whether a packet for a guest found room.
    pub fn count(&mut self, sent: bool) {
        self.stats.overrun += u64::from(!sent);
    }

    /// Queues a frame.
    pub fn send(&mut self, headers: &Headers, parts: &[&[u8]], offload: Offload) {
        if self.outbox.len() >= OUTBOX {
            self.stats.overrun += 1;
            return;
        }
        let mut frame = headers.bytes().to_vec();
        parts.iter().for_each(|part| frame.extend_from_slice(part));
        self.outbox.push_back((frame, offload));
    }

    /// Whether frames wait.
    pub fn is_waiting(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Moves frames that wait to `out`.
    pub fn drain(&mut self, out: &mut Batch) {
        while has_room(out) {
            let Some((frame, offload)) = self.outbox.pop_front() else { return };
            out.push(&frame, PortId(0), offload);
        }
    }
}

/// Bytes of the longest datagram in fragments: the shortest that are made are 119 of it, each with its headers.
const LONGEST: usize = MAX_FRAME + 128 * (PREFIX + Headers::ROOM);

/// Whether the longest frame fits, and the longest datagram in fragments.
pub(super) fn has_room(out: &Batch) -> bool {
    out.free() >= LONGEST
}
