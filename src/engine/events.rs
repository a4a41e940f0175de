//! What a switch has to tell a person, in words: two stations with one address, tables that are full, peers that do not
//! read.

use super::Engine;
use crate::switch::Event;
use std::net::IpAddr;

impl Engine {
    /// Says what the switch has found.
    pub(super) fn tell_events(&mut self) {
        while let Some(event) = self.switch.poll_event() {
            match event {
                // What waited for a peer that has died since is no longer waiting; that is not to read.
                Event::Stalled(id) | Event::Drained(id) if !self.switch.state(id).is_some_and(|state| state.up) => {}
                Event::Flapping(flap) => log::warn!(
                    "{} is heard on {} and on {} by turns: two instances share this address, and each takes the \
                     other's frames away. rewrite=mac on their ports gives each its own, whatever they are; so do \
                     --seed=N of native_sim and macaddr= of QEMU's -net nic",
                    flap.mac,
                    self.port_name(flap.from),
                    self.port_name(flap.to),
                ),
                Event::Loop(flap) => log::warn!(
                    "many addresses, {} among them, are heard on {} and on {} by turns: there is a loop, or two \
                     instances share them; take one of the ways between these ports out",
                    flap.mac,
                    self.port_name(flap.from),
                    self.port_name(flap.to),
                ),
                Event::PortTableFull(id) => log::warn!(
                    "{}: it has used up its share of the forwarding database; further addresses behind it are not \
                     learned, and what is sent to them floods (fdb-port-limit in the configuration)",
                    self.port_name(id),
                ),
                Event::TableFull => log::warn!(
                    "switch {}: the forwarding database is full; new addresses are not learned (fdb-limit in the \
                     configuration)",
                    self.name,
                ),
                Event::Claimed(claim, count) => log::warn!(
                    "{}: it claims the {} of {}, and its frame was dropped (guard; {count} in all since this was said \
                     last)",
                    self.port_name(claim.port),
                    claim.address,
                    self.port_name(claim.owner),
                ),
                Event::Shared(shared) => log::warn!(
                    "{} is the address of {} on {} and of {} on {}: only one of them is reached. Give each its own, or \
                     rewrite=ip={} with the one that it is to have, on one of the ports",
                    shared.addr,
                    shared.one.0,
                    self.port_name(shared.one.1),
                    shared.other.0,
                    self.port_name(shared.other.1),
                    rewritten(shared.addr),
                ),
                Event::Stalled(id) => {
                    log::warn!(
                        "{}: its peer does not read; frames for it are dropped until it does",
                        self.port_name(id)
                    );
                }
                Event::Drained(id) => log::info!("{}: its peer reads again", self.port_name(id)),
            }
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
