//! What stations of a link tell and ask each other of IP addresses: ARP (RFC 826) and neighbour discovery (RFC 4861), as
//! whole frames, behind VLAN tags or not.
//!
//! ```text
//! ARP           a request or a reply: see `arp`
//! ICMPv6 135    type · code 0 · checksum · 4 bytes · target · option 1: the source's MAC
//! ICMPv6 136    type · code 0 · checksum · flags, 3 bytes · target · option 2: the target's MAC
//! ```

use super::arp::{self, Operation};
use super::checksum::pseudo_v6;
use super::layers::network_at;
use super::view::{VLAN_TAG, is_tpid};
use super::{Mac, vlan_tags};
use etherparse::{EtherType, ether_type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Bytes of the IPv6 header, and of a solicitation or advertisement with one option.
const IPV6: usize = 40;
const MESSAGE: usize = 32;
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_OVERRIDE: u8 = 0x20;
/// Every node of the link, and where frames to it go.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The VLAN tags of a frame, two at most.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tags {
    bytes: [u8; 8],
    len: usize,
}

impl Tags {
    fn of(frame: &[u8], payload: usize) -> Self {
        let mut tags = Self::default();
        let found = frame.get(12..payload.saturating_sub(2)).unwrap_or_default();
        if let Some(room) = tags.bytes.get_mut(..found.len()) {
            room.copy_from_slice(found);
            tags.len = found.len();
        }
        tags
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The VLAN that they name, without priorities; 0 for none.
    pub fn vlan(&self) -> u32 {
        self.bytes().chunks_exact(4).fold(0, |vlan, tag| match *tag {
            [_, _, high, low] => vlan << 12 | u32::from(u16::from_be_bytes([high & 0x0f, low])),
            _ => vlan,
        })
    }
}

/// A station says that it has an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// Where it says so.
    pub tags: Tags,
    /// The address.
    pub addr: IpAddr,
    /// The station.
    pub mac: Mac,
    /// Whether it is a router, where that is part of the message.
    pub router: Option<bool>,
    /// The station that it answers, if it does.
    pub answers: Option<Mac>,
}

/// The type that stands behind the addresses, which is a tag's or the packet's.
#[inline]
fn kind(frame: &[u8]) -> Option<EtherType> {
    let &[.., k0, k1] = frame.first_chunk::<14>()?;
    Some(EtherType(u16::from_be_bytes([k0, k1])))
}

/// Whether no frame with the type of this one says anything.
pub fn is_silent(frame: &[u8]) -> bool {
    kind(frame).is_none_or(|kind| !matches!(kind, ether_type::ARP | ether_type::IPV6) && !is_tpid(kind))
}

/// A quick check whether [`said`] may find something in a frame.
#[inline]
pub fn may_say(frame: &[u8]) -> bool {
    match kind(frame) {
        None | Some(ether_type::IPV4) => false,
        Some(ether_type::ARP) => true,
        Some(ether_type::IPV6) => is_discovery(frame, 14),
        Some(kind) => is_tpid(kind) && may_say_behind_tags(frame),
    }
}

#[inline(never)]
fn may_say_behind_tags(frame: &[u8]) -> bool {
    let at = 14 + VLAN_TAG * vlan_tags(frame);
    match frame.get(at - 2..at) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => is_discovery(frame, at),
        _ => false,
    }
}

/// Whether the IPv6 packet that begins at `at` seems to be a solicitation or an advertisement.
#[inline]
fn is_discovery(frame: &[u8], at: usize) -> bool {
    frame.get(at + 6) == Some(&ICMPV6) && matches!(frame.get(at + IPV6), Some(&(SOLICITATION | ADVERTISEMENT)))
}

