//! A gateway's services for its segment: the keys of `nat:` for DHCP, DNS and TFTP.
//!
//! Everything is on unless it is turned off, except files, which need a folder. Values that depend on the segment's
//! network (the pool, the resolver's address) are computed here once.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::KeyRow;
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::value::{self, Parsed};
use crate::wire::Mac;

pub(super) const DHCP: KeyRow = KeyRow {
    word: "dhcp",
    value: Some("FIRST-LAST|off"),
    repeatable: false,
    live: false,
    summary: "the addresses for hosts that ask, as .15-.99 (default: .15 to .99, or all of a small network; off where a port leads to a network)",
};
pub(super) const LEASE: KeyRow = KeyRow {
    word: "lease",
    value: Some("TIME"),
    repeatable: false,
    live: false,
    summary: "how long such an address lasts, 60s at least (default: 1h)",
};
pub(super) const HOST: KeyRow = KeyRow {
    word: "host",
    value: Some("MAC/ADDR[/NAME]"),
    repeatable: true,
    live: false,
    summary: "a host that always has this address, and this name",
};
pub(super) const DNS: KeyRow = KeyRow {
    word: "dns",
    value: Some("ADDR|off"),
    repeatable: false,
    live: false,
    summary: "the resolver's address (default: the gateway's)",
};
pub(super) const DOMAIN: KeyRow = KeyRow {
    word: "domain",
    value: Some("NAME"),
    repeatable: false,
    live: false,
    summary: "the domain in which hosts have their names (default: lab)",
};
pub(super) const TFTP: KeyRow = KeyRow {
    word: "tftp",
    value: Some("FOLDER"),
    repeatable: false,
    live: false,
    summary: "serve the files of this folder by TFTP, to be read",
};
pub(super) const TFTP_WRITE: KeyRow = KeyRow {
    word: "tftp-write",
    value: None,
    repeatable: false,
    live: false,
    summary: "with tftp: let guests write files into the folder, whole ones in place of old ones",
};
pub(super) const BOOTFILE: KeyRow = KeyRow {
    word: "bootfile",
    value: Some("NAME[@CLIENT]"),
    repeatable: true,
    live: false,
    summary: "with tftp: the file that boards boot; @arch:N for those of an architecture, @user:iPXE for those of a class",
};
pub(super) const LEASES: KeyRow = KeyRow {
    word: "leases",
    value: Some("FILE"),
    repeatable: false,
    live: false,
    summary: "keep leases and names over a restart in this file",
};

/// The default lease time.
const LEASE_TIME: Duration = Duration::from_secs(3600);
/// The segment's default domain.
const DEFAULT_DOMAIN: &str = "lab";
/// The last octets of the default pool, where the network has room for them.
const POOL: (u32, u32) = (15, 99);
/// The most addresses of a pool.
const POOL_MAX: u32 = 65_536;

/// A host with an address of its own: `host=MAC/ADDR[/NAME]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct LanHost {
    /// Its MAC address.
    pub mac: Mac,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its name; `None`: what it calls itself.
    pub name: Option<String>,
}

impl LanHost {
    /// Reads `MAC/ADDR[/NAME]`. The error says what is expected.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Parsed<Self> {
        host(text)
    }
}

impl fmt::Display for LanHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.mac, self.addr)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(out, "/{name}"))
    }
}

/// The clients that a boot file is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BootClient {
    /// Clients of an architecture, by its DHCP number (option 93; RFC 4578, section 2.1, and its registry): 0 is a
    /// BIOS, 7 an x86-64 EFI, 11 an ARM64 EFI.
    Arch(u16),
    /// Clients of this user class (option 77, RFC 3004): `iPXE`.
    User(String),
}

/// A file to boot: `bootfile=NAME[@CLIENT]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct BootFile {
    /// Its name in the folder, or a URL for clients that take one.
    pub file: String,
    /// Its clients; `None`: all that have none of their own.
    pub client: Option<BootClient>,
}

impl BootFile {
    /// A file for all that have none of their own.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), client: None }
    }

    /// Whether it is to be found elsewhere.
    pub fn is_url(&self) -> bool {
        self.file.contains("://")
    }
}

impl fmt::Display for BootFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        match &self.client {
            None => Ok(()),
            Some(BootClient::Arch(number)) => write!(out, "@arch:{number}"),
            Some(BootClient::User(class)) => write!(out, "@user:{class}"),
        }
    }
}

/// The services of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Lan {
    /// The first and the last address for hosts that ask; `None`: DHCP is off.
    pub dhcp: Option<(Ipv4Addr, Ipv4Addr)>,
    /// `dhcp` was given explicitly. Otherwise DHCP is off for a network beyond this machine.
    pub dhcp_said: bool,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Hosts with addresses of their own.
    pub hosts: Vec<LanHost>,
    /// The resolver's address; `None`: there is none.
    pub dns: Option<Ipv4Addr>,
    /// The segment's domain.
    pub domain: String,
    /// The folder whose files are served.
    pub tftp: Option<PathBuf>,
    /// Guests may write files into it.
    pub tftp_write: bool,
    /// The files that boards boot, one for each kind of client.
    pub bootfiles: Vec<BootFile>,
    /// Where leases are kept over a restart.
    pub leases: Option<PathBuf>,
}

