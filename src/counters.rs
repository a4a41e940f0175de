//! The counters of a port, and the one table of drop reasons.
//!
//! Accounting is exact: every frame that arrives either makes copies or ends in one *ingress* reason; every copy is
//! sent, waits in a queue, or ends in one *egress* reason. So at any time, over all ports,
//! `copies = sent + queued + egress drops`, and for each port `received = forwarded + ingress drops`.

/// Declares [`DropReason`] and its table in one place.
macro_rules! drop_reasons {
    ($($name:ident, $word:literal, $stage:ident, $meaning:literal;)+) => {
        /// Why a frame, or one copy of it, ended early.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason {
            $(#[doc = $meaning] $name,)+
        }

        /// The table of drop reasons, in the order of the enum.
        pub const DROP_REASONS: &[DropRow] = &[
            $(DropRow { reason: DropReason::$name, word: $word, stage: Stage::$stage, meaning: $meaning },)+
        ];
    };
}

/// Where a frame was when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// The whole frame ended on its way in: no copy was made.
    Ingress,
    /// One copy ended on its way out of one port.
    Egress,
}

/// A row of the table: what programs see (`word`) and what people read (`meaning`).
#[non_exhaustive]
pub struct DropRow {
    /// The reason.
    pub reason: DropReason,
    /// Its name in output and JSON.
    pub word: &'static str,
    /// Way in or way out.
    pub stage: Stage,
    /// One line on what happened.
    pub meaning: &'static str,
}

drop_reasons! {
    Malformed, "malformed", Ingress, "shorter than an Ethernet header (14 bytes)";
    Oversize, "oversize", Ingress, "longer than the port's mtu and its VLAN tags allow";
    IngressDown, "ingress-down", Ingress, "the port that it came from was down";
    ReservedGroup, "reserved-group", Ingress, "to 01-80-C2-00-00-00..0F, which a bridge never relays (IEEE 802.1Q 8.6.3)";
    SameSegment, "same-segment", Ingress, "the destination is on the port that the frame came from";
    NoEgress, "no-egress", Ingress, "no other port that is up may take it";
    LineNoise, "line-noise", Ingress, "bytes on a serial line that were no frame: some were lost, or were never one";
    Unresolved, "unresolved", Ingress, "from an IP-only peer, for a host that nobody answered for";
    Isolated, "isolated", Ingress, "between two ports that are both isolated";
    Guarded, "guarded", Ingress, "it claims a MAC or IP address that is another port's, or is neighbour discovery in fragments (`guard`)";
    TooBig, "too-big", Egress, "longer than the mtu of the port it should leave by, or than its medium can carry";
    BadOffload, "bad-offload", Egress, "its checksum or segments could not be finished: it is not what its port said of it";
    QueueFull, "queue-full", Egress, "the port's queue was full";
    QueuesFull, "queues-full", Egress, "the queues of the switch held together what they may (queue-limit=)";
    Stalled, "stalled", Egress, "the port's queue was full because its peer has not been reading for a while";
    LinkDown, "link-down", Egress, "the port was down";
    NoPeer, "no-peer", Egress, "nobody was at the other end";
    NotForPeer, "not-for-peer", Egress, "nothing that the IP-only peer of the port could use";
    RadioLoss, "radio-loss", Egress, "lost on the air, as the links of the medium say";
    Collision, "collision", Egress, "lost on the air: the receiver was busy with another frame";
    System, "system", Egress, "the system refused it (no buffers, I/O error)";
    Removed, "removed", Egress, "still queued when its port was removed, or at the end";
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = DROP_REASONS.len();

    /// This reason's row.
    pub fn row(self) -> &'static DropRow {
        &DROP_REASONS[self as usize]
    }
}

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

    /// Counts `frames` that ended for `reason`.
    pub fn drop(&mut self, reason: DropReason, frames: u64) {
        self.drops[reason as usize] += frames;
        if self.journal.is_some() {
            self.enter(frames, Some(reason));
        }
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_enum_and_words_are_unique() {
        for (index, row) in DROP_REASONS.iter().enumerate() {
            assert_eq!(row.reason as usize, index);
            assert_eq!(DROP_REASONS.iter().filter(|other| other.word == row.word).count(), 1, "{}", row.word);
        }
    }

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
}
