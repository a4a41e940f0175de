//! A dry run: what the switch would do with a frame and why, without doing it.
//!
//! Theory of operation. The decision is that of `decide.rs` itself, run with a [`Witness`] that is told each step; where
//! the decision would change the switch (learning, the guard's claims), a dry run asks instead what that would come to.
//! The copies are followed as `egress.rs` sends them, by its own questions: which ports a flood reaches, how a port takes
//! the frame, whether it may wait. So both can only differ in what nobody knows before: what a descriptor takes, and
//! whether a full table has room after all. A property test compares them.

use super::decide::{NOTHING_AHEAD, Verdict};
use super::egress::Room;
use super::fdb::{Key, Learned, tick};
use super::finish::{ROOM, shape_into};
use super::guard::Refused;
use super::medium::Fate;
use super::queue::Waiting;
use super::{Claim, Switch};
use crate::counters::DropReason;
use crate::frame::{Batch, Frame, Outgoing, PortId};
use crate::limits::PREFIX;
use crate::time::{Duration, Instant};
use crate::wire::neighbour::said;
use crate::wire::{Mac, stations};
use std::net::IpAddr;

/// A step of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// The guard refuses it; `None`: it is fragmented neighbour discovery.
    Guarded(Option<Claim>),
    /// Its source is learned, or is known.
    Learned(Mac, Source),
    /// Its source is not learned: it is no station's, or (false) the port does not learn.
    NotLearned(Mac, bool),
    /// It says that a station has an address, which another one has told of before.
    Says(IpAddr, Mac, Option<Mac>),
    /// It is for a group.
    Group(Mac),
    /// Its destination is known on this port, and was heard so long ago; `None`: it is static.
    Known(Mac, PortId, Option<Duration>),
    /// Its destination is not known, or (true) has left a moment ago.
    Unknown(Mac, bool),
}

/// What becomes of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Source {
    /// It is known on this port.
    Known,
    /// It is new.
    New,
    /// It was known on another port.
    Moved(PortId),
    /// There may be no room for it: not in the port's share, or (false) in the table.
    NoRoom(bool),
}

/// The outcome of a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It ends here.
    Dropped(DropReason),
    /// It goes to one port.
    Unicast(PortId),
    /// It goes to every port that may take it.
    Flood,
    /// It is on the air.
    Radiated,
}

/// The fate of one piece of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Waits {
    /// It is handed to the descriptor at once.
    No,
    /// It waits behind so many.
    Behind(usize),
    /// It is dropped.
    Dropped(DropReason),
}

/// A copy for one port.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Forecast {
    /// The port.
    pub port: PortId,
    /// Its pieces in order: one, unless it is a super-frame that has to be cut.
    pub pieces: Vec<Waits>,
    /// Its sender would be paused until the port has drained.
    pub pauses: bool,
    /// The port gets it for a mirror alone.
    pub mirror: bool,
}

/// Why a port gets no copy of what is for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LeftOut {
    /// It is down.
    Down,
    /// Both are isolated.
    Isolated,
    /// On the air: out of range.
    OutOfRange,
}

/// What a dry run has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Traced {
    /// The decision, step by step.
    pub steps: Vec<Step>,
    /// What it came to.
    pub outcome: Outcome,
    /// The copies.
    pub copies: Vec<Forecast>,
    /// The ports that get none of what is for all.
    pub left_out: Vec<(PortId, LeftOut)>,
}

/// Who is told the steps of a decision.
pub(super) trait Witness {
    /// The decision changes nothing.
    const DRY: bool;

    /// A step.
    fn see(&mut self, step: impl FnOnce() -> Step);

    /// In a dry run, what this very frame would have told of a station: whether it would be learned.
    fn learned(&self, _: Mac) -> Option<bool> {
        None
    }
}

/// Nobody: this is no dry run.
impl Witness for () {
    const DRY: bool = false;

    #[inline(always)]
    fn see(&mut self, _: impl FnOnce() -> Step) {}
}

#[derive(Default)]
struct Dry(Vec<Step>);

impl Witness for Dry {
    const DRY: bool = true;

