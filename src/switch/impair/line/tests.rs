//! Lines under a clock that the test moves: delays, rates, slots, and who overtakes whom.

use super::super::{Chance, Distribution, Loss, Matcher, Share};
use super::*;
use std::sync::Arc;

/// A line, its memory, and the frames that came out of it.
struct Bench {
    line: Line,
    memory: Memory,
    now: Instant,
    /// When each left, and its bytes.
    out: Vec<(Instant, Vec<u8>)>,
    lost: u64,
    full: u64,
}

impl Bench {
    fn new(set: impl FnOnce(&mut Impairment)) -> Self {
        Self::seeded(1, set)
    }

    fn seeded(seed: u64, set: impl FnOnce(&mut Impairment)) -> Self {
        let mut settings = Impairment::default();
        set(&mut settings);
        let line = Line::new(seed, "a.tx", 0, settings);
        Self { line, memory: Memory::new(64 << 20), now: Instant::ZERO, out: Vec::new(), lost: 0, full: 0 }
    }

    /// A frame comes now.
    fn frame(&mut self, frame: &[u8]) {
        let verdict = self.line.judge(self.now, frame);
        for fate in [Some(verdict.first), verdict.second].into_iter().flatten() {
            match fate {
                Fate::Lost => self.lost += 1,
                Fate::Full => self.full += 1,
                Fate::Passes { flip } => {
                    let mut copy = frame.to_vec();
                    flip.into_iter().for_each(|bit| flip_bit(&mut copy, bit));
                    self.out.push((self.now, copy));
                }
                Fate::Held { until, flip } => {
                    assert!(self.line.hold(until, flip, PortId(1), frame, &mut self.memory));
                }
            }
        }
    }

    /// Time goes on, and what is due leaves at its moment.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.line.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let (now, out) = (self.now, &mut self.out);
            self.line.release(now, &mut self.memory, |_, frame| {
                out.push((now, frame.to_vec()));
                true
            });
        }
        self.now = end;
    }

    /// So many frames with their numbers, one each `every`; then all leave.
    fn numbered(&mut self, frames: u32, every: Duration, len: usize) {
        for number in 0..frames {
            let mut frame = vec![0; len];
            frame[..4].copy_from_slice(&number.to_be_bytes());
            self.frame(&frame);
            self.pass(every);
        }
        self.pass(Duration::from_secs(3600));
    }

    fn numbers(&self) -> Vec<u32> {
        self.out.iter().map(|(_, frame)| u32::from_be_bytes(frame[..4].try_into().unwrap())).collect()
    }

    /// How long each frame took that was sent one each `every`.
    fn took(&self, every: Duration) -> Vec<Duration> {
        let sent = self.numbers().into_iter().map(|number| Instant::ZERO + every * number);
        sent.zip(&self.out).map(|(sent, (at, _))| *at - sent).collect()
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_line_without_settings_is_not_there() {
    let mut bench = Bench::new(|_| {});
    assert!(bench.line.settings().is_none());
    bench.numbered(1000, MS, 60);
    assert_eq!((bench.numbers(), bench.lost), ((0..1000).collect(), 0));
    assert!(bench.took(MS).iter().all(Duration::is_zero));
}

#[test]
fn a_delay_is_kept_to_the_nanosecond_and_order_with_it() {
    let mut bench = Bench::new(|it| it.delay = 20 * MS);
    bench.numbered(1000, MS, 60);
    assert_eq!(bench.numbers(), (0..1000).collect::<Vec<_>>());
    assert!(bench.took(MS).iter().all(|&took| took == 20 * MS));
    assert_eq!((bench.memory.free(), bench.line.held()), (64 << 20, 0));
}

#[test]
fn jitter_lets_frames_overtake_and_a_rate_does_not() {
    let jittered =
        |it: &mut Impairment| (it.delay, it.jitter, it.distribution) = (20 * MS, 5 * MS, Distribution::Normal);
    let mut bench = Bench::new(jittered);
    bench.numbered(10_000, MS, 60);
    let numbers = bench.numbers();
    assert!(numbers.windows(2).filter(|pair| pair[0] > pair[1]).count() > 2000);
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..10_000).collect::<Vec<_>>());
    let mut bench = Bench::new(|it| {
        jittered(it);
        it.rate = NonZeroU64::new(8_000_000_000);
    });
    bench.numbered(10_000, MS, 60);
    assert_eq!(bench.numbers(), (0..10_000).collect::<Vec<_>>(), "netem's order with a rate");
}

