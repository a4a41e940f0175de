//! The network of `zbridge run`: a bridge of its own, which has a name and can be joined, or one that runs already.

use super::Instance;
use crate::cli::{joined, log, run, show};
use crate::config::{DEFAULT_SWITCH, PortSpec};
use crate::engine::control::{Client, DEFAULT_NAME, Server};
use crate::engine::{Bridge, Ended};
use crate::error::{Error, Result};
use crate::rights;
use crossbeam_channel::{Receiver, never, unbounded};
use rustix::process::geteuid;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};

/// What the program is attached to.
pub enum Network {
    /// A bridge in this process, and its control socket, where there is a place for one.
    Own(Bridge, Option<Server>),
    /// Another process's. The program's ports go when this connection does.
    Joined(Client),
}

/// Where the end of a network is told of.
pub struct Ending {
    /// A switch of this process has ended.
    pub switch: Receiver<Ended>,
    /// The bridge of this name, that was joined, has ended.
    pub joined: Receiver<String>,
}

impl Network {
    /// Starts or joins the bridge of an instance.
    pub fn reach(instance: &Instance) -> Result<Self> {
        if let Some(name) = &instance.join {
            return Client::connect(name).map(Self::Joined);
        }
        let claim = rights::for_people(|| run::claim(instance.bridge.as_deref(), DEFAULT_NAME))?;
        let own = &instance.config;
        let config = if geteuid().is_root() { own.for_programs_of_root() } else { own.clone() };
        let bridge = rights::apart(|| match config.ports.as_slice() {
            [] => Bridge::of_one(instance.switch.as_deref().unwrap_or(DEFAULT_SWITCH)),
            _ => Bridge::start(&config),
        })?;
        let control = rights::apart(|| claim.map(|claim| claim.serve(&bridge)).transpose())?;
        Ok(Self::Own(bridge, control))
    }

    /// The bridge's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(_, control) => control.as_ref().map_or(DEFAULT_NAME, Server::name),
            Self::Joined(client) => &client.greeting().name,
        }
    }

    /// The switch that the program joins: `wanted`, or the only one, or the default among several.
    pub fn switch(&mut self, wanted: Option<&str>) -> Result<String> {
        let names: Vec<String> = match self {
            Self::Own(bridge, _) => bridge.handles().iter().map(|handle| handle.name().to_owned()).collect(),
            Self::Joined(client) => client.status()?.switches.into_iter().map(|switch| switch.name).collect(),
        };
        let there = format!("there is {}", names.join(", "));
        match (wanted, names.as_slice()) {
            (None, [only]) => Ok(only.clone()),
            (wanted, several) => {
                let name = wanted.unwrap_or(DEFAULT_SWITCH);
                let found = several.iter().find(|other| *other == name).cloned();
                found.ok_or_else(|| match wanted {
                    Some(name) => Error::usage(format!("--switch {name}: there is no such switch")).hint(there),
                    None => Error::usage(format!("the program joins the switch {name}, and there is none"))
                        .hint(format!("{there}: --switch NAME")),
                })
            }
        }
    }

    /// The names of all its ports.
    pub fn taken(&mut self) -> Result<Vec<String>> {
        Ok(match self {
            Self::Own(bridge, _) => bridge.status()?.into_iter().flat_map(|it| it.ports).map(|it| it.name).collect(),
            Self::Joined(client) => {
                client.status()?.switches.into_iter().flat_map(|it| it.ports).map(|port| port.name).collect()
            }
        })
    }

    /// Makes a port of a descriptor.
    pub fn add(&mut self, port: PortSpec, fd: OwnedFd) -> Result<()> {
        match self {
            Self::Own(bridge, _) => bridge.adopt_port(port, fd),
            Self::Joined(client) => client.add_port_with_fd(&port.canonical(), fd.as_fd()).map(drop),
        }
    }

    /// Says how another program comes to a bridge of this process, to a person.
    pub fn tell(&self, switch: &str) {
        let Self::Own(_, Some(control)) = self else { return };
        let on = if switch == DEFAULT_SWITCH { String::new() } else { format!(" --switch {switch}") };
        let what = format!(
            "bridge {0}: `zbridge run --join {0}{on} …` puts another program on it, `zbridge status {0}` shows it",
            control.name()
        );
        // A file or a program that reads on is not told what a person would do next.
        if std::io::stderr().is_terminal() { log::tell(&what) } else { ::log::info!("{what}") }
    }

    /// Where the end of it is told of.
    pub fn ended(&self) -> Result<Ending> {
        let (switch, joined) = match self {
            Self::Own(bridge, _) => (bridge.ended().clone(), never()),
            Self::Joined(client) => {
                let (told, joined) = unbounded();
                joined::on_end(client, move |name| told.send(name.to_owned()).unwrap_or_default())?;
                (never(), joined)
            }
        };
        Ok(Ending { switch, joined })
    }

    /// Leaves it. Gives what its ports had counted, and what of it had failed.
    pub fn leave(self) -> (String, Option<Error>) {
        match self {
            Self::Own(bridge, control) => {
                let (last, failure) = run::end(bridge, control);
                (show::counters(&last, log::width()), failure)
            }
            Self::Joined(_) => (String::new(), None),
        }
    }
}
