//! What can be waited for and expected: of a program, of its output, of what is counted, of a host on the network.
//!
//! ```text
//! sim1 ready                      a state of a program
//! log sim1 /connected to .*/      a line of its output, as it is shown (no colours); /…/i for either case
//! frames inst1 1000               so many frames have come to a port and gone from it
//! drops(inst1) == 0               an expression (`expr.rs`)
//! ping 192.0.2.1 [from CIDR]      asked from inside the switch, by a host of its own
//! tcp 192.0.2.1:80 [from CIDR]
//! dns NAME[=ADDR] at ADDR[:PORT] [from CIDR]
//! ```

use super::expr::{Expr, Of};
use super::look::Look;
use crate::config::grammar::nearest;
use crate::config::value;
use crate::control::INSTANCE_STATES;
use crate::error::{Error, Result};
use regex::{Regex, RegexBuilder};
use std::fmt;

/// What a regular expression may cost in bytes when it is made ready.
const PATTERN_BYTES: usize = 1 << 20;

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// A program is in a state.
    Program {
        /// Its name.
        name: String,
        /// One of [`INSTANCE_STATES`].
        state: String,
    },
    /// A program has written a line.
    Log {
        /// Its name.
        instance: String,
        /// What the line matches.
        pattern: Pattern,
    },
    /// An expression holds.
    Holds(Expr),
    /// A host answers.
    Answers(Probe),
}

/// A question to a host on a switch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// As it is written, and as the control socket takes it.
    pub text: String,
}

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// `/REGEX/`, `/REGEX/i`, or without the slashes.
    fn parse(text: &str) -> Result<Self> {
        let (body, any_case) = match text.strip_prefix('/') {
            Some(rest) => match (rest.strip_suffix("/i"), rest.strip_suffix('/')) {
                (Some(body), _) => (body, true),
                (None, Some(body)) => (body, false),
                (None, None) => return Err(Error::usage(format!("{text:?}: the second / is missing"))),
            },
            None => (text, false),
        };
        let made = RegexBuilder::new(body).case_insensitive(any_case).size_limit(PATTERN_BYTES).build();
        let regex = made.map_err(|error| {
            let text = error.to_string();
            let cause = text.lines().last().unwrap_or(&text).trim_start_matches("error: ").to_owned();
            Error::usage(format!("{body:?}: expected a regular expression ({cause})"))
        })?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether a line matches.
    pub fn matches(&self, line: &str) -> bool {
        self.regex.is_match(line)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match first {
            "log" => {
                let (instance, pattern) = rest.split_once(char::is_whitespace).ok_or_else(|| {
                    Error::usage(format!("{text:?}: expected log NAME /REGEX/, as \"log sim1 /connected/\""))
                })?;
                value::name(instance).map_err(|form| Error::usage(format!("{instance:?}: expected {form}")))?;
                let pattern = Pattern::parse(pattern.trim())?;
                return Ok(Self::Log { instance: instance.to_owned(), pattern });
            }
            "ping" | "tcp" | "dns" => {
                // It is understood where it is asked; here it is only looked at for its form.
                return Probe::parse(text).map(Self::Answers);
            }
            "frames" => {
                if let Some((port, count)) = rest.split_once(char::is_whitespace)
                    && let Ok(count) = count.trim().parse()
                    && value::name(port.split('#').next().unwrap_or(port)).is_ok()
                {
                    return Ok(Self::Holds(Expr::reached(port, count)));
                }
            }
            _ => {}
        }
        if let Some(program) = program(first, rest)? {
            return Ok(program);
        }
        Expr::parse(text).map(Self::Holds)
    }

    /// Whether it holds already, by a look: nothing if a look does not tell, as of a host, and of a line.
    pub fn holds(&self, look: &Look) -> Option<bool> {
        match self {
            Self::Program { name, state } => Some(look.program(name).is_some_and(|it| it.state == *state)),
            Self::Holds(expr) => Some(expr.holds(look)),
            Self::Log { .. } | Self::Answers(_) => None,
        }
    }

    /// What a look shows of it, for who wants to know why it does not hold.
    pub fn seen(&self, look: &Look) -> String {
        match self {
            Self::Program { name, .. } => match look.program(name) {
                Some(program) => {
                    let end = program.end.as_ref().map(|end| format!(" ({end})")).unwrap_or_default();
                    format!("{name} is {}{end}", program.state)
                }
                None => format!("there is no program {name}"),
            },
            Self::Holds(expr) => expr.values(look),
            Self::Log { instance, pattern } => {
                let last = look.program(instance).and_then(|program| program.lines.last());
                match last {
                    Some(last) => {
                        format!("{instance} has written no line that matches {pattern}; its last is {last:?}")
                    }
                    None => format!("{instance} has written nothing"),
                }
            }
            Self::Answers(probe) => format!("no answer to {}", probe.text),
        }
    }

    /// The programs and ports that it names.
    pub fn names(&self) -> (Vec<&str>, Vec<&str>) {
        match self {
            Self::Program { name, .. } => (vec![name], Vec::new()),
            Self::Log { instance, .. } => (vec![instance], Vec::new()),
            Self::Answers(_) => (Vec::new(), Vec::new()),
            Self::Holds(expr) => {
                let (programs, ports): (Vec<_>, Vec<_>) =
                    expr.asked().into_iter().partition(|asked| asked.figure.of == Of::Program);
                (
                    programs.into_iter().map(|asked| asked.name.as_str()).collect(),
                    ports.into_iter().map(|asked| asked.name.as_str()).collect(),
                )
            }
        }
    }
}

