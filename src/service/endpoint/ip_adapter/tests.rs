//! The adapter between packets and frames, byte by byte and under a virtual clock.

use super::*;
use crate::wire::checksum::Sum;
use etherparse::PacketBuilder;
use proptest::prelude::*;

const OWN: Mac = Mac([2, 0, 0x5e, 0, 0x53, 9]);
const HOST: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PEER: [u8; 4] = [192, 0, 2, 1];
const FAR: [u8; 4] = [192, 0, 2, 2];

fn adapter(addrs: &[&str], gateways: &[&str]) -> IpAdapter {
    let config = AdapterConfig {
        mac: OWN,
        addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        gateways: gateways.iter().map(|addr| addr.parse().unwrap()).collect(),
        mtu: 576,
    };
    IpAdapter::new(config, 1)
}

fn v6(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

fn packet_v4(src: [u8; 4], dst: [u8; 4], len: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(src, dst, 64).udp(7, 7).write(&mut packet, &vec![0x5a; len - 28]).unwrap();
    packet
}

fn packet_v6(src: &str, dst: &str, len: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(v6(src), v6(dst), 64).udp(7, 7).write(&mut packet, &vec![0x5a; len - 48]).unwrap();
    packet
}

fn frame(dst: Mac, src: Mac, ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&dst.0, &src.0, &ethertype.to_be_bytes()[..], packet].concat()
}

fn arp(operation: arp::Operation, (sender_mac, sender): (Mac, [u8; 4]), target: [u8; 4], dst: Mac) -> Vec<u8> {
    let (sender, target) = (sender.into(), target.into());
    let message = arp::Message { operation, sender_mac, sender, target_mac: Mac::default(), target };
    frame(dst, sender_mac, arp::ETHERTYPE, &message.emit())
}

fn sent(adapter: &mut IpAdapter) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    adapter.poll_transmit(usize::MAX, &mut |frame| frames.push(frame.to_vec()));
    frames
}

/// A solicitation or advertisement as a frame.
fn discovery(dst: Mac, write: impl FnOnce(&mut Scratch)) -> Vec<u8> {
    let mut scratch = Scratch::new(1500);
    write(&mut scratch);
    frame(dst, HOST, ETHERTYPE_IPV6, scratch.packet())
}

#[test]
fn a_peer_is_learned_and_answered_for() {
    let mut adapter = adapter(&[], &[]);
    let question = arp(arp::Operation::Request, (HOST, FAR), PEER, Mac::BROADCAST);
    assert_eq!(adapter.handle_frame(Instant::ZERO, &question), Err(DropReason::NotForPeer), "nobody knows it yet");
    adapter.handle_packet(Instant::ZERO, &packet_v4(PEER, FAR, 60)).unwrap();
    assert_eq!(adapter.peer_addresses().collect::<Vec<_>>(), [IpAddr::from(PEER)]);
    sent(&mut adapter);
    assert_eq!(adapter.look(Instant::ZERO, &question), None);
    assert_eq!(adapter.handle_frame(Instant::ZERO, &question), Ok(()));
    let [waiting, answer] = &sent(&mut adapter)[..] else { panic!("the packet that waited, and the answer") };
    assert_eq!(waiting[..14], frame(HOST, OWN, ETHERTYPE_IPV4, &[]));
    assert_eq!(answer[..14], frame(HOST, OWN, arp::ETHERTYPE, &[]));
    let message = arp::Message::parse(&answer[14..]).unwrap();
    assert_eq!((message.operation, message.sender_mac, message.sender), (arp::Operation::Reply, OWN, PEER.into()));
    let packet = packet_v4(FAR, PEER, 60);
    let padded = [frame(OWN, HOST, ETHERTYPE_IPV4, &packet), vec![0; 9]].concat();
    assert_eq!(adapter.look(Instant::ZERO, &padded), Some(&packet[..]), "without the padding");
    adapter.forget_peer();
    assert_eq!(adapter.peer_addresses().count(), 0);
}

