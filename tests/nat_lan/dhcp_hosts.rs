//! `--host dhcp`: programs whose network is all from the lease.

use crate::lab::{Lab, machine};
use std::time::{Duration, Instant};
use support::{PATIENCE, eventually, needs, require, zbridge};

#[test]
fn a_program_has_its_network_from_the_lease() {
    require!(machine(), needs::tool("curl", "curl"));
    let lab = Lab::start("host-dhcp", ",dns=10.0.2.3,domain=bench.test");
    lab.serve();
    lab.resolve();
    let script = "ip -4 -o addr show dev eth0 | grep -o '10.0.2.*/24'; ip route show default; cat /etc/resolv.conf
                  curl -s -m 20 http://gateway.bench.test:8000/; curl -s -m 20 http://gateway:8000/
                  getent ahostsv4 far.example | head -1 | cut -d' ' -f1";
    let exit = lab.guest("inst1", "dhcp", script).run();
    let wanted = "10.0.2.15/24\ndefault via 10.0.2.2 dev eth0 proto static \nsearch bench.test\nnameserver 10.0.2.3\n\
                  hello\nhello\n192.0.2.80\n";
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, wanted), "{}", exit.stderr);
}

#[test]
fn instances_know_each_other_by_name() {
    require!(machine(), needs::tool("ping", "iputils-ping"));
    let lab = Lab::start("known", "");
    let address = "ip -4 -o addr show dev eth0 | grep -o '10.0.2[0-9.]*/24'; ";
    let first = lab.guest("inst1", "dhcp", &format!("{address} exec sleep 60")).ready();
    assert_eq!(first.stdout(), "10.0.2.15/24\n");
    let second =
        lab.guest("inst2", "dhcp", &format!("{address} ping -c 1 -W 5 inst1.lab >&2; ping -c 1 inst1 >&2")).run();
    assert_eq!((second.code(), second.stdout.as_str()), (0, "10.0.2.16/24\n"), "{}", second.stderr);
    // the same name has the same address again, whoever came in between
    drop(first);
    let again = lab.guest("inst2", "dhcp", address).run();
    assert_eq!((again.code(), again.stdout.as_str()), (0, "10.0.2.16/24\n"), "{}", again.stderr);
}

/// As in a small container.
#[test]
fn a_machine_without_resolv_conf_is_no_obstacle() {
    require!(machine());
    let lab = Lab::start("bare", ",dns=10.0.2.3");
    let script = "ip -4 -o addr show dev eth0 | grep -o '10.0.2[0-9.]*/24'";
    let bare = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /etc && exec \"$@\"", "sh"];
    let run = zbridge!("run", "--join", "lab", "--name", "inst1", "--host", "dhcp", "--", "sh", "-ec", script);
    let exit = run.env("XDG_RUNTIME_DIR", lab.dir.root()).under(bare).as_nobody_with_tun(&lab.dir).run();
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, "10.0.2.15/24\n"), "{}", exit.stderr);
    for part in ["warning: name servers: cannot replace /etc/resolv.conf", "hint: ", "touch /etc/resolv.conf"] {
        assert!(exit.stderr.contains(part), "{part:?} is not in {}", exit.stderr);
    }
}

#[test]
fn an_address_in_use_is_not_given_away() {
    require!(machine());
    // whoever has an address has half a second to say so, in which a loaded machine may not let it speak
    eventually("an address that is free", || {
        let lab = Lab::start("in-use", "");
        // it has this address of its own accord, and says nothing unless it is asked
        let still = lab.guest("still", "10.0.2.15/24", "echo here; exec sleep 60").ready();
        let exit = lab.guest("inst1", "dhcp", "ip -4 -o addr show dev eth0 | grep -o '10.0.2[0-9.]*/24'").run();
        assert_eq!(exit.code(), 0, "{exit:?}");
        drop(still);
        println!("given {}", exit.stdout);
        (exit.stdout == "10.0.2.16/24\n").then_some(())
    });
}

/// The first thing that a program does may be IPv6, and a ping without any right.
#[test]
fn a_program_can_use_all_of_its_network_at_once() {
    require!(machine(), needs::tool("curl", "curl"), needs::tool("ping", "iputils-ping"));
    let lab = Lab::start("at-once", ",ipv6=2001:db8::2/64");
    lab.serve();
    let script = "curl -sS -m 20 'http://[2001:db8::2]:8000/'; ip -6 -o addr show dev eth0 tentative
                  ip -6 -o addr show dev eth0 scope global | grep -o 'inet6 2001:db8::' | sort -u
                  setpriv --ambient-caps=-all --inh-caps=-all ping -c 1 -W 5 10.0.2.2 | grep -o ' 0% packet loss'
                  cat /proc/sys/net/ipv4/ping_group_range";
    let exit = lab.guest("inst1", "dhcp", script).run();
    let wanted = "hello\ninet6 2001:db8::\n 0% packet loss\n65534\t65534\n";
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, wanted), "{}", exit.stderr);
    let alone = "ip -6 -o addr show dev eth0 scope link -tentative | grep -o 'inet6 fe80::'";
    let exit = lab.guest("inst2", "10.0.2.77/24", alone).run();
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, "inet6 fe80::\n"), "{}", exit.stderr);
}

