//! A FIFO as the sink of a capture: nobody has to read it, and each reader gets a whole file.
//!
//! Theory of operation. To the kernel a FIFO is one pipe for as long as anybody has it open: what a reader leaves unread
//! is the next one's, if that opens it before this thread has heard of the close. So each reader has a FIFO to itself:
//! when one has come, and before anything is written, another FIFO takes the place of the one that it has opened
//! ([`replace`]). The next reader opens that one, and is served when this one has left.
//!
//! Where the folder may not be written, or the FIFO would become somebody else's, it stays the same one, and what is said
//! above of an early next reader holds.

use super::sink::{Flow, push};
use crate::rights::deed;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, chmodat, fstat, lstat, mknodat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// See the head of the file.
pub struct Fifo {
    path: PathBuf,
    /// Its writing end, while somebody reads it.
    end: Option<OwnedFd>,
    /// It was said that it stays the same for all readers.
    told: bool,
}

impl Fifo {
    /// Nobody reads it yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), end: None, told: false }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody reads it, as far as is known.
    pub fn has_reader(&self) -> bool {
        self.end.is_some()
    }

    /// Writes what it takes of `out`, and takes that out; all of it, if nobody reads.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn write(&mut self, out: &mut Vec<u8>, registry: &Registry, token: Token) -> io::Result<Flow> {
        let Some(end) = &self.end else { return self.look_for_reader(out, registry, token) };
        if push(out, |bytes| rustix::io::write(end, bytes)) {
            return Ok(Flow::On);
        }
        self.end = None;
        Ok(Flow::Left)
    }

    fn look_for_reader(&mut self, out: &mut Vec<u8>, registry: &Registry, token: Token) -> io::Result<Flow> {
        let Some(end) = open(&self.path)? else {
            out.clear();
            return Ok(Flow::On);
        };
        if let Err(errno) = replace(&self.path, &end)
            && !std::mem::replace(&mut self.told, true)
        {
            log::debug!("capture to {}: one FIFO for all its readers: {errno}", self.path.display());
        }
        registry.register(&mut SourceFd(&end.as_raw_fd()), token, Interest::WRITABLE)?;
        self.end = Some(end);
        Ok(Flow::Met)
    }

    /// Whether the reader has left; then the next one is waited for.
    pub fn has_parted(&mut self) -> bool {
        let Some(end) = &self.end else { return false };
        let mut fds = [PollFd::new(end, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let parted =
            poll(&mut fds, Some(&now)).is_ok_and(|_| fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)));
        if parted {
            self.end = None;
        }
        parted
    }
}

/// Puts another FIFO in the place of the one at `path`, of which `end` is open: for the same users, under the same name.
fn replace(path: &Path, end: &OwnedFd) -> Result<(), Errno> {
    let (old, there) = (fstat(end)?, lstat(path)?);
    // A symbolic link leads to it, or it is another one already.
    if (old.st_dev, old.st_ino) != (there.st_dev, there.st_ino) {
        return Err(Errno::XDEV);
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or(Errno::INVAL)?);
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    // One that a killed process has left behind.
    let _ = unlinkat(CWD, &new, rustix::fs::AtFlags::empty());
    mknodat(CWD, &new, FileType::Fifo, Mode::empty(), 0)?;
    let mode = Mode::from_raw_mode(old.st_mode);
    let put = lstat(&new).and_then(|made| {
        // Root may do all with it anyway, and a group that may no more than everybody is nothing to keep.
        let same_user = made.st_uid == old.st_uid || old.st_uid == 0;
        let same_group = made.st_gid == old.st_gid || old.st_mode >> 3 & 7 == old.st_mode & 7;
        if !(same_user && same_group) {
            return Err(Errno::PERM);
        }
        chmodat(CWD, &new, mode, rustix::fs::AtFlags::empty())?;
        renameat(CWD, &new, CWD, path)
    });
    if put.is_err() {
        let _ = unlinkat(CWD, &new, rustix::fs::AtFlags::empty());
    }
    put
}

/// Opens it to write; `None`: nobody reads it, or it is not there, and may be made again.
fn open(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(CWD, path, flags, Mode::empty()).or_else(|errno| match errno {
        Errno::ACCESS | Errno::PERM => deed::open(path, flags.bits(), errno),
        _ => Err(errno),
    });
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NXIO | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
