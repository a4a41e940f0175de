//! `restrict`: the services stay, and nothing else goes anywhere.

use crate::lab::{Lab, image, machine};
use support::{Namespace, TempDir, needs, require};

#[test]
fn services_stay_and_nothing_leaks() {
    require!(machine(), needs::tool("dig", "bind9-dnsutils"), needs::tool("curl", "curl"));
    let dir = TempDir::new();
    dir.file("zephyr.bin", image());
    let keys = format!(",ipv6=2001:db8::2/64,tftp={},restrict", dir.root().display());
    std::fs::set_permissions(dir.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let lab = Lab::start("restrict", &keys);
    lab.serve();
    lab.resolve();
    let far = Namespace::new("far");
    for namespace in [&lab.host, &far] {
        namespace.check("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    }
    lab.host.veth("out", &far, "in");
    lab.host.ip("addr add 198.51.100.1/24 dev out");
    lab.host.ip("route add default via 198.51.100.2");
    lab.host.ip("neigh add 198.51.100.2 lladdr 02:00:5e:00:53:77 dev out");
    let counted =
        || lab.host.check("cat /sys/class/net/lo/statistics/tx_packets /sys/class/net/out/statistics/tx_packets");
    let before = counted();

    let given = "ip -4 -o addr show dev eth0 | grep -o '10.0.2[0-9.]*/24'; ip route show default
                 dig +short +time=5 inst1.lab; dig +short +tcp +time=5 gateway.lab
                 curl -s -m 20 tftp://10.0.2.2/zephyr.bin | wc -c";
    let exit = lab.guest("inst1", "dhcp", given).run();
    let wanted = "10.0.2.15/24\n10.0.2.15\n10.0.2.2\n100000\n";
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, wanted), "{}", exit.stderr);

    // a guest that knows better than its lease
    let tries = "ip route add default via 10.0.2.2
                 dig +time=5 far.example | grep -o REFUSED
                 for url in http://10.0.2.2:8000/ http://198.51.100.1:8000/ http://192.0.2.80/; do
                   curl -s -m 5 $url && echo reached $url; done
                 dig +time=1 +tries=1 @192.0.2.53 far.example >/dev/null && echo asked
                 ping -c 1 -W 1 198.51.100.2 >/dev/null && echo pinged
                 while ! ip -6 addr show dev eth0 scope global -tentative | grep -q inet6; do sleep 0.1; done
                 ip -6 route add default via 2001:db8::2
                 for url in 'http://[2001:db8::2]:8000/' 'http://[2001:db8:99::1]/'; do
                   curl -s -m 5 $url && echo reached $url; done; true";
    let exit = lab.guest("inst1", "dhcp", &format!("set +e\n{tries}")).run();
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, "REFUSED\n"), "{}", exit.stderr);
    assert_eq!(counted(), before, "packets on the host's interfaces");
}
