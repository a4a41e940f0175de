//! IP packets (RFC 791, RFC 8200) as hosts and gateways read them, from a frame or from a peer that speaks bare IP.
//!
//! The headers are etherparse's slices. [`Packet::read`] verifies lengths and the header's checksum. What stands between an
//! IPv6 header and what the packet carries is not everybody's matter: [`Packet::carried`] skips it.
//! [`layers`](super::layers) reads the same slices for those who need the places of headers and take nobody's word for
//! what a packet carries.

use super::Checksum;
use super::checksum::Sum;
use super::headers::pseudo;
use etherparse::{
    Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, ether_type, ip_number,
};
use std::net::{IpAddr, Ipv4Addr};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = ether_type::IPV4.0;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = ether_type::IPV6.0;

/// ICMP for IPv4.
pub const ICMPV4: u8 = ip_number::ICMP.0;
/// TCP.
pub const TCP: u8 = ip_number::TCP.0;
/// UDP.
pub const UDP: u8 = ip_number::UDP.0;
/// ICMP for IPv6.
pub const ICMPV6: u8 = ip_number::IPV6_ICMP.0;

/// IPv6 extension headers that may stand before what the packet carries (RFC 8200, section 4.1).
pub const HOP_BY_HOP: u8 = ip_number::IPV6_HEADER_HOP_BY_HOP.0;
const ROUTING: u8 = ip_number::IPV6_ROUTE_HEADER.0;
/// The fragment header.
pub const FRAGMENT: u8 = ip_number::IPV6_FRAGMENTATION_HEADER.0;
const DESTINATION_OPTIONS: u8 = ip_number::IPV6_DESTINATION_OPTIONS.0;

/// Of IPv4's field for the place of a fragment: others follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// ICMPv6 redirect, which is no error, and is not answered by one (RFC 4443, section 2.4 e.2).
const REDIRECT: u8 = 137;

/// Which fragment of a datagram a packet is (RFC 791, section 3.1; RFC 8200, section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The datagram's number.
    pub id: u32,
    /// Where the fragment belongs, in bytes.
    pub offset: usize,
    /// Others follow.
    pub more: bool,
}

/// A packet whose lengths and header checksum are right.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// From whom.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// How many routers it may pass yet.
    pub hop_limit: u8,
    /// The protocol of its payload, or the first extension header of IPv6.
    pub protocol: u8,
    /// Of IPv6 known when the extension headers were skipped.
    pub fragment: Option<Fragment>,
    /// The payload behind the header.
    pub payload: &'a [u8],
    /// The packet without a frame's padding.
    pub whole: &'a [u8],
}

/// Wrong version, lengths or header checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a whole IP packet")]
pub struct Malformed;

impl<'a> Packet<'a> {
    /// Reads the packet behind an Ethernet header of type `ethertype`; padding may follow it.
    ///
    /// # Errors
    /// [`Malformed`], also of any other type.
    pub fn read(ethertype: u16, bytes: &'a [u8]) -> Result<Self, Malformed> {
        match ethertype {
            ETHERTYPE_IPV4 => read_v4(bytes),
            ETHERTYPE_IPV6 => read_v6(bytes),
            _ => Err(Malformed),
        }
    }

