//! Software offloads: cutting a super-frame into segments, completing partial checksums.
//!
//! # How it works
//! [`finish`] turns one frame and its [`Offload`] into plain frames and hands each out as parts to be written one behind
//! the other: the frame is shared with other ports and is never altered, and nothing is allocated. Segments share one
//! template of the headers on the stack. All that stays equal from segment to segment is summed once; per segment the
//! length, the sequence number, the flags and the payload are added.
//!
//! What changes from segment to segment is what Linux changes (`net/ipv4/tcp_offload.c`, `udp_offload.c`,
//! `af_inet.c`): the IPv4 identification counts up, the TCP sequence number moves on, FIN and PSH are left to the last
//! segment and CWR to the first (RFC 3168, 6.1.2). A super-frame in a tunnel has its segments cut in the tunnel
//! (`segment/tunnel.rs`).

mod tunnel;

pub use tunnel::is_tunnelled;

use super::checksum::Sum;
use super::layers::{BadFrame, Layers, Network, Transport};
use super::{Checksum, Gso, Offload};

/// Bytes of headers a segment can have: Ethernet, two tags, the longest IPv4 and TCP headers, and room for a good
/// 250 bytes of IPv6 extension headers.
pub const MAX_HEADERS: usize = 384;

/// Segments that may be cut from one frame. 64 KiB at the smallest MSS that Linux uses by itself (48 bytes) are 1,366;
/// without a bound, one frame of a guest could ask for 65,000.
pub const MAX_SEGMENTS: usize = 2048;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Hands out the plain frames that `frame` stands for. Each call of `emit` is one frame: its parts are to be written one
/// behind the other. Returns how many there were; at least one.
///
/// # Errors
/// [`BadFrame`] if `offload` does not fit the frame, in which case nothing was emitted.
pub fn finish(frame: &[u8], offload: &Offload, mut emit: impl FnMut(&[&[u8]])) -> Result<usize, BadFrame> {
    match (offload.gso, offload.checksum) {
        (Gso::None, Checksum::None | Checksum::Valid) => {
            emit(&[frame]);
            Ok(1)
        }
        (Gso::None, Checksum::Partial { start, offset }) => {
            let (at, sum) = completed(frame, start, offset)?;
            let (before, rest) = frame.split_at_checked(at).ok_or(BadFrame::Checksum)?;
            emit(&[before, &sum, rest.get(2..).unwrap_or_default()]);
            Ok(1)
        }
        _ => segment(frame, offload, emit),
    }
}

/// Bytes of the longest frame that [`finish`] cuts from a super-frame; `None` if its headers cannot be found. Costs a look
/// at the headers.
pub fn longest(frame: &[u8], offload: &Offload) -> Option<usize> {
    let (layers, _) = layers_of(frame, offload).ok()?;
    Some(layers.payload_at + layers.end.saturating_sub(layers.payload_at).min(offload.gso_size.into()))
}

/// The headers before the segmented payload, and those of the tunnel around them, if there is one.
fn layers_of<'a>(frame: &'a [u8], offload: &Offload) -> Result<(Layers<'a>, Option<tunnel::Outer>), BadFrame> {
    match tunnel::find(frame, offload)? {
        Some((layers, outer)) => Ok((layers, Some(outer))),
        None => Ok((Layers::parse(frame)?, None)),
    }
}

/// Completes the checksum of `frame` in place, if there is one to complete. The frame must not be a super-frame: its
/// segments have checksums of their own.
///
/// # Errors
/// [`BadFrame::Checksum`] if the field is not inside the frame, which is then as it was.
pub fn finish_checksum(frame: &mut [u8], checksum: Checksum) -> Result<(), BadFrame> {
    if let Checksum::Partial { start, offset } = checksum {
        let (at, sum) = completed(frame, start, offset)?;
        put(frame, at, sum);
    }
    Ok(())
}

