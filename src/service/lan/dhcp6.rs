//! The DHCPv6 server of a segment (RFC 8415): resolver and domain for all clients, and addresses for those without
//! SLAAC.
//!
//! An address is the segment's prefix, `d6`, and 40 bits of a hash of the client's DUID, IAID and MAC (copies of one
//! image have one DUID). So a client always gets the same one, in the next run too, and there is no table of leases
//! that could fill up: of a thousand clients, two get the same address once in two million segments. Relays are not
//! answered.
//!
//! An address that its client declined, because another host uses it, is not offered again: the hash counts on to the
//! next. The last `DECLINED` of them are remembered, and a client may decline `TRIES`.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::net::{Ipv6Addr, SocketAddr};

use super::{Datagram, name};
use crate::service::endpoint::link_local;
use crate::wire::Mac;

/// The server's port.
pub const SERVER_PORT: u16 = 547;
/// ff02::1:2, all relay agents and servers.
pub const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Types of messages (RFC 8415, section 7.3).
mod kind {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION: u8 = 11;
}

/// Options (RFC 8415, section 21; DNS: RFC 3646).
mod option {
    pub const CLIENT: u16 = 1;
    pub const SERVER: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const ADDRESS: u16 = 5;
    pub const STATUS: u16 = 13;
    pub const RAPID: u16 = 14;
    pub const DNS: u16 = 23;
    pub const DOMAINS: u16 = 24;
}

/// Status codes (RFC 8415, section 21.13).
const NO_ADDRESSES: u16 = 2;
const NOT_ON_LINK: u16 = 4;

/// Longest DUID (RFC 8415, section 11.1).
const DUID_MAX: usize = 130;
/// IA_NAs of one message, and addresses of one IA_NA, that are read.
const SETS: usize = 4;
/// Declined addresses that are remembered, of all clients, and how many a client may have of them.
const DECLINED: usize = 1024;
const TRIES: u8 = 8;
/// Prefixes that are longer have no room for 48 bits.
const PREFIX_MAX: u8 = 80;

/// Seconds for which an address is preferred, and valid.
const PREFERRED: u32 = 3600;
const VALID: u32 = 7200;

/// Configuration of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dhcp6Config {
    /// The server's MAC: its DUID and its link-local address.
    pub mac: Mac,
    /// The segment's prefix.
    pub prefix: (Ipv6Addr, u8),
    /// Resolvers.
    pub dns: Vec<Ipv6Addr>,
    /// The segment's domain.
    pub domain: Option<String>,
}

/// See the module.
pub struct Dhcp6 {
    config: Dhcp6Config,
    duid: Vec<u8>,
    /// Declined addresses, the oldest first.
    declined: VecDeque<Ipv6Addr>,
}

/// A client: its MAC and its DUID, from which its addresses are made.
type Client<'a> = (Mac, &'a [u8]);

impl Dhcp6 {
    /// A server.
    pub fn new(config: Dhcp6Config) -> Self {
        // DUID-LL, Ethernet (RFC 8415, section 11.4)
        let duid = [&[0, 3, 0, 1][..], &config.mac.0].concat();
        Self { config, duid, declined: VecDeque::new() }
    }

    /// The answer to the payload of a datagram from `from`, at the MAC `link`, to port 547, if there is one.
    pub fn handle(&mut self, from: SocketAddr, link: Mac, bytes: &[u8]) -> Option<Datagram> {
        let (&[kind, x0, x1, x2], options) = bytes.split_first_chunk::<4>()?;
        if !whole(options) {
            return None;
        }
        let client = find(options, option::CLIENT);
        let server = find(options, option::SERVER);
        if client.is_some_and(|duid| duid.len() > DUID_MAX) || server.is_some_and(|duid| duid != self.duid) {
            return None;
        }
        // RFC 8415, section 16: which identifiers a message must have
        let named = match kind {
            kind::INFORMATION => true,
            kind::SOLICIT | kind::CONFIRM | kind::REBIND => client.is_some() && server.is_none(),
            kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => client.is_some() && server.is_some(),
            _ => false,
        };
        if !named {
            return None;
        }
        let mut out = vec![kind::REPLY, x0, x1, x2];
        put(&mut out, option::SERVER, &self.duid);
        if let Some(duid) = client {
            put(&mut out, option::CLIENT, duid);
        }
        match kind {
            kind::SOLICIT if find(options, option::RAPID).is_some() => {
                put(&mut out, option::RAPID, &[]);
                self.put_sets(&mut out, (link, client?), options);
            }
            kind::SOLICIT => {
                out[0] = kind::ADVERTISE;
                self.put_sets(&mut out, (link, client?), options);
            }
            kind::REQUEST | kind::RENEW | kind::REBIND => self.put_sets(&mut out, (link, client?), options),
            kind::CONFIRM => self.put_confirmation(&mut out, options)?,
            kind::RELEASE => put_status(&mut out, 0),
            kind::DECLINE => {
                self.decline((link, client?), options);
                put_status(&mut out, 0);
            }
            _ => {}
        }
        self.put_names(&mut out);
        let src = SocketAddr::from((link_local(self.config.mac), SERVER_PORT));
        // copies of one image may have one link-local address, so the answer goes to the MAC
        Some(Datagram { src, dst: from, mac: Some(link), payload: out })
    }

