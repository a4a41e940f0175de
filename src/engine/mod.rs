//! The engine: one thread for each switch, which waits for descriptors, moves frames, and keeps ports alive.
//!
//! Theory of operation. A turn of the loop is a *breath*: poll; inhale a bounded batch from each port that is ready;
//! let the switch decide and send; flush the ports that became writable; see to what was lost; run timers. mio is
//! edge-triggered, so a port that has not been drained stays on the ready list and the next poll does not wait. Every
//! port has a budget in each breath and the list goes round, so nobody can starve another port, nor the commands. With
//! nothing to do the thread sleeps: there is no tick.
//!
//! Two breaths may follow one poll, which serves what comes one frame at a time: a port whose last wake-up brought one
//! frame is read once, that frame leaves, and only the second breath looks whether there is another. So no question is
//! asked between the arrival of a lone frame and its departure, and none more in all.
//!
//! A socket is watched for room only while something waits for it. The kernel calls a UNIX socket writable each time
//! its peer has read anything, and would wake the thread once for every frame that it delivered.
//!
//! A port that loses its descriptor is not the process's end. A client of a listener leaves; a port that was asked for
//! by name stays, is shown as waiting, and is opened again, soon at first and then every second (`ports.rs`).
//!
//! A thread that fails takes its own switch or service along, and nothing else (`fault.rs`); one that hangs is named
//! (`pulse.rs`).
//!
//! [`Bridge`] starts and stops the engines of a configuration, and is what a program embeds.

mod air;
mod arrival;
mod bridge;
mod command;
pub mod control;
mod departed;
mod events;
mod fault;
mod fdb;
mod gateway;
mod links;
mod listeners;
mod names;
mod ports;
mod pulse;
mod rewrite;
mod runner;
mod service;
mod show;
mod watcher;

pub use bridge::{Bridge, Ended};
pub use command::{Condition, Handle, PortStatus, SwitchStatus};
pub use fdb::NamedEntry;
pub use service::run_service;

use crate::counters::{Counters, DropReason};
use crate::error::{Error, Result};
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{BATCH_BYTES, INHALE_BYTES, INHALE_BYTES_CONGESTED, INHALE_FRAMES, INHALE_ROOM};
use crate::port::link_news::LinkNews;
use crate::port::port_set::PortSet;
use crate::port::{Budget, Edge, Gone, Inhaled};
use crate::switch::{Flush, Switch, SwitchConfig, Taken, Transmit};
use crate::time::{Clock, Duration, Instant, earliest};
use air::Air;
use command::Command;
use crossbeam_channel::Receiver;
use departed::Departed;
use fault::Parts;
use links::LINK_CHECK;
use listeners::{LETTING_IN, ListenerSlot};
use mio::{Events, Poll, Token, Waker};
use ports::{Due, PortSlot};
use pulse::{Call, Pulse};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const WAKER: Token = Token(usize::MAX);
const LINK_NEWS: Token = Token(usize::MAX - 1);
/// Tokens from here on are listeners, below they are ports.
const LISTENERS: usize = 1 << 32;
const EVENTS: usize = 256;
/// After how long a port is tried again for which the system had no memory.
const STARVED_RETRY: Duration = Duration::from_millis(10);
/// After so many frames a breath does not inhale from further ports, so that the queues hold what one breath brings.
const BREATH_FRAMES: usize = 1024;

/// One switch and its ports.
struct Engine {
    name: String,
    poll: Poll,
    clock: Clock,
    /// What is left of the time for letting clients in, in this turn.
    letting_in: Duration,
    switch: Switch,
    /// Where a radio medium's frames are written.
    air: Option<Air>,
    /// Indexed as the switch's ports are.
    ports: Vec<Option<PortSlot>>,
    listeners: Vec<ListenerSlot>,
    departed: Departed,
    /// Ports that have something to read, each once.
    ready: VecDeque<PortId>,
    /// Ports that are writable and have something queued, each once.
    flushing: VecDeque<PortId>,
    /// Ports inside the process, which call through the waker.
    channels: Vec<PortId>,
    /// Ports that did not take all they were offered in this breath.
    full: Vec<PortId>,
    /// Ports whose edges have something to do at a time of their own.
    timed: Vec<PortId>,
    /// Ports whose edge has failed.
    gone: Vec<PortId>,
    /// Ports that could not send for want of memory.
    starved: Vec<PortId>,
    /// Ports whose link may have changed.
    links: Vec<PortId>,
    /// The kernel's, once a port has an interface.
    link_news: Option<LinkNews>,
    timers: BTreeSet<(Instant, Due)>,
    lookups: names::Lookups,
    batch: Batch,
    /// Room for frames that are translated on their way out.
    scratch: rewrite::Scratch,
    /// Ports that exchange nothing with each other, for services to see.
    isolated: Arc<PortSet>,
    commands: Receiver<Command>,
    /// Who wants to hear of the states of ports.
    watchers: watcher::Watchers,
    waker: Arc<Waker>,
    pulse: Arc<Pulse>,
    /// The loop has begun: from now on whoever waits for an answer keeps frames waiting.
    runs: bool,
    parts: Arc<Parts>,
    /// Behind the ports, whose end is theirs.
    threads: service::Threads,
}

