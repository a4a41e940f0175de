//! The ports of a switch: the switch core's records and the edges behind them, kept in step.
//!
//! A port is in the switch as long as it is in its place here, up while frames may pass, and its descriptors are
//! watched while it has any. The reasons why a port comes and goes are in `lives.rs`.

mod captures;

use super::bends::{self, Bends};
use super::edges::Edges;
use super::fates::FateLog;
use super::life::{Backoff, Life};
use super::mirrors::Mirrors;
use super::parting::{Parting, follow_carrier};
use super::pulse::Pulse;
use super::recorder::Running;
use super::slot::{Attached, Origin, PortSlot};
use super::status::RadioStatus;
use super::tap::Tap;
use super::timers::Timers;
use super::watch::{Source, Watch};
use crate::capture::PortNews;
use crate::capture::filter::is_port;
use crate::capture::pcapng::LinkType;
use crate::config::{Bend, Mirror, PortKind, PortSpec};
use crate::counters::Counters;
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::port::inquiry::Inquirer;
use crate::port::port_set::PortSet;
use crate::port::{Edge, Gone};
use crate::switch::{Address, Known, PortConfig, Settings, Switch};
use crate::time::Clock;
use crate::wire::{Mac, Rewriter, Rule};
use std::os::fd::RawFd;
use std::sync::Arc;

/// See the head of the file.
pub(super) struct Ports {
    /// The name of the switch.
    pub name: String,
    pub switch: Switch,
    pub edges: Edges,
    pub timers: Timers,
    pub watch: Watch,
    pub clock: Clock,
    /// Its end of captures.
    pub tap: Tap,
    /// Captures into files, with the names of the ports that asked for them. Declared after `tap`, which feeds them.
    captures: Vec<(String, u64, Running)>,
    /// The log of fates, where there is one.
    fates: Option<FateLog>,
    /// Which ports get copies of whose frames.
    mirrors: Mirrors,
    /// What bad lines do to the frames of ports.
    bends: Bends,
    /// Which ports were set down, and which are cut from each other.
    pub(super) parting: Parting,
    /// Isolated ports, shown to services.
    isolated: Arc<PortSet>,
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

impl Ports {
    /// The known IP addresses of stations, with the names of their ports.
    pub fn known(&self) -> Vec<(Known, String)> {
        let known = self.switch.known(self.clock.now());
        known.map(|known| (known, self.edges.name(known.port).to_owned())).collect()
    }

    /// The MAC addresses claimed by two stations, with the ports that they are heard on.
    pub fn flapping(&self) -> Vec<(Mac, [String; 2])> {
        let named = self.switch.flapping().map(|flap| {
            let mut ports = [flap.from, flap.to];
            ports.sort_unstable();
            (flap.mac, ports.map(|port| self.edges.name(port).to_owned()))
        });
        named.collect()
    }

    /// Who asks the services of its ports, by the ports' names.
    pub fn inquirers(&self) -> Vec<(String, Inquirer)> {
        let slots = self.switch.ports().filter_map(|id| self.edges.slot(id));
        slots.filter_map(|slot| Some((slot.name.clone(), slot.edge()?.inquirer()?))).collect()
    }

    /// Who hears whom, if this is a radio medium: at most `count` links.
    pub fn radio(&self, count: usize) -> Option<RadioStatus> {
        let name = |id| self.edges.name(id).to_owned();
        self.switch.is_radio().then(|| {
            let links = self.switch.radio_links();
            links.map(|links| links.take(count).map(|(from, to, chance)| (name(from), name(to), chance)).collect())
        })
    }

    /// A switch without ports.
    pub fn new(name: &str, switch: Switch, watch: Watch, pulse: Arc<Pulse>) -> Self {
        let clock = Clock::start();
        Self {
            name: name.to_owned(),
            switch,
            edges: Edges::new(pulse),
            timers: Timers::default(),
            watch,
            tap: Tap::new(clock.now()),
            clock,
            captures: Vec::new(),
            fates: None,
            mirrors: Mirrors::default(),
            bends: Bends::default(),
            parting: Parting::default(),
            isolated: Arc::default(),
        }
    }

    /// Adds an open port.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_open(
        &mut self,
        spec: &PortSpec,
        name: &str,
        origin: Origin,
        edge: Edge,
        peer: String,
    ) -> Result<PortId> {
        self.add(spec, name, origin, Life::Open(Attached::new(edge, peer, self.clock.now())))
    }

