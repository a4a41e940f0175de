//! TAP ports through the program: hosts in namespaces of their own, and all that can befall an interface.

use rustix::io::{FdFlags, fcntl_setfd};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::frame::{BROADCAST, CTAG, STAG, numbered, tagged};
use support::{
    Exit, Namespace, PATIENCE, Peer, Process, Received, Station, StreamPeer, Summary, TapPeer, TempDir, eventually,
    needs, require, zbridge,
};
use zbridge::config;
use zbridge::internals::port::Tap;

const HOST: &str = "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64";
const HOST_MAC: [u8; 6] = [0, 0, 0x5e, 0, 0x53, 0xff];
/// The station at the other end: 192.0.2.7.
const PEER: Station = Station::new(7);

/// A TAP on a host and a client of `unix:`, on one switch.
struct Lab {
    // dropped in this order: what uses the namespace goes before it
    zbridge: Process,
    peer: StreamPeer,
    host: Namespace,
    dir: TempDir,
}

impl Lab {
    fn start(label: &str, tap: &str) -> Self {
        let (host, dir) = (Namespace::new(label), TempDir::new());
        Self::start_in(host, dir, tap)
    }

    fn start_in(host: Namespace, dir: TempDir, tap: &str) -> Self {
        let zbridge = zbridge!("-p", tap, "-p", format!("unix:{}", dir.text("inst1"))).inside(&host).ready();
        let peer = StreamPeer::unix(dir.path("inst1"));
        zbridge.wait_for("inst1#1: connected", PATIENCE);
        Self { zbridge, peer, host, dir }
    }

    /// Answers what the host asks PEER until `done`.
    fn serve(&mut self, mut done: impl FnMut() -> bool) {
        while !done() {
            if let Received::Frame(frame) = self.peer.receive(Duration::from_millis(20))
                && let Some(answer) = PEER.answer(&frame)
            {
                self.peer.send(&answer);
            }
        }
    }

