//! A picture as text at a terminal: a tree, each port with what is behind it.

use super::model::{Mood, Picture, Port, Program, Switch};
use crate::cli::layout::fits;
use crate::cli::units::{bits, per_second};
use crate::config::text::{columns, wrap};
use crate::visible::visible;
use std::fmt::Write as _;

/// The width of a branch before a port.
const BRANCH: usize = 3;
/// Name, kind and state stand in the first line of a port in any case.
const NAMED: usize = 3;

/// The whole picture, in lines of `width` characters as far as that is possible.
pub fn tree(picture: &Picture, width: Option<usize>) -> String {
    let mut out = format!("bridge {}\n", visible(&picture.bridge));
    for switch in &picture.switches {
        one_switch(&mut out, switch, width);
    }
    for program in &picture.programs {
        let _ = writeln!(out, "program {}", visible(&said(program)));
    }
    out
}

fn said(program: &Program) -> String {
    format!("{}: {}", program.name, program.state)
}

fn one_switch(out: &mut String, switch: &Switch, width: Option<usize>) {
    let medium = if switch.radio.is_some() { ", a radio medium" } else { "" };
    let _ = writeln!(out, "switch {}{medium}", visible(&switch.name));
    if let Some(trouble) = &switch.trouble {
        let _ = writeln!(out, "  ! {}", visible(trouble));
    }
    let rows: Vec<[String; 5]> =
        switch.ports.iter().flat_map(|port| std::iter::once(port).chain(&port.clients)).map(row).collect();
    let (table, kept) = heads(&rows, width.map(|width| width.saturating_sub(BRANCH)));
    let mut heads = table.lines();
    for (index, port) in switch.ports.iter().enumerate() {
        let last = index + 1 == switch.ports.len();
        let (branch, beside) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let _ = writeln!(out, "{branch}{}", heads.next().unwrap_or_default());
        notes(out, &format!("{beside}  "), (port, kept), width);
        for client in &port.clients {
            let _ = writeln!(out, "{beside}{}", heads.next().unwrap_or_default());
            notes(out, &format!("{beside}  "), (client, kept), width);
        }
    }
    let radio = switch.radio.iter().flat_map(|radio| &radio.links);
    let name = |place: usize| switch.ports.get(place).map_or("?", |port| port.name.as_str());
    let links: Vec<[String; 3]> = radio
        .map(|link| {
            let [there, back] = link.chances;
            let sign = if there <= 0.0 {
                "←"
            } else if back <= 0.0 {
                "→"
            } else {
                "↔"
            };
            let words = link.words(false);
            [
                format!("{} {sign} {}", name(link.nodes[0]), name(link.nodes[1])),
                "hears".to_owned(),
                if words.is_empty() { "all".to_owned() } else { words },
            ]
        })
        .collect();
    if switch.radio.as_ref().is_some_and(|radio| radio.all_to_all) {
        out.push_str("   every node hears every other\n");
    }
    out.push_str(&columns("   ", &links));
}

/// The first lines of ports, and how many cells of each they have: the others go below.
fn heads(rows: &[[String; 5]], width: Option<usize>) -> (String, usize) {
    let of = |kept: usize| columns("", &rows.iter().map(|row| row.get(..kept).unwrap_or(row)).collect::<Vec<_>>());
    let kept = (NAMED..=5).rev().find(|&kept| fits(&of(kept), width)).unwrap_or(NAMED);
    (of(kept), kept)
}

fn row(port: &Port) -> [String; 5] {
    let sign = match port.mood {
        Mood::Up => "●",
        Mood::Waits => "○",
        Mood::Down => "×",
    };
    let traffic = port.traffic;
    let passes = match port.state.as_str() {
        super::PLANNED => String::new(),
        _ => format!(
            "in {} {}, out {} {}",
            per_second(traffic.rx_rate),
            bits(traffic.rx_bits),
            per_second(traffic.tx_rate),
            bits(traffic.tx_bits)
        ),
    };
    [format!("{sign} {}", port.name), port.kind.clone(), port.state.clone(), passes, port.about.clone()]
}

fn notes(out: &mut String, indent: &str, (port, kept): (&Port, usize), width: Option<usize>) {
    let cells = row(port).into_iter().skip(kept).filter(|cell| !cell.is_empty());
    let program = port.program.iter().map(|program| format!("▸ {}", said(program)));
    let places = port.stations.iter().map(|place| {
        let twice = if place.twice { "! twice" } else { "" };
        let words = [place.addr.as_str(), &place.name, &place.mac, twice];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("  ")
    });
    let more = (port.more_stations > 0).then(|| format!("and {} more addresses", port.more_stations));
    let drops = port.own_drops().then(|| format!("! {} dropped: {}", port.dropped, port.reasons));
    for line in cells.chain(program).chain(places).chain(more).chain(port.notes.iter().cloned()).chain(drops) {
        match width.filter(|width| indent.chars().count() + line.chars().count() > *width) {
            Some(width) => out.push_str(&wrap(indent, width, &visible(&line))),
            None => drop(writeln!(out, "{indent}{}", visible(&line))),
        }
    }
}
