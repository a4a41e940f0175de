//! The service's end of a port inside the process: batches to the switch and from it, what the service tells of itself,
//! and how it sleeps and is woken.

use super::{Closed, Shared, Wake};
use crate::capture::Sights;
use crate::frame::{Batch, Frame, PortId};
use crate::port::inquiry::Answers;
use crate::port::own::{Bell, SendError};
use crate::service::Ingress;
use crate::service::report::Report;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use mio::Waker;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The other end.
pub struct ServiceEnd {
    pub(super) to: Sender<Batch>,
    pub(super) from: Receiver<Batch>,
    pub(super) shared: Arc<Shared>,
}

impl ServiceEnd {
    /// Sends a batch of frames to the switch. Waits while the channel is full.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn send_batch(&self, batch: Batch) -> Result<(), Closed> {
        self.to.send(batch).map_err(|_| Closed)?;
        self.shared.wake();
        Ok(())
    }

    /// Sends a batch of frames to the switch if there is room for it; returns it otherwise.
    ///
    /// # Errors
    /// [`SendError::Full`], until the bell rings, and [`SendError::Closed`].
    pub fn try_send_batch(&self, batch: Batch) -> Result<(), (SendError, Batch)> {
        let sent = self.to.try_send(batch).or_else(|refused| {
            let TrySendError::Full(batch) = refused else { return Err(refused) };
            self.shared.room.get().into_iter().for_each(|bell| bell.silence());
            self.shared.stuck.store(true, Ordering::SeqCst);
            // Try once more: room that came in between was not signalled.
            let tried = self.to.try_send(batch);
            if !matches!(tried, Err(TrySendError::Full(_))) {
                self.shared.tell_room();
            }
            tried
        });
        sent.map_err(|refused| match refused {
            TrySendError::Full(batch) => (SendError::Full, batch),
            TrySendError::Disconnected(batch) => (SendError::Closed(Closed), batch),
        })?;
        self.shared.wake();
        Ok(())
    }

    /// The next batch from the switch; `None` when none comes within `timeout`.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn recv_batch(&self, timeout: Option<Duration>) -> Result<Option<Batch>, Closed> {
        let received = match timeout {
            Some(timeout) => self.from.recv_timeout(timeout),
            None => self.from.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(batch) => {
                self.taken();
                Ok(Some(batch))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    /// The next batch that is there; `None` if there is none.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn try_recv_batch(&self) -> Result<Option<Batch>, Closed> {
        match self.from.try_recv() {
            Ok(batch) => {
                self.taken();
                Ok(Some(batch))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Closed),
        }
    }

    /// The port of the switch by which a received frame came.
    pub fn ingress(&self, frame: &Frame) -> Ingress {
        let isolated = self.shared.isolated.get().is_some_and(|ports| ports.has(frame.ingress));
        Ingress { port: frame.ingress, isolated }
    }

    /// Begins to collect the departures of ports.
    pub fn watch_departures(&self) {
        self.shared.departures.lock().get_or_insert_default();
    }

    /// The ports that have lost their peers since the last call.
    pub fn take_departures(&self) -> BTreeSet<PortId> {
        self.shared.departures.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has the questions to the service answered.
    pub fn answer_questions(&self, answers: &mut impl Answers) {
        self.shared.questions.answer(answers);
    }

    /// An empty batch with room for `bytes`, to be sent.
    pub fn spare(&self, bytes: usize) -> Batch {
        self.shared.to_switch.take(bytes)
    }

    /// Gives back a batch that was received.
    pub fn done_with(&self, batch: Batch) {
        self.shared.to_service.put(batch);
    }

    /// Reports the state for the port to show.
    pub fn tell(&self, report: Report) {
        let news = report.is_news();
        *self.shared.report.lock() = Some(report);
        if news {
            self.shared.news.store(true, Ordering::SeqCst);
            self.shared.wake();
        }
    }

    /// Bytes that captures keep of each thing that the service sees; `None`: there are none.
    pub fn watched(&self) -> Option<u32> {
        Some(self.shared.watched.load(Ordering::Relaxed)).filter(|snap| *snap > 0)
    }

    /// Shows captures what was seen, by a clock that began at `epoch`.
    pub fn show(&self, sights: &mut Sights, epoch: u64) {
        let mut seen = self.shared.sights.lock();
        seen.sights.append(sights);
        seen.epoch = epoch;
        drop(seen);
        self.shared.wake();
    }

    /// Notes why the service has failed, before the channel closes.
    pub fn fail(&self, why: &str) {
        // The first reason stands.
        let _ = self.shared.failure.set(why.to_owned());
    }

    /// Sets the waker for new batches and the port's removal, for an owner that sleeps elsewhere. The last one counts.
    pub fn set_waker(&self, waker: Arc<Waker>) {
        *self.shared.service.lock() = Some(Wake::Waker(waker));
    }

    /// The same for an owner that polls descriptors: a bell for these, and a bell for room.
    pub(in crate::port) fn set_bells(&self, frames: Arc<Bell>, room: Arc<Bell>) {
        *self.shared.service.lock() = Some(Wake::Bell(frames));
        // Said once.
        let _ = self.shared.room.set(room);
    }

    /// One half of the owner is dropped: the port is removed, and the other half learns of it.
    pub fn leave(&self) {
        if !self.shared.left.swap(true, Ordering::SeqCst) {
            self.shared.wake();
        }
    }

    /// The owner is about to sleep until it is woken. `false`: there is work first.
    pub fn fall_asleep(&self) -> bool {
        self.shared.asleep.store(true, Ordering::SeqCst);
        // Check once more: events in between were not signalled.
        let departed = || self.shared.departures.lock().as_ref().is_some_and(|departures| !departures.is_empty());
        let asked = self.shared.questions.are_there();
        self.from.is_empty() && !self.shared.closed.load(Ordering::SeqCst) && !departed() && !asked
    }

    /// The owner is awake, and need not be woken.
    pub fn wake_up(&self) {
        self.shared.asleep.store(false, Ordering::SeqCst);
    }

    /// Wakes the switch if it waits for room.
    fn taken(&self) {
        if self.shared.blocked.swap(false, Ordering::SeqCst) {
            self.shared.wake();
        }
    }
}

impl Drop for ServiceEnd {
    fn drop(&mut self) {
        // Close first, then wake: the switch sees the closed channel.
        let (closed, _) = bounded(0);
        drop(std::mem::replace(&mut self.to, closed));
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.questions.close();
        self.shared.wake();
    }
}
