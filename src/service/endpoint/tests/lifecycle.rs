//! How connections begin and end.

use std::net::SocketAddr;

use super::fuzz::mend;
use super::net::{Faults, Net, PORT};
use crate::service::endpoint::{CloseReason, Event};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn server() -> SocketAddr {
    ([192, 0, 2, 2], PORT).into()
}

#[test]
fn a_burst_of_connections_is_taken_whole() {
    let mut net = Net::new(1, Faults::NONE);
    let listener = net.listen();
    net.pass(SECOND);
    let conns: Vec<_> = (0..64).map(|_| net.hosts[0].connect(net.now, server()).unwrap()).collect();
    net.pass(Duration::from_millis(10));
    for conn in conns {
        assert!(net.events[0].contains(&Event::Connected(conn)));
    }
    let of_listener = |event: &&Event| matches!(event, Event::Accepted { listener: of, .. } if *of == listener);
    assert_eq!(net.events[1].iter().filter(of_listener).count(), 64);
    assert_eq!(net.hosts[1].stats().accepted, 64);
}

#[test]
fn a_full_backlog_makes_the_peer_ask_again() {
    let mut net = Net::new(2, Faults::NONE);
    net.hosts[1].listen(PORT, 4).unwrap();
    net.pass(SECOND);
    for _ in 0..12 {
        net.hosts[0].connect(net.now, server()).unwrap();
    }
    net.pass(Duration::from_millis(10));
    assert_eq!(net.hosts[1].stats().accepted, 4);
    assert_eq!(net.hosts[1].stats().backlogged, 8);
    net.pass(Duration::from_secs(20));
    assert_eq!(net.hosts[1].stats().accepted, 12);
    assert_eq!(net.events[0].iter().filter(|event| matches!(event, Event::Closed(..))).count(), 0);
}

#[test]
fn beyond_the_limits_connections_are_refused() {
    let mut net = Net::with(3, Faults::NONE, |config| {
        config.limits.per_source = 3;
        config.limits.connections = 8;
    });
    net.listen();
    let conns: Vec<_> = (0..5).map(|_| net.hosts[0].connect(net.now, server()).unwrap()).collect();
    net.pass(SECOND);
    for (at, conn) in conns.iter().enumerate() {
        let wanted = if at < 3 { Event::Connected(*conn) } else { Event::Closed(*conn, CloseReason::Refused) };
        assert!(net.events[0].contains(&wanted), "{at}");
    }
    assert_eq!(net.hosts[1].stats().refused, 2);
    // One that ends makes room for another.
    net.hosts[0].abort(conns[0]);
    net.pass(SECOND);
    let again = net.hosts[0].connect(net.now, server()).unwrap();
    assert!(net.wait(0, SECOND, Event::Connected(again)));
}

#[test]
fn nobody_listens() {
    let mut net = Net::new(4, Faults::NONE);
    let conn = net.hosts[0].connect(net.now, server()).unwrap();
    assert!(net.wait(0, SECOND, Event::Closed(conn, CloseReason::Refused)));
    assert_eq!(net.hosts[0].send(conn, b"x"), 0);
    net.pass(SECOND);
    assert_eq!(net.hosts[0].connections(), 0);
}

#[test]
fn half_closed_is_half_open() {
    let mut net = Net::new(5, Faults::NONE);
    net.listen();
    let (a, b) = net.connect(false);
    assert_eq!(net.hosts[0].send(a, b"question"), 8);
    net.hosts[0].shutdown(a);
    assert_eq!(net.hosts[0].send(a, b"late"), 0, "nothing can be sent behind a FIN");
    assert!(net.wait(1, SECOND, Event::PeerClosed(b)));
    assert_eq!(net.read(1, b), b"question");
    // The other direction stays open, for as long as both sides live.
    net.pass(Duration::from_secs(100));
    assert_eq!(net.hosts[1].send(b, b"answer"), 6);
    net.hosts[1].shutdown(b);
    assert!(net.wait(0, SECOND, Event::PeerClosed(a)));
    assert_eq!(net.take(0, |event| matches!(event, Event::Closed(..)).then_some(event)), None, "there is data left");
    assert_eq!(net.read(0, a), b"answer");
    assert!(net.wait(0, SECOND, Event::Closed(a, CloseReason::Finished)));
    assert!(net.wait(1, SECOND, Event::Closed(b, CloseReason::Finished)));
    net.pass(Duration::from_secs(11));
    assert_eq!([net.hosts[0].connections(), net.hosts[1].connections()], [0, 0]);
}

