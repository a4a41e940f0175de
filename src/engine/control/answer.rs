//! Carries out commands: asks the switches, and puts their answers into the protocol's words.
//!
//! A switch answers within a breath. Whatever takes longer is given back as work for another thread
//! ([`Outcome::Aside`]), or as a page that waits for a reading of the tables ([`Outcome::Page`]).

use super::aside::Asker;
use super::board::{Board, Ordered};
use super::captures::Captured;
use super::details;
use super::drops;
use super::entries::{Reading, Want};
use super::gateways;
use super::parting;
use super::probe;
use super::rates::Rates;
use super::reload::Reloader;
use super::session::{Session, WAITS, Wait};
use super::stations;
use super::trace;
use super::waits::States;
use crate::capture::Wish;
use crate::capture::filter::Filter;
use crate::config::grammar::{nearest, nearest_of};
use crate::config::text::shell;
use crate::config::{Cut, PortSpec, settings, value};
use crate::control::openmetrics;
use crate::control::{
    Added, AddressInfo, AttachInfo, Command, FlapInfo, InstancesInfo, LeaseInfo, Lifetime, MediumInfo, PORT_STATES,
    PortInfo, RadioInfo, RadioLinkInfo, ReplayInfo, StationsInfo, StatusInfo, SwitchInfo, TroubleInfo, unhex,
};
use crate::engine::command::{Handle, NamedFlap, NamedKnown};
use crate::engine::fdb::NamedEntry;
use crate::engine::status::{Condition, PortStatus, SwitchStatus};
use crate::error::{Class, Error, Result};
use crate::rights;
use crate::service::report::{Figures, Leased};
use crate::time::{Duration, Instant};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use signal_hook::consts::SIGKILL;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// MAC addresses that are shown of one port.
const HEARD: usize = 16;

/// Leases that are shown of one port.
const LEASES: usize = 4096;

/// The longest that a client may wait for something.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The bridge, as commands see it.
pub struct Answerer {
    /// Its name.
    pub name: String,
    /// Its switches.
    pub handles: Vec<Handle>,
    /// When it began.
    pub since: SystemTime,
    /// What its ports had counted at the last looks.
    pub rates: Mutex<Rates>,
    /// Names of ports that other threads are opening.
    pub opening: Arc<Mutex<BTreeSet<String>>>,
    /// The programs that run beside it.
    pub board: Arc<Board>,
    /// Its configuration file, if it was started with one.
    pub reloader: Option<Arc<Reloader>>,
}

