//! `zbridge events`: what comes, changes and goes is told, and nobody waits for one who does not read.

use super::{A, B, Lab};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::frame::numbered;
use support::{PATIENCE, Peer, Process, eventually};

fn heard(process: &Process, line: &str) {
    let has = || process.stdout().lines().any(|said| said.get(10..).is_some_and(|said| said.starts_with(line)));
    eventually(line, || has().then_some(()));
}

#[test]
fn what_happens_is_told_once() {
    let lab = Lab::new();
    let _zbridge = lab.bridge(&["-p", &lab.spec("a"), "-p", &lab.spec("b"), "-p", "nat:10.0.2.2/24"]);
    let (events, plain) = (lab.launch(&["events", "--initial-state"]).spawn(), lab.launch(&["events"]).spawn());
    for line in ["switch    initial  default: runs", "port      initial  a: listening", "port      initial  nat: up"] {
        heard(&events, line);
    }
    // Who is subscribed hears of what comes later only, in the order in which it came.
    let mut a = lab.join("a");
    for process in [&events, &plain] {
        heard(process, "port      new      a#1: up");
        heard(process, "port      changed  a: ");
    }
    assert!(!plain.stdout().contains("initial"), "{}", plain.stdout());
    a.send(&A.arp_request(B.ip));
    heard(&plain, "station   new      02:00:00:00:00:01 on a#1");
    heard(&plain, "address   new      192.0.2.1 on a#1: 02:00:00:00:00:01");
    lab.told(&["set", "a", "tx.loss=1%"]);
    heard(&plain, "port      changed  a#1: up, ");
    // A drop is told when it begins, not with each frame.
    for _ in 0..3 {
        a.send(&numbered(A.mac, A.mac, 1, 60));
        std::thread::sleep(Duration::from_millis(300));
    }
    heard(&plain, "drop      new      same-segment on a#1");
    assert_eq!(plain.stdout().matches("same-segment").count(), 1, "{}", plain.stdout());
    drop(a);
    heard(&plain, "port      gone     a#1: up");
    heard(&plain, "station   gone     02:00:00:00:00:01");
    lab.told(&["down"]);
    let exit = plain.wait();
    assert_eq!(exit.code(), 3, "{exit:?}");
}

#[test]
fn a_line_of_json_is_an_event_and_answers_come_between() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a"]);
    let mut socket = UnixStream::connect(lab.socket("default")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["zbridge"], 1);
    socket.write_all(b"{\"id\":1,\"command\":\"events\",\"initial\":true}\n").unwrap();
    assert_eq!(next(), serde_json::json!({"id": 1, "ok": {}}));
    let first = next();
    assert!(
        first["event"].is_string() && first["what"] == "initial" && first["time"].as_u64() > Some(1 << 40),
        "{first}"
    );
    socket.write_all(b"{\"id\":2,\"command\":\"status\"}\n").unwrap();
    loop {
        let line = next();
        if line["id"] == 2 {
            break assert!(line["ok"]["switches"].is_array() && line.get("event").is_none());
        }
        assert!(line["event"].is_string() && line.get("id").is_none(), "{line}");
    }
    // Who says no more still listens.
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    lab.told(&["port", "add", &lab.spec("late")]);
    loop {
        let line = next();
        if line["event"] == "port" && line["name"] == "late" {
            break assert_eq!(line["what"], "new");
        }
    }
}

#[test]
fn one_who_does_not_read_holds_up_nobody_and_hears_what_it_missed() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a", "b"]);
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    let mut slow = UnixStream::connect(lab.socket("default")).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(b"{\"command\":\"events\",\"initial\":true}\n").unwrap();
    let others: Vec<Process> = (0..20).map(|_| lab.launch(&["events", "--json"]).spawn()).collect();
    std::thread::sleep(Duration::from_millis(600));
    // Many stations come and go, more than its socket takes.
    for round in 0..3_u32 {
        for number in 0..3000_u32 {
            let [_, x, y, z] = (round << 16 | number).to_be_bytes();
            let frame = numbered(B.mac, [2, 0, 1, x, y, z], number, 60);
            a.send(&frame);
            b.expect(&frame);
        }
        let begun = Instant::now();
        lab.told(&["status"]);
        assert!(begun.elapsed() < Duration::from_secs(5), "the bridge is asked in between");
        std::thread::sleep(Duration::from_millis(600));
        lab.told(&["fdb", "flush"]);
        std::thread::sleep(Duration::from_millis(600));
    }
    let mut lines = BufReader::new(slow).lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let missed = lines.find(|line| line["event"] == "missed").expect("it is told");
    assert!(missed["count"].as_u64() > Some(1000), "{missed}");
    // From then on it hears again.
    lab.told(&["port", "add", &lab.spec("late")]);
    assert!(lines.any(|line| line["event"] == "port" && line["name"] == "late"));
    for other in &others {
        eventually("the others have heard it, too", || other.stdout().contains("\"late\"").then_some(()));
    }
}
