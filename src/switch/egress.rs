//! The way out of the switch: from decisions to ports, with queues for those that are busy.
//!
//! Theory of operation. Each port that a plan names gets its frames in one call of [`Transmit`]. What it does not take
//! is copied into its queue, and the port is *blocked* until the engine hears that it is writable and calls
//! [`Switch::flush`]; until then new frames go to the end of the queue, so order is kept.
//!
//! Back-pressure, so that a burst loses nothing and a dead peer holds nobody up: when a blocked port's queue is above
//! its mark, it is *congested*: the ports whose *unicast* frames fill it are paused, if they can be. They go on when the
//! queue is low, or after [`PAUSE`] at the latest. So long a port has to show that it is worth waiting for:
//!
//! - One that takes a 64th of its queue in that time goes on being congested. Those who waited may send again, and
//!   wait again if it is to this port: they are slowed down to its pace, and never stand still for longer.
//! - One that takes less counts as *stalled*. It pauses nobody, and what its queue cannot hold is dropped, until its
//!   queue is low, or until it takes a 32nd of it in the same time: a peer that was away for a moment, under a load
//!   that keeps its queue full, would else be dropped from for ever.
//!
//! Who fills a queue is known only when its frames are there. With many senders that is more than the queue holds, so
//! what a source had sent when it was paused is queued beyond the limit in frames, within the limits in bytes; and the
//! engine reads little at a time while a port is congested ([`Switch::is_congested`]).
//!
//! All queues together are bounded too (`memory.rs`). As that fills, a port may hold less, and its marks shrink in
//! proportion: its sources pause earlier, and still lose nothing.
//!
//! Floods pause nobody: a multicast must not be as slow as its slowest listener. That a port is dead which is only flooded
//! to shows after a longer time (`unread.rs`).

use super::finish::{ROOM, may_merge, merge_into, shape_into};
use super::memory::cost;
use super::mirror::unite;
use super::plan::merge;
use super::port::PAUSE;
use super::queue::Waiting;
use super::tape::hand_over;
use super::{Event, Switch, fits};
use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Frame, Outgoing, PortId};
use crate::time::{Instant, earliest};

/// Frames that one flush may send before another port has its turn.
const FLUSH_FRAMES: usize = 512;

/// What the longest queue loses at once for the sake of others, as far as it has more than its fair part.
const MAKE_ROOM: usize = 64 * 1024;

/// Whether a frame may wait for a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// There is room.
    There,
    /// It is made: the longest queue loses its newest frames.
    Made,
    /// There is none.
    None(DropReason),
}

/// What a port took of the frames that it was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The first so many were sent or dropped, and counted. When these are not all, the port is blocked.
    pub frames: usize,
}

/// The descriptors behind the ports.
pub trait Transmit {
    /// Offers `out`, which is not empty, to `port`. Frames that are taken are counted in `counters`, as sent or as
    /// dropped. The first that is not taken is the first of the next offer, unless the port was down in between.
    fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken;

    /// Whether part of the first frame that `port` did not take has left. Such a frame is kept whatever the queues hold:
    /// what follows its beginning is its end, or nothing.
    fn has_begun(&self, port: PortId) -> bool {
        let _ = port;
        false
    }

    /// The frame that `port` has begun cannot be kept, as the system has no memory: its connection is of no more use.
    fn abandon(&mut self, port: PortId) {
        let _ = port;
    }
}

/// Takes nothing, so that everything waits in the queues: see [`Switch::handle_frame`].
pub(super) struct Nobody;

impl Transmit for Nobody {
    fn transmit(&mut self, _: PortId, _: Outgoing<'_>, _: &mut Counters) -> Taken {
        Taken { frames: 0 }
    }
}

/// What [`Switch::flush`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Flush {
    /// Nothing waits any more.
    Empty,
    /// The port is busy again; it will say when it is writable.
    Blocked,
    /// It took its share of this turn; call again.
    More,
}