/// Where the checksum field is, and its right value: the sum from `start` to the end, with what the sender left in the
/// field (`skb_checksum_help` in `net/core/dev.c`, which never writes 0 either).
fn completed(frame: &[u8], start: u16, offset: u16) -> Result<(usize, [u8; 2]), BadFrame> {
    let start = usize::from(start);
    let at = start + usize::from(offset);
    if at + 2 > frame.len() {
        return Err(BadFrame::Checksum);
    }
    let covered = frame.get(start..).ok_or(BadFrame::Checksum)?;
    Ok((at, Sum::ZERO.add_bytes(covered).checksum_nonzero().to_be_bytes()))
}

/// Cuts a super-frame.
fn segment(frame: &[u8], offload: &Offload, mut emit: impl FnMut(&[&[u8]])) -> Result<usize, BadFrame> {
    let (layers, outer) = layers_of(frame, offload)?;
    let size = usize::from(offload.gso_size);
    let payload = frame.get(layers.payload_at..layers.end).ok_or(BadFrame::Length)?;
    if size == 0 {
        return Err(BadFrame::Mismatch);
    }
    let count = payload.len().div_ceil(size);
    if count > MAX_SEGMENTS {
        return Err(BadFrame::Segments);
    }
    let mut template = Template::new(frame, &layers, offload)?;
    let last = count.saturating_sub(1);
    let mut cut = |index: usize, chunk: &[u8]| {
        let headers = template.headers(index, index * size, chunk, index == last);
        if let Some(outer) = &outer {
            outer.patch(headers, index, chunk);
        }
        emit(&[headers, chunk]);
    };
    payload.chunks(size).enumerate().for_each(|(index, chunk)| cut(index, chunk));
    if count == 0 {
        cut(0, &[]);
    }
    Ok(count.max(1))
}

/// The headers of all segments of a super-frame, and the sums of what is equal in them.
struct Template {
    bytes: [u8; MAX_HEADERS],
    len: usize,
    network: usize,
    transport: usize,
    ip: Ip,
    transport_header: Header,
    /// Pseudo header without its length, and the transport header without what changes; `None` if the sender wanted no
    /// checksum (UDP over IPv4, RFC 768).
    sum: Option<Sum>,
}

/// The fields that change in the network header.
enum Ip {
    /// The first segment's identification, and the sum of the header without length, identification and checksum.
    V4 { id: u16, sum: Sum },
    /// The length alone.
    V6,
}

/// The fields that change in the transport header.
enum Header {
    /// The first segment's sequence number, and the flags.
    Tcp { sequence: u32, flags: u8 },
    /// The length alone.
    Udp,
}

impl Template {
    fn new(frame: &[u8], layers: &Layers<'_>, offload: &Offload) -> Result<Self, BadFrame> {
        let partial = match (offload.gso, &layers.network, &layers.transport) {
            (Gso::Tcp4 { .. }, Network::V4(_), Transport::Tcp(_))
            | (Gso::Tcp6 { .. }, Network::V6 { .. }, Transport::Tcp(_))
            | (Gso::Udp, _, Transport::Udp(_)) => is_partial(layers, offload.checksum)?,
            _ => return Err(BadFrame::Mismatch),
        };
        let headers = frame.get(..layers.payload_at).ok_or(BadFrame::Length)?;
        let mut bytes = [0; MAX_HEADERS];
        bytes.get_mut(..headers.len()).ok_or(BadFrame::Headers)?.copy_from_slice(headers);
        let pseudo = pseudo_without_length(layers, partial)?;

        let (network, transport) = (layers.network_at, layers.transport_at);
        let ip = match &layers.network {
            Network::V4(header) => {
                put(&mut bytes, network + 2, [0; 4]);
                put(&mut bytes, network + 10, [0; 2]);
                Ip::V4 { id: header.identification(), sum: sum_of(&bytes, network, transport) }
            }
            Network::V6 { .. } => Ip::V6,
        };
        let transport_header = match &layers.transport {
            Transport::Tcp(header) => {
                put(&mut bytes, transport + 4, [0; 4]);
                put(&mut bytes, transport + 16, [0; 2]);
                let flags = header.slice().get(13).copied().unwrap_or_default();
                put(&mut bytes, transport + 13, [0]);
                Header::Tcp { sequence: header.sequence_number(), flags }
            }
            Transport::Udp(_) => {
                put(&mut bytes, transport + 4, [0; 4]);
                Header::Udp
            }
        };
        let sum = pseudo.map(|pseudo| pseudo.join(sum_of(&bytes, transport, layers.payload_at)));
        Ok(Self { bytes, len: layers.payload_at, network, transport, ip, transport_header, sum })
    }

