//! Starts a gateway, and is its outside: a poll with the sockets of the host.
//!
//! Other services talk to a back end in messages. A gateway moves too many bytes for that: it calls the sockets, and bytes
//! go from a socket's buffer into the frame that leaves.

use super::runner::{self, MESSAGE_BYTES, Occupant};
use super::thread::{Host, LINGER, Thread};
use crate::backend::{LeaseFile, Sockets};
use crate::config::{self, PortSpec, Protocol};
use crate::error::{Error, Result};
use crate::frame::{Batch, PortId};
use crate::port::channel::{Channel, Link, pair};
use crate::port::memory::Peak;
use crate::rights::Role;
use crate::rights::role::{BASE, NETWORK, READ, REMOVE, SOCKETS};
use crate::service::Ingress;
use crate::service::endpoint::DEFAULT_MTU;
use crate::service::lan::servers::LanServers;
use crate::service::nat::Nat;
use crate::service::report::Report;
use crate::time::{Clock, Instant};
use crate::wire::Offload;
use mio::{Events, Poll};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// A gateway opens sockets to wherever guests want, and the list of resolvers; files have threads of their own.
static ROLE: Role = Role::new("gateway", &[BASE, SOCKETS, NETWORK, REMOVE, READ]);

const EVENTS: usize = 256;

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
    let events = Events::with_capacity(EVENTS);
    let gateway = Gateway { poll, events, nat: machine, sockets, peak: Peak::default(), lease_file, saved: 0 };
    let run = move |(link, gateway): &mut (Link, Gateway), thread: &Thread| {
        runner::run(link, gateway, &clock, Some(thread));
    };
    let thread = Thread::new(spec, host).start(&ROLE, (link, gateway), run, |(link, _)| link)?;
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
    poll: Poll,
    events: Events,
    nat: Nat,
    sockets: Sockets,
    /// Of its flows.
    peak: Peak,
    /// Where the leases are kept.
    lease_file: Option<LeaseFile>,
    /// The version of the leases that it was given last.
    saved: u64,
}

impl Gateway {
    /// Gives the leases to their file, if they have changed.
    fn save_leases(&mut self, now: Instant) {
        if let Some(file) = &self.lease_file
            && self.nat.leases_version() != self.saved
        {
            self.saved = self.nat.leases_version();
            file.save(self.nat.leases(now));
        }
    }
}

impl Occupant for Gateway {
    fn wait(&mut self, patience: Option<Duration>) -> Result<()> {
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                Err(Error::system("cannot wait for sockets", &error))
            }
            _ => Ok(()),
        }
    }

    fn handle_outside(&mut self, now: Instant) {
        for event in self.events.iter().filter_map(Sockets::event) {
            self.nat.handle_event(now, event, &mut self.sockets);
        }
    }

    fn handle_frame(&mut self, now: Instant, ingress: Ingress, frame: &[u8], offload: Offload) {
        self.nat.handle_frame(now, ingress, (frame, offload), &mut self.sockets);
    }

    fn handle_departures(&mut self, now: Instant, ports: &BTreeSet<PortId>) {
        self.nat.handle_departures(now, ports);
    }

    fn work(&mut self, now: Instant, out: &mut Batch) -> bool {
        self.nat.handle_timeout(now, &mut self.sockets);
        self.nat.poll_transmit(now, &mut self.sockets, out);
        self.nat.is_ready()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.nat.poll_timeout()
    }

    fn poll_report(&mut self, now: Instant) -> Option<Report> {
        self.save_leases(now);
        let report = self.nat.poll_report(now, SystemTime::now)?;
        self.peak.note(self.nat.flows().tcp);
        Some(report)
    }

    /// Lets leave what guests have said last. Nothing reaches a guest any more.
    fn linger(&mut self, clock: &Clock) {
        let end = clock.now() + LINGER;
        let mut nowhere = Batch::new(MESSAGE_BYTES);
        loop {
            let now = clock.now();
            self.nat.poll_transmit(now, &mut self.sockets, &mut nowhere);
            nowhere.clear();
            if now >= end || !self.nat.has_last_words() {
                return;
            }
            let patience = if self.nat.is_ready() { Duration::ZERO } else { end - now };
            // One that fails leaves no events, and the time runs out.
            let _ = self.poll.poll(&mut self.events, Some(patience));
            self.handle_outside(now);
        }
    }
}
