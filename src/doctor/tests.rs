//! Machines and bridges that are made up, and what is found on them.

use super::facts::Seen;
use super::firewall::Rules;
use super::*;
use crate::control::{PortInfo, StationsInfo, StatusInfo};
use crate::counters::Counters;
use crate::port::netlink::{Interface, Tun};
use serde_json::json;
use std::fs;
use std::path::Path;

/// A machine that has these files, and the device of TAPs.
struct Machine {
    root: tempfile::TempDir,
    facts: Facts,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files.iter().chain([&("dev/net/tun", "")]) {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let facts = Facts {
            root: root.path().to_owned(),
            is_root: false,
            interfaces: Vec::new(),
            rules: Rules::default(),
            bridges: Vec::new(),
            unseen: Vec::new(),
        };
        Self { root, facts }
    }

    /// The same with a TAP of this name that is up, on the switch, with this address.
    fn tap(mut self, name: &str, addr: &str) -> Self {
        let index = 2 + self.facts.interfaces.len() as u32;
        let tun = Tun { tap: true, header: true, ..Tun::default() };
        let kind = Some("tun".to_owned());
        let interface = Interface {
            index,
            name: name.to_owned(),
            up: true,
            carrier: true,
            mtu: 1500,
            kind,
            tun,
            ..Interface::default()
        };
        let addrs = addr
            .split_once('/')
            .map(|(addr, prefix)| crate::wire::Cidr { addr: addr.parse().unwrap(), prefix: prefix.parse().unwrap() });
        let holder = Some("pid 9 (zbridge)".to_owned());
        self.facts.interfaces.push(Seen { interface, addrs: addrs.into_iter().collect(), holder, unchecked: true });
        self.port("tap", name, name, "up", "")
    }

    /// The same with a port.
    fn port(mut self, kind: &str, name: &str, target: &str, state: &str, peer: &str) -> Self {
        if self.facts.bridges.is_empty() {
            let status =
                json!({"name": "lab", "pid": 9, "version": "1", "switches": [{"name": "default", "ports": []}]});
            let status: StatusInfo = serde_json::from_value(status).unwrap();
            self.facts.bridges.push(Bench { status, stations: StationsInfo::default() });
        }
        let mut port = PortInfo::counted(&Counters::default(), 0);
        (port.kind, port.name, port.target) = (kind.to_owned(), name.to_owned(), target.to_owned());
        (port.state, port.peer) = (state.to_owned(), peer.to_owned());
        port.listener = name.split_once('#').map(|(listener, _)| listener.to_owned());
        self.facts.bridges[0].status.switches[0].ports.push(port);
        self
    }

    fn seen(&mut self, name: &str) -> &mut Seen {
        self.facts.interfaces.iter_mut().find(|seen| seen.name() == name).unwrap()
    }

    /// `bad check about`, and the command, for each finding.
    fn found(&self) -> Vec<String> {
        let weight = |weight| if weight == Weight::Bad { "bad" } else { "note" };
        let line = |it: Finding| format!("{} {} {}: {}", weight(it.weight), it.check, it.about, it.mend);
        examine(&self.facts).into_iter().map(line).collect()
    }
}

#[test]
fn a_machine_in_order_has_no_findings() {
    let machine = Machine::new(&[("proc/sys/net/ipv4/ip_forward", "1\n")]).tap("zeth0", "192.0.2.2/24");
    assert_eq!(machine.found(), [""; 0]);
    assert_eq!(Machine::new(&[]).found(), [""; 0]);
}

#[test]
fn a_missing_device_and_settings_are_named_with_their_remedy() {
    let machine = Machine::new(&[("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"), (".dockerenv", "")]);
    fs::remove_file(machine.root.path().join("dev/net/tun")).unwrap();
    let [device, apparmor] = &machine.found()[..] else { panic!("{:?}", machine.found()) };
    assert!(device.starts_with("bad device /dev/net/tun: docker run --device /dev/net/tun"), "{device}");
    assert!(apparmor.ends_with("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"), "{apparmor}");
    let mut machine = Machine::new(&[("proc/sys/user/max_user_namespaces", "0\n")]);
    machine.facts.is_root = true;
    assert_eq!(
        machine.found(),
        ["note namespaces user.max_user_namespaces: sudo sysctl -w user.max_user_namespaces=15000"]
    );
}

