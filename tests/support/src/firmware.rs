//! An instance that behaves as real firmware does, images of Zephyr with SLIP or native_sim: a new random MAC
//! address at each start, fixed addresses 192.0.2.1 and 2001:db8::1, no word unless it is asked, and a look at what has
//! come only every 50 ms.
//!
//! It speaks on any [`Peer`]: a [`StreamPeer`](crate::StreamPeer) is QEMU's Ethernet, a [`LinePeer`](crate::LinePeer) its
//! SLIP. It remembers neighbours as Zephyr does: an answer counts only for what it has asked itself, an announcement
//! (RFC 5227) for what it knows.

use crate::frame::{ARP, BROADCAST, IPV4, Mac, arp, checksum, ethernet, ipv4};
use crate::peer::{Peer, Received};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const IPV6: u16 = 0x86dd;
const POLL: Duration = Duration::from_millis(50);

/// A running instance. It ends on drop, as a program that is killed.
#[derive(Debug)]
pub struct Firmware {
    mac: Mac,
    ends: Arc<AtomicBool>,
    pings: Sender<IpAddr>,
    answers: Receiver<IpAddr>,
    thread: Option<JoinHandle<()>>,
}

impl Firmware {
    /// Starts one with 192.0.2.`number` and 2001:db8::`number`.
    pub fn start(peer: impl Peer + Send + 'static, number: u8) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed) ^ std::process::id();
        let [_, a, b, c] = count.to_be_bytes();
        Self::with_mac(peer, number, [0x02, number, 0x53, a, b, c])
    }

    /// The same with a MAC address that is not random.
    pub fn with_mac(peer: impl Peer + Send + 'static, number: u8, mac: Mac) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (pings, asked) = channel();
        let (told, answers) = channel();
        let over = ends.clone();
        let mut instance = Instance {
            mac,
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()),
            neighbours: HashMap::new(),
            asked: HashSet::new(),
            told,
        };
        let thread = std::thread::spawn(move || instance.run(peer, &over, &asked));
        Self { mac, ends, pings, answers, thread: Some(thread) }
    }

    /// Its MAC address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Whether one ping to `addr` is answered within `time`.
    pub fn pings(&self, addr: IpAddr, time: Duration) -> bool {
        self.pings.send(addr).expect("it runs");
        let deadline = Instant::now() + time;
        while let Ok(from) = self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if from == addr {
                return true;
            }
        }
        false
    }
}

impl Drop for Firmware {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking(), "the instance has failed");
    }
}

struct Instance {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    neighbours: HashMap<IpAddr, Mac>,
    asked: HashSet<IpAddr>,
    told: Sender<IpAddr>,
}

impl Instance {
    fn run(&mut self, mut peer: impl Peer, over: &AtomicBool, asked: &Receiver<IpAddr>) {
        let mut waiting = Vec::new();
        while !over.load(Ordering::Relaxed) {
            std::thread::sleep(POLL);
            let mut out = Vec::new();
            loop {
                match peer.receive(Duration::ZERO) {
                    Received::Frame(frame) => out.extend(self.answer(&frame)),
                    Received::Nothing => break,
                    Received::Closed => return,
                }
            }
            waiting.extend(asked.try_iter());
            waiting.retain(|addr| match self.neighbours.get(addr) {
                Some(mac) => {
                    out.push(self.ping(*addr, *mac));
                    false
                }
                None => {
                    if self.asked.insert(*addr) {
                        out.push(self.question(*addr));
                    }
                    true
                }
            });
            for frame in out {
                peer.send(&frame);
            }
        }
    }

