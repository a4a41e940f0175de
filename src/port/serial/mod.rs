//! Serial lines: SLIP with Ethernet frames (`slip:`), SLIP with IP packets (`slip:…,mode=ip`) and IEEE 802.15.4
//! (`wpan:`), on whatever carries bytes ([`line::Line`]).
//!
//! Theory of operation. In: one read, whose bytes the decoder of the connection turns into frames that are put right
//! into the batch; a fault is counted and costs the frame it is in. Out: frames are encoded one behind the other into
//! one buffer and leave in one write. When the line takes only part of it, the frames that left whole are done with;
//! the one that was cut stays the first of the port's queue, is encoded again when the line is writable, and goes on
//! where it was cut. So there is never a second queue behind the switch's.
//!
//! With IP packets an [`IpAdapter`] stands between: a frame that holds none for the peer (a question for its address) is
//! seen to when all before it has left, once, and what the adapter says goes to the switch with the next read.

mod child;
mod fifo;
pub mod line;
pub mod pty;
mod uart;

#[cfg(test)]
mod tests;

use super::{Broken, Gone, Inhaled};
use crate::codec::contiki::{self, Word};
use crate::codec::{slip, uart_pipe};
use crate::config::{IpPeer, PortSpec, Slip, Transport, Wpan};
use crate::counters::{Counters, DropReason};
use crate::error::Result;
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{INHALE_ROOM, MAX_FRAME, MIN_FRAME, PREFIX, VLAN_ROOM};
use crate::service::endpoint::ip_adapter::{AdapterConfig, IpAdapter};
use crate::time::{Clock, Duration};
use crate::wire::{Mac, Offload};
use line::Line;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Bytes of one read. What they decode to fits what [`INHALE_ROOM`] keeps free: of two bytes on the line, an octet and
/// its END, a frame with its length takes five.
const READ: usize = 16 * 1024;
/// Bytes after which no further frame is encoded before a write.
const BURST: usize = 16 * 1024;
/// The longest payload of an Ethernet frame, and the longest IP packet that is taken from a peer, unless `mtu=` is more.
const ETHERNET_MTU: usize = 1500;
/// The longest packet that Zephyr takes without Ethernet: that of `SLIP_MTU`.
const IP_MTU: usize = 576;

/// What the line speaks.
enum Protocol {
    Ether(slip::Decoder),
    Ip(slip::Decoder, Box<IpAdapter>),
    Wpan(uart_pipe::Decoder),
}

/// A serial line as a port.
pub struct Serial {
    name: String,
    line: Line,
    protocol: Protocol,
    /// Longest packet of the decoder, with which it is made anew for each peer.
    longest: usize,
    contiki: bool,
    pausable: bool,
    clock: Clock,
    input: Box<[u8]>,
    /// Frames as they go out, and where each ends.
    burst: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of the next frame, as it goes out, that have left already.
    cut: usize,
    /// An answer to one of Contiki's questions, and how much of it has left.
    answer: (Vec<u8>, usize),
}

/// A frame on its way out, as its protocol sees it.
enum Egress<'a> {
    /// So it goes on the line.
    Bytes(&'a [u8]),
    /// It is for the adapter.
    Own,
}

impl Serial {
    /// Opens the line of a `slip:` port.
    ///
    /// # Errors
    /// As [`Line::open`].
    pub fn slip(spec: &PortSpec, slip: &Slip) -> Result<Self> {
        let mtu = spec.mtu.map_or(ETHERNET_MTU, |mtu| mtu as usize);
        match &slip.ip {
            Some(ip) => {
                let longest = mtu.clamp(ETHERNET_MTU, MAX_FRAME - MIN_FRAME);
                let adapter = Box::new(adapter(spec, ip));
                let protocol = Protocol::Ip(slip::Decoder::new(longest), adapter);
                Self::open(spec, &slip.transport, protocol, slip.contiki, longest)
            }
            None => {
                let longest = (mtu + MIN_FRAME + VLAN_ROOM).min(MAX_FRAME);
                let protocol = Protocol::Ether(slip::Decoder::new(longest));
                Self::open(spec, &slip.transport, protocol, slip.contiki, longest)
            }
        }
    }