#[test]
fn taps_of_ports_are_looked_at() {
    let mut machine = Machine::new(&[]).tap("zeth0", "192.0.2.2/24").tap("zeth1", "192.0.2.3/24").tap("zeth2", "");
    machine.seen("zeth0").interface.up = false;
    machine.seen("zeth1").interface.mtu = 1280;
    let found = machine.found();
    assert_eq!(found[0], "bad links zeth0: sudo ip link set zeth0 up");
    let mtus = ["bad mtu zeth0: sudo ip link set zeth0 mtu 1280", "bad mtu zeth2: sudo ip link set zeth2 mtu 1280"];
    assert_eq!(found[1..3], mtus);
    assert!(found[3].starts_with("bad networks zeth1: sudo ip addr del 192.0.2.3/24 dev zeth1"), "{found:?}");
    assert!(found[4].starts_with("note links zeth2: sudo ip addr add"), "{found:?}");
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn a_command_is_one_of_a_shell_whatever_the_interface_is_called() {
    let mut machine = Machine::new(&[]).tap("a;b", "192.0.2.2/24").tap("$(id),", "198.51.100.2/24");
    machine.seen("a;b").interface.up = false;
    machine.seen("$(id),").holder = None;
    machine.facts.bridges.clear();
    assert_eq!(machine.found()[0], "note links $(id),: zbridge port add 'tap:$(id),,'");
    let machine = machine.port("tap", "x", "a;b", "down", "");
    assert!(machine.found().contains(&"bad links a;b: sudo ip link set 'a;b' up".to_owned()), "{:?}", machine.found());
}

#[test]
fn offloads_matter_to_who_does_not_take_the_header() {
    let mut machine = Machine::new(&[]).tap("zeth0", "192.0.2.2/24").tap("zeth1", "198.51.100.2/24");
    machine.seen("zeth0").interface.tun.header = false;
    machine.seen("zeth1").holder = None;
    let (bad, note) =
        ("bad offloads zeth0: sudo ethtool -K zeth0 tx off", "note offloads zeth1: sudo ethtool -K zeth1 tx off");
    assert_eq!(machine.found(), [bad, note]);
}

#[test]
fn a_port_that_waits_for_a_tap_is_told_who_has_it() {
    let mut machine = Machine::new(&[]).tap("zeth0", "192.0.2.2/24");
    machine.facts.bridges.clear();
    machine.seen("zeth0").holder = Some("pid 77 (zephyr.exe)".into());
    let machine = machine.port("tap", "zeth0", "zeth0,optional", "waiting", "in use by pid 77");
    assert!(machine.found()[0].starts_with("bad links zeth0: kill 77 "), "{:?}", machine.found());
}

#[test]
fn a_kernel_bridge_filters_waits_and_prunes() {
    let files = [
        ("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n"),
        ("sys/class/net/br0/bridge/stp_state", "1\n"),
        ("sys/class/net/br0/bridge/multicast_snooping", "1\n"),
        ("sys/class/net/br0/bridge/multicast_querier", "0\n"),
    ];
    let mut machine = Machine::new(&files).tap("zeth0", "");
    machine.seen("zeth0").interface.master = Some(9);
    let kind = Some("bridge".to_owned());
    let interface = Interface { index: 9, name: "br0".into(), up: true, kind, ..Interface::default() };
    machine.facts.interfaces.push(Seen { interface, ..Seen::default() });
    let sysctl = "kernel-bridge br0: sudo sysctl -w net.bridge.bridge-nf-call-iptables=0";
    let found = machine.found();
    assert_eq!((found[0].as_str(), found.len()), (format!("note {sysctl}").as_str(), 3), "{found:?}");
    machine.facts.rules = Rules::parse(&fs::read(rules("forward", &json!([]))).unwrap()).unwrap();
    assert_eq!(machine.found()[0], format!("bad {sysctl}"), "as soon as the firewall drops");
}

/// A file of rules with one chain that drops what no rule accepts.
fn rules(hook: &str, exprs: &serde_json::Value) -> tempfile::TempPath {
    let place = json!({"family": "inet", "table": "filter"});
    let with = |more: serde_json::Value| {
        let mut all = place.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        serde_json::Value::Object(all)
    };
    let listed = json!({"nftables": [
        {"metainfo": {"version": "1.0.6"}},
        {"chain": with(json!({"name": "c", "hook": hook, "policy": "drop"}))},
        {"chain": with(json!({"name": "own"}))},
        {"rule": with(json!({"chain": "c", "expr": exprs}))},
        {"rule": with(json!({"chain": "own", "expr": [{"counter": null}, {"accept": null}]}))},
    ]});
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), listed.to_string()).unwrap();
    file.into_temp_path()
}

