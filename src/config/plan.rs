//! A whole configuration: the switches, ports and instances of a file and of the command line, checked against each
//! other.

use std::collections::HashSet;
use std::path::Path;

use super::difference::Source;
use super::instance::InstanceSpec;
use super::metrics::MetricsAt;
use super::order::order;
use super::port::PortSpec;
use super::scenario::ScenarioSpec;
use super::switch::{Medium, SwitchSpec};
use super::text::columns;
use crate::error::{Error, Result};
use crate::limits::INSTANCES_MAX;
use crate::switch::{Links, RadioConfig};

/// The switches and ports that should run.
///
/// A port with a new name is added with [`Config::add_port`]. A second configuration, the command line's, is laid over
/// a first with [`Config::overlay`]: items of the same name are replaced, the others added.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Switches with settings of their own, in the order given.
    pub switches: Vec<SwitchSpec>,
    /// Ports, in the order given.
    pub ports: Vec<PortSpec>,
    /// Programs of a bench, in the order given.
    pub instances: Vec<InstanceSpec>,
    /// What is played on it, in the order given.
    pub scenarios: Vec<ScenarioSpec>,
    /// Where its figures are told to programs that watch it.
    pub metrics: Option<MetricsAt>,
    /// The file that it is from, for who may read that again.
    pub source: Option<Box<Source>>,
}

impl Config {
    /// Adds a port.
    ///
    /// # Errors
    /// A usage error if another port has its name, its path, its address or its interface.
    pub fn add_port(&mut self, port: PortSpec) -> Result<()> {
        match self.ports.iter().find_map(|other| conflict(other, &port)) {
            Some(error) => Err(error),
            None => {
                self.ports.push(port);
                Ok(())
            }
        }
    }

    /// Adds a switch.
    ///
    /// # Errors
    /// A usage error if another switch has its name.
    pub fn add_switch(&mut self, switch: SwitchSpec) -> Result<()> {
        if self.switches.iter().any(|other| other.name == switch.name) {
            return Err(Error::usage(format!("switch {} is given twice", switch.name)));
        }
        self.switches.push(switch);
        Ok(())
    }

    /// Adds an instance. Its dependencies are left to [`Config::check`].
    ///
    /// # Errors
    /// A usage error if another instance or a port has its name.
    pub fn add_instance(&mut self, instance: InstanceSpec) -> Result<()> {
        let taken = self.instances.iter().any(|other| other.name == instance.name);
        if taken {
            return Err(Error::usage(format!("instance {} is given twice", instance.name)));
        }
        if self.instances.len() >= INSTANCES_MAX {
            return Err(Error::usage(format!("a bench has at most {INSTANCES_MAX} instances")));
        }
        self.instances.push(instance);
        Ok(())
    }

    /// Adds a scenario.
    ///
    /// # Errors
    /// A usage error if another one has its name.
    pub fn add_scenario(&mut self, scenario: ScenarioSpec) -> Result<()> {
        if self.scenarios.iter().any(|other| other.name == scenario.name) {
            return Err(Error::usage(format!("scenario {:?} is given twice", scenario.name)));
        }
        self.scenarios.push(scenario);
        Ok(())
    }

    /// Lays `over` over this: a port or switch of the same name is replaced in its place, the others are added.
    pub fn overlay(&mut self, over: Self) {
        self.metrics = over.metrics.or(self.metrics.take());
        for port in over.ports {
            match self.ports.iter_mut().find(|mine| mine.name == port.name) {
                Some(mine) => *mine = port,
                None => self.ports.push(port),
            }
        }
        for instance in over.instances {
            match self.instances.iter_mut().find(|mine| mine.name == instance.name) {
                Some(mine) => *mine = instance,
                None => self.instances.push(instance),
            }
        }
        for scenario in over.scenarios {
            match self.scenarios.iter_mut().find(|mine| mine.name == scenario.name) {
                Some(mine) => *mine = scenario,
                None => self.scenarios.push(scenario),
            }
        }
        for switch in over.switches {
            match self.switches.iter_mut().find(|mine| mine.name == switch.name) {
                Some(mine) => *mine = switch,
                None => self.switches.push(switch),
            }
        }
    }

