//! Ports whose hosts have names: looking one up may take long, and holds up no switch.
//!
//! Theory of operation. A port that is tried until it is there has its names looked up by a thread of its own
//! ([`crate::port::names`]), each time anew, and waits until that wakes the switch, which then opens it by numbers. An
//! answer bears the number of its question, and is void when the port or the listener that asked is no more. Of any
//! other port a failure is the caller's to hear, so that the caller's thread looks up, before it asks the switch
//! ([`beforehand`]).

use super::Engine;
use super::ports::Due;
use crate::config::PortSpec;
use crate::error::Result;
use crate::port::{is_awaited, names};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;

/// What a look-up came to.
struct Answer {
    /// Who asked.
    what: Due,
    /// The number of the question.
    number: u64,
    numbers: Result<Arc<PortSpec>>,
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
        let (tell, told) = unbounded();
        Self { tell, told, asked: 0 }
    }
}

/// Looks up, on the calling thread, the names of a port that has to be there at once. `None`: there are none, or the port
/// may wait.
///
/// # Errors
/// Nobody knows a name.
pub(super) fn beforehand(spec: &PortSpec) -> Result<Option<Box<PortSpec>>> {
    if is_awaited(spec) || names::first_name(spec).is_none() {
        return Ok(None);
    }
    names::in_numbers(spec).map(|numbers| Some(Box::new(numbers))).map_err(|error| error.at(&spec.name))
}

impl Engine {
    /// Has the names in `spec` looked up for `what`. Gives the number of the question and what is shown meanwhile; `None`:
    /// there are no names.
    pub(super) fn look_up(&mut self, what: Due, spec: &Arc<PortSpec>) -> Option<(u64, String)> {
        let name = names::first_name(spec)?;
        self.lookups.asked += 1;
        let (number, spec) = (self.lookups.asked, spec.clone());
        let (tell, waker) = (self.lookups.tell.clone(), self.waker.clone());
        let done = move |numbers| {
            // The switch may have ended in the meantime.
            let _ = tell.send(Answer { what, number, numbers });
            let _ = waker.wake();
        };
        let refused = done.clone();
        if let Err(error) = names::look_up(move || names::in_numbers(&spec).map(Arc::new), done) {
            refused(Err(error));
        }
        Some((number, format!("looking up {name}")))
    }

    /// Opens the ports whose names have been looked up.
    pub(super) fn handle_names(&mut self) {
        while let Ok(Answer { what, number, numbers }) = self.lookups.told.try_recv() {
            match what {
                Due::Port(id) => {
                    let asked = |slot: &mut super::PortSlot| slot.asked.take_if(|asked| *asked == number).is_some();
                    if self.slot_mut(id).is_some_and(asked) {
                        self.attempt(id, numbers);
                    }
                }
                Due::Listener(index) => {
                    let asked = |slot: &mut super::ListenerSlot| slot.asked.take_if(|it| *it == number).is_some();
                    if self.listeners.get_mut(index).is_some_and(asked) {
                        self.listen(index, numbers);
                    }
                }
                Due::Link(_) | Due::Links | Due::Flush(_) | Due::Peer(_) | Due::Unsaid(_) => {}
            }
        }
    }
}
