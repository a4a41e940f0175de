//! Runs a sans-I/O service on the calling thread: frames come from a port's link, time from the clock, and what the
//! service does outside is done by a back end.
//!
//! A port whose kind is a service is started here ([`start`]): its back end and the service itself are made on the
//! caller's thread, so that errors are the caller's, and then get a thread that ends when the port does.

use super::gateway;
use crate::backend::Backend;
use crate::config::{PortKind, PortSpec};
use crate::error::{Error, Result};
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::{Channel, Heard, Link, pair};
use crate::service::{self, Service};
use crate::time::{Clock, Instant};
use crate::wire::Offload;
use mio::Waker;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Frames that a service may send before it has to look at what has come.
const BUDGET: usize = 64;
/// Bytes of one batch to the switch: the budget in frames of 1514 bytes, or one frame of the longest kind.
const MESSAGE_BYTES: usize = BUDGET * 1600 + PREFIX + MAX_FRAME;
/// Messages from the outside that a service takes before it has to look at frames again.
const INPUTS: usize = 256;

/// The threads of services; waits for them when dropped, after their ports.
#[derive(Default)]
pub(super) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Adds one, and forgets those that have ended.
    pub fn add(&mut self, thread: JoinHandle<()>) {
        self.0.retain(|thread| !thread.is_finished());
        self.0.push(thread);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            if thread.join().is_err() {
                log::error!("the thread of a service ended abnormally");
            }
        }
    }
}

/// Starts the service that `spec` asks for, if its kind is one. `waker` is that of the switch's thread.
pub(super) fn start(spec: &PortSpec, waker: &Arc<Waker>, seed: u64) -> Option<Result<(Channel, JoinHandle<()>)>> {
    if let PortKind::Nat(nat) = &spec.kind {
        return Some(gateway::start(spec, nat, waker, seed));
    }
    let wants = service::wants(spec)?;
    Some(Backend::open(&format!("zb-{}", spec.name), &wants).and_then(|(backend, found)| {
        let mut service = service::make(spec, &found, seed)?;
        let (channel, link) = pair(waker.clone());
        let run = move || run_with(&link, service.as_mut(), Some(&backend));
        let thread = Builder::new().name(format!("zb-{}", spec.name)).spawn(run);
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok((channel, thread))
    }))
}

/// Runs `service` behind `link` until the port is removed or the bridge has ended.
pub fn run_service(link: &Link, service: &mut impl Service) {
    run_with(link, service, None);
}

/// Runs `service` behind `link` and before `backend`.
fn run_with<S: Service + ?Sized>(link: &Link, service: &mut S, backend: Option<&Backend>) {
    let clock = Clock::start();
    let never = crossbeam_channel::never();
    let inputs = backend.map_or(&never, Backend::inputs);
    let mut out = Batch::new(MESSAGE_BYTES);
    loop {
        let now = clock.now();
        service.handle_timeout(now);
        let sent = transmit(service, now, &mut out);
        if !out.is_empty() {
            let full = std::mem::replace(&mut out, Batch::new(MESSAGE_BYTES));
            if link.send_batch(full).is_err() {
                return;
            }
        }
        if let Some(backend) = backend {
            hand_over(service, backend);
        }
        let patience = if sent == BUDGET { Some(Duration::ZERO) } else { service.poll_timeout().map(|at| at - now) };
        match link.recv_or(inputs, patience) {
            Ok(Heard::Batch(batch)) => {
                let now = clock.now();
                Outgoing::rest_of(&batch, 0).frames().for_each(|(_, frame)| service.handle_frame(now, frame));
            }
            Ok(Heard::Other(input)) => {
                let now = clock.now();
                service.handle_input(now, input);
                inputs.try_iter().take(INPUTS).for_each(|input| service.handle_input(now, input));
            }
            Ok(Heard::Nothing) => {}
            Err(_) => return,
        }
    }
}

/// Fills `out` within the budget. Gives how many frames it took.
fn transmit<S: Service + ?Sized>(service: &mut S, now: Instant, out: &mut Batch) -> usize {
    let mut sent = 0;
    // A frame is given out only while the batch surely has room for it.
    while sent < BUDGET && out.free() >= PREFIX + MAX_FRAME {
        let put = &mut |frame: &[u8]| {
            out.push(frame, PortId(0), Offload::NONE);
        };
        if service.poll_transmit(now, 1, put) == 0 {
            break;
        }
        sent += 1;
    }
    sent
}

fn hand_over<S: Service + ?Sized>(service: &mut S, backend: &Backend) {
    let mut any = false;
    while let Some(output) = service.poll_output() {
        backend.send(output);
        any = true;
    }
    if any {
        backend.wake();
    }
}
