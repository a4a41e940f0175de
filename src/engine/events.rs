//! Log messages about the events of a switch: two stations with one address, full tables, peers that do not read.

use super::fates;
use super::ports::Ports;
use crate::switch::Event;
use std::net::IpAddr;

/// Logs the switch's events.
pub(super) fn tell(ports: &mut Ports) {
    while let Some(event) = ports.switch.poll_event() {
        match event {
            // The peer of a port that is down has not read its queue, it has died.
            Event::Stalled(id) | Event::Drained(id) if !ports.switch.state(id).is_some_and(|state| state.up) => {}
            Event::Flapping(flap) => log::warn!(
                "{} is heard on {} and on {} by turns: two instances share this address, and each takes the \
                 other's frames away. rewrite=mac on their ports gives each its own, whatever they are; so do \
                 --seed=N of native_sim and macaddr= of QEMU's -net nic",
                flap.mac,
                ports.edges.name(flap.from),
                ports.edges.name(flap.to),
            ),
            Event::Loop(flap) => log::warn!(
                "many addresses, {} among them, are heard on {} and on {} by turns: there is a loop, or two \
                 instances share them; take one of the ways between these ports out",
                flap.mac,
                ports.edges.name(flap.from),
                ports.edges.name(flap.to),
            ),
            Event::PortTableFull(id) => log::warn!(
                "{}: it has used up its share of the forwarding database; further addresses behind it are not \
                 learned, and what is sent to them floods (fdb-port-limit in the configuration)",
                ports.edges.name(id),
            ),
            Event::TableFull => log::warn!(
                "switch {}: the forwarding database is full; new addresses are not learned (fdb-limit in the \
                 configuration)",
                ports.name,
            ),
            Event::Claimed(claim, count) => log::warn!(
                "{}: it claims the {} of {}, and its frame was dropped (guard; {count} in all since this was said \
                 last)",
                ports.edges.name(claim.port),
                claim.address,
                ports.edges.name(claim.owner),
            ),
            Event::Shared(shared) => log::warn!(
                "{} is the address of {} on {} and of {} on {}: only one of them is reached. Give each its own, or \
                 rewrite=ip={} with the one that it is to have, on one of the ports",
                shared.addr,
                shared.one.0,
                ports.edges.name(shared.one.1),
                shared.other.0,
                ports.edges.name(shared.other.1),
                rewritten(shared.addr),
            ),
            Event::Stalled(id) => {
                log::warn!("{}: its peer does not read; frames for it are dropped until it does", ports.edges.name(id));
            }
            Event::Drained(id) => log::info!("{}: its peer reads again", ports.edges.name(id)),
            Event::Unlike { port, way, number, how } => fates::say_unlike(ports.edges.name(port), way, number, how),
        }
    }
}

/// The beginning of a rule that translates this address.
fn rewritten(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => format!("{addr}:NEW"),
        IpAddr::V6(addr) => format!("[{addr}]:[NEW]"),
    }
}
