//! The values of impairments, word by word: times, shares, rates and models, in the units of tc(8).

use super::super::value::{self, Parsed};
use crate::switch::{Chance, Distribution, Loss, Share, Slot};
use std::fs;
use std::io::Read;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

const TIME: &str = "a time, as 20ms, 1.5ms, 500us or 0";
const SHARE: &str = "a percentage from 0% to 100%, as 1% or 0.5%";
const RATE: &str = "a rate, as 250kbit, 1mbit, 1.5gbit or, in bytes, 10mbps; 0 is none";
/// A longer file is no table of a distribution.
const TABLE_BYTES: u64 = 256 * 1024;

/// The words of a value, taken one by one.
pub struct Words<'a> {
    rest: std::iter::Peekable<SplitWhitespace<'a>>,
}

impl<'a> Words<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { rest: text.split_whitespace().peekable() }
    }

    /// Whether there are more.
    pub fn is_more(&mut self) -> bool {
        self.rest.peek().is_some()
    }

    /// Refuses what is left.
    pub fn finish(mut self) -> Parsed<()> {
        self.rest.next().map_or(Ok(()), |word| Err(format!("nothing more, not {word:?}")))
    }

    fn next<T>(&mut self, form: &str, read: impl Fn(&str) -> Option<T>) -> Parsed<T> {
        self.rest.next().and_then(read).ok_or_else(|| form.to_owned())
    }

    fn next_or<T>(&mut self, otherwise: T, form: &str, read: impl Fn(&str) -> Option<T>) -> Parsed<T> {
        if self.is_more() { self.next(form, read) } else { Ok(otherwise) }
    }

    fn is_next(&mut self, word: &str) -> bool {
        self.rest.next_if_eq(&word).is_some()
    }

    pub fn number<T: FromStr>(&mut self) -> Parsed<T> {
        self.next("a whole number", |word| digits(word)?.parse().ok())
    }

    pub fn time(&mut self) -> Parsed<Duration> {
        self.next(TIME, time)
    }

    fn share(&mut self) -> Parsed<Share> {
        self.next(SHARE, share)
    }

    /// A share, and perhaps a correlation.
    pub fn chance(&mut self) -> Parsed<Chance> {
        let share = self.share()?;
        Ok(Chance { share, ..self.correlation()? })
    }

    /// The correlation alone, where there is one.
    pub fn correlation(&mut self) -> Parsed<Chance> {
        let correlation = self.next_or(Share::default(), SHARE, share)?;
        Ok(Chance { correlation, ..Chance::default() })
    }

    pub fn loss(&mut self) -> Parsed<Loss> {
        let none = Share::default();
        if self.is_next("gemodel") {
            let p = self.share()?;
            let r = self.next_or(p.rest(), SHARE, share)?;
            let bad = self.next_or(Share::ALL, SHARE, share)?;
            let good = self.next_or(none, SHARE, share)?;
            return Ok(Loss::GilbertElliott { p, r, bad, good });
        }
        if self.is_next("state") {
            let p13 = self.share()?;
            let p31 = self.next_or(p13.rest(), SHARE, share)?;
            let p32 = self.next_or(none, SHARE, share)?;
            let p23 = self.next_or(Share::ALL, SHARE, share)?;
            let p14 = self.next_or(none, SHARE, share)?;
            return Ok(Loss::FourStates { p13, p31, p32, p23, p14 });
        }
        if self.is_next("random") {
            return Ok(Loss::Random(self.chance()?));
        }
        let form = format!("{SHARE}, or gemodel P [R [1-H [1-K]]], or state P13 [P31 [P32 [P23 [P14]]]]");
        Ok(Loss::Random(self.chance().map_err(|_| form)?))
    }

    pub fn distribution(&mut self) -> Parsed<Distribution> {
        match self.next("uniform, normal, pareto or a file", |word| Some(word.to_owned()))?.as_str() {
            "uniform" => Ok(Distribution::Uniform),
            "normal" => Ok(Distribution::Normal.ready()),
            "pareto" => Ok(Distribution::Pareto.ready()),
            path => read_table(path).map_err(|why| format!("uniform, normal, pareto or a file: {path}: {why}")),
        }
    }

    /// `FIRST-LAST`, `FIRST-`, `N` or `all`.
    pub fn numbers(&mut self) -> Parsed<Option<RangeInclusive<u64>>> {
        self.next("FIRST-LAST, as 100-200, or FIRST-, or all", |word| {
            if word == "all" {
                return Some(None);
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let first: u64 = digits(first)?.parse().ok()?;
            let last: u64 = if last.is_empty() { u64::MAX } else { digits(last)?.parse().ok()? };
            (first > 0 && first <= last).then_some(Some(first..=last))
        })
    }

    pub fn rate(&mut self) -> Parsed<Option<NonZeroU64>> {
        self.next(RATE, rate)
    }

    pub fn bytes(&mut self) -> Parsed<u64> {
        self.next("bytes, as 1500, 15k or 64K", |word| bytes(word).map(|(bytes, _)| bytes))
    }

    /// Frames (`Err`), or bytes, which have a unit (`Ok`).
    pub fn limit(&mut self) -> Parsed<Result<usize, usize>> {
        self.next("frames, as 1000, or bytes with a unit, as 64K", |word| {
            let (number, has_unit) = bytes(word)?;
            let number = usize::try_from(number).ok().filter(|number| *number > 0)?;
            Some(if has_unit { Ok(number) } else { Err(number) })
        })
    }

    pub fn slot(&mut self) -> Parsed<Option<Slot>> {
        let from = self.time()?;
        let is_time = self.rest.peek().is_some_and(|word| !["packets", "bytes"].contains(word));
        let to = if is_time { self.time()? } else { from };
        let (mut frames, mut bytes) = (None, None);
        while self.is_more() {
            if self.is_next("packets") {
                frames = NonZeroU64::new(self.number()?);
            } else if self.is_next("bytes") {
                bytes = NonZeroU64::new(self.bytes()?);
            } else {
                return Err("MIN [MAX] [packets N] [bytes N]".to_owned());
            }
        }
        if to < from {
            return Err("MAX no less than MIN".to_owned());
        }
        Ok((!to.is_zero()).then_some(Slot { from, to, frames, bytes }))
    }
}

