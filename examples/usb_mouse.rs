//! A mouse that this program moves in a square, as the host's interrupt transfers see it.
//!
//! The host is played by the library's own USB/IP client, with the bytes handed over in memory. On a switch the same
//! device is a port: `--port usbip:…,device=hid-mouse+script=PATH` plays the same lines from a file or a pipe.
//!
//! `cargo run --example usb_mouse`

use std::error::Error;
use zbridge::time::Instant;
use zbridge::usb::class::hid::Kind;
use zbridge::usb::class::{Hid, Identity};
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, ConnectionId, Dialect, Event, Options, Server};

const NOW: Instant = Instant::ZERO;
/// The interrupt endpoint of reports.
const REPORTS: u8 = 1;

fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) -> Result<Option<Event>, Box<dyn Error>> {
    server.handle_bytes(NOW, id, &client.transmit());
    let reply = server.transmit(NOW, id).to_vec();
    server.transmitted(id, reply.len());
    client.handle_bytes(&reply)?;
    Ok(client.poll_event())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut server = Server::new(Options::default());
    server.export("1-1", Hid::device(&Identity::default(), Kind::Mouse)?)?;
    let id = server.open(NOW, [127, 0, 0, 1].into())?;
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    exchange(&mut server, id, &mut client)?;
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    exchange(&mut server, id, &mut client)?;

    // The host asks before there is anything to tell: its transfer waits for the first movement.
    client.submit(Urb::input(0, REPORTS, 8));
    let mut event = exchange(&mut server, id, &mut client)?;
    println!("before the first movement: {event:?}");
    for line in ["move=10,0", "move=0,10", "move=-10,0", "move=0,-10", "click=left", "wheel=1"] {
        server.with_function(NOW, "1-1", |mouse: &mut Hid| mouse.script(line)).ok_or("no mouse")??;
    }
    loop {
        event = match event {
            Some(event) => Some(event),
            None => exchange(&mut server, id, &mut client)?,
        };
        let Some(Event::Done(_, _, urb)) = event.take() else { break };
        if let [buttons, x, y, wheel, ..] = urb.data[..] {
            println!("buttons {buttons:03b}, x {:>3}, y {:>3}, wheel {:>2}", x as i8, y as i8, wheel as i8);
        }
        client.submit(Urb::input(0, REPORTS, 8));
    }
    println!("nothing more: the transfer waits");
    Ok(())
}
