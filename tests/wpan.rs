//! Scripted IEEE 802.15.4 nodes on a radio medium: over UNIX sockets and FIFOs as QEMU has them, with links and losses.

use std::time::Duration;
use support::{Framing, LinePeer, PATIENCE, Peer, Received, StreamPeer, TempDir, eventually, needs, require, zbridge};
use zbridge::config::{Config, PortSpec, SwitchSpec};
use zbridge::counters::{DropReason, Stage};
use zbridge::engine::{Bridge, PortStatus};

const MOMENT: Duration = Duration::from_millis(200);
const FRAMING: Framing = Framing::UartPipe;

/// A data frame of PAN 0xabcd with a sequence number, from and to short addresses: FCF 8841 (IEEE 802.15.4-2020, 7.2.2).
fn data(sequence: u8, to: u16, from: u16, len: usize) -> Vec<u8> {
    let [[t0, t1], [f0, f1]] = [to, from].map(u16::to_le_bytes);
    let mut frame = vec![0x61, 0x88, sequence, 0xcd, 0xab, t0, t1, f0, f1];
    frame.resize(len.max(frame.len()), 0xf0);
    frame
}

/// An acknowledgement: FCF 0002 and the sequence number, without FCS.
fn ack(sequence: u8) -> Vec<u8> {
    vec![0x02, 0x00, sequence]
}

/// Nodes n0, n1 … on a medium, on sockets and FIFOs by turns.
fn medium(dir: &TempDir, nodes: usize, settings: &str) -> (Bridge, Vec<LinePeer>) {
    let mut config = Config::default();
    for node in 0..nodes {
        let transport = if node.is_multiple_of(2) { "unix" } else { "pipe" };
        let spec = format!("wpan:{transport}:{},name=n{node}", dir.text(&format!("n{node}")));
        config.add_port(PortSpec::parse(&spec).unwrap()).unwrap();
    }
    config.add_switch(SwitchSpec::parse(&format!("default,{settings}")).unwrap()).unwrap();
    config.check().unwrap();
    let bridge = Bridge::start(&config).unwrap();
    let peers = (0..nodes).map(|node| node_at(dir, node)).collect();
    eventually("all nodes are up", || status(&bridge).iter().all(|port| port.state == "up").then_some(()));
    (bridge, peers)
}

fn node_at(dir: &TempDir, node: usize) -> LinePeer {
    let path = dir.text(&format!("n{node}"));
    if node.is_multiple_of(2) { LinePeer::unix(FRAMING, path) } else { LinePeer::fifos(FRAMING, path) }
}

fn status(bridge: &Bridge) -> Vec<PortStatus> {
    bridge.status().unwrap().remove(0).ports
}

fn accounts_balance(ports: &[PortStatus]) {
    for port in ports {
        let counters = &port.counters;
        assert_eq!(counters.rx_frames, counters.forwarded + counters.dropped_at(Stage::Ingress), "{}", port.name);
        let ended = counters.tx_frames + port.queued as u64 + counters.dropped_at(Stage::Egress);
        assert_eq!(counters.copies, ended, "{}", port.name);
    }
}

/// What tshark makes of a capture: link type, and source, destination and sequence number of each frame.
fn dissected(file: &std::path::Path) -> String {
    let fields = ["frame.encap_type", "wpan.frame_type", "wpan.seq_no", "wpan.src16", "wpan.dst16"];
    let read = std::process::Command::new("tshark")
        .arg("-r")
        .arg(file)
        // Where they were sent; the copies that were lost are there, too, where they were lost.
        .args(["-Y", "frame.packet_flags_direction == 1"])
        .args(["-T", "fields", "-E", "separator= "])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).unwrap()
}

#[test]
fn everything_on_the_air_is_captured_once() {
    require!(needs::tool("tshark", "tshark"));
    let dir = TempDir::new();
    let links = dir.file("none.csv", "0,0.5,0\n0,0,1\n0,0,0\n");
    let file = dir.path("air.pcapng");
    let (bridge, mut nodes) = medium(&dir, 3, &format!("capture={},links={}", file.display(), links.display()));
    for sequence in 0..3 {
        nodes[0].send(&data(sequence, 2, 1, 40));
        eventually("it is on the air", || {
            (status(&bridge)[0].counters.rx_frames == u64::from(sequence) + 1).then_some(())
        });
    }
    nodes[1].send(&ack(9));
    nodes[2].expect(&ack(9));
    // Read while the bridge runs. Encapsulation 206 is Wireshark's for link type 283.
    let wanted = "206 0x0001 0 0x0001 0x0002\n206 0x0001 1 0x0001 0x0002\n206 0x0001 2 0x0001 0x0002\n206 0x0002 9  \n";
    eventually("it is written", || (dissected(&file) == wanted).then_some(()));
    bridge.stop().unwrap();
}

