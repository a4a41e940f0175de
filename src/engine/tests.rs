//! The engine with real sockets in a directory of the test's own: no right is needed.

use super::bridge::Bridge;
use super::fault::Parts;
use super::prepare::Beforehand;
use super::status::PortStatus;
use super::turn::Engine;
use crate::config::{Config, PortSpec};
use crate::counters::{DropReason, Stage};
use crate::limits::QUEUE_FRAMES;
use crate::switch::SwitchConfig;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration as StdDuration, Instant as StdInstant};

/// How long anything may take on a loaded machine; nothing that works waits for it.
const PATIENCE: StdDuration = StdDuration::from_secs(20);

fn config(dir: &Path, ports: &[&str]) -> Config {
    let mut config = Config::default();
    for port in ports {
        config.add_port(PortSpec::parse(&port.replace("DIR", &dir.display().to_string())).unwrap()).unwrap();
    }
    config
}

struct Peer(UnixStream);

impl Peer {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, frame: &[u8]) {
        self.0.write_all(&[&(frame.len() as u32).to_be_bytes()[..], frame].concat()).unwrap();
    }

    fn recv(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut frame).unwrap();
        frame
    }
}

fn frame(dst: u8, src: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src]);
    if dst == 0xff {
        frame[..6].fill(0xff);
    }
    frame
}

/// Waits until `done` says yes; panics with the state if it never does.
fn until(bridge: &Bridge, done: impl Fn(&[PortStatus]) -> bool) -> Vec<PortStatus> {
    let start = StdInstant::now();
    loop {
        let ports = bridge.status().unwrap().remove(0).ports;
        if done(&ports) {
            return ports;
        }
        assert!(start.elapsed() < PATIENCE, "{ports:#?}");
        std::thread::sleep(StdDuration::from_millis(2));
    }
}

/// Waits until somebody has received all of `sent` but what half a queue holds: one who has no processor for a while
/// reads as little as one who does not read.
fn keep_up(received: &AtomicUsize, sent: usize) {
    let start = StdInstant::now();
    while received.load(Ordering::Relaxed) + QUEUE_FRAMES / 2 < sent && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}

fn names(ports: &[PortStatus]) -> Vec<(&str, &str)> {
    ports.iter().map(|port| (port.name.as_str(), port.state)).collect()
}

#[test]
fn clients_become_ports_and_leave() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).unwrap();
    let mut a = Peer::connect(&dir.path().join("inst"));
    let mut b = Peer::connect(&dir.path().join("inst"));
    let ports = until(&bridge, |ports| ports.len() == 3);
    assert_eq!(names(&ports), [("inst", "listening"), ("inst#1", "up"), ("inst#2", "up")]);
    assert!(ports[1].peer.contains(&format!("pid {}", std::process::id())), "{}", ports[1].peer);
    a.send(&frame(0xff, 1, 42));
    assert_eq!(b.recv(), frame(0xff, 1, 42));
    b.send(&frame(1, 2, 1514));
    assert_eq!(a.recv(), frame(1, 2, 1514));
    drop(a);
    until(&bridge, |ports| ports.len() == 2);
    let _c = Peer::connect(&dir.path().join("inst"));
    let ports = until(&bridge, |ports| ports.len() == 3);
    assert_eq!(names(&ports)[1..], [("inst#1", "up"), ("inst#2", "up")]);
    let last = bridge.stop().unwrap();
    assert_eq!(last[0].ports[0].counters.rx_frames, 1, "the listener keeps what the client that left had counted");
    assert!(!dir.path().join("inst").exists(), "the socket is removed");
}

#[test]
fn a_peer_that_breaks_the_framing_is_closed_and_the_next_starts_clean() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inst");
    let bridge = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).unwrap();
    let mut witness = Peer::connect(&path);
    until(&bridge, |ports| ports.len() == 2);
    let whole = [&20_u32.to_be_bytes()[..], &frame(0xff, 7, 20)].concat();
    for cut in 0..whole.len() {
        let mut dying = Peer::connect(&path);
        dying.0.write_all(&whole[..cut]).unwrap();
        drop(dying);
        let mut next = Peer::connect(&path);
        next.send(&frame(0xff, 9, 60));
        assert_eq!(witness.recv(), frame(0xff, 9, 60), "cut at {cut}");
    }
    for bad in [0x4745_5420, u32::MAX] {
        let mut broken = Peer::connect(&path);
        broken.0.write_all(&bad.to_be_bytes()).unwrap();
        assert_eq!(broken.0.read(&mut [0; 10]).unwrap(), 0, "length {bad}: closed");
    }
    bridge.stop().unwrap();
}

