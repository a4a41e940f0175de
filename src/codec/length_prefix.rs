//! Four bytes of length, big-endian, then the frame: QEMU's `-netdev stream`, passt, socket_vmnet.
//!
//! Theory of operation. The bytes of a read stay where they are: the decoder only notes in the [`Batch`] where the
//! frames lie, so a frame is never copied on its way in. What is left at the end, a frame whose rest has not come
//! yet, is kept aside (`carry`) and put in front of the next read. A decoder belongs to one connection and dies with
//! it; a peer that leaves in the middle of a frame spoils nothing for the next one.
//!
//! A length that no frame can have means that the two sides disagree on where frames begin. There is no way back from
//! that, so the connection has to be closed.

use crate::frame::{Batch, PortId};
use crate::limits::{MAX_FRAME, MIN_FRAME, PREFIX};
use crate::wire::Offload;

/// A length that no frame can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "it announced a frame of {0} bytes (14 to 65535 can be); it does not speak 4-byte length and frame, or is broken"
)]
pub struct BadLength(pub u32);

/// The state of one connection's incoming stream. See the head of the file.
#[derive(Default)]
pub struct LengthPrefix {
    carry: Vec<u8>,
}

impl LengthPrefix {
    /// Puts the unfinished frame of the last read at the start of `room` and returns its length: the next read goes
    /// behind it. `room` has [`PREFIX`] + [`MAX_FRAME`] bytes at least.
    pub fn begin(&self, room: &mut [u8]) -> usize {
        room[..self.carry.len()].copy_from_slice(&self.carry);
        self.carry.len()
    }

    /// Whether the stream stands in the middle of a frame.
    pub fn is_inside(&self) -> bool {
        !self.carry.is_empty()
    }

    /// Takes the frames out of the first `filled` bytes of the batch's room, which [`LengthPrefix::begin`] and a read
    /// put there.
    ///
    /// # Errors
    /// [`BadLength`]; the frames before it are in the batch.
    pub fn take(&mut self, batch: &mut Batch, filled: usize, id: PortId) -> Result<(), BadLength> {
        let mut left = filled;
        loop {
            let room = &batch.room()[..left];
            let Some(prefix) = room.first_chunk::<PREFIX>() else { break };
            let announced = u32::from_be_bytes(*prefix);
            let len = announced as usize;
            if !(MIN_FRAME..=MAX_FRAME).contains(&len) {
                return Err(BadLength(announced));
            }
            if left < PREFIX + len {
                break;
            }
            batch.commit_prefixed(len, id, Offload::NONE);
            left -= PREFIX + len;
        }
        self.carry.clear();
        self.carry.extend_from_slice(&batch.room()[..left]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in pieces that end at `cuts`, through a batch that is emptied after each.
    fn decode(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Result<(), BadLength>) {
        let mut decoder = LengthPrefix::default();
        let mut frames = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&stream.len()]) {
            let piece = &stream[from..cut.max(from)];
            from = cut.max(from);
            let mut batch = Batch::new(PREFIX + MAX_FRAME + piece.len());
            let carried = decoder.begin(batch.room());
            batch.room()[carried..carried + piece.len()].copy_from_slice(piece);
            let taken = decoder.take(&mut batch, carried + piece.len(), PortId(3));
            frames.extend(batch.frames().iter().map(|frame| batch.bytes(frame).to_vec()));
            if taken.is_err() {
                return (frames, taken);
            }
        }
        assert_eq!(decoder.is_inside(), frames.iter().map(|frame| frame.len() + 4).sum::<usize>() != stream.len());
        (frames, Ok(()))
    }

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat()).collect()
    }

    #[test]
    fn cut_at_every_offset() {
        let frames = vec![vec![1; 14], vec![2; 60], vec![3; 1514]];
        let stream = encode(&frames);
        for cut in 0..=stream.len() {
            assert_eq!(decode(&stream, &[cut]), (frames.clone(), Ok(())), "cut at {cut}");
        }
    }

    #[test]
    fn one_byte_at_a_time() {
        let frames = vec![vec![1; 14], vec![2; 60], vec![3; 100]];
        let stream = encode(&frames);
        assert_eq!(decode(&stream, &(0..stream.len()).collect::<Vec<_>>()), (frames, Ok(())));
    }

    #[test]
    fn lengths_that_no_frame_has() {
        for bad in [0, 13, 65_536, 0x4745_5420, u32::MAX] {
            let mut stream = encode(&[vec![7; 20]]);
            stream.extend_from_slice(&bad.to_be_bytes());
            assert_eq!(decode(&stream, &[]), (vec![vec![7; 20]], Err(BadLength(bad))));
        }
    }

    proptest! {
        #[test]
        fn any_frames_any_cuts(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 14..400), 0..20),
            mut cuts in prop::collection::vec(0_usize..8000, 0..20),
        ) {
            let stream = encode(&frames);
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(stream.len()));
            cuts.sort_unstable();
            prop_assert_eq!(decode(&stream, &cuts), (frames, Ok(())));
        }

        #[test]
        fn any_bytes(stream in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let _ = decode(&stream, &[cut.min(stream.len())]);
        }
    }
}
