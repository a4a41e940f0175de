//! The server: exported devices and connections, for the owner of the sockets.
//!
//! The owner opens a connection ([`Server::open`]), hands over what it received, sends what [`Server::transmit`] gives,
//! and ends it with [`Server::close`] when the peer is gone, or when [`Server::closing`] says why and nothing is left to
//! be sent. After every event (bytes of another connection, a timeout, [`Server::with_function`]) any connection may
//! have something to send.

use super::export::{Export, ExportError, UrbTally};
use super::session::{CloseReason, Context, Session};
use super::{MAX_CONNECTIONS, MAX_CONNECTIONS_PER_SOURCE};
use crate::capture::Sights;
use crate::codec::ByteQueue;
use crate::time::{Instant, earliest};
use crate::usb::{Device, Function};
use std::collections::HashMap;
use std::net::IpAddr;

/// The name of a connection; never used twice by one server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(u64);

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Lists also show devices that are in use; usbipd hides them.
    pub show_busy: bool,
}

/// Why a connection was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// [`MAX_CONNECTIONS`] are open.
    #[error("too many connections")]
    Full,
    /// [`MAX_CONNECTIONS_PER_SOURCE`] are open from that address.
    #[error("too many connections from one address")]
    Source,
}

/// A device with its importer and its transfers.
pub struct Exported<'a> {
    /// Its bus id.
    pub busid: &'a str,
    /// The device.
    pub device: &'a Device,
    /// Its importer's connection.
    pub importer: Option<ConnectionId>,
    /// Transfers that have ended.
    pub counts: UrbTally,
    /// Transfers under way.
    pub in_flight: usize,
}

struct Connection {
    source: IpAddr,
    session: Session,
}

/// A USB/IP server.
#[derive(Default)]
pub struct Server {
    options: Options,
    exports: Vec<Export>,
    connections: HashMap<ConnectionId, Connection, foldhash::fast::RandomState>,
    next: u64,
}

impl Server {
    /// A server without devices.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Exports `device` as `busid` (`1-1`).
    ///
    /// # Errors
    /// A bus id that is not one, or that another device has.
    pub fn export(&mut self, busid: &str, device: Device) -> Result<(), ExportError> {
        if self.exports.iter().any(|export| export.busid == busid) {
            return Err(ExportError::Taken(busid.to_owned()));
        }
        self.exports.push(Export::new(busid, device)?);
        Ok(())
    }

    /// The exported devices: bus id, device, and the source address and connection of its importer.
    pub fn exports(&self) -> impl Iterator<Item = (&str, &Device, Option<(ConnectionId, IpAddr)>)> {
        self.exports.iter().map(|export| {
            let importer = export.importer.and_then(|id| Some((id, self.connections.get(&id)?.source)));
            (export.busid.as_str(), &export.device, importer)
        })
    }

