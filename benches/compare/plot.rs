//! A plot of the medians as SVG: for each workload one group of bars on a scale of powers of ten, so that a factor of
//! two is the same length everywhere. It carries its own colours, which can be read on white and on black.

use super::contender::Contender;
use super::report::{Metric, Results};
use super::workload::Workload;
use std::fmt::Write;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const BAR: f64 = 13.0;
const GAP: f64 = 26.0;

fn colour(contender: Contender) -> &'static str {
    match contender {
        Contender::Zbridge => "#d9480f",
        Contender::Bare | Contender::BareGso => "#868e96",
        _ => "#4c8dd6",
    }
}

fn unit(metric: Metric) -> &'static str {
    match metric {
        Metric::Bits => "Gbit/s, more is better",
        Metric::Rate => "frames/s, more is better",
        Metric::Resident => "MiB resident, less is better",
        Metric::P50 => "µs, median, less is better",
        _ => "ns of CPU, less is better",
    }
}

/// Draws all workloads that have figures above zero.
pub fn svg(all: &[(&Workload, Results)]) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for (workload, results) in all {
        let primary = workload.primary();
        let bars: Vec<(Contender, f64)> = results
            .samples
            .keys()
            .filter_map(|&contender| Some((contender, *results.medians(contender)?.get(&primary)?)))
            .filter(|&(_, value)| value > 0.0)
            .collect();
        if !bars.is_empty() {
            y = group(&mut body, y, workload, &bars);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#808890\">\n{body}</svg>\n"
    )
}

fn group(body: &mut String, top: f64, workload: &Workload, bars: &[(Contender, f64)]) -> f64 {
    let primary = workload.primary();
    let per = if primary == Metric::Cpu { format!(" per {}", workload.unit()) } else { String::new() };
    let _ = writeln!(
        body,
        "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}{per}</text>",
        top + 10.0,
        workload.what,
        WIDTH - 8.0,
        top + 10.0,
        unit(primary),
    );
    let least = bars.iter().map(|bar| bar.1).fold(f64::INFINITY, f64::min).log10().floor();
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max).log10();
    let scale = (WIDTH - LEFT - RIGHT) / (most - least).max(0.1);
    let mut y = top + 17.0;
    for &(contender, value) in bars {
        let length = ((value.log10() - least) * scale).max(1.0);
        let shown = if value >= 1e6 {
            format!("{:.2} M", value / 1e6)
        } else if value >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.1}")
        };
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" \
             height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\">{shown}</text>",
            LEFT - 6.0,
            y + 9.5,
            contender.name(),
            BAR - 2.0,
            colour(contender),
            LEFT + length + 5.0,
            y + 9.5,
        );
        y += BAR;
    }
    y + GAP - BAR
}
