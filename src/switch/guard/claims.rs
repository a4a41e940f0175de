//! The claims of a frame: addresses that receivers take for its sender's.
//!
//! | message                      | claims                                                                      |
//! |------------------------------|-----------------------------------------------------------------------------|
//! | any frame                    | its source MAC                                                              |
//! | ARP                          | the sender's MAC and address                                                |
//! | 133, 134, 135 (RFC 4861, 4.1 to 4.3) | the source, and the MAC of each link-layer option                   |
//! | 136 (4.4)                    | the target, and the MAC of each link-layer option                           |
//! | 137 (4.5)                    | nothing; the target and its MAC are another's, and are only looked at       |
//!
//! They are found behind any VLAN tags and extension headers. A message of neighbour discovery whose hop limit is not
//! 255 claims nothing: it may come from another link, and every node ignores it.

use super::Address;
use crate::wire::Mac;
use crate::wire::layers::{BehindV6, Part};
use etherparse::ip_number;
use std::net::{Ipv4Addr, Ipv6Addr};

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Options of neighbour discovery: the MAC of the source, and of the target.
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;

/// The claims of one frame.
#[derive(Clone, Copy, Default)]
pub(in crate::switch) struct Claims<'a> {
    /// Addresses that receivers note as its sender's: MAC, ARP sender, neighbour's address.
    said: [Option<Address>; 3],
    /// The options of a message of neighbour discovery.
    options: &'a [u8],
    /// The source of its IP packet, and the target of a redirect.
    spoken_of: [Option<Address>; 2],
    /// The options of a redirect.
    target_options: &'a [u8],
    /// It is a fragmented message of neighbour discovery, or the first fragment of a packet that may be one. No node
    /// may accept it as one (RFC 6980, section 5; RFC 7112, section 5).
    pub in_fragments: bool,
}

impl<'a> Claims<'a> {
    /// Parses a frame. A truncated message claims nothing, as no node can use it.
    pub fn of(frame: &'a [u8]) -> Self {
        let mut claims = Self::default();
        claims.said[0] = frame.get(6..12).and_then(mac);
        let (mut at, mut kind) = (14, frame.get(12..14));
        while matches!(kind, Some([0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00])) {
            (kind, at) = (frame.get(at + 2..at + 4), at + 4);
        }
        let payload = frame.get(at..).unwrap_or_default();
        match kind {
            // htype, ptype, hlen, plen, op, sender MAC, sender IP
            Some([0x08, 0x06]) => {
                claims.said[1] = payload.get(8..14).and_then(mac);
                claims.said[2] = payload.get(14..18).and_then(v4);
            }
            Some([0x08, 0x00]) => claims.spoken_of[0] = payload.get(12..16).and_then(v4),
            Some([0x86, 0xdd]) => claims.read_v6(payload),
            _ => {}
        }
        claims
    }

    fn read_v6(&mut self, packet: &'a [u8]) {
        let source = packet.get(8..24).and_then(v6);
        self.spoken_of[0] = source;
        let Some(behind) = BehindV6::read(packet) else { return };
        let message = behind.payload;
        let kind = message.first().copied().filter(|_| behind.protocol == ip_number::IPV6_ICMP);
        let is_discovery = matches!(kind, Some(ROUTER_SOLICITATION..=REDIRECT));
        if behind.part != Part::Whole {
            let is_hidden = kind.is_none() && (behind.is_cut || behind.protocol == ip_number::IPV6_ICMP);
            self.in_fragments = behind.part == Part::First && (is_discovery || is_hidden);
            return;
        }
        if !is_discovery || behind.hop_limit != 255 {
            return;
        }
        let target = || message.get(8..24).and_then(v6);
        let options = |at: usize| message.get(at..).unwrap_or_default();
        match kind {
            Some(ROUTER_SOLICITATION) => (self.said[1], self.options) = (source, options(8)),
            Some(ROUTER_ADVERTISEMENT) => (self.said[1], self.options) = (source, options(16)),
            Some(SOLICITATION) => (self.said[1], self.options) = (source, options(24)),
            Some(ADVERTISEMENT) => (self.said[1], self.options) = (target(), options(24)),
            _ => (self.spoken_of[1], self.target_options) = (target(), options(40)),
        }
    }

    /// The addresses that receivers note as its sender's.
    pub fn said(&self) -> impl Iterator<Item = Address> {
        self.said.into_iter().flatten().chain(link_layers(self.options))
    }

    /// Addresses that it uses or names, but that receivers do not note as its sender's.
    pub fn spoken_of(&self) -> impl Iterator<Item = Address> {
        self.spoken_of.into_iter().flatten().chain(link_layers(self.target_options))
    }
}

/// The MACs in all link-layer options, as it is not specified which of several counts.
fn link_layers(mut options: &[u8]) -> impl Iterator<Item = Address> {
    std::iter::from_fn(move || {
        let &[_, words, ..] = options else { return None };
        let len = 8 * usize::from(words);
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        options = options.get(len..).unwrap_or_default();
        Some(option)
    })
    .filter(|option| matches!(option.first(), Some(&SOURCE_MAC | &TARGET_MAC)))
    .filter_map(|option| option.get(2..8).and_then(mac))
}

fn mac(bytes: &[u8]) -> Option<Address> {
    let mac = Mac(bytes.try_into().ok()?);
    (!mac.is_group() && mac.as_u64() != 0).then_some(Address::Mac(mac))
}

fn v4(bytes: &[u8]) -> Option<Address> {
    let addr = Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?);
    let of_a_host = !addr.is_unspecified() && !addr.is_multicast() && !addr.is_broadcast();
    of_a_host.then_some(Address::Ip(addr.into()))
}

fn v6(bytes: &[u8]) -> Option<Address> {
    let addr = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
    (!addr.is_unspecified() && !addr.is_multicast()).then_some(Address::Ip(addr.into()))
}
