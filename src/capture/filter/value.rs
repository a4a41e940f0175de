//! Single words of a filter and what they stand for: protocols, ports, numbers, addresses and networks.

use super::test::Layer;
use std::net::{IpAddr, Ipv4Addr};

/// Protocols by their words.
const LAYERS: [(&str, Layer); 11] = [
    ("ether", Layer::Ether),
    ("ip", Layer::Ip),
    ("ip6", Layer::Ip6),
    ("arp", Layer::Arp),
    ("rarp", Layer::Rarp),
    ("tcp", Layer::Tcp),
    ("udp", Layer::Udp),
    ("sctp", Layer::Sctp),
    ("icmp", Layer::Icmp),
    ("icmp6", Layer::Icmp6),
    ("igmp", Layer::Igmp),
];

/// Ports that have a name here.
const SERVICES: [(&str, u16); 18] = [
    ("ssh", 22),
    ("telnet", 23),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("ntp", 123),
    ("snmp", 161),
    ("https", 443),
    ("syslog", 514),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("mqtt", 1883),
    ("usbip", 3240),
    ("mdns", 5353),
    ("coap", 5683),
    ("coaps", 5684),
];

/// Numbers that have a name in a comparison, as in pcap-filter.
const CONSTANTS: [(&str, u32); 25] = [
    ("tcpflags", 13),
    ("tcp-fin", 1),
    ("tcp-syn", 2),
    ("tcp-rst", 4),
    ("tcp-push", 8),
    ("tcp-ack", 16),
    ("tcp-urg", 32),
    ("tcp-ece", 64),
    ("tcp-cwr", 128),
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-timxceed", 11),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
];

pub fn layer(word: &str) -> Option<Layer> {
    LAYERS.iter().find(|(name, _)| *name == word).map(|(_, layer)| *layer)
}

/// A number with a name in comparisons.
pub fn constant(word: &str) -> Option<u32> {
    CONSTANTS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// A number as C writes it.
pub fn number(word: &str) -> Option<u32> {
    match (word.strip_prefix("0x").or(word.strip_prefix("0X")), word) {
        (Some(digits), _) => u32::from_str_radix(digits, 16).ok(),
        (None, "0") => Some(0),
        (None, word) if word.starts_with('0') => u32::from_str_radix(word, 8).ok(),
        (None, word) if word.starts_with('+') => None,
        (None, word) => word.parse().ok(),
    }
}

pub fn service(word: &str) -> Option<u16> {
    SERVICES.iter().find(|(name, _)| *name == word).map(|(_, port)| *port)
}

pub fn port(word: &str) -> Option<u16> {
    service(word).or_else(|| u16::try_from(number(word)?).ok())
}

/// Ports from one to another. A name may have the sign in it that is between them.
pub fn ports(word: &str) -> Option<(u16, u16)> {
    let (from, to) = word.split_once('-')?;
    let (from, to) = (port(from)?, port(to)?);
    Some((from.min(to), from.max(to)))
}

pub fn ether_type(word: &str) -> Option<u16> {
    Some(match word {
        "ip" => 0x0800,
        "ip6" => 0x86dd,
        "arp" => 0x0806,
        "rarp" => 0x8035,
        _ => u16::try_from(number(word)?).ok().filter(|value| *value >= 1536)?,
    })
}

pub fn protocol(word: &str) -> Option<u8> {
    match layer(word) {
        Some(layer) => layer.number(),
        None => u8::try_from(number(word)?).ok(),
    }
}

pub fn whole(addr: IpAddr) -> (IpAddr, u8) {
    (addr, if addr.is_ipv4() { 32 } else { 128 })
}

/// An address, a network in CIDR form, or the first numbers of one of IPv4: 192.0.2.
pub fn net(word: &str) -> Option<(IpAddr, u8)> {
    let (addr, bits) = match word.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits.parse::<u8>().ok()?)),
        None => (word, None),
    };
    if let Ok(addr) = addr.parse::<IpAddr>() {
        let (addr, all) = whole(addr);
        // Bits that are not of the network are refused by pcap-filter, too.
        let bits = bits.unwrap_or(all);
        return (bits <= all && is_network(addr, bits)).then_some((addr, bits));
    }
    let parts: Vec<u8> = addr.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let mut octets = [0; 4];
    octets.get_mut(..parts.len()).filter(|_| !parts.is_empty())?.copy_from_slice(&parts);
    let addr = IpAddr::V4(Ipv4Addr::from(octets));
    let bits = bits.unwrap_or(8 * parts.len() as u8);
    (bits <= 32 && is_network(addr, bits)).then_some((addr, bits))
}

fn is_network(addr: IpAddr, bits: u8) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0,
        IpAddr::V6(addr) => addr.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0,
    }
}

pub fn mask(word: &str) -> Option<u8> {
    let bits = word.parse::<Ipv4Addr>().ok()?.to_bits();
    let ones = bits.leading_ones();
    (bits.count_ones() == ones).then_some(ones as u8)
}
