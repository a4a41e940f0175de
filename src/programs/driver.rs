//! Does what the supervisor decides: starts programs, makes their ports, reads their output, asks, signals.
//!
//! Each program has three threads. Two read what it writes, print it line by line and keep it; they look for the line
//! that says that it is ready. One waits for its start, for which the network may have to give it an address first, and
//! for its end. All of them tell the driver's thread of what happened by a
//! channel. What they print and keep is written aside ([`crate::port::writer`]): a reader who is slow slows the programs
//! down, as it would without zbridge; one who does not read at all (`| less`) holds up neither them nor the supervisor.

use super::ask::{self, Asked};
use super::guest::Socket;
use super::log::Log;
use super::output::Lines;
use super::ready::ReadyLine;
use super::supervisor::{Action, End, Supervisor};
use super::{Bench, Outcome, Screen};
use crate::config::{InstanceSpec, IpPeer, Network, PortKind, PortSpec, Ready};
use crate::engine::{Bridge, Ended};
use crate::error::{Class, Error, Result};
use crate::launch::{self, Child, Interfaces, Launched, Link, Output, Watch};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use crate::time::Clock;
use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use parking_lot::Mutex;
use regex::bytes::Regex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::SIGTERM;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

/// After how long a line that has not ended is shown as it is: a prompt.
const PROMPT: Duration = Duration::from_millis(300);
/// How long output may still come when a program has ended: something that it started may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// What the threads tell.
enum Told {
    /// The program of the instance runs.
    Started(usize),
    /// It could not be started.
    Failed(usize, Error),
    /// The instance is ready.
    Ready(usize),
    /// The program has made another interface.
    Link(usize, Link),
    /// The instance has ended.
    Exit(usize, End),
    /// Something to say.
    Say(Error),
}

/// An instance while the bench lasts.
struct Place {
    spec: InstanceSpec,
    asked: Option<Asked>,
    log: Arc<Mutex<Log>>,
    child: Option<Arc<Child>>,
    /// The ports of interfaces that the program has made itself.
    late: Vec<String>,
}

/// See the module.
pub struct Driver<'a> {
    bridge: &'a Bridge,
    screen: Arc<dyn Screen>,
    places: Vec<Place>,
    supervisor: Supervisor,
    clock: Clock,
    told: Sender<Told>,
    news: Receiver<Told>,
}

impl<'a> Driver<'a> {
    /// Prepares everything that can be wrong before anything is started: the logs.
    ///
    /// # Errors
    /// A log that cannot be created.
    pub fn new(bench: &Bench<'_>, bridge: &'a Bridge, screen: Arc<dyn Screen>) -> Result<Self> {
        let asked = ask::plan(bench.config);
        let place = |(spec, asked): (&InstanceSpec, Option<Asked>)| {
            let path = spec.log.clone().unwrap_or_else(|| bench.logs.join(format!("{}.log", spec.name)));
            let log = Arc::new(Mutex::new(Log::create(&spec.name, &path)?));
            let spec = InstanceSpec { log: Some(path), ..spec.clone() };
            Ok(Place { spec, asked, log, child: None, late: Vec::new() })
        };
        let places = bench.config.instances.iter().zip(asked).map(place).collect::<Result<Vec<_>>>()?;
        let clock = Clock::start();
        let specs: Vec<InstanceSpec> = places.iter().map(|place| place.spec.clone()).collect();
        let supervisor = Supervisor::new(clock.now(), &specs, bench.wishes);
        let (told, news) = unbounded();
        Ok(Self { bridge, screen, places, supervisor, clock, told, news })
    }

    /// Runs the bench until it is over. Each message on `stop` is a wish to end it: the first in order, the next at once.
    pub fn run(mut self, stop: &Receiver<i32>) -> Outcome {
        let mut stops = 0;
        loop {
            while let Some(action) = self.supervisor.poll_action() {
                if let Some(outcome) = self.act(action) {
                    return outcome;
                }
            }
            let never = crossbeam_channel::never();
            let due = self.supervisor.poll_timeout().map(|at| at - self.clock.now());
            let timer = due.map_or(never, crossbeam_channel::after);
            select! {
                recv(self.news) -> told => self.hear(told),
                recv(stop) -> _ => {
                    stops += 1;
                    self.stopped(stops);
                }
                recv(self.bridge.ended()) -> ended => ended.into_iter().for_each(|ended| self.lost(&ended)),
                recv(timer) -> _ => self.supervisor.handle_timeout(self.clock.now()),
            }
        }
    }

