//! USB/IP: the codec, the server with a device of each class among clients that follow the rules and clients that do
//! not, and the client against any server.

use super::Input;
use std::net::{IpAddr, Ipv4Addr};
use zbridge::time::{Duration, Instant};
use zbridge::usb::class::hid::Kind;
use zbridge::usb::class::storage::{JobError, Work};
use zbridge::usb::class::{CdcAcm, Hid, Identity, Loopback, MassStorage, Pattern};
use zbridge::usb::{Address, Device, Direction, IsoPacket, Setup, Speed, Status, TransferKind, Urb};
use zbridge::usbip::pdu::{HEADER_LENGTH, Pdu};
use zbridge::usbip::{
    Client, Command, ConnectionId, Decoder, Dialect, Event, MAX_BUFFER, MAX_PACKETS, OUTPUT_MARK, Options, Server,
};

const OPERATIONS: usize = 200;
const BUSIDS: [&str; 5] = ["1-1", "1-2", "1-3", "1-4", "9-9"];
const BLOCKS: u64 = 8;

/// One byte that says where the stream is cut, and a stream of commands.
pub fn pdu(data: &[u8]) {
    let mut input = Input(data);
    let cut = usize::from(input.byte());
    let stream = input.0;
    if let Some(header) = stream.first_chunk::<HEADER_LENGTH>()
        && let Ok(pdu) = Pdu::decode(header)
    {
        assert_eq!(Pdu::decode(&pdu.encode()), Ok(pdu));
    }
    let whole = commands(&[stream]);
    let (head, tail) = stream.split_at(cut.min(stream.len()));
    assert_eq!(commands(&[head, tail]), whole);
}

