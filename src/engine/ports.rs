//! The life of a port: opened, connected, lost, waited for, opened again, removed.
//!
//! Theory of operation. A slot stands for a port of the switch. Its [`Origin`] says what happens when the descriptor
//! is lost: a listener's client is removed, and its counters are kept in the listener's sum; a port that was asked for
//! by its own specification is set down in the switch, which forgets its stations, and tried again after 50 ms, then
//! at twice the interval up to a second.
//!
//! A serial line that can wait for its next peer is kept: the port is down until [`Edge::connected`] says that one is
//! there, as for a connection that was begun.

use super::names::{Beforehand, Prepared};
use super::show::listener_status;
use super::{Engine, random_seed, service};
use crate::config::{PortSpec, misplaced, same_host, same_path};
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::port::channel::{self, Link};
use crate::port::names::first_name;
use crate::port::seat::Seat;
use crate::port::{self, Edge, Gone, Listener, Opened, sys};
use crate::rights::role::{BASE, FILES};
use crate::rights::{self, Role};
use crate::switch::{Address, PortConfig};
use crate::time::{Duration, Instant};
use crate::wire::{Mac, Rewriter, Rule};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

pub(super) const FIRST_RETRY: Duration = Duration::from_millis(50);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(1);

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    Port(PortId),
    Listener(usize),
    Link(PortId),
    /// All links.
    Links,
    Flush(PortId),
    /// Whether the peer of a line has come.
    Peer(PortId),
    /// What was left unsaid of a listener's clients.
    Unsaid(usize),
}

/// Where a port came from.
pub(super) enum Origin {
    /// It was asked for: opened again when lost.
    Spec(Arc<PortSpec>),
    /// Its descriptor was handed over, and does not come back.
    Given(Arc<PortSpec>),
    /// The same, of an interface in the network namespace of a program.
    Apart(Arc<PortSpec>),
    /// It connected to the listener with this index, and has this number among its clients.
    Client { listener: usize, number: u32 },
    /// It is inside the process.
    Inside,
}

impl Origin {
    /// The port's own specification.
    pub fn spec(&self) -> Option<&Arc<PortSpec>> {
        match self {
            Self::Spec(spec) | Self::Given(spec) | Self::Apart(spec) => Some(spec),
            Self::Client { .. } | Self::Inside => None,
        }
    }
}

/// A port of the switch and its descriptor.
pub(super) struct PortSlot {
    pub name: String,
    pub origin: Origin,
    pub seat: Seat<Edge>,
    /// Who is at the other end, or why nobody is.
    pub peer: String,
    /// The connection was begun and is not there yet.
    pub connecting: bool,
    /// It is on the list of ports to be read.
    pub ready: bool,
    /// Its last wake-up brought one frame, and so may the next.
    pub lone: bool,
    /// Its descriptor has said that its end has come, which a read has still to find.
    pub ending: bool,
    /// It had something to read when it was paused.
    pub parked: bool,
    /// It is on the list of ports to be flushed.
    pub flushing: bool,
    /// Translates addresses, where it was asked to.
    pub rewriter: Option<Rewriter>,
    /// It may make its interface: it made the last one, or never had one.
    makes: bool,
    /// Why it is not there was not said yet.
    pub untold: bool,
    /// Its names are being looked up: the number of the question.
    pub asked: Option<u64>,
    /// Its descriptor is watched for room, not only for frames.
    pub room_watched: bool,
    /// Its interface is down, as was said or shown last.
    pub link_down: bool,
    /// The service that it is has failed, and is not started again.
    pub failed: bool,
    opened: Instant,
    retry: Duration,
    retry_at: Option<Instant>,
}

/// Whether a descriptor that was handed over is of another network namespace, and so of a program. Where the kernel does
/// not tell, one that waits for its interface is.
fn is_apart(fd: &OwnedFd, spec: &PortSpec) -> bool {
    let own = UnixDatagram::unbound().ok().and_then(|own| sys::network_namespace(&own));
    match (own, sys::network_namespace(fd)) {
        (Some(own), Some(its)) => own != its,
        _ => spec.optional,
    }
}

