//! `zbridge wait`: for a port to be in a state, or for a condition; also for the bridge itself to start.

use crate::control::PORT_STATES;
use crate::engine::control::{Client, PATIENCE, is_silent};
use crate::error::{Class, Error, Result};
use crate::play;
use crate::scenario::Condition;
use std::time::{Duration, Instant};

/// A bridge has at least so long to answer one who waits for something.
const LEAST_PATIENCE: Duration = Duration::from_millis(500);
/// How often it is tried whether the bridge has started.
const RETRY: Duration = Duration::from_millis(50);

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// A port is in a state.
    Port {
        /// Its name.
        port: String,
        /// One of [`PORT_STATES`].
        state: String,
    },
    /// A condition.
    Condition {
        /// As it is written.
        text: String,
        /// What it is.
        condition: Condition,
    },
}

/// Reads `port=NAME [STATE]`, or a condition.
///
/// # Errors
/// It is neither.
pub fn awaited(words: &[String]) -> Result<Awaited> {
    let text = words.join(" ");
    let mut parts = text.split_whitespace();
    let Some(port) = parts.next().and_then(|first| first.strip_prefix("port=")) else {
        let parsed = Condition::parse(&text);
        let condition = parsed.map_err(|error| match error.advice() {
            Some(_) => error,
            None => error.hint("a port: zbridge wait port=inst1 up; a program: zbridge wait sim1 ready"),
        })?;
        return Ok(Awaited::Condition { text, condition });
    };
    let state = parts.next().unwrap_or("up");
    if port.is_empty() || parts.next().is_some() {
        return Err(
            Error::usage(format!("{text:?} is nothing to wait for")).hint("zbridge wait port=inst1 up --timeout 5s")
        );
    }
    if !PORT_STATES.contains(&state) {
        let known = crate::config::grammar::nearest(state, PORT_STATES.iter().copied());
        return Err(Error::usage(format!("{state:?} is no state of a port; {known}")));
    }
    Ok(Awaited::Port { port: port.to_owned(), state: state.to_owned() })
}

/// Waits, also for the bridge to start.
///
/// # Errors
/// Class unmet if it does not come in time.
pub fn wait(awaited: &Awaited, timeout: Duration, to: Option<&str>) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        let left = Duration::from_millis(left.as_micros().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        let patience = left.clamp(LEAST_PATIENCE, PATIENCE);
        let waited = Client::connect_within(to, patience).and_then(|mut client| match awaited {
            Awaited::Port { port, state } => client.wait(port, state, left),
            Awaited::Condition { text, condition } => {
                let until = Instant::now().checked_add(left).unwrap_or_else(Instant::now);
                let waited = play::wait_for(&mut client, text, condition, until);
                // A program that is not there may come with another bridge of the name; here nobody adds one.
                waited.map_err(|error| after(timeout, error))
            }
        });
        match waited {
            Err(error) if is_in_vain(&error) && start.elapsed() < timeout => std::thread::sleep(RETRY.min(left)),
            Err(error) if is_in_vain(&error) => {
                return Err(after(
                    timeout,
                    Error::new(Class::Unmet, error.what()).hint(error.advice().unwrap_or_default()),
                ));
            }
            done => return done,
        }
    }
}

/// Whether it may be another answer a moment later: there is no bridge, or it does not answer.
fn is_in_vain(error: &Error) -> bool {
    error.class() == Class::NoDaemon || is_silent(error)
}

/// An error of a wait that was in vain, led by how long it was.
fn after(timeout: Duration, error: Error) -> Error {
    if error.class() != Class::Unmet {
        return error;
    }
    let told = Error::new(Class::Unmet, format!("after {timeout:?} {}", error.what()));
    match error.advice().filter(|hint| !hint.is_empty()) {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_checked_before_anybody_is_asked() {
        let read = |text: &str| awaited(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let port = Awaited::Port { port: "a".into(), state: "up".into() };
        assert_eq!((read("port=a"), read("port=a up")), (Ok(port.clone()), Ok(port)));
        assert!(matches!(read("sim1 ready"), Ok(Awaited::Condition { .. })));
        assert!(matches!(read("log sim1 /a b/"), Ok(Awaited::Condition { .. })));
        for (text, says) in [
            ("port=", "\"port=\" is nothing to wait for"),
            ("port=a up now", "\"port=a up now\" is nothing to wait for"),
            ("port=a upp", "\"upp\" is no state of a port; the nearest is \"up\""),
            ("inst1", "\"inst1\": it ends where a comparison"),
            ("inst1 up", "\"inst1\" \"up\": \"up\" is no state of a program"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.what().starts_with(says) && error.class() == Class::Usage, "{error}");
        }
    }
}