    /// Opens the line of a `wpan:` port.
    ///
    /// # Errors
    /// As [`Line::open`].
    pub fn wpan(spec: &PortSpec, wpan: &Wpan) -> Result<Self> {
        let decoder = uart_pipe::Decoder::new();
        Self::open(spec, &wpan.transport, Protocol::Wpan(decoder), false, uart_pipe::MAX_FRAME)
    }

    fn open(spec: &PortSpec, transport: &Transport, protocol: Protocol, contiki: bool, longest: usize) -> Result<Self> {
        Ok(Self {
            name: spec.name.clone(),
            line: Line::open(transport)?,
            protocol,
            longest,
            contiki,
            // What a UART without flow control brings is lost while nobody reads it.
            pausable: !matches!(transport, Transport::Serial(uart) if !uart.rtscts),
            clock: Clock::start(),
            input: vec![0; READ].into(),
            burst: Vec::new(),
            ends: Vec::new(),
            cut: 0,
            answer: (Vec::new(), 0),
        })
    }

    /// The line.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Whether its peer waits while nothing is read from it.
    pub fn is_pausable(&self) -> bool {
        self.pausable
    }

    /// Looks for a peer; see [`Line::arrive`].
    pub fn arrive(&mut self) -> Option<std::io::Result<()>> {
        self.line.arrive()
    }

    /// The peer has left; see [`Line::depart`]. The next one starts clean.
    pub fn depart(&mut self, why: &str) -> bool {
        self.cut = 0;
        self.answer.0.clear();
        match &mut self.protocol {
            Protocol::Ether(decoder) => *decoder = slip::Decoder::new(self.longest),
            Protocol::Ip(decoder, adapter) => {
                *decoder = slip::Decoder::new(self.longest);
                adapter.forget_peer();
            }
            Protocol::Wpan(decoder) => *decoder = uart_pipe::Decoder::new(),
        }
        self.line.depart(why)
    }

    /// Whether the port has something for the switch that did not come by the line.
    pub fn has_own(&self) -> bool {
        matches!(&self.protocol, Protocol::Ip(_, adapter) if adapter.has_frames())
    }

    /// Whether there is ever anything due.
    pub fn keeps_time(&self) -> bool {
        matches!(self.protocol, Protocol::Ip(..))
    }

    /// The time until [`Self::handle_timeout`] has something to do.
    pub fn due_in(&self) -> Option<Duration> {
        match &self.protocol {
            Protocol::Ip(_, adapter) => adapter.poll_timeout().map(|due| due - self.clock.now()),
            _ => None,
        }
    }

    /// Lets the adapter ask again for those who have not answered.
    pub fn handle_timeout(&mut self) {
        if let Protocol::Ip(_, adapter) = &mut self.protocol {
            adapter.handle_timeout(self.clock.now());
        }
    }

    /// Receives what has come, in one read.
    ///
    /// # Errors
    /// [`Gone`] when the peer has left.
    pub fn receive(&mut self, batch: &mut Batch, id: PortId, counters: &mut Counters) -> Result<Inhaled, Gone> {
        if batch.free() < INHALE_ROOM {
            return Ok(Inhaled::More);
        }
        let got = self.line.read(&mut self.input)?;
        self.take(got, batch, id, counters);
        let left = self.release_own(batch, id, counters);
        self.send_answer()?;
        Ok(if got == READ || left { Inhaled::More } else { Inhaled::Drained })
    }

