//! One switch and its ports on a thread: the loop. A turn sleeps, takes the events, breathes, and handles timers and
//! lost ports.

use super::arrival::settle;
use super::breath::Breath;
use super::command::{Command, Handle, Means};
use super::events;
use super::fault::Parts;
use super::links;
use super::lives::Lives;
use super::places;
use super::ports::Ports;
use super::pulse::{Call, Pulse};
use super::show;
use super::status::SwitchStatus;
use super::thread::BridgeContext;
use super::timers::Due;
use super::trace;
use super::watch::{Source, Watch};
use super::watcher::Watchers;
use crate::control::RADIO_LINKS;
use crate::error::{Error, Result};
use crate::frame::PortId;
use crate::switch::{Switch, SwitchConfig};
use crate::time::{Duration, earliest};
use crossbeam_channel::{Receiver, TryRecvError};
use mio::Events;
use mio::event::Event;
use std::sync::Arc;

/// Events of one poll.
const EVENTS: usize = 256;

/// One switch and its ports.
pub(super) struct Engine {
    pub lives: Lives,
    pub breath: Breath,
    commands: Receiver<Command>,
    /// The watchers of port states.
    watchers: Watchers,
    pub pulse: Arc<Pulse>,
}

/// The next step of the loop.
enum Next {
    Breathe,
    Stop,
}

impl Engine {
    /// A switch without ports, and the handle to command it.
    pub fn new(name: &str, config: &SwitchConfig, parts: &Arc<Parts>) -> Result<(Self, Handle)> {
        let (watch, waker) = Watch::new()?;
        let (sender, commands) = crossbeam_channel::unbounded();
        let pulse = parts.watchdog.pulse(format!("switch {name}"));
        let handle = Handle::new(name, sender, waker.clone(), pulse.clone(), parts);
        let context = BridgeContext { switch: name.to_owned(), waker, parts: parts.clone() };
        let ports = Ports::new(name, Switch::new(config), watch, pulse.clone());
        let lives = Lives::new(ports, context);
        Ok((Self { lives, breath: Breath::new(), commands, watchers: Watchers::default(), pulse }, handle))
    }

