//! The steps of a scenario, understood: conditions, and deeds as requests of the control socket.
//!
//! A deed is written as on the command line, without `zbridge` in front, and is taken apart by the same parser, which is
//! handed in: a verb is written once. `capture start FILE` and `capture stop` are the scenario's own, as a capture on the
//! command line lasts until it is interrupted.

use super::condition::Condition;
use super::expr::Expr;
use crate::config::grammar::near;
use crate::config::{ScenarioSpec, StepSpec, Text, value};
use crate::control::Command;
use crate::error::{Class, Error, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Names that an error shows.
const SHOWN: usize = 32;

/// A scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Where it stands, `FILE:LINE`.
    pub place: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Where it stands.
    pub place: String,
    /// When it begins.
    pub trigger: Trigger,
    /// As that is written: `after sim1 ready`, `+10s`.
    pub begins: String,
    /// What is done.
    pub deeds: Vec<Deed>,
    /// What is expected, and how that is written.
    pub expects: Vec<(String, Condition)>,
    /// How long that may take, and how long the trigger is waited for.
    pub within: Duration,
    /// How often it is done.
    pub repeat: u32,
}

/// When a step begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// When the one before it is done.
    Now,
    /// So long after the beginning of the scenario.
    At(Duration),
    /// So long after the one before it was done.
    Later(Duration),
    /// When this holds.
    When(Condition),
}

/// Something that is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deed {
    /// As it is written.
    pub text: String,
    /// What it is.
    pub act: Act,
}

/// What a deed is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// This is asked of the bridge.
    Ask(Command),
    /// All frames are captured in this file from here on.
    CaptureStart(PathBuf),
    /// No more.
    CaptureStop,
}

/// The names that there are, where they are known.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Names {
    /// The programs.
    pub programs: BTreeSet<String>,
    /// The ports.
    pub ports: BTreeSet<String>,
}

impl Names {
    /// That there is a program of this name.
    fn program(&self, name: &str) -> Result<()> {
        if self.programs.contains(name) { Ok(()) } else { Err(unknown("instance", name, &self.programs)) }
    }

    /// That there is a port of this name, or may be: a client of one, or an interface that a program makes.
    fn port(&self, name: &str) -> Result<()> {
        let of = |sign: char| name.split_once(sign).map(|(head, _)| head);
        let is_known = |name: &str| self.ports.contains(name) || self.programs.contains(name);
        if is_known(name) || of('#').is_some_and(is_known) || of('.').is_some_and(is_known) {
            return Ok(());
        }
        Err(unknown("port", name, &self.ports))
    }

    fn condition(&self, condition: &Condition) -> Result<()> {
        let (programs, ports) = condition.names();
        programs.into_iter().try_for_each(|name| self.program(name))?;
        ports.into_iter().try_for_each(|name| self.port(name))
    }

    /// The names in a request, by its fields; what it adds is known from then on.
    fn command(&mut self, command: &Command) -> Result<()> {
        if let Command::PortAdd { spec, .. } = command {
            let port = crate::config::PortSpec::parse(spec)?;
            self.ports.insert(port.name);
            return Ok(());
        }
        let fields = serde_json::to_value(command).unwrap_or_default();
        let names = |key: &str| -> Vec<String> {
            let one = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            match fields.get(key) {
                Some(serde_json::Value::Array(list)) => list.iter().filter_map(one).collect(),
                Some(value) => one(value).into_iter().collect(),
                None => Vec::new(),
            }
        };
        names("instances").iter().try_for_each(|name| self.program(name))?;
        let named = ["port", "ports", "from"].iter().flat_map(|key| names(key));
        // The words of a cut for many.
        named.filter(|name| !["all", "rest"].contains(&name.as_str())).try_for_each(|name| self.port(&name))
    }
}

fn unknown(what: &str, name: &str, known: &BTreeSet<String>) -> Error {
    let error = Error::new(Class::Usage, format!("no {what} is named {name}"));
    if known.is_empty() {
        return error;
    }
    let near = near(name, known.iter().map(String::as_str));
    let near = near.map(|near| format!("the nearest is {near:?}; ")).unwrap_or_default();
    let all = known.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if known.len() > SHOWN { ", …" } else { "" };
    error.hint(format!("{near}there are {all}{more}"))
}

