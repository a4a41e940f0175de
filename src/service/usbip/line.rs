//! A connection of the USB/IP server: bytes between a transport and a session, with back-pressure both ways.
//!
//! If the request is for a device of another server, or for a list that has some, a [`Relay`] takes over the line; so
//! its first bytes are held back until the request is complete.
//!
//! The holder of a device may have vanished: often a guest that crashed and now asks again. So an import of a taken
//! device waits, too, while the holder gets a keep-alive probe, for [`SIGN`] at most. A kernel that does not know the
//! connection answers with a RST, and the device is free.
//!
//! All lines end alike. After the last reply the line sends its FIN and goes on reading, and drops what it reads, so
//! that no reset overtakes the reply; after [`DRAIN`] it is closed.

use super::relay::{Relay, Taken};
use super::transport::{Transport, Via, Ways};
use super::watch::Foreign;
use crate::config::Usbip;
use crate::time::{Duration, Instant, earliest};
use crate::usbip::op::{self, OP_LENGTH, REQ_IMPORT, REQUEST_LENGTH};
use crate::usbip::{ConnectionId, Server, VERSION};
use std::net::SocketAddr;

/// How long a peer may take to end a connection that we have ended.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the holder of a device may take to answer a probe. If it answers, the import is refused.
const SIGN: Duration = Duration::from_secs(1);

/// Context of a line.
pub(super) struct World<'a> {
    /// The port, for the log.
    pub name: &'a str,
    pub ways: Ways<'a>,
    /// The port's exports, as configured.
    pub exports: Option<&'a Usbip>,
    pub server: &'a mut Server,
    pub foreign: &'a mut [Foreign],
}

impl World<'_> {
    /// Whether the device `busid` has an importer.
    pub fn is_taken(&self, busid: &str) -> bool {
        let own = self.server.exports().any(|(name, _, importer)| name == busid && importer.is_some());
        own || self.foreign.iter().any(|foreign| foreign.busid == busid && foreign.busy)
    }
}

/// A request to import a device that another line has.
struct Question {
    busid: String,
    asked: Instant,
    due: Instant,
    /// The holder is there.
    answered: bool,
}

/// See the module.
pub(super) struct Line {
    pub transport: Transport,
    pub id: ConnectionId,
    /// The peer.
    pub source: SocketAddr,
    /// When it came.
    pub since: Instant,
    /// When it is closed, after its FIN.
    ending: Option<Instant>,
    /// The beginning of the request, until it is complete.
    head: Option<Vec<u8>>,
    /// Why the request waits, once it is known.
    question: Option<Question>,
    relay: Option<Relay>,
    /// The session was told that its replies are dropped.
    deaf: bool,
}

