//! What other threads may ask of a running switch, and what it answers.
//!
//! Commands travel on a channel and wake the engine; each carries the channel for its answer. The engine looks at them
//! once a breath, so they are answered under any load. The channel has no bound of its own: whoever sends a command
//! waits for its answer, so it holds one command of each thread that has a [`Handle`] at most.
//!
//! What may take its time is not the engine's to do. Names are looked up and services opened by the thread that asks
//! ([`Beforehand`]), and a table is read a part at a time ([`Handle::fdb`]).

use super::fault::Parts;
use super::fdb::Look;
use super::names::Beforehand;
use super::pulse::{Call, LOOK, Pulse};
use super::service::Host;
use super::watcher::Watcher;
use super::{Engine, Next};
use crate::config::{Attach, PortSpec};
use crate::counters::Counters;
use crate::error::{Class, Error, Result};
use crate::port::channel::Link;
use crate::service::report::{Figures, Leased};
use crate::switch::PortConfig;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use mio::Waker;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

/// A port as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// The word of its kind: `tap`, `unix` …
    pub kind: &'static str,
    /// `up`, `listening`, `connecting`, `waiting`, `down` or `stalled`; `left` where it is no more.
    pub state: &'static str,
    /// Who is at the other end, or why nobody is.
    pub peer: String,
    /// Frames that wait for it.
    pub queued: usize,
    /// What it counted; for a listener, the sum of the clients that have left.
    pub counters: Counters,
    /// What it is, as its specification says: `/tmp/inst1`, `zeth0,addr=192.0.2.2/24`. Nothing of a listener's client.
    pub target: String,
    /// The listener that it is a client of.
    pub listener: Option<String>,
    /// The line that attaches a peer.
    pub attach: Option<Attach>,
    /// What its service counts.
    pub figures: Vec<Figures>,
    /// The leases that its service has given out, by address.
    pub leases: Arc<[Leased]>,
}

/// How a switch is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Condition {
    /// It runs.
    #[default]
    Runs,
    /// It does not answer for more than a second, and where it hangs.
    Hangs(Error),
    /// It has ended by itself, and why. It has no ports any more.
    Ended(Error),
}

/// A switch as it is shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SwitchStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub condition: Condition,
    /// Its ports, each listener followed by its clients.
    pub ports: Vec<PortStatus>,
    /// Ports that are no more, as they left: those of one name and kind as one, with the sum of what they had counted.
    /// The last 64 are kept.
    pub left: Vec<PortStatus>,
}

impl SwitchStatus {
    /// The same when all ports are no more.
    pub(super) fn departed(self, name: &str) -> Self {
        let gone = self.ports.into_iter().map(|port| PortStatus { state: "left", queued: 0, attach: None, ..port });
        let left = self.left.into_iter().chain(gone).collect();
        Self { name: name.to_owned(), ports: Vec::new(), left, condition: self.condition }
    }
}

/// How a port is opened.
pub(super) enum Means {
    /// As its specification says, with what was done for it beforehand.
    Open(Beforehand),
    /// Somebody else has opened it.
    Given(OwnedFd),
}

pub(super) enum Command {
    /// Whether a port may join.
    Admits(Box<PortSpec>, Sender<Result<()>>),
    AddPort(Box<PortSpec>, Means, Sender<Result<()>>),
    AddChannel(String, PortConfig, Sender<Result<Link>>),
    RemovePort(String, Sender<Result<()>>),
    Status(Sender<SwitchStatus>),
    Look(Look, Sender<Look>),
    Watch(Arc<Watcher>),
    Stop(Sender<SwitchStatus>),
}

/// The way of commands to a switch. When the last handle goes the switch is woken, finds that nobody commands it any more,
/// and ends.
struct Line {
    /// `None` only in the drop.
    commands: Option<Sender<Command>>,
    waker: Arc<Waker>,
}

impl Line {
    fn send(&self, command: Command) -> bool {
        self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.commands = None;
        // One that cannot be woken has ended.
        let _ = self.waker.wake();
    }
}

/// What a switch was at last, once it has ended by itself.
#[derive(Default)]
pub(super) struct Fate(OnceLock<SwitchStatus>);

impl Fate {
    /// It has ended so. The first word stands.
    pub fn end(&self, last: SwitchStatus) {
        let _ = self.0.set(last);
    }
}

/// Commands a switch from another thread. One that hangs in a breath is waited for no longer than a second.
#[derive(Clone)]
pub struct Handle {
    name: String,
    line: Arc<Line>,
    pulse: Arc<Pulse>,
    /// Those of the bridge, for the services that are started here.
    parts: Weak<Parts>,
    fate: Arc<Fate>,
}

impl Handle {
    pub(super) fn new(
        name: &str,
        commands: Sender<Command>,
        waker: Arc<Waker>,
        pulse: Arc<Pulse>,
        parts: &Arc<Parts>,
    ) -> Self {
        let line = Arc::new(Line { commands: Some(commands), waker });
        Self { name: name.to_owned(), line, pulse, parts: Arc::downgrade(parts), fate: Arc::default() }
    }

