//! The packet edge on veth pairs, in namespaces of its own for each test.

mod edge;

use edge::Port;
use rustix::event::PollFlags;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{Namespace, PATIENCE, Peer, Station, TapPeer, eventually, needs, require};
use zbridge::config::PortSpec;
use zbridge::counters::DropReason;
use zbridge::engine::{Bridge, Link as ChannelLink};
use zbridge::error::Class;
use zbridge::internals::port::{LinkState, Packet};
use zbridge::wire::{Checksum, Gso, Offload};

const HERE: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 1];
const THERE: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 2];

/// A frame of the local experimental type (IEEE 802-2014, 9.2.3) with this payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&THERE, &HERE, &[0x88, 0xb5][..], payload].concat()
}

/// A namespace that this thread is in, with a veth pair, both ends of which are up and silent.
fn pair() -> Namespace {
    let net = Namespace::new("edge");
    net.enter();
    net.check("sysctl -q net.ipv6.conf.default.disable_ipv6=1");
    net.ip("link add near0 type veth peer name far0");
    net.ip("link set near0 up");
    net.ip("link set far0 up");
    settle(&net, &["near0", "far0"]);
    net
}

/// Waits until these interfaces pass frames: one whose peer has just been set up loses them for some milliseconds more,
/// and nobody tells.
fn settle(net: &Namespace, names: &[&str]) {
    let is_up = |name: &&str| net.ip(&format!("link show {name}")).contains(" state UP ");
    eventually(&format!("{names:?} are up"), || names.iter().all(is_up).then_some(()));
}

fn open(name: &str) -> Port<Packet> {
    Port::new(Packet::open(name).unwrap())
}

#[test]
fn frames_pass_as_they_are() {
    require!(needs::netns());
    let _net = pair();
    let (mut near, mut far) = (open("near0"), open("far0"));
    assert_eq!((near.io.name(), near.io.link()), ("near0", LinkState::Up));
    let mut received = 0;
    for len in [0, 28, 46, 1486] {
        let sent = frame(&vec![len as u8; len]);
        near.send(&sent, Offload::NONE).unwrap();
        let (got, offload) = far.wait_for(|_| true);
        assert_eq!((got.len(), got == sent, offload.is_plain()), (14 + len, true, true));
        received += 1;
    }
    // Neither a port's own frames nor the host's come back to it.
    assert_eq!(near.receive().unwrap(), []);
    assert_eq!((near.counters.tx_frames, received), (4, 4));
    far.send(&frame(b"to another station"), Offload::NONE).unwrap();
    assert_eq!(near.wait_for(|_| true).0, frame(b"to another station"), "promiscuous");
}

#[test]
fn frames_too_long_for_the_interface_are_counted() {
    require!(needs::netns());
    let net = pair();
    let mut near = open("near0");
    near.send(&frame(&[0; 2000]), Offload::NONE).unwrap();
    assert_eq!(near.counters.dropped(DropReason::TooBig), 1);
    net.ip("link set near0 mtu 9000");
    net.ip("link set far0 mtu 9000");
    let mut far = open("far0");
    near.send(&frame(&[7; 9000]), Offload::NONE).unwrap();
    assert_eq!(far.wait_for(|_| true).0.len(), 9014);
}

#[test]
fn tags_are_put_back_in_place() {
    require!(needs::netns());
    let _net = pair();
    let (mut near, mut far) = (open("near0"), open("far0"));
    let tags: [&[u8]; 4] =
        [&[0x81, 0, 0x60, 100], &[0x81, 0, 0, 0], &[0x88, 0xa8, 0, 7], &[0x88, 0xa8, 0x20, 7, 0x81, 0, 0x60, 100]];
    for tag in tags {
        let mut sent = frame(b"tagged");
        sent.splice(12..12, tag.iter().copied());
        near.send(&sent, Offload::NONE).unwrap();
        assert_eq!(far.wait_for(|_| true).0, sent);
    }
}

/// A super-frame of two TCP segments: addresses, ports and sums as they must be for the kernel to cut it.
fn super_frame() -> (Vec<u8>, Offload) {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(HERE, THERE)
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .tcp(4242, 7777, 1, 1024)
        .ack(1)
        .write(&mut bytes, &[0x5a; 2000])
        .unwrap();
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    (bytes, Offload { gso: Gso::Tcp4 { ecn: false }, gso_size: 1000, header_len: 54, checksum })
}