    /// What it sends back for a frame.
    fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (head, packet) = frame.split_at_checked(14)?;
        let to: Mac = head[..6].try_into().ok()?;
        if to != self.mac && to[0] & 1 == 0 {
            return None;
        }
        let from: Mac = head[6..12].try_into().ok()?;
        match u16::from_be_bytes([head[12], head[13]]) {
            ARP => self.hear_arp(to, packet.get(..28)?),
            IPV4 => self.hear_v4(from, packet),
            IPV6 => self.hear_v6(from, packet),
            _ => None,
        }
    }

    fn learn(&mut self, addr: IpAddr, mac: Mac, announced: bool) {
        if self.asked.remove(&addr) || announced && self.neighbours.contains_key(&addr) {
            self.neighbours.insert(addr, mac);
        }
    }

    fn hear_arp(&mut self, to: Mac, packet: &[u8]) -> Option<Vec<u8>> {
        let mac: Mac = packet[8..14].try_into().ok()?;
        let [sender, target] =
            [14, 24].map(|at| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]));
        if packet[7] == 2 {
            self.learn(sender.into(), mac, false);
            return None;
        }
        if sender == target && to == BROADCAST {
            self.learn(sender.into(), mac, true);
            return None;
        }
        if target != self.v4 {
            return None;
        }
        // Who asks is remembered.
        self.neighbours.insert(sender.into(), mac);
        Some(ethernet(mac, self.mac, ARP, &arp(2, (self.mac, self.v4), (mac, sender))))
    }

    fn hear_v4(&mut self, from: Mac, packet: &[u8]) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
        let packet = packet.get(..length)?;
        if packet.get(16..20)? != self.v4.octets() {
            return None;
        }
        let source = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
        let protocol = packet[9];
        let mut message = packet.get(20..)?.to_vec();
        match (protocol, message.first()?) {
            (1, 0) => return self.told.send(source.into()).ok().and(None),
            (1, 8) => {
                message[0] = 0;
                message[2..4].fill(0);
                let sum = checksum(&message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            // A datagram for port 7 goes back, without a checksum (RFC 862; RFC 768).
            (17, _) if message.get(2..4)? == [0, 7] => {
                let port = [message[0], message[1]];
                message[..4].copy_from_slice(&[0, 7, port[0], port[1]]);
                message[6..8].fill(0);
            }
            _ => return None,
        }
        let mac = self.neighbours.get(&source.into()).copied().unwrap_or(from);
        Some(ethernet(mac, self.mac, IPV4, &ipv4(protocol, self.v4, source, &message)))
    }

    fn hear_v6(&mut self, from: Mac, packet: &[u8]) -> Option<Vec<u8>> {
        let message = packet.get(40..)?;
        let address = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from);
        let [source, destination] = [packet.get(8..24)?, packet.get(24..40)?].map(address);
        let (source, destination) = (source?, destination?);
        if packet[6] != 58 {
            return None;
        }
        match message.first()? {
            135 if message.get(8..24)? == self.v6.octets() => {
                let mac = message.get(26..32).and_then(|mac| mac.try_into().ok()).unwrap_or(from);
                self.neighbours.insert(source.into(), mac);
                let told = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &self.v6.octets(), &[2, 1], &self.mac].concat();
                Some(self.icmpv6(mac, source, told))
            }
            136 => {
                let target = address(message.get(8..24)?)?;
                let solicited = message.get(4)? & 0x40 != 0;
                let mac = message.get(26..32).and_then(|mac| mac.try_into().ok()).unwrap_or(from);
                self.learn(target.into(), mac, !solicited);
                None
            }
            128 if destination == self.v6 => {
                let mac = self.neighbours.get(&source.into()).copied().unwrap_or(from);
                Some(self.icmpv6(mac, source, [&[129], &message[1..]].concat()))
            }
            129 => self.told.send(source.into()).ok().and(None),
            _ => None,
        }
    }

    fn question(&self, addr: IpAddr) -> Vec<u8> {
        match addr {
            IpAddr::V4(addr) => {
                let packet = arp(1, (self.mac, self.v4), ([0; 6], addr));
                ethernet(BROADCAST, self.mac, ARP, &packet)
            }
            IpAddr::V6(addr) => {
                let [.., a, b, c] = addr.octets();
                let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
                group[13..].copy_from_slice(&[a, b, c]);
                let asks = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &addr.octets(), &[1, 1], &self.mac].concat();
                self.icmpv6([0x33, 0x33, 0xff, a, b, c], group.into(), asks)
            }
        }
    }

    fn ping(&self, addr: IpAddr, mac: Mac) -> Vec<u8> {
        match addr {
            IpAddr::V4(addr) => {
                let message = crate::frame::icmp_echo(8, 7, 1, b"firmware");
                ethernet(mac, self.mac, IPV4, &ipv4(1, self.v4, addr, &message))
            }
            IpAddr::V6(addr) => self.icmpv6(mac, addr, vec![128, 0, 0, 0, 0, 7, 0, 1]),
        }
    }

    fn icmpv6(&self, mac: Mac, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
        message[2..4].fill(0);
        let length = u16::try_from(message.len()).expect("a short message").to_be_bytes();
        let addresses = [self.v6.octets(), to.octets()].concat();
        let pseudo = [&addresses[..], &[0, 0], &length, &[0, 0, 0, 58], &message].concat();
        message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        let head = [&[0x60, 0, 0, 0][..], &length, &[58, 255]].concat();
        ethernet(mac, self.mac, IPV6, &[head, addresses, message].concat())
    }
}
