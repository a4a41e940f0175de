//! Tests of instances: their words, their errors with lines, what they wait for.

use super::*;
use crate::config::Config;
use crate::config::order::order;
use crate::error::Class;
use crate::wire::Mac;
use proptest::prelude::*;

const BENCH: &str = r#"
[[port]]
port = "unix:/tmp/inst1"

[[instance]]
name = "zephyr"
command = "./zephyr.exe --seed=1 'two words'"
tap = ["zeth0", "zeth1,switch=lab,mtu=9000"]
env = { A = "1", B = "x=y" }
ready = "log ^net: .* ready"
restart = "on-failure"

[[instance]]
name = "client"
command = ["curl", "http://192.0.2.1/"]
host = ["192.0.2.9/24", "2001:db8::9/64"]
gateway = "192.0.2.1"
dns = "192.0.2.53"
after = "zephyr"
ready = "tcp 192.0.2.1:80 from 192.0.2.77/24"
ready-timeout = "500ms"
cwd = "/"
log = "client.txt"

[[instance]]
name = "board"
command = "qemu-system-i386 -nographic"
qemu = "e1000"
after = ["zephyr", "client"]
"#;

fn bench(text: &str) -> Config {
    Config::parse(text, "bench.toml").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_bench_is_read() {
    let config = bench(BENCH);
    let [zephyr, client, board] = config.instances.as_slice() else { panic!("three instances") };
    assert_eq!(zephyr.command, ["./zephyr.exe", "--seed=1", "two words"]);
    let Network::Interfaces { taps, host: None, .. } = &zephyr.network else { panic!("{zephyr:?}") };
    let shown: Vec<_> = taps.iter().map(|tap| (tap.name.as_str(), tap.switch.as_str(), tap.mtu)).collect();
    assert_eq!(shown, [("zephyr.zeth0", "default", None), ("zephyr.zeth1", "lab", Some(9000))]);
    assert_eq!(zephyr.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
    assert_eq!((zephyr.restart, &zephyr.ready), (Restart::OnFailure, &Some(Ready::Log("^net: .* ready".into()))));
    assert_eq!((zephyr.ready_timeout, zephyr.cwd.clone(), zephyr.log.clone()), (READY_TIMEOUT, None, None));

    assert_eq!(client.command, ["curl", "http://192.0.2.1/"]);
    let Network::Interfaces { taps, host: Some((host, port)), .. } = &client.network else { panic!("{client:?}") };
    assert_eq!((taps.len(), host.ifname.as_str(), host.dhcp, port.name.as_str()), (0, "eth0", false, "client"));
    assert_eq!((host.addrs.len(), host.gateways.len(), host.dns.len()), (2, 1, 1));
    let from = Some("192.0.2.77/24".parse().unwrap());
    assert_eq!(client.ready, Some(Ready::Tcp { addr: "192.0.2.1:80".parse().unwrap(), from }));
    assert_eq!((client.ready_timeout, client.cwd.clone()), (Duration::from_millis(500), Some(PathBuf::from("/"))));

    let Network::Qemu { model: Some(model), mac } = &board.network else { panic!("{board:?}") };
    assert_eq!((model.as_str(), board.after.len()), ("e1000", 2));
    assert!(!mac.is_group() && mac.0[0] & 2 == 2, "{mac}");
    let switches: Vec<String> = config.switches_in_use().into_iter().map(|switch| switch.name).collect();
    assert_eq!(switches, ["default", "lab"]);
    assert_eq!(config.check(), Ok(Vec::new()));
    let summary = config.summary();
    let row = "  zephyr  ./zephyr.exe --seed=1 'two words'\n          tap zeth0 on switch default, tap zeth1 on switch lab, \
               ready log ^net: .* ready, restart on-failure\n";
    assert!(summary.contains(row), "{summary}");
    assert!(summary.contains("after zephyr, ready tcp 192.0.2.1:80 from 192.0.2.77/24 on switch "), "{summary}");
}

#[test]
fn a_single_tap_has_its_instances_name_and_a_named_one_its_own() {
    for (tap, name) in [("\"zeth\"", "a"), ("[\"zeth\"]", "a"), ("\"zeth,name=b\"", "b")] {
        let config = bench(&format!("[[instance]]\nname = \"a\"\ncommand = \"x\"\ntap = {tap}\n"));
        assert_eq!(config.instances[0].ports(), [name], "{tap}");
    }
}

#[test]
fn every_guest_has_a_mac_address_of_its_own() {
    let mac = |name| Mac::made_of(name);
    assert_eq!(mac("one"), mac("one"));
    let many: std::collections::HashSet<Mac> = (0..1000).map(|number| Mac::made_of(&format!("inst{number}"))).collect();
    assert_eq!(many.len(), 1000);
}

/// What stands in `[[instance]]` behind name and command, and the error.
const WRONG: &[(&str, &str)] = &[
    ("tpa = \"zeth\"", "bench.toml:4: an instance has no key \"tpa\"; the nearest is \"tap\""),
    ("tap = \"a/b\"", "bench.toml:4: tap=\"a/b\": NAME \"a/b\": expected an interface name"),
    ("tap = \"zeth,addr=192.0.2.1/24\"", "bench.toml:4: tap=\"zeth,addr=192.0.2.1/24\": the interface is made by"),
    ("tap = \"zeth,bogus\"", "bench.toml:4: tap=\"zeth,bogus\": tap has no key \"bogus\""),
    ("tap = [\"zeth\", \"zeth\"]", "bench.toml:1: there are two interfaces called zeth"),
    ("tap = \"zeth\"\nqemu = true", "bench.toml:1: an instance has tap, tun and host, or qemu"),
    ("host = \"192.0.2.9\"", "bench.toml:4: host=\"192.0.2.9\": expected an address with a prefix length"),
    ("gateway = \"192.0.2.1\"", "bench.toml:4: key \"gateway\" means nothing without host"),
    ("mac = \"02:00:00:00:00:01\"", "bench.toml:4: key \"mac\" means nothing without qemu"),
    ("qemu = \"e 1000\"", "bench.toml:4: qemu=\"e 1000\": expected on, off or the model"),
    ("ready = \"pong 192.0.2.1\"", "bench.toml:4: ready=\"pong 192.0.2.1\": expected log REGEX, ping ADDR or tcp"),
    ("ready = \"ping host\"", "bench.toml:4: ready=\"ping host\": expected an IP address, not the name \"host\""),
    ("ready = \"tcp a:80\"", "bench.toml:4: ready=\"tcp a:80\": expected an IP address, not the name \"a\""),
    ("ready = \"tcp 192.0.2.1\"", "bench.toml:4: ready=\"tcp 192.0.2.1\": expected log REGEX"),
    (
        "ready = \"log (\"",
        "bench.toml:4: ready=\"log (\": expected a regular expression behind \"log\" (unclosed group)",
    ),
    ("ready = \"ping 192.0.2.1 from 192.0.2.9\"", "bench.toml:4: ready=\"ping 192.0.2.1 from 192.0.2.9\": expected an"),
    ("ready-timeout = \"0s\"", "bench.toml:4: ready-timeout=\"0s\": expected a time"),
    ("restart = \"always\"", "bench.toml:4: restart=\"always\": expected no or on-failure"),
    ("env = [\"A\"]", "bench.toml:4: env=\"A\": expected NAME=VALUE"),
    ("env = { A = 1.5 }", "bench.toml:4: A takes no float as its value"),
    ("\nafter = \"b\"", "bench.toml:5: a is after \"b\", which is no instance; there is no other"),
    ("after = \"a\"", "bench.toml:4: instances wait for each other: a is after a"),
    ("[[instance]]\nname = \"a\"\ncommand = \"x\"", "bench.toml:4: instance a is given twice"),
    ("[[instance]]\ncommand = \"x\"", "bench.toml:4: an instance needs a name: name = \"NAME\""),
    ("[[instance]]\nname = \"b\"", "bench.toml:4: an instance needs a command: command = \"PROGRAM ARGUMENTS\""),
    ("[[instance]]\nname = \"b\"\ncommand = []", "bench.toml:4: an instance needs a command"),
    ("[[instance]]\nname = \"b\"\ncommand = 3", "bench.toml:6: command is a string, or a list of strings"),
    ("[[instance]]\nname = \"b\"\ncommand = \"a 'b\"", "bench.toml:6: command: a quote is not closed"),
];

#[test]
fn errors_lead_with_their_line() {
    for (text, expected) in WRONG {
        let text = format!("[[instance]]\nname = \"a\"\ncommand = \"x\"\n{text}\n");
        let error = Config::parse(&text, "bench.toml").expect_err(&text);
        assert!(error.what().starts_with(expected), "{text}\ngives    {}\nexpected {expected}", error.what());
        assert_eq!(error.class(), Class::Usage);
    }
    let list = Config::parse("instance = 3\n", "bench.toml").unwrap_err();
    assert_eq!(list.what(), "bench.toml:1: instance is a list of tables");
}

#[test]
fn a_ring_is_shown_from_its_first_instance() {
    let instance =
        |name: &str, after: &str| format!("[[instance]]\nname = \"{name}\"\ncommand = \"x\"\nafter = {after}\n");
    let text = [instance("a", "[]"), instance("b", "\"d\""), instance("c", "[\"a\", \"b\"]"), instance("d", "\"c\"")];
    let error = Config::parse(&text.concat(), "bench.toml").unwrap_err();
    assert_eq!(error.what(), "bench.toml:8: instances wait for each other: b is after d is after c is after b");
    let near = [instance("one", "[]"), instance("two", "\"oen\"")].concat();
    let error = Config::parse(&near, "bench.toml").unwrap_err();
    assert_eq!(error.what(), "bench.toml:8: two is after \"oen\", which is no instance; the nearest is \"one\"");
}

#[test]
fn instances_and_ports_have_names_of_their_own() {
    let text = "port = [\"unix:/tmp/a\"]\n[[instance]]\nname = \"a\"\ncommand = \"x\"\n";
    assert!(bench(text).check().is_ok(), "without a port of its own it may be called so");
    let error = bench(&format!("{text}tap = \"zeth\"\n")).check().unwrap_err();
    assert_eq!(error.what(), "instance a: another port is called a");
}

#[test]
fn a_radio_medium_takes_no_instance() {
    let text = "port = [\"wpan:pipe:/tmp/a\"]\n[[instance]]\nname = \"b\"\ncommand = \"x\"\n";
    assert_eq!(bench(text).check(), Ok(Vec::new()));
    let error = bench(&format!("{text}tap = \"zeth\"\n")).check().unwrap_err();
    assert_eq!(error.what(), "instance b cannot join switch default, which is 802.15.4");
}

/// A search from each of them would take minutes.
#[test]
fn a_long_chain_is_followed_in_one_go() {
    let count = 5000;
    let key = |word: &str, value: String| Key { word: word.into(), value: Some(value), at: 0 };
    let mut instances: Vec<InstanceSpec> = (0..count)
        .map(|index| InstanceSpec::from_words(vec!["x".into()], vec![key("name", format!("i{index}"))]).unwrap())
        .collect();
    for (index, instance) in instances.iter_mut().enumerate().skip(1) {
        instance.after = vec![format!("i{}", index - 1)];
    }
    assert_eq!(order(&instances), Ok(()));
    instances[10].after.push(format!("i{}", count - 1));
    let (first, fault) = order(&instances).unwrap_err().remove(0);
    assert!(
        first == 10
            && crate::error::Error::from(fault).what().starts_with("instances wait for each other: i10 is after i4999")
    );
}

proptest! {
    /// Each instance is after some that stand before it: there is no ring. With one edge back, there is.
    #[test]
    fn rings_are_found(edges in prop::collection::vec((0..12usize, 0..12usize), 0..30), back in 0..12usize) {
        let name = |index: usize| format!("i{index}");
        let mut instances: Vec<InstanceSpec> = (0..12).map(|index| {
            let key = |word: &str, value: String| Key { word: word.into(), value: Some(value), at: 0 };
            InstanceSpec::from_words(vec!["x".into()], vec![key("name", name(index))]).unwrap()
        }).collect();
        for (one, other) in edges {
            if one != other {
                instances[one.max(other)].after.push(name(one.min(other)));
            }
        }
        prop_assert_eq!(order(&instances), Ok(()));
        let dependent = (back..12).rev().find(|index| instances[*index].after.contains(&name(back)) || *index == back);
        let dependent = dependent.unwrap();
        instances[back].after.push(name(dependent));
        prop_assert!(order(&instances).unwrap_err()[0].1.what.starts_with("instances wait for each other: i"));
    }
}

#[test]
fn one_table_stands_for_several_copies() {
    let config = bench(
        r#"
[[instance]]
name = "copy"
count = 3
command = "./zephyr.exe --seed={i}"
tap = "zeth"
rewrite = ["mac", "ip=192.0.2.1:192.0.2.{i+10}"]
ready = "ping 192.0.2.{i+10}"

[[instance]]
name = "x{i}y"
count = 1
command = "x"
after = "copy"
"#,
    );
    let shown: Vec<_> = config
        .instances
        .iter()
        .map(|one| (one.name.as_str(), one.command[1..].join(" ".as_ref()).into_string().unwrap(), one.after.join(" ")))
        .collect();
    let wanted = [("copy1", "--seed=1", ""), ("copy2", "--seed=2", ""), ("copy3", "--seed=3", "")];
    assert_eq!(shown[..3], wanted.map(|(name, command, after)| (name, command.to_owned(), after.to_owned())));
    assert_eq!((shown[3].0, shown[3].2.as_str()), ("x1y", "copy1 copy2 copy3"));
    assert_eq!(
        config.instances[1].settings(false),
        "tap zeth, rewrite mac, rewrite ip=192.0.2.1:192.0.2.12, ready ping 192.0.2.12"
    );
    for count in ["0", "1001", "\"many\""] {
        let text = format!("[[instance]]\nname = \"a\"\ncommand = \"x\"\ncount = {count}\n");
        let error = Config::parse(&text, "bench.toml").unwrap_err();
        assert_eq!(error.what(), "bench.toml:4: count: expected a number from 1 to 1000");
    }
}
