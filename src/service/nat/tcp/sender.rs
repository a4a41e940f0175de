//! The half of a connection that sends to the guest (RFC 9293, 3.8; RFC 5681; RFC 6582; RFC 6675).
//!
//! # Theory of operation
//! Bytes that came from the host wait in `bytes` until the guest has acknowledged them; the first has the sequence
//! number `una` (the SYN and the FIN take one number each, before and behind them). `nxt` is the next number to be sent
//! and `max` the highest that ever was: after a timeout `nxt` goes back to `una` and everything is sent again. A window
//! of 0 is probed with one byte, at the intervals of a retransmission, for as long as the guest answers. Into one that
//! takes neither a whole segment nor half of the largest window that the guest ever had, bytes go only after a pause: a
//! guest that opens its window byte by byte would have a segment sent for each.
//!
//! Three duplicate acknowledgements mean a loss, and retransmit the first segment alone. With SACK (`board`) a segment
//! is lost when the guest has enough behind it: then all lost segments are retransmitted, none that the guest has, and
//! no more are in flight than the congestion window allows. `again` is how far that has come.
//!
//! There is one timer. It runs while something is unacknowledged, or waits for a window to open.

use super::congestion::Congestion;
use super::exchange::Phase;
pub(super) use super::exchange::{Acked, Draft, Heard};
use super::ring::Ring;
use super::round_trip::RoundTrip;
use super::scoreboard::{DUPLICATES, Scoreboard};
use super::segment::{Blocks, Segment, before};
use crate::service::path_mtu::LEAST_V4;
use crate::time::{Duration, Instant};
use std::ops::Range;

/// Bytes in flight to one guest at most.
pub(super) const SEND_LIMIT: usize = 1 << 20;
/// Payload of one super-frame at most; with all headers it stays below 64 KiB.
pub(super) const SUPER_PAYLOAD: usize = 65_000;
/// Timeouts in a row after which the guest counts as gone: about two minutes.
const TRIES: u8 = 9;
/// How long bytes wait for a window that is worth a segment (RFC 9293, 3.8.6.2.1: 0.1 to 1 s).
const OVERRIDE: Duration = Duration::from_millis(200);
/// The least segment: that of the least path MTU, behind 40 bytes of headers.
const LEAST_MSS: usize = LEAST_V4 as usize - 40;

