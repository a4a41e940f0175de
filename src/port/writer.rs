//! A descriptor that is written by a thread of its own, so that a slow reader blocks no other thread.
//!
//! Theory of operation. Output is put into a bounded queue, which costs a copy. The thread takes the whole queue at
//! once and writes it, and may block for any time: on a stopped terminal (Ctrl-S), a pipe whose reader hangs, a FIFO
//! that nobody has opened. While the queue is full, output is lost and counted; among lines, one line says how many are
//! missing as soon as there is room again.
//!
//! A producer that may block pushes patiently: it waits for room as long as the reader goes on reading (back-pressure).
//! A reader that has read nothing for [`PATIENCE`] is not waited for any more.

use crate::error::{Error, Result};
use crate::rights::role::{BASE, BLOCKS, SOCKETS};
use crate::rights::{self, Role};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that wait at most. One text that is longer is taken by a queue that is empty.
const LIMIT: usize = 1 << 20;
/// Capacity that an emptied queue keeps.
const KEPT: usize = 64 << 10;
/// How long a reader that reads nothing is waited for.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// The treatment of lost output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// A line says how many lines are missing where they are.
    Said,
    /// It is only counted: bytes are written as they are, and nothing between them.
    Counted,
}

/// See the module. Dropping it writes the queue as long as the reader goes on reading.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
    /// For those who wait: something has been written.
    progress: Condvar,
    lost: Lost,
}

#[derive(Debug)]
struct State {
    queue: Vec<u8>,
    /// Bytes that the thread has taken from the queue and not yet written.
    in_hand: usize,
    /// When the reader last took something, or began to be waited for.
    moved: Instant,
    /// Lost lines that were not reported yet.
    missing: u64,
    /// The first failure that was not reported yet.
    failure: Option<Errno>,
    /// The last write has failed.
    fails: bool,
    /// Writes work again after a failure; not reported yet.
    recovered: bool,
    /// A line was begun, and its rest is lost.
    torn: bool,
    /// Nobody will read any more.
    dead: bool,
    closing: bool,
    ended: bool,
}

impl State {
    fn waiting(&self) -> usize {
        self.queue.len() + self.in_hand
    }

    fn takes(&self, bytes: usize) -> bool {
        self.dead || self.waiting() == 0 || self.waiting() + bytes <= LIMIT
    }

    /// Queues the line on missing lines.
    fn note(&mut self, lost: Lost) {
        let missing = std::mem::take(&mut self.missing);
        if missing > 0 && lost == Lost::Said {
            let lines = if missing == 1 { "1 line was" } else { &format!("{missing} lines were") };
            let end = if std::mem::take(&mut self.torn) { "\n" } else { "" };
            self.queue
                .extend_from_slice(format!("{end}zbridge: {lines} lost here: they were not read in time\n").as_bytes());
        }
    }
}

/// It writes to open descriptors.
static ROLE: Role = Role::new("writer", &[BASE, SOCKETS, BLOCKS]);

impl Writer {
    /// Starts a thread called `name` that writes `fd`.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(name: &str, fd: OwnedFd, lost: Lost) -> Result<Self> {
        let state = State {
            queue: Vec::new(),
            in_hand: 0,
            moved: Instant::now(),
            missing: 0,
            failure: None,
            fails: false,
            recovered: false,
            torn: false,
            dead: false,
            closing: false,
            ended: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), progress: Condvar::new(), lost });
        let theirs = shared.clone();
        let started = rights::spawn(name, &ROLE, move || theirs.run(fd));
        started.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(Self { shared })
    }

    /// Queues `text`, which for [`Lost::Said`] is whole lines. False: there was no room, and it is lost.
    pub fn push(&self, text: &[u8]) -> bool {
        self.shared.push(&mut self.shared.state.lock(), text)
    }

    /// The same, but waits for room while the reader goes on reading.
    pub fn push_patiently(&self, text: &[u8]) -> bool {
        let mut state = self.shared.state.lock();
        while !state.takes(text.len()) {
            let Some(left) = PATIENCE.checked_sub(state.moved.elapsed()).filter(|left| !left.is_zero()) else { break };
            self.shared.progress.wait_for(&mut state, left);
        }
        self.shared.push(&mut state, text)
    }

    /// Waits until all that was queued is written, for `at_most` so long and while the reader goes on reading. Whether it
    /// is written.
    pub fn flush(&self, at_most: Duration) -> bool {
        let end = Instant::now() + at_most;
        let mut state = self.shared.state.lock();
        while state.waiting() > 0 && !state.dead {
            let until = end.min(state.moved + PATIENCE);
            if self.shared.progress.wait_until(&mut state, until).timed_out() && until <= Instant::now() {
                return state.waiting() == 0;
            }
        }
        true
    }

    /// The first failed write since the last call. A reader that has gone (EPIPE) is no failure.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.shared.state.lock().failure.take().map(io::Error::from)
    }

    /// Whether writes work again after a failure. Reported once.
    pub fn take_recovery(&self) -> bool {
        let mut state = self.shared.state.lock();
        !state.fails && std::mem::take(&mut state.recovered)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closing = true;
        self.shared.work.notify_one();
        // At the end the descriptor is closed, which releases its locks.
        while !state.ended && state.moved.elapsed() < PATIENCE {
            let until = state.moved + PATIENCE;
            self.shared.progress.wait_until(&mut state, until);
        }
    }
}

impl Shared {
    fn push(&self, state: &mut State, text: &[u8]) -> bool {
        if state.dead {
            return true;
        }
        if !state.takes(text.len()) {
            state.missing += lines(text);
            return false;
        }
        if state.waiting() == 0 {
            state.moved = Instant::now();
            self.work.notify_one();
        }
        state.note(self.lost);
        state.queue.extend_from_slice(text);
        true
    }

