//! The switch under any order of calls: every frame and every copy stays accounted for.

use super::Input;
use zbridge::counters::{Counters, DropReason, Stage};
use zbridge::frame::{Batch, MAX_FRAME, Outgoing, PREFIX, PortId};
use zbridge::internals::wire::longest;
use zbridge::switch::{Flush, PortConfig, Switch, SwitchConfig, Taken, Transmit};
use zbridge::time::{Duration, Instant};
use zbridge::wire::{Checksum, Gso, Mac, Offload};

/// More than this many operations find nothing that fewer do not.
const OPERATIONS: usize = 300;
const PORTS: usize = 8;

/// Two bytes of settings, then operations: one byte that says which, and what it wants.
pub fn switch(data: &[u8]) {
    let mut input = Input(data);
    let settings = SwitchConfig::with(|switch| {
        switch.ageing = Duration::from_secs(10);
        switch.fdb_limit = usize::from(input.byte() % 64);
        switch.fdb_port_limit = Some(usize::from(input.byte() % 64)).filter(|limit| *limit > 0);
        // Also so little that the queues have to share it.
        switch.queue_limit = 6000 << (input.0.len() % 4 * 5);
        switch.seed = 1;
    });
    let mut bench = Bench {
        switch: Switch::new(&settings),
        edges: Edges { room: [0; PORTS], configs: vec![None; PORTS], drops: false },
        batch: Batch::new(8 * (PREFIX + 2048)),
        now: Instant::ZERO,
        out: Vec::new(),
    };
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        bench.operate(&mut input);
        bench.balance();
        assert!(bench.switch.fdb(bench.now).count() <= settings.fdb_limit.max(1));
    }
    for index in 0..PORTS {
        bench.remove(PortId(index as u16));
    }
    assert_eq!((bench.switch.fdb(bench.now).count(), bench.switch.poll_timeout()), (0, None));
}

struct Bench {
    switch: Switch,
    edges: Edges,
    batch: Batch,
    now: Instant,
    out: Vec<u8>,
}

impl Bench {
    fn operate(&mut self, input: &mut Input<'_>) {
        let (operation, argument) = (input.byte(), input.byte());
        let port = PortId(u16::from(argument) % PORTS as u16);
        match operation % 16 {
            0 => self.add(argument, input),
            1 => self.remove(port),
            2 => self.switch.set_up(self.now, port, argument & 0x80 == 0),
            3..=6 => self.breathe(port, input),
            7 => self.switch.handle_frame(self.now, port, &frame(input)),
            8 => self.edges.room[port.index()] = usize::from(input.byte()),
            9 => self.flush(port),
            10 => self.now += Duration::from_millis(u64::from(argument) * u64::from(argument)),
            11 => self.time_out(),
            12 => drop(self.switch.add_static(self.now, mac(argument), PortId(u16::from(input.byte()) % PORTS as u16))),
            13 => drop(self.switch.forget(mac(argument))),
            14 => self.edges.drops = argument & 1 == 1,
            _ => {
                if let Some(port) = self.switch.poll_transmit(&mut self.out) {
                    assert!(self.out.len() <= MAX_FRAME && self.switch.counters(port).is_some());
                }
            }
        }
        while self.switch.poll_event().is_some() {}
        while let Some(port) = self.switch.poll_resumed() {
            assert!(!self.switch.is_paused(port));
        }
    }

    fn add(&mut self, bits: u8, input: &mut Input<'_>) {
        if self.switch.ports().count() == PORTS {
            return;
        }
        let config = PortConfig::with(|port| {
            port.learn = bits & 1 == 0;
            port.isolate = bits & 2 != 0;
            port.guard = bits & 32 != 0;
            port.mtu = (bits & 4 != 0).then(|| u32::from(input.byte()));
            port.queue = usize::from(input.byte());
            port.pausable = bits & 8 != 0;
            port.offload = bits & 16 != 0;
            port.renames = bits & 64 != 0;
        });
        let id = self.switch.add_port(config.clone()).expect("there are few");
        self.edges.configs[id.index()] = Some(config);
    }

    fn remove(&mut self, port: PortId) {
        let known = self.edges.configs[port.index()].take().is_some();
        let counters = self.switch.remove_port(self.now, port);
        assert_eq!(counters.is_some(), known);
        if let Some(counters) = counters {
            account(&counters, 0);
        }
        assert!(self.switch.fdb(self.now).all(|entry| entry.port != port));
    }

    /// Several frames at once, most of them by one port.
    fn breathe(&mut self, port: PortId, input: &mut Input<'_>) {
        self.batch.clear();
        for _ in 0..=input.byte() % 8 {
            let bits = input.byte();
            let ingress = if bits & 0xf0 == 0xf0 { PortId(u16::from(bits) % PORTS as u16) } else { port };
            let offload = if bits & 8 == 0 { Offload::NONE } else { offload(input) };
            self.batch.push(&frame(input), ingress, offload);
        }
        self.switch.run(self.now, &self.batch, &mut self.edges);
        self.switch.speak(self.now, &mut self.edges);
    }

