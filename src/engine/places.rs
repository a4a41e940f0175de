//! Places of ports that are kept while nothing is there: a program of a bench was stopped, and may be started again.
//!
//! The port of a descriptor that was handed over is removed when that is lost, unless it stays ([`PortSlot::stays`]): then
//! it is down as a cable without a peer, with what was set and counted, until the next descriptor comes under its name.

use super::life::Life;
use super::ports::Ports;
use super::slot::PortSlot;
use crate::config::PortSpec;
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::port::{self, Edge};
use std::os::fd::OwnedFd;

/// The port of this name, if its place is kept.
pub(super) fn kept(ports: &Ports, name: &str) -> Option<PortId> {
    let is_kept = |slot: &PortSlot| slot.name == name && matches!(slot.life, Life::Kept(_));
    ports.edges.ids().find(|&id| ports.edges.slot(id).is_some_and(is_kept))
}

/// Puts a descriptor on a place that was kept.
///
/// # Errors
/// It cannot be a port, or not be watched.
pub(super) fn take(ports: &mut Ports, id: PortId, spec: &PortSpec, fd: OwnedFd) -> Result<()> {
    let edge = port::adopt(spec, fd).map_err(|error| error.at(&spec.name))?;
    ports.attach(id, edge, String::new(), false)?;
    ports.set_up(id);
    Ok(())
}

/// Takes the descriptor of a port away whose place is kept, for the reason `why`.
///
/// # Errors
/// There is none of this name whose place is kept.
pub(super) fn vacate(ports: &mut Ports, name: &str, why: String) -> Result<()> {
    let edges = &mut ports.edges;
    let id = edges.ids().find(|&id| edges.slot(id).is_some_and(|slot| slot.stays && slot.name == name));
    let Some((id, slot)) = id.and_then(|id| Some((id, edges.slot_mut(id)?))) else {
        return Err(Error::new(Class::NoObject, format!("no port is named {name} whose place is kept")));
    };
    let fds = slot.edge().map(Edge::fds).unwrap_or_default();
    slot.life = Life::Kept(why);
    ports.watch.forget(fds);
    ports.set_down(id);
    Ok(())
}
