//! `zbridge doctor` on a host in a namespace, whose ills are real: what it names is mended by the commands that it prints.

use serde_json::Value;
use support::{Exit, Launch, Namespace, Peer, Station, StreamPeer, TempDir, eventually, needs, require, zbridge};

/// A host that the doctor visits.
struct Patient {
    host: Namespace,
    dir: TempDir,
}

impl Patient {
    fn new(label: &str) -> Self {
        Self { host: Namespace::new(label), dir: TempDir::new() }
    }

    /// The program on this host.
    fn launch(&self, launch: Launch) -> Launch {
        launch.env("XDG_RUNTIME_DIR", self.dir.root()).inside(&self.host)
    }

    fn visit(&self) -> Exit {
        self.launch(zbridge!("doctor", "--json")).run()
    }

    /// What is found, as `check about`, and the commands.
    fn found(&self, weight: &str) -> Vec<(String, String)> {
        let exit = self.visit();
        let all: Vec<Value> = exit.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let bad = all.iter().filter(|finding| finding["weight"] == "bad").count();
        assert_eq!(exit.code(), if bad > 0 { 6 } else { 0 }, "{exit:?}");
        let text = |finding: &Value, key: &str| finding[key].as_str().expect("text").to_owned();
        let of_weight = all.iter().filter(|finding| finding["weight"] == weight);
        let told = |it: &Value| (format!("{} {}", text(it, "check"), text(it, "about")), text(it, "mend"));
        of_weight.map(told).collect()
    }

    /// Does what the doctor says, without what is in brackets behind it.
    fn mend(&self, command: &str) {
        let command = command.split(" (").next().expect("a command");
        self.host.check(command.strip_prefix("sudo ").expect("a command for sudo"));
    }
}

fn words(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(what, _)| what.as_str()).collect()
}

#[test]
fn every_fault_of_a_host_is_named_and_mended() {
    require!(needs::netns(), needs::tun(), needs::tool("nft", "nftables"), needs::tool("ethtool", "ethtool"));
    let patient = Patient::new("doctor");
    let ports = [
        "tap:zeth0,addr=192.0.2.2/24,persist",
        "tap:zeth1,addr=192.0.2.3/24,mtu=1400",
        "tap:zeth2,addr=198.51.100.2/24",
    ];
    let mut zbridge = patient.launch(zbridge!()).args(ports.iter().flat_map(|port| ["-p", port])).ready();
    patient.host.ip("link set zeth2 down");
    patient.host.check(
        "nft add table inet filter && nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }' \
         && nft add rule inet filter input iifname zeth1 accept",
    );
    let bad = patient.found("bad");
    assert_eq!(
        words(&bad),
        [
            "links zeth2",
            "mtu zeth0",
            "mtu zeth2",
            "networks zeth1",
            "firewall zeth0",
            "firewall zeth0",
            "firewall zeth2"
        ],
    );
    bad.iter().for_each(|(_, command)| patient.mend(command));
    assert_eq!(patient.found("bad"), []);
    let exit = patient.launch(zbridge!("doctor")).run();
    let holder = format!("  zeth0  pid {} (zbridge)\n", zbridge.pid());
    assert!(exit.stdout.contains(&holder) && exit.stderr.is_empty(), "{exit:?}");

    // what a program that is killed leaves
    zbridge.kill9();
    let left = patient.found("note");
    assert_eq!(words(&left), ["links zeth0", "offloads zeth0"]);
    patient.mend(&left[1].1);
    assert_eq!(words(&patient.found("note")), ["links zeth0"]);
    patient.host.ip("link del zeth0");
    let exit = patient.launch(zbridge!("doctor")).run();
    assert!(exit.stdout.starts_with("nothing is in the way") && exit.code() == 0, "{exit:?}");
}

#[test]
fn kernel_bridges_with_taps_are_looked_at() {
    require!(needs::netns(), needs::tun());
    let patient = Patient::new("doctorbr");
    patient.host.ip("link add br0 type bridge stp_state 1");
    patient.host.ip("tuntap add zeth0 mode tap");
    patient.host.ip("link set zeth0 master br0");
    let notes = patient.found("note");
    let of_bridge = |notes: &[(String, String)]| notes.iter().filter(|(what, _)| what == "kernel-bridge br0").count();
    assert!(of_bridge(&notes) >= 2, "{notes:?}");
    let bridge = notes.iter().filter(|(what, command)| what == "kernel-bridge br0" && command.contains("ip link"));
    bridge.for_each(|(_, command)| patient.mend(command));
    let left = patient.found("note");
    assert!(of_bridge(&left) == of_bridge(&notes) - 2, "{left:?}");
}

#[test]
fn two_stations_with_one_address_are_named() {
    require!(needs::netns());
    let patient = Patient::new("doctor2");
    let specs = ["a", "b"].map(|name| format!("unix:{}", patient.dir.text(name)));
    let _zbridge = patient.launch(zbridge!("-p", &specs[0], "-p", &specs[1])).ready();
    let mut peers = ["a", "b"].map(|name| StreamPeer::unix(patient.dir.path(name)));
    eventually("both have said it", || {
        for (peer, number) in peers.iter_mut().zip([1, 2]) {
            let station = Station { mac: Station::new(number).mac, ..Station::new(7) };
            peer.send(&station.arp_request(station.ip));
        }
        let found = patient.found("bad");
        (words(&found) == ["doubles 192.0.2.7"]).then_some(())
    });
    let exit = patient.launch(zbridge!("doctor")).run();
    let holds = |name: &str| exit.stdout.contains(&format!("  {}  pid ", patient.dir.text(name)));
    assert!(holds("a") && holds("b"), "{exit:?}");
}

#[test]
fn a_firewall_that_does_not_answer_is_not_waited_for() {
    require!(needs::root());
    let dir = TempDir::new();
    for (script, says) in
        [("sleep 100", "nft does not answer"), ("exec yes", "nft"), ("exit 1", "nft does not list them")]
    {
        let nft = dir.file("nft", format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&nft, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let path = format!("{}:{}", dir.root().display(), std::env::var("PATH").expect("a path"));
        let exit = zbridge!("doctor").env("PATH", path).env("XDG_RUNTIME_DIR", dir.root()).run();
        let told = exit.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(&format!("not looked at: firewall: {says}")), "{script}: {exit:?}");
        assert!(told.contains("12 checks"), "{exit:?}");
    }
}
