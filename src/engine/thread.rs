//! The threads of services: how one begins, and how its end is waited for.

use super::fault::{Ended, Parts, contained};
use super::pulse::Pulse;
use crate::error::{Error, Result};
use crate::port::channel::ServiceEnd;
use crate::rights::{self, Role};
use mio::Waker;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a service may take to send what it has accepted, after its port was removed.
pub(super) const LINGER: Duration = Duration::from_secs(3);
/// How much longer the end of such a service is waited for, and the interval of the checks.
const SPARE: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_millis(2);

/// The threads of services; waits for them when dropped, after their ports, but not for one that does not end.
#[derive(Default)]
pub(super) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Adds one, and forgets those that have ended.
    pub fn add(&mut self, thread: JoinHandle<()>) {
        self.0.retain(|thread| !thread.is_finished());
        self.0.push(thread);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let deadline = std::time::Instant::now() + LINGER + SPARE;
        while self.0.iter().any(|thread| !thread.is_finished()) {
            if std::time::Instant::now() >= deadline {
                let names = self.0.iter().filter(|thread| !thread.is_finished()).filter_map(|it| it.thread().name());
                return log::error!(
                    "services do not end, and are left behind: {}",
                    names.collect::<Vec<_>>().join(", ")
                );
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// The bridge's context for a service's thread.
#[derive(Clone)]
pub(super) struct BridgeContext {
    /// The name of its switch.
    pub switch: String,
    /// The waker of the switch's thread.
    pub waker: Arc<Waker>,
    pub parts: Arc<Parts>,
}

/// A service's thread: its name, its pulse, and the report of its failure.
pub(super) struct Thread {
    switch: String,
    port: String,
    parts: Arc<Parts>,
    pub pulse: Arc<Pulse>,
}

impl Thread {
    pub fn new(port: &str, context: &BridgeContext) -> Self {
        Self {
            switch: context.switch.clone(),
            port: port.to_owned(),
            parts: context.parts.clone(),
            pulse: context.parts.watchdog.pulse(format!("service {port}")),
        }
    }

    /// The name of its port.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// Runs `work` on the new thread, with no more rights than `role`. When it panics, the port is told why, before its link goes.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start<W: Send + 'static>(
        self,
        role: &'static Role,
        mut work: W,
        run: impl FnOnce(&mut W, &Self) + Send + 'static,
        link: fn(&W) -> &ServiceEnd,
    ) -> Result<JoinHandle<()>> {
        let name = format!("zb-{}", self.port);
        let body = move || {
            let ran = contained(format_args!("service {}", self.port), || {
                run(&mut work, &self);
                Ok(())
            });
            self.pulse.end();
            let Err(why) = ran else { return };
            link(&work).fail(why.what());
            let dropped = contained(format_args!("the end of service {}", self.port), || {
                drop(work);
                Ok(())
            });
            dropped.err().into_iter().for_each(|error| log::error!("{error}"));
            self.parts.tell(Ended { switch: self.switch, port: Some(self.port), why });
        };
        rights::spawn(name, role, body).map_err(|error| Error::system("cannot start a thread", &error))
    }
}
