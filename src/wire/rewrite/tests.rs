//! Frames between some addresses, and what they must be between others; each way of it and back.

mod six;

use super::*;
use crate::wire::fixture::{Flow, Ip, Transport, assert_valid, flow, naive_sum, tcp4};
use crate::wire::segment::finish_checksum;
use etherparse::{Ipv4Header, UdpHeader, ip_number};
use proptest::prelude::*;

const OLD: Mac = Mac([2, 0, 0x5e, 0, 0x53, 0x3b]);
const NEW: Mac = Mac([2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const OLD_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const NEW_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);

fn both() -> Rewriter {
    Rewriter::new("x", &[Rule::MacPair(OLD, NEW), Rule::Ip(OLD_IP, NEW_IP)]).unwrap()
}

/// The frame as it is translated; and checks that it comes back.
fn through(rewriter: &Rewriter, frame: &[u8], offload: &Offload) -> Vec<u8> {
    let mut there = frame.to_vec();
    rewriter.clone().inbound(&mut there, offload);
    let mut back = there.clone();
    rewriter.outbound(&mut back, offload);
    assert_eq!(back, frame, "both ways");
    there
}

fn swapped<const N: usize>(pair: ([u8; N], [u8; N]), address: [u8; N]) -> [u8; N] {
    match address {
        a if a == pair.0 => pair.1,
        a if a == pair.1 => pair.0,
        a => a,
    }
}

/// The same flow between the other addresses.
fn exchanged(flow: &Flow, macs: ([u8; 6], [u8; 6]), ips: ([u8; 4], [u8; 4])) -> Flow {
    let mut flow = flow.clone();
    for at in [0, 6] {
        let place: &mut [u8; 6] = (&mut flow.link[at..at + 6]).try_into().unwrap();
        *place = swapped(macs, *place);
    }
    if let Ip::V4(ip) = &mut flow.ip {
        ip.source = swapped(ips, ip.source);
        ip.destination = swapped(ips, ip.destination);
    }
    flow
}

type Pairs = (([u8; 6], [u8; 6]), ([u8; 4], [u8; 4]));

/// Pairs of addresses, some of which are those of the flow.
fn pairs(flow: &Flow, new: (u64, u32), which: [bool; 2]) -> Option<Pairs> {
    let mac: [u8; 6] = flow.link[if which[0] { 0..6 } else { 6..12 }].try_into().unwrap();
    let ip = match &flow.ip {
        Ip::V4(ip) if which[1] => ip.source,
        Ip::V4(ip) => ip.destination,
        Ip::V6(..) => [192, 0, 2, 1],
    };
    let (macs, ips) = ((mac, Mac::from_u64(new.0).0), (ip, new.1.to_be_bytes()));
    (macs.0 != macs.1 && ips.0 != ips.1 && ips.0 != [0; 4] && ips.1 != [0; 4]).then_some((macs, ips))
}

proptest! {
    /// What comes out is the frame that a sender with the other addresses would have made.
    #[test]
    fn a_flow_is_that_of_the_other_addresses(
        flow in flow(), payload in prop::collection::vec(any::<u8>(), 0..100), new: (u64, u32), which: [bool; 2],
        gso in prop::option::of(8..60_u16), partial: bool, no_sum: bool,
    ) {
        let Some((macs, ips)) = pairs(&flow, new, which) else { return Ok(()) };
        let rules = [Rule::MacPair(Mac(macs.0), Mac(macs.1)), Rule::Ip(ips.0.into(), ips.1.into())];
        let rewriter = Rewriter::new("x", &rules).unwrap();
        let other = exchanged(&flow, macs, ips);
        if partial {
            let (frame, offload) = flow.offloaded(&payload, gso);
            prop_assert_eq!(through(&rewriter, &frame, &offload), other.offloaded(&payload, gso).0);
            return Ok(());
        }
        let (mut frame, mut wanted) = (flow.frame(&payload), other.frame(&payload));
        if no_sum && matches!(flow.transport, Transport::Udp(_)) {
            let at = flow.transport_at() + 6;
            frame[at..at + 2].fill(0);
            wanted[at..at + 2].fill(0);
        }
        prop_assert_eq!(through(&rewriter, &frame, &Offload::NONE), wanted);
    }

    /// An ICMP error quotes as much of the packet as it likes.
    #[test]
    fn what_an_error_quotes_is_translated(
        flow in flow(), payload in prop::collection::vec(any::<u8>(), 0..60), new: (u64, u32), which: [bool; 2],
        kept in 20..200_usize, kind in prop::sample::select(vec![3_u8, 4, 5, 11, 12, 8]), gateway: [u8; 4],
    ) {
        let Some((macs, ips)) = pairs(&flow, new, which) else { return Ok(()) };
        // Half a checksum is left as it is: what it becomes depends on the other half.
        let half = flow.transport_at() - flow.link.len() + flow.checksum_offset() + 1;
        if !matches!(flow.ip, Ip::V4(_)) || kept == half {
            return Ok(());
        }
        let rewriter = Rewriter::new("x", &[Rule::Ip(ips.0.into(), ips.1.into())]).unwrap();
        let error = |flow: &Flow, from: [u8; 4], gateway: [u8; 4]| {
            let quote = &flow.frame(&payload)[flow.link.len()..];
            let quote = &quote[..kept.min(quote.len())];
            let message = [&[kind, 1, 0, 0][..], &gateway, quote].concat();
            icmp(from, [10, 0, 0, 9], message)
        };
        let other = if kind == 8 { flow.clone() } else { exchanged(&flow, macs, ips) };
        let router = if kind == 5 { swapped(ips, gateway) } else { gateway };
        let wanted = error(&other, swapped(ips, ips.0), router);
        prop_assert_eq!(through(&rewriter, &error(&flow, ips.0, gateway), &Offload::NONE), wanted);
    }

    /// No bytes are a reason to panic; and what was translated once is the same after each further time there and back.
    #[test]
    fn any_bytes(mut frame in prop::collection::vec(any::<u8>(), 0..400), protocol in 0..3_usize) {
        if let Some(rest) = frame.get_mut(12..24) {
            let (kind, proto) = ([[8, 0], [8, 0], [0x86, 0xdd]][protocol], [17, 1, 58][protocol]);
            rest[..2].copy_from_slice(&kind);
            rest[2] = if protocol == 2 { 0x60 } else { 0x45 };
            rest[11] = proto;
        }
        let rewriter = both();
        let mut once = frame.clone();
        rewriter.outbound(&mut once, &Offload::NONE);
        let mut thrice = once.clone();
        rewriter.outbound(&mut thrice, &Offload::NONE);
        rewriter.outbound(&mut thrice, &Offload::NONE);
        prop_assert_eq!(once, thrice);
    }
}

fn icmp(source: [u8; 4], destination: [u8; 4], mut message: Vec<u8>) -> Vec<u8> {
    let sum = !naive_sum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(source, destination, ip_number::ICMP.0, &message)
}

fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new(payload.len() as u16, 64, protocol.into(), source, destination).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut frame = [&PEER.0[..], &PEER.0, &[8, 0]].concat();
    header.write(&mut frame).unwrap();
    frame.extend_from_slice(payload);
    frame
}

