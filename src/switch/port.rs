//! A port as the switch sees it: its settings, its queue, what it counted, and whether it holds others up.

use super::queue::Queue;
use crate::counters::Counters;
use crate::frame::PortId;
use crate::limits::QUEUE_FRAMES;
use crate::time::Instant;

/// What a switch has to know of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// Source addresses are learned.
    pub learn: bool,
    /// Exchanges nothing with other isolated ports.
    pub isolate: bool,
    /// Bytes after the Ethernet header and VLAN tags that may pass either way; `None`: whatever fits a frame.
    pub mtu: Option<u32>,
    /// Frames that may wait for it.
    pub queue: usize,
    /// It can be kept waiting without losing anything (a socket whose peer then waits too; not a TAP).
    pub pausable: bool,
    /// It takes frames whose checksum or segmentation is not finished.
    pub offload: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self { learn: true, isolate: false, mtu: None, queue: QUEUE_FRAMES, pausable: false, offload: false }
    }
}

/// How a port is doing, as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortState {
    /// It takes part.
    pub up: bool,
    /// Frames that wait for it.
    pub queued: usize,
    /// Its peer does not read; frames for it are dropped until it does.
    pub stalled: bool,
    /// It is kept waiting because a port that it sends to is busy.
    pub paused: bool,
}

pub(super) struct Port {
    pub config: PortConfig,
    pub up: bool,
    pub counters: Counters,
    pub queue: Queue,
    /// Its descriptor would not take more; nothing is sent until it says it is writable.
    pub blocked: bool,
    /// The busy port that this one waits for.
    pub paused_for: Option<PortId>,
    /// The ports that wait for this one.
    pub waiters: Vec<PortId>,
    /// When its waiters have waited long enough.
    pub stall_at: Option<Instant>,
    pub stalled: bool,
    /// It was said that this port's share of the forwarding database is full.
    pub told_full: bool,
}

impl Port {
    pub fn new(config: PortConfig) -> Self {
        Self {
            queue: Queue::new(config.queue.max(1)),
            config,
            up: true,
            counters: Counters::default(),
            blocked: false,
            paused_for: None,
            waiters: Vec::new(),
            stall_at: None,
            stalled: false,
            told_full: false,
        }
    }

    pub fn state(&self) -> PortState {
        PortState { up: self.up, queued: self.queue.len(), stalled: self.stalled, paused: self.paused_for.is_some() }
    }
}
