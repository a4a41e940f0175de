//! The one frame under construction, and the frames that wait to be sent.
//!
//! Every frame is written into a [`Scratch`] that is made once: room for the Ethernet header, then the IP packet.
//! Immediate answers wait in the [`Outbox`] until the caller asks for frames. Neither allocates once it has grown to
//! what the traffic needs.

use std::collections::VecDeque;

use crate::wire::Mac;

/// Bytes of an untagged Ethernet header (IEEE 802.3, clause 3.2.6): destination, source, EtherType.
pub(super) const HEADER: usize = 14;
/// Bytes at a packet's beginning that are zeroed before it is written: more than the IP and TCP headers.
const CLEARED: usize = 160;

/// Most frames that wait.
const OUTBOX_FRAMES: usize = 1024;
/// Most bytes that wait.
const OUTBOX_BYTES: usize = 2 << 20;

/// A frame under construction.
pub(super) struct Scratch {
    bytes: Vec<u8>,
    /// Bytes of the packet behind the header; 0: there is none.
    len: usize,
}

impl Scratch {
    pub fn new(mtu: u16) -> Self {
        Self { bytes: vec![0; HEADER + usize::from(mtu)], len: 0 }
    }

    /// Forgets the frame.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts a packet of `len` bytes. Only its first bytes are zero: the writer sets all of them.
    pub fn start(&mut self, len: usize) -> &mut [u8] {
        let end = HEADER + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.len = len;
        let packet = &mut self.bytes[HEADER..end];
        packet[..len.min(CLEARED)].fill(0);
        packet
    }

    /// The packet alone.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[HEADER..HEADER + self.len]
    }

    /// Header and packet.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[..HEADER + self.len]
    }

    /// Writes the Ethernet header.
    pub fn address(&mut self, dst: Mac, src: Mac, ethertype: u16) {
        self.bytes[..6].copy_from_slice(&dst.0);
        self.bytes[6..12].copy_from_slice(&src.0);
        self.bytes[12..HEADER].copy_from_slice(&ethertype.to_be_bytes());
    }
}

/// Frames that wait to be sent, one behind the other in one buffer.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    ends: VecDeque<usize>,
    /// Where the first waiting frame begins.
    start: usize,
    /// Frames that found no room.
    pub dropped: u64,
}

impl Outbox {
    /// Queues a frame, or drops it where too many wait.
    pub fn push(&mut self, frame: &[u8]) {
        if self.ends.len() >= OUTBOX_FRAMES || self.bytes.len() + frame.len() > OUTBOX_BYTES {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(frame);
        self.ends.push_back(self.bytes.len());
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Gives up to `budget` frames to `out`, oldest first. Returns how many.
    pub fn drain(&mut self, budget: usize, out: &mut impl FnMut(&[u8])) -> usize {
        let mut sent = 0;
        while sent < budget {
            let Some(end) = self.ends.pop_front() else { break };
            out(&self.bytes[self.start..end]);
            self.start = end;
            sent += 1;
        }
        if self.ends.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outbox_keeps_order_and_its_bound() {
        let mut outbox = Outbox::default();
        for value in 0..OUTBOX_FRAMES + 5 {
            outbox.push(&(value as u32).to_be_bytes());
        }
        assert_eq!(outbox.dropped, 5);
        let mut seen = Vec::new();
        let mut sink = |frame: &[u8]| seen.push(u32::from_be_bytes(frame.try_into().unwrap()));
        assert_eq!(outbox.drain(3, &mut sink), 3);
        assert_eq!(outbox.drain(usize::MAX, &mut sink), OUTBOX_FRAMES - 3);
        assert!(outbox.is_empty());
        assert_eq!(seen, (0..OUTBOX_FRAMES as u32).collect::<Vec<_>>());
    }

    #[test]
    fn a_new_packet_starts_clean() {
        let mut scratch = Scratch::new(1500);
        scratch.start(200).fill(0xff);
        assert_eq!(scratch.start(40), &[0; 40]);
        assert_eq!(scratch.frame().len(), HEADER + 40);
        assert_eq!(scratch.start(9000).len(), 9000);
    }
}
