//! Packet ports through the program: veths to hosts of their own, and TAPs that a simulator opened itself.

use std::time::Duration;
use support::frame::{BROADCAST, CTAG, STAG, numbered, tagged};
use support::standin::{Build, tap_program};
use support::{
    Exit, Launch, Namespace, PATIENCE, Peer, Process, Station, StreamPeer, Summary, TapPeer, TempDir, eventually,
    needs, require, zbridge,
};

const PEER: Station = Station::new(7);

/// A switch in a namespace, with a veth to each of `hosts`: `h1`, `h2` … there, `eth0` with 192.0.2.N, 2001:db8::N in
/// the host's.
fn wire(middle: &Namespace, hosts: &[&Namespace]) {
    for (host, number) in hosts.iter().zip(1..) {
        middle.veth(&format!("h{number}"), host, "eth0");
        host.ip(&format!("addr add 192.0.2.{number}/24 dev eth0"));
        host.ip(&format!("addr add 2001:db8::{number}/64 dev eth0"));
    }
}

/// Connects a client to the port `name` and waits until it has it.
fn join(zbridge: &Process, dir: &TempDir, name: &str) -> StreamPeer {
    let peer = StreamPeer::unix(dir.path(name));
    zbridge.wait_for(&format!("{name}#1: connected"), PATIENCE);
    peer
}

fn refused(exit: &Exit, code: i32, says: &str) {
    assert_eq!(exit.code(), code, "{exit:?}");
    assert!(exit.stderr.contains(says), "{says:?} is not in {}", exit.stderr);
}

/// Two hosts with all the offloads of a veth: their super-frames and unfinished checksums arrive as what they are.
#[test]
fn hosts_reach_each_other() {
    require!(needs::netns(), needs::tool("ping", "iputils-ping"), needs::tool("iperf3", "iperf3"));
    let (middle, left, right) = (Namespace::new("middle"), Namespace::new("left"), Namespace::new("right"));
    wire(&middle, &[&left, &right]);
    let zbridge = zbridge!("-p", "packet:h1", "-p", "packet:h2").inside(&middle).ready();
    assert!(left.pings("192.0.2.2") && right.pings("192.0.2.1"));
    assert!(left.pings("2001:db8::2") && right.pings("2001:db8::1"));
    left.transfers_with(&right);
    let summary = Summary::of(zbridge);
    summary.check_pair("h1", "h2");
    let h1 = summary.port("h1");
    assert!(h1.rx_bytes / h1.rx_frames > 1514, "super-frames passed whole: {h1:#?}");
}

/// TCP inside of VXLAN, with and without a checksum outside: a veth hands over super-frames whose headers to be cut lie
/// in the tunnel.
#[test]
fn tcp_passes_in_a_tunnel() {
    require!(needs::netns(), needs::tool("iperf3", "iperf3"));
    let (middle, left, right) = (Namespace::new("middle"), Namespace::new("left"), Namespace::new("right"));
    wire(&middle, &[&left, &right]);
    let ends = [(&left, 1, 2), (&right, 2, 1)];
    for (id, sums) in [(5, "noudpcsum"), (6, "udpcsum")] {
        for (host, here, there) in ends {
            let addresses = format!("local 192.0.2.{here} remote 192.0.2.{there}");
            host.ip(&format!("link add vx{id} type vxlan id {id} {addresses} dstport 4789 dev eth0 {sums}"));
            host.ip(&format!("addr add 198.51.10{id}.{here}/24 dev vx{id}"));
            host.ip(&format!("link set vx{id} up mtu 1450"));
        }
    }
    let zbridge = zbridge!("-p", "packet:h1", "-p", "packet:h2").inside(&middle).ready();
    for id in [5, 6] {
        right.check(&format!("iperf3 -s -D --one-off -B 198.51.10{id}.2"));
        eventually("4 MB in the tunnel", || {
            (left.run(&format!("timeout 20 iperf3 -n 4M -c 198.51.10{id}.2")).rc == 0).then_some(())
        });
    }
    let summary = Summary::of(zbridge);
    assert_eq!(summary.port("h1").dropped + summary.port("h2").dropped, 0, "{summary:#?}");
}

/// What goes in at one end comes out at the other as it is, with its tags in place, and never comes back.
#[test]
fn tags_stay_in_place_and_own_frames_are_not_seen_again() {
    require!(needs::netns());
    let (host, dir) = (Namespace::new("tags"), TempDir::new());
    host.ip("link add left type veth peer name right");
    host.ip("link set left up; ip link set right up");
    let launch = |interface: &str| {
        let ports = [format!("packet:{interface}"), format!("unix:{}", dir.text(&format!("{interface}.s")))];
        zbridge!("-p", &ports[0], "-p", &ports[1]).inside(&host).ready()
    };
    let (near, far) = (launch("left"), launch("right"));
    let (mut one, mut two) = (join(&near, &dir, "left.s"), join(&far, &dir, "right.s"));
    let plain = |number| numbered(BROADCAST, PEER.mac, number, [18, 42, 60, 1500][number as usize % 4]);
    let mut frames: Vec<Vec<u8>> = (0..4).map(plain).collect();
    frames.extend((4..8).map(|number| tagged(&plain(number), CTAG, 0xa064)));
    frames.extend((8..12).map(|number| tagged(&plain(number), STAG, 0x00c8)));
    frames.extend((12..16).map(|number| tagged(&tagged(&plain(number), CTAG, 30), STAG, 200)));
    for frame in &frames {
        one.send(frame);
        two.expect(frame);
    }
    one.expect_none(Duration::from_millis(50), |frame| frame[6..12] == PEER.mac);
    two.expect_none(Duration::from_millis(50), |frame| frame[6..12] == PEER.mac);
    let (near, far) = (Summary::of(near), Summary::of(far));
    near.check_pair("left", "left.s");
    far.check_pair("right", "right.s");
    assert!(near.port("left").tx_frames >= frames.len() as u64);
}

