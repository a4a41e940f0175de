//! The client's role: lists devices, imports one, submits transfers and gives them up.
//!
//! The owner of the socket sends what [`Client::transmit`] gives and hands over what arrived; [`Client::poll_event`]
//! tells what came of it. The client keeps a table of its transfers and holds the server to the rules: a reply to no
//! transfer, one that is longer than asked for, or one that follows an UNLINK answered with -104, is a
//! [`ClientFault`], after which the connection is of no more use.

use super::decode::take;
use super::op::{self, BUSID_LENGTH, DeviceRecord, INTERFACE_LENGTH, InterfaceRecord, OP_LENGTH, OpStatus};
use super::pdu::{
    Base, CmdSubmit, CmdUnlink, Fault, HEADER_LENGTH, NO_PACKETS, PACKET_LENGTH, Pdu, RetSubmit, RetUnlink,
    decode_packet, encode_packet, errno,
};
use super::{MAX_DEVICES, VERSION};
use crate::usb::{ClassCode, Direction, IsoPacket, Urb};
use std::collections::{BTreeMap, VecDeque};

/// The implementation whose behaviour a client imitates; servers have to serve both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Dialect {
    /// Linux vhci: seqnums count up, `number_of_packets` is 0 where there are none.
    #[default]
    Linux,
    /// usbip-win2: the direction is in bit 0 of the seqnum, `number_of_packets` is 0xffffffff where there are none.
    Windows,
}

/// An event of the client.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The list of devices.
    Devices(Vec<DeviceRecord>),
    /// The import succeeded; the URB phase begins. The record has no interfaces.
    Imported(DeviceRecord),
    /// The server refused the request.
    Refused(OpStatus),
    /// A transfer's end: seqnum, status word, and the transfer with `actual`, `data` and `packets` filled in.
    Done(u32, i32, Urb),
    /// The answer to an UNLINK: its seqnum, the victim's, and the status word (-104, or 0 if the victim had ended).
    Unlinked(u32, u32, i32),
}

/// How a server broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientFault {
    /// Another version.
    #[error("protocol version {0:#06x}")]
    Version(u16),
    /// A reply to something else than was asked.
    #[error("reply {0:#06x} to another request")]
    Reply(u16),
    /// More devices than [`MAX_DEVICES`].
    #[error("a list of {0} devices")]
    Devices(u32),
    /// A header or packet that cannot be understood.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// A reply whose seqnum is not in flight.
    #[error("reply to unknown seqnum {0}")]
    Seqnum(u32),
    /// More data than there was room for.
    #[error("{1} bytes in reply to seqnum {0}")]
    Overrun(u32, u32),
    /// The packets of an isochronous reply do not add up to its length, or are not as many as were sent.
    #[error("packets of seqnum {0} do not add up")]
    Packets(u32),
    /// An UNLINK was answered with 0 while its victim is still in flight.
    #[error("unlinked seqnum {0} has no reply")]
    Lost(u32),
    /// Bytes that nothing asked for.
    #[error("unexpected bytes")]
    Unexpected,
}

enum Phase {
    Idle,
    /// Waits for `op_common` of the reply with this code.
    Reply(u16),
    Record,
    Count,
    List {
        devices: Vec<DeviceRecord>,
        left: u32,
    },
    Interfaces {
        devices: Vec<DeviceRecord>,
        left: u32,
        interfaces: u8,
    },
    Header,
    Body {
        reply: RetSubmit,
        urb: Urb,
        payload: usize,
        packets: usize,
    },
}

