//! Ports that are set down, as if their cables were pulled, and up again.

use super::links;
use super::parting::follow_carrier;
use super::ports::Ports;
use crate::config::value::is_port;
use crate::frame::PortId;
use crate::switch::Transmit;

/// Sets the port called `name`, or the clients of that listener that are there or come later, down or up.
pub(super) fn pull(ports: &mut Ports, name: &str, down: bool) {
    ports.parting.say(name, down);
    let named = ports.edges.ids().filter(|&id| is_port(ports.edges.name(id), name));
    let changed: Vec<PortId> = named.filter(|&id| ports.switch.is_pulled(id) != down).collect();
    changed.into_iter().for_each(|id| pull_port(ports, id, down));
}

fn pull_port(ports: &mut Ports, id: PortId, down: bool) {
    let (now, begun) = (ports.clock.now(), ports.edges.has_begun(id));
    ports.switch.pull(now, id, down, begun);
    follow_carrier(&ports.edges, id, !down);
    if down {
        ports.empty(id);
        // What has begun is to end.
        ports.make_flushing(id);
    } else {
        ports.edges.make_ready(id);
    }
    links::tell(ports, id);
}
