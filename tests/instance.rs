//! `zbridge run`, as a user without any right meets it: unmodified programs that open a TAP, host tools, exit statuses,
//! signals, and what is left behind.

use std::fs;
use std::time::{Duration, Instant};
use support::standin::{Build, tap_program};
use support::{Launch, PATIENCE, Process, Summary, TempDir, eventually, needs, require, zbridge};

/// How long a program waits for its address.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(10);

/// `zbridge run` of an ordinary user.
fn run(dir: &TempDir) -> Launch {
    zbridge!("run").env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(dir)
}

/// A shell script on the switch at `socket`, with an address of its own.
fn host(dir: &TempDir, socket: &str, address: &str, script: &str) -> Launch {
    run(dir).args(["--port", &format!("unix:{socket},connect,name=net"), "--host", address, "--", "sh", "-ec", script])
}

/// Whether a process has `word` in its command line.
fn runs(word: &str) -> bool {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = pids.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(word))
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    eventually("a child", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_ascii_whitespace().next()?.parse().ok()
    })
}

#[test]
fn tap_programs_and_hosts_share_a_switch() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"), needs::tool("iperf3", "iperf3"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let fixed = tap_program(&dir, Build::Static).unwrap();
    let net = dir.text("net");
    let first = run(&dir).args(["--port", &format!("unix:{net},name=net"), "--"]).arg(&program).ready();
    let join = format!("unix:{net},connect,name=net");
    let second = run(&dir).args(["--port", &join, "--"]).arg(&fixed);
    let second =
        second.args(["--mac-addr=02:00:5e:00:53:02", "--ipv4-addr=192.0.2.5", "--ping=192.0.2.1", "--seed=5"]).spawn();
    second.wait_for("answer from 192.0.2.1: seq=3", PATIENCE);

    let server = host(&dir, &net, "192.0.2.8/24", "echo here; exec iperf3 -s -1").ready();
    let script = "ping -c 2 -i 0.2 -W 2 192.0.2.1 >&2; ping -c 2 -i 0.2 -W 2 192.0.2.5 >&2; n=0; \
                  until iperf3 -c 192.0.2.8 -n 4M >&2; do n=$((n + 1)); [ $n -lt 200 ]; sleep 0.1; done; echo all";
    let client = host(&dir, &net, "192.0.2.9/24", script).run();
    assert_eq!((client.code(), client.stdout.as_str()), (0, "all\n"), "{}", client.stderr);
    assert_eq!(server.wait().code(), 0);
    first.sigterm();
    assert_eq!(first.wait().code(), 143);
}

#[test]
fn a_32_bit_program_gets_its_tap() {
    require!(needs::programs());
    let dir = TempDir::new();
    let built = tap_program(&dir, Build::Bits32);
    require!(built.clone().map(drop));
    let net = dir.text("net");
    let program = run(&dir).args(["--port", &format!("unix:{net},name=net"), "--"]).arg(built.unwrap()).ready();
    assert_eq!(program.stdout(), "zeth: up, 192.0.2.1\n");
    let asked = host(&dir, &net, "192.0.2.9/24", "ping -c 1 -W 5 192.0.2.1").run();
    assert_eq!(asked.code(), 0, "{asked:?}");
}

#[test]
fn a_program_with_two_taps_has_two_ports() {
    require!(needs::programs());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let both = run(&dir).args(["-v", "--tap", "zeth0,zeth1", "--name", "sim", "--"]).arg(&program);
    let first = ["--eth-if=zeth0", "--mac-addr=02:00:5e:00:53:01", "--ipv4-addr=192.0.2.1"];
    let second = ["--eth-if=zeth1", "--mac-addr=02:00:5e:00:53:02", "--ipv4-addr=192.0.2.2", "--ping=192.0.2.1"];
    let both = both.args(first).args(second).spawn();
    both.wait_for("zeth1: answer from 192.0.2.1: seq=2", PATIENCE);
    both.sigterm();
    let exit = both.wait();
    assert_eq!(exit.code(), 143);
    assert!(exit.stderr.contains("zbridge: sim.zeth0") && exit.stderr.contains("zbridge: sim.zeth1"), "{exit:?}");
}

