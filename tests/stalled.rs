//! A peer that never reads, behind each kind of port: its queue fills and is counted, and nobody else waits or loses
//! anything.
//!
//! A TAP and a packet socket have no such peer: the kernel takes what is written to an interface.

use std::time::Duration;
use support::frame::{BROADCAST, Mac, number, numbered};
use support::{GramPeer, PATIENCE, Peer, Process, Received, SeqPeer, Station, StreamPeer, Summary, TempDir, zbridge};
use support::{Namespace, eventually, needs, require};

const A: Station = Station::new(1);
const B: Station = Station::new(2);
const DEAD: Station = Station::new(9);
/// Frames that A sends in a run, by turns: to the peer that does not read, to everybody, to B (which gets the last).
const FRAMES: u32 = 1500;
/// More than any socket buffers for the two thirds that concern it.
const OCTETS: usize = 16_000;

/// A bridge between A, B and the port `dead`, whose peer does not read.
struct Lab<D> {
    zbridge: Process,
    a: StreamPeer,
    b: StreamPeer,
    dead: D,
    sent: u32,
    /// Other frames that were on their way to the dead peer.
    others: u64,
    _dir: TempDir,
}

impl<D: Peer> Lab<D> {
    /// `port` is the dead one's, in which DIR is the test's folder; `connect` makes its peer.
    fn start(port: &str, namespace: Option<&Namespace>, connect: impl FnOnce(&Process, &TempDir) -> D) -> Self {
        let dir = TempDir::new();
        let port = format!("{},name=dead,queue=64", port.replace("DIR", dir.root().to_str().unwrap()));
        let others = ["a", "b"].map(|name| format!("unix:{}", dir.text(name)));
        let launch = zbridge!("-p", port, "-p", &others[0], "-p", &others[1]);
        let zbridge = match namespace {
            Some(namespace) => launch.inside(namespace).ready(),
            None => launch.ready(),
        };
        let [mut a, mut b] = ["a", "b"].map(|name| {
            let peer = StreamPeer::unix(dir.path(name));
            zbridge.wait_for(&format!("{name}#1: connected"), PATIENCE);
            peer
        });
        let mut dead = connect(&zbridge, &dir);
        // each is heard once, so that the switch knows where it is; two of these frames go everywhere
        for (peer, station) in [(&mut a, A), (&mut b, B)] {
            peer.send(&numbered(DEAD.mac, station.mac, u32::MAX, 60));
        }
        dead.send(&numbered(BROADCAST, DEAD.mac, u32::MAX, 60));
        for peer in [&mut a, &mut b] {
            peer.expect(&numbered(BROADCAST, DEAD.mac, u32::MAX, 60));
        }
        Self { zbridge, a, b, dead, sent: 0, others: 2, _dir: dir }
    }

    fn frame(number: u32) -> Vec<u8> {
        let target: Mac = [DEAD.mac, BROADCAST, B.mac][number as usize % 3];
        numbered(target, A.mac, number, OCTETS)
    }

