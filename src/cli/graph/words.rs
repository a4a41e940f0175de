//! A picture in the languages of two other programs that draw: mermaid's flowcharts, which GitHub shows in Markdown, and
//! graphviz's dot. Names are written by the rules of each, so that none is read as anything but a name.

use super::model::{Mood, Picture, Port, Program, Switch};
use crate::cli::units::per_second;
use crate::visible::visible;
use std::fmt::Write as _;

/// The lines of a port's label.
fn label(port: &Port) -> Vec<String> {
    let mut lines = vec![port.name.clone(), format!("{} · {}", port.kind, port.state)];
    lines.extend([&port.about].into_iter().filter(|about| !about.is_empty()).cloned());
    lines.extend(port.program.iter().map(named));
    lines.extend(port.stations.iter().map(|place| {
        let words = [place.addr.as_str(), &place.name, &place.mac];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }));
    lines.extend((port.more_stations > 0).then(|| format!("and {} more", port.more_stations)));
    lines.extend(port.notes.iter().cloned());
    lines.extend(port.own_drops().then(|| format!("⚠ {} dropped: {}", port.dropped, port.reasons)));
    lines
}

fn named(program: &Program) -> String {
    format!("▸ {}: {}", program.name, program.state)
}

/// What passes, from the port to the switch and back; nothing where nothing does.
fn passes(port: &Port) -> String {
    let traffic = port.traffic;
    if traffic.rx_rate + traffic.tx_rate <= 0.0 {
        return String::new();
    }
    format!("in {} out {}", per_second(traffic.rx_rate), per_second(traffic.tx_rate))
}

fn look(port: &Port) -> &'static str {
    match port.mood {
        _ if port.dropped > 0 => "drops",
        Mood::Up => "up",
        Mood::Waits => "waits",
        Mood::Down => "down",
    }
}

fn title(switch: &Switch) -> Vec<String> {
    let radio = switch
        .radio
        .as_ref()
        .map(|radio| if radio.all_to_all { "802.15.4, every node hears every other" } else { "802.15.4" }.to_owned());
    [Some(format!("switch {}", switch.name)), radio, switch.trouble.clone()].into_iter().flatten().collect()
}

/// A flowchart of mermaid.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    let node = |lines: &[String]| lines.iter().map(|line| coded(line)).collect::<Vec<_>>().join("<br/>");
    for (at, switch) in picture.switches.iter().enumerate() {
        let _ = writeln!(out, "  s{at}{{{{\"{}\"}}}}:::switch", node(&title(switch)));
        let wired = switch.radio.as_ref().is_none_or(|radio| radio.all_to_all);
        for (number, port) in switch.ports.iter().enumerate() {
            let _ = writeln!(out, "  s{at}p{number}[\"{}\"]:::{}", node(&label(port)), look(port));
            let passes = passes(port);
            let says = if passes.is_empty() { String::new() } else { format!("|\"{}\"|", coded(&passes)) };
            if wired {
                let _ = writeln!(out, "  s{at}p{number} ---{says} s{at}");
            }
            for (client, of) in port.clients.iter().enumerate() {
                let _ = writeln!(out, "  s{at}p{number}c{client}([\"{}\"]):::{}", node(&label(of)), look(of));
                let _ = writeln!(out, "  s{at}p{number}c{client} --- s{at}p{number}");
            }
        }
        for link in switch.radio.iter().flat_map(|radio| &radio.links) {
            let ([a, b], [there, back]) = (link.nodes, link.chances);
            let (from, to) = if there > 0.0 { (a, b) } else { (b, a) };
            let arrow = if there > 0.0 && back > 0.0 { "<-->" } else { "-->" };
            let words = link.words(false);
            let says = if words.is_empty() { String::new() } else { format!("|\"{}\"|", coded(&words)) };
            let _ = writeln!(out, "  s{at}p{from} {arrow}{says} s{at}p{to}");
        }
    }
    for (number, program) in picture.programs.iter().enumerate() {
        let _ = writeln!(out, "  i{number}[\"{}\"]:::waits", coded(&named(program)));
    }
    out.push_str(
        "  classDef switch stroke:#0969da,stroke-width:2px\n  classDef up stroke:#0a7d5c,stroke-width:2px\n  \
         classDef waits stroke:#9a6700,stroke-dasharray:4 4\n  classDef down stroke:#b3261e,stroke-dasharray:2 2\n  \
         classDef drops stroke:#b3261e,stroke-width:3px\n",
    );
    out
}

/// Text in a quoted label of mermaid, where `#60;` is a character by its number: whatever is neither letter nor digit and
/// might mean something is written so.
fn coded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in visible(text).chars() {
        let plain = char.is_alphanumeric() || matches!(char, ' ' | '.' | ',' | '-' | '·' | '▸' | '⚠' | '→' | '←' | '…');
        if plain {
            out.push(char);
        } else {
            let _ = write!(out, "#{};", u32::from(char));
        }
    }
    out
}

/// A graph of graphviz.
pub fn dot(picture: &Picture) -> String {
    let mut out = String::from(
        "graph bench {\n  graph [rankdir=LR, fontname=\"Helvetica\"]\n  node [shape=box, style=rounded, fontname=\"Helvetica\", \
         fontsize=11]\n  edge [fontname=\"Helvetica\", fontsize=9]\n",
    );
    let node = |lines: &[String]| lines.iter().map(|line| quoted(line)).collect::<Vec<_>>().join("\\n");
    for (at, switch) in picture.switches.iter().enumerate() {
        let _ =
            writeln!(out, "  s{at} [label=\"{}\", shape=hexagon, style=bold, color=\"#0969da\"]", node(&title(switch)));
        let wired = switch.radio.as_ref().is_none_or(|radio| radio.all_to_all);
        for (number, port) in switch.ports.iter().enumerate() {
            let _ = writeln!(out, "  s{at}p{number} [label=\"{}\", {}]", node(&label(port)), stroke(port));
            if wired {
                let _ = writeln!(out, "  s{at}p{number} -- s{at} [label=\"{}\"]", quoted(&passes(port)));
            }
            for (client, of) in port.clients.iter().enumerate() {
                let _ = writeln!(out, "  s{at}p{number}c{client} [label=\"{}\", {}]", node(&label(of)), stroke(of));
                let _ =
                    writeln!(out, "  s{at}p{number}c{client} -- s{at}p{number} [label=\"{}\"]", quoted(&passes(of)));
            }
        }
        for link in switch.radio.iter().flat_map(|radio| &radio.links) {
            let ([a, b], [there, back]) = (link.nodes, link.chances);
            let way = if there <= 0.0 {
                "back"
            } else if back <= 0.0 {
                "forward"
            } else {
                "both"
            };
            let words = quoted(&link.words(false));
            let _ = writeln!(out, "  s{at}p{a} -- s{at}p{b} [dir={way}, style=dashed, label=\"{words}\"]");
        }
    }
    for (number, program) in picture.programs.iter().enumerate() {
        let _ = writeln!(out, "  i{number} [label=\"{}\"]", quoted(&named(program)));
    }
    out.push_str("}\n");
    out
}

fn stroke(port: &Port) -> &'static str {
    match look(port) {
        "up" => "color=\"#0a7d5c\", penwidth=2",
        "drops" => "color=\"#b3261e\", penwidth=3",
        "down" => "color=\"#b3261e\", style=\"rounded,dotted\"",
        _ => "color=\"#9a6700\", style=\"rounded,dashed\"",
    }
}

/// Text in a quoted string of dot, whose escapes begin with a backslash; `&` would begin an entity of HTML.
fn quoted(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;")
}
