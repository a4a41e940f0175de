//! System calls that fail: zbridge runs, and strace makes calls of it fail that did nothing wrong. Whatever fails, the
//! process lives, does not spin, counts every frame, and is as good as new afterwards.
//!
//! strace is attached to the running program and taken off again, so that each test has its time before, during and
//! after. What it made fail is counted in its log: a test whose fault never came to pass has shown nothing, and fails.
//! Short writes cannot be made up this way, because the call would not have sent what it says; they are had from peers
//! that read nothing for a while.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::needs::{self, Need};
use support::{
    GramPeer, Launch, Namespace, PATIENCE, Peer, Process, Received, SeqPeer, Station, StreamPeer, TempDir, eventually,
    frame, require, zbridge,
};

const A: Station = Station::new(1);
const B: Station = Station::new(2);
/// Frames that are sent one by one while calls fail.
const FRAMES: u32 = 40;
/// How long it is until the next frame, when the one before may have been lost.
const PACE: Duration = Duration::from_millis(10);
/// A process that calls nothing for so long waits for something.
const QUIET: Duration = Duration::from_millis(50);
/// Every fourth call from the second on, which meets each of several calls that take turns.
const NOW_AND_THEN: &str = "2+4";

/// strace is there and may trace.
fn strace() -> Need {
    needs::tool("strace", "strace")?;
    let traced = Launch::new("strace").args(["-o", "/dev/null", "true"]).run();
    if traced.status.success() {
        return Ok(());
    }
    needs::missing("the right to trace a process", "give the container CAP_SYS_PTRACE")
}

/// Calls of a process that fail as long as this lives.
struct Faults {
    strace: Process,
    log: String,
    _dir: TempDir,
}

impl Faults {
    /// Makes `call` fail with `error`, `when` it is (strace(1), "inject").
    fn inject(victim: &Process, call: &str, error: &str, when: &str) -> Self {
        let dir = TempDir::new();
        let log = dir.text("log");
        let inject = format!("inject={call}:error={error}:when={when}");
        let pid = victim.pid().to_string();
        let strace = Launch::new("strace").args(["-f", "-o", &log, "-e", &format!("trace={call}"), "-e", &inject]);
        let strace = strace.args(["-p", &pid]).spawn();
        strace.wait_for("attached", PATIENCE);
        // it says so before its grip is firm
        eventually("strace holds every thread", || {
            threads(victim).iter().all(|thread| is_traced(thread)).then_some(())
        });
        Self { strace, log, _dir: dir }
    }

    /// How many calls have failed so far.
    fn count(&self) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.ends_with("(INJECTED)")).count()
    }

    /// Lets the process go, and tells how many calls have failed. Not in the middle of a call: one that strace keeps
    /// from happening and then forgets gives ENOSYS, which is nothing that a kernel would do.
    fn end(self) -> usize {
        eventually("a quiet moment", || {
            let before = self.count();
            std::thread::sleep(QUIET);
            (self.count() == before).then_some(())
        });
        self.strace.sigint();
        let count = self.count();
        self.strace.wait();
        count
    }
}

/// The threads of a process, as folders of proc(5).
fn threads(process: &Process) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).expect("a process that runs");
    tasks.flatten().map(|task| task.path()).collect()
}

/// Whether a debugger has seized the thread (proc_pid_status(5), TracerPid).
fn is_traced(thread: &Path) -> bool {
    let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
}

/// With nothing to do, it does nothing.
fn assert_idle(process: &Process) {
    let before = process.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = process.cpu_ticks() - before;
    assert!(ticks <= 5, "busy for {ticks} of 100 ticks with nothing to do");
}

/// A frame from A to B.
fn numbered(number: u32) -> Vec<u8> {
    frame::numbered(B.mac, A.mac, number, 60 + number as usize * 20)
}

/// Sends frames one by one; each must arrive before the next is sent, unless some may be `lossy`. Gives how many arrived.
fn send_all(near: &mut impl Peer, far: &mut impl Peer, lossy: bool) -> u32 {
    let mut arrived = 0;
    for number in 0..FRAMES {
        near.send(&numbered(number));
        if lossy {
            arrived += far.listen_for(PACE).iter().filter(|got| frame::number(got).is_some()).count() as u32;
        } else {
            far.expect(&numbered(number));
            arrived += 1;
        }
    }
    arrived
}

/// How many frames come late: before one that is sent after them all.
fn late(near: &mut impl Peer, far: &mut impl Peer) -> u32 {
    near.send(&numbered(FRAMES));
    let mut late = 0;
    far.receive_where(|got| {
        let number = frame::number(got);
        late += u32::from(number.is_some_and(|number| number < FRAMES));
        number == Some(FRAMES)
    });
    late
}

