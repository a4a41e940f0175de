//! Clients of forwards when there are no descriptors, and when there are too many.

use super::*;
use crate::service::nat::tests::Bench;

/// The names of the listeners.
const TCP: u64 = 1000;
const UDP: u64 = 1001;

/// A gateway with a forward for TCP and one for UDP, whose guest is known.
fn bench() -> Bench {
    let mut bench = Bench::new();
    for (socket, protocol) in [(TCP, Protocol::Tcp), (UDP, Protocol::Udp)] {
        let listen = "127.0.0.1:2222".parse().unwrap();
        let forward = Forward { protocol, listen, guest: "10.0.2.15:22".parse().unwrap() };
        bench.nat.add_forward(SocketId(socket), forward);
    }
    bench.appear();
    bench
}

#[test]
fn clients_wait_for_descriptors() {
    let mut bench = bench();
    (bench.host.clients, bench.host.exhausted) = (2, true);
    bench.tell(TCP, true, false);
    bench.said();
    assert!(!bench.nat.is_ready(), "the host is left in peace");
    assert_eq!((bench.nat.flows().tcp, bench.nat.stats().host), (0, 1));
    // no event tells that some are free again
    bench.host.exhausted = false;
    bench.pass(3);
    assert_eq!((bench.nat.flows().tcp, bench.host.clients), (2, 0));
    assert!(!bench.nat.is_ready());
}

#[test]
fn the_client_that_rests_longest_makes_room() {
    let mut bench = bench();
    let client = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let ask = |bench: &mut Bench, port| {
        bench.host.datagrams = vec![client(port)];
        bench.tell(UDP, true, false);
        bench.said();
        bench.now += Duration::from_millis(1);
    };
    for port in 1..=NAT_DATAGRAM_FLOWS as u16 {
        ask(&mut bench, port);
    }
    ask(&mut bench, 1);
    ask(&mut bench, 60_000);
    assert_eq!((bench.nat.flows().udp, bench.nat.stats().flows), (NAT_DATAGRAM_FLOWS, 1));
    let forwards = &bench.nat.forwards;
    let known = |port| forwards.clients.contains_key(&(SocketId(UDP), client(port), None));
    assert!(known(1) && !known(2) && known(60_000));
    assert_eq!(forwards.ports.len(), NAT_DATAGRAM_FLOWS);
}

/// The gateway's TFTP server would take a guest's datagrams to one of them.
#[test]
fn the_ports_of_tftp_are_left_to_it() {
    let mut forwards = Forwards::new(7);
    let ports: std::collections::BTreeSet<u16> = (0..30_000).map(|_| forwards.next_port()).collect();
    assert!(ports.iter().all(|port| !tftp::PORTS.contains(port)), "{:?}", ports.last());
    assert_eq!((ports.first().copied(), ports.len()), (Some(PORTS.start), PORTS.len()));
}

/// A client is answered from the address that it sent to, and counts as another one at another address.
#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let mut bench = bench();
    let client = SocketAddr::from(([198, 51, 100, 7], 999));
    for _ in 0..2 {
        for last in [1, 2] {
            let asked = IpAddr::from([198, 51, 100, last]);
            (bench.host.datagrams, bench.host.asked) = (vec![client], Some(asked));
            bench.tell(UDP, true, false);
            let said = bench.said().into_iter().find(|packet| packet[9] == 17).unwrap();
            bench.far = "10.0.2.2";
            bench.datagram_to(u16::from_be_bytes([said[20], said[21]]), 22);
            assert_eq!(bench.host.sent.pop(), Some((client, Some(asked))));
        }
    }
    assert_eq!(bench.nat.forwards.clients(), 2);
}
