//! The switch by example: one property of IEEE 802.1Q or of the design each.

use super::*;
use crate::counters::Stage;

const STATION: [u64; 4] = [0x0200_5e00_5300, 0x0200_5e00_5301, 0x0200_5e00_5302, 0x0200_5e00_5303];
const NOBODY: [u16; 0] = [];
const BROADCAST: u64 = 0xffff_ffff_ffff;
const T: Instant = Instant::from_secs(1);

fn frame(dst: u64, src: u64, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len.max(14)];
    frame[..6].copy_from_slice(&dst.to_be_bytes()[2..]);
    frame[6..12].copy_from_slice(&src.to_be_bytes()[2..]);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame.truncate(len);
    frame
}

fn switch_of(configs: impl IntoIterator<Item = PortConfig>) -> Switch {
    let mut switch = Switch::new(&SwitchConfig::default());
    for config in configs {
        switch.add_port(config).unwrap();
    }
    switch
}

fn switch(ports: usize) -> Switch {
    switch_of(vec![PortConfig::default(); ports])
}

/// The ports that a frame came out of, in ascending order.
fn reached(switch: &mut Switch, ingress: u16, frame: &[u8]) -> Vec<u16> {
    switch.handle_frame(T, PortId(ingress), frame);
    let mut out = Vec::new();
    let mut ports: Vec<u16> = std::iter::from_fn(|| switch.poll_transmit(&mut out).map(|port| (port.0, out.clone())))
        .inspect(|(_, bytes)| assert_eq!(bytes, frame, "forwarded as it is"))
        .map(|(port, _)| port)
        .collect();
    ports.sort_unstable();
    balance(switch);
    ports
}

/// The accounting that holds at every moment.
fn balance(switch: &Switch) {
    let mut copies = 0;
    let mut accounted = 0;
    for id in switch.ports() {
        let counters = switch.counters(id).unwrap();
        assert_eq!(counters.rx_frames, counters.forwarded + counters.dropped_at(Stage::Ingress), "{id:?}");
        copies += counters.copies;
        accounted += counters.tx_frames + switch.state(id).unwrap().queued as u64 + counters.dropped_at(Stage::Egress);
    }
    assert_eq!(copies, accounted);
}

fn dropped(switch: &Switch, port: u16, reason: DropReason) -> u64 {
    switch.counters(PortId(port)).unwrap().dropped(reason)
}

#[test]
fn unknown_floods_and_known_goes_to_one_port() {
    let mut switch = switch(4);
    assert_eq!(reached(&mut switch, 0, &frame(STATION[1], STATION[0], 60)), [1, 2, 3]);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[0], STATION[1], 60)), [0]);
    assert_eq!(reached(&mut switch, 0, &frame(STATION[1], STATION[0], 60)), [1]);
    assert_eq!(reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60)), [1, 2, 3]);
    assert_eq!(reached(&mut switch, 0, &frame(STATION[0], STATION[0], 60)), NOBODY);
    assert_eq!(dropped(&switch, 0, DropReason::SameSegment), 1);
}

#[test]
fn unpadded_and_short_frames() {
    let mut switch = switch(2);
    for len in [14, 42, 46, 54, 60, 1514, 9014, MAX_FRAME] {
        assert_eq!(reached(&mut switch, 0, &frame(BROADCAST, STATION[0], len)), [1], "{len} bytes");
    }
    for len in [0, 1, 13] {
        assert_eq!(reached(&mut switch, 0, &frame(BROADCAST, STATION[0], len)), NOBODY, "{len} bytes");
    }
    assert_eq!(dropped(&switch, 0, DropReason::Malformed), 3);
    assert_eq!(reached(&mut switch, 0, &vec![0xff; MAX_FRAME + 1]), NOBODY);
    assert_eq!(dropped(&switch, 0, DropReason::Oversize), 1);
}

