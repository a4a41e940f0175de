//! The 48-byte headers of the URB phase, for both roles, and the descriptors of isochronous packets.
//!
//! All numbers are big-endian but the SETUP packet, which is in USB order. What a header says is checked here as far
//! as it can be judged alone: command, direction, endpoint number and buffer length.

use super::MAX_ENDPOINT;
use crate::usb::{Address, Direction, IsoPacket, Status};

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 48;
/// Bytes of the descriptor of an isochronous packet.
pub const PACKET_LENGTH: usize = 16;

/// `transfer_flags`: a short reply is an error (`URB_SHORT_NOT_OK`).
pub const SHORT_NOT_OK: u32 = 0x0001;
/// `transfer_flags`: begin an isochronous transfer as soon as possible (`URB_ISO_ASAP`).
pub const ISO_ASAP: u32 = 0x0002;

/// `number_of_packets` that usbip-win2 sends for a URB that is not isochronous; Linux sends 0.
pub const NO_PACKETS: u32 = 0xffff_ffff;

/// Status words: negative errnos of Linux, whatever the machine.
pub mod errno {
    /// ENOMEM: larger, or more at once, than there is room for.
    pub const NO_ROOM: i32 = -12;
    /// EPIPE: stalled.
    pub const STALL: i32 = -32;
    /// EOVERFLOW: babble.
    pub const BABBLE: i32 = -75;
    /// ECONNRESET: unlinked.
    pub const UNLINKED: i32 = -104;
    /// ESHUTDOWN: the endpoint is gone.
    pub const SHUTDOWN: i32 = -108;
    /// EREMOTEIO: short, and that was an error.
    pub const SHORT: i32 = -121;
    /// EXDEV: an isochronous packet that was not transferred. Clients preset descriptors with -18.
    pub const PARTIAL: i32 = -18;
}

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// A fault of a header or its payload. After any of these the stream is out of sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not one of the commands that this role receives.
    #[error("unknown command {0:#x}")]
    Command(u32),
    /// Neither 0 nor 1.
    #[error("direction {0}")]
    Direction(u32),
    /// Above 15.
    #[error("endpoint {0}")]
    Endpoint(u32),
    /// Negative.
    #[error("buffer length {}", *.0 as i32)]
    Length(u32),
    /// More than [`super::MAX_PACKETS`], or packets on an endpoint that has none.
    #[error("{0} packets")]
    Packets(u32),
    /// A packet reaches beyond the buffer.
    #[error("packet of {1} bytes at {0} is outside its buffer")]
    Packet(u32, u32),
}

/// The words that begin every header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Base {
    /// @4: the client's name for the command, unique while it has no answer.
    pub seqnum: u32,
    /// @8: the device; 0 in replies.
    pub devid: u32,
    /// @12 and @16; OUT endpoint 0 in replies.
    pub endpoint: Address,
}

/// CMD_SUBMIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmdSubmit {
    /// Names of command and device.
    pub base: Base,
    /// @20: flags of the URB.
    pub flags: u32,
    /// @24: bytes of the buffer, below 2^31.
    pub length: u32,
    /// @28.
    pub start_frame: u32,
    /// @32: number of packets, as it came.
    pub packets: u32,
    /// @36.
    pub interval: u32,
    /// @40: SETUP packet; stale bytes on any endpoint but 0.
    pub setup: [u8; 8],
}

/// CMD_UNLINK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CmdUnlink {
    /// Names of command and device.
    pub base: Base,
    /// @20: the command to give up.
    pub victim: u32,
}

/// RET_SUBMIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetSubmit {
    /// @4: the SUBMIT that this answers.
    pub seqnum: u32,
    /// @20: 0 or a negative errno.
    pub status: i32,
    /// @24: bytes transferred, below 2^31.
    pub actual: u32,
    /// @28.
    pub start_frame: u32,
    /// @32: the number of packets of the command, as it came.
    pub packets: u32,
    /// @36: how many packets failed.
    pub errors: u32,
}

/// RET_UNLINK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetUnlink {
    /// @4: the UNLINK that this answers.
    pub seqnum: u32,
    /// @20: -104 if the victim was given up, 0 if its answer had been sent.
    pub status: i32,
}

/// A header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pdu {
    /// Client to server: do a transfer.
    CmdSubmit(CmdSubmit),
    /// Client to server: give one up.
    CmdUnlink(CmdUnlink),
    /// Server to client: a transfer's end.
    RetSubmit(RetSubmit),
    /// Server to client: the outcome of an UNLINK.
    RetUnlink(RetUnlink),
}

