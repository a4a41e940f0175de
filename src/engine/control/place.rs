//! Where control sockets are, and how a bridge takes its name.
//!
//! ```text
//! $XDG_RUNTIME_DIR/zbridge/NAME.sock      where the variable is set
//! /run/zbridge/NAME.sock                  root
//! /tmp/zbridge-UID/NAME.sock              anybody else
//! ```
//!
//! Bridges that start at the same time take their names one after the other, under a lock on the directory. A name is
//! free if nobody answers at its socket: then a killed process has left it behind. The next bridge to start removes all
//! such sockets.

use super::board::Board;
use super::reload::Reloader;
use super::server::Server;
use crate::config::value;
use crate::engine::bridge::Bridge;
use crate::error::{Class, Error, Result};
use crate::port::own_folder::private;
use crate::port::unix::{UnixListener, clear_stale, dial_socket};
use crate::rights;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::process::geteuid;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The name of a bridge that is given none.
pub const DEFAULT_NAME: &str = "default";

/// Names that are tried for bridges that are given none: `default`, `default-2` … They are more than a machine runs.
const NAMES: usize = 1000;

/// How often and at what intervals the lock of the directory is tried. It is held for a few system calls.
const LOCK_TRIES: (usize, Duration) = (200, Duration::from_millis(10));

const SUFFIX: &str = ".sock";

/// The directory of the control sockets of this process's user, or of the person that it goes on as
/// ([`rights::for_people`]); it may not exist.
pub fn directory() -> PathBuf {
    let uid = if rights::policy().is_some() { rights::owner() } else { geteuid().as_raw() };
    directory_of(runtime_of(uid), uid)
}

/// The directories to search for bridges: this user's, and for root under sudo first the caller's.
pub fn directories() -> Vec<PathBuf> {
    let mut found = vec![directory_of(runtime_of(rights::owner()), rights::owner()), directory()];
    found.dedup();
    found
}

/// The run-time directory of a user, from the environment if that has it. sudo(8) takes it out.
fn runtime_of(uid: u32) -> Option<OsString> {
    let theirs = || {
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        let is_theirs = uid != geteuid().as_raw() && usual.metadata().is_ok_and(|found| found.uid() == uid);
        is_theirs.then_some(usual.into_os_string())
    };
    std::env::var_os("XDG_RUNTIME_DIR").or_else(theirs)
}

fn directory_of(runtime: Option<OsString>, uid: u32) -> PathBuf {
    match runtime.map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(runtime) => runtime.join("zbridge"),
        None if uid == 0 => PathBuf::from("/run/zbridge"),
        None => PathBuf::from(format!("/tmp/zbridge-{uid}")),
    }
}

/// The socket of the bridge `name`. A name with a slash in it is the path of a socket.
pub fn socket_of(name: &str) -> Result<PathBuf> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let file = format!("{}{SUFFIX}", checked(name)?);
    let paths = directories().into_iter().map(|folder| folder.join(&file));
    Ok(paths.reduce(|first, other| if first.exists() { first } else { other }).unwrap_or_else(|| file.into()))
}

fn checked(name: &str) -> Result<String> {
    value::name(name).map_err(|form| Error::usage(format!("the name of a bridge, {name:?}: expected {form}")))
}

/// The sockets in the directory, sorted by name. Nobody may answer at them.
pub fn sockets() -> Vec<(String, PathBuf)> {
    let entries = directories().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_owned(), path));
    let mut found: Vec<_> = entries.filter_map(|entry| named(entry.path())).collect();
    found.sort();
    found
}

/// Sockets of bridges called `name` that other users seem to run, for root, who may name one by its path.
pub fn of_others(name: &str) -> Vec<PathBuf> {
    if !geteuid().is_root() {
        return Vec::new();
    }
    let entries = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let runtime = entries("/run/user").map(|user| user.join("zbridge"));
    let in_tmp = entries("/tmp").filter(|path| path.to_string_lossy().starts_with("/tmp/zbridge-"));
    let sockets = runtime.chain(in_tmp).map(|folder| folder.join(format!("{name}{SUFFIX}")));
    let mut found: Vec<PathBuf> = sockets.filter(|path| path.symlink_metadata().is_ok()).collect();
    found.sort();
    found
}

/// A claimed name: its socket is bound, clients may connect, and are answered once it is served.
pub struct Claim {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) listener: UnixListener,
}

