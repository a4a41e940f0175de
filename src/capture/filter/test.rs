//! What a filter asks of a frame. Every question gives `None` where the frame is too short for it.

use super::Seen;
use crate::config::value::is_port;
use crate::counters::DropReason;
use crate::wire::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
const IPV6: u16 = 0x86dd;
/// What a VLAN tag begins with, as pcap-filter has it.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// The next header of a fragment of IPv6.
const FRAGMENT: u8 = 44;

/// Whose address or port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Src,
    Dst,
    Either,
    Both,
}

impl Side {
    /// Joins what was found of the sender and of the receiver.
    fn of(self, src: impl Fn() -> Option<bool>, dst: impl Fn() -> Option<bool>) -> Option<bool> {
        match self {
            Self::Src => src(),
            Self::Dst => dst(),
            Self::Either => Some(src()? || dst()?),
            Self::Both => Some(src()? && dst()?),
        }
    }
}

/// A protocol whose header a filter may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
}

impl Layer {
    /// Its EtherType, if it is right above Ethernet.
    fn ether_type(self) -> Option<u16> {
        Some(match self {
            Self::Ip => IPV4,
            Self::Ip6 => IPV6,
            Self::Arp => ARP,
            Self::Rarp => RARP,
            _ => return None,
        })
    }

    /// Its number in IP, if it is above that.
    pub fn number(self) -> Option<u8> {
        Some(match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Icmp => 1,
            Self::Icmp6 => 58,
            Self::Igmp => 2,
            _ => return None,
        })
    }
}

/// A number that is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Number {
    Is(u32),
    Length,
    /// So many bytes of a header, at this place in it.
    Bytes(Layer, Box<Number>, u8),
    Sum(Calc, Box<Number>, Box<Number>),
}

/// What is made of two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Calc {
    Add,
    Sub,
    Mul,
    Div,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    Less,
    AtMost,
    Equal,
    Unequal,
    AtLeast,
    Greater,
}

/// A question. `u8`: how many tags the headers are behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Test {
    Mac(Side, Mac),
    Group,
    EtherType(u8, u16),
    Vlan(u8, Option<u16>),
    /// A protocol of the link or above IP.
    Has(u8, Layer),
    /// Numbers of protocols in IP: of version 4, 6, or both.
    Proto(u8, Option<Layer>, u8),
    /// An address and its mask.
    Net(u8, Option<Layer>, Side, IpAddr, u8),
    /// A group of IP.
    IpGroup(u8, Layer),
    /// Ports from one to another, of these protocols.
    Ports(u8, Option<Layer>, Side, u16, u16),
    Compare(u8, Relation, Box<(Number, Number)>),
    In(String),
    Out(String),
    Drop(Option<DropReason>),
}

/// The bytes of a frame, to be asked.
pub struct Frame<'a> {
    bytes: &'a [u8],
    len: u32,
    ethernet: bool,
}

impl<'a> Frame<'a> {
    pub fn new(seen: &Seen<'a>) -> Self {
        Self { bytes: seen.bytes, len: seen.len, ethernet: seen.ethernet }
    }

    fn u8(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_be_bytes)
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn ether_type(&self, tags: u8) -> Option<u16> {
        self.u16(12 + 4 * usize::from(tags))
    }

    /// Whether the IP header is of `layer` and carries the protocol `number`, also in pieces.
    fn carries(&self, tags: u8, layer: Layer, number: u8) -> Option<bool> {
        let at = network(tags);
        if Some(self.ether_type(tags)?) != layer.ether_type() {
            return Some(false);
        }
        if layer == Layer::Ip {
            return Some(self.u8(at + 9)? == number);
        }
        let next = self.u8(at + 6)?;
        Some(next == number || next == FRAGMENT && self.u8(at + 40)? == number)
    }

