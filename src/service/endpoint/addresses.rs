//! The addresses of an endpoint: filters of frames and packets, source address selection, and the next hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::{EndpointConfig, mask4};
use crate::wire::{Cidr, Mac};

/// ff02::1, every node of the link (RFC 4291, section 2.7.1).
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Addresses of one endpoint. Every list is short and walked from the front.
pub(super) struct Addresses {
    pub mac: Mac,
    pub link_local: Ipv6Addr,
    /// It announces itself as a router (RFC 4861: IsRouter).
    pub router: bool,
    own: Vec<Cidr>,
    gateways: Vec<IpAddr>,
}

impl Addresses {
    /// The addresses of a checked configuration, and the link-local one made from the MAC.
    pub fn new(config: &EndpointConfig) -> Self {
        let link_local = link_local(config.mac);
        let mut own = config.addrs.clone();
        if !own.iter().any(|cidr| cidr.addr == IpAddr::V6(link_local)) {
            own.push(Cidr { addr: link_local.into(), prefix: 64 });
        }
        Self { mac: config.mac, link_local, router: config.router, own, gateways: config.gateways.clone() }
    }

    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.own.iter().map(|cidr| cidr.addr)
    }

    /// Whether `addr` is one of ours.
    pub fn owns(&self, addr: IpAddr) -> bool {
        self.iter().any(|own| own == addr)
    }

    /// Whether `addr` is a neighbour: in one of our networks.
    pub fn on_link(&self, addr: IpAddr) -> bool {
        self.own.iter().any(|cidr| cidr.contains(addr))
    }

    /// Whether a frame to `dst` is for us: our MAC, broadcast, or a group that we are in.
    pub fn hears(&self, dst: Mac) -> bool {
        dst == self.mac
            || dst == Mac::BROADCAST
            || (dst.is_group() && self.groups().any(|group| group_mac(group) == dst))
    }

    /// The IPv6 groups that we are in: all nodes, and the solicited-node group of each address.
    pub fn groups(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        std::iter::once(ALL_NODES).chain(self.solicited_node_groups())
    }

    /// The solicited-node group of each IPv6 address; addresses with the same last 24 bits share one.
    pub fn solicited_node_groups(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.iter().filter_map(|addr| match addr {
            IpAddr::V6(addr) => Some(solicited_node(addr)),
            IpAddr::V4(_) => None,
        })
    }

    /// Whether a packet can have come from `addr`: a unicast address that is not ours and not a network's broadcast.
    pub fn plausible_source(&self, addr: IpAddr) -> bool {
        if addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || self.owns(addr) {
            return false;
        }
        match addr {
            IpAddr::V4(addr) => !addr.is_broadcast() && !self.is_directed_broadcast(addr),
            IpAddr::V6(_) => true,
        }
    }

    fn is_directed_broadcast(&self, addr: Ipv4Addr) -> bool {
        self.own.iter().any(|cidr| match cidr.addr {
            IpAddr::V4(own) if cidr.prefix < 31 => u32::from(own) | mask4(cidr.prefix) == u32::from(addr),
            _ => false,
        })
    }

    /// The next hop to `dst`: `dst` itself on the link, or the gateway. `None`: no route.
    pub fn next_hop(&self, dst: IpAddr) -> Option<IpAddr> {
        if self.on_link(dst) {
            return Some(dst);
        }
        self.gateways.iter().copied().find(|gateway| gateway.is_ipv4() == dst.is_ipv4())
    }

    /// Our address for talking to `dst`: one of its network first; of its family otherwise, the longest common prefix
    /// winning in IPv6 (RFC 6724, section 5, rules 2 and 8).
    pub fn source_for(&self, dst: IpAddr) -> Option<IpAddr> {
        if let Some(cidr) = self.own.iter().find(|cidr| cidr.contains(dst)) {
            return Some(cidr.addr);
        }
        match dst {
            IpAddr::V4(_) => self.iter().find(IpAddr::is_ipv4),
            IpAddr::V6(dst) if is_link_scope(dst) => Some(self.link_local.into()),
            IpAddr::V6(dst) => Some(self.longest_match(dst).unwrap_or(self.link_local).into()),
        }
    }

    fn longest_match(&self, dst: Ipv6Addr) -> Option<Ipv6Addr> {
        let common = |own: &Ipv6Addr| (u128::from(*own) ^ u128::from(dst)).leading_zeros();
        let global = self.iter().filter_map(|addr| match addr {
            IpAddr::V6(addr) if !addr.is_unicast_link_local() => Some(addr),
            _ => None,
        });
        global.max_by_key(common)
    }
}

fn is_link_scope(addr: Ipv6Addr) -> bool {
    addr.is_unicast_link_local() || addr.octets()[..2] == [0xff, 0x02]
}

/// fe80::/64 and the modified EUI-64 of `mac` (RFC 4291, appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let Mac([a, b, c, d, e, f]) = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// ff02::1:ffXX:XXXX of an address (RFC 4291, section 2.7.1).
pub(super) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// 33:33 and the last 32 bits of an IPv6 group (RFC 2464, section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(addrs: &[&str], gateways: &[&str]) -> Addresses {
        let addrs = addrs.iter().map(|text| text.parse().unwrap()).collect();
        let mut config = EndpointConfig::new(Mac([2, 0, 0x5e, 0, 0x53, 1]), addrs);
        config.gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
        config.check().unwrap();
        Addresses::new(&config)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn link_local_and_groups_follow_the_mac() {
        let own = addresses(&["2001:db8::12:3456/64"], &[]);
        assert!(own.owns(ip("fe80::5eff:fe00:5301")));
        assert!(own.hears(Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])));
        assert!(own.hears(Mac([0x33, 0x33, 0xff, 0x00, 0x53, 0x01])));
        assert!(own.hears(Mac([0x33, 0x33, 0, 0, 0, 1])));
        assert!(!own.hears(Mac([0x33, 0x33, 0, 0, 0, 2])));
        assert!(!own.hears(Mac([2, 0, 0x5e, 0, 0x53, 2])));
    }

    #[test]
    fn routes_and_sources() {
        let own =
            addresses(&["192.0.2.1/24", "198.51.100.1/24", "2001:db8::1/64", "2001:db8:1::1/64"], &["192.0.2.254"]);
        assert_eq!(own.next_hop(ip("192.0.2.7")), Some(ip("192.0.2.7")));
        assert_eq!(own.next_hop(ip("203.0.113.7")), Some(ip("192.0.2.254")));
        assert_eq!(own.next_hop(ip("2001:db8:2::7")), None);
        assert_eq!(own.source_for(ip("198.51.100.7")), Some(ip("198.51.100.1")));
        assert_eq!(own.source_for(ip("203.0.113.7")), Some(ip("192.0.2.1")));
        assert_eq!(own.source_for(ip("2001:db8:1:1::7")), Some(ip("2001:db8:1::1")));
        assert_eq!(own.source_for(ip("ff02::1")), Some(ip("fe80::5eff:fe00:5301")));
        assert_eq!(addresses(&[], &[]).source_for(ip("192.0.2.7")), None);
    }

    #[test]
    fn implausible_sources() {
        let own = addresses(&["192.0.2.1/24"], &[]);
        for bad in ["0.0.0.0", "255.255.255.255", "192.0.2.255", "192.0.2.1", "224.0.0.1", "127.0.0.1", "::", "::1"] {
            assert!(!own.plausible_source(ip(bad)), "{bad}");
        }
        assert!(own.plausible_source(ip("192.0.2.2")) && own.plausible_source(ip("fe80::1")));
    }
}
