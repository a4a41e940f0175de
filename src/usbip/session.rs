//! One connection of the server.
//!
//! Theory of operation. A session is in one of three phases: it collects the one request of the operation phase; it
//! has imported a device and exchanges URBs (`session/attached.rs`); or it is closing, and only its last bytes are still to
//! be sent.

mod attached;

use super::export::Export;
use super::op::{self, OP_LENGTH, OpStatus, REQUEST_LENGTH};
use super::pdu::Fault;
use super::server::ConnectionId;
use super::{OUTPUT_MARK, REQUEST_TIMEOUT, VERSION};
use crate::codec::ByteQueue;
use crate::time::Instant;
use attached::{Attached, OVERTAKEN_TIMEOUT};

/// Why a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// Its request was answered, and there is nothing more to say.
    #[error("request answered")]
    Served,
    /// The peer closed the connection, or it broke.
    #[error("closed by the peer")]
    Peer,
    /// No complete request within [`REQUEST_TIMEOUT`].
    #[error("no request within 10 s")]
    Timeout,
    /// Not version 1.1.1.
    #[error("protocol version {0:#06x}")]
    Version(u16),
    /// Not a request of this protocol.
    #[error("unknown request {0:#06x}")]
    Request(u16),
    /// A command that cannot be understood.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// A command for another device.
    #[error("command for device {0:#x}")]
    DevId(u32),
    /// A seqnum that has no answer yet was used again.
    #[error("duplicate seqnum {0}")]
    Duplicate(u32),
}

impl CloseReason {
    /// Whether a session ends so in good order.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Served | Self::Peer)
    }
}

enum Phase {
    Operation { request: [u8; REQUEST_LENGTH], have: usize },
    Urbs(Box<Attached>),
    Closing(CloseReason),
}

/// What a session may see of the server.
pub(super) struct Context<'a> {
    pub id: ConnectionId,
    pub exports: &'a mut [Export],
    /// Lists show devices that are in use.
    pub show_busy: bool,
}

/// One connection.
pub(super) struct Session {
    phase: Phase,
    deadline: Option<Instant>,
    /// Bytes that came while the output was above its mark.
    inbox: Vec<u8>,
    out: ByteQueue,
}

impl Session {
    pub fn new(now: Instant) -> Self {
        let phase = Phase::Operation { request: [0; REQUEST_LENGTH], have: 0 };
        Self { phase, deadline: Some(now + REQUEST_TIMEOUT), inbox: Vec::new(), out: ByteQueue::default() }
    }

    /// Takes all of `bytes`. What cannot be done before some output has been sent is kept.
    pub fn handle_bytes(&mut self, now: Instant, context: &mut Context, bytes: &[u8]) {
        if self.inbox.is_empty() {
            let rest = self.advance(now, context, bytes);
            self.inbox.extend_from_slice(rest);
        } else {
            self.inbox.extend_from_slice(bytes);
        }
    }

