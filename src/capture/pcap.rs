//! The classic pcap file, as libpcap writes it (pcap-savefile(5)): a header, then a record a frame.
//!
//! ```text
//! header  magic u32 = a1b2c3d4 · version u16 2, u16 4 · u32 0 · u32 0 · snapshot length u32 · link type u32
//! record  seconds u32 · microseconds u32 · captured length u32 · length on the wire u32 · frame
//! ```
//!
//! Numbers are little-endian, which the magic tells.

use crate::time::Duration;

/// IEEE 802.15.4 without FCS: `LINKTYPE_IEEE802_15_4_NOFCS`.
pub const IEEE802_15_4_NOFCS: u32 = 230;

const MAGIC: u32 = 0xa1b2_c3d4;
/// What tcpdump has as its largest.
const SNAPSHOT: u32 = 262_144;

/// The bytes at the start of a file.
pub fn header(link_type: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&[2, 0, 4, 0]);
    bytes[16..20].copy_from_slice(&SNAPSHOT.to_le_bytes());
    bytes[20..].copy_from_slice(&link_type.to_le_bytes());
    bytes
}

/// The bytes in front of a frame of `len` bytes that was seen `since` 1970, UTC.
pub fn record(since: Duration, len: usize) -> [u8; 16] {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    // Seconds wrap in 2106.
    let words = [since.as_secs() as u32, since.subsec_micros(), len, len];
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_layout() {
        let wanted = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 230, 0, 0, 0];
        assert_eq!(header(IEEE802_15_4_NOFCS), wanted);
        let wanted = [1, 2, 0, 0, 3, 0, 0, 0, 127, 0, 0, 0, 127, 0, 0, 0];
        assert_eq!(record(Duration::from_micros(513_000_003), 127), wanted);
    }
}
