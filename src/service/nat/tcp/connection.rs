//! One TCP connection with a guest, whose other half is a socket of the host: both halves, and their beginning and end
//! (RFC 9293, 3.5, 3.6 and 3.10.7).
//!
//! The gateway stands between the two: a guest's SYN is answered only when the host's connection stands, bytes are
//! acknowledged only when they are the host's or held for it, and each side's FIN becomes the other's.

use super::receiver::{RECEIVE_LIMIT, Receiver, SCALE};
use super::segment::{Blocks, Flags, Options, Segment};
use super::sender::{Acked, Draft, Heard, Sender};
use crate::service::allowance::Allowance;
use crate::time::{Duration, Instant};
use std::ops::Range;

/// How often one connection sends a challenge ACK (RFC 5961, 7).
const CHALLENGES: Allowance = Allowance::new(4, Duration::from_millis(250));

/// A segment's effect on the connection as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It goes on.
    Lives,
    /// The guest has reset it.
    Reset,
    /// The segment belongs to another connection: it is answered with a reset.
    Stray,
}

/// A segment to be sent, and which of the bytes it carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outgoing {
    pub segment: Segment,
    pub range: Range<usize>,
}

/// See the module.
pub(super) struct Connection {
    sender: Sender,
    /// `None` until the guest's SYN was heard.
    receiver: Option<Receiver>,
    irs: u32,
    /// The host's half does not stand yet.
    dialling: bool,
    /// The guest scales windows (RFC 7323).
    scales: bool,
    /// It understands selective acknowledgements (RFC 2018).
    sacks: bool,
    /// The largest payload that we take, told in our SYN.
    own_mss: u16,
    /// The largest payload that the way to the guest carries.
    way_mss: u16,
    /// The host's end came before the guest's.
    host_first: bool,
    challenges: Allowance,
    /// A keep-alive probe is due.
    asks: bool,
}

impl Connection {
    /// A connection that the guest opens with `syn`; the host's half is being made. Segments carry `mss` bytes at most.
    pub fn asked(syn: &Segment, iss: u32, mss: u16) -> Self {
        let mut connection = Self::new(iss, mss);
        connection.dialling = true;
        connection.meet(syn);
        connection
    }

    /// A connection that the host opens: the guest gets a SYN.
    pub fn asking(iss: u32, mss: u16) -> Self {
        Self::new(iss, mss)
    }

    fn new(iss: u32, mss: u16) -> Self {
        Self {
            sender: Sender::new(iss),
            receiver: None,
            irs: 0,
            dialling: false,
            scales: true,
            sacks: true,
            own_mss: mss,
            way_mss: mss,
            host_first: false,
            challenges: CHALLENGES,
            asks: false,
        }
    }

    /// The way to the guest carries segments of `mss` bytes.
    pub fn limit(&mut self, mss: u16) {
        self.way_mss = self.way_mss.min(mss);
        self.sender.limit(mss.into());
    }

    /// The segment with number `seq` was too long for the way, which carries `mss` bytes. `false`: it is none of ours.
    pub fn narrow(&mut self, seq: u32, mss: u16) -> bool {
        self.sender.narrow(seq, mss.into())
    }

    fn meet(&mut self, syn: &Segment) {
        // 536 where nothing is said (RFC 9293, 3.7.1).
        let mss = syn.options.mss.unwrap_or(536).clamp(64, self.own_mss).min(self.way_mss);
        (self.scales, self.sacks) = (syn.options.scale.is_some(), syn.options.sack_permitted);
        self.irs = syn.seq;
        self.sender.agree(mss.into(), syn);
        self.receiver = Some(Receiver::new(syn.seq, if self.scales { SCALE } else { 0 }, self.sacks));
    }

    /// Whether the host's half is being made.
    pub fn is_dialling(&self) -> bool {
        self.dialling
    }

    /// The host's half stands.
    pub fn dialled(&mut self) {
        self.dialling = false;
    }

    /// Whether both halves stand, or stood.
    pub fn is_open(&self) -> bool {
        !self.dialling && self.receiver.is_some() && self.sender.is_open()
    }

    /// Whether everything has been sent, and taken by both sides.
    pub fn is_done(&self) -> bool {
        self.sender.is_done() && self.has_drained()
    }

