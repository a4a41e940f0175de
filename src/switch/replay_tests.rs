//! Recordings, and runs that are like them or not.

use super::*;
use crate::frame::PortId;
use crate::switch::{Chance, Event, Impairment, Loss, PortConfig, Share, Switch, SwitchConfig, Way};
use crate::wire::Mac;

const MS: Duration = Duration::from_millis(1);
const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn frame(number: u32) -> Vec<u8> {
    [&B[..], &A, &[0x88, 0xb5], &number.to_be_bytes(), &[0; 42]].concat()
}

/// A switch with the ports a and b.
fn bench(seed: u64) -> (Switch, [PortId; 2]) {
    let mut switch = Switch::new(&SwitchConfig::with(|it| it.fate_seed = seed));
    let ids = [A, B].map(|mac| {
        let id = switch.add_port(PortConfig::default()).unwrap();
        switch.add_static(Instant::ZERO, Mac(mac), id);
        id
    });
    (switch, ids)
}

fn everything() -> Impairment {
    let some = |part| Chance::of(Share::of(part));
    Impairment {
        loss: Loss::Random(some(0.2)),
        duplicate: some(0.1),
        corrupt: some(0.2),
        reorder: some(0.1),
        delay: 20 * MS,
        jitter: 15 * MS,
        limit: 20,
        ..Impairment::default()
    }
}

/// When each frame left by b, and its bytes.
type Left = Vec<(Instant, Vec<u8>)>;

fn collect(switch: &mut Switch, now: Instant, left: &mut Left) {
    let mut out = Vec::new();
    while switch.poll_transmit(&mut out).is_some() {
        left.push((now, out.clone()));
    }
}

/// Frames with these numbers from a to b, one each millisecond.
fn run(switch: &mut Switch, from: PortId, numbers: impl IntoIterator<Item = u32>) -> Left {
    let mut left = Vec::new();
    let mut now = Instant::ZERO;
    for number in numbers {
        while let Some(due) = switch.poll_timeout().filter(|&due| due <= now) {
            switch.handle_timeout(due);
            collect(switch, due, &mut left);
        }
        switch.handle_frame(now, from, &frame(number));
        collect(switch, now, &mut left);
        now += MS;
    }
    while let Some(due) = switch.poll_timeout().filter(|&due| due < now + 100 * MS) {
        switch.handle_timeout(due);
        collect(switch, due, &mut left);
    }
    left
}

/// What leaves of 2000 frames, and the notes of it.
fn recorded(seed: u64) -> (Left, Vec<FateNote>) {
    let (mut switch, ids) = bench(seed);
    switch.set_journal(true);
    switch.impair(ids[0], Way::In, "a", everything());
    switch.impair(ids[1], Way::Out, "b", everything());
    let left = run(&mut switch, ids[0], 0..2000);
    let journal = switch.take_journal().unwrap();
    assert_eq!((journal.missed, switch.take_journal()), (0, None));
    (left, journal.notes)
}

fn replay(notes: &[FateNote]) -> Replay {
    let mut replay = Replay::default();
    notes.iter().for_each(|note| replay.add(note).unwrap());
    replay.complete()
}

/// A switch that replays, whose ports have no impairments of their own.
fn replaying(notes: &[FateNote]) -> (Switch, [PortId; 2]) {
    let (mut switch, ids) = bench(99);
    switch.set_replay(replay(notes));
    for (id, name) in ids.into_iter().zip(["a", "b"]) {
        Way::BOTH.into_iter().for_each(|way| switch.impair(id, way, name, Impairment::default()));
    }
    (switch, ids)
}

#[test]
fn a_replay_is_the_same_to_the_bit_and_the_nanosecond() {
    let (left, notes) = recorded(7);
    let became = |wanted: fn(&Became) -> bool| {
        let all = notes.iter().filter_map(|note| match &note.what {
            FateNoted::Frame { became, .. } => Some(became),
            FateNoted::Begins => None,
        });
        all.filter(|became| wanted(became)).count()
    };
    assert!(became(|it| *it == Became::Lost) > 500 && became(|it| *it == Became::Full) > 5);
    assert!(became(|it| matches!(it, Became::Held { flip: Some(_), .. })) > 100);
    assert!(notes.iter().any(|note| matches!(note.what, FateNoted::Frame { copy: true, .. })));
    assert!(notes.iter().any(|note| matches!(note.what, FateNoted::Frame { overtook: true, .. })));
    let (mut switch, ids) = replaying(&notes);
    switch.set_journal(true);
    assert_eq!(run(&mut switch, ids[0], 0..2000), left);
    let replay = switch.replay().unwrap();
    assert_eq!((replay.differences().count(), replay.absent().count(), replay.missing()), (0, 0, 0));
    assert_eq!(switch.poll_event(), None);
    assert_ne!(recorded(8).0, left);
}

#[test]
fn words_of_a_run_that_replays_change_nothing() {
    let (left, notes) = recorded(7);
    let (mut switch, ids) = replaying(&notes);
    let all = Impairment { loss: Loss::Random(Chance::of(Share::ALL)), ..Impairment::default() };
    for id in ids {
        Way::BOTH.into_iter().for_each(|way| switch.impair(id, way, "a", all.clone()));
    }
    assert_eq!(run(&mut switch, ids[0], 0..2000), left);
}