    /// The headers of segment `index`, whose payload `chunk` begins `offset` bytes into that of the super-frame.
    fn headers(&mut self, index: usize, offset: usize, chunk: &[u8], last: bool) -> &mut [u8] {
        let (network, transport, bytes) = (self.network, self.transport, &mut self.bytes);
        // What is cut off a datagram of at most 65,575 bytes: these fit in their fields, `index` wraps on purpose.
        let length = (self.len - transport + chunk.len()) as u16;
        match self.ip {
            Ip::V4 { id, sum } => {
                let (total, id) = (length + (transport - network) as u16, id.wrapping_add(index as u16));
                put(bytes, network + 2, total.to_be_bytes());
                put(bytes, network + 4, id.to_be_bytes());
                put(bytes, network + 10, sum.add_u16(total).add_u16(id).checksum().to_be_bytes());
            }
            Ip::V6 => put(bytes, network + 4, (length + (transport - network - 40) as u16).to_be_bytes()),
        }
        let sum = self.sum.map(|sum| sum.add_u16(length).add_bytes(chunk));
        match self.transport_header {
            Header::Tcp { sequence, flags } => {
                let sequence = sequence.wrapping_add(offset as u32);
                let flags = flags & !(if last { 0 } else { FIN | PSH }) & !(if index == 0 { 0 } else { CWR });
                put(bytes, transport + 4, sequence.to_be_bytes());
                put(bytes, transport + 13, [flags]);
                let sum = sum.map(|sum| sum.add_u32(sequence).add_u16(u16::from(flags)).checksum());
                put(bytes, transport + 16, sum.unwrap_or_default().to_be_bytes());
            }
            Header::Udp => {
                put(bytes, transport + 4, length.to_be_bytes());
                let sum = sum.map(|sum| sum.add_u16(length).checksum_nonzero());
                put(bytes, transport + 6, sum.unwrap_or_default().to_be_bytes());
            }
        }
        bytes.get_mut(..self.len).unwrap_or_default()
    }
}

/// Whether the sender left the pseudo header's sum in the checksum field.
fn is_partial(layers: &Layers<'_>, checksum: Checksum) -> Result<bool, BadFrame> {
    let Checksum::Partial { start, offset } = checksum else { return Ok(false) };
    if (usize::from(start), usize::from(offset)) != (layers.transport_at, layers.checksum_offset()) {
        return Err(BadFrame::Mismatch);
    }
    Ok(true)
}

/// The sum of the pseudo header without its length. A partial checksum field already holds it with the length of the
/// super-frame; that is taken, as Linux does, because the sender also knows where a routing header leads.
fn pseudo_without_length(layers: &Layers<'_>, partial: bool) -> Result<Option<Sum>, BadFrame> {
    let field = match &layers.transport {
        Transport::Tcp(header) => header.checksum(),
        Transport::Udp(header) => header.checksum(),
    };
    if partial {
        return Ok(Some(Sum::ZERO.add_u16(field).sub_u32(layers.transport_len() as u32)));
    }
    if field == 0 && matches!((&layers.network, &layers.transport), (Network::V4(_), Transport::Udp(_))) {
        return Ok(None);
    }
    layers.pseudo(0).map(Some).ok_or(BadFrame::Unsupported)
}

/// The sum of `bytes[from..to]`.
fn sum_of(bytes: &[u8], from: usize, to: usize) -> Sum {
    Sum::ZERO.add_bytes(bytes.get(from..to).unwrap_or_default())
}

/// Writes `value` at `at`, where the parser saw a field.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(at..at + N) {
        field.copy_from_slice(&value);
    }
}

#[cfg(test)]
mod tests;
