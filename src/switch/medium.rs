//! A radio medium (IEEE 802.15.4): every frame reaches every other node in range. No I/O, no clock, and a given seed
//! gives the same losses again.
//!
//! Theory of operation. A switch with a medium decides its frames here instead of looking addresses up; plan, queues
//! and accounting stay those of the switch. For each frame and each other node that is up the [`Links`] say with what
//! probability it arrives; 0 is out of range, and no copy is made. A copy that is lost is counted where it would have
//! left: `copies = sent + queued + held + egress drops` holds as for Ethernet.
//!
//! Whether copy `n` of a sender is lost depends on the seed, the two nodes and `n` alone, not on what others send
//! meanwhile: so a test may be repeated although its nodes run at their own pace.
//!
//! Frames leave at once, however long they would be on the air; acknowledgements pass like any frame, and in time.
//! With collisions, each frame has its time on the air as far as others are concerned: a node waits while it hears
//! another one (ideal carrier sense), and where two nodes that do not hear each other overlap, the receiver keeps the
//! frame that it was at first and loses the other.

mod links;

pub use links::{BadLinks, Links};

use super::Switch;
use super::impair::mix;
use crate::counters::DropReason;
use crate::frame::{Batch, Frame, PortId};
use crate::time::{Duration, Instant};

/// The longest frame without FCS that the medium carries. `aMaxPhyPacketSize` (IEEE 802.15.4-2020, 11.3) is 127 with
/// FCS, but Zephyr's uart_pipe takes as much without.
pub const MAX_RADIO_FRAME: usize = 127;
/// Octets on the air beside the frame: preamble 4, SFD 1, length 1, FCS 2 (IEEE 802.15.4-2020, 12.1 and 7.2.10).
const AIR_OVERHEAD: usize = 8;
/// Two symbols of 16 µs: 250 kbit/s (IEEE 802.15.4-2020, 12.2.2).
const OCTET_TIME: Duration = Duration::from_micros(32);

/// The settings of a medium.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct RadioConfig {
    /// The links between nodes, with their delivery probabilities.
    pub links: Links,
    /// Decides the losses.
    pub seed: u64,
    /// Frames take time, and those of nodes that do not hear each other collide.
    pub collisions: bool,
}

/// The fate of a frame on its way to one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    OutOfRange,
    Arrives,
    Lost(DropReason),
}

/// A node: a port of the switch.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Its index in the links; `None`: it is in none, and nobody hears it.
    place: Option<usize>,
    /// Its identity in the draw of losses: the order of joining.
    number: u64,
    /// Frames that it has sent.
    sent: u64,
    /// When its own last frame has left the air.
    sending_until: Instant,
    /// When the last frame that it hears has left the air.
    hearing_until: Instant,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Medium {
    config: RadioConfig,
    /// Indexed as the switch's ports are.
    nodes: Vec<Option<Node>>,
    joined: u64,
}

impl Medium {
    pub fn new(config: RadioConfig) -> Self {
        Self { config, nodes: Vec::new(), joined: 0 }
    }

    /// A port joins. Nameless nodes take the places of a matrix in the order in which they join.
    pub fn join(&mut self, id: PortId) {
        if self.nodes.len() <= id.index() {
            self.nodes.resize(id.index() + 1, None);
        }
        let taken: Vec<usize> = self.nodes.iter().flatten().filter_map(|node| node.place).collect();
        let place = self.config.links.free_place(&taken);
        self.nodes[id.index()] = Some(Node { place, number: self.joined, ..Node::default() });
        self.joined += 1;
    }

    /// A port has a name. False when the links name their nodes, and it is none of them.
    pub fn name(&mut self, id: PortId, name: &str) -> bool {
        let Some(named) = self.config.links.named_place(name) else { return true };
        if let Some(node) = self.nodes.get_mut(id.index()).and_then(Option::as_mut) {
            node.place = named;
        }
        named.is_some()
    }

    pub fn leave(&mut self, id: PortId) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            *node = None;
        }
    }

    fn node(&self, id: PortId) -> Option<&Node> {
        self.nodes.get(id.index())?.as_ref()
    }

    /// Begins a frame: returns its number among the sender's, and its time on the air.
    fn begin(&mut self, now: Instant, from: PortId, len: usize) -> Option<(u64, Instant, Instant)> {
        let node = self.nodes.get_mut(from.index())?.as_mut()?;
        let number = node.sent;
        node.sent += 1;
        let start = now.max(node.sending_until).max(node.hearing_until);
        let end = start + OCTET_TIME * (AIR_OVERHEAD + len) as u32;
        if self.config.collisions {
            node.sending_until = end;
        }
        Some((number, start, end))
    }

    /// The fate at node `to` of the frame that [`Self::begin`] began.
    fn fate(&mut self, (number, start, end): (u64, Instant, Instant), from: PortId, to: PortId) -> Fate {
        let (Some(sender), Some(receiver)) = (self.node(from), self.node(to)) else { return Fate::OutOfRange };
        let chance = self.config.links.chance(sender.place, receiver.place);
        if chance <= 0.0 {
            return Fate::OutOfRange;
        }
        let (a, b) = (sender.number, receiver.number);
        let busy = receiver.sending_until.max(receiver.hearing_until) > start;
        if self.config.collisions {
            // A frame that collides is on the air as long as any other.
            if let Some(receiver) = self.nodes.get_mut(to.index()).and_then(Option::as_mut) {
                receiver.hearing_until = receiver.hearing_until.max(end);
            }
            if busy {
                return Fate::Lost(DropReason::Collision);
            }
        }
        let arrives = chance >= 1.0 || draw(self.config.seed, a, b, number) < chance;
        if arrives { Fate::Arrives } else { Fate::Lost(DropReason::RadioLoss) }
    }
}

