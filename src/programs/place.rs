//! An instance as the supervisor sees it: where it stands in its life, and what becomes of it when it ends.

use super::end::End;
use super::supervisor::FIRST_PAUSE;
use crate::config::{InstanceSpec, Restart};
use crate::time::{Duration, Instant};
use std::path::PathBuf;

/// Where an instance stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// For the instances that it depends on.
    Waiting,
    /// It was started.
    Running {
        /// When.
        since: Instant,
    },
    /// It was told to end.
    Terminated {
        /// When it is killed.
        deadline: Instant,
    },
    /// It was killed.
    Killed {
        /// When it is given up.
        deadline: Instant,
    },
    /// Before it is started again.
    Pausing {
        /// When that is.
        until: Instant,
    },
    /// It was ended by hand, and is there to be started again.
    Stopped,
    /// For good.
    Ended,
}

/// What follows when an instance has ended that was told to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Then {
    /// Nothing: it has ended for good.
    #[default]
    Ends,
    /// It may be started again by hand.
    Stays,
    /// It is started again.
    StartsAgain,
}

/// What is told of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// One of [`INSTANCE_STATES`](crate::control::INSTANCE_STATES).
    pub state: &'static str,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended the last time.
    pub end: Option<End>,
    /// Whether it runs and is ready.
    pub ready: bool,
    /// Whether its program runs.
    pub runs: bool,
    /// Whether it may come again: its ports keep their places.
    pub may_return: bool,
}

/// See the head of the file.
pub struct Instance {
    pub name: String,
    pub after: Vec<usize>,
    /// The readiness check, for messages; `None`: it is ready as soon as it runs.
    pub check: Option<String>,
    /// Where its output is.
    pub log: PathBuf,
    pub patience: Duration,
    pub restart: Restart,
    pub state: State,
    pub then: Then,
    /// When it was started for the first time, or by hand before it was ever ready.
    pub started: Option<Instant>,
    /// Its program runs: it was started, and has not ended.
    pub runs: bool,
    /// It is ready in this run.
    pub ready: bool,
    /// It was ready once, which is for good: others may have started.
    pub was_ready: bool,
    /// The signal that it got by hand in this run.
    pub signal: Option<i32>,
    pub pause: Duration,
    /// How often it was started.
    pub starts: u64,
    /// How it ended the last time.
    pub end: Option<End>,
}

impl Instance {
    /// One that waits. `after`: the places of the instances that it depends on.
    pub fn new(spec: &InstanceSpec, after: Vec<usize>) -> Self {
        Self {
            name: spec.name.clone(),
            after,
            check: spec.ready.as_ref().map(ToString::to_string),
            log: spec.log.clone().unwrap_or_default(),
            patience: spec.ready_timeout,
            restart: spec.restart,
            state: State::Waiting,
            then: Then::Ends,
            started: None,
            runs: false,
            ready: false,
            was_ready: false,
            signal: None,
            pause: FIRST_PAUSE,
            starts: 0,
            end: None,
        }
    }

    /// What is told of it.
    pub fn standing(&self) -> Standing {
        Standing {
            state: self.word(),
            restarts: self.starts.saturating_sub(1),
            end: self.end,
            ready: self.ready && matches!(self.state, State::Running { .. }),
            runs: self.runs,
            may_return: self.state != State::Ended,
        }
    }

    fn word(&self) -> &'static str {
        match self.state {
            State::Waiting | State::Pausing { .. } => "waits",
            State::Running { .. } if self.ready => "ready",
            State::Running { .. } => "starts",
            State::Terminated { .. } | State::Killed { .. } => "stops",
            State::Stopped => "stopped",
            State::Ended => "ended",
        }
    }

    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Terminated { .. } | State::Killed { .. })
    }

    /// When it has to be ready.
    pub fn ready_by(&self) -> Option<Instant> {
        let over = self.was_ready || matches!(self.state, State::Ended | State::Stopped);
        self.started.filter(|_| !over).map(|started| started + self.patience)
    }

    /// Begins a run.
    pub fn begin(&mut self, now: Instant) {
        self.state = State::Running { since: now };
        (self.then, self.runs, self.ready, self.signal) = (Then::Ends, false, false, None);
        self.starts += 1;
    }

    /// Whether it ended because of the signal that it got by hand: it took it, or ended at one that tells to.
    pub fn ended_by_hand(&self, end: End) -> bool {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM};
        self.signal.is_some_and(|signal| {
            end == End::Signal(signal) || [SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM].contains(&signal)
        })
    }
}
