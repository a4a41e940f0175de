//! DHCP messages that wait while their address is probed by ARP (RFC 2131, section 4.3.1).
//!
//! # Theory of operation
//! The message itself is kept, not an answer, so every kind of answer is possible. If nobody answers the ARP request in
//! time, the message is handled as if it came now. If a host answers, the message is given back at once: it gets
//! another address, which is probed in its turn.
//!
//! A client has one message waiting, the newest. There are [`MOST`] in all; one more is answered without a probe.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use crate::service::lease::Who;
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// How long a host may take to answer the ARP request.
const TRIAL: Duration = Duration::from_millis(500);
/// Messages that wait at most.
const MOST: usize = 64;

/// A DHCP message, and the source MAC of its frame.
pub type Question = (Mac, Vec<u8>);

struct Trial {
    until: Instant,
    who: Who,
    addr: Ipv4Addr,
    question: Question,
}

/// See the module. The first to time out is in front.
#[derive(Default)]
pub struct Trials {
    waiting: VecDeque<Trial>,
}

impl Trials {
    /// Keeps the message of `who`, which would get `addr`. Returns whether to send an ARP request: not for a
    /// retransmission. `None`: too many wait, so it is to be answered now.
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

    /// A host at `mac` uses `addr`: gives the message of another client that would have got it.
    pub fn hear(&mut self, mac: Mac, addr: Ipv4Addr) -> Option<Question> {
        let at = self.waiting.iter().position(|trial| trial.addr == addr && trial.who.mac != mac)?;
        self.waiting.remove(at).map(|trial| trial.question)
    }

    /// A message whose probe has timed out.
    pub fn next_over(&mut self, now: Instant) -> Option<Question> {
        let over = self.waiting.front().is_some_and(|trial| trial.until <= now);
        if over { self.waiting.pop_front().map(|trial| trial.question) } else { None }
    }

    /// When the next probe times out.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|trial| trial.until)
    }
}
