//! The service under a virtual clock, with an endpoint at the other end of its wire.

use super::*;
use crate::service::endpoint::ConnId;
use crate::service::script::{Script, arrived, sent};
use crate::service::usbip::driver::WINDOW;
use crate::time::Duration;
use crate::usb::{Setup, Urb};
use crate::usbip::{Client, Dialect, Event as Told, OpStatus};
use crate::wire::Mac;
use std::net::SocketAddr;

/// Delay of the wire.
const DELAY: Duration = Duration::from_micros(100);

/// A port and a peer on one wire. The peer may vanish: then it neither hears nor says anything.
struct Net {
    now: Instant,
    port: UsbipPort,
    peer: Endpoint,
    vanished: bool,
    /// The machine: each of its sockets does the same.
    host: Script,
}

impl Net {
    fn new(keys: &str) -> Self {
        let spec = PortSpec::parse(&format!("usbip:192.0.2.1/24,{keys}")).unwrap();
        let crate::config::PortKind::Usbip(usbip) = &spec.kind else { panic!("{spec}") };
        let mut host = Script::default();
        let port = UsbipPort::new(&spec, usbip, &mut host, 1).unwrap();
        let config = EndpointConfig::new(Mac([2, 0, 0, 0, 0, 2]), vec!["192.0.2.2/24".parse().unwrap()]);
        let peer = Endpoint::new(&config).unwrap();
        Self { now: Instant::ZERO, port, peer, vanished: false, host }
    }

    /// Runs until `done`, for at most `span`. True if it came to that.
    fn run(&mut self, span: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + span;
        while self.now < end {
            let mut there = Vec::new();
            self.peer.poll_transmit(self.now, 64, &mut |frame: &[u8]| there.push(frame.to_vec()));
            let back = sent(&mut self.port, self.now, &mut self.host);
            let idle = there.is_empty() && back.is_empty();
            if !self.vanished {
                there.iter().for_each(|frame| self.port.handle_frame(self.now, arrived(frame), &mut self.host));
                back.iter().for_each(|frame| self.peer.handle_frame(self.now, frame));
            }
            if done(self) {
                return true;
            }
            let peer = self.peer.poll_timeout().filter(|_| !self.vanished);
            let next = earliest(self.port.poll_timeout(), peer).unwrap_or(end);
            self.now = (self.now + DELAY).max(if idle { next.min(end) } else { Instant::ZERO });
        }
        false
    }

    /// Something outside has changed.
    fn happen(&mut self) {
        let event = Change { socket: SocketId(0), readable: true, writable: true, refused: false };
        self.port.handle_event(self.now, event, &mut self.host);
    }

    fn unsent(&self) -> usize {
        self.port.unsent(&self.host).iter().map(|unsent| unsent.bytes).sum()
    }

    fn connect(&mut self) -> ConnId {
        let conn = self.peer.connect(self.now, SocketAddr::from(([192, 0, 2, 1], PORT))).unwrap();
        let connected =
            |net: &mut Self| std::iter::from_fn(|| net.peer.poll_event()).any(|event| event == Event::Connected(conn));
        assert!(self.run(Duration::from_secs(5), connected));
        conn
    }

    /// Lets the client talk over `conn` until it has learned something.
    fn talk(&mut self, conn: ConnId, client: &mut Client) -> Told {
        let mut told = None;
        let mut rest = client.transmit();
        let heard = self.run(Duration::from_secs(20), |net| {
            let sent = net.peer.send(conn, &rest);
            rest.drain(..sent);
            while net.peer.recv(conn, |bytes| {
                client.handle_bytes(bytes).unwrap();
                bytes.len()
            }) > 0
            {}
            told = client.poll_event();
            told.is_some()
        });
        assert!(heard, "no answer");
        told.unwrap()
    }

