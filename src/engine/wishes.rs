//! Attempts at what is not there yet, ports and listeners alike (`life.rs`).

use super::Engine;
use super::life::{Backoff, Wish};
use super::names::Prepared;
use super::ports::Origin;
use super::timers::{Due, Wisher};
use crate::config::PortSpec;
use crate::error::Result;
use crate::port::Opened;
use crate::wire::Rewriter;
use std::sync::Arc;

impl Engine {
    /// The wish of a port or a listener, with its specification.
    pub(super) fn wish_mut(&mut self, wisher: Wisher) -> Option<(&Arc<PortSpec>, &mut Wish, &mut Backoff)> {
        match wisher {
            Wisher::Port(id) => {
                let slot = self.slot_mut(id)?;
                let Origin::Spec(spec) = &slot.origin else { return None };
                Some((spec, slot.life.wish_mut()?, &mut slot.backoff))
            }
            Wisher::Listener(index) => {
                let slot = self.listeners.get_mut(index)?.as_mut()?;
                Some((&slot.spec, slot.life.wish_mut()?, &mut slot.backoff))
            }
        }
    }

    /// Sets a timer for the next attempt. A port takes no part until then.
    pub(super) fn wait(&mut self, wisher: Wisher) {
        if let Wisher::Port(id) = wisher {
            self.set_down(id);
            self.slot_mut(id).and_then(|slot| slot.rewriter.as_mut()).into_iter().for_each(Rewriter::forget);
        }
        let now = self.clock.now();
        let Some((.., backoff)) = self.wish_mut(wisher) else { return };
        let due = now + backoff.next();
        self.timers.set(Due::Try(wisher), due);
    }

    /// Tries it again: asks for what has to be done aside, or opens it.
    pub(super) fn retry(&mut self, wisher: Wisher) {
        let Some((spec, ..)) = self.wish_mut(wisher) else { return };
        let spec = spec.clone();
        let Some((number, why)) = self.open_aside(wisher, &spec) else {
            return self.attempt(wisher, Ok(Prepared { spec, started: None }));
        };
        if let Some((_, wish, _)) = self.wish_mut(wisher) {
            wish.ask(number, why);
        }
    }

    /// Opens the ports and listeners for which all is done that took its time.
    pub(super) fn handle_answers(&mut self) {
        while let Some((wisher, number, prepared)) = self.lookups.poll() {
            if self.wish_mut(wisher).is_some_and(|(_, wish, _)| wish.takes_answer(number)) {
                self.attempt(wisher, prepared);
            }
        }
    }

    /// Opens it, now that all is done that takes its time.
    fn attempt(&mut self, wisher: Wisher, prepared: Result<Prepared>) {
        let Some((_, wish, _)) = self.wish_mut(wisher) else { return };
        let makes = wish.makes;
        let opened = prepared.and_then(|prepared| self.open(prepared, makes));
        let Err(error) = opened.and_then(|opened| self.fulfil(wisher, opened)) else { return };
        if let Some((spec, wish, _)) = self.wish_mut(wisher) {
            wish.disappointed(&spec.name, &error);
        }
        self.wait(wisher);
    }

    fn fulfil(&mut self, wisher: Wisher, opened: Opened) -> Result<()> {
        match (wisher, opened) {
            (Wisher::Port(id), Opened::Edge(edge, peer)) => self.attach(id, edge, peer, false),
            (Wisher::Port(id), Opened::Connecting(edge, peer)) => self.attach(id, edge, peer, true),
            (Wisher::Listener(index), Opened::Listener(listener)) => self.listen(index, listener),
            // What a specification asks for does not change.
            (Wisher::Port(_), Opened::Listener(_))
            | (Wisher::Listener(_), Opened::Edge(..) | Opened::Connecting(..)) => Ok(()),
        }
    }
}
