//! The half of a connection that sends to the guest (RFC 9293, 3.8; RFC 5681; RFC 6298; RFC 6582).
//!
//! # Theory of operation
//! Bytes that came from the host wait in `bytes` until the guest has acknowledged them; the first has the sequence number
//! `una` (the SYN and the FIN take one number each, before and behind them). `nxt` is the next number to be sent and
//! `max` the highest that ever was: after a timeout `nxt` goes back to `una` and everything is sent again. Three
//! duplicate acknowledgements send the first segment again alone. A window of 0 is probed with one byte, at the
//! intervals of a retransmission, for as long as the guest answers.
//!
//! There is one timer. It runs while something is unacknowledged, or waits for a window of 0 to open.

use super::ring::Ring;
use super::segment::before;
use crate::time::{Duration, Instant};
use std::ops::Range;

/// Bytes kept for one guest at most: what may be under way.
pub(super) const SEND_LIMIT: usize = 1 << 20;
/// Payload of one super-frame at most; with all headers it stays below 64 KiB.
pub(super) const SUPER_PAYLOAD: usize = 65_000;
/// RFC 6298, 2.1.
const FIRST_RTO: Duration = Duration::from_secs(1);
/// What the field uses for RFC 6298's second.
const LEAST_RTO: Duration = Duration::from_millis(200);
const MOST_RTO: Duration = Duration::from_secs(30);
/// Timeouts in a row after which the guest counts as gone: about two minutes.
const TRIES: u8 = 9;
/// Segments that may be sent before anything was acknowledged (RFC 6928).
const INITIAL_WINDOW: usize = 10;
/// Duplicate acknowledgements that mean a loss.
const DUPLICATES: u8 = 3;

/// What an acknowledgement was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acked {
    /// Of nothing that was ever sent.
    Invalid,
    /// Of nothing new.
    Nothing,
    /// Of something new.
    Something,
}

/// A piece to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub seq: u32,
    pub syn: bool,
    pub fin: bool,
    /// Which of the bytes.
    pub range: Range<usize>,
}

/// What a guest announced with a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub seq: u32,
    pub ack: u32,
    /// In bytes, not yet scaled.
    pub window: u16,
    /// It carried nothing else.
    pub bare: bool,
}

/// See the module.
pub(super) struct Sender {
    iss: u32,
    una: u32,
    nxt: u32,
    max: u32,
    bytes: Ring,
    /// Nothing follows the bytes but a FIN.
    ending: bool,
    syn_acked: bool,
    fin_acked: bool,
    mss: usize,
    scale: u8,
    window: usize,
    /// Sequence and acknowledgement number of the segment that announced the window.
    announced: (u32, u32),
    congestion: usize,
    threshold: usize,
    duplicates: u8,
    /// Recovering from a loss until this is acknowledged.
    recover: Option<u32>,
    /// The first segment is to be sent again.
    resend: bool,
    /// A byte may be sent into a closed window.
    probe: bool,
    smoothed: Option<(Duration, Duration)>,
    rto: Duration,
    /// What is being timed, and since when.
    timing: Option<(u32, Instant)>,
    timer: Option<Instant>,
    tries: u8,
}

impl Sender {
    /// Begins at `iss`.
    pub fn new(iss: u32) -> Self {
        Self {
            iss,
            una: iss,
            nxt: iss,
            max: iss,
            bytes: Ring::default(),
            ending: false,
            syn_acked: false,
            fin_acked: false,
            mss: 536,
            scale: 0,
            window: 0,
            announced: (0, 0),
            congestion: INITIAL_WINDOW * 536,
            threshold: SEND_LIMIT,
            duplicates: 0,
            recover: None,
            resend: false,
            probe: false,
            smoothed: None,
            rto: FIRST_RTO,
            timing: None,
            timer: None,
            tries: 0,
        }
    }

    /// The guest's SYN said so: payload of a segment, shift of its windows, and the first window, which is not shifted.
    pub fn agree(&mut self, mss: usize, scale: u8, window: u16, seq: u32) {
        (self.mss, self.scale, self.window) = (mss.max(1), scale, window.into());
        self.announced = (seq, self.una);
        self.congestion = INITIAL_WINDOW * self.mss;
    }

    /// The number of the next segment.
    pub fn nxt(&self) -> u32 {
        self.nxt
    }

    /// Payload of a segment.
    pub fn mss(&self) -> usize {
        self.mss
    }

    /// Whether the handshake's first half was answered.
    pub fn is_open(&self) -> bool {
        self.syn_acked
    }