impl Lan {
    /// The defaults of a gateway at `gateway`, with a prefix of so many bits.
    pub fn new((gateway, prefix): (Ipv4Addr, u8)) -> Self {
        Self {
            dhcp: Some(default_pool(gateway, prefix)),
            dhcp_said: false,
            lease: LEASE_TIME,
            hosts: Vec::new(),
            dns: Some(gateway),
            domain: DEFAULT_DOMAIN.to_owned(),
            tftp: None,
            tftp_write: false,
            bootfiles: Vec::new(),
            leases: None,
        }
    }

    pub(super) fn parse(keys: &mut Keys, (gateway, prefix): (Ipv4Addr, u8)) -> Result<Self, Fault> {
        let default = Self::new((gateway, prefix));
        let dhcp = keys.value("dhcp", |text| pool(text, gateway))?;
        let lan = Self {
            dhcp: dhcp.unwrap_or(default.dhcp),
            dhcp_said: dhcp.is_some(),
            lease: keys.value("lease", lease)?.unwrap_or(default.lease),
            hosts: keys.values("host", host)?,
            dns: keys.value("dns", resolver)?.unwrap_or(default.dns),
            domain: keys.value("domain", domain)?.unwrap_or(default.domain),
            tftp: keys.value("tftp", value::path)?,
            tftp_write: keys.flag("tftp-write")?.unwrap_or(false),
            bootfiles: keys.values("bootfile", bootfile)?,
            leases: keys.value("leases", value::path)?,
        };
        lan.check(gateway, prefix)?;
        Ok(lan)
    }

    fn check(&self, gateway: Ipv4Addr, prefix: u8) -> Result<(), Fault> {
        let (first, last) = ends(gateway, prefix);
        let inside = |addr: Ipv4Addr| (first + 1..last).contains(&addr.to_bits());
        let network = || format!("addresses of the network are {} to {}", at(first + 1), at(last - 1));
        if let Some((from, to)) = self.dhcp {
            if !inside(from) || !inside(to) || from > to {
                return Err(Fault::new(format!("dhcp={from}-{to}: not a range of the network")).hint(network()));
            }
            if to.to_bits() - from.to_bits() >= POOL_MAX {
                return Err(Fault::new(format!("dhcp={from}-{to}: more than {POOL_MAX} addresses")));
            }
        }
        if let Some(dns) = self.dns.filter(|dns| !inside(*dns)) {
            return Err(Fault::new(format!("dns={dns}: not in the network")).hint(network()));
        }
        for (index, host) in self.hosts.iter().enumerate() {
            if !inside(host.addr) || host.addr == gateway || Some(host.addr) == self.dns {
                return Err(Fault::new(format!("host={host}: not an address for a host")).hint(network()));
            }
            let earlier = self.hosts.iter().take(index);
            let same = |other: &LanHost| {
                other.mac == host.mac || other.addr == host.addr || other.name.is_some() && other.name == host.name
            };
            if let Some(other) = earlier.into_iter().find(|other| same(other)) {
                return Err(Fault::new(format!("host={host} and host={other}: the same host, address or name")));
            }
        }
        for (index, boot) in self.bootfiles.iter().enumerate() {
            if let Some(other) = self.bootfiles.iter().take(index).find(|other| other.client == boot.client) {
                return Err(Fault::new(format!("bootfile={other} and bootfile={boot}: for the same clients"))
                    .hint("NAME@arch:7 is for those of an architecture, NAME@user:iPXE for those of a class"));
            }
        }
        if self.bootfiles.iter().any(|boot| !boot.is_url()) && self.tftp.is_none() {
            return Err(Fault::new("bootfile without tftp").hint("tftp=FOLDER says where the file is"));
        }
        if self.tftp_write && self.tftp.is_none() {
            return Err(Fault::new("tftp-write without tftp").hint("tftp=FOLDER says where files go"));
        }
        Ok(())
    }

    pub(super) fn write(&self, out: &mut Writer, network: (Ipv4Addr, u8)) {
        let default = Self::new(network);
        if self.dhcp_said {
            out.value("dhcp", self.dhcp.map_or_else(|| "off".to_owned(), |(first, last)| format!("{first}-{last}")));
        }
        if self.lease != default.lease {
            out.value("lease", value::span(self.lease));
        }
        for host in &self.hosts {
            out.value("host", host);
        }
        if self.dns != default.dns {
            out.value("dns", self.dns.map_or_else(|| "off".to_owned(), |dns| dns.to_string()));
        }
        if self.domain != default.domain {
            out.value("domain", &self.domain);
        }
        out.option("tftp", self.tftp.as_ref().map(|folder| folder.display()));
        if self.tftp_write {
            out.flag("tftp-write");
        }
        for boot in &self.bootfiles {
            out.value("bootfile", boot);
        }
        out.option("leases", self.leases.as_ref().map(|file| file.display()));
    }
}

