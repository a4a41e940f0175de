//! A service as the thread that runs it sees it: a machine that takes frames, time and events, and gives frames and a next
//! deadline. Whatever it does beyond the switch it asks its [`Outside`] for, which it has for the time of a call.

use crate::frame::{Batch, PortId};
use crate::service::outside::{Event, Outside};
use crate::service::report::Report;
use crate::service::station::Ingress;
use crate::time::Instant;
use crate::wire::Offload;
use std::collections::BTreeSet;
use std::time::SystemTime;

/// A frame that the switch has sent to the service's port.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Where it had come in.
    pub ingress: Ingress,
    /// Its bytes.
    pub frame: &'a [u8],
    /// What its port said of it; nothing to a service that takes no offloads.
    pub offload: Offload,
}

/// What the engine's thread has to know of a service to run it.
pub trait Service {
    /// Takes a frame.
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, outside: &mut dyn Outside);

    /// Something outside has changed. A service that has nothing there gets none.
    fn handle_event(&mut self, now: Instant, event: Event, outside: &mut dyn Outside) {
        let _ = (now, event, outside);
    }

    /// Whoever was at these ports of the switch has left them.
    fn handle_departures(&mut self, now: Instant, ports: &BTreeSet<PortId>) {
        let _ = (now, ports);
    }

    /// When [`Service::handle_timeout`] is to be called, if at all.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due. Called before every [`Service::poll_transmit`], with or without a deadline.
    fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside);

    /// Puts frames into `out`, a bounded number, as many as fit. True if there may be more at once.
    fn poll_transmit(&mut self, now: Instant, outside: &mut dyn Outside, out: &mut Batch) -> bool;

    /// What there is to tell of it, when that has changed; `wall` is the clock of people. Most have nothing to tell: they
    /// are up as long as they run.
    fn poll_report(&mut self, now: Instant, wall: fn() -> SystemTime) -> Option<Report> {
        let _ = (now, wall);
        None
    }

    /// Whether frames may stand for several, and have their checksums left to whoever sends them, in both directions.
    fn takes_offloads(&self) -> bool {
        false
    }

    /// The port is no more: no frame will come, and what is sent goes nowhere. What was accepted for the outside may still
    /// leave ([`Service::unsent`]); nothing new is to be accepted.
    fn handle_closed(&mut self, now: Instant, outside: &mut dyn Outside) {
        let _ = (now, outside);
    }

    /// What was accepted for the outside and has not left, if there is any.
    fn unsent(&self, outside: &dyn Outside) -> Vec<Unsent> {
        let _ = outside;
        Vec::new()
    }
}

/// Bytes that a service has accepted for something outside.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Unsent {
    /// What they came through.
    pub from: String,
    /// How many.
    pub bytes: usize,
    /// Somebody is there to take them.
    pub taken: bool,
}