    fn attach(&mut self, busid: &str) -> (ConnId, Client) {
        let conn = self.connect();
        let mut client = Client::new(Dialect::Linux, 0);
        client.import(busid);
        assert!(matches!(self.talk(conn, &mut client), Told::Imported(_)));
        client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
        assert!(matches!(self.talk(conn, &mut client), Told::Done(_, 0, _)));
        (conn, client)
    }

    fn is_free(&self, busid: &str) -> bool {
        self.port.server.exports().any(|(name, _, importer)| name == busid && importer.is_none())
    }
}

#[test]
fn devices_are_listed_and_echo() {
    let mut net = Net::new("device=cdc-acm,device=loopback");
    let conn = net.connect();
    let mut client = Client::new(Dialect::Linux, 0);
    client.list();
    let Told::Devices(devices) = net.talk(conn, &mut client) else { panic!("no list") };
    assert_eq!(devices.iter().map(|device| device.busid.as_str()).collect::<Vec<_>>(), ["1-1", "1-2"]);
    let (conn, mut client) = net.attach("1-1");
    client.submit(Urb::output(0, 1, vec![7; 3000]));
    assert!(matches!(net.talk(conn, &mut client), Told::Done(_, 0, urb) if urb.actual == 3000));
    client.submit(Urb::input(0, 2, 4096));
    assert!(matches!(net.talk(conn, &mut client), Told::Done(_, 0, urb) if urb.data == [7; 3000]));
}

#[test]
fn a_second_importer_is_refused_and_a_fin_frees_at_once() {
    let mut net = Net::new("device=cdc-acm");
    let (first, _) = net.attach("1-1");
    let second = net.connect();
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    let before = net.now;
    assert_eq!(net.talk(second, &mut client), Told::Refused(OpStatus::Busy));
    assert!(net.now - before < Duration::from_millis(10), "the holder has answered at once");
    net.peer.shutdown(first);
    let before = net.now;
    assert!(net.run(Duration::from_secs(1), |net| net.is_free("1-1")));
    assert!(net.now - before < Duration::from_millis(10), "{:?}", net.now - before);
    net.attach("1-1");
}

#[test]
fn a_client_that_vanishes_frees_its_device_within_thirty_seconds() {
    let mut net = Net::new("device=cdc-acm");
    net.attach("1-1");
    net.vanished = true;
    let before = net.now;
    assert!(net.run(Duration::from_secs(60), |net| net.is_free("1-1")));
    assert!(net.now - before <= Duration::from_secs(30) + DELAY, "{:?}", net.now - before);
}

#[test]
fn an_idle_port_with_an_importer_wakes_for_keep_alive_alone() {
    let mut net = Net::new("device=cdc-acm");
    let (conn, mut client) = net.attach("1-1");
    client.submit(Urb::input(0, 2, 512));
    net.peer.send(conn, &client.transmit());
    net.run(Duration::from_secs(1), |_| false);
    let mut wakes = 0;
    net.run(Duration::from_secs(100), |net| {
        while net.peer.poll_event().is_some() {}
        wakes += 1;
        false
    });
    assert!(wakes < 200, "{wakes}");
    assert!(!net.is_free("1-1"));
}

/// Clients come, send and leave, and the host reads nothing.
#[test]
fn clients_of_a_serial_port_share_one_window() {
    const EACH: usize = 20_000;
    let mut net = Net::new("device=cdc-acm+unix=/tmp/none");
    let (mut total, mut left) = (0, 0);
    for _ in 0..20 {
        (net.host.clients, net.host.gives, net.host.ended) = (1, EACH, false);
        for ended in [false, true] {
            net.host.ended = ended;
            net.happen();
            net.run(Duration::from_millis(1), |_| false);
        }
        total += EACH - net.host.gives;
        left += usize::from(net.host.clients == 0);
    }
    // The device holds bytes behind the window. A client with more bytes than there is room for stays.
    let room = WINDOW + crate::usb::class::cdc_acm::QUEUE_CAPACITY;
    assert_eq!((total, left), (room, room.div_ceil(EACH)));
}

