//! A guest of QEMU, which is a whole machine of its own: plugged in, it has all from the network.

use crate::lab::{Lab, machine};
use support::{Guest, Nic, eventually, needs, require};

/// What udhcpc does with a lease, as a system's own script does it.
const SCRIPT: &str = "#!/bin/sh
[ \"$1\" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
{ echo search $domain; for server in $dns; do echo nameserver $server; done; } > /etc/resolv.conf
";

#[test]
fn a_guest_is_plugged_in() {
    require!(machine(), needs::guest());
    let lab = Lab::start("guest", ",ipv6=2001:db8::2/64");
    lab.serve();
    lab.ask(&["port", "add", &format!("unix:{}", lab.dir.text("inst1"))]);
    let mut guest = Guest::new("dhcp").nic(Nic::stream(lab.dir.text("inst1"))).boot();
    guest.check(&format!("cat > /tmp/script << 'EOF'\n{SCRIPT}EOF\nchmod +x /tmp/script"));
    guest.check("udhcpc -n -q -t 20 -T 1 -i eth0 -s /tmp/script -x hostname:guest1");
    assert_eq!(guest.check("ip -4 -o addr show dev eth0 | grep -o '10.0.2[0-9.]*/24'"), "10.0.2.15/24\n");
    // the guest's wget cannot look names up: it is linked statically
    assert!(guest.check("busybox nslookup gateway.lab").contains("Address: 10.0.2.2"));
    assert_eq!(guest.check("busybox wget -q -O - http://10.0.2.2:8000/"), "hello\n");
    eventually("an IPv6 address, made of what the router says", || {
        let ready = guest.run("ip -6 addr show dev eth0 scope global -tentative | grep 2001:db8::").rc == 0;
        ready.then_some(())
    });
    assert_eq!(guest.check("busybox wget -q -O - 'http://[2001:db8::2]:8000/'"), "hello\n");
    // another host of the segment knows it by name
    let exit = lab.guest("inst2", "dhcp", "ping -c 1 -W 20 guest1.lab").run();
    assert_eq!(exit.code(), 0, "{exit:?}");
}
