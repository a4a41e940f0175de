//! The one law: cutting what was merged gives back the batch, frame by frame and in order.

use super::*;
use crate::wire::finish;
use crate::wire::fixture::{Flow, Ip, Transport as Header, flow, tcp4};
use proptest::prelude::*;

/// What leaves for `batch`: each frame with its offload, and of how many it was made.
fn coalesced(batch: &[Vec<u8>], offload: &Offload) -> Vec<(Vec<u8>, Offload, usize)> {
    let (mut coalescer, mut out) = (Coalescer::new(), Vec::new());
    let mut emit = |merged: Merged<'_, '_>| {
        out.push(([merged.headers, &merged.parts.concat()].concat(), merged.offload, merged.parts.len()))
    };
    batch.iter().for_each(|frame| coalescer.push(frame, offload, &mut emit));
    coalescer.flush(&mut emit);
    out
}

/// The plain frames of what left.
fn cut(out: &[(Vec<u8>, Offload, usize)]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for (frame, offload, count) in out {
        assert_eq!(finish(frame, offload, |parts| frames.push(parts.concat())), Ok(*count));
    }
    frames
}

fn counts(batch: &[Vec<u8>]) -> Vec<usize> {
    let out = coalesced(batch, &Offload::NONE);
    assert_eq!(cut(&out), batch);
    out.into_iter().map(|(_, _, count)| count).collect()
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 + index / 256) as u8).collect()
}

fn with_flags(change: impl FnOnce(&mut etherparse::TcpHeader)) -> Flow {
    let mut flow = tcp4(u32::MAX - 2000);
    let Header::Tcp(tcp) = &mut flow.transport else { unreachable!() };
    change(tcp);
    flow
}

#[test]
fn the_super_frame_a_sender_would_have_made() {
    let flow = with_flags(|tcp| (tcp.psh, tcp.cwr) = (true, true));
    let data = payload(20_000);
    let out = coalesced(&flow.segments(&data, 1448), &Offload::NONE);
    let (frame, offload) = flow.offloaded(&data, Some(1448));
    assert_eq!(out, [(frame, offload, 14)]);
}

#[test]
fn bounds() {
    // 45 segments of 1,448 bytes are 65,160: one more does not fit into an IPv4 datagram.
    assert_eq!(counts(&tcp4(1).segments(&payload(1448 * 60), 1448)), [45, 15]);
    assert_eq!(counts(&tcp4(1).segments(&payload(200), 1)), [64, 64, 64, 8]);
}

#[test]
fn what_ends_a_super_frame() {
    let two = payload(2000);
    let pushed = with_flags(|tcp| tcp.psh = true).segments(&two, 1000);
    let short = tcp4(7).segments(&two, 800);
    assert_eq!(counts(&[pushed.clone(), pushed].concat()), [2, 2]);
    assert_eq!(counts(&[short.clone(), short].concat()), [3, 3]);
    // An acknowledgement between them, and a segment of another flow.
    let frames = tcp4(1).segments(&payload(3000), 1000);
    assert_eq!(counts(&[&frames[..2], &[tcp4(1).frame(&[])], &frames[2..]].concat()), [2, 1, 1]);
    assert_eq!(counts(&[&frames[..2], &[tcp4(9).frame(&two)], &frames[2..]].concat()), [2, 1, 1]);
    // A segment missing, and one doubled.
    assert_eq!(counts(&[frames[0].clone(), frames[2].clone()]), [1, 1]);
    assert_eq!(counts(&[frames[0].clone(), frames[0].clone()]), [1, 1]);
}

/// Two segments of `flow`, the second after `change`, both with right checksums.
fn pair(flow: &Flow, change: impl FnOnce(&mut Flow)) -> Vec<Vec<u8>> {
    let mut next = flow.clone();
    if let Header::Tcp(tcp) = &mut next.transport {
        tcp.sequence_number = tcp.sequence_number.wrapping_add(1000);
    }
    if let Ip::V4(ip) = &mut next.ip {
        ip.identification = ip.identification.wrapping_add(1);
    }
    change(&mut next);
    vec![flow.frame(&payload(1000)), next.frame(&payload(1000))]
}

#[test]
fn any_other_difference_in_the_headers() {
    let flow = with_flags(|tcp| tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap());
    assert_eq!(counts(&pair(&flow, |_| ())), [2]);
    let tcp = |change: fn(&mut etherparse::TcpHeader)| {
        counts(&pair(&flow, |flow| {
            if let Header::Tcp(tcp) = &mut flow.transport {
                change(tcp);
            }
        }))
    };
    assert_eq!(tcp(|tcp| tcp.source_port += 1), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.destination_port += 1), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.acknowledgment_number += 1), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.window_size += 1), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.urgent_pointer += 1), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 2]).unwrap()), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.set_options_raw(&[]).unwrap()), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.ns = true), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.ece = true), [1, 1]);
    assert_eq!(tcp(|tcp| tcp.cwr = true), [1, 1]);
    let ip = |change: fn(&mut etherparse::Ipv4Header)| {
        counts(&pair(&flow, |flow| {
            if let Ip::V4(ip) = &mut flow.ip {
                change(ip);
            }
        }))
    };
    assert_eq!(ip(|ip| ip.identification = 0), [1, 1]);
    assert_eq!(ip(|ip| ip.time_to_live -= 1), [1, 1]);
    assert_eq!(ip(|ip| ip.dont_fragment = !ip.dont_fragment), [1, 1]);
    assert_eq!(ip(|ip| ip.dscp = etherparse::IpDscp::try_new(8).unwrap()), [1, 1]);
    assert_eq!(ip(|ip| ip.ecn = etherparse::IpEcn::CongestionExperienced), [1, 1]);
    assert_eq!(ip(|ip| ip.source[3] += 1), [1, 1]);
    assert_eq!(ip(|ip| ip.destination[3] += 1), [1, 1]);
    assert_eq!(counts(&pair(&flow, |flow| flow.link[5] += 1)), [1, 1]);
}

