//! URBs per second of a running bridge over the machine's own TCP: gadget zero at `usbip-listen`, one client with 16
//! transfers in flight. What the engine in memory does beside it is in `usbip.rs`.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use zbridge::config::{Config, PortSpec};
use zbridge::engine::Bridge;
use zbridge::usb::class::loopback::BULK;
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, Dialect};

const IN_FLIGHT: u32 = 16;
const SIZES: [u32; 3] = [512, 16_384, 1 << 20];
/// Bytes of a reply's header.
const HEADER: usize = 48;

fn main() {
    divan::main();
}

/// A bridge that serves a gadget zero, and a connection that has imported and configured it.
fn attached() -> (Bridge, TcpStream, Client) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut config = Config::default();
    let spec = format!("usbip:192.0.2.1/24,device=loopback,usbip-listen={free}");
    config.add_port(PortSpec::parse(&spec).expect("a good port")).expect("one port");
    let bridge = Bridge::start(&config).expect("it starts");
    let mut stream = TcpStream::connect(free).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    stream.write_all(&client.transmit()).expect("it reads");
    let mut reply = [0; 320];
    stream.read_exact(&mut reply).expect("an import");
    client.handle_bytes(&reply).expect("a good reply");
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, vec![]));
    stream.write_all(&client.transmit()).expect("it reads");
    stream.read_exact(&mut reply[..HEADER]).expect("a configuration");
    (bridge, stream, client)
}

fn run(bencher: Bencher, length: u32, reply: usize, urb: impl Fn() -> Urb) {
    let (bridge, stream, mut client) = attached();
    (0..IN_FLIGHT).for_each(|_| _ = client.submit(urb()));
    let bytes = client.transmit();
    let mut replies = vec![0; IN_FLIGHT as usize * reply];
    let mut reader = stream.try_clone().expect("a descriptor");
    bencher
        .counter(ItemsCount::new(IN_FLIGHT))
        .counter(BytesCount::new(u64::from(IN_FLIGHT) * u64::from(length)))
        .bench_local(|| {
            std::thread::scope(|scope| {
                // A large round does not fit into the sockets' buffers, so both ways are served at once.
                if bytes.len() > 65_536 {
                    scope.spawn(|| (&stream).write_all(&bytes).expect("it reads"));
                } else {
                    (&stream).write_all(&bytes).expect("it reads");
                }
                reader.read_exact(&mut replies).expect("replies");
            });
        });
    bridge.stop().expect("it ends");
}

#[divan::bench(args = SIZES)]
fn bulk_in(bencher: Bencher, length: u32) {
    run(bencher, length, HEADER + length as usize, || Urb::input(0, BULK, length));
}

#[divan::bench(args = SIZES)]
fn bulk_out(bencher: Bencher, length: u32) {
    run(bencher, length, HEADER, || Urb::output(0, BULK, vec![0; length as usize]));
}