    /// Checks that this can run, and returns warnings, one line each.
    ///
    /// # Errors
    /// A usage error if there is no port, or if two ports want the same name, path, address or interface.
    pub fn check(&self) -> Result<Vec<String>> {
        if self.ports.is_empty() && self.instances.is_empty() {
            return Err(Error::usage("there is no port to switch between")
                .hint("for example: zbridge --port tap:zeth0 --port unix:/tmp/inst1"));
        }
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(error) = self.ports.iter().take(index).find_map(|other| conflict(other, port)) {
                return Err(error);
            }
        }
        self.check_instances()?;
        let mut odd = Vec::new();
        for switch in self.switches_in_use() {
            if let Some(radio) = self.radio_of(&switch)? {
                if let Some(instance) = self.instances.iter().find(|it| it.switches().contains(&switch.name.as_str())) {
                    let what =
                        format!("instance {} cannot join switch {}, which is 802.15.4", instance.name, switch.name);
                    return Err(Error::usage(what).hint("give its serial line to a wpan port; it needs no tap then"));
                }
                odd.extend(self.strangers(&switch.name, &radio.links));
            }
        }
        let used = self.switches_in_use();
        let unused = self.switches.iter().filter(|switch| used.iter().all(|other| other.name != switch.name));
        odd.extend(unused.map(|switch| format!("switch {}: no port joins it", switch.name)));
        odd.extend(self.exposures());
        odd.extend(self.metrics.as_ref().filter(|at| at.is_open()).map(|at| {
            format!("metrics at {at}: names and figures of the bench are told to a network, without a password")
        }));
        odd.extend(self.doubles());
        odd.extend(self.unserved());
        odd.extend(self.unmirrored());
        Ok(odd)
    }

    /// Mirrors of ports that are not on the switch; they may be added.
    fn unmirrored(&self) -> Vec<String> {
        let instances = self.instances.iter().flat_map(InstanceSpec::ports);
        let instances: HashSet<&str> = instances.collect();
        let mut odd = Vec::new();
        for port in &self.ports {
            let known = |name: &str| {
                let listener = name.split_once('#').map_or(name, |(listener, _)| listener);
                instances.contains(listener) || self.ports_of(&port.switch).any(|other| other.name == listener)
            };
            let unknown = port.mirrors.iter().filter(|mirror| !known(&mirror.port));
            odd.extend(unknown.map(|mirror| {
                format!("{}: mirror={mirror}: no port of switch {} is called so yet", port.name, port.switch)
            }));
        }
        odd
    }

    /// Checks the instances' names against the ports', and their dependencies.
    fn check_instances(&self) -> Result<()> {
        let mut taken: HashSet<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
        for instance in &self.instances {
            for port in instance.ports() {
                if !taken.insert(port) {
                    let what = format!("instance {}: another port is called {port}", instance.name);
                    return Err(Error::usage(what).hint("each port needs a name of its own: name=NAME"));
                }
            }
        }
        let wrong = order(&self.instances).err().and_then(|wrong| wrong.into_iter().next());
        wrong.map_or(Ok(()), |(_, fault)| Err(fault.into()))
    }

    /// The settings of a switch in use that is a radio medium, with its file of links read; `None`: it is Ethernet.
    ///
    /// # Errors
    /// Ports that cannot be on one medium, settings that mean nothing on Ethernet, a file of links that cannot be read.
    pub fn radio_of(&self, switch: &SwitchSpec) -> Result<Option<RadioConfig>> {
        let wpan = self.ports_of(&switch.name).find(|port| port.kind.is_radio());
        let medium = switch.medium.unwrap_or(if wpan.is_some() { Medium::Radio } else { Medium::Ethernet });
        let (is_radio, name) = (medium == Medium::Radio, &switch.name);
        if let Some(port) = self.ports_of(name).find(|port| port.kind.is_radio() != is_radio) {
            return Err(misplaced(port, is_radio));
        }
        if !is_radio {
            return radio_only(switch).map_or(Ok(None), Err);
        }
        let links = switch.links.as_deref().map_or(Ok(Links::AllToAll), read_links)?;
        Ok(Some(RadioConfig { links, seed: switch.seed, collisions: switch.collisions }))
    }

    /// Warnings about the names in a file of links.
    fn strangers(&self, switch: &str, links: &Links) -> Vec<String> {
        if links.names().is_empty() {
            return Vec::new();
        }
        let unknown = self.ports_of(switch).filter(|port| !links.names().contains(&port.name));
        let unknown =
            unknown.map(|port| format!("{}: not in the links of switch {switch}; it hears nobody", port.name));
        let unused = links.names().iter().filter(|name| self.ports_of(switch).all(|port| port.name != **name));
        unknown.chain(unused.map(|name| format!("switch {switch}: no port is the node {name} of its links"))).collect()
    }

    /// The switches that ports and instances join, with their settings, each before the first that joins it.
    pub fn switches_in_use(&self) -> Vec<SwitchSpec> {
        let mut used: Vec<SwitchSpec> = Vec::new();
        let joined = self.ports.iter().map(|port| port.switch.as_str());
        for name in joined.chain(self.instances.iter().flat_map(InstanceSpec::switches)) {
            if used.iter().all(|switch| switch.name != name) {
                let own = self.switches.iter().find(|switch| switch.name == name);
                used.push(own.cloned().unwrap_or_else(|| SwitchSpec::new(name)));
            }
        }
        used
    }

    /// The ports that join the switch `name`.
    pub fn ports_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a PortSpec> {
        self.ports.iter().filter(move |port| port.switch == name)
    }

    /// What would run, as `zbridge check` prints it: each switch, and under it its ports in aligned columns; and the
    /// instances, each with its command and below that its settings, with its switches where there are several.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for switch in self.switches_in_use() {
            let settings = switch.canonical();
            let settings = settings.split_once(',').map_or("", |(_, keys)| keys);
            text.push_str(format!("switch {}  {settings}", switch.name).trim_end());
            text.push('\n');
            text.push_str(&columns("  ", &self.ports_of(&switch.name).map(summary_row).collect::<Vec<_>>()));
        }
        if !self.instances.is_empty() {
            text.push_str("instances\n");
            let several = self.switches_in_use().len() > 1;
            let rows = self.instances.iter().flat_map(|instance| {
                let settings = Some(instance.settings(several)).filter(|settings| !settings.is_empty());
                let first = [instance.name.clone(), instance.command_line()];
                std::iter::once(first).chain(settings.map(|settings| [String::new(), settings]))
            });
            text.push_str(&columns("  ", &rows.collect::<Vec<_>>()));
        }
        text
    }
}