#[test]
fn a_frame_that_is_too_short_or_too_long_costs_itself_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inst");
    let bridge = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).unwrap();
    let (mut witness, mut author) = (Peer::connect(&path), Peer::connect(&path));
    until(&bridge, |ports| ports.len() == 3);
    for len in [0, 6, 13, 65_536, 100_000] {
        author.send(&vec![0xff; len]);
    }
    author.send(&frame(0xff, 9, 60));
    assert_eq!(witness.recv(), frame(0xff, 9, 60), "the link has outlived them");
    let ports = until(&bridge, |ports| ports.iter().any(|port| port.counters.rx_frames == 6));
    let counters = ports.iter().map(|port| &port.counters).find(|counters| counters.rx_frames > 0).unwrap();
    assert_eq!((counters.dropped(DropReason::Malformed), counters.dropped(DropReason::Oversize)), (3, 2));
    assert_eq!(counters.forwarded + counters.dropped_at(Stage::Ingress), 6);
    bridge.stop().unwrap();
}

/// What waits for a peer that does not read, in frames of these sizes, so that its first frame is cut and more than one
/// segment of its queue is left.
const HEAPS: [&[usize]; 3] = [&[60_000; 9], &[60_000, 60_000, 60_000, 60_000, 60_000, 6_000], &[1514; 2000]];

#[test]
fn a_peer_that_dies_with_a_queue_ends_alone() {
    for port in ["unix:DIR/peer", "unixseq:DIR/peer", "slip:unix:DIR/peer,mtu=65000", "unix:DIR/peer,rewrite=mac"] {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&config(dir.path(), &[port, "unix:DIR/sender", "unix:DIR/witness"])).unwrap();
        let [mut sender, mut witness] = ["sender", "witness"].map(|name| Peer::connect(&dir.path().join(name)));
        for heap in HEAPS {
            let kind = if port.contains("seq") { SocketType::SEQPACKET } else { SocketType::STREAM };
            let dying = socket_with(AddressFamily::UNIX, kind, SocketFlags::empty(), None).unwrap();
            connect(&dying, &SocketAddrUnix::new(dir.path().join("peer")).unwrap()).unwrap();
            let up = |ports: &[PortStatus]| ports.iter().filter(|port| port.state == "up").count() == 3;
            until(&bridge, up);
            for &len in heap.iter().chain([&6_000, &60]) {
                sender.send(&frame(0xff, 1, len));
                assert_eq!(witness.recv(), frame(0xff, 1, len), "{port}");
            }
            until(&bridge, |ports| ports.iter().any(|port| port.queued > 1));
            drop(dying);
            until(&bridge, |ports| ports.iter().all(|port| port.queued == 0) && !up(ports));
            sender.send(&frame(0xff, 1, 99));
            assert_eq!(witness.recv(), frame(0xff, 1, 99), "{port}: the others go on");
        }
        for port in bridge.stop().unwrap().remove(0).ports {
            let counters = port.counters;
            assert_eq!(counters.copies, counters.tx_frames + counters.dropped_at(Stage::Egress), "{}", port.name);
        }
    }
}

#[test]
fn a_dialling_port_waits_for_its_peer_and_survives_its_restart() {
    let dir = tempfile::tempdir().unwrap();
    let both = config(dir.path(), &["unix:DIR/peer,connect,name=far", "unix:DIR/inst"]);
    let bridge = Bridge::start(&both).unwrap();
    let mut inst = Peer::connect(&dir.path().join("inst"));
    let find = |ports: &[PortStatus]| ports.iter().find(|port| port.name == "far").map(|port| port.state);
    for _ in 0..3 {
        until(&bridge, |ports| find(ports) == Some("waiting"));
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("peer")).unwrap();
        let mut far = Peer(listener.accept().unwrap().0);
        until(&bridge, |ports| find(ports) == Some("up"));
        inst.send(&frame(0xff, 1, 60));
        assert_eq!(far.recv(), frame(0xff, 1, 60));
        std::fs::remove_file(dir.path().join("peer")).unwrap();
    }
    bridge.stop().unwrap();
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let stale = dir.path().join("inst");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let first = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).unwrap();
    let error = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).err().unwrap();
    assert!(error.what().ends_with("another port of the bridge listens on it"), "{error}");
    drop(Peer::connect(&stale));
    first.stop().unwrap();
    std::fs::write(&stale, "precious").unwrap();
    let error = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).err().unwrap();
    assert!(error.what().contains("no socket"), "{error}");
    assert_eq!(std::fs::read(&stale).unwrap(), b"precious");
}

