//! Ports that are set down as if their cable were pulled, and groups that are cut from each other, through the program.

use serde_json::{Value, json};
use std::time::Duration;
use support::frame::{BROADCAST, numbered};
use support::{
    Exit, Namespace, PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, needs, require,
    zbridge,
};

const RUN: &str = "XDG_RUNTIME_DIR";
const STATIONS: [Station; 3] = [Station::new(1), Station::new(2), Station::new(3)];
/// Nobody.
const NONE: [usize; 0] = [];
/// How long nothing is to come.
const QUIET: Duration = Duration::from_millis(200);

/// A bridge with the listeners `a`, `b` and `c`, and a client of each that the switch knows.
struct Lab {
    zbridge: Process,
    peers: Vec<StreamPeer>,
    dir: TempDir,
}

impl Lab {
    fn start() -> Self {
        let dir = TempDir::new();
        let ports = ["a", "b", "c"].map(|name| ["-p".to_owned(), format!("unix:{}", dir.text(name))]).concat();
        let zbridge = zbridge!().args(ports).env(RUN, dir.root()).ready();
        let join = |(nth, name): (usize, &str)| {
            let peer = StreamPeer::unix(dir.path(name));
            zbridge.wait_for_nth(": connected", nth + 1, PATIENCE);
            peer
        };
        let peers = ["a", "b", "c"].into_iter().enumerate().map(join).collect();
        let mut lab = Self { zbridge, peers, dir };
        lab.introduce();
        lab
    }

    /// Each station is heard, and its frame is taken by whoever gets it.
    fn introduce(&mut self) {
        for station in 0..3 {
            self.send(station, BROADCAST, 0);
            self.who(0);
        }
    }

    fn ask(&self, words: &[&str]) -> Exit {
        zbridge!().args(words.iter().copied()).env(RUN, self.dir.root()).run()
    }

    fn does(&self, words: &[&str]) -> String {
        let exit = self.ask(words);
        assert_eq!((exit.code(), exit.stderr.as_str()), (0, ""), "{words:?}");
        exit.stdout
    }

    fn switch(&self) -> Value {
        let status: Value = serde_json::from_str(&self.does(&["status", "--json"])).expect("JSON");
        status["switches"][0].clone()
    }

    /// The JSON of a port.
    fn port(&self, name: &str) -> Value {
        let ports = self.switch()["ports"].as_array().expect("ports").clone();
        ports.into_iter().find(|port| port["name"] == name).expect("the port")
    }

    fn send(&mut self, from: usize, to: [u8; 6], number: u32) {
        self.peers[from].send(&numbered(to, STATIONS[from].mac, number, 60));
    }

    /// Who gets a frame of this number.
    fn who(&mut self, number: u32) -> Vec<usize> {
        let mut got = Vec::new();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            while let Received::Frame(frame) = peer.receive(QUIET) {
                if (0..3).any(|from| frame[12..] == numbered(BROADCAST, STATIONS[from].mac, number, 60)[12..]) {
                    got.push(index);
                }
            }
        }
        got
    }

    /// Who gets a frame from one station to another, and who gets one for all.
    fn passes(&mut self, from: usize, to: usize) -> [Vec<usize>; 2] {
        self.send(from, STATIONS[to].mac, 7);
        let one = self.who(7);
        self.send(from, BROADCAST, 8);
        [one, self.who(8)]
    }
}

