//! Ports that were parted from the others by command: set down, or cut from some of them. Both are said of names, and hold
//! for the ports that come later under them: a peer that connects again, a program that is started again.
//!
//! When a port goes down, its stations are forgotten and services are told that they have left, as when its link goes. The
//! interface of a TAP loses its carrier, so that who is behind it sees that the cable is out.

use super::edges::Edges;
use crate::config::Cut;
use crate::config::value::is_port;
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::switch::{self, Switch};
use crate::time::Instant;
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

    /// The port or listener called `name` is set down, or up again.
    pub fn say(&mut self, name: &str, down: bool) {
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
    fn take_out(&mut self, ports: &[String]) -> Vec<String> {
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
}

/// What it comes to on the switch.
impl Parting {
    /// Parts a new port as was said of its name.
    pub fn part_new(&self, switch: &mut Switch, edges: &Edges, now: Instant, id: PortId) {
        if self.is_down(edges.name(id)) {
            switch.pull(now, id, true, false);
            follow_carrier(edges, id, false);
        }
        if !self.cuts.is_empty() {
            self.settle(switch, edges);
        }
    }

    /// Cuts ports from each other.
    ///
    /// # Errors
    /// There are too many cuts.
    pub fn cut(&mut self, switch: &mut Switch, edges: &Edges, cut: Cut) -> Result<()> {
        if self.cuts.iter().any(|other| cut.is_as(other)) {
            return Ok(());
        }
        if self.cuts.len() >= CUTS {
            let error = Error::new(Class::Runtime, format!("there are {CUTS} cuts already"));
            return Err(error.hint("zbridge heal ends all of them; one cut may have many ports on either side"));
        }
        self.cuts.push(cut);
        self.settle(switch, edges);
        Ok(())
    }

    /// Takes these ports out of all cuts, or ends all. Gives those that it was about, as they were written.
    pub fn heal(&mut self, switch: &mut Switch, edges: &Edges, ports: &[String]) -> Vec<String> {
        let healed = self.take_out(ports);
        self.settle(switch, edges);
        healed
    }

    /// Has the switch cut as was said, of the ports that there are.
    fn settle(&self, switch: &mut Switch, edges: &Edges) {
        let ports: Vec<(PortId, &str)> = edges.ids().map(|id| (id, edges.name(id))).collect();
        let cut = |cut: &Cut| {
            let sides = ports.iter().map(|(id, name)| (*id, cut.has(name)));
            let (mut from, mut to) = <(switch::Group, switch::Group)>::default();
            for (id, [is_from, is_to]) in sides {
                is_from.then(|| from.add(id));
                is_to.then(|| to.add(id));
            }
            switch::Cut { from, to, one_way: cut.is_one_way() }
        };
        switch.set_cuts(self.cuts.iter().map(cut).collect());
    }
}

/// Has the interface of a port's TAP have a carrier, or none.
pub(super) fn follow_carrier(edges: &Edges, id: PortId, carrier: bool) {
    if let Some(Err(error)) = edges.edge(id).map(|edge| edge.set_carrier(carrier)) {
        let (name, word) = (edges.name(id), if carrier { "has a cable again" } else { "has no cable" });
        log::warn!(
            "{name}: the kernel does not let its interface see that it {word} ({error}; Linux has that since 5.0); for \
             frames it is so all the same"
        );
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
        assert_eq!(parting.take_out(&names(&["a"])), ["a,b from c"]);
        assert_eq!(parting.cuts(), ["b from c", "d to c"]);
        assert_eq!(parting.take_out(&names(&["c"])), ["b from c", "d to c"]);
        assert!(parting.cuts.is_empty());
        parting.cuts = vec![cut("a from rest")];
        assert_eq!(parting.take_out(&names(&["x"])), ["a from rest"]);
        assert_eq!(parting.take_out(&[]), ["a from rest but x"]);
    }
}
