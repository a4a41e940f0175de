//! TIME-WAIT without a socket (RFC 9293, section 3.6.1): the last acknowledgement of a finished connection is kept and
//! answers a peer that has not got it and repeats its FIN.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::flow::FlowKey;
use super::flows::Segment;
use super::scratch::Scratch;
use crate::time::{Duration, Instant};

/// Duration of TIME-WAIT. Links here are short; a peer repeats its FIN within a second or three.
const TIME_WAIT: Duration = Duration::from_secs(10);
/// Connections remembered; the oldest goes first.
const MOST: usize = 4096;

/// See the module.
pub(super) struct Lingering {
    packets: HashMap<FlowKey, (Instant, Box<[u8]>), FixedState>,
    order: VecDeque<(Instant, FlowKey)>,
}

impl Lingering {
    pub fn new(seed: u64) -> Self {
        Self { packets: HashMap::with_hasher(FixedState::with_seed(seed)), order: VecDeque::new() }
    }

    pub fn contains(&self, key: &FlowKey) -> bool {
        self.packets.contains_key(key)
    }

    pub fn insert(&mut self, now: Instant, key: FlowKey, last_ack: Box<[u8]>) {
        if self.order.len() >= MOST {
            self.pop();
        }
        let until = now + TIME_WAIT;
        self.packets.insert(key, (until, last_ack));
        self.order.push_back((until, key));
    }

    /// Answers a segment of a finished connection: `tx` holds the answer. `false`: it is of none. A RST ends it.
    pub fn answer(&mut self, segment: &Segment<'_>, tx: &mut Scratch) -> bool {
        let Some((_, packet)) = self.packets.get(&segment.key) else { return false };
        if segment.rst {
            self.forget(&segment.key);
        } else {
            tx.start(packet.len()).copy_from_slice(packet);
        }
        true
    }

    /// Forgets a connection: a new one has the same addresses and ports.
    pub fn forget(&mut self, key: &FlowKey) {
        self.packets.remove(key);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|&(until, _)| until)
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|until| until <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((until, key)) = self.order.pop_front()
            && self.packets.get(&key).is_some_and(|(at, _)| *at == until)
        {
            self.packets.remove(&key);
        }
    }
}
