//! UNIX sockets: binding a path without harm to its owner, listening on it, dialling it.
//!
//! A path that exists is not simply unlinked. It is dialled first: who answers is its owner and is left alone, named by
//! process id; only a socket that refuses is stale, left behind by a process that was killed, and replaced. A path
//! that is no socket is never touched. On the way out a path is unlinked only if it still is the socket that was
//! bound here.
//!
//! A socket has its permission bits before it has a name, so nobody slips in between.

use super::Edge;
use super::datagram::{Sequenced, UnixGram};
use super::owner::{UNKNOWN, of_descriptor, process};
use super::stream::Stream;
use crate::error::{Class, Error, Result};
use crate::rights::{self, deed};
use rustix::fs::{FileType, Mode, fchmod, fstat, major, minor};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, getpeername, listen,
    socket_with, sockopt,
};
use std::fmt::Display;
use std::fs::Permissions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);
const BACKLOG: i32 = 128;

fn address(path: &Path) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(|errno| failed("use", path, errno))
}

/// Connects a socket to a path.
fn reach(fd: &OwnedFd, path: &Path) -> Result<(), Errno> {
    connect(fd, &SocketAddrUnix::new(path)?).or_else(|errno| deed::connect(fd, path, errno))
}

fn failed(verb: &str, path: &Path, errno: Errno) -> Error {
    let error = Error::system(format_args!("cannot {verb} {}", path.display()), &errno.into());
    match errno {
        Errno::NOENT => error.hint("the directory has to exist, and a peer that is dialled has to listen"),
        Errno::ACCESS | Errno::PERM if !rights::is_within(path) => error.hint(rights::NOT_A_PLACE),
        Errno::ACCESS | Errno::PERM => error.hint("choose a directory that you own, such as $XDG_RUNTIME_DIR or /tmp"),
        Errno::NAMETOOLONG | Errno::INVAL => error.hint("a socket's path has at most 107 bytes"),
        _ => error,
    }
}

/// A path that this process has bound; unlinked at the end, if it still is the same socket.
struct Bound {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if deed::look(&self.path).is_ok_and(|now| (now.device, now.inode) == (self.device, self.inode)) {
            // When this fails, the path is left as a stale socket, which the next owner replaces.
            let _ = deed::remove(&self.path);
        }
    }
}

fn bind_path(path: &Path, kind: SocketType, mode: u32) -> Result<(OwnedFd, Bound)> {
    let cannot = |errno| failed("bind", path, errno);
    let fd = socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(cannot)?;
    fchmod(&fd, Mode::from_raw_mode(mode)).map_err(cannot)?;
    let address = address(path)?;
    let bind = || bind(&fd, &address).or_else(|errno| deed::bind(&fd, path, mode, errno));
    match bind() {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path, kind)?;
            bind().map_err(cannot)?;
        }
        done => done.map_err(cannot)?,
    }
    // The umask may have taken bits away. Whom the folder is closed to has had it bound, with them.
    match std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
            return Err(Error::system(path.display(), &error));
        }
        _ => {}
    }
    let made = deed::look(path).map_err(cannot)?;
    Ok((fd, Bound { path: path.to_owned(), device: made.device, inode: made.inode }))
}

/// Unlinks a path that nobody answers at.
fn remove_stale(path: &Path, kind: SocketType) -> Result<()> {
    let taken = |why: &dyn Display| Error::new(Class::Runtime, format!("cannot bind {}: {why}", path.display()));
    let there = deed::look(path).map_err(|errno| failed("look at", path, errno))?;
    if FileType::from_raw_mode(there.mode) != FileType::Socket {
        return Err(taken(&"it exists and is no socket").hint("choose another path, or move the file away"));
    }
    let probe = socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(|errno| failed("probe", path, errno))?;
    match reach(&probe, path) {
        Err(Errno::CONNREFUSED) => {
            log::info!("{}: replacing a stale socket", path.display());
            deed::remove(path).map_err(|error| Error::system(format_args!("cannot unlink {}", path.display()), &error))
        }
        Ok(()) if kind == SocketType::DGRAM => {
            Err(taken(&format_args!("{} is bound to it", holder(path))).hint(USE_ANOTHER))
        }
        Ok(()) => Err(taken(&format_args!("{} listens on it", peer(&probe))).hint(USE_ANOTHER)),
        Err(errno) => Err(taken(&format_args!("it is in use ({})", std::io::Error::from(errno))).hint(USE_ANOTHER)),
    }
}

/// Unlinks the stream socket at `path` if nobody answers there: it was left behind by a process that was killed.
pub fn clear_stale(path: &Path) {
    let refuses = || {
        let there = deed::look(path).ok()?;
        let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None).ok()?;
        let refused = reach(&probe, path) == Err(Errno::CONNREFUSED);
        (refused && FileType::from_raw_mode(there.mode) == FileType::Socket).then_some(())
    };
    if refuses().is_some() {
        // One that cannot be removed is in nobody's way.
        let _ = deed::remove(path);
    }
}

/// What to do about a path that another process has.
pub const USE_ANOTHER: &str = "stop that process, or choose another path";

/// The process at the other end, as a person knows it: `pid 42 (qemu-system-x86)`.
pub fn peer(fd: impl AsFd) -> String {
    let credentials = sockopt::socket_peercred(fd);
    credentials.map_or_else(|_| UNKNOWN.into(), |peer| process(&peer.pid.as_raw_nonzero().to_string()))
}

