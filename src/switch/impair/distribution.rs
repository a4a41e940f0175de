//! How delays spread around their mean: uniformly, or as a table says.
//!
//! Theory of operation. A table has the inverse of a cumulative distribution at even steps, in 8192nds of a deviation, as
//! iproute2's files have it (`/usr/lib/tc/normal.dist`). A draw picks an entry; so a table made by iproute2's `maketable`
//! from measured delays can be used as it is.

use super::dice::{Dice, Share};
use crate::time::Duration;
use std::sync::{Arc, LazyLock};

/// What an entry of a table is a part of: NETEM_DIST_SCALE of linux/pkt_sched.h.
const SCALE: i64 = 8192;
/// Entries of the tables that are made here, as of iproute2's.
const ENTRIES: usize = 4096;
/// Entries of a table at most: NETEM_DIST_MAX.
pub const MOST_ENTRIES: usize = 16_384;

/// A distribution of delays.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Distribution {
    /// Every delay from mean less jitter to mean and jitter is as likely.
    #[default]
    Uniform,
    /// A bell, cut off at four deviations.
    Normal,
    /// A tail to longer delays: Pareto's, with the exponent 3.
    Pareto,
    /// Entries of a table, and the path that it was read from.
    Table(Arc<[i16]>, Arc<str>),
}