/// What the loop does next.
enum Next {
    Breathe,
    Stop,
}

impl Engine {
    /// A switch without ports, and the handle to command it.
    fn new(name: &str, config: &SwitchConfig, parts: &Arc<Parts>) -> Result<(Self, Handle)> {
        let cannot = |error| Error::system("cannot wait for descriptors", &error);
        let poll = Poll::new().map_err(cannot)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(cannot)?);
        let (sender, commands) = crossbeam_channel::unbounded();
        let pulse = parts.watchdog.pulse(format!("switch {name}"));
        let handle = Handle::new(name, sender, waker.clone(), pulse.clone(), parts);
        let engine = Self {
            name: name.to_owned(),
            poll,
            clock: Clock::start(),
            letting_in: LETTING_IN,
            switch: Switch::new(config),
            air: None,
            ports: Vec::new(),
            listeners: Vec::new(),
            departed: Departed::default(),
            ready: VecDeque::new(),
            flushing: VecDeque::new(),
            channels: Vec::new(),
            full: Vec::new(),
            timed: Vec::new(),
            gone: Vec::new(),
            starved: Vec::new(),
            links: Vec::new(),
            link_news: None,
            timers: BTreeSet::new(),
            lookups: names::Lookups::default(),
            batch: Batch::new(BATCH_BYTES),
            scratch: rewrite::Scratch::default(),
            isolated: Arc::default(),
            commands,
            watchers: watcher::Watchers::default(),
            waker,
            pulse,
            runs: false,
            parts: parts.clone(),
            threads: service::Threads::default(),
        };
        Ok((engine, handle))
    }

    /// Runs until it is told to stop.
    fn run(&mut self) -> Result<()> {
        self.runs = true;
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.letting_in = LETTING_IN;
            let patience = self.patience();
            self.pulse.end();
            let polled = self.poll.poll(&mut events, patience);
            self.pulse.begin();
            match polled {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(Error::system(format_args!("switch {}: poll", self.name), &error));
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKER => {
                        self.look_at_channels();
                        self.handle_names();
                    }
                    LINK_NEWS => self.take_link_news(),
                    Token(token) if token >= LISTENERS => self.accept(token - LISTENERS),
                    Token(token) => self.port_event(PortId(token as u16), event),
                }
            }
            if let Next::Stop = self.handle_commands() {
                return Ok(());
            }
            self.breathe();
            if !self.ready.is_empty() {
                self.breathe();
            }
            self.handle_timers();
            self.lose_all_gone();
            self.resume();
            self.tell_events();
            self.tell_watchers();
        }
    }

    /// How long the next poll may wait.
    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() || !self.flushing.is_empty() || self.switch.has_to_speak() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.first().map(|&(due, _)| due);
        let due = earliest(timer, self.switch.poll_timeout()).map(|due| due - self.clock.now());
        let edges = self.timed.iter().filter_map(|id| self.ports.get(id.index())?.as_ref()?.seat.edge()?.due_in());
        due.into_iter().chain(edges).min()
    }

    /// Notes that a port has something to read.
    fn make_ready(&mut self, id: PortId) {
        if let Some(slot) = self.slot_mut(id)
            && !std::mem::replace(&mut slot.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Notes that a port may take what is queued for it.
    fn make_flushing(&mut self, id: PortId) {
        let waiting = self.switch.state(id).is_some_and(|state| state.queued > 0);
        if let Some(slot) = self.slot_mut(id)
            && waiting
            && !std::mem::replace(&mut slot.flushing, true)
        {
            self.flushing.push_back(id);
        }
    }

    fn port_event(&mut self, id: PortId, event: &mio::event::Event) {
        if self.slot_mut(id).is_some_and(|slot| slot.connecting) {
            return self.settle(id);
        }
        if event.is_writable() {
            self.look_at_link(id, self.clock.now());
            self.make_flushing(id);
            self.stop_watching_room(id);
        }
        if event.is_read_closed()
            && let Some(slot) = self.slot_mut(id)
        {
            slot.ending = true;
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.make_ready(id);
        }
    }

    fn look_at_channels(&mut self) {
        for index in 0..self.channels.len() {
            let id = self.channels[index];
            if self.slot_mut(id).and_then(|slot| slot.seat.edge()).is_some_and(|edge| edge.take_ready()) {
                self.bind_leases(id);
                self.make_flushing(id);
                self.make_ready(id);
            }
        }
    }

    /// Binds the addresses that a service has leased to the guarded ports of those who have them.
    fn bind_leases(&mut self, id: PortId) {
        let Some(Edge::Channel(channel)) = self.ports.get(id.index()).and_then(|slot| slot.as_ref()?.seat.edge())
        else {
            return;
        };
        if self.switch.is_guarded() {
            for lease in channel.take_news().unwrap_or_default().leases.iter() {
                self.switch.bind_lease(lease.mac, lease.addr.into());
            }
        }
    }

    /// One breath: inhale, switch, exhale.
    fn breathe(&mut self) {
        self.inhale();
        self.pulse.at(Call::Inside);
        let now = self.clock.now();
        let mut edges = Edges {
            ports: &mut self.ports,
            full: &mut self.full,
            gone: &mut self.gone,
            starved: &mut self.starved,
            links: &mut self.links,
            ready: &mut self.ready,
            scratch: &mut self.scratch,
            pulse: &self.pulse,
        };
        if !self.batch.is_empty() {
            fault::strike(&self.name);
            if let Some(air) = &mut self.air {
                air.write(&self.batch);
            }
            self.switch.run(now, &self.batch, &mut edges);
        }
        self.switch.speak(now, &mut edges);
        for _ in 0..self.flushing.len() {
            let Some(id) = self.flushing.pop_front() else { break };
            if self.switch.flush(now, id, &mut edges) == Flush::More {
                self.flushing.push_back(id);
            } else if let Some(slot) = edges.ports.get_mut(id.index()).and_then(Option::as_mut) {
                slot.flushing = false;
            }
        }
        while let Some(id) = self.starved.pop() {
            self.timers.retain(|&(_, what)| what != Due::Flush(id));
            self.timers.insert((now + STARVED_RETRY, Due::Flush(id)));
        }
        while let Some(id) = self.full.pop() {
            self.watch_room(id);
        }
        while let Some(id) = self.links.pop() {
            self.tell_link(id);
        }
        self.lose_all_gone();
    }

    /// Sees to ports whose edges have failed. At once, so that none of them is open again by then.
    fn lose_all_gone(&mut self) {
        while let Some(id) = self.gone.pop() {
            self.lose(id);
        }
    }

    /// Reads on from ports that had been paused.
    fn resume(&mut self) {
        while let Some(id) = self.switch.poll_resumed() {
            if self.slot_mut(id).is_some_and(|slot| std::mem::take(&mut slot.parked)) {
                self.make_ready(id);
            }
        }
    }

    /// Fills the batch from the ports that are ready, each within its budget.
    fn inhale(&mut self) {
        self.batch.clear();
        let bytes = if self.switch.is_congested() { INHALE_BYTES_CONGESTED } else { INHALE_BYTES };
        for _ in 0..self.ready.len() {
            if self.batch.free() < INHALE_ROOM || self.batch.len() >= BREATH_FRAMES {
                return;
            }
            let Some(id) = self.ready.pop_front() else { return };
            let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { continue };
            slot.ready = false;
            if self.switch.is_paused(id) {
                slot.parked = true;
                continue;
            }
            let Some(counters) = self.switch.counters_mut(id).filter(|_| slot.seat.edge().is_some()) else { continue };
            self.pulse.at_port(Call::Read, id);
            let before = self.batch.len();
            let frames = if std::mem::take(&mut slot.lone) { 1 } else { INHALE_FRAMES };
            let received = slot.seat.receive(&mut self.batch, id, Budget { bytes, frames }, counters);
            slot.lone = received == Some(Inhaled::Drained) && self.batch.len() - before <= 1;
            if let Some(rewriter) = &mut slot.rewriter {
                self.batch.edit_from(before, |frame, offload| rewriter.inbound(frame, offload));
            }
            match received {
                None => self.gone.push(id),
                Some(Inhaled::Drained) if slot.seat.edge().is_some_and(Edge::link_is_down) => {
                    self.links.push(id);
                    self.timers.insert((self.clock.now() + LINK_CHECK, Due::Link(id)));
                }
                // The end came with the last bytes, in one event: a short read took the bytes, the next finds the end.
                Some(Inhaled::Drained) if std::mem::take(&mut slot.ending) => {
                    slot.ready = true;
                    self.ready.push_back(id);
                }
                Some(Inhaled::Drained) => {}
                Some(Inhaled::More) => {
                    slot.ready = true;
                    self.ready.push_back(id);
                }
            }
        }
    }

    fn handle_timers(&mut self) {
        self.pulse.at(Call::Timer);
        self.handle_edge_timers();
        if self.timers.is_empty() && self.switch.poll_timeout().is_none() {
            return;
        }
        let now = self.clock.now();
        self.switch.handle_timeout(now);
        while let Some(&(due, what)) = self.timers.first() {
            if due > now {
                break;
            }
            self.timers.pop_first();
            match what {
                Due::Port(id) => self.retry(id, due),
                Due::Listener(index) => self.retry_listener(index),
                Due::Link(id) => self.look_at_link(id, now),
                Due::Links => self.look_at_links(),
                Due::Flush(id) => self.make_flushing(id),
                Due::Peer(id) => self.settle(id),
                Due::Unsaid(index) => self.tell_unsaid(index),
            }
        }
    }

    fn handle_edge_timers(&mut self) {
        for index in 0..self.timed.len() {
            let id = self.timed[index];
            let Some(edge) = self.slot_mut(id).and_then(|slot| slot.seat.edge_mut()) else { continue };
            if edge.due_in().is_some_and(|time| time.is_zero()) {
                edge.handle_timeout();
                // What it has to say comes with the next read.
                self.make_ready(id);
            }
        }
    }

    /// What a service needs to know of its bridge.
    fn host(&self) -> service::Host {
        service::Host { switch: self.name.clone(), waker: self.waker.clone(), parts: self.parts.clone() }
    }

    fn port_name(&self, id: PortId) -> &str {
        self.ports.get(id.index()).and_then(Option::as_ref).map_or("a port that is gone", |slot| &slot.name)
    }

    fn slot_mut(&mut self, id: PortId) -> Option<&mut PortSlot> {
        self.ports.get_mut(id.index())?.as_mut()
    }
}

/// The descriptors behind the switch's ports.
struct Edges<'a> {
    ports: &'a mut [Option<PortSlot>],
    full: &'a mut Vec<PortId>,
    gone: &'a mut Vec<PortId>,
    starved: &'a mut Vec<PortId>,
    links: &'a mut Vec<PortId>,
    ready: &'a mut VecDeque<PortId>,
    scratch: &'a mut rewrite::Scratch,
    pulse: &'a Pulse,
}

