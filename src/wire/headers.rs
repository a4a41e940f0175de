//! Writing the headers of IP packets, for gateways, endpoints, and clients without an address.
//!
//! They are written byte by byte and not by etherparse, whose slices read them ([`ip`](super::ip)): a gateway writes one for
//! each packet, into an array that has its place from the start. The tests read it with these slices.

use super::Mac;
use super::checksum::{Sum, pseudo_v4, pseudo_v6};
use super::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, FRAGMENT, Fragment, ICMPV6, MORE_FRAGMENTS, UDP};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Bytes of an untagged Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// Bytes of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;

const HOP_LIMIT: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;

/// The sum of a pseudo header; of IPv4 if both addresses are.
pub(crate) fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Sum {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_v4(src.octets(), dst.octets(), protocol, length as u32),
        (src, dst) => pseudo_v6(octets_v6(src), octets_v6(dst), protocol, length as u32),
    }
}

fn octets_v6(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// A UDP header in front of `length` bytes, whose checksum is 0 yet, and the sum of its pseudo header.
pub(crate) fn udp((from, to): (SocketAddr, SocketAddr), length: usize) -> ([u8; UDP_HEADER], Sum) {
    let length = UDP_HEADER + length;
    let ([f0, f1], [t0, t1]) = (from.port().to_be_bytes(), to.port().to_be_bytes());
    let [l0, l1] = (length as u16).to_be_bytes();
    ([f0, f1, t0, t1, l0, l1, 0, 0], pseudo(from.ip(), to.ip(), UDP, length))
}

/// Writes the checksum of an ICMP message of either family.
pub(crate) fn finish_icmp(message: &mut [u8], (src, dst): (IpAddr, IpAddr)) {
    let length = message.len();
    let mut put = |sum: u16| {
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        Sum::ZERO.add_bytes(message)
    };
    let sum = put(0);
    let sum = if dst.is_ipv4() { sum } else { sum.join(pseudo(src, dst, ICMPV6, length)) };
    put(sum.checksum());
}

/// The headers in front of a payload, under construction.
pub(crate) struct Headers {
    bytes: [u8; Self::ROOM],
    len: usize,
    ip_at: usize,
}

/// From which MAC to which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MacPair {
    pub src: Mac,
    pub dst: Mac,
}

impl Headers {
    /// Ethernet, IPv6 with a fragment header, TCP with all its options.
    pub const ROOM: usize = ETHERNET + 48 + 60;

