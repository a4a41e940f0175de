//! IPv6: addresses that are in a pair, those that a station makes of its MAC address, and where that itself stands.
//!
//! A station's link-local address, and those that it configures by what routers advertise (RFC 4862), end in its MAC
//! address as an interface identifier. Copies of one image would all have the same ones, and find each other out by
//! duplicate address detection. So these addresses are exchanged along with the MAC address, and the groups that go with
//! them. Addresses that are given in any other way stay, unless a rule names them.
//!
//! The group of a solicited node holds the last 24 bits of its address, in which a static address may agree with one
//! that is made of a MAC address. A solicitation says which of them it is about: its group follows the target. Only
//! where the target does not tell (reports of members) the 24 bits alone decide.

use super::{Change, Exchange, Holds, other, replace, settle};
use etherparse::ip_number;

/// Bytes of the fixed header.
const HEADER: usize = 40;
/// Extension headers that are passed over. A header that signs what it covers (AH) is none of them.
const EXTENSIONS: usize = 8;

/// Where the options of a message of neighbour discovery begin, and how many addresses stand before them, from byte 8
/// on (RFC 4861, 4.1 to 4.5).
const fn discovery(kind: u8) -> Option<(usize, usize)> {
    match kind {
        133 => Some((8, 0)),
        134 => Some((16, 0)),
        135 | 136 => Some((24, 1)),
        137 => Some((40, 2)),
        _ => None,
    }
}

impl Exchange {
    /// Addresses of the header and what depends on them (RFC 8200, 3). As for IPv4.
    pub(super) fn ipv6(&self, packet: &mut [u8], seed: Option<usize>, quoted: bool) -> Change {
        let Some(&[_, _, _, _, l0, l1, next, _]) = packet.first_chunk() else { return Change::NONE };
        let is_group = packet.get(24..40).is_some_and(is_group_of_a_node);
        let end = self.ends_of_group(packet).map(|(_, new)| new);
        let destination = match (end, packet.get_mut(37..).and_then(|rest| rest.first_chunk_mut())) {
            (Some(end), Some(place)) => {
                let old = std::mem::replace(place, end);
                Change::of(&old, &end, false)
            }
            _ if is_group => Change::NONE,
            _ => self.address(packet, 24),
        };
        let addresses = self.address(packet, 8).and(destination);
        let end = (HEADER + usize::from(u16::from_be_bytes([l0, l1]))).min(packet.len());
        let Some((protocol, header)) = upper(packet, next) else { return addresses };
        let Some(datagram) = packet.get_mut(header..end) else { return addresses };
        let seed = seed.and_then(|at| at.checked_sub(header));
        addresses.and(match protocol {
            p if p == ip_number::IPV6_ICMP.0 => self.icmpv6(datagram, addresses, seed, quoted),
            _ => self.transport(datagram, protocol, addresses, seed, quoted),
        })
    }

    /// The old and the new end of the group to which a packet is sent, if that is the group of a solicited node and it
    /// changes.
    pub(super) fn ends_of_group(&self, packet: &[u8]) -> Option<([u8; 3], [u8; 3])> {
        let group = packet.get(24..40).filter(|group| is_group_of_a_node(group))?;
        let end = *group.last_chunk::<3>()?;
        let solicited = (packet.get(6) == Some(&ip_number::IPV6_ICMP.0) && packet.get(HEADER) == Some(&135))
            .then(|| packet.get(HEADER + 8..)?.first_chunk::<16>())
            .flatten()
            .filter(|target| target.ends_with(&end));
        let new = match solicited {
            Some(target) => self.other_address(*target).and_then(|new| new.last_chunk().copied()),
            None => other(&self.ends, end),
        };
        new.map(|new| (end, new))
    }

    /// The address that one is exchanged for.
    fn other_address(&self, address: [u8; 16]) -> Option<[u8; 16]> {
        let [prefix @ .., a, b, c, d, e, f, g, h] = address;
        let prefix: [u8; 8] = prefix;
        other(&self.ips6, address).or_else(|| {
            let iid = other(&self.iids, [a, b, c, d, e, f, g, h])?;
            Some(std::array::from_fn(|at| if at < 8 { prefix[at] } else { iid[at - 8] }))
        })
    }

