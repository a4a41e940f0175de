//! The switch: an IEEE 802.1Q learning bridge without I/O. Frames and time come in as arguments, frames and a next
//! deadline come out.
//!
//! Theory of operation. A [`Batch`] of frames is switched at a time ([`Switch::run`]): first every frame is looked at
//! and decided (`decide_batch`: classify, learn, look up), which only fills a plan (`plan.rs`); then each port
//! that has anything to send gets its list in one piece (`egress.rs`). Within a batch the table's cache lines are
//! requested a block of frames ahead of their use, because on a large table they are what a frame costs.
//!
//! What ends early ends in one [`DropReason`]. For each port `rx_frames = forwarded + ingress drops`, and over all
//! ports `copies = sent + queued + egress drops`, at every moment between two calls.
//!
//! A switch may be a radio medium instead (`medium.rs`): then nothing is learned, and a frame goes to all in range.
//!
//! There are two ways to drive it. The engine calls [`Switch::run`] with its descriptors behind [`Transmit`]. A test,
//! or a program that embeds a switch, may stay with [`Switch::handle_frame`] and [`Switch::poll_transmit`], where
//! every frame passes through its egress port's queue.

mod egress;
mod fdb;
mod finish;
mod flap;
mod medium;
mod plan;
mod port;
mod queue;

pub use egress::{Flush, Taken, Transmit};
pub use fdb::{Entry, FdbLimits};
pub use flap::Flap;
pub use medium::{BadLinks, Links, MAX_RADIO_FRAME, RadioConfig};
pub use port::{PortConfig, PortState};

use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Frame, PortId};
use crate::limits::{AGEING_SECS, FDB_LIMIT, MAX_FRAME, MIN_FRAME, PORTS_MAX, PREFIX};
use crate::time::{Duration, Instant};
use crate::wire::{Gso, Mac, Offload, segment, stations, vlan_tags};
use fdb::{Fdb, Key, Learned, tick};
use medium::Medium;
use plan::Plan;
use port::Port;
use queue::Spares;
use std::collections::VecDeque;
use std::hint::black_box;

/// Frames whose table entries are requested before the first of them is decided.
const LOOK_AHEAD: usize = 32;
/// Events that wait to be polled; more are not needed, each is said once.
const EVENTS_MAX: usize = 256;

/// The settings of a switch.
#[derive(Clone, PartialEq, Debug)]
pub struct SwitchConfig {
    /// Time after which a station that was not heard is forgotten.
    pub ageing: Duration,
    /// Addresses that are remembered at most.
    pub fdb_limit: usize,
    /// Addresses learned on one port at most; a quarter of `fdb_limit` unless given.
    pub fdb_port_limit: Option<usize>,
    /// Seed of the table's hash. The program takes a random one, a test a printed one.
    pub seed: u64,
    /// A radio medium instead of Ethernet.
    pub radio: Option<RadioConfig>,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            ageing: Duration::from_secs(AGEING_SECS),
            fdb_limit: FDB_LIMIT,
            fdb_port_limit: None,
            seed: 0,
            radio: None,
        }
    }
}

/// Something a person should hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// One address is heard on two ports by turns. Said once for each address.
    Flapping(Flap),
    /// A port used up its share of the table; its further addresses are not learned. Said once for each port.
    PortTableFull(PortId),
    /// The table is full. Said once.
    TableFull,
    /// A port's peer does not read; its frames are dropped from now on.
    Stalled(PortId),
    /// It reads again.
    Drained(PortId),
}

/// A frame's two keys and their hashes, looked up ahead.
#[derive(Clone, Copy)]
struct Ahead {
    dst: Key,
    src: Key,
    dst_hash: u64,
    src_hash: u64,
    /// Both addresses are those of the frame before, and the keys and hashes stand there.
    follows: bool,
}

const NOTHING_AHEAD: Ahead = Ahead { dst: Key::EMPTY, src: Key::EMPTY, dst_hash: 0, src_hash: 0, follows: false };

/// Where a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Unicast(PortId),
    Flood,
    Drop(DropReason),
}

/// Frames in a row that were decided alike: what held for the first of a conversation holds for its neighbours.
struct Run {
    ingress: PortId,
    verdict: Verdict,
    /// The number of the first in its batch.
    first: u32,
    frames: u32,
    bytes: u64,
    /// Up to this length the next one is like them, once that was asked.
    longest: Option<usize>,
}

const NO_RUN: Run = Run { ingress: PortId(0), verdict: Verdict::Flood, first: 0, frames: 0, bytes: 0, longest: None };