impl Line {
    /// A line from `source`.
    pub fn new(now: Instant, via: Via, id: ConnectionId, source: SocketAddr) -> Self {
        Self {
            transport: Transport::new(via),
            id,
            source,
            since: now,
            ending: None,
            head: Some(Vec::new()),
            question: None,
            relay: None,
            deaf: false,
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let question = self.question.as_ref().map(|question| question.due);
        earliest(earliest(self.ending, question), self.relay.as_ref().and_then(Relay::poll_timeout))
    }

    /// Moves bytes both ways. `false`: the line has ended.
    pub fn work(&mut self, now: Instant, world: &mut World) -> bool {
        if self.ending.is_none() && !self.transport.gone {
            self.begin(now, world);
            let over = match &mut self.relay {
                Some(relay) => relay.work(now, &mut self.transport, world),
                None => self.serve(now, world),
            };
            if over || self.transport.peer_closed && !self.is_answering(world) {
                self.end(now, world);
            }
        }
        if self.ending.is_some() {
            self.transport.drain(&mut world.ways);
        }
        let late = self.ending.is_some_and(|due| due <= now);
        if late || self.transport.is_over(self.ending.is_some()) {
            self.give_back(now, world);
            self.transport.cut(&mut world.ways);
            return false;
        }
        true
    }

    /// There is a last reply to send: a peer that has sent its FIN may still wait for it.
    fn is_answering(&self, world: &World) -> bool {
        match &self.relay {
            Some(relay) => matches!(relay, Relay::List(_)),
            None => world.server.closing(self.id).is_some(),
        }
    }

    /// Whether it is this line that has the device `busid`.
    pub fn holds(&self, busid: &str, server: &Server, foreign: &[Foreign]) -> bool {
        let own = server
            .exports()
            .any(|(name, _, importer)| name == busid && importer.is_some_and(|(holder, _)| holder == self.id));
        let place = foreign.iter().position(|foreign| foreign.busid == busid);
        own || place.is_some_and(|place| self.relay.as_ref().is_some_and(|relay| relay.holds(place)))
    }

    /// Holds the request back until it is complete, and dispatches it.
    fn begin(&mut self, now: Instant, world: &mut World) {
        let Some(head) = &mut self.head else { return };
        // Everything that has come: the peer's FIN may follow.
        while self.transport.receive(&mut world.ways, |data| {
            let chunk = data.get(..REQUEST_LENGTH - head.len()).unwrap_or(data);
            head.extend_from_slice(chunk);
            chunk.len()
        }) > 0
        {}
        if let Some(busid) = wanted(head) {
            if !world.is_taken(&busid) {
                self.question = None;
            } else if self.question.is_none() {
                self.question = Some(Question { busid, asked: now, due: now + SIGN, answered: false });
                return;
            }
            if self.question.as_ref().is_some_and(|question| !question.answered && now < question.due) {
                return;
            }
            self.question = None;
        }
        match Relay::for_request(now, head, world) {
            Taken::Undecided => {}
            Taken::Local => {
                world.server.handle_bytes(now, self.id, head);
                self.head = None;
            }
            Taken::Foreign(relay) => {
                self.head = None;
                self.relay = Some(relay);
                // A relayed list includes the session's own; a relayed import does without the session.
                if let Some(Relay::List(list)) = &mut self.relay {
                    list.ask_own(now, world.server, self.id);
                }
                world.server.close(now, self.id);
            }
        }
    }

    /// Moves bytes between the transport and the session. True when the session has ended.
    fn serve(&mut self, now: Instant, world: &mut World) -> bool {
        while self.receive(now, world) || self.send(now, world) {}
        match world.server.closing(self.id) {
            Some(reason) if world.server.transmit(now, self.id).is_empty() => {
                if reason.is_good() {
                    log::debug!("{}: the connection of {} ends: {reason}", world.name, self.source.ip());
                } else {
                    log::warn!("{}: the connection of {} is closed: {reason}", world.name, self.source.ip());
                }
                true
            }
            _ => false,
        }
    }

    /// Hands one chunk of received bytes to the session. True if there was one.
    fn receive(&mut self, now: Instant, world: &mut World) -> bool {
        if self.head.is_some() || !world.server.wants_bytes(self.id) {
            return false;
        }
        let (server, id) = (&mut *world.server, self.id);
        let taken = self.transport.receive(&mut world.ways, |chunk| {
            server.handle_bytes(now, id, chunk);
            chunk.len()
        });
        taken > 0
    }

    /// Sends a chunk of the session's replies. True if there was one, and room for it.
    fn send(&mut self, now: Instant, world: &mut World) -> bool {
        let Some(out) = world.server.output(now, self.id) else { return false };
        let sent = !out.is_empty() && self.transport.send_queue(&mut world.ways, out) > 0;
        if self.transport.broken && !std::mem::replace(&mut self.deaf, true) {
            world.server.deafen(now, self.id);
        }
        sent
    }

    /// Frees the device, and ends the connection with a FIN.
    fn end(&mut self, now: Instant, world: &mut World) {
        self.give_back(now, world);
        self.ending = Some(now + DRAIN);
        self.transport.shutdown(&mut world.ways);
    }

    /// Closes it at once.
    pub fn cut(mut self, now: Instant, world: &mut World) {
        self.give_back(now, world);
        self.transport.cut(&mut world.ways);
    }

    fn give_back(&mut self, now: Instant, world: &mut World) {
        world.server.close(now, self.id);
        if let Some(relay) = self.relay.take() {
            relay.close(world);
        }
    }
}

/// The bus id in a complete OP_REQ_IMPORT.
fn wanted(head: &[u8]) -> Option<String> {
    let half = |at: usize| Some(u16::from_be_bytes(*head.get(at..)?.first_chunk()?));
    let imports = head.len() == REQUEST_LENGTH && half(0) == Some(VERSION) && half(2) == Some(REQ_IMPORT);
    if imports { op::text(head.get(OP_LENGTH..)?) } else { None }
}

/// Probes holders of devices that others ask for, and notes their answers. True if a request need not wait any more.
pub(super) fn ask_holders(now: Instant, lines: &mut [Line], world: &mut World) -> bool {
    let mut settled = false;
    for at in 0..lines.len() {
        let Some(Question { busid, asked, answered: false, .. }) = lines.get(at).and_then(|it| it.question.as_ref())
        else {
            continue;
        };
        let (busid, asked) = (busid.clone(), *asked);
        let holder = lines.iter().find(|line| line.holds(&busid, world.server, world.foreign));
        let is_there = holder.is_none_or(|holder| match holder.transport.via {
            // A peer on this machine does not vanish without a FIN or RST.
            Via::Host(_) if holder.source.ip().is_loopback() => true,
            Via::Switch(conn) if asked < now => world.ways.endpoint.heard(conn).is_some_and(|heard| heard > asked),
            _ => false,
        });
        match holder {
            Some(holder) if !is_there && asked == now => holder.transport.probe(&mut world.ways),
            _ => {}
        }
        if is_there && let Some(question) = lines.get_mut(at).and_then(|it| it.question.as_mut()) {
            question.answered = true;
            settled = true;
        }
    }
    settled
}
