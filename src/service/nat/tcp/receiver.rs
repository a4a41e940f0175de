//! The half of a connection that receives from the guest (RFC 9293, 3.8.6 and 3.10.7.4).
//!
//! # Theory of operation
//! Bytes that are in order go straight to the host's socket. What it does not take is held here, and the window shrinks
//! by it, so a host that stalls holds up its own guest and nobody else. The right edge of the window never moves back;
//! where memory has run out, bytes inside it are left unacknowledged instead, and come again.
//!
//! Segments out of order, a FIN too, wait for the lost ones. The guest gets SACK blocks (RFC 2018) if it understands
//! them, and else enough duplicate acknowledgements to see a loss.

use super::give_back;
use super::scoreboard::DUPLICATES;
use super::segment::{Blocks, before};
use std::collections::VecDeque;

/// Bytes held for one host at most: the largest window.
pub(super) const RECEIVE_LIMIT: usize = 1 << 20;
/// The shift of announced windows: the least with which [`RECEIVE_LIMIT`] fits.
pub(super) const SCALE: u8 = 5;

/// Gaps between out-of-order blocks, at most.
const GAPS: usize = 64;

/// An out-of-order block: bytes without a gap.
struct Early {
    seq: u32,
    bytes: Vec<u8>,
    /// The number of the last addition to it.
    touched: u32,
}

impl Early {
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.bytes.len() as u32)
    }
}

/// See the module.
pub(super) struct Receiver {
    nxt: u32,
    /// Shift of announced windows.
    scale: u8,
    /// The right edge that was announced.
    edge: u32,
    held: VecDeque<u8>,
    /// Out-of-order blocks, sorted, with gaps between.
    early: Vec<Early>,
    /// How often something was added to them.
    additions: u32,
    /// The guest understands selective acknowledgements.
    sacks: bool,
    /// The FIN's number.
    fin: Option<u32>,
    /// The FIN has come, and all before it.
    ended: bool,
    /// So many acknowledgements are due.
    due: u8,
}

