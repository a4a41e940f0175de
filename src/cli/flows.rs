//! `zbridge flows`: what passes through the gateways of a running bridge, flow by flow.

use super::args::Look;
use super::ask::{connect, lines};
use super::follow::Followed;
use super::layout::{Column, Head, Table};
use super::style::width_of;
use super::units::{amount, moment, span};
use super::{Label, complain, print};
use crate::control::{FlowInfo, FlowsInfo};
use crate::engine::control::Client;
use crate::error::Result;

/// The columns, with what each means.
pub const COLUMNS: [Head; 14] = [
    ("flow", Column::Short, "its protocol: tcp, udp or icmp (pings)"),
    ("guest", Column::Long, "the host on the switch, with its port"),
    ("name", Column::Least(3), "the name under which the guest has a lease"),
    ("", Column::Short, ""),
    (
        "remote",
        Column::Long,
        "the other end, beyond the gateway; the arrow leads from who began the flow; +N: so many more of a UDP port",
    ),
    (
        "state",
        Column::Short,
        "as TCP has it, in words; listening: a forward that nobody uses at the moment; ended: and why, for a minute",
    ),
    ("up", Column::Short, "bytes from the guest"),
    ("down", Column::Short, "bytes to the guest"),
    ("idle", Column::Least(1), "how long nothing has passed"),
    ("rtt", Column::Least(2), "the round trip between gateway and guest"),
    ("again", Column::Least(4), "segments that were sent to the guest again"),
    ("age", Column::Least(5), "since when there is this flow"),
    ("port", Column::Least(6), "the port of the gateway"),
    ("mac", Column::Least(7), "the MAC address of the guest"),
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
pub fn table(flows: &[&FlowInfo]) -> Table {
    Table { columns: COLUMNS.to_vec(), rows: flows.iter().map(|flow| row(flow)).collect() }
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
        flow.round_trip_us.map(moment).unwrap_or_default(),
        unless(flow.resent == 0, flow.resent.to_string()),
        unless(waits, span(flow.age)),
        flow.port.clone(),
        flow.mac.clone().unwrap_or_default(),
    ];
    cells.to_vec()
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
  no room for: name, rtt, again, age, port, mac (--wide has all columns)
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
  no room for: name, idle, rtt, again, age, port, mac (--wide has all columns)
";
        assert_eq!(text, wanted);
    }
}
