//! The server and the client of USB/IP against each other, against recorded bytes, and against hostile peers.

mod golden;
mod hostile;
mod known_faults;
mod model;
mod sessions;

use super::*;
use crate::time::Instant;
use crate::usb::class::{Identity, Loopback, Pattern};
use crate::usb::{Device, Setup, Speed, Urb};
use std::net::{IpAddr, Ipv4Addr};

const NOW: Instant = Instant::ZERO;
/// The devid of bus id 1-1.
const DEVID: u32 = 0x0001_0002;

fn source(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn gadget(pattern: Pattern) -> Device {
    Loopback::device(&Identity::at(Speed::High), pattern).unwrap()
}

/// A server with gadget zero as 1-1 and as 1-2.
fn server() -> Server {
    let mut server = Server::new(Options::default());
    server.export("1-1", gadget(Pattern::Any)).unwrap();
    server.export("1-2", gadget(Pattern::Zero)).unwrap();
    server
}

/// Takes everything that a connection has to send.
fn drain(server: &mut Server, id: ConnectionId) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = server.transmit(NOW, id).to_vec();
        if bytes.is_empty() {
            return all;
        }
        server.transmitted(id, bytes.len());
        all.extend(bytes);
    }
}

/// A client and its connection.
struct Peer {
    id: ConnectionId,
    client: Client,
}

impl Peer {
    fn connect(server: &mut Server, dialect: Dialect, seqnum: u32) -> Self {
        Self { id: server.open(NOW, source(1)).unwrap(), client: Client::new(dialect, seqnum) }
    }

    /// A client that has imported `busid` and chosen `configuration`.
    fn attach(server: &mut Server, dialect: Dialect, busid: &str, configuration: u16) -> Self {
        let mut peer = Self::connect(server, dialect, 0);
        peer.client.import(busid);
        assert!(matches!(peer.exchange(server)[..], [Event::Imported(_)]));
        peer.client.submit(set_configuration(configuration));
        assert!(matches!(peer.exchange(server)[..], [Event::Done(_, 0, _)]));
        peer
    }

    /// Sends what the client has to say, and gives what it learns.
    fn exchange(&mut self, server: &mut Server) -> Vec<Event> {
        let bytes = self.client.transmit();
        server.handle_bytes(NOW, self.id, &bytes);
        self.client.handle_bytes(&drain(server, self.id)).unwrap();
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }
}

fn set_configuration(value: u16) -> Urb {
    Urb::control(0, Setup { request: 9, value, ..Setup::default() }, vec![])
}
