//! The gateway with a server of its own: who hears what, and how answers leave.

use super::*;
use crate::config::{PortKind, PortSpec};
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::service::nat::Nat;
use crate::service::nat::host::{Datagrams, Refused, SocketId};
use crate::wire::{Checksum, Ethernet};
use std::io;
use std::sync::{Arc, Mutex};

const GUEST: Mac = Mac([2, 0, 0x5e, 0, 0x53, 9]);

/// A host that has nothing.
struct Nothing;

impl Host for Nothing {
    fn connect(&mut self, _: SocketAddr) -> io::Result<SocketId> {
        Err(io::ErrorKind::NetworkUnreachable.into())
    }
    fn connected(&mut self, _: SocketId) -> io::Result<()> {
        Ok(())
    }
    fn open(&mut self, _: Datagrams, _: bool) -> io::Result<SocketId> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn accept(&mut self, _: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn send(&mut self, _: SocketId, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn recv(&mut self, _: SocketId, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
    fn send_to(&mut self, _: SocketId, _: &[u8], _: SocketAddr) -> io::Result<()> {
        Ok(())
    }
    fn recv_from(&mut self, _: SocketId, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn refused(&mut self, _: SocketId) -> Option<Refused> {
        None
    }
    fn shutdown(&mut self, _: SocketId) {}
    fn close(&mut self, _: SocketId, _: bool) {}
}

/// Says back what it hears on port 67, and to whom it hears of a router's absence that there is one.
#[derive(Default)]
struct Parrot {
    heard: Arc<Mutex<Vec<SocketAddr>>>,
    answers: Vec<Answer>,
}

impl Servers for Parrot {
    fn handle_datagram(&mut self, _: Instant, question: Question<'_>, _: &mut dyn Host) -> bool {
        if question.dst.port() != 67 {
            return false;
        }
        self.heard.lock().unwrap().push(question.dst);
        let (src, dst) = ("10.0.2.2:67".parse().unwrap(), "255.255.255.255:68".parse().unwrap());
        let mac = Some(question.mac);
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
    fn handle_event(&mut self, _: Instant, _: Event, _: &mut dyn Host) -> bool {
        false
    }
    fn poll_transmit(&mut self, _: Instant, _: &mut dyn Host) -> Option<Answer> {
        self.answers.pop()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn handle_timeout(&mut self, _: Instant, _: &mut dyn Host) {}
}

fn nat(servers: Parrot) -> Nat {
    let spec = PortSpec::parse("nat:10.0.2.2/24").unwrap();
    let PortKind::Nat(config) = &spec.kind else { panic!("not a nat") };
    let mut nat = Nat::new(&spec, config, 7).unwrap();
    nat.set_servers(Box::new(servers));
    nat
}

/// A guest's frame; the transport's checksum is vouched for.
fn hear(nat: &mut Nat, now: Instant, dst: Mac, addrs: (&str, &str), protocol: u8, parts: &[&[u8]], hops: Option<u8>) {
    let length = parts.iter().map(|part| part.len()).sum();
    let link = packet::Link { src: GUEST, dst };
    let addrs = (addrs.0.parse().unwrap(), addrs.1.parse().unwrap());
    let mut headers = Headers::new(link, addrs, protocol, length, None);
    if let Some(hops) = hops {
        headers.set_hop_limit(hops);
    }
    let frame = [&[headers.bytes()], parts].concat().concat();
    let offload = Offload { checksum: Checksum::Valid, ..Offload::NONE };
    nat.handle_frame(now, &frame, offload, &mut Nothing);
}

/// The IP packets that the gateway sends to guests, by their MAC.
fn said(nat: &mut Nat, now: Instant) -> Vec<(Mac, u16, Vec<u8>)> {
    let mut out = Batch::new(16 * (PREFIX + MAX_FRAME));
    nat.handle_timeout(now, &mut Nothing);
    nat.poll_transmit(now, &mut Nothing, &mut out);
    let frames = Outgoing::rest_of(&out, 0).frames();
    let views = frames.map(|(_, bytes)| Ethernet::new(bytes).unwrap());
    views.map(|view| (view.destination(), view.ether_type().0, view.payload().to_vec())).collect()
}

#[test]
fn a_question_to_all_is_a_servers_before_anybody_elses() {
    let parrot = Parrot::default();
    let heard = parrot.heard.clone();
    let mut nat = nat(parrot);
    let now = Instant::from_secs(1);
    said(&mut nat, now);
    let header = [0, 68, 0, 67, 0, 11, 0, 0];
    hear(&mut nat, now, Mac::BROADCAST, ("0.0.0.0", "255.255.255.255"), UDP, &[&header, b"who"], None);
    assert_eq!(*heard.lock().unwrap(), ["255.255.255.255:67".parse::<SocketAddr>().unwrap()]);
    let answers = said(&mut nat, now);
    let answer = answers.iter().find(|(mac, ..)| *mac == GUEST).unwrap();
    assert_eq!(
        (&answer.2[16..28], &answer.2[28..]),
        (&[255, 255, 255, 255, 0, 67, 0, 68, 0, 11, answer.2[26], answer.2[27]][..], &b"who"[..])
    );
    // who has the other answer's address is asked for, by ARP, and it leaves when that is known
    assert!(answers.iter().any(|(mac, kind, _)| (*mac, *kind) == (Mac::BROADCAST, 0x0806)));
    let arp = [
        &[2, 0x6e, 10, 0, 2, 2][..],
        &GUEST.0,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &GUEST.0,
        &[10, 0, 2, 15],
        &[2, 0x6e, 10, 0, 2, 2, 10, 0, 2, 2],
    ];
    nat.handle_frame(now, &arp.concat(), Offload::NONE, &mut Nothing);
    let later = now + PAUSE;
    assert!(nat.poll_timeout().is_some_and(|at| at <= later));
    assert!(said(&mut nat, later).iter().any(|(mac, _, packet)| *mac == GUEST && packet.ends_with(b"found")));
}

#[test]
fn what_no_server_wants_is_the_gateways() {
    let mut nat = nat(Parrot::default());
    let now = Instant::from_secs(1);
    said(&mut nat, now);
    let gateway = Mac([2, 0x6e, 10, 0, 2, 2]);
    hear(&mut nat, now, gateway, ("10.0.2.15", "198.51.100.7"), UDP, &[&[0, 9, 0, 9, 0, 8, 0, 0]], None);
    // there are no sockets for it
    assert_eq!((nat.stats().host, said(&mut nat, now).len()), (1, 0));
}

#[test]
fn a_router_is_solicited() {
    let mut nat = nat(Parrot::default());
    let now = Instant::from_secs(1);
    said(&mut nat, now);
    let routers = Mac([0x33, 0x33, 0, 0, 0, 2]);
    hear(&mut nat, now, routers, ("fe80::9", "ff02::2"), ICMPV6, &[&[133, 0, 0, 0, 0, 0, 0, 0]], Some(255));
    let answers = said(&mut nat, now);
    let (mac, _, packet) = answers.last().unwrap();
    // hop limit, and the message as it is
    assert_eq!((*mac, packet[7], &packet[40..]), (GUEST, 255, &[134; 16][..]));
}
