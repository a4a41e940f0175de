//! Names: of hosts on the segment, and all others by the host's resolvers.

use crate::lab::{Lab, machine};
use support::{needs, require};

#[test]
fn hosts_have_names_and_others_come_from_the_resolver() {
    require!(machine(), needs::tool("dig", "bind9-dnsutils"));
    let lab = Lab::start("names", ",dns=10.0.2.3,host=02:00:5e:00:53:09/10.0.2.9/board1");
    lab.resolve();
    let dig = |words: &str| {
        let addr = "10.0.2.77/24";
        let exit = lab.guest("inst1", addr, &format!("dig +short +time=5 +tries=2 @10.0.2.3 {words}")).run();
        assert_eq!(exit.code(), 0, "{words}: {exit:?}");
        exit.stdout
    };
    assert_eq!(dig("board1.lab"), "10.0.2.9\n");
    assert_eq!(dig("+tcp board1.lab"), "10.0.2.9\n");
    assert_eq!(dig("-x 10.0.2.9"), "board1.lab.\n");
    assert_eq!(dig("gateway.lab"), "10.0.2.2\n");
    assert_eq!(dig("absent.lab"), "");
    assert_eq!(dig("far.example"), "192.0.2.80\n");
    assert_eq!(dig("+tcp far.example"), "192.0.2.80\n");
    // an answer that is too long for a datagram is fetched over a stream
    let long = dig("long.example TXT");
    assert_eq!((long.lines().count(), long.len()), (15, 15 * 202));
    // the resolver is another one from now on
    lab.dir.file("resolv.conf", "nameserver 127.0.0.9\n");
    let refused = lab.guest("inst1", "10.0.2.77/24", "dig +time=9 +tries=1 @10.0.2.3 far.example").run();
    assert!(refused.stdout.contains("SERVFAIL"), "{}", refused.stdout);
}

/// Names and addresses that are given while the bridge runs are what guests are told.
#[test]
fn names_and_leases_are_changed_while_it_runs() {
    require!(machine(), needs::tool("dig", "bind9-dnsutils"));
    let lab = Lab::start("changed", ",ipv6=2001:db8::2/64");
    let dig = |words: &str| {
        let exit = lab.guest("inst1", "10.0.2.77/24", &format!("dig +short +time=5 +tries=2 @10.0.2.2 {words}")).run();
        assert_eq!(exit.code(), 0, "{words}: {exit:?}");
        exit.stdout
    };
    lab.ask(&["dns", "add", "board1", "10.0.2.20", "2001:db8::20"]);
    lab.ask(&["dns", "add", "*.cloud.example", "192.0.2.7"]);
    assert_eq!(dig("board1.lab"), "10.0.2.20\n");
    assert_eq!(dig("board1.lab AAAA"), "2001:db8::20\n");
    assert_eq!(dig("-x 10.0.2.20"), "board1.lab.\n");
    assert_eq!(dig("-x 2001:db8::20"), "board1.lab.\n");
    assert_eq!(dig("any.thing.cloud.example"), "192.0.2.7\n");
    lab.ask(&["dns", "del", "board1"]);
    assert_eq!(dig("board1.lab"), "");
    // A host that is pinned gets that address, and has the name.
    let told = lab.guest("inst2", "dhcp", "ip -br link show eth0").run();
    let mac = told.stdout.split_whitespace().nth(2).expect("a MAC address");
    lab.ask(&["lease", "drop", mac, "--if-exists"]);
    lab.ask(&["lease", "pin", &format!("{mac}/10.0.2.99/pinned")]);
    // Its IPv6 address has the name, too, once it is heard of it.
    let script = "ip -br -4 addr show scope global; ping -c1 -W5 -6 2001:db8::2 >&2 && \
                  dig +short @10.0.2.2 pinned.lab AAAA && dig +short @10.0.2.2 pinned.lab && dig +short @10.0.2.2 -x 10.0.2.99";
    let told = lab.guest("inst2", "dhcp", script).run();
    let said: Vec<&str> = told.stdout.lines().collect();
    assert!(said.first().is_some_and(|line| line.contains("10.0.2.99/24")), "{told:?}");
    assert!(said.get(1).is_some_and(|line| line.starts_with("2001:db8::")), "{told:?}");
    assert_eq!(said.get(2..), Some(&["10.0.2.99", "pinned.lab."][..]), "{told:?}");
}
