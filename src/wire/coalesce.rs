//! Coalescing: in-order TCP segments of one flow become a super-frame again (GRO), for ports that take one.
//!
//! # Theory of operation
//! A [`Coalescer`] lives for one batch of frames towards one port. It holds at most one super-frame in the making: the
//! headers of its first segment and the payloads of all, in place. The next frame either continues it or ends it, so
//! **frames leave in the order they came**, whatever their flows. That is enough, because a sender without offload
//! writes the segments of one send one behind the other.
//!
//! A frame continues the super-frame if [`super::finish`] would make exactly this frame of it: equal addresses, tags,
//! and IP and TCP headers, with the next sequence number and the next IPv4 identification. These are the rules of
//! `tcp_gro_receive` (`net/ipv4/tcp_offload.c`): all segments are as long as the first, but the last may be shorter;
//! FIN and PSH end the super-frame, CWR can only begin one; SYN, RST and URG, IPv4 options and IPv6 extension headers
//! stay out of it. Checksums are verified before a merge, not trusted: otherwise a damaged segment would leave with a
//! right checksum. Frames that merge with nothing pass untouched.

use super::checksum::Sum;
use super::layers::{Layers, Network, Transport};
use super::segment::{MAX_HEADERS, put};
use super::{Checksum, Gso, Offload};
use crate::limits::MAX_FRAME;
use std::ops::Range;

/// The most segments in a super-frame: 64 KiB at the usual 1,448 bytes are 45.
pub const MAX_MERGED: usize = 64;
/// The longest datagram: with an Ethernet header and two tags it is still a frame of [`MAX_FRAME`] bytes.
const MAX_DATAGRAM: usize = MAX_FRAME - 22;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// The bytes that must be equal in IPv4 headers: all but length, identification and checksum.
const SAME_V4: [Range<usize>; 3] = [0..2, 6..10, 12..20];
/// The bytes that must be equal in IPv6 headers: all but the length.
const SAME_V6: [Range<usize>; 2] = [0..4, 6..40];
/// The bytes that must be equal in TCP headers without options: all but sequence number, flags and checksum.
const SAME_TCP: [Range<usize>; 4] = [0..4, 8..13, 14..16, 18..20];

/// One frame that leaves a [`Coalescer`]: its parts are to be written one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Merged<'h, 'a> {
    /// The headers of a super-frame; empty if `parts` is one frame as it came. They are overwritten by the next one.
    pub headers: &'h [u8],
    /// The payloads of the merged segments, or one whole frame. They point into the frames of the batch.
    pub parts: &'h [&'a [u8]],
    /// Its offload.
    pub offload: Offload,
}

/// Merges the frames of one batch. `'a` is the life of their bytes.
#[derive(Debug)]
pub struct Coalescer<'a> {
    held: Option<Held<'a>>,
    parts: [&'a [u8]; MAX_MERGED],
    headers: [u8; MAX_HEADERS],
}

/// The super-frame in the making. Its payloads are the first `count` parts.
#[derive(Debug)]
struct Held<'a> {
    first: Segment<'a>,
    count: usize,
    /// Bytes of payload.
    len: usize,
    /// FIN and PSH of the last segment.
    ending: u8,
    /// The first segment's checksums were found right, or need not be.
    verified: bool,
}

/// A TCP segment that may be merged.
#[derive(Debug)]
struct Segment<'a> {
    frame: &'a [u8],
    offload: Offload,
    layers: Layers<'a>,
    payload: &'a [u8],
    sequence: u32,
    flags: u8,
    /// The IPv4 identification.
    id: Option<u16>,
}

impl Default for Coalescer<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Coalescer<'a> {
    /// A coalescer at the start of a batch.
    pub const fn new() -> Self {
        Self { held: None, parts: [&[]; MAX_MERGED], headers: [0; MAX_HEADERS] }
    }

    /// Takes the next frame of the batch; `emit` gets the frames that can leave now.
    pub fn push(&mut self, frame: &'a [u8], offload: &Offload, mut emit: impl FnMut(Merged<'_, 'a>)) {
        let Some(segment) = Segment::of(frame, offload) else {
            self.flush(&mut emit);
            emit(Merged { headers: &[], parts: &[frame], offload: *offload });
            return;
        };
        let continues = self.held.as_mut().is_some_and(|held| held.continued_by(&segment));
        let (Some(held), true) = (&mut self.held, continues) else {
            self.flush(emit);
            self.hold(segment);
            return;
        };
        if let Some(part) = self.parts.get_mut(held.count) {
            *part = segment.payload;
        }
        held.count += 1;
        held.len += segment.payload.len();
        held.ending = segment.flags & (FIN | PSH);
    }

    /// Emits the held frame: at the end of the batch, and before any frame that must stay behind it.
    pub fn flush(&mut self, mut emit: impl FnMut(Merged<'_, 'a>)) {
        let Some(held) = self.held.take() else { return };
        let Some(parts) = self.parts.get(..held.count) else { return };
        if held.count < 2 {
            emit(Merged { headers: &[], parts: &[held.first.frame], offload: held.first.offload });
            return;
        }
        let (len, offload) = held.write_headers(&mut self.headers);
        emit(Merged { headers: self.headers.get(..len).unwrap_or_default(), parts, offload });
    }

    fn hold(&mut self, first: Segment<'a>) {
        let [part, ..] = &mut self.parts;
        *part = first.payload;
        let (len, ending) = (first.payload.len(), first.flags & (FIN | PSH));
        self.held = Some(Held { first, count: 1, len, ending, verified: false });
    }
}