#[test]
fn a_tag_moves_what_is_said_of_a_super_frame() {
    require!(needs::netns());
    let _net = pair();
    let (mut near, mut far) = (open("near0"), open("far0"));
    let (plain, offload) = super_frame();
    near.send(&plain, offload).unwrap();
    let (got, said) = far.wait_for(|_| true);
    // (The length of its headers is only a hint, and the kernel's is another.)
    assert_eq!((got == plain, Offload { header_len: 54, ..said }), (true, offload), "whole");
    let mut tagged = plain;
    tagged.splice(12..12, [0x81, 0, 0, 100]);
    let offload = offload.shifted(4).unwrap();
    near.send(&tagged, offload).unwrap();
    let (got, said) = far.wait_for(|_| true);
    assert_eq!((got == tagged, Offload { header_len: 58, ..said }), (true, offload));
    assert_eq!(said.checksum, Checksum::Partial { start: 38, offset: 16 });
    assert_eq!(far.counters.drops().count() + near.counters.drops().count(), 0);
}

#[test]
fn what_contradicts_a_frame_costs_only_that_frame() {
    require!(needs::netns());
    let _net = pair();
    let (mut near, mut far) = (open("near0"), open("far0"));
    let (plain, offload) = super_frame();
    near.send(&plain, Offload { header_len: u16::MAX, ..offload }).unwrap();
    near.send(&[0; 13], Offload::NONE).unwrap();
    assert_eq!(near.counters.dropped(DropReason::System), 2);
    near.send(&frame(b"next"), Offload::NONE).unwrap();
    assert_eq!(far.wait_for(|_| true).0, frame(b"next"));
}

