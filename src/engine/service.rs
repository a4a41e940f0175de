//! Starts services, and is the outside of those that speak to a back end in messages.
//!
//! A port whose kind is a service is started here ([`start`]): its back end and the service itself are made on the
//! caller's thread, so that errors are the caller's, and then get a thread that ends when the port does.

use super::gateway;
use super::runner::{self, MESSAGE_BYTES, Occupant};
use super::thread::{Host, LINGER, Thread};
use crate::backend::Backend;
use crate::config::{PortKind, PortSpec};
use crate::error::Result;
use crate::frame::{Batch, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::{Channel, Link, pair};
use crate::port::own;
use crate::rights::Role;
use crate::rights::role::{BASE, NETWORK, READ, REMOVE, SOCKETS, WATCH};
use crate::service::report::Report;
use crate::service::{self, Ingress, Service, Unsent};
use crate::time::{Clock, Instant};
use crate::wire::Offload;
use std::thread::JoinHandle;
use std::time::Duration;

/// A service speaks on sockets and terminals that are open, dials, reads what a client's process is called, and takes away
/// what it made; its files have threads of their own.
static ROLE: Role = Role::new("service", &[BASE, SOCKETS, NETWORK, REMOVE, WATCH, READ]);

/// Frames that a service may send before it has to look at what has come.
const BUDGET: usize = 64;
/// Frames that it is asked for at a time, and the bytes after which it is not asked for more: there is room for a frame.
const TURN: usize = 16;
const ENOUGH: usize = MESSAGE_BYTES / 2;
/// How often it is looked whether a program at a terminal has read what was sent to it: nothing tells. For how long it
/// has to seem so.
const LOOK: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_millis(100);
/// Messages from the outside that a service takes before it has to look at what has come from the switch.
const INPUTS: usize = 256;

/// A service that runs: the port's end of it, and its thread.
pub(super) type Started = (Channel, JoinHandle<()>);

/// Whether a port is a service.
pub(super) fn is_one(spec: &PortSpec) -> bool {
    matches!(spec.kind, PortKind::Nat(_)) || service::wants(spec).is_some()
}

/// Starts the service that `spec` asks for, if its kind is one. Its files and
/// sockets are opened here, which may take its time.
pub(super) fn start(spec: &PortSpec, host: &Host, seed: u64) -> Option<Result<Started>> {
    if let PortKind::Nat(nat) = &spec.kind {
        return Some(gateway::start(spec, nat, host, seed));
    }
    let wants = service::wants(spec)?;
    Some(Backend::open(&wants).and_then(|(backend, found)| {
        let mut service = service::make(spec, &found, seed)?;
        let (channel, link) = pair(host.waker.clone());
        service.poll_report().into_iter().for_each(|report| link.tell(report));
        let run = |(link, service, backend): &mut (Link, Box<dyn Service + Send>, Backend), thread: &Thread| {
            run_with(link, service.as_mut(), backend, Some(thread));
        };
        let thread = Thread::new(spec, host).start(&ROLE, (link, service, backend), run, |(link, ..)| link)?;
        Ok((channel, thread))
    }))
}

/// Runs `service` behind `link` until the port is removed or the bridge has ended.
///
/// # Errors
/// The system has no descriptors left.
pub fn run_service(link: &own::Link, service: &mut impl Service) -> Result<()> {
    let (mut backend, _) = Backend::open(&[])?;
    run_with(link.channel(), service, &mut backend, None);
    Ok(())
}

fn run_with<S: Service + ?Sized>(link: &Link, service: &mut S, backend: &mut Backend, thread: Option<&Thread>) {
    link.set_waker(backend.waker());
    runner::run(link, &mut Messages { service, backend }, &Clock::start(), thread);
}

/// A service that speaks to its back end in messages.
struct Messages<'a, S: ?Sized> {
    service: &'a mut S,
    backend: &'a mut Backend,
}

impl<S: Service + ?Sized> Messages<'_, S> {
    fn perform(&mut self) {
        while let Some(output) = self.service.poll_output() {
            self.backend.perform(output);
        }
    }
}

impl<S: Service + ?Sized> Occupant for Messages<'_, S> {
    fn wait(&mut self, patience: Option<Duration>) -> Result<()> {
        self.backend.wait(patience)
    }

    fn handle_outside(&mut self, now: Instant) {
        for _ in 0..INPUTS {
            let Some(input) = self.backend.poll_input() else { break };
            self.service.handle_input(now, input);
        }
    }

    fn handle_frame(&mut self, now: Instant, ingress: Ingress, frame: &[u8], _: Offload) {
        self.service.handle_frame(now, ingress, frame);
    }

    fn work(&mut self, now: Instant, out: &mut Batch) -> bool {
        self.service.handle_timeout(now);
        let more = transmit(self.service, now, out);
        self.perform();
        more
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.service.poll_timeout()
    }

    fn poll_report(&mut self, _: Instant) -> Option<Report> {
        self.service.poll_report()
    }

    fn linger(&mut self, clock: &Clock) {
        let begun = clock.now();
        self.service.handle_closed(begun);
        let (end, mut quiet) = (begun + LINGER, begun + QUIET);
        for round in 0.. {
            let now = clock.now();
            self.handle_outside(now);
            self.service.handle_timeout(now);
            self.perform();
            let (unsent, unread) = (self.service.unsent(), self.backend.unread());
            let leaving = unsent.iter().any(|it| it.taken) || unread.is_some_and(|count| count > 0);
            if leaving {
                quiet = now + QUIET;
            }
            // What was given back at first has to reach the back end, so there is a second round.
            if now >= end || round > 0 && !leaving && (unread.is_none() || now >= quiet) {
                return say_lost(&unsent, unread.unwrap_or(0));
            }
            let look = match (round, unread) {
                (0, _) => now,
                (_, Some(_)) => now + LOOK,
                (_, None) => end,
            };
            let due = self.service.poll_timeout().map_or(look, |due| due.min(look));
            if let Err(error) = self.backend.wait(Some(due - now)) {
                return log::error!("a service ends: {error}");
            }
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

/// Fills `out` within the budget. True if there may be more.
fn transmit<S: Service + ?Sized>(service: &mut S, now: Instant, out: &mut Batch) -> bool {
    let before = out.free();
    while out.len() < BUDGET && before - out.free() < ENOUGH {
        // As many as there is room for, however long they are.
        let count = (out.free() / (PREFIX + MAX_FRAME)).min(TURN);
        let put = &mut |frame: &[u8]| {
            out.push(frame, PortId(0), Offload::NONE);
        };
        if service.poll_transmit(now, count, put) < count {
            return false;
        }
    }
    true
}
