//! Listeners and the clients that they let in.
//!
//! Theory of operation. A client becomes a port of the listener's name, and leaves its counters to the listener's sum
//! when it goes (`ports.rs`). A listener that cannot be bound yet, or cannot accept for want of descriptors, pauses and
//! is tried again as a port is: after 50 ms, then at twice the interval up to a second.

use super::ports::{Due, FIRST_RETRY, LAST_RETRY, Origin, say};
use super::{Engine, LISTENERS};
use crate::config::PortSpec;
use crate::counters::Counters;
use crate::error::Result;
use crate::port::{self, Edge, Listener, Opened};
use crate::time::Duration;
use mio::{Interest, Token};
use rustix::io::Errno;
use std::sync::Arc;

/// Clients that one event may bring in; the rest waits for the next breath.
const ACCEPTS: usize = 64;

/// A listener, or the wish for one.
pub(super) struct ListenerSlot {
    pub spec: Arc<PortSpec>,
    pub listener: Option<Listener>,
    /// The sum of what clients that have left had counted.
    pub departed: Counters,
    /// Why it does not listen.
    pub why: String,
    /// That was not said yet.
    pub untold: bool,
    /// The system had nothing left for a client, which was said.
    starved: bool,
    pub removed: bool,
    /// Its names are being looked up: the number of the question.
    pub asked: Option<u64>,
    retry: Duration,
}

impl Engine {
    /// Adds a listener. One that is not there yet, for the reason `why`, is tried in a moment. `untold`: when that fails,
    /// it is to be said.
    pub(super) fn add_listener(
        &mut self,
        spec: Arc<PortSpec>,
        listener: Option<Listener>,
        why: String,
        untold: bool,
    ) -> Result<()> {
        // In the place of one that was removed, which left nothing behind.
        let index = self.listeners.iter().position(|slot| slot.removed).unwrap_or(self.listeners.len());
        match &listener {
            Some(listener) => self.register(listener.fd(), Token(LISTENERS + index), Interest::READABLE)?,
            None => drop(self.timers.insert((self.clock.now() + FIRST_RETRY, Due::Listener(index)))),
        }
        let departed = Counters::default();
        let slot = ListenerSlot {
            spec,
            listener,
            departed,
            why,
            untold,
            starved: false,
            removed: false,
            asked: None,
            retry: FIRST_RETRY,
        };
        match self.listeners.get_mut(index) {
            Some(place) => *place = slot,
            None => self.listeners.push(slot),
        }
        Ok(())
    }

    /// A listener that could not be bound, or could not accept, tries again.
    pub(super) fn retry_listener(&mut self, index: usize) {
        let slot = &mut self.listeners[index];
        if slot.removed {
            return;
        }
        if slot.listener.is_some() {
            return self.accept(index);
        }
        let spec = slot.spec.clone();
        match self.open_aside(Due::Listener(index), &spec) {
            Some((number, why)) => {
                let slot = &mut self.listeners[index];
                (slot.asked, slot.why) = (Some(number), why);
            }
            None => self.listen(index, Ok(spec)),
        }
    }

    /// Binds a listener, its specification in numbers.
    pub(super) fn listen(&mut self, index: usize, numbers: Result<Arc<PortSpec>>) {
        let slot = &mut self.listeners[index];
        match numbers.and_then(|numbers| port::open(&numbers)) {
            Ok(Opened::Listener(listener)) => {
                log::info!("{}: listening", slot.spec.name);
                let fd = listener.fd();
                slot.listener = Some(listener);
                if let Err(error) = self.register(fd, Token(LISTENERS + index), Interest::READABLE) {
                    log::error!("{}: {error}", self.listeners[index].spec.name);
                }
            }
            Ok(_) => {}
            Err(error) => {
                say(&slot.spec.name, &error, &mut slot.untold);
                error.what().clone_into(&mut slot.why);
                self.wait_listener(index);
            }
        }
    }

    fn wait_listener(&mut self, index: usize) {
        let slot = &mut self.listeners[index];
        slot.retry = (slot.retry * 2).min(LAST_RETRY);
        // A client that comes meanwhile is a reason to try, but not to wait for two times.
        self.timers.retain(|&(_, what)| what != Due::Listener(index));
        self.timers.insert((self.clock.now() + slot.retry, Due::Listener(index)));
    }

    /// Lets clients in.
    pub(super) fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(index).and_then(|slot| slot.listener.as_ref()) else { return };
            match listener.accept() {
                Ok(Some((edge, peer))) => {
                    let slot = &mut self.listeners[index];
                    (slot.retry, slot.starved) = (FIRST_RETRY, false);
                    self.admit(index, edge, peer);
                }
                Ok(None) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => {
                    let slot = &mut self.listeners[index];
                    if !std::mem::replace(&mut slot.starved, true) {
                        let (name, cause) = (&slot.spec.name, std::io::Error::from(errno));
                        log::error!("{name}: cannot accept a client: {cause}; trying again until it can");
                    }
                    return self.wait_listener(index);
                }
            }
        }
        self.timers.insert((self.clock.now(), Due::Listener(index)));
    }

    fn admit(&mut self, index: usize, edge: Edge, peer: String) {
        let spec = self.listeners[index].spec.clone();
        let name = self.client_name(&spec.name);
        log::info!("{name}: connected, {peer}");
        if let Err(error) = self.add_slot(&spec, &name, Origin::Client(index), Some(edge), peer) {
            log::error!("{error}");
        }
    }

    /// `inst1`, and while that is taken `inst1#2`, `inst1#3` …
    fn client_name(&self, base: &str) -> String {
        let names: std::collections::HashSet<&str> =
            self.ports.iter().flatten().map(|slot| slot.name.as_str()).collect();
        let mut name = base.to_owned();
        let mut number = 1;
        while names.contains(name.as_str()) {
            number += 1;
            name = format!("{base}#{number}");
        }
        name
    }
}
