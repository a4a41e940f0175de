//! A frame made of words: with what the bridge knows in place of what was not said.

use super::{Draft, Packet};
use crate::error::{Error, Result};
use crate::wire::Mac;
use crate::wire::arp::{Message, Operation};
use etherparse::PacketBuilder;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The type of frames that carry nothing that is said: local experiments (IEEE 802a-2003).
const EXPERIMENT: u16 = 0x88b5;
/// A made-up station, where none is known on a port.
const SOMEBODY: Mac = Mac([0x02, 0x00, 0x5e, 0x00, 0x53, 0xfe]);
/// What a packet carries unless that is said.
const PAYLOAD: u16 = 32;

/// What is known of a bridge.
pub trait Book {
    /// The station that has an address.
    fn station(&self, addr: IpAddr) -> Option<Mac>;

    /// A station on the port that the frame comes in by.
    fn sender(&self) -> Option<Mac>;

    /// The address of a station, of IPv4 or of IPv6.
    fn address(&self, station: Mac, ipv4: bool) -> Option<IpAddr>;
}

/// A frame that was made, and what was filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What was not said, in words.
    pub filled: Vec<String>,
}

impl Draft {
    /// Makes the frame.
    ///
    /// # Errors
    /// It is not said, and not known, where it goes.
    pub fn build(&self, book: &impl Book) -> Result<Built> {
        let mut filled = Vec::new();
        let asker = match self.packet {
            Packet::Question { sender, .. } => sender.map(IpAddr::V4),
            Packet::Answer { sender, .. } => Some(sender.into()),
            Packet::Ping { from, .. } => from,
            Packet::Udp(from, _) | Packet::Tcp(from, ..) => Some(from.ip()),
            Packet::Bare => None,
        };
        let from = self.from.unwrap_or_else(|| {
            let own = if let Packet::Answer { mac, .. } = self.packet { Some(mac) } else { None };
            let known = own.or_else(|| asker.and_then(|asker| book.station(asker)));
            let known = known.or_else(|| book.sender());
            let mac = known.unwrap_or(SOMEBODY);
            let whose =
                if known.is_some() { "as the bridge knows it" } else { "made up: no station is known on the port" };
            filled.push(format!("from {mac} ({whose})"));
            mac
        });
        let to = match self.to {
            Some(to) => to,
            None => self.receiver(book, &mut filled)?,
        };
        let own = |ipv4: bool| asker.or_else(|| book.address(from, ipv4));
        let bytes = self.bytes(from, to, own, &mut filled)?;
        Ok(Built { bytes: tagged(bytes, &self.tags), filled })
    }

    /// The station that the frame is for.
    fn receiver(&self, book: &impl Book, filled: &mut Vec<String>) -> Result<Mac> {
        let addr = match self.packet {
            Packet::Bare => {
                filled.push("broadcast".to_owned());
                return Ok(Mac::BROADCAST);
            }
            Packet::Question { .. } | Packet::Answer { .. } => return Ok(Mac::BROADCAST),
            Packet::Ping { to, .. } => to,
            Packet::Udp(_, to) | Packet::Tcp(_, to, _) => to.ip(),
        };
        if let Some(mac) = group_of(addr) {
            return Ok(mac);
        }
        let mac = book.station(addr).ok_or_else(|| {
            let ask = if addr.is_ipv4() {
                format!("'arp who-has {addr}', or say `to MAC`")
            } else {
                "say `to MAC`".to_owned()
            };
            Error::usage(format!("no station on the bridge is known to have {addr}"))
                .hint(format!("the sender would ask for it first: {ask}, that of a gateway if it is beyond one"))
        })?;
        filled.push(format!("to {mac} (the station that has {addr})"));
        Ok(mac)
    }