#[test]
fn a_lost_last_acknowledgement_is_given_again() {
    // Every frame is lost once the server has sent its FIN, until it repeats it: the client has no socket any more.
    let mut net = Net::new(6, Faults::NONE);
    net.listen();
    let (a, b) = net.connect(false);
    net.hosts[0].shutdown(a);
    assert!(net.wait(1, SECOND, Event::PeerClosed(b)));
    net.hosts[1].shutdown(b);
    assert!(net.wait(0, SECOND, Event::Closed(a, CloseReason::Finished)));
    net.dead = Some(0);
    net.pass(Duration::from_millis(500));
    net.dead = None;
    assert_eq!(net.hosts[0].connections(), 0);
    assert!(net.wait(1, Duration::from_secs(5), Event::Closed(b, CloseReason::Finished)));
    assert_eq!(net.hosts[1].stats().resets, 0);
}

#[test]
fn an_abort_is_a_reset_for_the_peer() {
    let mut net = Net::new(7, Faults::NONE);
    net.listen();
    let (a, b) = net.connect(true);
    net.hosts[0].abort(a);
    assert!(net.wait(1, SECOND, Event::Closed(b, CloseReason::Reset)));
    net.pass(SECOND);
    assert_eq!(net.events[0], [], "an abort tells nothing");
    assert_eq!([net.hosts[0].connections(), net.hosts[1].connections()], [0, 0]);
    assert_eq!((net.hosts[1].stats().resets, net.hosts[0].stats().timeouts), (1, 0));
}

#[test]
fn a_quiet_connection_is_probed_and_stays() {
    let mut net = Net::new(8, Faults::NONE);
    net.listen();
    let (a, b) = net.connect(false);
    net.pass(SECOND);
    let before = net.frames;
    net.pass(Duration::from_secs(100));
    let probes = net.frames[0] + net.frames[1] - before[0] - before[1];
    assert!((18..=60).contains(&probes), "{probes} frames in 100 s");
    assert_eq!(net.hosts[0].send(a, b"still there"), 11);
    assert!(net.wait(1, SECOND, Event::Readable(b)));
}

#[test]
fn a_dead_peer_is_found_out_within_thirty_seconds() {
    for sending in [false, true] {
        let mut net = Net::new(9, Faults::NONE);
        net.listen();
        let (a, b) = net.connect(false);
        net.pass(Duration::from_secs(3));
        net.dead = Some(1);
        if sending {
            net.hosts[0].send(a, &[1; 5000]);
        }
        let died = net.now;
        assert!(net.wait(0, Duration::from_secs(30), Event::Closed(a, CloseReason::TimedOut)));
        println!("sending {sending}: {:?}", net.now - died);
        assert!(net.wait(1, Duration::from_secs(30), Event::Closed(b, CloseReason::TimedOut)), "{:?}", net.events);
        net.pass(SECOND);
        assert_eq!([net.hosts[0].connections(), net.hosts[1].connections()], [0, 0]);
        assert_eq!(net.hosts[0].stats().timeouts, 1);
    }
}

