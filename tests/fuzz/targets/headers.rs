//! Frames as they are read and finished: the views of their headers, checksums, segments cut from super-frames.

use super::Input;
use std::hint::black_box;
use zbridge::frame::MAX_FRAME;
use zbridge::internals::wire::{
    BadFrame, Ethernet, Layers, MAX_SEGMENTS, Network, Sum, Transport, finish, finish_checksum, is_tunnelled, longest,
    stations, update, vlan_tags,
};
use zbridge::wire::{Checksum, Gso, Mac, Offload};

/// A frame.
pub fn view(data: &[u8]) {
    let Ok(view) = Ethernet::new(data) else {
        assert!(data.len() < 18);
        black_box((stations(data), vlan_tags(data)));
        return;
    };
    assert_eq!(stations(data), Some((view.destination().as_u64(), view.source().as_u64())));
    assert_eq!(view.payload(), &data[view.payload_offset()..]);
    match view.tag() {
        Some(tag) => assert_eq!(data[12..16], tag.to_bytes()),
        None => assert_eq!(vlan_tags(data), 0),
    }
    let destination = view.destination();
    assert_eq!(destination.to_string().parse(), Ok(destination));
    assert_eq!(Mac::from_u64(destination.as_u64()), destination);
    if let Ok(layers) = Layers::parse(data) {
        check_layers(data, &layers);
    }
}

fn check_layers(frame: &[u8], layers: &Layers<'_>) {
    let at = [layers.network_at, layers.transport_at, layers.payload_at, layers.end, frame.len()];
    assert!(at[0] >= 14 && at[0] < at[1] && at[1] < at[2] && at.is_sorted(), "{at:?} of {layers:?}");
    assert!(layers.transport_at + layers.checksum_offset() + 2 <= layers.payload_at);
    black_box(layers.pseudo(layers.transport_len() as u32));
}

/// The ten bytes of a `virtio_net_hdr`, then a frame. An eleventh byte before them says whether the header is decoded
/// as a TAP's is, or stands for an offload that no header can give.
pub fn offload(data: &[u8]) {
    let mut input = Input(data);
    let wild = input.byte() & 1 == 1;
    let Some(header) = input.take(Offload::LEN).first_chunk() else { return };
    let frame = &input.0[..input.0.len().min(MAX_FRAME)];
    let offload = if wild { wild_offload(header) } else { Offload::decode(header).unwrap_or_default() };
    if !wild {
        assert_eq!(Offload::decode(&offload.encode()), Ok(offload));
    }
    for by in [-4, 4] {
        if let Ok(moved) = offload.shifted(by) {
            assert_eq!(moved.is_plain(), offload.is_plain());
        }
    }
    let mut made: Vec<Vec<u8>> = Vec::new();
    let finished = finish(frame, &offload, |parts| made.push(parts.concat()));
    match finished {
        Ok(count) => assert_eq!(count, made.len()),
        Err(_) => assert!(made.is_empty(), "all or nothing"),
    }
    if offload.gso != Gso::None {
        match (finished, offload.checksum) {
            (Ok(_), Checksum::Partial { start, .. }) if is_tunnelled(frame, &offload) => {
                check_tunnelled(frame, &offload, usize::from(start), &made);
            }
            (Ok(_), _) => check_segments(frame, &offload, &made),
            (Err(_), _) => {}
        }
        return;
    }
    let mut whole = frame.to_vec();
    let in_place = finish_checksum(&mut whole, offload.checksum);
    assert_eq!(in_place, finished.map(drop));
    assert_eq!(whole, made.pop().unwrap_or_else(|| frame.to_vec()));
}

fn wild_offload(header: &[u8; Offload::LEN]) -> Offload {
    let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = *header;
    let ecn = kind & 0x80 != 0;
    Offload {
        gso: [Gso::None, Gso::Tcp4 { ecn }, Gso::Tcp6 { ecn }, Gso::Udp][usize::from(kind & 3)],
        gso_size: u16::from_ne_bytes([g0, g1]),
        header_len: u16::from_ne_bytes([h0, h1]),
        checksum: match flags & 3 {
            0 => Checksum::None,
            1 => Checksum::Valid,
            _ => Checksum::Partial { start: u16::from_ne_bytes([s0, s1]), offset: u16::from_ne_bytes([o0, o1]) },
        },
    }
}

