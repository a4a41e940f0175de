//! Peers that break off, talk nonsense or never stop, and a process that runs out of descriptors.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::frame::{BROADCAST, numbered};
use support::{
    GramPeer, PATIENCE, Peer, Process, Received, SeqPeer, Station, StreamPeer, Summary, TempDir, eventually, needs,
    zbridge,
};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// Starts zbridge with these ports; DIR in them is `dir`.
fn start(dir: &TempDir, ports: &[&str]) -> Process {
    let here = dir.root().to_str().unwrap();
    // A process of another user's has its limits changed by no one but who may do all that root may.
    let stays: &[&str] = if needs::root().is_ok() { &["--user", "root"] } else { &[] };
    zbridge!()
        .args(stays.iter().copied())
        .args(ports.iter().flat_map(|port| ["-p".to_owned(), port.replace("DIR", here)]))
        .ready()
}

/// Connects a client and waits until it has its port, which is called as its file.
fn join(zbridge: &Process, path: &Path) -> StreamPeer {
    let peer = StreamPeer::unix(path);
    zbridge.wait_for(&format!("{}#1: connected", path.file_name().unwrap().to_str().unwrap()), PATIENCE);
    peer
}

/// A frame that was begun dies with its connection, wherever it was cut: the next connection starts clean.
#[test]
fn death_in_the_middle_of_a_frame() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/s", "tcp:127.0.0.1:0,listen,name=t", "unix:DIR/witness"]);
    let tcp = zbridge.tcp_address();
    let mut witness = join(&zbridge, &dir.path("witness"));
    let whole = numbered(BROADCAST, A.mac, u32::MAX, 60);
    let message = [&60_u32.to_be_bytes()[..], &whole].concat();
    let mut number = 0;
    for cut in 1..message.len() {
        for connect in [|dir: &TempDir, _| StreamPeer::unix(dir.path("s")), |_: &TempDir, tcp| StreamPeer::tcp(tcp)] {
            let mut dying = connect(&dir, tcp);
            dying.send_raw(&message[..cut]).unwrap();
            drop(dying);
            let mut next = connect(&dir, tcp);
            number += 1;
            let frame = numbered(BROADCAST, A.mac, number, 60);
            next.send(&frame);
            assert_eq!(witness.receive(PATIENCE), Received::Frame(frame), "after a cut behind octet {cut}");
        }
    }
    zbridge.wait_for("its peer closed the connection in the middle of a frame", PATIENCE);
    zbridge.wait_for_nth("its peer closed the connection", 2 * number as usize, PATIENCE);
    let summary = Summary::of(zbridge);
    assert_eq!(summary.all_of("witness").tx_frames, number.into());
    assert_eq!(summary.all_of("s").rx_frames + summary.all_of("t").rx_frames, number.into());
}

/// What cannot be a length ends the connection, with the reason; what was whole before it arrives.
#[test]
fn lengths_that_cannot_be() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/s", "tcp:127.0.0.1:0,listen,name=t", "unix:DIR/witness"]);
    let tcp = zbridge.tcp_address();
    let mut witness = join(&zbridge, &dir.path("witness"));
    let good = numbered(BROADCAST, A.mac, 1, 60);
    for length in [0x10_0001_u32, 0x4745_5420, u32::MAX] {
        for (name, mut peer) in [("s", StreamPeer::unix(dir.path("s"))), ("t", StreamPeer::tcp(tcp))] {
            let message = [&60_u32.to_be_bytes()[..], &good, &length.to_be_bytes(), &[0xee; 40]].concat();
            peer.send_raw(&message).unwrap();
            assert_eq!(witness.receive(PATIENCE), Received::Frame(good.clone()));
            peer.expect_closed();
            zbridge
                .wait_for(&format!("{name}#1: it announced a frame of {length} bytes (14 to 65535 can be)"), PATIENCE);
        }
    }
    let mut next = StreamPeer::unix(dir.path("s"));
    let frame = numbered(BROADCAST, A.mac, 2, 65_535);
    next.send(&frame);
    assert_eq!(witness.receive(PATIENCE), Received::Frame(frame));
    Summary::of(zbridge);
}