#[test]
fn nothing_of_other_interfaces_gets_in() {
    require!(needs::netns());
    let net = pair();
    net.ip("link add other0 type veth peer name other1");
    net.ip("link set other0 up");
    net.ip("link set other1 up");
    settle(&net, &["other0", "other1"]);
    let mut flood = open("other0");
    let (done, flooded) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flood.send(&frame(b"flood"), Offload::NONE).unwrap();
                flooded.store(flood.counters.tx_frames, Ordering::Relaxed);
            }
        });
        for _ in 0..50 {
            let mut near = open("near0");
            let before = flooded.load(Ordering::Relaxed);
            eventually("the flood", || (flooded.load(Ordering::Relaxed) > before).then_some(()));
            let strays = near.receive().unwrap();
            if !strays.is_empty() {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(strays, []);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_interface_that_is_down_drops_and_comes_back() {
    require!(needs::netns());
    let net = pair();
    let (mut near, mut far) = (open("near0"), open("far0"));
    far.send(&frame(b"early"), Offload::NONE).unwrap();
    assert!(near.wait(PollFlags::IN, PATIENCE).contains(PollFlags::IN), "it has come");
    net.ip("link set near0 down");
    assert!(near.wait(PollFlags::IN, PATIENCE).contains(PollFlags::ERR), "the descriptor wakes its owner");
    assert_eq!(near.receive().unwrap().len(), 1, "what came before is not lost");
    assert_eq!(near.io.link(), LinkState::Down);
    near.send(&frame(b"lost"), Offload::NONE).unwrap();
    assert_eq!((near.io.link(), near.counters.dropped(DropReason::LinkDown)), (LinkState::Down, 1));
    assert_eq!(open("near0").io.link(), LinkState::Down, "one that is down may be opened");
    net.ip("link set near0 up");
    settle(&net, &["near0", "far0"]);
    near.send(&frame(b"again"), Offload::NONE).unwrap();
    assert_eq!(near.io.link(), LinkState::Up);
    assert_eq!(far.wait_for(|got| got.ends_with(b"again")).0, frame(b"again"));
    net.ip("link set near0 down");
    net.ip("link set near0 up");
    settle(&net, &["near0", "far0"]);
    far.send(&frame(b"and back"), Offload::NONE).unwrap();
    assert_eq!(near.wait_for(|_| true).0, frame(b"and back"));
    assert_eq!(near.io.link(), LinkState::Up);
}

#[test]
fn a_deleted_interface_is_gone() {
    require!(needs::netns());
    let net = pair();
    let (mut near, mut far, mut idle) = (open("near0"), open("far0"), open("far0"));
    net.ip("link delete near0");
    assert!(near.wait(PollFlags::IN, PATIENCE).contains(PollFlags::ERR));
    assert_eq!(near.receive().err().unwrap().0, "the interface was deleted");
    // Deletion comes in two steps; whichever has been seen, sending and asking tell.
    assert_eq!(far.send(&frame(b"lost"), Offload::NONE).err().unwrap().0, "the interface was deleted");
    assert_eq!(idle.io.check_link().err().unwrap().0, "the interface was deleted");
    assert_eq!(Packet::open("near0").err().unwrap().class(), Class::NoObject);
}

#[test]
fn start_errors_say_what_to_do() {
    require!(needs::netns());
    let _net = pair();
    let error = Packet::open("naer0").err().unwrap();
    assert_eq!((error.class(), error.what()), (Class::NoObject, "packet:naer0: there is no such interface"));
    assert!(error.advice().unwrap().starts_with("there is near0, far0"), "{error}");
    assert_eq!(Packet::open("lo").err().unwrap().what(), "packet:lo: not an Ethernet interface");
    assert_eq!(Packet::open("sixteen-letters!").err().unwrap().class(), Class::Usage);
    let mut sets = capabilities(None).unwrap();
    sets.effective = CapabilitySet::empty();
    set_capabilities(None, sets).unwrap();
    let error = Packet::open("near0").err().unwrap();
    assert_eq!(error.class(), Class::Permission);
    assert!(error.advice().unwrap().contains("cap_net_raw"), "{error}");
}

#[test]
fn a_socket_of_another_namespace_is_adopted() {
    require!(needs::netns());
    let net = pair();
    let copy = open("near0").io.as_fd().try_clone_to_owned().unwrap();
    let mut far = open("far0");
    let elsewhere = Namespace::new("elsewhere");
    elsewhere.enter();
    let mut near = Port::new(Packet::adopt(copy).unwrap());
    assert_eq!((near.io.name(), near.io.link()), ("near0", LinkState::Up));
    far.send(&frame(b"through the wall"), Offload::NONE).unwrap();
    assert_eq!(near.wait_for(|_| true).0, frame(b"through the wall"));
    net.ip("link set near0 down");
    assert_eq!(near.io.check_link(), Ok(LinkState::Down));
    drop(elsewhere);
}

/// A switch on the interface `port` names, and a port of its own that sees who leaves.
fn watched(port: &str) -> (Bridge, ChannelLink) {
    let bridge = Bridge::of_one("default").unwrap();
    bridge.add_port(PortSpec::parse(port).unwrap()).unwrap();
    let link = bridge.add_channel("default", "witness").unwrap();
    link.watch_departures();
    (bridge, link)
}

/// The TAP stays, and is up all the time.
#[test]
fn a_program_that_closes_its_tap_has_left_its_port() {
    require!(needs::netns(), needs::tun());
    let net = Namespace::new("left");
    net.enter();
    net.ip("tuntap add zeth mode tap");
    let program = TapPeer::open(&net, "zeth");
    let (bridge, link) = watched("packet:zeth");
    drop(program);
    let left = eventually("it has left", || Some(link.take_departures()).filter(|left| !left.is_empty()));
    assert_eq!(left.len(), 1);
    bridge.stop().unwrap();
}

#[test]
fn the_addresses_of_a_program_that_has_closed_its_tun_are_forgotten() {
    require!(needs::netns(), needs::tun());
    let net = Namespace::new("left");
    net.enter();
    net.ip("tuntap add tun0 mode tun");
    let mut program = TapPeer::open_tun(&net, "tun0");
    let (bridge, mut link) = watched("packet:tun0,mode=ip");
    let (asker, guest) = (Station::new(7), Station::new(1));
    let mut is_known = || {
        link.send(&asker.arp_request(guest.ip)).unwrap();
        // an ARP reply of the guest's address
        let answers = |frame: Vec<u8>| frame[12..14] == [8, 6] && frame[21] == 2 && frame[28..32] == guest.ip.octets();
        std::iter::from_fn(|| link.recv(Duration::from_millis(100)).unwrap()).any(answers)
    };
    program.send(&guest.echo_request(asker, 1, b"here")[14..]);
    eventually("it is learned", || is_known().then_some(()));
    drop(program);
    eventually("it is forgotten", || (!is_known()).then_some(()));
    // An answer that is only late looks the same.
    eventually("it is told of", || (!link.take_departures().is_empty()).then_some(()));
    bridge.stop().unwrap();
}

/// Frames that were super-frames, and frames with an unfinished checksum.
#[derive(Default)]
struct Seen {
    cut: u64,
    partial: u64,
}

/// Carries frames between two interfaces until told to stop.
fn relay(stop: &AtomicBool) -> Seen {
    let (mut left, mut right) = (open("left0"), open("right0"));
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let moved = carry(&mut left, &mut right, &mut seen) + carry(&mut right, &mut left, &mut seen);
        if moved == 0 {
            left.wait(PollFlags::IN, Duration::from_millis(1));
        }
    }
    assert_eq!(left.counters.drops().count() + right.counters.drops().count(), 0);
    seen
}

fn carry(from: &mut Port<Packet>, to: &mut Port<Packet>, seen: &mut Seen) -> usize {
    let frames = from.receive().unwrap();
    for (frame, offload) in &frames {
        seen.cut += u64::from(offload.gso != Gso::None);
        seen.partial += u64::from(matches!(offload.checksum, Checksum::Partial { .. }));
        to.send(frame, *offload).unwrap();
    }
    frames.len()
}

/// Bytes that no part of which looks like another.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

const SERVERS: [&str; 2] = ["192.0.2.2:7777", "[2001:db8::2]:7777"];

/// Sends back what the one client of each address sends, until it has ended.
fn serve() {
    for address in SERVERS {
        let (mut stream, _) = TcpListener::bind(address).unwrap().accept().unwrap();
        let mut copy = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut copy).unwrap();
    }
}

