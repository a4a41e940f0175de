//! Checks of interfaces: the TAPs of ports, those that a program has left, and the kernel bridges that they are in.

use super::facts::{Seen, is_link_local, target};
use super::{Facts, Findings};
use crate::config::grammar::escape;
use crate::config::text::shell;
use std::collections::BTreeMap;

/// TAPs of ports that pass no frames, or that the host cannot speak by.
pub fn links(facts: &Facts, found: &mut Findings) {
    for tap in facts.taps_of_ports() {
        let name = tap.name();
        if !tap.interface.up {
            let what = "it is down, and drops every frame";
            found.bad(name, what, format!("sudo ip link set {} up", shell(name)));
        } else if tap.interface.master.is_none() && tap.addrs.iter().all(|net| net.addr.is_ipv6()) {
            let what = "this host has no IPv4 address on it, so that it reaches no guest there by IPv4";
            found.note(
                name,
                what,
                format!("sudo ip addr add 192.0.2.2/24 dev {} (or addr=192.0.2.2/24 of its port)", shell(name)),
            );
        }
        if facts.setting(&format!("net.ipv6.conf.{name}.disable_ipv6")) == Some(1) {
            let mend = format!("sudo sysctl -w {}", shell(&format!("net/ipv6/conf/{name}/disable_ipv6=0")));
            found.note(name, "this host speaks no IPv6 on it", mend);
        }
    }
    let ports: Vec<&str> = facts.taps_of_ports().map(Seen::name).collect();
    for tap in facts.taps().filter(|tap| !ports.contains(&tap.name())) {
        let name = tap.name();
        match &tap.holder {
            // Others' machines have theirs, which are no matter of a bench.
            Some(_) => {}
            None => found.note(
                name,
                "nobody has this TAP open",
                format!("zbridge port add {}", shell(&escape(&format!("tap:{name}")))),
            ),
        }
    }
    for (_, _, port) in facts.ports().filter(|(_, _, port)| port.kind == "tap" && port.state == "waiting") {
        if let Some(holder) = facts.named(target(port)).and_then(|tap| tap.holder.as_ref()) {
            let what = format!("{holder} has it open, and port {} waits for it", port.name);
            let mend = match super::facts::pid_in(holder) {
                Some(pid) => {
                    format!("kill {pid} (or, if it is an instance: packet:{} attaches to its side)", target(port))
                }
                None => format!("end it (or, if it is an instance: packet:{} attaches to its side)", target(port)),
            };
            found.bad(target(port), what, mend);
        }
    }
}

/// TAPs whose next program, which asks for nothing, gets frames without checksum, and super-frames.
pub fn offloads(facts: &Facts, found: &mut Findings) {
    for tap in facts.taps().filter(|tap| tap.unchecked) {
        let name = tap.name();
        let mend = format!("sudo ethtool -K {} tx off", shell(name));
        match &tap.holder {
            None => found.note(
                name,
                "its former program has left offloads on: the next one that sets none, as native_sim does, gets frames \
                 with wrong checksums and longer than the MTU",
                mend,
            ),
            Some(holder) if !tap.interface.tun.header => found.bad(
                name,
                format!("a former program has left offloads on: {holder} gets frames with wrong checksums and longer than the MTU"),
                mend,
            ),
            Some(_) => {}
        }
    }
}

/// Interfaces of one switch with different MTUs.
pub fn mtus(facts: &Facts, found: &mut Findings) {
    let mut of_switches: BTreeMap<(&str, &str), Vec<&Seen>> = BTreeMap::new();
    for (bench, switch, port) in facts.ports().filter(|(_, _, port)| ["tap", "packet"].contains(&port.kind.as_str())) {
        let interfaces = of_switches.entry((&bench.status.name, switch)).or_default();
        interfaces.extend(facts.named(target(port)));
    }
    for ((_, switch), interfaces) in of_switches {
        let Some(least) = interfaces.iter().min_by_key(|seen| seen.interface.mtu) else { continue };
        for larger in interfaces.iter().filter(|seen| seen.interface.mtu > least.interface.mtu) {
            let (mtu, least_mtu) = (larger.interface.mtu, least.interface.mtu);
            found.bad(
                larger.name(),
                format!(
                    "its MTU is {mtu}, that of {} {least_mtu}: on switch {switch} its long frames do not pass there",
                    least.name()
                ),
                format!("sudo ip link set {} mtu {least_mtu}", shell(larger.name())),
            );
        }
    }
}

/// Interfaces that the same network is behind, of which the host uses one.
pub fn networks(facts: &Facts, found: &mut Findings) {
    let all: Vec<(&Seen, _)> = facts
        .interfaces
        .iter()
        .flat_map(|seen| seen.addrs.iter().map(move |net| (seen, *net)))
        .filter(|(_, net)| !net.addr.is_loopback() && !is_link_local(net.addr) && net.prefix > 0)
        .collect();
    for (index, (seen, net)) in all.iter().enumerate() {
        let earlier = all[..index].iter().find(|(other, theirs)| {
            other.interface.index != seen.interface.index
                && theirs.addr.is_ipv6() == net.addr.is_ipv6()
                && (theirs.contains(net.addr) || net.contains(theirs.addr))
        });
        let Some((other, theirs)) = earlier.filter(|(other, _)| seen.is_tap() || other.is_tap()) else { continue };
        found.bad(
            seen.name(),
            format!(
                "it has {net}, and {} has {theirs}: this host answers guests of both by one of them only",
                other.name()
            ),
            format!("sudo ip addr del {net} dev {} (one TAP reaches all guests of a switch)", shell(seen.name())),
        );
    }
}

/// Kernel bridges that have a TAP as a part, and filter, wait or prune where a cable would not.
pub fn kernel_bridges(facts: &Facts, found: &mut Findings) {
    let masters = facts.taps().filter_map(|tap| tap.interface.master);
    let mut bridges: Vec<&Seen> = Vec::new();
    for master in masters {
        let bridge = facts.interfaces.iter().find(|seen| seen.interface.index == master);
        let bridge = bridge.filter(|seen| seen.interface.kind.as_deref() == Some("bridge"));
        bridges.extend(bridge.filter(|new| bridges.iter().all(|known| known.name() != new.name())));
    }
    for bridge in bridges {
        let name = bridge.name();
        let has =
            |what: &str| facts.number(&format!("sys/class/net/{name}/bridge/{what}")).is_some_and(|value| value != 0);
        let filtered = ["iptables", "ip6tables"].into_iter().filter(|table| {
            facts.setting(&format!("net.bridge.bridge-nf-call-{table}")) == Some(1) || has(&format!("nf_call_{table}"))
        });
        for table in filtered {
            let setting = format!("net.bridge.bridge-nf-call-{table}");
            let mend = format!("sudo sysctl -w {setting}=0");
            match facts.rules.forwards(name, table == "ip6tables") {
                Some(chain) => found.bad(
                    name,
                    format!("br_netfilter sends its frames through the firewall, where {chain} drops them"),
                    mend,
                ),
                None => found.note(name, format!("its frames pass the host's firewall: {setting} is 1"), mend),
            }
        }
        if has("stp_state") {
            let mend = format!("sudo ip link set {} type bridge stp_state 0 (if there is no loop)", shell(name));
            found.note(name, "spanning tree is on: for 30 s, what has just come up passes no frame", mend);
        }
        if has("multicast_snooping") && !has("multicast_querier") {
            found.note(
                name,
                "it prunes multicast, and asks nobody who wants it: IPv6 neighbours are lost after some minutes",
                format!("sudo ip link set {} type bridge mcast_snooping 0", shell(name)),
            );
        }
    }
}
