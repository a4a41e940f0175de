//! Questions for an address that wait while it is found out whether somebody uses it (RFC 2131, section 4.3.1).
//!
//! # Theory of operation
//! The question itself is kept, not an answer, so every kind of answer can come of it. Meanwhile the link is asked who
//! has the address. When the time is over, nobody has answered and the question is dealt with as if it came now. Where
//! somebody answers, the question is given back at once: it gets another address, which is tried in its turn.
//!
//! A client has one question waiting, the newest. There are [`MOST`] in all; one more is answered untried.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use crate::service::lease::Who;
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// How long a host may take to say that an address is its own.
const TRIAL: Duration = Duration::from_millis(500);
/// Questions that wait at most.
const MOST: usize = 64;

/// What came, and the MAC that it came from.
pub type Question = (Mac, Vec<u8>);

struct Trial {
    until: Instant,
    who: Who,
    addr: Ipv4Addr,
    question: Question,
}

/// See the module. Those that end first are in front.
#[derive(Default)]
pub struct Trials {
    waiting: VecDeque<Trial>,
}

impl Trials {
    /// Keeps the question of `who`, which would get `addr`. Returns whether the link is to be asked: not for a question
    /// that was repeated. `None`: too many wait, so it is to be answered now.
    pub fn add(&mut self, now: Instant, (who, addr): (Who, Ipv4Addr), question: &Question) -> Option<bool> {
        if let Some(trial) = self.waiting.iter_mut().find(|trial| trial.who == who && trial.addr == addr) {
            trial.question = question.clone();
            return Some(false);
        }
        self.waiting.retain(|trial| trial.who != who);
        if self.waiting.len() >= MOST {
            return None;
        }
        self.waiting.push_back(Trial { until: now + TRIAL, who, addr, question: question.clone() });
        Some(true)
    }

    /// A host at `mac` uses `addr`: the question of another that would have got it.
    pub fn hear(&mut self, mac: Mac, addr: Ipv4Addr) -> Option<Question> {
        let at = self.waiting.iter().position(|trial| trial.addr == addr && trial.who.mac != mac)?;
        self.waiting.remove(at).map(|trial| trial.question)
    }

    /// A question whose time is over.
    pub fn next_over(&mut self, now: Instant) -> Option<Question> {
        let over = self.waiting.front().is_some_and(|trial| trial.until <= now);
        if over { self.waiting.pop_front().map(|trial| trial.question) } else { None }
    }

    /// When the next one is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|trial| trial.until)
    }
}
