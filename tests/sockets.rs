//! The socket ports at work: frames both ways over each kind, clients as ports, and the keys that every port has.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use support::frame::{BROADCAST, CTAG, STAG, ethernet, numbered, tagged};
use support::{
    GramPeer, Namespace, PATIENCE, Peer, Process, Received, SeqPeer, Station, StreamPeer, Summary, TempDir, eventually,
    needs, require, zbridge,
};

const A: Station = Station::new(1);
const B: Station = Station::new(2);
const C: Station = Station::new(3);
const SHORT: Duration = Duration::from_millis(30);

/// Starts zbridge with these ports; DIR in them is `dir`.
fn start(dir: &TempDir, ports: &[&str]) -> Process {
    let here = dir.root().to_str().unwrap();
    zbridge!().args(ports.iter().flat_map(|port| ["-p".to_owned(), port.replace("DIR", here)])).ready()
}

/// Connects a client and waits until it has its port, which is called as its file.
fn join(zbridge: &Process, path: &Path) -> StreamPeer {
    let peer = StreamPeer::unix(path);
    zbridge.wait_for(&format!("{}#1: connected", path.file_name().unwrap().to_str().unwrap()), PATIENCE);
    peer
}

fn join_all<const N: usize>(zbridge: &Process, dir: &TempDir, names: [&str; N]) -> [StreamPeer; N] {
    names.map(|name| join(zbridge, &dir.path(name)))
}

/// What may not be changed on its way: every kind of length, tags, no padding.
fn awkward_frames(dst: [u8; 6], src: [u8; 6]) -> Vec<Vec<u8>> {
    let plain = |len: usize| numbered(dst, src, u32::try_from(len).unwrap(), len);
    let mut frames = vec![ethernet(dst, src, 0x0800, &[]), ethernet(dst, src, 0x002e, &[1]), B.arp_request(A.ip)];
    frames.extend([18, 42, 59, 60, 61, 1514, 1518, 9014, 30_000, 65_535].map(plain));
    frames.push(tagged(&plain(60), CTAG, 0xe064));
    frames.push(tagged(&plain(1514), CTAG, 0));
    frames.push(tagged(&tagged(&plain(1514), CTAG, 0x2007), STAG, 0x1fff));
    for frame in &mut frames {
        frame[..6].copy_from_slice(&dst);
        frame[6..12].copy_from_slice(&src);
    }
    frames
}

/// Sends awkward frames from station `near` on one end to `far` on the other and back; each arrives as it is, in order.
/// Returns how many went each way.
fn exchange(one: &mut impl Peer, other: &mut impl Peer, [near, far]: [Station; 2], longest: usize) -> u64 {
    let frames = |dst: Station, src: Station| {
        let frames = awkward_frames(dst.mac, src.mac).into_iter();
        frames.filter(|frame| frame.len() <= longest).collect::<Vec<_>>()
    };
    let (there, back) = (frames(far, near), frames(near, far));
    for (there, back) in there.iter().zip(&back) {
        one.send(there);
        assert_eq!(other.receive(PATIENCE), Received::Frame(there.clone()));
        other.send(back);
        assert_eq!(one.receive(PATIENCE), Received::Frame(back.clone()));
    }
    there.len() as u64
}

#[test]
fn frames_pass_as_they_are_between_all_kinds() {
    let dir = TempDir::new();
    let ports = ["unix:DIR/stream", "unixgram:DIR/gram,peer=DIR/gram.peer", "unixseq:DIR/seq"];
    let zbridge = start(&dir, &ports);
    let mut stream = join(&zbridge, &dir.path("stream"));
    let mut seq = SeqPeer::unix(dir.path("seq"));
    zbridge.wait_for("seq#1: connected", PATIENCE);
    let mut gram = GramPeer::unix(dir.path("gram.peer"), dir.path("gram"));
    let frames = exchange(&mut stream, &mut gram, [A, B], usize::MAX);
    // what flooded before both were known
    drop(seq.listen_for(SHORT));
    exchange(&mut gram, &mut seq, [B, C], usize::MAX);
    drop(stream.listen_for(SHORT));
    exchange(&mut seq, &mut stream, [C, A], usize::MAX);
    let summary = Summary::of(zbridge);
    assert_eq!(summary.port("gram").rx_frames, 2 * frames);
    assert_eq!(summary.port("gram").copies(), summary.port("gram").tx_frames, "nothing was dropped");
}

