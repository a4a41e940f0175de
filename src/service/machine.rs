//! The interface of a service to the thread that runs it: frames, time and events go in, frames and a next deadline
//! come out. Everything beyond the switch goes through the [`Outside`], which is lent for each call.

use crate::capture::Sights;
use crate::error::{Error, Result};
use crate::frame::{Batch, PortId};
use crate::service::change::{Change, Changed};
use crate::service::detail::Details;
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
    /// The port by which it entered the switch.
    pub ingress: Ingress,
    /// Its bytes.
    pub frame: &'a [u8],
    /// Its port's offloads: checksum and segmentation. None for a service that takes no offloads.
    pub offload: Offload,
}

/// A service, as the engine's thread runs it.
pub trait Service {
    /// Takes a frame.
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, outside: &mut dyn Outside);

    /// An event of the outside. A service that has opened nothing there gets none.
    fn handle_event(&mut self, now: Instant, event: Event, outside: &mut dyn Outside) {
        let _ = (now, event, outside);
    }

    /// Peers have left these ports of the switch.
    fn handle_departures(&mut self, now: Instant, ports: &BTreeSet<PortId>) {
        let _ = (now, ports);
    }

    /// When [`Service::handle_timeout`] is to be called, if at all.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due. Called before every [`Service::poll_transmit`], with or without a deadline.
    fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside);

    /// Puts frames into `out`, a bounded number, as many as fit. True if there may be more at once.
    fn poll_transmit(&mut self, now: Instant, outside: &mut dyn Outside, out: &mut Batch) -> bool;

    /// A new report, if something has changed; `wall` is the wall clock. Most services have none: they are up as long
    /// as they run.
    fn poll_report(&mut self, now: Instant, wall: fn() -> SystemTime) -> Option<Report> {
        let _ = (now, wall);
        None
    }

    /// The page of its details that begins at `from`, the first at 0. Asked for now and then, while others wait.
    fn details(&self, now: Instant, from: usize) -> Details {
        let _ = (now, from);
        Details::default()
    }

    /// Carries out a change, at once and as a whole.
    ///
    /// # Errors
    /// It cannot be done, or the service has no such thing.
    fn change(&mut self, now: Instant, change: &Change, outside: &mut dyn Outside) -> Result<Changed> {
        let _ = (now, change, outside);
        Err(Error::usage("it is no gateway (nat:)"))
    }

    /// Whether frames may have offloads, in both directions: super-frames to be segmented, and checksums left to the
    /// sender.
    fn takes_offloads(&self) -> bool {
        false
    }

    /// A capture of the port has begun, which keeps so many bytes of each thing, or the last one is over.
    #[doc(hidden)]
    fn watch(&mut self, now: Instant, snap: Option<u32>) {
        let _ = (now, snap);
    }

    /// Takes what was seen for a capture that is no frame of the switch.
    #[doc(hidden)]
    fn poll_sights(&mut self, out: &mut Sights) {
        let _ = out;
    }

    /// The port is closed: no frame will come, and frames sent go nowhere. Bytes accepted for the outside may still
    /// leave ([`Service::unsent`]); nothing new is to be accepted.
    fn handle_closed(&mut self, now: Instant, outside: &mut dyn Outside) {
        let _ = (now, outside);
    }

    /// Bytes accepted for the outside that have not left.
    fn unsent(&self, outside: &dyn Outside) -> Vec<Unsent> {
        let _ = outside;
        Vec::new()
    }
}

/// Bytes that a service has accepted for the outside and not sent yet.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Unsent {
    /// Their origin, for the message: "a gateway".
    pub from: String,
    /// How many.
    pub bytes: usize,
    /// The other end is there to take them.
    pub taken: bool,
}
