//! Link messages of an endpoint, byte by byte: announcements, ARP, ND, MLD, echo, and silence where it is due.

use super::net::{Faults, Net, config};
use crate::service::endpoint::scratch::Scratch;
use crate::service::endpoint::{Endpoint, EndpointConfig, Event, icmp, ip, nd};
use crate::time::{Duration, Instant};
use crate::wire::Mac;
use std::net::{IpAddr, Ipv6Addr};

/// Host 1 of [`config`], its announcements already out.
fn quiet_host() -> Endpoint {
    let mut host = Endpoint::new(&config(1, 1)).unwrap();
    for secs in [0, 2] {
        frames(&mut host, secs);
    }
    assert_eq!(host.poll_timeout(), None, "an idle endpoint wakes nobody");
    host
}

fn frames(host: &mut Endpoint, secs: u64) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    host.poll_transmit(Instant::from_secs(secs), 1000, &mut |frame| frames.push(frame.to_vec()));
    frames
}

/// Frames of host 1 in answer to a frame at second 10.
fn answer(host: &mut Endpoint, frame: &[u8]) -> Vec<Vec<u8>> {
    host.handle_frame(Instant::from_secs(10), frame);
    frames(host, 10)
}

#[rustfmt::skip]
const ARP_REQUEST: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0x5e, 0, 0x53, 1, 8, 6,
    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0x5e, 0, 0x53, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2,
];
#[rustfmt::skip]
const ARP_REPLY: [u8; 42] = [
    2, 0, 0x5e, 0, 0x53, 1, 2, 0, 0x5e, 0, 0x53, 2, 8, 6,
    0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0x5e, 0, 0x53, 2, 192, 0, 2, 2, 2, 0, 0x5e, 0, 0x53, 1, 192, 0, 2, 1,
];

#[rustfmt::skip]
const ANNOUNCEMENT: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0x5e, 0, 0x53, 2, 8, 6,
    0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0x5e, 0, 0x53, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2,
];

/// IEEE 802.1Q, 6.9: a tag without a VLAN has a priority and nothing else to say.
#[test]
fn a_priority_tag_is_no_vlan() {
    let mut host = quiet_host();
    for (vid, answers) in [(0, vec![ARP_REPLY.to_vec()]), (7, Vec::new())] {
        let tagged = [&ARP_REQUEST[..12], &[0x81, 0, 0xa0, vid], &ARP_REQUEST[12..]].concat();
        assert_eq!(answer(&mut host, &tagged), answers, "VID {vid}");
    }
}

#[test]
fn it_announces_itself_twice() {
    let mut host = Endpoint::new(&config(1, 1)).unwrap();
    let first = frames(&mut host, 0);
    assert!(first.contains(&ANNOUNCEMENT.to_vec()));
    let adverts = first.iter().filter(|frame| frame[..6] == [0x33, 0x33, 0, 0, 0, 1] && frame[54] == nd::ADVERTISEMENT);
    assert_eq!(adverts.count(), 2, "its own address and the link-local one");
    let reports = first.iter().filter(|frame| frame[..6] == [0x33, 0x33, 0, 0, 0, 0x16]);
    assert_eq!(reports.count(), 1);
    assert_eq!(host.poll_timeout(), Some(Instant::from_secs(2)));
    assert_eq!(frames(&mut host, 1).len(), 0);
    assert_eq!(frames(&mut host, 2), first);
    assert_eq!(host.poll_timeout(), None);
}

#[test]
fn arp_is_answered_for_our_address_alone() {
    let mut host = quiet_host();
    assert_eq!(answer(&mut host, &ARP_REQUEST), [ARP_REPLY.to_vec()]);
    let mut padded = ARP_REQUEST.to_vec();
    padded.resize(60, 0);
    assert_eq!(answer(&mut host, &padded), [ARP_REPLY.to_vec()]);
    let mut other = ARP_REQUEST;
    other[41] = 3;
    assert_eq!(answer(&mut host, &other), [] as [Vec<u8>; 0]);
    // A probe (RFC 5227) has no sender's address; it is answered all the same.
    let mut probe = ARP_REQUEST;
    probe[28..32].fill(0);
    assert_eq!(answer(&mut host, &probe).len(), 1);
    assert_eq!(host.stats().conflicts, 0);
}

/// RFC 5227, section 2.4 c: once, and then not again within DEFEND_INTERVAL.
#[test]
fn an_address_is_defended() {
    let mut host = quiet_host();
    let mut claim = ARP_REQUEST;
    claim[31] = 2;
    let mut claims_at = |secs| {
        host.handle_frame(Instant::from_secs(secs), &claim);
        frames(&mut host, secs)
    };
    let none = Vec::<Vec<u8>>::new();
    assert_eq!(claims_at(10), [ANNOUNCEMENT]);
    assert_eq!((claims_at(10), claims_at(19)), (none.clone(), none), "two who do so do not go on for ever");
    assert_eq!(claims_at(20), [ANNOUNCEMENT]);
    assert_eq!(host.stats().conflicts, 4);
}

