//! Where the blocks of a capture go: lines, standard output, Wireshark, a file or several.

use super::super::layout::hung;
use super::super::style::width_of;
use super::Goal;
use super::ending::Ending;
use super::failing::{cannot, cannot_go_on};
use super::paced::Paced;
use super::whole::{Batch, Whole};
use crate::capture::line::Lines;
use crate::capture::pcapng::read::Block;
use crate::capture::pcapng::{PACKET, STATISTICS};
use crate::error::{Error, Result};
use crate::visible::visible;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

/// The program that shows a capture.
pub const WIRESHARK: &str = "wireshark";
/// How standard output is called.
pub const STDOUT: &str = "standard output";
/// How often it is looked whether that program has ended.
const LOOK: Duration = Duration::from_millis(100);

/// See the head of the file.
pub enum Output {
    /// And how wide they may be.
    Lines(Lines, Paced, Option<usize>),
    Stream(Paced, String, Option<Child>),
    Files(Files),
}

/// Several files, of which the last are kept.
pub struct Files {
    path: PathBuf,
    size: u64,
    kept: u32,
    number: u32,
    file: Option<Whole>,
    /// What is to be written to it.
    batch: Batch,
    /// Bytes that it then has.
    written: u64,
    /// What each of them begins with.
    head: Vec<u8>,
    /// Those before it that are kept, and how many frames each has.
    before: VecDeque<(PathBuf, u64)>,
    name: PathBuf,
}

impl Output {
    /// Where `goal` says, until it ends.
    ///
    /// # Errors
    /// Standard output is a terminal.
    pub fn new(goal: &Goal, ending: Arc<Ending>) -> Result<Self> {
        let paced = Paced::new(ending);
        Ok(match goal {
            Goal::Lines => Self::Lines(Lines::new(), paced, width_of(stdout()).filter(|_| stdout().is_terminal())),
            Goal::Stdout if stdout().is_terminal() => {
                return Err(Error::usage("standard output is a terminal, and a pcapng file no text")
                    .hint("zbridge capture -w - | wireshark -k -i -; without -w it prints lines"));
            }
            Goal::Stdout => Self::Stream(paced, STDOUT.to_owned(), None),
            // Started when there is something to show.
            Goal::Wireshark => Self::Stream(paced, WIRESHARK.to_owned(), None),
            Goal::File(path, None) | Goal::Extcap(path, _) => Self::Stream(paced, path.display().to_string(), None),
            Goal::File(path, Some((size, kept))) => Self::Files(Files::new(path, *size, *kept)),
        })
    }

    /// The bridge captures: the file is made, or the program started.
    ///
    /// # Errors
    /// It cannot be.
    pub fn begin(&mut self) -> Result<()> {
        let (paced, name, child) = match self {
            Self::Lines(_, paced, _) => return paced.open_fd(stdout()).map_err(|error| cannot(STDOUT, &error)),
            Self::Stream(paced, name, child) => (paced, name, child),
            Self::Files(_) => return Ok(()),
        };
        let begun = if name == WIRESHARK {
            let started = Command::new(WIRESHARK).args(["-k", "-i", "-"]).stdin(Stdio::piped()).spawn();
            started.and_then(|mut started| {
                let stdin = started.stdin.take();
                *child = Some(started);
                stdin.map_or(Ok(()), |stdin| paced.open_fd(stdin))
            })
        } else if name == STDOUT {
            paced.open_fd(stdout())
        } else {
            paced.open_path(Path::new(&*name))
        };
        begun.map_err(|error| cannot(name, &error))
    }

