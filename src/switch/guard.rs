//! The source guard: an address is the port's that had it first, and what claims it elsewhere goes no further.
//!
//! # Theory of operation
//! A frame claims its source MAC. An ARP message claims its sender's addresses (RFC 826), a neighbour solicitation its
//! source and an advertisement its target (RFC 4861, 4.3 and 4.4). A port that is guarded keeps what it claims first
//! (*first use*), a bounded number of addresses: a new one takes the place of the port's own oldest. Addresses that are
//! known otherwise are bound for good: a `static` station, a service's own, a lease of the gateway's DHCP, which takes an
//! address from whoever had it by first use.
//!
//! A claim to an address that another port has is dropped, whichever port it comes from: that is what the one that has it is
//! guarded against. From a guarded port the source of an IP packet is such a claim as well. From any other it is not, as
//! there may be a router behind it, whose packets come from everywhere. An address is free again when its port is down or
//! gone.
//!
//! While no port is guarded nothing is looked at.

use crate::frame::PortId;
use crate::wire::Mac;
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that a port has by first use, of MAC, IPv4 and IPv6 together.
const MOST: usize = 64;

/// What a frame may claim to be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Address {
    /// A station.
    Mac(Mac),
    /// A host.
    Ip(IpAddr),
}

/// `MAC 02:00:5e:00:53:01`, `address 10.0.2.15`.
impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => write!(out, "MAC {mac}"),
            Self::Ip(addr) => write!(out, "address {addr}"),
        }
    }
}

/// A claim to an address that another port has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The port that it came from.
    pub port: PortId,
    /// The port that has the address.
    pub owner: PortId,
    /// The address.
    pub address: Address,
}

#[derive(Clone, Copy)]
struct Binding {
    port: PortId,
    /// For as long as the port is there; otherwise by first use.
    firm: bool,
}

/// See the module.
pub(super) struct Guard {
    bound: HashMap<Address, Binding, FixedState>,
    /// What each guarded port has by first use, the oldest first.
    first_used: HashMap<PortId, VecDeque<Address>, FixedState>,
}

impl Guard {
    /// No port is guarded. `seed` is a number that nobody can guess.
    pub fn new(seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Self { bound: HashMap::with_hasher(state.clone()), first_used: HashMap::with_hasher(state) }
    }

    /// A port is guarded from now on.
    pub fn add_port(&mut self, port: PortId) {
        self.first_used.insert(port, VecDeque::new());
    }

    /// A port is gone, and all its addresses are free.
    pub fn remove_port(&mut self, port: PortId) {
        self.first_used.remove(&port);
        self.bound.retain(|_, binding| binding.port != port);
    }

    /// A port is down: what it had by first use is free.
    pub fn flush_port(&mut self, port: PortId) {
        let Some(first_used) = self.first_used.get_mut(&port) else { return };
        for address in first_used.drain(..) {
            self.bound.remove(&address);
        }
    }

    /// Whether any port is guarded.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.first_used.is_empty()
    }

    /// Binds an address to a port for as long as that is there, whoever has it.
    pub fn bind(&mut self, address: Address, port: PortId) {
        if let Some(Binding { port, firm: false }) = self.bound.insert(address, Binding { port, firm: true })
            && let Some(first_used) = self.first_used.get_mut(&port)
        {
            first_used.retain(|known| *known != address);
        }
    }

    /// The port that has an address.
    pub fn owner(&self, address: Address) -> Option<PortId> {
        self.bound.get(&address).map(|binding| binding.port)
    }

    /// Looks at a frame that has come from a port, and notes what it claims first.
    ///
    /// # Errors
    /// It claims what another port has.
    pub fn check(&mut self, port: PortId, frame: &[u8]) -> Result<(), Claim> {
        let mut claims = Claims::of(frame);
        if !self.first_used.contains_key(&port) {
            claims.speaks_as = None;
        }
        let all = || claims.kept().chain(claims.speaks_as);
        let stranger = all().find_map(|address| Some((address, self.owner(address).filter(|owner| *owner != port)?)));
        if let Some((address, owner)) = stranger {
            return Err(Claim { port, owner, address });
        }
        if let Some(first_used) = self.first_used.get_mut(&port) {
            for address in claims.kept() {
                if self.bound.contains_key(&address) {
                    continue;
                }
                if first_used.len() >= MOST
                    && let Some(oldest) = first_used.pop_front()
                {
                    self.bound.remove(&oldest);
                }
                first_used.push_back(address);
                self.bound.insert(address, Binding { port, firm: false });
            }
        }
        Ok(())
    }
}