fn switch_config(spec: &PortSpec, edge: Option<&Edge>) -> PortConfig {
    let abilities = edge.map(Edge::abilities);
    PortConfig {
        learn: spec.learn,
        isolate: spec.isolate,
        guard: spec.is_guarded(),
        mtu: spec.mtu.filter(|_| !spec.kind.tells_mtu()),
        queue: spec.queue.unwrap_or_else(|| spec.kind.queue()),
        pausable: abilities.is_none_or(|able| able.pausable),
        offload: abilities.is_some_and(|able| able.offload),
        renames: spec.rewrite.contains(&Rule::Mac),
    }
}

/// Who has something open is read in /proc.
static WHO: Role = Role::new("who", &[BASE, FILES]);

/// Says why a port is not there yet: to a person the first time, which is noted in `untold`.
pub(super) fn say(name: &str, error: &Error, untold: &mut bool) {
    if std::mem::take(untold) {
        if !error.asks() {
            return warn_of(name, error);
        }
        // Who it is takes a look at every descriptor of the machine, for which no frame waits.
        let (name, asking) = (name.to_owned(), error.clone());
        if rights::spawn_to_look("zb-who", &WHO, move || warn_of(&name, &asking.told())).is_err() {
            log::warn!("{}", error.what());
        }
    } else {
        log::debug!("{name}: {}", error.what());
    }
}

fn warn_of(name: &str, error: &Error) {
    let hint = error.advice().map_or_else(String::new, |hint| format!("\n  hint: {hint}"));
    log::warn!("{name}: {}; trying again until it is there{hint}", error.what());
}

impl Engine {
    /// Whether a port may join as `spec` says.
    pub(super) fn admits(&self, spec: &PortSpec) -> Result<()> {
        if self.is_taken(&spec.name) {
            return Err(Error::usage(format!("there is a port named {} already", spec.name)).hint("give it a name="));
        }
        if spec.kind.is_radio() != self.switch.is_radio() {
            return Err(misplaced(spec, self.switch.is_radio()));
        }
        if let Some(error) = self.specs().find_map(|other| same_host(other, spec)) {
            return Err(error);
        }
        Ok(())
    }

    /// The same for one that is to be opened, which may be of an interface of the machine.
    pub(super) fn admits_opened(&self, spec: &PortSpec) -> Result<()> {
        self.admits(spec)?;
        // What was handed over may be of another network namespace, and its name no name here.
        let mut opened = self.specs_of(|origin| matches!(origin, Origin::Spec(_)));
        if let Some(error) = opened.find_map(|other| same_path(other, spec)) {
            return Err(error.hint("choose another, or take that port away first: zbridge port del NAME"));
        }
        spec.may_join(self.specs())
    }

    /// The specifications of those that may lead to a network.
    fn open_specs(&self) -> impl Iterator<Item = &PortSpec> {
        self.specs_of(|origin| !matches!(origin, Origin::Apart(_)))
    }

    /// The specifications of the ports and listeners that there are.
    fn specs(&self) -> impl Iterator<Item = &PortSpec> {
        self.specs_of(|_| true)
    }

    fn specs_of(&self, wanted: fn(&Origin) -> bool) -> impl Iterator<Item = &PortSpec> {
        let origins = self.ports.iter().flatten().map(|slot| &slot.origin);
        let ports = origins.filter(move |origin| wanted(origin)).filter_map(|origin| origin.spec().map(|spec| &**spec));
        ports.chain(self.listeners.iter().filter(|slot| !slot.removed).map(|slot| &*slot.spec))
    }

    /// Makes a port of a descriptor that was handed over.
    pub(super) fn adopt_port(&mut self, spec: Arc<PortSpec>, fd: OwnedFd) -> Result<()> {
        self.admits(&spec)?;
        let origin = if is_apart(&fd, &spec) { Origin::Apart(spec.clone()) } else { Origin::Given(spec.clone()) };
        if matches!(origin, Origin::Given(_)) {
            spec.may_join(self.specs())?;
        }
        let edge = port::adopt(&spec, fd).map_err(|error| error.at(&spec.name))?;
        self.add_slot(&spec, &spec.name, origin, Some(edge), String::new())?;
        Ok(())
    }