/// NuttX's sim and QEMU's `-nic tap` leave the name to the kernel; others have one that nobody has thought of.
/// A gateway beside a program would be refused, were its TAP taken for a way to a network.
/// It may ask for them at once, and what it sends first is heard.
#[test]
fn the_ports_of_a_program_are_there_when_it_starts() {
    require!(needs::programs());
    let dir = TempDir::new();
    let taps: Vec<String> = (0..24).flat_map(|number| ["--tap".to_owned(), format!("zeth{number}")]).collect();
    // where the ordinary user's copy is
    let script = format!("{} status --json", dir.text("program"));
    let exit = run(&dir).args(["--name", "inst"]).args(&taps).args(["--", "sh", "-ec", &script]).run();
    let names = (0..24).filter(|number| exit.stdout.contains(&format!("\"inst.zeth{number}\"")));
    assert_eq!((exit.code(), names.count()), (0, 24), "{exit:?}");
}

#[test]
fn a_bridge_of_its_own_has_a_name_and_lets_others_in() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let env = |launch: Launch| launch.env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir);
    let alone = run(&dir).arg("--").arg(&program).ready();
    let status = env(zbridge!("status")).run();
    assert!(status.code() == 0 && status.stdout.contains("program  packet  up"), "{status:?}");
    let ping = ["--join", "default", "--host", "192.0.2.9/24", "--", "ping", "-c", "1", "-W", "5", "192.0.2.1"];
    let asked = run(&dir).args(ping).run();
    assert_eq!(asked.code(), 0, "{asked:?}");
    let named = run(&dir).args(["--bridge", "lab", "--port", "nat:192.0.2.2/24", "--name", "inst1", "--"]);
    let named = named.arg(&program).ready();
    let listed = env(zbridge!("ls")).run().stdout;
    assert!(listed.contains("default") && listed.contains("lab"), "{listed}");
    assert!(env(zbridge!("status", "lab")).run().stdout.contains("inst1"), "{listed}");
    let taken = run(&dir).args(["--bridge", "lab", "--", "true"]).run();
    assert!(taken.code() != 0 && taken.stderr.contains("lab"), "{taken:?}");
    let added = env(zbridge!("port", "add", "nat:192.0.2.3/24,name=way", "--to", "default")).run();
    assert_eq!(added.code(), 0, "{added:?}");
    for program in [alone, named] {
        program.sigterm();
        assert_eq!(program.wait().code(), 143);
    }
    assert_eq!(env(zbridge!("ls")).run().stdout, "", "both go with their programs");
    let before = zbridge!("--name", "x", "run", "--", "true").run();
    assert!(before.stderr.contains("hint: the bridge of a program: zbridge run --bridge x"), "{before:?}");
}

#[test]
fn a_program_chooses_its_switch() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let [left, right] = ["left", "right"].map(|name| format!("unix:{},switch={name}", dir.text(name)));
    let bridge = zbridge!("--name", "two", "--port", &left, "--port", &right).env("XDG_RUNTIME_DIR", dir.root());
    let bridge = bridge.as_nobody_with_tun(&dir).ready();
    let on = |switch: &str| run(&dir).args(["--join", "two", "--switch", switch]);
    let inst = on("right").arg("--").arg(&program).ready();
    let ping = ["--host", "192.0.2.9/24", "--", "ping", "-c", "1", "-W", "2", "192.0.2.1"];
    assert_eq!(on("right").args(ping).run().code(), 0);
    assert_eq!(on("left").args(ping).run().code(), 1, "another network");
    let none = run(&dir).args(["--join", "two", "--", "true"]).run();
    assert!(none.stderr.contains("hint: there is left, right: --switch NAME"), "{none:?}");
    let wrong = on("rihgt").args(["--", "true"]).run();
    assert!(wrong.code() == 2 && wrong.stderr.contains("--switch rihgt: there is no such switch"), "{wrong:?}");
    let own = run(&dir).args(["--switch", "lab", "--", "true"]).run();
    assert_eq!((own.code(), own.stderr.as_str()), (0, ""));
    drop((inst, bridge));
}

