//! The same over IPv6, where addresses are made of MAC addresses.

use super::*;

/// What two stations make of their MAC addresses: an address and the end of its group.
const IIDS: [[u8; 8]; 2] = [[0, 0, 0x5e, 0xff, 0xfe, 0, 0x53, 0x3b], [0, 0xaa, 0xbb, 0xff, 0xfe, 0xcc, 0xdd, 0xee]];
const MACS: [Mac; 2] = [OLD, NEW];
const PEER_ADDRESS: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// Addresses that were set by hand.
const GIVEN: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const OTHER: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11];

fn address(prefix: [u8; 8], which: usize) -> [u8; 16] {
    std::array::from_fn(|at| if at < 8 { prefix[at] } else { IIDS[which][at - 8] })
}

fn link_local(which: usize) -> [u8; 16] {
    address([0xfe, 0x80, 0, 0, 0, 0, 0, 0], which)
}

/// The solicited-node group, and its MAC address.
fn group(which: usize) -> ([u8; 16], [u8; 6]) {
    let [.., d, e, f] = IIDS[which];
    ([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, d, e, f], [0x33, 0x33, 0xff, d, e, f])
}

/// A frame with an ICMPv6 message, behind `extension` headers, the first of which has the number `next`.
fn icmpv6(macs: [[u8; 6]; 2], ips: [[u8; 16]; 2], (next, extension): (u8, &[u8]), message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let [destination, source] = ips;
    let pseudo = [&source[..], &destination, &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58]].concat();
    let sum = !naive_sum(&[pseudo, message.clone()].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let length = ((extension.len() + message.len()) as u16).to_be_bytes();
    let head = [&macs[0][..], &macs[1], &[0x86, 0xdd, 0x60, 0, 0, 0], &length, &[next, 255]].concat();
    [&head[..], &source, &destination, extension, &message].concat()
}

#[test]
fn a_station_finds_nobody_with_its_address() {
    // duplicate address detection, and the answer of a neighbour to another question
    let asks = |which: usize| {
        let (group, mac) = group(which);
        let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &link_local(which), &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
        icmpv6([mac, MACS[which].0], [group, [0; 16]], (58, &[]), &message)
    };
    assert_eq!(through(&both(), &asks(0), &Offload::NONE), asks(1));
    let tells = |which: usize| {
        let own = link_local(which);
        let message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &own, &[2, 1], &MACS[which].0].concat();
        icmpv6([PEER.0, MACS[which].0], [PEER_ADDRESS, own], (58, &[]), &message)
    };
    assert_eq!(through(&both(), &tells(0), &Offload::NONE), tells(1));
}

#[test]
fn groups_are_those_of_the_other_address() {
    let hop = [58, 0, 5, 2, 0, 0, 1, 0];
    let everybody = [0x33, 0x33, 0, 0, 0, 0x16];
    let routers = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];
    let report = |which: usize| {
        let other = [4, 1, 0, 1].into_iter().chain(routers).chain([7; 16]).chain([8; 4]);
        let own = [4, 0, 0, 0].into_iter().chain(group(which).0);
        let message: Vec<u8> = [143, 0, 0, 0, 0, 0, 0, 2].into_iter().chain(other).chain(own).collect();
        icmpv6([everybody, MACS[which].0], [routers, link_local(which)], (0, &hop), &message)
    };
    assert_eq!(through(&both(), &report(0), &Offload::NONE), report(1));
    let first = |kind: u8, which: usize| {
        let (group, mac) = group(which);
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &group].concat();
        icmpv6([mac, MACS[which].0], [group, link_local(which)], (0, &hop), &message)
    };
    for kind in [130, 131, 132] {
        assert_eq!(through(&both(), &first(kind, 0), &Offload::NONE), first(kind, 1), "type {kind}");
    }
}

/// A static address whose end is that of the MAC address: its group is not that of the station.
#[test]
fn a_group_follows_the_address_that_is_asked_for() {
    let mut given = GIVEN;
    given[13..].copy_from_slice(&IIDS[0][5..]);
    let (group, mac) = group(0);
    let asks = |target: [u8; 16], group: [u8; 16], mac: [u8; 6], layer: [u8; 6]| {
        let message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1], &layer].concat();
        icmpv6([mac, layer], [group, PEER_ADDRESS], (58, &[]), &message)
    };
    let question = asks(given, group, mac, PEER.0);
    assert_eq!(through(&both(), &question, &Offload::NONE), question, "no rule names it");
    // a rule that does, and a neighbour whose address ends alike but is in none
    let mut other = given;
    other[15] ^= 0x77;
    let six = Rewriter::new("x", &[Rule::Ip6(given.into(), other.into())]).unwrap();
    let (mut other_group, mut other_mac) = (group, mac);
    (other_group[15], other_mac[5]) = (other[15], other[15]);
    assert_eq!(through(&six, &question, &Offload::NONE), asks(other, other_group, other_mac, PEER.0));
    let router = asks(link_local(0), group, mac, PEER.0);
    assert_eq!(through(&six, &router, &Offload::NONE), router);
}

