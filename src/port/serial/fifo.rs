//! The two FIFOs of a QEMU `-serial pipe:PATH`: it reads `PATH.in` and writes `PATH.out`, and we the other way round.
//!
//! `PATH.out` is open for reading all the time, so that a peer that only writes never waits for us. `PATH.in` can be
//! opened for writing, non-blocking, only while it has a reader: so a peer is detected.
//!
//! Two servers of one pair would take each other's bytes, so `PATH.out` is locked (flock(2)) while it is served. The
//! kernel releases the lock with the process, however that ends.

use crate::config::{Access, Transport};
use crate::error::{Class, Error, Result};
use crate::port::access;
use crate::port::made::Made;
use crate::port::owner::lock_holder;
use crate::port::unix::USE_ANOTHER;
use crate::rights::deed;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, mknodat, open};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A FIFO, which is removed on drop if it was made here.
struct Fifo {
    path: PathBuf,
    _made: Option<Made>,
}

/// See the module.
pub struct Fifos {
    to_peer: Fifo,
    from_peer: Fifo,
    path: PathBuf,
    /// Let go when the FIFOs that were made here are removed.
    _lock: OwnedFd,
}

/// Attempts to open FIFOs that their owner removes meanwhile.
const TRIES: usize = 8;

impl Fifos {
    /// Makes the FIFOs that are not there, and opens the one from the peer.
    ///
    /// # Errors
    /// There is something else at one of the paths, it may not be opened, or another process serves them.
    pub fn open(path: &Path, access: &Access) -> Result<(Self, OwnedFd)> {
        let [to_peer, from_peer] = Transport::fifos(path);
        for _ in 0..TRIES {
            let (to_peer, from_peer) = (Fifo::find(to_peer.clone(), access)?, Fifo::find(from_peer.clone(), access)?);
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
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match open_path(&self.to_peer.path, flags) {
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::LOOP) => {
                log::error!("{}", is_link(&self.to_peer.path));
                Err(Errno::LOOP)
            }
            opened => opened.map(Some),
        }
    }

    /// The path that both share.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

fn open_input(path: &Path) -> Result<OwnedFd, Errno> {
    open_path(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW)
}

fn open_path(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    open(path, flags, Mode::empty()).or_else(|errno| deed::open(path, flags.bits(), errno))
}

/// Locks the FIFOs for this process (advisory); `None` if their owner has removed them meanwhile.
///
/// The descriptor is not the one read from, which is opened anew for every peer.
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
            Err(Error::new(Class::Runtime, what).hint(USE_ANOTHER).because(Errno::BUSY))
        }
        Err(errno) => Err(failed(errno)),
    }
}

impl Fifo {
    fn find(path: PathBuf, access: &Access) -> Result<Self> {
        let made = match make(&path) {
            Ok(()) => Some(Made::note(&path).map_err(|errno| cannot("look at", &path, errno))?),
            Err(Errno::EXIST) => None,
            Err(errno) => return Err(cannot("make", &path, errno)),
        };
        let there = deed::look(&path).map_err(|errno| cannot("look at", &path, errno))?;
        if FileType::from_raw_mode(there.mode) == FileType::Symlink {
            return Err(is_link(&path));
        }
        if FileType::from_raw_mode(there.mode) != FileType::Fifo {
            let what = format!("cannot use {}: it exists and is no FIFO", path.display());
            let error = Error::new(Class::Runtime, what).hint("choose another path, or move the file away");
            return Err(error.because(Errno::EXIST));
        }
        let fifo = Self { path, _made: made };
        if fifo._made.is_some() {
            // The umask may have taken bits away.
            access::give(&fifo.path, &Access { mode: Some(access.mode()), ..access.clone() })?;
        }
        Ok(fifo)
    }
}

fn make(path: &Path) -> Result<(), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).or_else(|errno| deed::fifo(path, mode.bits(), errno))
}

/// Somebody has put a link in the place of a FIFO: its peers go past this port, straight to each other.
fn is_link(path: &Path) -> Error {
    let target = std::fs::read_link(path).unwrap_or_default();
    let what = format!("cannot use {}: it is a link to {}, no FIFO of its own", path.display(), target.display());
    Error::new(Class::Runtime, what).hint(
        "whoever uses it goes past zbridge. Zephyr's `ninja server` and `client` make such links, unless the build has \
         -DPCAP=FILE and -DNET_TOOLS=FOLDER; remove the link",
    )
}

fn cannot(verb: &str, path: &Path, errno: Errno) -> Error {
    Error::system(format_args!("cannot {verb} {}", path.display()), &errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Zephyr's `ninja client` does with the FIFOs of the other node.
    #[test]
    fn a_link_in_the_place_of_a_fifo_is_refused_before_and_after_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let [server, client] = ["server", "client"].map(|name| folder.path().join(name));
        let (_server, _) = Fifos::open(&server, &Access::default()).unwrap();
        let (fifos, _) = Fifos::open(&client, &Access::default()).unwrap();
        let link = folder.path().join("client.in");
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(folder.path().join("server.out"), &link).unwrap();
        assert_eq!(fifos.open_output().map(drop), Err(Errno::LOOP), "not the server's, which somebody reads");
        drop(fifos);
        let Err(error) = Fifos::open(&client, &Access::default()) else { panic!("taken") };
        assert!(error.what().contains("client.in: it is a link to"), "{error}");
        assert!(error.advice().unwrap_or_default().contains("-DPCAP="), "{error}");
        assert!(link.is_symlink(), "it is not ours to remove");
    }
}