#[test]
fn a_rate_is_kept_within_a_thousandth_and_a_burst_leaves_at_once() {
    for (bits, len) in [(250_000, 60), (10_000_000, 1514), (1_000_000_000, 64)] {
        let mut bench = Bench::new(|it| (it.rate, it.limit) = (NonZeroU64::new(bits), usize::MAX));
        bench.numbered(2000, Duration::ZERO, len);
        let last = bench.out.last().unwrap().0.as_nanos() as f64 / 1e9;
        let wanted = (2000 * len * 8) as f64 / bits as f64;
        assert!((last / wanted - 1.0).abs() < 0.002, "{bits}: {last} s, not {wanted}");
    }
    let mut bench = Bench::new(|it| (it.rate, it.burst) = (NonZeroU64::new(8_000), 6_000));
    for _ in 0..2 {
        let before = bench.out.len();
        let start = bench.now;
        (0..10).for_each(|_| bench.frame(&[0; 1000]));
        bench.pass(Duration::from_secs(10));
        let at: Vec<u64> = bench.out[before..].iter().map(|(at, _)| (*at - start).as_secs()).collect();
        assert_eq!(at, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4], "six at once, then one a second");
    }
}

#[test]
fn more_than_the_limit_is_dropped() {
    let mut bench = Bench::new(|it| (it.delay, it.limit) = (20 * MS, 5));
    bench.numbered(12, Duration::ZERO, 60);
    assert_eq!((bench.numbers(), bench.full), ((0..5).collect(), 7));
    let mut bench = Bench::new(|it| (it.delay, it.limit_bytes) = (20 * MS, Some(200)));
    bench.numbered(12, Duration::ZERO, 60);
    assert_eq!((bench.out.len(), bench.full), (3, 9));
}

#[test]
fn the_same_seed_is_the_same_fate_whatever_the_time() {
    let run = |seed, every| {
        let mut bench = Bench::seeded(seed, |it| {
            it.loss = Loss::Random(Chance { share: Share::of(0.1), correlation: Share::of(0.25) });
            it.duplicate = Chance::of(Share::of(0.05));
            it.corrupt = Chance::of(Share::of(0.05));
        });
        bench.numbered(5000, every, 60);
        bench.out.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>()
    };
    assert_eq!(run(7, MS), run(7, Duration::from_nanos(17)));
    assert_ne!(run(7, MS), run(8, MS));
}

#[test]
fn a_setting_that_comes_later_meets_the_frames_that_it_would_have_met() {
    let loss = Loss::Random(Chance::of(Share::of(0.3)));
    let run = |from: u32| {
        let mut bench = Bench::new(|_| {});
        for number in 0..1000_u32 {
            if number == from {
                bench.line.set(Impairment { loss, ..Impairment::default() });
            }
            bench.frame(&[&number.to_be_bytes()[..], &[0; 56]].concat());
        }
        bench.numbers().into_iter().filter(|&number| number >= 500).collect::<Vec<_>>()
    };
    assert_eq!(run(0), run(500));
}

#[test]
fn every_nth_of_those_that_are_meant_is_lost() {
    let mut bench = Bench::new(|it| it.nth = NonZeroU64::new(3));
    bench.numbered(10, MS, 60);
    assert_eq!(bench.numbers(), [0, 1, 3, 4, 6, 7, 9]);
    let mut bench = Bench::new(|it| (it.only, it.loss) = (Some(4..=6), Loss::Random(Chance::of(Share::ALL))));
    bench.numbered(8, MS, 60);
    assert_eq!(bench.numbers(), [0, 1, 2, 6, 7], "the fourth to the sixth");
    let odd = Matcher { words: "odd".into(), holds: Arc::new(|frame| frame[3] % 2 == 1) };
    let mut bench = Bench::new(|it| (it.matches, it.delay) = (Some(odd), 5 * MS));
    bench.numbered(4, MS, 60);
    assert_eq!(
        bench.took(MS).iter().map(Duration::as_millis).collect::<Vec<_>>(),
        [0, 0, 5, 5],
        "{:?}",
        bench.numbers()
    );
}

#[test]
fn those_that_overtake_pass_at_once_and_a_gap_lies_between() {
    let mut bench = Bench::new(|it| (it.delay, it.reorder) = (10 * MS, Chance::of(Share::of(0.25))));
    bench.numbered(100_000, MS, 60);
    let took = bench.took(MS);
    let at_once = took.iter().filter(|took| took.is_zero()).count() as f64;
    assert!(took.iter().all(|took| took.is_zero() || *took == 10 * MS));
    assert!((at_once - 25_000.0).abs() < 3.0 * (100_000.0_f64 * 0.25 * 0.75).sqrt(), "{at_once}");
    let mut bench = Bench::new(|it| (it.delay, it.reorder, it.gap) = (10 * MS, Chance::of(Share::ALL), 5));
    bench.numbered(20, MS, 60);
    let at_once: Vec<u32> = bench
        .numbers()
        .into_iter()
        .zip(bench.took(MS))
        .filter(|(_, took)| took.is_zero())
        .map(|(number, _)| number)
        .collect();
    assert_eq!(at_once, [4, 9, 14, 19], "every fifth");
}