/// Sends `len` bytes to the server and wants them back, and the end behind them.
fn echo(server: SocketAddr, len: usize) {
    let data = pattern(len);
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match TcpStream::connect_timeout(&server, Duration::from_secs(1)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        (&stream).read_to_end(&mut back).unwrap();
    });
    assert!(back == data, "bytes changed on their way");
}

/// Two hosts, each in its namespace, and a relay of two packet ports in a third: TCP both ways over both versions of
/// IP. With `sums`, one end sums every segment itself and verifies what it gets, as a wire would have it.
fn tcp_through_two_ports(sums: bool) {
    let (middle, left, right) = (Namespace::new("middle"), Namespace::new("left"), Namespace::new("right"));
    middle.check("sysctl -q net.ipv6.conf.default.disable_ipv6=1");
    for (name, net, host) in [("left", &left, 1), ("right", &right, 2)] {
        middle.ip(&format!("link add {name}0 type veth peer name eth0 netns {}", net.name()));
        middle.ip(&format!("link set {name}0 up"));
        net.ip(&format!("addr add 192.0.2.{host}/24 dev eth0"));
        net.ip(&format!("addr add 2001:db8::{host}/64 dev eth0 nodad"));
        net.ip("link set eth0 up");
    }
    if sums {
        middle.check("ethtool -K right0 tx off");
        right.check("ethtool -K eth0 tx off");
    }
    // A thread begins where the one that starts it is. Nobody waits for the server: should the client fail, it would
    // wait for ever.
    right.enter();
    std::thread::spawn(serve);
    let stop = AtomicBool::new(false);
    let (seen, done) = std::thread::scope(|scope| {
        middle.enter();
        let relay = scope.spawn(|| relay(&stop));
        left.enter();
        let done = scope.spawn(|| SERVERS.map(|server| echo(server.parse().unwrap(), 8 << 20))).join();
        stop.store(true, Ordering::Relaxed);
        (relay.join(), done)
    });
    let seen = seen.unwrap();
    done.unwrap();
    assert!(seen.cut > 0, "no super-frame came by");
    assert!(seen.partial >= seen.cut, "every super-frame is yet to be summed");
}

#[test]
fn tcp_passes_two_ports_in_super_frames() {
    require!(needs::netns());
    tcp_through_two_ports(false);
}

#[test]
fn tcp_passes_two_ports_with_sums_that_are_verified() {
    require!(needs::netns(), needs::tool("ethtool", "ethtool"));
    tcp_through_two_ports(true);
}

#[test]
fn the_hosts_own_socket_is_reached() {
    require!(needs::netns());
    let net = pair();
    net.ip("addr add 192.0.2.2/24 dev far0");
    net.ip("link set far0 address 02:00:5e:00:53:02");
    let socket = UdpSocket::bind("192.0.2.2:7777").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut near = open("near0");
    let mut sent = Vec::new();
    etherparse::PacketBuilder::ethernet2(HERE, THERE)
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(4242, 7777)
        .write(&mut sent, b"hello")
        .unwrap();
    near.send(&sent, Offload::NONE).unwrap();
    let mut room = [0; 64];
    assert_eq!(socket.recv(&mut room).unwrap(), 5);
    net.ip("neigh add 192.0.2.1 lladdr 02:00:5e:00:53:01 dev far0");
    socket.send_to(b"and back", "192.0.2.1:4242").unwrap();
    let (got, offload) = near.wait_for(|got| got.ends_with(b"and back"));
    assert_eq!((got.len(), offload.checksum), (50, Checksum::Partial { start: 34, offset: 6 }));
}