#[test]
fn packets_wait_for_their_next_hop() {
    let mut adapter = adapter(&["192.0.2.1/24"], &["192.0.2.254"]);
    for (dst, hop) in [(FAR, FAR), ([203, 0, 113, 5], [192, 0, 2, 254])] {
        let packet = packet_v4(PEER, dst, 100);
        adapter.handle_packet(Instant::ZERO, &packet).unwrap();
        let question = sent(&mut adapter).remove(0);
        assert_eq!(question[..6], Mac::BROADCAST.0);
        let message = arp::Message::parse(&question[14..]).unwrap();
        assert_eq!((message.sender, message.target), (PEER.into(), Ipv4Addr::from(hop)));
        let answer = arp(arp::Operation::Reply, (HOST, hop), PEER, OWN);
        assert_eq!(adapter.handle_frame(Instant::ZERO, &answer), Ok(()));
        assert_eq!(sent(&mut adapter), [frame(HOST, OWN, ETHERTYPE_IPV4, &packet)]);
        adapter.handle_packet(Instant::ZERO, &packet).unwrap();
        assert_eq!(sent(&mut adapter), [frame(HOST, OWN, ETHERTYPE_IPV4, &packet)], "known now");
    }
}

#[test]
fn a_next_hop_that_never_answers_is_asked_three_times_and_counted() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    adapter.handle_packet(Instant::ZERO, &packet_v4(PEER, FAR, 100)).unwrap();
    let mut questions = sent(&mut adapter).len();
    while let Some(due) = adapter.poll_timeout() {
        adapter.handle_timeout(due);
        questions += sent(&mut adapter).len();
    }
    assert_eq!((questions, adapter.take_unresolved(), adapter.take_unresolved()), (3, 1, 0));
}

#[test]
fn ipv6_peers_are_solicited_for_and_answered_for() {
    let mut adapter = adapter(&["2001:db8::1/64"], &["2001:db8::ff"]);
    let packet = packet_v6("2001:db8::1", "2001:db8:1::2", 100);
    adapter.handle_packet(Instant::ZERO, &packet).unwrap();
    let question = sent(&mut adapter).remove(0);
    assert_eq!(question[..6], [0x33, 0x33, 0xff, 0, 0, 0xff]);
    let (peer, gateway): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1".parse().unwrap(), "2001:db8::ff".parse().unwrap());
    let answer = discovery(OWN, |out| nd::advertise(out, (gateway, peer), true, (HOST, false)));
    assert!(adapter.look(Instant::ZERO, &answer).is_some());
    assert_eq!(sent(&mut adapter), [frame(HOST, OWN, ETHERTYPE_IPV6, &packet)]);
    let asked = discovery(Mac([0x33, 0x33, 0xff, 0, 0, 1]), |out| {
        nd::solicit(out, (gateway, solicited_node(peer)), peer, HOST);
    });
    assert_eq!(adapter.look(Instant::ZERO, &asked), None);
    assert_eq!(adapter.handle_frame(Instant::ZERO, &asked), Ok(()));
    let answer = sent(&mut adapter).remove(0);
    let packet = Packet::read(ETHERTYPE_IPV6, &answer[14..]).unwrap();
    assert!(icmp::checksum_fits(&packet));
    let told = nd::parse(peer, gateway, packet.hop_limit, packet.payload);
    assert_eq!(told, Some(nd::Message::Advertisement { target: peer, mac: Some(OWN), replace: true }));
    let probe = discovery(Mac([0x33, 0x33, 0xff, 0, 0, 1]), |out| {
        nd::solicit(out, (Ipv6Addr::UNSPECIFIED, solicited_node(peer)), peer, HOST);
    });
    // A probe with a source MAC is invalid (RFC 4861, section 7.1.1).
    assert_eq!(adapter.handle_frame(Instant::ZERO, &probe), Err(DropReason::NotForPeer));
}

#[test]
fn groups_have_their_macs_by_rule() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    for (dst, mac) in [
        ([224, 0, 0, 251], Mac([1, 0, 0x5e, 0, 0, 0xfb])),
        ([239, 255, 1, 2], Mac([1, 0, 0x5e, 0x7f, 1, 2])),
        ([255; 4], Mac::BROADCAST),
        ([192, 0, 2, 255], Mac::BROADCAST),
    ] {
        let packet = packet_v4(PEER, dst, 60);
        adapter.handle_packet(Instant::ZERO, &packet).unwrap();
        assert_eq!(sent(&mut adapter), [frame(mac, OWN, ETHERTYPE_IPV4, &packet)]);
        let back = frame(mac, HOST, ETHERTYPE_IPV4, &packet_v4(FAR, dst, 60));
        assert!(adapter.look(Instant::ZERO, &back).is_some(), "{dst:?}");
    }
    let packet = packet_v6("fe80::1", "ff02::fd", 60);
    adapter.handle_packet(Instant::ZERO, &packet).unwrap();
    let mac = Mac([0x33, 0x33, 0, 0, 0, 0xfd]);
    assert_eq!(sent(&mut adapter), [frame(mac, OWN, ETHERTYPE_IPV6, &packet)]);
}

