//! The state of a serial line for one peer: its decoder, and the partly sent output.
//!
//! Theory of operation. Frames are encoded into a *burst* and written at once. If the write ends within a frame, only
//! the rest of that frame stays in the burst, and leaves before anything else. So frames on the line are always whole,
//! whatever is offered next, and a frame that was cut is never encoded twice.
//!
//! A session ends with its peer: after an error it is thrown away, not mended.

use super::{Gone, Octets, Protocol};
use crate::codec::{slip, uart_pipe};
use crate::counters::Counters;
use crate::frame::Outgoing;
use crate::time::Instant;
use std::ops::Range;

/// Bytes after which no further frame is encoded before a write.
const BURST: usize = 16 * 1024;

/// Finds frames in what comes.
pub(super) enum Decoder {
    Slip(slip::Decoder),
    Radio(uart_pipe::Decoder),
}

/// See the module.
pub(super) struct Session {
    pub decoder: Decoder,
    /// An answer to one of Contiki's questions, and how much of it has left.
    pub answer: (Vec<u8>, usize),
    /// Frames as they go out, and where each ends.
    burst: Vec<u8>,
    ends: Vec<usize>,
    /// The part of the burst that has still to leave of a frame that was cut.
    rest: Range<usize>,
}

impl Session {
    /// A session with a peer that has not said anything. `longest`: bytes of a packet at most.
    pub fn new(protocol: &Protocol, longest: usize) -> Self {
        let decoder = match protocol {
            Protocol::Ether | Protocol::Ip(_) => Decoder::Slip(slip::Decoder::new(longest)),
            Protocol::Wpan => Decoder::Radio(uart_pipe::Decoder::new()),
        };
        Self { decoder, answer: (Vec::new(), 0), burst: Vec::new(), ends: Vec::new(), rest: 0..0 }
    }

    /// Whether part of a frame has left, and its rest has not.
    pub fn has_begun(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Sends the rest of the frame that was cut, if one was: it is the first of `out`. False: not all of it has left.
    pub fn send_rest(
        &mut self,
        line: &impl Octets,
        out: Outgoing<'_>,
        counters: &mut Counters,
        done: &mut usize,
    ) -> Result<bool, Gone> {
        let rest = self.burst.get(self.rest.clone()).unwrap_or_default();
        if rest.is_empty() || out.is_empty() {
            return Ok(true);
        }
        self.rest.start += line.write(rest)?;
        if !self.rest.is_empty() {
            return Ok(false);
        }
        counters.sent(1, out.frame(0).len() as u64);
        *done += 1;
        Ok(true)
    }

    /// Sends an answer, if there is one and no frame is half sent. False: not all of it has left.
    pub fn send_answer(&mut self, line: &impl Octets) -> Result<bool, Gone> {
        let (answer, sent) = &mut self.answer;
        if answer.is_empty() || !self.rest.is_empty() {
            return Ok(true);
        }
        *sent += line.write(answer.get(*sent..).unwrap_or_default())?;
        let all = *sent >= answer.len();
        if all {
            answer.clear();
            *sent = 0;
        }
        Ok(all)
    }

    /// Encodes the first frames of `out` into the burst, up to one that is not for the line. Returns how many.
    pub fn encode(&mut self, protocol: &mut Protocol, now: Instant, out: Outgoing<'_>) -> usize {
        self.burst.clear();
        self.ends.clear();
        for (_, frame) in out.frames() {
            match protocol {
                Protocol::Ether => slip::encode(frame, &mut self.burst),
                Protocol::Ip(adapter) => {
                    if !adapter.packets(now, frame, &mut |packet| slip::encode(packet, &mut self.burst)) {
                        break;
                    }
                }
                Protocol::Wpan => {
                    if uart_pipe::encode(frame, &mut self.burst).is_err() {
                        break;
                    }
                }
            }
            self.ends.push(self.burst.len());
            if self.burst.len() >= BURST {
                break;
            }
        }
        self.ends.len()
    }

    /// Sends the burst, whose frames are the first of `out`, and counts those that have left whole. False: not all of it
    /// has left.
    pub fn send_burst(
        &mut self,
        line: &impl Octets,
        out: Outgoing<'_>,
        counters: &mut Counters,
        done: &mut usize,
    ) -> Result<bool, Gone> {
        let sent = line.write(&self.burst)?;
        let whole = self.ends.iter().take_while(|end| **end <= sent).count();
        let bytes = (0..whole).map(|position| out.frame(position).len()).sum::<usize>();
        counters.sent(whole as u64, bytes as u64);
        *done += whole;
        let start = whole.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        // A frame that has not begun to leave has no rest: it is encoded when its turn comes.
        self.rest = match self.ends.get(whole) {
            Some(&end) if sent > start => sent..end,
            _ => 0..0,
        };
        Ok(sent >= self.burst.len())
    }
}
