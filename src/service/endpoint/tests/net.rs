//! Two endpoints on a wire that loses, repeats, delays and reorders frames as a seed says, under a virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;

use foldhash::fast::FixedState;
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, Ipv4Packet};

use crate::service::endpoint::{ConnId, Endpoint, EndpointConfig, Event, ListenerId};
use crate::time::{Duration, Instant, earliest};
use crate::wire::Mac;

/// The port that host 1 listens on.
pub const PORT: u16 = 3240;

/// Faults of the wire.
#[derive(Clone, Copy)]
pub struct Faults {
    /// Lost frames, of a thousand.
    pub loss: u64,
    /// Duplicated frames, of a thousand.
    pub repeat: u64,
    /// Shortest time on the wire.
    pub delay: Duration,
    /// A frame takes up to this much longer: more than a gap between frames reorders them.
    pub jitter: Duration,
}

impl Faults {
    pub const NONE: Self = Self { loss: 0, repeat: 0, delay: Duration::from_micros(50), jitter: Duration::ZERO };
}

/// A generator of numbers (SplitMix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// A frame on the wire: when it arrives, its number, to whom, its bytes.
type Flight = (Instant, u64, usize, Vec<u8>);

/// See the module.
pub struct Net {
    pub hosts: [Endpoint; 2],
    pub now: Instant,
    pub faults: Faults,
    /// A host whose frames, in and out, are lost: it is dead.
    pub dead: Option<usize>,
    pub events: [Vec<Event>; 2],
    /// Frames given to the wire, by sender.
    pub frames: [u64; 2],
    /// Longest frame given to the wire.
    pub longest: usize,
    /// A hash over every frame and its time.
    pub trace: u64,
    /// A hop on the wire carries packets of this many bytes, and says so of longer ones.
    pub hop: Option<u16>,
    /// The ICMP message comes from a station that packets do not go to.
    pub strange: bool,
    /// Keeps every frame, when set.
    pub record: Option<Vec<(usize, Vec<u8>)>>,
    rng: Rng,
    order: u64,
    wire: BinaryHeap<Reverse<Flight>>,
}

/// The configuration of host 0 or 1: 192.0.2.N and 2001:db8::N, MAC 02:00:5e:00:53:0N, N one higher than the host.
pub fn config(host: usize, seed: u64) -> EndpointConfig {
    let last = host as u8 + 1;
    let addrs = vec![format!("192.0.2.{last}/24").parse().unwrap(), format!("2001:db8::{last}/64").parse().unwrap()];
    let mut config = EndpointConfig::new(Mac([2, 0, 0x5e, 0, 0x53, last]), addrs);
    config.seed = seed + host as u64;
    config
}

/// ICMP "too big" for a frame, with the frame's destination as the source.
fn too_big(frame: &[u8], mtu: u16) -> Vec<u8> {
    let (packet, six) = (&frame[14..], frame[14] >> 4 == 6);
    let quote = &packet[..60];
    let [m0, m1] = mtu.to_be_bytes();
    let head = if six { [2, 0, 0, 0, 0, 0, m0, m1] } else { [3, 4, 0, 0, 0, 0, m0, m1] };
    let mut message = [&head, quote].concat();
    let length = message.len() as u8;
    let mut header;
    if six {
        let (src, dst) = (packet[24..40].try_into().unwrap(), packet[8..24].try_into().unwrap());
        let (src, dst) = (std::net::Ipv6Addr::from_octets(src), std::net::Ipv6Addr::from_octets(dst));
        Icmpv6Packet::new_unchecked(&mut message).fill_checksum(&src, &dst);
        header = [&[0x60, 0, 0, 0, 0, length, 58, 64], &packet[24..40], &packet[8..24]].concat();
    } else {
        Icmpv4Packet::new_unchecked(&mut message).fill_checksum();
        header = [&[0x45, 0, 0, 20 + length, 0, 0, 0, 0, 64, 1, 0, 0], &packet[16..20], &packet[12..16]].concat();
        Ipv4Packet::new_unchecked(&mut header).fill_checksum();
    }
    [&frame[6..12], &frame[..6], &frame[12..14], &header, &message].concat()
}

