//! UNIX sockets: binding a path without harm to its owner, listening on it, dialling it.
//!
//! A path that exists is not simply unlinked. It is dialled first: a process that answers is its owner and is left
//! alone, named by process id; only a socket that refuses is stale, left behind by a process that was killed, and is
//! replaced. A path that is no socket is never touched. On the way out a path is unlinked only if it still is the
//! socket that was bound here.
//!
//! Theory of operation. A listener is bound beside its path, as `PATH.` and eight digits, gets its permission bits,
//! listens, and only then is renamed to its path (renameat2(2)). So a client that waits for the path always finds a
//! listening socket, and nobody slips in between. A stale socket is exchanged for the new one atomically, and then
//! checked: if it is not the one that had refused, another process was faster, and gets its place back. `ss -x` and
//! getpeername(2) go on showing the first name. A path that leaves no room for it, or a file system that cannot rename
//! so, has the name a moment before it listens.
//!
//! A datagram socket is bound to its path itself: its peers answer to that name, and it takes frames from the first
//! moment.
//!
//! In another user's folder the file at a path may be replaced at any moment. So the permission bits are changed by
//! descriptor (`O_PATH`, no link followed), once that was found to be a socket.

use super::Edge;
use super::access;
use super::datagram::{Sequenced, UnixGram};
use super::made::{self, Made};
use super::owner::{UNKNOWN, holder, peer};
use super::stream::Stream;
use super::sys::peer_credentials;
use crate::config::{Access, value};
use crate::error::{Class, Error, Result};
use crate::rights::{self, deed};
use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, chmod, fchmod, fstat, lstat, open, renameat_with};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, getpeername, listen,
    socket_with, sockopt,
};
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
        Errno::ACCESS | Errno::PERM if !rights::is_within(path) => error.hint(rights::NOT_A_PLACE),
        Errno::ACCESS | Errno::PERM => error.hint("choose a directory that you own, such as $XDG_RUNTIME_DIR or /tmp"),
        Errno::NAMETOOLONG | Errno::INVAL => error.hint("a socket's path has at most 107 bytes"),
        _ => error,
    }
}

/// The identity of a socket file: device and inode.
type Inode = (u64, u64);

fn inode(path: &Path) -> Option<Inode> {
    lstat(path).ok().map(|now| (now.st_dev, now.st_ino))
}

/// Binds a socket to `path`, which must be free, with permission bits `mode`.
fn bind_free(path: &Path, kind: SocketType, mode: u32) -> Result<(OwnedFd, Made), Errno> {
    let fd = socket_with(AddressFamily::UNIX, kind, FLAGS, None)?;
    fchmod(&fd, Mode::from_raw_mode(mode))?;
    let mut held = made::hold();
    bind(&fd, &SocketAddrUnix::new(path)?)?;
    let bound = held.note(path)?;
    drop(held);
    let there = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&there)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        bound.leave();
        return Err(Errno::STALE);
    }
    // The umask may have taken bits away.
    if found.st_mode & 0o7777 != mode {
        chmod(format!("/proc/self/fd/{}", there.as_raw_fd()), Mode::from_raw_mode(mode))?;
    }
    Ok((fd, bound))
}

/// Names for a listener before it has its own: as many are tried.
const BESIDE: usize = 8;

/// The path of a listener that does not listen yet, if there is room for one.
fn beside(path: &Path) -> Option<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:08x}", RandomState::new().hash_one(std::process::id()) as u32));
    (name.len() <= value::SUN_PATH_BYTES).then(|| PathBuf::from(name))
}

/// A socket at `path` that listens, or takes datagrams, bound by the keeper of rights where this thread may not.
fn bind_kind(path: &Path, kind: SocketType, access: &Access) -> Result<(OwnedFd, Made)> {
    bind_here(path, kind, access).or_else(|error| {
        let (mode, user, group) = (access.mode, access.user.clone(), access.group.clone());
        let mut held = made::hold();
        let fd = deed::bind(path, kind.as_raw(), (mode, user, group), error)?;
        let made = held.note(path).map_err(|errno| failed("look at", path, errno))?;
        Ok((fd, made))
    })
}

/// The same with this thread's own rights.
///
/// # Errors
/// As [`UnixListener::bind`].
pub(super) fn bind_here(path: &Path, kind: SocketType, access: &Access) -> Result<(OwnedFd, Made)> {
    if kind == SocketType::DGRAM { bind_path(path, kind, access) } else { bind_listener(path, kind, access) }
}

