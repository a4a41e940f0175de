//! The TAP edge against the kernel's own network stack, in a namespace of its own for each test.
//!
//! One test at a time: between fork and exec, a child that another test starts holds a copy of every TAP, and one that
//! was closed here would still be in use.

mod edge;

use edge::Port;
use rustix::event::PollFlags;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use support::{Namespace, PATIENCE, needs, require};
use zbridge::config;
use zbridge::counters::DropReason;
use zbridge::error::Class;
use zbridge::internals::port::{LinkState, Packet, Tap, may_open_again};
use zbridge::wire::{Checksum, Gso, Mac, Offload};

const PEER: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 1];
const HOST: Mac = Mac([2, 0, 0x5e, 0, 0x53, 0xff]);

/// A namespace that this thread is in, while no other test runs.
struct Alone {
    net: Namespace,
    _one: MutexGuard<'static, ()>,
}

fn alone() -> Alone {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    Alone { net: entered("edge"), _one: one }
}

/// A namespace that this thread is in.
fn entered(label: &str) -> Namespace {
    let net = Namespace::new(label);
    net.enter();
    net
}

/// The TAP of the Zephyr documentation: 192.0.2.2 on the host's side.
fn host_tap() -> config::Tap {
    with(named("zeth0"), |tap| {
        tap.addrs = vec!["192.0.2.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()];
        tap.mac = Some(HOST);
    })
}

fn named(name: &str) -> config::Tap {
    with(config::Tap::new(name), |tap| tap.offload = false)
}

fn with(mut tap: config::Tap, set: impl FnOnce(&mut config::Tap)) -> config::Tap {
    set(&mut tap);
    tap
}

/// A datagram from the peer, 192.0.2.1:4242, to port 7777 of the host.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(PEER, HOST.0)
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(4242, 7777)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

/// The answer of the peer to an ARP request, unpadded: 42 bytes.
fn arp_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = [&request[6..12], &PEER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &PEER].concat();
    reply.extend_from_slice(&request[38..42]);
    reply.extend_from_slice(&request[22..32]);
    reply
}

fn has_type(frame: &[u8], ethertype: u16) -> bool {
    frame.get(12..14) == Some(&ethertype.to_be_bytes())
}

fn host_socket() -> UdpSocket {
    let socket = UdpSocket::bind("192.0.2.2:7777").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut room = vec![0; 65_536];
    let len = socket.recv(&mut room).unwrap();
    room[..len].to_vec()
}

#[test]
fn an_interface_that_is_made_anew_has_the_same_address() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let mac = |name: &str| {
        let _tap = Tap::open(&named(name), None).unwrap();
        let shown = net.check(&format!("ip -o link show {name}"));
        let (_, rest) = shown.split_once("link/ether ").unwrap();
        rest.split(' ').next().unwrap().parse::<Mac>().unwrap()
    };
    let first = mac("zeth0");
    assert!(first.0[0] & 3 == 2, "{first} is no station's, locally administered");
    assert_eq!(mac("zeth0"), first);
    assert_ne!(mac("zeth1"), first, "another's");
    // what somebody else has made keeps its own
    net.check("ip tuntap add zeth0 mode tap && ip link set zeth0 address 02:00:5e:00:53:77");
    assert_eq!(mac("zeth0").to_string(), "02:00:5e:00:53:77");
    net.check("ip link del zeth0");
    // and in another namespace, which may be on the same network, it is another one
    let other = entered("other");
    let _tap = Tap::open(&named("zeth0"), None).unwrap();
    assert!(!other.check("ip -o link show zeth0").contains(&first.to_string()));
    net.enter();
}