    /// A switch has ended by itself, and with it the network of the instances on it. One that only asks on it whether it is
    /// ready is never going to be.
    fn lost(&mut self, ended: &Ended) {
        if ended.port.is_some() {
            // A service has, and the instances' ports are still there.
            return;
        }
        for index in 0..self.places.len() {
            let on_it = |place: &&Place| place.spec.switches().contains(&ended.switch.as_str());
            if let Some(place) = self.places.get(index).filter(on_it) {
                let what = format!("{}: its switch {} has ended", place.spec.name, ended.switch);
                self.supervisor.handle_lost(self.clock.now(), index, Error::new(ended.why.class(), what));
            }
        }
    }

    fn stopped(&mut self, times: u32) {
        let now = self.clock.now();
        if times == 1 {
            self.screen.tell("stopping in order; once more ends all at once");
            self.supervisor.handle_stop(now);
        } else {
            self.supervisor.handle_kill(now);
        }
    }

    fn hear(&mut self, told: Result<Told, crossbeam_channel::RecvError>) {
        let now = self.clock.now();
        match told {
            Ok(Told::Started(index)) => self.supervisor.handle_started(now, index),
            Ok(Told::Failed(index, error)) => {
                self.clear(index);
                self.supervisor.handle_failure(now, Some(index), error);
            }
            Ok(Told::Link(index, link)) => self.attach_late(index, link),
            Ok(Told::Ready(index)) => self.supervisor.handle_ready(now, index),
            Ok(Told::Exit(index, end)) => {
                self.clear(index);
                self.supervisor.handle_exit(now, index, end);
            }
            Ok(Told::Say(error)) => self.screen.warn(&error),
            // This thread holds a sender itself.
            Err(_) => {}
        }
    }

