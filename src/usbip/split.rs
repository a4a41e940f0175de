//! Between a client and a server with small buffers: transfers that are too long for it are done in parts.
//!
//! Theory of operation. Commands of the client come in whole and leave for the server; a bulk or interrupt transfer
//! longer than a part is sent as one SUBMIT after the other, each under the client's own seqnum, since the one before it
//! has had its answer. A part is whole packets of any endpoint at the device's speed, so that only the last one may end
//! a transfer on the bus: an IN part that came short, an error, or the end of the buffer is the end of the whole, and
//! `ZERO_PACKET` is for the last part only. Transfers of one endpoint stay in order: behind one in parts the others of
//! its endpoint wait here.
//!
//! UNLINK keeps its two right outcomes. A transfer that waits here is given up here. One that the server has is given up
//! there, no further part follows, and what the server says to the UNLINK is its end: -104, or with data that had come
//! already an answer with that data and 0, so that what the device has sent is not lost.
//!
//! Control transfers cannot be cut. An IN one is asked for no more than a part, as if its device had no more; an OUT one
//! that is longer is answered with a stall. Isochronous transfers pass as they are.

use super::decode::{Command, Decoder, take};
use super::pdu::{
    CmdSubmit, CmdUnlink, Fault, HEADER_LENGTH, NO_PACKETS, PACKET_LENGTH, Pdu, RetSubmit, RetUnlink, encode_packet,
    errno,
};
use super::{MAX_PENDING_BYTES, MAX_PENDING_URBS, OUTPUT_MARK, SpeedCode};
use crate::codec::ByteQueue;
use crate::usb::{Address, Direction, Status, Urb};
use std::collections::{BTreeMap, VecDeque};

/// `transfer_flags`: an OUT transfer of whole packets ends with an empty one (`URB_ZERO_PACKET`).
const ZERO_PACKET: u32 = 0x0040;

/// Why the connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SplitFault {
    /// A header or packet that cannot be understood.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// The client has used a seqnum twice.
    #[error("seqnum {0} twice")]
    Duplicate(u32),
    /// More UNLINKs without an answer than [`MAX_PENDING_URBS`].
    #[error("more than {MAX_PENDING_URBS} UNLINKs without an answer")]
    Unlinks,
    /// The server has answered an unknown request.
    #[error("reply to unknown seqnum {0}")]
    Seqnum(u32),
    /// The server has answered with more than there was room for.
    #[error("{1} bytes in reply to seqnum {0}")]
    Overrun(u32, u32),
}

/// A transfer without an answer.
struct Flight {
    command: CmdSubmit,
    urb: Urb,
    /// In parts.
    split: bool,
    /// Bytes that the server has been asked to move, in all.
    asked: u32,
    /// Those of the part that it works on; none while the transfer waits here.
    part: Option<u32>,
    /// Bytes moved.
    actual: u32,
    unlinked: bool,
    /// Bytes of OUT data.
    held: usize,
}

/// The transfers of one endpoint address.
#[derive(Default)]
struct Lane {
    /// The one in parts that the others wait for.
    split: Option<u32>,
    queue: VecDeque<u32>,
}

/// A reply of which something is still to come.
struct Reply {
    head: RetSubmit,
    body: Vec<u8>,
    missing: usize,
}

/// See the module.
pub struct Splitter {
    /// Bytes of a part.
    part: u32,
    decoder: Decoder,
    flights: BTreeMap<u32, Flight>,
    /// Bytes of OUT data in them.
    pending: usize,
    lanes: BTreeMap<(u8, bool), Lane>,
    /// UNLINKs that the server has, and their victims.
    unlinks: BTreeMap<u32, u32>,
    partial: [u8; HEADER_LENGTH],
    have: usize,
    reply: Option<Reply>,
    to_server: ByteQueue,
    to_client: ByteQueue,
}

impl Splitter {
    /// For a device of this speed behind a server that takes `limit` bytes in a URB. Parts are as many whole packets as
    /// that holds, but at least one.
    pub fn new(limit: u32, speed: SpeedCode) -> Self {
        // The largest packet of a bulk endpoint, which those of the other speeds divide (USB 2.0, 5.8.3; USB 3.2, 8.5).
        let packet = match speed.0 {
            0..=2 => 64,
            3 | 4 => 512,
            _ => 1024,
        };
        Self {
            part: (limit / packet).max(1) * packet,
            decoder: Decoder::default(),
            flights: BTreeMap::new(),
            pending: 0,
            lanes: BTreeMap::new(),
            unlinks: BTreeMap::new(),
            partial: [0; HEADER_LENGTH],
            have: 0,
            reply: None,
            to_server: ByteQueue::default(),
            to_client: ByteQueue::default(),
        }
    }

    /// Bytes for the server.
    pub fn to_server(&mut self) -> &mut ByteQueue {
        &mut self.to_server
    }

    /// Bytes for the client.
    pub fn to_client(&mut self) -> &mut ByteQueue {
        &mut self.to_client
    }

