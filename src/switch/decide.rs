//! The decision: guard, classify, learn, look up; frame by frame into the plan.
//!
//! Theory of operation. Lookups are made ahead for a block of frames: all keys are hashed and their cache lines
//! prefetched before the first is used, because cache misses dominate on a large table. Then a decision is reused for
//! the next frame. A frame with the same addresses from the same port is decided as the one before and only counted (a
//! *run*), unless it may tell who has an address (`hosts.rs`). A frame with the same source alone need not be learned
//! again.

use super::fdb::{Key, Learned, tick};
use super::flap::Found;
use super::trace::{Step, Witness};
use super::{Event, Flap, Switch, fits};
use crate::counters::DropReason;
use crate::frame::{Batch, Frame, PortId};
use crate::limits::{MAX_FRAME, MIN_FRAME};
use crate::time::Instant;
use crate::wire::neighbour::{is_silent, may_say};
use crate::wire::stations;
use std::hint::black_box;

/// Frames whose table entries are requested before the first of them is decided.
const LOOK_AHEAD: usize = 32;

/// A frame's two keys and their hashes, looked up ahead.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    dst: Key,
    src: Key,
    dst_hash: u64,
    src_hash: u64,
    /// Addresses and type are those of the frame before, which has the keys and hashes.
    follows: bool,
    /// The source is that of the frame before, most often just learned.
    speaks_on: bool,
}

pub(super) const NOTHING_AHEAD: Ahead =
    Ahead { dst: Key::EMPTY, src: Key::EMPTY, dst_hash: 0, src_hash: 0, follows: false, speaks_on: false };

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Unicast(PortId),
    Flood,
    Drop(DropReason),
}

/// Consecutive frames with one decision: that of the first applies to all.
struct Run {
    ingress: PortId,
    verdict: Verdict,
    /// The number of the first in its batch.
    first: u32,
    frames: u32,
    bytes: u64,
    /// The length up to which the next frame repeats them, once computed.
    longest: Option<Longest>,
}

/// The length up to which a frame repeats the decision of its run.
#[derive(Clone, Copy, Default)]
struct Longest {
    /// Whatever is in it.
    any: usize,
    /// If it tells nothing about addresses.
    quiet: usize,
}

const NO_RUN: Run = Run { ingress: PortId(0), verdict: Verdict::Flood, first: 0, frames: 0, bytes: 0, longest: None };

/// Not inlined into the loop over a run: most frames are IPv4.
#[inline(never)]
fn says_nothing(bytes: &[u8]) -> bool {
    !may_say(bytes)
}

/// Addresses and type of a frame, as two overlapping words, for a cheap comparison.
#[inline]
fn head(frame: &[u8]) -> Option<(u64, u64)> {
    let head: &[u8; MIN_FRAME] = frame.first_chunk()?;
    Some((u64::from_ne_bytes(*head.first_chunk()?), u64::from_ne_bytes(*head.last_chunk()?)))
}

impl Switch {
    /// Decides every frame of `batch`, a block at a time: first all keys are hashed and their cache lines prefetched,
    /// then each frame is learned and looked up.
    pub(super) fn decide_batch(&mut self, now: Instant, batch: &Batch) {
        let tick = tick(now);
        self.fdb.handle_batch(tick);
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.resize(LOOK_AHEAD, NOTHING_AHEAD);
        let mut run = NO_RUN;
        let mut heard = None;
        for block in batch.frames().chunks(LOOK_AHEAD) {
            self.look_ahead(batch, block, &mut ahead);
            let mut known = &NOTHING_AHEAD;
            for (frame, ahead) in block.iter().zip(&ahead) {
                if ahead.follows && run.ingress == frame.ingress && self.repeats(&mut run, batch, frame) {
                    run.frames += 1;
                    run.bytes += frame.len() as u64;
                    continue;
                }
                known = if ahead.follows { known } else { ahead };
                self.note(batch, &run);
                heard = heard.filter(|_| ahead.follows || ahead.speaks_on);
                let verdict = self.decide(now, tick, frame, batch.bytes(frame), known, &mut heard, &mut ());
                let first = run.first + run.frames;
                run =
                    Run { ingress: frame.ingress, verdict, first, frames: 1, bytes: frame.len() as u64, longest: None };
            }
        }
        self.note(batch, &run);
        self.ahead = ahead;
    }

