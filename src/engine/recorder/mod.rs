//! The thread of a capture, or of a log of fates: takes the notes of switches, and writes them to the sink.
//!
//! Theory of operation. Each capture has a thread, and so has each log. It sleeps until a piece comes ([`Feed`]) or an
//! event of its sink: a reader has room again, or is gone. What pieces say is put into blocks by a [`Scribe`] (of a capture
//! the [`Recorder`], with the frames that match the wish; of fates the [`FateWriter`]) and written (`sink.rs`). While a sink takes nothing, pieces wait, within bounds; beyond these they are missed, and counted in
//! the capture's statistics. The capture ends when the last inlet is dropped: the rest is written, then the statistics,
//! and a slow reader has a moment to take them. A client that reads too slowly for the rest gets the statistics all the
//! same: what it has no time for is counted as missed in them.

mod fifo;
mod sink;

pub use sink::{Matter, Sink};

use super::feed::{Feed, Shared};
use super::tap::{Inlet, cost, frames};
use crate::capture::fates::FateWriter;
use crate::capture::{Counted, Piece, Recorder, Wish};
use crate::error::{Error, Result};
use crate::rights::role::{BASE, BLOCKS, FILES, SOCKETS};
use crate::rights::{self, Role};
use crate::switch::{FateNote, Journal};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use mio::{Events, Poll, Token, Waker};
use sink::Flow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// It writes what is open, and FIFOs, of which it makes another for each reader.
static ROLE: Role = Role::new("capture", &[BASE, BLOCKS, FILES, SOCKETS]);

const WAKER: Token = Token(0);
const SINK: Token = Token(1);

/// How long the rest of a file, and the statistics, are kept for a reader who takes nothing of them.
const END: Duration = Duration::from_secs(1);
/// How long the rest may take in all, and then the statistics. The client waits longer (`cli::capture`).
const LONGEST_END: Duration = Duration::from_secs(2);
/// Bytes that are written in one piece, and that may wait for a reader.
const OUT_BYTES: usize = 512 * 1024;

/// A running capture. Dropping it waits a moment for the rest to be written: the switches have dropped their inlets by
/// then.
pub struct Running {
    /// Disconnected when the thread ends. `None`: it is not waited for.
    ended: Option<Receiver<()>>,
}

impl Running {
    /// It ends by itself, and nobody waits for that.
    pub fn leave(mut self) {
        self.ended = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            let _ = ended.recv_timeout(END + END / 2);
        }
    }
}

/// Nanoseconds since 1970.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Starts a capture of what is wished; `preamble` is written before it.
///
/// # Errors
/// The wish is wrong; the system has no thread or descriptor left.
pub fn start(wish: Wish, sink: Sink, preamble: Vec<u8>) -> Result<(Inlet, Running)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let cannot = |error| Error::system("cannot start a capture", &error);
    let recorder = Recorder::new(wish, wall())?;
    let wanted = recorder.wanted();
    let (feed, running) = begin(recorder, sink, preamble, cannot)?;
    Ok((Inlet::new(NUMBER.fetch_add(1, Ordering::Relaxed), wanted, feed), running))
}

/// Starts a log of the fates of a switch, which are drawn from `seed`.
///
/// # Errors
/// The file cannot be made; the system has no thread or descriptor left.
pub fn start_fates(path: &Path, switch: &str, seed: u64) -> Result<(Feed<Journal>, Running)> {
    let cannot = |error| Error::system("cannot start a log of fates", &error);
    begin(FateWriter::new(switch, seed), Sink::path(path, Matter::Fates)?, Vec::new(), cannot)
}

/// Starts the thread of a scribe; `preamble` is written before its header.
fn begin<S: Scribe>(
    scribe: S,
    sink: Sink,
    preamble: Vec<u8>,
    cannot: impl Fn(std::io::Error) -> Error,
) -> Result<(Feed<S::Piece>, Running)> {
    let poll = Poll::new().map_err(&cannot)?;
    let waker = Waker::new(poll.registry(), WAKER).map_err(&cannot)?;
    let (feed, shared, pieces) = Feed::new(waker);
    let (alive, ended) = bounded::<()>(0);
    let work = move || {
        let _alive = alive;
        let ends = Vec::from_iter(Some(preamble.len()).filter(|len| *len > 0));
        Work { scribe, pieces, shared, poll, out: preamble, ends, sink, over: None, moved: Instant::now() }.run();
    };
    rights::spawn("zb-capture", &ROLE, work).map_err(cannot)?;
    Ok((feed, Running { ended: Some(ended) }))
}

