//! What has become of scenarios, step by step, and a summary for people.

use super::step::{Scenario, Step};
use crate::config::value;
use crate::time::Duration;

/// What has become of all scenarios.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Each, in order.
    pub scenarios: Vec<Played>,
}

/// What has become of a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Played {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub lasted: Duration,
    /// Its steps.
    pub steps: Vec<StepReport>,
}

/// What has become of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepReport {
    /// What it is, in words: its number, when it begins, what it does and expects.
    pub title: String,
    /// Where it stands, `FILE:LINE`.
    pub place: String,
    /// How long it took, with the wait for its beginning.
    pub lasted: Duration,
    /// The outcome.
    pub outcome: Outcome,
    /// The last lines of the programs, where it has failed.
    pub lines: Vec<String>,
}

/// The outcome of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has not been done yet.
    Waits,
    /// It was as expected.
    Passed,
    /// It was not.
    Failed {
        /// What was not.
        what: String,
        /// What was seen instead.
        detail: String,
    },
    /// It was not done, and why.
    Skipped(String),
}

impl Report {
    /// Of scenarios that were not played yet.
    pub fn of(scenarios: &[Scenario]) -> Self {
        let step = |(index, step): (usize, &Step)| StepReport {
            title: format!("{}. {}", index + 1, step.words()),
            place: step.place.clone(),
            lasted: Duration::ZERO,
            outcome: Outcome::Waits,
            lines: Vec::new(),
        };
        let played = |scenario: &Scenario| Played {
            name: scenario.name.clone(),
            lasted: Duration::ZERO,
            steps: scenario.steps.iter().enumerate().map(step).collect(),
        };
        Self { scenarios: scenarios.iter().map(played).collect() }
    }
}

impl Played {
    /// Whether all of it was as expected.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.outcome == Outcome::Passed)
    }

    /// What was not as expected.
    pub fn failure(&self) -> Option<String> {
        self.steps.iter().find_map(|step| match &step.outcome {
            Outcome::Failed { what, .. } => Some(format!("{}: {what}", step.place)),
            Outcome::Waits | Outcome::Passed | Outcome::Skipped(_) => None,
        })
    }
}

impl Step {
    /// What it is, in words.
    pub fn words(&self) -> String {
        let deeds = self.deeds.iter().map(|deed| deed.text.clone());
        let expects = self.expects.iter().map(|(text, _)| format!("expect {text}"));
        let what = deeds.chain(expects).collect::<Vec<_>>().join("; ");
        match (self.begins.as_str(), what.as_str()) {
            ("", what) => what.to_owned(),
            (begins, "") => begins.to_owned(),
            (begins, what) => format!("{begins}: {what}"),
        }
    }
}

/// A summary for people, a line for each scenario and each step that was not as expected.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    for played in &report.scenarios {
        let done = played.steps.iter().filter(|step| step.outcome == Outcome::Passed).count();
        let word = if played.passed() { "passed" } else { "FAILED" };
        let (name, steps, lasted) = (&played.name, played.steps.len(), value::span(played.lasted));
        text.push_str(&format!("{word}  {name}: {done} of {steps} steps, {lasted}\n"));
        for step in &played.steps {
            if let Outcome::Failed { what, detail } = &step.outcome {
                text.push_str(&format!("        {}: {}\n        {what}\n", step.place, step.title));
                detail.lines().for_each(|line| text.push_str(&format!("        {line}\n")));
            }
        }
    }
    let passed = report.scenarios.iter().filter(|played| played.passed()).count();
    text.push_str(&format!("{passed} of {} scenarios as expected\n", report.scenarios.len()));
    text
}
