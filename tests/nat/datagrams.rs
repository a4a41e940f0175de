//! UDP and pings from a guest to the host and beyond: answers, pieces, errors.

use crate::lab::{FAR, FAR6, GATEWAY, GATEWAY6, Lab, bytes, is_silent, udp};
use std::io::ErrorKind;
use support::{eventually, needs, require};

#[test]
fn datagrams_of_all_lengths_come_and_go() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("udp", "");
    let far = [udp(&lab.far, &format!("{FAR}:7")), udp(&lab.far, &format!("[{FAR6}]:7"))];
    let near = [udp(&lab.host, "127.0.0.1:7"), udp(&lab.host, "[::1]:7")];
    let ends = far.iter().zip([format!("{FAR}:7"), format!("[{FAR6}]:7")]);
    let ends = ends.chain(near.iter().zip([format!("{GATEWAY}:7"), format!("[{GATEWAY6}]:7")]));
    for (server, addr) in ends {
        let guest = udp(&lab.guest, if addr.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" });
        // the longest are several packets, which the gateway puts together, and takes apart for the guest
        for length in [0, 1, 1472, 1473, 9000, 60_000] {
            let data = bytes(length);
            guest.send_to(&data, &addr).expect("the guest sends");
            let mut room = vec![0; 65_535];
            let (count, from) = server.recv_from(&mut room).unwrap_or_else(|error| panic!("{addr}, {length}: {error}"));
            assert_eq!(room[..count], data, "{addr}");
            server.send_to(&data, from).expect("the server answers");
            let (count, from) = guest.recv_from(&mut room).unwrap_or_else(|error| panic!("{addr}, {length}: {error}"));
            assert_eq!((&room[..count], from.to_string()), (&data[..], addr.clone()));
        }
    }
}

/// RFC 4787: the same socket for all, and answers from whatever port of whom the guest has talked to.
#[test]
fn a_guests_port_is_one_socket() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("cone", "");
    let (first, second) = (udp(&lab.far, &format!("{FAR}:69")), udp(&lab.far, &format!("{FAR}:7000")));
    let stranger = udp(&lab.host, "198.51.100.1:0");
    let guest = udp(&lab.guest, "0.0.0.0:0");
    guest.send_to(b"read", format!("{FAR}:69")).expect("the guest sends");
    let (_, from) = first.recv_from(&mut [0; 16]).expect("a request");
    second.send_to(b"data", from).expect("another port answers, as a TFTP server's does");
    let mut room = [0; 16];
    let (count, port) = guest.recv_from(&mut room).expect("the answer");
    assert_eq!((&room[..count], port.port()), (&b"data"[..], 7000));
    guest.send_to(b"ack", port).expect("the guest sends");
    assert_eq!(second.recv_from(&mut room).expect("an acknowledgement").1, from);
    stranger.send_to(b"unasked", ("127.0.0.1", from.port())).expect("a stranger sends");
    stranger.send_to(b"unasked", from).expect("a stranger sends");
    assert!(is_silent(&guest));
}

#[test]
fn what_does_not_arrive_is_told() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("errors", "");
    for addr in [format!("{GATEWAY}:9"), format!("{FAR}:9"), format!("[{GATEWAY6}]:9"), format!("[{FAR6}]:9")] {
        let guest = udp(&lab.guest, if addr.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" });
        lab.guest.inside(|| guest.connect(&addr)).expect("an address");
        let told = eventually("the port is unreachable", || {
            guest.send(b"anybody?").err().or_else(|| guest.recv(&mut [0; 16]).err())
        });
        assert_eq!(told.kind(), ErrorKind::ConnectionRefused, "{addr}");
    }
    // of a host that cannot be reached a socket is not told by Linux, unless it asks; of a rule it is
    lab.host.ip("route add prohibit 203.0.113.0/24");
    let guest = udp(&lab.guest, "0.0.0.0:0");
    lab.guest.inside(|| guest.connect("203.0.113.1:9")).expect("an address");
    guest.send(b"anybody?").expect("the guest sends");
    assert_eq!(guest.recv(&mut [0; 16]).expect_err("a rule").kind(), ErrorKind::HostUnreachable);
}

#[test]
fn pings_go_beyond_where_the_host_lets_them() {
    require!(needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let lab = Lab::start("ping", "");
    for addr in [GATEWAY, GATEWAY6, FAR, FAR6] {
        assert!(lab.guest.pings(addr), "{addr}");
    }
    for addr in [GATEWAY, GATEWAY6, FAR, FAR6] {
        lab.guest.check(&format!("ping -n -c 2 -i 0.1 -W 5 -s 4000 {addr}"));
    }
    let first_hop = lab.guest.run(&format!("ping -n -c 1 -W 5 -t 1 {FAR}")).output;
    assert!(first_hop.contains(&format!("From {GATEWAY}")) && first_hop.contains("Time to live"), "{first_hop}");
    // and where it does not, the guest is told
    lab.host.check("echo '1 0' > /proc/sys/net/ipv4/ping_group_range");
    let refused = lab.guest.run(&format!("ping -n -c 1 -W 5 {FAR}"));
    assert!(refused.rc != 0 && refused.output.contains("Packet filtered"), "{}", refused.output);
    lab.zbridge.wait_for("ping_group_range", support::PATIENCE);
}
