//! The gateway: guests that send anything, and a host whose sockets do anything. Whatever comes, bytes arrive as they were
//! sent and in order, on both sides; no socket is left behind; nobody spins.

use super::Input;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use zbridge::config::{PortKind, PortSpec};
use zbridge::frame::{Batch, Outgoing};
use zbridge::internals::limits::{MAX_FRAME, NAT_MEMORY, PREFIX};
use zbridge::internals::service::Nat;
use zbridge::internals::wire::Sum;
use zbridge::service::{Arrived, Datagrams, Event, Ingress, Outside, Refusal, Refused, Service, SocketId};
use zbridge::time::{Duration, Instant};
use zbridge::wire::{Checksum, Offload};

const OPERATIONS: usize = 150;
/// More rounds than any amount of work takes at one instant: whoever needs more of them spins.
const ROUNDS: usize = 2000;
const GATEWAY: [u8; 6] = [2, 0x6e, 10, 0, 2, 2];
const GUEST: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 9];
/// Every guest's first sequence number.
const ISS: u32 = 0xffff_f000;
/// The listener of a forward.
const LISTENER: SocketId = SocketId(0);

/// The byte at a place of any stream.
fn pattern(at: usize) -> u8 {
    (at ^ at >> 8).wrapping_mul(31) as u8
}

/// Operations: one byte that says which, one for its object, and what it wants.
pub fn nat(data: &[u8]) {
    let mut input = Input(data);
    let spec = "nat:10.0.2.2/24,ipv6=2001:db8::2/64,forward=tcp:127.0.0.1:2222->10.0.2.15:22";
    let spec = PortSpec::parse(spec).expect("a port");
    let PortKind::Nat(config) = &spec.kind else { unreachable!("a gateway") };
    let mut nat = Nat::new(&spec, config, 7).expect("a gateway");
    nat.add_forward(LISTENER, config.forwards[0]);
    let mut bench = Bench { nat, script: Script::default(), now: Instant::from_secs(1), conns: Vec::new(), number: 0 };
    for _ in 0..OPERATIONS {
        if input.is_empty() {
            break;
        }
        bench.operate(&mut input);
        bench.settle();
    }
    bench.outlast();
}

/// A connection as the guest knows it.
struct Conn {
    guest: u16,
    remote: SocketAddr,
    /// The gateway's first sequence number, and what the guest has of it.
    theirs: Option<(u32, u32)>,
}

#[derive(Default)]
struct Socket {
    /// It takes, and gives, so many bytes more.
    takes: usize,
    gives: usize,
    sent: usize,
    received: usize,
    ended: bool,
    fails: bool,
}

/// A host that does what the input says.
#[derive(Default)]
struct Script {
    sockets: BTreeMap<u64, Socket>,
    next: u64,
    clients: usize,
    refused: VecDeque<Refused>,
}

impl Script {
    fn insert(&mut self) -> SocketId {
        self.next += 1;
        self.sockets.insert(self.next, Socket::default());
        SocketId(self.next)
    }

    fn get(&mut self, socket: SocketId) -> &mut Socket {
        self.sockets.get_mut(&socket.0).expect("a socket that is not closed")
    }
}

impl Outside for Script {
    fn connect(&mut self, to: SocketAddr) -> Result<SocketId> {
        if to.port() == 1 { Err(ErrorKind::NetworkUnreachable.into()) } else { Ok(self.insert()) }
    }

