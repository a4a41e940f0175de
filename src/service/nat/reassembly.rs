//! Reassembly of fragmented datagrams of guests (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! Fragments wait, in the order in which their datagrams began, until their datagram is whole, too old, or memory is
//! needed for a newer one: then the port of the switch that holds most loses its oldest. Fragments that overlap or
//! contradict each other end their datagram; an exact duplicate does not (RFC 5722, 4). Fragments of two stations are
//! never put together, whatever address they have.

use super::icmp::QUOTE;
use super::packet::Packet;
use crate::frame::PortId;
use crate::limits::NAT_FRAGMENTS;
use crate::service::station::Station;
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Datagrams that are being put together at most.
const DATAGRAMS: usize = 64;
/// Fragments of one datagram: 64 KiB over the least mtu of IPv4 are 1,366, over Ethernet's 45.
const FRAGMENTS: usize = 1400;
/// How long the last fragment may take (RFC 1122, 3.3.2; RFC 8200 says a minute).
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest datagram.
const LONGEST: usize = 65_535;

#[derive(PartialEq, Eq)]
struct Key {
    whom: Station,
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    id: u32,
}

struct Datagram {
    key: Key,
    since: Instant,
    /// Where each begins, and its bytes; in order, without overlap.
    fragments: Vec<(usize, Box<[u8]>)>,
    bytes: usize,
    /// Its length, when the last fragment is there.
    length: Option<usize>,
    quote: Box<[u8]>,
    hop_limit: u8,
}

/// A datagram that has become whole.
pub(super) struct Whole {
    key: Key,
    payload: Vec<u8>,
    quote: Box<[u8]>,
    hop_limit: u8,
}

impl Whole {
    /// The packet, as if it had come unfragmented.
    pub fn packet(&self) -> Packet<'_> {
        Packet {
            src: self.key.src,
            dst: self.key.dst,
            hop_limit: self.hop_limit,
            protocol: self.key.protocol,
            fragment: None,
            payload: &self.payload,
            whole: &self.quote,
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Reassembly {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    /// Datagrams that did not become whole.
    pub lost: u64,
}

impl Reassembly {
    /// Takes a fragment. Gives the datagram that it completes.
    pub fn add(&mut self, now: Instant, whom: Station, packet: &Packet<'_>) -> Option<Whole> {
        let fragment = packet.fragment?;
        while self.datagrams.front().is_some_and(|oldest| now - oldest.since > PATIENCE) {
            self.lose(0);
        }
        let key = Key { whom, src: packet.src, dst: packet.dst, protocol: packet.protocol, id: fragment.id };
        let found = self.datagrams.iter().position(|datagram| datagram.key == key);
        let index = found.unwrap_or_else(|| {
            let (fragments, quote) = (Vec::new(), Box::default());
            let hop_limit = packet.hop_limit;
            self.datagrams.push_back(Datagram { key, since: now, fragments, bytes: 0, length: None, quote, hop_limit });
            self.datagrams.len() - 1
        });
        let datagram = self.datagrams.get_mut(index)?;
        match datagram.take(fragment.offset, fragment.more, packet) {
            Fit::Gap => self.bytes += packet.payload.len(),
            Fit::Again => return None,
            Fit::Not => {
                self.lose(index);
                return None;
            }
        }
        if let Some(whole) = self.datagrams.get_mut(index).and_then(Datagram::complete) {
            let done = self.datagrams.remove(index)?;
            self.bytes -= done.bytes;
            return Some(Whole { key: done.key, payload: whole, quote: done.quote, hop_limit: done.hop_limit });
        }
        while self.bytes > NAT_FRAGMENTS || self.datagrams.len() > DATAGRAMS {
            self.lose(self.first_to_go());
        }
        None
    }

    /// The oldest datagram of the port that holds most: of bytes where these have run out, and else of datagrams.
    fn first_to_go(&self) -> usize {
        let weight = |datagram: &Datagram| if self.bytes > NAT_FRAGMENTS { datagram.bytes } else { 1 };
        let mut held: BTreeMap<PortId, usize> = BTreeMap::new();
        self.datagrams.iter().for_each(|it| *held.entry(it.key.whom.port()).or_default() += weight(it));
        let most = held.into_iter().max_by_key(|(_, held)| *held).map(|(port, _)| port);
        self.datagrams.iter().position(|it| Some(it.key.whom.port()) == most).unwrap_or(0)
    }

    fn lose(&mut self, index: usize) {
        if let Some(lost) = self.datagrams.remove(index) {
            self.bytes -= lost.bytes;
            self.lost += 1;
        }
    }
}

/// How a fragment fits those that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    /// Into a gap, which it has been put into.
    Gap,
    /// It is there already.
    Again,
    /// Not at all.
    Not,
}

impl Datagram {
    /// Takes a fragment, if it fits.
    fn take(&mut self, offset: usize, more: bool, packet: &Packet<'_>) -> Fit {
        let bytes = packet.payload;
        let end = offset + bytes.len();
        let at = self.fragments.partition_point(|(start, _)| *start < offset);
        let same = self.fragments.get(at).is_some_and(|(start, fragment)| *start == offset && **fragment == *bytes);
        if same && more == (self.length != Some(end)) {
            return Fit::Again;
        }
        // All but the last are whole units (RFC 791, 3.1).
        let odd = more && (bytes.is_empty() || !bytes.len().is_multiple_of(8));
        let beyond = self.length.is_some_and(|length| end > length || !more);
        if odd || beyond || end > LONGEST || self.fragments.len() >= FRAGMENTS {
            return Fit::Not;
        }
        let before = at.checked_sub(1).and_then(|at| self.fragments.get(at));
        let overlaps = before.is_some_and(|(start, fragment)| start + fragment.len() > offset)
            || self.fragments.get(at).is_some_and(|(start, _)| *start < end);
        if overlaps || (!more && at < self.fragments.len()) {
            return Fit::Not;
        }
        if !more {
            self.length = Some(end);
        }
        if offset == 0 {
            self.quote = packet.whole.get(..packet.whole.len().min(QUOTE)).unwrap_or_default().into();
        }
        self.bytes += bytes.len();
        self.fragments.insert(at, (offset, bytes.into()));
        Fit::Gap
    }

