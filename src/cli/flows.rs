//! `zbridge flows`: what passes through the gateways of a running bridge, flow by flow.

use super::args::Look;
use super::ask::{connect, lines};
use super::follow::Followed;
use super::layout::{Column, Table, amount, span};
use super::style::width_of;
use super::{Label, complain, print};
use crate::control::{FlowInfo, FlowsInfo};
use crate::engine::control::Client;
use crate::error::Result;

const COLUMNS: [(&str, Column); 14] = [
    ("flow", Column::Short),
    ("guest", Column::Long),
    ("name", Column::Least(3)),
    ("", Column::Short),
    ("remote", Column::Long),
    ("state", Column::Short),
    ("up", Column::Short),
    ("down", Column::Short),
    ("idle", Column::Least(1)),
    ("rtt", Column::Least(2)),
    ("again", Column::Least(4)),
    ("age", Column::Least(5)),
    ("port", Column::Least(6)),
    ("mac", Column::Least(7)),
];

/// The list, as it is followed.
pub const FLOWS: Followed<FlowInfo> = Followed { ask: all, key, state: |flow| flow.state.clone(), table };

/// Shows them.
///
/// # Errors
/// No bridge runs (class no-daemon), or it does not answer.
pub fn perform(look: &Look) -> Result<()> {
    let mut client = connect(look.bridge.name().as_deref())?;
    let FlowsInfo { flows, left_out } = client.flows()?;
    let width = width_of(std::io::stdout()).filter(|_| !look.wide);
    print(if look.json { lines(&flows) } else { text(&flows, width).into_bytes() })?;
    if left_out > 0 {
        complain(Label::Warning, &format!("{left_out} flows more are not shown"));
    }
    if look.watch { FLOWS.run(&mut client, flows, look.json, width) } else { Ok(()) }
}

fn all(client: &mut Client) -> Result<Vec<FlowInfo>> {
    Ok(client.flows()?.flows)
}

/// What tells a flow from all others; a forward's listener from its clients, too.
fn key(flow: &FlowInfo) -> String {
    let FlowInfo { switch, port, protocol, direction, guest, mac, remote, .. } = flow;
    // A guest's port keeps its flow, whatever it talks to.
    let remote = remote.filter(|_| protocol == "tcp" || direction == "in");
    format!("{switch} {port} {protocol} {direction} {guest} {mac:?} {remote:?}")
}

fn text(flows: &[FlowInfo], width: Option<usize>) -> String {
    if flows.is_empty() {
        return "no flows: no guest talks through a gateway (nat:) of this bridge\n".to_owned();
    }
    table(&flows.iter().collect::<Vec<_>>()).text(width)
}

/// Flows as a table.
pub fn table(flows: &[&FlowInfo]) -> Table<'static> {
    Table { columns: &COLUMNS, rows: flows.iter().map(|flow| row(flow)).collect() }
}

/// A flow's cells. The arrow leads from who began it.
fn row(flow: &FlowInfo) -> Vec<String> {
    let waits = flow.state == "listening";
    let unless = |hidden: bool, text: String| if hidden { String::new() } else { text };
    let others = if flow.others > 0 { format!(" +{}", flow.others) } else { String::new() };
    let remote = match flow.remote {
        // A ping has no port there.
        Some(remote) if flow.protocol == "icmp" => remote.ip().to_string(),
        Some(remote) => remote.to_string(),
        None => String::new(),
    };
    let cells = [
        flow.protocol.clone(),
        flow.guest.to_string(),
        flow.name.clone().unwrap_or_default(),
        if flow.direction == "in" { "<-" } else { "->" }.to_owned(),
        format!("{remote}{others}"),
        flow.state.clone(),
        unless(waits, amount(flow.up as f64)),
        unless(waits, amount(flow.down as f64)),
        unless(waits, span(flow.idle)),
        flow.round_trip_us.map(round_trip).unwrap_or_default(),
        unless(flow.resent == 0, flow.resent.to_string()),
        unless(waits, span(flow.age)),
        flow.port.clone(),
        flow.mac.clone().unwrap_or_default(),
    ];
    cells.to_vec()
}

/// `37us`, `1.2ms`, `340ms`, `1.4s`.
fn round_trip(micros: u64) -> String {
    let millis = micros as f64 / 1e3;
    match micros {
        ..1_000 => format!("{micros}us"),
        1_000..10_000 => format!("{millis:.1}ms"),
        10_000..1_000_000 => format!("{millis:.0}ms"),
        _ => format!("{:.1}s", millis / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: &str, direction: &str, guest: &str, remote: &str, state: &str) -> FlowInfo {
        FlowInfo {
            switch: "default".into(),
            port: "nat".into(),
            protocol: protocol.into(),
            direction: direction.into(),
            guest: guest.parse().unwrap(),
            name: Some("board".into()),
            mac: Some("02:00:5e:00:53:09".into()),
            remote: remote.parse().ok(),
            others: 0,
            state: state.into(),
            up: 1_234,
            down: 5_678_000,
            round_trip_us: (protocol == "tcp").then_some(1_234),
            resent: 3,
            age: 4000,
            idle: 7,
        }
    }

    fn some() -> Vec<FlowInfo> {
        vec![
            flow("tcp", "out", "10.0.2.15:40000", "203.0.113.77:443", "guest ended"),
            FlowInfo { others: 2, ..flow("udp", "out", "10.0.2.15:5353", "203.0.113.9:53", "open") },
            FlowInfo { name: None, mac: None, ..flow("tcp", "in", "10.0.2.15:22", "127.0.0.1:2222", "listening") },
        ]
    }

    #[test]
    fn a_flow_is_one_line_of_80_characters() {
        let text = text(&some(), Some(80));
        let wanted = "\
flow  guest                remote             state        up     down   idle
tcp   10.0.2.15:40000  ->  203.0.113.77:443   guest ended  1.23k  5.68M  7s
udp   10.0.2.15:5353   ->  203.0.113.9:53 +2  open         1.23k  5.68M  7s
tcp   10.0.2.15:22     <-  127.0.0.1:2222     listening
";
        assert_eq!(text, wanted);
        assert!(super::text(&[], None).starts_with("no flows: "));
    }

    #[test]
    fn all_is_shown_where_there_is_room() {
        let text = text(&some(), None);
        let head = "flow  guest            name       remote             state        up     down   idle  rtt    again  \
                    age  port  mac\n";
        assert!(text.starts_with(head), "{text}");
        let row = "tcp   10.0.2.15:40000  board  ->  203.0.113.77:443   guest ended  1.23k  5.68M  7s    1.2ms  3      \
                   1h   nat   02:00:5e:00:53:09\n";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn long_addresses_go_below() {
        let long = flow("tcp", "out", "[2001:db8:1:2:3:4:5:6]:40000", "[2001:db8:ffff:2:3:4:5:6]:443", "open");
        let text = text(&[long], Some(80));
        let wanted = "\
flow      state  up     down
tcp   ->  open   1.23k  5.68M
    guest [2001:db8:1:2:3:4:5:6]:40000; remote [2001:db8:ffff:2:3:4:5:6]:443
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn round_trips_are_short() {
        assert_eq!([37, 1_234, 340_000, 1_440_000].map(round_trip), ["37us", "1.2ms", "340ms", "1.4s"]);
    }
}
