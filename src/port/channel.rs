//! A port inside the process: a service on a thread of its own, or a program that embeds the switch (`own.rs`).
//!
//! Theory of operation. Two bounded channels carry whole batches, so that one wake-up serves many frames. The switch's
//! thread sleeps in `poll`, so its end ([`Channel`]) has a mio waker; the other end ([`ServiceEnd`]) sleeps in the
//! channel itself, or in a `poll` of its own, and then it has a waker ([`ServiceEnd::set_waker`]) or bells
//! ([`ServiceEnd::set_bells`]), too. A full channel towards the service blocks the port like any busy descriptor; when
//! the service takes a batch it wakes the switch. Each flag is set before the channel is checked once more, so no
//! wake-up is lost.
//!
//! Emptied batches go back to the sender: fresh memory costs as much as the copy into it.

mod service_end;

pub use service_end::ServiceEnd;

use super::inquiry::{Inquirer, Questions, Unanswered};
use super::own::Bell;
use super::port_set::PortSet;
use super::spares::Spares;
use super::{Broken, Gone, Inhaled};
use crate::capture::Sights;
use crate::counters::Counters;
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{INHALE_BYTES, PREFIX};
use crate::service::report::{Report, Shown};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use mio::Waker;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Batches that a channel holds in one direction.
const DEPTH: usize = 64;
/// Bytes of frames in one batch on a channel.
const MESSAGE_BYTES: usize = 64 * 1024;

/// How a sleeper is woken.
enum Wake {
    Waker(Arc<Waker>),
    Bell(Arc<Bell>),
}

pub(super) struct Shared {
    waker: Arc<Waker>,
    /// There is something to receive, or room to send again: the switch should look.
    ready: AtomicBool,
    /// The switch found the channel full and waits.
    blocked: AtomicBool,
    /// Wakes the other end, if it does not sleep in the channel.
    service: Mutex<Option<Wake>>,
    /// The other end sleeps, or is about to.
    asleep: AtomicBool,
    /// The other end found the channel full, and does not wait in it for room.
    stuck: AtomicBool,
    /// Rings when there is room again.
    room: OnceLock<Arc<Bell>>,
    /// The other end has gone, or half of it.
    left: AtomicBool,
    /// The port was removed, or the bridge has ended.
    closed: AtomicBool,
    /// The switch's isolated ports, once the port is in the switch.
    isolated: OnceLock<Arc<PortSet>>,
    /// The last report of the service.
    report: Mutex<Option<Report>>,
    /// The service has reported something for the switch since the switch looked last.
    news: AtomicBool,
    /// Ports that have lost their peers; `None` if the service does not want to know.
    departures: Mutex<Option<BTreeSet<PortId>>>,
    /// Questions to the service.
    questions: Questions,
    /// Its end was dropped.
    ended: AtomicBool,
    /// Bytes that captures keep of each thing that the service sees; 0: there is none.
    watched: AtomicU32,
    /// What it has seen.
    sights: Mutex<Seen>,
    /// Why the service has failed.
    failure: OnceLock<String>,
    to_service: Spares,
    to_switch: Spares,
}

impl Shared {
    fn wake(&self) {
        if !self.ready.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            log::error!("cannot wake the switch: {error}");
        }
    }

    fn wake_service(&self) {
        if !self.asleep.swap(false, Ordering::SeqCst) {
            return;
        }
        match &*self.service.lock() {
            Some(Wake::Waker(waker)) => {
                waker.wake().unwrap_or_else(|error| log::error!("cannot wake a service: {error}"));
            }
            Some(Wake::Bell(bell)) => bell.ring(),
            None => {}
        }
    }

    /// Puts a question to the service, and wakes it.
    pub(super) fn ask_service(&self, ask: impl FnOnce(&Questions)) -> Result<(), Unanswered> {
        ask(&self.questions);
        // Checked afterwards: a service that ends later clears the questions itself.
        if self.ended.load(Ordering::SeqCst) {
            self.questions.close();
            return Err(Unanswered::Ended);
        }
        self.wake_service();
        Ok(())
    }

    /// Rings for a sender that found the channel full.
    fn tell_room(&self) {
        if self.stuck.load(Ordering::SeqCst) && self.stuck.swap(false, Ordering::SeqCst) {
            self.room.get().into_iter().for_each(|bell| bell.ring());
        }
    }
}

