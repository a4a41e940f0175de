//! The test ground itself: namespaces, processes, peers and guests do what the system tests take for granted. Nothing
//! here needs a feature of zbridge.

use std::process::Stdio;
use std::time::Duration;
use support::{
    Exit, GramPeer, Guest, Launch, Namespace, Nic, PATIENCE, Peer, Process, Received, SeqPeer, Station, StreamPeer,
    TapPeer, TempDir, eventually, frame, needs, require, zbridge,
};

const A: Station = Station::new(1);
const B: Station = Station::new(2);
const SHORT: Duration = Duration::from_millis(50);

fn sh(script: &str) -> Launch {
    Launch::new("/bin/sh").args(["-c", script])
}

#[test]
fn a_process_is_watched_line_by_line() {
    let process = sh("echo one; echo two >&2; echo one more; exit 3").spawn();
    assert_eq!(process.wait_for("two", PATIENCE), "two");
    assert_eq!(process.wait_for_nth("one", 2, PATIENCE), "one more");
    let Exit { status, stdout, stderr } = process.wait();
    assert_eq!((status.code(), stdout.as_str(), stderr.as_str()), (Some(3), "one\none more\n", "two\n"));
}

#[test]
fn a_process_is_signalled() {
    let trap =
        |signal: &str| sh(&format!("trap 'echo caught; exit 7' {signal}; echo up; while :; do sleep 0.01; done"));
    let end = |process: Process| {
        let exit = process.wait();
        (exit.code(), exit.stdout)
    };
    let process = trap("INT").spawn();
    process.wait_for("up", PATIENCE);
    process.sigint();
    assert_eq!(end(process), (7, "up\ncaught\n".to_owned()));

    let mut process = trap("TERM").spawn();
    process.wait_for("up", PATIENCE);
    process.freeze();
    process.sigterm();
    std::thread::sleep(SHORT);
    assert!(process.is_running(), "a frozen process handles no signal");
    process.thaw();
    assert_eq!(end(process), (7, "up\ncaught\n".to_owned()));

    let mut process = sh("sleep 100").spawn();
    process.kill9();
    assert!(!process.is_running());
    assert_eq!(process.wait().status.code(), None);
}

#[test]
fn a_process_gets_arguments_and_environment() {
    let exit = sh("echo $0 $1 $GREETING").args(["a b", "c"]).env("GREETING", "hello").run();
    assert_eq!(exit.stdout, "a b c hello\n");
    assert!(zbridge!("--version").run().status.code().is_some(), "cargo built a program that can be started");
}

#[test]
fn a_dropped_process_is_killed() {
    let process = sh("exec sleep 100").spawn();
    let proc = format!("/proc/{}/stat", process.pid());
    assert!(std::fs::exists(&proc).unwrap());
    drop(process);
    assert!(!std::fs::exists(&proc).unwrap());
}

#[test]
fn waiting_in_vain_fails() {
    let waits = |script: &'static str, timeout| {
        let failure = std::panic::catch_unwind(|| sh(script).spawn().wait_for("never", timeout)).unwrap_err();
        *failure.downcast::<String>().unwrap()
    };
    assert!(waits("exit 0", PATIENCE).contains("ended without"));
    assert!(waits("sleep 100", SHORT).contains("in 50ms"));
}

/// Sends both ways over a pair of peers.
fn converse(near: &mut impl Peer, far: &mut impl Peer) {
    assert_eq!(near.receive(SHORT), Received::Nothing);
    for (number, len) in [(0, 18), (1, 60), (2, 1514), (3, 9000)] {
        let frame = frame::numbered(B.mac, A.mac, number, len);
        near.send(&frame);
        assert_eq!(far.receive(PATIENCE), Received::Frame(frame));
    }
    far.send(&A.arp_request(B.ip));
    far.send(&A.echo_request(B, 1, b"x"));
    near.expect(&A.echo_request(B, 1, b"x"));
    near.expect_none(SHORT, |_| true);
}

#[test]
fn stream_peers_converse() {
    let dir = TempDir::new();
    let listener = StreamPeer::listen(dir.path("s"));
    let (mut near, mut far) = (StreamPeer::unix(dir.path("s")), listener.accept());
    converse(&mut near, &mut far);
    // a frame in pieces arrives when it is whole
    near.send_raw(&[0, 0, 0]).unwrap();
    assert_eq!(far.receive(SHORT), Received::Nothing);
    near.send_raw(&[2, 0xaa, 0xbb, 0, 0]).unwrap();
    assert_eq!(far.receive(PATIENCE), Received::Frame(vec![0xaa, 0xbb]));
    drop(near);
    far.expect_closed();

    let listener = StreamPeer::listen_tcp("127.0.0.1:0".parse().unwrap());
    converse(&mut StreamPeer::tcp(listener.address()), &mut listener.accept());
}