/// So that who has it in a table of neighbours finds it at once, and programs that take the TAP's address (RIOT, smoltcp)
/// keep theirs.
#[test]
fn a_program_has_its_addresses_again_at_its_next_start() {
    require!(needs::programs());
    let dir = TempDir::new();
    let macs = |bridge: &str, name: &str| {
        let words = ["--bridge", bridge, "--name", name, "--tap", "zeth,zeth1", "--host", "192.0.2.9/24", "--"];
        let exit = run(&dir).args(words).args(["sh", "-c", "ip -o link | grep -o 'ether [^ ]*'"]).run();
        let macs: Vec<String> = exit.stdout.lines().map(str::to_owned).collect();
        assert!(macs.len() == 3 && macs[0] != macs[1] && macs[1] != macs[2] && macs[0] != macs[2], "{exit:?}");
        macs
    };
    let first = macs("lab", "inst1");
    assert_eq!(macs("lab", "inst1"), first);
    for other in [macs("lab", "inst2"), macs("bench", "inst1")] {
        assert!(other.iter().all(|mac| !first.contains(mac)), "{other:?} {first:?}");
    }
}

/// A program of which one half has a stack of its own and the other the kernel's.
#[test]
fn a_program_has_a_tap_and_a_host_interface() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let script = format!(
        "ip -br addr show net7; {program} --eth-if=zeth7 & ping -c 2 -i 0.2 -W 5 192.0.2.1; kill $!; wait",
        program = program.display()
    );
    let both = ["--tap", "zeth7", "--host", "192.0.2.9/24", "--iface", "net7", "--name", "sim", "-v"];
    let exit = run(&dir).args(both).args(["--", "sh", "-c", &script]).run();
    assert!(exit.stdout.contains("192.0.2.9/24") && exit.stdout.contains(" 0% packet loss"), "{exit:?}");
    assert!(exit.stderr.contains("zbridge: sim.zeth7") && exit.stderr.contains("zbridge: sim.net7"), "{exit:?}");
    let same = run(&dir).args(["--tap", "eth0", "--host", "192.0.2.9/24", "--", "true"]).run();
    assert!(same.code() == 2 && same.stderr.contains("there is an interface of this name already"), "{same:?}");
}

#[test]
fn whatever_tap_a_program_makes_is_its_port() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let dynamic = tap_program(&dir, Build::Dynamic).unwrap();
    let bits32 = tap_program(&dir, Build::Bits32);
    let mut programs = vec![dynamic];
    programs.extend(bits32);
    let net = format!("unix:{}", dir.text("net"));
    let bridge = zbridge!("--name", "lab", "--port", net).env("XDG_RUNTIME_DIR", dir.root());
    let bridge = bridge.as_nobody_with_tun(&dir).ready();
    for program in &programs {
        // what was made for it, the name that it asks for, and what that becomes
        for (tap, asked, made) in [
            ("zeth", "", "tap0"),
            ("tap0", "", "tap1"),
            ("tap1", "", "tap0"),
            ("zeth", "tap%d", "tap0"),
            ("tap0", "tap%d", "tap1"),
            ("zeth", "any7", "any7"),
            ("any7", "any7", "any7"),
        ] {
            let words = ["--join", "lab", "--name", "inst1", "--tap", tap, "--"];
            let inst = run(&dir).args(words).arg(program).arg(format!("--eth-if={asked}")).ready();
            assert_eq!(inst.stdout(), format!("{made}: up, 192.0.2.1\n"));
            let script = "ping -c 3 -i 0.2 -W 5 192.0.2.1";
            let host = run(&dir).args(["--join", "lab", "--host", "192.0.2.9/24", "--", "sh", "-c", script]).run();
            assert_eq!(host.code(), 0, "{tap} {asked} {made}: {host:?}");
            let status = zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
            assert!(status.contains("inst1  packet  up") && !status.contains("inst1-"), "{tap} {asked}: {status}");
            assert_eq!(inst.stderr(), "", "{tap} {asked}");
            inst.sigterm();
            assert_eq!(inst.wait().code(), 143);
        }
    }
    drop(bridge);
}

