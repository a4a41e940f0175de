//! Four bytes of length, big-endian, then the frame: QEMU's `-netdev stream`, passt, socket_vmnet.
//!
//! Theory of operation. The bytes of a read stay where they are: the decoder only notes in the [`Batch`] where the
//! frames lie, so a frame is never copied on its way in. What is left at the end, a frame whose rest has not come
//! yet, is kept aside (`carry`) and put in front of the next read. A decoder belongs to one connection and dies with
//! it; a peer that leaves in the middle of a frame spoils nothing for the next one.
//!
//! A length that no frame can have still says where the next one begins. So what is shorter than an Ethernet header,
//! or longer than a frame can be, is passed over and told of as a [`Misfits`]. Only a length beyond [`SKIP_MAX`] is no
//! length at all (text, bytes in the other order): the two sides disagree on where frames begin, there is no way back
//! from that, and the connection has to be closed.

use crate::frame::{Batch, PortId};
use crate::limits::{MAX_FRAME, MIN_FRAME, PREFIX, SKIP_MAX};
use crate::wire::Offload;

/// A length that cannot be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "it announced a frame of {0} bytes (14 to 65535 can be); it does not speak 4-byte length and frame, or is broken"
)]
pub struct BadLength(pub u32);

/// Correctly announced packets that are no frames. Their bytes were skipped, or will be when they come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Misfits {
    /// Shorter than [`MIN_FRAME`]: how many, and their bytes.
    pub short: (u64, u64),
    /// Longer than [`MAX_FRAME`]: how many, and their bytes as announced.
    pub long: (u64, u64),
}

impl Misfits {
    /// There was none.
    pub fn is_empty(&self) -> bool {
        self.short.0 + self.long.0 == 0
    }
}

