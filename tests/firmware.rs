//! Instances that are started again, as real firmware is: each time with another MAC address and the same IP addresses,
//! and without a word of it. Whoever has spoken to the one before reaches the next one at once.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};
use support::standin::{Build, tap_program};
use support::{
    Firmware, Framing, LinePeer, Namespace, PATIENCE, Process, StreamPeer, TapPeer, TempDir, eventually,
    eventually_within, needs, require, zbridge,
};

/// In which an answer has to come.
const SOON: Duration = Duration::from_secs(2);
const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A new instance, once the port is there for it.
fn instance(bridge: &Process, dir: &TempDir, slip: bool, nth: usize) -> Firmware {
    let path = dir.path("inst.sock");
    let instance = match slip {
        true => Firmware::start(LinePeer::unix(Framing::Slip, path), 1),
        false => Firmware::start(StreamPeer::unix(path), 1),
    };
    bridge.wait_for_nth(&format!("{}: connected", name(slip)), nth, PATIENCE);
    instance
}

/// What the port of an instance is called: a listener's client has a number.
fn name(slip: bool) -> &'static str {
    if slip { "inst" } else { "inst#1" }
}

fn port(dir: &TempDir, slip: bool) -> String {
    format!("{}unix:{},name=inst", if slip { "slip:" } else { "" }, dir.text("inst.sock"))
}

/// Ends an instance, and waits until its port has noticed.
fn end(bridge: &Process, instance: Firmware, slip: bool, nth: usize) {
    drop(instance);
    // What it had not read makes a reset of its end.
    let left = |line: &&str| {
        line.contains(name(slip)) && ["closed the connection", "reset by peer"].iter().any(|how| line.contains(how))
    };
    eventually("the port to be left", || (bridge.stderr().lines().filter(left).count() >= nth).then_some(()));
}

/// A TAP of the host, whose kernel keeps what it knows of its neighbours.
#[test]
fn a_host_reaches_an_instance_that_was_started_again() {
    require!(needs::root(), needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    for slip in [true, false] {
        let (dir, host) = (TempDir::new(), Namespace::new("again"));
        let tap = "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64";
        let bridge = zbridge!("-v", "--port", tap, "--port", port(&dir, slip)).inside(&host).spawn();
        bridge.wait_for("to attach", PATIENCE);
        let mut before = String::new();
        for round in 1..=3 {
            let instance = instance(&bridge, &dir, slip, round);
            let begun = Instant::now();
            for address in [V4, V6] {
                let pinged = host.run(&format!("ping -n -c 1 -W 2 {address}"));
                assert_eq!(pinged.rc, 0, "round {round}: {}\n{}", pinged.output, host.ip("neigh"));
            }
            println!("slip {slip}, round {round}: both answers after {:?}", begun.elapsed());
            assert!(round == 1 || begun.elapsed() < SOON);
            let neighbours = host.ip("neigh show dev zeth0");
            assert_ne!(neighbours, before, "another MAC address");
            before = neighbours;
            end(&bridge, instance, slip, round);
        }
        bridge.sigint();
        assert_eq!(bridge.wait().code(), 0);
    }
}

/// The interface of a program of `run`, whose namespace the bridge has no rights in.
#[test]
fn a_program_that_has_joined_reaches_it_too() {
    require!(needs::root(), needs::tun(), needs::tool("ping", "iputils-ping"), needs::tool("setpriv", "util-linux"));
    for slip in [true, false] {
        let dir = TempDir::new();
        let bridge = zbridge!("-v", "--name", "lab", "--port", port(&dir, slip));
        let bridge = bridge.env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir).ready();
        let first = instance(&bridge, &dir, slip, 1);
        let script = format!(
            "for round in 1 2 3; do
                for ip in {V4} {V6}; do ping -n -c 1 -W 2 $ip >&2; done
                echo reached $round
                until [ -e {}$round ]; do sleep 0.02; done
            done",
            dir.text("go")
        );
        let hosts = ["--host", "192.0.2.9/24", "--host", "2001:db8::9/64"];
        let program = zbridge!("run").env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir);
        let program = program.args(["--join", "lab"]).args(hosts).args(["--", "sh", "-ec", &script]).spawn();
        let mut running = Some(first);
        for round in 1..=3 {
            program.wait_for_nth("reached", round, PATIENCE);
            if let Some(instance) = running.take() {
                end(&bridge, instance, slip, round);
            }
            if round < 3 {
                running = Some(instance(&bridge, &dir, slip, round + 1));
            }
            std::fs::write(dir.path(&format!("go{round}")), "").unwrap();
        }
        let exit = program.wait();
        assert_eq!(exit.code(), 0, "{exit:?}");
    }
}