#[test]
fn one_bit_is_flipped_of_a_corrupted_frame() {
    let mut bench = Bench::new(|it| it.corrupt = Chance::of(Share::ALL));
    (0..4000).for_each(|_| bench.frame(&[0; 60]));
    let mut hit = [false; 480];
    for (_, frame) in &bench.out {
        assert_eq!(frame.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        let byte = frame.iter().position(|&byte| byte != 0).unwrap();
        hit[byte * 8 + frame[byte].leading_zeros() as usize] = true;
    }
    assert!(hit.iter().filter(|&&hit| hit).count() > 470, "any bit of the frame");
    bench.frame(&[]);
}

#[test]
fn twice_is_with_a_fate_of_its_own() {
    let mut bench = Bench::new(|it| {
        it.duplicate = Chance::of(Share::ALL);
        it.loss = Loss::Random(Chance::of(Share::of(0.5)));
    });
    bench.numbered(10_000, MS, 60);
    let mut times = [0_u32; 3];
    (0..10_000).for_each(|number| times[bench.numbers_of(number)] += 1);
    assert!(
        times[0].abs_diff(2500) < 200 && times[1].abs_diff(5000) < 200 && times[2].abs_diff(2500) < 200,
        "{times:?}"
    );
}

impl Bench {
    fn numbers_of(&self, number: u32) -> usize {
        self.out.iter().filter(|(_, frame)| frame[..4] == number.to_be_bytes()).count()
    }
}

#[test]
fn frames_leave_together_in_slots() {
    let slot = Slot { from: 10 * MS, to: 10 * MS, frames: NonZeroU64::new(3), bytes: None };
    let mut bench = Bench::new(|it| it.slot = Some(slot));
    bench.numbered(9, MS, 60);
    let at: Vec<u128> = bench.out.iter().map(|(at, _)| (*at - Instant::ZERO).as_millis()).collect();
    assert_eq!(at, [10, 10, 10, 20, 20, 20, 30, 30, 30]);
    assert_eq!(bench.numbers(), (0..9).collect::<Vec<_>>());
    let slot = Slot { from: 5 * MS, to: 15 * MS, frames: None, bytes: NonZeroU64::new(120) };
    let mut bench = Bench::new(|it| it.slot = Some(slot));
    bench.numbered(100, Duration::ZERO, 60);
    let mut times: Vec<Instant> = bench.out.iter().map(|(at, _)| *at).collect();
    times.dedup();
    assert_eq!(times.len(), 50, "two in each");
    assert!(times.windows(2).all(|pair| (5 * MS..=15 * MS).contains(&(pair[1] - pair[0]))));
}

#[test]
fn memory_that_is_used_up_is_told_and_what_is_held_can_be_dropped() {
    let mut bench = Bench::new(|it| it.delay = MS);
    bench.memory = Memory::new(4096);
    let (mut held, mut refused) = (0, 0);
    for _ in 0..100 {
        let Fate::Held { until, flip } = bench.line.judge(bench.now, &[0; 60]).first else { panic!() };
        match bench.line.hold(until, flip, PortId(0), &[0; 60], &mut bench.memory) {
            true => held += 1,
            false => refused += 1,
        }
    }
    assert!(held > 5 && refused > 5 && bench.line.held() == held);
    assert_eq!((bench.line.frames().count(), bench.line.clear(&mut bench.memory)), (held, held));
    assert_eq!((bench.memory.free(), bench.line.poll_timeout()), (4096, None));
}

#[test]
fn one_that_is_not_taken_stays() {
    let mut bench = Bench::new(|it| it.delay = MS);
    (0..3).for_each(|_| bench.frame(&[0; 60]));
    let mut room = 2;
    let late = bench.now + 5 * MS;
    let mut take = |_: PortId, _: &[u8]| {
        room -= i32::from(room > 0);
        room >= 1
    };
    assert_eq!(bench.line.release(late, &mut bench.memory, &mut take), 1);
    assert_eq!((bench.line.held(), bench.line.poll_timeout()), (2, Some(Instant::ZERO + MS)));
}
