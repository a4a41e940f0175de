//! A DHCP client (RFC 2131, section 4.4), for a host that zbridge itself makes.
//!
//! # Theory of operation
//! It broadcasts a DISCOVER, takes the first OFFER by a REQUEST, and has a lease with the ACK. Half-way through the
//! lease it asks that server to renew it (RENEWING), later any server (REBINDING), and when the lease is over it begins
//! anew. A NAK of the server that was asked ends the lease at once; in REBINDING any server's does. Unanswered messages
//! are retransmitted, less and less often.
//!
//! It takes and gives payloads of datagrams. Before it has an address these leave in frames of its own ([`frame`]), as
//! no stack sends from 0.0.0.0.

pub(crate) mod frame;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use super::dhcp4::message::{COOKIE, HEADER, Kind, find, option};
use super::random::Random;
use crate::time::{Duration, Instant};
use crate::wire::{Cidr, Mac};

/// The first and the longest retransmission timeout.
const PAUSE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(8));
/// REQUESTs for an offer before discovery begins anew.
const REQUESTS: u32 = 4;
/// The shortest pause between two renewal requests (RFC 2131, section 4.4.5).
const RENEW_PAUSE: Duration = Duration::from_secs(60);
/// Bytes that a message has at least (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// The longest answer that is taken, in bytes of IP packet.
const LONGEST: u16 = 1500;
/// A lease that never ends.
const INFINITE: u32 = u32::MAX;

/// A granted lease and its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The address, with the prefix of its network.
    pub addr: Cidr,
    /// The server.
    pub server: Ipv4Addr,
    /// The default router. It may be outside of the address's network, and is on the link all the same.
    pub router: Option<Ipv4Addr>,
    /// Other routes: a network, and the router that leads there, or `None` if it is on the link itself.
    pub routes: Vec<(Cidr, Option<Ipv4Addr>)>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of names without a dot.
    pub domain: Option<String>,
    /// The segment's MTU.
    pub mtu: Option<u16>,
    /// The renewal times; `None`: it never ends.
    times: Option<Times>,
}

/// Counted from the grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Times {
    renew: Duration,
    rebind: Duration,
    end: Duration,
}

/// Something for the caller to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send this from port 68 to port 67 of that server; `None`: broadcast.
    Send(Option<Ipv4Addr>, Vec<u8>),
    /// The address is not this host's any more.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It looks for servers.
    Selecting,
    /// It has chosen an offer.
    Requesting { addr: Ipv4Addr, server: Ipv4Addr },
    /// It has an address, since then.
    Bound(Instant),
}

/// See the module.
pub struct Client {
    mac: Mac,
    name: String,
    random: Random,
    xid: u32,
    state: State,
    grant: Option<Grant>,
    /// Messages sent without an answer.
    tries: u32,
    /// When to send next; `None`: never.
    due: Option<Instant>,
}

impl Client {
    /// A client that sends when it is first polled. `name`: its host name. `seed`: a number of its own.
    pub fn new(mac: Mac, name: &str, seed: u64) -> Self {
        let mut client = Self {
            mac,
            name: name.to_owned(),
            random: Random::new(seed, "dhcp"),
            xid: 0,
            state: State::Selecting,
            grant: None,
            tries: 0,
            due: Some(Instant::ZERO),
        };
        client.draw();
        client
    }

