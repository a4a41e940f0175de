//! A USB device of one's own: a thermometer that gives a reading each time the host asks.
//!
//! A device is a description (what it shows) and a function (what it does). Without an argument the host is played by
//! the library's own USB/IP client. With one, the thermometer is a port of a switch beside a UNIX socket for QEMU, where
//! a Linux guest with an address in 192.0.2.0/24 attaches it: `usbip attach -r 192.0.2.1 -b 1-1`.
//!
//! `cargo run --example usb_own_device [SOCKET]`

use std::error::Error;
use zbridge::config::PortSpec;
use zbridge::engine::{Bridge, run_service};
use zbridge::service::UsbipPort;
use zbridge::service::endpoint::EndpointConfig;
use zbridge::time::Instant;
use zbridge::usb::{
    Address, Alternate, ClassCode, Configuration, Description, Device, Endpoint, Function, In, Interface, Setup, Urb,
};
use zbridge::usbip::{Client, ConnectionId, Dialect, Event, Options, Server};
use zbridge::wire::Mac;

const NOW: Instant = Instant::ZERO;

/// Tenths of a degree, warmer with every reading.
struct Thermometer(u16);

impl Function for Thermometer {
    fn poll_in(&mut self, _: Instant, _: Address, _room: usize, data: &mut Vec<u8>) -> In {
        self.0 += 1;
        data.extend(self.0.to_le_bytes());
        In::Done
    }
}

fn thermometer() -> Result<Device, Box<dyn Error>> {
    let endpoints = vec![Endpoint::bulk(Address::input(1))];
    let alternate = Alternate { class: ClassCode::VENDOR, endpoints, ..Alternate::default() };
    let mut description = Description::new(0x2fe3, 0xf001).named("me", "thermometer", "0001");
    description.configurations =
        vec![Configuration { max_power: 100, interfaces: vec![Interface::new(alternate)], ..Configuration::default() }];
    Ok(Device::new(description, Thermometer(200))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut server = Server::new(Options::default());
    server.export("1-1", thermometer()?)?;
    match std::env::args().nth(1) {
        Some(socket) => on_a_switch(server, &socket),
        None => in_memory(&mut server),
    }
}

fn on_a_switch(server: Server, socket: &str) -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::empty()?;
    bridge.add_port(PortSpec::parse(&format!("unix:{socket}"))?)?;
    let config = EndpointConfig::new(Mac([2, 0, 0, 0, 0, 1]), vec!["192.0.2.1/24".parse()?]);
    let mut port = UsbipPort::serving("thermometer", &config, server)?;
    Ok(run_service(&bridge.add_channel("default", "thermometer")?, &mut port)?)
}

fn in_memory(server: &mut Server) -> Result<(), Box<dyn Error>> {
    let id = server.open(NOW, [127, 0, 0, 1].into())?;
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    println!("{:?}", exchange(server, id, &mut client)?);
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    exchange(server, id, &mut client)?;
    for _ in 0..3 {
        client.submit(Urb::input(0, 1, 2));
        if let Some(Event::Done(_, 0, urb)) = exchange(server, id, &mut client)?
            && let Some(reading) = urb.data.first_chunk()
        {
            println!("{:.1} degrees", f32::from(u16::from_le_bytes(*reading)) / 10.0);
        }
    }
    Ok(())
}

/// Lets client and server exchange what they have for each other.
fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) -> Result<Option<Event>, Box<dyn Error>> {
    server.handle_bytes(NOW, id, &client.transmit());
    let reply = server.transmit(NOW, id).to_vec();
    server.transmitted(id, reply.len());
    client.handle_bytes(&reply)?;
    Ok(client.poll_event())
}