    /// A sends at a pace, and B gets all that concerns it, in order.
    fn run(&mut self) {
        for number in self.sent..self.sent + FRAMES {
            let frame = Self::frame(number);
            self.a.send(&frame);
            if number % 3 != 0 {
                assert_eq!(self.b.receive(PATIENCE), Received::Frame(frame), "frame {number}");
            }
            if number % 10 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.sent += FRAMES;
    }

    /// Ends it, and checks that every frame is accounted for. Gives how many ended on their way to the dead peer.
    fn finish(self) -> u64 {
        let summary = Summary::of(self.zbridge);
        let [a, b, dead] = ["a", "b", "dead"].map(|name| summary.all_of(name));
        let third = u64::from(self.sent / 3);
        assert_eq!((a.rx_frames, a.dropped, b.dropped), (3 * third + 1, 0, 0), "{summary:#?}");
        assert_eq!(dead.copies(), 2 * third + self.others, "{dead:#?}");
        dead.dropped
    }
}

/// The peer of `lab` never reads, and is a peer again as soon as it does.
fn stalls_and_recovers<D: Peer>(mut lab: Lab<D>) {
    lab.run();
    lab.zbridge.wait_for(": its peer does not read; frames for it are dropped until it does", PATIENCE);
    // what was kept for it comes out in order, and what is sent when it reads again comes behind it
    let (mut last, end) = (None, numbered(DEAD.mac, B.mac, 0, 60));
    let mut check = |frame: &[u8]| {
        let number = number(frame).filter(|&number| number != u32::MAX && frame != end);
        assert!(number.is_none() || number > last, "{number:?} after {last:?}");
        last = number.or(last);
        frame == end
    };
    eventually("its peer reads again", || {
        while let Received::Frame(frame) = lab.dead.receive(Duration::from_millis(1)) {
            check(&frame);
        }
        lab.zbridge.stderr().contains(": its peer reads again").then_some(())
    });
    lab.b.send(&end);
    lab.others += 1;
    lab.dead.receive_where(check);
    lab.run();
    let lost = lab.finish();
    assert!(lost > 0, "no queue holds all that");
}

#[test]
fn behind_a_stream() {
    stalls_and_recovers(Lab::start("unix:DIR/dead", None, |zbridge, dir| {
        let peer = StreamPeer::unix(dir.path("dead"));
        zbridge.wait_for("dead#1: connected", PATIENCE);
        peer
    }));
}

#[test]
fn behind_a_sequence_of_packets() {
    stalls_and_recovers(Lab::start("unixseq:DIR/dead", None, |zbridge, dir| {
        let peer = SeqPeer::unix(dir.path("dead"));
        zbridge.wait_for("dead#1: connected", PATIENCE);
        peer
    }));
}

#[test]
fn behind_datagrams() {
    let port = "unixgram:DIR/dead,peer=DIR/dead.peer";
    stalls_and_recovers(Lab::start(port, None, |_, dir| GramPeer::unix(dir.path("dead.peer"), dir.path("dead"))));
}

#[test]
fn behind_tcp() {
    stalls_and_recovers(Lab::start("tcp:127.0.0.1:0,listen", None, |zbridge, _| {
        let peer = StreamPeer::tcp(zbridge.tcp_address());
        zbridge.wait_for("dead#1: connected", PATIENCE);
        peer
    }));
}

/// Nobody is paused for it, and still it is said to be dead.
#[test]
fn one_that_is_only_flooded_to() {
    let mut lab = Lab::start("unix:DIR/dead", None, |zbridge, dir| {
        let peer = StreamPeer::unix(dir.path("dead"));
        zbridge.wait_for("dead#1: connected", PATIENCE);
        peer
    });
    for number in 0..FRAMES {
        let frame = numbered(BROADCAST, A.mac, number, OCTETS);
        lab.a.send(&frame);
        assert_eq!(lab.b.receive(PATIENCE), Received::Frame(frame), "frame {number}");
    }
    lab.zbridge.wait_for("dead#1: its peer does not read; frames for it are dropped until it does", PATIENCE);
    eventually("its peer reads again", || {
        while let Received::Frame(_) = lab.dead.receive(Duration::from_millis(1)) {}
        lab.zbridge.stderr().contains("dead#1: its peer reads again").then_some(())
    });
}

/// UDP never waits: what its peer has no room for, the kernel drops unseen.
#[test]
fn behind_udp() {
    require!(needs::netns());
    let namespace = Namespace::new("stalled");
    let port = "udp:127.0.0.1:1000->127.0.0.1:1001";
    let [near, far] = ["127.0.0.1:1000", "127.0.0.1:1001"].map(|address| address.parse().unwrap());
    let mut lab = Lab::start(port, Some(&namespace), |_, _| namespace.inside(|| GramPeer::udp(far, near)));
    lab.run();
    assert_eq!(lab.finish(), 0);
}
