//! The lines of ports: what comes in by a port with impairments, or leaves by it, goes through its [`Line`] first.
//!
//! Theory of operation. On the way in, the driver calls [`Switch::arrive`] for the frames that it has read from a port, before
//! it runs the batch: what is lost or held is taken out of the batch, second copies are put behind. On the way out, copies
//! go through the line before they are offered to the port. Super-frames are cut before: a line treats single frames. What
//! is held comes back when its time has come: into a batch by [`Switch::take_due`], to its port by [`Switch::send_due`].
//!
//! Frames that are held on the way in are not yet counted as received; copies that are held on the way out are counted as
//! made, so that `copies = sent + queued + held + egress drops`. Ports without impairments pay one look at an `Option`.

use super::egress::Nobody;
use super::finish::{ROOM, finish_into};
use super::impair::{Fate, Impairment, Line, Verdict, flip_bit};
use super::port::Port;
use super::{Switch, Transmit};
use crate::counters::DropReason;
use crate::frame::{Batch, Frame, Outgoing, PortId};
use crate::limits::{BATCH_BYTES, MAX_FRAME, PREFIX};
use crate::time::Instant;
use crate::wire::Offload;

/// Room for what comes of one batch, and for the segments of a super-frame.
const BEND_ROOM: usize = BATCH_BYTES + ROOM;

/// A direction of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// What comes from it: `rx`.
    In,
    /// What it is sent: `tx`.
    Out,
}

impl Way {
    /// Both, in the order of the enum.
    pub const BOTH: [Self; 2] = [Self::In, Self::Out];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "rx",
            Self::Out => "tx",
        }
    }

    /// The reason of what is lost on it, and of what found as many held as may be.
    fn reasons(self) -> [DropReason; 2] {
        match self {
            Self::In => [DropReason::RxLost, DropReason::RxFull],
            Self::Out => [DropReason::TxLost, DropReason::TxFull],
        }
    }
}

impl Port {
    pub fn is_bent_out(&self) -> bool {
        self.lines[Way::Out as usize].is_some()
    }

    fn line(&mut self, way: Way) -> Option<&mut Line> {
        self.lines[way as usize].as_deref_mut()
    }
}

impl Switch {
    /// Has the frames of a port in one direction suffer `impairment` from now on. `name` is the port's: what becomes of a
    /// frame is drawn from the switch's seed, this name and the direction. What is held leaves when it was to leave.
    pub fn impair(&mut self, id: PortId, way: Way, name: &str, impairment: Impairment) {
        let seed = self.fate_seed;
        let Some(port) = self.port_mut(id) else { return };
        match port.line(way) {
            Some(line) => line.set(impairment),
            None => {
                let came = if way == Way::In { port.counters.rx_frames } else { port.counters.copies };
                if impairment.is_none() && !self.replays(name, way) {
                    return;
                }
                let mut line = Line::new(seed, &format!("{name}.{}", way.word()), came, impairment);
                line.told = self.begin_telling(name, way, came);
                self.put_line(id, way, Box::new(line));
            }
        }
        if !self.bent.contains(&id) {
            self.bent.push(id);
        }
    }

    /// The seed that fates are drawn from.
    pub fn fate_seed(&self) -> u64 {
        self.fate_seed
    }

    /// What the frames of a port suffer in one direction, if anything.
    pub fn impairment(&self, id: PortId, way: Way) -> Option<&Impairment> {
        let line = self.port(id)?.lines[way as usize].as_deref()?;
        Some(line.settings()).filter(|settings| !settings.is_none())
    }

    /// Frames that are held on the ways of a port, in the order of [`Way::BOTH`].
    pub fn held(&self, id: PortId) -> [usize; 2] {
        let lines = self.port(id).map(|port| &port.lines);
        Way::BOTH.map(|way| lines.and_then(|lines| lines[way as usize].as_ref()).map_or(0, |line| line.held()))
    }

