//! IP packets (RFC 791, RFC 8200) as services read them, from a frame or from a peer that speaks bare IP.
//!
//! [`Packet::read`] verifies lengths and the header's checksum. What stands between an IPv6 header and what the packet
//! carries is not everybody's matter: [`Packet::carried`] skips it.

use crate::wire::checksum::Sum;
use std::net::{IpAddr, Ipv4Addr};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// ICMP for IPv4.
pub const ICMPV4: u8 = 1;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// IPv6 extension headers that may stand before what the packet carries (RFC 8200, section 4.1).
pub const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
/// The extension header of a piece.
pub const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// Of the first byte of IPv4's field for the place of a piece: it is to be none.
const DONT_FRAGMENT: u8 = 0x40;
/// Of IPv4's field for the place of a piece: others follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// ICMPv6 redirect, which is no error, and is not answered by one (RFC 4443, section 2.4 e.2).
const REDIRECT: u8 = 137;

/// Which piece of a datagram a packet is (RFC 791, section 3.1; RFC 8200, section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The datagram's number.
    pub id: u32,
    /// Where the piece belongs, in bytes.
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
    /// What it carries, or the first extension header of IPv6.
    pub protocol: u8,
    /// Of IPv6 known when the extension headers were skipped.
    pub fragment: Option<Fragment>,
    /// What follows the header.
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

    /// The same packet without IPv6's extension headers, up to that of a piece.
    ///
    /// # Errors
    /// [`Malformed`]: one is cut short, or the packet has not come to where it goes.
    pub fn carried(mut self) -> Result<Self, Malformed> {
        let extends = |protocol| matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | FRAGMENT);
        while self.dst.is_ipv6() && extends(self.protocol) && self.fragment.is_none() {
            let (&[next, words, f0, f1, i0, i1, i2, i3], _) = self.payload.split_first_chunk().ok_or(Malformed)?;
            let mut len = 8 * (usize::from(words) + 1);
            match self.protocol {
                FRAGMENT => {
                    len = 8;
                    let place = u16::from_be_bytes([f0, f1]);
                    let (offset, more) = (usize::from(place & 0xfff8), place & 1 != 0);
                    // A datagram in one piece may have the header all the same (RFC 6946).
                    let piece = Fragment { id: u32::from_be_bytes([i0, i1, i2, i3]), offset, more };
                    self.fragment = Some(piece).filter(|_| more || offset > 0);
                }
                // Byte 3 is "segments left": the packet has not come to where it goes (RFC 8200, section 4.4).
                ROUTING if f1 != 0 => return Err(Malformed),
                _ => {}
            }
            (self.protocol, self.payload) = (next, self.payload.get(len..).ok_or(Malformed)?);
        }
        Ok(self)
    }

    /// Whether it is not to be sent on in pieces, where it is too long: of IPv4 it says so itself (RFC 791, section 3.1),
    /// and of IPv6 only whoever has sent it makes pieces (RFC 8200, section 4.5), which this is none of.
    pub fn is_kept_whole(&self) -> bool {
        let at_six = self.whole.get(6).copied().unwrap_or(0);
        if self.dst.is_ipv4() { at_six & DONT_FRAGMENT != 0 } else { at_six != FRAGMENT }
    }

    /// Whether an ICMP error may say what became of the packet: not of an error, lest two answer each other for ever,
    /// not of a piece but the first, and not where many would say it or hear it (RFC 1122, section 3.2.2; RFC 4443,
    /// section 2.4 e).
    pub fn may_be_told(&self) -> bool {
        let Ok(Self { protocol, fragment, payload, .. }) = self.carried() else { return false };
        let kind = payload.first().copied();
        let first = fragment.is_none_or(|piece| piece.offset == 0);
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
    let (&[version, _, l0, l1, i0, i1, f0, f1, hop_limit, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3], _) =
        bytes.split_first_chunk::<20>().ok_or(Malformed)?;
    let (len, total) = (usize::from(version & 0x0f) * 4, usize::from(u16::from_be_bytes([l0, l1])));
    let whole = bytes.get(..total).ok_or(Malformed)?;
    let (header, payload) = whole.split_at_checked(len).filter(|_| version >> 4 == 4 && len >= 20).ok_or(Malformed)?;
    if Sum::ZERO.add_bytes(header).checksum() != 0 {
        return Err(Malformed);
    }
    let place = u16::from_be_bytes([f0, f1]);
    let (more, offset) = (place & MORE_FRAGMENTS != 0, usize::from(place & 0x1fff) * 8);
    let id = u16::from_be_bytes([i0, i1]).into();
    Ok(Packet {
        src: IpAddr::from([s0, s1, s2, s3]),
        dst: IpAddr::from([d0, d1, d2, d3]),
        hop_limit,
        protocol,
        fragment: (more || offset > 0).then_some(Fragment { id, offset, more }),
        payload,
        whole,
    })
}

fn read_v6(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (&[version, _, _, _, l0, l1, protocol, hop_limit], rest) = bytes.split_first_chunk::<8>().ok_or(Malformed)?;
    let (src, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
    let (dst, rest) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
    let payload = rest.get(..usize::from(u16::from_be_bytes([l0, l1]))).ok_or(Malformed)?;
    let whole = bytes.get(..40 + payload.len()).filter(|_| version >> 4 == 6).ok_or(Malformed)?;
    let (src, dst) = (IpAddr::from(*src), IpAddr::from(*dst));
    Ok(Packet { src, dst, hop_limit, protocol, fragment: None, payload, whole })
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
    fn extension_headers_are_skipped_up_to_a_piece() {
        let piece = [UDP, 0, 0, 17, 0, 0, 0, 9];
        let options = [FRAGMENT, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let bytes = packet_v6(HOP_BY_HOP, "2001:db8::2", &[&options[..], &piece, b"data"].concat());
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
        // what a piece begins with is the datagram's, not the packet's
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