/// Why a switch that is Ethernet cannot have its settings; it has one that means something on a radio medium only.
fn radio_only(switch: &SwitchSpec) -> Option<Error> {
    let given = [("links", switch.links.is_some()), ("collisions", switch.collisions)];
    let (key, _) = given.into_iter().find(|(_, given)| *given)?;
    let error = Error::usage(format!("switch {}: {key} means nothing on Ethernet", switch.name));
    Some(error.hint("it is for switches with wpan ports, and with medium=802.15.4"))
}

/// Why `port` cannot join a switch that is a radio medium, or one that is not.
pub fn misplaced(port: &PortSpec, is_radio: bool) -> Error {
    let (what, medium) = if is_radio { ("is no wpan port", "802.15.4") } else { ("is a wpan port", "Ethernet") };
    Error::usage(format!("{} {what} and cannot join switch {}, which is {medium}", port.name, port.switch))
        .hint("a radio medium is a switch of its own: give all wpan ports switch=radio, and only them")
}

fn read_links(path: &Path) -> Result<Links> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::system(path.display(), &cause))?;
    Links::parse(&text).map_err(|bad| Error::usage(bad.what).at(format_args!("{}:{}", path.display(), bad.line)))
}

/// Why `port` cannot run beside `other` as they would be the same host of one switch.
pub fn same_host(other: &PortSpec, port: &PortSpec) -> Option<Error> {
    let theirs = if other.switch == port.switch { other.kind.hosts() } else { Vec::new() };
    let addr = port.kind.hosts().into_iter().find(|addr| theirs.contains(addr))?;
    let who = match other.name == port.name {
        true => format!("{other} and {port}"),
        false => format!("ports {} and {}", other.name, port.name),
    };
    let what = format!("{who} both are the host {addr} of switch {}", port.switch);
    Some(Error::usage(what).hint("give one of them another address, or another switch: switch=NAME"))
}

