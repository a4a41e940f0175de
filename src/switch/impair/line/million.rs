//! Every word over a million frames: against its closed form, or against a model that is too simple to be wrong. Bounds
//! are deviations of a sample of this size; where frames depend on those before, that is estimated from the sample itself,
//! by the means of its blocks.

use super::super::{Chance, Distribution, Loss, Matcher, Share};
use super::*;
use std::collections::VecDeque;
use std::sync::Arc;

const FRAMES: u64 = 1_000_000;
const MS: Duration = Duration::from_millis(1);
/// Deviations that a sample may be off. All seeds here are fixed: it is the same sample each time.
const DEVIATIONS: f64 = 4.0;

fn line(seed: u64, set: impl FnOnce(&mut Impairment)) -> Line {
    let mut settings = Impairment::default();
    set(&mut settings);
    Line::new(seed, "a.tx", 0, settings)
}

fn some(part: f64) -> Chance {
    Chance::of(Share::of(part))
}

/// What becomes of a million frames that come a millisecond apart, none of which is kept.
fn verdicts(mut line: Line) -> impl Iterator<Item = Verdict> {
    (0..FRAMES).map(move |number| line.judge(Instant::from_millis(number), &[0; 60]))
}

/// That a count of independent frames is a share of them.
fn is_share(what: &str, count: usize, share: f64) {
    let deviation = (FRAMES as f64 * share * (1.0 - share)).sqrt();
    let off = count as f64 - FRAMES as f64 * share;
    assert!(off.abs() <= DEVIATIONS * deviation, "{what}: {count}, off by {off}, and the deviation is {deviation}");
}

/// That values which may depend on those before have a mean, within what their own blocks deviate.
fn has_mean(what: &str, values: &[f64], wanted: f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let blocks: Vec<f64> = values.chunks(values.len() / 100).map(mean).collect();
    let all = mean(&blocks);
    let variance = blocks.iter().map(|block| (block - all).powi(2)).sum::<f64>() / (blocks.len() - 1) as f64;
    let deviation = (variance / blocks.len() as f64).sqrt();
    assert!((all - wanted).abs() <= DEVIATIONS * deviation, "{what}: {all}, not {wanted} within {deviation}");
}

/// That counts are as expected: Pearson's sum, whose mean is the number of bins and its variance twice that.
fn is_spread(what: &str, bins: &[(f64, f64)]) {
    let sum: f64 = bins.iter().map(|(count, wanted)| (count - wanted).powi(2) / wanted).sum();
    let freedom = bins.len() as f64;
    assert!((sum - freedom).abs() <= DEVIATIONS * (2.0 * freedom).sqrt(), "{what}: {sum} of {freedom} bins");
}

/// How long each frame is held, in milliseconds.
fn delays(line: Line) -> Vec<f64> {
    let held = verdicts(line).enumerate().map(|(number, verdict)| match verdict.first {
        Fate::Held { until, .. } => (until - Instant::from_millis(number as u64)).as_secs_f64() * 1e3,
        other => panic!("{other:?}"),
    });
    held.collect()
}

#[test]
fn jitter_is_around_the_delay_and_as_alike_as_its_correlation() {
    for rho in [0.0, 0.5, 0.9] {
        let values = delays(line(3, |it| {
            (it.delay, it.jitter, it.delay_correlation) = (50 * MS, 10 * MS, Share::of(rho));
        }));
        has_mean("delay", &values, 50.0);
        // Each is (1-rho) of a fresh draw and rho of the last, whose variances add up.
        let variance = 100.0 / 3.0 * (1.0 - rho) / (1.0 + rho);
        let squares: Vec<f64> = values.iter().map(|value| (value - 50.0).powi(2)).collect();
        has_mean("its variance", &squares, variance);
        let products: Vec<f64> = values.windows(2).map(|pair| (pair[0] - 50.0) * (pair[1] - 50.0)).collect();
        has_mean("of neighbours", &products, rho * variance);
    }
}

