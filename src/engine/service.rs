//! Runs a sans-I/O service on the calling thread: frames come from a port's link, time from the clock, and what the
//! service does outside is done by a back end.
//!
//! A port whose kind is a service is started here ([`start`]): its back end and the service itself are made on the
//! caller's thread, so that errors are the caller's, and then get a thread that ends when the port does.

use super::fault::{Ended, Parts, contained, strike};
use super::gateway;
use super::pulse::Pulse;
use crate::backend::Backend;
use crate::config::{PortKind, PortSpec};
use crate::error::{Error, Result};
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::{Channel, Closed, Link, pair};
use crate::rights::role::{BASE, NETWORK, READ, REMOVE, SOCKETS, WATCH};
use crate::rights::{self, Role};
use crate::service::{self, Service, Unsent};
use crate::time::{Clock, Instant};
use crate::wire::Offload;
use mio::Waker;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A service speaks on sockets and terminals that are open, dials, reads what a client's process is called, and takes away
/// what it made; its files have threads of their own.
static ROLE: Role = Role::new("service", &[BASE, SOCKETS, NETWORK, REMOVE, WATCH, READ]);

/// Frames that a service may send before it has to look at what has come.
const BUDGET: usize = 64;
/// Frames that it is asked for at a time, and the bytes after which it is not asked for more.
const TURN: usize = 16;
const ENOUGH: usize = 128 << 10;
/// What these make at most. What is not used of it is not resident.
const BREATH: usize = ENOUGH + TURN * (PREFIX + MAX_FRAME);
/// How long a service whose port is no more may take to hand on what it has accepted.
pub(super) const LINGER: Duration = Duration::from_secs(3);
/// How much longer it is waited for such a service, and how often it is looked.
const SPARE: Duration = Duration::from_millis(300);
const GLANCE: Duration = Duration::from_millis(2);
/// How often it is looked whether a program at a terminal has read what was sent to it: nothing tells. For how long it
/// has to seem so.
const LOOK: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_millis(100);
/// Batches, and messages from the outside, that a service takes before it has to look at the other.
const BATCHES: usize = 8;
const INPUTS: usize = 256;

/// The threads of services; waits for them when dropped, after their ports, but not for one that does not end.
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
        let deadline = std::time::Instant::now() + LINGER + SPARE;
        while self.0.iter().any(|thread| !thread.is_finished()) {
            if std::time::Instant::now() >= deadline {
                let names = self.0.iter().filter(|thread| !thread.is_finished()).filter_map(|it| it.thread().name());
                return log::error!(
                    "services do not end, and are left behind: {}",
                    names.collect::<Vec<_>>().join(", ")
                );
            }
            std::thread::sleep(GLANCE);
        }
    }
}

/// What a service's thread needs to know of its bridge.
#[derive(Clone)]
pub(super) struct Host {
    /// The name of its switch.
    pub switch: String,
    /// That of the switch's thread.
    pub waker: Arc<Waker>,
    pub parts: Arc<Parts>,
}

/// A thread of a service: what it is called, its pulse, and the word of its failure.
pub(super) struct Thread {
    switch: String,
    port: String,
    parts: Arc<Parts>,
    pub pulse: Arc<Pulse>,
}

impl Thread {
    pub fn new(spec: &PortSpec, host: &Host) -> Self {
        Self {
            switch: host.switch.clone(),
            port: spec.name.clone(),
            parts: host.parts.clone(),
            pulse: host.parts.watchdog.pulse(format!("service {}", spec.name)),
        }
    }

    /// Runs `work` on the new thread, with no more rights than `role`. When it panics, the port is told why, before its link goes.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start<W: Send + 'static>(
        self,
        role: &'static Role,
        mut work: W,
        run: impl FnOnce(&mut W, &Self) + Send + 'static,
        link: fn(&W) -> &Link,
    ) -> Result<JoinHandle<()>> {
        let name = format!("zb-{}", self.port);
        let body = move || {
            let ran = contained(format_args!("service {}", self.port), || {
                run(&mut work, &self);
                Ok(())
            });
            self.pulse.end();
            let Err(why) = ran else { return };
            link(&work).fail(why.what());
            let dropped = contained(format_args!("the end of service {}", self.port), || {
                drop(work);
                Ok(())
            });
            dropped.err().into_iter().for_each(|error| log::error!("{error}"));
            self.parts.tell(Ended { switch: self.switch, port: Some(self.port), why });
        };
        rights::spawn(name, role, body).map_err(|error| Error::system("cannot start a thread", &error))
    }
}

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
pub fn run_service(link: &Link, service: &mut impl Service) -> Result<()> {
    let (mut backend, _) = Backend::open(&[])?;
    run_with(link, service, &mut backend, None);
    Ok(())
}

