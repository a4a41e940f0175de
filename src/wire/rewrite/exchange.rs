//! Exchanges pairs of addresses in a frame, and keeps its checksums right.
//!
//! How it works. Every function here edits its part of the frame and gives the [`Change`]: by how much the one's
//! complement sum of these bytes has grown. A checksum over them is then updated from its old value (RFC 1624), never
//! computed anew: a frame that arrived damaged leaves damaged, and the payload is not read. The update of a checksum
//! field is itself a change, which matters where an outer checksum covers it: ICMP errors quote whole headers.

mod dhcp;
mod six;

use crate::wire::checksum::Sum;
use crate::wire::layers::network_at;
use crate::wire::{Checksum, Offload};
use etherparse::{EtherType, ether_type, ip_number};

/// UDP-Lite (RFC 3828): its checksum is where UDP's is.
const UDP_LITE: u8 = 136;
/// Reverse ARP has the fields of ARP (RFC 903).
const RARP: EtherType = EtherType(0x8035);
/// The Datagram Congestion Control Protocol (RFC 4340): a pseudo header, and the checksum at byte 6 as UDP has it.
const DCCP: u8 = 33;
/// ICMP errors, which quote the header that they are about (RFC 792), and among them the redirect.
const ICMP_ERRORS: [u8; 5] = [3, 4, REDIRECT, 11, 12];
const REDIRECT: u8 = 5;

/// By how much a sum has changed; the empty sum where nothing has.
#[derive(Clone, Copy, Default)]
struct Change(Option<Sum>);

impl Change {
    const NONE: Self = Self(None);

    /// That of bytes which were `old` and are `new`, at an even distance from the start of what is summed, or not.
    fn of(old: &[u8], new: &[u8], even: bool) -> Self {
        let sum = |bytes| {
            let folded = Sum::ZERO.add_bytes(bytes).folded();
            if even { folded } else { folded.swap_bytes() }
        };
        Self(Some(Sum::ZERO.add_u16(!sum(old)).add_u16(sum(new))))
    }

    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn and(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(two)) => Self(Some(one.join(two))),
            (one, two) => Self(one.or(two)),
        }
    }
}

/// How a checksum field holds its sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Its complement.
    Complement,
    /// The same, and 0 means that there is none (RFC 768).
    ComplementOrNone,
    /// The sum of the pseudo header as it is, to be completed later.
    Seed,
}

/// Two addresses that are exchanged.
type Pair<const N: usize> = ([u8; N], [u8; N]);

/// Pairs of addresses, no address in two of them.
#[derive(Clone, Default, Debug)]
pub(super) struct Exchange {
    pub macs: Vec<Pair<6>>,
    pub ips: Vec<Pair<4>>,
    pub ips6: Vec<Pair<16>>,
    /// The values that IPv6 derives from MAC addresses: interface identifiers, and the ends of solicited-node groups.
    iids: Vec<Pair<8>>,
    ends: Vec<Pair<3>>,
}