#[test]
fn the_host_resolves_and_talks() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    // an address that is tried first is of no use at once
    net.check("echo 1 > /proc/sys/net/ipv6/conf/default/accept_dad");
    let mut tap = Port::new(Tap::open(&host_tap(), None).unwrap());
    assert_eq!((tap.io.name(), tap.io.created(), tap.io.link()), ("zeth0", true, LinkState::Up));
    let shown = net.check("ip addr show zeth0");
    for wanted in ["inet 192.0.2.2/24 brd 192.0.2.255", "inet6 2001:db8::2/64", "02:00:5e:00:53:ff", ",UP"] {
        assert!(shown.contains(wanted), "{wanted} not in {shown}");
    }
    assert!(!shown.contains("2001:db8::2/64 scope global tentative"), "{shown}");
    let socket = host_socket();
    socket.send_to(b"hello", "192.0.2.1:4242").unwrap();
    let (request, _) = tap.wait_for(|frame| has_type(frame, 0x0806));
    assert_eq!(request.len(), 42, "a TAP does not pad");
    let reply = arp_reply(&request);
    assert_eq!(reply.len(), 42);
    tap.send(&reply, Offload::NONE).unwrap();
    let (frame, offload) = tap.wait_for(|frame| has_type(frame, 0x0800) && frame.ends_with(b"hello"));
    assert_eq!((&frame[..12], offload), (&[PEER, HOST.0].concat()[..], Offload::NONE));
    tap.send(&datagram(b"and back"), Offload::NONE).unwrap();
    assert_eq!(received(&socket), b"and back");
    assert_eq!((tap.counters.tx_frames, tap.counters.drops().count()), (2, 0));
}

#[test]
fn setting_up_twice_changes_nothing() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    net.ip("tuntap add zeth0 mode tap");
    let first = Tap::open(&host_tap(), None).unwrap();
    assert!(!first.created());
    drop(first);
    // Everything is as asked for, so a process without any right may ask for it.
    let mut sets = capabilities(None).unwrap();
    sets.effective = CapabilitySet::empty();
    set_capabilities(None, sets).unwrap();
    let again = Tap::open(&host_tap(), None).unwrap();
    assert_eq!(again.link(), LinkState::Up);
}

#[test]
fn jumbo_frames_pass_whole() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let mut tap = Port::new(Tap::open(&host_tap(), Some(9000)).unwrap());
    net.ip("neigh add 192.0.2.1 lladdr 02:00:5e:00:53:01 dev zeth0");
    let socket = host_socket();
    let payload = vec![0x5a; 8972];
    socket.send_to(&payload, "192.0.2.1:4242").unwrap();
    let (frame, _) = tap.wait_for(|frame| has_type(frame, 0x0800));
    assert_eq!(frame.len(), 9014);
    tap.send(&datagram(&payload), Offload::NONE).unwrap();
    assert_eq!(received(&socket), payload);
    let error = Tap::open(&named("zeth1"), Some(65_522)).err().unwrap();
    assert!(error.to_string().contains("65521"), "{error}");
    assert!(!net.check("ip link").contains("zeth1"), "it went with its failed owner");
}

#[test]
fn tags_stay_in_the_frame() {
    require!(needs::netns(), needs::tun());
    let _alone = alone();
    let options = with(named("zeth0"), |tap| (tap.up, tap.mac) = (true, Some(HOST)));
    let mut tap = Port::new(Tap::open(&options, None).unwrap());
    // The host's side: a packet socket, because a VLAN interface takes a kernel module.
    let mut host = Port::new(Packet::open("zeth0").unwrap());
    let mut out = datagram(b"tagged");
    out.splice(12..12, [0x81, 0, 0x60, 100]);
    host.send(&out, Offload::NONE).unwrap();
    let (frame, _) = tap.wait_for(|frame| frame.ends_with(b"tagged"));
    assert_eq!(frame, out);
    let mut back = datagram(b"and back");
    back.splice(12..12, [0x88, 0xa8, 0x20, 7, 0x81, 0, 0x20, 100]);
    tap.send(&back, Offload::NONE).unwrap();
    let (frame, _) = host.wait_for(|frame| frame.ends_with(b"and back"));
    assert_eq!(frame, back);
}