/// What is shorter than an Ethernet header, or longer than a frame, is dropped and counted, and the link lives on: who
/// writes a driver sends such frames. An empty packet is one too, and not the end.
#[test]
fn frames_that_are_too_short_or_too_long() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/s", "tcp:127.0.0.1:0,listen,name=t", "unixseq:DIR/q", "unix:DIR/witness"]);
    let tcp = zbridge.tcp_address();
    let mut witness = join(&zbridge, &dir.path("witness"));
    let (mut unix, mut tcp, mut seq) =
        (StreamPeer::unix(dir.path("s")), StreamPeer::tcp(tcp), SeqPeer::unix(dir.path("q")));
    let mut number = 0;
    for length in [0, 1, 6, 13, 65_536, 69_632, 1 << 20] {
        for peer in [&mut unix, &mut tcp] {
            number += 1;
            let good = numbered(BROADCAST, A.mac, number, 60);
            let odd = [&(length as u32).to_be_bytes()[..], &vec![0xee; length]].concat();
            // in two writes, so that it comes in pieces; the first may be all there is of it
            let (head, tail) = odd.split_at(odd.len().min(3));
            peer.send_raw(head).unwrap();
            peer.send_raw(&[tail, &60_u32.to_be_bytes(), &good].concat()).unwrap();
            witness.expect(&good);
        }
    }
    for length in [0, 1, 13] {
        number += 1;
        seq.send(&vec![0xee; length]);
        seq.send(&numbered(BROADCAST, A.mac, number, 60));
        witness.expect(&numbered(BROADCAST, A.mac, number, 60));
    }
    let summary = Summary::of(zbridge);
    for (name, frames, short, long) in [("s", 14, 4, 3), ("t", 14, 4, 3), ("q", 6, 3, 0)] {
        let port = summary.all_of(name);
        let counted = (port.rx_frames, port.dropped_as("malformed"), port.dropped_as("oversize"));
        assert_eq!(counted, (frames, short, long), "{name}");
    }
}

/// Where packets keep frames apart, a wrong one is counted and the next one is a frame again.
#[test]
fn packets_that_are_no_frames() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unixgram:DIR/g", "unixseq:DIR/q", "unix:DIR/witness"]);
    let mut witness = join(&zbridge, &dir.path("witness"));
    let mut gram = GramPeer::unix(dir.path("g.peer"), dir.path("g"));
    let mut seq = SeqPeer::unix(dir.path("q"));
    for length in [1, 6, 13, 65_536] {
        gram.send(&vec![0xee; length]);
        seq.send(&vec![0xee; length]);
    }
    gram.send(&numbered(BROADCAST, A.mac, 1, 60));
    assert_eq!(witness.receive(PATIENCE), Received::Frame(numbered(BROADCAST, A.mac, 1, 60)));
    seq.send(&numbered(BROADCAST, A.mac, 2, 60));
    assert_eq!(witness.receive(PATIENCE), Received::Frame(numbered(BROADCAST, A.mac, 2, 60)));
    // an empty datagram is a datagram; an empty packet is the end
    gram.send(&[]);
    gram.send(&numbered(BROADCAST, A.mac, 3, 60));
    assert_eq!(witness.receive(PATIENCE), Received::Frame(numbered(BROADCAST, A.mac, 3, 60)));
    drop(seq);
    zbridge.wait_for("q#1: its peer closed the connection", PATIENCE);
    let summary = Summary::of(zbridge);
    let gram = summary.port("g");
    assert_eq!((gram.dropped_as("malformed"), gram.dropped_as("oversize"), gram.rx_frames), (4, 1, 7));
    let seq = summary.all_of("q");
    assert_eq!((seq.dropped_as("malformed"), seq.dropped_as("oversize"), seq.rx_frames), (3, 1, 5));
}