#[test]
fn frames_pass_over_ip() {
    require!(needs::netns());
    // in a namespace of their own, port numbers are free
    let namespace = Namespace::new("ip");
    let [one, near, far]: [SocketAddr; 3] =
        ["[::1]:1000", "127.0.0.1:1001", "127.0.0.1:1002"].map(|address| address.parse().unwrap());
    let dialled = namespace.inside(|| StreamPeer::listen_tcp("127.0.0.1:1003".parse().unwrap()));
    let ports = ["tcp:[::1]:1000,listen,name=tcp", "udp:127.0.0.1:1001->127.0.0.1:1002,name=udp"];
    let zbridge = zbridge!("-p", ports[0], "-p", ports[1], "-p", "tcp:127.0.0.1:1003,name=dial");
    let zbridge = zbridge.inside(&namespace).ready();
    let mut dialled = dialled.accept();
    zbridge.wait_for("dial: connected to", PATIENCE);
    let (mut tcp, mut udp) = namespace.inside(|| (StreamPeer::tcp(one), GramPeer::udp(far, near)));
    zbridge.wait_for("tcp#1: connected", PATIENCE);
    // the longest UDP datagram has 65,507 octets
    exchange(&mut tcp, &mut udp, [A, B], 65_507);
    drop(dialled.listen_for(SHORT));
    exchange(&mut udp, &mut dialled, [B, C], 65_507);
    dialled.send(&numbered(B.mac, C.mac, 1, 65_508));
    dialled.send(&numbered(A.mac, C.mac, 2, 65_535));
    tcp.expect(&numbered(A.mac, C.mac, 2, 65_535));
    let summary = Summary::of(zbridge);
    assert_eq!(summary.port("udp").dropped_as("too-big"), 1, "a datagram has no room for it: {summary:#?}");
}

#[test]
fn a_free_tcp_port_is_shown_and_reached() {
    let zbridge = zbridge!("-p", "tcp:127.0.0.1:0,listen,name=t").ready();
    let mut one = StreamPeer::tcp(zbridge.tcp_address());
    let mut two = StreamPeer::tcp(zbridge.tcp_address());
    zbridge.wait_for("t#2: connected", PATIENCE);
    exchange(&mut one, &mut two, [A, B], usize::MAX);
}

/// Two zbridges, one dialling the other: one network.
#[test]
fn a_trunk_joins_two_processes() {
    let dir = TempDir::new();
    let left =
        start(&dir, &["unix:DIR/a", "unix:DIR/trunk", "unixseq:DIR/seq,switch=other", "unix:DIR/c,switch=other"]);
    let right = start(&dir, &["unix:DIR/b", "unix:DIR/trunk,connect", "unixseq:DIR/seq,connect,switch=other"]);
    left.wait_for("trunk#1: connected", PATIENCE);
    let [mut a, mut c] = join_all(&left, &dir, ["a", "c"]);
    let mut b = join(&right, &dir.path("b"));
    let frames = exchange(&mut a, &mut b, [A, B], usize::MAX);
    // no host is on the other switch of the right process: what comes there goes nowhere
    c.send(&numbered(BROADCAST, C.mac, 0, 60));
    eventually("it is dropped", || (right.dropped_as("seq", "no-egress") == 1).then_some(()));
    b.expect_none(SHORT, |_| true);
    let (left, right) = (Summary::of(left), Summary::of(right));
    left.check_pair("a", "trunk");
    right.check_pair("b", "trunk");
    assert_eq!((left.all_of("trunk").tx_frames, right.port("trunk").tx_frames), (frames, frames));
    assert_eq!(right.port("seq").dropped_as("no-egress"), 1);
}

#[test]
fn each_client_is_a_port_of_its_own() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/inst1"]);
    let line = |nth, name: &str| zbridge.wait_for_nth(&format!("{name}: connected, pid"), nth, PATIENCE);
    let mut one = StreamPeer::unix(dir.path("inst1"));
    assert!(line(1, "inst1#1").contains(&format!("pid {}", std::process::id())), "the client's process is named");
    let mut two = StreamPeer::unix(dir.path("inst1"));
    line(1, "inst1#2");
    let mut three = StreamPeer::unix(dir.path("inst1"));
    line(1, "inst1#3");
    one.send(&A.arp_request(B.ip));
    two.expect(&A.arp_request(B.ip));
    three.expect(&A.arp_request(B.ip));
    two.send(&B.arp_reply(A));
    one.expect(&B.arp_reply(A));
    three.expect_none(SHORT, |_| true);

    drop(two);
    zbridge.wait_for("inst1#2: its peer closed the connection", PATIENCE);
    let mut again = StreamPeer::unix(dir.path("inst1"));
    line(2, "inst1#2");
    // the station that was on the old client is forgotten with it: frames for it flood
    one.send(&numbered(B.mac, A.mac, 9, 60));
    again.expect(&numbered(B.mac, A.mac, 9, 60));
    three.expect(&numbered(B.mac, A.mac, 9, 60));
    let summary = Summary::of(zbridge);
    assert_eq!(summary.port("inst1#2").tx_frames, 1);
    assert_eq!(summary.all_of("inst1").tx_frames, 2 + 1 + 2, "with the one that left");
}