/// Who puts pieces into blocks.
trait Scribe: Send + 'static {
    type Piece: Send + Sync + 'static;
    const MATTER: Matter;
    /// The bytes that a piece costs while it waits.
    fn cost(piece: &Self::Piece) -> usize;
    /// Its frames.
    fn frames(piece: &Self::Piece) -> u64;
    /// The beginning of a file that is started now.
    fn header(&self) -> &[u8];
    /// Frames were lost on their way here, or on that to the file.
    fn miss(&mut self, frames: u64);
    /// Puts a piece into blocks, behind `out`, and notes in `ends` where each ends.
    fn take(&mut self, piece: &Self::Piece, out: &mut Vec<u8>, ends: &mut Vec<usize>);
    /// Writes the end of a file.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Frames written and missed so far.
    fn counted(&self) -> (u64, u64);
}

impl Scribe for Recorder {
    type Piece = Piece;
    const MATTER: Matter = Matter::Capture;

    fn cost(piece: &Piece) -> usize {
        cost(piece)
    }

    fn frames(piece: &Piece) -> u64 {
        frames(piece)
    }

    fn header(&self) -> &[u8] {
        self.header()
    }

    fn miss(&mut self, frames: u64) {
        self.miss(frames);
    }

    fn take(&mut self, piece: &Piece, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        self.take(piece, out, ends);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finish(wall(), out);
    }

    fn counted(&self) -> (u64, u64) {
        let Counted { passed, missed, .. } = self.counted();
        (passed, missed)
    }
}

impl Scribe for FateWriter {
    type Piece = Journal;
    const MATTER: Matter = Matter::Fates;

    fn cost(journal: &Journal) -> usize {
        journal_cost(journal)
    }

    fn frames(journal: &Journal) -> u64 {
        journal_frames(journal)
    }

    fn header(&self) -> &[u8] {
        self.header()
    }

    fn miss(&mut self, frames: u64) {
        self.miss(frames);
    }

    fn take(&mut self, journal: &Journal, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        self.take(journal, out, ends);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finish(out);
    }

    fn counted(&self) -> (u64, u64) {
        self.counted()
    }
}

/// The bytes that notes cost while they wait.
pub fn journal_cost(journal: &Journal) -> usize {
    std::mem::size_of::<Journal>() + journal.notes.len() * std::mem::size_of::<FateNote>()
}

/// The frames that notes are about.
pub fn journal_frames(journal: &Journal) -> u64 {
    journal.notes.len() as u64 + journal.missed
}

/// Starts a capture of these ports, or of all, into the file at `path`.
///
/// # Errors
/// It cannot be made.
pub fn start_file(path: &Path, ports: Vec<String>) -> Result<(Inlet, Running)> {
    start(Wish { ports, ..Wish::default() }, Sink::path(path, Matter::Capture)?, Vec::new())
}

/// The state of a thread.
struct Work<S: Scribe> {
    scribe: S,
    pieces: Receiver<Arc<S::Piece>>,
    shared: Arc<Shared>,
    poll: Poll,
    /// Blocks that are to be written, and where each ends.
    out: Vec<u8>,
    ends: Vec<usize>,
    sink: Sink,
    /// When the last inlet was found to be gone.
    over: Option<Instant>,
    /// When something was taken last.
    moved: Instant,
}

