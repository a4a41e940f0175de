//! The edges behind the ports of a switch: frames leave by them, and conditions of ports are found there.
//!
//! These conditions ([`Found`]) are handled when the breath is over: an edge that is busy, fails or loses its link in
//! the middle of a batch delays no other port.

use super::lists::Lists;
use super::pulse::{Call, Pulse};
use super::rewrite::Scratch;
use super::slot::{Attached, PortSlot};
use crate::counters::{Counters, DropReason};
use crate::frame::{Outgoing, PortId};
use crate::port::channel::Channel;
use crate::port::{Edge, Gone};
use crate::switch::{Taken, Transmit};
use crate::time::Duration;
use std::sync::Arc;

/// Conditions of ports found in a breath.
#[derive(Default)]
pub(super) struct Found {
    /// Ports that did not take all they were offered.
    pub full: Vec<PortId>,
    /// Ports whose edge has failed.
    pub gone: Vec<PortId>,
    /// Ports that could not send for want of memory.
    pub starved: Vec<PortId>,
    /// Ports whose link may have changed.
    pub links: Vec<PortId>,
}

/// The slots of all ports, by number, and their work lists.
pub(super) struct Edges {
    slots: Vec<Option<PortSlot>>,
    /// Ports inside the process, which signal through the waker.
    channels: Vec<PortId>,
    /// Ports whose edges have timers.
    timed: Vec<PortId>,
    /// Room for frames that are translated on their way out.
    scratch: Scratch,
    pub lists: Lists,
    pub found: Found,
    pub pulse: Arc<Pulse>,
}

impl Edges {
    /// No ports. Calls of edges are noted in `pulse`.
    pub fn new(pulse: Arc<Pulse>) -> Self {
        Self {
            slots: Vec::new(),
            channels: Vec::new(),
            timed: Vec::new(),
            scratch: Scratch::default(),
            lists: Lists::default(),
            found: Found::default(),
            pulse,
        }
    }

    /// The ports inside the process.
    pub fn channels(&self) -> impl Iterator<Item = (PortId, &Channel)> {
        self.channels.iter().filter_map(|&id| match self.edge(id)? {
            Edge::Channel(channel) => Some((id, channel)),
            _ => None,
        })
    }

    /// Puts a port in its place, which is free.
    pub fn put(&mut self, id: PortId, slot: PortSlot) {
        self.pulse.name_port(id, &slot.name);
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        self.slots[id.index()] = Some(slot);
    }

    /// Notes whether a port signals by the waker (a channel) or by a timer, beside its descriptors.
    pub fn note_ways_of_calling(&mut self, id: PortId) {
        let Some(edge) = self.edge(id) else { return };
        let (is_channel, keeps_time) = (matches!(edge, Edge::Channel(_)), edge.keeps_time());
        if is_channel && !self.channels.contains(&id) {
            self.channels.push(id);
        }
        if keeps_time && !self.timed.contains(&id) {
            self.timed.push(id);
        }
    }

    /// Takes a port out, and off all lists.
    pub fn take(&mut self, id: PortId) -> Option<PortSlot> {
        let slot = self.slots.get_mut(id.index())?.take()?;
        self.channels.retain(|&channel| channel != id);
        self.timed.retain(|&timed| timed != id);
        self.found.gone.retain(|&gone| gone != id);
        self.lists.forget(id);
        Some(slot)
    }

    /// All ports.
    pub fn slots(&self) -> impl Iterator<Item = &PortSlot> {
        self.slots.iter().flatten()
    }

    /// The numbers of all places, taken or not.
    pub fn ids(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..=u16::MAX).map(PortId).take(self.slots.len())
    }

    /// A port.
    pub fn slot(&self, id: PortId) -> Option<&PortSlot> {
        self.slots.get(id.index())?.as_ref()
    }

    /// The same, to be changed.
    pub fn slot_mut(&mut self, id: PortId) -> Option<&mut PortSlot> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    /// The attachment of a port, if it has one.
    pub fn there_mut(&mut self, id: PortId) -> Option<&mut Attached> {
        self.slot_mut(id)?.life.there_mut()
    }

    /// The edge of a port, as long as it is whole.
    pub fn edge(&self, id: PortId) -> Option<&Edge> {
        self.slot(id)?.edge()
    }

    /// The same, to be asked or set.
    pub fn edge_mut(&mut self, id: PortId) -> Option<&mut Edge> {
        self.slot_mut(id)?.edge_mut()
    }

    /// The name of a port.
    pub fn name(&self, id: PortId) -> &str {
        self.slot(id).map_or("a port that is gone", |slot| &slot.name)
    }

    /// Notes that a port has something to read.
    pub fn make_ready(&mut self, id: PortId) {
        if self.slot(id).is_some() {
            self.lists.ready.add(id);
        }
    }

    /// Marks a port's edge as failed: nothing is offered to it any more, and the port is handled at the end of the
    /// breath.
    pub fn fail(&mut self, id: PortId, gone: Gone) {
        if let Some(there) = self.there_mut(id) {
            there.seat.fail(gone);
            self.found.gone.push(id);
        }
    }

    /// The ports inside the process whose other ends have signalled since the last call.
    pub fn called(&self) -> Vec<PortId> {
        self.channels.iter().copied().filter(|&id| self.edge(id).is_some_and(Edge::take_ready)).collect()
    }

    /// Tells services that a port has lost its peer, for now at least.
    pub fn tell_departure(&self, id: PortId) {
        for edge in self.channels.iter().filter_map(|&id| self.edge(id)) {
            if let Edge::Channel(channel) = edge {
                channel.tell_departure(id);
            }
        }
    }

    /// The time until the next timer of an edge.
    pub fn due_in(&self) -> Option<Duration> {
        self.timed.iter().filter_map(|&id| self.edge(id)?.due_in()).min()
    }

    /// Runs the timers of edges that are due.
    pub fn handle_timeout(&mut self) {
        for index in 0..self.timed.len() {
            let id = self.timed[index];
            let Some(edge) = self.edge_mut(id) else { continue };
            if edge.due_in().is_some_and(|time| time.is_zero()) {
                edge.handle_timeout();
                // The next read brings the outcome.
                self.make_ready(id);
            }
        }
    }
}

impl Transmit for Edges {
    fn transmit(&mut self, id: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        let slot = self.slots.get_mut(id.index()).and_then(Option::as_mut);
        let Some((there, rewriter)) = slot.and_then(|slot| Some((slot.life.there_mut()?, &slot.rewriter))) else {
            counters.drop(DropReason::LinkDown, out.len() as u64);
            return Taken { frames: out.len() };
        };
        let had_failed = there.seat.has_failed();
        self.pulse.at_port(Call::Write, id);
        let frames = match rewriter {
            None => there.seat.offer(out, counters),
            Some(rewriter) => self.scratch.offer(rewriter, &mut there.seat, out, counters),
        };
        let Some(edge) = there.seat.edge() else {
            if !had_failed {
                self.found.gone.push(id);
            }
            return Taken { frames };
        };
        if edge.is_starved() {
            self.found.starved.push(id);
        }
        if edge.link_is_down() != there.link_down {
            self.found.links.push(id);
        }
        if frames < out.len() {
            self.found.full.push(id);
        }
        if edge.has_own() {
            self.lists.ready.add(id);
        }
        Taken { frames }
    }

    fn has_begun(&self, id: PortId) -> bool {
        self.slot(id).and_then(|slot| slot.life.there()).is_some_and(|it| it.seat.has_begun())
    }

    fn abandon(&mut self, id: PortId) {
        self.fail(id, Gone("the system has no memory for the rest of a frame that was half sent".into()));
    }
}
