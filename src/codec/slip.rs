//! SLIP (RFC 1055): packets on a serial line, each ended by END, with END and ESC inside escaped.
//!
//! ```text
//! C0  payload, where C0 is sent as DB DC and DB as DB DD  C0
//! ```
//!
//! # Theory of operation
//! The decoder is in one of three states: in a packet, behind an ESC in a packet, or skipping to the next END after a
//! fault. Runs without END and ESC are found with `memchr`. A packet that lies whole and unescaped in the input is
//! handed out from there; only what is escaped or arrives in chunks is put together in a buffer, which keeps its size
//! and never grows beyond the longest frame that is allowed.
//!
//! Faults cost exactly the packet they are in: one that is too long, or has an ESC in front of something other than
//! ESC_END and ESC_ESC, is dropped whole up to its END. Lost bytes can merge two packets into one, which is for the
//! protocol inside to find, as SLIP has no checksum. Nothing between two ENDs is no packet: senders put an END in front
//! to flush noise, as RFC 1055 advises.

use memchr::{memchr, memchr2, memchr2_iter};

/// Ends a packet (octal 300).
pub const END: u8 = 0xc0;
/// Begins an escape (octal 333).
pub const ESC: u8 = 0xdb;
/// Behind ESC: an END in the data (octal 334).
pub const ESC_END: u8 = 0xdc;
/// Behind ESC: an ESC in the data (octal 335).
pub const ESC_ESC: u8 = 0xdd;

/// The most bytes [`encode`] makes of a frame of `len`: every byte escaped, an END at both ends.
pub const fn max_encoded(len: usize) -> usize {
    len.saturating_mul(2).saturating_add(2)
}

/// Appends `frame` to `out` as one packet, with an END on both sides as Zephyr sends it: the one in front ends whatever
/// noise came before.
pub fn encode(frame: &[u8], out: &mut Vec<u8>) {
    out.reserve(max_encoded(frame.len()));
    out.push(END);
    let mut from = 0;
    for at in memchr2_iter(END, ESC, frame) {
        let (run, byte) = (frame.get(from..at).unwrap_or_default(), frame.get(at));
        out.extend_from_slice(run);
        out.extend_from_slice(&[ESC, if byte == Some(&END) { ESC_END } else { ESC_ESC }]);
        from = at + 1;
    }
    out.extend_from_slice(frame.get(from..).unwrap_or_default());
    out.push(END);
}

/// An event of the decoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A packet, 1 to the allowed number of bytes.
    Frame(&'a [u8]),
    /// A packet was dropped. Reported when the fault is seen, once per packet.
    Lost(Fault),
}

/// Why a packet was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Fault {
    /// Longer than the connection allows.
    #[error("SLIP packet too long")]
    Oversize,
    /// ESC in front of a byte that cannot follow it.
    #[error("SLIP protocol violation behind ESC")]
    Escape,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Packet,
    Escaped,
    /// Everything up to the next END belongs to a packet that is lost.
    Skipping,
}

/// The receiving end of one connection.
#[derive(Debug)]
pub struct Decoder {
    max: usize,
    state: State,
    /// The packet so far, or the one handed out last if `handed_out`.
    packet: Vec<u8>,
    handed_out: bool,
}

impl Decoder {
    /// A decoder for packets of at most `max` bytes, at the start of a connection. It takes memory when a packet needs
    /// it.
    pub const fn new(max: usize) -> Self {
        Self { max, state: State::Packet, packet: Vec::new(), handed_out: false }
    }

