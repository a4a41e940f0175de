//! The radio medium under a virtual clock, with printed seeds.

use super::*;
use crate::counters::{Counters, Stage};
use crate::switch::{PortConfig, SwitchConfig};
use proptest::prelude::*;

fn medium(nodes: usize, config: RadioConfig) -> Switch {
    let mut switch = Switch::new(&SwitchConfig { radio: Some(config), ..SwitchConfig::default() });
    (0..nodes).for_each(|_| assert!(switch.add_port(PortConfig::default()).is_some()));
    switch
}

fn links(text: &str) -> RadioConfig {
    RadioConfig { links: Links::parse(text).unwrap(), ..RadioConfig::default() }
}

/// Everything that waits, as `(port, frame)`.
fn received(switch: &mut Switch) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    let mut frame = Vec::new();
    while let Some(port) = switch.poll_transmit(&mut frame) {
        all.push((port.0, frame.clone()));
    }
    all.sort();
    all
}

fn counters(switch: &Switch, port: u16) -> &Counters {
    switch.counters(PortId(port)).unwrap()
}

fn accounts_balance(switch: &Switch) {
    for id in switch.ports() {
        let counters = switch.counters(id).unwrap();
        assert_eq!(counters.rx_frames, counters.forwarded + counters.dropped_at(Stage::Ingress));
        let queued = switch.state(id).unwrap().queued as u64;
        assert_eq!(counters.copies, counters.tx_frames + queued + counters.dropped_at(Stage::Egress));
    }
}

#[test]
fn everybody_hears_everybody_else() {
    let mut switch = medium(3, RadioConfig::default());
    let ack = [0x02, 0x00, 0x2a];
    switch.handle_frame(Instant::ZERO, PortId(1), &ack);
    assert_eq!(received(&mut switch), [(0, ack.to_vec()), (2, ack.to_vec())]);
    accounts_balance(&switch);
}

#[test]
fn lengths_are_those_of_the_medium() {
    let mut switch = medium(2, RadioConfig::default());
    for len in [0, 1, 13, 127, 128, 1514] {
        switch.handle_frame(Instant::ZERO, PortId(0), &vec![7; len]);
    }
    assert_eq!(received(&mut switch).iter().map(|(_, frame)| frame.len()).collect::<Vec<_>>(), [1, 13, 127]);
    let counted = counters(&switch, 0);
    assert_eq!((counted.dropped(DropReason::Malformed), counted.dropped(DropReason::Oversize)), (1, 2));
    accounts_balance(&switch);
}

#[test]
fn out_of_range_is_no_copy() {
    let mut switch = medium(4, links("0,1,0,0\n1,0,1,0\n0,1,0,0\n0,0,0,0\n"));
    switch.handle_frame(Instant::ZERO, PortId(0), &[1]);
    switch.handle_frame(Instant::ZERO, PortId(1), &[2]);
    switch.handle_frame(Instant::ZERO, PortId(3), &[3]);
    assert_eq!(received(&mut switch), [(0, vec![2]), (1, vec![1]), (2, vec![2])]);
    assert_eq!(counters(&switch, 3).dropped(DropReason::NoEgress), 1);
    assert_eq!(counters(&switch, 3).copies, 0);
    accounts_balance(&switch);
}

#[test]
fn named_links_know_their_ports() {
    let mut switch = medium(3, links("a b\nb c\n"));
    for (port, name, known) in [(0, "c", true), (1, "stranger", false), (2, "b", true)] {
        assert_eq!(switch.name_node(PortId(port), name), known);
    }
    switch.handle_frame(Instant::ZERO, PortId(0), &[1]);
    switch.handle_frame(Instant::ZERO, PortId(1), &[2]);
    assert_eq!(received(&mut switch), [(2, vec![1])]);
}

#[test]
fn a_node_that_is_away_hears_nothing_and_its_place_is_kept() {
    let mut switch = medium(3, links("0,1,1\n1,0,1\n1,1,0\n"));
    switch.set_up(Instant::ZERO, PortId(1), false);
    switch.handle_frame(Instant::ZERO, PortId(0), &[1]);
    switch.handle_frame(Instant::ZERO, PortId(1), &[2]);
    assert_eq!(received(&mut switch), [(2, vec![1])]);
    assert_eq!(counters(&switch, 1).dropped(DropReason::IngressDown), 1);
    switch.remove_port(Instant::ZERO, PortId(1));
    assert_eq!(switch.add_port(PortConfig::default()), Some(PortId(1)));
    switch.handle_frame(Instant::ZERO, PortId(1), &[3]);
    assert_eq!(received(&mut switch), [(0, vec![3]), (2, vec![3])]);
    accounts_balance(&switch);
}

