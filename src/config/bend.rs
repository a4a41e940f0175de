//! What a bad line does to a port's frames: `tx.delay=20ms,rx.loss=1%`. Words and units are netem's and tc's.
//!
//! Each key is one [`Bend`], which changes one setting of one direction, or of both, and leaves the others: so the same words
//! make a port's settings, and change those of one that runs.

mod words;

use super::grammar::{Fault, Key, nearest};
use super::kind::KeyRow;
use super::value::Parsed;
use crate::switch::{Chance, Distribution, Impairment, Loss, Matcher, Slot, Way};
use std::fmt;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The directions' words.
const WAYS: [(&str, &[Way]); 3] = [("tx", &[Way::Out]), ("rx", &[Way::In]), ("both", &Way::BOTH)];

const fn row(word: &'static str, value: &'static str, summary: &'static str) -> KeyRow {
    KeyRow { word, value: Some(value), repeatable: false, live: false, summary }
}

/// The keys, behind `tx.`, `rx.` or `both.`.
pub const BEND_KEYS: &[KeyRow] = &[
    row(
        "delay",
        "TIME [JITTER [PERCENT]]",
        "holds each frame for so long, give or take JITTER, as like the one before as PERCENT",
    ),
    row("jitter", "TIME [PERCENT]", "the deviation of delays, and how much of each is the one before"),
    row("distribution", "uniform|normal|pareto|FILE", "how delays spread; a file as tc's (/usr/lib/tc/*.dist)"),
    row(
        "loss",
        "PERCENT [PERCENT]|gemodel P [R [1-H [1-K]]]|state P13 [P31 [P32 [P23 [P14]]]]",
        "loses frames: by chance (as like the one before), in bursts of two states, or of four",
    ),
    row("nth", "N", "loses every Nth frame; 0: none"),
    row("match", "FILTER", "only frames that a filter of `zbridge capture` holds for; the others pass. all: any"),
    row("only", "FIRST-LAST", "only the frames with these numbers, from 1 on; all: any"),
    row("duplicate", "PERCENT [PERCENT]", "sends so many frames twice"),
    row("reorder", "PERCENT [PERCENT]", "lets so many frames pass those that are held"),
    row("gap", "N", "lets only every Nth pass"),
    row("corrupt", "PERCENT [PERCENT]", "flips a bit of so many frames; checksums stay"),
    row("rate", "RATE", "lets so much pass in a second: 250kbit, 1mbit, 10mbps; 0: all"),
    row("burst", "BYTES", "lets so much pass at once after a rest, whatever the rate"),
    row("limit", "N|BYTES", "holds at most so many frames (1000), or bytes with a unit (64K)"),
    row("slot", "MIN [MAX] [packets N] [bytes N]", "lets frames pass together, MIN to MAX apart; 0: each by itself"),
];

/// One setting of a port's impairments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bend {
    /// `tx`, `rx` or `both`.
    way: &'static str,
    word: &'static str,
    /// Its value, as it was written.
    text: String,
    edit: Edit,
}

/// What it does to the settings of a direction.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Edit {
    Delay(Duration, Option<(Duration, Chance)>),
    Jitter(Duration, Chance),
    Distribution(Distribution),
    Loss(Loss),
    Nth(Option<NonZeroU64>),
    Match(Option<String>),
    Only(Option<RangeInclusive<u64>>),
    Duplicate(Chance),
    Reorder(Chance),
    Gap(u32),
    Corrupt(Chance),
    Rate(Option<NonZeroU64>),
    Burst(u64),
    LimitFrames(usize),
    LimitBytes(usize),
    Slot(Option<Slot>),
}

/// Takes the keys apart that are impairments.
///
/// # Errors
/// One of them is wrong, or given twice.
pub fn apart(keys: Vec<Key>) -> Result<(Vec<Bend>, Vec<Key>), Fault> {
    let (ours, others): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(|key| is_way(key.word.split('.').next()));
    let mut bends: Vec<Bend> = Vec::new();
    for key in ours {
        let bend = Bend::parse(&key)?;
        if bends.iter().any(|earlier| earlier.key() == bend.key()) {
            return Err(Fault::new(format!("key {:?} is given twice", key.word)).at(key.at));
        }
        bends.push(bend);
    }
    Ok((bends, others))
}

/// Whether it is the word of a direction.
pub fn is_way(word: Option<&str>) -> bool {
    WAYS.iter().any(|(known, _)| Some(*known) == word)
}

