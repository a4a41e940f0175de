//! Ports: opened, connected, lost, opened again, removed.
//!
//! Theory of operation. A slot stands for a port of the switch. Its [`Origin`] says what happens when the descriptor
//! is lost: a listener's client is removed, and its counters are kept in the listener's sum; a port that was asked for
//! by its own specification is set down in the switch, which forgets its stations, and is a wish again (`life.rs`).
//!
//! A serial line that can wait for its next peer is kept: the port is down until [`Edge::connected`] says that one is
//! there, as for a connection that was begun.

use super::life::{Backoff, LAST_RETRY, Life, Wish, say};
use super::listeners::ListenerSlot;
use super::names::{Beforehand, Prepared};
use super::show::listener_status;
use super::timers::Wisher;
use super::{Engine, random_seed, service};
use crate::config::{PortSpec, misplaced, same_host};
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::port::channel::{self, Link};
use crate::port::names::first_name;
use crate::port::seat::Seat;
use crate::port::{self, Edge, Gone, Listener, Opened, sys};
use crate::switch::{Address, PortConfig};
use crate::time::Instant;
use crate::wire::{Mac, Rewriter, Rule};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

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

/// A port of the switch.
pub(super) struct PortSlot {
    pub name: String,
    pub origin: Origin,
    pub life: Life<Attached>,
    /// How long its next attempt is waited for.
    pub backoff: Backoff,
    /// Translates addresses, where it was asked to.
    pub rewriter: Option<Rewriter>,
}

impl PortSlot {
    /// The edge, as long as it is whole.
    pub fn edge(&self) -> Option<&Edge> {
        self.life.there()?.seat.edge()
    }

    /// The same, to be asked or set.
    pub fn edge_mut(&mut self) -> Option<&mut Edge> {
        self.life.there_mut()?.seat.edge_mut()
    }

    /// Who is at the other end, or why nobody is.
    pub fn peer(&self) -> String {
        let noted = match &self.life {
            Life::Wished(Wish { why, .. }) | Life::Over(why) => why,
            Life::Arriving(it) | Life::Open(it) => &it.peer,
        };
        self.edge().and_then(Edge::peer).unwrap_or_else(|| noted.clone())
    }

    /// Takes out an edge that has failed. What was asked for is a wish from now on; what was not is over.
    fn take_failed(&mut self) -> Option<Lost> {
        self.life.there().filter(|it| it.seat.has_failed())?;
        let arriving = self.life.is_arriving();
        let (Life::Arriving(it) | Life::Open(it)) = std::mem::replace(&mut self.life, Life::Over(String::new())) else {
            return None;
        };
        let (edge, gone) = it.seat.into_failed()?;
        self.life = match self.origin {
            Origin::Spec(_) => Life::Wished(Wish::again(gone.0.clone(), edge.made_its_interface())),
            _ => Life::Over(it.peer),
        };
        Some(Lost { edge, gone, arriving, since: it.since })
    }
}

/// What is attached to a port: a descriptor, and what is known of it.
pub(super) struct Attached {
    pub seat: Seat<Edge>,
    /// Who is at the other end.
    pub peer: String,
    since: Instant,
    /// Its last wake-up brought one frame, and so may the next.
    pub lone: bool,
    /// Its descriptor has said that its end has come, which a read has still to find.
    pub ending: bool,
    /// Its descriptor is watched for room, not only for frames.
    pub room_watched: bool,
    /// Its interface is down, as was said or shown last.
    pub link_down: bool,
}

impl Attached {
    /// `edge`, whose descriptors are watched for all that they tell.
    pub fn new(edge: Edge, peer: String, since: Instant) -> Self {
        let link_down = edge.link_is_down();
        Self { seat: Seat::new(edge), peer, since, lone: false, ending: false, room_watched: true, link_down }
    }
}

