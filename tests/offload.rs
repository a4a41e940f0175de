//! Offloads end to end: super-frames that are cut for a port that does not take them, and segments that are merged for
//! one that does. Tags and extension headers are for the tests of `wire::segment`.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;
use support::{Namespace, PATIENCE, Summary, TempDir, eventually, needs, require, zbridge};

const OCTETS: usize = 4 << 20;
const FULL: u64 = 1514;

/// Gives `host` the addresses of host `number`.
fn settle(host: &Namespace, interface: &str, number: u8) {
    host.ip(&format!("addr add 192.0.2.{number}/24 dev {interface}"));
    host.ip(&format!("addr add 2001:db8::{number}/64 dev {interface} nodad"));
    host.ip(&format!("link set {interface} up"));
}

/// The addresses of host `number`.
fn addresses(number: u8) -> [IpAddr; 2] {
    ["192.0.2.", "2001:db8::"].map(|net| format!("{net}{number}").parse().expect("an address"))
}

/// Sends octets by TCP and checks them all.
fn carry(from: &Namespace, to: &Namespace, address: IpAddr) {
    let octets: Vec<u8> = (0..OCTETS).map(|at| (at * 7 + at / 251) as u8).collect();
    let listener = to.inside(|| TcpListener::bind((address, 0))).expect("an address of the host's");
    let port = listener.local_addr().expect("it is bound").port();
    let mut stream = from.inside(|| {
        eventually("a connection", || TcpStream::connect_timeout(&(address, port).into(), Duration::from_secs(5)).ok())
    });
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("the connection that was made");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            let mut received = Vec::new();
            stream.read_to_end(&mut received).expect("all that was sent");
            received
        });
        stream.write_all(&octets).expect("a connection");
        drop(stream);
        assert!(receiver.join().expect("no panic") == octets, "other octets arrived at {address} than were sent");
    });
}

/// Two hosts with a TAP each, the first of which takes super-frames.
fn two_hosts() -> (support::Process, Namespace, Namespace) {
    let (middle, left, right) = (Namespace::new("middle"), Namespace::new("left"), Namespace::new("right"));
    let zbridge = zbridge!("-p", "tap:zl", "-p", "tap:zr,offload=off").inside(&middle).ready();
    for (tap, host, number) in [("zl", &left, 1), ("zr", &right, 2)] {
        middle.ip(&format!("link set {tap} netns {}", host.name()));
        settle(host, tap, number);
    }
    (zbridge, left, right)
}

#[test]
fn super_frames_are_cut_for_a_port_without_offload() {
    require!(needs::netns(), needs::tun());
    let (zbridge, left, right) = two_hosts();
    addresses(2).into_iter().for_each(|address| carry(&left, &right, address));
    let summary = Summary::of(zbridge);
    let (whole, cut) = (summary.port("zl"), summary.port("zr"));
    assert!(whole.rx_bytes / whole.rx_frames > FULL, "super-frames came in: {whole:#?}");
    assert!(cut.tx_frames > whole.rx_frames && cut.tx_bytes / cut.tx_frames <= FULL, "{cut:#?}");
}

#[test]
fn segments_are_merged_for_a_port_with_offload() {
    require!(needs::netns(), needs::tun());
    let (zbridge, left, right) = two_hosts();
    addresses(1).into_iter().for_each(|address| carry(&right, &left, address));
    let summary = Summary::of(zbridge);
    let (merged, plain) = (summary.port("zl"), summary.port("zr"));
    assert!(plain.rx_bytes / plain.rx_frames <= FULL, "{plain:#?}");
    assert!(merged.tx_frames < plain.rx_frames * 3 / 4, "{} for {}", merged.tx_frames, plain.rx_frames);
}

#[test]
fn a_packet_port_without_offload_sends_frames_as_on_a_wire() {
    require!(needs::netns());
    let (middle, left, right) = (Namespace::new("middle"), Namespace::new("left"), Namespace::new("right"));
    for (host, number) in [(&left, 1), (&right, 2)] {
        middle.veth(&format!("h{number}"), host, "eth0");
        settle(host, "eth0", number);
    }
    let zbridge = zbridge!("-p", "packet:h1", "-p", "packet:h2,offload=off").inside(&middle).ready();
    addresses(2).into_iter().for_each(|address| carry(&left, &right, address));
    carry(&right, &left, addresses(1)[0]);
    let summary = Summary::of(zbridge);
    let (whole, cut) = (summary.port("h1"), summary.port("h2"));
    assert!(whole.rx_bytes / whole.rx_frames > FULL, "super-frames came in: {whole:#?}");
    assert!(cut.tx_frames > whole.rx_frames && cut.tx_bytes / cut.tx_frames <= FULL, "{cut:#?}");
}

/// Datagrams that the sender's kernel leaves to be cut (UDP_SEGMENT) arrive one by one, numbered as they were.
#[test]
fn a_super_frame_of_datagrams_is_cut_too() {
    require!(needs::netns(), needs::tun(), needs::tool("gcc", "gcc"));
    let dir = TempDir::new();
    let (source, program) = (dir.file("uso.c", include_str!("programs/uso.c")), dir.path("uso"));
    let built = Command::new("gcc").arg("-o").arg(&program).arg(source).status().expect("gcc runs");
    assert!(built.success());
    let (zbridge, left, right) = two_hosts();
    for address in addresses(2) {
        let socket = right.inside(|| UdpSocket::bind((address, 0))).expect("an address of the host's");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let port = socket.local_addr().expect("it is bound").port();
        eventually("the way is known", || left.pings(&address.to_string()).then_some(()));
        left.check(&format!("{} {address} {port}", program.display()));
        let mut room = [0; 2000];
        for number in 0..40 {
            let got = socket.recv(&mut room).expect("every datagram");
            assert_eq!((got, &room[..got]), (1000, &[number; 1000][..]), "to {address}");
        }
    }
    let summary = Summary::of(zbridge);
    let (whole, cut) = (summary.port("zl"), summary.port("zr"));
    assert!(cut.tx_frames >= whole.rx_frames + 39, "they came in as one: {whole:#?}, {cut:#?}");
}
