//! Which ports are cut from each other: `inst1,inst2 from inst3`, or one way only, `inst1 to inst3`.

use super::value::{self, is_port};
use crate::error::{Error, Result};
use std::fmt;

/// The word of every port.
const ALL: &str = "all";
/// The word of every port that is not in the other group.
const REST: &str = "rest";

/// The form, for errors and help.
const FORM: &str = "zbridge cut inst1,inst2 from inst3; one way only: zbridge cut inst1 to inst3";

/// A group of ports, by their names; those of a listener are all its clients'.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Group {
    Names(Vec<String>),
    /// All that the other group has not.
    Rest,
    All,
}

/// Two groups of ports, between which nothing passes. They are named: a port that comes later belongs to them too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    ports: Group,
    from: Group,
    one_way: bool,
    /// Ports that were healed, and are in neither group any more.
    but: Vec<String>,
}

impl Group {
    fn parse(words: &[String]) -> Result<Self> {
        let names: Vec<&str> = words.iter().flat_map(|word| word.split(',')).map(str::trim).collect();
        match names.as_slice() {
            [ALL] => return Ok(Self::All),
            [REST] => return Ok(Self::Rest),
            [] => return Err(Error::usage("a cut has two groups of ports").hint(FORM)),
            _ => {}
        }
        if let Some(group) = names.iter().find(|name| [ALL, REST].contains(name)) {
            return Err(Error::usage(format!("{group} stands alone: it is a group by itself")).hint(FORM));
        }
        let named = |name: &&str| {
            let whole = name.split_once('#').map_or(*name, |(listener, _)| listener);
            value::name(whole).map_err(|form| Error::usage(format!("{name:?}: expected {form}")).hint(FORM))?;
            Ok((*name).to_owned())
        };
        names.iter().map(named).collect::<Result<_>>().map(Self::Names)
    }

    fn names(&self) -> &[String] {
        match self {
            Self::Names(names) => names,
            Self::Rest | Self::All => &[],
        }
    }

    fn has_named(&self, port: &str) -> bool {
        self.names().iter().any(|name| is_port(port, name))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names) => out.write_str(&names.join(",")),
            Self::Rest => out.write_str(REST),
            Self::All => out.write_str(ALL),
        }
    }
}

impl Cut {
    /// Two groups: each the names of ports, `rest` or `all`. With `one_way`, what comes back passes.
    ///
    /// # Errors
    /// A group is empty or no name; nobody is cut from anybody.
    pub fn new(ports: &[String], from: &[String], one_way: bool) -> Result<Self> {
        let cut = Self { ports: Group::parse(ports)?, from: Group::parse(from)?, one_way, but: Vec::new() };
        if cut.ports == Group::Rest && cut.from == Group::Rest {
            return Err(Error::usage("rest is all that the other group has not: name that").hint(FORM));
        }
        if let Some(both) = cut.ports.names().iter().find(|name| cut.from.names().contains(name)) {
            return Err(Error::usage(format!("{both} cannot be cut from itself")).hint(FORM));
        }
        Ok(cut)
    }

    /// Understands `A,B from C,D`, and `A,B to C,D` for one way.
    ///
    /// # Errors
    /// There is neither word; as [`Self::new`].
    pub fn parse(words: &[String]) -> Result<Self> {
        let words: Vec<String> = words.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned).collect();
        let Some(place) = words.iter().position(|word| word == "from" || word == "to") else {
            return Err(Error::usage("cut whom from whom?").hint(FORM));
        };
        let one_way = words.get(place).is_some_and(|word| word == "to");
        let (ports, from) = (words.get(..place), words.get(place + 1..));
        Self::new(ports.unwrap_or_default(), from.unwrap_or_default(), one_way)
    }

    /// The two groups' names, or their words, and whether it is one way: as a request has them.
    pub fn groups(&self) -> (Vec<String>, Vec<String>, bool) {
        let words = |group: &Group| match group {
            Group::Names(names) => names.clone(),
            Group::Rest | Group::All => vec![group.to_string()],
        };
        (words(&self.ports), words(&self.from), self.one_way)
    }

    /// The ports that it names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.ports.names().iter().chain(self.from.names())
    }

    /// Whether a port is in the first group, and in the second.
    pub fn has(&self, port: &str) -> [bool; 2] {
        let healed = self.but.iter().any(|name| is_port(port, name));
        let is_in = |group: &Group, other: &Group| match group {
            _ if healed => false,
            Group::Names(_) => group.has_named(port),
            Group::Rest => !other.has_named(port),
            Group::All => true,
        };
        [is_in(&self.ports, &self.from), is_in(&self.from, &self.ports)]
    }

    /// Whether the other direction passes.
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// What it means for a port: `from inst3`; nothing if it is in neither group.
    pub fn of(&self, port: &str) -> Option<String> {
        match self.has(port) {
            [false, false] => None,
            _ if self.one_way => Some(self.to_string()),
            [true, _] => Some(format!("from {}{}", self.from, self.exceptions())),
            [_, true] => Some(format!("from {}{}", self.ports, self.exceptions())),
        }
    }

    /// Takes ports out of both groups. `None`: nobody is cut from anybody any more.
    pub fn without(&self, ports: &[String]) -> Option<Self> {
        let healed = |name: &String| ports.iter().any(|port| is_port(name, port));
        let without = |group: &Group| match group {
            Group::Names(names) => {
                let left: Vec<String> = names.iter().filter(|name| !healed(name)).cloned().collect();
                (!left.is_empty()).then_some(Group::Names(left))
            }
            Group::Rest | Group::All => Some(group.clone()),
        };
        let (left, from) = (without(&self.ports)?, without(&self.from)?);
        let named = |group: &Group| matches!(group, Group::Names(_));
        let mut but = self.but.clone();
        // A client of a listener that is named stays apart from it, as does one that only a word has taken in.
        let is_still_in =
            |port: &&String| !named(&left) || !named(&from) || left.has_named(port) || from.has_named(port);
        but.extend(ports.iter().filter(is_still_in).cloned());
        but.sort();
        but.dedup();
        Some(Self { ports: left, from, one_way: self.one_way, but })
    }

    /// Whether it says the same of the same ports.
    pub fn is_as(&self, other: &Self) -> bool {
        self == other
            || !self.one_way
                && !other.one_way
                && self.but == other.but
                && (&self.ports, &self.from) == (&other.from, &other.ports)
    }

    fn exceptions(&self) -> String {
        if self.but.is_empty() { String::new() } else { format!(" but {}", self.but.join(",")) }
    }
}

