//! The half of a connection that receives from the guest (RFC 9293, 3.8.6 and 3.10.7.4).
//!
//! # Theory of operation
//! Bytes that are in order go straight to the host's socket. What it does not take is held here, and the window shrinks
//! by it, so a host that stalls holds up its own guest and nobody else. What comes too early waits for what was lost, and
//! each such segment is answered with a duplicate acknowledgement. The right edge of the window never moves back; where
//! memory has run out, bytes inside it are left unacknowledged instead, and come again.

use super::give_back;
use super::segment::before;
use std::collections::VecDeque;

/// Bytes held for one host at most: the largest window.
pub(super) const RECEIVE_LIMIT: usize = 1 << 20;
/// The shift of announced windows: the least with which [`RECEIVE_LIMIT`] fits.
pub(super) const SCALE: u8 = 5;

/// Segments that came too early and wait, at most.
const EARLY: usize = 64;

/// See the module.
pub(super) struct Receiver {
    nxt: u32,
    /// Shift of announced windows.
    scale: u8,
    /// The right edge that was announced.
    edge: u32,
    held: VecDeque<u8>,
    /// What came too early: its number and bytes, in order.
    early: Vec<(u32, Box<[u8]>)>,
    early_bytes: usize,
    /// The FIN has come.
    ended: bool,
    /// An acknowledgement is due.
    pub due: bool,
}

impl Receiver {
    /// Begins behind the guest's SYN of number `irs`.
    pub fn new(irs: u32, scale: u8) -> Self {
        let nxt = irs.wrapping_add(1);
        Self {
            nxt,
            scale,
            edge: nxt,
            held: VecDeque::new(),
            early: Vec::new(),
            early_bytes: 0,
            ended: false,
            due: false,
        }
    }

    /// The next number that is expected.
    pub fn nxt(&self) -> u32 {
        self.nxt
    }

    /// Whether the guest has sent all.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes that the host has not taken.
    pub fn held(&self) -> &VecDeque<u8> {
        &self.held
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.held.len() + self.early_bytes
    }

    /// Whether a segment with number `seq` can be the guest's.
    pub fn expects(&self, seq: u32) -> bool {
        !before(seq, self.nxt) && !before(self.edge, seq)
    }

    /// Takes what is new in a segment. `take` offers it to the host and says how much that took; `room` is what may be
    /// held in addition.
    pub fn accept(&mut self, seq: u32, bytes: &[u8], fin: bool, room: usize, take: &mut dyn FnMut(&[u8]) -> usize) {
        if bytes.is_empty() && !fin {
            // Not in order, and so a probe whether we are alive (RFC 9293, 3.8.4).
            self.due |= seq != self.nxt;
            return;
        }
        self.due = true;
        if self.ended {
            return;
        }
        if before(self.nxt, seq) {
            return self.keep(seq, bytes, room);
        }
        let seen = self.nxt.wrapping_sub(seq) as usize;
        let Some(fresh) = bytes.get(seen..) else { return };
        let taken = self.take(fresh, room, take);
        if taken < fresh.len() {
            return;
        }
        if fin {
            self.ended = true;
            self.nxt = self.nxt.wrapping_add(1);
        } else {
            self.catch_up(room);
        }
    }

    /// Takes bytes that are in order, as far as the window goes and there is room.
    fn take(&mut self, fresh: &[u8], room: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let open = (self.edge.wrapping_sub(self.nxt) as usize).min(fresh.len());
        let mut taken = if self.held.is_empty() && open > 0 { take(&fresh[..open]).min(open) } else { 0 };
        let kept = &fresh[taken..(taken + room).min(open)];
        self.held.extend(kept);
        taken += kept.len();
        self.nxt = self.nxt.wrapping_add(taken as u32);
        taken
    }

    /// Keeps what came too early, if it is inside the window and no piece of it is there already.
    fn keep(&mut self, seq: u32, bytes: &[u8], room: usize) {
        let end = seq.wrapping_add(bytes.len() as u32);
        let at = self.early.partition_point(|(start, _)| before(*start, seq));
        let overlaps = at
            .checked_sub(1)
            .and_then(|at| self.early.get(at))
            .is_some_and(|(start, piece)| before(seq, start.wrapping_add(piece.len() as u32)))
            || self.early.get(at).is_some_and(|(start, _)| before(*start, end));
        if before(self.edge, end) || overlaps || self.early.len() >= EARLY || bytes.len() > room || bytes.is_empty() {
            return;
        }
        self.early_bytes += bytes.len();
        self.early.insert(at, (seq, bytes.into()));
    }

    /// What came too early and is not any more is held for the host.
    fn catch_up(&mut self, room: usize) {
        let due = self.early.partition_point(|(start, _)| !before(self.nxt, *start));
        if due == 0 {
            return;
        }
        for (seq, bytes) in self.early.drain(..due).collect::<Vec<_>>() {
            self.early_bytes -= bytes.len();
            let seen = self.nxt.wrapping_sub(seq) as usize;
            self.take(bytes.get(seen..).unwrap_or_default(), room.max(bytes.len()), &mut |_| 0);
        }
        self.catch_up(room);
    }

    /// The host took `count` of the held bytes.
    pub fn release(&mut self, count: usize) {
        self.held.drain(..count.min(self.held.len()));
        give_back(&mut self.held);
        // A window that has opened again is told, if it was too small to send into.
        let announced = self.edge.wrapping_sub(self.nxt) as usize;
        let window = self.free();
        self.due |= !self.ended && window >= announced + RECEIVE_LIMIT / 4;
    }

    fn free(&self) -> usize {
        RECEIVE_LIMIT.saturating_sub(self.held.len())
    }

    /// The window field of the next segment. `plain`: it is a SYN's, and not shifted.
    pub fn announce(&mut self, plain: bool) -> u16 {
        let announced = if before(self.nxt, self.edge) { self.edge.wrapping_sub(self.nxt) as usize } else { 0 };
        let scale = if plain { 0 } else { self.scale };
        let most = usize::from(u16::MAX) << scale;
        // Rounded down, by less than a unit. What was announced before still counts (RFC 7323, 2.4).
        let field = self.free().max(announced).min(most) >> scale;
        let edge = self.nxt.wrapping_add((field << scale) as u32);
        if before(self.edge, edge) {
            self.edge = edge;
        }
        field as u16
    }
}
