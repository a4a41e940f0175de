//! Data arrives whole and in order, whatever the wire does.

use super::net::{Faults, Net};
use crate::service::endpoint::{CloseReason, ConnId, Event};
use crate::time::Duration;

/// A bad wire: `loss` of a thousand frames are lost, others delayed or duplicated.
fn bad(loss: u64) -> Faults {
    Faults { loss, repeat: loss / 2, delay: Duration::from_micros(200), jitter: Duration::from_micros(300) }
}

/// The byte at `at` of the stream of `host`.
fn byte(host: usize, at: usize) -> u8 {
    (at.wrapping_mul(0x9e37_79b1) >> 13) as u8 ^ host as u8
}

/// Both hosts send `total` bytes to each other and close; returns whether everything arrived within `span`.
fn exchange(net: &mut Net, conns: [ConnId; 2], total: usize, span: Duration) -> bool {
    let (mut sent, mut received, mut closed) = ([0; 2], [0; 2], [false; 2]);
    net.run(span, |net| {
        for host in 0..2 {
            let chunk: Vec<u8> = (sent[host]..total.min(sent[host] + 65536)).map(|at| byte(host, at)).collect();
            sent[host] += net.hosts[host].send(conns[host], &chunk);
            if sent[host] == total && !closed[host] {
                closed[host] = true;
                net.hosts[host].shutdown(conns[host]);
            }
            for value in net.read(host, conns[host]) {
                assert_eq!(value, byte(1 - host, received[host]), "at {} of host {host}", received[host]);
                received[host] += 1;
            }
        }
        let ended = |host: usize| net.events[host].contains(&Event::Closed(conns[host], CloseReason::Finished));
        received == [total; 2] && ended(0) && ended(1)
    })
}

fn transfer(seed: u64, faults: Faults, mtu: u16, v6: bool, span: Duration) -> Net {
    let mut net = Net::with(seed, faults, |config| config.mtu = mtu);
    net.listen();
    let (a, b) = net.connect(v6);
    let done = exchange(&mut net, [a, b], 1 << 20, span);
    println!("loss {} mtu {mtu} v6 {v6}: {:?} frames {:?}", faults.loss, net.now, net.frames);
    assert!(done, "not done within {span:?}");
    net
}

#[test]
fn a_mebibyte_each_way_without_faults() {
    for v6 in [false, true] {
        let mut net = transfer(1, Faults::NONE, 1500, v6, Duration::from_secs(2));
        assert_eq!(net.longest, 1514);
        net.pass(Duration::from_secs(11));
        assert_eq!([net.hosts[0].connections(), net.hosts[1].connections()], [0, 0]);
    }
}

/// RFC 1191, RFC 8201.
#[test]
fn segments_become_as_short_as_a_hop_says() {
    for (v6, mtu) in [(false, 296), (false, 576), (false, 1300), (true, 1300)] {
        let mut net = Net::new(4, Faults::NONE);
        net.listen();
        let mut download = |span| {
            let (a, b) = net.connect(v6);
            net.hop = Some(mtu);
            let (mut sent, mut received) = (0, 0);
            let done = net.run(span, |net| {
                sent += net.hosts[1].send(b, &vec![7; 300_000 - sent]);
                received += net.read(0, a).len();
                received == 300_000
            });
            assert!(done, "{received} bytes over {mtu}");
            std::mem::take(&mut net.longest)
        };
        assert_eq!(download(Duration::from_secs(5)), 1514);
        let longest = download(Duration::from_millis(200));
        assert_eq!(longest, 14 + usize::from(mtu), "the next one knows");
    }
}

#[test]
fn who_is_not_on_the_way_makes_no_segment_shorter() {
    for strange in [false, true] {
        let mut net = Net::new(4, Faults::NONE);
        net.listen();
        let (a, b) = net.connect(false);
        (net.hop, net.strange) = (Some(576), strange);
        net.hosts[1].send(b, &[7; 5000]);
        let mut received = 0;
        let done = net.run(Duration::from_secs(5), |net| {
            received += net.read(0, a).len();
            received == 5000
        });
        assert_eq!(done, !strange);
    }
}