/// What one frame claims.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Claims {
    /// What it says to be its sender's for others to note: MAC, ARP's sender, a neighbour's address.
    kept: [Option<Address>; 3],
    /// The source of its IP packet.
    speaks_as: Option<Address>,
}

impl Claims {
    fn kept(&self) -> impl Iterator<Item = Address> {
        self.kept.into_iter().flatten()
    }

    /// Reads a frame, behind its VLAN tags. What is cut off claims nothing: nobody can make anything of it.
    fn of(frame: &[u8]) -> Self {
        let mut claims = Self::default();
        claims.kept[0] = frame.get(6..12).and_then(mac);
        let (mut at, mut kind) = (14, frame.get(12..14));
        while matches!(kind, Some([0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00])) {
            (kind, at) = (frame.get(at + 2..at + 4), at + 4);
        }
        let payload = frame.get(at..).unwrap_or_default();
        match kind {
            // htype, ptype, hlen, plen, op, sender MAC, sender IP
            Some([0x08, 0x06]) => {
                claims.kept[1] = payload.get(8..14).and_then(mac);
                claims.kept[2] = payload.get(14..18).and_then(v4);
            }
            Some([0x08, 0x00]) => claims.speaks_as = payload.get(12..16).and_then(v4),
            Some([0x86, 0xdd]) => {
                claims.speaks_as = payload.get(8..24).and_then(v6);
                claims.kept[1] = match (payload.get(6), payload.get(40)) {
                    (Some(58), Some(135)) => claims.speaks_as,
                    (Some(58), Some(136)) => payload.get(48..64).and_then(v6),
                    _ => None,
                };
            }
            _ => {}
        }
        claims
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: PortId = PortId(1);
    const B: PortId = PortId(2);
    const UPLINK: PortId = PortId(3);
    const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
    const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

    fn guard() -> Guard {
        let mut guard = Guard::new(1);
        assert!(!guard.is_on());
        [A, B].into_iter().for_each(|port| guard.add_port(port));
        guard
    }

    fn frame(src: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&[0xff; 6][..], &src, &kind, payload].concat()
    }

    fn arp(src: [u8; 6], says: [u8; 6], addr: [u8; 4]) -> Vec<u8> {
        frame(src, [8, 6], &[&[0, 1, 8, 0, 6, 4, 0, 2][..], &says, &addr, &[0; 10]].concat())
    }