    /// Puts a port with its static stations into the switch, and its descriptor under watch.
    ///
    /// # Errors
    /// The switch has as many ports as it can have, or the descriptor cannot be watched.
    pub fn add(&mut self, spec: &PortSpec, name: &str, origin: Origin, life: Life<Attached>) -> Result<PortId> {
        let edge = life.there().and_then(|it| it.seat.edge());
        // Addresses are derived from names; the first client of a listener takes the listener's name.
        let station = if matches!(origin, Origin::Client { number: 1, .. }) { spec.name.as_str() } else { name };
        // A program chooses the MAC of its interface, so that is bound by first use only.
        let own = edge.filter(|_| matches!(origin, Origin::Spec(_))).and_then(Edge::mac);
        let id = self.add_to_switch(name, switch_config(spec, edge), origin, life, Some(&spec.kind))?;
        if let Some(slot) = self.edges.slot_mut(id) {
            slot.rewriter = Rewriter::new(station, &spec.rewrite);
        }
        bends::bend(&mut self.switch, id, name, &self.bends.of(name));
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

    /// The same for a port without a specification.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_bare(&mut self, name: &str, config: PortConfig, origin: Origin, life: Life<Attached>) -> Result<PortId> {
        self.add_to_switch(name, config, origin, life, None)
    }

    fn add_to_switch(
        &mut self,
        name: &str,
        config: PortConfig,
        origin: Origin,
        life: Life<Attached>,
        kind: Option<&PortKind>,
    ) -> Result<PortId> {
        let too_many = || Error::new(Class::Runtime, format!("{name}: the switch has as many ports as it can have"));
        let isolate = config.isolate;
        let id = self.switch.add_port(config).ok_or_else(too_many)?;
        self.isolated.set(id, isolate);
        let edge = life.there().and_then(|it| it.seat.edge());
        if let Some(error) = edge.and_then(|edge| self.watch_edge(id, edge).err()) {
            self.switch.remove_port(self.clock.now(), id);
            return Err(error.at(name));
        }
        let peer = life.there().map(|there| there.peer.as_str()).unwrap_or_default();
        let news = Arc::new(self.news(name, kind, peer));
        self.tap.note_port(&mut self.switch, id, &news);
        let slot = PortSlot {
            name: name.to_owned(),
            news,
            origin,
            life,
            backoff: Backoff::default(),
            rewriter: None,
            since: self.clock.now(),
            stays: false,
        };
        self.edges.put(id, slot);
        self.begin_with(id);
        self.settle_mirrors();
        self.parting.part_new(&mut self.switch, &self.edges, self.clock.now(), id);
        Ok(id)
    }

    /// Changes settings of a port, also where services see which ports are isolated.
    pub fn set_config(&mut self, id: PortId, change: impl FnOnce(&mut Settings)) {
        let Some(mut settings) = self.switch.settings(id) else { return };
        change(&mut settings);
        self.isolated.set(id, settings.isolate);
        self.switch.configure(self.clock.now(), id, settings);
    }

    /// Stations are bound to a port for good, instead of those before.
    pub fn set_statics(&mut self, id: PortId, before: &[Mac], after: &[Mac]) {
        let now = self.clock.now();
        before.iter().filter(|mac| !after.contains(mac)).for_each(|mac| self.switch.remove_static(*mac, id, now));
        for &mac in after {
            if !self.switch.add_static(now, mac, id) {
                log::warn!("{}: the forwarding database has no room for static {mac}", self.edges.name(id));
            }
        }
    }

    /// The port called `name`, or the clients of that listener that are there or come later, suffer `bends` beside what was
    /// said before.
    ///
    /// # Errors
    /// A filter is wrong; nothing is changed.
    pub fn set_bends(&mut self, name: &str, bends: &[Bend]) -> Result<()> {
        bends::check(bends)?;
        if self.bends.is_empty() && !bends.is_empty() && self.switch.replay().is_none() {
            let (switch, seed) = (&self.name, self.switch.fate_seed());
            log::info!(
                "switch {switch}: impairments are drawn from seed={seed}; --switch {switch},seed={seed} repeats them"
            );
        }
        self.bends.add(name, bends);
        let Self { edges, switch, .. } = self;
        for id in edges.ids().filter(|&id| edges.slot(id).is_some_and(|slot| is_port(&slot.name, name))) {
            let own = edges.name(id);
            bends::bend(switch, id, own, &self.bends.of(own));
        }
        Ok(())
    }