/// A port of this name is being opened until this is dropped.
struct Opening {
    all: Arc<Mutex<BTreeSet<String>>>,
    name: String,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

/// The outcome of a command.
pub enum Outcome {
    /// It is done.
    Done(Value),
    /// The client is subscribed to events; true: it hears first what there is.
    Subscribed(bool),
    /// The answer comes when the session's last wait is over.
    Later,
    /// The answer comes from work that may block, for another thread.
    Aside(Work),
    /// The answer, and all that follows, is sent by another thread.
    Taken,
    /// The answer is a page of the forwarding databases.
    Page(Want),
}

/// Work that may block.
pub type Work = Box<dyn FnOnce() -> Told + Send>;

/// The outcome of such work.
pub enum Told {
    /// A port was opened, or was not.
    Added(Result<Added>, Lifetime),
    /// The services were asked, or one of them did not answer.
    Asked(Result<Value>),
    /// The forwarding databases were read.
    Read(Reading),
    /// It has panicked.
    Abnormal,
}

/// A command that is done, with its answer.
pub fn done(answer: &impl Serialize) -> Result<Outcome> {
    as_value(answer).map(Outcome::Done)
}

/// An answer as it is sent.
pub fn as_value(answer: &impl Serialize) -> Result<Value> {
    serde_json::to_value(answer)
        .map_err(|cause| Error::new(Class::Runtime, format!("cannot be written: {cause}")).because(cause))
}

impl Answerer {
    /// Does what `command` says, for `session`, which numbered it `id`.
    pub fn answer(&self, now: Instant, id: Option<u64>, command: Command, session: &mut Session) -> Result<Outcome> {
        match command {
            Command::Status => done(&self.status(now)),
            Command::PortAdd { spec, fd, lifetime, may_exist } => self.add(&spec, fd, (lifetime, may_exist), session),
            Command::PortDel { port, if_exists: true, .. } if self.switch_of(&port).is_none() => {
                done(&serde_json::json!({}))
            }
            Command::PortDel { port, for_now, .. } => self.remove(&port, for_now, session),
            Command::Set { port, settings } => self.set(&port, &settings, session),
            Command::Cut { ports, from, one_way } => parting::cut(self, &Cut::new(&ports, &from, one_way)?, session),
            Command::Heal { ports } => parting::heal(self, &ports, session),
            Command::Fdb { switch, after } => {
                let want = Want::new(Asker { session: session.number, id }, switch, after)?;
                want.switch().map(|name| self.switch(name)).transpose()?;
                Ok(Outcome::Page(want))
            }
            Command::Trace { port, frame, segment } => {
                let handle = self.switch_of(&port).ok_or_else(|| self.no_port(&port))?;
                let bytes = unhex(&frame).ok_or_else(|| Error::usage("the frame is not in hexadecimal"))?;
                done(&trace::of(handle, &port, bytes, segment)?)
            }
            Command::Drops => done(&drops::of(&self.handles)),
            Command::Stations => done(&self.stations()?),
            Command::Flows => Ok(self.details(details::flows)),
            Command::Usb => Ok(self.details(details::usb)),
            Command::Instances => done(&InstancesInfo { instances: self.board.instances() }),
            Command::Start { instances } => self.order(Ordered::Start, instances, session),
            Command::Stop { instances } => self.order(Ordered::Stop, instances, session),
            Command::Restart { instances } => self.order(Ordered::Restart, instances, session),
            Command::Kill { instances, signal } => {
                let signal = signal.as_deref().map_or(Ok(SIGKILL), value::signal);
                let signal = signal.map_err(|form| Error::usage(format!("kill: expected {form}")))?;
                self.order(Ordered::Signal(signal), instances, session)
            }
            Command::Logs { instance, after } => done(&self.board.log(&instance, after)?),
            Command::Probe { question, switch, timeout_ms } => {
                let of = switch.map(|name| self.switch(&name).cloned()).transpose()?;
                let handles = of.map_or_else(|| self.handles.clone(), |handle| vec![handle]);
                probe::work(&question, handles, Duration::from_millis(timeout_ms))
            }
            Command::Radio => done(&self.radio()?),
            Command::Capture { switch, wish } => self.capture(id, switch.as_deref(), wish, session),
            Command::Wait { port, state, timeout_ms } => self.wait(now, id, port, state, timeout_ms, session),
            Command::Events { initial } => Ok(Outcome::Subscribed(initial)),
            Command::Down => self.down(session),
            Command::Reload => self.reload(session),
            Command::FdbAdd { mac, port, may_exist } => stations::bind(self, (&mac, &port), may_exist, session),
            Command::FdbDel { mac, switch, if_exists } => {
                stations::forget(self, (&mac, switch.as_deref()), if_exists, session)
            }
            Command::FdbFlush { port, switch } => stations::flush(self, (port.as_deref(), switch.as_deref()), session),
            Command::ForwardLs => Ok(self.details(gateways::forwards)),
            Command::DnsLs => Ok(self.details(gateways::names)),
            Command::LeaseLs => Ok(self.details(gateways::leases)),
            other => gateways::Wish::of(other).map(|wish| self.change_gateway(wish, &session.who)),
        }
    }