/// What a deed asks of the bridge, by the parser of the command line.
pub type Parser<'a> = &'a dyn Fn(&[String]) -> Result<Vec<Command>>;

/// Understands the scenarios of a file. With `names`, those that they use have to be among them.
///
/// # Errors
/// All that is wrong with them, each with its file and line.
pub fn compile(specs: &[ScenarioSpec], parser: Parser<'_>, names: Option<Names>) -> Result<Vec<Scenario>, Vec<Error>> {
    let (mut errors, mut names) = (Vec::new(), names);
    let mut scenario = |spec: &ScenarioSpec| {
        let steps = spec.steps.iter().map(|spec| step(spec, parser, &mut names, &mut errors)).collect();
        Scenario { name: spec.name.clone(), place: spec.place.clone(), steps }
    };
    let scenarios: Vec<Scenario> = specs.iter().map(&mut scenario).collect();
    if errors.is_empty() { Ok(scenarios) } else { Err(errors) }
}

fn step(spec: &StepSpec, parser: Parser<'_>, names: &mut Option<Names>, errors: &mut Vec<Error>) -> Step {
    let (trigger, begins) = match &spec.trigger {
        None => (Trigger::Now, String::new()),
        Some((text, word)) => {
            let read = trigger(word, &text.text).and_then(|trigger| match (&trigger, &names) {
                (Trigger::When(condition), Some(names)) => names.condition(condition).map(|()| trigger),
                _ => Ok(trigger),
            });
            let shown = if *word == "at" { text.text.clone() } else { format!("{word} {}", text.text) };
            (keep(read, text, errors).unwrap_or(Trigger::Now), shown)
        }
    };
    let mut deeds = Vec::new();
    for text in &spec.deeds {
        let read = deed(&text.text, parser).and_then(|deeds| {
            for deed in &deeds {
                if let (Act::Ask(command), Some(names)) = (&deed.act, names.as_mut()) {
                    names.command(command)?;
                }
            }
            Ok(deeds)
        });
        deeds.extend(keep(read, text, errors).unwrap_or_default());
    }
    let mut expects = Vec::new();
    for text in &spec.expects {
        let read = Condition::parse(&text.text);
        let read = read.and_then(|condition| match &names {
            Some(names) => names.condition(&condition).map(|()| condition),
            None => Ok(condition),
        });
        expects.extend(keep(read, text, errors).map(|condition| (text.text.clone(), condition)));
    }
    let StepSpec { place, within, repeat, .. } = spec;
    Step { place: place.clone(), trigger, begins, deeds, expects, within: *within, repeat: *repeat }
}

/// Keeps what was read, or its error with the place.
fn keep<T>(read: Result<T>, text: &Text, errors: &mut Vec<Error>) -> Option<T> {
    read.map_err(|error| errors.push(error.at(&text.place))).ok()
}

fn trigger(word: &str, text: &str) -> Result<Trigger> {
    let form = |form: &str| Error::usage(format!("{word} = {text:?}: expected {form}"));
    match word {
        "at" => {
            let (later, time) = text.strip_prefix('+').map_or((false, text), |time| (true, time));
            let time = value::duration(time.trim())
                .ok_or_else(|| form("a time, as \"5s\", or \"+10s\" after the last step"))?;
            Ok(if later { Trigger::Later(time) } else { Trigger::At(time) })
        }
        "when" => Expr::parse(text).map(|expr| Trigger::When(Condition::Holds(expr))),
        "after" => match Condition::parse(text)? {
            condition @ Condition::Program { .. } => Ok(Trigger::When(condition)),
            _ => Err(form("NAME STATE, as \"sim1 ready\"")),
        },
        _ => Condition::parse(text).map(Trigger::When),
    }
}

