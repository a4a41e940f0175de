//! A port as the switch sees it: its settings, queue and counters, and its back-pressure on others.

use super::impair::Line;
use super::queue::Queue;
use crate::counters::{Counters, DropReason};
use crate::frame::PortId;
use crate::limits::{PAUSE_MILLIS, QUEUE_BYTES, QUEUE_FRAMES};
use crate::time::{Duration, Instant};

/// How long a port's sources are paused at a stretch, and the interval over which its pace is measured.
pub const PAUSE: Duration = Duration::from_millis(PAUSE_MILLIS);
/// The part of its queue, in frames or in bytes, that a port has to take in [`PAUSE`] to be worth waiting for: 128 frames
/// or 128 KiB. A fast reader of datagrams takes ten times as many, and a fifth of that on a machine that is busy.
const WORTH_WAITING: usize = 64;
/// The part that a stalled port has to take, twice as much (hysteresis), so that one on the border does not count as
/// stalled and as drained by turns.
const WORTH_IT_AGAIN: usize = 32;

/// The settings of a port in the switch.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PortConfig {
    /// Source addresses are learned.
    pub learn: bool,
    /// Exchanges nothing with other isolated ports.
    pub isolate: bool,
    /// Addresses that are used first here are this port's, and no other port may claim them.
    pub guard: bool,
    /// Bytes after the Ethernet header and VLAN tags that may pass either way; `None`: whatever fits a frame.
    pub mtu: Option<u32>,
    /// Frames that may wait for it. What its sources had sent before they were paused for it comes on top.
    pub queue: usize,
    /// It can be paused without loss (a socket, whose peer then waits, too; not a TAP).
    pub pausable: bool,
    /// It takes super-frames and partial checksums.
    pub offload: bool,
    /// Its stations get other MAC addresses on the switch once they were heard; frames to one that was not heard do not
    /// reach it.
    pub renames: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            learn: true,
            isolate: false,
            guard: false,
            mtu: None,
            queue: QUEUE_FRAMES,
            pausable: false,
            offload: false,
            renames: false,
        }
    }
}

impl PortConfig {
    /// The defaults, but for what `set` changes: `PortConfig::with(|port| port.isolate = true)`.
    pub fn with(set: impl FnOnce(&mut Self)) -> Self {
        let mut config = Self::default();
        set(&mut config);
        config
    }
}

/// The state of a port, as shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PortState {
    /// It takes part.
    pub up: bool,
    /// It was set down: see [`Switch::pull`](super::Switch::pull).
    pub pulled: bool,
    /// Frames that wait for it.
    pub queued: usize,
    /// Its peer does not read; frames for it are dropped until it does.
    pub stalled: bool,
    /// It is paused because a port that it sends to is busy.
    pub paused: bool,
}

/// Frames, and their bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pace {
    frames: usize,
    bytes: usize,
}

pub(super) struct Port {
    pub config: PortConfig,
    /// It takes part: its link is there, and was not set down.
    pub up: bool,
    /// Its link is there.
    pub linked: bool,
    /// It was set down, as if its cable were pulled.
    pub pulled: bool,
    /// There may be ports that it is parted from: it is isolated, or in a cut.
    pub parted: bool,
    pub counters: Counters,
    pub queue: Queue,
    /// Its descriptor took no more; nothing is sent until it is writable.
    pub blocked: bool,
    /// The busy port that this one waits for.
    pub paused_for: Option<PortId>,
    /// The ports that wait for this one.
    pub waiters: Vec<PortId>,
    /// While others are, or have just been, paused for it: the time of its next check.
    pub check_at: Option<Instant>,
    /// Its index in the switch's list of ports to check.
    pub place: usize,
    pub stalled: bool,
    /// Frames and bytes that left its queue since the last check or, when it is stalled, since `since`.
    pub pace: Pace,
    pub since: Instant,
    /// Since when it has had no room for frames and taken none, and whether it is on the list of those that are looked at.
    pub full_since: Option<Instant>,
    pub is_unread: bool,
    /// It was reported that this port's share of the forwarding database is full.
    pub told_full: bool,
    /// What a bad line does to its frames, by [`Way`](super::Way).
    pub lines: [Option<Box<Line>>; 2],
}