fn at(bits: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits)
}

/// The network's own address and its broadcast address.
pub(super) fn ends(gateway: Ipv4Addr, prefix: u8) -> (u32, u32) {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    (gateway.to_bits() & mask, gateway.to_bits() | !mask)
}

/// .15 to .99, or everything where the network is smaller than that.
fn default_pool(gateway: Ipv4Addr, prefix: u8) -> (Ipv4Addr, Ipv4Addr) {
    let (first, last) = ends(gateway, prefix);
    if last - first > POOL.1 { (at(first + POOL.0), at(first + POOL.1)) } else { (at(first + 1), at(last - 1)) }
}

fn pool(text: &str, gateway: Ipv4Addr) -> Parsed<Option<(Ipv4Addr, Ipv4Addr)>> {
    let form = || "a range of addresses, as .15-.99 or 10.0.2.15-10.0.2.99, or off".to_owned();
    if text == "off" {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').ok_or_else(form)?;
    let whole = |text: &str| ending(text, gateway).ok_or_else(form);
    Ok(Some((whole(first)?, whole(last)?)))
}

/// An address, or its last octets behind a dot: the others are the gateway's.
fn ending(text: &str, gateway: Ipv4Addr) -> Option<Ipv4Addr> {
    let Some(rest) = text.strip_prefix('.') else { return text.parse().ok() };
    let mut octets = gateway.octets();
    let given: Vec<u8> = rest.split('.').map(|octet| value::number(octet, 0..=u8::MAX).ok()).collect::<Option<_>>()?;
    octets.get_mut(4_usize.checked_sub(given.len())?..)?.copy_from_slice(&given);
    Some(octets.into())
}

fn lease(text: &str) -> Parsed<Duration> {
    let long = |time: &Duration| (60..=u64::from(u32::MAX)).contains(&time.as_secs());
    value::duration(text).filter(long).ok_or_else(|| "a time of 60s at least, as 10m or 2h".to_owned())
}

/// A file may separate the parts by commas, which on the command line would each be written twice.
fn host(text: &str) -> Parsed<LanHost> {
    let form = || "MAC/ADDR or MAC/ADDR/NAME, as 02:00:5e:00:53:01/10.0.2.20/board1".to_owned();
    let mut parts = text.split(['/', ',']);
    let (mac, addr) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let name = parts.next().map(|name| label(name).ok_or_else(form)).transpose()?;
    let host = LanHost { mac: value::station(mac)?, addr: addr.parse().map_err(|_| form())?, name };
    if parts.next().is_none() { Ok(host) } else { Err(form()) }
}

/// A label as RFC 1123, section 2.1, has it, in lower case.
fn label(text: &str) -> Option<String> {
    let good = (1..=63).contains(&text.len())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    good.then(|| text.to_ascii_lowercase())
}

fn resolver(text: &str) -> Parsed<Option<Ipv4Addr>> {
    match text {
        "off" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "an IPv4 address of the network, as 10.0.2.3, or off".to_owned()),
    }
}

fn domain(text: &str) -> Parsed<String> {
    let labels: Option<Vec<String>> = text.split('.').map(label).collect();
    let name = labels.map(|labels| labels.join(".")).filter(|name| name.len() <= 200);
    name.ok_or_else(|| "a domain of letters, digits, hyphens and dots, as lab or bench.test".to_owned())
}

/// A name that fits into the field `file` of a message with the zero that ends it (RFC 2131, section 2), and for whom.
fn bootfile(text: &str) -> Parsed<BootFile> {
    let form = || "the name of a file, 127 bytes at most, with @arch:NUMBER or @user:CLASS behind it or not".to_owned();
    let client = |text: &str| match text.split_once(':')? {
        ("arch", number) => Some(number.parse().map(BootClient::Arch).map_err(|_| form())),
        ("user", class) => Some(Ok(BootClient::User(class.to_owned()))),
        _ => None,
    };
    let split = text.rsplit_once('@').and_then(|(file, behind)| Some((file, client(behind)?)));
    let (file, client) = match split {
        Some((file, client)) => (file, Some(client?)),
        None => (text, None),
    };
    let named = !matches!(&client, Some(BootClient::User(class)) if class.is_empty() || class.len() > 255);
    let good = named && (1..128).contains(&file.len()) && !text.chars().any(char::is_control);
    if good { Ok(BootFile { file: file.to_owned(), client }) } else { Err(form()) }
}