    /// Does what `bytes` say, and gives back what has to wait.
    fn advance<'a>(&mut self, now: Instant, context: &mut Context, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() {
            match &mut self.phase {
                Phase::Closing(_) => return &[],
                Phase::Operation { request, have } => {
                    let wanted = if *have < OP_LENGTH { OP_LENGTH } else { REQUEST_LENGTH };
                    let (taken, rest) = bytes.split_at((wanted - *have).min(bytes.len()));
                    request[*have..*have + taken.len()].copy_from_slice(taken);
                    *have += taken.len();
                    bytes = rest;
                    if *have == wanted {
                        let request = *request;
                        self.request(now, context, &request, wanted);
                    }
                }
                Phase::Urbs(attached) => {
                    let Some(export) = context.exports.get_mut(attached.export) else { return &[] };
                    export.set_time(now);
                    let result = attached.handle_bytes(now, export, &mut bytes, &mut self.out);
                    self.deadline = attached.holds().then(|| self.deadline.unwrap_or(now + OVERTAKEN_TIMEOUT));
                    match result {
                        Ok(()) if bytes.is_empty() => {}
                        Ok(()) => return bytes,
                        Err(reason) => self.close(now, context, reason),
                    }
                }
            }
        }
        bytes
    }

    /// Looks at a request of which `have` bytes are there: the first 8, or all 40.
    fn request(&mut self, now: Instant, context: &mut Context, request: &[u8; REQUEST_LENGTH], have: usize) {
        let half = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        match (half(0), half(2)) {
            (VERSION, op::REQ_DEVLIST) => self.list(context),
            (VERSION, op::REQ_IMPORT) if have == OP_LENGTH => {}
            (VERSION, op::REQ_IMPORT) => self.import(context, op::text(&request[OP_LENGTH..])),
            (VERSION, other) => self.close(now, context, CloseReason::Request(other)),
            (other, _) => self.close(now, context, CloseReason::Version(other)),
        }
    }

    fn list(&mut self, context: &mut Context) {
        let shown = context.exports.iter().filter(|export| context.show_busy || export.importer.is_none());
        let records: Vec<_> = shown.map(Export::record).collect();
        let mut reply = Vec::new();
        op::put_op(&mut reply, op::REQ_DEVLIST & !op::REQUEST, OpStatus::Ok);
        reply.extend((records.len() as u32).to_be_bytes());
        records.iter().for_each(|record| record.encode(true, &mut reply));
        self.out.push(reply);
        self.phase = Phase::Closing(CloseReason::Served);
    }

    fn import(&mut self, context: &mut Context, busid: Option<String>) {
        let found = context.exports.iter_mut().enumerate().find(|(_, export)| Some(&export.busid) == busid.as_ref());
        let status = match &found {
            None => OpStatus::NoDevice,
            Some((_, export)) if export.importer.is_some() => OpStatus::Busy,
            Some(_) => OpStatus::Ok,
        };
        let mut reply = Vec::new();
        op::put_op(&mut reply, op::REQ_IMPORT & !op::REQUEST, status);
        let Some((at, export)) = found.filter(|_| status == OpStatus::Ok) else {
            self.out.push(reply);
            self.phase = Phase::Closing(CloseReason::Served);
            return;
        };
        export.record().encode(false, &mut reply);
        self.out.push(reply);
        export.importer = Some(context.id);
        self.deadline = None;
        self.phase = Phase::Urbs(Box::new(Attached::new(at, export.devid())));
    }

    /// Ends the session: its device is free at once, and what it had encoded can still be sent for a while.
    pub fn close(&mut self, now: Instant, context: &mut Context, reason: CloseReason) {
        if let Phase::Urbs(attached) = &self.phase
            && let Some(export) = context.exports.get_mut(attached.export)
        {
            export.free();
        }
        if !matches!(self.phase, Phase::Closing(_)) {
            self.phase = Phase::Closing(reason);
            self.inbox.clear();
            self.deadline = Some(now + REQUEST_TIMEOUT);
        }
    }

    pub fn closing(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Closing(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the session has a device.
    pub fn is_attached(&self) -> bool {
        matches!(self.phase, Phase::Urbs(_))
    }

    /// Transfers without an answer.
    pub fn in_flight(&self) -> usize {
        if let Phase::Urbs(attached) = &self.phase { attached.in_flight() } else { 0 }
    }

    pub fn wants_bytes(&self) -> bool {
        self.inbox.is_empty() && self.out.len() < OUTPUT_MARK
    }

    /// The bytes to send, with as many answers of the device encoded as fit.
    pub fn output(&mut self, now: Instant, context: &mut Context) -> &mut ByteQueue {
        if let Phase::Urbs(attached) = &mut self.phase
            && let Some(export) = context.exports.get_mut(attached.export)
        {
            export.set_time(now);
            attached.collect(export);
            attached.encode(&mut self.out);
            if !self.inbox.is_empty() && self.out.len() < OUTPUT_MARK {
                let inbox = std::mem::take(&mut self.inbox);
                let rest = self.advance(now, context, &inbox);
                self.inbox.extend_from_slice(rest);
            }
        }
        &mut self.out
    }

    /// The peer hears nothing any more. What it has sent is still done, but for transfers to it.
    pub fn deafen(&mut self, now: Instant, context: &mut Context) {
        self.out.clear();
        if let Phase::Urbs(attached) = &mut self.phase
            && let Some(export) = context.exports.get_mut(attached.export)
        {
            attached.deafen(export);
        }
        self.output(now, context);
    }

    pub fn transmitted(&mut self, count: usize) {
        self.out.took(count);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// The deadline also bounds the time that the last bytes of a session may take.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            if let Phase::Urbs(attached) = &mut self.phase {
                return attached.give_up();
            }
            self.phase = Phase::Closing(self.closing().unwrap_or(CloseReason::Timeout));
            self.out.clear();
        }
    }
}