impl Bend {
    /// Understands `WAY.KEY=VALUE`.
    ///
    /// # Errors
    /// The key is not known, has no value, or a wrong one.
    pub fn parse(key: &Key) -> Result<Self, Fault> {
        let (way, word) = key.word.split_once('.').unwrap_or_default();
        let Some((way, _)) = WAYS.iter().find(|(known, _)| *known == way) else {
            return Err(Fault::new(format!("{way:?} is no direction: expected tx, rx or both")).at(key.at));
        };
        let Some(row) = BEND_KEYS.iter().find(|row| row.word == word) else {
            let known = nearest(word, BEND_KEYS.iter().map(|row| row.word));
            return Err(Fault::new(format!("there is no impairment {word:?}; {known}"))
                .hint("`zbridge help impair` has all of them")
                .at(key.at));
        };
        let form = row.value.unwrap_or_default();
        let Some(text) = &key.value else {
            return Err(Fault::new(format!("key {:?} needs a value: {}={form}", key.word, key.word)).at(key.at));
        };
        let refused = |wanted: String| Fault::new(format!("{}={text:?}: expected {wanted}", key.word)).at(key.at);
        let edit = edit(row.word, text).map_err(refused)?;
        Ok(Self { way, word: row.word, text: text.clone(), edit })
    }

    /// The directions that it is for.
    pub fn ways(&self) -> &'static [Way] {
        WAYS.iter().find(|(word, _)| *word == self.way).map_or(&[], |(_, ways)| ways)
    }

    /// Its key, as it is written.
    pub fn key(&self) -> String {
        format!("{}.{}", self.way, self.word)
    }

    /// Whether it sets what `other` has set, so that nothing of that is left.
    pub fn replaces(&self, other: &Self) -> bool {
        self.word == other.word && other.ways().iter().all(|way| self.ways().contains(way))
    }

    /// Its value, as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Changes the settings of a direction. `filter` makes a test of the words of a capture's filter.
    ///
    /// # Errors
    /// Those of `filter`.
    pub fn apply<E>(&self, to: &mut Impairment, filter: impl Fn(&str) -> Result<Matcher, E>) -> Result<(), E> {
        match &self.edit {
            Edit::Delay(delay, spread) => {
                to.delay = *delay;
                if let Some((jitter, chance)) = spread {
                    (to.jitter, to.delay_correlation) = (*jitter, chance.correlation);
                }
            }
            Edit::Jitter(jitter, chance) => (to.jitter, to.delay_correlation) = (*jitter, chance.correlation),
            Edit::Distribution(distribution) => to.distribution = distribution.clone(),
            Edit::Loss(loss) => to.loss = *loss,
            Edit::Nth(nth) => to.nth = *nth,
            Edit::Match(words) => to.matches = words.as_deref().map(filter).transpose()?,
            Edit::Only(only) => to.only.clone_from(only),
            Edit::Duplicate(chance) => to.duplicate = *chance,
            Edit::Reorder(chance) => to.reorder = *chance,
            Edit::Gap(gap) => to.gap = *gap,
            Edit::Corrupt(chance) => to.corrupt = *chance,
            Edit::Rate(rate) => to.rate = *rate,
            Edit::Burst(burst) => to.burst = *burst,
            Edit::LimitFrames(limit) => to.limit = *limit,
            Edit::LimitBytes(limit) => to.limit_bytes = Some(*limit),
            Edit::Slot(slot) => to.slot = *slot,
        }
        Ok(())
    }
}

impl fmt::Display for Bend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}={}", self.way, self.word, self.text)
    }
}

/// Understands the value of a key.
fn edit(word: &str, text: &str) -> Parsed<Edit> {
    let mut words = words::Words::of(text);
    let edit = match word {
        "delay" => {
            let delay = words.time()?;
            let spread = if words.is_more() { Some((words.time()?, words.correlation()?)) } else { None };
            Edit::Delay(delay, spread)
        }
        "jitter" => Edit::Jitter(words.time()?, words.correlation()?),
        "distribution" => Edit::Distribution(words.distribution()?),
        "loss" => Edit::Loss(words.loss()?),
        "nth" => Edit::Nth(NonZeroU64::new(words.number()?)),
        "match" => return Ok(Edit::Match(Some(text.to_owned()).filter(|text| text != "all"))),
        "only" => Edit::Only(words.numbers()?),
        "duplicate" => Edit::Duplicate(words.chance()?),
        "reorder" => Edit::Reorder(words.chance()?),
        "gap" => Edit::Gap(words.number()?),
        "corrupt" => Edit::Corrupt(words.chance()?),
        "rate" => Edit::Rate(words.rate()?),
        "burst" => Edit::Burst(words.bytes()?),
        "limit" => words.limit()?.map_or_else(Edit::LimitFrames, Edit::LimitBytes),
        _ => Edit::Slot(words.slot()?),
    };
    words.finish()?;
    Ok(edit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_every_impairment() {
        let guide = include_str!("../cli/topics/impair.md");
        for row in BEND_KEYS {
            let form = row.value.unwrap_or_default().replace('|', "\\|");
            let line = format!("| `{}={form}` | {} |", row.word, row.summary);
            assert!(guide.contains(&line), "{line}");
        }
    }

    #[test]
    fn what_is_said_later_replaces_what_it_is_about() {
        let bend = |word: &str| Bend::parse(&Key { word: word.to_owned(), value: Some("1ms".into()), at: 0 }).unwrap();
        let (tx, both) = (bend("tx.delay"), bend("both.delay"));
        assert!(both.replaces(&tx) && tx.replaces(&tx) && !tx.replaces(&both) && !bend("tx.jitter").replaces(&tx));
    }
}