fn deed(text: &str, parser: Parser<'_>) -> Result<Vec<Deed>> {
    let words = shlex::split(text).filter(|words| !words.is_empty());
    let words = words.ok_or_else(|| Error::usage(format!("{text:?} is nothing to do")).hint("as \"restart sim1\""))?;
    let of = |act| vec![Deed { text: text.to_owned(), act }];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["capture", "start", file] => Ok(of(Act::CaptureStart(PathBuf::from(file)))),
        ["capture", "stop"] => Ok(of(Act::CaptureStop)),
        // What is a value of `set` on the command line, where `up` starts a bench.
        [word @ ("up" | "down"), port] => {
            let words = ["set", port, word].map(str::to_owned);
            Ok(parser(&words)?
                .into_iter()
                .map(|command| Deed { text: text.to_owned(), act: Act::Ask(command) })
                .collect())
        }
        ["capture", ..] => Err(Error::usage(format!("{text:?}: expected capture start FILE, or capture stop"))),
        words => {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Ok(parser(&words)?
                .into_iter()
                .map(|command| Deed { text: text.to_owned(), act: Act::Ask(command) })
                .collect())
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Config;

    /// A parser that knows `set PORT KEY` and `restart NAME`.
    pub fn parser(words: &[String]) -> Result<Vec<Command>> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["set", port, setting] => {
                Ok(vec![Command::Set { port: (*port).into(), settings: vec![(*setting).into()] }])
            }
            ["restart", name] => Ok(vec![Command::Restart { instances: vec![(*name).into()] }]),
            ["add", spec] => Ok(vec![Command::PortAdd {
                spec: (*spec).into(),
                fd: false,
                lifetime: crate::control::Lifetime::Bridge,
                may_exist: false,
            }]),
            _ => Err(Error::usage(format!("no verb {words:?}"))),
        }
    }

    fn names() -> Names {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names { programs: set(&["sim1", "sim2"]), ports: set(&["inst1", "sim1"]) }
    }

    /// Scenarios of a file with these steps.
    pub fn scenarios(steps: &str) -> Result<Vec<Scenario>, Vec<Error>> {
        let text = format!("[[scenario]]\nname = \"x\"\n{steps}");
        compile(&Config::parse(&text, "x.toml").unwrap().scenarios, &parser, Some(names()))
    }

    #[test]
    fn a_step_is_understood() {
        let text = "[[scenario.step]]\nat = \"+1s\"\ndo = [\"set inst1 tx.loss=1%\", \"capture start 'a b'\", \"restart sim1\"]\n\
                    expect = [\"sim1 ready\", \"drops inst1 > 0\"]\n";
        let scenarios = scenarios(text).unwrap();
        let step = &scenarios[0].steps[0];
        assert_eq!((&step.trigger, step.begins.as_str()), (&Trigger::Later(Duration::from_secs(1)), "+1s"));
        assert_eq!(step.deeds[1].act, Act::CaptureStart("a b".into()));
        assert_eq!((step.deeds.len(), step.expects.len(), step.expects[1].0.as_str()), (3, 2, "drops inst1 > 0"));
    }

    /// Also names that there are not, in every place; and what is added is known behind that.
    #[test]
    fn what_cannot_be_done_has_its_line() {
        let text = "[[scenario.step]]\nafter = \"sim3 ready\"\ndo = [\"set inst9 tx.loss=1%\", \"restart sin1\", \"fly\"]\n\
                    expect = \"drops(nobody) == 0\"\n[[scenario.step]]\nat = \"soon\"\n";
        let told: Vec<String> = scenarios(text).unwrap_err().iter().map(|error| error.what().to_owned()).collect();
        assert_eq!(
            told,
            [
                "x.toml:4: no instance is named sim3",
                "x.toml:5: no port is named inst9",
                "x.toml:5: no instance is named sin1",
                "x.toml:5: no verb [\"fly\"]",
                "x.toml:6: no port is named nobody",
                "x.toml:8: at = \"soon\": expected a time, as \"5s\", or \"+10s\" after the last step",
            ]
        );
        let good = "[[scenario.step]]\ndo = [\"add unix:/tmp/new\", \"set new tx.loss=1%\", \"set sim1.zeth1 tx.loss=1%\"]\n\
                    expect = \"tx(inst1#2) > 0\"\n";
        assert!(scenarios(good).is_ok(), "{:?}", scenarios(good));
    }
}