    /// Whether everything to the FIN was acknowledged.
    pub fn is_done(&self) -> bool {
        self.fin_acked
    }

    /// Memory that it takes.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many bytes more are wanted from the host: what the guest takes, and a segment that shows whether there is
    /// any.
    pub fn room(&self) -> usize {
        if self.ending || !self.syn_acked {
            return 0;
        }
        let wanted = self.window.min(self.congestion).clamp(2 * self.mss, SEND_LIMIT.max(2 * self.mss));
        wanted.saturating_sub(self.bytes.len())
    }

    /// How many of `wanted` bytes there is room for with `room` bytes more of memory.
    pub fn affords(&self, wanted: usize, room: usize) -> usize {
        wanted.min(self.bytes.affords(room))
    }

    /// Takes bytes from the host; see [`Ring::fill`].
    pub fn fill<E>(
        &mut self,
        wanted: usize,
        scratch: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.bytes.fill(wanted, scratch, read)
    }

    /// There is nothing to do for now.
    pub fn rest(&mut self) {
        self.bytes.rest();
    }

    /// The host will send no more.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// The bytes of a piece.
    pub fn slices(&self, range: &Range<usize>) -> [&[u8]; 2] {
        self.bytes.slices(range)
    }

    /// The SYN is to be sent again: the guest has not seen it.
    pub fn resend_syn(&mut self) {
        if !self.syn_acked {
            self.nxt = self.iss;
        }
    }

    /// The next piece that may be sent.
    pub fn next(&mut self, now: Instant) -> Option<Piece> {
        if !self.syn_acked {
            let due = self.nxt == self.iss;
            return due.then(|| self.send(now, Piece { seq: self.iss, syn: true, fin: false, range: 0..0 }));
        }
        if self.fin_acked {
            return None;
        }
        if std::mem::take(&mut self.resend) && self.una != self.max {
            // Only what was sent before: an acknowledgement of more would seem to be of nothing that was.
            let space = self.max.wrapping_sub(self.una) as usize;
            let len = self.mss.min(self.bytes.len()).min(space);
            let fin = self.ending && len == self.bytes.len() && len < space;
            return Some(Piece { seq: self.una, syn: false, fin, range: 0..len });
        }
        let sent = self.nxt.wrapping_sub(self.una) as usize;
        let left = self.bytes.len().checked_sub(sent)?;
        let mut len = self.sendable(sent, left);
        if len == 0 && left > 0 && std::mem::take(&mut self.probe) {
            len = 1;
        }
        let fin = self.ending && len == left;
        if len == 0 && !fin {
            if left > 0 && self.timer.is_none() {
                self.timer = Some(now + self.rto);
            }
            return None;
        }
        Some(self.send(now, Piece { seq: self.nxt, syn: false, fin, range: sent..sent + len }))
    }

    /// How many of `left` bytes may go while `sent` are under way. Small ones wait for a window that takes whole
    /// segments (RFC 9293, 3.8.6.2.1), unless they are the last.
    fn sendable(&self, sent: usize, left: usize) -> usize {
        let allowed = self.window.min(self.congestion).saturating_sub(sent);
        let whole = SUPER_PAYLOAD / self.mss * self.mss;
        let len = left.min(allowed).min(whole.max(self.mss.min(SUPER_PAYLOAD)));
        if len == left || (len < self.mss && sent == 0) { len } else { len / self.mss * self.mss }
    }

    fn send(&mut self, now: Instant, piece: Piece) -> Piece {
        let space = piece.range.len() as u32 + u32::from(piece.syn) + u32::from(piece.fin);
        let fresh = self.nxt == self.max;
        self.nxt = piece.seq.wrapping_add(space);
        if before(self.max, self.nxt) {
            self.max = self.nxt;
        }
        if fresh && self.timing.is_none() {
            self.timing = Some((self.nxt, now));
        }
        self.timer.get_or_insert(now + self.rto);
        piece
    }

    /// Takes an acknowledgement with its window.
    pub fn acknowledge(&mut self, now: Instant, heard: Heard) -> Acked {
        let acked = heard.ack.wrapping_sub(self.una);
        if before(heard.ack, self.una) {
            return Acked::Nothing;
        }
        if before(self.max, heard.ack) {
            return Acked::Invalid;
        }
        let same_window = !self.update_window(heard);
        if acked == 0 {
            if self.window == 0 {
                self.tries = 0;
            }
            if heard.bare && same_window && self.una != self.max && self.window > 0 {
                self.duplicate();
            }
            return Acked::Nothing;
        }
        self.advance(now, heard.ack, acked as usize);
        Acked::Something
    }