    /// The address of a client's IA_NA: its first candidate that is not declined, or the last.
    fn address(&self, client: Client<'_>, iaid: [u8; 4]) -> Option<Ipv6Addr> {
        let free = |addr: &Option<Ipv6Addr>| addr.is_none_or(|addr| !self.declined.contains(&addr));
        let all = (0..TRIES).map(|number| self.numbered(client, iaid, number));
        all.clone().find(free).unwrap_or_else(|| self.numbered(client, iaid, TRIES))
    }

    fn numbered(&self, (link, duid): Client<'_>, iaid: [u8; 4], number: u8) -> Option<Ipv6Addr> {
        let (prefix, len) = self.config.prefix;
        let mut hasher = DefaultHasher::new();
        hasher.write(duid);
        hasher.write(&iaid);
        hasher.write(&link.0);
        hasher.write_u8(number);
        let host = 0xd6 << 40 | u128::from(hasher.finish() >> 24);
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        (len <= PREFIX_MAX).then(|| Ipv6Addr::from_bits(prefix.to_bits() & mask | host))
    }

    /// The client found its addresses in use (RFC 8415, section 18.3.8). It cannot decline those of others.
    fn decline(&mut self, client: Client<'_>, options: &[u8]) {
        for set in all(options, option::IA_NA).take(SETS) {
            let Some((iaid, rest)) = set.split_first_chunk::<4>() else { continue };
            let Some(own) = self.address(client, *iaid) else { continue };
            let last = self.numbered(client, *iaid, TRIES) == Some(own);
            if !last && addresses(rest.get(8..).unwrap_or_default()).take(SETS).any(|addr| addr == own) {
                self.declined.push_back(own);
                if self.declined.len() > DECLINED {
                    self.declined.pop_front();
                }
            }
        }
    }

    /// Every requested IA_NA, with its address (RFC 8415, sections 21.4 and 21.6). Other addresses of the client get
    /// lifetime 0.
    fn put_sets(&self, out: &mut Vec<u8>, client: Client<'_>, options: &[u8]) {
        for set in all(options, option::IA_NA).take(SETS) {
            let Some((iaid, rest)) = set.split_first_chunk::<4>() else { continue };
            let inner = rest.get(8..).unwrap_or_default();
            let mut value = iaid.to_vec();
            value.extend([0; 8]);
            match self.address(client, *iaid) {
                Some(addr) => {
                    // T1 and T2 (RFC 8415, section 21.4)
                    value[4..8].copy_from_slice(&(PREFERRED / 2).to_be_bytes());
                    value[8..12].copy_from_slice(&(PREFERRED / 5 * 4).to_be_bytes());
                    put_address(&mut value, addr, (PREFERRED, VALID));
                    let others = addresses(inner).filter(|other| *other != addr).take(SETS);
                    others.for_each(|other| put_address(&mut value, other, (0, 0)));
                }
                None => put_status(&mut value, NO_ADDRESSES),
            }
            put(out, option::IA_NA, &value);
        }
    }

    /// Whether the client's addresses are of this segment; `None` if it has none.
    fn put_confirmation(&self, out: &mut Vec<u8>, options: &[u8]) -> Option<()> {
        let (prefix, len) = self.config.prefix;
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let sets = all(options, option::IA_NA).filter_map(|set| set.get(12..));
        let mut addrs = sets.flat_map(addresses).peekable();
        addrs.peek()?;
        let fits = addrs.all(|addr| (addr.to_bits() ^ prefix.to_bits()) & mask == 0);
        put_status(out, if fits { 0 } else { NOT_ON_LINK });
        Some(())
    }

    fn put_names(&self, out: &mut Vec<u8>) {
        if !self.config.dns.is_empty() {
            let octets: Vec<u8> = self.config.dns.iter().take(8).flat_map(|addr| addr.octets()).collect();
            put(out, option::DNS, &octets);
        }
        if let Some(domain) = &self.config.domain {
            put(out, option::DOMAINS, &name::wire(domain));
        }
    }
}

/// `code u16 · length u16 · value`.
fn put(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let Ok(len) = u16::try_from(value.len()) else { return };
    out.extend(code.to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend_from_slice(value);
}

fn put_status(out: &mut Vec<u8>, status: u16) {
    put(out, option::STATUS, &status.to_be_bytes());
}

fn put_address(out: &mut Vec<u8>, addr: Ipv6Addr, (preferred, valid): (u32, u32)) {
    put(out, option::ADDRESS, &[&addr.octets()[..], &preferred.to_be_bytes(), &valid.to_be_bytes()].concat());
}

/// The first option and what follows it.
fn split(options: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[c0, c1, l0, l1], rest) = options.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
    Some((u16::from_be_bytes([c0, c1]), value, rest))
}

/// Whether options end where the message does.
fn whole(mut options: &[u8]) -> bool {
    while let Some((_, _, rest)) = split(options) {
        options = rest;
    }
    options.is_empty()
}

/// The values of all options `wanted`.
fn all(mut options: &[u8], wanted: u16) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (code, value, rest) = split(options)?;
        options = rest;
        Some((code, value))
    })
    .filter(move |(code, _)| *code == wanted)
    .map(|(_, value)| value)
}

fn find(options: &[u8], wanted: u16) -> Option<&[u8]> {
    all(options, wanted).next()
}

/// The addresses among the options of an IA_NA.
fn addresses(options: &[u8]) -> impl Iterator<Item = Ipv6Addr> {
    all(options, option::ADDRESS).filter_map(|value| value.first_chunk::<16>().map(|octets| (*octets).into()))
}

#[cfg(test)]
mod tests;
