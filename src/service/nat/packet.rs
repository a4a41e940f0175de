//! What the gateway does with IP packets of either family beyond reading them ([`Packet`]): their transport's checksum,
//! where nobody has vouched for it, and the headers that it writes.
//!
//! Writing leaves TCP and UDP checksums to whoever sends the frame ([`Checksum::Partial`]): a TAP's kernel does it for
//! nothing, and the switch for ports that cannot.

pub(super) use crate::wire::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, ICMPV4, ICMPV6, Packet, TCP, UDP};

use crate::wire::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::wire::ip::{FRAGMENT, MORE_FRAGMENTS};
use crate::wire::{Checksum, Mac, Offload};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of an untagged Ethernet header.
pub(super) const ETHERNET: usize = 14;

const HOP_LIMIT: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;
/// The shortest fragments of IPv4 that are made: what every host takes (RFC 791, 3.2). Routers may cut them again.
const SHORTEST: usize = 576;

/// The sum of a pseudo header; of IPv4 if both addresses are.
pub(super) fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Sum {
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

/// Whether the transport checksum of `packet` is right, as far as it has to be looked at.
pub(super) fn checksum_fits(packet: &Packet<'_>, checksum: Checksum) -> bool {
    if !matches!(checksum, Checksum::None) {
        return true;
    }
    let sum = Sum::ZERO.add_bytes(packet.payload);
    match packet.protocol {
        ICMPV4 => sum.checksum() == 0,
        // "No checksum" (RFC 768).
        UDP if packet.src.is_ipv4() && packet.payload.get(6..8) == Some(&[0, 0]) => true,
        protocol => sum.join(pseudo(packet.src, packet.dst, protocol, packet.payload.len())).checksum() == 0,
    }
}

/// The headers in front of a payload, under construction.
pub(super) struct Headers {
    bytes: [u8; Self::ROOM],
    len: usize,
    ip_at: usize,
}

/// From which MAC to which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub src: Mac,
    pub dst: Mac,
}

impl Headers {
    /// Ethernet, IPv6 with a fragment header, TCP with all its options.
    pub const ROOM: usize = ETHERNET + 48 + 60;

    /// Ethernet and IP headers of a packet that carries `length` bytes of `protocol`; `fragment` if it is one.
    pub fn new(
        link: Link,
        (src, dst): (IpAddr, IpAddr),
        protocol: u8,
        length: usize,
        fragment: Option<Fragment>,
    ) -> Self {
        let mut headers = Self { bytes: [0; Self::ROOM], len: 0, ip_at: ETHERNET };
        headers.push(&link.dst.0);
        headers.push(&link.src.0);
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => headers.ipv4(src, dst, protocol, length, fragment),
            (src, dst) => headers.ipv6(octets_v6(src), octets_v6(dst), protocol, length, fragment),
        }
        headers
    }

    fn ipv4(&mut self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: usize, fragment: Option<Fragment>) {
        let place = fragment.map_or(DONT_FRAGMENT, |fragment| {
            (fragment.offset / 8) as u16 | if fragment.more { MORE_FRAGMENTS } else { 0 }
        });
        self.push(&ETHERTYPE_IPV4.to_be_bytes());
        self.push(&[0x45, 0]);
        self.push(&((20 + length) as u16).to_be_bytes());
        self.push(&(fragment.map_or(0, |fragment| fragment.id) as u16).to_be_bytes());
        self.push(&place.to_be_bytes());
        self.push(&[HOP_LIMIT, protocol, 0, 0]);
        self.push(&src.octets());
        self.push(&dst.octets());
        let sum = Sum::ZERO.add_bytes(self.bytes.get(self.ip_at..self.len).unwrap_or_default()).checksum();
        self.set(self.ip_at + 10, sum.to_be_bytes());
    }

    fn ipv6(&mut self, src: [u8; 16], dst: [u8; 16], protocol: u8, length: usize, fragment: Option<Fragment>) {
        let extension = if fragment.is_some() { 8 } else { 0 };
        self.push(&ETHERTYPE_IPV6.to_be_bytes());
        self.push(&[0x60, 0, 0, 0]);
        self.push(&((length + extension) as u16).to_be_bytes());
        self.push(&[if fragment.is_some() { FRAGMENT } else { protocol }, HOP_LIMIT]);
        self.push(&src);
        self.push(&dst);
        if let Some(fragment) = fragment {
            self.push(&[protocol, 0]);
            self.push(&(fragment.offset as u16 & 0xfff8 | u16::from(fragment.more)).to_be_bytes());
            self.push(&fragment.id.to_be_bytes());
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

/// What has to be done to a frame whose transport header begins at `start` and has its checksum field at `offset`.
pub(super) fn unfinished(start: usize, offset: u16) -> Offload {
    Offload { checksum: Checksum::Partial { start: start as u16, offset }, ..Offload::NONE }
}

/// Gives `put` the packets that carry `parts`, a payload of a protocol that is finished: one, or several fragments of the
/// datagram `id` where it is longer than `mtu`.
pub(super) fn cut(
    link: Link,
    mtu: usize,
    addrs: (IpAddr, IpAddr),
    (protocol, id): (u8, u32),
    parts: &[&[u8]],
    put: &mut dyn FnMut(&Headers, &[&[u8]]),
) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let (ip, extension) = if addrs.1.is_ipv4() { (20, 0) } else { (40, 8) };
    if ip + length <= mtu {
        return put(&Headers::new(link, addrs, protocol, length, None), parts);
    }
    let whole = parts.concat();
    let room = (mtu.max(SHORTEST) - ip - extension) / 8 * 8;
    for (number, chunk) in whole.chunks(room).enumerate() {
        let offset = number * room;
        let more = offset + chunk.len() < length;
        put(&Headers::new(link, addrs, protocol, chunk.len(), Some(Fragment { id, offset, more })), &[chunk]);
    }
}