    fn act(&mut self, action: Action) -> Option<Outcome> {
        match action {
            Action::Start(index) => {
                if let Err(error) = self.start(index) {
                    self.clear(index);
                    self.supervisor.handle_failure(self.clock.now(), Some(index), error);
                }
            }
            Action::Ask(index) => {
                if let Err(error) = self.ask(index) {
                    self.supervisor.handle_failure(self.clock.now(), None, error);
                }
            }
            Action::Forget(index) => {
                if let Some(place) = self.places.get(index).filter(|place| place.asked.is_some()) {
                    ask::forget(self.bridge, &place.spec);
                }
            }
            Action::Terminate(index) => self.with_child(index, |child| child.signal(SIGTERM)),
            Action::Kill(index) => self.with_child(index, Child::kill),
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
        // When nobody listens any more, the bench is over.
        let ready = move || drop(told.send(Told::Ready(index)));
        ask::ask(self.bridge, spec, asked, index, ready).map_err(|error| error.at(&spec.name))
    }

    /// Forgets the program of an instance, and its ports.
    fn clear(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        place.child = None;
        let late = std::mem::take(&mut place.late);
        let names: Vec<&str> = place.spec.ports().into_iter().chain(late.iter().map(String::as_str)).collect();
        for switch in place.spec.switches().iter().filter_map(|name| self.bridge.switch(name).ok()) {
            // A port whose interface went with the program is gone already.
            names.iter().for_each(|name| drop(switch.remove_port(name)));
        }
    }

    /// Makes a port of an interface that the program has made itself.
    fn attach_late(&mut self, index: usize, link: Link) {
        let Some(place) = self.places.get_mut(index).filter(|place| place.child.is_some()) else { return };
        let Some(port) = late_port(&place.spec, &link) else { return };
        let name = port.name.clone();
        match self.bridge.adopt_port(port, link.fd) {
            Ok(()) => place.late.push(name),
            Err(error) => self.screen.warn(&error.at(&place.spec.name)),
        }
    }

    /// Starts the program of an instance, and makes its ports.
    fn start(&mut self, index: usize) -> Result<()> {
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        let spec = &place.spec;
        let socket = match &spec.network {
            Network::Qemu { model, mac } => Some(Socket::listen(self.bridge, spec, model.as_deref(), *mac)?),
            _ => None,
        };
        let mut words = spec.command.clone();
        words.extend(socket.iter().flat_map(Socket::arguments));
        self.screen.tell(&format!("{}: starts: {}", spec.name, spec.command_line()));
        let bridge = &self.bridge;
        let attach = |links: Vec<Link>| {
            for (link, mut port) in links.into_iter().zip(wanted_ports(spec)) {
                (port.kind, port.optional) = (link.port(&port.name).kind, link.may_wait());
                bridge.adopt_port(port, link.fd)?;
            }
            Ok(())
        };
        let started = launch::begin(&to_launch(spec, words), attach).map_err(|failed| failed.error.at(&spec.name))?;
        let Launched { child, watch, stdout, stderr } = started;
        let child = Arc::new(child);
        place.child = Some(child.clone());
        let reader = Reader {
            index,
            screen: self.screen.clone(),
            log: place.log.clone(),
            ready: ready_line(spec),
            told: self.told.clone(),
        };
        let read = move || {
            let (done, readers) = bounded::<()>(0);
            if let Some(stdout) = stdout {
                reader.clone().spawn(stdout, done.clone())?;
            }
            if let Some(stderr) = stderr {
                reader.spawn(stderr, done)?;
            }
            Ok(readers)
        };
        let waiter = Waiter { index, child, watch, socket, told: self.told.clone() };
        let name = spec.name.clone();
        spawn(&format!("zb-{name}"), move || waiter.run(&name, read))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = Builder::new().name(name.to_owned()).spawn(work);
    started.map(drop).map_err(|error| Error::system("cannot start a thread", &error))
}

/// What is started for an instance, with these words as its command.
fn to_launch(spec: &InstanceSpec, words: Vec<String>) -> launch::Spec {
    let network = match &spec.network {
        Network::Own | Network::Qemu { .. } => launch::Network::Shared,
        Network::Interfaces { taps, tuns, host } => launch::Network::Own(Interfaces {
            taps: taps.iter().map(|tap| tap.kind.text().target()).collect(),
            tuns: tuns.iter().filter_map(peer_of).collect(),
            host: host.as_ref().map(|(host, _)| host.clone()),
        }),
    };
    launch::Spec {
        command: words.into_iter().map(Into::into).collect(),
        env: spec.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: spec.cwd.clone(),
        network,
        output: Output::Piped,
        privileged: spec.privileged,
        tun_words: "tun = \"NAME\"",
        ..launch::Spec::new(&spec.name, Vec::new())
    }
}

/// The ports that the interfaces of an instance become, in their order; only their kinds are still to be set.
fn wanted_ports(spec: &InstanceSpec) -> Vec<PortSpec> {
    match &spec.network {
        Network::Interfaces { .. } => spec.network.ports().cloned().collect(),
        Network::Own | Network::Qemu { .. } => Vec::new(),
    }
}

/// A TUN's name, and who is behind it.
fn peer_of(tun: &PortSpec) -> Option<(String, IpPeer)> {
    let PortKind::Packet(packet) = &tun.kind else { return None };
    Some((packet.ifname.clone(), packet.ip.clone().unwrap_or_default()))
}

/// The port of an interface that the program has made itself: as its first one, called `NAME.IFNAME`.
fn late_port(spec: &InstanceSpec, link: &Link) -> Option<PortSpec> {
    let like = wanted_ports(spec).into_iter().next()?;
    let port = link.port(&format!("{}.{}", spec.name, link.ifname));
    Some(PortSpec { name: port.name, kind: port.kind, optional: port.optional, statics: Vec::new(), ..like })
}

/// The line of output that tells that an instance is ready. The pattern was tried when the file was read.
fn ready_line(spec: &InstanceSpec) -> Option<ReadyLine> {
    match &spec.ready {
        Some(Ready::Log(pattern)) => Regex::new(pattern).ok().map(ReadyLine::new),
        _ => None,
    }
}

/// It reads what a program writes, and has it written to its log and shown, as a terminal has it.
static ROLE: Role = Role::new("output", &[BASE, SOCKETS]);

/// Reads one of the streams of a program.
#[derive(Clone)]
struct Reader {
    index: usize,
    screen: Arc<dyn Screen>,
    log: Arc<Mutex<Log>>,
    ready: Option<ReadyLine>,
    told: Sender<Told>,
}

impl Reader {
    /// Reads `pipe` to its end on a thread of its own. `done` is dropped then.
    fn spawn(mut self, mut pipe: impl Read + AsFd + Send + 'static, done: Sender<()>) -> Result<()> {
        let read = move || {
            let mut lines = Lines::default();
            let mut room = vec![0; CHUNK];
            loop {
                if lines.has_partial() && !has_more(&pipe) {
                    lines.flush(&mut |line| self.screen.line(self.index, line));
                    self.look(|ready| ready.pause());
                }
                match pipe.read(&mut room) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => break,
                    Ok(count) => {
                        let bytes = room.get(..count).unwrap_or_default();
                        let trouble = self.log.lock().write(bytes);
                        self.warn(trouble);
                        lines.push(bytes, &mut |line| self.screen.line(self.index, line));
                        self.look(|ready| ready.push(bytes));
                    }
                }
            }
            lines.flush(&mut |line| self.screen.line(self.index, line));
            self.look(|ready| ready.pause());
            let trouble = self.log.lock().settle();
            self.warn(trouble);
            drop(done);
        };
        let started = rights::spawn("zb-output", &ROLE, read);
        started.map(drop).map_err(|error| Error::system("cannot start a thread", &error))
    }

    /// Tells that the instance is ready, once, if `is_it` says so.
    fn look(&mut self, is_it: impl FnOnce(&mut ReadyLine) -> bool) {
        if self.ready.as_mut().is_some_and(is_it) {
            self.ready = None;
            // What says so is in the log when it is told.
            let trouble = self.log.lock().settle();
            self.warn(trouble);
            // When nobody listens any more, the bench is over.
            let _ = self.told.send(Told::Ready(self.index));
        }
    }

    fn warn(&self, trouble: Option<String>) {
        trouble.into_iter().for_each(|what| self.screen.warn(&Error::new(Class::Runtime, what)));
    }
}

/// Whether more comes, or the end, before a line that has begun is shown.
fn has_more(pipe: &impl AsFd) -> bool {
    let Ok(time) = Timespec::try_from(PROMPT) else { return true };
    !matches!(poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&time)), Ok(0))
}

