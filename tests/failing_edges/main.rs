//! Descriptors that fail, or take part of what they are offered, at every byte: whatever waits in whatever shape behind
//! whatever kind of edge, nothing is called after its error, every call makes progress, what leaves is whole and in
//! order, and every frame is accounted for.
//!
//! First each edge alone, with a queue of small segments, so that every byte can be tried; then behind a real switch,
//! whose segments are large, around the borders of frames. `tests/fuzz` has the same with operations by chance.

mod script;

use script::{ADAPTER, Answer, Edges, KINDS, Kind, Script, Scripted, assert_exact, batch_of, on_the_line};
use zbridge::counters::{Counters, Stage};
use zbridge::frame::{Outgoing, PortId};
use zbridge::internals::port::Seat;
use zbridge::switch::{Flush, PortConfig, Switch, SwitchConfig};
use zbridge::time::{Duration, Instant};

/// A frame that `kind` has a use for, of so many bytes; of every third that an adapter gets, only it has.
fn frame(kind: Kind, number: usize, len: usize) -> Vec<u8> {
    let mut frame = vec![number as u8; len];
    if kind != Kind::SlipIp {
        frame[..6].fill(0xff);
        // what SLIP and uart_pipe have to escape or to tell apart
        let thorns = [0xc0, 0xdb, 0x55, 0];
        frame.iter_mut().skip(14).step_by(3).for_each(|byte| *byte = thorns[number % 4]);
        return frame;
    }
    frame[..6].copy_from_slice(&if number % 3 == 2 { [0xff; 6] } else { ADAPTER });
    frame[12..14].copy_from_slice(&[8, 0]);
    let total = ((len - 14) as u16).to_be_bytes();
    let mut header = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    header[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    frame[14..34].copy_from_slice(&header);
    if number % 3 == 2 {
        // a question for the peer's address, which the adapter answers
        let asked = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1];
        frame.truncate(42);
        frame[12..14].copy_from_slice(&[8, 6]);
        frame[14..].copy_from_slice(&asked);
    }
    frame
}

/// Lengths of frames, by the segments of a queue that they lie in.
const SHAPES: &[&[&[usize]]] = &[
    &[&[60]],
    &[&[42, 43, 44, 45, 46, 47, 48]],
    &[&[60, 70], &[42]],
    &[&[120], &[42], &[42, 42]],
    &[&[42], &[42], &[120], &[42]],
    &[&[42, 126, 42], &[42, 42, 42, 100], &[127, 42]],
];

/// The queue of one port, and what it came to.
struct Queue {
    segments: Vec<Vec<Vec<u8>>>,
    offers: usize,
    counters: Counters,
}

impl Queue {
    fn new(kind: Kind, shape: &[&[usize]]) -> Self {
        let mut number = 0;
        let mut next = |len: &usize| {
            number += 1;
            frame(kind, number, *len)
        };
        let segments = shape.iter().map(|segment| segment.iter().map(&mut next).collect()).collect();
        Self { segments, offers: 0, counters: Counters::default() }
    }

    fn frames(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.segments.iter().flatten()
    }

    /// What leaves of it, if all of it does.
    fn line(&self, kind: Kind) -> Vec<u8> {
        self.frames().filter_map(|frame| on_the_line(kind, frame)).flatten().collect()
    }

    /// Offers a segment after the other, as a flush does, and goes on whenever the edge was busy: as often as the script
    /// has answers.
    fn flush(&mut self, seat: &mut Seat<Scripted>, script: &Script) {
        let most = script.0.borrow().answers.len() + 3;
        for segment in &self.segments {
            let batch = batch_of(segment, PortId(0));
            let (mut done, mut tries) = (0, 0);
            while done < batch.len() && tries < most {
                done += seat.offer(Outgoing::rest_of(&batch, done), &mut self.counters);
                (tries, self.offers) = (tries + 1, self.offers + 1);
            }
            if done < batch.len() {
                return;
            }
        }
    }
}

