//! Back ends: the descriptors behind a service's outside ([`crate::service::outside`]).
//!
//! Theory of operation. [`Backend::open`] opens everything that a service wants, on the caller's thread, so that an
//! error is the caller's to report. Sockets, pseudo-terminals, pipes and files then belong to one thread with a poll
//! loop (`reactor.rs`), disks to a thread each (`disk.rs`), because their work may wait. Messages travel on channels: the
//! service's thread sleeps in the channel of [`Backend::inputs`], the loop is woken by a waker, a disk's thread sleeps
//! in its own channel. With nothing to do nobody wakes. When the back end is dropped its threads end, and sockets and
//! links that it made are removed.

mod disk;
mod open;
mod pty;
mod reactor;
mod sockets;

use crate::error::{Error, Result};
use crate::service::outside::{Found, Input, Output, Want};
use crossbeam_channel::{Receiver, Sender, unbounded};
use disk::Disk;
use mio::Waker;
use reactor::Reactor;
pub use sockets::Sockets;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// The descriptors of one service.
pub struct Backend {
    inputs: Receiver<Input>,
    orders: Option<Sender<Output>>,
    waker: Arc<Waker>,
    /// Indexed as the wants are.
    disks: Vec<Option<Disk>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    /// Opens everything in `wants`; `name` names the threads.
    ///
    /// # Errors
    /// The first that cannot be opened, and what to do about it. Nothing is left behind.
    pub fn open(name: &str, wants: &[Want]) -> Result<(Self, Vec<Found>)> {
        let (to_service, inputs) = unbounded();
        let (orders, from_service) = unbounded();
        let mut reactor = Reactor::new(from_service, to_service.clone())?;
        let mut disks = Vec::new();
        let mut found = Vec::new();
        for (index, want) in wants.iter().enumerate() {
            let mut opened = None;
            found.push(match want {
                Want::Disk { image, read_only, cow } => {
                    let (disk, blocks) = Disk::open(index, image, *read_only, *cow, to_service.clone())?;
                    opened = Some(disk);
                    Found::Disk(blocks)
                }
                other => open::open(&mut reactor, index, other)?,
            });
            disks.push(opened);
        }
        let waker = reactor.waker();
        let thread = Builder::new().name(format!("{name}-io")).spawn(move || reactor.run());
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok((Self { inputs, orders: Some(orders), waker, disks, thread: Some(thread) }, found))
    }

    /// What comes from the outside.
    pub fn inputs(&self) -> &Receiver<Input> {
        &self.inputs
    }

    /// Hands over what goes to the outside; [`Backend::wake`] follows the last of several.
    pub fn send(&self, output: Output) {
        match output {
            Output::Job(want, job) => {
                if let Some(disk) = self.disks.get(want).and_then(Option::as_ref) {
                    disk.send(job);
                }
            }
            // When the loop has ended, so has the channel of inputs, which the service's thread sees.
            other => drop(self.orders.as_ref().map(|orders| orders.send(other))),
        }
    }

    /// Lets the loop look at what it was sent.
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the back ends: {error}");
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // First closed, then told: the loop learns of it by looking.
        self.orders = None;
        self.wake();
        self.disks.clear();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the back ends ended abnormally");
        }
    }
}
