//! Tests of the forwarding database: its bounds, its ageing, and random operations against a map.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

impl Fdb {
    fn is_moving(&self) -> bool {
        self.table.is_moving()
    }
}

const AGEING: Duration = Duration::from_secs(300);
const A: PortId = PortId(0);
const B: PortId = PortId(1);

fn fdb(entries: usize, per_port: usize) -> Fdb {
    let mut fdb = Fdb::new(FdbLimits { entries, per_port, ageing: AGEING }, 7);
    (0..4).for_each(|port| fdb.add_port(PortId(port)));
    fdb
}

fn learn(fdb: &mut Fdb, mac: u64, port: PortId, now: Instant) -> Learned {
    let key = Key::new(mac, 0);
    fdb.learn(key, fdb.hash(key), port, tick(now))
}

fn lookup(fdb: &Fdb, mac: u64, now: Instant) -> Option<PortId> {
    let key = Key::new(mac, 0);
    fdb.lookup(key, fdb.hash(key), tick(now))
}

#[test]
fn a_station_is_learned_moves_and_is_forgotten() {
    let mut fdb = fdb(100, 100);
    let now = Instant::from_secs(1);
    assert_eq!(lookup(&fdb, 1, now), None);
    assert_eq!(learn(&mut fdb, 1, A, now), Learned::New);
    assert_eq!(learn(&mut fdb, 1, A, now), Learned::Known);
    assert_eq!(learn(&mut fdb, 1, B, now), Learned::Moved { from: A });
    assert_eq!(lookup(&fdb, 1, now), Some(B));
    assert_eq!(lookup(&fdb, 1, now + (AGEING - Duration::from_millis(100))), Some(B));
    assert_eq!(lookup(&fdb, 1, now + AGEING + Duration::from_millis(100)), None);
    assert_eq!(fdb.entries(now + AGEING * 2).count(), 0);
}

#[test]
fn a_refresh_starts_the_age_anew() {
    let mut fdb = fdb(100, 100);
    for second in (0..3000).step_by(200) {
        learn(&mut fdb, 1, A, Instant::from_secs(second));
    }
    assert_eq!(lookup(&fdb, 1, Instant::from_secs(2900)), Some(A));
}

#[test]
fn a_station_has_left_until_it_would_have_aged() {
    let mut fdb = fdb(100, 100);
    let now = Instant::from_secs(1);
    let has_left = |fdb: &Fdb, mac, now| fdb.has_left(Key::new(mac, 0), fdb.hash(Key::new(mac, 0)), tick(now));
    learn(&mut fdb, 1, A, now);
    assert!(fdb.add_static(Key::new(2, 0), A, now));
    assert!(!has_left(&fdb, 1, now), "it is there");
    fdb.flush_port(A, now);
    let moment = Duration::from_millis(100);
    assert!(has_left(&fdb, 1, now) && has_left(&fdb, 1, now + (AGEING - moment)));
    assert!(!has_left(&fdb, 1, now + AGEING + moment), "its slot is still there");
    assert!(!has_left(&fdb, 2, now) && !has_left(&fdb, 3, now), "one that is static, one that nobody knows");
    learn(&mut fdb, 1, B, now);
    assert!(!has_left(&fdb, 1, now), "it is back");
}

#[test]
fn a_flood_on_one_port_takes_nothing_from_another_nor_from_static_entries() {
    let mut fdb = fdb(64, 40);
    let now = Instant::from_secs(1);
    assert!(fdb.add_static(Key::new(0x1000, 0), B, now));
    for mac in 1..=20 {
        assert_eq!(learn(&mut fdb, mac, B, now), Learned::New);
    }
    let taken = (0x2000..0x3000).filter(|&mac| learn(&mut fdb, mac, A, now) == Learned::New).count();
    assert_eq!(taken, 40);
    assert_eq!(learn(&mut fdb, 0x9999, B, now), Learned::New, "the other port still has room");
    assert!((1..=20).all(|mac| lookup(&fdb, mac, now) == Some(B)));
    assert_eq!(learn(&mut fdb, 0x1000, A, now), Learned::Known, "a static entry does not move");
    assert_eq!(lookup(&fdb, 0x1000, now), Some(B));
}

#[test]
fn a_station_that_moves_to_a_full_port_is_not_looked_for_where_it_was() {
    let mut fdb = fdb(100, 2);
    let now = Instant::from_secs(1);
    (1..=2).for_each(|mac| assert_eq!(learn(&mut fdb, mac, A, now), Learned::New));
    assert_eq!(learn(&mut fdb, 3, B, now), Learned::New);
    assert_eq!(learn(&mut fdb, 3, A, now), Learned::PortFull);
    assert_eq!(lookup(&fdb, 3, now), None, "its frames flood, so that it hears them");
}