    /// Where the header above IP is, if it is one of these protocols and there: that of a piece is in the first only.
    fn transport(&self, tags: u8, numbers: &[u8]) -> Option<Option<usize>> {
        let at = network(tags);
        match self.ether_type(tags)? {
            IPV4 if numbers.contains(&self.u8(at + 9)?) => {
                let whole = self.u16(at + 6)? & 0x1fff == 0;
                if !whole {
                    return Some(None);
                }
                Some(Some(at + 4 * usize::from(self.u8(at)? & 0x0f)))
            }
            IPV6 if numbers.contains(&self.u8(at + 6)?) => Some(Some(at + 40)),
            _ => Some(None),
        }
    }

    fn net(&self, tags: u8, layer: Option<Layer>, side: Side, addr: IpAddr, bits: u8) -> Option<bool> {
        let (at, found) = (network(tags), self.ether_type(tags)?);
        let meant = |wanted: Layer| layer.is_none_or(|layer| layer == wanted);
        let (src, dst) = match (found, addr) {
            (IPV4, IpAddr::V4(_)) if meant(Layer::Ip) => (at + 12, at + 16),
            (ARP, IpAddr::V4(_)) if meant(Layer::Arp) => (at + 14, at + 24),
            (RARP, IpAddr::V4(_)) if meant(Layer::Rarp) => (at + 14, at + 24),
            (IPV6, IpAddr::V6(_)) if meant(Layer::Ip6) => (at + 8, at + 24),
            _ => return Some(false),
        };
        let is = |at: usize| match addr {
            IpAddr::V4(addr) => self.array(at).map(|found| begins_alike4(Ipv4Addr::from(found), addr, bits)),
            IpAddr::V6(addr) => self.array(at).map(|found| begins_alike6(Ipv6Addr::from(found), addr, bits)),
        };
        side.of(|| is(src), || is(dst))
    }

    fn ports(&self, tags: u8, layer: Option<Layer>, side: Side, from: u16, to: u16) -> Option<bool> {
        let only = layer.and_then(Layer::number);
        let numbers: &[u8] = only.as_ref().map_or(&[6, 17, 132], std::slice::from_ref);
        let Some(at) = self.transport(tags, numbers)? else { return Some(false) };
        let is = |at: usize| self.u16(at).map(|port| (from..=to).contains(&port));
        side.of(|| is(at), || is(at + 2))
    }

    /// A number; `Err`: the frame has no such header, and the comparison is not met.
    fn number(&self, tags: u8, number: &Number) -> Option<Result<u32, ()>> {
        Some(Ok(match number {
            Number::Is(value) => *value,
            Number::Length => self.len,
            Number::Bytes(layer, place, size) => {
                let Some(start) = self.start(tags, *layer)? else { return Some(Err(())) };
                let place = match self.number(tags, place)? {
                    Ok(place) => place,
                    none => return Some(none),
                };
                let at = start.checked_add(place as usize)?;
                match size {
                    1 => u32::from(self.u8(at)?),
                    2 => u32::from(self.u16(at)?),
                    _ => self.array(at).map(u32::from_be_bytes)?,
                }
            }
            Number::Sum(calc, one, other) => {
                let (one, other) = match (self.number(tags, one)?, self.number(tags, other)?) {
                    (Ok(one), Ok(other)) => (one, other),
                    _ => return Some(Err(())),
                };
                calc.of(one, other)?
            }
        }))
    }

    /// Where the header of `layer` begins, if the frame has one.
    fn start(&self, tags: u8, layer: Layer) -> Option<Option<usize>> {
        match (layer, layer.ether_type(), layer.number()) {
            (Layer::Ether, ..) => Some(Some(0)),
            (_, Some(wanted), _) => Some((self.ether_type(tags)? == wanted).then(|| network(tags))),
            (Layer::Icmp6, _, Some(number)) if self.ether_type(tags)? == IPV6 => self.transport(tags, &[number]),
            // Those of IPv4 only, as in pcap-filter.
            (_, _, Some(number)) if layer != Layer::Icmp6 && self.ether_type(tags)? == IPV4 => {
                self.transport(tags, &[number])
            }
            _ => Some(None),
        }
    }
}

/// Where the header above Ethernet begins.
fn network(tags: u8) -> usize {
    14 + 4 * usize::from(tags)
}