    fn v4_packet(src: [u8; 6], addr: [u8; 4]) -> Vec<u8> {
        frame(src, [8, 0], &[&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0][..], &addr, &[10, 0, 2, 2]].concat())
    }

    /// An ICMPv6 message of neighbour discovery about `target`.
    fn nd(src: [u8; 6], addr: Ipv6Addr, kind: u8, target: Ipv6Addr) -> Vec<u8> {
        let head = [&[0x60, 0, 0, 0, 0, 24, 58, 255][..], &addr.octets(), &[0xff; 16]].concat();
        frame(src, [0x86, 0xdd], &[&head[..], &[kind, 0, 0, 0, 0, 0, 0, 0], &target.octets()].concat())
    }

    fn ip(addr: [u8; 4]) -> Address {
        Address::Ip(addr.into())
    }

    #[test]
    fn what_one_port_has_another_does_not_get() {
        let mut guard = guard();
        let addr = [10, 0, 2, 100];
        assert_eq!(guard.check(A, &arp(MAC_A, MAC_A, addr)), Ok(()));
        let refused = |guard: &mut Guard, frame: &[u8]| guard.check(B, frame).map_err(|claim| claim.address);
        assert_eq!(refused(&mut guard, &v4_packet(MAC_A, [10, 0, 2, 101])), Err(Address::Mac(Mac(MAC_A))));
        assert_eq!(refused(&mut guard, &arp(MAC_B, MAC_A, [10, 0, 2, 101])), Err(Address::Mac(Mac(MAC_A))));
        assert_eq!(refused(&mut guard, &arp(MAC_B, MAC_B, addr)), Err(ip(addr)));
        assert_eq!(refused(&mut guard, &v4_packet(MAC_B, addr)), Err(ip(addr)));
        let tagged = [&arp(MAC_B, MAC_B, addr)[..12], &[0x81, 0, 0, 7], &arp(MAC_B, MAC_B, addr)[12..]].concat();
        assert_eq!(refused(&mut guard, &tagged), Err(ip(addr)));
        assert_eq!(refused(&mut guard, &arp(MAC_B, MAC_B, [10, 0, 2, 101])), Ok(()));
        assert_eq!(guard.owner(Address::Mac(Mac(MAC_B))), Some(B), "what was refused took nothing along");
        // an unguarded port takes nothing from a guarded one either, but routes from everywhere
        assert!(guard.check(UPLINK, &arp(MAC_B, MAC_B, addr)).is_err());
        assert!(guard.check(UPLINK, &v4_packet([2, 0, 0, 0, 0, 1], addr)).is_ok());
        guard.flush_port(A);
        assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, addr)), Ok(()), "it has left");
    }

    #[test]
    fn neighbours_claim_what_they_say_is_theirs() {
        let mut guard = guard();
        let [own, other]: [Ipv6Addr; 2] = ["2001:db8::a", "2001:db8::b"].map(|addr| addr.parse().unwrap());
        assert_eq!(guard.check(A, &nd(MAC_A, own, 135, other)), Ok(()));
        assert_eq!(guard.owner(Address::Ip(other.into())), None, "it only asked");
        assert!(guard.check(B, &nd(MAC_B, own, 135, other)).is_err());
        assert!(guard.check(B, &nd(MAC_B, other, 136, own)).is_err());
        assert_eq!(guard.check(B, &nd(MAC_B, other, 136, other)), Ok(()));
        // whether somebody has an address is asked without one (RFC 4862, section 5.4.2)
        assert_eq!(guard.check(B, &nd(MAC_B, Ipv6Addr::UNSPECIFIED, 135, own)), Ok(()));
    }

    #[test]
    fn a_lease_takes_an_address_from_who_made_it_up() {
        let mut guard = guard();
        let addr = [10, 0, 2, 15];
        assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, addr)), Ok(()));
        guard.bind(ip(addr), A);
        assert_eq!(guard.check(A, &arp(MAC_A, MAC_A, addr)), Ok(()));
        assert!(guard.check(B, &arp(MAC_B, MAC_B, addr)).is_err());
        for last in 0..200 {
            assert_eq!(guard.check(B, &arp(MAC_B, MAC_B, [10, 0, 3, last])), Ok(()));
        }
        assert_eq!(guard.bound.len(), MOST + 2, "what a port makes up is bounded");
        assert_eq!(guard.owner(ip(addr)), Some(A));
        guard.remove_port(A);
        guard.remove_port(B);
        assert!(guard.bound.is_empty() && !guard.is_on());
    }

    proptest! {
        /// Any bytes: no panic, and each address is one port's.
        #[test]
        fn any_frame_is_looked_at(frames in prop::collection::vec((1u16..4, prop::collection::vec(any::<u8>(), 0..80)), 0..50)) {
            let mut guard = guard();
            for (port, frame) in frames {
                let checked = guard.check(PortId(port), &frame);
                prop_assert!(checked.is_ok() || guard.owner(checked.unwrap_err().address) != Some(PortId(port)));
                prop_assert!(guard.bound.values().all(|binding| !binding.firm && binding.port != UPLINK));
            }
        }
    }
}
