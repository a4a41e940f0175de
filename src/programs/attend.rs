//! Who attends a program that was started, each on a thread of its own: who reads what it writes, and who waits for its
//! start and for its end. They tell the driver of what happens ([`Told`]).
//!
//! Two readers print line by line and keep what the program writes; they look for the line that says that it is ready.
//! What they print and keep is written aside ([`crate::port::writer`]): a reader who is slow slows the programs down, as
//! it would without zbridge; one who does not read at all (`| less`) holds up neither them nor the supervisor.

use super::Screen;
use super::guest::Seat;
use super::log::Log;
use super::output::Lines;
use super::ready::ReadyLine;
use super::supervisor::End;
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

/// After how long a line that has not ended is shown as it is: a prompt.
const PROMPT: Duration = Duration::from_millis(300);
/// How long output may still come when a program has ended: something that it started may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// What is told of an instance. When nobody listens any more, the bench is over.
pub enum Told {
    /// The program of the instance runs.
    Started(usize),
    /// It could not be started.
    Failed(usize, NotStarted),
    /// The instance is ready.
    Ready(usize),
    /// The program has made another interface.
    Interface(usize, InterfaceEnd),
    /// The guest is at its socket.
    Seated(usize),
    /// The instance has ended.
    Exit(usize, End),
    /// Something to say.
    Say(Error),
}

/// It reads what a program writes, and has it written to its log and shown, as a terminal has it.
static OUTPUT: Role = Role::new("output", &[BASE, SOCKETS]);

/// Reads one of the streams of a program.
#[derive(Clone)]
pub struct Reader {
    pub index: usize,
    pub screen: Arc<dyn Screen>,
    pub log: Arc<Mutex<Log>>,
    pub ready: Option<ReadyLine>,
    pub told: Sender<Told>,
}

impl Reader {
    /// Reads `pipe` to its end on a thread of its own, which begins when nobody has the other end of `begin` any more.
    /// `done` is dropped when it is over.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn spawn(self, pipe: impl Read + AsFd + Send + 'static, begin: Receiver<()>, done: Sender<()>) -> Result<()> {
        let read = move || {
            // Nobody sends anything: it fails when the sender is gone.
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
                lines.flush(&mut |line| self.screen.line(self.index, line));
                self.look(|ready| ready.pause());
            }
            match pipe.read(&mut room) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let bytes = room.get(..count).unwrap_or_default();
                    let trouble = self.log.lock().write(bytes);
                    self.warn(trouble);
                    lines.push(bytes, &mut |line| self.screen.line(self.index, line));
                    self.look(|ready| ready.push(bytes));
                }
            }
        }
        lines.flush(&mut |line| self.screen.line(self.index, line));
        self.look(|ready| ready.pause());
        let trouble = self.log.lock().settle();
        self.warn(trouble);
    }

    /// Tells that the instance is ready, once, if `is_it` says so.
    fn look(&mut self, is_it: impl FnOnce(&mut ReadyLine) -> bool) {
        if self.ready.as_mut().is_some_and(is_it) {
            self.ready = None;
            // What says so is in the log when it is told.
            let trouble = self.log.lock().settle();
            self.warn(trouble);
            let _ = self.told.send(Told::Ready(self.index));
        }
    }

    fn warn(&self, trouble: Option<String>) {
        trouble.into_iter().for_each(|what| self.screen.warn(&Error::new(Class::Runtime, what)));
    }
}

/// Whether more comes, or the end, before a line that has begun is shown.
fn has_more(pipe: &impl AsFd) -> bool {
    let Ok(time) = Timespec::try_from(PROMPT) else { return true };
    !matches!(poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&time)), Ok(0))
}

/// It hears of the program's start, its interfaces and its end.
static CHILD: Role = Role::new("child", &[BASE, SOCKETS, &["wait4", "waitid"]]);

/// Waits for the start of a program, which may take until the network has given it an address, and for its end, and looks
/// after what it should do before.
pub struct Waiter {
    pub index: usize,
    pub child: Arc<Child>,
    pub watch: Watch,
    /// Where a guest is still to come.
    pub seat: Option<Seat>,
    /// Has the readers begin when it is dropped, which is not before it was told that the program runs: then it may be
    /// ready.
    pub begin: Sender<()>,
    /// Disconnected when all readers have reached the end: nobody can send any more.
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
