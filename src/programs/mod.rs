//! A bench: programs and the network between them, started and stopped together. `zbridge up` runs that of a file,
//! `zbridge run` one of a single program.
//!
//! ```text
//! file, options ─ config ─┬─ network: a bridge of this process (engine), or one that runs and is joined
//!                         └─ supervisor (when) ─ driver (does it) ┬─ program, launch: it in its namespaces → its ports
//!                                                                 ├─ attend: its start, its output, its end
//!                                                                 ├─ desk: orders by the control socket
//!                                                                 └─ ask: whether it is ready, from inside the switch
//! ```
//!
//! The [`Console`] of programs: either their lines are shown, with their names in front, and kept in logs, and signals
//! end the bench; or a single program has zbridge's terminal, with its keys and signals.

mod ask;
mod attend;
mod desk;
mod driver;
mod end;
mod guest;
mod log;
mod network;
mod orders;
mod output;
mod place;
mod program;
mod ready;
mod supervisor;
mod terminal;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::launch::NotStarted;
use crossbeam_channel::{Receiver, Sender};
pub use end::End;
pub use log::{default_folder, name_of};
pub use network::{Network, OwnBridge};
pub use output::readable;
pub use program::check;
use std::path::PathBuf;
use std::sync::Arc;
pub use supervisor::Wishes;
pub use terminal::Terminal;

/// The outcome of a bench.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All have ended: successfully by themselves, or with their scenario.
    Ended,
    /// They were stopped by whoever runs the bench.
    Stopped,
    /// The instance has ended whose status was asked for.
    Status(End),
    /// A program could not be started. It was reported ([`Screen::blame`]).
    NotStarted(NotStarted),
    /// Something failed, or was not ready in time. It was reported ([`Screen::blame`]).
    Failed(Error),
}

/// A bench to be run.
pub struct Bench<'a> {
    /// Its instances, and the ports of the file beside them.
    pub config: &'a Config,
    /// Options.
    pub wishes: Wishes,
    /// The programs' console.
    pub console: Console,
    /// A scenario that is played beside it.
    pub play: Option<Play>,
}

/// A scenario that is played on a bench, as the bench sees it.
pub struct Play {
    /// It is over, and the bench with it.
    pub done: Receiver<()>,
    /// Where it is told why the bench is stopped before.
    pub ends: Sender<String>,
}

/// The console of a bench's programs.
pub enum Console {
    /// They read nothing. Their lines are shown ([`Screen::line`]) and kept.
    Lines {
        /// The folder for logs that have no place of their own.
        logs: PathBuf,
        /// Each message is a wish to end the bench: the first in order, the next at once.
        stop: Receiver<i32>,
    },
    /// The terminal of zbridge, for the one program that there is.
    Terminal {
        /// That terminal, and the signals, which are the program's.
        terminal: Terminal,
        /// The program was given its name, and gets no other where that is taken.
        named: bool,
    },
}

/// The screen of the user who watches a bench.
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

    /// The bridge of this name has ended that was joined, and it goes on without.
    fn parted(&self, bridge: &str);
}

/// Runs a bench on `network` until it is over.
///
/// # Errors
/// A log that cannot be created; the system has no descriptors or threads left. Nothing was started then.
pub fn run(bench: Bench<'_>, network: &mut Network, screen: Arc<dyn Screen>) -> Result<Outcome> {
    Ok(driver::Driver::new(bench, network, screen)?.run())
}