    fn connected(&mut self, socket: SocketId) -> Result<()> {
        match self.get(socket) {
            socket if socket.fails => Err(ErrorKind::ConnectionRefused.into()),
            socket if socket.takes == 0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }

    fn open(&mut self, kind: Datagrams, v6: bool) -> Result<SocketId> {
        if kind == Datagrams::Echo && v6 { Err(ErrorKind::PermissionDenied.into()) } else { Ok(self.insert()) }
    }

    fn accept(&mut self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        assert_eq!(listener, LISTENER);
        self.clients = self.clients.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
        Ok((self.insert(), SocketAddr::from(([127, 0, 0, 1], 40_000))))
    }

    fn send(&mut self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        let socket = self.get(socket);
        let count = bytes.len().min(socket.takes);
        match (socket.fails, count) {
            (true, _) => return Err(ErrorKind::ConnectionReset.into()),
            (_, 0) => return Err(ErrorKind::WouldBlock.into()),
            _ => {}
        }
        let from = socket.sent;
        assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == pattern(from + at)), "not what the guest sent");
        (socket.takes, socket.sent) = (socket.takes - count, socket.sent + count);
        Ok(count)
    }

    fn recv(&mut self, socket: SocketId, room: &mut [u8]) -> Result<usize> {
        let socket = self.get(socket);
        let count = room.len().min(socket.gives);
        match (socket.fails, count, socket.ended) {
            (true, ..) => return Err(ErrorKind::ConnectionReset.into()),
            (_, 0, false) => return Err(ErrorKind::WouldBlock.into()),
            _ => {}
        }
        let from = socket.received;
        room.iter_mut().take(count).enumerate().for_each(|(at, byte)| *byte = pattern(from + at));
        (socket.gives, socket.received) = (socket.gives - count, socket.received + count);
        Ok(count)
    }

    fn send_to(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> Result<()> {
        assert!(bytes.len() <= 65_535 && !to.ip().is_multicast() && !to.ip().is_unspecified());
        if self.get(socket).fails { Err(Error::from(ErrorKind::HostUnreachable)) } else { Ok(()) }
    }

    fn recv_from(&mut self, socket: SocketId, room: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let socket = self.get(socket);
        let length = socket.gives.min(room.len());
        if std::mem::take(&mut socket.gives) == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok((length, SocketAddr::from(([198, 51, 100, 7], 7))))
    }

    fn refused(&mut self, _: SocketId) -> Option<Refused> {
        self.refused.pop_front()
    }

    fn shutdown(&mut self, socket: SocketId) {
        self.get(socket);
    }

    fn close(&mut self, socket: SocketId, _: bool) {
        self.sockets.remove(&socket.0).expect("a socket that is closed once");
    }
}

struct Bench {
    nat: Nat,
    script: Script,
    now: Instant,
    conns: Vec<Conn>,
    number: u16,
}

impl Bench {
    fn operate(&mut self, input: &mut Input<'_>) {
        let (operation, bits) = (input.byte(), input.byte());
        match operation % 12 {
            0 => {
                let frame = [&GATEWAY[..], &GUEST, input.piece()].concat();
                self.hear(&frame, Checksum::None);
            }
            1 => {
                let dst = [[198, 51, 100, 7], [10, 0, 2, 2], [10, 0, 2, 99], [255; 4]][usize::from(bits & 3)];
                let protocol = [1, 6, 17, bits][usize::from(bits >> 2 & 3)];
                let place = if bits & 16 == 0 { 0 } else { input.word() };
                let payload = input.piece();
                self.packet(dst, protocol, place, payload);
            }
            2..=4 => self.segment(bits, input),
            5 => self.begin(bits),
            6 | 7 => self.change(bits, input.word()),
            8 => self.now += Duration::from_millis(u64::from(bits) * u64::from(bits)),
            9 => {
                self.script.clients += 1;
                self.tell(LISTENER, true, false);
                // the guest says where it is
                let arp = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
                let addrs = [&GUEST[..], &[10, 0, 2, 15], &GATEWAY, &[10, 0, 2, 2]].concat();
                self.hear(&[&GATEWAY[..], &GUEST, &arp, &addrs].concat(), Checksum::None);
            }
            10 => {
                let why = [Refusal::Port, Refusal::Host, Refusal::Hops, Refusal::TooBig(bits.into())];
                let to = SocketAddr::from(([198, 51, 100, 7], 7));
                let by = (bits & 4 != 0).then(|| [bits, 0, 113, 9].into());
                let why = why[usize::from(bits & 3)];
                self.script.refused.push_back(Refused { to, why, by, number: bits.into() });
                self.change(bits, 0);
            }
            _ => {
                let datagram = [&[0, bits, 0, 7, 0, 0, 0, 0][..], input.piece()].concat();
                let mut datagram = datagram;
                let length = datagram.len() as u16;
                datagram[4..6].copy_from_slice(&length.to_be_bytes());
                self.packet([198, 51, 100, 7], 17, 0, &datagram);
            }
        }
    }

