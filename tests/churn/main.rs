//! Churn: clients of every kind of port that are killed, stopped and reset in the middle of frames, under load on all
//! the others. The bridge lives, answers, passes frames between two that behave, keeps exact accounts of every port all
//! the time, and has no more memory and descriptors after the last round than after the first.
//!
//! ```text
//! cargo test --test churn                            10 seconds
//! ZBRIDGE_CHURN_SECONDS=600 cargo test --test churn  so long; tests/run takes a minute, tests/soak half an hour
//! ZBRIDGE_CHURN_SEED=7 cargo test --test churn       what is done to whom as in the run that printed this seed
//! ```
//!
//! The clients are processes: this program, started again for its test `client`.

mod client;
mod random;

use client::{PLACE, SEED};
use random::Random;
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::frame::{number, numbered};
use support::{
    Launch, Namespace, PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, needs, require,
    zbridge,
};
use zbridge::counters::{DROP_REASONS, Stage};

/// How long it takes, unless `ZBRIDGE_CHURN_SECONDS` says otherwise.
const SECONDS: u64 = 10;
/// The longest round; after each all clients leave, and memory and descriptors are looked at.
const ROUND: Duration = Duration::from_secs(60);
/// The time between two deeds.
const PACE: Duration = Duration::from_millis(20);
/// What a bridge may have grown by between the first round's end and the last's: pools that came to their size later.
const GROWTH_KIB: u64 = 16 * 1024;
/// Two that behave: frames from the first to the second arrive.
const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// Ports, DIR being the test's folder, and the clients that use them.
const PORTS: &[(&str, &[&str])] = &[
    ("unix:DIR/a", &[]),
    ("unix:DIR/b", &[]),
    ("unix:DIR/s", &["stream DIR/s", "stream DIR/s"]),
    ("unix:DIR/r,rewrite=mac", &["stream DIR/r"]),
    ("unixseq:DIR/q", &["seq DIR/q", "seq DIR/q"]),
    ("unixgram:DIR/g,peer=DIR/g.peer", &["gram DIR/g"]),
    ("tcp:127.0.0.1:2001,listen,name=t", &["tcp 127.0.0.1:2001", "tcp 127.0.0.1:2001"]),
    ("udp:127.0.0.1:2002->127.0.0.1:2003,name=u", &["udp 127.0.0.1:2003 127.0.0.1:2002"]),
    ("slip:unix:DIR/ls,mtu=65000", &["slip DIR/ls"]),
    ("slip:tcp:127.0.0.1:2004,listen,name=lt", &["slip-tcp 127.0.0.1:2004"]),
    ("slip:pty:DIR/lp", &["slip-pty DIR/lp"]),
    ("slip:unix:DIR/li,mode=ip,ip=192.0.2.30/24", &["ip DIR/li"]),
    ("tap:churn0,addr=192.0.2.40/24", &["host 192.0.2.40"]),
    ("packet:near", &[]),
    ("nat:192.0.2.254/24,restrict", &[]),
    ("usbip:192.0.2.253/24,device=cdc-acm,usbip-listen=127.0.0.1:2005", &["usb 127.0.0.1:2005"]),
    ("wpan:unix:DIR/wu,switch=radio", &["wpan DIR/wu"]),
    ("wpan:pipe:DIR/wp,switch=radio", &["wpan-pipe DIR/wp"]),
    ("wpan:tcp:127.0.0.1:2006,listen,name=wt,switch=radio", &["wpan-tcp 127.0.0.1:2006"]),
];

