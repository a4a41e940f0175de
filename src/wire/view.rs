//! The Ethernet header of a frame, as a switch reads it: addresses, outer VLAN tag, where the rest begins.
//!
//! One bounds check when the view is made; after that **no accessor can panic**, whatever the bytes are. This runs for
//! every frame that is forwarded, so it reads fixed offsets and leaves everything behind the outer tag to those who ask.
//!
//! ```text
//! 0    6    12     14    16
//! dst  src  type   payload                       untagged
//! dst  src  TPID   TCI   type   payload          tagged (IEEE 802.1Q-2022, 9.3)
//! ```

use super::Mac;
use etherparse::EtherType;
use etherparse::ether_type::{PROVIDER_BRIDGING, VLAN_DOUBLE_TAGGED_FRAME, VLAN_TAGGED_FRAME};

/// Bytes of an Ethernet header: two addresses and the type.
pub const ETHERNET_HEADER: usize = 14;
/// Bytes of a VLAN tag: TPID and TCI.
pub const VLAN_TAG: usize = 4;

/// A frame without a whole Ethernet header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEthernet {
    /// Under 14 bytes.
    #[error("a frame of {0} bytes has no Ethernet header")]
    Runt(usize),
    /// The type says there is a tag, and the frame ends before the type behind it.
    #[error("the frame ends inside its VLAN tag")]
    Tag,
}

/// A VLAN tag (IEEE 802.1Q-2022, 9.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The tag protocol identifier: 0x8100, 0x88a8 or, from old equipment, 0x9100.
    pub tpid: u16,
    /// The tag control information: PCP (3 bits), DEI (1 bit), VID (12 bits).
    pub tci: u16,
}

impl Tag {
    /// The VLAN identifier, 0..=4095. 0 is a priority tag without a VLAN, 4095 is reserved.
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0..=7.
    pub const fn pcp(self) -> u8 {
        (self.tci >> 13) as u8
    }

    /// The drop eligible indicator.
    pub const fn dei(self) -> bool {
        self.tci & 0x1000 != 0
    }

    /// The four bytes between the source address and the type.
    pub const fn to_bytes(self) -> [u8; VLAN_TAG] {
        let ([a, b], [c, d]) = (self.tpid.to_be_bytes(), self.tci.to_be_bytes());
        [a, b, c, d]
    }
}

/// Whether `ether_type` announces a VLAN tag: C-tag, S-tag, or the S-tag of the time before 802.1ad.
pub const fn is_tpid(ether_type: EtherType) -> bool {
    matches!(ether_type, VLAN_TAGGED_FRAME | PROVIDER_BRIDGING | VLAN_DOUBLE_TAGGED_FRAME)
}

/// A frame with at least a whole Ethernet header, and a whole outer tag if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a> {
    frame: &'a [u8],
    header: &'a [u8; ETHERNET_HEADER],
    tag: Option<(Tag, EtherType)>,
}

impl<'a> Ethernet<'a> {
    /// The view of `frame`, which starts with the destination address and carries no FCS.
    ///
    /// # Errors
    /// [`BadEthernet`] if the header or the outer tag is cut short.
    #[inline]
    pub fn new(frame: &'a [u8]) -> Result<Self, BadEthernet> {
        let Some((header, rest)) = frame.split_first_chunk::<ETHERNET_HEADER>() else {
            return Err(BadEthernet::Runt(frame.len()));
        };
        let [.., t0, t1] = *header;
        let outer = u16::from_be_bytes([t0, t1]);
        let tag = if is_tpid(EtherType(outer)) {
            let Some(&[c0, c1, i0, i1]) = rest.first_chunk() else { return Err(BadEthernet::Tag) };
            let tag = Tag { tpid: outer, tci: u16::from_be_bytes([c0, c1]) };
            Some((tag, EtherType(u16::from_be_bytes([i0, i1]))))
        } else {
            None
        };
        Ok(Self { frame, header, tag })
    }

    /// The whole frame.
    pub const fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// The destination address.
    pub const fn destination(&self) -> Mac {
        let [a, b, c, d, e, f, ..] = *self.header;
        Mac([a, b, c, d, e, f])
    }

    /// The source address.
    pub const fn source(&self) -> Mac {
        let [_, _, _, _, _, _, a, b, c, d, e, f, _, _] = *self.header;
        Mac([a, b, c, d, e, f])
    }

    /// The outer VLAN tag, if there is one.
    pub const fn tag(&self) -> Option<Tag> {
        match self.tag {
            Some((tag, _)) => Some(tag),
            None => None,
        }
    }

    /// Whether the frame is of no VLAN: without a tag, or with one that has a priority alone (VID 0; IEEE 802.1Q-2022,
    /// 6.9). A host takes both alike.
    pub const fn is_untagged(&self) -> bool {
        match self.tag {
            Some((tag, _)) => tag.vid() == 0,
            None => true,
        }
    }