#[test]
fn a_tap_that_is_down_drops_and_comes_back() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let mut tap = Port::new(Tap::open(&named("zeth0"), None).unwrap());
    assert_eq!(tap.io.link(), LinkState::Down, "nobody has set it up yet");
    tap.send(&datagram(b"lost"), Offload::NONE).unwrap();
    assert_eq!((tap.io.link(), tap.counters.dropped(DropReason::LinkDown)), (LinkState::Down, 1));
    net.ip("addr add 192.0.2.2/24 dev zeth0");
    net.ip(&format!("link set zeth0 address {HOST} up"));
    assert!(tap.wait(PollFlags::OUT, PATIENCE).contains(PollFlags::OUT), "writable says up");
    assert_eq!(tap.io.check_link(), Ok(LinkState::Up));
    let socket = host_socket();
    tap.send(&datagram(b"first"), Offload::NONE).unwrap();
    assert_eq!(received(&socket), b"first");
    net.ip("link set zeth0 down");
    tap.send(&datagram(b"lost"), Offload::NONE).unwrap();
    assert_eq!((tap.io.link(), tap.counters.dropped(DropReason::LinkDown)), (LinkState::Down, 2));
    net.ip("link set zeth0 up");
    tap.send(&datagram(b"second"), Offload::NONE).unwrap();
    assert_eq!((tap.io.link(), received(&socket)), (LinkState::Up, b"second".to_vec()));
    assert_eq!(tap.counters.tx_frames, 2);
}

#[test]
fn down_is_noticed_and_up_again_by_reading() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let mut tap = Port::new(Tap::open(&named("zeth0"), None).unwrap());
    assert_eq!(tap.io.link(), LinkState::Down);
    net.ip("addr add 192.0.2.2/24 dev zeth0");
    net.ip("link set zeth0 up");
    host_socket().send_to(b"hello", "192.0.2.1:4242").unwrap();
    tap.wait_for(|frame| has_type(frame, 0x0806));
    assert_eq!(tap.io.link(), LinkState::Up);
}

#[test]
fn a_deleted_tap_is_gone_and_may_come_back() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let mut tap = Port::new(Tap::open(&host_tap(), None).unwrap());
    net.ip("link delete zeth0");
    assert!(tap.wait(PollFlags::IN, PATIENCE).contains(PollFlags::ERR), "the descriptor wakes its owner");
    for gone in [tap.receive().err(), tap.send(&datagram(b"lost"), Offload::NONE).err(), tap.io.check_link().err()] {
        assert_eq!(gone.unwrap().0, "the interface was deleted");
    }
    assert!(may_open_again(&host_tap(), tap.io.created()));
    assert!(!may_open_again(&host_tap(), false), "somebody else's");
    drop(tap);
    drop(Tap::open(&host_tap(), None).unwrap());
    net.ip("tuntap add zeth0 mode tap");
    assert!(may_open_again(&host_tap(), false), "somebody else's that is back");
    assert!(!may_open_again(&with(host_tap(), |tap| tap.fd = Some(9)), true), "a descriptor does not come back");
}

#[test]
fn persistence_and_owner() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let user = Some("nobody".to_owned());
    drop(Tap::open(&with(named("zeth0"), |tap| (tap.persist, tap.user) = (true, user)), None).unwrap());
    let shown = net.check("ip tuntap");
    assert!(shown.contains("zeth0: tap persist user"), "{shown}");
    let kept = Tap::open(&named("zeth0"), None).unwrap();
    assert!(!kept.created());
    drop(kept);
    assert!(net.check("ip tuntap").contains("zeth0"), "opening without `persist` does not end it");
    let error = Tap::open(&with(named("zeth1"), |tap| tap.user = Some("who?".into())), None).err().unwrap();
    assert_eq!(error.what(), "tap:zeth1: there is no user who?");
}

#[test]
fn the_holder_is_named() {
    require!(needs::netns(), needs::tun());
    let _alone = alone();
    // a name that nobody else's TAP has on this machine: a test moves one of its threads, and not itself, to where the
    // TAP is, and so is no more likely to be the holder than they
    let name = format!("zb{}", std::process::id());
    let tap = Tap::open(&named(&name), None).unwrap();
    let error = Tap::open(&named(&name), None).err().unwrap().told();
    assert_eq!(error.what(), format!("tap:{name}: in use by another port of this zbridge"));
    // Whoever has a copy of the descriptor holds the TAP.
    let copy = tap.as_fd().try_clone_to_owned().unwrap();
    let mut holder = Command::new("sleep").arg("60").stdin(Stdio::from(copy)).spawn().unwrap();
    drop(tap);
    let error = Tap::open(&named(&name), None).err().unwrap().told();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(error.what(), format!("tap:{name}: in use by pid {} (sleep)", holder.id()));
    assert!(error.advice().is_some());
}

