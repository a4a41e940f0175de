//! The gateway under a virtual clock: timeouts and limits.

mod path;
mod separation;
mod told;

use super::guest::{GATEWAY, Script, WHOM, gateway, hear_from, said};
use super::packet::{Fragment, Headers, ICMPV4, MacPair, TCP, UDP};
use super::{Flows, Nat};
use crate::config::{Forward, Protocol};
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{MAX_FRAME, NAT_DATAGRAM_FLOWS, NAT_MEMORY, NAT_TCP_FLOWS, PREFIX};
use crate::service::machine::{Arrived, Service};
use crate::service::outside::{Event, SocketId};
use crate::service::station::{Ingress, Station};
use crate::time::{Duration, Instant};
use crate::wire::checksum::Sum;
use crate::wire::{Checksum, Mac, Offload};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 0x10;
const START: Instant = Instant::from_secs(1);

pub(super) struct Bench {
    pub nat: Nat,
    pub host: Script,
    pub now: Instant,
    /// The sender: its address, and its station.
    pub guest: &'static str,
    pub whom: Station,
    /// The destination.
    pub far: &'static str,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            nat: gateway(),
            host: Script::default(),
            now: START,
            guest: "10.0.2.15",
            whom: WHOM,
            far: "198.51.100.7",
        }
    }

    pub fn packet(&mut self, protocol: u8, parts: &[&[u8]]) {
        let (addrs, what) = ((self.guest, self.far), (protocol, None));
        hear_from(self.whom, &mut self.nat, self.now, GATEWAY, addrs, what, parts, &mut self.host);
    }

    pub fn datagram(&mut self, port: u16) {
        self.packet(UDP, &[&port.to_be_bytes(), &[0, 9, 0, 12, 0, 0], b"data"]);
    }

    /// The same, in a packet that may be fragmented.
    pub fn datagram_may_be_cut(&mut self, port: u16) {
        let addrs = (self.guest.parse().unwrap(), self.far.parse().unwrap());
        let fragment = Fragment { id: 7, offset: 0, more: false };
        let headers = Headers::new(MacPair { src: self.whom.mac, dst: GATEWAY }, addrs, UDP, 12, Some(fragment));
        let frame = [headers.bytes(), &port.to_be_bytes(), &[0, 9, 0, 12, 0, 0], b"data"].concat();
        let offload = Offload { checksum: Checksum::Valid, ..Offload::NONE };
        let arrived = Arrived { ingress: self.whom.ingress, frame: &frame, offload };
        self.nat.handle_frame(self.now, arrived, &mut self.host);
    }

    pub fn segment(&mut self, port: u16, (seq, ack): (u32, u32), flags: u8, payload: &[u8]) {
        let head = [port.to_be_bytes(), [0, 80]].concat();
        let (seq, ack) = (seq.to_be_bytes(), ack.to_be_bytes());
        self.packet(TCP, &[&head, &seq, &ack, &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0], payload]);
    }

    /// The guest announces its MAC by ARP.
    pub fn appear(&mut self) {
        self.announce();
        self.said();
    }

    /// The sender claims 10.0.2.15 by ARP.
    pub fn announce(&mut self) {
        let mac = self.whom.mac.0;
        let arp = [&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac[..], &[10, 0, 2, 15], &[0; 6], &[10, 0, 2, 2]].concat();
        let frame = [&GATEWAY.0[..], &mac, &arp].concat();
        let arrived = Arrived { ingress: self.whom.ingress, frame: &frame, offload: Offload::NONE };
        self.nat.handle_frame(self.now, arrived, &mut self.host);
    }

    /// The forwards of 127.0.0.1:2225 have their sockets.
    pub fn listen(&mut self) {
        for (socket, protocol) in [(900, Protocol::Tcp), (901, Protocol::Udp)] {
            let (listen, guest) = ("127.0.0.1:2225".parse().unwrap(), "10.0.2.15:22".parse().unwrap());
            self.nat.add_forward(SocketId(socket), Forward { protocol, listen, guest });
        }
    }

    /// A SYN to a port of the destination.
    pub fn segment_to(&mut self, to: u16, from: u16) {
        let head = [from.to_be_bytes(), to.to_be_bytes()].concat();
        self.packet(TCP, &[&head, &[0; 8], &[0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]]);
    }

    /// A datagram to a port of the destination.
    pub fn datagram_to(&mut self, to: u16, from: u16) {
        self.packet(UDP, &[&from.to_be_bytes(), &to.to_be_bytes(), &[0, 12, 0, 0], b"data"]);
    }

    /// From now on another station sends, behind a port of its own.
    pub fn speak_as(&mut self, last: u8) {
        let ingress = Ingress { port: PortId(last.into()), isolated: false };
        self.whom = Station { mac: Mac([2, 0, 0x5e, 0, 0x53, last]), ingress };
    }

    /// IP packets to the guest.
    pub fn said(&mut self) -> Vec<Vec<u8>> {
        let frames = said(&mut self.nat, self.now, &mut self.host).into_iter();
        frames.filter(|(_, kind, _)| *kind == 0x0800).map(|(.., packet)| packet).collect()
    }

    /// The guest's connection number `socket` of the host stands; gives the number that the guest acknowledges.
    pub fn open(&mut self, port: u16, socket: u64) -> u32 {
        self.segment(port, (0, 0), SYN, &[]);
        self.tell(socket, false, true);
        let answer = self.said().into_iter().find(|packet| packet[33] == SYN | ACK).unwrap();
        let ack = u32::from_be_bytes([answer[24], answer[25], answer[26], answer[27]]).wrapping_add(1);
        self.segment(port, (1, ack), ACK, &[]);
        self.said();
        ack
    }

    /// The host's socket has changed.
    pub fn tell(&mut self, socket: u64, readable: bool, writable: bool) {
        let event = Event { socket: SocketId(socket), readable, writable, refused: false };
        self.nat.handle_event(self.now, event, &mut self.host);
    }

    /// Does everything that is due until `seconds` after the start.
    pub fn pass(&mut self, seconds: u64) -> Vec<Vec<u8>> {
        let end = START + Duration::from_secs(seconds);
        let mut said = Vec::new();
        while let Some(due) = self.nat.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            said.extend(self.said());
        }
        self.now = end;
        said
    }
}