impl Net {
    /// Two hosts of [`config`]; the seed is printed.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::with(seed, faults, |_| {})
    }

    /// The same, each configuration altered first.
    pub fn with(seed: u64, faults: Faults, alter: impl Fn(&mut EndpointConfig)) -> Self {
        println!("seed {seed}");
        let hosts = [0, 1].map(|host| {
            let mut config = config(host, seed);
            alter(&mut config);
            Endpoint::new(&config).unwrap()
        });
        Self {
            hosts,
            now: Instant::ZERO,
            faults,
            dead: None,
            events: Default::default(),
            frames: [0; 2],
            longest: 0,
            trace: 0,
            hop: None,
            strange: false,
            record: None,
            rng: Rng(seed),
            order: 0,
            wire: BinaryHeap::new(),
        }
    }

    /// Runs until `done` says so, at most for `span`. Returns whether it did. `done` is asked after every instant.
    pub fn run(&mut self, span: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let deadline = self.now + span;
        loop {
            self.collect();
            if done(self) {
                return true;
            }
            self.transmit();
            let wire = self.wire.peek().map(|Reverse((at, ..))| *at);
            let hosts = earliest(self.hosts[0].poll_timeout(), self.hosts[1].poll_timeout());
            let Some(next) = earliest(wire, hosts).filter(|next| *next <= deadline) else {
                self.now = deadline;
                return false;
            };
            self.now = self.now.max(next);
            self.deliver();
        }
    }

    /// Lets `span` pass.
    pub fn pass(&mut self, span: Duration) {
        self.run(span, |_| false);
    }

    pub fn collect(&mut self) {
        for (host, events) in self.hosts.iter_mut().zip(&mut self.events) {
            while let Some(event) = host.poll_event() {
                events.push(event);
            }
        }
    }

    fn transmit(&mut self) {
        for host in 0..2 {
            let mut frames = Vec::new();
            while self.hosts[host].poll_transmit(self.now, 64, &mut |frame| frames.push(frame.to_vec())) > 0 {}
            for frame in frames {
                self.send(host, frame);
            }
        }
    }

    fn send(&mut self, from: usize, frame: Vec<u8>) {
        self.frames[from] += 1;
        self.longest = self.longest.max(frame.len());
        let mut hasher = FixedState::with_seed(self.trace).build_hasher();
        hasher.write_u64(self.now.as_nanos());
        hasher.write(&frame);
        self.trace = hasher.finish();
        if let Some(record) = &mut self.record {
            record.push((from, frame.clone()));
        }
        if let Some(mtu) = self.hop.filter(|mtu| frame.len() > 14 + usize::from(*mtu)) {
            self.order += 1;
            let mut message = too_big(&frame, mtu);
            if self.strange {
                message[6..12].copy_from_slice(&[2, 0, 0x5e, 0, 0x53, 77]);
            }
            self.wire.push(Reverse((self.now + self.faults.delay, self.order, from, message)));
            return;
        }
        let copies = 1 + u64::from(self.rng.below(1000) < self.faults.repeat);
        for _ in 0..copies {
            let lost = self.rng.below(1000) < self.faults.loss;
            let jitter = Duration::from_nanos(self.rng.below(self.faults.jitter.as_nanos() as u64));
            if !lost && self.dead.is_none() {
                self.order += 1;
                self.wire.push(Reverse((self.now + self.faults.delay + jitter, self.order, 1 - from, frame.clone())));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(Reverse((at, ..))) = self.wire.peek()
            && *at <= self.now
        {
            let Some(Reverse((_, _, to, frame))) = self.wire.pop() else { return };
            if self.dead.is_none() {
                self.hosts[to].handle_frame(self.now, &frame);
            }
        }
    }

    /// Host 1 listens.
    pub fn listen(&mut self) -> ListenerId {
        self.hosts[1].listen(PORT, 128).unwrap()
    }

    /// Host 0 connects to host 1, over IPv6 if so wished. Returns both names.
    pub fn connect(&mut self, v6: bool) -> (ConnId, ConnId) {
        let remote: SocketAddr =
            if v6 { ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], PORT).into() } else { ([192, 0, 2, 2], PORT).into() };
        let conn = self.hosts[0].connect(self.now, remote).unwrap();
        let mut accepted = None;
        let done = self.run(Duration::from_secs(30), |net| {
            accepted = accepted.or_else(|| {
                net.take(1, |event| match event {
                    Event::Accepted { conn, .. } => Some(conn),
                    _ => None,
                })
            });
            accepted.is_some() && net.take(0, |event| (event == Event::Connected(conn)).then_some(())).is_some()
        });
        assert!(done, "not connected");
        (conn, accepted.unwrap())
    }

    /// Takes the first event of `host` that `pick` wants.
    pub fn take<R>(&mut self, host: usize, mut pick: impl FnMut(Event) -> Option<R>) -> Option<R> {
        let at = self.events[host].iter().position(|event| pick(*event).is_some())?;
        pick(self.events[host].remove(at))
    }

    /// Waits for an event of `host`.
    pub fn wait(&mut self, host: usize, span: Duration, wanted: Event) -> bool {
        self.run(span, |net| net.take(host, |event| (event == wanted).then_some(())).is_some())
    }

    /// Reads everything that `conn` of `host` has.
    pub fn read(&mut self, host: usize, conn: ConnId) -> Vec<u8> {
        let mut data = Vec::new();
        while self.hosts[host].recv(conn, |chunk| {
            data.extend_from_slice(chunk);
            chunk.len()
        }) > 0
        {}
        data
    }
}
