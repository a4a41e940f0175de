//! The transport of a line: a TCP connection of the endpoint, or a stream of the outside.

use crate::codec::ByteQueue;
use crate::service::endpoint::{ConnId, Endpoint};
use crate::service::outside::{Outside, SocketId};
use std::io::{self, ErrorKind};

/// Bytes handed on in one go.
pub(super) const CHUNK: usize = 64 << 10;
/// Bytes that are read of one stream, and sent on it, in a round.
const TURN: usize = 4 * CHUNK;

/// The connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// A TCP connection of the endpoint.
    Switch(ConnId),
    /// A stream of the outside.
    Host(SocketId),
}

/// Context of a transport in one round.
pub(super) struct Ways<'a> {
    pub endpoint: &'a mut Endpoint,
    pub outside: &'a mut dyn Outside,
    /// Read buffer: a [`CHUNK`].
    pub buffer: &'a mut [u8],
    /// The number of the round.
    pub round: u64,
    /// A transport has used up its turn and has more to do.
    pub more: bool,
}

/// A connection, and its state.
pub(super) struct Transport {
    pub via: Via,
    /// Bytes read and not taken yet.
    inbox: Vec<u8>,
    /// The other end sends no more.
    pub peer_closed: bool,
    /// It is closed.
    pub gone: bool,
    /// Sending has failed for good. Bytes that came before are still read; bytes to send are dropped.
    pub broken: bool,
    /// The last round that it has read in, and how many bytes.
    taken: (u64, usize),
    /// The same of sending.
    sent: (u64, usize),
}

impl Transport {
    pub fn new(via: Via) -> Self {
        Self { via, inbox: Vec::new(), peer_closed: false, gone: false, broken: false, taken: (0, 0), sent: (0, 0) }
    }

    /// Whether there is nothing more to wait for, `ended` if this side has ended. The endpoint waits for the other side's
    /// last acknowledgement itself, and tells.
    pub fn is_over(&self, ended: bool) -> bool {
        self.gone || ended && self.peer_closed && matches!(self.via, Via::Host(_))
    }

    /// Whether the peer will send no more.
    pub fn has_ended(&self) -> bool {
        self.inbox.is_empty() && (self.peer_closed || self.gone)
    }

    /// Lends one chunk of received bytes to `take`, and removes as many as that returns. Gives their number.
    pub fn receive(&mut self, ways: &mut Ways, take: impl FnOnce(&[u8]) -> usize) -> usize {
        if !self.inbox.is_empty() {
            let taken = take(&self.inbox).min(self.inbox.len());
            self.inbox.drain(..taken);
            return taken;
        }
        match self.via {
            Via::Switch(conn) => ways.endpoint.recv(conn, |data| take(data.get(..CHUNK).unwrap_or(data))),
            Via::Host(stream) => {
                let count = self.read(stream, ways);
                let bytes = ways.buffer.get(..count).filter(|bytes| !bytes.is_empty());
                let Some(bytes) = bytes else { return 0 };
                let taken = take(bytes).min(count);
                self.inbox.extend_from_slice(bytes.get(taken..).unwrap_or_default());
                taken
            }
        }
    }

    /// Hands one chunk of received bytes to another connection. Gives their number.
    pub fn splice(&mut self, to: &mut Self, ways: &mut Ways) -> usize {
        if self.inbox.is_empty() {
            let mut inbox = std::mem::take(&mut self.inbox);
            self.receive(ways, |bytes| {
                inbox.extend_from_slice(bytes);
                bytes.len()
            });
            self.inbox = inbox;
        }
        let sent = to.send(ways, &self.inbox);
        self.inbox.drain(..sent);
        sent
    }

    /// Reads into the buffer, and gives how much.
    fn read(&mut self, stream: SocketId, ways: &mut Ways) -> usize {
        if self.peer_closed || self.gone {
            return 0;
        }
        if self.taken.0 != ways.round {
            self.taken = (ways.round, 0);
        }
        if self.taken.1 >= TURN {
            ways.more = true;
            return 0;
        }
        match ways.outside.recv(stream, ways.buffer) {
            Ok(0) if !self.broken => self.peer_closed = true,
            Ok(count) if count > 0 => {
                self.taken.1 += count;
                return count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && !self.broken => {}
            _ => self.gone = true,
        }
        0
    }

    /// Sends as much of `bytes` as there is room for, and gives how much that was.
    pub fn send(&mut self, ways: &mut Ways, bytes: &[u8]) -> usize {
        match self.via {
            Via::Switch(conn) => ways.endpoint.send(conn, bytes),
            Via::Host(stream) => self.put(ways, bytes.len(), |outside| outside.send(stream, bytes)),
        }
    }

    /// The same for the first chunks of a queue, which are removed.
    pub fn send_queue(&mut self, ways: &mut Ways, queue: &mut ByteQueue) -> usize {
        let sent = match self.via {
            Via::Switch(conn) if !queue.is_empty() => ways.endpoint.send(conn, queue.first()),
            Via::Switch(_) => 0,
            Via::Host(stream) => self.put(ways, queue.len(), |outside| outside.send_queue(stream, queue)),
        };
        queue.took(sent);
        sent
    }

    /// Sends [`TURN`] bytes at most in a round, so that a fast reader does not hold up others.
    fn put(
        &mut self,
        ways: &mut Ways,
        length: usize,
        send: impl FnOnce(&mut dyn Outside) -> io::Result<usize>,
    ) -> usize {
        if length == 0 || self.broken || self.gone {
            return length;
        }
        if self.sent.0 != ways.round {
            self.sent = (ways.round, 0);
        }
        if self.sent.1 >= TURN {
            ways.more = true;
            return 0;
        }
        match send(&mut *ways.outside) {
            Ok(count) => {
                self.sent.1 += count;
                count
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => {
                log::debug!("a stream takes no more: {error}");
                self.broken = true;
                length
            }
        }
    }

    /// Sends a keep-alive probe now.
    pub fn probe(&self, ways: &mut Ways) {
        match self.via {
            Via::Switch(conn) => ways.endpoint.probe(conn),
            Via::Host(stream) => ways.outside.probe(stream),
        }
    }

    /// Sends a FIN behind all bytes.
    pub fn shutdown(&mut self, ways: &mut Ways) {
        match self.via {
            Via::Switch(conn) => ways.endpoint.shutdown(conn),
            Via::Host(stream) => ways.outside.shutdown(stream),
        }
    }

    /// After a shutdown: reads and drops bytes.
    pub fn drain(&mut self, ways: &mut Ways) {
        while self.receive(ways, <[u8]>::len) > 0 {}
    }

    /// Closes it at once, with a RST on the switch.
    pub fn cut(&mut self, ways: &mut Ways) {
        match self.via {
            Via::Switch(_) if self.gone => {}
            Via::Switch(conn) => ways.endpoint.abort(conn),
            Via::Host(stream) => ways.outside.close(stream, false),
        }
    }
}