    /// The next event in `input`, which is moved on past what was read; `None` when all of it was. To be called until
    /// it returns `None`, or again later with what is left of `input`.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Option<Event<'s>> {
        if std::mem::take(&mut self.handed_out) {
            self.packet.clear();
        }
        while !input.is_empty() {
            match self.state {
                State::Skipping => self.skip(input),
                State::Escaped => {
                    if let Some(fault) = self.unescape(take(input, 1)) {
                        return Some(Event::Lost(fault));
                    }
                }
                State::Packet => {
                    let run = take(input, memchr2(END, ESC, input).unwrap_or(input.len()));
                    match take(input, 1) {
                        [END] if self.packet.is_empty() && run.len() <= self.max => {
                            if !run.is_empty() {
                                return Some(Event::Frame(run));
                            }
                        }
                        [END] if self.append(run) => {
                            self.handed_out = true;
                            return Some(Event::Frame(&self.packet));
                        }
                        [END] => return Some(self.lose(Fault::Oversize, State::Packet)),
                        escape if self.append(run) => {
                            if !escape.is_empty() {
                                self.state = State::Escaped;
                            }
                        }
                        _ => return Some(self.lose(Fault::Oversize, State::Skipping)),
                    }
                }
            }
        }
        None
    }

    /// Moves `input` behind the END of a lost packet, or to its end.
    fn skip(&mut self, input: &mut &[u8]) {
        match memchr(END, input) {
            Some(at) => {
                take(input, at + 1);
                self.state = State::Packet;
            }
            None => *input = &[],
        }
    }

    /// The byte behind an ESC.
    fn unescape(&mut self, code: &[u8]) -> Option<Fault> {
        let byte = match code {
            [ESC_END] => END,
            [ESC_ESC] => ESC,
            _ => {
                // An END here ends the packet that is lost, so the next one is not.
                let then = if code == [END] { State::Packet } else { State::Skipping };
                self.lose(Fault::Escape, then);
                return Some(Fault::Escape);
            }
        };
        self.state = State::Packet;
        if self.append(&[byte]) {
            return None;
        }
        self.lose(Fault::Oversize, State::Skipping);
        Some(Fault::Oversize)
    }

    /// Adds `run` to the packet; false, and nothing added, if that makes it too long.
    fn append(&mut self, run: &[u8]) -> bool {
        let fits = run.len() <= self.max.saturating_sub(self.packet.len());
        if fits {
            self.packet.extend_from_slice(run);
        }
        fits
    }

    fn lose(&mut self, fault: Fault, then: State) -> Event<'static> {
        self.packet.clear();
        self.state = then;
        Event::Lost(fault)
    }
}