    /// The switch's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is noted how the switch has ended.
    pub(super) fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.fate.0.get().is_some()
    }

    /// Why nobody should wait for it.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.pulse.trouble()
    }

    fn ended(&self) -> Error {
        let error = Error::new(Class::Runtime, format!("switch {} has ended", self.name));
        match self.fate.0.get().map(|last| &last.condition) {
            Some(Condition::Ended(why)) => error.hint(format!("it ended by itself: {}", why.what())),
            _ => error,
        }
    }

    /// Sends a command. Gives where its answer comes.
    fn send<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<Receiver<T>> {
        let (sender, answer) = bounded(1);
        if !self.line.send(command(sender)) {
            return Err(self.ended());
        }
        self.line.waker.wake().map_err(|error| Error::system("cannot wake the switch", &error))?;
        Ok(answer)
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T> {
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        let answer = self.send(command)?;
        loop {
            let breath = self.pulse.breath();
            match answer.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // It was in this breath all the time.
            if let Some(breath) = breath.filter(|_| breath == self.pulse.breath()) {
                self.pulse.hangs_in(breath);
            }
            if let Some(trouble) = self.trouble() {
                return Err(trouble);
            }
        }
    }

    /// Opens a port on the running switch. Waits for the resolver, and for the files of a service.
    ///
    /// # Errors
    /// As [`crate::port::open`], or its name is taken.
    pub fn add_port(&self, spec: PortSpec) -> Result<()> {
        // What has no place is not opened.
        self.ask(|answer| Command::Admits(Box::new(spec.clone()), answer))??;
        let parts = self.parts.upgrade().ok_or_else(|| self.ended())?;
        let host = Host { switch: self.name.clone(), waker: self.line.waker.clone(), parts };
        let means = Means::Open(Beforehand::of(&spec, Some(&host))?);
        self.ask(|answer| Command::AddPort(Box::new(spec), means, answer))?.map_err(Error::told)
    }

    /// Makes a port of a descriptor that somebody else opened: a TAP's or a packet socket's, as `spec` says. It is not
    /// opened again when it is lost, but removed.
    ///
    /// # Errors
    /// As [`crate::port::adopt`], or its name is taken.
    pub fn add_port_with(&self, spec: PortSpec, fd: OwnedFd) -> Result<()> {
        self.ask(|answer| Command::AddPort(Box::new(spec), Means::Given(fd), answer))?
    }

    /// Adds a port inside the process and returns its other end.
    ///
    /// # Errors
    /// The name is taken, or there are too many ports.
    pub fn add_channel(&self, name: &str, config: PortConfig) -> Result<Link> {
        self.ask(|answer| Command::AddChannel(name.to_owned(), config, answer))?
    }

    /// Removes a port, a listener with all its clients.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove_port(&self, name: &str) -> Result<()> {
        self.ask(|answer| Command::RemovePort(name.to_owned(), answer))?
    }

    /// The switch and its ports. Of one that has ended by itself or hangs, that it does and why.
    ///
    /// # Errors
    /// The switch was stopped.
    pub fn status(&self) -> Result<SwitchStatus> {
        self.ask(Command::Status).or_else(|error| {
            let last = self.last_status();
            if last.condition == Condition::Runs { Err(error) } else { Ok(last) }
        })
    }

    /// What is known of a switch that gives no answer.
    pub(super) fn last_status(&self) -> SwitchStatus {
        let hangs = || SwitchStatus {
            name: self.name.clone(),
            condition: self.trouble().map_or(Condition::Runs, Condition::Hangs),
            ..SwitchStatus::default()
        };
        self.fate.0.get().cloned().unwrap_or_else(hangs)
    }

    /// Has `watcher` told of changes from now on, while it wants to hear of them.
    pub(super) fn watch(&self, watcher: &Arc<Watcher>) {
        // A switch that has ended changes no more.
        let _ = self.line.send(Command::Watch(watcher.clone()));
    }

    /// Tells the switch to end. Gives where it says what it had counted.
    pub(super) fn ask_to_stop(&self) -> Receiver<SwitchStatus> {
        // From one that has ended already nothing comes.
        self.send(Command::Stop).unwrap_or_else(|_| bounded(0).1)
    }
}

impl Engine {
    /// Answers what was asked since the last breath. An answer that nobody waits for any more is dropped.
    pub(super) fn handle_commands(&mut self) -> Next {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return Next::Breathe,
                // Nobody can ask for anything any more, and least of all for its end.
                Err(TryRecvError::Disconnected) => return Next::Stop,
            };
            self.pulse.at(Call::Command);
            match command {
                Command::AddPort(spec, means, answer) => {
                    let spec = Arc::new(*spec);
                    drop(answer.send(match means {
                        Means::Open(beforehand) => self.open_port(spec, beforehand),
                        Means::Given(fd) => self.adopt_port(spec, fd),
                    }));
                }
                Command::Admits(spec, answer) => drop(answer.send(self.admits_opened(&spec))),
                Command::AddChannel(name, config, answer) => drop(answer.send(self.add_channel(&name, config))),
                Command::RemovePort(name, answer) => drop(answer.send(self.remove_by_name(&name))),
                Command::Status(answer) => {
                    let status = self.status();
                    self.tell_watchers();
                    drop(answer.send(status));
                }
                Command::Watch(watcher) => self.watchers.add(watcher),
                Command::Look(look, answer) => drop(answer.send(self.look(look))),
                Command::Stop(answer) => {
                    self.switch.discard_queues();
                    drop(answer.send(self.status()));
                    return Next::Stop;
                }
            }
        }
    }
}