#[test]
fn an_mtu_counts_without_tags_both_ways() {
    let small = PortConfig { mtu: Some(100), ..PortConfig::default() };
    let mut switch = switch_of([small, PortConfig::default()]);
    let tagged = |tags: usize, len| {
        let mut frame = frame(BROADCAST, STATION[0], len);
        (0..tags).for_each(|tag| frame[12 + 4 * tag..14 + 4 * tag].copy_from_slice(&[0x81, 0x00]));
        frame
    };
    for (tags, len, passes) in
        [(0, 114, true), (0, 115, false), (1, 118, true), (1, 119, false), (2, 122, true), (2, 123, false)]
    {
        assert_eq!(!reached(&mut switch, 0, &tagged(tags, len)).is_empty(), passes, "in: {tags} tags, {len} bytes");
        assert_eq!(!reached(&mut switch, 1, &tagged(tags, len)).is_empty(), passes, "out: {tags} tags, {len} bytes");
    }
    assert_eq!(dropped(&switch, 0, DropReason::Oversize), 3);
    assert_eq!(dropped(&switch, 0, DropReason::TooBig), 3);
}

#[test]
fn reserved_groups_end_here_and_group_sources_are_not_learned() {
    let mut switch = switch(3);
    for last in 0..=0x0f {
        assert_eq!(reached(&mut switch, 0, &frame(0x0180_c200_0000 | last, STATION[0], 60)), NOBODY);
    }
    assert_eq!(dropped(&switch, 0, DropReason::ReservedGroup), 16);
    assert_eq!(reached(&mut switch, 0, &frame(0x0180_c200_0010, STATION[0], 60)), [1, 2]);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[3], 0x0300_0000_0001, 60)), [0, 2]);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[3], 0, 60)), [0, 2]);
    assert!(switch.fdb(T).all(|entry| entry.port == PortId(0)));
}

#[test]
fn nobody_has_the_zero_address() {
    let mut switch = switch(3);
    assert_eq!(reached(&mut switch, 1, &frame(0, STATION[1], 60)), [0, 2]);
    assert_eq!(reached(&mut switch, 0, &frame(0, STATION[0], 60)), [1, 2]);
    assert_eq!(reached(&mut switch, 0, &frame(0, 0, 60)), [1, 2]);
    assert!(!switch.forget(Mac::default()));
}

#[test]
fn isolated_ports_reach_the_others_only() {
    let isolated = PortConfig { isolate: true, ..PortConfig::default() };
    let mut switch = switch_of([isolated.clone(), isolated, PortConfig::default()]);
    assert_eq!(reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60)), [2]);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[0], STATION[1], 60)), NOBODY);
    assert_eq!(dropped(&switch, 1, DropReason::Isolated), 1);
    assert_eq!(reached(&mut switch, 2, &frame(STATION[0], STATION[2], 60)), [0]);
    switch.set_up(T, PortId(2), false);
    assert_eq!(reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60)), NOBODY);
    assert_eq!(dropped(&switch, 0, DropReason::NoEgress), 1);
}

#[test]
fn a_port_without_learning_leaves_no_trace() {
    let mut switch = switch_of([PortConfig { learn: false, ..PortConfig::default() }, PortConfig::default()]);
    reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60));
    assert_eq!(switch.fdb(T).count(), 0);
}

#[test]
fn a_station_that_moved_is_found_at_once_and_two_with_one_address_are_told_of_once() {
    let mut switch = switch(3);
    for turn in 0..20 {
        let at = turn % 2;
        reached(&mut switch, at, &frame(BROADCAST, STATION[0], 60));
        assert_eq!(reached(&mut switch, 2, &frame(STATION[0], STATION[2], 60)), [at]);
    }
    let flaps: Vec<_> = std::iter::from_fn(|| switch.poll_event()).collect();
    assert!(matches!(flaps[..], [Event::Flapping(Flap { mac, .. })] if mac == Mac::from_u64(STATION[0])), "{flaps:?}");
}

