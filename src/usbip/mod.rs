//! USB/IP: devices of the room `usb` on a TCP connection, without the connection.
//!
//! Theory of operation. A [`Server`] holds the exported devices and one session for each connection. Bytes that came
//! in go to [`Server::handle_bytes`], bytes to go out come from [`Server::transmit`]; time comes as an argument. A
//! session begins in the operation phase, where a client asks for the list of devices or imports one, and after an
//! import stays in the URB phase until the connection ends. The device then belongs to that session alone.
//!
//! Three rules hold for every session, whatever its peer sends. Each SUBMIT has exactly one end: a RET_SUBMIT, or an
//! UNLINK that was answered with -104. Memory is bounded by the limits below, and grows only with bytes that have
//! arrived; a transfer beyond them ends with -12 (ENOMEM), and the others go on. A breach of the protocol closes that
//! connection and no other, and gives the device back.
//!
//! [`Client`] is the other role. A [`Splitter`] stands between a client and a server that has small buffers. Sources:
//! Linux `Documentation/usb/usbip_protocol.rst`, `drivers/usb/usbip` and `tools/usb/usbip`, and what Linux 6.12 and
//! usbip-win2 were seen to send.

mod client;
mod decode;
mod export;
mod monitor;
pub(crate) mod op;
pub mod pdu;
mod server;
mod session;
pub(crate) mod split;

pub use client::{Client, ClientFault, Dialect, Event};
pub use decode::{Command, Decoder};
pub use export::{ExportError, UrbTally};
pub use op::{DeviceRecord, InterfaceRecord, OpStatus, SpeedCode};
pub use pdu::{Fault, Pdu};
pub use server::{ConnectionId, Exported, Options, Refused, Server};
pub use session::CloseReason;
pub(crate) use split::{SplitFault, Splitter};

pub use crate::limits::DEAD_PEER;
use std::time::Duration;

/// The TCP port of USB/IP servers.
pub const PORT: u16 = 3240;
/// The protocol's version, 1.1.1, in BCD.
pub const VERSION: u16 = 0x0111;

/// From the connection to its complete request and the end of the reply to it; then it is closed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of one server. Those that have imported a device do not count: they are as many as the devices at most.
pub const MAX_CONNECTIONS: usize = 64;
/// Connections from one source address, likewise.
pub const MAX_CONNECTIONS_PER_SOURCE: usize = 16;
/// The largest `buffer_length` of a URB, in bytes: what WinUSB submits at SuperSpeed. A larger URB ends with -12.
pub const MAX_BUFFER: u32 = 32 << 20;
/// The most packets of an isochronous URB.
pub const MAX_PACKETS: u32 = 1024;
/// The highest endpoint number.
pub const MAX_ENDPOINT: u32 = 15;
/// URBs of one device that have no answer yet. A further one ends with -12.
pub const MAX_PENDING_URBS: usize = 8192;
/// The bytes that they hold: OUT data, and the buffers of isochronous URBs. A URB that goes beyond it ends with -12.
pub const MAX_PENDING_BYTES: usize = 64 << 20;
/// How long a transport lets a connection be idle before it probes the peer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Replies of a session that wait to be sent are encoded up to this many bytes, plus one URB; beyond that the session
/// asks for no more input ([`Server::wants_bytes`]).
pub const OUTPUT_MARK: usize = 256 << 10;
/// The most devices of a list that a client reads.
pub const MAX_DEVICES: u32 = 1024;

#[cfg(test)]
mod tests;