impl Receiver {
    /// Begins behind the guest's SYN of number `irs`. `sacks`: the guest understands selective acknowledgements.
    pub fn new(irs: u32, scale: u8, sacks: bool) -> Self {
        let nxt = irs.wrapping_add(1);
        Self {
            nxt,
            scale,
            edge: nxt,
            held: VecDeque::new(),
            early: Vec::new(),
            additions: 0,
            sacks,
            fin: None,
            ended: false,
            due: 0,
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
        self.held.capacity() + self.early.iter().map(|block| block.bytes.capacity()).sum::<usize>()
    }

    /// Whether number `seq` lies in the window.
    pub fn expects(&self, seq: u32) -> bool {
        !before(seq, self.nxt) && !before(self.edge, seq)
    }

    /// Whether a segment of `space` numbers from `seq` on is acceptable (RFC 9293, 3.10.7.4, first check). One that
    /// ends at the next expected number is: a retransmission whose acknowledgement was lost. After its FIN, a guest may
    /// use the FIN's number.
    pub fn accepts(&self, seq: u32, space: u32) -> bool {
        let least = self.nxt.wrapping_sub(self.ended.into());
        !before(seq.wrapping_add(space), least) && !before(self.edge, seq)
    }

    /// An acknowledgement is due.
    pub fn owe(&mut self) {
        self.due = self.due.max(1);
    }

    /// Whether an acknowledgement is due.
    pub fn owes(&self) -> bool {
        self.due > 0
    }

    /// Whether there are out-of-order blocks.
    pub fn has_gaps(&self) -> bool {
        !self.early.is_empty()
    }

    /// An acknowledgement leaves. `bare`: it is a segment of its own.
    pub fn acknowledged(&mut self, bare: bool) {
        self.due = if bare && self.has_gaps() { self.due.saturating_sub(1) } else { 0 };
    }

    /// SACK blocks for the guest, the newest first (RFC 2018, 4).
    pub fn blocks(&self) -> Blocks {
        let mut blocks = Blocks::default();
        if self.sacks && !self.early.is_empty() {
            let mut newest: Vec<&Early> = self.early.iter().collect();
            newest.sort_unstable_by_key(|block| self.additions.wrapping_sub(block.touched));
            blocks.iter_mut().zip(newest).for_each(|(told, block)| *told = (block.seq, block.end()));
        }
        blocks
    }

    /// Takes the new bytes of a segment. `take` offers them to the host and says how many that took; `room` more may be
    /// held.
    pub fn accept(&mut self, seq: u32, bytes: &[u8], fin: bool, room: usize, take: &mut dyn FnMut(&[u8]) -> usize) {
        if bytes.is_empty() && !fin {
            // Out of order and empty: a keep-alive probe (RFC 9293, 3.8.4).
            if seq != self.nxt {
                self.owe();
            }
            return;
        }
        let end = seq.wrapping_add(bytes.len() as u32);
        let early = before(self.nxt, seq);
        if self.ended || early && before(self.edge, end) {
            return self.owe();
        }
        if fin {
            self.fin = Some(end);
        }
        if early {
            self.due = if self.sacks { 1 } else { (self.due + 1).min(DUPLICATES) };
            self.keep(seq, bytes, room);
            return;
        }
        self.owe();
        if let Some(fresh) = bytes.get(self.nxt.wrapping_sub(seq) as usize..) {
            self.take(fresh, room, take);
            self.catch_up(room);
        }
        if self.fin == Some(self.nxt) {
            self.ended = true;
            self.nxt = self.nxt.wrapping_add(1);
            self.early = Vec::new();
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

    /// Keeps the new bytes of an out-of-order segment.
    fn keep(&mut self, mut seq: u32, mut bytes: &[u8], room: usize) {
        if bytes.len() > room {
            return;
        }
        self.additions = self.additions.wrapping_add(1);
        while !bytes.is_empty() {
            let at = self.early.partition_point(|block| before(block.end(), seq));
            if self.early.get(at).is_none_or(|block| before(seq, block.seq)) {
                if self.early.len() >= GAPS {
                    return;
                }
                self.early.insert(at, Early { seq, bytes: Vec::new(), touched: 0 });
            }
            // There is a block that goes to `seq` at least, and perhaps another behind a gap.
            let [block, rest @ ..] = &mut self.early[at..] else { return };
            let (seen, new) = bytes.split_at((block.end().wrapping_sub(seq) as usize).min(bytes.len()));
            let gap = rest.first().map_or(new.len(), |next| next.seq.wrapping_sub(block.end()) as usize);
            let new = &new[..gap.min(new.len())];
            block.bytes.extend_from_slice(new);
            block.touched = self.additions;
            let done = seen.len() + new.len();
            (seq, bytes) = (seq.wrapping_add(done as u32), &bytes[done..]);
            if rest.first().is_some_and(|next| next.seq == block.end()) {
                let next = self.early.remove(at + 1);
                self.early[at].bytes.extend_from_slice(&next.bytes);
            }
        }
    }

    /// Moves out-of-order blocks that are in order now to the bytes held for the host.
    fn catch_up(&mut self, room: usize) {
        while let Some(block) = self.early.first().filter(|block| !before(self.nxt, block.seq)) {
            let seen = self.nxt.wrapping_sub(block.seq) as usize;
            let block = self.early.remove(0);
            self.take(block.bytes.get(seen..).unwrap_or_default(), room.max(block.bytes.len()), &mut |_| 0);
        }
    }

    /// The host took `count` of the held bytes.
    pub fn release(&mut self, count: usize) {
        self.held.drain(..count.min(self.held.len()));
        give_back(&mut self.held);
        // Window update, if the announced window was too small to send into.
        let announced = self.edge.wrapping_sub(self.nxt) as usize;
        let window = self.free();
        if !self.ended && window >= announced + RECEIVE_LIMIT / 4 {
            self.owe();
        }
    }

    fn free(&self) -> usize {
        RECEIVE_LIMIT.saturating_sub(self.held.len())
    }

    /// The window field of the next segment. `plain`: it is a SYN's, and not shifted.
    pub fn announce(&mut self, plain: bool) -> u16 {
        let announced = if before(self.nxt, self.edge) { self.edge.wrapping_sub(self.nxt) as usize } else { 0 };
        let scale = if plain { 0 } else { self.scale };
        let most = usize::from(u16::MAX) << scale;
        // Rounded down, by less than a unit. The earlier right edge still counts (RFC 7323, 2.4).
        let field = self.free().max(announced).min(most) >> scale;
        let edge = self.nxt.wrapping_add((field << scale) as u32);
        if before(self.edge, edge) {
            self.edge = edge;
        }
        field as u16
    }
}

#[cfg(test)]
mod tests;
