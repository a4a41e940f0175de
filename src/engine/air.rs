//! What is on the air of a radio medium, written to a file as it is sent.
//!
//! A thread of its own writes it, so that a slow disk, or a FIFO that nobody reads, holds up no frame. What waits for it is
//! bounded; frames that find no room are missing in the file, and so are those for which the disk has none. The file always
//! ends with a whole frame: what was written of another is cut off again. When there is room once more it goes on.

use crate::backend::full::is_full;
use crate::capture::pcap;
use crate::error::{Error, Result};
use crate::frame::Batch;
use crate::rights::role::{BASE, BLOCKS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// It writes what is open.
static ROLE: Role = Role::new("capture", &[BASE, BLOCKS]);

/// Breaths of the switch that wait to be written.
const WAITING: usize = 1024;
/// After this long a full disk is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long its end is waited for.
const END: Duration = Duration::from_secs(1);

/// The frames of one breath, as the file has them.
struct Piece {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// How many more, before these, found no room among those that wait.
    missing: u64,
}

/// A capture of every frame that a node sends, once, whoever hears it.
pub(super) struct Air {
    pieces: Option<Sender<Piece>>,
    /// Frames that found no room, and were not told of.
    missing: u64,
    /// Tells nothing, and ends with the thread.
    ended: Receiver<()>,
}

impl Air {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let cannot = |error: &io::Error| Error::system(format_args!("cannot capture to {}", path.display()), error);
        let file = File::create(path).map_err(|error| cannot(&error))?;
        let regular = file.metadata().map_err(|error| cannot(&error))?.is_file();
        let path = path.display().to_string();
        let mut capture = Capture { file, path, regular, length: 0, missing: 0, full: None };
        capture.append(&pcap::header(pcap::IEEE802_15_4_NOFCS)).map_err(|error| cannot(&error))?;
        let ((pieces, queue), (alive, ended)) = (bounded(WAITING), bounded::<()>(0));
        let work = move || {
            let _alive = alive;
            capture.run(&queue);
        };
        let thread = rights::spawn("zb-capture", &ROLE, work);
        thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(Self { pieces: Some(pieces), missing: 0, ended })
    }

    /// Has all frames of a breath written.
    pub fn write(&mut self, batch: &Batch) {
        let Some(pieces) = &self.pieces else { return };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut piece = Piece { bytes: Vec::new(), ends: Vec::new(), missing: self.missing };
        for frame in batch.frames() {
            piece.bytes.extend_from_slice(&pcap::record(since, frame.len()));
            piece.bytes.extend_from_slice(batch.bytes(frame));
            piece.ends.push(piece.bytes.len());
        }
        self.missing = match pieces.try_send(piece) {
            Ok(()) => 0,
            Err(refused) => self.missing + refused.into_inner().ends.len() as u64,
        };
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        self.pieces = None;
        let _ = self.ended.recv_timeout(END);
    }
}

/// The file, as the thread has it.
struct Capture {
    file: File,
    path: String,
    /// It can be cut; a FIFO cannot.
    regular: bool,
    /// Bytes of whole frames in it.
    length: u64,
    /// Frames that are missing, not yet told how many.
    missing: u64,
    /// Since when there is no room.
    full: Option<Instant>,
}

impl Capture {
    /// Writes what is queued until nothing more comes, or the file takes nothing any more for another reason than a full
    /// disk.
    fn run(&mut self, queue: &Receiver<Piece>) {
        for piece in queue {
            if piece.missing > 0 && self.missing == 0 {
                log::warn!(
                    "capture to {}: it is not written as fast as frames come; some are missing in it",
                    self.path
                );
            }
            self.missing += piece.missing;
            let starts = std::iter::once(0).chain(piece.ends.iter().copied());
            for (start, end) in starts.zip(piece.ends.iter().copied()) {
                if let Err(error) = self.take(piece.bytes.get(start..end).unwrap_or_default()) {
                    return log::error!("capture to {} ends: {error}", self.path);
                }
            }
        }
        if self.missing > 0 {
            log::warn!("capture to {} is over; {} frames are missing in it", self.path, self.missing);
        }
    }

    /// Writes a frame. On a full disk it is missing, and so are those of the next moment.
    fn take(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.full.is_some_and(|since| since.elapsed() < PAUSE) {
            self.missing += 1;
            return Ok(());
        }
        match self.append(frame) {
            Ok(()) => {
                self.full = None;
                match std::mem::take(&mut self.missing) {
                    0 => {}
                    missing => log::warn!("capture to {} goes on; {missing} frames are missing in it", self.path),
                }
            }
            Err(error) if self.regular && is_full(&error) => {
                self.missing += 1;
                if self.full.replace(Instant::now()).is_none() {
                    log::error!("capture to {}: {error}; frames are missing in it until there is room", self.path);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes all of `bytes`, or nothing that stays.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.regular {
            return self.file.write_all(bytes);
        }
        self.file.write_all_at(bytes, self.length).inspect_err(|_| {
            // Where that fails too, the next that is written lies over it.
            let _ = self.file.set_len(self.length);
        })?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}