    /// Whether the window has changed.
    fn update_window(&mut self, heard: Heard) -> bool {
        let (seq, ack) = self.announced;
        let newer = before(seq, heard.seq) || (seq == heard.seq && !before(heard.ack, ack));
        if !newer && self.syn_acked {
            return false;
        }
        self.announced = (heard.seq, heard.ack);
        let window = usize::from(heard.window) << self.scale;
        let old = std::mem::replace(&mut self.window, window);
        if old == 0 && window > 0 && self.syn_acked {
            self.reopen();
        }
        old != window
    }

    /// The window was closed. What was sent into it is lost, probes first of all, and how long they were apart says
    /// nothing of the way: all is sent from the first byte on, at once and with the way's own timeout.
    fn reopen(&mut self) {
        self.nxt = self.una;
        (self.probe, self.timer, self.timing, self.tries) = (false, None, None, 0);
        self.rto = self.smoothed.map_or(FIRST_RTO, rto);
    }

    fn advance(&mut self, now: Instant, ack: u32, mut acked: usize) {
        if !self.syn_acked {
            self.syn_acked = true;
            acked -= 1;
        }
        let gone = acked.min(self.bytes.len());
        self.bytes.consume(gone);
        self.fin_acked |= acked > gone;
        self.una = ack;
        if before(self.nxt, ack) {
            self.nxt = ack;
        }
        self.tries = 0;
        self.duplicates = 0;
        self.measure(now, ack);
        self.grow(gone, ack);
        self.timer = (self.una != self.max).then(|| now + self.rto);
    }

    fn measure(&mut self, now: Instant, ack: u32) {
        let Some((_, since)) = self.timing.filter(|&(seq, _)| !before(ack, seq)) else { return };
        self.timing = None;
        let sample = now - since;
        let (mean, spread) = match self.smoothed {
            None => (sample, sample / 2),
            Some((mean, spread)) => ((mean * 7 + sample) / 8, (spread * 3 + mean.abs_diff(sample)) / 4),
        };
        self.smoothed = Some((mean, spread));
        self.rto = rto((mean, spread));
    }

    /// The congestion window after an acknowledgement of `acked` bytes.
    fn grow(&mut self, acked: usize, ack: u32) {
        match self.recover {
            Some(recover) if before(ack, recover) => {
                // The next one is lost, too (RFC 6582, 3.2, step 3).
                self.resend = true;
                self.congestion = (self.congestion.saturating_sub(acked) + self.mss).max(self.mss);
            }
            Some(_) => {
                self.recover = None;
                self.congestion = self.threshold;
            }
            None if self.congestion < self.threshold => self.congestion += acked,
            None => self.congestion += (self.mss * acked / self.congestion.max(1)).max(1),
        }
        self.congestion = self.congestion.min(SEND_LIMIT);
    }

    fn duplicate(&mut self) {
        self.duplicates = self.duplicates.saturating_add(1);
        if self.recover.is_some() {
            self.congestion = (self.congestion + self.mss).min(SEND_LIMIT);
        } else if self.duplicates == DUPLICATES {
            self.halve();
            self.congestion = self.threshold + usize::from(DUPLICATES) * self.mss;
            self.recover = Some(self.max);
            self.resend = true;
            self.timing = None;
        }
    }

    fn halve(&mut self) {
        let under_way = self.max.wrapping_sub(self.una) as usize;
        self.threshold = (under_way / 2).max(2 * self.mss);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// The timer has run out: sends again. `false`: the guest is gone.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.tries += 1;
        if self.tries > TRIES {
            return false;
        }
        if self.syn_acked && self.window == 0 {
            self.probe = true;
        } else if self.nxt != self.una || self.una != self.max {
            self.halve();
            self.congestion = self.mss;
        }
        self.nxt = self.una;
        (self.recover, self.duplicates, self.resend, self.timing) = (None, 0, false, None);
        self.rto = (self.rto * 2).min(MOST_RTO);
        self.timer = Some(now + self.rto);
        true
    }
}

/// The timeout of a way whose round trips take `mean`, give or take `spread` (RFC 6298, 2.3).
fn rto((mean, spread): (Duration, Duration)) -> Duration {
    (mean + spread * 4).clamp(LEAST_RTO, MOST_RTO)
}

#[cfg(test)]
mod tests;
