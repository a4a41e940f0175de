//! The DHCP server of a segment (RFC 2131, RFC 2132); it serves BOOTP clients (RFC 951), too.
//!
//! It is authoritative for its own network: a request there for an address that the client cannot have gets a NAK, and
//! a client may keep an address from before, if nobody else has it. So clients outlive a restart. It ignores other
//! networks: where a port leads to a LAN, that LAN's clients are its own server's.
//!
//! A relay is answered if it is on this segment; it may be a bridge or an access point in front of a host. Options
//! are those of [`message::option`], those that the client asks for or, if it lists none, all that there are.

mod fqdn;
pub(crate) mod message;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};

use self::message::{Kind, Message, Writer, option};
use super::leases::Leases;
use super::{Datagram, name};
use crate::config::{BootClient, BootFile};
use crate::service::lease::Who;
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

/// Configuration of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dhcp4Config {
    /// The server's own address.
    pub server: Ipv4Addr,
    /// Bits of the segment's prefix.
    pub prefix: u8,
    /// The default router, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Resolvers.
    pub dns: Vec<Ipv4Addr>,
    /// The segment's domain.
    pub domain: Option<String>,
    /// The segment's MTU, told where it is not 1500.
    pub mtu: u16,
    /// How long a lease lasts.
    pub lease: Duration,
    /// The TFTP server; sent with or without a boot file.
    pub tftp: Option<Ipv4Addr>,
    /// Boot files: a client gets the first for its kind, or the one for all.
    pub boot: Vec<BootFile>,
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

    /// The answer to the payload of a datagram to port 67, which came from the MAC `link`, if there is one.
    pub fn handle(&self, now: Instant, leases: &mut Leases, link: Mac, bytes: &[u8]) -> Option<Datagram> {
        let message = self.read(link, bytes)?;
        match message.kind {
            Some(Kind::Discover) => self.discover(now, leases, &message),
            Some(Kind::Request) => self.request(now, leases, &message),
            Some(Kind::Inform) => {
                (!message.ciaddr.is_unspecified()).then(|| self.answer(now, leases, &message, Some(Kind::Ack), None))
            }
            Some(Kind::Release) => {
                leases.release(now, &message.who(), message.ciaddr);
                None
            }
            Some(Kind::Decline) => {
                leases.decline(now, &message.who(), message.addr(option::WANTED)?);
                None
            }
            Some(Kind::Offer | Kind::Ack | Kind::Nak) => None,
            None => self.bootp(now, leases, &message),
        }
    }

    /// Whether these bytes are a client's message.
    pub fn reads(link: Mac, bytes: &[u8]) -> bool {
        Message::read(link, bytes).is_some()
    }

    /// A message of a client of this segment; `None` also for one from another segment's relay.
    fn read<'a>(&self, link: Mac, bytes: &'a [u8]) -> Option<Message<'a>> {
        let ours = |message: &Message<'_>| message.giaddr.is_unspecified() || self.is_ours(message.giaddr);
        Message::read(link, bytes).filter(ours)
    }

    /// The client and the address that it would get, if that should be probed before (RFC 2131, section 4.3.1). It is
    /// reserved for the client meanwhile, unless the client already claims it.
    pub fn candidate(&self, now: Instant, leases: &mut Leases, link: Mac, bytes: &[u8]) -> Option<(Who, Ipv4Addr)> {
        let message = self.read(link, bytes)?;
        let who = message.who();
        let addr = match message.kind {
            Some(Kind::Discover) => leases.offer(now, &who, message.addr(option::WANTED))?,
            None => leases.offer(now, &who, Some(message.ciaddr))?,
            // an address not offered here: from before a restart of either
            Some(Kind::Request) => {
                let known = |addr: Ipv4Addr| leases.is_kept(now, &who, addr) || !leases.allows(now, &who, addr);
                let chosen = message.addr(option::SERVER).is_none_or(|server| server == self.config.server);
                wanted(&message).filter(|addr| chosen && self.is_ours(*addr) && !known(*addr))?
            }
            Some(_) => return None,
        };
        (!leases.is_certain(now, &who, addr)).then_some((who, addr))
    }

    fn is_ours(&self, addr: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.config.prefix.min(32))).unwrap_or(0);
        (addr.to_bits() ^ self.config.server.to_bits()) & mask == 0
    }

    fn discover(&self, now: Instant, leases: &mut Leases, message: &Message<'_>) -> Option<Datagram> {
        let addr = leases.offer(now, &message.who(), message.addr(option::WANTED))?;
        if message.option(option::RAPID).is_none() {
            return Some(self.answer(now, leases, message, Some(Kind::Offer), Some(addr)));
        }
        self.bind(now, leases, message, addr)
    }

    /// A REQUEST; its fields tell the client's state (RFC 2131, section 4.3.2).
    fn request(&self, now: Instant, leases: &mut Leases, message: &Message<'_>) -> Option<Datagram> {
        let chosen = message.addr(option::SERVER);
        if chosen.is_some_and(|server| server != self.config.server) {
            leases.withdraw(now, &message.who());
            return None;
        }
        let addr = wanted(message)?;
        if !self.is_ours(addr) {
            // A client that chose this server gets a NAK; any other may be another server's.
            return chosen.map(|_| self.refuse(message));
        }
        self.bind(now, leases, message, addr).or_else(|| Some(self.refuse(message)))
    }

    fn bootp(&self, now: Instant, leases: &mut Leases, message: &Message<'_>) -> Option<Datagram> {
        let addr = leases.offer(now, &message.who(), Some(message.ciaddr))?;
        leases.bind(now, &message.who(), addr, self.config.lease, None).ok()?;
        Some(self.answer(now, leases, message, None, Some(addr)))
    }

    /// The ACK that gives `addr` to the client; `None` if it cannot have it.
    fn bind(&self, now: Instant, leases: &mut Leases, message: &Message<'_>, addr: Ipv4Addr) -> Option<Datagram> {
        leases.bind(now, &message.who(), addr, self.span(message), called(message)).ok()?;
        Some(self.answer(now, leases, message, Some(Kind::Ack), Some(addr)))
    }

    /// The lease time: the client's wish, within the limits.
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

    /// An answer of type `kind` (`None`: BOOTP's) with `addr`, or with the options alone.
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
        self.write_fqdn(&mut writer, message, host);
        if let Some(host) = host.filter(|_| message.asks(option::HOST_NAME)) {
            writer.option(option::HOST_NAME, host.as_bytes());
        }
        self.write_boot(&mut writer, message);
        // RFC 6842: the client identifier is in every answer
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
        // a relay removes its own option before the client, but it has to fit on the way, too
        let relay = message.option(option::RELAY).map_or(0, |value| value.len() + 2);
        let longest = asked.map_or(LONGEST, usize::from).clamp(LONGEST, most);
        longest.min(most.saturating_sub(relay)) - OVERHEAD
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
        // the mask comes before the router (RFC 2132, section 3.3); both are essential
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

    /// The client's FQDN option, if it sent one. Before it has an address, the name is the one that it asks for.
    fn write_fqdn(&self, writer: &mut Writer, message: &Message<'_>, host: Option<&str>) {
        let Some(value) = message.option(option::FQDN) else { return };
        let asked = called(message).and_then(name::label);
        if let Some(answer) = fqdn::answer(value, host.or(asked.as_deref()), self.config.domain.as_deref()) {
            writer.option(option::FQDN, &answer);
        }
    }

    fn write_boot(&self, writer: &mut Writer, message: &Message<'_>) {
        if let Some(server) = self.config.tftp {
            writer.set_next_server(server);
            if message.asks(option::TFTP) {
                writer.text(option::TFTP, server.to_string().as_bytes());
            }
            if message.asks(option::TFTP_ADDR) {
                writer.option(option::TFTP_ADDR, &server.octets());
            }
        }
        let own = self.config.boot.iter().find(|boot| boot.client.as_ref().is_some_and(|client| fits(client, message)));
        let any = || self.config.boot.iter().find(|boot| boot.client.is_none());
        let Some(BootFile { file, .. }) = own.or_else(any) else { return };
        writer.set_boot_file(file.as_bytes());
        if message.asks(option::BOOT_FILE) {
            writer.text(option::BOOT_FILE, file.as_bytes());
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

/// The address that a client requests, or has.
fn wanted(message: &Message<'_>) -> Option<Ipv4Addr> {
    message.addr(option::WANTED).or(Some(message.ciaddr)).filter(|addr| !addr.is_unspecified())
}

/// The client's own name: its FQDN comes before its host name (RFC 4702, section 3.1).
fn called<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    message.option(option::FQDN).and_then(fqdn::called).or_else(|| message.option(option::HOST_NAME))
}

/// Whether the client of a message is of this kind.
fn fits(client: &BootClient, message: &Message<'_>) -> bool {
    match client {
        BootClient::Arch(wanted) => {
            let archs = message.option(option::ARCH).unwrap_or_default();
            archs.as_chunks::<2>().0.iter().any(|arch| u16::from_be_bytes(*arch) == *wanted)
        }
        BootClient::User(wanted) => {
            // texts with their lengths (RFC 3004), or, as iPXE says it, one text
            let mut class = message.option(option::USER_CLASS).unwrap_or_default();
            let mut found = class == wanted.as_bytes();
            while let Some((text, rest)) =
                class.split_first().and_then(|(len, rest)| rest.split_at_checked((*len).into()))
            {
                found |= text == wanted.as_bytes();
                class = rest;
            }
            found
        }
    }
}

/// Destination of an answer (RFC 2131, section 4.1): the relay; the address that the client has; broadcast, if it wants
/// that; else its new address, for which it does not answer ARP yet.
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
