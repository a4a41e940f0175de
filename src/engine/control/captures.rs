//! Captures that clients of the control socket have asked for, and how many there may be.
//!
//! Theory of operation. The client's connection becomes the capture's: its thread writes the answer and what follows, and
//! the thread of the control socket only hears when the client has closed its side, or is gone. Then the switches capture
//! no more for it, the thread writes what is left and the statistics, and ends by itself; nobody waits for it.

use crate::capture::Wish;
use crate::control::{Reply, print};
use crate::engine::command::Handle;
use crate::engine::recorder::{self, Running, Sink};
use crate::error::{Error, Result};
use std::os::fd::BorrowedFd;

/// Captures of clients at a time.
pub const CAPTURES: usize = 16;

/// A capture of a client.
pub struct Captured {
    number: u64,
    handles: Vec<Handle>,
    running: Option<Running>,
}

impl Captured {
    /// Has frames captured and sent to `socket`, that of `who`, behind the answer to the request `id`.
    ///
    /// # Errors
    /// The wish is wrong; a switch has ended; the system has no thread or descriptor left.
    pub fn start(id: Option<u64>, handles: Vec<Handle>, wish: Wish, who: &str, socket: BorrowedFd<'_>) -> Result<Self> {
        let copy = socket.try_clone_to_owned().map_err(|error| Error::system("cannot start a capture", &error))?;
        let preamble = print(&Reply::ok(id, &serde_json::json!({})));
        // A refusal is an ordinary answer: the capture writes nothing before it is told to begin.
        let (begin, begun) = crossbeam_channel::bounded(1);
        let (inlet, running) = recorder::start(wish, Sink::Socket(copy, who.to_owned(), Some(begun)), preamble)?;
        let captured = Self { number: inlet.number, handles, running: Some(running) };
        for handle in &captured.handles {
            handle.capture(inlet.clone())?;
        }
        // Fails only when the capture has ended.
        let _ = begin.send(());
        Ok(captured)
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.handles.iter().for_each(|handle| handle.end_capture(self.number));
        self.running.take().into_iter().for_each(Running::leave);
    }
}