/// A learning bridge. See the head of the file.
pub struct Switch {
    ports: Vec<Option<Port>>,
    fdb: Fdb,
    watch: flap::Watch,
    medium: Option<Medium>,
    /// The keys of the block of frames that is being decided.
    ahead: Vec<Ahead>,
    plan: Plan,
    picks: Vec<u32>,
    /// Finished segments of super-frames, on their way to a port that takes plain frames only.
    plain: Option<Batch>,
    /// The one-frame batch of [`Switch::handle_frame`].
    solo: Option<Batch>,
    /// Memory for the ports' queues.
    spares: Spares,
    /// Ports that are up, and of these the ones that are not isolated.
    up: usize,
    up_open: usize,
    congested: Vec<PortId>,
    resumed: Vec<PortId>,
    events: VecDeque<Event>,
    told_full: bool,
    turn: usize,
}

impl Switch {
    /// A switch without ports.
    pub fn new(config: &SwitchConfig) -> Self {
        let per_port = config.fdb_port_limit.unwrap_or(config.fdb_limit / 4).max(1);
        let limits = FdbLimits { entries: config.fdb_limit.max(1), per_port, ageing: config.ageing };
        Self {
            ports: Vec::new(),
            fdb: Fdb::new(limits, config.seed),
            watch: flap::Watch::default(),
            medium: config.radio.clone().map(Medium::new),
            ahead: Vec::new(),
            plan: Plan::default(),
            picks: Vec::new(),
            plain: None,
            solo: None,
            spares: Spares::default(),
            up: 0,
            up_open: 0,
            congested: Vec::new(),
            resumed: Vec::new(),
            events: VecDeque::new(),
            told_full: false,
            turn: 0,
        }
    }

