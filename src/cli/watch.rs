//! `status --watch`: what changes at the ports of a bridge, each line with the time.
//!
//! A port that comes, goes or is in another state is said at once, one that only counts once a second, with the rate since
//! its last line. The head of the columns comes again from time to time, so that it is on the screen.

use super::layout::{self, Row, fits};
use super::table::{dropped, dropped_and_why, noted, peer, reasons};
use super::units::amount;
use crate::config::text::columns;
use crate::control::{PortInfo, StatusInfo};
use std::time::{Duration, Instant};

/// How often it is looked.
pub const LOOK: Duration = Duration::from_millis(250);

/// How long a port only counts before it is said again.
const COUNTING: Duration = Duration::from_secs(1);

/// Lines after which the head comes again.
const SCREEN: usize = 20;

const HEAD: [&str; 10] = ["time", "port", "kind", "state", "rx", "tx", "rx bit/s", "tx bit/s", "dropped", "peer"];

/// The same in few columns, the time and the name being one.
const NARROW: [&str; 8] = ["time      port", "kind", "state", "rx", "tx", "rx bit/s", "tx bit/s", "dropped"];

/// What is said of a port at a moment.
struct Line {
    time: String,
    state: String,
    port: PortInfo,
    rates: [String; 2],
}

/// What was said of a port, and when.
struct Told {
    port: PortInfo,
    at: Instant,
}

/// What was said of all of them.
pub struct Watch {
    told: Vec<Told>,
    /// Lines since the last head.
    lines: usize,
    /// How long a line may be.
    width: Option<usize>,
}

impl Watch {
    /// The ports of `status` have just been shown, where lines have `width` characters.
    pub fn new(now: Instant, status: &StatusInfo, width: Option<usize>) -> Self {
        let told = ports(status).map(|port| Told { port: port.clone(), at: now }).collect();
        Self { told, lines: SCREEN, width }
    }

    /// The lines of what is other than before, at `time` of the clock on the wall.
    pub fn changes(&mut self, now: Instant, time: &str, status: &StatusInfo) -> String {
        let mut rows = self.departures(time, status);
        for port in ports(status) {
            let known = self.told.iter_mut().find(|told| is_same(&told.port, port));
            let rates = match &known {
                Some(told) if told.is_stale(now, port) => told.rates(now, port),
                Some(_) => continue,
                None => ["-", "-"].map(str::to_owned),
            };
            rows.push(line(time, port, &port.state, rates));
            let said = Told { port: port.clone(), at: now };
            match known {
                Some(told) => *told = said,
                None => self.told.push(said),
            }
        }
        self.written(rows)
    }

    /// What has come, gone or changed its state, in words; who only counts is not told.
    pub fn comings(&mut self, now: Instant, status: &StatusInfo) -> Vec<String> {
        let mut said: Vec<String> =
            self.departures("", status).iter().map(|line| told_of(&line.port, "gone")).collect();
        for port in ports(status) {
            let known = self.told.iter_mut().find(|told| is_same(&told.port, port));
            // A service counts where others have a peer.
            let is_other = |told: &Told| port.figures.is_empty() && told.port.peer != port.peer;
            let is_new = known.as_ref().is_none_or(|told| told.port.state != port.state || is_other(told));
            said.extend(is_new.then(|| told_of(port, &port.state)));
            let told = Told { port: port.clone(), at: now };
            match known {
                Some(known) => *known = told,
                None => self.told.push(told),
            }
        }
        said
    }

    /// The rows of ports that are gone.
    fn departures(&mut self, time: &str, status: &StatusInfo) -> Vec<Line> {
        let mut gone = Vec::new();
        self.told.retain(|told| {
            let stays = ports(status).any(|port| is_same(&told.port, port));
            if !stays {
                gone.push(line(time, &told.port, "gone", ["-", "-"].map(str::to_owned)));
            }
            stays
        });
        gone
    }

    /// The rows as lines, as wide as those of all ports.
    fn written(&mut self, rows: Vec<Line>) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let with_head = self.lines >= SCREEN;
        self.lines = if with_head { rows.len() } else { self.lines.saturating_add(rows.len()) };
        let (skipped, taken) = if with_head { (0, rows.len() + 1) } else { (1, rows.len()) };
        let others = self.told.iter().map(|told| line("00:00:00", &told.port, &told.port.state, Default::default()));
        let all: Vec<Line> = rows.into_iter().chain(others).collect();
        let whole =
            columns("", &std::iter::once(HEAD.map(str::to_owned)).chain(all.iter().map(whole)).collect::<Vec<_>>());
        let lines: Vec<String> = match self.width {
            Some(width) if !fits(&whole, Some(width)) => {
                layout::narrow(&NARROW, &all.iter().map(narrow).collect::<Vec<_>>(), width)
            }
            _ => whole.split_inclusive('\n').map(str::to_owned).collect(),
        };
        lines.into_iter().skip(skipped).take(taken).collect()
    }
}

