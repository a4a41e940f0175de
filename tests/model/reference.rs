//! A switch as one would write it on a whiteboard: maps, lists, one frame and one copy at a time.
//!
//! It is written from IEEE 802.1Q-2022 (8.6.3 filtering, 8.7 learning, 8.8 filtering database) and from the promises
//! that the heads of the switch's files make, not from their code.

use super::table::{Learned, Oracle, Table, is_group};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use zbridge::switch::{PortConfig, SwitchConfig};
use zbridge::time::{Duration, Instant};

const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// What a frame that waits costs beside its length.
const FRAME_COST: usize = 32;
const PAUSE: Duration = Duration::from_millis(5);
const STALL: Duration = Duration::from_secs(1);
const FLAP_MOVES: u32 = 4;
const LOOP_TURNS: u32 = 16;
const FLAP_WINDOW: Duration = Duration::from_secs(10);

/// A frame as it travels.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    pub bytes: Rc<[u8]>,
    pub gso: bool,
}

impl fmt::Debug for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: String = self.bytes.iter().take(26).map(|byte| format!("{byte:02x}")).collect();
        write!(out, "[{} bytes: {head}…{}]", self.bytes.len(), if self.gso { " gso" } else { "" })
    }
}

/// A frame and the port that it comes from.
pub struct Arrival {
    pub ingress: u16,
    pub packet: Packet,
}

#[derive(Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    pub copies: u64,
    pub forwarded: u64,
    pub drops: BTreeMap<&'static str, u64>,
}

/// What the switch says to people, apart from full tables.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Said {
    Flapping { mac: u64, from: u16, to: u16 },
    Loop(u16, u16),
    Stalled(u16),
    Drained(u16),
}

pub struct Port {
    config: PortConfig,
    pub up: bool,
    pub counts: Counts,
    pub queue: VecDeque<Packet>,
    queue_bytes: usize,
    /// Its descriptor did not take a frame; nothing is tried until it says that it is writable.
    busy: bool,
    pub stalled: bool,
    pub waits_for: Option<u16>,
    deadline: Option<Instant>,
    /// Frames and bytes that left its queue since it was last asked, or, when it is stalled, since this moment.
    taken: (usize, usize),
    since: Instant,
    /// Since when it has dropped frames that it had no room for, and taken none.
    full_since: Option<Instant>,
    /// What the descriptor still takes, and whether that is lost.
    pub room: usize,
    pub broken: bool,
    /// What left, since the last look.
    pub left: Vec<Packet>,
}

#[derive(Clone, Copy)]
enum Verdict {
    One(u16),
    All,
    Drop(&'static str),
}

/// The moves of stations between two ports.
struct Between {
    since: Instant,
    to: u16,
    mac: u64,
    turns: u32,
    told: bool,
}

pub struct Reference {
    pub ports: BTreeMap<u16, Port>,
    pub table: Table,
    moves: HashMap<u64, (Instant, u32, bool)>,
    between: HashMap<(u16, u16), Between>,
    /// What all queues may cost together.
    queue_limit: usize,
    turn: u16,
    pub said: Vec<Said>,
    pub resumed: Vec<u16>,
    /// A new address was refused, by a port's share or by the table.
    pub refused: Vec<u16>,
}

/// Two VLAN tags at most come on top of the mtu and the 14 bytes of header; of a super-frame each segment counts.
fn is_longer(packet: &Packet, mtu: Option<u32>) -> bool {
    let Some(mtu) = mtu else { return false };
    let bytes = &packet.bytes;
    let mut allowed = mtu as usize + 14;
    for at in [12, 16] {
        if bytes.len() < at + 4 || ![[0x81, 0], [0x88, 0xa8], [0x91, 0]].iter().any(|tpid| bytes[at..at + 2] == *tpid) {
            break;
        }
        allowed += 4;
    }
    !packet.gso && bytes.len() > allowed
}

impl Reference {
    pub fn new(config: &SwitchConfig) -> Self {
        Self {
            ports: BTreeMap::new(),
            table: Table::new(config),
            moves: HashMap::new(),
            between: HashMap::new(),
            queue_limit: config.queue_limit,
            turn: 0,
            said: Vec::new(),
            resumed: Vec::new(),
            refused: Vec::new(),
        }
    }

