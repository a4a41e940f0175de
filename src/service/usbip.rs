//! `usbip:`: USB devices exported by a host of their own on the switch.
//!
//! Theory of operation. The port is an [`Endpoint`] that listens on TCP port 3240, and one [`Server`] with the devices.
//! A connection is a `Line`: to a peer on the switch through the endpoint, or to a client of the machine itself
//! through a stream of the outside (`usbip-listen=`). Events only mark that something has changed; then one round
//! (`work`) lets every driver move bytes between a device and its back end, and every line move bytes
//! between its connection and its session. Both directions push back: a session that does not want bytes is not read
//! for, so that the window of its connection closes, and what a peer does not take stays in the session, which is
//! bounded.
//!
//! # The walk of a URB
//! ```text
//! handle_frame          a segment with a CMD_SUBMIT: the endpoint's TCP takes it, and Event::Readable says so
//! work                  one round over all that has changed
//!   Driver::work        first, as what a back end has brought may answer a URB that waits
//!   Line::work          bytes of the connection into the server's session, as long as that wants more
//!     Server            a session cuts them into messages, and gives the URB to the device's function
//!     Line::work        the replies that are ready into the connection, as long as that has room
//!   Driver::work        again: what the URB brought leaves as Output::Send or Output::Job
//! poll_transmit         the endpoint's segments with the replies
//! handle_input          what the back end says to it completes a URB in the next round
//! ```
//!
//! A peer that ends its connection gives its device back at once; one that vanishes is found out by the keep-alive of
//! the endpoint, or of the kernel, within 30 s (`patience=`), and at once when somebody asks for its device. When the port is no more the importers are let go, and what their devices
//! hold for back ends still leaves.

mod build;
mod driver;
mod line;
mod relay;
mod transport;
mod watch;

pub use build::wants;

use super::endpoint::{Endpoint, EndpointConfig, Event, Limits, ListenerId};
use super::outside::{Found, Input, Output};
use super::report::{Report, Shown, Standing};
use crate::config::{PortSpec, Usbip};
use crate::error::Result;
use crate::service::machine::{Service, Unsent};
use crate::service::station::Ingress;
use crate::time::{Instant, earliest};
use crate::usb::Function;
use crate::usbip::{KEEP_ALIVE, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_SOURCE, Options, PORT, Server};
use driver::Driver;
use line::{Line, World, ask_holders};
use std::collections::VecDeque;
use std::net::IpAddr;
use transport::Via;
use watch::{Foreign, Presence, Watch};

/// Connections whose handshake is under way.
const BACKLOG: usize = 16;

/// See the module.
pub struct UsbipPort {
    name: String,
    endpoint: Endpoint,
    server: Server,
    listener: ListenerId,
    /// The want whose streams are clients of the machine itself.
    host: Option<usize>,
    lines: Vec<Line>,
    drivers: Vec<Driver>,
    foreign: Vec<Foreign>,
    /// One for each of them.
    watches: Vec<Watch>,
    /// What it exports, as it is asked for.
    exports: Option<Usbip>,
    /// It is to be shown otherwise than it was last. Asked at every turn, and hardly ever so.
    changed: bool,
    outputs: VecDeque<Output>,
    /// Something has changed since the last round.
    dirty: bool,
    /// The port is no more.
    closed: bool,
    /// Who has which device, as it was logged last.
    importers: Vec<Option<IpAddr>>,
}

impl UsbipPort {
    /// The service of the port `spec`, whose kind is `usbip`. `found` answers [`wants`].
    ///
    /// # Errors
    /// Of class usage, for addresses that cannot work and devices that cannot be.
    pub fn new(spec: &PortSpec, usbip: &Usbip, found: &[Found], seed: u64) -> Result<Self> {
        let mut server = Server::new(Options { show_busy: usbip.show_busy });
        let drivers = build::export(&mut server, &spec.name, usbip, found)?;
        let host = build::host_want(usbip);
        for (want, addr) in found.iter().enumerate().filter_map(|(want, it)| Some((want, it.listening()?))) {
            let what = if Some(want) == host { "USB/IP" } else { "a serial port" };
            log::info!("{}: {what} is served at tcp {addr}, too", spec.name);
        }
        let port = Self::serving(&spec.name, &endpoint_config(spec, usbip, seed), server)?;
        let foreign = build::foreign(usbip);
        let watches = foreign.iter().map(|_| Watch::new()).collect();
        Ok(Self { host, drivers, foreign, watches, exports: Some(usbip.clone()), ..port })
    }

