//! The ports of a running bridge as `status` shows them: a table that fits the terminal, and below it how to attach to
//! what waits.
//!
//! Where a line has no room for all of a port, everything that has no fixed length goes below it ([`layout`]): its peer,
//! the addresses that are heard on it, why frames were dropped.

use super::layout::{self, Row, fits, shortened};
use super::units::{amount, span};
use crate::config::text::columns;
use crate::control::{LeaseInfo, PortInfo, RatesInfo, SwitchInfo};
use crate::service::report::LOST;
use crate::visible::visible;
use std::time::{SystemTime, UNIX_EPOCH};

/// The columns, with what each means.
pub const COLUMNS: [(&str, &str); 14] = [
    ("port", "its name; inst1#1 is a client of the listener inst1, which counts what all of them do"),
    ("kind", "what it is: `zbridge ports` has every kind"),
    (
        "state",
        "up, or why not: listening, connecting, waiting, down; stalled: its peer does not read, and its queue is full",
    ),
    ("rx", "frames that it received, so that came into the switch by it"),
    ("tx", "frames that left by it"),
    ("rx bit/s", "bits a second that it received, the mean since the last look; at the first look, since it came"),
    ("tx bit/s", "bits a second that left by it"),
    ("rx f/s", "frames a second that it received"),
    ("tx f/s", "frames a second that left by it"),
    ("queued", "frames that wait for it"),
    ("dropped", "frames that ended here, by reason; service: behind the port. `zbridge drops` says what to do"),
    ("heard", "the MAC address behind it; +N: and so many more"),
    ("address", "the IP address behind it; `zbridge stations` has all"),
    ("peer", "who is at the other end, or why nobody is; whose frames it mirrors; its impairments"),
];

/// Their heads.
const HEAD: [&str; COLUMNS.len()] = {
    let (mut heads, mut at) = ([""; COLUMNS.len()], 0);
    while at < heads.len() {
        heads[at] = COLUMNS[at].0;
        at += 1;
    }
    heads
};

/// The head where lines are narrow: what has a length that is known, more or less.
const NARROW: [&str; 9] = ["port", "kind", "state", "rx", "tx", "rx bit/s", "tx bit/s", "queued", "dropped"];

/// What stands before the reasons of a service.
pub const OF_SERVICE: &str = "service ";

/// Rates over a longer time than this say so: they are no news.
const FRESH: u64 = 60;

/// One line for each port, below the name of its switch if there are several, and the lines to paste. `all`: also those of
/// ports that have a peer.
pub fn status(switches: &[SwitchInfo], width: Option<usize>, all: bool) -> String {
    let mut switches = switches.to_vec();
    switches.iter_mut().for_each(mark_gone);
    let switches = switches.as_slice();
    let one = |switch: &SwitchInfo| {
        let table = if switch.ports.is_empty() { "no ports\n".to_owned() } else { laid_out(&switch.ports, width) };
        trouble(switch) + &table + &replay(switch) + &old_rates(&switch.ports) + &leases(switch)
    };
    let tables = match switches {
        [only] => one(only),
        several => several.iter().map(|switch| format!("switch {}\n{}", visible(&switch.name), one(switch))).collect(),
    };
    let ports = switches.iter().flat_map(|switch| &switch.ports).filter(|port| all || waits(port, switches));
    tables + &attachments(ports, width)
}

/// Whether there is no peer yet.
fn waits(port: &PortInfo, switches: &[SwitchInfo]) -> bool {
    let mut others = switches.iter().flat_map(|switch| &switch.ports);
    port.heard.is_empty() && others.all(|other| other.listener.as_ref() != Some(&port.name))
}

