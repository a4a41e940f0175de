//! A super-frame inside of a tunnel: VXLAN, GENEVE, GRE, IP in IP.
//!
//! How it works. The offload says where the checksum to be completed begins: at the transport header of the packet
//! inside. Its network header ends there, so it is found backwards from that place, whatever encapsulation lies before
//! it; an IPv4 header proves itself by its checksum. Of the headers outside, those things change from segment to segment
//! that Linux changes (`net/ipv4/udp_offload.c`, `gre_offload.c`, `af_inet.c`): the lengths, the identification of IPv4,
//! and the checksum of UDP where it has one.

use super::put;
use crate::wire::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::wire::layers::{BadFrame, Layers, Network, network_at, network_header};
use crate::wire::{Checksum, Gso, Offload};
use etherparse::{EtherType, IpNumber, ether_type, ip_number};

/// IPv4 headers have 5 to 15 words of 4 bytes.
const IPV4_WORDS: std::ops::RangeInclusive<usize> = 5..=15;
/// Flags of GRE whose fields would differ from segment to segment: a checksum and a sequence number (RFC 2890).
const GRE_CHANGES: u8 = 0x90;

/// The headers outside, as far as they change from segment to segment.
pub(super) struct Outer {
    network: usize,
    /// The first segment's identification; `None` for IPv6.
    id: Option<u16>,
    udp: Option<Udp>,
}

/// The UDP header outside.
struct Udp {
    at: usize,
    /// The sum of the pseudo header without its length; `None` where the sender wanted no checksum.
    pseudo: Option<Sum>,
}

/// The headers of a super-frame that lies in a tunnel, and those around it; `None` where there is no tunnel.
///
/// # Errors
/// [`BadFrame::Unsupported`] for a tunnel whose own headers cannot be made for each segment.
pub(super) fn find<'a>(frame: &'a [u8], offload: &Offload) -> Result<Option<(Layers<'a>, Outer)>, BadFrame> {
    let Checksum::Partial { start, .. } = offload.checksum else { return Ok(None) };
    let (ether_type, network) = network_at(frame)?;
    let packet = frame.get(network..).unwrap_or_default();
    let Ok((header, protocol, header_len, _)) = network_header(ether_type, packet) else { return Ok(None) };
    let (start, behind) = (usize::from(start), network + header_len);
    let Some(length) = start.checked_sub(behind).filter(|&length| length > 0) else { return Ok(None) };
    let around = frame.get(behind..behind + length).ok_or(BadFrame::Length)?;
    let udp = udp_outside(&header, protocol, behind, around)?;
    let (ether_type, at) = inside(frame, behind, start, offload.gso).ok_or(BadFrame::Mismatch)?;
    let layers = Layers::parse_at(frame, ether_type, at)?;
    let id = match &header {
        Network::V4(header) => Some(header.identification()),
        Network::V6 { .. } => None,
    };
    Ok(Some((layers, Outer { network, id, udp })))
}

/// Whether a super-frame lies in a tunnel. Only super-frames cost a look at their headers.
pub fn is_tunnelled(frame: &[u8], offload: &Offload) -> bool {
    let Checksum::Partial { start, .. } = offload.checksum else { return false };
    if offload.gso == Gso::None {
        return false;
    }
    let Ok((ether_type, network)) = network_at(frame) else { return false };
    let found = network_header(ether_type, frame.get(network..).unwrap_or_default());
    found.is_ok_and(|(_, _, header_len, _)| network + header_len < usize::from(start))
}

/// The part of the outer protocol that is made anew for each segment.
fn udp_outside(network: &Network<'_>, protocol: IpNumber, at: usize, header: &[u8]) -> Result<Option<Udp>, BadFrame> {
    match (protocol, header) {
        (ip_number::UDP, &[_, _, _, _, _, _, c0, c1, ..]) => {
            let pseudo = match network {
                _ if [c0, c1] == [0, 0] => None,
                Network::V4(ip) => Some(pseudo_v4(ip.source(), ip.destination(), protocol.0, 0)),
                Network::V6 { header, en_route: false } => {
                    Some(pseudo_v6(header.source(), header.destination(), protocol.0, 0))
                }
                Network::V6 { en_route: true, .. } => return Err(BadFrame::Unsupported),
            };
            Ok(Some(Udp { at, pseudo }))
        }
        (ip_number::GRE, &[flags, ..]) if flags & GRE_CHANGES == 0 => Ok(None),
        (ip_number::IPV4 | ip_number::IPV6, _) => Ok(None),
        _ => Err(BadFrame::Unsupported),
    }
}

