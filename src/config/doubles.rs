//! Warnings about conflicts that do not keep a configuration from running: duplicate IP addresses, several DHCP
//! servers, DHCP clients without a server. Such networks work by chance.

use super::instance::{InstanceSpec, Network};
use super::kind::PortKind;
use super::plan::Config;
use super::port::PortSpec;
use std::net::IpAddr;

/// The holder of an address: a name, its switch, and whether this machine has the address itself.
struct Holder<'a> {
    name: &'a str,
    switch: &'a str,
    is_machine: bool,
}

impl Config {
    /// The duplicates, a line for each.
    pub(super) fn doubles(&self) -> Vec<String> {
        let mut odd = self.servers();
        let mut held: Vec<(IpAddr, Holder<'_>)> = Vec::new();
        for (addr, holder) in self.addresses() {
            // Addresses of one machine clash on whichever switches they are.
            let clash = |other: &Holder<'_>| other.switch == holder.switch || other.is_machine && holder.is_machine;
            if let Some((_, other)) = held.iter().find(|(theirs, other)| *theirs == addr && clash(other)) {
                odd.push(format!("{} and {} both have the address {addr}", other.name, holder.name));
            }
            held.push((addr, holder));
        }
        odd
    }

    /// Switches with several DHCP servers.
    fn servers(&self) -> Vec<String> {
        let settled = self.settled();
        let serves = |port: &&PortSpec| matches!(&port.kind, PortKind::Nat(nat) if nat.lan.dhcp.is_some());
        let told = |name: &str| {
            let servers: Vec<&str> = settled.ports_of(name).filter(serves).map(|port| port.name.as_str()).collect();
            let what = format!("{} of switch {name} each give out addresses by DHCP", servers.join(" and "));
            (servers.len() > 1).then(|| format!("{what}: a guest takes those of whichever answers first; dhcp=off"))
        };
        self.switches_in_use().iter().filter_map(|switch| told(&switch.name)).collect()
    }

    /// Programs that need DHCP where no server is configured. Another program may be one.
    pub(super) fn unserved(&self) -> Vec<String> {
        let asks = |instance: &&InstanceSpec| matches!(&instance.network, Network::Interfaces { host: Some((host, _)), .. } if host.dhcp);
        let may_serve = |other: &InstanceSpec| match &other.network {
            Network::Own => false,
            Network::Interfaces { taps, tuns, host } => {
                !taps.is_empty() || !tuns.is_empty() || host.as_ref().is_some_and(|(host, _)| !host.dhcp)
            }
            Network::Qemu { .. } => true,
        };
        let is_served = |switch: &str| {
            self.ports_of(switch).any(PortSpec::may_lease)
                || self.instances.iter().any(|other| other.switches().contains(&switch) && may_serve(other))
        };
        let unserved = self.instances.iter().filter(asks).filter(|instance| !is_served(&instance.switch));
        let told = |instance: &InstanceSpec| {
            format!(
                "instance {} asks for an address by DHCP, and nobody on switch {} gives one: a port nat:10.0.2.2/24 does",
                instance.name, instance.switch
            )
        };
        unserved.map(told).collect()
    }

    /// The addresses that are given to interfaces of this machine and of programs. Two services of a switch with one
    /// address are an error before.
    fn addresses(&self) -> impl Iterator<Item = (IpAddr, Holder<'_>)> {
        let ports = self.ports.iter().flat_map(|port| {
            let holder = |is_machine| Holder { name: &port.name, switch: &port.switch, is_machine };
            let taps = if let PortKind::Tap(tap) = &port.kind { tap.addrs.as_slice() } else { &[] };
            let services = port.kind.hosts().into_iter().map(move |addr| (addr, holder(false)));
            taps.iter().map(move |cidr| (cidr.addr, holder(true))).chain(services)
        });
        let instances = self.instances.iter().flat_map(|instance| {
            let addrs = match &instance.network {
                Network::Interfaces { host: Some((host, _)), .. } => host.addrs.as_slice(),
                Network::Own | Network::Interfaces { host: None, .. } | Network::Qemu { .. } => &[],
            };
            let holder = || Holder { name: &instance.name, switch: &instance.switch, is_machine: false };
            addrs.iter().map(move |cidr| (cidr.addr, holder()))
        });
        ports.chain(instances)
    }
}

impl PortSpec {
    /// Whether there may be a DHCP server behind it.
    pub fn may_lease(&self) -> bool {
        match &self.kind {
            PortKind::Nat(nat) => nat.lan.dhcp.is_some() || !nat.lan.hosts.is_empty(),
            PortKind::Usbip(_) | PortKind::Wpan(_) => false,
            PortKind::Unix(_) | PortKind::UnixGram(_) => true,
            PortKind::Tcp(_) | PortKind::Udp(_) | PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Slip(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(ports: &[&str], hosts: &[&str]) -> Vec<String> {
        let ports: Vec<String> = ports.iter().map(|port| format!("{port:?}")).collect();
        let table = |(number, host): (usize, &&str)| {
            format!("[[instance]]\nname = \"i{number}\"\ncommand = \"x\"\nhost = \"{host}\"\n")
        };
        let tables: String = hosts.iter().enumerate().map(table).collect();
        let config = Config::parse(&format!("port = [{}]\n{tables}", ports.join(", ")), "x").unwrap();
        config.check().unwrap()
    }

    #[test]
    fn an_address_is_ones_alone() {
        let both = |one: &str, other: &str| vec![format!("{one} and {other} both have the address 192.0.2.2")];
        assert_eq!(odd(&["tap:a,addr=192.0.2.2/24", "tap:b,addr=192.0.2.2/24"], &[]), both("a", "b"));
        let machine = ["tap:a,addr=192.0.2.2/24", "tap:b,addr=192.0.2.2/24,switch=lab"];
        assert_eq!(odd(&machine, &[]), both("a", "b"), "one machine has both, whichever switches they are on");
        assert_eq!(odd(&["tap:a,addr=192.0.2.2/24"], &["192.0.2.2/24"]), both("a", "i0"));
        assert_eq!(odd(&["unix:/tmp/x"], &["192.0.2.2/24", "192.0.2.2/24"]), both("i0", "i1"));
        assert_eq!(odd(&["usbip:192.0.2.2/24,device=loopback", "tap:a,addr=192.0.2.2/24"], &[]), both("usbip", "a"));
        let apart = ["usbip:192.0.2.2/24,device=loopback", "tap:a,addr=192.0.2.2/24,switch=lab"];
        assert_eq!(odd(&apart, &["192.0.2.3/24"]), [""; 0]);
    }

    #[test]
    fn who_asks_for_an_address_can_get_one() {
        let none = |name: &str| {
            format!(
                "instance {name} asks for an address by DHCP, and nobody on switch default gives one: a port \
                 nat:10.0.2.2/24 does"
            )
        };
        assert_eq!(odd(&[], &["dhcp", "dhcp"]), [none("i0"), none("i1")]);
        assert_eq!(odd(&["usbip:192.0.2.1/24,device=loopback"], &["dhcp"]), [none("i0")]);
        assert_eq!(odd(&["nat:10.0.2.2/24,switch=lab"], &["dhcp"]), [none("i0")]);
        for port in ["nat:10.0.2.2/24", "unix:/tmp/a", "tap:z"] {
            assert_eq!(odd(&[port], &["dhcp"]), [""; 0], "{port}");
        }
        assert_eq!(odd(&[], &["dhcp", "192.0.2.1/24"]), [""; 0], "dnsmasq may run there");
    }

    #[test]
    fn a_switch_has_one_server_of_addresses() {
        let two = ["nat:10.0.2.2/24", "nat:10.0.3.2/24,name=other"];
        let what = "nat and other of switch default each give out addresses by DHCP: a guest takes those of whichever \
                    answers first; dhcp=off";
        assert_eq!(odd(&two, &[]), [what]);
        assert_eq!(odd(&["nat:10.0.2.2/24", "nat:10.0.3.2/24,name=other,dhcp=off"], &[]), [""; 0]);
        assert_eq!(odd(&["nat:10.0.2.2/24", "nat:10.0.3.2/24,name=other,switch=lab"], &[]), [""; 0]);
    }
}
