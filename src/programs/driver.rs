//! Carries out the supervisor's decisions: starts programs, makes their ports, checks readiness, sends signals.
//!
//! Each program has threads of its own (`attend.rs`), which send events to the driver's thread by a channel.

use super::ask::{self, Asked};
use super::attend::{Reader, Told, Waiter};
use super::desk::Desk;
use super::guest::Socket;
use super::log::Log;
use super::network::{Ending, Network};
use super::program::{late_port, port, to_launch};
use super::ready::ReadyLine;
use super::supervisor::{Action, Supervisor};
use super::terminal::Foreground;
use super::{Bench, Console, Outcome, Play, Screen};
use crate::config::{InstanceSpec, Network as Attached, Ready, value};
use crate::engine::Ended;
use crate::engine::control::{Board, DEFAULT_NAME, Order};
use crate::error::{Class, Error, Result};
use crate::launch::{self, Child, InterfaceEnd, Launched, NotStarted, Output};
use crate::time::Clock;
use crossbeam_channel::{Receiver, Sender, bounded, never, select, unbounded};
use parking_lot::Mutex;
use regex::bytes::Regex;
use signal_hook::consts::SIGTERM;
use std::path::Path;
use std::sync::Arc;

/// Attempts at another name for a program when others of its name start at the same time.
const RENAMED: usize = 16;

/// An instance while the bench lasts.
struct Place {
    spec: InstanceSpec,
    /// Its name unless that is taken.
    name: String,
    asked: Option<Asked>,
    /// The log of its output, unless that goes to the terminal.
    log: Option<Arc<Mutex<Log>>>,
    child: Option<Arc<Child>>,
    /// The socket that its guest has still to connect to.
    socket: Option<Socket>,
    /// Its ports, each with its switch.
    ports: Vec<(String, String)>,
}

/// The only program of a bench, on zbridge's terminal. Signals are passed on to it; the bench ends with it.
struct Alone {
    /// The user gave its name: it is not renamed if that is taken.
    named: bool,
    _foreground: Foreground,
}

/// See the module.
pub struct Driver<'a> {
    network: &'a mut Network,
    ending: Ending,
    screen: Arc<dyn Screen>,
    places: Vec<Place>,
    alone: Option<Alone>,
    /// Signals that end the bench or, with a program [`Alone`], are passed on to it.
    signals: Receiver<i32>,
    supervisor: Supervisor,
    clock: Clock,
    told: Sender<Told>,
    news: Receiver<Told>,
    /// What others are told of the instances.
    board: Arc<Board>,
    /// What they order.
    desk: Desk,
    /// A scenario that is played beside it, until it is told that the bench is stopped.
    play: Option<Play>,
    /// That it is over.
    played: Receiver<()>,
    /// Their wish that all of it ends.
    down: Receiver<()>,
}

/// Why a program was not started, and whether another port has the name of one of its ports.
struct Refused {
    failed: NotStarted,
    name_is_taken: bool,
}

impl<T: Into<NotStarted>> From<T> for Refused {
    fn from(failed: T) -> Self {
        Self { failed: failed.into(), name_is_taken: false }
    }
}

impl<'a> Driver<'a> {
    /// Creates the logs before anything is started, so that errors come first.
    ///
    /// # Errors
    /// A log that cannot be created; the system has no descriptors or threads left.
    pub fn new(bench: Bench<'_>, network: &'a mut Network, screen: Arc<dyn Screen>) -> Result<Self> {
        let asked = ask::plan(bench.config);
        let (logs, alone, signals) = match bench.console {
            Console::Lines { logs, stop } => (Some(logs), None, stop),
            Console::Terminal { terminal, named } => {
                let (signals, foreground) = terminal.listen()?;
                (None, Some(Alone { named, _foreground: foreground }), signals)
            }
        };
        let places = bench.config.instances.iter().zip(asked);
        let places = places.map(|(spec, asked)| place(spec, asked, logs.as_deref())).collect::<Result<Vec<_>>>()?;
        let clock = Clock::start();
        let specs: Vec<InstanceSpec> = places.iter().map(|place| place.spec.clone()).collect();
        let supervisor = Supervisor::new(clock.now(), &specs, bench.wishes);
        let (told, news) = unbounded();
        let (ending, board) = (network.ended()?, network.board());
        let log = |place: &Place| Some(place.spec.log.as_ref()?.display().to_string());
        places.iter().for_each(|place| board.add(&place.name, log(place)));
        let (desk, down) = (Desk::new(board.clone()), board.attend_down());
        let played = bench.play.as_ref().map_or(never(), |play| play.done.clone());
        Ok(Self {
            network,
            ending,
            screen,
            places,
            alone,
            signals,
            supervisor,
            clock,
            told,
            news,
            board,
            desk,
            down,
            played,
            play: bench.play,
        })
    }

