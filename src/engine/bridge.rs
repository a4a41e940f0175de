//! The bridge as a whole: the switches of a configuration, each on its own thread, started and stopped together.
//!
//! All ports are opened by the caller's thread before any switch runs, so that an error at the start is the caller's
//! to report and leaves nothing behind.

use super::command::Handle;
use super::fates;
use super::fault::{Ended, Parts, contained};
use super::prepare::{Beforehand, drawn_seed, random_seed};
use super::recorder;
use super::status::{Condition, SwitchStatus};
use super::turn::Engine;
use crate::config::{Config, DEFAULT_SWITCH, PortSpec};
use crate::error::{Class, Error, Result};
use crate::limits::QUEUE_LIMIT;
use crate::port::memory;
use crate::port::own::Link;
use crate::rights::role::{BASE, BLOCKS, FILES, NETWORK, REMOVE, SOCKETS, WATCH};
use crate::rights::{self, Role};
use crate::service::{Outside, Service};
use crate::switch::{PortConfig, SwitchConfig};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long all switches together may take to end. Their services have had their time by then.
const END: Duration = Duration::from_secs(4);

struct Running {
    handle: Handle,
    thread: JoinHandle<Result<()>>,
    /// Disconnected when the thread is over.
    over: Receiver<()>,
}

/// A switch opens ports, anew too, and starts the programs of `exec:`.
static ROLE: Role =
    Role { programs: true, ..Role::new("switch", &[BASE, SOCKETS, NETWORK, FILES, REMOVE, WATCH, BLOCKS]) };

/// Running switches. Dropping it stops them and removes the paths and interfaces that they made.
pub struct Bridge {
    switches: Vec<Running>,
    ended: Receiver<Ended>,
    parts: Arc<Parts>,
}

impl Bridge {
    /// Opens all ports of a configuration and starts its switches.
    ///
    /// # Errors
    /// The first port that could not be opened; nothing is left running or bound.
    pub fn start(config: &Config) -> Result<Self> {
        let config = &config.settled();
        fates::spare_recordings(config)?;
        let bridge = Self::without_switches()?;
        let mut engines = Vec::new();
        for switch in config.switches_in_use() {
            let radio = config.radio_of(&switch)?;
            let replayed = fates::replayed(&switch)?;
            let settings = SwitchConfig {
                ageing: switch.ageing,
                fdb_limit: switch.fdb_limit,
                fdb_port_limit: switch.fdb_port_limit,
                queue_limit: switch.queue_limit.unwrap_or_else(|| memory::share(QUEUE_LIMIT)),
                seed: random_seed(),
                fate_seed: match &replayed {
                    _ if switch.seed != 0 || radio.is_some() => switch.seed,
                    Some(fates) => fates.seed,
                    None => drawn_seed(),
                },
                radio,
            };
            let (mut engine, handle) = Engine::new(&switch.name, &settings, &bridge.parts)?;
            engine.lives.ports.tap.number = engines.len() as u16;
            if let Some(fates) = replayed {
                engine.lives.ports.switch.set_replay(fates.replay);
            }
            if let Some(path) = switch.fates.as_deref() {
                engine.lives.ports.log_fates(path)?;
            }
            if let Some(path) = switch.capture.as_deref() {
                let (inlet, running) = recorder::start_file(path, Vec::new())?;
                engine.lives.ports.keep_capture("", inlet, running);
            }
            for port in config.ports_of(&switch.name) {
                engine.lives.open_port(Arc::new(port.clone()), Beforehand::of(port, None)?).map_err(Error::told)?;
            }
            engines.push((engine, handle));
        }
        capture_instances(config, &mut engines)?;
        bridge.spawn(engines)
    }