/// One edge with one queue and one script. `ends`: nothing is left at the end.
fn go_through(kind: Kind, shape: &[&[usize]], answers: &[Answer], then: Answer) {
    let script = Script::new(answers.iter().copied(), then);
    let mut queue = Queue::new(kind, shape);
    let mut seat = Seat::new(Scripted::new(kind, script.clone()));
    queue.flush(&mut seat, &script);
    let tape = script.0.borrow();
    let (line, counters) = (queue.line(kind), &queue.counters);
    assert!(line.starts_with(&tape.taken), "what leaves is whole and in order");
    let frames = queue.frames().count();
    assert!(tape.calls <= 3 * (frames + answers.len() + queue.offers), "{} calls", tape.calls);
    let done = counters.tx_frames + counters.dropped_at(Stage::Egress);
    assert!(done <= frames as u64);
    if then != Answer::Full {
        assert_eq!(done, frames as u64, "{counters:?}");
    }
    if kind != Kind::SlipIp {
        let mut left = tape.taken.len();
        let lens = queue.frames().map_while(|frame| on_the_line(kind, frame)).map(|frame| frame.len());
        let whole = lens.take_while(|len| left.checked_sub(*len).inspect(|less| left = *less).is_some()).count();
        assert_eq!(counters.tx_frames, whole as u64, "as sent counts what left whole, and that alone");
    }
}

#[test]
fn whatever_an_edge_takes_and_wherever_it_fails() {
    let ends = [Answer::Dies, Answer::Full, Answer::Take(usize::MAX)];
    let between = [None, Some(Answer::Full), Some(Answer::Interrupted), Some(Answer::Starved)];
    for kind in KINDS {
        for shape in SHAPES {
            let len = Queue::new(kind, shape).line(kind).len();
            for at in 0..=len {
                for then in ends {
                    for pause in between {
                        // one that keeps frames apart loses those for which there is no memory
                        if pause == Some(Answer::Starved) && kind == Kind::Frames {
                            continue;
                        }
                        let answers: Vec<_> = [Some(Answer::Take(at)), pause].into_iter().flatten().collect();
                        go_through(kind, shape, &answers, then);
                    }
                }
            }
        }
    }
}

#[test]
fn a_byte_at_a_time() {
    for kind in KINDS {
        for shape in SHAPES {
            let len = Queue::new(kind, shape).line(kind).len();
            for at in (0..=len).step_by(7) {
                let slow: Vec<_> = (0..at).flat_map(|_| [Answer::Take(1), Answer::Full]).collect();
                go_through(kind, shape, &slow, Answer::Dies);
            }
        }
    }
}

/// A switch with a sender, and an edge at whose descriptor frames heap up.
struct Bench {
    switch: Switch,
    edges: Edges,
    script: Script,
    now: Instant,
}

const SENDER: PortId = PortId(0);
const SLOW: PortId = PortId(1);

impl Bench {
    fn new(kind: Kind, answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut switch = Switch::new(&SwitchConfig::default());
        let script = Script::new(answers, Answer::Full);
        let idle = Scripted::new(Kind::Frames, Script::new([], Answer::Take(usize::MAX)));
        let slow = Scripted::new(kind, script.clone());
        for port in [SENDER, SLOW] {
            assert_eq!(switch.add_port(PortConfig::default()), Some(port));
        }
        let edges = Edges { seats: [idle, slow].map(Seat::new).into(), failed: Vec::new() };
        Self { switch, edges, script, now: Instant::from_secs(1) }
    }

    /// Everybody hears of these frames.
    fn send(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            let batch = batch_of(std::slice::from_ref(frame), SENDER);
            self.switch.run(self.now, &batch, &mut self.edges);
            assert_exact(&self.switch);
        }
    }

    /// Flushes as the engine does: within one breath until the port is empty or busy.
    fn flush(&mut self) -> Flush {
        self.now += Duration::from_millis(1);
        for _ in 0..1000 {
            let flush = self.switch.flush(self.now, SLOW, &mut self.edges);
            assert_exact(&self.switch);
            if flush != Flush::More {
                return flush;
            }
        }
        panic!("no progress");
    }
}

/// Lengths of frames that heap up behind a peer that does not read: several segments of 64 KiB, with a cut frame at the
/// front, and less in the last of them than had left of it.
const HEAPS: &[&[usize]] = &[
    &[60_000, 60_000, 60_000, 6_000],
    &[60_000, 60, 60_000, 60],
    &[65_535, 65_535, 14],
    &[1514; 100],
    &[9014, 9014, 9014, 9014, 9014, 9014, 9014, 9014, 60],
    &[60, 1514, 65_535, 60, 30_000, 30_000, 30_000, 127, 14],
];

/// Where it is worth to stop in `line`, which consists of frames of these lengths: beside every border, and in between.
fn stops(lens: &[usize]) -> Vec<usize> {
    let mut at = 0;
    let mut stops = vec![0, 1, 3, 4, 5];
    for len in lens {
        stops.extend([at + len / 3, at + len - 6_005.min(*len), at + len - 1, at + len, at + len + 1, at + len + 5]);
        at += len;
    }
    stops.retain(|stop| *stop <= at);
    stops.sort_unstable();
    stops.dedup();
    stops
}

