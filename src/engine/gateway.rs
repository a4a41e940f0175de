//! Runs a gateway: a thread with a poll of its own, which waits for the sockets of the host and for the switch.
//!
//! Theory of operation. Other services leave their sockets to a back end's thread and talk to it by messages. A gateway
//! moves too many bytes for that: here the thread that has the sockets is the thread that has the machine, and bytes go
//! from a socket's buffer into the frame that leaves. A turn takes events and frames, bounded, lets the machine work, and
//! hands the frames over. With nothing to do the thread sleeps.

use super::fault::strike;
use super::pulse::Pulse;
use super::service::{Host, LINGER, Thread};
use crate::backend::{LeaseFile, Sockets};
use crate::config::{self, PortSpec, Protocol};
use crate::error::{Error, Result};
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::{Channel, Closed, Link, pair};
use crate::port::memory::Peak;
use crate::rights::Role;
use crate::rights::role::{BASE, NETWORK, READ, REMOVE, SOCKETS};
use crate::service::endpoint::DEFAULT_MTU;
use crate::service::lan::servers::LanServers;
use crate::service::nat::Nat;
use crate::time::Clock;
use mio::{Events, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// A gateway opens sockets to wherever guests want, and the list of resolvers; files have threads of their own.
static ROLE: Role = Role::new("gateway", &[BASE, SOCKETS, NETWORK, REMOVE, READ]);

const EVENTS: usize = 256;
/// Batches of the switch in one turn.
const BATCHES: usize = 16;
/// Bytes of one batch to the switch: a few super-frames.
const MESSAGE_BYTES: usize = 4 * (PREFIX + MAX_FRAME);

/// Starts the gateway of the port `spec`.
pub(super) fn start(spec: &PortSpec, nat: &config::Nat, host: &Host, seed: u64) -> Result<(Channel, JoinHandle<()>)> {
    let poll = Poll::new().map_err(|error| Error::system("cannot wait for descriptors", &error))?;
    let (mut sockets, own) = Sockets::new(&poll)?;
    let mut machine = Nat::new(spec, nat, seed)?;
    let mtu = spec.mtu.map_or(DEFAULT_MTU, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX));
    let (mut servers, clock) = (LanServers::new(nat, mtu, seed), Clock::start());
    let mut lease_file = None;
    if let Some(path) = &nat.lan.leases {
        let (file, leases) = LeaseFile::open(path)?;
        servers.restore(clock.now(), &leases);
        lease_file = Some(file);
    }
    machine.set_servers(Box::new(servers))?;
    serve_files(spec, &nat.lan, &mut sockets)?;
    for forward in &nat.forwards {
        let (socket, bound) = match forward.protocol {
            Protocol::Tcp => sockets.listen(forward.listen)?,
            Protocol::Udp => sockets.listen_udp(forward.listen)?,
        };
        log::info!("{}: {} {bound} leads to {}", spec.name, forward.protocol, forward.guest);
        machine.add_forward(socket, *forward);
    }
    let (channel, link) = pair(host.waker.clone());
    link.set_waker(own);
    link.watch_departures();
    let name = spec.name.clone();
    let gateway = Gateway {
        name,
        poll,
        link,
        nat: machine,
        sockets,
        clock,
        spare: None,
        peak: Peak::default(),
        lease_file,
        saved: 0,
    };
    let run = |gateway: &mut Gateway, thread: &Thread| gateway.run(&thread.pulse);
    let thread = Thread::new(spec, host).start(&ROLE, gateway, run, |gateway| &gateway.link)?;
    Ok((channel.with_offloads(), thread))
}

/// Opens the folder of files, and tells which file to boot is not there.
fn serve_files(spec: &PortSpec, lan: &config::Lan, sockets: &mut Sockets) -> Result<()> {
    let Some(folder) = &lan.tftp else { return Ok(()) };
    sockets.serve(folder)?;
    if lan.tftp_write {
        sockets.take_files(folder)?;
    }
    let here = lan.bootfiles.iter().filter(|boot| !boot.is_url());
    for config::BootFile { file, .. } in here {
        if !folder.join(file.trim_start_matches('/')).is_file() {
            let folder = folder.display();
            log::warn!("{}: there is no file {file} in {folder} yet, which boards are told to boot", spec.name);
        }
    }
    Ok(())
}

