//! The time line of scenarios, as `zbridge check` draws it.

use super::step::{Scenario, Step, Trigger};
use crate::config::value;

/// Columns of a line.
const WIDTH: usize = 80;
/// The widest that the column of beginnings gets before what is done goes below.
const LEAD: usize = 26;

/// The time line, in lines of 80 columns.
pub fn timeline(scenarios: &[Scenario]) -> String {
    let mut text = String::new();
    for scenario in scenarios {
        text.push_str(&format!("scenario  {}\n", scenario.name));
        let leads: Vec<String> = scenario.steps.iter().map(lead).collect();
        let lead = leads.iter().map(|lead| lead.chars().count()).filter(|count| *count <= LEAD).max().unwrap_or(0);
        for (step, begins) in scenario.steps.iter().zip(&leads) {
            draw(&mut text, step, begins, lead);
        }
    }
    text
}

/// When a step begins.
fn lead(step: &Step) -> String {
    match step.trigger {
        Trigger::Now => "then".to_owned(),
        _ => step.begins.clone(),
    }
}

fn draw(text: &mut String, step: &Step, begins: &str, lead: usize) {
    let mut rows: Vec<String> = step.deeds.iter().map(|deed| deed.text.clone()).collect();
    rows.extend(step.expects.iter().map(|(text, _)| format!("expect {text}, within {}", value::span(step.within))));
    if step.repeat > 1 {
        rows.push(format!("{} times", step.repeat));
    }
    let begins = crate::visible::visible(begins).into_owned();
    let fits = begins.chars().count() <= lead;
    if !fits || rows.is_empty() {
        wrapped(&begins, WIDTH - 4).into_iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    let room = WIDTH.saturating_sub(lead + 6);
    let lines: Vec<(bool, String)> = rows
        .iter()
        .flat_map(|row| {
            let parts = wrapped(&crate::visible::visible(row), room);
            parts.into_iter().enumerate().map(|(part, line)| (part == 0, line))
        })
        .collect();
    let last = lines.iter().rposition(|(first, _)| *first).unwrap_or(0);
    for (index, (first, line)) in lines.iter().enumerate() {
        let sign = match (first, index) {
            (true, 0) if last == 0 => '─',
            (true, 0) => '┬',
            (true, index) if index == last => '└',
            (true, _) => '├',
            (false, index) if index < last => '│',
            (false, _) => ' ',
        };
        let begins = if index == 0 && fits { begins.as_str() } else { "" };
        text.push_str(format!("  {begins:lead$}  {sign} {line}").trim_end());
        text.push('\n');
    }
}

/// A text in lines of so many columns, broken at blanks where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        while let Some(line) = lines.last_mut() {
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                if gap > 0 {
                    line.push(' ');
                }
                line.extend(word.iter());
                break;
            }
            if used == 0 {
                line.extend(word.drain(..width.min(word.len())));
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::step::tests::scenarios;

    #[test]
    fn a_time_line_fits_a_terminal() {
        let steps = "[[scenario.step]]\nafter = \"sim1 ready\"\ndo = [\"set inst1 tx.loss=30%\", \"capture start run.pcapng\"]\n\
                     [[scenario.step]]\nat = \"+10s\"\ndo = \"restart sim1\"\nexpect = 'log sim1 /reconnected/'\nwithin = \"15s\"\n\
                     repeat = 3\n[[scenario.step]]\ndo = \"restart sim2\"\n[[scenario.step]]\nat = \"1m\"\n";
        assert_eq!(
            timeline(&scenarios(steps).unwrap()),
            "scenario  x\n\
             \x20 after sim1 ready  ┬ set inst1 tx.loss=30%\n\
             \x20                   └ capture start run.pcapng\n\
             \x20 +10s              ┬ restart sim1\n\
             \x20                   ├ expect log sim1 /reconnected/, within 15s\n\
             \x20                   └ 3 times\n\
             \x20 then              ─ restart sim2\n\
             \x20 1m\n"
        );
        let long = format!(
            "[[scenario.step]]\nwhen = \"drops(inst1) == 0 and drops(inst1) == 0 and drops(inst1) == 0 and rx(inst1) > 9\"\n\
             expect = 'log sim1 /{} {}/'\n",
            "word ".repeat(30),
            "x".repeat(200)
        );
        let drawn = timeline(&scenarios(&long).unwrap());
        assert!(drawn.lines().all(|line| line.chars().count() <= WIDTH), "{drawn}");
    }
}
