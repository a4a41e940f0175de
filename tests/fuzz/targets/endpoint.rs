//! The user-space host: two of them on a wire that loses, repeats, cuts and changes frames, among which there are
//! forged ones. Whatever comes, the memory stays bounded, what is sent is well formed, and nobody spins.

use super::Input;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zbridge::internals::wire::{Ethernet, Layers, Sum};
use zbridge::service::endpoint::{ConnId, Endpoint, EndpointConfig, Event, ListenerId};
use zbridge::time::{Duration, Instant};
use zbridge::wire::Mac;

const OPERATIONS: usize = 120;
const CONNECTIONS: usize = 4;
const MTU: u16 = 1500;
/// More rounds than any amount of work takes at one instant: whoever needs more of them spins.
const ROUNDS: usize = 400;

/// Operations: one byte that says which, one for its object, and what it wants.
pub fn endpoint(data: &[u8]) {
    let mut input = Input(data);
    let mut bench = Bench { hosts: [Host::new(1), Host::new(2)], wire: VecDeque::new(), now: Instant::ZERO };
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        bench.operate(&mut input);
        bench.settle();
    }
}

/// An endpoint, and what its service knows of it.
struct Host {
    endpoint: Endpoint,
    conns: Vec<ConnId>,
    listener: Option<ListenerId>,
}

impl Host {
    fn new(last: u8) -> Self {
        let addrs = [format!("192.0.2.{last}/24"), format!("2001:db8::{last}/64")];
        let addrs = addrs.iter().map(|text| text.parse().expect("an address")).collect();
        let mut config = EndpointConfig::new(mac(last), addrs);
        config.seed = last.into();
        config.mtu = MTU;
        let limits = &mut config.limits;
        (limits.connections, limits.per_source, limits.window, limits.neighbours) = (CONNECTIONS, 3, 4096, 4);
        let mut endpoint = Endpoint::new(&config).expect("settings that work");
        let listener = endpoint.listen(3240, 2).ok();
        Self { endpoint, conns: Vec::new(), listener }
    }

    fn conn(&self, bits: u8) -> Option<ConnId> {
        self.conns.get(usize::from(bits) % self.conns.len().max(1)).copied()
    }
}

const fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn addr(last: u8, six: bool) -> IpAddr {
    match six {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        false => Ipv4Addr::new(192, 0, 2, last).into(),
    }
}

struct Bench {
    hosts: [Host; 2],
    /// Frames under way, each with the host that it goes to.
    wire: VecDeque<(usize, Vec<u8>)>,
    now: Instant,
}

impl Bench {
    fn operate(&mut self, input: &mut Input<'_>) {
        let (operation, bits) = (input.byte(), input.byte());
        let which = usize::from(bits & 1);
        match operation % 16 {
            0 => self.handle(which, input.piece()),
            1 => {
                let frame = forged(which, bits, input);
                self.handle(which, &frame);
            }
            2..=4 => self.deliver(usize::from(bits), |_| true),
            5 => drop(self.wire.pop_front()),
            6 => self.wire.extend(self.wire.front().cloned()),
            7 => {
                let (at, change) = (usize::from(input.byte()), input.byte());
                self.deliver(1, |frame| {
                    let at = at % frame.len();
                    frame[at] ^= change;
                    refresh(frame);
                    true
                });
            }
            8 => self.deliver(1, |frame| {
                frame.truncate(usize::from(bits));
                true
            }),
            9 => self.now += Duration::from_millis(u64::from(bits) * u64::from(bits)),
            10 => self.connect(which, bits, input.byte()),
            11 => self.send(which, bits, input),
            12 => self.receive(which, bits),
            13 => self.end(which, bits),
            14 => {
                let target = addr(2 - which as u8, bits & 2 != 0);
                // A payload that is too long is refused, which is as good.
                let _ = self.hosts[which].endpoint.ping(self.now, target, 1, bits.into(), &[0; 2000][..bits.into()]);
            }
            _ => self.listen(which),
        }
    }

    fn handle(&mut self, which: usize, frame: &[u8]) {
        // The caller takes care of what is longer than the link allows.
        let frame = &frame[..frame.len().min(usize::from(MTU) + 14)];
        self.hosts[which].endpoint.handle_frame(self.now, frame);
    }

    /// Lets the next frames arrive, changed by `change`.
    fn deliver(&mut self, count: usize, mut change: impl FnMut(&mut Vec<u8>) -> bool) {
        for _ in 0..count.max(1) {
            let Some((to, mut frame)) = self.wire.pop_front() else { break };
            if change(&mut frame) {
                self.handle(to, &frame);
            }
        }
    }

    fn connect(&mut self, which: usize, bits: u8, port: u8) {
        let port = if port & 3 == 0 { u16::from(port) } else { 3240 };
        let remote = SocketAddr::new(addr(2 - which as u8, bits & 2 != 0), port);
        let host = &mut self.hosts[which];
        host.conns.extend(host.endpoint.connect(self.now, remote));
    }

    fn send(&mut self, which: usize, bits: u8, input: &mut Input<'_>) {
        let host = &mut self.hosts[which];
        let Some(conn) = host.conn(bits >> 1) else { return };
        let data = input.piece().repeat(usize::from(bits >> 4) + 1);
        let room = host.endpoint.send_capacity(conn);
        assert_eq!(host.endpoint.send(conn, &data), data.len().min(room));
    }