/// Another guest, that takes no answer to what it has not asked.
#[test]
fn another_guest_reaches_it_too() {
    for slip in [true, false] {
        let dir = TempDir::new();
        let other = format!("unix:{},name=other", dir.text("other.sock"));
        let bridge = zbridge!("-v", "--port", other, "--port", port(&dir, slip)).spawn();
        bridge.wait_for("to attach", PATIENCE);
        let guest = Firmware::start(StreamPeer::unix(dir.path("other.sock")), 7);
        bridge.wait_for("other#1: connected", PATIENCE);
        for round in 1..=3 {
            let instance = instance(&bridge, &dir, slip, round);
            for address in [V4, V6] {
                let begun = Instant::now();
                assert!(guest.pings(ip(address), SOON), "round {round}: {address}");
                println!("slip {slip}, round {round}: {address} after {:?}", begun.elapsed());
                assert!(instance.pings(ip(if address == V4 { "192.0.2.7" } else { "2001:db8::7" }), SOON));
            }
            end(&bridge, instance, slip, round);
        }
        bridge.sigint();
        assert_eq!(bridge.wait().code(), 0);
    }
}

/// Two copies at once: it is said which ports they are on, once for each address.
#[test]
fn two_copies_with_one_address_are_told_of() {
    let dir = TempDir::new();
    let ports = ["one", "two", "three"].map(|name| format!("unix:{},name={name}", dir.text(name)));
    let bridge = zbridge!().args(ports.iter().flat_map(|port| ["--port", port])).spawn();
    bridge.wait_for("to attach", PATIENCE);
    let copies = ["one", "two"].map(|name| Firmware::start(StreamPeer::unix(dir.path(name)), 1));
    // Each asks once, and both answer.
    let told = |address: &str| {
        bridge.stderr().lines().find(|line| line.contains(&format!("{address} is the address"))).map(str::to_owned)
    };
    let mut guests = 7..;
    let lines = eventually("both addresses", || {
        let guest = Firmware::start(StreamPeer::unix(dir.path("three")), guests.next()?);
        assert!(guest.pings(ip(V4), SOON) && guest.pings(ip(V6), SOON));
        Some([told(V4)?, told(V6)?])
    });
    for line in lines {
        assert!(line.contains(" on one") && line.contains(" on two") && line.contains("rewrite=ip="), "{line}");
    }
    drop(copies);
    bridge.sigint();
    let exit = bridge.wait();
    assert_eq!(exit.stderr.matches(" is the address of ").count(), 2, "{}", exit.stderr);
}

