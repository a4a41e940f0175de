//! The switch: an IEEE 802.1Q learning bridge without I/O. Frames and time come in as arguments, frames and a next
//! deadline come out.
//!
//! Theory of operation. A [`Batch`] of frames is switched at a time ([`Switch::run`]): first every frame is decided
//! (`decide.rs`: classify, learn, look up), which only fills a plan (`plan.rs`); then each port that has anything to
//! send gets its list in one piece (`egress.rs`).
//!
//! A dropped frame has one [`DropReason`]. For each port `rx_frames = forwarded + ingress drops`, and over all ports
//! `copies = sent + queued + held + egress drops`, at every moment between two calls.
//!
//! A switch may be a radio medium instead (`medium.rs`): then nothing is learned, and a frame goes to all in range.
//!
//! The switch sends frames of its own, in the name of stations, only when [`Switch::speak`] is called (`hosts.rs`).
//!
//! There are two ways to drive it. The engine calls [`Switch::run`] with its descriptors behind [`Transmit`]. A test,
//! or a program that embeds a switch, may stay with [`Switch::handle_frame`] and [`Switch::poll_transmit`], where
//! every frame passes through its egress port's queue.

mod bend;
mod configure;
mod cut;
mod decide;
mod egress;
mod fates;
mod fdb;
mod finish;
mod flap;
mod guard;
mod hosts;
mod impair;
mod known;
mod medium;
mod memory;
mod mirror;
mod plan;
mod port;
mod queue;
mod replay;
mod tape;
mod trace;
mod twice;
mod unread;
mod updown;

pub use bend::Way;
pub use configure::Settings;
pub use cut::{Cut, Group};
pub use egress::{Flush, Taken, Transmit};
pub use fates::{Became, FateNote, FateNoted, Journal};
pub use fdb::{Entry, FdbLimits, Scan, Scanned};
pub use flap::Flap;
pub use guard::{Address, Claim};
pub use hosts::Shared;
pub use impair::{Chance, Distribution, Impairment, Loss, Matcher, Prospect, Share, Slot, Sure};
pub use known::Known;
pub use medium::{BadLinks, Links, MAX_RADIO_FRAME, RadioConfig};
pub use mirror::Mirror;
pub use port::{PortConfig, PortState};
pub use replay::{Difference, FRAMES_MAX, Replay, Unlike};
#[cfg(test)]
pub(crate) use tape::Noted;
pub(crate) use tape::{Note, Notes, Tape, Wanted};
pub use trace::{Forecast, LeftOut, Outcome, Source, Step, Traced, Waits};

use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Frame, PortId};
use crate::limits::{AGEING_SECS, FDB_LIMIT, MAX_FRAME, MIN_FRAME, PORTS_MAX, PREFIX, QUEUE_LIMIT};
use crate::time::{Duration, Instant};
use crate::wire::{Gso, Mac, Offload, segment, vlan_tags};
use decide::Ahead;
use fdb::{Fdb, Key};
use guard::{Guard, Refused};
use hosts::Hosts;
use medium::Medium;
use memory::Memory;
use plan::Plan;
use port::Port;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;

/// Interval of the events on claims of another port's address.
pub const CLAIM_EVERY: Duration = Duration::from_secs(10);

/// Events that wait to be polled; that is enough, as each is reported once.
const EVENTS_MAX: usize = 256;

/// The settings of a switch.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct SwitchConfig {
    /// Time after which a station that was not heard is forgotten.
    pub ageing: Duration,
    /// Addresses that are remembered at most.
    pub fdb_limit: usize,
    /// Addresses learned on one port at most; a quarter of `fdb_limit` unless given.
    pub fdb_port_limit: Option<usize>,
    /// What the frames that wait for busy ports may cost together, in bytes: their lengths, and
    /// [`QUEUE_FRAME_COST`](crate::limits::QUEUE_FRAME_COST) for each.
    pub queue_limit: usize,
    /// Seed of the table's hash. The program takes a random one, a test a printed one.
    pub seed: u64,
    /// Seed of what impairments do: the same one gives every frame the same fate.
    pub fate_seed: u64,
    /// A radio medium instead of Ethernet.
    pub radio: Option<RadioConfig>,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self {
            ageing: Duration::from_secs(AGEING_SECS),
            fdb_limit: FDB_LIMIT,
            fdb_port_limit: None,
            queue_limit: QUEUE_LIMIT,
            seed: 0,
            fate_seed: 0,
            radio: None,
        }
    }
}

impl SwitchConfig {
    /// The defaults, but for what `set` changes: `SwitchConfig::with(|switch| switch.fdb_limit = 1024)`.
    pub fn with(set: impl FnOnce(&mut Self)) -> Self {
        let mut config = Self::default();
        set(&mut config);
        config
    }
}