    /// Adds a port, which is up at once. `None` when there are [`PORTS_MAX`] already.
    pub fn add_port(&mut self, config: PortConfig) -> Option<PortId> {
        let index = match self.ports.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.ports.len() < PORTS_MAX => {
                self.ports.push(None);
                self.ports.len() - 1
            }
            None => return None,
        };
        let id = PortId(index as u16);
        self.up += 1;
        self.up_open += usize::from(!config.isolate);
        self.ports[index] = Some(Port::new(config));
        self.fdb.add_port(id);
        if let Some(medium) = &mut self.medium {
            medium.join(id);
        }
        self.plan.reserve(self.ports.len());
        Some(id)
    }

    /// Takes a port out, forgets its stations, and returns what it counted.
    pub fn remove_port(&mut self, now: Instant, id: PortId) -> Option<Counters> {
        self.port(id)?;
        self.empty_queue(id, DropReason::Removed);
        self.count_up(id, false);
        self.fdb.remove_port(id, now);
        if let Some(medium) = &mut self.medium {
            medium.leave(id);
        }
        self.resumed.retain(|&port| port != id);
        self.ports.get_mut(id.index())?.take().map(|port| port.counters)
    }

    /// Says whether a port takes part: frames that come from one that does not are dropped. One that goes down forgets its stations and what waited for it.
    pub fn set_up(&mut self, now: Instant, id: PortId, up: bool) {
        if self.count_up(id, up) && !up {
            self.empty_queue(id, DropReason::LinkDown);
            self.fdb.flush_port(id, now);
        }
    }

    /// Keeps the sums of ports that are up. True when this is a change.
    fn count_up(&mut self, id: PortId, up: bool) -> bool {
        let Some(port) = self.port_mut(id).filter(|port| port.up != up) else { return false };
        port.up = up;
        port.blocked = false;
        let open = usize::from(!port.config.isolate);
        if up {
            self.up += 1;
            self.up_open += open;
        } else {
            self.up -= 1;
            self.up_open -= open;
        }
        true
    }

    fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(id.index())?.as_mut()
    }

    fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())?.as_ref()
    }

    /// The ports that there are.
    pub fn ports(&self) -> impl Iterator<Item = PortId> {
        (0..self.ports.len()).filter(|&index| self.ports[index].is_some()).map(|index| PortId(index as u16))
    }

    /// What a port counted.
    pub fn counters(&self, id: PortId) -> Option<&Counters> {
        self.port(id).map(|port| &port.counters)
    }

    /// The same, for the edge to count what it could not make a frame of.
    pub fn counters_mut(&mut self, id: PortId) -> Option<&mut Counters> {
        self.port_mut(id).map(|port| &mut port.counters)
    }

    /// How a port is doing.
    pub fn state(&self, id: PortId) -> Option<PortState> {
        self.port(id).map(Port::state)
    }

    /// Whether nothing should be taken from this port for the moment.
    pub fn is_paused(&self, id: PortId) -> bool {
        self.port(id).is_some_and(|port| port.paused_for.is_some())
    }

    /// Binds a station to a port for good. False when the port does not exist, the address is a group's or zero, or
    /// the table is full.
    pub fn add_static(&mut self, now: Instant, mac: Mac, port: PortId) -> bool {
        self.port(port).is_some()
            && mac.as_u64() != 0
            && !mac.is_group()
            && self.fdb.add_static(Key::new(mac.as_u64(), 0), port, now)
    }

    /// Forgets a station, static or learned. False when it was not known; of one that has aged, which is cleared away
    /// only when its place is needed, either may be said.
    pub fn forget(&mut self, mac: Mac) -> bool {
        self.fdb.remove(Key::new(mac.as_u64(), 0))
    }

    /// The forwarding database.
    pub fn fdb(&self, now: Instant) -> impl Iterator<Item = Entry> {
        self.fdb.entries(now)
    }

    /// The next thing that a person should hear of.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// Switches all frames of `batch` and sends them through `edges`. Frames of ports that do not exist are ignored.
    pub fn run(&mut self, now: Instant, batch: &Batch, edges: &mut impl Transmit) {
        if self.is_radio() {
            self.radiate_batch(now, batch);
        } else {
            self.decide_batch(now, batch);
        }
        self.send_plan(now, batch, edges);
    }

    /// Decides every frame of `batch`, a block at a time: first all keys are hashed and their cache lines asked for,
    /// then each frame is learned and looked up.
    fn decide_batch(&mut self, now: Instant, batch: &Batch) {
        let tick = tick(now);
        self.fdb.handle_batch(tick);
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.resize(LOOK_AHEAD, NOTHING_AHEAD);
        let mut run = NO_RUN;
        for block in batch.frames().chunks(LOOK_AHEAD) {
            self.look_ahead(batch, block, &mut ahead);
            let mut known = &NOTHING_AHEAD;
            for (frame, ahead) in block.iter().zip(&ahead) {
                if ahead.follows && run.ingress == frame.ingress && self.repeats(&mut run, frame) {
                    run.frames += 1;
                    run.bytes += frame.len() as u64;
                    continue;
                }
                known = if ahead.follows { known } else { ahead };
                self.note(&run);
                let verdict = self.decide(now, tick, frame, batch.bytes(frame), known);
                let first = run.first + run.frames;
                run =
                    Run { ingress: frame.ingress, verdict, first, frames: 1, bytes: frame.len() as u64, longest: None };
            }
        }
        self.note(&run);
        self.ahead = ahead;
    }

    /// Fills `ahead` with what is known of each frame of a block.
    fn look_ahead(&self, batch: &Batch, block: &[Frame], ahead: &mut [Ahead]) {
        let mut last: Option<&[u8; 12]> = None;
        for (frame, ahead) in block.iter().zip(ahead) {
            let bytes = batch.bytes(frame);
            let addresses = if bytes.len() < MIN_FRAME { None } else { bytes.first_chunk() };
            ahead.follows = addresses.is_some() && addresses == last;
            last = addresses;
            if !ahead.follows {
                *ahead = stations(bytes).map_or(NOTHING_AHEAD, |(dst, src)| self.ask_for(dst, src));
            }
        }
    }

    /// Hashes two addresses and asks for their cache lines.
    fn ask_for(&self, dst: u64, src: u64) -> Ahead {
        let (dst, src) = (Key::new(dst, 0), Key::new(src, 0));
        let (dst_hash, src_hash) = (self.fdb.hash(dst), self.fdb.hash(src));
        black_box(self.fdb.touch(dst_hash) ^ self.fdb.touch(src_hash));
        Ahead { dst, src, dst_hash, src_hash, follows: false }
    }

    /// Classify, learn, look up.
    fn decide(&mut self, now: Instant, tick: u32, frame: &Frame, bytes: &[u8], ahead: &Ahead) -> Verdict {
        let Some(port) = self.port(frame.ingress) else { return Verdict::Drop(DropReason::Malformed) };
        let (learn, isolate, mtu) = (port.config.learn, port.config.isolate, port.config.mtu);
        if !port.up {
            return Verdict::Drop(DropReason::IngressDown);
        }
        if bytes.len() < MIN_FRAME {
            return Verdict::Drop(DropReason::Malformed);
        }
        if mtu.is_some_and(|mtu| !fits(frame, bytes, mtu)) {
            return Verdict::Drop(DropReason::Oversize);
        }
        let (dst, src) = (ahead.dst.mac(), ahead.src.mac());
        if dst.is_reserved_group() {
            return Verdict::Drop(DropReason::ReservedGroup);
        }
        if learn && !src.is_group() && src.as_u64() != 0 {
            self.learn(now, tick, frame.ingress, ahead);
        }
        let known = (!dst.is_group()).then(|| self.fdb.lookup(ahead.dst, ahead.dst_hash, tick)).flatten();
        match known {
            Some(egress) if egress == frame.ingress => Verdict::Drop(DropReason::SameSegment),
            Some(egress) if isolate && self.port(egress).is_some_and(|port| port.config.isolate) => {
                Verdict::Drop(DropReason::Isolated)
            }
            Some(egress) => Verdict::Unicast(egress),
            None if self.has_others(isolate) => Verdict::Flood,
            None => Verdict::Drop(DropReason::NoEgress),
        }
    }

    /// Whether a flood from a port that is up, and that is isolated or not, reaches anybody.
    fn has_others(&self, isolate: bool) -> bool {
        if isolate { self.up_open > 0 } else { self.up > 1 }
    }

    fn learn(&mut self, now: Instant, tick: u32, port: PortId, ahead: &Ahead) {
        match self.fdb.learn(ahead.src, ahead.src_hash, port, tick) {
            Learned::Known | Learned::New => {}
            Learned::Moved { from } => {
                let flap = Flap { mac: ahead.src.mac(), from, to: port };
                if let Some(flap) = self.watch.moved(now, flap) {
                    self.tell(Event::Flapping(flap));
                }
            }
            Learned::PortFull => {
                let told = self.port_mut(port).is_none_or(|port| std::mem::replace(&mut port.told_full, true));
                if !told {
                    self.tell(Event::PortTableFull(port));
                }
            }
            Learned::TableFull => {
                if !std::mem::replace(&mut self.told_full, true) {
                    self.tell(Event::TableFull);
                }
            }
        }
    }

    /// Whether addresses and port are all that the verdict of `run` depends on for a frame with the same ones: it was not
    /// dropped, and this one fits its port's mtu, tags or not.
    fn repeats(&self, run: &mut Run, frame: &Frame) -> bool {
        let longest = match (run.longest, run.verdict) {
            (Some(longest), _) => longest,
            (None, Verdict::Drop(_)) => 0,
            (None, _) => {
                let mtu = self.port(run.ingress).and_then(|port| port.config.mtu);
                mtu.map_or(MAX_FRAME, |mtu| mtu as usize + MIN_FRAME)
            }
        };
        run.longest = Some(longest);
        frame.len() <= longest
    }

    /// Counts frames that were decided and puts them into the plan.
    fn note(&mut self, run: &Run) {
        let Some(port) = self.ports.get_mut(run.ingress.index()).and_then(Option::as_mut) else { return };
        let frames = u64::from(run.frames);
        if frames == 0 {
            return;
        }
        port.counters.received(frames, run.bytes);
        match run.verdict {
            Verdict::Drop(reason) => port.counters.drop(reason, frames),
            Verdict::Unicast(egress) => {
                port.counters.forwarded += frames;
                self.plan.send(run.first..run.first + run.frames, egress);
            }
            Verdict::Flood => {
                port.counters.forwarded += frames;
                self.plan.flood(run.first..run.first + run.frames);
            }
        }
    }

    /// Switches one frame; its copies wait in their ports' queues for [`Switch::poll_transmit`]. A frame longer than
    /// [`MAX_FRAME`] is counted as oversize.
    pub fn handle_frame(&mut self, now: Instant, ingress: PortId, frame: &[u8]) {
        let mut solo = self.solo.take().unwrap_or_else(|| Batch::new(PREFIX + MAX_FRAME));
        solo.clear();
        if solo.push(frame, ingress, Offload::NONE) {
            self.run(now, &solo, &mut egress::Nobody);
        } else if let Some(counters) = self.counters_mut(ingress) {
            counters.received(1, frame.len() as u64);
            counters.drop(DropReason::Oversize, 1);
        }
        self.solo = Some(solo);
    }
}

/// Whether a frame fits a port's mtu. VLAN tags come on top of it, two at most; of a super-frame each segment counts.
fn fits(frame: &Frame, bytes: &[u8], mtu: u32) -> bool {
    let room = mtu as usize + MIN_FRAME;
    let fits = |len: usize| len <= room || len <= room + 4 * vlan_tags(bytes);
    match frame.offload.gso {
        Gso::None => fits(bytes.len()),
        // One that cannot be cut is not lost for its length.
        _ => fits(bytes.len()) || segment::longest(bytes, &frame.offload).is_none_or(fits),
    }
}

#[cfg(test)]
mod tests;
