//! Segments that become super-frames: cut again, they are the frames that went in, all of them and in order.

use super::Input;
use zbridge::internals::wire::{Coalescer, Layers, Network, Sum, finish};
use zbridge::wire::{Checksum, Gso, Offload};

const FRAMES: usize = 150;
const ACK: u8 = 0x10;

/// A flow of TCP segments.
#[derive(Clone, Copy)]
struct Flow {
    six: bool,
    port: u8,
    sequence: u32,
    id: u16,
}

/// Frames: one byte that says of which flow, one for what is odd about it, and what it wants.
pub fn coalesce(data: &[u8]) {
    let mut input = Input(data);
    let mut flows = [(false, 1), (true, 1), (false, 2)].map(|(six, port)| Flow {
        six,
        port,
        sequence: u32::MAX - 1000,
        id: u16::MAX - 5,
    });
    let mut frames: Vec<(Vec<u8>, Offload)> = Vec::new();
    while !input.is_empty() && frames.len() < FRAMES {
        let (kind, odd) = (usize::from(input.byte()), input.byte());
        let mut frame = match flows.get_mut(kind % 4) {
            Some(flow) => flow.segment(odd, &mut input),
            None => input.piece().to_vec(),
        };
        if odd & 0xc0 == 0xc0 && !frame.is_empty() {
            let at = usize::from(input.byte()) % frame.len();
            frame[at] ^= input.byte();
        }
        let offload = if kind & 0x80 == 0 { Offload::NONE } else { offload(odd, &mut input) };
        frames.push((frame, offload));
    }
    let mut coalescer = Coalescer::new();
    let (mut merged, mut total) = (Vec::new(), 0);
    let mut keep = |headers: &[u8], parts: &[&[u8]], offload| {
        assert!(!parts.is_empty());
        total += if headers.is_empty() { 1 } else { parts.len() };
        merged.push(([&[headers], parts].concat().concat(), offload));
    };
    for (frame, offload) in &frames {
        coalescer.push(frame, offload, |out| keep(out.headers, out.parts, out.offload));
    }
    coalescer.flush(|out| keep(out.headers, out.parts, out.offload));
    assert_eq!(total, frames.len(), "every frame leaves once");
    let known = frames.iter().all(|(_, offload)| *offload == Offload::NONE);
    if known {
        let mut out = Vec::new();
        for (frame, offload) in &merged {
            finish(frame, offload, |parts| out.push(parts.concat())).expect("what was merged can be cut");
        }
        assert_eq!(out.len(), frames.len());
        for (out, (frame, _)) in out.iter().zip(&frames) {
            assert!(same(out, frame), "{out:02x?} for {frame:02x?}");
        }
    }
}

impl Flow {
    /// The next segment, with right checksums.
    fn segment(&mut self, odd: u8, input: &mut Input<'_>) -> Vec<u8> {
        let payload = vec![odd; usize::from(input.byte()) * (1 + usize::from(odd & 1) * 8)];
        let flags = if odd & 2 == 0 { ACK } else { input.byte() };
        let options = usize::from(odd >> 2 & 1) * 12;
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let length = (20 + options + payload.len()) as u16;
        if self.six {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend([[0x20; 16], [0x21; 16]].concat());
        } else {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend(self.id.to_be_bytes());
            frame.extend([0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            let sum = Sum::ZERO.add_bytes(&frame[14..34]).checksum();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        frame.extend([0x10, self.port, 0x20, 0]);
        frame.extend(self.sequence.to_be_bytes());
        frame.extend([0, 0, 0, 7, (5 + options as u8 / 4) << 4, flags, 2, 0, 0, 0, 0, 0]);
        frame.extend(&[1; 12][..options]);
        frame.extend(&payload);
        if let Ok(layers) = Layers::parse(&frame) {
            let field = layers.transport_at + 16;
            let pseudo = layers.pseudo(length.into()).unwrap_or_default();
            let sum = pseudo.add_bytes(&frame[layers.transport_at..]).checksum();
            frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        if odd & 8 == 0 {
            self.sequence = self.sequence.wrapping_add(payload.len() as u32);
            self.id = self.id.wrapping_add(1);
        }
        frame
    }
}

fn offload(odd: u8, input: &mut Input<'_>) -> Offload {
    let (gso, gso_size) = if odd & 16 == 0 { (Gso::None, 0) } else { (Gso::Udp, input.word()) };
    let checksum = match odd & 32 {
        0 => Checksum::Valid,
        _ => Checksum::Partial { start: input.byte().into(), offset: input.byte().into() },
    };
    Offload { gso, gso_size, header_len: 0, checksum }
}

/// The same frame, or one whose checksums are 0 in the one and -0 in the other, which is the same (RFC 1624, section 3).
fn same(a: &[u8], b: &[u8]) -> bool {
    let plain = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        if let Ok(layers) = Layers::parse(&frame) {
            let tcp = layers.transport_at + layers.checksum_offset();
            let ip = matches!(layers.network, Network::V4(_)).then_some(layers.network_at + 10);
            for at in [Some(tcp), ip].into_iter().flatten() {
                if frame[at..at + 2] == [0xff; 2] {
                    frame[at..at + 2].fill(0);
                }
            }
        }
        frame
    };
    a == b || plain(a) == plain(b)
}
