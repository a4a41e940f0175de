//! Edges on descriptors that fail, alone and behind the switch, under any order of calls: nothing is called after its
//! error, every call makes progress, and every frame and copy stays accounted for.

use super::Input;
use super::script::{Answer, Edges, KINDS, Kind, Script, Scripted, assert_exact, batch_of, on_the_line};
use zbridge::counters::{Counters, Stage};
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::internals::limits::{BATCH_BYTES, INHALE_BYTES, MAX_FRAME};
use zbridge::internals::port::{Budget, Seat};
use zbridge::switch::{Flush, PortConfig, Switch, SwitchConfig};
use zbridge::time::{Duration, Instant};

/// More than this many operations find nothing that fewer do not.
const OPERATIONS: usize = 200;
const PORTS: usize = 5;
/// Lengths that frames are stretched to.
const LENGTHS: [usize; 8] = [14, 15, 60, 127, 1514, 9014, 60_000, MAX_FRAME];
const BUDGET: Budget = Budget { bytes: INHALE_BYTES, frames: 64 };

/// One byte for the kind, then segments of a queue by turns with answers of the descriptor.
pub fn failing_edges(data: &[u8]) {
    let mut input = Input(data);
    let kind = KINDS[usize::from(input.byte()) % KINDS.len()];
    let script = Script::new([], Answer::Full);
    let mut seat = Seat::new(Scripted::new(kind, script.clone()));
    let (mut counters, mut line) = (Counters::default(), Vec::new());
    let (mut offered, mut taken) = (0, 0);
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        let frames: Vec<_> = (0..=input.byte() % 8).map(|_| frame(&mut input)).collect();
        line.extend(frames.iter().filter_map(|frame| on_the_line(kind, frame)).flatten());
        offered += frames.len();
        let batch = batch_of(&frames, PortId(0));
        let mut done = 0;
        // what an edge was left with is offered first, until it has taken all, or nobody says any more
        while done < batch.len() {
            let before = script.0.borrow().calls;
            done += seat.offer(Outgoing::rest_of(&batch, done), &mut counters);
            let calls = script.0.borrow().calls - before;
            assert!(calls <= 3 * (batch.len() + 8), "{calls} calls for {} frames", batch.len());
            if done < batch.len() {
                answer(&mut input, &script);
                if input.is_empty() {
                    break;
                }
            }
        }
        taken += done;
        let ended = counters.tx_frames + counters.dropped_at(Stage::Egress);
        assert_eq!(ended, taken as u64);
        if done < batch.len() {
            break;
        }
    }
    assert!(taken <= offered);
    // one that keeps frames apart loses some for want of memory, and the adapter tells of more than the descriptor shows
    if !matches!(kind, Kind::Frames | Kind::SlipIp) {
        assert!(line.starts_with(&script.0.borrow().taken), "what leaves is whole and in order");
    }
}

/// What comes next from a descriptor.
fn answer(input: &mut Input<'_>, script: &Script) {
    let bits = input.byte();
    let answer = match bits % 16 {
        0 => Answer::Full,
        1 => Answer::Interrupted,
        2 => Answer::Starved,
        3 => Answer::Dies,
        4..=8 => Answer::Take(usize::from(input.byte())),
        9..=12 => Answer::Take(usize::from(input.word())),
        _ => Answer::Take(1 << 20),
    };
    script.0.borrow_mut().answers.push_back(answer);
}

/// A frame between two stations of few, filled with one byte, in one of some lengths.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let (bits, fill) = (input.byte(), input.byte());
    let station = |bits: u8| if bits & 7 == 7 { [0xff; 6] } else { [2, 0, 0, 0, 0, bits & 7] };
    let len = LENGTHS[usize::from(bits >> 6 | (fill & 1) << 2)];
    let mut frame = [station(bits), station((bits >> 3) % 7)].concat();
    frame.resize(len, fill);
    frame
}

