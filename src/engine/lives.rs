//! The lives of a switch's ports and listeners: asked for, admitted, opened, lost, tried again, removed.
//!
//! Theory of operation. A port's [`Origin`] says what happens when its descriptor is lost: a listener's client is
//! removed, and its counters are kept in the listener's sum; a port with its own specification is set down in the
//! switch, which forgets its stations, and is a wish again (`life.rs`); a port of a handed-over descriptor is removed.
//!
//! The place of a handed-over descriptor may be kept for the next one ([`Means::Seated`](super::command::Means)): a
//! program of a bench that is started again finds its port with what was set and counted there.
//!
//! A serial line that can wait for its next peer is kept: the port is down until [`Edge::connected`] says that one is
//! there, as for a connection that was begun (`arrival.rs`).

use super::arrival;
use super::departed::Departed;
use super::life::{Backoff, LAST_RETRY, Life, Wish, say};
use super::listeners::Listeners;
use super::places;
use super::ports::Ports;
use super::prepare::{Beforehand, Lookups, Prepared, random_seed};
use super::service::{self, Started};
use super::show;
use super::slot::{Attached, Lost, Origin, PortSlot};
use super::status::{PortStatus, SwitchStatus};
use super::thread::{BridgeContext, Threads};
use super::timers::{Due, Wisher};
use crate::config::grammar::nearest_of;
use crate::config::{Cut, PortSpec, misplaced, same_host, same_path};
use crate::counters::Counters;
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::port::channel::{self, Channel, ServiceEnd};
use crate::port::names::first_name;
use crate::port::{self, Edge, Opened, sys};
use crate::switch::PortConfig;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

/// See the head of the file.
pub(super) struct Lives {
    pub ports: Ports,
    pub listeners: Listeners,
    lookups: Lookups,
    departed: Departed,
    /// The bridge's context, for services.
    context: BridgeContext,
    /// The loop has begun: blocking now delays frames.
    pub runs: bool,
    /// Declared after the ports: dropping a port is what lets the thread of its service end.
    threads: Threads,
}

/// Whether a handed-over descriptor belongs to another network namespace, and so to a program. If the kernel does not
/// tell: whether its port waits for its interface.
fn is_apart(fd: &OwnedFd, spec: &PortSpec) -> bool {
    let own = UnixDatagram::unbound().ok().and_then(|own| sys::network_namespace(&own));
    match (own, sys::network_namespace(fd)) {
        (Some(own), Some(its)) => own != its,
        _ => spec.optional,
    }
}

/// Admission: the specifications that may become ports.
impl Lives {
    /// No ports and no listeners.
    pub fn new(ports: Ports, context: BridgeContext) -> Self {
        Self {
            ports,
            listeners: Listeners::default(),
            lookups: Lookups::default(),
            departed: Departed::default(),
            context,
            runs: false,
            threads: Threads::default(),
        }
    }

    /// Whether a port may join as `spec` says.
    fn admits(&self, spec: &PortSpec) -> Result<()> {
        if self.is_taken(&spec.name) {
            return Err(Error::usage(format!("there is a port named {} already", spec.name)).hint("give it a name="));
        }
        let is_radio = self.ports.switch.is_radio();
        if spec.kind.is_radio() != is_radio {
            return Err(misplaced(spec, is_radio));
        }
        if let Some(error) = self.specs().find_map(|other| same_host(other, spec)) {
            return Err(error);
        }
        Ok(())
    }

    /// The same for a specification that is to be opened, perhaps on an interface of the machine.
    pub fn admits_opened(&self, spec: &PortSpec) -> Result<()> {
        self.admits(spec)?;
        // A handed-over descriptor may belong to another network namespace, where its name means another interface.
        let mut opened = self.specs_of(|origin| matches!(origin, Origin::Spec(_)));
        if let Some(error) = opened.find_map(|other| same_path(other, spec)) {
            return Err(error.hint("choose another, or take that port away first: zbridge port del NAME"));
        }
        spec.may_join(self.specs())
    }

    /// The specifications of ports that may lead to a network of this machine.
    fn open_specs(&self) -> impl Iterator<Item = &PortSpec> {
        self.specs_of(|origin| !matches!(origin, Origin::Apart(_)))
    }

    /// The specifications of the ports and listeners that there are.
    fn specs(&self) -> impl Iterator<Item = &PortSpec> {
        self.specs_of(|_| true)
    }

