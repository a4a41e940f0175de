//! A frame in words, as `zbridge trace` takes it: `arp who-has 192.0.2.2`, `udp 192.0.2.1:1234 > 192.0.2.2:5683`, or
//! hexadecimal digits.
//!
//! ```text
//! words      packet modifier*  |  modifier+  |  hex
//! packet     arp who-has IP [tell IP] · arp reply IP is-at MAC · icmp IP > IP · udp IP:PORT > IP:PORT · tcp … [syn|ack|…]
//! modifier   from MAC · to MAC · broadcast · vlan ID · len BYTES · ttl N · super BYTES
//! ```
//!
//! What is not said (MAC addresses, the sender) is filled in by whoever knows the bridge ([`Book`]).

mod build;
mod digits;
mod parse;

pub use build::{Book, Built};
pub use digits::frames_in_hex;

use crate::error::Result;
use crate::wire::Mac;
use std::net::{IpAddr, SocketAddr};

/// The longest text of words, in bytes: a frame of [`LONGEST`] bytes in hexadecimal with columns.
pub const WORDS_BYTES: usize = 4 * LONGEST;
/// The longest frame in bytes.
pub const LONGEST: usize = 30_000;

/// The rows of the guide: a form, and what it means.
pub const FORMS: &[(&str, &str)] = &[
    ("arp who-has IP [tell IP]", "a request; the sender is a station on the port unless said"),
    ("arp reply IP is-at MAC", "an answer to a request"),
    ("icmp IP > IP", "a ping; IPv6 as well"),
    ("udp IP:PORT > IP:PORT", "a datagram; of IPv6, `[2001:db8::1]:5683`"),
    ("tcp IP:PORT > IP:PORT [syn] [ack] [fin] [rst] [psh]", "a segment; `syn` unless said"),
    ("from MAC, to MAC, broadcast", "the stations, where they are others than the bridge would know"),
    ("vlan ID", "a tag; two at most, the outer first"),
    ("len BYTES", "what it carries"),
    ("ttl N", "the hop limit, 64 unless said"),
    ("super BYTES", "a super-frame, as a TAP with offloads hands over: it is cut into TCP segments of so many bytes"),
    ("02005e… or 0000: 02 00 5e …", "the bytes of a frame, with blanks, colons and offsets or without"),
];

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet {
    /// Nothing that is said.
    Bare,
    /// ARP: who has `target`?
    Question {
        /// The address.
        target: std::net::Ipv4Addr,
        /// Who asks.
        sender: Option<std::net::Ipv4Addr>,
    },
    /// ARP: `sender` is at `mac`.
    Answer {
        /// The address.
        sender: std::net::Ipv4Addr,
        /// The station.
        mac: Mac,
    },
    /// A ping.
    Ping {
        /// The sender.
        from: Option<IpAddr>,
        /// The receiver.
        to: IpAddr,
    },
    /// A datagram.
    Udp(SocketAddr, SocketAddr),
    /// A segment with these flags.
    Tcp(SocketAddr, SocketAddr, u8),
}

/// A frame as it was put into words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// What it carries.
    pub packet: Packet,
    /// The sending station.
    pub from: Option<Mac>,
    /// The receiving station.
    pub to: Option<Mac>,
    /// Its VLAN tags.
    pub tags: Vec<u16>,
    /// Bytes that the packet carries.
    pub len: Option<u16>,
    /// The hop limit.
    pub ttl: u8,
    /// It is a super-frame of segments of so many bytes.
    pub segment: Option<u16>,
}

/// What was put into words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spoken {
    /// A frame to be made.
    Draft(Draft),
    /// The bytes of one.
    Bytes(Vec<u8>),
}

impl Spoken {
    /// Parses words.
    ///
    /// # Errors
    /// A usage error, with the nearest word.
    pub fn parse(text: &str) -> Result<Self> {
        parse::parse(text)
    }
}

#[cfg(test)]
mod tests;