fn begins_alike4(one: Ipv4Addr, other: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
    (one.to_bits() ^ other.to_bits()) & mask == 0
}

fn begins_alike6(one: Ipv6Addr, other: Ipv6Addr, bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    (one.to_bits() ^ other.to_bits()) & mask == 0
}

impl Calc {
    /// `None`: it divides by zero, and the frame is not taken.
    pub fn of(self, one: u32, other: u32) -> Option<u32> {
        Some(match self {
            Self::Add => one.wrapping_add(other),
            Self::Sub => one.wrapping_sub(other),
            Self::Mul => one.wrapping_mul(other),
            Self::Div => one.checked_div(other)?,
            Self::And => one & other,
            Self::Or => one | other,
            Self::Xor => one ^ other,
            Self::Shl => one.checked_shl(other).unwrap_or(0),
            Self::Shr => one.checked_shr(other).unwrap_or(0),
        })
    }
}

impl Relation {
    fn holds(self, one: u32, other: u32) -> bool {
        match self {
            Self::Less => one < other,
            Self::AtMost => one <= other,
            Self::Equal => one == other,
            Self::Unequal => one != other,
            Self::AtLeast => one >= other,
            Self::Greater => one > other,
        }
    }
}

impl Test {
    pub fn eval(&self, seen: &Seen<'_>, frame: &Frame<'_>) -> Option<bool> {
        match self {
            Self::In(port) => return Some(seen.incoming && is_port(seen.port, port)),
            Self::Out(port) => return Some(!seen.incoming && is_port(seen.port, port)),
            Self::Drop(reason) => {
                return Some(seen.reason.is_some_and(|its| reason.is_none_or(|reason| reason == its)));
            }
            Self::Compare(tags, relation, numbers) => {
                let (one, other) = &**numbers;
                let found = (frame.number(*tags, one)?, frame.number(*tags, other)?);
                return Some(matches!(found, (Ok(one), Ok(other)) if relation.holds(one, other)));
            }
            _ if !frame.ethernet => return Some(false),
            _ => {}
        }
        match *self {
            Self::Mac(side, mac) => {
                let is = |at: usize| frame.array(at).map(|found| Mac(found) == mac);
                side.of(|| is(6), || is(0))
            }
            Self::Group => Some(frame.u8(0)? & 1 == 1),
            Self::EtherType(tags, wanted) => Some(frame.ether_type(tags)? == wanted),
            Self::Vlan(tags, id) => {
                let tagged = TAGS.contains(&frame.ether_type(tags)?);
                let Some(id) = id.filter(|_| tagged) else { return Some(tagged) };
                Some(frame.u16(network(tags))? & 0x0fff == id)
            }
            Self::Has(tags, layer) => match (layer.ether_type(), layer.number()) {
                (Some(wanted), _) => Some(frame.ether_type(tags)? == wanted),
                (None, Some(number)) => {
                    let six = !matches!(layer, Layer::Icmp | Layer::Igmp) && frame.carries(tags, Layer::Ip6, number)?;
                    Some(six || layer != Layer::Icmp6 && frame.carries(tags, Layer::Ip, number)?)
                }
                (None, None) => Some(true),
            },
            Self::Proto(tags, layer, number) => match layer {
                Some(layer) => frame.carries(tags, layer, number),
                None => Some(frame.carries(tags, Layer::Ip, number)? || frame.carries(tags, Layer::Ip6, number)?),
            },
            Self::Net(tags, layer, side, addr, bits) => frame.net(tags, layer, side, addr, bits),
            Self::IpGroup(tags, Layer::Ip6) => {
                Some(frame.ether_type(tags)? == IPV6 && frame.u8(network(tags) + 24)? == 0xff)
            }
            Self::IpGroup(tags, _) => Some(frame.ether_type(tags)? == IPV4 && frame.u8(network(tags) + 16)? >= 224),
            Self::Ports(tags, layer, side, from, to) => frame.ports(tags, layer, side, from, to),
            Self::In(_) | Self::Out(_) | Self::Drop(_) | Self::Compare(..) => Some(false),
        }
    }
}