/// What a service has seen for captures, and when its clock began, in nanoseconds since 1970.
#[derive(Default)]
pub struct Seen {
    /// What was seen.
    pub sights: Sights,
    /// When the clock of its times began.
    pub epoch: u64,
}

/// The switch's end.
pub struct Channel {
    to: Sender<Batch>,
    from: Receiver<Batch>,
    shared: Arc<Shared>,
    /// A batch that did not fit, and how much of it was taken.
    rest: Option<(Batch, usize)>,
    offload: bool,
}

/// The other end is gone: the port was removed, or the bridge has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the port was removed, or its bridge has ended")]
pub struct Closed;

/// Makes the two ends of a port. `waker` is that of the switch's thread.
pub fn pair(waker: Arc<Waker>) -> (Channel, ServiceEnd) {
    let flag = || AtomicBool::new(false);
    let shared = Arc::new(Shared {
        waker,
        ready: flag(),
        blocked: flag(),
        service: Mutex::default(),
        asleep: flag(),
        stuck: flag(),
        room: OnceLock::new(),
        left: flag(),
        closed: flag(),
        isolated: OnceLock::new(),
        report: Mutex::default(),
        news: flag(),
        departures: Mutex::default(),
        questions: Questions::default(),
        ended: flag(),
        watched: AtomicU32::new(0),
        sights: Mutex::default(),
        failure: OnceLock::new(),
        to_service: Spares::default(),
        to_switch: Spares::default(),
    });
    let (to_service, from_switch) = bounded(DEPTH);
    let (to_switch, from_service) = bounded(DEPTH);
    let channel = Channel { to: to_service, from: from_service, shared: shared.clone(), rest: None, offload: false };
    (channel, ServiceEnd { to: to_switch, from: from_switch, shared })
}

impl Channel {
    /// The same port with offloads: its other end takes super-frames and partial checksums.
    #[must_use]
    pub fn with_offloads(mut self) -> Self {
        self.offload = true;
        self
    }

    /// Asks the service at the other end, from any thread.
    pub fn inquirer(&self) -> Inquirer {
        Inquirer { shared: self.shared.clone() }
    }

    /// Why the service at the other end has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// Whether the other end takes super-frames and partial checksums.
    pub fn takes_offloads(&self) -> bool {
        self.offload
    }

    /// Shows the other end the isolated ports of the switch. Called once, before the first frame.
    pub fn show_isolated(&self, ports: Arc<PortSet>) {
        let _ = self.shared.isolated.set(ports);
    }

    /// Tells the service that a port of the switch has lost its peer.
    pub fn tell_departure(&self, port: PortId) {
        // A set has room for every port of the switch, however often one is left.
        if self.shared.departures.lock().as_mut().is_some_and(|departures| departures.insert(port)) {
            self.shared.wake_service();
        }
    }

    /// Captures keep so many bytes of each thing that the service sees; 0: there are none.
    pub fn watch(&self, snap: u32) {
        if self.shared.watched.swap(snap, Ordering::SeqCst) != snap {
            self.shared.wake_service();
        }
    }

    /// Takes what the service has seen, if there is anything.
    pub fn take_seen(&self) -> Option<Seen> {
        let mut seen = self.shared.sights.lock();
        (!seen.sights.is_empty()).then(|| std::mem::take(&mut *seen))
    }

    /// The state shown by the other end, if it has reported any.
    pub fn shown(&self) -> Option<Shown> {
        self.shared.report.lock().as_ref().map(Report::show)
    }