    fn flush(&mut self, port: PortId) {
        let outcome = self.switch.flush(self.now, port, &mut self.edges);
        let waits = self.switch.state(port).is_some_and(|state| state.queued > 0);
        assert_eq!(outcome != Flush::Empty, waits);
    }

    fn time_out(&mut self) {
        if let Some(due) = self.switch.poll_timeout() {
            self.now = self.now.max(due);
        }
        self.switch.handle_timeout(self.now);
        assert!(self.switch.poll_timeout().is_none_or(|due| due > self.now));
    }

    fn balance(&self) {
        for id in self.switch.ports() {
            let counters = self.switch.counters(id).expect("a port counts");
            account(counters, self.switch.state(id).expect("a port has a state").queued);
        }
    }
}

/// The accounting that holds for each port at every moment.
fn account(counters: &Counters, queued: usize) {
    assert_eq!(counters.rx_frames, counters.forwarded + counters.dropped_at(Stage::Ingress));
    assert_eq!(counters.copies, counters.tx_frames + queued as u64 + counters.dropped_at(Stage::Egress));
}

/// A station of few, so that they meet again.
fn mac(bits: u8) -> Mac {
    match bits % 32 {
        0 => Mac::BROADCAST,
        1 => Mac([0x01, 0x80, 0xc2, 0, 0, bits >> 5]),
        2 => Mac([0x33, 0x33, 0, 0, 0, bits]),
        3 => Mac([0; 6]),
        low => Mac([2, 0, 0x5e, 0, bits >> 5, low]),
    }
}

/// A frame between two stations of few, or any bytes.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let (dst, src) = (input.byte(), input.byte());
    if dst == 0xff {
        return input.piece().to_vec();
    }
    if dst == 0xfe {
        return talk(mac(src), input);
    }
    let stretch = if src & 0x80 == 0 { 0 } else { usize::from(dst) * 8 };
    let mut frame = [&mac(dst).0, &mac(src & 0x7f).0, input.piece()].concat();
    frame.resize(frame.len() + stretch, dst);
    frame
}

/// What stations with few addresses say to each other: ARP, or a packet to one.
fn talk(from: Mac, input: &mut Input<'_>) -> Vec<u8> {
    let (kind, to) = (input.byte(), mac(input.byte()));
    let [own, other] = [0, 1].map(|_| [10, 0, 0, input.byte() % 8]);
    match kind % 4 {
        0..=2 => {
            let head = [0, 1, 8, 0, 6, 4, 0, 1 + kind % 2];
            [&to.0, &from.0, &[8, 6][..], &head, &from.0, &own, &to.0, &other].concat()
        }
        _ => [&to.0, &from.0, &[8, 0, 0x45][..], &[0; 11], &own, &other, input.piece()].concat(),
    }
}

fn offload(input: &mut Input<'_>) -> Offload {
    let bits = input.byte();
    let ecn = bits & 0x80 != 0;
    let gso = [Gso::None, Gso::Tcp4 { ecn }, Gso::Tcp6 { ecn }, Gso::Udp][usize::from(bits & 3)];
    let checksum = match bits & 12 {
        0 => Checksum::None,
        4 => Checksum::Valid,
        _ => Checksum::Partial { start: input.byte().into(), offset: input.byte().into() },
    };
    Offload { gso, gso_size: if gso == Gso::None { 0 } else { input.word() }, header_len: 0, checksum }
}

/// Descriptors that take so many frames each, and drop or send them.
struct Edges {
    room: [usize; PORTS],
    configs: Vec<Option<PortConfig>>,
    drops: bool,
}

impl Transmit for Edges {
    fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        assert!(!out.is_empty(), "nobody is asked to send nothing");
        let config = self.configs[port.index()].as_ref().expect("a port that there is");
        for (frame, bytes) in out.frames() {
            assert_eq!(frame.len(), bytes.len());
            assert!(config.offload || frame.offload.is_plain());
            let len = match frame.offload.gso {
                Gso::None => Some(bytes.len()),
                _ => longest(bytes, &frame.offload),
            };
            let room = config.mtu.map(|mtu| mtu as usize + 14 + 8);
            assert!(len <= room || len.is_none() || room.is_none(), "{len:?} of {room:?} bytes");
        }
        let with_prefixes: usize = out.frames().map(|(frame, _)| PREFIX + frame.len()).sum();
        assert_eq!(out.runs().map(<[u8]>::len).sum::<usize>(), with_prefixes);

        let room = &mut self.room[port.index()];
        let frames = out.len().min(*room);
        *room -= frames;
        let bytes: usize = (0..frames).map(|position| out.bytes(position).len()).sum();
        if self.drops {
            counters.drop(DropReason::System, frames as u64);
        } else {
            counters.sent(frames as u64, bytes as u64);
        }
        Taken { frames }
    }
}
