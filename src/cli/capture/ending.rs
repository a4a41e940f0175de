//! The end of a capture: who has wished for it, and how long what is left may take.
//!
//! Theory of operation. A thread waits for a signal, for the time, and for whoever reads to leave. Then it closes this side
//! of the connection, by which the bridge sends the rest. Whoever writes looks here whether an output that takes nothing is
//! still to be waited for.

use super::super::stop::ORDERLY;
use crate::engine::control::Stopper;
use crate::error::{Error, Result};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, after, bounded, never, select};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// It waits for a signal, or the time, and ends the capture.
static ROLE: Role = Role::new("end of capture", &[BASE, SOCKETS]);

/// How often it is looked whether anybody reads.
const LOOK: Duration = Duration::from_millis(250);
/// How long the rest may take to whoever reads.
const REST: Duration = Duration::from_secs(3);
/// How long the bridge may take for the rest and the statistics, which come last. Under load it may hear late of the end;
/// it then sends for four seconds at most. After a signal this ends before [`ORDERLY`] does.
const FROM_BRIDGE: Duration = Duration::from_secs(10);
const AFTER_SIGNAL: Duration = Duration::from_millis(4200);
const _: () = assert!(AFTER_SIGNAL.as_millis() < ORDERLY.as_millis());
/// How long a reader may take nothing once the end is wished for.
const GRACE: Duration = Duration::from_millis(500);

/// See the head of the file.
#[derive(Default, Debug)]
pub struct Ending {
    /// Since when a signal, or the time, ends it.
    since: OnceLock<Instant>,
    /// It was a signal.
    signal: AtomicBool,
    /// The bridge was asked for the rest, or what was wanted has come.
    asked: AtomicBool,
    /// Where it is written to, if that is somebody who reads.
    reader: OnceLock<OwnedFd>,
}

impl Ending {
    /// Has a thread end the capture that `stopper` stops, `time` from now or by what `stop` tells. The thread ends with what
    /// this gives.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        self: &Arc<Self>,
        stopper: Stopper,
        stop: Receiver<i32>,
        time: Option<Duration>,
    ) -> Result<Sender<()>> {
        let (done, over) = bounded(0);
        let ending = self.clone();
        let wait = move || ending.wait(&stopper, &stop, &over, &time.map_or_else(never, after));
        rights::spawn("zb-end", &ROLE, wait).map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(done)
    }

    fn wait(&self, stopper: &Stopper, stop: &Receiver<i32>, over: &Receiver<()>, time: &Receiver<Instant>) {
        loop {
            select! {
                recv(stop) -> _ => {
                    self.signal.store(true, Ordering::Relaxed);
                    break;
                }
                recv(time) -> _ => break,
                recv(over) -> _ => return,
                // Nothing may be written for a long time, by which it would show.
                default(LOOK) => if self.is_deserted() { break },
            }
        }
        let _ = self.since.set(Instant::now());
        self.stop(stopper);
        let patience = if self.is_by_signal() { AFTER_SIGNAL } else { FROM_BRIDGE };
        select! {
            recv(over) -> _ => return,
            // Whoever sends one does not want to wait so long.
            recv(stop) -> _ => {
                self.signal.store(true, Ordering::Relaxed);
                if over.recv_timeout(AFTER_SIGNAL) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            default(patience) => {}
        }
        stopper.cut();
        // The program that shows the capture may stay for as long as it likes.
        select! {
            recv(stop) -> _ => self.signal.store(true, Ordering::Relaxed),
            recv(over) -> _ => {}
        }
    }

    /// Asks the bridge for no more than the rest.
    pub fn stop(&self, stopper: &Stopper) {
        self.asked.store(true, Ordering::Relaxed);
        stopper.stop();
    }

    /// Whether this side has ended it.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether a signal has.
    pub fn is_by_signal(&self) -> bool {
        self.signal.load(Ordering::Relaxed)
    }

    /// `reader` is who reads.
    pub fn watch(&self, reader: OwnedFd) {
        // There is one output.
        let _ = self.reader.set(reader);
    }

    /// Whether an output is to be waited for no longer that has taken nothing since `idle`.
    pub fn is_up(&self, idle: Instant) -> bool {
        self.since.get().is_some_and(|since| since.elapsed() >= REST || idle.max(*since).elapsed() >= GRACE)
    }

    /// Whether nobody reads any more.
    fn is_deserted(&self) -> bool {
        let Some(reader) = self.reader.get() else { return false };
        let mut fds = [PollFd::new(reader, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|_| fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)))
    }
}