#[test]
fn what_rests_ends() {
    let mut bench = Bench::new();
    bench.datagram(1000);
    bench.packet(ICMPV4, &[&[8, 0, 0, 0, 0, 1, 0, 1], b"echo"]);
    let ack = bench.open(2000, 3);
    // this one is never answered by the host
    bench.segment(2001, (0, 0), SYN, &[]);
    assert_eq!(bench.nat.flows(), Flows { tcp: 2, udp: 1, echo: 1, held: 0 });
    bench.pass(59);
    assert_eq!(bench.nat.flows().echo, 1);
    bench.pass(61);
    assert_eq!(bench.nat.flows(), Flows { tcp: 2, udp: 1, echo: 0, held: 0 });
    bench.pass(179);
    bench.datagram(1000);
    bench.pass(239);
    assert_eq!((bench.nat.flows().tcp, bench.nat.flows().udp), (2, 1));
    bench.pass(241);
    assert_eq!((bench.nat.flows().tcp, bench.nat.flows().udp), (1, 1));
    bench.pass(360);
    assert_eq!((bench.nat.flows().tcp, bench.nat.flows().udp), (1, 0));
    for seconds in (420..=7439).step_by(60) {
        // a guest that gets keep-alive probes
        if !bench.pass(seconds).is_empty() {
            bench.segment(2000, (1, ack), ACK, &[]);
        }
    }
    bench.pass(7439);
    assert_eq!((bench.nat.flows().tcp, bench.host.sockets.len()), (1, 1));
    let said = bench.pass(7442);
    assert_eq!((bench.nat.flows().tcp, bench.host.sockets.len()), (0, 0));
    assert!(said.iter().any(|packet| packet[33] & RST != 0), "the guest is told");
}

/// The share of one port.
const fn share(most: usize) -> usize {
    most / 8 * 7
}

