//! The life of a configured port or listener: wished for, arriving, open.
//!
//! Theory of operation. A port that cannot be opened yet, or was lost, is a [`Wish`]: tried after 50 ms, then at twice
//! the interval up to a second, until it is open. A wish waits for its timer ([`Due::Try`](super::timers::Due::Try)),
//! or for the thread that looks up its names and starts its service; that answer bears the number of the question. An
//! open port whose peer has still to come is arriving.

use crate::error::Error;
use crate::rights::role::{BASE, FILES};
use crate::rights::{self, Role};
use crate::time::Duration;

const FIRST_RETRY: Duration = Duration::from_millis(50);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(1);

/// The state of a configured port or listener.
pub(super) enum Life<T> {
    /// It is not there.
    Wished(Wish),
    /// It is open, but its peer has to come first.
    Arriving(T),
    /// It is there.
    Open(T),
    /// It was open and does not come back: why, or who its peer was.
    Over(String),
    /// Its place is kept for the next descriptor that is handed over: what became of the last one.
    Kept(String),
}

impl<T> Life<T> {
    /// The open port or listener, with or without its peer.
    pub fn there(&self) -> Option<&T> {
        match self {
            Self::Arriving(it) | Self::Open(it) => Some(it),
            Self::Wished(_) | Self::Over(_) | Self::Kept(_) => None,
        }
    }

    /// The same, to be used.
    pub fn there_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Arriving(it) | Self::Open(it) => Some(it),
            Self::Wished(_) | Self::Over(_) | Self::Kept(_) => None,
        }
    }

    /// The wish, if it is not open.
    pub fn wish_mut(&mut self) -> Option<&mut Wish> {
        match self {
            Self::Wished(wish) => Some(wish),
            Self::Arriving(_) | Self::Open(_) | Self::Over(_) | Self::Kept(_) => None,
        }
    }

    /// Whether its peer has to come first.
    pub fn is_arriving(&self) -> bool {
        matches!(self, Self::Arriving(_))
    }

    /// The peer has come.
    pub fn arrived(&mut self) {
        *self = match std::mem::replace(self, Self::Over(String::new())) {
            Self::Arriving(it) => Self::Open(it),
            other => other,
        };
    }
}

/// A port or listener that is not open, and is tried until it is.
pub(super) struct Wish {
    /// Why it is not there.
    pub why: String,
    /// `why` was not logged yet.
    untold: bool,
    /// The number of the question to the thread that prepares it, while that is under way.
    asked: Option<u64>,
    /// Whether to create its interface: it created the last one, or never had one.
    pub makes: bool,
}

impl Wish {
    /// For a first opening. `untold`: log the next failure.
    pub fn new(why: String, untold: bool) -> Self {
        Self { why, untold, asked: None, makes: true }
    }

    /// For a port that was lost, which was logged. `makes`: see [`Self::makes`].
    pub fn again(why: String, makes: bool) -> Self {
        Self { why, untold: false, asked: None, makes }
    }

    /// Whether a failure is still to be logged.
    pub fn is_untold(&self) -> bool {
        self.untold
    }

    /// It is being prepared by another thread.
    pub fn ask(&mut self, number: u64, why: String) {
        (self.asked, self.why) = (Some(number), why);
    }

    /// Whether this is the answer that it waits for. It comes once.
    pub fn takes_answer(&mut self, number: u64) -> bool {
        self.asked.take_if(|asked| *asked == number).is_some()
    }

    /// An attempt has failed: notes why, and logs it the first time.
    pub fn disappointed(&mut self, name: &str, error: &Error) {
        error.what().clone_into(&mut self.why);
        if std::mem::take(&mut self.untold) {
            say(name, error);
        } else {
            log::debug!("{name}: {}", error.what());
        }
    }
}

/// The pause before the next attempt, doubled each time.
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_RETRY)
    }
}

impl Backoff {
    /// The time until the next attempt.
    pub fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LAST_RETRY);
        pause
    }
}

/// Finds in /proc the process that has something open.
static WHO: Role = Role::new("who", &[BASE, FILES]);

/// Logs why something is not open yet.
pub(super) fn say(name: &str, error: &Error) {
    if !error.asks() {
        return warn_of(name, error);
    }
    // Finding the holder means reading every descriptor in /proc; no frame waits for that.
    let (name, asking) = (name.to_owned(), error.clone());
    if rights::spawn_to_look("zb-who", &WHO, move || warn_of(&name, &asking.told())).is_err() {
        log::warn!("{}", error.what());
    }
}

fn warn_of(name: &str, error: &Error) {
    let hint = error.advice().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    log::warn!("{name}: {}; trying again until it is there{hint}", error.what());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_at_twice_the_interval_up_to_a_second() {
        let mut backoff = Backoff::default();
        let pauses = [(); 7].map(|()| backoff.next().as_millis());
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_life_goes_from_a_wish_to_its_end() {
        let mut life = Life::Wished(Wish::new("no such file".into(), true));
        assert!(life.there().is_none() && !life.is_arriving());
        let wish = life.wish_mut().unwrap();
        wish.ask(7, "looking up peer.example".into());
        assert_eq!([6, 7, 7].map(|number| wish.takes_answer(number)), [false, true, false], "each answer counts once");
        wish.disappointed("far", &Error::usage("nobody knows it"));
        assert_eq!((wish.why.as_str(), wish.untold), ("nobody knows it", false));
        life = Life::Arriving("edge");
        assert!(life.is_arriving() && life.wish_mut().is_none());
        assert_eq!(life.there(), Some(&"edge"));
        life.arrived();
        assert!(matches!(life, Life::Open("edge")));
        life = Life::Over("its service has failed".into());
        life.arrived();
        assert!(life.there().is_none() && life.there_mut().is_none());
    }
}
