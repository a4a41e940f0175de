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

/// Packets for the peer in a frame.
fn look(adapter: &mut IpAdapter, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    let any = adapter.packets(Instant::ZERO, frame, &mut |packet| got.push(packet.to_vec()));
    assert_eq!(any, !got.is_empty());
    got
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
    frame(dst, sender_mac, arp::ETHERTYPE, &message.bytes())
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
    assert!(look(&mut adapter, &question).is_empty());
    assert_eq!(adapter.handle_frame(Instant::ZERO, &question), Ok(()));
    let [waiting, answer] = &sent(&mut adapter)[..] else { panic!("the packet that waited, and the answer") };
    assert_eq!(waiting[..14], frame(HOST, OWN, ETHERTYPE_IPV4, &[]));
    assert_eq!(answer[..14], frame(HOST, OWN, arp::ETHERTYPE, &[]));
    let message = arp::Message::read(&answer[14..]).unwrap();
    assert_eq!((message.operation, message.sender_mac, message.sender), (arp::Operation::Reply, OWN, PEER.into()));
    let packet = packet_v4(FAR, PEER, 60);
    let padded = [frame(OWN, HOST, ETHERTYPE_IPV4, &packet), vec![0; 9]].concat();
    assert_eq!(look(&mut adapter, &padded), [packet], "without the padding");
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
        let message = arp::Message::read(&question[14..]).unwrap();
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
    assert!(look(&mut adapter, &answer).is_empty());
    assert_eq!(adapter.handle_frame(Instant::ZERO, &answer), Ok(()));
    assert_eq!(sent(&mut adapter), [frame(HOST, OWN, ETHERTYPE_IPV6, &packet)]);
    let asked = discovery(Mac([0x33, 0x33, 0xff, 0, 0, 1]), |out| {
        nd::solicit(out, (gateway, solicited_node(peer)), peer, HOST);
    });
    assert!(look(&mut adapter, &asked).is_empty());
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
        assert!(!look(&mut adapter, &back).is_empty(), "{dst:?}");
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
    assert!(!look(&mut adapter, &fits).is_empty());
    let long = frame(OWN, HOST, ETHERTYPE_IPV4, &packet_v4(FAR, PEER, 577));
    assert!(look(&mut adapter, &long).is_empty());
    assert_eq!(adapter.handle_frame(Instant::ZERO, &long), Err(DropReason::TooBig));
    let told = sent(&mut adapter).remove(0);
    assert_eq!((told.len(), &told[..6]), (14 + 20 + 8 + 28, &HOST.0[..]));
    assert_eq!((&told[34..36], &told[40..42]), (&[3, 4][..], &576u16.to_be_bytes()[..]));
    assert_eq!((&told[26..30], &told[42..70]), (&PEER[..], &long[14..42]));
    assert_eq!(Sum::ZERO.add_bytes(&told[34..]).checksum(), 0);
    let fits = frame(OWN, HOST, ETHERTYPE_IPV6, &packet_v6("2001:db8::2", "2001:db8::1", 1280));
    assert!(!look(&mut adapter, &fits).is_empty(), "IPv6 needs 1280");
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
        assert!(look(&mut adapter, &other).is_empty(), "{other:02x?}");
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
            if !adapter.packets(now, &bytes, &mut |_| {}) {
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
        assert_eq!(look(&mut adapter, &data) == [packet], hears, "{vid}");
        let question = tagged(arp(arp::Operation::Request, (HOST, FAR), PEER, Mac::BROADCAST));
        assert_eq!(adapter.handle_frame(Instant::ZERO, &question).is_ok(), hears, "{vid}");
        assert_eq!(sent(&mut adapter).len(), usize::from(hears), "{vid}");
    }
}

/// An ICMPv6 message as a frame, with its checksum.
fn icmpv6(dst: Mac, (from, to): (&str, &str), message: &[u8]) -> Vec<u8> {
    let addrs = (from.parse().unwrap(), to.parse().unwrap());
    let mut scratch = Scratch::new(1500);
    let out = start(&mut scratch, addrs, ICMPV6, Some(255), message.len());
    out.copy_from_slice(message);
    finish_icmp(out, addrs);
    frame(dst, HOST, ETHERTYPE_IPV6, scratch.packet())
}

const ROUTERS: Mac = Mac([0x33, 0x33, 0, 0, 0, 2]);
const NODES: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
const SOURCE: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 2];
/// A prefix for 2001:db8::/64, on the link and for addresses that hosts make.
const PREFIX: [u8; 32] = {
    let mut option = [0; 32];
    (option[0], option[1], option[2], option[3], option[4], option[11]) = (3, 4, 64, 0xc0, 1, 1);
    (option[16], option[17], option[18], option[19]) = (0x20, 1, 0x0d, 0xb8);
    option
};

