//! The client's end of a capture: the bytes of a pcapng file, as they come.

use super::client::Client;
use crate::control::{Command, Wish};
use crate::error::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A capture that a bridge sends. It ends when this is dropped, or by [`Stopper::stop`].
pub struct Capturing {
    socket: UnixStream,
    /// Bytes that came with the answer.
    rest: Vec<u8>,
}

/// Ends a capture from another thread.
pub struct Stopper(UnixStream);

impl Client {
    /// Has frames captured, of one switch or of all.
    ///
    /// # Errors
    /// As [`Client::request`]: a wrong filter (usage), no such switch or port (no-object).
    pub fn capture(mut self, switch: Option<&str>, wish: Wish) -> Result<Capturing> {
        let command = Command::Capture { switch: switch.map(str::to_owned), wish };
        let _: serde_json::Value = self.request(command)?;
        let (socket, rest) = self.into_stream();
        // There may be no traffic for any length of time.
        socket.set_read_timeout(None).map_err(|cause| Error::system("control socket", &cause))?;
        Ok(Capturing { socket, rest })
    }
}

impl Capturing {
    /// A handle that ends it from another thread.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn stopper(&self) -> Result<Stopper> {
        self.socket.try_clone().map(Stopper).map_err(|cause| Error::system("control socket", &cause))
    }

    /// Reads, as [`Self::read`] does, when `wait` has waited for its descriptor; nothing when that gives up. It is asked
    /// again while nothing has come.
    pub(crate) fn read_within(
        &mut self,
        room: &mut [u8],
        wait: impl Fn(BorrowedFd<'_>) -> bool,
    ) -> Option<std::io::Result<usize>> {
        let has_come = |socket: &UnixStream| {
            let mut fds = [PollFd::new(socket, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
        };
        while self.rest.is_empty() && !has_come(&self.socket) {
            if !wait(self.socket.as_fd()) {
                return None;
            }
        }
        Some(self.read(room))
    }

    /// Reads the bytes that have come; 0: the end.
    ///
    /// # Errors
    /// The connection broke.
    pub fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        if !self.rest.is_empty() {
            let count = self.rest.len().min(room.len());
            let part = self.rest.drain(..count);
            room.iter_mut().zip(part).for_each(|(place, byte)| *place = byte);
            return Ok(count);
        }
        loop {
            match self.socket.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A bridge that has ended, or is about to, sends no more.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
                done => return done,
            }
        }
    }
}

impl Stopper {
    /// Ends the capture: frames captured so far still come, and the statistics.
    pub fn stop(&self) {
        // A capture that is over has stopped.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Ends it without the rest.
    pub fn cut(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
