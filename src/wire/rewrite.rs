//! One station under another name: the MAC and IP addresses of what is behind a port, exchanged for others on the
//! switch, so that copies of one image with the same built-in addresses run side by side.
//!
//! Theory of operation. A rule is a pair of addresses, and a frame is rewritten by *exchanging* the two wherever an
//! address stands (`exchange.rs`): each becomes the other. So the translation is one to one, nothing is lost by it, the
//! same function serves both directions, and applied twice it gives the frame that was. It also means that a station
//! which really has the new address, or another copy with the old one, is still reached: under the exchanged name.
//!
//! ```text
//!   behind the port                        on the switch
//!   02:00:5e:00:53:3b  192.0.2.1    <->    fa:92:…  192.0.2.11      the instance
//!   192.0.2.11                      <->    192.0.2.1                another copy, as this one sees it
//! ```
//!
//! [`Rule::Mac`] names no pair. The first station that is heard behind the port gets the address that its name stands
//! for ([`Mac::made_of`]); further ones, which an instance with a bridge inside has, get one each, up to
//! [`STATIONS_MAX`].
//!
//! What is translated: Ethernet addresses (not those of groups), behind up to two VLAN tags ARP, IPv4 and IPv6 with the
//! checksums of TCP, UDP, UDP-Lite, DCCP and ICMP, what ICMP errors quote, neighbour discovery, DHCP and DHCPv6. Of
//! IPv6 also the addresses that a station makes of its MAC address, with their groups. What is not: addresses that
//! another protocol above UDP and TCP carries in its payload.

mod exchange;

use super::{Mac, Offload};
use exchange::Exchange;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Stations behind one port that [`Rule::Mac`] gives an address of their own; the frames of more pass as they are.
pub const STATIONS_MAX: usize = 16;

/// The translation rules of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// The station's MAC address, replaced by one derived from the port's name.
    Mac,
    /// One MAC address for another, neither of them a group's.
    MacPair(Mac, Mac),
    /// One IPv4 address for another.
    Ip(Ipv4Addr, Ipv4Addr),
    /// One IPv6 address for another.
    Ip6(Ipv6Addr, Ipv6Addr),
}

/// As the key `rewrite=` takes it: `mac`, `mac=02:00:5e:00:53:3b:02:00:5e:00:53:01`, `ip=192.0.2.1:192.0.2.11`,
/// `ip=[2001:db8::1]:[2001:db8::11]`.
impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac => out.write_str("mac"),
            Self::MacPair(old, new) => write!(out, "mac={old}:{new}"),
            Self::Ip(old, new) => write!(out, "ip={old}:{new}"),
            Self::Ip6(old, new) => write!(out, "ip=[{old}]:[{new}]"),
        }
    }
}

impl Rule {
    /// Whether the two cannot be had together: they name one address, or are the same.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::Mac, Self::Mac) => true,
            (Self::MacPair(a, b), Self::MacPair(c, d)) => a == c || a == d || b == c || b == d,
            (Self::Ip(a, b), Self::Ip(c, d)) => a == c || a == d || b == c || b == d,
            (Self::Ip6(a, b), Self::Ip6(c, d)) => a == c || a == d || b == c || b == d,
            _ => false,
        }
    }
}

/// Translates the frames of one port. See the head of the file.
#[derive(Clone, Debug)]
pub struct Rewriter {
    name: String,
    learns: bool,
    /// The addresses in the rules, without learned ones.
    given: Exchange,
    exchange: Exchange,
}

impl Rewriter {
    /// The rewriter of the port with this name; `None` without rules. No two rules contradict each other.
    pub fn new(name: &str, rules: &[Rule]) -> Option<Self> {
        let mut exchange = Exchange::default();
        for rule in rules {
            match *rule {
                Rule::Mac => {}
                Rule::MacPair(old, new) => exchange.pair_macs(old.0, new.0),
                Rule::Ip(old, new) => exchange.ips.push((old.octets(), new.octets())),
                Rule::Ip6(old, new) => exchange.ips6.push((old.octets(), new.octets())),
            }
        }
        let learns = rules.contains(&Rule::Mac);
        (!rules.is_empty()).then(|| Self { name: name.to_owned(), learns, given: exchange.clone(), exchange })
    }

    /// Forgets who was heard: whoever comes next has the address that is made of the name, though its own be another.
    pub fn forget(&mut self) {
        if self.learns {
            self.exchange.clone_from(&self.given);
        }
    }

    /// Rewrites a frame that comes in by the port. Its length stays.
    pub fn inbound(&mut self, frame: &mut [u8], offload: &Offload) {
        if self.learns {
            self.learn(frame);
        }
        self.exchange.apply(frame, offload);
    }

    /// Rewrites a frame that leaves by the port. Its length stays.
    pub fn outbound(&self, frame: &mut [u8], offload: &Offload) {
        self.exchange.apply(frame, offload);
    }

    /// Gives the sender of a frame an address, unless it has one.
    fn learn(&mut self, frame: &[u8]) {
        let Some(&source) = frame.get(6..).and_then(|rest| rest.first_chunk()) else { return };
        let source = Mac(source);
        let known = |pairs: &[([u8; 6], [u8; 6])], mac: Mac| pairs.iter().any(|&(a, b)| mac.0 == a || mac.0 == b);
        let pairs = &self.exchange.macs;
        if source.is_group() || source.as_u64() == 0 || pairs.len() >= STATIONS_MAX || known(pairs, source) {
            return;
        }
        let mut made = Mac::made_of(&self.name);
        if known(pairs, made) {
            made = Mac::made_of(&format!("{}/{source}", self.name));
        }
        // A station whose own address is the derived one needs no other.
        if !known(pairs, made) {
            self.exchange.pair_macs(source.0, made.0);
        }
    }
}

#[cfg(test)]
mod tests;
