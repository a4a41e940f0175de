//! The DHCP server of a segment (RFC 2131, RFC 2132), which BOOTP clients (RFC 951) can ask too.
//!
//! It is the segment's only one, and sure of it: a client that asks for an address that it cannot have is told so at
//! once, and one that keeps an address from before, which nobody else has, may keep it. So clients outlive a restart.
//!
//! A relay is answered if it is on this segment; it may be a bridge or an access point in front of a host. Options
//! are those of [`message::option`], those that the client asks for or, if it lists none, all that there are.

pub mod message;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use self::message::{Kind, Message, Writer, option};
use super::Datagram;
use super::leases::Leases;
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;

/// A client that asks for less gets this: it must have time to renew.
const SHORTEST_LEASE: Duration = Duration::from_secs(60);

/// Bytes of IP and UDP headers in front of a message.
const OVERHEAD: usize = 28;
/// Bytes of a message, headers included, that every client takes (RFC 2131, section 2).
const LONGEST: usize = 576;
/// Bytes of a message that a BOOTP client takes (RFC 951, section 3).
const LONGEST_BOOTP: usize = 300;

/// What a server tells its clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dhcp4Config {
    /// The server's own address.
    pub server: Ipv4Addr,
    /// Bits of the segment's prefix.
    pub prefix: u8,
    /// The way out, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// The segment's domain.
    pub domain: Option<String>,
    /// The segment's MTU, told where it is not 1500.
    pub mtu: u16,
    /// How long a lease lasts.
    pub lease: Duration,
    /// The file that a board boots, and the server that has it; `None`: this one.
    pub boot: Option<(String, Option<Ipv4Addr>)>,
}

/// See the module.
pub struct Dhcp4 {
    config: Dhcp4Config,
}

impl Dhcp4 {
    /// A server.
    pub fn new(config: Dhcp4Config) -> Self {
        Self { config }
    }

    /// The answer to the payload of a datagram to port 67, if there is one.
    pub fn handle(&self, now: Instant, leases: &mut Leases, bytes: &[u8]) -> Option<Datagram> {
        let message = Message::read(bytes)?;
        if !message.giaddr.is_unspecified() && !self.is_ours(message.giaddr) {
            return None;
        }
        match message.kind {
            Some(Kind::Discover) => self.discover(now, leases, &message),
            Some(Kind::Request) => self.request(now, leases, &message),
            Some(Kind::Inform) => {
                (!message.ciaddr.is_unspecified()).then(|| self.answer(now, leases, &message, Some(Kind::Ack), None))
            }
            Some(Kind::Release) => {
                leases.release(now, message.mac, message.ciaddr);
                None
            }
            Some(Kind::Decline) => {
                leases.decline(now, message.mac, message.addr(option::WANTED)?);
                None
            }
            Some(Kind::Offer | Kind::Ack | Kind::Nak) => None,
            None => self.bootp(now, leases, &message),
        }
    }

    /// Who asks for an address, and which one it would get, if it is one that should be tried before it is given
    /// (RFC 2131, section 4.3.1). It is kept for the client meanwhile.
    pub fn candidate(&self, now: Instant, leases: &mut Leases, bytes: &[u8]) -> Option<(Mac, Ipv4Addr)> {
        let message = Message::read(bytes)?;
        let wanted = match message.kind {
            Some(Kind::Discover) => message.addr(option::WANTED),
            None => Some(message.ciaddr),
            Some(_) => return None,
        };
        if !message.giaddr.is_unspecified() && !self.is_ours(message.giaddr) {
            return None;
        }
        let addr = leases.offer(now, message.mac, wanted)?;
        (!leases.is_certain(now, message.mac, addr)).then_some((message.mac, addr))
    }