    /// Runs the bench until it is over.
    pub fn run(mut self) -> Outcome {
        let mut stops = 0;
        loop {
            while let Some(action) = self.supervisor.poll_action() {
                if let Some(outcome) = self.act(action) {
                    return outcome;
                }
            }
            self.post();
            if let Some(why) = self.supervisor.stops_for()
                && let Some(play) = self.play.take()
            {
                // It may be over already.
                let _ = play.ends.send(why);
            }
            let due = self.supervisor.poll_timeout().map(|at| at - self.clock.now());
            let timer = due.map_or(never(), crossbeam_channel::after);
            select! {
                recv(self.news) -> told => told.into_iter().for_each(|told| self.hear(told)),
                recv(self.signals) -> signal => signal.into_iter().for_each(|signal| {
                    stops += 1;
                    self.signalled(signal, stops);
                }),
                recv(self.down) -> wish => wish.into_iter().for_each(|()| {
                    stops += 1;
                    self.signalled(SIGTERM, stops);
                }),
                recv(self.desk.orders) -> order => order.into_iter().for_each(|order| self.ordered(order)),
                recv(self.played) -> _ => {
                    self.played = never();
                    self.supervisor.handle_done(self.clock.now());
                }
                recv(self.ending.switch) -> ended => ended.into_iter().for_each(|ended| self.lost(&ended)),
                recv(self.ending.joined) -> name => {
                    self.ending.joined = never();
                    name.into_iter().for_each(|name| self.screen.parted(&name));
                }
                recv(timer) -> _ => self.supervisor.handle_timeout(self.clock.now()),
            }
        }
    }

    /// Tells what has become of the instances.
    fn post(&self) {
        for (index, place) in self.places.iter().enumerate() {
            let Some(standing) = self.supervisor.told(index) else { continue };
            self.board.change(index, |info| {
                place.spec.name.clone_into(&mut info.name);
                standing.state.clone_into(&mut info.state);
                info.ports = place.ports.iter().map(|(_, port)| port.clone()).collect();
                (info.restarts, info.ready) = (standing.restarts, standing.ready);
                info.end = standing.end.map(|end| end.to_string());
            });
        }
    }

    /// A switch has ended by itself, and with it the network of its instances. An instance whose readiness is checked
    /// on it never becomes ready.
    fn lost(&mut self, ended: &Ended) {
        if ended.port.is_some() {
            // Only a service has ended; the instances' ports are still there.
            return;
        }
        for index in 0..self.places.len() {
            let on_it = |place: &&Place| place.spec.switches().contains(&ended.switch.as_str());
            if let Some(place) = self.places.get(index).filter(on_it) {
                let what = format!("{}: its switch {} has ended", place.spec.name, ended.switch);
                let error = Error::new(ended.why.class(), what).because(ended.why.clone());
                self.supervisor.handle_lost(self.clock.now(), index, error);
            }
        }
    }

    fn signalled(&mut self, signal: i32, times: u32) {
        let now = self.clock.now();
        if self.alone.is_some() {
            self.with_child(0, |child| child.signal(signal));
        } else if times == 1 {
            self.screen.tell("stopping in order; once more ends all at once");
            self.supervisor.handle_stop(now);
        } else {
            self.supervisor.handle_kill(now);
        }
    }

    /// Something is ordered by the control socket.
    fn ordered(&mut self, order: Order) {
        let names: Vec<&str> = self.places.iter().map(|place| place.spec.name.as_str()).collect();
        if let Some((number, deed, places)) = self.desk.take(order, &names, self.alone.is_some()) {
            self.supervisor.handle_order(self.clock.now(), number, deed, &places);
        }
    }

    fn hear(&mut self, told: Told) {
        let now = self.clock.now();
        match told {
            Told::Started(index) => {
                let pid = self.places.get(index).and_then(|place| place.child.as_ref()?.program());
                self.board.runs(index, pid, true);
                self.supervisor.handle_started(now, index);
            }
            Told::Failed(index, failed) => self.not_started(index, failed),
            Told::Interface(index, link) => self.attach_late(index, link),
            Told::Seated(index) => {
                // Nobody needs the socket's name any more.
                self.places.get_mut(index).into_iter().for_each(|place| place.socket = None);
            }
            Told::Ready(index) => self.supervisor.handle_ready(now, index),
            Told::Exit(index, end) => {
                self.board.runs(index, None, false);
                self.supervisor.handle_exit(now, index, end);
                // The ports of a program that is alone end with the network, and are in its summary.
                if self.alone.is_none() {
                    self.leave(index, &end.to_string());
                }
            }
            Told::Say(error) => self.screen.warn(&error),
        }
    }