/// The network header that ends at `start` and begins behind `least`.
fn inside(frame: &[u8], least: usize, start: usize, gso: Gso) -> Option<(EtherType, usize)> {
    let four = || {
        IPV4_WORDS.filter_map(|words| start.checked_sub(words * 4)).filter(|&at| at >= least).find(|&at| {
            let header = frame.get(at..start).unwrap_or_default();
            let is_header = header.first() == Some(&(0x40 | ((start - at) / 4) as u8));
            is_header && Sum::ZERO.add_bytes(header).checksum() == 0
        })
    };
    let six = || {
        let at = start.checked_sub(40).filter(|&at| at >= least)?;
        let &[first, _, _, _, l0, l1] = frame.get(at..)?.first_chunk()?;
        let ends = start + usize::from(u16::from_be_bytes([l0, l1])) <= frame.len();
        (first >> 4 == 6 && ends).then_some(at)
    };
    match gso {
        Gso::Tcp4 { .. } => Some((ether_type::IPV4, four()?)),
        Gso::Tcp6 { .. } => Some((ether_type::IPV6, six()?)),
        Gso::Udp => four().map(|at| (ether_type::IPV4, at)).or_else(|| Some((ether_type::IPV6, six()?))),
        Gso::None => None,
    }
}

impl Outer {
    /// Makes the headers outside those of segment `index`. `bytes` are all headers, those inside finished; `chunk` is
    /// the payload behind them.
    pub(super) fn patch(&self, bytes: &mut [u8], index: usize, chunk: &[u8]) {
        // None of it is longer than the super-frame was: these fit in their fields, `index` wraps on purpose.
        let length = (bytes.len() - self.network + chunk.len()) as u16;
        match self.id {
            Some(id) => {
                put(bytes, self.network + 2, length.to_be_bytes());
                put(bytes, self.network + 4, id.wrapping_add(index as u16).to_be_bytes());
                put(bytes, self.network + 10, [0; 2]);
                let words = bytes.get(self.network).map_or(5, |first| usize::from(first & 0x0f));
                let header = bytes.get(self.network..self.network + words * 4).unwrap_or_default();
                let sum = Sum::ZERO.add_bytes(header).checksum();
                put(bytes, self.network + 10, sum.to_be_bytes());
            }
            None => put(bytes, self.network + 4, length.saturating_sub(40).to_be_bytes()),
        }
        let Some(udp) = &self.udp else { return };
        let length = (bytes.len() - udp.at + chunk.len()) as u16;
        put(bytes, udp.at + 4, length.to_be_bytes());
        if let Some(pseudo) = udp.pseudo {
            put(bytes, udp.at + 6, [0; 2]);
            let headers = bytes.get(udp.at..).unwrap_or_default();
            let chunk_sum = Sum::ZERO.add_bytes(chunk).folded();
            // A chunk that begins at an odd place has its bytes the other way round.
            let chunk_sum = if headers.len().is_multiple_of(2) { chunk_sum } else { chunk_sum.swap_bytes() };
            let sum = pseudo.add_u16(length).add_bytes(headers).add_u16(chunk_sum);
            put(bytes, udp.at + 6, sum.checksum_nonzero().to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finish;
    use super::*;
    use crate::wire::fixture::{Flow, Ip, Transport, naive_sum, tcp4};
    use etherparse::{Ipv4Header, Ipv6Header, UdpHeader};
    use proptest::prelude::*;

    const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0, 5, 0];
    const GENEVE: [u8; 12] = [1, 0, 0x65, 0x58, 0, 0, 5, 0, 9, 9, 9, 9];

    /// The tunnel's own headers over IPv4 or IPv6, with UDP.
    fn outer(six: bool) -> Flow {
        let ip = match six {
            false => Ip::V4(Ipv4Header::new(0, 64, ip_number::UDP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap()),
            true => Ip::V6(
                Ipv6Header {
                    next_header: ip_number::UDP,
                    hop_limit: 64,
                    source: [0x20; 16],
                    destination: [0x21; 16],
                    ..Ipv6Header::default()
                },
                Vec::new(),
            ),
        };
        let udp = UdpHeader { source_port: 50_000, destination_port: 4789, length: 0, checksum: 0 };
        let kind = if six { [0x86, 0xdd] } else { [8, 0] };
        let link = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind].concat();
        Flow { link, ip, transport: Transport::Udp(udp) }
    }

    /// A frame of the tunnel around `inner`, the `index`th of a super-frame.
    fn around(mut outer: Flow, between: &[u8], inner: &[u8], index: usize, summed: bool) -> Vec<u8> {
        if let Ip::V4(ip) = &mut outer.ip {
            ip.identification = ip.identification.wrapping_add(index as u16);
        }
        let mut frame = outer.frame(&[between, inner].concat());
        if !summed {
            let at = outer.transport_at() + 6;
            frame[at..at + 2].fill(0);
        }
        frame
    }

    fn cut(frame: &[u8], offload: &Offload) -> Result<Vec<Vec<u8>>, BadFrame> {
        let mut frames = Vec::new();
        finish(frame, offload, |parts| frames.push(parts.concat())).map(|_| frames)
    }

    /// The offload of a super-frame that has moved inwards.
    fn moved(offload: &Offload, by: usize) -> Offload {
        offload.shifted(by as i16).unwrap()
    }

    proptest! {
        #[test]
        fn each_segment_is_a_frame_of_the_tunnel(
            flow in crate::wire::fixture::flow(), length in 0..4000_usize, size in 60..1400_u16, six: bool,
            summed: bool, geneve: bool,
        ) {
            let between: &[u8] = if geneve { &GENEVE } else { &VXLAN };
            // extension headers inside are not looked for, and a tag goes with the frame inside
            if matches!(&flow.ip, Ip::V6(_, extensions) if !extensions.is_empty()) {
                return Ok(());
            }
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (inner, offload) = flow.offloaded(&payload, Some(size));
            let outer = outer(six);
            let frame = around(outer.clone(), between, &inner, 0, summed);
            let offload = moved(&offload, frame.len() - inner.len());
            prop_assert!(is_tunnelled(&frame, &offload));
            let wanted: Vec<Vec<u8>> = flow.segments(&payload, size.into()).iter().enumerate()
                .map(|(index, inner)| around(outer.clone(), between, inner, index, summed)).collect();
            prop_assert_eq!(cut(&frame, &offload).unwrap(), wanted);
        }

        #[test]
        fn any_bytes(mut frame in prop::collection::vec(any::<u8>(), 0..300), start: u8, offset in 0..20_u16, kind in 0..3) {
            if let Some(rest) = frame.get_mut(12..15) {
                rest.copy_from_slice(&[8, 0, 0x45]);
            }
            let gso = [Gso::Tcp4 { ecn: false }, Gso::Tcp6 { ecn: true }, Gso::Udp][kind as usize];
            let checksum = Checksum::Partial { start: start.into(), offset };
            let offload = Offload { gso, gso_size: 10, header_len: 0, checksum };
            is_tunnelled(&frame, &offload);
            let _ = cut(&frame, &offload);
        }
    }

    #[test]
    fn ip_in_ip_and_gre_are_cut_and_what_counts_frames_is_not() {
        let payload: Vec<u8> = (0..3000).map(|at| at as u8).collect();
        let (inner, offload) = tcp4(9).offloaded(&payload, Some(1000));
        let tunnel = |protocol, between: &[u8], inner: &[u8], id| {
            let mut ip = Ipv4Header::new(0, 64, protocol, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
            ip.identification = id;
            ip.set_payload_len(between.len() + inner.len()).unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            let mut frame = tcp4(0).link;
            ip.write_raw(&mut frame).unwrap();
            [&frame[..], between, inner].concat()
        };
        for (protocol, between) in [(ip_number::IPV4, &[][..]), (ip_number::GRE, &[0, 0, 8, 0])] {
            let frame = tunnel(protocol, between, &inner[14..], 7);
            let offload = moved(&offload, frame.len() - inner.len());
            let wanted: Vec<Vec<u8>> = (7..)
                .zip(tcp4(9).segments(&payload, 1000))
                .map(|(id, segment)| tunnel(protocol, between, &segment[14..], id))
                .collect();
            assert_eq!(cut(&frame, &offload).unwrap(), wanted);
        }
        let counted = tunnel(ip_number::GRE, &[0x10, 0, 8, 0, 0, 0, 0, 1], &inner[14..], 7);
        let offload = moved(&offload, counted.len() - inner.len());
        assert_eq!(cut(&counted, &offload), Err(BadFrame::Unsupported));
    }

    #[test]
    fn what_is_in_no_tunnel_is_none() {
        let (frame, offload) = tcp4(1).offloaded(&[1; 5000], Some(1000));
        assert!(!is_tunnelled(&frame, &offload));
        assert!(!is_tunnelled(&frame, &Offload::NONE));
        assert_eq!(naive_sum(&cut(&frame, &offload).unwrap()[0][14..34]), 0xffff);
    }
}
