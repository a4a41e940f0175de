//! Preparation of ports, off the switch's thread: looking up names and opening a service's files, terminals and sockets
//! may block.
//!
//! Theory of operation. For a port that is tried until it is open, each attempt starts a thread that looks up its names
//! and starts its service, then wakes the switch, which opens the rest by numeric addresses. An answer bears the number
//! of its question, and is void once the port or listener that asked is removed. For any other port the caller has to
//! hear of a failure, so the caller's thread does the same before it asks the switch ([`Beforehand`]).

use super::recorder::{self, Running};
use super::service::{self, Started};
use super::tap::Inlet;
use super::thread::BridgeContext;
use super::timers::Wisher;
use crate::config::PortSpec;
use crate::error::Result;
use crate::port::{is_awaited, names};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;

/// A specification with numeric addresses, and its started service, if it has one.
pub(super) struct Prepared {
    pub spec: Arc<PortSpec>,
    pub started: Option<Started>,
}

impl Prepared {
    /// Prepares `spec`.
    fn of(spec: Arc<PortSpec>, context: &BridgeContext) -> Result<Self> {
        let spec = match names::first_name(&spec) {
            Some(_) => Arc::new(names::in_numbers(&spec)?),
            None => spec,
        };
        let started = service::start(&spec, context, random_seed()).transpose()?;
        Ok(Self { spec, started })
    }
}

/// The outcome of a preparation.
struct Answer {
    /// The owner of the wish.
    wisher: Wisher,
    /// The number of the question.
    number: u64,
    prepared: Result<Prepared>,
}

/// The questions that are under way.
pub(super) struct Lookups {
    tell: Sender<Answer>,
    told: Receiver<Answer>,
    /// Questions so far.
    asked: u64,
}

impl Default for Lookups {
    fn default() -> Self {
        // Bounded by its use: each port and each listener has one question under way at most.
        let (tell, told) = unbounded();
        Self { tell, told, asked: 0 }
    }
}

impl Lookups {
    /// Has the names in `spec` looked up for `wisher`, and its service started. Returns the number of the question and
    /// the state to show meanwhile; `None`: nothing is to be prepared.
    pub fn ask(&mut self, wisher: Wisher, spec: &Arc<PortSpec>, context: &BridgeContext) -> Option<(u64, String)> {
        let why = match names::first_name(spec) {
            Some(name) => format!("looking up {name}"),
            None if crate::service::is_one(spec) => "being opened".to_owned(),
            None => return None,
        };
        self.asked += 1;
        let (number, spec, context) = (self.asked, spec.clone(), context.clone());
        let (tell, waker) = (self.tell.clone(), context.waker.clone());
        let done = move |prepared| {
            // The switch may have ended in the meantime.
            let _ = tell.send(Answer { wisher, number, prepared });
            let _ = waker.wake();
        };
        let refused = done.clone();
        if let Err(error) = names::look_up(move || Prepared::of(spec, &context), done) {
            refused(Err(error));
        }
        Some((number, why))
    }

    /// The next answer: who had asked, the number of the question, and what came of it.
    pub fn poll(&mut self) -> Option<(Wisher, u64, Result<Prepared>)> {
        self.told.try_recv().ok().map(|Answer { wisher, number, prepared }| (wisher, number, prepared))
    }
}

/// The preparation of a port by the calling thread.
#[derive(Default)]
pub(super) struct Beforehand {
    /// Its specification with numeric addresses, if it had names.
    pub numbers: Option<Box<PortSpec>>,
    /// Its service, or why there is none.
    pub started: Option<Result<Started>>,
    /// The capture that it asks for.
    pub capture: Option<(Inlet, Running)>,
}

impl Beforehand {
    /// Prepares a port that has to be open at once; with a `context` it starts the service as well. For a port that may
    /// wait, names and service are left to [`Lookups`].
    ///
    /// # Errors
    /// Nobody knows a name.
    pub fn of(spec: &PortSpec, context: Option<&BridgeContext>) -> Result<Self> {
        let file = spec.capture.as_deref();
        let capture = file.map(|path| recorder::start_file(path, vec![spec.name.clone()])).transpose()?;
        let named = names::first_name(spec).is_some();
        if named && is_awaited(spec) {
            return Ok(Self { capture, ..Self::default() });
        }
        let numbers = named.then(|| names::in_numbers(spec)).transpose().map_err(|error| error.at(&spec.name))?;
        let meant = numbers.as_ref().unwrap_or(spec);
        let started = context.and_then(|context| service::start(meant, context, random_seed()));
        Ok(Self { numbers: numbers.map(Box::new), started, capture })
    }
}

/// A seed that is drawn for one who named none, short enough to be typed.
pub(super) fn drawn_seed() -> u64 {
    random_seed() % 999_999 + 1
}

/// A number that a peer cannot guess, for hashes and sequence numbers.
pub(super) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
