//! Expressions over what a bridge counts: `drops(inst1) == 0 and (state(inst1) == up or not frames(inst2) > 1000)`.
//!
//! ```text
//! either    = all { ("or" | "||") all }
//! all       = one { ("and" | "&&") one }
//! one       = ("not" | "!") one | "(" either ")" | side sign side
//! sign      = "==" | "!=" | "<" | "<=" | ">" | ">="
//! side      = NUMBER | WORD | FIGURE "(" NAME ["," REASON] ")" | FIGURE NAME
//! ```
//!
//! A name may have the signs that ports have: `inst1#2`, `sim.zeth0`.

use super::look::{Look, Value};
use crate::config::grammar::nearest;
use crate::error::{Error, Result};
use std::fmt;

/// The longest expression, in bytes, and how deep its parentheses go.
const LONGEST: usize = 4096;
const DEEPEST: usize = 64;

/// What a figure is asked of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    /// A port.
    Port,
    /// A program of the bench.
    Program,
}

/// A row of the table of what can be asked.
#[derive(PartialEq, Eq, Debug)]
pub struct Figure {
    /// Its word.
    pub word: &'static str,
    /// What it is asked of.
    pub of: Of,
    /// It is a number, not a word.
    pub is_number: bool,
    /// What it is.
    pub meaning: &'static str,
}

const fn figure(word: &'static str, of: Of, is_number: bool, meaning: &'static str) -> Figure {
    Figure { word, of, is_number, meaning }
}

/// All that can be asked.
pub static FIGURES: [Figure; 14] = [
    figure("frames", Of::Port, true, "frames that it received and was sent"),
    figure("rx", Of::Port, true, "frames that it received"),
    figure("tx", Of::Port, true, "frames that it was sent"),
    figure("rx_bytes", Of::Port, true, "their bytes"),
    figure("tx_bytes", Of::Port, true, "their bytes"),
    figure("drops", Of::Port, true, "frames that ended early; drops(PORT, REASON): for one reason"),
    figure("queued", Of::Port, true, "frames that wait for it"),
    figure("held", Of::Port, true, "frames that its impairments hold"),
    figure("stations", Of::Port, true, "MAC addresses that are heard on it, 16 at most"),
    figure("state", Of::Port, false, "up, listening, connecting, waiting, down, stalled or gone"),
    figure("program", Of::Program, false, "waits, starts, ready, stops, stopped or ended"),
    figure("restarts", Of::Program, true, "how often it was started again"),
    figure("uptime", Of::Program, true, "seconds that it has run"),
    figure("end", Of::Program, false, "how it ended the last time, as 'signal 9 (SIGKILL)' or 'status 1'"),
];

/// The rows of what can be asked: form and meaning, for the guide and for errors.
pub fn figures() -> Vec<(String, &'static str)> {
    let of = |figure: &Figure| if figure.of == Of::Port { "PORT" } else { "NAME" };
    FIGURES.iter().map(|figure| (format!("{}({})", figure.word, of(figure)), figure.meaning)).collect()
}

/// Something that is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// What.
    pub figure: &'static Figure,
    /// The port or program.
    pub name: String,
    /// The reason of drops.
    pub reason: Option<String>,
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(out, "{}({}, {reason})", self.figure.word, self.name),
            None => write!(out, "{}({})", self.figure.word, self.name),
        }
    }
}

