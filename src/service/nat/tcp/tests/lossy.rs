//! A connection over a link that loses, duplicates and reorders, under a virtual clock, with the simplest guest
//! possible: it marks every byte that it has, and every one reported to it.

use crate::service::nat::tcp::connection::Connection;
use crate::service::nat::tcp::segment::{Options, Segment};
use crate::time::{Duration, Instant};
use proptest::prelude::*;
use std::collections::BTreeMap;

const MSS: usize = 100;
/// First numbers, near the end of their range.
const OURS: u32 = u32::MAX - 20_000;
const THEIRS: u32 = u32::MAX - 5_000;
/// The guest's window, and its largest number of bytes in flight.
const WINDOW: usize = 40 * MSS;
const DELAY: Duration = Duration::from_millis(10);
/// The guest's timeout.
const PATIENCE: Duration = Duration::from_secs(1);

/// After so many timeouts in a row that brought nothing the way loses nothing, until the next timeout behind something that
/// was acknowledged. One that fails ten times is dead as far as anybody can tell, and the gateway says so.
const MOST_IN_VAIN: usize = 7;

/// The byte at a place of both streams.
fn pattern(at: usize) -> u8 {
    (at ^ at >> 8).wrapping_mul(31) as u8
}

/// Faults of the link, in 256 segments, and its delays.
#[derive(Clone, Copy, Debug)]
struct Way {
    loses: u8,
    doubles: u8,
    overtakes: u8,
}

/// A stream in one direction as the guest keeps it: which of its bytes have arrived.
struct Stream {
    isn: u32,
    there: Vec<bool>,
    fin: bool,
}

impl Stream {
    fn new(isn: u32, len: usize) -> Self {
        Self { isn, there: vec![false; len], fin: false }
    }

    fn seq(&self, at: usize) -> u32 {
        self.isn.wrapping_add(1 + at as u32)
    }

    fn at(&self, seq: u32) -> usize {
        seq.wrapping_sub(self.isn).wrapping_sub(1) as usize
    }

    /// How many bytes from the first on are there.
    fn whole(&self) -> usize {
        self.there.iter().position(|there| !there).unwrap_or(self.there.len())
    }

    fn is_done(&self) -> bool {
        self.fin && self.whole() == self.there.len()
    }

    fn nxt(&self) -> u32 {
        self.seq(self.whole() + usize::from(self.is_done()))
    }

    /// The range of bytes behind the first gap that `at` is in.
    fn block(&self, at: usize) -> (u32, u32) {
        let from = self.there[..at].iter().rposition(|there| !there).map_or(0, |gap| gap + 1);
        let to = self.there[at..].iter().position(|there| !there).map_or(self.there.len(), |gap| at + gap);
        if from == 0 { (0, 0) } else { (self.seq(from), self.seq(to)) }
    }
}

/// See the module.
struct Lab {
    now: Instant,
    seed: u64,
    way: Way,
    sacks: bool,
    gateway: Connection,
    /// When what arrives: at the gateway, or at the guest.
    flights: usize,
    flying: BTreeMap<(Instant, usize), (bool, Segment, Vec<u8>)>,
    /// Bytes that the guest has, and those reported to the gateway since its last timeout.
    down: Stream,
    told: Vec<bool>,
    /// Bytes that have arrived at the gateway, and those reported to the guest.
    up: Stream,
    acked: usize,
    held: Vec<bool>,
    /// How much the guest has sent, and when it sends again what the gateway does not hold.
    sent: usize,
    again: Instant,
    /// Bytes that the host has taken.
    taken: Vec<u8>,
    given: usize,
    timeouts: usize,
    /// Timeouts in a row without an acknowledgement of anything new in between, and up to where it is acknowledged.
    in_vain: (usize, u32),
    bytes: usize,
    /// When the guest had all.
    arrived: Option<Instant>,
}

impl Lab {
    fn new(seed: u64, way: Way, sacks: bool, (down, up): (usize, usize)) -> Self {
        let now = Instant::from_secs(1);
        let mut syn = Segment { seq: THEIRS, window: WINDOW as u16, ..Segment::default() };
        syn.flags.syn = true;
        syn.options = Options { mss: Some(MSS as u16), scale: Some(0), sack_permitted: sacks, ..Options::default() };
        let mut gateway = Connection::asked(&syn, OURS, 1460);
        gateway.dialled();
        let answer = gateway.next(now).expect("an answer").segment;
        assert_eq!(answer.options.sack_permitted, sacks);
        let (down, up) = (Stream::new(OURS, down), Stream::new(THEIRS, up));
        let (told, held) = (vec![false; down.there.len()], vec![false; up.there.len()]);
        let mut lab = Self {
            now,
            seed: seed | 1,
            way,
            sacks,
            gateway,
            flights: 0,
            flying: BTreeMap::new(),
            down,
            told,
            up,
            acked: 0,
            held,
            sent: 0,
            again: now + PATIENCE,
            taken: Vec::new(),
            given: 0,
            timeouts: 0,
            in_vain: (0, OURS),
            bytes: 0,
            arrived: None,
        };
        lab.acknowledge(None);
        lab
    }

