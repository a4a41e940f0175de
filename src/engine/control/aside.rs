//! Requests whose work may block: looking up a name, opening files, reading a table of a million entries. Other threads
//! do it, so that the thread of the control socket never blocks.
//!
//! Theory of operation. Each piece of work has a thread, and there are [`ASIDE`] at most. A client has one under way at
//! most, and no further request is read meanwhile, so that its requests keep their order. Outcomes go through a channel
//! with room for all of them, and wake the server. Work that panics is reported as [`Told::Abnormal`].

use super::answer::Told;
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, BLOCKS, FILES, NETWORK, REMOVE, SOCKETS, WATCH};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::sync::Arc;

/// Such work looks names up, finds in /proc who has something open, and opens the files and sockets of services.
pub static ROLE: Role =
    Role { loads: true, ..Role::new("aside", &[BASE, SOCKETS, NETWORK, FILES, REMOVE, WATCH, BLOCKS]) };

/// Pieces of work at a time.
pub const ASIDE: usize = 64;

/// The request to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The number of the session.
    pub session: u64,
    /// The number of the request.
    pub id: Option<u64>,
}

/// The work in progress. See the head of the file.
pub struct Aside {
    tell: Sender<(Asker, Told)>,
    told: Receiver<(Asker, Told)>,
    waker: Arc<Waker>,
    running: usize,
}

impl Aside {
    /// Nothing is under way. `waker` is told when something is done.
    pub fn new(waker: Arc<Waker>) -> Self {
        let (tell, told) = bounded(ASIDE);
        Self { tell, told, waker, running: 0 }
    }

    /// Begins with `work`.
    ///
    /// # Errors
    /// There is enough under way, or the system has no thread left.
    pub fn begin(&mut self, asker: Asker, work: impl FnOnce() -> Told + Send + 'static) -> Result<()> {
        if self.running >= ASIDE {
            let what = format!("{ASIDE} requests that take their time are under way already");
            return Err(Error::new(Class::Runtime, what).hint("try again when some of them are done"));
        }
        // Dropped unused, `End` tells that no thread could be started.
        self.running += 1;
        let end = End { tell: self.tell.clone(), waker: self.waker.clone(), asker, told: Some(Told::Abnormal) };
        let started = rights::spawn("zb-aside", &ROLE, move || end.come_to(work()));
        started.map(drop).map_err(|error| Error::system("cannot start a thread for it", &error))
    }

    /// The next outcome.
    pub fn poll(&mut self) -> Option<(Asker, Told)> {
        let told = self.told.try_recv().ok()?;
        self.running = self.running.saturating_sub(1);
        Some(told)
    }
}

/// Sends the outcome of a piece of work when dropped, even by a panic.
struct End {
    tell: Sender<(Asker, Told)>,
    waker: Arc<Waker>,
    asker: Asker,
    told: Option<Told>,
}

impl End {
    fn come_to(mut self, told: Told) {
        self.told = Some(told);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            // The server may have ended in the meantime.
            let _ = self.tell.send((self.asker, told));
            let _ = self.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    #[test]
    fn work_has_an_end_and_a_bound() {
        let mut poll = Poll::new().unwrap();
        let mut aside = Aside::new(Arc::new(Waker::new(poll.registry(), Token(0)).unwrap()));
        let asker = Asker { session: 7, id: Some(1) };
        aside.begin(asker, || panic!("on purpose")).unwrap();
        let told = loop {
            poll.poll(&mut Events::with_capacity(1), None).unwrap();
            if let Some(told) = aside.poll() {
                break told;
            }
        };
        assert!(matches!(told, (who, Told::Abnormal) if who == asker));
        let (hold, held) = bounded::<()>(0);
        for _ in 0..ASIDE {
            let held = held.clone();
            let work = move || {
                let _ = held.recv();
                Told::Abnormal
            };
            aside.begin(asker, work).unwrap();
        }
        assert!(aside.begin(asker, || Told::Abnormal).unwrap_err().what().starts_with("64 requests"));
        drop(hold);
    }
}
