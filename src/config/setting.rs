//! The settings of a port that can be changed while it runs: `zbridge set PORT key=value…`.

use super::bend::{self, Bend};
use super::grammar::{Fault, Key, Keys};
use super::kind::{COMMON, KeyRow};
use super::mirror::{self, Mirror};
use super::port::{MTU_RANGE, PortSpec};
use super::value::{self, Parsed};
use crate::error::{Error, Result};
use crate::limits::QUEUE_FRAMES_MAX;
use crate::wire::Mac;
use std::sync::LazyLock;

/// The keys of `set`: its own, and those of every port that are marked in the table as to be changed while it runs.
pub static SET_KEYS: LazyLock<Vec<KeyRow>> = LazyLock::new(|| {
    let live = COMMON.iter().filter(|row| row.live);
    let off = |row: &KeyRow| match row.word {
        "mirror" => KeyRow { value: Some("PORT[:rx|tx|both]|off"), ..*row },
        "static" => KeyRow { value: Some("MAC|off"), ..*row },
        "mtu" => KeyRow { value: Some("BYTES|default"), ..*row },
        "queue" => KeyRow { value: Some("FRAMES|default"), ..*row },
        _ => *row,
    };
    OWN.iter().copied().chain(live.map(off)).collect()
});

/// The keys that only `set` has.
const OWN: &[KeyRow] = &[
    KeyRow {
        word: "down",
        value: None,
        repeatable: false,
        live: false,
        summary: "as if its cable were pulled: nothing passes, stations behind it are forgotten, a TAP loses its carrier",
    },
    KeyRow { word: "up", value: None, repeatable: false, live: false, summary: "plugs it in again" },
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
    /// Whether source addresses are learned on it.
    Learn(bool),
    /// The longest payload; `None`: the kind's own.
    Mtu(Option<u32>),
    /// Frames that may wait for it; `None`: the kind's own.
    Queue(Option<usize>),
    /// No traffic to and from other isolated ports.
    Isolate(bool),
    /// Its addresses are its alone; `None`: where it is isolated.
    Guard(Option<bool>),
    /// The stations that are always there, instead of those before.
    Statics(Vec<Mac>),
}

impl Setting {
    /// Enters it into a specification. What is of the moment is no part of one.
    pub fn enter(&self, spec: &mut PortSpec) {
        match self {
            Self::Down(_) | Self::Bends(_) => {}
            Self::Mirrors(mirrors) => spec.mirrors.clone_from(mirrors),
            Self::Learn(on) => spec.learn = *on,
            Self::Mtu(mtu) => spec.mtu = *mtu,
            Self::Queue(queue) => spec.queue = *queue,
            Self::Isolate(on) => spec.isolate = *on,
            Self::Guard(guard) => spec.guard = *guard,
            Self::Statics(statics) => spec.statics.clone_from(statics),
        }
    }
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
    let mut keys = Keys::new("set", plain, &[&SET_KEYS])?;
    let mirrors = mirror::take(&mut keys)?.map(Setting::Mirrors);
    let bends = Some(bends).filter(|bends| !bends.is_empty()).map(Setting::Bends);
    let down = down(&mut keys)?.map(Setting::Down);
    let found: Vec<Setting> = mirrors.into_iter().chain(bends).chain(down).chain(common(&mut keys)?).collect();
    keys.finish()?;
    if found.is_empty() {
        let known: Vec<String> = SET_KEYS.iter().map(|row| row.form()).collect();
        return Err(Error::usage("there is nothing to set").hint(format!("known are {}", known.join(", "))));
    }
    Ok(found)
}

/// The keys of every port that say a value.
fn common(keys: &mut Keys) -> std::result::Result<Vec<Setting>, Fault> {
    let mut found = Vec::new();
    found.extend(keys.flag("learn")?.map(Setting::Learn));
    found.extend(keys.value("mtu", or_default(|text| value::number(text, MTU_RANGE)))?.map(Setting::Mtu));
    found
        .extend(keys.value("queue", or_default(|text| value::number(text, 1..=QUEUE_FRAMES_MAX)))?.map(Setting::Queue));
    found.extend(keys.flag("isolate")?.map(Setting::Isolate));
    found.extend(keys.flag("guard")?.map(|on| Setting::Guard(Some(on))));
    let statics = keys.values("static", |text| match text {
        "off" => Ok(None),
        _ => value::station(text).map(Some),
    })?;
    if statics.len() > 1 && statics.contains(&None) {
        return Err(Fault::new("static=off stands alone"));
    }
    if !statics.is_empty() {
        found.push(Setting::Statics(statics.into_iter().flatten().collect()));
    }
    Ok(found)
}

/// A value, or the kind's own.
fn or_default<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |text| if text == "default" { Ok(None) } else { parse(text).map(Some) }
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

    /// The mark in the table is the whole truth: what is marked is understood, and nothing else.
    #[test]
    fn every_key_that_is_marked_can_be_set() {
        for row in COMMON.iter().filter(|row| row.live) {
            let word = match row.word {
                "mtu" => "mtu=1400",
                "queue" => "queue=100",
                "mirror" => "mirror=a",
                "tx.KEY" => "tx.loss=1%",
                "static" => "static=02:00:5e:00:53:01",
                flag => flag,
            };
            assert_eq!(settings(&[word.to_owned()]).map(|found| found.len()), Ok(1), "{word}");
        }
        for row in COMMON.iter().filter(|row| !row.live) {
            assert!(settings(&[format!("{}=1", row.word)]).is_err(), "{}", row.word);
        }
    }

    #[test]
    fn what_can_be_set() {
        let set = |words: &[&str]| settings(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(set(&["mirror=off"]), Ok(vec![Setting::Mirrors(Vec::new())]));
        let [Setting::Mirrors(two)] = &set(&["mirror=a:rx", "mirror=b"]).unwrap()[..] else { panic!() };
        assert_eq!(two.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:rx", "b"]);
        assert_eq!(
            set(&["learn=off", "mtu=1400", "queue=default", "isolate", "guard=off", "static=02:00:5e:00:53:01"]),
            Ok(vec![
                Setting::Learn(false),
                Setting::Mtu(Some(1400)),
                Setting::Queue(None),
                Setting::Isolate(true),
                Setting::Guard(Some(false)),
                Setting::Statics(vec![Mac([2, 0, 0x5e, 0, 0x53, 1])]),
            ])
        );
        assert_eq!(set(&["static=off"]), Ok(vec![Setting::Statics(Vec::new())]));
        let downs = [&["down"], &["up"], &["up=off"]].map(|words| set(words));
        assert_eq!(downs, [true, false, true].map(|down| Ok(vec![Setting::Down(down)])));
        for (wrong, says) in [
            (&[][..], "there is nothing to set"),
            (&["mirror"], "key \"mirror\" needs a value: mirror=PORT[:rx|tx|both]|off"),
            (&["mirror=off", "mirror=a"], "mirror=off stands alone"),
            (&["mirror=a", "mirror=a"], "given twice"),
            (&["down", "up"], "either up or down"),
            (&["mtu=67"], "expected"),
            (&["static=off", "static=02:00:5e:00:53:01"], "static=off stands alone"),
            (&["down=maybe"], "expected on or off"),
            (&["miror=a"], "the nearest is \"mirror\""),
        ] {
            let error = set(wrong).unwrap_err();
            assert!(error.what().contains(says), "{error}");
        }
    }
}