#[test]
fn the_port_that_rests_longest_makes_room() {
    let mut bench = Bench::new();
    bench.speak_as(16);
    bench.datagram(1);
    bench.whom = WHOM;
    let most = share(NAT_DATAGRAM_FLOWS) as u16;
    for port in 0..most {
        bench.datagram(1 + port);
        bench.now += Duration::from_millis(1);
    }
    // the first is not the longest idle one any more
    bench.datagram(1);
    bench.datagram(60_000);
    assert_eq!((bench.nat.flows().udp, bench.nat.stats().flows), (1 + usize::from(most), 1));
    assert_eq!(bench.host.sockets.len(), 1 + usize::from(most));
    // sockets are numbered as they come: the other station's, and those of the ports 1, 2
    let there = |socket| bench.host.sockets.contains(&SocketId(socket));
    assert!(there(1) && there(2) && !there(3), "another station's stays, although it rests longest");
}

#[test]
fn connections_have_a_limit() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, last: u8, count: u16| {
        bench.speak_as(last);
        bench.guest = ["10.0.2.15", "10.0.2.16", "10.0.2.17", "10.0.2.18"][usize::from(last - 15)];
        (0..count).for_each(|port| bench.segment(1 + port, (0, 0), SYN, &[]));
        (bench.nat.flows().tcp, bench.nat.stats().flows)
    };
    // nobody answers: these stay for long
    let most = share(NAT_TCP_FLOWS);
    assert_eq!(ask(&mut bench, 15, most as u16 + 10), (most, 10));
    assert_eq!(ask(&mut bench, 16, 500), (most + 500, 10), "another port finds room");
    let (all, _) = ask(&mut bench, 17, 2000);
    assert!(all < NAT_TCP_FLOWS, "{all}");
    assert_eq!(ask(&mut bench, 18, 10).0, all + 10, "and so does a fourth one");
    assert_eq!(bench.host.sockets.len(), bench.nat.flows().tcp);
}

#[test]
fn a_host_without_descriptors_is_not_asked_in_vain() {
    let mut bench = Bench::new();
    bench.host.exhausted = true;
    bench.datagram(1000);
    bench.segment(2000, (0, 0), SYN, &[]);
    assert_eq!((bench.nat.flows(), bench.nat.stats().host), (Flows::default(), 2));
}

/// Bytes for hosts that take nothing are held, up to a limit over all flows; other flows go on.
#[test]
fn what_stalled_flows_hold_is_bounded() {
    let mut bench = Bench::new();
    let bytes = vec![7; 60_000];
    let flows = 1500;
    for flow in 0..flows {
        let ack = bench.open(1000 + flow, u64::from(flow) + 1);
        bench.segment(1000 + flow, (1, ack), ACK, &bytes);
        bench.said();
    }
    let held = bench.nat.flows().held;
    // all together, and a little of each
    assert!(held > NAT_MEMORY && held < NAT_MEMORY + usize::from(flows) * (16 << 10), "{held}");
    assert!(bench.nat.stats().memory > 0);
    // a flow whose host takes needs no memory
    let (port, socket) = (1000 + flows, u64::from(flows) + 1);
    let ack = bench.open(port, socket);
    bench.host.takes = bytes.len();
    bench.segment(port, (1, ack), ACK, &bytes);
    let answer = bench.said().into_iter().rfind(|packet| packet[22..24] == port.to_be_bytes()).unwrap();
    assert_eq!(answer[28..32], 60_001_u32.to_be_bytes(), "everything is acknowledged");
    assert_eq!(bench.host.takes, 0);
    // and one that downloads has its own little
    let ack = bench.open(999, socket + 1);
    bench.host.gives = 50_000;
    bench.tell(socket + 1, true, false);
    let (mut next, mut arrived) = (ack, 0);
    for _ in 0..100 {
        let said = bench.said();
        let mine = said.iter().filter(|packet| packet[22..24] == 999_u16.to_be_bytes());
        let bytes: usize = mine.map(|packet| packet.len() - 40).sum();
        arrived += bytes;
        next = next.wrapping_add(bytes as u32);
        bench.segment(999, (1, next), ACK, &[]);
    }
    assert_eq!((arrived, bench.host.gives), (50_000, 0));
}