    fn status(&self, now: Instant) -> StatusInfo {
        let mut ages = HashMap::new();
        let switches = self.handles.iter().filter_map(|handle| {
            let status = handle.status().ok()?;
            let runs = status.condition == Condition::Runs;
            let of = status.ports.iter().map(|port| ((status.name.clone(), port.name.clone()), port.age));
            ages.extend(of);
            let heard = heard(runs.then(|| handle.fdb_at_a_glance()).flatten());
            let addresses = addresses(runs.then(|| handle.known().ok()).flatten());
            Some(switch_info(&status, heard, addresses))
        });
        let mut switches: Vec<SwitchInfo> = switches.collect();
        self.rates.lock().fill_in(now, &mut switches, &ages);
        StatusInfo {
            name: self.name.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            sandbox: rights::summary(),
            switches,
        }
    }

    /// The status in figures.
    pub fn metrics(&self, now: Instant) -> String {
        openmetrics::text(&self.status(now), &self.board.instances())
    }

    fn stations(&self) -> Result<StationsInfo> {
        let mut told = StationsInfo::default();
        for handle in self.handles.iter().filter(|handle| !handle.has_ended()) {
            let (known, flapping) = handle.known()?;
            told.addresses.extend(known.into_iter().map(|(known, port)| AddressInfo {
                switch: handle.name().to_owned(),
                addr: known.addr,
                mac: known.mac.to_string(),
                port,
                age: known.age.as_secs(),
                other: known.other.map(|mac| mac.to_string()),
            }));
            let switch = handle.name();
            let macs: Vec<String> = flapping.iter().map(|(mac, _)| mac.to_string()).collect();
            if !macs.is_empty() {
                told.flapping.insert(switch.to_owned(), macs);
            }
            let flaps = flapping.into_iter();
            told.flaps.extend(flaps.map(|(mac, ports)| FlapInfo {
                switch: switch.into(),
                mac: mac.to_string(),
                ports,
            }));
        }
        told.addresses.sort_by(|a, b| (&a.switch, a.addr).cmp(&(&b.switch, b.addr)));
        Ok(told)
    }

    fn radio(&self) -> Result<RadioInfo> {
        let mut told = RadioInfo::default();
        for handle in self.handles.iter().filter(|handle| !handle.has_ended()) {
            let Some(links) = handle.radio()? else { continue };
            let switch = handle.name().to_owned();
            let all_to_all = links.is_none();
            let links = links.unwrap_or_default().into_iter();
            let links = links.map(|(from, to, chance)| RadioLinkInfo { from, to, chance }).collect();
            told.media.push(MediumInfo { switch, all_to_all, links });
        }
        Ok(told)
    }

    /// The status of all ports. A switch that has ended has none.
    pub fn ports(&self) -> impl Iterator<Item = PortStatus> {
        self.handles.iter().flat_map(Handle::status).flat_map(|status| status.ports)
    }

    pub(super) fn switch(&self, name: &str) -> Result<&Handle> {
        self.handles.iter().find(|handle| handle.name() == name).ok_or_else(|| {
            let known = nearest(name, self.handles.iter().map(Handle::name));
            let all: Vec<_> = self.handles.iter().map(Handle::name).collect();
            let hint = format!("no switch is added to a running bridge; it has {}", all.join(", "));
            Error::new(Class::NoObject, format!("no switch is named {name}; {known}")).hint(hint)
        })
    }

    /// The switch that has a port of this name.
    pub fn switch_of(&self, port: &str) -> Option<&Handle> {
        let has = |handle: &&Handle| {
            handle.status().is_ok_and(|status| status.ports.iter().any(|status| status.name == port))
        };
        self.handles.iter().find(has)
    }