#[test]
fn a_peer_that_never_reads_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inst");
    let bridge = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).unwrap();
    let mut deaf = Peer::connect(&path);
    let mut good = Peer::connect(&path);
    let mut sender = Peer::connect(&path);
    until(&bridge, |ports| ports.len() == 4);
    deaf.send(&frame(0xff, 1, 60));
    good.send(&frame(0xff, 2, 60));
    sender.recv();
    sender.recv();
    good.recv();
    let received = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&received);
    let reader = std::thread::spawn(move || {
        let frames = (0..10_000).map(|_| good.recv()).inspect(|_| _ = progress.fetch_add(1, Ordering::Relaxed));
        frames.filter(|frame| frame.len() == 1000).count()
    });
    for number in 0..10_000 {
        sender.send(&frame(1, 3, 1000));
        sender.send(&frame(2, 3, 1000));
        keep_up(&received, number);
    }
    let got = reader.join();
    assert_eq!(got.ok(), Some(10_000), "the one that reads has lost nothing: {:#?}", bridge.status());
    let ports = until(&bridge, |ports| {
        let frames: u64 = ports.iter().map(|port| port.counters.rx_frames).sum();
        frames == 20_002 && ports.iter().any(|port| port.state == "stalled")
    });
    let copies: u64 = ports.iter().map(|port| port.counters.copies).sum();
    let ends =
        |port: &PortStatus| port.counters.tx_frames + port.queued as u64 + port.counters.dropped_at(Stage::Egress);
    assert_eq!(copies, ports.iter().map(ends).sum::<u64>());
    bridge.stop().unwrap();
}

#[test]
fn a_channel_is_a_port() {
    let bridge = Bridge::empty().unwrap();
    let mut a = bridge.add_channel("default", "a").unwrap();
    let mut b = bridge.add_channel("default", "b").unwrap();
    a.send(&frame(0xff, 1, 60)).unwrap();
    assert_eq!(b.recv(PATIENCE).unwrap().unwrap(), frame(0xff, 1, 60));
    b.send(&frame(1, 2, 60)).unwrap();
    assert_eq!(a.recv(PATIENCE).unwrap().unwrap(), frame(1, 2, 60));
    assert_eq!(bridge.switch("default").unwrap().fdb().unwrap().len(), 2);
    let received = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&received);
    let sender = std::thread::spawn(move || {
        for n in 0..20_000_u32 {
            a.send(&[&frame(2, 1, 14)[..], &n.to_be_bytes()].concat()).unwrap();
            keep_up(&progress, n as usize);
        }
        a
    });
    let numbers = (0..20_000_u32).map(|_| {
        let got = b.recv(PATIENCE).unwrap().unwrap();
        received.fetch_add(1, Ordering::Relaxed);
        got[14..].to_vec()
    });
    assert!(numbers.enumerate().all(|(n, got)| got == (n as u32).to_be_bytes()));
    drop(sender.join().unwrap());
    until(&bridge, |ports| ports.len() == 1);
    bridge.stop().unwrap();
    assert!(b.send(&frame(1, 2, 60)).is_err());
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = Bridge::start(&config(dir.path(), &["unix:DIR/inst"])).unwrap();
    for round in 0..50 {
        let mut peer = Peer::connect(&dir.path().join("inst"));
        until(&bridge, |ports| ports.len() == 2);
        peer.send(&frame(0xff, round, 60));
        drop(peer);
        until(&bridge, |ports| ports.len() == 1);
    }
    bridge.stop().unwrap();
}

#[test]
fn a_second_service_with_the_same_address_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = Bridge::start(&config(dir.path(), &["nat:10.0.2.2/24"])).unwrap();
    let error = bridge.add_port(PortSpec::parse("nat:10.0.2.2/24,name=b").unwrap()).unwrap_err();
    assert_eq!(error.what(), "ports nat and b both are the host 10.0.2.2 of switch default");
    bridge.add_port(PortSpec::parse("nat:10.0.2.3/24,name=b").unwrap()).unwrap();
}