/// The client's identifier and the address that it got, as a DHCPv6 client and its server have them (RFC 8415).
#[test]
fn clients_of_dhcpv6_are_told_apart() {
    let rewriter = Rewriter::new("x", &[Rule::MacPair(OLD, NEW), Rule::Ip6(GIVEN.into(), OTHER.into())]).unwrap();
    let message = |mac: Mac, given: [u8; 16], by_time: bool| {
        let duid: &[u8] = if by_time { &[0, 1, 0, 14, 0, 1, 0, 1, 9, 9, 9, 9] } else { &[0, 1, 0, 10, 0, 3, 0, 1] };
        let status = [0, 13, 0, 3, 0, 0, b'!']; // so that what follows lies at an odd place
        let address = [&[0, 5, 0, 24][..], &given, &[0; 8]].concat();
        let association = [&[0, 3, 0, 12 + 28][..], &[7; 12], &address].concat();
        let options = [duid, &mac.0, &status, &association].concat();
        let udp =
            [&[2, 34, 2, 35][..], &(12 + options.len() as u16).to_be_bytes(), &[0, 0, 7, 1, 2, 3], &options].concat();
        udp6(mac, udp)
    };
    for by_time in [false, true] {
        let wanted = message(NEW, OTHER, by_time);
        assert_eq!(through(&rewriter, &message(OLD, GIVEN, by_time), &Offload::NONE), wanted);
    }
    // a length that leads beyond the end
    let mut cut = message(OLD, GIVEN, false);
    cut[62 + 4 + 3] = 200;
    through(&rewriter, &cut, &Offload::NONE);
}

/// A datagram to all servers, with its checksum.
fn udp6(source: Mac, mut udp: Vec<u8>) -> Vec<u8> {
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
    let length = udp.len() as u16;
    let pseudo = [&PEER_ADDRESS[..], &group, &u32::from(length).to_be_bytes(), &[0, 0, 0, 17]].concat();
    let sum = !naive_sum(&[pseudo, udp.clone()].concat());
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let head = [&[0x33, 0x33, 0, 1, 0, 2][..], &source.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    [&head[..], &length.to_be_bytes(), &[17, 1], &PEER_ADDRESS, &group, &udp].concat()
}

#[test]
fn addresses_of_other_makings_stay() {
    let given = GIVEN;
    let echo = |which: usize| icmpv6([PEER.0, MACS[which].0], [given, given], (58, &[]), &[128, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(through(&both(), &echo(0), &Offload::NONE), echo(1));
}

proptest! {
    /// Frames between addresses that were set by hand: as if a rule's other one had been set.
    #[test]
    fn a_flow_is_that_of_the_other_address(
        flow in flow(), payload in prop::collection::vec(any::<u8>(), 0..100), new: u128, to_it: bool,
        gso in prop::option::of(8..60_u16), partial: bool,
    ) {
        let Ip::V6(ip, _) = &flow.ip else { return Ok(()) };
        let old = if to_it { ip.destination } else { ip.source };
        let new = new.to_be_bytes();
        if old == new || [old, new].iter().any(|address| address[0] == 0xff) {
            return Ok(());
        }
        let rewriter = Rewriter::new("x", &[Rule::Ip6(old.into(), new.into())]).unwrap();
        let mut other = flow.clone();
        if let Ip::V6(ip, _) = &mut other.ip {
            (ip.source, ip.destination) = (swapped((old, new), ip.source), swapped((old, new), ip.destination));
        }
        if partial {
            let (frame, offload) = flow.offloaded(&payload, gso);
            prop_assert_eq!(through(&rewriter, &frame, &offload), other.offloaded(&payload, gso).0);
            return Ok(());
        }
        prop_assert_eq!(through(&rewriter, &flow.frame(&payload), &Offload::NONE), other.frame(&payload));
    }

    /// Frames of a station that has made its address of its MAC address: as if it had made it of the other one.
    #[test]
    fn a_flow_is_that_of_the_other_station(
        flow in flow(), payload in prop::collection::vec(any::<u8>(), 0..100), prefix: [u8; 7], to_it: bool,
        gso in prop::option::of(8..60_u16), partial: bool, kept in 40..220_usize, kind in 1..5_u8,
    ) {
        if !matches!(flow.ip, Ip::V6(..)) {
            return Ok(());
        }
        let [b, c, d, e, f, g, h] = prefix;
        let of = |which: usize| {
            let mut flow = flow.clone();
            let own = address([0x20, b, c, d, e, f, g, h], which);
            flow.link[..12].copy_from_slice(&[PEER.0, PEER.0].concat());
            flow.link[if to_it { 0..6 } else { 6..12 }].copy_from_slice(&MACS[which].0);
            if let Ip::V6(ip, _) = &mut flow.ip {
                (ip.source, ip.destination) = if to_it { (PEER_ADDRESS, own) } else { (own, PEER_ADDRESS) };
            }
            flow
        };
        let (old, new) = (of(0), of(1));
        if partial {
            let (frame, offload) = old.offloaded(&payload, gso);
            prop_assert_eq!(through(&both(), &frame, &offload), new.offloaded(&payload, gso).0);
            return Ok(());
        }
        prop_assert_eq!(through(&both(), &old.frame(&payload), &Offload::NONE), new.frame(&payload));
        // and what an error quotes of it; half a checksum is left as it is: what it becomes depends on the other half
        let half = flow.transport_at() - flow.link.len() + flow.checksum_offset() + 1;
        if kept == half {
            return Ok(());
        }
        let error = |flow: &Flow, which: usize| {
            let packet = &flow.frame(&payload)[flow.link.len()..];
            let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &packet[..kept.min(packet.len())]].concat();
            icmpv6([MACS[which].0, PEER.0], [link_local(which), PEER_ADDRESS], (58, &[]), &message)
        };
        prop_assert_eq!(through(&both(), &error(&old, 0), &Offload::NONE), error(&new, 1));
    }
}
