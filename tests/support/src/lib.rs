//! What the system tests stand on: the outside world of a bridge, in the hands of a test.
//!
//! - [`require!`] and [`needs`]: a test says which rights and tools it needs, and is skipped where they are missing.
//! - [`TempDir`]: a folder with a short path, for sockets.
//! - [`Namespace`]: a network namespace, with its TAPs, veths and addresses.
//! - [`zbridge!`], [`Launch`], [`Process`]: a program under test, its output line by line, its signals and its end.
//! - [`Summary`]: what zbridge says at its end, with the accounting checked.
//! - [`Peer`] with [`StreamPeer`], [`GramPeer`], [`SeqPeer`] and [`TapPeer`]: the other end of a port.
//! - [`LinePeer`]: a device on a serial line, with SLIP or `uart_pipe`.
//! - [`Firmware`]: a device on a peer that behaves as real ones do when they are started again.
//! - [`frame`] and [`Station`]: frames written byte by byte, from the standards and not with the code under test.
//! - [`standin`]: programs that open a TAP as simulators do.
//! - [`Guest`]: a Linux guest of `tests/vm` with network interfaces, in which a test runs shell scripts.
//!
//! It is a package of its own, so that every test file uses the part it wants of one compiled library. It does not
//! depend on zbridge. All of it panics where a test would fail anyway, saying what was seen; everything that was
//! started ends when its value is dropped, and in a panic it first shows its output.

mod dir;
mod firmware;
pub mod frame;
mod guest;
mod line;
mod namespace;
pub mod needs;
mod peer;
mod process;
mod shell;
pub mod standin;
mod station;
mod summary;

pub use dir::TempDir;
pub use firmware::Firmware;
pub use guest::{Guest, GuestBuilder, Nic};
pub use line::{Framing, LinePeer};
pub use namespace::Namespace;
pub use peer::{GramPeer, Listener, Peer, Received, SeqPeer, StreamPeer, TapPeer};
pub use process::{Exit, Launch, Process};
pub use shell::Ran;
pub use station::Station;
pub use summary::{PortCount, Summary};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

/// How long a helper waits for what must happen before it calls it a failure. Long, because a loaded machine is no
/// fault of the program under test; nothing that works ever waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Skips the test, by returning from it, unless every need is met: `require!(needs::root(), needs::tun());`
///
/// With `ZBRIDGE_REQUIRE=1` in the environment it fails the test instead.
#[macro_export]
macro_rules! require {
    ($($need:expr),+ $(,)?) => {
        $(if $crate::needs::skips($need, $crate::needs::required()) {
            return;
        })+
    };
}

/// A [`Launch`] of the zbridge program that cargo built for this test, apart from all other bridges:
/// `zbridge!("--port", "unix:/tmp/x")`.
#[macro_export]
macro_rules! zbridge {
    ($($arg:expr),* $(,)?) => {
        $crate::Launch::new(env!("CARGO_BIN_EXE_zbridge")).apart()$(.arg($arg))*
    };
}

/// Tries `attempt` every few milliseconds until it gives something, for at most [`PATIENCE`].
///
/// # Panics
/// With `what` if it never does.
pub fn eventually<T>(what: &str, attempt: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, attempt)
}

/// The same, for at most `time`: for what takes long by itself.
///
/// # Panics
/// With `what` if it never does.
pub fn eventually_within<T>(time: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(start.elapsed() < time, "waited {time:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets this process, and what it starts, have descriptors for thousands of connections.
pub fn many_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("a limit that is allowed");
}
