//! A descriptor that is handed to a running bridge: what `zbridge run --join` does.

use super::{A, B, Lab};
use std::os::fd::{AsFd, OwnedFd};
use support::frame::numbered;
use support::{Namespace, PATIENCE, Peer, StreamPeer, TapPeer, needs, require};
use zbridge::config;
use zbridge::control::{Command, Lifetime};
use zbridge::engine::Client;
use zbridge::error::Class;
use zbridge::internals::port::{Packet, Tap};

fn copy(of: impl AsFd) -> OwnedFd {
    of.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn instances_of_one_interface_name_are_joined_from_their_namespaces() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a"]);
    let mut a = lab.join("a");
    let mut joined: Vec<_> = (1..=3_u8)
        .map(|number| {
            let namespace = Namespace::new("inst");
            let tap = TapPeer::open(&namespace, "zeth");
            let socket = namespace.inside(|| copy(Packet::open("zeth").unwrap()));
            let mut client = lab.client("default");
            let added = client.add_port_with_fd(&format!("packet:zeth,name=inst{number}"), socket.as_fd()).unwrap();
            assert_eq!((added.port, added.switch), (format!("inst{number}"), "default".to_owned()));
            (client, tap, namespace)
        })
        .collect();
    let shown = lab.told(&["status"]);
    assert_eq!(shown.lines().filter(|line| line.starts_with("inst") && line.contains("  packet  up ")).count(), 3);
    for (_, tap, _) in &mut joined {
        tap.send(&numbered(A.mac, B.mac, 7, 60));
        a.expect(&numbered(A.mac, B.mac, 7, 60));
        a.send(&numbered(B.mac, A.mac, 8, 42));
        tap.expect(&numbered(B.mac, A.mac, 8, 42));
    }
    // one leaves, one is removed, and of one the interface goes
    let (first, _tap, _its_namespace) = joined.remove(0);
    drop(first);
    lab.told(&["wait", "port=inst1", "gone"]);
    zbridge.wait_for("inst1: removed, as pid", PATIENCE);
    lab.told(&["port", "del", "inst2"]);
    let (client, tap, _namespace) = joined.pop().unwrap();
    drop(tap);
    lab.told(&["wait", "port=inst3", "gone"]);
    drop(client);
    assert!(lab.told(&["status"]).contains("\na "), "it goes on");
}

/// What a gateway does for programs it does not do unasked for a network, whoever hands its interface over.
#[test]
fn an_interface_of_the_machine_is_no_program() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::new();
    let host = Namespace::new("host");
    let _zbridge = lab.launch(&["--port", "nat:10.0.2.2/24"]).inside(&host).ready();
    let mut client = lab.client("default");
    let handed = |client: &mut Client, namespace: &Namespace, spec: &str| {
        let socket = namespace.inside(|| copy(Packet::open("zeth").unwrap()));
        client.add_port_with_fd(spec, socket.as_fd()).map(|_| ())
    };
    let program = Namespace::new("program");
    let _taps = [&host, &program].map(|namespace| TapPeer::open(namespace, "zeth"));
    for spec in ["packet:zeth", "packet:zeth,optional"] {
        let refused = handed(&mut client, &host, spec).unwrap_err();
        assert!(refused.what().contains("zeth leads to a network"), "{refused:?}");
    }
    handed(&mut client, &program, "packet:zeth").unwrap();
}

#[test]
fn a_tap_is_handed_over() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a"]);
    let mut a = lab.join("a");
    let namespace = Namespace::new("host");
    let tap = namespace.inside(|| {
        let mut options = config::Tap::new("zeth0");
        options.up = true;
        copy(Tap::open(&options, None).unwrap())
    });
    namespace.ip("addr add 192.0.2.1/24 dev zeth0");
    let mut client = lab.client("default");
    client.add_port_with_fd("tap:zeth0", tap.as_fd()).unwrap();
    drop(tap);
    lab.told(&["wait", "port=zeth0", "up"]);
    a.send(&B.arp_request("192.0.2.1".parse().unwrap()));
    a.receive_where(|frame| frame.starts_with(&B.mac) && frame[12..14] == [8, 6] && frame[21] == 2);
    drop(client);
    lab.told(&["wait", "port=zeth0", "gone"]);
    assert!(namespace.run("ip link show zeth0").rc != 0, "the last descriptor is closed, and the interface gone");
}

#[test]
fn a_connected_socket_is_handed_over() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a"]);
    let mut a = lab.join("a");
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut client = lab.client("default");
    client.add_port_with_fd("unix:cable,connect", far.as_fd()).unwrap();
    drop(far);
    let mut cable = StreamPeer::from(near);
    cable.send(&numbered(A.mac, B.mac, 7, 60));
    a.expect(&numbered(A.mac, B.mac, 7, 60));
    a.send(&numbered(B.mac, A.mac, 8, 42));
    cable.expect(&numbered(B.mac, A.mac, 8, 42));
    drop(cable);
    lab.told(&["wait", "port=cable", "gone"]);
}

#[test]
fn what_is_no_port_is_refused_and_nothing_is_kept() {
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a"]);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", zbridge.pid())).unwrap().count();
    let mut client = lab.client("default");
    client.status().unwrap();
    let before = open();
    let (pipe, _writer) = std::io::pipe().unwrap();
    for (spec, says) in [
        ("packet:zeth", "zeth: packet: the descriptor is not a packet socket"),
        ("tap:zeth", "not a TAP's"),
        ("unix:/tmp/x", "x: no port of this kind is made of a descriptor"),
        ("unix:/tmp/x,connect", "the descriptor is no connected UNIX stream socket"),
        ("packet:", "packet needs a target"),
        ("packet:zeth,name=a", "there is a port named a already"),
    ] {
        let error = client.add_port_with_fd(spec, pipe.as_fd()).unwrap_err();
        assert!(error.what().contains(says), "{spec}: {error}");
    }
    let spec = "packet:zeth".to_owned();
    let without = Command::PortAdd { spec, fd: true, lifetime: Lifetime::Connection, may_exist: false };
    let error = client.request::<serde_json::Value>(without).unwrap_err();
    assert_eq!((error.class(), error.what()), (Class::Usage, "no descriptor came with the request"));
    assert_eq!(open(), before, "descriptors were closed");
}