#[test]
fn a_tap_that_is_made_anew_leads_to_the_same_port() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let net = dir.text("net");
    let words = ["--port", &format!("unix:{net},name=net"), "--name", "sim", "--"];
    for name in ["", "tap%d", "other", "zeth"] {
        let inst = run(&dir).args(words).arg(&program).args([&format!("--eth-if={name}"), "--reopen=700"]).ready();
        // an answer is lost where the interface is gone, and the next comes
        let script = "for n in 1 2 3 4; do n=0; until ping -c 1 -W 1 192.0.2.1 >/dev/null; do n=$((n + 1)); \
                      [ $n -lt 20 ]; done; sleep 0.7; done";
        let asked = host(&dir, &net, "192.0.2.9/24", script).run();
        assert_eq!(asked.code(), 0, "{name}: {asked:?}");
        let up = inst.stdout().matches(": up,").count();
        assert!(up >= 3, "{name}: {up}");
        let shown = zbridge!("status").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
        assert_eq!(shown.matches("\nsim").count(), 1, "{name}: {shown}");
        inst.sigterm();
        assert_eq!(inst.wait().code(), 143);
    }
}

#[test]
fn a_tap_more_than_was_asked_for_is_a_port_more() {
    require!(needs::programs());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let two = run(&dir).args(["-v", "--name", "sim", "--"]).arg(&program);
    let first = ["--eth-if=zeth", "--mac-addr=02:00:5e:00:53:01", "--ipv4-addr=192.0.2.1"];
    let second = ["--eth-if=", "--mac-addr=02:00:5e:00:53:02", "--ipv4-addr=192.0.2.2", "--ping=192.0.2.1"];
    let two = two.args(first).args(second).spawn();
    two.wait_for("tap0: answer from 192.0.2.1: seq=2", PATIENCE);
    two.sigterm();
    let exit = two.wait();
    assert_eq!(exit.code(), 143);
    assert!(exit.stderr.contains("zbridge: sim ") && exit.stderr.contains("zbridge: sim.tap0 "), "{exit:?}");
}

#[test]
fn twenty_instances_with_one_interface_name_join_a_bridge() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let net = format!("unix:{}", dir.text("net"));
    let bridge = zbridge!("--name", "lab", "--port", net).env("XDG_RUNTIME_DIR", dir.root());
    let bridge = bridge.as_nobody_with_tun(&dir).ready();
    let start = |number: usize| {
        let join = ["--join", "lab", "--name", &format!("inst{number}"), "--"];
        let mac = format!("--mac-addr=02:00:5e:00:54:{number:02x}");
        run(&dir).args(join).arg(&program).arg(mac).arg(format!("--ipv4-addr=192.0.2.{number}")).spawn()
    };
    let mut instances: Vec<Process> = (1..=20).map(start).collect();
    instances.iter().for_each(|instance| drop(instance.wait_for("zeth: up", PATIENCE)));
    let script = "for n in $(seq 20); do ping -c 1 -W 5 192.0.2.$n || exit; done";
    let host = ["--join", "lab", "--host", "192.0.2.99/24", "--", "sh", "-c", script];
    let host = run(&dir).args(host).run();
    assert_eq!(host.code(), 0, "{host:?}");

    // a port goes with its instance, however that ends
    let status = || zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
    assert!(status().contains("inst7 "), "{}", status());
    instances[6].kill9();
    eventually("the port of a killed instance to go", || (!status().contains("inst7 ")).then_some(()));
    drop(instances);
    eventually("all to go", || (!status().contains("inst")).then_some(()));
    drop(bridge);
}

#[test]
fn programs_of_one_name_get_ports_of_their_own() {
    require!(needs::programs());
    let dir = TempDir::new();
    // a listener has the name as well
    let net = format!("unix:{}", dir.text("sh"));
    let bridge = zbridge!("--name", "lab", "--port", net).env("XDG_RUNTIME_DIR", dir.root());
    let bridge = bridge.as_nobody_with_tun(&dir).ready();
    let start = |number: u32| {
        let address = format!("192.0.2.{number}/24");
        run(&dir).args(["--join", "lab", "--host", &address, "--", "sh", "-c", "echo here; exec sleep 100"]).ready()
    };
    let programs = [start(1), start(2)];
    // a program may speak before its port is on the bridge
    let status = || zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
    let both = |status: String| status.contains("sh-2  tap") && status.contains("sh-3  tap");
    eventually("both ports", || both(status()).then_some(()));
    let given = run(&dir).args(["--join", "lab", "--name", "sh-2", "--", "true"]).run();
    let says = "there is a port named sh-2 already, on switch default\n  hint: give this one a --name NAME";
    assert!(given.code() == 2 && given.stderr.contains(says), "{given:?}");
    drop((programs, bridge));
}

