//! Memory of flows, and flows that wait for it.

mod ends;
mod lossy;

use super::*;
use crate::service::nat::tests::Bench;

const SYN: u8 = 2;
const ACK: u8 = 0x10;

#[test]
fn of_a_syn_its_beginning_is_kept() {
    let mut bench = Bench::new();
    bench.segment(1000, (0, 0), SYN, &[7; 1400]);
    let flow = bench.nat.tcp.flows.get(0).unwrap();
    assert_eq!(flow.quote.len(), icmp::QUOTE);
}

#[test]
fn a_flow_waits_for_memory_once() {
    let mut bench = Bench::new();
    bench.host.gives = usize::MAX;
    let mut next = [bench.open(1000, 1), bench.open(1001, 2)];
    for round in 0..20 {
        if round == 2 {
            // as if others held it all
            bench.nat.tcp.held += 2 * NAT_MEMORY;
        }
        bench.tell(1, true, false);
        bench.tell(2, true, false);
        let said = bench.said();
        for (port, next) in (1000_u16..).zip(&mut next) {
            let mine = said.iter().filter(|packet| packet[22..24] == port.to_be_bytes());
            *next = next.wrapping_add(mine.map(|packet| packet.len() as u32 - 40).sum());
            bench.segment(port, (1, *next), ACK, &[]);
        }
    }
    bench.said();
    assert_eq!(bench.nat.tcp.starved.len(), 2);
    bench.nat.tcp.remove(Instant::ZERO, 0, &mut bench.host, (true, End::Evicted));
    assert_eq!(bench.nat.tcp.starved.len(), 1);
    assert!(!bench.nat.tcp.is_ready());
    bench.nat.tcp.held -= 2 * NAT_MEMORY;
    assert!(bench.nat.tcp.is_ready());
}