#[test]
fn a_port_that_goes_down_loses_its_queue_and_its_stations() {
    let mut switch = switch(3);
    reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60));
    switch.handle_frame(T, PortId(1), &frame(STATION[0], STATION[1], 60));
    switch.set_up(T, PortId(0), false);
    balance(&switch);
    assert_eq!(dropped(&switch, 0, DropReason::LinkDown), 1);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[0], STATION[1], 60)), [2]);
    switch.set_up(T, PortId(0), true);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[0], STATION[1], 60)), [0, 2]);
}

#[test]
fn a_port_that_is_down_is_not_heard() {
    let mut switch = switch(3);
    switch.set_up(T, PortId(0), false);
    assert_eq!(reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60)), NOBODY);
    assert_eq!(dropped(&switch, 0, DropReason::IngressDown), 1);
    assert_eq!(switch.fdb(T).count(), 0);
    assert_eq!(reached(&mut switch, 1, &frame(STATION[0], STATION[1], 60)), [2], "floods, as nobody is known there");
}

#[test]
fn a_removed_port_leaves_nothing_to_its_successor() {
    let mut switch = switch(3);
    reached(&mut switch, 0, &frame(BROADCAST, STATION[0], 60));
    assert!(switch.add_static(T, Mac::from_u64(STATION[3]), PortId(0)));
    switch.handle_frame(T, PortId(1), &frame(STATION[0], STATION[1], 60));
    let counters = switch.remove_port(T, PortId(0)).unwrap();
    assert_eq!((counters.rx_frames, counters.copies, counters.dropped(DropReason::Removed)), (1, 1, 1));
    assert_eq!(switch.add_port(PortConfig::default()), Some(PortId(0)));
    assert_eq!(reached(&mut switch, 1, &frame(STATION[3], STATION[1], 60)), [0, 2]);
    assert_eq!(switch.counters(PortId(0)).unwrap().copies, 1);
}

#[test]
fn a_static_station_stays_where_it_is() {
    let mut switch = switch(3);
    assert!(switch.add_static(T, Mac::from_u64(STATION[0]), PortId(0)));
    assert_eq!(reached(&mut switch, 1, &frame(BROADCAST, STATION[0], 60)), [0, 2]);
    assert_eq!(reached(&mut switch, 2, &frame(STATION[0], STATION[2], 60)), [0]);
    assert!(!switch.add_static(T, Mac::BROADCAST, PortId(0)) && !switch.add_static(T, Mac::default(), PortId(0)));
}

/// Edges that take `room` frames and then no more.
struct Narrow {
    room: [usize; 4],
    got: [Vec<u32>; 4],
}

impl Narrow {
    fn new(room: [usize; 4]) -> Self {
        Self { room, got: Default::default() }
    }
}

impl Transmit for Narrow {
    fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        let frames = out.len().min(self.room[port.index()]);
        self.room[port.index()] -= frames;
        for position in 0..frames {
            let bytes = out.bytes(position);
            self.got[port.index()].push(u32::from_be_bytes(bytes[14..18].try_into().unwrap()));
            counters.sent(1, bytes.len() as u64);
        }
        Taken { frames }
    }
}

use crate::frame::Outgoing;

fn numbered(dst: u64, src: u64, ingress: u16, numbers: std::ops::Range<u32>) -> Batch {
    let mut batch = Batch::new(256 * 1024);
    for number in numbers {
        let mut frame = frame(dst, src, 60);
        frame[14..18].copy_from_slice(&number.to_be_bytes());
        assert!(batch.push(&frame, PortId(ingress), Offload::NONE));
    }
    batch
}

/// Ports 0 and 1 can be paused, 2 and 3 are receivers that are known to the switch.
fn pair_of_receivers() -> Switch {
    let source = PortConfig { pausable: true, ..PortConfig::default() };
    let sink = PortConfig { queue: 400, ..PortConfig::default() };
    let mut switch = switch_of([source.clone(), source, sink.clone(), sink]);
    reached(&mut switch, 2, &frame(BROADCAST, STATION[2], 60));
    reached(&mut switch, 3, &frame(BROADCAST, STATION[3], 60));
    switch
}