    /// Whether bytes of the client should be handed over now.
    pub fn wants_client(&self) -> bool {
        self.to_server.len() < OUTPUT_MARK
    }

    /// Whether bytes of the server should be handed over now.
    pub fn wants_server(&self) -> bool {
        self.to_client.len() < OUTPUT_MARK
    }

    /// Takes bytes of the client.
    ///
    /// # Errors
    /// The first breach of the protocol.
    pub fn handle_client(&mut self, mut bytes: &[u8]) -> Result<(), SplitFault> {
        // Without descriptors a transfer is isochronous if it has packets.
        while let Some(command) = self.decoder.decode(&mut bytes, |_| None, Vec::new)? {
            match command {
                Command::Submit(command, urb) => self.submit(command, urb)?,
                Command::Unlink(command) => self.unlink(command)?,
            }
        }
        Ok(())
    }

    fn submit(&mut self, mut command: CmdSubmit, urb: Urb) -> Result<(), SplitFault> {
        let (seqnum, endpoint) = (command.base.seqnum, command.base.endpoint);
        if self.flights.contains_key(&seqnum) {
            return Err(SplitFault::Duplicate(seqnum));
        }
        let long = command.length > self.part;
        if endpoint.number() == 0 && long {
            if endpoint.direction() == Direction::Out {
                self.to_client.extend(&Pdu::RetSubmit(answer(&command, errno::STALL, 0)).encode());
                return Ok(());
            }
            command.length = self.part;
            let [low, high, ..] = self.part.min(u32::from(u16::MAX)).to_le_bytes();
            command.setup[6..].copy_from_slice(&[low, high]);
        }
        let full = self.flights.len() >= MAX_PENDING_URBS || self.pending + urb.data.len() > MAX_PENDING_BYTES;
        if full || urb.status == Status::NoRoom {
            self.to_client.extend(&Pdu::RetSubmit(answer(&command, errno::NO_ROOM, 0)).encode());
            urb.packets.iter().for_each(|packet| self.to_client.extend(&encode_packet(packet, errno::NO_ROOM)));
            return Ok(());
        }
        self.pending += urb.data.len();
        let split = long && endpoint.number() != 0 && matches!(command.packets, 0 | NO_PACKETS);
        // An UNLINK that has overtaken its victim is with the server, which has to see the victim, too.
        let unlinked = self.unlinks.values().any(|victim| *victim == seqnum);
        let held = urb.data.len();
        let flight = Flight { command, urb, split, asked: 0, part: None, actual: 0, unlinked, held };
        self.flights.insert(seqnum, flight);
        let lane = self.lanes.entry(key(endpoint)).or_default();
        if lane.split.is_some() && !unlinked {
            lane.queue.push_back(seqnum);
        } else {
            self.start(seqnum);
        }
        Ok(())
    }

    /// Sends a transfer, or the first part of it.
    fn start(&mut self, seqnum: u32) {
        let Some(flight) = self.flights.get_mut(&seqnum) else { return };
        if flight.split {
            self.lanes.entry(key(flight.command.base.endpoint)).or_default().split.get_or_insert(seqnum);
        }
        flight.send(if flight.split { self.part } else { u32::MAX }, &mut self.to_server);
    }

    fn unlink(&mut self, command: CmdUnlink) -> Result<(), SplitFault> {
        if let Some(flight) = self.flights.get_mut(&command.victim) {
            if flight.part.is_none() {
                self.land(command.victim);
                let reply = RetUnlink { seqnum: command.base.seqnum, status: errno::UNLINKED };
                self.to_client.extend(&Pdu::RetUnlink(reply).encode());
                return Ok(());
            }
            flight.unlinked = true;
        }
        if self.unlinks.len() >= MAX_PENDING_URBS {
            return Err(SplitFault::Unlinks);
        }
        self.unlinks.insert(command.base.seqnum, command.victim);
        self.to_server.extend(&Pdu::CmdUnlink(command).encode());
        Ok(())
    }

    /// Takes a transfer out of the table, and starts those that waited for it.
    fn land(&mut self, seqnum: u32) -> Option<Flight> {
        let flight = self.flights.remove(&seqnum)?;
        self.pending -= flight.held;
        let key = key(flight.command.base.endpoint);
        let lane = self.lanes.entry(key).or_default();
        lane.queue.retain(|waiting| *waiting != seqnum);
        if lane.split == Some(seqnum) {
            lane.split = None;
        }
        while let Some(lane) = self.lanes.get_mut(&key)
            && lane.split.is_none()
            && let Some(next) = lane.queue.pop_front()
        {
            self.start(next);
        }
        Some(flight)
    }

