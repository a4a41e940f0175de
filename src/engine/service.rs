//! Starts services.
//!
//! A port whose kind is a service is started here ([`start`]), and so is a service of the embedding program
//! ([`start_own`]): the caller's thread makes the service and all that it obtains, so that errors are returned to the
//! caller; then the service gets a thread, which ends with the port.

use super::runner;
use super::thread::{BridgeContext, Thread};
use crate::backend::Backend;
use crate::config::{PortKind, PortSpec};
use crate::error::Result;
use crate::port::channel::{Channel, ServiceEnd, pair};
use crate::rights::Role;
use crate::rights::role::{BASE, NETWORK, READ, REMOVE, SOCKETS, WATCH};
use crate::service::{self, Outside, Service};
use crate::time::Clock;
use std::thread::JoinHandle;
use std::time::SystemTime;

/// A service speaks on sockets and terminals that are open, dials, reads what a client's process is called, and takes away
/// what it made; its files have threads of their own.
static ROLE: Role = Role::new("service", &[BASE, SOCKETS, NETWORK, REMOVE, WATCH, READ]);
/// A gateway opens sockets to wherever guests want, and the list of resolvers; files have threads of their own.
static GATEWAY: Role = Role::new("gateway", &[BASE, SOCKETS, NETWORK, REMOVE, READ]);

/// A service that runs: the port's end of it, and its thread.
pub(super) type Started = (Channel, JoinHandle<()>);

/// Starts the service that `spec` asks for, if its kind is one. Its files and sockets are opened here, which may take its
/// time.
pub(super) fn start(spec: &PortSpec, context: &BridgeContext, seed: u64) -> Option<Result<Started>> {
    let (role, watches) = match &spec.kind {
        PortKind::Nat(_) => (&GATEWAY, true),
        PortKind::Usbip(_) => (&ROLE, false),
        PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Tcp(_) | PortKind::Udp(_) => return None,
        PortKind::Unix(_) | PortKind::UnixGram(_) | PortKind::Slip(_) | PortKind::Wpan(_) => return None,
    };
    let make = || {
        let (mut backend, clock) = (Backend::new()?, Clock::start());
        let service = service::make(spec, clock.now(), &mut backend, seed)?;
        begin(&spec.name, context, role, (service, backend, clock), watches)
    };
    Some(make())
}

/// Starts the service that `make` makes behind a port called `name`.
pub(super) fn start_own<S: Service + Send + 'static>(
    name: &str,
    context: &BridgeContext,
    make: impl FnOnce(&mut dyn Outside) -> Result<S>,
) -> Result<Started> {
    let mut backend = Backend::new()?;
    let service = Box::new(make(&mut backend)?);
    begin(name, context, &ROLE, (service, backend, Clock::start()), true)
}

/// Gives a service its port and its thread. `watches`: it is told when a port loses its peer.
fn begin(
    name: &str,
    context: &BridgeContext,
    role: &'static Role,
    (mut service, backend, clock): (Box<dyn Service + Send>, Backend, Clock),
    watches: bool,
) -> Result<Started> {
    let (channel, link) = pair(context.waker.clone());
    let channel = if service.takes_offloads() { channel.with_offloads() } else { channel };
    link.set_waker(backend.waker());
    if watches {
        link.watch_departures();
    }
    service.poll_report(clock.now(), SystemTime::now).into_iter().for_each(|report| link.tell(report));
    let run = move |(link, service, backend): &mut (ServiceEnd, Box<dyn Service + Send>, Backend), thread: &Thread| {
        runner::run(link, service.as_mut(), backend, &clock, Some(thread));
    };
    let thread = Thread::new(name, context).start(role, (link, service, backend), run, |(link, ..)| link)?;
    Ok((channel, thread))
}