/// A number from 0 up to 1 that depends on all arguments, evenly spread: each in turn is mixed in.
fn draw(seed: u64, from: u64, to: u64, number: u64) -> f64 {
    let mixed = [from, to, number].iter().fold(mix(seed), |state, word| mix(state ^ word));
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

impl Switch {
    /// Whether this is a radio medium and no Ethernet.
    pub fn is_radio(&self) -> bool {
        self.medium.is_some()
    }

    /// Tells a radio medium the name of a port, by which its links may know it. False when they name their nodes and it
    /// is none of them: it then hears nobody.
    pub fn name_node(&mut self, id: PortId, name: &str) -> bool {
        self.medium.as_mut().is_none_or(|medium| medium.name(id, name))
    }

    /// Who hears whom of the ports: sender, receiver and the probability that a frame arrives, where that is above 0.
    /// `None`: this is no radio medium, or every node hears every other.
    pub fn radio_links(&self) -> Option<impl Iterator<Item = (PortId, PortId, f64)>> {
        let medium = self.medium.as_ref().filter(|medium| medium.config.links != Links::AllToAll)?;
        let pairs =
            self.ports().flat_map(|from| self.ports().map(move |to| (from, to))).filter(|(from, to)| from != to);
        Some(pairs.filter_map(|(from, to)| {
            let place = |id| medium.node(id).and_then(|node| node.place);
            let chance = medium.config.links.chance(place(from), place(to));
            (chance > 0.0).then_some((from, to, chance))
        }))
    }

    /// Decides every frame of `batch` as a radio medium.
    pub(super) fn radiate_batch(&mut self, now: Instant, batch: &Batch) {
        let Some(mut medium) = self.medium.take() else { return };
        for (number, frame) in batch.frames().iter().enumerate() {
            let number = number as u32;
            let reason = self.radiate(now, &mut medium, frame, |switch, to, fate| match fate {
                Fate::OutOfRange => {}
                Fate::Arrives => switch.plan.send(number..number + 1, to),
                Fate::Lost(reason) => switch.drop_copy(to, reason, frame, batch.bytes(frame)),
            });
            let Some(counters) = self.counters_mut(frame.ingress) else { continue };
            counters.received(1, frame.len() as u64);
            match reason {
                Some(reason) => {
                    counters.count(reason, 1);
                    counters.lose(now, reason, Some(batch.bytes(frame)));
                    if let Some(tape) = &mut self.tape {
                        tape.refuse(number..number + 1, reason);
                    }
                }
                None => counters.forwarded += 1,
            }
        }
        self.medium = Some(medium);
    }

    /// Tells `each` the fate of one frame at every other node. Why it reached nobody, if it did not.
    pub(super) fn radiate(
        &mut self,
        now: Instant,
        medium: &mut Medium,
        frame: &Frame,
        mut each: impl FnMut(&mut Self, PortId, Fate),
    ) -> Option<DropReason> {
        let isolated = |switch: &Self, id| switch.port(id).is_some_and(|port| port.config.isolate);
        match frame.len() {
            0 => return Some(DropReason::Malformed),
            1..=MAX_RADIO_FRAME => {}
            _ => return Some(DropReason::Oversize),
        }
        let sender = self.port(frame.ingress)?;
        if !sender.up {
            return Some(sender.down_reasons()[0]);
        }
        let begun = medium.begin(now, frame.ingress, frame.len())?;
        let mut reached = false;
        for index in 0..self.ports.len() {
            let to = PortId(index as u16);
            let up = self.port(to).is_some_and(|port| port.up);
            if to == frame.ingress || !up || isolated(self, to) && isolated(self, frame.ingress) {
                continue;
            }
            let fate = medium.fate(begun, frame.ingress, to);
            reached |= fate != Fate::OutOfRange;
            each(self, to, fate);
        }
        (!reached).then_some(DropReason::NoEgress)
    }
}

#[cfg(test)]
mod tests;