/// See the module.
pub(super) struct Sender {
    iss: u32,
    una: u32,
    nxt: u32,
    max: u32,
    bytes: Ring,
    phase: Phase,
    mss: usize,
    scale: u8,
    window: usize,
    /// The largest window so far.
    widest: usize,
    /// Sequence and acknowledgement number of the segment that announced the window.
    announced: (u32, u32),
    congestion: Congestion,
    duplicates: u8,
    /// The guest sends SACK blocks.
    sacks: bool,
    board: Scoreboard,
    /// Recovering from a loss until this is acknowledged.
    recover: Option<u32>,
    /// Lost segments before this have been retransmitted.
    again: u32,
    /// The first segment is to be sent again.
    resend: bool,
    /// A byte may be sent into a closed window.
    probe: bool,
    way: RoundTrip,
    timer: Option<Instant>,
    tries: u8,
    /// Segments that were sent again.
    resent: u64,
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
            phase: Phase::Opening,
            mss: 536,
            scale: 0,
            window: 0,
            widest: 0,
            announced: (0, 0),
            congestion: Congestion::new(536),
            duplicates: 0,
            sacks: false,
            board: Scoreboard::default(),
            recover: None,
            again: iss,
            resend: false,
            probe: false,
            way: RoundTrip::new(),
            timer: None,
            tries: 0,
            resent: 0,
        }
    }

    /// Takes the guest's SYN, with the MSS `mss`. Its window is not shifted.
    pub fn agree(&mut self, mss: usize, syn: &Segment) {
        (self.mss, self.scale, self.window) = (mss.max(1), syn.options.scale.unwrap_or(0), syn.window.into());
        self.widest = self.window;
        self.sacks = syn.options.sack_permitted;
        self.announced = (syn.seq, self.una);
        self.congestion = Congestion::new(self.mss);
    }

    /// Segments are to carry `mss` bytes at most from now on.
    pub fn limit(&mut self, mss: usize) {
        self.mss = self.mss.min(mss.max(LEAST_MSS));
    }

    /// The segment with number `seq` exceeded the path MTU, which allows `mss` bytes of payload: all is retransmitted
    /// from the first byte on, at once and not slower, as it is no sign of congestion (RFC 1191, 6.5). `false`: none
    /// such is in flight.
    pub fn narrow(&mut self, seq: u32, mss: usize) -> bool {
        let under_way = self.is_open() && !before(seq, self.una) && before(seq, self.max);
        let wide = self.mss;
        if under_way {
            self.limit(mss);
        }
        if self.mss < wide {
            self.nxt = self.una;
            (self.recover, self.duplicates, self.resend) = (None, 0, false);
            self.way.forget();
            self.board.clear();
        }
        under_way
    }

    /// The number of the next segment.
    pub fn nxt(&self) -> u32 {
        self.nxt
    }

    /// The first number that was not acknowledged.
    pub fn una(&self) -> u32 {
        self.una
    }

    /// The mean round trip to the guest, and the segments that were sent to it again.
    pub fn measured(&self) -> (Option<Duration>, u64) {
        (self.way.mean(), self.resent)
    }

    /// Whether no more bytes will be added.
    pub fn is_ending(&self) -> bool {
        self.phase >= Phase::Ending
    }

    /// Whether everything that came from the host was acknowledged, an end too.
    pub fn has_delivered(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Done) && self.una == self.max && self.bytes.len() == 0
    }

    /// Payload of a segment.
    pub fn mss(&self) -> usize {
        self.mss
    }

    /// Whether the handshake's first half was answered.
    pub fn is_open(&self) -> bool {
        self.phase >= Phase::Open
    }

    /// Whether everything to the FIN was acknowledged.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Memory that it takes.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many bytes more are wanted from the host: as many as the guest takes, and one segment that shows whether
    /// there are any.
    pub fn room(&self) -> usize {
        if self.phase != Phase::Open {
            return 0;
        }
        let held = self.board.held(self.una, self.max) as usize;
        let wanted = self.window.min(self.congestion.window() + held).clamp(2 * self.mss, SEND_LIMIT.max(2 * self.mss));
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

    /// The host will send no more. That is learnt by reading from it, which begins when this half is open.
    pub fn end(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Ending;
        }
    }

    /// The bytes of a segment.
    pub fn slices(&self, range: &Range<usize>) -> [&[u8]; 2] {
        self.bytes.slices(range)
    }

    /// The SYN is to be sent again: the guest has not seen it.
    pub fn resend_syn(&mut self) {
        if self.phase == Phase::Opening {
            self.nxt = self.iss;
        }
    }

    /// The next segment that may be sent.
    pub fn next(&mut self, now: Instant) -> Option<Draft> {
        if self.phase == Phase::Opening {
            let due = self.nxt == self.iss;
            return due.then(|| self.send(now, Draft { seq: self.iss, syn: true, fin: false, range: 0..0 }));
        }
        if self.phase == Phase::Done {
            return None;
        }
        if let Some(draft) = self.next_again() {
            return Some(draft);
        }
        // After a timeout, ranges on the scoreboard are not retransmitted.
        let (nxt, held) = self.board.hole(self.nxt, self.una.wrapping_add(self.bytes.len() as u32 + 1));
        self.nxt = nxt;
        let sent = nxt.wrapping_sub(self.una) as usize;
        let left = self.bytes.len().checked_sub(sent)?;
        let mut len = self.sendable(sent, left.min(held.wrapping_sub(nxt) as usize));
        if len == 0 && left > 0 && std::mem::take(&mut self.probe) {
            len = self.window.clamp(1, left.min(self.mss));
        }
        let fin = self.is_ending() && len == left;
        if len == 0 && !fin {
            if left > 0 && self.timer.is_none() {
                self.timer = Some(now + if self.window == 0 { self.way.rto() } else { OVERRIDE });
            }
            return None;
        }
        Some(self.send(now, Draft { seq: nxt, syn: false, fin, range: sent..sent + len }))
    }

    /// The next lost segment to retransmit.
    fn next_again(&mut self) -> Option<Draft> {
        let first = std::mem::take(&mut self.resend);
        if self.una == self.max || !(first || self.recover.is_some()) {
            return None;
        }
        let from = if first { self.una } else { later(self.again, self.una) };
        let (seq, end) = self.board.hole(from, self.max);
        let most = if first {
            self.mss
        } else {
            self.board.lost(self.mss).filter(|&lost| before(seq, lost))?;
            self.congestion.window().saturating_sub(self.under_way()).min(SUPER_PAYLOAD) / self.mss * self.mss
        };
        // Not beyond what was sent: an acknowledgement of more would count as invalid.
        let (at, space) = (seq.wrapping_sub(self.una) as usize, end.wrapping_sub(seq) as usize);
        let len = self.bytes.len().checked_sub(at)?.min(most).min(space);
        let fin = self.is_ending() && at + len == self.bytes.len() && len < space;
        if most == 0 || (len == 0 && !fin) {
            return None;
        }
        self.again = seq.wrapping_add(len as u32 + u32::from(fin));
        self.count_again(len);
        Some(Draft { seq, syn: false, fin, range: at..at + len })
    }

    /// Bytes in flight (RFC 6675, 4: pipe): sent, not on the scoreboard, and not lost unless retransmitted.
    fn under_way(&self) -> usize {
        if self.board.is_empty() {
            return self.nxt.wrapping_sub(self.una) as usize;
        }
        let missing = |from: u32, to: u32| to.wrapping_sub(from).saturating_sub(self.board.held(from, to)) as usize;
        let from = later(self.again, self.una);
        let lost = self.board.lost(self.mss).filter(|&lost| self.recover.is_some() && before(from, lost));
        missing(self.una, self.nxt).saturating_sub(lost.map_or(0, |lost| missing(from, lost)))
    }

    /// How many of `left` bytes may go while `sent` are in flight. Less than a segment waits for a window that takes
    /// one, or half of the largest window so far (RFC 9293, 3.8.6.2.1), unless it is the last.
    fn sendable(&self, sent: usize, left: usize) -> usize {
        let allowed = self.window.saturating_sub(sent).min(self.congestion.window().saturating_sub(self.under_way()));
        let whole = SUPER_PAYLOAD / self.mss * self.mss;
        let len = left.min(allowed).min(whole.max(self.mss.min(SUPER_PAYLOAD)));
        let is_worth_it = len == left || (sent == 0 && len < self.mss && len >= self.widest / 2);
        if is_worth_it { len } else { len / self.mss * self.mss }
    }

    /// Counts the segments that `len` bytes make, which go a second time.
    fn count_again(&mut self, len: usize) {
        self.resent += len.div_ceil(self.mss).max(1) as u64;
    }

    fn send(&mut self, now: Instant, draft: Draft) -> Draft {
        let space = draft.range.len() as u32 + u32::from(draft.syn) + u32::from(draft.fin);
        let (fresh, idle) = (self.nxt == self.max, self.una == self.max);
        self.nxt = draft.seq.wrapping_add(space);
        if before(self.max, self.nxt) {
            self.max = self.nxt;
        }
        if fresh {
            self.way.sent(self.nxt, now);
        } else {
            self.count_again(draft.range.len());
        }
        // While nothing was on its way, the timer ran for the window.
        self.timer = self.timer.filter(|_| !idle).or(Some(now + self.way.rto()));
        draft
    }

    /// Takes an acknowledgement with its window.
    pub fn acknowledge(&mut self, now: Instant, heard: Heard) -> Acked {
        let acked = heard.ack.wrapping_sub(self.una);
        if !self.covers(heard.ack) {
            return Acked::Invalid;
        }
        if before(heard.ack, self.una) {
            // It was overtaken.
            self.note(&heard.blocks);
            return Acked::Nothing;
        }
        let same_window = !self.update_window(heard);
        if acked > 0 {
            self.advance(now, heard.ack, acked as usize);
        } else if self.window == 0 {
            self.tries = 0;
        }
        self.note(&heard.blocks);
        // With SACK and an empty scoreboard, nothing is lost.
        let repeats = !self.sacks || !self.board.is_empty();
        if acked == 0 && heard.bare && same_window && self.una != self.max && self.window > 0 && repeats {
            self.duplicate();
        }
        if acked > 0 { Acked::Something } else { Acked::Nothing }
    }

    /// Whether `ack` is acceptable (RFC 5961, 5.2): not of numbers never sent, and no older than the widest window.
    fn covers(&self, ack: u32) -> bool {
        let old = self.una.wrapping_sub(ack) as usize;
        !before(self.max, ack) && (!before(ack, self.una) || old <= self.widest)
    }

    /// Whether `ack` lies between the last acknowledged and the last sent number.
    pub fn is_current(&self, ack: u32) -> bool {
        !before(ack, self.una) && !before(self.max, ack)
    }

    /// Puts SACK blocks on the scoreboard.
    fn note(&mut self, blocks: &Blocks) {
        if !self.sacks {
            return;
        }
        self.board.advance(self.una);
        for &(from, to) in blocks {
            if before(self.una, from) && before(from, to) && !before(self.max, to) {
                self.board.add(from, to);
            }
        }
        // After a timeout everything is sent again anyhow.
        if self.recover.is_none() && self.nxt == self.max && self.board.lost(self.mss).is_some() {
            self.begin_recovery();
        }
    }

    /// Whether the window has changed.
    fn update_window(&mut self, heard: Heard) -> bool {
        let (seq, ack) = self.announced;
        let newer = before(seq, heard.seq) || (seq == heard.seq && !before(heard.ack, ack));
        if !newer && self.is_open() {
            return false;
        }
        self.announced = (heard.seq, heard.ack);
        let window = usize::from(heard.window) << self.scale;
        self.widest = self.widest.max(window);
        let old = std::mem::replace(&mut self.window, window);
        if old == 0 && window > 0 && self.is_open() {
            self.reopen();
        }
        old != window
    }

    /// A closed window has opened. Bytes sent into it, probes first of all, are lost, and their intervals say nothing
    /// of the way: all is sent from the first byte on, at once and with the way's own timeout.
    fn reopen(&mut self) {
        self.nxt = self.una;
        (self.probe, self.timer, self.tries) = (false, None, 0);
        self.way.restart();
    }

    fn advance(&mut self, now: Instant, ack: u32, mut acked: usize) {
        if self.phase == Phase::Opening {
            self.phase = Phase::Open;
            acked -= 1;
        }
        let gone = acked.min(self.bytes.len());
        self.bytes.consume(gone);
        if acked > gone {
            self.phase = Phase::Done;
        }
        self.una = ack;
        if before(self.nxt, ack) {
            self.nxt = ack;
        }
        self.tries = 0;
        self.duplicates = 0;
        self.way.acknowledged(now, ack);
        self.grow(gone, ack);
        self.timer = (self.una != self.max).then(|| now + self.way.rto());
    }

    /// The congestion window after an acknowledgement of `acked` bytes.
    fn grow(&mut self, acked: usize, ack: u32) {
        match self.recover {
            Some(recover) if before(ack, recover) => {
                // The next one is lost, too (RFC 6582, 3.2, step 3).
                self.resend = !before(ack, self.again);
                if !self.sacks {
                    self.congestion.deflate(acked, self.mss);
                }
            }
            Some(_) => {
                self.recover = None;
                self.congestion.recover();
            }
            None => self.congestion.grow(acked, self.mss),
        }
    }

    fn duplicate(&mut self) {
        self.duplicates = self.duplicates.saturating_add(1);
        if self.recover.is_none() && self.duplicates == DUPLICATES {
            self.begin_recovery();
        } else if self.recover.is_some() && !self.sacks {
            self.congestion.inflate(self.mss);
        }
    }

    /// A loss, of the first segment at least.
    fn begin_recovery(&mut self) {
        // Each duplicate ACK means a segment less in flight: SACK shows it on the board, else it is added here (RFC
        // 5681, 3.2).
        let left = if self.sacks { 0 } else { usize::from(DUPLICATES) * self.mss };
        self.congestion.lose(self.sent(), left, self.mss);
        (self.recover, self.again, self.resend) = (Some(self.max), self.una, true);
        self.way.forget();
    }

    /// Bytes sent and not acknowledged.
    fn sent(&self) -> usize {
        self.max.wrapping_sub(self.una) as usize
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    /// The timer has run out: sends again. `false`: the guest is gone.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.is_open() && self.window > 0 && self.una == self.max {
            // Nothing is in flight: the window is as small as before.
            (self.probe, self.timer) = (true, None);
            return true;
        }
        self.tries += 1;
        if self.tries > TRIES {
            return false;
        }
        if self.is_open() && self.window == 0 {
            self.probe = true;
        } else if self.nxt != self.una || self.una != self.max {
            self.congestion.collapse(self.sent(), self.mss);
        }
        self.nxt = self.una;
        (self.recover, self.duplicates, self.resend) = (None, 0, false);
        self.board.clear();
        self.way.back_off();
        self.timer = Some(now + self.way.rto());
        true
    }
}

/// The later of two numbers.
fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

#[cfg(test)]
mod tests;
