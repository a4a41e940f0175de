//! What the ground costs a frame: checksum, segmentation, coalescing, SLIP. The naive byte loops beside them are what a
//! straightforward program does, for comparison.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use etherparse::PacketBuilder;
use zbridge::internals::codec::slip;
use zbridge::internals::wire::{Coalescer, Ethernet, Sum, finish};
use zbridge::wire::{Checksum, Gso, Offload};

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [64, 1514, 65_000];

/// Repeatable bytes, evenly spread: one in 128 is END or ESC (xorshift64*).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A plain frame of `len` bytes of payload over TCP and IPv4.
fn tcp(sequence: u32, identification: u16, payload: &[u8]) -> Vec<u8> {
    let mut ip =
        etherparse::Ipv4Header::new(0, 64, etherparse::ip_number::TCP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
    ip.identification = identification;
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()))
        .tcp(5001, 40_000, sequence, 512)
        .ack(1);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).unwrap();
    frame
}

#[divan::bench(args = SIZES)]
fn ethernet_view(bencher: Bencher, len: usize) {
    let frame = noise(len);
    bencher.counter(ItemsCount::new(1u8)).bench_local(|| {
        let view = Ethernet::new(black_box(&frame)).unwrap();
        (view.destination().as_u64(), view.source().as_u64(), view.tag().map(|tag| tag.vid()))
    });
}

#[divan::bench(args = SIZES)]
fn checksum(bencher: Bencher, len: usize) {
    let bytes = noise(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| Sum::ZERO.add_bytes(black_box(&bytes)).checksum());
}

#[divan::bench(args = SIZES)]
fn checksum_naive(bencher: Bencher, len: usize) {
    let bytes = noise(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        let mut sum = 0u32;
        for pair in black_box(&bytes[..]).chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    });
}

/// A super-frame into plain frames in one buffer, as an egress port without offload takes them.
#[divan::bench(args = [536, 1448])]
fn segment(bencher: Bencher, size: u16) {
    let frame = tcp(1, 1, &noise(65_000));
    let checksum = Checksum::Partial { start: 34, offset: 16 };
    let offload = Offload { gso: Gso::Tcp4 { ecn: false }, gso_size: size, header_len: 54, checksum };
    let mut out: Vec<u8> = Vec::with_capacity(1 << 18);
    bencher.counter(BytesCount::new(frame.len())).bench_local(|| {
        out.clear();
        let into = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        finish(black_box(&frame), &offload, into)
    });
}

#[divan::bench]
fn finish_checksum(bencher: Bencher) {
    let frame = tcp(1, 1, &noise(1448));
    let offload = Offload { checksum: Checksum::Partial { start: 34, offset: 16 }, ..Offload::NONE };
    bencher.counter(BytesCount::new(frame.len())).bench_local(|| {
        finish(black_box(&frame), &offload, |parts| {
            black_box(parts);
        })
    });
}

/// A stream of plain segments into super-frames, checksums verified.
#[divan::bench]
fn coalesce(bencher: Bencher) {
    let payload = noise(1448);
    let batch: Vec<Vec<u8>> = (0..64u16).map(|index| tcp(u32::from(index) * 1448, index, &payload)).collect();
    bencher.counter(BytesCount::new(batch.iter().map(Vec::len).sum::<usize>())).bench_local(|| {
        let mut coalescer = Coalescer::new();
        let mut count = 0;
        for frame in black_box(&batch) {
            coalescer.push(frame, &Offload::NONE, |merged| count += merged.parts.len());
        }
        coalescer.flush(|merged| count += merged.parts.len());
        count
    });
}

#[divan::bench(args = SIZES)]
fn slip_encode(bencher: Bencher, len: usize) {
    let frame = noise(len);
    let mut out = Vec::with_capacity(slip::max_encoded(len));
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        slip::encode(black_box(&frame), &mut out);
        out.len()
    });
}

#[divan::bench(args = SIZES)]
fn slip_encode_naive(bencher: Bencher, len: usize) {
    let frame = noise(len);
    let mut out = Vec::with_capacity(slip::max_encoded(len));
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        out.push(slip::END);
        for byte in black_box(&frame[..]) {
            match *byte {
                slip::END => out.extend_from_slice(&[slip::ESC, slip::ESC_END]),
                slip::ESC => out.extend_from_slice(&[slip::ESC, slip::ESC_ESC]),
                byte => out.push(byte),
            }
        }
        out.push(slip::END);
        out.len()
    });
}

/// Text has no END or ESC: the decoder hands it out in place.
fn text(len: usize) -> Vec<u8> {
    (0..len).map(|index| b' ' + (index % 90) as u8).collect()
}

fn slip_decode_line(bencher: Bencher, frame: &[u8]) {
    let mut line = Vec::new();
    for _ in 0..(65_536 / frame.len()).max(1) {
        slip::encode(frame, &mut line);
    }
    let mut decoder = slip::Decoder::new(frame.len());
    bencher.counter(BytesCount::new(line.len())).bench_local(|| {
        let (mut input, mut sum) = (black_box(&line[..]), 0);
        while let Some(slip::Event::Frame(frame)) = decoder.next(&mut input) {
            sum += frame.len();
        }
        sum
    });
}

#[divan::bench(args = SIZES)]
fn slip_decode(bencher: Bencher, len: usize) {
    slip_decode_line(bencher, &noise(len));
}

#[divan::bench(args = SIZES)]
fn slip_decode_text(bencher: Bencher, len: usize) {
    slip_decode_line(bencher, &text(len));
}

#[divan::bench(args = SIZES)]
fn slip_decode_naive(bencher: Bencher, len: usize) {
    let mut line = Vec::new();
    for _ in 0..(65_536 / len).max(1) {
        slip::encode(&noise(len), &mut line);
    }
    let mut frame = Vec::with_capacity(len);
    bencher.counter(BytesCount::new(line.len())).bench_local(|| {
        let (mut escaped, mut sum) = (false, 0);
        for byte in black_box(&line[..]) {
            match (*byte, std::mem::take(&mut escaped)) {
                (slip::END, _) => {
                    sum += frame.len();
                    frame.clear();
                }
                (slip::ESC, _) => escaped = true,
                (slip::ESC_END, true) => frame.push(slip::END),
                (slip::ESC_ESC, true) => frame.push(slip::ESC),
                (byte, _) => frame.push(byte),
            }
        }
        sum
    });
}
