//! Ports that were parted from the others by command: set down, or cut from some of them. Both are said of names, and hold
//! for the ports that come later under them: a peer that connects again, a program that is started again.
//!
//! When a port goes down, its stations are forgotten and services are told that they have left, as when its link goes. The
//! interface of a TAP loses its carrier, so that who is behind it sees that the cable is out.

use super::links;
use super::ports::Ports;
use crate::config::Cut;
use crate::config::value::is_port;
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::port::Edge;
use crate::switch::{self, Transmit};
use std::collections::BTreeMap;

/// Cuts that a switch may have.
const CUTS: usize = 256;

/// See the head of the file.
#[derive(Default)]
pub(super) struct Parting {
    /// Whether a port is set down, by the name that it was said of: its own, or that of its listener.
    down: BTreeMap<String, bool>,
    cuts: Vec<Cut>,
}

impl Parting {
    /// A port is to come that is set `down` by its specification, unless something was said of it before.
    pub fn begin(&mut self, name: &str, down: bool) {
        if down {
            self.down.entry(name.to_owned()).or_insert(true);
        }
    }

    fn say(&mut self, name: &str, down: bool) {
        // What was said of a listener's clients is over.
        self.down.retain(|said, _| !is_port(said, name));
        self.down.insert(name.to_owned(), down);
    }

    /// Whether the port or listener called `name` is set down.
    pub fn is_down(&self, name: &str) -> bool {
        let listener = || name.split_once('#').and_then(|(listener, _)| self.down.get(listener));
        self.down.get(name).or_else(listener).is_some_and(|down| *down)
    }

    /// Forgets whether the port or listener called `name` was set down, and its clients.
    pub fn forget(&mut self, name: &str) {
        self.down.retain(|said, _| !is_port(said, name));
    }

    /// Whether a cut names the port.
    pub fn names(&self, name: &str) -> bool {
        self.cuts.iter().any(|cut| cut.names().any(|named| named == name))
    }

    /// All cuts, as they are written.
    pub fn cuts(&self) -> Vec<String> {
        self.cuts.iter().map(ToString::to_string).collect()
    }

    /// What the port or listener called `name` is cut from.
    pub fn cuts_of(&self, name: &str) -> Vec<String> {
        self.cuts.iter().filter_map(|cut| cut.of(name)).collect()
    }

    /// Takes these ports out of all cuts, or ends all. Gives those that it was about, as they were written.
    fn heal(&mut self, ports: &[String]) -> Vec<String> {
        if ports.is_empty() {
            return self.cuts.drain(..).map(|cut| cut.to_string()).collect();
        }
        let mut healed = Vec::new();
        self.cuts.retain_mut(|cut| {
            let concerned = |port: &String| cut.has(port) != [false; 2] || cut.names().any(|name| is_port(name, port));
            if !ports.iter().any(concerned) {
                return true;
            }
            healed.push(cut.to_string());
            let left = cut.without(ports);
            left.map(|left| *cut = left).is_some()
        });
        healed
    }

    fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }
}

impl Ports {
    /// Sets the port called `name`, or the clients of that listener that are there or come later, down or up.
    pub fn pull(&mut self, name: &str, down: bool) {
        self.parting.say(name, down);
        let named: Vec<PortId> = self.edges.ids().filter(|&id| is_port(self.edges.name(id), name)).collect();
        let changed = named.into_iter().filter(|&id| self.switch.is_pulled(id) != down).collect::<Vec<_>>();
        changed.iter().for_each(|&id| self.pull_port(id, down));
    }

    fn pull_port(&mut self, id: PortId, down: bool) {
        let (now, begun) = (self.clock.now(), self.edges.has_begun(id));
        self.switch.pull(now, id, down, begun);
        self.follow_carrier(id, !down);
        if down {
            self.empty(id);
            self.make_flushing(id);
        } else {
            self.edges.make_ready(id);
        }
        links::tell(self, id);
    }