/// Runs `service` behind `link` and before `backend`.
fn run_with<S: Service + ?Sized>(link: &Link, service: &mut S, backend: &mut Backend, thread: Option<&Thread>) {
    let clock = Clock::start();
    let mut out = Batch::new(BREATH);
    link.set_waker(backend.waker());
    // Its end is the usual one: the port is no more.
    while let Ok(more) = turn(link, service, backend, &clock, &mut out, thread) {
        let patience = match more || !link.fall_asleep() {
            true => Some(Duration::ZERO),
            false => service.poll_timeout().map(|at| at - clock.now()),
        };
        thread.into_iter().for_each(|thread| thread.pulse.end());
        let waited = backend.wait(patience);
        thread.into_iter().for_each(|thread| thread.pulse.begin());
        if let Err(error) = waited {
            return log::error!("a service ends: {error}");
        }
        link.wake_up();
    }
    // It may take its time now, and nobody waits for it.
    thread.into_iter().for_each(|thread| thread.pulse.end());
    linger(service, backend, &clock);
}

/// Lets what the service has accepted leave, as far as somebody outside takes it in time.
fn linger<S: Service + ?Sized>(service: &mut S, backend: &mut Backend, clock: &Clock) {
    let begun = clock.now();
    service.handle_closed(begun);
    let (end, mut quiet) = (begun + LINGER, begun + QUIET);
    for round in 0.. {
        let now = clock.now();
        act(service, backend, now);
        let (unsent, unread) = (service.unsent(), backend.unread());
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
        let due = service.poll_timeout().map_or(look, |due| due.min(look));
        if let Err(error) = backend.wait(Some(due - now)) {
            return log::error!("a service ends: {error}");
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

/// Takes what has come from the outside, and what its time has come for.
fn act<S: Service + ?Sized>(service: &mut S, backend: &mut Backend, now: Instant) {
    for _ in 0..INPUTS {
        let Some(input) = backend.poll_input() else { break };
        service.handle_input(now, input);
    }
    service.handle_timeout(now);
    perform(service, backend);
}

fn perform<S: Service + ?Sized>(service: &mut S, backend: &mut Backend) {
    while let Some(output) = service.poll_output() {
        backend.perform(output);
    }
}

/// Takes what has come, and does what is to be done. True if there is more.
fn turn<S: Service + ?Sized>(
    link: &Link,
    service: &mut S,
    backend: &mut Backend,
    clock: &Clock,
    out: &mut Batch,
    thread: Option<&Thread>,
) -> Result<bool, Closed> {
    let now = clock.now();
    for _ in 0..BATCHES {
        let Some(batch) = link.try_recv_batch()? else { break };
        thread.into_iter().for_each(|thread| strike(&thread.port));
        for (frame, bytes) in Outgoing::rest_of(&batch, 0).frames() {
            service.handle_frame(now, link.ingress(frame), bytes);
        }
        link.done_with(batch);
    }
    for _ in 0..INPUTS {
        let Some(input) = backend.poll_input() else { break };
        service.handle_input(now, input);
    }
    service.handle_timeout(now);
    let more = transmit(service, now, out);
    if !out.is_empty() {
        link.send_batch(copied(out, link))?;
        out.clear();
    }
    perform(service, backend);
    if let Some(report) = service.poll_report() {
        link.tell(report);
    }
    Ok(more)
}

/// Fills `out` within the budget. True if there may be more.
fn transmit<S: Service + ?Sized>(service: &mut S, now: Instant, out: &mut Batch) -> bool {
    let before = out.free();
    while out.len() < BUDGET && before - out.free() < ENOUGH {
        let put = &mut |frame: &[u8]| {
            out.push(frame, PortId(0), Offload::NONE);
        };
        if service.poll_transmit(now, TURN, put) < TURN {
            return false;
        }
    }
    true
}

/// The same frames in a batch that the switch has given back, or in one that has no room to spare.
fn copied(batch: &Batch, link: &Link) -> Batch {
    let frames = || Outgoing::rest_of(batch, 0).frames();
    let mut copy = link.spare(frames().map(|(frame, _)| PREFIX + frame.len()).sum());
    for (frame, bytes) in frames() {
        copy.push(bytes, frame.ingress, frame.offload);
    }
    copy
}