/// A simulator holds its TAP; the switch takes part beside it.
#[test]
fn a_tap_that_a_simulator_opened_is_joined() {
    require!(needs::netns(), needs::tun());
    let (host, dir) = (Namespace::new("zeth"), TempDir::new());
    let mut simulator = TapPeer::open(&host, "zeth");
    let zbridge = zbridge!("-p", "packet:zeth", "-p", format!("unix:{}", dir.text("inst1"))).inside(&host).ready();
    let mut inst1 = join(&zbridge, &dir, "inst1");
    let zephyr = Station::new(1);
    inst1.send(&PEER.arp_request(zephyr.ip));
    let request = simulator.receive_where(|frame| zephyr.answer(frame).is_some());
    assert_eq!(request.len(), 42, "unpadded");
    simulator.send(&zephyr.answer(&request).unwrap());
    inst1.expect(&zephyr.arp_reply(PEER));
    Summary::of(zbridge).check_pair("zeth", "inst1");
}

/// It is down each time that it comes, and nobody is there to set it up.
#[test]
fn a_tap_that_a_simulator_makes_at_each_start_is_waited_for() {
    require!(needs::netns(), needs::tun());
    let (host, dir) = (Namespace::new("zeth"), TempDir::new());
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let absent = zbridge!("-p", "packet:zeth").inside(&host).run();
    refused(&absent, 4, "one that a program makes when it starts is waited for: packet:zeth,optional,up");
    let ports = ["-p", "packet:zeth,optional,up", "-p", &format!("unix:{}", dir.text("inst1"))];
    let zbridge = zbridge!().args(ports).inside(&host).ready();
    assert!(zbridge.stdout().contains("zeth   packet  waiting"), "{}", zbridge.stdout());
    let mut inst1 = join(&zbridge, &dir, "inst1");
    for start in 1..=3 {
        let simulator = Launch::new(&program).inside(&host).ready();
        zbridge.wait_for_nth("zeth: open again", start, PATIENCE);
        inst1.send(&PEER.arp_request(Station::new(1).ip));
        inst1.receive_where(|frame| frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 2]));
        simulator.sigterm();
        simulator.wait();
        zbridge.wait_for_nth("zeth: the interface was deleted", start, PATIENCE);
    }
}

#[test]
fn an_interface_that_is_down_comes_back_and_a_deleted_one_is_waited_for() {
    require!(needs::netns(), needs::tool("ping", "iputils-ping"));
    let (middle, left, dir) = (Namespace::new("middle"), Namespace::new("left"), TempDir::new());
    let right = Namespace::new("right");
    wire(&middle, &[&left, &right]);
    let inst1 = format!("unix:{}", dir.text("inst1"));
    let zbridge = zbridge!("-p", "packet:h1", "-p", "packet:h2", "-p", inst1).inside(&middle).ready();
    let mut inst1 = join(&zbridge, &dir, "inst1");
    let reaches = |what: &str| eventually(what, || left.pings("192.0.2.2").then_some(()));
    reaches("the first ping");
    middle.ip("link set h1 down");
    let before = zbridge.dropped_as("h1", "link-down");
    for number in 0..20 {
        inst1.send(&numbered(BROADCAST, PEER.mac, number, 60));
    }
    eventually("all are dropped", || (zbridge.dropped_as("h1", "link-down") >= before + 20).then_some(()));
    middle.ip("link set h1 up");
    reaches("after it was down");
    middle.ip("link del h1");
    zbridge.wait_for("h1: ", PATIENCE);
    zbridge.wait_for("trying again until it is there", PATIENCE);
    middle.veth("h1", &left, "eth0");
    left.ip("addr add 192.0.2.1/24 dev eth0");
    zbridge.wait_for("h1: open again", PATIENCE);
    reaches("after it was deleted");
    let h1 = Summary::of(zbridge).port("h1").clone();
    assert!(h1.dropped_as("link-down") >= 20, "{h1:#?}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    require!(needs::netns(), needs::tool("setpriv", "util-linux"));
    let (host, dir) = (Namespace::new("none"), TempDir::new());
    refused(&zbridge!("-p", "packet:absent0").inside(&host).run(), 4, "absent0: ");
    host.ip("link add absent1 type veth peer name other");
    let exit = zbridge!("-p", "packet:absent1").inside(&host).as_nobody(&dir).run();
    refused(&exit, 5, "hint: sudo setcap cap_net_raw+ep");
    let zbridge = zbridge!("-p", "packet:absent0,optional").inside(&host).ready();
    assert!(zbridge.stdout().contains("absent0  packet  waiting"), "{}", zbridge.stdout());
    host.ip("link add absent0 type veth peer name other0");
    zbridge.wait_for("absent0: open again", PATIENCE);
}