    fn see(&mut self, step: impl FnOnce() -> Step) {
        self.0.push(step());
    }

    fn learned(&self, station: Mac) -> Option<bool> {
        self.0.iter().find_map(|step| match step {
            Step::Learned(mac, Source::New | Source::Moved(_)) if *mac == station => Some(true),
            Step::Learned(mac, Source::NoRoom(_)) if *mac == station => Some(false),
            _ => None,
        })
    }
}

impl From<Learned> for Source {
    fn from(learned: Learned) -> Self {
        match learned {
            Learned::Known => Self::Known,
            Learned::New => Self::New,
            Learned::Moved { from } => Self::Moved(from),
            Learned::PortFull => Self::NoRoom(true),
            Learned::TableFull => Self::NoRoom(false),
        }
    }
}

impl Switch {
    /// What would become of the first frame of `batch`. Nothing is sent, learned or counted.
    pub fn trace(&mut self, now: Instant, batch: &Batch) -> Option<Traced> {
        let frame = batch.frames().first()?;
        self.port(frame.ingress)?;
        Some(if self.is_radio() { self.trace_radio(now, batch, frame) } else { self.trace_ethernet(now, batch, frame) })
    }

    fn trace_ethernet(&mut self, now: Instant, batch: &Batch, frame: &Frame) -> Traced {
        let (bytes, tick) = (batch.bytes(frame), tick(now));
        self.guard.set_time(now);
        let ahead = stations(bytes).map_or(NOTHING_AHEAD, |(dst, src)| self.ask_for(dst, src, &NOTHING_AHEAD));
        let mut dry = Dry::default();
        let verdict = self.decide(now, tick, frame, bytes, &ahead, &mut None, &mut dry);
        let mut traced = Traced { steps: dry.0, outcome: Outcome::Flood, copies: Vec::new(), left_out: Vec::new() };
        if let Some((dst, _)) = stations(bytes)
            && traced.is_looked_up(verdict)
        {
            traced.steps.push(self.destination(Key::new(dst, 0), verdict, tick));
        }
        match verdict {
            Verdict::Drop(reason) => traced.outcome = Outcome::Dropped(reason),
            Verdict::Unicast(port) => {
                traced.outcome = Outcome::Unicast(port);
                traced.copies.extend(self.forecast(port, frame, bytes, true));
            }
            Verdict::Flood => {
                for port in (0..self.ports.len()).map(|index| PortId(index as u16)) {
                    match self.port(port) {
                        _ if port == frame.ingress => {}
                        None => {}
                        Some(it) if !it.up => traced.left_out.push((port, LeftOut::Down)),
                        Some(_) if !self.floods_to(port, batch, 0) => traced.left_out.push((port, LeftOut::Isolated)),
                        Some(_) => traced.copies.extend(self.forecast(port, frame, bytes, false)),
                    }
                }
            }
        }
        for port in self.monitors(batch, verdict) {
            traced.left_out.retain(|(other, _)| *other != port);
            if traced.copies.iter().all(|copy| copy.port != port) {
                let copy = self.forecast(port, frame, bytes, false);
                traced.copies.extend(copy.map(|copy| Forecast { mirror: true, ..copy }));
            }
        }
        traced
    }

    /// The monitors that get a copy of the first frame of `batch`.
    fn monitors(&mut self, batch: &Batch, verdict: Verdict) -> Vec<PortId> {
        if !self.has_mirrors() {
            return Vec::new();
        }
        match verdict {
            Verdict::Drop(_) => {}
            Verdict::Unicast(port) => self.plan.send(0..1, port),
            Verdict::Flood => self.plan.flood(0..1),
        }
        self.mirror(batch, true);
        // The plan is empty again, as after a batch.
        while let Some(port) = self.plan.touched.pop() {
            self.plan.unicast.get_mut(port.index()).into_iter().for_each(Vec::clear);
        }
        self.plan.flood.clear();
        let lists = self.mirrored.iter_mut().enumerate();
        lists.filter_map(|(index, list)| list.pop().map(|_| PortId(index as u16))).collect()
    }

