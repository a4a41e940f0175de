//! The splitter between a client that follows the rules and a server that does, with lengths, ends and UNLINKs as they
//! come; and between two that do not.

use super::Input;
use std::collections::BTreeMap;
use zbridge::internals::usbip::Splitter;
use zbridge::usb::{Address, Direction, Urb};
use zbridge::usbip::pdu::{Pdu, RetSubmit, RetUnlink, errno};
use zbridge::usbip::{Client, Command, Decoder, Dialect, Event, SpeedCode};

const OPERATIONS: usize = 300;
/// Bytes of a part at each speed code from 0 on.
const PARTS: [u32; 6] = [64, 64, 64, 512, 512, 1024];

/// One byte for the speed, and operations: one byte that says which, and what it wants.
pub fn usbip_split(data: &[u8]) {
    let mut input = Input(data);
    let speed = u32::from(input.byte() % 6);
    let mut bench = Bench {
        splitter: Splitter::new(1, SpeedCode(speed)),
        part: PARTS[speed as usize],
        client: Client::new(Dialect::Linux, u32::MAX - 20),
        seen: Decoder::default(),
        submits: BTreeMap::new(),
        unlinks: Vec::new(),
        asked: 0,
        ended: 0,
    };
    bench.client.import("1-1");
    bench.client.transmit();
    let record = [vec![1, 0x11, 0, 3, 0, 0, 0, 0], vec![0; 312]].concat();
    bench.client.handle_bytes(&record).expect("an import");
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        if !bench.operate(&mut input) {
            return;
        }
    }
    bench.end();
}

struct Bench {
    splitter: Splitter,
    part: u32,
    client: Client,
    seen: Decoder,
    /// What the server has and has not answered: how long, and which way.
    submits: BTreeMap<u32, (u32, Direction)>,
    /// UNLINKs that it has not answered, and their victims.
    unlinks: Vec<(u32, u32)>,
    asked: usize,
    ended: usize,
}

impl Bench {
    /// False: an end has broken the rules, and nothing more can be said.
    fn operate(&mut self, input: &mut Input<'_>) -> bool {
        let (operation, bits) = (input.byte(), input.byte());
        match operation % 9 {
            0..=2 => {
                let endpoint = Address::new(1 + bits % 3, if bits & 8 == 0 { Direction::Out } else { Direction::In });
                let length = u32::from(input.word()) % (4 * self.part + 2);
                let data =
                    if endpoint.direction() == Direction::Out { vec![bits; length as usize] } else { Vec::new() };
                self.client.submit(Urb { endpoint, length, data, ..Urb::default() });
                self.asked += 1;
            }
            3 => {
                let flying: Vec<_> = self.client.in_flight().collect();
                if let Some(victim) = flying.get(usize::from(bits) % flying.len().max(1)) {
                    self.client.unlink(*victim);
                }
            }
            4..=6 => self.answer(usize::from(bits), input.word()),
            7 => self.answer_unlink(usize::from(bits)),
            _ => {
                // From here on anything: it only has to be survived.
                let (mut client, mut server) = (Ok(()), Ok(()));
                while !input.is_empty() && client.is_ok() && server.is_ok() {
                    client = self.splitter.handle_client(input.piece());
                    server = self.splitter.handle_server(input.piece());
                }
                return false;
            }
        }
        self.carry();
        true
    }

    /// The server ends a transfer.
    fn answer(&mut self, which: usize, bits: u16) {
        let Some((&seqnum, &(length, direction))) = self.submits.iter().nth(which % self.submits.len().max(1)) else {
            return;
        };
        self.submits.remove(&seqnum);
        let status = if bits & 0x8000 == 0 { 0 } else { errno::STALL };
        let actual = if bits & 0x4000 == 0 { length } else { u32::from(bits) % (length + 1) };
        let head = RetSubmit { seqnum, status, actual, start_frame: 0, packets: 0, errors: 0 };
        let mut bytes = Pdu::RetSubmit(head).encode().to_vec();
        if direction == Direction::In {
            bytes.resize(bytes.len() + actual as usize, 7);
        }
        self.splitter.handle_server(&bytes).expect("a good reply");
    }

    /// The server gives a transfer up, or says that it had ended.
    fn answer_unlink(&mut self, which: usize) {
        if self.unlinks.is_empty() {
            return;
        }
        let (seqnum, victim) = self.unlinks.swap_remove(which % self.unlinks.len());
        let status = if self.submits.remove(&victim).is_some() { errno::UNLINKED } else { 0 };
        self.splitter.handle_server(&Pdu::RetUnlink(RetUnlink { seqnum, status }).encode()).expect("a good reply");
    }

    /// Moves what there is. The client itself holds what it gets to the rules.
    fn carry(&mut self) {
        self.splitter.handle_client(&self.client.transmit()).expect("a good client");
        while let Some(piece) = self.splitter.to_server().take_first() {
            let mut rest = piece.as_slice();
            while let Some(command) = self.seen.decode(&mut rest, |_| None, Vec::new).expect("good commands") {
                match command {
                    Command::Submit(command, urb) => {
                        assert!(command.length <= self.part);
                        let new = self.submits.insert(command.base.seqnum, (command.length, urb.endpoint.direction()));
                        assert_eq!(new, None, "one part at a time");
                    }
                    Command::Unlink(command) => self.unlinks.push((command.base.seqnum, command.victim)),
                    other => panic!("no client of these rules sends {other:?}"),
                }
            }
        }
        while let Some(piece) = self.splitter.to_client().take_first() {
            self.client.handle_bytes(&piece).expect("a good server");
        }
        while let Some(event) = self.client.poll_event() {
            self.ended += usize::from(matches!(event, Event::Done(..) | Event::Unlinked(_, _, errno::UNLINKED)));
        }
    }

    /// The server answers all: nothing is left, and each transfer has had one end.
    fn end(&mut self) {
        while !self.submits.is_empty() || !self.unlinks.is_empty() {
            self.answer(0, 0);
            self.answer_unlink(0);
            self.carry();
        }
        assert_eq!((self.client.in_flight().count(), self.client.unlinks()), (0, 0));
        assert_eq!(self.ended, self.asked);
    }
}