/// Those that left before the end, and those that are there when the bridge ends, which have not left.
#[test]
fn the_summary_has_the_ports_of_programs() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let net = format!("unix:{}", dir.text("net"));
    let bridge = zbridge!("--name", "lab", "--port", net).env("XDG_RUNTIME_DIR", dir.root());
    let bridge = bridge.as_nobody_with_tun(&dir).ready();
    let join = |name: &'static str, addr: &'static str, script: &'static str| {
        run(&dir).args(["--join", "lab", "--name", name, "--host", addr, "--", "sh", "-c", script])
    };
    let stays = join("stays", "192.0.2.1/24", "echo here; exec sleep 100").ready();
    // the second time it adds to what it had counted
    for _ in 0..2 {
        assert_eq!(join("goes", "192.0.2.2/24", "ping -c 2 -i 0.2 -W 5 192.0.2.1").run().code(), 0);
        bridge.wait_for("goes: removed, as pid ", PATIENCE);
        let status = || zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
        eventually("its port to go", || (!status().contains("goes ")).then_some(()));
    }
    let status = zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
    assert!(status.contains("stays ") && !status.contains("left"), "{status}");
    bridge.sigint();
    let exit = bridge.wait();
    let summary = Summary::parse(&exit.stdout);
    let [stayed, gone] = ["stays", "goes"].map(|name| summary.port(name));
    assert_eq!([&stayed.state, &gone.state], ["up", "left"], "{exit:?}");
    assert!(gone.rx_frames >= 6 && stayed.rx_frames >= 5, "{exit:?}");
    assert_eq!(exit.stdout.matches("\ngoes ").count(), 1, "{exit:?}");
    assert!(!exit.stderr.contains("stays: removed"), "{exit:?}");
    drop(stays);
}

#[test]
fn the_end_of_a_bridge_that_was_joined_is_said() {
    require!(needs::programs());
    let dir = TempDir::new();
    let net = format!("unix:{}", dir.text("net"));
    let bridge = zbridge!("--name", "lab", "--port", net).env("XDG_RUNTIME_DIR", dir.root());
    let mut bridge = bridge.as_nobody_with_tun(&dir).ready();
    let script = "trap 'exit 3' TERM; echo here; while :; do sleep 0.05; done";
    let host = ["--join", "lab", "--name", "inst1", "--host", "192.0.2.9/24", "--", "sh", "-c", script];
    let host = run(&dir).args(host).ready();
    // the program may speak before its port is on the bridge
    let status = || zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
    eventually("its port", || status().contains("inst1 ").then_some(()));
    bridge.kill9();
    host.wait_for("zbridge: warning: bridge lab has ended; the program goes on without its network", PATIENCE);
    let hint = "zbridge:   hint: start it again once the bridge runs again: zbridge run --join lab …";
    host.wait_for(hint, PATIENCE);
    host.sigterm();
    assert_eq!(host.wait().code(), 3, "it goes on");
}

#[test]
fn exit_statuses_pass_through() {
    require!(needs::programs());
    let dir = TempDir::new();
    let script = dir.file("plain", "#!/bin/sh\n");
    let says = |words: &[&str]| run(&dir).arg("--").args(words.iter().copied()).run();
    assert_eq!(says(&["true"]).code(), 0);
    assert_eq!(says(&["sh", "-c", "exit 42"]).code(), 42);
    assert_eq!(says(&["sh", "-c", "kill -9 $$"]).code(), 137);
    assert_eq!(says(&["sh", "-c", "echo out; echo err >&2"]).stdout, "out\n");
    assert_eq!(says(&["sh", "-c", "echo err >&2"]).stderr, "err\n", "and nothing of zbridge's");
    let absent = says(&["/no/such/program"]);
    assert_eq!((absent.code(), absent.stderr.as_str()), (127, "error: /no/such/program: there is no such program\n"));
    assert_eq!(says(&["no-such-program"]).code(), 127);
    let plain = says(&[script.to_str().unwrap()]);
    assert_eq!(plain.code(), 126, "{plain:?}");
    assert!(plain.stderr.contains("hint: chmod +x"), "{plain:?}");
    // one in another, whose process group has no number for it
    let program = dir.text("program");
    assert_eq!(says(&[&program, "run", "--", "sh", "-c", "exit 7"]).code(), 7);
    // root has no need of a user namespace
    assert_eq!(zbridge!("run", "--", "sh", "-c", "test $(id -u) = 0 && exit 3").run().code(), 3);
}

