//! One configured switch: `NAME[,key=value]…`, or a table `[switch.NAME]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::grammar::{Fault, Keys, Words, Writer, split};
use super::kind::KeyRow;
use super::port::DEFAULT_SWITCH;
use super::value;
use crate::error::{Error, Result};
use crate::limits::{AGEING_SECS, AGEING_SECS_RANGE, FDB_LIMIT, FDB_LIMIT_MAX, QUEUE_LIMIT_RANGE};

/// The range of `fdb-limit=`.
pub const FDB_LIMIT_RANGE: std::ops::RangeInclusive<usize> = 16..=FDB_LIMIT_MAX;

/// The keys of a switch.
pub static SWITCH_KEYS: &[KeyRow] = &[
    KeyRow {
        word: "ageing",
        value: Some("TIME"),
        repeatable: false,
        live: false,
        summary: "after which a station that was not heard is forgotten, 10s to 1000000s (default: 300s)",
    },
    KeyRow {
        word: "fdb-limit",
        value: Some("N"),
        repeatable: false,
        live: false,
        summary: "addresses that are remembered at most, 16 to 1048576 (default: 65536)",
    },
    KeyRow {
        word: "fdb-port-limit",
        value: Some("N"),
        repeatable: false,
        live: false,
        summary: "addresses learned on one port at most (default: a quarter of fdb-limit)",
    },
    KeyRow {
        word: "queue-limit",
        value: Some("BYTES"),
        repeatable: false,
        live: false,
        summary: "what waits for all its busy ports together, 256K to 1G (default: 64M; a quarter of what the process may have, if that is less)",
    },
    KeyRow {
        word: "medium",
        value: Some("ethernet|802.15.4"),
        repeatable: false,
        live: false,
        summary: "what it switches; the first wpan port makes it 802.15.4, a radio medium (default: ethernet)",
    },
    KeyRow {
        word: "links",
        value: Some("FILE"),
        repeatable: false,
        live: false,
        summary: "802.15.4: who hears whom, a CSV matrix of probabilities or a list of edges (default: all to all)",
    },
    KeyRow {
        word: "seed",
        value: Some("N"),
        repeatable: false,
        live: false,
        summary: "decides which frames are lost on the air (default: 0), and by impairments (default: drawn, and said)",
    },
    KeyRow {
        word: "collisions",
        value: None,
        repeatable: false,
        live: false,
        summary: "802.15.4: frames of nodes that do not hear each other destroy one another",
    },
    KeyRow {
        word: "capture",
        value: Some("FILE"),
        repeatable: false,
        live: false,
        summary: "writes every frame, and what is dropped, to a pcapng file, or to a FIFO while somebody reads it",
    },
    KeyRow {
        word: "fates",
        value: Some("FILE"),
        repeatable: false,
        live: false,
        summary: "writes what impairments did to each frame, a line each",
    },
    KeyRow {
        word: "replay",
        value: Some("FILE"),
        repeatable: false,
        live: false,
        summary: "does to frames what such a file says, by their numbers, instead of drawing it",
    },
];

/// The medium of a switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Medium {
    /// Ethernet frames, by their addresses.
    Ethernet,
    /// IEEE 802.15.4 frames, to everybody in range.
    Radio,
}

impl Medium {
    fn word(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Radio => "802.15.4",
        }
    }
}

/// A configured switch.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SwitchSpec {
    /// Its name, unique in the process.
    pub name: String,
    /// Time after which a station that was not heard is forgotten, within [`AGEING_SECS_RANGE`].
    pub ageing: Duration,
    /// Addresses that are remembered at most, within [`FDB_LIMIT_RANGE`].
    pub fdb_limit: usize,
    /// Addresses learned on one port at most, 1..=`fdb_limit`; `None`: the switch's own share.
    pub fdb_port_limit: Option<usize>,
    /// What all its queues may cost together, in bytes, within [`QUEUE_LIMIT_RANGE`]; `None`: [`QUEUE_LIMIT`], or a
    /// quarter of the memory that the process may have, if that is less.
    ///
    /// [`QUEUE_LIMIT`]: crate::limits::QUEUE_LIMIT
    pub queue_limit: Option<usize>,
    /// Its medium; `None`: by its ports.
    pub medium: Option<Medium>,
    /// The file with the links of a radio medium; `None`: every node hears every other.
    pub links: Option<PathBuf>,
    /// Decides the losses of a radio medium; 0 unless said.
    pub seed: u64,
    /// Frames collide on a radio medium.
    pub collisions: bool,
    /// Where its frames are captured.
    pub capture: Option<PathBuf>,
    /// Where it is written what impairments did to frames.
    pub fates: Option<PathBuf>,
    /// The file of such fates that is replayed.
    pub replay: Option<PathBuf>,
}