#[test]
fn a_serial_port_takes_no_more_than_its_back_end() {
    let mut net = Net::new("device=cdc-acm+pty=/tmp/none");
    let (conn, mut client) = net.attach("1-1");
    let total = 2 << 20;
    (0..total / 8192).for_each(|_| _ = client.submit(Urb::output(0, 1, vec![5; 8192])));
    let mut rest = client.transmit();
    net.run(Duration::from_secs(5), |net| {
        let sent = net.peer.send(conn, &rest);
        rest.drain(..sent);
        false
    });
    let held = WINDOW + crate::usb::class::cdc_acm::QUEUE_CAPACITY;
    assert_eq!(net.unsent(), held, "the back end has taken nothing yet");
    let mut taken = 0;
    let done = net.run(Duration::from_secs(5), |net| {
        taken += 100_000 - std::mem::replace(&mut net.host.takes, 100_000).min(100_000);
        net.happen();
        let sent = net.peer.send(conn, &rest);
        rest.drain(..sent);
        rest.is_empty() && net.unsent() == 0
    });
    assert!(done, "{} bytes were not taken", rest.len());
    net.host.bytes.extend([9; 100]);
    net.happen();
    net.run(Duration::from_secs(1), |_| false);
    assert!(net.host.bytes.is_empty());
}

/// A peer that has answered and closed before it has read all of what it was sent.
#[test]
fn what_came_before_a_failure_is_read() {
    let mut net = Net::new("device=cdc-acm+unix=/tmp/none");
    let (conn, mut client) = net.attach("1-1");
    (net.host.clients, net.host.refuses) = (1, true);
    net.host.bytes.extend(b"answer");
    net.happen();
    client.submit(Urb::output(0, 1, vec![7; 3000]));
    assert!(matches!(net.talk(conn, &mut client), Told::Done(_, 0, urb) if urb.actual == 3000));
    client.submit(Urb::input(0, 2, 512));
    assert!(matches!(net.talk(conn, &mut client), Told::Done(_, 0, urb) if urb.data == b"answer"));
    assert_eq!((net.host.closed.len(), net.unsent()), (1, 0), "and then it has left");
}

/// The list of a server with one loopback device, as it goes over the wire.
fn list_of_one() -> Vec<u8> {
    let mut far = Net::new("device=loopback");
    let id = far.port.server.open(far.now, IpAddr::from([192, 0, 2, 9])).unwrap();
    far.port.server.handle_bytes(far.now, id, &[1, 0x11, 0x80, 5, 0, 0, 0, 0]);
    std::iter::from_fn(|| far.port.server.output(far.now, id)?.take_first()).flatten().collect()
}

#[test]
fn an_import_is_asked_for_until_it_is_there_and_then_no_more() {
    let mut net = Net::new("import=127.0.0.1:3999/1-1");
    let standing = |net: &mut Net| net.port.poll_report(net.now, SystemTime::now)?.show().standing;
    let shown = |net: &mut Net| standing(net).map(|standing| (standing.state, standing.attach.is_some()));
    let dialled = |net: &mut Net| net.host.dialled.pop().is_some();
    assert_eq!(shown(&mut net), Some(("connecting", false)));
    net.host.unreachable = true;
    let mut dials = Vec::new();
    let second = Duration::from_secs(1);
    while dials.len() < 8 {
        assert!(net.run(5 * second, dialled));
        dials.push(net.now);
    }
    assert!(net.run(second / 20, |net| shown(net) == Some(("waiting", false))));
    let gaps = dials.windows(2).map(|pair| (pair[1] - pair[0]).as_millis() / 10 * 10);
    assert_eq!(gaps.collect::<Vec<_>>(), [100, 200, 400, 800, 1600, 2000, 2000]);

    (net.host.unreachable, net.host.takes) = (false, 1000);
    assert!(net.run(5 * second, dialled));
    assert!(net.run(second, |net| net.host.takes < 1000), "it is asked for its list");
    net.host.bytes.extend(list_of_one());
    net.happen();
    assert!(net.run(second, |net| shown(net) == Some(("up", true))));
    assert!(!net.run(60 * second, dialled));

    // An importer finds that it is gone, and the server is polled again.
    let conn = net.connect();
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    let sent = client.transmit();
    assert_eq!(net.peer.send(conn, &sent), sent.len());
    net.host.silent = true;
    assert!(net.run(second, dialled));
    (net.host.silent, net.host.unreachable) = (false, true);
    net.happen();
    assert!(net.run(second / 20, |net| shown(net) == Some(("waiting", false))));
    net.host.silent = true;
    assert!(net.run(second, dialled));
    // A silent server is given up, and polled anew.
    net.host.closed.clear();
    assert!(!net.run(3 * second - DELAY, |net| !net.host.closed.is_empty()));
    assert!(net.run(2 * DELAY, |net| !net.host.closed.is_empty()));
    assert!(net.run(second, dialled));
}