    /// An address of a pair, one that is made of a MAC address, or the group of such ones (RFC 4291, 2.7.1).
    fn address(&self, bytes: &mut [u8], at: usize) -> Change {
        match bytes.get(at..at + 16) {
            Some(address) if is_group_of_a_node(address) => replace(&self.ends, bytes, at + 13, false),
            _ => self.station(bytes, at),
        }
    }

    /// The same where no group may be (a target: RFC 4861, 7.1).
    fn station(&self, bytes: &mut [u8], at: usize) -> Change {
        match bytes.get(at..at + 16) {
            Some([0xff, ..]) | None => Change::NONE,
            Some(_) => {
                let change = replace(&self.ips6, bytes, at, true);
                if change.is_none() { replace(&self.iids, bytes, at + 8, true) } else { change }
            }
        }
    }

    /// Neighbour discovery, group membership, and what errors quote.
    fn icmpv6(&self, message: &mut [u8], pseudo: Change, seed: Option<usize>, quoted: bool) -> Change {
        let Some(&kind) = message.first() else { return Change::NONE };
        let inside = match kind {
            _ if quoted => Change::NONE,
            1..=4 => message.get_mut(8..).map_or(Change::NONE, |quote| self.ipv6(quote, None, true)),
            // Multicast listener discovery (RFC 2710, 3; RFC 3810, 5.2).
            130..=132 => self.address(message, 8),
            143 => self.records(message),
            _ => discovery(kind).map_or(Change::NONE, |(options, count)| self.discovery(message, options, count)),
        };
        let holds = if seed == Some(2) { Holds::Seed } else { Holds::Complement };
        // A partial checksum gets the message's sum later.
        let covered = if holds == Holds::Seed { pseudo } else { pseudo.and(inside) };
        inside.and(settle(message, 2, covered, holds))
    }

    /// Addresses before the options, and in these the link-layer addresses (RFC 4861, 4.6.1).
    fn discovery(&self, message: &mut [u8], options: usize, count: usize) -> Change {
        let mut all = (0..count).fold(Change::NONE, |all, index| all.and(self.station(message, 8 + 16 * index)));
        let mut at = options;
        while let Some(&[kind, eights]) = message.get(at..).and_then(|rest| rest.first_chunk()) {
            match (kind, eights) {
                (_, 0) => break,
                (1 | 2, 1) => all = all.and(self.mac(message, at + 2, true)),
                _ => {}
            }
            at += usize::from(eights) * 8;
        }
        all
    }

    /// The groups of a listener report.
    fn records(&self, message: &mut [u8]) -> Change {
        let (mut all, mut at) = (Change::NONE, 8);
        while let Some(&[_, words, s0, s1]) = message.get(at..).and_then(|rest| rest.first_chunk()) {
            all = all.and(self.address(message, at + 4));
            at += 20 + usize::from(u16::from_be_bytes([s0, s1])) * 16 + usize::from(words) * 4;
        }
        all
    }
}

/// Whether an address is the group of a solicited node, ff02::1:ff00:0/104.
fn is_group_of_a_node(address: &[u8]) -> bool {
    address.starts_with(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff])
}

/// The protocol above IPv6 and where its header begins; `None` where it has none in this packet: behind headers that
/// are not known, and in all fragments but the first.
fn upper(packet: &[u8], first: u8) -> Option<(u8, usize)> {
    let (mut next, mut at) = (first, HEADER);
    for _ in 0..EXTENSIONS {
        let header: &[u8; 8] = match next {
            0 | 43 | 44 | 60 => packet.get(at..)?.first_chunk()?,
            _ => return Some((next, at)),
        };
        let [following, length, offset, flags, ..] = *header;
        // Where a route is not at its end, the pseudo header's destination is another (RFC 8200, 4.4 and 8.1).
        if next == 44 && (u16::from_be_bytes([offset, flags]) >> 3) != 0 || next == 43 && flags != 0 {
            return None;
        }
        at += if next == 44 { 8 } else { (usize::from(length) + 1) * 8 };
        next = following;
    }
    None
}
