//! The configuration file: TOML with the words of the command line.
//!
//! ```toml
//! [switch.lab]
//! ageing = "300s"
//!
//! [[port]]
//! type = "tap"                  # a table: the words one by one …
//! target = "zeth0"
//! addr = ["192.0.2.2/24", "2001:db8::2/64"]
//! switch = "lab"
//!
//! [[port]]
//! port = "unix:/tmp/inst1"      # … or a specification as the command line takes it, with more keys if wanted
//! switch = "lab"
//!
//! [[instance]]                  # a program of the bench, which `zbridge up` starts
//! name = "zephyr"
//! command = "./zephyr.exe --seed=1"
//! tap = "zeth"
//! ```
//!
//! A table is turned into the [`Words`] of the port grammar, so that both have one parser and one set of errors. A
//! word keeps the place where it stood, and an error gives it as `lab.toml:3`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::bend;
use super::copies::copies;
use super::grammar::{Fault, Key, Words, nearest, split};
use super::instance::InstanceSpec;
use super::kind::{COMMON, KINDS, find};
use super::metrics::MetricsAt;
use super::order::order;
use super::plan::Config;
use super::port::PortSpec;
use super::scenario::{ScenarioSpec, scenario};
use super::shell_words::shell_word;
use super::switch::SwitchSpec;
use crate::error::{Error, Result};
use crate::limits::CONFIG_BYTES;

/// The tables of a configuration file.
const TABLES: [&str; 5] = ["port", "switch", "instance", "scenario", "metrics"];

type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

impl Config {
    /// Parses a configuration file. An empty one is no error; [`Config::check`] asks for ports.
    ///
    /// # Errors
    /// The first usage error, led by `file:line`.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let first = |errors: Vec<Error>| errors.into_iter().next().unwrap_or_else(|| Error::usage("wrong").at(file));
        Self::parse_whole(text, file).map_err(first)
    }

    /// The same, to the end of the file whatever is wrong on the way.
    ///
    /// # Errors
    /// Every table's first usage error, led by `file:line`, in their order. There is one at least.
    pub fn parse_whole(text: &str, file: &str) -> Result<Self, Vec<Error>> {
        let place = |offset: usize| {
            let before = text.get(..offset).unwrap_or(text);
            format!("{file}:{}", before.matches('\n').count() + 1)
        };
        let root = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            vec![Error::usage(one_line(error.message())).at(place(offset)).because(error)]
        })?;
        let mut config = Self::default();
        let (mut waits, mut errors, mut knows_all) = (Vec::new(), Vec::new(), true);
        for (key, value) in in_order(root.get_ref()) {
            let items = match key.get_ref().as_ref() {
                "port" => ports(value),
                "switch" => switches(value),
                "instance" => instances(value),
                "scenario" => scenarios(value, &place),
                "metrics" => vec![metrics(value)],
                other => vec![Err(Fault::new(format!("unknown table {other:?}; {}", nearest(other, TABLES))))],
            };
            for item in items {
                let added = item.map_err(|fault| located(fault.at(key.span().start), place));
                let added =
                    added.and_then(|(at, item)| config.add(item, &mut waits).map_err(|error| error.at(place(at))));
                knows_all &= added.is_ok() || key.get_ref() != "instance";
                errors.extend(added.err());
            }
        }
        // A faulty instance's name is unknown, so dependencies on it cannot be checked.
        if knows_all {
            let wrong = order(&config.instances).err().unwrap_or_default();
            errors.extend(wrong.into_iter().map(|(index, fault)| {
                let at = waits.get(index).copied().unwrap_or(0);
                located(fault.at(at), place)
            }));
        }
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// Adds the item of a table. The place of an instance's `after` goes to `waits`.
    fn add(&mut self, item: Item, waits: &mut Vec<usize>) -> Result<()> {
        match item {
            Item::Port(port) => self.add_port(*port),
            Item::Switch(switch) => self.add_switch(switch),
            Item::Scenario(scenario) => self.add_scenario(scenario),
            Item::Metrics(at) => {
                self.metrics = Some(at);
                Ok(())
            }
            Item::Instance(instance, after) => {
                waits.push(after);
                self.add_instance(*instance)
            }
        }
    }

    /// Reads and parses a configuration file.
    ///
    /// # Errors
    /// That the file cannot be read, is none or is too long, or as [`Config::parse_whole`].
    pub fn load(path: &Path) -> Result<Self, Vec<Error>> {
        let open = |path: &Path| File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        Self::load_by(path, open)
    }

    /// The same by one who opens the file in a way of its own, and never waits for it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_by(path: &Path, open: impl Fn(&Path) -> std::io::Result<File>) -> Result<Self, Vec<Error>> {
        let file = path.display().to_string();
        let bytes = read(path, open).map_err(|error| vec![error])?;
        let text = String::from_utf8(bytes)
            .map_err(|cause| vec![Error::usage("not UTF-8 text").at(&file).because(cause.utf8_error())])?;
        Self::parse_whole(&text, &file)
    }
}

