//! Takes the blocks of a capture apart again: for the terminal, which shows frames in lines, and for files that begin
//! anew. Of others' files as of one's own, as long as they are little-endian: nothing in them is believed.

use super::{
    BYTE_ORDER, EPB_DROPCOUNT, EPB_FLAGS, IF_DESCRIPTION, IF_NAME, IF_TSRESOL, INTERFACE, ISB_FILTERACCEPT, ISB_IFDROP,
    ISB_IFRECV, ISB_USRDELIV, LinkType, OPT_COMMENT, OPT_END, PACKET, SECTION, STATISTICS,
};

/// The longest block that is taken: one with the longest frame has a fraction of that.
pub const BLOCK_BYTES: usize = 1 << 20;

/// The input is no capture, or one that cannot be read here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no pcapng block: {0}")]
pub struct BadBlock(&'static str);

/// Cuts a stream of bytes into blocks.
#[derive(Default, Debug)]
pub struct Blocks {
    bytes: Vec<u8>,
    taken: usize,
}

impl Blocks {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole block. `None` until more has come.
    ///
    /// # Errors
    /// The input is no block.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, BadBlock> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let (Some(kind), Some(length)) = (word(rest, 0), word(rest, 4)) else { return Ok(None) };
        let length = length as usize;
        if length < 12 || !length.is_multiple_of(4) {
            return Err(BadBlock("its length is none"));
        }
        if length > BLOCK_BYTES {
            return Err(BadBlock("it is too long"));
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        self.taken += length;
        let body = bytes.get(8..length - 4).unwrap_or_default();
        if word(bytes, length - 4) != Some(length as u32) {
            return Err(BadBlock("its two lengths differ"));
        }
        if kind == SECTION && word(body, 0) != Some(BYTE_ORDER) {
            return Err(BadBlock("its byte order is another"));
        }
        Ok(Some(Block { kind, bytes, body }))
    }

    /// Whether part of a block has come.
    pub fn has_begun(&self) -> bool {
        self.taken < self.bytes.len()
    }
}

/// A block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block<'a> {
    /// Its type.
    pub kind: u32,
    /// All of it.
    pub bytes: &'a [u8],
    body: &'a [u8],
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The link type of its frames.
    pub link: LinkType,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Units of its times in a second.
    pub resolution: u64,
}

/// A frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The number of its interface.
    pub interface: u32,
    /// When, in the units of its interface since 1970.
    pub at: u64,
    /// Its bytes, as far as they are kept.
    pub bytes: &'a [u8],
    /// How many it had.
    pub len: u32,
    /// It went out.
    pub out: bool,
    /// Its comment.
    pub comment: Option<&'a str>,
    /// Frames that were lost since the one before.
    pub lost: u64,
}

/// What was counted of an interface: frames seen, missed by the capture, taken by the filter, in the file.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Frames that were seen.
    pub seen: u64,
    /// Frames that the capture itself has lost.
    pub missed: u64,
    /// Frames that the filter took.
    pub accepted: u64,
    /// Frames that are in the file.
    pub delivered: u64,
}

impl<'a> Block<'a> {
    /// The interface that it describes.
    pub fn interface(&self) -> Option<Interface> {
        if self.kind != INTERFACE {
            return None;
        }
        let link = LinkType(half(self.body, 0)?);
        let mut found = Interface { link, name: String::new(), description: String::new(), resolution: 1_000_000 };
        for (code, value) in options(self.body.get(8..)?) {
            match code {
                IF_NAME => found.name = String::from_utf8_lossy(value).into_owned(),
                IF_DESCRIPTION => found.description = String::from_utf8_lossy(value).into_owned(),
                IF_TSRESOL => found.resolution = resolution(*value.first()?)?,
                _ => {}
            }
        }
        Some(found)
    }

