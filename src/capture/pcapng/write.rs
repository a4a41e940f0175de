//! Writes the blocks of a capture.

use super::{
    BYTE_ORDER, EPB_DROPCOUNT, EPB_FLAGS, EPB_PACKETID, IF_DESCRIPTION, IF_NAME, IF_SPEED, IF_TSRESOL, INTERFACE,
    ISB_ENDTIME, ISB_FILTERACCEPT, ISB_IFDROP, ISB_IFRECV, ISB_STARTTIME, ISB_USRDELIV, LinkType, NAMES, OPT_COMMENT,
    OPT_END, PACKET, SECTION, SHB_USERAPPL, STATISTICS,
};
use std::net::IpAddr;

/// Times are nanoseconds: 10^-9 s.
const NANOSECONDS: u8 = 9;
/// The longest text of an option.
const TEXT: usize = 1024;

/// An interface.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// The link type of its frames.
    pub link: LinkType,
    /// Bytes of a frame that are kept at most; 0: all.
    pub snap: u32,
    /// Its name.
    pub name: &'a str,
    /// Its description.
    pub description: &'a str,
    /// Bits per second, where that is known.
    pub speed: Option<u64>,
}

/// Which way a frame went, as its interface sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// It came in.
    In,
    /// It went out.
    Out,
}

/// A frame.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number of its interface.
    pub interface: u32,
    /// Nanoseconds since 1970, UTC.
    pub at: u64,
    /// The pseudo-header before its bytes.
    pub head: &'a [u8],
    /// Its bytes, as far as they are kept.
    pub bytes: &'a [u8],
    /// How many it had, with `head`.
    pub len: u32,
    /// Which way it went.
    pub direction: Direction,
    /// Its comment.
    pub comment: Option<&'a str>,
    /// Its unique id; 0: none.
    pub id: u64,
    /// Frames that were lost since the one before.
    pub lost: u64,
}

/// The statistics of an interface.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Statistics {
    /// The number of the interface.
    pub interface: u32,
    /// Nanoseconds since 1970: when it began, and now.
    pub from: u64,
    /// See [`Statistics::from`].
    pub to: u64,
    /// Frames that were seen.
    pub seen: u64,
    /// Frames that the capture itself has lost.
    pub missed: u64,
    /// Frames that the filter took.
    pub accepted: u64,
    /// Frames that are in the file.
    pub delivered: u64,
}