impl Transmit for Edges<'_> {
    fn transmit(&mut self, id: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else {
            counters.drop(DropReason::LinkDown, out.len() as u64);
            return Taken { frames: out.len() };
        };
        let had_failed = slot.seat.has_failed();
        self.pulse.at_port(Call::Write, id);
        let frames = match &slot.rewriter {
            None => slot.seat.offer(out, counters),
            Some(rewriter) => self.scratch.offer(rewriter, &mut slot.seat, out, counters),
        };
        let Some(edge) = slot.seat.edge() else {
            if slot.seat.has_failed() && !had_failed {
                self.gone.push(id);
            }
            return Taken { frames };
        };
        if edge.is_starved() {
            self.starved.push(id);
        }
        if edge.link_is_down() != slot.link_down {
            self.links.push(id);
        }
        if frames < out.len() {
            self.full.push(id);
        }
        if edge.has_own() && !std::mem::replace(&mut slot.ready, true) {
            self.ready.push_back(id);
        }
        Taken { frames }
    }

    fn has_begun(&self, id: PortId) -> bool {
        self.ports.get(id.index()).and_then(Option::as_ref).is_some_and(|slot| slot.seat.has_begun())
    }

    fn abandon(&mut self, id: PortId) {
        if let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::as_mut) {
            slot.seat.fail(Gone("the system has no memory for the rest of a frame that was half sent".into()));
            self.gone.push(id);
        }
    }
}

/// A number that a peer cannot guess, for hashes and sequence numbers.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests;
