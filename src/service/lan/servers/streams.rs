//! DNS over TCP from guests (RFC 7766): each message has a length prefix.
//!
//! A guest may have a few queries in flight; one with more, or an idle one, is disconnected.

use crate::service::endpoint::{ConnId, Endpoint, Event};
use crate::service::lan::segment::Segment;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;

/// The longest query.
const LONGEST: usize = 4096;
/// Queries of one stream in flight.
const WAITING: usize = 16;
/// A stream without a query ends after this long.
const IDLE: Duration = Duration::from_secs(20);

struct Stream {
    conn: ConnId,
    peer: IpAddr,
    found: Vec<u8>,
    waiting: usize,
    /// The guest has sent its FIN.
    ended: bool,
    active: Instant,
}

/// See the module.
#[derive(Default)]
pub(super) struct Streams {
    streams: BTreeMap<u64, Stream>,
    names: HashMap<ConnId, u64, foldhash::fast::RandomState>,
    next: u64,
    /// Answers to send.
    answers: VecDeque<(u64, Vec<u8>)>,
}

impl Streams {
    /// Takes an event of a connection.
    pub fn handle(&mut self, now: Instant, event: Event, segment: &mut Segment, endpoint: &mut Endpoint) {
        match event {
            Event::Accepted { conn, peer, .. } => {
                self.next += 1;
                self.names.insert(conn, self.next);
                let (peer, found) = (peer.ip(), Vec::new());
                self.streams.insert(self.next, Stream { conn, peer, found, waiting: 0, ended: false, active: now });
            }
            Event::Readable(conn) => self.read(now, conn, segment, endpoint),
            Event::PeerClosed(conn) => {
                self.read(now, conn, segment, endpoint);
                let stream = self.names.get(&conn).and_then(|name| self.streams.get_mut(name));
                if let Some(stream) = stream {
                    stream.ended = true;
                    if stream.waiting == 0 {
                        endpoint.shutdown(conn);
                    }
                }
            }
            Event::Closed(conn, _) => self.forget(conn, segment),
            Event::Connected(_) | Event::Writable(_) | Event::EchoReply { .. } => {}
        }
    }

    fn read(&mut self, now: Instant, conn: ConnId, segment: &mut Segment, endpoint: &mut Endpoint) {
        let Some((&name, stream)) = self.names.get(&conn).and_then(|name| Some((name, self.streams.get_mut(name)?)))
        else {
            return;
        };
        stream.active = now;
        loop {
            let room = (LONGEST + 2).saturating_sub(stream.found.len());
            let found = &mut stream.found;
            let count = endpoint.recv(conn, |bytes| {
                let bytes = bytes.get(..bytes.len().min(room)).unwrap_or_default();
                found.extend_from_slice(bytes);
                bytes.len()
            });
            while let Some((length, rest)) = stream.found.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*length));
                if length > LONGEST || stream.waiting >= WAITING {
                    return self.cut(conn, segment, endpoint);
                }
                let Some(query) = rest.get(..length) else { break };
                stream.waiting += 1;
                segment.handle_stream(now, name, stream.peer, query);
                stream.found.drain(..2 + length);
            }
            if count == 0 {
                return;
            }
        }
    }

    /// Queues an answer.
    pub fn queue(&mut self, name: u64, answer: Vec<u8>) {
        self.answers.push_back((name, answer));
    }

    /// Sends the answers, and ends idle streams.
    pub fn work(&mut self, now: Instant, segment: &mut Segment, endpoint: &mut Endpoint) {
        while let Some((name, answer)) = self.answers.pop_front() {
            self.answer(now, name, &answer, endpoint);
        }
        let idle = self.streams.values().filter(|stream| now - stream.active >= IDLE);
        let idle: Vec<ConnId> = idle.map(|stream| stream.conn).collect();
        for conn in idle {
            self.cut(conn, segment, endpoint);
        }
    }

    fn answer(&mut self, now: Instant, name: u64, answer: &[u8], endpoint: &mut Endpoint) {
        let Some(stream) = self.streams.get_mut(&name) else { return };
        let Ok(length) = u16::try_from(answer.len()) else { return };
        stream.waiting = stream.waiting.saturating_sub(1);
        stream.active = now;
        let message = [&length.to_be_bytes(), answer].concat();
        // A guest that does not read its answers is disconnected.
        if endpoint.send(stream.conn, &message) < message.len() {
            endpoint.abort(stream.conn);
            let conn = stream.conn;
            self.names.remove(&conn);
            self.streams.remove(&name);
        } else if stream.ended && stream.waiting == 0 {
            endpoint.shutdown(stream.conn);
        }
    }

    fn cut(&mut self, conn: ConnId, segment: &mut Segment, endpoint: &mut Endpoint) {
        endpoint.abort(conn);
        self.forget(conn, segment);
    }

    fn forget(&mut self, conn: ConnId, segment: &mut Segment) {
        if let Some(name) = self.names.remove(&conn) {
            self.streams.remove(&name);
            if let Some(dns) = segment.dns() {
                dns.handle_closed(name);
            }
        }
    }

    /// When [`Self::work`] has something to do without an event.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.streams.values().map(|stream| stream.active + IDLE).min()
    }
}
