//! The bridge that programs join: one of this process, which has a name and can be joined, or one that runs already.
//!
//! A bridge of this process may be linked to one that runs. A link is a pair of connected sockets. One end is a port here;
//! the other is handed to the running bridge and is a port there until this process has ended, however it does.

use crate::config::{Config, DEFAULT_SWITCH, PortKind, PortSpec, UnixSocket};
use crate::engine::control::{Board, Claim, Client, Metrics, MetricsServer, Reloader, Server};
use crate::engine::{Bridge, Ended, SwitchStatus};
use crate::error::{Error, Result};
use crate::rights::role::BASE;
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, never, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A bridge of this process with its control socket and uplink. Fields are declared in the order of their drop.
pub struct OwnBridge {
    /// A running bridge that it is linked to, for as long as this is there.
    uplink: Option<Client>,
    /// The server of its figures, if they are asked for.
    metrics: Option<MetricsServer>,
    /// Its control socket, where there is a place for one.
    control: Option<Server>,
    /// What that tells of the programs.
    board: Arc<Board>,
    /// Its configuration file, if it was started with one.
    reloader: Option<Arc<Reloader>>,
    bridge: Bridge,
}

impl OwnBridge {
    /// Starts the bridge of `config` under `name`. Without one it takes `usual` or the next free name, and runs without
    /// a control socket if there is no place for it.
    ///
    /// # Errors
    /// The name is taken; a port that cannot be opened.
    pub fn start(config: &Config, name: Option<&str>, usual: &str) -> Result<Self> {
        // First of all: if the name is taken, nothing was opened.
        let claim = rights::for_people(|| claim(name, usual))?;
        let metrics = rights::apart(|| config.metrics.as_ref().map(Metrics::bind).transpose())?;
        let bridge = rights::apart(|| Bridge::start(config))?;
        let board = Arc::new(Board::default());
        let reloader = Reloader::of(config).map(Arc::new);
        let control =
            rights::apart(|| claim.map(|claim| claim.serve(&bridge, board.clone(), reloader.clone())).transpose())?;
        let name = control.as_ref().map_or(usual, Server::name);
        let serve = |metrics: Metrics| metrics.serve(name, bridge.handles(), board.clone());
        let metrics = rights::apart(|| metrics.map(serve).transpose())?;
        Ok(Self { uplink: None, metrics, control, board, reloader, bridge })
    }

    /// The bridge itself.
    pub fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// Has it read its configuration file again.
    pub fn reload(&self) {
        self.reloader.iter().for_each(|reloader| reloader.begin(self.bridge.handles()));
    }

    /// The channel of a client's wish that the process ends.
    pub fn attend_down(&self) -> Receiver<()> {
        self.board.attend_down()
    }

    /// The name by which it can be commanded, if it can.
    pub fn name(&self) -> Option<&str> {
        self.control.as_ref().map(Server::name)
    }

    /// Links each switch of this one, the bridge of a bench called `bench`, to the one of the same name of the running
    /// bridge `name`.
    ///
    /// # Errors
    /// No such bridge runs; no switch has a name in common; one of the ports there has its name already.
    pub fn link_to(&mut self, name: &str, bench: &str) -> Result<()> {
        let mut client = Client::connect(name)?;
        let theirs = switches_of(&mut client)?;
        let ours = self.switches();
        let common: Vec<&String> = ours.iter().filter(|name| theirs.contains(name)).collect();
        if ours.is_empty() {
            let error = Error::usage(format!("--join {name}: the bench has no switch"));
            return Err(error.hint("none of its instances has a tap, a host address or a QEMU"));
        }
        if common.is_empty() {
            let what = format!("--join {name}: it has no switch of the bench's: {}", ours.join(", "));
            return Err(Error::usage(what).hint(format!("it has {}", theirs.join(", "))));
        }
        let there = client.greeting().name.clone();
        for switch in common {
            let (near, far) = UnixStream::pair().map_err(|error| Error::system("a pair of sockets", &error))?;
            client.add_port_with_fd(&link_port(bench, switch).canonical(), far.as_fd())?;
            self.bridge.adopt_port(link_port(&there, switch), near.into())?;
        }
        self.uplink = Some(client);
        Ok(())
    }

    fn switches(&self) -> Vec<String> {
        self.bridge.handles().iter().map(|handle| handle.name().to_owned()).collect()
    }

    /// Stops it. Returns the last status of its switches, and the first failure.
    pub fn finish(self) -> (Vec<SwitchStatus>, Option<Error>) {
        let Self { uplink, metrics, control, bridge, .. } = self;
        drop((uplink, metrics));
        control.into_iter().for_each(Server::end);
        bridge.finish()
    }
}