#[test]
fn what_is_not_a_tap_is_named() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    net.ip("link add veth0 type veth peer name veth1");
    net.ip("link add br0 type bridge");
    net.ip("tuntap add tun0 mode tun");
    net.ip("tuntap add many0 mode tap multi_queue");
    let why = |name: &str| {
        let error = Tap::open(&named(name), None).err().unwrap();
        assert_eq!(error.class(), Class::Usage, "{error}");
        error.to_string()
    };
    assert!(why("veth0").contains("tap:veth0: is an interface of kind veth, not a TAP"));
    assert!(why("br0").contains("kind bridge"));
    assert!(why("lo").contains("an interface that exists already"));
    assert!(why("tun0").contains("is a TUN"));
    assert!(why("many0").contains("multi_queue"));
    for bad in ["", "sixteen-letters!", "zeth%d", "ze th", "ze/th", ".."] {
        why(bad);
    }
    assert_eq!(net.check("ip -br link").lines().count(), 6, "none was created");
}

#[test]
fn without_rights_the_command_is_told() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    net.ip("tuntap add theirs0 mode tap user 12345");
    net.ip("tuntap add free0 mode tap");
    let mut sets = capabilities(None).unwrap();
    sets.effective = CapabilitySet::empty();
    set_capabilities(None, sets).unwrap();
    let refused = |options: &config::Tap| {
        let error = Tap::open(options, None).err().unwrap();
        assert_eq!(error.class(), Class::Permission, "{error}");
        (error.what().to_owned(), error.advice().unwrap().to_owned())
    };
    let (what, hint) = refused(&named("zeth0"));
    assert_eq!(what, "tap:zeth0: not permitted to create it");
    assert_eq!(hint, "sudo ip tuntap add zeth0 mode tap user $USER");
    assert_eq!(refused(&named("theirs0")).0, "tap:theirs0: belongs to the user with id 12345");
    let all = refused(&with(host_tap(), |tap| tap.mac = None)).1;
    let set_up = "sudo ip link set zeth0 up && sudo ip addr add 192.0.2.2/24 dev zeth0 && sudo ip addr add";
    assert!(all.starts_with(&format!("{hint} && {set_up}")), "{all}");
    // One that is there is used as it is, and what it lacks is said whole.
    let asked = with(host_tap(), |tap| tap.name = "free0".into());
    let lacks = || Tap::open(&asked, None).unwrap().lacks().map(str::to_owned);
    let all = lacks().unwrap();
    assert!(
        all.starts_with("sudo ip link set free0 address 02:00:5e:00:53:ff && sudo ip link set free0 up && "),
        "{all}"
    );
    net.check(&all.replace("sudo ", ""));
    assert_eq!(lacks(), None, "that was all");
    net.ip("link set free0 down");
    assert_eq!(Tap::open(&named("free0"), None).unwrap().link(), LinkState::Down, "anybody may attach to it");
}

