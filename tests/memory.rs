//! What peers that do not read, or that come and go, cost in memory: it is bounded for all together, and goes back.

use support::frame::{BROADCAST, numbered};
use support::{PATIENCE, Peer, Process, StreamPeer, Summary, TempDir, eventually, zbridge};

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FRAMES: u32 = 300;

/// Clients of the listener at `path`, none of which reads.
fn silent(zbridge: &Process, dir: &TempDir, clients: usize) -> Vec<StreamPeer> {
    let clients = (0..clients).map(|_| StreamPeer::unix(dir.path("s"))).collect::<Vec<_>>();
    zbridge.wait_for(&format!("s#{}: connected", clients.len()), PATIENCE);
    clients
}

/// 300 broadcasts of `len` bytes from a peer of its own, each of which arrives at a reader.
fn flood(zbridge: &Process, dir: &TempDir, len: usize) {
    let [mut sender, mut reader] = ["a", "b"].map(|name| {
        let peer = StreamPeer::unix(dir.path(name));
        zbridge.wait_for(&format!("{name}#1: connected"), PATIENCE);
        peer
    });
    for number in 0..FRAMES {
        let frame = numbered(BROADCAST, A, number, len);
        sender.send(&frame);
        reader.expect(&frame);
    }
}

fn ports(dir: &TempDir) -> [String; 3] {
    ["s", "a", "b"].map(|name| format!("unix:{}", dir.text(name)))
}

/// Thirty that do not read could have 8 MiB each; together they have the 4 MiB that they are given, and what they had
/// goes back when they leave.
#[test]
fn the_queues_of_all_have_one_bound() {
    let dir = TempDir::new();
    let [s, a, b] = ports(&dir);
    let zbridge = zbridge!("--switch", "default,queue-limit=4M", "-p", s, "-p", a, "-p", b).ready();
    let clients = silent(&zbridge, &dir, 30);
    let before = zbridge.resident_kib();
    flood(&zbridge, &dir, 33_000);
    let full = zbridge.resident_kib();
    assert!(full - before < 24 * 1024, "{before} KiB before, {full} KiB with full queues");
    assert!(zbridge.dropped_as("s", "queues-full") > 0);
    drop(clients);
    eventually("they leave", || (!zbridge.status().contains("s#")).then_some(()));
    let summary = Summary::of(zbridge);
    assert_eq!(summary.all_of("b").dropped, 0);
}

/// With less memory than the queues may have, frames are dropped and counted, and the bridge goes on.
#[test]
fn a_limit_of_the_address_space_costs_frames_and_not_the_bridge() {
    let dir = TempDir::new();
    let [s, a, b] = ports(&dir);
    let limit = ["prlimit", "--as=167772160"];
    let launch = zbridge!("--switch", "default,queue-limit=1G", "-p", s, "-p", a, "-p", b);
    let zbridge = launch.under(limit).ready();
    let _clients = silent(&zbridge, &dir, 30);
    flood(&zbridge, &dir, 30_000);
    flood(&zbridge, &dir, 60);
    assert!(zbridge.dropped_as("s", "system") > 0, "{}", zbridge.status());
    Summary::of(zbridge);
}