/// An edge that has failed, and what it was.
pub(super) struct Lost {
    pub edge: Edge,
    pub gone: Gone,
    /// Its peer had not come.
    pub arriving: bool,
    pub since: Instant,
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
        ports.chain(self.listeners.iter().flatten().map(|slot| &*slot.spec))
    }

    /// Makes a port of a descriptor that was handed over.
    pub(super) fn adopt_port(&mut self, spec: Arc<PortSpec>, fd: OwnedFd) -> Result<()> {
        self.admits(&spec)?;
        let origin = if is_apart(&fd, &spec) { Origin::Apart(spec.clone()) } else { Origin::Given(spec.clone()) };
        if matches!(origin, Origin::Given(_)) {
            spec.may_join(self.specs())?;
        }
        let edge = port::adopt(&spec, fd).map_err(|error| error.at(&spec.name))?;
        self.add_open(&spec, &spec.name, origin, edge, String::new())?;
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
        match prepared.and_then(|prepared| self.open(prepared, true)) {
            Ok(Opened::Edge(edge, peer)) => {
                self.add_open(&spec, &spec.name, Origin::Spec(spec.clone()), edge, peer)?;
            }
            Ok(Opened::Connecting(edge, peer)) => {
                let life = Life::Arriving(Attached::new(edge, peer, self.clock.now()));
                let id = self.add_slot(&spec, &spec.name, Origin::Spec(spec.clone()), life)?;
                self.begin_arrival(id);
            }
            Ok(Opened::Listener(listener)) => self.add_listener(spec, Life::Open(listener))?,
            Err(error) if again && error.class() != Class::Usage => {
                // Before the switch runs nobody is kept waiting by the question who holds it.
                let error = if self.runs { error } else { error.told() };
                say(&spec.name, &error);
                self.add_awaited(spec, error.what().to_owned(), false)?;
            }
            Err(error) => return Err(error.at(&spec.name)),
        }
        Ok(())
    }

    /// Adds a port that is not there yet, for the reason `why`, and tries it in a moment. `untold`: when that fails, it
    /// is to be said.
    fn add_awaited(&mut self, spec: Arc<PortSpec>, why: String, untold: bool) -> Result<()> {
        let wish = Wish::new(why, untold);
        if port::listens(&spec) {
            return self.add_listener(spec, Life::Wished(wish));
        }
        let id = self.add_slot(&spec, &spec.name, Origin::Spec(spec.clone()), Life::Wished(wish))?;
        self.wait(Wisher::Port(id));
        Ok(())
    }

    /// Opens a port or a listener, or makes it of the service that it is. `makes`: it may make its interface.
    pub(super) fn open(&mut self, Prepared { spec, started }: Prepared, makes: bool) -> Result<Opened> {
        // Only before the switch runs nobody has started it.
        let started = started.map(Ok).or_else(|| service::start(&spec, &self.host(), random_seed()));
        let Some(started) = started else { return port::open_again(&spec, makes) };
        let (channel, thread) = started?;
        self.threads.add(thread);
        Ok(Opened::Edge(Edge::Channel(channel), spec.kind.text().peer()))
    }

    fn is_taken(&self, name: &str) -> bool {
        self.ports.iter().flatten().any(|slot| slot.name == name)
            || self.listeners.iter().flatten().any(|slot| slot.spec.name == name)
    }

    /// Adds a port that is there.
    pub(super) fn add_open(
        &mut self,
        spec: &PortSpec,
        name: &str,
        origin: Origin,
        edge: Edge,
        peer: String,
    ) -> Result<PortId> {
        self.add_slot(spec, name, origin, Life::Open(Attached::new(edge, peer, self.clock.now())))
    }

    /// Puts a port with its static stations into the switch, and its descriptor under watch.
    fn add_slot(&mut self, spec: &PortSpec, name: &str, origin: Origin, life: Life<Attached>) -> Result<PortId> {
        let edge = life.there().and_then(|it| it.seat.edge());
        // Addresses are made of names: of a socket for one copy, of the name that was given to it.
        let station = if matches!(origin, Origin::Client { number: 1, .. }) { spec.name.as_str() } else { name };
        // A program chooses the address of its interface; what it chooses is its by first use only.
        let own = edge.filter(|_| matches!(origin, Origin::Spec(_))).and_then(Edge::mac);
        let id = self.add_to_switch(name, switch_config(spec, edge), origin, life)?;
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
        life: Life<Attached>,
    ) -> Result<PortId> {
        let edge = life.there().and_then(|it| it.seat.edge());
        let too_many = || Error::new(Class::Runtime, format!("{name}: the switch has as many ports as it can have"));
        let isolate = config.isolate;
        let id = self.switch.add_port(config).ok_or_else(too_many)?;
        self.isolated.set(id, isolate);
        if let Some(Edge::Channel(channel)) = edge {
            channel.show_isolated(self.isolated.clone());
        }
        if let Some(error) = edge.and_then(|edge| self.watch(id, edge).err()) {
            self.switch.remove_port(self.clock.now(), id);
            return Err(error.at(name));
        }
        self.note_ways_of_calling(id, edge);
        self.pulse.name_port(id, name);
        if self.ports.len() <= id.index() {
            self.ports.resize_with(id.index() + 1, || None);
        }
        self.ports[id.index()] =
            Some(PortSlot { name: name.to_owned(), origin, life, backoff: Backoff::default(), rewriter: None });
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
        let needed = |slot: &mut PortSlot| slot.edge().is_some_and(Edge::tells_its_link);
        if !self.lists.flushing.has(id) && self.slot_mut(id).is_some_and(|slot| !needed(slot)) {
            // When it fails, the port only goes on being told.
            let _ = self.set_room_watched(id, false);
        }
    }

    fn set_room_watched(&mut self, id: PortId, watched: bool) -> Result<()> {
        let Some(slot) = self.ports.get(id.index()).and_then(Option::as_ref) else { return Ok(()) };
        let there = slot.life.there().filter(|it| it.room_watched != watched);
        let Some(edge) = there.and_then(|it| it.seat.edge()) else { return Ok(()) };
        let interest = if watched { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        for fd in edge.fds().into_iter().flatten() {
            let changed = self.poll.registry().reregister(&mut SourceFd(&fd), Token(id.index()), interest);
            changed.map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        }
        if let Some(there) = self.slot_mut(id).and_then(|slot| slot.life.there_mut()) {
            there.room_watched = watched;
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
        let life = Life::Open(Attached::new(Edge::Channel(channel), String::new(), self.clock.now()));
        self.add_to_switch(name, config, Origin::Inside, life)?;
        Ok(link)
    }

    /// A port's descriptor is of no more use: nothing is offered to it from now on, and [`Self::lose`] sees to the rest.
    pub(super) fn fail(&mut self, id: PortId, gone: Gone) {
        if let Some(there) = self.slot_mut(id).and_then(|slot| slot.life.there_mut()) {
            there.seat.fail(gone);
            self.gone.push(id);
        }
    }

    /// Sees to a port whose edge has failed: it waits for its next peer, is opened again, or is removed.
    pub(super) fn lose(&mut self, id: PortId) {
        let Some(lost) = self.slot_mut(id).and_then(PortSlot::take_failed) else { return };
        let Some(Lost { edge, gone, arriving, since }) = self.await_next(id, lost) else { return };
        let now = self.clock.now();
        let Some(slot) = self.slot_mut(id) else { return };
        if let (Edge::Channel(channel), Origin::Spec(_)) = (&edge, &slot.origin)
            && let Some(why) = channel.failure()
        {
            slot.life = Life::Over(why.to_owned());
            self.set_down(id);
        } else if let Origin::Spec(_) = slot.origin {
            if now - since > LAST_RETRY {
                slot.backoff = Backoff::default();
            }
            let level = if arriving { log::Level::Debug } else { log::Level::Warn };
            log::log!(level, "{}: {}; trying again until it is there", slot.name, gone.0);
            self.unwatch(edge.fds());
            self.wait(Wisher::Port(id));
        } else {
            self.tell_end(id, &gone.0);
            self.unwatch(edge.fds());
            self.remove_slot(id);
        }
    }

    /// A port that was asked for is there, or its peer has to come yet.
    ///
    /// # Errors
    /// Its descriptor cannot be watched.
    pub(super) fn attach(&mut self, id: PortId, edge: Edge, peer: String, arriving: bool) -> Result<()> {
        self.watch(id, &edge)?;
        let now = self.clock.now();
        self.note_ways_of_calling(id, Some(&edge));
        let mac = edge.mac();
        let Some(slot) = self.slot_mut(id) else { return Ok(()) };
        let spec = slot.origin.spec().cloned();
        let there = Attached::new(edge, peer, now);
        slot.life = if arriving { Life::Arriving(there) } else { Life::Open(there) };
        if let Some(spec) = spec {
            self.bind_own(id, &spec, mac);
        }
        if arriving {
            self.begin_arrival(id);
        } else {
            log::info!("{}: open again", self.port_name(id));
            self.switch.set_up(now, id, true);
            self.make_ready(id);
        }
        Ok(())
    }

    /// Takes a port out of the switch; a client's counters go to its listener, those of other ports are kept apart.
    fn remove_slot(&mut self, id: PortId) {
        let shown = self.port_status(id, |slot| slot.origin.spec().is_some());
        let counters = self.switch.remove_port(self.clock.now(), id);
        let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::take) else { return };
        self.channels.retain(|&channel| channel != id);
        self.tell_departure(id);
        self.timed.retain(|&timed| timed != id);
        self.lists.forget(id);
        self.gone.retain(|&gone| gone != id);
        self.timers.forget_port(id);
        match (slot.origin, counters, shown) {
            (Origin::Client { listener, number }, Some(counters), _) => {
                if let Some(listener) = self.listeners.get_mut(listener).and_then(Option::as_mut) {
                    listener.client_left(number, &counters);
                }
            }
            (_, Some(counters), Some(shown)) => self.departed.keep(shown, counters),
            _ => {}
        }
    }

    /// Removes a port, or a listener with its clients.
    pub(super) fn remove_by_name(&mut self, name: &str) -> Result<()> {
        let named = |slot: &Option<ListenerSlot>| slot.as_ref().is_some_and(|slot| slot.spec.name == name);
        let listener = self.listeners.iter().position(named);
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
            self.unwatch(self.ports[id.index()].as_ref().and_then(|slot| Some(slot.edge()?.fds())).unwrap_or_default());
            self.remove_slot(id);
        }
        if let Some((index, slot)) = listener.and_then(|index| Some((index, self.listeners[index].take()?))) {
            self.timers.forget_listener(index);
            self.unwatch([slot.life.there().map(Listener::fd)]);
            self.departed.keep(listener_status(&slot), slot.departed);
        }
        Ok(())
    }
}