/// The lines that attach a peer to `ports`. Where they have no room beside the ports' names they stand below these, whole:
/// they are to be pasted.
pub fn attachments<'a>(ports: impl Iterator<Item = &'a PortInfo>, width: Option<usize>) -> String {
    let lines = ports.filter_map(|port| {
        let attach = port.attach.as_ref()?;
        Some([port.name.clone(), format!("{}:", attach.who), attach.line.clone()])
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return String::new();
    }
    let beside = columns("  ", &lines);
    let below = |[name, who, line]: &[String; 3]| {
        let line = width.map_or_else(|| format!("    {line}\n"), |width| continued(line, width));
        format!("  {}  {who}\n{line}", visible(name))
    };
    let text = if fits(&beside, width) { beside } else { lines.iter().map(below).collect() };
    format!("to attach\n{text}")
}

/// A line to paste in several, which a shell takes for one: it is broken at blanks outside quotes.
fn continued(line: &str, width: usize) -> String {
    const LEAD: &str = "    ";
    const GOES_ON: &str = " \\";
    let room = width.saturating_sub(LEAD.len() + GOES_ON.len());
    let (mut lines, mut current, mut quoted) = (Vec::new(), String::new(), None);
    for word in line.split(' ') {
        let within = quoted.is_some();
        for sign in word.chars().filter(|sign| ['\'', '"'].contains(sign)) {
            quoted = if quoted == Some(sign) { None } else { quoted.or(Some(sign)) };
        }
        let is_long = current.chars().count() + 1 + word.chars().count() > room;
        if !current.is_empty() && is_long && !within {
            lines.push(std::mem::take(&mut current));
        } else if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(current);
    format!("{LEAD}{}\n", lines.join(&format!("{GOES_ON}\n{LEAD}")))
}

/// Why a switch passes no frames, if it does not.
fn trouble(switch: &SwitchInfo) -> String {
    switch
        .trouble
        .as_ref()
        .map_or_else(String::new, |it| format!("switch {} {}: {}\n", visible(&switch.name), it.state, it.reason))
}

/// How far the switch is like the run that it replays: a line, and one for each port and direction that is not.
fn replay(switch: &SwitchInfo) -> String {
    let Some(replay) = &switch.replay else { return String::new() };
    let mut text = match replay.differences.first() {
        None => format!("  replay: same as the {} frames of its file so far\n", replay.frames),
        Some(first) => {
            format!("  replay: differs at frame {} of {} {}\n", first.first, visible(&first.port), first.way)
        }
    };
    for it in &replay.differences {
        let (port, way) = (visible(&it.port), &it.way);
        text.push_str(&format!(
            "    {port} {way}: {} frames are others, {} more, from {} on\n",
            it.others, it.more, it.first
        ));
    }
    for it in &replay.absent {
        text.push_str(&format!(
            "    {} {}: has not come, {} frames in the file\n",
            visible(&it.port),
            it.way,
            it.frames
        ));
    }
    text
}

/// How old the rates are, where nobody has looked for a while.
fn old_rates(ports: &[PortInfo]) -> String {
    let longest = ports.iter().filter_map(|port| port.rates.as_ref()).map(|rates| rates.over_ms / 1000).max();
    let says = |seconds: u64| format!("  rates: the mean of {}, since the last look\n", span(seconds));
    longest.filter(|&seconds| seconds > FRESH).map(says).unwrap_or_default()
}

/// One line for each lease of a segment.
fn leases(switch: &SwitchInfo) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let row = |port: &PortInfo, lease: &LeaseInfo| {
        let name = lease.name.clone().unwrap_or_else(|| "-".to_owned());
        let left = format!("{} left", span(lease.until.saturating_sub(now)));
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
        rate(port, |rates| rates.rx_bits),
        rate(port, |rates| rates.tx_bits),
        rate(port, |rates| rates.rx_frames),
        rate(port, |rates| rates.tx_frames),
        port.queued.to_string(),
        dropped_and_why(port),
        heard(port),
        address(port),
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
    // A target has its settings as they were at first: what they are now stands behind it.
    let said = |word: &&str| ["mirror=", "tx.", "rx."].iter().any(|lead| word.starts_with(lead));
    let peer: Vec<&str> = peer(port).split(',').filter(|word| !said(word)).collect();
    std::iter::once(peer.join(",")).chain(settings(port)).collect::<Vec<_>>().join("; ")
}

/// Says of ports that are mirrored and are there no more that they are gone.
pub fn mark_gone(switch: &mut SwitchInfo) {
    let names: Vec<String> = switch.ports.iter().map(|port| port.name.clone()).collect();
    for mirrored in switch.ports.iter_mut().flat_map(|port| &mut port.mirrors) {
        let name = mirrored.rsplit_once(':').map_or(mirrored.as_str(), |(name, _)| name);
        if !names.iter().any(|known| known == name || known == mirrored) {
            mirrored.push_str(" (gone)");
        }
    }
}

/// Of whom the port gets copies, and what bad lines do to its frames.
pub fn settings(port: &PortInfo) -> impl Iterator<Item = String> {
    let held = port.held_in + port.held_out;
    let held = (held > 0).then(|| format!("{held} held"));
    let bent: Vec<&str> = port.impairments.iter().chain(&held).map(String::as_str).collect();
    let mirrors = (!port.mirrors.is_empty()).then(|| format!("mirrors {}", port.mirrors.join(", ")));
    let bent = (!bent.is_empty()).then(|| bent.join(", "));
    [parted(port), mirrors, bent].into_iter().flatten()
}

/// Whether a port was set down, and from whom it is cut.
pub fn parted(port: &PortInfo) -> Option<String> {
    let cuts: Vec<String> = port.cuts.iter().map(|cut| format!("cut {cut}")).collect();
    let down = port.set_down.then(|| "set down".to_owned());
    let words: Vec<String> = down.into_iter().chain(cuts).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// `6 ports`, or with clients of listeners `6 ports, 3 clients`.
pub fn counted<'a>(ports: impl Iterator<Item = &'a PortInfo>) -> String {
    let (mut own, mut clients) = (0_usize, 0_usize);
    ports.for_each(|port| *(if port.listener.is_some() { &mut clients } else { &mut own }) += 1);
    how_many(own, clients)
}

/// The same of numbers.
pub fn how_many(ports: usize, clients: usize) -> String {
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    match clients {
        0 => count(ports, "port"),
        clients => format!("{}, {}", count(ports, "port"), count(clients, "client")),
    }
}

/// The ports of a switch, where a listener and its only client are one: the listener has the client's numbers, and the
/// client's peer is what one wants to know.
pub fn merged(ports: &[PortInfo]) -> Vec<PortInfo> {
    let clients = |name: &String| ports.iter().filter(|it| it.listener.as_ref() == Some(name)).count();
    let is_only = |port: &PortInfo| port.listener.as_ref().is_some_and(|name| clients(name) == 1);
    let one = |port: &PortInfo| {
        let mut port = port.clone();
        if let Some(client) = ports.iter().find(|it| it.listener.as_ref() == Some(&port.name) && is_only(it)) {
            port.peer.clone_from(&client.peer);
        }
        port
    };
    ports.iter().filter(|port| !is_only(port)).map(one).collect()
}

/// Frames that were dropped, for whatever reason, also by the service behind the port.
pub fn dropped(port: &PortInfo) -> u64 {
    port.drops.values().chain(lost(port).map(|(_, frames)| frames)).sum()
}

/// What the service of a port has lost, by its own reasons.
pub fn lost(port: &PortInfo) -> impl Iterator<Item = (&String, &u64)> {
    port.figures.get(LOST).into_iter().flatten().filter(|(_, frames)| **frames > 0)
}

/// `0`, or the sum and what it is made of: `5 (stalled 3, oversize 2)`.
pub fn dropped_and_why(port: &PortInfo) -> String {
    let (sum, reasons) = (dropped(port), reasons(port));
    if reasons.is_empty() { sum.to_string() } else { format!("{sum} ({reasons})") }
}

/// Why frames were dropped, and how many each time.
pub fn reasons(port: &PortInfo) -> String {
    let own = port.drops.iter().map(|(reason, frames)| format!("{reason} {frames}"));
    let service = lost(port).map(|(reason, frames)| format!("{OF_SERVICE}{reason} {frames}"));
    own.chain(service).collect::<Vec<_>>().join(", ")
}

/// A rate, or `-` where there is none yet.
fn rate(port: &PortInfo, of: fn(&RatesInfo) -> u64) -> String {
    port.rates.as_ref().map_or_else(|| "-".to_owned(), |rates| amount(of(rates) as f64))
}

/// The first MAC address behind a port, and how many there are beside it.
fn heard(port: &PortInfo) -> String {
    first(&port.heard)
}

/// The same of the IP addresses.
fn address(port: &PortInfo) -> String {
    first(&port.addresses)
}

fn first(addresses: &[String]) -> String {
    match addresses {
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

/// From here on a narrow table has three digits of a number.
const MANY: u64 = 100_000;

/// The cells that are short, behind the name.
fn short(port: &PortInfo) -> Vec<String> {
    let [_, kind, state, _, _, rx_bits, tx_bits, ..] = port_row(port);
    let number = |number: u64| if number < MANY { number.to_string() } else { amount(number as f64) };
    let [rx, tx] = [port.rx_frames, port.tx_frames].map(number);
    vec![kind, state, rx, tx, rx_bits, tx_bits, number(port.queued), number(dropped(port))]
}

/// What stands before notes, and a separator behind a word.
const INDENT: usize = 5;

/// What goes below them.
fn notes(port: &PortInfo, width: usize) -> String {
    // A path has no blank to be broken at.
    let words = peer_and_settings(port);
    let words: Vec<String> = words.split(' ').map(|word| shortened(word, width.saturating_sub(INDENT))).collect();
    let parts = [("heard ", heard(port)), ("address ", address(port)), ("dropped ", reasons(port))];
    let [heard, address, reasons] = parts;
    noted([("", words.join(" ")), heard, address, reasons])
}

/// Details of a port, each with its label.
pub fn noted<const N: usize>(parts: [(&str, String); N]) -> String {
    let parts = parts.into_iter().filter(|(_, text)| !["", "-"].contains(&text.as_str()));
    parts.map(|(lead, text)| format!("{lead}{text}")).collect::<Vec<_>>().join("; ")
}

/// The table with two lines or more a port.
fn narrow(ports: &[PortInfo], width: usize) -> String {
    let row = |port: &PortInfo| Row { name: port.name.clone(), short: short(port), notes: notes(port, width) };
    layout::narrow(&NARROW, &ports.iter().map(row).collect::<Vec<_>>(), width).concat()
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
        let switches =
            vec![SwitchInfo { name: "default".into(), trouble: None, fdb: 0, cuts: Vec::new(), ports, replay: None }];
        StatusInfo { name: "default".into(), pid: 42, version: "0".into(), since: 0, sandbox: None, switches }
    }

    fn client(listener: &str, frames: u64, heard: &[&str]) -> PortInfo {
        let heard = heard.iter().map(|mac| (*mac).to_owned()).collect();
        let peer = "pid 21605 (qemu-system-x86)".to_owned();
        let addresses = vec!["192.0.2.1".to_owned(), "192.0.2.9".to_owned()];
        let rates =
            serde_json::json!({"rx_frames": 200, "rx_bits": 96_000, "tx_frames": 0, "tx_bits": 0, "over_ms": 120_000});
        let rates = serde_json::from_value(rates).unwrap();
        let port = port(&format!("{listener}#1"), "up", frames);
        PortInfo { listener: Some(listener.into()), heard, addresses, rates, peer, ..port }
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
            "port  kind  state      rx  tx  rx bit/s  tx bit/s  rx f/s  tx f/s  queued  dropped        heard                 \
             address       peer\n\
             a     unix  listening  0   0   -         -         -       -       0       0              -                     \
             -             /tmp/a\n\
             a#1   unix  up         20  0   96.0k     0         200     0       0       2 (stalled 2)  02:00:5e:00:53:01 +1  \
             192.0.2.1 +1  pid 21605 (qemu-system-x86)\n\
             b     unix  listening  0   0   -         -         -       -       0       0              -                     \
             -             /tmp/b\n\
               \x20 rates: the mean of 2m, since the last look\n\
             to attach\n  b  QEMU:  -netdev b\n"
        );
        let all = status(&bridge(ports).switches, None, true);
        assert!(all.ends_with("to attach\n  a  QEMU:  -netdev a\n  b  QEMU:  -netdev b\n"), "{all}");
        assert_eq!(status(&bridge(Vec::new()).switches, None, false), "no ports\n");
    }

    #[test]
    fn mirrors_are_said_once_and_whether_they_are_gone() {
        let mirrors = vec!["a:rx".to_owned(), "b".to_owned()];
        let monitor = PortInfo { target: "/tmp/m,mirror=a:rx,mtu=1500".into(), mirrors, ..port("m", "listening", 0) };
        let mut switch = bridge(vec![port("a", "up", 0), monitor]).switches.remove(0);
        mark_gone(&mut switch);
        assert_eq!(peer_and_settings(&switch.ports[1]), "/tmp/m,mtu=1500; mirrors a:rx, b (gone)");
    }

    #[test]
    fn what_a_service_loses_is_lost_too() {
        let each = std::collections::BTreeMap::from([("malformed".to_owned(), 12_000), ("foreign".to_owned(), 0)]);
        let gateway = PortInfo { figures: [(LOST.to_owned(), each)].into(), ..port("nat", "up", 10) };
        assert_eq!(dropped_and_why(&gateway), "12001 (stalled 1, service malformed 12000)");
    }

    #[test]
    fn lines_to_paste_stay_whole() {
        let line = format!("-netdev {} -nic", "x".repeat(90));
        let attach = Some(AttachInfo { who: "QEMU".into(), line });
        let ports = [PortInfo { attach, ..listener("a") }, listener("b")];
        let line = format!("-netdev \\\n    {} \\\n    -nic", "x".repeat(90));
        let below = format!("to attach\n  a  QEMU:\n    {line}\n  b  QEMU:\n    -netdev b\n");
        assert_eq!(attachments(ports.iter(), Some(80)), below);
        assert_eq!(attachments(ports.iter(), None).lines().count(), 3);
        assert_eq!(attachments(ports.iter().skip(1), Some(80)), "to attach\n  b  QEMU:  -netdev b\n");
        let quoted = format!("-netdev 'a {}' b", "c ".repeat(40));
        assert_eq!(continued(&quoted, 60).lines().count(), 2, "a shell takes a backslash in quotes for one");
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
                "port  kind  state      rx  tx  rx bit/s  tx bit/s  queued  dropped\n\
                 a     unix  listening  0   0   -         -         0       0\n    /tmp/a\n\
                 a#1   unix  up         20  0   96.0k     0         0       2\n    \
                 pid 21605 (qemu-system-x86); heard 02:00:5e:00:53:01; address 192.0.2.1 +1;\n    dropped stalled 2\n\
                 {long}\n      unix  listening  0   0   -         -         0       0\n    /tmp/{long}\n  \
                 rates: the mean of 2m, since the last look\n"
            )
        );
    }
}
