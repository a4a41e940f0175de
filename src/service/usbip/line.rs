//! A connection of the USB/IP server: bytes between a transport and a session, with back-pressure both ways.
//!
//! Both transports end alike. When the session has nothing more to say, the line sends its FIN and goes on reading
//! (and forgetting) what still comes, so that the peer gets the last reply and not a reset that overtakes it; after
//! [`DRAIN`] it is cut.

use crate::service::endpoint::{ConnId, Endpoint};
use crate::service::outside::{Input, Output, Stream, WINDOW};
use crate::time::{Duration, Instant};
use crate::usbip::{ConnectionId, Server};
use std::collections::VecDeque;

/// How long a peer may take to end a connection that we have ended.
const DRAIN: Duration = Duration::from_secs(5);
/// Bytes handed to a session in one go.
const CHUNK: usize = 64 << 10;

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// A TCP connection of the endpoint.
    Switch(ConnId),
    /// A TCP connection of the machine.
    Host(Stream),
}

/// What a line works with.
pub(super) struct World<'a> {
    pub endpoint: &'a mut Endpoint,
    pub server: &'a mut Server,
    pub outputs: &'a mut VecDeque<Output>,
}

/// See the module.
pub(super) struct Line {
    pub via: Via,
    id: ConnectionId,
    /// The peer has sent its FIN.
    pub peer_closed: bool,
    /// The transport is no more.
    pub gone: bool,
    /// When it is cut, once the session has ended.
    pub deadline: Option<Instant>,
    /// Bytes of the machine's connection that the session has not taken.
    inbox: VecDeque<u8>,
    /// Bytes under way to the machine's connection.
    unsent: usize,
}

impl Line {
    pub fn new(via: Via, id: ConnectionId) -> Self {
        Self { via, id, peer_closed: false, gone: false, deadline: None, inbox: VecDeque::new(), unsent: 0 }
    }

    /// Whether `input` concerns this line.
    pub fn is_for(&self, input: &Input) -> bool {
        match (self.via, input) {
            (Via::Host(own), Input::Data(stream, _) | Input::Sent(stream, _) | Input::Ended(stream)) => own == *stream,
            _ => false,
        }
    }

    pub fn handle_input(&mut self, input: Input) {
        match input {
            Input::Data(_, bytes) => self.inbox.extend(bytes),
            Input::Sent(_, count) => self.unsent = self.unsent.saturating_sub(count),
            Input::Ended(_) => self.gone = true,
            _ => {}
        }
    }

    /// Moves what can be moved. `false`: the line has ended.
    pub fn work(&mut self, now: Instant, world: &mut World) -> bool {
        if self.deadline.is_none() && !self.gone {
            while self.receive(now, world) || self.send(now, world) {}
            let ended = world.server.closing(self.id).filter(|_| world.server.transmit(now, self.id).is_empty());
            if let Some(reason) = ended {
                log::debug!("USB/IP session ended: {reason}");
                self.end(now, world);
            } else if self.peer_closed && world.server.closing(self.id).is_none() {
                self.end(now, world);
            }
        }
        if self.gone {
            world.server.close(now, self.id);
            return false;
        }
        match self.deadline {
            None => true,
            Some(due) if due <= now => {
                self.cut(world);
                false
            }
            Some(_) => self.drain(world),
        }
    }

    /// Hands one piece of what came to the session. True if there was one.
    fn receive(&mut self, now: Instant, world: &mut World) -> bool {
        if !world.server.wants_bytes(self.id) {
            return false;
        }
        let (server, id) = (&mut *world.server, self.id);
        match self.via {
            Via::Switch(conn) => {
                let taken = world.endpoint.recv(conn, |data| {
                    let piece = data.get(..CHUNK).unwrap_or(data);
                    server.handle_bytes(now, id, piece);
                    piece.len()
                });
                taken > 0
            }
            Via::Host(stream) => {
                let piece = self.inbox.as_slices().0;
                let piece = piece.get(..CHUNK).unwrap_or(piece);
                let count = piece.len();
                if count == 0 {
                    return false;
                }
                server.handle_bytes(now, id, piece);
                self.inbox.drain(..count);
                world.outputs.push_back(Output::Room(stream, count));
                true
            }
        }
    }

    /// Sends what the session has to say, as far as the transport takes it. True if any of it.
    fn send(&mut self, now: Instant, world: &mut World) -> bool {
        let bytes = world.server.transmit(now, self.id);
        if bytes.is_empty() {
            return false;
        }
        let sent = match self.via {
            Via::Switch(conn) => world.endpoint.send(conn, bytes),
            Via::Host(stream) => {
                let piece = bytes.get(..WINDOW - self.unsent).unwrap_or(bytes);
                if !piece.is_empty() {
                    world.outputs.push_back(Output::Send(stream, piece.to_vec()));
                }
                self.unsent += piece.len();
                piece.len()
            }
        };
        world.server.transmitted(self.id, sent);
        sent > 0
    }

    /// The session has ended: its device is free, and the connection is ended in good order.
    fn end(&mut self, now: Instant, world: &mut World) {
        world.server.close(now, self.id);
        self.deadline = Some(now + DRAIN);
        if let Via::Switch(conn) = self.via {
            world.endpoint.shutdown(conn);
        }
    }

    /// Throws away what still comes. `false`: nothing is left to wait for.
    fn drain(&mut self, world: &mut World) -> bool {
        match self.via {
            Via::Switch(conn) => {
                while world.endpoint.recv(conn, <[u8]>::len) > 0 {}
                true
            }
            Via::Host(stream) => {
                let waiting = self.unsent > 0;
                if !waiting {
                    world.outputs.push_back(Output::Close(stream));
                }
                waiting
            }
        }
    }

    fn cut(&mut self, world: &mut World) {
        match self.via {
            Via::Switch(conn) => world.endpoint.abort(conn),
            Via::Host(stream) => world.outputs.push_back(Output::Close(stream)),
        }
    }
}