#[test]
fn two_nodes_and_their_acknowledgements() {
    let dir = TempDir::new();
    let (bridge, mut nodes) = medium(&dir, 2, "medium=802.15.4");
    for sequence in 0..100 {
        let frame = data(sequence, 2, 1, 9 + usize::from(sequence));
        nodes[0].send(&frame);
        assert_eq!(nodes[1].receive(PATIENCE), Received::Frame(frame));
        nodes[1].send(&ack(sequence));
        assert_eq!(nodes[0].receive(PATIENCE), Received::Frame(ack(sequence)));
    }
    let longest = data(200, 0xffff, 2, 127);
    nodes[1].send(&longest);
    assert_eq!(nodes[0].receive(PATIENCE), Received::Frame(longest));
    let last = bridge.stop().unwrap().remove(0).ports;
    accounts_balance(&last);
    assert_eq!(last.iter().map(|port| port.counters.drops().count()).sum::<usize>(), 0);
}

#[test]
fn five_nodes_in_a_row_hear_their_neighbours() {
    let dir = TempDir::new();
    let row = "0,1,0,0,0\n1,0,1,0,0\n0,1,0,1,0\n0,0,1,0,1\n0,0,0,1,0\n";
    let links = dir.file("row.csv", row);
    let (bridge, mut nodes) = medium(&dir, 5, &format!("links={}", links.display()));
    for from in 0..5u8 {
        let frame = data(from, 0xffff, from.into(), 40);
        nodes[usize::from(from)].send(&frame);
        for (to, node) in nodes.iter_mut().enumerate() {
            if to.abs_diff(from.into()) == 1 {
                assert_eq!(node.receive(PATIENCE), Received::Frame(frame.clone()), "{from} to {to}");
            }
        }
    }
    for node in &mut nodes {
        assert_eq!(node.receive(MOMENT), Received::Nothing);
    }
    let last = bridge.stop().unwrap().remove(0).ports;
    accounts_balance(&last);
    assert_eq!(last.iter().map(|port| port.counters.copies).sum::<u64>(), 8);
}

/// The sequence numbers that reach n1 and n2 of 200 frames from n0, over links of 0.5 and 0.8.
fn survivors(seed: u64) -> [Vec<u8>; 2] {
    let dir = TempDir::new();
    let links = dir.file("lab.topo", "n0 n1 0.5\nn0 n2 0.8\n");
    let (bridge, mut nodes) = medium(&dir, 3, &format!("links={},seed={seed}", links.display()));
    for sequence in 0..200 {
        nodes[0].send(&data(sequence, 0xffff, 0, 30));
    }
    eventually("all frames are dealt with", || (status(&bridge)[0].counters.rx_frames == 200).then_some(()));
    let ports = status(&bridge);
    let heard = [1, 2].map(|node| {
        let counters = &ports[node].counters;
        let arriving = counters.copies - counters.dropped(DropReason::RadioLoss);
        let frames = (0..arriving).map(|_| nodes[node].receive_where(|_| true)[2]);
        frames.collect::<Vec<u8>>()
    });
    let last = bridge.stop().unwrap().remove(0).ports;
    accounts_balance(&last);
    for (frames, port) in heard.iter().zip(&last[1..]) {
        let lost = port.counters.dropped(DropReason::RadioLoss);
        assert_eq!((frames.len() as u64 + lost, port.counters.copies), (200, 200));
    }
    heard
}

#[test]
fn losses_repeat_with_the_seed() {
    let first = survivors(7);
    // Five standard deviations.
    assert!((65..=135).contains(&first[0].len()) && (132..=188).contains(&first[1].len()), "{first:?}");
    assert_eq!(first, survivors(7));
    assert_ne!(first, survivors(8));
}

