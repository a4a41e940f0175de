//! The gateway with a server of its own: dispatch of datagrams, and answers.

use super::*;
use crate::service::machine::{Arrived, Service};
use crate::service::nat::Nat;
use crate::service::nat::guest::{GATEWAY, GUEST, Script, gateway, hear, said};
use crate::service::station::Ingress;
use crate::wire::fixture::{Flow, Ip, Transport, tcp4};
use etherparse::{IpNumber, UdpHeader};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};

/// Echoes datagrams to port 67, and answers router solicitations.
#[derive(Default)]
struct Parrot {
    heard: Arc<Mutex<Vec<SocketAddr>>>,
    answers: Vec<Answer>,
    /// It listens on port 53, too.
    streams: bool,
}

impl Servers for Parrot {
    fn handle_datagram(&mut self, _: Instant, question: Question<'_>, _: &mut dyn Outside) -> bool {
        if question.dst.port() != 67 {
            return false;
        }
        self.heard.lock().unwrap().push(question.dst);
        let (src, dst) = ("10.0.2.2:67".parse().unwrap(), "255.255.255.255:68".parse().unwrap());
        let mac = Some(question.from.mac);
        self.answers.push(Answer::Udp { src, dst, mac, payload: question.payload.to_vec() });
        let (dst, mac) = ("10.0.2.15:68".parse().unwrap(), None);
        self.answers.push(Answer::Udp { src, dst, mac, payload: b"found".to_vec() });
        true
    }
    fn handle_solicitation(&mut self, _: Instant, (src, mac): (Ipv6Addr, Mac), hop_limit: u8, message: &[u8]) {
        assert_eq!((hop_limit, mac, message.len()), (255, GUEST, 8));
        let own = "fe80::1".parse().unwrap();
        self.answers.push(Answer::Discovery { src: own, dst: src, mac: Some(mac), message: vec![134; 16] });
    }
    fn handle_event(&mut self, _: Instant, _: Event, _: &mut dyn Outside) -> bool {
        false
    }
    fn poll_transmit(&mut self, _: Instant, _: &mut dyn Outside) -> Option<Answer> {
        self.answers.pop()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn handle_timeout(&mut self, _: Instant, _: &mut dyn Outside) {}
    fn stream_port(&self) -> Option<u16> {
        self.streams.then_some(53)
    }
    fn hears_stream(&self, dst: SocketAddr) -> bool {
        self.streams && dst.port() == 53
    }
}

fn nat(servers: Parrot) -> Nat {
    let mut nat = gateway();
    nat.set_servers(Box::new(servers)).unwrap();
    nat
}

#[test]
fn a_question_to_all_is_a_servers_before_anybody_elses() {
    let parrot = Parrot::default();
    let heard = parrot.heard.clone();
    let mut nat = nat(parrot);
    let now = Instant::from_secs(1);
    said(&mut nat, now, &mut Script::default());
    let header = [0, 68, 0, 67, 0, 11, 0, 0];
    hear(
        &mut nat,
        now,
        Mac::BROADCAST,
        ("0.0.0.0", "255.255.255.255"),
        (UDP, None),
        &[&header, b"who"],
        &mut Script::default(),
    );
    assert_eq!(*heard.lock().unwrap(), ["255.255.255.255:67".parse::<SocketAddr>().unwrap()]);
    let answers = said(&mut nat, now, &mut Script::default());
    let answer = answers.iter().find(|(mac, ..)| *mac == GUEST).unwrap();
    assert_eq!(
        (&answer.2[16..28], &answer.2[28..]),
        (&[255, 255, 255, 255, 0, 67, 0, 68, 0, 11, answer.2[26], answer.2[27]][..], &b"who"[..])
    );
    // ARP asks for the other answer's destination, and it leaves when that is known
    assert!(answers.iter().any(|(mac, kind, _)| (*mac, *kind) == (Mac::BROADCAST, 0x0806)));
    let arp = [
        &[2, 0x6e, 10, 0, 2, 2][..],
        &GUEST.0,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &GUEST.0,
        &[10, 0, 2, 15],
        &[2, 0x6e, 10, 0, 2, 2, 10, 0, 2, 2],
    ];
    nat.handle_frame(
        now,
        Arrived { ingress: Ingress::ONLY, frame: &arp.concat(), offload: Offload::NONE },
        &mut Script::default(),
    );
    let later = now + PAUSE;
    assert!(nat.poll_timeout().is_some_and(|at| at <= later));
    assert!(
        said(&mut nat, later, &mut Script::default())
            .iter()
            .any(|(mac, _, packet)| *mac == GUEST && packet.ends_with(b"found"))
    );
}

#[test]
fn what_no_server_wants_is_the_gateways() {
    let mut nat = nat(Parrot::default());
    let now = Instant::from_secs(1);
    said(&mut nat, now, &mut Script::default());
    let mut host = Script { exhausted: true, ..Script::default() };
    hear(&mut nat, now, GATEWAY, ("10.0.2.15", "198.51.100.7"), (UDP, None), &[&[0, 9, 0, 9, 0, 8, 0, 0]], &mut host);
    // there are no sockets for it
    assert_eq!((nat.stats().host, said(&mut nat, now, &mut Script::default()).len()), (1, 0));
}

#[test]
fn a_router_is_solicited() {
    let mut nat = nat(Parrot::default());
    let now = Instant::from_secs(1);
    said(&mut nat, now, &mut Script::default());
    let routers = Mac([0x33, 0x33, 0, 0, 0, 2]);
    hear(
        &mut nat,
        now,
        routers,
        ("fe80::9", "ff02::2"),
        (ICMPV6, Some(255)),
        &[&[133, 0, 0, 0, 0, 0, 0, 0]],
        &mut Script::default(),
    );
    let answers = said(&mut nat, now, &mut Script::default());
    let (mac, _, packet) = answers.last().unwrap();
    // hop limit, and the message as it is
    assert_eq!((*mac, packet[7], &packet[40..]), (GUEST, 255, &[134; 16][..]));
}

/// A guest's flow to the gateway: TCP, or UDP if there is a `udp` header.
fn flow(udp: bool, ports: (u16, u16), sequence: (u32, u32)) -> Flow {
    let mut flow = tcp4(sequence.0);
    flow.link = [&GATEWAY.0[..], &GUEST.0, &[8, 0]].concat();
    let (Ip::V4(ip), Transport::Tcp(tcp)) = (&mut flow.ip, &mut flow.transport) else { panic!("TCP over IPv4") };
    (ip.source, ip.destination) = ([10, 0, 2, 15], [10, 0, 2, 2]);
    (tcp.source_port, tcp.destination_port, tcp.acknowledgment_number) = (ports.0, ports.1, sequence.1);
    (tcp.syn, tcp.ack) = (sequence.1 == 0, sequence.1 != 0);
    if udp {
        ip.protocol = IpNumber(UDP);
        let header = UdpHeader { source_port: ports.0, destination_port: ports.1, length: 0, checksum: 0 };
        flow.transport = Transport::Udp(header);
    }
    flow
}

/// A port with offloads brings several segments as one frame; a connection to a server ends in the endpoint, which takes
/// plain ones.
#[test]
fn a_burst_for_a_server_arrives_segment_by_segment() {
    let mut nat = nat(Parrot { streams: true, ..Parrot::default() });
    let (now, mut host) = (Instant::from_secs(1), Script::default());
    let announced = [
        &[255; 6][..],
        &GUEST.0,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &GUEST.0,
        &[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2],
    ];
    nat.handle_frame(
        now,
        Arrived { ingress: Ingress::ONLY, frame: &announced.concat(), offload: Offload::NONE },
        &mut host,
    );
    said(&mut nat, now, &mut host);
    let mut ask = |nat: &mut Nat, (frame, offload): (Vec<u8>, Offload)| {
        nat.handle_frame(now, Arrived { ingress: Ingress::ONLY, frame: &frame, offload }, &mut host);
        let answers = said(nat, now, &mut host);
        answers.into_iter().filter(|(_, kind, packet)| *kind == 0x0800 && packet[9] == TCP).map(|it| it.2).next_back()
    };
    let number = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let syn = ask(&mut nat, flow(false, (4000, 53), (99, 0)).offloaded(b"", None)).unwrap();
    let ack = number(&syn, 24) + 1;
    ask(&mut nat, flow(false, (4000, 53), (100, ack)).offloaded(b"", None));
    let before = nat.stats().malformed;
    let answer = ask(&mut nat, flow(false, (4000, 53), (100, ack)).offloaded(&[7; 2930], Some(1460))).unwrap();
    assert_eq!((number(&answer, 28) - 100, nat.stats().malformed - before), (2930, 0));
}

/// The same of datagrams (UDP segmentation offload): a server hears each.
#[test]
fn a_burst_of_datagrams_for_a_server_arrives_one_by_one() {
    let parrot = Parrot::default();
    let heard = parrot.heard.clone();
    let (mut nat, mut host) = (nat(parrot), Script::default());
    let (frame, offload) = flow(true, (4000, 67), (0, 1)).offloaded(&[7; 25], Some(10));
    nat.handle_frame(Instant::from_secs(1), Arrived { ingress: Ingress::ONLY, frame: &frame, offload }, &mut host);
    assert_eq!(heard.lock().unwrap().len(), 3);
    let answers = said(&mut nat, Instant::from_secs(1), &mut host);
    let lengths: Vec<usize> = answers.iter().filter(|it| it.0 == GUEST).map(|(.., packet)| packet.len() - 28).collect();
    assert_eq!(lengths, [5, 10, 10]);
}

/// IEEE 802.1Q, 6.9: a tag without a VLAN has a priority and nothing else to say.
#[test]
fn a_priority_tag_is_no_vlan() {
    for (vid, hears) in [(0, true), (7, false)] {
        let parrot = Parrot::default();
        let heard = parrot.heard.clone();
        let (mut nat, mut host, now) = (nat(parrot), Script::default(), Instant::from_secs(1));
        said(&mut nat, now, &mut host);
        let arp =
            [&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &GUEST.0[..], &[10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]].concat();
        let dhcp = flow(true, (68, 67), (0, 1)).frame(b"who")[12..].to_vec();
        for payload in [arp, dhcp] {
            let frame = [&GATEWAY.0[..], &GUEST.0, &[0x81, 0, 0xa0, vid], &payload].concat();
            nat.handle_frame(now, Arrived { ingress: Ingress::ONLY, frame: &frame, offload: Offload::NONE }, &mut host);
        }
        assert_eq!(heard.lock().unwrap().len(), usize::from(hears), "DHCP, VID {vid}");
        let answers = said(&mut nat, now, &mut host);
        let replies = answers.iter().filter(|(mac, kind, _)| (*mac, *kind) == (GUEST, 0x0806)).count();
        assert_eq!(replies, usize::from(hears), "ARP, VID {vid}");
    }
}