    /// A host that serves the devices of `server`, for a program that brings its own. It runs on a port inside the
    /// process ([`crate::service`]); `name` leads what it logs.
    ///
    /// # Errors
    /// Of class usage, for addresses that cannot work.
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
            outputs: VecDeque::new(),
            dirty: true,
            closed: false,
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

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            self.dirty = true;
            match event {
                Event::Accepted { conn, listener, peer, .. } if listener == self.listener => {
                    self.admit(now, Via::Switch(conn), peer.ip());
                }
                Event::PeerClosed(conn) => self.with_line(Via::Switch(conn), |line| line.peer_closed = true),
                Event::Closed(conn, reason) => {
                    log::debug!("{}: connection ended: {reason:?}", self.name);
                    self.with_line(Via::Switch(conn), |line| line.gone = true);
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

    fn admit(&mut self, now: Instant, via: Via, source: IpAddr) {
        match self.server.open(now, source) {
            Ok(id) => self.lines.push(Line::new(via, id, source)),
            Err(refused) => {
                log::warn!("{}: {source} is refused: {refused}", self.name);
                match via {
                    Via::Switch(conn) => self.endpoint.abort(conn),
                    Via::Host(stream) => self.outputs.push_back(Output::Close(stream)),
                }
            }
        }
    }

    /// One round: back ends first, since what they bring may answer a URB.
    fn work(&mut self, now: Instant) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        for driver in &mut self.drivers {
            driver.work(now, &mut self.server, &mut self.outputs);
        }
        let Self { name, endpoint, server, foreign, outputs, lines, .. } = self;
        let mut world = World { name, endpoint, server, foreign, outputs };
        lines.retain_mut(|line| line.work(now, &mut world));
        self.dirty |= ask_holders(now, lines, &mut world);
        // What a line brought may be for a back end.
        for driver in &mut self.drivers {
            driver.work(now, &mut self.server, &mut self.outputs);
        }
        self.watch(now);
        self.tell();
    }

    /// Asks for the devices of other servers that are not there.
    fn watch(&mut self, now: Instant) {
        let Self { name, endpoint, server, foreign, watches, exports, changed, outputs, .. } = self;
        let mut world = World { name, endpoint, server, foreign, outputs };
        for (at, watch) in watches.iter_mut().enumerate() {
            *changed |= watch.work(now, at, &mut world, |foreign| {
                let Foreign { busid, import, presence, .. } = foreign;
                match presence {
                    Presence::Asked => {}
                    Presence::There => {
                        let attach = exports.as_ref().and_then(|usbip| usbip.attach_to(busid));
                        let line = attach.map(|attach| format!("; to attach: {}", attach.line)).unwrap_or_default();
                        log::info!("{name}: import={import} is there{line}");
                    }
                    Presence::Away(why) => {
                        log::warn!("{name}: import={import}: {why}; trying again until it is there");
                    }
                }
            });
        }
    }

    /// The port as it is to be shown: only devices that are there can be attached.
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

    /// Logs who took and who gave back a device.
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
    fn handle_frame(&mut self, now: Instant, ingress: Ingress, frame: &[u8]) {
        self.endpoint.handle_frame_from(now, ingress, frame);
        // An acknowledgement has no event, but may make room.
        self.dirty = true;
    }

    fn poll_transmit(&mut self, now: Instant, budget: usize, out: &mut dyn FnMut(&[u8])) -> usize {
        self.endpoint.poll_transmit(now, budget, &mut |frame: &[u8]| out(frame))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let lines = self.lines.iter().filter_map(Line::poll_timeout).min();
        let work = self.dirty.then_some(Instant::ZERO);
        let watches = self.watches.iter().filter_map(Watch::poll_timeout).min();
        [lines, work, watches, self.server.poll_timeout()].into_iter().fold(self.endpoint.poll_timeout(), earliest)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.handle_events(now);
        let lines = self.lines.iter().filter_map(Line::poll_timeout);
        let others = lines.chain(self.watches.iter().filter_map(Watch::poll_timeout)).chain(self.server.poll_timeout());
        if others.min().is_some_and(|due| due <= now) {
            self.server.handle_timeout(now);
            self.dirty = true;
        }
        self.work(now);
    }

    fn handle_input(&mut self, now: Instant, mut input: Input) {
        self.dirty = true;
        if let Input::Opened { want, stream, peer } = input
            && self.host == Some(want)
        {
            if self.closed {
                return self.outputs.push_back(Output::Close(stream));
            }
            return self.admit(now, Via::Host(stream), peer.unwrap_or(IpAddr::from([127, 0, 0, 1])));
        }
        if self.lines.iter_mut().any(|line| line.handle_input(&mut input))
            || self.watches.iter_mut().any(|watch| watch.handle_input(&mut input))
        {
            return;
        }
        // A dial whose line has ended in the meantime.
        if let Input::Opened { want, stream, .. } = &input
            && self.foreign.iter().any(|foreign| foreign.is(*want))
        {
            return self.outputs.push_back(Output::Close(*stream));
        }
        for driver in &mut self.drivers {
            driver.handle_input(now, &mut self.server, &input, &mut self.outputs);
        }
    }

    /// Without importers the devices get no more bytes for their back ends.
    fn handle_closed(&mut self, now: Instant) {
        (self.closed, self.dirty) = (true, true);
        self.watches.clear();
        let Self { name, endpoint, server, foreign, outputs, lines, .. } = self;
        let mut world = World { name, endpoint, server, foreign, outputs };
        lines.drain(..).for_each(|line| line.cut(now, &mut world));
        self.drivers.iter_mut().for_each(|driver| driver.close(&mut self.outputs));
    }

    fn unsent(&self) -> Vec<Unsent> {
        self.drivers.iter().filter_map(|driver| driver.unsent(&self.server)).collect()
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_report(&mut self) -> Option<Report> {
        if std::mem::take(&mut self.changed) { self.show().map(Report::news) } else { None }
    }
}

#[cfg(test)]
mod tests;
