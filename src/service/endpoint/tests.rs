//! Tests of whole endpoints, on a simulated wire under a virtual clock.

mod discovery;
mod fuzz;
mod lifecycle;
mod net;
mod transfer;