    /// Whether the host's ping (`ping -c 1 ARGUMENTS`) is answered by PEER.
    fn pings(&mut self, arguments: &str) -> bool {
        let mut ping = ping(&self.host, arguments);
        let mut status = None;
        self.serve(|| {
            status = ping.try_wait().expect("a child");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }

    /// Sends a numbered frame to the host again and again until its interface has counted one more. Returns how long
    /// that took.
    fn until_heard(&mut self, interface: &str) -> Duration {
        let start = Instant::now();
        let before = received(&self.host, interface).0;
        eventually("the host hears its peer", || {
            self.peer.send(&numbered(BROADCAST, PEER.mac, 0, 60));
            (received(&self.host, interface).0 > before).then(|| start.elapsed())
        })
    }
}

fn ping(host: &Namespace, arguments: &str) -> Child {
    let mut command = host.command("ping");
    command.args(["-n", "-c", "1", "-W", "10"]).args(arguments.split(' '));
    command.stdout(Stdio::null()).spawn().expect("ping runs")
}

/// Frames and octets that an interface has received.
fn received(host: &Namespace, interface: &str) -> (u64, u64) {
    let text = host.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev")).expect("the interfaces' counters");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{interface}:")));
    let mut numbers = line.unwrap_or("0 0").split_whitespace().map(|word| word.parse().expect("a number"));
    let octets = numbers.next().unwrap_or(0);
    (numbers.next().unwrap_or(0), octets)
}

fn refused(exit: &Exit, code: i32, says: &str) {
    assert_eq!(exit.code(), code, "{exit:?}");
    assert!(exit.stderr.contains(says), "{says:?} is not in {}", exit.stderr);
}

/// Two hosts, each in a namespace of its own with one end of the switch.
#[test]
fn hosts_reach_each_other() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"), needs::tool("iperf3", "iperf3"));
    let (middle, left, right) = (Namespace::new("middle"), Namespace::new("left"), Namespace::new("right"));
    let zbridge = zbridge!("-p", "tap:zl,mtu=8900", "-p", "tap:zr,mtu=8900").inside(&middle).ready();
    // an interface may be moved while its descriptor stays with the switch
    for (tap, host, number) in [("zl", &left, 1), ("zr", &right, 2)] {
        middle.ip(&format!("link set {tap} netns {}", host.name()));
        host.ip(&format!("addr add 192.0.2.{number}/24 dev {tap}"));
        host.ip(&format!("addr add 2001:db8::{number}/64 dev {tap}"));
        host.ip(&format!("link set {tap} up"));
    }
    assert!(left.pings("192.0.2.2") && right.pings("192.0.2.1"));
    assert!(left.pings("2001:db8::2") && right.pings("2001:db8::1"));
    left.check("ping -n -c 3 -i 0.01 -W 5 -M do -s 8872 192.0.2.2");
    left.check("ping -n -c 3 -i 0.01 -W 5 -M do -s 8852 2001:db8::2");
    left.transfers_with(&right);
    let summary = Summary::of(zbridge);
    summary.check_pair("zl", "zr");
    assert!(summary.port("zl").rx_bytes > 1_000_000 && summary.port("zr").rx_bytes > 1_000_000);
}

#[test]
fn short_frames_stay_short() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let mut lab = Lab::start("tags", "tap:zeth0,addr=192.0.2.2/24,mac=00:00:5e:00:53:ff");
    let mut ping = ping(&lab.host, "192.0.2.7");
    // neither way is an ARP packet of 42 octets padded
    let request = lab.peer.receive_where(|frame| PEER.answer(frame).is_some());
    assert_eq!((request.len(), &request[6..12]), (42, &HOST_MAC[..]));
    let before = received(&lab.host, "zeth0");
    lab.peer.send(&PEER.answer(&request).unwrap());
    eventually("the reply is counted", || (received(&lab.host, "zeth0").0 > before.0).then_some(()));
    assert_eq!(received(&lab.host, "zeth0").1 - before.1, 42);
    lab.serve(|| ping.try_wait().unwrap().is_some());
    assert!(ping.wait().unwrap().success());

    Summary::of(lab.zbridge).check_pair("zeth0", "inst1");
}

/// A second switch listens on the host's interface: what one sends, the other gets, bit for bit.
#[test]
fn tagged_and_awkward_frames_pass_untouched() {
    require!(needs::netns(), needs::tun());
    let mut lab = Lab::start("tags", "tap:zeth0,mtu=9000,up");
    let beyond = format!("unix:{}", lab.dir.text("beyond"));
    let second = zbridge!("-p", "packet:zeth0", "-p", beyond).inside(&lab.host).ready();
    let mut beyond = StreamPeer::unix(lab.dir.path("beyond"));
    second.wait_for("beyond#1: connected", PATIENCE);
    let plain = |number| numbered(BROADCAST, PEER.mac, number, [18, 42, 60, 1514, 9000][number as usize % 5]);
    let mut frames: Vec<Vec<u8>> = (0..5).map(plain).collect();
    frames.push(PEER.arp_request(std::net::Ipv4Addr::new(192, 0, 2, 9)));
    frames.extend((5..10).map(|number| tagged(&plain(number), CTAG, 0xa064)));
    frames.extend((10..15).map(|number| tagged(&plain(number), STAG, 0x00c8)));
    frames.extend((15..20).map(|number| tagged(&tagged(&plain(number), CTAG, 30), STAG, 200)));
    frames.extend((20..25).map(|number| tagged(&plain(number), CTAG, 0xe000)));
    for frame in frames {
        lab.peer.send(&frame);
        beyond.expect(&frame);
        let back = [&frame[..6], &HOST_MAC, &frame[12..]].concat();
        beyond.send(&back);
        lab.peer.expect(&back);
    }
    Summary::of(lab.zbridge).check_pair("zeth0", "inst1");
    Summary::of(second).check_pair("zeth0", "beyond");
}