/// The process that holds the lock on a file (flock(2)), from the kernel's list of locks: in /proc/locks the kind is the
/// second word, the process the fifth, device and inode the sixth, as `08:01:4711` (proc(5)).
pub fn lock_holder(file: impl AsFd) -> String {
    let Ok(file) = fstat(file) else { return UNKNOWN.into() };
    let whole = format!("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let held = |wanted: &dyn Fn(&str) -> bool| {
        let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.filter(|words| words.get(1) == Some(&"FLOCK")).find_map(|words| {
            let (pid, file) = (*words.get(4)?, *words.get(5)?);
            (wanted(file) && pid.parse::<u32>().is_ok_and(|pid| pid > 0)).then(|| process(pid))
        })
    };
    // Some file systems (overlayfs, btrfs) show another device to stat(2).
    let inode = format!(":{}", file.st_ino);
    held(&|file| file == whole).or_else(|| held(&|file| file.ends_with(&inode))).unwrap_or_else(|| UNKNOWN.into())
}

/// The process that is bound to a path. A datagram socket does not tell, so the kernel's list of sockets is searched
/// for the path (/proc/net/unix: the inode is the seventh word, the path the eighth), and all descriptors for the inode.
fn holder(path: &Path) -> String {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let of_path = |line: &&str| line.split_whitespace().nth(7).is_some_and(|bound| Path::new(bound) == path);
    let inode = sockets.lines().find(of_path).and_then(|line| line.split_whitespace().nth(6));
    let Some(socket) = inode.map(|inode| PathBuf::from(format!("socket:[{inode}]"))) else {
        return UNKNOWN.into();
    };
    of_descriptor(|fd| std::fs::read_link(fd).is_ok_and(|target| target == socket))
}

/// A path that clients connect to.
pub struct UnixListener {
    fd: OwnedFd,
    kind: SocketType,
    _bound: Bound,
}

impl UnixListener {
    /// Binds `path` with permission bits `mode` and listens. `kind` is [`SocketType::STREAM`] or
    /// [`SocketType::SEQPACKET`].
    ///
    /// # Errors
    /// The path is somebody else's, or cannot be bound.
    pub fn bind(path: &Path, kind: SocketType, mode: u32) -> Result<Self> {
        let (fd, bound) = bind_path(path, kind, mode)?;
        listen(&fd, BACKLOG).map_err(|errno| failed("listen on", path, errno))?;
        Ok(Self { fd, kind, _bound: bound })
    }

    /// The next client and its name, if one is waiting.
    ///
    /// # Errors
    /// The system call's: ECONNABORTED concerns one client, EMFILE and its like all of them for a while.
    pub fn accept(&self) -> Result<Option<(Edge, String)>, Errno> {
        Ok(self.accept_socket()?.map(|(fd, name)| (edge(fd, self.kind), name)))
    }

    /// The same, for a caller with a use of its own for the socket.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_socket(&self) -> Result<Option<(OwnedFd, String)>, Errno> {
        match accept_with(&self.fd, FLAGS) {
            Ok(fd) => {
                let name = peer(&fd);
                Ok(Some((fd, name)))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn edge(fd: OwnedFd, kind: SocketType) -> Edge {
    if kind == SocketType::SEQPACKET { Edge::Sequenced(Sequenced::new(fd)) } else { Edge::Stream(Stream::new(fd)) }
}

/// Connects to a listening `path`. Returns the edge and the peer's name.
///
/// # Errors
/// Nobody listens there, or it is not allowed.
pub fn dial(path: &Path, kind: SocketType) -> Result<(Edge, String)> {
    dial_socket(path, kind).map(|(fd, name)| (edge(fd, kind), name))
}

/// The same, for a caller with a use of its own for the socket.
///
/// # Errors
/// As [`dial`].
pub fn dial_socket(path: &Path, kind: SocketType) -> Result<(OwnedFd, String)> {
    let cannot = |errno| failed("connect to", path, errno);
    let fd = socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(cannot)?;
    reach(&fd, path).map_err(cannot)?;
    let name = peer(&fd);
    Ok((fd, name))
}

/// Makes a port of a stream socket that somebody else connected.
///
/// # Errors
/// It is no UNIX stream socket, or has no peer.
pub fn adopt(fd: OwnedFd) -> Result<Edge> {
    let of_kind = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX)
        && sockopt::socket_type(&fd) == Ok(SocketType::STREAM)
        && getpeername(&fd).is_ok();
    if !of_kind {
        return Err(Error::usage("the descriptor is no connected UNIX stream socket"));
    }
    ioctl_fionbio(&fd, true).map_err(|errno| Error::system("the descriptor", &errno.into()))?;
    Ok(edge(fd, SocketType::STREAM))
}

/// A bound datagram socket with its path.
pub struct BoundGram {
    /// The socket.
    pub gram: UnixGram,
    _bound: Bound,
}

/// Binds `path` for datagrams to and from `peer`.
///
/// # Errors
/// As in [`UnixListener::bind`].
pub fn gram(path: &Path, peer: Option<&Path>, mode: u32) -> Result<BoundGram> {
    let peer = peer.map(address).transpose()?;
    let (fd, bound) = bind_path(path, SocketType::DGRAM, mode)?;
    let lookout = socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None)
        .map_err(|errno| failed("watch the peer of", path, errno))?;
    Ok(BoundGram { gram: UnixGram::new(fd, lookout, peer), _bound: bound })
}
