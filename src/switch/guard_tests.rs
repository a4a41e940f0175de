//! Tests of the source guard.

use super::*;
use proptest::prelude::*;
use std::net::Ipv6Addr;

const AGEING: Duration = Duration::from_secs(300);
const A: PortId = PortId(1);
const B: PortId = PortId(2);
const UPLINK: PortId = PortId(3);
const OTHER: PortId = PortId(4);
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
const MAC_C: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];

fn guard() -> Guard {
    let mut guard = Guard::new(1, AGEING);
    assert!(!guard.is_on());
    [A, B].into_iter().for_each(|port| guard.add_port(port));
    guard
}

fn frame(src: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &src, &kind, payload].concat()
}

fn arp(src: [u8; 6], says: [u8; 6], addr: [u8; 4]) -> Vec<u8> {
    frame(src, [8, 6], &[&[0, 1, 8, 0, 6, 4, 0, 2][..], &says, &addr, &[0; 10]].concat())
}

fn v4_packet(src: [u8; 6], addr: [u8; 4]) -> Vec<u8> {
    frame(src, [8, 0], &[&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0][..], &addr, &[10, 0, 2, 2]].concat())
}

/// An ICMPv6 message of neighbour discovery about `target`.
fn nd(src: [u8; 6], addr: Ipv6Addr, kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let head = [&[0x60, 0, 0, 0, 0, 24, 58, 255][..], &addr.octets(), &[0xff; 16]].concat();
    frame(src, [0x86, 0xdd], &[&head[..], &[kind, 0, 0, 0, 0, 0, 0, 0], &target.octets()].concat())
}

/// The other port that has what a refused frame claims.
fn owner(checked: Result<(), Refused>) -> Option<PortId> {
    match checked {
        Err(Refused::Claim(claim)) => Some(claim.owner),
        _ => None,
    }
}

/// An ICMPv6 message behind these extension headers, of which the first has this number.
fn icmp(src: [u8; 6], addr: Ipv6Addr, hops: u8, (next, headers): (u8, &[u8]), message: &[u8]) -> Vec<u8> {
    let len = (headers.len() + message.len()) as u8;
    let head = [&[0x60, 0, 0, 0, 0, len, next, hops][..], &addr.octets(), &[0xff; 16]].concat();
    frame(src, [0x86, 0xdd], &[&head[..], headers, message].concat())
}

fn ip(addr: [u8; 4]) -> Address {
    Address::Ip(addr.into())
}

#[test]
fn what_one_port_has_another_does_not_get() {
    let mut guard = guard();
    let addr = [10, 0, 2, 100];
    assert_eq!(guard.check(A, &arp(MAC_A, MAC_A, addr)), Ok(()));
    let refused = |guard: &mut Guard, frame: &[u8]| match guard.check(B, frame) {
        Err(Refused::Claim(claim)) => Err(claim.address),
        checked => Ok(assert_eq!(checked, Ok(()))),
    };
    assert_eq!(refused(&mut guard, &v4_packet(MAC_A, [10, 0, 2, 101])), Err(Address::Mac(Mac(MAC_A))));
    assert_eq!(refused(&mut guard, &arp(MAC_B, MAC_A, [10, 0, 2, 101])), Err(Address::Mac(Mac(MAC_A))));
    assert_eq!(refused(&mut guard, &arp(MAC_B, MAC_B, addr)), Err(ip(addr)));
    assert_eq!(refused(&mut guard, &v4_packet(MAC_B, addr)), Err(ip(addr)));
    let tagged = [&arp(MAC_B, MAC_B, addr)[..12], &[0x81, 0, 0, 7], &arp(MAC_B, MAC_B, addr)[12..]].concat();
    assert_eq!(refused(&mut guard, &tagged), Err(ip(addr)));
    assert_eq!(refused(&mut guard, &arp(MAC_B, MAC_B, [10, 0, 2, 101])), Ok(()));
    assert_eq!(guard.owner(Address::Mac(Mac(MAC_B))), Some(B), "what was refused took nothing along");
    // there may be a router behind an unguarded port
    assert!(guard.check(UPLINK, &v4_packet(MAC_C, addr)).is_ok());
    assert_eq!(guard.owner(ip(addr)), Some(A));
    guard.flush_port(A);
    assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, addr)), Ok(()), "it has left");
}

