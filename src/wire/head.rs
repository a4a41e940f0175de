//! The few words of an Ethernet header that switching needs, read with as few loads as possible.
//!
//! Everything else about a frame is read through a view; these two functions run once for every frame.

use super::view::{VLAN_TAG, is_tpid};
use etherparse::EtherType;

/// Destination and source address as numbers below 2^48 (first octet highest), or `None` when there are not even 14
/// bytes.
#[inline]
pub fn stations(frame: &[u8]) -> Option<(u64, u64)> {
    let head: &[u8; 14] = frame.first_chunk()?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *head;
    Some((u64::from_be_bytes([0, 0, d0, d1, d2, d3, d4, d5]), u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5])))
}

/// How many whole VLAN tags ([`is_tpid`]) follow the addresses: 0, 1, or 2 for two and more.
pub fn vlan_tags(frame: &[u8]) -> usize {
    let is_tag = |at: usize| match frame.get(at..at + VLAN_TAG) {
        Some(&[t0, t1, ..]) => is_tpid(EtherType(u16::from_be_bytes([t0, t1]))),
        _ => false,
    };
    match (is_tag(12), is_tag(16)) {
        (false, _) => 0,
        (true, false) => 1,
        (true, true) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Ethernet;

    #[test]
    fn words_of_a_header() {
        let frame = [0, 0, 0x5e, 0, 0x53, 1, 2, 0, 0x5e, 0, 0x53, 0x3b, 0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0];
        assert_eq!(stations(&frame), Some((0x5e00_5301, 0x0200_5e00_533b)));
        assert_eq!(stations(&frame[..13]), None);
        assert_eq!(vlan_tags(&frame), 2);
        assert_eq!(vlan_tags(&frame[..19]), 1);
        assert_eq!(vlan_tags(&frame[..15]), 0);
    }

    #[test]
    fn a_tag_is_one_to_all_who_look() {
        for tpid in [0x8100_u16, 0x88a8, 0x9100, 0x0800] {
            let frame = [&[0; 12], &tpid.to_be_bytes()[..], &[0, 1, 8, 0]].concat();
            let seen = Ethernet::new(&frame).unwrap().tag().is_some();
            assert_eq!((vlan_tags(&frame), seen), (usize::from(tpid != 0x0800), tpid != 0x0800), "{tpid:#x}");
        }
    }
}
