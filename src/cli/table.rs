//! The ports of a running bridge as `status` shows them: a table that fits the terminal, and below it how to attach to
//! what waits.
//!
//! Where a line has no room for all of a port, everything that has no fixed length goes below it ([`layout`]): its peer,
//! the addresses that are heard on it, why frames were dropped.

use super::layout::{self, Row, fits};
use crate::config::text::columns;
use crate::control::{LeaseInfo, PortInfo, SwitchInfo};
use crate::visible::visible;
use std::time::{SystemTime, UNIX_EPOCH};

const HEAD: [&str; 9] = ["port", "kind", "state", "rx", "tx", "queued", "dropped", "heard", "peer"];

/// How many of these have a length that is known, more or less.
const SHORT: usize = 7;

/// One line for each port, below the name of its switch if there are several, and the lines to paste. `all`: also those of
/// ports that have a peer.
pub fn status(switches: &[SwitchInfo], width: Option<usize>, all: bool) -> String {
    let one = |switch: &SwitchInfo| {
        let table = if switch.ports.is_empty() { "no ports\n".to_owned() } else { laid_out(&switch.ports, width) };
        trouble(switch) + &table + &leases(switch)
    };
    let tables = match switches {
        [only] => one(only),
        several => several.iter().map(|switch| format!("switch {}\n{}", visible(&switch.name), one(switch))).collect(),
    };
    tables + &attachments(switches.iter().flat_map(|switch| &switch.ports).filter(|port| all || waits(port, switches)))
}

/// Whether there is no peer yet.
fn waits(port: &PortInfo, switches: &[SwitchInfo]) -> bool {
    let mut others = switches.iter().flat_map(|switch| &switch.ports);
    port.heard.is_empty() && others.all(|other| other.listener.as_ref() != Some(&port.name))
}