#[test]
fn a_short_segment_and_a_longer_one() {
    let data = payload(3000);
    let mut batch = tcp4(1).segments(&data[..1500], 1000);
    let next = |sequence, id, data: &[u8]| {
        let mut flow = tcp4(sequence);
        if let Ip::V4(ip) = &mut flow.ip {
            ip.identification = id;
        }
        flow.frame(data)
    };
    batch.push(next(1501, 2, &data[1500..2000]));
    assert_eq!(counts(&batch), [2, 1]);
    assert_eq!(counts(&[next(1, 0, &data[..1000]), next(1001, 1, &data[1000..2001])]), [1, 1]);
}

#[test]
fn padding_is_kept() {
    let mut batch = tcp4(1).segments(&payload(2000), 1000);
    batch[1].extend_from_slice(&[0; 4]);
    let out = coalesced(&batch, &Offload::NONE);
    assert_eq!(out.into_iter().map(|(frame, ..)| frame).collect::<Vec<_>>(), batch);
}

#[test]
fn what_is_never_merged() {
    let data = payload(3000);
    assert_eq!(counts(&with_flags(|tcp| tcp.syn = true).segments(&data, 1500)), [1, 1]);
    assert_eq!(counts(&with_flags(|tcp| tcp.rst = true).segments(&data, 1500)), [1, 1]);
    assert_eq!(counts(&with_flags(|tcp| tcp.urg = true).segments(&data, 1500)), [1, 1]);
    assert_eq!(counts(&with_flags(|tcp| tcp.ack = false).segments(&data, 1500)), [1, 1]);
    let mut options = tcp4(1);
    let Ip::V4(ip) = &mut options.ip else { unreachable!() };
    ip.options = etherparse::Ipv4Options::from([1, 1, 1, 1]);
    assert_eq!(counts(&options.segments(&data, 1500)), [1, 1]);
}

#[test]
fn a_damaged_segment_is_not_laundered() {
    for (damaged, wanted) in [(0, vec![1, 4]), (2, vec![2, 1, 2]), (4, vec![4, 1])] {
        for at in [14 + 20, 14 + 8, 60] {
            let mut frames = tcp4(1).segments(&payload(5000), 1000);
            frames[damaged][at] ^= 0x10;
            assert_eq!(counts(&frames), wanted, "byte {at} of segment {damaged}");
        }
    }
}

#[test]
fn who_vouches_is_believed() {
    let mut frames = tcp4(1).segments(&payload(2000), 1000);
    frames[1][60] ^= 1;
    let merged = |checksum| coalesced(&frames, &Offload { checksum, ..Offload::NONE }).len();
    assert_eq!(merged(Checksum::Valid), 1);
    assert_eq!(merged(Checksum::Partial { start: 34, offset: 16 }), 1);
    assert_eq!(merged(Checksum::Partial { start: 33, offset: 16 }), 2);
    assert_eq!(merged(Checksum::None), 2);
}

proptest! {
    #[test]
    fn cutting_gives_back_the_batch(
        flows in prop::collection::vec((flow(), 0usize..5000, 100usize..1500), 1..5),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..80, any::<u8>()), 0..3),
        swaps in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..3),
    ) {
        let mut batch: Vec<Vec<u8>> =
            flows.iter().flat_map(|(flow, len, size)| flow.segments(&payload(*len), *size)).collect();
        for (frame, at, value) in damage {
            let frame = frame.index(batch.len());
            if let Some(byte) = batch[frame].get_mut(at) { *byte = value; }
        }
        for [a, b] in swaps {
            let (a, b) = (a.index(batch.len()), b.index(batch.len()));
            batch.swap(a, b);
        }
        prop_assert_eq!(cut(&coalesced(&batch, &Offload::NONE)), batch);
    }

    #[test]
    fn an_undisturbed_flow_merges(flow in flow(), size in 100usize..1448, segments in 2usize..40) {
        let mut flow = flow;
        let Header::Tcp(tcp) = &mut flow.transport else { return Ok(()) };
        (tcp.ack, tcp.urg) = (true, false);
        match &mut flow.ip {
            Ip::V4(header) => header.options = etherparse::Ipv4Options::new(),
            Ip::V6(header, extensions) => {
                header.next_header = etherparse::ip_number::TCP;
                extensions.clear();
            }
        }
        let data = payload(size * segments);
        let (frame, offload) = flow.offloaded(&data, Some(size as u16));
        prop_assert_eq!(coalesced(&flow.segments(&data, size), &Offload::NONE), [(frame, offload, segments)]);
    }

    #[test]
    fn any_bytes(batch in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..6)) {
        prop_assert_eq!(cut(&coalesced(&batch, &Offload::NONE)), batch);
    }
}