#[test]
fn a_firewall_that_was_not_told_of_a_tap_is_named() {
    let from = |name: &str| json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": name}});
    let established = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "established"}});
    let accept = json!({"accept": null});
    let of = |exprs: serde_json::Value| {
        let mut machine = Machine::new(&[("proc/sys/net/ipv4/ip_forward", "1")]).tap("zeth0", "192.0.2.2/24");
        machine.facts.rules = Rules::parse(&fs::read(rules("input", &exprs)).unwrap()).unwrap();
        machine.found()
    };
    let drops = ["bad firewall zeth0: sudo nft insert rule inet filter c iifname zeth0 accept"];
    assert_eq!(of(json!([])), drops);
    assert_eq!(of(json!([established, accept])), drops, "that is not all");
    assert_eq!(of(json!([from("zeth1"), accept])), drops);
    assert_eq!(of(json!([from("zeth0"), {"drop": null}])), drops);
    for open in [
        json!([from("zeth0"), accept]),
        json!([from("zeth*"), {"counter": null}, accept]),
        json!([accept]),
        json!([{"jump": {"target": "own"}}]),
    ] {
        assert_eq!(of(open.clone()), [""; 0], "{open}");
    }
    let round = of(json!([{"jump": {"target": "c"}}]));
    assert_eq!(round, drops, "a circle ends");
}

#[test]
fn any_text_in_place_of_rules_is_no_rules() {
    for text in ["", "{}", "[]", r#"{"nftables":3}"#, r#"{"nftables":[{"chain":{}}]}"#] {
        assert!(Rules::parse(text.as_bytes()).is_none(), "{text}");
    }
    for text in
        [r#"{"nftables":[]}"#, r#"{"nftables":[{"rule":{"family":"ip","table":"a","chain":"b","expr":[3,{}]}},4]}"#]
    {
        assert!(Rules::parse(text.as_bytes()).is_some(), "{text}");
    }
}

#[test]
fn what_bridges_tell_is_looked_at() {
    let mut machine = Machine::new(&[])
        .port("unix", "a", "/tmp/a", "up", "")
        .port("unix", "a#1", "", "stalled", "pid 4 (node)")
        .port("tap", "zeth9", "zeth9", "waiting", "there is no interface");
    let known = json!({"switch": "default", "addr": "192.0.2.1", "mac": "02:00:00:00:00:01", "port": "a#1", "age": 1, "other": "02:00:00:00:00:02"});
    machine.facts.bridges[0].stations =
        serde_json::from_value(json!({"addresses": [known], "flapping": {"default": ["02:00:00:00:00:03"]}})).unwrap();
    let found = machine.found();
    assert_eq!(found[0], "bad switches port a#1 of lab: kill -CONT 4 (or zbridge port del a#1 --to lab)");
    assert!(found[1].starts_with("bad doubles 192.0.2.1: rewrite=[mac, ip=192.0.2.1:NEW]"), "{found:?}");
    assert!(found[2].starts_with("bad doubles 02:00:00:00:00:03: rewrite=mac"), "{found:?}");
    assert!(found[3].starts_with("note switches port zeth9 of lab: see to it"), "{found:?}");
    assert_eq!(found.len(), 4);
}

#[test]
fn a_qemu_that_dials_once_is_told_from_one_that_dials_again() {
    let of = |options: &str| {
        let line = format!("qemu-system-x86_64\0-netdev\0{options}\0");
        Machine::new(&[("proc/42/cmdline", &line)])
            .port("unix", "a", "/tmp/a,accept=1", "up", "")
            .port("unix", "a#1", "", "up", "pid 42 (qemu-system-x86)")
            .found()
    };
    let once = of("stream,id=a,server=off,addr.type=unix,addr.path=/tmp/a");
    assert!(once[0].starts_with("note redial port a#1 of lab: reconnect=1"), "{once:?}");
    assert_eq!(of("stream,id=a,addr.type=unix,addr.path=/tmp/a,reconnect-ms=1000"), [""; 0]);
    assert_eq!(of("user,id=b"), [""; 0], "it came by another way");
    assert!(super::facts::arguments(Path::new("/nowhere"), "42").iter().all(String::is_empty));
}