    /// Fills `ahead` for each frame of a block. Not inlined, so that the loop that decides has the registers.
    #[inline(never)]
    fn look_ahead(&self, batch: &Batch, block: &[Frame], ahead: &mut [Ahead]) {
        let mut last = None;
        let mut before = NOTHING_AHEAD;
        for (frame, ahead) in block.iter().zip(ahead) {
            let bytes = batch.bytes(frame);
            let head = head(bytes);
            ahead.follows = head.is_some() && head == last;
            last = head;
            if !ahead.follows {
                before = stations(bytes).map_or(NOTHING_AHEAD, |(dst, src)| self.ask_for(dst, src, &before));
                *ahead = before;
            }
        }
    }

    /// Hashes two addresses and prefetches their cache lines.
    #[inline]
    pub(super) fn ask_for(&self, dst: u64, src: u64, before: &Ahead) -> Ahead {
        let (dst, src) = (Key::new(dst, 0), Key::new(src, 0));
        let dst_hash = self.fdb.hash(dst);
        let speaks_on = src == before.src;
        let src_hash = if speaks_on { before.src_hash } else { self.fdb.hash(src) };
        black_box(self.fdb.touch(dst_hash) ^ if speaks_on { 0 } else { self.fdb.touch(src_hash) });
        Ahead { dst, src, dst_hash, src_hash, follows: false, speaks_on }
    }

