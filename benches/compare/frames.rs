//! The frames that the load generators send: addresses, a type for experiments, and in the payload who sent it, its
//! number, and when.
//!
//! ```text
//! 0        6       12     14    16       24     32
//! | dst    | src    | type | flow | number | time | zeros…      an Ethernet frame
//!                          | flow | number | time | zeros…      a UDP payload, where the kernel makes the frame
//! ```
//!
//! All numbers are big-endian. `time` is nanoseconds since the process began.

use std::sync::OnceLock;
use std::time::Instant;

/// The length of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of payload that a numbered frame has at least.
pub const STAMP: usize = 18;
/// A flow that is not measured: frames that only make a station known.
pub const HELLO: u16 = u16::MAX;
/// IEEE 802, local experimental Ethertype 1.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// All stations.
pub const BROADCAST: u64 = 0xffff_ffff_ffff;

/// The address of the station on port `index`.
pub fn port_mac(index: usize) -> u64 {
    0x0210_0000_0000 | index as u64
}

/// One of up to 2^20 addresses without any pattern that a hash could profit from.
pub fn spread_mac(index: u64) -> u64 {
    0x0600_0000_0000 | index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24
}

/// Nanoseconds since the process began.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Writes an Ethernet header.
pub fn put_header(frame: &mut [u8], dst: u64, src: u64) {
    put_dst(frame, dst);
    put_src(frame, src);
    frame[12..14].copy_from_slice(&ETHERTYPE);
}

/// Writes the destination.
#[inline]
pub fn put_dst(frame: &mut [u8], mac: u64) {
    frame[..6].copy_from_slice(&mac.to_be_bytes()[2..]);
}

/// Writes the source.
#[inline]
pub fn put_src(frame: &mut [u8], mac: u64) {
    frame[6..12].copy_from_slice(&mac.to_be_bytes()[2..]);
}

/// What a payload says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Who sent it.
    pub flow: u16,
    /// Its number.
    pub number: u64,
    /// When it was sent.
    pub time: u64,
}

impl Stamp {
    /// Writes it to the start of a payload.
    #[inline]
    pub fn put(self, payload: &mut [u8]) {
        payload[..2].copy_from_slice(&self.flow.to_be_bytes());
        payload[2..10].copy_from_slice(&self.number.to_be_bytes());
        payload[10..18].copy_from_slice(&self.time.to_be_bytes());
    }

    /// Reads it from the start of a payload; `None` when that is too short.
    #[inline]
    pub fn get(payload: &[u8]) -> Option<Self> {
        let stamp = payload.first_chunk::<STAMP>()?;
        let word = |at: usize| stamp[at..at + 8].try_into().map(u64::from_be_bytes).unwrap_or(0);
        Some(Self { flow: u16::from_be_bytes([stamp[0], stamp[1]]), number: word(2), time: word(10) })
    }
}

/// Numbers without a pattern (xorshift64*), the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`, which is below 2^32.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * bound) >> 32
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
