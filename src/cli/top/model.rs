//! What the live view shows, as plain data: answers of the bridge and keys come in, and what is to be done goes out.

use super::super::stations::Station;
use super::super::table::{dropped, peer};
use super::asker::{Change, Look};
use super::events::{Happened, between};
use crate::control::{Greeting, PortInfo, StatusInfo};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Samples of a port: as many as the widest sparkline shows.
const SAMPLES: usize = 120;
/// Things that have happened and are kept.
const EVENTS: usize = 500;
/// The most letters of a filter.
const FILTER: usize = 200;
/// How many ports `PgUp` and `PgDn` go.
const PAGE: usize = 10;

/// What is to be done for a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// It ends.
    Quit,
    /// Begins the capture of this port, or ends it.
    Capture(String),
    /// Changes the bridge.
    Change(Change),
    /// Stops this process, as a shell's job.
    Stop,
}

/// What a port did in the time between two looks, a second.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Sample {
    /// Bits in, and bits out.
    pub bits: [f64; 2],
    /// Frames in, and frames out.
    pub frames: [f64; 2],
    /// Frames that were dropped.
    pub drops: f64,
}

/// A port's line.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its switch.
    pub switch: String,
    /// As the bridge tells of it.
    pub port: PortInfo,
    /// A client of the listener above it.
    pub is_client: bool,
    /// Its last samples, the newest last.
    pub samples: VecDeque<Sample>,
}

impl Row {
    /// The newest sample.
    pub fn now(&self) -> Sample {
        self.samples.back().copied().unwrap_or_default()
    }

    fn key(&self) -> Key {
        (self.switch.clone(), self.port.name.clone())
    }

    fn matches(&self, filter: &str) -> bool {
        let port = &self.port;
        let texts = [&self.switch, &port.name, &port.kind, &port.state, &port.peer, &port.target];
        filter.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(filter))
    }
}

type Key = (String, String);

/// The order of the ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// As the bridge has them.
    Bridge,
    /// The busiest first.
    Traffic,
    /// Those that drop most first.
    Drops,
}

/// What lies over the screen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Over {
    /// Nothing.
    Nothing,
    /// The keys and what they do.
    Help,
    /// A filter is being typed.
    Filter,
    /// Whether this port is to be removed.
    Remove(String),
}

/// See the head of the file.
pub struct App {
    /// The bridge's name, and its process, which is not known before it has answered.
    bridge: (String, Option<u32>),
    last: Option<(Instant, Look)>,
    history: BTreeMap<Key, VecDeque<Sample>>,
    rows: Vec<Row>,
    /// The port that keys act at.
    selected: Option<Key>,
    /// The first row on the screen; the view moves it.
    pub first: usize,
    filter: String,
    order: Order,
    over: Over,
    events: VecDeque<Happened>,
    said: String,
    gone: Option<String>,
    capturing: BTreeMap<String, String>,
    /// Specifications of ports that were removed here, the last one last.
    removed: Vec<String>,
}

