//! Listeners and the clients that they let in.
//!
//! Theory of operation. A client becomes a port of its own, named after the listener and numbered (`inst1#1`), and leaves
//! its counters to the listener's sum when it goes (`lives.rs`). A listener that cannot be bound yet, or cannot accept for
//! want of descriptors, pauses and is tried again as a port is (`life.rs`).
//!
//! A peer may connect thousands of times. So a turn spends [`LETTING_IN`] on new clients and no more, each costs as
//! much as the one before, they never get the last descriptors of the process ([`descriptors::are_scarce`]), and the
//! log is rate-limited: it then gives only a number.

use super::life::{Backoff, Life};
use super::ports::Ports;
use super::slot::Origin;
use super::timers::Due;
use super::watch::Source;
use crate::config::PortSpec;
use crate::counters::Counters;
use crate::error::Result;
use crate::port::accept::{Accepted, Starvation};
use crate::port::{Edge, Listener, descriptors};
use crate::service::allowance::Allowance;
use crate::time::Duration;
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Time in one turn of the loop for letting clients in. Further clients wait for the next turn; frames wait no longer
/// than this and one client more.
const LETTING_IN: Duration = Duration::from_micros(300);

/// Log lines on the clients of one listener: a burst of 500, then ten a second.
const LINES: Allowance = Allowance::new(500, Duration::from_millis(100));

/// Interval at which the number of suppressed lines is logged.
const TOGETHER: Duration = Duration::from_secs(1);

/// The numbers of a listener's clients: a client gets the lowest that is free.
#[derive(Default)]
struct Numbers {
    given: u32,
    free: BinaryHeap<Reverse<u32>>,
}

impl Numbers {
    fn take(&mut self) -> u32 {
        self.free.pop().map_or_else(
            || {
                self.given += 1;
                self.given
            },
            |Reverse(number)| number,
        )
    }

    fn give(&mut self, number: u32) {
        self.free.push(Reverse(number));
    }

    /// How many are taken.
    fn count(&self) -> usize {
        self.given as usize - self.free.len()
    }
}

/// A listener, or the wish for one.
pub(super) struct ListenerSlot {
    pub spec: Arc<PortSpec>,
    pub life: Life<Listener>,
    /// The pause before the next attempt to listen, or to accept.
    pub backoff: Backoff,
    /// The sum of the counters of clients that have left.
    pub departed: Counters,
    /// When it came.
    pub since: std::time::Instant,
    starvation: Starvation,
    numbers: Numbers,
    /// It was logged that it has as many clients as it may have.
    told_full: bool,
    lines: Allowance,
    /// Suppressed lines.
    unsaid: u64,
}

impl ListenerSlot {
    /// A client with this number and these counters has left.
    pub fn client_left(&mut self, number: u32, counters: &Counters) {
        self.numbers.give(number);
        self.departed.add(counters);
    }
}

/// The listeners of a switch.
#[derive(Default)]
pub(super) struct Listeners {
    /// By their numbers; `None`: it was removed, and its place is free.
    slots: Vec<Option<ListenerSlot>>,
    /// Time that this turn has spent on letting clients in.
    taken: Duration,
}

