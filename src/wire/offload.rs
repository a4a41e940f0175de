//! The offload of a frame: a checksum still to be completed, a super-frame still to be segmented.
//!
//! Linux hands this over as `struct virtio_net_hdr` in front of each frame of a TAP or packet socket. [`Offload`] is
//! its typed form and travels with the frame, so that a 64 KiB super-frame passes whole between ports that understand
//! it. [`super::finish`] turns it into plain frames for ports that do not.
//!
//! ```text
//! byte  0      1         2..4     4..6      6..8        8..10
//!       flags  gso_type  hdr_len  gso_size  csum_start  csum_offset      native endian (linux/virtio_net.h)
//! ```

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`.
const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, a flag beside the type.
const GSO_ECN: u8 = 0x80;

/// The work left on a frame before a peer without offloads may see it. The default is none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Offload {
    /// How the frame is to be cut.
    pub gso: Gso,
    /// Payload bytes of each segment but the last; 0 exactly when `gso` is [`Gso::None`].
    pub gso_size: u16,
    /// The sender's hint at the length of all headers in bytes, 0 if it gave none. Nothing here relies on it: the
    /// headers are parsed where their length matters.
    pub header_len: u16,
    /// The state of the transport checksum.
    pub checksum: Checksum,
}

/// How a super-frame is to be cut into segments.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Gso {
    /// Not at all.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4 {
        /// The first segment carries CWR (RFC 3168, 6.1.2), the others must not.
        ecn: bool,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// As in [`Gso::Tcp4`].
        ecn: bool,
    },
    /// UDP over either: one datagram a segment (`VIRTIO_NET_HDR_GSO_UDP_L4`, "USO").
    Udp,
}

/// The state of a frame's transport checksum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Checksum {
    /// The frame is as it is: nobody looked.
    #[default]
    None,
    /// The sender vouches for it (`VIRTIO_NET_HDR_F_DATA_VALID`).
    Valid,
    /// To be completed: sum from `start` to the end of the frame, write at `start + offset`, where the sender left the
    /// sum of the pseudo header (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    Partial {
        /// First byte to be summed, counted from the start of the frame.
        start: u16,
        /// Where the checksum field is, counted from `start`.
        offset: u16,
    },
}

/// A `virtio_net_hdr` that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadOffload {
    /// A flag that was never agreed on.
    #[error("unknown vnet_hdr flags {0:#04x}")]
    Flags(u8),
    /// A kind of segmentation that was never agreed on (UFO and tunnels among them).
    #[error("unknown vnet_hdr gso_type {0:#04x}")]
    Type(u8),
    /// A super-frame without a segment size.
    #[error("vnet_hdr asks for segments of 0 bytes")]
    SegmentSize,
    /// Moved out of the range of the header's 16-bit fields.
    #[error("vnet_hdr checksum start out of range")]
    Start,
}

impl Offload {
    /// Nothing to do, nothing known.
    pub const NONE: Self = Self { gso: Gso::None, gso_size: 0, header_len: 0, checksum: Checksum::None };

    /// Bytes of a `virtio_net_hdr`.
    pub const LEN: usize = 10;

    /// Whether the frame can go to any port as it is: no cut, no checksum to complete.
    pub const fn is_plain(&self) -> bool {
        matches!(self.gso, Gso::None) && !matches!(self.checksum, Checksum::Partial { .. })
    }

    /// Reads a `virtio_net_hdr`.
    ///
    /// # Errors
    /// Unknown flags or types, and a super-frame without a segment size. The frame behind such a header is a drop.
    pub const fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, BadOffload> {
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        let checksum = match flags {
            0 => Checksum::None,
            DATA_VALID => Checksum::Valid,
            flags if flags & !(NEEDS_CSUM | DATA_VALID) != 0 => return Err(BadOffload::Flags(flags)),
            _ => Checksum::Partial { start: u16::from_ne_bytes([s0, s1]), offset: u16::from_ne_bytes([o0, o1]) },
        };
        let ecn = kind & GSO_ECN != 0;
        let gso = match kind & !GSO_ECN {
            0 if !ecn => Gso::None,
            GSO_TCPV4 => Gso::Tcp4 { ecn },
            GSO_TCPV6 => Gso::Tcp6 { ecn },
            GSO_UDP_L4 if !ecn => Gso::Udp,
            _ => return Err(BadOffload::Type(kind)),
        };
        let gso_size = match (gso, u16::from_ne_bytes([g0, g1])) {
            (Gso::None, _) => 0,
            (_, 0) => return Err(BadOffload::SegmentSize),
            (_, size) => size,
        };
        Ok(Self { gso, gso_size, header_len: u16::from_ne_bytes([h0, h1]), checksum })
    }

    /// Writes a `virtio_net_hdr`.
    pub const fn encode(&self) -> [u8; Self::LEN] {
        let (flags, start, offset) = match self.checksum {
            Checksum::None => (0, 0, 0),
            Checksum::Valid => (DATA_VALID, 0, 0),
            Checksum::Partial { start, offset } => (NEEDS_CSUM, start, offset),
        };
        let kind = match self.gso {
            Gso::None => 0,
            Gso::Tcp4 { ecn } => GSO_TCPV4 | if ecn { GSO_ECN } else { 0 },
            Gso::Tcp6 { ecn } => GSO_TCPV6 | if ecn { GSO_ECN } else { 0 },
            Gso::Udp => GSO_UDP_L4,
        };
        let ([h0, h1], [g0, g1]) = (self.header_len.to_ne_bytes(), self.gso_size.to_ne_bytes());
        let ([s0, s1], [o0, o1]) = (start.to_ne_bytes(), offset.to_ne_bytes());
        [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// The same request after `by` bytes were put in (a VLAN tag pushed: 4) or taken out (popped: -4) in front of the
    /// network header.
    ///
    /// # Errors
    /// [`BadOffload::Start`] when the checksum's start would leave the 16 bits of its field.
    pub const fn shifted(mut self, by: i16) -> Result<Self, BadOffload> {
        if self.header_len != 0 {
            // A hint, so it saturates; the kernel refuses one longer than the frame.
            self.header_len = self.header_len.saturating_add_signed(by);
        }
        if let Checksum::Partial { start, offset } = self.checksum {
            let Some(start) = start.checked_add_signed(by) else { return Err(BadOffload::Start) };
            self.checksum = Checksum::Partial { start, offset };
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(flags: u8, kind: u8, fields: [u16; 4]) -> [u8; 10] {
        let mut bytes = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (slot, field) in bytes[2..].chunks_exact_mut(2).zip(fields) {
            slot.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn stays_small() {
        assert!(size_of::<Offload>() <= 12);
    }

    #[test]
    fn reads_what_a_tap_sends() {
        // A super-frame of TCPv4 with CWR behind one VLAN tag.
        let bytes = header(1, 0x81, [70, 1448, 38, 16]);
        let offload = Offload::decode(&bytes).unwrap();
        assert_eq!(offload.gso, Gso::Tcp4 { ecn: true });
        assert_eq!((offload.gso_size, offload.header_len), (1448, 70));
        assert_eq!(offload.checksum, Checksum::Partial { start: 38, offset: 16 });
        assert!(!offload.is_plain());
        assert_eq!(offload.encode(), bytes);
        assert_eq!(Offload::decode(&[0; 10]), Ok(Offload::NONE));
        assert!(Offload::decode(&header(2, 0, [0; 4])).unwrap().is_plain());
    }

    #[test]
    fn refuses_what_was_not_agreed_on() {
        assert_eq!(Offload::decode(&header(4, 0, [0; 4])), Err(BadOffload::Flags(4)));
        assert_eq!(Offload::decode(&header(1, 3, [0, 1400, 34, 6])), Err(BadOffload::Type(3)));
        assert_eq!(Offload::decode(&header(0, 0x80, [0; 4])), Err(BadOffload::Type(0x80)));
        assert_eq!(Offload::decode(&header(0, 0x85, [0, 9, 0, 0])), Err(BadOffload::Type(0x85)));
        assert_eq!(Offload::decode(&header(1, 1, [54, 0, 34, 16])), Err(BadOffload::SegmentSize));
    }

    #[test]
    fn a_tag_moves_the_checksum() {
        let checksum = Checksum::Partial { start: 34, offset: 16 };
        let offload = Offload { header_len: 54, checksum, ..Offload::NONE };
        let tagged = offload.shifted(4).unwrap();
        assert_eq!(tagged.checksum, Checksum::Partial { start: 38, offset: 16 });
        assert_eq!(tagged.header_len, 58);
        assert_eq!(tagged.shifted(-4), Ok(offload));
        let odd = Offload { checksum: Checksum::Partial { start: 3, offset: 0 }, ..Offload::NONE };
        assert_eq!(odd.shifted(-4), Err(BadOffload::Start));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes: [u8; 10]) {
            if let Ok(offload) = Offload::decode(&bytes) {
                prop_assert_eq!(Offload::decode(&offload.encode()), Ok(offload));
            }
        }

        #[test]
        fn sensible_headers_decode(flags in 0u8..4, kind in prop::sample::select(&[0u8, 1, 4, 5, 0x81, 0x84][..]),
                                   fields in prop::array::uniform4(1u16..)) {
            let offload = Offload::decode(&header(flags, kind, fields)).unwrap();
            prop_assert_eq!(Offload::decode(&offload.encode()), Ok(offload));
        }
    }
}
