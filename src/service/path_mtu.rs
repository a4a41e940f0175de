//! Path MTU discovery (RFC 1191, RFC 8201): ICMP "too big" from routers behind the switch, and the path MTUs learned by
//! it.
//!
//! A service is the first router of the way to a guest, and not always the last: a tunnel, or a serial line with a host
//! at its end, may have a smaller MTU than the switch. A router that cannot forward a packet quotes its beginning in an
//! ICMP message; the sender then sends smaller ones.

use crate::service::shares::Shares;
use crate::service::station::Station;
use crate::time::{Duration, Instant};
use crate::wire::ip::{FRAGMENT, ICMPV4, ICMPV6, Packet};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;

/// The least path MTU believed of IPv4: an old serial line's (RFC 1191, 7.1); below it there is only 68, which every
/// link has to carry. Linux believes no less than 552 (`ip_rt_min_pmtu`), and lets longer packets be fragmented; a
/// device without reassembly would then get nothing. Here only a station on the way is believed
/// ([`Station::is_on_the_way_to`]), and slows only its own traffic ([`Paths`]).
pub const LEAST_V4: u16 = 296;
/// The same of IPv6 (RFC 8200, 5).
pub const LEAST_V6: u16 = 1280;
/// Plateau MTUs, for routers that do not report one (RFC 1191, 7.1).
const PLATEAUS: [u16; 9] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296];
/// A way is tried with larger packets again after this long (RFC 1191, 6.3: not below ten minutes).
const LASTS: Duration = Duration::from_secs(600);
/// Path MTUs that are remembered.
const WAYS: usize = 256;

/// A router has dropped a packet that was too big.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooBig<'a> {
    /// The packet's source.
    pub src: IpAddr,
    /// Its destination.
    pub dst: IpAddr,
    /// Its protocol.
    pub protocol: u8,
    /// The next hop's MTU.
    pub mtu: u16,
    /// Its payload, as far as that was quoted: eight bytes at least.
    pub quote: &'a [u8],
}

impl<'a> TooBig<'a> {
    /// Reads "fragmentation needed" of IPv4, and "packet too big" of IPv6. `None`: it is another packet.
    #[inline]
    pub fn read(packet: &Packet<'a>) -> Option<Self> {
        if matches!(packet.protocol, ICMPV4 | ICMPV6) { Self::read_icmp(packet) } else { None }
    }

    fn read_icmp(packet: &Packet<'a>) -> Option<Self> {
        let (&[kind, code, _, _, m0, m1, m2, m3], quoted) = packet.payload.split_first_chunk::<8>()?;
        let told = match (packet.protocol, kind, code) {
            (ICMPV4, 3, 4) => u32::from_be_bytes([0, 0, m2, m3]),
            (ICMPV6, 2, _) => u32::from_be_bytes([m0, m1, m2, m3]),
            _ => return None,
        };
        let told = u16::try_from(told).unwrap_or(u16::MAX);
        let found = if packet.protocol == ICMPV4 { read_v4(told, quoted) } else { read_v6(told, quoted) };
        found.filter(|found| found.quote.len() >= 8 && packet.fragment.is_none())
    }
}

fn read_v4(told: u16, quoted: &[u8]) -> Option<TooBig<'_>> {
    let (&[version, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3], _) =
        quoted.split_first_chunk::<20>()?;
    // Only the first fragment of a packet has the transport header.
    if version >> 4 != 4 || u16::from_be_bytes([f0, f1]) & 0x1fff != 0 {
        return None;
    }
    let length = u16::from_be_bytes([l0, l1]);
    let guessed = || PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(LEAST_V4);
    Some(TooBig {
        src: IpAddr::from([s0, s1, s2, s3]),
        dst: IpAddr::from([d0, d1, d2, d3]),
        protocol,
        mtu: if told == 0 { guessed() } else { told.max(LEAST_V4) },
        quote: quoted.get(usize::from(version & 0x0f) * 4..)?,
    })
}

fn read_v6(told: u16, quoted: &[u8]) -> Option<TooBig<'_>> {
    let (&[version, _, _, _, _, _, protocol, _], rest) = quoted.split_first_chunk::<8>()?;
    let (src, rest) = rest.split_first_chunk::<16>()?;
    let (dst, rest) = rest.split_first_chunk::<16>()?;
    let (protocol, quote) = match (protocol, rest) {
        (FRAGMENT, [next, _, _, _, _, _, _, _, rest @ ..]) => (*next, rest),
        _ => (protocol, rest),
    };
    let mtu = told.max(LEAST_V6);
    (version >> 4 == 6).then_some(TooBig { src: IpAddr::from(*src), dst: IpAddr::from(*dst), protocol, mtu, quote })
}

/// Path MTUs to guests that are smaller than the switch's.
///
/// A path's key is its destination address and the station that its packets go to. So a guest that uses another's
/// address has an entry of its own, and cannot change the other's. Each port of the switch has its share of the
/// entries.
#[derive(Default)]
pub struct Paths {
    ways: HashMap<(IpAddr, Station), (u16, Instant), RandomState>,
    shares: Shares,
}

impl Paths {
    /// Notes the path MTU to `addr` by way of `whom`.
    pub fn note(&mut self, now: Instant, addr: IpAddr, whom: Station, mtu: u16) {
        let known = self.of(now, addr, whom).map_or(mtu, |known| known.min(mtu));
        if self.ways.insert((addr, whom), (known, now)).is_none() {
            self.shares.take(whom.port());
            self.make_room(whom);
        }
    }