#[test]
fn an_interface_that_is_down_drops_and_comes_back() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let mut lab = Lab::start("down", HOST);
    assert!(lab.pings("192.0.2.7"));
    let mut lost = 0;
    for round in 1..=2 {
        lab.host.ip("link set zeth0 down");
        // some that came too early after the last round count, too
        let before = lab.zbridge.dropped_as("zeth0", "link-down");
        for number in 0..50 {
            lab.peer.send(&tagged(&numbered(BROADCAST, PEER.mac, number, 60), CTAG, 1));
        }
        lost += 50;
        lab.zbridge.wait_for_nth("zeth0: its interface is down; frames for it are dropped", round, PATIENCE);
        // what was sent before it was up again is dropped, nothing waits for it
        eventually("all are dropped", || (lab.zbridge.dropped_as("zeth0", "link-down") >= before + 50).then_some(()));
        lab.host.ip("link set zeth0 up");
        let took = lab.until_heard("zeth0");
        lab.zbridge.wait_for_nth("zeth0: its interface is up again", round, PATIENCE);
        println!("round {round}: heard {took:?} after the interface was up again");
        assert!(lab.pings("192.0.2.7"), "both ways");
    }
    let summary = Summary::of(lab.zbridge);
    summary.check_pair("zeth0", "inst1");
    let tap = summary.port("zeth0");
    assert!(tap.dropped_as("link-down") >= lost, "{tap:#?}");
    assert_eq!((tap.state.as_str(), tap.kind.as_str()), ("up", "tap"));
}

/// With nothing to carry for it, too.
#[test]
fn an_idle_interface_that_goes_down_is_told_of() {
    require!(needs::netns(), needs::tun());
    let (host, dir) = (Namespace::new("idle"), TempDir::new());
    host.ip("tuntap add zeth0 mode tap");
    host.check("echo 1 > /proc/sys/net/ipv6/conf/zeth0/disable_ipv6");
    let zbridge = zbridge!("-p", "tap:zeth0,up").env("XDG_RUNTIME_DIR", dir.root()).inside(&host).ready();
    for round in 1..=2 {
        host.ip("link set zeth0 down");
        zbridge.wait_for_nth("zeth0: its interface is down; frames for it are dropped", round, PATIENCE);
        host.ip("link set zeth0 up");
        zbridge.wait_for_nth("zeth0: its interface is up again", round, PATIENCE);
    }
}

#[test]
fn a_deleted_interface_that_was_made_here_is_made_again() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let mut lab = Lab::start("made", HOST);
    for round in 1..=2 {
        assert!(lab.pings("192.0.2.7"));
        lab.host.ip("link del zeth0");
        lab.zbridge.wait_for_nth("zeth0: the interface was deleted; trying again", round, PATIENCE);
        lab.zbridge.wait_for_nth("zeth0: open again", round, PATIENCE);
    }
    lab.until_heard("zeth0");
    for said in ["zeth0: the interface was deleted", "zeth0: open again"] {
        assert_eq!(lab.zbridge.stderr().matches(said).count(), 2, "{}", lab.zbridge.stderr());
    }
    let addresses = lab.host.ip("-br addr show zeth0");
    assert!(addresses.contains("192.0.2.2/24") && addresses.contains("2001:db8::2/64"), "{addresses}");
    // An interface that is made anew has its MAC address again, so there is nothing to tell anybody.
    Summary::of(lab.zbridge).check_pair("zeth0", "inst1");
    lab.host.check("! ip link show zeth0 2>/dev/null");
}