/// The numbers of a process's open descriptors, in ascending order.
fn open_descriptors(process: &Process) -> Vec<u64> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
    let mut numbers: Vec<u64> =
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// The limit with which clients may have so many descriptors: they leave an eighth to others, from 16 to 256.
fn limit_for(clients: u64) -> u64 {
    (clients + 16..).find(|limit| limit - (limit / 8).clamp(16, 256) >= clients).unwrap()
}

/// With no descriptor left, clients wait at the door; the switch neither ends nor spins, and lets them in later.
#[test]
fn no_descriptors_left() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/s"]);
    let mut peers = vec![join(&zbridge, &dir.path("s"))];
    let mut client = || {
        peers.push(StreamPeer::unix(dir.path("s")));
        zbridge.wait_for(&format!("s#{}: connected", peers.len()), PATIENCE);
    };
    client();
    // the limit is on numbers: there may be no unused one below it
    let open = loop {
        let open = open_descriptors(&zbridge);
        match open.last() {
            Some(&last) if last + 1 == open.len() as u64 => break last + 1,
            _ => client(),
        }
    };
    let two = peers.pop().unwrap();
    let gone = format!("s#{}: ", peers.len() + 1);
    let pid = Pid::from_raw(zbridge.pid().try_into().unwrap());
    let limit = |maximum| {
        let limit = Rlimit { current: Some(maximum), maximum: Some(1024) };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    // those that clients leave to others come on top
    limit(limit_for(open));
    let mut three = StreamPeer::unix(dir.path("s"));
    zbridge.wait_for("s: cannot accept a client: Too many open files", PATIENCE);
    let before = zbridge.cpu_ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(zbridge.cpu_ticks() - before <= 10, "it waits and does not spin");
    assert!(zbridge.status().contains("s#2"), "there are some for those who ask");
    // the others do not notice
    let (mut one, mut two) = (peers.remove(0), two);
    one.send(&A.arp_request(B.ip));
    two.expect(&A.arp_request(B.ip));
    drop(two);
    zbridge.wait_for(&format!("{gone}its peer closed the connection"), PATIENCE);
    zbridge.wait_for_nth(&format!("{gone}connected"), 2, PATIENCE);
    one.send(&numbered(BROADCAST, A.mac, 1, 60));
    three.expect(&numbered(BROADCAST, A.mac, 1, 60));

    // and once more, with the limit lifted instead
    let _four = StreamPeer::unix(dir.path("s"));
    assert_eq!(open_descriptors(&zbridge).len() as u64, open, "there is none for it");
    limit(1024);
    zbridge.wait_for(&format!("s#{}: connected", peers.len() + 3), PATIENCE);
    Summary::of(zbridge);
}

#[test]
fn two_hundred_ports() {
    const PORTS: u32 = 200;
    let dir = TempDir::new();
    let own: Vec<String> = (0..PORTS / 2).map(|number| format!("unix:DIR/p{number}")).collect();
    let mut ports: Vec<&str> = own.iter().map(String::as_str).collect();
    ports.push("unix:DIR/all");
    let zbridge = start(&dir, &ports);
    let mut peers = Vec::new();
    for number in 0..PORTS / 2 {
        peers.push(StreamPeer::unix(dir.path(&format!("p{number}"))));
        peers.push(StreamPeer::unix(dir.path("all")));
    }
    zbridge.wait_for_nth(": connected, pid", PORTS as usize, PATIENCE);
    assert!(zbridge.stderr().contains("all#100: connected"));
    for (number, station) in (0..PORTS).step_by(20).zip(10..) {
        let frame = numbered(BROADCAST, Station::new(station).mac, number, 1514);
        peers[number as usize].send(&frame);
        for (other, peer) in peers.iter_mut().enumerate() {
            if other != number as usize {
                assert_eq!(peer.receive(PATIENCE), Received::Frame(frame.clone()), "port {other}");
            }
        }
    }
    // each of them is found again
    for (number, station) in (0..PORTS).step_by(20).zip(10..) {
        let frame = numbered(Station::new(station).mac, A.mac, 1000 + number, 60);
        peers[1].send(&frame);
        assert_eq!(peers[number as usize].receive(PATIENCE), Received::Frame(frame));
    }
    drop(peers);
    zbridge.wait_for_nth("its peer closed the connection", PORTS as usize, PATIENCE);
    let summary = Summary::of(zbridge);
    let sent: u64 = (0..PORTS / 2).map(|number| summary.all_of(&format!("p{number}")).tx_frames).sum();
    assert_eq!(sent + summary.all_of("all").tx_frames, 10 * u64::from(PORTS - 1) + 10);
}