#[test]
fn neighbours_claim_what_they_say_is_theirs() {
    let mut guard = guard();
    let [own, other]: [Ipv6Addr; 2] = ["2001:db8::a", "2001:db8::b"].map(|addr| addr.parse().unwrap());
    assert_eq!(guard.check(A, &nd(MAC_A, own, 135, other)), Ok(()));
    assert_eq!(guard.owner(Address::Ip(other.into())), None, "it only asked");
    assert!(guard.check(B, &nd(MAC_B, own, 135, other)).is_err());
    assert!(guard.check(B, &nd(MAC_B, other, 136, own)).is_err());
    assert_eq!(guard.check(B, &nd(MAC_B, other, 136, other)), Ok(()));
    // whether somebody has an address is asked without one (RFC 4862, section 5.4.2)
    assert_eq!(guard.check(B, &nd(MAC_B, Ipv6Addr::UNSPECIFIED, 135, own)), Ok(()));
}

#[test]
fn a_lease_takes_an_address_from_who_made_it_up() {
    let mut guard = guard();
    let addr = [10, 0, 2, 15];
    assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, addr)), Ok(()));
    guard.bind(ip(addr), A);
    assert_eq!(guard.check(A, &arp(MAC_A, MAC_A, addr)), Ok(()));
    assert!(guard.check(B, &arp(MAC_B, MAC_B, addr)).is_err());
    for last in 0..200 {
        assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, [10, 0, 3, last])), Ok(()));
    }
    assert_eq!(guard.bound.len(), MOST + 2, "what a port makes up is bounded");
    assert_eq!(guard.owner(ip(addr)), Some(A));
    guard.remove_port(A);
    guard.remove_port(B);
    assert!(guard.bound.is_empty() && !guard.is_on());
}

#[test]
fn what_is_heard_on_an_unguarded_port_a_guarded_one_does_not_get() {
    let mut guard = guard();
    let addr = [192, 0, 2, 3];
    assert_eq!(guard.check(UPLINK, &arp(MAC_C, MAC_C, addr)), Ok(()));
    for stolen in [v4_packet(MAC_C, [192, 0, 2, 9]), arp(MAC_B, MAC_B, addr), arp(MAC_B, MAC_C, [192, 0, 2, 9])] {
        assert_eq!(owner(guard.check(B, &stolen)), Some(UPLINK));
    }
    assert_eq!(guard.check(OTHER, &arp(MAC_C, MAC_C, addr)), Ok(()), "it has moved");
    guard.flush_port(UPLINK);
    assert_eq!(owner(guard.check(B, &arp(MAC_B, MAC_B, addr))), Some(OTHER));
    guard.set_time(Instant::ZERO + AGEING);
    assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, addr)), Ok(()), "it was not heard for long");
    assert_eq!((guard.owner(ip(addr)), guard.heard.len()), (Some(B), 1));
    guard.flush_port(OTHER);
    assert!(guard.heard.is_empty(), "a port that is down frees what was heard there");
}

#[test]
fn the_word_of_an_unguarded_port_takes_what_a_guarded_one_used_first() {
    let mut guard = guard();
    let addr = [192, 0, 2, 3];
    let (stolen, own) = (arp(MAC_C, MAC_C, addr), arp(MAC_C, MAC_C, addr));
    assert_eq!(guard.check(B, &stolen), Ok(()), "nobody has it yet");
    assert_eq!(guard.check(UPLINK, &own), Ok(()));
    assert_eq!(owner(guard.check(B, &stolen)), Some(UPLINK));
    assert_eq!(guard.first_used[&B].len(), 0);
    // it takes neither a lease nor what is configured
    guard.bind(ip(addr), A);
    guard.bind_own(ip(addr), B);
    assert_eq!(owner(guard.check(UPLINK, &own)), Some(A));
    assert_eq!(guard.heard.len(), 1, "only the MAC");
}

