//! All servers of one segment, put together as the gateway's configuration says.
//!
//! Datagrams of the segment are dispatched by their destination. The servers' output is one queue of [`Output`]s:
//! datagrams and advertisements for the segment, queries for resolvers, files to be read.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Datagram;
use super::dhcp4::{self, Dhcp4, Dhcp4Config};
use super::dhcp6::{self, Dhcp6, Dhcp6Config};
use super::dns::{self, Client, Dns, DnsConfig, Names};
use super::leases::{Fixed, Leases, Pool};
use super::names::GivenNames;
use super::ra::{Advertisement, Ra, RaConfig};
use super::tftp::packet::Fault;
use super::tftp::{self, Tftp};
use super::trial::{Question, Trials};
use crate::config;
use crate::config::LanHost;
use crate::error::{Class, Error, Result};
use crate::service::change::{Change, Changed};
use crate::service::detail::{Details, NameDetail};
use crate::service::lease::Lease;
use crate::service::station::Station;
use crate::time::{Instant, earliest};
use crate::wire::{Cidr, Mac};

/// The gateway's own name.
const GATEWAY: &str = "gateway";

/// Outputs of one server that may wait; with more, further datagrams to it are dropped.
const OUTPUTS: usize = 1024;

/// IPv6 addresses of one station that have names, and stations that are remembered with theirs.
const SIXES: usize = 8;
const STATIONS: usize = 4096;

/// The IPv6 addresses that stations say they have.
type Sixes = HashMap<Mac, Vec<Ipv6Addr>, foldhash::fast::RandomState>;

/// Something for the caller to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A datagram for a host of the segment.
    Datagram(Datagram),
    /// Send an ARP request for this address; [`Segment::hear`] takes the answer.
    Ask(Ipv4Addr),
    /// An advertisement of the router.
    Advertisement(Advertisement),
    /// An answer on a stream; its length, two bytes, goes before it.
    Stream(u64, Vec<u8>),
    /// Something for a resolver: [`dns::Output::Ask`] or [`dns::Output::Forget`].
    Dns(dns::Output),
    /// Something about a file: [`tftp::Output::Open`], [`tftp::Output::Read`] or [`tftp::Output::Close`].
    File(tftp::Output),
}

/// Names of the segment: the gateway's, those of given hosts, those of leases.
struct Directory<'a> {
    gateway: &'a [IpAddr],
    leases: &'a Leases,
    six: &'a Sixes,
    given: &'a GivenNames,
}

impl Names for Directory<'_> {
    fn addrs(&self, now: Instant, label: &str) -> Vec<IpAddr> {
        if label == GATEWAY {
            return self.gateway.to_vec();
        }
        let six = self.leases.mac_of(now, label).and_then(|mac| self.six.get(&mac));
        let six = six.into_iter().flatten().copied().map(IpAddr::V6);
        self.leases.by_name(now, label).into_iter().map(IpAddr::V4).chain(six).collect()
    }

    fn name(&self, now: Instant, addr: IpAddr) -> Option<String> {
        if self.gateway.contains(&addr) {
            return Some(GATEWAY.to_owned());
        }
        let name = match addr {
            IpAddr::V4(addr) => self.leases.name_of(now, addr),
            IpAddr::V6(addr) => {
                let mut of = self.six.iter().filter(|(_, addrs)| addrs.contains(&addr));
                of.find_map(|(mac, _)| self.leases.name_at(now, *mac))
            }
        };
        name.map(str::to_owned)
    }

    fn given(&self, name: &str) -> Option<(Vec<IpAddr>, String)> {
        self.given.find(name).map(|(zone, addrs)| (addrs.to_vec(), zone.to_owned()))
    }

    fn given_name(&self, addr: IpAddr) -> Option<String> {
        self.given.name_of(addr).map(str::to_owned)
    }
}