/// Ends a test's threads, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One port sends as fast as it can; two others talk beside it, and none of their frames is lost or late.
#[test]
fn a_flooding_port_starves_nobody() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/flood", "unix:DIR/sink", "unix:DIR/a", "unix:DIR/b"]);
    let [mut flood, mut sink, mut a, mut b] = ["flood", "sink", "a", "b"].map(|name| join(&zbridge, &dir.path(name)));
    let target = Station::new(9);
    sink.send(&numbered(BROADCAST, target.mac, 0, 60));
    for peer in [&mut flood, &mut a, &mut b] {
        peer.expect(&numbered(BROADCAST, target.mac, 0, 60));
    }
    let (stop, sunk) = (AtomicBool::new(false), AtomicU64::new(0));
    let message = [&60_u32.to_be_bytes()[..], &numbered(target.mac, Station::new(8).mac, 0, 60)].concat().repeat(64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // a full socket is no failure here
            while !stop.load(Ordering::Relaxed) && flood.send_raw(&message).is_ok() {
                std::hint::spin_loop();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if let Received::Frame(_) = sink.receive(Duration::from_millis(100)) {
                    sunk.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let _stop = Stop(&stop);
        let mut slowest = Duration::ZERO;
        for round in 0..300 {
            eventually("the flood", || (sunk.load(Ordering::Relaxed) > u64::from(round) * 10).then_some(()));
            let begun = Instant::now();
            a.send(&numbered(B.mac, A.mac, round, 60));
            b.expect(&numbered(B.mac, A.mac, round, 60));
            b.send(&numbered(A.mac, B.mac, round, 60));
            a.expect(&numbered(A.mac, B.mac, round, 60));
            slowest = slowest.max(begun.elapsed());
        }
        println!("{} frames flooded, the slowest of 300 round trips {slowest:?}", sunk.load(Ordering::Relaxed));
    });
    let summary = Summary::of(zbridge);
    assert_eq!((summary.all_of("a").dropped, summary.all_of("b").dropped), (0, 0));
    // the flood was unicast: each of its frames made one copy; and A's first frame went everywhere
    assert_eq!(summary.all_of("sink").copies(), summary.all_of("flood").forwarded() + 1);
}

/// Whoever listens waits as patiently, says so once, and lets in who waits when there are descriptors again: also those
/// who serve one client at a time.
#[test]
fn no_descriptors_left_for_any_listener() {
    let dir = TempDir::new();
    let ports = ["unix:DIR/s", "slip:unix:DIR/line", "usbip:192.0.2.1/24,device=cdc-acm+unix=DIR/acm,name=usb"];
    let zbridge = start(&dir, &ports);
    let pid = Pid::from_raw(zbridge.pid().try_into().unwrap());
    let limit = |current| {
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(current), maximum: Some(1024) }).unwrap();
    };
    let open = open_descriptors(&zbridge);
    let first_free = (0..).find(|number| !open.contains(number)).unwrap();
    limit(first_free);
    let mut waiting: Vec<_> = ["line", "acm"].map(|name| StreamPeer::unix(dir.path(name))).into();
    waiting.extend((0..20).map(|_| StreamPeer::unix(dir.path("s"))));
    zbridge.wait_for_nth("cannot accept a client: Too many open files", 3, PATIENCE);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(zbridge.stderr().matches("cannot accept a client").count(), 3, "each says it once");
    assert_eq!(open_descriptors(&zbridge), open);
    limit(1024);
    let all = open.len() + waiting.len();
    eventually("all are let in", || (open_descriptors(&zbridge).len() == all).then_some(()));
    drop(waiting);
    Summary::of(zbridge);
}