    /// A bridge with one empty switch, named `default`.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub fn empty() -> Result<Self> {
        Self::of_one(DEFAULT_SWITCH)
    }

    /// A bridge with one empty switch of this name.
    ///
    /// # Errors
    /// As [`Bridge::empty`].
    pub fn of_one(switch: &str) -> Result<Self> {
        let bridge = Self::without_switches()?;
        let settings = SwitchConfig { seed: random_seed(), fate_seed: drawn_seed(), ..SwitchConfig::default() };
        let engine = Engine::new(switch, &settings, &bridge.parts)?;
        bridge.spawn(vec![engine])
    }

    fn without_switches() -> Result<Self> {
        let (parts, ended) = Parts::new()?;
        Ok(Self::with(parts, ended))
    }

    pub(super) fn with(parts: Arc<Parts>, ended: Receiver<Ended>) -> Self {
        Self { switches: Vec::new(), ended, parts }
    }

    /// Starts the threads. If one cannot be started, dropping `self` stops those that run.
    pub(super) fn spawn(mut self, engines: Vec<(Engine, Handle)>) -> Result<Self> {
        for (engine, handle) in engines {
            self.switches.push(spawn(engine, handle, self.parts.clone())?);
        }
        Ok(self)
    }

    /// The handle of the switch named `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn switch(&self, name: &str) -> Result<&Handle> {
        let found = self.switches.iter().map(|running| &running.handle).find(|handle| handle.name() == name);
        found.ok_or_else(|| Error::new(Class::NoObject, format!("no switch is named {name}")))
    }

    /// The handles of all switches.
    pub fn handles(&self) -> Vec<Handle> {
        self.switches.iter().map(|running| running.handle.clone()).collect()
    }

    /// The state shared by its threads.
    pub(super) fn parts(&self) -> Arc<Parts> {
        self.parts.clone()
    }

    /// Opens a port on the switch that it names.
    ///
    /// # Errors
    /// As [`Handle::add_port`].
    pub fn add_port(&self, spec: PortSpec) -> Result<()> {
        self.switch(&spec.switch)?.add_port(spec)
    }

    /// Makes a port of a descriptor that somebody else has opened, on the switch that its specification names.
    ///
    /// # Errors
    /// As [`Handle::add_port_with`].
    pub fn adopt_port(&self, spec: PortSpec, fd: OwnedFd) -> Result<()> {
        self.switch(&spec.switch)?.add_port_with(spec, fd)
    }

    /// Adds a port inside the process to the switch named `switch` and returns its other end.
    ///
    /// # Errors
    /// As [`Handle::add_channel`].
    pub fn add_channel(&self, switch: &str, name: &str) -> Result<Link> {
        self.switch(switch)?.add_channel(name, PortConfig::default())
    }

    /// Runs a service of the calling program behind a new port of the switch named `switch`, on a thread of its own.
    ///
    /// # Errors
    /// As [`Handle::add_service`].
    pub fn add_service<S: Service + Send + 'static>(
        &self,
        switch: &str,
        name: &str,
        make: impl FnOnce(&mut dyn Outside) -> Result<S>,
    ) -> Result<()> {
        self.switch(switch)?.add_service(name, PortConfig::default(), make)
    }

    /// All switches and their ports.
    ///
    /// # Errors
    /// A switch has ended.
    pub fn status(&self) -> Result<Vec<SwitchStatus>> {
        self.switches.iter().map(|running| running.handle.status()).collect()
    }

    /// The channel of switches and services that ended by themselves. The others go on.
    pub(crate) fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Waits until a switch, or a service of one, ends by itself, while the others go on. `None`: none did within
    /// `timeout`; without one it waits for ever.
    pub fn wait_ended(&self, timeout: Option<Duration>) -> Option<Ended> {
        match timeout {
            Some(timeout) => self.ended.recv_timeout(timeout).ok(),
            // `self` holds a sender, so `recv` cannot fail.
            None => self.ended.recv().ok(),
        }
    }

    /// Whether any switch runs: there was none, or one of them has not ended by itself.
    pub fn has_a_switch(&self) -> bool {
        self.switches.is_empty() || self.switches.iter().any(|running| !running.handle.has_ended())
    }

    /// Stops all switches, closes their ports, and returns what they had counted.
    ///
    /// # Errors
    /// Why a switch or a service had ended by itself.
    pub fn stop(self) -> Result<Vec<SwitchStatus>> {
        let (last, failure) = self.finish();
        failure.map_or(Ok(last), Err)
    }

    /// Stops all switches and closes their ports. Returns the last status of each, and the first failure: why a switch
    /// or service ended by itself, or which switch does not end.
    pub fn finish(mut self) -> (Vec<SwitchStatus>, Option<Error>) {
        self.end()
    }

    fn end(&mut self) -> (Vec<SwitchStatus>, Option<Error>) {
        let deadline = Instant::now() + END;
        let switches = std::mem::take(&mut self.switches);
        // All are told before any is waited for.
        let asked: Vec<_> = switches.into_iter().map(|running| (running.handle.ask_to_stop(), running)).collect();
        let mut last = Vec::new();
        let mut failure = None;
        for (status, Running { handle, thread, over }) in asked {
            last.push(status.recv_deadline(deadline).unwrap_or_else(|_| handle.last_status()));
            failure = match over.recv_deadline(deadline) {
                // Its error is among the failures of the parts, too.
                Ok(()) | Err(RecvTimeoutError::Disconnected) => failure.or(thread.join().ok().and_then(Result::err)),
                Err(RecvTimeoutError::Timeout) => failure.or(Some(does_not_end(&handle))),
            };
        }
        (last, self.parts.failure().or(failure))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if !self.switches.is_empty() {
            // For the outcome there is `stop`.
            let _ = self.end();
        }
    }
}