    /// The thread.
    fn run(&self, fd: OwnedFd) {
        let mut taken = Vec::new();
        while self.take(&mut taken) {
            let mut done = 0;
            while let Some(rest) = taken.get(done..).filter(|rest| !rest.is_empty()) {
                let written = write_once(&fd, rest);
                let mut state = self.state.lock();
                let count = match written {
                    Ok(count) => count,
                    Err(Errno::PIPE) => {
                        state.dead = true;
                        rest.len()
                    }
                    Err(errno) => {
                        state.failure.get_or_insert(errno);
                        state.missing += lines(rest);
                        rest.len()
                    }
                };
                state.recovered |= state.fails && written.is_ok();
                state.fails = written.is_err();
                if state.fails {
                    state.torn |= taken[..done].last().is_some_and(|last| *last != b'\n');
                }
                done += count;
                state.in_hand -= count;
                state.moved = Instant::now();
                if state.dead {
                    state.queue = Vec::new();
                }
                self.progress.notify_all();
            }
        }
        drop(fd);
        self.state.lock().ended = true;
        self.progress.notify_all();
    }

    /// Waits for something to write, and takes it. False: it is over.
    fn take(&self, taken: &mut Vec<u8>) -> bool {
        taken.clear();
        taken.shrink_to(KEPT);
        let mut state = self.state.lock();
        loop {
            if state.queue.is_empty() && !state.fails {
                state.note(self.lost);
            }
            if !state.queue.is_empty() {
                std::mem::swap(&mut state.queue, taken);
                state.in_hand = taken.len();
                return true;
            }
            if state.closing {
                return false;
            }
            self.work.wait(&mut state);
        }
    }
}

fn lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes some of `bytes`, at least one. A descriptor that somebody has made non-blocking is waited for.
fn write_once(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match write(fd, bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // It fails for want of memory only, and then is tried again.
                let _ = poll(&mut [PollFd::new(fd, PollFlags::OUT)], None);
            }
            Ok(0) => return Err(Errno::IO),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    fn writer(lost: Lost) -> (Writer, PipeReader) {
        let (reader, fd) = io::pipe().unwrap();
        (Writer::start("test", fd.into(), lost).unwrap(), reader)
    }

    fn line(number: usize) -> String {
        format!("{number:099}\n")
    }

    #[test]
    fn what_is_pushed_is_read_in_order() {
        let (writer, mut reader) = writer(Lost::Said);
        assert!(writer.push(b"one\n") && writer.push_patiently(b"two\n") && writer.flush(PATIENCE));
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn who_does_not_read_holds_up_nobody_and_learns_what_is_missing() {
        let (writer, mut reader) = writer(Lost::Said);
        let pushed = 30_000;
        let kept = (0..pushed).filter(|number| writer.push(line(*number).as_bytes())).count();
        assert!(kept < pushed && kept >= LIMIT / 100, "{kept} of {pushed}");
        assert!(!writer.flush(Duration::ZERO), "nobody has read it");
        let mut got = vec![0; kept * 100];
        reader.read_exact(&mut got).unwrap();
        let whole = (0..kept).map(line).collect::<String>();
        assert!(got == whole.as_bytes(), "the first that came are there, whole and in order");
        assert!(writer.push(b"later\n"));
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let missing = pushed - kept;
        assert_eq!(rest, format!("zbridge: {missing} lines were lost here: they were not read in time\nlater\n"));
    }

    #[test]
    fn a_slow_reader_misses_nothing_of_who_is_patient() {
        let (writer, mut reader) = writer(Lost::Counted);
        let all: String = (0..3 * LIMIT / 100).map(line).collect();
        let wanted = all.len();
        let read = std::thread::spawn(move || {
            let mut got = Vec::new();
            let mut room = [0; 40_000];
            while got.len() < wanted {
                let count = reader.read(&mut room).unwrap();
                got.extend_from_slice(&room[..count]);
            }
            got
        });
        assert!(all.as_bytes().chunks(1000).all(|chunk| writer.push_patiently(chunk)));
        assert!(read.join().unwrap() == all.as_bytes());
    }

    #[test]
    fn patience_ends() {
        let (reader, fd) = UnixStream::pair().unwrap();
        let writer = Writer::start("test", fd.into(), Lost::Counted).unwrap();
        let chunk = [b'x'; 4096];
        while writer.push_patiently(&chunk) {}
        // By now nobody waits any more.
        let begun = Instant::now();
        assert!((0..1000).all(|_| !writer.push_patiently(&chunk)));
        assert!(begun.elapsed() < PATIENCE * 10);
        // Another test may just fork, and its child have the reader open for a while: so it is not only closed.
        reader.shutdown(Shutdown::Both).unwrap();
        // Patience is over already, so that flush waits no more: it may look before the writer has heard of it.
        while !writer.flush(Duration::from_secs(20)) {
            assert!(begun.elapsed() < Duration::from_secs(20), "who has gone needs nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(writer.push(&chunk) && writer.take_failure().is_none());
    }

    #[test]
    fn a_failure_is_told_once_and_it_goes_on() {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let writer = Writer::start("test", full.into(), Lost::Said).unwrap();
        for _ in 0..2 {
            assert!(writer.push(b"lost\n") && writer.flush(Duration::from_secs(20)));
            assert_eq!(writer.take_failure().unwrap().raw_os_error(), Some(libc::ENOSPC));
        }
        assert!(writer.take_failure().is_none());
    }
}