impl Listeners {
    /// A listener.
    pub fn get(&self, index: usize) -> Option<&ListenerSlot> {
        self.slots.get(index)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut ListenerSlot> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// All listeners, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &ListenerSlot)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    /// Adds a listener, or the wish for one. Gives its number.
    ///
    /// # Errors
    /// Its descriptor cannot be watched.
    pub fn add(&mut self, ports: &Ports, spec: Arc<PortSpec>, life: Life<Listener>) -> Result<usize> {
        descriptors::raise();
        // Reuse the place of a removed listener.
        let index = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if let Some(listener) = life.there() {
            watch(ports, index, listener)?;
        }
        let slot = Some(ListenerSlot {
            spec,
            life,
            backoff: Backoff::default(),
            departed: Counters::default(),
            since: std::time::Instant::now(),
            starvation: Starvation::default(),
            numbers: Numbers::default(),
            told_full: false,
            lines: LINES,
            unsaid: 0,
        });
        match self.slots.get_mut(index) {
            Some(place) => *place = slot,
            None => self.slots.push(slot),
        }
        Ok(index)
    }

    /// Takes a listener out after its clients.
    pub fn remove(&mut self, ports: &mut Ports, index: usize) -> Option<ListenerSlot> {
        let slot = self.slots.get_mut(index)?.take()?;
        ports.timers.forget_listener(index);
        ports.watch.forget([slot.life.there().map(Listener::fd)]);
        Some(slot)
    }

    /// Opens a listener that was a wish.
    ///
    /// # Errors
    /// Its descriptor cannot be watched.
    pub fn listen(&mut self, ports: &Ports, index: usize, listener: Listener) -> Result<()> {
        watch(ports, index, &listener)?;
        if let Some(slot) = self.get_mut(index) {
            log::info!("{}: listening", slot.spec.name);
            slot.life = Life::Open(listener);
        }
        Ok(())
    }

    /// A turn of the loop begins.
    pub fn begin_turn(&mut self) {
        self.taken = Duration::ZERO;
    }

    /// Lets clients in, one at least.
    pub fn accept(&mut self, ports: &mut Ports, index: usize) {
        let listener = self.get(index).and_then(|slot| slot.life.there());
        if listener.is_some_and(descriptors::are_scarce) {
            return self.starve(ports, index);
        }
        let start = ports.clock.now();
        loop {
            let Some(slot) = self.get_mut(index) else { return };
            let Some(listener) = slot.life.there() else { return };
            let accepted = listener.accept();
            match slot.starvation.judge(&slot.spec.name, accepted) {
                Accepted::Client((edge, peer)) => {
                    let last = edge.fds().into_iter().flatten().any(|fd| descriptors::is_reserved(fd + 1));
                    slot.backoff = Backoff::default();
                    self.admit(ports, index, edge, peer);
                    if last {
                        return self.starve(ports, index);
                    }
                }
                Accepted::Nobody => return,
                Accepted::Gone => {}
                Accepted::Starved => return self.pause(ports, index),
            }
            if self.taken + (ports.clock.now() - start) >= LETTING_IN {
                break;
            }
        }
        self.taken += ports.clock.now() - start;
        ports.timers.set(Due::Accept(index), ports.clock.now());
    }

    /// Pauses accepting, to keep the last descriptors for others.
    fn starve(&mut self, ports: &mut Ports, index: usize) {
        let Some(slot) = self.get_mut(index) else { return };
        slot.starvation.begins(&slot.spec.name, Errno::MFILE);
        self.pause(ports, index);
    }

    /// Pauses accepting for want of descriptors.
    fn pause(&mut self, ports: &mut Ports, index: usize) {
        let Some(slot) = self.get_mut(index) else { return };
        // A client that comes meanwhile is a reason to try, too.
        ports.timers.set(Due::Accept(index), ports.clock.now() + slot.backoff.next());
    }

    fn admit(&mut self, ports: &mut Ports, index: usize, edge: Edge, peer: String) {
        let Some(slot) = self.get_mut(index) else { return };
        let spec = slot.spec.clone();
        let most = spec.kind.clients();
        if slot.numbers.count() >= most {
            if !std::mem::replace(&mut slot.told_full, true) {
                let hint = "hint: clients= allows more";
                log::warn!("{}: it has {most} clients; {peer} and others are turned away\n  {hint}", spec.name);
            } else {
                self.count_unsaid(ports, index);
            }
            return;
        }
        slot.told_full &= slot.numbers.count() + 1 >= most;
        let number = slot.numbers.take();
        let name = format!("{}#{number}", spec.name);
        self.say_of_client(ports, index, || format!("{name}: connected, {peer}"));
        let origin = Origin::Client { listener: index, number };
        if let Err(error) = ports.add_open(&spec, &name, origin, edge, peer) {
            self.get_mut(index).into_iter().for_each(|slot| slot.numbers.give(number));
            self.say_of_client(ports, index, || error.to_string());
        }
    }

    /// Logs a line on a client, or counts it as suppressed.
    pub fn say_of_client(&mut self, ports: &mut Ports, index: usize, line: impl FnOnce() -> String) {
        let now = ports.clock.now();
        match self.get_mut(index).is_some_and(|slot| slot.lines.take(now)) {
            true => log::info!("{}", line()),
            false => self.count_unsaid(ports, index),
        }
    }

    fn count_unsaid(&mut self, ports: &mut Ports, index: usize) {
        let Some(slot) = self.get_mut(index) else { return };
        slot.unsaid += 1;
        ports.timers.set_by(Due::Unsaid(index), ports.clock.now() + TOGETHER);
    }

    /// Logs how many lines were suppressed.
    pub fn tell_unsaid(&mut self, index: usize) {
        if let Some(slot) = self.get_mut(index) {
            let (name, unsaid) = (&slot.spec.name, std::mem::take(&mut slot.unsaid));
            log::info!("{name}: {unsaid} more clients came, left or were turned away");
        }
    }
}

fn watch(ports: &Ports, index: usize, listener: &Listener) -> Result<()> {
    ports.watch.add(Source::Listener(index), [Some(listener.fd())], false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_the_next() {
        let mut numbers = Numbers::default();
        assert_eq!([(); 4].map(|()| numbers.take()), [1, 2, 3, 4]);
        numbers.give(3);
        numbers.give(1);
        assert_eq!(numbers.count(), 2);
        assert_eq!([(); 3].map(|()| numbers.take()), [1, 3, 5]);
    }
}