    /// The type behind the outer tag, or the only one. A value below 0x0600 is a length (IEEE 802.3, 3.2.6), and one
    /// that is a TPID again announces an inner tag.
    pub const fn ether_type(&self) -> EtherType {
        match self.tag {
            Some((_, inner)) => inner,
            None => {
                let [.., t0, t1] = *self.header;
                EtherType(u16::from_be_bytes([t0, t1]))
            }
        }
    }

    /// Where the bytes behind [`ether_type`](Self::ether_type) begin: 14, or 18 in a tagged frame.
    pub const fn payload_offset(&self) -> usize {
        if self.tag.is_some() { ETHERNET_HEADER + VLAN_TAG } else { ETHERNET_HEADER }
    }

    /// The bytes behind [`ether_type`](Self::ether_type), an inner tag and padding included.
    pub fn payload(&self) -> &'a [u8] {
        self.frame.get(self.payload_offset()..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 16] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0x5e, 0, 0x53, 0x3b, 0x08, 0x06, 0xaa, 0xbb];
    const TAGGED: [u8; 19] =
        [1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0x5e, 0, 0x53, 0x3b, 0x88, 0xa8, 0xb0, 0x64, 0x81, 0x00, 0xcc];

    #[test]
    fn untagged() {
        let view = Ethernet::new(&PLAIN).unwrap();
        assert_eq!(view.destination(), Mac::BROADCAST);
        assert_eq!(view.source().to_string(), "02:00:5e:00:53:3b");
        assert_eq!((view.tag(), view.ether_type(), view.payload_offset()), (None, EtherType(0x0806), 14));
        assert_eq!(view.payload(), [0xaa, 0xbb]);
        assert_eq!(PLAIN[6..12], view.source().0);
        assert!(view.is_untagged());
    }

    #[test]
    fn only_the_outer_tag_is_taken_off() {
        let view = Ethernet::new(&TAGGED).unwrap();
        let tag = view.tag().unwrap();
        assert_eq!((tag.tpid, tag.vid(), tag.pcp(), tag.dei()), (0x88a8, 100, 5, true));
        assert_eq!(tag.to_bytes(), [0x88, 0xa8, 0xb0, 0x64]);
        assert_eq!((view.ether_type(), view.payload_offset()), (EtherType(0x8100), 18));
        assert_eq!(view.payload(), [0xcc]);
        assert_eq!(TAGGED[14..16], tag.tci.to_be_bytes());
        assert!(!view.is_untagged());
        let mut priority = TAGGED;
        priority[14..16].copy_from_slice(&[0xb0, 0]);
        assert!(Ethernet::new(&priority).unwrap().is_untagged());
    }

    #[test]
    fn what_is_cut_short() {
        for len in 0..14 {
            assert_eq!(Ethernet::new(&TAGGED[..len]).unwrap_err(), BadEthernet::Runt(len));
        }
        for len in 14..18 {
            assert_eq!(Ethernet::new(&TAGGED[..len]).unwrap_err(), BadEthernet::Tag);
        }
        assert!(Ethernet::new(&TAGGED[..18]).unwrap().payload().is_empty());
        assert!(Ethernet::new(&PLAIN[..14]).unwrap().payload().is_empty());
    }

    proptest! {
        #[test]
        fn as_etherparse_reads_it(bytes in prop::collection::vec(any::<u8>(), 14..64), tpid in 0usize..4) {
            let mut bytes = bytes;
            if let Some(tpid) = [0x8100u16, 0x88a8, 0x9100].get(tpid) {
                bytes[12..14].copy_from_slice(&tpid.to_be_bytes());
            }
            let outer = etherparse::Ethernet2HeaderSlice::from_slice(&bytes).unwrap();
            let Ok(view) = Ethernet::new(&bytes) else {
                prop_assert!(is_tpid(outer.ether_type()) && bytes.len() < 18);
                return Ok(());
            };
            prop_assert_eq!(view.destination().0, outer.destination());
            prop_assert_eq!(view.source().0, outer.source());
            prop_assert_eq!(view.payload(), &bytes[view.payload_offset()..]);
            if let Some(tag) = view.tag() {
                let vlan = etherparse::SingleVlanHeaderSlice::from_slice(&bytes[14..]).unwrap();
                prop_assert_eq!(tag.vid(), vlan.vlan_identifier().value());
                prop_assert_eq!(tag.pcp(), vlan.priority_code_point().value());
                prop_assert_eq!(tag.dei(), vlan.drop_eligible_indicator());
                prop_assert_eq!(view.ether_type(), vlan.ether_type());
            } else {
                prop_assert_eq!(view.ether_type(), outer.ether_type());
            }
        }
    }
}
