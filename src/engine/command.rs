//! What other threads may ask of a running switch, and what it answers.
//!
//! Commands travel on a channel and wake the engine; each carries the channel for its answer. The engine looks at them
//! once a breath, so they are answered under any load. The channel has no bound of its own: whoever sends a command
//! waits for its answer, so it holds one command of each thread that has a [`Handle`] at most.
//!
//! What may take its time is not the engine's to do. Names are looked up and services opened by the thread that asks
//! ([`Beforehand`]), and a table is read a part at a time ([`Handle::fdb`]).

use super::fdb::Look;
use super::names::Beforehand;
use super::watcher::Watcher;
use super::{Engine, Next};
use crate::config::{Attach, PortSpec};
use crate::counters::Counters;
use crate::error::{Class, Error, Result};
use crate::port::channel::Link;
use crate::service::lan::leases::Lease;
use crate::service::nat::{Flows, Stats};
use crate::switch::PortConfig;
use crossbeam_channel::{Sender, bounded};
use mio::Waker;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

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
    /// The line that attaches a peer.
    pub attach: Option<Attach>,
    /// The flows of a gateway, and what it has counted.
    pub flows: Option<(Flows, Stats)>,
    /// The leases of its segment, by address, and when each ends.
    pub leases: Vec<(Lease, SystemTime)>,
}

/// A switch as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwitchStatus {
    /// Its name.
    pub name: String,
    /// Its ports, each listener followed by its clients.
    pub ports: Vec<PortStatus>,
    /// Ports that are no more, as they left: those of one name and kind as one, with the sum of what they had counted.
    /// The last 64 are kept.
    pub left: Vec<PortStatus>,
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

/// Commands a switch from another thread.
#[derive(Clone)]
pub struct Handle {
    name: String,
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Handle {
    pub(super) fn new(name: &str, commands: Sender<Command>, waker: Arc<Waker>) -> Self {
        Self { name: name.to_owned(), commands, waker }
    }

    /// The switch's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T> {
        let (sender, answer) = bounded(1);
        let ended = || Error::new(Class::Runtime, format!("switch {} has ended", self.name));
        self.commands.send(command(sender)).map_err(|_| ended())?;
        self.waker.wake().map_err(|error| Error::system("cannot wake the switch", &error))?;
        answer.recv().map_err(|_| ended())
    }

    /// Opens a port on the running switch. Waits for the resolver, and for the files of a service.
    ///
    /// # Errors
    /// As [`crate::port::open`], or its name is taken.
    pub fn add_port(&self, spec: PortSpec) -> Result<()> {
        // What has no place is not opened.
        self.ask(|answer| Command::Admits(Box::new(spec.clone()), answer))??;
        let means = Means::Open(Beforehand::of(&spec, Some(&self.waker))?);
        self.ask(|answer| Command::AddPort(Box::new(spec), means, answer))?
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

    /// The switch and its ports.
    ///
    /// # Errors
    /// The switch has ended.
    pub fn status(&self) -> Result<SwitchStatus> {
        self.ask(Command::Status)
    }

    /// Has `watcher` told of changes from now on, while it wants to hear of them.
    pub(super) fn watch(&self, watcher: &Arc<Watcher>) {
        // A switch that has ended changes no more.
        let _ = self.commands.send(Command::Watch(watcher.clone()));
    }

    /// Ends the switch. Returns what it had counted.
    pub(super) fn stop(&self) -> Result<SwitchStatus> {
        self.ask(Command::Stop)
    }
}

impl Engine {
    /// Answers what was asked since the last breath. An answer that nobody waits for any more is dropped.
    pub(super) fn handle_commands(&mut self) -> Next {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::AddPort(spec, means, answer) => {
                    let spec = Arc::new(*spec);
                    drop(answer.send(match means {
                        Means::Open(beforehand) => self.open_port(spec, beforehand),
                        Means::Given(fd) => self.adopt_port(spec, fd),
                    }));
                }
                Command::Admits(spec, answer) => drop(answer.send(self.admits(&spec))),
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
        Next::Breathe
    }
}
