//! The bridge as a whole: the switches of a configuration, each on its own thread, started and stopped together.
//!
//! All ports are opened by the caller's thread before any switch runs, so that an error at the start is the caller's
//! to report and leaves nothing behind.

use super::air::Air;
use super::command::{Handle, SwitchStatus};
use super::{Engine, ended_abnormally, names, random_seed};
use crate::config::{Config, DEFAULT_SWITCH, PortSpec};
use crate::error::{Class, Error, Result};
use crate::port::channel::Link;
use crate::rights::role::{BASE, BLOCKS, FILES, NETWORK, REMOVE, SOCKETS, WATCH};
use crate::rights::{self, Role};
use crate::switch::{PortConfig, SwitchConfig};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A switch ended by itself; [`Bridge::stop`] says why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The switch's name.
    pub switch: String,
}

struct Running {
    handle: Handle,
    thread: JoinHandle<Result<()>>,
}

/// A switch opens its ports again, and those that are added, and starts the programs of `exec:`.
static ROLE: Role =
    Role { programs: true, ..Role::new("switch", &[BASE, SOCKETS, NETWORK, FILES, REMOVE, WATCH, BLOCKS]) };

/// Running switches.
pub struct Bridge {
    switches: Vec<Running>,
    ended: Receiver<Ended>,
}

impl Bridge {
    /// Opens all ports of a configuration and starts its switches.
    ///
    /// # Errors
    /// The first port that could not be opened; nothing is left running or bound.
    pub fn start(config: &Config) -> Result<Self> {
        let mut engines = Vec::new();
        for switch in config.switches_in_use() {
            let settings = SwitchConfig {
                ageing: switch.ageing,
                fdb_limit: switch.fdb_limit,
                fdb_port_limit: switch.fdb_port_limit,
                seed: random_seed(),
                radio: config.radio_of(&switch)?,
            };
            let (mut engine, handle) = Engine::new(&switch.name, &settings)?;
            engine.air = switch.capture.as_deref().map(Air::create).transpose()?;
            for port in config.ports_of(&switch.name) {
                engine.open_port(Arc::new(port.clone()), names::beforehand(port)?)?;
            }
            engines.push((engine, handle));
        }
        Self::spawn(engines)
    }

    /// A bridge with one empty switch, named `default`.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub fn empty() -> Result<Self> {
        let settings = SwitchConfig { seed: random_seed(), ..SwitchConfig::default() };
        Self::spawn(vec![Engine::new(DEFAULT_SWITCH, &settings)?])
    }

    fn spawn(engines: Vec<(Engine, Handle)>) -> Result<Self> {
        let (sender, ended) = bounded(engines.len());
        // With no switch, none ends: a channel that nobody can send on would tell at once.
        let ended = if engines.is_empty() { crossbeam_channel::never() } else { ended };
        let switches = engines.into_iter().map(|(engine, handle)| spawn(engine, handle, sender.clone()));
        Ok(Self { switches: switches.collect::<Result<_>>()?, ended })
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

    /// All switches and their ports.
    ///
    /// # Errors
    /// A switch has ended.
    pub fn status(&self) -> Result<Vec<SwitchStatus>> {
        self.switches.iter().map(|running| running.handle.status()).collect()
    }

    /// Where a switch that ends by itself is told of.
    pub fn ended(&self) -> &Receiver<Ended> {
        &self.ended
    }

    /// Stops all switches, closes their ports, and returns what they had counted.
    ///
    /// # Errors
    /// Why a switch had ended by itself.
    pub fn stop(self) -> Result<Vec<SwitchStatus>> {
        let mut last = Vec::new();
        let mut failed = None;
        for Running { handle, thread } in self.switches {
            last.extend(handle.stop());
            let ended = thread.join().unwrap_or_else(|_| Err(ended_abnormally(handle.name())));
            failed = failed.or(ended.err());
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(last),
        }
    }
}

fn spawn(engine: Engine, handle: Handle, ended: Sender<Ended>) -> Result<Running> {
    let name = format!("zb-{}", handle.name());
    let switch = handle.name().to_owned();
    let thread = rights::spawn(name, &ROLE, move || {
        // Tells even when the engine panics.
        let _tell = Tell { ended, switch };
        engine.run()
    });
    let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
    Ok(Running { handle, thread })
}

struct Tell {
    ended: Sender<Ended>,
    switch: String,
}

impl Drop for Tell {
    fn drop(&mut self) {
        // Nobody listening is as good as being told.
        let _ = self.ended.try_send(Ended { switch: std::mem::take(&mut self.switch) });
    }
}
