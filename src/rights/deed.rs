//! The keeper: a process of root's that repeats privileged steps for ports, and the messages to it.
//!
//! Theory of operation. zbridge that was started by root goes on as another user, without any capability. A TAP that was
//! deleted has to be made again, a path in a folder of root's to be bound or removed, a low port to be listened on. The
//! keeper is zbridge itself, started once more before anything was read from anybody; it has no other thread, no
//! descriptor but its socket, and ends when that does. It does one [`Deed`] at a time, in the folders of the policy only,
//! and logs nothing: who asks does, at the level debug.
//!
//! The functions here are called where the system has refused to do the same directly, with EACCES or EPERM; so where
//! there is no keeper, or no need of it, nothing is asked.

use super::packet::{self, Fault};
use crate::error::{Class, Error, Result};
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The word by which the process knows itself.
pub const ARGUMENT: &str = "__keeper";

/// Permission bits, user and group, as far as they are not the usual ones.
pub type For = (Option<u32>, Option<String>, Option<String>);

/// The keeper's orders, its first message.
#[derive(Serialize, Deserialize, Debug)]
pub struct Orders {
    /// Folders in which it does anything.
    pub places: Vec<PathBuf>,
    /// The owner of files that it makes: user and group.
    pub owner: (u32, u32),
    /// No filter of system calls.
    pub log: bool,
}

/// A deed.
#[derive(Serialize, Deserialize, Debug)]
pub enum Deed {
    /// Binds a socket of this type (socket(2)) to a path, and listens if it can, for whom it is.
    Bind(PathBuf, u32, For),
    /// Gives a socket, FIFO or terminal to whom it is for.
    Give(PathBuf, For),
    /// Makes an empty file, and replaces an existing one.
    Create(PathBuf),
    /// Renames a new file over the one that it replaces: `NAME.new` to `NAME`.
    Rename(PathBuf, PathBuf),
    /// Binds the socket beside this to an address of the machine.
    BindTo(SocketAddr),
    /// Connects the socket beside this to a path.
    Connect(PathBuf),
    /// Opens a file that is there: with these flags of open(2).
    Open(PathBuf, u32),
    /// Opens a file below the folder beside this, to read.
    OpenBelow(String),
    /// Makes a FIFO with permission bits.
    Fifo(PathBuf, u32),
    /// Makes a symbolic link: its target, and its path.
    Link(PathBuf, PathBuf),
    /// Removes a socket, FIFO or symbolic link.
    Remove(PathBuf),
    /// Stats a path, links not followed.
    Look(PathBuf),
    /// Opens the port of this specification, a TAP or a packet socket.
    Port(String),
}

/// The outcome. The message carries a descriptor, if one was asked for.
#[derive(Serialize, Deserialize, Debug)]
pub enum Done {
    /// All well. Of a TAP: whether it was made.
    Well(bool),
    /// The file that is there.
    Seen(Seen),
    /// The system's refusal.
    Refused(i32),
    /// A port's, in words.
    Failed(Fault),
}

/// The file at a path.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Seen {
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// Its type and permission bits (`st_mode`).
    pub mode: u32,
    /// Where it leads, if it is a symbolic link.
    pub target: Option<PathBuf>,
}

impl Seen {
    /// Looks at `path` with the rights of the calling thread.
    ///
    /// # Errors
    /// The system's.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        let found = rustix::fs::lstat(path)?;
        let (device, inode, mode) = (found.st_dev, found.st_ino, found.st_mode);
        Ok(Self { device, inode, mode, target: std::fs::read_link(path).ok() })
    }
}

/// The way to the keeper.
#[derive(Debug)]
pub struct Keeper(Mutex<OwnedFd>);

impl Keeper {
    /// Connects to the keeper at the other end of `socket`, and sends its orders first.
    ///
    /// # Errors
    /// It is gone.
    pub fn new(socket: OwnedFd, orders: &Orders) -> Result<Self> {
        packet::send(&socket, orders, &[])?;
        Ok(Self(Mutex::new(socket)))
    }

