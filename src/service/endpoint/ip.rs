//! IPv4 and IPv6 packets: what an endpoint makes of one ([`Packet`]), and writes around its own messages.

pub(super) use crate::wire::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV4, ICMPV6, Packet, TCP, destination};

use std::net::{Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

use super::scratch::Scratch;
use crate::wire::ip::{HOP_BY_HOP, Malformed};

/// Hop limit of ordinary packets.
const HOP_LIMIT: u8 = 64;

/// Reads a packet; `bytes` may have padding behind it. A hop-by-hop header is skipped in front of ICMPv6 (an MLD query
/// has one); other extension headers stay the protocol of the packet, which nothing here answers to.
pub(super) fn parse(ethertype: u16, bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let packet = Packet::read(ethertype, bytes)?;
    let skips = packet.dst.is_ipv6() && packet.protocol == HOP_BY_HOP && packet.payload.first() == Some(&ICMPV6);
    if skips { packet.carried() } else { Ok(packet) }
}

/// Starts an IPv4 packet in `out` and returns its payload of `len` bytes, to be filled. Don't Fragment is set.
pub(super) fn start_v4(out: &mut Scratch, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> &mut [u8] {
    const HEADER: usize = 20;
    let bytes = out.start(HEADER + len);
    let mut packet = Ipv4Packet::new_unchecked(&mut *bytes);
    packet.set_version(4);
    packet.set_header_len(HEADER as u8);
    packet.set_total_len((HEADER + len) as u16);
    packet.set_dont_frag(true);
    packet.set_hop_limit(HOP_LIMIT);
    packet.set_next_header(protocol.into());
    packet.set_src_addr(src);
    packet.set_dst_addr(dst);
    packet.fill_checksum();
    &mut bytes[HEADER..]
}

/// Starts an IPv6 packet in `out` and returns its payload of `len` bytes, to be filled. `hop_limit` `None`: the usual.
pub(super) fn start_v6(
    out: &mut Scratch,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    protocol: u8,
    hop_limit: Option<u8>,
    len: usize,
) -> &mut [u8] {
    const HEADER: usize = 40;
    let bytes = out.start(HEADER + len);
    let mut packet = Ipv6Packet::new_unchecked(&mut *bytes);
    packet.set_version(6);
    packet.set_payload_len(len as u16);
    packet.set_next_header(protocol.into());
    packet.set_hop_limit(hop_limit.unwrap_or(HOP_LIMIT));
    packet.set_src_addr(src);
    packet.set_dst_addr(dst);
    &mut bytes[HEADER..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_padding_is_cut() {
        let mut scratch = Scratch::new(1500);
        start_v4(&mut scratch, [192, 0, 2, 1].into(), [192, 0, 2, 2].into(), TCP, 4).copy_from_slice(b"data");
        let mut bytes = scratch.packet().to_vec();
        assert_eq!(destination(&bytes), Some([192, 0, 2, 2].into()));
        bytes.extend([0; 22]);
        let packet = parse(ETHERTYPE_IPV4, &bytes).unwrap();
        assert_eq!((packet.payload, packet.whole.len(), packet.protocol), (&b"data"[..], 24, TCP));
        bytes[8] ^= 1;
        assert!(parse(ETHERTYPE_IPV4, &bytes).is_err());
    }

    #[test]
    fn hop_by_hop_in_front_of_icmp_is_skipped() {
        let (src, dst) = ("fe80::1".parse().unwrap(), "ff02::1".parse().unwrap());
        let mut scratch = Scratch::new(1500);
        let payload = start_v6(&mut scratch, (src, dst), HOP_BY_HOP, Some(1), 12);
        payload.copy_from_slice(&[ICMPV6, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0]);
        let packet = parse(ETHERTYPE_IPV6, scratch.packet()).unwrap();
        assert_eq!((packet.protocol, packet.payload, packet.hop_limit), (ICMPV6, &[130, 0, 0, 0][..], 1));
        start_v6(&mut scratch, (src, dst), HOP_BY_HOP, None, 4).copy_from_slice(&[ICMPV6, 9, 0, 0]);
        assert_eq!(parse(ETHERTYPE_IPV6, scratch.packet()).err(), Some(Malformed));
    }
}
