//! An instance's attachment to the network: by interfaces (`tap`, `tun`, `host`), by QEMU's card, or by a port of its
//! own; and the resulting ports.

use crate::config::grammar::{Fault, Key, Keys, Words, split};
use crate::config::kind::{PortKind, Tap};
use crate::config::port::PortSpec;
use crate::config::value;
use crate::wire::{Cidr, Mac};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The default name of the interface of `host`.
pub const DEFAULT_HOST: &str = "eth0";

/// The attachment of an instance to the network.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Network {
    /// Not at all, or by a port of the file: a serial line, a socket that it dials itself.
    Own,
    /// By interfaces in a namespace of its own; one at least.
    Interfaces {
        /// TAPs that it opens; each is a port of the kind `tap` with no keys of its own.
        taps: Vec<PortSpec>,
        /// TUNs that it opens; each is a port of the kind `packet` with mode=ip.
        tuns: Vec<PortSpec>,
        /// A configured interface, and the port that it becomes.
        host: Option<(Host, Box<PortSpec>)>,
    },
    /// By arguments that attach QEMU to a socket.
    Qemu {
        /// The model of the card; `None`: the machine's usual one.
        model: Option<String>,
        /// The card's address.
        mac: Mac,
    },
}

impl Network {
    /// The ports of its interfaces, in their order.
    pub fn ports(&self) -> impl Iterator<Item = &PortSpec> {
        let (taps, tuns, host) = match self {
            Self::Interfaces { taps, tuns, host } => (taps.as_slice(), tuns.as_slice(), host.as_ref()),
            Self::Own | Self::Qemu { .. } => (&[][..], &[][..], None),
        };
        taps.iter().chain(tuns).chain(host.map(|(_, port)| &**port))
    }

    /// The same, to be changed.
    pub fn ports_mut(&mut self) -> impl Iterator<Item = &mut PortSpec> {
        let (taps, tuns, host) = match self {
            Self::Interfaces { taps, tuns, host } => (taps.as_mut_slice(), tuns.as_mut_slice(), host.as_mut()),
            Self::Own | Self::Qemu { .. } => (&mut [][..], &mut [][..], None),
        };
        taps.iter_mut().chain(tuns).chain(host.map(|(_, port)| &mut **port))
    }

    /// Names all ports after their instance, whatever their names were.
    pub(super) fn call_ports(&mut self, instance: &str) {
        let several = self.ports().count() > 1;
        for port in self.ports_mut() {
            port.name = port_name(instance, several.then_some(&port.kind.text().target()));
        }
    }
}

/// A configured interface for host tools. It is sent in this form to the process that makes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Host {
    /// Its name.
    pub ifname: String,
    /// Its addresses; at least one, or `dhcp`.
    pub addrs: Vec<Cidr>,
    /// Routers of default routes, one of a family.
    pub gateways: Vec<IpAddr>,
    /// Name servers; without any, the machine's /etc/resolv.conf stays.
    pub dns: Vec<IpAddr>,
    /// Its mtu in bytes; `None`: 1500, or what the lease says.
    pub mtu: Option<u32>,
    /// It asks a DHCP server on the switch for an address, under the program's name, before the program starts. Name
    /// servers of its own stay.
    pub dhcp: bool,
}

impl Default for Host {
    fn default() -> Self {
        let (addrs, gateways, dns) = (Vec::new(), Vec::new(), Vec::new());
        Self { ifname: DEFAULT_HOST.to_owned(), addrs, gateways, dns, mtu: None, dhcp: false }
    }
}

/// The value of `host`: an address, or DHCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HostAddr {
    /// This address.
    Cidr(Cidr),
    /// `dhcp`: the address from a DHCP server on the switch.
    Dhcp,
}

impl HostAddr {
    /// Reads an address with its prefix length, or `dhcp`.
    ///
    /// # Errors
    /// The accepted form.
    pub fn parse(text: &str) -> value::Parsed<Self> {
        if text == "dhcp" {
            return Ok(Self::Dhcp);
        }
        value::cidr(text).map(Self::Cidr).map_err(|form| format!("{form}, or dhcp"))
    }

    /// The address, where it is one.
    pub fn cidr(self) -> Option<Cidr> {
        match self {
            Self::Cidr(cidr) => Some(cidr),
            Self::Dhcp => None,
        }
    }
}

/// The name of an instance's port: the instance's, followed by the interface's if it is one of several, or made later
/// by the program.
pub fn port_name(instance: &str, interface: Option<&str>) -> String {
    interface.map_or_else(|| instance.to_owned(), |interface| format!("{instance}.{interface}"))
}