/// What a frame says: the sender of an ARP message, the source of a solicitation with its MAC, or the target of an
/// advertisement. Only what a station says of itself counts: a frame's source can be guarded, and another MAC address in
/// the message would make whoever believes it speak in the name of somebody else.
pub fn said(frame: &[u8]) -> Option<Said> {
    let (kind, at) = network_at(frame).ok()?;
    let (tags, packet) = (Tags::of(frame, at), frame.get(at..)?);
    let source = frame.get(6..12).and_then(station)?;
    let to = frame.get(..6).and_then(station);
    let (addr, mac, router, answers) = if kind == ether_type::ARP {
        let arp = arp(packet)?;
        (arp.sender.into(), arp.sender_mac, None, to.filter(|_| arp.operation == Operation::Reply))
    } else {
        let discovery = Discovery::read(kind, packet)?;
        match discovery.kind {
            // Receivers note its sender only if it has the sender's MAC.
            SOLICITATION => (discovery.source.into(), discovery.option(SOURCE_MAC)?, None, None),
            _ => {
                let mac = discovery.option(TARGET_MAC).unwrap_or(source);
                // One that takes no other's place may be one of several who have an anycast address (RFC 4861, 7.2.7).
                let to = to.filter(|_| discovery.flags & FLAG_OVERRIDE != 0);
                (discovery.target.into(), mac, Some(discovery.flags & FLAG_ROUTER != 0), to)
            }
        }
    };
    (is_host(addr) && mac == source).then_some(Said { tags, addr, mac, router, answers })
}

/// The request in a frame to one station.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where.
    pub tags: Tags,
    /// Whom it is for, or asks for.
    pub addr: IpAddr,
    /// The address of its sender, which may be far away.
    pub from: IpAddr,
    /// It is a question for the address itself.
    pub asks: bool,
}

/// Whom an IP packet is for, or an ARP request or a solicitation asks for.
pub fn wanted(frame: &[u8]) -> Option<Wanted> {
    let (kind, at) = network_at(frame).ok()?;
    let (tags, packet) = (Tags::of(frame, at), frame.get(at..)?);
    let (addr, from, asks) = match kind {
        ether_type::ARP => {
            let arp = arp(packet).filter(|arp| arp.operation == Operation::Request)?;
            (arp.target.into(), arp.sender.into(), true)
        }
        ether_type::IPV4 => (v4(packet, 16)?.into(), v4(packet, 12)?.into(), false),
        ether_type::IPV6 => match Discovery::read(kind, packet) {
            Some(Discovery { kind: SOLICITATION, target, source, .. }) => (target.into(), source.into(), true),
            _ => (v6(packet, 24)?.into(), v6(packet, 8)?.into(), false),
        },
        _ => return None,
    };
    is_host(addr).then_some(Wanted { tags, addr, from, asks })
}

/// Asks everybody for `addr`, in the name of `asker`, who has the address `own`, of the same family. Without one there is
/// no question: it would say that the asker is trying the address out (RFC 5227, 2.1.1; RFC 4862, 5.4.3), and whoever is
/// just doing that as well would give it up.
pub fn question(tags: &Tags, asker: Mac, own: IpAddr, addr: IpAddr) -> Option<Vec<u8>> {
    match (addr, own) {
        (IpAddr::V4(target), IpAddr::V4(own)) => {
            Some(ethernet((Mac::BROADCAST, asker), tags, ether_type::ARP, &request((asker, own), target)))
        }
        (IpAddr::V6(target), IpAddr::V6(own)) => {
            let [.., a, b, c] = target.octets();
            let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
            group[13..].copy_from_slice(&[a, b, c]);
            let packet = discovery((own, group.into()), SOLICITATION, 0, target, (SOURCE_MAC, asker));
            Some(ethernet((Mac([0x33, 0x33, 0xff, a, b, c]), asker), tags, ether_type::IPV6, &packet))
        }
        _ => None,
    }
}

/// Tells everybody that `mac` has `addr`: an ARP announcement (RFC 5227, 2.3), or an unsolicited advertisement that
/// takes the place of what was known (RFC 4861, 7.2.6).
pub fn announcement(said: &Said) -> Vec<u8> {
    match said.addr {
        IpAddr::V4(addr) => {
            ethernet((Mac::BROADCAST, said.mac), &said.tags, ether_type::ARP, &request((said.mac, addr), addr))
        }
        IpAddr::V6(addr) => {
            let flags = FLAG_OVERRIDE | if said.router == Some(true) { FLAG_ROUTER } else { 0 };
            let packet = discovery((addr, ALL_NODES), ADVERTISEMENT, flags, addr, (TARGET_MAC, said.mac));
            ethernet((Mac([0x33, 0x33, 0, 0, 0, 1]), said.mac), &said.tags, ether_type::IPV6, &packet)
        }
    }
}

