//! `count = N` of an instance: one table that stands for several, which differ by their number.
//!
//! `{i}` in any value of the table is the number of the copy, from 1 on, and `{i+10}` ten more, as for addresses. A name
//! without it gets the number behind it. `after` may name all of them by the name in the table.
//!
//! Braces that are not these are a mistake in most keys, and are refused. In `command`, `ready` and `env` they may be a
//! shell's, JSON or a regular expression, and are left as they are: `${i}`, `{}`, `{1..3}`, `{"a":1}`, `x{3}`, `{print}`.
//! There only what looks like a slip is refused: one small letter (`{m}`), and `i` with a sum that is none (`{i+x}`,
//! `{i-1}`). Everywhere `{{i}}` is a literal `{i}`, as `{{m}}` is a literal `{m}`.
//!
//! Values that must be unique on a switch must contain the number.

use super::grammar::{Fault, Key, split};
use super::value;

/// How many copies one table may stand for.
const COUNT: std::ops::RangeInclusive<u32> = 1..=1000;

/// Keys whose values another program reads, with braces of its own.
const FOREIGN: &[&str] = &["ready", "env"];

/// The words of one instance: its command and its other keys.
pub type Instance = (Vec<String>, Vec<Key>);

/// Expands a table to one instance or, with `count`, several. Returns the words of each.
///
/// # Errors
/// `count` is no number in range, or is given twice; a number beyond the range of 32 bits; braces that mean nothing; a
/// value that all copies would share and may not.
pub fn copies((command, mut keys): Instance) -> Result<Vec<Instance>, Fault> {
    let Some(index) = keys.iter().position(|key| key.word == "count") else { return Ok(vec![(command, keys)]) };
    let key = keys.remove(index);
    let count = value::number(key.value.as_deref().unwrap_or_default(), COUNT)
        .map_err(|form| Fault::new(format!("count: expected {form}")).at(key.at))?;
    if count > 1 {
        keys.iter().try_for_each(|key| differs(key, &keys))?;
    }
    let one = |number: u32| {
        let word = |word: &String| fill(word, number, true).map_err(|fault| fault.within("command").at(key.at));
        let command = command.iter().map(word).collect::<Result<_, _>>()?;
        let filled = |key: &Key| {
            let foreign = FOREIGN.contains(&key.word.as_str());
            let fill = |text: &str| fill(text, number, foreign).map_err(|fault| fault.within(&key.word).at(key.at));
            let value = key.value.as_deref().map(fill).transpose()?;
            let is_plain_name = key.word == "name" && value == key.value;
            let value = value.map(|value| if is_plain_name { format!("{value}{number}") } else { value });
            Ok(Key { value, ..key.clone() })
        };
        Ok((command, keys.iter().map(filled).collect::<Result<_, Fault>>()?))
    };
    (1..=count).map(one).collect()
}

