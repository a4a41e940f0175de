//! The engine: one thread for each switch, which waits for descriptors, moves frames, and keeps ports alive.
//!
//! # Theory of operation
//!
//! A turn of the loop (`turn.rs`) sleeps until something calls, takes commands, breathes, and handles timers and lost
//! ports. A *breath* (`breath.rs`) takes a bounded batch from each port that is ready, lets the switch decide and send,
//! and flushes the ports that became writable. mio is edge-triggered, so a port that has not been drained stays on the
//! ready list and the next poll does not wait. Every port has a budget in each breath and the list goes round, so
//! nobody can starve another port, nor the commands. With nothing to do the thread sleeps: there is no tick, but for a
//! link that is down, which is looked at four times a second.
//!
//! Two breaths may follow one poll, which serves what comes one frame at a time: a port whose last wake-up brought one
//! frame is read once, that frame leaves, and only the second breath looks whether there is another. So there is no
//! further system call between the arrival of a lone frame and its departure, and none more in all.
//!
//! A socket is watched for room only while something waits for it. The kernel calls a UNIX socket writable each time
//! its peer has read anything, and would wake the thread once for every frame that it delivered.
//!
//! The process survives the loss of a descriptor. A client of a listener leaves; a port that was asked for by name
//! stays, is shown as waiting, and is opened again, soon at first and then every second (`life.rs`).
//!
//! A thread that fails takes its own switch or service along, and nothing else (`fault.rs`); one that hangs is named
//! (`pulse.rs`).
//!
//! # The walk of a frame
//!
//! 1. A peer writes; `epoll` says so, and `watch::Source::of` finds the port that the descriptor is of.
//! 2. `turn::hear` puts the port on the ready list.
//! 3. `Breath::breathe` asks the port's edge to receive within its budget: a system call puts
//!    the frame into the batch, where it lies until it has left.
//! 4. [`Switch::run`](crate::switch::Switch::run) takes the batch: it guards, learns and looks up each frame, and puts it
//!    into the gather lists of the ports that it is for.
//! 5. For each of these ports `Edges::transmit` offers the list to the edge on its seat.
//! 6. The edge sends what its descriptor takes, by one system call for as many frames as the kind allows.
//! 7. What it does not take is copied into the port's queue, and the port is watched for room.
//! 8. When the kernel says that there is room, the port goes on the list of those to be flushed, and the next breath
//!    offers it its queue.
//! 9. An edge that fails takes nothing more from then on; when the breath is over `Lives` sees to its port.
//! 10. Every copy has ended as sent or dropped for one reason, which the port counts, or waits in a queue.
//!
//! # Who knows whom
//!
//! A file knows those above it only; `tests/architecture` checks it. Each has its own state, and what it does for the
//! others are its `pub` functions.
//!
//! ```text
//!  life  lists  pulse  rewrite  status  timers  watch  watcher          know nobody
//!  departed  fault  bends                                               what was shown last, what has failed, what is impaired
//!  mirrors                         who gets copies of whose frames, by names
//!  slot ─ edges ─ ports            a port's place; all edges, by which frames leave; with the switch, kept in step
//!  feed ─ tap ─ recorder ─ fates   what is captured or logged of a switch; the thread that writes it
//!  arrival  links  listeners  events  look  show                        what is done with ports, each one matter
//!  thread ─ runner ─ service ─ prepare               services, and what takes its time before a port is there
//!  lives                           who is admitted, opened, tried again, removed
//!  breath  command  fdb            a batch through the switch; what other threads ask
//!  turn                            the loop: one switch on its thread
//!  bridge                          all switches of a configuration
//!  control                         the socket on which programs ask
//! ```
//!
//! [`Bridge`] starts and stops the engines of a configuration, and is what a program embeds.

mod arrival;
mod bends;
mod breath;
mod bridge;
mod cable;
mod command;
pub(crate) mod control;
mod departed;
mod edges;
mod events;
mod fates;
mod fault;
mod fdb;
mod feed;
mod life;
mod links;
mod listeners;
mod lists;
mod lives;
mod look;
mod mirrors;
mod parting;
mod places;
mod ports;
mod prepare;
mod pulse;
mod recorder;
mod rewrite;
mod runner;
mod service;
mod settings;
mod show;
mod slot;
mod status;
mod tap;
#[cfg(test)]
mod tests;
mod thread;
mod timers;
mod trace;
mod turn;
mod watch;
mod watcher;

pub use bridge::Bridge;
pub use command::Handle;
pub use control::{Client, PATIENCE};
pub(crate) use fates::give_up;
pub use fault::Ended;
pub use fdb::NamedEntry;
pub use runner::run_service;
pub use status::{Condition, PortStatus, ReplayStatus, SwitchStatus};

pub use crate::port::own::{Closed, Link, LinkReceiver, LinkSender, SendError};
