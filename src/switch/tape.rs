//! The tape: notes on frames during a capture, with a copy of their first bytes and their fate.
//!
//! Examples of dropped frames are kept without a tape, too (`counters`).
//!
//! Theory of operation. A switch has a tape only during captures ([`Switch::set_tape`]); otherwise a batch costs one
//! check, and so does each list of frames handed over. A tape notes each frame on arrival, with the reason if it was
//! dropped there; each copy that was dropped, with its reason; and on request each copy that was sent. The driver of
//! the switch takes the notes ([`Tape::take`]) and passes them on. They are bounded: frames without room are counted as
//! missed, and nothing blocks.

use super::{Switch, Taken, Transmit};
use crate::counters::{Counters, DropReason, Ended};
use crate::frame::{Batch, Frame, Outgoing, PortId};
use crate::time::Instant;
use std::ops::Range;

/// Bytes of frames that a tape holds at most.
pub const TAPE_BYTES: usize = 4 << 20;
/// Notes that it holds at most.
pub const TAPE_NOTES: usize = 64 * 1024;

/// The wanted notes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The first so many bytes of each.
    pub snap: u32,
    /// Frames that came in and went on, too; else only what was dropped.
    pub arrivals: bool,
    /// Copies that left.
    pub copies: bool,
}

impl Wanted {
    /// The union of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            snap: self.snap.max(other.snap),
            arrivals: self.arrivals || other.arrivals,
            copies: self.copies || other.copies,
        }
    }
}

/// The fate of a frame, or of one copy of it, at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noted {
    /// It came in.
    Arrived,
    /// It came in, and ended there.
    Refused(DropReason),
    /// A copy left.
    Left,
    /// A copy ended on its way out.
    Lost(DropReason),
}

impl Noted {
    /// Why it was dropped, if it was.
    pub fn reason(self) -> Option<DropReason> {
        match self {
            Self::Refused(reason) | Self::Lost(reason) => Some(reason),
            Self::Arrived | Self::Left => None,
        }
    }

    /// Whether it was on its way in.
    pub fn is_in(self) -> bool {
        matches!(self, Self::Arrived | Self::Refused(_))
    }
}

/// A note of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    /// When.
    pub at: Instant,
    /// Its number among all that came in while the tape ran; of copies 0.
    pub number: u64,
    /// The port: where it came in, or the one that a copy was for.
    pub port: PortId,
    /// The port that it had come in by.
    pub ingress: PortId,
    /// Its fate.
    pub noted: Noted,
    /// Its bytes.
    pub len: u32,
    /// Bytes of it that are kept.
    pub kept: u32,
}

/// Notes in their order, and the bytes of their frames one behind the other.
#[derive(Clone, Default, Debug)]
pub struct Notes {
    /// The notes.
    pub notes: Vec<Note>,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Frames that found no room, after these.
    pub missed: u64,
}

