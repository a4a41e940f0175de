//! Path MTUs to guests below the switch's MTU.

use super::Bench;
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::service::machine::Service;
use crate::service::nat::guest::WHOM;
use crate::service::nat::packet::{ICMPV4, UDP};
use crate::service::station::{Ingress, Station};
use crate::wire::{Gso, Mac};

const ACK: u8 = 0x10;
const PORT: u16 = 1000;
/// MTU of a line at the end of the way.
const NARROW: u16 = 300;

/// Packets to the guest, each with the length of its longest segment.
fn sent(bench: &mut Bench) -> Vec<(Vec<u8>, usize)> {
    let (mut all, mut out) = (Vec::new(), Batch::new(4 * (PREFIX + MAX_FRAME)));
    loop {
        bench.nat.poll_transmit(bench.now, &mut bench.host, &mut out);
        for (frame, bytes) in Outgoing::rest_of(&out, 0).frames().filter(|(_, bytes)| bytes[12..14] == [8, 0]) {
            let packet = bytes[14..].to_vec();
            let longest = match frame.offload.gso {
                Gso::None => packet.len(),
                _ => 40 + usize::from(frame.offload.gso_size),
            };
            all.push((packet, longest));
        }
        out.clear();
        if !bench.nat.is_ready() {
            return all;
        }
    }
}

/// ICMP "too big" for this packet, from the router on the way.
fn tell(bench: &mut Bench, quoted: &[u8], mtu: u16) {
    let head = [&[3, 4, 0, 0, 0, 0], &mtu.to_be_bytes()[..]].concat();
    bench.packet(ICMPV4, &[&head, &quoted[..28]]);
}

/// A connection whose host gives 20,000 bytes, and its first packets to the guest.
fn download(port: u16, bench: &mut Bench, socket: u64) -> (u32, Vec<(Vec<u8>, usize)>) {
    let ack = bench.open(port, socket);
    bench.host.gives = 20_000;
    bench.tell(socket, true, false);
    (ack, sent(bench))
}

#[test]
fn segments_become_as_short_as_a_router_says() {
    let mut bench = Bench::new();
    let (mut next, first) = download(PORT, &mut bench, 1);
    assert_eq!(first[0].1, 576);
    tell(&mut bench, &first[0].0, NARROW);
    let mut got = 0;
    let mut now = sent(&mut bench);
    assert!(!now.is_empty(), "it is sent again at once");
    for _ in 0..100 {
        for (packet, longest) in now {
            assert!(longest <= NARROW.into(), "{longest}");
            assert_eq!(packet[24..28], next.to_be_bytes(), "from the first byte on, and in order");
            (got, next) = (got + packet.len() - 40, next.wrapping_add(packet.len() as u32 - 40));
        }
        bench.segment(PORT, (1, next), ACK, &[]);
        now = sent(&mut bench);
    }
    assert_eq!(got, 20_000);
    // the next connection starts with it
    let (_, second) = download(PORT + 1, &mut bench, 2);
    assert!(second.iter().all(|(_, longest)| *longest <= NARROW.into()));
}

#[test]
fn who_does_not_see_a_segment_makes_none_shorter() {
    let mut bench = Bench::new();
    let (_, first) = download(PORT, &mut bench, 1);
    let lie = |at: usize, by: u8| {
        let mut quoted = first[0].0.clone();
        quoted[at] = quoted[at].wrapping_add(by);
        quoted
    };
    // another address, port or number
    for (at, by) in [(15, 1), (21, 1), (23, 1), (24, 0x40), (27, 0xff)] {
        tell(&mut bench, &lie(at, by), NARROW);
        assert_eq!(sent(&mut bench), []);
    }
    // a guest that is kept from the others, about one of them
    bench.whom.ingress = Ingress { port: PortId(99), isolated: true };
    tell(&mut bench, &first[0].0, NARROW);
    assert_eq!(sent(&mut bench), []);
    // one that is not, and makes up the guest's MAC
    bench.whom.ingress.isolated = false;
    tell(&mut bench, &first[0].0, NARROW);
    assert_eq!(sent(&mut bench), []);
    // one that the switch may have flooded the segment to
    bench.speak_as(77);
    tell(&mut bench, &first[0].0, NARROW);
    assert_eq!(sent(&mut bench), []);
    let (_, second) = download(PORT + 1, &mut bench, 2);
    assert!(second.iter().any(|(_, longest)| *longest == 576), "and no later ones");
    bench.whom = WHOM;
    tell(&mut bench, &first[0].0, 1500);
    assert_eq!(sent(&mut bench), [], "nothing was too big for that");
    // a router that reports no MTU
    tell(&mut bench, &first[0].0, 0);
    assert!(sent(&mut bench).iter().all(|(_, longest)| *longest == 508));
}

