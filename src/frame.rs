//! Frames in flight: one breath's frames lie one behind the other in a [`Batch`] and are never moved or copied until
//! they have left it.
//!
//! Theory of operation. Before every frame there are four bytes that hold its length, big-endian. Where the frame
//! came from a stream port they are the very bytes that were read; any other port writes them. So a run of
//! neighbours is, with no work at all, what a stream port has to send ([`Outgoing::runs`]), and every other port just
//! takes the frames ([`Outgoing::frames`]).
//!
//! ```text
//! bytes:  | 0000003c | 60 bytes of frame | 0000002a | 42 bytes of frame | …free…
//! frames:              ^ start, length                ^ start, length
//! ```
//!
//! A port inhales by reading into [`Batch::room`] and saying where the frames are. A batch is filled, switched,
//! emptied and cleared in one pass of the engine; what has to wait for a busy port is copied into that port's queue,
//! which is made of batches too. So nothing ever pins a batch.

pub use crate::limits::{MAX_FRAME, PREFIX};
use crate::wire::Offload;

/// A port of a switch: an index that is given to another port after this one is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u16);

impl PortId {
    /// The index as such.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a frame lies in its batch, whence it came, and what its port said of it.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    start: u32,
    len: u32,
    /// The port that it came in by.
    pub ingress: PortId,
    /// What is left to be done to it before it is a frame as on the wire.
    pub offload: Offload,
}

impl Frame {
    /// Bytes from the destination address on, without FCS.
    #[allow(clippy::len_without_is_empty)] // an empty frame is one of those that are too short, and counted there
    pub const fn len(&self) -> usize {
        self.len as usize
    }
}

/// One breath's frames. See the head of the file.
pub struct Batch {
    bytes: Box<[u8]>,
    used: usize,
    frames: Vec<Frame>,
}

impl Batch {
    /// A batch of `bytes` bytes. Memory that is never written to is never resident.
    pub fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes].into_boxed_slice(), used: 0, frames: Vec::new() }
    }

    /// The same if the system has the memory. It is resident at once.
    pub fn try_new(bytes: usize) -> Option<Self> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(bytes).ok()?;
        memory.resize(bytes, 0);
        Some(Self { bytes: memory.into_boxed_slice(), used: 0, frames: Vec::new() })
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.used = 0;
        self.frames.clear();
    }

    /// The frames, in the order in which they came.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// No frame at all.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The bytes of `frame`, which is one of this batch.
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.start as usize..(frame.start + frame.len) as usize]
    }

    /// Hands the frames from the one with index `from` on to `edit`, which may alter their bytes.
    pub fn edit_from(&mut self, from: usize, mut edit: impl FnMut(&mut [u8], &Offload)) {
        for frame in self.frames.get(from..).unwrap_or_default() {
            edit(&mut self.bytes[frame.start as usize..(frame.start + frame.len) as usize], &frame.offload);
        }
    }

    /// Bytes that are free.
    pub fn free(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// The free bytes themselves. A stream reads into them what it gets; any other port leaves [`PREFIX`] bytes first.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    /// Leaves the next `bytes` bytes out, as far as there are any: frames on either side are then no neighbours.
    pub fn skip(&mut self, bytes: usize) {
        self.used += bytes.min(self.free());
    }

    /// Takes a frame that was put `PREFIX` bytes into [`Batch::room`] and writes its length before it.
    ///
    /// `len` is at most what there was room for, and is clamped to it and to [`MAX_FRAME`]. Nothing is taken where there
    /// is no room for a prefix.
    pub fn commit(&mut self, len: usize, ingress: PortId, offload: Offload) {
        let Some(room) = self.free().checked_sub(PREFIX) else { return };
        let len = len.min(room).min(MAX_FRAME);
        let prefix = (len as u32).to_be_bytes();
        self.bytes[self.used..self.used + PREFIX].copy_from_slice(&prefix);
        self.commit_prefixed(len, ingress, offload);
    }

    /// Takes a frame at the start of [`Batch::room`] that has its length prefix already.
    pub fn commit_prefixed(&mut self, len: usize, ingress: PortId, offload: Offload) {
        debug_assert!(len <= MAX_FRAME && PREFIX + len <= self.free());
        let start = self.used + PREFIX;
        self.frames.push(Frame { start: start as u32, len: len as u32, ingress, offload });
        self.used = start + len;
    }

    /// Copies a frame in. False, and nothing done, when there is no room or it is longer than [`MAX_FRAME`].
    pub fn push(&mut self, frame: &[u8], ingress: PortId, offload: Offload) -> bool {
        // For itself: this is what each frame costs that waits for a busy port.
        let Some(room) = self.room().get_mut(PREFIX..PREFIX + frame.len()) else { return false };
        if frame.len() > MAX_FRAME {
            return false;
        }
        room.copy_from_slice(frame);
        self.commit(frame.len(), ingress, offload);
        true
    }

    /// Takes the frames from the one with index `from` on out again, behind the last of which nothing was put.
    pub fn truncate(&mut self, from: usize) {
        if let Some(first) = self.frames.get(from) {
            self.used = first.start as usize - PREFIX;
            self.frames.truncate(from);
        }
    }

    /// Takes the last frame out again, behind which nothing was put. Returns its length.
    pub fn pop(&mut self) -> Option<usize> {
        let frame = self.frames.pop()?;
        self.used = frame.start as usize - PREFIX;
        Some(frame.len())
    }

    /// Copies a frame in that lies in several slices. As [`Batch::push`].
    pub fn push_parts(&mut self, parts: &[&[u8]], ingress: PortId, offload: Offload) -> bool {
        self.push_all(&[], parts, ingress, offload)
    }

    /// Copies a frame in whose headers are apart from the slices of its payload. As [`Batch::push`].
    pub fn push_all(&mut self, headers: &[u8], parts: &[&[u8]], ingress: PortId, offload: Offload) -> bool {
        let len = headers.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        if len > MAX_FRAME || PREFIX + len > self.free() {
            return false;
        }
        let (first, mut room) = self.room()[PREFIX..].split_at_mut(headers.len());
        first.copy_from_slice(headers);
        for part in parts {
            let (here, rest) = room.split_at_mut(part.len());
            here.copy_from_slice(part);
            room = rest;
        }
        self.commit(len, ingress, offload);
        true
    }
}

