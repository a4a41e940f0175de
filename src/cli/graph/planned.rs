//! The picture of a bench that does not run: what its file says.

use super::model::{Mood, Picture, Port, Program, Radio, Switch, paired};
use crate::config::{Config, InstanceSpec, PortSpec};
use crate::error::Result;
use crate::switch::Links;

/// The state of what is not run.
pub const PLANNED: &str = "planned";

/// The picture of a configuration, which is called `name`.
///
/// # Errors
/// A file of radio links that cannot be read.
pub fn planned(config: &Config, name: &str) -> Result<Picture> {
    let mut switches = Vec::new();
    for spec in config.switches_in_use() {
        let of_file = config.ports_of(&spec.name).map(|port| one_port(port, None));
        let of_programs = config.instances.iter().flat_map(|instance| {
            let on_it = instance.network.ports().filter(|port| port.switch == spec.name);
            let mut ports: Vec<Port> = on_it.map(|port| one_port(port, Some(instance))).collect();
            if ports.is_empty() && instance.switches().contains(&spec.name.as_str()) {
                ports.push(of_guest(instance));
            }
            ports
        });
        let ports: Vec<Port> = of_file.chain(of_programs).collect();
        let radio = config.radio_of(&spec)?.map(|radio| hears(&radio.links, &ports));
        switches.push(Switch { name: spec.name.clone(), trouble: None, radio, ports });
    }
    let alone = config.instances.iter().filter(|instance| instance.switches().is_empty()).map(program);
    Ok(Picture { bridge: name.to_owned(), switches, programs: alone.collect() })
}

fn one_port(spec: &PortSpec, instance: Option<&InstanceSpec>) -> Port {
    Port {
        name: spec.name.clone(),
        kind: spec.kind.text().row().word.to_owned(),
        state: PLANNED.to_owned(),
        mood: Mood::Waits,
        about: spec.target(),
        program: instance.map(program),
        ..Port::default()
    }
}

/// The socket that is made for a guest.
fn of_guest(instance: &InstanceSpec) -> Port {
    let (name, kind) = (instance.name.clone(), "unix".to_owned());
    Port { name, kind, state: PLANNED.to_owned(), program: Some(program(instance)), ..Port::default() }
}

fn program(spec: &InstanceSpec) -> Program {
    Program { name: spec.name.clone(), state: PLANNED.to_owned(), ..Program::default() }
}

/// A file's links: by names, or in the order of the ports.
fn hears(links: &Links, ports: &[Port]) -> Radio {
    let Links::Matrix { names, chances } = links else { return Radio { all_to_all: true, links: Vec::new() } };
    let place = |node: usize| match names.get(node) {
        Some(name) => ports.iter().position(|port| port.name == *name),
        None if names.is_empty() => Some(node).filter(|node| *node < ports.len()),
        None => None,
    };
    let cells = chances.iter().enumerate().flat_map(|(from, row)| {
        row.iter().enumerate().map(move |(to, chance)| (from, to, *chance)).filter(|(_, _, chance)| *chance > 0.0)
    });
    let known = cells.filter_map(|(from, to, chance)| Some((place(from)?, place(to)?, chance)));
    Radio { all_to_all: false, links: paired(known) }
}