    /// Opens what `spec` asks for, with what was done for it before.
    pub(super) fn open_port(&mut self, spec: Arc<PortSpec>, beforehand: Beforehand) -> Result<()> {
        self.admits_opened(&spec)?;
        let spec = Arc::new(spec.settled(self.open_specs()));
        let again = port::is_awaited(&spec);
        if again && let Some(name) = first_name(&spec) {
            return self.add_awaited(spec, format!("looking up {name}"), true);
        }
        let numbers = beforehand.numbers.map_or_else(|| spec.clone(), |numbers| Arc::new(*numbers));
        let prepared = beforehand.started.transpose().map(|started| Prepared { spec: numbers, started });
        match prepared.and_then(|prepared| self.open(prepared, None)) {
            Ok(Opened::Edge(edge, peer)) => {
                self.add_slot(&spec, &spec.name, Origin::Spec(spec.clone()), Some(edge), peer)?;
            }
            Ok(Opened::Connecting(edge, peer)) => {
                let id = self.add_slot(&spec, &spec.name, Origin::Spec(spec.clone()), Some(edge), peer)?;
                self.begin_connecting(id);
            }
            Ok(Opened::Listener(listener)) => self.add_listener(spec, Some(listener), String::new(), false)?,
            Err(error) if again && error.class() != Class::Usage => {
                // Before the switch runs nobody is kept waiting by the question who holds it.
                let error = if self.runs { error } else { error.told() };
                say(&spec.name, &error, &mut true);
                self.add_awaited(spec, error.what().to_owned(), false)?;
            }
            Err(error) => return Err(error.at(&spec.name)),
        }
        Ok(())
    }

    /// Adds a port that is not there yet, for the reason `why`, and tries it in a moment. `untold`: when that fails, it
    /// is to be said.
    fn add_awaited(&mut self, spec: Arc<PortSpec>, why: String, untold: bool) -> Result<()> {
        if port::listens(&spec) {
            return self.add_listener(spec, None, why, untold);
        }
        let id = self.add_slot(&spec, &spec.name, Origin::Spec(spec.clone()), None, why)?;
        self.slot_mut(id).into_iter().for_each(|slot| slot.untold = untold);
        self.wait(id);
        Ok(())
    }

    /// Opens a port, or makes it of the service that it is. `again`: it was open before, and whether this process makes its
    /// interface.
    fn open(&mut self, Prepared { spec, started }: Prepared, again: Option<bool>) -> Result<Opened> {
        // Only before the switch runs nobody has started it.
        let started = started.map(Ok).or_else(|| service::start(&spec, &self.host(), random_seed()));
        match (started, again) {
            (Some(started), _) => {
                let (channel, thread) = started?;
                self.threads.add(thread);
                Ok(Opened::Edge(Edge::Channel(channel), spec.kind.text().peer()))
            }
            (None, Some(makes)) => port::open_again(&spec, makes),
            (None, None) => port::open(&spec),
        }
    }

    fn is_taken(&self, name: &str) -> bool {
        self.ports.iter().flatten().any(|slot| slot.name == name)
            || self.listeners.iter().any(|slot| !slot.removed && slot.spec.name == name)
    }

    /// Puts a port with its static stations into the switch, and its descriptor under watch.
    pub(super) fn add_slot(
        &mut self,
        spec: &PortSpec,
        name: &str,
        origin: Origin,
        edge: Option<Edge>,
        peer: String,
    ) -> Result<PortId> {
        // Addresses are made of names: of a socket for one copy, of the name that was given to it.
        let station = if matches!(origin, Origin::Client { number: 1, .. }) { spec.name.as_str() } else { name };
        // A program chooses the address of its interface; what it chooses is its by first use only.
        let own = edge.as_ref().filter(|_| matches!(origin, Origin::Spec(_))).and_then(Edge::mac);
        let id = self.add_to_switch(name, switch_config(spec, edge.as_ref()), origin, edge, peer)?;
        if let Some(slot) = self.slot_mut(id) {
            slot.rewriter = Rewriter::new(station, &spec.rewrite);
        }
        if !self.switch.name_node(id, name) {
            log::warn!("{name}: it is no node of the links of its switch, and hears nobody");
        }
        let now = self.clock.now();
        self.bind_own(id, spec, own);
        for &mac in &spec.statics {
            if !self.switch.add_static(now, mac, id) {
                log::warn!("{name}: the forwarding database has no room for static {mac}");
            }
        }
        Ok(id)
    }