    /// The exported devices with their transfers.
    pub fn exported(&self) -> impl Iterator<Item = Exported<'_>> {
        self.exports.iter().map(|Export { busid, device, importer, tally, .. }| {
            let session = importer.and_then(|id| self.connections.get(&id)).map(|connection| &connection.session);
            let in_flight = session.map_or(0, Session::in_flight);
            Exported { busid, device, importer: *importer, counts: *tally, in_flight }
        })
    }

    /// The function of the device `busid`, if it is an `F`.
    pub fn function<F: Function>(&self, busid: &str) -> Option<&F> {
        self.exports.iter().find(|export| export.busid == busid)?.device.function()
    }

    /// Lets `act` at the function of the device `busid`, if it is an `F`. The device then goes on.
    pub fn with_function<F: Function, R>(
        &mut self,
        now: Instant,
        busid: &str,
        act: impl FnOnce(&mut F) -> R,
    ) -> Option<R> {
        let export = self.exports.iter_mut().find(|export| export.busid == busid)?;
        export.device.with_function(now, act)
    }

    /// A connection from `source`.
    ///
    /// # Errors
    /// The caps on connections.
    pub fn open(&mut self, now: Instant, source: IpAddr) -> Result<ConnectionId, Refused> {
        // Importers are bounded by the devices.
        let others = self.connections.values().filter(|connection| !connection.session.is_attached());
        let (all, same) = others.fold((0, 0), |(all, same), it| (all + 1, same + usize::from(it.source == source)));
        if all >= MAX_CONNECTIONS {
            return Err(Refused::Full);
        }
        if same >= MAX_CONNECTIONS_PER_SOURCE {
            return Err(Refused::Source);
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        self.connections.insert(id, Connection { source, session: Session::new(now) });
        Ok(id)
    }

    /// Bytes that came from a peer, all of which are taken. What cannot be done yet is kept, so hand over at most some
    /// 64 KiB at a time, and nothing while [`Server::wants_bytes`] is false.
    pub fn handle_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let Self { exports, connections, options, .. } = self;
        if let Some(connection) = connections.get_mut(&id) {
            let mut context = Context { id, exports, show_busy: options.show_busy };
            connection.session.handle_bytes(now, &mut context, bytes);
        }
    }

    /// Whether a connection should be read from: false while its peer does not take what it has asked for.
    pub fn wants_bytes(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.session.wants_bytes())
    }

    /// The next bytes to send to a peer, as far as they lie in one chunk; none only where there are none. They stay until
    /// [`Server::transmitted`].
    pub fn transmit(&mut self, now: Instant, id: ConnectionId) -> &[u8] {
        self.output(now, id).map_or(&[], |out| out.first())
    }

    /// All output, for an owner that sends several chunks at once and then reports the number of bytes sent.
    pub(crate) fn output(&mut self, now: Instant, id: ConnectionId) -> Option<&mut ByteQueue> {
        let Self { exports, connections, options, .. } = self;
        let mut context = Context { id, exports, show_busy: options.show_busy };
        Some(connections.get_mut(&id)?.session.output(now, &mut context))
    }

    /// The first `count` bytes that [`Server::transmit`] gave were sent.
    pub fn transmitted(&mut self, id: ConnectionId, count: usize) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.session.transmitted(count);
        }
    }

    /// Nothing that is sent on a connection arrives any more. Transfers to its peer are not done, and what it has sent is
    /// taken as before, so that nothing is lost that was to go out by a device.
    pub fn deafen(&mut self, now: Instant, id: ConnectionId) {
        let Self { exports, connections, options, .. } = self;
        if let Some(connection) = connections.get_mut(&id) {
            connection.session.deafen(now, &mut Context { id, exports, show_busy: options.show_busy });
        }
    }

    /// Why a connection is to be closed, as soon as [`Server::transmit`] is empty; `None` while it goes on.
    pub fn closing(&self, id: ConnectionId) -> Option<CloseReason> {
        self.connections.get(&id).and_then(|connection| connection.session.closing())
    }

    /// The connection is gone. Its device is free at once.
    pub fn close(&mut self, now: Instant, id: ConnectionId) {
        let Self { exports, connections, options, .. } = self;
        if let Some(mut connection) = connections.remove(&id) {
            let mut context = Context { id, exports, show_busy: options.show_busy };
            connection.session.close(now, &mut context, CloseReason::Peer);
        }
    }

    /// Has transfers noted for captures, so many bytes of each, or no more.
    pub(crate) fn watch(&mut self, now: Instant, snap: Option<u32>) {
        self.exports.iter_mut().for_each(|export| export.watch(now, snap));
    }

    /// Takes what was noted.
    pub(crate) fn take_sights(&mut self, out: &mut Sights) {
        let monitors = self.exports.iter_mut().filter_map(|export| export.monitor.as_mut());
        monitors.for_each(|monitor| out.append(&mut monitor.sights));
    }

    /// The open connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// When the server next wants [`Server::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.connections.values().map(|connection| connection.session.poll_timeout());
        let devices = self.exports.iter().map(|export| export.device.poll_timeout());
        sessions.chain(devices).fold(None, earliest)
    }

    /// The instant that [`Server::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        for connection in self.connections.values_mut() {
            connection.session.handle_timeout(now);
        }
        for export in &mut self.exports {
            if export.device.poll_timeout().is_some_and(|deadline| deadline <= now) {
                export.device.handle_timeout(now);
            }
        }
    }
}
