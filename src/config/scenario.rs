//! A scenario of a file, `[[scenario]]`, as it is written: its steps with their words, and the place of each.
//!
//! What the words mean is known above: conditions in `scenario`, verbs where the command line is taken apart.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::grammar::{Fault, nearest};
use super::value;

/// How long an expectation may take, and a trigger may be waited for, unless said.
pub const WITHIN: Duration = Duration::from_secs(30);

/// The keys of a step.
const STEP_KEYS: [&str; 8] = ["after", "at", "on", "when", "do", "expect", "within", "repeat"];

/// Those of them that say when it begins: one at most.
const TRIGGERS: [&str; 4] = ["after", "at", "on", "when"];

/// The most steps of a scenario, and the most repetitions of one.
const MOST: u32 = 10_000;

/// A scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScenarioSpec {
    /// Its name, unique among the scenarios of a file.
    pub name: String,
    /// Where it stands, `FILE:LINE`.
    pub place: String,
    /// Its steps, one after the other.
    pub steps: Vec<StepSpec>,
}

/// A step of a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepSpec {
    /// Where it stands, `FILE:LINE`.
    pub place: String,
    /// When it begins: `after`, `at`, `on` or `when`, and what is said of that; nothing: at once.
    pub trigger: Option<(Text, &'static str)>,
    /// What is done.
    pub deeds: Vec<Text>,
    /// What is expected then.
    pub expects: Vec<Text>,
    /// How long that may take.
    pub within: Duration,
    /// How often it is done.
    pub repeat: u32,
}

/// Words of the file, and their place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// The words.
    pub text: String,
    /// `FILE:LINE`.
    pub place: String,
}

type Parsed<T> = Result<T, Fault>;

/// Reads a table `[[scenario]]`. `place` tells where an offset of the file is.
pub(super) fn scenario(table: &DeTable<'_>, start: usize, place: &dyn Fn(usize) -> String) -> Parsed<ScenarioSpec> {
    let (mut name, mut steps) = (None, Vec::new());
    for (key, value) in table {
        let at = key.span().start;
        match key.get_ref().as_ref() {
            "name" => name = Some(text(value, "name")?),
            "step" => {
                let form =
                    || Fault::new("step is a list of tables").hint("each starts with a line [[scenario.step]]").at(at);
                let list = value.get_ref().as_array().ok_or_else(form)?;
                for item in list {
                    let start = item.span().start;
                    let table = item.get_ref().as_table().ok_or_else(form)?;
                    steps.push(step(table, start, place).map_err(|fault| fault.at(start))?);
                }
            }
            other => {
                let known = nearest(other, ["name", "step"]);
                return Err(Fault::new(format!("a scenario has no key {other:?}; {known}")).at(at));
            }
        }
    }
    let name = name.filter(|name| !name.trim().is_empty() && !name.contains(char::is_control));
    let name = name.ok_or_else(|| Fault::new("a scenario needs a name: name = \"what is tested\"").at(start))?;
    if steps.is_empty() {
        return Err(Fault::new(format!("scenario {name:?} has no step")).hint("write [[scenario.step]]").at(start));
    }
    if steps.len() > MOST as usize {
        return Err(Fault::new(format!("a scenario has at most {MOST} steps")).at(start));
    }
    Ok(ScenarioSpec { name, place: place(start), steps })
}

fn step(table: &DeTable<'_>, start: usize, place: &dyn Fn(usize) -> String) -> Parsed<StepSpec> {
    let mut step = StepSpec {
        place: place(start),
        trigger: None,
        deeds: Vec::new(),
        expects: Vec::new(),
        within: WITHIN,
        repeat: 1,
    };
    for (key, value) in table {
        let at = key.span().start;
        let word = key.get_ref().as_ref();
        if let Some(trigger) = TRIGGERS.into_iter().find(|trigger| *trigger == word) {
            if let Some((_, before)) = step.trigger {
                let what = format!("a step begins by one of {}, not by {before} and {word}", TRIGGERS.join(", "));
                return Err(Fault::new(what).at(at));
            }
            step.trigger = Some((Text { text: text(value, word)?, place: place(at) }, trigger));
            continue;
        }
        match word {
            "do" => step.deeds = texts(value, word, place)?,
            "expect" => step.expects = texts(value, word, place)?,
            "within" => step.within = time(value)?,
            "repeat" => step.repeat = times(value)?,
            other => {
                let known = nearest(other, STEP_KEYS);
                return Err(Fault::new(format!("a step has no key {other:?}; {known}")).at(at));
            }
        }
    }
    if step.trigger.is_none() && step.deeds.is_empty() && step.expects.is_empty() {
        return Err(Fault::new("a step does, awaits or expects something: do = [\"restart sim1\"]"));
    }
    Ok(step)
}