#[test]
fn a_port_that_is_set_down_is_as_one_whose_cable_was_pulled() {
    let mut lab = Lab::start();
    assert_eq!(lab.passes(0, 1), [vec![1], vec![1, 2]]);
    lab.does(&["set", "b", "down"]);
    let b = lab.port("b#1");
    assert_eq!((&b["state"], &b["set_down"], &b["heard"]), (&json!("down"), &json!(true), &Value::Null));
    assert_eq!(lab.port("b")["state"], "down");
    assert_eq!(lab.passes(0, 1), [vec![2], vec![2]], "its station is forgotten, and the switch floods");
    lab.send(1, BROADCAST, 3);
    assert_eq!(lab.who(3), NONE);
    assert_eq!(lab.port("b#1")["drops"], json!({"rx-down": 1}));
    assert_eq!(lab.port("b#1")["copies"], lab.port("b#1")["tx_frames"]);
    assert!(lab.does(&["status", "--wide"]).contains("set down"));
    assert_eq!(lab.ask(&["wait", "port=b", "down", "--timeout", "5s"]).code(), 0);
    let line = lab.zbridge.wait_for("b: set down by ", PATIENCE);
    assert!(line.contains("zbridge"), "{line}");

    // who connects meanwhile finds it down too, and one of several may be up
    let mut late = StreamPeer::unix(lab.dir.path("b"));
    lab.zbridge.wait_for_nth(": connected", 4, PATIENCE);
    lab.send(0, BROADCAST, 4);
    late.expect_none(QUIET, |_| true);
    lab.does(&["set", "b#2", "up"]);
    lab.send(0, BROADCAST, 5);
    late.expect(&numbered(BROADCAST, STATIONS[0].mac, 5, 60));
    assert_eq!(lab.who(5), [2]);

    // all of it is as before, on the same connections
    lab.does(&["set", "b", "up"]);
    lab.introduce();
    assert_eq!(lab.passes(0, 1), [vec![1], vec![1, 2]]);
    assert_eq!(lab.port("b#1")["set_down"], Value::Null);
}

/// What waits for a peer that does not read is lost, and the frame that has begun is not: the stream goes on whole.
#[test]
fn a_stream_that_was_pulled_in_the_middle_of_a_frame_stays_whole() {
    let mut lab = Lab::start();
    let long = |number| numbered(STATIONS[1].mac, STATIONS[0].mac, number, 1514);
    (0..2000).for_each(|number| lab.peers[0].send(&long(number)));
    eventually("frames wait", || (lab.port("b#1")["queued"].as_u64() > Some(100)).then_some(()));
    lab.does(&["set", "b", "down"]);
    let b = lab.port("b#1");
    assert!(b["drops"]["tx-down"].as_u64() > Some(99) && b["queued"].as_u64() <= Some(1), "{b}");
    let mut came = 0;
    while let Received::Frame(frame) = lab.peers[1].receive(QUIET) {
        assert_eq!(frame, long(came));
        came += 1;
    }
    assert!(came > 0);
    let b = lab.port("b#1");
    let sum = |words: [&str; 2]| words.map(|word| b[word].as_u64().unwrap()).iter().sum::<u64>();
    assert_eq!((&b["queued"], b["copies"].as_u64()), (&json!(0), Some(sum(["tx_frames", "dropped_out"]))));
    lab.does(&["set", "b", "up"]);
    lab.send(0, BROADCAST, 9);
    lab.peers[1].expect(&numbered(BROADCAST, STATIONS[0].mac, 9, 60));
}

#[test]
fn what_waits_on_a_bad_line_is_lost_with_the_cable() {
    let mut lab = Lab::start();
    lab.does(&["set", "b", "both.delay=3600s"]);
    lab.send(0, BROADCAST, 1);
    lab.send(1, BROADCAST, 1);
    let held = |lab: &Lab| {
        let b = lab.port("b#1");
        (b["held_in"].as_u64(), b["held_out"].as_u64())
    };
    eventually("both are held", || (held(&lab) == (Some(1), Some(1))).then_some(()));
    lab.does(&["set", "b", "down"]);
    assert_eq!(held(&lab), (None, None));
    assert_eq!(lab.port("b#1")["drops"], json!({"rx-down": 1, "tx-down": 1}));
}

