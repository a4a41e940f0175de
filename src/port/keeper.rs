//! The keeper's side of [`crate::rights::deed`]: does one deed after the other until its socket ends.

use super::sys;
use super::tap::Tap;
use super::unix;
use crate::config::{Access, PortKind, PortSpec};
use crate::error::{Class, Error, Result};
use crate::rights::deed::{ARGUMENT, Deed, Done, For, Keeper, Orders, Seen};
use crate::rights::packet::{Fault, receive, send};
use crate::rights::role::{BASE, FILES, NETWORK, SOCKETS};
use crate::rights::{self, Mode, Policy, Role};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode as Bits, OFlags, ResolveFlags, Uid, chownat, lstat, mknodat, openat2,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socketpair};
use rustix::thread::CapabilitySet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The capabilities that it needs for its deeds.
const RIGHTS: [CapabilitySet; 6] = [
    CapabilitySet::NET_ADMIN,
    CapabilitySet::NET_RAW,
    CapabilitySet::NET_BIND_SERVICE,
    CapabilitySet::DAC_OVERRIDE,
    CapabilitySet::CHOWN,
    CapabilitySet::FOWNER,
];

/// Done, without a result.
const WELL: Done = Done::Well(false);

/// Its system calls.
static ROLE: Role = Role::new("keeper", &[BASE, SOCKETS, NETWORK, FILES]);

/// Starts a keeper with these orders.
///
/// # Errors
/// It cannot be started.
pub fn start(orders: &Orders) -> Result<Keeper> {
    let cannot = |cause: std::io::Error| Error::system("cannot start the keeper of rights", &cause);
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(|errno| cannot(errno.into()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(ARGUMENT).arg(theirs.as_raw_fd().to_string());
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys::process::keep_open(&mut command, theirs);
    // It ends with this process, and is not waited for.
    drop(command.spawn().map_err(cannot)?);
    drop(command);
    Keeper::new(ours, orders)
}

/// Becomes the keeper if this process was started for that; gives its exit status when it is over. Must be called before
/// the process has a second thread.
pub fn take_over() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|word| word != ARGUMENT) {
        return None;
    }
    let number = args.next().and_then(|number| number.to_str()?.parse().ok());
    let Some(Ok(socket)) = number.map(super::inherited) else {
        return Some(ExitCode::from(Class::Usage.code()));
    };
    unix::binds_for_parent();
    // Signals of the terminal are for the bridge; the keeper ends with it.
    let held = sys::process::Signals::hold(&[]);
    serve(&socket);
    drop(held);
    Some(ExitCode::SUCCESS)
}

fn serve(socket: &OwnedFd) {
    let Ok(Some((orders, _))) = receive::<Orders>(socket) else { return };
    let mode = if orders.log { Mode::Log } else { Mode::On };
    let keep = RIGHTS.into_iter().fold(CapabilitySet::empty(), |all, right| all | right);
    let mut places = orders.places.clone();
    places.push("/dev/net".into());
    sys::trap::arm();
    rights::restrict(Policy { mode, user: None, keep, places, keeper: None, programs: false }, &ROLE);
    while let Ok(Some((deed, fds))) = receive::<Deed>(socket) {
        let (done, fd) = match perform(&deed, fds.into_iter().next(), &orders) {
            Ok(answer) => answer,
            Err(refused) => (refused, None),
        };
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        if send(socket, &done, &fds).is_err() {
            return;
        }
    }
}

impl From<Errno> for Done {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno.raw_os_error())
    }
}

