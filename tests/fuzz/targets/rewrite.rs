//! Frames whose addresses are translated at a port.

use super::Input;
use zbridge::internals::wire::{Layers, Network, Rewriter, Sum, Transport};
use zbridge::wire::{Mac, Offload, Rule};

/// The ten bytes of a `virtio_net_hdr`, then a frame of the station 02:00:5e:00:53:3b, 192.0.2.1.
pub fn rewrite(data: &[u8]) {
    let mut input = Input(data);
    let Some(header) = input.take(Offload::LEN).first_chunk() else { return };
    let offload = Offload::decode(header).unwrap_or_default();
    let frame = input.0;
    let macs = Rule::MacPair(Mac([2, 0, 0x5e, 0, 0x53, 0x3b]), Mac([2, 0, 0, 0, 0, 1]));
    let ips = Rule::Ip([192, 0, 2, 1].into(), [192, 0, 2, 11].into());
    let six = Rule::Ip6("2001:db8::1".parse().expect("an address"), "2001:db8::11".parse().expect("an address"));
    let rewriter = Rewriter::new("fuzz", &[macs, ips, six]).expect("there are rules");
    let mut once = frame.to_vec();
    rewriter.clone().inbound(&mut once, &offload);
    assert_eq!(once.len(), frame.len());
    if offload.is_plain() {
        assert!(!has_right_checksums(frame) || has_right_checksums(&once), "a right checksum became wrong");
    }
    // A wrong checksum may come back as its equal, of which there are two for 0; after that nothing changes any more.
    let mut thrice = once.clone();
    rewriter.outbound(&mut thrice, &offload);
    rewriter.outbound(&mut thrice, &offload);
    assert_eq!(thrice, once);
    let mut learning = Rewriter::new("fuzz", &[Rule::Mac]).expect("there is a rule");
    let mut there = frame.to_vec();
    learning.inbound(&mut there, &offload);
    if let (Some(before), Some(after)) = (frame.get(6..12), there.get(6..12)) {
        let station = before[0] & 1 == 0 && before != [0; 6];
        assert_eq!(after == Mac::made_of("fuzz").0, station || before == Mac::made_of("fuzz").0);
    }
}

fn has_right_checksums(frame: &[u8]) -> bool {
    let Ok(layers) = Layers::parse(frame) else { return false };
    let sums = |from, to| frame.get(from..to).is_some_and(|bytes| Sum::ZERO.add_bytes(bytes).checksum() == 0);
    let unsummed = matches!(&layers.transport, Transport::Udp(udp) if udp.checksum() == 0);
    let datagram = frame.get(layers.transport_at..layers.end).unwrap_or_default();
    let pseudo = layers.pseudo(layers.transport_len() as u32);
    let transport = unsummed || pseudo.is_some_and(|sum| sum.add_bytes(datagram).checksum() == 0);
    transport && (matches!(layers.network, Network::V6 { .. }) || sums(layers.network_at, layers.transport_at))
}
