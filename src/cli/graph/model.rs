//! A bench as a picture has it: its switches, their ports, and what is known of each, put together from the answers of a
//! running bridge. `zbridge graph` and `zbridge view` draw it; nothing here knows how.

use crate::cli::stations::{Station, stations};
use crate::cli::table::{dropped, mark_gone, peer, reasons, settings};
use crate::control::{InstanceInfo, MediumInfo, PortInfo, RadioInfo, StatusInfo, SwitchInfo};
use crate::engine::control::Client;
use crate::error::{Class, Error, Result};
use crate::service::report::LOST;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Stations of one port that are shown; of more the number.
const STATIONS: usize = 4;
/// Leases and figures of one port that are shown.
const NOTES: usize = 4;

/// A bench.
#[derive(Clone, PartialEq, Serialize, Default, Debug)]
pub struct Picture {
    /// The bridge's name, or the file's where it does not run.
    pub bridge: String,
    pub switches: Vec<Switch>,
    /// Programs that have no port.
    pub programs: Vec<Program>,
}

/// A switch.
#[derive(Clone, PartialEq, Serialize, Default, Debug)]
pub struct Switch {
    pub name: String,
    /// Why it passes no frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// It is a radio medium.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radio: Option<Radio>,
    pub ports: Vec<Port>,
}

/// Who hears whom on a radio medium.
#[derive(Clone, PartialEq, Serialize, Default, Debug)]
pub struct Radio {
    /// Every node hears every other.
    pub all_to_all: bool,
    pub links: Vec<Link>,
}

/// A pair of nodes, at least one of which hears the other.
#[derive(Clone, PartialEq, Serialize, Default, Debug)]
pub struct Link {
    /// The places of both in [`Switch::ports`].
    pub nodes: [usize; 2],
    /// The probabilities that a frame of the first arrives at the second, and the other way.
    pub chances: [f64; 2],
}

impl Link {
    /// `0.9`, or with two that differ `0.9 → 0.5 ←`; nothing where every frame arrives. `turned`: the first node stands at
    /// the right.
    pub fn words(&self, turned: bool) -> String {
        let [left, right] = self.chances;
        let [there, back] = if turned { [right, left] } else { [left, right] };
        match (there > 0.0, back > 0.0) {
            _ if there == back && there >= 1.0 => String::new(),
            _ if there == back => format!("{there}"),
            (true, true) => format!("{there} → {back} ←"),
            (true, false) => format!("{there} →"),
            (false, _) => format!("{back} ←"),
        }
    }
}

/// How a port is, in three.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Default, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Mood {
    /// Frames pass.
    Up,
    /// It waits for somebody, or is not run.
    #[default]
    Waits,
    /// Frames do not pass.
    Down,
}

/// A port.
#[derive(Clone, PartialEq, Serialize, Default, Debug)]
pub struct Port {
    pub name: String,
    pub kind: String,
    pub state: String,
    pub mood: Mood,
    /// Its peer, or its target.
    pub about: String,
    /// The addresses behind it.
    pub stations: Vec<Place>,
    /// How many more there are.
    pub more_stations: usize,
    /// The program whose port it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// Its service's figures and leases.
    pub notes: Vec<String>,
    pub traffic: Traffic,
    pub dropped: u64,
    /// What was dropped and why, in words.
    pub reasons: String,
    pub queued: u64,
    /// A listener's clients.
    pub clients: Vec<Port>,
}

impl Port {
    /// Whether frames were dropped that no client tells of.
    pub fn own_drops(&self) -> bool {
        self.dropped > self.clients.iter().map(|client| client.dropped).sum()
    }
}

/// A station at a port.
#[derive(Clone, PartialEq, Eq, Serialize, Default, Debug)]
pub struct Place {
    pub mac: String,
    pub addr: String,
    /// The name that it has a lease under.
    pub name: String,
    /// Another station has one of its addresses.
    pub twice: bool,
}

/// What a port has passed, and how fast.
#[derive(Clone, Copy, PartialEq, Serialize, Default, Debug)]
pub struct Traffic {
    pub rx_frames: u64,
    pub tx_frames: u64,
    /// Frames a second; what came in at the port is `rx`.
    pub rx_rate: f64,
    pub tx_rate: f64,
    /// Bits a second.
    pub rx_bits: f64,
    pub tx_bits: f64,
    /// Drops a second.
    pub drop_rate: f64,
}

/// A program of a bench.
#[derive(Clone, PartialEq, Eq, Serialize, Default, Debug)]
pub struct Program {
    pub name: String,
    /// `ready`, or `waits (status 1), 3 restarts`.
    pub state: String,
    pub mood: ProgramMood,
    /// Its last lines.
    pub lines: Vec<String>,
}