#[test]
fn a_node_is_killed_and_comes_back() {
    let dir = TempDir::new();
    let (bridge, mut nodes) = medium(&dir, 3, "medium=802.15.4");
    for node in [0, 1] {
        for round in 0..3 {
            // It dies in the middle of a frame.
            nodes[node].send_raw(&[0xf0, 100, 1, 2, 3]);
            drop(nodes.remove(node));
            let name = format!("n{node}");
            let state = |wanted: fn(&str) -> bool| {
                status(&bridge).iter().any(|port| port.name == name && wanted(port.state)).then_some(())
            };
            eventually("it is away", || state(|state| state != "up"));
            let lone = data(round, 0xffff, 9, 20);
            nodes[1].send(&lone);
            assert_eq!(nodes[0].receive(PATIENCE), Received::Frame(lone), "the others go on");
            nodes.insert(node, node_at(&dir, node));
            eventually("it is back", || state(|state| state == "up"));
            let frame = data(round, 0xffff, 1, 50);
            nodes[node].send(&frame);
            assert_eq!(nodes[2].receive(PATIENCE), Received::Frame(frame));
            let other = nodes[1 - node].receive(PATIENCE);
            assert!(matches!(other, Received::Frame(_)), "{other:?}");
        }
    }
    accounts_balance(&status(&bridge));
    bridge.stop().unwrap();
}

#[test]
fn a_lost_byte_costs_its_frame_and_is_counted() {
    let dir = TempDir::new();
    let (bridge, mut nodes) = medium(&dir, 2, "medium=802.15.4");
    for round in 0..50u8 {
        let mut line = FRAMING.encode(&data(round, 0xffff, 0, 60));
        line.remove(usize::from(round) + 5);
        nodes[0].send_raw(&line);
        let whole = data(round, 0xffff, 7, 30);
        nodes[0].send(&whole);
        nodes[0].send(&whole);
        nodes[1].expect(&whole);
        nodes[1].expect(&whole);
    }
    let ports = status(&bridge);
    assert!(ports[0].counters.dropped(DropReason::LineNoise) >= 40, "{:?}", ports[0].counters);
    accounts_balance(&ports);
    bridge.stop().unwrap();
}

#[test]
fn only_wpan_ports_join_a_medium() {
    let dir = TempDir::new();
    let refused = zbridge!("--port", "wpan:pipe:/tmp/x", "--port", format!("unix:{}", dir.text("wire"))).run();
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("wire is no wpan port and cannot join switch default"), "{}", refused.stderr);
    assert!(refused.stderr.contains("switch=radio"), "{}", refused.stderr);
    let file = dir.file(
        "lab.toml",
        "[switch.air]\nmedium = \"802.15.4\"\nlinks = \"/nowhere/links.csv\"\n[[port]]\nport = \"wpan:pipe:/tmp/x\"\nswitch = \"air\"\n",
    );
    let refused = zbridge!("check", file).run();
    assert_eq!(refused.code(), 4, "{}", refused.stderr);
    // Beside a medium, an Ethernet switch in the same process, and ports that are added while it runs.
    let mut config = Config::default();
    for spec in [format!("wpan:unix:{},switch=air", dir.text("a")), format!("unix:{}", dir.text("wire"))] {
        config.add_port(PortSpec::parse(&spec).unwrap()).unwrap();
    }
    let bridge = Bridge::start(&config).unwrap();
    let mut late = PortSpec::parse(&format!("wpan:unix:{}", dir.text("b"))).unwrap();
    assert!(bridge.add_port(late.clone()).unwrap_err().what().contains("which is Ethernet"));
    late.switch = "air".into();
    bridge.add_port(late).unwrap();
    let mut nodes = ["a", "b"].map(|name| LinePeer::unix(FRAMING, dir.path(name)));
    let air = |bridge: &Bridge| bridge.switch("air").unwrap().status().unwrap().ports;
    eventually("both are up", || air(&bridge).iter().all(|port| port.state == "up").then_some(()));
    let mut wire = StreamPeer::unix(dir.path("wire"));
    nodes[0].send(&ack(1));
    nodes[1].expect(&ack(1));
    assert_eq!(wire.receive(MOMENT), Received::Nothing);
    bridge.stop().unwrap();
}