#[test]
fn a_deleted_interface_of_others_is_waited_for() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let host = Namespace::new("foreign");
    host.ip("tuntap add zeth0 mode tap");
    let mut lab = Lab::start_in(host, TempDir::new(), HOST);
    assert!(lab.pings("192.0.2.7"));
    lab.host.ip("link del zeth0");
    lab.zbridge.wait_for("zeth0: the interface was deleted; trying again", PATIENCE);
    for number in 0..20 {
        lab.peer.send(&numbered(BROADCAST, PEER.mac, number, 60));
    }
    // with no other port up, what the peer sent meanwhile had nowhere to go
    eventually("all are dropped", || {
        let drops = [("inst1", "no-egress"), ("zeth0", "link-down")];
        let dropped: u64 = drops.iter().map(|(port, reason)| lab.zbridge.dropped_as(port, reason)).sum();
        (dropped == 20).then_some(())
    });
    // several attempts later it still is not there, because it is not ours to make
    std::thread::sleep(Duration::from_millis(400));
    lab.host.check("! ip link show zeth0 2>/dev/null");
    lab.host.ip("tuntap add zeth0 mode tap");
    lab.zbridge.wait_for("zeth0: open again", PATIENCE);
    assert!(lab.pings("192.0.2.7"));
    let summary = Summary::of(lab.zbridge);
    assert_eq!(summary.all_of("inst1").dropped_as("no-egress") + summary.port("zeth0").dropped_as("link-down"), 20);
    lab.host.ip("link show zeth0");
}

/// Another program holds the TAP; later this program does, and another of itself is refused.
#[test]
fn a_busy_interface_names_its_holder() {
    require!(needs::netns(), needs::tun());
    let host = Namespace::new("busy");
    // a name that no other test's holder has
    let name = format!("zb{}", std::process::id());
    let port = format!("tap:{name}");
    let holder = TapPeer::open(&host, &name);
    let says = format!("in use by pid {} (", std::process::id());
    let exit = zbridge!("-p", &port).inside(&host).run();
    refused(&exit, 1, &format!("{name}: {says}"));
    refused(&exit, 1, "hint: a TAP has one user at a time");
    let optional = zbridge!("-p", format!("{port},optional")).inside(&host).ready();
    assert!(optional.stdout().contains(&format!("{name}  tap  waiting  {says}")), "{}", optional.stdout());
    drop(holder);
    optional.wait_for(&format!("{name}: open again"), PATIENCE);
    let exit = zbridge!("-p", &port).inside(&host).run();
    refused(&exit, 1, &format!("{name}: in use by pid {} (zbridge)", optional.pid()));
}

#[test]
fn what_is_no_tap_is_named() {
    require!(needs::netns(), needs::tun());
    let host = Namespace::new("notap");
    host.ip("link add zeth0 type veth peer name zeth1");
    refused(&zbridge!("-p", "tap:zeth0").inside(&host).run(), 2, "zeth0: is an interface of kind veth, not a TAP");
    refused(&zbridge!("-p", "tap:a-name-that-is-too-long").inside(&host).run(), 2, "15");
}