/// Whether a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Default, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramMood {
    Runs,
    #[default]
    Waits,
    Failed,
}

/// The answers of a bridge at one moment.
pub struct Answers {
    pub at: Instant,
    pub status: StatusInfo,
    pub stations: Vec<Station>,
    pub instances: Vec<InstanceInfo>,
    pub radio: RadioInfo,
}

impl Answers {
    /// Asks `client`.
    ///
    /// # Errors
    /// What it answers; that it has ended.
    pub fn of(client: &mut Client) -> Result<Self> {
        let fdb = client.fdb(None)?;
        let told = client.stations()?;
        let (instances, radio) = (client.instances().or_else(older)?, client.radio().or_else(older)?);
        let (mut status, at) = (client.status()?, Instant::now());
        status.switches.iter_mut().for_each(mark_gone);
        let stations = stations(fdb, &told, &status);
        Ok(Self { at, status, stations, instances: instances.instances, radio })
    }
}

/// A bridge of an older version does not know the request.
fn older<T: Default>(error: Error) -> Result<T> {
    if error.class() == Class::Usage { Ok(T::default()) } else { Err(error) }
}

/// What the ports had counted at an earlier moment, by switch and name.
#[derive(Default)]
pub struct Before {
    at: Option<Instant>,
    ports: BTreeMap<(String, String), PortInfo>,
}

impl Before {
    /// Of these answers.
    pub fn of(answers: &Answers) -> Self {
        let ports = answers.status.switches.iter().flat_map(|switch| {
            switch.ports.iter().map(|port| ((switch.name.clone(), port.name.clone()), port.clone()))
        });
        Self { at: Some(answers.at), ports: ports.collect() }
    }

    /// What a port passes.
    fn traffic(&self, at: Instant, switch: &str, port: &PortInfo) -> Traffic {
        let counted = Traffic { rx_frames: port.rx_frames, tx_frames: port.tx_frames, ..Traffic::default() };
        let passed = self.at.map_or(Duration::ZERO, |before| at.saturating_duration_since(before));
        let key = (switch.to_owned(), port.name.clone());
        let Some(before) = self.ports.get(&key).filter(|_| !passed.is_zero()) else { return counted };
        // A port of the same name may be another one, which has counted less.
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed.as_secs_f64();
        Traffic {
            rx_rate: rate(port.rx_frames, before.rx_frames),
            tx_rate: rate(port.tx_frames, before.tx_frames),
            rx_bits: 8.0 * rate(port.rx_bytes, before.rx_bytes),
            tx_bits: 8.0 * rate(port.tx_bytes, before.tx_bytes),
            drop_rate: rate(dropped(port), dropped(before)),
            ..counted
        }
    }
}

/// The picture of a bridge, with rates since `before`.
pub fn picture(answers: &Answers, before: &Before) -> Picture {
    let switch = |switch: &SwitchInfo| one_switch(answers, before, switch);
    let has_port = |instance: &&InstanceInfo| {
        let ports = || answers.status.switches.iter().flat_map(|switch| &switch.ports);
        instance.ports.iter().any(|name| ports().any(|port| port.name == *name))
    };
    Picture {
        bridge: answers.status.name.clone(),
        switches: answers.status.switches.iter().map(switch).collect(),
        programs: answers.instances.iter().filter(|it| !has_port(it)).map(program).collect(),
    }
}

fn one_switch(answers: &Answers, before: &Before, switch: &SwitchInfo) -> Switch {
    let mut ports: Vec<Port> = Vec::new();
    for info in &switch.ports {
        let port = one_port(answers, before, &switch.name, info);
        let listener = info.listener.as_ref().and_then(|name| ports.iter_mut().find(|port| port.name == *name));
        match listener {
            Some(listener) => listener.clients.push(port),
            None => ports.push(port),
        }
    }
    let medium = answers.radio.media.iter().find(|medium| medium.switch == switch.name);
    Switch {
        name: switch.name.clone(),
        trouble: switch.trouble.as_ref().map(|trouble| format!("{}: {}", trouble.state, trouble.reason)),
        radio: medium.map(|medium| radio(medium, &ports)),
        ports,
    }
}

/// A node may be a client of a listener: then its link is drawn to that.
fn radio(medium: &MediumInfo, ports: &[Port]) -> Radio {
    let place = |name: &str| {
        ports.iter().position(|port| port.name == name || port.clients.iter().any(|client| client.name == name))
    };
    let links = medium.links.iter().filter_map(|link| Some((place(&link.from)?, place(&link.to)?, link.chance)));
    Radio { all_to_all: medium.all_to_all, links: paired(links) }
}

