//! Runs a service: one loop, whatever is outside of it.
//!
//! Theory of operation. The thread that has a service's descriptors is the thread that has the service. A turn takes what
//! has come from the outside and from the switch, bounded, lets the service work, hands its frames over, and keeps what
//! it tells of itself. Frames are written into a batch of the port's own, and leave in it. With nothing to do the thread
//! sleeps in the poll of the outside, which the port wakes.
//!
//! What differs is how a service asks for something outside: by messages to a back end (`service.rs`), or by calls where
//! too many bytes move for that (`gateway.rs`). Both are an [`Occupant`] of their port.

use super::fault::strike;
use super::thread::Thread;
use crate::error::Result;
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::{Closed, Link};
use crate::service::Ingress;
use crate::service::report::Report;
use crate::time::{Clock, Instant};
use crate::wire::Offload;
use std::collections::BTreeSet;
use std::time::Duration;

/// Batches of the switch in one turn.
const BATCHES: usize = 16;
/// Bytes of one batch to the switch: a few super-frames. What is not used of it is not resident.
pub(super) const MESSAGE_BYTES: usize = 4 * (PREFIX + MAX_FRAME);

/// A service with what it has outside.
pub(super) trait Occupant {
    /// Sleeps until something comes from the outside, the port calls, or `patience` is over.
    ///
    /// # Errors
    /// The system's poll does not work.
    fn wait(&mut self, patience: Option<Duration>) -> Result<()>;

    /// Takes what has come from the outside.
    fn handle_outside(&mut self, now: Instant);

    /// Takes a frame of the switch, with what its port said of it.
    fn handle_frame(&mut self, now: Instant, ingress: Ingress, frame: &[u8], offload: Offload);

    /// Takes the ports of the switch that whoever was there has left.
    fn handle_departures(&mut self, now: Instant, ports: &BTreeSet<PortId>) {
        let _ = (now, ports);
    }

    /// Does what is due, and fills `out`, a batch of [`MESSAGE_BYTES`]. True if there may be more at once.
    fn work(&mut self, now: Instant, out: &mut Batch) -> bool;

    /// When [`Self::work`] is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// What there is to tell, when that has changed.
    fn poll_report(&mut self, now: Instant) -> Option<Report>;

    /// The port is no more. Lets what was accepted for the outside leave, as far as somebody takes it in time.
    fn linger(&mut self, clock: &Clock);
}

/// Runs `occupant` behind `link` until the port is removed or the bridge has ended.
pub(super) fn run(link: &Link, occupant: &mut impl Occupant, clock: &Clock, thread: Option<&Thread>) {
    let mut spare = None;
    // Its end is the usual one: the port is no more.
    while let Ok(patience) = turn(link, occupant, clock, &mut spare, thread) {
        thread.into_iter().for_each(|thread| thread.pulse.end());
        let waited = occupant.wait(patience);
        thread.into_iter().for_each(|thread| thread.pulse.begin());
        if let Err(error) = waited {
            return log::error!("a service ends: {error}");
        }
        link.wake_up();
    }
    // It may take its time now, and nobody waits for it.
    thread.into_iter().for_each(|thread| thread.pulse.end());
    occupant.linger(clock);
}

/// Takes what has come, and does what is to be done. Gives the time for which there is nothing more to do. `spare` is a
/// batch that found nothing to carry.
fn turn(
    link: &Link,
    occupant: &mut impl Occupant,
    clock: &Clock,
    spare: &mut Option<Batch>,
    thread: Option<&Thread>,
) -> Result<Option<Duration>, Closed> {
    occupant.handle_outside(clock.now());
    for _ in 0..BATCHES {
        let Some(batch) = link.try_recv_batch()? else { break };
        thread.into_iter().for_each(|thread| strike(thread.port()));
        let now = clock.now();
        for (frame, bytes) in Outgoing::rest_of(&batch, 0).frames() {
            occupant.handle_frame(now, link.ingress(frame), bytes, frame.offload);
        }
        link.done_with(batch);
    }
    let now = clock.now();
    occupant.handle_departures(now, &link.take_departures());
    let mut out = spare.take().unwrap_or_else(|| link.spare(MESSAGE_BYTES));
    let busy = occupant.work(now, &mut out);
    if out.is_empty() {
        *spare = Some(out);
    } else {
        link.send_batch(out)?;
    }
    if let Some(report) = occupant.poll_report(now) {
        link.tell(report);
    }
    if busy || !link.fall_asleep() {
        return Ok(Some(Duration::ZERO));
    }
    // Handing on what it has made may have taken its time.
    Ok(occupant.poll_timeout().map(|at| at - clock.now()))
}