impl Pdu {
    /// Reads a header.
    ///
    /// # Errors
    /// The first [`Fault`] in it.
    pub fn decode(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, Fault> {
        let word = |index: usize| {
            let at = index * 4;
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let direction = match word(3) {
            0 => Direction::Out,
            1 => Direction::In,
            other => return Err(Fault::Direction(other)),
        };
        if word(4) > MAX_ENDPOINT {
            return Err(Fault::Endpoint(word(4)));
        }
        let endpoint = Address::new(word(4) as u8, direction);
        let base = Base { seqnum: word(1), devid: word(2), endpoint };
        let command = word(0);
        if matches!(command, CMD_SUBMIT | RET_SUBMIT) && i32::try_from(word(6)).is_err() {
            return Err(Fault::Length(word(6)));
        }
        match command {
            CMD_SUBMIT => Ok(Self::CmdSubmit(CmdSubmit {
                base,
                flags: word(5),
                length: word(6),
                start_frame: word(7),
                packets: word(8),
                interval: word(9),
                setup: std::array::from_fn(|at| bytes[40 + at]),
            })),
            CMD_UNLINK => Ok(Self::CmdUnlink(CmdUnlink { base, victim: word(5) })),
            RET_SUBMIT => Ok(Self::RetSubmit(RetSubmit {
                seqnum: base.seqnum,
                status: word(5) as i32,
                actual: word(6),
                start_frame: word(7),
                packets: word(8),
                errors: word(9),
            })),
            RET_UNLINK => Ok(Self::RetUnlink(RetUnlink { seqnum: base.seqnum, status: word(5) as i32 })),
            other => Err(Fault::Command(other)),
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let head = |command: u32, base: Base| {
            let direction = u32::from(base.endpoint.direction() == Direction::In);
            [command, base.seqnum, base.devid, direction, u32::from(base.endpoint.number())]
        };
        let reply = |command, seqnum| head(command, Base { seqnum, devid: 0, endpoint: Address::CONTROL });
        let (first, rest, setup) = match *self {
            Self::CmdSubmit(it) => {
                let rest = [it.flags, it.length, it.start_frame, it.packets, it.interval];
                (head(CMD_SUBMIT, it.base), rest, it.setup)
            }
            Self::CmdUnlink(it) => (head(CMD_UNLINK, it.base), [it.victim, 0, 0, 0, 0], [0; 8]),
            Self::RetSubmit(it) => {
                let rest = [it.status as u32, it.actual, it.start_frame, it.packets, it.errors];
                (reply(RET_SUBMIT, it.seqnum), rest, [0; 8])
            }
            Self::RetUnlink(it) => (reply(RET_UNLINK, it.seqnum), [it.status as u32, 0, 0, 0, 0], [0; 8]),
        };
        let mut bytes = [0; HEADER_LENGTH];
        for (place, word) in bytes.chunks_exact_mut(4).zip(first.iter().chain(&rest)) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes[40..].copy_from_slice(&setup);
        bytes
    }
}

/// The status word of a transfer or a packet.
pub(super) fn status_word(status: Status) -> i32 {
    match status {
        Status::Ok => 0,
        Status::Stall => errno::STALL,
        Status::Babble => errno::BABBLE,
        Status::Short => errno::SHORT,
        Status::Shutdown => errno::SHUTDOWN,
        Status::NoRoom => errno::NO_ROOM,
    }
}

/// The descriptor of a packet: offset, length, actual length, status.
pub fn encode_packet(packet: &IsoPacket, status: i32) -> [u8; PACKET_LENGTH] {
    let mut bytes = [0; PACKET_LENGTH];
    let words = [packet.offset, packet.length, packet.actual, status as u32];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// Reads the descriptor of a packet of a buffer of `length` bytes: the packet, and its status word.
///
/// # Errors
/// [`Fault::Packet`] if the packet, or what of it is said to be used, is not inside the buffer.
pub fn decode_packet(bytes: &[u8; PACKET_LENGTH], length: u32) -> Result<(IsoPacket, i32), Fault> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
    let (offset, size) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let actual = u32::from_be_bytes([i, j, k, l]);
    if offset.checked_add(size).is_none_or(|end| end > length) || actual > size {
        return Err(Fault::Packet(offset, size));
    }
    Ok((IsoPacket { offset, length: size, actual, status: Status::Ok }, i32::from_be_bytes([m, n, o, p])))
}