/// A number with digits only, or with a point among them.
fn digits(word: &str) -> Option<&str> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_number.then_some(word)
}

/// Takes a word apart into its number and its unit.
fn with_unit(word: &str) -> Option<(f64, &str)> {
    let end = word.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at_checked(end)?;
    Some((digits(number)?.parse().ok()?, unit))
}

/// `20ms`, `1.5ms`, `500us`, `2s`; a bare 0.
fn time(word: &str) -> Option<Duration> {
    let (number, unit) = with_unit(word)?;
    let nanos = match unit {
        "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        "" if number == 0.0 => 0.0,
        _ => return None,
    };
    // An hour is more than any line holds a frame.
    let nanos = number * nanos;
    (nanos <= 3.6e12).then(|| Duration::from_nanos(nanos.round() as u64))
}

fn share(word: &str) -> Option<Share> {
    let (number, unit) = with_unit(word)?;
    let is_share = number <= 100.0 && (unit == "%" || unit.is_empty() && number == 0.0);
    is_share.then(|| Share::of(number / 100.0))
}

/// As tc(8): `bit` with k, m, g or t for powers of 1000, and Ki, Mi, Gi for those of 1024; `bps` are bytes.
fn rate(word: &str) -> Option<Option<NonZeroU64>> {
    let (number, unit) = with_unit(word)?;
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() {
        return (number == 0.0).then_some(None);
    }
    let (prefix, bits) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps")) {
        (Some(prefix), _) => (prefix, 1.0),
        (_, Some(prefix)) => (prefix, 8.0),
        _ => return None,
    };
    let factor = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bits = (number * bits * factor).round();
    (bits <= 1e15).then(|| NonZeroU64::new(bits as u64))
}

/// Bytes, and whether they have a unit: `15k`, `64K`, `1mb`, all powers of 1024 as in tc(8); `b` alone are bytes.
fn bytes(word: &str) -> Option<(u64, bool)> {
    let (number, unit) = with_unit(word)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = (number * factor).round();
    (bytes <= 1e15 && (!unit.is_empty() || number.fract() == 0.0)).then_some((bytes as u64, !unit.is_empty()))
}

/// The table of a distribution in a file.
fn read_table(path: &str) -> Result<Distribution, String> {
    value::path(path)?;
    let file = fs::File::open(path).map_err(|cause| cause.to_string())?;
    if !file.metadata().is_ok_and(|file| file.is_file()) {
        return Err("it is no file".into());
    }
    let mut text = String::new();
    file.take(TABLE_BYTES).read_to_string(&mut text).map_err(|cause| cause.to_string())?;
    Distribution::parse(&text, path)
}

#[cfg(test)]
mod tests {
    use super::super::super::grammar::Key;
    use super::super::Bend;
    use crate::switch::{Impairment, Matcher};

