//! IP fragmentation, of either family; [`Packet`] reads packets, and [`Headers`] writes their headers.
//!
//! TCP and UDP checksums are left to whoever sends the frame ([`Checksum::Partial`]): a TAP's kernel does it for
//! nothing, and the switch for ports that cannot.

pub(super) use crate::wire::headers::{Headers, MacPair, pseudo};
pub(super) use crate::wire::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, ICMPV4, ICMPV6, Packet, TCP, UDP};

use crate::wire::{Checksum, Offload};
use std::net::IpAddr;

/// The shortest MTU to fragment IPv4 for: every host takes such packets (RFC 791, 3.2). Routers may cut them again.
const SHORTEST: usize = 576;

/// The offload of a frame with a partial checksum: transport header at `start`, checksum field at `offset` within it.
pub(super) fn unfinished(start: usize, offset: u16) -> Offload {
    Offload { checksum: Checksum::Partial { start: start as u16, offset }, ..Offload::NONE }
}

/// Gives `put` the packets that carry `parts`, a payload of a protocol that is finished: one, or the fragments of the
/// datagram `id` where it is longer than `mtu`.
pub(super) fn cut(
    link: MacPair,
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
