//! An importer on a socket, with the library's client role in it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, Dialect, Event};

/// The interrupt endpoint of the serial port.
const NOTIFY: u8 = 1;
/// Its bulk endpoints.
const OUT: u8 = 1;
const IN: u8 = 2;

/// OP_REQ_IMPORT, 40 bytes.
pub fn import_request(busid: &str) -> Vec<u8> {
    let mut bytes = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
    bytes.extend_from_slice(busid.as_bytes());
    bytes.resize(40, 0);
    bytes
}

/// CMD_SUBMIT, 48 bytes, without data.
pub fn submit(seqnum: u32, devid: u32, direction: u32, endpoint: u32, length: u32) -> Vec<u8> {
    let words = [1, seqnum, devid, direction, endpoint, 0, length, 0, 0, 0, 0, 0];
    words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
}

/// A serial port that was imported, configured and opened.
pub struct Attached {
    pub stream: TcpStream,
    /// Bytes of one write.
    pub piece: usize,
    client: Client,
    reads: usize,
    received: VecDeque<u8>,
    writes: usize,
}

impl Attached {
    /// `None` if it is refused.
    pub fn import(stream: TcpStream, busid: &str) -> Option<Self> {
        let client = Client::new(Dialect::Linux, 0);
        let mut port = Self { stream, piece: usize::MAX, client, reads: 0, received: VecDeque::new(), writes: 0 };
        port.client.import(busid);
        // A server that has too many connections of this address ends this one: that is a refusal, too.
        match port.try_event() {
            Ok(Event::Imported(_)) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no reply in time"),
            _ => return None,
        }
        let configure = Setup { request: 9, value: 1, ..Setup::default() };
        port.client.submit(Urb::control(0, configure, Vec::new()));
        assert!(matches!(port.event(), Event::Done(_, 0, _)));
        Some(port)
    }

    /// Sends `data` and reads as many bytes, which must be the same.
    pub fn echo(&mut self, data: &[u8]) {
        assert!(self.exchange(data, data.len()) == data, "not what was sent");
    }

    /// Sends `data`.
    pub fn write(&mut self, data: &[u8]) {
        self.exchange(data, 0);
    }

    /// Reads `count` bytes.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        self.exchange(&[], count)
    }

    /// Sends `data` and reads `count` bytes at the same time, with several transfers each way in flight.
    pub fn exchange(&mut self, data: &[u8], count: usize) -> Vec<u8> {
        let mut pieces = data.chunks(10_240);
        loop {
            while self.writes < 8
                && let Some(piece) = pieces.next()
            {
                self.client.submit(Urb::output(0, OUT, piece.to_vec()));
                self.writes += 1;
            }
            while self.received.len() < count && self.reads < 8 {
                self.client.submit(Urb::input(0, IN, 1024));
                self.reads += 1;
            }
            if self.writes == 0 && self.received.len() >= count {
                return self.received.drain(..count).collect();
            }
            let event = self.event();
            self.count(event);
        }
    }

    /// Waits for the end of the transfer `seqnum`; data that comes in the meantime is kept.
    fn done(&mut self, seqnum: u32) -> Urb {
        loop {
            match self.event() {
                Event::Done(done, 0, urb) if done == seqnum => return urb,
                event => self.count(event),
            }
        }
    }

    /// The end of a transfer of data.
    fn count(&mut self, event: Event) {
        let Event::Done(_, 0, urb) = event else { panic!("a transfer failed") };
        if urb.endpoint.number() == IN {
            self.reads -= 1;
            self.received.extend(urb.data);
        } else {
            self.writes -= 1;
        }
    }

    /// A class request to interface 0: `bmRequestType`, `bRequest`, `wValue`.
    pub fn control(&mut self, (request_type, request, value): (u8, u8, u16), data: &[u8]) {
        let setup = Setup { request_type, request, value, index: 0, length: data.len() as u16 };
        let seqnum = self.client.submit(Urb::control(0, setup, data.to_vec()));
        self.done(seqnum);
    }

    /// Waits for the next SERIAL_STATE.
    pub fn state(&mut self) -> u16 {
        let seqnum = self.client.submit(Urb::input(0, NOTIFY, 16));
        let urb = self.done(seqnum);
        assert_eq!(urb.data[..8], [0xa1, 0x20, 0, 0, 0, 0, 2, 0]);
        u16::from_le_bytes([urb.data[8], urb.data[9]])
    }

    /// Sends what is to be sent and waits for the next event.
    fn event(&mut self) -> Event {
        self.try_event().expect("a reply in time")
    }

    fn try_event(&mut self) -> std::io::Result<Event> {
        loop {
            let bytes = self.client.transmit();
            for piece in bytes.chunks(self.piece.min(bytes.len().max(1))) {
                self.stream.write_all(piece)?;
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(event);
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.client.handle_bytes(&bytes[..count]).unwrap(),
            }
        }
    }
}
