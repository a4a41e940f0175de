//! The switch against a naive reference: under 10,000 seeds of random operations every frame that leaves a port, every
//! counter, the table, what is queued, held, paused and stalled, and what people are told must be the same. Cables are pulled
//! among it, ports cut from each other, mirrored, and impaired; what chance decides is looked at in `fates.rs`.
//!
//! `ZBRIDGE_SEEDS=n` runs another number of seeds, `ZBRIDGE_SEED=n` one seed alone. A failure prints its seed and the
//! fewest operations that still fail.

mod bad;
mod fates;
mod harm;
mod ops;
mod reference;
mod table;

use ops::{Bad, FrameSpec, Op, Scenario};
use reference::{Arrival, Counts, Packet, Reference, Said};
use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use zbridge::counters::{Counters, DropReason, Stage};
use zbridge::frame::{Batch, MAX_FRAME, Outgoing, PREFIX, PortId};
use zbridge::switch::{
    Chance, Cut, Event, Flush, Impairment, Loss, Mirror, Share, Switch, SwitchConfig, Taken, Transmit, Way,
};
use zbridge::time::Instant;
use zbridge::wire::{Gso, Mac, Offload};

/// A refused station is learned after so many tries at the latest, if there is room: by then the hand that clears the
/// past away has gone round the smallest table twice.
const TRIES: usize = 65;
const PORTS: usize = 256;

/// Descriptors that take as much as they are told to.
struct Edges {
    room: Vec<usize>,
    broken: Vec<bool>,
    left: Vec<Vec<Packet>>,
}

impl Transmit for Edges {
    fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        assert!(!out.is_empty(), "{port:?} was offered nothing");
        if port.0 == 0 {
            let prefixed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
            let stream: Vec<u8> = out.frames().flat_map(|(_, bytes)| prefixed(bytes)).collect();
            assert!(out.runs().collect::<Vec<_>>().concat() == stream, "runs differ from frames");
        }
        let frames = out.len().min(self.room[port.index()]);
        self.room[port.index()] -= frames;
        for (frame, bytes) in out.frames().take(frames) {
            if self.broken[port.index()] {
                counters.drop(DropReason::NoPeer, 1);
            } else {
                counters.sent(1, bytes.len() as u64);
                self.left[port.index()].push(Packet { bytes: bytes.into(), gso: frame.offload.gso != Gso::None });
            }
        }
        Taken { frames }
    }
}

/// The switch and the reference, going through the same.
struct Pair {
    now: Instant,
    switch: Switch,
    edges: Edges,
    reference: Reference,
    is_limited: bool,
    told_full: HashSet<Option<u16>>,
}

type Outcome = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, switch: T, reference: T) -> Outcome {
    if switch == reference { Ok(()) } else { Err(format!("{what}: switch {switch:?}, reference {reference:?}")) }
}

fn impairment(bad: &Bad) -> Impairment {
    let mut settings = Impairment::default();
    settings.nth = NonZeroU64::new(bad.nth);
    if bad.all {
        settings.loss = Loss::Random(Chance::of(Share::ALL));
    }
    (settings.delay, settings.limit) = (bad.delay, bad.limit);
    settings
}

fn offload(spec: &FrameSpec) -> Offload {
    if spec.gso { Offload { gso: Gso::Tcp4 { ecn: false }, gso_size: 100, ..Offload::NONE } } else { Offload::NONE }
}

fn arrival(spec: &FrameSpec) -> Arrival {
    Arrival { ingress: spec.ingress, packet: Packet { bytes: spec.bytes().into(), gso: spec.gso } }
}

impl Pair {
    fn new(config: &SwitchConfig) -> Self {
        Self {
            now: Instant::from_secs(3),
            switch: Switch::new(config),
            edges: Edges { room: vec![0; PORTS], broken: vec![false; PORTS], left: vec![Vec::new(); PORTS] },
            reference: Reference::new(config),
            is_limited: config.fdb_limit < 1000,
            told_full: HashSet::new(),
        }
    }