    /// Whether the guest has sent all, and the host has taken it.
    pub fn has_drained(&self) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.has_ended() && receiver.held().is_empty())
    }

    /// Bytes that the host has not taken of a guest that has sent all.
    pub fn last_words(&self) -> usize {
        let ended = self.receiver.as_ref().filter(|receiver| receiver.has_ended());
        ended.map_or(0, |receiver| receiver.held().len())
    }

    /// Whether the host has said that it will send no more.
    pub fn has_host_ended(&self) -> bool {
        self.sender.is_ending()
    }

    /// Whether the guest has acknowledged everything that came from the host, an end too.
    pub fn has_delivered(&self) -> bool {
        self.sender.has_delivered()
    }

    /// Whether one side has ended, and nothing of either is on its way.
    pub fn is_half_closed(&self) -> bool {
        let guest_ended = self.receiver.as_ref().is_some_and(Receiver::has_ended);
        (guest_ended || self.has_host_ended()) && self.waiting().is_empty() && self.has_delivered()
    }

    /// Its state in a word.
    pub fn word(&self) -> &'static str {
        let guest_ended = self.receiver.as_ref().is_some_and(Receiver::has_ended);
        match (self.dialling, self.is_open(), guest_ended, self.has_host_ended()) {
            (true, ..) => "connecting",
            (_, false, ..) => "opening",
            (_, _, false, false) => "open",
            (_, _, true, false) => "guest ended",
            (_, _, false, true) => "host ended",
            (_, _, true, true) => "closing",
        }
    }

    /// The mean round trip to the guest, and the segments that were sent to it again.
    pub fn measured(&self) -> (Option<Duration>, u64) {
        self.sender.measured()
    }

    /// The first number that the guest has not acknowledged.
    pub fn acknowledged(&self) -> u32 {
        self.sender.una()
    }

    /// Whether the host's end came first: then the guest may not have seen that its own was acknowledged.
    pub fn host_ended_first(&self) -> bool {
        self.host_first
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        self.sender.held() + self.receiver.as_ref().map_or(0, Receiver::memory)
    }

    /// Payload of a full segment to the guest.
    pub fn mss(&self) -> usize {
        self.sender.mss()
    }

    /// Takes a segment of the guest. `take` offers its bytes to the host's socket and says how many that took; `room`
    /// may be held in addition.
    pub fn handle(
        &mut self,
        now: Instant,
        segment: &Segment,
        payload: &[u8],
        room: usize,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Verdict {
        let Flags { syn, ack, rst, fin, .. } = segment.flags;
        let Some(receiver) = &mut self.receiver else { return self.handle_first(now, segment) };
        if rst && segment.seq == receiver.nxt() {
            return Verdict::Reset;
        }
        if self.dialling {
            return Verdict::Lives;
        }
        if rst {
            // In the window, but not the next number: a challenge ACK (RFC 5961, 3.2).
            if receiver.expects(segment.seq) {
                self.challenge(now);
            }
            return Verdict::Lives;
        }
        if syn {
            // The same SYN: our answer was lost. Any other one gets a challenge ACK (RFC 5961, 4).
            if segment.seq == self.irs && !self.sender.is_open() {
                self.sender.resend_syn();
            } else {
                self.challenge(now);
            }
            return Verdict::Lives;
        }
        if !receiver.accepts(segment.seq, segment.space(payload.len())) {
            // A retransmission whose acknowledgement was lost, or a keep-alive probe (RFC 9293, 3.8.4).
            receiver.owe();
            return Verdict::Lives;
        }
        if !ack {
            return Verdict::Lives;
        }
        let (bare, blocks) = (payload.is_empty() && !fin, segment.options.blocks);
        let heard = Heard { seq: segment.seq, ack: segment.ack, window: segment.window, bare, blocks };
        if self.sender.acknowledge(now, heard) == Acked::Invalid {
            if !self.sender.is_open() {
                return Verdict::Stray;
            }
            self.challenge(now);
            return Verdict::Lives;
        }
        receiver.accept(segment.seq, payload, fin, room, take);
        Verdict::Lives
    }

    /// Owes a challenge ACK (RFC 5961), but not too often: the segment that calls for it may be forged.
    pub fn challenge(&mut self, now: Instant) {
        if let Some(receiver) = &mut self.receiver
            && self.challenges.take(now)
        {
            receiver.owe();
        }
    }

    /// Whether a segment has the next sequence number and acknowledges all that was sent: proof that it is the guest,
    /// though from another MAC. It is stricter than RFC 9293 is with a guest at its own MAC: nobody guesses both
    /// numbers.
    pub fn is_next(&self, segment: &Segment) -> bool {
        let Flags { syn, ack, .. } = segment.flags;
        match &self.receiver {
            Some(receiver) => ack && !syn && segment.seq == receiver.nxt() && self.sender.is_current(segment.ack),
            None => ack && segment.ack == self.sender.nxt(),
        }
    }

    /// A segment in SYN-SENT.
    fn handle_first(&mut self, now: Instant, segment: &Segment) -> Verdict {
        let Flags { syn, ack, rst, .. } = segment.flags;
        let answers = ack && segment.ack == self.sender.nxt() && self.sender.poll_timeout().is_some();
        match (answers, rst, syn) {
            (true, true, _) => Verdict::Reset,
            (true, false, true) => {
                let (seq, ack, window) = (segment.seq, segment.ack, segment.window);
                let heard = Heard { seq, ack, window, bare: false, blocks: Blocks::default() };
                self.sender.acknowledge(now, heard);
                // Only now, as the window of a SYN is not shifted (RFC 7323, 2.2).
                self.meet(segment);
                if let Some(receiver) = &mut self.receiver {
                    receiver.owe();
                }
                Verdict::Lives
            }
            (false, false, _) if ack => Verdict::Stray,
            _ => Verdict::Lives,
        }
    }

    /// Makes a keep-alive probe due.
    pub fn ask(&mut self) {
        self.asks = true;
    }

    /// Bytes that the host has not taken yet.
    pub fn waiting(&self) -> &[u8] {
        self.receiver.as_ref().map_or(&[], |receiver| receiver.held().as_slices().0)
    }

    /// The host took `count` of [`Self::waiting`].
    pub fn taken(&mut self, count: usize) {
        if let Some(receiver) = &mut self.receiver {
            receiver.release(count);
        }
    }

    /// The host will take nothing more: drops the bytes that wait for it.
    pub fn discard_waiting(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver.release(receiver.held().len());
        }
    }

    /// How many bytes more are wanted from the host.
    pub fn wanted(&self) -> usize {
        if self.is_open() { self.sender.room() } else { 0 }
    }

    /// How many of [`Self::wanted`] there is room for with `room` bytes more of memory.
    pub fn affords(&self, room: usize) -> usize {
        self.sender.affords(self.wanted(), room)
    }

    /// Takes bytes from the host.
    pub fn fill<E>(
        &mut self,
        wanted: usize,
        scratch: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.sender.fill(wanted, scratch, read)
    }

    /// There is nothing to do for now: memory that is not needed goes.
    pub fn rest(&mut self) {
        self.sender.rest();
    }

    /// The host will send no more.
    pub fn end(&mut self) {
        self.host_first = !self.receiver.as_ref().is_some_and(Receiver::has_ended);
        self.sender.end();
    }

    /// The next segment that is to be sent.
    pub fn next(&mut self, now: Instant) -> Option<Outgoing> {
        if self.dialling {
            return None;
        }
        let due = self.receiver.as_ref().filter(|receiver| receiver.owes());
        let repeats = self.sender.is_open() && due.is_some_and(Receiver::has_gaps);
        let due = due.is_some();
        // A duplicate acknowledgement is one only if nothing is sent with it.
        match if repeats { None } else { self.sender.next(now) } {
            Some(draft) => Some(self.dress(draft)),
            // A keep-alive probe: a number that the guest has acknowledged (RFC 9293, 3.8.4).
            None if std::mem::take(&mut self.asks) => Some(self.dress(Draft::bare(self.sender.una().wrapping_sub(1)))),
            None => due.then(|| self.dress(Draft::bare(self.sender.nxt()))),
        }
    }

    fn dress(&mut self, draft: Draft) -> Outgoing {
        let bare = draft.range.is_empty() && !draft.syn && !draft.fin;
        let options = match &self.receiver {
            _ if draft.syn => Options {
                mss: Some(self.own_mss),
                scale: self.scales.then_some(SCALE),
                sack_permitted: self.sacks,
                ..Options::default()
            },
            Some(receiver) if bare => Options { blocks: receiver.blocks(), ..Options::default() },
            _ => Options::default(),
        };
        let mut segment = Segment { seq: draft.seq, options, ..Segment::default() };
        segment.flags = Flags { syn: draft.syn, fin: draft.fin, psh: !draft.range.is_empty(), ..Flags::default() };
        match &mut self.receiver {
            Some(receiver) => {
                receiver.acknowledged(bare);
                segment.flags.ack = true;
                segment.window = receiver.announce(draft.syn);
                segment.ack = receiver.nxt();
            }
            None => segment.window = RECEIVE_LIMIT.min(u16::MAX.into()) as u16,
        }
        Outgoing { segment, range: draft.range }
    }

    /// The bytes of an outgoing segment.
    pub fn slices(&self, range: &Range<usize>) -> [&[u8]; 2] {
        self.sender.slices(range)
    }

    /// The segment that resets it.
    pub fn reset(&self) -> Segment {
        let flags = Flags { rst: true, ack: self.receiver.is_some(), ..Flags::default() };
        let ack = self.receiver.as_ref().map_or(0, Receiver::nxt);
        Segment { seq: self.sender.nxt(), ack, flags, ..Segment::default() }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sender.poll_timeout()
    }

    /// The timer has run out. `false`: the guest is gone.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.sender.handle_timeout(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_a_syn_is_not_shifted() {
        let now = Instant::from_secs(1);
        let mut guest = Connection::asking(100, 1460);
        assert!(guest.next(now).unwrap().segment.flags.syn);
        let mut syn = Segment { seq: 7, ack: 101, window: 300, ..Segment::default() };
        syn.flags = Flags { syn: true, ack: true, ..Flags::default() };
        syn.options = Options { mss: Some(100), scale: Some(7), ..Options::default() };
        assert_eq!(guest.handle(now, &syn, &[], 0, &mut |_| 0), Verdict::Lives);
        assert_eq!(guest.wanted(), 300);
        syn = Segment { seq: 8, ack: 101, window: 3, flags: Flags { ack: true, ..Flags::default() }, ..syn };
        guest.handle(now, &syn, &[], 0, &mut |_| 0);
        assert_eq!(guest.wanted(), 3 << 7);
    }
}