/// A side of a comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Side {
    Given(Value),
    Asked(Asked),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sign {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const SIGNS: [(&str, Sign); 6] = [
    ("==", Sign::Equal),
    ("!=", Sign::Unequal),
    ("<=", Sign::LessOrEqual),
    (">=", Sign::GreaterOrEqual),
    ("<", Sign::Less),
    (">", Sign::Greater),
];

impl Sign {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expr {
    /// One of them holds.
    Any(Vec<Self>),
    /// All of them hold.
    All(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// Two sides are compared.
    #[doc(hidden)]
    Compared(Comparison),
}

/// A comparison.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    left: Side,
    sign: Sign,
    right: Side,
}

impl Expr {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, with the nearest word that there is.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::usage(format!("{}: {what}", shown(text)));
        if text.len() > LONGEST {
            return Err(wrong(format!("longer than {LONGEST} bytes")));
        }
        let mut reader = Reader { words: words(text), at: 0, depth: 0 };
        let expr = reader.either().map_err(wrong)?;
        match reader.peek() {
            None => Ok(expr),
            Some(word) => Err(wrong(format!("expected and, or or the end, not {word:?}"))),
        }
    }

    /// `frames PORT COUNT`: the count is reached.
    pub fn reached(port: &str, count: u64) -> Self {
        let figure = &FIGURES[0];
        let left = Side::Asked(Asked { figure, name: port.to_owned(), reason: None });
        Self::Compared(Comparison { left, sign: Sign::GreaterOrEqual, right: Side::Given(Value::Number(count)) })
    }

    /// Whether it holds. What is asked of nobody that there is does not.
    pub fn holds(&self, look: &Look) -> bool {
        match self {
            Self::Any(of) => of.iter().any(|it| it.holds(look)),
            Self::All(of) => of.iter().all(|it| it.holds(look)),
            Self::Not(it) => !it.holds(look),
            Self::Compared(Comparison { left, sign, right }) => match (left.value(look), right.value(look)) {
                (Some(Value::Number(left)), Some(Value::Number(right))) => sign.holds(left.cmp(&right)),
                (Some(Value::Word(left)), Some(Value::Word(right))) => sign.holds(left.cmp(&right)),
                _ => false,
            },
        }
    }

    /// What is asked in it.
    pub fn asked(&self) -> Vec<&Asked> {
        match self {
            Self::Any(of) | Self::All(of) => of.iter().flat_map(Self::asked).collect(),
            Self::Not(it) => it.asked(),
            Self::Compared(Comparison { left, right, .. }) => [left, right]
                .into_iter()
                .filter_map(|side| if let Side::Asked(asked) = side { Some(asked) } else { None })
                .collect(),
        }
    }

    /// The values of what is asked: `drops(inst1) is 17, there is no port inst2`.
    pub fn values(&self, look: &Look) -> String {
        let mut told: Vec<String> = Vec::new();
        for asked in self.asked() {
            let value = match look.value(asked) {
                Some(value) => format!("{asked} is {value}"),
                None if asked.figure.of == Of::Port => format!("there is no port {}", asked.name),
                None => format!("there is no program {}", asked.name),
            };
            if !told.contains(&value) {
                told.push(value);
            }
        }
        told.join(", ")
    }
}

impl Side {
    fn value(&self, look: &Look) -> Option<Value> {
        match self {
            Self::Given(value) => Some(value.clone()),
            Self::Asked(asked) => look.value(asked),
        }
    }

    fn is_number(&self) -> bool {
        match self {
            Self::Given(value) => matches!(value, Value::Number(_)),
            Self::Asked(asked) => asked.figure.is_number,
        }
    }
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}

/// Cuts an expression into words and signs. A quoted word keeps its first quote.
fn words(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let two = rest.get(..2).filter(|two| ["==", "!=", "<=", ">=", "&&", "||"].contains(two));
        let end = match first {
            _ if two.is_some() => 2,
            '\'' | '"' => rest.get(1..).and_then(|inner| inner.find(first)).map_or(rest.len(), |end| end + 2),
            _ if is_of_a_word(first) => rest.find(|char| !is_of_a_word(char)).unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        found.push(word);
        rest = behind.trim_start();
    }
    found
}

fn is_of_a_word(char: char) -> bool {
    char.is_alphanumeric() || "_.-#:/@".contains(char)
}

struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, wanted: &[&str]) -> bool {
        let is_it = self.peek().is_some_and(|word| wanted.contains(&word));
        self.at += usize::from(is_it);
        is_it
    }

    fn next(&mut self, wanted: &str) -> Result<&'a str, String> {
        let word = self.peek().ok_or_else(|| format!("it ends where {wanted} should stand"))?;
        self.at += 1;
        Ok(word)
    }

    fn either(&mut self) -> Result<Expr, String> {
        let mut of = vec![self.all()?];
        while self.take(&["or", "||"]) {
            of.push(self.all()?);
        }
        Ok(if of.len() == 1 { of.remove(0) } else { Expr::Any(of) })
    }

    fn all(&mut self) -> Result<Expr, String> {
        let mut of = vec![self.one()?];
        while self.take(&["and", "&&"]) {
            of.push(self.one()?);
        }
        Ok(if of.len() == 1 { of.remove(0) } else { Expr::All(of) })
    }

    fn one(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("more than {DEEPEST} parentheses in each other"));
        }
        let found = if self.take(&["not", "!"]) {
            self.one().map(|it| Expr::Not(Box::new(it)))
        } else if self.take(&["("]) {
            let inner = self.either()?;
            if self.take(&[")"]) { Ok(inner) } else { Err("a parenthesis is not closed".to_owned()) }
        } else {
            self.comparison()
        };
        self.depth -= 1;
        found
    }

    fn comparison(&mut self) -> Result<Expr, String> {
        let left = self.side()?;
        let sign = self.next("a comparison, as `== 0`,")?;
        let sign = SIGNS.iter().find(|(word, _)| *word == sign).map(|(_, sign)| *sign).ok_or_else(|| {
            let known: Vec<&str> = SIGNS.iter().map(|(word, _)| *word).collect();
            format!("{sign:?} is no comparison; there are {}", known.join(" "))
        })?;
        let right = self.side()?;
        if left.is_number() != right.is_number() {
            return Err("a number is compared with a word".to_owned());
        }
        if !left.is_number() && !matches!(sign, Sign::Equal | Sign::Unequal) {
            return Err("words are only equal (==) or not (!=)".to_owned());
        }
        Ok(Expr::Compared(Comparison { left, sign, right }))
    }

    fn side(&mut self) -> Result<Side, String> {
        let word = self.next("a number, a word or a figure")?;
        if let Some(inner) = word.strip_prefix(['\'', '"']) {
            let inner = inner.strip_suffix(['\'', '"']).ok_or("a quote is not closed")?;
            return Ok(Side::Given(Value::Word(inner.to_owned())));
        }
        if word.starts_with(|char: char| char.is_ascii_digit()) {
            return number(word).map(|number| Side::Given(Value::Number(number)));
        }
        let figure = FIGURES.iter().find(|figure| figure.word == word);
        if self.peek() == Some("(") {
            self.at += 1;
            let figure = figure.ok_or_else(|| unknown(word))?;
            return self.asked(figure).map(Side::Asked);
        }
        // `drops inst1 > 0`, but `state(a) == ready`.
        match figure.filter(|_| self.peek().is_some_and(is_name)) {
            Some(figure) => {
                let name = self.next("a name")?.to_owned();
                Ok(Side::Asked(Asked { figure, name, reason: None }))
            }
            None if !is_name(word) => Err(format!("{word:?} is no number, word or figure")),
            None => {
                // A word that is asked for as a figure, but is none.
                let is_meant = self.peek().is_some_and(|next| is_name(next) && !["and", "or"].contains(&next));
                if is_meant { Err(unknown(word)) } else { Ok(Side::Given(Value::Word(word.to_owned()))) }
            }
        }
    }

    fn asked(&mut self, figure: &'static Figure) -> Result<Asked, String> {
        let name = self.next("a name")?;
        if !is_name(name) {
            return Err(format!("{}(NAME): {name:?} is no name", figure.word));
        }
        let mut reason = None;
        if self.take(&[","]) {
            let word = self.next("a reason")?;
            if figure.word != "drops" {
                return Err(format!("{}(NAME) has one name in its parentheses", figure.word));
            }
            let known = crate::counters::DROP_REASONS.iter().map(|row| row.word);
            if !known.clone().any(|known| known == word) {
                return Err(format!("{word:?} is no reason of drops; {}", nearest(word, known)));
            }
            reason = Some(word.to_owned());
        }
        if !self.take(&[")"]) {
            return Err("a parenthesis is not closed".to_owned());
        }
        Ok(Asked { figure, name: name.to_owned(), reason })
    }
}

