//! The control socket of a running bridge: its place, its server, and the client that programs use.
//!
//! Theory of operation. A bridge has a name. [`Claim`] takes it: a socket `NAME.sock` in the user's run directory
//! (`place.rs`), bound before any port is opened, so that two bridges of one name never meet. [`Claim::serve`] then
//! answers on a thread of its own (`server.rs`): it polls its clients, keeps what each has sent and is still to get
//! within bounds (`session.rs`), takes one request from each in turn, and asks the switches through their
//! [`Handle`](super::Handle)s (`answer.rs`). The switches never wait for it, and it waits for them only as long as a
//! breath.
//!
//! The socket is the user's alone (mode 0600, in a directory of mode 0700), and a client with another user's
//! credentials is refused, root's aside. Each client's process is logged at the level debug. A client for its part
//! speaks to nobody else's bridge: in /tmp anybody may have made the directory. Root's does when somebody has said which
//! bridge is meant, by path or by name.

mod answer;
mod client;
mod place;
mod server;
mod session;

pub use client::{Called, Client, PATIENCE, bridges, each_bridge};
pub use place::{Claim, DEFAULT_NAME, directory};
pub use server::Server;

use crate::error::{Error, Result};
use crate::rights;
use rustix::net::sockopt::socket_peercred;
use std::os::fd::AsFd;

/// The user at the other end of a control socket, where that is neither this process's nor root.
fn stranger(socket: impl AsFd) -> Result<Option<u32>> {
    let peer = socket_peercred(socket).map_err(|errno| Error::system("its credentials", &errno.into()))?;
    let trusted = peer.uid.as_raw() == rights::owner() || peer.uid.is_root();
    Ok((!trusted).then(|| peer.uid.as_raw()))
}