    pub fn learns(&self, port: u16) -> bool {
        self.ports.get(&port).is_some_and(|port| port.up && port.config.learn)
    }

    pub fn add_port(&mut self, config: PortConfig, room: usize) -> u16 {
        let id = (0..).find(|id| !self.ports.contains_key(id)).unwrap();
        let port = Port {
            config,
            up: true,
            counts: Counts::default(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            busy: false,
            stalled: false,
            waits_for: None,
            deadline: None,
            taken: (0, 0),
            since: Instant::ZERO,
            full_since: None,
            room,
            broken: false,
            left: Vec::new(),
        };
        self.ports.insert(id, port);
        id
    }

    pub fn remove_port(&mut self, id: u16) -> Option<Counts> {
        self.empty(id, "removed");
        self.table.forget_port(id, true);
        self.between.retain(|pair, _| pair.0 != id && pair.1 != id);
        self.resumed.retain(|&other| other != id);
        self.ports.remove(&id).map(|port| port.counts)
    }

    pub fn set_up(&mut self, id: u16, up: bool) {
        let Some(port) = self.ports.get_mut(&id).filter(|port| port.up != up) else { return };
        port.up = up;
        port.busy = false;
        if !up {
            self.empty(id, "link-down");
            self.table.forget_port(id, false);
        }
    }

    /// What waits for a port is lost, and nobody has to wait for it.
    fn empty(&mut self, id: u16, reason: &'static str) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        for _ in port.queue.drain(..) {
            *port.counts.drops.entry(reason).or_default() += 1;
        }
        port.queue_bytes = 0;
        port.busy = false;
        port.stalled = false;
        port.full_since = None;
        port.deadline = None;
        self.release(id);
    }

    pub fn add_static(&mut self, mac: u64, port: u16) -> bool {
        self.ports.contains_key(&port) && self.table.add_static(mac, port)
    }

    /// One frame longer than any frame may be.
    pub fn refuse_giant(&mut self, ingress: u16, len: usize) {
        if let Some(port) = self.ports.get_mut(&ingress) {
            port.counts.rx_frames += 1;
            port.counts.rx_bytes += len as u64;
            *port.counts.drops.entry("oversize").or_default() += 1;
        }
    }

    /// Switches `batch`. `takes` says whether descriptors are asked, or everything waits.
    pub fn switch(
        &mut self,
        now: Instant,
        batch: &[Arrival],
        takes: bool,
        oracle: Option<Oracle<'_>>,
    ) -> Result<(), String> {
        let mut verdicts = Vec::new();
        for arrival in batch {
            verdicts.push(self.decide(now, arrival, oracle)?);
        }
        // Ports are served as they were first met, or in order when there is anything for all of them.
        let floods = verdicts.iter().any(|verdict| matches!(verdict, Verdict::All));
        let mut order: Vec<u16> = Vec::new();
        if floods {
            order.extend(self.ports.keys());
        } else {
            for verdict in &verdicts {
                if let &Verdict::One(egress) = verdict
                    && !order.contains(&egress)
                {
                    order.push(egress);
                }
            }
        }
        for egress in order {
            let sent = || batch.iter().zip(&verdicts);
            let unicast = sent().filter(|(_, verdict)| matches!(verdict, Verdict::One(port) if *port == egress));
            let fillers: Vec<u16> = unicast.map(|(arrival, _)| arrival.ingress).collect();
            self.pause(now, egress, &fillers);
            for (arrival, verdict) in sent() {
                let mine = match *verdict {
                    Verdict::One(port) => port == egress,
                    Verdict::All => self.flood_reaches(arrival.ingress, egress),
                    Verdict::Drop(_) => false,
                };
                if mine {
                    self.copy_to(now, egress, arrival, takes);
                }
            }
            self.pause(now, egress, &fillers);
        }
        Ok(())
    }

    fn flood_reaches(&self, ingress: u16, egress: u16) -> bool {
        let isolated = |id| self.ports[&id].config.isolate;
        ingress != egress && self.ports[&egress].up && !(isolated(ingress) && isolated(egress))
    }

