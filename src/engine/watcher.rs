//! Who wants to hear when the state of a port has changed, without asking again and again.
//!
//! Theory of operation. A [`Watcher`] says whether it wants to hear. While one does, the engine looks at the end of each
//! turn of its loop, and whenever it is asked how its ports are, whether any state is another than at the look before,
//! and then wakes it. A thread that says so first, and asks then, misses
//! nothing; it may be woken for nothing.

use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
pub(super) struct Watcher {
    waker: Arc<Waker>,
    wants: AtomicBool,
}

impl Watcher {
    /// One that is woken by `waker`, and wants nothing yet.
    pub fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { waker, wants: AtomicBool::new(false) })
    }

    /// Says whether it wants to hear from now on.
    pub fn want(&self, wants: bool) {
        self.wants.store(wants, Ordering::SeqCst);
    }
}

/// Those who may want to hear of one engine. Who is no more wants nothing.
#[derive(Default)]
pub(super) struct Watchers {
    all: Vec<Arc<Watcher>>,
    /// The states at the look before.
    seen: u64,
}

impl Watchers {
    /// Adds one, and forgets those that are no more.
    pub fn add(&mut self, watcher: Arc<Watcher>) {
        self.all.retain(|watcher| Arc::strong_count(watcher) > 1);
        self.all.push(watcher);
    }

    /// Tells who wants to hear, if the states are not as they were. They are asked for only then.
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