impl Told {
    /// Whether the port is to be said again.
    fn is_stale(&self, now: Instant, port: &PortInfo) -> bool {
        let counts = |port: &PortInfo| (port.rx_frames, port.tx_frames, dropped(port));
        (&self.port.state, &self.port.peer) != (&port.state, &port.peer)
            || now.duration_since(self.at) >= COUNTING && counts(&self.port) != counts(port)
    }

    /// Bits a second in and out since then.
    fn rates(&self, now: Instant, port: &PortInfo) -> [String; 2] {
        let seconds = now.duration_since(self.at).as_secs_f64();
        let rate = |before: u64, bytes: u64| amount(bytes.saturating_sub(before) as f64 * 8.0 / seconds);
        [rate(self.port.rx_bytes, port.rx_bytes), rate(self.port.tx_bytes, port.tx_bytes)]
    }
}

fn ports(status: &StatusInfo) -> impl Iterator<Item = &PortInfo> {
    status.switches.iter().flat_map(|switch| &switch.ports)
}

fn told_of(port: &PortInfo, state: &str) -> String {
    let peer = peer(port);
    format!("{} is {state}{}", port.name, if peer == "-" { String::new() } else { format!(": {peer}") })
}

fn is_same(one: &PortInfo, other: &PortInfo) -> bool {
    (&one.name, &one.kind) == (&other.name, &other.kind)
}

fn line(time: &str, port: &PortInfo, state: &str, rates: [String; 2]) -> Line {
    Line { time: time.to_owned(), state: state.to_owned(), port: port.clone(), rates }
}

/// Its cells under [`HEAD`].
fn whole(Line { time, state, port, rates: [rx, tx] }: &Line) -> [String; HEAD.len()] {
    let [received, sent] = [port.rx_frames, port.tx_frames].map(|number| number.to_string());
    let [time, name, kind, state] = [time, &port.name, &port.kind, state].map(Clone::clone);
    [time, name, kind, state, received, sent, rx.clone(), tx.clone(), dropped_and_why(port), peer(port).to_owned()]
}

/// The same under [`NARROW`], with the rest below.
fn narrow(line: &Line) -> Row {
    let [_, _, kind, state, received, sent, rx, tx, ..] = whole(line);
    let port = &line.port;
    Row {
        name: format!("{}  {}", line.time, port.name),
        short: vec![kind, state, received, sent, rx, tx, dropped(port).to_string()],
        notes: noted([("", peer(port).to_owned()), ("dropped ", reasons(port))]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{bridge, port};
    use super::*;

    #[test]
    fn states_are_said_at_once_and_counters_each_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut watch =
            Watch::new(start, &bridge(vec![port("a", "up", 1), port("longer", "up", 1), port("c", "up", 1)]), None);
        let now = bridge(vec![port("a", "down", 1), port("longer", "up", 11)]);
        let head = "time      port    kind  state  rx  tx  rx bit/s  tx bit/s  dropped  peer\n";
        let first = "12:00:00  c       unix  gone   1   0   -         -         0        -\n\
                     12:00:00  a       unix  down   1   0   0         0         0        -\n";
        assert_eq!(watch.changes(at(250), "12:00:00", &now), format!("{head}{first}"));
        assert_eq!(watch.changes(at(500), "12:00:00", &now), "");
        let then = "12:00:01  longer  unix  up     11  0   2.40k     0         1 (stalled 1)  -\n";
        assert_eq!(watch.changes(at(2000), "12:00:01", &now), then);
        assert_eq!(watch.changes(at(9000), "12:00:09", &now), "", "it is quiet");
        let back = bridge(vec![port("a", "down", 1), port("longer", "up", 11), port("c", "up", 0)]);
        assert!(watch.changes(at(9250), "12:00:09", &back).starts_with("12:00:09  c       unix  up     0"));
    }

    #[test]
    fn no_line_is_longer_than_asked() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let peer = "nobody: cannot be opened, there is no such device or it is busy".to_owned();
        let port = PortInfo { peer, ..port("a-port", "connecting", 20) };
        let mut watch = Watch::new(start, &bridge(vec![]), Some(80));
        let text = watch.changes(at(1), "12:00:00", &bridge(vec![port.clone()]));
        let said = "time      port    kind  state       rx  tx  rx bit/s  tx bit/s  dropped\n\
                    12:00:00  a-port  unix  connecting  20  0   -         -         2\n    \
                    nobody: cannot be opened, there is no such device or it is busy; dropped\n    stalled 2\n";
        assert_eq!(text, said);
        let then = watch.changes(at(2), "12:00:01", &bridge(vec![PortInfo { state: "up".into(), ..port }]));
        assert!(then.starts_with("12:00:01  a-port  unix  up "), "{then}");
    }

    #[test]
    fn the_head_comes_again() {
        let start = Instant::now();
        let mut watch = Watch::new(start, &bridge(Vec::new()), None);
        let mut text = String::new();
        for round in 0..50_u64 {
            let ports = if round % 2 == 0 { vec![port("a", "up", 0)] } else { Vec::new() };
            text += &watch.changes(start + LOOK, "12:00:00", &bridge(ports));
        }
        assert_eq!((text.lines().count(), text.matches("time ").count()), (53, 3));
    }
}
