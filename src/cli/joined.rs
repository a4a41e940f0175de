//! A bridge that was joined: the link from the switches of a bench to it, and the word when it has ended.
//!
//! A link is a pair of connected sockets. One end is a port here; the other is handed to the running bridge and is a
//! port there until this process has ended, however it does.

use crate::config::{DEFAULT_SWITCH, PortKind, PortSpec, UnixStream as Kind};
use crate::engine::Bridge;
use crate::engine::control::Client;
use crate::error::{Error, Result};
use crate::rights::role::BASE;
use crate::rights::{self, Role};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Links each switch of `bridge`, a bench of the name `bench`, to the one of the same name of the running bridge
/// `name`. The links are there as long as what is given back.
///
/// # Errors
/// No such bridge runs; no switch has a name in common; one of the ports there has its name already.
pub fn link(name: &str, bench: &str, bridge: &Bridge) -> Result<Client> {
    let mut client = Client::connect(name)?;
    let theirs: Vec<String> = client.status()?.switches.into_iter().map(|switch| switch.name).collect();
    let ours: Vec<String> = bridge.handles().iter().map(|handle| handle.name().to_owned()).collect();
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
        client.add_port_with_fd(&port(bench, switch).canonical(), far.as_fd())?;
        bridge.adopt_port(port(&there, switch), near.into())?;
    }
    Ok(client)
}

/// The port of a link that leads to `peer`.
fn port(peer: &str, switch: &str) -> PortSpec {
    let name = if switch == DEFAULT_SWITCH { format!("to-{peer}") } else { format!("to-{peer}-{switch}") };
    let kind = PortKind::Unix(Kind {
        path: PathBuf::from(peer),
        connect: true,
        access: crate::config::Access::default(),
        clients: None,
    });
    PortSpec { name, switch: switch.to_owned(), ..PortSpec::new(kind) }
}

/// It waits for the end of a connection, and says so.
static ROLE: Role = Role::new("joined", &[BASE]);

/// Calls `tell` with the bridge's name when it has ended, if it does before this process.
///
/// # Errors
/// The system has no descriptors or threads left.
pub fn on_end(client: &Client, tell: impl FnOnce(&str) + Send + 'static) -> Result<()> {
    let name = client.greeting().name.clone();
    let connection = client.as_fd().try_clone_to_owned();
    let connection = connection.map_err(|error| Error::system("a copy of a descriptor", &error))?;
    let watch = move || {
        // It fails for want of memory only, and then is as good as the end.
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(&connection, PollFlags::RDHUP)], None) {}
        tell(&name);
    };
    let started = rights::spawn("zb-joined", &ROLE, watch);
    started.map(drop).map_err(|error| Error::system("cannot start a thread", &error))
}
