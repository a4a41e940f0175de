//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets: what an endpoint reads of one, and writes around its own messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

use super::scratch::Scratch;

/// EtherType of IPv4.
pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// IPv6 hop-by-hop options header.
const HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4.
pub(super) const ICMPV4: u8 = 1;
/// TCP.
pub(super) const TCP: u8 = 6;
/// ICMP for IPv6.
pub(super) const ICMPV6: u8 = 58;

/// Hop limit of ordinary packets.
const HOP_LIMIT: u8 = 64;

/// A received packet, its lengths and header checksum verified.
pub(super) struct Packet<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub hop_limit: u8,
    pub protocol: u8,
    /// What the packet carries.
    pub payload: &'a [u8],
    /// The packet without the padding of the frame.
    pub whole: &'a [u8],
}

/// Why a packet is not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unfit {
    /// Wrong version, lengths or header checksum.
    Malformed,
    /// A fragment: an endpoint puts none together.
    Fragment,
}

/// Reads an IPv4 packet; `bytes` may have padding behind it.
pub(super) fn parse_v4(bytes: &[u8]) -> Result<Packet<'_>, Unfit> {
    let view = Ipv4Packet::new_checked(bytes).map_err(|_| Unfit::Malformed)?;
    let whole = bytes.get(..usize::from(view.total_len())).ok_or(Unfit::Malformed)?;
    if view.version() != 4 || !view.verify_checksum() {
        return Err(Unfit::Malformed);
    }
    if view.more_frags() || view.frag_offset() != 0 {
        return Err(Unfit::Fragment);
    }
    let payload = whole.get(usize::from(view.header_len())..).ok_or(Unfit::Malformed)?;
    Ok(Packet {
        src: view.src_addr().into(),
        dst: view.dst_addr().into(),
        hop_limit: view.hop_limit(),
        protocol: view.next_header().into(),
        payload,
        whole,
    })
}

/// Reads an IPv6 packet. A hop-by-hop header is skipped in front of ICMPv6 (an MLD query has one); other extension
/// headers stay the protocol of the packet, which nothing here answers to.
pub(super) fn parse_v6(bytes: &[u8]) -> Result<Packet<'_>, Unfit> {
    let view = Ipv6Packet::new_checked(bytes).map_err(|_| Unfit::Malformed)?;
    let whole = bytes.get(..view.total_len()).ok_or(Unfit::Malformed)?;
    if view.version() != 6 {
        return Err(Unfit::Malformed);
    }
    let mut protocol = view.next_header().into();
    let mut payload = whole.get(view.header_len()..).ok_or(Unfit::Malformed)?;
    if protocol == HOP_BY_HOP
        && let [ICMPV6, words, ..] = *payload
    {
        protocol = ICMPV6;
        payload = payload.get(8 * (usize::from(words) + 1)..).ok_or(Unfit::Malformed)?;
    }
    let (src, dst) = (view.src_addr().into(), view.dst_addr().into());
    Ok(Packet { src, dst, hop_limit: view.hop_limit(), protocol, payload, whole })
}

/// The destination of a packet that we made ourselves.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Packet::new_checked(packet).ok()?.dst_addr().into()),
        _ => Some(Ipv6Packet::new_checked(packet).ok()?.dst_addr().into()),
    }
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
        let packet = parse_v4(&bytes).unwrap();
        assert_eq!((packet.payload, packet.whole.len(), packet.protocol), (&b"data"[..], 24, TCP));
        bytes[8] ^= 1;
        assert_eq!(parse_v4(&bytes).err(), Some(Unfit::Malformed));
    }

    #[test]
    fn fragments_are_told_apart() {
        let mut scratch = Scratch::new(1500);
        start_v4(&mut scratch, [192, 0, 2, 1].into(), [192, 0, 2, 2].into(), TCP, 4);
        let mut bytes = scratch.packet().to_vec();
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
        packet.set_more_frags(true);
        packet.fill_checksum();
        assert_eq!(parse_v4(&bytes).err(), Some(Unfit::Fragment));
    }

    #[test]
    fn hop_by_hop_in_front_of_icmp_is_skipped() {
        let (src, dst) = ("fe80::1".parse().unwrap(), "ff02::1".parse().unwrap());
        let mut scratch = Scratch::new(1500);
        let payload = start_v6(&mut scratch, (src, dst), HOP_BY_HOP, Some(1), 12);
        payload.copy_from_slice(&[ICMPV6, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0]);
        let packet = parse_v6(scratch.packet()).unwrap();
        assert_eq!((packet.protocol, packet.payload, packet.hop_limit), (ICMPV6, &[130, 0, 0, 0][..], 1));
        start_v6(&mut scratch, (src, dst), HOP_BY_HOP, None, 4).copy_from_slice(&[ICMPV6, 9, 0, 0]);
        assert_eq!(parse_v6(scratch.packet()).err(), Some(Unfit::Malformed));
    }
}