    /// The frame that it has.
    pub fn packet(&self) -> Option<Packet<'a>> {
        if self.kind != PACKET {
            return None;
        }
        let [interface, upper, lower, kept, len] = [0, 4, 8, 12, 16].map(|at| word(self.body, at));
        let (kept, behind) = (kept? as usize, self.body.get(20..)?);
        let bytes = behind.get(..kept)?;
        let at = u64::from(upper?) << 32 | u64::from(lower?);
        let mut found = Packet { interface: interface?, at, bytes, len: len?, out: false, comment: None, lost: 0 };
        for (code, value) in options(behind.get(kept.checked_next_multiple_of(4)?..)?) {
            match code {
                EPB_FLAGS => found.out = word(value, 0).is_some_and(|flags| flags & 3 == 2),
                EPB_DROPCOUNT => found.lost = long(value).unwrap_or(0),
                OPT_COMMENT => found.comment = std::str::from_utf8(value).ok(),
                _ => {}
            }
        }
        Some(found)
    }

    /// The statistics that it has, and the number of the interface.
    pub fn statistics(&self) -> Option<(u32, Counted)> {
        if self.kind != STATISTICS {
            return None;
        }
        let mut counted = Counted::default();
        for (code, value) in options(self.body.get(12..)?) {
            let place = match code {
                ISB_IFRECV => &mut counted.seen,
                ISB_IFDROP => &mut counted.missed,
                ISB_FILTERACCEPT => &mut counted.accepted,
                ISB_USRDELIV => &mut counted.delivered,
                _ => continue,
            };
            *place = long(value)?;
        }
        Some((word(self.body, 0)?, counted))
    }
}

/// The options of a block.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, length) = (half(rest, 0)?, usize::from(half(rest, 2)?));
        let value = rest.get(4..4 + length).filter(|_| code != OPT_END)?;
        rest = rest.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

/// Units of a second that `if_tsresol` says: a power of ten, or with the upper bit of two.
fn resolution(value: u8) -> Option<u64> {
    let base: u64 = if value & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(u32::from(value & 0x7f))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::super::write::{self, Direction};
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        write::section(&mut out, "test");
        let plain = write::Interface { link: LinkType(283), snap: 0, name: "n1", description: "a", speed: Some(5) };
        write::interface(&mut out, &plain);
        let packet = write::Packet {
            interface: 0,
            at: u64::MAX - 5,
            head: &[1, 2],
            bytes: &[3; 5],
            len: 90,
            direction: Direction::Out,
            comment: Some("lost: höher"),
            id: 7,
            lost: 3,
        };
        write::packet(&mut out, &packet);
        write::names(&mut out, [("192.0.2.1".parse().unwrap(), "gate"), ("::1".parse().unwrap(), "six")]);
        write::statistics(&mut out, &write::Statistics { interface: 0, seen: 4, missed: 3, ..Default::default() });
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let mut blocks = Blocks::default();
        let mut kinds = Vec::new();
        for piece in sample().chunks(7) {
            blocks.push(piece);
            while let Some(block) = blocks.next_block().unwrap() {
                kinds.push(block.kind);
                if let Some(found) = block.interface() {
                    assert_eq!((found.link.0, found.name.as_str(), found.resolution), (283, "n1", 1_000_000_000));
                }
                if let Some(found) = block.packet() {
                    let bytes = &[1, 2, 3, 3, 3, 3, 3][..];
                    let comment = Some("lost: höher");
                    let wanted = Packet { interface: 0, at: u64::MAX - 5, bytes, len: 90, out: true, comment, lost: 3 };
                    assert_eq!(found, wanted);
                }
                if let Some((_, counted)) = block.statistics() {
                    assert_eq!((counted.seen, counted.missed), (4, 3));
                }
            }
        }
        assert_eq!(kinds, [SECTION, INTERFACE, PACKET, super::super::NAMES, STATISTICS]);
        assert!(!blocks.has_begun());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..200, value: u8) {
            let mut sample = sample();
            if let Some(byte) = sample.get_mut(at) {
                *byte = value;
            }
            for text in [&sample, &bytes] {
                let mut blocks = Blocks::default();
                blocks.push(text);
                while let Ok(Some(block)) = blocks.next_block() {
                    let _ = (block.interface(), block.packet(), block.statistics());
                }
            }
        }
    }
}