#[test]
fn isolated_ports_do_not_see_each_other() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/a,isolate", "unix:DIR/b,isolate", "unix:DIR/up"]);
    let [mut a, mut b, mut up] = join_all(&zbridge, &dir, ["a", "b", "up"]);
    for (peer, number) in [(&mut a, 1_u8), (&mut b, 2)] {
        peer.send(&numbered(BROADCAST, Station::new(number).mac, number.into(), 60));
        up.expect(&numbered(BROADCAST, Station::new(number).mac, number.into(), 60));
    }
    a.send(&numbered(B.mac, A.mac, 3, 60));
    up.send(&numbered(BROADCAST, C.mac, 4, 60));
    for peer in [&mut a, &mut b] {
        assert_eq!(peer.receive(PATIENCE), Received::Frame(numbered(BROADCAST, C.mac, 4, 60)), "nothing before it");
    }
    assert_eq!(Summary::of(zbridge).all_of("a").dropped_as("isolated"), 1);
}

#[test]
fn static_stations_stay_and_unlearned_ones_flood() {
    let dir = TempDir::new();
    let fixed = format!("unix:DIR/fixed,static={}", "02:00:00:00:00:01");
    let zbridge = start(&dir, &[&fixed, "unix:DIR/quiet,learn=off", "unix:DIR/other"]);
    let [mut fixed, mut quiet, mut other] = join_all(&zbridge, &dir, ["fixed", "quiet", "other"]);
    // A is on `fixed` though it has never been heard there, and though somebody elsewhere says to be A
    other.send(&numbered(BROADCAST, A.mac, 1, 60));
    quiet.send(&numbered(A.mac, B.mac, 2, 60));
    fixed.expect(&numbered(A.mac, B.mac, 2, 60));
    // B was heard on `quiet`, which learns nothing: frames for it go everywhere
    fixed.send(&numbered(B.mac, A.mac, 3, 60));
    assert_eq!(other.receive(PATIENCE), Received::Frame(numbered(B.mac, A.mac, 3, 60)), "2 went to `fixed` alone");
    quiet.expect(&numbered(B.mac, A.mac, 3, 60));
}

#[test]
fn an_mtu_holds_both_ways_and_tags_come_on_top() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/small,mtu=1500", "unix:DIR/large"]);
    let [mut small, mut large] = join_all(&zbridge, &dir, ["small", "large"]);
    let frame = |number, len| numbered(BROADCAST, A.mac, number, len);
    let passing =
        [frame(1, 1514), tagged(&frame(2, 1514), CTAG, 1), tagged(&tagged(&frame(3, 1514), CTAG, 1), STAG, 2)];
    for frame in &passing {
        small.send(frame);
        assert_eq!(large.receive(PATIENCE), Received::Frame(frame.clone()));
        large.send(frame);
        assert_eq!(small.receive(PATIENCE), Received::Frame(frame.clone()));
    }
    for peer in [&mut small, &mut large] {
        for frame in [frame(4, 1515), tagged(&frame(5, 1515), CTAG, 1), frame(6, 1514)] {
            peer.send(&frame);
        }
    }
    for peer in [&mut small, &mut large] {
        assert_eq!(peer.receive(PATIENCE), Received::Frame(frame(6, 1514)), "those that are too long do not come");
    }
    let summary = Summary::of(zbridge);
    summary.check_pair("small", "large");
    let small = summary.all_of("small");
    assert_eq!((small.dropped_as("oversize"), small.dropped_as("too-big")), (2, 2));
}