#[test]
fn ports_that_come_and_go_leave_no_place_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (mut engine, _handle) = Engine::new("s", &SwitchConfig::default(), &Parts::new().unwrap().0).unwrap();
    let path = dir.path().join("l");
    let add = |engine: &mut Engine, spec: String| {
        engine.lives.open_port(Arc::new(PortSpec::parse(&spec).unwrap()), Beforehand::default())
    };
    add(&mut engine, format!("unix:{}", dir.path().join("stays").display())).unwrap();
    for _ in 0..5 {
        add(&mut engine, format!("unix:{}", path.display())).unwrap();
        engine.lives.remove_by_name("l", false).unwrap();
        add(&mut engine, format!("unix:{},optional", path.join("not/there").display())).unwrap();
        engine.lives.remove_by_name("there", false).unwrap();
    }
    assert_eq!((engine.lives.listeners.iter().count(), engine.lives.ports.timers.next()), (1, None));
    // The one that has the place now is a listener as good as the first.
    add(&mut engine, format!("unix:{}", path.display())).unwrap();
    let _peer = Peer::connect(&path);
    engine.lives.listeners.accept(&mut engine.lives.ports, 1);
    assert_eq!(names(&engine.status().ports), [("stays", "listening"), ("l", "listening"), ("l#1", "up")]);
}

/// Its death may be found twice in one breath, by reading and by writing; that is one death, and the line listens on.
#[test]
fn a_line_listens_all_the_time_however_its_peers_die() {
    let dir = tempfile::tempdir().unwrap();
    let bridge = Bridge::start(&config(dir.path(), &["slip:unix:DIR/line", "unix:DIR/sender"])).unwrap();
    let mut sender = Peer::connect(&dir.path().join("sender"));
    let stop = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::Relaxed) == 0 {
                (0..20).for_each(|_| sender.send(&frame(0xff, 1, 1000)));
                std::thread::sleep(StdDuration::from_micros(500));
            }
        });
        let missed = (0..300).find_map(|round| {
            let dying = UnixStream::connect(dir.path().join("line"));
            let done = dying.and_then(|mut peer| {
                std::thread::sleep(StdDuration::from_millis(round % 8));
                peer.write_all(&[0xdb; 700])
            });
            done.err().map(|error| (round, error))
        });
        stop.store(1, Ordering::Relaxed);
        assert!(missed.is_none(), "{missed:?}");
    });
    bridge.stop().unwrap();
}

/// What a bridge has made, and the threads of it.
fn is_gone(path: &Path, name: &str) {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
            .any(|it| it.trim() == name)
    };
    let start = StdInstant::now();
    while path.symlink_metadata().is_ok() || threads() {
        assert!(start.elapsed() < PATIENCE, "{} or the thread {name} is still there", path.display());
        std::thread::sleep(StdDuration::from_millis(5));
    }
}

#[test]
fn a_bridge_that_is_dropped_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["unix:DIR/drop", "slip:pipe:DIR/line,switch=drop-me", "unixgram:DIR/gram,switch=drop-me"];
    let (keep, early) = {
        let bridge = Bridge::start(&config(dir.path(), &paths)).unwrap();
        assert!(dir.path().join("line.in").exists());
        // An error of the program that embeds it; a handle of it lives on.
        (bridge.switch("drop-me").unwrap().clone(), bridge.add_port(PortSpec::parse("unix:/nowhere/x").unwrap()))
    };
    assert!(early.is_err());
    for name in ["drop", "line.in", "line.out", "gram"] {
        is_gone(&dir.path().join(name), "zb-drop-me");
    }
    assert!(keep.status().is_err());
}

#[test]
fn an_engine_whose_last_handle_goes_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, _) = Parts::new().unwrap();
    let (mut engine, handle) = Engine::new("orphan", &SwitchConfig::default(), &parts).unwrap();
    let path = dir.path().join("orphan");
    let spec = PortSpec::parse(&format!("unix:{}", path.display())).unwrap();
    engine.lives.open_port(Arc::new(spec), Beforehand::default()).unwrap();
    let other = handle.clone();
    let thread = std::thread::Builder::new().name("zb-orphan".into()).spawn(move || engine.run()).unwrap();
    drop(handle);
    assert_eq!(other.status().unwrap().ports.len(), 1, "somebody may still ask");
    drop(other);
    is_gone(&path, "zb-orphan");
    assert_eq!(thread.join().unwrap(), Ok(()));
}

/// The first switch has started when the second cannot be.
#[test]
fn half_a_start_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, ended) = Parts::new().unwrap();
    let bridge = Bridge::with(parts.clone(), ended);
    let (mut engine, handle) = Engine::new("half-1", &SwitchConfig::default(), &parts).unwrap();
    let path = dir.path().join("half");
    let spec = PortSpec::parse(&format!("unix:{}", path.display())).unwrap();
    engine.lives.open_port(Arc::new(spec), Beforehand::default()).unwrap();
    let other = Engine::new("half\0-2", &SwitchConfig::default(), &parts).unwrap();
    // No thread can have this name.
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bridge.spawn(vec![(engine, handle), other])));
    assert!(outcome.is_err() || outcome.is_ok_and(|started| started.is_err()));
    is_gone(&path, "zb-half-1");
}