    /// Ethernet and IP headers of a packet that carries `length` bytes of `protocol`; `fragment` if it is one.
    pub fn new(
        link: MacPair,
        addrs: (IpAddr, IpAddr),
        protocol: u8,
        length: usize,
        fragment: Option<Fragment>,
    ) -> Self {
        let mut headers = Self { bytes: [0; Self::ROOM], len: 0, ip_at: ETHERNET };
        headers.push(&link.dst.0);
        headers.push(&link.src.0);
        headers.push(&if addrs.1.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }.to_be_bytes());
        headers.ip(addrs, protocol, length, fragment);
        headers
    }

    /// The IP header alone.
    pub fn packet(addrs: (IpAddr, IpAddr), protocol: u8, length: usize) -> Self {
        let mut headers = Self { bytes: [0; Self::ROOM], len: 0, ip_at: 0 };
        headers.ip(addrs, protocol, length, None);
        headers
    }

    #[inline]
    fn ip(&mut self, (src, dst): (IpAddr, IpAddr), protocol: u8, length: usize, fragment: Option<Fragment>) {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.ipv4(src, dst, protocol, length, fragment),
            (src, dst) => self.ipv6(octets_v6(src), octets_v6(dst), protocol, length, fragment),
        }
    }

    fn ipv4(&mut self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: usize, fragment: Option<Fragment>) {
        let place =
            fragment.map_or(DONT_FRAGMENT, |it| (it.offset / 8) as u16 | if it.more { MORE_FRAGMENTS } else { 0 });
        self.push(&[0x45, 0]);
        self.push(&((20 + length) as u16).to_be_bytes());
        self.push(&(fragment.map_or(0, |it| it.id) as u16).to_be_bytes());
        self.push(&place.to_be_bytes());
        self.push(&[HOP_LIMIT, protocol, 0, 0]);
        self.push(&src.octets());
        self.push(&dst.octets());
        let sum = Sum::ZERO.add_bytes(self.bytes.get(self.ip_at..self.len).unwrap_or_default()).checksum();
        self.set(self.ip_at + 10, sum.to_be_bytes());
    }

    fn ipv6(&mut self, src: [u8; 16], dst: [u8; 16], protocol: u8, length: usize, fragment: Option<Fragment>) {
        let extension = if fragment.is_some() { 8 } else { 0 };
        self.push(&[0x60, 0, 0, 0]);
        self.push(&((length + extension) as u16).to_be_bytes());
        self.push(&[if fragment.is_some() { FRAGMENT } else { protocol }, HOP_LIMIT]);
        self.push(&src);
        self.push(&dst);
        if let Some(it) = fragment {
            self.push(&[protocol, 0]);
            self.push(&(it.offset as u16 & 0xfff8 | u16::from(it.more)).to_be_bytes());
            self.push(&it.id.to_be_bytes());
        }
    }

    /// Appends bytes, as far as there is room for them.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Overwrites two bytes.
    pub fn set(&mut self, at: usize, value: [u8; 2]) {
        if let Some(room) = self.bytes.get_mut(at..at + 2) {
            room.copy_from_slice(&value);
        }
    }

    /// Overwrites the hop limit, which is 64. Of IPv6, which has no checksum over it.
    pub fn set_hop_limit(&mut self, hops: u8) {
        if let Some(field) = self.bytes.get_mut(self.ip_at + 7) {
            *field = hops;
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::{ICMPV4, Packet, TCP};

    fn addrs(src: &str, dst: &str) -> (IpAddr, IpAddr) {
        (src.parse().unwrap(), dst.parse().unwrap())
    }

    #[test]
    fn what_is_written_reads_back() {
        for (addrs, ethertype) in
            [(addrs("192.0.2.1", "192.0.2.2"), ETHERTYPE_IPV4), (addrs("2001:db8::1", "2001:db8::2"), ETHERTYPE_IPV6)]
        {
            for fragment in [None, Some(Fragment { id: 9, offset: 1480, more: true })] {
                let link = MacPair { src: Mac([2, 0, 0, 0, 0, 1]), dst: Mac([2, 0, 0, 0, 0, 2]) };
                let headers = Headers::new(link, addrs, TCP, 4, fragment);
                let bytes = [headers.bytes(), b"data"].concat();
                assert_eq!(bytes[12..14], ethertype.to_be_bytes());
                let packet = Packet::read(ethertype, &bytes[ETHERNET..]).unwrap().carried().unwrap();
                assert_eq!((packet.src, packet.dst, packet.hop_limit, packet.protocol), (addrs.0, addrs.1, 64, TCP));
                assert_eq!((packet.payload, packet.fragment), (&b"data"[..], fragment));
                assert_eq!(packet.is_kept_whole(), fragment.is_none());
                if fragment.is_none() {
                    assert_eq!(Headers::packet(addrs, TCP, 4).bytes(), &headers.bytes()[ETHERNET..]);
                }
            }
        }
    }

    #[test]
    fn checksums_fit() {
        for (src, dst, protocol) in [("192.0.2.1", "192.0.2.2", ICMPV4), ("fe80::1", "ff02::1", ICMPV6)] {
            let addrs = addrs(src, dst);
            let mut message = [8, 0, 7, 7, 1, 2, 3, 4, 5];
            finish_icmp(&mut message, addrs);
            let seed = if protocol == ICMPV4 { Sum::ZERO } else { pseudo(addrs.0, addrs.1, protocol, 9) };
            assert_eq!(seed.add_bytes(&message).checksum(), 0);
            let (header, seed) = udp((SocketAddr::new(addrs.0, 68), SocketAddr::new(addrs.1, 67)), 5);
            assert_eq!(header, [0, 68, 0, 67, 0, 13, 0, 0]);
            assert_eq!(seed.folded(), pseudo(addrs.0, addrs.1, UDP, 13).folded());
        }
    }
}