/// Operations on a switch: one byte that says which, and what it wants.
pub fn failing_switch(data: &[u8]) {
    let mut input = Input(data);
    let script = || Script::new([], Answer::Full);
    let scripts: Vec<Script> = (0..PORTS).map(|_| script()).collect();
    let seats = scripts.iter().zip(KINDS).map(|(script, kind)| Seat::new(Scripted::new(kind, script.clone())));
    let mut bench = Bench {
        switch: Switch::new(&SwitchConfig::default()),
        edges: Edges { seats: seats.collect(), failed: Vec::new() },
        batch: Batch::new(BATCH_BYTES),
        now: Instant::from_secs(1),
        scripts,
    };
    for _ in 0..PORTS {
        let config = PortConfig::with(|port| port.pausable = true);
        bench.switch.add_port(config).expect("there are few");
    }
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        bench.operate(&mut input);
        while bench.switch.poll_event().is_some() {}
        while bench.switch.poll_resumed().is_some() {}
        assert_exact(&bench.switch);
    }
    bench.switch.discard_queues();
    assert_exact(&bench.switch);
}

struct Bench {
    switch: Switch,
    edges: Edges,
    batch: Batch,
    now: Instant,
    scripts: Vec<Script>,
}

impl Bench {
    fn operate(&mut self, input: &mut Input<'_>) {
        let (operation, argument) = (input.byte(), input.byte());
        let port = usize::from(argument) % PORTS;
        let id = PortId(port as u16);
        match operation % 12 {
            0..=2 => self.send(id, input),
            3..=4 => answer(input, &self.scripts[port]),
            5..=6 => self.flush(id),
            7 => self.receive(id, input),
            8 => self.scripts[port].0.borrow_mut().incoming.push_back(Vec::new()),
            9 => self.now += Duration::from_millis(u64::from(argument)),
            10 => self.switch.handle_timeout(self.now),
            _ => self.lose(),
        }
    }

    /// Frames that came in by one port.
    fn send(&mut self, id: PortId, input: &mut Input<'_>) {
        self.batch.clear();
        for _ in 0..=input.byte() % 6 {
            self.batch.push(&frame(input), id, zbridge::wire::Offload::NONE);
        }
        self.switch.run(self.now, &self.batch, &mut self.edges);
    }

    /// What a descriptor brings, and then what that makes of the switch, in one breath.
    fn receive(&mut self, id: PortId, input: &mut Input<'_>) {
        let seat = &mut self.edges.seats[id.index()];
        if seat.edge().is_none() {
            return;
        }
        let piece = input.piece();
        if !piece.is_empty() {
            self.scripts[id.index()].0.borrow_mut().incoming.push_back(piece.to_vec());
        }
        self.batch.clear();
        let counters = self.switch.counters_mut(id).expect("a port");
        if seat.receive(&mut self.batch, id, BUDGET, counters).is_none() {
            self.edges.failed.push(id);
        }
        self.switch.run(self.now, &self.batch, &mut self.edges);
    }

    fn flush(&mut self, id: PortId) {
        // so often at most is a queue offered anew that the descriptor goes on taking from
        for _ in 0..1000 {
            let flush = self.switch.flush(self.now, id, &mut self.edges);
            assert_exact(&self.switch);
            if flush != Flush::More {
                return;
            }
        }
        panic!("no progress");
    }

    /// The end of a breath: ports whose edges have failed are down, and up again with new ones.
    fn lose(&mut self) {
        while let Some(id) = self.edges.failed.pop() {
            let seat = &mut self.edges.seats[id.index()];
            assert!(seat.has_failed(), "said once");
            self.switch.set_up(self.now, id, false);
            assert_eq!(self.switch.state(id).map(|state| state.queued), Some(0));
            let script = Script::new([], Answer::Full);
            *seat = Seat::new(Scripted::new(KINDS[id.index()], script.clone()));
            self.scripts[id.index()] = script;
            self.switch.set_up(self.now, id, true);
        }
    }
}
