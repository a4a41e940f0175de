//! The workloads: what is sent through which ports, and by whom it can be carried.

use super::contender::Contender::{self, Bare, BareGso, Kernel, Ovs, Qemu, Socat, Vde, Zbridge};
use super::contender::{Medium, Need};
use super::report::Metric;

/// Who sends to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// One to one.
    Pair,
    /// The same, both ways at once.
    Both,
    /// So many to one.
    Fan(usize),
    /// One to one, among so many ports.
    Among(usize),
    /// So many pairs, one way.
    Pairs(usize),
    /// One to so many, as a broadcast.
    Broadcast(usize),
    /// One to one, and the same sender to one that does not read.
    Stalled,
    /// One to so many stations behind one port.
    Spread(usize),
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Frames of `len` bytes, `chunk` at a time, as fast as they are taken, and then at 90 % of that.
    Load {
        /// Bytes of a frame.
        len: usize,
        /// Frames that a sender hands over at once.
        chunk: usize,
        /// Who sends to whom.
        pattern: Pattern,
    },
    /// One frame goes to and fro.
    RoundTrip,
    /// iperf3, one connection.
    Tcp,
    /// ping, the next as soon as the last was answered.
    Ping,
    /// So many new source addresses.
    Learn(usize),
    /// Nothing, with so many ports.
    Idle(usize),
}

/// A row of the table.
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// What the ports are made of.
    pub medium: Medium,
    /// What is done.
    pub shape: Shape,
    /// Who can carry it.
    pub contenders: &'static [Contender],
}

const fn load(len: usize, chunk: usize, pattern: Pattern) -> Shape {
    Shape::Load { len, chunk, pattern }
}

const fn row(
    name: &'static str,
    what: &'static str,
    medium: Medium,
    shape: Shape,
    contenders: &'static [Contender],
) -> Workload {
    Workload { name, what, medium, shape, contenders }
}

const SOCKETS: &[Contender] = &[Zbridge, Bare, Vde, Qemu, Socat];
const LEARNERS: &[Contender] = &[Zbridge, Bare, Vde];
const TAPS: &[Contender] = &[Zbridge, Bare, BareGso, Vde, Ovs, Qemu, Socat, Kernel];

use Medium::{Gram, Seq, Stream, Tap};
use Pattern::{Among, Both, Broadcast, Fan, Pair, Pairs, Spread, Stalled};