impl Port {
    pub fn new(config: PortConfig) -> Self {
        Self {
            queue: Queue::new(config.queue.max(1)),
            parted: config.isolate,
            config,
            up: true,
            linked: true,
            pulled: false,
            counters: Counters::default(),
            blocked: false,
            paused_for: None,
            waiters: Vec::new(),
            check_at: None,
            place: 0,
            stalled: false,
            pace: Pace::default(),
            since: Instant::ZERO,
            full_since: None,
            is_unread: false,
            told_full: false,
            lines: [None, None],
        }
    }

    /// Why frames end while it is down: on their way in, and on their way out.
    pub fn down_reasons(&self) -> [DropReason; 2] {
        match self.pulled {
            true => [DropReason::RxDown, DropReason::TxDown],
            false => [DropReason::IngressDown, DropReason::LinkDown],
        }
    }

    /// Whether a frame goes to its descriptor at once.
    pub fn is_free(&self) -> bool {
        self.queue.is_empty() && !self.blocked
    }

    /// The reason by which a frame counts that cannot be queued for `reason`.
    pub fn reason_for(&self, reason: DropReason) -> DropReason {
        if self.stalled { DropReason::Stalled } else { reason }
    }

    /// Counts frames that cannot be queued for it. Returns the reason counted, for [`Switch::note_lost`].
    ///
    /// [`Switch::note_lost`]: super::Switch::note_lost
    pub fn drop_waiting(&mut self, reason: DropReason, frames: u64) -> DropReason {
        let reason = self.reason_for(reason);
        self.counters.count(reason, frames);
        reason
    }

    /// Notes that frames have left its queue.
    pub fn took(&mut self, frames: usize, bytes: usize) {
        if frames > 0 {
            self.full_since = None;
        }
        self.pace.frames += frames;
        self.pace.bytes += bytes;
    }

    /// Begins to measure its pace anew.
    pub fn restart_pace(&mut self, now: Instant) {
        self.pace = Pace::default();
        self.since = now;
    }

    /// Whether it drains fast enough to pause its sources for it.
    pub fn is_worth_waiting(&self) -> bool {
        let part = if self.stalled { WORTH_IT_AGAIN } else { WORTH_WAITING };
        self.pace.frames >= (self.config.queue / part).max(1) || self.pace.bytes >= QUEUE_BYTES / part
    }

    pub fn state(&self) -> PortState {
        PortState {
            up: self.up,
            pulled: self.pulled,
            queued: self.queue.len(),
            stalled: self.stalled,
            paused: self.paused_for.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_worth_waiting_for_by_frames_or_by_bytes_and_after_a_stall_for_twice_as_much() {
        let mut port = Port::new(PortConfig { queue: 640, ..PortConfig::default() });
        let mut takes = |frames, bytes, stalled| {
            port.restart_pace(Instant::ZERO);
            port.took(frames, bytes);
            port.stalled = stalled;
            port.is_worth_waiting()
        };
        assert_eq!([9, 10].map(|frames| takes(frames, 0, false)), [false, true]);
        assert_eq!([19, 20].map(|frames| takes(frames, 0, true)), [false, true]);
        let part = QUEUE_BYTES / 64;
        assert_eq!([part - 1, part].map(|bytes| takes(1, bytes, false)), [false, true]);
        assert_eq!([2 * part - 1, 2 * part].map(|bytes| takes(1, bytes, true)), [false, true]);
        let mut port = Port::new(PortConfig { queue: 1, ..PortConfig::default() });
        assert!(!port.is_worth_waiting(), "nothing is never enough");
        port.took(1, 60);
        assert!(port.is_worth_waiting());
    }
}