    fn decide(&mut self, now: Instant, arrival: &Arrival, oracle: Option<Oracle<'_>>) -> Result<Verdict, String> {
        let id = arrival.ingress;
        if !self.ports.contains_key(&id) {
            return Ok(Verdict::Drop("nowhere"));
        }
        let verdict = self.judge(now, id, &arrival.packet, oracle)?;
        let counts = &mut self.ports.get_mut(&id).unwrap().counts;
        counts.rx_frames += 1;
        counts.rx_bytes += arrival.packet.bytes.len() as u64;
        match verdict {
            Verdict::Drop(reason) => *counts.drops.entry(reason).or_default() += 1,
            _ => counts.forwarded += 1,
        }
        Ok(verdict)
    }

    fn judge(&mut self, now: Instant, id: u16, packet: &Packet, oracle: Option<Oracle<'_>>) -> Result<Verdict, String> {
        let PortConfig { learn, isolate, mtu, .. } = self.ports[&id].config;
        let bytes = &packet.bytes;
        if !self.ports[&id].up {
            return Ok(Verdict::Drop("ingress-down"));
        }
        if bytes.len() < 14 {
            return Ok(Verdict::Drop("malformed"));
        }
        if is_longer(packet, mtu) {
            return Ok(Verdict::Drop("oversize"));
        }
        let number = |octets: &[u8]| octets.iter().fold(0, |sum, &octet| sum << 8 | u64::from(octet));
        let (dst, src) = (number(&bytes[..6]), number(&bytes[6..12]));
        if (0x0180_c200_0000..=0x0180_c200_000f).contains(&dst) {
            return Ok(Verdict::Drop("reserved-group"));
        }
        if learn && src != 0 && !is_group(src) {
            match self.table.learn(now, src, id, oracle)? {
                Learned::Known | Learned::New => {}
                Learned::Moved { from } => self.note_move(now, src, from, id),
                Learned::Refused => self.refused.push(id),
            }
        }
        Ok(match self.table.port_of(dst) {
            Some(egress) if egress == id => Verdict::Drop("same-segment"),
            Some(egress) if isolate && self.ports[&egress].config.isolate => Verdict::Drop("isolated"),
            Some(egress) => Verdict::One(egress),
            None if self.ports.keys().any(|&egress| self.flood_reaches(id, egress)) => Verdict::All,
            None => Verdict::Drop("no-egress"),
        })
    }

    fn note_move(&mut self, now: Instant, mac: u64, from: u16, to: u16) {
        let (since, moves, told) = self.moves.entry(mac).or_insert((now, 0, false));
        if now - *since > FLAP_WINDOW {
            (*since, *moves) = (now, 0);
        }
        *moves += 1;
        if *moves >= FLAP_MOVES && !*told {
            *told = true;
            self.said.push(Said::Flapping { mac, from, to });
            return self.note_turn(now, mac, from, to, true);
        }
        self.note_turn(now, mac, from, to, false);
    }

    /// To and fro between two ports, by one station after another, is a loop; one thing is said of a move at a time.
    fn note_turn(&mut self, now: Instant, mac: u64, from: u16, to: u16, said: bool) {
        let first = Between { since: now, to, mac, turns: 0, told: false };
        let pair = self.between.entry((from.min(to), from.max(to))).or_insert(first);
        if now - pair.since > FLAP_WINDOW {
            (pair.since, pair.turns) = (now, 0);
        }
        pair.turns += u32::from(pair.to != to && pair.mac != mac);
        (pair.to, pair.mac) = (to, mac);
        if pair.turns >= LOOP_TURNS && !pair.told {
            pair.told = true;
            if !said {
                self.said.push(Said::Loop(from, to));
            }
        }
    }

    /// What is free of the memory of all queues.
    fn free(&self) -> usize {
        self.queue_limit - self.ports.values().map(Port::cost).sum::<usize>()
    }

    /// The part of the memory that each queue has a claim to.
    fn fair(&self) -> usize {
        self.queue_limit / (1 + self.ports.values().filter(|port| !port.queue.is_empty()).count())
    }

    /// The bytes that a queue may have as things stand: with alpha = 1 half of what it has and what is free, or its claim.
    fn share(&self, id: u16) -> usize {
        QUEUE_BYTES.min(self.fair().max((self.free() + self.ports[&id].cost()) / 2))
    }