/// All workloads.
pub static WORKLOADS: &[Workload] = &[
    row("stream-64", "UNIX stream, 64 B, 64 frames a send", Stream, load(64, 64, Pair), SOCKETS),
    row("stream-64-single", "UNIX stream, 64 B, one frame a send", Stream, load(64, 1, Pair), SOCKETS),
    row("stream-64-both", "UNIX stream, 64 B, both ways", Stream, load(64, 64, Both), SOCKETS),
    row("stream-64-fan8", "UNIX stream, 64 B, 8 senders to one", Stream, load(64, 64, Fan(8)), LEARNERS),
    row("stream-64-fan64", "UNIX stream, 64 B, 64 senders to one", Stream, load(64, 64, Fan(64)), LEARNERS),
    row(
        "stream-64-stalled",
        "UNIX stream, 64 B, half to one that never reads",
        Stream,
        load(64, 64, Stalled),
        &[Zbridge, Vde],
    ),
    row("stream-1514", "UNIX stream, 1514 B, 64 frames a send", Stream, load(1514, 64, Pair), SOCKETS),
    row(
        "stream-9000",
        "UNIX stream, 9000 B, 8 frames a send",
        Stream,
        load(9000, 8, Pair),
        &[Zbridge, Bare, Qemu, Socat],
    ),
    row(
        "stream-65000",
        "UNIX stream, 65,000 B, one frame a send",
        Stream,
        load(65_000, 1, Pair),
        &[Zbridge, Bare, Qemu, Socat],
    ),
    row("seq-64", "UNIX seqpacket, 64 B", Seq, load(64, 64, Pair), &[Zbridge, Bare, Vde, Socat]),
    row("seq-1514", "UNIX seqpacket, 1514 B", Seq, load(1514, 64, Pair), &[Zbridge, Bare, Vde, Socat]),
    row("gram-64", "UNIX datagram, 64 B", Gram, load(64, 64, Pair), &[Zbridge, Bare, Vde]),
    row("tap-64", "TAP to TAP, UDP, 64 B, 256 frames under way", Tap, load(64, 64, Pair), TAPS),
    row("tap-tcp", "TAP to TAP, TCP, one connection", Tap, Shape::Tcp, TAPS),
    row("tap-ping", "TAP to TAP, ping", Tap, Shape::Ping, TAPS),
    row("seq-rtt", "UNIX seqpacket, round trip", Seq, Shape::RoundTrip, &[Zbridge, Bare, Vde, Socat]),
    row("stream-rtt", "UNIX stream, round trip", Stream, Shape::RoundTrip, SOCKETS),
    row("fdb-1k", "UNIX stream, 64 B, to 1,000 stations at random", Stream, load(64, 64, Spread(1000)), LEARNERS),
    row("fdb-64k", "UNIX stream, 64 B, to 64,000 stations at random", Stream, load(64, 64, Spread(64_000)), LEARNERS),
    row(
        "fdb-1m",
        "UNIX stream, 64 B, to 1,000,000 stations at random",
        Stream,
        load(64, 64, Spread(1_000_000)),
        LEARNERS,
    ),
    row("learn", "UNIX stream, 1,000,000 new source addresses", Stream, Shape::Learn(1_000_000), LEARNERS),
    row(
        "seq-64-among",
        "UNIX seqpacket, 64 B, 2 busy among 1,024 ports",
        Seq,
        load(64, 64, Among(1024)),
        &[Zbridge, Bare, Vde],
    ),
    row("stream-64-pairs", "UNIX stream, 64 B, 512 busy pairs", Stream, load(64, 64, Pairs(512)), LEARNERS),
    row(
        "broadcast-8",
        "UNIX stream, 64 B, broadcast to 8",
        Stream,
        load(64, 64, Broadcast(8)),
        &[Zbridge, Bare, Vde, Qemu],
    ),
    row("broadcast-64", "UNIX stream, 64 B, broadcast to 64", Stream, load(64, 64, Broadcast(64)), LEARNERS),
    row("broadcast-1024", "UNIX stream, 64 B, broadcast to 1,024", Stream, load(64, 64, Broadcast(1024)), LEARNERS),
    row("idle", "8 UNIX stream ports, nothing to do", Stream, Shape::Idle(8), &[Zbridge, Bare, Vde, Qemu]),
];

impl Workload {
    /// What it needs, in a smoke run less of it.
    pub fn need(&self, quick: bool) -> Need {
        let need = |ports, stations, way| Need { ports, medium: self.medium, stations, way };
        match self.shape(quick) {
            Shape::Load { pattern, .. } => match pattern {
                Pair | Both => need(2, 2, "pairs"),
                Fan(senders) => need(senders + 1, senders + 1, "table"),
                Among(ports) => need(ports, ports, "pairs"),
                Pairs(pairs) => need(2 * pairs, 2 * pairs, "pairs"),
                Broadcast(receivers) => need(receivers + 1, receivers + 1, "flood"),
                Stalled => need(3, 3, "table"),
                Spread(stations) => need(2, stations, "table"),
            },
            Shape::RoundTrip | Shape::Tcp | Shape::Ping => need(2, 2, "pairs"),
            Shape::Learn(stations) => need(3, stations, "table"),
            Shape::Idle(ports) => need(ports, ports, "pairs"),
        }
    }

    /// What is done, in a smoke run less of it.
    pub fn shape(&self, quick: bool) -> Shape {
        match self.shape {
            Shape::Learn(stations) if quick => Shape::Learn(stations / 20),
            Shape::Load { len, chunk, pattern: Spread(stations) } if quick => {
                load(len, chunk, Spread(stations.min(64_000)))
            }
            shape => shape,
        }
    }

    /// What its contenders are compared by.
    pub fn primary(&self) -> Metric {
        match self.shape {
            Shape::Load { .. } => Metric::Cpu,
            Shape::RoundTrip | Shape::Ping => Metric::P50,
            Shape::Tcp => Metric::Bits,
            Shape::Learn(_) => Metric::Rate,
            Shape::Idle(_) => Metric::Resident,
        }
    }

    /// What its CPU time is divided by.
    pub fn unit(&self) -> &'static str {
        match self.shape {
            Shape::Load { pattern: Broadcast(_), .. } => "copy",
            Shape::Tcp => "KiB",
            Shape::RoundTrip | Shape::Ping => "round",
            _ => "frame",
        }
    }
}
