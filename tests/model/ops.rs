//! What a seed stands for: the settings of a switch and the operations that it goes through.
//!
//! Operations are plain data that do not depend on what came of the ones before, so that any of them can be left out
//! when a failure is made small.

use std::time::Duration;
use zbridge::switch::{PortConfig, SwitchConfig};

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and good for any seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A frame in words. Its bytes are a function of this alone, and no two are alike because of `serial`.
#[derive(Clone, Debug)]
pub struct FrameSpec {
    pub ingress: u16,
    pub dst: u64,
    pub src: u64,
    pub len: usize,
    /// What stands where a VLAN tag's TPID may stand, one every four bytes.
    pub tpids: Vec<u16>,
    /// A super-frame whose segmentation is not done.
    pub gso: bool,
    pub serial: u32,
}

impl FrameSpec {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.truncate(self.len);
        let fill = vec![self.serial as u8; self.len - bytes.len()];
        bytes.extend_from_slice(&fill);
        bytes
    }

    fn head(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len.max(40));
        bytes.extend_from_slice(&self.dst.to_be_bytes()[2..]);
        bytes.extend_from_slice(&self.src.to_be_bytes()[2..]);
        for tpid in &self.tpids {
            bytes.extend_from_slice(&tpid.to_be_bytes());
            bytes.extend_from_slice(&[0x20, 0x05]);
        }
        bytes.extend_from_slice(&[0x88, 0xb5]);
        bytes.extend_from_slice(&self.serial.to_be_bytes());
        bytes
    }
}

/// A bad line without chance: each Nth frame or every one is lost, the others are held, so many at a time.
#[derive(Clone, Debug)]
pub struct Bad {
    pub nth: u64,
    pub all: bool,
    pub delay: Duration,
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub enum Op {
    AddPort {
        config: PortConfig,
        room: usize,
    },
    RemovePort(u16),
    SetUp(u16, bool),
    /// Pulls its cable, or plugs it in.
    Pull(u16, bool),
    /// Two groups each, between which nothing passes, and whether that is one way.
    Cuts(Vec<(Vec<u16>, Vec<u16>, bool)>),
    /// Monitor, source, and whether it gets what that sends and what that is sent.
    Mirrors(Vec<(u16, u16, [bool; 2])>),
    /// What becomes of what the port sends, or (true) is sent.
    Impair(u16, bool, Bad),
    Static(u64, u16),
    Forget(u64),
    Wait(Duration),
    /// All in one batch through `run`.
    Batch(Vec<FrameSpec>),
    /// One through `handle_frame`.
    Single(FrameSpec),
    /// From now on the port's descriptor takes so many frames, and then no more.
    Room(u16, usize),
    /// From now on what the descriptor takes is lost there (or not any more).
    Broken(u16, bool),
    Flush(u16),
    Timeout,
    /// Asks who may go on.
    Resumed,
    /// Takes up to so many frames with `poll_transmit`.
    Poll(usize),
    /// A station that is heard again and again until it is learned, which it must be if there is room.
    Insist(u16, u64),
}

pub struct Scenario {
    pub config: SwitchConfig,
    pub ops: Vec<Op>,
}

/// What kind of life a seed leads.
struct Character {
    /// Port numbers that operations name; some may not exist.
    ports: usize,
    stations: u64,
    /// Super-frames pass; all ports take them.
    offload: bool,
    /// Frames so long that the queues' bound in bytes counts.
    heavy: bool,
    /// Lines may be bad: tables and memory have room for all of it.
    bad: bool,
    ageing: Duration,
    serial: u32,
}

const MTUS: [u32; 5] = [0, 46, 60, 100, 1500];
const GROUPS: [u64; 8] = [
    0xffff_ffff_ffff,
    0x0100_5e00_0001,
    0x3333_0000_0001,
    0x0180_c200_0000,
    0x0180_c200_000e,
    0x0180_c200_000f,
    0x0180_c200_0010,
    0x0180_c200_0100,
];

impl Scenario {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let tight = rng.percent(30);
        let heavy = rng.below(200) == 0;
        let wide = !heavy && rng.below(100) == 0;
        let mut of = Character {
            ports: if heavy {
                2
            } else if wide {
                40
            } else {
                2 + rng.below(6)
            },
            stations: if tight { 24 } else { 8 },
            offload: rng.percent(10),
            heavy,
            bad: false,
            ageing: Duration::from_secs(rng.pick(&[1, 10, 10, 300, 300, 1_000_000])),
            serial: 0,
        };
        let config = SwitchConfig::with(|switch| {
            switch.ageing = of.ageing;
            switch.fdb_limit = if tight { 1 + rng.below(14) } else { 65_536 };
            switch.fdb_port_limit = rng.percent(70).then(|| if tight { 1 + rng.below(6) } else { 1000 });
            // Mostly more than all queues take; or so little that they have to share it.
            switch.queue_limit =
                if heavy { rng.pick(&[64 << 20, 3 << 20]) } else { rng.pick(&[64 << 20, 64 << 20, 20_000]) };
            switch.seed = rng.next();
        });
        of.bad = !tight && !heavy && !of.offload && config.queue_limit == 64 << 20;
        let first = if heavy { 2 } else { 1 + rng.below(of.ports) };
        let mut ops: Vec<Op> = (0..first).map(|_| of.add_port(&mut rng)).collect();
        let length = 10 + rng.below(60);
        ops.extend((0..length).map(|_| of.op(&mut rng)));
        Self { config, ops }
    }
}

