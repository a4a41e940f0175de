//! Many clients at one listener: how many there may be, what they are called, and what is said of them.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use support::{PATIENCE, Summary, TempDir, eventually, many_descriptors, zbridge};

fn crowd(path: &Path, clients: usize) -> Vec<UnixStream> {
    (0..clients).map(|_| UnixStream::connect(path).unwrap()).collect()
}

/// Whether the other end has closed it.
fn is_turned_away(mut client: &UnixStream) -> bool {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read(&mut [0; 1]).unwrap() == 0
}

#[test]
fn a_listener_has_as_many_clients_as_it_is_told() {
    let dir = TempDir::new();
    let zbridge = zbridge!("-p", format!("unix:{},clients=2", dir.text("s"))).ready();
    let mut clients = crowd(&dir.path("s"), 2);
    zbridge.wait_for("s#2: connected", PATIENCE);
    for client in crowd(&dir.path("s"), 20) {
        assert!(is_turned_away(&client));
    }
    let said = "s: it has 2 clients; pid";
    assert!(zbridge.wait_for(said, PATIENCE).contains("turned away"));
    zbridge.wait_for("s: 19 more clients", PATIENCE);
    assert_eq!(zbridge.stderr().matches(said).count(), 1, "once");
    // the first leaves, and the next has its place and its number
    drop(clients.remove(0));
    zbridge.wait_for("s#1: its peer closed the connection", PATIENCE);
    clients.extend(crowd(&dir.path("s"), 1));
    zbridge.wait_for_nth("s#1: connected", 2, PATIENCE);
    assert!(is_turned_away(&crowd(&dir.path("s"), 1)[0]));
    assert_eq!(zbridge.stderr().matches(said).count(), 1, "as full as before is no news");
    Summary::of(zbridge);
}

/// Of a flood of clients the first are named, and the others counted; each has a number of its own, the lowest first.
#[test]
fn a_crowd_is_counted_and_not_listed() {
    const CLIENTS: usize = 1500;
    many_descriptors();
    let dir = TempDir::new();
    let zbridge = zbridge!("-p", format!("unix:{}", dir.text("s"))).ready();
    let mut clients = crowd(&dir.path("s"), CLIENTS);
    let has = |name: String| zbridge.status().split_whitespace().any(|word| word == name);
    eventually("all are let in", || has(format!("s#{CLIENTS}")).then_some(()));
    zbridge.wait_for("more clients came, left or were turned away", PATIENCE);
    drop(clients.split_off(CLIENTS / 2));
    eventually("half have left", || (!has(format!("s#{CLIENTS}"))).then_some(()));
    clients.extend(crowd(&dir.path("s"), 10));
    eventually("their numbers are given again", || has(format!("s#{}", CLIENTS / 2 + 10)).then_some(()));
    assert!(!has(format!("s#{CLIENTS}")));
    let lines = zbridge.stderr().lines().count();
    assert!(lines < 800, "{lines} lines of {CLIENTS} clients that came and half of whom left");
    Summary::of(zbridge);
}
