//! A serial port whose other end is this program: what the host types comes back in capitals.
//!
//! The host is played by the library's own USB/IP client, with the bytes handed over in memory; on a switch the same
//! device is a port (`examples/usb_own_device.rs`, or `--port usbip:…,device=cdc-acm+unix=PATH`).
//!
//! `cargo run --example usb_serial_port`

use std::error::Error;
use zbridge::time::Instant;
use zbridge::usb::class::{CdcAcm, Identity};
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, ConnectionId, Dialect, Event, Options, Server};

const NOW: Instant = Instant::ZERO;

/// Lets client and server exchange what they have for each other.
fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) -> Result<Option<Event>, Box<dyn Error>> {
    server.handle_bytes(NOW, id, &client.transmit());
    let reply = server.transmit(NOW, id).to_vec();
    server.transmitted(id, reply.len());
    client.handle_bytes(&reply)?;
    Ok(client.poll_event())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut server = Server::new(Options::default());
    server.export("1-1", CdcAcm::device(&Identity::default(), false)?)?;
    let id = server.open(NOW, [127, 0, 0, 1].into())?;
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    if let Some(Event::Imported(device)) = exchange(&mut server, id, &mut client)? {
        println!("attached {:04x}:{:04x}", device.vendor, device.product);
    }
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    exchange(&mut server, id, &mut client)?;

    client.submit(Urb::output(0, 1, b"hello, port".to_vec()));
    exchange(&mut server, id, &mut client)?;
    client.submit(Urb::input(0, 2, 512));
    println!("an answer before there is one: {:?}", exchange(&mut server, id, &mut client)?);

    // The back end: this program.
    server.with_function(NOW, "1-1", |port: &mut CdcAcm| {
        let said = port.poll_backend().to_ascii_uppercase();
        port.backend_took(said.len());
        port.handle_backend(&said);
    });
    if let Some(Event::Done(_, _, urb)) = exchange(&mut server, id, &mut client)? {
        println!("the host reads {:?}", String::from_utf8_lossy(&urb.data));
    }
    Ok(())
}