#[test]
fn a_peer_that_dies_behind_a_switch() {
    for kind in [Kind::Stream, Kind::Slip, Kind::Frames] {
        for heap in HEAPS {
            let frames: Vec<_> = heap.iter().enumerate().map(|(number, len)| frame(kind, number, *len)).collect();
            let line: Vec<_> = frames.iter().filter_map(|frame| on_the_line(kind, frame)).collect();
            for stop in stops(&line.iter().map(Vec::len).collect::<Vec<_>>()) {
                // it takes so much, then nothing for a while, then some more, and dies
                for more in [0, 1, 40_000] {
                    let mut bench = Bench::new(kind, [Answer::Take(stop)]);
                    bench.send(&frames);
                    bench.script.0.borrow_mut().answers.extend([Answer::Take(more), Answer::Dies]);
                    while bench.flush() == Flush::Blocked && !bench.script.0.borrow().answers.is_empty() {}
                    bench.send(&frames);
                    let whole = line.concat().repeat(2);
                    assert!(whole.starts_with(&bench.script.0.borrow().taken), "{kind:?} {heap:?} {stop} {more}");
                    if bench.edges.seats[1].has_failed() {
                        assert_eq!(bench.edges.failed, [SLOW], "said once");
                    }
                    bench.switch.set_up(bench.now, SLOW, false);
                    assert_exact(&bench.switch);
                    assert_eq!(bench.switch.state(SLOW).map(|state| state.queued), Some(0));
                }
            }
        }
    }
}

/// Where no memory is left for queues, a frame that is half sent waits all the same, and what follows it is never
/// another's; and a port for which nothing could wait is not mute for ever.
#[test]
fn a_cut_frame_is_kept_where_nothing_else_may_wait() {
    for kind in [Kind::Stream, Kind::Slip, Kind::Frames] {
        let frames: Vec<_> = (0..3).map(|number| frame(kind, number, 60 + 10 * number)).collect();
        let line: Vec<_> = frames.iter().filter_map(|frame| on_the_line(kind, frame)).collect();
        let first = line[0].len();
        for stop in 0..=first + line[1].len() {
            let mut bench = Bench::new(kind, [Answer::Take(stop)]);
            // nothing fits a queue, whatever is in the others
            bench.switch = Switch::new(&SwitchConfig::with(|switch| switch.queue_limit = 1));
            for port in [SENDER, SLOW] {
                assert_eq!(bench.switch.add_port(PortConfig::default()), Some(port));
            }
            let batch = batch_of(&frames, SENDER);
            bench.switch.run(bench.now, &batch, &mut bench.edges);
            assert_exact(&bench.switch);
            bench.script.0.borrow_mut().then = Answer::Take(usize::MAX);
            // the engine flushes only what waits
            if bench.switch.state(SLOW).is_some_and(|state| state.queued > 0) {
                assert_eq!(bench.flush(), Flush::Empty);
            }
            bench.send(&frames[2..]);
            let mut rest = &bench.script.0.borrow().taken[..];
            let mut arrived = 0;
            while let Some(number) = line.iter().position(|frame| rest.starts_with(frame)) {
                rest = &rest[line[number].len()..];
                arrived += 1;
            }
            assert!(rest.is_empty(), "{kind:?}, cut at {stop}: another frame's bytes follow");
            let counters = bench.switch.counters(SLOW).expect("a port");
            assert_eq!((counters.tx_frames, arrived > 0), (arrived, true), "{kind:?}, cut at {stop}");
        }
    }
}

#[test]
fn an_edge_that_breaks_while_it_is_read_is_not_written_to() {
    for kind in KINDS {
        let script = Script::new([], Answer::Take(usize::MAX));
        script.0.borrow_mut().incoming.push_back(Vec::new());
        let mut seat = Seat::new(Scripted::new(kind, script.clone()));
        let (mut room, mut counters) = (zbridge::frame::Batch::new(1 << 20), Counters::default());
        let budget = zbridge::internals::port::Budget { bytes: 4096, frames: 8 };
        assert_eq!(seat.receive(&mut room, SLOW, budget, &mut counters), None);
        let batch = batch_of(&[frame(kind, 0, 60), frame(kind, 1, 60)], SENDER);
        // the script panics if it is called once more
        assert_eq!(seat.offer(Outgoing::rest_of(&batch, 0), &mut counters), 2);
        assert_eq!((counters.tx_frames, counters.dropped_at(Stage::Egress)), (0, 2), "{kind:?}");
        assert!(seat.has_failed() && script.0.borrow().taken.is_empty());
    }
}
