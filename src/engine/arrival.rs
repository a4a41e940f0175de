//! Ports whose peer is not there yet: a connection that was begun, a serial line that waits for its next peer.
//!
//! Such a port is down in the switch. [`Edge::connected`] says when that ends: asked when a descriptor has something to
//! say, and from time to time where none does. The descriptors of a serial line change with that, from those of a
//! listener to those of its client and back.
//!
//! [`Edge::connected`]: crate::port::Edge::connected

use super::Engine;
use super::life::Life;
use super::ports::{Attached, Lost};
use super::timers::Due;
use crate::error::Result;
use crate::frame::PortId;
use crate::port::{Edge, Gone};
use crate::time::Duration;
use crate::wire::Rewriter;
use std::os::fd::RawFd;

/// How often a line is looked at whose peer may arrive without a descriptor telling of it.
const PEER_CHECK: Duration = Duration::from_millis(100);

impl Engine {
    /// A port whose peer has to come first takes no part until it has.
    pub(super) fn begin_arrival(&mut self, id: PortId) {
        self.slot_mut(id).and_then(|slot| slot.rewriter.as_mut()).into_iter().for_each(Rewriter::forget);
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
        let edges = self.channels.iter().filter_map(|id| self.ports.get(id.index())?.as_ref()?.edge());
        for edge in edges {
            if let Edge::Channel(channel) = edge {
                channel.tell_departure(id);
            }
        }
    }

    /// Asks a port that is arriving how it stands.
    pub(super) fn settle(&mut self, id: PortId) {
        let Some(slot) = self.slot_mut(id) else { return };
        let Life::Arriving(there) = &mut slot.life else { return };
        let Some(edge) = there.seat.edge_mut() else { return };
        let before = edge.fds();
        match edge.connected() {
            None if edge.arrivals_are_silent() => self.look_again(id),
            None => {}
            Some(Ok(())) => {
                there.peer = edge.peer().unwrap_or(std::mem::take(&mut there.peer));
                log::info!("{}: connected to {}", slot.name, there.peer);
                slot.life.arrived();
                if let Err(error) = self.rewatch(id, before) {
                    self.fail(id, Gone(error.to_string()));
                    return self.lose(id);
                }
                self.switch.set_up(self.clock.now(), id, true);
                self.make_ready(id);
            }
            Some(Err(error)) => {
                let gone = Gone(format!("cannot connect to {}: {error}", there.peer));
                self.fail(id, gone);
                self.lose(id);
            }
        }
    }

    /// Sets a timer for the next look whether a peer is there.
    fn look_again(&mut self, id: PortId) {
        self.timers.set(Due::Peer(id), self.clock.now() + PEER_CHECK);
    }

    /// Watches the descriptors of a port that may have changed.
    fn rewatch(&mut self, id: PortId, before: [Option<RawFd>; 2]) -> Result<()> {
        let Some(edge) = self.ports.get(id.index()).and_then(|slot| slot.as_ref()?.edge()) else {
            return Ok(());
        };
        if edge.fds() == before {
            return Ok(());
        }
        self.unwatch(before);
        self.watch(id, edge)?;
        if let Some(there) = self.slot_mut(id).and_then(|slot| slot.life.there_mut()) {
            there.room_watched = true;
        }
        Ok(())
    }

    /// The peer of a port has left, and the port waits for the next one as it is: then its edge has a new seat, with a
    /// clean state. An edge that cannot wait is given back.
    pub(super) fn await_next(&mut self, id: PortId, mut lost: Lost) -> Option<Lost> {
        let before = lost.edge.fds();
        if lost.arriving || !lost.edge.depart(&lost.gone) {
            return Some(lost);
        }
        log::info!("{}: {}; waiting for its next peer", self.port_name(id), lost.gone.0);
        // A descriptor that is closed by now may have its number anew, and is then watched anew.
        self.unwatch(before);
        if self.watch(id, &lost.edge).is_err() {
            return Some(lost);
        }
        self.slot_mut(id)?.life = Life::Arriving(Attached::new(lost.edge, lost.gone.0, lost.since));
        self.begin_arrival(id);
        None
    }
}