/// The interface identifier of a station: the modified EUI-64 (RFC 4291, appendix A).
const fn iid([a, b, c, d, e, f]: [u8; 6]) -> [u8; 8] {
    [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

impl Exchange {
    /// Adds a pair of MAC addresses, which are in no other.
    pub fn pair_macs(&mut self, old: [u8; 6], new: [u8; 6]) {
        self.macs.push((old, new));
        self.iids.push((iid(old), iid(new)));
        let end = |[_, _, _, d, e, f]: [u8; 6]| [d, e, f];
        let (old, new) = (end(old), end(new));
        let taken = |one: [u8; 3]| self.ends.iter().any(|&(a, b)| one == a || one == b);
        // Different stations may be in one group.
        if old != new && !taken(old) && !taken(new) {
            self.ends.push((old, new));
        }
    }

    /// Exchanges the addresses of `frame`, of which its port has said `offload`.
    pub fn apply(&self, frame: &mut [u8], offload: &Offload) {
        for at in [0, 6] {
            self.mac(frame, at, true);
        }
        let Ok((ether_type, at)) = network_at(frame) else { return };
        let has_pairs_of_six = !self.macs.is_empty() || !self.ips6.is_empty();
        // The group of a solicited node (RFC 2464, 7): its address goes with that in the IPv6 header.
        if ether_type == ether_type::IPV6 && has_pairs_of_six && frame.starts_with(&[0x33, 0x33, 0xff]) {
            let ends = frame.get(at..).and_then(|packet| self.ends_of_group(packet));
            if let (Some((old, new)), Some(place)) = (ends, frame.get_mut(3..6))
                && place == old
            {
                place.copy_from_slice(&new);
            }
        }
        let seed = match offload.checksum {
            Checksum::Partial { start, offset } => (usize::from(start) + usize::from(offset)).checked_sub(at),
            Checksum::None | Checksum::Valid => None,
        };
        let Some(packet) = frame.get_mut(at..) else { return };
        match ether_type {
            ether_type::IPV4 if packet.first().is_some_and(|first| first >> 4 == 4) => {
                self.ipv4(packet, seed, false);
            }
            ether_type::IPV6 if has_pairs_of_six => {
                self.ipv6(packet, seed, false);
            }
            ether_type::ARP | RARP => self.arp(packet),
            _ => {}
        }
    }

    fn mac(&self, bytes: &mut [u8], at: usize, even: bool) -> Change {
        replace(&self.macs, bytes, at, even)
    }

    fn ip(&self, bytes: &mut [u8], at: usize, even: bool) -> Change {
        replace(&self.ips, bytes, at, even)
    }

    /// Hardware and protocol addresses of sender and target (RFC 826), for IPv4 on Ethernet.
    fn arp(&self, packet: &mut [u8]) {
        if packet.starts_with(&[0, 1, 8, 0, 6, 4]) {
            for at in [8, 18] {
                self.mac(packet, at, true);
                self.ip(packet, at + 6, true);
            }
        }
    }

    /// Addresses of the header and what depends on them (RFC 791, 3.1). `seed` is where a checksum waits to be
    /// completed. A packet that an ICMP error quotes may end early.
    fn ipv4(&self, packet: &mut [u8], seed: Option<usize>, quoted: bool) -> Change {
        let Some(&[first, _, l0, l1, _, _, f0, f1, _, protocol]) = packet.first_chunk() else { return Change::NONE };
        let header = usize::from(first & 0x0f) * 4;
        if header < 20 || packet.len() < 20 {
            return Change::NONE;
        }
        let addresses = self.ip(packet, 12, true).and(self.ip(packet, 16, true));
        let all = addresses.and(settle(packet, 10, addresses, Holds::Complement));
        let fragment_offset = u16::from_be_bytes([f0, f1]) & 0x1fff;
        let end = usize::from(u16::from_be_bytes([l0, l1])).min(packet.len());
        if fragment_offset != 0 {
            return all;
        }
        let Some(datagram) = packet.get_mut(header..end) else { return all };
        if protocol == ip_number::ICMP.0 && !quoted {
            self.icmp(datagram);
        }
        let seed = seed.and_then(|at| at.checked_sub(header));
        all.and(self.transport(datagram, protocol, addresses, seed, quoted))
    }

    /// The checksum of a TCP or UDP datagram whose pseudo header has changed by `addresses`, and DHCP.
    fn transport(
        &self,
        datagram: &mut [u8],
        protocol: u8,
        addresses: Change,
        seed: Option<usize>,
        quoted: bool,
    ) -> Change {
        let holds = |field: usize, usual| if seed == Some(field) { Holds::Seed } else { usual };
        match protocol {
            p if p == ip_number::TCP.0 => settle(datagram, 16, addresses, holds(16, Holds::Complement)),
            DCCP => settle(datagram, 6, addresses, holds(6, Holds::Complement)),
            p if p == ip_number::UDP.0 || p == UDP_LITE => {
                let payload = if quoted { Change::NONE } else { self.configuration(datagram) };
                let holds = holds(6, Holds::ComplementOrNone);
                // A partial checksum gets the payload's sum later.
                let covered = if holds == Holds::Seed { addresses } else { addresses.and(payload) };
                payload.and(settle(datagram, 6, covered, holds))
            }
            _ => Change::NONE,
        }
    }

    /// The packet quoted by an ICMP error, and the router that a redirect names.
    fn icmp(&self, message: &mut [u8]) {
        let Some(&kind) = message.first().filter(|kind| ICMP_ERRORS.contains(kind)) else { return };
        let router = if kind == REDIRECT { self.ip(message, 4, true) } else { Change::NONE };
        let quote = message.get_mut(8..).map_or(Change::NONE, |quote| self.ipv4(quote, None, true));
        settle(message, 2, router.and(quote), Holds::Complement);
    }
}

/// The other address of the pair that this one is in.
fn other<const N: usize>(pairs: &[Pair<N>], address: [u8; N]) -> Option<[u8; N]> {
    pairs.iter().find_map(|&(one, two)| match address {
        address if address == one => Some(two),
        address if address == two => Some(one),
        _ => None,
    })
}

/// Exchanges the address at `at`, if it is in a pair.
fn replace<const N: usize>(pairs: &[Pair<N>], bytes: &mut [u8], at: usize, even: bool) -> Change {
    let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) else { return Change::NONE };
    let Some(new) = other(pairs, *place) else { return Change::NONE };
    let old = std::mem::replace(place, new);
    Change::of(&old, &new, even)
}

/// Updates the checksum field at `at` after a change of the bytes it covers. Returns the change of the field itself.
fn settle(bytes: &mut [u8], at: usize, change: Change, holds: Holds) -> Change {
    let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return Change::NONE };
    let (Some(change), old) = (change.0, *field) else { return Change::NONE };
    let value = u16::from_be_bytes(old);
    if holds == Holds::ComplementOrNone && value == 0 {
        return Change::NONE;
    }
    let sum = |start: u16| change.add_u16(start);
    let new = match holds {
        Holds::Complement => sum(!value).checksum(),
        Holds::ComplementOrNone => sum(!value).checksum_nonzero(),
        Holds::Seed => sum(value).folded(),
    };
    *field = new.to_be_bytes();
    Change::of(&old, field, at.is_multiple_of(2))
}
