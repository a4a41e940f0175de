//! The edges of the switch: one file for each kind of port, with its descriptor and its system calls.
//!
//! Theory of operation. [`open`] turns a port's specification into a [`Listener`], whose clients become ports of
//! their own, or into an [`Edge`] (a descriptor that frames pass through). An edge never blocks and never ends the
//! process: a call takes what it can, counts what it has to drop, and says [`Gone`] when the descriptor is of no more
//! use. What then happens (wait, open again, remove) is the engine's business.

pub mod frame_io;
pub mod interface;
pub mod netlink;
pub mod packet;
pub(crate) mod sys;
pub mod tap;

use crate::counters::Counters;
use crate::frame::{Batch, Outgoing, PortId};

/// How a receive ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inhaled {
    /// Nothing is left: the descriptor will say when there is more.
    Drained,
    /// The budget or the batch ended first: call again.
    More,
}

/// A descriptor is of no more use, and why, as a person is told: `closed by its peer`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gone(pub String);