    /// Takes bytes of the server.
    ///
    /// # Errors
    /// The first breach of the protocol.
    pub fn handle_server(&mut self, mut bytes: &[u8]) -> Result<(), SplitFault> {
        while !bytes.is_empty() {
            let mut reply = match self.reply.take() {
                Some(reply) => reply,
                None => {
                    let Some(header) = take::<HEADER_LENGTH>(&mut self.partial, &mut self.have, &mut bytes) else {
                        return Ok(());
                    };
                    match Pdu::decode(&header)? {
                        Pdu::RetSubmit(head) => self.begin(head)?,
                        Pdu::RetUnlink(reply) => {
                            self.unlinked(reply);
                            continue;
                        }
                        Pdu::CmdSubmit(_) => return Err(Fault::Command(1).into()),
                        Pdu::CmdUnlink(_) => return Err(Fault::Command(2).into()),
                    }
                }
            };
            let (body, rest) = bytes.split_at(reply.missing.min(bytes.len()));
            reply.body.extend_from_slice(body);
            reply.missing -= body.len();
            bytes = rest;
            if reply.missing == 0 {
                self.ended(reply);
            } else {
                self.reply = Some(reply);
            }
        }
        Ok(())
    }

    /// The length of a reply's payload, by its request.
    fn begin(&self, head: RetSubmit) -> Result<Reply, SplitFault> {
        let flight = self.flights.get(&head.seqnum).ok_or(SplitFault::Seqnum(head.seqnum))?;
        let part = flight.part.ok_or(SplitFault::Seqnum(head.seqnum))?;
        if head.actual > part {
            return Err(SplitFault::Overrun(head.seqnum, head.actual));
        }
        let payload = if flight.urb.endpoint.direction() == Direction::In { head.actual as usize } else { 0 };
        Ok(Reply { head, body: Vec::new(), missing: payload + flight.urb.packets.len() * PACKET_LENGTH })
    }

    /// A whole reply to a SUBMIT: the end of a transfer or of a part.
    fn ended(&mut self, reply: Reply) {
        let Reply { mut head, body, .. } = reply;
        let Some(flight) = self.flights.get_mut(&head.seqnum) else { return };
        let input = flight.urb.endpoint.direction() == Direction::In;
        // No device ends an OUT transfer early in good order, but some servers count its bytes as 0: Zephyr's, when it has
        // passed them on already.
        if let Some(part) = flight.part.filter(|_| !input && head.status == 0 && flight.urb.packets.is_empty()) {
            head.actual = part;
        }
        if !flight.split {
            self.land(head.seqnum);
            self.to_client.extend(&Pdu::RetSubmit(head).encode());
            self.to_client.push(body);
            return;
        }
        let short = flight.part.is_some_and(|part| head.actual < part);
        flight.actual += head.actual;
        flight.urb.data.extend_from_slice(if input { &body } else { &[] });
        if head.status != 0 || short || flight.asked == flight.command.length {
            self.finish(head.seqnum, head.status);
        } else if flight.unlinked {
            // Nothing more is to be done; the answer to the UNLINK is its end.
            flight.part = Some(0);
        } else {
            flight.send(self.part, &mut self.to_server);
        }
    }

    /// Answers a transfer that was done in parts.
    fn finish(&mut self, seqnum: u32, status: i32) {
        let Some(flight) = self.land(seqnum) else { return };
        self.to_client.extend(&Pdu::RetSubmit(answer(&flight.command, status, flight.actual)).encode());
        if flight.urb.endpoint.direction() == Direction::In {
            self.to_client.push(flight.urb.data);
        }
    }

    fn unlinked(&mut self, mut reply: RetUnlink) {
        let victim = self.unlinks.remove(&reply.seqnum).and_then(|victim| Some((victim, self.flights.get(&victim)?)));
        if let Some((seqnum, flight)) = victim {
            let input = flight.urb.endpoint.direction() == Direction::In;
            if flight.split && input && flight.actual > 0 {
                self.finish(seqnum, 0);
                reply.status = 0;
            } else {
                if flight.split {
                    reply.status = errno::UNLINKED;
                }
                self.land(seqnum);
            }
        }
        self.to_client.extend(&Pdu::RetUnlink(reply).encode());
    }
}

impl Flight {
    /// Sends the next `most` bytes of it, or as many as are left.
    fn send(&mut self, most: u32, to_server: &mut ByteQueue) {
        let part = most.min(self.command.length - self.asked);
        let last = self.asked + part == self.command.length;
        let flags = if last { self.command.flags } else { self.command.flags & !ZERO_PACKET };
        to_server.extend(&Pdu::CmdSubmit(CmdSubmit { length: part, flags, ..self.command }).encode());
        if self.urb.endpoint.direction() == Direction::Out {
            let data = self.urb.data.get(self.asked as usize..).unwrap_or_default();
            to_server.extend(data.get(..part as usize).unwrap_or(data));
        }
        self.urb.packets.iter().for_each(|packet| to_server.extend(&encode_packet(packet, errno::PARTIAL)));
        self.asked += part;
        self.part = Some(part);
    }
}

fn key(endpoint: Address) -> (u8, bool) {
    (endpoint.number(), endpoint.direction() == Direction::In)
}

/// The header of an answer without packets.
fn answer(command: &CmdSubmit, status: i32, actual: u32) -> RetSubmit {
    RetSubmit { seqnum: command.base.seqnum, status, actual, start_frame: 0, packets: command.packets, errors: 0 }
}

#[cfg(test)]
mod tests;