/// The attachment by `tap` and `host`, or by `qemu`, and the keys that belong to them.
pub(super) fn network(name: &str, switch: &str, keys: &mut Keys) -> Result<Network, Fault> {
    let taps = keys.nested("tap", |text| tap(text, switch))?;
    let tuns = keys.nested("tun", |text| tun(text, switch))?;
    let host = host(switch, keys)?;
    if let Some(model) = keys.value("qemu", model)?.flatten() {
        if !taps.is_empty() || !tuns.is_empty() || host.is_some() {
            return Err(Fault::new("an instance has tap, tun and host, or qemu").hint("leave out the one or the other"));
        }
        let mac = keys.value("mac", value::station)?.unwrap_or_else(|| Mac::made_of(name));
        return Ok(Network::Qemu { model, mac });
    }
    keys.refuse("mac", "without qemu: a TAP's program chooses its own")?;
    let (count_of_taps, count_of_tuns) = (taps.len(), tuns.len());
    let (hosts, of_host): (Vec<Host>, Vec<PortSpec>) = host.into_iter().unzip();
    let mut ports = named(name, [taps, tuns, of_host].concat())?.into_iter();
    let taps: Vec<PortSpec> = ports.by_ref().take(count_of_taps).collect();
    let tuns: Vec<PortSpec> = ports.by_ref().take(count_of_tuns).collect();
    let host = hosts.into_iter().zip(ports.map(Box::new)).next();
    let none = taps.is_empty() && tuns.is_empty() && host.is_none();
    Ok(if none { Network::Own } else { Network::Interfaces { taps, tuns, host } })
}

/// `IFNAME[,key=value]…` with the keys of a peer of bare IP packets and those that every port has.
fn tun(text: &str, switch: &str) -> Result<PortSpec, Fault> {
    let mut words = split(&format!("packet:{text}"))?;
    let names_switch = words.keys.iter().any(|key| key.word == "switch");
    words.keys.insert(0, Key { word: "mode".to_owned(), value: Some("ip".to_owned()), at: 0 });
    let mut port = PortSpec::from_words(words)?;
    if !names_switch {
        port.switch = switch.to_owned();
    }
    Ok(port)
}

/// The interface of `host`, and its port, which is called as the interface.
fn host(switch: &str, keys: &mut Keys) -> Result<Option<(Host, PortSpec)>, Fault> {
    let hosts = keys.values("host", HostAddr::parse)?;
    if hosts.is_empty() {
        for word in ["gateway", "dns", "iface"] {
            keys.refuse(word, "without host")?;
        }
        return Ok(None);
    }
    let dhcp = hosts.contains(&HostAddr::Dhcp);
    if dhcp {
        keys.refuse("gateway", "with host = \"dhcp\": the lease says it")?;
    }
    let ifname = keys.value("iface", value::ifname)?.unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let addrs = hosts.into_iter().filter_map(HostAddr::cidr).collect();
    let (gateways, dns) = (keys.values("gateway", address)?, keys.values("dns", address)?);
    let port = PortSpec { switch: switch.to_owned(), ..PortSpec::new(PortKind::Tap(Tap::new(&ifname))) };
    Ok(Some((Host { ifname, addrs, gateways, dns, mtu: None, dhcp }, port)))
}

/// `IFNAME[,key=value]…` with the keys that every port has.
fn tap(text: &str, switch: &str) -> Result<PortSpec, Fault> {
    let words = split(&format!("tap:{text}"))?;
    let plain = Words { head: words.head.clone(), keys: Vec::new() };
    let names_switch = words.keys.iter().any(|key| key.word == "switch");
    let mut port = PortSpec::from_words(words)?;
    if port.kind != PortSpec::from_words(plain)?.kind {
        return Err(Fault::new("the interface is made by zbridge, in the namespace of the program")
            .hint("only the keys that every port has may follow"));
    }
    if !names_switch {
        port.switch = switch.to_owned();
    }
    Ok(port)
}

/// Names the ports of an instance after it: a single one as it is called, several with their interfaces behind.
fn named(name: &str, mut taps: Vec<PortSpec>) -> Result<Vec<PortSpec>, Fault> {
    let several = taps.len() > 1;
    for index in 0..taps.len() {
        let (before, rest) = taps.split_at_mut(index);
        let Some(tap) = rest.first_mut() else { break };
        if before.iter().any(|other| other.kind.text().target() == tap.kind.text().target()) {
            let what = format!("there are two interfaces called {}", tap.kind.text().target());
            return Err(Fault::new(what).hint("give each tap another name, and that of host by iface"));
        }
        if tap.name == tap.kind.text().default_name() {
            let own = port_name(name, several.then_some(&tap.name));
            tap.name = value::name(&own).map_err(|form| Fault::new(format!("port {own:?}: expected {form}")))?;
        }
    }
    Ok(taps)
}

fn model(text: &str) -> value::Parsed<Option<Option<String>>> {
    let good = text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char)) && !text.is_empty();
    match text {
        "on" => Ok(Some(None)),
        "off" => Ok(None),
        _ if good => Ok(Some(Some(text.to_owned()))),
        _ => Err("on, off or the model of a network card, as e1000 or stellaris".to_owned()),
    }
}

fn address(text: &str) -> value::Parsed<IpAddr> {
    text.parse().map_err(|_| "an address, as 192.0.2.1 or 2001:db8::1".to_owned())
}