    fn bend(word: &str, value: &str) -> Result<Impairment, String> {
        let key = Key { word: word.to_owned(), value: Some(value.to_owned()), at: 0 };
        let bend = Bend::parse(&key).map_err(|fault| fault.what)?;
        let mut settings = Impairment::default();
        let filter = |words: &str| Ok::<_, ()>(Matcher { words: words.into(), holds: std::sync::Arc::new(|_| true) });
        bend.apply(&mut settings, filter).unwrap();
        assert_eq!(bend.to_string(), format!("{word}={value}"));
        Ok(settings)
    }

    /// The settings that a value makes, shortly.
    fn made(word: &str, value: &str) -> String {
        let all = format!("{:?}", bend(word, value).unwrap());
        let none = format!("{:?}", Impairment::default());
        let inside = |text: &str| text.trim_start_matches("Impairment { ").trim_end_matches(" }").to_owned();
        let fields = |text: &str| inside(text).split(", ").map(str::to_owned).collect::<Vec<_>>();
        let changed = fields(&all).into_iter().filter(|field| !fields(&none).contains(field));
        changed.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn values_are_as_tc_writes_them() {
        for (word, value, wanted) in [
            ("tx.delay", "20ms", "delay: 20ms"),
            ("tx.delay", "1.5ms 500us", "delay: 1.5ms, jitter: 500µs"),
            ("rx.jitter", "2s", "jitter: 2s"),
            ("tx.rate", "250kbit", "rate: Some(250000)"),
            ("tx.rate", "1mbps", "rate: Some(8000000)"),
            ("tx.rate", "1.5Mbit", "rate: Some(1500000)"),
            ("tx.burst", "15k", "burst: 15360"),
            ("tx.limit", "50", "limit: 50"),
            ("tx.limit", "64K", "limit_bytes: Some(65536)"),
            ("tx.nth", "3", "nth: Some(3)"),
            ("tx.gap", "5", "gap: 5"),
            ("tx.only", "100-200", "only: Some(100..=200)"),
            ("tx.only", "7", "only: Some(7..=7)"),
            ("tx.match", "udp port 5683", "matches: Some(Matcher(\"udp port 5683\"))"),
            ("both.distribution", "pareto", "distribution: Pareto"),
        ] {
            assert_eq!(made(word, value), wanted, "{word}={value}");
        }
        for nothing in ["tx.delay=0", "tx.loss=0%", "tx.rate=0", "tx.only=all", "tx.match=all", "tx.slot=0", "tx.nth=0"]
        {
            let (word, value) = nothing.split_once('=').unwrap();
            assert_eq!(bend(word, value), Ok(Impairment::default()), "{nothing}");
        }
    }

    #[test]
    fn models_have_the_defaults_of_tc() {
        let loss = |value: &str| made("tx.loss", value);
        assert_eq!(loss("random 1% 25%"), loss("1% 25%"));
        assert_eq!(loss("gemodel 1%"), loss("gemodel 1% 99% 100% 0%"));
        assert_eq!(loss("state 1%"), loss("state 1% 99% 0% 100% 0%"));
        assert_ne!(loss("gemodel 1% 10%"), loss("gemodel 1%"));
        assert_eq!(made("tx.slot", "5ms 10ms packets 3"), made("tx.slot", "5ms 10000us packets 3"));
    }

    #[test]
    fn a_wrong_value_is_told_what_is_expected() {
        for (word, value, says) in [
            ("tx.delay", "", "a time, as 20ms"),
            ("tx.delay", "20", "a time, as 20ms"),
            ("tx.delay", "-1ms", "a time, as 20ms"),
            ("tx.delay", "5h", "a time, as 20ms"),
            ("tx.delay", "1ms 1ms 1% 1", "nothing more, not \"1\""),
            ("tx.loss", "101%", "gemodel P"),
            ("tx.loss", "1", "a percentage from 0% to 100%"),
            ("tx.loss", "gemodel", "a percentage"),
            ("tx.rate", "5", "a rate, as 250kbit"),
            ("tx.rate", "5parsec", "a rate, as 250kbit"),
            ("tx.rate", "9999999tbit", "a rate"),
            ("tx.only", "9-3", "FIRST-LAST"),
            ("tx.only", "0", "FIRST-LAST"),
            ("tx.slot", "10ms 5ms", "MAX no less than MIN"),
            ("tx.slot", "1ms 2ms often", "MIN [MAX]"),
            ("tx.limit", "0", "frames, as 1000"),
            ("tx.gap", "1.5", "a whole number"),
            ("tx.distribution", "/nowhere/a.dist", "No such file"),
            ("tx.distribution", "/dev/zero", "it is no file"),
            ("tx.los", "1%", "the nearest is \"loss\""),
            ("up.loss", "1%", "expected tx, rx or both"),
        ] {
            let fault = bend(word, value).unwrap_err();
            assert!(fault.contains(says), "{word}={value}: {fault}");
        }
    }
}