impl Notes {
    /// Nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.missed == 0
    }

    /// Each note with the bytes that are kept of its frame.
    pub fn iter(&self) -> impl Iterator<Item = (&Note, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.notes.iter().map(move |note| {
            let (bytes, behind) = rest.split_at_checked(note.kept as usize).unwrap_or_default();
            rest = behind;
            (note, bytes)
        })
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.notes.clear();
        self.bytes.clear();
        self.missed = 0;
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct Tape {
    wanted: Wanted,
    notes: Notes,
    /// Frames of the present batch that were dropped on arrival, in order.
    refused: Vec<(Range<u32>, DropReason)>,
    /// Frames that came in so far.
    number: u64,
    now: Instant,
}

impl Tape {
    /// Notes what is `wanted`.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, notes: Notes::default(), refused: Vec::new(), number: 0, now: Instant::ZERO }
    }

    /// Notes what is `wanted` from now on.
    pub fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// The notes so far.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Takes the notes, and goes on with the memory of `empty`.
    pub fn take(&mut self, mut empty: Notes) -> Notes {
        empty.clear();
        std::mem::replace(&mut self.notes, empty)
    }

    pub(super) fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Frames of the present batch were dropped on arrival.
    pub(super) fn refuse(&mut self, frames: Range<u32>, reason: DropReason) {
        self.refused.push((frames, reason));
    }

    /// Notes the frames of a decided batch, if their ports exist.
    fn arrive(&mut self, batch: &Batch, is_port: impl Fn(PortId) -> bool) {
        let mut refused = std::mem::take(&mut self.refused);
        let mut ended = refused.drain(..).peekable();
        for (index, frame) in batch.frames().iter().enumerate() {
            self.number += 1;
            while ended.next_if(|(frames, _)| (frames.end as usize) <= index).is_some() {}
            let reason = ended.peek().filter(|(frames, _)| frames.contains(&(index as u32))).map(|(_, reason)| *reason);
            let noted = match reason {
                Some(reason) => Noted::Refused(reason),
                None if self.wanted.arrivals => Noted::Arrived,
                None => continue,
            };
            if is_port(frame.ingress) {
                self.note(frame.ingress, noted, self.number, frame, batch.bytes(frame));
            }
        }
        drop(ended);
        self.refused = refused;
    }

    /// Notes the fate of the first frames of `out` at `port`, as it was counted there.
    pub(super) fn depart(&mut self, port: PortId, out: Outgoing<'_>, ended: &[Ended]) {
        if !self.wanted.copies && ended.iter().all(|ended| ended.reason.is_none()) {
            return;
        }
        let mut frames = out.frames();
        for Ended { frames: count, reason } in ended {
            for (frame, bytes) in frames.by_ref().take(*count as usize) {
                match reason {
                    Some(reason) => self.note(port, Noted::Lost(*reason), 0, frame, bytes),
                    None => self.leave(port, frame, bytes),
                }
            }
        }
    }

    /// Notes a copy that was sent, if that is wanted.
    pub(super) fn leave(&mut self, port: PortId, frame: &Frame, bytes: &[u8]) {
        if self.wanted.copies {
            self.note(port, Noted::Left, 0, frame, bytes);
        }
    }

    /// A frame ended on its way in, before it came into a batch.
    pub(super) fn turn_away(&mut self, port: PortId, reason: DropReason, frame: &Frame, bytes: &[u8]) {
        self.number += 1;
        self.note(port, Noted::Refused(reason), self.number, frame, bytes);
    }

    /// A copy ended on its way out.
    pub(super) fn lose(&mut self, port: PortId, reason: DropReason, frame: &Frame, bytes: &[u8]) {
        self.note(port, Noted::Lost(reason), 0, frame, bytes);
    }

    fn note(&mut self, port: PortId, noted: Noted, number: u64, frame: &Frame, bytes: &[u8]) {
        let kept = bytes.get(..self.wanted.snap as usize).unwrap_or(bytes);
        let Notes { notes, bytes: all, missed } = &mut self.notes;
        if *missed > 0 || notes.len() >= TAPE_NOTES || all.len() + kept.len() > TAPE_BYTES {
            *missed += 1;
            return;
        }
        all.extend_from_slice(kept);
        let (len, kept) = (bytes.len() as u32, kept.len() as u32);
        notes.push(Note { at: self.now, number, port, ingress: frame.ingress, noted, len, kept });
    }
}

/// Offers frames to a port, and notes their fate if there is a tape.
#[inline(always)]
pub(super) fn hand_over(
    tape: &mut Option<Box<Tape>>,
    now: Instant,
    id: PortId,
    out: Outgoing<'_>,
    counters: &mut Counters,
    edges: &mut impl Transmit,
) -> Taken {
    let taken = match tape {
        None => edges.transmit(id, out, counters),
        Some(tape) => hand_over_and_note(tape, id, out, counters, edges),
    };
    if counters.is_marked() {
        counters.settle(now, taken.frames, |place| (place < out.len()).then(|| out.at(place).1));
    }
    taken
}

#[cold]
#[inline(never)]
fn hand_over_and_note(
    tape: &mut Tape,
    id: PortId,
    out: Outgoing<'_>,
    counters: &mut Counters,
    edges: &mut impl Transmit,
) -> Taken {
    counters.keep_journal();
    let taken = edges.transmit(id, out, counters);
    tape.depart(id, out, &counters.take_journal());
    taken
}

impl Switch {
    /// Sets or removes the tape. Returns the old one.
    pub(crate) fn set_tape(&mut self, tape: Option<Tape>) -> Option<Tape> {
        std::mem::replace(&mut self.tape, tape.map(Box::new)).map(|tape| *tape)
    }

    /// The tape that it notes on.
    pub(crate) fn tape_mut(&mut self) -> Option<&mut Tape> {
        self.tape.as_deref_mut()
    }

    /// Sets the time of what is done next.
    pub(super) fn set_time(&mut self, now: Instant) {
        self.now = now;
        self.tape.iter_mut().for_each(|tape| tape.set_time(now));
    }

    /// Notes a decided batch.
    #[cold]
    pub(super) fn note_arrivals(&mut self, now: Instant, batch: &Batch) {
        let Self { tape: Some(tape), ports, .. } = self else { return };
        tape.set_time(now);
        tape.arrive(batch, |id| ports.get(id.index()).is_some_and(Option::is_some));
    }