/// See the module.
pub struct Segment {
    /// The gateway's addresses.
    gateway: Vec<IpAddr>,
    /// The resolver's addresses.
    resolver: Vec<IpAddr>,
    broadcast: Ipv4Addr,
    networks: Vec<Cidr>,
    domain: String,
    given: GivenNames,
    six: Sixes,
    leases: Leases,
    dhcp4: Option<Dhcp4>,
    trials: Trials,
    dhcp6: Option<Dhcp6>,
    ra: Option<Ra>,
    dns: Option<Dns>,
    tftp: Option<Tftp>,
    outputs: VecDeque<Output>,
    /// Datagrams dropped because too many answers waited.
    dropped: u64,
    /// Malformed datagrams.
    malformed: u64,
}

impl Segment {
    /// The servers of a gateway on a segment of this MTU. `seed` is a number that nobody can guess.
    pub fn new(nat: &config::Nat, mtu: u16, seed: u64) -> Self {
        let lan = &nat.lan;
        let gateway: Vec<IpAddr> = nat.addrs().iter().map(|cidr| cidr.addr).collect();
        let six = nat.ipv6.and_then(|cidr| match cidr.addr {
            IpAddr::V6(addr) => Some((addr, cidr.prefix)),
            IpAddr::V4(_) => None,
        });
        let domain = Some(lan.domain.clone());
        let dns6: Vec<Ipv6Addr> = six.iter().filter(|_| lan.dns.is_some()).map(|(addr, _)| *addr).collect();
        let mask = u32::MAX.checked_shl(32 - u32::from(nat.prefix.min(32))).unwrap_or(0);
        Self {
            resolver: lan.dns.into_iter().map(IpAddr::V4).chain(dns6.iter().copied().map(IpAddr::V6)).collect(),
            broadcast: (nat.gateway.to_bits() | !mask).into(),
            networks: nat.addrs(),
            domain: lan.domain.clone(),
            given: GivenNames::default(),
            six: Sixes::default(),
            leases: Leases::new(pool(nat)),
            dhcp4: lan.dhcp.is_some().then(|| Dhcp4::new(dhcp4_config(nat, mtu))),
            trials: Trials::default(),
            dhcp6: six.map(|prefix| {
                let (dns, domain) = (dns6.clone(), domain.clone());
                Dhcp6::new(Dhcp6Config { mac: nat.mac(), prefix, dns, domain })
            }),
            ra: six.map(|prefix| {
                let (mac, router) = (nat.mac(), !nat.restrict);
                Ra::new(&RaConfig { mac, prefix, mtu, router, dns: dns6, domain: domain.clone(), dhcp6: true })
            }),
            dns: lan.dns.is_some().then(|| {
                let prefixes = nat.addrs();
                Dns::new(DnsConfig { domain, prefixes, resolvers: Vec::new(), restrict: nat.restrict, seed })
            }),
            tftp: lan.tftp.is_some().then(|| Tftp::new(mtu, lan.tftp_write, seed)),
            gateway,
            outputs: VecDeque::new(),
            dropped: 0,
            malformed: 0,
        }
    }

    /// Whether datagrams to this address are for one of the servers.
    pub fn hears(&self, dst: SocketAddr) -> bool {
        let own = self.gateway.contains(&dst.ip());
        match (dst.port(), dst.ip()) {
            (dhcp4::SERVER_PORT, IpAddr::V4(addr)) => {
                self.dhcp4.is_some() && (own || addr.is_broadcast() || addr == self.broadcast)
            }
            (dhcp6::SERVER_PORT, IpAddr::V6(addr)) => self.dhcp6.is_some() && (own || addr == dhcp6::SERVERS),
            (dns::PORT, addr) => self.hears_streams(SocketAddr::new(addr, dns::PORT)),
            (port, _) => own && self.tftp.as_ref().is_some_and(|tftp| port == tftp::PORT || tftp.has_port(port)),
        }
    }

    /// Whether streams to this address are for the resolver.
    pub fn hears_streams(&self, dst: SocketAddr) -> bool {
        dst.port() == dns::PORT && self.resolver.contains(&dst.ip())
    }

    /// Whether there is a resolver.
    pub fn serves_names(&self) -> bool {
        self.dns.is_some()
    }