/// The lines that attach a peer to `ports`.
pub fn attachments<'a>(ports: impl Iterator<Item = &'a PortInfo>) -> String {
    let lines = ports.filter_map(|port| {
        let attach = port.attach.as_ref()?;
        Some([port.name.clone(), format!("{}:", attach.who), attach.line.clone()])
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { String::new() } else { format!("to attach\n{}", columns("  ", &lines)) }
}

/// Why a switch passes no frames, if it does not.
fn trouble(switch: &SwitchInfo) -> String {
    switch
        .trouble
        .as_ref()
        .map_or_else(String::new, |it| format!("switch {} {}: {}\n", visible(&switch.name), it.state, it.reason))
}

/// One line for each lease of a segment.
fn leases(switch: &SwitchInfo) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let row = |port: &PortInfo, lease: &LeaseInfo| {
        let name = lease.name.clone().unwrap_or_else(|| "-".to_owned());
        let left = format!("{} s left", lease.until.saturating_sub(now));
        [port.name.clone(), lease.addr.clone(), lease.mac.clone(), name, left]
    };
    let rows = switch.ports.iter().flat_map(|port| port.leases.iter().map(move |lease| row(port, lease)));
    columns("  lease of ", &rows.collect::<Vec<_>>())
}

/// A port's cells under [`HEAD`].
fn port_row(port: &PortInfo) -> [String; HEAD.len()] {
    [
        port.name.clone(),
        port.kind.clone(),
        port.state.clone(),
        port.rx_frames.to_string(),
        port.tx_frames.to_string(),
        port.queued.to_string(),
        dropped_and_why(port),
        heard(port),
        // The longest comes last, so that it pads no other row.
        peer_and_settings(port),
    ]
}

/// The peer, or where it would connect, or `-`.
pub fn peer(port: &PortInfo) -> &str {
    [port.peer.as_str(), port.target.as_str()].into_iter().find(|text| !text.is_empty()).unwrap_or("-")
}

/// The peer, of whom the port gets copies, and what bad lines do to its frames.
fn peer_and_settings(port: &PortInfo) -> String {
    let held = port.held_in + port.held_out;
    let held = (held > 0).then(|| format!("{held} held"));
    let bent: Vec<&str> = port.impairments.iter().chain(&held).map(String::as_str).collect();
    let mirrors = (!port.mirrors.is_empty()).then(|| format!("mirrors {}", port.mirrors.join(", ")));
    let bent = (!bent.is_empty()).then(|| bent.join(", "));
    [Some(peer(port).to_owned()), mirrors, bent].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Frames that were dropped, for whatever reason.
pub fn dropped(port: &PortInfo) -> u64 {
    port.drops.values().sum()
}

/// `0`, or the sum and what it is made of: `5 (stalled 3, oversize 2)`.
pub fn dropped_and_why(port: &PortInfo) -> String {
    let (sum, reasons) = (dropped(port), reasons(port));
    if reasons.is_empty() { sum.to_string() } else { format!("{sum} ({reasons})") }
}

/// Why frames were dropped, and how many each time.
pub fn reasons(port: &PortInfo) -> String {
    let reasons: Vec<String> = port.drops.iter().map(|(reason, frames)| format!("{reason} {frames}")).collect();
    reasons.join(", ")
}

/// The first address behind a port, and how many there are beside it.
fn heard(port: &PortInfo) -> String {
    match port.heard.as_slice() {
        [] => "-".to_owned(),
        [only] => only.clone(),
        [first, others @ ..] => format!("{first} +{}", others.len()),
    }
}

/// The table, in lines of `width` characters as far as that is possible.
fn laid_out(ports: &[PortInfo], width: Option<usize>) -> String {
    let rows = std::iter::once(HEAD.map(str::to_owned)).chain(ports.iter().map(port_row));
    let whole = columns("", &rows.collect::<Vec<_>>());
    match width {
        Some(width) if !fits(&whole, Some(width)) => narrow(ports, width),
        _ => whole,
    }
}

/// The cells that are short, behind the name.
fn short(port: &PortInfo) -> Vec<String> {
    let [_, kind, state, rx, tx, queued, ..] = port_row(port);
    vec![kind, state, rx, tx, queued, dropped(port).to_string()]
}

/// What goes below them.
fn notes(port: &PortInfo) -> String {
    noted([("", peer_and_settings(port)), ("heard ", heard(port)), ("dropped ", reasons(port))])
}

/// Details of a port, each with its label.
pub fn noted<const N: usize>(parts: [(&str, String); N]) -> String {
    let parts = parts.into_iter().filter(|(_, text)| !["", "-"].contains(&text.as_str()));
    parts.map(|(lead, text)| format!("{lead}{text}")).collect::<Vec<_>>().join("; ")
}

/// The table with two lines or more a port.
fn narrow(ports: &[PortInfo], width: usize) -> String {
    let row = |port: &PortInfo| Row { name: port.name.clone(), short: short(port), notes: notes(port) };
    let head: Vec<&str> = HEAD.into_iter().take(SHORT).collect();
    layout::narrow(&head, &ports.iter().map(row).collect::<Vec<_>>(), width).concat()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::control::{AttachInfo, StatusInfo};
    use crate::counters::{Counters, DropReason};

    pub fn port(name: &str, state: &str, frames: u64) -> PortInfo {
        let mut counters = Counters::default();
        counters.received(frames, 60 * frames);
        counters.drop(DropReason::Stalled, frames / 10);
        PortInfo { name: name.into(), kind: "unix".into(), state: state.into(), ..PortInfo::counted(&counters, 0) }
    }

    pub fn bridge(ports: Vec<PortInfo>) -> StatusInfo {
        let switches = vec![SwitchInfo { name: "default".into(), trouble: None, ports }];
        StatusInfo { name: "default".into(), pid: 42, version: "0".into(), since: 0, sandbox: None, switches }
    }

    fn client(listener: &str, frames: u64, heard: &[&str]) -> PortInfo {
        let heard = heard.iter().map(|mac| (*mac).to_owned()).collect();
        let peer = "pid 21605 (qemu-system-x86)".to_owned();
        PortInfo { listener: Some(listener.into()), heard, peer, ..port(&format!("{listener}#1"), "up", frames) }
    }

    fn listener(name: &str) -> PortInfo {
        let attach = AttachInfo { who: "QEMU".into(), line: format!("-netdev {name}") };
        PortInfo { target: format!("/tmp/{name}"), attach: Some(attach), ..port(name, "listening", 0) }
    }

    #[test]
    fn a_port_is_one_line_where_there_is_room() {
        let ports = vec![listener("a"), client("a", 20, &["02:00:5e:00:53:01", "02:00:5e:00:53:02"]), listener("b")];
        let text = status(&bridge(ports.clone()).switches, None, false);
        assert_eq!(
            text,
            "port  kind  state      rx  tx  queued  dropped        heard                 peer\n\
             a     unix  listening  0   0   0       0              -                     /tmp/a\n\
             a#1   unix  up         20  0   0       2 (stalled 2)  02:00:5e:00:53:01 +1  pid 21605 (qemu-system-x86)\n\
             b     unix  listening  0   0   0       0              -                     /tmp/b\n\
             to attach\n  b  QEMU:  -netdev b\n"
        );
        let all = status(&bridge(ports).switches, None, true);
        assert!(all.ends_with("to attach\n  a  QEMU:  -netdev a\n  b  QEMU:  -netdev b\n"), "{all}");
        assert_eq!(status(&bridge(Vec::new()).switches, None, false), "no ports\n");
    }

    #[test]
    fn what_is_long_breaks_no_other_line() {
        let long = "n".repeat(60);
        let ports =
            vec![listener("a"), client("a", 20, &["02:00:5e:00:53:01"]), PortInfo { attach: None, ..listener(&long) }];
        let text = status(&bridge(ports).switches, Some(80), false);
        assert_eq!(
            text,
            format!(
                "port  kind  state      rx  tx  queued  dropped\n\
                 a     unix  listening  0   0   0       0\n    /tmp/a\n\
                 a#1   unix  up         20  0   0       2\n    \
                 pid 21605 (qemu-system-x86); heard 02:00:5e:00:53:01; dropped stalled 2\n\
                 {long}\n      unix  listening  0   0   0       0\n    /tmp/{long}\n"
            )
        );
    }
}