impl<S: Scribe> Work<S> {
    fn run(mut self) {
        self.out.extend_from_slice(self.scribe.header());
        self.ends.push(self.out.len());
        let mut events = Events::with_capacity(4);
        loop {
            self.shared.called.store(false, Ordering::Release);
            if self.shared.feeds.load(Ordering::Acquire) == 0 {
                self.over.get_or_insert_with(Instant::now);
            }
            self.take_pieces();
            let waiting = self.out.len();
            if let Flow::Gone = self.write() {
                return self.tell();
            }
            if self.out.len() < waiting {
                self.moved = Instant::now();
            }
            let behind = self.is_behind();
            let all = !behind && self.pieces.is_empty();
            if self.over.is_some_and(|since| all || self.is_up(since)) {
                return self.finish();
            }
            let patience = match (behind, self.over) {
                // Another piece may have come while this was written.
                (false, _) if !self.pieces.is_empty() => Some(Duration::ZERO),
                (_, Some(_)) => Some(END / 8),
                _ => self.sink.patience(),
            };
            if let Err(error) = self.poll.poll(&mut events, patience)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return log::error!("a {} ends: {error}", S::MATTER.word());
            }
            if events.iter().any(|event| event.token() == SINK) && self.sink.has_parted() {
                self.forget();
            }
        }
    }

    /// Whether the rest, which is written `since` then, is written no longer. A client may be busy with what it has.
    fn is_up(&self, since: Instant) -> bool {
        let is_stuck = self.sink.is_path() && since.max(self.moved).elapsed() > END;
        is_stuck || since.elapsed() > LONGEST_END
    }

    /// Whether what is to be written waits for a reader.
    fn is_behind(&self) -> bool {
        !self.out.is_empty()
    }

    /// Puts pieces into blocks, while there is room for these.
    fn take_pieces(&mut self) {
        while self.out.len() < OUT_BYTES {
            match self.pieces.try_recv() {
                Ok(piece) => {
                    self.shared.waiting.fetch_sub(S::cost(&piece), Ordering::Relaxed);
                    self.scribe.miss(self.shared.missed.swap(0, Ordering::Relaxed));
                    self.scribe.take(&piece, &mut self.out, &mut self.ends);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self) -> Flow {
        let mut met = false;
        let flow = loop {
            match self.sink.write(&mut self.out, &self.ends, self.poll.registry(), SINK) {
                // A new reader gets the file from its beginning.
                Ok(Flow::Met) if !met => {
                    met = true;
                    self.begin_anew();
                }
                Ok(Flow::Missed(frames)) => {
                    self.scribe.miss(frames);
                    break Flow::On;
                }
                Ok(Flow::Left) => {
                    self.forget();
                    break Flow::On;
                }
                Ok(flow) => break flow,
                Err(error) => {
                    log::error!("{} to {} ends: {error}", S::MATTER.word(), self.sink.name());
                    break Flow::Gone;
                }
            }
        };
        if self.out.is_empty() {
            self.ends.clear();
        }
        flow
    }

    fn begin_anew(&mut self) {
        self.out.clear();
        self.ends.clear();
        self.out.extend_from_slice(self.scribe.header());
        self.ends.push(self.out.len());
    }

    /// The reader is gone: discards its backlog.
    fn forget(&mut self) {
        self.out.clear();
        self.ends.clear();
    }

    /// Counts pieces that are not written any more as missed.
    fn skip_pieces(&mut self) {
        let skipped: u64 = self.pieces.try_iter().map(|piece| S::frames(&piece)).sum();
        self.scribe.miss(skipped + self.shared.missed.swap(0, Ordering::Relaxed));
    }

    /// Writes the statistics, as far as they are taken.
    fn finish(mut self) {
        self.skip_pieces();
        if self.is_behind() && self.sink.is_path() {
            return self.tell();
        }
        self.scribe.finish(&mut self.out);
        self.ends.push(self.out.len());
        let begun = Instant::now();
        let (mut moved, mut waiting) = (begun, self.out.len());
        let mut events = Events::with_capacity(4);
        while let Ok(Flow::On) = self.sink.write(&mut self.out, &self.ends, self.poll.registry(), SINK)
            && self.is_behind()
            && moved.elapsed() < END
            && begun.elapsed() < LONGEST_END
        {
            let _ = self.poll.poll(&mut events, Some(END / 8));
            if self.out.len() < waiting {
                (moved, waiting) = (Instant::now(), self.out.len());
            }
        }
        self.tell();
    }

    /// Says that it is over, and what is missing.
    fn tell(&self) {
        let (passed, missed) = self.scribe.counted();
        let word = S::MATTER.word();
        let (name, plural) = (self.sink.name(), if passed == 1 { "" } else { "s" });
        match (missed, self.sink.is_path()) {
            (0, _) => log::info!("{word} to {name} is over: {passed} frame{plural}"),
            (_, true) => log::warn!("{word} to {name} is over; {missed} frames are missing in it"),
            (_, false) => log::info!("{word} to {name} is over: {passed} frame{plural}, {missed} missed"),
        }
    }
}