    /// Nothing is said of the port or listener called `name` any more.
    pub fn forget_bends(&mut self, name: &str) {
        self.bends.forget(name);
    }

    /// Whether anything is said of the port or listener called `name`.
    pub fn has_bends(&self, name: &str) -> bool {
        self.bends.has(name)
    }

    /// What the port called `name` suffers, as it is written.
    pub fn bends_of(&self, name: &str) -> Vec<String> {
        self.bends.of(name).iter().map(ToString::to_string).collect()
    }

    /// The port called `name`, or the clients of that listener, get copies as `mirrors` say, and no others.
    pub fn set_mirrors(&mut self, name: &str, mirrors: Vec<Mirror>) {
        let (before, none) = (self.mirrors.is_empty(), mirrors.is_empty());
        self.mirrors.set(name, mirrors);
        if !(before && none) {
            self.settle_mirrors();
        }
    }

    /// What the port called `name` gets copies of.
    pub fn mirrors_of(&self, name: &str) -> Vec<String> {
        self.mirrors.of(name)
    }

    /// Has the switch mirror as the ports that there are want it.
    fn settle_mirrors(&mut self) {
        if !self.mirrors.is_empty() || self.switch.has_mirrors() {
            let ports: Vec<_> = self.edges.ids().map(|id| (id, self.edges.name(id))).collect();
            self.switch.set_mirrors(self.mirrors.among(&ports));
        }
    }

    /// The description of a port in a capture.
    fn news(&self, name: &str, kind: Option<&PortKind>, peer: &str) -> PortNews {
        let word = kind.map_or("inside the process", PortKind::word);
        let target = kind.map(|kind| kind.text().target()).unwrap_or_default();
        let words = [word, &target, peer];
        let description = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let link = match kind {
            _ if self.switch.is_radio() => LinkType::IEEE802_15_4_TAP,
            Some(kind) if kind.tells_mtu() => LinkType::RAW,
            _ => LinkType::ETHERNET,
        };
        PortNews {
            switch: self.name.as_str().into(),
            name: name.to_owned(),
            description,
            link,
            speed: kind.and_then(PortKind::speed),
        }
    }

    /// Binds the port's own addresses from its specification, and the MAC address of its interface.
    fn bind_own(&mut self, id: PortId, spec: &PortSpec, mac: Option<Mac>) {
        let known = spec.kind.own_addresses().into_iter().chain(mac.map(Address::Mac));
        spec.own_on_switch(known).for_each(|address| self.switch.bind(address, id));
    }

    /// Begins with a new edge: shows a service the isolated ports, and hears the kernel's news of an interface.
    fn begin_with(&mut self, id: PortId) {
        self.edges.note_ways_of_calling(id);
        if self.switch.is_pulled(id) {
            follow_carrier(&self.edges, id, false);
        }
        let Some(edge) = self.edges.edge(id) else { return };
        if let Edge::Channel(channel) = edge {
            channel.show_isolated(self.isolated.clone());
            channel.watch(self.tap.snap());
        }
        if edge.tells_its_link()
            && let Err(error) = self.watch.hear_of_links()
        {
            log::debug!("switch {}: {error}", self.name);
        }
    }

    /// Attaches an edge to a wish, open or with its peer still to come. It does not set the port up.
    ///
    /// # Errors
    /// Its descriptor cannot be watched.
    pub fn attach(&mut self, id: PortId, edge: Edge, peer: String, arriving: bool) -> Result<()> {
        self.watch_edge(id, &edge)?;
        let (mac, able) = (edge.mac(), edge.abilities());
        self.switch.set_abilities(id, able.pausable, able.offload);
        let mut there = Attached::new(edge, peer, self.clock.now());
        let Some(slot) = self.edges.slot_mut(id) else { return Ok(()) };
        there.untold = arriving && slot.life.wish_mut().is_some_and(|wish| wish.is_untold());
        slot.life = if arriving { Life::Arriving(there) } else { Life::Open(there) };
        let spec = slot.origin.spec().cloned();
        self.begin_with(id);
        if let Some(spec) = spec {
            self.bind_own(id, &spec, mac);
        }
        Ok(())
    }

