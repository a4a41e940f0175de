//! What the checks look at: gathered once, at the beginning.

use super::firewall::Rules;
use crate::control::{PortInfo, StationsInfo, StatusInfo};
use crate::launch;
use crate::port::netlink::{Interface, Netlink};
use crate::port::{owner, tap};
use crate::wire::Cidr;
use rustix::process::geteuid;
use serde::Serialize;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// The facts.
pub struct Facts {
    /// Where the system's files are: `/`.
    pub root: PathBuf,
    /// Who asks is root.
    pub is_root: bool,
    /// The interfaces of this network namespace.
    pub interfaces: Vec<Seen>,
    /// The firewall's rules.
    pub rules: Rules,
    /// The bridges that have answered.
    pub bridges: Vec<Bench>,
    /// What could not be looked at, and how it could be.
    pub unseen: Vec<String>,
}

/// Who has something open.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
pub struct Held {
    /// The interface, or the path of the socket.
    pub what: String,
    /// `pid 42 (zephyr.exe)`.
    pub by: String,
}

/// An interface.
#[derive(Clone, Default)]
pub struct Seen {
    /// As the kernel tells.
    pub interface: Interface,
    /// Its addresses.
    pub addrs: Vec<Cidr>,
    /// The process that has this TAP open.
    pub holder: Option<String>,
    /// The kernel leaves checksums of what is sent here to who receives it.
    pub unchecked: bool,
}

/// A running bridge.
pub struct Bench {
    /// Its switches and ports.
    pub status: StatusInfo,
    /// What stations say of themselves.
    pub stations: StationsInfo,
}

impl Facts {
    /// Asks the machine; the bridges have answered already.
    pub fn gather(bridges: Vec<Bench>) -> Self {
        let mut unseen = Vec::new();
        let interfaces = interfaces().unwrap_or_else(|cause| {
            unseen.push(format!("interfaces: {cause}"));
            Vec::new()
        });
        let rules = Rules::gather(Path::new("/")).unwrap_or_else(|why| {
            unseen.push(format!("firewall: {why}"));
            Rules::default()
        });
        unseen.extend(bridges.iter().filter_map(|bench| elsewhere(Path::new("/"), &bench.status)));
        Self { root: "/".into(), is_root: geteuid().is_root(), interfaces, rules, bridges, unseen }
    }

    /// Who has the TAPs and the sockets of ports open.
    pub fn held(&self) -> Vec<Held> {
        let taps = self.taps().filter_map(|tap| Some(Held { what: tap.name().to_owned(), by: tap.holder.clone()? }));
        let paths = self.ports().map(|(_, _, port)| target(port)).filter(|path| path.starts_with('/'));
        let is_socket = |path: &&str| fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
        let sockets =
            paths.filter(is_socket).map(|path| Held { what: path.to_owned(), by: owner::holder(Path::new(path)) });
        let mut held: Vec<Held> = taps.chain(sockets).collect();
        held.sort();
        held.dedup();
        held
    }

    /// The value of a setting, where the kernel has it: `net.ipv4.ip_forward`.
    pub fn setting(&self, name: &str) -> Option<u64> {
        launch::setting(&self.root, name)
    }

    /// The number in a file of the system.
    pub fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.root.join(file)).ok()?.trim().parse().ok()
    }

    /// The TAPs.
    pub fn taps(&self) -> impl Iterator<Item = &Seen> {
        self.interfaces.iter().filter(|seen| seen.is_tap())
    }

    /// The interface of this name.
    pub fn named(&self, name: &str) -> Option<&Seen> {
        self.interfaces.iter().find(|seen| seen.interface.name == name)
    }

    /// Each port with its bridge and its switch.
    pub fn ports(&self) -> impl Iterator<Item = (&Bench, &str, &PortInfo)> {
        self.bridges.iter().flat_map(|bench| {
            let switches = bench.status.switches.iter();
            switches.flat_map(move |switch| switch.ports.iter().map(move |port| (bench, switch.name.as_str(), port)))
        })
    }

    /// The TAPs that are ports.
    pub fn taps_of_ports(&self) -> impl Iterator<Item = &Seen> {
        self.ports().filter(|(_, _, port)| port.kind == "tap").filter_map(|(_, _, port)| self.named(target(port)))
    }
}

impl Seen {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// Whether it is a TAP.
    pub fn is_tap(&self) -> bool {
        self.interface.tun.tap
    }
}

/// Whether an address is good on one link only.
pub fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// The first word of a port's target: its interface, or its path.
pub fn target(port: &PortInfo) -> &str {
    port.target.split(',').next().unwrap_or_default()
}

/// The interfaces of this network namespace, with the holders of TAPs.
fn interfaces() -> std::io::Result<Vec<Seen>> {
    let mut netlink = Netlink::open()?;
    let all = netlink.interfaces()?;
    let mut seen = Vec::new();
    for interface in all {
        let addrs = netlink.addresses(interface.index)?;
        let is_tap = interface.tun.tap;
        let holder = (is_tap && interface.carrier).then(|| tap::user(&interface.name, Path::new("/proc")));
        let unchecked = is_tap && netlink.leaves_checksums(&interface.name).unwrap_or(false);
        seen.push(Seen { interface, addrs, holder, unchecked });
    }
    Ok(seen)
}

/// What is not seen of a bridge that runs in another network namespace than this process.
fn elsewhere(root: &Path, bridge: &StatusInfo) -> Option<String> {
    let network = |process: &str| fs::read_link(root.join("proc").join(process).join("ns/net")).ok();
    let pid = bridge.pid.to_string();
    let (own, its) = (network("self")?, network(&pid)?);
    (own != its).then(|| {
        format!(
            "interfaces and firewall of bridge {}, which has a network namespace of its own: \
             nsenter --preserve-credentials -U -n -t {pid} zbridge doctor, as root without -U",
            bridge.name
        )
    })
}

/// The arguments of a process, where it tells them.
pub fn arguments(root: &Path, pid: &str) -> Vec<String> {
    let line = fs::read(root.join("proc").join(pid).join("cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The number in a peer's description, `pid 42 (qemu-system-x86)`, as [`owner::process`] writes it.
pub fn pid_in(peer: &str) -> Option<&str> {
    peer.strip_prefix("pid ")?.split(' ').next()
}