#[test]
fn groups_are_cut_from_each_other_and_healed() {
    let mut lab = Lab::start();
    lab.does(&["cut", "a,b", "from", "c"]);
    assert_eq!((lab.passes(0, 1), lab.passes(0, 2)), ([vec![1], vec![1]], [vec![], vec![1]]));
    assert_eq!(lab.passes(2, 0), [NONE, NONE]);
    assert_eq!(lab.port("c#1")["drops"], json!({"cut": 3}), "one by one, and of each flood");
    assert_eq!(lab.port("c#1")["state"], "up");
    assert_eq!(lab.switch()["cuts"], json!(["a,b from c"]));
    assert_eq!((&lab.port("a#1")["cuts"], &lab.port("c")["cuts"]), (&json!(["from c"]), &json!(["from a,b"])));
    assert!(lab.does(&["status", "--wide"]).contains("cut from c"));
    // the client that comes is cut as its listener is
    let mut late = StreamPeer::unix(lab.dir.path("c"));
    lab.zbridge.wait_for_nth(": connected", 4, PATIENCE);
    lab.send(0, BROADCAST, 4);
    late.expect_none(QUIET, |_| true);

    assert_eq!(lab.does(&["heal", "a"]), "healed: a,b from c\n");
    assert_eq!(lab.passes(0, 2), [vec![2], vec![1, 2]]);
    assert_eq!(lab.passes(1, 2)[0], NONE);
    assert_eq!(lab.does(&["heal"]), "healed: b from c\n");
    assert_eq!(lab.passes(1, 2)[0], [2]);
    assert_eq!(lab.does(&["heal"]), "there was no cut\n");
    lab.zbridge.wait_for("b from c: healed by ", PATIENCE);
}

#[test]
fn a_cut_may_be_one_way_and_of_all_the_rest() {
    let mut lab = Lab::start();
    lab.does(&["cut", "a", "to", "b"]);
    assert_eq!((lab.passes(0, 1), lab.passes(1, 0)), ([vec![], vec![2]], [vec![0], vec![0, 2]]));
    lab.does(&["heal"]);
    lab.does(&["cut", "a", "from", "rest"]);
    assert_eq!((lab.passes(0, 1), lab.passes(1, 2)), ([vec![], vec![]], [vec![2], vec![2]]));
    lab.does(&["heal", "b"]);
    assert_eq!(lab.switch()["cuts"], json!(["a from rest but b"]));
    assert_eq!(lab.passes(0, 1), [vec![1], vec![1]]);
    lab.does(&["cut", "all", "from", "all"]);
    assert_eq!((lab.passes(0, 1), lab.passes(1, 2)), ([vec![], vec![]], [vec![], vec![]]));
}

#[test]
fn what_cannot_be_parted_is_told() {
    let lab = Lab::start();
    for (words, code, says) in [
        (&["set", "x", "down"][..], 4, "no port is named x"),
        (&["set", "a", "down", "up"], 2, "either up or down"),
        (&["set", "a", "dwn"], 2, "set has no key \"dwn\"; the nearest is \"down\""),
        (&["cut", "a"], 2, "cut whom from whom?"),
        (&["cut", "a", "from", "x"], 4, "no port is named x"),
        (&["cut", "a", "from", "a"], 2, "a cannot be cut from itself"),
        (&["cut", "rest", "from", "rest"], 2, "name that"),
        (&["heal", "x"], 4, "no port is named x"),
    ] {
        let exit = lab.ask(words);
        assert!(exit.code() == code && exit.stderr.contains(says), "{words:?}: {exit:?}");
    }
    let dir = TempDir::new();
    let two = ["a", "b"].map(|name| format!("unix:{},switch={name}", dir.text(name)));
    let _bridge = zbridge!("-p", &two[0], "-p", &two[1]).env(RUN, dir.root()).ready();
    let exit = zbridge!("cut", "a", "from", "b").env(RUN, dir.root()).run();
    assert!(exit.code() == 2 && exit.stderr.contains("a is on switch a, and b on b"), "{exit:?}");
}