#[test]
fn what_is_heard_is_bounded_and_nothing_known_makes_place() {
    let mut guard = guard();
    let addr = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number).octets();
    for number in 1..=2 * HEARD_MOST as u32 {
        assert_eq!(guard.check(UPLINK, &arp(MAC_C, MAC_C, addr(number))), Ok(()));
    }
    assert_eq!((guard.heard.len(), guard.bound.len()), (HEARD_MOST, HEARD_MOST));
    assert!(guard.check(B, &arp(MAC_B, MAC_B, addr(1))).is_err());
    let late = addr(2 * HEARD_MOST as u32);
    assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, late)), Ok(()));
    assert_eq!(guard.check(UPLINK, &arp(MAC_C, MAC_C, late)), Ok(()), "it passes without room too");
    assert_eq!(guard.owner(ip(late)), None);
    guard.set_time(Instant::ZERO + AGEING);
    assert_eq!(guard.check(UPLINK, &arp(MAC_C, MAC_C, late)), Ok(()));
    assert!(guard.check(B, &arp(MAC_B, MAC_B, late)).is_err(), "an old one has made place");
    [A, B].into_iter().for_each(|port| guard.remove_port(port));
    assert!(guard.bound.is_empty() && guard.heard.is_empty(), "without a guarded port nothing is kept");
}

#[test]
fn neighbours_claim_behind_extension_headers_too() {
    let mut guard = guard();
    let [own, other]: [Ipv6Addr; 2] = ["2001:db8::a", "2001:db8::b"].map(|addr| addr.parse().unwrap());
    assert_eq!(guard.check(A, &nd(MAC_A, own, 135, other)), Ok(()));
    let message = [&[136, 0, 0, 0, 0, 0, 0, 0][..], &own.octets()].concat();
    let [hop, options, route, first, more] = [
        [58, 0, 1, 4, 0, 0, 0, 0],
        [58, 0, 1, 4, 0, 0, 0, 0],
        [58, 0, 0, 0, 0, 0, 0, 0],
        [58, 0, 0, 0, 0, 0, 0, 7],
        [58, 0, 0, 1, 0, 0, 0, 7],
    ];
    let two = [&[60, 0, 1, 4, 0, 0, 0, 0][..], &options].concat();
    for headers in [(0, &hop[..]), (60, &options), (43, &route), (0, &two), (60, &two)] {
        let frame = icmp(MAC_B, other, 255, headers, &message);
        assert_eq!(owner(guard.check(B, &frame)), Some(A), "{headers:?}");
        let from_afar = icmp(MAC_C, other, 64, headers, &message);
        assert_eq!(guard.check(UPLINK, &from_afar), Ok(()));
    }
    assert_eq!(guard.owner(Address::Ip(own.into())), Some(A), "what is routed to it takes nothing from it");
    // in fragments: a whole one, the first, one whose headers go on, one that has no type yet
    let behind = [&[60, 0, 0, 1, 0, 0, 0, 7][..], &options].concat();
    let unfinished = [60, 0, 0, 1, 0, 0, 0, 7, 58, 3, 0, 0, 0, 0, 0, 0];
    for (headers, message) in
        [(&first[..], &message[..]), (&more, &message), (&behind, &message), (&unfinished, &[]), (&more, &[])]
    {
        assert_eq!(
            guard.check(B, &icmp(MAC_B, other, 255, (44, headers), message)),
            Err(Refused::Fragments),
            "{headers:?}"
        );
    }
    assert_eq!(guard.check(B, &icmp(MAC_B, other, 64, (44, &more), &[128, 0, 0, 0])), Ok(()), "a long echo");
    let later = [58, 0, 5, 1, 0, 0, 0, 7];
    assert_eq!(guard.check(B, &icmp(MAC_B, other, 64, (44, &later), &message)), Ok(()), "it says nothing alone");
}