impl Switch {
    /// Sends what [`Switch::decide_batch`] decided, and empties the plan.
    pub(super) fn send_plan(&mut self, now: Instant, batch: &Batch, edges: &mut impl Transmit) {
        let mut plan = std::mem::take(&mut self.plan);
        let mut picks = std::mem::take(&mut self.picks);
        if plan.flood.is_empty() && !self.is_edited {
            for port in plan.touched.drain(..) {
                let list = &mut plan.unicast[port.index()];
                // What is for everybody in range pauses nobody, as a flood.
                let unicast: &[u32] = if self.is_radio() { &[] } else { list };
                self.send(now, port, batch, list, unicast, edges);
                list.clear();
            }
        } else {
            for index in 0..self.ports.len() {
                let port = PortId(index as u16);
                let list = &mut plan.unicast[index];
                let up = self.ports[index].as_ref().is_some_and(|port| port.up);
                let flood: &[u32] = if up { &plan.flood } else { &[] };
                merge(list, flood, |frame| self.floods_to(port, batch, frame), &mut picks);
                self.mirrored.get_mut(index).into_iter().for_each(|more| unite(&mut picks, more));
                if !picks.is_empty() {
                    self.send(now, port, batch, &picks, list, edges);
                }
                list.clear();
            }
            plan.touched.clear();
            plan.flood.clear();
        }
        self.plan = plan;
        self.picks = picks;
    }

    pub(super) fn floods_to(&self, port: PortId, batch: &Batch, frame: u32) -> bool {
        let ingress = batch.frames()[frame as usize].ingress;
        let parted = |id| self.port(id).is_some_and(|port| port.parted);
        ingress != port && !(parted(port) && parted(ingress) && self.are_parted(ingress, port))
    }

    /// Sends the frames `picks` of `batch`, of which those in `unicast` are for this port alone.
    fn send(
        &mut self,
        now: Instant,
        id: PortId,
        batch: &Batch,
        picks: &[u32],
        unicast: &[u32],
        edges: &mut impl Transmit,
    ) {
        // Before, so that none of their frames is lost; and after, when it has only become congested by them.
        self.pause_sources(now, id, batch, unicast);
        let Some(port) = self.port(id) else { return };
        let out = Outgoing::of(batch, picks);
        let (mtu, offload) = (port.config.mtu, port.config.offload && !port.is_bent_out());
        // Bytes are looked at only where there is something to be asked of them.
        let goes_as_is = |frame: &Frame| {
            (offload || frame.offload.is_plain()) && mtu.is_none_or(|mtu| fits(frame, batch.bytes(frame), mtu))
        };
        let all = offload && mtu.is_none();
        if !(all || picks.iter().all(|&pick| batch.frames().get(pick as usize).is_some_and(goes_as_is))) {
            self.finish_and_offer(id, out, edges);
        } else if offload && may_merge(out) {
            let mut merged = self.plain.take().unwrap_or_else(|| Batch::new(ROOM));
            merge_into(out, &mut merged);
            self.offer(id, Outgoing::rest_of(&merged, 0), edges);
            merged.clear();
            self.plain = Some(merged);
        } else {
            self.offer(id, out, edges);
        }
        self.pause_sources(now, id, batch, unicast);
    }

    /// Offers new copies to a port, through its line where it has one.
    fn offer(&mut self, id: PortId, out: Outgoing<'_>, edges: &mut impl Transmit) {
        if !self.bent.is_empty() && self.is_bent_out(id) {
            return self.bend_out(id, out, edges);
        }
        self.deliver(id, out, out.len() as u64, edges);
    }