    /// What is known of a destination.
    fn destination(&self, dst: Key, verdict: Verdict, tick: u32) -> Step {
        let hash = self.fdb.hash(dst);
        match self.fdb.find(dst, hash, tick) {
            _ if dst.is_group() => Step::Group(dst.mac()),
            Some(entry) if verdict != Verdict::Flood => Step::Known(dst.mac(), entry.port, entry.age),
            _ => Step::Unknown(dst.mac(), self.fdb.has_left(dst, hash, tick)),
        }
    }

    /// What a frame would tell of addresses.
    pub(super) fn foresee_hearing<W: Witness>(&self, bytes: &[u8], witness: &mut W) {
        if let Some(said) = said(bytes) {
            let before = self.hosts.known.get(&(said.tags.vlan(), said.addr)).map(|host| host.mac);
            witness.see(|| Step::Says(said.addr, said.mac, before.filter(|before| *before != said.mac)));
        }
    }

    /// A copy on its way out; `unicast`: it is for this port alone.
    fn forecast(&self, id: PortId, frame: &Frame, bytes: &[u8], unicast: bool) -> Option<Forecast> {
        let port = self.port(id)?;
        let shape = (port.config.mtu, port.config.offload);
        let whole = port.config.offload || frame.offload.is_plain();
        let mut plain = Batch::new(if whole { PREFIX + bytes.len() } else { ROOM });
        let source = self.port(frame.ingress)?;
        // It is paused before its frames are queued.
        let pauses = unicast && source.config.pausable && source.paused_for.is_none() && self.is_pausing(id);
        let pieces = match shape_into(frame, bytes, shape, &mut plain) {
            Err(reason) => vec![Waits::Dropped(reason)],
            Ok(_) => self.forecast_pieces(id, Outgoing::rest_of(&plain, 0), pauses),
        };
        Some(Forecast { port: id, pieces, pauses, mirror: false })
    }

    fn forecast_pieces(&self, id: PortId, pieces: Outgoing<'_>, paused: bool) -> Vec<Waits> {
        let Some(port) = self.port(id) else { return Vec::new() };
        let mut more = Waiting::default();
        let fate = |(frame, bytes): (&Frame, &[u8])| {
            if !port.up {
                return Waits::Dropped(DropReason::LinkDown);
            }
            if port.is_free() {
                return Waits::No;
            }
            match self.room_for(id, frame.ingress, bytes.len(), &more, paused) {
                Room::None(reason) => Waits::Dropped(port.reason_for(reason)),
                Room::There | Room::Made => {
                    let behind = port.queue.len() + more.frames;
                    more.add(bytes.len());
                    Waits::Behind(behind)
                }
            }
        };
        pieces.frames().map(fate).collect()
    }

    fn trace_radio(&mut self, now: Instant, batch: &Batch, frame: &Frame) -> Traced {
        let mut traced =
            Traced { steps: Vec::new(), outcome: Outcome::Radiated, copies: Vec::new(), left_out: Vec::new() };
        let Some(mut medium) = self.medium.clone() else { return traced };
        let Traced { copies, left_out, .. } = &mut traced;
        let ended = self.radiate(now, &mut medium, frame, |switch, to, fate| match fate {
            Fate::OutOfRange => left_out.push((to, LeftOut::OutOfRange)),
            Fate::Arrives => copies.extend(switch.forecast(to, frame, batch.bytes(frame), false)),
            Fate::Lost(reason) => {
                let pieces = vec![Waits::Dropped(reason)];
                copies.push(Forecast { port: to, pieces, pauses: false, mirror: false });
            }
        });
        if let Some(reason) = ended {
            traced.outcome = Outcome::Dropped(reason);
        }
        traced
    }
}

impl Traced {
    /// Whether the decision came as far as the destination.
    fn is_looked_up(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Drop(reason) => {
                matches!(reason, DropReason::SameSegment | DropReason::Isolated | DropReason::NoEgress)
            }
            Verdict::Unicast(_) | Verdict::Flood => true,
        }
    }
}

impl From<Refused> for Step {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Claim(claim) => Self::Guarded(Some(claim)),
            Refused::Fragments => Self::Guarded(None),
        }
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