impl Character {
    fn op(&mut self, rng: &mut Rng) -> Op {
        if rng.percent(12) {
            return self.harm(rng);
        }
        match rng.below(100) {
            0..36 => self.batch(rng),
            36..52 => Op::Single(self.frame(rng)),
            52..60 => Op::Poll(if rng.percent(50) { 1000 } else { rng.below(10) }),
            60..67 => Op::Flush(self.port(rng)),
            67..73 => Op::Room(self.port(rng), self.room(rng)),
            73..74 => Op::Broken(self.port(rng), rng.percent(50)),
            74..78 => Op::Timeout,
            78..79 => Op::Resumed,
            79..87 => Op::Wait(self.wait(rng)),
            87..91 => Op::SetUp(self.port(rng), rng.percent(65)),
            91..93 => self.add_port(rng),
            93..94 => Op::RemovePort(self.port(rng)),
            94..96 => Op::Static(self.station(rng), self.port(rng)),
            96..98 => Op::Forget(self.station(rng)),
            _ => Op::Insist(self.port(rng), self.unicast(rng)),
        }
    }

    /// What befalls a network.
    fn harm(&self, rng: &mut Rng) -> Op {
        match rng.below(6) {
            0 | 1 => Op::Pull(self.port(rng), rng.percent(40)),
            2 => Op::Cuts((0..rng.below(3)).map(|_| (self.group(rng), self.group(rng), rng.percent(40))).collect()),
            3 => {
                let one = |rng: &mut Rng| (self.port(rng), self.port(rng), [rng.percent(60), rng.percent(60)]);
                Op::Mirrors((0..rng.below(4)).map(|_| one(rng)).collect())
            }
            _ if self.bad => {
                let delay = rng.pick(&[0, 0, 1, 4, 70, 2000]);
                let (nth, limit) = (rng.pick(&[0, 0, 2, 3]), rng.pick(&[0, 1, 3, 1000, 1000]));
                let bad = Bad { nth, all: rng.percent(10), delay: Duration::from_millis(delay), limit };
                Op::Impair(self.port(rng), rng.percent(50), bad)
            }
            _ => Op::Timeout,
        }
    }

    fn group(&self, rng: &mut Rng) -> Vec<u16> {
        (0..self.ports as u16).filter(|_| rng.percent(40)).collect()
    }

    fn add_port(&mut self, rng: &mut Rng) -> Op {
        let config = PortConfig::with(|port| {
            port.learn = rng.percent(85);
            port.isolate = rng.percent(20);
            port.mtu = (!self.heavy && rng.percent(35)).then(|| rng.pick(&MTUS));
            port.queue = if self.heavy { 2000 } else { rng.pick(&[1, 2, 4, 9, 20, 64, 400]) };
            port.pausable = rng.percent(60);
            port.offload = self.offload || rng.percent(20);
        });
        Op::AddPort { config, room: self.room(rng) }
    }

    fn room(&self, rng: &mut Rng) -> usize {
        match rng.below(4) {
            0 => 0,
            1 => rng.below(30),
            _ if self.heavy => 100 + rng.below(200),
            _ => 1_000_000,
        }
    }

    fn port(&self, rng: &mut Rng) -> u16 {
        rng.below(self.ports) as u16
    }

    fn wait(&self, rng: &mut Rng) -> Duration {
        let some = [
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_millis(4),
            Duration::from_millis(5),
            Duration::from_millis(70),
            Duration::from_secs(1),
            Duration::from_secs(11),
            self.ageing / 2,
            self.ageing,
            self.ageing + Duration::from_millis(68),
        ];
        rng.pick(&some) + Duration::from_nanos(rng.below(1000) as u64)
    }

    fn unicast(&self, rng: &mut Rng) -> u64 {
        0x0200_5e00_5300 + rng.next() % self.stations
    }

    /// Any address at all: mostly a station's, sometimes a group's, now and then zero.
    fn station(&self, rng: &mut Rng) -> u64 {
        match rng.below(20) {
            0 => 0,
            1..4 => rng.pick(&GROUPS),
            _ => self.unicast(rng),
        }
    }

    fn batch(&mut self, rng: &mut Rng) -> Op {
        let len = if self.heavy { 30 } else { rng.pick(&[0, 1, 2, 3, 5, 8, 13, 33, 40]) };
        let mut frames: Vec<FrameSpec> = Vec::new();
        for _ in 0..len {
            let mut frame = self.frame(rng);
            if let Some(last) = frames.last().filter(|_| rng.percent(60)) {
                // A conversation: the same stations once more.
                (frame.ingress, frame.dst, frame.src) = (last.ingress, last.dst, last.src);
            }
            frames.push(frame);
        }
        Op::Batch(frames)
    }

    fn frame(&mut self, rng: &mut Rng) -> FrameSpec {
        self.serial += 1;
        let tpids: Vec<u16> = (0..rng.pick(&[0, 0, 0, 0, 1, 1, 2, 3]))
            .map(|_| rng.pick(&[0x8100, 0x8100, 0x88a8, 0x9100, 0x9200]))
            .collect();
        let len = match rng.below(20) {
            0 => rng.below(14),
            1..12 => 14 + rng.below(60),
            12..19 => (14 + rng.pick(&MTUS) as usize + 4 * rng.below(4) + rng.below(3)).saturating_sub(1),
            _ if self.heavy => 65_535,
            _ => 14 + rng.below(2000),
        };
        let len = if self.heavy && rng.percent(90) { 50_000 + rng.below(15_000) } else { len };
        FrameSpec {
            ingress: self.port(rng),
            dst: self.station(rng),
            src: self.station(rng),
            len,
            tpids,
            gso: self.offload && rng.percent(30),
            serial: self.serial,
        }
    }
}