fn is_name(word: &str) -> bool {
    word.chars().all(is_of_a_word)
}

fn unknown(word: &str) -> String {
    let known = FIGURES.iter().map(|figure| figure.word);
    let all: Vec<&str> = known.clone().collect();
    let near = crate::config::grammar::near(word, known).map(|near| format!("the nearest is {near:?}; "));
    format!("nothing is called {word:?}; {}there are {}", near.unwrap_or_default(), all.join(", "))
}

/// A number, perhaps of thousands (k) or millions (M).
fn number(word: &str) -> Result<u64, String> {
    let (digits, factor) = match word.strip_suffix(['k', 'M']) {
        Some(digits) => (digits, if word.ends_with('k') { 1000 } else { 1_000_000 }),
        None => (word, 1),
    };
    let read = digits.replace('_', "").parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    read.ok_or_else(|| format!("{word:?} is no number, as 17, 1000 or 10k"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::look::tests::look;
    use proptest::prelude::*;

    #[test]
    fn what_holds_and_what_does_not() {
        let look = look();
        for (text, holds) in [
            ("drops(inst1) == 7", true),
            ("drops inst1 > 0", true),
            ("drops(inst1, no-peer) == 7 and drops(inst1, stalled) == 0", true),
            ("frames(inst1) >= 1k", false),
            ("rx(inst1) < tx(inst1) or state(inst1) == up", true),
            ("state(inst1) != up", false),
            ("state(inst9) == gone", true),
            ("not (drops(inst1) == 7 && rx(inst1) == 3)", false),
            ("program(sim1) == ready and restarts(sim1) <= 2", true),
            ("program sim2 == stopped", true),
            ("end(sim2) == 'signal 9 (SIGKILL)'", true),
            ("drops(nobody) == 0", false),
            ("1 == 1 or 1 == 2 and 1 == 2", true),
        ] {
            let expr = Expr::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(expr.holds(&look), holds, "{text}: {}", expr.values(&look));
        }
        let expr = Expr::parse("drops(inst1) == 0 and rx(nobody) > drops(inst1)").unwrap();
        assert_eq!(expr.values(&look), "drops(inst1) is 7, there is no port nobody");
    }

    #[test]
    fn what_is_wrong_names_the_nearest() {
        for (text, says) in [
            ("drop(inst1) == 0", "nothing is called \"drop\"; the nearest is \"drops\"; there are frames, rx, "),
            ("drosp inst1 == 0", "nothing is called \"drosp\"; the nearest is \"drops\""),
            ("drops(inst1, stall) == 0", "\"stall\" is no reason of drops; the nearest is \"stalled\""),
            ("drops(inst1)", "it ends where a comparison, as `== 0`, should stand"),
            ("drops(inst1) = 0", "\"=\" is no comparison; there are == != <= >= < >"),
            ("drops(inst1) == up", "a number is compared with a word"),
            ("state(inst1) > up", "words are only equal (==) or not (!=)"),
            ("(drops(inst1) == 0", "a parenthesis is not closed"),
            ("drops(inst1 == 0", "a parenthesis is not closed"),
            ("drops(inst1) == 0 drops(inst2) == 0", "expected and, or or the end, not \"drops\""),
            ("rx(a) == 1x", "\"1x\" is no number"),
            ("", "it ends where a number, a word or a figure should stand"),
            ("'x == y", "a quote is not closed"),
        ] {
            let error = Expr::parse(text).unwrap_err();
            assert!(error.what().contains(says), "{text}: {error}");
        }
        let deep = "(".repeat(5000);
        assert!(Expr::parse(&deep).unwrap_err().what().contains("longer than"));
        assert!(Expr::parse(&"(".repeat(500)).unwrap_err().what().contains("more than 64 parentheses"));
        assert!(Expr::parse(&"not ".repeat(500)).is_err());
    }

    proptest! {
        /// Whatever is written, it is an expression or an error, and both are harmless.
        #[test]
        fn any_text_is_harmless(text in "[a-z0-9 ()!=<>&|'\"#.,\u{1b}é]{0,60}") {
            match Expr::parse(&text) {
                Ok(expr) => { std::hint::black_box((expr.holds(&look()), expr.values(&look()))); }
                Err(error) => prop_assert!(!error.to_string().contains('\u{1b}'), "{error}"),
            }
        }
    }
}