/// Performs a deed. Returns the answer, and the descriptor that was asked for.
fn perform(deed: &Deed, fd: Option<OwnedFd>, orders: &Orders) -> Result<(Done, Option<OwnedFd>), Done> {
    let fd = || fd.as_ref().ok_or(Errno::BADF);
    let opened = match deed {
        Deed::Bind(path, kind, to) => Some(bind_path(allowed(path, orders)?, *kind, to, orders)?),
        Deed::Give(path, to) => {
            give_away(path, to, orders)?;
            None
        }
        Deed::Create(path) => {
            let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::open(allowed(path, orders)?, flags, Bits::RUSR | Bits::WUSR)?;
            give(path, orders)?;
            Some(file)
        }
        Deed::Rename(from, to) => {
            if from.as_os_str().as_encoded_bytes().strip_suffix(b".new") != Some(to.as_os_str().as_encoded_bytes()) {
                return Err(Errno::PERM.into());
            }
            rustix::fs::rename(allowed(from, orders)?, allowed(to, orders)?)?;
            None
        }
        Deed::BindTo(addr) => {
            bind(fd()?, addr)?;
            None
        }
        Deed::Connect(path) => {
            connect(fd()?, &SocketAddrUnix::new(allowed(path, orders)?)?)?;
            None
        }
        Deed::Open(path, flags) => {
            let making = OFlags::CREATE | OFlags::TRUNC | OFlags::TMPFILE;
            let flags = (OFlags::from_bits_retain(*flags) - making) | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Some(rustix::fs::open(allowed(path, orders)?, flags, Bits::empty())?)
        }
        Deed::OpenBelow(path) => Some(open_below(fd()?, path, orders)?),
        Deed::Fifo(path, mode) => {
            mknodat(CWD, allowed(path, orders)?, FileType::Fifo, Bits::from_raw_mode(mode & 0o777), 0)?;
            give(path, orders)?;
            None
        }
        Deed::Link(target, path) => {
            rustix::fs::symlink(target, allowed(path, orders)?)?;
            give(path, orders)?;
            None
        }
        Deed::Remove(path) => {
            remove(allowed(path, orders)?)?;
            None
        }
        Deed::Look(path) => return Ok((Done::Seen(Seen::at(allowed(path, orders)?)?), None)),
        Deed::Port(spec) => {
            let (made, fd) = open_port(spec).map_err(|error| failed(&error))?;
            return Ok((Done::Well(made), Some(fd)));
        }
    };
    Ok((WELL, opened))
}

/// Binds a socket to `path`, which belongs to the user of the process unless others are named.
fn bind_path(path: &Path, kind: u32, to: &For, orders: &Orders) -> Result<OwnedFd, Done> {
    let kind = SocketType::from_raw(kind);
    let (fd, made) = unix::bind_here(path, kind, &access(to)).map_err(|error| failed(&error))?;
    made.leave();
    if to.1.is_none() {
        let (user, group) = (Uid::from_raw(orders.owner.0), Gid::from_raw(orders.owner.1));
        let group = to.2.is_none().then_some(group);
        chownat(CWD, path, Some(user), group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(fd)
}

/// Sets owner, group and mode of a socket, a FIFO or a pseudo-terminal.
fn give_away(path: &Path, to: &For, orders: &Orders) -> Result<(), Done> {
    let terminal = path.starts_with("/dev/pts");
    let path = if terminal { path } else { allowed(path, orders)? };
    let found = FileType::from_raw_mode(lstat(path)?.st_mode);
    if !(terminal || matches!(found, FileType::Socket | FileType::Fifo)) {
        return Err(Errno::PERM.into());
    }
    super::access::give(path, &access(to)).map_err(|error| failed(&error))
}

/// Opens a file for reading, in a folder that is one of the allowed places.
fn open_below(folder: &OwnedFd, path: &str, orders: &Orders) -> Result<OwnedFd, Errno> {
    let place = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).map_err(|_| Errno::BADF)?;
    allowed(&place.join("file"), orders)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(folder, path, flags, Bits::empty(), resolve)
}

/// Removes what a port had made: a socket, a FIFO or a link.
fn remove(path: &Path) -> Result<(), Errno> {
    let found = FileType::from_raw_mode(lstat(path)?.st_mode);
    if !matches!(found, FileType::Socket | FileType::Fifo | FileType::Symlink) {
        return Err(Errno::PERM);
    }
    rustix::fs::unlink(path)
}

fn failed(error: &Error) -> Done {
    Done::Failed(Fault::new(error, 0))
}

fn access((mode, user, group): &For) -> Access {
    Access { mode: *mode, user: user.clone(), group: group.clone() }
}

/// `path`, if it is in one of the allowed places. Landlock, if there is one, enforces them as well, but not for
/// connect(2).
fn allowed<'a>(path: &'a Path, orders: &Orders) -> Result<&'a Path, Errno> {
    rights::is_in(path, &orders.places).then_some(path).ok_or(Errno::ACCESS)
}

fn give(path: &Path, orders: &Orders) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(orders.owner.0), Gid::from_raw(orders.owner.1));
    chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens a port. Returns whether its interface was created, too.
fn open_port(spec: &str) -> Result<(bool, OwnedFd)> {
    let spec = PortSpec::parse(spec)?;
    if let PortKind::Tap(tap) = &spec.kind
        && tap.fd.is_none()
    {
        let tap = Tap::open(tap, spec.mtu)?;
        return Ok((tap.created(), tap.into()));
    }
    let PortKind::Packet(packet) = &spec.kind else {
        return Err(Error::usage("the keeper opens TAPs and packet sockets only"));
    };
    super::open::open_interface(packet).map(|port| (false, port.into()))
}
