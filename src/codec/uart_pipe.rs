//! `uart_pipe`: IEEE 802.15.4 frames on a serial line, as Zephyr's `ieee802154_uart_pipe.c` sends them.
//!
//! ```text
//! F0  length (1..=127)  frame without FCS
//! ```
//!
//! # Theory of operation
//! There is no checksum and no escape: F0 may be inside a frame, and a lost or stray byte makes a length out of
//! something that is none. The one thing that can be checked is what comes next: **behind a frame there is an F0**, with
//! any number of 00 (an idle line) in front of it. But that byte may come much later, so:
//!
//! - A frame is handed out as soon as it is complete, and kept until the byte behind it is known.
//! - If that byte is an F0, the frame is confirmed and forgotten. If not, synchronism is lost: what was taken for a
//!   frame may have swallowed the start of the next one, as it does when the line lost bytes. So the search for F0
//!   starts over right behind the F0 of the frame that was refuted, in the bytes that were kept.
//! - The inside of a refuted frame is full of false starts. A candidate there is handed out only if the byte behind it,
//!   where it has already arrived, is an F0.
//! - A length of 0 says nothing and is passed over; one above 127 is none, and the search goes on behind it. F0 F0 makes
//!   the second F0 the start.
//!
//! Thus a frame is lost only if bytes of it were lost, or if a false frame in front of it is confirmed by an F0 that
//! happens to be in the right place; and the search never goes back further than one frame. The price is that garbage
//! may be handed out as a frame, which 802.15.4 receivers meet on the air as well.

use memchr::memchr;

/// Begins a frame (`UART_PIPE_RADIO_15_4_FRAME_TYPE` in Zephyr).
pub const START: u8 = 0xf0;
/// The longest frame in bytes (`aMaxPhyPacketSize`, IEEE 802.15.4-2020, 11.3).
pub const MAX_FRAME: usize = 127;
/// START and the length.
const HEADER: usize = 2;
/// Bytes kept: the longest frame, and up to 63 idle bytes behind it. After so many the line is idle indeed, and the
/// frame counts as confirmed.
const KEPT: usize = HEADER + MAX_FRAME + 63;

/// A frame that has no form on this line: empty, or longer than [`MAX_FRAME`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an 802.15.4 frame has 1 to 127 bytes, not {0}")]
pub struct BadLength(pub usize);

/// Appends `frame` to `out` with its header.
///
/// # Errors
/// [`BadLength`], and `out` is as it was.
pub fn encode(frame: &[u8], out: &mut Vec<u8>) -> Result<(), BadLength> {
    let length = u8::try_from(frame.len()).map_err(|_| BadLength(frame.len()))?;
    if !is_length(length) {
        return Err(BadLength(frame.len()));
    }
    out.reserve(HEADER + frame.len());
    out.extend_from_slice(&[START, length]);
    out.extend_from_slice(frame);
    Ok(())
}

/// An event of the decoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A frame of 1 to 127 bytes, without FCS.
    Frame(&'a [u8]),
    /// Bytes came that cannot be where they are. Reported once until the next frame is found.
    Desync,
}

/// The receiving end of one connection.
#[derive(Debug)]
pub struct Decoder {
    /// `kept[..len]` are the bytes not yet decided on.
    kept: [u8; KEPT],
    len: usize,
    /// The frame at the front of `kept` has been handed out and waits for the byte behind it.
    handed_out: bool,
    /// How many bytes at the front of `kept` were part of a refuted frame.
    refuted: usize,
    /// Out of synchronism, and that was reported.
    searching: bool,
}

/// The step after one look at the kept bytes.
enum Step {
    /// `kept[..len]` starts with a frame of so many bytes, to be handed out.
    Frame(usize),
    /// To be reported.
    Desync,
    /// Look again.
    Again,
    /// So many more bytes are needed.
    Need(usize),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub const fn new() -> Self {
        Self { kept: [0; KEPT], len: 0, handed_out: false, refuted: 0, searching: false }
    }