    /// Watches the descriptors of a port for reading and writing.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn watch_edge(&self, id: PortId, edge: &Edge) -> Result<()> {
        self.watch.add(Source::Port(id), edge.fds(), true)
    }

    /// Watches the descriptors of a port that may have changed.
    ///
    /// # Errors
    /// As [`Self::watch_edge`].
    pub fn rewatch(&mut self, id: PortId, before: [Option<RawFd>; 2]) -> Result<()> {
        let Some(edge) = self.edges.edge(id).filter(|edge| edge.fds() != before) else { return Ok(()) };
        self.watch.forget(before);
        self.watch_edge(id, edge)?;
        self.edges.there_mut(id).into_iter().for_each(|there| there.room_watched = true);
        Ok(())
    }

    /// Watches a port for writability after it did not take all. If it is writable by now, the kernel says so at once.
    pub fn watch_room(&mut self, id: PortId) {
        if let Err(error) = self.set_room_watched(id, true) {
            self.edges.fail(id, Gone(error.to_string()));
        }
    }

    /// Stops watching a writable port for room, unless its queue is not empty or its link state is told that way.
    pub fn stop_watching_room(&mut self, id: PortId) {
        let needed = self.edges.lists.flushing.has(id) || self.edges.edge(id).is_none_or(Edge::tells_its_link);
        if !needed {
            // A failure only costs further events.
            let _ = self.set_room_watched(id, false);
        }
    }

    fn set_room_watched(&mut self, id: PortId, watched: bool) -> Result<()> {
        let Some(there) = self.edges.there_mut(id).filter(|it| it.room_watched != watched) else { return Ok(()) };
        let Some(edge) = there.seat.edge() else { return Ok(()) };
        self.watch.change(Source::Port(id), edge.fds(), watched)?;
        there.room_watched = watched;
        Ok(())
    }

    /// Puts a port with a queue on the flush list.
    pub fn make_flushing(&mut self, id: PortId) {
        if self.switch.state(id).is_some_and(|state| state.queued > 0) {
            self.edges.lists.flushing.add(id);
        }
    }

    /// Polls the ports inside the process that have signalled: for frames, room, leases.
    pub fn look_at_channels(&mut self) {
        for id in self.edges.called() {
            self.bind_leases(id);
            self.make_flushing(id);
            self.edges.make_ready(id);
        }
    }

    /// Binds addresses leased by a service to the guarded ports of the lease holders.
    fn bind_leases(&mut self, id: PortId) {
        if let Some(Edge::Channel(channel)) = self.edges.edge(id)
            && self.switch.is_guarded()
        {
            for lease in channel.take_news().unwrap_or_default().leases.iter() {
                self.switch.bind_lease(lease.mac, lease.addr.into());
            }
        }
    }

    /// Reads on from ports that had been paused.
    pub fn resume(&mut self) {
        while let Some(id) = self.switch.poll_resumed() {
            if self.edges.lists.parked.remove(id) {
                self.edges.make_ready(id);
            }
        }
    }

    /// A port takes part from now on.
    pub fn set_up(&mut self, id: PortId) {
        self.switch.set_up(self.clock.now(), id, true);
        self.edges.make_ready(id);
    }

    /// Sets a port down: its next peer may be another one. Only the first call counts as a departure: the port may be
    /// tried every second.
    pub fn set_down(&mut self, id: PortId) {
        self.forget_rewrites(id);
        if self.switch.is_linked(id) {
            self.switch.set_up(self.clock.now(), id, false);
            self.edges.tell_departure(id);
        }
    }

    /// Forgets the stations behind a port, whose peer may have left: the next may be others.
    pub fn empty(&mut self, id: PortId) {
        self.switch.flush_port(self.clock.now(), id);
        self.edges.tell_departure(id);
        self.forget_rewrites(id);
    }

    fn forget_rewrites(&mut self, id: PortId) {
        self.edges.slot_mut(id).and_then(|slot| slot.rewriter.as_mut()).into_iter().for_each(Rewriter::forget);
    }

    /// Takes a port out of the switch. Gives its slot, and what it had counted.
    pub fn remove(&mut self, id: PortId) -> Option<(PortSlot, Option<Counters>)> {
        if self.tap.is_on() {
            // What its hosts have said of themselves is forgotten with it.
            self.tap.name(self.host_names());
        }
        let counters = self.switch.remove_port(self.clock.now(), id);
        let slot = self.edges.take(id)?;
        self.edges.tell_departure(id);
        self.timers.forget_port(id);
        self.settle_mirrors();
        Some((slot, counters))
    }
}