    fn step(&mut self, op: &Op) -> Outcome {
        match op {
            Op::AddPort { config, room } => {
                let id = self.reference.add_port(config.clone(), *room);
                same("new port", self.switch.add_port(config.clone()), Some(PortId(id)))?;
                self.edges.room[usize::from(id)] = *room;
                self.edges.broken[usize::from(id)] = false;
            }
            &Op::RemovePort(id) => {
                let counted = self.switch.remove_port(self.now, PortId(id)).as_ref().map(counts);
                same("removed port", counted, self.reference.remove_port(id))?;
                self.told_full.remove(&Some(id));
            }
            &Op::SetUp(id, up) => {
                self.switch.set_up(self.now, PortId(id), up);
                self.reference.set_up(id, up);
            }
            &Op::Pull(id, pulled) => {
                self.switch.pull(self.now, PortId(id), pulled, false);
                self.reference.pull(id, pulled);
            }
            Op::Cuts(cuts) => {
                let group = |ports: &[u16]| ports.iter().copied().map(PortId).collect();
                let cut = |(from, to, one_way): &(Vec<u16>, Vec<u16>, bool)| Cut {
                    from: group(from),
                    to: group(to),
                    one_way: *one_way,
                };
                self.switch.set_cuts(cuts.iter().map(cut).collect());
                self.reference.cuts.clone_from(cuts);
            }
            Op::Mirrors(mirrors) => {
                let mirror = |&(monitor, source, [rx, tx]): &(u16, u16, [bool; 2])| Mirror {
                    monitor: PortId(monitor),
                    source: PortId(source),
                    rx,
                    tx,
                };
                self.switch.set_mirrors(mirrors.iter().map(mirror).collect());
                self.reference.set_mirrors(mirrors);
            }
            Op::Impair(id, out, bad) => {
                let way = if *out { Way::Out } else { Way::In };
                self.switch.impair(PortId(*id), way, "port", impairment(bad));
                self.reference.impair(*id, *out, bad);
            }
            &Op::Static(mac, id) => {
                let done = self.switch.add_static(self.now, Mac::from_u64(mac), PortId(id));
                same("static", done, self.reference.add_static(mac, id))?;
            }
            &Op::Forget(mac) => {
                let done = self.switch.forget(Mac::from_u64(mac));
                same("forget", done, self.reference.table.forget(mac).unwrap_or(done))?;
            }
            &Op::Wait(span) => self.now += span,
            Op::Batch(frames) => self.frames(frames)?,
            Op::Single(frame) => self.single(frame)?,
            &Op::Room(id, room) => {
                if let Some(port) = self.reference.ports.get_mut(&id) {
                    port.room = room;
                    self.edges.room[usize::from(id)] = room;
                }
            }
            &Op::Broken(id, broken) => {
                if let Some(port) = self.reference.ports.get_mut(&id) {
                    port.broken = broken;
                    self.edges.broken[usize::from(id)] = broken;
                }
            }
            &Op::Flush(id) => self.flush(id)?,
            Op::Timeout => {
                self.switch.handle_timeout(self.now);
                self.reference.timeout(self.now);
                self.reference.let_go(self.now)?;
            }
            Op::Resumed => self.resumed()?,
            &Op::Poll(frames) => self.poll(frames)?,
            &Op::Insist(id, mac) => self.insist(id, mac)?,
        }
        self.reference.table.age(self.now);
        self.check()
    }

    fn resumed(&mut self) -> Outcome {
        let switch: BTreeSet<_> = std::iter::from_fn(|| self.switch.poll_resumed()).map(|id| id.0).collect();
        same("resumed", switch, self.reference.resumed.drain(..).collect())
    }

    fn flush(&mut self, id: u16) -> Outcome {
        let last = loop {
            match self.switch.flush(self.now, PortId(id), &mut self.edges) {
                Flush::More => {}
                last => break last,
            }
        };
        same("flush", last == Flush::Empty, self.reference.flush(self.now, id))
    }

    fn poll(&mut self, frames: usize) -> Outcome {
        let mut out = Vec::new();
        for _ in 0..frames {
            let port = self.switch.poll_transmit(&mut out);
            let expected = self.reference.poll();
            same("poll_transmit", port.map(|port| port.0), expected.as_ref().map(|(port, _)| *port))?;
            let Some((_, packet)) = expected else { break };
            same("polled frame", &out[..], &packet.bytes)?;
        }
        Ok(())
    }