/// What a stream says, and whether it ends in a fault.
fn commands(pieces: &[&[u8]]) -> (Vec<Command>, bool) {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for mut piece in pieces.iter().copied() {
        let kind = |address: Address| (address.number() == 2).then_some(TransferKind::Isochronous);
        loop {
            match decoder.decode(&mut piece, kind, Vec::new) {
                Ok(Some(command)) => found.push(command),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        assert!(piece.is_empty());
    }
    for command in &found {
        let Command::Submit(command, urb) = command else { continue };
        assert_eq!(command.length > MAX_BUFFER, urb.status == Status::NoRoom, "too much ends alone");
        assert!(urb.data.len() <= MAX_BUFFER as usize && urb.packets.len() <= MAX_PACKETS as usize);
        let inside = |packet: &IsoPacket| packet.offset.checked_add(packet.length).is_some_and(|end| end <= urb.length);
        assert!(urb.packets.iter().all(inside));
    }
    (found, false)
}

/// A line for a keyboard or a mouse.
pub fn hid_script(data: &[u8]) {
    let mut input = Input(data);
    let kind = if input.byte() & 1 == 0 { Kind::Keyboard } else { Kind::Mouse };
    let Ok(text) = std::str::from_utf8(input.0) else { return };
    let mut device = Hid::device(&Identity::default(), kind).expect("a device");
    device.with_function(Instant::ZERO, |hid: &mut Hid| {
        for line in text.lines() {
            let before = hid.waiting();
            if let Err(error) = hid.script(line) {
                assert_eq!(hid.waiting(), before, "all or nothing");
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
    });
}

/// Operations: one byte that says which, one for its object, and what it wants.
pub fn usbip(data: &[u8]) {
    let mut input = Input(data);
    let mut bench = Bench { server: server(), peers: [None, None, None], now: Instant::ZERO };
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        bench.operate(&mut input);
        bench.check();
    }
    for which in 0..bench.peers.len() {
        bench.close(which);
    }
    assert!(bench.server.exports().all(|(_, _, importer)| importer.is_none()));
    assert_eq!(bench.server.connections().count(), 0);
}

fn server() -> Server {
    let high = Identity::at(Speed::High);
    let devices = [
        CdcAcm::device(&high, true),
        Loopback::device(&Identity::at(Speed::Super), Pattern::Mod63),
        MassStorage::device(&high, BLOCKS, false),
        Hid::device(&Identity::at(Speed::Full), Kind::Keyboard),
    ];
    let mut server = Server::new(Options::default());
    for (busid, device) in BUSIDS.into_iter().zip(devices) {
        let device: Device = device.expect("a device");
        server.export(busid, device).expect("a bus id");
    }
    server
}

/// A connection, and the client at its other end.
struct Peer {
    id: ConnectionId,
    client: Client,
    /// It has sent something that a client does not send; what it gets is no longer judged.
    wild: bool,
    imported: bool,
    flights: Vec<u32>,
}

struct Bench {
    server: Server,
    peers: [Option<Peer>; 3],
    now: Instant,
}

impl Bench {
    fn operate(&mut self, input: &mut Input<'_>) {
        let (operation, bits) = (input.byte(), input.byte());
        let which = usize::from(bits) % self.peers.len();
        match operation % 16 {
            0 => self.open(which, bits),
            1 => self.import(which, input.byte()),
            2 => self.raw(which, input.piece()),
            3..=5 => self.submit(which, input),
            6 => self.control(which, input),
            7 => self.wrapper(which, input),
            8 => self.unlink(which, input.byte()),
            9..=11 => self.exchange(which, usize::from(bits) * 64),
            12 => self.now += Duration::from_millis(u64::from(bits) * 50),
            13 => self.time_out(),
            14 => self.back_ends(bits, input),
            _ => self.close(which),
        }
    }

    fn open(&mut self, which: usize, bits: u8) {
        self.close(which);
        let source: IpAddr = Ipv4Addr::new(192, 0, 2, bits).into();
        let id = self.server.open(self.now, source).expect("there are few");
        let dialect = if bits & 0x80 == 0 { Dialect::Linux } else { Dialect::Windows };
        let first = if bits & 0x40 == 0 { 0 } else { u32::MAX - 8 };
        let client = Client::new(dialect, first);
        self.peers[which] = Some(Peer { id, client, wild: false, imported: false, flights: Vec::new() });
    }

    fn import(&mut self, which: usize, bits: u8) {
        let Some(peer) = &mut self.peers[which] else { return };
        // A client has one request.
        peer.wild |= peer.imported || self.server.closing(peer.id).is_some();
        peer.imported = true;
        match bits {
            0xff => peer.client.list(),
            _ => peer.client.import(BUSIDS[usize::from(bits) % BUSIDS.len()]),
        }
        self.exchange(which, 4096);
    }

    fn raw(&mut self, which: usize, bytes: &[u8]) {
        let Some(peer) = &mut self.peers[which] else { return };
        peer.wild = true;
        if self.server.wants_bytes(peer.id) {
            self.server.handle_bytes(self.now, peer.id, bytes);
        }
    }

    fn put(&mut self, which: usize, urb: Urb) {
        let Some(peer) = &mut self.peers[which] else { return };
        peer.wild |= !peer.imported;
        let seqnum = peer.client.submit(urb);
        peer.flights.push(seqnum);
    }

    fn submit(&mut self, which: usize, input: &mut Input<'_>) {
        let (address, length) = (input.byte(), u32::from(input.word()));
        let mut urb = match address & 0x80 {
            0 => Urb::output(0, address & 15, input.piece().to_vec()),
            _ => Urb::input(0, address & 15, length),
        };
        let packets = if address & 0x40 == 0 { 0 } else { u32::from(input.byte() % 9) };
        let each = urb.length / packets.max(1);
        urb.packets = (0..packets)
            .map(|packet| IsoPacket { offset: packet * each, length: each, ..IsoPacket::default() })
            .collect();
        urb.short_not_ok = address & 0x20 != 0;
        self.put(which, urb);
    }

    fn control(&mut self, which: usize, input: &mut Input<'_>) {
        let setup: Vec<u8> = (0..8).map(|_| input.byte()).collect();
        let mut setup = Setup::from_bytes(setup.try_into().expect("eight"));
        let mut data = Vec::new();
        if setup.direction() == Direction::Out {
            data = input.piece().to_vec();
            setup.length = data.len() as u16;
        }
        self.put(which, Urb::control(0, setup, data));
    }

    /// A command of the disk, in a right wrapper (USB Mass Storage Bulk-Only Transport 1.0, 5.1).
    fn wrapper(&mut self, which: usize, input: &mut Input<'_>) {
        let (flags, length) = (input.byte() & 0x80, u32::from(input.word()) * 64);
        let mut wrapper = [&b"USBC\0\0\0\x01"[..], &length.to_le_bytes(), &[flags, 0, 0]].concat();
        let command = input.take(usize::from(input.0.first().copied().unwrap_or(0)) % 16 + 1);
        wrapper[14] = command.len().max(1) as u8;
        wrapper.extend(command);
        wrapper.resize(31, 0);
        self.put(which, Urb::output(0, 2, wrapper));
    }

    fn unlink(&mut self, which: usize, bits: u8) {
        let Some(peer) = &mut self.peers[which] else { return };
        if peer.flights.is_empty() {
            return;
        }
        let victim = peer.flights.remove(usize::from(bits) % peer.flights.len());
        if peer.client.in_flight().any(|seqnum| seqnum == victim) {
            peer.client.unlink(victim);
        }
    }

    /// Sends what the client has to say, and takes at most `count` bytes of what the server says.
    fn exchange(&mut self, which: usize, count: usize) {
        let (now, server) = (self.now, &mut self.server);
        let Some(peer) = &mut self.peers[which] else { return };
        if server.wants_bytes(peer.id) {
            let bytes = peer.client.transmit();
            server.handle_bytes(now, peer.id, &bytes);
        }
        let bytes = server.transmit(now, peer.id);
        let taken = bytes[..count.min(bytes.len())].to_vec();
        server.transmitted(peer.id, taken.len());
        let outcome = peer.client.handle_bytes(&taken);
        assert!(peer.wild || outcome.is_ok(), "{outcome:?}");
        while let Some(event) = peer.client.poll_event() {
            if let Event::Done(seqnum, ..) = event {
                peer.flights.retain(|other| *other != seqnum);
            }
        }
    }

    fn time_out(&mut self) {
        if let Some(due) = self.server.poll_timeout() {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
        }
        for round in 0.. {
            assert!(round < 100, "it spins at {:?}", self.now);
            if self.server.poll_timeout().is_none_or(|due| due > self.now) {
                break;
            }
            self.server.handle_timeout(self.now);
        }
    }

    /// The outside of the devices: the disk's medium, the far end of the serial line, a script for the keyboard.
    fn back_ends(&mut self, bits: u8, input: &mut Input<'_>) {
        let now = self.now;
        match bits % 4 {
            0 => drop(self.server.with_function(now, BUSIDS[2], |disk: &mut MassStorage| {
                let Some(job) = disk.poll_job() else { return };
                let end = |offset: u64, len: usize| assert!(offset + len as u64 <= BLOCKS * 512);
                let result = match &job.work {
                    _ if bits & 0x80 != 0 => Err(JobError::Medium),
                    _ if bits & 0x40 != 0 => Err(JobError::Full),
                    Work::Read(offset, len) => {
                        end(*offset, *len);
                        Ok(vec![bits; *len])
                    }
                    Work::Write(offset, bytes) => {
                        end(*offset, bytes.len());
                        Ok(Vec::new())
                    }
                    _ => Ok(Vec::new()),
                };
                disk.handle_job_done(job.id, result);
            })),
            1 => drop(self.server.with_function(now, BUSIDS[0], |serial: &mut CdcAcm| {
                let (room, bytes) = (serial.room(), input.piece());
                assert_eq!(serial.handle_backend(bytes), bytes.len().min(room));
                let waiting = serial.poll_backend().len();
                serial.backend_took(waiting.min(usize::from(bits)));
                serial.set_serial_state(bits.into());
                while serial.poll_line().is_some() {}
            })),
            2 => drop(self.server.with_function(now, BUSIDS[3], |hid: &mut Hid| {
                if let Ok(line) = std::str::from_utf8(input.piece()) {
                    // Most lines are none.
                    let _ = hid.script(line);
                }
                hid.poll_leds();
            })),
            _ => self.time_out(),
        }
    }

    fn close(&mut self, which: usize) {
        if let Some(peer) = self.peers[which].take() {
            self.server.close(self.now, peer.id);
            assert_eq!(self.server.closing(peer.id), None);
        }
    }

    fn check(&mut self) {
        for peer in self.peers.iter().flatten() {
            let waiting = self.server.transmit(self.now, peer.id).len();
            assert!(waiting <= OUTPUT_MARK + MAX_BUFFER as usize + 64 * 1024);
            if self.server.closing(peer.id).is_some() {
                let mine = |(_, _, importer): (&str, &Device, Option<(ConnectionId, IpAddr)>)| {
                    importer.is_some_and(|(id, _)| id == peer.id)
                };
                assert!(!self.server.exports().any(mine), "a closing session has no device");
            }
        }
    }
}

/// One byte that says what a client asks for; then what it does after that, and what its server sends.
pub fn usbip_client(data: &[u8]) {
    let mut input = Input(data);
    let bits = input.byte();
    let dialect = if bits & 1 == 0 { Dialect::Linux } else { Dialect::Windows };
    let mut client = Client::new(dialect, u32::from(bits >> 1));
    let mut submitted = 0;
    if bits & 0x40 == 0 {
        client.import(BUSIDS[0])
    } else {
        client.list()
    }
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0..=2 => {
                let (number, length) = (input.byte(), u32::from(input.word()));
                let mut urb = Urb::input(0, number & 15, length);
                if number & 0x80 != 0 {
                    urb.packets = vec![IsoPacket { length, ..IsoPacket::default() }];
                }
                client.submit(urb);
                submitted += 1;
            }
            3 => {
                client.submit(Urb::output(0, 1, input.piece().to_vec()));
                submitted += 1;
            }
            4 => {
                let victim = client.in_flight().next();
                victim.map(|victim| client.unlink(victim));
            }
            _ => {
                if client.handle_bytes(input.piece()).is_err() {
                    return;
                }
            }
        }
        client.transmit();
        while client.poll_event().is_some() {}
        assert!(client.in_flight().count() <= submitted);
    }
}
