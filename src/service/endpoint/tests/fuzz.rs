//! Whatever comes, an endpoint goes on. Built with overflow checks and debug assertions, so a panic anywhere below is
//! found here.

use proptest::prelude::*;
use smoltcp::wire::{Icmpv4Packet, Ipv4Packet, Ipv6Packet, TcpPacket};

use super::net::{Faults, Net, Rng, config};
use crate::service::endpoint::{Endpoint, EndpointConfig};
use crate::time::{Duration, Instant};

/// Makes length and checksums of a frame right again, so that it is not turned away at the door.
pub(super) fn mend(frame: &mut [u8]) {
    let Some((header, packet)) = frame.split_first_chunk_mut::<14>() else { return };
    match header[12..] {
        [0x08, 0x00] => mend_v4(packet),
        [0x86, 0xdd] => mend_v6(packet),
        _ => {}
    }
}

fn mend_v4(packet: &mut [u8]) {
    if packet.len() < 40 {
        return;
    }
    let len = packet.len() as u16;
    packet[0] = 0x45;
    let mut ip = Ipv4Packet::new_unchecked(&mut *packet);
    ip.set_total_len(len);
    ip.fill_checksum();
    let (src, dst) = (ip.src_addr().into(), ip.dst_addr().into());
    match packet[9] {
        6 => TcpPacket::new_unchecked(&mut packet[20..]).fill_checksum(&src, &dst),
        1 => Icmpv4Packet::new_unchecked(&mut packet[20..]).fill_checksum(),
        _ => {}
    }
}

fn mend_v6(packet: &mut [u8]) {
    if packet.len() < 60 {
        return;
    }
    let len = (packet.len() - 40) as u16;
    packet[0] = 0x60;
    let mut ip = Ipv6Packet::new_unchecked(&mut *packet);
    ip.set_payload_len(len);
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    match packet[6] {
        6 => TcpPacket::new_unchecked(&mut packet[40..]).fill_checksum(&src.into(), &dst.into()),
        58 => smoltcp::wire::Icmpv6Packet::new_unchecked(&mut packet[40..]).fill_checksum(&src, &dst),
        _ => {}
    }
}

/// One frame changed by chance: bytes, length, or the fields of TCP that decide most.
fn mutate(rng: &mut Rng, frame: &mut Vec<u8>) {
    let tcp = if frame.get(12..14) == Some(&[0x86, 0xdd]) { 54 } else { 34 };
    match rng.below(8) {
        0 => {
            let at = rng.below(frame.len() as u64) as usize;
            frame[at] = rng.next() as u8;
        }
        1 => frame.truncate(rng.below(frame.len() as u64 + 1) as usize),
        2 => frame.extend((0..rng.below(64)).map(|at| at as u8)),
        // A byte of sequence or acknowledgement number, flags, window, or an option.
        3 => set(frame, tcp + 4 + rng.below(8) as usize, rng.next() as u8),
        4 => set(frame, tcp + 13, rng.next() as u8 & 0x3f),
        5 => set(frame, tcp + 14 + rng.below(2) as usize, rng.next() as u8),
        6 => set(frame, tcp + 20 + rng.below(20) as usize, rng.next() as u8),
        // A sequence number near this one.
        _ => {
            let near = rng.below(5000) as u32;
            if let Some(bytes) = frame.get_mut(tcp + 4..).and_then(|bytes| bytes.first_chunk_mut::<4>()) {
                *bytes = u32::from_be_bytes(*bytes).wrapping_add(near).wrapping_sub(2500).to_be_bytes();
            }
        }
    }
}

fn set(frame: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = frame.get_mut(at) {
        *byte = value;
    }
}

/// Small windows, so that their edges are met often.
fn small(config: &mut EndpointConfig) {
    config.limits.window = 4096;
    config.limits.connections = 16;
}

/// Two hosts talk; frames of the last moments come again, changed, to either of them.
fn harass(seed: u64) {
    let mut net = Net::with(seed, Faults { loss: 20, repeat: 20, ..Faults::NONE }, small);
    let mut rng = Rng(!seed);
    net.record = Some(Vec::new());
    net.listen();
    for round in 0..6 {
        let remote = if rng.below(2) == 0 { "192.0.2.2:3240" } else { "[2001:db8::2]:3240" };
        let conn = net.hosts[0].connect(net.now, remote.parse().unwrap());
        net.run(Duration::from_millis(30), |net| {
            chat(net, &mut rng);
            inject(net, &mut rng);
            false
        });
        if let (Ok(conn), 0) = (conn, round % 2) {
            net.hosts[0].shutdown(conn);
        }
        net.pass(Duration::from_secs(rng.below(40)));
    }
    // Both still live.
    for host in 0..2 {
        let at = net.now + Duration::from_secs(120);
        net.hosts[host].handle_timeout(at);
    }
    assert!(net.hosts.iter().all(|host| host.connections() <= 16));
}

