//! Every segment is compared with the one etherparse builds from the same headers, and checked by it once more.

use super::*;
use crate::wire::fixture::{Flow, Ip, Transport, assert_valid, flow, naive_sum, tcp4};
use etherparse::{Ipv4Header, Ipv6Header, UdpHeader, ip_number};
use proptest::prelude::*;

fn finished(frame: &[u8], offload: &Offload) -> Result<Vec<Vec<u8>>, BadFrame> {
    let mut frames = Vec::new();
    let count = finish(frame, offload, |parts| frames.push(parts.concat()))?;
    assert_eq!(count, frames.len());
    Ok(frames)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 256) as u8).collect()
}

#[test]
fn flags_stay_where_they_belong() {
    let mut flow = tcp4(u32::MAX - 1000);
    let Transport::Tcp(tcp) = &mut flow.transport else { unreachable!() };
    (tcp.fin, tcp.psh, tcp.cwr) = (true, true, true);
    let (frame, offload) = flow.offloaded(&payload(2500), Some(1000));
    let frames = finished(&frame, &offload).unwrap();
    let flags: Vec<u8> = frames.iter().map(|frame| frame[47]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19]);
    let sequences: Vec<u32> =
        frames.iter().map(|frame| u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]])).collect();
    assert_eq!(sequences, [u32::MAX - 1000, u32::MAX, 999]);
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [1054, 1054, 554]);
}

#[test]
fn a_full_super_frame() {
    let flow = tcp4(1);
    let data = payload(65_535 - 40);
    let (frame, offload) = flow.offloaded(&data, Some(1448));
    let frames = finished(&frame, &offload).unwrap();
    assert_eq!(frames.len(), 46);
    assert_eq!(frames, flow.segments(&data, 1448));
}

#[test]
fn a_frame_without_payload_is_one_segment() {
    let (frame, offload) = tcp4(1).offloaded(&[], Some(1448));
    assert_eq!(finished(&frame, &offload).unwrap(), [tcp4(1).frame(&[])]);
}