/// A TAP of the machine that its program closes and opens again, as native_sim does when it is started anew.
#[test]
fn a_program_on_a_tap_of_the_machine_is_reached_again() {
    require!(needs::root(), needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let host = Namespace::new("zeth");
    host.ip("tuntap add zeth mode tap");
    host.check("echo 1 > /proc/sys/net/ipv6/conf/zeth/disable_ipv6; ip link set zeth up");
    let tap = "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64";
    let bridge = zbridge!("-v", "--port", tap, "--port", "packet:zeth").inside(&host).ready();
    for round in 1..=3 {
        let instance = Firmware::start(TapPeer::open(&host, "zeth"), 1);
        for address in [V4, V6] {
            // Linux takes up to a second to tell that a carrier has come or gone, and lets nothing through until then.
            eventually_within(3 * SOON, &format!("round {round}: {address}"), || host.pings(address).then_some(()));
        }
        drop(instance);
        std::thread::sleep(Duration::from_millis(if round == 1 { 0 } else { 1500 }));
    }
    bridge.sigint();
    assert_eq!(bridge.wait().code(), 0);
}

/// A static address whose last 24 bits are those of the MAC address, as tiny stacks have it: both are of one group, and
/// only one of them goes with the MAC address. Its successor has the same MAC address on the switch.
#[test]
fn a_static_ipv6_address_that_ends_as_the_mac_address_is_reached_behind_a_rewrite() {
    let dir = TempDir::new();
    let other = format!("unix:{},name=other", dir.text("other.sock"));
    let slip = format!("slip:unix:{},name=inst,rewrite=mac", dir.text("inst.sock"));
    let bridge = zbridge!("-v", "--port", other, "--port", slip).spawn();
    bridge.wait_for("to attach", PATIENCE);
    let guest = Firmware::start(StreamPeer::unix(dir.path("other.sock")), 7);
    bridge.wait_for("other#1: connected", PATIENCE);
    for round in 1..=20 {
        let line = LinePeer::unix(Framing::Slip, dir.path("inst.sock"));
        bridge.wait_for_nth("inst: connected", round, PATIENCE);
        let last = u8::try_from(round).unwrap();
        let instance = Firmware::with_mac(line, 1, [2, 0, last, 0, 0, 1]);
        assert!(guest.pings(ip(V6), SOON) && guest.pings(ip(V4), SOON), "{round}");
        end(&bridge, instance, true, round);
    }
    let exit = {
        bridge.sigint();
        bridge.wait()
    };
    assert_eq!(exit.code(), 0, "{exit:?}");
}

/// A program of `run`, whose port goes with it, as native_sim with a random MAC address.
#[test]
fn a_program_that_is_started_again_is_reached_by_one_that_has_joined() {
    require!(needs::root(), needs::tun(), needs::tool("ping", "iputils-ping"), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let built = tap_program(&dir, Build::Dynamic);
    require!(built.clone().map(drop));
    let bridge = zbridge!("-v", "--name", "lab", "--port", port(&dir, false));
    let _bridge = bridge.env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir).ready();
    let run = || {
        let run = zbridge!("run").env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir);
        run.args(["--join", "lab"])
    };
    let start = |round: usize| {
        let mac = format!("--mac-addr=02:00:5e:00:54:{round:02x}");
        let program = run().args(["--name", "sim", "--"]).arg(built.as_ref().unwrap()).arg(mac).spawn();
        program.wait_for("zeth: up", PATIENCE);
        program
    };
    let mut running = start(1);
    let script = format!(
        "for round in 1 2 3; do
            ping -n -c 1 -W 2 {V4} >&2
            echo reached $round
            until [ -e {}$round ]; do sleep 0.02; done
        done",
        dir.text("go")
    );
    let host = run().args(["--host", "192.0.2.9/24", "--", "sh", "-ec", &script]).spawn();
    for round in 1..=3 {
        host.wait_for_nth("reached", round, PATIENCE);
        running.kill9();
        let status = || zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
        eventually("the port to go with its program", || (!status().contains("sim ")).then_some(()));
        running = start(round + 1);
        std::fs::write(dir.path(&format!("go{round}")), "").unwrap();
    }
    let exit = host.wait();
    assert_eq!(exit.code(), 0, "{exit:?}");
}

/// The gateway's stack, which does not believe whoever says that an address is his before the one who had it is silent.
#[test]
fn a_forward_of_the_gateway_leads_to_the_next_instance() {
    let dir = TempDir::new();
    for slip in [true, false] {
        let nat = "nat:192.0.2.2/24,forward=udp:127.0.0.1:0->192.0.2.1:7";
        let bridge = zbridge!("-v", "--port", nat, "--port", port(&dir, slip)).spawn();
        let line = bridge.wait_for(" leads to ", PATIENCE);
        let at = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap().to_owned();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        for round in 1..=3 {
            let instance = instance(&bridge, &dir, slip, round);
            let begun = Instant::now();
            let mut back = [0; 8];
            eventually_within(SOON, &format!("round {round}: an echo"), || {
                socket.send_to(b"echo", &at).unwrap();
                socket.recv(&mut back).ok()
            });
            println!("slip {slip}, round {round}: an echo after {:?}", begun.elapsed());
            end(&bridge, instance, slip, round);
        }
        bridge.sigint();
        assert_eq!(bridge.wait().code(), 0);
    }
}
