//! Instructions per frame, counted by callgrind: a regression shows without a clock, on a busy machine too.
//!
//! ```text
//! cargo bench --bench instructions              counts, and compares with benches/instructions.baseline
//! cargo bench --bench instructions -- --bless   counts, and writes the baseline
//! ```
//!
//! Each case is a fixed workload in this process: a switch in memory, or its ports on socket pairs. The program runs
//! itself under valgrind twice, with so many rounds and with twice as many; the difference is what the rounds cost,
//! without what was set up before them. The kernel's part is not counted. More than [`TOLERANCE`] above the baseline is
//! a failure, unless another compiler made the baseline: then it is only shown.

mod nat;

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};

use etherparse::{IpHeaders, Ipv4Extensions, Ipv4Header, PacketBuilder, ip_number};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use support::needs::{self, required, skips};
use zbridge::counters::Counters;
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::internals::limits::{BATCH_BYTES, INHALE_BYTES, INHALE_FRAMES};
use zbridge::internals::port::{Broken, Gone, Inhaled, Sequenced, Stream, frame_io};
use zbridge::switch::{Chance, Impairment, Loss, PortConfig, Share, Switch, SwitchConfig, Taken, Transmit, Way};
use zbridge::time::{Duration, Instant};
use zbridge::wire::{Checksum, Gso, Offload};

/// How much more than the baseline passes, as a part of it: what is less is for whoever reads the list, as another
/// compiler or allocator is worth a few percent too.
const TOLERANCE: f64 = 0.25;
/// Rounds of the shorter run.
const ROUNDS: usize = 32;
/// Frames of a round.
const FRAMES: usize = 64;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.baseline");
const NOW: Instant = Instant::from_secs(1);

type Round = Box<dyn FnMut(usize)>;

/// A workload: its name, what it is, and what makes its round. A round is told its number.
type Case = (&'static str, &'static str, fn() -> Round);

const CASES: [Case; 15] = [
    ("unicast", "in memory, one conversation", || unicast(1)),
    ("unicast-spread", "in memory, 1,000 destinations by turns", || unicast(1000)),
    ("flood-8", "in memory, a broadcast to 8 ports", flood),
    ("learn", "in memory, a new source address each", learn),
    ("queue", "in memory, through a busy port's queue", queue),
    ("impaired-tx", "in memory, delay and loss on the way out", || impaired(Way::Out, |_| {})),
    ("impaired-rx", "in memory, delay and loss on the way in", || impaired(Way::In, |_| {})),
    ("impaired-fates", "the same, and what became of each is noted", || impaired(Way::In, |it| it.set_journal(true))),
    ("segment", "in memory, a super-frame cut into segments of 1,000 B", segment),
    ("merge", "in memory, segments of 1,000 B made a super-frame", merge),
    ("stream", "socket pairs, 64 frames a write", || stream(FRAMES)),
    ("stream-single", "socket pairs, one frame a write", || stream(1)),
    ("seqpacket", "socket pairs, one frame a packet", seqpacket),
    ("nat-tcp", "in memory, a guest's segment of 1,000 B and its acknowledgement", nat::tcp),
    ("nat-udp", "in memory, a guest's datagram of 1,000 B and its answer", nat::udp),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name, rounds] = &words[..]
        && word == "--case"
    {
        run_case(name, rounds.parse().unwrap_or(0));
        return ExitCode::SUCCESS;
    }
    if words.is_empty() {
        // so does `cargo test --all-targets`
        println!("counts only on demand: cargo bench --bench instructions");
        return ExitCode::SUCCESS;
    }
    if skips(needs::tool("valgrind", "valgrind"), required()) {
        return ExitCode::SUCCESS;
    }
    match count_all(words.iter().any(|word| word == "--bless")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_case(name: &str, rounds: usize) {
    let (.., make) = CASES.iter().find(|case| case.0 == name).expect("a case of the table");
    let round = make();
    (0..rounds).for_each(round);
}

/// Counts every case. False when one of them got worse.
fn count_all(bless: bool) -> Result<bool, String> {
    let compiler = compiler()?;
    let baseline = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let comparable = baseline.lines().next() == Some(&compiler);
    let mut text = format!("{compiler}\n");
    let mut good = true;
    for (name, what, _) in CASES {
        let count = |rounds: usize| instructions(name, rounds);
        let each = (count(2 * ROUNDS)? - count(ROUNDS)?) / (ROUNDS * FRAMES) as f64;
        let _ = writeln!(text, "{name} {each:.1}");
        let before = baseline.lines().filter_map(|line| line.split_once(' ')).find(|line| line.0 == name);
        let before = before.and_then(|line| line.1.parse::<f64>().ok());
        let change = before.map_or("new".into(), |before| format!("{:+.1} %", (each / before - 1.0) * 100.0));
        let worse = before.is_some_and(|before| each > before * (1.0 + TOLERANCE));
        good &= !worse;
        println!("{name:<16} {each:>8.1} a frame  {change:>8}  {}  {what}", if worse { "WORSE" } else { "     " });
    }
    if bless {
        std::fs::write(BASELINE, text).map_err(|error| format!("{BASELINE}: {error}"))?;
        return Ok(true);
    }
    if !good {
        println!("better code, or `cargo bench --bench instructions -- --bless` and the reason in the commit");
    }
    if !comparable {
        println!("the baseline is of another compiler, so nothing is judged; this is {compiler}");
    }
    Ok(good || !comparable)
}

/// The compiler's version and what it compiles for.
fn compiler() -> Result<String, String> {
    let said = output(Command::new("rustc").arg("-vV"))?.0;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    Ok(format!("{} {host}", said.lines().next().unwrap_or_default()))
}

/// The instructions of one run.
fn instructions(case: &str, rounds: usize) -> Result<f64, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(me);
    let said = output(command.args(["--case", case, &rounds.to_string()]))?.1;
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.ok_or_else(|| format!("callgrind did not say what it collected: {said}"))
}