#[test]
fn what_a_busy_port_does_not_take_waits_in_order() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0, 0, 30, 0]);
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..50), &mut edges);
    edges.room[2] = 10;
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 50..60), &mut edges);
    assert_eq!(edges.got[2].len(), 30, "a blocked port is not tried before it says that it is writable");
    assert_eq!(switch.flush(T, PortId(2), &mut edges), Flush::Blocked);
    edges.room[2] = 100;
    assert_eq!(switch.flush(T, PortId(2), &mut edges), Flush::Empty);
    assert_eq!(edges.got[2], (0..60).collect::<Vec<_>>());
    balance(&switch);
}

#[test]
fn a_busy_port_pauses_those_who_fill_it_and_lets_them_go_when_it_has_drained() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0, 0, 0, 1000]);
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..100), &mut edges);
    assert!(!switch.is_paused(PortId(0)), "a quarter of the queue is not above the mark");
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 100..150), &mut edges);
    assert!(switch.is_paused(PortId(0)) && !switch.is_paused(PortId(1)));
    assert_eq!(switch.poll_timeout(), Some(T + Duration::from_millis(PAUSE_MILLIS)));
    edges.room[2] = 120;
    switch.flush(T, PortId(2), &mut edges);
    assert!(!switch.is_paused(PortId(0)));
    assert_eq!((switch.poll_resumed(), switch.poll_resumed(), switch.poll_timeout()), (Some(PortId(0)), None, None));
    assert_eq!(switch.poll_event(), None);
    balance(&switch);
}

#[test]
fn a_descriptor_is_never_offered_nothing() {
    struct Picky;
    impl Transmit for Picky {
        fn transmit(&mut self, _: PortId, out: Outgoing<'_>, _: &mut Counters) -> Taken {
            assert!(!out.is_empty());
            Taken { frames: 0 }
        }
    }
    let mut switch = switch_of([PortConfig::default(), PortConfig { mtu: Some(20), ..PortConfig::default() }]);
    switch.run(T, &numbered(BROADCAST, STATION[0], 0, 0..3), &mut Picky);
    assert_eq!(dropped(&switch, 1, DropReason::TooBig), 3);
    balance(&switch);
}

use crate::limits::{PAUSE_MILLIS, STALL_MILLIS};

#[test]
fn a_source_that_was_paused_anew_is_not_said_to_go_on() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0, 0, 0, 1000]);
    for round in 0..3 {
        switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..150), &mut edges);
        assert!(switch.is_paused(PortId(0)), "round {round}");
        assert_eq!(switch.poll_resumed(), None, "round {round}");
        edges.room[2] = 150;
        switch.flush(T, PortId(2), &mut edges);
        edges.room[2] = 0;
    }
    assert_eq!((switch.poll_resumed(), switch.poll_resumed()), (Some(PortId(0)), None));
}

#[test]
fn a_dead_port_holds_its_sources_up_for_milliseconds_only() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0, 0, 0, 1000]);
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..200), &mut edges);
    let later = switch.poll_timeout().unwrap();
    switch.handle_timeout(later);
    assert!(!switch.is_paused(PortId(0)));
    assert_eq!((switch.poll_resumed(), switch.poll_event()), (Some(PortId(0)), Some(Event::Stalled(PortId(2)))));
    switch.run(later, &numbered(STATION[2], STATION[0], 0, 200..500), &mut edges);
    assert!(!switch.is_paused(PortId(0)));
    assert_eq!(dropped(&switch, 2, DropReason::Stalled), 100, "what the queue of 400 does not hold");
    switch.run(later, &numbered(STATION[3], STATION[0], 0, 0..300), &mut edges);
    assert_eq!(edges.got[3].len(), 300, "nobody else waits");
    edges.room[2] = 1000;
    assert_eq!(switch.flush(T, PortId(2), &mut edges), Flush::Empty);
    assert_eq!(switch.poll_event(), Some(Event::Drained(PortId(2))));
    switch.run(later, &numbered(STATION[2], STATION[0], 0, 500..510), &mut edges);
    assert_eq!(edges.got[2].len(), 410);
    balance(&switch);
}

