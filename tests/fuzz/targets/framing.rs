//! How frames are marked in a stream of bytes: whatever pieces a stream comes in, a decoder finds in it what a naive
//! one finds in the whole.

use super::Input;
use std::cell::RefCell;
use zbridge::frame::{Batch, PortId};
use zbridge::internals::codec::{BadLength, LengthPrefix, slip, uart_pipe};
use zbridge::internals::limits::{BATCH_BYTES, MAX_FRAME, MIN_FRAME, SKIP_MAX};

thread_local! {
    /// Room for a frame and a piece. Made once, because that takes longer than anything that is done with it.
    static ROOM: RefCell<Batch> = RefCell::new(Batch::new(BATCH_BYTES));
}

/// One byte that says how the stream is cut, then the stream.
pub fn length_prefix(data: &[u8]) {
    let mut input = Input(data);
    let mut cuts = Cuts(input.byte());
    let stream = input.0;
    let (expected, misfits, end) = naive(stream);
    ROOM.with_borrow_mut(|batch| {
        let mut decoder = LengthPrefix::default();
        let (mut at, mut frames, mut found) = (0, 0, (0, 0));
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
            match taken {
                Ok(odd) => found = (found.0 + odd.short.0, found.1 + odd.long.0),
                Err(bad) => return assert_eq!((frames, Err(bad)), (expected.len(), end)),
            }
        }
        assert_eq!((at, frames, found), (stream.len(), expected.len(), misfits));
        let left = end.expect("what is no length was found");
        assert_eq!(decoder.is_inside(), left > 0);
    });
}

/// Frames, how many were too short and too long, and how many bytes are left at the end, or the length that ends all.
type Naive<'a> = (Vec<&'a [u8]>, (u64, u64), Result<usize, BadLength>);

/// What is in a whole stream.
fn naive(mut stream: &[u8]) -> Naive<'_> {
    let (mut frames, mut misfits) = (Vec::new(), (0, 0));
    while let Some((prefix, rest)) = stream.split_first_chunk() {
        let announced = u32::from_be_bytes(*prefix);
        let whole = rest.split_at_checked(announced as usize);
        match announced as usize {
            len if len < MIN_FRAME => misfits.0 += 1,
            len if len <= MAX_FRAME => frames.extend(whole.map(|(frame, _)| frame)),
            len if len <= SKIP_MAX => misfits.1 += 1,
            _ => return (frames, misfits, Err(BadLength(announced))),
        }
        let Some((_, rest)) = whole else { break };
        stream = rest;
    }
    (frames, misfits, Ok(stream.len()))
}

/// One byte that says how the line is cut, one for the longest frame, then the line.
pub fn slip(data: &[u8]) {
    let mut input = Input(data);
    let (mut cuts, max) = (Cuts(input.byte()), usize::from(input.byte()));
    let line = input.0;
    let mut decoder = slip::Decoder::new(max);
    let mut found = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let mut piece;
        (piece, rest) = rest.split_at(cuts.next(rest.len()));
        while let Some(event) = decoder.next(&mut piece) {
            found.push(match event {
                slip::Event::Frame(frame) => Ok(frame.to_vec()),
                slip::Event::Lost(fault) => Err(fault),
            });
        }
        assert!(piece.is_empty());
    }
    assert_eq!(found, naive_slip(line, max));
    let mut encoded = Vec::new();
    for frame in found.iter().flatten() {
        encoded.clear();
        slip::encode(frame, &mut encoded);
        assert!(encoded.len() <= slip::max_encoded(frame.len()));
        assert_eq!(naive_slip(&encoded, max), [Ok(frame.clone())]);
    }
}

/// RFC 1055, byte by byte.
fn naive_slip(line: &[u8], max: usize) -> Vec<Result<Vec<u8>, slip::Fault>> {
    let (mut found, mut packet, mut escaped, mut skipping) = (Vec::new(), Vec::new(), false, false);
    for &byte in line {
        if skipping {
            skipping = byte != slip::END;
            continue;
        }
        match (std::mem::take(&mut escaped), byte) {
            (true, slip::ESC_END) => packet.push(slip::END),
            (true, slip::ESC_ESC) => packet.push(slip::ESC),
            (true, wrong) => {
                found.push(Err(slip::Fault::Escape));
                packet.clear();
                skipping = wrong != slip::END;
            }
            (false, slip::END) if packet.is_empty() => {}
            (false, slip::END) => found.push(Ok(std::mem::take(&mut packet))),
            (false, slip::ESC) => escaped = true,
            (false, plain) => packet.push(plain),
        }
        if packet.len() > max {
            found.push(Err(slip::Fault::Oversize));
            packet.clear();
            skipping = true;
        }
    }
    found
}

/// One byte that says how the line is cut, one that says whether the rest is frames, each behind its length, that are
/// put on a line in good order, or a line as it came.
pub fn uart_pipe(data: &[u8]) {
    let mut input = Input(data);
    let (mut cuts, orderly) = (Cuts(input.byte()), input.byte() & 1 == 1);
    let (mut line, mut frames) = (Vec::new(), Vec::new());
    while orderly && !input.is_empty() {
        let frame = input.piece();
        let before = line.len();
        let fits = uart_pipe::encode(frame, &mut line).is_ok();
        assert_eq!(fits, (1..=uart_pipe::MAX_FRAME).contains(&frame.len()));
        assert_eq!(line.len(), before + if fits { 2 + frame.len() } else { 0 });
        frames.extend(fits.then_some(frame));
    }
    let line = if orderly { &line } else { input.0 };
    let (mut decoder, mut found, mut events) = (uart_pipe::Decoder::new(), Vec::new(), 0);
    let mut rest = line;
    while !rest.is_empty() {
        let mut piece;
        (piece, rest) = rest.split_at(cuts.next(rest.len()));
        while let Some(event) = decoder.next(&mut piece) {
            events += 1;
            assert!(events <= 2 * line.len(), "more events than bytes");
            if let uart_pipe::Event::Frame(frame) = event {
                assert!((1..=uart_pipe::MAX_FRAME).contains(&frame.len()));
                found.push(frame.to_vec());
            }
        }
        assert!(piece.is_empty());
    }
    assert!(!orderly || found == frames, "{found:?}");
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