    /// A segment of a connection, almost or altogether right: where it stands, its flags, its window and its length.
    fn segment(&mut self, bits: u8, input: &mut Input<'_>) {
        let (flags, at, window) = (input.byte(), input.word(), input.word());
        let length = usize::from(input.word() % 1461);
        let Some(conn) = self.conns.get(usize::from(bits & 7) % self.conns.len().max(1)) else { return };
        let (_, ack) = conn.theirs.unwrap_or((0, 0));
        let ack = if bits & 0x80 == 0 { ack } else { ack.wrapping_sub(u32::from(window)) };
        let syn = flags & 2 != 0;
        let seq = if syn { ISS } else { ISS.wrapping_add(1 + u32::from(at)) };
        let payload: Vec<u8> = (0..if syn { 0 } else { length }).map(|n| pattern(usize::from(at) + n)).collect();
        let remote = conn.remote;
        let segment = tcp((conn.guest, remote.port()), (seq, ack), flags, window, &payload);
        if let IpAddr::V4(dst) = remote.ip() {
            self.packet(dst.octets(), 6, 0, &segment);
        }
    }

    /// The guest asks for a connection.
    fn begin(&mut self, bits: u8) {
        let remote = [[198, 51, 100, 7], [10, 0, 2, 2]][usize::from(bits & 1)];
        let (guest, port) = (5000 + u16::from(bits >> 4), if bits & 14 == 14 { 1 } else { 80 });
        let remote = SocketAddr::from((remote, port));
        if !self.conns.iter().any(|conn| conn.guest == guest && conn.remote == remote) {
            self.conns.push(Conn { guest, remote, theirs: None });
        }
        let segment = tcp((guest, port), (ISS, 0), 2, 0xffff, &[]);
        if let IpAddr::V4(dst) = remote.ip() {
            self.packet(dst.octets(), 6, 0, &segment);
        }
    }

    /// The host's side of a socket changes.
    fn change(&mut self, bits: u8, amount: u16) {
        let names: Vec<u64> = self.script.sockets.keys().copied().collect();
        let Some(&name) = names.get(usize::from(bits & 15) % names.len().max(1)) else { return };
        let socket = self.script.get(SocketId(name));
        match bits >> 4 {
            0..=5 => socket.takes += usize::from(amount),
            6..=11 => socket.gives = (socket.gives + usize::from(amount)).min(1 << 20),
            12 | 13 => socket.ended = true,
            14 => socket.fails = true,
            _ => {}
        }
        let fails = socket.fails;
        self.tell(SocketId(name), true, true);
        if fails && !self.script.refused.is_empty() {
            let event = Event { socket: SocketId(name), readable: true, writable: true, refused: true };
            self.nat.handle_event(self.now, event, &mut self.script);
        }
    }

    fn tell(&mut self, socket: SocketId, readable: bool, writable: bool) {
        let event = Event { socket, readable, writable, refused: !self.script.refused.is_empty() };
        self.nat.handle_event(self.now, event, &mut self.script);
    }

    /// An IPv4 packet of the guest whose transport's checksum somebody vouches for.
    fn packet(&mut self, dst: [u8; 4], protocol: u8, place: u16, payload: &[u8]) {
        let length = 20 + payload.len() as u16;
        let mut header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&(self.number >> 3).to_be_bytes());
        header[6..8].copy_from_slice(&place.to_be_bytes());
        header[16..].copy_from_slice(&dst);
        let sum = Sum::ZERO.add_bytes(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        self.number = self.number.wrapping_add(1);
        self.hear(&[&GATEWAY[..], &GUEST, &[8, 0], &header, payload].concat(), Checksum::Valid);
    }

    fn hear(&mut self, frame: &[u8], checksum: Checksum) {
        let offload = Offload { checksum, ..Offload::NONE };
        self.nat.handle_frame(self.now, Arrived { ingress: Ingress::ONLY, frame, offload }, &mut self.script);
    }