    /// Takes a datagram to an address that it [hears](Self::hears), unless too many answers of that server wait
    /// already. The answer goes to the station `from`.
    pub fn handle(&mut self, now: Instant, from: Station, (src, dst): (SocketAddr, SocketAddr), bytes: &[u8]) {
        let queued = match dst.port() {
            dhcp4::SERVER_PORT | dhcp6::SERVER_PORT => self.outputs.len(),
            dns::PORT => self.dns.as_ref().map_or(0, Dns::queued),
            _ => self.tftp.as_ref().map_or(0, Tftp::queued),
        };
        if queued >= OUTPUTS {
            self.dropped += 1;
            return;
        }
        let answer = match dst.port() {
            dhcp4::SERVER_PORT => self.try_or_answer(now, &(from.mac, bytes.to_vec())),
            dhcp6::SERVER_PORT => self.dhcp6.as_mut().and_then(|dhcp| dhcp.handle(src, from.mac, bytes)),
            dns::PORT => {
                self.query(now, Client::Udp(src, dst, from), bytes);
                None
            }
            _ => {
                if let Some(tftp) = &mut self.tftp {
                    tftp.handle(now, from, (src, dst), bytes);
                }
                None
            }
        };
        let addressed = |it: Datagram| Datagram { mac: it.mac.or(Some(from.mac)), ..it };
        self.outputs.extend(answer.map(addressed).map(Output::Datagram));
    }

    /// The answer to a DHCP message, unless it waits for an address to be probed.
    fn try_or_answer(&mut self, now: Instant, question: &Question) -> Option<Datagram> {
        let dhcp = self.dhcp4.as_ref()?;
        let (link, bytes) = question;
        if !Dhcp4::reads(*link, bytes) {
            log::debug!("{link}: what it sent to the DHCP server is no message of an Ethernet client");
            self.malformed += 1;
            return None;
        }
        let candidate = dhcp.candidate(now, &mut self.leases, *link, bytes);
        let tried = candidate.and_then(|(who, addr)| Some((addr, self.trials.add(now, (who, addr), question)?)));
        match tried {
            Some((addr, fresh)) => {
                self.outputs.extend(fresh.then_some(Output::Ask(addr)));
                None
            }
            None => dhcp.handle(now, &mut self.leases, *link, bytes),
        }
    }

    /// A host at `mac` was seen to use `addr`. Returns whether there is something to do.
    pub fn hear(&mut self, now: Instant, mac: Mac, addr: Ipv4Addr) -> bool {
        self.leases.hear(now, mac, addr);
        let Some(question) = self.trials.hear(mac, addr) else { return false };
        if self.outputs.len() >= OUTPUTS {
            self.dropped += 1;
            return false;
        }
        let answer = self.try_or_answer(now, &question);
        self.outputs.extend(answer.map(Output::Datagram));
        true
    }

    /// Datagrams dropped because too many answers waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Malformed datagrams to the DHCP server.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Takes a query that came on a stream from `host`.
    pub fn handle_stream(&mut self, now: Instant, stream: u64, host: IpAddr, query: &[u8]) {
        self.query(now, Client::Tcp(stream, host), query);
    }

    fn query(&mut self, now: Instant, client: Client, bytes: &[u8]) {
        let names = Directory { gateway: &self.gateway, leases: &self.leases, six: &self.six, given: &self.given };
        if let Some(dns) = &mut self.dns {
            dns.handle(now, &names, client, bytes);
        }
    }

    /// Takes an ICMPv6 message whose checksum has been verified. Returns whether it is one for the router.
    pub fn handle_icmp6(&mut self, now: Instant, from: (Ipv6Addr, Mac), hop_limit: u8, message: &[u8]) -> bool {
        self.ra.as_mut().is_some_and(|ra| ra.handle(now, from, hop_limit, message))
    }

    /// The resolver, for answers and failures.
    pub fn dns(&mut self) -> Option<&mut Dns> {
        self.dns.as_mut()
    }

    /// A file was opened and has so many bytes, or could not be.
    pub fn handle_opened(&mut self, now: Instant, file: u64, size: std::result::Result<u64, Fault>) {
        if let Some(tftp) = &mut self.tftp {
            tftp.handle_opened(now, file, size);
        }
    }

