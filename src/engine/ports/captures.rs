//! What is captured of the ports, and the log of their fates.

use super::super::fates::{self, FateLog};
use super::super::recorder::Running;
use super::super::slot::Origin;
use super::super::tap::Inlet;
use super::Ports;
use crate::error::Result;
use crate::port::Edge;
use crate::switch::Address;
use crate::time::{Instant, earliest};
use std::net::IpAddr;
use std::path::Path;

impl Ports {
    /// Starts a capture.
    pub fn capture(&mut self, inlet: Inlet) {
        let names = self.host_names();
        let slots = self.edges.ids().filter_map(|id| Some((id, self.edges.slot(id)?)));
        self.tap.add(&mut self.switch, inlet, slots, names);
        self.watch_services();
    }

    /// Tells services whether they are captured.
    fn watch_services(&self) {
        let snap = self.tap.snap();
        self.edges.channels().for_each(|(_, channel)| channel.watch(snap));
    }

    /// Captures into a file as long as there is a port of this name or, with an empty name, as long as the switch runs.
    pub fn keep_capture(&mut self, port: &str, inlet: Inlet, running: Running) {
        self.captures.push((port.to_owned(), inlet.number, running));
        self.capture(inlet);
    }

    /// Completes the capture files of a removed port.
    pub fn end_captures_of(&mut self, port: &str) {
        while let Some(place) = self.captures.iter().position(|(name, ..)| name == port) {
            let (_, number, running) = self.captures.swap_remove(place);
            self.end_capture(number);
            running.leave();
        }
    }

    /// Ends the capture with this number.
    pub fn end_capture(&mut self, number: u64) {
        let names = self.host_names();
        self.take_sights();
        self.tap.remove(&mut self.switch, number, names);
        self.watch_services();
    }

    /// Takes what services have seen for captures.
    fn take_sights(&mut self) {
        for (id, channel) in self.edges.channels() {
            channel.take_seen().into_iter().for_each(|seen| self.tap.see(id, seen));
        }
    }

    /// Ends all captures and the log of fates, which get the notes so far.
    pub fn end_captures(&mut self) {
        let names = if self.tap.is_on() { self.host_names() } else { Vec::new() };
        self.tap.end(&mut self.switch, &names);
        if let Some(mut fates) = self.fates.take() {
            fates.hand_over_now(&mut self.switch);
        }
        fates::say_differences(&self.switch);
    }

    /// Writes what becomes of frames to the file at `path`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn log_fates(&mut self, path: &Path) -> Result<()> {
        self.fates = Some(FateLog::start(path, &self.name, &mut self.switch)?);
        Ok(())
    }

    /// When notes are to be handed over.
    pub fn notes_due(&self) -> Option<Instant> {
        earliest(self.tap.due(), self.fates.as_ref().and_then(FateLog::due))
    }

    /// Hands over what was noted for captures and the log of fates.
    pub fn hand_over_notes(&mut self) {
        if self.tap.is_on() {
            self.take_sights();
            self.tap.hand_over(self.clock.now(), &mut self.switch);
        }
        if let Some(fates) = &mut self.fates {
            fates.hand_over(self.clock.now(), &mut self.switch);
        }
    }

    /// The names of hosts: of ports that are a host, of programs, and of the holders of leases.
    pub(super) fn host_names(&self) -> Vec<(IpAddr, String)> {
        let mut names = Vec::new();
        for slot in self.edges.slots() {
            let own = slot.origin.spec().map(|spec| spec.kind.own_addresses()).unwrap_or_default();
            let own = own.into_iter().filter_map(|address| match address {
                Address::Ip(addr) => Some(addr),
                Address::Mac(_) => None,
            });
            names.extend(own.map(|addr| (addr, slot.name.clone())));
            let shown = slot.edge().and_then(Edge::shown).unwrap_or_default();
            let leases = shown.leases.iter().filter_map(|lease| Some((lease.addr.into(), lease.name.clone()?)));
            names.extend(leases);
        }
        // What a program says that it has.
        let known = self.switch.known(self.clock.now());
        names.extend(known.filter_map(|known| {
            let slot = self.edges.slot(known.port)?;
            matches!(slot.origin, Origin::Given(_) | Origin::Apart(_)).then(|| (known.addr, slot.name.clone()))
        }));
        names
    }
}