#[test]
fn what_a_bridge_never_relays_or_learns() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/a", "unix:DIR/b", "unix:DIR/c"]);
    let [mut a, mut b, mut c] = join_all(&zbridge, &dir, ["a", "b", "c"]);
    for last in 0..=0x10 {
        a.send(&numbered([1, 0x80, 0xc2, 0, 0, last], A.mac, last.into(), 60));
    }
    let relayed = numbered([1, 0x80, 0xc2, 0, 0, 0x10], A.mac, 0x10, 60);
    assert_eq!(b.receive(PATIENCE), Received::Frame(relayed.clone()), "the first of them all to be relayed");
    c.expect(&relayed);
    // a group address as source is not learned: frames for it still go everywhere
    let group = [3, 0, 0, 0, 0, 7];
    a.send(&numbered(B.mac, group, 1, 60));
    b.send(&numbered(group, B.mac, 2, 60));
    a.expect(&numbered(group, B.mac, 2, 60));
    c.expect(&numbered(group, B.mac, 2, 60));
    // a station is where it was heard last
    c.send(&numbered(BROADCAST, A.mac, 3, 60));
    b.expect(&numbered(BROADCAST, A.mac, 3, 60));
    a.expect(&numbered(BROADCAST, A.mac, 3, 60));
    b.send(&numbered(A.mac, B.mac, 4, 60));
    c.expect(&numbered(A.mac, B.mac, 4, 60));
    // and what is for its own segment stays there
    c.send(&numbered(A.mac, C.mac, 5, 60));
    eventually("it is dropped", || (zbridge.dropped_as("c", "same-segment") == 1).then_some(()));
    a.expect_none(SHORT, |_| true);
    let summary = Summary::of(zbridge);
    assert_eq!(summary.all_of("a").dropped_as("reserved-group"), 16);
    assert_eq!(summary.all_of("c").dropped_as("same-segment"), 1);
}

#[test]
fn an_address_in_two_places_is_told_of_once() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/inst1", "unix:DIR/inst2"]);
    let [mut one, mut two] = join_all(&zbridge, &dir, ["inst1", "inst2"]);
    let zephyr = [0x02, 0x00, 0x5e, 0x00, 0x53, 0x3b];
    for round in 0..50 {
        let frame = numbered(BROADCAST, zephyr, round, 60);
        one.send(&frame);
        two.expect(&frame);
        two.send(&frame);
        one.expect(&frame);
    }
    let warning = zbridge.wait_for("02:00:5e:00:53:3b is heard on", PATIENCE);
    assert!(warning.contains("inst1") && warning.contains("inst2") && warning.contains("--seed="), "{warning}");
    assert_eq!(zbridge.stderr().matches("is heard on").count(), 1);
    Summary::of(zbridge).check_pair("inst1", "inst2");
}

/// Neither a static station nor another port's is lost to a port that makes addresses up.
#[test]
fn made_up_addresses_displace_nobody() {
    let dir = TempDir::new();
    let ports = ["unix:DIR/evil", "unix:DIR/fixed,static=02:00:00:00:00:09", "unix:DIR/honest"];
    let here = dir.root().to_str().unwrap();
    let ports = ports.iter().flat_map(|port| ["-p".to_owned(), port.replace("DIR", here)]);
    let zbridge = zbridge!("-s", "default,fdb-limit=256").args(ports).ready();
    let [mut evil, mut fixed, mut honest] = join_all(&zbridge, &dir, ["evil", "fixed", "honest"]);
    honest.send(&numbered(BROADCAST, A.mac, 0, 60));
    for number in 0..2000_u32 {
        let [.., high, low] = number.to_be_bytes();
        evil.send(&numbered([2, 0, 0, 0, 0, 9], [2, 1, 0, 0, high, low], number, 60));
        fixed.expect(&numbered([2, 0, 0, 0, 0, 9], [2, 1, 0, 0, high, low], number, 60));
    }
    fixed.send(&numbered(A.mac, B.mac, 1, 60));
    honest.expect(&numbered(A.mac, B.mac, 1, 60));
    evil.expect(&numbered(BROADCAST, A.mac, 0, 60));
    evil.expect_none(SHORT, |_| true);
    zbridge.wait_for("evil#1: it has used up its share of the forwarding database", PATIENCE);
    assert_eq!(zbridge.stderr().matches("used up").count(), 1);
}

#[test]
fn what_takes_a_right_or_is_not_there_says_what_to_do() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let refused = |spec: &str| zbridge!("--port", spec).env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run();
    let exit = refused("tcp:127.0.0.1:80,listen");
    let says = "cannot listen on tcp 127.0.0.1:80: Permission denied";
    assert!(exit.stderr.contains(says) && exit.stderr.contains("hint: a port below 1024 takes a right"), "{exit:?}");
    assert_eq!(exit.code(), 5);
    let exit = refused(&format!("slip:serial:{}", dir.text("ttyUSB0")));
    assert!(exit.stderr.contains("hint: with the key optional the port waits until it is plugged in"), "{exit:?}");
}
