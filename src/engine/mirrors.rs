//! Which ports are to get copies of what others send, by names: the ports of both may come and go.

use crate::capture::filter::is_port;
use crate::config::Mirror;
use crate::frame::PortId;
use crate::switch;
use std::collections::BTreeMap;

/// What each monitor is to get, by its name; a listener's is that of all its clients.
#[derive(Default)]
pub(super) struct Mirrors(BTreeMap<String, Vec<Mirror>>);

impl Mirrors {
    /// The port called `monitor` gets these, instead of those before.
    pub fn set(&mut self, monitor: &str, mirrors: Vec<Mirror>) {
        if mirrors.is_empty() {
            self.0.remove(monitor);
        } else {
            self.0.insert(monitor.to_owned(), mirrors);
        }
    }

    /// What the port called `monitor` gets, as it is written.
    pub fn of(&self, monitor: &str) -> Vec<String> {
        self.0.get(monitor).into_iter().flatten().map(ToString::to_string).collect()
    }

    /// Whether nobody gets anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same for ports with these numbers and names.
    pub fn among(&self, ports: &[(PortId, &str)]) -> Vec<switch::Mirror> {
        let mut found = Vec::new();
        for (name, mirrors) in &self.0 {
            for monitor in called(ports, name) {
                for Mirror { port, rx, tx, .. } in mirrors {
                    let mirror = |source| switch::Mirror { monitor, source, rx: *rx, tx: *tx };
                    found.extend(called(ports, port).map(mirror));
                }
            }
        }
        found
    }
}

/// The ports that are called `wanted`, or are clients of the listener called so.
fn called(ports: &[(PortId, &str)], wanted: &str) -> impl Iterator<Item = PortId> {
    ports.iter().filter(move |(_, name)| is_port(name, wanted)).map(|(id, _)| *id)
}
