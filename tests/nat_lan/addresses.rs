//! Addresses: DHCP by udhcpc and dhclient, BOOTP, SLAAC by the kernel, DHCPv6.

use crate::lab::{Lab, machine};
use support::{needs, require};

/// A shell script that runs udhcpc, sets the interface as it was told, and has what it was told in variables.
const UDHCPC: &str = "udhcpc -f -q -n -t 10 -T 1 -i eth0 -s $DIR/script -x hostname:$NAME -O tftp -O bootfile \
                      >$DIR/told.$NAME 2>$DIR/said.$NAME || { cat $DIR/said.$NAME >&2; exit 1; }
                      told() { sed -n \"s/^$1=//p\" $DIR/told.$NAME | tail -1; }
                      ip addr add $(told ip)/$(told mask) dev eth0
                      if [ -n \"$(told router)\" ]; then ip route add default via $(told router); fi
                      ";

/// The same for dhclient.
const DHCLIENT: &str = "dhclient $FAMILY -1 -v -sf $DIR/script -lf $DIR/lease.$NAME -pf $DIR/pid.$NAME -cf $DIR/conf \
                        eth0 >$DIR/told.$NAME 2>$DIR/said.$NAME || { cat $DIR/said.$NAME >&2; exit 1; }
                        told() { sed -n \"s/^new_$1=//p\" $DIR/told.$NAME | tail -1; }
                        ";

#[test]
fn udhcpc_gets_all_that_it_needs() {
    require!(machine(), needs::tool("udhcpc", "udhcpc"), needs::tool("curl", "curl"));
    let lab = Lab::start("udhcpc", ",domain=bench.test,lease=600s");
    lab.serve();
    let told = "echo $(told ip) $(told mask) $(told router) $(told dns) $(told domain) $(told lease); ";
    let script = format!("NAME=inst1\n{UDHCPC}{told} curl -s -m 20 http://10.0.2.2:8000/");
    let got = lab.check("inst1", &script);
    assert_eq!(got, "10.0.2.15 24 10.0.2.2 10.0.2.2 bench.test 600\nhello\n");
}

#[test]
fn status_shows_the_leases() {
    require!(machine(), needs::tool("udhcpc", "udhcpc"), needs::tool("jq", "jq"));
    let lab = Lab::start("status", "");
    for name in ["inst1", "inst2"] {
        lab.check(name, &format!("NAME={name}\n{UDHCPC}"));
    }
    let said = lab.ask(&["status", "lab"]);
    let leases: Vec<Vec<&str>> = said.lines().filter(|line| line.contains("lease of nat")).map(words).collect();
    let [first, second] = leases.as_slice() else { panic!("{said}") };
    assert_eq!((first[3], first[5], second[3], second[5]), ("10.0.2.15", "inst1", "10.0.2.16", "inst2"), "{said}");
    assert!(["59m", "1h"].contains(&first[6]) && first[7..] == ["left"], "{said}");
    let json = lab.dir.file("status.json", lab.ask(&["status", "lab", "--json"]));
    let query = format!("jq -r '.switches[].ports[].leases[]? | .addr, .name, (.until > 0)' {}", json.display());
    assert_eq!(lab.host.check(&query), "10.0.2.15\ninst1\ntrue\n10.0.2.16\ninst2\ntrue\n");
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn dhclient_gets_the_address_that_its_mac_has() {
    require!(machine(), needs::tool("dhclient", "isc-dhcp-client"), needs::tool("curl", "curl"));
    let lab = Lab::start("dhclient", ",dhcp=.40-.50,host=02:00:5e:00:53:09/10.0.2.9/board1");
    lab.serve();
    lab.dir.file("conf", "send host-name \"inst2\";\nrequest subnet-mask, routers, domain-name, host-name;\n");
    let told = "echo $(told ip_address) $(told subnet_mask) $(told routers) $(told domain_name) $(told host_name)\n";
    let set = "ip addr add $(told ip_address)/24 dev eth0; curl -s -m 20 http://10.0.2.2:8000/";
    let script = format!("NAME=inst2; FAMILY=-4\n{DHCLIENT}{told}{set}");
    let got = lab.check("inst2", &script);
    assert_eq!(got, "10.0.2.40 255.255.255.0 10.0.2.2 lab inst2\nhello\n");
    let mac = "ip link set eth0 down; ip link set eth0 address 02:00:5e:00:53:09; ip link set eth0 up\n";
    let script = format!("NAME=inst3; FAMILY=-4\n{mac}{DHCLIENT}{told}{set}");
    let got = lab.check("inst3", &script);
    assert_eq!(got, "10.0.2.9 255.255.255.0 10.0.2.2 lab board1\nhello\n");
}

#[test]
fn the_kernel_makes_itself_an_ipv6_address() {
    require!(machine(), needs::tool("curl", "curl"), needs::tool("ping", "iputils-ping"));
    let lab = Lab::start("slaac", ",ipv6=2001:db8::2/64");
    lab.serve();
    // When the kernel looks after the router as after any neighbour, the router is to be one still.
    let script =
        "for n in $(seq 150); do ip -6 addr show dev eth0 scope global -tentative | grep -q 'inet6 2001:db8::' && \
                  ip -6 route show default | grep -q 'via fe80::' && break; sleep 0.1; done
                  ip -6 addr show dev eth0 scope global | grep -o 'inet6 2001:db8::[^/]*/64' | cut -c1-16
                  curl -s -m 20 'http://[2001:db8::2]:8000/'
                  ip -6 neigh flush dev eth0
                  ping -c 1 -W 5 fe80::6e:aff:fe00:202%eth0 >/dev/null && echo router
                  ip -6 route show default | grep -o 'via fe80::6e:aff:fe00:202'";
    let got = lab.check("inst1", script);
    assert_eq!(got, "inet6 2001:db8::\nhello\nrouter\nvia fe80::6e:aff:fe00:202\n");
}

/// With an address of its link, the kernel asks for a router as soon as it has it, and again after four seconds only.
#[test]
fn the_first_question_for_a_router_is_heard() {
    require!(machine());
    let lab = Lab::start("first", ",ipv6=2001:db8::2/64");
    let script = "for n in $(seq 150); do ip -6 route show default | grep -q 'via fe80::' && break; sleep 0.1; done
                  ip -6 route show default | grep -o 'via fe80::6e:aff:fe00:202'
                  awk '/eth0:/ { print $13, \"frames lost\" }' /proc/net/dev";
    for round in 1..=8 {
        let got = lab.check(&format!("inst{round}"), script);
        assert_eq!(got, "via fe80::6e:aff:fe00:202\n0 frames lost\n", "round {round}");
    }
}

/// For the first second of its life a host has no other address: the kernel still tries out what it has made of the
/// router's prefix.
#[test]
fn a_host_gets_through_before_it_has_an_ipv6_address() {
    require!(machine(), needs::tool("curl", "curl"));
    let lab = Lab::start("early", ",ipv6=2001:db8::2/64");
    lab.serve();
    let script = "ip -6 addr flush dev eth0 scope global; ip -6 route flush dev eth0 proto ra
                  echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra
                  ip -6 route replace 2001:db8::/64 dev eth0
                  while ip -6 addr show dev eth0 | grep -q tentative; do sleep 0.1; done
                  ip -6 addr flush dev eth0 scope global
                  ip -6 route get 2001:db8::2 | grep -o 'src fe80:'; curl -s -m 20 'http://[2001:db8::2]:8000/'";
    assert_eq!(lab.check("inst1", script), "src fe80:\nhello\n");
}

#[test]
fn dhclient_gets_an_ipv6_address() {
    require!(machine(), needs::tool("dhclient", "isc-dhcp-client"), needs::tool("dig", "bind9-dnsutils"));
    let lab = Lab::start("dhcp6", ",ipv6=2001:db8::2/64");
    lab.dir.file("conf", "");
    // the link-local address is usable after a second
    let wait = "while ip -6 addr show dev eth0 | grep -q tentative; do sleep 0.1; done\n";
    let told = "echo $(told ip6_address | cut -c1-12) $(told dhcp6_name_servers) $(told dhcp6_domain_search)\n";
    let script = format!(
        "NAME=inst1; FAMILY='-6 -D LL'\n{wait}{DHCLIENT}{told}ip addr add $(told ip6_address)/64 dev eth0 nodad
         dig +short +time=5 @2001:db8::2 gateway.lab AAAA"
    );
    let got = lab.check("inst1", &script);
    assert_eq!(got, "2001:db8::d6 2001:db8::2 lab.\n2001:db8::2\n");
}
