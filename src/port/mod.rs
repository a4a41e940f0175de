//! The edges of the switch: one file for each kind of port, with its descriptor and its system calls.
//!
//! Theory of operation. [`open`](fn@open) turns a port's specification into a [`Listener`], whose clients become ports of
//! their own, or into an [`Edge`] (a descriptor that frames pass through). An edge never blocks and never ends the
//! process: a call takes what it can, counts what it has to drop, and says [`Gone`] when the descriptor is of no more
//! use; by then it has left its [`seat`] and cannot be called again. What then happens (wait, open again, remove) is the
//! engine's business. The kinds are closed enums: what a port was asked to be (`open.rs`), and what it became (`edge.rs`).

mod access;
pub mod channel;
pub mod datagram;
pub mod descriptors;
mod edge;
pub mod frame_io;
pub mod inet;
pub mod interface;
pub mod ip_interface;
pub mod keeper;
pub mod link_news;
mod listener;
pub mod made;
pub mod memory;
pub mod names;
pub mod netlink;
mod open;
pub mod own_folder;
mod owner;
pub mod packet;
pub mod port_set;
pub mod seat;
pub mod serial;
pub mod stream;
pub(crate) mod sys;
pub mod tap;
pub mod unix;
pub mod writer;

pub use edge::{Abilities, Edge};
pub use listener::Listener;
pub use open::{Opened, adopt, dials, is_awaited, listens, open, open_again};
pub use sys::{inherited, process};

/// What one receive may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes of a stream.
    pub bytes: usize,
    /// Frames of a descriptor that is read frame by frame.
    pub frames: usize,
}

/// How a receive ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inhaled {
    /// Nothing is left: the descriptor will say when there is more.
    Drained,
    /// The budget or the batch ended first: call again.
    More,
}

/// A descriptor is of no more use, and why, as a person is told: `its peer closed the connection`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone(pub String);

/// A descriptor that turned out to be of no more use while it was sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Frames that were done with before: sent or dropped, and counted.
    pub done: usize,
    /// Why it is of no more use.
    pub gone: Gone,
}