/// An event to be logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// One address is heard on two ports by turns. Said once for each address.
    Flapping(Flap),
    /// Many are, on the same two ports, this one among them. Said once for each two ports.
    Loop(Flap),
    /// A port used up its share of the table; its further addresses are not learned. Said once for each port.
    PortTableFull(PortId),
    /// The table is full. Said once.
    TableFull,
    /// A frame that claims another port's address was dropped, and so many like it since the last event. Reported once
    /// in [`CLAIM_EVERY`].
    Claimed(Claim, u64),
    /// Two stations have one address. Said once for each address.
    Shared(Shared),
    /// A port's peer does not read; its frames are dropped from now on.
    Stalled(PortId),
    /// It reads again.
    Drained(PortId),
    /// A frame is not what it was in the run that is replayed. Said once for each direction of a port, and way how.
    Unlike {
        /// The port.
        port: PortId,
        /// The direction.
        way: Way,
        /// The frame.
        number: u64,
        /// How.
        how: Unlike,
    },
}

/// A learning bridge. See the head of the file.
pub struct Switch {
    ports: Vec<Option<Port>>,
    /// Free indices in `ports`, the lowest first.
    unused: BinaryHeap<Reverse<PortId>>,
    fdb: Fdb,
    watch: flap::Watch,
    guard: Guard,
    hosts: Hosts,
    /// Claims since the last event, and its time.
    claims: u64,
    claim_told: Option<Instant>,
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
    memory: Memory,
    /// The tape of captures, if there is any.
    tape: Option<Box<Tape>>,
    /// What monitors get, by monitor.
    mirrors: Vec<Mirror>,
    /// Frames of the present batch that a monitor gets beside its own, by its port; of ports beyond there are none.
    mirrored: Vec<Vec<u32>>,
    /// Ports that are cut from each other.
    cuts: Vec<Cut>,
    /// There are mirrors or cuts, so that a plan is looked through before it is sent.
    is_edited: bool,
    /// Ports with impairments.
    bent: Vec<PortId>,
    /// Frames on their way through impairments.
    bending: Option<Batch>,
    /// Decides what impairments do.
    fate_seed: u64,
    /// What they did, where that is noted.
    journal: Option<Box<fates::Journal>>,
    /// What they are to do, where an earlier run is replayed.
    replay: Option<Box<Replay>>,
    /// Ports that are up, and of these the ones that are not isolated.
    up: usize,
    up_open: usize,
    congested: Vec<PortId>,
    resumed: Vec<PortId>,
    /// Ports that had no room, and may have taken nothing since.
    unread: Vec<PortId>,
    events: VecDeque<Event>,
    told_full: bool,
    turn: usize,
    /// The time of what is being done.
    now: Instant,
}

impl Switch {
    /// A switch without ports.
    pub fn new(config: &SwitchConfig) -> Self {
        let per_port = config.fdb_port_limit.unwrap_or(config.fdb_limit / 4).max(1);
        let limits = FdbLimits { entries: config.fdb_limit.max(1), per_port, ageing: config.ageing };
        Self {
            ports: Vec::new(),
            unused: BinaryHeap::new(),
            fdb: Fdb::new(limits, config.seed),
            watch: flap::Watch::default(),
            guard: Guard::new(config.seed.rotate_left(23), config.ageing),
            hosts: Hosts::new(config.seed.rotate_left(41)),
            claims: 0,
            claim_told: None,
            medium: config.radio.clone().map(Medium::new),
            ahead: Vec::new(),
            plan: Plan::default(),
            picks: Vec::new(),
            plain: None,
            solo: None,
            memory: Memory::new(config.queue_limit),
            tape: None,
            mirrors: Vec::new(),
            mirrored: Vec::new(),
            cuts: Vec::new(),
            is_edited: false,
            bent: Vec::new(),
            bending: None,
            fate_seed: config.fate_seed,
            journal: None,
            replay: None,
            up: 0,
            up_open: 0,
            congested: Vec::new(),
            resumed: Vec::new(),
            unread: Vec::new(),
            events: VecDeque::new(),
            told_full: false,
            turn: 0,
            now: Instant::ZERO,
        }
    }

    /// Adds a port, which is up at once. `None` when there are [`PORTS_MAX`] already.
    pub fn add_port(&mut self, config: PortConfig) -> Option<PortId> {
        let index = match self.unused.pop() {
            Some(Reverse(free)) => free.index(),
            None if self.ports.len() < PORTS_MAX => {
                self.ports.push(None);
                self.ports.len() - 1
            }
            None => return None,
        };
        let id = PortId(index as u16);
        self.up += 1;
        self.up_open += usize::from(!config.isolate);
        if config.guard {
            self.guard.add_port(id);
        }
        self.ports[index] = Some(Port { parted: config.isolate || self.cuts_name(id), ..Port::new(config) });
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
        self.set_time(now);
        self.straighten(id, DropReason::Removed);
        self.empty_queue(id, DropReason::Removed);
        self.forget_unread(id);
        self.count_up(id, false);
        self.forget_cuts_of(id);
        self.watch.forget_port(id);
        self.fdb.remove_port(id, now);
        self.guard.remove_port(id);
        self.hosts.remove_port(id);
        if let Some(medium) = &mut self.medium {
            medium.leave(id);
        }
        self.resumed.retain(|&port| port != id);
        self.mirrors.retain(|it| it.monitor != id && it.source != id);
        self.note_edits();
        let port = self.ports.get_mut(id.index())?.take()?;
        self.unused.push(Reverse(id));
        Some(port.counters)
    }