/// Sends and reads a little on every connection that has said something.
fn chat(net: &mut Net, rng: &mut Rng) {
    for host in 0..2 {
        for event in std::mem::take(&mut net.events[host]) {
            use crate::service::endpoint::Event::*;
            match event {
                Accepted { conn, .. } | Connected(conn) | Readable(conn) | Writable(conn) => {
                    net.read(host, conn);
                    net.hosts[host].send(conn, &vec![1; rng.below(3000) as usize]);
                    if rng.below(20) == 0 {
                        net.hosts[host].shutdown(conn);
                    }
                }
                PeerClosed(conn) => net.hosts[host].shutdown(conn),
                Closed(..) | EchoReply { .. } => {}
            }
        }
    }
}

fn inject(net: &mut Net, rng: &mut Rng) {
    let Some(record) = &net.record else { return };
    let recent = record.len().min(20) as u64;
    let mut frames = Vec::new();
    for _ in 0..4 {
        let Some((from, frame)) = record.get(record.len().wrapping_sub(1 + rng.below(recent) as usize)) else { return };
        let mut frame = frame.clone();
        for _ in 0..=rng.below(3) {
            if !frame.is_empty() {
                mutate(rng, &mut frame);
            }
        }
        if rng.below(8) != 0 {
            mend(&mut frame);
        }
        frames.push((1 - from, frame));
    }
    for (to, frame) in frames {
        net.hosts[to].handle_frame(net.now, &frame);
    }
}

proptest! {

    #[test]
    fn mutated_traffic_never_panics(seed: u64) {
        harass(seed);
    }

    #[test]
    fn random_bytes_never_panic(
        frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), 0u8..6), 1..40),
    ) {
        let mut host = Endpoint::new(&config(1, 1)).unwrap();
        host.listen(3240, 4).unwrap();
        for (at, (body, kind)) in frames.into_iter().enumerate() {
            let now = Instant::from_millis(at as u64 * 100);
            let mut frame = match kind {
                0 => body,
                1 => [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0], &body].concat(),
                2 => [&[2, 0, 0x5e, 0, 0x53, 2, 2, 0, 0, 0, 0, 9, 8, 0, 0x45], &body[..]].concat(),
                3 => [&[2, 0, 0x5e, 0, 0x53, 2, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60], &body[..]].concat(),
                4 => addressed_v4(&body),
                _ => addressed_v6(&body),
            };
            mend(&mut frame);
            host.handle_frame(now, &frame);
            host.poll_transmit(now, 100, &mut |_| {});
        }
    }
}

/// An IPv4 packet to the host; the body begins with its protocol, one of three.
fn addressed_v4(body: &[u8]) -> Vec<u8> {
    let protocol = [1, 6, 17][usize::from(body.first().copied().unwrap_or(0)) % 3];
    let mut frame = vec![2, 0, 0x5e, 0, 0x53, 2, 2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend(body.iter().skip(1));
    frame
}

/// An IPv6 packet to the host; the body begins with its protocol, one of three.
fn addressed_v6(body: &[u8]) -> Vec<u8> {
    let protocol = [58, 6, 0][usize::from(body.first().copied().unwrap_or(0)) % 3];
    let mut frame = vec![2, 0, 0x5e, 0, 0x53, 2, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 255];
    frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    frame.extend(body.iter().skip(1));
    frame
}

/// A flood costs no more than its frames do: queues stay bounded.
#[test]
fn a_flood_of_requests_stays_bounded() {
    let mut host = Endpoint::new(&config(1, 1)).unwrap();
    host.listen(3240, 64).unwrap();
    let mut frame = addressed_v4(&[0; 1]);
    frame[23] = 6;
    frame.extend([0, 0, 0x0c, 0xa8, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    for at in 0..20_000u32 {
        let [_, _, high, low] = at.to_be_bytes();
        frame[28] = 192 + (at % 16) as u8;
        frame[34..36].copy_from_slice(&[0x80 | high, low]);
        mend(&mut frame);
        host.handle_frame(Instant::from_nanos(at.into()), &frame);
    }
    let stats = host.stats();
    assert!(host.connections() <= 64, "{}", host.connections());
    assert!(stats.backlogged + stats.refused > 19_000, "{stats:?}");
    let mut given = 0;
    host.poll_transmit(Instant::from_secs(1), usize::MAX, &mut |_| given += 1);
    assert!(given < 3000, "{given}");
}