impl SwitchSpec {
    /// The switch `name` with its settings at their defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ageing: Duration::from_secs(AGEING_SECS),
            fdb_limit: FDB_LIMIT,
            fdb_port_limit: None,
            queue_limit: None,
            medium: None,
            links: None,
            seed: 0,
            collisions: false,
            capture: None,
            fates: None,
            replay: None,
        }
    }

    /// Parses `NAME[,key=value]…`.
    ///
    /// # Errors
    /// A usage error that names `text` and what is wrong in it. No text panics.
    pub fn parse(text: &str) -> Result<Self> {
        split(text).and_then(Self::from_words).map_err(|fault| Error::from(fault).at(format_args!("switch {text:?}")))
    }

    /// Understands a specification that was taken apart.
    pub(super) fn from_words(words: Words) -> std::result::Result<Self, Fault> {
        let name = value::name(&words.head)
            .map_err(|form| Fault::new(format!("the name of a switch, {:?}: expected {form}", words.head)))?;
        let mut keys = Keys::new("a switch", words.keys, &[SWITCH_KEYS])?;
        let plain = Self::new(name);
        let fdb_limit = keys.value("fdb-limit", |text| value::number(text, FDB_LIMIT_RANGE))?;
        let fdb_limit = fdb_limit.unwrap_or(plain.fdb_limit);
        let port_limit = keys.value("fdb-port-limit", |text| value::number(text, 1..=fdb_limit))?;
        let queue_limit = keys.value("queue-limit", |text| value::size(text, QUEUE_LIMIT_RANGE))?;
        let ageing = keys.value("ageing", ageing)?.unwrap_or(plain.ageing);
        let medium = keys.value("medium", |text| match text {
            "ethernet" => Ok(Medium::Ethernet),
            "802.15.4" => Ok(Medium::Radio),
            _ => Err("ethernet or 802.15.4".to_owned()),
        })?;
        let links = keys.value("links", value::path)?;
        let seed = keys.value("seed", |text| value::number(text, 0..=u64::MAX))?.unwrap_or(0);
        let collisions = keys.flag("collisions")?.unwrap_or(false);
        let capture = keys.value("capture", value::path)?;
        let fates = keys.value("fates", value::path)?;
        let replay = keys.value("replay", value::path)?;
        keys.finish()?;
        Ok(Self {
            ageing,
            fdb_limit,
            fdb_port_limit: port_limit,
            queue_limit,
            medium,
            links,
            seed,
            collisions,
            capture,
            fates,
            replay,
            ..plain
        })
    }

    /// The shortest text that parses to this switch again.
    pub fn canonical(&self) -> String {
        let mut out = Writer::new(&self.name);
        let plain = Self::new(DEFAULT_SWITCH);
        if self.ageing != plain.ageing {
            out.value("ageing", value::span(self.ageing));
        }
        if self.fdb_limit != plain.fdb_limit {
            out.value("fdb-limit", self.fdb_limit);
        }
        out.option("fdb-port-limit", self.fdb_port_limit);
        out.option("queue-limit", self.queue_limit.map(value::sized));
        out.option("medium", self.medium.map(Medium::word));
        out.option("links", self.links.as_ref().map(|path| path.display()));
        out.option("seed", Some(self.seed).filter(|seed| *seed != 0));
        if self.collisions {
            out.flag("collisions");
        }
        out.option("capture", self.capture.as_ref().map(|path| path.display()));
        out.option("fates", self.fates.as_ref().map(|path| path.display()));
        out.option("replay", self.replay.as_ref().map(|path| path.display()));
        out.finish()
    }
}

/// The canonical text.
impl fmt::Display for SwitchSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.canonical())
    }
}

impl std::str::FromStr for SwitchSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn ageing(text: &str) -> value::Parsed<Duration> {
    let (least, most) =
        (Duration::from_secs(*AGEING_SECS_RANGE.start()), Duration::from_secs(*AGEING_SECS_RANGE.end()));
    value::duration(text)
        .filter(|time| (least..=most).contains(time))
        .ok_or_else(|| format!("a time from {} to {}, as 300s or 5m", value::span(least), value::span(most)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn settings_have_bounds() {
        assert_eq!(SwitchSpec::parse("lab").unwrap(), SwitchSpec::new("lab"));
        assert_eq!(SwitchSpec::parse("lab,ageing=5m").unwrap(), SwitchSpec::new("lab"));
        for bad in [
            "ageing=9s",
            "ageing=1000001s",
            "fdb-limit=15",
            "fdb-limit=1048577",
            "fdb-port-limit=65537",
            "queue-limit=255K",
            "queue-limit=2G",
            "up",
        ] {
            assert!(SwitchSpec::parse(&format!("lab,{bad}")).is_err(), "{bad}");
        }
        let error = SwitchSpec::parse("lab,aging=20s").unwrap_err();
        assert_eq!(error.what(), "switch \"lab,aging=20s\": a switch has no key \"aging\"; the nearest is \"ageing\"");
        assert!(SwitchSpec::parse("a b").unwrap_err().what().contains("the name of a switch, \"a b\""));
    }

    proptest! {
           #[test]
           fn canonical_text_parses_to_the_same_switch(
               name in "[a-z0-9]{1,64}",
               millis in 10_000..1_000_000_000u64,
               fdb_limit in FDB_LIMIT_RANGE,
               share in prop::option::of(1..=16usize),
               queue_limit in prop::option::of(QUEUE_LIMIT_RANGE),
               medium in prop::sample::select(&[None, Some(Medium::Ethernet), Some(Medium::Radio)][..]),
               links in prop::option::of("[a-z/.,=]{0,8}[a-z]"),
               seed: u64,
               collisions: bool,
               capture in prop::option::of("[a-z/.,=]{0,8}[a-z]"),
               fates in prop::option::of("[a-z/.,=]{0,8}[a-z]"),
               replay in prop::option::of("[a-z/.,=]{0,8}[a-z]"),
           ) {
               let ageing = Duration::from_millis(millis);
               let [links, capture, fates, replay] = [links, capture, fates, replay].map(|path| path.map(PathBuf::from));
               let switch = SwitchSpec { ageing, fdb_limit, fdb_port_limit: share, queue_limit, medium, links, seed, collisions,
    capture, fates, replay, ..SwitchSpec::new(name) };
               prop_assert_eq!(SwitchSpec::parse(&switch.canonical()), Ok(switch));
           }

           #[test]
           fn no_text_panics(text in "\\PC*") {
               if let Ok(switch) = SwitchSpec::parse(&text) {
                   prop_assert_eq!(SwitchSpec::parse(&switch.canonical()), Ok(switch));
               }
           }
       }
}