#[test]
fn a_peer_that_does_not_read_holds_the_sender() {
    let dir = TempDir::new();
    let listener = StreamPeer::listen(dir.path("s"));
    let (mut near, _deaf) = (StreamPeer::unix(dir.path("s")), listener.accept());
    let frame = frame::numbered(B.mac, A.mac, 0, 9000);
    let refusal = (0..10_000).find_map(|_| near.try_send(&frame).err()).expect("a socket buffer has an end");
    assert_eq!(refusal.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn packet_peers_converse() {
    let dir = TempDir::new();
    let mut near = GramPeer::unix(dir.path("a"), dir.path("b"));
    let mut far = GramPeer::unix(dir.path("b"), dir.path("a"));
    converse(&mut near, &mut far);

    let listener = SeqPeer::listen(dir.path("q"));
    let (mut near, mut far) = (SeqPeer::unix(dir.path("q")), listener.accept());
    converse(&mut near, &mut far);
    drop(near);
    assert_eq!(far.receive(PATIENCE), Received::Closed);
}

#[test]
fn udp_peers_converse() {
    require!(needs::netns());
    // in a namespace of their own, port numbers are free
    let namespace = Namespace::new("udp");
    let [a, b] = ["127.0.0.1:1000", "127.0.0.1:1001"].map(|address| address.parse().unwrap());
    let (mut near, mut far) = namespace.inside(|| (GramPeer::udp(a, b), GramPeer::udp(b, a)));
    converse(&mut near, &mut far);
}

#[test]
fn namespaces_ping_each_other() {
    require!(needs::netns(), needs::tool("ping", "iputils-ping"));
    let (left, right) = (Namespace::new("left"), Namespace::new("right"));
    left.veth("eth0", &right, "eth0");
    left.ip("addr add 192.0.2.1/24 dev eth0");
    left.ip("addr add 2001:db8::1/64 dev eth0");
    right.ip("addr add 192.0.2.2/24 dev eth0");
    right.ip("addr add 2001:db8::2/64 dev eth0");
    assert!(left.pings("192.0.2.2"));
    assert!(eventually("IPv6 across the veth", || left.pings("2001:db8::2").then_some(true)));
    assert!(!left.pings("192.0.2.3"));
    assert_eq!(left.run("echo out; echo err >&2; exit 4").rc, 4);
    assert_eq!(left.run("echo out; echo err >&2").output, "out\nerr\n");

    let name = left.name().to_owned();
    let exit = sh("ip netns identify").inside(&left).run();
    assert_eq!(exit.stdout.trim(), name);
    drop(left);
    let names = Launch::new("ip").args(["netns", "list"]).run().stdout;
    assert!(!names.contains(&name), "{names}");
}

#[test]
fn a_tap_peer_is_a_host_on_the_wire() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let namespace = Namespace::new("tap");
    let mut peer = TapPeer::open(&namespace, "tap0");
    namespace.ip("addr add 192.0.2.1/24 dev tap0");
    let ping = namespace.command("ping").args(["-n", "-c", "1", "-W", "10", "192.0.2.2"]).stdout(Stdio::null()).spawn();
    let mut ping = ping.unwrap();
    let status = eventually("the end of the ping", || {
        if let Received::Frame(frame) = peer.receive(SHORT)
            && let Some(answer) = B.answer(&frame)
        {
            peer.send(&answer);
        }
        ping.try_wait().unwrap()
    });
    assert!(status.success());
}

#[test]
fn a_guest_boots_and_talks() {
    require!(needs::guest());
    let dir = TempDir::new();
    let listener = StreamPeer::listen(dir.path("wire"));
    let nic = Nic::stream(dir.text("wire")).address("192.0.2.1/24").address("2001:db8::1/64").mtu(9000);
    let mut guest = Guest::new("talker").nic(nic.mac("02:00:00:00:00:01")).module("slip").boot();
    let mut wire = listener.accept();

    let ran = guest.run("echo out; echo err >&2; exit 5");
    assert_eq!((ran.rc, ran.output.as_str()), (5, "out\nerr\n"));
    assert_eq!(
        guest.check("hostname; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu"),
        "talker\n02:00:00:00:00:01\n9000\n"
    );
    assert!(guest.check("ip -br addr show eth0").contains("2001:db8::1/64"));
    assert_eq!(guest.check("grep -c ^slip /proc/modules"), "1\n");
    let script = "x".repeat(20_000);
    assert_eq!(guest.check(&format!("printf %s {script} | wc -c")).trim(), "20000");
    assert!(guest.console().contains("init: ready"));

    // the other end of its wire is this test: it answers until the ping is done
    let answerer = std::thread::spawn(move || {
        let mut answered = 0;
        while let Received::Frame(frame) = wire.receive(PATIENCE) {
            if let Some(answer) = B.answer(&frame) {
                wire.send(&answer);
                answered += 1;
            }
        }
        answered
    });
    let ran = guest.run("ping -c 3 -i 0.1 -s 8000 192.0.2.2");
    assert!(ran.output.contains("3 packets received"), "{}", ran.output);
    assert_eq!(guest.run("ping -c 1 -W 1 192.0.2.3").rc, 1);
    drop(guest);
    assert!(answerer.join().unwrap() >= 4, "an ARP request and three pings");
}

#[test]
fn a_guest_has_the_programs_and_drivers_of_later_tests() {
    require!(needs::guest());
    let mut guest = Guest::new("tools").boot();
    for program in
        ["usbip", "lsusb", "iperf3", "tcpdump", "ethtool", "strace", "evtest", "slattach", "mke2fs", "mkfs.fat"]
    {
        // what they print differs; that the loader finds their libraries does not
        let ran = guest.run(&format!("{program} --version"));
        assert!(ran.rc != 127 && !ran.output.contains("shared libraries"), "{program}: {ran:?}");
    }
    guest.check("modprobe -a vhci-hcd usbtest cdc-acm cdc_ncm cdc_ether usb-storage usbhid slip");
    assert!(guest.check("usbip port").contains("Imported USB devices"));
    assert!(guest.check("lsusb").contains("USB/IP Virtual Host Controller"));
    guest.check("ip link add d0 type dummy && ip link add link d0 name d0.5 type vlan id 5 && bridge vlan show && tc qdisc show");
}