/// The state of one connection's incoming stream. See the head of the file.
#[derive(Default)]
pub struct LengthPrefix {
    carry: Vec<u8>,
    /// Bytes still to come of a packet that is too long for a frame.
    skip: usize,
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
        self.skip > 0 || !self.carry.is_empty()
    }

    /// Takes the frames out of the first `filled` bytes of the batch's room, which [`LengthPrefix::begin`] and a read
    /// put there. What was no frame is told.
    ///
    /// # Errors
    /// [`BadLength`]; the frames before it are in the batch. The decoder is of no more use.
    pub fn take(&mut self, batch: &mut Batch, filled: usize, id: PortId) -> Result<Misfits, BadLength> {
        let mut misfits = Misfits::default();
        let mut left = self.pass_over(batch, filled);
        loop {
            let room = &batch.room()[..left];
            let Some(prefix) = room.first_chunk::<PREFIX>() else { break };
            let announced = u32::from_be_bytes(*prefix);
            let len = announced as usize;
            if !(MIN_FRAME..=MAX_FRAME).contains(&len) {
                left = self.refuse(batch, left, announced, &mut misfits)?;
                continue;
            }
            if left < PREFIX + len {
                break;
            }
            batch.commit_prefixed(len, id, Offload::NONE);
            left -= PREFIX + len;
        }
        self.carry.clear();
        self.carry.extend_from_slice(&batch.room()[..left]);
        Ok(misfits)
    }

    /// Notes an announced packet that is no frame, and skips the bytes of it that are there. Returns the rest.
    #[cold]
    fn refuse(&mut self, batch: &mut Batch, left: usize, len: u32, misfits: &mut Misfits) -> Result<usize, BadLength> {
        if len as usize > SKIP_MAX {
            return Err(BadLength(len));
        }
        let tally = if (len as usize) < MIN_FRAME { &mut misfits.short } else { &mut misfits.long };
        tally.0 += 1;
        tally.1 += u64::from(len);
        self.skip = PREFIX + len as usize;
        Ok(self.pass_over(batch, left))
    }

    /// Skips bytes among the `left` bytes in the room. Returns how many are left behind them.
    fn pass_over(&mut self, batch: &mut Batch, left: usize) -> usize {
        let passed = self.skip.min(left);
        if passed > 0 {
            self.skip -= passed;
            batch.skip(passed);
        }
        left - passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in chunks that end at `cuts`, through a batch that is emptied after each.
    fn decode(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Result<Misfits, BadLength>) {
        let mut decoder = LengthPrefix::default();
        let mut misfits = Misfits::default();
        let mut frames = Vec::new();
        let mut from = 0;
        for &cut in cuts.iter().chain([&stream.len()]) {
            let chunk = &stream[from..cut.max(from)];
            from = cut.max(from);
            let mut batch = Batch::new(PREFIX + MAX_FRAME + chunk.len());
            let carried = decoder.begin(batch.room());
            batch.room()[carried..carried + chunk.len()].copy_from_slice(chunk);
            let taken = decoder.take(&mut batch, carried + chunk.len(), PortId(3));
            frames.extend(batch.frames().iter().map(|frame| batch.bytes(frame).to_vec()));
            match taken {
                Ok(more) => {
                    let sum = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
                    misfits = Misfits { short: sum(misfits.short, more.short), long: sum(misfits.long, more.long) };
                }
                Err(_) => return (frames, taken),
            }
        }
        let whole = frames.iter().map(|frame| frame.len() + 4).sum::<usize>() as u64;
        let passed = 4 * (misfits.short.0 + misfits.long.0) + misfits.short.1 + misfits.long.1;
        assert_eq!(decoder.is_inside(), whole + passed != stream.len() as u64);
        (frames, Ok(misfits))
    }

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat()).collect()
    }

    #[test]
    fn cut_at_every_offset() {
        let frames = vec![vec![1; 14], vec![2; 60], vec![3; 1514]];
        let stream = encode(&frames);
        for cut in 0..=stream.len() {
            assert_eq!(decode(&stream, &[cut]), (frames.clone(), Ok(Misfits::default())), "cut at {cut}");
        }
    }

    #[test]
    fn one_byte_at_a_time() {
        let frames = vec![vec![1; 14], vec![2; 60], vec![3; 100]];
        let stream = encode(&frames);
        assert_eq!(decode(&stream, &(0..stream.len()).collect::<Vec<_>>()), (frames, Ok(Misfits::default())));
    }

    #[test]
    fn what_cannot_be_a_length_ends_the_stream() {
        for bad in [SKIP_MAX as u32 + 1, 0x4745_5420, 0x3c00_0000, u32::MAX] {
            let mut stream = encode(&[vec![7; 20]]);
            stream.extend_from_slice(&bad.to_be_bytes());
            assert_eq!(decode(&stream, &[]), (vec![vec![7; 20]], Err(BadLength(bad))));
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_passed_over_wherever_it_is_cut() {
        let frames = vec![vec![7; 20], Vec::new(), vec![8; 13], vec![9; 14], vec![1; 65_536], vec![5; 60], vec![2; 3]];
        let stream = encode(&frames);
        let whole = vec![vec![7; 20], vec![9; 14], vec![5; 60]];
        let misfits = Misfits { short: (3, 16), long: (1, 65_536) };
        let last = stream.len();
        for cut in (0..70).chain(last - 90..=last) {
            assert_eq!(decode(&stream, &[cut]), (whole.clone(), Ok(misfits)), "cut at {cut}");
            let more = [cut, cut + 1, cut + 1000].map(|cut| cut.min(last));
            assert_eq!(decode(&stream, &more), (whole.clone(), Ok(misfits)), "cut at {cut}");
        }
        let longest = encode(&[vec![3; SKIP_MAX], vec![5; 60]]);
        let chunks: Vec<usize> = (0..longest.len()).step_by(60_000).collect();
        assert_eq!(decode(&longest, &chunks).0, [vec![5; 60]]);
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
            prop_assert_eq!(decode(&stream, &cuts), (frames, Ok(Misfits::default())));
        }

        #[test]
        fn any_bytes(stream in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let _ = decode(&stream, &[cut.min(stream.len())]);
        }
    }
}