#[test]
fn a_switch_without_a_server_is_told_of() {
    require!(machine());
    let lab = Lab::start("silent", ",dhcp=off");
    let exit = lab.guest("inst1", "dhcp", "echo never").run();
    assert_eq!((exit.code(), exit.stdout.as_str()), (1, ""), "{}", exit.stderr);
    assert!(exit.stderr.contains("no DHCP server has answered") && exit.stderr.contains("hint: "), "{}", exit.stderr);
    let wrong = zbridge!("run", "--join", "lab", "--host", "dhcp", "--gateway", "10.0.2.2", "--", "true").run();
    assert!(wrong.code() == 2 && wrong.stderr.contains("--gateway means nothing"), "{}", wrong.stderr);
}

#[test]
fn a_long_program_keeps_its_address() {
    require!(machine(), needs::tool("jq", "jq"));
    let lab = Lab::start("renewal", ",lease=60s");
    let program = lab.guest("inst1", "dhcp", "echo here; exec sleep 100").ready();
    let until = || -> u64 {
        let json = lab.dir.file("status.json", lab.ask(&["status", "lab", "--json"]));
        let seconds = lab.host.check(&format!("jq '.switches[].ports[].leases[]?.until' {}", json.display()));
        seconds.trim().parse().unwrap_or_else(|_| panic!("one lease: {seconds:?}"))
    };
    let (first, start) = (until(), Instant::now());
    while until() < first + 20 {
        assert!(start.elapsed() < Duration::from_secs(60) + PATIENCE, "the lease ends at {first} still");
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(program);
}

/// An instance that waits for its address keeps neither the others waiting nor who wants the bench to end.
#[test]
fn a_bench_does_not_wait_for_an_address() {
    require!(machine());
    let lab = Lab::start("waits", ",dhcp=off");
    let asks = "[[instance]]\nname = \"asks\"\ncommand = \"true\"\nhost = \"dhcp\"\n";
    let ends = "[[instance]]\nname = \"ends\"\ncommand = [\"sh\", \"-c\", \"exit 7\"]\n";
    let up = |text: &str, wish: &[&str]| {
        let up = zbridge!("up", lab.dir.file("bench.toml", text), "--logs", lab.dir.text("logs"));
        up.args(wish.iter().copied()).env("XDG_RUNTIME_DIR", lab.dir.root()).as_nobody_with_tun(&lab.dir)
    };
    let exit = up(&format!("{asks}{ends}"), &["--exit-with", "ends"]).run();
    assert_eq!(exit.code(), 7, "{exit:?}");
    let exit = up(asks, &["--timeout", "1s"]).run();
    assert!(exit.code() == 6 && exit.stderr.contains("the bench is not over after 1s"), "{exit:?}");
    let bench = up(asks, &[]).spawn();
    bench.wait_for("asks: starts", PATIENCE);
    bench.sigint();
    let exit = bench.wait();
    assert_eq!(exit.code(), 0, "{exit:?}");
    let exit = up(asks, &[]).run();
    assert!(exit.code() == 1 && exit.stderr.contains("asks: no DHCP server has answered"), "{exit:?}");
}

#[test]
fn an_instance_of_a_bench_has_its_network_from_the_lease() {
    require!(machine(), needs::tool("curl", "curl"));
    let lab = Lab::start("bench", "");
    lab.serve();
    let bench = lab.dir.file(
        "bench.toml",
        r#"
        port = ["nat:10.0.2.2/24"]
        [[instance]]
        name = "inst1"
        command = ["sh", "-c", "curl -s -m 20 http://gateway.lab:8000/; echo $?"]
        host = "dhcp"
        "#,
    );
    let up = zbridge!("up", &bench, "--exit-with", "inst1", "--logs", lab.dir.text("logs"))
        .env("XDG_RUNTIME_DIR", lab.dir.root())
        .inside(&lab.host);
    let exit = up.as_nobody_with_tun(&lab.dir).run();
    let said = format!("{}{}", exit.stdout, exit.stderr);
    assert!(exit.code() == 0 && said.contains("hello"), "{said}");
}