#[test]
fn each_distribution_has_the_mean_and_the_deviation_of_its_table() {
    let entries = "-16384 -8192 -8192 0 0 0 8192 8192 8192 8192 24576";
    let file = Distribution::parse(entries, "own.dist").unwrap();
    // (-2 -1 -1 0 0 0 1 1 1 1 3)/11, and of the squares 4+1+1+0+0+0+1+1+1+1+9.
    for (distribution, mean, square) in [(Distribution::Normal, 0.0, 1.0), (file, 3.0 / 11.0, 19.0 / 11.0)] {
        let name = format!("{distribution:?}");
        let values = delays(line(3, |it| {
            (it.delay, it.jitter, it.distribution) = (50 * MS, 10 * MS, distribution);
        }));
        let off: Vec<f64> = values.iter().map(|value| (value - 50.0) / 10.0).collect();
        has_mean(&name, &off, mean);
        has_mean(&name, &off.iter().map(|value| value * value).collect::<Vec<_>>(), square);
    }
    // Of Pareto's, below three deviations of the table: u^(-1/3) > 3·3/4 + 1.5 for u below 1/3.75^3.
    let values = delays(line(3, |it| {
        (it.delay, it.jitter, it.distribution) = (50 * MS, 10 * MS, Distribution::Pareto);
    }));
    let far = values.iter().filter(|value| **value > 80.0).count();
    // The table has 4096 steps, so the share is one of whole steps.
    let steps = (4096.0 / 3.75_f64.powi(3)).round() / 4096.0;
    is_share("far off", far, steps);
}

/// Lengths of runs of losses.
fn runs(lost: &[bool]) -> Vec<usize> {
    let mut runs = Vec::new();
    let mut length = 0;
    for &lost in lost {
        if lost {
            length += 1;
        } else if length > 0 {
            runs.push(std::mem::take(&mut length));
        }
    }
    runs
}

fn lost(loss: Loss) -> Vec<bool> {
    verdicts(line(5, |it| it.loss = loss)).map(|verdict| verdict.first == Fate::Lost).collect()
}

fn as_numbers(lost: &[bool]) -> Vec<f64> {
    lost.iter().map(|&lost| f64::from(u8::from(lost))).collect()
}

#[test]
fn two_states_lose_by_all_four_parameters_and_their_bursts_are_geometric() {
    let of = Share::of;
    for (p, r, bad, good) in [(0.02, 0.1, 1.0, 0.0), (0.05, 0.2, 0.7, 0.0), (0.05, 0.2, 0.7, 0.02)] {
        let lost = lost(Loss::GilbertElliott { p: of(p), r: of(r), bad: of(bad), good: of(good) });
        let in_bad = p / (p + r);
        has_mean("lost", &as_numbers(&lost), in_bad * bad + (1.0 - in_bad) * good);
        if good > 0.0 {
            continue;
        }
        // A run goes on where the state stays bad, and the next is lost in it.
        let on = (1.0 - r) * bad;
        let runs = runs(&lost);
        let bins: Vec<(f64, f64)> = (1..=12)
            .map(|length| {
                let count = runs.iter().filter(|&&run| run == length).count() as f64;
                (count, runs.len() as f64 * on.powi(length as i32 - 1) * (1.0 - on))
            })
            .collect();
        is_spread("bursts", &bins);
    }
}

#[test]
fn four_states_are_where_their_balance_says() {
    let of = Share::of;
    for (p13, p31, p32, p23, p14) in [
        (0.01, 0.2, 0.0, 1.0, 0.0),
        (0.01, 0.2, 0.3, 0.4, 0.0),
        (0.02, 0.1, 0.5, 0.2, 0.03),
        (0.0, 1.0, 0.0, 1.0, 0.05),
    ] {
        let lost = lost(Loss::FourStates { p13: of(p13), p31: of(p31), p32: of(p32), p23: of(p23), p14: of(p14) });
        // As often from gap to burst as back, and so between every two: weights, with 1 for a gap.
        let in_burst = p13 / p31;
        let weights = [1.0, p14, in_burst, in_burst * p32 / p23];
        let wanted = (p14 + in_burst) / weights.iter().sum::<f64>();
        has_mean("lost", &as_numbers(&lost), wanted);
    }
}

