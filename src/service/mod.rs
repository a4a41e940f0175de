//! Services: what sits on a port of the switch and is neither a wire nor a process of its own.
//!
//! Each is built on an [`endpoint::Endpoint`], a user-space host with MAC, IP addresses and TCP. All of it is sans-I/O:
//! frames and time come in as arguments, frames and a next deadline come out. A service knows neither the switch nor
//! a descriptor; the thread that runs one belongs to the engine.

pub mod endpoint;
pub mod ping_host;

use crate::time::Instant;

/// What the engine's thread has to know of a service to run it.
pub trait Service {
    /// Takes a frame that the switch sent to the service's port.
    fn handle_frame(&mut self, now: Instant, frame: &[u8]);

    /// Gives up to `budget` frames to `out`, and returns how many.
    fn poll_transmit(&mut self, now: Instant, budget: usize, out: &mut dyn FnMut(&[u8])) -> usize;

    /// When [`Service::handle_timeout`] is to be called, if at all.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
}
