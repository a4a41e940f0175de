//! A file that a client writes (RFC 1350, section 6): the other direction of a transfer.
//!
//! # Theory of operation
//! The caller writes each block, which is acknowledged after that, so a client that sends faster than the disk writes
//! has to wait. A repeated block is acknowledged again, as the ACK was lost; any other block but the next is ignored.
//! While nothing comes, the last ACK is repeated, less and less often. A disk that takes too long ends the transfer.
//! The file is renamed when its last block is written: half a file is never seen. Then the transfer stays for a moment,
//! in case the last ACK was lost.

use std::net::SocketAddr;

use super::packet::{self, Fault, Options};
use super::{Client, FILE_PATIENCE, Output, PATIENCE};
use crate::time::{Duration, Instant};

/// Bytes of the longest file that is taken.
pub const LONGEST: u64 = 256 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The file is being made.
    Creating,
    /// A block is awaited.
    Receiving,
    /// A block is being written; `last`: the file ends with it.
    Writing { len: usize, last: bool },
    /// The file is being renamed.
    Naming,
    /// It is complete. The last block may be repeated.
    Done,
}

pub(super) struct Upload {
    pub client: Client,
    pub local: SocketAddr,
    /// The request, to recognise a retransmission.
    pub asked: Vec<u8>,
    pub options: Options,
    /// Size of the file in the request; the OACK repeats it.
    pub told: u64,
    pub state: State,
    /// Blocks that were written.
    pub blocks: u64,
    /// Bytes that were written.
    pub size: u64,
    pub tries: u32,
    pub until: Option<Instant>,
}

impl Upload {
    /// A transfer that waits for its file.
    pub fn new(
        now: Instant,
        (client, local): (Client, SocketAddr),
        asked: &[u8],
        (options, told): (Options, u64),
    ) -> Self {
        Self {
            client,
            local,
            asked: asked.to_vec(),
            options,
            told,
            state: State::Creating,
            blocks: 0,
            size: 0,
            tries: 0,
            until: Some(now + FILE_PATIENCE),
        }
    }

    /// Whether a file operation is under way.
    pub fn is_at_the_disk(&self) -> bool {
        matches!(self.state, State::Creating | State::Writing { .. } | State::Naming)
    }

    fn wait(&mut self, now: Instant) {
        let patience = self.options.timeout.map_or(PATIENCE, |secs| Duration::from_secs(secs.into()));
        self.until = Some(now + patience * (1 << self.tries.min(3)));
    }

    /// The packet for the client: the OACK at first, then ACKs.
    pub fn acknowledge(&mut self, now: Instant) -> Output {
        self.wait(now);
        let options = packet::oack(self.options, self.told).filter(|_| self.blocks == 0);
        self.datagram(options.unwrap_or_else(|| packet::ack(self.blocks)))
    }

    /// A datagram to the client.
    pub fn datagram(&self, payload: Vec<u8>) -> Output {
        self.client.datagram(self.local, payload)
    }

    /// Takes a block. Gives the next output.
    ///
    /// # Errors
    /// The error that ends the transfer.
    pub fn take(
        &mut self,
        now: Instant,
        file: u64,
        block: u16,
        bytes: &[u8],
    ) -> Result<Option<Output>, (Fault, &'static str)> {
        let block_len = self.options.block_len();
        // numbers wrap, as every client that writes such files expects
        let (next, again) = (block == (self.blocks as u16).wrapping_add(1), block == self.blocks as u16);
        match self.state {
            _ if bytes.len() > block_len => Err((Fault::Illegal, "longer than a block")),
            State::Receiving if next && self.size + bytes.len() as u64 > LONGEST => {
                Err((Fault::Full, "too long a file"))
            }
            State::Receiving if next => {
                self.state = State::Writing { len: bytes.len(), last: bytes.len() < block_len };
                (self.tries, self.until) = (0, Some(now + FILE_PATIENCE));
                Ok(Some(Output::Write { file, offset: self.size, bytes: bytes.to_vec() }))
            }
            State::Receiving | State::Done if again && self.blocks > 0 => Ok(Some(self.acknowledge(now))),
            _ => Ok(None),
        }
    }

    /// The block was written. Gives the next output.
    pub fn written(&mut self, now: Instant, file: u64) -> Option<Output> {
        let State::Writing { len, last } = self.state else { return None };
        self.size += len as u64;
        self.blocks += 1;
        if last {
            (self.state, self.until) = (State::Naming, Some(now + FILE_PATIENCE));
            return Some(Output::Keep(file));
        }
        self.state = State::Receiving;
        Some(self.acknowledge(now))
    }
}