    /// Has it do `deed`.
    fn ask(&self, deed: &Deed, fd: Option<BorrowedFd<'_>>) -> (Done, Option<OwnedFd>) {
        // What is tried again and again until a peer is there is for those who want to hear everything.
        let again = matches!(deed, Deed::Open(..) | Deed::OpenBelow(_) | Deed::Connect(_) | Deed::Look(_));
        let level = if again { log::Level::Trace } else { log::Level::Debug };
        log::log!(level, "the keeper is asked: {deed:?}");
        let socket = self.0.lock();
        let answered =
            packet::send(&*socket, deed, fd.as_slice()).ok().and_then(|()| packet::receive(&*socket).ok()?);
        let Some((done, fds)) = answered else { return (Done::Refused(Errno::PERM.raw_os_error()), None) };
        (done, fds.into_iter().next())
    }

    fn done(&self, deed: &Deed, fd: Option<BorrowedFd<'_>>) -> Result<Option<OwnedFd>, Errno> {
        match self.ask(deed, fd) {
            (Done::Well(_), fd) => Ok(fd),
            (Done::Refused(errno), _) => Err(Errno::from_raw_os_error(errno)),
            (Done::Failed(_) | Done::Seen(_), _) => Err(Errno::PERM),
        }
    }
}

/// The keeper, for a thread that has given up its rights.
fn keeper() -> Option<&'static Keeper> {
    super::current()?;
    super::policy()?.keeper.as_ref()
}

/// The keeper, if `errno` is for want of a right.
fn after(errno: Errno) -> Result<&'static Keeper, Errno> {
    match errno {
        Errno::ACCESS | Errno::PERM => keeper().ok_or(errno),
        _ => Err(errno),
    }
}

/// Absolute, as the keeper need not be where this process is.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The keeper's outcome, if this process was refused for want of a right; otherwise the refusal stands.
fn instead(error: Error, deed: impl FnOnce() -> Deed) -> Result<Option<OwnedFd>> {
    let Some(keeper) = keeper().filter(|_| error.class() == Class::Permission) else { return Err(error) };
    match keeper.ask(&deed(), None) {
        (Done::Well(_), fd) => Ok(fd),
        (Done::Failed(fault), _) => Err(fault.error()),
        _ => Err(error),
    }
}

/// After binding a socket of type `kind` to `path` failed: has it bound, if that was for want of a right.
///
/// # Errors
/// The keeper's, or the error stands.
pub fn bind(path: &Path, kind: u32, to: For, error: Error) -> Result<OwnedFd> {
    let gone = error.clone();
    instead(error, || Deed::Bind(whole(path), kind, to))?.ok_or(gone)
}

/// After giving something away failed: has it given, if that was for want of a right.
///
/// # Errors
/// The keeper's, or the error stands.
pub fn give(path: &Path, to: For, error: Error) -> Result<()> {
    instead(error, || Deed::Give(whole(path), to)).map(drop)
}

/// Makes an empty file at `path`, and replaces an existing one.
///
/// # Errors
/// The system's.
pub fn create(path: &Path) -> std::io::Result<std::fs::File> {
    let cause = match std::fs::File::create(path) {
        Err(cause) => cause,
        made => return made,
    };
    let errno = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
    let Ok(keeper) = after(errno) else { return Err(cause) };
    Ok(keeper.done(&Deed::Create(whole(path)), None)?.ok_or(cause)?.into())
}

/// Gives the file `from`, which is called as `to` with `.new` behind, that name.
///
/// # Errors
/// The system's.
pub fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    let Err(cause) = std::fs::rename(from, to) else { return Ok(()) };
    let errno = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
    let Ok(keeper) = after(errno) else { return Err(cause) };
    Ok(keeper.done(&Deed::Rename(whole(from), whole(to)), None).map(drop)?)
}