/// An ordinary user needs a TAP that was made for them, and then nothing else.
#[test]
fn ordinary_users_are_told_what_to_ask_for() {
    require!(needs::netns(), needs::tun(), needs::tool("setpriv", "util-linux"));
    let (host, dir) = (Namespace::new("user"), TempDir::new());
    // the device as distributions have it, open to all, whatever it is on this machine
    let device = |mode: &str| {
        let make = format!("mount -t tmpfs none /dev/net && mknod -m {mode} /dev/net/tun c 10 200 && exec \"$@\"");
        zbridge!().inside(&host).under(["unshare", "-m", "sh", "-c", &make, "sh"]).as_nobody(&dir)
    };
    let exit = device("0666").args(["-p", "tap:zeth0"]).run();
    refused(&exit, 5, "zeth0: not permitted to create it\n");
    refused(&exit, 5, "\n  hint: sudo ip tuntap add zeth0 mode tap user $USER\n");
    let exit = device("0600").args(["-p", "tap:zeth0"]).run();
    refused(&exit, 5, "not permitted to open /dev/net/tun");

    host.ip("tuntap add zeth1 mode tap user 4242");
    refused(&device("0666").args(["-p", "tap:zeth1"]).run(), 5, "belongs to the user with id 4242");
    host.ip("tuntap add zeth0 mode tap user 65534");
    let zbridge = device("0666").args(["-p", "tap:zeth0"]).ready();
    assert!(zbridge.stdout().starts_with("zeth0  tap  "), "{}", zbridge.stdout());
    let exit = device("0666").args(["-p", "tap:zeth0,up"]).run();
    refused(&exit, 1, &format!("in use by pid {}", zbridge.pid()));
    drop(zbridge);
    // One that is there goes on, and so do the others; all that is missing is said at once, and does it.
    let set_up = "sudo ip link set zeth0 up && sudo ip addr add 192.0.2.2/24 dev zeth0";
    let zbridge = device("0666").args(["-p", "tap:zeth0,addr=192.0.2.2/24"]).ready();
    zbridge.wait_for("zeth0: not permitted to set it up (up, addr=192.0.2.2/24); it is used as it is", PATIENCE);
    zbridge.wait_for(&format!("hint: {set_up}"), PATIENCE);
    assert!(zbridge.stdout().contains(&format!("to attach\n  zeth0  host:  {set_up}\n")), "{}", zbridge.stdout());
    host.check(&set_up.replace("sudo ", ""));
    zbridge.wait_for("zeth0: its interface is up again", PATIENCE);
    drop(zbridge);
    // Where it is not, too, the whole of it is said.
    let exit = device("0666").args(["-p", "tap:zeth2,addr=192.0.2.2/24"]).run();
    let all = format!("hint: sudo ip tuntap add zeth2 mode tap user $USER && {}", set_up.replace("zeth0", "zeth2"));
    refused(&exit, 5, &all);
}

#[test]
fn a_machine_without_the_device_is_told_of() {
    require!(needs::netns());
    let host = Namespace::new("nodev");
    let hide = "mount -t tmpfs none /dev/net && exec \"$@\"";
    let exit = zbridge!("-p", "tap:zeth0").inside(&host).under(["unshare", "-m", "sh", "-c", hide, "sh"]).run();
    refused(&exit, 4, "zeth0: there is no /dev/net/tun\n");
    refused(&exit, 4, "hint: sudo modprobe tun; in a container: --device /dev/net/tun");
}

#[test]
fn an_interface_is_set_up_as_asked_and_persists_if_asked() {
    require!(needs::netns(), needs::tun());
    let host = Namespace::new("setup");
    let port = "tap:zeth0,mac=02:00:5e:00:53:aa,mtu=9000,addr=192.0.2.2/24,addr=2001:db8::2/64,user=4242,persist";
    let zbridge = zbridge!("-p", port, "-p", "tap:zeth1").inside(&host).ready();
    let shown = host.ip("-d addr show zeth0");
    for what in ["mtu 9000", "02:00:5e:00:53:aa", "192.0.2.2/24", "2001:db8::2/64", "user 4242", "persist on"] {
        assert!(shown.contains(what), "{what} is not in {shown}");
    }
    Summary::of(zbridge);
    host.ip("link show zeth0");
    host.check("! ip link show zeth1 2>/dev/null");
}

#[test]
fn a_tap_that_another_program_opened_is_taken_over() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let (host, dir) = (Namespace::new("fd"), TempDir::new());
    let options = config::Tap::new("zeth0");
    let tap = host.inside(|| Tap::open(&options, None)).unwrap();
    // what zbridge inherits has to stay open in it
    fcntl_setfd(&tap, FdFlags::empty()).unwrap();
    let number = tap.as_fd().as_raw_fd();
    let mut lab = Lab::start_in(host, dir, &format!("{HOST},fd={number}"));
    fcntl_setfd(&tap, FdFlags::CLOEXEC).unwrap();
    assert!(lab.pings("192.0.2.7"));
    let exit = zbridge!("-p", "tap:zeth0,fd=987").inside(&lab.host).run();
    refused(&exit, 2, "descriptor 987 is not open");
    Summary::of(lab.zbridge).check_pair("zeth0", "inst1");
    drop(lab.dir);
    drop(tap);
}