/// The segments of a super-frame carry its payload, each with headers of its own that are right.
fn check_segments(frame: &[u8], offload: &Offload, made: &[Vec<u8>]) {
    assert!((1..=MAX_SEGMENTS).contains(&made.len()));
    let super_frame = Layers::parse(frame).expect("what was cut has headers");
    let mut payload = &frame[super_frame.payload_at..super_frame.end];
    let size = usize::from(offload.gso_size);
    for segment in made {
        let layers = Layers::parse(segment).expect("a segment is a frame");
        check_layers(segment, &layers);
        let (here, rest) = payload.split_at(size.min(payload.len()));
        payload = rest;
        assert_eq!((&segment[layers.payload_at..], layers.end), (here, segment.len()));
        if let Network::V4(_) = layers.network {
            assert_eq!(Sum::ZERO.add_bytes(&segment[layers.network_at..layers.transport_at]).checksum(), 0);
        }
        let seeded = matches!(offload.checksum, Checksum::Partial { .. });
        let unsummed = matches!(&layers.transport, Transport::Udp(udp) if udp.checksum() == 0);
        if let Some(pseudo) = layers.pseudo(layers.transport_len() as u32).filter(|_| !seeded && !unsummed) {
            assert_eq!(pseudo.add_bytes(&segment[layers.transport_at..]).checksum(), 0);
        }
    }
    assert!(payload.is_empty());
    assert_eq!(longest(frame, offload), made.iter().map(Vec::len).max());
}

/// The segments of a super-frame in a tunnel, whose transport header is at `inside`: headers outside that are right, and
/// inside a piece of its payload.
fn check_tunnelled(frame: &[u8], offload: &Offload, inside: usize, made: &[Vec<u8>]) {
    let header = match offload.gso {
        Gso::Udp => 8,
        _ => usize::from(frame[inside + 12] >> 4) * 4,
    };
    let mut payload = Vec::new();
    for (number, segment) in made.iter().enumerate() {
        match Layers::parse(segment) {
            Ok(layers) => {
                check_layers(segment, &layers);
                assert_eq!(layers.end, segment.len());
                if let Network::V4(_) = layers.network {
                    assert_eq!(Sum::ZERO.add_bytes(&segment[layers.network_at..layers.transport_at]).checksum(), 0);
                }
            }
            // GRE and IP in IP have no transport header outside.
            Err(error) => assert_eq!(error, BadFrame::Unsupported),
        }
        let piece = &segment[inside + header..];
        assert!(piece.len() == usize::from(offload.gso_size) || number + 1 == made.len());
        payload.extend_from_slice(piece);
    }
    assert!(frame[inside + header..].starts_with(&payload));
    assert_eq!(longest(frame, offload), made.iter().map(Vec::len).max());
}

/// Two bytes that say where to cut and what to change, then what is summed.
pub fn checksum(data: &[u8]) {
    let mut input = Input(data);
    let (cut, new) = (usize::from(input.byte()), input.word());
    let bytes = input.0;
    let naive = bytes
        .chunks(2)
        .fold(0_u64, |sum, pair| sum + u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let naive = std::iter::successors(Some(naive), |sum| Some((sum >> 16) + (sum & 0xffff))).nth(4).unwrap_or(0);
    let sum = Sum::ZERO.add_bytes(bytes);
    assert_eq!(u64::from(sum.folded()), naive);
    assert_eq!(sum.checksum(), !sum.folded());
    assert_ne!(sum.checksum_nonzero(), 0);
    let (head, tail) = bytes.split_at((cut & !1).min(bytes.len() & !1));
    assert_eq!(Sum::ZERO.add_bytes(tail).join(Sum::ZERO.add_bytes(head)).folded(), sum.folded());
    // Only a sum that is not of zeros alone can be brought up to date (RFC 1624, section 3).
    if let Some(([a, b], rest)) = bytes.split_first_chunk().filter(|(_, rest)| rest.iter().any(|&byte| byte != 0)) {
        let whole = Sum::ZERO.add_u16(new).add_bytes(rest).checksum();
        assert_eq!(update(sum.checksum(), u16::from_be_bytes([*a, *b]), new), whole);
    }
}