    fn specs_of(&self, wanted: fn(&Origin) -> bool) -> impl Iterator<Item = &PortSpec> {
        let origins = self.ports.edges.slots().map(|slot| &slot.origin);
        let ports = origins.filter(move |origin| wanted(origin)).filter_map(|origin| origin.spec().map(|spec| &**spec));
        ports.chain(self.listeners.iter().map(|(_, slot)| &*slot.spec))
    }

    pub fn is_taken(&self, name: &str) -> bool {
        self.ports.edges.slots().any(|slot| slot.name == name) || self.listener_of(name).is_some()
    }

    pub fn listener_of(&self, name: &str) -> Option<usize> {
        self.listeners.iter().find(|(_, slot)| slot.spec.name == name).map(|(index, _)| index)
    }
}

/// How a port begins.
impl Lives {
    /// Makes a port of a descriptor that was handed over.
    /// `stays`: its place is kept when that is lost; one that was kept is taken.
    pub fn adopt(&mut self, spec: Arc<PortSpec>, fd: OwnedFd, stays: bool) -> Result<()> {
        if stays && let Some(id) = places::kept(&self.ports, &spec.name) {
            return places::take(&mut self.ports, id, &spec, fd);
        }
        self.admits(&spec)?;
        let origin = if is_apart(&fd, &spec) { Origin::Apart(spec.clone()) } else { Origin::Given(spec.clone()) };
        if matches!(origin, Origin::Given(_)) {
            spec.may_join(self.specs())?;
        }
        let edge = port::adopt(&spec, fd).map_err(|error| error.at(&spec.name))?;
        // What was set of the name meanwhile holds on: a program was started again.
        if !self.ports.has_bends(&spec.name) {
            self.ports.set_bends(&spec.name, &spec.bends)?;
        }
        self.ports.parting.begin(&spec.name, spec.down);
        let id = self.ports.add_open(&spec, &spec.name, origin, edge, String::new())?;
        self.ports.edges.slot_mut(id).into_iter().for_each(|slot| slot.stays = stays);
        self.ports.set_mirrors(&spec.name, spec.mirrors.clone());
        Ok(())
    }

    /// Adds a port inside the process.
    pub fn add_channel(&mut self, name: &str, config: PortConfig) -> Result<ServiceEnd> {
        let (channel, link) = channel::pair(self.context.waker.clone());
        self.add_inside(name, config, channel)?;
        Ok(link)
    }

    /// Adds the port of a running service of the embedding program.
    pub fn add_service(&mut self, name: &str, config: PortConfig, (channel, thread): Started) -> Result<()> {
        self.threads.add(thread);
        self.add_inside(name, config, channel)
    }

    fn add_inside(&mut self, name: &str, config: PortConfig, channel: Channel) -> Result<()> {
        if self.is_taken(name) {
            return Err(Error::usage(format!("there is a port named {name} already")));
        }
        let config = PortConfig { pausable: true, offload: channel.takes_offloads(), ..config };
        let there = Attached::new(Edge::Channel(channel), String::new(), self.ports.clock.now());
        self.ports.add_bare(name, config, Origin::Inside, Life::Open(there))?;
        Ok(())
    }

    /// Opens the port or listener of `spec`, with what the caller's thread has prepared.
    pub fn open_port(&mut self, spec: Arc<PortSpec>, mut beforehand: Beforehand) -> Result<()> {
        self.admits_opened(&spec)?;
        let capture = beforehand.capture.take();
        if let Some((inlet, running)) = capture {
            self.ports.keep_capture(&spec.name, inlet, running);
        }
        let (name, mirrors) = (spec.name.clone(), spec.mirrors.clone());
        // What was said of a port that comes again stands.
        if !self.ports.has_bends(&name) {
            self.ports.set_bends(&name, &spec.bends).map_err(|error| error.at(&name))?;
        }
        self.ports.parting.begin(&name, spec.down);
        let opened = self.open_admitted(spec, beforehand);
        match opened {
            Ok(()) => self.ports.set_mirrors(&name, mirrors),
            Err(_) => {
                self.ports.end_captures_of(&name);
                self.forget(&name);
            }
        }
        opened
    }

