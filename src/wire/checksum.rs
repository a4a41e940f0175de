//! The Internet checksum (RFC 1071): the one's complement sum of 16-bit big-endian words.
//!
//! The sum does not care about the order of bytes inside its words as long as it is the same for all (RFC 1071, 2(B)),
//! and carries may be added back late (2(C)). So [`Sum::add_bytes`] reads native 32-bit words into 64-bit lanes, which the
//! compiler turns into vector code, and swaps once at the end.

/// A one's complement sum that still grows. Its value is the sum of big-endian 16-bit words, carries not yet folded.
///
/// 2^48 additions fit before it could overflow, which no frame comes near.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

/// Bytes of one turn of the vector loop: eight lanes of four.
const BLOCK: usize = 32;

impl Sum {
    /// The empty sum.
    pub const ZERO: Self = Self(0);

    /// The sum of `bytes`, which stand at an even distance from the first byte summed. An odd last byte counts as the
    /// high half of a word, so nothing may follow it.
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let mut lanes = [0u64; BLOCK / 4];
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<4>().0) {
                *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            }
        }
        // As words of 32 bits, their sum has room for 2^32 of them.
        let mut native: u64 = lanes.into_iter().fold(0, u64::wrapping_add);
        let (words, rest) = rest.as_chunks::<2>();
        for word in words {
            native = native.wrapping_add(u64::from(u16::from_ne_bytes(*word)));
        }
        if let [last] = rest {
            native = native.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0])));
        }
        Self(self.0 + u64::from(u16::from_be(fold(native))))
    }

    /// The sum with one more word.
    #[must_use]
    pub const fn add_u16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// The sum with two more words, such as a 32-bit length or sequence number.
    #[must_use]
    pub const fn add_u32(self, words: u32) -> Self {
        Self(self.0 + (words >> 16) as u64 + (words & 0xffff) as u64)
    }

    /// The sum without a 32-bit number that went into it: its one's complement is added.
    #[must_use]
    pub const fn sub_u32(self, words: u32) -> Self {
        self.add_u32(!words)
    }

    /// The two sums in one; `other` must begin at an even distance too.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum in 16 bits, not complemented: the value of a partial checksum field.
    pub const fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the complement of the sum. A sum over data that contains its right checksum gives 0 here.
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }

    /// The checksum as UDP sends it: 0 means "none" there, so a computed 0 becomes 0xffff (RFC 768), its equal.
    pub const fn checksum_nonzero(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

/// The sum of an IPv4 pseudo header (RFC 793, 3.1): addresses, protocol, and bytes of the transport header and payload.
pub fn pseudo_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, length: u32) -> Sum {
    Sum::ZERO
        .add_u32(u32::from_be_bytes(source))
        .add_u32(u32::from_be_bytes(destination))
        .add_u16(u16::from(protocol))
        .add_u32(length)
}

/// The sum of an IPv6 pseudo header (RFC 8200, 8.1). `destination` is the final one if there is a routing header.
pub fn pseudo_v6(source: [u8; 16], destination: [u8; 16], next_header: u8, length: u32) -> Sum {
    Sum::ZERO.add_bytes(&source).add_bytes(&destination).add_u16(u16::from(next_header)).add_u32(length)
}

/// `checksum` after a word of the data it covers changed from `old` to `new` (RFC 1624, equation 3).
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(!checksum as u64 + !old as u64 + new as u64).checksum()
}

/// Adds the carries back until 16 bits are left. Non-zero stays non-zero.
const fn fold(sum: u64) -> u16 {
    // A carry out of a half leaves room in it for itself.
    let (sum, carry) = ((sum >> 32) as u32).overflowing_add(sum as u32);
    let sum = sum + carry as u32;
    let (sum, carry) = ((sum >> 16) as u16).overflowing_add(sum as u16);
    sum + carry as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As RFC 1071, 4.1 has it: word by word, big-endian, carry at once.
    fn naive(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |sum, pair| {
            let word = u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            let sum = u32::from(sum) + word;
            (sum % 0x1_0000 + sum / 0x1_0000) as u16
        })
    }

    #[test]
    fn rfc_1071_example() {
        let sum = Sum::ZERO.add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    #[test]
    fn known_ipv4_header() {
        // 192.168.0.1 to 192.168.0.199, UDP, 115 bytes; checksum b861.
        let header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(Sum::ZERO.add_bytes(&header).checksum(), 0);
    }

    #[test]
    fn all_ones_and_zeros() {
        for len in [0, 1, 2, 31, 32, 33, 65_535, 1 << 20] {
            assert_eq!(Sum::ZERO.add_bytes(&vec![0xff; len]).folded(), naive(&vec![0xff; len]), "{len} x ff");
            assert_eq!(Sum::ZERO.add_bytes(&vec![0; len]).folded(), 0, "{len} x 00");
        }
        assert_eq!(Sum::ZERO.add_u16(0xffff).checksum(), 0);
        assert_eq!(Sum::ZERO.add_u16(0xffff).checksum_nonzero(), 0xffff);
    }

    #[test]
    fn rfc_1624_example() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn as_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sum::ZERO.add_bytes(&bytes).folded(), naive(&bytes));
        }

        #[test]
        fn parts_join_at_even_offsets(bytes in prop::collection::vec(any::<u8>(), 2..300), cut: prop::sample::Index) {
            let (head, tail) = bytes.split_at(cut.index(bytes.len()) & !1);
            let whole = naive(&bytes);
            prop_assert_eq!(Sum::ZERO.add_bytes(head).add_bytes(tail).folded(), whole);
            prop_assert_eq!(Sum::ZERO.add_bytes(tail).join(Sum::ZERO.add_bytes(head)).folded(), whole);
        }

        #[test]
        fn update_is_a_new_sum(mut bytes: [u8; 20], new: [u8; 2]) {
            // An all-zero header has two checksums and does not occur: it has a version.
            bytes[0] = 0x45;
            let before = Sum::ZERO.add_bytes(&bytes).checksum();
            let old = [bytes[8], bytes[9]];
            bytes[8..10].copy_from_slice(&new);
            let after = update(before, u16::from_be_bytes(old), u16::from_be_bytes(new));
            prop_assert_eq!(after, Sum::ZERO.add_bytes(&bytes).checksum());
        }

        #[test]
        fn a_number_comes_out_again(bytes: [u8; 8], number: u32) {
            let sum = Sum::ZERO.add_u16(1).add_bytes(&bytes);
            prop_assert_eq!(sum.add_u32(number).sub_u32(number).folded(), sum.folded());
        }

        #[test]
        fn pseudo_headers_are_their_bytes(a: [u8; 16], b: [u8; 16], protocol: u8, length in 0u32..65_536) {
            let tail = [&length.to_be_bytes()[..], &[0, 0, 0, protocol]].concat();
            let six = [&a[..], &b, &tail].concat();
            prop_assert_eq!(pseudo_v6(a, b, protocol, length).folded(), naive(&six));
            let (a, b) = ([a[0], a[1], a[2], a[3]], [b[0], b[1], b[2], b[3]]);
            let four = [&a[..], &b, &[0, protocol], &(length as u16).to_be_bytes()].concat();
            prop_assert_eq!(pseudo_v4(a, b, protocol, length).folded(), naive(&four));
        }
    }
}