    fn act(&mut self, action: Action) -> Option<Outcome> {
        match action {
            Action::Start(index) => {
                self.board.begins(index);
                if let Err(failed) = self.start(index) {
                    self.not_started(index, failed);
                }
            }
            Action::Ask(index) => {
                if let Err(error) = self.ask(index) {
                    self.supervisor.handle_failure(self.clock.now(), error);
                }
            }
            Action::Forget(index) => {
                if let Some(place) = self.places.get(index).filter(|place| place.asked.is_some()) {
                    // Readiness is checked on a bridge of this process only.
                    self.network.here().into_iter().for_each(|bridge| ask::forget(bridge, &place.spec));
                }
            }
            // A program alone is ended only when its network has ended: it could send nothing any more.
            Action::Terminate(index) if self.alone.is_some() => self.with_child(index, Child::kill),
            Action::Terminate(index) => self.with_child(index, |child| child.signal(SIGTERM)),
            Action::Kill(index) => self.with_child(index, Child::kill),
            Action::Signal(index, signal) => self.with_child(index, |child| child.signal(signal)),
            Action::Answer(number, outcome) => self.desk.answer(number, outcome),
            Action::Tell(text) => self.screen.tell(&text),
            Action::Blame(error) => self.screen.blame(&error),
            Action::Over(outcome) => return Some(outcome),
        }
        None
    }

    fn with_child(&self, index: usize, act: impl Fn(&Child)) {
        if let Some(child) = self.places.get(index).and_then(|place| place.child.as_deref()) {
            act(child);
        }
    }

    fn ask(&self, index: usize) -> Result<()> {
        let Some((spec, Some(asked))) = self.places.get(index).map(|place| (&place.spec, &place.asked)) else {
            return Ok(());
        };
        let told = self.told.clone();
        // Fails only when the bench is over.
        let ready = move || drop(told.send(Told::Ready(index)));
        ask::ask(self.network.here()?, spec, asked, index, ready).map_err(|error| error.at(&spec.name))
    }

    /// The program of an instance has ended. Its ports keep their places as long as it may come again.
    fn leave(&mut self, index: usize, end: &str) {
        if !self.supervisor.told(index).is_some_and(|standing| standing.may_return) {
            return self.clear(index);
        }
        let Some(place) = self.places.get_mut(index) else { return };
        (place.child, place.socket) = (None, None);
        let is_qemu = matches!(place.spec.network, Attached::Qemu { .. });
        for (switch, port) in &place.ports {
            match is_qemu {
                true => self.network.remove(switch, port),
                false => self.network.vacate(switch, port, &format!("its program ended with {end}")),
            }
        }
        if is_qemu {
            place.ports.clear();
        }
    }

    /// Forgets the program of an instance, and its ports.
    fn clear(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        (place.child, place.socket) = (None, None);
        // A port whose interface went with the program is gone already.
        std::mem::take(&mut place.ports).iter().for_each(|(switch, port)| self.network.remove(switch, port));
    }

    /// A program has not started, whether that is known at once or when its network has no address for it.
    fn not_started(&mut self, index: usize, mut failed: NotStarted) {
        self.board.runs(index, None, false);
        self.clear(index);
        if self.alone.is_none()
            && let Some(place) = self.places.get(index)
        {
            failed.error = failed.error.at(&place.spec.name);
        }
        self.supervisor.handle_not_started(self.clock.now(), index, failed);
    }

    /// Makes a port of an interface that the program has made itself.
    fn attach_late(&mut self, index: usize, link: InterfaceEnd) {
        let Some(place) = self.places.get_mut(index).filter(|place| place.child.is_some()) else { return };
        let Some(port) = late_port(&place.spec, &link) else { return };
        let (switch, name) = (port.switch.clone(), port.name.clone());
        match self.network.adopt(port, link.fd, self.alone.is_none()) {
            Ok(()) => note(&mut place.ports, switch, name),
            Err(error) => self.screen.warn(&error.at(name)),
        }
    }

    /// Starts the program of an instance, under another name if it may be renamed and its name was taken meanwhile.
    fn start(&mut self, index: usize) -> Result<(), NotStarted> {
        let may_rename = self.alone.as_ref().is_some_and(|alone| !alone.named);
        for _ in 0..RENAMED {
            if may_rename {
                self.rename(index)?;
            }
            match self.start_as_called(index) {
                Err(refused) if may_rename && refused.name_is_taken => self.clear(index),
                started => return started.map_err(|refused| refused.failed),
            }
        }
        let name = self.places.get(index).map(|place| place.name.as_str()).unwrap_or_default();
        let error = Error::new(Class::Runtime, format!("others take the name of {name} again and again"));
        Err(error.hint("give it a --name NAME").into())
    }