/// Which of 10,000 frames from node 0 arrive at node 1, while node 2 sends `noise` frames in between.
fn arrivals(seed: u64, noise: u64) -> Vec<u16> {
    let mut switch = medium(3, RadioConfig { seed, ..links("0,0.7,0\n1,0,1\n1,1,0\n") });
    let mut arrived = Vec::new();
    for number in 0..10_000u16 {
        (0..noise).for_each(|_| switch.handle_frame(Instant::ZERO, PortId(2), &[0xee]));
        switch.handle_frame(Instant::ZERO, PortId(0), &number.to_be_bytes());
        let frames = received(&mut switch).into_iter().filter(|(port, frame)| *port == 1 && frame.len() == 2);
        arrived.extend(frames.map(|(_, frame)| u16::from_be_bytes([frame[0], frame[1]])));
    }
    let lost = counters(&switch, 1).dropped(DropReason::RadioLoss);
    assert_eq!(arrived.len() as u64 + lost, 10_000);
    accounts_balance(&switch);
    arrived
}

#[test]
fn losses_are_as_probable_as_asked_and_repeat_with_the_seed() {
    let first = arrivals(42, 0);
    // Five standard deviations of a binomial distribution: 5·sqrt(10000·0.7·0.3) = 229.
    assert!((6771..=7229).contains(&first.len()), "{}", first.len());
    assert_eq!(first, arrivals(42, 0));
    assert_eq!(first, arrivals(42, 2), "what others send makes no difference");
    assert_ne!(first, arrivals(43, 0));
}

/// 0 and 2 are hidden from each other, 1 hears both.
fn hidden() -> Switch {
    medium(3, RadioConfig { collisions: true, ..links("0,1,0\n1,0,1\n0,1,0\n") })
}

#[test]
fn hidden_nodes_collide_and_the_first_frame_survives() {
    let mut switch = hidden();
    // 20 octets and 8 around them: 896 µs.
    switch.handle_frame(Instant::from_nanos(0), PortId(0), &[1; 20]);
    switch.handle_frame(Instant::from_nanos(895_000), PortId(2), &[2; 20]);
    switch.handle_frame(Instant::from_millis(10), PortId(2), &[3; 20]);
    assert_eq!(received(&mut switch), [(1, vec![1; 20]), (1, vec![3; 20])]);
    assert_eq!(counters(&switch, 1).dropped(DropReason::Collision), 1);
    accounts_balance(&switch);
}

/// 0, 2 and 3 are hidden from each other, 1 hears all of them.
#[test]
fn a_frame_that_collided_is_on_the_air_and_collides_with_the_next() {
    let matrix = "0,1,0,0\n1,0,1,1\n0,1,0,0\n0,1,0,0\n";
    let mut switch = medium(4, RadioConfig { collisions: true, ..links(matrix) });
    // Each takes 896 µs: from 0, from 500 and from 1000 µs; and one when the air is free, from 1896 µs on.
    for (micros, node) in [(0, 0), (500, 2), (1000, 3), (1896, 0)] {
        switch.handle_frame(Instant::from_nanos(micros * 1000), PortId(node), &[node as u8; 20]);
    }
    let heard: Vec<_> = received(&mut switch).into_iter().map(|(_, frame)| frame[0]).collect();
    assert_eq!(heard, [0, 0], "the third began while the second was on the air");
    assert_eq!(counters(&switch, 1).dropped(DropReason::Collision), 2);
    accounts_balance(&switch);
}

#[test]
fn who_hears_another_waits_so_answers_pass() {
    let mut switch = hidden();
    switch.handle_frame(Instant::ZERO, PortId(0), &[1; 100]);
    switch.handle_frame(Instant::ZERO, PortId(1), &[2, 0, 1]);
    switch.handle_frame(Instant::ZERO, PortId(1), &[4; 100]);
    assert_eq!(received(&mut switch).len(), 5, "the acknowledgement and what follows it reach both sides");
    assert_eq!(counters(&switch, 0).drops().count(), 0);
}

proptest! {
    #[test]
    fn accounts_balance_whatever_happens(
        seed: u64,
        collisions: bool,
        steps in prop::collection::vec((0u16..5, 0usize..140, 0u64..3000, any::<bool>()), 1..200),
    ) {
        let config = links("0,1,0.5,0,1\n1,0,0.9,1,0\n0.1,1,0,1,1\n1,1,1,0,0.3\n0,0,0,0,0\n");
        let mut switch = medium(5, RadioConfig { seed, collisions, ..config });
        let mut now = Instant::ZERO;
        for (port, len, micros, drain) in steps {
            now += Duration::from_micros(micros);
            switch.handle_frame(now, PortId(port), &vec![port as u8; len]);
            if drain {
                for (to, frame) in received(&mut switch) {
                    prop_assert_ne!(u16::from(frame[0]), to, "nobody hears itself");
                }
            }
            accounts_balance(&switch);
        }
    }
}