    /// Has the interface of a port's TAP have a carrier, or none.
    pub fn follow_carrier(&self, id: PortId, carrier: bool) {
        if let Some(Err(error)) = self.edges.edge(id).map(|edge: &Edge| edge.set_carrier(carrier)) {
            let (name, word) = (self.edges.name(id), if carrier { "has a cable again" } else { "has no cable" });
            log::warn!(
                "{name}: the kernel does not let its interface see that it {word} ({error}; Linux has that since 5.0); \
                 for frames it is so all the same"
            );
        }
    }

    /// Parts a new port as was said of its name.
    pub fn part_new(&mut self, id: PortId) {
        if self.parting.is_down(self.edges.name(id)) {
            let now = self.clock.now();
            self.switch.pull(now, id, true, false);
            self.follow_carrier(id, false);
        }
        self.settle_cuts();
    }

    /// Cuts ports from each other.
    ///
    /// # Errors
    /// There are too many cuts.
    pub fn cut(&mut self, cut: Cut) -> Result<()> {
        let Parting { cuts, .. } = &mut self.parting;
        if cuts.iter().any(|other| cut.is_as(other)) {
            return Ok(());
        }
        if cuts.len() >= CUTS {
            let error = Error::new(Class::Runtime, format!("there are {CUTS} cuts already"));
            return Err(error.hint("zbridge heal ends all of them; one cut may have many ports on either side"));
        }
        cuts.push(cut);
        self.settle();
        Ok(())
    }

    /// Takes these ports out of all cuts, or ends all. Gives those that it was about, as they were written.
    pub fn heal(&mut self, ports: &[String]) -> Vec<String> {
        let healed = self.parting.heal(ports);
        self.settle();
        healed
    }

    /// Has the switch cut as was said, of the ports that there are.
    fn settle_cuts(&mut self) {
        if !self.parting.is_empty() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let ports: Vec<(PortId, &str)> = self.edges.ids().map(|id| (id, self.edges.name(id))).collect();
        let cut = |cut: &Cut| {
            let group = |side: usize| ports.iter().filter(|(_, name)| cut.has(name)[side]).map(|(id, _)| *id).collect();
            switch::Cut { from: group(0), to: group(1), one_way: cut.is_one_way() }
        };
        self.switch.set_cuts(self.parting.cuts.iter().map(cut).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_a_listener_is_of_all_its_clients_unless_more_was_said() {
        let mut parting = Parting::default();
        parting.begin("a", true);
        assert_eq!(["a", "a#1", "ab"].map(|name| parting.is_down(name)), [true, true, false]);
        parting.say("a#2", false);
        assert_eq!(["a", "a#1", "a#2"].map(|name| parting.is_down(name)), [true, true, false]);
        parting.say("a", false);
        parting.begin("a", true);
        assert!(!parting.is_down("a"), "what was set holds longer than what its specification says");
        parting.say("a#1", true);
        parting.forget("a");
        assert!(!parting.is_down("a#1"));
    }

    #[test]
    fn a_cut_ends_with_its_last_port() {
        let cut = |words: &str| Cut::parse(&[words.to_owned()]).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parting = Parting { cuts: vec![cut("a,b from c"), cut("d to c")], ..Parting::default() };
        assert_eq!(parting.cuts_of("c"), ["from a,b", "d to c"]);
        assert_eq!(parting.heal(&names(&["a"])), ["a,b from c"]);
        assert_eq!(parting.cuts(), ["b from c", "d to c"]);
        assert_eq!(parting.heal(&names(&["c"])), ["b from c", "d to c"]);
        assert!(parting.is_empty());
        parting.cuts = vec![cut("a from rest")];
        assert_eq!(parting.heal(&names(&["x"])), ["a from rest"]);
        assert_eq!(parting.heal(&[]), ["a from rest but x"]);
    }
}