/// An ICMPv6 message of host 0 in a frame to `dst`.
fn framed(scratch: &mut Scratch, dst: Mac) -> Vec<u8> {
    scratch.address(dst, Mac([2, 0, 0x5e, 0, 0x53, 1]), ip::ETHERTYPE_IPV6);
    scratch.frame().to_vec()
}

#[test]
fn a_solicitation_is_answered() {
    let own = Mac([2, 0, 0x5e, 0, 0x53, 1]);
    let (src, group) = ("2001:db8::1".parse().unwrap(), "ff02::1:ff00:2".parse().unwrap());
    let target = "2001:db8::2".parse().unwrap();
    let mut scratch = Scratch::new(1500);
    nd::solicit(&mut scratch, (src, group), target, own);
    let frame = framed(&mut scratch, Mac([0x33, 0x33, 0xff, 0, 0, 2]));
    let mut host = quiet_host();
    let answers = answer(&mut host, &frame);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..6], own.0);
    let packet = ip::parse(ip::ETHERTYPE_IPV6, &answers[0][14..]).unwrap();
    assert!(icmp::checksum_fits(&packet));
    assert_eq!((packet.src, packet.dst), (target.into(), src.into()));
    #[rustfmt::skip]
    assert_eq!(packet.payload[4..], [
        0x60, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        2, 1, 2, 0, 0x5e, 0, 0x53, 2,
    ]);
    // Duplicate address detection has no source address, and all nodes get the answer.
    let mut probe = Scratch::new(1500);
    nd::solicit(&mut probe, ("::".parse().unwrap(), group), target, own);
    let bytes = probe.packet().to_vec();
    let icmp = ip::start(&mut probe, ("::".parse().unwrap(), group.into()), ip::ICMPV6, Some(255), 24);
    icmp.copy_from_slice(&bytes[40..64]);
    smoltcp::wire::Icmpv6Packet::new_unchecked(icmp).fill_checksum(&"::".parse().unwrap(), &group);
    let frame = framed(&mut probe, Mac([0x33, 0x33, 0xff, 0, 0, 2]));
    let answers = answer(&mut host, &frame);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
    // A message with a broken checksum is ignored.
    let mut broken = frame;
    broken[60] ^= 1;
    let before = host.stats().malformed;
    assert_eq!(answer(&mut host, &broken), [] as [Vec<u8>; 0]);
    assert_eq!(host.stats().malformed, before + 1);
}

/// Hosts drop the default route through a router without the router flag: RFC 4861, section 7.2.5.
#[test]
fn a_router_says_that_it_is_one() {
    let mut host = Endpoint::new(&EndpointConfig { router: true, ..config(1, 1) }).unwrap();
    let flags = |frames: Vec<Vec<u8>>| -> Vec<u8> {
        let adverts = frames.iter().filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[54] == nd::ADVERTISEMENT);
        adverts.map(|frame| frame[58]).collect()
    };
    assert_eq!(flags(frames(&mut host, 0)), [0xa0, 0xa0], "unasked");
    let (src, group) = ("2001:db8::1".parse().unwrap(), "ff02::1:ff00:2".parse().unwrap());
    let mut scratch = Scratch::new(1500);
    nd::solicit(&mut scratch, (src, group), "2001:db8::2".parse().unwrap(), Mac([2, 0, 0x5e, 0, 0x53, 1]));
    let frame = framed(&mut scratch, Mac([0x33, 0x33, 0xff, 0, 0, 2]));
    frames(&mut host, 2);
    assert_eq!(flags(answer(&mut host, &frame)), [0xe0], "asked");
}