    fn is_ours(&self, addr: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.config.prefix.min(32))).unwrap_or(0);
        (addr.to_bits() ^ self.config.server.to_bits()) & mask == 0
    }

    fn discover(&self, now: Instant, leases: &mut Leases, message: &Message<'_>) -> Option<Datagram> {
        let addr = leases.offer(now, message.mac, message.addr(option::WANTED))?;
        if message.option(option::RAPID).is_none() {
            return Some(self.answer(now, leases, message, Some(Kind::Offer), Some(addr)));
        }
        self.bind(now, leases, message, addr)
    }

    /// A request, whose state its fields say (RFC 2131, section 4.3.2).
    fn request(&self, now: Instant, leases: &mut Leases, message: &Message<'_>) -> Option<Datagram> {
        let chosen = message.addr(option::SERVER);
        if chosen.is_some_and(|server| server != self.config.server) {
            leases.withdraw(now, message.mac);
            return None;
        }
        let addr = message.addr(option::WANTED).or(Some(message.ciaddr)).filter(|addr| !addr.is_unspecified())?;
        let bound = if self.is_ours(addr) { self.bind(now, leases, message, addr) } else { None };
        bound.or_else(|| Some(self.refuse(message)))
    }

    fn bootp(&self, now: Instant, leases: &mut Leases, message: &Message<'_>) -> Option<Datagram> {
        let addr = leases.offer(now, message.mac, Some(message.ciaddr))?;
        leases.bind(now, message.mac, addr, self.config.lease, None).ok()?;
        Some(self.answer(now, leases, message, None, Some(addr)))
    }

    /// The ACK that gives `addr` to the client; `None` if it cannot have it.
    fn bind(&self, now: Instant, leases: &mut Leases, message: &Message<'_>, addr: Ipv4Addr) -> Option<Datagram> {
        let called = message.option(option::HOST_NAME);
        leases.bind(now, message.mac, addr, self.span(message), called).ok()?;
        Some(self.answer(now, leases, message, Some(Kind::Ack), Some(addr)))
    }

    /// The time of a lease: what the client asks for, and not more than there is.
    fn span(&self, message: &Message<'_>) -> Duration {
        let asked = message.option(option::LEASE).and_then(|value| value.try_into().ok());
        let asked = asked.map_or(self.config.lease, |value| Duration::from_secs(u32::from_be_bytes(value).into()));
        asked.max(SHORTEST_LEASE).min(self.config.lease)
    }

    fn refuse(&self, message: &Message<'_>) -> Datagram {
        let mut writer = Writer::new(message, LONGEST - OVERHEAD);
        writer.option(option::TYPE, &[Kind::Nak as u8]);
        writer.option(option::SERVER, &self.config.server.octets());
        writer.option(option::MESSAGE, b"not your address");
        if let Some(client) = message.option(option::CLIENT) {
            writer.option(option::CLIENT, client);
        }
        // the client cannot use its address, so nothing can be sent there
        writer.clear_ciaddr();
        if message.giaddr.is_unspecified() {
            return self.datagram((Ipv4Addr::BROADCAST, CLIENT_PORT), Some(Mac::BROADCAST), writer);
        }
        writer.set_broadcast();
        self.datagram((message.giaddr, SERVER_PORT), None, writer)
    }

    /// An answer of type `kind` (`None`: BOOTP's) that gives `addr`, or everything but an address.
    fn answer(
        &self,
        now: Instant,
        leases: &Leases,
        message: &Message<'_>,
        kind: Option<Kind>,
        addr: Option<Ipv4Addr>,
    ) -> Datagram {
        let config = &self.config;
        let mut writer = Writer::new(message, self.longest(message, kind));
        if let Some(kind) = kind {
            writer.option(option::TYPE, &[kind as u8]);
            writer.option(option::SERVER, &config.server.octets());
            if addr.is_some() {
                self.write_times(&mut writer, self.span(message));
            }
            if kind == Kind::Ack && message.kind == Some(Kind::Discover) {
                writer.option(option::RAPID, &[]);
            }
        }
        if let Some(addr) = addr {
            writer.set_yiaddr(addr);
        }
        self.write_network(&mut writer, message);
        let host = addr.and_then(|addr| leases.name_of(now, addr));
        if let Some(host) = host.filter(|_| message.asks(option::HOST_NAME)) {
            writer.option(option::HOST_NAME, host.as_bytes());
        }
        self.write_boot(&mut writer, message);
        // RFC 6842: what the client calls itself stands in every answer
        if let Some(client) = message.option(option::CLIENT) {
            writer.option(option::CLIENT, client);
        }
        let (to, mac) = way_back(message, addr);
        self.datagram(to, mac, writer)
    }

    /// The longest answer that the client takes.
    fn longest(&self, message: &Message<'_>, kind: Option<Kind>) -> usize {
        if kind.is_none() {
            return LONGEST_BOOTP;
        }
        let asked = message.option(option::LONGEST).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes);
        let most = usize::from(self.config.mtu).max(LONGEST);
        asked.map_or(LONGEST, usize::from).clamp(LONGEST, most) - OVERHEAD
    }

    fn write_times(&self, writer: &mut Writer, span: Duration) {
        let lease = u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
        writer.seconds(option::LEASE, lease);
        // RFC 2131, section 4.4.5
        writer.seconds(option::RENEW, lease / 2);
        writer.seconds(option::REBIND, lease / 8 * 7);
    }

    fn write_network(&self, writer: &mut Writer, message: &Message<'_>) {
        let config = &self.config;
        let mask = u32::MAX.checked_shl(32 - u32::from(config.prefix.min(32))).unwrap_or(0);
        // the mask comes before the router (RFC 2132, section 3.3), and nobody can do without them
        writer.option(option::MASK, &mask.to_be_bytes());
        if let Some(router) = config.router {
            writer.option(option::ROUTER, &router.octets());
        }
        if message.asks(option::DNS) && !config.dns.is_empty() {
            let octets: Vec<u8> = config.dns.iter().take(4).flat_map(|addr| addr.octets()).collect();
            writer.option(option::DNS, &octets);
        }
        if message.asks(option::BROADCAST) {
            writer.option(option::BROADCAST, &(config.server.to_bits() | !mask).to_be_bytes());
        }
        if config.mtu != 1500 && message.asks(option::MTU) {
            writer.option(option::MTU, &config.mtu.to_be_bytes());
        }
        if let Some(domain) = config.domain.as_deref().filter(|_| message.asks(option::DOMAIN)) {
            writer.option(option::DOMAIN, domain.as_bytes());
        }
    }

    fn write_boot(&self, writer: &mut Writer, message: &Message<'_>) {
        let Some((file, server)) = &self.config.boot else { return };
        let server = server.unwrap_or(self.config.server);
        writer.set_boot(server, file.as_bytes());
        if message.asks(option::TFTP) {
            writer.option(option::TFTP, server.to_string().as_bytes());
        }
        if message.asks(option::BOOT_FILE) {
            writer.option(option::BOOT_FILE, file.as_bytes());
        }
    }

    fn datagram(&self, (addr, port): (Ipv4Addr, u16), mac: Option<Mac>, writer: Writer) -> Datagram {
        Datagram {
            src: SocketAddr::from((self.config.server, SERVER_PORT)),
            dst: SocketAddr::from((addr, port)),
            mac,
            payload: writer.finish(),
        }
    }
}

/// Where an answer goes (RFC 2131, section 4.1): to the relay; to the address that the client has; to everybody, if
/// it wants that; else to the address that it is given, which it does not answer ARP for yet.
fn way_back(message: &Message<'_>, addr: Option<Ipv4Addr>) -> ((Ipv4Addr, u16), Option<Mac>) {
    if !message.giaddr.is_unspecified() {
        return ((message.giaddr, SERVER_PORT), None);
    }
    if !message.ciaddr.is_unspecified() {
        return ((message.ciaddr, CLIENT_PORT), Some(message.mac));
    }
    match addr {
        Some(addr) if !message.broadcast => ((addr, CLIENT_PORT), Some(message.mac)),
        _ => ((Ipv4Addr::BROADCAST, CLIENT_PORT), Some(Mac::BROADCAST)),
    }
}