impl App {
    /// Of the bridge with this name nothing is known yet.
    pub fn new(name: &str) -> Self {
        Self {
            bridge: (name.to_owned(), None),
            last: None,
            history: BTreeMap::new(),
            rows: Vec::new(),
            selected: None,
            first: 0,
            filter: String::new(),
            order: Order::Bridge,
            over: Over::Nothing,
            events: VecDeque::new(),
            said: String::new(),
            gone: None,
            capturing: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    /// Takes the greeting of the bridge: it is there.
    pub fn meet(&mut self, greeting: &Greeting) {
        self.bridge = (greeting.name.clone(), Some(greeting.pid));
        self.gone = None;
    }

    /// Takes an answer of the bridge, which came at `now`; `time` is what a clock shows.
    pub fn look(&mut self, now: Instant, time: &str, look: Look) {
        if self.gone.take().is_some() {
            self.event(time, "the bridge is there again");
        }
        if let Some((_, last)) = &self.last {
            // Counters of another process begin anew.
            if last.status.pid == look.status.pid {
                self.events.extend(between(time, last, &look));
            } else {
                self.history.clear();
            }
        }
        self.sample(now, &look.status);
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
        self.last = Some((now, look));
        self.arrange();
    }

    fn event(&mut self, time: &str, text: &str) {
        let weight = super::events::Weight::Plain;
        self.events.push_back(Happened { time: time.to_owned(), text: text.to_owned(), weight });
    }

    /// Adds what each port did since the last look.
    fn sample(&mut self, now: Instant, status: &StatusInfo) {
        let Some((at, last)) = &self.last else { return };
        let seconds = now.duration_since(*at).as_secs_f64();
        if seconds <= 0.0 || last.status.pid != status.pid {
            return;
        }
        let mut kept = BTreeMap::new();
        for (switch, port) in ports(status) {
            let key = (switch.to_owned(), port.name.clone());
            let mut samples = self.history.remove(&key).unwrap_or_default();
            let before = ports(&last.status).find(|(name, it)| *name == switch && it.name == port.name);
            if let Some((_, before)) = before {
                samples.push_back(sampled(before, port, seconds));
                if samples.len() > SAMPLES {
                    samples.pop_front();
                }
            }
            kept.insert(key, samples);
        }
        self.history = kept;
    }

    /// Makes the rows anew.
    fn arrange(&mut self) {
        let Some((_, look)) = &self.last else { return };
        let filter = self.filter.to_lowercase();
        let mut rows: Vec<Row> = Vec::new();
        for switch in &look.status.switches {
            for (at, port) in switch.ports.iter().enumerate() {
                let is_client = port.listener.is_some();
                let clients =
                    |name: &String| switch.ports.iter().filter(|it| it.listener.as_ref() == Some(name)).count();
                // A listener with one client is one line: the client's peer is what one wants to know.
                if port.listener.as_ref().is_some_and(|name| clients(name) == 1) {
                    continue;
                }
                let mut port = port.clone();
                if !is_client
                    && clients(&port.name) == 1
                    && let Some(client) = switch.ports.get(at + 1)
                {
                    port.peer.clone_from(&client.peer);
                }
                let samples = self.history.get(&(switch.name.clone(), port.name.clone())).cloned().unwrap_or_default();
                rows.push(Row { switch: switch.name.clone(), port, is_client, samples });
            }
        }
        rows.retain(|row| row.matches(&filter));
        match self.order {
            Order::Bridge => {}
            Order::Traffic => {
                rows.sort_by(|a, b| b.now().bits.iter().sum::<f64>().total_cmp(&a.now().bits.iter().sum()))
            }
            Order::Drops => rows.sort_by_key(|row| std::cmp::Reverse(dropped(&row.port))),
        }
        self.rows = rows;
        if self.selected.as_ref().is_none_or(|key| !self.rows.iter().any(|row| row.key() == *key)) {
            self.selected = self.rows.first().map(Row::key);
        }
    }

    /// The bridge is not there.
    pub fn lose(&mut self, why: &str) {
        self.gone = Some(why.to_owned());
    }

    /// Why the bridge is not there, if it is not.
    pub fn gone(&self) -> Option<&str> {
        self.gone.as_deref()
    }

    /// Says something in the last line.
    pub fn say(&mut self, said: String) {
        self.said = said;
    }

    /// The ports that are being captured, and how that goes.
    pub fn set_captures<'a>(&mut self, ports: impl Iterator<Item = (&'a str, String)>) {
        self.capturing = ports.map(|(port, how)| (port.to_owned(), how)).collect();
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c')) {
            return Some(Action::Quit);
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('z')) {
            return Some(Action::Stop);
        }
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Filter => {
                self.type_filter(key.code);
                None
            }
            Over::Remove(port) => self.answer(&port, key.code),
            Over::Help => None,
            Over::Nothing => {
                self.said.clear();
                self.command(key.code)
            }
        }
    }

    /// A key while a filter is typed.
    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => return,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(sign) => self.extend_filter(std::iter::once(sign)),
            _ => {}
        }
        if code != KeyCode::Esc {
            self.over = Over::Filter;
        }
        self.arrange();
    }

    fn extend_filter(&mut self, signs: impl Iterator<Item = char>) {
        let room = FILTER.saturating_sub(self.filter.chars().count());
        self.filter.extend(signs.filter(|sign| !sign.is_control()).take(room));
    }

    /// Takes pasted text: it is no keys, whatever letters it has.
    pub fn paste(&mut self, text: &str) {
        if self.over == Over::Filter {
            self.extend_filter(text.chars());
            self.arrange();
        } else {
            self.say("pasted text is for the filter only: / begins one".to_owned());
        }
    }

    /// A key after the question whether a port is to be removed.
    fn answer(&mut self, port: &str, code: KeyCode) -> Option<Action> {
        if !matches!(code, KeyCode::Char('y' | 'Y')) {
            self.say(format!("{port} stays"));
            return None;
        }
        let row = self.rows.iter().find(|row| row.port.name == port)?;
        self.removed.push(spec(row));
        Some(Action::Change(Change::Remove(port.to_owned())))
    }

    fn command(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('?' | 'h') => self.over = Over::Help,
            KeyCode::Char('/') => self.over = Over::Filter,
            KeyCode::Esc => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Bridge => Order::Traffic,
                    Order::Traffic => Order::Drops,
                    Order::Drops => Order::Bridge,
                };
                self.arrange();
            }
            KeyCode::Char('c') => return self.selected().map(|row| Action::Capture(row.port.name.clone())),
            KeyCode::Char('d') => self.ask_to_remove(),
            KeyCode::Char('u') => match self.removed.pop() {
                Some(spec) => return Some(Action::Change(Change::Add(spec))),
                None => self.say("no port was removed here".to_owned()),
            },
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-(PAGE as isize)),
            KeyCode::PageDown => self.step(PAGE as isize),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            _ => {}
        }
        None
    }

    fn ask_to_remove(&mut self) {
        let Some(row) = self.selected() else { return };
        let name = row.port.name.clone();
        match &row.port.listener {
            Some(listener) => {
                let said = format!("{name} is a client of {listener}, which goes with all its clients");
                self.say(said);
            }
            None if row.port.target.is_empty() => self.say(format!("{name} has no specification to add it again by")),
            None => self.over = Over::Remove(name),
        }
    }

    fn step(&mut self, by: isize) {
        let at = self.place().unwrap_or(0).saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(at).map(Row::key);
    }

    fn selected(&self) -> Option<&Row> {
        self.rows.get(self.place()?)
    }

    /// The place of the selected port among the rows.
    pub fn place(&self) -> Option<usize> {
        let key = self.selected.as_ref()?;
        self.rows.iter().position(|row| row.key() == *key)
    }

    /// The bridge's name, and its process, if it has ever answered.
    pub fn bridge(&self) -> (&str, Option<u32>) {
        let (name, pid) = &self.bridge;
        (name, self.last.as_ref().map(|(_, look)| look.status.pid).or(*pid))
    }

    /// The newest answer.
    pub fn newest(&self) -> Option<&Look> {
        self.last.as_ref().map(|(_, look)| look)
    }

    /// The ports that are shown.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The stations, of which those of the selected port come first.
    pub fn stations(&self) -> Vec<&Station> {
        let mut all: Vec<&Station> = self.newest().map(|look| look.stations.iter().collect()).unwrap_or_default();
        if let Some(row) = self.selected() {
            let name = &row.port.name;
            let elsewhere =
                |it: &Station| it.port != *name && it.port.rsplit_once('#').is_none_or(|(of, _)| of != name);
            all.sort_by_key(|station| elsewhere(station));
        }
        all
    }

    /// What has happened, the newest last.
    pub fn events(&self) -> &VecDeque<Happened> {
        &self.events
    }

    /// Whether a port is being captured.
    pub fn is_captured(&self, port: &str) -> bool {
        self.capturing.contains_key(port)
    }

    /// The filter.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The order of the ports.
    pub fn order(&self) -> Order {
        self.order
    }

    /// What lies over the screen.
    pub fn over(&self) -> &Over {
        &self.over
    }

    /// What the last line says: what there is to say, or how the capture of the selected port goes.
    pub fn said(&self) -> &str {
        let captured = || self.selected().and_then(|row| self.capturing.get(&row.port.name));
        if self.said.is_empty() { captured().map_or("", String::as_str) } else { &self.said }
    }
}

fn ports(status: &StatusInfo) -> impl Iterator<Item = (&str, &PortInfo)> {
    status.switches.iter().flat_map(|switch| switch.ports.iter().map(|port| (switch.name.as_str(), port)))
}

fn sampled(before: &PortInfo, now: &PortInfo, seconds: f64) -> Sample {
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
    Sample {
        bits: [8.0 * rate(before.rx_bytes, now.rx_bytes), 8.0 * rate(before.tx_bytes, now.tx_bytes)],
        frames: [rate(before.rx_frames, now.rx_frames), rate(before.tx_frames, now.tx_frames)],
        drops: rate(dropped(before), dropped(now)),
    }
}

/// The specification that adds a port again.
fn spec(row: &Row) -> String {
    format!("{}:{},name={},switch={}", row.port.kind, row.port.target, row.port.name, row.switch)
}

/// The peer of a port, or where it is.
pub fn whereabouts(row: &Row) -> &str {
    peer(&row.port)
}
