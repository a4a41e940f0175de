//! The edges of the switch: one file for each kind of port, with its descriptor and its system calls.
//!
//! Theory of operation. [`open`](fn@open) turns a port's specification into a [`Listener`], whose clients become ports
//! of their own, or into an [`Edge`] (a descriptor that frames pass through). An edge never blocks and never ends the
//! process: a call takes what it can, counts what it has to drop, and returns [`Gone`] when the descriptor has failed;
//! by then the edge has left its [`seat`] and cannot be called again. The engine decides what follows (wait, open
//! again, remove). The kinds are closed enums: of specifications (`open.rs`), and of open edges (`edge.rs`).

pub(crate) mod accept;
mod access;
pub(crate) mod channel;
pub(crate) mod datagram;
pub(crate) mod descriptors;
mod edge;
pub(crate) mod frame_io;
pub(crate) mod inet;
pub(crate) mod inquiry;
pub(crate) mod interface;
pub(crate) mod ip_interface;
pub(crate) mod keeper;
pub(crate) mod link_news;
pub mod listener;
pub(crate) mod made;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod netlink;
mod open;
pub(crate) mod own;
pub(crate) mod own_folder;
pub(crate) mod owner;
pub(crate) mod packet;
pub(crate) mod port_set;
pub(crate) mod seat;
pub(crate) mod serial;
mod spares;
pub(crate) mod stream;
pub(crate) mod sys;
pub(crate) mod tap;
pub(crate) mod unix;
pub(crate) mod writer;

pub(crate) use edge::Edge;
pub(crate) use listener::Listener;
pub(crate) use open::{Opened, adopt, is_awaited, listens, open, open_again};
pub(crate) use sys::{inherited, is_own_program, process};

/// The limits of one receive.
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
    /// Nothing is left: an event will tell of more.
    Drained,
    /// The budget or the batch ended first: call again.
    More,
}

/// A descriptor has failed; the reason, for messages: `its peer closed the connection`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone(pub String);

/// A descriptor that has failed while sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Frames that were done with before: sent or dropped, and counted.
    pub done: usize,
    /// Why it has failed.
    pub gone: Gone,
}
