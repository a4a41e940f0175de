//! The two FIFOs of a QEMU `-serial pipe:PATH`: it reads `PATH.in` and writes `PATH.out`, and we the other way round.
//!
//! `PATH.out` is open for reading all the time, so that a peer that only writes never waits for us. `PATH.in` can be
//! opened for writing, without waiting, only while somebody reads it; that is how a peer is seen.
//!
//! Two that serve one pair would take each other's bytes away, so `PATH.out` is locked (flock(2)) as long as it is
//! served. The kernel lets the lock go with its process, however that ends.

use crate::config::Transport;
use crate::error::{Class, Error, Result};
use crate::port::unix::{USE_ANOTHER, lock_holder};
use crate::rights::deed;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, mknodat, open};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A FIFO and, if it was made here, its inode.
struct Fifo {
    path: PathBuf,
    made: Option<u64>,
}

/// See the module.
pub struct Fifos {
    to_peer: Fifo,
    from_peer: Fifo,
    path: PathBuf,
    /// Let go when the FIFOs that were made here are removed.
    _lock: OwnedFd,
}

/// How often the FIFOs are looked for anew that their owner removes meanwhile.
const TRIES: usize = 8;

impl Fifos {
    /// Makes the FIFOs that are not there, and opens the one from the peer.
    ///
    /// # Errors
    /// There is something else at one of the paths, it may not be opened, or another process serves them.
    pub fn open(path: &Path) -> Result<(Self, OwnedFd)> {
        let [to_peer, from_peer] = Transport::fifos(path);
        for _ in 0..TRIES {
            let (to_peer, from_peer) = (Fifo::find(to_peer.clone())?, Fifo::find(from_peer.clone())?);
            let input = open_input(&from_peer.path).map_err(|errno| cannot("open", &from_peer.path, errno))?;
            let Some(lock) = lock(path, &from_peer)? else { continue };
            return Ok((Self { to_peer, from_peer, path: path.to_owned(), _lock: lock }, input));
        }
        Err(Error::new(Class::Runtime, format!("cannot use {}: its FIFOs come and go", path.display()))
            .hint(USE_ANOTHER))
    }

    /// Opens the FIFO from the peer anew, which forgets a hang-up.
    ///
    /// # Errors
    /// The system call's.
    pub fn open_input(&self) -> Result<OwnedFd, Errno> {
        open_input(&self.from_peer.path)
    }

    /// Opens the FIFO to the peer; `None` while nobody reads it.
    ///
    /// # Errors
    /// The system call's.
    pub fn open_output(&self) -> Result<Option<OwnedFd>, Errno> {
        match open_path(&self.to_peer.path, OFlags::WRONLY) {
            Err(Errno::NXIO) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The path that both share.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn open_input(path: &Path) -> Result<OwnedFd, Errno> {
    open_path(path, OFlags::RDONLY)
}

fn open_path(path: &Path, way: OFlags) -> Result<OwnedFd, Errno> {
    let flags = way | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).or_else(|errno| deed::open(path, flags.bits(), errno))
}

/// Takes the FIFOs for this process, as far as others ask; `None` if their owner has removed them meanwhile.
///
/// The descriptor is none that is read from: that one is opened anew for every peer.
fn lock(path: &Path, fifo: &Fifo) -> Result<Option<OwnedFd>> {
    let failed = |errno| cannot("lock", &fifo.path, errno);
    let fd = match open_input(&fifo.path) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let mine = fstat(&fd).map_err(failed)?;
            let same =
                deed::look(&fifo.path).is_ok_and(|there| (there.device, there.inode) == (mine.st_dev, mine.st_ino));
            Ok(same.then_some(fd))
        }
        Err(Errno::WOULDBLOCK) => {
            let what = format!("cannot use {}: {} serves its FIFOs", path.display(), lock_holder(&fd));
            Err(Error::new(Class::Runtime, what).hint(USE_ANOTHER))
        }
        Err(errno) => Err(failed(errno)),
    }
}

impl Fifo {
    fn find(path: PathBuf) -> Result<Self> {
        let mode = Mode::RUSR | Mode::WUSR;
        let making = mknodat(CWD, &path, FileType::Fifo, mode, 0);
        let made = match making.or_else(|errno| deed::fifo(&path, mode.bits(), errno)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(cannot("make", &path, errno)),
        };
        let there = deed::look(&path).map_err(|errno| cannot("look at", &path, errno))?;
        if FileType::from_raw_mode(there.mode) != FileType::Fifo {
            let what = format!("cannot use {}: it exists and is no FIFO", path.display());
            return Err(Error::new(Class::Runtime, what).hint("choose another path, or move the file away"));
        }
        Ok(Self { path, made: made.then_some(there.inode) })
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        if self.made.is_some() && deed::look(&self.path).ok().map(|now| now.inode) == self.made {
            // One that stays is used by whoever comes next.
            let _ = deed::remove(&self.path);
        }
    }
}

fn cannot(verb: &str, path: &Path, errno: Errno) -> Error {
    Error::system(format_args!("cannot {verb} {}", path.display()), &errno.into())
}
