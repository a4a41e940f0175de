//! Bytes a second between two endpoints in memory: one direction, frames handed over as they come, at two MTUs and
//! with one or many connections on the endpoints. Time is virtual; what is measured is the work.

use std::net::SocketAddr;

use divan::Bencher;
use divan::counter::BytesCount;
use zbridge::service::endpoint::{ConnId, Endpoint, EndpointConfig, Event};
use zbridge::time::{Duration, Instant};
use zbridge::wire::Mac;

/// Bytes sent in one round.
const BYTES: usize = 8 << 20;
/// Frames taken at a time, as a batching port does.
const BATCH: usize = 64;

fn main() {
    divan::main();
}

/// Two endpoints joined, and the buffer that frames cross in.
struct Pair {
    hosts: [Endpoint; 2],
    now: Instant,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pair {
    fn new(mtu: u16) -> Self {
        let host = |last: u8| {
            let mut config =
                EndpointConfig::new(Mac([2, 0, 0, 0, 0, last]), vec![format!("192.0.2.{last}/24").parse().unwrap()]);
            config.mtu = mtu;
            config.seed = last.into();
            config.limits.connections = 2000;
            config.limits.per_source = 2000;
            Endpoint::new(&config).unwrap()
        };
        let mut pair =
            Self { hosts: [host(1), host(2)], now: Instant::from_secs(10), bytes: Vec::new(), ends: Vec::new() };
        pair.hosts[1].listen(1, 2000).unwrap();
        pair.settle();
        pair
    }

    /// Hands over one batch from each host. Returns how many frames it was.
    fn step(&mut self) -> usize {
        let mut frames = 0;
        self.now += Duration::from_micros(10);
        for from in 0..2 {
            self.bytes.clear();
            self.ends.clear();
            let (bytes, ends) = (&mut self.bytes, &mut self.ends);
            self.hosts[from].poll_transmit(self.now, BATCH, &mut |frame| {
                bytes.extend_from_slice(frame);
                ends.push(bytes.len());
            });
            let mut start = 0;
            for end in self.ends.drain(..) {
                self.hosts[1 - from].handle_frame(self.now, &self.bytes[start..end]);
                start = end;
                frames += 1;
            }
        }
        frames
    }

    fn settle(&mut self) {
        while self.step() > 0 {}
    }

    /// A new connection: the names that both hosts have for it.
    fn connect(&mut self) -> (ConnId, ConnId) {
        let ours = self.hosts[0].connect(self.now, SocketAddr::from(([192, 0, 2, 2], 1))).unwrap();
        self.settle();
        let accepted = std::iter::from_fn(|| self.hosts[1].poll_event()).find_map(|event| match event {
            Event::Accepted { conn, .. } => Some(conn),
            _ => None,
        });
        (ours, accepted.unwrap())
    }

    /// Sends [`BYTES`] over a connection.
    fn transfer(&mut self, (from, to): (ConnId, ConnId), block: &[u8]) {
        let (mut sent, mut received) = (0, 0);
        while received < BYTES {
            let rest = block.len().min(BYTES - sent);
            sent += self.hosts[0].send(from, &block[..rest]);
            self.step();
            while self.hosts[1].poll_event().is_some() {}
            while self.hosts[0].poll_event().is_some() {}
            loop {
                let taken = self.hosts[1].recv(to, |data| data.len());
                if taken == 0 {
                    break;
                }
                received += taken;
            }
        }
    }
}

#[divan::bench(args = [1500, 9000])]
fn one_connection(bencher: Bencher<'_, '_>, mtu: u16) {
    let mut pair = Pair::new(mtu);
    let conn = pair.connect();
    let block = vec![0x5a; 256 << 10];
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| pair.transfer(conn, &block));
}

/// The same over one connection while others are there and idle: the cost of a frame must stay the same.
#[divan::bench(args = [10, 100, 1000])]
fn beside_idle_connections(bencher: Bencher<'_, '_>, others: usize) {
    let mut pair = Pair::new(1500);
    for _ in 0..others {
        pair.connect();
    }
    let conn = pair.connect();
    let block = vec![0x5a; 256 << 10];
    bencher.counter(BytesCount::new(BYTES)).bench_local(|| pair.transfer(conn, &block));
}