    /// Binds what is a port's own from the start, and the MAC address of what was opened.
    fn bind_own(&mut self, id: PortId, spec: &PortSpec, mac: Option<Mac>) {
        let known = spec.kind.own_addresses().into_iter().chain(mac.map(Address::Mac));
        spec.own_on_switch(known).for_each(|address| self.switch.bind(address, id));
    }

    fn add_to_switch(
        &mut self,
        name: &str,
        config: PortConfig,
        origin: Origin,
        edge: Option<Edge>,
        peer: String,
    ) -> Result<PortId> {
        let too_many = || Error::new(Class::Runtime, format!("{name}: the switch has as many ports as it can have"));
        let isolate = config.isolate;
        let id = self.switch.add_port(config).ok_or_else(too_many)?;
        self.isolated.set(id, isolate);
        if let Some(Edge::Channel(channel)) = &edge {
            channel.show_isolated(self.isolated.clone());
        }
        if let Some(error) = edge.as_ref().and_then(|edge| self.watch(id, edge).err()) {
            self.switch.remove_port(self.clock.now(), id);
            return Err(error.at(name));
        }
        self.note_ways_of_calling(id, edge.as_ref());
        self.pulse.name_port(id, name);
        if self.ports.len() <= id.index() {
            self.ports.resize_with(id.index() + 1, || None);
        }
        self.ports[id.index()] = Some(PortSlot {
            name: name.to_owned(),
            origin,
            rewriter: None,
            makes: edge.as_ref().is_none_or(Edge::made_its_interface),
            link_down: edge.as_ref().is_some_and(Edge::link_is_down),
            seat: Seat::new(edge),
            failed: false,
            peer,
            connecting: false,
            ready: false,
            ending: false,
            lone: false,
            parked: false,
            flushing: false,
            untold: false,
            asked: None,
            room_watched: true,
            opened: self.clock.now(),
            retry: FIRST_RETRY,
            retry_at: None,
        });
        Ok(id)
    }

    /// A channel calls by the waker, not by a descriptor; some edges call by the time; of an interface there are news.
    fn note_ways_of_calling(&mut self, id: PortId, edge: Option<&Edge>) {
        let Some(edge) = edge else { return };
        if matches!(edge, Edge::Channel(_)) && !self.channels.contains(&id) {
            self.channels.push(id);
        }
        if edge.tells_its_link() {
            self.hear_of_links();
        }
        if edge.keeps_time() && !self.timed.contains(&id) {
            self.timed.push(id);
        }
    }

    pub(super) fn watch(&self, id: PortId, edge: &Edge) -> Result<()> {
        edge.fds()
            .into_iter()
            .flatten()
            .try_for_each(|fd| self.register(fd, Token(id.index()), Interest::READABLE | Interest::WRITABLE))
    }

    pub(super) fn register(&self, fd: RawFd, token: Token, interest: Interest) -> Result<()> {
        let registered = self.poll.registry().register(&mut SourceFd(&fd), token, interest);
        registered.map_err(|error| Error::system("cannot wait for its descriptor", &error))
    }

    /// Watches a port for room, which has just not taken all. If it has room by now, the kernel says so at once.
    pub(super) fn watch_room(&mut self, id: PortId) {
        if let Err(error) = self.set_room_watched(id, true) {
            self.fail(id, Gone(error.to_string()));
        }
    }

    /// A port has room: asks no more, unless something still waits for it or its link's state is told that way.
    pub(super) fn stop_watching_room(&mut self, id: PortId) {
        let needed = |slot: &PortSlot| slot.flushing || slot.seat.edge().is_some_and(Edge::tells_its_link);
        if self.slot_mut(id).is_some_and(|slot| !needed(slot)) {
            // When it fails, the port only goes on being told.
            let _ = self.set_room_watched(id, false);
        }
    }

