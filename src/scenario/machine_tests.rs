//! Tests of the machine under a virtual clock, against a bench that does what a script says.

use super::*;
use crate::control::InstanceInfo;
use crate::error::Class;
use crate::scenario::look::News;
use crate::scenario::step::tests::scenarios;
use proptest::prelude::*;

/// A bench: what happens when, and what was done to it.
#[derive(Default)]
struct Bench {
    /// Lines of sim1 by their millisecond.
    lines: Vec<(u64, &'static str)>,
    /// What a restart makes it say, and after how long.
    says: Option<(u64, &'static str)>,
    /// From when on hosts answer.
    answers: Option<u64>,
    /// How long a deed takes, and whether it fails.
    takes: u64,
    fails: bool,
    state: &'static str,
    log: Vec<String>,
}

impl Bench {
    fn look(&self, now: u64, after: u64) -> Look {
        let mut come: Vec<&(u64, &str)> = self.lines.iter().filter(|(at, _)| *at <= now).collect();
        come.sort_by_key(|(at, _)| *at);
        let fresh: Vec<String> = come.iter().skip(after as usize).map(|(_, line)| (*line).to_owned()).collect();
        let lines = come.iter().map(|(_, line)| (*line).to_owned()).collect();
        let sim1 = InstanceInfo { name: "sim1".into(), state: self.state.into(), lines, ..InstanceInfo::default() };
        let news = vec![News { instance: "sim1".into(), first: after + 1, lines: fresh }];
        Look { programs: vec![sim1], news, ..Look::default() }
    }

    /// Plays to the end; gives the report, and how long it took.
    fn play(&mut self, steps: &str) -> (Report, u64) {
        let mut now = 0;
        let mut machine = Machine::new(Instant::ZERO, scenarios(steps).unwrap());
        for _ in 0..100_000 {
            while let Some(action) = machine.poll_action() {
                match action {
                    Action::Look(of) => {
                        let after = of.first().map_or(0, |(_, after)| *after);
                        machine.handle_look(Instant::from_millis(now), self.look(now, after));
                    }
                    Action::Do(act) => {
                        self.log
                            .push(format!("{now} {}", if matches!(act, Act::Ask(_)) { "asks" } else { "captures" }));
                        now += self.takes;
                        self.lines.extend(self.says.map(|(after, line)| (now + after, line)));
                        let failed = || Error::new(Class::Runtime, "it cannot be done").hint("try another");
                        machine.handle_done(Instant::from_millis(now), if self.fails { Err(failed()) } else { Ok(()) });
                    }
                    Action::Ask(_, room) => {
                        let answered = self.answers.filter(|at| *at <= now + room.as_millis() as u64);
                        now = answered.map_or(now + room.as_millis() as u64, |at| at.max(now));
                        let outcome = answered.map(drop).ok_or_else(|| Error::usage("no answer"));
                        machine.handle_answer(Instant::from_millis(now), outcome);
                    }
                    Action::Tell(_) | Action::Note => {}
                    Action::Over => return (machine.report().clone(), now),
                }
            }
            let due = machine.poll_timeout().expect("it waits for something");
            now = now.max(due.as_millis());
            machine.handle_timeout(Instant::from_millis(now));
        }
        panic!("it does not end");
    }
}

fn step(text: &str) -> String {
    format!("[[scenario.step]]\n{}\n", text.replace("; ", "\n"))
}

fn outcomes(report: &Report) -> Vec<String> {
    let word = |step: &StepReport| match &step.outcome {
        Outcome::Waits => "waits".to_owned(),
        Outcome::Passed => "passed".to_owned(),
        Outcome::Failed { what, detail } => format!("{what} | {detail}"),
        Outcome::Skipped(why) => format!("skipped: {why}"),
    };
    report.scenarios.iter().flat_map(|played| &played.steps).map(word).collect()
}

#[test]
fn steps_come_at_their_times() {
    let steps = [step("at = \"5s\"; do = \"restart sim1\""), step("at = \"+10s\"; do = \"restart sim1\"; repeat = 2")];
    let mut bench = Bench { takes: 300, ..Bench::default() };
    let (report, _) = bench.play(&steps.concat());
    assert_eq!(outcomes(&report), ["passed", "passed"]);
    assert_eq!(bench.log, ["5000 asks", "15300 asks", "25600 asks"]);
    assert_eq!(report.scenarios[0].steps[1].lasted, Duration::from_millis(20_600));
    assert!(report.verdict().is_ok());
}

/// The line that was there before a deed is no answer to it, and one that came meanwhile is.
#[test]
fn a_line_counts_once_and_only_behind_the_deed() {
    let expect = "do = \"restart sim1\"; expect = \"log sim1 /up/\"; within = \"2s\"";
    let mut bench = Bench { lines: vec![(0, "up")], ..Bench::default() };
    let (report, now) = bench.play(&step(expect));
    let what = "not within 2s: log sim1 /up/ | sim1 has written no line that matches /up/; its last is \"up\"";
    assert_eq!((outcomes(&report), now / 100), (vec![what.to_owned()], 20));
    let mut bench = Bench { lines: vec![(0, "up")], says: Some((100, "up again")), ..Bench::default() };
    let (report, _) = bench.play(&[step(expect), step(expect)].concat());
    assert_eq!(outcomes(&report), ["passed", "passed"]);
    // A trigger takes what has come since the step before began to act.
    let mut bench = Bench { says: Some((0, "up")), ..Bench::default() };
    let (report, now) = bench.play(&[step("do = \"restart sim1\""), step("on = \"log sim1 /up/\"")].concat());
    assert_eq!((outcomes(&report), now), (vec!["passed".to_owned(); 2], 0));
    // The first one takes what was there before.
    let mut bench = Bench { lines: vec![(0, "up")], ..Bench::default() };
    let twice = [step("on = \"log sim1 /up/\""), step("on = \"log sim1 /up/\"; within = \"1s\"")].concat();
    assert_eq!(outcomes(&bench.play(&twice).0)[0], "passed");
    assert!(outcomes(&bench.play(&twice).0)[1].starts_with("not within 1s"), "it counts once");
}

#[test]
fn what_fails_ends_its_scenario_and_no_other() {
    let steps = [
        step("do = \"restart sim1\""),
        step("do = \"restart sim1\""),
        "[[scenario]]\nname = \"y\"\n".to_owned(),
        step("expect = \"sim1 ready\"; within = \"1s\""),
    ];
    let mut bench = Bench { fails: true, state: "ready", ..Bench::default() };
    let (report, _) = bench.play(&steps.concat());
    let failed = "restart sim1: it cannot be done | try another";
    assert_eq!(outcomes(&report), [failed, "skipped: step 1 has failed", "passed"]);
    let error = report.verdict().unwrap_err();
    assert_eq!(error.class(), Class::Unmet);
    assert!(error.what().starts_with("1 of 2 scenarios not as expected: \"x\": x.toml:3: restart sim1"), "{error}");
}

#[test]
fn hosts_are_asked_until_they_answer() {
    let steps = step("expect = [\"ping 192.0.2.1\", \"tcp 192.0.2.1:80\"]; within = \"9s\"");
    let mut bench = Bench { answers: Some(4200), ..Bench::default() };
    let (report, now) = bench.play(&steps);
    assert_eq!(outcomes(&report), ["passed"]);
    assert!((4200..4500).contains(&now), "{now}");
    let (report, now) = Bench::default().play(&steps);
    let missing =
        "not within 9s: ping 192.0.2.1; tcp 192.0.2.1:80 | no answer to ping 192.0.2.1\nno answer to tcp 192.0.2.1:80";
    assert_eq!((outcomes(&report), now / 1000), (vec![missing.to_owned()], 9));
}

#[test]
fn what_is_left_is_skipped_when_the_bench_ends() {
    let steps = [step("at = \"5s\"; do = \"restart sim1\""), step("do = \"restart sim1\"")].concat();
    let more = format!("{steps}[[scenario]]\nname = \"y\"\n{}", step("do = \"restart sim1\""));
    let mut machine = Machine::new(Instant::ZERO, scenarios(&more).unwrap());
    machine.abort(Instant::from_millis(700), "the bench has ended");
    let last = std::iter::from_fn(|| machine.poll_action()).last();
    assert_eq!((last, machine.poll_timeout()), (Some(Action::Over), None));
    let ended = "skipped: the bench has ended";
    assert_eq!(outcomes(machine.report()), ["the bench has ended | ", "skipped: step 1 has failed", ended]);
    machine.abort(Instant::from_millis(900), "again");
    machine.handle_look(Instant::from_millis(900), Look::default());
    assert_eq!(machine.poll_action(), None);
}

proptest! {
    /// Whatever a bench does: it ends, every step has an outcome, and the first that failed is the last that was done.
    #[test]
    fn it_ends_with_an_outcome_for_each_step(
        picks in prop::collection::vec(0..6_usize, 1..6),
        says in prop::option::of(0..3000_u64),
        answers in prop::option::of(0..9000_u64),
        (takes, fails, ready) in (0..500_u64, prop::bool::weighted(0.1), any::<bool>()),
    ) {
        const KINDS: [&str; 6] = [
            "at = \"2s\"; do = \"restart sim1\"",
            "at = \"+1s\"; do = \"restart sim1\"; repeat = 2",
            "on = \"log sim1 /up/\"; within = \"1s\"",
            "do = \"restart sim1\"; expect = \"log sim1 /up/\"; within = \"2s\"; repeat = 2",
            "expect = [\"ping 192.0.2.1\", \"sim1 ready\"]; within = \"4s\"",
            "when = \"drops(inst1) > 0\"; within = \"1s\"",
        ];
        let steps: String = picks.iter().filter_map(|pick| KINDS.get(*pick)).map(|text| step(text)).collect();
        let state = if ready { "ready" } else { "starts" };
        let mut bench = Bench { says: says.map(|after| (after, "up")), answers, takes, fails, state, ..Bench::default() };
        let (report, now) = bench.play(&steps);
        prop_assert!(now < 200_000);
        let steps = &report.scenarios[0].steps;
        let passed = steps.iter().take_while(|step| step.outcome == Outcome::Passed).count();
        let failed = |step: &StepReport| matches!(step.outcome, Outcome::Failed { .. });
        prop_assert!(steps.get(passed).is_none_or(failed));
        prop_assert!(steps.iter().skip(passed + 1).all(|step| matches!(step.outcome, Outcome::Skipped(_))));
        prop_assert_eq!(report.verdict().is_ok(), passed == steps.len());
    }
}
