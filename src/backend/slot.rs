//! A slot: the descriptor, disk or file behind a service's name, and whether it is readable or writable.
//!
//! It counts as readable or writable until a system call says otherwise; see the head of [`super`].

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

/// The thing behind a name.
pub(super) enum Owned {
    /// A socket of a flow, or one that listens for flows.
    Flow(Socket),
    /// A listener for streams.
    Listener(Box<Clients>),
    /// A socket or a pipe.
    Stream(OwnedFd),
    /// The master of a pseudo-terminal; programs at its other end come and go without an end of the stream.
    Terminal(Box<Terminal>),
    /// A regular file to be read.
    Read(File),
    /// A file that a thread of its own writes.
    Append(Box<Append>),
    /// A disk, and the jobs that it has done.
    Disk(Box<Disk>, VecDeque<JobDone>),
    /// A connection whose host name is being looked up, or the error of that.
    Unreachable(Option<io::Error>),
    /// Nothing: it is used by other names.
    Nothing,
}

/// A listener for streams.
pub(super) struct Clients {
    pub listener: Listener,
    /// One client at a time.
    pub single: bool,
    /// How long a client may be silent.
    pub patience: Duration,
    /// Since when there is no descriptor for a client.
    pub starved: Option<Instant>,
    pub starvation: Starvation,
}

/// See the module.
pub(super) struct Slot {
    pub owned: Owned,
    pub readable: bool,
    pub writable: bool,
    /// A short read has emptied it: true of sockets that have not ended.
    short_is_empty: bool,
}

impl Slot {
    /// A slot that counts as readable and writable until the first call.
    pub fn new(owned: Owned) -> Self {
        Self { owned, readable: true, writable: true, short_is_empty: false }
    }

    /// A connection under way, with keep-alive probes.
    pub fn dialled(socket: OwnedFd) -> io::Result<Self> {
        keep_alive::watch((&socket).into(), true, DEAD_PEER)?;
        Ok(Self { writable: false, short_is_empty: true, ..Self::new(Owned::Stream(socket)) })
    }

    /// A client of a listener.
    pub fn client(socket: OwnedFd, single: bool, patience: Duration) -> io::Result<Self> {
        // A listener with one client at a time is a serial line: a terminal at its end may be stopped.
        keep_alive::watch((&socket).into(), !single, patience)?;
        Ok(Self { short_is_empty: true, ..Self::new(Owned::Stream(socket)) })
    }

    /// Descriptors to poll: its own, and a terminal's watch. Others have none: they are always ready.
    pub fn fds(&self) -> [Option<RawFd>; 2] {
        match &self.owned {
            Owned::Flow(socket) => [Some(socket.as_raw_fd()), None],
            Owned::Listener(clients) => [Some(clients.listener.fd()), None],
            Owned::Stream(fd) => [Some(fd.as_raw_fd()), None],
            Owned::Terminal(terminal) => terminal.fds().map(Some),
            Owned::Read(_) | Owned::Append(_) | Owned::Disk(..) | Owned::Unreachable(_) | Owned::Nothing => [None; 2],
        }
    }

    /// Takes an event of the poll. Gives whether it became readable, and writable.
    pub fn hear(&mut self, event: &mio::event::Event) -> (bool, bool) {
        let ended = event.is_read_closed() || event.is_error();
        let mut readable = event.is_readable() || ended;
        let mut writable = event.is_writable() || event.is_write_closed() || event.is_error();
        if let Owned::Terminal(terminal) = &mut self.owned {
            // A terminal's events only make it check whether a program has it open.
            terminal.look();
            (readable, writable) = (true, true);
        }
        self.readable |= readable;
        self.writable |= writable;
        self.short_is_empty &= !ended;
        (readable, writable)
    }

    /// Notes the result of a read of `wanted` bytes.
    pub fn has_read(&mut self, result: io::Result<usize>, wanted: usize) -> io::Result<usize> {
        self.readable = match &result {
            Ok(count) => !(self.short_is_empty && 0 < *count && *count < wanted),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        result
    }

    /// Notes the result of a write.
    pub fn has_written(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        self.writable = !result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        result
    }
}