/// Both directions of a pair of nodes in one.
pub fn paired(links: impl Iterator<Item = (usize, usize, f64)>) -> Vec<Link> {
    let mut pairs: BTreeMap<[usize; 2], [f64; 2]> = BTreeMap::new();
    for (from, to, chance) in links.filter(|(from, to, _)| from != to) {
        let [there, back] = pairs.entry([from.min(to), from.max(to)]).or_default();
        let way = if from < to { there } else { back };
        *way = way.max(chance);
    }
    pairs.into_iter().map(|(nodes, chances)| Link { nodes, chances }).collect()
}

fn one_port(answers: &Answers, before: &Before, switch: &str, info: &PortInfo) -> Port {
    let all = answers.stations.iter().filter(|station| station.switch == switch && station.port == info.name);
    let mut stations: Vec<Place> = all.flat_map(places).collect();
    // Those with an address say more.
    stations.sort_by_key(|place| place.addr.is_empty());
    let more_stations = stations.len().saturating_sub(STATIONS);
    stations.truncate(STATIONS);
    let runs = answers.instances.iter().find(|instance| instance.ports.contains(&info.name));
    let about = peer(info).to_owned();
    Port {
        name: info.name.clone(),
        kind: info.kind.clone(),
        state: info.state.clone(),
        mood: mood(&info.state),
        about: if about == "-" { String::new() } else { about },
        stations,
        more_stations,
        program: runs.map(program),
        notes: notes(info),
        traffic: before.traffic(answers.at, switch, info),
        dropped: dropped(info),
        reasons: reasons(info),
        queued: info.queued,
        clients: Vec::new(),
    }
}

/// A station once for each of its addresses of the kind that is shown: an IPv6 address of the link alone says nothing
/// where there is another.
fn places(station: &Station) -> Vec<Place> {
    let mac = station.mac.clone();
    let said: Vec<_> = station.addresses.iter().filter(|address| !address.addr.starts_with("fe80:")).collect();
    let place = |address: &crate::cli::stations::Address| Place {
        mac: mac.clone(),
        addr: address.addr.clone(),
        name: address.name.clone().unwrap_or_default(),
        twice: address.shared || station.flapping,
    };
    if said.is_empty() {
        return vec![Place { mac, twice: station.flapping, ..Place::default() }];
    }
    said.into_iter().map(place).collect()
}

fn mood(state: &str) -> Mood {
    match state {
        "up" => Mood::Up,
        "down" | "stalled" => Mood::Down,
        _ => Mood::Waits,
    }
}

/// What a service counts, and the leases of a segment.
fn notes(info: &PortInfo) -> Vec<String> {
    let mut notes: Vec<String> = info
        .figures
        .iter()
        // What it has lost stands among the drops.
        .filter(|(of, _)| *of != LOST)
        .filter_map(|(of, each)| {
            // What never happened is no news.
            let each = each.iter().filter(|(_, figure)| **figure > 0);
            let each: Vec<String> = each.map(|(name, figure)| format!("{figure} {name}")).collect();
            (!each.is_empty()).then(|| format!("{of}: {}", each.join(", ")))
        })
        .collect();
    notes.extend(settings(info));
    notes.extend(info.leases.iter().map(|lease| {
        let name = lease.name.as_deref().unwrap_or(&lease.mac);
        format!("lease {} {name}", lease.addr)
    }));
    let more = notes.len().saturating_sub(NOTES);
    if more > 0 {
        notes.truncate(NOTES.saturating_sub(1));
        notes.push(format!("and {} more", more + 1));
    }
    notes
}

/// A program as it is shown.
fn program(info: &InstanceInfo) -> Program {
    let mood = match (info.state.as_str(), info.end.as_deref()) {
        ("ready" | "starts" | "stops", _) => ProgramMood::Runs,
        (_, Some(end)) if end != "status 0" => ProgramMood::Failed,
        _ => ProgramMood::Waits,
    };
    let mut state = info.state.clone();
    if let Some(end) = info.end.as_ref().filter(|_| mood != ProgramMood::Runs) {
        state = format!("{state} ({end})");
    }
    match info.restarts {
        0 => {}
        1 => state.push_str(", 1 restart"),
        many => state.push_str(&format!(", {many} restarts")),
    }
    Program { name: info.name.clone(), state, mood, lines: info.lines.clone() }
}