    /// Sets the abilities of a port whose peer has come: see [`PortConfig::pausable`] and [`PortConfig::offload`].
    pub fn set_abilities(&mut self, id: PortId, pausable: bool, offload: bool) {
        if let Some(port) = self.port_mut(id) {
            (port.config.pausable, port.config.offload) = (pausable, offload);
        }
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

    /// The counters of a port.
    pub fn counters(&self, id: PortId) -> Option<&Counters> {
        self.port(id).map(|port| &port.counters)
    }

    /// The same, for the edge to count input that is no frame.
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
        let added = self.port(port).is_some()
            && mac.as_u64() != 0
            && !mac.is_group()
            && self.fdb.add_static(Key::new(mac.as_u64(), 0), port, now);
        if added {
            self.guard.bind(Address::Mac(mac), port);
        }
        added
    }

    /// Binds an address to an existing port for the port's lifetime: while any port is guarded, no other port may claim
    /// it. An address bound so to another port stays there.
    pub fn bind(&mut self, address: Address, port: PortId) {
        if self.port(port).is_some() {
            self.guard.bind_own(address, port);
        }
    }

    /// Binds a leased `addr` to the guarded port that owns `mac`, if there is one.
    pub fn bind_lease(&mut self, mac: Mac, addr: IpAddr) {
        if let Some(port) = self.guard.owner(Address::Mac(mac)) {
            self.guard.bind(Address::Ip(addr), port);
        }
    }

    /// Whether any port is guarded.
    pub fn is_guarded(&self) -> bool {
        self.guard.is_on()
    }

    /// The guard has refused a frame: queues an event if it claims another port's address.
    fn note_claim(&mut self, now: Instant, refused: Refused) {
        let Refused::Claim(claim) = refused else { return };
        self.claims += 1;
        if self.claim_told.is_none_or(|at| now.since(at) >= CLAIM_EVERY) {
            self.claim_told = Some(now);
            let claims = std::mem::take(&mut self.claims);
            self.tell(Event::Claimed(claim, claims));
        }
    }

    /// Forgets a station, static or learned. False when it was not known; for an aged one, which is reclaimed only when
    /// its slot is needed, either may be returned.
    pub fn forget(&mut self, mac: Mac) -> bool {
        self.fdb.remove(Key::new(mac.as_u64(), 0))
    }

    /// How many entries the forwarding database has, those included whose time is over.
    pub fn fdb_len(&self) -> usize {
        self.fdb.len()
    }

    /// The forwarding database.
    pub fn fdb(&self, now: Instant) -> impl Iterator<Item = Entry> {
        self.fdb.entries(now)
    }

    /// The same a part at a time: adds the valid entries of about `slots` further slots, from `scan` on, to `out`. An
    /// entry that stays from the first part to the last is found at least once; see [`Scanned`].
    pub fn scan_fdb(&self, now: Instant, scan: &mut Scan, slots: usize, out: &mut Vec<Entry>) -> Scanned {
        self.fdb.scan(now, scan, slots, out)
    }

    /// The next event.
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
        self.now = now;
        if self.is_radio() {
            self.radiate_batch(now, batch);
        } else {
            self.guard.set_time(now);
            self.decide_batch(now, batch);
        }
        if self.tape.is_some() {
            self.note_arrivals(now, batch);
        }
        if self.is_edited {
            self.edit_plan(batch, true);
        }
        self.send_plan(now, batch, edges);
    }

    /// Switches one frame; its copies wait in their ports' queues for [`Switch::poll_transmit`]. A frame longer than
    /// [`MAX_FRAME`] is counted as oversize.
    pub fn handle_frame(&mut self, now: Instant, ingress: PortId, frame: &[u8]) {
        let mut solo = self.solo.take().unwrap_or_else(|| Batch::new(PREFIX + MAX_FRAME));
        solo.clear();
        if solo.push(frame, ingress, Offload::NONE) {
            self.arrive(now, ingress, &mut solo, 0);
            self.run(now, &solo, &mut egress::Nobody);
        } else if let Some(counters) = self.counters_mut(ingress) {
            counters.received(1, frame.len() as u64);
            counters.count(DropReason::Oversize, 1);
            counters.lose(now, DropReason::Oversize, Some(frame));
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
        // One that cannot be segmented is not dropped for its length.
        _ => fits(bytes.len()) || segment::longest(bytes, &frame.offload).is_none_or(fits),
    }
}

#[cfg(test)]
mod tests;