    fn receive(&mut self, which: usize, bits: u8) {
        let host = &mut self.hosts[which];
        let Some(conn) = host.conn(bits >> 1) else { return };
        let waiting = host.endpoint.recv_len(conn);
        let wanted = usize::from(bits) * 16;
        let taken = host.endpoint.recv(conn, |data| data.len().min(wanted));
        assert!(taken <= waiting.min(wanted));
        assert_eq!(host.endpoint.recv_len(conn), waiting - taken);
    }

    fn end(&mut self, which: usize, bits: u8) {
        let host = &mut self.hosts[which];
        let Some(conn) = host.conn(bits >> 2) else { return };
        if bits & 2 == 0 { host.endpoint.shutdown(conn) } else { host.endpoint.abort(conn) }
    }

    fn listen(&mut self, which: usize) {
        let host = &mut self.hosts[which];
        match host.listener.take() {
            Some(listener) => host.endpoint.unlisten(listener),
            None => host.listener = host.endpoint.listen(3240, 2).ok(),
        }
    }

    /// Lets both do what is due at this instant.
    fn settle(&mut self) {
        let (now, wire) = (self.now, &mut self.wire);
        for (which, host) in self.hosts.iter_mut().enumerate() {
            let mut rounds = 0;
            while rounds == 0 || host.endpoint.poll_timeout().is_some_and(|due| due <= now) {
                rounds += 1;
                assert!(rounds < ROUNDS, "it spins at {now:?}: {:?}", host.endpoint.poll_timeout());
                let given = host.endpoint.poll_transmit(now, 16, &mut |frame| {
                    check(frame, which);
                    wire.push_back((1 - which, frame.to_vec()));
                });
                assert!(given <= 16);
                while let Some(event) = host.endpoint.poll_event() {
                    match event {
                        Event::Accepted { conn, .. } => host.conns.push(conn),
                        Event::Closed(conn, _) => host.conns.retain(|other| *other != conn),
                        _ => {}
                    }
                }
            }
            assert!(host.endpoint.connections() <= CONNECTIONS);
        }
        // A wire that nobody reads holds no more.
        self.wire.truncate(64);
    }
}

/// What a host sends is from itself, fits the link, and has its checksums right.
fn check(frame: &[u8], which: usize) {
    let view = Ethernet::new(frame).expect("a header");
    assert_eq!(view.source(), mac(which as u8 + 1));
    assert!(frame.len() <= usize::from(MTU) + 14);
    if let Ok(layers) = Layers::parse(frame) {
        let pseudo = layers.pseudo(layers.transport_len() as u32).expect("no routing header");
        assert_eq!(pseudo.add_bytes(&frame[layers.transport_at..layers.end]).checksum(), 0);
        assert_eq!(layers.end, frame.len());
    }
}

/// A packet to host `which` with the right addresses, lengths and checksums; protocol and all behind it from `input`.
fn forged(which: usize, bits: u8, input: &mut Input<'_>) -> Vec<u8> {
    let (to, from) = (which as u8 + 1, 2 - which as u8);
    let from = if bits & 0x40 == 0 { from } else { bits };
    let protocol = [6, 6, 17, 1, 58, 6, 0, 43][usize::from(bits >> 3 & 7)];
    let payload = input.piece();
    let mut frame = [mac(to).0, mac(from).0].concat();
    match (addr(from, bits & 2 != 0), addr(to, bits & 2 != 0)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + payload.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend([src.octets(), dst.octets()].concat());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16).to_be_bytes());
            frame.extend([protocol, if bits & 4 == 0 { 255 } else { 1 }]);
            frame.extend([src.octets(), dst.octets()].concat());
        }
        _ => {}
    }
    let message = frame.len();
    frame.extend(payload);
    refresh(&mut frame);
    if let (1 | 58, Some(field)) = (protocol, frame.get_mut(message + 2..message + 4)) {
        field.fill(0);
        let pseudo = match addr(to, bits & 2 != 0) {
            IpAddr::V4(_) => Sum::ZERO,
            IpAddr::V6(_) => Sum::ZERO.add_bytes(&frame[22..54]).add_u16(58).add_u32(payload.len() as u32),
        };
        let sum = pseudo.add_bytes(&frame[message..]).checksum();
        frame[message + 2..message + 4].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// Gives a TCP or UDP frame over IPv4 or IPv6 the checksums that its bytes need.
fn refresh(frame: &mut [u8]) {
    if let Some(header) = frame.get_mut(14..34).filter(|header| header[0] == 0x45) {
        header[10..12].fill(0);
        let sum = Sum::ZERO.add_bytes(header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let Ok(layers) = Layers::parse(frame) else { return };
    let (transport, end) = (layers.transport_at, layers.end);
    let field = transport + layers.checksum_offset();
    let Some(pseudo) = layers.pseudo(layers.transport_len() as u32) else { return };
    frame[field..field + 2].fill(0);
    let sum = pseudo.add_bytes(&frame[transport..end]).checksum();
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}
