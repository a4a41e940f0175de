//! The commands that other threads send to a running switch, and its answers.
//!
//! Commands travel on a channel and wake the engine; each carries the channel for its answer. The engine looks at them
//! once a breath, so they are answered under any load. The channel has no bound of its own: whoever sends a command
//! waits for its answer, so it holds one command of each thread that has a [`Handle`] at most.
//!
//! The engine does nothing that may block. Names are looked up and services opened by the thread that asks
//! ([`Beforehand`]), and a table is read a part at a time ([`Handle::fdb`]).

use super::fault::Parts;
use super::look::Look;
use super::prepare::Beforehand;
use super::pulse::{LOOK, Pulse};
use super::service::{self, Started};
use super::settings::Stations;
use super::status::{Condition, RadioStatus, SwitchStatus};
use super::tap::Inlet;
use super::thread::BridgeContext;
use super::trace::Report;
use super::watcher::Watcher;
use crate::config::{Cut, PortSpec, Setting};
use crate::error::{Class, Error, Result};
use crate::port::channel;
use crate::port::inquiry::Inquirer;
use crate::port::own::Link;
use crate::service::{Outside, Service};
use crate::switch::{Known, PortConfig};
use crate::wire::{Mac, Offload};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use mio::Waker;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

/// A station's IP address as the switch knows it, with the name of its port.
pub type NamedKnown = (Known, String);

/// A MAC address that is heard on two ports by turns, and their names.
pub type NamedFlap = (Mac, [String; 2]);

/// How a port is opened.
pub(super) enum Means {
    /// As its specification says, with what was done for it beforehand.
    Open(Beforehand),
    /// Somebody else has opened it.
    Given(OwnedFd),
    /// The same, and its place is kept when the descriptor is lost: the next one takes it.
    Seated(OwnedFd),
}

pub(super) enum Command {
    /// Checks whether a port may be added.
    Admits(Box<PortSpec>, Sender<Result<()>>),
    AddPort(Box<PortSpec>, Means, Sender<Result<()>>),
    AddChannel(String, PortConfig, Sender<Result<channel::ServiceEnd>>),
    AddService(String, PortConfig, Started, Sender<Result<()>>),
    /// Removes a port; with true, one of its name may come again, to which applies what was set of it.
    RemovePort(String, bool, Sender<Result<()>>),
    Cut(Cut, Sender<Result<()>>),
    /// Whether it knows a port of this name, or did.
    Knows(String, Sender<bool>),
    /// Heals these ports, or all.
    Heal(Vec<String>, Sender<Result<Vec<String>>>),
    /// Takes a port's descriptor away, and keeps its place.
    Vacate(String, String, Sender<Result<()>>),
    Set(String, Vec<Setting>, Sender<Result<()>>),
    Status(Sender<SwitchStatus>),
    Look(Look, Sender<Look>),
    /// Changes the forwarding database.
    Stations(Stations, Sender<Result<bool>>),
    /// Tells who asks the services of its ports.
    Services(Sender<Vec<(String, Inquirer)>>),
    Known(Sender<(Vec<NamedKnown>, Vec<NamedFlap>)>),
    Radio(Sender<Option<RadioStatus>>),
    /// Starts a capture.
    Capture(Inlet, Sender<()>),
    /// Ends the capture with this number.
    EndCapture(u64),
    /// A dry run of a frame from a port.
    Trace(String, Vec<u8>, Offload, Sender<Result<Report>>),
    Watch(Arc<Watcher>),
    Stop(Sender<SwitchStatus>),
}

/// The command channel of a switch. Dropping the last handle wakes the switch, which finds the channel disconnected and
/// ends.
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
        // The waker fails only when the switch has ended.
        let _ = self.waker.wake();
    }
}

/// The last status of a switch that has ended by itself.
#[derive(Default)]
pub(super) struct Fate(OnceLock<SwitchStatus>);

impl Fate {
    /// Records the last status. Only the first call counts.
    pub fn end(&self, last: SwitchStatus) {
        let _ = self.0.set(last);
    }
}

