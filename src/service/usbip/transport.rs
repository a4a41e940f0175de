//! What carries a connection: a TCP connection of the endpoint, or one of the machine through a stream of the outside.

use crate::codec::Pieces;
use crate::service::endpoint::{ConnId, Endpoint};
use crate::service::outside::{Input, Output, Stream, WINDOW};
use crate::time::Instant;
use crate::usbip::{ConnectionId, Server};
use std::collections::VecDeque;

/// Bytes handed on in one go.
const CHUNK: usize = 64 << 10;

/// Which connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// A TCP connection of the endpoint.
    Switch(ConnId),
    /// A stream of the outside.
    Host(Stream),
}

/// A connection with its windows.
pub(super) struct Transport {
    pub via: Via,
    /// Bytes of a stream that nobody has taken.
    inbox: Pieces,
    /// Bytes under way to a stream.
    unsent: usize,
    /// The stream has its window.
    begun: bool,
}

impl Transport {
    pub fn new(via: Via) -> Self {
        Self { via, inbox: Pieces::default(), unsent: 0, begun: false }
    }

    /// Takes what came for a stream. `false`: it is for another.
    pub fn handle_input(&mut self, input: &mut Input) -> bool {
        match (self.via, input) {
            (Via::Host(own), Input::Data(stream, bytes)) if own == *stream => self.inbox.push(std::mem::take(bytes)),
            (Via::Host(own), Input::Sent(stream, count)) if own == *stream => {
                self.unsent = self.unsent.saturating_sub(*count);
            }
            _ => return false,
        }
        true
    }

    /// Shows one piece of what came to `take`, which says how much of it is done with. Gives that.
    pub fn receive(
        &mut self,
        endpoint: &mut Endpoint,
        outputs: &mut VecDeque<Output>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> usize {
        match self.via {
            Via::Switch(conn) => endpoint.recv(conn, |data| take(data.get(..CHUNK).unwrap_or(data))),
            Via::Host(stream) => {
                if !std::mem::replace(&mut self.begun, true) {
                    outputs.push_back(Output::Room(stream, WINDOW));
                }
                let piece = self.inbox.first();
                if piece.is_empty() {
                    return 0;
                }
                let taken = take(piece.get(..CHUNK).unwrap_or(piece)).min(piece.len());
                self.inbox.took(taken);
                if taken > 0 {
                    outputs.push_back(Output::Room(stream, taken));
                }
                taken
            }
        }
    }

    /// Sends as much of `bytes` as there is room for, and gives how much that was.
    pub fn send(&mut self, endpoint: &mut Endpoint, outputs: &mut VecDeque<Output>, bytes: &[u8]) -> usize {
        match self.via {
            Via::Switch(conn) => endpoint.send(conn, bytes),
            Via::Host(stream) => {
                let piece = bytes.get(..WINDOW.saturating_sub(self.unsent)).unwrap_or(bytes);
                if !piece.is_empty() {
                    outputs.push_back(Output::Send(stream, piece.to_vec()));
                }
                self.unsent += piece.len();
                piece.len()
            }
        }
    }

    /// Sends one piece of what a session has to say, if there is room for it. Gives how much that was.
    pub fn send_of(
        &mut self,
        endpoint: &mut Endpoint,
        outputs: &mut VecDeque<Output>,
        (now, server, id): (Instant, &mut Server, ConnectionId),
    ) -> usize {
        match self.via {
            Via::Switch(conn) => {
                let bytes = server.transmit(now, id);
                let sent = if bytes.is_empty() { 0 } else { endpoint.send(conn, bytes) };
                server.transmitted(id, sent);
                sent
            }
            Via::Host(stream) if self.unsent < WINDOW => {
                let Some(piece) = server.transmit_piece(now, id) else { return 0 };
                let sent = piece.len();
                self.unsent += sent;
                outputs.push_back(Output::Send(stream, piece));
                sent
            }
            Via::Host(_) => 0,
        }
    }

    /// Asks the other end for a sign of life now.
    pub fn probe(&self, endpoint: &mut Endpoint, outputs: &mut VecDeque<Output>) {
        match self.via {
            Via::Switch(conn) => endpoint.probe(conn),
            Via::Host(stream) => outputs.push_back(Output::Probe(stream)),
        }
    }

    /// Nothing more will be sent: a FIN behind what was.
    pub fn shutdown(&mut self, endpoint: &mut Endpoint) {
        if let Via::Switch(conn) = self.via {
            endpoint.shutdown(conn);
        }
    }

    /// After a shutdown: throws away what still comes. `false`: nothing is left to wait for.
    pub fn drain(&mut self, endpoint: &mut Endpoint, outputs: &mut VecDeque<Output>) -> bool {
        match self.via {
            Via::Switch(conn) => {
                while endpoint.recv(conn, <[u8]>::len) > 0 {}
                true
            }
            Via::Host(_) if self.unsent > 0 => true,
            Via::Host(_) => {
                self.cut(endpoint, outputs);
                false
            }
        }
    }

    /// Ends it at once.
    pub fn cut(&mut self, endpoint: &mut Endpoint, outputs: &mut VecDeque<Output>) {
        match self.via {
            Via::Switch(conn) => endpoint.abort(conn),
            Via::Host(stream) => outputs.push_back(Output::Close(stream)),
        }
    }
}
