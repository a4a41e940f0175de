//! What a frame costs in the switch alone: decided, planned, and handed to descriptors that do nothing.
//!
//! `cargo bench --bench switch`; the column of items per second counts frames (copies, where there are several).

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use zbridge::counters::Counters;
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::internals::limits::{FDB_LIMIT_MAX, PREFIX};
use zbridge::switch::{
    Chance, Distribution, Flush, Impairment, Loss, PortConfig, Share, Switch, SwitchConfig, Taken, Transmit, Way,
};
use zbridge::time::{Duration, Instant};
use zbridge::wire::{Mac, Offload};

fn main() {
    divan::main();
}

const NOW: Instant = Instant::from_secs(1);
const PORTS: u64 = 8;
/// Frames of one breath.
const FRAMES: u64 = 256;
const FRAME_BYTES: usize = 64;

/// Descriptors that take as much as `room` and do nothing with it.
struct Null {
    room: usize,
}

impl Transmit for Null {
    fn transmit(&mut self, _: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        let frames = out.len().min(self.room);
        counters.sent(frames as u64, 0);
        Taken { frames }
    }
}

/// Takes everything.
fn sink() -> Null {
    Null { room: usize::MAX }
}

/// The address of the station with this number: spread over all 46 bits that are free, on port `number % PORTS`.
fn station(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16 & 0xfcff_ffff_ffff | 0x0200_0000_0000
}

fn batch(frames: impl IntoIterator<Item = (u64, u64, u64)>) -> Batch {
    let mut batch = Batch::new(FRAMES as usize * (FRAME_BYTES + PREFIX));
    for (dst, src, ingress) in frames {
        let mut frame = [0; FRAME_BYTES];
        frame[..6].copy_from_slice(&dst.to_be_bytes()[2..]);
        frame[6..12].copy_from_slice(&src.to_be_bytes()[2..]);
        assert!(batch.push(&frame, PortId(ingress as u16), Offload::NONE));
    }
    batch
}

fn switch_of(ports: u64) -> Switch {
    let limits = SwitchConfig::with(|switch| {
        switch.fdb_limit = FDB_LIMIT_MAX;
        switch.fdb_port_limit = Some(FDB_LIMIT_MAX);
    });
    let mut switch = Switch::new(&limits);
    (0..ports).for_each(|_| assert!(switch.add_port(PortConfig::default()).is_some()));
    switch
}

/// Breaths in which stations `from..to` say hello to the first.
fn hellos(from: u64, to: u64) -> Vec<Batch> {
    let starts = (from..to).step_by(FRAMES as usize);
    starts
        .map(|at| batch((at..to.min(at + FRAMES)).map(|number| (station(0), station(number), number % PORTS))))
        .collect()
}

/// A switch that knows so many stations.
fn knowing(stations: u64) -> Switch {
    let mut switch = switch_of(PORTS);
    hellos(0, stations).iter().for_each(|batch| switch.run(NOW, batch, &mut sink()));
    assert_eq!(switch.fdb(NOW).count() as u64, stations);
    switch
}

/// Every frame between two other stations of so many.
#[divan::bench(args = [1 << 10, 1 << 16, 1 << 20])]
fn unicast_spread(bencher: Bencher, stations: u64) {
    let mut switch = knowing(stations);
    let pairs = |breath: u64| {
        (0..FRAMES).map(move |frame| {
            let number = (breath * FRAMES + frame).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8;
            let (src, dst) = (number % stations, (number >> 24) % stations);
            // A neighbour's number, where both are on one port.
            let dst = if dst % PORTS == src % PORTS { dst ^ 1 } else { dst };
            (station(dst), station(src), src % PORTS)
        })
    };
    let breaths: Vec<Batch> = (0..256).map(|breath| batch(pairs(breath))).collect();
    let mut next = breaths.iter().cycle();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        if let Some(batch) = next.next() {
            switch.run(NOW, black_box(batch), &mut sink());
        }
    });
}

/// All frames of a breath from one station to one other.
#[divan::bench(args = [None, Some(1500)])]
fn unicast_one_pair(bencher: Bencher, mtu: Option<u32>) {
    let mut switch = switch_of(0);
    (0..PORTS).for_each(|_| assert!(switch.add_port(PortConfig::with(|port| port.mtu = mtu)).is_some()));
    hellos(0, PORTS).iter().for_each(|batch| switch.run(NOW, batch, &mut sink()));
    let batch = batch((0..FRAMES).map(|_| (station(1), station(2), 2)));
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| switch.run(NOW, black_box(&batch), &mut sink()));
}

