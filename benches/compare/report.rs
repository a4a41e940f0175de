//! What was measured, as tables for people and as JSON for programs.

use super::contender::Contender;
use super::workload::Workload;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What can be measured, in the order of the columns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Metric {
    /// Frames (of a broadcast: copies) delivered a second.
    Rate,
    /// Their Gbit/s, without Ethernet's preamble, FCS and gap.
    Bits,
    /// CPU time of the switch in nanoseconds for each delivered frame (copy, KiB, round).
    Cpu,
    /// Percent of the frames that did not come, sent as fast as they were taken.
    Loss,
    /// The same at 90 % of the rate that came through.
    LossCalm,
    /// Frames that came after a later one.
    Reordered,
    /// Frames that came twice.
    Doubled,
    /// What TCP sent again.
    Retransmits,
    /// Percent of the stations that were not known afterwards.
    Unlearned,
    /// Microseconds under way, of a round trip there and back: the median.
    P50,
    /// 99 % were not longer under way.
    P99,
    /// 99.9 % were not.
    P999,
    /// Times a second that a thread went to sleep, which is as often as one woke up.
    Wakeups,
    /// Resident memory in MiB.
    Resident,
}

use Metric::{
    Bits, Cpu, Doubled, Loss, LossCalm, P50, P99, P999, Rate, Reordered, Resident, Retransmits, Unlearned, Wakeups,
};

const METRICS: [(Metric, &str, &str); 14] = [
    (Rate, "Mframe/s", "frames_per_second"),
    (Bits, "Gbit/s", "gbit_per_second"),
    (Cpu, "CPU ns", "cpu_ns"),
    (Loss, "loss %", "loss_percent"),
    (LossCalm, "at 90 %", "loss_percent_at_90"),
    (Reordered, "late", "reordered"),
    (Doubled, "twice", "doubled"),
    (Retransmits, "retrans.", "retransmits"),
    (Unlearned, "unknown %", "unlearned_percent"),
    (P50, "p50 µs", "p50_us"),
    (P99, "p99", "p99_us"),
    (P999, "p99.9", "p999_us"),
    (Wakeups, "wakes/s", "wakeups_per_second"),
    (Resident, "MiB", "resident_mib"),
];

/// One measurement.
pub type Sample = BTreeMap<Metric, f64>;

/// All measurements of one workload: for each contender one for each round, or why there is none.
#[derive(Default)]
pub struct Results {
    /// Those that there are.
    pub samples: BTreeMap<Contender, Vec<Sample>>,
    /// The first reason, where one failed.
    pub failures: BTreeMap<Contender, String>,
}

impl Results {
    /// The medians of a contender's rounds.
    pub fn medians(&self, contender: Contender) -> Option<Sample> {
        let rounds = self.samples.get(&contender)?;
        let column = |metric| rounds.iter().filter_map(|sample| sample.get(&metric).copied()).collect::<Vec<_>>();
        let medians = METRICS.iter().filter_map(|&(metric, ..)| Some((metric, median(column(metric))?)));
        Some(medians.collect())
    }
}

/// The middle one, or the mean of the two middle ones.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// A table of one workload. The last column is each contender's primary figure against the first one's.
pub fn table(workload: &Workload, results: &Results) -> String {
    let rows: Vec<(Contender, Sample)> =
        results.samples.keys().filter_map(|&contender| Some((contender, results.medians(contender)?))).collect();
    let columns: Vec<_> =
        METRICS.iter().filter(|(metric, ..)| rows.iter().any(|(_, row)| row.contains_key(metric))).collect();
    let primary = workload.primary();
    let reference = rows.first().and_then(|(_, row)| row.get(&primary).copied());
    let mut text = format!("{}: {} (CPU ns per {})\n", workload.name, workload.what, workload.unit());
    let _ = write!(text, "  {:<16}", "");
    for (_, head, _) in &columns {
        let _ = write!(text, "{head:>10}");
    }
    let (_, head, _) = METRICS.iter().find(|(metric, ..)| *metric == primary).unwrap_or(&METRICS[0]);
    let _ = writeln!(text, "   × {head}");
    for (contender, row) in &rows {
        let _ = write!(text, "  {:<16}", contender.name());
        for (metric, ..) in &columns {
            let cell = row.get(metric).map_or("–".into(), |&value| number(*metric, value));
            let _ = write!(text, "{cell:>10}");
        }
        let ratio = row.get(&primary).zip(reference).filter(|&(_, first)| first > 0.0);
        let _ = writeln!(text, "{:>10}", ratio.map_or("–".into(), |(value, first)| format!("{:.2}", value / first)));
    }
    for (contender, why) in &results.failures {
        let _ = writeln!(text, "  {:<16}  failed: {why}", contender.name());
    }
    text
}

fn number(metric: Metric, value: f64) -> String {
    match metric {
        Rate => format!("{:.3}", value / 1e6),
        Bits => format!("{value:.2}"),
        Loss | LossCalm | Unlearned | Wakeups if value > 0.0 && value < 0.01 => "<0.01".into(),
        Loss | LossCalm | Unlearned | Wakeups | Resident => format!("{value:.2}"),
        Reordered | Doubled | Retransmits => format!("{value:.0}"),
        Cpu | P50 | P99 | P999 if value >= 100.0 => format!("{value:.0}"),
        Cpu | P50 | P99 | P999 => format!("{value:.1}"),
    }
}

/// Everything, with every round.
pub fn json(head: Map<String, Value>, all: &[(&Workload, Results)]) -> Value {
    let object = |sample: &Sample| -> Value {
        let named = METRICS.iter().filter_map(|(metric, _, key)| Some(((*key).to_owned(), json!(sample.get(metric)?))));
        Value::Object(named.collect())
    };
    let workloads = all.iter().map(|(workload, results)| {
        let contenders: Map<String, Value> = results
            .samples
            .iter()
            .map(|(&contender, rounds)| {
                let medians = results.medians(contender).unwrap_or_default();
                let rounds: Vec<Value> = rounds.iter().map(object).collect();
                (contender.name().to_owned(), json!({ "median": object(&medians), "rounds": rounds }))
            })
            .collect();
        let failures: Map<String, Value> =
            results.failures.iter().map(|(contender, why)| (contender.name().to_owned(), json!(why))).collect();
        json!({
            "name": workload.name,
            "what": workload.what,
            "cpu_ns_per": workload.unit(),
            "contenders": contenders,
            "failures": failures,
        })
    });
    let mut root = head;
    root.insert("workloads".into(), workloads.collect());
    Value::Object(root)
}
