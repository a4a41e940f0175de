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

use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// How long a host may take to say that an address is its own.
const TRIAL: Duration = Duration::from_millis(500);
/// Questions that wait at most.
const MOST: usize = 64;

struct Trial {
    until: Instant,
    mac: Mac,
    addr: Ipv4Addr,
    question: Vec<u8>,
}

/// See the module. Those that end first are in front.
#[derive(Default)]
pub struct Trials {
    waiting: VecDeque<Trial>,
}

impl Trials {
    /// Keeps the question of `mac`, which would get `addr`. Returns whether the link is to be asked: not for a question
    /// that was repeated. `None`: too many wait, so it is to be answered now.
    pub fn add(&mut self, now: Instant, (mac, addr): (Mac, Ipv4Addr), question: &[u8]) -> Option<bool> {
        if let Some(trial) = self.waiting.iter_mut().find(|trial| trial.mac == mac && trial.addr == addr) {
            trial.question = question.to_vec();
            return Some(false);
        }
        self.waiting.retain(|trial| trial.mac != mac);
        if self.waiting.len() >= MOST {
            return None;
        }
        self.waiting.push_back(Trial { until: now + TRIAL, mac, addr, question: question.to_vec() });
        Some(true)
    }

    /// A host at `mac` uses `addr`: the question of another that would have got it.
    pub fn hear(&mut self, mac: Mac, addr: Ipv4Addr) -> Option<Vec<u8>> {
        let at = self.waiting.iter().position(|trial| trial.addr == addr && trial.mac != mac)?;
        self.waiting.remove(at).map(|trial| trial.question)
    }

    /// A question whose time is over.
    pub fn next_over(&mut self, now: Instant) -> Option<Vec<u8>> {
        let over = self.waiting.front().is_some_and(|trial| trial.until <= now);
        if over { self.waiting.pop_front().map(|trial| trial.question) } else { None }
    }

    /// When the next one is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|trial| trial.until)
    }
}
