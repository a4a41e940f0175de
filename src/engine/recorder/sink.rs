//! The sink of a capture, or of fates: a file, a FIFO, or the socket of the client that asked for it.
//!
//! A file always ends with a whole block: when the disk is full, a partial block is truncated away. That is logged once
//! and retried, and frames are missing until there is room. Of a FIFO (`fifo.rs`) each reader gets a whole file: without
//! one, frames are discarded. A socket ends with its reader.

use super::fifo::Fifo;
use crate::backend::full::is_full;
use crate::capture::{fates, pcapng};
use crate::error::{Error, Result};
use crate::rights::deed;
use crossbeam_channel::Receiver;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// After this long a full disk is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Interval of the checks for a reader of a FIFO.
const LOOK: Duration = Duration::from_millis(100);

/// The outcome of a write.
pub enum Flow {
    /// It took what it could.
    On,
    /// A reader has come, who has nothing yet.
    Met,
    /// The reader of a FIFO has left.
    Left,
    /// So many frames found no room.
    Missed(u64),
    /// Nobody will take anything any more.
    Gone,
}

/// What is written to a sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matter {
    /// Frames: pcapng.
    Capture,
    /// What became of frames: lines.
    Fates,
}

impl Matter {
    /// What the writing of it is called, and to do it.
    const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Capture => ["capture", "capture"],
            Self::Fates => ["log of fates", "log fates"],
        }
    }

    /// What the writing of it is called.
    pub fn word(self) -> &'static str {
        self.words()[0]
    }

    /// The frames of a block, which may be missing. `None`: later blocks need it.
    fn frames(self, block: &[u8]) -> Option<u64> {
        match self {
            Self::Capture => block.starts_with(&pcapng::PACKET.to_le_bytes()).then_some(1),
            Self::Fates => fates::frames(block),
        }
    }
}

/// A file on a disk.
pub struct Disk {
    matter: Matter,
    file: File,
    path: String,
    /// It can be cut; a device cannot.
    regular: bool,
    /// Bytes of whole blocks in it.
    length: u64,
    /// Blocks that later ones depend on, and that found no room: they are written first.
    owed: Vec<u8>,
    /// Frames that are missing since it was full.
    missing: u64,
    /// Since when there is no room.
    full: Option<Instant>,
}

/// See the head of the file.
pub enum Sink {
    /// A file.
    Disk(Disk),
    /// A FIFO.
    Fifo(Fifo),
    /// The socket of a client, who that is, and the signal to begin, until that has come: nothing is written before.
    Socket(OwnedFd, String, Option<Receiver<()>>),
}

impl Sink {
    /// The file at `path`, which is made, or emptied if there is one that is no FIFO.
    ///
    /// # Errors
    /// It cannot be.
    pub fn path(path: &Path, matter: Matter) -> Result<Self> {
        if path.metadata().is_ok_and(|found| found.file_type().is_fifo()) {
            return Ok(Self::Fifo(Fifo::new(path)));
        }
        let cannot = |error: &io::Error| {
            Error::system(format_args!("cannot {} to {}", matter.words()[1], path.display()), error)
        };
        let file = deed::create(path).map_err(|error| cannot(&error))?;
        let regular = file.metadata().map_err(|error| cannot(&error))?.is_file();
        let path = path.display().to_string();
        Ok(Self::Disk(Disk { matter, file, path, regular, length: 0, owed: Vec::new(), missing: 0, full: None }))
    }

    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Self::Disk(disk) => disk.path.clone(),
            Self::Fifo(fifo) => fifo.path().display().to_string(),
            Self::Socket(_, who, _) => who.clone(),
        }
    }

    /// Whether it was asked for by its path.
    pub fn is_path(&self) -> bool {
        !matches!(self, Self::Socket(..))
    }

    /// How long it may be left alone.
    pub fn patience(&self) -> Option<Duration> {
        matches!(self, Self::Fifo(fifo) if !fifo.has_reader()).then_some(LOOK)
    }

    /// Writes what it takes of `out`, whose blocks end at `ends`, and takes that out.
    ///
    /// # Errors
    /// It is of no more use.
    pub fn write(&mut self, out: &mut Vec<u8>, ends: &[usize], registry: &Registry, token: Token) -> io::Result<Flow> {
        match self {
            Self::Disk(disk) => {
                let missed = disk.write(out, ends);
                out.clear();
                missed.map(|frames| if frames > 0 { Flow::Missed(frames) } else { Flow::On })
            }
            Self::Fifo(fifo) => fifo.write(out, registry, token),
            Self::Socket(fd, _, begin) => {
                if let Some(word) = begin {
                    if word.recv().is_err() {
                        return Ok(Flow::Gone);
                    }
                    registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::WRITABLE)?;
                    *begin = None;
                }
                let sent = push(out, |bytes| send(&*fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL));
                Ok(if sent { Flow::On } else { Flow::Gone })
            }
        }
    }

    /// Whether the reader of the FIFO has left; the next one is waited for.
    pub fn has_parted(&mut self) -> bool {
        match self {
            Self::Fifo(fifo) => fifo.has_parted(),
            Self::Disk(_) | Self::Socket(..) => false,
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Self::Socket(fd, _, None) = self {
            // So its client sees the end.
            let _ = shutdown(fd.as_fd(), Shutdown::Write);
        }
    }
}