/// Which frames of a batch.
#[derive(Clone, Copy)]
enum Picks<'a> {
    /// Those with these indices, in ascending order.
    These(&'a [u32]),
    /// `from..to`.
    Range(u32, u32),
}

/// Frames of one batch that are to leave by one port, in order.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    batch: &'a Batch,
    picks: Picks<'a>,
}

impl<'a> Outgoing<'a> {
    /// The frames of `batch` whose indices are in `picks`, which ascend and are all below `batch.len()`.
    pub fn of(batch: &'a Batch, picks: &'a [u32]) -> Self {
        Self { batch, picks: Picks::These(picks) }
    }

    /// All frames of `batch` from the one with index `from` on.
    pub fn rest_of(batch: &'a Batch, from: usize) -> Self {
        let len = batch.len() as u32;
        Self { batch, picks: Picks::Range((from as u32).min(len), len) }
    }

    /// The same without its first `count` frames.
    #[must_use]
    pub fn skip(self, count: usize) -> Self {
        let count = count.min(self.len());
        let picks = match self.picks {
            Picks::These(picks) => Picks::These(&picks[count..]),
            Picks::Range(from, to) => Picks::Range(from + count as u32, to),
        };
        Self { picks, ..self }
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        match self.picks {
            Picks::These(picks) => picks.len(),
            Picks::Range(from, to) => (to - from) as usize,
        }
    }

    /// No frame at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame at `position`, which is below [`Outgoing::len`].
    pub fn frame(&self, position: usize) -> &'a Frame {
        let index = match self.picks {
            Picks::These(picks) => picks[position],
            Picks::Range(from, _) => from + position as u32,
        };
        &self.batch.frames[index as usize]
    }

    /// The bytes of the frame at `position`, which is below [`Outgoing::len`].
    pub fn bytes(&self, position: usize) -> &'a [u8] {
        self.batch.bytes(self.frame(position))
    }

    /// The frame at `position`, which is below [`Outgoing::len`], with its bytes.
    pub fn at(&self, position: usize) -> (&'a Frame, &'a [u8]) {
        let frame = self.frame(position);
        (frame, self.batch.bytes(frame))
    }

    /// Every frame with its bytes.
    pub fn frames(self) -> impl Iterator<Item = (&'a Frame, &'a [u8])> {
        (0..self.len()).map(move |position| self.at(position))
    }

    /// The frames with their length prefixes as a gather list, neighbours joined.
    pub fn runs(self) -> Runs<'a> {
        Runs { out: self, position: 0 }
    }
}

