//! The report as JUnit XML, as Jenkins and GitLab read it: a `testsuite` for each scenario, a `testcase` for each step.

use super::report::{Outcome, Played, Report, StepReport};
use crate::time::Duration;
use std::fmt::Write as _;

/// The report of the bench `bench`. `trouble`: why the bench itself has failed, a suite of its own.
pub fn junit(bench: &str, report: &Report, trouble: Option<&str>) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let steps = || report.scenarios.iter().flat_map(|played| &played.steps);
    let failed = steps().filter(|step| matches!(step.outcome, Outcome::Failed { .. })).count();
    let extra = usize::from(trouble.is_some());
    let time = report.scenarios.iter().fold(Duration::ZERO, |sum, played| sum + played.lasted);
    write(
        &mut out,
        format_args!(
            "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{extra}\" skipped=\"{}\" time=\"{}\">\n",
            escaped(bench),
            steps().count() + extra,
            failed,
            steps().filter(|step| is_skipped(step)).count(),
            seconds(time),
        ),
    );
    report.scenarios.iter().for_each(|played| suite(&mut out, bench, played));
    if let Some(trouble) = trouble {
        write(
            &mut out,
            format_args!(
                "  <testsuite name=\"bench\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0.000\">\n    \
                 <testcase classname=\"{0}\" name=\"its programs\" time=\"0.000\">\n      \
                 <error type=\"bench\" message=\"{1}\">{1}</error>\n    </testcase>\n  </testsuite>\n",
                escaped(bench),
                escaped(trouble),
            ),
        );
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, bench: &str, played: &Played) {
    let count = |wanted: fn(&StepReport) -> bool| played.steps.iter().filter(|step| wanted(step)).count();
    write(
        out,
        format_args!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\">\n",
            escaped(&played.name),
            played.steps.len(),
            count(|step| matches!(step.outcome, Outcome::Failed { .. })),
            count(is_skipped),
            seconds(played.lasted),
        ),
    );
    played.steps.iter().for_each(|step| case(out, bench, &played.name, step));
    out.push_str("  </testsuite>\n");
}

fn case(out: &mut String, bench: &str, scenario: &str, step: &StepReport) {
    let (file, line) = step.place.rsplit_once(':').unwrap_or((&step.place, "0"));
    write(
        out,
        format_args!(
            "    <testcase classname=\"{}.{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{}\">\n",
            escaped(bench),
            escaped(scenario),
            escaped(&step.title),
            escaped(file),
            escaped(line),
            seconds(step.lasted),
        ),
    );
    match &step.outcome {
        Outcome::Passed => {}
        Outcome::Failed { what, detail } => write(
            out,
            format_args!(
                "      <failure type=\"unmet\" message=\"{}\">{}\n{}</failure>\n",
                escaped(what),
                escaped(&step.place),
                escaped(detail),
            ),
        ),
        Outcome::Waits => out.push_str("      <skipped message=\"it was not played\"/>\n"),
        Outcome::Skipped(why) => write(out, format_args!("      <skipped message=\"{}\"/>\n", escaped(why))),
    }
    if !step.lines.is_empty() {
        write(out, format_args!("      <system-out>{}</system-out>\n", escaped(&step.lines.join("\n"))));
    }
    out.push_str("    </testcase>\n");
}

fn is_skipped(step: &StepReport) -> bool {
    matches!(step.outcome, Outcome::Skipped(_) | Outcome::Waits)
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes what is written to it");
}

fn seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

/// Text in an attribute or between tags. XML 1.0, 2.2, has no control characters but three: others are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(char),
            '\u{fffe}' | '\u{ffff}' => {}
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::step::tests::scenarios;

    #[test]
    fn a_report_has_a_suite_for_each_scenario() {
        let steps = "[[scenario.step]]\ndo = \"restart sim1\"\n[[scenario.step]]\nexpect = \"drops(inst1) < 3\"\n\
                     [[scenario.step]]\nexpect = \"sim1 ready\"\n";
        let mut report = Report::of(&scenarios(steps).unwrap());
        let played = &mut report.scenarios[0];
        played.lasted = Duration::from_millis(12_345);
        played.steps[0].outcome = Outcome::Passed;
        let detail = "drops(inst1) is <7> & \u{1b}[31m".to_owned();
        played.steps[1].outcome = Outcome::Failed { what: "not within 5s".into(), detail };
        played.steps[1].lines = vec!["sim1 | \"bye\"".into()];
        played.steps[2].outcome = Outcome::Skipped("step 2 has failed".into());
        let text = junit("lab", &report, Some("sim1: ended with status 3"));
        let expected = [
            "<testsuites name=\"lab\" tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\" time=\"12.345\">",
            "<testsuite name=\"x\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"12.345\">",
            "<testcase classname=\"lab.x\" name=\"1. restart sim1\" file=\"x.toml\" line=\"3\" time=\"0.000\">",
            "name=\"2. expect drops(inst1) &lt; 3\" file=\"x.toml\" line=\"5\"",
            "<failure type=\"unmet\" message=\"not within 5s\">x.toml:5\ndrops(inst1) is &lt;7&gt; &amp; [31m</failure>",
            "<system-out>sim1 | &quot;bye&quot;</system-out>",
            "<skipped message=\"step 2 has failed\"/>",
            "<error type=\"bench\" message=\"sim1: ended with status 3\">",
        ];
        for piece in expected {
            assert!(text.contains(piece), "{piece}\nis not in\n{text}");
        }
        let (open, closed) = (text.matches("<testcase").count(), text.matches("</testcase>").count());
        assert!(open == closed && text.ends_with("</testsuites>\n"), "{text}");
    }
}