/// Waits for the start of a program, which may take until the network has given it an address, and for its end, and looks after what it should do before.
struct Waiter {
    index: usize,
    child: Arc<Child>,
    watch: Watch,
    socket: Option<Socket>,
    told: Sender<Told>,
}

impl Waiter {
    /// `read` has the program's output read, which is not before it was told that it runs: then it may be ready.
    fn run(mut self, name: &str, read: impl FnOnce() -> Result<Receiver<()>>) {
        let started = self.child.wait_start().map_err(|failed| failed.error.at(name)).and_then(|()| {
            // When nobody listens any more, the bench is over.
            let _ = self.told.send(Told::Started(self.index));
            read()
        });
        let readers = match started {
            Ok(readers) => readers,
            Err(error) => return drop(self.told.send(Told::Failed(self.index, error))),
        };
        let status = loop {
            let looks = !self.watch.is_over() || self.socket.is_some();
            let ended = self.child.wait_a_while(looks.then_some(Watch::INTERVAL));
            // When nobody listens any more, the bench is over.
            self.child.links().try_iter().for_each(|link| drop(self.told.send(Told::Link(self.index, link))));
            if let Some(status) = ended {
                break status;
            }
            self.watch.look().into_iter().for_each(|error| drop(self.told.send(Told::Say(error))));
            self.socket = self.socket.take().filter(|socket| !socket.is_connected());
        };
        // All readers have reached the end when nobody can send any more.
        let _ = readers.recv_timeout(LAST_WORDS);
        drop((self.socket, self.watch));
        let _ = self.told.send(Told::Exit(self.index, end(status)));
    }
}

fn end(status: ExitStatus) -> End {
    match status.signal() {
        Some(signal) => End::Signal(signal),
        None => End::Status(launch::exit_code(status)),
    }
}
