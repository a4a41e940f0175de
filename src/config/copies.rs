//! `count = N` of an instance: one table that stands for several, which differ by their number.
//!
//! `{i}` in any value of the table is the number of the copy, from 1 on, and `{i+10}` ten more, as for addresses. A name
//! without it gets the number behind it. `after` may name all of them by the name in the table.

use super::grammar::{Fault, Key};
use super::value;

/// How many copies one table may stand for.
const COUNT: std::ops::RangeInclusive<u32> = 1..=1000;

/// The words of one instance: its command and its other keys.
pub type Instance = (Vec<String>, Vec<Key>);

/// What a table stands for: one instance, or with `count` several. Gives the words of each.
///
/// # Errors
/// `count` is no number in range, or is given twice; a number beyond the range of 32 bits.
pub fn copies((command, mut keys): Instance) -> Result<Vec<Instance>, Fault> {
    let Some(index) = keys.iter().position(|key| key.word == "count") else { return Ok(vec![(command, keys)]) };
    let key = keys.remove(index);
    let count = value::number(key.value.as_deref().unwrap_or_default(), COUNT)
        .map_err(|form| Fault::new(format!("count: expected {form}")).at(key.at))?;
    let one = |number: u32| {
        let fill = |text: &str| fill(text, number).map_err(|what| Fault::new(what).at(key.at));
        let command = command.iter().map(|word| fill(word)).collect::<Result<_, _>>()?;
        let filled = |key: &Key| {
            let value = key.value.as_deref().map(fill).transpose()?;
            let is_plain_name = key.word == "name" && value == key.value;
            let value = value.map(|value| if is_plain_name { format!("{value}{number}") } else { value });
            Ok(Key { value, ..key.clone() })
        };
        Ok((command, keys.iter().map(filled).collect::<Result<_, Fault>>()?))
    };
    (1..=count).map(one).collect()
}

/// `text` with the number in it.
fn fill(text: &str, number: u32) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{i") {
        filled.push_str(before);
        let more = behind.split_once('}').and_then(|(more, behind)| match more.strip_prefix('+') {
            _ if more.is_empty() => Some((0, behind)),
            digits => Some((digits?.parse::<u32>().ok()?, behind)),
        });
        // Braces of other kinds are the program's own.
        let Some((more, behind)) = more else {
            filled.push_str("{i");
            rest = behind;
            continue;
        };
        let sum = number.checked_add(more).ok_or_else(|| format!("{text:?}: the number is too large"))?;
        filled.push_str(&sum.to_string());
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_put_in() {
        let fill = |text| fill(text, 7).unwrap();
        assert_eq!(fill("a{i}b{i+10}c"), "a7b17c");
        for own in ["{i", "{i+}", "{i+x}", "{n}", "{}", "awk '{inner}'", "{i-1}", "{i+4294967296}"] {
            assert_eq!(fill(own), own);
        }
        assert!(super::fill("{i+4294967295}", 1).is_err());
    }
}
