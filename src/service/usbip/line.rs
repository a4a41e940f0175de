//! A connection of the USB/IP server: bytes between a transport and a session, with back-pressure both ways.
//!
//! A line that asks for a device of another server, or for a list where there are some, is taken over by a [`Relay`]
//! once its request is there; so the first bytes of a line are held back until it is known whom they are for.
//!
//! All lines end alike. When there is nothing more to say, the line sends its FIN and goes on reading (and forgetting)
//! what still comes, so that the peer gets the last reply and not a reset that overtakes it; after [`DRAIN`] it is cut.

use super::relay::{Relay, Taken};
use super::transport::{Transport, Via};
use super::watch::Foreign;
use crate::service::endpoint::Endpoint;
use crate::service::outside::{Input, Output};
use crate::time::{Duration, Instant, earliest};
use crate::usbip::op::REQUEST_LENGTH;
use crate::usbip::{ConnectionId, Server};
use std::collections::VecDeque;

/// How long a peer may take to end a connection that we have ended.
const DRAIN: Duration = Duration::from_secs(5);

/// What a line works with.
pub(super) struct World<'a> {
    pub endpoint: &'a mut Endpoint,
    pub server: &'a mut Server,
    pub foreign: &'a mut [Foreign],
    pub outputs: &'a mut VecDeque<Output>,
}

/// See the module.
pub(super) struct Line {
    pub transport: Transport,
    id: ConnectionId,
    /// The peer has sent its FIN.
    pub peer_closed: bool,
    /// The transport is no more.
    pub gone: bool,
    /// When it is cut, once it has nothing more to say.
    ending: Option<Instant>,
    /// The beginning of the request, while it is not known whom it is for.
    head: Option<Vec<u8>>,
    relay: Option<Relay>,
}

impl Line {
    /// `foreign`: there are devices of other servers.
    pub fn new(via: Via, id: ConnectionId, foreign: bool) -> Self {
        Self {
            transport: Transport::new(via),
            id,
            peer_closed: false,
            gone: false,
            ending: None,
            head: foreign.then(Vec::new),
            relay: None,
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.ending, self.relay.as_ref().and_then(Relay::poll_timeout))
    }

    /// Takes what came for this line. `false`: it is for another.
    pub fn handle_input(&mut self, input: &mut Input) -> bool {
        match (self.transport.via, &*input) {
            (Via::Host(own), Input::Ended(stream)) if own == *stream => self.gone = true,
            (Via::Host(own), Input::PeerClosed(stream)) if own == *stream => self.peer_closed = true,
            _ => return self.pass_on(input),
        }
        true
    }

    fn pass_on(&mut self, input: &mut Input) -> bool {
        self.transport.handle_input(input) || self.relay.as_mut().is_some_and(|relay| relay.handle_input(input))
    }

    /// Moves what can be moved. `false`: the line has ended.
    pub fn work(&mut self, now: Instant, world: &mut World) -> bool {
        if self.ending.is_none() && !self.gone {
            self.begin(now, world);
            let over = match &mut self.relay {
                Some(relay) => relay.work(now, &mut self.transport, world),
                None => self.serve(now, world),
            };
            if over || self.peer_closed && !self.is_answering(world) {
                self.end(now, world);
            }
        }
        if self.gone {
            self.give_back(now, world);
            return false;
        }
        match self.ending {
            None => true,
            Some(due) if due <= now => {
                self.transport.cut(world.endpoint, world.outputs);
                false
            }
            Some(_) => self.transport.drain(world.endpoint, world.outputs),
        }
    }

    /// There is a reply to be sent, behind which nothing comes: a peer that says no more may still wait for it.
    fn is_answering(&self, world: &World) -> bool {
        match &self.relay {
            Some(relay) => matches!(relay, Relay::List(_)),
            None => world.server.closing(self.id).is_some(),
        }
    }

    /// Holds the request back until it is known whom it is for.
    fn begin(&mut self, now: Instant, world: &mut World) {
        let Some(head) = &mut self.head else { return };
        // All that is there: behind it may be the peer's FIN.
        while self.transport.receive(world.endpoint, world.outputs, |data| {
            let piece = data.get(..REQUEST_LENGTH - head.len()).unwrap_or(data);
            head.extend_from_slice(piece);
            piece.len()
        }) > 0
        {}
        match Relay::for_request(now, head, world) {
            Taken::Undecided => {}
            Taken::Local => {
                world.server.handle_bytes(now, self.id, head);
                self.head = None;
            }
            Taken::Foreign(relay) => {
                self.head = None;
                self.relay = Some(relay);
                // Its own list is part of a list; for an import the session has no part in it.
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
                log::debug!("USB/IP session ended: {reason}");
                true
            }
            _ => false,
        }
    }

    /// Hands one piece of what came to the session. True if there was one.
    fn receive(&mut self, now: Instant, world: &mut World) -> bool {
        if self.head.is_some() || !world.server.wants_bytes(self.id) {
            return false;
        }
        let (server, id) = (&mut *world.server, self.id);
        let taken = self.transport.receive(world.endpoint, world.outputs, |piece| {
            server.handle_bytes(now, id, piece);
            piece.len()
        });
        taken > 0
    }

    /// Sends a piece of what the session has to say. True if there was one, and room for it.
    fn send(&mut self, now: Instant, world: &mut World) -> bool {
        self.transport.send_of(world.endpoint, world.outputs, (now, world.server, self.id)) > 0
    }

    /// Nothing more is to be said: the device is free, and the connection is ended in good order.
    fn end(&mut self, now: Instant, world: &mut World) {
        self.give_back(now, world);
        self.ending = Some(now + DRAIN);
        self.transport.shutdown(world.endpoint);
    }

    /// Ends it at once.
    pub fn cut(mut self, now: Instant, world: &mut World) {
        self.give_back(now, world);
        self.transport.cut(world.endpoint, world.outputs);
    }

    fn give_back(&mut self, now: Instant, world: &mut World) {
        world.server.close(now, self.id);
        if let Some(relay) = self.relay.take() {
            relay.close(world);
        }
    }
}