/// Downloads that fill every batch leave room for others.
#[test]
fn datagrams_have_their_turn_beside_streams() {
    let mut bench = Bench::new();
    bench.datagram(999);
    for flow in 0..200 {
        bench.open(1000 + flow, u64::from(flow) + 2);
    }
    bench.host.gives = usize::MAX;
    bench.host.datagrams = vec!["198.51.100.7:9".parse().unwrap()];
    for socket in 1..=201 {
        bench.tell(socket, true, false);
    }
    let mut out = Batch::new(PREFIX + MAX_FRAME + 20_000);
    let mut turns = Vec::new();
    for _ in 0..8 {
        bench.nat.poll_transmit(bench.now, &mut bench.host, &mut out);
        // the protocol stands behind 14 bytes of Ethernet and 9 of IPv4
        let protocols = Outgoing::rest_of(&out, 0).frames().map(|(_, frame)| frame[23]);
        turns.push(protocols.collect::<Vec<u8>>());
        out.clear();
    }
    assert!(turns.iter().all(|turn| turn.contains(&TCP)), "{turns:?}");
    assert!(turns[..4].iter().any(|turn| turn.contains(&UDP)), "{turns:?}");
}

/// A packet of the guest to `dst` at its last hop, or a fragment of one.
pub(super) fn last_hop(bench: &mut Bench, dst: &str, protocol: u8, payload: &[u8], fragment: Option<Fragment>) {
    let addrs = ("10.0.2.15".parse().unwrap(), dst.parse().unwrap());
    let headers = Headers::new(MacPair { src: bench.whom.mac, dst: GATEWAY }, addrs, protocol, payload.len(), fragment);
    let mut frame = [headers.bytes(), payload].concat();
    frame[22] = 1;
    frame[24..26].fill(0);
    let sum = Sum::ZERO.add_bytes(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let offload = Offload { checksum: Checksum::Valid, ..Offload::NONE };
    bench.nat.handle_frame(bench.now, Arrived { ingress: bench.whom.ingress, frame: &frame, offload }, &mut bench.host);
}

/// How many packets say "time exceeded".
fn exceeded(said: &[Vec<u8>]) -> usize {
    said.iter().filter(|packet| packet[9] == ICMPV4 && packet[20] == 11).count()
}

/// RFC 1122, section 3.2.2: no error about an error, nor about multicast or broadcast.
#[test]
fn whom_an_error_would_be_wrong_for_is_told_none() {
    let mut bench = Bench::new();
    let echo = [8, 0, 0, 0, 0, 1, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9];
    let error = [3, 1, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9];
    let mut id = 0;
    for (mut message, dst, wanted) in
        [(echo, "198.51.100.7", 1), (error, "198.51.100.7", 0), (echo, "255.255.255.255", 0), (echo, "10.0.2.255", 0)]
    {
        let sum = Sum::ZERO.add_bytes(&message).checksum();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        id += 1;
        last_hop(&mut bench, dst, ICMPV4, &message[..8], Some(Fragment { id, offset: 0, more: true }));
        last_hop(&mut bench, dst, ICMPV4, &message[8..], Some(Fragment { id, offset: 8, more: false }));
        assert_eq!(exceeded(&bench.said()), wanted, "{dst} {message:?}");
        assert_eq!(bench.nat.stats().ignored, u64::from(id), "it goes no further");
    }
}

/// RFC 1812, section 4.3.2.8.
#[test]
fn a_flood_is_told_of_now_and_then() {
    let mut bench = Bench::new();
    let mut told = |millis| {
        bench.now = START + Duration::from_millis(millis);
        for _ in 0..1000 {
            last_hop(&mut bench, "198.51.100.7", UDP, &[0, 9, 0, 9, 0, 8, 0, 0], None);
        }
        exceeded(&bench.said())
    };
    assert_eq!((told(0), told(9), told(100)), (50, 0, 10));
}

/// Only peers of the guest keep its port alive.
#[test]
fn a_stranger_keeps_no_port() {
    for (from, ports) in [("198.51.100.7:9", 1), ("203.0.113.9:9", 0)] {
        let mut bench = Bench::new();
        bench.datagram(1000);
        bench.pass(100);
        bench.host.datagrams = vec![from.parse().unwrap()];
        bench.tell(1, true, false);
        bench.said();
        bench.pass(200);
        assert_eq!(bench.nat.flows().udp, ports, "{from}");
    }
}