    fn open_admitted(&mut self, spec: Arc<PortSpec>, beforehand: Beforehand) -> Result<()> {
        let spec = Arc::new(spec.settled(self.open_specs()));
        let again = port::is_awaited(&spec);
        if again && let Some(name) = first_name(&spec) {
            return self.add_awaited(spec, format!("looking up {name}"), true);
        }
        let numbers = beforehand.numbers.map_or_else(|| spec.clone(), |numbers| Arc::new(*numbers));
        let prepared = beforehand.started.transpose().map(|started| Prepared { spec: numbers, started });
        match prepared.and_then(|prepared| self.open(prepared, port::open)) {
            Ok(opened) => self.add(spec, opened),
            Err(error) if again && error.class() != Class::Usage => {
                // Before the switch runs, looking for the holder delays no frame.
                let error = if self.runs { error } else { error.told() };
                say(&spec.name, &error);
                self.add_awaited(spec, error.what().to_owned(), false)
            }
            Err(error) => Err(error.at(&spec.name)),
        }
    }

    /// Adds a port or listener that is open.
    fn add(&mut self, spec: Arc<PortSpec>, opened: Opened) -> Result<()> {
        let origin = Origin::Spec(spec.clone());
        match opened {
            Opened::Edge(edge, peer) => {
                self.ports.add_open(&spec, &spec.name, origin, edge, peer)?;
            }
            Opened::Connecting(edge, peer) => {
                let life = Life::Arriving(Attached::new(edge, peer, self.ports.clock.now()));
                let id = self.ports.add(&spec, &spec.name, origin, life)?;
                arrival::begin(&mut self.ports, id);
                self.lose_failed();
            }
            Opened::Listener(listener) => {
                self.listeners.add(&self.ports, spec, Life::Open(listener))?;
            }
        }
        Ok(())
    }

    /// Adds a port that is not open yet, for the reason `why`, and tries it in a moment. `untold`: log a failure.
    fn add_awaited(&mut self, spec: Arc<PortSpec>, why: String, untold: bool) -> Result<()> {
        let wish = Wish::new(why, untold);
        let wisher = if port::listens(&spec) {
            Wisher::Listener(self.listeners.add(&self.ports, spec, Life::Wished(wish))?)
        } else {
            Wisher::Port(self.ports.add(&spec, &spec.name, Origin::Spec(spec.clone()), Life::Wished(wish))?)
        };
        self.wait(wisher);
        Ok(())
    }

    /// Starts the service behind a port, or opens the port or listener by `open`.
    fn open(
        &mut self,
        Prepared { spec, started }: Prepared,
        open: impl FnOnce(&PortSpec) -> Result<Opened>,
    ) -> Result<Opened> {
        // Not started yet: only before the switch runs.
        let started = started.map(Ok).or_else(|| service::start(&spec, &self.context, random_seed()));
        let Some(started) = started else { return open(&spec) };
        let (channel, thread) = started?;
        self.threads.add(thread);
        Ok(Opened::Edge(Edge::Channel(channel), spec.kind.text().peer()))
    }
}

/// Attempts to open wishes, ports and listeners alike.
impl Lives {
    /// The wish of a port or a listener, with its specification.
    fn wish_mut(&mut self, wisher: Wisher) -> Option<(&Arc<PortSpec>, &mut Wish, &mut Backoff)> {
        match wisher {
            Wisher::Port(id) => {
                let slot = self.ports.edges.slot_mut(id)?;
                Some((slot.origin.spec()?, slot.life.wish_mut()?, &mut slot.backoff))
            }
            Wisher::Listener(index) => {
                let slot = self.listeners.get_mut(index)?;
                Some((&slot.spec, slot.life.wish_mut()?, &mut slot.backoff))
            }
        }
    }

    /// Sets a timer for the next attempt. A port takes no part until then.
    fn wait(&mut self, wisher: Wisher) {
        if let Wisher::Port(id) = wisher {
            self.ports.set_down(id);
        }
        let Some((.., backoff)) = self.wish_mut(wisher) else { return };
        let pause = backoff.next();
        self.ports.timers.set(Due::Try(wisher), self.ports.clock.now() + pause);
    }

    /// Tries it again: has it prepared by another thread if that may block, else opens it.
    pub fn retry(&mut self, wisher: Wisher) {
        let Some((spec, ..)) = self.wish_mut(wisher) else { return };
        let spec = spec.clone();
        let Some((number, why)) = self.lookups.ask(wisher, &spec, &self.context) else {
            return self.attempt(wisher, Ok(Prepared { spec, started: None }));
        };
        if let Some((_, wish, _)) = self.wish_mut(wisher) {
            wish.ask(number, why);
        }
    }

