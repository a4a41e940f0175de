//! A frame in a line, tcpdump's way, with the port that it is of and the reason why it was dropped.
//!
//! ```text
//! 12:34:56.123456 inst1  in  IP 192.0.2.1.49152 > 192.0.2.2.53: 17+ A? example.org. (29)
//! 12:34:56.123457 inst2  out ARP, Request who-has 192.0.2.2 tell 192.0.2.1  [dropped: no-peer]
//! ```
//!
//! Frames are untrusted: truncated headers are shown as far as they go (`[|udp]`), and a peer's text is shown without
//! control characters.

mod app;
mod ip;
mod usb;
mod wpan;

use super::pcapng::read::{Block, Interface};
use super::pcapng::{LinkType, TAP_HEAD};
use crate::wire::Mac;
use std::fmt::Write as _;

/// Bytes that the words on a frame have at most: a frame of nothing but VLAN tags has words for 16 KB.
const LONGEST: usize = 1024;

/// The bytes of a header, to be read.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }

    fn mac(self, at: usize) -> Option<Mac> {
        self.array(at).map(Mac)
    }

    fn behind(self, at: usize) -> Option<Self> {
        self.0.get(at..).map(Self)
    }
}

/// Turns the blocks of a capture into lines.
#[derive(Default)]
pub struct Lines {
    interfaces: Vec<Interface>,
    /// The longest name so far.
    width: usize,
}

impl Lines {
    /// Nothing is known of the capture yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the line of a block to `out`, if it has a frame. `time` puts nanoseconds since 1970 into words.
    pub fn push(&mut self, block: &Block<'_>, time: impl Fn(u64) -> String, out: &mut String) {
        self.interfaces.extend(block.interface());
        let Some(packet) = block.packet() else { return };
        let Some(interface) = self.interfaces.get(packet.interface as usize) else { return };
        self.width = self.width.max(interface.name.chars().count());
        let nanos = u128::from(packet.at) * 1_000_000_000 / u128::from(interface.resolution.max(1));
        let time = time(u64::try_from(nanos).unwrap_or(u64::MAX));
        let (name, way) = (crate::visible::visible(&interface.name), if packet.out { "out" } else { "in " });
        if packet.lost > 0 {
            let _ = writeln!(out, "{time} {} frames were missed by the capture", packet.lost);
        }
        let _ = write!(out, "{time} {name:0$} {way} ", self.width);
        describe(interface.link, packet.bytes, packet.len, out);
        if let Some(comment) = packet.comment {
            // The word of the reason; its meaning is in the guide.
            let short =
                comment.match_indices(": ").nth(1).map_or(comment, |(at, _)| comment.get(..at).unwrap_or(comment));
            let _ = write!(out, "  [{}]", crate::visible::visible(short));
        }
        out.push('\n');
    }
}

/// Cuts what stands behind `begin` to what a line may have.
fn bound(begin: usize, out: &mut String) {
    let mut end = begin + LONGEST;
    if out.len() <= end {
        return;
    }
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out.push('…');
}

/// Adds the summary of a frame to `out`.
pub fn describe(link: LinkType, bytes: &[u8], len: u32, out: &mut String) {
    let begin = out.len();
    let whole = match link {
        LinkType::ETHERNET => ethernet(Bytes(bytes), len, out),
        LinkType::RAW => raw(Bytes(bytes), out),
        LinkType::USB => usb::urb(Bytes(bytes), out),
        LinkType::IEEE802_15_4_TAP => wpan::tap(Bytes(bytes), len, out),
        _ => {
            let _ = write!(out, "link type {}, length {len}", link.0);
            Some(())
        }
    };
    bound(begin, out);
    if whole.is_none() {
        out.push_str(" [cut short]");
    }
}

/// The summary of a frame of a switch, Ethernet's or of a `radio` medium.
pub fn summary(radio: bool, bytes: &[u8], len: u32) -> String {
    let mut text = String::new();
    match radio {
        false => describe(LinkType::ETHERNET, bytes, len, &mut text),
        true => {
            let tapped = [&TAP_HEAD[..], bytes].concat();
            describe(LinkType::IEEE802_15_4_TAP, &tapped, len.saturating_add(TAP_HEAD.len() as u32), &mut text);
        }
    }
    text
}

fn raw(bytes: Bytes<'_>, out: &mut String) -> Option<()> {
    match bytes.u8(0)? >> 4 {
        4 => ip::v4(bytes, out),
        6 => ip::v6(bytes, out),
        version => write!(out, "no IP packet, version {version}").ok(),
    }
}

fn ethernet(bytes: Bytes<'_>, len: u32, out: &mut String) -> Option<()> {
    let (to, from) = (bytes.mac(0)?, bytes.mac(6)?);
    let mut at = 12;
    let mut kind = bytes.u16(at)?;
    while matches!(kind, 0x8100 | 0x88a8 | 0x9100) {
        let _ = write!(out, "vlan {}, ", bytes.u16(at + 2)? & 0xfff);
        at += 4;
        kind = bytes.u16(at)?;
    }
    let payload = bytes.behind(at + 2)?;
    match kind {
        0x0800 => ip::v4(payload, out),
        0x86dd => ip::v6(payload, out),
        0x0806 => arp(payload, out),
        0..=1500 => write!(out, "{from} > {to}, 802.3, length {len}").ok(),
        _ => write!(out, "{from} > {to}, ethertype {kind:#06x}, length {len}").ok(),
    }
}

/// Without its length, which is always the same, so that it fits the line of a small terminal.
fn arp(bytes: Bytes<'_>, out: &mut String) -> Option<()> {
    out.push_str("ARP, ");
    let (sender, target) = (bytes.array(14)?, bytes.array(24)?);
    let [sender, target] = [sender, target].map(std::net::Ipv4Addr::from);
    match bytes.u16(6)? {
        1 if sender == target => write!(out, "Announcement {sender}").ok(),
        1 if sender.is_unspecified() => write!(out, "Probe {target}").ok(),
        1 => write!(out, "Request who-has {target} tell {sender}").ok(),
        2 => write!(out, "Reply {sender} is-at {}", bytes.mac(8)?).ok(),
        other => write!(out, "operation {other}").ok(),
    }
}

#[cfg(test)]
mod tests;