    /// Its lease, if any.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// When [`Client::poll`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        self.due.filter(|due| *due <= now)?;
        match self.state {
            State::Selecting => {
                self.wait(now);
                Some(Action::Send(None, self.write(Kind::Discover, &[])))
            }
            State::Requesting { .. } if self.tries >= REQUESTS => {
                self.begin(now);
                self.poll(now)
            }
            State::Requesting { addr, server } => {
                self.wait(now);
                let options = [(option::WANTED, addr.octets()), (option::SERVER, server.octets())];
                Some(Action::Send(None, self.write(Kind::Request, &options)))
            }
            State::Bound(since) => self.go_on(now, since),
        }
    }

    /// Asks to renew the lease: its server, later any.
    fn go_on(&mut self, now: Instant, since: Instant) -> Option<Action> {
        let (server, times) = self.grant.as_ref().and_then(|grant| Some((grant.server, grant.times?)))?;
        if now >= since + times.end {
            self.grant = None;
            self.begin(now);
            return Some(Action::Lost);
        }
        let rebinds = now >= since + times.rebind;
        let until = since + if rebinds { times.end } else { times.rebind };
        // half of the time that is left
        self.due = Some((now + ((until - now) / 2).max(RENEW_PAUSE)).min(until));
        self.tries += 1;
        if self.tries == 1 {
            self.draw();
        }
        Some(Action::Send((!rebinds).then_some(server), self.write(Kind::Request, &[])))
    }

    /// Takes the payload of a datagram to port 68. Returns whether it granted or renewed a lease.
    pub fn handle(&mut self, now: Instant, bytes: &[u8]) -> bool {
        let Some((kind, addr, options)) = self.read(bytes) else { return false };
        let Some(server) = find(options, option::SERVER).and_then(|octets| <[u8; 4]>::try_from(octets).ok()) else {
            return false;
        };
        match (self.state, kind) {
            (State::Selecting, Kind::Offer) if !addr.is_unspecified() => {
                self.state = State::Requesting { addr, server: server.into() };
                (self.tries, self.due) = (0, Some(now));
                false
            }
            (State::Requesting { addr: wanted, .. }, Kind::Ack) if addr == wanted => self.take(now, addr, options),
            (State::Bound(_), Kind::Ack) if self.grant.as_ref().is_some_and(|grant| grant.addr.addr == addr) => {
                self.take(now, addr, options)
            }
            (State::Requesting { server: chosen, .. }, Kind::Nak) if chosen == Ipv4Addr::from(server) => {
                self.begin(now);
                false
            }
            (State::Bound(since), Kind::Nak) if self.is_asking(now, since, server.into()) => {
                // The lease ends at once: the next poll reports it.
                let times = Times { renew: Duration::ZERO, rebind: Duration::ZERO, end: now - since };
                self.grant.iter_mut().for_each(|grant| grant.times = Some(times));
                self.due = Some(now);
                false
            }
            _ => false,
        }
    }

    /// Whether this server was asked to renew the lease.
    fn is_asking(&self, now: Instant, since: Instant, server: Ipv4Addr) -> bool {
        let Some(grant) = &self.grant else { return false };
        let rebinds = grant.times.is_some_and(|times| now >= since + times.rebind);
        self.tries > 0 && (rebinds || grant.server == server)
    }

    /// Takes the lease of an ACK.
    fn take(&mut self, now: Instant, addr: Ipv4Addr, options: &[u8]) -> bool {
        let Some(grant) = granted(addr, options) else { return false };
        self.due = grant.times.map(|times| now + times.renew);
        self.state = State::Bound(now);
        self.tries = 0;
        self.grant = Some(grant);
        true
    }

    fn begin(&mut self, now: Instant) {
        self.state = State::Selecting;
        (self.tries, self.due) = (0, Some(now));
        self.draw();
    }

    fn draw(&mut self) {
        self.xid = u32::from(self.random.word()) << 16 | u32::from(self.random.word());
    }

    fn wait(&mut self, now: Instant) {
        self.due = Some(now + (PAUSE.0 * (1 << self.tries.min(5))).min(PAUSE.1));
        self.tries += 1;
    }

    /// A message of a type, with these options and the common ones.
    fn write(&self, kind: Kind, options: &[(u8, [u8; 4])]) -> Vec<u8> {
        let mut out = vec![0; HEADER];
        out[..4].copy_from_slice(&[1, 1, 6, 0]);
        out[4..8].copy_from_slice(&self.xid.to_be_bytes());
        if let (State::Bound(_), Some(Grant { addr: Cidr { addr: std::net::IpAddr::V4(addr), .. }, .. })) =
            (self.state, &self.grant)
        {
            out[12..16].copy_from_slice(&addr.octets());
        }
        out[28..34].copy_from_slice(&self.mac.0);
        out[236..240].copy_from_slice(&COOKIE);
        out.extend([option::TYPE, 1, kind as u8]);
        for (code, value) in options {
            out.extend([*code, 4]);
            out.extend(value);
        }
        // classless routes come before the router (RFC 3442)
        let asked =
            [option::ROUTES, option::MASK, option::ROUTER, option::DNS, option::DOMAIN, option::MTU, option::HOST_NAME];
        out.extend([option::ASKED, asked.len() as u8]);
        out.extend(asked);
        out.extend([option::LONGEST, 2]);
        out.extend(LONGEST.to_be_bytes());
        if let Ok(length @ 1..) = u8::try_from(self.name.len()) {
            out.extend([option::HOST_NAME, length]);
            out.extend(self.name.as_bytes());
        }
        out.push(option::END);
        if out.len() < SHORTEST {
            out.resize(SHORTEST, option::PAD);
        }
        out
    }

    /// Reads the answer to the last message: its type, the address in it, and its options.
    fn read<'a>(&self, bytes: &'a [u8]) -> Option<(Kind, Ipv4Addr, &'a [u8])> {
        let (header, options) = bytes.split_first_chunk::<HEADER>()?;
        let ours = header[..3] == [2, 1, 6]
            && header[4..8] == self.xid.to_be_bytes()
            && header[28..34] == self.mac.0
            && header[236..] == COOKIE;
        let kind = find(options, option::TYPE).and_then(Kind::read).filter(|_| ours)?;
        Some((kind, Ipv4Addr::new(header[16], header[17], header[18], header[19]), options))
    }
}