#[test]
fn routers_and_link_layer_options_claim_as_well() {
    let mut guard = guard();
    let [own, other]: [Ipv6Addr; 2] = ["fe80::a", "fe80::b"].map(|addr| addr.parse().unwrap());
    assert_eq!(guard.check(A, &nd(MAC_A, own, 135, other)), Ok(()));
    let option = |kind: u8, mac: [u8; 6]| [&[kind, 1][..], &mac].concat();
    let message = |kind: u8, len: usize, options: &[u8]| {
        let mut body = vec![0; len];
        body[0] = kind;
        if kind >= 135 {
            body[8..24].copy_from_slice(&other.octets());
        }
        [&body, options].concat()
    };
    let nonce = [14, 1, 0, 0, 0, 0, 0, 0];
    for (kind, len, number) in [(133, 8, 1), (134, 16, 1), (135, 24, 1), (136, 24, 2), (137, 40, 2)] {
        let says = |guard: &mut Guard, port, addr: Ipv6Addr, options: &[u8]| {
            guard.check(port, &icmp(MAC_B, addr, 255, (58, &[]), &message(kind, len, options)))
        };
        assert_eq!(owner(says(&mut guard, B, own, &option(number, MAC_B))), Some(A), "{kind}: the source");
        let second = [&nonce[..], &option(number, MAC_B), &option(number, MAC_A)].concat();
        assert_eq!(owner(says(&mut guard, B, other, &second)), Some(A), "{kind}: the MAC");
        assert_eq!(says(&mut guard, B, other, &option(number, MAC_B)), Ok(()));
    }
    let redirect = |target: Ipv6Addr| [&[137, 0, 0, 0, 0, 0, 0, 0][..], &target.octets(), &[0; 16]].concat();
    assert_eq!(owner(guard.check(B, &icmp(MAC_B, other, 255, (58, &[]), &redirect(own)))), Some(A));
    let third = "fe80::c".parse().unwrap();
    assert_eq!(guard.check(B, &icmp(MAC_B, other, 255, (58, &[]), &redirect(third))), Ok(()));
    assert_eq!(guard.owner(Address::Ip(third.into())), None, "a redirect says that it is another's");
    // an unguarded router asks in its own name, and may name the next one
    let router = message(134, 16, &option(1, MAC_C));
    assert_eq!(guard.check(UPLINK, &icmp(MAC_C, third, 255, (58, &[]), &router)), Ok(()));
    assert_eq!(owner(guard.check(B, &icmp(MAC_B, third, 255, (58, &[]), &router))), Some(UPLINK));
    assert_eq!(guard.check(UPLINK, &icmp(MAC_C, third, 255, (58, &[]), &redirect(own))), Ok(()));
    assert_eq!(guard.owner(Address::Ip(own.into())), Some(A));
}

proptest! {
    /// Any bytes: no panic, and each address is one port's.
    #[test]
    fn any_frame_is_looked_at(frames in prop::collection::vec((1u16..4, prop::collection::vec(any::<u8>(), 0..80)), 0..50)) {
        let mut guard = guard();
        for (port, frame) in frames {
            let checked = guard.check(PortId(port), &frame);
            if let Err(Refused::Claim(claim)) = checked {
                prop_assert!(port != UPLINK.0 && guard.bound[&claim.address].port != PortId(port));
            }
            let heard = |binding: &&Binding| matches!(binding.hold, Hold::Heard(_));
            prop_assert!(guard.bound.values().all(|binding| heard(&binding) == (binding.port == UPLINK)));
            prop_assert_eq!(guard.bound.values().filter(heard).count(), guard.heard.len());
            prop_assert_eq!(guard.bound.len() - guard.heard.len(), guard.first_used.values().map(VecDeque::len).sum::<usize>());
        }
    }
}
