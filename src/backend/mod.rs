//! Back ends: the descriptors behind a service's outside ([`crate::service::outside`]).
//!
//! Theory of operation. [`Backend::open`] opens everything that a service wants, on the caller's thread, so that an
//! error is the caller's to report. Sockets, pseudo-terminals, pipes and files then belong to the service's own thread,
//! which sleeps in their poll ([`Backend::wait`], `reactor.rs`). Disks and files that are written have a thread each
//! (`disk.rs`, `append.rs`), because their work may wait, and so has the look-up of a name. With nothing to do nobody
//! wakes. When the back end is dropped its threads end, and sockets and links that it made are removed.

mod append;
mod disk;
mod folder;
pub(crate) mod full;
mod keep_alive;
mod lease_file;
mod open;
mod reactor;
mod resolvers;
mod sockets;
mod stream;
mod terminal;
mod uploads;
mod writer;

use crate::error::{Error, Result};
use crate::service::outside::{Found, Input, Output, Want};
use crossbeam_channel::{Receiver, unbounded};
use disk::{Disk, Use};
pub use lease_file::LeaseFile;
use mio::Waker;
use reactor::Reactor;
pub use sockets::Sockets;
use std::sync::Arc;
use std::time::Duration;

/// The descriptors of one service.
pub struct Backend {
    reactor: Reactor,
    /// What threads tell.
    done: Receiver<Input>,
    /// Indexed as the wants are.
    disks: Vec<Option<Disk>>,
}

impl Backend {
    /// Opens everything in `wants`.
    ///
    /// # Errors
    /// The first that cannot be opened, and what to do about it. Nothing is left behind.
    pub fn open(wants: &[Want]) -> Result<(Self, Vec<Found>)> {
        // Bounded by its use: threads tell one thing for each job, or for each window of bytes, that they were given.
        let (to_service, done) = unbounded();
        let mut reactor = Reactor::new()?;
        let mut disks = Vec::new();
        let mut found = Vec::new();
        for (index, want) in wants.iter().enumerate() {
            let mut opened = None;
            let (waker, to_service) = (reactor.waker(), to_service.clone());
            let tell = move |input| to_service.send(input).is_ok() && waker.wake().is_ok();
            found.push(match want {
                Want::Disk { image, read_only, cow, raw } => {
                    let (disk, blocks) =
                        Disk::open(index, image, Use { read_only: *read_only, cow: *cow, raw: *raw }, tell)?;
                    opened = Some(disk);
                    Found::Disk(blocks)
                }
                other => open::open(&mut reactor, index, other, tell)?,
            });
            disks.push(opened);
        }
        Ok((Self { reactor, done, disks }, found))
    }

    /// What ends [`Backend::wait`] from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.reactor.waker()
    }

    /// What comes from the outside, in order.
    pub fn poll_input(&mut self) -> Option<Input> {
        self.reactor.poll_input().or_else(|| self.done.try_recv().ok())
    }

    /// Does what goes to the outside.
    pub fn perform(&mut self, output: Output) {
        match output {
            Output::Job(want, job) => {
                if let Some(disk) = self.disks.get(want).and_then(Option::as_ref) {
                    disk.send(job);
                }
            }
            other => self.reactor.perform(other),
        }
    }

    /// Bytes that have left for pseudo-terminals and that the programs there have not read, if there are such programs. To
    /// be asked at the end only: who leaves from then on is not noticed.
    pub fn unread(&mut self) -> Option<usize> {
        self.reactor.unread()
    }

    /// Sleeps until something comes from the outside, the waker is used, or `patience` is over; no longer than it takes
    /// to look where something waits to be polled.
    ///
    /// # Errors
    /// The system's poll does not work.
    pub fn wait(&mut self, patience: Option<Duration>) -> Result<()> {
        let patience = if self.done.is_empty() { patience } else { Some(Duration::ZERO) };
        self.reactor.wait(patience).map_err(|error| Error::system("back ends: cannot wait", &error))
    }
}
