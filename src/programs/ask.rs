//! Readiness checks over the network: a small host in user space, on a port of its own, with an address in the network
//! of the instance, probes it. It needs no rights, and exists only during the check.

use crate::config::{Config, InstanceSpec, Ready};
use crate::engine::{Bridge, run_service};
use crate::error::{Error, Result};
use crate::frame::Batch;
use crate::rights::role::BASE;
use crate::rights::{self, Role};
use crate::service::endpoint::EndpointConfig;
use crate::service::outside::Outside;
use crate::service::prober::{Prober, Question, free_beside};
use crate::service::{Arrived, Service};
use crate::time::Instant;
use crate::wire::{Cidr, Mac};
use std::collections::HashSet;
use std::net::IpAddr;

/// A check: its question, and the address of the host that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    question: Question,
    from: Cidr,
}

/// The check of each instance of a file; `None` for an instance without a check over the network.
///
/// The host that asks takes the address that the instance names. Otherwise it takes one of the same network, taken to
/// be an IPv4 /24 or an IPv6 /64: one that the file does not name, different for each check.
pub fn plan(config: &Config) -> Vec<Option<Asked>> {
    let mut taken = named(config);
    let mut one = |instance: &InstanceSpec| {
        let (question, addr, from) = match instance.ready.as_ref()? {
            Ready::Log(_) => return None,
            Ready::Ping { addr, from } => (Question::Ping(*addr), *addr, *from),
            Ready::Tcp { addr, from } => (Question::Tcp(*addr), addr.ip(), *from),
        };
        let from = from.unwrap_or_else(|| free_beside(addr, |addr| taken.contains(&addr)));
        taken.insert(from.addr);
        Some(Asked { question, from })
    };
    config.instances.iter().map(&mut one).collect()
}

/// Every address that stands in the file, in whatever key or argument.
fn named(config: &Config) -> HashSet<IpAddr> {
    let ports = config.ports.iter().map(ToString::to_string);
    let instances =
        config.instances.iter().flat_map(|it| [it.command_line(), it.settings(false), format!("{:?}", it.network)]);
    let mut found = HashSet::new();
    for text in ports.chain(instances) {
        for word in text.split(|char: char| !(char.is_ascii_hexdigit() || ".:".contains(char))) {
            found.extend(word.parse::<IpAddr>());
            // An IPv4 address with its port, or another one.
            found.extend(word.split(':').filter_map(|host| host.parse::<IpAddr>().ok()));
        }
    }
    found
}

/// It exchanges frames alone.
static ROLE: Role = Role::new("ask", &[BASE]);

/// Begins to ask on `bridge`. When there is an answer, `ready` is called, once. It ends when [`forget`] is called.
///
/// # Errors
/// An address that no host can have; no thread, no room for a port.
pub fn ask(
    bridge: &Bridge,
    instance: &InstanceSpec,
    asked: &Asked,
    number: usize,
    ready: impl FnOnce() + Send + 'static,
) -> Result<()> {
    // The same MAC in each attempt of this process, so that neighbour caches stay valid.
    let [_, _, a, b, c, d, e, f] = (u64::from(std::process::id()) << 16 | number as u64).to_be_bytes();
    let mut config = EndpointConfig::new(Mac([a & 0xfc | 0x02, b, c, d, e, f]), vec![asked.from]);
    config.seed = number as u64;
    let prober = Prober::new(&config, asked.question.clone())?;
    let link = bridge.add_channel(&instance.switch, &port_name(instance))?;
    let mut asking = Asking { prober, ready: Some(ready) };
    let started = rights::spawn("zb-ask", &ROLE, move || run_service(&link, &mut asking));
    started.map(drop).map_err(|error| Error::system("cannot start a thread", &error))
}

/// Ends a check.
pub fn forget(bridge: &Bridge, instance: &InstanceSpec) {
    // Without a check there is no port.
    let _ = bridge.switch(&instance.switch).and_then(|switch| switch.remove_port(&port_name(instance)));
}

fn port_name(instance: &InstanceSpec) -> String {
    format!("{}#ready", instance.name)
}

/// A prober that reports its answer.
struct Asking<F> {
    prober: Prober,
    ready: Option<F>,
}

impl<F: FnOnce()> Asking<F> {
    fn look(&mut self) {
        if self.prober.is_answered()
            && let Some(ready) = self.ready.take()
        {
            ready();
        }
    }
}

impl<F: FnOnce()> Service for Asking<F> {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, outside: &mut dyn Outside) {
        self.prober.handle_frame(now, arrived, outside);
        self.look();
    }

    fn poll_transmit(&mut self, now: Instant, outside: &mut dyn Outside, out: &mut Batch) -> bool {
        let more = self.prober.poll_transmit(now, outside, out);
        self.look();
        more
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.prober.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside) {
        self.prober.handle_timeout(now, outside);
        self.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_who_asks_has_an_address_that_nobody_has() {
        let text = r#"
            port = ["tap:zeth0,addr=192.0.2.253/24,addr=2001:db8::feed:ffff/64"]
            [[instance]]
            name = "a"
            command = "zephyr.exe --ipv4-addr=192.0.2.252 --dns=192.0.2.251:53"
            tap = "zeth"
            ready = "ping 192.0.2.1"
            [[instance]]
            name = "b"
            command = "x"
            host = "192.0.2.250/24"
            gateway = "192.0.2.249"
            ready = "tcp 192.0.2.2:80"
            [[instance]]
            name = "c"
            command = "x"
            ready = "tcp [2001:db8::1]:80"
            [[instance]]
            name = "d"
            command = "x"
            ready = "ping 192.0.2.1 from 192.0.2.77/28"
            [[instance]]
            name = "e"
            command = "x"
            ready = "log up"
        "#;
        let config = Config::parse(text, "x").unwrap();
        let from = |asked: Option<Asked>| asked.map(|asked| asked.from.to_string());
        let from: Vec<Option<String>> = plan(&config).into_iter().map(from).collect();
        let some = |text: &str| Some(text.to_owned());
        let expected = ["192.0.2.248/24", "192.0.2.247/24", "2001:db8::feed:fffe/64", "192.0.2.77/28"];
        assert_eq!(from[..4], expected.map(some));
        assert_eq!(from[4], None);
    }

    #[test]
    fn an_instance_is_found_ready_on_a_running_switch() {
        let text = "port = [\"usbip:192.0.2.1/24,device=loopback,name=server\"]\n[[instance]]\nname = \"a\"\ncommand = \"x\"\n\
                    ready = \"tcp 192.0.2.1:3240\"\n[[instance]]\nname = \"b\"\ncommand = \"x\"\nready = \"ping 192.0.2.1\"\n";
        let config = Config::parse(text, "x").unwrap();
        let bridge = Bridge::start(&config).unwrap();
        let (told, answers) = crossbeam_channel::unbounded();
        for (index, asked) in plan(&config).iter().enumerate() {
            let told = told.clone();
            ask(&bridge, &config.instances[index], asked.as_ref().unwrap(), index, move || told.send(index).unwrap())
                .unwrap();
        }
        let answer = || answers.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        let mut both = [answer(), answer()];
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
        config.instances.iter().for_each(|instance| forget(&bridge, instance));
        let left: Vec<String> = bridge.status().unwrap().remove(0).ports.into_iter().map(|port| port.name).collect();
        assert_eq!(left, ["server"]);
        bridge.stop().unwrap();
    }
}
