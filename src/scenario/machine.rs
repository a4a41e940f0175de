//! Plays scenarios, one after the other: when each step begins, what is done then, and whether what is expected comes.
//!
//! # Theory of operation
//! Sans-I/O. [`Machine::poll_action`] says what to do next: look at the bridge, do a deed, ask a host. The outcome comes back
//! by [`Machine::handle_look`], [`Machine::handle_done`] and [`Machine::handle_answer`]; one action is out at a time. While it
//! waits it looks every [`EVERY`] ([`Machine::poll_timeout`], [`Machine::handle_timeout`]).
//!
//! - A step waits for its trigger, does its deeds in order, and waits for what it expects, all of it; that as often as it is
//!   repeated. The first thing that fails ends its scenario; the next scenario is played all the same.
//! - A line that a program has written counts once. A trigger takes those since the step before began to act; an
//!   expectation those since its own step did, so that an old line is never taken for the answer.
//! - A deadline is only told after a look that came later, so that a slow machine is not taken for a failure.

use super::condition::{Condition, Probe};
use super::look::Look;
use super::report::{Outcome, Played, Report, StepReport};
use super::step::{Act, Scenario, Step, Trigger};
use crate::config::value;
use crate::error::{Error, Result};
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, VecDeque};

/// Between two looks.
pub const EVERY: Duration = Duration::from_millis(50);
/// How long a host may take to answer before others are looked at.
const ASKED: Duration = Duration::from_secs(1);
/// Lines of a program that are kept for conditions.
const LINES: usize = 10_000;
/// Lines of the programs that a failure shows.
const SHOWN: usize = 8;

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Look at the bridge, and take the lines of these programs behind those with these numbers.
    Look(Vec<(String, u64)>),
    /// Do this.
    Do(Act),
    /// Ask a host, for so long at most.
    Ask(Probe, Duration),
    /// Tell the person who watches.
    Tell(String),
    /// A step has ended: the report has changed.
    Note,
    /// All are played. Nothing follows.
    Over,
}

/// Where a step stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// It waits for its trigger, which has this long.
    Waits { until: Instant },
    /// The deed with this number is next.
    Acts { next: usize },
    /// It waits for what it expects, which has this long.
    Expects { until: Instant },
}

/// The lines of a program.
#[derive(Default)]
struct Heard {
    /// The number of the last line that was heard.
    last: u64,
    /// Lines up to this number are used up.
    used: u64,
    /// Its last line when a step began to act for the last time.
    mark: u64,
    lines: VecDeque<(u64, String)>,
}

/// See the module.
pub struct Machine {
    scenarios: Vec<Scenario>,
    report: Report,
    actions: VecDeque<Action>,
    heard: BTreeMap<String, Heard>,
    look: Look,
    /// An action is under way whose outcome is still to come.
    busy: bool,
    next_look: Instant,
    scenario: usize,
    step: usize,
    run: u32,
    phase: Phase,
    /// What has been met of what the step expects, or of its trigger.
    met: Vec<bool>,
    /// Which of them is asked for now.
    asked: Option<usize>,
    begun: Instant,
    step_begun: Instant,
    step_done: Instant,
    over: bool,
}