/// Commands a switch from another thread. A call gives up on a switch that hangs in one breath for a second.
#[derive(Clone)]
pub struct Handle {
    name: String,
    line: Arc<Line>,
    pulse: Arc<Pulse>,
    /// The bridge's parts, for the services that are started here.
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

    /// The place of the switch's last status.
    pub(super) fn fate(&self) -> Arc<Fate> {
        self.fate.clone()
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.fate.0.get().is_some()
    }

    /// Why it gives no answer: it has ended, or hangs.
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

    /// Sends a command, and returns the channel of its answer.
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
            // The switch has been in the same breath all the time.
            if let Some(breath) = breath.filter(|_| breath == self.pulse.breath()) {
                self.pulse.hangs_in(breath);
            }
            if let Some(trouble) = self.trouble() {
                return Err(trouble);
            }
        }
    }

    /// The IP addresses claimed by stations, each with its port's name, and the MAC addresses claimed by two of them.
    ///
    /// # Errors
    /// The switch has ended.
    pub fn known(&self) -> Result<(Vec<NamedKnown>, Vec<NamedFlap>)> {
        self.ask(Command::Known)
    }

    /// Who asks the services of its ports, by the ports' names.
    ///
    /// # Errors
    /// The switch has ended.
    pub(super) fn services(&self) -> Result<Vec<(String, Inquirer)>> {
        self.ask(Command::Services)
    }

    /// Who hears whom; `None`: it is no radio medium.
    ///
    /// # Errors
    /// The switch has ended.
    pub(super) fn radio(&self) -> Result<Option<RadioStatus>> {
        self.ask(Command::Radio)
    }

    /// Opens a port on the running switch. Waits for the resolver, and for the files of a service.
    ///
    /// # Errors
    /// As [`crate::port::open`], or its name is taken.
    pub fn add_port(&self, spec: PortSpec) -> Result<()> {
        // Refuse the port before its resources are opened.
        self.ask(|answer| Command::Admits(Box::new(spec.clone()), answer))??;
        let means = Means::Open(Beforehand::of(&spec, Some(&self.context()?))?);
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

    /// The same for a port whose place is kept when its descriptor is lost, with all that was set and counted there: the
    /// next descriptor that comes under its name takes it.
    ///
    /// # Errors
    /// As [`Handle::add_port_with`].
    pub(crate) fn seat_port(&self, spec: PortSpec, fd: OwnedFd) -> Result<()> {
        self.ask(|answer| Command::AddPort(Box::new(spec), Means::Seated(fd), answer))?
    }

    /// Takes the descriptor of such a port away, for the reason `why`.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn vacate_port(&self, name: &str, why: &str) -> Result<()> {
        self.ask(|answer| Command::Vacate(name.to_owned(), why.to_owned(), answer))?
    }

    /// Adds a port inside the process and returns its other end.
    ///
    /// # Errors
    /// The name is taken, or there are too many ports.
    pub fn add_channel(&self, name: &str, config: PortConfig) -> Result<Link> {
        self.ask(|answer| Command::AddChannel(name.to_owned(), config, answer))?.and_then(Link::new)
    }

    /// Runs a service of the calling program behind a new port of this name, on a thread of its own that ends with the
    /// port. `make` makes it, on the calling thread, and obtains what the service works with from its beginning.
    ///
    /// # Errors
    /// Those of `make`; or the name is taken, or there are too many ports or threads.
    pub fn add_service<S: Service + Send + 'static>(
        &self,
        name: &str,
        config: PortConfig,
        make: impl FnOnce(&mut dyn Outside) -> Result<S>,
    ) -> Result<()> {
        let started = service::start_own(name, &self.context()?, make)?;
        self.ask(|answer| Command::AddService(name.to_owned(), config, started, answer))?
    }

    /// The context for a service that is started here.
    fn context(&self) -> Result<BridgeContext> {
        let parts = self.parts.upgrade().ok_or_else(|| self.ended())?;
        Ok(BridgeContext { switch: self.name.clone(), waker: self.line.waker.clone(), parts })
    }

    /// Removes a port, a listener with all its clients.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove_port(&self, name: &str) -> Result<()> {
        self.ask(|answer| Command::RemovePort(name.to_owned(), false, answer))?
    }

    /// The same for a port whose program may be started again: what was set of it applies to the next of this name.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn remove_port_for_now(&self, name: &str) -> Result<()> {
        self.ask(|answer| Command::RemovePort(name.to_owned(), true, answer))?
    }

    /// Whether a port of this name is there, was, or is cut from others.
    ///
    /// # Errors
    /// The switch has ended, or hangs.
    pub(super) fn knows(&self, name: &str) -> Result<bool> {
        self.ask(|answer| Command::Knows(name.to_owned(), answer))
    }

    /// Cuts ports from each other.
    ///
    /// # Errors
    /// One that is named was never there; there are too many cuts.
    pub(super) fn cut(&self, cut: Cut) -> Result<()> {
        self.ask(|answer| Command::Cut(cut, answer))?
    }

    /// Heals the cuts of these ports, or all. Gives those that there were.
    ///
    /// # Errors
    /// One of the ports was never there.
    pub(super) fn heal(&self, ports: Vec<String>) -> Result<Vec<String>> {
        self.ask(|answer| Command::Heal(ports, answer))?
    }

    /// Changes settings of a port.
    ///
    /// # Errors
    /// There is none of this name, or of one that a setting names; it cannot be set so.
    pub(super) fn set(&self, name: &str, settings: Vec<Setting>) -> Result<()> {
        self.ask(|answer| Command::Set(name.to_owned(), settings, answer))?
    }

    /// Changes the forwarding database. Gives whether it was not so before.
    ///
    /// # Errors
    /// There is no such port; there is no room.
    pub(super) fn change_stations(&self, change: Stations) -> Result<bool> {
        self.ask(|answer| Command::Stations(change, answer))?
    }

    /// The switch and its ports. For a switch that hangs or has ended by itself, the reason.
    ///
    /// # Errors
    /// The switch was stopped.
    pub fn status(&self) -> Result<SwitchStatus> {
        self.ask(Command::Status).or_else(|error| {
            let last = self.last_status();
            if last.condition == Condition::Runs { Err(error) } else { Ok(last) }
        })
    }

    /// The status of a switch that gives no answer.
    pub(super) fn last_status(&self) -> SwitchStatus {
        let hangs = || SwitchStatus {
            name: self.name.clone(),
            condition: self.trouble().map_or(Condition::Runs, Condition::Hangs),
            ..SwitchStatus::default()
        };
        self.fate.0.get().cloned().unwrap_or_else(hangs)
    }

    /// Registers `watcher`, which is told of changes as long as it wants to be.
    pub(super) fn watch(&self, watcher: &Arc<Watcher>) {
        // A switch that has ended changes no more.
        let _ = self.line.send(Command::Watch(watcher.clone()));
    }

    /// What would become of a frame from the port of this name. Nothing is sent, learned or counted.
    ///
    /// # Errors
    /// There is no such port, or nobody is connected to it.
    pub(super) fn trace(&self, port: &str, frame: Vec<u8>, offload: Offload) -> Result<Report> {
        self.ask(|answer| Command::Trace(port.to_owned(), frame, offload, answer))?
    }

    /// Starts a capture into `inlet`.
    ///
    /// # Errors
    /// The switch has ended, or hangs.
    pub(super) fn capture(&self, inlet: Inlet) -> Result<()> {
        self.ask(|answer| Command::Capture(inlet, answer))
    }

    /// Ends the capture with this number.
    pub(super) fn end_capture(&self, number: u64) {
        // A switch that has ended captures nothing.
        if self.line.send(Command::EndCapture(number)) {
            let _ = self.line.waker.wake();
        }
    }

    /// Tells the switch to end, and returns the channel of its last status.
    pub(super) fn ask_to_stop(&self) -> Receiver<SwitchStatus> {
        // A switch that has ended already sends nothing.
        self.send(Command::Stop).unwrap_or_else(|_| bounded(0).1)
    }
}