    fn add(
        &self,
        spec: &str,
        fd: bool,
        (lifetime, may_exist): (Lifetime, bool),
        session: &mut Session,
    ) -> Result<Outcome> {
        let descriptor = if fd {
            let none = || Error::usage("no descriptor came with the request").hint("send it with SCM_RIGHTS");
            Some(session.take_descriptor().ok_or_else(none)?)
        } else {
            None
        };
        let spec = PortSpec::parse(spec)?;
        let handle = self.switch(&spec.switch)?;
        let added = Added { port: spec.name.clone(), switch: spec.switch.clone() };
        if may_exist && self.has_same(handle, &spec) {
            return done(&added);
        }
        if let Some(other) = self.switch_of(&spec.name) {
            let what = format!("there is a port named {} already, on switch {}", spec.name, other.name());
            return Err(Error::usage(what).hint("give it a name="));
        }
        let Some(descriptor) = descriptor else {
            let (handle, opening) = (handle.clone(), self.opening(&spec.name)?);
            let work = move || {
                let told = handle.add_port(spec).map(|()| added);
                drop(opening);
                Told::Added(told, lifetime)
            };
            return Ok(Outcome::Aside(Box::new(work)));
        };
        handle.add_port_with(spec, descriptor)?;
        note_added(&added, lifetime, session);
        done(&added)
    }

    /// Whether the switch has the port that `spec` says.
    fn has_same(&self, handle: &Handle, spec: &PortSpec) -> bool {
        let is_it =
            |port: &PortStatus| port.name == spec.name && port.kind == spec.kind.word() && port.target == spec.target();
        handle.status().is_ok_and(|status| status.ports.iter().any(is_it))
    }

    /// Two ports opened at once under one name would first clash at an address or a path.
    fn opening(&self, name: &str) -> Result<Opening> {
        if !self.opening.lock().insert(name.to_owned()) {
            let what = format!("a port named {name} is just being added by another client");
            return Err(Error::usage(what).hint("give it a name="));
        }
        Ok(Opening { all: self.opening.clone(), name: name.to_owned() })
    }

    fn remove(&self, port: &str, for_now: bool, session: &mut Session) -> Result<Outcome> {
        let Some(handle) = self.switch_of(port) else { return Err(self.no_port(port)) };
        if for_now { handle.remove_port_for_now(port) } else { handle.remove_port(port) }?;
        session.ports.retain(|(switch, name)| switch != handle.name() || name != port);
        log::info!("{port}: removed by {}", session.who);
        done(&serde_json::json!({}))
    }

    fn set(&self, port: &str, words: &[String], session: &Session) -> Result<Outcome> {
        let settings = settings(words)?;
        let Some(handle) = self.switch_of(port) else { return Err(self.no_port(port)) };
        handle.set(port, settings)?;
        log::info!("{port}: set {} by {}", words.join(" "), session.who);
        done(&serde_json::json!({}))
    }

    /// Orders something of the programs of this process. Who carries it out answers in its time.
    fn order(&self, what: Ordered, instances: Vec<String>, session: &Session) -> Result<Outcome> {
        if instances.is_empty() {
            return Err(Error::usage("no instance is named"));
        }
        log::info!("{}: {what} by {}", instances.join(", "), session.who);
        let answer = self.board.order(what, instances)?;
        let work = move || {
            let gone = |_| Error::new(Class::Runtime, "the bench has ended");
            let done = answer.recv().map_err(gone).and_then(|done| done);
            Told::Asked(done.map(|()| serde_json::json!({})))
        };
        Ok(Outcome::Aside(Box::new(work)))
    }

    /// Has frames captured for `session`, whose connection is the capture's from then on.
    fn capture(&self, id: Option<u64>, switch: Option<&str>, wish: Wish, session: &mut Session) -> Result<Outcome> {
        let handles = match switch {
            Some(name) => vec![self.switch(name)?.clone()],
            None => self.handles.clone(),
        };
        let ports: Vec<PortStatus> = self.ports().collect();
        // A device of a USB port has an interface of its own.
        let is_known = |name: &str| {
            let device_of = name.split_once('#').map(|(port, _)| port);
            ports.iter().any(|port| port.name == name || (port.kind == "usbip" && device_of == Some(&port.name)))
        };
        if let Some(port) = wish.ports.iter().find(|port| !is_known(port)) {
            let words = wish.ports.join(" ");
            let error = self.no_port(port);
            return Err(match Filter::parse(&words) {
                // tcpdump's habit.
                Ok(Some(_)) => error.hint(format!("a filter? -f {}", shell(&words))),
                _ => error,
            });
        }
        // A client that a filter names may come later, but not another port: it would be waited for in vain.
        let filter = Filter::parse(&wish.filter)?;
        let is_there = |name: &str| is_known(name) || name.split_once('#').is_some_and(|(port, _)| is_known(port));
        if let Some(port) = filter.iter().flat_map(Filter::ports).find(|port| !is_there(port)) {
            return Err(self.no_port(port));
        }
        session.capture = Some(Captured::start(id, handles, wish, &session.who, session.as_fd())?);
        log::info!("captured by {}", session.who);
        Ok(Outcome::Taken)
    }

