//! How flows end: by an error of the host, by a timeout, and by eviction.

use crate::frame::PortId;
use crate::limits::NAT_TCP_FLOWS;
use crate::service::machine::Service;
use crate::service::nat::guest::WHOM;
use crate::service::nat::tests::Bench;
use crate::service::outside::SocketId;
use crate::time::Duration;
use std::collections::BTreeSet;
use std::io::ErrorKind;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 0x10;
const PORT: u16 = 1000;

/// Bytes that the guest gets of a server that fails after `gives` bytes, while the guest sends more; and whether its
/// last segment is a RST.
fn hears(gives: usize, fail: ErrorKind, first: impl Fn(&mut Bench, u32)) -> (usize, bool) {
    let mut bench = Bench::new();
    let mut next = bench.open(PORT, 1);
    (bench.host.gives, bench.host.fails) = (gives, Some(fail));
    first(&mut bench, next);
    bench.tell(1, true, true);
    let (mut got, mut sent) = (0, 5001);
    for _ in 0..200 {
        let said = bench.said();
        if said.iter().any(|packet| packet[33] & RST != 0) {
            assert!(bench.host.sockets.is_empty());
            return (got, true);
        }
        assert!(said.iter().all(|packet| packet[33] & FIN == 0), "it does not seem to be whole");
        let bytes: usize = said.iter().map(|packet| packet.len() - 40).sum();
        (got, next) = (got + bytes, next.wrapping_add(bytes as u32));
        bench.segment(PORT, (sent, next), ACK, b"more");
        sent += 4;
    }
    (got, false)
}

/// A server that has not read all of a request answers and closes: its kernel sends the answer, and then a reset.
#[test]
fn an_answer_in_front_of_a_reset_is_heard() {
    let upload = |bench: &mut Bench, ack| bench.segment(PORT, (1, ack), ACK, &[7; 5000]);
    for gives in [0, 1, 200, 5000, 30_000, 3_000_000] {
        let wanted = (gives, true);
        assert_eq!(hears(gives, ErrorKind::ConnectionReset, |_, _| ()), wanted, "told to who reads");
        // the socket was writable: sending gets the error first, and reading then gets the end
        let told = |bench: &mut Bench, ack: u32| {
            let fails = bench.host.fails.take();
            bench.tell(1, false, true);
            bench.said();
            bench.host.fails = fails;
            upload(bench, ack);
        };
        assert_eq!(hears(gives, ErrorKind::ConnectionReset, told), wanted, "told to who sends");
        // sending the held bytes finds the error
        assert_eq!(hears(gives, ErrorKind::TimedOut, upload), wanted, "told when what is held is sent");
    }
}

/// A guest that takes nothing more keeps no place for ever.
#[test]
fn a_guest_that_does_not_read_last_words_is_reset() {
    let mut bench = Bench::new();
    let ack = bench.open(PORT, 1);
    (bench.host.gives, bench.host.fails) = (30_000, Some(ErrorKind::ConnectionReset));
    bench.tell(1, true, true);
    bench.said();
    let said: Vec<_> = (1..300)
        .flat_map(|second| {
            // it answers, and acknowledges nothing
            bench.segment(PORT, (1, ack), ACK, &[]);
            bench.pass(second)
        })
        .collect();
    assert!(said.iter().any(|packet| packet[33] & RST != 0));
    assert_eq!(bench.nat.flows().tcp, 0);
}

/// A connection whose guest has closed and whose server does not.
fn half_close(bench: &mut Bench, port: u16, socket: u64) {
    let ack = bench.open(port, socket);
    bench.segment(port, (1, ack), FIN | ACK, &[]);
    bench.said();
}

#[test]
fn a_half_closed_connection_ends_after_minutes() {
    let mut bench = Bench::new();
    half_close(&mut bench, PORT, 1);
    bench.open(PORT + 1, 2);
    bench.pass(239);
    assert_eq!(bench.nat.flows().tcp, 2);
    // what its server still says keeps it
    bench.host.gives = 4;
    bench.tell(1, true, false);
    let answer = bench.said().into_iter().find(|packet| packet.len() == 44).unwrap();
    let next = u32::from_be_bytes(answer[24..28].try_into().unwrap()).wrapping_add(4);
    bench.segment(PORT, (2, next), ACK, &[]);
    bench.pass(478);
    assert_eq!(bench.nat.flows().tcp, 2);
    let said = bench.pass(480);
    assert!(said.iter().any(|packet| packet[33] & RST != 0 && packet[22..24] == PORT.to_be_bytes()));
    assert_eq!((bench.nat.flows().tcp, bench.host.aborted.len()), (1, 1), "the other one stays");
}

