//! A client that does anything that is allowed, at random, over a connection that cuts and delays at random. The client
//! itself holds the server to the rules of seqnums, lengths and UNLINK; this file adds that nothing is lost, repeated
//! or put out of order by the loop of gadget zero, and that in the end nothing is left. All of it holds as well with a
//! splitter in between, and then the server sees nothing long.

use super::*;
use crate::usb::class::loopback as gadget_zero;
use std::collections::{BTreeMap, VecDeque};

/// xorshift64*: the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// What became of an OUT transfer whose data can be told apart: every word is its number and its place.
struct Sent {
    words: u32,
    unlinked: bool,
}

struct World {
    random: Random,
    server: Server,
    peer: Peer,
    /// Bytes under way, each direction.
    there: VecDeque<u8>,
    back: VecDeque<u8>,
    sent: Vec<Sent>,
    outputs: BTreeMap<u32, usize>,
    received: Vec<u8>,
    unlinked: usize,
    ended: usize,
    /// In parts of so many bytes.
    splitter: Option<(Splitter, u32)>,
    seen: Decoder,
}

impl World {
    fn new(seed: u64, part: Option<u32>) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut server = server();
        let dialect = if random.below(2) == 0 { Dialect::Linux } else { Dialect::Windows };
        let mut peer = Peer::connect(&mut server, dialect, u32::MAX - random.below(200) as u32);
        peer.client.import("1-1");
        peer.exchange(&mut server);
        peer.client.submit(set_configuration(2));
        peer.exchange(&mut server);
        let (there, back) = (VecDeque::new(), VecDeque::new());
        let (sent, outputs, received) = (Vec::new(), BTreeMap::new(), Vec::new());
        let splitter = part.map(|part| (Splitter::new(part, Speed::High.into()), part));
        let seen = Decoder::default();
        Self { random, server, peer, there, back, sent, outputs, received, unlinked: 0, ended: 0, splitter, seen }
    }

    fn act(&mut self) {
        let stale = Setup::from_bytes((self.random.0).to_le_bytes());
        match self.random.below(11) {
            0..=3 => {
                let length = 4 * self.random.below(200) as u32;
                self.peer.client.submit(Urb { setup: stale, ..Urb::input(0, gadget_zero::LOOP, length) });
            }
            4..=6 => {
                let number = self.sent.len() as u32;
                let words = [3, 100, 3000][self.random.below(3)];
                let data = (0..words).flat_map(|at| (number << 16 | at).to_be_bytes()).collect();
                let urb = Urb { setup: stale, ..Urb::output(0, gadget_zero::LOOP, data) };
                self.outputs.insert(self.peer.client.submit(urb), self.sent.len());
                self.sent.push(Sent { words, unlinked: false });
            }
            7 => {
                let get = Setup { request_type: 0x80, request: 6, value: 0x0100, index: 0, length: 18 };
                self.peer.client.submit(Urb::control(0, get, vec![]));
            }
            8 => {
                let flying: Vec<_> = self.peer.client.in_flight().collect();
                if let Some(victim) = flying.get(self.random.below(flying.len().max(1))) {
                    self.peer.client.unlink(*victim);
                }
            }
            9 => {
                // As Linux may do it: the UNLINK overtakes its victim.
                self.there.extend(self.peer.client.transmit());
                let victim = self.peer.client.submit(Urb::input(0, gadget_zero::LOOP, 4));
                let late = self.peer.client.transmit();
                self.peer.client.unlink(victim);
                self.there.extend(self.peer.client.transmit());
                self.there.extend(late);
            }
            _ => _ = self.peer.client.unlink(self.random.below(1 << 31) as u32),
        }
    }

    /// Moves up to `most` bytes each way.
    fn carry(&mut self, most: usize) {
        self.there.extend(self.peer.client.transmit());
        let count = self.random.below(most).min(self.there.len());
        let part: Vec<u8> = self.there.drain(..count).collect();
        if self.server.wants_bytes(self.peer.id) {
            self.give(&part);
        } else {
            part.into_iter().rev().for_each(|byte| self.there.push_front(byte));
        }
        assert_eq!(self.server.closing(self.peer.id), None);
        let ready = self.server.transmit(NOW, self.peer.id);
        let count = self.random.below(most).min(ready.len());
        match &mut self.splitter {
            None => self.back.extend(&ready[..count]),
            Some((splitter, _)) => {
                splitter.handle_server(&ready[..count]).unwrap();
                while let Some(chunk) = splitter.to_client().take_first() {
                    self.back.extend(chunk);
                }
            }
        }
        self.server.transmitted(self.peer.id, count);
        self.give(&[]);
        let count = self.random.below(most).min(self.back.len());
        let part: Vec<u8> = self.back.drain(..count).collect();
        self.peer.client.handle_bytes(&part).unwrap();
        while let Some(event) = self.peer.client.poll_event() {
            self.learn(event);
        }
    }

    /// Hands bytes of the client over, and what the splitter has to say.
    fn give(&mut self, bytes: &[u8]) {
        let Some((splitter, part)) = &mut self.splitter else {
            return self.server.handle_bytes(NOW, self.peer.id, bytes);
        };
        splitter.handle_client(bytes).unwrap();
        while let Some(chunk) = splitter.to_server().take_first() {
            self.server.handle_bytes(NOW, self.peer.id, &chunk);
            let mut rest = chunk.as_slice();
            while let Some(command) = self.seen.decode(&mut rest, |_| None, Vec::new).unwrap() {
                assert!(
                    matches!(command, Command::Unlink(_))
                        || matches!(command, Command::Submit(it, _) if it.length <= *part)
                );
            }
        }
        while let Some(chunk) = splitter.to_client().take_first() {
            self.back.extend(chunk);
        }
    }

    fn learn(&mut self, event: Event) {
        match event {
            Event::Done(seqnum, status, urb) => {
                self.ended += 1;
                assert_eq!(status, 0, "{seqnum}");
                match self.outputs.remove(&seqnum) {
                    Some(_) => assert_eq!(urb.actual, urb.length),
                    None if urb.endpoint.number() == gadget_zero::LOOP => self.received.extend(urb.data),
                    None => assert!(urb.actual == 18),
                }
            }
            Event::Unlinked(_, victim, status) => {
                if status == -104
                    && let Some(number) = self.outputs.remove(&victim)
                {
                    self.sent[number].unlinked = true;
                }
                self.unlinked += usize::from(status == -104);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Empties the loop, then gives up what still waits.
    fn end(&mut self) {
        // In parts each takes a way there and back.
        let rounds = if self.splitter.is_some() { 6000 } else { 200 };
        for round in 0..rounds {
            while self.peer.client.in_flight().count() - self.outputs.len() < 8 && round < rounds / 2 {
                self.peer.client.submit(Urb::input(0, gadget_zero::LOOP, 65536));
            }
            self.carry(1 << 20);
        }
        for victim in self.peer.client.in_flight().collect::<Vec<_>>() {
            self.peer.client.unlink(victim);
        }
        for _ in 0..100 {
            self.carry(1 << 20);
        }
        assert_eq!((self.peer.client.in_flight().count(), self.peer.client.unlinks()), (0, 0));
        assert!(self.there.is_empty() && self.back.is_empty());
    }

    /// The words of each OUT transfer came back whole and in order; of one that was given up, its beginning.
    fn check(&self) {
        let words = self.received.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
        let mut counts = vec![0; self.sent.len()];
        let mut last = 0;
        for word in words {
            let (number, place) = ((word >> 16) as usize, word & 0xffff);
            assert!(number >= last, "transfer {number} after {last}");
            assert_eq!(place, counts[number], "in transfer {number}");
            counts[number] += 1;
            last = number;
        }
        for (number, (sent, count)) in self.sent.iter().zip(counts).enumerate() {
            assert!(count == sent.words || (sent.unlinked && count < sent.words), "transfer {number}: {count}");
        }
    }
}

#[test]
fn random_clients_find_the_rules_kept() {
    run(None);
}

#[test]
fn random_clients_find_the_rules_kept_by_a_splitter() {
    run(Some(512));
    run(Some(2048));
}

fn run(part: Option<u32>) {
    let (mut unlinked, mut ended) = (0, 0);
    for seed in 0..24 {
        println!("seed {seed}");
        let mut world = World::new(seed, part);
        for _ in 0..400 {
            if world.peer.client.in_flight().count() < 200 {
                world.act();
            }
            let most = [40, 400, 40_000][world.random.below(3)];
            world.carry(most);
        }
        world.end();
        world.check();
        unlinked += world.unlinked;
        ended += world.ended;
    }
    assert!(unlinked > 100 && ended > 2000, "{unlinked} unlinked, {ended} ended: too few to tell anything");
}
