//! A service as the thread that runs it sees it: a machine that takes frames, time and messages, and gives the same.

use crate::service::outside::{Input, Output};
use crate::service::report::Report;
use crate::service::station::Ingress;
use crate::time::Instant;

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
#[non_exhaustive]
pub struct Unsent {
    /// What they came through.
    pub from: String,
    /// How many.
    pub bytes: usize,
    /// Somebody is there to take them.
    pub taken: bool,
}
