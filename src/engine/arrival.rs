//! Ports whose peer is not there yet: a connection that was begun, a serial line that waits for its next peer.
//!
//! Such a port is down in the switch. [`Edge::connected`] says when that ends: asked when a descriptor has something to
//! say, and from time to time where none does. The descriptors of a serial line change with that, from those of a
//! listener to those of its client and back.
//!
//! [`Edge::connected`]: crate::port::Edge::connected

use super::life::Life;
use super::ports::Ports;
use super::slot::{Attached, Lost};
use super::timers::Due;
use crate::frame::PortId;
use crate::port::Gone;
use crate::time::Duration;

/// Interval of the checks of a line whose peer may arrive without an event on any descriptor.
const PEER_CHECK: Duration = Duration::from_millis(100);

/// Keeps a port out of the switch until its peer has come.
pub(super) fn begin(ports: &mut Ports, id: PortId) {
    ports.set_down(id);
    settle(ports, id);
}

/// Asks a port that is arriving how it stands.
pub(super) fn settle(ports: &mut Ports, id: PortId) {
    let Some(slot) = ports.edges.slot_mut(id) else { return };
    let Life::Arriving(there) = &mut slot.life else { return };
    let Some(edge) = there.seat.edge_mut() else { return };
    let before = edge.fds();
    match edge.connected() {
        None if edge.arrivals_are_silent() => ports.timers.set(Due::Peer(id), ports.clock.now() + PEER_CHECK),
        None => {}
        Some(Ok(())) => {
            there.peer = edge.peer().unwrap_or(std::mem::take(&mut there.peer));
            log::info!("{}: connected to {}", slot.name, there.peer);
            slot.life.arrived();
            match ports.rewatch(id, before) {
                Ok(()) => ports.set_up(id),
                Err(error) => ports.edges.fail(id, Gone(error.to_string())),
            }
        }
        Some(Err(error)) => {
            let gone = Gone(format!("cannot connect to {}: {error}", there.peer));
            ports.edges.fail(id, gone);
        }
    }
}

/// The peer of a port has left, and the port waits for the next one as it is: then its edge has a new seat, with a clean
/// state. An edge that cannot wait is given back.
pub(super) fn await_next(ports: &mut Ports, id: PortId, mut lost: Lost) -> Option<Lost> {
    let before = lost.edge.fds();
    if lost.arriving || !lost.edge.depart(&lost.gone) {
        return Some(lost);
    }
    log::info!("{}: {}; waiting for its next peer", ports.edges.name(id), lost.gone.0);
    // A new descriptor may have the number of a closed one, and must then be registered anew.
    ports.watch.forget(before);
    if ports.watch_edge(id, &lost.edge).is_err() {
        return Some(lost);
    }
    let slot = ports.edges.slot_mut(id)?;
    slot.life = Life::Arriving(Attached::new(lost.edge, lost.gone.0, lost.since));
    begin(ports, id);
    None
}
