//! The counters of a port, the one table of drop reasons, and an example of what was dropped for each.
//!
//! Accounting is exact: every frame that arrives either makes copies or ends in one *ingress* reason; every copy is
//! sent, waits in a queue, is held by impairments, or ends in one *egress* reason. So at any time, over all ports,
//! `copies = sent + queued + held + egress drops`, and for each port `received = forwarded + ingress drops`.

mod loss;
mod reasons;

pub use loss::{EXAMPLE_BYTES, EXAMPLE_EVERY, Example, Loss};
pub use reasons::{DROP_REASONS, DropReason, DropRow, Stage};

use crate::time::Instant;

/// The counters of one port since it was added.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Frames that the port received, dropped ones included.
    pub rx_frames: u64,
    /// Their bytes, from the destination address on, without FCS.
    pub rx_bytes: u64,
    /// Frames that were handed to the port's descriptor.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Copies that were made for this port to send.
    pub copies: u64,
    /// Received frames of which at least one copy was made.
    pub forwarded: u64,
    drops: [u64; DropReason::COUNT],
    /// What is known of the drops beyond their number, by reason in the order of the first.
    losses: Vec<Loss>,
    /// Reasons that an edge has counted since the switch looked last, each with the copies that had ended before the
    /// first. An edge knows neither the time nor, most often, the frame; the switch finds both by that place in its list.
    marks: Vec<(DropReason, u64)>,
    /// The fate of copies, in the order counted, while it is being noted.
    journal: Option<Vec<Ended>>,
}

/// Copies in a row that were sent, or dropped for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    /// How many.
    pub frames: u64,
    /// Why they were dropped; `None`: they were sent.
    pub reason: Option<DropReason>,
}

impl Counters {
    /// Counts `frames` that were received, of `bytes` in all.
    pub fn received(&mut self, frames: u64, bytes: u64) {
        self.rx_frames += frames;
        self.rx_bytes += bytes;
    }

    /// Counts `frames` that were sent, of `bytes` in all.
    pub fn sent(&mut self, frames: u64, bytes: u64) {
        self.tx_frames += frames;
        self.tx_bytes += bytes;
        if self.journal.is_some() {
            self.enter(frames, None);
        }
    }

    /// Counts `frames` that ended for `reason`. When, and what they were, is for the switch to find out.
    pub fn drop(&mut self, reason: DropReason, frames: u64) {
        if frames > 0 && self.marks.iter().all(|mark| mark.0 != reason) {
            self.mark(reason);
        }
        self.count(reason, frames);
        if self.journal.is_some() {
            self.enter(frames, Some(reason));
        }
    }

    /// The same by the switch itself, which then calls [`Self::lose`].
    pub(crate) fn count(&mut self, reason: DropReason, frames: u64) {
        self.drops[reason as usize] += frames;
    }

    /// Notes that a frame was dropped for `reason` at `now`; its bytes are an example, as far as they are known. At most
    /// one in [`EXAMPLE_EVERY`] is kept, so that a port that drops everything is no slower for it.
    pub(crate) fn lose(&mut self, now: Instant, reason: DropReason, frame: Option<&[u8]>) {
        match self.losses.iter_mut().find(|loss| loss.reason == reason) {
            Some(loss) => loss.add(now, frame),
            None => self.losses.push(Loss::new(now, reason, frame)),
        }
    }

    #[cold]
    #[inline(never)]
    fn mark(&mut self, reason: DropReason) {
        self.marks.push((reason, self.ended()));
    }

    /// Copies that have ended, whichever way.
    fn ended(&self) -> u64 {
        self.tx_frames + self.dropped_at(Stage::Egress)
    }