fn setting(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Not a test of its own: what [`Bench`] starts as a client.
#[test]
fn client() {
    if let Ok(place) = std::env::var(PLACE) {
        client::run(&place, setting(SEED).expect("a seed"));
    }
}

/// A bridge with ports of every kind, and what is outside.
struct Bench {
    bridge: Process,
    places: Vec<String>,
    clients: Vec<Process>,
    random: Random,
    deeds: [u64; 5],
    extra: bool,
    // what uses the namespace goes before it
    net: Namespace,
    far: Namespace,
    dir: TempDir,
}

impl Bench {
    fn start(seed: u64) -> Self {
        let (net, far, dir) = (Namespace::new("churn"), Namespace::new("far"), TempDir::new());
        net.veth("near", &far, "far");
        far.ip("addr add 192.0.2.60/24 dev far");
        let here = |text: &str| text.replace("DIR", dir.root().to_str().expect("a path in UTF-8"));
        let ports = PORTS.iter().flat_map(|(port, _)| ["-p".to_owned(), here(port)]);
        let launch = zbridge!("-s", "radio").args(ports).env("XDG_RUNTIME_DIR", dir.root());
        let bridge = launch.inside(&net).ready();
        let places = PORTS.iter().flat_map(|(_, clients)| *clients).map(|client| here(client)).collect();
        Self { bridge, places, clients: Vec::new(), random: Random(seed), deeds: [0; 5], extra: false, net, far, dir }
    }

    fn client(&mut self, place: &str, net: bool) -> Process {
        let program = std::env::current_exe().expect("this program");
        let seed = self.random.next().to_string();
        let launch = Launch::new(program).args(["--exact", "client", "--nocapture"]).env(PLACE, place).env(SEED, seed);
        launch.inside(if net { &self.net } else { &self.far }).spawn()
    }

    fn start_clients(&mut self) {
        for place in self.places.clone() {
            let client = self.client(&place, true);
            self.clients.push(client);
        }
        let host = self.client("host 192.0.2.60", false);
        self.clients.push(host);
    }

    /// Does something to somebody.
    fn churn(&mut self) {
        let whom = self.random.below(self.places.len());
        let deed = [0, 0, 0, 0, 1, 1, 2, 2, 2, 3][self.random.below(10)];
        self.deeds[deed] += 1;
        match deed {
            0 => {
                self.clients[whom].kill9();
                self.clients[whom] = self.client(&self.places[whom].clone(), true);
            }
            1 => self.clients[whom].freeze(),
            2 => self.clients[whom].thaw(),
            _ => drop(self.net.ip(&format!("link set churn0 {}", ["down", "up"][self.random.below(2)]))),
        }
    }

    /// A port comes, or goes again.
    fn change_ports(&mut self) {
        self.deeds[4] += 1;
        let words = if self.extra {
            ["del".into(), "extra".into()]
        } else {
            ["add".into(), format!("unix:{}", self.dir.text("extra"))]
        };
        self.extra = !self.extra;
        self.ask(&["port", &words[0], &words[1]]);
    }

    fn ask(&self, words: &[&str]) -> String {
        let asked = Launch::new(env!("CARGO_BIN_EXE_zbridge")).args(words.iter().copied());
        let exit = asked.env("XDG_RUNTIME_DIR", self.dir.root()).run();
        assert_eq!(exit.code(), 0, "{words:?}: {exit:?}");
        exit.stdout
    }

    /// Asks the bridge for its state, in which the account of every port is exact. Gives the frames that wait.
    fn check(&mut self) -> u64 {
        assert!(self.bridge.is_running(), "the bridge has ended");
        let status: Value = serde_json::from_str(&self.ask(&["status", "--json"])).expect("JSON");
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let ports: Vec<Value> = rows(&status["switches"]).iter().flat_map(|switch| rows(&switch["ports"])).collect();
        assert!(ports.len() >= PORTS.len(), "{status}");
        for port in &ports {
            let count = |field: &str| port[field].as_u64().unwrap_or_else(|| panic!("no {field} in {port}"));
            let at = |stage| {
                let reasons = DROP_REASONS.iter().filter(|row| row.stage == stage);
                reasons.filter_map(|row| port["drops"][row.word].as_u64()).sum::<u64>()
            };
            assert_eq!(count("rx_frames"), count("forwarded") + at(Stage::Ingress), "{port}");
            assert_eq!(count("copies"), count("tx_frames") + count("queued") + at(Stage::Egress), "{port}");
        }
        ports.iter().filter_map(|port| port["queued"].as_u64()).sum()
    }

    /// All clients leave; then nothing waits any more. Gives the memory in KiB, and the descriptors, that it then has.
    fn rest(&mut self, descriptors: usize) -> u64 {
        self.clients.iter_mut().for_each(Process::kill9);
        self.clients.clear();
        self.net.ip("link set churn0 up");
        if self.extra {
            self.change_ports();
        }
        eventually("nobody is left and nothing waits", || (self.check() == 0).then_some(()));
        eventually("no descriptor is left", || (self.bridge.descriptors() <= descriptors).then_some(()));
        self.bridge.resident_kib()
    }
}

/// Sends frames from A to B as long as it is not told to stop, each until it has arrived.
fn behave(dir: &Path, stop: &AtomicBool, passed: &AtomicU64) {
    let [mut a, mut b] = ["a", "b"].map(|name| StreamPeer::unix(dir.join(name)));
    b.send(&numbered(A.mac, B.mac, 0, 60));
    for wanted in 1.. {
        let begun = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            assert!(begun.elapsed() < PATIENCE, "frame {wanted} does not arrive");
            // both read all that floods to them, so that they never are those who do not read
            let _ = a.try_send(&numbered(B.mac, A.mac, wanted, 60 + wanted as usize % 1400));
            while let Received::Frame(_) = a.receive(Duration::ZERO) {}
            let heard = b.listen_for(Duration::from_millis(2));
            if heard.iter().any(|frame| frame[..6] == B.mac && number(frame) == Some(wanted)) {
                break;
            }
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        passed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells the two that behave to stop, also when a check has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One round of churn: how many frames A and B have exchanged.
fn round(bench: &mut Bench, length: Duration) -> u64 {
    bench.start_clients();
    let (stop, passed) = (AtomicBool::new(false), AtomicU64::new(0));
    let dir = bench.dir.root().to_owned();
    std::thread::scope(|scope| {
        let pair = scope.spawn(|| behave(&dir, &stop, &passed));
        let _told = Stop(&stop);
        let (begun, mut checked) = (Instant::now(), Instant::now());
        while begun.elapsed() < length && !pair.is_finished() {
            bench.churn();
            if checked.elapsed() > Duration::from_secs(1) {
                bench.check();
                bench.change_ports();
                checked = Instant::now();
            }
            std::thread::sleep(PACE);
        }
        stop.store(true, Ordering::Relaxed);
        pair.join().expect("frames pass between two that behave");
    });
    passed.into_inner()
}

#[test]
fn whoever_dies_stops_or_sends_nonsense() {
    require!(needs::netns(), needs::tun());
    let seed = setting(SEED).unwrap_or_else(|| RandomState::new().hash_one("churn"));
    let length = Duration::from_secs(setting("ZBRIDGE_CHURN_SECONDS").unwrap_or(SECONDS));
    println!("{SEED}={seed}, {length:?}");
    let mut bench = Bench::start(seed);
    bench.check();
    let descriptors = bench.bridge.descriptors();
    let rounds = (length.as_secs().div_ceil(ROUND.as_secs())).max(2);
    let mut memory = Vec::new();
    for number in 1..=rounds {
        let passed = round(&mut bench, length / rounds as u32);
        memory.push(bench.rest(descriptors));
        let [kills, stops, resumes, flaps, changes] = bench.deeds;
        println!(
            "round {number}: {kills} killed, {stops} stopped, {resumes} resumed, {flaps} links, {changes} ports; \
             {passed} frames between two that behave; {} KiB, {} descriptors",
            memory.last().expect("this round's"),
            bench.bridge.descriptors(),
        );
        assert!(passed > 0);
    }
    assert!(memory.last() <= memory.first().map(|first| first + GROWTH_KIB).as_ref(), "it grows: {memory:?} KiB");
    let exit = {
        bench.bridge.sigterm();
        bench.bridge.wait()
    };
    assert_eq!(exit.code(), 0, "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}