    fn set_room_watched(&mut self, id: PortId, watched: bool) -> Result<()> {
        let Some(slot) = self.ports.get(id.index()).and_then(Option::as_ref) else { return Ok(()) };
        let Some(edge) = slot.seat.edge().filter(|_| slot.room_watched != watched) else { return Ok(()) };
        let interest = if watched { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        for fd in edge.fds().into_iter().flatten() {
            let changed = self.poll.registry().reregister(&mut SourceFd(&fd), Token(id.index()), interest);
            changed.map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        }
        if let Some(slot) = self.slot_mut(id) {
            slot.room_watched = watched;
        }
        Ok(())
    }

    pub(super) fn unwatch(&self, fds: impl IntoIterator<Item = Option<RawFd>>) {
        for fd in fds.into_iter().flatten() {
            // The kernel forgets a descriptor when it is closed; this only says it a moment earlier.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// Adds a port inside the process.
    pub(super) fn add_channel(&mut self, name: &str, config: PortConfig) -> Result<Link> {
        if self.is_taken(name) {
            return Err(Error::usage(format!("there is a port named {name} already")));
        }
        let (channel, link) = channel::pair(self.waker.clone());
        let config = PortConfig { pausable: true, offload: false, ..config };
        self.add_to_switch(name, config, Origin::Inside, Some(Edge::Channel(channel)), String::new())?;
        Ok(link)
    }

    /// A port's descriptor is of no more use: nothing is offered to it from now on, and [`Self::lose`] sees to the rest.
    pub(super) fn fail(&mut self, id: PortId, gone: Gone) {
        if let Some(slot) = self.slot_mut(id) {
            slot.seat.fail(gone);
            self.gone.push(id);
        }
    }

    /// Sees to a port whose edge has failed: it waits for its next peer, is opened again, or is removed.
    pub(super) fn lose(&mut self, id: PortId) {
        let Some((edge, gone)) = self.slot_mut(id).and_then(|slot| slot.seat.take_failed()) else { return };
        let Some(edge) = self.await_next(id, edge, &gone) else { return };
        let now = self.clock.now();
        let Some(slot) = self.slot_mut(id) else { return };
        if let (Edge::Channel(channel), Origin::Spec(_)) = (&edge, &slot.origin)
            && let Some(why) = channel.failure()
        {
            why.clone_into(&mut slot.peer);
            slot.failed = true;
            self.set_down(id);
        } else if let Origin::Spec(_) = slot.origin {
            if now - slot.opened > LAST_RETRY {
                slot.retry = FIRST_RETRY;
            }
            let level = if slot.connecting { log::Level::Debug } else { log::Level::Warn };
            log::log!(level, "{}: {}; trying again until it is there", slot.name, gone.0);
            slot.connecting = false;
            slot.peer.clone_from(&gone.0);
            self.unwatch(edge.fds());
            self.wait(id);
        } else {
            self.tell_end(id, &gone.0);
            self.unwatch(edge.fds());
            self.remove_slot(id);
        }
    }

    /// Sets a port down and a timer for its next attempt.
    fn wait(&mut self, id: PortId) {
        self.set_down(id);
        let now = self.clock.now();
        let Some(slot) = self.slot_mut(id) else { return };
        slot.rewriter.iter_mut().for_each(Rewriter::forget);
        let due = now + slot.retry;
        slot.retry = (slot.retry * 2).min(LAST_RETRY);
        slot.retry_at = Some(due);
        self.timers.insert((due, Due::Port(id)));
    }

    /// Opens a port again whose timer has run out.
    pub(super) fn retry(&mut self, id: PortId, due: Instant) {
        let Some(slot) = self.slot_mut(id).filter(|slot| slot.retry_at == Some(due)) else { return };
        slot.retry_at = None;
        let Origin::Spec(spec) = &slot.origin else { return };
        let spec = spec.clone();
        let Some((number, why)) = self.open_aside(Due::Port(id), &spec) else {
            return self.attempt(id, Ok(Prepared { spec, started: None }));
        };
        if let Some(slot) = self.slot_mut(id) {
            (slot.asked, slot.peer) = (Some(number), why);
        }
    }

    /// Opens a port again, for which all is done that takes its time.
    pub(super) fn attempt(&mut self, id: PortId, prepared: Result<Prepared>) {
        let Some(makes) = self.slot_mut(id).map(|slot| slot.makes) else { return };
        match prepared.and_then(|prepared| self.open(prepared, Some(makes))) {
            Ok(Opened::Edge(edge, peer)) => self.reopened(id, edge, peer, false),
            Ok(Opened::Connecting(edge, peer)) => self.reopened(id, edge, peer, true),
            Ok(Opened::Listener(_)) => {}
            Err(error) => {
                let Some(slot) = self.slot_mut(id) else { return };
                say(&slot.name, &error, &mut slot.untold);
                error.what().clone_into(&mut slot.peer);
                self.wait(id);
            }
        }
    }

    fn reopened(&mut self, id: PortId, edge: Edge, peer: String, connecting: bool) {
        if let Err(error) = self.watch(id, &edge) {
            log::warn!("{}: {error}", self.port_name(id));
            return self.wait(id);
        }
        let now = self.clock.now();
        self.note_ways_of_calling(id, Some(&edge));
        let mac = edge.mac();
        let Some(slot) = self.slot_mut(id) else { return };
        let spec = match &slot.origin {
            Origin::Spec(spec) => Some(spec.clone()),
            _ => None,
        };
        slot.makes = edge.made_its_interface();
        slot.link_down = edge.link_is_down();
        slot.seat.put(edge);
        slot.ending = false;
        slot.room_watched = true;
        slot.peer = peer;
        slot.opened = now;
        if let Some(spec) = spec {
            self.bind_own(id, &spec, mac);
        }
        if connecting {
            self.begin_connecting(id);
        } else {
            log::info!("{}: open again", self.port_name(id));
            self.switch.set_up(now, id, true);
            self.make_ready(id);
        }
    }

    /// Takes a port out of the switch; a client's counters go to its listener, those of other ports are kept apart.
    fn remove_slot(&mut self, id: PortId) {
        let shown = self.port_status(id, |slot| slot.origin.spec().is_some());
        let counters = self.switch.remove_port(self.clock.now(), id);
        let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::take) else { return };
        self.channels.retain(|&channel| channel != id);
        self.tell_departure(id);
        self.timed.retain(|&timed| timed != id);
        self.ready.retain(|&ready| ready != id);
        self.flushing.retain(|&flushing| flushing != id);
        self.gone.retain(|&gone| gone != id);
        self.timers.retain(|&(_, what)| what != Due::Peer(id));
        match (slot.origin, counters, shown) {
            (Origin::Client { listener, number }, Some(counters), _) => {
                if let Some(listener) = self.listeners.get_mut(listener) {
                    listener.client_left(number, &counters);
                }
            }
            (_, Some(counters), Some(shown)) => self.departed.keep(shown, counters),
            _ => {}
        }
    }

    /// Removes a port, or a listener with its clients.
    pub(super) fn remove_by_name(&mut self, name: &str) -> Result<()> {
        let listener = self.listeners.iter().position(|slot| !slot.removed && slot.spec.name == name);
        let doomed = |slot: &PortSlot| match slot.origin {
            Origin::Client { listener: its, .. } => Some(its) == listener || slot.name == name,
            _ => slot.name == name,
        };
        let ids: Vec<PortId> =
            self.switch.ports().filter(|id| self.ports[id.index()].as_ref().is_some_and(doomed)).collect();
        if ids.is_empty() && listener.is_none() {
            return Err(Error::new(Class::NoObject, format!("no port is named {name}")));
        }
        for id in ids {
            self.unwatch(
                self.ports[id.index()].as_ref().and_then(|slot| Some(slot.seat.edge()?.fds())).unwrap_or_default(),
            );
            self.remove_slot(id);
        }
        if let Some(index) = listener {
            self.unwatch([self.listeners[index].listener.as_ref().map(Listener::fd)]);
            self.listeners[index].listener = None;
            self.listeners[index].removed = true;
            self.timers.retain(|&(_, what)| what != Due::Listener(index));
            self.departed.keep(listener_status(&self.listeners[index]), self.listeners[index].departed.clone());
        }
        Ok(())
    }
}
