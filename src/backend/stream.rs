//! One stream of the reactor: what it goes through, and how far it is.
//!
//! mio is edge-triggered: a stream notes that it is readable or writable until a system call says otherwise. How much is
//! read is bounded by the window that the service gives back.

use super::append::Append;
use super::terminal::Terminal;
use crate::codec::Pieces;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::os::fd::OwnedFd;

/// A read that gives so much is not copied.
const MUCH: usize = 16 << 10;
/// Pieces of one write.
const GATHER: usize = 16;
/// Bytes of one read.
const CHUNK: usize = 64 << 10;

/// What a stream goes through.
pub(super) enum Owned {
    /// A socket or a pipe.
    Polled(OwnedFd),
    /// The master of a pseudo-terminal, whose other end comes and goes without an end of the stream.
    Terminal(Terminal),
    /// A regular file to be read.
    Read(File),
    /// A file that a thread of its own writes, which also tells what has left.
    Append(Append),
}

/// See the module.
pub(super) struct StreamSlot {
    pub owned: Owned,
    /// The listener whose client it is.
    pub listener: Option<usize>,
    /// The want that was dialled, until it is connected.
    pub dialling: Option<usize>,
    pub readable: bool,
    pub writable: bool,
    /// A read that gives less than was asked for has emptied it: so it is with sockets that have not ended.
    pub short_is_empty: bool,
    /// Its end can be one of what comes alone: a socket's.
    half_closes: bool,
    /// Nothing more will come.
    pub finished: bool,
    /// Nothing more can be sent. What had come before that is still read.
    failed: bool,
    /// Bytes that may still be handed over.
    pub room: usize,
    pub outbox: Pieces,
    /// Bytes of the outbox that nobody has sent: breaks of a serial line. They are not told of.
    pub uncounted: usize,
    /// Looks into the terminal's other end, at the end.
    probe: Option<OwnedFd>,
}

impl StreamSlot {
    pub fn new(owned: Owned, listener: Option<usize>, dialling: Option<usize>) -> Self {
        // No event will come of what cannot be polled: it is always ready.
        let ready = matches!(owned, Owned::Read(_) | Owned::Append(_));
        Self {
            readable: ready,
            writable: ready,
            short_is_empty: listener.is_some() || dialling.is_some(),
            half_closes: listener.is_some() || dialling.is_some(),
            finished: false,
            failed: false,
            owned,
            listener,
            dialling,
            room: 0,
            outbox: Pieces::default(),
            uncounted: 0,
            probe: None,
        }
    }

    /// What was sent last was refused for good. What waits goes, and the end of what has come is that of the stream.
    pub fn fail(&mut self) {
        (self.failed, self.readable) = (true, true);
        self.outbox = Pieces::default();
    }

    /// Sends what waits. `sent` counts what has left.
    pub fn flush(&mut self, sent: &mut usize) -> io::Result<()> {
        while self.writable && !self.outbox.is_empty() {
            let mut pieces = [IoSlice::new(&[]); GATHER];
            let count = self.outbox.gather(&mut pieces);
            let pieces = &pieces[..count];
            let result = match &mut self.owned {
                Owned::Polled(fd) => rustix::io::writev(&*fd, pieces).map_err(io::Error::from),
                Owned::Terminal(terminal) => terminal.write(pieces),
                Owned::Append(file) => {
                    let taken = pieces.iter().map(|piece| piece.len()).sum();
                    pieces.iter().for_each(|piece| file.send(piece.to_vec()));
                    self.outbox.took(taken);
                    continue;
                }
                // Nothing can be sent to what is only read.
                Owned::Read(_) => Ok(self.outbox.first().len()),
            };
            match result {
                Ok(count) => {
                    self.outbox.took(count);
                    let own = count.min(self.uncounted);
                    self.uncounted -= own;
                    *sent += count - own;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the window allows. An end is an error, but where what is sent may still arrive.
    pub fn read(&mut self, buffer: &mut Vec<u8>, mut tell: impl FnMut(Vec<u8>)) -> io::Result<()> {
        while self.readable && self.room > 0 && !self.finished {
            let length = self.room.min(CHUNK);
            buffer.clear();
            buffer.reserve(CHUNK);
            let result = match &mut self.owned {
                // Where the window allows all that the buffer holds, it need not be filled with zeroes first.
                Owned::Polled(fd) if buffer.capacity() <= self.room => {
                    rustix::io::read(&*fd, spare_capacity(buffer)).map_err(io::Error::from)
                }
                owned => {
                    buffer.resize(length, 0);
                    match owned {
                        Owned::Polled(fd) => rustix::io::read(&*fd, &mut **buffer).map_err(io::Error::from),
                        Owned::Terminal(terminal) => terminal.read(buffer),
                        Owned::Read(file) => file.read(buffer),
                        Owned::Append(_) => Err(Errno::AGAIN.into()),
                    }
                }
            };
            match result {
                Ok(0) if self.half_closes && !self.failed => self.finished = true,
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.room -= count;
                    self.readable = self.failed || !(self.short_is_empty && count < length);
                    // Little is copied, so that the buffer stays; much leaves with the buffer.
                    if count < MUCH {
                        tell(buffer[..count].to_vec());
                    } else {
                        buffer.truncate(count);
                        tell(std::mem::replace(buffer, Vec::with_capacity(CHUNK)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.failed => self.readable = false,
                Err(error) => return Err(error),
            }
        }
        if self.failed && self.finished { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Bytes that a terminal has taken and the program at it has not read; `None` if there is neither.
    pub fn unread(&mut self) -> Option<usize> {
        let Owned::Terminal(terminal) = &self.owned else { return None };
        if self.probe.is_none() {
            self.probe = terminal.program_end();
        }
        let end = self.probe.as_ref()?;
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // The count is of the terminal's own buffer; a poll first fills that from the one behind it (`n_tty_poll`). The
        // program may read between the two, so that nothing is counted although there is more.
        rustix::event::poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&now)).ok()?;
        usize::try_from(rustix::io::ioctl_fionread(end).ok()?).ok()
    }

    /// Looks whether a terminal's other end is there: what that changed to, if it did.
    pub fn look(&mut self) -> Option<bool> {
        let Owned::Terminal(terminal) = &mut self.owned else { return None };
        let there = terminal.look()?;
        self.readable |= there;
        self.writable |= there;
        Some(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// A peer that has answered and closed before it has read all of what it was sent.
    #[test]
    fn what_came_before_a_failure_is_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(b"answer").unwrap();
        drop(theirs);
        let mut slot = StreamSlot::new(Owned::Polled(ours.into()), Some(0), None);
        slot.outbox.push(b"the rest of a request".to_vec());
        (slot.writable, slot.room) = (true, 3);
        assert!(slot.flush(&mut 0).is_err());
        slot.fail();
        let mut came = Vec::new();
        let mut read = |slot: &mut StreamSlot| slot.read(&mut Vec::new(), |bytes| came.extend(bytes));
        assert!(read(&mut slot).is_ok(), "there is no room for all of it yet");
        slot.room = 10;
        assert!(read(&mut slot).is_err() && !slot.finished, "it does not seem whole");
        assert_eq!(came, b"answer");
    }
}