/// After binding `fd` to `addr` was refused: has it done.
///
/// # Errors
/// The refusal stands.
pub fn bind_to(fd: impl AsFd, addr: SocketAddr, errno: Errno) -> Result<(), Errno> {
    after(errno)?.done(&Deed::BindTo(addr), Some(fd.as_fd())).map(drop)
}

/// After connecting `fd` to `path` was refused: has it done.
///
/// # Errors
/// The refusal stands.
pub fn connect(fd: impl AsFd, path: &Path, errno: Errno) -> Result<(), Errno> {
    after(errno)?.done(&Deed::Connect(whole(path)), Some(fd.as_fd())).map(drop)
}

/// After opening `path` was refused: has it done, with `flags` of open(2) that make nothing.
///
/// # Errors
/// The refusal stands.
pub fn open(path: &Path, flags: u32, errno: Errno) -> Result<OwnedFd, Errno> {
    after(errno)?.done(&Deed::Open(whole(path), flags), None)?.ok_or(errno)
}

/// Opens the file at `path`, which is there, with `flags` of open(2).
///
/// # Errors
/// The system's.
pub fn file(path: &Path, flags: OFlags) -> std::io::Result<File> {
    let flags = flags | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty()).or_else(|errno| open(path, flags.bits(), errno));
    Ok(File::from(opened?))
}

/// After opening `path` below `folder` to read was refused: has it done, where no link leads out.
///
/// # Errors
/// The refusal stands.
pub fn open_below(folder: impl AsFd, path: &str, errno: Errno) -> Result<OwnedFd, Errno> {
    after(errno)?.done(&Deed::OpenBelow(path.to_owned()), Some(folder.as_fd()))?.ok_or(errno)
}

/// After making a FIFO was refused: has it made.
///
/// # Errors
/// The refusal stands.
pub fn fifo(path: &Path, mode: u32, errno: Errno) -> Result<(), Errno> {
    after(errno)?.done(&Deed::Fifo(whole(path), mode), None).map(drop)
}

/// Makes a symbolic link at `path`.
///
/// # Errors
/// The system's.
pub fn link(target: &Path, path: &Path) -> std::io::Result<()> {
    let Err(cause) = std::os::unix::fs::symlink(target, path) else { return Ok(()) };
    let errno = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
    let Ok(keeper) = after(errno) else { return Err(cause) };
    Ok(keeper.done(&Deed::Link(target.to_owned(), whole(path)), None).map(drop)?)
}

/// Removes the socket, FIFO or symbolic link at `path`.
///
/// # Errors
/// The system's.
pub fn remove(path: &Path) -> std::io::Result<()> {
    let Err(cause) = std::fs::remove_file(path) else { return Ok(()) };
    let errno = Errno::from_io_error(&cause).unwrap_or(Errno::IO);
    let Ok(keeper) = after(errno) else { return Err(cause) };
    Ok(keeper.done(&Deed::Remove(whole(path)), None).map(drop)?)
}

/// The file at `path`, links not followed.
///
/// # Errors
/// The system's.
pub fn look(path: &Path) -> Result<Seen, Errno> {
    let errno = match Seen::at(path) {
        Err(errno) => errno,
        seen => return seen,
    };
    match after(errno)?.ask(&Deed::Look(whole(path)), None) {
        (Done::Seen(seen), _) => Ok(seen),
        (Done::Refused(errno), _) => Err(Errno::from_raw_os_error(errno)),
        _ => Err(errno),
    }
}

/// Has the keeper open a TAP or a packet socket of this specification, and tells whether its interface was made. `None`:
/// there is no keeper, or this thread has its rights.
pub fn port(spec: impl FnOnce() -> String) -> Option<Result<(OwnedFd, bool)>> {
    let keeper = keeper()?;
    Some(match keeper.ask(&Deed::Port(spec()), None) {
        (Done::Well(made), Some(fd)) => Ok((fd, made)),
        (Done::Failed(fault), _) => Err(fault.error()),
        (_, _) => Err(Error::new(Class::Runtime, "the keeper is gone")),
    })
}
