//! Guests that forge each other's addresses: they neither get the other's packets nor disturb its flows.

use super::{Bench, last_hop};
use crate::limits::{NAT_DATAGRAM_FLOWS, NAT_TCP_FLOWS};
use crate::service::nat::guest::{GUEST, WHOM, gateway_with, said};
use crate::service::nat::packet::{ICMPV4, UDP};
use crate::service::station::{Ingress, Station};
use crate::time::Duration;
use crate::wire::Mac;

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 0x10;

/// Destination MACs of the IP packets that `is` picks.
fn goes_to(bench: &mut Bench, is: impl Fn(&[u8]) -> bool) -> Vec<Mac> {
    let said = said(&mut bench.nat, bench.now, &mut bench.host).into_iter();
    said.filter(|(_, kind, packet)| *kind == 0x0800 && is(packet)).map(|(mac, ..)| mac).collect()
}

fn has_data(packet: &[u8]) -> bool {
    packet[9] == 6 && packet.len() > 40
}

/// The sequence or acknowledgement number at `at` of an IP packet.
fn number(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// A connection of the guest that has sent nothing, and the number that it acknowledges next.
fn connected() -> (Bench, u32) {
    let mut bench = Bench::new();
    bench.appear();
    let ack = bench.open(1000, 1);
    (bench, ack)
}

#[test]
fn a_made_up_segment_moves_no_connection() {
    let (mut bench, ack) = connected();
    bench.speak_as(8);
    for (seq, acks, flags) in [
        (0xdead_0000, 0xbeef_0000, ACK),
        (1, 0xbeef_0000, ACK),
        (0xdead_0000, ack, ACK),
        (2, ack, ACK),
        (0, 0, SYN),
        (1, ack.wrapping_add(1), ACK),
    ] {
        bench.segment(1000, (seq, acks), flags, &[]);
    }
    bench.host.gives = 100;
    bench.tell(1, true, false);
    assert_eq!(goes_to(&mut bench, has_data), [GUEST]);
    assert_eq!(bench.nat.flows().tcp, 1);
    // a station that knows both numbers is the guest
    bench.segment(1000, (1, ack.wrapping_add(100)), ACK, &[]);
    bench.host.gives = 100;
    bench.tell(1, true, false);
    assert_eq!(goes_to(&mut bench, has_data), [Mac([2, 0, 0x5e, 0, 0x53, 8])]);
}

/// A guest with another MAC after a restart: the probe to the old one is unanswered, and the guest's answer to the
/// challenge ACK resets the connection.
#[test]
fn a_connection_follows_its_address_where_the_old_station_is_silent() {
    let (mut bench, ack) = connected();
    bench.speak_as(8);
    let other = bench.whom.mac;
    bench.announce();
    bench.segment(1000, (77, 0), SYN, &[]);
    let asked = said(&mut bench.nat, bench.now, &mut bench.host);
    assert!(asked.iter().any(|(mac, kind, _)| (*mac, *kind) == (GUEST, 0x0806)), "it is asked at its old MAC");
    bench.pass(3);
    bench.segment(1000, (77, 0), SYN, &[]);
    let is_challenge = |packet: &[u8]| packet[33] == ACK && number(packet, 24) == ack && number(packet, 28) == 1;
    assert_eq!(goes_to(&mut bench, is_challenge), [other]);
    bench.segment(1000, (1, 0), RST, &[]);
    assert_eq!(bench.nat.flows().tcp, 0);
}

#[test]
fn a_connection_stays_where_the_old_station_answers() {
    let (mut bench, _) = connected();
    bench.speak_as(8);
    for _ in 0..20 {
        bench.announce();
        bench.segment(1000, (77, 0), SYN, &[]);
        let said = said(&mut bench.nat, bench.now, &mut bench.host);
        if said.iter().any(|(mac, kind, _)| (*mac, *kind) == (GUEST, 0x0806)) {
            let claimant = std::mem::replace(&mut bench.whom, WHOM);
            bench.announce();
            bench.whom = claimant;
        }
        bench.now += Duration::from_millis(200);
    }
    bench.host.gives = 100;
    bench.tell(1, true, false);
    assert_eq!(goes_to(&mut bench, has_data), [GUEST]);
}

/// RFC 5961, sections 3.2 and 4.2.
#[test]
fn a_reset_near_its_number_is_asked_about() {
    let (mut bench, ack) = connected();
    for (seq, flags) in [(2, RST), (60_000, RST), (1, SYN), (5000, SYN)] {
        bench.segment(1000, (seq, 0), flags, &[]);
        let said = bench.said();
        let asked = said.iter().filter(|packet| packet[33] == ACK && number(packet, 24) == ack);
        assert_eq!((asked.count(), bench.nat.flows().tcp), (1, 1), "{seq}");
    }
    bench.segment(1000, (0x4000_0000, 0), RST, &[]);
    assert_eq!((bench.said().len(), bench.nat.flows().tcp), (0, 1), "far from it");
    let mut asked = 0;
    for _ in 0..1000 {
        bench.segment(1000, (2, 0), RST, &[]);
        asked += bench.said().len();
    }
    assert!(asked < 10, "{asked} answers to a flood");
    bench.segment(1000, (1, 0), RST, &[]);
    assert_eq!(bench.nat.flows().tcp, 0, "the very number");
}

/// RFC 5961, section 5.2.
#[test]
fn an_acknowledgement_that_no_window_reaches_carries_nothing() {
    let (mut bench, ack) = connected();
    bench.host.takes = 1 << 20;
    for old in [0x1000_0000, 2 << 20] {
        bench.segment(1000, (1, ack.wrapping_sub(old)), ACK, b"made up");
        assert_eq!(bench.host.takes, 1 << 20, "{old}");
        bench.said();
    }
    bench.segment(1000, (1, ack), ACK, b"true");
    assert_eq!(bench.host.takes, (1 << 20) - 4);
}

#[test]
fn a_made_up_datagram_moves_nothing_and_speaks_for_nobody() {
    let mut bench = Bench::new();
    bench.datagram(1000);
    bench.speak_as(8);
    bench.datagram(1000);
    assert_eq!((bench.nat.flows().udp, bench.host.sockets.len()), (2, 2), "a socket of its own");
    for (socket, mac) in [(1, GUEST), (2, bench.whom.mac)] {
        bench.host.datagrams = vec!["198.51.100.7:9".parse().unwrap()];
        bench.tell(socket, true, false);
        assert_eq!(goes_to(&mut bench, |packet| packet[9] == UDP), [mac]);
    }
}

/// A guest's own MAC from another port of the switch: it was given another one, and goes on.
#[test]
fn a_guest_keeps_its_flows_at_another_port() {
    let (mut bench, ack) = connected();
    bench.datagram(2000);
    let before = bench.nat.flows();
    bench.whom.ingress.port.0 += 5;
    bench.datagram(2000);
    bench.segment(1000, (1, ack), ACK, b"x");
    assert_eq!((bench.nat.flows().tcp, bench.nat.flows().udp), (before.tcp, before.udp));
}

#[test]
fn made_up_sources_take_nothing_of_others() {
    let mut bench = Bench::new();
    bench.datagram(1);
    bench.speak_as(8);
    let addrs: Vec<&'static str> = (20..160).map(|last| &*format!("10.0.2.{last}").leak()).collect();
    for number in 0..20_000_u16 {
        bench.guest = addrs[usize::from(number) % addrs.len()];
        bench.datagram(1000 + number);
        bench.segment(1000 + number, (0, 0), SYN, &[]);
        bench.now += Duration::from_micros(1);
    }
    assert_eq!(bench.nat.flows().udp, 1 + NAT_DATAGRAM_FLOWS / 8 * 7);
    assert_eq!(bench.nat.flows().tcp, NAT_TCP_FLOWS / 8 * 7);
    bench.guest = "10.0.2.15";
    bench.whom = WHOM;
    bench.segment(1000, (0, 0), SYN, &[]);
    assert_eq!(bench.nat.flows().tcp, NAT_TCP_FLOWS / 8 * 7 + 1, "a connection of another");
    bench.host.datagrams = vec!["198.51.100.7:9".parse().unwrap()];
    bench.tell(1, true, false);
    assert_eq!(goes_to(&mut bench, |packet| packet[9] == UDP), [GUEST], "and the port that it had before");
}

#[test]
fn what_one_guest_is_told_leaves_others_theirs() {
    let mut bench = Bench::new();
    let told = |bench: &mut Bench, count| {
        for _ in 0..count {
            last_hop(bench, "198.51.100.7", UDP, &[0, 9, 0, 9, 0, 8, 0, 0], None);
        }
        bench.said().iter().filter(|packet| packet[9] == ICMPV4 && packet[20] == 11).count()
    };
    bench.speak_as(8);
    assert_eq!(told(&mut bench, 1000), 50);
    bench.whom = WHOM;
    assert_eq!(told(&mut bench, 20), 20);
}

fn isolated(last: u8) -> Station {
    let mut bench = Bench::new();
    bench.speak_as(last);
    Station { ingress: Ingress { isolated: true, ..bench.whom.ingress }, ..bench.whom }
}

/// A forward's address of the host, asked for through the gateway, is no way round `isolate`.
#[test]
fn a_forward_leads_no_isolated_guest_to_another() {
    for (from_isolated, to_isolated, reaches) in [(true, true, false), (true, false, true), (false, true, true)] {
        let mut bench = Bench::new();
        bench.nat = gateway_with(",forward=tcp:127.0.0.1:2225->10.0.2.15:22,forward=udp:127.0.0.1:2225->10.0.2.15:22");
        bench.listen();
        let station = |last, is: bool| {
            let it = isolated(last);
            Station { ingress: Ingress { isolated: is, ..it.ingress }, ..it }
        };
        bench.whom = station(15, to_isolated);
        bench.announce();
        bench.said();
        (bench.whom, bench.guest, bench.far) = (station(16, from_isolated), "10.0.2.16", "10.0.2.2");
        bench.segment_to(2225, 1000);
        bench.datagram_to(2225, 1000);
        let flows = bench.nat.flows();
        assert_eq!((flows.tcp, flows.udp), if reaches { (1, 1) } else { (0, 0) }, "{from_isolated} {to_isolated}");
        assert_eq!(bench.nat.stats().forbidden, if reaches { 0 } else { 2 });
    }
}

/// Without `host-loopback` no address of the host is reached, whichever it has at that time.
#[test]
fn a_host_can_be_hidden_by_all_its_addresses() {
    for (keys, reached) in [("", 2), (",host-loopback=off", 0)] {
        let mut bench = Bench::new();
        bench.nat = gateway_with(keys);
        bench.host.own = vec!["198.51.100.7".parse().unwrap()];
        bench.segment(1000, (0, 0), SYN, &[]);
        bench.datagram(1000);
        assert_eq!(bench.nat.flows().tcp + bench.nat.flows().udp, reached, "{keys}");
        let told = bench.said().iter().filter(|packet| packet[9] == ICMPV4 && packet[20..22] == [3, 13]).count();
        assert_eq!(told, 2 - reached, "{keys}");
        bench.host.own.clear();
        bench.datagram(1000);
        assert_eq!(bench.nat.flows().udp, 1, "{keys}: it has moved to another machine");
    }
}
