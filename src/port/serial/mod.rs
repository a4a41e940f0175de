//! Serial lines: SLIP with Ethernet frames (`slip:`), SLIP with IP packets (`slip:…,mode=ip`) and IEEE 802.15.4
//! (`wpan:`), on whatever carries bytes ([`line::Line`]).
//!
//! Theory of operation. In: one read; the connection's decoder writes the frames straight into the batch. An error in
//! the encoding is counted, and costs the frame it is in. Out: frames are encoded one behind the other into one buffer
//! and leave in one write. When the line takes only part of it, the frames that left whole are done with; the one that
//! was cut stays the first of the port's queue, and the rest of it, as it goes out, is kept and leaves first when the
//! line is writable. So there is never a second queue behind the switch's.
//!
//! The state for one peer (the decoder, a partly sent frame, an answer) is a `Session`, replaced when the peer has
//! left.
//!
//! With IP packets there is an [`IpAdapter`] in between. It handles a frame without a packet for the peer (an ARP
//! request for its address) once, when all before it has left; its own frames go to the switch with the next read.

mod child;
mod fifo;
pub(crate) mod line;
pub(crate) mod pty;
mod session;
mod uart;

#[cfg(test)]
mod tests;

use super::{Broken, Gone, Inhaled};
use crate::codec::contiki::{self, Word};
use crate::codec::{slip, uart_pipe};
use crate::config::{IpPeer, PortSpec, Slip, Transport, Wpan};
use crate::counters::{Counters, DropReason};
use crate::error::Error;
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{INHALE_ROOM, MAX_FRAME, MIN_FRAME, PREFIX, VLAN_ROOM};
use crate::service::endpoint::ip_adapter::{AdapterConfig, IpAdapter};
use crate::time::{Clock, Duration, Instant};
use crate::wire::{Mac, Offload};
use line::Line;
use session::{Decoder, Session};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Bytes of one read. Decoded, they fit [`INHALE_ROOM`]: two bytes on the line, an octet and its END, make a frame of
/// five with its length.
const READ: usize = 16 * 1024;
/// The longest payload of an Ethernet frame, and the longest IP packet that is taken from a peer, unless `mtu=` is more.
const ETHERNET_MTU: usize = 1500;
/// The longest packet that Zephyr takes without Ethernet: that of `SLIP_MTU`.
const IP_MTU: usize = 576;

/// A carrier of the octets of a line.
pub trait Octets {
    /// Reads into `room`; 0: there is nothing.
    ///
    /// # Errors
    /// [`Gone`]: the peer has left.
    fn read(&self, room: &mut [u8]) -> Result<usize, Gone>;

    /// Writes what the line takes of `bytes`, and says how many.
    ///
    /// # Errors
    /// [`Gone`]: the peer has left.
    fn write(&self, bytes: &[u8]) -> Result<usize, Gone>;
}

/// The protocol on the line.
enum Protocol {
    Ether,
    Ip(Box<IpAdapter>),
    Wpan,
}

/// A serial line as a port.
pub struct Serial<L = Line> {
    name: String,
    line: L,
    protocol: Protocol,
    session: Session,
    /// Longest packet of the decoder.
    longest: usize,
    contiki: bool,
    pausable: bool,
    clock: Clock,
    input: Box<[u8]>,
}

impl Serial {
    /// Opens the line of a `slip:` port.
    ///
    /// # Errors
    /// As [`Line::open`].
    pub fn slip(spec: &PortSpec, slip: &Slip) -> Result<Self, Error> {
        Ok(Self { pausable: waits(&slip.transport), ..Self::slip_over(Line::open(&slip.transport)?, spec, slip) })
    }

    /// Opens the line of a `wpan:` port.
    ///
    /// # Errors
    /// As [`Line::open`].
    pub fn wpan(spec: &PortSpec, wpan: &Wpan) -> Result<Self, Error> {
        Ok(Self { pausable: waits(&wpan.transport), ..Self::wpan_over(Line::open(&wpan.transport)?, spec) })
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
        self.session = Session::new(&self.protocol, self.longest);
        if let Protocol::Ip(adapter) = &mut self.protocol {
            adapter.forget_peer();
        }
        self.line.depart(why)
    }
}

impl<L: Octets> Serial<L> {
    /// A `slip:` port on a line.
    pub fn slip_over(line: L, spec: &PortSpec, slip: &Slip) -> Self {
        let mtu = spec.mtu.map_or(ETHERNET_MTU, |mtu| mtu as usize);
        let (protocol, longest) = match &slip.ip {
            Some(ip) => {
                let longest = mtu.clamp(ETHERNET_MTU, MAX_FRAME - MIN_FRAME);
                (Protocol::Ip(Box::new(adapter(spec, ip, IP_MTU))), longest)
            }
            None => (Protocol::Ether, (mtu + MIN_FRAME + VLAN_ROOM).min(MAX_FRAME)),
        };
        Self::over(line, spec, protocol, slip.contiki, longest)
    }

    /// A `wpan:` port on a line.
    pub fn wpan_over(line: L, spec: &PortSpec) -> Self {
        Self::over(line, spec, Protocol::Wpan, false, uart_pipe::MAX_FRAME)
    }

    fn over(line: L, spec: &PortSpec, protocol: Protocol, contiki: bool, longest: usize) -> Self {
        Self {
            name: spec.name.clone(),
            line,
            session: Session::new(&protocol, longest),
            protocol,
            longest,
            contiki,
            pausable: true,
            clock: Clock::start(),
            input: vec![0; READ].into(),
        }
    }

    /// Whether the adapter has frames for the switch.
    pub fn has_own(&self) -> bool {
        matches!(&self.protocol, Protocol::Ip(adapter) if adapter.has_frames())
    }

