//! What a changed configuration file comes to: the ports that go, come and change, between two configurations.

use super::kind::{Forward, PortKind};
use super::plan::Config;
use super::port::PortSpec;
use super::setting::Setting;
use std::path::PathBuf;

/// Where a configuration is from, so that it can be read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// What the command line lays over it.
    pub over: Config,
}

/// A step from one configuration to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A port goes.
    Remove(Box<PortSpec>),
    /// A port comes.
    Add(Box<PortSpec>),
    /// A port goes, and comes as the second one: what has changed of it cannot change while it is there.
    Replace(Box<PortSpec>, Box<PortSpec>),
    /// A port changes while frames pass. Forwards of a gateway end, and begin.
    Change {
        /// As it shall be.
        port: Box<PortSpec>,
        /// Its settings that change.
        settings: Vec<Setting>,
        /// Forwards that end.
        ended: Vec<Forward>,
        /// Forwards that begin.
        begun: Vec<Forward>,
    },
}

/// The steps from the ports of `before` to those of `after`. Ports that are the same are in none.
pub fn difference(before: &Config, after: &Config) -> Vec<Step> {
    let find = |config: &'_ Config, name: &str| config.ports.iter().position(|port| port.name == name);
    let gone =
        before.ports.iter().filter(|port| find(after, &port.name).is_none()).cloned().map(Box::new).map(Step::Remove);
    let mut steps: Vec<Step> = gone.collect();
    for port in &after.ports {
        match find(before, &port.name).and_then(|index| before.ports.get(index)) {
            None => steps.push(Step::Add(Box::new(port.clone()))),
            Some(old) if old == port => {}
            Some(old) => steps.push(change(old, port)),
        }
    }
    steps
}

/// The step from a port to one of the same name.
fn change(old: &PortSpec, new: &PortSpec) -> Step {
    let mut settings = Vec::new();
    let mut say = |differs: bool, setting: Setting| settings.extend(differs.then_some(setting));
    say(old.learn != new.learn, Setting::Learn(new.learn));
    // A service's and a bare IP port's hosts were told theirs.
    let tells = new.kind.is_service() || new.kind.tells_mtu();
    say(old.mtu != new.mtu && !tells, Setting::Mtu(new.mtu));
    say(old.queue != new.queue, Setting::Queue(new.queue));
    say(old.isolate != new.isolate, Setting::Isolate(new.isolate));
    say(old.guard != new.guard, Setting::Guard(new.guard));
    say(old.statics != new.statics, Setting::Statics(new.statics.clone()));
    say(old.mirrors != new.mirrors, Setting::Mirrors(new.mirrors.clone()));
    let mut reached = old.clone();
    settings.iter().for_each(|setting| setting.enter(&mut reached));
    let (mut ended, mut begun) = (Vec::new(), Vec::new());
    if let (PortKind::Nat(reached), PortKind::Nat(new)) = (&mut reached.kind, &new.kind)
        && reached.public == new.public
    {
        ended.extend(reached.forwards.iter().filter(|forward| !new.forwards.contains(forward)).copied());
        begun.extend(new.forwards.iter().filter(|forward| !reached.forwards.contains(forward)).copied());
        reached.forwards.clone_from(&new.forwards);
    }
    if reached == *new {
        Step::Change { port: Box::new(new.clone()), settings, ended, begun }
    } else {
        Step::Replace(Box::new(old.clone()), Box::new(new.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[&str]) -> Config {
        let ports = ports.iter().map(|text| PortSpec::parse(text).unwrap()).collect();
        Config { ports, ..Config::default() }
    }

    fn steps(before: &[&str], after: &[&str]) -> Vec<String> {
        let word = |step: Step| match step {
            Step::Remove(port) => format!("- {}", port.name),
            Step::Add(port) => format!("+ {}", port.name),
            Step::Replace(_, port) => format!("! {}", port.name),
            Step::Change { port, settings, ended, begun } => {
                format!("~ {} {} -{} +{}", port.name, settings.len(), ended.len(), begun.len())
            }
        };
        difference(&config(before), &config(after)).into_iter().map(word).collect()
    }

    #[test]
    fn only_what_differs_is_a_step() {
        let before = ["unix:/tmp/a", "unix:/tmp/b", "nat:10.0.2.2/24,forward=tcp:127.0.0.1:1->10.0.2.15:1"];
        assert_eq!(steps(&before, &before), [""; 0]);
        // The order of a file is of no matter.
        assert_eq!(steps(&before, &[before[2], before[0], before[1]]), [""; 0]);
        assert_eq!(steps(&before, &[before[0], before[2], "unix:/tmp/c"]), ["- b", "+ c"]);
        let after = ["unix:/tmp/a,mtu=1400,isolate", "unix:/tmp/x,name=b", "nat:10.0.2.2/24,isolate"];
        assert_eq!(steps(&before, &after), ["~ a 2 -0 +0", "! b", "~ nat 1 -1 +0"]);
        let after = [before[0], before[1], "nat:10.0.2.2/24,forward=tcp:127.0.0.1:2->10.0.2.15:1"];
        assert_eq!(steps(&before, &after), ["~ nat 0 -1 +1"]);
        assert_eq!(steps(&before[2..], &["nat:10.0.2.2/24,mtu=1400"]), ["! nat"]);
        // What a bad line does is drawn from its beginning.
        assert_eq!(steps(&["unix:/tmp/a"], &["unix:/tmp/a,tx.loss=1%"]), ["! a"]);
    }
}
