//! Cuts: ports that are parted from each other, while each of them goes on with all others.
//!
//! Theory of operation. Cuts are looked at when a batch is decided and before it is sent, as mirrors are: copies across a
//! cut are taken out of the plan, and counted as made and dropped where they would have left. So nothing of the decision
//! itself knows of cuts, and without any a batch costs no instruction more. Stations stay learned, as their ports are up;
//! what waits for a port or is held on its way when a cut comes has passed already.

use super::{Plan, Switch};
use crate::counters::DropReason;
use crate::frame::{Batch, PortId};

/// Ports of a switch.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Group(Vec<u64>);

impl Group {
    /// Whether a port is in it.
    pub fn has(&self, id: PortId) -> bool {
        self.0.get(id.index() / 64).is_some_and(|word| word >> (id.index() % 64) & 1 == 1)
    }

    /// Takes a port in.
    pub fn add(&mut self, id: PortId) {
        let place = id.index() / 64;
        if self.0.len() <= place {
            self.0.resize(place + 1, 0);
        }
        if let Some(word) = self.0.get_mut(place) {
            *word |= 1 << (id.index() % 64);
        }
    }

    fn remove(&mut self, id: PortId) {
        if let Some(word) = self.0.get_mut(id.index() / 64) {
            *word &= !(1 << (id.index() % 64));
        }
    }
}

impl FromIterator<PortId> for Group {
    fn from_iter<T: IntoIterator<Item = PortId>>(ports: T) -> Self {
        let mut group = Self::default();
        ports.into_iter().for_each(|id| group.add(id));
        group
    }
}

/// Two groups of ports, between which nothing passes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cut {
    /// One group.
    pub from: Group,
    /// The other.
    pub to: Group,
    /// What goes from the second group to the first passes.
    pub one_way: bool,
}

impl Cut {
    fn names(&self, id: PortId) -> bool {
        self.from.has(id) || self.to.has(id)
    }

    fn parts(&self, from: PortId, to: PortId) -> bool {
        self.from.has(from) && self.to.has(to) || !self.one_way && self.to.has(from) && self.from.has(to)
    }
}

impl Switch {
    /// Has ports parted as `cuts` say, and no others.
    pub fn set_cuts(&mut self, cuts: Vec<Cut>) {
        for (index, port) in self.ports.iter_mut().enumerate() {
            let id = PortId(index as u16);
            let Some(port) = port else { continue };
            port.parted = port.config.isolate || cuts.iter().any(|cut| cut.names(id));
        }
        self.cuts = cuts;
        self.note_edits();
    }

    /// Whether a port is in any cut.
    pub(super) fn cuts_name(&self, id: PortId) -> bool {
        self.cuts.iter().any(|cut| cut.names(id))
    }

    /// Whether nothing passes from a port to another one for a cut.
    pub fn is_cut(&self, from: PortId, to: PortId) -> bool {
        self.cuts.iter().any(|cut| cut.parts(from, to))
    }

    pub(super) fn forget_cuts_of(&mut self, id: PortId) {
        for cut in &mut self.cuts {
            cut.from.remove(id);
            cut.to.remove(id);
        }
    }

    /// Notes whether plans have to be looked through.
    pub(super) fn note_edits(&mut self) {
        self.is_edited = !self.mirrors.is_empty() || !self.cuts.is_empty();
    }

    pub(super) fn are_isolated(&self, one: PortId, other: PortId) -> bool {
        let isolated = |id| self.port(id).is_some_and(|port| port.config.isolate);
        isolated(one) && isolated(other)
    }

    /// Whether nothing passes from a port to another one. Not inlined: it is asked of ports that are isolated or cut only,
    /// and would make each copy of a flood dearer.
    #[cold]
    #[inline(never)]
    pub(super) fn are_parted(&self, from: PortId, to: PortId) -> bool {
        self.are_isolated(from, to) || self.is_cut(from, to)
    }

    /// Takes out of the plan for `batch` what cuts do not let through, and adds what mirrors want. `came`: it has come in,
    /// and is not said in the name of stations.
    #[cold]
    pub(super) fn edit_plan(&mut self, batch: &Batch, came: bool) {
        if !self.cuts.is_empty() {
            let mut plan = std::mem::take(&mut self.plan);
            self.cut_plan(&mut plan, batch);
            self.plan = plan;
        }
        if !self.mirrors.is_empty() {
            self.mirror(batch, came);
        }
    }

    fn cut_plan(&mut self, plan: &mut Plan, batch: &Batch) {
        for (index, list) in plan.unicast.iter_mut().enumerate() {
            let to = PortId(index as u16);
            list.retain(|&number| {
                let Some(frame) = batch.frames().get(number as usize) else { return true };
                let cut = self.is_cut(frame.ingress, to);
                if cut {
                    self.drop_copy(to, DropReason::Cut, frame, batch.bytes(frame));
                }
                !cut
            });
        }
        plan.touched.retain(|port| plan.unicast.get(port.index()).is_some_and(|list| !list.is_empty()));
        for frame in plan.flood.iter().filter_map(|&number| batch.frames().get(number as usize)) {
            for index in 0..self.ports.len() {
                let to = PortId(index as u16);
                // To the others it does not go for another reason.
                let would = to != frame.ingress && self.is_up(to) && !self.are_isolated(frame.ingress, to);
                if would && self.is_cut(frame.ingress, to) {
                    self.drop_copy(to, DropReason::Cut, frame, batch.bytes(frame));
                }
            }
        }
    }
}
