//! Ports with impairments in a switch, under a clock that the test moves.

use super::*;
use crate::counters::Stage;
use crate::switch::{Chance, Loss, PortConfig, Share, SwitchConfig};
use crate::time::Duration;

const MS: Duration = Duration::from_millis(1);
const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn frame(to: [u8; 6], from: [u8; 6], number: u32) -> Vec<u8> {
    [&to[..], &from, &[0x88, 0xb5], &number.to_be_bytes(), &[0; 42]].concat()
}

/// A switch with ports a, b and c, of which a and b are known.
fn bench() -> (Switch, [PortId; 3]) {
    let mut switch = Switch::new(&SwitchConfig::with(|it| it.fate_seed = 9));
    let ids = [(); 3].map(|()| switch.add_port(PortConfig::default()).unwrap());
    switch.add_static(Instant::ZERO, crate::wire::Mac(A), ids[0]);
    switch.add_static(Instant::ZERO, crate::wire::Mac(B), ids[1]);
    (switch, ids)
}

fn impairment(set: impl FnOnce(&mut Impairment)) -> Impairment {
    let mut impairment = Impairment::default();
    set(&mut impairment);
    impairment
}

/// The numbers that left by `port` until now.
fn left(switch: &mut Switch, port: PortId) -> Vec<u32> {
    let (mut out, mut found) = (Vec::new(), Vec::new());
    while let Some(id) = switch.poll_transmit(&mut out) {
        if id == port {
            found.push(u32::from_be_bytes(out[14..18].try_into().unwrap()));
        }
    }
    found
}

/// Everything that came in went on or ended, and every copy is somewhere.
fn balances(switch: &Switch, ids: &[PortId]) {
    let (mut copies, mut ended) = (0, 0);
    for &id in ids {
        let counters = switch.counters(id).unwrap();
        assert_eq!(counters.rx_frames, counters.forwarded + counters.dropped_at(Stage::Ingress));
        let [_, held] = switch.held(id);
        copies += counters.copies;
        ended +=
            counters.tx_frames + counters.dropped_at(Stage::Egress) + (switch.state(id).unwrap().queued + held) as u64;
    }
    assert_eq!(copies, ended);
}

#[test]
fn what_is_delayed_on_either_way_arrives_at_its_time() {
    for way in Way::BOTH {
        let (mut switch, ids) = bench();
        let id = if way == Way::In { ids[0] } else { ids[1] };
        switch.impair(id, way, "x", impairment(|it| it.delay = 20 * MS));
        for number in 0..3 {
            switch.handle_frame(Instant::ZERO + MS * number, ids[0], &frame(B, A, number));
        }
        let held = if way == Way::In { [3, 0] } else { [0, 3] };
        assert_eq!((left(&mut switch, ids[1]), switch.held(id)), (vec![], held), "{way:?}");
        balances(&switch, &ids);
        for number in 0..3 {
            let due = Instant::ZERO + MS * (20 + number);
            assert_eq!(switch.poll_timeout(), Some(due));
            switch.handle_timeout(due);
            assert_eq!(left(&mut switch, ids[1]), [number], "{way:?}");
            balances(&switch, &ids);
        }
        assert_eq!((switch.poll_timeout(), switch.held(id)), (None, [0, 0]));
    }
}

#[test]
fn losses_are_counted_with_their_reason_on_their_port() {
    let (mut switch, ids) = bench();
    let half = || impairment(|it| it.loss = Loss::Random(Chance::of(Share::of(0.5))));
    switch.impair(ids[0], Way::In, "a", half());
    switch.impair(ids[1], Way::Out, "b", half());
    for number in 0..1000 {
        switch.handle_frame(Instant::ZERO, ids[0], &frame(B, A, number));
    }
    let arrived = left(&mut switch, ids[1]).len() as u64;
    let (rx, tx) = (switch.counters(ids[0]).unwrap(), switch.counters(ids[1]).unwrap());
    let (rx_lost, tx_lost) = (rx.dropped(DropReason::RxLost), tx.dropped(DropReason::TxLost));
    assert_eq!(arrived + rx_lost + tx_lost, 1000);
    assert!((400..600).contains(&rx_lost) && (180..320).contains(&tx_lost), "{rx_lost} {tx_lost}");
    assert_eq!((rx.rx_frames, tx.copies), (1000, 1000 - rx_lost));
    balances(&switch, &ids);
}