/// The switch learns where both are, and whoever is waited for has joined it.
fn introduce(near: &mut impl Peer, far: &mut impl Peer) {
    eventually("both have joined the switch", || {
        near.send(&A.arp_request(B.ip));
        far.listen_for(PACE).contains(&A.arp_request(B.ip)).then_some(())
    });
    far.send(&B.arp_reply(A));
    near.expect(&B.arp_reply(A));
}

/// Ends the bridge and checks its summary: with two ports each frame that came in has made one copy, which was sent or
/// dropped. Gives the number of those that the system refused.
fn sum_up(bridge: Process) -> u64 {
    bridge.sigint();
    let exit = bridge.wait();
    assert_eq!(exit.code(), 0, "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    let (_, table) = exit.stdout.split_once("rx frames").expect("a summary");
    let mut sums = [0; 3];
    let reasons = table.lines().filter_map(|line| line.strip_prefix("  dropped on ")?.split_once("  system  "));
    let refused = reasons.filter_map(|(counted, _)| counted.split_whitespace().last()?.parse::<u64>().ok()).sum();
    for row in table.lines().skip(1).filter(|line| !line.starts_with(' ')) {
        let numbers: Vec<u64> = row.split_whitespace().filter_map(|cell| cell.parse().ok()).collect();
        let [rx, _, tx, _, dropped] = numbers[..] else { panic!("a row of the summary: {row}") };
        sums = [sums[0] + rx, sums[1] + tx, sums[2] + dropped];
    }
    let [rx, tx, dropped] = sums;
    assert!(rx > 0);
    assert_eq!(rx, tx + dropped, "{}", exit.stdout);
    refused
}

/// A fault and what it may cost.
struct Fault {
    call: &'static str,
    error: &'static str,
    /// Frames may be lost, and are then counted.
    lossy: bool,
}

const fn harmless(call: &'static str, error: &'static str) -> Fault {
    Fault { call, error, lossy: false }
}

const fn lossy(call: &'static str, error: &'static str) -> Fault {
    Fault { call, error, lossy: true }
}

/// Sends frames from `near` to `far` under each fault, and after it.
fn survive(mut bridge: Process, mut near: impl Peer, mut far: impl Peer, faults: &[Fault]) {
    introduce(&mut near, &mut far);
    let mut lost = 0;
    for Fault { call, error, lossy } in faults {
        let injected = Faults::inject(&bridge, call, error, NOW_AND_THEN);
        let mut arrived = send_all(&mut near, &mut far, *lossy);
        let count = injected.end();
        arrived += late(&mut near, &mut far);
        println!("{call} {error}: {count} failed, {arrived} of {FRAMES} frames arrived");
        assert!(count > 0, "{call} was never called");
        assert!(bridge.is_running(), "{call} {error}");
        lost += u64::from(FRAMES - arrived);
        send_all(&mut near, &mut far, false);
    }
    assert_idle(&bridge);
    assert_eq!(sum_up(bridge), lost, "what did not arrive was refused by the system, and counted");
}

const EPOLL: Fault = harmless("epoll_wait", "EINTR");
/// A stream sends a run of frames with the one, several runs with the other.
const STREAM_SEND: &str = "sendto,sendmsg";
const STREAM: [Fault; 4] =
    [EPOLL, harmless("recvfrom", "EINTR"), harmless(STREAM_SEND, "EINTR"), harmless(STREAM_SEND, "ENOBUFS")];
const PACKETS: [Fault; 5] = [
    EPOLL,
    harmless("recvfrom", "EINTR"),
    harmless("sendto", "EINTR"),
    lossy("sendto", "ENOBUFS"),
    lossy("sendto", "ENOMEM"),
];

#[test]
fn unix_streams() {
    require!(strace());
    let dir = TempDir::new();
    let bridge = zbridge!("--port", format!("unix:{}", dir.text("s"))).spawn();
    let [near, far] = [(); 2].map(|()| StreamPeer::unix(dir.path("s")));
    survive(bridge, near, far, &STREAM);
}

#[test]
fn unix_packets() {
    require!(strace());
    let dir = TempDir::new();
    let bridge = zbridge!("--port", format!("unixseq:{}", dir.text("q"))).spawn();
    let [near, far] = [(); 2].map(|()| SeqPeer::unix(dir.path("q")));
    survive(bridge, near, far, &PACKETS);
}

#[test]
fn unix_datagrams() {
    require!(strace());
    let dir = TempDir::new();
    let port = |name: &str| format!("unixgram:{},peer={}", dir.text(name), dir.text(&format!("{name}-peer")));
    let bridge = zbridge!("--port", port("a"), "--port", port("b")).spawn();
    let peer = |name: &str| GramPeer::unix(dir.path(&format!("{name}-peer")), dir.path(name));
    let (near, far) = (peer("a"), peer("b"));
    eventually("both sockets are there", || (dir.path("a").exists() && dir.path("b").exists()).then_some(()));
    survive(bridge, near, far, &PACKETS);
}

#[test]
fn tcp_streams() {
    require!(strace(), needs::netns());
    let namespace = Namespace::new("faults");
    let bridge = zbridge!("--port", "tcp:127.0.0.1:5000,listen").inside(&namespace).spawn();
    let [near, far] = namespace.inside(|| [(); 2].map(|()| StreamPeer::tcp("127.0.0.1:5000".parse().unwrap())));
    survive(bridge, near, far, &STREAM);
}

#[test]
fn udp_datagrams() {
    require!(strace(), needs::netns());
    let namespace = Namespace::new("faults");
    let ports = ["udp:127.0.0.1:1001->127.0.0.1:1002,name=a", "udp:127.0.0.1:2001->127.0.0.1:2002,name=b"];
    let bridge = zbridge!("--port", ports[0], "--port", ports[1]).inside(&namespace);
    let address = |port: u16| ([127, 0, 0, 1], port).into();
    let peer = |local, remote| GramPeer::udp(address(local), address(remote));
    let (near, far) = namespace.inside(|| (peer(1002, 1001), peer(2002, 2001)));
    let bridge = bridge.spawn();
    bridge.wait_for("b ", PATIENCE);
    survive(bridge, near, far, &PACKETS);
}

/// The host at the other end of an interface answers pings of `peer` under each fault, and after it.
fn survive_pings(mut bridge: Process, mut peer: impl Peer, faults: &[Fault]) {
    let mut pings = |lossy: bool| {
        let answered = |number: &u16| {
            peer.send(&B.echo_request(A, *number, b"fault"));
            // the kernel chooses what stands in the IPv4 header
            let message = A.echo_reply(B, *number, b"fault").split_off(34);
            if !lossy {
                peer.receive_where(|got| got.ends_with(&message));
                return true;
            }
            peer.listen_for(PACE).iter().any(|got| got.ends_with(&message))
        };
        (0..FRAMES as u16).filter(answered).count()
    };
    pings(false);
    for Fault { call, error, lossy } in faults {
        let injected = Faults::inject(&bridge, call, error, NOW_AND_THEN);
        let answered = pings(*lossy);
        let count = injected.end();
        println!("{call} {error}: {count} failed, {answered} of {FRAMES} pings answered");
        assert!(count > 0 && bridge.is_running(), "{call} {error}");
        pings(false);
    }
    assert_idle(&bridge);
    assert!(sum_up(bridge) > 0, "frames were lost, and counted");
}

#[test]
fn taps() {
    require!(strace(), needs::netns(), needs::tun());
    let (namespace, dir) = (Namespace::new("faults"), TempDir::new());
    let tap = "tap:zt0,mac=02:00:00:00:00:01,addr=192.0.2.1/24,up";
    let bridge = zbridge!("--port", tap, "--port", format!("unix:{}", dir.text("s"))).inside(&namespace).spawn();
    let peer = StreamPeer::unix(dir.path("s"));
    namespace.ip("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev zt0 nud permanent");
    let faults = [
        EPOLL,
        harmless("read,readv", "EINTR"),
        harmless("write,writev", "EINTR"),
        lossy("write,writev", "ENOMEM"),
        lossy("write,writev", "EIO"),
    ];
    survive_pings(bridge, peer, &faults);
}

#[test]
fn interfaces() {
    require!(strace(), needs::netns());
    let (host, namespace, dir) = (Namespace::new("host"), Namespace::new("faults"), TempDir::new());
    host.veth("eth0", &namespace, "eth0");
    host.ip("link set eth0 address 02:00:00:00:00:01");
    host.ip("addr add 192.0.2.1/24 dev eth0");
    host.ip("neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth0 nud permanent");
    let ports = ["packet:eth0".to_owned(), format!("unix:{}", dir.text("s"))];
    let bridge = zbridge!("--port", &ports[0], "--port", &ports[1]).inside(&namespace).spawn();
    let peer = StreamPeer::unix(dir.path("s"));
    let faults = [
        EPOLL,
        harmless("recvmsg", "EINTR"),
        harmless("sendmsg", "EINTR"),
        lossy("sendmsg", "ENOBUFS"),
        lossy("sendmsg", "ENOMEM"),
    ];
    survive_pings(bridge, peer, &faults);
}

/// A listener that has no descriptor for a client tries again, without haste; then nothing that the client sent is lost.
#[test]
fn no_descriptor_for_a_client() {
    require!(strace());
    let dir = TempDir::new();
    for (kind, error) in [("unix", "EMFILE"), ("unix", "ENOMEM"), ("unixseq", "ENFILE")] {
        let path = dir.path(error);
        let bridge = zbridge!("--port", format!("{kind}:{}", path.display())).spawn();
        if kind == "unix" {
            refuse_clients(bridge, error, || StreamPeer::unix(&path));
        } else {
            refuse_clients(bridge, error, || SeqPeer::unix(&path));
        }
    }
    require!(needs::netns());
    let namespace = Namespace::new("faults");
    let bridge = zbridge!("--port", "tcp:127.0.0.1:5000,listen").inside(&namespace).spawn();
    refuse_clients(bridge, "EMFILE", || {
        namespace.inside(|| StreamPeer::tcp("127.0.0.1:5000".parse().expect("an address")))
    });
}

fn refuse_clients<P: Peer>(mut bridge: Process, error: &str, connect: impl Fn() -> P) {
    let mut near = connect();
    let injected = Faults::inject(&bridge, "accept4", error, "1+");
    let mut far = connect();
    let words = B.arp_request(A.ip);
    far.send(&words);
    eventually("it tries", || (injected.count() > 0).then_some(()));
    let (before, start) = (bridge.cpu_ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    assert!(bridge.cpu_ticks() - before <= 20, "it spins");
    let (tries, seconds) = (injected.count(), start.elapsed().as_secs_f64());
    println!("accept4 {error}: failed {tries} times in {seconds} s");
    assert!(tries as f64 <= 1.0 + 10.0 * seconds, "accept4 {error}: {tries} times in {seconds} s");
    injected.end();
    assert!(bridge.is_running());
    near.expect(&words);
    introduce(&mut near, &mut far);
    send_all(&mut near, &mut far, false);
    assert_idle(&bridge);
    sum_up(bridge);
}

/// While there is no memory at all, a stream is tried again now and then, and afterwards nothing is lost.
#[test]
fn no_memory_for_a_while() {
    require!(strace());
    let dir = TempDir::new();
    let bridge = zbridge!("--port", format!("unix:{}", dir.text("s"))).spawn();
    let [mut near, mut far] = [(); 2].map(|()| StreamPeer::unix(dir.path("s")));
    introduce(&mut near, &mut far);
    for error in ["ENOBUFS", "ENOMEM"] {
        let (injected, start) = (Faults::inject(&bridge, STREAM_SEND, error, "1..50"), Instant::now());
        (0..FRAMES).for_each(|number| near.send(&numbered(number)));
        (0..FRAMES).for_each(|number| far.expect(&numbered(number)));
        println!("{STREAM_SEND} {error}: failed 50 times in {:?}", start.elapsed());
        assert!(start.elapsed() > Duration::from_millis(200), "it spins");
        assert_eq!(injected.end(), 50);
    }
    assert_idle(&bridge);
    assert_eq!(sum_up(bridge), 0);
}

/// A peer that reads nothing for a while has frames cut wherever its buffer ends; it gets them whole and in order.
#[test]
fn short_writes() {
    require!(strace());
    let dir = TempDir::new();
    let bridge = zbridge!("--port", format!("unix:{},queue=10000", dir.text("s"))).spawn();
    let [mut near, mut far] = [(); 2].map(|()| StreamPeer::unix(dir.path("s")));
    introduce(&mut near, &mut far);
    let frames: Vec<_> = (0..300).map(|number| frame::numbered(B.mac, A.mac, number, 5000)).collect();
    for error in ["EINTR", "ENOBUFS"] {
        let injected = Faults::inject(&bridge, STREAM_SEND, error, NOW_AND_THEN);
        // all of it is more than the socket holds, so the far end has to read in between
        frames.iter().for_each(|frame| near.send(frame));
        for frame in &frames {
            assert_eq!(far.receive(PATIENCE), Received::Frame(frame.clone()), "{error}");
        }
        assert!(injected.end() > 0);
    }
    assert_idle(&bridge);
    assert_eq!(sum_up(bridge), 0);
}