    /// The next event in `input`, which is moved on past what was read; `None` when all of it was. To be called until
    /// it returns `None`, or again later with what is left of `input`.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Event<'_>> {
        loop {
            let step = if self.handed_out { self.confirm() } else { self.search(input) };
            match step {
                Step::Again => {}
                Step::Desync => return Some(Event::Desync),
                Step::Frame(len) => {
                    self.handed_out = true;
                    self.searching = false;
                    return Some(Event::Frame(self.kept.get(HEADER..HEADER + len).unwrap_or_default()));
                }
                Step::Need(_) if input.is_empty() => return None,
                Step::Need(count) => self.keep(input, count),
            }
        }
    }

    /// The frame at the front was handed out: is it confirmed?
    fn confirm(&mut self) -> Step {
        let kept = self.kept.get(..self.len).unwrap_or_default();
        let end = frame_end(kept);
        let behind = kept.get(end..).unwrap_or_default();
        match behind.iter().position(|byte| *byte != 0) {
            Some(idle) if behind.get(idle) == Some(&START) => self.drop_front(end + idle),
            None if self.len < KEPT => return Step::Need(1),
            None => self.drop_front(self.len),
            Some(_) => {
                self.drop_front(1);
                self.refuted = self.refuted.max(end - 1);
                self.handed_out = false;
                return self.lost();
            }
        }
        self.handed_out = false;
        Step::Again
    }

    /// Looks for a frame at the front of the kept bytes; `ahead` comes next.
    fn search(&mut self, ahead: &[u8]) -> Step {
        let kept = self.kept.get(..self.len).unwrap_or_default();
        match *kept {
            [] => Step::Need(1),
            [START] => Step::Need(1),
            [START, 0, ..] => {
                self.drop_front(HEADER);
                Step::Again
            }
            [START, length, ..] if is_length(length) => {
                let end = HEADER + usize::from(length);
                if kept.len() < end {
                    return Step::Need(end - kept.len());
                }
                let mut behind = kept.iter().skip(end).chain(ahead);
                if self.refuted > 0 && behind.find(|byte| **byte != 0).is_some_and(|byte| *byte != START) {
                    self.drop_front(1);
                    return self.lost();
                }
                Step::Frame(usize::from(length))
            }
            [START, ..] => {
                self.drop_front(1);
                self.lost()
            }
            [0, ..] => {
                self.drop_front(1);
                Step::Again
            }
            _ => {
                self.drop_front(memchr(START, kept).unwrap_or(kept.len()));
                self.lost()
            }
        }
    }

    fn lost(&mut self) -> Step {
        if std::mem::replace(&mut self.searching, true) { Step::Again } else { Step::Desync }
    }

    /// Moves up to `count` bytes from `input` to the end of the kept bytes.
    fn keep(&mut self, input: &mut &[u8], count: usize) {
        let room = self.kept.get_mut(self.len..).unwrap_or_default();
        let count = count.min(room.len()).min(input.len());
        if let (Some(room), Some((head, tail))) = (room.get_mut(..count), input.split_at_checked(count)) {
            room.copy_from_slice(head);
            *input = tail;
            self.len += count;
        }
    }

    /// Forgets the first `count` bytes.
    fn drop_front(&mut self, count: usize) {
        let count = count.min(self.len);
        self.kept.copy_within(count..self.len, 0);
        self.len -= count;
        self.refuted = self.refuted.saturating_sub(count);
    }
}

/// Where the frame at the front of `kept` ends.
fn frame_end(kept: &[u8]) -> usize {
    HEADER + kept.get(1).map_or(0, |length| usize::from(*length))
}

