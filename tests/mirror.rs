//! A monitor on the switch: `mirror=` on a port, and changed on a bridge that runs.

use std::time::Duration;
use support::frame::numbered;
use support::{PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, zbridge};

const RUN: &str = "XDG_RUNTIME_DIR";
const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A bridge with the listeners `a`, `b` and `mon`, of which the last has these keys.
struct Lab {
    zbridge: Process,
    dir: TempDir,
}

impl Lab {
    fn start(keys: &str) -> Self {
        let dir = TempDir::new();
        let port = |name: &str, keys: &str| format!("unix:{}{keys}", dir.text(name));
        let zbridge = zbridge!("-p", port("mon", keys), "-p", port("a", ""), "-p", port("b", ""));
        Self { zbridge: zbridge.env(RUN, dir.root()).ready(), dir }
    }

    fn join(&self, name: &str) -> StreamPeer {
        let before = self.zbridge.stderr().matches(": connected").count();
        let peer = StreamPeer::unix(self.dir.path(name));
        self.zbridge.wait_for_nth(": connected", before + 1, PATIENCE);
        peer
    }

    fn ask(&self, words: &[&str]) -> support::Exit {
        zbridge!().args(words.iter().copied()).env(RUN, self.dir.root()).run()
    }
}

/// Both are heard by the switch.
fn meet(a: &mut StreamPeer, b: &mut StreamPeer) {
    a.send(&A.arp_request(B.ip));
    b.expect(&A.arp_request(B.ip));
    b.send(&B.arp_reply(A));
    a.expect(&B.arp_reply(A));
}

#[test]
fn a_port_that_comes_later_is_seen_with_all_clients() {
    let lab = Lab::start(",mirror=a");
    let mut monitor = lab.join("mon");
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    meet(&mut a, &mut b);
    monitor.expect(&A.arp_request(B.ip));
    monitor.expect(&B.arp_reply(A));
    let tagged = support::frame::ethernet(B.mac, A.mac, 0x8100, &[&[0, 100, 0x88, 0xb5][..], &[7; 46]].concat());
    for wanted in [tagged, numbered(B.mac, A.mac, 1, 600)] {
        a.send(&wanted);
        b.expect(&wanted);
        monitor.expect(&wanted);
    }
    // A monitor that sends is a station as any other, and hears nothing of its own.
    let mut other = lab.join("a");
    monitor.send(&numbered(A.mac, Station::new(3).mac, 2, 60));
    a.expect(&numbered(A.mac, Station::new(3).mac, 2, 60));
    other.send(&numbered(B.mac, Station::new(4).mac, 3, 60));
    b.expect(&numbered(B.mac, Station::new(4).mac, 3, 60));
    monitor.expect(&numbered(B.mac, Station::new(4).mac, 3, 60));
}

#[test]
fn it_is_set_and_taken_back_while_all_runs() {
    let lab = Lab::start("");
    let (mut monitor, mut a, mut b) = (lab.join("mon"), lab.join("a"), lab.join("b"));
    meet(&mut a, &mut b);
    monitor.expect(&A.arp_request(B.ip));
    let set = lab.ask(&["set", "mon", "mirror=a:rx", "mirror=b#1:tx"]);
    assert_eq!((set.code(), set.stdout.as_str(), set.stderr.as_str()), (0, "", ""));
    assert!(lab.zbridge.status().contains("mirrors a:rx, b#1:tx"), "{}", lab.zbridge.status());
    b.send(&numbered(A.mac, B.mac, 1, 60));
    a.expect(&numbered(A.mac, B.mac, 1, 60));
    a.send(&numbered(B.mac, A.mac, 2, 60));
    b.expect(&numbered(B.mac, A.mac, 2, 60));
    monitor.expect(&numbered(B.mac, A.mac, 2, 60));
    assert_eq!(lab.ask(&["set", "mon", "mirror=off"]).code(), 0);
    a.send(&numbered(B.mac, A.mac, 3, 60));
    b.expect(&numbered(B.mac, A.mac, 3, 60));
    assert!(matches!(monitor.receive(Duration::from_millis(100)), Received::Nothing), "once, and no more");
}

#[test]
fn a_monitor_that_reads_nothing_holds_nobody_up_and_each_copy_is_counted() {
    const FRAMES: u32 = 20_000;
    let lab = Lab::start(",mirror=a,queue=100");
    let (_monitor, mut a, mut b) = (lab.join("mon"), lab.join("a"), lab.join("b"));
    meet(&mut a, &mut b);
    for number in 0..FRAMES {
        a.send(&numbered(B.mac, A.mac, number, 1000));
        if number % 64 == 63 {
            (number - 63..=number).for_each(|number| b.expect(&numbered(B.mac, A.mac, number, 1000)));
        }
    }
    eventually("all copies are accounted for", || {
        let status: serde_json::Value = serde_json::from_str(&lab.ask(&["status", "--json"]).stdout).unwrap();
        let ports = status["switches"][0]["ports"].as_array().unwrap().clone();
        let port = ports.into_iter().find(|port| port["name"] == "mon#1").unwrap();
        let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        let dropped: u64 = port["drops"].as_object().unwrap().values().map(count).sum();
        let copies = count(&port["copies"]);
        (copies >= u64::from(FRAMES)
            && dropped > 0
            && copies == count(&port["tx_frames"]) + count(&port["queued"]) + dropped)
            .then_some(())
    });
}

#[test]
fn what_is_refused() {
    let lab = Lab::start("");
    for (words, code, says) in [
        (&["set", "mon", "mirror=c"][..], 4, "no port of this switch is named c"),
        (&["set", "c", "mirror=a"], 4, "no port is named c"),
        (&["set", "mon", "mirror=mon"], 2, "mon cannot mirror itself"),
        (&["set", "mon", "mirror=a:in"], 2, "expected the name of a port"),
        (&["set", "mon", "colour=red"], 2, "set has no key \"colour\""),
        (&["set", "mon"], 2, "KEY=VALUE"),
        (&["-p", "unix:/tmp/x,mirror=x"], 2, "x cannot mirror itself"),
        (&["-p", "wpan:unix:/tmp/x,mirror=y"], 2, "mirror means nothing on a radio medium"),
    ] {
        let end = lab.ask(words);
        assert_eq!(end.code(), code, "{words:?}: {}", end.stderr);
        assert!(end.stderr.contains(says), "{words:?}: {}", end.stderr);
    }
    let odd = "[[port]]\ntype = \"unix\"\ntarget = \"/tmp/x\"\nmirror = [\"y:rx\", \"z\"]\n";
    let checked = zbridge!("check", lab.dir.file("odd.toml", odd).to_str().unwrap()).run();
    assert!(checked.stderr.contains("x: mirror=y:rx: no port of switch default is called so yet"), "{checked:?}");
}