/// Starts the captures of instances, whose ports come and go.
fn capture_instances(config: &Config, engines: &mut [(Engine, Handle)]) -> Result<()> {
    for (path, ports) in config.instances.iter().flat_map(|instance| instance.captures()) {
        let (inlet, running) = recorder::start_file(path, ports.into_iter().map(str::to_owned).collect())?;
        let mut running = Some(running);
        for (engine, _) in engines.iter_mut() {
            match running.take() {
                Some(running) => engine.lives.ports.keep_capture("", inlet.clone(), running),
                None => engine.lives.ports.capture(inlet.clone()),
            }
        }
    }
    Ok(())
}

fn does_not_end(handle: &Handle) -> Error {
    let why = handle.trouble().map_or_else(|| "its thread is left behind".to_owned(), |error| error.what().to_owned());
    Error::new(Class::Fault, format!("switch {} does not end: {why}", handle.name()))
        .hint("this is a fault of zbridge; please report it")
}

fn spawn(mut engine: Engine, handle: Handle, parts: Arc<Parts>) -> Result<Running> {
    let (over_here, over): (Sender<()>, _) = bounded(0);
    let theirs = handle.fate();
    let switch = handle.name().to_owned();
    let run = move || {
        let _over = over_here;
        let outcome = contained(format_args!("switch {switch}"), || engine.run());
        // The rest is not watched as a breath.
        engine.pulse.end();
        let Err(why) = outcome else { return Ok(()) };
        // Its last status is shown from now on; an empty one if even that panics.
        let known = contained("its end", || Ok(engine.status())).unwrap_or_default();
        theirs.end(SwitchStatus { condition: Condition::Ended(why.clone()), ..known.departed(&switch) });
        // Its ports are closed, and their paths removed.
        let closed = contained(format_args!("the end of switch {switch}"), || {
            drop(engine);
            Ok(())
        });
        closed.err().into_iter().for_each(|error| log::error!("{error}"));
        parts.tell(Ended { switch, port: None, why: why.clone() });
        Err(why)
    };
    let thread = rights::spawn(format!("zb-{}", handle.name()), &ROLE, run);
    let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
    Ok(Running { handle, thread, over })
}