    /// Runs until it is told to stop.
    pub fn run(&mut self) -> Result<()> {
        self.lives.runs = true;
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.lives.listeners.begin_turn();
            let patience = self.patience();
            self.pulse.end();
            let Ports { switch, watch, clock, .. } = &mut self.lives.ports;
            let slept = watch.sleep(&mut events, patience, switch.next_held(), || clock.now());
            self.pulse.begin();
            slept.map_err(|error| Error::system(format_args!("switch {}: poll", self.lives.ports.name), &error))?;
            for event in &events {
                match Source::of(event.token()) {
                    Source::Waker => {
                        self.lives.ports.look_at_channels();
                        self.lives.handle_answers();
                    }
                    Source::Timer => self.lives.ports.watch.timer_called(),
                    Source::Links => links::take_news(&mut self.lives.ports),
                    Source::Listener(index) => self.lives.listeners.accept(&mut self.lives.ports, index),
                    Source::Port(id) => hear(&mut self.lives.ports, id, event),
                }
            }
            if let Next::Stop = self.handle_commands() {
                return Ok(());
            }
            self.breathe();
            if !self.lives.ports.edges.lists.ready.is_empty() {
                self.breathe();
            }
            self.handle_timers();
            self.lives.lose_failed();
            self.lives.ports.resume();
            events::tell(&mut self.lives.ports);
            self.lives.ports.hand_over_notes();
            self.tell_watchers();
        }
    }

    /// How long the next poll may wait.
    fn patience(&self) -> Option<Duration> {
        let ports = &self.lives.ports;
        let Ports { switch, edges, timers, clock, .. } = ports;
        if !edges.lists.ready.is_empty() || !edges.lists.flushing.is_empty() || switch.has_to_speak() {
            return Some(Duration::ZERO);
        }
        let due =
            earliest(earliest(timers.next(), ports.notes_due()), switch.poll_timeout()).map(|due| due - clock.now());
        due.into_iter().chain(edges.due_in()).min()
    }

    fn breathe(&mut self) {
        self.breath.breathe(&mut self.lives.ports);
        self.lives.lose_failed();
    }

    fn handle_timers(&mut self) {
        self.pulse.at(Call::Timer);
        let ports = &mut self.lives.ports;
        ports.edges.handle_timeout();
        if ports.timers.next().is_none() && ports.switch.poll_timeout().is_none() {
            return;
        }
        let now = ports.clock.now();
        ports.switch.tend(now);
        while let Some(due) = self.lives.ports.timers.pop(now) {
            match due {
                Due::Try(wisher) => self.lives.retry(wisher),
                Due::Accept(index) => self.lives.listeners.accept(&mut self.lives.ports, index),
                Due::Link(id) => links::look_at(&mut self.lives.ports, id),
                Due::Links => links::look_at_all(&mut self.lives.ports),
                Due::Flush(id) => self.lives.ports.make_flushing(id),
                Due::Peer(id) => settle(&mut self.lives.ports, id),
                Due::Unsaid(index) => self.lives.listeners.tell_unsaid(index),
            }
        }
    }

    /// Answers the commands that came since the last breath. An answer that nobody waits for any more is dropped.
    fn handle_commands(&mut self) -> Next {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return Next::Breathe,
                // All handles are dropped: nobody could tell it to stop.
                Err(TryRecvError::Disconnected) => return Next::Stop,
            };
            self.pulse.at(Call::Command);
            match command {
                Command::AddPort(spec, means, answer) => {
                    let spec = Arc::new(*spec);
                    drop(answer.send(match means {
                        Means::Open(beforehand) => self.lives.open_port(spec, beforehand),
                        Means::Given(fd) => self.lives.adopt(spec, fd, false),
                        Means::Seated(fd) => self.lives.adopt(spec, fd, true),
                    }));
                }
                Command::Admits(spec, answer) => drop(answer.send(self.lives.admits_opened(&spec))),
                Command::AddChannel(name, config, answer) => drop(answer.send(self.lives.add_channel(&name, config))),
                Command::AddService(name, config, started, answer) => {
                    drop(answer.send(self.lives.add_service(&name, config, started)));
                }
                Command::RemovePort(name, comes_again, answer) => {
                    drop(answer.send(self.lives.remove_by_name(&name, comes_again)));
                }
                Command::Vacate(name, why, answer) => {
                    drop(answer.send(places::vacate(&mut self.lives.ports, &name, why)))
                }
                Command::Knows(name, answer) => drop(answer.send(self.lives.knows(&name))),
                Command::Cut(cut, answer) => drop(answer.send(self.lives.cut(cut))),
                Command::Heal(ports, answer) => drop(answer.send(self.lives.heal(&ports))),
                Command::Set(name, settings, answer) => drop(answer.send(self.lives.set(&name, settings))),
                Command::Stations(change, answer) => drop(answer.send(self.lives.change_stations(&change))),
                Command::Status(answer) => {
                    let status = self.lives.status();
                    self.tell_watchers();
                    drop(answer.send(status));
                }
                Command::Capture(inlet, answer) => {
                    self.lives.ports.capture(inlet);
                    let _ = answer.send(());
                }
                Command::EndCapture(number) => self.lives.ports.end_capture(number),
                Command::Trace(port, frame, offload, answer) => {
                    drop(answer.send(trace::trace(&mut self.lives.ports, &port, &frame, offload)));
                }
                Command::Watch(watcher) => self.watchers.add(watcher),
                Command::Services(answer) => drop(answer.send(self.lives.ports.inquirers())),
                Command::Known(answer) => {
                    let ports = &self.lives.ports;
                    drop(answer.send((ports.known(), ports.flapping())));
                }
                Command::Radio(answer) => drop(answer.send(self.lives.ports.radio(RADIO_LINKS))),
                Command::Look(look, answer) => drop(answer.send(look.taken(&self.lives.ports))),
                Command::Stop(answer) => {
                    self.lives.ports.switch.discard_queues();
                    self.lives.ports.end_captures();
                    drop(answer.send(self.lives.status()));
                    return Next::Stop;
                }
            }
        }
    }

    fn tell_watchers(&mut self) {
        let Lives { ports, listeners, .. } = &self.lives;
        self.watchers.tell(|| show::states(ports, listeners));
    }

    /// All ports as they are shown.
    pub fn status(&mut self) -> SwitchStatus {
        self.lives.status()
    }
}

/// Handles a poll event on a port's descriptor.
fn hear(ports: &mut Ports, id: PortId, event: &Event) {
    let Some(slot) = ports.edges.slot_mut(id) else { return };
    if slot.life.is_arriving() {
        return settle(ports, id);
    }
    if event.is_read_closed()
        && let Some(there) = slot.life.there_mut()
    {
        there.ending = true;
    }
    if event.is_writable() {
        links::look_at(ports, id);
        ports.make_flushing(id);
        ports.stop_watching_room(id);
    }
    if event.is_readable() || event.is_read_closed() || event.is_error() {
        ports.edges.make_ready(id);
    }
}
