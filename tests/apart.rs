//! Nothing takes all along: a switch or a service that panics, hangs or runs for ever, beside others that go on.
//!
//! The faults are made by a variable that only debug builds look at; in others there is nothing to test.

use std::time::Duration;
use support::{Exit, Launch, PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, zbridge};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A bridge of two switches, `left` with the port `l` and `right` with `a` and `b`. The first frame on `whose` does `deed`;
/// `way-out` is a gateway on the left one.
struct Lab {
    bridge: Process,
    dir: TempDir,
}

impl Lab {
    fn start(deed: &str, whose: &str) -> Self {
        let dir = TempDir::new();
        let port = |name: &str, switch: &str| format!("unix:{},switch={switch}", dir.text(name));
        let ports = [port("l", "left"), port("a", "right"), port("b", "right")];
        let nat = "nat:10.0.2.2/24,switch=left,name=way-out";
        let mut launch = zbridge!("-p", &ports[0], "-p", &ports[1], "-p", &ports[2]);
        if whose == "way-out" {
            // It speaks by itself, too, which would be the first frame of its switch.
            launch = launch.args(["-p", nat]);
        }
        let bridge = faulty(launch, deed, whose).env("XDG_RUNTIME_DIR", dir.root()).ready();
        bridge.wait_for("zbridge status", PATIENCE);
        Self { bridge, dir }
    }

    /// The frame that brings the fault about.
    fn strike(&self) -> StreamPeer {
        let mut peer = StreamPeer::unix(self.dir.path("l"));
        self.bridge.wait_for("l#1: connected", PATIENCE);
        peer.send(&A.echo_request(B, 1, b"x"));
        peer
    }

    fn status(&self, words: &[&str]) -> Exit {
        zbridge!("status").args(words.iter().copied()).env("XDG_RUNTIME_DIR", self.dir.root()).run()
    }

    /// The other switch passes frames.
    fn right_passes(&self) {
        let [mut a, mut b] = ["a", "b"].map(|name| StreamPeer::unix(self.dir.path(name)));
        let request = A.echo_request(B, 1, b"x");
        eventually("a frame on the other switch", || {
            a.send(&request);
            (b.receive(Duration::from_millis(200)) == Received::Frame(request.clone())).then_some(())
        });
    }

    /// Ends it, and nothing that it made is left.
    fn end(self) -> Exit {
        self.bridge.sigterm();
        let exit = self.bridge.wait();
        for name in ["l", "a", "b", "zbridge/default.sock"] {
            assert!(!self.dir.path(name).exists(), "{name} is still there: {exit:?}");
        }
        exit
    }
}

fn faulty(launch: Launch, deed: &str, whose: &str) -> Launch {
    launch.env("ZBRIDGE_TEST_FAULT", format!("{deed}:{whose}")).env("RUST_BACKTRACE", "1")
}