    /// Offers copies to a port, of which so many are `new`, not yet counted as made; queues what it does not take.
    #[inline]
    pub(super) fn deliver(&mut self, id: PortId, out: Outgoing<'_>, new: u64, edges: &mut impl Transmit) {
        let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut).filter(|_| !out.is_empty()) else {
            return;
        };
        let frames = out.len() as u64;
        port.counters.copies += new;
        if !port.up {
            let [_, reason] = port.down_reasons();
            port.counters.count(reason, frames);
            return out.frames().for_each(|(frame, bytes)| self.note_lost(id, reason, frame, bytes));
        }
        let mut rest = out;
        if port.is_free() {
            let taken = hand_over(&mut self.tape, self.now, id, out, &mut port.counters, edges);
            rest = out.skip(taken.frames);
        }
        if rest.is_empty() {
            return;
        }
        if port.is_free() && edges.has_begun(id) {
            let (frame, bytes) = (rest.frame(0), rest.bytes(0));
            if let Err(reason) = port.queue.push_begun(frame, bytes, &mut self.memory) {
                let reason = port.drop_waiting(reason, 1);
                self.note_lost(id, reason, frame, bytes);
                edges.abandon(id);
            }
            rest = rest.skip(1);
        }
        self.enqueue(id, rest);
        if let Some(port) = self.port_mut(id) {
            // Nobody is told of room for nothing: when all of it was dropped, the next frame asks.
            port.blocked = !port.queue.is_empty();
        }
    }

    /// Lets frames wait for a port, as far as there is room.
    fn enqueue(&mut self, id: PortId, rest: Outgoing<'_>) {
        for (frame, bytes) in rest.frames() {
            let room = self.room_for(id, frame.ingress, bytes.len(), &Waiting::default(), false);
            if room == Room::Made {
                self.make_room(cost(bytes.len()));
            }
            let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
            let done = match room {
                Room::There => port.queue.put(frame, bytes, &mut self.memory),
                Room::Made => port.queue.push(frame, bytes, &mut self.memory),
                Room::None(reason) => Err(reason),
            };
            if let Err(reason) = done {
                let reason = port.drop_waiting(reason, 1);
                self.note_lost(id, reason, frame, bytes);
                self.note_full(id);
            }
        }
    }

    /// Whether a frame of `len` bytes from `ingress` may wait for a port, behind `more` than does now. It may wait behind
    /// more than the limit if its source is paused for this very port (`paused`: it will have been by then). The port may
    /// have room made for it as long as it has less than its fair share of all.
    #[inline]
    pub(super) fn room_for(&self, id: PortId, ingress: PortId, len: usize, more: &Waiting, paused: bool) -> Room {
        let Some(port) = self.port(id) else { return Room::None(DropReason::LinkDown) };
        let waits = || paused || self.port(ingress).is_some_and(|source| source.paused_for == Some(id));
        let refused = match port.queue.is_full(more) && !waits() {
            true => Some(DropReason::QueueFull),
            false => port.queue.refuses(len, more, &self.memory),
        };
        match refused {
            None => Room::There,
            Some(DropReason::QueuesFull) if port.queue.cost() + more.cost + cost(len) <= self.memory.fair() => {
                Room::Made
            }
            Some(reason) => Room::None(reason),
        }
    }

    /// Drops the newest frames of the longest queue, so that another may have `cost` of its fair part: a little more at
    /// once, as the search takes longer than the dropping.
    fn make_room(&mut self, cost: usize) {
        let ports = self.ports.iter_mut().enumerate().filter_map(|(index, port)| Some((index, port.as_mut()?)));
        let Some((index, longest)) = ports.rev().max_by_key(|(_, port)| port.queue.cost()) else { return };
        let most = longest.queue.cost().saturating_sub(cost);
        let most = most.min((most.saturating_sub(MAKE_ROOM)).max(self.memory.fair()));
        let reason = longest.drop_waiting(DropReason::QueuesFull, 0);
        let (counters, now) = (&mut longest.counters, self.now);
        let cut = longest.queue.cut(most, &mut self.memory, |frame, bytes| {
            counters.lose(now, reason, Some(bytes));
            if let Some(tape) = &mut self.tape {
                tape.lose(PortId(index as u16), reason, frame, bytes);
            }
        });
        longest.drop_waiting(DropReason::QueuesFull, cut as u64);
    }

    /// Cuts super-frames and completes checksums for a port that takes plain frames only, leaves out what its mtu
    /// does not allow, and offers the rest.
    fn finish_and_offer(&mut self, id: PortId, out: Outgoing<'_>, edges: &mut impl Transmit) {
        let Some(port) = self.port(id) else { return };
        let shape = (port.config.mtu, port.config.offload && !port.is_bent_out());
        let mut plain = self.plain.take().unwrap_or_else(|| Batch::new(ROOM));
        for (frame, bytes) in out.frames() {
            let mut done = shape_into(frame, bytes, shape, &mut plain);
            if done == Ok(false) {
                self.offer(id, Outgoing::rest_of(&plain, 0), edges);
                plain.clear();
                done = shape_into(frame, bytes, shape, &mut plain);
            }
            if let Err(reason) = done {
                self.drop_copy(id, reason, frame, bytes);
            }
        }
        self.offer(id, Outgoing::rest_of(&plain, 0), edges);
        plain.clear();
        self.plain = Some(plain);
    }

    pub(super) fn drop_copy(&mut self, id: PortId, reason: DropReason, frame: &Frame, bytes: &[u8]) {
        if let Some(counters) = self.counters_mut(id) {
            counters.copies += 1;
            counters.count(reason, 1);
            self.note_lost(id, reason, frame, bytes);
        }
    }

    /// Pauses those whose frames, `unicast`, fill a busy port's queue.
    #[inline]
    fn pause_sources(&mut self, now: Instant, id: PortId, batch: &Batch, unicast: &[u32]) {
        if self.port(id).is_some_and(|port| port.blocked) {
            self.pause_sources_of_blocked(now, id, batch, unicast);
        }
    }

    #[inline(never)]
    fn pause_sources_of_blocked(&mut self, now: Instant, id: PortId, batch: &Batch, unicast: &[u32]) {
        if !self.is_pausing(id) {
            return;
        }
        for &frame in unicast {
            let source = batch.frames()[frame as usize].ingress;
            let Some(port) = self.port_mut(source).filter(|port| port.config.pausable) else { continue };
            if port.paused_for.is_none() {
                port.paused_for = Some(id);
                self.resumed.retain(|&port| port != source);
                self.congest(now, id, source);
            }
        }
    }

    /// Whether a port whose queue is above its mark pauses those who fill it.
    pub(super) fn is_pausing(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| port.blocked && !port.stalled && port.queue.is_above_mark(&self.memory))
    }

    /// Notes that `source` waits for `id`.
    fn congest(&mut self, now: Instant, id: PortId, source: PortId) {
        let place = self.congested.len();
        let Some(port) = self.port_mut(id) else { return };
        port.waiters.push(source);
        if port.check_at.is_none() {
            port.check_at = Some(now + PAUSE);
            port.place = place;
            port.restart_pace(now);
            self.congested.push(id);
        }
    }

    /// Nobody has to wait for `id` any more.
    pub(super) fn end_congestion(&mut self, id: PortId) {
        let Some(port) = self.port_mut(id) else { return };
        let place = port.place;
        if port.check_at.take().is_none() {
            return;
        }
        self.release_waiters(id);
        self.congested.swap_remove(place);
        if let Some(&moved) = self.congested.get(place)
            && let Some(moved) = self.port_mut(moved)
        {
            moved.place = place;
        }
    }

    /// Lets those go on who wait for `id`.
    fn release_waiters(&mut self, id: PortId) {
        let Some(port) = self.port_mut(id) else { return };
        let mut waiters = std::mem::take(&mut port.waiters);
        for waiter in waiters.drain(..) {
            if let Some(port) = self.port_mut(waiter).filter(|port| port.paused_for == Some(id)) {
                port.paused_for = None;
                self.resumed.push(waiter);
            }
        }
        if let Some(port) = self.port_mut(id) {
            port.waiters = waiters; // for its memory
        }
    }

    /// Whether any port is congested: then whatever is read may have to wait, and little should be read at a time.
    pub fn is_congested(&self) -> bool {
        !self.congested.is_empty()
    }

    /// A port that was paused and may be read again; each is said once, and not if it was paused anew meanwhile.
    pub fn poll_resumed(&mut self) -> Option<PortId> {
        self.resumed.pop()
    }

    /// When [`Switch::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let congested = self.congested.iter().filter_map(|&id| self.port(id)?.check_at).min();
        earliest(earliest(congested, self.hosts.poll_timeout()), earliest(self.next_held(), self.next_unread()))
    }

    /// Does what is due: lets those go on who have waited long enough for another port, asks again for stations, and lets
    /// frames go whose delay is over; these wait for [`Switch::poll_transmit`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tend(now);
        self.let_go(now);
    }

    /// The same, but for frames: who has descriptors lets these go by [`Switch::take_due`] and [`Switch::send_due`].
    pub(crate) fn tend(&mut self, now: Instant) {
        self.hosts.handle_timeout(now);
        // Backwards: what leaves the list is replaced by its last, which was looked at.
        for place in (0..self.congested.len()).rev() {
            let id = self.congested[place];
            let Some(port) = self.port_mut(id).filter(|port| port.check_at.is_some_and(|at| at <= now)) else {
                continue;
            };
            let is_worth_waiting = port.is_worth_waiting();
            port.restart_pace(now);
            if is_worth_waiting {
                port.check_at = Some(now + PAUSE);
                self.release_waiters(id);
            } else {
                port.stalled = true;
                self.end_congestion(id);
                self.tell(Event::Stalled(id));
            }
        }
        self.tend_unread(now);
    }

    /// Sends what waits for a port, which has said that it is writable.
    pub fn flush(&mut self, now: Instant, id: PortId, edges: &mut impl Transmit) -> Flush {
        self.set_time(now);
        let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return Flush::Empty };
        port.blocked = false;
        if port.stalled && now - port.since > PAUSE {
            port.restart_pace(now);
        }
        let mut sent = 0;
        let outcome = loop {
            let Some(out) = port.queue.front() else { break Flush::Empty };
            if sent >= FLUSH_FRAMES {
                break Flush::More;
            }
            let taken = hand_over(&mut self.tape, self.now, id, out, &mut port.counters, edges).frames;
            let all = taken == out.len();
            let bytes = port.queue.advance(taken, &mut self.memory);
            port.took(taken, bytes);
            sent += taken;
            if !all {
                port.blocked = true;
                break Flush::Blocked;
            }
        };
        self.relax(id);
        outcome
    }

    /// After a queue became shorter: if it is low, nobody has to wait for it any more.
    pub(super) fn relax(&mut self, id: PortId) {
        let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let is_low = port.queue.is_low(&self.memory);
        let drained = port.stalled && (is_low || port.is_worth_waiting());
        port.stalled &= !drained;
        if is_low {
            self.end_congestion(id);
        }
        if drained {
            self.tell(Event::Drained(id));
        }
    }

    /// Drops what waits for a port.
    pub(super) fn empty_queue(&mut self, id: PortId, reason: DropReason) {
        let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if let Some(tape) = &mut self.tape {
            port.queue.frames().for_each(|(frame, bytes)| tape.lose(id, reason, frame, bytes));
        }
        if let Some((_, oldest)) = port.queue.frames().next() {
            port.counters.lose(self.now, reason, Some(oldest));
        }
        let waiting = port.queue.clear(&mut self.memory);
        port.counters.count(reason, waiting as u64);
        port.blocked = false;
        port.full_since = None;
        port.stalled = false; // without a word: its peer does not read again, it is gone
        self.relax(id);
    }

    /// Drops what waits for any port: the switch is about to end, and its last counters leave no copy out.
    pub fn discard_queues(&mut self) {
        for index in 0..self.ports.len() {
            self.drop_held(PortId(index as u16), [DropReason::IngressDown, DropReason::Removed]);
            self.empty_queue(PortId(index as u16), DropReason::Removed);
        }
    }

    /// Takes the next frame that waits, from each port in turn. `out` is overwritten with its bytes.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<PortId> {
        let ports = self.ports.len();
        for step in 0..ports {
            let index = (self.turn + step) % ports;
            let id = PortId(index as u16);
            let Some(port) = self.ports[index].as_mut() else { continue };
            let Some(front) = port.queue.front() else { continue };
            out.clear();
            out.extend_from_slice(front.bytes(0));
            if let Some(tape) = &mut self.tape {
                tape.leave(id, front.frame(0), out);
            }
            let bytes = port.queue.advance(1, &mut self.memory);
            port.took(1, bytes);
            port.counters.sent(1, out.len() as u64);
            port.blocked = !port.queue.is_empty();
            self.turn = index + 1;
            self.relax(id);
            return Some(id);
        }
        None
    }
}