/// `text` with the number in it. `foreign`: its braces may be those of another program.
fn fill(text: &str, number: u32, foreign: bool) -> Result<String, Fault> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        rest = behind;
        if let Some((word, behind)) = doubled(rest) {
            filled.push_str(&format!("{{{word}}}"));
            rest = behind;
            continue;
        }
        let inside = rest.split_once('}').filter(|_| !(foreign && before.ends_with('$')));
        match inside.filter(|(word, _)| !foreign || is_ours(word)) {
            Some((word, behind)) => {
                filled.push_str(&value_of(word, number)?);
                rest = behind;
            }
            None => filled.push('{'),
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The word of `{word}}…`, behind the brace that begins `{{word}}`, and what follows.
fn doubled(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('{')?.split_once("}}").filter(|(word, _)| is_ours(word))
}

/// Whether `{word}` is a place for the number, or meant to be: `i`, another small letter, or a sum with `i`.
fn is_ours(word: &str) -> bool {
    let sum = word.strip_prefix('i').and_then(|more| more.strip_prefix(['+', '-']));
    sum.is_some_and(|sum| sum.chars().all(|char| char.is_ascii_alphanumeric()))
        || (word.len() == 1 && word.chars().all(|char| char.is_ascii_lowercase()))
}

/// The value of `{word}` in this copy.
fn value_of(word: &str, number: u32) -> Result<String, Fault> {
    let more = match word.strip_prefix("i+").map(|digits| (digits.parse::<u32>(), digits)) {
        _ if word == "i" => Some(0),
        Some((Ok(more), digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(more),
        _ => None,
    };
    let unknown = || {
        Fault::new(format!("{{{word}}} is no number of a copy"))
            .hint(format!("there are {{i}}, from 1 on, and {{i+10}}, ten more; a literal one is {{{{{word}}}}}"))
    };
    let sum = number.checked_add(more.ok_or_else(unknown)?);
    sum.map(|sum| sum.to_string()).ok_or_else(|| Fault::new(format!("{{{word}}}: the number is too large")))
}

/// Refuses a key that gives all copies one exclusive value, unless they are on different switches.
fn differs(key: &Key, keys: &[Key]) -> Result<(), Fault> {
    let text = key.value.as_deref().unwrap_or_default();
    let apart = keys.iter().any(|key| key.word == "switch" && key.value.as_deref().is_some_and(has_number));
    let shared = |word: &str, text: &str| match word {
        "rewrite" => text.contains(':') && !apart,
        "host" => text != "dhcp" && !apart,
        "mac" | "static" => !apart,
        "log" => text != "/dev/null",
        _ => false,
    };
    let same = if key.word == "tap" {
        let words = split(text)?;
        let own_switch =
            words.keys.iter().any(|key| key.word == "switch" && key.value.as_deref().is_some_and(has_number));
        words.keys.into_iter().find_map(|inner| {
            let text = inner.value.filter(|text| !has_number(text) && !own_switch && shared(&inner.word, text))?;
            Some((inner.word, text))
        })
    } else {
        (shared(&key.word, text) && !has_number(text)).then(|| (key.word.clone(), text.to_owned()))
    };
    let Some((word, text)) = same else { return Ok(()) };
    let what = format!("{word}={text:?} is the same for every copy");
    let fault = if key.word == word { Fault::new(what) } else { Fault::new(what).within(&key.word) };
    Err(fault.hint(advice(&word, &text)).at(key.at))
}

/// Whether copies differ in `text`.
fn has_number(text: &str) -> bool {
    fill(text, 1, false) != fill(text, 2, false)
}

/// The hint that makes copies differ.
fn advice(word: &str, text: &str) -> String {
    match word {
        "mac" => "leave mac out, and each copy has one that is made of its name".to_owned(),
        "rewrite" if text.starts_with("mac") => "rewrite = \"mac\" gives each copy an address of its own".to_owned(),
        "static" => "put {i} into it, the number of the copy".to_owned(),
        _ => format!("put the number of the copy into it: {:?}", numbered(word, text)),
    }
}

/// `text` with the number of the copy for its last number, so that the first copy has what is written there.
fn numbered(word: &str, text: &str) -> String {
    if word == "log" {
        let (stem, extension) = text.rsplit_once('.').map_or((text, ""), |(stem, _)| text.split_at(stem.len()));
        return format!("{stem}{{i}}{extension}");
    }
    // The rest behind the address: a prefix length, or the bracket of an IPv6 address.
    let (addr, length) = text.split_at(text.find('/').unwrap_or(text.trim_end_matches(']').len()));
    let digits = addr.len() - addr.bytes().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (front, last) = addr.split_at(digits);
    match last.parse::<u32>() {
        Ok(number @ 2..) => format!("{front}{{i+{}}}{length}", number - 1),
        _ => format!("{front}{{i}}{length}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_put_in() {
        for foreign in [true, false] {
            let fill = |text| fill(text, 7, foreign).unwrap();
            assert_eq!(fill("a{i}b{i+10}c"), "a7b17c");
            assert_eq!(fill("{{i}}, {{i+1}} and {{m}}"), "{i}, {i+1} and {m}");
            assert_eq!(fill("a{i"), "a{i");
            let error = super::fill("{i+4294967295}", 1, foreign).unwrap_err();
            assert_eq!(error.what, "{i+4294967295}: the number is too large");
            for slip in ["{m}", "{i+x}", "{i-1}", "{i+}", "{i+4294967296}", "a{i}-{n}"] {
                let error = super::fill(slip, 1, foreign).unwrap_err();
                assert!(error.what.ends_with("is no number of a copy"), "{slip}: {}", error.what);
                assert!(error.hint.unwrap().starts_with("there are {i}, from 1 on, and {i+10}"), "{slip}");
            }
        }
        assert!(fill("{index}", 1, false).is_err());
    }

    #[test]
    fn a_program_keeps_its_braces() {
        let own = [
            "{}",
            "${i}",
            "${m}",
            "{1..3}",
            "{a,b}",
            "{i,j}",
            "x{3}",
            r"\p{L}",
            "awk '{print}'",
            "awk '{i++} END {print i}'",
            "awk '{i+=$1}'",
            r#"{"a":{"b":1}}"#,
            "{ echo; }",
            "{{ i }}",
            "{{{",
            "{",
        ];
        for own in own {
            assert_eq!(fill(own, 7, true).as_deref(), Ok(own));
        }
        assert_eq!(fill(r#"{"id":{i}}"#, 7, true).unwrap(), r#"{"id":7}"#);
    }

    #[test]
    fn what_copies_cannot_share_has_their_number() {
        for (word, text, says) in [
            ("rewrite", "ip=192.0.2.1:192.0.2.11", Some(r#""ip=192.0.2.1:192.0.2.{i+10}""#)),
            ("rewrite", "ip=[2001:db8::1]:[2001:db8::11]", Some(r#""ip=[2001:db8::1]:[2001:db8::{i+10}]""#)),
            ("rewrite", "ip=192.0.2.1:192.0.2.1", Some(r#""ip=192.0.2.1:192.0.2.{i}""#)),
            ("rewrite", "mac=02:00:5e:00:53:3b:02:00:5e:00:53:01", Some("rewrite = \"mac\"")),
            ("rewrite", "mac", None),
            ("host", "192.0.2.9/24", Some(r#""192.0.2.{i+8}/24""#)),
            ("host", "2001:db8::a/64", Some(r#""2001:db8::{i}/64""#)),
            ("host", "dhcp", None),
            ("mac", "02:00:5e:00:53:01", Some("leave mac out")),
            ("log", "out/copy.log", Some(r#""out/copy{i}.log""#)),
            ("tap", "zeth,rewrite=ip=192.0.2.1:192.0.2.11", Some(r#""ip=192.0.2.1:192.0.2.{i+10}""#)),
            ("tap", "zeth,rewrite=ip=192.0.2.1:192.0.2.{i+10}", None),
            ("tap", "zeth,rewrite=ip=192.0.2.1:192.0.2.11,switch=s{i}", None),
            ("gateway", "192.0.2.1", None),
        ] {
            let key = |word: &str, text: &str| Key { word: word.into(), value: Some(text.into()), at: 9 };
            let table = |count: &str, more: &[Key]| {
                let keys = [key("count", count), key(word, text)].into_iter().chain(more.iter().cloned()).collect();
                copies((vec!["x".into()], keys))
            };
            match (table("2", &[]), says) {
                (Err(fault), Some(says)) => {
                    assert!(fault.what.contains("is the same for every copy"), "{}", fault.what);
                    assert!(fault.hint.clone().unwrap().contains(says), "{:?}", fault.hint);
                }
                (Ok(_), None) => {}
                (other, _) => panic!("{word}={text}: {other:?}"),
            }
            assert!(table("1", &[]).is_ok(), "{word}={text}");
            let apart = table("2", &[key("switch", "s{i}")]);
            assert_eq!(apart.is_ok(), word != "log", "{word}={text}");
        }
    }
}
