//! Congestion control of the way to a guest (RFC 5681, RFC 6582).

use super::sender::SEND_LIMIT;

/// Segments that may be sent before anything was acknowledged (RFC 6928).
const INITIAL_WINDOW: usize = 10;

/// The congestion window.
pub(super) struct Congestion {
    window: usize,
    /// Slow start threshold: below it the window doubles with each round trip.
    threshold: usize,
}

impl Congestion {
    /// The initial window, for segments of `mss` bytes.
    pub fn new(mss: usize) -> Self {
        Self { window: INITIAL_WINDOW * mss, threshold: SEND_LIMIT }
    }

    /// Bytes that may be in flight.
    pub fn window(&self) -> usize {
        self.window
    }

    /// So many bytes were acknowledged, and nothing is missing.
    pub fn grow(&mut self, acked: usize, mss: usize) {
        let more = if self.window < self.threshold { acked } else { (mss * acked / self.window.max(1)).max(1) };
        self.window = (self.window + more).min(SEND_LIMIT);
    }

    /// One more segment has left the way, out of order (RFC 5681, 3.2).
    pub fn inflate(&mut self, mss: usize) {
        self.window = (self.window + mss).min(SEND_LIMIT);
    }

    /// So many bytes were acknowledged while others are missing (RFC 6582, 3.2, step 3).
    pub fn deflate(&mut self, acked: usize, mss: usize) {
        self.window = (self.window.saturating_sub(acked) + mss).max(mss).min(SEND_LIMIT);
    }

    /// A loss, with `under_way` bytes in flight; `left` bytes have left the way since and are not counted otherwise.
    pub fn lose(&mut self, under_way: usize, left: usize, mss: usize) {
        self.halve(under_way, mss);
        self.window = self.threshold + left;
    }

    /// All that was lost is acknowledged.
    pub fn recover(&mut self) {
        self.window = self.threshold.min(SEND_LIMIT);
    }

    /// Nothing was acknowledged for a whole timeout.
    pub fn collapse(&mut self, under_way: usize, mss: usize) {
        self.halve(under_way, mss);
        self.window = mss;
    }

    fn halve(&mut self, under_way: usize, mss: usize) {
        self.threshold = (under_way / 2).max(2 * mss);
    }
}
