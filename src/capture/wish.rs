//! The wish for a capture.

use super::filter::Filter;
use crate::error::{Error, Result};
use crate::switch::Wanted;
use serde::{Deserialize, Serialize};

/// The range of `snap`: no less than an Ethernet header, no more than the longest frame.
pub const SNAP_RANGE: std::ops::RangeInclusive<u32> = 14..=65_535;
/// Bytes of a frame that a filter sees at least.
const ASKED: u32 = 256;
/// Names of ports that a wish may have.
const PORTS: usize = 1024;

/// The wish for a capture.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub struct Wish {
    /// The ports, by name; a listener stands for its clients. None: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// The words that a frame has to meet ([`Filter`]). None: all do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Bytes of a frame that are kept at most, within [`SNAP_RANGE`]; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snap: Option<u32>,
    /// Only frames that ended early.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drops: bool,
    /// Copies that left, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copies: bool,
}

impl Wish {
    /// Its filter, and the notes that it needs from a switch.
    ///
    /// # Errors
    /// A usage error: the filter is wrong, or a number is out of its range.
    pub(crate) fn understood(&self) -> Result<(Option<Filter>, Wanted)> {
        if let Some(snap) = self.snap.filter(|snap| !SNAP_RANGE.contains(snap)) {
            let (least, most) = (SNAP_RANGE.start(), SNAP_RANGE.end());
            return Err(Error::usage(format!("snap {snap}: expected {least} to {most} bytes")));
        }
        if self.ports.len() > PORTS {
            return Err(Error::usage(format!("more than {PORTS} ports are named")));
        }
        let filter = Filter::parse(&self.filter)?;
        let copies = self.copies || filter.as_ref().is_some_and(Filter::wants_copies);
        let snap = self.snap.unwrap_or(*SNAP_RANGE.end());
        // The filter may need more bytes of a frame than are kept.
        let snap = if filter.is_some() { snap.max(ASKED) } else { snap };
        Ok((filter, Wanted { snap, arrivals: !self.drops, copies: copies && !self.drops }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_filter_asks_for_is_noted() {
        let wish = |filter: &str| Wish { filter: filter.into(), ..Wish::default() };
        let all = Wanted { snap: 65_535, arrivals: true, copies: false };
        assert_eq!(Wish::default().understood().unwrap(), (None, all));
        assert!(wish("out inst1").understood().unwrap().1.copies);
        let drops = Wish { drops: true, copies: true, snap: Some(96), ..wish("udp") };
        assert_eq!(drops.understood().unwrap().1, Wanted { snap: 256, arrivals: false, copies: false });
        assert!(Wish { snap: Some(13), ..Wish::default() }.understood().is_err());
        assert!(wish("udpp").understood().is_err());
        let text = serde_json::to_string(&Wish::default()).unwrap();
        assert_eq!((text.as_str(), serde_json::from_str(&text).unwrap()), ("{}", Wish::default()));
    }
}