    /// Its state in a word, if it has reported one.
    pub fn standing(&self) -> Option<&'static str> {
        self.shared.report.lock().as_ref().and_then(Report::standing)
    }

    /// The state it shows, if that is new since the last call.
    pub fn take_news(&self) -> Option<Shown> {
        self.shared.news.swap(false, Ordering::SeqCst).then(|| self.shown()).flatten()
    }

    /// Whether the other end has signalled since the last call.
    pub fn take_ready(&self) -> bool {
        self.shared.ready.swap(false, Ordering::SeqCst)
    }

    /// Receives what is there, within the budget.
    ///
    /// # Errors
    /// [`Gone`] when the other end was dropped.
    pub fn receive(&mut self, batch: &mut Batch, id: PortId, _: &mut Counters) -> Result<Inhaled, Gone> {
        let start = batch.free();
        // Read before the channel, so that everything sent before the end is seen.
        let left = self.shared.left.load(Ordering::SeqCst);
        loop {
            let (message, mut taken) = match self.rest.take() {
                Some(rest) => rest,
                None => match self.from.try_recv() {
                    Ok(message) => {
                        self.shared.tell_room();
                        (message, 0)
                    }
                    Err(TryRecvError::Empty) if left => return Err(it_ended()),
                    Err(TryRecvError::Empty) => return Ok(Inhaled::Drained),
                    Err(TryRecvError::Disconnected) => return Err(it_ended()),
                },
            };
            for (frame, bytes) in Outgoing::rest_of(&message, taken).frames() {
                if start - batch.free() >= INHALE_BYTES || !batch.push(bytes, id, frame.offload) {
                    break;
                }
                taken += 1;
            }
            if taken < message.len() {
                self.rest = Some((message, taken));
                return Ok(Inhaled::More);
            }
            self.shared.to_switch.put(message);
        }
    }

    /// Sends what the channel takes. Returns the number of frames that are done with.
    ///
    /// # Errors
    /// [`Broken`] when the other end was dropped.
    pub fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
        let mut done = 0;
        while done < out.len() {
            let (message, bytes) = message(out.skip(done), &self.shared.to_service);
            let frames = message.len();
            if let Err(refused) = self.to.try_send(message) {
                let TrySendError::Full(message) = refused else { return Err(ended(done)) };
                self.shared.blocked.store(true, Ordering::SeqCst);
                // Check once more: room that came in between was not signalled.
                match self.to.try_send(message) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => return Ok(done),
                    Err(TrySendError::Disconnected(_)) => return Err(ended(done)),
                }
            }
            self.shared.wake_service();
            counters.sent(frames as u64, bytes as u64);
            done += frames;
        }
        Ok(done)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // Close first, then wake: the other end sees the closed channel.
        let (to, from) = bounded(0);
        drop(std::mem::replace(&mut self.to, to));
        drop(std::mem::replace(&mut self.from, from));
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.wake_service();
        self.shared.tell_room();
    }
}

fn ended(done: usize) -> Broken {
    Broken { done, gone: it_ended() }
}

fn it_ended() -> Gone {
    Gone("its service has ended".into())
}

/// The first frames of `out`, as many as one message carries (one at least), and their bytes.
fn message(out: Outgoing<'_>, spares: &Spares) -> (Batch, usize) {
    let mut bytes = 0;
    let mut frames = 0;
    while frames < out.len() && (frames == 0 || bytes + out.frame(frames).len() <= MESSAGE_BYTES) {
        bytes += out.frame(frames).len();
        frames += 1;
    }
    let mut message = spares.take(bytes + frames * PREFIX);
    for (frame, bytes) in out.frames().take(frames) {
        message.push(bytes, frame.ingress, frame.offload);
    }
    (message, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_that_was_left_is_told_of_once() {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (channel, link) = pair(waker);
        channel.tell_departure(PortId(1));
        assert!(link.take_departures().is_empty(), "nobody wants to know");
        link.watch_departures();
        // one that is tried again all the time, and then all others
        (0..5000).for_each(|_| channel.tell_departure(PortId(7)));
        (0..3000).for_each(|port| channel.tell_departure(PortId(port)));
        assert!(!link.fall_asleep());
        assert_eq!(link.take_departures(), (0..3000).map(PortId).collect());
        assert!(link.take_departures().is_empty() && link.fall_asleep());
    }
}
