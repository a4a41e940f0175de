//! Containment of panics: a thread that panics takes its own switch or service along, and nothing else.
//!
//! A thread of a switch or of a service runs inside [`contained`]. Its state is dropped there, so its sockets are
//! closed and their paths removed. The reason goes into the bridge's [`Parts`], which tell it to whoever watches the
//! bridge, and again when the bridge is stopped.

use super::pulse::Watchdog;
use crate::error::{Class, Error, Result};
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A switch, or a service of one, has ended by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// The switch's name.
    pub switch: String,
    /// The port that the service was behind; `None`: the switch itself has ended.
    pub port: Option<String>,
    /// Why.
    pub why: Error,
}

/// The state shared by the threads of a bridge: the watchdog, and the list of failures.
pub(super) struct Parts {
    pub watchdog: Watchdog,
    ended: Sender<Ended>,
    failures: Mutex<Vec<Error>>,
}

impl Parts {
    /// The parts of a new bridge, and the channel of its [`Ended`] messages.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn new() -> Result<(std::sync::Arc<Self>, Receiver<Ended>)> {
        let (ended, told) = unbounded();
        let watchdog = Watchdog::new();
        watchdog.start()?;
        Ok((std::sync::Arc::new(Self { watchdog, ended, failures: Mutex::default() }), told))
    }

    /// A switch, or a service of it, has ended by itself.
    pub fn tell(&self, ended: Ended) {
        self.note(ended.why.clone());
        // It does not matter if nobody listens.
        let _ = self.ended.send(ended);
    }

    /// Logs and notes a failure.
    pub fn note(&self, why: Error) {
        log::error!("{why}");
        self.failures.lock().push(why);
    }

    /// The first failure.
    pub fn failure(&self) -> Option<Error> {
        self.failures.lock().first().cloned()
    }
}

/// Runs a part of the bridge. A panic ends it as an error does, with what it said.
///
/// # Errors
/// The part's own, or of the class fault.
pub(super) fn contained<T>(what: impl Display, run: impl FnOnce() -> Result<T>) -> Result<T> {
    // State touched by the panic is only shown and dropped afterwards.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Err(Error::new(Class::Fault, format!("{what} has failed: {}", words(panic.as_ref())))
            .hint("this is a fault of zbridge; please report it with what is printed above"))
    })
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}

/// For tests, and not in a release: `ZBRIDGE_TEST_FAULT=panic:NAME` has the switch or service of this name panic when its
/// first frame comes, `hang:NAME` has it sleep for ever, `spin:NAME` has it run for ever.
#[cfg(debug_assertions)]
pub(super) fn strike(name: &str) {
    use std::sync::OnceLock;
    static FAULT: OnceLock<Option<(String, String)>> = OnceLock::new();
    let read = || {
        let (deed, name) =
            std::env::var("ZBRIDGE_TEST_FAULT").ok()?.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        Some((deed, name))
    };
    match FAULT.get_or_init(read) {
        Some((deed, whose)) if whose == name => match deed.as_str() {
            "panic" => panic!("a fault that a test wants"),
            "spin" => loop {
                std::hint::spin_loop();
            },
            _ => loop {
                std::thread::park();
            },
        },
        _ => {}
    }
}

/// Nothing, in a release.
#[cfg(not(debug_assertions))]
pub(super) fn strike(_: &str) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words() {
        let error = contained("switch lab", || -> Result<()> { panic!("index {} out of {}", 9, 3) }).unwrap_err();
        assert_eq!((error.class(), error.what()), (Class::Fault, "switch lab has failed: index 9 out of 3"));
        let error = contained("switch lab", || -> Result<()> { std::panic::panic_any(7) }).unwrap_err();
        assert_eq!(error.what(), "switch lab has failed: it did not say why");
        let own = Error::usage("no");
        assert_eq!(contained("switch lab", || -> Result<()> { Err(own.clone()) }), Err(own));
    }
}