    /// Decodes the first `got` bytes of what was read.
    fn take(&mut self, got: usize, batch: &mut Batch, id: PortId, counters: &mut Counters) {
        let mut input = self.input.get(..got).unwrap_or_default();
        let Self { name, contiki, answer: (answer, _), protocol, .. } = self;
        let mut heard = |packet: &[u8], adapter: Option<&IpAdapter>| *contiki && hear(name, packet, adapter, answer);
        match protocol {
            Protocol::Ether(decoder) => {
                while let Some(event) = decoder.next(&mut input) {
                    match event {
                        slip::Event::Frame(packet) if heard(packet, None) => {}
                        slip::Event::Frame(frame) => put(batch, id, counters, frame),
                        slip::Event::Lost(fault) => lose(counters, fault),
                    }
                }
            }
            Protocol::Ip(decoder, adapter) => {
                let now = self.clock.now();
                while let Some(event) = decoder.next(&mut input) {
                    match event {
                        slip::Event::Frame(packet) if heard(packet, Some(&*adapter)) => {}
                        slip::Event::Frame(packet) => {
                            if adapter.handle_packet(now, packet).is_err() && !(*contiki && says(name, packet)) {
                                noise(counters);
                            }
                        }
                        slip::Event::Lost(fault) => lose(counters, fault),
                    }
                }
            }
            Protocol::Wpan(decoder) => {
                while let Some(event) = decoder.next(&mut input) {
                    match event {
                        uart_pipe::Event::Frame(frame) => put(batch, id, counters, frame),
                        uart_pipe::Event::Desync => noise(counters),
                    }
                }
            }
        }
    }

    /// Puts what the adapter has to say into the batch. True if not all of it found room.
    fn release_own(&mut self, batch: &mut Batch, id: PortId, counters: &mut Counters) -> bool {
        let Protocol::Ip(_, adapter) = &mut self.protocol else { return false };
        let given_up = adapter.take_unresolved();
        counters.received(given_up, 0);
        counters.drop(DropReason::Unresolved, given_up);
        while adapter.has_frames() && batch.free() >= PREFIX + MAX_FRAME {
            adapter.poll_transmit(1, &mut |frame| put(batch, id, counters, frame));
        }
        adapter.has_frames()
    }

    /// Sends what the line takes. Returns the number of frames that are done with.
    ///
    /// # Errors
    /// [`Broken`] when the peer has left.
    pub fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
        let mut done = 0;
        match self.send_all(out, counters, &mut done) {
            Ok(()) => Ok(done),
            Err(gone) => Err(Broken { done, gone }),
        }
    }

    fn send_all(&mut self, out: Outgoing<'_>, counters: &mut Counters, done: &mut usize) -> Result<(), Gone> {
        if !self.send_answer()? {
            return Ok(());
        }
        while *done < out.len() {
            self.encode(out.skip(*done), counters, done);
            let offered = self.burst.get(self.cut..).unwrap_or_default();
            if offered.is_empty() {
                continue;
            }
            let sent = self.line.write(offered)?;
            let all = sent == offered.len();
            self.count(out.skip(*done), self.cut + sent, counters, done);
            if !all {
                break;
            }
        }
        Ok(())
    }

    /// Encodes the first frames of `out` into the burst, up to one that is for the adapter; if that is the first, it is
    /// seen to, and done with.
    fn encode(&mut self, out: Outgoing<'_>, counters: &mut Counters, done: &mut usize) {
        self.burst.clear();
        self.ends.clear();
        let now = self.clock.now();
        for (_, frame) in out.frames() {
            match egress(&mut self.protocol, now, frame) {
                Egress::Bytes(bytes) => {
                    if matches!(self.protocol, Protocol::Wpan(_)) {
                        if uart_pipe::encode(bytes, &mut self.burst).is_err() {
                            // A radio medium carries no such frame.
                            counters.drop(DropReason::TooBig, 1);
                            *done += 1;
                            return;
                        }
                    } else {
                        slip::encode(bytes, &mut self.burst);
                    }
                    self.ends.push(self.burst.len());
                }
                Egress::Own if self.ends.is_empty() => {
                    if let Protocol::Ip(_, adapter) = &mut self.protocol {
                        match adapter.handle_frame(now, frame) {
                            Ok(()) => counters.sent(1, frame.len() as u64),
                            Err(reason) => counters.drop(reason, 1),
                        }
                    }
                    *done += 1;
                    return;
                }
                Egress::Own => return,
            }
            if self.burst.len() >= BURST {
                return;
            }
        }
    }

    /// Counts the frames of the burst that have left whole once `left` bytes of it have, and notes how much of the next
    /// one has.
    fn count(&mut self, out: Outgoing<'_>, left: usize, counters: &mut Counters, done: &mut usize) {
        let whole = self.ends.iter().take_while(|end| **end <= left).count();
        let bytes = (0..whole).map(|position| out.frame(position).len()).sum::<usize>();
        counters.sent(whole as u64, bytes as u64);
        let start = whole.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.cut = left - start;
        *done += whole;
    }

    /// Sends an answer, if there is one and no frame is half sent. False: not all of it has left.
    fn send_answer(&mut self) -> Result<bool, Gone> {
        let (answer, sent) = &mut self.answer;
        if answer.is_empty() || self.cut > 0 {
            return Ok(true);
        }
        *sent += self.line.write(answer.get(*sent..).unwrap_or_default())?;
        let all = *sent >= answer.len();
        if all {
            answer.clear();
            *sent = 0;
        }
        Ok(all)
    }
}