fn text(value: &Spanned<DeValue<'_>>, key: &str) -> Parsed<String> {
    let text = value.get_ref().as_str().map(ToOwned::to_owned);
    text.ok_or_else(|| Fault::new(format!("{key} is a string")).at(value.span().start))
}

/// A string, or a list of them.
fn texts(value: &Spanned<DeValue<'_>>, key: &str, place: &dyn Fn(usize) -> String) -> Parsed<Vec<Text>> {
    let one = |value: &Spanned<DeValue<'_>>| {
        let form = || Fault::new(format!("{key} is a string, or a list of strings")).at(value.span().start);
        let text = value.get_ref().as_str().ok_or_else(form)?.to_owned();
        Ok(Text { text, place: place(value.span().start) })
    };
    match value.get_ref() {
        DeValue::Array(list) => list.iter().map(one).collect(),
        _ => one(value).map(|text| vec![text]),
    }
}

fn time(value: &Spanned<DeValue<'_>>) -> Parsed<Duration> {
    let read = value.get_ref().as_str().and_then(value::duration).filter(|time| !time.is_zero());
    read.ok_or_else(|| Fault::new("within: expected a time, as \"500ms\", \"15s\" or \"5m\"").at(value.span().start))
}

fn times(value: &Spanned<DeValue<'_>>) -> Parsed<u32> {
    let read = value.get_ref().as_integer().and_then(|number| number.to_string().parse::<u32>().ok());
    let form = || Fault::new(format!("repeat: expected a number from 1 to {MOST}")).at(value.span().start);
    read.filter(|times| (1..=MOST).contains(times)).ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const BENCH: &str = r#"
[[scenario]]
name = "the uplink fails while it downloads"
[[scenario.step]]
after = "sim1 ready"
do = ["set inst1 tx.loss=30%", "capture start run.pcapng"]
[[scenario.step]]
at = "+10s"
do = "down uplink"
expect = 'log sim1 /reconnected/'
within = "15s"
repeat = 3
"#;

    #[test]
    fn a_scenario_is_read_with_its_places() {
        let config = Config::parse(BENCH, "lab.toml").unwrap();
        let [scenario] = config.scenarios.as_slice() else { panic!("{config:?}") };
        assert_eq!(
            (scenario.name.as_str(), scenario.place.as_str()),
            ("the uplink fails while it downloads", "lab.toml:2")
        );
        let [first, second] = scenario.steps.as_slice() else { panic!("{scenario:?}") };
        let (trigger, word) = first.trigger.as_ref().unwrap();
        assert_eq!((trigger.text.as_str(), trigger.place.as_str(), *word), ("sim1 ready", "lab.toml:5", "after"));
        assert_eq!((first.deeds.len(), first.within, first.repeat), (2, WITHIN, 1));
        assert_eq!((second.place.as_str(), second.within, second.repeat), ("lab.toml:7", Duration::from_secs(15), 3));
        assert_eq!(second.expects[0].place, "lab.toml:10");
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        let wrong = |step: &str| {
            let text = format!("[[scenario]]\nname = \"x\"\n[[scenario.step]]\n{step}\n");
            Config::parse(&text, "lab.toml").unwrap_err().what().to_owned()
        };
        for (step, says) in [
            ("dos = []", "lab.toml:4: a step has no key \"dos\"; the nearest is \"do\""),
            ("at = \"1s\"\non = \"x\"", "lab.toml:5: a step begins by one of after, at, on, when, not by at and on"),
            ("do = 3", "lab.toml:4: do is a string, or a list of strings"),
            ("repeat = 0\ndo = \"x\"", "lab.toml:4: repeat: expected a number from 1 to 10000"),
            ("within = \"soon\"", "lab.toml:4: within: expected a time"),
            ("", "lab.toml:3: a step does, awaits or expects something"),
        ] {
            assert!(wrong(step).starts_with(says), "{step}: {}", wrong(step));
        }
        let twice = format!("{BENCH}{BENCH}");
        let error = Config::parse(&twice, "lab.toml").unwrap_err();
        assert!(error.what().ends_with("scenario \"the uplink fails while it downloads\" is given twice"), "{error}");
    }
}
