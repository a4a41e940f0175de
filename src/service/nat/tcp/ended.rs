//! Connections that have ended lately, for whoever asks what became of one: the last few, for a minute.

use crate::service::detail::FlowDetail;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;
use std::io::ErrorKind;

/// How long an end is told.
const KEPT: Duration = Duration::from_secs(60);
/// How many are.
const MOST: usize = 64;

/// Why a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Both sides have ended it.
    Orderly,
    /// The guest has reset it.
    Guest,
    /// The host's side broke.
    Host,
    /// The host could not open it.
    Failed(ErrorKind),
    /// One side answered no more.
    Silence,
    /// Another one had its place.
    Evicted,
}

impl End {
    /// The state of a connection that has ended so.
    fn word(self) -> &'static str {
        match self {
            Self::Orderly => "ended",
            Self::Guest => "ended: reset by guest",
            Self::Host => "ended: reset by host",
            Self::Failed(ErrorKind::ConnectionRefused) => "ended: refused",
            Self::Failed(ErrorKind::TimedOut) | Self::Silence => "ended: timed out",
            Self::Failed(_) => "ended: unreachable",
            Self::Evicted => "ended: evicted",
        }
    }
}

/// See the head of the file.
#[derive(Default)]
pub struct Ended(VecDeque<(Instant, FlowDetail)>);

impl Ended {
    /// Keeps what is known of a connection.
    pub fn keep(&mut self, now: Instant, flow: FlowDetail, end: End) {
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, FlowDetail { state: end.word(), ..flow }));
    }

    /// Those that ended within the time.
    pub fn rows(&self, now: Instant) -> impl Iterator<Item = FlowDetail> {
        let lately = self.0.iter().filter(move |(at, _)| now - *at < KEPT);
        lately.map(move |(at, flow)| FlowDetail { idle: now - *at, ..flow.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_are_told_for_a_minute() {
        let addr = "192.0.2.1:1".parse().unwrap();
        let flow = FlowDetail {
            protocol: "tcp",
            inward: false,
            guest: addr,
            mac: None,
            remote: None,
            others: 0,
            state: "open",
            up: 7,
            down: 0,
            round_trip: None,
            resent: 0,
            age: Duration::ZERO,
            idle: Duration::ZERO,
        };
        let mut ended = Ended::default();
        let at = Instant::from_secs;
        (0..100).for_each(|second| ended.keep(at(second), flow.clone(), End::Failed(ErrorKind::ConnectionRefused)));
        let rows: Vec<FlowDetail> = ended.rows(at(100)).collect();
        assert_eq!((rows.len(), rows[0].state, rows[0].idle), (59, "ended: refused", Duration::from_secs(59)));
        assert_eq!((ended.0.len(), ended.rows(at(159)).count()), (MOST, 0));
    }
}
