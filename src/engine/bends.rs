//! Impairments of ports by their names: those of a listener are of all its clients, also of those that are still to come.

use crate::capture::filter::{Filter, Seen, is_port};
use crate::config::Bend;
use crate::error::{Error, Result};
use crate::frame::PortId;
use crate::switch::{Impairment, Matcher, Switch, Way};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was said of each name, the later of two that are about the same.
#[derive(Default)]
pub(super) struct Bends(BTreeMap<String, Vec<Bend>>);

impl Bends {
    /// Adds to what was said of `name`.
    pub fn add(&mut self, name: &str, bends: &[Bend]) {
        if bends.is_empty() {
            return;
        }
        let said = self.0.entry(name.to_owned()).or_default();
        said.retain(|old| !bends.iter().any(|new| new.replaces(old)));
        said.extend_from_slice(bends);
    }

    /// Whether anything was said of `name`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether nothing was said of anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what was said of `name`.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// What was said of the port called `name`, and before of its listener.
    pub fn of(&self, name: &str) -> Vec<Bend> {
        let of_those = self.0.iter().filter(|(said, _)| is_port(name, said));
        of_those.flat_map(|(_, bends)| bends.iter().cloned()).collect()
    }
}

/// Makes the tests of their filters, so that a wrong one is found before anything is changed.
///
/// # Errors
/// A filter is wrong.
pub(super) fn check(bends: &[Bend]) -> Result<()> {
    bends.iter().try_for_each(|bend| bend.apply(&mut Impairment::default(), matcher))
}

/// Has a port of the switch, called `name`, suffer all that was said.
pub(super) fn bend(switch: &mut Switch, id: PortId, name: &str, bends: &[Bend]) {
    for way in Way::BOTH {
        let mut impairment = Impairment::default();
        for bend in bends.iter().filter(|bend| bend.ways().contains(&way)) {
            if let Err(error) = bend.apply(&mut impairment, matcher) {
                log::warn!("{name}: {bend}: {error}");
            }
        }
        switch.impair(id, way, name, impairment);
    }
}

/// The test of a filter's words.
fn matcher(words: &str) -> Result<Matcher> {
    let filter = Filter::parse(words)?;
    if filter.as_ref().is_some_and(|filter| !filter.asks_frames_only()) {
        return Err(Error::usage(format!("match={words:?}: in, out and drop are asked of captures only")));
    }
    let holds = move |bytes: &[u8]| {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let seen = Seen { port: "", incoming: true, reason: None, bytes, len, ethernet: true };
        filter.as_ref().is_none_or(|filter| filter.takes(&seen))
    };
    Ok(Matcher { words: words.into(), holds: Arc::new(holds) })
}
