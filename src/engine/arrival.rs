//! Ports whose peer is not there yet: a connection that was begun, a serial line that waits for its next peer.
//!
//! Such a port is down in the switch. [`Edge::connected`] says when that ends: asked when a descriptor has something to
//! say, and from time to time where none does. The descriptors of a serial line change with that, from those of a
//! listener to those of its client and back.
//!
//! [`Edge::connected`]: crate::port::Edge::connected

use super::Engine;
use super::ports::Due;
use crate::error::Result;
use crate::frame::PortId;
use crate::port::{Edge, Gone};
use crate::time::Duration;
use crate::wire::Rewriter;
use std::os::fd::RawFd;

/// How often a line is looked at whose peer may arrive without a descriptor telling of it.
const PEER_CHECK: Duration = Duration::from_millis(100);

impl Engine {
    /// A port whose peer has to come first.
    pub(super) fn begin_connecting(&mut self, id: PortId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.connecting = true;
            slot.rewriter.iter_mut().for_each(Rewriter::forget);
        }
        self.set_down(id);
        self.settle(id);
    }

    /// A port takes no part from now on. Only the first time somebody leaves it: it may be tried every second.
    pub(super) fn set_down(&mut self, id: PortId) {
        if self.switch.is_up(id) {
            self.switch.set_up(self.clock.now(), id, false);
            self.tell_departure(id);
        }
    }

    /// Tells services that whoever was at a port is gone, for now at least.
    pub(super) fn tell_departure(&self, id: PortId) {
        let edges = self.channels.iter().filter_map(|id| self.ports.get(id.index())?.as_ref()?.seat.edge());
        for edge in edges {
            if let Edge::Channel(channel) = edge {
                channel.tell_departure(id);
            }
        }
    }

    /// Asks a port that was connecting how it stands.
    pub(super) fn settle(&mut self, id: PortId) {
        let Some(slot) = self.slot_mut(id).filter(|slot| slot.connecting) else { return };
        let Some(edge) = slot.seat.edge_mut() else { return };
        let before = edge.fds();
        match edge.connected() {
            None if edge.arrivals_are_silent() => self.look_again(id),
            None => {}
            Some(Ok(())) => {
                slot.connecting = false;
                slot.peer = edge.peer().unwrap_or(std::mem::take(&mut slot.peer));
                log::info!("{}: connected to {}", slot.name, slot.peer);
                if let Err(error) = self.rewatch(id, before) {
                    self.fail(id, Gone(error.to_string()));
                    return self.lose(id);
                }
                self.switch.set_up(self.clock.now(), id, true);
                self.make_ready(id);
            }
            Some(Err(error)) => {
                let gone = Gone(format!("cannot connect to {}: {error}", slot.peer));
                self.fail(id, gone);
                self.lose(id);
            }
        }
    }

    /// Sets a timer for the next look whether a peer is there.
    fn look_again(&mut self, id: PortId) {
        self.timers.retain(|&(_, what)| what != Due::Peer(id));
        self.timers.insert((self.clock.now() + PEER_CHECK, Due::Peer(id)));
    }

    /// Watches the descriptors of a port that may have changed.
    fn rewatch(&mut self, id: PortId, before: [Option<RawFd>; 2]) -> Result<()> {
        let Some(edge) = self.ports.get(id.index()).and_then(|slot| slot.as_ref()?.seat.edge()) else {
            return Ok(());
        };
        if edge.fds() == before {
            return Ok(());
        }
        self.unwatch(before);
        self.watch(id, edge)?;
        if let Some(slot) = self.slot_mut(id) {
            slot.room_watched = true;
        }
        Ok(())
    }

    /// The peer of a port has left, and the port waits for the next one as it is: then its edge is in its seat again,
    /// with a clean state. An edge that cannot wait is given back.
    pub(super) fn await_next(&mut self, id: PortId, mut edge: Edge, gone: &Gone) -> Option<Edge> {
        let Some(slot) = self.slot_mut(id).filter(|slot| !slot.connecting) else { return Some(edge) };
        let before = edge.fds();
        if !edge.depart(gone) {
            return Some(edge);
        }
        log::info!("{}: {}; waiting for its next peer", slot.name, gone.0);
        slot.peer.clone_from(&gone.0);
        // A descriptor that is closed by now may have its number anew, and is then watched anew.
        self.unwatch(before);
        if self.watch(id, &edge).is_err() {
            return Some(edge);
        }
        let slot = self.slot_mut(id)?;
        slot.room_watched = true;
        slot.seat.put(edge);
        self.begin_connecting(id);
        None
    }
}
