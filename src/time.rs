//! The one clock type of the sans-I/O parts: nanoseconds since an origin that the caller chose.
//!
//! Nothing below the engine reads a clock. Time comes in as an [`Instant`] argument, so a test can run 72 hours of
//! traffic in seconds and get the same result twice. The engine takes its origin when it starts ([`Clock`]); a test
//! makes instants out of thin air.

use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A point in time: nanoseconds since the origin. 2^64 ns are 584 years, so sums saturate instead of wrapping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The origin itself.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The instant `secs` seconds after the origin.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds since the origin, rounded down.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Milliseconds since the origin, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Reads the machine's monotonic clock as an [`Instant`]. Only the engine, service threads and tests with real
/// descriptors hold one.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since [`Clock::start`].
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

/// The earlier of two deadlines, where `None` is "never".
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Instant::ZERO - end, Duration::ZERO);
        assert_eq!(Instant::from_secs(2) - Instant::from_millis(500), Duration::from_millis(1500));
    }

    #[test]
    fn none_is_never() {
        let soon = Some(Instant::from_secs(1));
        assert_eq!(earliest(None, soon), soon);
        assert_eq!(earliest(soon, Some(Instant::from_secs(2))), soon);
        assert_eq!(earliest(None, None), None);
    }
}
