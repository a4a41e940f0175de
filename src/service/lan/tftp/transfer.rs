//! A transfer of a file to a client: its state, and the window in flight.

use super::packet::{self, Options};
use super::{Client, Output, PATIENCE};
use crate::time::{Duration, Instant};
use std::net::SocketAddr;

/// State of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The file is being opened.
    Opening,
    /// The OACK is sent, and not acknowledged yet.
    Offered,
    /// A window is being read.
    Reading,
    /// A window is in flight.
    Sending,
}

/// A transfer of a file to a client.
pub(super) struct Transfer {
    pub client: Client,
    pub local: SocketAddr,
    /// The request, to recognise a retransmission.
    pub asked: Vec<u8>,
    pub options: Options,
    pub state: State,
    pub size: u64,
    /// The first block that is not acknowledged; blocks count from 1.
    pub next: u64,
    /// The bytes of the window from block `next` on.
    pub window: Vec<u8>,
    /// The window was retransmitted because of a duplicate ACK.
    pub nudged: bool,
    pub tries: u32,
    pub until: Option<Instant>,
}

impl Transfer {
    /// The last block, which is shorter than the others, if only by all its bytes.
    pub fn last(&self) -> u64 {
        self.size / self.options.block_len() as u64 + 1
    }

    pub fn datagram(&self, payload: Vec<u8>) -> Output {
        self.client.datagram(self.local, payload)
    }

    /// Packets in flight: the OACK, or the blocks of the window.
    pub fn packets(&self) -> Vec<Output> {
        if self.state == State::Offered {
            return packet::oack(self.options, self.size).map(|oack| self.datagram(oack)).into_iter().collect();
        }
        let block = self.options.block_len();
        let last = (self.next..).take_while(|number| *number <= self.last()).take(self.options.window_len() as usize);
        let blocks = self.window.chunks(block).chain(std::iter::once(&[][..]));
        last.zip(blocks).map(|(number, bytes)| self.datagram(packet::data(number, bytes))).collect()
    }

    /// Blocks of the window.
    pub fn sent(&self) -> u64 {
        (self.last() + 1 - self.next).min(self.options.window_len())
    }

    pub fn wait(&mut self, now: Instant) {
        let patience = self.options.timeout.map_or(PATIENCE, |secs| Duration::from_secs(secs.into()));
        self.until = Some(now + patience * (1 << self.tries.min(3)));
    }
}