impl Machine {
    /// Begins to play.
    pub fn new(now: Instant, scenarios: Vec<Scenario>) -> Self {
        let report = Report::of(&scenarios);
        let phase = Phase::Waits { until: now };
        let mut machine = Self {
            scenarios,
            report,
            actions: VecDeque::new(),
            heard: BTreeMap::new(),
            look: Look::default(),
            busy: false,
            next_look: now,
            scenario: 0,
            step: 0,
            run: 0,
            phase,
            met: Vec::new(),
            asked: None,
            begun: now,
            step_begun: now,
            step_done: now,
            over: false,
        };
        let conditions = machine.scenarios.iter().flat_map(|scenario| &scenario.steps).flat_map(conditions);
        let instances = conditions.filter_map(|condition| match condition {
            Condition::Log { instance, .. } => Some((instance.clone(), Heard::default())),
            _ => None,
        });
        machine.heard = instances.collect();
        machine.begin_scenario(now);
        machine
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Machine::handle_timeout`] is to be called; nothing while an action is under way.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.over && !self.busy).then_some(self.next_look)
    }

    /// The outcome so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// It is time for a look.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.over && !self.busy && self.next_look <= now {
            self.want_look();
        }
    }

    fn want_look(&mut self) {
        self.busy = true;
        self.actions.push_back(Action::Look(self.heard.iter().map(|(name, it)| (name.clone(), it.last)).collect()));
    }

    /// How the bridge looks.
    pub fn handle_look(&mut self, now: Instant, look: Look) {
        self.busy = false;
        self.next_look = now + EVERY;
        for news in &look.news {
            let Some(heard) = self.heard.get_mut(&news.instance) else { continue };
            for (number, line) in (news.first..).zip(&news.lines) {
                heard.lines.push_back((number, line.clone()));
                heard.last = heard.last.max(number);
            }
            let floor = heard.used.max(heard.mark);
            while heard.lines.len() > LINES || heard.lines.front().is_some_and(|(number, _)| *number <= floor) {
                heard.lines.pop_front();
            }
        }
        self.look = look;
        if !self.over {
            self.go_on(now);
        }
    }

    /// A deed was done, or could not be.
    pub fn handle_done(&mut self, now: Instant, outcome: Result<()>) {
        self.busy = false;
        let Phase::Acts { next } = self.phase else { return };
        match outcome {
            Ok(()) => {
                self.phase = Phase::Acts { next: next + 1 };
                self.act(now);
            }
            Err(error) => {
                let text = self.current().and_then(|step| step.deeds.get(next)).map(|deed| deed.text.clone());
                self.fail(
                    now,
                    format!("{}: {}", text.unwrap_or_default(), error.what()),
                    error.advice().map(str::to_owned),
                );
            }
        }
    }

    /// A host has answered, or has not.
    pub fn handle_answer(&mut self, now: Instant, outcome: Result<()>) {
        self.busy = false;
        let asked = self.asked.take();
        if let Some(met) = asked.and_then(|asked| self.met.get_mut(asked)) {
            *met = outcome.is_ok();
        }
        // Whatever else is waited for, and the time.
        self.next_look = now;
    }

    /// The bench ends before all is played, for this reason: what is left is skipped.
    pub fn abort(&mut self, now: Instant, why: &str) {
        if !self.over {
            self.fail_step(now, why.to_owned(), None);
            let rest = self.report.scenarios.iter_mut().skip(self.scenario);
            rest.flat_map(|it| &mut it.steps).filter(|step| step.outcome == Outcome::Waits).for_each(|step| {
                step.outcome = Outcome::Skipped(why.to_owned());
            });
            self.end();
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.actions.retain(|action| matches!(action, Action::Tell(_) | Action::Note));
        self.actions.push_back(Action::Over);
    }

    fn current(&self) -> Option<&Step> {
        self.scenarios.get(self.scenario)?.steps.get(self.step)
    }

    fn played(&mut self) -> Option<&mut Played> {
        self.report.scenarios.get_mut(self.scenario)
    }

    fn begin_scenario(&mut self, now: Instant) {
        let Some(scenario) = self.scenarios.get(self.scenario) else { return self.end() };
        self.actions.push_back(Action::Tell(format!("scenario {:?}", scenario.name)));
        (self.step, self.run, self.begun, self.step_done) = (0, 0, now, now);
        // What was said before the first scenario began is new to it; later ones begin where the last one ended.
        if self.scenario > 0 {
            self.heard.values_mut().for_each(|heard| heard.mark = heard.last);
        }
        self.begin_step(now);
    }

    fn begin_step(&mut self, now: Instant) {
        let Some(step) = self.current() else { return self.next_scenario(now) };
        let at = match step.trigger {
            Trigger::Now | Trigger::When(_) => now,
            Trigger::At(time) => (self.begun + time).max(now),
            Trigger::Later(time) => (self.step_done + time).max(now),
        };
        let until = at + step.within;
        self.step_begun = now;
        self.met = vec![false];
        self.asked = None;
        self.phase = Phase::Waits { until };
        self.next_look = at;
    }

    fn next_scenario(&mut self, now: Instant) {
        let passed = self.played().is_some_and(|played| played.passed());
        let name = self.scenarios.get(self.scenario).map(|it| it.name.clone()).unwrap_or_default();
        let lasted = value::span(now.since(self.begun));
        let word = if passed { "as expected" } else { "not as expected" };
        self.actions.push_back(Action::Tell(format!("scenario {name:?}: {word}, {lasted}")));
        self.scenario += 1;
        self.begin_scenario(now);
    }

    /// A look has come: goes as far as it can.
    fn go_on(&mut self, now: Instant) {
        let Some(step) = self.current().cloned() else { return };
        match self.phase {
            Phase::Waits { until } => {
                let due = match &step.trigger {
                    Trigger::Now => true,
                    Trigger::At(time) => self.begun + *time <= now,
                    Trigger::Later(time) => self.step_done + *time <= now,
                    Trigger::When(condition) => self.is_met(0, condition),
                };
                if due {
                    self.heard.values_mut().for_each(|heard| heard.mark = heard.last);
                    self.phase = Phase::Acts { next: 0 };
                    self.act(now);
                } else if let Trigger::When(condition) = &step.trigger {
                    self.wait_on(now, until, &[(step.begins.clone(), condition.clone())], step.within);
                } else {
                    let at = match step.trigger {
                        Trigger::At(time) => self.begun + time,
                        Trigger::Later(time) => self.step_done + time,
                        Trigger::Now | Trigger::When(_) => now,
                    };
                    self.next_look = at.max(now);
                }
            }
            Phase::Acts { .. } => {}
            Phase::Expects { until } => {
                for (index, (_, condition)) in step.expects.iter().enumerate() {
                    if !self.met.get(index).is_some_and(|met| *met) {
                        let met = self.is_met(index, condition);
                        self.met.get_mut(index).into_iter().for_each(|it| *it = met);
                    }
                }
                if self.met.iter().all(|met| *met) {
                    self.pass(now);
                } else {
                    self.wait_on(now, until, &step.expects, step.within);
                }
            }
        }
    }

    /// Fails when the time is over, asks a host that has still to answer, or waits for the next look.
    fn wait_on(&mut self, now: Instant, until: Instant, of: &[(String, Condition)], within: Duration) {
        let open: Vec<&(String, Condition)> =
            of.iter().zip(&self.met).filter(|(_, met)| !**met).map(|(it, _)| it).collect();
        if until <= now {
            let words: Vec<&str> = open.iter().map(|(text, _)| text.as_str()).collect();
            let seen: Vec<String> = open.iter().map(|(_, condition)| condition.seen(&self.look)).collect();
            let what = format!("not within {}: {}", value::span(within), words.join("; "));
            return self.fail(now, what, Some(seen.join("\n")));
        }
        let host = of.iter().enumerate().find_map(|(index, (_, condition))| match condition {
            Condition::Answers(probe) if !self.met.get(index).is_some_and(|met| *met) => Some((index, probe.clone())),
            _ => None,
        });
        if let Some((index, probe)) = host {
            (self.asked, self.busy) = (Some(index), true);
            let room = (until - now).min(ASKED);
            self.actions.push_back(Action::Ask(probe, room));
        }
    }

    /// Whether a condition is met. A line that meets it is used up.
    fn is_met(&mut self, index: usize, condition: &Condition) -> bool {
        if let Some(holds) = condition.holds(&self.look) {
            return holds;
        }
        match condition {
            Condition::Log { instance, pattern } => {
                let Some(heard) = self.heard.get_mut(instance) else { return false };
                let mark = heard.mark.max(heard.used);
                let found = heard.lines.iter().find(|(number, line)| *number > mark && pattern.matches(line));
                let found = found.map(|(number, _)| *number);
                heard.used = found.unwrap_or(heard.used);
                found.is_some()
            }
            _ => self.met.get(index).is_some_and(|met| *met),
        }
    }

    /// Does the next deed, or begins to wait for what is expected.
    fn act(&mut self, now: Instant) {
        let (Phase::Acts { next }, Some(step)) = (self.phase, self.current().cloned()) else { return };
        if let Some(deed) = step.deeds.get(next) {
            self.busy = true;
            self.actions.extend([Action::Tell(format!("  {}", deed.text)), Action::Do(deed.act.clone())]);
            return;
        }
        if step.expects.is_empty() {
            return self.pass(now);
        }
        self.met = vec![false; step.expects.len()];
        self.phase = Phase::Expects { until: now + step.within };
        self.next_look = now;
    }

    /// The run of a step is as expected.
    fn pass(&mut self, now: Instant) {
        self.step_done = now;
        self.run += 1;
        let Some(step) = self.current() else { return };
        if self.run < step.repeat {
            let kept = self.step_begun;
            self.begin_step(now);
            self.step_begun = kept;
            return;
        }
        for (text, _) in &step.expects.clone() {
            self.actions.push_back(Action::Tell(format!("  as expected: {text}")));
        }
        self.note(now, Outcome::Passed, Vec::new());
        (self.step, self.run) = (self.step + 1, 0);
        self.begin_step(now);
    }

    /// The step has failed, and its scenario with it.
    fn fail(&mut self, now: Instant, what: String, detail: Option<String>) {
        self.fail_step(now, what, detail);
        self.next_scenario(now);
    }

    fn fail_step(&mut self, now: Instant, what: String, detail: Option<String>) {
        let repeat = self.current().map_or(1, |step| step.repeat);
        let what = if repeat > 1 { format!("run {} of {repeat}: {what}", self.run + 1) } else { what };
        let place = self.current().map(|step| format!("{}: ", step.place)).unwrap_or_default();
        let seen = detail.as_ref().map(|detail| format!("\n  {}", detail.replace('\n', "\n  "))).unwrap_or_default();
        self.actions.push_back(Action::Tell(format!("{place}{what}{seen}")));
        let lines = self.last_lines();
        self.note(now, Outcome::Failed { what, detail: detail.unwrap_or_default() }, lines);
        let why = format!("step {} has failed", self.step + 1);
        let rest = self.step + 1;
        if let Some(played) = self.played() {
            played.steps.iter_mut().skip(rest).for_each(|step| step.outcome = Outcome::Skipped(why.clone()));
        }
    }

    /// The last lines of the programs.
    fn last_lines(&self) -> Vec<String> {
        let of = |program: &crate::control::InstanceInfo| {
            let from = program.lines.len().saturating_sub(SHOWN);
            let lines = program.lines.get(from..).unwrap_or_default();
            lines.iter().map(|line| format!("{} | {line}", program.name)).collect::<Vec<_>>()
        };
        self.look.programs.iter().flat_map(of).collect()
    }

    fn note(&mut self, now: Instant, outcome: Outcome, lines: Vec<String>) {
        let (index, begun, all) = (self.step, self.step_begun, self.begun);
        if let Some(played) = self.played() {
            played.lasted = now.since(all);
            if let Some(step) = played.steps.get_mut(index) {
                *step = StepReport { outcome, lines, lasted: now.since(begun), ..step.clone() };
            }
        }
        self.actions.push_back(Action::Note);
    }
}

/// The conditions of a step.
fn conditions(step: &Step) -> impl Iterator<Item = &Condition> {
    let trigger = if let Trigger::When(condition) = &step.trigger { Some(condition) } else { None };
    trigger.into_iter().chain(step.expects.iter().map(|(_, condition)| condition))
}

/// The error of scenarios that were not as expected.
impl Report {
    /// That all was as expected.
    ///
    /// # Errors
    /// What was not.
    pub fn verdict(&self) -> Result<()> {
        let failed: Vec<&Played> = self.scenarios.iter().filter(|played| !played.passed()).collect();
        match failed.first() {
            None => Ok(()),
            Some(first) => {
                let count = format!("{} of {} scenarios", failed.len(), self.scenarios.len());
                let what = first.failure().unwrap_or_else(|| "it was not played".to_owned());
                Err(Error::new(
                    crate::error::Class::Unmet,
                    format!("{count} not as expected: {:?}: {what}", first.name),
                ))
            }
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