#[test]
fn random_losses_with_a_correlation_are_those_of_its_recursion() {
    for (part, rho) in [(0.1, 0.25), (0.3, 0.9), (0.5, 0.5)] {
        let loss = Loss::Random(Chance { share: Share::of(part), correlation: Share::of(rho) });
        let dice = Dice::new(5, "a.tx.loss");
        let mut last = 0.0;
        let mut ties = 0;
        for (number, is_lost) in (1_u64..).zip(lost(loss)) {
            last = (1.0 - rho) * f64::from(dice.draw(number)) + rho * last;
            let limit = part * f64::from(u32::MAX);
            // Whole numbers differ from those by rounding: of a million, some lie on the border.
            ties += u32::from((last <= limit) != is_lost);
        }
        assert!(ties < 5, "{part} {rho}: {ties}");
    }
    is_share("without", lost(Loss::Random(some(0.1))).iter().filter(|&&lost| lost).count(), 0.1);
}

#[test]
fn frames_overtake_as_a_renewal_after_each_gap() {
    for (part, gap) in [(0.25, 0), (0.25, 1), (0.25, 5), (1.0, 3)] {
        let overtakes = verdicts(line(9, |it| (it.delay, it.reorder, it.gap) = (5 * MS, some(part), gap)))
            .map(|verdict| f64::from(u8::from(matches!(verdict.first, Fate::Passes { .. }))));
        let overtakes: Vec<f64> = overtakes.collect();
        // So many are held, and then each has its chance.
        let cycle = f64::from(gap.max(1) - 1) + 1.0 / part;
        if part < 1.0 {
            has_mean("overtakes", &overtakes, 1.0 / cycle);
        } else {
            assert_eq!(overtakes.iter().sum::<f64>(), (FRAMES as f64 / cycle).floor());
        }
    }
}

#[test]
fn as_many_come_twice_and_as_many_bits_are_flipped_anywhere() {
    let line = line(4, |it| (it.duplicate, it.corrupt) = (some(0.05), some(0.2)));
    let (mut twice, mut flipped, mut bits) = (0, 0, vec![0_u32; 480]);
    for verdict in verdicts(line) {
        twice += usize::from(verdict.second.is_some());
        if let Fate::Passes { flip: Some(bit) } = verdict.first {
            flipped += 1;
            bits[bit as usize] += 1;
        }
    }
    is_share("twice", twice, 0.05);
    is_share("corrupt", flipped, 0.2);
    is_spread("bits", &bits.iter().map(|&count| (f64::from(count), flipped as f64 / 480.0)).collect::<Vec<_>>());
}

#[test]
fn nth_only_and_match_are_exact() {
    let odd = || Matcher { words: "odd".into(), holds: Arc::new(|frame| frame[0] % 2 == 1) };
    let mut line = line(1, |it| {
        (it.nth, it.only, it.matches) = (NonZeroU64::new(7), Some(1000..=900_000), Some(odd()));
    });
    let mut concerned = 0;
    for number in 1..=FRAMES {
        let is_meant = (1000..=900_000).contains(&number) && number % 2 == 1;
        concerned += u64::from(is_meant);
        let wanted = is_meant && concerned.is_multiple_of(7);
        let verdict = line.judge(Instant::ZERO, &[(number % 2) as u8; 60]);
        assert_eq!(verdict.first == Fate::Lost, wanted, "{number}");
    }
}