    fn chance(&mut self) -> u8 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 56) as u8
    }

    fn fly(&mut self, to_gateway: bool, segment: Segment, payload: Vec<u8>) {
        let (bytes, len) = segment.emit((1, 2), 0);
        let packet = [&bytes[..len], &payload].concat();
        assert_eq!(Segment::parse(&packet).expect("a segment"), ((1, 2), segment, &payload[..]));
        let copies = if self.chance() < self.way.doubles { 2 } else { 1 };
        for _ in 0..copies {
            if self.chance() < self.way.loses && self.in_vain.0 < MOST_IN_VAIN {
                continue;
            }
            let more = if self.chance() < self.way.overtakes { u64::from(self.chance()) } else { 0 };
            let at = self.now + DELAY + Duration::from_micros(100 * more);
            self.flights += 1;
            self.flying.insert((at, self.flights), (to_gateway, segment, payload.clone()));
        }
    }

    /// The guest acknowledges its bytes; `newest` came last.
    fn acknowledge(&mut self, newest: Option<usize>) {
        let mut segment = Segment { seq: self.up.seq(self.sent.min(self.up.there.len())), ..Segment::default() };
        (segment.ack, segment.window, segment.flags.ack) = (self.down.nxt(), WINDOW as u16, true);
        if self.sacks {
            let mut blocks: Vec<_> =
                newest.map(|at| self.down.block(at)).into_iter().filter(|(from, to)| from != to).collect();
            let mut at = self.down.whole();
            while let Some(next) = self.down.there[at..].iter().position(|there| *there) {
                let block = self.down.block(at + next);
                at = self.down.at(block.1);
                if !blocks.contains(&block) {
                    blocks.push(block);
                }
            }
            segment.options.blocks.iter_mut().zip(blocks).for_each(|(room, block)| *room = block);
        }
        self.fly(true, segment, Vec::new());
    }

    /// The guest sends `from..to`, with its end if that is the last.
    fn send(&mut self, from: usize, to: usize) {
        let mut segment = Segment { seq: self.up.seq(from), ack: self.down.nxt(), ..Segment::default() };
        (segment.window, segment.flags.ack, segment.flags.psh) = (WINDOW as u16, true, true);
        segment.flags.fin = to == self.up.there.len();
        self.fly(true, segment, (from..to).map(pattern).collect());
    }

    fn guest_works(&mut self) {
        while self.sent < (self.up.there.len() + 1).min(self.acked + WINDOW) {
            let to = (self.sent + MSS).min(self.up.there.len());
            self.send(self.sent, to);
            self.sent = if to == self.up.there.len() { to + 1 } else { to };
        }
        if self.now < self.again {
            return;
        }
        self.again = self.now + PATIENCE;
        for from in (self.acked..self.sent).step_by(MSS) {
            let to = (from + MSS).min(self.up.there.len());
            let from = from.min(to);
            if from == to || self.held[from..to].iter().any(|held| !held) {
                self.send(from, to);
            }
        }
    }

    fn guest_hears(&mut self, segment: &Segment, payload: &[u8]) {
        let acked = self.up.at(segment.ack);
        if segment.flags.syn {
            return;
        }
        if acked > self.acked && acked <= self.up.there.len() + 1 {
            (self.acked, self.again) = (acked, self.now + PATIENCE);
        }
        for &(from, to) in segment.options.blocks.iter().filter(|(from, to)| from != to) {
            assert!(self.sacks);
            let (from, to) = (self.up.at(from), self.up.at(to));
            assert!(from > acked && from < to, "a block behind what is missing");
            assert!(self.up.there[from..to].iter().all(|there| *there), "the gateway holds what never came");
            self.held[from..to].fill(true);
        }
        if payload.is_empty() && !segment.flags.fin {
            return;
        }
        let from = self.down.at(segment.seq);
        assert!(payload.iter().enumerate().all(|(at, byte)| *byte == pattern(from + at)));
        self.down.there[from..from + payload.len()].fill(true);
        self.down.fin |= segment.flags.fin;
        if self.down.is_done() {
            self.arrived.get_or_insert(self.now);
        }
        self.acknowledge((!payload.is_empty()).then_some(from));
    }

    fn gateway_hears(&mut self, segment: &Segment, payload: &[u8]) {
        for &(from, to) in segment.options.blocks.iter().filter(|(from, to)| from != to) {
            let (from, to) = (self.down.at(from), self.down.at(to));
            self.told[from..to].fill(true);
        }
        let from = self.up.at(segment.seq);
        if !payload.is_empty() {
            self.up.there[from..from + payload.len()].fill(true);
        }
        self.up.fin |= segment.flags.fin;
        let taken = &mut self.taken;
        self.gateway.handle(self.now, segment, payload, 1 << 20, &mut |bytes| {
            // a host that takes a part
            let count = bytes.len().div_ceil(2);
            taken.extend_from_slice(&bytes[..count]);
            count
        });
        // bytes are acknowledged as soon as nothing before them is missing
        let held = self.gateway.waiting().to_vec();
        self.gateway.taken(held.len());
        self.taken.extend(held);
    }

    fn gateway_works(&mut self) {
        while self.gateway.wanted() > 0 && self.given < self.down.there.len() {
            let wanted = self.gateway.wanted().min(self.down.there.len() - self.given);
            let from = self.given;
            let read = |room: &mut [u8]| {
                room.iter_mut().enumerate().for_each(|(at, byte)| *byte = pattern(from + at));
                Ok::<_, ()>(room.len())
            };
            self.given += self.gateway.fill(wanted, &mut [0; 4096], read).expect("bytes");
        }
        if self.given == self.down.there.len() {
            self.gateway.end();
        }
        for turn in 0.. {
            assert!(turn < 1000, "it spins");
            let Some(next) = self.gateway.next(self.now) else { break };
            let payload = self.gateway.slices(&next.range).concat();
            let from = self.down.at(next.segment.seq);
            if !payload.is_empty() {
                let told = &self.told[from..from + payload.len()];
                assert!(!told.contains(&true), "sent though the guest said that it has it");
                self.bytes += payload.len();
            }
            // a super-frame is cut on its way
            let count = payload.chunks(MSS).count();
            for (number, chunk) in payload.chunks(MSS).enumerate() {
                let mut segment = next.segment;
                segment.seq = segment.seq.wrapping_add((number * MSS) as u32);
                segment.flags.fin &= number + 1 == count;
                self.fly(false, segment, chunk.to_vec());
            }
            if payload.is_empty() {
                self.fly(false, next.segment, payload);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.down.is_done() && self.acked == self.up.there.len() + 1 && self.gateway.is_done()
    }

    /// Runs to the end, and gives after how long the guest had all.
    fn run(&mut self) -> Duration {
        let start = self.now;
        for _ in 0..100_000 {
            self.gateway_works();
            self.guest_works();
            if self.is_done() {
                let wanted: Vec<u8> = (0..self.up.there.len()).map(pattern).collect();
                assert!(self.taken == wanted, "{} of {} bytes came", self.taken.len(), wanted.len());
                return self.arrived.map_or(Duration::ZERO, |arrived| arrived - start);
            }
            let arrives = self.flying.first_key_value().map(|((at, _), _)| *at);
            let due = self.gateway.poll_timeout();
            self.now = arrives.into_iter().chain(due).chain([self.again]).min().unwrap_or(self.now).max(self.now);
            if due.is_some_and(|due| due <= self.now) {
                self.timeouts += 1;
                let acknowledged = self.gateway.acknowledged();
                let before = if self.in_vain.1 == acknowledged { self.in_vain.0 } else { 0 };
                self.in_vain = (before + 1, acknowledged);
                self.told.fill(false);
                assert!(self.gateway.handle_timeout(self.now), "the guest is there");
            }
            while let Some(arrived) = self.flying.first_entry().filter(|first| first.key().0 <= self.now) {
                let (to_gateway, segment, payload) = arrived.remove();
                match to_gateway {
                    true => self.gateway_hears(&segment, &payload),
                    false => self.guest_hears(&segment, &payload),
                }
            }
        }
        panic!("no end: {} of {} bytes", self.down.whole(), self.down.there.len());
    }
}

const CLEAN: Way = Way { loses: 0, doubles: 0, overtakes: 0 };

#[test]
fn a_clean_way_takes_every_byte_once() {
    for sacks in [false, true] {
        let mut lab = Lab::new(7, CLEAN, sacks, (30_000, 30_000));
        lab.run();
        assert_eq!((lab.bytes, lab.timeouts), (30_000, 0));
    }
}

/// One loss in sixteen: a guest with SACK waits less, and gets less twice.
#[test]
fn a_guest_that_says_what_it_has_is_served_sooner() {
    let sum = |sacks| {
        let way = Way { loses: 16, ..CLEAN };
        let runs = (0..10).map(|seed| {
            let mut lab = Lab::new(seed * 2 + 1, way, sacks, (20_000, 0));
            (lab.run(), lab.bytes, lab.timeouts)
        });
        runs.fold((Duration::ZERO, 0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1, sum.2 + run.2))
    };
    let (plain, told) = (sum(false), sum(true));
    assert!(told.0 < plain.0 && told.1 < plain.1 && told.2 < plain.2, "{told:?}, {plain:?}");
}

/// One segment or its acknowledgement is lost ten times in a row.
#[test]
fn a_way_that_loses_a_fifth_is_no_dead_one() {
    let way = Way { loses: 51, doubles: 2, overtakes: 30 };
    Lab::new(17_258_122_361_336_478_324, way, true, (1401, 6201)).run();
}

proptest! {
    #[test]
    fn streams_arrive_whatever_the_way_does(seed: u64, loses in 0u8..60, doubles in 0u8..60, overtakes in 0u8..120,
                                            sacks: bool, down in 0usize..12_000, up in 0usize..12_000) {
        Lab::new(seed, Way { loses, doubles, overtakes }, sacks, (down, up)).run();
    }
}