/// The guest's last bytes, which the host has not taken yet, survive it.
#[test]
fn a_half_closed_connection_waits_for_its_host() {
    let mut bench = Bench::new();
    let ack = bench.open(PORT, 1);
    bench.segment(PORT, (1, ack), FIN | ACK, b"last words");
    bench.said();
    bench.pass(1000);
    // it got a keep-alive probe
    bench.segment(PORT, (12, ack), ACK, &[]);
    assert_eq!(bench.nat.flows().tcp, 1);
    bench.host.takes = 10;
    bench.tell(1, false, true);
    bench.said();
    bench.pass(1239);
    assert_eq!((bench.host.takes, bench.nat.flows().tcp), (0, 1));
    bench.pass(1241);
    assert_eq!(bench.nat.flows().tcp, 0);
}

/// A guest that asks a server that never closes, often.
#[test]
fn a_connection_that_rests_half_closed_makes_room() {
    let mut bench = Bench::new();
    bench.open(1, 1);
    let most = NAT_TCP_FLOWS / 8 * 7;
    for number in 2..=most as u64 {
        half_close(&mut bench, number as u16, number);
        bench.now += Duration::from_millis(1);
    }
    assert_eq!((bench.nat.flows().tcp, bench.nat.stats().flows), (most, 0));
    for number in 1..=200 {
        let (port, socket) = ((most + number) as u16, (most + number) as u64);
        bench.open(port, socket);
        let there = |socket| bench.host.sockets.contains(&SocketId(socket));
        assert!(there(1) && there(socket), "what is in use stays");
        assert!(!there(number as u64 + 1) && there(number as u64 + 2), "the one that rests longest goes");
        assert_eq!((bench.nat.flows().tcp, bench.nat.stats().flows), (most, number as u64));
    }
}

/// Connections that stand make room only if they rest.
#[test]
fn connections_in_use_make_no_room() {
    let mut bench = Bench::new();
    let most = NAT_TCP_FLOWS / 8 * 7;
    (1..=most as u64).for_each(|number| {
        bench.open(number as u16, number);
        bench.now += Duration::from_millis(1);
    });
    let port = most as u16 + 1;
    bench.segment(port, (0, 0), SYN, &[]);
    assert_eq!((bench.nat.flows().tcp, bench.nat.stats().flows), (most, 1));
    bench.now += Duration::from_secs(61);
    bench.open(port, most as u64 + 1);
    assert!(!bench.host.sockets.contains(&SocketId(1)), "the first of those that rest");
    assert_eq!((bench.nat.flows().tcp, bench.nat.stats().flows), (most, 2));
}

/// When a connection of a silent guest ends; `does` happens at its beginning.
fn ends_after(does: impl Fn(&mut Bench)) -> u64 {
    let mut bench = Bench::new();
    bench.open(PORT, 1);
    does(&mut bench);
    let end = (1..8000).find(|second| {
        bench.pass(*second);
        bench.nat.flows().tcp == 0
    });
    assert_eq!(bench.host.aborted.len(), 1, "its server is told");
    end.unwrap()
}

fn depart(bench: &mut Bench, port: PortId) {
    bench.nat.handle_departures(bench.now, &BTreeSet::from([PortId(500), port]));
}

/// A port that is tried again every second, and fails each time.
#[test]
fn a_port_that_is_left_again_and_again_loses_its_guests_as_soon() {
    let mut bench = Bench::new();
    let ack = bench.open(PORT, 1);
    for second in 1..4 {
        depart(&mut bench, WHOM.port());
        bench.pass(second);
    }
    // one that answers has all its time anew
    bench.segment(PORT, (1, ack), ACK, &[]);
    let end = (4..60).find(|second| {
        depart(&mut bench, WHOM.port());
        bench.pass(*second);
        bench.nat.flows().tcp == 0
    });
    assert_eq!(end, Some(9));
}

#[test]
fn a_guest_that_vanishes_is_missed() {
    let leave = |port: u16| move |bench: &mut Bench| depart(bench, PortId(port));
    assert_eq!(ends_after(|_| ()), 1200);
    assert_eq!(ends_after(leave(WHOM.port().0)), 6, "its port was left");
    assert_eq!(ends_after(leave(77)), 1200, "another one was");
}

/// A cable that was out for a moment, with the guest behind it.
#[test]
fn a_guest_that_answers_at_another_port_keeps_its_connections() {
    let mut bench = Bench::new();
    let ack = bench.open(PORT, 1);
    depart(&mut bench, WHOM.port());
    let asked = bench.pass(2);
    assert_eq!(asked.len(), 2);
    assert_eq!((&asked[0][24..28], asked[0][33], asked[0].len()), (&(ack - 1).to_be_bytes()[..], ACK, 40));
    bench.whom.ingress.port = PortId(9);
    bench.segment(PORT, (1, ack), ACK, &[]);
    bench.pass(600);
    assert_eq!((bench.nat.flows().tcp, bench.host.aborted.len()), (1, 0));
    // a rebooted one does not know the connection
    depart(&mut bench, WHOM.port());
    bench.pass(602);
    bench.segment(PORT, (1, 0), RST, &[]);
    assert_eq!((bench.nat.flows().tcp, bench.host.aborted.len()), (0, 1));
}
