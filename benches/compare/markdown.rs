//! The table of the README: what was measured, a row for each work, and how many times what zbridge needs it was.

use super::contender::Contender::{self, Bare, BareGso, Kernel, Ovs, Qemu, Vde, Zbridge};
use super::report::{Metric, Results, Sample};
use super::workload::{Shape, Workload};
use std::fmt::Write;

/// The workloads that are its rows, by name.
pub const ROWS: [&str; 20] = [
    "stream-64",
    "stream-1514",
    "stream-64-single",
    "seq-64",
    "gram-64",
    "tap-64",
    "tap-tcp",
    "tap-ping",
    "seq-rtt",
    "stream-rtt",
    "fdb-1k",
    "fdb-64k",
    "fdb-1m",
    "learn",
    "seq-64-among",
    "stream-64-pairs",
    "broadcast-8",
    "broadcast-64",
    "broadcast-1024",
    "idle",
];

/// Its columns. What the relay with super-frames did stands beside what the other one did.
pub const COLUMNS: [Contender; 6] = [Zbridge, Bare, Vde, Ovs, Qemu, Kernel];

/// Who is measured for it.
pub fn shows(workload: &Workload, contender: Contender) -> bool {
    // two relays are told apart only where super-frames are the point
    COLUMNS.contains(&contender) || contender == BareGso && workload.shape == Shape::Tcp
}

/// The table between its marks, ready for the README.
pub fn table(head: &str, all: &[(&Workload, Results)]) -> String {
    let mut text = String::from("<!-- speed: cargo bench --bench compare -- --markdown -->\n| work |");
    COLUMNS.iter().for_each(|column| text.extend([" ", column.name(), " |"]));
    text.push_str("\n|---|");
    text.extend(COLUMNS.map(|_| "---|"));
    for (workload, results) in all {
        let _ = write!(text, "\n| {} |", workload.what);
        for column in COLUMNS {
            let _ = write!(text, " {} |", cells(workload, results, column));
        }
    }
    let _ = write!(
        text,
        "\n\nMedians; {head}. ns: CPU time of the switch for each delivered frame (copy of a broadcast). (×): how many \
         times what zbridge needs, or of its rate.\n<!-- /speed -->\n"
    );
    text
}

fn cells(workload: &Workload, results: &Results, column: Contender) -> String {
    let Some(own) = results.medians(Zbridge) else { return "–".into() };
    let shown = |contender| results.medians(contender).map(|sample| cell(workload, contender, &sample, &own));
    let others = [Some(column), (column == Bare).then_some(BareGso)];
    let shown: Vec<String> = others.into_iter().flatten().filter_map(shown).collect();
    let whole = shown.join("; with super-frames ");
    match (whole.is_empty(), column) {
        (true, _) => "–".into(),
        (false, Zbridge) => format!("**{whole}**"),
        _ => whole,
    }
}

fn cell(workload: &Workload, contender: Contender, sample: &Sample, own: &Sample) -> String {
    let primary = workload.primary();
    let get = |metric| sample.get(&metric).copied();
    let mut text = match workload.shape {
        Shape::Load { .. } => {
            let cpu = get(Metric::Cpu).map(|cpu| format!("{} ns", rounded(cpu)));
            let rate = get(Metric::Rate).map(|rate| format!("{} M/s", rounded(rate / 1e6)));
            [cpu, rate].into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
        Shape::Tcp => format!("{} Gbit/s", rounded(get(Metric::Bits).unwrap_or_default())),
        Shape::RoundTrip | Shape::Ping => {
            let at = |metric| rounded(get(metric).unwrap_or_default());
            format!("{} µs, 99.9 %: {}", at(Metric::P50), at(Metric::P999))
        }
        Shape::Learn(_) => format!("{} M/s", rounded(get(Metric::Rate).unwrap_or_default() / 1e6)),
        Shape::Idle(_) => {
            let (wakeups, memory) = (get(Metric::Wakeups), get(Metric::Resident));
            format!("{} wake-ups/s, {} MiB", rounded(wakeups.unwrap_or_default()), rounded(memory.unwrap_or_default()))
        }
    };
    if let Some(loss) = get(Metric::Loss).filter(|&loss| loss >= 0.05) {
        let _ = write!(text, ", {} % lost", rounded(loss));
    }
    if contender != Zbridge
        && let Some((value, own)) = get(primary).zip(own.get(&primary).copied()).filter(|&(_, own)| own > 0.0)
    {
        let _ = write!(text, " ({} ×)", rounded(value / own));
    }
    text
}

/// Two or three digits that count.
fn rounded(value: f64) -> String {
    match value {
        _ if value == 0.0 => "0".into(),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