    /// Names a program and its ports `zephyr.exe`; while that is taken `zephyr.exe-2`, `zephyr.exe-3` …
    fn rename(&mut self, index: usize) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let taken = self.network.taken()?;
        let numbered = (2..).map(|number| value::numbered(&place.name, number));
        for name in std::iter::once(place.name.clone()).chain(numbered) {
            place.spec.rename(&name);
            if !place.spec.network.ports().any(|port| taken.contains(&port.name)) {
                break;
            }
        }
        Ok(())
    }

    /// Starts the program of an instance, and makes its ports.
    fn start_as_called(&mut self, index: usize) -> Result<(), Refused> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let spec = &place.spec;
        let mut words = spec.command.clone();
        if let Attached::Qemu { model, mac } = &spec.network {
            let socket = Socket::listen(self.network.here()?, spec, model.as_deref(), *mac)?;
            words.extend(socket.arguments().map(Into::into));
            note(&mut place.ports, spec.switch.clone(), spec.name.clone());
            place.socket = Some(socket);
        }
        self.screen.tell(&format!("{}: starts: {}", spec.name, spec.command_line()));
        let mut program = to_launch(spec, words);
        let alone = self.alone.is_some();
        if alone {
            (program.output, program.tun_words) = (Output::Inherit, "--tun=NAME");
            program.identity = format!("{}/{}", self.network.name().unwrap_or(DEFAULT_NAME), spec.name);
        }
        let (mut name_is_taken, network, ports) = (false, &mut *self.network, &mut place.ports);
        let attach = |links: Vec<InterfaceEnd>| {
            for (link, wanted) in links.into_iter().zip(spec.network.ports()) {
                let adopted = network.adopt(port(wanted, &link), link.fd, !alone);
                adopted.map_err(|error| {
                    name_is_taken = alone && network.taken().is_ok_and(|names| names.contains(&wanted.name));
                    if name_is_taken { Error::usage(error.what()).hint("give this one a --name NAME") } else { error }
                })?;
                note(ports, wanted.switch.clone(), wanted.name.clone());
            }
            Ok(())
        };
        let started = launch::start(&program, attach);
        let launched = started.map_err(|failed| Refused { failed, name_is_taken })?;
        Ok(self.attend(index, launched)?)
    }

    /// Starts the threads of a program.
    fn attend(&mut self, index: usize, launched: Launched) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let Launched { child, watch, stdout, stderr } = launched;
        let child = Arc::new(child);
        place.child = Some(child.clone());
        let (begin, may_begin) = bounded::<()>(0);
        let (done, readers) = bounded::<()>(0);
        if let Some(log) = &place.log {
            let (screen, log, told) = (self.screen.clone(), log.clone(), self.told.clone());
            let reader = Reader { index, screen, log, ready: ready_line(&place.spec), told, board: self.board.clone() };
            if let Some(stdout) = stdout {
                reader.clone().spawn(stdout, may_begin.clone(), done.clone())?;
            }
            if let Some(stderr) = stderr {
                reader.spawn(stderr, may_begin, done)?;
            }
        }
        let seat = place.socket.as_ref().map(Socket::seat);
        Waiter { index, child, watch, seat, begin, readers, told: self.told.clone() }.spawn()
    }
}

/// Notes a port, which may have been there in an earlier run.
fn note(ports: &mut Vec<(String, String)>, switch: String, port: String) {
    let port = (switch, port);
    if !ports.contains(&port) {
        ports.push(port);
    }
}

/// An instance before its start, with its log in the folder `logs`, unless it is another one's.
fn place(spec: &InstanceSpec, asked: Option<Asked>, logs: Option<&Path>) -> Result<Place> {
    let mut spec = spec.clone();
    let mut log = None;
    if let Some(logs) = logs {
        let path = spec.log.take().unwrap_or_else(|| logs.join(format!("{}.log", spec.name)));
        log = Some(Arc::new(Mutex::new(Log::create(&spec.name, &path)?)));
        spec.log = Some(path);
    }
    Ok(Place { name: spec.name.clone(), spec, asked, log, child: None, socket: None, ports: Vec::new() })
}

/// The matcher of the line that tells that an instance is ready. Its pattern was checked when the file was read.
fn ready_line(spec: &InstanceSpec) -> Option<ReadyLine> {
    match &spec.ready {
        Some(Ready::Log(pattern)) => Regex::new(pattern).ok().map(ReadyLine::new),
        Some(Ready::Ping { .. } | Ready::Tcp { .. }) | None => None,
    }
}