/// As it is written.
impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.one_way { "to" } else { "from" };
        write!(out, "{} {word} {}{}", self.ports, self.from, self.exceptions())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(words: &str) -> Result<Cut> {
        Cut::parse(&[words.to_owned()])
    }

    #[test]
    fn groups_are_names_the_rest_or_all() {
        for (words, written, [a, b, c]) in [
            ("a,b from c", "a,b from c", [[true, false], [true, false], [false, true]]),
            ("a to c", "a to c", [[true, false], [false, false], [false, true]]),
            ("a from rest", "a from rest", [[true, false], [false, true], [false, true]]),
            ("a from all", "a from all", [[true, true], [false, true], [false, true]]),
            ("rest to c", "rest to c", [[true, false], [true, false], [false, true]]),
            ("a, b  from c", "a,b from c", [[true, false], [true, false], [false, true]]),
        ] {
            let cut = cut(&words.replace(", ", ",")).unwrap();
            assert_eq!(cut.to_string(), written);
            assert_eq!(["a", "b#7", "c"].map(|port| cut.has(port)), [a, b, c], "{words}");
            let (ports, from, one_way) = cut.groups();
            assert_eq!(Cut::new(&ports, &from, one_way), Ok(cut));
        }
        for (wrong, says) in [
            ("", "cut whom from whom?"),
            ("a", "cut whom from whom?"),
            ("from c", "a cut has two groups of ports"),
            ("a from", "a cut has two groups of ports"),
            ("a,all from c", "all stands alone"),
            ("a from a,b", "a cannot be cut from itself"),
            ("rest from rest", "rest is all that the other group has not"),
            ("a from b/c", "\"b/c\": expected"),
        ] {
            let error = cut(wrong).unwrap_err();
            assert!(error.what().contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_is_healed_is_cut_no_more() {
        let heal = |words: &str, port: &str| cut(words).unwrap().without(&[port.to_owned()]).map(|cut| cut.to_string());
        assert_eq!(heal("a,b from c", "a").as_deref(), Some("b from c"));
        assert_eq!(heal("a,b from c", "c"), None);
        assert_eq!(heal("a from rest", "a"), None);
        assert_eq!(heal("a from rest", "b").as_deref(), Some("a from rest but b"));
        assert_eq!(heal("a,b from rest", "a").as_deref(), Some("b from rest but a"));
        assert_eq!(heal("all to all", "x").as_deref(), Some("all to all but x"));
        assert_eq!(heal("a from c", "a#2").as_deref(), Some("a from c but a#2"));
        let healed = cut("a from c").unwrap().without(&["a#2".to_owned()]).unwrap();
        assert_eq!(["a#1", "a#2"].map(|port| healed.has(port)), [[true, false], [false, false]]);
    }

    #[test]
    fn each_port_is_told_its_side() {
        let of = |words: &str, port: &str| cut(words).unwrap().of(port);
        assert_eq!(of("a,b from c", "b").as_deref(), Some("from c"));
        assert_eq!(of("a,b from c", "c").as_deref(), Some("from a,b"));
        assert_eq!(of("a to c", "c").as_deref(), Some("a to c"));
        assert_eq!(of("a from rest", "b").as_deref(), Some("from a"));
        assert_eq!(of("a to c", "b"), None);
        assert!(cut("a from b").unwrap().is_as(&cut("b from a").unwrap()));
        assert!(!cut("a to b").unwrap().is_as(&cut("b to a").unwrap()));
    }
}
