//! How a switch shows itself: its ports with their state, their peers and their counters.

use super::departed::Departed;
use super::fates;
use super::life::{Life, Wish};
use super::links;
use super::listeners::{ListenerSlot, Listeners};
use super::ports::Ports;
use super::slot::{Origin, PortSlot};
use super::status::{Condition, PortStatus, SwitchStatus};
use crate::frame::PortId;
use crate::port::Edge;
use crate::switch::PortState;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// All ports, each listener followed by its clients.
pub(super) fn status(ports: &mut Ports, listeners: &Listeners, departed: &Departed) -> SwitchStatus {
    links::refresh(ports);
    let ports = &*ports;
    let shown = |wanted: &dyn Fn(&PortSlot) -> bool| -> Vec<_> {
        let ids = ports.switch.ports().filter(|&id| ports.edges.slot(id).is_some_and(wanted));
        ids.filter_map(|id| port(ports, listeners, id)).collect()
    };
    let mut rows = Vec::new();
    for (index, slot) in listeners.iter() {
        rows.push(listener(ports, slot));
        rows.extend(shown(&|slot| matches!(slot.origin, Origin::Client { listener, .. } if listener == index)));
    }
    rows.extend(shown(&|slot| !matches!(slot.origin, Origin::Client { .. })));
    let left = departed.rows().to_vec();
    SwitchStatus {
        name: ports.name.clone(),
        condition: Condition::Runs,
        now: ports.clock.now(),
        radio: ports.switch.is_radio(),
        fdb: ports.switch.fdb_len(),
        cuts: ports.parting.cuts(),
        ports: rows,
        left,
        replay: ports.switch.replay().map(fates::status),
    }
}

/// A port that is no listener.
pub(super) fn port(ports: &Ports, listeners: &Listeners, id: PortId) -> Option<PortStatus> {
    let slot = ports.edges.slot(id)?;
    let state = ports.switch.state(id)?;
    let (spec, listener) = match &slot.origin {
        Origin::Client { listener, .. } => {
            let spec = listeners.get(*listener).map(|slot| &slot.spec);
            (spec, spec.map(|spec| spec.name.clone()))
        }
        own => (own.spec(), None),
    };
    let shown = slot.edge().and_then(Edge::shown).unwrap_or_default();
    let attach = match (&slot.origin, shown.standing) {
        (Origin::Spec(_), Some(standing)) => standing.attach,
        (Origin::Spec(spec), None) => slot.edge().map_or_else(|| spec.attach_hint(), |edge| edge.attach(spec)),
        (Origin::Given(_) | Origin::Apart(_) | Origin::Client { .. } | Origin::Inside, _) => None,
    };
    Some(PortStatus {
        name: slot.name.clone(),
        kind: spec.map_or("inside", |spec| spec.kind.text().row().word),
        state: state_word(slot, &state),
        peer: shown.peer.unwrap_or_else(|| slot.peer()),
        queued: state.queued,
        counters: ports.switch.counters(id)?.clone(),
        target: spec.filter(|_| listener.is_none()).map(|spec| spec.target()).unwrap_or_default(),
        mirrors: ports.mirrors_of(&slot.name),
        impairments: ports.bends_of(&slot.name),
        set_down: state.pulled,
        cuts: ports.parting.cuts_of(&slot.name),
        held: ports.switch.held(id),
        listener,
        attach,
        age: ports.clock.now() - slot.since,
        figures: shown.figures,
        leases: shown.leases,
    })
}

/// The state of a port that is no listener, one of [`PORT_STATES`](crate::control::PORT_STATES).
pub(super) fn state_word(slot: &PortSlot, state: &PortState) -> &'static str {
    match (&slot.life, slot.edge()) {
        (Life::Over(_), _) => "down",
        _ if state.pulled => "down",
        (Life::Wished(_) | Life::Kept(_), _) | (_, None) => "waiting",
        (Life::Arriving(_), Some(edge)) => edge.waits_by(),
        (Life::Open(_), Some(edge)) if edge.link_is_down() => "down",
        (Life::Open(_), Some(_)) if state.stalled => "stalled",
        (Life::Open(_), Some(edge)) => edge.standing().unwrap_or("up"),
    }
}

/// A listener.
pub(super) fn listener(ports: &Ports, slot: &ListenerSlot) -> PortStatus {
    let there = slot.life.there();
    let peer = match &slot.life {
        Life::Wished(Wish { why, .. }) | Life::Over(why) | Life::Kept(why) => why.clone(),
        Life::Arriving(listener) | Life::Open(listener) => listener.addr().unwrap_or_default(),
    };
    PortStatus {
        name: slot.spec.name.clone(),
        kind: slot.spec.kind.text().row().word,
        state: match there {
            Some(_) if ports.parting.is_down(&slot.spec.name) => "down",
            Some(_) => "listening",
            None => "waiting",
        },
        peer,
        queued: 0,
        counters: slot.departed.clone(),
        target: slot.spec.target(),
        mirrors: ports.mirrors_of(&slot.spec.name),
        impairments: ports.bends_of(&slot.spec.name),
        set_down: ports.parting.is_down(&slot.spec.name),
        cuts: ports.parting.cuts_of(&slot.spec.name),
        held: [0; 2],
        listener: None,
        attach: there.map_or_else(|| slot.spec.attach_hint(), |listener| listener.attach(&slot.spec)),
        age: slot.since.elapsed(),
        figures: Vec::new(),
        leases: Arc::default(),
    }
}

/// A hash of the states of all ports: it changes when any of them does.
pub(super) fn states(ports: &Ports, listeners: &Listeners) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (_, slot) in listeners.iter() {
        let down = ports.parting.is_down(&slot.spec.name);
        (&slot.spec.name, slot.life.there().is_some(), down).hash(&mut hasher);
    }
    for id in ports.switch.ports() {
        if let (Some(slot), Some(state)) = (ports.edges.slot(id), ports.switch.state(id)) {
            (&slot.name, state_word(slot, &state)).hash(&mut hasher);
        }
    }
    hasher.finish()
}
