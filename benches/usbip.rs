//! URBs per second of the USB/IP engine in memory: bytes in, bytes out, one core, no socket.
//!
//! Each round is 16 transfers to or from gadget zero, sent and answered at once, as by a client with 16 in flight.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use std::net::Ipv4Addr;
use zbridge::time::Instant;
use zbridge::usb::class::loopback::BULK;
use zbridge::usb::class::{Identity, Loopback, Pattern};
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, ConnectionId, Dialect, Options, Server};

const IN_FLIGHT: u32 = 16;
const SIZES: [u32; 3] = [512, 16_384, 1 << 20];

fn main() {
    divan::main();
}

/// A server whose gadget zero is imported and configured.
fn attached() -> (Server, ConnectionId, Client) {
    let mut server = Server::new(Options::default());
    let device = Loopback::device(&Identity::default(), Pattern::Any).expect("a valid description");
    server.export("1-1", device).expect("a free bus id");
    let id = server.open(Instant::ZERO, Ipv4Addr::LOCALHOST.into()).expect("room for one");
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    exchange(&mut server, id, &mut client);
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, vec![]));
    exchange(&mut server, id, &mut client);
    (server, id, client)
}

fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) {
    server.handle_bytes(Instant::ZERO, id, &client.transmit());
    client.handle_bytes(server.transmit(Instant::ZERO, id)).expect("a good reply");
    let count = server.transmit(Instant::ZERO, id).len();
    server.transmitted(id, count);
}

fn run(bencher: Bencher, length: u32, urb: impl Fn() -> Urb) {
    let (mut server, id, mut client) = attached();
    (0..IN_FLIGHT).for_each(|_| _ = client.submit(urb()));
    // Every seqnum is free again when its reply is encoded, so that the same bytes serve each round.
    let bytes = client.transmit();
    bencher
        .counter(ItemsCount::new(IN_FLIGHT))
        .counter(BytesCount::new(u64::from(IN_FLIGHT) * u64::from(length)))
        .bench_local(|| {
            for chunk in bytes.chunks(65_536) {
                server.handle_bytes(Instant::ZERO, id, chunk);
                let count = server.transmit(Instant::ZERO, id).len();
                server.transmitted(id, count);
            }
            while let count @ 1.. = server.transmit(Instant::ZERO, id).len() {
                server.transmitted(id, count);
            }
        });
}

#[divan::bench(args = SIZES)]
fn output(bencher: Bencher, length: u32) {
    run(bencher, length, || Urb::output(0, BULK, vec![0; length as usize]));
}

#[divan::bench(args = SIZES)]
fn input(bencher: Bencher, length: u32) {
    run(bencher, length, || Urb::input(0, BULK, length));
}
