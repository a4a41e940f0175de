//! The loop that runs any service.
//!
//! Theory of operation. One thread owns a service and its descriptors. A turn takes a bounded amount of input from the
//! outside and from the switch, lets the service work, hands its frames over, and keeps its report. Frames are written
//! into a batch of the port's own, and leave in it. With nothing to do the thread sleeps in the poll of its back end,
//! which the port wakes.

use super::fault::strike;
use super::thread::{LINGER, Thread};
use crate::backend::Backend;
use crate::capture::Sights;
use crate::error::Result;
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::{Closed, ServiceEnd};
use crate::port::inquiry::Answers;
use crate::port::own;
use crate::service::{Arrived, Change, Changed, Details, Service, Unsent};
use crate::time::{Clock, Instant};
use std::time::{Duration, SystemTime};

/// Batches of the switch in one turn.
const BATCHES: usize = 16;
/// Bytes of one batch to the switch: a few super-frames. Its unused pages are not resident.
const MESSAGE_BYTES: usize = 4 * (PREFIX + MAX_FRAME);
/// At the end, the program at a terminal may not have read all yet, and no event tells when it has: interval of the
/// checks, and how long they have to find nothing unread.
const LOOK: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_millis(100);

/// Runs `service` behind `link` until the port is removed or the bridge has ended.
///
/// # Errors
/// The system has no descriptors left.
pub fn run_service(link: &own::Link, service: &mut impl Service) -> Result<()> {
    let (link, mut backend) = (link.channel(), Backend::new()?);
    link.set_waker(backend.waker());
    run(link, service, &mut backend, &Clock::start(), None);
    Ok(())
}

/// The same with a back end that has opened what the service needs.
pub(super) fn run<S: Service + ?Sized>(
    link: &ServiceEnd,
    service: &mut S,
    backend: &mut Backend,
    clock: &Clock,
    thread: Option<&Thread>,
) {
    let mut kept = Kept::default();
    // The loop ends when the port is removed.
    while let Ok(patience) = turn(link, service, backend, clock, &mut kept, thread) {
        thread.into_iter().for_each(|thread| thread.pulse.end());
        let waited = backend.wait(patience);
        thread.into_iter().for_each(|thread| thread.pulse.begin());
        if let Err(error) = waited {
            return log::error!("a service ends: {error}");
        }
        link.wake_up();
    }
    // It is not watched from here on.
    thread.into_iter().for_each(|thread| thread.pulse.end());
    linger(service, backend, clock);
}

/// What is kept from one turn to the next.
#[derive(Default)]
struct Kept {
    /// An empty batch for reuse.
    spare: Option<Batch>,
    /// What captures want of the service, as it was told.
    watched: Option<u32>,
}

/// One turn. Returns the time until the next timer.
fn turn<S: Service + ?Sized>(
    link: &ServiceEnd,
    service: &mut S,
    backend: &mut Backend,
    clock: &Clock,
    Kept { spare, watched }: &mut Kept,
    thread: Option<&Thread>,
) -> Result<Option<Duration>, Closed> {
    handle_events(service, backend, clock.now());
    for _ in 0..BATCHES {
        let Some(batch) = link.try_recv_batch()? else { break };
        thread.into_iter().for_each(|thread| strike(thread.port()));
        let now = clock.now();
        for (meta, frame) in Outgoing::rest_of(&batch, 0).frames() {
            let arrived = Arrived { ingress: link.ingress(meta), frame, offload: meta.offload };
            service.handle_frame(now, arrived, backend);
        }
        link.done_with(batch);
    }
    let now = clock.now();
    let departures = link.take_departures();
    if !departures.is_empty() {
        service.handle_departures(now, &departures);
    }
    service.handle_timeout(now, backend);
    show_captures(link, service, clock, watched);
    let mut out = spare.take().unwrap_or_else(|| link.spare(MESSAGE_BYTES));
    let busy = service.poll_transmit(now, backend, &mut out);
    if out.is_empty() {
        *spare = Some(out);
    } else {
        link.send_batch(out)?;
    }
    if let Some(report) = service.poll_report(now, SystemTime::now) {
        link.tell(report);
    }
    let mut answers = Answering { now, service, backend, changed: false };
    link.answer_questions(&mut answers);
    let busy = busy || answers.changed;
    if busy || !link.fall_asleep() || link.watched() != *watched {
        return Ok(Some(Duration::ZERO));
    }
    // Sending may have taken time, so read the clock again.
    Ok(service.poll_timeout().map(|at| at - clock.now()))
}

/// Answers the questions to a service.
struct Answering<'a, S: ?Sized> {
    now: Instant,
    service: &'a mut S,
    backend: &'a mut Backend,
    /// It was changed, and may have something to do.
    changed: bool,
}

impl<S: Service + ?Sized> Answers for Answering<'_, S> {
    fn page(&mut self, from: usize) -> Details {
        self.service.details(self.now, from)
    }

    fn change(&mut self, change: &Change) -> Result<Changed> {
        self.changed = true;
        self.service.change(self.now, change, self.backend)
    }
}

/// Tells the service whether it is captured, and hands over what it has seen.
fn show_captures<S: Service + ?Sized>(link: &ServiceEnd, service: &mut S, clock: &Clock, watched: &mut Option<u32>) {
    let wanted = link.watched();
    if wanted != *watched {
        *watched = wanted;
        service.watch(clock.now(), wanted);
    }
    if wanted.is_none() {
        return;
    }
    let mut sights = Sights::default();
    service.poll_sights(&mut sights);
    if !sights.is_empty() {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        link.show(&mut sights, wall.saturating_sub(clock.now().as_nanos()));
    }
}

fn handle_events<S: Service + ?Sized>(service: &mut S, backend: &mut Backend, now: Instant) {
    while let Some(event) = backend.poll_event() {
        service.handle_event(now, event, backend);
    }
}

/// After the port was removed: sends what was accepted for the outside, as far as the peers take it in time.
fn linger<S: Service + ?Sized>(service: &mut S, backend: &mut Backend, clock: &Clock) {
    let begun = clock.now();
    service.handle_closed(begun, backend);
    let (end, mut quiet) = (begun + LINGER, begun + QUIET);
    let mut nowhere = Batch::new(MESSAGE_BYTES);
    for round in 0.. {
        let now = clock.now();
        handle_events(service, backend, now);
        service.handle_timeout(now, backend);
        let busy = service.poll_transmit(now, backend, &mut nowhere);
        nowhere.clear();
        let (unsent, unread) = (service.unsent(backend), backend.unread());
        let leaving = unsent.iter().any(|it| it.taken) || unread.is_some_and(|count| count > 0);
        if leaving {
            quiet = now + QUIET;
        }
        // Data that was refused at first has to reach the back end, hence a second round.
        if now >= end || round > 0 && !leaving && (unread.is_none() || now >= quiet) {
            return say_lost(&unsent, unread.unwrap_or(0));
        }
        let look = match (round, unread) {
            (0, _) => now,
            (_, Some(_)) => now + LOOK,
            (_, None) => end,
        };
        let due = service.poll_timeout().map_or(look, |due| due.min(look));
        if let Err(error) = backend.wait(Some(if busy { Duration::ZERO } else { due - now })) {
            return log::error!("a service ends: {error}");
        }
    }
}

fn say_lost(unsent: &[Unsent], unread: usize) {
    for Unsent { from, bytes, .. } in unsent {
        log::warn!("{from}: {bytes} bytes were not taken by its other end, and are lost");
    }
    if unread > 0 {
        log::warn!("{unread} bytes were not read by the program at a pseudo-terminal, and are lost");
    }
}