/// A socket that listens at `path`.
fn bind_listener(path: &Path, kind: SocketType, access: &Access) -> Result<(OwnedFd, Made)> {
    let cannot = |errno| failed("bind", path, errno);
    for _ in 0..BESIDE {
        let Some(first) = beside(path) else { break };
        let (fd, bound) = match bind_free(&first, kind, access.mode()) {
            Err(Errno::ADDRINUSE) => continue,
            done => done.map_err(cannot)?,
        };
        give_away(&first, access)?;
        listen(&fd, BACKLOG).map_err(|errno| failed("listen on", path, errno))?;
        match renameat_with(CWD, &first, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => bound.moved_to(path),
            Err(Errno::EXIST) => take_place(&bound, &first, path, kind)?,
            Err(Errno::INVAL | Errno::NOSYS) => break,
            Err(errno) => return Err(cannot(errno)),
        }
        return Ok((fd, bound));
    }
    let (fd, bound) = bind_path(path, kind, access)?;
    listen(&fd, BACKLOG).map_err(|errno| failed("listen on", path, errno))?;
    Ok((fd, bound))
}

/// Puts a socket that listens in the place of a stale one.
fn take_place(bound: &Made, first: &Path, path: &Path, kind: SocketType) -> Result<()> {
    let cannot = |errno| failed("bind", path, errno);
    let stale = stale(path, kind)?;
    let exchange = |one: &Path, other: &Path| renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    exchange(first, path).map_err(cannot)?;
    bound.moved_to(path);
    if inode(first) != Some(stale) {
        let back = exchange(first, path);
        bound.moved_to(first);
        return Err(back.map_or_else(cannot, |()| taken(path, "another process was faster").hint(USE_ANOTHER)));
    }
    log::info!("{}: replaced a stale socket", path.display());
    std::fs::remove_file(first)
        .map_err(|error| Error::system(format_args!("cannot unlink {}", first.display()), &error))
}

/// A socket that is bound to `path` itself.
fn bind_path(path: &Path, kind: SocketType, access: &Access) -> Result<(OwnedFd, Made)> {
    let cannot = |errno| failed("bind", path, errno);
    let (fd, made) = match bind_free(path, kind, access.mode()) {
        Err(Errno::ADDRINUSE) => {
            let stale = stale(path, kind)?;
            remove_stale(path, stale)?;
            bind_free(path, kind, access.mode()).map_err(cannot)
        }
        done => done.map_err(cannot),
    }?;
    give_away(path, access)?;
    Ok((fd, made))
}

/// Sets the owner and group of a socket that was just bound.
fn give_away(path: &Path, access: &Access) -> Result<()> {
    match access.user.is_some() || access.group.is_some() {
        true => access::give(path, &Access { mode: Some(access.mode()), ..access.clone() }),
        false => Ok(()),
    }
}

/// Unlinks a socket that has refused. It is renamed first, and gets its name back if it is another one by then.
fn remove_stale(path: &Path, stale: Inode) -> Result<()> {
    let cannot = |errno| failed("unlink", path, errno);
    let gone = |first: &Path| std::fs::remove_file(first).map_err(|error| Error::system(first.display(), &error));
    let Some(aside) = beside(path) else {
        return if inode(path) == Some(stale) { gone(path) } else { Ok(()) };
    };
    renameat_with(CWD, path, CWD, &aside, RenameFlags::empty()).map_err(cannot)?;
    if inode(&aside) == Some(stale) {
        log::info!("{}: replacing a stale socket", path.display());
        return gone(&aside);
    }
    renameat_with(CWD, &aside, CWD, path, RenameFlags::empty()).map_err(cannot)?;
    Err(taken(path, "another process was faster").hint(USE_ANOTHER))
}

fn taken(path: &Path, why: impl Display) -> Error {
    Error::new(Class::Runtime, format!("cannot bind {}: {why}", path.display())).because(Errno::ADDRINUSE)
}

/// Makes sure that nobody answers at a path. Returns the identity of the stale socket.
fn stale(path: &Path, kind: SocketType) -> Result<Inode> {
    let taken = |why: &dyn Display| taken(path, why);
    let there = lstat(path).map_err(|errno| failed("look at", path, errno))?;
    if FileType::from_raw_mode(there.st_mode) != FileType::Socket {
        return Err(taken(&"it exists and is no socket").hint("choose another path, or move the file away"));
    }
    let probe = socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(|errno| failed("probe", path, errno))?;
    match connect(&probe, &address(path)?) {
        Err(Errno::CONNREFUSED) => Ok((there.st_dev, there.st_ino)),
        Ok(()) if kind == SocketType::DGRAM => {
            let path = path.to_owned();
            let error = taken(&format_args!("{UNKNOWN} is bound to it")).hint(USE_ANOTHER);
            Err(error.who(move || holder(&path)))
        }
        Ok(()) if is_own(&probe) => Err(taken(&"another port of the bridge listens on it").hint(OWN)),
        Ok(()) => Err(taken(&format_args!("{} listens on it", peer(&probe))).hint(USE_ANOTHER)),
        Err(errno @ (Errno::ACCESS | Errno::PERM)) if there.st_uid != rustix::process::geteuid().as_raw() => {
            let whose = format!("it is a socket of user {}, who alone may use or remove it", there.st_uid);
            let hint = "choose a path of your own, in $XDG_RUNTIME_DIR for example";
            Err(taken(&whose).hint(hint).because(errno))
        }
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
        // A stale socket that cannot be removed does no harm.
        let _ = deed::remove(path);
    }
}

