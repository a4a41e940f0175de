//! The SCSI commands of a disk (SPC-4, SBC-3): a command block in, an action out.
//!
//! Nothing here waits or transfers: [`plan`] judges a command block against the disk and says which bytes the host
//! gets, or which blocks it wants to read or write.

use super::{BLOCK, Disk};

/// Sense key, additional sense code and qualifier (SPC-4, 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sense(pub u8, pub u8, pub u8);

impl Sense {
    /// Nothing to report.
    pub const NONE: Self = Self(0, 0, 0);
    /// ILLEGAL REQUEST, invalid command operation code.
    pub const COMMAND: Self = Self(5, 0x20, 0);
    /// ILLEGAL REQUEST, logical block address out of range.
    pub const ADDRESS: Self = Self(5, 0x21, 0);
    /// ILLEGAL REQUEST, invalid field in CDB.
    pub const FIELD: Self = Self(5, 0x24, 0);
    /// DATA PROTECT, write protected.
    pub const PROTECTED: Self = Self(7, 0x27, 0);
    /// MEDIUM ERROR, unrecovered read error.
    pub const READ: Self = Self(3, 0x11, 0);
    /// MEDIUM ERROR, write error.
    pub const WRITE: Self = Self(3, 0x0c, 0);
    /// DATA PROTECT, space allocation failed: the back end has no room left.
    pub const FULL: Self = Self(7, 0x27, 7);

    /// Fixed format sense data, 18 bytes (SPC-4, table 53).
    fn to_bytes(self) -> [u8; 18] {
        let Self(key, code, qualifier) = self;
        [0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0]
    }
}

/// The action of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Nothing but a status.
    Nothing,
    /// These bytes for the host.
    Reply(Vec<u8>),
    /// The sense data for the host, at most so many bytes of it.
    Sense(usize),
    /// Read blocks: first, count.
    Read(u64, u32),
    /// Write blocks: first, count.
    Write(u64, u32),
    /// Make writes durable.
    Flush,
}

/// Operation codes (SPC-4, SBC-3; 0x23 is of MMC and UFI).
mod op {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const PREVENT_ALLOW_REMOVAL: u8 = 0x1e;
    pub const READ_FORMAT_CAPACITIES: u8 = 0x23;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const VERIFY_10: u8 = 0x2f;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const READ_16: u8 = 0x88;
    pub const WRITE_16: u8 = 0x8a;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
}

/// Service action of READ CAPACITY(16).
const READ_CAPACITY_16: u8 = 0x10;
/// Mode page of the cache (SBC-3, 6.4.5), and the code that asks for all pages.
const CACHING_PAGE: u8 = 0x08;
const ALL_PAGES: u8 = 0x3f;

/// Judges the command block `cdb`, which the transport fills up to 16 bytes with zeroes.
///
/// # Errors
/// The sense data of a CHECK CONDITION.
pub(super) fn plan(cdb: &[u8; 16], disk: &Disk) -> Result<Plan, Sense> {
    let half = |at: usize| u16::from_be_bytes([cdb[at], cdb[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]]);
    let double = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
    let reply = |bytes: Vec<u8>, most: usize| {
        let mut bytes = bytes;
        bytes.truncate(most);
        Ok(Plan::Reply(bytes))
    };
    // Six-byte commands: 21 bits of address, and 0 blocks mean 256 (SBC-3, 5.10).
    let short = (u64::from(word(0) & 0x001f_ffff), if cdb[4] == 0 { 256 } else { u32::from(cdb[4]) });
    let ten = (u64::from(word(2)), u32::from(half(7)));
    let last = disk.blocks - 1;
    match cdb[0] {
        op::TEST_UNIT_READY | op::PREVENT_ALLOW_REMOVAL => Ok(Plan::Nothing),
        op::START_STOP_UNIT => Ok(Plan::Flush),
        op::REQUEST_SENSE => Ok(Plan::Sense(usize::from(cdb[4]))),
        op::INQUIRY => reply(inquiry(cdb, disk)?, usize::from(half(3))),
        op::MODE_SENSE_6 => {
            let pages = mode_pages(cdb[2])?;
            let head = [3 + pages.len() as u8, 0, protect_bit(disk), 0];
            reply([&head, pages].concat(), usize::from(cdb[4]))
        }
        op::MODE_SENSE_10 => {
            let pages = mode_pages(cdb[2])?;
            let head = [0, 6 + pages.len() as u8, 0, protect_bit(disk), 0, 0, 0, 0];
            reply([&head, pages].concat(), usize::from(half(7)))
        }
        op::READ_FORMAT_CAPACITIES => {
            let [a, b, c, d] = u32::try_from(disk.blocks).unwrap_or(u32::MAX).to_be_bytes();
            let [_, e, f, g] = BLOCK.to_be_bytes();
            reply(vec![0, 0, 0, 8, a, b, c, d, 2, e, f, g], usize::from(half(7)))
        }
        op::READ_CAPACITY_10 => {
            let last = u32::try_from(last).unwrap_or(u32::MAX);
            reply([last.to_be_bytes(), BLOCK.to_be_bytes()].concat(), 8)
        }
        op::SERVICE_ACTION_IN_16 if cdb[1] & 0x1f == READ_CAPACITY_16 => {
            let mut bytes = [&last.to_be_bytes()[..], &BLOCK.to_be_bytes()].concat();
            bytes.resize(32, 0);
            reply(bytes, word(10) as usize)
        }
        op::REPORT_LUNS => reply([&[0, 0, 0, 8][..], &[0; 12]].concat(), word(6) as usize),
        op::READ_6 => read(disk, short),
        op::READ_10 => read(disk, ten),
        op::READ_12 => read(disk, (u64::from(word(2)), word(6))),
        op::READ_16 => read(disk, (double(2), word(10))),
        op::WRITE_6 => write(disk, short),
        op::WRITE_10 => write(disk, ten),
        op::WRITE_12 => write(disk, (u64::from(word(2)), word(6))),
        op::WRITE_16 => write(disk, (double(2), word(10))),
        // BYTCHK would bring data to compare with.
        op::VERIFY_10 if cdb[1] & 6 == 0 => check(disk, ten).map(|()| Plan::Nothing),
        op::VERIFY_10 => Err(Sense::FIELD),
        op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => Ok(Plan::Flush),
        _ => Err(Sense::COMMAND),
    }
}