/// Eight conversations, frame by frame in turn.
#[divan::bench]
fn unicast_eight_pairs(bencher: Bencher) {
    let mut switch = knowing(PORTS);
    let batch = batch((0..FRAMES).map(|frame| (station((frame + 1) % PORTS), station(frame % PORTS), frame % PORTS)));
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| switch.run(NOW, black_box(&batch), &mut sink()));
}

/// Every frame from a station that was never heard, into a table that grows to this size.
#[divan::bench(args = [1 << 10, 1 << 16, 1 << 20], sample_count = 10)]
fn learn_new(bencher: Bencher, stations: u64) {
    let breaths = hellos(0, stations);
    bencher.counter(ItemsCount::new(stations)).with_inputs(|| switch_of(PORTS)).bench_local_refs(|switch| {
        breaths.iter().for_each(|batch| switch.run(NOW, black_box(batch), &mut sink()));
    });
}

/// Every frame from a station that the table has no room for.
#[divan::bench]
fn learn_refused(bencher: Bencher) {
    let mut switch = Switch::new(&SwitchConfig::with(|switch| switch.fdb_limit = 1024));
    (0..PORTS).for_each(|_| assert!(switch.add_port(PortConfig::default()).is_some()));
    let breaths = hellos(0, 1 << 16);
    breaths.iter().for_each(|batch| switch.run(NOW, batch, &mut sink()));
    let mut next = breaths.iter().cycle();
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        if let Some(batch) = next.next() {
            switch.run(NOW, black_box(batch), &mut sink());
        }
    });
}

/// A breath of broadcasts from one port to so many others.
#[divan::bench(args = [8, 64, 1024])]
fn flood(bencher: Bencher, ports: u64) {
    let mut switch = switch_of(ports + 1);
    let batch = batch((0..FRAMES).map(|_| (Mac::BROADCAST.as_u64(), station(0), 0)));
    bencher.counter(ItemsCount::new(FRAMES * ports)).bench_local(|| switch.run(NOW, black_box(&batch), &mut sink()));
}

/// Into the queue of a busy port, and out of it again.
#[divan::bench]
fn queue_in_and_out(bencher: Bencher) {
    let mut switch = knowing(PORTS);
    let batch = batch((0..FRAMES).map(|_| (station(1), station(2), 2)));
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        switch.run(NOW, black_box(&batch), &mut Null { room: 0 });
        while switch.flush(NOW, PortId(1), &mut sink()) != Flush::Empty {}
    });
}

/// What the line of a port with impairments does.
#[derive(Clone, Copy, Debug)]
enum Line {
    Off,
    Delay,
    DelayAndLoss,
    Everything,
}

/// A conversation along a line, which holds five breaths of frames. To be compared with the first.
#[divan::bench(args = [Line::Off, Line::Delay, Line::DelayAndLoss, Line::Everything])]
fn impaired(bencher: Bencher, line: Line) {
    let mut switch = knowing(PORTS);
    let mut impairment = Impairment::default();
    let some = |part| Chance::of(Share::of(part));
    if !matches!(line, Line::Off) {
        (impairment.delay, impairment.limit) = (Duration::from_millis(5), 1_000_000);
    }
    if matches!(line, Line::DelayAndLoss | Line::Everything) {
        impairment.loss = Loss::Random(some(0.01));
    }
    if matches!(line, Line::Everything) {
        (impairment.jitter, impairment.distribution) = (Duration::from_millis(1), Distribution::Normal);
        (impairment.duplicate, impairment.corrupt, impairment.reorder) = (some(0.01), some(0.01), some(0.01));
    }
    switch.impair(PortId(1), Way::Out, "a", impairment);
    let batch = batch((0..FRAMES).map(|_| (station(1), station(2), 2)));
    let mut now = NOW;
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        now += Duration::from_millis(1);
        switch.send_due(now, &mut sink());
        switch.run(now, black_box(&batch), &mut sink());
    });
}

/// One call for each frame, in and out.
#[divan::bench]
fn handle_frame_and_poll_transmit(bencher: Bencher) {
    let mut switch = knowing(PORTS);
    let batch = batch([(station(1), station(2), 2)]);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        switch.handle_frame(NOW, PortId(2), black_box(batch.bytes(&batch.frames()[0])));
        switch.poll_transmit(&mut out)
    });
}
