//! The settings of a port that can be changed while it runs: `zbridge set PORT key=value…`.

use super::bend::{self, Bend};
use super::grammar::{Fault, Key, Keys};
use super::kind::KeyRow;
use super::mirror::{self, Mirror};
use crate::error::{Error, Result};

/// The keys of `set`.
pub const SET_KEYS: &[KeyRow] = &[
    KeyRow {
        word: "down",
        value: None,
        repeatable: false,
        summary: "as if its cable were pulled: nothing passes, stations behind it are forgotten, a TAP loses its carrier",
    },
    KeyRow { word: "up", value: None, repeatable: false, summary: "plugs it in again" },
    KeyRow {
        word: "mirror",
        value: Some("PORT[:rx|tx|both]|off"),
        repeatable: true,
        summary: "the port gets a copy of what PORT sends (rx), is sent (tx), or both; off: of nothing any more",
    },
    KeyRow {
        word: "tx.KEY",
        value: Some("VALUE"),
        repeatable: true,
        summary: "an impairment of what it is sent; rx. of what comes from it, both.: `zbridge help impair`",
    },
];

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Setting {
    /// It is set down, or (false) up.
    Down(bool),
    /// Copies that the port gets, instead of those before.
    Mirrors(Vec<Mirror>),
    /// What a bad line does to its frames, beside what it did before.
    Bends(Vec<Bend>),
}

/// Understands `key[=value]…`.
///
/// # Errors
/// There is none, or one is wrong.
pub fn settings(words: &[String]) -> Result<Vec<Setting>> {
    let list = words.iter().map(|word| {
        let (key, value) = word.split_once('=').map_or((word.as_str(), None), |(key, value)| (key, Some(value)));
        Key { word: key.to_owned(), value: value.map(str::to_owned), at: 0 }
    });
    let (bends, plain) = bend::apart(list.collect())?;
    let mut keys = Keys::new("set", plain, &[SET_KEYS])?;
    let mirrors = mirror::take(&mut keys)?.map(Setting::Mirrors);
    let bends = Some(bends).filter(|bends| !bends.is_empty()).map(Setting::Bends);
    let down = down(&mut keys)?.map(Setting::Down);
    let found: Vec<Setting> = mirrors.into_iter().chain(bends).chain(down).collect();
    keys.finish()?;
    if found.is_empty() {
        let known: Vec<String> = SET_KEYS.iter().map(|row| row.form()).collect();
        return Err(Error::usage("there is nothing to set").hint(format!("known are {}", known.join(", "))));
    }
    Ok(found)
}

/// `down` or `up`, bare or with `=on`.
fn down(keys: &mut Keys) -> std::result::Result<Option<bool>, Fault> {
    match (keys.flag("down")?, keys.flag("up")?) {
        (Some(_), Some(_)) => Err(Fault::new("either up or down")),
        (down, up) => Ok(down.or(up.map(|up| !up))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_set() {
        let set = |words: &[&str]| settings(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(set(&["mirror=off"]), Ok(vec![Setting::Mirrors(Vec::new())]));
        let [Setting::Mirrors(two)] = &set(&["mirror=a:rx", "mirror=b"]).unwrap()[..] else { panic!() };
        assert_eq!(two.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:rx", "b"]);
        let downs = [&["down"], &["up"], &["up=off"]].map(|words| set(words));
        assert_eq!(downs, [true, false, true].map(|down| Ok(vec![Setting::Down(down)])));
        for (wrong, says) in [
            (&[][..], "there is nothing to set"),
            (&["mirror"], "key \"mirror\" needs a value: mirror=PORT[:rx|tx|both]|off"),
            (&["mirror=off", "mirror=a"], "mirror=off stands alone"),
            (&["mirror=a", "mirror=a"], "given twice"),
            (&["down", "up"], "either up or down"),
            (&["down=maybe"], "expected on or off"),
            (&["miror=a"], "the nearest is \"mirror\""),
        ] {
            let error = set(wrong).unwrap_err();
            assert!(error.what().contains(says), "{error}");
        }
    }
}
