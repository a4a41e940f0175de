//! From an instance to the launch of its program, and to the ports that its interfaces become.

use crate::config::{InstanceSpec, IpPeer, Network, PortKind, PortSpec, port_name};
use crate::launch::{self, InterfaceEnd, Interfaces, NotStarted, Output};
use std::ffi::OsString;

/// Refuses an instance whose program is not there, or is not to be run.
///
/// # Errors
/// What is wrong with it, and the exit status that a shell has for it.
pub fn check(spec: &InstanceSpec) -> Result<(), NotStarted> {
    launch::check_program(&to_launch(spec, spec.command.clone()))
}

/// The launch of an instance of a file, with these words as its command.
pub(super) fn to_launch(spec: &InstanceSpec, words: Vec<OsString>) -> launch::Spec {
    let namespace = match &spec.network {
        Network::Own | Network::Qemu { .. } => launch::Namespace::Shared,
        Network::Interfaces { taps, tuns, host } => launch::Namespace::Own(Interfaces {
            taps: taps.iter().map(|tap| tap.kind.text().target()).collect(),
            tuns: tuns.iter().filter_map(peer_of).collect(),
            host: host.as_ref().map(|(host, _)| host.clone()),
        }),
    };
    launch::Spec {
        env: spec.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        cwd: spec.cwd.clone(),
        namespace,
        output: Output::Piped,
        privileged: spec.privileged,
        tun_words: "tun = \"NAME\"",
        ..launch::Spec::new(&spec.name, words)
    }
}

/// A TUN's name, and who is behind it.
fn peer_of(tun: &PortSpec) -> Option<(String, IpPeer)> {
    let PortKind::Packet(packet) = &tun.kind else { return None };
    Some((packet.ifname.clone(), packet.ip.clone().unwrap_or_default()))
}

/// The port of a configured interface.
pub(super) fn port(wanted: &PortSpec, link: &InterfaceEnd) -> PortSpec {
    let PortSpec { kind, optional, .. } = link.port(&wanted.name);
    PortSpec { kind, optional, ..wanted.clone() }
}

/// The port of an interface that the program has made itself: as its first one, with the interface's name behind its own.
pub(super) fn late_port(spec: &InstanceSpec, link: &InterfaceEnd) -> Option<PortSpec> {
    let name = port_name(&spec.name, Some(&link.ifname));
    let like = PortSpec { name, statics: Vec::new(), ..spec.network.ports().next()?.clone() };
    Some(port(&like, link))
}