/// What a command that succeeds writes to stdout and stderr.
fn output(command: &mut Command) -> Result<(String, String), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.output().map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !ran.status.success() {
        return Err(format!("{name} failed: {}", text(&ran.stderr)));
    }
    Ok((text(&ran.stdout), text(&ran.stderr)))
}

fn mac(kind: u8, number: usize) -> [u8; 6] {
    let spread = (number as u32 + 1).wrapping_mul(0x9e37_79b9).to_be_bytes();
    [2, kind, spread[0], spread[1], spread[2], spread[3]]
}

fn frame(dst: [u8; 6], src: [u8; 6]) -> Vec<u8> {
    let mut frame = [&dst[..], &src[..], &[0x88, 0xb5]].concat();
    frame.resize(64, 0);
    frame
}

/// A round's frames, as they come in by port 0.
fn batch(mut make: impl FnMut(usize) -> Vec<u8>) -> Batch {
    let mut batch = Batch::new(FRAMES * 128);
    for number in 0..FRAMES {
        assert!(batch.push(&make(number), PortId(0), Offload::NONE), "there is room");
    }
    batch
}

fn switch(ports: usize) -> Switch {
    let config = SwitchConfig::with(|switch| switch.fdb_port_limit = Some(65_536));
    let mut switch = Switch::new(&config);
    (0..ports).for_each(|_| assert!(switch.add_port(PortConfig::default()).is_some(), "there is room"));
    switch
}

/// Takes everything, or nothing.
struct Edges {
    takes: bool,
}

impl Transmit for Edges {
    fn transmit(&mut self, _: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        if !self.takes {
            return Taken { frames: 0 };
        }
        let bytes: usize = out.runs().map(|run| black_box(run).len()).sum();
        counters.sent(out.len() as u64, bytes as u64);
        Taken { frames: out.len() }
    }
}

fn unicast(stations: usize) -> Round {
    let mut switch = switch(2);
    for station in 0..stations {
        switch.handle_frame(NOW, PortId(1), &frame(mac(1, station), mac(1, station)));
    }
    let batches: Vec<Batch> = (0..2 * ROUNDS)
        .map(|round| batch(|number| frame(mac(1, (round * FRAMES + number) % stations), mac(0, 0))))
        .collect();
    Box::new(move |round| switch.run(NOW, black_box(&batches[round]), &mut Edges { takes: true }))
}