#[test]
fn the_host_side_is_set_up() {
    require!(needs::programs());
    let dir = TempDir::new();
    let script = "ip -br addr show eth0; ip route; ip -6 route show default; cat /etc/resolv.conf; ps ax | wc -l";
    let given = ["--host", "192.0.2.9/24", "--host", "2001:db8::9/64", "--gateway", "192.0.2.1"];
    let more = ["--gateway", "2001:db8::1", "--dns", "192.0.2.53", "--mtu", "1400", "--", "sh", "-ec", script];
    let exit = run(&dir).args(given).args(more).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    for part in
        ["192.0.2.9/24", "2001:db8::9/64", "default via 192.0.2.1", "default via 2001:db8::1", "nameserver 192.0.2.53"]
    {
        assert!(exit.stdout.contains(part), "{part} is not in {}", exit.stdout);
    }
    let wrong = run(&dir).args(["--host", "192.0.2.9/24", "--gateway", "198.51.100.1", "--", "true"]).run();
    assert!(wrong.stderr.contains("gateway 198.51.100.1") && wrong.stderr.contains("hint: it must be"), "{wrong:?}");
}

#[test]
fn signals_pass_through() {
    require!(needs::programs());
    let dir = TempDir::new();
    let script = "trap 'echo int' INT; trap 'echo usr1' USR1; trap 'echo term; exit 9' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    let program = run(&dir).args(["--", "sh", "-c", script]).ready();
    let signal = |number: &str| {
        let sent = Launch::new("kill").args(["-s", number, &program.pid().to_string()]).run();
        assert_eq!(sent.code(), 0);
    };
    signal("INT");
    program.wait_for("int", PATIENCE);
    signal("USR1");
    program.wait_for("usr1", PATIENCE);
    program.sigterm();
    assert_eq!(program.wait().code(), 9);
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let program = run(&dir).args(["--", "sh", "-c", "echo ready; exec sleep 100"]).ready();
        Launch::new("kill").args(["-s", signal, &program.pid().to_string()]).run();
        assert_eq!(program.wait().code(), code, "{signal}");
    }
}

/// A program that waits for its address is not there yet, but is not wanted any more.
#[test]
fn a_signal_ends_the_wait_for_an_address() {
    require!(needs::programs());
    let dir = TempDir::new();
    let bridge = zbridge!("--name", "lab", "--port", format!("unix:{}", dir.text("net")));
    let bridge = bridge.env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir).ready();
    let begun = Instant::now();
    let program = run(&dir).args(["--join", "lab", "--name", "inst1", "--host", "dhcp", "--", "true"]).spawn();
    bridge.wait_for("inst1: added", PATIENCE);
    program.sigterm();
    let exit = program.wait();
    assert_eq!(exit.code(), 130, "{exit:?}");
    assert!(exit.stderr.contains("ended while it waited for its address"), "{exit:?}");
    assert!(begun.elapsed() < ADDRESS_PATIENCE, "nobody waited for a server that there is not: {:?}", begun.elapsed());
}

#[test]
fn whoever_is_killed_nothing_is_left() {
    require!(needs::programs());
    let dir = TempDir::new();
    // a time that nobody else sleeps
    let left = format!("{}.77", std::process::id());
    let script = format!("setsid sleep 1{left} & setsid sleep 2{left} & echo ready; wait");
    for victim in 0..4 {
        let net = dir.text("net");
        let port = format!("unix:{net}");
        let mut program = run(&dir).args(["--port", &port, "--", "sh", "-c", &script]).ready();
        eventually("both to run", || (runs(&format!("1{left}")) && runs(&format!("2{left}"))).then_some(()));
        // zbridge, the stage, the init, the program
        let pid = (0..victim).fold(program.pid(), |pid, _| child_of(pid));
        Launch::new("kill").args(["-9", &pid.to_string()]).run();
        if victim == 0 {
            program.kill9();
        } else {
            assert_eq!(program.wait().code(), 137, "victim {victim}");
            assert!(!dir.path("net").exists(), "its socket");
        }
        eventually("all to be gone", || (!runs(&left)).then_some(()));
        let _ = fs::remove_file(net);
    }
}