impl Held<'_> {
    /// Whether `next` is the segment that [`super::finish`] would make next, and both are sound.
    fn continued_by(&mut self, next: &Segment<'_>) -> bool {
        let first = &self.first;
        let datagram = first.layers.payload_at - first.layers.network_at + self.len + next.payload.len();
        let fits = self.ending == 0
            && self.len == self.count * first.payload.len()
            && next.payload.len() <= first.payload.len()
            && datagram <= MAX_DATAGRAM
            && self.count < MAX_MERGED;
        fits && next.sequence == first.sequence.wrapping_add(self.len as u32)
            && next.id == first.id.map(|id| id.wrapping_add(self.count as u16))
            && next.flags & !(FIN | PSH) == first.flags & !CWR
            && first.same_headers(next)
            && next.is_sound()
            && self.first_is_sound()
    }

    fn first_is_sound(&mut self) -> bool {
        self.verified = self.verified || self.first.is_sound();
        self.verified
    }

    /// Writes the super-frame's headers into `out`. Returns their length, and its offload.
    fn write_headers(&self, out: &mut [u8; MAX_HEADERS]) -> (usize, Offload) {
        let (first, layers) = (&self.first, &self.first.layers);
        let (network, transport, len) = (layers.network_at, layers.transport_at, layers.payload_at);
        if let (Some(out), Some(headers)) = (out.get_mut(..len), first.frame.get(..len)) {
            out.copy_from_slice(headers);
        }
        let length = len - transport + self.len;
        match layers.network {
            Network::V4(_) => {
                // At most MAX_DATAGRAM; the checksum field counts as zero in its own sum.
                put(out, network + 2, ((transport - network + length) as u16).to_be_bytes());
                put(out, network + 10, [0; 2]);
                let sum = Sum::ZERO.add_bytes(out.get(network..transport).unwrap_or_default());
                put(out, network + 10, sum.checksum().to_be_bytes());
            }
            Network::V6 { .. } => put(out, network + 4, (length as u16).to_be_bytes()),
        }
        put(out, transport + 13, [first.flags | self.ending]);
        let pseudo = layers.pseudo(length as u32).unwrap_or_default();
        put(out, transport + 16, pseudo.folded().to_be_bytes());

        let ecn = first.flags & CWR != 0;
        let gso = if first.id.is_some() { Gso::Tcp4 { ecn } } else { Gso::Tcp6 { ecn } };
        let checksum = Checksum::Partial { start: transport as u16, offset: 16 };
        (len, Offload { gso, gso_size: first.payload.len() as u16, header_len: len as u16, checksum })
    }
}

impl<'a> Segment<'a> {
    /// `frame` as a segment that may be merged; no checksum is looked at yet.
    fn of(frame: &'a [u8], offload: &Offload) -> Option<Self> {
        if offload.gso != Gso::None {
            return None;
        }
        let layers = Layers::parse(frame).ok()?;
        let Transport::Tcp(tcp) = &layers.transport else { return None };
        let flags = tcp.slice().get(13).copied()?;
        let sequence = tcp.sequence_number();
        let (id, bare) = match &layers.network {
            Network::V4(header) => (Some(header.identification()), 20),
            Network::V6 { .. } => (None, 40),
        };
        let payload = frame.get(layers.payload_at..layers.end)?;
        let mergeable = flags & (SYN | RST | URG | ACK) == ACK
            && !payload.is_empty()
            && layers.end == frame.len()
            && layers.transport_at - layers.network_at == bare;
        let partial = Checksum::Partial { start: layers.transport_at as u16, offset: 16 };
        let known = matches!(offload.checksum, Checksum::None | Checksum::Valid) || offload.checksum == partial;
        (mergeable && known).then_some(Self { frame, offload: *offload, layers, payload, sequence, flags, id })
    }

    /// Whether all that segments of one super-frame share is equal.
    fn same_headers(&self, other: &Segment<'_>) -> bool {
        let (a, b) = (&self.layers, &other.layers);
        let at = (a.network_at, a.transport_at, a.payload_at);
        let network: &[Range<usize>] = if self.id.is_some() { &SAME_V4 } else { &SAME_V6 };
        let same = |from: usize, to: usize| self.frame.get(from..to) == other.frame.get(from..to);
        at == (b.network_at, b.transport_at, b.payload_at)
            && same(0, at.0)
            && network.iter().all(|range| same(at.0 + range.start, at.0 + range.end))
            && SAME_TCP.iter().all(|range| same(at.1 + range.start, at.1 + range.end))
            && same(at.1 + 20, at.2)
    }

    /// Whether its checksums are right, or its sender vouches for them.
    fn is_sound(&self) -> bool {
        let bytes = |from: usize, to: usize| self.frame.get(from..to).unwrap_or_default();
        let layers = &self.layers;
        let header = bytes(layers.network_at, layers.transport_at);
        if self.id.is_some() && Sum::ZERO.add_bytes(header).checksum() != 0 {
            return false;
        }
        let segment = bytes(layers.transport_at, layers.end);
        let whole = |pseudo: Sum| pseudo.add_bytes(segment).checksum() == 0;
        self.offload.checksum != Checksum::None || layers.pseudo(segment.len() as u32).is_some_and(whole)
    }
}

#[cfg(test)]
mod tests;
