//! The load: 16 transfers in flight to or from one bulk endpoint, the same bytes for every server.
//!
//! Replies of one endpoint come in the order of their transfers and have one length each, so that they are counted
//! and not looked at; the bytes of the transfers that they make room for lie ready.

use crate::Fault;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use zbridge::engine::{Bridge, Link};
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::service::endpoint::{ConnId, Endpoint, EndpointConfig, Event};
use zbridge::time::Clock;
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, Dialect, Event as Said};
use zbridge::wire::{Mac, Offload};

pub const IN_FLIGHT: usize = 16;
/// Bytes of a reply's header.
const HEADER: usize = 48;
/// The number of the device's bulk endpoints.
const BULK: u8 = 1;
/// Room for what one read may give.
const CHUNK: usize = 1 << 20;

/// What is transferred.
#[derive(Clone, Copy)]
pub struct Load {
    pub input: bool,
    pub length: u32,
}

/// A connection. Both calls wait until they have done something.
pub trait Transport {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault>;

    /// At least one byte.
    fn receive(&mut self, bytes: &mut [u8]) -> Result<usize, Fault>;
}

/// Attaches a device, loads it, and gives the URBs per second that it did.
pub fn run(mut transport: impl Transport, busid: &str, load: Load, time: Duration) -> Result<f64, Fault> {
    let mut client = Client::new(Dialect::Linux, 0);
    client.import(busid);
    event(&mut transport, &mut client)?;
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    let Said::Done(_, 0, _) = event(&mut transport, &mut client)? else {
        return Err("it has no configuration 1".into());
    };

    let urb = || match load.input {
        true => Urb::input(0, BULK, load.length),
        false => Urb::output(0, BULK, vec![0; load.length as usize]),
    };
    (0..IN_FLIGHT).for_each(|_| _ = client.submit(urb()));
    let commands = client.transmit();
    let command = commands.len() / IN_FLIGHT;
    // The same seqnums again and again, each only after its reply; twice one behind the other, to go round in one piece.
    let commands = [commands.as_slice(), &commands].concat();
    let reply = HEADER + if load.input { load.length as usize } else { 0 };
    let mut buffer = vec![0; CHUNK];
    transport.send(&commands[..IN_FLIGHT * command])?;
    let (mut received, mut done) = (0, 0);
    // A tenth of the time to warm up.
    let mut begun = Instant::now();
    let (mut counted, mut warm) = (0, false);
    loop {
        received += transport.receive(&mut buffer)?;
        let more = received / reply;
        received %= reply;
        if more > 0 {
            let from = done % IN_FLIGHT * command;
            transport.send(&commands[from..from + more * command])?;
            done += more;
        }
        let elapsed = begun.elapsed();
        if !warm && elapsed > time / 10 {
            (begun, counted, warm) = (Instant::now(), done, true);
        } else if warm && elapsed > time {
            return Ok((done - counted) as f64 / elapsed.as_secs_f64());
        }
    }
}

fn event(transport: &mut impl Transport, client: &mut Client) -> Result<Said, Fault> {
    transport.send(&client.transmit())?;
    loop {
        if let Some(event) = client.poll_event() {
            return Ok(event);
        }
        let mut bytes = [0; 4096];
        let count = transport.receive(&mut bytes)?;
        client.handle_bytes(&bytes[..count])?;
    }
}

/// The machine's own TCP.
pub struct OverTcp(TcpStream);

impl OverTcp {
    pub fn connect(addr: SocketAddr) -> Result<Self, Fault> {
        let begun = Instant::now();
        let stream = loop {
            match TcpStream::connect(addr) {
                Err(error) if error.kind() != ErrorKind::ConnectionRefused || begun.elapsed().as_secs() > 5 => {
                    return Err(error.into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
                Ok(stream) => break stream,
            }
        };
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

impl Transport for OverTcp {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.0.write_all(bytes)?)
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        match self.0.read(bytes)? {
            0 => Err("the server has closed".into()),
            count => Ok(count),
        }
    }
}

/// A host on the switch, with its own TCP.
pub struct OverSwitch {
    link: Link,
    endpoint: Endpoint,
    conn: ConnId,
    clock: Clock,
}

impl OverSwitch {
    pub fn connect(bridge: &Bridge) -> Result<Self, Fault> {
        let mut config = EndpointConfig::new(Mac([2, 0, 0, 0, 0, 2]), vec!["192.0.2.2/24".parse()?]);
        config.mtu = 9000;
        let clock = Clock::start();
        let mut endpoint = Endpoint::new(&config)?;
        let conn = endpoint.connect(clock.now(), SocketAddr::from(([192, 0, 2, 1], zbridge::usbip::PORT)))?;
        let mut host = Self { link: bridge.add_channel("default", "client")?, endpoint, conn, clock };
        loop {
            host.turn()?;
            match host.endpoint.poll_event() {
                Some(Event::Connected(_)) => return Ok(host),
                Some(Event::Closed(..)) => return Err("not connected".into()),
                _ => {}
            }
        }
    }

    /// Sends what is to be sent, then waits for frames.
    fn turn(&mut self) -> Result<(), Fault> {
        let now = self.clock.now();
        let mut batch = Batch::new(1 << 20);
        let put = &mut |frame: &[u8]| _ = batch.push(frame, PortId(0), Offload::NONE);
        self.endpoint.poll_transmit(now, 64, put);
        if !batch.is_empty() {
            self.link.send_batch(batch)?;
        }
        let patience = self.endpoint.poll_timeout().map(|at| at - now);
        let mut next = self.link.recv_batch(patience)?;
        while let Some(batch) = next {
            let now = self.clock.now();
            Outgoing::rest_of(&batch, 0).frames().for_each(|(_, frame)| self.endpoint.handle_frame(now, frame));
            next = self.link.recv_batch(Some(Duration::ZERO))?;
        }
        Ok(())
    }
}

impl Transport for OverSwitch {
    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        loop {
            let sent = self.endpoint.send(self.conn, bytes);
            bytes = &bytes[sent..];
            if bytes.is_empty() {
                return Ok(());
            }
            self.turn()?;
            while self.endpoint.poll_event().is_some() {}
        }
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        loop {
            let count = self.endpoint.recv(self.conn, |data| {
                let count = data.len().min(bytes.len());
                bytes[..count].copy_from_slice(&data[..count]);
                count
            });
            if count > 0 {
                return Ok(count);
            }
            self.turn()?;
            while self.endpoint.poll_event().is_some() {}
        }
    }
}