#[test]
fn fragments_have_the_checksum_in_the_first_alone() {
    let Flow { link, ip: Ip::V4(ip), .. } = tcp4(1) else { panic!("it is IPv4") };
    let fragment = |source: [u8; 4], first: bool, datagram: &[u8]| {
        let mut ip = ip.clone();
        (ip.source, ip.more_fragments) = (source, first);
        ip.fragment_offset = if first { 0.try_into().unwrap() } else { 185.try_into().unwrap() };
        ip.set_payload_len(datagram.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        let mut frame = link.clone();
        ip.write_raw(&mut frame).unwrap();
        [&frame, datagram].concat()
    };
    let payload: Vec<u8> = (0..2000_u32).map(|byte| byte as u8).collect();
    let datagram = |source: [u8; 4]| {
        let mut flow = tcp4(1);
        if let Ip::V4(ip) = &mut flow.ip {
            ip.source = source;
        }
        flow.frame(&payload)[flow.link.len() + 20..].to_vec()
    };
    for (first, range) in [(true, 0..1480), (false, 1480..2020)] {
        let [old, new] = [OLD_IP, NEW_IP].map(|ip| fragment(ip.octets(), first, &datagram(ip.octets())[range.clone()]));
        assert_eq!(through(&both(), &old, &Offload::NONE), new, "first: {first}");
    }
}

#[test]
fn a_checksum_that_waits_is_completed_to_the_right_one() {
    let mut flow = tcp4(7);
    flow.link.splice(12..12, [0x81, 0, 0, 100]);
    let (frame, offload) = flow.offloaded(b"payload", None);
    let mut there = through(&both(), &frame, &offload);
    finish_checksum(&mut there, offload.checksum).unwrap();
    assert_valid(&there);
}

#[test]
fn arp_is_translated_but_not_for_a_group() {
    let arp = |ether: [Mac; 2], sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)| {
        let [destination, source] = ether.map(|mac| mac.0);
        let head = [&destination[..], &source, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
        let parts = [sender, target].map(|(mac, ip)| [&mac.0[..], &ip.octets()].concat());
        [head, parts.concat()].concat()
    };
    let host = (PEER, Ipv4Addr::new(192, 0, 2, 2));
    let asked = arp([Mac::BROADCAST, OLD], (OLD, OLD_IP), (Mac::default(), host.1));
    let wanted = arp([Mac::BROADCAST, NEW], (NEW, NEW_IP), (Mac::default(), host.1));
    assert_eq!(through(&both(), &asked, &Offload::NONE), wanted);
    let reply = arp([NEW, PEER], host, (NEW, NEW_IP));
    assert_eq!(through(&both(), &reply, &Offload::NONE), arp([OLD, PEER], host, (OLD, OLD_IP)));
    let cut = &asked[..40];
    assert_eq!(through(&both(), cut, &Offload::NONE)[..38], wanted[..38]);
    let other = [&asked[..14], &[0, 6], &asked[16..]].concat();
    assert_eq!(through(&both(), &other, &Offload::NONE)[14..], other[14..], "of another hardware");
}

#[test]
fn dhcp_tells_its_clients_apart() {
    let message = |mac: Mac, ip: Ipv4Addr| {
        let mut bootp = vec![0_u8; 236];
        bootp[..3].copy_from_slice(&[1, 1, 6]);
        bootp[12..16].copy_from_slice(&ip.octets());
        bootp[28..34].copy_from_slice(&mac.0);
        // pad, type, client identifier at an odd place, address asked for, end
        let options = [&[99, 130, 83, 99, 0, 53, 1, 3, 61, 7, 1][..], &mac.0, &[50, 4], &ip.octets(), &[255]].concat();
        let payload = [bootp, options].concat();
        let mut header =
            UdpHeader { source_port: 68, destination_port: 67, length: 8 + payload.len() as u16, checksum: 0 };
        let net = Ipv4Header::new(header.length, 64, ip_number::UDP, [0; 4], [255; 4]).unwrap();
        header.checksum = header.calc_checksum_ipv4(&net, &payload).unwrap();
        let mut datagram = Vec::new();
        header.write(&mut datagram).unwrap();
        ipv4([0; 4], [255; 4], ip_number::UDP.0, &[datagram, payload].concat())
    };
    let [old, new] = [message(OLD, OLD_IP), message(NEW, NEW_IP)];
    assert_eq!(through(&both(), &old, &Offload::NONE), new);
    // one whose checksum waits: only the seed is there, and DHCP is no part of it
    let offload = Offload { checksum: crate::wire::Checksum::Partial { start: 34, offset: 6 }, ..Offload::NONE };
    assert_eq!(through(&both(), &old, &offload)[40..42], old[40..42]);
}

#[test]
fn neighbours_are_told_the_other_link_layer_address() {
    let solicitation = |kind: u8, fixed: usize, mac: Mac| {
        let options = [&[14, 1, 1, 2, 3, 4, 5, 6, 1, 1][..], &mac.0, &[2, 1], &mac.0].concat();
        let mut message = [&[kind, 0, 0, 0][..], &vec![7; fixed - 4], &options].concat();
        let (source, destination) = ([0xfe; 16], [0xff; 16]);
        let pseudo = [&source[..], &destination, &(message.len() as u32).to_be_bytes(), &[0, 0, 0, 58]].concat();
        let sum = !naive_sum(&[pseudo, message.clone()].concat());
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let head = [&PEER.0[..], &mac.0, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]].concat();
        [&head[..], &source, &destination, &message].concat()
    };
    for (kind, fixed) in [(133, 8), (134, 16), (135, 24), (136, 24), (137, 40)] {
        let [old, new] = [OLD, NEW].map(|mac| solicitation(kind, fixed, mac));
        assert_eq!(through(&both(), &old, &Offload::NONE), new, "type {kind}");
    }
    let [old, new] = [OLD, NEW].map(|mac| solicitation(128, 24, mac));
    assert_eq!(through(&both(), &old, &Offload::NONE), [&new[..14], &old[14..]].concat(), "an echo has no options");
}