    /// Guard, classify, learn, look up. `heard`: the port on which the source was learned with the frame before, if the
    /// source is the same; set to this frame's. A dry run (`trace.rs`) leaves everything as it is, and tells `witness`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn decide<W: Witness>(
        &mut self,
        now: Instant,
        tick: u32,
        frame: &Frame,
        bytes: &[u8],
        ahead: &Ahead,
        heard: &mut Option<PortId>,
        witness: &mut W,
    ) -> Verdict {
        let is_heard = heard.take() == Some(frame.ingress);
        let Some(port) = self.port(frame.ingress) else { return Verdict::Drop(DropReason::Malformed) };
        let (learn, isolate, mtu) = (port.config.learn, port.config.isolate, port.config.mtu);
        if !port.up {
            return Verdict::Drop(port.down_reasons()[0]);
        }
        if bytes.len() < MIN_FRAME {
            return Verdict::Drop(DropReason::Malformed);
        }
        if mtu.is_some_and(|mtu| !fits(frame, bytes, mtu)) {
            return Verdict::Drop(DropReason::Oversize);
        }
        let (dst, src) = (ahead.dst, ahead.src);
        if dst.is_reserved_group() {
            return Verdict::Drop(DropReason::ReservedGroup);
        }
        if self.guard.is_on() && !self.passes_guard(now, frame.ingress, bytes, witness) {
            return Verdict::Drop(DropReason::Guarded);
        }
        if learn && !src.is_group() && !src.is_nobodys() {
            if W::DRY {
                let learned = self.fdb.would_learn(src, ahead.src_hash, frame.ingress, tick);
                witness.see(|| Step::Learned(src.mac(), learned.into()));
            } else {
                let is_learned = is_heard || self.learn(now, tick, frame.ingress, ahead);
                *heard = is_learned.then_some(frame.ingress);
            }
        } else {
            witness.see(|| Step::NotLearned(src.mac(), learn));
        }
        if may_say(bytes) {
            if W::DRY {
                self.foresee_hearing(bytes, witness);
            } else {
                self.hear(now, frame.ingress, bytes);
            }
        }
        let known = match witness.learned(dst.mac()) {
            // In a dry run the table does not know yet what the frame would have told it.
            Some(learned) => learned.then_some(frame.ingress),
            None => (!dst.is_group()).then(|| self.fdb.lookup(dst, ahead.dst_hash, tick)).flatten(),
        };
        match known {
            Some(egress) if egress == frame.ingress => Verdict::Drop(DropReason::SameSegment),
            Some(egress) if isolate && self.port(egress).is_some_and(|port| port.config.isolate) => {
                Verdict::Drop(DropReason::Isolated)
            }
            Some(egress) => Verdict::Unicast(egress),
            None => {
                if !dst.is_group() && !W::DRY {
                    self.miss(now, tick, frame, bytes, ahead);
                }
                if self.has_others(isolate) { Verdict::Flood } else { Verdict::Drop(DropReason::NoEgress) }
            }
        }
    }

    /// The guard's check of a frame, whose claims it notes unless the run is dry. Not inlined: most switches have no guard.
    #[inline(never)]
    fn passes_guard<W: Witness>(&mut self, now: Instant, ingress: PortId, bytes: &[u8], witness: &mut W) -> bool {
        let passed = if W::DRY { self.guard.judge(ingress, bytes).map(drop) } else { self.guard.check(ingress, bytes) };
        match passed {
            Ok(()) => return true,
            Err(claim) if W::DRY => witness.see(|| claim.into()),
            Err(claim) => self.note_claim(now, claim),
        }
        false
    }

    /// The destination is unknown. If the station has left, its successor is asked for, even if no other port is up: it
    /// may come in a moment.
    #[cold]
    fn miss(&mut self, now: Instant, tick: u32, frame: &Frame, bytes: &[u8], ahead: &Ahead) {
        if self.fdb.has_left(ahead.dst, ahead.dst_hash, tick) {
            self.seek(now, frame, bytes, (ahead.dst.mac(), ahead.src.mac()));
        }
    }

    /// Whether a flood from a port that is up, and that is isolated or not, reaches anybody.
    fn has_others(&self, isolate: bool) -> bool {
        if isolate { self.up_open > 0 } else { self.up > 1 }
    }

    /// False when there was no room for it.
    #[inline(always)]
    fn learn(&mut self, now: Instant, tick: u32, port: PortId, ahead: &Ahead) -> bool {
        match self.fdb.learn(ahead.src, ahead.src_hash, port, tick) {
            Learned::Known | Learned::New => true,
            learned => self.tell_learned(now, port, ahead.src, learned),
        }
    }

    /// Tells of a station that moved, or for which there was no room. The same answer.
    #[cold]
    #[inline(never)]
    fn tell_learned(&mut self, now: Instant, port: PortId, src: Key, learned: Learned) -> bool {
        match learned {
            Learned::Known | Learned::New => {}
            Learned::Moved { from } => {
                let flap = Flap { mac: src.mac(), from, to: port };
                if let Some(found) = self.watch.moved(now, flap) {
                    self.tell(match found {
                        Found::One(flap) => Event::Flapping(flap),
                        Found::Many(flap) => Event::Loop(flap),
                    });
                }
            }
            Learned::PortFull => {
                let told = self.port_mut(port).is_none_or(|port| std::mem::replace(&mut port.told_full, true));
                if !told {
                    self.tell(Event::PortTableFull(port));
                }
            }
            Learned::TableFull => {
                if !std::mem::replace(&mut self.told_full, true) {
                    self.tell(Event::TableFull);
                }
            }
        }
        !matches!(learned, Learned::PortFull | Learned::TableFull)
    }

    /// Whether a frame with the same addresses and port repeats the verdict of `run`: that was no drop, the frame fits
    /// its port's mtu, with tags or without, no guard is on, and it tells nothing about addresses. Frames of a run have
    /// one type, which most often decides the last.
    fn repeats(&self, run: &mut Run, batch: &Batch, frame: &Frame) -> bool {
        let longest = match run.longest {
            Some(longest) => longest,
            None => self.longest(run, batch.bytes(frame)),
        };
        run.longest = Some(longest);
        frame.len() <= longest.any || (frame.len() <= longest.quiet && says_nothing(batch.bytes(frame)))
    }

    /// The length up to which frames with the addresses and type of `bytes` repeat `run`.
    #[inline(never)]
    fn longest(&self, run: &Run, bytes: &[u8]) -> Longest {
        if matches!(run.verdict, Verdict::Drop(_)) || self.guard.is_on() {
            return Longest::default();
        }
        let mtu = self.port(run.ingress).and_then(|port| port.config.mtu);
        let quiet = mtu.map_or(MAX_FRAME, |mtu| mtu as usize + MIN_FRAME);
        Longest { any: if is_silent(bytes) { quiet } else { 0 }, quiet }
    }

    /// Counts frames that were decided and puts them into the plan. Always inlined, as a run may have one frame.
    #[inline(always)]
    fn note(&mut self, batch: &Batch, run: &Run) {
        let Some(port) = self.ports.get_mut(run.ingress.index()).and_then(Option::as_mut) else { return };
        let frames = u64::from(run.frames);
        if frames == 0 {
            return;
        }
        port.counters.received(frames, run.bytes);
        match run.verdict {
            Verdict::Drop(reason) => {
                port.counters.count(reason, frames);
                self.note_refused(batch, run, reason);
            }
            Verdict::Unicast(egress) => {
                port.counters.forwarded += frames;
                self.plan.send(run.first..run.first + run.frames, egress);
            }
            Verdict::Flood => {
                port.counters.forwarded += frames;
                self.plan.flood(run.first..run.first + run.frames);
            }
        }
    }

    /// Notes a run of frames that ended on arrival.
    #[inline(never)]
    fn note_refused(&mut self, batch: &Batch, run: &Run, reason: DropReason) {
        let first = batch.frames().get(run.first as usize).map(|frame| batch.bytes(frame));
        let now = self.now;
        self.counters_mut(run.ingress).into_iter().for_each(|counters| counters.lose(now, reason, first));
        if let Some(tape) = &mut self.tape {
            tape.refuse(run.first..run.first + run.frames, reason);
        }
    }
}