    /// Whether it has timers.
    pub fn keeps_time(&self) -> bool {
        matches!(self.protocol, Protocol::Ip(..))
    }

    /// The time until [`Self::handle_timeout`] has something to do.
    pub fn due_in(&self) -> Option<Duration> {
        match &self.protocol {
            Protocol::Ip(adapter) => adapter.poll_timeout().map(|due| due - self.clock.now()),
            Protocol::Ether | Protocol::Wpan => None,
        }
    }

    /// The address by which a peer with bare IP packets is known.
    pub fn mac(&self) -> Option<Mac> {
        match &self.protocol {
            Protocol::Ip(adapter) => Some(adapter.mac()),
            Protocol::Ether | Protocol::Wpan => None,
        }
    }

    /// Lets the adapter repeat unanswered address requests.
    pub fn handle_timeout(&mut self) {
        if let Protocol::Ip(adapter) = &mut self.protocol {
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
        self.session.send_answer(&self.line)?;
        Ok(if got == READ || left { Inhaled::More } else { Inhaled::Drained })
    }

    /// Decodes the first `got` bytes of what was read.
    fn take(&mut self, got: usize, batch: &mut Batch, id: PortId, counters: &mut Counters) {
        let mut input = self.input.get(..got).unwrap_or_default();
        let Self { name, contiki, clock, session: Session { decoder, answer, .. }, protocol, .. } = self;
        let mut heard =
            |packet: &[u8], adapter: Option<&IpAdapter>| *contiki && hear(name, packet, adapter, &mut answer.0);
        match decoder {
            Decoder::Slip(decoder) => {
                while let Some(event) = decoder.next(&mut input) {
                    match (event, &mut *protocol) {
                        (slip::Event::Lost(fault), _) => lose(counters, fault),
                        (slip::Event::Frame(packet), Protocol::Ip(adapter)) => {
                            if !heard(packet, Some(&**adapter))
                                && adapter.handle_packet(clock.now(), packet).is_err()
                                && !(*contiki && says(name, packet))
                            {
                                noise(counters);
                            }
                        }
                        (slip::Event::Frame(packet), _) => {
                            if !heard(packet, None) {
                                put(batch, id, counters, packet);
                            }
                        }
                    }
                }
            }
            Decoder::Radio(decoder) => {
                while let Some(event) = decoder.next(&mut input) {
                    match event {
                        uart_pipe::Event::Frame(frame) => put(batch, id, counters, frame),
                        uart_pipe::Event::Desync => noise(counters),
                    }
                }
            }
        }
    }

    /// Puts the adapter's own frames into the batch. True if not all found room.
    fn release_own(&mut self, batch: &mut Batch, id: PortId, counters: &mut Counters) -> bool {
        let Protocol::Ip(adapter) = &mut self.protocol else { return false };
        release(adapter, batch, id, counters)
    }

    /// Whether part of the first frame that was not done with has left.
    pub fn has_begun(&self) -> bool {
        self.session.has_begun()
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
        let Self { session, line, protocol, clock, .. } = self;
        if !session.send_rest(line, out, counters, done)? || !session.send_answer(line)? {
            return Ok(());
        }
        while *done < out.len() {
            let rest = out.skip(*done);
            if session.encode(protocol, clock.now(), rest) == 0 {
                // The first frame is not for the line: the adapter handles it, or it cannot be sent.
                *done += 1;
                see_to(protocol, clock.now(), rest.bytes(0), counters);
            } else if !session.send_burst(line, rest, counters, done)? {
                break;
            }
        }
        Ok(())
    }
}

/// Handles a frame that does not go on the line.
fn see_to(protocol: &mut Protocol, now: Instant, frame: &[u8], counters: &mut Counters) {
    let seen_to = match protocol {
        Protocol::Ip(adapter) => adapter.handle_frame(now, frame),
        // A radio medium carries no such frame.
        Protocol::Ether | Protocol::Wpan => Err(DropReason::TooBig),
    };
    match seen_to {
        Ok(()) => counters.sent(1, frame.len() as u64),
        Err(reason) => counters.drop(reason, 1),
    }
}

/// Whether a peer waits while nothing is read from it. A UART without flow control loses data meanwhile.
fn waits(transport: &Transport) -> bool {
    !matches!(transport, Transport::Serial(uart) if !uart.rtscts)
}

/// The adapter of a `mode=ip` port. Its peer takes packets up to `longest` unless `mtu=` says otherwise.
pub(super) fn adapter(spec: &PortSpec, ip: &IpPeer, longest: usize) -> IpAdapter {
    let config = AdapterConfig {
        mac: ip.mac.unwrap_or_else(|| mac_from(&spec.name)),
        addrs: ip.addrs.clone(),
        gateways: ip.gateways.clone(),
        mtu: spec.mtu.map_or(longest, |mtu| mtu as usize),
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

/// Puts an adapter's own frames into the batch. True if not all found room.
pub(super) fn release(adapter: &mut IpAdapter, batch: &mut Batch, id: PortId, counters: &mut Counters) -> bool {
    let given_up = adapter.take_unresolved();
    counters.received(given_up, 0);
    counters.drop(DropReason::Unresolved, given_up);
    while adapter.has_frames() && batch.free() >= PREFIX + MAX_FRAME {
        adapter.poll_transmit(1, &mut |frame| put(batch, id, counters, frame));
    }
    adapter.has_frames()
}

/// Gives the switch a frame.
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

/// Answers or logs a control message of Contiki's. False: the packet is none. One answer waits at a time.
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

/// Logs text that firmware has printed in the place of a packet. False: it is no text.
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
