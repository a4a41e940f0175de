//! Rate limit: a token bucket, for answers that a stranger can cause, such as ICMP errors (RFC 1812, section 4.3.2.8;
//! RFC 4443, section 2.4).

use crate::time::{Duration, Instant};

/// A bucket that holds `burst` tokens and gains one each `interval`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Allowance {
    interval: Duration,
    burst: u32,
    /// When the bucket was, or will be, empty. A time in the future is a debt.
    empty: Instant,
}

/// How often one service sends ICMP errors: 50 at once, then 100 a second.
pub const ICMP_ERRORS: Allowance = Allowance::new(50, Duration::from_millis(10));

impl Allowance {
    /// A full bucket.
    pub const fn new(burst: u32, interval: Duration) -> Self {
        Self { interval, burst, empty: Instant::ZERO }
    }

    /// Whether it may be done at `now`; then it counts as done.
    pub fn take(&mut self, now: Instant) -> bool {
        // Time is kept from an origin at which the bucket was empty: shifted by a full bucket, it starts full.
        let full = self.interval * self.burst;
        let now = now + full;
        if now.since(self.empty) < self.interval {
            return false;
        }
        let oldest =
            Instant::from_nanos(now.as_nanos().saturating_sub(u64::try_from(full.as_nanos()).unwrap_or(u64::MAX)));
        self.empty = self.empty.max(oldest) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut allowance = Allowance::new(3, Duration::from_millis(100));
        let mut taken = |millis: u64| (0..10).filter(|_| allowance.take(Instant::from_millis(millis))).count();
        assert_eq!(taken(0), 3);
        assert_eq!(taken(99), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(350), 2);
        assert_eq!(taken(400), 1, "the half that was over counts");
        assert_eq!(taken(60_000), 3, "and no more than a burst is saved");
    }
}
