//! TCP segments as bytes (RFC 9293, 3.1), with the options that matter here: maximum segment size, window scale
//! (RFC 7323, 2) and selective acknowledgements (RFC 2018).
//!
//! `source u16 · destination u16 · sequence u32 · acknowledgement u32 · data offset and flags u16 · window u16 ·
//! checksum u16 · urgent pointer u16 · options`

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Bytes of a header without options.
pub(super) const HEADER: usize = 20;
/// Where the checksum is.
pub(super) const CHECKSUM: u16 = 16;

/// Option kinds (RFC 9293, 3.2).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;

/// Bytes of a SACK block: its first number, and the one behind its last.
const BLOCK: usize = 8;

/// The greatest shift that means anything (RFC 7323, 2.3).
const MOST_SCALE: u8 = 14;

/// The flags that matter.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::service::nat) struct Flags {
    pub syn: bool,
    pub ack: bool,
    pub rst: bool,
    pub fin: bool,
    pub psh: bool,
}

/// SACK blocks (RFC 2018): the first number, and the one behind the last. Empty ones come last.
pub(in crate::service::nat) type Blocks = [(u32, u32); 4];

/// Options of a SYN, and the SACK blocks of another segment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::service::nat) struct Options {
    pub mss: Option<u16>,
    pub scale: Option<u8>,
    pub sack_permitted: bool,
    pub blocks: Blocks,
}

/// A segment without its ports and payload.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::service::nat) struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    pub window: u16,
    pub options: Options,
}

impl Segment {
    /// Reads a segment: its ports (source, destination), itself, its payload.
    pub fn parse(bytes: &[u8]) -> Option<((u16, u16), Self, &[u8])> {
        let (&[s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, ..], _) =
            bytes.split_first_chunk::<HEADER>()?;
        let end = usize::from(offset >> 4) * 4;
        let options = bytes.get(HEADER..end)?;
        let has = |flag| flags & flag != 0;
        let segment = Self {
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: u32::from_be_bytes([a0, a1, a2, a3]),
            flags: Flags { syn: has(SYN), ack: has(ACK), rst: has(RST), fin: has(FIN), psh: has(PSH) },
            window: u16::from_be_bytes([w0, w1]),
            options: Options::parse(options),
        };
        Some(((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])), segment, bytes.get(end..)?))
    }

    /// The header as bytes, `seed` in its checksum field; and how many of them there are.
    pub fn emit(&self, (from, to): (u16, u16), seed: u16) -> ([u8; HEADER + Options::LEN], usize) {
        let mut bytes = [0; HEADER + Options::LEN];
        let len = HEADER + self.options.emit(&mut bytes);
        let bit = |flag, on: bool| if on { flag } else { 0 };
        let Flags { syn, ack, rst, fin, psh } = self.flags;
        bytes[0..2].copy_from_slice(&from.to_be_bytes());
        bytes[2..4].copy_from_slice(&to.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ack.to_be_bytes());
        bytes[12] = (len as u8 / 4) << 4;
        bytes[13] = bit(SYN, syn) | bit(ACK, ack) | bit(RST, rst) | bit(FIN, fin) | bit(PSH, psh);
        bytes[14..16].copy_from_slice(&self.window.to_be_bytes());
        bytes[16..18].copy_from_slice(&seed.to_be_bytes());
        (bytes, len)
    }

    /// Whether it is a pure ACK.
    pub fn is_bare(&self, payload: usize) -> bool {
        self.space(payload) == 0 && !self.flags.rst
    }

    /// How much of the sequence space the segment takes up with `payload` bytes.
    pub fn space(&self, payload: usize) -> u32 {
        payload as u32 + u32::from(self.flags.syn) + u32::from(self.flags.fin)
    }
}

impl Options {
    /// Bytes of the longest options that are sent: two of padding, kind and length, and four SACK blocks.
    const LEN: usize = 4 + 4 * BLOCK;