    /// Several frames in one batch; one by one where the reference has to ask what came of each.
    fn frames(&mut self, specs: &[FrameSpec]) -> Outcome {
        let at_once = if self.is_limited && !self.reference.table.is_exact() { 1 } else { specs.len().max(1) };
        for specs in specs.chunks(at_once) {
            let mut batch = Batch::new(specs.iter().map(|spec| spec.len + PREFIX).sum());
            for spec in specs {
                if !batch.push(&spec.bytes(), PortId(spec.ingress), offload(spec)) {
                    return Err("the batch is too small".into());
                }
                let from = batch.len() - 1;
                self.switch.arrive(self.now, PortId(spec.ingress), &mut batch, from);
            }
            self.switch.run(self.now, &batch, &mut self.edges);
            self.follow(specs, true)?;
        }
        Ok(())
    }

    fn single(&mut self, spec: &FrameSpec) -> Outcome {
        let spec = &FrameSpec { gso: false, ..spec.clone() };
        if spec.serial.is_multiple_of(64) {
            let giant = vec![0; MAX_FRAME + 1];
            self.switch.handle_frame(self.now, PortId(spec.ingress), &giant);
            self.reference.refuse_giant(spec.ingress, giant.len());
        }
        self.switch.handle_frame(self.now, PortId(spec.ingress), &spec.bytes());
        self.follow(std::slice::from_ref(spec), false)
    }

    /// Lets the reference do what the switch did.
    fn follow(&mut self, specs: &[FrameSpec], takes: bool) -> Outcome {
        let arrivals: Vec<_> = specs.iter().map(arrival).collect();
        let arrivals = self.reference.arrive(self.now, arrivals);
        let (switch, now) = (&self.switch, self.now);
        let oracle = |mac| switch.fdb(now).find(|entry| entry.mac.as_u64() == mac).map(|entry| entry.port.0);
        let asks = self.is_limited && !self.reference.table.is_exact();
        self.reference.switch(now, &arrivals, takes, asks.then_some(&oracle))
    }

    fn insist(&mut self, id: u16, mac: u64) -> Outcome {
        if !self.reference.learns(id) || !self.reference.table.has_room_for(mac, id) {
            return Ok(());
        }
        let dst = Mac::BROADCAST.as_u64();
        let spec = FrameSpec { ingress: id, dst, src: mac, len: 14, tpids: Vec::new(), gso: false, serial: 0 };
        for _ in 0..TRIES {
            self.frames(std::slice::from_ref(&spec))?;
            if self.reference.table.port_of(mac) == Some(id) {
                return Ok(());
            }
        }
        // A static entry elsewhere stays where it is, and that is right.
        if self.reference.table.has_room_for(mac, id) {
            Err(format!("{mac:012x} is never learned on {id}"))
        } else {
            Ok(())
        }
    }

    fn check(&mut self) -> Outcome {
        self.check_events()?;
        same("deadline", self.switch.poll_timeout(), self.reference.deadline())?;
        let ids: Vec<u16> = self.switch.ports().map(|id| id.0).collect();
        same("ports", ids, self.reference.ports.keys().copied().collect())?;
        let (mut copies, mut accounted) = (0, 0);
        for (&id, port) in &mut self.reference.ports {
            let name = |what: &str| format!("{what} of port {id}");
            let (Some(state), Some(counters)) = (self.switch.state(PortId(id)), self.switch.counters(PortId(id)))
            else {
                return Err(name("state"));
            };
            let left = std::mem::take(&mut self.edges.left[usize::from(id)]);
            same(&name("frames out"), &left, &port.left)?;
            port.left.clear();
            same(&name("counters"), &counts(counters), &port.counts)?;
            same(&name("up, stalled"), (state.up, state.stalled), (port.up, port.stalled))?;
            same(&name("queued"), state.queued, port.queue.len())?;
            let held = port.held();
            same(&name("set down"), state.pulled, port.pulled)?;
            same(&name("held"), self.switch.held(PortId(id)), held)?;
            same(&name("paused"), state.paused, port.waits_for.is_some())?;
            let ended = counters.dropped_at(Stage::Ingress);
            same(&name("frames in"), counters.rx_frames, counters.forwarded + ended)?;
            copies += counters.copies;
            // Copies made = sent + queued + held + dropped, at every step.
            accounted += counters.tx_frames + (state.queued + held[1]) as u64 + counters.dropped_at(Stage::Egress);
        }
        same("copies", copies, accounted)
    }

    fn check_fdb(&self) -> Outcome {
        let entries = self.switch.fdb(self.now);
        let mut table: Vec<_> = entries.map(|entry| (entry.mac.as_u64(), entry.port.0, entry.age)).collect();
        table.sort_unstable();
        same("fdb", table, self.reference.table.entries(self.now))
    }