    /// Whether an edge has counted any drop since [`Self::settle`].
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Notes the time of what an edge has counted since the last call, and examples: `frame` gives the copy at a place
    /// among the last `taken` that have ended.
    #[cold]
    #[inline(never)]
    pub(crate) fn settle<'a>(&mut self, now: Instant, taken: usize, frame: impl Fn(usize) -> Option<&'a [u8]>) {
        let before = self.ended().checked_sub(taken as u64);
        let mut marks = std::mem::take(&mut self.marks);
        for (reason, place) in marks.drain(..) {
            let place =
                before.and_then(|before| place.checked_sub(before)).filter(|_| reason.row().stage == Stage::Egress);
            self.lose(now, reason, place.and_then(|place| usize::try_from(place).ok()).and_then(&frame));
        }
        self.marks = marks; // for its memory
    }

    /// What is known of the drops beyond their number, by reason.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Apart from the counting, which most often is all.
    #[cold]
    #[inline(never)]
    fn enter(&mut self, frames: u64, reason: Option<DropReason>) {
        if let Some(journal) = &mut self.journal {
            journal.push(Ended { frames, reason });
        }
    }

    /// Begins to note frames counted as sent or dropped, in order.
    pub(crate) fn keep_journal(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// Ends that, and returns the notes.
    pub(crate) fn take_journal(&mut self) -> Vec<Ended> {
        self.journal.take().unwrap_or_default()
    }

    /// How many ended for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// How many ended at `stage`, whatever the reason.
    pub fn dropped_at(&self, stage: Stage) -> u64 {
        DROP_REASONS.iter().filter(|row| row.stage == stage).map(|row| self.dropped(row.reason)).sum()
    }

    /// The reasons that counted anything, with their numbers.
    pub fn drops(&self) -> impl Iterator<Item = (&'static DropRow, u64)> {
        DROP_REASONS.iter().map(|row| (row, self.dropped(row.reason))).filter(|&(_, frames)| frames > 0)
    }

    /// Adds what `other` counted: a listener sums the clients that have left it.
    pub fn add(&mut self, other: &Self) {
        self.rx_frames += other.rx_frames;
        self.rx_bytes += other.rx_bytes;
        self.tx_frames += other.tx_frames;
        self.tx_bytes += other.tx_bytes;
        self.copies += other.copies;
        self.forwarded += other.forwarded;
        for (mine, theirs) in self.drops.iter_mut().zip(other.drops) {
            *mine += theirs;
        }
        for loss in &other.losses {
            match self.losses.iter_mut().find(|mine| mine.reason == loss.reason) {
                Some(mine) => mine.merge(loss),
                None => self.losses.push(loss.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_sum_apart() {
        let mut counters = Counters::default();
        counters.drop(DropReason::Malformed, 2);
        counters.drop(DropReason::Stalled, 3);
        assert_eq!(counters.dropped_at(Stage::Ingress), 2);
        assert_eq!(counters.dropped_at(Stage::Egress), 3);
        let mut sum = counters.clone();
        sum.add(&counters);
        assert_eq!(sum.drops().map(|(row, n)| (row.word, n)).collect::<Vec<_>>(), [("malformed", 4), ("stalled", 6)]);
    }

    /// The places at which the switch is asked for frames.
    fn settled(counters: &mut Counters, taken: usize) -> Vec<usize> {
        let places = std::cell::RefCell::new(Vec::new());
        counters.settle(Instant::ZERO, taken, |place| {
            places.borrow_mut().push(place);
            None
        });
        assert!(!counters.is_marked());
        places.into_inner()
    }

    #[test]
    fn what_an_edge_drops_is_found_in_its_list() {
        let mut counters = Counters::default();
        counters.sent(5, 300);
        counters.drop(DropReason::NoPeer, 1);
        assert!(counters.is_marked());
        assert_eq!(settled(&mut counters, 6), [5]);
        counters.sent(2, 120);
        counters.drop(DropReason::System, 2);
        counters.drop(DropReason::NoPeer, 1);
        counters.drop(DropReason::System, 1);
        counters.drop(DropReason::LineNoise, 1);
        assert_eq!(settled(&mut counters, 6), [2, 4], "of what came in no copy is known");
        let reasons: Vec<_> = counters.losses().iter().map(|loss| loss.reason).collect();
        assert_eq!(reasons, [DropReason::NoPeer, DropReason::System, DropReason::LineNoise]);
    }

    #[test]
    fn an_example_is_kept_of_each_reason_and_the_last_at_intervals() {
        let mut counters = Counters::default();
        let frame = |number: u8| [number; 200];
        for number in 0..250 {
            counters.count(DropReason::Stalled, 1);
            counters.lose(Instant::from_millis(u64::from(number)), DropReason::Stalled, Some(&frame(number)));
        }
        counters.lose(Instant::from_millis(400), DropReason::LineNoise, None);
        let [stalled, noise] = counters.losses() else { panic!("{:?}", counters.losses()) };
        assert_eq!((stalled.last, stalled.since), (Instant::from_millis(249), Instant::ZERO));
        let [first, latest] = [stalled.first.as_ref(), stalled.latest.as_ref()].map(Option::unwrap);
        assert_eq!((first.bytes(), first.len), (&frame(0)[..EXAMPLE_BYTES], 200));
        assert_eq!((latest.bytes()[0], latest.at), (200, Instant::from_millis(200)));
        assert_eq!((&noise.first, noise.last), (&None, Instant::from_millis(400)));
        let mut sum = counters.clone();
        let mut later = Counters::default();
        later.lose(Instant::from_secs(9), DropReason::Stalled, Some(&frame(9)));
        sum.add(&later);
        assert_eq!(sum.losses()[0].first, counters.losses()[0].first);
        assert_eq!(sum.losses()[0].latest.as_ref().unwrap().bytes()[0], 9);
    }
}
