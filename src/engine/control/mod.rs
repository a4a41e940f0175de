//! The control socket of a running bridge: its place, its server, and the client that programs use.
//!
//! Theory of operation. A bridge has a name. [`Claim`] takes it: a socket `NAME.sock` in the user's run directory
//! (`place.rs`), bound before any port is opened, so that two bridges of one name never meet. [`Claim::serve`] then
//! answers on a thread of its own (`server.rs`): it polls its clients (`clients.rs`), keeps what each has sent and is
//! still to get within bounds (`session.rs`), takes one request from each in turn, and asks the switches through their
//! [`Handle`](super::Handle)s (`answer.rs`). The switches never wait for it, and it waits for them only as long as a
//! breath. What takes longer is done by threads of their own (`aside.rs`, `entries.rs`).
//!
//! The socket is the user's alone (mode 0600, in a directory of mode 0700), and a client with another user's
//! credentials is refused, root's aside. Each client's process is logged at the level debug. A client for its part
//! speaks to nobody else's bridge: in /tmp anybody may have made the directory. Root's does if the user has named the
//! bridge, by path or by name. Only the user id decides: the process may be in a PID namespace that is not visible from
//! here, and then has no number (`stranger`).
//!
//! # The walk of a control request
//!
//! 1. `zbridge status` (`cli/ask.rs`) calls [`Client::connect_default`], which finds the one socket of this user that
//!    answers, and asks the kernel whose process it is.
//! 2. `Serving::accept` lets the client in: `permitted` asks the kernel the same of it, `Clients` has a place for it,
//!    and it is sent the greeting.
//! 3. [`Client::request`] writes a line of JSON with a number and the command, and waits for the line with that number.
//! 4. `epoll` says so, `client_event` puts the client on the ready list, and in its turn `Session::read` takes the bytes.
//! 5. [`Lines`](crate::control::Lines) cuts a line out of them, and [`Request::parse`](crate::control::Request::parse)
//!    makes a command of it.
//! 6. `Answerer::answer` asks each switch: [`Handle::status`](super::Handle::status) puts a question with a way for its
//!    answer into the switch's channel, and wakes it.
//! 7. Between two breaths the switch takes it (`Engine::handle_commands`), and `Lives::status` answers with all its ports.
//! 8. `switch_info` puts that into the protocol's words, with the addresses that were heard at each port.
//! 9. `Session::say` sends the [`Reply`](crate::control::Reply) as one line. What the socket does not take waits, and the
//!    client's next request with it.
//! 10. The client takes the line apart, and `cli/table.rs` lays it out.

mod answer;
mod aside;
mod board;
mod captures;
mod capturing;
mod client;
mod clients;
mod details;
mod drops;
mod entries;
mod gateways;
mod herald;
mod look;
mod metrics;
mod parting;
mod place;
mod probe;
mod programs;
mod rates;
mod reload;
mod server;
mod session;
mod stations;
mod trace;
mod waits;

pub(crate) use board::{Board, LINE_BYTES, Order, Ordered};
pub use capturing::{Capturing, Stopper};
pub(crate) use client::is_silent;
pub(crate) use client::{Called, bridges, each_bridge, where_looked};
pub use client::{Client, PATIENCE};
pub(crate) use metrics::{Metrics, MetricsServer};
pub(crate) use place::{Claim, DEFAULT_NAME, directory};
pub(crate) use reload::Reloader;
pub(crate) use server::Server;

use crate::error::{Error, Result};
use crate::port::own_folder::is_private;
use crate::port::sys::{may_be_anybody, peer_credentials};
use crate::rights;
use std::os::fd::AsFd;
use std::path::Path;

/// The user at the other end of the control socket at `path`, where that is neither this process's nor root.
///
/// In a user namespace strangers may have this user's id ([`may_be_anybody`]). Then the socket's folder decides: if the
/// kernel says that it is private to this user, nobody else can have connected there.
fn stranger(socket: impl AsFd, path: &Path) -> Result<Option<u32>> {
    let peer = peer_credentials(socket).map_err(|errno| Error::system("its credentials", &errno.into()))?;
    let same = peer.uid == rights::owner();
    let told_apart = !may_be_anybody(peer.uid) || path.parent().is_some_and(is_private);
    Ok((!(peer.uid == 0 || same && told_apart)).then_some(peer.uid))
}