    fn check_events(&mut self) -> Outcome {
        let mut said = Vec::new();
        while let Some(event) = self.switch.poll_event() {
            let full = match event {
                Event::Flapping(flap) => {
                    said.push(Said::Flapping { mac: flap.mac.as_u64(), from: flap.from.0, to: flap.to.0 });
                    continue;
                }
                Event::Loop(flap) => {
                    said.push(Said::Loop(flap.from.0, flap.to.0));
                    continue;
                }
                Event::Stalled(id) => {
                    said.push(Said::Stalled(id.0));
                    continue;
                }
                Event::Drained(id) => {
                    said.push(Said::Drained(id.0));
                    continue;
                }
                Event::PortTableFull(id) => Some(id.0),
                Event::TableFull => None,
                Event::Claimed(claim, _) => return Err(format!("no port is guarded: {claim:?}")),
                Event::Shared(shared) => return Err(format!("no frame tells of an address: {shared:?}")),
                other => return Err(format!("the reference does not know {other:?}")),
            };
            if !self.told_full.insert(full) {
                return Err(format!("{event:?} was said twice"));
            }
        }
        for port in self.reference.refused.drain(..) {
            if !self.told_full.contains(&Some(port)) && !self.told_full.contains(&None) {
                return Err(format!("nobody was told that port {port} could not learn"));
            }
        }
        said.sort_unstable();
        let mut expected = std::mem::take(&mut self.reference.said);
        expected.sort_unstable();
        same("events", said, expected)
    }
}

fn counts(counters: &Counters) -> Counts {
    Counts {
        rx_frames: counters.rx_frames,
        rx_bytes: counters.rx_bytes,
        tx_frames: counters.tx_frames,
        tx_bytes: counters.tx_bytes,
        copies: counters.copies,
        forwarded: counters.forwarded,
        drops: counters.drops().map(|(row, frames)| (row.word, frames)).collect(),
    }
}

fn go_through(config: &SwitchConfig, ops: &[Op]) -> Outcome {
    let mut pair = Pair::new(config);
    let life = AssertUnwindSafe(|| {
        for (step, op) in ops.iter().enumerate() {
            pair.step(op).map_err(|difference| format!("{op:?}\n  {difference}"))?;
            if step % 8 == 7 || step + 1 == ops.len() {
                pair.check_fdb().map_err(|difference| format!("{op:?}\n  {difference}"))?;
            }
        }
        pair.resumed()
    });
    catch_unwind(life).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()))
    })
}

/// Leaves out operations, and then frames, for as long as it still fails.
fn shrink(config: &SwitchConfig, mut ops: Vec<Op>) -> Vec<Op> {
    let fails = |ops: &[Op]| go_through(config, ops).is_err();
    let mut size = ops.len();
    while size > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(at..(at + size).min(ops.len()));
            if fails(&fewer) { ops = fewer } else { at += size }
        }
        size /= 2;
    }
    for at in 0..ops.len() {
        let mut index = 0;
        while let Op::Batch(frames) = &ops[at]
            && index < frames.len()
        {
            let mut frames = frames.clone();
            frames.remove(index);
            let mut fewer = ops.clone();
            fewer[at] = Op::Batch(frames);
            if fails(&fewer) { ops = fewer } else { index += 1 }
        }
    }
    ops
}

fn explain(seed: u64, scenario: Scenario) -> String {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ops = shrink(&scenario.config, scenario.ops);
    let difference = go_through(&scenario.config, &ops).err().unwrap_or_default();
    std::panic::set_hook(hook);
    let log: String = ops.iter().map(|op| format!("  {op:?}\n")).collect();
    format!("ZBRIDGE_SEED={seed} fails after these operations\n  {:?}\n{log}{difference}", scenario.config)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_switch_does_what_the_reference_does() {
    let seeds = match number("ZBRIDGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ZBRIDGE_SEEDS").unwrap_or(10_000),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let first_failure = &|thread: usize| {
        seeds.clone().skip(thread).step_by(threads).find(|&seed| {
            let Scenario { config, ops } = Scenario::new(seed);
            go_through(&config, &ops).is_err()
        })
    };
    let failure = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || first_failure(thread))).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).min()
    });
    if let Some(seed) = failure {
        panic!("{}", explain(seed, Scenario::new(seed)));
    }
}