    /// These bytes of a file were read, or nothing could be.
    pub fn handle_data(&mut self, now: Instant, file: u64, offset: u64, bytes: Option<Vec<u8>>) {
        if let Some(tftp) = &mut self.tftp {
            tftp.handle_data(now, file, offset, bytes);
        }
    }

    /// Bytes were written to a file, or could not be.
    pub fn handle_written(&mut self, now: Instant, file: u64, done: std::result::Result<(), Fault>) {
        if let Some(tftp) = &mut self.tftp {
            tftp.handle_written(now, file, done);
        }
    }

    /// A written file was renamed, or could not be.
    pub fn handle_kept(&mut self, now: Instant, file: u64, done: std::result::Result<(), Fault>) {
        if let Some(tftp) = &mut self.tftp {
            tftp.handle_kept(now, file, done);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(advertisement) = self.ra.as_mut().and_then(|ra| ra.poll_transmit(now)) {
            return Some(Output::Advertisement(advertisement));
        }
        if let Some(output) = self.dns.as_mut().and_then(Dns::poll_output) {
            return Some(match output {
                dns::Output::Answer(Client::Udp(dst, src, from), payload) => {
                    Output::Datagram(Datagram { src, dst, mac: Some(from.mac), payload })
                }
                dns::Output::Answer(Client::Tcp(stream, _), answer) => Output::Stream(stream, answer),
                other => Output::Dns(other),
            });
        }
        self.tftp.as_mut().and_then(Tftp::poll_output).map(|output| match output {
            tftp::Output::Send(datagram) => Output::Datagram(datagram),
            other => Output::File(other),
        })
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_output`] have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dns = self.dns.as_ref().and_then(Dns::poll_timeout);
        let tftp = self.tftp.as_ref().and_then(Tftp::poll_timeout);
        let dns = earliest(dns, self.trials.poll_timeout());
        earliest(earliest(dns, tftp), self.ra.as_ref().and_then(Ra::poll_timeout))
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(question) = self.trials.next_over(now) {
            let (link, bytes) = question;
            let answer = self.dhcp4.as_ref().and_then(|dhcp| dhcp.handle(now, &mut self.leases, link, &bytes));
            self.outputs.extend(answer.map(Output::Datagram));
        }
        if let Some(dns) = &mut self.dns {
            dns.handle_timeout(now);
        }
        if let Some(tftp) = &mut self.tftp {
            tftp.handle_timeout(now);
        }
    }

    /// A station says that it has this IPv6 address.
    pub fn hear_six(&mut self, mac: Mac, addr: Ipv6Addr) {
        let in_network = self.networks.iter().any(|network| network.contains(addr.into()));
        if self.dns.is_none() || !in_network || self.six.len() >= STATIONS && !self.six.contains_key(&mac) {
            return;
        }
        let addrs = self.six.entry(mac).or_default();
        if !addrs.contains(&addr) {
            // A station that takes ever new ones has the latest.
            addrs.truncate(SIXES - 1);
            addrs.insert(0, addr);
        }
    }

    /// Carries out a change of names or leases.
    ///
    /// # Errors
    /// It cannot be done, or there is no such server.
    pub fn change(&mut self, now: Instant, change: &Change) -> Result<Changed> {
        match change {
            Change::AddName { name, addrs } => self.add_name(name, addrs),
            Change::DelName { name } => {
                let whole = GivenNames::whole(name, &self.domain).map_err(|why| unfit(name, why))?;
                Ok(if self.given.remove(&whole) { Changed::Done } else { Changed::Missing })
            }
            Change::Pin(host) => self.pin(now, host),
            Change::DropLease(holder) => {
                Ok(if self.leases.drop_of(*holder) { Changed::Done } else { Changed::Missing })
            }
            Change::AddForward { .. } | Change::DelForward { .. } => Ok(Changed::Elsewhere),
        }
    }

    fn add_name(&mut self, name: &str, addrs: &[IpAddr]) -> Result<Changed> {
        if self.dns.is_none() {
            return Err(Error::usage("this gateway has no resolver: dns=off"));
        }
        let whole = GivenNames::whole(name, &self.domain).map_err(|why| unfit(name, why))?;
        match self.given.get(&whole) {
            Some(before) if before == addrs => return Ok(Changed::Already),
            Some(before) => {
                let before: Vec<_> = before.iter().map(ToString::to_string).collect();
                return Ok(Changed::Otherwise(before.join(" ")));
            }
            None => {}
        }
        self.given.add(&whole, addrs).map_err(|why| unfit(name, why))?;
        Ok(Changed::Done)
    }

    fn pin(&mut self, now: Instant, host: &LanHost) -> Result<Changed> {
        if !self.networks.iter().any(|network| network.contains(host.addr.into())) || host.addr == self.broadcast {
            return Ok(Changed::Elsewhere);
        }
        if self.dhcp4.is_none() {
            return Err(Error::usage("this gateway gives no addresses: dhcp=off"));
        }
        let fixed = Fixed { mac: host.mac, addr: host.addr, name: host.name.clone() };
        let pinned = self.leases.pin(now, fixed).map_err(|why| {
            Error::usage(format!("{host}: {why}")).hint(format!("`zbridge lease drop {}` ends a lease", host.addr))
        })?;
        Ok(if pinned { Changed::Done } else { Changed::Already })
    }

    /// Adds names and leases to `details`.
    pub fn details(&self, now: Instant, details: &mut Details) {
        let leases = self.leases.details(now);
        if self.dns.is_some() {
            let whole = |label: &str| format!("{label}.{}", self.domain);
            let added = self.given.all().map(|(name, addrs)| (name.to_owned(), addrs.to_vec(), "added"));
            let own = std::iter::once((whole(GATEWAY), self.gateway.clone(), "gateway"));
            let names = Directory { gateway: &self.gateway, leases: &self.leases, six: &self.six, given: &self.given };
            let leased = leases.iter().filter_map(|lease| {
                let label = lease.name.as_deref()?;
                Some((whole(label), names.addrs(now, label), if lease.pinned { "host" } else { "lease" }))
            });
            let all = added.chain(own).chain(leased);
            details.names.extend(all.map(|(name, addrs, source)| NameDetail { name, addrs, source }));
        }
        details.leases.extend(leases);
    }

    /// Enters leases from before a restart.
    pub fn restore(&mut self, now: Instant, leases: &[Lease]) {
        leases.iter().for_each(|lease| self.leases.restore(now, lease));
    }

    /// The leases that stand, by address.
    pub fn leases(&self, now: Instant) -> impl Iterator<Item = Lease> {
        self.leases.list(now)
    }

    /// A number that is another one when a lease has changed.
    pub fn leases_version(&self) -> u64 {
        self.leases.version()
    }
}

fn unfit(name: &str, why: super::names::Unfit) -> Error {
    Error::new(Class::Usage, format!("{name:?}: {why}")).because(why)
}

fn pool(nat: &config::Nat) -> Pool {
    let lan = &nat.lan;
    let (first, last) = lan.dhcp.unwrap_or((Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST));
    let fixed = lan.hosts.iter().map(|host| Fixed { mac: host.mac, addr: host.addr, name: host.name.clone() });
    Pool {
        first,
        last,
        reserved: std::iter::once(nat.gateway).chain(lan.dns).collect(),
        fixed: fixed.collect(),
        reserved_names: vec![GATEWAY.to_owned(), "localhost".to_owned()],
    }
}

fn dhcp4_config(nat: &config::Nat, mtu: u16) -> Dhcp4Config {
    Dhcp4Config {
        server: nat.gateway,
        prefix: nat.prefix,
        router: (!nat.restrict).then_some(nat.gateway),
        dns: nat.lan.dns.into_iter().collect(),
        domain: Some(nat.lan.domain.clone()),
        mtu,
        lease: nat.lan.lease,
        tftp: nat.lan.tftp.as_ref().map(|_| nat.gateway),
        boot: nat.lan.bootfiles.clone(),
    }
}

#[cfg(test)]
mod tests;
