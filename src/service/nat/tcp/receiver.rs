//! The half of a connection that receives from the guest (RFC 9293, 3.8.6 and 3.10.7.4).
//!
//! # Theory of operation
//! Bytes that are in order go straight to the host's socket. What it does not take is held here, and the window shrinks
//! by it, so a host that stalls holds up its own guest and nobody else. A segment out of order is not kept: it is
//! answered with a duplicate acknowledgement, and the guest sends it again. The right edge of the window never moves
//! back; where memory has run out, bytes inside it are left unacknowledged instead.

use super::segment::before;
use std::collections::VecDeque;

/// Bytes held for one host at most: the largest window.
pub(super) const RECEIVE_LIMIT: usize = 1 << 20;
/// The shift of announced windows: the least with which [`RECEIVE_LIMIT`] fits.
pub(super) const SCALE: u8 = 5;

/// See the module.
pub(super) struct Receiver {
    nxt: u32,
    /// Shift of announced windows.
    scale: u8,
    /// The right edge that was announced.
    edge: u32,
    held: VecDeque<u8>,
    /// The FIN has come.
    ended: bool,
    /// An acknowledgement is due.
    pub due: bool,
}

impl Receiver {
    /// Begins behind the guest's SYN of number `irs`.
    pub fn new(irs: u32, scale: u8) -> Self {
        let nxt = irs.wrapping_add(1);
        Self { nxt, scale, edge: nxt, held: VecDeque::new(), ended: false, due: false }
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
        let seen = self.nxt.wrapping_sub(seq) as usize;
        if before(self.nxt, seq) || self.ended || seen > bytes.len() {
            return;
        }
        let fresh = &bytes[seen..];
        let open = (self.edge.wrapping_sub(self.nxt) as usize).min(fresh.len());
        let mut taken = if self.held.is_empty() && open > 0 { take(&fresh[..open]).min(open) } else { 0 };
        let free = RECEIVE_LIMIT.saturating_sub(self.held.len()).min(room);
        let kept = &fresh[taken..(taken + free).min(open)];
        self.held.extend(kept);
        taken += kept.len();
        self.nxt = self.nxt.wrapping_add(taken as u32);
        if fin && taken == fresh.len() {
            self.ended = true;
            self.nxt = self.nxt.wrapping_add(1);
        }
    }

    /// The host took `count` of the held bytes.
    pub fn release(&mut self, count: usize) {
        self.held.drain(..count.min(self.held.len()));
        if self.held.is_empty() {
            self.held.shrink_to(0);
        }
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
        // Rounded up where it was announced already: the edge does not move back.
        let units = self.free().min(most) >> scale;
        let field = units.max(announced.min(most).div_ceil(1 << scale)).min(usize::from(u16::MAX));
        let edge = self.nxt.wrapping_add((field << scale) as u32);
        if before(self.edge, edge) {
            self.edge = edge;
        }
        field as u16
    }
}