/// The adapter of a `mode=ip` port.
fn adapter(spec: &PortSpec, ip: &IpPeer) -> IpAdapter {
    let config = AdapterConfig {
        mac: ip.mac.unwrap_or_else(|| mac_from(&spec.name)),
        addrs: ip.addrs.clone(),
        gateways: ip.gateways.clone(),
        mtu: spec.mtu.map_or(IP_MTU, |mtu| mtu as usize),
    };
    IpAdapter::new(config, RandomState::new().hash_one(0))
}

/// A locally administered address that is the same for the same name each time (FNV-1a, 40 bits of it).
fn mac_from(name: &str) -> Mac {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Mac::from_u64(0x0200_0000_0000 | (hash >> 24 & 0x00ff_ffff_ffff))
}

fn egress<'f>(protocol: &mut Protocol, now: crate::time::Instant, frame: &'f [u8]) -> Egress<'f> {
    match protocol {
        Protocol::Ip(_, adapter) => adapter.look(now, frame).map_or(Egress::Own, Egress::Bytes),
        _ => Egress::Bytes(frame),
    }
}

fn put(batch: &mut Batch, id: PortId, counters: &mut Counters, frame: &[u8]) {
    if !batch.push(frame, id, Offload::NONE) {
        counters.received(1, frame.len() as u64);
        counters.drop(DropReason::Oversize, 1);
    }
}

fn noise(counters: &mut Counters) {
    counters.received(1, 0);
    counters.drop(DropReason::LineNoise, 1);
}

fn lose(counters: &mut Counters, fault: slip::Fault) {
    counters.received(1, 0);
    counters.drop(
        match fault {
            slip::Fault::Oversize => DropReason::Oversize,
            slip::Fault::Escape => DropReason::LineNoise,
        },
        1,
    );
}

/// Answers or logs what is a word of Contiki's and no frame. False: it is none. One answer waits at a time.
fn hear(name: &str, packet: &[u8], adapter: Option<&IpAdapter>, answer: &mut Vec<u8>) -> bool {
    let Some(word) = Word::read(packet) else { return false };
    let reply = match word {
        Word::Debug(text) => {
            say(name, text);
            return true;
        }
        Word::Mac(digits) => {
            log::info!("{name}: its peer has the MAC address {digits}");
            return true;
        }
        Word::WhichPrefix => adapter.and_then(prefix).map(|address| contiki::prefix_answer(address).to_vec()),
        Word::WhichMac => adapter.map(|adapter| contiki::mac_answer(adapter.mac().0).into_bytes()),
    };
    match reply {
        Some(reply) if answer.is_empty() => slip::encode(&reply, answer),
        Some(_) => {}
        None => log::info!("{name}: its peer asks {}; there is no answer", String::from_utf8_lossy(packet)),
    }
    true
}

/// Logs what is no packet but text that firmware has printed. False: it is neither.
fn says(name: &str, packet: &[u8]) -> bool {
    contiki::text(packet).map(|text| say(name, text)).is_some()
}

fn say(name: &str, text: &str) {
    text.lines().filter(|line| !line.is_empty()).for_each(|line| log::info!("{name}: says: {line}"));
}

/// The IPv6 address whose prefix a peer is told: the first that was given.
fn prefix(adapter: &IpAdapter) -> Option<[u8; 16]> {
    adapter.peer_addresses().find_map(|addr| match addr {
        IpAddr::V6(addr) if !addr.is_unicast_link_local() => Some(addr.octets()),
        _ => None,
    })
}
