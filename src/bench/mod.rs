//! A bench: the programs of a file and the network between them, started and stopped together.

mod ask;
mod log;
mod output;
mod supervisor;

use crate::error::Error;
pub use supervisor::{End, Wishes};

/// What became of a bench.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All have ended, by themselves and well, or because they were told to.
    Ended,
    /// The instance has ended whose status was asked for.
    Status(End),
    /// Something failed, or was not as wanted in time.
    Failed(Error),
}
