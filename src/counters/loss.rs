//! What is known of the frames that were dropped for one reason, beyond their number: when, and an example.
//!
//! Examples are bounded: the first, and a late one that is replaced every [`EXAMPLE_EVERY`] at most, with no more than
//! their first [`EXAMPLE_BYTES`].

use super::DropReason;
use crate::time::{Duration, Instant};

/// Bytes that are kept of an example.
pub const EXAMPLE_BYTES: usize = 128;

/// The shortest time between two examples of one reason.
pub const EXAMPLE_EVERY: Duration = Duration::from_millis(100);

/// A frame that was dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Example {
    /// When.
    pub at: Instant,
    /// How many bytes it had.
    pub len: u32,
    kept: u8,
    bytes: [u8; EXAMPLE_BYTES],
}

const _: () = assert!(EXAMPLE_BYTES <= u8::MAX as usize, "`kept` has room for the length");

impl Example {
    fn new(at: Instant, frame: &[u8]) -> Self {
        let kept = frame.len().min(EXAMPLE_BYTES);
        let mut bytes = [0; EXAMPLE_BYTES];
        bytes.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
        Self { at, len: frame.len() as u32, kept: kept as u8, bytes }
    }

    /// Its first bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.kept)).unwrap_or_default()
    }
}

/// What is known of the frames that a port dropped for one reason.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Loss {
    /// The reason.
    pub reason: DropReason,
    /// When the first was dropped.
    pub since: Instant,
    /// When the last was dropped.
    pub last: Instant,
    /// The first whose bytes are known. None are of what never was a frame, as noise on a line.
    pub first: Option<Example>,
    /// A later one.
    pub latest: Option<Example>,
}

impl Loss {
    pub(super) fn new(now: Instant, reason: DropReason, frame: Option<&[u8]>) -> Self {
        let first = frame.map(|frame| Example::new(now, frame));
        Self { reason, since: now, last: now, first, latest: None }
    }

    /// Another one was dropped.
    pub(super) fn add(&mut self, now: Instant, frame: Option<&[u8]>) {
        self.last = now;
        let Some(frame) = frame else { return };
        let newest = self.latest.as_ref().or(self.first.as_ref()).map(|example| example.at);
        match newest {
            None => self.first = Some(Example::new(now, frame)),
            Some(at) if now.since(at) >= EXAMPLE_EVERY => self.latest = Some(Example::new(now, frame)),
            Some(_) => {}
        }
    }

    /// Those of another port with the same name, or behind the same listener.
    pub(super) fn merge(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        self.last = self.last.max(other.last);
        let mine = [&self.first, &self.latest, &other.first, &other.latest];
        let (first, latest) = {
            let all = || mine.into_iter().flatten();
            (all().min_by_key(|example| example.at).cloned(), all().max_by_key(|example| example.at).cloned())
        };
        self.latest = latest.filter(|latest| first.as_ref().is_some_and(|first| first.at < latest.at));
        self.first = first;
    }
}
