//! The threads of a started program: readers of its output, and a waiter for its start and end. They send events to the
//! driver ([`Told`]).
//!
//! Two readers (stdout, stderr) print and log the output line by line, and look for the line that says that the program
//! is ready. Another thread writes it ([`crate::port::writer`]): a slow reader of zbridge's output slows the programs
//! down, as it would without zbridge; one that does not read at all (`| less`) blocks neither them nor the supervisor.

use super::Screen;
use super::end::End;
use super::guest::Seat;
use super::log::Log;
use super::output::{Lines, readable};
use super::ready::ReadyLine;
use crate::engine::control::{Board, LINE_BYTES};
use crate::error::{Class, Error, Result};
use crate::launch::{self, Child, InterfaceEnd, NotStarted, Watch};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

/// Pause after which an unfinished line (a prompt) is shown.
const PROMPT: Duration = Duration::from_millis(300);
/// How long output is still read when a program has ended: its children may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// An event of an instance. Sending fails only when the bench is over.
pub enum Told {
    /// The program of the instance runs.
    Started(usize),
    /// It could not be started.
    Failed(usize, NotStarted),
    /// The instance is ready.
    Ready(usize),
    /// The program has made another interface.
    Interface(usize, InterfaceEnd),
    /// The guest has connected to its socket.
    Seated(usize),
    /// The instance has ended.
    Exit(usize, End),
    /// Something to say.
    Say(Error),
}

/// It reads a program's output, and passes it to the log's and the screen's writer.
static OUTPUT: Role = Role::new("output", &[BASE, SOCKETS]);

/// Reads one of the streams of a program.
#[derive(Clone)]
pub struct Reader {
    pub index: usize,
    pub screen: Arc<dyn Screen>,
    pub log: Arc<Mutex<Log>>,
    pub ready: Option<ReadyLine>,
    pub told: Sender<Told>,
    pub board: Arc<Board>,
}

impl Reader {
    /// Reads `pipe` to its end on a new thread, which begins when all senders of `begin` are dropped, and drops `done`
    /// at its end.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn spawn(self, pipe: impl Read + AsFd + Send + 'static, begin: Receiver<()>, done: Sender<()>) -> Result<()> {
        let read = move || {
            // Nothing is sent: `recv` returns when the sender is dropped.
            let _ = begin.recv();
            self.run(pipe);
            drop(done);
        };
        let started = rights::spawn("zb-output", &OUTPUT, read);
        started.map(drop).map_err(|error| Error::system("cannot start a thread", &error))
    }

    fn run(mut self, mut pipe: impl Read + AsFd) {
        let mut lines = Lines::default();
        let mut room = vec![0; CHUNK];
        loop {
            if lines.has_partial() && !has_more(&pipe) {
                lines.flush(&mut |line| self.show(line));
                self.look(|ready| ready.pause());
            }
            match pipe.read(&mut room) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let bytes = room.get(..count).unwrap_or_default();
                    let trouble = self.log.lock().write(bytes);
                    self.warn(trouble);
                    lines.push(bytes, &mut |line| self.show(line));
                    self.look(|ready| ready.push(bytes));
                }
            }
        }
        lines.flush(&mut |line| self.show(line));
        self.look(|ready| ready.pause());
        let trouble = self.log.lock().settle();
        self.warn(trouble);
    }

    /// Shows a line, and keeps it for those who ask for the last ones.
    fn show(&self, line: &[u8]) {
        self.board.line(self.index, readable(line.get(..LINE_BYTES).unwrap_or(line), false));
        self.screen.line(self.index, line);
    }

    /// Tells that the instance is ready, once, if `is_it` says so.
    fn look(&mut self, is_it: impl FnOnce(&mut ReadyLine) -> bool) {
        if self.ready.as_mut().is_some_and(is_it) {
            self.ready = None;
            // The log has the line before the event is sent.
            let trouble = self.log.lock().settle();
            self.warn(trouble);
            let _ = self.told.send(Told::Ready(self.index));
        }
    }

    fn warn(&self, trouble: Option<String>) {
        trouble.into_iter().for_each(|what| self.screen.warn(&Error::new(Class::Runtime, what)));
    }
}

/// Waits for more output, or its end, within [`PROMPT`].
fn has_more(pipe: &impl AsFd) -> bool {
    let Ok(time) = Timespec::try_from(PROMPT) else { return true };
    !matches!(poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&time)), Ok(0))
}

/// It hears of the program's start, its interfaces and its end.
static CHILD: Role = Role::new("child", &[BASE, SOCKETS, &["wait4", "waitid"]]);

/// Waits for the start of a program (perhaps until it has an address by DHCP) and for its end; meanwhile it takes new
/// interfaces, and warns of TAPs that the program does not open.
pub struct Waiter {
    pub index: usize,
    pub child: Arc<Child>,
    pub watch: Watch,
    /// The place of a guest that has still to connect.
    pub seat: Option<Seat>,
    /// Dropped to let the readers begin, after [`Told::Started`] was sent: only then may the program be ready.
    pub begin: Sender<()>,
    /// Disconnected when all readers have reached the end and dropped their senders.
    pub readers: Receiver<()>,
    pub told: Sender<Told>,
}

impl Waiter {
    /// Does so on a thread of its own.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn spawn(self) -> Result<()> {
        let started = rights::spawn("zb-child", &CHILD, move || self.run());
        started.map(drop).map_err(|error| Error::system("cannot start a thread", &error))
    }

    fn run(mut self) {
        if let Err(failed) = self.child.wait_start() {
            return self.tell(Told::Failed(self.index, failed));
        }
        self.tell(Told::Started(self.index));
        drop(self.begin);
        let tell = |told| drop(self.told.send(told));
        let status = loop {
            let looks = !self.watch.is_over() || self.seat.is_some();
            let ended = self.child.wait_a_while(looks.then_some(Watch::INTERVAL));
            self.child.links().try_iter().for_each(|link| tell(Told::Interface(self.index, link)));
            if let Some(status) = ended {
                break status;
            }
            self.watch.look().into_iter().for_each(|error| tell(Told::Say(error)));
            if self.seat.as_ref().is_some_and(Seat::is_taken) {
                self.seat = None;
                tell(Told::Seated(self.index));
            }
        };
        let _ = self.readers.recv_timeout(LAST_WORDS);
        tell(Told::Exit(self.index, end(status)));
    }

    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}

fn end(status: ExitStatus) -> End {
    match status.signal() {
        Some(signal) => End::Signal(signal),
        None => End::Status(launch::exit_code(status)),
    }
}
