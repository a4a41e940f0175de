//! Queries to the host's resolvers: each has a socket of its own, so that its port is unpredictable.
//!
//! Over UDP an answer counts if it comes from the resolver's address; over TCP query and answer have a length prefix
//! (RFC 1035, section 4.2.2).

use crate::service::lan::dns::Output;
use crate::service::lan::segment::Segment;
use crate::service::outside::{Datagrams, Outside, SocketId};
use crate::time::Instant;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// The longest answer.
const LONGEST: usize = 65_535;
/// Datagrams that are read of one socket: a flood to its port cannot keep the gateway busy.
const TURN: usize = 16;

/// A query over TCP.
struct Stream {
    /// It stands.
    connected: bool,
    /// Bytes to send.
    out: Vec<u8>,
    /// Bytes received.
    found: Vec<u8>,
}

struct Ask {
    attempt: u64,
    resolver: SocketAddr,
    stream: Option<Stream>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Asks {
    by_socket: HashMap<SocketId, Ask, foldhash::fast::RandomState>,
    by_attempt: HashMap<u64, SocketId, foldhash::fast::RandomState>,
}

impl Asks {
    /// Performs an output of the segment's resolver.
    pub fn perform(&mut self, now: Instant, output: Output, segment: &mut Segment, host: &mut dyn Outside) {
        match output {
            Output::Ask { attempt, resolver, tcp, query } => {
                let begun = if tcp { begin(resolver, &query, host) } else { send(resolver, &query, host) };
                match begun {
                    Ok((socket, stream)) => {
                        self.by_socket.insert(socket, Ask { attempt, resolver, stream });
                        self.by_attempt.insert(attempt, socket);
                    }
                    Err(_) => fail(now, attempt, segment),
                }
            }
            Output::Forget(attempt) => {
                if let Some(socket) = self.by_attempt.remove(&attempt) {
                    self.by_socket.remove(&socket);
                    host.close(socket, false);
                }
            }
            Output::Answer(..) => {}
        }
    }

    /// A socket has changed. `false`: it is none of these.
    pub fn handle_event(
        &mut self,
        now: Instant,
        socket: SocketId,
        segment: &mut Segment,
        host: &mut dyn Outside,
    ) -> bool {
        let Some(ask) = self.by_socket.get_mut(&socket) else { return false };
        let result = match &mut ask.stream {
            Some(stream) => stream.work(socket, host).map(|answer| answer.into_iter().collect()),
            None => datagrams(socket, ask.resolver, host),
        };
        let attempt = ask.attempt;
        match (result, segment.dns()) {
            (Ok(answers), Some(dns)) => {
                answers.iter().for_each(|answer: &Vec<u8>| dns.handle_answer(now, attempt, answer));
            }
            (Err(_), Some(dns)) => dns.handle_failure(now, attempt),
            (_, None) => {}
        }
        true
    }
}

fn fail(now: Instant, attempt: u64, segment: &mut Segment) {
    if let Some(dns) = segment.dns() {
        dns.handle_failure(now, attempt);
    }
}

type Begun = io::Result<(SocketId, Option<Stream>)>;

fn send(resolver: SocketAddr, query: &[u8], host: &mut dyn Outside) -> Begun {
    let socket = host.open(Datagrams::Udp, resolver.is_ipv6())?;
    match host.send_to(socket, query, resolver) {
        Ok(()) => Ok((socket, None)),
        Err(error) => {
            host.close(socket, false);
            Err(error)
        }
    }
}

fn begin(resolver: SocketAddr, query: &[u8], host: &mut dyn Outside) -> Begun {
    let length = u16::try_from(query.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let socket = host.connect(resolver)?;
    let out = [&length.to_be_bytes(), query].concat();
    Ok((socket, Some(Stream { connected: false, out, found: Vec::new() })))
}

/// Datagrams on a UDP socket from its resolver.
fn datagrams(socket: SocketId, resolver: SocketAddr, host: &mut dyn Outside) -> io::Result<Vec<Vec<u8>>> {
    let mut answers = Vec::new();
    let mut room = vec![0; LONGEST];
    for _ in 0..TURN {
        match host.recv_from(socket, &mut room) {
            Ok((count, from)) if (from.ip(), from.port()) == (resolver.ip(), resolver.port()) => {
                answers.extend(room.get(..count).map(<[u8]>::to_vec));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if answers.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(answers)
}

impl Stream {
    /// Sends and receives. Gives the answer when it is complete.
    fn work(&mut self, socket: SocketId, host: &mut dyn Outside) -> io::Result<Option<Vec<u8>>> {
        let patient = |error: io::Error| if error.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        if !self.connected {
            match host.connected(socket) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                other => other?,
            }
            self.connected = true;
        }
        while !self.out.is_empty() {
            match host.send(socket, &self.out).or_else(patient)? {
                0 => return Ok(None),
                count => drop(self.out.drain(..count.min(self.out.len()))),
            }
        }
        let mut room = vec![0; LONGEST + 2];
        loop {
            match host.recv(socket, &mut room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.found.extend_from_slice(room.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some((length, rest)) = self.found.split_first_chunk::<2>()
                && let Some(answer) = rest.get(..usize::from(u16::from_be_bytes(*length)))
            {
                return Ok(Some(answer.to_vec()));
            }
        }
    }
}
