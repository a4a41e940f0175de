//! The interfaces of an instance, made in its network namespace.
//!
//! A TAP for a program is made persistent and given to the program's user, so that the program attaches to it as to one
//! that `ip tuntap add … user` has made. The namespace's kernel has no address and no IPv6 on it, so that only the
//! program sends on the port.

use super::adopt::Adopter;
use super::talk::Plan;
use super::{Host, InterfaceKind, ipv6};
use crate::config;
use crate::error::{Error, Result};
use crate::port::netlink::Netlink;
use crate::port::packet::Packet;
use crate::port::tap::{self, Tap};
use crate::wire::Mac;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;

/// The interfaces that were made.
pub struct Made {
    /// Name and kind of each interface's descriptor.
    pub links: Vec<(String, InterfaceKind)>,
    /// The descriptors, and behind them a netlink socket.
    pub fds: Vec<OwnedFd>,
    /// Takes over the TAPs that the program makes itself, if it has TAPs.
    pub adopter: Option<Adopter>,
    /// The interface that still needs an address by DHCP.
    pub asks: Option<Host>,
}

/// Makes what `plan` asks for in this network namespace.
pub fn make(plan: &Plan) -> Result<Made> {
    let failed = |cause: std::io::Error| Error::system("the instance's network", &cause);
    let mut netlink = Netlink::open().map_err(failed)?;
    if !plan.shared {
        netlink.set_up(LOOPBACK).map_err(failed)?;
        allow_pings();
    }
    let mut made = Made { links: Vec::new(), fds: Vec::new(), adopter: None, asks: None };
    let host = plan.host.as_ref();
    if let Some(host) = host {
        ipv6::prepare(&host.addrs);
        made.fds.push(interface(host, plan.mac(&host.ifname), &mut netlink)?);
        made.links.push((host.ifname.clone(), InterfaceKind::Tap));
        if !host.dns.is_empty() {
            resolve_by(&host.dns, None)?;
        }
    }
    if !plan.taps.is_empty() || !plan.tuns.is_empty() {
        ipv6::silence();
        let mut adopter = Adopter::open(host.map(|host| host.ifname.as_str())).map_err(failed)?;
        let mut opened = Vec::new();
        for tap in &plan.taps {
            opened.push((tap.clone(), InterfaceKind::Packet, make_tap(tap, plan.mac(tap))?));
        }
        for name in &plan.tuns {
            let fd = make_tun(name, &mut netlink)?;
            opened.push((name.clone(), InterfaceKind::Tun, fd));
        }
        // Interfaces that the program opens come first, in the order asked for.
        for (place, (ifname, kind, fd)) in opened.into_iter().enumerate() {
            adopter.note(&fd, &ifname, kind).map_err(failed)?;
            made.fds.insert(place, fd);
            made.links.insert(place, (ifname, kind));
        }
        made.adopter = Some(adopter);
    }
    if let Some(host) = host {
        ipv6::settle(&host.ifname);
    }
    made.fds.push(netlink.into_fd());
    made.asks = host.filter(|host| host.dhcp).cloned();
    Ok(made)
}

/// Lets every program open ICMP sockets for ping, as on most systems: a new network namespace allows nobody (icmp(7)).
/// If this cannot be written, a program needs CAP_NET_RAW, as ping(8) has.
fn allow_pings() {
    let file = "/proc/sys/net/ipv4/ping_group_range";
    // Groups without a number in this user namespace cannot be named; then this process's is the only one.
    let own = getegid().as_raw();
    if fs::write(file, "0 2147483647").is_err() {
        let _ = fs::write(file, format!("{own} {own}"));
    }
}

/// Makes a TAP for the program to open, and a packet socket on it.
fn make_tap(name: &str, mac: Mac) -> Result<OwnedFd> {
    let user = Some(geteuid().as_raw().to_string());
    let options =
        config::Tap { up: true, persist: true, user, mac: Some(mac), offload: false, ..config::Tap::new(name) };
    drop(Tap::open(&options, None)?);
    Ok(Packet::open(name)?.into())
}

/// Makes a TUN for the program to open, and a packet socket on it. The program gives it its addresses.
fn make_tun(name: &str, netlink: &mut Netlink) -> Result<OwnedFd> {
    tap::make_tun(name, geteuid().as_raw())?;
    let failed = |cause: std::io::Error| Error::system(format_args!("tun {name}"), &cause);
    let found = netlink.interface(name).map_err(failed)?.unwrap_or_default();
    netlink.set_up(found.index).map_err(failed)?;
    Ok(Packet::open(name)?.into())
}

/// Makes a TAP with addresses and routes. Returns its descriptor.
fn interface(host: &Host, mac: Mac, netlink: &mut Netlink) -> Result<OwnedFd> {
    let (name, addrs) = (host.ifname.as_str(), host.addrs.clone());
    let options = config::Tap { addrs, up: true, mac: Some(mac), ..config::Tap::new(name) };
    let tap = Tap::open(&options, host.mtu).map_err(|error| error.within(format_args!("tap:{name}")))?;
    for &gateway in &host.gateways {
        let refused = |cause: std::io::Error| {
            let error = Error::system(format_args!("gateway {gateway}"), &cause);
            match Errno::from_io_error(&cause) {
                Some(Errno::NETUNREACH | Errno::HOSTUNREACH) => error.hint("it must be in the network of an address"),
                _ => error,
            }
        };
        let found = netlink.interface(name).map_err(refused)?.unwrap_or_default();
        netlink.add_default_route(found.index, gateway).map_err(refused)?;
    }
    Ok(tap.into())
}

/// Sets the instance's name servers, and the search domain for names without a dot.
pub fn resolve_by(servers: &[IpAddr], domain: Option<&str>) -> Result<()> {
    let search = domain.map(|domain| format!("search {domain}\n")).unwrap_or_default();
    let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let text = search + &text;
    put_file("/etc/resolv.conf", &text).map_err(|errno| {
        let error = Error::system("name servers: cannot replace /etc/resolv.conf", &errno.into());
        match errno {
            Errno::NOENT => error.hint("it may be empty, but it must be there: touch /etc/resolv.conf"),
            _ => error,
        }
    })
}

/// Bind-mounts a file over the one at `path`, which must exist, in this mount namespace alone.
fn put_file(path: &str, text: &str) -> std::result::Result<(), Errno> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
        move_mount, open_tree,
    };
    let files = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&files)?;
    let folder = fsmount(&files, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let file = openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o644))?;
    rustix::io::write(&file, text.as_bytes())?;
    let tree = open_tree(&folder, "file", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(&tree, "", CWD, path, flags)
}
