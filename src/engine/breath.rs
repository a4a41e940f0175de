//! A breath: a bounded batch is inhaled from each port that is ready, the switch decides and sends, what waited leaves by
//! the ports that became writable, and what turned out on the way is noted.

use super::fault::strike;
use super::links;
use super::ports::Ports;
use super::pulse::Call;
use super::timers::Due;
use crate::frame::Batch;
use crate::limits::{BATCH_BYTES, INHALE_BYTES, INHALE_BYTES_CONGESTED, INHALE_FRAMES, INHALE_ROOM};
use crate::port::{Budget, Edge, Inhaled};
use crate::switch::Flush;
use crate::time::Duration;

/// The pause of a port after the system had no memory for it.
const STARVED_RETRY: Duration = Duration::from_millis(10);
/// Frames after which a breath reads from no further port, so that the queues can hold one breath.
const BREATH_FRAMES: usize = 1024;

/// The batch in which frames lie from their read to their send.
pub(super) struct Breath {
    batch: Batch,
}

impl Breath {
    pub fn new() -> Self {
        Self { batch: Batch::new(BATCH_BYTES) }
    }

    /// One breath. Ports whose edges fail in it are noted in `found`.
    pub fn breathe(&mut self, ports: &mut Ports) {
        self.inhale(ports);
        ports.edges.pulse.at(Call::Inside);
        let now = ports.clock.now();
        ports.switch.send_due(now, &mut ports.edges);
        if !self.batch.is_empty() {
            strike(&ports.name);
            ports.switch.run(now, &self.batch, &mut ports.edges);
        }
        ports.switch.speak(now, &mut ports.edges);
        for _ in 0..ports.edges.lists.flushing.len() {
            let Some(id) = ports.edges.lists.flushing.next() else { break };
            if ports.switch.flush(now, id, &mut ports.edges) == Flush::More {
                ports.edges.lists.flushing.add(id);
            }
        }
        while let Some(id) = ports.edges.found.starved.pop() {
            ports.timers.set(Due::Flush(id), now + STARVED_RETRY);
        }
        while let Some(id) = ports.edges.found.full.pop() {
            ports.watch_room(id);
        }
        while let Some(id) = ports.edges.found.links.pop() {
            links::tell(ports, id);
        }
    }

    /// Fills the batch from the ports that are ready, each within its budget.
    fn inhale(&mut self, ports: &mut Ports) {
        self.batch.clear();
        if ports.switch.holds_frames() {
            ports.switch.take_due(ports.clock.now(), &mut self.batch);
        }
        let bytes = if ports.switch.is_congested() { INHALE_BYTES_CONGESTED } else { INHALE_BYTES };
        for _ in 0..ports.edges.lists.ready.len() {
            if self.batch.free() < INHALE_ROOM || self.batch.len() >= BREATH_FRAMES {
                return;
            }
            let Some(id) = ports.edges.lists.ready.next() else { return };
            if ports.switch.is_paused(id) {
                ports.edges.lists.parked.add(id);
                continue;
            }
            ports.edges.pulse.at_port(Call::Read, id);
            let Some(slot) = ports.edges.slot_mut(id) else { continue };
            let Some(there) = slot.life.there_mut().filter(|it| !it.seat.has_failed()) else { continue };
            let Some(counters) = ports.switch.counters_mut(id) else { continue };
            let before = self.batch.len();
            let frames = if std::mem::take(&mut there.lone) { 1 } else { INHALE_FRAMES };
            let received = there.seat.receive(&mut self.batch, id, Budget { bytes, frames }, counters);
            if counters.is_marked() {
                // What never was a frame of the switch: it is counted, and only its time is known.
                counters.settle(ports.clock.now(), 0, |_| None);
            }
            there.lone = received == Some(Inhaled::Drained) && self.batch.len() - before <= 1;
            if let Some(rewriter) = &mut slot.rewriter {
                self.batch.edit_from(before, |frame, offload| rewriter.inbound(frame, offload));
            }
            if ports.switch.is_bent_in(id) {
                ports.switch.arrive(ports.clock.now(), id, &mut self.batch, before);
            }
            match received {
                None => ports.edges.found.gone.push(id),
                Some(Inhaled::Drained) if there.seat.edge().is_some_and(Edge::link_is_down) => {
                    ports.edges.found.links.push(id);
                }
                // The end came with the last bytes, in one event: a short read took the bytes, the next finds the end.
                Some(Inhaled::Drained) if std::mem::take(&mut there.ending) => ports.edges.lists.ready.add(id),
                Some(Inhaled::Drained) => {}
                Some(Inhaled::More) => ports.edges.lists.ready.add(id),
            }
        }
    }
}