    /// Opens the ports and listeners that are prepared.
    pub fn handle_answers(&mut self) {
        while let Some((wisher, number, prepared)) = self.lookups.poll() {
            if self.wish_mut(wisher).is_some_and(|(_, wish, _)| wish.takes_answer(number)) {
                self.attempt(wisher, prepared);
            }
        }
    }

    /// Opens it, now that it is prepared.
    fn attempt(&mut self, wisher: Wisher, prepared: Result<Prepared>) {
        let Some((_, wish, _)) = self.wish_mut(wisher) else { return };
        let makes = wish.makes;
        let again = |spec: &PortSpec| port::open_again(spec, makes);
        let opened = prepared.and_then(|prepared| self.open(prepared, again));
        let Err(error) = opened.and_then(|opened| self.fulfil(wisher, opened)) else { return };
        if let Some((spec, wish, _)) = self.wish_mut(wisher) {
            wish.disappointed(&spec.name, &error);
        }
        self.wait(wisher);
    }

    fn fulfil(&mut self, wisher: Wisher, opened: Opened) -> Result<()> {
        match (wisher, opened) {
            (Wisher::Port(id), Opened::Edge(edge, peer)) => {
                self.ports.attach(id, edge, peer, false)?;
                log::info!("{}: open again", self.ports.edges.name(id));
                self.ports.set_up(id);
            }
            (Wisher::Port(id), Opened::Connecting(edge, peer)) => {
                self.ports.attach(id, edge, peer, true)?;
                arrival::begin(&mut self.ports, id);
            }
            (Wisher::Listener(index), Opened::Listener(listener)) => {
                self.listeners.listen(&self.ports, index, listener)?;
            }
            // A specification does not change from one to the other.
            (Wisher::Port(_), Opened::Listener(_))
            | (Wisher::Listener(_), Opened::Edge(..) | Opened::Connecting(..)) => {}
        }
        Ok(())
    }
}

/// How ports are parted.
impl Lives {
    /// Cuts ports from each other. Those that have left, and may come again, are known too.
    pub fn cut(&mut self, cut: Cut) -> Result<()> {
        self.each_is_known(cut.names())?;
        let Ports { parting, switch, edges, .. } = &mut self.ports;
        parting.cut(switch, edges, cut)
    }

    /// Heals all cuts, or takes ports out of them. Gives those that there were of them, as they were written.
    pub fn heal(&mut self, ports: &[String]) -> Result<Vec<String>> {
        self.each_is_known(ports)?;
        let Ports { parting, switch, edges, .. } = &mut self.ports;
        Ok(parting.heal(switch, edges, ports))
    }

    fn each_is_known<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<()> {
        let mut unknown = names.into_iter().filter(|name| !self.knows(name));
        match unknown.next() {
            None => Ok(()),
            Some(name) => Err(self.no_port(name)),
        }
    }

    /// Whether a port is there that is called so, was, or is in a cut.
    pub fn knows(&self, name: &str) -> bool {
        self.is_taken(name) || self.departed.rows().iter().any(|row| row.name == name) || self.ports.parting.names(name)
    }
}

/// How a port ends.
impl Lives {
    /// Handles all ports whose edges have failed, before any of them is opened again.
    pub fn lose_failed(&mut self) {
        while let Some(id) = self.ports.edges.found.gone.pop() {
            self.lose(id);
        }
    }

