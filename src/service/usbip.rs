//! `usbip:`: USB devices exported by a host of their own on the switch.
//!
//! Theory of operation. The port is an [`Endpoint`] that listens on TCP port 3240, and one [`Server`] with the devices.
//! A connection is a `Line`: to a peer on the switch through the endpoint, or to a client of the machine itself through
//! a stream of the outside (`usbip-listen=`). Events, of either side, only set a flag; then one round (`work`) lets
//! every driver move bytes between a device and its back end, and every line between its connection and its session.
//! There is back-pressure both ways: while a session takes no bytes its connection is not read, so that the window
//! closes, and bytes that a peer does not take stay in the session, which is bounded.
//!
//! # The walk of a URB
//! ```text
//! handle_frame          a segment with a CMD_SUBMIT: the endpoint's TCP takes it, and Event::Readable says so
//! work                  one round over all that has changed
//!   Driver::work        first, as what a back end has brought may answer a URB that waits
//!   Line::work          bytes of the connection into the server's session, as long as that wants more
//!     Server            a session cuts them into messages, and gives the URB to the device's function
//!     Line::work        the replies that are ready into the connection, as long as that has room
//!   Driver::work        again: what the URB brought leaves by Outside::send_queue or Outside::submit
//! poll_transmit         the endpoint's segments with the replies
//! handle_event          the back end has something: Outside::recv or Outside::job_done in the next round completes a URB
//! ```
//!
//! A peer that ends its connection gives its device back at once; one that vanishes is detected by the keep-alive
//! probes of the endpoint, or of the kernel, within 30 s (`patience=`), and at once when another peer asks for its
//! device. When the port is closed the importers are disconnected, and bytes of their devices for back ends still
//! leave.

mod build;
mod detail;
mod driver;
mod line;
mod relay;
mod transport;
mod watch;

use super::detail::Details;
use super::endpoint::{Endpoint, EndpointConfig, Event, Limits, ListenerId};
use super::outside::{Event as Change, Outside, SocketId};
use super::report::{Report, Shown, Standing};
use crate::capture::Sights;
use crate::config::{PortSpec, Usbip};
use crate::error::Result;
use crate::frame::Batch;
use crate::service::machine::{Arrived, Service, Unsent};
use crate::time::{Instant, earliest};
use crate::usb::Function;
use crate::usbip::{KEEP_ALIVE, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_SOURCE, Options, PORT, Server};
use driver::{Bench, Driver};
use line::{Line, World, ask_holders};
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;
use transport::{CHUNK, Via, Ways};
use watch::{Foreign, Presence, Watch};

/// Connections whose handshake is under way.
const BACKLOG: usize = 16;
/// Clients of the machine itself at once; further ones wait in the kernel's queue.
const MOST: usize = 256;

/// See the module.
pub struct UsbipPort {
    name: String,
    endpoint: Endpoint,
    server: Server,
    listener: ListenerId,
    /// The listener for clients of the machine itself.
    host: Option<SocketId>,
    lines: Vec<Line>,
    drivers: Vec<Driver>,
    foreign: Vec<Foreign>,
    /// One for each of them.
    watches: Vec<Watch>,
    /// The exports, as configured.
    exports: Option<Usbip>,
    /// The report has changed. Checked at every turn, and rarely set.
    changed: bool,
    /// Read buffer.
    buffer: Vec<u8>,
    /// The number of the round.
    round: u64,
    /// Something has changed since the last round.
    dirty: bool,
    /// The importer of each device, as last logged.
    importers: Vec<Option<IpAddr>>,
}

impl UsbipPort {
    /// The service of the port `spec`, whose kind is `usbip`, with the back ends of its devices.
    ///
    /// # Errors
    /// Class usage: addresses that cannot work, or invalid devices. Others: a back end that cannot be opened.
    pub fn new(spec: &PortSpec, usbip: &Usbip, outside: &mut dyn Outside, seed: u64) -> Result<Self> {
        let mut server = Server::new(Options { show_busy: usbip.show_busy });
        let drivers = build::export(&mut server, &spec.name, usbip, outside)?;
        let host = build::listen(&spec.name, usbip, outside)?;
        let port = Self::serving(&spec.name, &endpoint_config(spec, usbip, seed), server)?;
        let foreign = build::foreign(usbip);
        let watches = foreign.iter().map(|_| Watch::new()).collect();
        Ok(Self { host, drivers, foreign, watches, exports: Some(usbip.clone()), ..port })
    }

    /// A host that serves the devices of `server`, for a program that brings its own. It runs on a port inside the
    /// process ([`crate::service`]); `name` leads what it logs.
    ///
    /// # Errors
    /// Class usage: addresses that cannot work.
    pub fn serving(name: &str, config: &EndpointConfig, server: Server) -> Result<Self> {
        let mut endpoint = Endpoint::new(config)?;
        let listener = endpoint.listen(PORT, BACKLOG)?;
        Ok(Self {
            name: name.to_owned(),
            endpoint,
            server,
            listener,
            host: None,
            lines: Vec::new(),
            drivers: Vec::new(),
            foreign: Vec::new(),
            watches: Vec::new(),
            exports: None,
            changed: true,
            buffer: vec![0; CHUNK],
            round: 0,
            dirty: true,
            importers: Vec::new(),
        })
    }