fn flood() -> Round {
    let mut switch = switch(9);
    let batch = batch(|_| frame([0xff; 6], mac(0, 0)));
    Box::new(move |_| switch.run(NOW, black_box(&batch), &mut Edges { takes: true }))
}

fn learn() -> Round {
    let mut switch = switch(2);
    switch.handle_frame(NOW, PortId(1), &frame(mac(1, 0), mac(1, 0)));
    let batches: Vec<Batch> =
        (0..2 * ROUNDS).map(|round| batch(|number| frame(mac(1, 0), mac(0, round * FRAMES + number)))).collect();
    Box::new(move |round| switch.run(NOW, black_box(&batches[round]), &mut Edges { takes: true }))
}

fn queue() -> Round {
    let mut switch = switch(2);
    switch.handle_frame(NOW, PortId(1), &frame(mac(1, 0), mac(1, 0)));
    let batch = batch(|_| frame(mac(1, 0), mac(0, 0)));
    Box::new(move |_| {
        switch.run(NOW, black_box(&batch), &mut Edges { takes: false });
        switch.flush(NOW, PortId(1), &mut Edges { takes: true });
    })
}

/// One conversation along a line that is slow and lossy, with a breath each millisecond.
fn impaired(way: Way, set: fn(&mut Switch)) -> Round {
    let mut switch = switch(2);
    set(&mut switch);
    switch.handle_frame(NOW, PortId(1), &frame(mac(1, 0), mac(1, 0)));
    let mut impairment = Impairment::default();
    impairment.delay = Duration::from_millis(5);
    impairment.loss = Loss::Random(Chance::of(Share::of(0.01)));
    switch.impair(PortId(if way == Way::In { 0 } else { 1 }), way, "a", impairment);
    let came = batch(|_| frame(mac(1, 0), mac(0, 0)));
    let mut breath = Batch::new(FRAMES * 256);
    let mut edges = Edges { takes: true };
    Box::new(move |round| {
        let now = NOW + Duration::from_millis(round as u64);
        breath.clear();
        switch.take_due(now, &mut breath);
        let before = breath.len();
        for (frame, bytes) in Outgoing::rest_of(black_box(&came), 0).frames() {
            assert!(breath.push(bytes, frame.ingress, frame.offload), "there is room");
        }
        switch.arrive(now, PortId(0), &mut breath, before);
        switch.send_due(now, &mut edges);
        switch.run(now, &breath, &mut edges);
        let _ = switch.take_journal();
    })
}