#[test]
fn a_connection_to_nobody_times_out() {
    let mut net = Net::new(10, Faults::NONE);
    let conn = net.hosts[0].connect(net.now, ([192, 0, 2, 77], PORT).into()).unwrap();
    assert!(net.wait(0, Duration::from_secs(31), Event::Closed(conn, CloseReason::TimedOut)));
    assert!(net.hosts[0].stats().dropped > 0);
    assert!(net.hosts[0].connect(net.now, ([203, 0, 113, 1], PORT).into()).is_err(), "there is no route");
}

#[test]
fn half_open_connections_do_not_stay() {
    let mut net = Net::new(11, Faults::NONE);
    net.listen();
    net.pass(SECOND);
    // The client dies with its SYN on the wire: the server's segments are lost.
    net.hosts[0].connect(net.now, server()).unwrap();
    net.run(SECOND, |net| net.hosts[1].connections() == 1);
    net.dead = Some(0);
    net.pass(Duration::from_secs(11));
    assert_eq!(net.hosts[1].connections(), 0);
    assert_eq!(net.events[1], []);
    assert_eq!(net.hosts[1].stats().accepted, 0);
}

#[test]
fn an_old_name_is_nobody() {
    let mut net = Net::new(12, Faults::NONE);
    let listener = net.listen();
    let (a, b) = net.connect(false);
    net.hosts[0].abort(a);
    net.pass(SECOND);
    let (c, d) = net.connect(false);
    assert_ne!((a, b), (c, d));
    assert_eq!(net.hosts[0].send(a, b"x"), 0);
    assert_eq!(net.hosts[0].peer(a), None);
    net.hosts[0].abort(a);
    assert_eq!(net.hosts[0].send(c, b"x"), 1);
    assert!(net.wait(1, SECOND, Event::Readable(d)));
    assert!(net.hosts[1].listen(PORT, 1).is_err());
    net.hosts[1].unlisten(listener);
    let refused = net.hosts[0].connect(net.now, server()).unwrap();
    assert!(net.wait(0, SECOND, Event::Closed(refused, CloseReason::Refused)));
    assert_eq!(net.hosts[0].send(c, b"x"), 1, "connections outlive their listener");
}

/// A station that has seen, or guessed, sequence numbers may forge the peer's segments; it is not the peer.
#[test]
fn a_segment_of_another_station_ends_and_adds_nothing() {
    for v6 in [false, true] {
        let mut net = Net::new(5, Faults::NONE);
        net.listen();
        let (a, b) = net.connect(v6);
        net.record = Some(Vec::new());
        net.hosts[0].send(a, b"true");
        net.pass(Duration::from_secs(1));
        assert_eq!(net.read(1, b), b"true");
        let recorded = net.record.take().unwrap();
        let (_, genuine) = recorded.into_iter().find(|(from, frame)| *from == 0 && frame.ends_with(b"true")).unwrap();
        let tcp = if v6 { 54 } else { 34 };
        let seq = u32::from_be_bytes(genuine[tcp + 4..tcp + 8].try_into().unwrap());
        let mut forged = |flags: u8, offset: u32, stranger: bool| {
            let mut frame = genuine.clone();
            frame[tcp + 4..tcp + 8].copy_from_slice(&(seq + offset).to_be_bytes());
            frame[tcp + 13] = flags;
            mend(&mut frame);
            if stranger {
                frame[6..12].copy_from_slice(&[2, 0, 0x5e, 0, 0x53, 77]);
            }
            net.hosts[1].handle_frame(net.now, &frame);
            net.collect();
            let closed = net.take(1, |event| matches!(event, Event::Closed(..)).then_some(()));
            (net.read(1, b).len(), closed.is_some(), net.hosts[1].stats().foreign)
        };
        let (push, reset) = (0x18, 0x14);
        assert_eq!(forged(push, 4, true), (0, false, 1), "data");
        assert_eq!(forged(reset, 4, true), (0, false, 2), "a reset");
        assert_eq!(forged(push, 4, false), (4, false, 2), "the peer itself");
        assert_eq!(forged(reset, 8, false), (0, true, 2), "the peer itself");
    }
}
