//! Clients that wait for a port to be in a state.
//!
//! Theory of operation. What all of them wait for is looked at together: the switches are asked for their ports once, and
//! each wait is a look into the states by name ([`States`]), so that a wait more costs next to nothing. It is looked when
//! there is a reason to: a switch has told that a state is another than before ([`Watcher`]), a wait is new or its time
//! is over, a client has read its answers. Of one thing no switch may tell: that an interface in another network
//! namespace was set down. While somebody waits for that it is looked every [`LOOK`].
//!
//! [`Watcher`]: crate::engine::watcher::Watcher

use super::server::Serving;
use super::session::Wait;
use crate::control::{Reply, print};
use crate::engine::status::PortStatus;
use crate::error::{Class, Error};
use crate::time::{Duration, Instant};
use std::collections::HashMap;

/// How often a port is looked at that shall be down.
const LOOK: Duration = Duration::from_millis(250);

/// The states of all ports, by name. A listener is in those of its clients, too: who waits for `inst1` to be up waits for
/// somebody to be there, and need not know the number.
#[derive(Default)]
pub struct States {
    known: HashMap<String, Vec<&'static str>>,
    /// A switch gives no answer, so that what is not known may be there all the same.
    hangs: bool,
}

impl States {
    /// Those of `ports`. `hangs`: there is a switch that does not tell its own.
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

    /// Whether what is waited for has come: of a listener and its clients, any will do.
    fn meets(&self, wait: &Wait) -> bool {
        match self.known.get(&wait.port) {
            Some(states) => states.contains(&wait.state.as_str()),
            None => wait.state == "gone" && !self.hangs,
        }
    }

    /// Why a wait was in vain.
    fn unmet(&self, wait: &Wait) -> Error {
        let (port, state, time) = (&wait.port, &wait.state, Duration::from_millis(wait.millis));
        let what = match self.known.get(port) {
            None => format!("after {time:?} there is no port named {port}"),
            Some(states) => format!("after {time:?} {port} is {}, not {state}", states.join(" and ")),
        };
        Error::new(Class::Unmet, what)
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

/// When it is looked.
#[derive(Default)]
pub struct Looks {
    /// There is a reason to look now.
    pub due: bool,
    /// When a port is looked at that shall be down, while there is one.
    next: Option<Instant>,
}

impl Serving {
    /// How long nobody has to look at the waits. Who is behind with its answers waits until it has read.
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
        // First it is wanted, then asked, so that nothing changes unheard in between.
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
