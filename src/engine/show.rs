//! How an engine shows itself: its ports with their state, their peers and their counters.

use super::Engine;
use super::command::{Condition, PortStatus, SwitchStatus};
use super::listeners::ListenerSlot;
use super::ports::{Origin, PortSlot};
use crate::frame::PortId;
use crate::port::{Edge, Listener};
use crate::switch::PortState;
use std::sync::Arc;

impl Engine {
    /// All ports, each listener followed by its clients.
    pub(super) fn status(&mut self) -> SwitchStatus {
        for index in 0..self.ports.len() {
            let id = PortId(index as u16);
            if let Some(edge) = self.slot_mut(id).and_then(|slot| slot.seat.edge_mut()) {
                // A link that is gone for good tells the loop by itself.
                let _ = edge.check_link();
            }
            self.tell_link(id);
        }
        let mut ports = Vec::new();
        for (index, slot) in self.listeners.iter().enumerate().filter(|(_, slot)| !slot.removed) {
            ports.push(listener_status(slot));
            let mine = |slot: &PortSlot| matches!(slot.origin, Origin::Client { listener, .. } if listener == index);
            ports.extend(self.switch.ports().filter_map(|id| self.port_status(id, mine)));
        }
        let own = |slot: &PortSlot| !matches!(slot.origin, Origin::Client { .. });
        ports.extend(self.switch.ports().filter_map(|id| self.port_status(id, own)));
        SwitchStatus { name: self.name.clone(), condition: Condition::Runs, ports, left: self.departed.rows().to_vec() }
    }

    pub(super) fn port_status(&self, id: PortId, wanted: impl Fn(&PortSlot) -> bool) -> Option<PortStatus> {
        let slot = self.ports.get(id.index())?.as_ref().filter(|slot| wanted(slot))?;
        let state = self.switch.state(id)?;
        let (spec, listener) = match &slot.origin {
            Origin::Client { listener, .. } => {
                let spec = &self.listeners[*listener].spec;
                (Some(spec), Some(spec.name.clone()))
            }
            own => (own.spec(), None),
        };
        let attach = match &slot.origin {
            Origin::Spec(spec) => slot.seat.edge().map_or_else(|| spec.attach_hint(), |edge| edge.attach(spec)),
            _ => None,
        };
        let shown = slot.seat.edge().and_then(Edge::shown).unwrap_or_default();
        Some(PortStatus {
            name: slot.name.clone(),
            kind: spec.map_or("inside", |spec| spec.kind.text().row().word),
            state: state_word(slot, &state),
            peer: slot.seat.edge().and_then(Edge::peer).unwrap_or_else(|| slot.peer.clone()),
            queued: state.queued,
            counters: self.switch.counters(id)?.clone(),
            target: spec.filter(|_| listener.is_none()).map(|spec| spec.target()).unwrap_or_default(),
            listener,
            attach,
            figures: shown.figures,
            leases: shown.leases,
        })
    }
}

/// The state of a port that is no listener, one of [`PORT_STATES`](crate::control::PORT_STATES).
pub(super) fn state_word(slot: &PortSlot, state: &PortState) -> &'static str {
    match slot.seat.edge() {
        Some(edge) if slot.connecting => edge.waits_by(),
        None if slot.failed => "down",
        None => "waiting",
        Some(edge) if edge.link_is_down() => "down",
        Some(_) if state.stalled => "stalled",
        Some(edge) => edge.shown().and_then(|shown| shown.standing).map_or("up", |standing| standing.state),
    }
}

pub(super) fn listener_status(slot: &ListenerSlot) -> PortStatus {
    let addr = slot.listener.as_ref().and_then(Listener::addr);
    PortStatus {
        name: slot.spec.name.clone(),
        kind: slot.spec.kind.text().row().word,
        state: if slot.listener.is_some() { "listening" } else { "waiting" },
        peer: addr.unwrap_or_else(|| slot.why.clone()),
        queued: 0,
        counters: slot.departed.clone(),
        target: slot.spec.target(),
        listener: None,
        attach: slot.listener.as_ref().map_or_else(|| slot.spec.attach_hint(), |listener| listener.attach(&slot.spec)),
        figures: Vec::new(),
        leases: Arc::default(),
    }
}