/// A block that is being written: its length is put in at the end.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>, kind: u32) -> Self {
        let start = out.len();
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        Self { out, start }
    }

    fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A time: the upper half comes first (section 4.3).
    fn time(&mut self, nanos: u64) {
        self.u32((nanos >> 32) as u32);
        self.u32(nanos as u32);
    }

    fn padded(&mut self, parts: &[&[u8]]) {
        let before = self.out.len();
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        let padded = (self.out.len() - before).next_multiple_of(4);
        self.out.resize(before + padded, 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = value.get(..TEXT).unwrap_or(value);
        self.u16(code);
        self.u16(value.len() as u16);
        self.padded(&[value]);
    }

    fn text(&mut self, code: u16, text: &str) {
        let mut end = text.len().min(TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.option(code, text.get(..end).unwrap_or_default().as_bytes());
    }

    fn number(&mut self, code: u16, number: u64) {
        self.option(code, &number.to_le_bytes());
    }

    fn moment(&mut self, code: u16, nanos: u64) {
        self.u16(code);
        self.u16(8);
        self.time(nanos);
    }

    fn end_of_options(&mut self) {
        self.u16(OPT_END);
        self.u16(0);
    }

    fn end(self) {
        let length = (self.out.len() - self.start + 4) as u32;
        self.out.extend_from_slice(&length.to_le_bytes());
        if let Some(place) = self.out.get_mut(self.start + 4..self.start + 8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// Begins a file, which `program` writes.
pub fn section(out: &mut Vec<u8>, program: &str) {
    let mut block = Block::begin(out, SECTION);
    block.u32(BYTE_ORDER);
    block.u16(1);
    block.u16(0);
    // Its length is not known.
    block.out.extend_from_slice(&[0xff; 8]);
    block.text(SHB_USERAPPL, program);
    block.end_of_options();
    block.end();
}

/// Describes the next interface; the first has the number 0.
pub fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    let mut block = Block::begin(out, INTERFACE);
    block.u16(interface.link.0);
    block.u16(0);
    block.u32(interface.snap);
    block.text(IF_NAME, interface.name);
    if !interface.description.is_empty() {
        block.text(IF_DESCRIPTION, interface.description);
    }
    if let Some(speed) = interface.speed {
        block.number(IF_SPEED, speed);
    }
    block.option(IF_TSRESOL, &[NANOSECONDS]);
    block.end_of_options();
    block.end();
}

/// Adds a frame.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut block = Block::begin(out, PACKET);
    block.u32(packet.interface);
    block.time(packet.at);
    block.u32((packet.head.len() + packet.bytes.len()) as u32);
    block.u32(packet.len);
    block.padded(&[packet.head, packet.bytes]);
    let flags: u32 = if packet.direction == Direction::In { 1 } else { 2 };
    block.option(EPB_FLAGS, &flags.to_le_bytes());
    if packet.lost > 0 {
        block.number(EPB_DROPCOUNT, packet.lost);
    }
    if packet.id > 0 {
        block.number(EPB_PACKETID, packet.id);
    }
    if let Some(comment) = packet.comment {
        block.text(OPT_COMMENT, comment);
    }
    block.end_of_options();
    block.end();
}

/// Writes the names of hosts.
pub fn names<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = (IpAddr, &'a str)>) {
    let mut block = Block::begin(out, NAMES);
    for (addr, name) in names {
        let (record, addr): (u16, &[u8]) = match &addr {
            IpAddr::V4(addr) => (1, &addr.octets()),
            IpAddr::V6(addr) => (2, &addr.octets()),
        };
        let name = name.as_bytes();
        let name = name.get(..TEXT).unwrap_or(name);
        block.u16(record);
        block.u16((addr.len() + name.len() + 1) as u16);
        block.padded(&[addr, name, &[0]]);
    }
    // The last record.
    block.u32(0);
    block.end();
}

/// Writes the statistics of an interface.
pub fn statistics(out: &mut Vec<u8>, counted: &Statistics) {
    let mut block = Block::begin(out, STATISTICS);
    block.u32(counted.interface);
    block.time(counted.to);
    block.moment(ISB_STARTTIME, counted.from);
    block.moment(ISB_ENDTIME, counted.to);
    block.number(ISB_IFRECV, counted.seen);
    block.number(ISB_IFDROP, counted.missed);
    block.number(ISB_FILTERACCEPT, counted.accepted);
    block.number(ISB_USRDELIV, counted.delivered);
    block.end_of_options();
    block.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_layout() {
        let mut out = Vec::new();
        interface(&mut out, &Interface { link: LinkType(1), snap: 96, name: "a", description: "", speed: None });
        let wanted = [
            &[1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 96, 0, 0, 0][..],
            &[2, 0, 1, 0, b'a', 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0],
            &[40, 0, 0, 0],
        ]
        .concat();
        assert_eq!(out, wanted);
        out.clear();
        let frame = Packet {
            interface: 3,
            at: 0x0102_0304_0506_0708,
            head: &[9],
            bytes: &[7, 8],
            len: 60,
            direction: Direction::Out,
            comment: None,
            id: 0,
            lost: 0,
        };
        packet(&mut out, &frame);
        let wanted = [
            &[6, 0, 0, 0, 48, 0, 0, 0, 3, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 0, 0, 60, 0, 0, 0, 9, 7, 8, 0][..],
            &[2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0],
        ]
        .concat();
        assert_eq!(out, wanted);
    }
}