/// The sense data that REQUEST SENSE gives.
pub(super) fn sense_bytes(sense: Sense, most: usize) -> Vec<u8> {
    let bytes = sense.to_bytes();
    bytes.get(..most).unwrap_or(&bytes).to_vec()
}

fn check(disk: &Disk, (first, count): (u64, u32)) -> Result<(), Sense> {
    let inside = first.checked_add(u64::from(count)).is_some_and(|end| end <= disk.blocks);
    if inside { Ok(()) } else { Err(Sense::ADDRESS) }
}

fn read(disk: &Disk, (first, count): (u64, u32)) -> Result<Plan, Sense> {
    check(disk, (first, count))?;
    Ok(Plan::Read(first, count))
}

fn write(disk: &Disk, (first, count): (u64, u32)) -> Result<Plan, Sense> {
    if disk.read_only {
        return Err(Sense::PROTECTED);
    }
    check(disk, (first, count))?;
    Ok(Plan::Write(first, count))
}

/// Device-specific parameter of the mode header: bit 7 is write protection (SBC-3, 6.4.1).
fn protect_bit(disk: &Disk) -> u8 {
    u8::from(disk.read_only) << 7
}

/// The mode pages: caching, with the write cache on, so that hosts send SYNCHRONIZE CACHE.
fn mode_pages(code: u8) -> Result<&'static [u8], Sense> {
    const CACHING: [u8; 20] = [CACHING_PAGE, 18, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    match (code & 0x3f, code >> 6) {
        // Page control 1 asks which fields can be changed: none.
        (CACHING_PAGE, 1) => Ok(&[CACHING_PAGE, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (CACHING_PAGE | ALL_PAGES, 0 | 2) => Ok(&CACHING),
        (ALL_PAGES, 1) => Ok(&[]),
        _ => Err(Sense::FIELD),
    }
}

/// Standard inquiry data (SPC-4, 6.6.2), and the vital product data pages 0x00 and 0x80.
fn inquiry(cdb: &[u8; 16], disk: &Disk) -> Result<Vec<u8>, Sense> {
    let page = |code: u8, body: &[u8]| [&[0, code, 0, body.len() as u8], body].concat();
    match (cdb[1] & 1, cdb[2]) {
        (0, 0) => {
            // Direct access, fixed, SPC-4, response format 2.
            let head = [0, 0, 6, 2, 31, 0, 0, 0];
            Ok([&head[..], b"zbridge ", b"disk            ", b"1.0 "].concat())
        }
        (1, 0) => Ok(page(0, &[0, 0x80])),
        (1, 0x80) => Ok(page(0x80, disk.serial.as_bytes().get(..disk.serial.len().min(60)).unwrap_or_default())),
        _ => Err(Sense::FIELD),
    }
}