/// One connection to a server.
pub struct Client {
    dialect: Dialect,
    phase: Phase,
    out: Vec<u8>,
    input: Vec<u8>,
    partial: [u8; HEADER_LENGTH],
    have: usize,
    devid: u32,
    next: u32,
    flights: BTreeMap<u32, Urb>,
    unlinks: BTreeMap<u32, u32>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client on a fresh connection, whose first seqnum follows `seqnum`.
    pub fn new(dialect: Dialect, seqnum: u32) -> Self {
        Self {
            dialect,
            phase: Phase::Idle,
            out: Vec::new(),
            input: Vec::new(),
            partial: [0; HEADER_LENGTH],
            have: 0,
            devid: 0,
            next: seqnum,
            flights: BTreeMap::new(),
            unlinks: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks for the list of devices; the server closes after its reply.
    pub fn list(&mut self) {
        op::put_op(&mut self.out, op::REQ_DEVLIST, OpStatus::Ok);
        self.phase = Phase::Reply(op::REQ_DEVLIST);
    }

    /// Asks for the device `busid`.
    pub fn import(&mut self, busid: &str) {
        op::put_op(&mut self.out, op::REQ_IMPORT, OpStatus::Ok);
        op::put_text(&mut self.out, busid, BUSID_LENGTH);
        self.phase = Phase::Reply(op::REQ_IMPORT);
    }

    /// Submits a transfer after an import, and gives its seqnum. The id of `urb` is not used.
    pub fn submit(&mut self, urb: Urb) -> u32 {
        let input = urb.endpoint.direction() == Direction::In;
        let seqnum = self.seqnum(input);
        let packets = match (self.dialect, urb.packets.len()) {
            (Dialect::Windows, 0) => NO_PACKETS,
            (_, count) => count as u32,
        };
        let command = CmdSubmit {
            base: Base { seqnum, devid: self.devid, endpoint: urb.endpoint },
            flags: u32::from(urb.short_not_ok) * super::pdu::SHORT_NOT_OK,
            length: urb.length,
            start_frame: 0,
            packets,
            interval: 0,
            setup: urb.setup.to_bytes(),
        };
        self.out.extend_from_slice(&Pdu::CmdSubmit(command).encode());
        if !input {
            self.out.extend_from_slice(&urb.data);
        }
        for packet in &urb.packets {
            self.out.extend_from_slice(&encode_packet(packet, errno::PARTIAL));
        }
        self.flights.insert(seqnum, urb);
        seqnum
    }

    /// Gives up the transfer `victim`, and gives the seqnum of the UNLINK.
    pub fn unlink(&mut self, victim: u32) -> u32 {
        let seqnum = self.seqnum(false);
        let endpoint = crate::usb::Address::CONTROL;
        let command = CmdUnlink { base: Base { seqnum, devid: self.devid, endpoint }, victim };
        self.out.extend_from_slice(&Pdu::CmdUnlink(command).encode());
        self.unlinks.insert(seqnum, victim);
        seqnum
    }

    /// The transfers that have no answer yet.
    pub fn in_flight(&self) -> impl Iterator<Item = u32> {
        self.flights.keys().copied()
    }

    /// UNLINKs that have no answer yet.
    pub fn unlinks(&self) -> usize {
        self.unlinks.len()
    }

    /// Takes the bytes to send.
    pub fn transmit(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// The next event, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes that came from the server.
    ///
    /// # Errors
    /// The first breach of the protocol.
    pub fn handle_bytes(&mut self, mut bytes: &[u8]) -> Result<(), ClientFault> {
        while !bytes.is_empty() {
            self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
                Phase::Idle => return Err(ClientFault::Unexpected),
                Phase::Header => self.header(&mut bytes)?,
                Phase::Body { reply, urb, payload, packets } => self.body(reply, urb, payload, packets, &mut bytes)?,
                phase => self.operation(phase, &mut bytes)?,
            };
        }
        Ok(())
    }

    fn seqnum(&mut self, input: bool) -> u32 {
        self.next = match self.dialect {
            Dialect::Linux => self.next.wrapping_add(1),
            Dialect::Windows => (self.next & !1).wrapping_add(2) | u32::from(input),
        };
        self.next
    }

    /// Collects the bytes that `phase` needs, and does the next step when they are there.
    fn operation(&mut self, phase: Phase, bytes: &mut &[u8]) -> Result<Phase, ClientFault> {
        let needed = match phase {
            Phase::Reply(_) => OP_LENGTH,
            Phase::Count => 4,
            Phase::Interfaces { .. } => INTERFACE_LENGTH,
            _ => op::RECORD_LENGTH,
        };
        let (taken, rest) = bytes.split_at((needed - self.input.len()).min(bytes.len()));
        self.input.extend_from_slice(taken);
        *bytes = rest;
        if self.input.len() < needed {
            return Ok(phase);
        }
        let input = std::mem::take(&mut self.input);
        match (phase, input.first_chunk(), input.first_chunk(), input.first_chunk()) {
            (Phase::Reply(request), _, Some(op), _) => self.reply(request, op),
            (Phase::Count, Some(count), _, _) => match u32::from_be_bytes(*count) {
                left @ 0..=MAX_DEVICES => Ok(self.next_device(Vec::new(), left)),
                other => Err(ClientFault::Devices(other)),
            },
            (Phase::Record, _, _, Some(record)) => {
                let (record, _) = DeviceRecord::decode(record);
                self.devid = record.devid();
                self.events.push_back(Event::Imported(record));
                Ok(Phase::Header)
            }
            (Phase::List { mut devices, left }, _, _, Some(record)) => {
                let (record, interfaces) = DeviceRecord::decode(record);
                devices.push(record);
                Ok(self.next_interface(devices, left, interfaces))
            }
            (Phase::Interfaces { mut devices, left, interfaces }, Some(&[class, subclass, protocol, _]), _, _) => {
                if let Some(device) = devices.last_mut() {
                    device.interfaces.push(InterfaceRecord(ClassCode(class, subclass, protocol)));
                }
                Ok(self.next_interface(devices, left, interfaces - 1))
            }
            _ => Err(ClientFault::Unexpected),
        }
    }

    fn reply(&mut self, request: u16, op: &[u8; OP_LENGTH]) -> Result<Phase, ClientFault> {
        let [v0, v1, c0, c1, s0, s1, s2, s3] = *op;
        let (version, code) = (u16::from_be_bytes([v0, v1]), u16::from_be_bytes([c0, c1]));
        if version != VERSION {
            return Err(ClientFault::Version(version));
        }
        if code != request & !op::REQUEST {
            return Err(ClientFault::Reply(code));
        }
        match OpStatus::from_wire(u32::from_be_bytes([s0, s1, s2, s3])) {
            OpStatus::Ok if request == op::REQ_DEVLIST => Ok(Phase::Count),
            OpStatus::Ok => Ok(Phase::Record),
            status => {
                self.events.push_back(Event::Refused(status));
                Ok(Phase::Idle)
            }
        }
    }

    fn next_device(&mut self, devices: Vec<DeviceRecord>, left: u32) -> Phase {
        if left > 0 {
            return Phase::List { devices, left };
        }
        self.events.push_back(Event::Devices(devices));
        Phase::Idle
    }

    fn next_interface(&mut self, devices: Vec<DeviceRecord>, left: u32, interfaces: u8) -> Phase {
        match interfaces {
            0 => self.next_device(devices, left - 1),
            _ => Phase::Interfaces { devices, left, interfaces },
        }
    }

    fn header(&mut self, bytes: &mut &[u8]) -> Result<Phase, ClientFault> {
        let Some(header) = take::<HEADER_LENGTH>(&mut self.partial, &mut self.have, bytes) else {
            return Ok(Phase::Header);
        };
        match Pdu::decode(&header)? {
            Pdu::RetUnlink(RetUnlink { seqnum, status }) => {
                let victim = self.unlinks.remove(&seqnum).ok_or(ClientFault::Seqnum(seqnum))?;
                let flying = self.flights.contains_key(&victim);
                match (status, flying) {
                    (errno::UNLINKED, false) => return Err(ClientFault::Seqnum(victim)),
                    (errno::UNLINKED, true) => _ = self.flights.remove(&victim),
                    (_, true) => return Err(ClientFault::Lost(victim)),
                    (_, false) => {}
                }
                self.events.push_back(Event::Unlinked(seqnum, victim, status));
                Ok(Phase::Header)
            }
            Pdu::RetSubmit(reply) => self.begin(reply),
            Pdu::CmdSubmit(_) => Err(Fault::Command(1).into()),
            Pdu::CmdUnlink(_) => Err(Fault::Command(2).into()),
        }
    }

    fn begin(&mut self, reply: RetSubmit) -> Result<Phase, ClientFault> {
        let seqnum = reply.seqnum;
        let mut urb = self.flights.remove(&seqnum).ok_or(ClientFault::Seqnum(seqnum))?;
        if reply.actual > urb.length {
            return Err(ClientFault::Overrun(seqnum, reply.actual));
        }
        let packets = std::mem::take(&mut urb.packets).len();
        let expected = if packets == 0 && self.dialect == Dialect::Windows { NO_PACKETS } else { packets as u32 };
        if reply.packets != expected {
            return Err(ClientFault::Packets(seqnum));
        }
        let input = urb.endpoint.direction() == Direction::In;
        urb.data.clear();
        // Of an OUT transfer that ended well all was taken, whatever a server counts.
        let whole = !input && reply.status == 0 && packets == 0;
        urb.actual = if whole { urb.length } else { reply.actual };
        urb.start_frame = reply.start_frame;
        let payload = if input { reply.actual as usize } else { 0 };
        Ok(self.finish(reply, urb, payload, packets))
    }

    fn body(
        &mut self,
        reply: RetSubmit,
        mut urb: Urb,
        mut payload: usize,
        mut packets: usize,
        bytes: &mut &[u8],
    ) -> Result<Phase, ClientFault> {
        let (data, rest) = bytes.split_at(payload.min(bytes.len()));
        urb.data.extend_from_slice(data);
        payload -= data.len();
        *bytes = rest;
        while payload == 0 && packets > 0 {
            let Some(descriptor) = take::<PACKET_LENGTH>(&mut self.partial, &mut self.have, bytes) else { break };
            let (packet, _) = decode_packet(&descriptor, urb.length)?;
            urb.packets.push(packet);
            packets -= 1;
        }
        let sum = urb.packets.iter().map(|packet: &IsoPacket| u64::from(packet.actual)).sum::<u64>();
        if payload == 0 && packets == 0 && !urb.packets.is_empty() && sum != u64::from(urb.actual) {
            return Err(ClientFault::Packets(reply.seqnum));
        }
        Ok(self.finish(reply, urb, payload, packets))
    }

    /// The phase after a part of a reply: the next header if nothing of this one is missing.
    fn finish(&mut self, reply: RetSubmit, urb: Urb, payload: usize, packets: usize) -> Phase {
        if payload > 0 || packets > 0 {
            return Phase::Body { reply, urb, payload, packets };
        }
        self.events.push_back(Event::Done(reply.seqnum, reply.status, urb));
        Phase::Header
    }
}
