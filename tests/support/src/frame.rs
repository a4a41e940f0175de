//! Ethernet frames, written byte by byte from the standards: the tests' own hand, so that a mistake in zbridge's
//! parsers cannot hide in its tests.
//!
//! All frames are without FCS and unpadded, as TAPs and QEMU's sockets carry them.

use std::net::Ipv4Addr;

/// A MAC address in transmission order.
pub type Mac = [u8; 6];

/// ff:ff:ff:ff:ff:ff.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of IPv4 (RFC 894).
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP (RFC 826).
pub const ARP: u16 = 0x0806;
/// Tag protocol identifier of a C-tag (IEEE 802.1Q-2022, table 9-1).
pub const CTAG: u16 = 0x8100;
/// Tag protocol identifier of an S-tag (IEEE 802.1Q-2022, table 9-1).
pub const STAG: u16 = 0x88a8;
/// EtherType for local experiments (IEEE 802-2014, 9.2.4), which numbered frames have.
pub const EXPERIMENT: u16 = 0x88b5;

/// destination 6, source 6, EtherType 2, payload (IEEE 802.3-2022, 3.2).
pub fn ethernet(dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst, &src, &ethertype.to_be_bytes()[..], payload].concat()
}

/// `frame` with a VLAN tag put behind its addresses: TPID 2, TCI 2 (PCP in bits 15..13, DEI 12, VID 11..0).
pub fn tagged(frame: &[u8], tpid: u16, tci: u16) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    [addresses, &tpid.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
}

/// A frame of `len` octets (18 and up) that carries `number` and a filler that depends on it.
///
/// # Panics
/// If `len` is less than 18.
pub fn numbered(dst: Mac, src: Mac, number: u32, len: usize) -> Vec<u8> {
    let mut frame = ethernet(dst, src, EXPERIMENT, &number.to_be_bytes());
    assert!(len >= frame.len(), "a numbered frame has at least {} octets", frame.len());
    frame.extend((frame.len()..len).map(|at| filler(number, at)));
    frame
}

/// The number of an untagged frame that [`numbered`] made, if it is one and whole.
pub fn number(frame: &[u8]) -> Option<u32> {
    let (head, rest) = frame.split_at_checked(14)?;
    let (number, fill) = rest.split_first_chunk()?;
    let number = u32::from_be_bytes(*number);
    let whole = fill.iter().enumerate().all(|(at, octet)| *octet == filler(number, at + 18));
    (whole && head.ends_with(&EXPERIMENT.to_be_bytes())).then_some(number)
}

/// Octet `at` of numbered frame `number`: neighbours differ, both in the frame and from frame to frame.
fn filler(number: u32, at: usize) -> u8 {
    number.to_le_bytes()[0].wrapping_mul(7).wrapping_add(at.to_le_bytes()[0])
}

/// An ARP packet for IPv4 over Ethernet (RFC 826): operation 1 asks, 2 replies.
pub fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4];
    packet.extend(operation.to_be_bytes());
    for (mac, ip) in [sender, target] {
        packet.extend(mac);
        packet.extend(ip.octets());
    }
    packet
}

/// An IPv4 packet without options, TTL 64 (RFC 791, 3.1), of at most 65,535 octets.
pub fn ipv4(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("an IPv4 packet has at most 65,535 octets");
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum = checksum(&header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    [header, payload.to_vec()].concat()
}

/// An ICMP echo message (RFC 792): type 8 asks, 0 replies.
pub fn icmp_echo(kind: u8, identifier: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(data);
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    message
}

/// The Internet checksum (RFC 1071): the complement of the one's complement sum of 16-bit words.
pub fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn numbers_survive_and_damage_shows() {
        let frame = numbered(B, A, 70_000, 64);
        assert_eq!((frame.len(), number(&frame)), (64, Some(70_000)));
        let mut damaged = frame.clone();
        damaged[40] ^= 1;
        assert_eq!(number(&damaged), None);
        assert_eq!(number(&ethernet(B, A, IPV4, &frame[14..])), None);
        assert_eq!(number(&frame[..17]), None);
    }

    #[test]
    fn a_tag_stands_behind_the_addresses() {
        let frame = tagged(&ethernet(B, A, IPV4, &[0xee]), CTAG, 0x2064);
        assert_eq!(frame[..12], [B, A].concat());
        assert_eq!(frame[12..], [0x81, 0x00, 0x20, 0x64, 0x08, 0x00, 0xee]);
    }

    #[test]
    fn checksums_are_the_standards() {
        // the example of RFC 1071, section 3
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let packet = ipv4(1, Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2), &icmp_echo(8, 1, 2, b"odd"));
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(checksum(&packet[20..]), 0);
    }
}