/// See [`Outgoing::runs`].
pub struct Runs<'a> {
    out: Outgoing<'a>,
    position: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.position == self.out.len() {
            return None;
        }
        let first = self.out.frame(self.position);
        let start = first.start as usize - PREFIX;
        let mut end = (first.start + first.len) as usize;
        self.position += 1;
        while self.position < self.out.len() {
            let next = self.out.frame(self.position);
            if next.start as usize != end + PREFIX {
                break;
            }
            end = (next.start + next.len) as usize;
            self.position += 1;
        }
        Some(&self.out.batch.bytes[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch() -> Batch {
        let mut batch = Batch::new(256);
        for len in [20_u8, 30, 40] {
            assert!(batch.push(&vec![len; usize::from(len)], PortId(0), Offload::NONE));
        }
        batch
    }

    #[test]
    fn neighbours_are_one_run_with_their_prefixes() {
        let batch = batch();
        let runs: Vec<_> = Outgoing::rest_of(&batch, 0).runs().collect();
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].len(), 4 + 20 + 4 + 30 + 4 + 40);
        assert_eq!(runs[0][24..28], [0, 0, 0, 30]);
        assert_eq!(runs[0][28..58], [30; 30]);
    }

    #[test]
    fn a_gap_ends_a_run() {
        let batch = batch();
        let out = Outgoing::of(&batch, &[0, 2]);
        assert_eq!(out.runs().map(<[u8]>::len).collect::<Vec<_>>(), [24, 44]);
        assert_eq!(out.skip(1).runs().map(<[u8]>::len).collect::<Vec<_>>(), [44]);
        assert_eq!(out.skip(9).len(), 0);
        assert_eq!(Outgoing::rest_of(&batch, 2).bytes(0), [40; 40]);
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let mut batch = Batch::new(64);
        assert!(batch.push(&[1; 60], PortId(0), Offload::NONE));
        assert!(!batch.push(&[], PortId(0), Offload::NONE));
        batch.clear();
        assert!(!batch.push(&[1; 61], PortId(0), Offload::NONE));
        assert_eq!(batch.free(), 64);
    }

    #[test]
    fn a_length_is_clamped_to_the_room() {
        let mut batch = Batch::new(2 * MAX_FRAME);
        batch.commit(usize::MAX, PortId(0), Offload::NONE);
        batch.commit(usize::MAX, PortId(0), Offload::NONE);
        assert_eq!(batch.frames().iter().map(Frame::len).collect::<Vec<_>>(), [MAX_FRAME, MAX_FRAME - 2 * PREFIX]);
        let mut small = Batch::new(PREFIX - 1);
        small.commit(0, PortId(0), Offload::NONE);
        assert!(small.is_empty());
        assert_eq!(Outgoing::rest_of(&batch, 1).skip(usize::MAX).len(), 0);
    }

    proptest! {
        /// Whatever is picked, runs are the frames with their prefixes, and no two of them could have been one.
        #[test]
        fn runs_are_the_frames(frames in prop::collection::vec((0_usize..80, any::<bool>()), 0..40), skip in 0_usize..50) {
            let mut batch = Batch::new(40 * 84);
            for (number, (len, _)) in frames.iter().enumerate() {
                prop_assert!(batch.push(&vec![number as u8; *len], PortId(number as u16), Offload::NONE));
            }
            let picked = (0..frames.len() as u32).filter(|&number| frames[number as usize].1);
            let picks: Vec<u32> = picked.collect();
            for out in [Outgoing::of(&batch, &picks).skip(skip), Outgoing::rest_of(&batch, skip)] {
                let mut stream = Vec::new();
                for (frame, bytes) in out.frames() {
                    prop_assert_eq!(bytes, vec![frame.ingress.0 as u8; frames[frame.ingress.index()].0]);
                    stream.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                    stream.extend_from_slice(bytes);
                }
                let runs: Vec<&[u8]> = out.runs().collect();
                prop_assert_eq!(runs.concat(), stream);
                prop_assert!(runs.windows(2).all(|pair| pair[0].as_ptr_range().end != pair[1].as_ptr()));
            }
        }
    }
}