const fn is_length(byte: u8) -> bool {
    byte >= 1 && byte as usize <= MAX_FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All frames of `line`, fed in chunks of `chunk`, and how often synchronism was lost.
    fn decoded(line: &[u8], chunk: usize) -> (Vec<Vec<u8>>, usize) {
        let (mut decoder, mut frames, mut lost) = (Decoder::new(), Vec::new(), 0);
        for mut input in line.chunks(chunk) {
            while let Some(event) = decoder.next(&mut input) {
                match event {
                    Event::Frame(frame) => frames.push(frame.to_vec()),
                    Event::Desync => lost += 1,
                }
            }
            assert!(input.is_empty());
        }
        (frames, lost)
    }

    fn encoded(frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(frame, &mut out).unwrap();
        out
    }

    /// `frames` numbered in their first byte, without an F0 inside.
    fn line(lens: &[usize]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let frame = |(index, len): (usize, &usize)| {
            let mut frame = vec![0x41; *len];
            frame[0] = index as u8 + 1;
            frame
        };
        let frames: Vec<Vec<u8>> = lens.iter().enumerate().map(frame).collect();
        let line = frames.iter().flat_map(|frame| encoded(frame)).collect();
        (frames, line)
    }

    #[test]
    fn as_on_the_wire() {
        assert_eq!(encoded(&[0x41, 0xd8]), [0xf0, 2, 0x41, 0xd8]);
        let mut out = vec![1];
        assert_eq!(encode(&[], &mut out), Err(BadLength(0)));
        assert_eq!(encode(&[0; 128], &mut out), Err(BadLength(128)));
        assert_eq!(encode(&[0; 300], &mut out), Err(BadLength(300)));
        assert_eq!(out, [1]);
        assert_eq!(decoded(&encoded(&[7; 127]), 1), (vec![vec![7; 127]], 0));
    }

    #[test]
    fn a_frame_waits_for_nothing() {
        let mut decoder = Decoder::new();
        let mut input = &encoded(&[1, 2, 3])[..];
        assert_eq!(decoder.next(&mut input), Some(Event::Frame(&[1, 2, 3])));
        assert_eq!(decoder.next(&mut input), None);
    }

    #[test]
    fn idle_bytes_are_harmless() {
        for idle in [0, 1, 62, 63, 64, 500] {
            let line = [encoded(&[1]), vec![0; idle], encoded(&[2]), vec![0xf0, 0], encoded(&[3])].concat();
            for chunk in 1..9 {
                assert_eq!(decoded(&line, chunk), (vec![vec![1], vec![2], vec![3]], 0), "{idle} idle bytes");
            }
        }
    }

    #[test]
    fn a_stray_start_swallows_nothing() {
        // F0 20 is read as a frame of 32 bytes, in which the true ones are.
        let (frames, line) = line(&[10, 11, 12, 13]);
        for chunk in 1..60 {
            let (got, lost) = decoded(&[&[0xf0, 0x20][..], &line].concat(), chunk);
            assert!(lost >= 1);
            assert!(frames.iter().all(|frame| got.contains(frame)), "in chunks of {chunk}: {got:?}");
        }
    }

    #[test]
    fn no_length_is_taken_above_127() {
        let line = [vec![0xf0, 0xff, 0xf0, 0x80, 0xf0], encoded(&[1])].concat();
        assert_eq!(decoded(&line, 9), (vec![vec![1]], 1));
    }

    #[test]
    fn bytes_lost_inside_cost_their_own_frame() {
        let (frames, line) = line(&[40, 50, 60, 3, 70]);
        for at in 2..42 {
            for count in 1..=(42 - at) {
                let damaged = [&line[..at], &line[at + count..]].concat();
                for chunk in [1, 7, 1000] {
                    let (got, lost) = decoded(&damaged, chunk);
                    assert_eq!(got[got.len() - 4..], frames[1..], "without {count} bytes at {at}");
                    assert!(lost >= 1);
                }
            }
        }
    }

    fn noise() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(START), Just(0), 0u8..=127, any::<u8>()], 0..60)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=127), 1..8),
                                  chunk in 1usize..300) {
            let line: Vec<u8> = frames.iter().flat_map(|frame| encoded(frame)).collect();
            prop_assert_eq!(decoded(&line, chunk), (frames, 0));
        }

        #[test]
        fn noise_without_a_start_costs_nothing(lens in prop::collection::vec(1usize..=127, 1..8), noise in noise(),
                                               chunk in 1usize..300) {
            let noise: Vec<u8> = noise.into_iter().filter(|byte| *byte != START).collect();
            let (frames, _) = line(&lens);
            let line: Vec<u8> = frames.iter().flat_map(|frame| [noise.clone(), encoded(frame)].concat()).collect();
            prop_assert_eq!(decoded(&line, chunk).0, frames);
        }

        #[test]
        fn any_noise_ends_within_one_frame(lens in prop::collection::vec(1usize..=127, 8..20), noise in noise(),
                                           chunk in 1usize..300) {
            let (frames, line) = line(&lens);
            let (got, _) = decoded(&[noise, line].concat(), chunk);
            // A false frame that is confirmed can hide no more than its 127 bytes, and ends where a true one starts.
            let mut sent = 0;
            let hidden = lens.iter().take_while(|len| { sent += HEADER + **len; sent <= MAX_FRAME }).count();
            let wanted = &frames[hidden + 1..];
            prop_assert!(got.ends_with(wanted), "{:?} of {:?}", got, wanted);
        }

        #[test]
        fn any_bytes_end(line in prop::collection::vec(prop_oneof![Just(START), 0u8..=130], 0..2000),
                         chunk in 1usize..300) {
            let (frames, _) = decoded(&line, chunk);
            prop_assert!(frames.iter().all(|frame| (1..=MAX_FRAME).contains(&frame.len())));
        }
    }
}
