//! What is written to somebody who reads at a pace of their own, or not at all: a pipe, a FIFO, a terminal.
//!
//! Theory of operation. The bytes of a capture are written as its output takes them, and between two tries it is looked
//! whether the capture is to end ([`Ending`]). An output that then takes nothing for a moment is given up, and frames that
//! it has not taken are counted. A FIFO is opened when somebody reads it, which is waited for in the same way. When its
//! reader leaves, it is given up too.

use super::ending::Ending;
use super::whole::{Batch, Whole};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use std::fs::File;
use std::io::{self, ErrorKind};
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
    File(Whole),
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
    batch: Batch,
    lost: u64,
    /// It goes to a FIFO that was named.
    fifo: bool,
    /// The reader of that has left.
    left: bool,
}

impl Paced {
    /// To nothing, so far.
    pub fn new(ending: Arc<Ending>) -> Self {
        Self { target: Target::None, ending, batch: Batch::default(), lost: 0, fifo: false, left: false }
    }

    /// Has it go to the file at `path`, which is made, or emptied; or to who reads the FIFO there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open_path(&mut self, path: &Path) -> io::Result<()> {
        self.fifo = path.metadata().is_ok_and(|found| found.file_type().is_fifo());
        self.target = match self.fifo {
            true => Target::Fifo(path.to_owned()),
            false => self.target_of(File::create(path)?.into())?,
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
            return Ok(Target::File(Whole::new(fd.into())));
        }
        self.ending.watch(fcntl_dupfd_cloexec(&fd, 3)?);
        Ok(Target::Reader(fd))
    }

    /// Takes the bytes of a block, which is a frame or not.
    pub fn push(&mut self, bytes: &[u8], is_frame: bool) {
        self.batch.push(bytes, is_frame);
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        let (mut done, mut idle) = (0, Instant::now());
        while done < self.batch.bytes().len() {
            match self.write(done) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe && self.fifo => {
                    (self.target, self.left) = (Target::GivenUp, true);
                }
                Ok(0) if matches!(self.target, Target::GivenUp) => break,
                Ok(0) if self.ending.is_up(idle) => self.target = Target::GivenUp,
                Ok(0) => {}
                Ok(written) => (done, idle) = (done + written, Instant::now()),
                Err(error) => return Err(error),
            }
        }
        self.lost += self.batch.frames() - self.batch.frames_within(done);
        self.batch.clear();
        Ok(())
    }

    /// Whether the reader of a FIFO that was named has left.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Frames in the file, if it is one.
    pub fn frames(&self) -> Option<u64> {
        if let Target::File(file) = &self.target { Some(file.frames()) } else { None }
    }

    /// Frames that nobody has taken.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes what is taken of the bytes from `done` on, after a moment if it is nothing.
    fn write(&mut self, done: usize) -> io::Result<usize> {
        let rest = self.batch.bytes().get(done..).unwrap_or_default();
        match &mut self.target {
            Target::None | Target::GivenUp => Ok(0),
            Target::File(file) => file.write(&self.batch).map(|()| rest.len()),
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
