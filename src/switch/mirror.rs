//! Mirrors: ports that get a copy of what another port sends or is sent, for whoever looks on there.
//!
//! Theory of operation. Mirrors are looked at when a batch is decided and before it is sent: then the plan says what goes
//! where, and copies for monitors are added to it. So a copy is never copied again, whatever mirrors what; a monitor has
//! each frame once, be it for several reasons; and it gets nothing of its own back. A frame that was dropped on arrival
//! is mirrored too, as far as it is one. Copies for monitors pause nobody, and are counted as any others. Without mirrors a
//! batch costs one check.

use super::Switch;
use crate::frame::{Batch, PortId};
use crate::limits::MIN_FRAME;

/// What a monitor gets of a port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mirror {
    /// Who gets it.
    pub monitor: PortId,
    /// Of whom.
    pub source: PortId,
    /// What that one sends into the switch.
    pub rx: bool,
    /// What is sent to it.
    pub tx: bool,
}

impl Switch {
    /// Has monitors get copies as `mirrors` say, and no others. On a radio medium there are none: everybody hears it.
    pub fn set_mirrors(&mut self, mut mirrors: Vec<Mirror>) {
        mirrors.retain(|it| it.monitor != it.source && self.port(it.monitor).is_some() && !self.is_radio());
        mirrors.sort_unstable();
        mirrors.dedup();
        self.mirrors = mirrors;
        self.note_edits();
    }

    /// Whether any monitor gets copies.
    pub fn has_mirrors(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// Adds copies for monitors to the plan for `batch`; of what came in only if it `came` in, and is not said in the name
    /// of stations.
    pub(super) fn mirror(&mut self, batch: &Batch, came: bool) {
        let mut mirrored = std::mem::take(&mut self.mirrored);
        mirrored.resize_with(self.ports.len(), Vec::new);
        for of_one in self.mirrors.chunk_by(|one, other| one.monitor == other.monitor) {
            let Some(monitor) = of_one.first().map(|it| it.monitor) else { continue };
            let Some(list) = mirrored.get_mut(monitor.index()) else { continue };
            if self.is_up(monitor) {
                let is_for = |number: &u32| of_one.iter().any(|it| self.shows(it, batch, *number, came));
                list.extend((0..batch.frames().len() as u32).filter(is_for));
            }
        }
        self.mirrored = mirrored;
    }

    /// Whether a frame of `batch` is for a monitor by this mirror.
    fn shows(&self, mirror: &Mirror, batch: &Batch, number: u32, came: bool) -> bool {
        let Some(frame) = batch.frames().get(number as usize) else { return false };
        if frame.ingress == mirror.monitor || frame.len() < MIN_FRAME || !self.is_up(mirror.source) {
            return false;
        }
        let goes_there = || {
            let own =
                self.plan.unicast.get(mirror.source.index()).is_some_and(|list| list.binary_search(&number).is_ok());
            own || self.plan.flood.binary_search(&number).is_ok() && self.floods_to(mirror.source, batch, number)
        };
        came && mirror.rx && frame.ingress == mirror.source || mirror.tx && goes_there()
    }
}

/// Adds the frames of `more` to ascending `picks`, each once.
pub(super) fn unite(picks: &mut Vec<u32>, more: &mut Vec<u32>) {
    if !more.is_empty() {
        picks.append(more);
        picks.sort_unstable();
        picks.dedup();
    }
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
