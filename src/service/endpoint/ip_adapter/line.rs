//! Rewrites packets for a line of bare IP packets: fragments those that are too long, and removes link-layer addresses
//! from neighbour discovery.

use super::super::icmp;
use crate::wire::checksum::{Sum, pseudo_v6};
use crate::wire::ip::{ICMPV6, MORE_FRAGMENTS, Packet};
use std::net::IpAddr;

/// Bytes of the IPv4 header without options, and of the IPv6 header.
const HEADER_V4: usize = 20;
const HEADER_V6: usize = 40;
/// Router solicitation and advertisement, and where their options begin (RFC 4861, 4.1 and 4.2).
pub(super) const ROUTER_SOLICITATION: u8 = 133;
pub(super) const ROUTER_ADVERTISEMENT: u8 = 134;
/// Options that are removed (RFC 4861, 4.6): link-layer addresses of source and target, and the Ethernet's MTU.
const LINK_OPTIONS: [u8; 3] = [1, 2, 5];

/// Whether an IPv4 packet may be fragmented (RFC 791, 2.3).
pub(super) fn may_be_cut(packet: &Packet<'_>) -> bool {
    packet.dst.is_ipv4() && packet.whole.get(6).is_some_and(|flags| flags & 0x40 == 0)
}

/// Fragments a packet (RFC 791, 3.2): gives `put` fragments of `limit` bytes at most, built in `room`. False if a
/// header leaves no room.
pub(super) fn cut(packet: &Packet<'_>, limit: usize, room: &mut Vec<u8>, put: &mut impl FnMut(&[u8])) -> bool {
    let Some((header, payload)) = packet.whole.split_at_checked(packet.whole.len() - packet.payload.len()) else {
        return false;
    };
    let Some((fixed, options)) = header.split_first_chunk::<HEADER_V4>() else { return false };
    let most = limit.saturating_sub(header.len()) & !7;
    if most == 0 {
        return false;
    }
    let place = u16::from_be_bytes([fixed[6], fixed[7]]);
    let (begin, more) = (place & 0x1fff, place & MORE_FRAGMENTS != 0);
    let count = payload.len().div_ceil(most);
    for (index, fragment) in payload.chunks(most).enumerate() {
        room.clear();
        room.extend_from_slice(fixed);
        if index == 0 {
            room.extend_from_slice(options);
        } else {
            copied(options, room);
        }
        let length = room.len();
        room.extend_from_slice(fragment);
        let offset = begin.wrapping_add((index * most / 8) as u16) & 0x1fff;
        let flags = if more || index + 1 < count { MORE_FRAGMENTS } else { 0 };
        finish_v4(room, length, flags | offset);
        put(room);
    }
    true
}

/// Adds the options that are copied into each fragment (RFC 791, 3.1): those with the highest bit set.
fn copied(mut options: &[u8], out: &mut Vec<u8>) {
    while let Some(&kind) = options.first() {
        let length = match kind {
            0 => break,
            1 => 1,
            _ => options.get(1).copied().map_or(0, usize::from),
        };
        let Some((option, rest)) = options.split_at_checked(length).filter(|(option, _)| !option.is_empty()) else {
            break;
        };
        if kind & 0x80 != 0 {
            out.extend_from_slice(option);
        }
        options = rest;
    }
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Writes lengths, fragment offset and checksum into the header of `length` bytes.
fn finish_v4(packet: &mut [u8], length: usize, place: u16) {
    let total = packet.len() as u16;
    let Some(header) = packet.get_mut(..length) else { return };
    header[0] = 0x40 | (length / 4) as u8;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[6..8].copy_from_slice(&place.to_be_bytes());
    header[10..12].fill(0);
    let sum = Sum::ZERO.add_bytes(header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// A router solicitation or advertisement without the link's options, built in `room`. `None`: it is not valid.
pub(super) fn without_link<'r>(packet: &Packet<'_>, room: &'r mut Vec<u8>) -> Option<&'r [u8]> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else { return None };
    let options = if packet.payload.first() == Some(&ROUTER_ADVERTISEMENT) { 16 } else { 8 };
    let (head, mut options) = packet.payload.split_at_checked(options)?;
    if packet.hop_limit != 255 || packet.whole.len() != HEADER_V6 + packet.payload.len() || !icmp::checksum_fits(packet)
    {
        return None;
    }
    room.clear();
    room.extend_from_slice(packet.whole.get(..HEADER_V6)?);
    room.extend_from_slice(head);
    while let [kind, words, ..] = *options {
        let (option, rest) = options.split_at_checked(8 * usize::from(words)).filter(|(it, _)| !it.is_empty())?;
        if !LINK_OPTIONS.contains(&kind) {
            room.extend_from_slice(option);
        }
        options = rest;
    }
    let (header, message) = room.split_at_mut_checked(HEADER_V6)?;
    let length = message.len() as u16;
    header[4..6].copy_from_slice(&length.to_be_bytes());
    message[2..4].fill(0);
    let sum = pseudo_v6(src.octets(), dst.octets(), ICMPV6, length.into()).add_bytes(message).checksum();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(room)
}