#[test]
fn what_is_too_long_is_told_and_dropped() {
    let mut adapter = adapter(&["192.0.2.1/24", "2001:db8::1/64"], &[]);
    let fits = frame(OWN, HOST, ETHERTYPE_IPV4, &packet_v4(FAR, PEER, 576));
    assert!(adapter.look(Instant::ZERO, &fits).is_some());
    let long = frame(OWN, HOST, ETHERTYPE_IPV4, &packet_v4(FAR, PEER, 577));
    assert_eq!(adapter.look(Instant::ZERO, &long), None);
    assert_eq!(adapter.handle_frame(Instant::ZERO, &long), Err(DropReason::TooBig));
    let told = sent(&mut adapter).remove(0);
    assert_eq!((told.len(), &told[..6]), (14 + 20 + 8 + 28, &HOST.0[..]));
    assert_eq!((&told[34..36], &told[40..42]), (&[3, 4][..], &576u16.to_be_bytes()[..]));
    assert_eq!((&told[26..30], &told[42..70]), (&PEER[..], &long[14..42]));
    assert_eq!(Sum::ZERO.add_bytes(&told[34..]).checksum(), 0);
    let fits = frame(OWN, HOST, ETHERTYPE_IPV6, &packet_v6("2001:db8::2", "2001:db8::1", 1280));
    assert!(adapter.look(Instant::ZERO, &fits).is_some(), "IPv6 needs 1280");
    let long = frame(OWN, HOST, ETHERTYPE_IPV6, &packet_v6("2001:db8::2", "2001:db8::1", 1281));
    assert_eq!(adapter.handle_frame(Instant::ZERO, &long), Err(DropReason::TooBig));
    let told = sent(&mut adapter).remove(0);
    let packet = Packet::read(ETHERTYPE_IPV6, &told[14..]).unwrap();
    assert!(icmp::checksum_fits(&packet));
    assert_eq!(
        (packet.whole.len(), &packet.payload[..8]),
        (1280, &[2, 0, packet.payload[2], packet.payload[3], 0, 0, 5, 0][..])
    );
}

#[test]
fn a_flood_of_long_packets_is_told_of_now_and_then() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    let long = frame(OWN, HOST, ETHERTYPE_IPV4, &packet_v4(FAR, PEER, 1500));
    let mut told = |millis: u64| {
        for _ in 0..1000 {
            assert_eq!(adapter.handle_frame(Instant::from_millis(millis), &long), Err(DropReason::TooBig));
        }
        sent(&mut adapter).len()
    };
    assert_eq!((told(0), told(9), told(100)), (50, 0, 10));
}

#[test]
fn errors_and_groups_are_never_told() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    let mut error = packet_v4(FAR, PEER, 600);
    error[9] = ICMPV4;
    error[20] = 3;
    error[10..12].fill(0);
    let sum = Sum::ZERO.add_bytes(&error[..20]).checksum();
    error[10..12].copy_from_slice(&sum.to_be_bytes());
    let group = frame(Mac([1, 0, 0x5e, 0, 0, 1]), HOST, ETHERTYPE_IPV4, &packet_v4(FAR, [224, 0, 0, 1], 600));
    for frame in [frame(OWN, HOST, ETHERTYPE_IPV4, &error), group] {
        assert_eq!(adapter.handle_frame(Instant::ZERO, &frame), Err(DropReason::TooBig));
        assert!(sent(&mut adapter).is_empty());
    }
}

#[test]
fn others_frames_are_not_for_the_peer() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    let packet = packet_v4(FAR, PEER, 60);
    for other in [
        frame(HOST, HOST, ETHERTYPE_IPV4, &packet),
        frame(Mac::BROADCAST, HOST, 0x88b5, &packet),
        frame(OWN, HOST, ETHERTYPE_IPV4, &packet[..40]),
        arp(arp::Operation::Request, (HOST, FAR), [192, 0, 2, 7], Mac::BROADCAST),
        frame(group_mac(REPORTS.1), HOST, ETHERTYPE_IPV6, &packet_v6("fe80::2", "ff02::16", 60)),
        vec![0; 13],
    ] {
        assert_eq!(adapter.look(Instant::ZERO, &other), None, "{other:02x?}");
        assert_eq!(adapter.handle_frame(Instant::ZERO, &other), Err(DropReason::NotForPeer), "{other:02x?}");
    }
    assert!(sent(&mut adapter).is_empty());
}