#[test]
fn a_listener_query_is_answered_with_a_report() {
    let (src, group): (_, Ipv6Addr) = ("fe80::1".parse().unwrap(), "ff02::1".parse().unwrap());
    let mut scratch = Scratch::new(1500);
    let payload = ip::start(&mut scratch, (IpAddr::V6(src), group.into()), 0, Some(1), 36);
    payload[..8].copy_from_slice(&[ip::ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
    payload[8] = nd::MLD_QUERY;
    smoltcp::wire::Icmpv6Packet::new_unchecked(&mut payload[8..]).fill_checksum(&src, &group);
    let frame = framed(&mut scratch, Mac([0x33, 0x33, 0, 0, 0, 1]));
    let records = |frames: &[Vec<u8>]| -> Vec<u8> {
        let reports = frames.iter().filter(|frame| frame[..6] == [0x33, 0x33, 0, 0, 0, 0x16] && frame[62] == 143);
        reports.map(|report| report[70]).collect()
    };
    let mut host = Endpoint::new(&config(1, 1)).unwrap();
    assert_eq!(records(&frames(&mut host, 0)), [4], "CHANGE_TO_EXCLUDE_MODE: it has joined its groups");
    frames(&mut host, 2);
    assert_eq!(answer(&mut host, &frame), [] as [Vec<u8>; 0]);
    assert_eq!(host.poll_timeout(), Some(Instant::from_millis(10_100)));
    let reports = frames(&mut host, 11);
    assert_eq!((reports.len(), records(&reports)), (1, vec![2]), "MODE_IS_EXCLUDE: it is in them");
}

#[test]
fn frames_for_others_are_left_alone() {
    let mut host = quiet_host();
    let mut echo = Scratch::new(1500);
    icmp::request(&mut echo, [192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 1, 1, b"x");
    let send = |echo: &mut Scratch, host: &mut Endpoint, dst, src, ethertype| {
        echo.address(dst, src, ethertype);
        answer(host, echo.frame()).len()
    };
    let (own, peer) = (Mac([2, 0, 0x5e, 0, 0x53, 2]), Mac([2, 0, 0x5e, 0, 0x53, 1]));
    // The first answer waits for the MAC of the peer, and an ARP request goes out instead.
    assert_eq!(send(&mut echo, &mut host, own, peer, 0x0800), 1);
    assert_eq!(answer(&mut host, &ARP_REQUEST).len(), 2, "the answer to this, and the one that waited");
    assert_eq!(send(&mut echo, &mut host, own, peer, 0x0800), 1);
    assert_eq!(send(&mut echo, &mut host, Mac([2, 0, 0x5e, 0, 0x53, 9]), peer, 0x0800), 0, "another's MAC");
    assert_eq!(send(&mut echo, &mut host, own, own, 0x0800), 0, "our own frame back");
    assert_eq!(send(&mut echo, &mut host, own, Mac::BROADCAST, 0x0800), 0, "from a group");
    assert_eq!(send(&mut echo, &mut host, own, peer, 0x8100), 0, "tagged");
    icmp::request(&mut echo, [192, 0, 2, 1].into(), [192, 0, 2, 3].into(), 1, 1, b"x");
    assert_eq!(send(&mut echo, &mut host, own, peer, 0x0800), 0, "another's address");
    icmp::request(&mut echo, [192, 0, 2, 255].into(), [192, 0, 2, 2].into(), 1, 1, b"x");
    assert_eq!(send(&mut echo, &mut host, own, peer, 0x0800), 0, "from a broadcast address");
    icmp::request(&mut echo, [192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 1, 1, &[0; 1473]);
    assert_eq!(send(&mut echo, &mut host, own, peer, 0x0800), 0, "longer than the MTU");
}

#[test]
fn pings_are_answered_and_timed() {
    let mut net = Net::new(1, Faults { delay: Duration::from_millis(1), ..Faults::NONE });
    net.pass(Duration::from_secs(5));
    for (seq, addr) in ["192.0.2.2", "2001:db8::2", "fe80::5eff:fe00:5302"].into_iter().enumerate() {
        let addr = addr.parse().unwrap();
        for (round, rtt) in [(0, Duration::from_millis(4)), (1, Duration::from_millis(2))] {
            let seq = 2 * seq as u16 + round;
            net.hosts[0].ping(net.now, addr, 7, seq, &[1; 1000]).unwrap();
            let wanted = Event::EchoReply { from: addr, ident: 7, seq, len: 1000, rtt };
            assert!(net.wait(0, Duration::from_secs(1), wanted), "{addr} {:?}", net.events[0]);
        }
    }
    assert!(net.hosts[0].ping(net.now, "192.0.2.2".parse().unwrap(), 7, 9, &[1; 1473]).is_err());
    assert!(net.hosts[0].ping(net.now, "203.0.113.1".parse().unwrap(), 7, 9, b"").is_err());
}

#[test]
fn the_gateway_takes_what_is_beyond() {
    let mut config = config(1, 1);
    config.gateways = vec!["192.0.2.254".parse().unwrap()];
    let mut host = Endpoint::new(&config).unwrap();
    for secs in [0, 2] {
        frames(&mut host, secs);
    }
    host.ping(Instant::from_secs(3), "203.0.113.1".parse().unwrap(), 1, 1, b"").unwrap();
    let asked = frames(&mut host, 3);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0][38..42], [192, 0, 2, 254]);
}
