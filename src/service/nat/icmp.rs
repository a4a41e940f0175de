//! ICMP messages that the gateway sends by itself: why something did not arrive (RFC 792; RFC 4443, 3).
//!
//! `type u8 · code u8 · checksum u16 · unused u16 · mtu u16 (IPv6: mtu u32) · the packet's beginning`

use super::packet::{self, Headers, ICMPV4, ICMPV6, Packet, UDP};
use super::wire::{Way, Wire};
use crate::service::outside::{Datagrams, Refusal, Refused};
use crate::service::station::Station;
use crate::wire::headers::finish_icmp;
use crate::wire::{Mac, Offload};
use std::net::{IpAddr, SocketAddr};

/// Bytes of a packet that are quoted: headers, and the ports of what they carry.
pub(super) const QUOTE: usize = 128;

/// Tells a guest why its packet, which begins with `quote`, did not arrive.
pub(super) fn refuse(wire: &mut Wire, whom: Station, guest: IpAddr, refusal: Refusal, quote: &[u8]) {
    let Some(src) = wire.gateway(guest) else { return };
    refuse_as(wire, whom, (src, guest), refusal, quote);
}

/// Does so in the name of another, but not more often than is good for the link.
fn refuse_as(wire: &mut Wire, whom: Station, addrs: (IpAddr, IpAddr), refusal: Refusal, quote: &[u8]) {
    if !wire.may_tell(whom.port()) {
        return;
    }
    let quote = &quote[..quote.len().min(QUOTE)];
    let mut message = head(addrs.1, refusal).to_vec();
    message.extend_from_slice(quote);
    send(wire, whom.mac, addrs, &mut message);
}

/// Passes on an ICMP error that the host got for a datagram, with the sender's address: a router on the way shows
/// itself. The datagram is not at hand any more, so its headers are written again.
pub(super) fn pass_on(wire: &mut Wire, whom: Station, (kind, guest): (Datagrams, SocketAddr), refused: Refused) {
    let Some(to) = wire.seen_as(refused.to) else { return };
    let by = refused.by.and_then(|by| wire.seen_as(SocketAddr::new(by, 0))).map(|by| by.ip());
    let by = by.filter(|by| by.is_ipv4() == guest.is_ipv4() && matches!(wire.way(*by), Way::Out(_)));
    let Some(src) = by.or(wire.gateway(guest.ip())) else { return };
    let (protocol, words) = match kind {
        Datagrams::Udp => (UDP, [guest.port(), to.port(), 8, 0]),
        Datagrams::Echo if to.is_ipv4() => (ICMPV4, [8 << 8, 0, guest.port(), refused.number]),
        Datagrams::Echo => (ICMPV6, [128 << 8, 0, guest.port(), refused.number]),
    };
    let mut quote = Headers::packet((guest.ip(), to.ip()), protocol, 8);
    words.iter().for_each(|word| quote.push(&word.to_be_bytes()));
    refuse_as(wire, whom, (src, guest.ip()), refused.why, quote.bytes());
}

/// Sends an ICMP message.
pub(super) fn send(wire: &mut Wire, mac: Mac, (src, dst): (IpAddr, IpAddr), message: &mut [u8]) {
    let protocol = protocol(dst);
    finish_icmp(message, (src, dst));
    let headers = Headers::new(wire.link(mac), (src, dst), protocol, message.len(), None);
    wire.send(&headers, &[message], Offload::NONE);
}

/// Answers an echo request to the gateway itself that came as fragments: the endpoint reassembles none.
pub(super) fn pong(wire: &mut Wire, whom: Station, packet: &Packet<'_>, id: u32) {
    let mut message = packet.payload.to_vec();
    if let Some(head) = message.get_mut(..4) {
        head.copy_from_slice(&[if packet.src.is_ipv4() { 0 } else { 129 }, 0, 0, 0]);
    }
    let addrs = (packet.dst, packet.src);
    finish_icmp(&mut message, addrs);
    let (link, mtu) = (wire.link(whom.mac), wire.mtu_to(addrs.1, whom));
    packet::cut(link, mtu, addrs, (packet.protocol, id), &[&message], &mut |headers, parts| {
        wire.send(headers, parts, Offload::NONE);
    });
}

/// Whether a packet is an echo request.
pub(super) fn is_request(packet: &Packet<'_>) -> bool {
    matches!((packet.protocol, packet.payload), (ICMPV4, [8, 0, ..]) | (ICMPV6, [128, 0, ..]))
}

/// ICMP of the family of `addr`.
pub(super) fn protocol(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { ICMPV4 } else { ICMPV6 }
}

fn head(guest: IpAddr, refusal: Refusal) -> [u8; 8] {
    let (kind, code, mtu) = match (refusal, guest.is_ipv4()) {
        (Refusal::Network, true) => (3, 0, 0),
        (Refusal::Host, true) => (3, 1, 0),
        (Refusal::Port, true) => (3, 3, 0),
        (Refusal::TooBig(mtu), true) => (3, 4, mtu),
        (Refusal::Prohibited | Refusal::Source, true) => (3, 13, 0),
        (Refusal::Hops, true) => (11, 0, 0),
        (Refusal::Hops, false) => (3, 0, 0),
        (Refusal::Network, false) => (1, 0, 0),
        (Refusal::Prohibited, false) => (1, 1, 0),
        (Refusal::Host, false) => (1, 3, 0),
        (Refusal::Port, false) => (1, 4, 0),
        (Refusal::Source, false) => (1, 5, 0),
        (Refusal::TooBig(mtu), false) => (2, 0, mtu),
    };
    let [m0, m1] = mtu.to_be_bytes();
    [kind, code, 0, 0, 0, 0, m0, m1]
}
