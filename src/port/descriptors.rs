//! How many descriptors the process may have (`RLIMIT_NOFILE`, getrlimit(2)).
//!
//! The soft limit is 1024 as a rule, for the sake of programs that call select(2); a gateway needs more and raises it
//! to the hard limit. A limit is inherited, so child processes get back the original one.

use super::process::limit_descriptors;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::Command;
use std::sync::OnceLock;

/// The limit that this process was started with, once it is another.
static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Raises the limit as far as allowed. Returns it: all descriptors are below.
pub fn raise() -> u64 {
    let limit = *STARTED_WITH.get_or_init(|| getrlimit(Resource::Nofile));
    // On failure the limit stays lower.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Descriptors that no client of a port may have, of at most `limit`: an eighth, from 16 to 256. They are for the
/// control socket, for opening ports, and for services.
fn reserve(limit: u64) -> u64 {
    (limit / 8).clamp(16, 256)
}

/// Whether a descriptor of this number is one of the last that the process may have, which clients leave to others. The
/// system gives the lowest number that is free, so that all below it are taken.
pub fn is_reserved(number: RawFd) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(number).is_ok_and(|number| number >= limit.saturating_sub(reserve(limit)))
}

/// Whether the next descriptor would be one of these; `any` is one that is open.
pub fn are_scarce(any: impl AsFd) -> bool {
    fcntl_dupfd_cloexec(any, 0).map_or(true, |next| is_reserved(next.as_raw_fd()))
}

/// Gives the child of `command` the limit that this process was started with.
pub fn restore(command: &mut Command) {
    if let Some(&limit) = STARTED_WITH.get() {
        limit_descriptors(command, limit);
    }
}
