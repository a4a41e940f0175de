//! Services: what sits on a port of the switch and is neither a wire nor a process of its own.
//!
//! Each is built on an [`endpoint::Endpoint`], a user-space host with MAC, IP addresses and TCP. All of it is sans-I/O:
//! frames and time come in as arguments, frames and a next deadline come out. A service knows neither the switch nor
//! a descriptor; the thread that runs one belongs to the engine.

pub mod endpoint;
pub mod ping_host;
