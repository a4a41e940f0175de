//! How frames are marked in a stream of bytes: whatever pieces a stream comes in, a decoder finds in it what a naive
//! one finds in the whole.

use super::Input;
use std::cell::RefCell;
use zbridge::codec::{BadLength, LengthPrefix};
use zbridge::frame::{Batch, PortId};
use zbridge::limits::{BATCH_BYTES, MAX_FRAME, MIN_FRAME, PREFIX};

thread_local! {
    /// Room for a frame and a piece. Made once, because that takes longer than anything that is done with it.
    static ROOM: RefCell<Batch> = RefCell::new(Batch::new(BATCH_BYTES));
}

/// One byte that says how the stream is cut, then the stream.
pub fn length_prefix(data: &[u8]) {
    let mut input = Input(data);
    let mut cuts = Cuts(input.byte());
    let stream = input.0;
    let (expected, end) = naive(stream);
    ROOM.with_borrow_mut(|batch| {
        let mut decoder = LengthPrefix::default();
        let (mut at, mut frames) = (0, 0);
        let mut rest = stream;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(cuts.next(rest.len()));
            rest = behind;
            at += piece.len();
            batch.clear();
            let carried = decoder.begin(batch.room());
            batch.room()[carried..carried + piece.len()].copy_from_slice(piece);
            let taken = decoder.take(batch, carried + piece.len(), PortId(3));
            for frame in batch.frames() {
                assert_eq!(Some(&batch.bytes(frame)), expected.get(frames));
                assert_eq!(frame.ingress, PortId(3));
                frames += 1;
            }
            if taken.is_err() {
                assert_eq!((frames, taken), (expected.len(), end));
                return;
            }
        }
        let whole: usize = expected.iter().map(|frame| PREFIX + frame.len()).sum();
        assert_eq!((at, frames, Ok(())), (stream.len(), expected.len(), end));
        assert_eq!(decoder.is_inside(), whole < stream.len());
    });
}

/// The frames of a whole stream, and the length that ends it.
fn naive(mut stream: &[u8]) -> (Vec<&[u8]>, Result<(), BadLength>) {
    let mut frames = Vec::new();
    while let Some((prefix, rest)) = stream.split_first_chunk() {
        let announced = u32::from_be_bytes(*prefix);
        if announced < MIN_FRAME as u32 || announced > MAX_FRAME as u32 {
            return (frames, Err(BadLength(announced)));
        }
        let Some((frame, rest)) = rest.split_at_checked(announced as usize) else { break };
        frames.push(frame);
        stream = rest;
    }
    (frames, Ok(()))
}

/// The lengths of pieces: all at once, one by one, or a mixture.
struct Cuts(u8);

impl Cuts {
    fn next(&mut self, left: usize) -> usize {
        let len = match self.0 {
            0 => left,
            1 => 1,
            state => {
                self.0 = state.wrapping_mul(5).wrapping_add(3) | 2;
                usize::from(state)
            }
        };
        len.clamp(1, left)
    }
}