#[test]
fn damaged_packets_are_not_forwarded() {
    let mut adapter = adapter(&[], &[]);
    let good = packet_v4(PEER, [224, 0, 0, 1], 60);
    for at in 0..good.len() {
        let lost = [&good[..at], &good[at + 1..]].concat();
        assert_eq!(adapter.handle_packet(Instant::ZERO, &lost), Err(BadPacket), "without byte {at}");
    }
    let merged = [good.clone(), good.clone()].concat();
    assert_eq!(adapter.handle_packet(Instant::ZERO, &merged), Err(BadPacket));
    assert_eq!((adapter.peer_addresses().count(), sent(&mut adapter).len()), (0, 0));
}

#[test]
fn learning_is_bounded_and_given_addresses_end_it() {
    let mut learning = adapter(&[], &[]);
    for last in 0..200 {
        learning.handle_packet(Instant::ZERO, &packet_v4([192, 0, 2, last], [224, 0, 0, 1], 60)).unwrap();
    }
    assert_eq!(learning.peer_addresses().count(), LEARNED);
    assert!(learning.is_peer([192, 0, 2, 199].into()) && !learning.is_peer([192, 0, 2, 0].into()));
    let mut given = adapter(&["192.0.2.1/24", "2001:db8::1/64"], &[]);
    given.handle_packet(Instant::ZERO, &packet_v4([192, 0, 2, 66], [224, 0, 0, 1], 60)).unwrap();
    given.handle_packet(Instant::ZERO, &packet_v6("fe80::66", "ff02::1", 60)).unwrap();
    given.handle_packet(Instant::ZERO, &packet_v6("2001:db8::66", "ff02::1", 60)).unwrap();
    let known: Vec<String> = given.peer_addresses().map(|addr| addr.to_string()).collect();
    assert_eq!(known, ["192.0.2.1", "2001:db8::1", "fe80::66"], "link-local addresses are always learned");
}

proptest! {
    #[test]
    fn no_bytes_panic(
        steps in prop::collection::vec((0..4u8, prop::collection::vec(any::<u8>(), 0..100), 0..2000u64), 0..40),
        cut: prop::sample::Index,
    ) {
        let mut adapter = adapter(&["192.0.2.1/24"], &[]);
        let mut now = Instant::ZERO;
        for (kind, noise, millis) in steps {
            now += crate::time::Duration::from_millis(millis);
            let whole = packet_v4(PEER, FAR, 60);
            let part = &whole[..cut.index(whole.len())];
            let bytes = match kind {
                0 => noise,
                1 => frame(OWN, HOST, ETHERTYPE_IPV4, &[part, &noise].concat()),
                2 => frame(Mac::BROADCAST, HOST, arp::ETHERTYPE, &noise),
                _ => frame(OWN, HOST, ETHERTYPE_IPV6, &[&packet_v6("fe80::1", "fe80::2", 60)[..], &noise].concat()),
            };
            if adapter.look(now, &bytes).is_none() {
                let _ = adapter.handle_frame(now, &bytes);
            }
            let _ = adapter.handle_packet(now, &bytes);
            let _ = adapter.handle_packet(now, bytes.get(14..).unwrap_or_default());
            adapter.handle_timeout(now);
            for frame in sent(&mut adapter) {
                prop_assert!(frame.len() >= 42 && frame[6..12] == OWN.0);
            }
        }
    }
}

/// IEEE 802.1Q, 6.9: a tag without a VLAN has a priority and nothing else to say.
#[test]
fn a_priority_tag_is_no_vlan() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    for (vid, hears) in [(0, true), (7, false)] {
        let tagged = |frame: Vec<u8>| [&frame[..12], &[0x81, 0, 0xa0, vid], &frame[12..]].concat();
        let packet = packet_v4(FAR, PEER, 100);
        let data = tagged(frame(OWN, HOST, ETHERTYPE_IPV4, &packet));
        assert_eq!(adapter.look(Instant::ZERO, &data), hears.then_some(&packet[..]), "{vid}");
        let question = tagged(arp(arp::Operation::Request, (HOST, FAR), PEER, Mac::BROADCAST));
        assert_eq!(adapter.handle_frame(Instant::ZERO, &question).is_ok(), hears, "{vid}");
        assert_eq!(sent(&mut adapter).len(), usize::from(hears), "{vid}");
    }
}
