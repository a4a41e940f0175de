//! How many descriptors the process may have (`RLIMIT_NOFILE`, getrlimit(2)).
//!
//! The soft limit is 1024 as a rule, for the sake of programs that call select(2); a gateway needs more and raises it as
//! far as it may. A limit is inherited, so that what is started here gets back the one that this process had.

use super::process::limit_descriptors;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::process::Command;
use std::sync::OnceLock;

/// The limit that this process was started with, once it is another.
static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Lets the process have as many as it may. Gives the number that all descriptors are below.
pub fn raise() -> u64 {
    let limit = *STARTED_WITH.get_or_init(|| getrlimit(Resource::Nofile));
    // Where it fails there are fewer.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Has what `command` starts begin with the limit that this process was started with.
pub fn restore(command: &mut Command) {
    if let Some(&limit) = STARTED_WITH.get() {
        limit_descriptors(command, limit);
    }
}