    /// The longest queue, the first of several, loses its newest frames but for one: `cost` for who has a claim to it, and
    /// 64 KiB more as far as it has more than its own.
    fn make_room(&mut self, cost: usize) {
        let fair = self.fair();
        let longest = self.ports.values_mut().rev().max_by_key(|port| port.cost()).unwrap();
        let wanted = longest.cost().saturating_sub(cost);
        let wanted = if wanted > fair { fair.max(wanted.saturating_sub(64 * 1024)) } else { wanted };
        while longest.cost() > wanted && longest.queue.len() > 1 {
            let newest = longest.queue.pop_back().unwrap();
            longest.queue_bytes -= newest.bytes.len();
            let reason = if longest.stalled { "stalled" } else { "queues-full" };
            *longest.counts.drops.entry(reason).or_default() += 1;
        }
    }

    fn copy_to(&mut self, now: Instant, egress: u16, Arrival { ingress, packet }: &Arrival, takes: bool) {
        let waits = self.ports.get(ingress).is_some_and(|port| port.waits_for == Some(egress));
        let cost = packet.bytes.len() + FRAME_COST;
        let (mut free, fair) = (self.free(), self.fair());
        let Some(port) = self.ports.get(&egress) else { return };
        let queues = port.up
            && !is_longer(packet, port.config.mtu)
            && !(takes && port.queue.is_empty() && !port.busy && port.room > 0)
            && (port.queue.len() < port.config.queue || waits)
            && port.queue_bytes + packet.bytes.len() <= QUEUE_BYTES;
        if queues && port.cost() + cost > free && port.cost() + cost <= fair {
            self.make_room(cost);
            free = self.free();
        }
        let Some(port) = self.ports.get_mut(&egress) else { return };
        port.counts.copies += 1;
        let mut end = |reason| *port.counts.drops.entry(reason).or_default() += 1;
        if is_longer(packet, port.config.mtu) {
            end("too-big");
        } else if !port.up {
            end("link-down");
        } else if takes && port.queue.is_empty() && !port.busy && port.room > 0 {
            port.hand_over(packet.clone());
        } else {
            let len = packet.bytes.len();
            // who waits for this port can add no more than this
            let full = port.queue.len() >= port.config.queue && !waits || port.queue_bytes + len > QUEUE_BYTES;
            if full || port.cost() + len + FRAME_COST > free {
                let reason = if full { "queue-full" } else { "queues-full" };
                *port.counts.drops.entry(if port.stalled { "stalled" } else { reason }).or_default() += 1;
                port.full_since = port.full_since.or((!port.stalled).then_some(now));
            } else {
                port.queue_bytes += len;
                port.queue.push_back(packet.clone());
            }
            // one for whom nothing waits is asked again by the next frame
            port.busy = !port.queue.is_empty();
        }
    }

    /// A quarter of a queue taken pauses those who fill it, if they can be paused and are not yet.
    fn pause(&mut self, now: Instant, egress: u16, fillers: &[u16]) {
        let port = &self.ports[&egress];
        let above = port.queue.len() > port.config.queue / 4 || port.queue_bytes > self.share(egress) / 4;
        if !port.busy || port.stalled || !above {
            return;
        }
        for source in fillers {
            let source = self.ports.get_mut(source).filter(|port| port.config.pausable && port.waits_for.is_none());
            if let Some(source) = source {
                source.waits_for = Some(egress);
                let busy = self.ports.get_mut(&egress).unwrap();
                if busy.deadline.is_none() {
                    busy.deadline = Some(now + PAUSE);
                    busy.taken = (0, 0);
                }
            }
        }
        self.resumed.retain(|id| self.ports[id].waits_for.is_none());
    }

    /// Those who wait for `egress` go on.
    fn release(&mut self, egress: u16) {
        for (&id, port) in self.ports.iter_mut().filter(|(_, port)| port.waits_for == Some(egress)) {
            port.waits_for = None;
            self.resumed.push(id);
        }
    }

