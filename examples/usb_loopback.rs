//! A loop of one's own: what the host sends to one bulk endpoint it reads from the other, and a vendor request tells how
//! much is inside. `device=loopback` is the whole gadget zero; this is the least that a device with data needs.
//!
//! The host is played by the library's own USB/IP client, with the bytes handed over in memory.
//!
//! `cargo run --example usb_loopback`

use std::collections::VecDeque;
use std::error::Error;
use zbridge::time::Instant;
use zbridge::usb::{
    Address, Alternate, ClassCode, Configuration, Control, Description, Device, Endpoint, Function, In, Interface, Out,
    Setup, Urb,
};
use zbridge::usbip::{Client, ConnectionId, Dialect, Event, Options, Server};

const NOW: Instant = Instant::ZERO;
/// Bytes that the loop holds.
const CAPACITY: usize = 4096;

#[derive(Default)]
struct Loop(VecDeque<u8>);

impl Function for Loop {
    fn control(&mut self, _: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        match (setup.request_type, setup.request) {
            (0xc0, 1) => data.extend((self.0.len() as u16).to_le_bytes()),
            _ => return Control::Stall,
        }
        Control::Done
    }

    /// What is not taken is offered again: the host's transfer waits, and nothing is lost.
    fn handle_out(&mut self, _: Instant, _: Address, data: &[u8]) -> Out {
        let taken = data.len().min(CAPACITY - self.0.len());
        self.0.extend(&data[..taken]);
        Out::Taken(taken)
    }

    fn poll_in(&mut self, _: Instant, _: Address, room: usize, data: &mut Vec<u8>) -> In {
        if self.0.is_empty() {
            return In::Wait;
        }
        data.extend(self.0.drain(..room.min(self.0.len())));
        In::Done
    }

    fn reset(&mut self) {
        self.0.clear();
    }
}

fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) -> Result<Vec<Event>, Box<dyn Error>> {
    server.handle_bytes(NOW, id, &client.transmit());
    let reply = server.transmit(NOW, id).to_vec();
    server.transmitted(id, reply.len());
    client.handle_bytes(&reply)?;
    Ok(std::iter::from_fn(|| client.poll_event()).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = vec![Endpoint::bulk(Address::output(1)), Endpoint::bulk(Address::input(1))];
    let alternate = Alternate { class: ClassCode::VENDOR, endpoints, ..Alternate::default() };
    let mut description = Description::new(0x2fe3, 0x0100).named("example", "loop", "1");
    description.configurations =
        vec![Configuration { interfaces: vec![Interface::new(alternate)], ..Configuration::default() }];
    let mut server = Server::new(Options::default());
    server.export("1-1", Device::new(description, Loop::default())?)?;

    let id = server.open(NOW, [127, 0, 0, 1].into())?;
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    exchange(&mut server, id, &mut client)?;
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    exchange(&mut server, id, &mut client)?;

    // More than the loop holds: the transfer waits until something was read.
    client.submit(Urb::output(0, 1, vec![7; CAPACITY + 1000]));
    println!("ended by then: {}", exchange(&mut server, id, &mut client)?.len());
    let inside = Setup { request_type: 0xc0, request: 1, length: 2, ..Setup::default() };
    client.submit(Urb::control(0, inside, Vec::new()));
    client.submit(Urb::input(0, 1, 2000));
    for event in exchange(&mut server, id, &mut client)? {
        if let Event::Done(_, status, urb) = event {
            let first = &urb.data[..urb.data.len().min(2)];
            println!("endpoint {}: status {status}, {} bytes, {first:?} …", urb.endpoint.number(), urb.actual);
        }
    }
    Ok(())
}