/// The length of the longest packet of a download of the guest that every test has.
fn longest_of_guest(bench: &mut Bench, port: u16, socket: u64) -> usize {
    (bench.whom, bench.guest) = (WHOM, "10.0.2.15");
    let (_, packets) = download(port, bench, socket);
    packets.into_iter().map(|(_, longest)| longest).max().unwrap()
}

/// A datagram or connection with a forged source address is its sender's own, and so are its path MTUs, whatever MAC
/// they come from.
#[test]
fn who_uses_anothers_address_tells_of_its_own_way() {
    for mac in [Mac([2, 0, 0x5e, 0, 0x53, 77]), WHOM.mac] {
        let mut bench = Bench::new();
        bench.appear();
        bench.whom = Station { mac, ingress: Ingress { port: PortId(99), isolated: false } };
        bench.datagram(PORT);
        let head = [&[0x45, 0], &1500_u16.to_be_bytes()[..], &[0, 1, 0x40, 0, 64, UDP, 0, 0, 198, 51, 100, 7]].concat();
        let quoted = [&head, &[10, 0, 2, 15, 0, 9][..], &PORT.to_be_bytes(), &[5, 200, 0, 0]].concat();
        tell(&mut bench, &quoted, 68);
        assert_eq!(longest_of_guest(&mut bench, PORT, 2), 576, "nothing was sent to whom it was");
        bench.whom.ingress.port = PortId(99);
        bench.whom.mac = mac;
        bench.host.datagrams = vec!["198.51.100.7:9".parse().unwrap()];
        bench.host.length = 1472;
        bench.tell(1, true, false);
        let whole = sent(&mut bench).pop().unwrap().0;
        tell(&mut bench, &whole, 68);
        assert_eq!(longest_of_guest(&mut bench, PORT + 1, 3), 576, "{mac}: a datagram");
        (bench.whom.mac, bench.whom.ingress.port) = (mac, PortId(99));
        let (_, first) = download(PORT + 2, &mut bench, 4);
        tell(&mut bench, &first[0].0, 68);
        assert!(sent(&mut bench).iter().all(|(_, longest)| *longest == 296), "its own");
        assert_eq!(longest_of_guest(&mut bench, PORT + 3, 5), 576, "{mac}: a connection");
    }
}

#[test]
fn datagrams_go_in_fragments_that_may_be_cut_again() {
    for (mtu, wanted) in [(1000, vec![1500, 996, 524]), (NARROW, vec![1500, 572, 572, 396])] {
        let mut bench = Bench::new();
        let answer = |bench: &mut Bench| {
            bench.host.datagrams = vec!["198.51.100.7:9".parse().unwrap()];
            bench.host.length = 1472;
            bench.tell(1, true, false);
            sent(bench).into_iter().map(|(packet, _)| packet).collect::<Vec<_>>()
        };
        bench.datagram(PORT);
        let whole = answer(&mut bench);
        // a stranger knows nothing of the way
        bench.whom = Station { mac: Mac([2, 0, 0x5e, 0, 0x53, 77]), ..WHOM };
        tell(&mut bench, &whole[0], mtu);
        bench.whom = WHOM;
        assert_eq!(answer(&mut bench)[0].len(), 1500);
        tell(&mut bench, &whole[0], mtu);
        let fragments = answer(&mut bench);
        let lengths = whole.iter().chain(&fragments).map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths, wanted);
        assert!(fragments.iter().all(|fragment| fragment[9] == UDP && fragment[6] & 0x40 == 0), "don't fragment");
    }
}
