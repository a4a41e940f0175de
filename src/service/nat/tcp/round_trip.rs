//! Round trip time to a guest, and the retransmission timeout (RFC 6298).

use super::segment::before;
use crate::time::{Duration, Instant};

/// The first retransmission timeout (RFC 6298, 2.1).
const FIRST_RTO: Duration = Duration::from_secs(1);
/// The least retransmission timeout: a second in RFC 6298, 200 ms in practice.
pub(super) const LEAST_RTO: Duration = Duration::from_millis(200);
const MOST_RTO: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct RoundTrip {
    /// The mean, and how much it varies.
    smoothed: Option<(Duration, Duration)>,
    rto: Duration,
    /// The segment being timed: the number behind it, and when it was sent.
    timing: Option<(u32, Instant)>,
}

impl RoundTrip {
    pub fn new() -> Self {
        Self { smoothed: None, rto: FIRST_RTO, timing: None }
    }

    /// The retransmission timeout.
    pub fn rto(&self) -> Duration {
        self.rto
    }

    /// The mean round trip; `None` until one was measured.
    pub fn mean(&self) -> Option<Duration> {
        self.smoothed.map(|(mean, _)| mean)
    }

    /// A segment that ends before `end` is sent for the first time.
    pub fn sent(&mut self, end: u32, now: Instant) {
        self.timing.get_or_insert((end, now));
    }

    /// A retransmission: its acknowledgement is no measurement (RFC 6298, 3: Karn's algorithm).
    pub fn forget(&mut self) {
        self.timing = None;
    }

    /// All before `ack` was acknowledged.
    pub fn acknowledged(&mut self, now: Instant, ack: u32) {
        let Some((_, since)) = self.timing.filter(|&(end, _)| !before(ack, end)) else { return };
        self.timing = None;
        let sample = now - since;
        let (mean, spread) = match self.smoothed {
            None => (sample, sample / 2),
            Some((mean, spread)) => ((mean * 7 + sample) / 8, (spread * 3 + mean.abs_diff(sample)) / 4),
        };
        self.smoothed = Some((mean, spread));
        self.rto = rto((mean, spread));
    }

    /// The timeout has run out: it doubles.
    pub fn back_off(&mut self) {
        self.forget();
        self.rto = (self.rto * 2).min(MOST_RTO);
    }

    /// Undoes the back-off, as the lost segments say nothing of the way.
    pub fn restart(&mut self) {
        self.forget();
        self.rto = self.smoothed.map_or(FIRST_RTO, rto);
    }
}

/// The timeout for round trips of `mean`, give or take `spread` (RFC 6298, 2.3).
fn rto((mean, spread): (Duration, Duration)) -> Duration {
    (mean + spread * 4).clamp(LEAST_RTO, MOST_RTO)
}