    /// An eighth of the queue or less: the trouble is over. One that stalled has recovered, too, when a 32nd has left
    /// lately.
    fn relax(&mut self, id: u16) {
        let share = self.share(id);
        let port = self.ports.get_mut(&id).unwrap();
        let low = port.queue.len() <= port.config.queue / 8 && port.queue_bytes <= share / 8;
        if port.stalled && (low || port.has_taken(32)) {
            port.stalled = false;
            self.said.push(Said::Drained(id));
        }
        if low {
            port.deadline = None;
            self.release(id);
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let full = self.ports.values().filter_map(|port| Some(port.full_since? + STALL));
        self.ports.values().filter_map(|port| port.deadline).chain(full).min()
    }

    pub fn timeout(&mut self, now: Instant) {
        let mut late: Vec<_> = self
            .ports
            .iter()
            .filter_map(|(&id, port)| Some((port.deadline?, id)))
            .filter(|&(at, _)| at <= now)
            .collect();
        late.sort_by_key(|&(at, _)| at);
        for (_, id) in late {
            self.release(id);
            let port = self.ports.get_mut(&id).unwrap();
            let reads = port.has_taken(64);
            port.taken = (0, 0);
            port.deadline = reads.then_some(now + PAUSE);
            if !reads {
                port.stalled = true;
                port.since = now;
                self.said.push(Said::Stalled(id));
            }
        }
        self.timeout_of_unread(now);
    }

    /// Who was full and took nothing for a second is dead, whether or not anybody waits for it.
    fn timeout_of_unread(&mut self, now: Instant) {
        for id in self.ports.keys().copied().collect::<Vec<_>>() {
            let port = self.ports.get_mut(&id).unwrap();
            if port.stalled {
                port.full_since = None;
            }
            if port.full_since.is_some_and(|since| since + STALL <= now) {
                port.full_since = None;
                port.stalled = true;
                port.taken = (0, 0);
                port.since = now;
                port.deadline = None;
                self.said.push(Said::Stalled(id));
                self.release(id);
            }
        }
    }

    /// The port said that it is writable. True when all that waited has left.
    pub fn flush(&mut self, now: Instant, id: u16) -> bool {
        let Some(port) = self.ports.get_mut(&id) else { return true };
        if port.stalled && now - port.since > PAUSE {
            port.taken = (0, 0);
            port.since = now;
        }
        while port.room > 0 {
            let Some(packet) = port.pop() else { break };
            port.hand_over(packet);
        }
        port.busy = !port.queue.is_empty();
        let empty = !port.busy;
        self.relax(id);
        empty
    }

    /// The next frame that waits, each port in turn.
    pub fn poll(&mut self) -> Option<(u16, Packet)> {
        let waiting = |(id, port): (&u16, &Port)| (!port.queue.is_empty()).then_some(*id);
        let after = self.ports.range(self.turn..).find_map(waiting);
        let id = after.or_else(|| self.ports.range(..).find_map(waiting))?;
        self.turn = id + 1;
        let port = self.ports.get_mut(&id)?;
        let packet = port.pop()?;
        port.counts.tx_frames += 1;
        port.counts.tx_bytes += packet.bytes.len() as u64;
        port.busy = !port.queue.is_empty();
        self.relax(id);
        Some((id, packet))
    }
}

impl Port {
    fn cost(&self) -> usize {
        self.queue_bytes + self.queue.len() * FRAME_COST
    }

    fn pop(&mut self) -> Option<Packet> {
        let packet = self.queue.pop_front()?;
        let len = packet.bytes.len();
        self.queue_bytes -= len;
        self.full_since = None;
        self.taken.0 += 1;
        self.taken.1 += len;
        Some(packet)
    }

    /// Whether such a part of its queue has left.
    fn has_taken(&self, part: usize) -> bool {
        self.taken.0 >= (self.config.queue / part).max(1) || self.taken.1 >= QUEUE_BYTES / part
    }

    fn hand_over(&mut self, packet: Packet) {
        self.room -= 1;
        if self.broken {
            *self.counts.drops.entry("no-peer").or_default() += 1;
        } else {
            self.counts.tx_frames += 1;
            self.counts.tx_bytes += packet.bytes.len() as u64;
            self.left.push(packet);
        }
    }
}