#[test]
fn a_port_may_begin_so_and_is_forgotten_with_its_removal() {
    let dir = TempDir::new();
    let spec = format!("unix:{},down", dir.text("a"));
    let _bridge = zbridge!("-p", &spec, "-p", format!("unix:{}", dir.text("b"))).env(RUN, dir.root()).ready();
    let ask = |words: &[&str]| zbridge!().args(words.iter().copied()).env(RUN, dir.root()).run();
    let state = || {
        let status: Value = serde_json::from_str(&ask(&["status", "--json"]).stdout).expect("JSON");
        status["switches"][0]["ports"][0]["state"].clone()
    };
    assert_eq!(state(), "down");
    assert_eq!(ask(&["set", "a", "up"]).code(), 0);
    assert_eq!(state(), "listening");
    assert_eq!(ask(&["set", "b", "down"]).code(), 0);
    assert_eq!(ask(&["port", "del", "b"]).code(), 0);
    assert_eq!(ask(&["port", "add", &format!("unix:{}", dir.text("b"))]).code(), 0);
    assert_eq!(ask(&["wait", "port=b", "listening", "--timeout", "5s"]).code(), 0);
}

/// Both ends of a connection may go and come: what was said of a port stays with it.
#[test]
fn who_connects_again_finds_its_port_down() {
    let dir = TempDir::new();
    let peer = StreamPeer::listen(dir.path("a"));
    let spec = format!("unix:{},connect", dir.text("a"));
    let bridge = zbridge!("-p", &spec, "-p", format!("unix:{}", dir.text("b"))).env(RUN, dir.root()).ready();
    let ask = |words: &[&str]| zbridge!().args(words.iter().copied()).env(RUN, dir.root()).run();
    let first = peer.accept();
    assert_eq!(ask(&["wait", "port=a", "up", "--timeout", "20s"]).code(), 0);
    assert_eq!(ask(&["set", "a", "down"]).code(), 0);
    drop(first);
    let mut second = peer.accept();
    let mut b = StreamPeer::unix(dir.path("b"));
    bridge.wait_for("b#1: connected", PATIENCE);
    b.send(&numbered(BROADCAST, STATIONS[1].mac, 1, 60));
    second.expect_none(QUIET, |_| true);
    assert_eq!(ask(&["wait", "port=a", "down", "--timeout", "20s"]).code(), 0);
    assert_eq!(ask(&["set", "a", "up"]).code(), 0);
    eventually("it is up", || {
        b.send(&numbered(BROADCAST, STATIONS[1].mac, 2, 60));
        matches!(second.receive(QUIET), Received::Frame(_)).then_some(())
    });
}

/// The kernel's end of a TAP sees that the cable is out, and its peers too when the TAP is made anew.
#[test]
fn a_tap_loses_its_carrier() {
    require!(needs::root(), needs::tun(), needs::netns());
    let (host, dir) = (Namespace::new("carrier"), TempDir::new());
    let ports = ["tap:zeth0,addr=192.0.2.2/24".to_owned(), format!("unix:{}", dir.text("a"))];
    let _bridge = zbridge!("-p", &ports[0], "-p", &ports[1]).inside(&host).env(RUN, dir.root()).ready();
    let ask = |words: &[&str]| zbridge!().args(words.iter().copied()).inside(&host).env(RUN, dir.root()).run();
    let carrier = |wanted: bool| {
        eventually("the carrier follows", || {
            let shown = host.ip("link show zeth0");
            (shown.contains("NO-CARRIER") != wanted).then_some(())
        });
    };
    carrier(true);
    assert_eq!(ask(&["set", "zeth0", "down"]).code(), 0);
    carrier(false);
    assert_eq!(ask(&["wait", "port=zeth0", "down", "--timeout", "5s"]).code(), 0);
    host.ip("link del zeth0");
    eventually("it is made anew", || host.ip("link").contains("zeth0").then_some(()));
    carrier(false);
    assert_eq!(ask(&["set", "zeth0", "up"]).code(), 0);
    carrier(true);
}