/// It takes 30 of its 400 in that time, which is slower than its sources but no reason to drop anything.
#[test]
fn a_slow_port_that_reads_slows_its_sources_down_and_holds_none_up() {
    let mut switch = pair_of_receivers();
    let (mut edges, mut now, mut sent) = (Narrow::new([0; 4]), T, 0);
    for round in 0..100 {
        switch.run(now, &numbered(STATION[2], STATION[0], 0, sent..sent + 30), &mut edges);
        sent += 30;
        if !switch.is_paused(PortId(0)) {
            continue;
        }
        let later = switch.poll_timeout().unwrap();
        assert!(later <= now + Duration::from_millis(PAUSE_MILLIS), "round {round}");
        now = later;
        edges.room[2] = 30;
        switch.flush(now, PortId(2), &mut edges);
        switch.handle_timeout(now);
        assert!(!switch.is_paused(PortId(0)) && switch.is_congested(), "round {round}");
        assert_eq!((switch.poll_resumed(), switch.poll_event()), (Some(PortId(0)), None));
    }
    assert!(switch.state(PortId(2)).unwrap().queued > 50, "it is never low");
    assert_eq!(dropped(&switch, 2, DropReason::QueueFull) + dropped(&switch, 2, DropReason::Stalled), 0);
    balance(&switch);
}

#[test]
fn what_a_paused_source_had_sent_is_queued_beyond_the_limit() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0; 4]);
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..350), &mut edges);
    switch.run(T, &numbered(STATION[2], STATION[1], 1, 0..350), &mut edges);
    switch.run(T, &numbered(STATION[2], STATION[3], 3, 0..100), &mut edges);
    assert_eq!(switch.state(PortId(2)).unwrap().queued, 700);
    assert_eq!(dropped(&switch, 2, DropReason::QueueFull), 100, "of the one that cannot be paused");
    balance(&switch);
}

#[test]
fn a_stalled_port_that_reads_again_is_waited_for_although_its_queue_is_full() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0; 4]);
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..400), &mut edges);
    let stalled = T + Duration::from_millis(PAUSE_MILLIS);
    switch.handle_timeout(stalled);
    assert_eq!(switch.poll_event(), Some(Event::Stalled(PortId(2))));
    // 11 and 11 in too long a time, then 5 more in a short one
    let pace = [(10, 11, None), (20, 11, None), (22, 0, None), (23, 5, Some(Event::Drained(PortId(2))))];
    for (millis, room, told) in pace {
        edges.room[2] = room;
        let now = stalled + Duration::from_millis(millis);
        switch.flush(now, PortId(2), &mut edges);
        assert_eq!(switch.poll_event(), told, "after {millis} ms");
        switch.run(now, &numbered(STATION[2], STATION[0], 0, 0..100), &mut edges);
        assert_eq!(switch.is_paused(PortId(0)), told.is_some(), "after {millis} ms");
    }
    balance(&switch);
}

#[test]
fn a_stalled_port_that_goes_down_does_not_read_again() {
    let mut switch = pair_of_receivers();
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..200), &mut Narrow::new([0; 4]));
    switch.handle_timeout(T + Duration::from_millis(PAUSE_MILLIS));
    assert_eq!(switch.poll_event(), Some(Event::Stalled(PortId(2))));
    switch.set_up(T, PortId(2), false);
    assert_eq!(switch.poll_event(), None);
    assert!(!switch.state(PortId(2)).unwrap().stalled);
    balance(&switch);
}

