//! A guest that traces its way: the gateway is the first router, and those beyond show themselves.

use crate::lab::{FAR, FAR6, GATEWAY, GATEWAY6, Lab};
use socket2::{Domain, Socket, Type};
use std::io::ErrorKind;
use std::net::SocketAddr;
use support::{Namespace, needs, require};

/// Hosts behind the far one, which is a router.
const BEHIND: &str = "203.0.113.9";
const BEHIND6: &str = "2001:db8:77::9";

/// A lab whose host has a way through the far one, to a network behind it.
fn lab(label: &str) -> (Lab, Namespace) {
    let lab = Lab::start(label, "");
    lab.host.ip(&format!("route add 203.0.113.0/24 via {FAR}"));
    lab.host.ip(&format!("-6 route add 2001:db8:77::/64 via {FAR6}"));
    lab.far.check("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    let behind = Namespace::new("behind");
    lab.far.veth("on", &behind, "in");
    behind.ip("link set in up");
    lab.far.ip("addr add 203.0.113.1/24 dev on");
    lab.far.ip("addr add 2001:db8:77::1/64 dev on nodad");
    // every probe is answered
    lab.far.check("sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0");
    (lab, behind)
}

/// Sends datagrams with so many hops until somebody says by ICMP why none arrives, and prints the message's type and who
/// sent it, as traceroute does: struct sock_extended_err (linux/errqueue.h), and the address behind it.
const TRACE: &str = r"
import socket, sys, time
to, hops = sys.argv[1], int(sys.argv[2])
six = ':' in to
socket_ = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
socket_.setsockopt(level, socket.IPV6_UNICAST_HOPS if six else socket.IP_TTL, hops)
socket_.setsockopt(level, 25 if six else 11, 1)
for probe in range(100):
    try:
        socket_.sendto(b'probe', (to, 33435))
    except OSError:
        pass
    time.sleep(0.1)
    try:
        _, control, _, _ = socket_.recvmsg(64, 512, socket.MSG_ERRQUEUE)
    except OSError:
        continue
    told = control[0][2]
    by = socket.inet_ntop(socket.AF_INET6, told[24:40]) if six else socket.inet_ntop(socket.AF_INET, told[20:24])
    print(told[5], by)
    break
";

/// The type of the ICMP message that a datagram of the guest to `to` with so many hops meets, and who sends it.
fn trace(lab: &Lab, to: &str, hops: u8) -> String {
    let mut python = lab.guest.command("python3");
    let said = python.args(["-c", TRACE, to, &hops.to_string()]).output().expect("python runs");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

#[test]
fn the_gateway_is_the_first_router() {
    require!(needs::netns(), needs::tun(), needs::tool("python3", "python3"));
    let (lab, _behind) = lab("hops");
    for (gateway, far, exceeded) in [(GATEWAY, FAR, 11), (GATEWAY6, FAR6, 3)] {
        assert_eq!(trace(&lab, far, 1), format!("{exceeded} {gateway}"));
        let to: SocketAddr = SocketAddr::new(far.parse().expect("an address"), 80);
        let failed = lab.guest.inside(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
            if to.is_ipv4() { socket.set_ttl_v4(1) } else { socket.set_unicast_hops_v6(1) }.expect("a hop limit");
            socket.connect(&to.into()).expect_err("no hop is left")
        });
        assert_eq!(failed.kind(), ErrorKind::HostUnreachable, "{far}");
        // what is for the gateway itself needs no more
        assert!(lab.guest.run(&format!("ping -n -c 1 -W 5 -t 1 {gateway}")).rc == 0, "{gateway}");
    }
}

#[test]
fn routers_beyond_show_themselves() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"), needs::tool("python3", "python3"));
    let (lab, _behind) = lab("trace");
    for (far, behind, exceeded, unreachable) in [(FAR, BEHIND, 11, 3), (FAR6, BEHIND6, 3, 1)] {
        assert_eq!(trace(&lab, behind, 2), format!("{exceeded} {far}"));
        let probe = lab.guest.run(&format!("ping -n -c 1 -W 5 -t 2 {behind}")).output;
        let told = [format!("From {far}"), "icmp_seq=1".to_owned(), "xceeded".to_owned()];
        assert!(told.iter().all(|word| probe.contains(word)), "{probe}");
        // and whom it is for, who has the last word
        lab.guest.check(&format!("ping -n -c 1 -W 5 -t 2 {far}"));
        assert_eq!(trace(&lab, far, 2), format!("{unreachable} {far}"));
    }
}