/// The bytes of a configuration file. An endless device (`/dev/zero`) and a named FIFO are refused; a shell's pipe is
/// accepted (`<(generate)`, `/dev/stdin`).
fn read(path: &Path, open: impl Fn(&Path) -> std::io::Result<File>) -> Result<Vec<u8>> {
    let cannot = |cause| Error::system(path.display(), &cause);
    let mut file = open(path).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?.file_type();
    let is_shells = ["/dev/fd", "/proc/self/fd", "/dev/stdin"].iter().any(|place| path.starts_with(place));
    if found.is_fifo() && is_shells {
        file = File::open(path).map_err(cannot)?;
    } else if !found.is_file() {
        let what = if found.is_dir() { "it is a folder" } else { "it is no file" };
        return Err(Error::usage(what).at(path.display()).hint("a configuration is a file in TOML"));
    }
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > CONFIG_BYTES {
        return Err(Error::usage(format!("it is longer than {} MiB", CONFIG_BYTES >> 20)).at(path.display()));
    }
    Ok(bytes)
}

/// The items of all tables of a kind, or their faults; with the place where each begins.
type Items = Vec<std::result::Result<(usize, Item), Fault>>;

/// The item of a table of the file.
enum Item {
    Port(Box<PortSpec>),
    Switch(SwitchSpec),
    Metrics(MetricsAt),
    Scenario(ScenarioSpec),
    /// With the place of its `after`.
    Instance(Box<InstanceSpec>, usize),
}

fn located(fault: Fault, place: impl Fn(usize) -> String) -> Error {
    let place = place(fault.at.unwrap_or(0));
    Error::from(fault).at(place)
}

/// The parser's message without line breaks, which are for its own layout.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The entries of a table in the order of the file, not of the alphabet.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<Entry<'t, 'i>> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// `[[port]]` tables, or `port = ["SPEC", …]`, or a mixture of them.
fn ports(value: &Spanned<DeValue<'_>>) -> Items {
    let Some(list) = value.get_ref().as_array() else {
        return vec![Err(Fault::new("port is a list of tables").hint("each port starts with a line [[port]]"))];
    };
    let port = |item: &Spanned<DeValue<'_>>| {
        let start = item.span().start;
        let words = match item.get_ref() {
            DeValue::Table(table) => port_words(table),
            DeValue::String(text) => split_at(text, start),
            other => Err(Fault::new(format!("a port is a table or a string, not {}", article(other)))),
        };
        let port = words.and_then(PortSpec::from_words).map_err(|fault| fault.at(start))?;
        Ok((start, Item::Port(Box::new(port))))
    };
    list.iter().map(port).collect()
}

/// `metrics = "127.0.0.1:9469"`.
fn metrics(value: &Spanned<DeValue<'_>>) -> std::result::Result<(usize, Item), Fault> {
    let start = value.span().start;
    let text =
        value.get_ref().as_str().ok_or_else(|| Fault::new("metrics is an address, as \"127.0.0.1:9469\"").at(start))?;
    let at =
        MetricsAt::parse(text).map_err(|form| Fault::new(format!("metrics {text:?}: expected {form}")).at(start))?;
    Ok((start, Item::Metrics(at)))
}

/// `[[scenario]]` tables.
fn scenarios(value: &Spanned<DeValue<'_>>, place: &dyn Fn(usize) -> String) -> Items {
    let form = || Fault::new("scenario is a list of tables").hint("each starts with a line [[scenario]]");
    let Some(list) = value.get_ref().as_array() else { return vec![Err(form())] };
    let item = |item: &Spanned<DeValue<'_>>| {
        let start = item.span().start;
        let table = item.get_ref().as_table().ok_or_else(|| form().at(start))?;
        Ok((start, Item::Scenario(scenario(table, start, place)?)))
    };
    list.iter().map(item).collect()
}

