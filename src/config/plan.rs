//! Everything that should run: the switches and ports of a file and of the command line, checked against each other.

use super::port::PortSpec;
use super::switch::SwitchSpec;
use super::text::columns;
use crate::error::{Error, Result};

/// The switches and ports that should run.
///
/// A port with a new name is added with [`Config::add_port`]. A second configuration, the command line's, is laid over
/// a first with [`Config::overlay`]: what has the same name replaces, the rest is added.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Config {
    /// Switches with settings of their own, in the order given.
    pub switches: Vec<SwitchSpec>,
    /// Ports, in the order given.
    pub ports: Vec<PortSpec>,
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

    /// Lays `over` over this: a port or switch of the same name is replaced in its place, the others are added.
    pub fn overlay(&mut self, over: Self) {
        for port in over.ports {
            match self.ports.iter_mut().find(|mine| mine.name == port.name) {
                Some(mine) => *mine = port,
                None => self.ports.push(port),
            }
        }
        for switch in over.switches {
            match self.switches.iter_mut().find(|mine| mine.name == switch.name) {
                Some(mine) => *mine = switch,
                None => self.switches.push(switch),
            }
        }
    }

    /// Checks that this can run, and returns what is odd about it, one line each.
    ///
    /// # Errors
    /// A usage error if there is no port, or if two ports want the same name, path, address or interface.
    pub fn check(&self) -> Result<Vec<String>> {
        if self.ports.is_empty() {
            return Err(Error::usage("there is no port to switch between")
                .hint("for example: zbridge --port tap:zeth0 --port unix:/tmp/inst1"));
        }
        for (index, port) in self.ports.iter().enumerate() {
            if let Some(error) = self.ports.iter().take(index).find_map(|other| conflict(other, port)) {
                return Err(error);
            }
        }
        let unused = self.switches.iter().filter(|switch| self.ports_of(&switch.name).next().is_none());
        Ok(unused.map(|switch| format!("switch {}: no port joins it", switch.name)).collect())
    }

    /// The switches that ports join, with their settings, each before the first port that joins it.
    pub fn switches_in_use(&self) -> Vec<SwitchSpec> {
        let mut used: Vec<SwitchSpec> = Vec::new();
        for port in &self.ports {
            if used.iter().all(|switch| switch.name != port.switch) {
                let own = self.switches.iter().find(|switch| switch.name == port.switch);
                used.push(own.cloned().unwrap_or_else(|| SwitchSpec::new(&port.switch)));
            }
        }
        used
    }

    /// The ports that join the switch `name`.
    pub fn ports_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a PortSpec> {
        self.ports.iter().filter(move |port| port.switch == name)
    }

    /// What would run, as `zbridge check` prints it: each switch, and under it its ports in aligned columns.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for switch in self.switches_in_use() {
            let settings = switch.canonical();
            let settings = settings.split_once(',').map_or("", |(_, keys)| keys);
            text.push_str(format!("switch {}  {settings}", switch.name).trim_end());
            text.push('\n');
            text.push_str(&columns("  ", &self.ports_of(&switch.name).map(summary_row).collect::<Vec<_>>()));
        }
        text
    }
}

/// Name, kind, target and the keys that are left.
fn summary_row(port: &PortSpec) -> [String; 4] {
    [port.name.clone(), port.kind.word().to_owned(), port.kind.text().target(), port.settings()]
}

/// Why `port` cannot run beside `other`.
fn conflict(other: &PortSpec, port: &PortSpec) -> Option<Error> {
    if other.name == port.name {
        let hint = "each port needs a name of its own: name=NAME";
        return Some(Error::usage(format!("{port} and {other} are both called {}", port.name)).hint(hint));
    }
    let theirs = other.kind.text().claims();
    let claim = port.kind.text().claims().into_iter().find(|claim| theirs.contains(claim))?;
    Some(Error::usage(format!("ports {} and {} both want {claim}", other.name, port.name)))
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
    fn a_switch_without_ports_is_odd() {
        let warnings = config(&["tap:z,switch=lab"], &["lab", "lba"]).check().unwrap();
        assert_eq!(warnings, ["switch lba: no port joins it"]);
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