    /// Evicts an entry of the port itself if it is over its share, or of the port that has most, where there are too
    /// many.
    fn make_room(&mut self, whom: Station) {
        let within = self.shares.is_within(whom.port(), WAYS);
        if self.ways.len() <= WAYS && within {
            return;
        }
        let whose = if within { self.shares.greediest() } else { Some(whom.port()) };
        let its = self.ways.iter().filter(|((_, station), _)| Some(station.port()) == whose);
        let oldest = its.min_by_key(|(_, (_, since))| *since).map(|(way, _)| *way);
        if let Some(way) = oldest.filter(|way| self.ways.remove(way).is_some()) {
            self.shares.give(way.1.port());
        }
    }

    /// The path MTU to `addr` by way of `whom`, if it was reported lately.
    #[inline]
    pub fn of(&self, now: Instant, addr: IpAddr, whom: Station) -> Option<u16> {
        // The usual case: no entry at all.
        if self.ways.is_empty() { None } else { self.find(now, addr, whom) }
    }

    fn find(&self, now: Instant, addr: IpAddr, whom: Station) -> Option<u16> {
        self.ways.get(&(addr, whom)).filter(|(_, since)| now - *since < LASTS).map(|(mtu, _)| *mtu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;
    use crate::service::station::Ingress;
    use crate::wire::Mac;
    use crate::wire::ip::{TCP, UDP};

    const GUEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 15));

    fn packet<'a>(protocol: u8, payload: &'a [u8]) -> Packet<'a> {
        Packet { src: GUEST, dst: GUEST, hop_limit: 64, protocol, fragment: None, payload, whole: payload }
    }

    fn message_v4(told: u16, length: u16, place: u16) -> Vec<u8> {
        let head = [&[3, 4, 0, 0, 0, 0], &told.to_be_bytes()[..], &[0x45, 0], &length.to_be_bytes(), &[0, 1]].concat();
        [&head, &place.to_be_bytes()[..], &[64, TCP, 0, 0, 198, 51, 100, 7, 10, 0, 2, 15], &[7; 8]].concat()
    }

    #[test]
    fn what_a_router_says_is_read() {
        let mtu = |bytes: &[u8]| TooBig::read(&packet(ICMPV4, bytes)).map(|told| told.mtu);
        let said = message_v4(1300, 1500, 0x4000);
        let (src, quote) = ([198, 51, 100, 7].into(), &[7; 8][..]);
        let wanted = TooBig { src, dst: GUEST, protocol: TCP, mtu: 1300, quote };
        assert_eq!(TooBig::read(&packet(ICMPV4, &said)), Some(wanted));
        let guessed = [1500, 1492, 600, 100].map(|length| mtu(&message_v4(0, length, 0)));
        assert_eq!(guessed, [Some(1492), Some(1006), Some(508), Some(296)], "who does not say it");
        assert_eq!(mtu(&message_v4(1, 1500, 0)), Some(296));
        assert_eq!(mtu(&message_v4(1300, 1500, 1)), None, "not the first fragment");
        (0..said.len()).for_each(|len| assert_eq!(mtu(&said[..len]), None, "cut at {len}"));
        let unreachable = [&[3, 3], &said[2..]].concat();
        assert_eq!(mtu(&unreachable), None);
    }

    #[test]
    fn no_link_of_ipv6_carries_less_than_1280() {
        let read = |told: u32, next: u8, rest: &[u8]| {
            let head = [&[2, 0, 0, 0], &told.to_be_bytes()[..], &[0x60, 0, 0, 0, 0, 8, next, 64], &[9; 32]].concat();
            let bytes = [&head, rest].concat();
            TooBig::read(&packet(ICMPV6, &bytes)).map(|told| (told.mtu, told.protocol, told.quote.len()))
        };
        assert_eq!(read(1300, TCP, &[7; 20]), Some((1300, TCP, 20)));
        assert_eq!(read(600, TCP, &[7; 20]), Some((1280, TCP, 20)));
        assert_eq!(read(70_000, FRAGMENT, &[&[UDP], &[0; 15][..]].concat()), Some((65_535, UDP, 8)));
    }

    fn station(port: u16) -> Station {
        Station { mac: Mac([2, 0, 0, 0, 0, 7]), ingress: Ingress { port: PortId(port), isolated: false } }
    }

    #[test]
    fn a_way_is_tried_again() {
        let (mut paths, at, whom) = (Paths::default(), Instant::from_secs, station(1));
        paths.note(at(1), GUEST, whom, 576);
        paths.note(at(2), GUEST, whom, 1300);
        assert_eq!((paths.of(at(601), GUEST, whom), paths.of(at(602), GUEST, whom)), (Some(576), None));
        paths.note(at(603), GUEST, whom, 1300);
        assert_eq!(paths.of(at(603), GUEST, whom), Some(1300));
    }

    #[test]
    fn who_tells_of_many_ways_takes_none_of_others() {
        let (mut paths, at) = (Paths::default(), Instant::from_secs(1));
        paths.note(at, GUEST, station(1), 1300);
        for last in 0..1000_u32 {
            paths.note(at + Duration::from_secs(1), std::net::Ipv4Addr::from_bits(last).into(), station(2), 576);
        }
        paths.note(at, GUEST, station(2), 576);
        assert_eq!(paths.of(at, GUEST, station(1)), Some(1300));
        assert!(paths.ways.len() <= WAYS, "{}", paths.ways.len());
        assert_eq!(paths.ways.len(), (1..3).map(|port| paths.shares.of(PortId(port))).sum::<usize>());
    }
}