/// `[switch.NAME]` tables.
fn switches(value: &Spanned<DeValue<'_>>) -> Items {
    let form = || Fault::new("a switch is a table with a name").hint("write [switch.NAME]");
    let Some(table) = value.get_ref().as_table() else { return vec![Err(form())] };
    let switch = |(name, value): Entry<'_, '_>| {
        let start = name.span().start;
        let table = value.get_ref().as_table().ok_or_else(|| form().at(start))?;
        let keys = keys(in_order(table).into_iter())?;
        let words = Words { head: name.get_ref().to_string(), keys };
        let switch = SwitchSpec::from_words(words).map_err(|fault| fault.at(start))?;
        Ok((start, Item::Switch(switch)))
    };
    in_order(table).into_iter().map(switch).collect()
}

/// The instances of a table that has copies: the name of them all, and that of each.
type Group = (String, Vec<String>);

/// `[[instance]]` tables.
fn instances(value: &Spanned<DeValue<'_>>) -> Items {
    let form = || Fault::new("instance is a list of tables").hint("each instance starts with a line [[instance]]");
    let Some(list) = value.get_ref().as_array() else { return vec![Err(form())] };
    let mut items = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    for item in list {
        let start = item.span().start;
        let table = item.get_ref().as_table().ok_or_else(form);
        match table.and_then(|table| instance(table, start)).map_err(|fault| fault.at(start)) {
            Ok((specs, after, group)) => {
                groups.extend(group);
                items.extend(specs.into_iter().map(|spec| Ok((start, spec, after))));
            }
            Err(fault) => items.push(Err(fault)),
        }
    }
    let all = |name: String| {
        let group = groups.iter().find(|(group, _)| *group == name);
        group.map_or_else(|| vec![name.clone()], |(_, names)| names.clone())
    };
    let item = |(start, mut spec, after): (usize, InstanceSpec, usize)| {
        spec.after = spec.after.into_iter().flat_map(all).collect();
        (start, Item::Instance(Box::new(spec), after))
    };
    items.into_iter().map(|found| found.map(item)).collect()
}

/// The instances of one table, the place of its `after`, and the group that they are if it has `count`.
fn instance(
    table: &DeTable<'_>,
    start: usize,
) -> std::result::Result<(Vec<InstanceSpec>, usize, Option<Group>), Fault> {
    let entry = |word: &str| table.iter().find(|(key, _)| key.get_ref() == word);
    let after = entry("after").map_or(start, |(key, _)| key.span().start);
    let for_a_shell = entry("command").and_then(|(_, command)| command.get_ref().as_str()).and_then(shell_word);
    let spec = |(command, keys)| {
        InstanceSpec::from_words(command, keys).map(|spec| InstanceSpec { for_a_shell: for_a_shell.clone(), ..spec })
    };
    let specs = instance_words(table).and_then(copies)?.into_iter().map(spec);
    let specs = specs.collect::<std::result::Result<Vec<_>, _>>()?;
    let name = entry("name").and_then(|(_, name)| name.get_ref().as_str()).filter(|_| entry("count").is_some());
    let group = name.map(|name| (name.to_owned(), specs.iter().map(|spec| spec.name.clone()).collect()));
    Ok((specs, after, group))
}

/// The command of an instance's table, in words, and its other keys.
fn instance_words(table: &DeTable<'_>) -> std::result::Result<(Vec<String>, Vec<Key>), Fault> {
    let mut command = Vec::new();
    let mut list = Vec::new();
    for (word, value) in in_order(table) {
        match (word.get_ref().as_ref(), value.get_ref()) {
            ("command", given) => command = command_words(given).map_err(|fault| fault.at(value.span().start))?,
            ("env", DeValue::Table(variables)) => {
                let pairs = keys(in_order(variables).into_iter())?;
                let pair = |key: Key| Key {
                    value: Some(format!("{}={}", key.word, key.value.unwrap_or_default())),
                    word: "env".to_owned(),
                    at: key.at,
                };
                list.extend(pairs.into_iter().map(pair));
            }
            _ => list.extend(keys(std::iter::once((word, value)))?),
        }
    }
    Ok((command, list))
}