    /// Reads the known options; stops at a malformed one.
    fn parse(mut bytes: &[u8]) -> Self {
        let mut found = Self::default();
        while let [kind, rest @ ..] = bytes {
            if *kind == END {
                break;
            }
            if *kind == NO_OPERATION {
                bytes = rest;
                continue;
            }
            let Some(option) = rest.first().and_then(|len| bytes.get(..usize::from(*len))) else { break };
            match *option {
                [MSS, 4, m0, m1] => found.mss = Some(u16::from_be_bytes([m0, m1])),
                [WINDOW_SCALE, 3, scale] => found.scale = Some(scale.min(MOST_SCALE)),
                [SACK_PERMITTED, 2] => found.sack_permitted = true,
                [SACK, _, ref blocks @ ..] => {
                    let blocks = blocks.as_chunks::<BLOCK>().0;
                    found.blocks.iter_mut().zip(blocks).for_each(|(found, &[f0, f1, f2, f3, t0, t1, t2, t3])| {
                        *found = (u32::from_be_bytes([f0, f1, f2, f3]), u32::from_be_bytes([t0, t1, t2, t3]));
                    });
                }
                [] | [_] => break,
                _ => {}
            }
            bytes = &bytes[option.len()..];
        }
        found
    }

    /// Writes the options behind a header; returns their length. A SYN has no blocks: there would be no room.
    fn emit(self, bytes: &mut [u8; HEADER + Self::LEN]) -> usize {
        let mut at = HEADER;
        if let Some(mss) = self.mss {
            let [m0, m1] = mss.to_be_bytes();
            bytes[at..at + 4].copy_from_slice(&[MSS, 4, m0, m1]);
            at += 4;
        }
        if let Some(scale) = self.scale {
            bytes[at..at + 4].copy_from_slice(&[NO_OPERATION, WINDOW_SCALE, 3, scale]);
            at += 4;
        }
        if self.sack_permitted {
            bytes[at..at + 4].copy_from_slice(&[NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
            at += 4;
        }
        let blocks = self.blocks.iter().take_while(|(from, to)| from != to);
        let len = 2 + BLOCK * blocks.clone().count();
        if len > 2 {
            bytes[at..at + 4].copy_from_slice(&[NO_OPERATION, NO_OPERATION, SACK, len as u8]);
            at += 4;
        }
        for (from, to) in blocks {
            bytes[at..at + 4].copy_from_slice(&from.to_be_bytes());
            bytes[at + 4..at + BLOCK].copy_from_slice(&to.to_be_bytes());
            at += BLOCK;
        }
        at - HEADER
    }
}

/// Whether sequence number `a` is before `b` (RFC 9293, 3.4).
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_syn_as_linux_sends_it() {
        #[rustfmt::skip]
        let bytes = [
            0x9c, 0x40, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0, 0, 0, 0,
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let (ports, segment, payload) = Segment::parse(&bytes).unwrap();
        assert_eq!((ports, payload.len()), ((40_000, 80), 0));
        assert_eq!((segment.seq, segment.window), (0x1234_5678, 64_240));
        let options = Options { mss: Some(1460), scale: Some(7), sack_permitted: true, ..Options::default() };
        assert_eq!(segment.options, options);
        assert_eq!(segment.flags, Flags { syn: true, ..Flags::default() });
        assert!(Segment::parse(&bytes[..39]).is_none());
        let mut short = bytes;
        short[12] = 0x40;
        assert!(Segment::parse(&short).is_none());
    }

    #[test]
    fn an_acknowledgement_as_linux_sends_it() {
        #[rustfmt::skip]
        let bytes = [
            0x9c, 0x40, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 2, 0xb0, 0x10, 0xfa, 0xf0, 0, 0, 0, 0,
            1, 1, 5, 18, 0, 0, 0, 9, 0, 0, 0, 12, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5, 1, 1, 1, 0,
        ];
        let (_, segment, _) = Segment::parse(&bytes).unwrap();
        assert_eq!(segment.options.blocks, [(9, 12), (u32::MAX, 5), (0, 0), (0, 0)]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert!(before(u32::MAX, 0) && before(0, 1) && !before(1, 1) && !before(0, u32::MAX));
    }

    proptest! {
        #[test]
        fn what_is_emitted_reads_back(seq: u32, ack: u32, window: u16, flags in 0u8..32, mss: Option<u16>,
                                      scale in prop::option::of(0u8..15), sack_permitted: bool, count in 0usize..5) {
            let on = |bit: u8| flags >> bit & 1 == 1;
            let flags = Flags { syn: on(0), ack: on(1), rst: on(2), fin: on(3), psh: on(4) };
            let mut options = Options { mss, scale, sack_permitted, ..Options::default() };
            if !flags.syn {
                options = Options::default();
                options.blocks[..count].fill((seq, seq.wrapping_add(1)));
            }
            let segment = Segment { seq, ack, flags, window, options };
            let (bytes, len) = segment.emit((1, 2), 0);
            prop_assert_eq!(Segment::parse(&bytes[..len]), Some(((1, 2), segment, &[][..])));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Segment::parse(&bytes);
        }
    }
}