    /// Lets the gateway do what is due at this instant.
    fn settle(&mut self) {
        let mut out = Batch::new(4 * (PREFIX + MAX_FRAME));
        for round in 0.. {
            assert!(round < ROUNDS, "it spins at {:?}", self.now);
            self.nat.handle_timeout(self.now, &mut self.script);
            let more = self.nat.poll_transmit(self.now, &mut self.script, &mut out);
            for (_, frame) in Outgoing::rest_of(&out, 0).frames() {
                self.look(frame);
            }
            out.clear();
            if !more && self.nat.poll_timeout().is_none_or(|due| due > self.now) {
                break;
            }
        }
        let flows = self.nat.flows();
        assert!(flows.held <= NAT_MEMORY);
        assert!(self.script.sockets.len() <= flows.tcp + flows.udp + flows.echo, "{flows}, and more sockets");
    }

    /// Looks at a frame to the guest as the guest would.
    fn look(&mut self, frame: &[u8]) {
        assert_eq!(frame[6..12], GATEWAY);
        let packet = &frame[14..];
        if frame[12..14] != [8, 0] {
            return;
        }
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
        assert_eq!(Sum::ZERO.add_bytes(&packet[..20]).checksum(), 0);
        if packet[9] != 6 {
            return;
        }
        let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let remote = SocketAddr::from(([packet[12], packet[13], packet[14], packet[15]], word(20)));
        let (guest, flags) = (word(22), packet[33]);
        let seq = u32::from_be_bytes([packet[24], packet[25], packet[26], packet[27]]);
        let payload = &packet[20 + usize::from(packet[32] >> 4) * 4..];
        let found = self.conns.iter_mut().position(|conn| (conn.guest, conn.remote) == (guest, remote));
        let at = found.unwrap_or_else(|| {
            self.conns.push(Conn { guest, remote, theirs: None });
            self.conns.len() - 1
        });
        let conn = &mut self.conns[at];
        if flags & 4 != 0 {
            return assert!(payload.is_empty());
        }
        if flags & 2 != 0 && conn.theirs.is_none_or(|(iss, _)| iss != seq) {
            conn.theirs = Some((seq, seq.wrapping_add(1)));
        }
        let Some((iss, next)) = &mut conn.theirs else { return assert!(payload.is_empty()) };
        let offset = seq.wrapping_sub(*iss).wrapping_sub(1) as usize;
        assert!(payload.iter().enumerate().all(|(n, byte)| *byte == pattern(offset + n)), "not what the host sent");
        let end = seq.wrapping_add(payload.len() as u32 + u32::from(flags & 1));
        if end.wrapping_sub(*next) < 1 << 31 && flags & 2 == 0 {
            *next = end;
        }
    }

    /// Whatever was begun ends by itself.
    fn outlast(&mut self) {
        self.script.clients = 0;
        for _ in 0..200 {
            let Some(due) = self.nat.poll_timeout() else { break };
            self.now = self.now.max(due) + Duration::from_millis(1);
            self.settle();
            if self.script.sockets.is_empty() {
                break;
            }
        }
        assert!(self.script.sockets.is_empty(), "{}: left behind", self.nat.flows());
    }
}

fn tcp((from, to): (u16, u16), (seq, ack): (u32, u32), flags: u8, window: u16, payload: &[u8]) -> Vec<u8> {
    let mut options = Vec::new();
    if flags & 2 != 0 {
        options.extend([2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 0, 0, 0]);
    } else if flags & 0x40 != 0 {
        // a selective acknowledgement of something behind, or of nonsense
        let from = ack.wrapping_add(u32::from(window));
        options.extend([1, 1, 5, 10]);
        options.extend([from.to_be_bytes(), from.wrapping_add(seq & 0xfff).to_be_bytes()].concat());
    }
    let words = (20 + options.len()) as u8 / 4;
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
    bytes.extend([words << 4, flags]);
    bytes.extend(window.to_be_bytes());
    bytes.extend([0; 4]);
    [&bytes, &options, payload].concat()
}