/// A command: one text that is split as a shell splits it, without its expansions, or a list of words.
fn command_words(value: &DeValue<'_>) -> std::result::Result<Vec<String>, Fault> {
    let text = |value: &DeValue<'_>| {
        let text = value.as_str().filter(|text| !text.contains('\0')).map(ToOwned::to_owned);
        text.ok_or_else(|| Fault::new("command is a string, or a list of strings"))
    };
    match value {
        DeValue::Array(words) => words.iter().map(|word| text(word.get_ref())).collect(),
        one => shlex::split(&text(one)?).ok_or_else(|| Fault::new("command: a quote is not closed")),
    }
}

/// A specification at `start` of the file, with that place for all its words.
fn split_at(text: &str, start: usize) -> std::result::Result<Words, Fault> {
    let mut words = split(text).map_err(|fault| Fault { at: Some(start), ..fault })?;
    words.keys.iter_mut().for_each(|key| key.at = start);
    Ok(words)
}

/// The words of a port's table: `port`, or `type` and `target`, and keys.
fn port_words(table: &DeTable<'_>) -> std::result::Result<Words, Fault> {
    let (heads, rest): (Vec<_>, Vec<_>) =
        in_order(table).into_iter().partition(|(key, _)| matches!(key.get_ref().as_ref(), "port" | "type" | "target"));
    let head = |word: &str| -> std::result::Result<Option<(usize, &str)>, Fault> {
        let Some((_, value)) = heads.iter().find(|(key, _)| key.get_ref() == word) else { return Ok(None) };
        let start = value.span().start;
        let text = value.get_ref().as_str().ok_or_else(|| Fault::new(format!("{word} is a string")).at(start))?;
        Ok(Some((start, text)))
    };
    let mut words = match (head("port")?, head("type")?, head("target")?) {
        (Some((start, text)), None, None) => split_at(text, start)?,
        (None, Some((start, kind)), Some((_, target))) => {
            let row = find(kind).map_err(|fault| fault.at(start))?;
            Words { head: format!("{}:{target}", row.word), keys: Vec::new() }
        }
        _ => {
            if let Some(fault) = rest.iter().find_map(|(key, _)| meant_head(key)) {
                return Err(fault);
            }
            return Err(Fault::new("a port has either port = \"TYPE:TARGET\" or both type and target")
                .hint("for example: type = \"tap\" and target = \"zeth0\""));
        }
    };
    words.keys.extend(keys(rest.into_iter())?);
    Ok(words)
}

/// A fault for a key that is no port's but nearly `port`, `type` or `target`.
fn meant_head(key: &Spanned<DeString<'_>>) -> Option<Fault> {
    let word = key.get_ref().as_ref();
    let is_known = KINDS.iter().flat_map(|row| row.keys).chain(COMMON).any(|row| row.word == word);
    let near = nearest(word, ["port", "type", "target"]);
    let fault = || Fault::new(format!("unknown key {word:?}; {near}")).at(key.span().start);
    (!is_known && near.starts_with("the nearest")).then(fault)
}

/// The keys of a table; a list is the same key several times.
fn keys<'t, 'i: 't>(entries: impl Iterator<Item = Entry<'t, 'i>>) -> std::result::Result<Vec<Key>, Fault> {
    let mut keys = Vec::new();
    for (word, value) in entries {
        let at = word.span().start;
        // Impairments: tx.delay is a table tx to TOML.
        if let (true, DeValue::Table(table)) = (bend::is_way(Some(word.get_ref())), value.get_ref()) {
            let inner = self::keys(in_order(table).into_iter())?;
            keys.extend(inner.into_iter().map(|key| Key { word: format!("{}.{}", word.get_ref(), key.word), ..key }));
            continue;
        }
        let values = match value.get_ref() {
            DeValue::Array(list) => list.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            let text = value_text(value.get_ref())
                .ok_or_else(|| {
                    Fault::new(format!("{} takes no {} as its value", word.get_ref(), value.get_ref().type_str()))
                })
                .map_err(|fault| fault.at(value.span().start))?;
            keys.push(Key { word: word.get_ref().to_string(), value: Some(text), at });
        }
    }
    Ok(keys)
}

/// A value as the command line would have it: true is on, 0o660 stays octal.
fn value_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(true) => Some("on".to_owned()),
        DeValue::Boolean(false) => Some("off".to_owned()),
        _ => None,
    }
}

/// The type of a value with its article.
fn article(value: &DeValue<'_>) -> String {
    let word = value.type_str();
    let article = if word.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {word}")
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
