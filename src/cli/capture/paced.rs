//! What is written to somebody who reads at a pace of their own, or not at all: a pipe, a FIFO, a terminal.
//!
//! Theory of operation. The bytes of a capture are written as its output takes them, and between two tries it is looked
//! whether the capture is to end ([`Ending`]). An output that then takes nothing for a moment is given up, and frames that
//! it has not taken are counted. A FIFO is opened when somebody reads it, which is waited for in the same way.

use super::ending::Ending;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is written at once: a pipe that has room at all takes so much without waiting.
const PIECE: usize = 4096;
/// How long it is waited for room before it is looked for the end.
const LOOK: Duration = Duration::from_millis(50);

enum Target {
    /// Nothing, so far.
    None,
    /// It is never waited for.
    File(File),
    /// Somebody reads it.
    Reader(OwnedFd),
    /// Nobody has opened it to read yet.
    Fifo(PathBuf),
    /// Nobody takes anything.
    GivenUp,
}

/// See the head of the file.
pub struct Paced {
    target: Target,
    ending: Arc<Ending>,
    bytes: Vec<u8>,
    /// Where frames end in it.
    ends: Vec<usize>,
    lost: u64,
}

impl Paced {
    /// To nothing, so far.
    pub fn new(ending: Arc<Ending>) -> Self {
        Self { target: Target::None, ending, bytes: Vec::new(), ends: Vec::new(), lost: 0 }
    }

    /// Has it go to the file at `path`, which is made, or emptied; or to who reads the FIFO there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open_path(&mut self, path: &Path) -> io::Result<()> {
        self.target = match path.metadata() {
            Ok(found) if found.file_type().is_fifo() => Target::Fifo(path.to_owned()),
            _ => self.target_of(File::create(path)?.into())?,
        };
        Ok(())
    }

    /// Has it go to what `fd` is open for.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn open_fd(&mut self, fd: impl AsFd) -> io::Result<()> {
        let (fd, path) = (fd.as_fd(), format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()));
        // Others may have the same descriptor, and it is not to be without waiting for them.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let own = match FileType::from_raw_mode(fstat(fd)?.st_mode) {
            FileType::Fifo | FileType::CharacterDevice => openat(CWD, path, flags, Mode::empty()),
            _ => Err(Errno::NXIO),
        };
        let own = own.or_else(|_| fcntl_dupfd_cloexec(fd, 3))?;
        self.target = self.target_of(own)?;
        Ok(())
    }

    fn target_of(&self, fd: OwnedFd) -> io::Result<Target> {
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::RegularFile {
            return Ok(Target::File(fd.into()));
        }
        self.ending.watch(fcntl_dupfd_cloexec(&fd, 3)?);
        Ok(Target::Reader(fd))
    }

    /// Takes bytes, with which a frame ends or does not.
    pub fn push(&mut self, bytes: &[u8], is_frame: bool) {
        self.bytes.extend_from_slice(bytes);
        self.ends.extend(is_frame.then_some(self.bytes.len()));
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        let (mut done, mut idle) = (0, Instant::now());
        while done < self.bytes.len() {
            match self.write(done)? {
                0 if matches!(self.target, Target::GivenUp) => break,
                0 if self.ending.is_up(idle) => self.target = Target::GivenUp,
                0 => {}
                written => (done, idle) = (done + written, Instant::now()),
            }
        }
        self.lost += self.ends.iter().filter(|end| **end > done).count() as u64;
        self.bytes.clear();
        self.ends.clear();
        Ok(())
    }

    /// Frames that nobody has taken.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes what is taken of the bytes from `done` on, after a moment if it is nothing.
    fn write(&mut self, done: usize) -> io::Result<usize> {
        let rest = self.bytes.get(done..).unwrap_or_default();
        match &mut self.target {
            Target::None | Target::GivenUp => Ok(0),
            Target::File(file) => file.write_all(rest).map(|()| rest.len()),
            Target::Reader(fd) => {
                let mut fds = [PollFd::new(&*fd, PollFlags::OUT)];
                let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
                if !poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
                    return Ok(0);
                }
                match rustix::io::write(&*fd, rest.get(..PIECE).unwrap_or(rest)) {
                    Err(Errno::AGAIN) => sleep(LOOK),
                    Err(Errno::INTR) => {}
                    done => return Ok(done?),
                }
                Ok(0)
            }
            Target::Fifo(path) => {
                match openat(CWD, &*path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(fd) => self.target = self.target_of(fd)?,
                    Err(Errno::NXIO) => sleep(LOOK),
                    Err(errno) => return Err(errno.into()),
                }
                Ok(0)
            }
        }
    }
}