/// `NAME STATE` of a program.
fn program(name: &str, state: &str) -> Result<Option<Condition>> {
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|char| char.is_alphanumeric() || "._-".contains(char));
    if !is_word(name) || !is_word(state) || value::name(name).is_err() {
        return Ok(None);
    }
    if INSTANCE_STATES.contains(&state) {
        return Ok(Some(Condition::Program { name: name.to_owned(), state: state.to_owned() }));
    }
    let known = nearest(state, INSTANCE_STATES.iter().copied());
    Err(Error::usage(format!("{name:?} {state:?}: {state:?} is no state of a program; {known}"))
        .hint("of a port: state(NAME) == up"))
}

impl Probe {
    /// Takes a question that has the form of one.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self> {
        crate::config::Asking::parse(text).map_err(|form| Error::usage(format!("{text:?}: expected {form}")))?;
        Ok(Self { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::look::tests::look;

    #[test]
    fn conditions_are_read_and_hold() {
        let look = look();
        for (text, holds) in [
            ("sim1 ready", Some(true)),
            ("sim2 ready", Some(false)),
            ("sim9 ready", Some(false)),
            ("frames inst1 8", Some(true)),
            ("frames inst1 9", Some(false)),
            ("drops inst1 > 0", Some(true)),
            ("log sim1 /re(connected|ady)/", None),
            ("ping 192.0.2.1", None),
            ("tcp [2001:db8::1]:80 from 2001:db8::9/64", None),
            ("dns box.lan=192.0.2.7 at 192.0.2.1", None),
        ] {
            let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(condition.holds(&look), holds, "{text}");
            assert!(!condition.seen(&look).is_empty(), "{text}");
        }
        assert_eq!(Condition::parse("sim2 ready").unwrap().seen(&look), "sim2 is stopped (signal 9 (SIGKILL))");
    }

    #[test]
    fn lines_are_matched() {
        let matches = |text: &str, line: &str| {
            let Ok(Condition::Log { pattern, .. }) = Condition::parse(text) else { panic!("{text}") };
            pattern.matches(line)
        };
        assert!(matches("log sim1 /^a b$/", "a b") && !matches("log sim1 /^a b$/", "xa b"));
        assert!(matches("log sim1 /UP/i", "link up") && matches("log sim1 up now", "is up now"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("log sim1", "expected log NAME /REGEX/"),
            ("log sim1 /(/", "expected a regular expression (unclosed group)"),
            ("log sim1 /x", "the second / is missing"),
            ("log sim1 /x{5000}{5000}/", "expected a regular expression"),
            ("sim1 raedy", "\"raedy\" is no state of a program; the nearest is \"ready\""),
            ("ping sim1", "expected"),
            ("tcp 192.0.2.1", "expected"),
            ("dns box.lan", "expected"),
            ("frobnicate(x) == 1", "nothing is called \"frobnicate\""),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert!(error.what().contains(says), "{text}: {error}");
        }
    }
}