#[test]
fn a_tap_that_is_not_opened_is_noticed() {
    require!(needs::programs());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let good = run(&dir).arg("--").arg(&program).ready();
    let idle = run(&dir).args(["--name", "idle", "--", "sleep", "100"]).spawn();
    idle.wait_for("zbridge: warning: idle: has not opened its TAP zeth", PATIENCE);
    idle.wait_for("zbridge:   hint: its log may tell why", PATIENCE);
    // it would have been told before those that were started after it
    assert_eq!(good.stderr(), "");
    let quiet = run(&dir).args(["-q", "--", "sleep", "4"]).run();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn qemu_gets_its_tap() {
    require!(needs::programs(), needs::tool("qemu-system-x86_64", "qemu-system-x86"));
    let dir = TempDir::new();
    let qemu = "qemu-system-x86_64 -S -display none -serial none -monitor none \
                -nic tap,ifname=qtap0,script=no,downscript=no & \
                for n in $(seq 600); do ip link show qtap0 | grep -q LOWER_UP && exit 5; sleep 0.1; done";
    let exit = run(&dir).args(["--tap", "qtap0", "--", "sh", "-c", qemu]).run();
    assert_eq!(exit.code(), 5, "{exit:?}");
}

#[test]
fn a_forbidden_namespace_is_explained() {
    require!(needs::programs());
    let dir = TempDir::new();
    // in a user namespace that may have none below it, without the rights that root has in it
    let limit =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let launch = zbridge!("run", "--", "true").as_nobody(&dir).under(["unshare", "-Ur", "sh", "-c", limit, "sh"]);
    let exit = launch.run();
    assert_eq!(exit.code(), 5, "{exit:?}");
    assert!(exit.stderr.contains("(user.max_user_namespaces=0)"), "{exit:?}");
    assert!(exit.stderr.contains("hint: sudo sysctl -w user.max_user_namespaces="), "{exit:?}");
    let device = zbridge!("run", "--tap", "a/b", "--", "true").run();
    assert_eq!((device.code(), device.stderr.contains("tap:a/b")), (2, true), "{device:?}");
}

/// A gateway needs many descriptors; what is started beside it is not to know.
#[test]
fn programs_have_the_limit_of_descriptors_that_zbridge_was_given() {
    require!(needs::programs());
    let dir = TempDir::new();
    let limit = "ulimit -S -n 200 && exec \"$@\"";
    let told = dir.text("told");
    let line = format!("slip:exec:sh -c 'ulimit -S -n > {told}; exec cat'");
    let script = format!("while ! grep -q . {told}; do sleep 0.1; done; cat {told}; ulimit -S -n");
    let launch = zbridge!("run", "--port", "nat:10.0.2.2/24", "--port", line, "--", "sh", "-c", script);
    let exit = launch.env("XDG_RUNTIME_DIR", dir.root()).under(["sh", "-c", limit, "sh"]).run();
    assert_eq!(exit.stdout, "200\n200\n", "{exit:?}");
}

/// The server reads late, and slowly: the program's kernel, the gateway and the host's kernel hold what it has sent.
#[test]
fn what_a_program_has_sent_last_arrives() {
    require!(needs::programs(), needs::tool("python3", "python3"));
    const SENT: usize = 6_000_000;
    let (dir, listener) = (TempDir::new(), std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let to = listener.local_addr().expect("an address").port();
    let script = format!(
        "import socket; s = socket.create_connection(('10.0.2.2', {to})); s.sendall(b'x' * {SENT}); s.shutdown(1); s.close()"
    );
    let network = ["--port", "nat:10.0.2.2/24", "--host", "10.0.2.15/24", "--gateway", "10.0.2.2"];
    let launch = run(&dir).args(network).args(["--", "python3", "-c", &script]);
    let read = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        std::thread::sleep(std::time::Duration::from_secs(1));
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut all).map(|_| all.len())
    });
    assert_eq!(launch.run().code(), 0);
    assert_eq!(read.join().expect("it ends").expect("a whole stream"), SENT);
}