    /// Handles a port whose edge has failed: it waits for its next peer, is opened again, or is removed.
    fn lose(&mut self, id: PortId) {
        let Some(lost) = self.ports.edges.slot_mut(id).and_then(PortSlot::take_failed) else { return };
        let Some(Lost { edge, gone, arriving, untold, since }) = arrival::await_next(&mut self.ports, id, lost) else {
            return;
        };
        let now = self.ports.clock.now();
        let Some(slot) = self.ports.edges.slot_mut(id) else { return };
        if let (Edge::Channel(channel), Origin::Spec(_)) = (&edge, &slot.origin)
            && let Some(why) = channel.failure()
        {
            slot.life = Life::Over(why.to_owned());
            self.ports.set_down(id);
        } else if let Origin::Spec(_) = slot.origin {
            if now - since > LAST_RETRY {
                slot.backoff = Backoff::default();
            }
            let level = if arriving && !untold { log::Level::Debug } else { log::Level::Warn };
            log::log!(level, "{}: {}; trying again until it is there", slot.name, gone.0);
            self.ports.watch.forget(edge.fds());
            self.wait(Wisher::Port(id));
        } else if slot.stays {
            log::info!("{}: {}; its place is kept", slot.name, gone.0);
            self.ports.watch.forget(edge.fds());
            self.ports.set_down(id);
        } else {
            let line = format!("{}: {}", slot.name, gone.0);
            match slot.origin {
                Origin::Client { listener, .. } => self.listeners.say_of_client(&mut self.ports, listener, || line),
                Origin::Spec(_) | Origin::Given(_) | Origin::Apart(_) | Origin::Inside => log::info!("{line}"),
            }
            self.ports.watch.forget(edge.fds());
            self.remove(id);
        }
    }

    /// Takes a port out; a client's counters go to its listener, those of other ports are kept apart.
    fn remove(&mut self, id: PortId) {
        let shown = show::port(&self.ports, &self.listeners, id);
        let Some((slot, counters)) = self.ports.remove(id) else { return };
        self.ports.set_mirrors(&slot.name, Vec::new());
        if let Origin::Client { .. } = slot.origin {
            self.ports.forget_bends(&slot.name);
        }
        let Some(counters) = counters else { return };
        match (slot.origin, shown) {
            (Origin::Client { listener, number }, _) => {
                if let Some(listener) = self.listeners.get_mut(listener) {
                    listener.client_left(number, &counters);
                }
            }
            (Origin::Spec(_) | Origin::Given(_) | Origin::Apart(_), Some(shown)) => self.depart(shown, counters),
            (Origin::Spec(_) | Origin::Given(_) | Origin::Apart(_), None) | (Origin::Inside, _) => {}
        }
    }

    /// No port is called so; these are.
    pub(super) fn no_port(&self, name: &str) -> Error {
        let listeners = self.listeners.iter().map(|(_, slot)| slot.spec.name.as_str());
        let edges = &self.ports.edges;
        let mut names: Vec<&str> = listeners.chain(edges.ids().map(|id| edges.name(id))).collect();
        names.sort_unstable();
        Error::new(Class::NoObject, format!("no port of this switch is named {name}")).hint(nearest_of(name, &names))
    }

    /// Notes a port or listener that has left.
    fn depart(&mut self, shown: PortStatus, counters: Counters) {
        if let Some(oldest) = self.departed.keep(shown, counters)
            && !self.is_taken(&oldest)
        {
            self.forget(&oldest);
        }
    }

    /// Nothing that was set of a name holds any more.
    fn forget(&mut self, name: &str) {
        self.ports.forget_bends(name);
        self.ports.parting.forget(name);
    }

    /// Removes a port, or a listener with its clients. Unless `comes_again`, nothing that was set of it holds for the next
    /// of its name.
    pub fn remove_by_name(&mut self, name: &str, comes_again: bool) -> Result<()> {
        let index = self.listener_of(name);
        let doomed = |slot: &PortSlot| match slot.origin {
            Origin::Client { listener, .. } => Some(listener) == index || slot.name == name,
            Origin::Spec(_) | Origin::Given(_) | Origin::Apart(_) | Origin::Inside => slot.name == name,
        };
        let edges = &self.ports.edges;
        let ids: Vec<_> = edges.ids().filter(|&id| edges.slot(id).is_some_and(doomed)).collect();
        if ids.is_empty() && index.is_none() {
            return Err(Error::new(Class::NoObject, format!("no port is named {name}")));
        }
        for id in ids {
            self.ports.watch.forget(self.ports.edges.edge(id).map(Edge::fds).unwrap_or_default());
            self.remove(id);
        }
        self.ports.end_captures_of(name);
        self.ports.set_mirrors(name, Vec::new());
        if let Some(slot) = index.and_then(|index| self.listeners.remove(&mut self.ports, index)) {
            self.depart(show::listener(&self.ports, &slot), slot.departed);
        }
        if !comes_again {
            self.forget(name);
        }
        Ok(())
    }

    /// All ports as they are shown.
    pub fn status(&mut self) -> SwitchStatus {
        show::status(&mut self.ports, &self.listeners, &self.departed)
    }
}