impl Distribution {
    /// Reads a table: numbers from -32768 to 32767 apart by blanks, and lines that begin with `#`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, path: &str) -> Result<Self, String> {
        let words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        let mut entries = Vec::new();
        for word in words {
            let entry = word.parse().map_err(|_| format!("{word:?} is no number from -32768 to 32767"))?;
            entries.push(entry);
            if entries.len() > MOST_ENTRIES {
                return Err(format!("it has more than {MOST_ENTRIES} numbers"));
            }
        }
        match entries.is_empty() {
            true => Err("it has no numbers".into()),
            false => Ok(Self::Table(entries.into(), path.into())),
        }
    }

    /// Makes its table, if it has one that is made, so that no frame waits for that.
    #[must_use]
    pub fn ready(self) -> Self {
        match self {
            Self::Normal => drop(LazyLock::force(&NORMAL)),
            Self::Pareto => drop(LazyLock::force(&PARETO)),
            Self::Uniform | Self::Table(..) => {}
        }
        self
    }

    /// A delay for frame `number`: around `mean`, with the deviation `jitter`. It is never below zero.
    pub fn delay(
        &self,
        dice: &mut Dice,
        number: u64,
        mean: Duration,
        jitter: Duration,
        correlation: Share,
    ) -> Duration {
        if jitter.is_zero() {
            return mean;
        }
        let drawn = dice.correlated(number, correlation);
        let (mean, jitter) = (nanos(mean), nanos(jitter));
        let spread = match self {
            Self::Uniform => ((i128::from(drawn) * i128::from(jitter) * 2) >> 32) - i128::from(jitter),
            Self::Normal => of_table(&NORMAL, drawn, jitter),
            Self::Pareto => of_table(&PARETO, drawn, jitter),
            Self::Table(table, _) => of_table(table, drawn, jitter),
        };
        let delay = i128::from(mean) + spread;
        Duration::from_nanos(u64::try_from(delay.max(0)).unwrap_or(u64::MAX))
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn of_table(table: &[i16], drawn: u32, jitter: i64) -> i128 {
    let index = ((u64::from(drawn) * table.len() as u64) >> 32) as usize;
    let entry = table.get(index).copied().unwrap_or_default();
    i128::from(entry) * i128::from(jitter) / i128::from(SCALE)
}

/// A table of the values `at` the middle of each step from 0 to 1.
fn table(at: impl Fn(f64) -> f64) -> Vec<i16> {
    let step = |index: usize| (index as f64 + 0.5) / ENTRIES as f64;
    // The conversion ends at the ends of an i16, which is where iproute2 cuts off, too.
    (0..ENTRIES).map(|index| (at(step(index)) * SCALE as f64).round() as i16).collect()
}

static NORMAL: LazyLock<Vec<i16>> = LazyLock::new(normal);

/// As iproute2's pareto.c: 1/u^(1/3), moved and stretched to the mean 0 and about the deviation 1.
static PARETO: LazyLock<Vec<i16>> = LazyLock::new(|| table(|part| (part.powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0));

/// The quantiles of a standard normal variable, in the middle of each step: by Newton's way from each to the next, from
/// four deviations below the mean up to it; the other half is its mirror.
fn normal() -> Vec<i16> {
    let mut at = -4.0_f64;
    let below: Vec<f64> = (0..ENTRIES / 2)
        .map(|index| {
            let part = (index as f64 + 0.5) / ENTRIES as f64;
            // It doubles the digits each time: five have more than an entry needs, wherever it begins.
            for _ in 0..5 {
                at -= (cumulative(at) - part) / density(at);
            }
            at
        })
        .collect();
    let above = below.iter().rev().map(|value| -value);
    below.iter().copied().chain(above).map(|value| (value * SCALE as f64).round() as i16).collect()
}

/// The density of a standard normal variable.
fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Abramowitz and Stegun 26.2.10: the integral of the normal density up to `x`, as an alternating series.
fn cumulative(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..200_i32 {
        term *= x * x / f64::from(2 * n + 1);
        sum += term;
        if term.abs() < sum.abs() * f64::EPSILON {
            break;
        }
    }
    // 26.2.11: the sum of x^(2n+1)/(1·3·5…(2n+1)), times the density.
    0.5 + sum * density(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u64 = 1_000_000;
    const MEAN: Duration = Duration::from_millis(50);
    const JITTER: Duration = Duration::from_millis(10);

    fn delays(distribution: &Distribution, correlation: f64) -> Vec<f64> {
        let mut dice = Dice::new(11, "delay");
        let one =
            |number| distribution.delay(&mut dice, number, MEAN, JITTER, Share::of(correlation)).as_secs_f64() * 1e3;
        (0..FRAMES).map(one).collect()
    }

    fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    /// The mean of a sample deviates by the deviation over the root of its size; that of a deviation by less than the same
    /// times the root of the kurtosis.
    fn is_near(values: &[f64], wanted: (f64, f64), kurtosis: f64) {
        let (mean, deviation) = mean_and_deviation(values);
        let bound = 4.0 * wanted.1 / (values.len() as f64).sqrt();
        assert!((mean - wanted.0).abs() < bound, "mean {mean}, not {}", wanted.0);
        assert!((deviation - wanted.1).abs() < bound * kurtosis.sqrt(), "deviation {deviation}, not {}", wanted.1);
    }

    #[test]
    fn uniform_delays_fill_their_range() {
        let values = delays(&Distribution::Uniform, 0.0);
        is_near(&values, (50.0, 10.0 / 3_f64.sqrt()), 1.8);
        assert!(values.iter().all(|value| (40.0..=60.0).contains(value)));
    }

    #[test]
    fn normal_delays_have_the_quantiles_of_a_bell() {
        let mut values = delays(&Distribution::Normal, 0.0);
        is_near(&values, (50.0, 10.0), 3.0);
        values.sort_by(f64::total_cmp);
        for (part, wanted) in [(0.0228, 30.0), (0.1587, 40.0), (0.5, 50.0), (0.8413, 60.0), (0.9772, 70.0)] {
            let value = values[(part * values.len() as f64) as usize];
            assert!((value - wanted).abs() < 0.1, "{part}: {value}");
        }
    }

    #[test]
    fn the_normal_table_is_exact() {
        let table = normal();
        assert_eq!((table.len(), table.iter().map(|&entry| i64::from(entry)).sum::<i64>()), (ENTRIES, 0));
        assert!(table.is_sorted());
        for (index, &entry) in table.iter().enumerate() {
            // What a half of a unit more or less is worth has to hold the middle of the step.
            let at = |half: f64| cumulative((f64::from(entry) + half) / SCALE as f64);
            let part = (index as f64 + 0.5) / ENTRIES as f64;
            assert!(at(-0.5001) <= part && part <= at(0.5001), "{index}: {entry}");
        }
    }

    #[test]
    fn pareto_delays_have_a_tail_to_one_side() {
        let values = delays(&Distribution::Pareto, 0.0);
        let table = mean_and_deviation(
            &PARETO.iter().map(|&entry| 50.0 + 10.0 * f64::from(entry) / 8192.0).collect::<Vec<_>>(),
        );
        is_near(&values, table, 9.0);
        let far = |beyond: f64| values.iter().filter(|&&value| value > beyond).count();
        assert!(far(80.0) > 5_000 && values.iter().all(|&value| value >= 50.0 - 6.7), "{}", far(80.0));
    }

    #[test]
    fn a_table_is_read_as_iproute2_writes_it() {
        let table = Distribution::parse("# measured\n -8192 0\n8192 0\n", "own.dist").unwrap();
        let values = delays(&table, 0.0);
        let times =
            |wanted: f64| values.iter().filter(|&&value| (value - wanted).abs() < 1e-6).count() as f64 / FRAMES as f64;
        assert!(
            (times(40.0) - 0.25).abs() < 0.002
                && (times(50.0) - 0.5).abs() < 0.002
                && (times(60.0) - 0.25).abs() < 0.002
        );
        for (text, says) in [("", "no numbers"), ("# 1", "no numbers"), ("1 x", "\"x\""), ("40000", "\"40000\"")] {
            assert!(Distribution::parse(text, "f").unwrap_err().contains(says), "{text}");
        }
        assert!(Distribution::parse(&"1 ".repeat(MOST_ENTRIES + 1), "f").unwrap_err().contains("16384"));
    }

    #[test]
    fn a_delay_is_never_negative_and_sums_do_not_overflow() {
        let mut dice = Dice::new(1, "x");
        for number in 0..1000 {
            let short = Distribution::Normal.delay(&mut dice, number, Duration::ZERO, JITTER, Share::default());
            assert!(short < Duration::from_millis(41));
            Distribution::Pareto.delay(&mut dice, number, Duration::MAX, Duration::MAX, Share::ALL);
        }
    }
}