#[test]
fn a_descriptor_is_adopted() {
    require!(needs::netns(), needs::tun());
    let _alone = alone();
    let tap = Tap::open(&named("zeth0"), None).unwrap();
    let left = tap.as_fd().try_clone_to_owned().unwrap();
    let number = left.as_raw_fd();
    drop(tap);
    let error = Tap::open(&with(host_tap(), |tap| tap.fd = Some(number)), None).err().unwrap();
    assert!(error.what().ends_with("is not known to be nobody else's"), "a number of this program's: {error}");
    let mut tap = Port::new(Tap::adopt(left, &host_tap(), None).unwrap());
    assert_eq!((tap.io.name(), tap.io.created(), tap.io.takes_offloads()), ("zeth0", false, false));
    let socket = host_socket();
    tap.send(&datagram(b"adopted"), Offload::NONE).unwrap();
    assert_eq!(received(&socket), b"adopted");
    let other = tap.io.as_fd().try_clone_to_owned().unwrap();
    let error = Tap::adopt(other, &named("zeth1"), None).err().unwrap();
    assert_eq!(error.what(), "tap:zeth1: the descriptor is that of zeth0");
    let null = std::fs::File::open("/dev/null").unwrap();
    assert!(Tap::adopt(null.into(), &named(""), None).err().unwrap().what().contains("not a TAP's"));
    let bare = std::fs::File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    assert!(Tap::adopt(bare.into(), &named(""), None).err().unwrap().what().contains("attached to no interface"));
    // In another namespace frames pass, but nothing can be set up.
    let other = tap.io.as_fd().try_clone_to_owned().unwrap();
    let elsewhere = entered("elsewhere");
    elsewhere.ip("tuntap add zeth0 mode tap");
    let error = Tap::adopt(other, &host_tap(), None).err().unwrap();
    assert!(error.what().contains("another network namespace"), "{error}");
    let other = tap.io.as_fd().try_clone_to_owned().unwrap();
    assert_eq!(Tap::adopt(other, &named("zeth0"), None).unwrap().link(), LinkState::Up);
}

#[test]
fn offloads_pass_with_the_frame() {
    require!(needs::netns(), needs::tun());
    let alone = alone();
    let net = &alone.net;
    let options = with(host_tap(), |tap| tap.offload = true);
    let tap = Tap::open(&options, None).unwrap();
    assert!(tap.takes_offloads());
    let copy = tap.as_fd().try_clone_to_owned().unwrap();
    drop(tap);
    // Adopted, it is still seen to have them.
    let mut tap = Port::new(Tap::adopt(copy, &named(""), None).unwrap());
    assert!(tap.io.takes_offloads());
    net.ip("neigh add 192.0.2.1 lladdr 02:00:5e:00:53:01 dev zeth0");
    let socket = host_socket();
    socket.send_to(b"unsummed", "192.0.2.1:4242").unwrap();
    let (frame, offload) = tap.wait_for(|frame| frame.ends_with(b"unsummed"));
    assert_eq!(offload.checksum, Checksum::Partial { start: 34, offset: 6 });
    assert_eq!(frame.len(), 50);
    // A super-frame of three datagrams, to be cut and summed by the kernel.
    let mut frame = datagram(&[[1; 1000], [2; 1000], [3; 1000]].concat());
    let sum = pseudo_sum(&frame).to_be_bytes();
    frame[40..42].copy_from_slice(&sum);
    let checksum = Checksum::Partial { start: 34, offset: 6 };
    let offload = Offload { gso: Gso::Udp, gso_size: 1000, header_len: 42, checksum };
    tap.send(&frame, offload).unwrap();
    for byte in 1..=3 {
        assert_eq!(received(&socket), [byte; 1000]);
    }
    assert_eq!(tap.counters.drops().count(), 0);
    // What contradicts the frame is refused, and costs only this frame.
    tap.send(&frame, Offload { header_len: u16::MAX, ..offload }).unwrap();
    assert_eq!(tap.counters.dropped(DropReason::System), 1);
}

/// The sum of the pseudo header of a UDP datagram (RFC 768), folded, not complemented.
fn pseudo_sum(frame: &[u8]) -> u16 {
    let words = frame[26..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>() + 17 + (frame.len() - 34) as u32;
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn a_plain_tap_takes_no_half_done_frames() {
    require!(needs::netns(), needs::tun());
    let _alone = alone();
    let mut tap = Port::new(Tap::open(&host_tap(), None).unwrap());
    let checksum = Checksum::Partial { start: 34, offset: 6 };
    tap.send(&datagram(b"half"), Offload { checksum, ..Offload::NONE }).unwrap();
    assert_eq!(tap.counters.dropped(DropReason::System), 1);
    tap.send(&[0; 13], Offload::NONE).unwrap();
    assert_eq!(tap.counters.dropped(DropReason::System), 2, "under 14 bytes");
    assert!(!tap.wait(PollFlags::IN, Duration::ZERO).contains(PollFlags::ERR));
}