#[test]
fn where_the_traffic_differs_is_told_once_and_fates_go_on_by_number() {
    let (left, notes) = recorded(7);
    let (mut switch, ids) = replaying(&notes);
    // The eleventh frame to the thirteenth are others, and there are five more.
    let numbers = (0..2005).map(|number| if (10..13).contains(&number) { 70_000 + number } else { number });
    let got = run(&mut switch, ids[0], numbers);
    let times =
        |left: &Left| left.iter().map(|(at, _)| *at).filter(|at| *at < Instant::ZERO + 1990 * MS).collect::<Vec<_>>();
    assert_eq!(times(&got), times(&left), "as many leave, and at the same times");
    let events: Vec<Event> = std::iter::from_fn(|| switch.poll_event()).collect();
    let unlike = |port, way, number, how| Event::Unlike { port, way, number, how };
    assert!(events.contains(&unlike(ids[0], Way::In, 11, Unlike::Other)), "{events:?}");
    assert!(events.contains(&unlike(ids[0], Way::In, 2001, Unlike::More)), "{events:?}");
    assert!(events.len() <= 4, "{events:?}");
    let differences: HashMap<_, _> = switch.replay().unwrap().differences().collect();
    let rx = differences["a rx"];
    assert_eq!((rx.others, rx.first_other, rx.more, rx.first_more), (3, Some(11), 5, Some(2001)));
    assert_eq!(rx.first(), Some(11));
}

fn note(of: &str, number: u64, copy: bool, became: Became) -> FateNote {
    let what = FateNoted::Frame { len: 60, digest: 1, copy, overtook: false, became };
    FateNote { of: of.into(), number, what }
}

fn begins(of: &str) -> FateNote {
    FateNote { of: of.into(), number: 0, what: FateNoted::Begins }
}

#[test]
fn a_port_that_comes_again_takes_the_next_track_and_absent_ones_are_known() {
    let mut replay = Replay::default();
    let lost = Became::Lost;
    for given in [
        begins("a tx"),
        note("a tx", 1, false, lost),
        begins("a tx"),
        note("a tx", 1, false, Became::Full),
        begins("z rx"),
        note("z rx", 4, false, lost),
    ] {
        replay.add(&given).unwrap();
    }
    let mut replay = replay.complete();
    let first = |replay: &mut Replay, track| replay.verdict(track, Instant::ZERO, 1, &[]).0.first;
    let track = replay.begin("a tx").unwrap();
    assert_eq!(first(&mut replay, track), Fate::Lost);
    let track = replay.begin("a tx").unwrap();
    assert_eq!(first(&mut replay, track), Fate::Full);
    assert_eq!((replay.begin("a tx"), replay.begin("b tx"), replay.awaits("z rx")), (None, None, true));
    assert_eq!(replay.absent().collect::<Vec<_>>(), [("z rx", 1)]);
}

#[test]
fn what_does_not_fit_is_refused_and_a_gap_is_not() {
    let lost = Became::Lost;
    for (given, says) in [
        (vec![note("a tx", 5, false, lost), note("a tx", 5, false, lost)], "frame 5 comes behind frame 5 of a tx"),
        (vec![note("a tx", 5, false, lost), note("a tx", 4, false, lost)], "frame 4 comes behind frame 5"),
        (vec![note("a tx", 5, true, lost)], "it is a copy of frame 5, which is not before it"),
        (vec![note("a tx", 5, false, lost), note("a tx", 5, true, lost), note("a tx", 5, true, lost)], "a third copy"),
    ] {
        let mut replay = Replay::default();
        let refused = given.iter().find_map(|given| replay.add(given).err()).unwrap();
        assert!(refused.contains(says), "{refused}");
    }
    let mut replay = Replay::default();
    replay.add(&note("a tx", 5, false, lost)).unwrap();
    replay.add_gap(17);
    replay.add(&note("a tx", 9, true, lost)).unwrap();
    replay.add(&note("a tx", 2, false, lost)).unwrap();
    assert_eq!((replay.missing(), replay.frames(), replay.tracks.len()), (17, 2, 2));
}

#[test]
fn every_fate_fits_or_is_kept_beside() {
    let fates = [
        Became::Lost,
        Became::Full,
        Became::Passed { flip: None },
        Became::Passed { flip: Some(0) },
        Became::Passed { flip: Some(524_399) },
        Became::Held { delay: Duration::ZERO, flip: Some(7) },
        Became::Held { delay: Duration::from_nanos(NANOS_MAX), flip: None },
    ];
    for became in fates {
        assert_eq!(Packed::of(became).map(Packed::get), Some(Ok(became)));
    }
    for became in
        [Became::Held { delay: Duration::from_secs(4399), flip: None }, Became::Passed { flip: Some(FLIP_MAX) }]
    {
        assert!(Packed::of(became).is_none());
        let mut replay = replay(&[note("a tx", 1, false, became), note("a tx", 1, true, Became::Lost)]);
        let track = replay.begin("a tx").unwrap();
        let (verdict, _) = replay.verdict(track, Instant::ZERO, 1, &[]);
        assert_eq!(verdict, Verdict { first: again(Instant::ZERO, became), second: Some(Fate::Lost) });
    }
    assert_eq!(std::mem::size_of::<Recorded>(), 24);
}