    fn bytes(
        &self,
        from: Mac,
        to: Mac,
        own: impl Fn(bool) -> Option<IpAddr>,
        filled: &mut Vec<String>,
    ) -> Result<Vec<u8>> {
        let link = PacketBuilder::ethernet2(from.0, to.0);
        let payload = vec![0; self.len.unwrap_or(PAYLOAD).into()];
        let cannot = |cause: &dyn std::fmt::Display| Error::usage(format!("this frame cannot be made: {cause}"));
        let mut bytes = Vec::new();
        match self.packet {
            Packet::Bare => {
                bytes = [&to.0[..], &from.0, &EXPERIMENT.to_be_bytes()].concat();
                bytes.resize(bytes.len() + usize::from(self.len.unwrap_or(46)), 0);
            }
            Packet::Question { target, sender } => {
                let sender = sender.unwrap_or_else(|| match own(true) {
                    Some(IpAddr::V4(own)) => {
                        filled.push(format!("tell {own} (the address of {from})"));
                        own
                    }
                    _ => {
                        filled.push("tell 0.0.0.0 (a probe: no address of the sender is known)".to_owned());
                        Ipv4Addr::UNSPECIFIED
                    }
                });
                bytes = arp_frame(link_of(to, from), Operation::Request, (from, sender), (Mac([0; 6]), target));
            }
            Packet::Answer { sender, mac } => {
                bytes = arp_frame(link_of(to, from), Operation::Reply, (mac, sender), (to, sender))
            }
            Packet::Ping { to: target, .. } => {
                let source = own(target.is_ipv4()).ok_or_else(|| {
                    Error::usage(format!("no address of {from} is known that pings {target}"))
                        .hint(format!("say it: icmp IP > {target}"))
                })?;
                match (source, target) {
                    (IpAddr::V4(source), IpAddr::V4(target)) => {
                        let ip = link.ipv4(source.octets(), target.octets(), self.ttl);
                        ip.icmpv4_echo_request(1, 1).write(&mut bytes, &payload).map_err(|cause| cannot(&cause))?;
                    }
                    (IpAddr::V6(source), IpAddr::V6(target)) => {
                        let ip = link.ipv6(source.octets(), target.octets(), self.ttl);
                        ip.icmpv6_echo_request(1, 1).write(&mut bytes, &payload).map_err(|cause| cannot(&cause))?;
                    }
                    _ => return Err(Error::usage("the addresses are not of one family")),
                }
            }
            Packet::Udp(source, target) => {
                let udp = ip(link, source, target, self.ttl).udp(source.port(), target.port());
                udp.write(&mut bytes, &payload).map_err(|cause| cannot(&cause))?;
            }
            Packet::Tcp(source, target, flags) => {
                let mut tcp = ip(link, source, target, self.ttl).tcp(source.port(), target.port(), 1, 64_240);
                for (bit, set) in [(1, Flag::Fin), (2, Flag::Syn), (4, Flag::Rst), (8, Flag::Psh), (16, Flag::Ack)] {
                    if flags & bit != 0 {
                        tcp = set.on(tcp);
                    }
                }
                let payload = if self.len.is_none() { &[][..] } else { &payload };
                tcp.write(&mut bytes, payload).map_err(|cause| cannot(&cause))?;
            }
        }
        Ok(bytes)
    }
}

type Host = (Mac, Ipv4Addr);

/// The addresses at the beginning of a frame.
fn link_of(to: Mac, from: Mac) -> Vec<u8> {
    [to.0, from.0].concat()
}

/// A message of ARP. Its sender may be another than that of the frame, as for a proxy.
fn arp_frame(link: Vec<u8>, operation: Operation, (sender_mac, sender): Host, (target_mac, target): Host) -> Vec<u8> {
    let message = Message { operation, sender_mac, sender, target_mac, target };
    [&link[..], &[8, 6], &message.bytes()].concat()
}

enum Flag {
    Fin,
    Syn,
    Rst,
    Psh,
    Ack,
}

impl Flag {
    fn on(
        &self,
        tcp: etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    ) -> etherparse::PacketBuilderStep<etherparse::TcpHeader> {
        match self {
            Self::Fin => tcp.fin(),
            Self::Syn => tcp.syn(),
            Self::Rst => tcp.rst(),
            Self::Psh => tcp.psh(),
            Self::Ack => tcp.ack(1),
        }
    }
}

fn ip(
    link: etherparse::PacketBuilderStep<etherparse::Ethernet2Header>,
    from: SocketAddr,
    to: SocketAddr,
    ttl: u8,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => link.ipv4(from.octets(), to.octets(), ttl),
        (from, to) => {
            let octets = |addr: IpAddr| match addr {
                IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
                IpAddr::V6(addr) => addr.octets(),
            };
            link.ipv6(octets(from), octets(to), ttl)
        }
    }
}

/// Where packets to a group go, and to all.
fn group_of(addr: IpAddr) -> Option<Mac> {
    match addr {
        IpAddr::V4(addr) if addr.is_broadcast() => Some(Mac::BROADCAST),
        IpAddr::V4(addr) if addr.is_multicast() => {
            let [_, b, c, d] = addr.octets();
            Some(Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(addr) if addr.is_multicast() => {
            let [.., a, b, c, d] = addr.octets();
            Some(Mac([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}

/// The frame with VLAN tags behind its addresses.
fn tagged(bytes: Vec<u8>, tags: &[u16]) -> Vec<u8> {
    let Some((addresses, rest)) = bytes.split_at_checked(12) else { return bytes };
    let tags: Vec<u8> = tags.iter().flat_map(|id| [0x81, 0x00, (id >> 8) as u8, *id as u8]).collect();
    [addresses, &tags, rest].concat()
}