#[test]
fn a_station_that_moves_finds_the_room_of_what_has_aged() {
    let mut fdb = fdb(100, 2);
    (1..=2).for_each(|mac| assert_eq!(learn(&mut fdb, mac, A, Instant::ZERO), Learned::New));
    let later = Instant::from_secs(400);
    let moves = (0..2 * FIRST_CAPACITY / SWEEP).any(|_| {
        learn(&mut fdb, 3, B, later);
        learn(&mut fdb, 3, A, later) == Learned::Moved { from: B }
    });
    assert!(moves);
}

#[test]
fn a_static_entry_finds_the_room_of_what_has_aged() {
    let mut fdb = fdb(2, 2);
    (1..=2).for_each(|mac| assert_eq!(learn(&mut fdb, mac, A, Instant::ZERO), Learned::New));
    assert!(!fdb.add_static(Key::new(3, 0), B, Instant::from_secs(1)));
    assert!(fdb.add_static(Key::new(2, 0), B, Instant::from_secs(1)), "one that is known needs no room");
    assert!(fdb.add_static(Key::new(3, 0), B, Instant::from_secs(400)));
}

/// At a million entries a move in one go took 44 ms.
#[test]
fn the_table_grows_a_little_with_every_address_and_every_batch() {
    let mut fdb = fdb(100_000, 100_000);
    let now = Instant::from_secs(1);
    let mut mac = 0;
    let mut learn_more = |fdb: &mut Fdb, wanted: &dyn Fn(&Fdb) -> bool| {
        let first = mac;
        while !wanted(fdb) {
            mac += 1;
            assert_eq!(learn(fdb, mac, PortId((mac % 4) as u16), now), Learned::New);
        }
        (1..=mac).step_by(61).for_each(|mac| assert_eq!(lookup(fdb, mac, now), Some(PortId((mac % 4) as u16))));
        mac - first
    };
    learn_more(&mut fdb, &|fdb| fdb.table.capacity() == 65_536);
    assert!(fdb.is_moving());
    assert_eq!(learn_more(&mut fdb, &|fdb| !fdb.is_moving()), 32_768 / MOVE as u64 + 1);
    learn_more(&mut fdb, &Fdb::is_moving);
    let batches = (1..).find(|_| {
        fdb.handle_batch(tick(now));
        !fdb.is_moving()
    });
    assert_eq!(batches, Some(65_536 / MOVE_PER_BATCH + 1));
    learn_more(&mut fdb, &|_| true);
    assert_eq!(fdb.entries(now).count() as u64, mac);
}

/// No frame comes that would move the table.
#[test]
fn static_entries_alone_make_it_grow() {
    let mut fdb = fdb(100_000, 100);
    let now = Instant::from_secs(1);
    for mac in 1..=5000 {
        assert!(fdb.add_static(Key::new(mac, 0), A, now));
        assert!(fdb.used < fdb.table.capacity(), "a probe for what is not there would never end");
    }
    (1..=5000).for_each(|mac| assert_eq!(lookup(&fdb, mac, now), Some(A)));
    assert_eq!((lookup(&fdb, 5001, now), fdb.entries(now).count()), (None, 5000));
}

#[test]
fn what_has_aged_makes_room() {
    let mut fdb = fdb(1000, 1000);
    (1..=1000).for_each(|mac| assert_eq!(learn(&mut fdb, mac, A, Instant::ZERO), Learned::New));
    assert_eq!(learn(&mut fdb, 5000, B, Instant::from_secs(1)), Learned::TableFull);
    let later = Instant::from_secs(400);
    let learned = (5000..6000).filter(|&mac| learn(&mut fdb, mac, B, later) == Learned::New).count();
    assert!(learned > 900, "the hand frees as fast as addresses come: {learned}");
}

#[test]
fn flushing_forgets_one_port_only_and_survives_the_generations_wrapping() {
    let mut fdb = fdb(100, 100);
    let now = Instant::from_secs(1);
    learn(&mut fdb, 1, A, now);
    learn(&mut fdb, 2, B, now);
    fdb.add_static(Key::new(3, 0), A, now);
    for _ in 0..=u16::MAX {
        fdb.flush_port(A, now);
    }
    assert_eq!(lookup(&fdb, 1, now), None);
    assert_eq!(lookup(&fdb, 2, now), Some(B));
    assert_eq!(lookup(&fdb, 3, now), Some(A));
    fdb.remove_port(A, now);
    assert_eq!(lookup(&fdb, 3, now), None);
}