#[test]
fn floods_and_unpausable_sources_never_pause_and_a_full_queue_counts() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0; 4]);
    switch.run(T, &numbered(BROADCAST, STATION[0], 0, 0..1000), &mut edges);
    switch.run(T, &numbered(STATION[2], STATION[3], 3, 0..1000), &mut edges);
    assert!((0..4).all(|port| !switch.is_paused(PortId(port))));
    assert_eq!(dropped(&switch, 2, DropReason::QueueFull), 1600);
    switch.handle_timeout(T + Duration::from_millis(PAUSE_MILLIS));
    assert_eq!(switch.poll_event(), None, "nobody is looked at for being slow");
    balance(&switch);
}

#[test]
fn a_port_that_is_only_flooded_to_stalls_when_it_takes_nothing_for_a_second() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0; 4]);
    let (second, flood) = (Duration::from_millis(STALL_MILLIS), numbered(BROADCAST, STATION[0], 0, 0..300));
    switch.run(T, &flood, &mut edges);
    assert_eq!((dropped(&switch, 2, DropReason::QueueFull), switch.poll_timeout()), (0, None), "it has room");
    switch.run(T, &flood, &mut edges);
    assert_eq!((dropped(&switch, 2, DropReason::QueueFull), switch.poll_timeout()), (200, Some(T + second)));
    // One of them takes a frame meanwhile, and is slow only.
    edges.room[3] = 1;
    switch.flush(T + second / 2, PortId(3), &mut edges);
    switch.handle_timeout(T + second);
    let told: Vec<Event> = std::iter::from_fn(|| switch.poll_event()).collect();
    assert_eq!(told, [Event::Stalled(PortId(2))]);
    switch.run(T + second, &flood, &mut edges);
    assert_eq!((dropped(&switch, 2, DropReason::Stalled), dropped(&switch, 3, DropReason::Stalled)), (300, 0));
    edges.room[2] = 1000;
    assert_eq!(switch.flush(T + second, PortId(2), &mut edges), Flush::Empty);
    assert_eq!(switch.poll_event(), Some(Event::Drained(PortId(2))));
    switch.remove_port(T + second, PortId(3));
    assert_eq!(switch.poll_timeout(), None, "who has left is forgotten");
    balance(&switch);
}

#[test]
fn a_paused_source_survives_the_removal_of_the_port_it_waits_for() {
    let mut switch = pair_of_receivers();
    let mut edges = Narrow::new([0; 4]);
    switch.run(T, &numbered(STATION[2], STATION[0], 0, 0..200), &mut edges);
    assert!(switch.is_paused(PortId(0)));
    switch.remove_port(T, PortId(2));
    assert_eq!((switch.poll_resumed(), switch.poll_timeout()), (Some(PortId(0)), None));
}

#[test]
fn a_guarded_port_takes_no_traffic_of_an_unguarded_one() {
    let guarded = PortConfig { guard: true, ..PortConfig::default() };
    let mut switch = switch_of([guarded.clone(), guarded, PortConfig::default()]);
    let [to_all, answer] = [frame(BROADCAST, STATION[2], 60), frame(STATION[2], STATION[0], 60)];
    assert_eq!(reached(&mut switch, 1, &to_all), [0, 2], "nobody has it yet");
    assert_eq!(reached(&mut switch, 2, &to_all), [0, 1]);
    assert_eq!(reached(&mut switch, 1, &to_all), NOBODY);
    assert_eq!(dropped(&switch, 1, DropReason::Guarded), 1);
    assert_eq!(reached(&mut switch, 0, &answer), [2]);
    let leased = "192.0.2.9".parse().unwrap();
    switch.bind_lease(Mac::from_u64(STATION[2]), leased);
    assert_eq!(switch.guard.owner(Address::Ip(leased)), None, "a lease of an unguarded port's station binds nothing");
    switch.handle_frame(T + Duration::from_secs(AGEING_SECS), PortId(1), &to_all);
    assert_eq!(dropped(&switch, 1, DropReason::Guarded), 1, "it was not heard for long");
}