impl Claim {
    /// Takes `name`; without one, the first that is free of `default`, `default-2`, `default-3` …
    ///
    /// # Errors
    /// A bridge of this name runs, or there is no place for the socket.
    pub fn new(name: Option<&str>) -> Result<Self> {
        match name {
            Some(name) => Self::take(name, 1),
            None => Self::like(DEFAULT_NAME),
        }
    }

    /// Takes the first name that is free of `name`, `name-2`, `name-3` …
    ///
    /// # Errors
    /// There is no place for the socket.
    pub fn like(name: &str) -> Result<Self> {
        Self::take(name, NAMES)
    }

    /// Takes the first that is free of `tries` names.
    fn take(name: &str, tries: usize) -> Result<Self> {
        let name = checked(name)?;
        let given = tries == 1;
        let directory = directory();
        let _lock = prepare(&directory)?;
        // Bridges bind under the lock, so a socket that refuses is stale, and not about to listen.
        sockets().iter().for_each(|(_, path)| clear_stale(path));
        for number in 1..=tries {
            let candidate = if number == 1 { name.clone() } else { value::numbered(&name, number) };
            let path = directory.join(format!("{candidate}{SUFFIX}"));
            match dial_socket(&path, SocketType::STREAM) {
                Ok((_, owner)) if given => return Err(running(&candidate, &owner)),
                Ok(_) => {}
                Err(_) => match UnixListener::bind(&path, SocketType::STREAM, &crate::config::Access::default()) {
                    Ok(listener) => return Ok(Self { name: candidate, path, listener }),
                    // The path is taken without an answer: by a bridge that hangs, or by something else.
                    Err(_) if !given && path.symlink_metadata().is_ok() => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Err(Error::new(Class::Runtime, format!("{NAMES} bridges named {name} run already"))
            .hint("give this one a --name"))
    }

    /// Answers clients until the server is dropped. `board` tells it of the programs beside the bridge.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub fn serve(self, bridge: &Bridge, board: Arc<Board>, reloader: Option<Arc<Reloader>>) -> Result<Server> {
        Server::start(self, bridge.handles(), bridge.parts(), board, reloader)
    }
}

fn running(name: &str, owner: &str) -> Error {
    Error::new(Class::Runtime, format!("a bridge named {name} runs already: {owner}")).hint(format!(
        "for a program on it: zbridge run --join {name} -- PROGRAM; for a port: zbridge port add SPEC --to {name}; for a bridge \
         beside it, another name: --name (--bridge of run and up)"
    ))
}

/// Makes the directory where there is none, and locks it.
fn prepare(directory: &Path) -> Result<OwnedFd> {
    let elsewhere = "set XDG_RUNTIME_DIR to a directory that you own";
    let fd = private(directory, "control socket", elsewhere)?;
    for _ in 0..LOCK_TRIES.0 {
        match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(fd),
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(LOCK_TRIES.1),
            Err(errno) => {
                let what = format!("control socket: {}", directory.display());
                return Err(Error::system(what, &errno.into()).hint(elsewhere));
            }
        }
    }
    Err(Error::new(Class::Runtime, format!("control socket: {} stays locked", directory.display()))
        .hint("another bridge hangs in its start: `fuser -v` on the directory names it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_the_users() {
        let of = |runtime: Option<&str>, uid| directory_of(runtime.map(OsString::from), uid).display().to_string();
        assert_eq!(of(Some("/run/user/1000"), 1000), "/run/user/1000/zbridge");
        assert_eq!(of(None, 0), "/run/zbridge");
        assert_eq!(of(None, 1000), "/tmp/zbridge-1000");
        assert_eq!(of(Some(""), 1000), "/tmp/zbridge-1000");
        assert_eq!(of(Some("run"), 0), "/run/zbridge");
    }

    #[test]
    fn names_are_names_or_paths() {
        assert!(socket_of("lab").unwrap().ends_with("zbridge/lab.sock") || socket_of("lab").unwrap().is_absolute());
        assert_eq!(socket_of("/tmp/x.sock").unwrap(), PathBuf::from("/tmp/x.sock"));
        assert!(socket_of("a b").unwrap_err().what().starts_with("the name of a bridge, \"a b\": expected 1 to 64"));
    }
}