    /// Whether copies for a port that is up go through a line.
    pub(super) fn is_bent_out(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| port.up && port.is_bent_out())
    }

    /// Whether any frame is held on any way.
    pub fn holds_frames(&self) -> bool {
        !self.bent.is_empty() && self.next_held().is_some()
    }

    /// Whether what comes from a port goes through a line, by [`Switch::arrive`]. While the port is down nothing gets so
    /// far as its line.
    pub fn is_bent_in(&self, id: PortId) -> bool {
        !self.bent.is_empty() && self.port(id).is_some_and(|port| port.up && port.lines[Way::In as usize].is_some())
    }

    /// Puts the frames of `batch` from index `from` on, all of which came in by `id`, through its line.
    #[inline]
    pub fn arrive(&mut self, now: Instant, id: PortId, batch: &mut Batch, from: usize) {
        if self.is_bent_in(id) {
            self.bend_in(now, id, batch, from);
        }
    }

    #[cold]
    fn bend_in(&mut self, now: Instant, id: PortId, batch: &mut Batch, from: usize) {
        self.set_time(now);
        let mut came = self.bending.take().unwrap_or_else(|| Batch::new(BEND_ROOM));
        came.clear();
        for frame in batch.frames().get(from..).unwrap_or_default() {
            let bytes = batch.bytes(frame);
            let cut = finish_into(frame, bytes, &mut came).or_else(|_| {
                // It is not what its port said of it. Whom it is for counts that.
                Ok::<bool, DropReason>(came.push(bytes, id, frame.offload))
            });
            if cut == Ok(false) {
                self.turn_away(id, DropReason::RxFull, frame, bytes);
            }
        }
        batch.truncate(from);
        let line = self.port_mut(id).and_then(|port| port.lines[Way::In as usize].take());
        if let Some(mut line) = line {
            for (frame, bytes) in Outgoing::rest_of(&came, 0).frames() {
                let Verdict { first, second } = self.judge(id, Way::In, &mut line, bytes);
                for (copy, fate) in [Some(first), second].into_iter().flatten().enumerate() {
                    let ended = self.let_in(now, fate, &mut line, frame, bytes, batch).err();
                    self.note_fate(&line, copy > 0, fate, ended.is_some(), bytes);
                    ended.into_iter().for_each(|reason| self.turn_away(id, reason, frame, bytes));
                }
            }
            self.put_line(id, Way::In, line);
        }
        self.bending = Some(came);
    }

    /// Does with a frame what its line has decided. The reason why it ends here, if it does.
    fn let_in(
        &mut self,
        now: Instant,
        fate: Fate,
        line: &mut Line,
        frame: &Frame,
        bytes: &[u8],
        batch: &mut Batch,
    ) -> Result<(), DropReason> {
        let [lost, full] = Way::In.reasons();
        let (until, flip) = match fate {
            Fate::Lost => return Err(lost),
            Fate::Full => return Err(full),
            Fate::Held { until, flip } => (until, flip),
            Fate::Passes { flip } if batch.push(bytes, frame.ingress, frame.offload) => {
                if let Some(bit) = flip {
                    batch.edit_from(batch.len() - 1, |bytes, _| flip_bit(bytes, bit));
                }
                return Ok(());
            }
            // There is no room for a second copy; the next batch has.
            Fate::Passes { flip } => (now, flip),
        };
        line.hold(until, flip, frame.ingress, bytes, &mut self.memory).then_some(()).ok_or(full)
    }

    /// Counts a frame that ends on its way in, before it came into a batch.
    fn turn_away(&mut self, id: PortId, reason: DropReason, frame: &Frame, bytes: &[u8]) {
        let Some(port) = self.port_mut(id) else { return };
        port.counters.received(1, bytes.len() as u64);
        port.counters.count(reason, 1);
        self.note_turned_away(id, reason, frame, bytes);
    }

    /// Sends new copies to a port through its line.
    #[cold]
    pub(super) fn bend_out(&mut self, id: PortId, out: Outgoing<'_>, edges: &mut impl Transmit) {
        let Some(mut line) = self.port_mut(id).and_then(|port| port.lines[Way::Out as usize].take()) else { return };
        let [lost, full] = Way::Out.reasons();
        let mut passed = self.bending.take().unwrap_or_else(|| Batch::new(BEND_ROOM));
        passed.clear();
        for (frame, bytes) in out.frames() {
            let Verdict { first, second } = self.judge(id, Way::Out, &mut line, bytes);
            for (copy, fate) in [Some(first), second].into_iter().flatten().enumerate() {
                let ended = match fate {
                    Fate::Lost => Some(lost),
                    Fate::Full => Some(full),
                    Fate::Held { until, flip } => {
                        let there = line.hold(until, flip, frame.ingress, bytes, &mut self.memory);
                        (!there).then_some(DropReason::QueuesFull)
                    }
                    Fate::Passes { flip } => {
                        if !passed.push(bytes, frame.ingress, frame.offload) {
                            self.deliver(id, Outgoing::rest_of(&passed, 0), 0, edges);
                            passed.clear();
                            passed.push(bytes, frame.ingress, frame.offload);
                        }
                        if let Some(bit) = flip {
                            passed.edit_from(passed.len() - 1, |bytes, _| flip_bit(bytes, bit));
                        }
                        None
                    }
                };
                self.note_fate(&line, copy > 0, fate, ended.is_some(), bytes);
                match (ended, self.port_mut(id)) {
                    (Some(reason), _) => self.drop_copy(id, reason, frame, bytes),
                    (None, Some(port)) => port.counters.copies += 1,
                    (None, None) => {}
                }
            }
        }
        self.deliver(id, Outgoing::rest_of(&passed, 0), 0, edges);
        self.bending = Some(passed);
        self.put_line(id, Way::Out, line);
    }

    fn put_line(&mut self, id: PortId, way: Way, line: Box<Line>) {
        if let Some(port) = self.port_mut(id) {
            port.lines[way as usize] = Some(line);
        }
    }

    /// When the next frame that is held goes on.
    pub fn next_held(&self) -> Option<Instant> {
        let lines = self.bent.iter().filter_map(|&id| self.port(id)).flat_map(|port| port.lines.iter().flatten());
        lines.filter_map(|line| line.poll_timeout()).min()
    }

    /// Puts the frames whose time on the way in is over into a batch, as far as there is room.
    #[inline]
    pub fn take_due(&mut self, now: Instant, batch: &mut Batch) {
        for index in 0..self.bent.len() {
            let Some(port) = self.ports.get_mut(self.bent[index].index()).and_then(Option::as_mut) else { continue };
            let Some(line) = port.lines[Way::In as usize].as_deref_mut() else { continue };
            line.release(now, &mut self.memory, |ingress, bytes| batch.push(bytes, ingress, Offload::NONE));
        }
    }

    /// Sends the copies whose time on the way out is over.
    #[inline]
    pub fn send_due(&mut self, now: Instant, edges: &mut impl Transmit) {
        for index in 0..self.bent.len() {
            self.send_due_of(now, self.bent[index], edges);
        }
    }

    fn send_due_of(&mut self, now: Instant, id: PortId, edges: &mut impl Transmit) {
        loop {
            let Some(port) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
            let Some(line) = port.lines[Way::Out as usize].as_deref_mut() else { return };
            if line.poll_timeout().is_none_or(|due| due > now) {
                return;
            }
            let mut passed = self.bending.take().unwrap_or_else(|| Batch::new(BEND_ROOM));
            passed.clear();
            let put = |ingress, bytes: &[u8]| passed.push(bytes, ingress, Offload::NONE);
            let released = line.release(now, &mut self.memory, put);
            self.set_time(now);
            self.deliver(id, Outgoing::rest_of(&passed, 0), 0, edges);
            self.bending = Some(passed);
            if released == 0 {
                return;
            }
        }
    }

    /// Lets all go whose time is over, into the queues of ports.
    pub(super) fn let_go(&mut self, now: Instant) {
        if self.next_held().is_none_or(|due| due > now) {
            return;
        }
        self.send_due(now, &mut Nobody);
        let mut batch = Batch::new(BEND_ROOM);
        loop {
            batch.clear();
            self.take_due(now, &mut batch);
            if batch.is_empty() {
                break;
            }
            self.run(now, &batch, &mut Nobody);
        }
        self.send_due(now, &mut Nobody);
    }

    /// Drops what is held on the ways of a port, for the reason of each way.
    pub(super) fn drop_held(&mut self, id: PortId, reasons: [DropReason; 2]) {
        for way in Way::BOTH {
            let Some(mut line) = self.port_mut(id).and_then(|port| port.lines[way as usize].take()) else { continue };
            let mut held = Batch::new(PREFIX + MAX_FRAME);
            for (ingress, bytes) in line.frames() {
                held.clear();
                held.push(bytes, ingress, Offload::NONE);
                let Some(frame) = held.frames().first() else { continue };
                let reason = reasons[way as usize];
                match way {
                    Way::In => self.turn_away(id, reason, frame, bytes),
                    Way::Out => {
                        self.counters_mut(id).into_iter().for_each(|counters| counters.count(reason, 1));
                        self.note_lost(id, reason, frame, bytes);
                    }
                }
            }
            line.clear(&mut self.memory);
            self.put_line(id, way, line);
        }
    }

    /// A port goes, and what is held on its ways.
    pub(super) fn straighten(&mut self, id: PortId, reason: DropReason) {
        self.drop_held(id, [DropReason::IngressDown, reason]);
        self.bent.retain(|&bent| bent != id);
    }
}

#[cfg(test)]
#[path = "bend_tests.rs"]
mod tests;
