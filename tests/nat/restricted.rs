//! An isolated segment: with `restrict` nothing leaves but what a forward asked for.

use crate::lab::{FAR, FAR6, GATEWAY, GATEWAY6, Lab, drink, is_silent, listen, pour, udp};
use std::io::ErrorKind;
use support::{Launch, Namespace, PATIENCE, Process, needs, require};

/// Captures what passes an interface of a namespace.
fn capture(namespace: &Namespace, interface: &str, filter: &str) -> Process {
    let capture = Launch::new("tcpdump").args(["-n", "-l", "-i", interface, filter]).inside(namespace).spawn();
    capture.wait_for("listening on", PATIENCE);
    capture
}

#[test]
fn restrict_lets_nothing_out() {
    require!(needs::netns(), needs::tun(), needs::tool("tcpdump", "tcpdump"));
    let lab = Lab::start("restrict", ",restrict,forward=tcp:127.0.0.1:2222->10.0.2.15:22");
    // neighbour discovery and MLD are the host's own
    let leaves = capture(&lab.host, "out", "ip or tcp or udp or (icmp6 and ip6[40] = 128)");
    let stays = capture(&lab.host, "lo", "ip or ip6");
    let listeners = [listen(&lab.far, &format!("{FAR}:7")), lab.listen("127.0.0.1:7"), lab.listen("[::1]:7")];
    let sockets = [udp(&lab.far, &format!("{FAR}:7")), udp(&lab.host, "127.0.0.1:7")];
    for addr in [format!("{FAR}:7"), format!("{GATEWAY}:7"), format!("[{GATEWAY6}]:7"), format!("[{FAR6}]:7")] {
        let error = lab.connect(&addr).expect_err("nothing goes out");
        assert!(!matches!(error.kind(), ErrorKind::ConnectionRefused), "{addr}: {error}");
    }
    let guest = udp(&lab.guest, "0.0.0.0:0");
    for addr in [format!("{FAR}:7"), format!("{GATEWAY}:7")] {
        guest.send_to(b"leak", &addr).expect("the guest sends");
    }
    assert!(sockets.iter().all(is_silent));
    for listener in &listeners {
        listener.set_nonblocking(true).expect("a mode");
        assert!(listener.accept().is_err(), "a connection came out");
    }
    assert!(!lab.guest.pings(FAR) && !lab.guest.pings(FAR6));
    assert!(lab.guest.pings(GATEWAY), "the gateway itself answers");
    // what leads in still does
    let inside = listen(&lab.guest, "10.0.2.15:22");
    let client = lab.host.inside(|| std::net::TcpStream::connect("127.0.0.1:2222")).expect("the forward");
    pour(&client, b"in");
    assert_eq!(drink(&inside.accept().expect("a client").0), b"in");
    // which is all that was seen
    stays.wait_for(".2222", PATIENCE);
    assert_eq!(leaves.stdout(), "");
    let strays: Vec<_> = stays.stdout().lines().filter(|line| !line.contains(".2222")).map(str::to_owned).collect();
    assert!(strays.is_empty(), "{strays:?}");
}