    /// The same packet without IPv6's extension headers, up to that of a fragment.
    ///
    /// # Errors
    /// [`Malformed`]: one is cut short, or the packet has not come to where it goes.
    pub fn carried(mut self) -> Result<Self, Malformed> {
        let extends = |protocol| matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT);
        while self.dst.is_ipv6() && extends(self.protocol) && self.fragment.is_none() {
            let (next, len) = if self.protocol == FRAGMENT {
                let header = Ipv6FragmentHeaderSlice::from_slice(self.payload).map_err(|_| Malformed)?;
                let offset = header.fragment_offset().byte_offset().into();
                let fragment = Fragment { id: header.identification(), offset, more: header.more_fragments() };
                // A datagram that is not fragmented may have the header all the same (RFC 6946).
                self.fragment = Some(fragment).filter(|_| header.is_fragmenting_payload());
                (header.next_header(), header.slice().len())
            } else {
                let header = Ipv6RawExtHeaderSlice::from_slice(self.payload).map_err(|_| Malformed)?;
                // Behind next header, length and type: "segments left". The packet has not come to where it goes
                // (RFC 8200, section 4.4).
                if self.protocol == ROUTING && header.payload().get(1) != Some(&0) {
                    return Err(Malformed);
                }
                (header.next_header(), header.slice().len())
            };
            (self.protocol, self.payload) = (next.0, self.payload.get(len..).ok_or(Malformed)?);
        }
        Ok(self)
    }

    /// Whether the checksum of what it carries is right, as far as it has to be looked at. IPv6's extension headers are
    /// [skipped](Self::carried).
    pub fn checksum_fits(&self, checksum: Checksum) -> bool {
        if !matches!(checksum, Checksum::None) {
            return true;
        }
        let sum = Sum::ZERO.add_bytes(self.payload);
        match self.protocol {
            ICMPV4 => sum.checksum() == 0,
            // "No checksum" (RFC 768).
            UDP if self.src.is_ipv4() && self.payload.get(6..8) == Some(&[0, 0]) => true,
            protocol => sum.join(pseudo(self.src, self.dst, protocol, self.payload.len())).checksum() == 0,
        }
    }

    /// Whether it is not to be fragmented on its way, where it is too long: of IPv4 it says so itself (RFC 791, section 3.1),
    /// and of IPv6 only whoever has sent it makes fragments (RFC 8200, section 4.5), which this is none of.
    pub fn is_kept_whole(&self) -> bool {
        if self.dst.is_ipv4() {
            Ipv4HeaderSlice::from_slice(self.whole).is_ok_and(|header| header.dont_fragment())
        } else {
            Ipv6HeaderSlice::from_slice(self.whole).is_ok_and(|header| header.next_header().0 != FRAGMENT)
        }
    }

    /// Whether an ICMP error may say what became of the packet: not of an error, lest two answer each other for ever,
    /// not of a fragment but the first, and not where many would say it or hear it (RFC 1122, section 3.2.2; RFC 4443,
    /// section 2.4 e).
    pub fn may_be_told(&self) -> bool {
        let Ok(Self { protocol, fragment, payload, .. }) = self.carried() else { return false };
        let kind = payload.first().copied();
        let first = fragment.is_none_or(|fragment| fragment.offset == 0);
        let answerable = match protocol {
            ICMPV4 => matches!(kind, Some(0 | 8 | 13..=18)),
            ICMPV6 => kind.is_some_and(|kind| kind >= 128 && kind != REDIRECT),
            _ => true,
        };
        first && answerable && is_one(self.src) && is_one(self.dst)
    }
}

/// Whether this may be the address of one host.
fn is_one(addr: IpAddr) -> bool {
    let broadcast = addr == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || broadcast)
}

fn read_v4(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Malformed)?;
    let whole = bytes.get(..usize::from(header.total_len())).ok_or(Malformed)?;
    let payload = whole.get(header.slice().len()..).ok_or(Malformed)?;
    if Sum::ZERO.add_bytes(header.slice()).checksum() != 0 {
        return Err(Malformed);
    }
    let (offset, more) = (header.fragments_offset().byte_offset().into(), header.more_fragments());
    let fragment = Fragment { id: header.identification().into(), offset, more };
    Ok(Packet {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        hop_limit: header.ttl(),
        protocol: header.protocol().0,
        fragment: header.is_fragmenting_payload().then_some(fragment),
        payload,
        whole,
    })
}

fn read_v6(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| Malformed)?;
    let end = header.slice().len() + usize::from(header.payload_length());
    let whole = bytes.get(..end).ok_or(Malformed)?;
    let payload = whole.get(header.slice().len()..).ok_or(Malformed)?;
    Ok(Packet {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        hop_limit: header.hop_limit(),
        protocol: header.next_header().0,
        fragment: None,
        payload,
        whole,
    })
}

