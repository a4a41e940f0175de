//! Who wants to hear when the state of a port has changed, without asking again and again.
//!
//! Theory of operation. A [`Watcher`] says whether it wants to hear. While one does, the engine looks at the end of each
//! turn of its loop, and whenever it is asked how its ports are, whether any state is another than at the look before,
//! and then wakes it. Who wants first and asks then misses nothing; being woken for nothing is possible.

use super::Engine;
use super::show::state_word;
use mio::Waker;
use std::hash::{DefaultHasher, Hash, Hasher};
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

    fn wanting(&self) -> impl Iterator<Item = &Arc<Watcher>> {
        self.all.iter().filter(|watcher| watcher.wants.load(Ordering::SeqCst))
    }
}

impl Engine {
    /// Tells who wants to hear, if a state is not as it was.
    pub(super) fn tell_watchers(&mut self) {
        if self.watchers.wanting().next().is_none() {
            return;
        }
        let now = self.states();
        if std::mem::replace(&mut self.watchers.seen, now) == now {
            return;
        }
        for watcher in self.watchers.wanting() {
            if let Err(error) = watcher.waker.wake() {
                log::error!("cannot tell that a port has changed: {error}");
            }
        }
    }

    /// The states of all ports, as a number that is another one when any is.
    fn states(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for slot in self.listeners.iter().flatten() {
            (&slot.spec.name, slot.life.there().is_some()).hash(&mut hasher);
        }
        for id in self.switch.ports() {
            let slot = self.ports.get(id.index()).and_then(Option::as_ref);
            if let (Some(slot), Some(state)) = (slot, self.switch.state(id)) {
                (&slot.name, state_word(slot, &state)).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}