#[test]
fn a_mebibyte_each_way_in_jumbo_frames() {
    let net = transfer(2, Faults::NONE, 9000, false, Duration::from_secs(2));
    assert_eq!(net.longest, 9014);
    assert!(net.frames[0] < 500, "{:?}", net.frames);
}

#[test]
fn a_mebibyte_each_way_over_bad_wires() {
    for (seed, loss) in [(3, 1), (4, 10), (5, 50)] {
        transfer(seed, bad(loss), 1500, seed % 2 == 0, Duration::from_secs(600));
    }
    transfer(6, bad(20), 9000, false, Duration::from_secs(600));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| transfer(seed, bad(10), 1500, false, Duration::from_secs(600)).trace;
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn a_reader_that_stops_stops_the_sender_and_no_more() {
    let mut net = Net::new(9, Faults::NONE);
    net.listen();
    let (a, b) = net.connect(false);
    let block = vec![7; 1 << 20];
    let mut sent = 0;
    net.run(Duration::from_secs(120), |net| {
        sent += net.hosts[0].send(a, &block);
        false
    });
    // The receiver's buffer and the sender's are full, but for less than one unit of the scaled window; the connection
    // lives on probes of the closed window.
    let full = net.hosts[1].recv_len(b);
    assert!(((1 << 20) - 32..=1 << 20).contains(&full), "{full}");
    assert_eq!(sent, full + (1 << 20));
    assert_eq!(net.take(0, |event| matches!(event, Event::Closed(..)).then_some(())), None);
    net.events = Default::default();
    let mut received = 0;
    let all = net.run(Duration::from_secs(90), |net| {
        received += net.read(1, b).len();
        received == sent
    });
    assert!(all, "{received}");
    assert!(net.wait(0, Duration::from_secs(1), Event::Writable(a)));
}

#[test]
fn a_hundred_connections_share_the_endpoint() {
    let mut net = Net::new(10, Faults::NONE);
    net.listen();
    let conns: Vec<_> = (0..100).map(|at| net.connect(at % 2 == 0)).collect();
    for (at, (a, _)) in conns.iter().enumerate() {
        assert_eq!(net.hosts[0].send(*a, &vec![at as u8; 5000]), 5000);
    }
    let mut received = vec![0; 100];
    let done = net.run(Duration::from_secs(5), |net| {
        for (at, (_, b)) in conns.iter().enumerate() {
            let data = net.read(1, *b);
            assert!(data.iter().all(|value| *value == at as u8));
            received[at] += data.len();
        }
        received.iter().all(|len| *len == 5000)
    });
    assert!(done, "{received:?}");
}

#[test]
fn a_budget_is_kept_and_shared() {
    let mut net = Net::new(11, Faults::NONE);
    net.listen();
    let conns = [net.connect(false), net.connect(true)];
    for (a, b) in conns {
        // Opens the congestion window, by one segment for each acknowledgement.
        assert_eq!(net.hosts[0].send(a, &vec![1; 1_000_000]), 1_000_000);
        net.pass(Duration::from_millis(100));
        assert_eq!(net.read(1, b).len(), 1_000_000);
    }
    net.pass(Duration::from_millis(100));
    for (a, _) in conns {
        net.hosts[0].send(a, &vec![1; 500_000]);
    }
    let mut of_version = [0; 2];
    for _ in 0..4 {
        let count = net.hosts[0].poll_transmit(net.now, 8, &mut |frame| {
            of_version[usize::from(frame[12] == 0x86)] += 1;
        });
        assert_eq!(count, 8);
        assert!(net.hosts[0].poll_timeout().is_some_and(|at| at <= net.now));
    }
    assert_eq!(of_version, [16, 16]);
}