/// Where a packet goes whose header alone is to be believed, such as one that was made here.
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4HeaderSlice::from_slice(packet).ok()?.destination_addr().into()),
        _ => Some(Ipv6HeaderSlice::from_slice(packet).ok()?.destination_addr().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet from the host .1 to that of the last octet, behind whose header there are `payload` and padding.
    fn packet_v4(protocol: u8, place: u16, dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 7];
        bytes.extend([&place.to_be_bytes()[..], &[64, protocol, 0, 0, 192, 0, 2, 1], &dst].concat());
        let sum = Sum::ZERO.add_bytes(&bytes).checksum();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        [&bytes, payload, &[0; 6]].concat()
    }

    fn packet_v6(protocol: u8, dst: &str, payload: &[u8]) -> Vec<u8> {
        let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let head = [0x60, 0, 0, 0, 0, payload.len() as u8, protocol, 64];
        [&head, &octets("2001:db8::1")[..], &octets(dst), payload, &[0; 6]].concat()
    }

    #[test]
    fn a_packet_is_read_without_its_padding() {
        let bytes = packet_v4(UDP, 0x2002, [192, 0, 2, 2], b"data");
        let packet = Packet::read(ETHERTYPE_IPV4, &bytes).unwrap();
        assert_eq!((packet.src, packet.dst), ([192, 0, 2, 1].into(), [192, 0, 2, 2].into()));
        assert_eq!((packet.hop_limit, packet.protocol, packet.payload), (64, UDP, &b"data"[..]));
        assert_eq!((packet.fragment, packet.whole.len()), (Some(Fragment { id: 7, offset: 16, more: true }), 24));
        for at in 0..20 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Packet::read(ETHERTYPE_IPV4, &damaged).err(), Some(Malformed), "byte {at}");
            assert_eq!(Packet::read(ETHERTYPE_IPV4, &bytes[..at]).err(), Some(Malformed), "cut at {at}");
        }
        assert!(Packet::read(ETHERTYPE_IPV6, &bytes).is_err() && Packet::read(0x0806, &bytes).is_err());
    }

    #[test]
    fn extension_headers_are_skipped_up_to_a_fragment() {
        let fragment = [UDP, 0, 0, 17, 0, 0, 0, 9];
        let options = [FRAGMENT, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = packet_v6(HOP_BY_HOP, "2001:db8::2", &[&options[..], &fragment, b"data"].concat());
        let read = Packet::read(ETHERTYPE_IPV6, &bytes).unwrap();
        assert_eq!((read.protocol, read.payload.len(), read.whole.len()), (HOP_BY_HOP, 28, 68));
        let packet = read.carried().unwrap();
        assert_eq!((packet.protocol, packet.payload, packet.whole.len()), (UDP, &b"data"[..], 68));
        assert_eq!(packet.fragment, Some(Fragment { id: 9, offset: 16, more: true }));
        let lone =
            [[FRAGMENT, 0, 1, 4, 0, 0, 0, 0], [HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 9], [UDP, 0, 1, 4, 0, 0, 0, 0]].concat();
        let bytes = packet_v6(DESTINATION_OPTIONS, "2001:db8::2", &[&lone[..], b"data"].concat());
        let packet = Packet::read(ETHERTYPE_IPV6, &bytes).unwrap().carried().unwrap();
        assert_eq!((packet.protocol, packet.payload, packet.fragment), (UDP, &b"data"[..], None));
        // what a fragment begins with is the datagram's, not the packet's
        let bytes = packet_v6(FRAGMENT, "2001:db8::2", &[HOP_BY_HOP, 0, 0, 17, 0, 0, 0, 9, UDP, 0, 1, 4, 0, 0, 0, 0]);
        let packet = Packet::read(ETHERTYPE_IPV6, &bytes).unwrap().carried().and_then(Packet::carried).unwrap();
        assert_eq!((packet.protocol, packet.payload.len()), (HOP_BY_HOP, 8));
        for (kind, header) in [(ROUTING, [UDP, 0, 0, 1, 0, 0, 0, 0]), (HOP_BY_HOP, [UDP, 9, 0, 0, 0, 0, 0, 0])] {
            let bytes = packet_v6(kind, "2001:db8::2", &header);
            assert_eq!(Packet::read(ETHERTYPE_IPV6, &bytes).unwrap().carried().err(), Some(Malformed));
        }
    }

    #[test]
    fn whom_an_error_may_be_told() {
        let told = |ethertype, bytes: &[u8]| Packet::read(ethertype, bytes).unwrap().may_be_told();
        let one = [192, 0, 2, 2];
        for (protocol, place, dst, kind, wanted) in [
            (UDP, 0, one, 3, true),
            (ICMPV4, 0, one, 8, true),
            (ICMPV4, 0, one, 3, false),
            (ICMPV4, 0, one, 11, false),
            (UDP, MORE_FRAGMENTS, one, 3, true),
            (UDP, 1, one, 3, false),
            (UDP, 0, [224, 0, 0, 1], 3, false),
            (UDP, 0, [255; 4], 3, false),
        ] {
            let bytes = packet_v4(protocol, place, dst, &[kind; 8]);
            assert_eq!(told(ETHERTYPE_IPV4, &bytes), wanted, "{protocol} {place:#x} {dst:?} {kind}");
        }
        let behind = |next: u8, kind: u8| [next, 0, 1, 4, 0, 0, 0, 0, kind, 0, 0, 0].to_vec();
        for (protocol, dst, payload, wanted) in [
            (UDP, "2001:db8::2", vec![3; 8], true),
            (ICMPV6, "2001:db8::2", vec![128; 8], true),
            (ICMPV6, "2001:db8::2", vec![3; 8], false),
            (ICMPV6, "2001:db8::2", vec![REDIRECT; 8], false),
            (DESTINATION_OPTIONS, "2001:db8::2", behind(ICMPV6, 128), true),
            (DESTINATION_OPTIONS, "2001:db8::2", behind(ICMPV6, 1), false),
            (UDP, "ff02::1", vec![3; 8], false),
        ] {
            let bytes = packet_v6(protocol, dst, &payload);
            assert_eq!(told(ETHERTYPE_IPV6, &bytes), wanted, "{protocol} {dst} {payload:?}");
        }
    }
}