/// Takes the bridge's name.
fn claim(name: Option<&str>, usual: &str) -> Result<Option<Claim>> {
    match name.map_or_else(|| Claim::like(usual), |name| Claim::new(Some(name))) {
        Ok(claim) => Ok(Some(claim)),
        Err(error) if name.is_none() => {
            log::warn!("{}", error.at("it runs, but cannot be commanded"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn switches_of(client: &mut Client) -> Result<Vec<String>> {
    Ok(client.status()?.switches.into_iter().map(|switch| switch.name).collect())
}

/// The port of a link that leads to `peer`.
fn link_port(peer: &str, switch: &str) -> PortSpec {
    let name = if switch == DEFAULT_SWITCH { format!("to-{peer}") } else { format!("to-{peer}-{switch}") };
    let kind = PortKind::Unix(UnixSocket::stream(peer, true));
    PortSpec { name, switch: switch.to_owned(), ..PortSpec::new(kind) }
}

/// The network that programs are attached to.
pub enum Network {
    /// A bridge of this process.
    Own(OwnBridge),
    /// Another process's. The programs' ports go when this connection does.
    Joined(Client),
}

/// Channels that tell of the end of a network, or of a part of it.
pub struct Ending {
    /// A switch of this process, or a service of one, has ended by itself.
    pub switch: Receiver<Ended>,
    /// The bridge of this name, that was joined, has ended.
    pub joined: Receiver<String>,
}

impl Network {
    /// Joins the running bridge called `name`.
    ///
    /// # Errors
    /// No such bridge runs.
    pub fn join(name: &str) -> Result<Self> {
        Client::connect(name).map(Self::Joined)
    }

    /// The bridge's name; `None`: it has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Own(own) => own.name(),
            Self::Joined(client) => Some(&client.greeting().name),
        }
    }

    /// Where the programs are told of: for a bridge of another process, to nobody.
    pub fn board(&self) -> Arc<Board> {
        match self {
            Self::Own(own) => own.board.clone(),
            Self::Joined(_) => Arc::default(),
        }
    }

    /// The bridge, if it is one of this process.
    ///
    /// # Errors
    /// It is another process's.
    pub fn here(&self) -> Result<&Bridge> {
        match self {
            Self::Own(own) => Ok(own.bridge()),
            Self::Joined(client) => {
                let what =
                    format!("bridge {} is another process's: it is not asked from inside", client.greeting().name);
                Err(Error::usage(what))
            }
        }
    }

    /// The switch that a program joins: `wanted`, or the only one, or the default among several.
    ///
    /// # Errors
    /// There is no such switch.
    pub fn switch(&mut self, wanted: Option<&str>) -> Result<String> {
        let names = match self {
            Self::Own(own) => own.switches(),
            Self::Joined(client) => switches_of(client)?,
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
    ///
    /// # Errors
    /// It has ended.
    pub fn taken(&mut self) -> Result<Vec<String>> {
        Ok(match self {
            Self::Own(own) => own.bridge.status()?.into_iter().flat_map(|it| it.ports).map(|it| it.name).collect(),
            Self::Joined(client) => {
                client.status()?.switches.into_iter().flat_map(|it| it.ports).map(|port| port.name).collect()
            }
        })
    }

    /// Makes a port of a descriptor. With `stays`, on a bridge of this process, its place is kept when that is lost, and one
    /// that was kept is taken.
    ///
    /// # Errors
    /// There is a port of this name; the descriptor cannot be one.
    pub fn adopt(&mut self, port: PortSpec, fd: OwnedFd, stays: bool) -> Result<()> {
        match self {
            Self::Own(own) if stays => own.bridge.switch(&port.switch)?.seat_port(port, fd),
            Self::Own(own) => own.bridge.adopt_port(port, fd),
            Self::Joined(client) => client.add_port_with_fd(&port.canonical(), fd.as_fd()).map(drop),
        }
    }

    /// Removes a port, which may be gone already.
    pub fn remove(&mut self, switch: &str, port: &str) {
        let removed = match self {
            Self::Own(own) => own.bridge.switch(switch).and_then(|switch| switch.remove_port_for_now(port)),
            Self::Joined(client) => client.remove_port_for_now(port),
        };
        removed.err().into_iter().for_each(|error| log::debug!("{error}"));
    }

    /// Takes the descriptor of a port away, whose place is kept.
    pub fn vacate(&mut self, switch: &str, port: &str, why: &str) {
        let vacated = self.here().and_then(|bridge| bridge.switch(switch)?.vacate_port(port, why));
        vacated.err().into_iter().for_each(|error| log::debug!("{error}"));
    }

    /// The channels that tell of its end.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub fn ended(&self) -> Result<Ending> {
        let (switch, joined) = match self {
            Self::Own(own) => (own.bridge.ended().clone(), own.uplink.as_ref()),
            Self::Joined(client) => (never(), Some(client)),
        };
        Ok(Ending { switch, joined: joined.map_or_else(|| Ok(never()), end_of)? })
    }

    /// Leaves it. Returns the last status of this process's switches, and the first failure.
    pub fn leave(self) -> (Vec<SwitchStatus>, Option<Error>) {
        match self {
            Self::Own(own) => own.finish(),
            Self::Joined(_) => (Vec::new(), None),
        }
    }
}

/// It waits for the end of a connection, and says so.
static ROLE: Role = Role::new("joined", &[BASE]);

/// A channel that gives the bridge's name when it has ended, if that is before this process.
fn end_of(client: &Client) -> Result<Receiver<String>> {
    let name = client.greeting().name.clone();
    let connection = client.as_fd().try_clone_to_owned();
    let connection = connection.map_err(|error| Error::system("a copy of a descriptor", &error))?;
    let (told, ended) = unbounded();
    let watch = move || {
        // It fails for want of memory only, which is treated as the end.
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&connection, PollFlags::RDHUP)], None) {}
        // Fails only when all is over.
        let _ = told.send(name);
    };
    rights::spawn("zb-joined", &ROLE, watch).map_err(|error| Error::system("cannot start a thread", &error))?;
    Ok(ended)
}
