//! IPv4 and IPv6 packets: reading one ([`Packet`]), and writing headers.

pub(super) use crate::wire::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMPV4, ICMPV6, Packet, TCP, destination};

use std::net::IpAddr;

use super::scratch::Scratch;
use crate::wire::headers::Headers;
use crate::wire::ip::{HOP_BY_HOP, Malformed};

/// Reads a packet; `bytes` may have padding behind it. A hop-by-hop header is skipped in front of ICMPv6 (an MLD query
/// has one); any other extension header is taken for the packet's protocol, which is ignored then.
pub(super) fn parse(ethertype: u16, bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let packet = Packet::read(ethertype, bytes)?;
    let skips = packet.dst.is_ipv6() && packet.protocol == HOP_BY_HOP && packet.payload.first() == Some(&ICMPV6);
    if skips { packet.carried() } else { Ok(packet) }
}

/// Starts a packet in `out` and returns its payload of `len` bytes, to be filled. `hop_limit`, of IPv6, `None`: the usual.
pub(super) fn start(
    out: &mut Scratch,
    addrs: (IpAddr, IpAddr),
    protocol: u8,
    hop_limit: Option<u8>,
    len: usize,
) -> &mut [u8] {
    let mut headers = Headers::packet(addrs, protocol, len);
    if let Some(hops) = hop_limit {
        headers.set_hop_limit(hops);
    }
    let (header, payload) = out.start(headers.len() + len).split_at_mut(headers.len());
    header.copy_from_slice(headers.bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_padding_is_cut() {
        let mut scratch = Scratch::new(1500);
        let addrs = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        start(&mut scratch, addrs, TCP, None, 4).copy_from_slice(b"data");
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
        let addrs = ("fe80::1".parse().unwrap(), "ff02::1".parse().unwrap());
        let mut scratch = Scratch::new(1500);
        let payload = start(&mut scratch, addrs, HOP_BY_HOP, Some(1), 12);
        payload.copy_from_slice(&[ICMPV6, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0]);
        let packet = parse(ETHERTYPE_IPV6, scratch.packet()).unwrap();
        assert_eq!((packet.protocol, packet.payload, packet.hop_limit), (ICMPV6, &[130, 0, 0, 0][..], 1));
        start(&mut scratch, addrs, HOP_BY_HOP, None, 4).copy_from_slice(&[ICMPV6, 9, 0, 0]);
        assert_eq!(parse(ETHERTYPE_IPV6, scratch.packet()).err(), Some(Malformed));
    }
}