/// A plain TCP segment of a stream to the station on port 1.
fn tcp(sequence: usize, payload: &[u8]) -> Vec<u8> {
    let mut ip = Ipv4Header::new(0, 64, ip_number::TCP, [192, 0, 2, 1], [192, 0, 2, 2]).expect("a short payload");
    ip.identification = (sequence / SEGMENT) as u16;
    let ip = IpHeaders::Ipv4(ip, Ipv4Extensions::default());
    let builder = PacketBuilder::ethernet2(mac(0, 0), mac(1, 0)).ip(ip).tcp(5001, 5201, sequence as u32, 512).ack(1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("memory");
    frame
}

/// Bytes that a segment carries.
const SEGMENT: usize = 1000;

/// Two ports, of which the second takes super-frames or not.
fn offloading(offload: bool) -> Switch {
    let mut switch = Switch::new(&SwitchConfig::default());
    for offload in [true, offload] {
        assert!(switch.add_port(PortConfig::with(|port| port.offload = offload)).is_some(), "there is room");
    }
    switch.handle_frame(NOW, PortId(1), &frame(mac(1, 0), mac(1, 0)));
    switch
}

fn segment() -> Round {
    let mut switch = offloading(false);
    let mut batch = Batch::new(128 * 1024);
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    let offload = Offload { gso: Gso::Tcp4 { ecn: false }, gso_size: SEGMENT as u16, header_len: 54, checksum };
    assert!(batch.push(&tcp(0, &[0x53; FRAMES * SEGMENT]), PortId(0), offload), "there is room");
    Box::new(move |_| switch.run(NOW, black_box(&batch), &mut Edges { takes: true }))
}

fn merge() -> Round {
    let mut switch = offloading(true);
    let mut batch = Batch::new(FRAMES * 2 * SEGMENT);
    for number in 0..FRAMES {
        assert!(batch.push(&tcp(number * SEGMENT, &[0x53; SEGMENT]), PortId(0), Offload::NONE), "there is room");
    }
    Box::new(move |_| switch.run(NOW, black_box(&batch), &mut Edges { takes: true }))
}

type Receive<P> = fn(&mut P, &mut Batch, &mut Counters) -> Result<Inhaled, Gone>;
type Send<P> = fn(&mut P, Outgoing<'_>, &mut Counters) -> Result<usize, Broken>;

/// A port that frames come in by and one that they leave by, on socket pairs.
struct Ports<P> {
    from: P,
    to: P,
    receive: Receive<P>,
    send: Send<P>,
    switch: Switch,
    batch: Batch,
}

impl<P> Ports<P> {
    fn new([from, to]: [P; 2], receive: Receive<P>, send: Send<P>) -> Self {
        let mut switch = switch(2);
        switch.handle_frame(NOW, PortId(1), &frame(mac(1, 0), mac(1, 0)));
        Self { from, to, receive, send, switch, batch: Batch::new(BATCH_BYTES) }
    }

    /// One breath, as the engine makes it.
    fn breathe(&mut self) {
        self.batch.clear();
        let counters = self.switch.counters_mut(PortId(0)).expect("a port");
        (self.receive)(&mut self.from, &mut self.batch, counters).expect("frames");
        self.switch.run(NOW, &self.batch, &mut Leave { port: &mut self.to, send: self.send });
    }
}

struct Leave<'a, P> {
    port: &'a mut P,
    send: Send<P>,
}

impl<P> Transmit for Leave<'_, P> {
    fn transmit(&mut self, _: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        Taken { frames: (self.send)(self.port, out, counters).expect("room") }
    }
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::NONBLOCK, None).expect("a pair of sockets")
}

/// `chunk` frames a write, and as many a breath.
fn stream(chunk: usize) -> Round {
    let ((near, from), (far, to)) = (pair(SocketType::STREAM), pair(SocketType::STREAM));
    let (mut near, mut far) = (UnixStream::from(near), UnixStream::from(far));
    let mut ports = Ports::new(
        [Stream::new(from), Stream::new(to)],
        |port, batch, counters| port.receive(batch, PortId(0), INHALE_BYTES, counters),
        |port, out, counters| port.transmit(out, counters),
    );
    let bytes = [&[0, 0, 0, 64], &frame(mac(1, 0), mac(0, 0))[..]].concat().repeat(chunk);
    let mut room = vec![0; bytes.len()];
    // one direction of each pair is all there is
    far.shutdown(Shutdown::Write).expect("a connected socket");
    Box::new(move |_| {
        for _ in 0..FRAMES / chunk {
            near.write_all(&bytes).expect("room for a chunk");
            ports.breathe();
            far.read_exact(&mut room).expect("what was sent");
        }
    })
}

fn seqpacket() -> Round {
    let ((near, from), (far, to)) = (pair(SocketType::SEQPACKET), pair(SocketType::SEQPACKET));
    let mut ports = Ports::new(
        [Sequenced::new(from), Sequenced::new(to)],
        |port, batch, counters| frame_io::receive(port, batch, PortId(0), INHALE_FRAMES, counters),
        frame_io::transmit,
    );
    let packet = frame(mac(1, 0), mac(0, 0));
    let mut room = [0; 128];
    // as many as wait in a socket at least (net.unix.max_dgram_qlen)
    const QUEUE: usize = 8;
    Box::new(move |_| {
        for _ in 0..FRAMES / QUEUE {
            for _ in 0..QUEUE {
                send(&near, &packet, SendFlags::empty()).expect("room for a packet");
            }
            ports.breathe();
            for _ in 0..QUEUE {
                recv(&far, &mut room, RecvFlags::empty()).expect("what was sent");
            }
        }
    })
}