/// Takes the first `len` bytes off `input`, or all if there are fewer.
fn take<'i>(input: &mut &'i [u8], len: usize) -> &'i [u8] {
    let (head, tail) = input.split_at_checked(len).unwrap_or((input, &[]));
    *input = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, PartialEq, Eq, Debug)]
    enum Got {
        Frame(Vec<u8>),
        Lost(Fault),
    }

    fn drain(decoder: &mut Decoder, mut input: &[u8], got: &mut Vec<Got>) {
        while let Some(event) = decoder.next(&mut input) {
            got.push(match event {
                Event::Frame(frame) => Got::Frame(frame.to_vec()),
                Event::Lost(fault) => Got::Lost(fault),
            });
        }
        assert!(input.is_empty());
    }

    /// All events of `bytes`, fed in chunks of `chunk`.
    fn decoded(max: usize, bytes: &[u8], chunk: usize) -> Vec<Got> {
        let (mut decoder, mut got) = (Decoder::new(max), Vec::new());
        for chunk in bytes.chunks(chunk) {
            drain(&mut decoder, chunk, &mut got);
        }
        got
    }

    fn encoded(frame: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(frame, &mut out);
        assert!(out.len() <= max_encoded(frame.len()));
        out
    }

    fn frame(bytes: &[u8]) -> Got {
        Got::Frame(bytes.to_vec())
    }

    #[test]
    fn as_on_the_wire() {
        assert_eq!(encoded(&[1, 0xc0, 2, 0xdb, 3]), [0xc0, 1, 0xdb, 0xdc, 2, 0xdb, 0xdd, 3, 0xc0]);
        assert_eq!(encoded(&[]), [0xc0, 0xc0]);
    }

    #[test]
    fn nothing_between_two_ends_is_no_packet() {
        for chunk in 1..8 {
            assert_eq!(decoded(9, &[END, END, END, 1, 2, END, END, 3, END], chunk), [frame(&[1, 2]), frame(&[3])]);
        }
    }

    #[test]
    fn the_worst_frames() {
        for byte in [END, ESC] {
            let worst = [byte; 1518];
            let line = encoded(&worst);
            assert_eq!(line.len(), max_encoded(worst.len()));
            for chunk in [1, 2, 3, 1000, 4000] {
                assert_eq!(decoded(1518, &line, chunk), [frame(&worst)]);
            }
        }
    }

    #[test]
    fn oversize_is_dropped_whole() {
        let line = [encoded(&[7; 10]), encoded(&[END; 11]), encoded(&[8; 11]), encoded(&[9; 10])].concat();
        let lost = Got::Lost(Fault::Oversize);
        for chunk in 1..line.len() {
            let wanted = [frame(&[7; 10]), lost.clone(), lost.clone(), frame(&[9; 10])];
            assert_eq!(decoded(10, &line, chunk), wanted, "in chunks of {chunk}");
        }
    }

    #[test]
    fn a_wrong_escape_costs_one_packet() {
        let lost = Got::Lost(Fault::Escape);
        for chunk in 1..10 {
            assert_eq!(decoded(9, &[1, ESC, 2, 3, ESC, END, 4, END], chunk), [lost.clone(), frame(&[4])]);
            assert_eq!(decoded(9, &[1, ESC, END, 4, END], chunk), [lost.clone(), frame(&[4])]);
            assert_eq!(decoded(9, &[1, ESC, ESC, ESC_END, END, 4, END], chunk), [lost.clone(), frame(&[4])]);
        }
    }

    #[test]
    fn the_buffer_is_bounded_and_kept() {
        let mut decoder = Decoder::new(100);
        let mut got = Vec::new();
        for _ in 0..1000 {
            drain(&mut decoder, &[1; 99], &mut got);
            assert!(decoder.packet.len() <= 100);
        }
        assert_eq!(got, [Got::Lost(Fault::Oversize)]);
        let kept = decoder.packet.capacity();
        drain(&mut decoder, &[END, 1, ESC, ESC_ESC, END], &mut got);
        assert_eq!((decoder.packet.capacity(), got.pop()), (kept, Some(frame(&[1, ESC]))));
    }

    /// Bytes that are END or ESC or their codes half the time.
    fn thorny() -> impl Strategy<Value = u8> {
        prop_oneof![prop::sample::select(&[END, ESC, ESC_END, ESC_ESC][..]), any::<u8>()]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(frames in prop::collection::vec(prop::collection::vec(thorny(), 1..200), 1..8),
                                  cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let line: Vec<u8> = frames.iter().flat_map(|frame| encoded(frame)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(line.len())).chain([0, line.len()]).collect();
            cuts.sort_unstable();
            let (mut decoder, mut got) = (Decoder::new(200), Vec::new());
            cuts.windows(2).for_each(|cut| drain(&mut decoder, &line[cut[0]..cut[1]], &mut got));
            prop_assert_eq!(got, frames.into_iter().map(Got::Frame).collect::<Vec<_>>());
        }

        #[test]
        fn noise_between_frames_costs_none(frames in prop::collection::vec(prop::collection::vec(thorny(), 1..50), 1..8),
                                           noise in prop::collection::vec(thorny(), 0..80), chunk in 1usize..40) {
            let line: Vec<u8> = frames.iter().flat_map(|frame| [noise.clone(), encoded(frame)].concat()).collect();
            let got = decoded(50, &line, chunk);
            // What the noise makes of itself may lie between, but every frame is there, in order.
            let mut rest = got.iter();
            for frame in frames {
                prop_assert!(rest.any(|got| *got == Got::Frame(frame.clone())));
            }
        }

        #[test]
        fn chunks_make_no_difference(line in prop::collection::vec(thorny(), 0..300), chunk in 1usize..40) {
            let whole = decoded(20, &line, line.len().max(1));
            prop_assert_eq!(decoded(20, &line, chunk), whole);
        }
    }
}