/// An address that one host can have.
fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => !(addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast()),
        IpAddr::V6(addr) => !(addr.is_unspecified() || addr.is_multicast()),
    }
}

fn station(bytes: &[u8]) -> Option<Mac> {
    let mac = Mac(bytes.try_into().ok()?);
    (!mac.is_group() && mac.as_u64() != 0).then_some(mac)
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().map(|addr| Ipv4Addr::from(*addr))
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..)?.first_chunk::<16>().map(|addr| Ipv6Addr::from(*addr))
}

/// A message of ARP that a station may have sent.
fn arp(packet: &[u8]) -> Option<arp::Message> {
    arp::Message::read(packet).filter(|message| station(&message.sender_mac.0).is_some())
}

/// A solicitation or an advertisement that is valid so far (RFC 4861, 7.1).
struct Discovery<'a> {
    kind: u8,
    flags: u8,
    source: Ipv6Addr,
    target: Ipv6Addr,
    options: &'a [u8],
}

impl<'a> Discovery<'a> {
    fn read(ether_type: EtherType, packet: &'a [u8]) -> Option<Self> {
        let &[first, _, _, _, l0, l1, next, hops] = packet.first_chunk()?;
        if ether_type != ether_type::IPV6 || first >> 4 != 6 || next != ICMPV6 || hops != 255 {
            return None;
        }
        let length = u16::from_be_bytes([l0, l1]);
        let message = packet.get(IPV6..IPV6 + usize::from(length))?;
        let &[kind @ (SOLICITATION | ADVERTISEMENT), 0, _, _, flags, ..] = message else { return None };
        let (source, destination) = (v6(packet, 8)?, v6(packet, 24)?);
        let sum = pseudo_v6(source.octets(), destination.octets(), ICMPV6, length.into()).add_bytes(message);
        let found = Self { kind, flags, source, target: v6(message, 8)?, options: message.get(24..)? };
        (sum.checksum() == 0).then_some(found)
    }

    /// The MAC in the option of this kind.
    fn option(&self, wanted: u8) -> Option<Mac> {
        let mut options = self.options;
        while let [kind, words, ..] = *options {
            let (option, rest) = options.split_at_checked(8 * usize::from(words)).filter(|(it, _)| !it.is_empty())?;
            if kind == wanted && option.len() == 8 {
                return option.get(2..).and_then(station);
            }
            options = rest;
        }
        None
    }
}

fn ethernet((to, from): (Mac, Mac), tags: &Tags, kind: EtherType, payload: &[u8]) -> Vec<u8> {
    [&to.0, &from.0, tags.bytes(), &kind.0.to_be_bytes(), payload].concat()
}

/// An ARP request for `target`.
fn request((sender_mac, sender): (Mac, Ipv4Addr), target: Ipv4Addr) -> [u8; arp::LEN] {
    let operation = Operation::Request;
    arp::Message { operation, sender_mac, sender, target_mac: Mac::default(), target }.bytes()
}