#[test]
fn one_direction_of_one_port_is_impaired_and_nothing_else() {
    let (mut switch, ids) = bench();
    let all = impairment(|it| it.loss = Loss::Random(Chance::of(Share::ALL)));
    switch.impair(ids[1], Way::Out, "b", all.clone());
    switch.handle_frame(Instant::ZERO, ids[1], &frame(A, B, 1));
    switch.handle_frame(Instant::ZERO, ids[0], &frame([0xff; 6], A, 2));
    assert_eq!(switch.counters(ids[1]).unwrap().dropped(DropReason::TxLost), 1);
    let mut out = Vec::new();
    let mut to = Vec::new();
    while let Some(id) = switch.poll_transmit(&mut out) {
        to.push(id);
    }
    to.sort_unstable();
    assert_eq!(to, [ids[0], ids[2]]);
    assert_eq!(switch.impairment(ids[1], Way::Out), Some(&all));
    switch.impair(ids[1], Way::Out, "b", Impairment::default());
    assert_eq!(switch.impairment(ids[1], Way::Out), None);
    switch.handle_frame(Instant::ZERO, ids[0], &frame(B, A, 3));
    assert_eq!(left(&mut switch, ids[1]), [3]);
}

#[test]
fn the_fate_of_a_port_does_not_depend_on_the_others() {
    let run = |others: bool| {
        let (mut switch, ids) = bench();
        for (id, name) in [(ids[0], "a"), (ids[2], "c")] {
            switch.impair(id, Way::In, name, impairment(|it| it.loss = Loss::Random(Chance::of(Share::of(0.3)))));
        }
        for number in 0..500 {
            if others {
                switch.handle_frame(Instant::ZERO, ids[2], &frame([0xff; 6], [2, 0, 0, 0, 0, 0xc], 9999));
            }
            switch.handle_frame(Instant::ZERO, ids[0], &frame(B, A, number));
        }
        left(&mut switch, ids[1]).into_iter().filter(|&number| number < 9999).collect::<Vec<_>>()
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn what_is_held_goes_with_its_port() {
    for (down, reason) in [(true, DropReason::LinkDown), (false, DropReason::Removed)] {
        let (mut switch, ids) = bench();
        switch.impair(ids[1], Way::Out, "b", impairment(|it| it.delay = MS));
        switch.impair(ids[1], Way::In, "b", impairment(|it| it.delay = MS));
        switch.handle_frame(Instant::ZERO, ids[0], &frame(B, A, 1));
        switch.handle_frame(Instant::ZERO, ids[1], &frame(A, B, 2));
        let counters = if down {
            switch.set_up(Instant::ZERO, ids[1], false);
            balances(&switch, &ids);
            switch.counters(ids[1]).unwrap().clone()
        } else {
            switch.remove_port(Instant::ZERO, ids[1]).unwrap()
        };
        assert_eq!((counters.dropped(reason), counters.dropped(DropReason::IngressDown)), (1, 1));
        assert_eq!(switch.poll_timeout(), None);
        switch.handle_timeout(Instant::ZERO + 5 * MS);
        assert_eq!(left(&mut switch, ids[0]), [0; 0]);
    }
}

#[test]
fn a_line_that_is_full_drops_and_says_so() {
    let (mut switch, ids) = bench();
    for (id, way) in [(ids[0], Way::In), (ids[1], Way::Out)] {
        switch.impair(id, way, "x", impairment(|it| (it.delay, it.limit) = (MS, 3)));
    }
    (0..5).for_each(|number| switch.handle_frame(Instant::ZERO, ids[0], &frame(B, A, number)));
    switch.handle_timeout(Instant::ZERO + MS);
    assert_eq!((switch.held(ids[0]), switch.held(ids[1])), ([0, 0], [0, 3]));
    (5..8).for_each(|number| switch.handle_frame(Instant::ZERO + MS, ids[0], &frame(B, A, number)));
    assert_eq!(switch.counters(ids[0]).unwrap().dropped(DropReason::RxFull), 2);
    switch.handle_timeout(Instant::ZERO + 2 * MS);
    assert_eq!(switch.counters(ids[1]).unwrap().dropped(DropReason::TxFull), 0);
    assert_eq!(left(&mut switch, ids[1]), [0, 1, 2]);
    balances(&switch, &ids);
}