/// A rate: no two frames let more through than the rate and the burst, and it is used up.
#[test]
fn a_rate_is_neither_exceeded_nor_wasted() {
    const RATE: u64 = 10_000_000;
    const BURST: u64 = 15_000;
    let mut line = line(1, |it| (it.rate, it.burst, it.limit) = (NonZeroU64::new(RATE), BURST, usize::MAX));
    let dice = Dice::new(8, "lengths");
    let (mut sum, mut least, mut now, mut last) = (0_u64, f64::INFINITY, Instant::ZERO, Instant::ZERO);
    let (mut waited, mut began) = (Duration::ZERO, Instant::ZERO);
    for number in 0..FRAMES {
        let len = 60 + u64::from(dice.draw(number)) * 1454 / u64::from(u32::MAX);
        // Half of the load at first, and then twice of it.
        let apart = if number < FRAMES / 2 { len * 16 } else { len * 4 };
        now += Duration::from_nanos(apart * 1_000_000_000 / RATE);
        let at = match line.judge(now, &vec![0; len as usize]).first {
            Fate::Held { until, .. } => until,
            _ => now,
        };
        assert!(at >= last, "order");
        (last, waited) = (at, waited.max(at - now));
        // What has gone less what was earned, in bytes: since its least it is no more than the burst, and a byte of rounding.
        let due = |sum: u64| sum as f64 - at.as_nanos() as f64 * RATE as f64 / 8e9;
        least = f64::min(least, due(sum));
        sum += len;
        assert!(due(sum) - least <= BURST as f64 + 1.0, "{number}: {}", due(sum) - least);
        if number + 1 == FRAMES / 2 {
            assert_eq!(waited, Duration::ZERO, "the burst is worth more than a frame at half of the load");
            (sum, least, now, began) = (0, f64::INFINITY, at, at);
        }
    }
    // At twice the load all but the burst left by the rate, which loses less than a nanosecond a frame.
    let took = (last - began).as_nanos() as f64;
    let by_rate = |bytes: u64| bytes as f64 * 8e9 / RATE as f64;
    assert!((by_rate(sum - BURST - 1514) - FRAMES as f64..=by_rate(sum)).contains(&took), "{took}");
}

#[test]
fn limits_hold_as_many_frames_and_bytes_as_they_say() {
    for (limit, bytes) in [(17, None), (1000, Some(1500))] {
        let mut line = line(6, |it| (it.delay, it.limit, it.limit_bytes) = (20 * MS, limit, bytes));
        let mut memory = Memory::new(64 << 20);
        let dice = Dice::new(8, "lengths");
        let mut model: VecDeque<(Instant, usize)> = VecDeque::new();
        for number in 0..FRAMES / 4 {
            let now = Instant::from_millis(number);
            line.release(now, &mut memory, |_, _| true);
            model.retain(|(until, _)| *until > now);
            let frame = vec![0; 60 + dice.draw(number) as usize % 100];
            let held: usize = model.iter().map(|(_, len)| len).sum();
            let is_full = model.len() >= limit || bytes.is_some_and(|bytes| held + frame.len() > bytes);
            match line.judge(now, &frame).first {
                Fate::Full => assert!(is_full, "{number}"),
                Fate::Held { until, flip } => {
                    assert!(!is_full && line.hold(until, flip, PortId(0), &frame, &mut memory), "{number}");
                    model.push_back((until, frame.len()));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(
                (line.held(), line.frames().map(|(_, it)| it.len()).sum::<usize>()),
                (model.len(), model.iter().map(|it| it.1).sum())
            );
        }
    }
}

#[test]
fn slots_open_evenly_between_their_times_and_let_as_many_pass() {
    let slot = Slot { from: 5 * MS, to: 15 * MS, frames: NonZeroU64::new(10), bytes: None };
    let mut line = line(2, |it| (it.slot, it.limit) = (Some(slot), usize::MAX));
    let mut memory = Memory::new(64 << 20);
    let (mut opens, mut now) = (Vec::new(), Instant::ZERO);
    let mut left = 0;
    while left < FRAMES {
        while line.held() < 20 {
            let Fate::Held { until, flip } = line.judge(now, &[0; 60]).first else { panic!() };
            assert!(line.hold(until, flip, PortId(0), &[0; 60], &mut memory));
        }
        now = line.poll_timeout().unwrap().max(now);
        let released = line.release(now, &mut memory, |_, _| true) as u64;
        assert!([0, 10].contains(&released), "{released}");
        if released > 0 {
            opens.push(now);
        }
        left += released;
    }
    let gaps: Vec<f64> = opens.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3).collect();
    assert!(gaps.iter().all(|gap| (5.0..=15.0).contains(gap)));
    has_mean("gaps", &gaps, 10.0);
    has_mean("their variance", &gaps.iter().map(|gap| (gap - 10.0).powi(2)).collect::<Vec<_>>(), 100.0 / 12.0);
}
