//! What monitors get, and what they do not.

use super::*;
use crate::counters::Stage;
use crate::switch::{PortConfig, SwitchConfig};
use crate::time::Instant;

const A: u8 = 0;
const B: u8 = 1;
const MONITOR: u8 = 2;
const OTHER: u8 = 3;

/// A switch of four ports that knows a station on each.
fn lab(mirrors: &[(u8, u8, bool, bool)]) -> Switch {
    let mut switch = Switch::new(&SwitchConfig::default());
    for _ in 0..4 {
        switch.add_port(PortConfig::default()).unwrap();
    }
    for port in 0..4 {
        switch.handle_frame(Instant::ZERO, PortId(port.into()), &frame(0xff, port, &[]));
    }
    received(&mut switch);
    switch.set_mirrors(mirrors.iter().map(|&(monitor, source, rx, tx)| mirror(monitor, source, rx, tx)).collect());
    switch
}

fn mirror(monitor: u8, source: u8, rx: bool, tx: bool) -> Mirror {
    Mirror { monitor: PortId(monitor.into()), source: PortId(source.into()), rx, tx }
}

/// From the station on port `from` to that on `to`; 0xff: to all.
fn frame(to: u8, from: u8, tags: &[u8]) -> Vec<u8> {
    let to = if to == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, to] };
    [&to[..], &[2, 0, 0, 0, 0, from], tags, &[0x88, 0xb5], &[from; 46]].concat()
}

/// The ports that have got a frame, in order, with its bytes.
fn received(switch: &mut Switch) -> Vec<(u8, Vec<u8>)> {
    let (mut all, mut bytes) = (Vec::new(), Vec::new());
    while let Some(port) = switch.poll_transmit(&mut bytes) {
        all.push((port.0 as u8, bytes.clone()));
    }
    for id in switch.ports() {
        let (counters, state) = (switch.counters(id).unwrap(), switch.state(id).unwrap());
        let dropped = counters.dropped_at(Stage::Egress);
        assert_eq!(counters.copies, counters.tx_frames + state.queued as u64 + dropped);
    }
    all.sort();
    all
}

/// Who gets a frame from `from` to `to`.
fn who(switch: &mut Switch, from: u8, to: u8) -> Vec<u8> {
    switch.handle_frame(Instant::ZERO, PortId(from.into()), &frame(to, from, &[]));
    received(switch).into_iter().map(|(port, _)| port).collect()
}

#[test]
fn a_monitor_gets_either_way_or_both() {
    let both = &mut lab(&[(MONITOR, A, true, true)]);
    assert_eq!(who(both, A, B), [B, MONITOR]);
    assert_eq!(who(both, B, A), [A, MONITOR]);
    assert_eq!(who(both, B, OTHER), [OTHER], "of others nothing");
    let rx = &mut lab(&[(MONITOR, A, true, false)]);
    assert_eq!((who(rx, A, B), who(rx, B, A)), (vec![B, MONITOR], vec![A]));
    let tx = &mut lab(&[(MONITOR, A, false, true)]);
    assert_eq!((who(tx, A, B), who(tx, B, A)), (vec![B], vec![A, MONITOR]));
    tx.set_mirrors(Vec::new());
    assert_eq!(who(tx, B, A), [A]);
}

#[test]
fn each_frame_once_and_nothing_of_its_own() {
    let switch = &mut lab(&[(MONITOR, A, true, true), (MONITOR, B, true, true)]);
    assert_eq!(who(switch, A, B), [B, MONITOR], "for two reasons");
    assert_eq!(who(switch, A, 0xff), [B, MONITOR, OTHER], "for three");
    assert_eq!(who(switch, A, MONITOR), [MONITOR]);
    assert_eq!(who(switch, MONITOR, A), [A]);
    assert_eq!(who(switch, MONITOR, 0xff), [A, B, OTHER]);
}

#[test]
fn a_mirror_of_a_mirror_ends() {
    let switch = &mut lab(&[(MONITOR, A, true, true), (OTHER, MONITOR, true, true), (MONITOR, OTHER, true, true)]);
    assert_eq!(who(switch, A, B), [B, MONITOR], "a copy is not copied again");
    assert_eq!(who(switch, A, MONITOR), [MONITOR, OTHER], "what is for the monitor itself is");
    assert_eq!(who(switch, OTHER, MONITOR), [MONITOR]);
}

#[test]
fn tags_are_kept_and_drops_are_shown() {
    let switch = &mut lab(&[(MONITOR, A, true, true)]);
    let tagged = frame(B, A, &[0x81, 0, 0, 100]);
    switch.handle_frame(Instant::ZERO, PortId(A.into()), &tagged);
    assert_eq!(received(switch), [(B, tagged.clone()), (MONITOR, tagged)]);
    let reserved = [&[1, 0x80, 0xc2, 0, 0, 0x0e][..], &frame(B, A, &[])[6..]].concat();
    switch.handle_frame(Instant::ZERO, PortId(A.into()), &reserved);
    assert_eq!(received(switch), [(MONITOR, reserved)]);
    switch.handle_frame(Instant::ZERO, PortId(A.into()), &[2; 13]);
    assert_eq!(received(switch), []);
    assert_eq!(who(switch, A, A), [MONITOR], "same segment");
}

#[test]
fn isolation_and_ports_that_go() {
    let switch = &mut lab(&[(MONITOR, A, true, true)]);
    let isolated = switch.add_port(PortConfig { isolate: true, ..PortConfig::default() }).unwrap();
    switch.set_mirrors(vec![Mirror { monitor: isolated, source: PortId(0), rx: true, tx: true }]);
    assert_eq!(who(switch, A, B), [B, isolated.0 as u8]);
    switch.set_up(Instant::ZERO, isolated, false);
    assert_eq!(who(switch, A, B), [B]);
    switch.set_up(Instant::ZERO, isolated, true);
    switch.remove_port(Instant::ZERO, isolated);
    assert!(switch.mirrors.is_empty());
    assert_eq!(who(switch, A, B), [B]);
    switch.set_mirrors(vec![mirror(MONITOR, MONITOR, true, true), mirror(9, A, true, true)]);
    assert!(switch.mirrors.is_empty(), "of itself, and of none");
}