#[derive(Clone, Debug)]
enum Op {
    Learn(u64, u16),
    Lookup(u64),
    Static(u64, u16),
    Remove(u64),
    Flush(u16),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let mac = 1_u64..3000;
    prop_oneof![
        20 => (mac.clone(), 0_u16..4).prop_map(|(mac, port)| Op::Learn(mac, port)),
        10 => mac.clone().prop_map(Op::Lookup),
        1 => (mac.clone(), 0_u16..4).prop_map(|(mac, port)| Op::Static(mac, port)),
        2 => mac.prop_map(Op::Remove),
        1 => (0_u16..4).prop_map(Op::Flush),
        2 => (0_u64..200).prop_map(Op::Wait),
    ]
}

proptest! {
    /// With bounds that are never met, the table is a map with an age.
    #[test]
    fn it_is_a_map_with_an_age(ops in prop::collection::vec(op(), 0..4000)) {
        let mut fdb = fdb(100_000, 100_000);
        let mut map: HashMap<u64, (u16, Option<u32>)> = HashMap::new();
        let mut now = Instant::ZERO;
        let ticks = u32::try_from(AGEING.as_nanos().div_ceil(1 << TICK_SHIFT)).unwrap();
        for op in ops {
            map.retain(|_, (_, seen)| seen.is_none_or(|seen| tick(now) - seen < ticks));
            match op {
                Op::Learn(mac, port) => {
                    let expected = match map.get(&mac) {
                        Some((_, None)) => Learned::Known,
                        Some(&(from, _)) if from != port => Learned::Moved { from: PortId(from) },
                        Some(_) => Learned::Known,
                        None => Learned::New,
                    };
                    prop_assert_eq!(learn(&mut fdb, mac, PortId(port), now), expected);
                    if !matches!(map.get(&mac), Some((_, None))) {
                        map.insert(mac, (port, Some(tick(now))));
                    }
                }
                Op::Lookup(mac) => {
                    prop_assert_eq!(lookup(&fdb, mac, now), map.get(&mac).map(|&(port, _)| PortId(port)));
                }
                Op::Static(mac, port) => {
                    prop_assert!(fdb.add_static(Key::new(mac, 0), PortId(port), now));
                    map.insert(mac, (port, None));
                }
                Op::Remove(mac) => {
                    let known = map.remove(&mac).is_some();
                    prop_assert!(fdb.remove(Key::new(mac, 0)) || !known);
                }
                Op::Flush(port) => {
                    fdb.flush_port(PortId(port), now);
                    map.retain(|_, &mut (at, seen)| at != port || seen.is_none());
                }
                Op::Wait(seconds) => now += Duration::from_secs(seconds),
            }
            let learned = |port| map.values().filter(|&&(at, seen)| at == port && seen.is_some()).count();
            for port in 0..4 {
                prop_assert!(fdb.shares[usize::from(port)].learned as usize >= learned(port));
            }
        }
        map.retain(|_, (_, seen)| seen.is_none_or(|seen| tick(now) - seen < ticks));
        prop_assert_eq!(fdb.entries(now).count(), map.len());
    }
}

/// The largest table there can be is read in parts, none of which holds up a frame for long, and all of it is there.
#[test]
fn a_million_entries_are_read_in_small_parts() {
    const ENTRIES: usize = 1 << 20;
    const SLOTS: usize = 4096;
    let mut fdb = fdb(ENTRIES, ENTRIES);
    let now = Instant::from_secs(1);
    (0..ENTRIES as u64).for_each(|mac| assert_eq!(learn(&mut fdb, mac, A, now), Learned::New));
    let (mut scan, mut part, mut parts) = (Scan::default(), Vec::new(), 0);
    let mut seen = vec![false; ENTRIES];
    loop {
        let scanned = fdb.scan(now, &mut scan, SLOTS, &mut part);
        // a part ends where a chain does, and chains are short
        assert!(part.len() < SLOTS + 1024, "{}", part.len());
        part.drain(..).for_each(|entry| seen[entry.mac.as_u64() as usize] = true);
        parts += 1;
        match scanned {
            Scanned::More => {}
            Scanned::Anew => panic!("nothing has moved"),
            Scanned::All => break,
        }
    }
    assert!(seen.iter().all(|seen| *seen) && parts <= 4 * ENTRIES / SLOTS + 4, "{parts} parts");
}

proptest! {
    #[test]
    fn a_key_knows_its_address(near in prop::sample::select(vec![0, 0x0180_c200_0000, u64::MAX]), mask: u64, vid in 0..4096_u16) {
        let mac = Mac::from_u64(near ^ mask & 0xff00_0000_00ff);
        let key = Key::new(mac.as_u64(), vid);
        prop_assert_eq!((key.mac(), key.vid()), (mac, vid));
        prop_assert_eq!((key.is_group(), key.is_nobodys()), (mac.is_group(), mac.as_u64() == 0));
        prop_assert_eq!(key.is_reserved_group(), mac.is_reserved_group());
        let near = Key::new(near ^ mask & 0x1f, vid);
        prop_assert_eq!(near.is_reserved_group(), near.mac().is_reserved_group());
    }
}