/// Writes what is taken of `out`, and takes it out. False: nobody reads.
pub fn push(out: &mut Vec<u8>, mut write: impl FnMut(&[u8]) -> rustix::io::Result<usize>) -> bool {
    let mut done = 0;
    let whole = loop {
        let rest = out.get(done..).unwrap_or_default();
        if rest.is_empty() {
            break true;
        }
        match write(rest) {
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break true,
            Err(_) => break false,
        }
    };
    out.drain(..done);
    whole
}

/// The blocks of `out`, which end at `ends`.
fn blocks<'a>(out: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends.iter().copied()).map(|(from, to)| out.get(from..to).unwrap_or_default())
}

impl Disk {
    /// Writes whole blocks. Gives how many found no room.
    fn write(&mut self, out: &[u8], ends: &[usize]) -> io::Result<u64> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.full.is_some_and(|since| since.elapsed() < PAUSE) {
            return Ok(self.skip(blocks(out, ends)));
        }
        if !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            if let Err(error) = self.append(&owed) {
                self.owed = owed;
                self.full = Some(Instant::now());
                return if is_full(&error) { Ok(self.skip(blocks(out, ends))) } else { Err(error) };
            }
        }
        match self.append(out) {
            Err(error) if self.regular && is_full(&error) => self.write_each(out, ends),
            done => {
                done?;
                self.has_room();
                Ok(0)
            }
        }
    }

    /// Writes block by block, until there is no room.
    fn write_each(&mut self, out: &[u8], ends: &[usize]) -> io::Result<u64> {
        let mut blocks = blocks(out, ends);
        while let Some(block) = blocks.next() {
            match self.append(block) {
                Ok(()) => self.has_room(),
                Err(error) if is_full(&error) => {
                    if self.full.replace(Instant::now()).is_none() {
                        let (word, path) = (self.matter.word(), &self.path);
                        log::error!("{word} to {path}: {error}; frames are missing in it until there is room");
                    }
                    return Ok(self.skip(std::iter::once(block).chain(blocks)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Skips blocks, but for those that later ones need. Returns the number of frames skipped.
    fn skip<'a>(&mut self, blocks: impl Iterator<Item = &'a [u8]>) -> u64 {
        let mut frames = 0;
        for block in blocks {
            match self.matter.frames(block) {
                Some(its) => frames += its,
                None => self.owed.extend_from_slice(block),
            }
        }
        self.missing += frames;
        frames
    }

    fn has_room(&mut self) {
        self.full = None;
        match std::mem::take(&mut self.missing) {
            0 => {}
            missing => {
                let (word, path) = (self.matter.word(), &self.path);
                log::warn!("{word} to {path} goes on; {missing} frames are missing in it");
            }
        }
    }

    /// Writes all of `bytes`, or nothing that stays.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.regular {
            return io::Write::write_all(&mut self.file, bytes);
        }
        self.file.write_all_at(bytes, self.length).inspect_err(|_| {
            // If that fails, too, the next write overwrites it.
            let _ = self.file.set_len(self.length);
        })?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}
