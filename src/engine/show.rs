//! How an engine shows itself: its ports with their state, their peers and their counters.

use super::Engine;
use super::command::{Condition, PortStatus, SwitchStatus};
use super::life::{Life, Wish};
use super::listeners::ListenerSlot;
use super::ports::{Origin, PortSlot};
use crate::frame::PortId;
use crate::port::Edge;
use crate::switch::PortState;

impl Engine {
    /// All ports, each listener followed by its clients.
    pub(super) fn status(&mut self) -> SwitchStatus {
        for index in 0..self.ports.len() {
            let id = PortId(index as u16);
            if let Some(edge) = self.slot_mut(id).and_then(PortSlot::edge_mut) {
                // A link that is gone for good tells the loop by itself.
                let _ = edge.check_link();
            }
            self.tell_link(id);
        }
        let mut ports = Vec::new();
        for (index, slot) in self.listeners.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
        {
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
                let spec = self.listeners.get(*listener).and_then(|slot| Some(&slot.as_ref()?.spec));
                (spec, spec.map(|spec| spec.name.clone()))
            }
            own => (own.spec(), None),
        };
        let attach = match &slot.origin {
            Origin::Spec(spec) => slot.edge().map_or_else(|| spec.attach_hint(), |edge| edge.attach(spec)),
            _ => None,
        };
        Some(PortStatus {
            name: slot.name.clone(),
            kind: spec.map_or("inside", |spec| spec.kind.text().row().word),
            state: state_word(slot, &state),
            peer: slot.peer(),
            queued: state.queued,
            counters: self.switch.counters(id)?.clone(),
            target: spec.filter(|_| listener.is_none()).map(|spec| spec.target()).unwrap_or_default(),
            listener,
            attach,
            flows: slot.edge().and_then(Edge::flows),
            leases: slot.edge().map(Edge::leases).unwrap_or_default(),
        })
    }
}

/// The state of a port that is no listener, one of [`PORT_STATES`](crate::control::PORT_STATES).
pub(super) fn state_word(slot: &PortSlot, state: &PortState) -> &'static str {
    match (&slot.life, slot.edge()) {
        (Life::Over(_), _) => "down",
        (Life::Wished(_), _) | (_, None) => "waiting",
        (Life::Arriving(_), Some(edge)) => edge.waits_by(),
        (Life::Open(_), Some(edge)) if edge.link_is_down() => "down",
        (Life::Open(_), Some(_)) if state.stalled => "stalled",
        (Life::Open(_), Some(edge)) => edge.state().unwrap_or("up"),
    }
}

pub(super) fn listener_status(slot: &ListenerSlot) -> PortStatus {
    let listener = slot.life.there();
    let peer = match &slot.life {
        Life::Wished(Wish { why, .. }) | Life::Over(why) => why.clone(),
        Life::Arriving(listener) | Life::Open(listener) => listener.addr().unwrap_or_default(),
    };
    PortStatus {
        name: slot.spec.name.clone(),
        kind: slot.spec.kind.text().row().word,
        state: if listener.is_some() { "listening" } else { "waiting" },
        peer,
        queued: 0,
        counters: slot.departed.clone(),
        target: slot.spec.target(),
        listener: None,
        attach: listener.map_or_else(|| slot.spec.attach_hint(), |listener| listener.attach(&slot.spec)),
        flows: None,
        leases: Vec::new(),
    }
}
