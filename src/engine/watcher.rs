//! Notifications that the state of a port has changed, instead of polling for it.
//!
//! Theory of operation. A [`Watcher`] is switched on and off. While one is on, the engine compares the states of its
//! ports with those before, at the end of each turn and whenever it shows its ports, and wakes the watcher if any
//! differs. A thread that switches its watcher on first and reads the states then misses no change; it may be woken
//! without one.

use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
pub(super) struct Watcher {
    waker: Arc<Waker>,
    wants: AtomicBool,
}

impl Watcher {
    /// A watcher that is off, and wakes by `waker`.
    pub fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { waker, wants: AtomicBool::new(false) })
    }

    /// Switches it on or off.
    pub fn want(&self, wants: bool) {
        self.wants.store(wants, Ordering::SeqCst);
    }
}

/// The watchers of one engine.
#[derive(Default)]
pub(super) struct Watchers {
    all: Vec<Arc<Watcher>>,
    /// The states at the last comparison.
    seen: u64,
}

impl Watchers {
    /// Adds one, and forgets dropped ones.
    pub fn add(&mut self, watcher: Arc<Watcher>) {
        self.all.retain(|watcher| Arc::strong_count(watcher) > 1);
        self.all.push(watcher);
    }

    /// Wakes the watchers that are on if the states have changed. Calls `states` only if one is on.
    pub fn tell(&mut self, states: impl FnOnce() -> u64) {
        let mut wanting = self.all.iter().filter(|watcher| watcher.wants.load(Ordering::SeqCst)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let now = states();
        if std::mem::replace(&mut self.seen, now) == now {
            return;
        }
        for watcher in wanting {
            if let Err(error) = watcher.waker.wake() {
                log::error!("cannot tell that a port has changed: {error}");
            }
        }
    }
}