fn discovery(
    (source, destination): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    (option, mac): (u8, Mac),
) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, 0, MESSAGE as u8, ICMPV6, 255];
    let mut message = [&[kind, 0, 0, 0, flags, 0, 0, 0], &target.octets()[..], &[option, 1], &mac.0].concat();
    let sum = pseudo_v6(source.octets(), destination.octets(), ICMPV6, MESSAGE as u32).add_bytes(&message).checksum();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    [&head[..], &source.octets(), &destination.octets(), &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
    const TAGGED: Tags = Tags { bytes: [0x81, 0, 0x20, 100, 0, 0, 0, 0], len: 4 };
    const TAGGED_TWICE: Tags = Tags { bytes: [0x88, 0xa8, 0x20, 100, 0x81, 0, 0, 7], len: 8 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_arp_question_is_the_standards() {
        let asked = question(&Tags::default(), A, ip("192.0.2.2"), ip("192.0.2.1")).unwrap();
        #[rustfmt::skip]
        let bytes = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0x0a, 8, 6,
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0x0a, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1,
        ];
        assert_eq!(asked, bytes);
        let mut probe = asked;
        probe[28..32].fill(0);
        assert_eq!(said(&probe), None, "a probe says nothing");
        assert_eq!(question(&Tags::default(), A, ip("192.0.2.2"), ip("fe80::1")), None);
        assert_eq!(question(&Tags::default(), A, ip("fe80::2"), ip("192.0.2.1")), None);
    }

    #[test]
    fn what_is_written_reads_back_behind_tags_too() {
        for (tags, vlan) in [(Tags::default(), 0), (TAGGED, 100), (TAGGED_TWICE, 100 << 12 | 7)] {
            assert_eq!(tags.vlan(), vlan);
            for (own, addr) in [("192.0.2.2", "192.0.2.1"), ("fe80::2", "2001:db8::1")] {
                let (own, addr) = (ip(own), ip(addr));
                let asked = question(&tags, A, own, addr).unwrap();
                assert_eq!(said(&asked), Some(Said { tags, addr: own, mac: A, router: None, answers: None }));
                assert_eq!(wanted(&asked), Some(Wanted { tags, addr, from: own, asks: true }));
                for router in [false, true] {
                    let router = addr.is_ipv6().then_some(router);
                    let told = Said { tags, addr, mac: A, router, answers: None };
                    let frame = announcement(&told);
                    assert!(may_say(&frame) && may_say(&asked) && !is_silent(&frame));
                    assert_eq!(said(&frame), Some(told));
                    let lie = [&frame[..6], &B.0, &frame[12..]].concat();
                    assert_eq!(said(&lie), None, "of another station");
                    // An announcement by ARP is a question to all; an answer is none.
                    let mut answer = [&B.0, &frame[6..]].concat();
                    if addr.is_ipv4() {
                        assert_eq!(said(&answer), Some(told));
                        answer[14 + tags.len + 7] = 2;
                    }
                    assert_eq!(said(&answer), Some(Said { answers: Some(B), ..told }));
                    if addr.is_ipv6() {
                        // Without the override flag, which the checksum covers.
                        let at = 14 + tags.len + IPV6;
                        answer[at + 4] &= !FLAG_OVERRIDE;
                        let (sum, carry) = u16::from_be_bytes([answer[at + 2], answer[at + 3]])
                            .overflowing_add(u16::from(FLAG_OVERRIDE) << 8);
                        let sum = sum + u16::from(carry);
                        answer[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
                        assert_eq!(said(&answer), Some(told), "one of several");
                    }
                }
            }
        }
    }

    #[test]
    fn most_frames_are_known_to_say_nothing_at_a_glance() {
        for tags in [Tags::default(), TAGGED, TAGGED_TWICE] {
            let frame = |kind, payload: &[u8]| ethernet((A, B), &tags, EtherType(u16::from_be_bytes(kind)), payload);
            let v6 = |next, first| [&[0x60, 0, 0, 0, 0, 8, next, 64][..], &[0; 32], &[first; 8]].concat();
            let quiet = [
                frame([8, 0], &[0x45; 60]),
                frame([0x86, 0xdd], &v6(6, SOLICITATION)),
                frame([0x86, 0xdd], &v6(ICMPV6, 128)),
                frame([0x88, 0xcc], &[8; 60]),
            ];
            quiet.iter().for_each(|frame| assert!(!may_say(frame), "{frame:x?}"));
            assert_eq!(is_silent(&quiet[0]), tags.len == 0);
            assert!(may_say(&frame([8, 6], &[])) && may_say(&frame([0x86, 0xdd], &v6(ICMPV6, ADVERTISEMENT))));
        }
    }

    #[test]
    fn what_is_cut_short_or_damaged_says_nothing() {
        let asked = question(&TAGGED, A, ip("fe80::2"), ip("fe80::1")).unwrap();
        for len in 0..asked.len() {
            assert_eq!((said(&asked[..len]), may_say(&asked[..len.min(12)])), (None, false), "{len}");
            wanted(&asked[..len]);
        }
        for at in 18..asked.len() {
            let mut bad = asked.clone();
            bad[at] ^= 0x5a;
            // The traffic class and the flow label are covered by nothing.
            assert!(said(&bad).is_none() || (18..22).contains(&at), "byte {at}");
        }
        assert_eq!(said(&[0xff; 60]), None);
    }
}