    /// Lets `act` at the function of the device `busid`, if it is an `F`. The device then goes on.
    pub fn with_function<F: Function, R>(
        &mut self,
        now: Instant,
        busid: &str,
        act: impl FnOnce(&mut F) -> R,
    ) -> Option<R> {
        self.dirty = true;
        self.server.with_function(now, busid, act)
    }

    /// The server, with its devices and connections.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn handle_events(&mut self, now: Instant, outside: &mut dyn Outside) {
        while let Some(event) = self.endpoint.poll_event() {
            self.dirty = true;
            match event {
                Event::Accepted { conn, listener, peer, .. } if listener == self.listener => {
                    self.admit(now, Via::Switch(conn), peer, outside);
                }
                Event::PeerClosed(conn) => self.with_line(Via::Switch(conn), |line| line.transport.peer_closed = true),
                Event::Closed(conn, reason) => {
                    log::debug!("{}: connection ended: {reason:?}", self.name);
                    self.with_line(Via::Switch(conn), |line| line.transport.gone = true);
                }
                _ => {}
            }
        }
    }

    fn with_line(&mut self, via: Via, act: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.transport.via == via) {
            act(line);
        }
    }

    /// Lets in clients of the machine itself.
    fn accept(&mut self, now: Instant, outside: &mut dyn Outside) {
        let Some(listener) = self.host else { return };
        while self.lines.len() < MOST
            && let Ok((stream, from)) = outside.accept(listener)
        {
            self.admit(now, Via::Host(stream), from, outside);
        }
    }

    fn admit(&mut self, now: Instant, via: Via, peer: SocketAddr, outside: &mut dyn Outside) {
        let source = peer.ip();
        match self.server.open(now, source) {
            Ok(id) => self.lines.push(Line::new(now, via, id, peer)),
            Err(refused) => {
                log::warn!("{}: {source} is refused: {refused}", self.name);
                match via {
                    Via::Switch(conn) => self.endpoint.abort(conn),
                    Via::Host(stream) => outside.close(stream, false),
                }
            }
        }
    }

    /// One round: back ends first, since what they bring may answer a URB.
    fn work(&mut self, now: Instant, outside: &mut dyn Outside) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        self.round += 1;
        self.accept(now, outside);
        self.drive(now, outside);
        let (mut world, lines, watches) = self.parts(outside);
        lines.retain_mut(|line| line.work(now, &mut world));
        let settled = ask_holders(now, lines, &mut world);
        let changed = watch(now, &mut world, watches);
        let more = world.ways.more || settled;
        self.changed |= changed;
        self.dirty |= more;
        // A line may have brought bytes for a back end; when that takes them the URB is answered, without an event.
        self.dirty |= self.drive(now, outside);
        self.tell();
    }

    /// Moves bytes between devices and back ends. True if lines may have replies by that.
    fn drive(&mut self, now: Instant, outside: &mut dyn Outside) -> bool {
        let Self { drivers, server, buffer, .. } = self;
        let mut bench = Bench { now, server, outside, buffer, more: false, moved: false };
        drivers.iter_mut().for_each(|driver| driver.work(&mut bench));
        let Bench { more, moved, .. } = bench;
        self.dirty |= more;
        moved
    }

    /// Splits the port: context, lines and watches.
    fn parts<'a>(&'a mut self, outside: &'a mut dyn Outside) -> (World<'a>, &'a mut Vec<Line>, &'a mut Vec<Watch>) {
        let Self { name, endpoint, server, foreign, watches, lines, buffer, round, exports, .. } = self;
        let ways = Ways { endpoint, outside, buffer, round: *round, more: false };
        (World { name, ways, server, foreign, exports: exports.as_ref() }, lines, watches)
    }

    /// The report: only devices that are present can be attached.
    fn show(&self) -> Option<Shown> {
        let usbip = self.exports.as_ref().filter(|_| !self.foreign.is_empty())?;
        let there = self.foreign.iter().filter(|foreign| foreign.presence == Presence::There);
        let mut named = usbip.exported();
        let own: Vec<(String, String)> = named.drain(..usbip.devices.len().min(named.len())).collect();
        let attach = own.first().map(|(busid, _)| busid).or(there.map(|foreign| &foreign.busid).next());
        let asked = self.foreign.iter().any(|foreign| foreign.presence == Presence::Asked);
        let state = match attach {
            Some(_) => "up",
            None if asked => "connecting",
            None => "waiting",
        };
        let own = own.iter().map(|(busid, word)| format!("{busid} {word}"));
        let peer = own.chain(self.foreign.iter().map(Foreign::shown)).collect::<Vec<_>>().join(", ");
        let standing = Standing { state, attach: attach.and_then(|busid| usbip.attach_to(busid)) };
        Some(Shown { standing: Some(standing), peer: Some(peer), ..Shown::default() })
    }

    /// Logs importers that came and went.
    fn tell(&mut self) {
        self.importers.resize(self.server.exports().count(), None);
        for ((busid, _, importer), told) in self.server.exports().zip(&mut self.importers) {
            let source = importer.map(|(_, source)| source);
            match (*told, source) {
                (before, after) if before == after => continue,
                (_, Some(source)) => log::info!("{}: {busid} attached by {source}", self.name),
                (_, None) => log::info!("{}: {busid} is free again", self.name),
            }
            *told = source;
        }
    }
}