    /// The error that there is no such port.
    pub fn no_port(&self, port: &str) -> Error {
        let names: Vec<String> = self.ports().map(|port| port.name).collect();
        let error = Error::new(Class::NoObject, format!("no port is named {port}"));
        if names.is_empty() {
            return error;
        }
        error.hint(nearest_of(port, &names.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// Removes the ports that `session` had added for its lifetime.
    pub fn leave(&self, session: &Session) {
        for (switch, port) in &session.ports {
            if self.switch(switch).and_then(|handle| handle.remove_port_for_now(port)).is_ok() {
                log::info!("{port}: removed, as {} has left", session.who);
            }
        }
    }

    fn wait(
        &self,
        now: Instant,
        id: Option<u64>,
        port: String,
        state: String,
        millis: u64,
        session: &mut Session,
    ) -> Result<Outcome> {
        if !PORT_STATES.contains(&state.as_str()) {
            let known = nearest(&state, PORT_STATES.iter().copied());
            return Err(Error::usage(format!("{state:?} is no state of a port; {known}")));
        }
        if session.waits.len() >= WAITS {
            return Err(Error::new(Class::Runtime, format!("more than {WAITS} requests wait on this connection")));
        }
        let until = now + Duration::from_millis(millis).min(LONGEST_WAIT);
        session.waits.push(Wait { id, port, state, until, millis });
        Ok(Outcome::Later)
    }

    /// Has the whole process end.
    fn down(&self, session: &Session) -> Result<Outcome> {
        self.board.down()?;
        log::info!("{} ends the bridge", session.who);
        done(&serde_json::json!({}))
    }

    /// Has the configuration file read again.
    fn reload(&self, session: &Session) -> Result<Outcome> {
        let reloader = self.reloader.clone().ok_or_else(|| {
            let error = Error::usage("this bridge was not started with a file");
            error.hint("zbridge --config FILE can be reloaded; zbridge port add and del change any")
        })?;
        let (handles, who) = (self.handles.clone(), session.who.clone());
        Ok(Outcome::Aside(Box::new(move || reloader.told(&handles, &who))))
    }

    /// The states of all ports.
    pub fn states(&self) -> States {
        let switches: Vec<SwitchStatus> = self.handles.iter().flat_map(Handle::status).collect();
        // A switch that hangs may still have its ports; one that has ended has none.
        let hangs = switches.iter().any(|status| matches!(status.condition, Condition::Hangs(_)));
        States::of(switches.into_iter().flat_map(|status| status.ports), hangs)
    }
}

/// Notes a port that was added for `session`.
pub fn note_added(added: &Added, lifetime: Lifetime, session: &mut Session) {
    if lifetime == Lifetime::Connection {
        session.ports.push((added.switch.clone(), added.port.clone()));
    }
    log::info!("{}: added by {}", added.port, session.who);
}

/// The addresses behind each port, by its name.
fn heard(stations: Option<Vec<NamedEntry>>) -> HashMap<String, Vec<String>> {
    let mut heard: HashMap<String, Vec<String>> = HashMap::new();
    for (entry, port) in stations.unwrap_or_default() {
        let macs = heard.entry(port.to_string()).or_default();
        let mac = entry.mac.to_string();
        if macs.len() < HEARD && macs.last() != Some(&mac) {
            macs.push(mac);
        }
    }
    heard
}

/// The IP addresses that stations behind each port say they have, by its name.
fn addresses(known: Option<(Vec<NamedKnown>, Vec<NamedFlap>)>) -> HashMap<String, Vec<String>> {
    let mut addresses: HashMap<String, Vec<String>> = HashMap::new();
    for (known, port) in known.map(|(known, _)| known).unwrap_or_default() {
        let of_port = addresses.entry(port).or_default();
        // A link-local address tells nothing that one wants to type.
        let is_odd = matches!(known.addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
        if of_port.len() < HEARD && !is_odd {
            of_port.push(known.addr.to_string());
        }
    }
    addresses
}

fn switch_info(
    status: &SwitchStatus,
    mut heard: HashMap<String, Vec<String>>,
    mut addresses: HashMap<String, Vec<String>>,
) -> SwitchInfo {
    let trouble = match &status.condition {
        Condition::Runs => None,
        Condition::Hangs(why) => Some(TroubleInfo { state: "hangs".to_owned(), reason: why.what().to_owned() }),
        Condition::Ended(why) => Some(TroubleInfo { state: "ended".to_owned(), reason: why.what().to_owned() }),
    };
    let port = |(index, port): (usize, &PortStatus)| PortInfo {
        heard: heard.remove(&port.name).unwrap_or_default(),
        addresses: addresses.remove(&port.name).unwrap_or_default(),
        ..port_info(&with_clients(port, status.ports.get(index + 1..).unwrap_or_default()))
    };
    SwitchInfo {
        name: status.name.clone(),
        trouble,
        fdb: status.fdb as u64,
        cuts: status.cuts.clone(),
        ports: status.ports.iter().enumerate().map(port).collect(),
        replay: status
            .replay
            .as_ref()
            .map(|replay| ReplayInfo::new((replay.frames, replay.missing), &replay.differences, &replay.absent)),
    }
}

/// A listener with the counters of its clients added (it sums them up itself only when they leave), and in the state of
/// the best of them. They are the first ports of `behind`.
pub(super) fn with_clients<'a>(port: &'a PortStatus, behind: &[PortStatus]) -> Cow<'a, PortStatus> {
    let mut whole = Cow::Borrowed(port);
    for client in behind.iter().take_while(|client| client.listener.as_ref() == Some(&port.name)) {
        let whole = whole.to_mut();
        whole.counters.add(&client.counters);
        whole.queued += client.queued;
        if whole.state != "up" {
            whole.state = client.state;
        }
    }
    whole
}

fn port_info(status: &PortStatus) -> PortInfo {
    let attach = status.attach.as_ref();
    let now = SystemTime::now();
    let leases = status.leases.iter().filter(|lease| lease.until > now).take(LEASES);
    PortInfo {
        figures: status.figures.iter().map(named).collect(),
        leases: leases.map(lease_info).collect(),
        name: status.name.clone(),
        listener: status.listener.clone(),
        target: status.target.clone(),
        mirrors: status.mirrors.clone(),
        impairments: status.impairments.clone(),
        set_down: status.set_down,
        cuts: status.cuts.clone(),
        held_in: status.held[0] as u64,
        held_out: status.held[1] as u64,
        kind: status.kind.to_owned(),
        state: status.state.to_owned(),
        peer: status.peer.clone(),
        attach: attach.map(|attach| AttachInfo { who: attach.who.to_owned(), line: attach.line.clone() }),
        ..PortInfo::counted(&status.counters, status.queued)
    }
}

fn named(figures: &Figures) -> (String, BTreeMap<String, u64>) {
    (figures.of.to_owned(), figures.each.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect())
}

fn lease_info(lease: &Leased) -> LeaseInfo {
    LeaseInfo {
        addr: lease.addr.to_string(),
        mac: lease.mac.to_string(),
        name: lease.name.clone(),
        until: lease.until.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
    }
}
