//! What a name of a service stands for, and whether there is something to be had of it.
//!
//! A slot notes that it is readable or writable until a system call says otherwise; see the head of [`super`].

use super::append::Append;
use super::disk::Disk;
use super::keep_alive;
use super::terminal::Terminal;
use crate::limits::DEAD_PEER;
use crate::port::Listener;
use crate::port::accept::Starvation;
use crate::service::outside::JobDone;
use socket2::Socket;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// What a name stands for.
pub(super) enum Owned {
    /// A socket of a flow, or one that listens for flows.
    Flow(Socket),
    /// A socket whose clients are streams.
    Listener(Box<Clients>),
    /// A socket or a pipe.
    Stream(OwnedFd),
    /// The master of a pseudo-terminal, whose other end comes and goes without an end of the stream.
    Terminal(Box<Terminal>),
    /// A regular file to be read.
    Read(File),
    /// A file that a thread of its own writes.
    Append(Box<Append>),
    /// A disk, and the jobs that it has done.
    Disk(Box<Disk>, VecDeque<JobDone>),
    /// What is to be dialled, as long as its address is looked up, or why it cannot be.
    Unreachable(Option<io::Error>),
    /// What is used by other names.
    Nothing,
}

/// A socket whose clients are streams.
pub(super) struct Clients {
    pub listener: Listener,
    /// They take turns.
    pub single: bool,
    /// How long one may be silent.
    pub patience: Duration,
    /// The system had nothing left for a client, since then.
    pub starved: Option<Instant>,
    pub starvation: Starvation,
}

/// See the module.
pub(super) struct Slot {
    pub owned: Owned,
    pub readable: bool,
    pub writable: bool,
    /// A read that gives less than was asked for has emptied it: so it is with sockets that have not ended.
    short_is_empty: bool,
}

impl Slot {
    /// What may have something, and may take something: the first call tells.
    pub fn new(owned: Owned) -> Self {
        Self { owned, readable: true, writable: true, short_is_empty: false }
    }

    /// A connection under way, whose other end is asked for signs of life.
    pub fn dialled(socket: OwnedFd) -> io::Result<Self> {
        keep_alive::watch((&socket).into(), true, DEAD_PEER)?;
        Ok(Self { writable: false, short_is_empty: true, ..Self::new(Owned::Stream(socket)) })
    }

    /// A client of a listener.
    pub fn client(socket: OwnedFd, single: bool, patience: Duration) -> io::Result<Self> {
        // A listener whose clients take turns is a serial line: a terminal at its end may be stopped.
        keep_alive::watch((&socket).into(), !single, patience)?;
        Ok(Self { short_is_empty: true, ..Self::new(Owned::Stream(socket)) })
    }

    /// What can be waited for, and the watch beside it. No event will come of the others: they are always ready.
    pub fn fds(&self) -> [Option<RawFd>; 2] {
        match &self.owned {
            Owned::Flow(socket) => [Some(socket.as_raw_fd()), None],
            Owned::Listener(clients) => [Some(clients.listener.fd()), None],
            Owned::Stream(fd) => [Some(fd.as_raw_fd()), None],
            Owned::Terminal(terminal) => terminal.fds().map(Some),
            Owned::Read(_) | Owned::Append(_) | Owned::Disk(..) | Owned::Unreachable(_) | Owned::Nothing => [None; 2],
        }
    }

    /// Takes an event of the poll. Gives what is readable and writable by it.
    pub fn hear(&mut self, event: &mio::event::Event) -> (bool, bool) {
        let ended = event.is_read_closed() || event.is_error();
        let mut readable = event.is_readable() || ended;
        let mut writable = event.is_writable() || event.is_write_closed() || event.is_error();
        if let Owned::Terminal(terminal) = &mut self.owned {
            // Of what its events say only this counts: who has it open.
            terminal.look();
            (readable, writable) = (true, true);
        }
        self.readable |= readable;
        self.writable |= writable;
        self.short_is_empty &= !ended;
        (readable, writable)
    }

    /// Notes what a read of so many bytes gave.
    pub fn has_read(&mut self, result: io::Result<usize>, wanted: usize) -> io::Result<usize> {
        self.readable = match &result {
            Ok(count) => !(self.short_is_empty && 0 < *count && *count < wanted),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        result
    }

    /// Notes what a write gave.
    pub fn has_written(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        self.writable = !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        result
    }
}
