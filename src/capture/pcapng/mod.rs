//! pcapng, as Wireshark reads it best (draft-ietf-opsawg-pcapng): the blocks that a capture is made of, written
//! ([`mod@write`]) and taken apart again ([`read`]).
//!
//! ```text
//! block    type u32 · length u32 · body, padded to 4 bytes · options · length u32
//! option   code u16 · length u16 · value, padded to 4 bytes; the last is 0, 0
//! ```
//!
//! Numbers are in the byte order of who wrote the file, which the section's header tells; here they are little-endian.

pub mod read;
pub mod write;

/// Section header: the first block of a file.
pub const SECTION: u32 = 0x0a0d_0d0a;
/// Interface description.
pub const INTERFACE: u32 = 1;
/// Name resolution.
pub const NAMES: u32 = 4;
/// Interface statistics.
pub const STATISTICS: u32 = 5;
/// Enhanced packet.
pub const PACKET: u32 = 6;
/// The byte-order magic of a section's header.
pub const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// The link type of an interface: a number of <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkType(pub u16);

impl LinkType {
    /// IEEE 802.3 Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Bare IPv4 or IPv6.
    pub const RAW: Self = Self(101);
    /// USB transfers, behind the header of Linux's usbmon.
    pub const USB: Self = Self(220);
    /// IEEE 802.15.4 behind a header with what is known of its reception.
    pub const IEEE802_15_4_TAP: Self = Self(283);
}

// The codes of options that are written here.
const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_SPEED: u16 = 8;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const EPB_DROPCOUNT: u16 = 4;
const EPB_PACKETID: u16 = 5;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_USRDELIV: u16 = 8;

/// The header of IEEE 802.15.4 TAP: version 0, its length of 12, and that there is no FCS (type 0, length 1, value 0).
pub const TAP_HEAD: [u8; 12] = [0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0];