/// Asks for the devices of other servers that are not there. True if one is to be shown otherwise.
fn watch(now: Instant, world: &mut World, watches: &mut [Watch]) -> bool {
    let (name, exports) = (world.name, world.exports);
    let mut changed = false;
    for (at, watch) in watches.iter_mut().enumerate() {
        changed |= watch.work(now, at, world, |foreign| {
            let Foreign { busid, import, presence, .. } = foreign;
            match presence {
                Presence::Asked => {}
                Presence::There => {
                    let attach = exports.and_then(|usbip| usbip.attach_to(busid));
                    let line = attach.map(|attach| format!("; to attach: {}", attach.line)).unwrap_or_default();
                    log::info!("{name}: import={import} is there{line}");
                }
                Presence::Away(why) => {
                    log::warn!("{name}: import={import}: {why}; trying again until it is there");
                }
            }
        });
    }
    changed
}

fn endpoint_config(spec: &PortSpec, usbip: &Usbip, seed: u64) -> EndpointConfig {
    let mut config = EndpointConfig::new(usbip.mac(), usbip.addrs.clone());
    config.gateways.clone_from(&usbip.gateways);
    config.seed = seed;
    if let Some(mtu) = spec.mtu {
        config.mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    }
    let devices = usbip.busids().len();
    // Importers, and a few more than the server takes, so that the server's answer, not a RST, tells of its limit, and so that
    // connections that are being closed have a place.
    config.limits = Limits {
        connections: 2 * MAX_CONNECTIONS + devices,
        per_source: 2 * MAX_CONNECTIONS_PER_SOURCE + devices,
        keep_alive: KEEP_ALIVE.min(usbip.patience() / 3),
        dead_after: usbip.patience(),
        ..Limits::default()
    };
    config
}

impl Service for UsbipPort {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, _: &mut dyn Outside) {
        self.endpoint.handle_frame_from(now, arrived.ingress, arrived.frame);
        // An acknowledgement has no event, but may make room.
        self.dirty = true;
    }

    fn handle_event(&mut self, _: Instant, _: Change, _: &mut dyn Outside) {
        self.dirty = true;
    }

    fn poll_transmit(&mut self, now: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        self.endpoint.fill(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let lines = self.lines.iter().filter_map(Line::poll_timeout).min();
        let work = self.dirty.then_some(Instant::ZERO);
        let watches = self.watches.iter().filter_map(Watch::poll_timeout).min();
        [lines, work, watches, self.server.poll_timeout()].into_iter().fold(self.endpoint.poll_timeout(), earliest)
    }

    fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside) {
        self.endpoint.handle_timeout(now);
        self.handle_events(now, outside);
        let lines = self.lines.iter().filter_map(Line::poll_timeout);
        let others = lines.chain(self.watches.iter().filter_map(Watch::poll_timeout)).chain(self.server.poll_timeout());
        if others.min().is_some_and(|due| due <= now) {
            self.server.handle_timeout(now);
            self.dirty = true;
        }
        self.work(now, outside);
    }

    fn watch(&mut self, now: Instant, snap: Option<u32>) {
        self.server.watch(now, snap);
    }

    fn poll_sights(&mut self, out: &mut Sights) {
        self.server.take_sights(out);
    }

    /// Disconnects the importers: the devices get no more bytes for their back ends.
    fn handle_closed(&mut self, now: Instant, outside: &mut dyn Outside) {
        (self.host, self.dirty) = (None, true);
        self.watches.clear();
        let (mut world, lines, _) = self.parts(outside);
        lines.drain(..).for_each(|line| line.cut(now, &mut world));
        self.drivers.iter_mut().for_each(Driver::close);
    }

    fn unsent(&self, outside: &dyn Outside) -> Vec<Unsent> {
        self.drivers.iter().filter_map(|driver| driver.unsent(&self.server, outside)).collect()
    }

    fn details(&self, now: Instant, _: usize) -> Details {
        Details { devices: self.devices(now), ..Details::default() }
    }

    fn poll_report(&mut self, _: Instant, _: fn() -> SystemTime) -> Option<Report> {
        if std::mem::take(&mut self.changed) { self.show().map(Report::news) } else { None }
    }
}

#[cfg(test)]
mod tests;