/// The hint for a path of another port of this process.
const OWN: &str = "`zbridge status` shows which port it is; choose another path, or zbridge port del NAME";

/// The bridge that this process binds sockets for, where that is another process.
static BRIDGE: OnceLock<u32> = OnceLock::new();

/// Says that this process is the keeper of the rights of its parent, a bridge.
pub fn binds_for_parent() {
    // There is one parent, so it is set once.
    let _ = BRIDGE.set(std::os::unix::process::parent_id());
}

/// Whether a port of the same bridge is at the other end.
fn is_own(probe: &OwnedFd) -> bool {
    let own = BRIDGE.get().copied().unwrap_or_else(std::process::id);
    peer_credentials(probe).is_ok_and(|found| found.pid == Some(own))
}

/// The hint for a path of another process.
pub const USE_ANOTHER: &str = "stop that process, or choose another path";

/// A path that clients connect to.
pub struct UnixListener {
    fd: OwnedFd,
    kind: SocketType,
    _bound: Made,
}

impl UnixListener {
    /// Binds `path` for those of `access` and listens. `kind` is [`SocketType::STREAM`] or
    /// [`SocketType::SEQPACKET`].
    ///
    /// # Errors
    /// The path is somebody else's, or cannot be bound.
    pub fn bind(path: &Path, kind: SocketType, access: &Access) -> Result<Self> {
        let (fd, bound) = bind_kind(path, kind, access)?;
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
    _bound: Made,
}

/// Binds `path` for datagrams to and from `peer`.
///
/// # Errors
/// As in [`UnixListener::bind`].
pub fn gram(path: &Path, peer: Option<&Path>, access: &Access) -> Result<BoundGram> {
    let peer = peer.map(address).transpose()?;
    let (fd, bound) = bind_kind(path, SocketType::DGRAM, access)?;
    let lookout = socket_with(AddressFamily::UNIX, SocketType::DGRAM, FLAGS, None)
        .map_err(|errno| failed("watch the peer of", path, errno))?;
    Ok(BoundGram { gram: UnixGram::new(fd, lookout, peer), _bound: bound })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn bind(path: &Path) -> Result<UnixListener> {
        let access = Access { mode: Some(0o666), ..Access::default() };
        UnixListener::bind(path, SocketType::STREAM, &access)
    }

    #[test]
    fn whoever_finds_the_path_finds_somebody_who_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let (done, refused) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let refusal = UnixStream::connect(&path).err().and_then(|error| Errno::from_io_error(&error));
                    // A full backlog is an answer, too; a listener that goes refuses, or its path is gone.
                    refused.fetch_or(refusal == Some(Errno::CONNREFUSED), Ordering::Relaxed);
                }
            });
            for _ in 0..500 {
                let listener = bind(&path).unwrap();
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o666, "whatever the umask is");
                // Its name goes first.
                let UnixListener { fd, _bound, .. } = listener;
                drop(_bound);
                drop(fd);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(!refused.load(Ordering::Relaxed));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left beside it");
    }

    #[test]
    fn of_many_that_replace_a_stale_socket_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        for _ in 0..50 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let start = Barrier::new(4);
            let bound: Vec<UnixListener> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (start.wait(), bind(&path)).1.ok())).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(bound.len(), 1);
            let _client = UnixStream::connect(&path).unwrap();
            assert!(bound[0].accept().unwrap().is_some(), "and it is the one that has the path");
            drop(bound);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn another_that_has_come_since_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let theirs = bind(&path).unwrap();
        let before = inode(&path).unwrap();
        assert!(remove_stale(&path, (before.0, before.1 + 1)).is_err());
        assert_eq!(inode(&path), Some(before));
        drop(theirs);
        assert!(!path.exists());
    }

    #[test]
    fn who_is_bound_is_asked_when_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gram");
        let _theirs = UnixDatagram::bind(&path).unwrap();
        let error = gram(&path, None, &Access::default()).err().unwrap();
        assert!(error.asks() && error.what().ends_with("another process is bound to it"), "{error}");
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    }

    #[test]
    fn a_long_path_is_bound_too() {
        let folder = tempfile::tempdir().unwrap();
        let most = value::SUN_PATH_BYTES - folder.path().as_os_str().len() - 1;
        let path = folder.path().join("p".repeat(most));
        let _listener = bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }
}
