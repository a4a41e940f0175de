//! Clients that wait for a port to be in a state.
//!
//! Theory of operation. All waits are checked together: the switches are asked for their ports once, and each wait is a
//! lookup of a state by name ([`States`]), so that one more costs next to nothing. A check has a reason: a switch
//! reports a changed state ([`Watcher`]), a wait is new or its time is over, a client has read its answers. One change
//! may go unreported: an interface in another network namespace is set down. A wait for that polls every [`LOOK`].
//!
//! [`Watcher`]: crate::engine::watcher::Watcher

use super::server::Serving;
use super::session::Wait;
use crate::config::grammar::nearest_of;
use crate::control::{Reply, print};
use crate::engine::status::PortStatus;
use crate::error::{Class, Error};
use crate::time::{Duration, Instant};
use std::collections::HashMap;

/// Poll interval of waits for a port to be down.
const LOOK: Duration = Duration::from_millis(250);

/// The states of all ports, by name. A listener has those of its clients, too: a wait for `inst1` to be up is a wait
/// for any client, whatever its number.
#[derive(Default)]
pub struct States {
    known: HashMap<String, Vec<&'static str>>,
    /// A switch gives no answer, so that an unknown port may exist all the same.
    hangs: bool,
}

impl States {
    /// The states of `ports`. `hangs`: a switch does not answer.
    pub fn of(ports: impl Iterator<Item = PortStatus>, hangs: bool) -> Self {
        let mut states = Self { hangs, ..Self::default() };
        for port in ports {
            if let Some(listener) = port.listener {
                let its = states.known.entry(listener).or_default();
                if !its.contains(&port.state) {
                    its.push(port.state);
                }
            }
            states.known.entry(port.name).or_default().push(port.state);
        }
        states
    }

    /// Whether a wait is over: of a listener and its clients, any will do.
    fn meets(&self, wait: &Wait) -> bool {
        match self.known.get(&wait.port) {
            Some(states) => states.contains(&wait.state.as_str()),
            None => wait.state == "gone" && !self.hangs,
        }
    }

    /// The error of a wait that was in vain.
    fn unmet(&self, wait: &Wait) -> Error {
        let (port, state, time) = (&wait.port, &wait.state, Duration::from_millis(wait.millis));
        let what = match self.known.get(port) {
            None => format!("after {time:?} there is no port named {port}"),
            Some(states) => format!("after {time:?} {port} is {}, not {state}", states.join(" and ")),
        };
        let error = Error::new(Class::Unmet, what);
        if self.known.contains_key(port) || self.known.is_empty() {
            return error;
        }
        let mut names: Vec<&str> = self.known.keys().map(String::as_str).collect();
        names.sort_unstable();
        error.hint(nearest_of(port, &names))
    }

    /// The answer to a wait, if it has one at `now`.
    fn answer(&self, now: Instant, wait: &Wait) -> Option<Reply> {
        if self.meets(wait) {
            Some(Reply::ok(wait.id, &serde_json::json!({})))
        } else {
            (wait.until <= now).then(|| Reply::error(wait.id, &self.unmet(wait)))
        }
    }
}

/// When waits are checked.
#[derive(Default)]
pub struct Looks {
    /// There is a reason to check now.
    pub due: bool,
    /// The next poll, while a wait for a port to be down exists.
    next: Option<Instant>,
}

impl Serving {
    /// The time until the next check. A client with unread answers waits until it has read them.
    pub fn patience_of_waits(&self, now: Instant) -> Option<Duration> {
        if self.looks.due {
            return Some(Duration::ZERO);
        }
        let waits = self.clients.iter().filter(|(_, session)| !session.is_behind());
        let ends = waits.flat_map(|(_, session)| &session.waits).map(|wait| wait.until);
        ends.chain(self.looks.next).min().map(|due| due - now)
    }

    /// Answers the waits that are over.
    pub fn look_at_waits(&mut self, now: Instant) {
        let waits = || self.clients.iter().flat_map(|(_, session)| &session.waits);
        let any = waits().next().is_some();
        // Switch the watcher on first, then read the states, so that no change is missed.
        self.watcher.want(any);
        let is_over = self.patience_of_waits(now).is_some_and(|left| left.is_zero());
        if !any {
            self.looks = Looks::default();
            return;
        }
        if !is_over {
            return;
        }
        self.looks = Looks { due: false, next: waits().any(|wait| wait.state == "down").then(|| now + LOOK) };
        let states = self.answerer.states();
        let mut over = Vec::new();
        for (index, session) in self.clients.iter_mut().filter(|(_, session)| !session.is_behind()) {
            for wait in std::mem::take(&mut session.waits) {
                match states.answer(now, &wait) {
                    Some(reply) => session.say(&print(&reply)),
                    None => session.waits.push(wait),
                }
            }
            if session.is_over() {
                over.push(index);
            }
        }
        over.into_iter().for_each(|index| self.dismiss(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(port: &str, state: &str) -> Wait {
        let until = Instant::ZERO + Duration::from_secs(1);
        Wait { id: Some(3), port: port.into(), state: state.into(), until, millis: 1000 }
    }

    #[test]
    fn any_client_of_a_listener_will_do() {
        let mut states = States::default();
        states.known.insert("a".into(), vec!["listening", "up"]);
        for (port, state, is_so) in
            [("a", "up", true), ("a", "listening", true), ("a", "gone", false), ("b", "gone", true), ("b", "up", false)]
        {
            assert_eq!(states.meets(&wait(port, state)), is_so, "{port} {state}");
        }
        assert!(states.answer(Instant::ZERO, &wait("a", "down")).is_none());
        let end = Instant::ZERO + Duration::from_secs(1);
        let what = |port| states.answer(end, &wait(port, "down")).unwrap().error.unwrap().what;
        assert_eq!(what("a"), "after 1s a is listening and up, not down");
        assert_eq!(what("b"), "after 1s there is no port named b");
    }
}