/// Messages of a joining host and the gateway on an Ethernet, and those that reach a line of bare IP packets.
#[test]
fn what_is_said_of_the_link_does_not_reach_the_line() {
    let solicits = icmpv6(ROUTERS, ("fe80::2", "ff02::2"), &[&[133, 0, 0, 0, 0, 0, 0, 0][..], &SOURCE].concat());
    let head = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let mtu = [5, 1, 0, 0, 0, 0, 5, 0xdc];
    let advertises =
        |options: &[&[u8]]| icmpv6(NODES, ("fe80::2", "ff02::1"), &[&head[..], &options.concat()].concat());
    let without = icmpv6(ROUTERS, ("fe80::2", "ff02::2"), &[133, 0, 0, 0, 0, 0, 0, 0]);
    let prefix = advertises(&[&PREFIX]);
    let advertised = advertises(&[&SOURCE, &mtu, &PREFIX]);
    let mut learning = adapter(&["192.0.2.1/24"], &[]);
    assert_eq!(look(&mut learning, &solicits), [&without[14..]]);
    assert_eq!(look(&mut learning, &advertised), [&prefix[14..]]);
    let mut given = adapter(&["2001:db8::1/64"], &[]);
    assert_eq!(look(&mut given, &solicits), [&without[14..]]);
    assert!(look(&mut given, &advertised).is_empty(), "its addresses are given");
    let endless = advertises(&[&[1, 0, 0, 0, 0, 0, 0, 0]]);
    assert!(look(&mut learning, &endless).is_empty());
    let mut damaged = advertised.clone();
    damaged[60] ^= 1;
    assert!(look(&mut learning, &damaged).is_empty());
    for kind in [131, 132, 135, 136, 137, 143] {
        let message = [&[kind, 0, 0, 0, 0x60, 0, 0, 0][..], &v6("fe80::2"), &v6("fe80::2"), &SOURCE].concat();
        let bare = icmpv6(NODES, ("fe80::2", "ff02::1"), &message);
        assert!(look(&mut learning, &bare).is_empty(), "{kind}");
        let mut alert = Vec::from(&bare[..54]);
        alert[18..20].copy_from_slice(&(bare.len() as u16 - 46).to_be_bytes());
        alert[20] = 0;
        alert.extend([ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
        alert.extend(&bare[54..]);
        assert!(look(&mut learning, &alert).is_empty(), "{kind} behind a router alert");
    }
}

/// A UDP datagram without Don't Fragment.
fn loose(len: usize, options: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend((len as u16).to_be_bytes());
    packet.extend([0, 7, 0, 0, 64, 17, 0, 0]);
    packet.extend([FAR, PEER].concat());
    packet.extend(options);
    let sum = Sum::ZERO.add_bytes(&packet).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend((header..len).map(|at| at as u8));
    packet
}

#[test]
fn a_datagram_that_may_be_cut_is_cut() {
    let mut adapter = adapter(&["192.0.2.1/24"], &[]);
    // a route that is recorded in the first fragment only, and an alert that is copied
    let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0];
    for (len, options) in [(577, &[][..]), (1500, &[]), (1500, &options)] {
        let packet = loose(len, options);
        let header = 20 + options.len();
        let fragments = look(&mut adapter, &frame(OWN, HOST, ETHERTYPE_IPV4, &packet));
        let mut whole = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let read = Packet::read(ETHERTYPE_IPV4, fragment).unwrap();
            assert!(read.whole.len() == fragment.len() && fragment.len() <= 576);
            let place = read.fragment.unwrap();
            assert_eq!((place.id, place.offset, place.more), (7, whole.len(), index + 1 < fragments.len()));
            assert_eq!((read.protocol, read.hop_limit, read.src), (17, 64, FAR.into()));
            let copied = if options.is_empty() { &[][..] } else { &[148, 4, 0, 0] };
            let wanted = if index == 0 { options } else { copied };
            assert_eq!(fragment[20..fragment.len() - read.payload.len()], *wanted);
            whole.extend_from_slice(read.payload);
        }
        assert_eq!(whole, packet[header..]);
        // a fragment on its way is cut again
        let mut tight = self::adapter(&["192.0.2.1/24"], &[]);
        tight.config.mtu = 100;
        let again: Vec<u8> = fragments
            .iter()
            .flat_map(|fragment| look(&mut tight, &frame(OWN, HOST, ETHERTYPE_IPV4, fragment)))
            .flat_map(|fragment| {
                let read = Packet::read(ETHERTYPE_IPV4, &fragment).unwrap();
                assert_eq!(
                    read.fragment.unwrap().more,
                    read.fragment.unwrap().offset + read.payload.len() < whole.len()
                );
                read.payload.to_vec()
            })
            .collect();
        assert_eq!(again, whole);
    }
    adapter.config.mtu = 27;
    let long = frame(OWN, HOST, ETHERTYPE_IPV4, &loose(100, &[]));
    assert!(look(&mut adapter, &long).is_empty());
    assert_eq!(adapter.handle_frame(Instant::ZERO, &long), Err(DropReason::TooBig), "no room for eight bytes");
}