struct Gateway {
    name: String,
    poll: Poll,
    link: Link,
    nat: Nat,
    sockets: Sockets,
    clock: Clock,
    /// A batch that found nothing to carry.
    spare: Option<Batch>,
    /// Of its flows.
    peak: Peak,
    /// Where the leases are kept.
    lease_file: Option<LeaseFile>,
    /// The version of the leases that it was given last.
    saved: u64,
}

impl Gateway {
    /// Runs until the port is removed.
    fn run(&mut self, pulse: &Pulse) {
        let mut events = Events::with_capacity(EVENTS);
        let mut patience = Some(Duration::ZERO);
        loop {
            pulse.end();
            let polled = self.poll.poll(&mut events, patience);
            pulse.begin();
            match polled {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return log::error!("{}: poll: {error}", self.name);
                }
                _ => {}
            }
            self.link.wake_up();
            let now = self.clock.now();
            for event in events.iter().filter_map(Sockets::event) {
                self.nat.handle_event(now, event, &mut self.sockets);
            }
            match self.turn() {
                Ok(again) => patience = again,
                Err(Closed) => {
                    // It may take its time now, and nobody waits for it.
                    pulse.end();
                    return self.linger(&mut events);
                }
            }
        }
    }

    /// Lets leave what guests have said last, as far as somebody takes it in time. Nothing reaches a guest any more.
    fn linger(&mut self, events: &mut Events) {
        let end = self.clock.now() + LINGER;
        let mut nowhere = Batch::new(MESSAGE_BYTES);
        loop {
            let now = self.clock.now();
            self.nat.poll_transmit(now, &mut self.sockets, &mut nowhere);
            nowhere.clear();
            if now >= end || !self.nat.has_last_words() {
                return;
            }
            let patience = if self.nat.is_ready() { Duration::ZERO } else { end - now };
            // One that fails leaves no events, and the time runs out.
            let _ = self.poll.poll(events, Some(patience));
            for event in events.iter().filter_map(Sockets::event) {
                self.nat.handle_event(now, event, &mut self.sockets);
            }
        }
    }

    /// Takes frames and lets the machine work. Gives the time for which there is nothing more to do.
    fn turn(&mut self) -> Result<Option<Duration>, Closed> {
        let mut more = true;
        for _ in 0..BATCHES {
            let Some(batch) = self.link.try_recv_batch()? else {
                more = false;
                break;
            };
            strike(&self.name);
            let now = self.clock.now();
            for (frame, bytes) in Outgoing::rest_of(&batch, 0).frames() {
                self.nat.handle_frame(now, self.link.ingress(frame), (bytes, frame.offload), &mut self.sockets);
            }
            self.link.done_with(batch);
        }
        let now = self.clock.now();
        self.nat.handle_departures(now, &self.link.take_departures());
        self.nat.handle_timeout(now, &mut self.sockets);
        let mut out = self.spare.take().unwrap_or_else(|| self.link.spare(MESSAGE_BYTES));
        self.nat.poll_transmit(now, &mut self.sockets, &mut out);
        if out.is_empty() {
            self.spare = Some(out);
        } else {
            self.link.send_batch(out)?;
        }
        if let Some(file) = &self.lease_file
            && self.nat.leases_version() != self.saved
        {
            self.saved = self.nat.leases_version();
            file.save(self.nat.leases(now));
        }
        if let Some(report) = self.nat.poll_report(now, SystemTime::now) {
            self.peak.note(self.nat.flows().tcp);
            self.link.tell(report);
        }
        if more || self.nat.is_ready() || !self.link.fall_asleep() {
            return Ok(Some(Duration::ZERO));
        }
        Ok(self.nat.poll_timeout().map(|at| at - now))
    }
}
