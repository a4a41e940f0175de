//! The two FIFOs of a QEMU `-serial pipe:PATH`: it reads `PATH.in` and writes `PATH.out`, and we the other way round.
//!
//! `PATH.out` is open for reading all the time, so that a peer that only writes never waits for us. `PATH.in` can be
//! opened for writing, without waiting, only while somebody reads it; that is how a peer is seen.

use crate::config::Transport;
use crate::error::{Class, Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, lstat, mknodat, open};
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
}

impl Fifos {
    /// Makes the FIFOs that are not there, and opens the one from the peer.
    ///
    /// # Errors
    /// There is something else at one of the paths, or it may not be opened.
    pub fn open(path: &Path) -> Result<(Self, OwnedFd)> {
        let [to_peer, from_peer] = Transport::fifos(path);
        let fifos = Self { to_peer: Fifo::find(to_peer)?, from_peer: Fifo::find(from_peer)?, path: path.to_owned() };
        let input = fifos.open_input().map_err(|errno| cannot("open", &fifos.from_peer.path, errno))?;
        Ok((fifos, input))
    }

    /// Opens the FIFO from the peer anew, which forgets a hang-up.
    ///
    /// # Errors
    /// The system call's.
    pub fn open_input(&self) -> Result<OwnedFd, Errno> {
        open(&self.from_peer.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens the FIFO to the peer; `None` while nobody reads it.
    ///
    /// # Errors
    /// The system call's.
    pub fn open_output(&self) -> Result<Option<OwnedFd>, Errno> {
        match open(&self.to_peer.path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NXIO) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The path that both share.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Fifo {
    fn find(path: PathBuf) -> Result<Self> {
        let made = match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(cannot("make", &path, errno)),
        };
        let there = lstat(&path).map_err(|errno| cannot("look at", &path, errno))?;
        if FileType::from_raw_mode(there.st_mode) != FileType::Fifo {
            let what = format!("cannot use {}: it exists and is no FIFO", path.display());
            return Err(Error::new(Class::Runtime, what).hint("choose another path, or move the file away"));
        }
        Ok(Self { path, made: made.then_some(there.st_ino) })
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        if self.made.is_some() && lstat(&self.path).ok().map(|now| now.st_ino) == self.made {
            // One that stays is used by whoever comes next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot(verb: &str, path: &Path, errno: Errno) -> Error {
    Error::system(format_args!("cannot {verb} {}", path.display()), &errno.into())
}