/// Name, kind, target and the keys that are left.
fn summary_row(port: &PortSpec) -> [String; 4] {
    [port.name.clone(), port.kind.word().to_owned(), port.kind.text().target(), port.settings()]
}

/// Why `port` cannot run beside `other`.
fn conflict(other: &PortSpec, port: &PortSpec) -> Option<Error> {
    if let Some(error) = same_host(other, port) {
        return Some(error);
    }
    // First, as another name would not help against this clash.
    same_claim(other, port, |_| true).or_else(|| {
        let error = || Error::usage(format!("{port} and {other} are both called {}", port.name));
        (other.name == port.name).then(|| error().hint("each port needs a name of its own: name=NAME"))
    })
}

/// Why `port` cannot be added to a bridge that runs `other`: both want one path. Other resources the system lets them
/// share, or its error names the owner.
pub fn same_path(other: &PortSpec, port: &PortSpec) -> Option<Error> {
    same_claim(other, port, |claim| claim.starts_with("path "))
}

/// Why `port` cannot run beside `other`, as both want an exclusive resource of the machine: a path, an interface.
fn same_claim(other: &PortSpec, port: &PortSpec, counts: fn(&str) -> bool) -> Option<Error> {
    let theirs = other.kind.text().claims();
    let claim = port.kind.text().claims().into_iter().find(|claim| counts(claim) && theirs.contains(claim))?;
    Some(Error::usage(match other.name == port.name {
        true => format!("{other} and {port} both want {claim}"),
        false => format!("ports {} and {} both want {claim}", other.name, port.name),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[&str], switches: &[&str]) -> Config {
        let mut config = Config::default();
        for text in ports {
            config.ports.push(PortSpec::parse(text).unwrap());
        }
        for text in switches {
            config.switches.push(SwitchSpec::parse(text).unwrap());
        }
        config
    }

    #[test]
    fn nothing_to_run_is_an_error_with_an_example() {
        let error = Config::default().check().unwrap_err();
        assert!(error.advice().unwrap().contains("--port tap:zeth0"), "{error}");
    }

    #[test]
    fn two_ports_want_nothing_in_common() {
        for (one, other, want) in [
            ("unix:/a/sock", "unix:/b/sock", "are both called sock"),
            ("unix:/tmp/a", "unixgram:/tmp//a,name=b", "ports a and b both want path /tmp/a"),
            ("tap:z", "packet:z,name=b", "both want interface z"),
            ("unix:/tmp/a", "unix:/tmp/a", "unix:/tmp/a and unix:/tmp/a both want path /tmp/a"),
            ("tap:y,fd=5", "tap:z,fd=5", "both want descriptor 5"),
            ("tcp:[::1]:1,listen", "tcp:[0::1]:1,listen,name=b", "both want TCP address [::1]:1"),
        ] {
            let error = config(&[one, other], &[]).check().unwrap_err();
            assert!(error.what().contains(want), "{error}");
            let mut grown = config(&[one], &[]);
            assert_eq!(grown.add_port(PortSpec::parse(other).unwrap()), Err(error));
        }
        assert_eq!(config(&["unix:/tmp/a", "unix:/tmp/a,connect,name=b"], &[]).check(), Ok(Vec::new()));
    }

    #[test]
    fn two_services_of_a_switch_have_addresses_of_their_own() {
        for other in ["nat:10.0.2.2/24,name=b", "usbip:10.0.2.2/16,device=cdc-acm,name=b"] {
            let error = config(&["nat:10.0.2.2/24"], &[]).add_port(PortSpec::parse(other).unwrap()).unwrap_err();
            assert_eq!(error.what(), "ports nat and b both are the host 10.0.2.2 of switch default");
            assert!(error.advice().unwrap().contains("another address"), "{error}");
            let apart = format!("{other},switch=lab");
            assert!(config(&["nat:10.0.2.2/24", &apart], &[]).check().is_ok());
        }
    }

    #[test]
    fn a_switch_without_ports_is_odd() {
        let warnings = config(&["tap:z,switch=lab"], &["lab", "lba"]).check().unwrap();
        assert_eq!(warnings, ["switch lba: no port joins it"]);
    }

    #[test]
    fn a_radio_medium_is_for_wpan_ports_alone() {
        let is_radio = |config: &Config| config.radio_of(&config.switches_in_use()[0]).map(|radio| radio.is_some());
        assert_eq!(is_radio(&config(&["wpan:pipe:/tmp/a", "wpan:unix:/tmp/b"], &[])), Ok(true));
        assert_eq!(is_radio(&config(&["tap:z"], &["default,medium=ethernet"])), Ok(false));
        let mixed = config(&["wpan:pipe:/tmp/a", "tap:z"], &[]).check().unwrap_err();
        assert_eq!(mixed.what(), "z is no wpan port and cannot join switch default, which is 802.15.4");
        assert!(mixed.advice().unwrap().contains("switch=radio"));
        let wired = config(&["wpan:pipe:/tmp/a"], &["default,medium=ethernet"]).check().unwrap_err();
        assert_eq!(wired.what(), "a is a wpan port and cannot join switch default, which is Ethernet");
        assert!(config(&["tap:z"], &["default,medium=802.15.4"]).check().is_err());
        let radio_only = |key: &str| config(&["tap:z"], &[&format!("default,{key}")]).check().unwrap_err();
        assert_eq!(radio_only("collisions").what(), "switch default: collisions means nothing on Ethernet");
    }

    #[test]
    fn links_are_read_and_their_names_compared() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lab.topo");
        let check = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let switch = format!("default,links={},seed=7,collisions", file.display());
            config(&["wpan:pipe:/tmp/a", "wpan:pipe:/tmp/b"], &[&switch]).check()
        };
        assert_eq!(check("0,1\n1,0\n"), Ok(Vec::new()));
        let odd = [
            "b: not in the links of switch default; it hears nobody",
            "switch default: no port is the node c of its links",
        ];
        assert_eq!(check("a c 0.5\n").unwrap(), odd);
        assert!(check("a b\na b 1.5\n").unwrap_err().what().contains("lab.topo:2: \"1.5\": expected a probability"));
        let missing = config(&["wpan:pipe:/tmp/a"], &["default,links=/nowhere/x"]).check().unwrap_err();
        assert_eq!(missing.class(), crate::error::Class::NoObject);
    }

    #[test]
    fn the_same_name_replaces() {
        let mut file = config(&["tap:z", "unix:/tmp/a"], &["lab,ageing=20s"]);
        file.overlay(config(&["unix:/tmp/b,name=z", "tap:y"], &["lab", "other"]));
        assert_eq!(file, config(&["unix:/tmp/b,name=z", "unix:/tmp/a", "tap:y"], &["lab", "other"]));
    }

    #[test]
    fn switches_are_in_use_in_the_order_of_their_ports() {
        let config = config(&["tap:z,switch=lab", "tap:y", "tap:x,switch=lab"], &["unused", "lab,fdb-limit=16"]);
        let lab = SwitchSpec::parse("lab,fdb-limit=16").unwrap();
        assert_eq!(config.switches_in_use(), [lab, SwitchSpec::new("default")]);
        assert_eq!(config.ports_of("lab").count(), 2);
    }

    #[test]
    fn the_summary_is_aligned() {
        let ports = ["tap:zeth0,addr=192.0.2.2/24,mtu=9000", "unix:/tmp/inst1,name=a", "tap:z,switch=lab"];
        let config = config(&ports, &["default,ageing=20s"]);
        assert_eq!(
            config.summary(),
            "switch default  ageing=20s\n  zeth0  tap   zeth0       addr=192.0.2.2/24,mtu=9000\n  \
             a      unix  /tmp/inst1\nswitch lab\n  z  tap  z\n"
        );
    }
}