    /// All bytes, if all are there.
    fn complete(&mut self) -> Option<Vec<u8>> {
        if self.length? != self.bytes {
            return None;
        }
        let mut whole = Vec::with_capacity(self.bytes);
        self.fragments.iter().for_each(|(_, bytes)| whole.extend_from_slice(bytes));
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::nat::packet::{Fragment, UDP};
    use crate::service::station::Ingress;
    use crate::wire::Mac;
    use proptest::prelude::*;

    const WHOM: Station = behind(1);

    const fn behind(port: u16) -> Station {
        Station { mac: Mac([2, 0, 0, 0, 0, 7]), ingress: Ingress { port: PortId(port), isolated: false } }
    }

    fn packet(payload: &[u8], id: u32, offset: usize, more: bool) -> Packet<'_> {
        Packet {
            src: IpAddr::from([10, 0, 2, 15]),
            dst: IpAddr::from([192, 0, 2, 1]),
            hop_limit: 64,
            protocol: UDP,
            fragment: Some(Fragment { id, offset, more }),
            payload,
            whole: payload,
        }
    }

    #[test]
    fn a_fragment_that_overlaps_ends_its_datagram() {
        let mut fragments = Reassembly::default();
        assert!(fragments.add(Instant::ZERO, WHOM, &packet(&[1; 16], 7, 0, true)).is_none());
        assert!(fragments.add(Instant::ZERO, WHOM, &packet(&[2; 16], 7, 8, false)).is_none());
        assert_eq!((fragments.lost, fragments.bytes, fragments.datagrams.len()), (1, 0, 0));
    }

    #[test]
    fn the_same_fragment_once_more_changes_nothing() {
        let mut fragments = Reassembly::default();
        let mut add = |bytes: &[u8], offset, more| fragments.add(Instant::ZERO, WHOM, &packet(bytes, 7, offset, more));
        for _ in 0..2 {
            assert!(add(&[1; 16], 8, true).is_none());
            assert!(add(&[2; 4], 24, false).is_none());
        }
        let whole = add(&[3; 8], 0, true).unwrap();
        assert_eq!(whole.packet().payload, [&[3; 8][..], &[1; 16], &[2; 4]].concat());
        assert_eq!((fragments.lost, fragments.bytes, fragments.datagrams.len()), (0, 0, 0));
    }

    #[test]
    fn fragments_of_one_port_neither_displace_nor_complete_another_s() {
        let mut fragments = Reassembly::default();
        assert!(fragments.add(Instant::ZERO, WHOM, &packet(&[1; 8], 7, 0, true)).is_none());
        assert!(fragments.add(Instant::ZERO, behind(2), &packet(&[2; 8], 7, 8, false)).is_none(), "the same address");
        for id in 100..300 {
            assert!(fragments.add(Instant::ZERO, behind(2), &packet(&[2; 8], id, 0, true)).is_none());
        }
        (0..40).for_each(|at| drop(fragments.add(Instant::ZERO, behind(3), &packet(&[2; 32_768], at, 32_768, true))));
        let whole = fragments.add(Instant::ZERO, WHOM, &packet(&[3; 8], 7, 8, false)).unwrap();
        assert_eq!(whole.packet().payload, [[1; 8], [3; 8]].concat());
    }

    #[test]
    fn what_waits_is_bounded_and_grows_old() {
        let mut fragments = Reassembly::default();
        for id in 0..10_000 {
            assert!(fragments.add(Instant::ZERO, WHOM, &packet(&[0; 1480], id, 0, true)).is_none());
            assert!(fragments.datagrams.len() <= DATAGRAMS && fragments.bytes <= NAT_FRAGMENTS);
        }
        let late = Instant::from_secs(31);
        assert!(fragments.add(late, WHOM, &packet(&[0; 8], 1, 0, true)).is_none());
        assert_eq!((fragments.datagrams.len(), fragments.bytes, fragments.lost), (1, 8, 10_000));
        assert!(fragments.add(late, WHOM, &packet(&[0; 8], 1, 65_528, false)).is_none());
        assert_eq!(fragments.lost, 10_001);
    }

    proptest! {
        #[test]
        fn any_order_makes_the_datagram(payload in prop::collection::vec(any::<u8>(), 1..4000), size in 1usize..40,
                                        order: u64, twins in 0u32..3) {
            let mut fragments = Reassembly::default();
            let size = size * 8;
            let mut cuts: Vec<(u32, usize)> =
                (0..=twins).flat_map(|id| (0..payload.len().div_ceil(size)).map(move |n| (id, n * size))).collect();
            let mut state = order | 1;
            for at in (1..cuts.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                cuts.swap(at, (state >> 33) as usize % (at + 1));
            }
            let mut whole = 0;
            for (id, at) in cuts {
                let end = (at + size).min(payload.len());
                if let Some(done) = fragments.add(Instant::ZERO, WHOM, &packet(&payload[at..end], id, at, end < payload.len())) {
                    prop_assert_eq!(done.packet().payload, &payload[..]);
                    whole += 1;
                }
            }
            prop_assert_eq!((whole, fragments.bytes, fragments.lost), (twins + 1, 0, 0));
        }
    }
}
