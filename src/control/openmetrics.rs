//! A bridge's status as OpenMetrics text (OpenMetrics 1.0.0), for Prometheus and its like.
//!
//! The names in [`FAMILIES`] are stable: they get no other meaning, and none is taken away within a version of the protocol.
//! A listener has the sum of all clients that it ever had, with an empty label `client`; its clients stand beside it with
//! their names in that label, so that a sum over `client=""` counts nothing twice.

use super::{INSTANCE_STATES, InstanceInfo, PortInfo, StatusInfo};
use crate::visible::visible;
use std::fmt::Write as _;

/// The type of such a text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A family of metrics.
pub struct Family {
    /// Its name, without the `_total` or `_info` of its samples.
    pub name: &'static str,
    /// `counter`, `gauge`, `info` or `stateset`.
    pub kind: &'static str,
    /// The unit that its name ends with; none: empty.
    pub unit: &'static str,
    /// What it is.
    pub help: &'static str,
}

const fn family(name: &'static str, kind: &'static str, unit: &'static str, help: &'static str) -> Family {
    Family { name, kind, unit, help }
}

/// Every family, in the order of the text. The guide has them as a table; a test compares it.
pub const FAMILIES: &[Family] = &[
    family("zbridge_build", "info", "", "The version of the program"),
    family("zbridge_start_time_seconds", "gauge", "seconds", "When the bridge began, since 1970"),
    family("zbridge_switch_up", "gauge", "", "1 while the switch passes frames"),
    family("zbridge_switch_fdb_entries", "gauge", "", "Addresses in the forwarding database"),
    family("zbridge_port_up", "gauge", "", "1 while the port is up"),
    family("zbridge_port_set_down", "gauge", "", "1 while the port is set down, as if its cable were pulled"),
    family("zbridge_port_cuts", "gauge", "", "Cuts that part the port from others"),
    family("zbridge_port_receive_frames", "counter", "", "Frames that came in at the port, dropped ones included"),
    family("zbridge_port_receive_bytes", "counter", "bytes", "Their bytes"),
    family("zbridge_port_transmit_frames", "counter", "", "Frames that were handed to the port's descriptor"),
    family("zbridge_port_transmit_bytes", "counter", "bytes", "Their bytes"),
    family("zbridge_port_forwarded_frames", "counter", "", "Received frames of which at least one copy was made"),
    family("zbridge_port_copied_frames", "counter", "", "Copies that were made for the port to send"),
    family("zbridge_port_dropped_frames", "counter", "", "Frames that were dropped, by reason"),
    family("zbridge_port_queued_frames", "gauge", "", "Frames that wait for the port"),
    family("zbridge_port_leases", "gauge", "", "Addresses that the segment of a gateway has leased"),
    family("zbridge_service_figure", "gauge", "", "What the service behind the port counts, by group and name"),
    family("zbridge_instance_state", "stateset", "", "How a program of the bench is"),
    family("zbridge_instance_restarts", "counter", "", "How often a program was started again"),
];