#[test]
fn padding_is_not_payload() {
    let (mut frame, offload) = tcp4(1).offloaded(&payload(10), Some(8));
    frame.extend_from_slice(&[0xee; 20]);
    assert_eq!(finished(&frame, &offload).unwrap(), tcp4(1).segments(&payload(10), 8));
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let ip = Ipv4Header::new(0, 64, ip_number::UDP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
    let udp = UdpHeader { source_port: 9, destination_port: 9, length: 0, checksum: 0 };
    let flow = Flow { link: tcp4(0).link, ip: Ip::V4(ip), transport: Transport::Udp(udp) };
    let mut frame = flow.frame(&payload(100));
    frame[40..42].fill(0);
    let offload = Offload { gso: Gso::Udp, gso_size: 64, ..Offload::NONE };
    let mut wanted = flow.segments(&payload(100), 64);
    wanted.iter_mut().for_each(|frame| frame[40..42].fill(0));
    assert_eq!(finished(&frame, &offload).unwrap(), wanted);
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    let ip = Ipv4Header::new(0, 64, ip_number::UDP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
    let udp = UdpHeader { source_port: 9, destination_port: 9, length: 0, checksum: 0 };
    let flow = Flow { link: tcp4(0).link, ip: Ip::V4(ip), transport: Transport::Udp(udp) };
    // A payload that is the checksum of the same datagram with zeros makes the sum all ones.
    let data: [u8; 2] = flow.frame(&[0, 0])[40..42].try_into().unwrap();
    let (frame, offload) = flow.offloaded(&data.repeat(2), Some(2));
    let frames = finished(&frame, &offload).unwrap();
    assert_eq!(frames, flow.segments(&data.repeat(2), 2));
    assert_eq!(frames[0][40..42], [0xff, 0xff]);
}

#[test]
fn a_routing_header_leads_elsewhere() {
    let last = [0x20; 16];
    let mut routing = vec![6, 2, 2, 1, 0, 0, 0, 0];
    routing.extend_from_slice(&last);
    let header = Ipv6Header { next_header: ip_number::IPV6_ROUTE, destination: [0x10; 16], ..Default::default() };
    let flow = Flow { ip: Ip::V6(header, routing), ..tcp4(1) };
    let flow = Flow { link: [&flow.link[..12], &[0x86, 0xdd]].concat(), ..flow };
    let (mut frame, offload) = flow.offloaded(&payload(100), Some(60));
    let pseudo = |length: u8| [&[0; 16][..], &last, &[0, 0, 0, length], &[0, 0, 0, 6]].concat();
    let at = flow.transport_at();
    frame[at + 16..at + 18].copy_from_slice(&naive_sum(&pseudo(120)).to_be_bytes());
    for frame in finished(&frame, &offload).unwrap() {
        let covered = [&pseudo((frame.len() - at) as u8), &frame[at..]].concat();
        assert_eq!(naive_sum(&covered), 0xffff, "summed with the last address of the route");
    }
    let summed = Offload { checksum: Checksum::None, ..offload };
    assert_eq!(finished(&frame, &summed), Err(BadFrame::Unsupported));
}

#[test]
fn what_cannot_be_cut() {
    let (frame, offload) = tcp4(1).offloaded(&payload(4000), Some(1448));
    let with = |at: usize, value: u8| {
        let mut frame = frame.clone();
        frame[at] = value;
        finished(&frame, &offload)
    };
    assert_eq!(with(20, 0x20), Err(BadFrame::Fragment));
    assert_eq!(with(23, 51), Err(BadFrame::Unsupported));
    assert_eq!(with(12, 0x09), Err(BadFrame::Unsupported));
    assert_eq!(with(16, 0xff), Err(BadFrame::Length));
    assert_eq!(with(14, 0x44), Err(BadFrame::Length));
    assert_eq!(with(46, 0x40), Err(BadFrame::Length));
    assert_eq!(with(23, 17), Err(BadFrame::Mismatch));
    let other = |offload: Offload| finished(&frame, &offload);
    assert_eq!(other(Offload { gso: Gso::Tcp6 { ecn: false }, ..offload }), Err(BadFrame::Mismatch));
    assert_eq!(other(Offload { gso_size: 0, ..offload }), Err(BadFrame::Mismatch));
    assert_eq!(other(Offload { gso_size: 1, ..offload }), Err(BadFrame::Segments));
    let elsewhere = Checksum::Partial { start: 30, offset: 16 };
    assert_eq!(other(Offload { checksum: elsewhere, ..offload }), Err(BadFrame::Mismatch));
}

#[test]
fn headers_beyond_the_template() {
    let mut options = vec![6, 31];
    options.resize(256, 0);
    options[2..4].copy_from_slice(&[1, 252]);
    let header = Ipv6Header { next_header: ip_number::IPV6_DEST_OPTIONS, ..Default::default() };
    let flow = Flow { ip: Ip::V6(header, [options.clone(), options].concat()), ..tcp4(1) };
    let mut flow = Flow { link: [&flow.link[..12], &[0x86, 0xdd]].concat(), ..flow };
    if let Ip::V6(_, extensions) = &mut flow.ip {
        extensions[0] = ip_number::IPV6_DEST_OPTIONS.0;
    }
    let (frame, offload) = flow.offloaded(&payload(100), Some(60));
    assert_eq!(finished(&frame, &offload), Err(BadFrame::Headers));
}

#[test]
fn a_checksum_field_outside() {
    let mut frame = [0u8; 60];
    for (start, offset) in [(58, 1), (60, 0), (0, 59), (u16::MAX, u16::MAX)] {
        let checksum = Checksum::Partial { start, offset };
        assert_eq!(finish_checksum(&mut frame, checksum), Err(BadFrame::Checksum));
        assert_eq!(finished(&frame, &Offload { checksum, ..Offload::NONE }), Err(BadFrame::Checksum));
    }
    assert_eq!(finish_checksum(&mut frame, Checksum::Partial { start: 58, offset: 0 }), Ok(()));
    assert_eq!(frame[58..], [0xff, 0xff]);
}

proptest! {
    #[test]
    fn segments_are_the_frames_etherparse_builds(flow in flow(), len in 0usize..3000, size in 2u16..1500) {
        let data = payload(len);
        let (frame, offload) = flow.offloaded(&data, Some(size));
        let frames = finished(&frame, &offload).unwrap();
        frames.iter().for_each(|frame| assert_valid(frame));
        prop_assert_eq!(&frames, &flow.segments(&data, usize::from(size)));
        // The same from a frame whose checksum nobody prepared.
        let summed = Offload { checksum: Checksum::None, ..offload };
        prop_assert_eq!(finished(&flow.frame(&data), &summed).unwrap(), frames);
    }

    #[test]
    fn a_partial_checksum_is_completed(flow in flow(), len in 0usize..2000) {
        let data = payload(len);
        let (mut frame, offload) = flow.offloaded(&data, None);
        let frames = finished(&frame, &offload).unwrap();
        finish_checksum(&mut frame, offload.checksum).unwrap();
        prop_assert_eq!(&frames, &[frame.clone()]);
        let mut wanted = flow.frame(&data);
        // A TCP checksum of 0 is sent as its equal 0xffff here, as Linux does.
        let at = flow.transport_at() + 16;
        if matches!(flow.transport, Transport::Tcp(_)) && wanted[at..at + 2] == [0, 0] {
            wanted[at..at + 2].fill(0xff);
        }
        prop_assert_eq!(frame, wanted);
    }

    #[test]
    fn any_bytes_and_any_request(frame in prop::collection::vec(any::<u8>(), 0..200), header: [u8; 10]) {
        if let Ok(offload) = Offload::decode(&header) {
            let _ = finished(&frame, &offload);
        }
    }

    #[test]
    fn damaged_super_frames(flow in flow(), len in 0usize..200, size in 1u16..100, cut: prop::sample::Index,
                            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let (mut frame, offload) = flow.offloaded(&payload(len), Some(size));
        for (at, value) in damage {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        frame.truncate(1 + cut.index(frame.len() * 2));
        if let Ok(frames) = finished(&frame, &offload) {
            prop_assert!(frames.iter().all(|segment| segment.len() <= frame.len()));
        }
    }
}