/// A rebooted guest does not know its old connection.
#[test]
fn the_holder_of_a_device_is_asked_when_another_wants_it() {
    let mut net = Net::new("device=cdc-acm");
    // The new one begins with the same TCP port, which is to be no other's.
    let first = net.connect();
    net.peer.abort(first);
    net.attach("1-1");
    net.run(Duration::from_secs(1), |_| false);
    let config = EndpointConfig::new(Mac([2, 0, 0, 0, 0, 2]), vec!["192.0.2.2/24".parse().unwrap()]);
    net.peer = Endpoint::new(&EndpointConfig { seed: 77, ..config }).unwrap();
    let before = net.now;
    net.attach("1-1");
    assert!(net.now - before < Duration::from_secs(1), "{:?}", net.now - before);
}

/// A peer that vanished keeps the device from another for no longer than `patience`.
#[test]
fn a_silent_holder_is_waited_for_as_long_as_was_said() {
    for (keys, patience) in [("device=cdc-acm,patience=6s", 6), ("device=cdc-acm,patience=10m", 600)] {
        let mut net = Net::new(keys);
        net.attach("1-1");
        net.vanished = true;
        let before = net.now;
        assert!(net.run(Duration::from_secs(2 * patience), |net| net.is_free("1-1")));
        let waited = (net.now - before).as_secs();
        assert!((patience - 1..=patience + patience / 2).contains(&waited), "{patience} s: {waited} s");
    }
}

#[test]
fn serial_numbers_differ_and_last() {
    let serials = |text: &str| {
        let spec = PortSpec::parse(text).unwrap();
        let crate::config::PortKind::Usbip(usbip) = &spec.kind else { panic!("{spec}") };
        let port = UsbipPort::new(&spec, usbip, &mut Script::default(), 1).unwrap();
        let serial = |device: &crate::usb::Device| device.description().serial.clone().unwrap();
        port.server.exports().map(|(_, device, _)| serial(device)).collect::<Vec<_>>()
    };
    let devices = "device=cdc-acm,device=cdc-acm,device=loopback,device=hid-keyboard,device=hid-mouse,\
                   device=mass-storage+image=a,device=mass-storage+image=b,device=cdc-acm+serial=mine";
    let one = serials(&format!("usbip:192.0.2.1/24,name=one,{devices}"));
    let other = serials(&format!("usbip:192.0.2.1/24,name=two,{devices}"));
    let all: std::collections::BTreeSet<_> = one.iter().chain(&other).collect();
    assert_eq!(all.len(), 2 * one.len() - 1, "{all:?}");
    assert_eq!((one.last().map(String::as_str), one.len()), (Some("mine"), 8));
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    assert!(one[..7].iter().all(|serial| serial.len() >= 12 && serial.bytes().all(is_digit)), "{one:?}");
    assert_eq!(one, serials(&format!("usbip:192.0.2.1/24,name=one,{devices}")), "at every start");
    // Other ports' devices, and its place in the list, make no difference.
    assert_eq!(serials("usbip:192.0.2.1/24,name=one,device=cdc-acm")[0], one[0]);
}