#[test]
fn stations_get_addresses_made_of_the_port() {
    let mut rewriter = Rewriter::new("inst1", &[Rule::Mac]).unwrap();
    let mut heard = |source: Mac| {
        let mut frame = [&[0xff; 6][..], &source.0, &[0x88, 0xb5]].concat();
        rewriter.inbound(&mut frame, &Offload::NONE);
        Mac(frame[6..12].try_into().unwrap())
    };
    let first = heard(OLD);
    assert_eq!(first, Mac::made_of("inst1"));
    assert!(first.is_local() && !first.is_group());
    assert_eq!(heard(OLD), first, "it stays");
    let second = heard(PEER);
    assert!(second != first && second != PEER && second.is_local());
    assert_eq!(heard(Mac::BROADCAST), Mac::BROADCAST, "no station");
    assert_eq!(heard(Mac::default()), Mac::default(), "no station");
    let many: Vec<Mac> = (0..20).map(|number| heard(Mac([2, 9, 9, 9, 9, number]))).collect();
    let kept = (0..20).filter(|&number| many[number as usize] == Mac([2, 9, 9, 9, 9, number])).count();
    assert_eq!(kept, 20 - (STATIONS_MAX - 2), "the rest pass as they are");
    assert_eq!(heard(OLD), first);
    let mut same = Rewriter::new("inst1", &[Rule::Mac]).unwrap();
    let mut frame = [&[0xff; 6][..], &first.0, &[0x88, 0xb5]].concat();
    same.inbound(&mut frame, &Offload::NONE);
    assert_eq!(frame[6..12], first.0, "one that has it by itself");
}

#[test]
fn rules_that_name_one_address_contradict_each_other() {
    let ip = |old: u8, new: u8| Rule::Ip([10, 0, 0, old].into(), [10, 0, 0, new].into());
    assert!(Rule::Mac.contradicts(&Rule::Mac));
    assert!(ip(1, 2).contradicts(&ip(2, 3)) && ip(1, 2).contradicts(&ip(3, 1)));
    assert!(!ip(1, 2).contradicts(&ip(3, 4)) && !Rule::Mac.contradicts(&ip(1, 2)));
    assert!(Rule::MacPair(OLD, NEW).contradicts(&Rule::MacPair(PEER, OLD)));
    assert!(Rewriter::new("x", &[]).is_none());
}