#[test]
fn a_switch_that_panics_ends_alone() {
    if !cfg!(debug_assertions) {
        return;
    }
    let lab = Lab::start("panic", "left");
    let mut peer = lab.strike();
    peer.expect_closed();
    lab.bridge.wait_for("error: switch left has failed: a fault that a test wants", PATIENCE);
    eventually("the end of its sockets", || (!lab.dir.path("l").exists()).then_some(()));
    lab.right_passes();
    let status = lab.status(&[]);
    let ended = "switch left ended: switch left has failed: a fault that a test wants";
    assert!(status.code() == 0 && status.stdout.contains(ended) && status.stdout.contains("listening"), "{status:?}");
    let json = lab.status(&["--json"]).stdout;
    assert!(json.contains(r#""trouble":{"state":"ended","reason":"switch left has failed"#), "{json}");
    let exit = lab.end();
    assert_eq!(exit.code(), 70, "{exit:?}");
    let left = exit.stdout.lines().rev().find(|line| line.starts_with("l  ")).expect("its counters");
    assert!(left.contains("left"), "what it had counted is in the summary: {exit:?}");
}

#[test]
fn a_bridge_ends_with_its_last_switch() {
    if !cfg!(debug_assertions) {
        return;
    }
    let dir = TempDir::new();
    let bridge = faulty(zbridge!("-p", format!("unix:{}", dir.text("l"))), "panic", "default").ready();
    StreamPeer::unix(dir.path("l")).send(&A.echo_request(B, 1, b"x"));
    let exit = bridge.wait();
    assert!(exit.code() == 70 && exit.stderr.contains("switch default has failed"), "{exit:?}");
    assert!(!dir.path("l").exists());
}

#[test]
fn a_switch_that_does_not_return_is_named_and_holds_up_no_end() {
    if !cfg!(debug_assertions) {
        return;
    }
    for deed in ["hang", "spin"] {
        let lab = Lab::start(deed, "left");
        let _peer = lab.strike();
        lab.bridge.wait_for("switch left: one breath takes more than a second, inside", PATIENCE);
        lab.right_passes();
        let status = lab.status(&[]);
        let hangs = "switch left hangs: switch left does not answer";
        assert!(status.code() == 0 && status.stdout.contains(hangs), "{status:?}");
        let exit = lab.end();
        assert_eq!(exit.code(), 70, "{exit:?}");
    }
}

#[test]
fn a_service_that_panics_ends_alone() {
    if !cfg!(debug_assertions) {
        return;
    }
    let lab = Lab::start("panic", "way-out");
    let mut peer = lab.strike();
    lab.bridge.wait_for("error: service way-out has failed: a fault that a test wants", PATIENCE);
    let row = eventually("its port is down", || {
        let status = lab.status(&[]).stdout;
        status.lines().find(|line| line.starts_with("way-out") && line.contains("down")).map(str::to_owned)
    });
    assert!(row.contains("service way-out has failed: a fault that a test wants"), "{row}");
    let mut other = StreamPeer::unix(lab.dir.path("l"));
    let request = A.echo_request(B, 2, b"x");
    eventually("a frame on the same switch", || {
        other.send(&request);
        (peer.receive(Duration::from_millis(200)) == Received::Frame(request.clone())).then_some(())
    });
    lab.right_passes();
    assert_eq!(lab.end().code(), 70);
}

#[test]
fn a_service_that_does_not_return_is_named_and_holds_up_no_end() {
    if !cfg!(debug_assertions) {
        return;
    }
    let lab = Lab::start("spin", "way-out");
    let _peer = lab.strike();
    lab.bridge.wait_for("service way-out: one breath takes more than a second", PATIENCE);
    lab.right_passes();
    let exit = lab.end();
    assert!(exit.stderr.contains("services do not end, and are left behind: zb-way-out"), "{exit:?}");
}

/// Instances on a switch that has failed are stopped, the others go on, and the status tells.
#[test]
fn a_bench_goes_on_without_the_switch_that_failed() {
    if !cfg!(debug_assertions) {
        return;
    }
    let dir = TempDir::new();
    let table = |name: &str, command: &str, switch: &str| {
        format!(
            "[[instance]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"{command}\", \"guest\"]\nqemu = true\n\
             switch = \"{switch}\"\n"
        )
    };
    let go = dir.text("go");
    let waits = format!("while ! [ -e {go} ]; do sleep 0.05; done; exit 0");
    let text = [
        format!("[[port]]\nport = \"unix:{}\"\nswitch = \"left\"\n", dir.text("l")),
        table("lost", "exec sleep 1000", "left"),
        table("other", &waits, "right"),
    ];
    let file = dir.file("lab.toml", text.concat());
    let bench = faulty(zbridge!("up", file, "--logs", dir.text("logs")), "panic", "left").spawn();
    bench.wait_for("other: ready", PATIENCE);
    bench.wait_for("lost: ready", PATIENCE);
    StreamPeer::unix(dir.path("l")).send(&A.echo_request(B, 1, b"x"));
    bench.wait_for("lost: is stopped, for its switch has ended; the others go on", PATIENCE);
    bench.wait_for("lost: ended", PATIENCE);
    dir.file("go", "");
    bench.wait_for("other: ended with status 0", PATIENCE);
    let exit = bench.wait();
    assert!(exit.code() == 70 && exit.stderr.contains("error: lost: its switch left has ended"), "{exit:?}");
}
