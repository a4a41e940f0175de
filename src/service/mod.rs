//! Services: what sits on a port of the switch and is neither a wire nor a process of its own.
//!
//! Each is built on an [`endpoint::Endpoint`], a user-space host with MAC, IP addresses and TCP. All of it is sans-I/O:
//! frames and time come in as arguments, frames and a next deadline come out. A service knows neither the switch nor
//! a descriptor; the thread that runs one belongs to the engine.

pub mod allowance;
pub mod endpoint;
pub mod ip;
pub mod lan;
pub mod nat;
pub mod outside;
pub mod path_mtu;
pub mod ping_host;
pub mod prober;
pub mod report;
pub mod shares;
pub mod station;
pub mod usbip;

use crate::config::{PortKind, PortSpec};
use crate::error::Result;
use crate::time::Instant;
use outside::{Found, Input, Output, Want};
use report::Report;
pub use station::{Ingress, Station};
use usbip::UsbipPort;

/// What the engine's thread has to know of a service to run it.
pub trait Service {
    /// Takes a frame that the switch sent to the service's port, where it had come in by `ingress`.
    fn handle_frame(&mut self, now: Instant, ingress: Ingress, frame: &[u8]);

    /// Gives up to `budget` frames to `out`, and returns how many.
    fn poll_transmit(&mut self, now: Instant, budget: usize, out: &mut dyn FnMut(&[u8])) -> usize;

    /// When [`Service::handle_timeout`] is to be called, if at all.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due. Called before every round of [`Service::poll_transmit`], with or without a deadline.
    fn handle_timeout(&mut self, now: Instant);

    /// Takes what came from the outside; a service that wants nothing of it gets nothing.
    fn handle_input(&mut self, now: Instant, input: Input) {
        let _ = (now, input);
    }

    /// The port is no more: no frame will come or go. What was accepted for the outside may still leave
    /// ([`Service::unsent`]); nothing new is to be accepted.
    fn handle_closed(&mut self, now: Instant) {
        let _ = now;
    }

    /// What was accepted for the outside and has not left, if there is any.
    fn unsent(&self) -> Vec<Unsent> {
        Vec::new()
    }

    /// The next message to the outside.
    fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// What there is to tell of it, when that has changed. Most have nothing to tell: they are up as long as they run.
    fn poll_report(&mut self) -> Option<Report> {
        None
    }
}

/// Bytes that a service has accepted for something outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsent {
    /// What they came through.
    pub from: String,
    /// How many.
    pub bytes: usize,
    /// Somebody is there to take them.
    pub taken: bool,
}

/// What the service of a port works with outside; `None` if the port is no service.
pub fn wants(spec: &PortSpec) -> Option<Vec<Want>> {
    match &spec.kind {
        PortKind::Usbip(usbip) => Some(usbip::wants(usbip)),
        _ => None,
    }
}

/// Makes the service of a port. `found` answers its [`wants`], `seed` is a number that nobody can guess.
///
/// # Errors
/// Addresses or devices that cannot be, or a port that is no service.
pub fn make(spec: &PortSpec, found: &[Found], seed: u64) -> Result<Box<dyn Service + Send>> {
    match &spec.kind {
        PortKind::Usbip(usbip) => Ok(Box::new(UsbipPort::new(spec, usbip, found, seed)?)),
        other => Err(crate::error::Error::usage(format!("{}: not a service", other.word()))),
    }
}