    /// Notes a frame that ended on its way in, before it came into a batch.
    pub(super) fn note_turned_away(&mut self, id: PortId, reason: DropReason, frame: &Frame, bytes: &[u8]) {
        let now = self.now;
        self.counters_mut(id).into_iter().for_each(|counters| counters.lose(now, reason, Some(bytes)));
        if let Some(tape) = &mut self.tape {
            tape.turn_away(id, reason, frame, bytes);
        }
    }

    /// Notes a copy that ended on its way out.
    pub(super) fn note_lost(&mut self, id: PortId, reason: DropReason, frame: &Frame, bytes: &[u8]) {
        let now = self.now;
        self.counters_mut(id).into_iter().for_each(|counters| counters.lose(now, reason, Some(bytes)));
        if let Some(tape) = &mut self.tape {
            tape.lose(id, reason, frame, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::{PortConfig, SwitchConfig};
    use crate::wire::Offload;

    /// Port 1 takes what begins with an even byte and drops the rest; port 2 takes one frame and is busy then.
    struct Odd;

    impl Transmit for Odd {
        fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
            for (_, bytes) in out.frames() {
                match (port.0, bytes[14] % 2) {
                    (1, 1) => counters.drop(DropReason::NotForPeer, 1),
                    (2, _) => {
                        counters.sent(1, bytes.len() as u64);
                        return Taken { frames: 1 };
                    }
                    _ => counters.sent(1, bytes.len() as u64),
                }
            }
            Taken { frames: out.len() }
        }
    }

    fn frame(number: u8) -> Vec<u8> {
        [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 0, number], &[0; 40]].concat()
    }

    fn switched(wanted: Wanted) -> Vec<(u16, Noted, u8, u32)> {
        let mut switch = Switch::new(&SwitchConfig::default());
        for queue in [10, 10, 1] {
            switch.add_port(PortConfig { queue, ..PortConfig::default() }).unwrap();
        }
        switch.set_tape(Some(Tape::new(wanted)));
        let mut batch = Batch::new(4096);
        for number in 0..3 {
            assert!(batch.push(&frame(number), PortId(0), Offload::NONE));
        }
        assert!(batch.push(&[9; 9], PortId(0), Offload::NONE));
        assert!(batch.push(&frame(7), PortId(99), Offload::NONE));
        switch.run(Instant::from_secs(1), &batch, &mut Odd);
        switch.remove_port(Instant::from_secs(2), PortId(2));
        let notes = switch.tape_mut().unwrap().take(Notes::default());
        notes
            .iter()
            .map(|(note, bytes)| (note.port.0, note.noted, bytes.get(14).copied().unwrap_or(255), note.len))
            .collect()
    }

    #[test]
    fn each_frame_is_noted_once_and_each_lost_copy_with_its_reason() {
        use Noted::{Arrived, Left, Lost, Refused};
        let malformed = (0, Refused(DropReason::Malformed), 255, 9);
        let wanted = Wanted { snap: 96, arrivals: true, copies: false };
        let lost = [
            (1, Lost(DropReason::NotForPeer), 1, 55),
            (2, Lost(DropReason::QueueFull), 2, 55),
            (2, Lost(DropReason::Removed), 1, 55),
        ];
        let came = [0, 1, 2].map(|number| (0, Arrived, number, 55));
        assert_eq!(switched(wanted), [&came[..], &[malformed], &lost].concat());
        assert_eq!(switched(Wanted { arrivals: false, ..wanted }), [&[malformed][..], &lost].concat());
        let left: Vec<_> = switched(Wanted { copies: true, ..wanted }).into_iter().filter(|it| it.1 == Left).collect();
        assert_eq!(left, [(1, Left, 0, 55), (1, Left, 2, 55), (2, Left, 0, 55)]);
        let cut = switched(Wanted { snap: 14, ..wanted });
        assert_eq!(cut[0], (0, Arrived, 255, 55));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut tape = Tape::new(Wanted { snap: u32::MAX, arrivals: true, copies: false });
        let mut batch = Batch::new(1 << 20);
        while batch.push(&[0; 60_000], PortId(0), Offload::NONE) {}
        let rounds = TAPE_BYTES / (batch.len() * 60_000) + 1;
        (0..rounds).for_each(|_| tape.arrive(&batch, |_| true));
        let notes = tape.take(Notes::default());
        assert_eq!(notes.notes.len(), TAPE_BYTES / 60_000);
        assert_eq!(notes.notes.len() as u64 + notes.missed, (rounds * batch.len()) as u64);
        assert!(tape.notes().is_empty());
    }
}
