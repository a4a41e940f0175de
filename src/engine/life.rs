//! The life of what was asked for, be it a port or a listener: wished for, arriving, open.
//!
//! Theory of operation. What cannot be opened yet, or was lost, is a [`Wish`], tried after 50 ms, then at twice the
//! interval up to a second, until it is there. A wish waits for one of two: for its timer
//! ([`Due::Try`](super::timers::Due::Try)), or for the answer of the thread that looks up its names and starts its
//! service, which bears the number of the question. What is open may have to wait for its peer first: it is arriving.

use crate::error::Error;
use crate::rights::role::{BASE, FILES};
use crate::rights::{self, Role};
use crate::time::Duration;

const FIRST_RETRY: Duration = Duration::from_millis(50);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(1);

/// Where something stands that was asked for.
pub(super) enum Life<T> {
    /// It is not there.
    Wished(Wish),
    /// It is there, but its peer has to come first.
    Arriving(T),
    /// It is there.
    Open(T),
    /// It was there and does not come back; why, or what it was.
    Over(String),
}

impl<T> Life<T> {
    /// What is there, with its peer or without.
    pub fn there(&self) -> Option<&T> {
        match self {
            Self::Arriving(it) | Self::Open(it) => Some(it),
            Self::Wished(_) | Self::Over(_) => None,
        }
    }

    /// The same, to be used.
    pub fn there_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Arriving(it) | Self::Open(it) => Some(it),
            Self::Wished(_) | Self::Over(_) => None,
        }
    }

    /// The wish for what is not there.
    pub fn wish_mut(&mut self) -> Option<&mut Wish> {
        match self {
            Self::Wished(wish) => Some(wish),
            Self::Arriving(_) | Self::Open(_) | Self::Over(_) => None,
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

/// Something that is not there and is tried until it is.
pub(super) struct Wish {
    /// Why it is not there.
    pub why: String,
    /// A person was not told of that yet.
    untold: bool,
    /// What it needs is done aside: the number of the question.
    asked: Option<u64>,
    /// It may make its interface: it made the last one, or never had one.
    pub makes: bool,
}

impl Wish {
    /// For what was not there yet. `untold`: when it is tried in vain, that is to be said.
    pub fn new(why: String, untold: bool) -> Self {
        Self { why, untold, asked: None, makes: true }
    }

    /// For what was lost, as a person was told. `makes`: see [`Self::makes`].
    pub fn again(why: String, makes: bool) -> Self {
        Self { why, untold: false, asked: None, makes }
    }

    /// Whether a person is still to be told, where what comes of it fails too.
    pub fn is_untold(&self) -> bool {
        self.untold
    }

    /// What it needs is being done aside.
    pub fn ask(&mut self, number: u64, why: String) {
        (self.asked, self.why) = (Some(number), why);
    }

    /// Whether this is the answer that it waits for. It comes once.
    pub fn takes_answer(&mut self, number: u64) -> bool {
        self.asked.take_if(|asked| *asked == number).is_some()
    }

    /// It was tried in vain: says why, to a person the first time.
    pub fn disappointed(&mut self, name: &str, error: &Error) {
        error.what().clone_into(&mut self.why);
        if std::mem::take(&mut self.untold) {
            say(name, error);
        } else {
            log::debug!("{name}: {}", error.what());
        }
    }
}

/// How long the next attempt is waited for: twice as long each time.
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

/// Who has something open is read in /proc.
static WHO: Role = Role::new("who", &[BASE, FILES]);

/// Says why something is not there yet.
pub(super) fn say(name: &str, error: &Error) {
    if !error.asks() {
        return warn_of(name, error);
    }
    // Who it is takes a look at every descriptor of the machine, for which no frame waits.
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
