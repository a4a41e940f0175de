//! A keyboard that this program plays: three keys, as the host's interrupt transfers see them.
//!
//! The host is played by the library's own USB/IP client, with the bytes handed over in memory.
//!
//! `cargo run --example usb_keyboard`

use std::error::Error;
use zbridge::time::Instant;
use zbridge::usb::class::hid::Kind;
use zbridge::usb::class::{Hid, Identity};
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, ConnectionId, Dialect, Event, Options, Server};

const NOW: Instant = Instant::ZERO;

fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) -> Result<Option<Event>, Box<dyn Error>> {
    server.handle_bytes(NOW, id, &client.transmit());
    let reply = server.transmit(NOW, id).to_vec();
    server.transmitted(id, reply.len());
    client.handle_bytes(&reply)?;
    Ok(client.poll_event())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut server = Server::new(Options::default());
    server.export("1-1", Hid::device(&Identity::default(), Kind::Keyboard)?)?;
    let id = server.open(NOW, [127, 0, 0, 1].into())?;
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    exchange(&mut server, id, &mut client)?;
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    exchange(&mut server, id, &mut client)?;

    server.with_function(NOW, "1-1", |keyboard: &mut Hid| keyboard.script("type=Hi!")).ok_or("no keyboard")??;
    loop {
        client.submit(Urb::input(0, 1, 8));
        let Some(Event::Done(_, _, urb)) = exchange(&mut server, id, &mut client)? else { break };
        println!("modifiers {:#04x}, key {:#04x}", urb.data[0], urb.data[2]);
    }
    println!("nothing more: the transfer waits");

    // The host lights Caps Lock: SET_REPORT, output report.
    let lights = Setup { request_type: 0x21, request: 9, value: 0x0200, length: 1, ..Setup::default() };
    client.submit(Urb::control(0, lights, vec![2]));
    exchange(&mut server, id, &mut client)?;
    let leds = server.with_function(NOW, "1-1", |keyboard: &mut Hid| keyboard.poll_leds()).flatten();
    println!("caps lock: {:?}", leds.map(|leds| leds.caps_lock()));
    Ok(())
}
