//! The exposure of gateways to networks beyond this machine.
//!
//! A gateway's guests are programs of the bench, until a port of its switch leads to a network: then all machines there
//! are guests. A foreign DHCP server would offer them addresses, and they could use the host's own services. So both
//! are off there unless asked for, and the rest is reported.

use super::plan::Config;
use super::port::PortSpec;
use crate::config::{Nat, PortKind};
use crate::error::{Error, Result};

/// The first of these ports that leads to a network.
fn network<'a>(ports: impl IntoIterator<Item = &'a PortSpec>) -> Option<&'a PortSpec> {
    ports.into_iter().find(|port| port.kind.leads_to_a_network())
}

fn nat(port: &PortSpec) -> Option<&Nat> {
    if let PortKind::Nat(nat) = &port.kind { Some(nat) } else { None }
}

impl PortSpec {
    /// The port with defaults settled among `others` of its switch: a gateway does nothing for a network unasked.
    #[must_use]
    pub fn settled<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut settled = self.clone();
        if let PortKind::Nat(nat) = &mut settled.kind
            && network(others).is_some()
        {
            nat.host_loopback.get_or_insert(false);
            if !nat.lan.dhcp_said {
                (nat.lan.dhcp, nat.lan.dhcp_said) = (None, true);
            }
        }
        settled
    }

    /// Checks whether the port may join the running `others`.
    ///
    /// # Errors
    /// It leads to a network, for which a gateway there has services on that nobody asked for.
    pub fn may_join<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Result<()> {
        let unasked = |port: &&Self| nat(port).is_some_and(|nat| nat.host_loopback.is_none() || !nat.lan.dhcp_said);
        match others.into_iter().find(unasked) {
            Some(gateway) if self.kind.leads_to_a_network() => {
                let what = format!(
                    "{} leads to a network, for which {} would be a DHCP server and a way to this host's own services",
                    self.name, gateway.name
                );
                let hint =
                    "start the gateway with host-loopback=off,dhcp=off (or what is meant), and then add the port";
                Err(Error::usage(what).hint(hint))
            }
            _ => Ok(()),
        }
    }
}

impl Config {
    /// The configuration with the defaults of gateways settled; see the module.
    #[must_use]
    pub fn settled(&self) -> Self {
        let ports = self.ports.iter().map(|port| port.settled(self.ports_of(&port.switch)));
        Self { ports: ports.collect(), ..self.clone() }
    }

    /// A line for each exposure to a network by a gateway, and for each service that was turned off.
    pub(super) fn exposures(&self) -> Vec<String> {
        let gateways = self.ports.iter().filter_map(|port| Some((port, nat(port)?)));
        gateways.filter_map(|(port, nat)| Some(told(port, nat, network(self.ports_of(&port.switch))?))).collect()
    }
}

fn told(port: &PortSpec, nat: &Nat, by: &PortSpec) -> String {
    let mut reached = Vec::new();
    if !nat.restrict {
        reached.push("every network that this host reaches".to_owned());
    }
    if nat.host_loopback == Some(true) && !nat.restrict {
        reached.push("this host's own services (host-loopback=on)".to_owned());
    }
    if let Some((first, last)) = nat.lan.dhcp.filter(|_| nat.lan.dhcp_said) {
        reached.push(format!("a DHCP server (dhcp={first}-{last})"));
    }
    if nat.lan.tftp.is_some() {
        reached.push("the files of its tftp folder".to_owned());
    }
    let reached = if reached.is_empty() { "nothing".to_owned() } else { reached.join(", ") };
    let off: Vec<&str> = [(nat.host_loopback.is_none(), "host-loopback"), (!nat.lan.dhcp_said, "dhcp")]
        .into_iter()
        .filter_map(|(unasked, word)| unasked.then_some(word))
        .collect();
    let off = match off[..] {
        [] => String::new(),
        _ => format!("; {} off unless asked for", off.join(" and ") + if off.len() > 1 { " are" } else { " is" }),
    };
    format!("{} leads to a network, whose machines reach by {}: {reached}{off}", by.name, port.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[&str]) -> Config {
        let ports = ports.iter().map(|text| PortSpec::parse(text).unwrap()).collect();
        Config { ports, ..Config::default() }
    }

    fn settled(ports: &[&str]) -> (Option<bool>, bool) {
        let config = config(ports).settled();
        let nat = config.ports.iter().find_map(nat).unwrap();
        (nat.host_loopback, nat.lan.dhcp.is_some())
    }

    #[test]
    fn what_nobody_asked_for_is_off_where_a_network_is_on_the_switch() {
        let nat = "nat:10.0.2.2/24";
        for ports in [
            [nat, "packet:eth0"],
            [nat, "tcp:0.0.0.0:5000,listen,public"],
            [nat, "udp:0.0.0.0:1->192.0.2.1:2,public"],
            [nat, "slip:tcp:0.0.0.0:5000,listen,public"],
        ] {
            assert_eq!(settled(&ports), (Some(false), false), "{}", ports[1]);
        }
        for other in ["tap:z", "unix:/tmp/a", "tcp:127.0.0.1:5000,listen", "packet:eth0,switch=lab"] {
            assert_eq!(settled(&[nat, other]), (None, true), "{other}");
        }
        let asked = "nat:10.0.2.2/24,host-loopback=on,dhcp=.15-.99";
        assert_eq!(settled(&[asked, "packet:eth0"]), (Some(true), true));
        let text = config(&[nat, "packet:eth0"]).settled().ports[0].canonical();
        assert_eq!(text, "nat:10.0.2.2/24,host-loopback=off,dhcp=off", "and shown so");
    }

    #[test]
    fn what_a_network_reaches_is_said() {
        let told = |ports: &[&str]| config(ports).check().unwrap();
        assert_eq!(told(&["nat:10.0.2.2/24", "unix:/tmp/a"]), Vec::<String>::new());
        assert_eq!(
            told(&["nat:10.0.2.2/24", "packet:eth0"]),
            [
                "eth0 leads to a network, whose machines reach by nat: every network that this host reaches; host-loopback \
              and dhcp are off unless asked for"
            ]
        );
        assert_eq!(
            told(&["nat:10.0.2.2/24,host-loopback=on,dhcp=.15-.99", "packet:eth0"]),
            [
                "eth0 leads to a network, whose machines reach by nat: every network that this host reaches, this host's \
              own services (host-loopback=on), a DHCP server (dhcp=10.0.2.15-10.0.2.99)"
            ]
        );
        assert_eq!(
            told(&["nat:10.0.2.2/24,restrict,dhcp=off,host-loopback=off", "packet:eth0"]),
            ["eth0 leads to a network, whose machines reach by nat: nothing"]
        );
    }

    #[test]
    fn a_network_joins_no_gateway_that_does_not_know_of_it() {
        let uplink = PortSpec::parse("packet:eth0").unwrap();
        let gateway = |keys: &str| PortSpec::parse(&format!("nat:10.0.2.2/24{keys}")).unwrap();
        let error = uplink.may_join([&gateway("")]).unwrap_err();
        assert!(error.advice().unwrap().contains("host-loopback=off,dhcp=off"), "{error}");
        assert_eq!(uplink.may_join([&gateway(",host-loopback=off,dhcp=off")]), Ok(()));
        assert_eq!(PortSpec::parse("unix:/tmp/a").unwrap().may_join([&gateway("")]), Ok(()));
    }
}