/// The text. `fdb` gives the size of a switch's forwarding database.
pub fn text(status: &StatusInfo, instances: &[InstanceInfo]) -> String {
    let mut out = String::with_capacity(8 * 1024);
    for family in FAMILIES {
        let mut samples = Samples { family, out: String::new() };
        samples.of(status, instances);
        if samples.out.is_empty() {
            continue;
        }
        let Family { name, kind, unit, help } = family;
        let _ = writeln!(out, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
        let _ = writeln!(out, "# HELP {name} {help}.");
        out.push_str(&samples.out);
    }
    out.push_str("# EOF\n");
    out
}

/// The samples of a family as they are written.
struct Samples {
    family: &'static Family,
    out: String,
}

impl Samples {
    fn add(&mut self, labels: &[(&str, &str)], value: u64) {
        let suffix = match self.family.kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let _ = write!(self.out, "{}{suffix}", self.family.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{name}=\"{}\"", if index == 0 { "{" } else { "," }, escaped(value));
        }
        let _ = writeln!(self.out, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn of(&mut self, status: &StatusInfo, instances: &[InstanceInfo]) {
        match self.family.name {
            "zbridge_build" => self.add(&[("version", &status.version)], 1),
            "zbridge_start_time_seconds" => self.add(&[], status.since),
            "zbridge_instance_state" => instances.iter().for_each(|instance| {
                for state in INSTANCE_STATES {
                    let labels = [("instance", instance.name.as_str()), ("zbridge_instance_state", state)];
                    self.add(&labels, u64::from(instance.state == *state));
                }
            }),
            "zbridge_instance_restarts" => {
                instances.iter().for_each(|it| self.add(&[("instance", &it.name)], it.restarts));
            }
            _ => self.of_switches(status),
        }
    }

    fn of_switches(&mut self, status: &StatusInfo) {
        for switch in &status.switches {
            let labels = [("switch", switch.name.as_str())];
            match self.family.name {
                "zbridge_switch_up" => self.add(&labels, u64::from(switch.trouble.is_none())),
                "zbridge_switch_fdb_entries" => self.add(&labels, switch.fdb),
                _ => switch.ports.iter().for_each(|port| self.of_port(&switch.name, port)),
            }
        }
    }

    fn of_port(&mut self, switch: &str, port: &PortInfo) {
        let (name, client) = match &port.listener {
            Some(listener) => (listener.as_str(), port.name.as_str()),
            None => (port.name.as_str(), ""),
        };
        let own = [("switch", switch), ("port", name), ("client", client), ("kind", &port.kind)];
        let value = match self.family.name {
            "zbridge_port_up" => u64::from(port.state == "up"),
            "zbridge_port_set_down" => u64::from(port.set_down),
            "zbridge_port_cuts" => port.cuts.len() as u64,
            "zbridge_port_receive_frames" => port.rx_frames,
            "zbridge_port_receive_bytes" => port.rx_bytes,
            "zbridge_port_transmit_frames" => port.tx_frames,
            "zbridge_port_transmit_bytes" => port.tx_bytes,
            "zbridge_port_forwarded_frames" => port.forwarded,
            "zbridge_port_copied_frames" => port.copies,
            "zbridge_port_queued_frames" => port.queued,
            "zbridge_port_leases" if port.kind == "nat" => port.leases.len() as u64,
            "zbridge_port_dropped_frames" => {
                let with = |reason| [own.as_slice(), &[("reason", reason)]].concat();
                return port.drops.iter().for_each(|(reason, frames)| self.add(&with(reason), *frames));
            }
            "zbridge_service_figure" => {
                for (group, figures) in &port.figures {
                    for (figure, value) in figures {
                        self.add(&[own.as_slice(), &[("group", group), ("figure", figure)]].concat(), *value);
                    }
                }
                return;
            }
            _ => return,
        };
        self.add(&own, value);
    }
}

/// The value of a label as it stands between quotes.
fn escaped(value: &str) -> String {
    visible(value).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SwitchInfo;
    use crate::counters::{Counters, DropReason};
    use std::collections::BTreeMap;

    #[test]
    fn a_bridge_in_figures() {
        let mut counters = Counters::default();
        counters.received(2, 120);
        counters.drop(DropReason::Stalled, 3);
        let figures = BTreeMap::from([("flows".to_owned(), BTreeMap::from([("tcp".to_owned(), 4)]))]);
        let port = PortInfo {
            name: "a\"\\\n".into(),
            kind: "unix".into(),
            state: "up".into(),
            figures,
            ..PortInfo::counted(&counters, 5)
        };
        let client = PortInfo { name: "a#1".into(), listener: Some("a".into()), ..port.clone() };
        let switch = SwitchInfo {
            name: "default".into(),
            trouble: None,
            fdb: 6,
            cuts: Vec::new(),
            ports: vec![port, client],
            replay: None,
        };
        let status = StatusInfo {
            name: "lab".into(),
            pid: 1,
            version: "0.1.0".into(),
            since: 7,
            sandbox: None,
            switches: vec![switch],
        };
        let instance =
            InstanceInfo { name: "sim".into(), state: "ready".into(), restarts: 8, ..InstanceInfo::default() };
        let told = text(&status, &[instance]);
        for line in [
            "# TYPE zbridge_build info\n# HELP zbridge_build The version of the program.\nzbridge_build_info{version=\"0.1.0\"} 1\n",
            "# UNIT zbridge_start_time_seconds seconds\n",
            "zbridge_switch_fdb_entries{switch=\"default\"} 6\n",
            "zbridge_port_receive_bytes_total{switch=\"default\",port=\"a\\\"\\\\\\\\x0a\",client=\"\",kind=\"unix\"} 120\n",
            "zbridge_port_dropped_frames_total{switch=\"default\",port=\"a\",client=\"a#1\",kind=\"unix\",reason=\"stalled\"} 3\n",
            "group=\"flows\",figure=\"tcp\"} 4\n",
            "zbridge_instance_state{instance=\"sim\",zbridge_instance_state=\"ready\"} 1\n",
            "zbridge_instance_state{instance=\"sim\",zbridge_instance_state=\"ended\"} 0\n",
            "zbridge_instance_restarts_total{instance=\"sim\"} 8\n",
        ] {
            assert!(told.contains(line), "{line}\n{told}");
        }
        assert!(told.ends_with("\n# EOF\n") && !told.contains("zbridge_port_leases"));
    }

    #[test]
    fn the_guide_has_every_family() {
        let guide = include_str!("../cli/topics/metrics.md");
        for Family { name, kind, help, .. } in FAMILIES {
            let suffix = match *kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let line = format!("| `{name}{suffix}` | {kind} | {help} |");
            assert!(guide.contains(&line), "{line}");
        }
    }
}
