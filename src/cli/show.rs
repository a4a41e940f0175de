//! Switches as a person reads them: one aligned line for each port, how to attach a peer, what was counted.

use super::layout::{self, Row, fits, hanging};
use crate::config::text::columns;
use crate::counters::Counters;
use crate::engine::{NamedEntry, PortStatus, SwitchStatus};

/// Name, kind, state and peer of every port, in lines of `width`; with several switches, each under its name.
pub fn ports(switches: &[SwitchStatus], width: Option<usize>) -> String {
    each(switches, |switch| hanging("", width, &switch.ports.iter().map(port_row).collect::<Vec<_>>()))
}

fn port_row(port: &PortStatus) -> [String; 4] {
    [port.name.clone(), port.kind.to_owned(), port.state.to_owned(), port.peer.clone()]
}

/// For every port that waits for a peer, the line to paste.
pub fn attachments(switches: &[SwitchStatus]) -> String {
    let ports = switches.iter().flat_map(|switch| &switch.ports);
    let lines = ports.filter_map(|port| {
        let attach = port.attach.as_ref()?;
        Some([port.name.clone(), format!("{}:", attach.who), attach.line.clone()])
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { String::new() } else { format!("to attach\n{}", columns("  ", &lines)) }
}

/// The head of the counters.
const COUNTERS: [&str; 8] = ["port", "kind", "state", "rx frames", "rx bytes", "tx frames", "tx bytes", "dropped"];

/// What every port counted, those too that have left, and below it why frames were dropped, in lines of `width`.
///
/// A switch that never had a port has no table.
pub fn counters(switches: &[SwitchStatus], width: Option<usize>) -> String {
    each(switches, |switch| {
        let ports: Vec<&PortStatus> = switch.ports.iter().chain(&switch.left).collect();
        if ports.is_empty() {
            return String::new();
        }
        let mut text = counted(&ports, width);
        for port in ports {
            let drops = port.counters.drops().map(|(row, frames)| {
                [port.name.clone(), frames.to_string(), row.word.to_owned(), row.meaning.to_owned()]
            });
            text.push_str(&hanging("  dropped on ", width, &drops.collect::<Vec<_>>()));
        }
        text
    })
}

fn counted(ports: &[&PortStatus], width: Option<usize>) -> String {
    let rows = ports.iter().map(|port| counter_row(port, "clients that left"));
    let whole = columns("", &std::iter::once(COUNTERS.map(String::from)).chain(rows).collect::<Vec<_>>());
    let Some(width) = width.filter(|&width| !fits(&whole, Some(width))) else { return whole };
    let row = |port: &&PortStatus| {
        let [name, short @ ..] = counter_row(port, "left");
        Row { name, short: short.into(), notes: String::new() }
    };
    layout::narrow(&COUNTERS, &ports.iter().map(row).collect::<Vec<_>>(), width).concat()
}

/// The cells of a port under [`COUNTERS`], with the word `left` for clients that are no more.
fn counter_row(port: &PortStatus, left: &str) -> [String; COUNTERS.len()] {
    let counters = &port.counters;
    // A listener stands for the clients that have left, if they had anything to say or to hear.
    let state = match port.state {
        "listening" if *counters != Counters::default() => left,
        state => state,
    };
    [
        port.name.clone(),
        port.kind.to_owned(),
        state.to_owned(),
        counters.rx_frames.to_string(),
        counters.rx_bytes.to_string(),
        counters.tx_frames.to_string(),
        counters.tx_bytes.to_string(),
        counters.drops().map(|(_, frames)| frames).sum::<u64>().to_string(),
    ]
}

/// The forwarding database, sorted by address.
pub fn fdb(entries: &[NamedEntry]) -> String {
    let mut rows: Vec<_> = entries
        .iter()
        .map(|(entry, port)| {
            let age = entry.age.map_or_else(|| "static".into(), |age| format!("{} s", age.as_secs()));
            [entry.mac.to_string(), port.to_string(), age]
        })
        .collect();
    rows.sort();
    rows.insert(0, ["address", "port", "age"].map(String::from));
    columns("", &rows)
}

fn each(switches: &[SwitchStatus], show: impl Fn(&SwitchStatus) -> String) -> String {
    match switches {
        [only] => show(only),
        several => several.iter().map(|switch| format!("switch {}\n{}", switch.name, show(switch))).collect(),
    }
}
