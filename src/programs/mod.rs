//! A bench: the programs of a file and the network between them, started and stopped together.
//!
//! ```text
//! file ─ config ─┬─ engine: switches and ports
//!                └─ programs: supervisor (when) ─ driver (does it) ┬─ launch: a program in its namespaces → its ports
//!                                                                  ├─ output, log, ready: what it writes
//!                                                                  └─ ask: whether it is ready, from inside the switch
//! ```

mod ask;
mod driver;
mod guest;
mod log;
mod output;
mod ready;
mod supervisor;

use crate::config::Config;
use crate::engine::Bridge;
use crate::error::{Error, Result};
use crossbeam_channel::Receiver;
pub use log::{default_folder, name_of};
pub use output::readable;
use std::path::PathBuf;
use std::sync::Arc;
pub use supervisor::{End, Wishes};

/// What became of a bench.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All have ended, by themselves and well, or because they were told to.
    Ended,
    /// The instance has ended whose status was asked for.
    Status(End),
    /// Something failed, or was not as wanted in time. It was said ([`Screen::blame`]).
    Failed(Error),
}

/// A bench to be run.
pub struct Bench<'a> {
    /// Its instances; their switches and the ports are those of a running [`Bridge`].
    pub config: &'a Config,
    /// What is asked for.
    pub wishes: Wishes,
    /// The folder for logs that have no place of their own.
    pub logs: PathBuf,
}

/// Who watches a bench.
pub trait Screen: Send + Sync {
    /// The instance with this place in the list has written a line, given without its end. This may take a moment, for as
    /// long as somebody reads; the others must not wait for anybody.
    fn line(&self, instance: usize, line: &[u8]);

    /// Something has happened.
    fn tell(&self, text: &str);

    /// Something is not as it should be, and it goes on.
    fn warn(&self, error: &Error);

    /// Something is not as it should be, and the bench ends with it.
    fn blame(&self, error: &Error);
}

/// Runs a bench on `bridge` until it is over. Each message on `stop` is a wish to end it: the first in order, the next
/// at once.
///
/// # Errors
/// A log that cannot be created; nothing was started then.
pub fn run(bench: &Bench<'_>, bridge: &Bridge, stop: &Receiver<i32>, screen: Arc<dyn Screen>) -> Result<Outcome> {
    Ok(driver::Driver::new(bench, bridge, screen)?.run(stop))
}