    /// Takes a block.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn take(&mut self, block: &Block<'_>) -> io::Result<()> {
        let is_frame = block.kind == PACKET;
        match self {
            Self::Lines(lines, paced, width) => {
                let mut text = String::new();
                lines.push(block, time_of_day, &mut text);
                paced.push(hung(&text, *width).as_bytes(), is_frame);
                Ok(())
            }
            Self::Stream(paced, ..) => {
                paced.push(block.bytes, is_frame);
                Ok(())
            }
            Self::Files(files) => files.take(block),
        }
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(_, paced, _) | Self::Stream(paced, ..) => paced.flush(),
            Self::Files(files) => files.flush(),
        }
    }

    /// Frames that were not written because nobody took them.
    pub fn lost(&self) -> u64 {
        match self {
            Self::Lines(_, paced, _) | Self::Stream(paced, ..) => paced.lost(),
            Self::Files(_) => 0,
        }
    }

    /// Whether the reader of the FIFO that was named has left.
    pub fn has_left(&self) -> bool {
        match self {
            Self::Lines(_, paced, _) | Self::Stream(paced, ..) => paced.has_left(),
            Self::Files(_) => false,
        }
    }

    /// All was taken. A program that shows it is waited for, unless a signal ends this one.
    pub fn end(self, ending: &Ending) {
        if let Self::Stream(paced, _, Some(mut child)) = self {
            drop(paced);
            // It ends when its user ends it.
            while !ending.is_by_signal() && matches!(child.try_wait(), Ok(None)) {
                sleep(LOOK);
            }
        }
    }

    /// The error of a write, or of the connection.
    pub fn failed(&self, error: &io::Error) -> Error {
        let (paced, name) = match self {
            Self::Lines(_, paced, _) => (paced, STDOUT),
            Self::Stream(paced, name, _) => (paced, name.as_str()),
            Self::Files(files) => {
                return cannot_go_on(&files.path.display().to_string(), error, true, files.frames());
            }
        };
        match paced.frames() {
            Some(frames) => cannot_go_on(name, error, false, frames),
            None => cannot(name, error),
        }
    }
}

/// The time of the day here, of a moment in nanoseconds since 1970.
pub fn time_of_day(nanos: u64) -> String {
    let moment = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S%.6f").to_string()
}

/// The file, or the files, that `goal` leaves behind.
pub fn place(goal: &Goal) -> Option<String> {
    let path = match goal {
        Goal::File(path, None) => path.clone(),
        Goal::File(path, Some(_)) => part(path, "*"),
        Goal::Lines | Goal::Stdout | Goal::Wireshark | Goal::Extcap(..) => return None,
    };
    Some(visible(&path.display().to_string()).into_owned())
}

/// The path of one of several files.
fn part(path: &Path, number: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or("pcapng".into(), |extension| extension.to_string_lossy());
    path.with_file_name(format!("{stem}-{number}.{extension}"))
}

impl Files {
    fn new(path: &Path, size: u64, kept: u32) -> Self {
        let (path, name) = (path.to_owned(), PathBuf::new());
        let (batch, head, before) = (Batch::default(), Vec::new(), VecDeque::new());
        Self { path, size, kept, number: 0, file: None, batch, written: 0, head, before, name }
    }

    fn take(&mut self, block: &Block<'_>) -> io::Result<()> {
        let is_frame = block.kind == PACKET;
        let length = block.bytes.len() as u64;
        let is_full = self.written + length > self.size && self.written > self.head.len() as u64;
        if self.file.is_none() || is_full && is_frame {
            self.begin()?;
        }
        self.batch.push(block.bytes, is_frame);
        self.written += length;
        if !is_frame && block.kind != STATISTICS {
            self.head.extend_from_slice(block.bytes);
        }
        Ok(())
    }

    /// Writes what was taken.
    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write(&self.batch));
        self.batch.clear();
        written
    }

    /// Frames in all files that are kept.
    fn frames(&self) -> u64 {
        let before: u64 = self.before.iter().map(|(_, frames)| frames).sum();
        before + self.file.as_ref().map_or(0, Whole::frames)
    }

    /// Begins the next file, and takes the oldest away when there are enough.
    fn begin(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Some(last) = self.file.take() {
            self.before.push_back((std::mem::take(&mut self.name), last.frames()));
        }
        self.number += 1;
        let path = part(&self.path, &format!("{:05}", self.number));
        let mut file = Whole::new(File::create(&path)?);
        let mut head = Batch::default();
        head.push(&self.head, false);
        file.write(&head).inspect_err(|_| {
            // Without its head it is no capture.
            let _ = std::fs::remove_file(&path);
        })?;
        (self.file, self.name, self.written) = (Some(file), path, self.head.len() as u64);
        if self.before.len() >= self.kept as usize
            && let Some((oldest, _)) = self.before.pop_front()
        {
            // Somebody may have moved it away.
            let _ = std::fs::remove_file(oldest);
        }
        Ok(())
    }
}