/// The lease in an ACK.
fn granted(addr: Ipv4Addr, options: &[u8]) -> Option<Grant> {
    let octets = |code| find(options, code).and_then(|value| value.first_chunk::<4>().copied());
    let number = |code| octets(code).map(u32::from_be_bytes);
    let text = |code| find(options, code).and_then(|value| std::str::from_utf8(value).ok());
    let mask = number(option::MASK).unwrap_or(0xffff_ff00);
    let lease = number(option::LEASE)?.max(1);
    // RFC 2131, section 4.4.5, also where the server's own numbers are in no order
    let rebind = number(option::REBIND).unwrap_or((u64::from(lease) * 7 / 8) as u32).min(lease);
    let renew = number(option::RENEW).unwrap_or(lease / 2).min(rebind);
    let secs = |count: u32| Duration::from_secs(count.into());
    let times = Times { renew: secs(renew), rebind: secs(rebind), end: secs(lease) };
    let dns = find(options, option::DNS).unwrap_or_default();
    let domain = text(option::DOMAIN).map(|domain| domain.trim_end_matches(['\0', '.']).to_ascii_lowercase());
    let (router, routes) = match find(options, option::ROUTES).and_then(routes) {
        // they take the place of the router, default route included
        Some(mut routes) => {
            let default = routes.iter().position(|(net, _)| net.prefix == 0).map(|at| routes.remove(at));
            (default.and_then(|(_, router)| router), routes)
        }
        None => (octets(option::ROUTER).map(Ipv4Addr::from), Vec::new()),
    };
    Some(Grant {
        addr: Cidr { addr: addr.into(), prefix: mask.leading_ones() as u8 },
        server: octets(option::SERVER)?.into(),
        router,
        routes,
        dns: dns.as_chunks::<4>().0.iter().take(3).map(|addr| Ipv4Addr::from(*addr)).collect(),
        domain: domain.filter(|domain| super::name::is_domain(domain)),
        mtu: find(options, option::MTU).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes),
        times: (lease != INFINITE).then_some(times),
    })
}

/// Classless routes (RFC 3442): `bits of the prefix u8 · its bytes · router`. `None`: malformed, or cut short.
fn routes(mut bytes: &[u8]) -> Option<Vec<(Cidr, Option<Ipv4Addr>)>> {
    let mut routes = Vec::new();
    while let Some((&prefix, rest)) = bytes.split_first() {
        let (net, rest) = rest.split_at_checked(usize::from(prefix.div_ceil(8))).filter(|_| prefix <= 32)?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        let mut octets = [0; 4];
        octets.get_mut(..net.len())?.copy_from_slice(net);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let net = Cidr { addr: Ipv4Addr::from_bits(u32::from_be_bytes(octets) & mask).into(), prefix };
        routes.push((net, Some(Ipv4Addr::from(*router)).filter(|router| !router.is_unspecified())));
        bytes = rest;
    }
    (!routes.is_empty()).then_some(routes)
}
