//! Tests of the supervisor under a virtual clock, against programs that behave as a script says.

use super::*;
use crate::config::Config;
use crate::programs::orders::Deed;
use proptest::prelude::*;

/// What a program of the world does when it runs.
#[derive(Clone, Copy, Debug)]
struct Nature {
    /// After how many milliseconds it is ready, where it is asked.
    ready: u64,
    /// After how many it ends by itself, and how.
    ends: Option<(u64, End)>,
    /// How long it takes to end when it is told to; `None`: it does not.
    obeys: Option<u64>,
}

const SERVES: Nature = Nature { ready: 100, ends: None, obeys: Some(10) };

/// Programs and a clock; `log` has what was done, each with its millisecond.
struct World {
    natures: Vec<Nature>,
    names: Vec<String>,
    /// What will happen: when, to whom, in which run.
    due: std::collections::BTreeSet<(u64, usize, Happens)>,
    asked: Vec<bool>,
    log: Vec<String>,
    told: Vec<String>,
    now: u64,
}

/// What is done from outside, and in which millisecond.
type Hand = (u64, fn(&mut Supervisor, Instant));

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Happens {
    Ready,
    Exit(u8),
    Dies(i32),
}

impl From<End> for Happens {
    fn from(end: End) -> Self {
        match end {
            End::Status(status) => Self::Exit(status),
            End::Signal(signal) => Self::Dies(signal),
        }
    }
}

impl World {
    fn new(specs: &[InstanceSpec], natures: &[Nature]) -> Self {
        Self {
            natures: natures.to_vec(),
            names: specs.iter().map(|spec| spec.name.clone()).collect(),
            due: Default::default(),
            asked: vec![false; specs.len()],
            log: Vec::new(),
            told: Vec::new(),
            now: 0,
        }
    }

    /// Does what the supervisor asks for; gives the outcome when it is over.
    fn obey(&mut self, supervisor: &mut Supervisor) -> Option<Outcome> {
        let now = Instant::from_millis(self.now);
        while let Some(action) = supervisor.poll_action() {
            let (word, index) = match action {
                Action::Tell(text) => {
                    self.told.push(text);
                    continue;
                }
                Action::Blame(error) => {
                    self.log.push(format!("{} error: {}", self.now, error.what()));
                    continue;
                }
                Action::Over(outcome) => return Some(outcome),
                Action::Answer(number, outcome) => {
                    let outcome = outcome.map_or_else(|error| error.what().to_owned(), |()| "done".to_owned());
                    self.log.push(format!("{} answer {number}: {outcome}", self.now));
                    continue;
                }
                Action::Signal(index, signal) => {
                    self.due.insert((self.now + 1, index, Happens::Dies(signal)));
                    ("signal", index)
                }
                Action::Ask(index) | Action::Forget(index) => {
                    self.asked[index] = matches!(action, Action::Ask(_));
                    continue;
                }
                Action::Start(index) => {
                    let nature = self.natures[index];
                    self.due.insert((self.now + nature.ready, index, Happens::Ready));
                    self.due.extend(nature.ends.map(|(after, end)| (self.now + after, index, end.into())));
                    supervisor.handle_started(now, index);
                    ("start", index)
                }
                Action::Terminate(index) => {
                    if let Some(after) = self.natures[index].obeys {
                        self.due.insert((self.now + after, index, Happens::Dies(15)));
                    }
                    ("term", index)
                }
                Action::Kill(index) => {
                    self.due.insert((self.now, index, Happens::Dies(9)));
                    ("kill", index)
                }
            };
            self.log.push(format!("{} {word} {}", self.now, self.names[index]));
        }
        None
    }

    /// Runs until it is over, with what is done at certain times from outside.
    fn run(&mut self, supervisor: &mut Supervisor, mut outside: Vec<Hand>) -> Outcome {
        loop {
            if let Some(outcome) = self.obey(supervisor) {
                assert_eq!(supervisor.poll_timeout(), None);
                return outcome;
            }
            let timer = supervisor.poll_timeout().map(Instant::as_millis);
            let world = self.due.first().map(|&(at, ..)| at);
            let hand = outside.first().map(|&(at, _)| at);
            let next = [timer, world, hand].into_iter().flatten().min();
            self.now = next.expect("something happens before it is over").max(self.now);
            let now = Instant::from_millis(self.now);
            if hand.is_some_and(|at| at <= self.now) {
                outside.remove(0).1(supervisor, now);
            } else if world.is_some_and(|at| at <= self.now) {
                let (_, index, what) = self.due.pop_first().unwrap();
                match what {
                    Happens::Ready if self.asked[index] => supervisor.handle_ready(now, index),
                    Happens::Ready => {}
                    Happens::Exit(status) => self.end(supervisor, index, End::Status(status)),
                    Happens::Dies(signal) => self.end(supervisor, index, End::Signal(signal)),
                }
            } else {
                supervisor.handle_timeout(now);
            }
        }
    }

    fn end(&mut self, supervisor: &mut Supervisor, index: usize, end: End) {
        self.due.retain(|&(_, of, _)| of != index);
        supervisor.handle_exit(Instant::from_millis(self.now), index, end);
    }
}

/// Instances of a file, each line `NAME: KEYS`.
fn specs(lines: &[&str]) -> Vec<InstanceSpec> {
    let table = |line: &&str| {
        let (name, keys) = line.split_once(':').unwrap();
        format!("[[instance]]\nname = \"{name}\"\ncommand = \"x\"\n{}\n", keys.replace(';', "\n"))
    };
    Config::parse(&lines.iter().map(table).collect::<String>(), "x").unwrap().instances
}

fn run(lines: &[&str], natures: &[Nature], wishes: Wishes, outside: Vec<Hand>) -> (Outcome, World) {
    let specs = specs(lines);
    let mut supervisor = Supervisor::new(Instant::ZERO, &specs, wishes);
    let mut world = World::new(&specs, natures);
    let outcome = world.run(&mut supervisor, outside);
    (outcome, world)
}

const CHAIN: [&str; 3] = ["a:ready=\"log x\"", "b:after=\"a\";ready=\"log x\"", "c:after=[\"a\",\"b\"]"];

const STOP: fn(&mut Supervisor, Instant) = Supervisor::handle_stop;
const KILL: fn(&mut Supervisor, Instant) = Supervisor::handle_kill;

fn failed(outcome: &Outcome, class: Class, what: &str) {
    let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.class(), error.what()), (class, what));
}

#[test]
fn each_starts_when_those_before_are_ready_and_stops_when_those_behind_have_ended() {
    let (outcome, world) = run(&CHAIN, &[SERVES; 3], Wishes::default(), vec![(1000, STOP)]);
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(world.log, ["0 start a", "100 start b", "200 start c", "1000 term c", "1010 term b", "1020 term a"]);
    assert_eq!(world.told[0], "a: ready after 100 ms (log x), 1 of 3");
    assert!(world.told.contains(&"c: ready, 3 of 3".to_owned()), "{:?}", world.told);
}

#[test]
fn independent_instances_start_and_stop_together() {
    let (_, world) = run(&["a:", "b:", "c:"], &[SERVES; 3], Wishes::default(), vec![(5, STOP)]);
    assert_eq!(world.log, ["0 start a", "0 start b", "0 start c", "5 term a", "5 term b", "5 term c"]);
}

#[test]
fn one_that_does_not_end_is_killed_after_its_grace() {
    let deaf = Nature { obeys: None, ..SERVES };
    let (outcome, world) = run(&["a:", "b:after=\"a\""], &[SERVES, deaf], Wishes::default(), vec![(10, STOP)]);
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(world.log[2..], ["10 term b", "5010 kill b", "5010 term a"]);
    assert!(world.told.contains(&"b: still there after 5s; killed".to_owned()), "{:?}", world.told);
}

#[test]
fn a_second_interruption_kills_all_at_once() {
    let deaf = Nature { obeys: None, ..SERVES };
    let (outcome, world) = run(&CHAIN, &[deaf, SERVES, deaf], Wishes::default(), vec![(300, STOP), (1300, KILL)]);
    failed(&outcome, Class::Interrupted, "stopped at once; all are killed");
    assert_eq!(world.log[3], "300 term c");
    let killed = [
        "1300 error: stopped at once; all are killed",
        // Who had not had its turn may still save something.
        "1300 term a",
        "1300 term b",
        "1300 kill c",
        "1800 kill a",
    ];
    assert_eq!(world.log[4..], killed);
}

const LOSE_A: fn(&mut Supervisor, Instant) =
    |supervisor, now| supervisor.handle_lost(now, 0, Error::new(Class::Fault, "a: its switch has ended"));

#[test]
fn a_lost_switch_ends_who_is_on_it_and_nobody_else() {
    let server = Nature { ends: Some((900, End::Status(0))), ..SERVES };
    let (outcome, world) = run(&["a:", "b:after=\"a\""], &[SERVES, server], Wishes::default(), vec![(500, LOSE_A)]);
    failed(&outcome, Class::Fault, "a: its switch has ended");
    assert_eq!(world.log, ["0 start a", "0 start b", "500 term a", "900 error: a: its switch has ended"]);
    assert_eq!(world.now, 900, "b ran to its end");
    // The status that is asked for counts, unless it is the lost one's.
    let wish = |index| Wishes { exit_with: Some(index), timeout: None };
    let (outcome, _) = run(&["a:", "b:"], &[SERVES, server], wish(1), vec![(500, LOSE_A)]);
    assert_eq!(outcome, Outcome::Status(End::Status(0)));
    let (outcome, world) = run(&["a:", "b:"], &[SERVES, SERVES], wish(0), vec![(500, LOSE_A)]);
    failed(&outcome, Class::Fault, "a: its switch has ended");
    assert_eq!(world.log[2..], ["500 error: a: its switch has ended", "500 term a", "500 term b"]);
}

#[test]
fn nobody_waits_for_one_that_is_lost_before_it_is_ready() {
    let (outcome, world) = run(&CHAIN, &[SERVES; 3], Wishes::default(), vec![(50, LOSE_A)]);
    failed(&outcome, Class::Fault, "a: its switch has ended");
    assert_eq!(world.log, ["0 start a", "50 error: a: its switch has ended", "50 term a"]);
}

#[test]
fn one_that_is_stopped_before_its_start_is_never_started() {
    let (outcome, world) = run(&CHAIN, &[SERVES; 3], Wishes::default(), vec![(50, STOP)]);
    assert_eq!((outcome, world.log), (Outcome::Stopped, vec!["0 start a".to_owned(), "50 term a".to_owned()]));
}

#[test]
fn not_ready_in_time_fails_the_bench() {
    let slow = Nature { ready: 900, ..SERVES };
    let late = ["a:", "b:after=\"a\";ready=\"ping 192.0.2.1\";ready-timeout=\"500ms\"", "c:after=\"b\""];
    let (outcome, world) = run(&late, &[SERVES, slow, SERVES], Wishes::default(), vec![]);
    failed(&outcome, Class::Unmet, "b: not ready after 500ms: ping 192.0.2.1");
    assert_eq!(
        world.log,
        ["0 start a", "0 start b", "500 error: b: not ready after 500ms: ping 192.0.2.1", "500 term b", "510 term a",]
    );
}

#[test]
fn ended_before_ready_fails_the_bench() {
    let crashes = Nature { ends: Some((50, End::Status(0))), ..SERVES };
    let (outcome, world) = run(&CHAIN, &[SERVES, crashes, SERVES], Wishes::default(), vec![]);
    failed(&outcome, Class::Runtime, "b: ended with status 0 before it was ready");
    assert_eq!(
        world.log,
        ["0 start a", "100 start b", "150 error: b: ended with status 0 before it was ready", "150 term a",]
    );
}

#[test]
fn one_that_cannot_be_started_fails_the_bench() {
    let specs = specs(&CHAIN);
    let mut supervisor = Supervisor::new(Instant::ZERO, &specs, Wishes::default());
    assert_eq!(supervisor.poll_action(), Some(Action::Start(0)));
    let error = Error::new(Class::NoObject, "a: ./x: No such file");
    let failed = NotStarted { error: error.clone(), status: 127 };
    supervisor.handle_not_started(Instant::ZERO, 0, failed.clone());
    assert_eq!(supervisor.poll_action(), Some(Action::Forget(0)));
    assert_eq!(supervisor.poll_action(), Some(Action::Blame(error)));
    assert_eq!(supervisor.poll_action(), Some(Action::Over(Outcome::NotStarted(failed))));
}

/// The pauses double up to the longest, and are short again after a steady run.
#[test]
fn failures_are_started_again_with_growing_pauses() {
    let crashes = Nature { ends: Some((50, End::Signal(11))), ..SERVES };
    let (outcome, world) = run(&["a:restart=\"on-failure\""], &[crashes], Wishes::default(), vec![(60_000, STOP)]);
    assert_eq!(outcome, Outcome::Stopped);
    let starts: Vec<u64> =
        world.log.iter().filter(|line| line.contains("start")).map(|line| first_number(line)).collect();
    let pauses: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0] - 50).collect();
    assert_eq!(pauses[..7], [250, 500, 1000, 2000, 4000, 8000, 10_000]);
    assert_eq!(world.told[1], "a: ended with signal 11 (SIGSEGV); started again in 250ms");

    let steady = Nature { ends: Some((10_000, End::Status(1))), ..SERVES };
    let (_, world) = run(&["a:restart=\"on-failure\""], &[steady], Wishes::default(), vec![(60_000, STOP)]);
    let starts: Vec<u64> =
        world.log.iter().filter(|line| line.contains("start")).map(|line| first_number(line)).collect();
    assert_eq!(starts[..5], [0, 10_250, 20_500, 30_750, 41_000]);
}

fn first_number(line: &str) -> u64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

/// The time to become ready counts over all attempts.
#[test]
fn a_crash_loop_before_ready_ends() {
    let crashes = Nature { ready: 100, ends: Some((50, End::Status(3))), obeys: Some(0) };
    let lines = ["a:restart=\"on-failure\";ready=\"log x\";ready-timeout=\"2s\""];
    let (outcome, world) = run(&lines, &[crashes], Wishes::default(), vec![]);
    failed(&outcome, Class::Unmet, "a: not ready after 2s: log x");
    assert_eq!((world.now, world.log.len()), (2000, 5), "{:?}", world.log);
}

#[test]
fn success_is_not_started_again_and_the_bench_is_over_when_all_have_ended() {
    let done = |status| Nature { ends: Some((70, End::Status(status))), ..SERVES };
    let (outcome, _) = run(&["a:restart=\"on-failure\"", "b:"], &[done(0), done(0)], Wishes::default(), vec![]);
    assert_eq!(outcome, Outcome::Ended);
    let (outcome, _) = run(&["a:", "b:", "c:"], &[done(0), done(4), done(5)], Wishes::default(), vec![]);
    failed(&outcome, Class::Runtime, "b: ended with status 4");
}

#[test]
fn the_status_of_one_is_that_of_all() {
    let test = Nature { ends: Some((70, End::Status(4))), ..SERVES };
    let wishes = Wishes { exit_with: Some(1), timeout: None };
    let (outcome, world) = run(&["a:", "b:", "c:after=\"b\""], &[SERVES, test, SERVES], wishes, vec![]);
    assert_eq!(outcome, Outcome::Status(End::Status(4)));
    assert_eq!(world.log[3..], ["70 term a", "70 term c"]);
    assert_eq!(End::Signal(11).code(), 139);

    let (outcome, _) = run(&["a:", "b:", "c:"], &[SERVES; 3], wishes, vec![(20, STOP)]);
    failed(&outcome, Class::Interrupted, "stopped before the instance ended whose status was asked for");
}

#[test]
fn a_bench_may_last_so_long() {
    let wishes = Wishes { exit_with: None, timeout: Some(Duration::from_secs(3)) };
    let (outcome, world) = run(&CHAIN, &[SERVES; 3], wishes, vec![]);
    failed(&outcome, Class::Unmet, "the bench is not over after 3s");
    assert_eq!(
        world.log[3..],
        ["3000 error: the bench is not over after 3s", "3000 term c", "3010 term b", "3020 term a",]
    );
}

const STOP_A: Hand = (500, |supervisor, now| supervisor.handle_order(now, 1, Deed::Stop, &[0]));

#[test]
fn one_that_is_stopped_by_hand_is_there_to_be_started_again() {
    let start: Hand = (900, |supervisor, now| supervisor.handle_order(now, 2, Deed::Start, &[0]));
    let (outcome, world) =
        run(&["a:ready=\"log x\"", "b:"], &[SERVES; 2], Wishes::default(), vec![STOP_A, start, (2000, STOP)]);
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(
        world.log[2..],
        ["500 term a", "510 answer 1: done", "900 start a", "900 answer 2: done", "2000 term a", "2000 term b"]
    );
    let told: Vec<&str> = world.told.iter().map(String::as_str).filter(|it| it.starts_with("a: ")).collect();
    let again = "a: ready again (log x), 2 of 2";
    assert_eq!(told[1..3], ["a: ended with signal 15 (SIGTERM); `zbridge start` starts it again", again]);
}

#[test]
fn a_stop_is_done_when_the_program_has_ended_whoever_has_it_started_again() {
    let stop_and_start: Hand = (500, |supervisor, now| {
        supervisor.handle_order(now, 1, Deed::Stop, &[0]);
        supervisor.handle_order(now, 2, Deed::Restart, &[0]);
    });
    let (_, world) = run(&["a:"], &[SERVES], Wishes::default(), vec![stop_and_start, (900, STOP)]);
    assert_eq!(
        world.log[1..5],
        ["500 term a", "510 start a", "510 answer 1: done", "510 answer 2: done"],
        "{:?}",
        world.log
    );
}

#[test]
fn a_restart_is_done_when_the_program_runs_again() {
    let slow = Nature { obeys: None, ..SERVES };
    let again: Hand = (500, |supervisor, now| supervisor.handle_order(now, 1, Deed::Restart, &[1, 0]));
    let (_, world) = run(&["a:", "b:"], &[SERVES, slow], Wishes::default(), vec![again, (9000, STOP)]);
    assert_eq!(
        world.log[2..7],
        ["500 term b", "500 term a", "510 start a", "5500 kill b", "5500 start b"],
        "{:?}",
        world.log
    );
    assert_eq!(world.log[7], "5500 answer 1: done");
}

#[test]
fn a_kill_by_hand_is_no_failure_of_the_bench() {
    let kill: Hand = (500, |supervisor, now| supervisor.handle_order(now, 1, Deed::Signal(9), &[0]));
    let (outcome, world) = run(&["a:", "b:"], &[SERVES; 2], Wishes::default(), vec![kill, (900, STOP)]);
    assert_eq!(outcome, Outcome::Stopped);
    assert_eq!(world.log[2..4], ["500 kill a", "500 answer 1: done"]);
    // Its policy holds as if it had died by itself.
    let (_, world) = run(&["a:restart=\"on-failure\""], &[SERVES], Wishes::default(), vec![kill, (900, STOP)]);
    assert_eq!(world.log[1..4], ["500 kill a", "500 answer 1: done", "750 start a"]);
    // A signal that it did not take to end is not the cause of its end.
    let usr1: Hand = (100, |supervisor, now| supervisor.handle_order(now, 1, Deed::Signal(10), &[0]));
    let fails = Nature { ends: Some((50, End::Status(3))), ..SERVES };
    let (outcome, _) =
        run(&["a:"], &[Nature { ends: Some((101, End::Status(3))), ..fails }], Wishes::default(), vec![usr1]);
    failed(&outcome, Class::Runtime, "a: ended with status 3");
}

#[test]
fn what_cannot_be_ordered_is_refused() {
    let specs = specs(&["a:", "b:"]);
    let mut supervisor = Supervisor::new(Instant::ZERO, &specs, Wishes::default());
    let mut world = World::new(&specs, &[SERVES; 2]);
    assert_eq!(world.obey(&mut supervisor), None);
    supervisor.handle_order(Instant::ZERO, 1, Deed::Start, &[0]);
    supervisor.handle_exit(Instant::ZERO, 0, End::Status(0));
    supervisor.handle_order(Instant::ZERO, 2, Deed::Stop, &[0]);
    supervisor.handle_order(Instant::ZERO, 3, Deed::Signal(15), &[0]);
    supervisor.handle_stop(Instant::ZERO);
    supervisor.handle_order(Instant::ZERO, 4, Deed::Restart, &[1]);
    assert_eq!(world.obey(&mut supervisor), None);
    let answers: Vec<&str> = world.log.iter().filter_map(|line| line.strip_prefix("0 answer ")).collect();
    let ended = "a does not run: it ended with status 0";
    assert_eq!(
        answers,
        [
            "1: a runs already".to_owned(),
            format!("2: {ended}"),
            format!("3: {ended}"),
            "4: the bench is being stopped".to_owned()
        ]
    );
}

/// A program that is not there any more is no reason to end a bench that runs.
#[test]
fn a_start_by_hand_that_fails_is_answered() {
    let specs = specs(&["a:", "b:"]);
    let mut supervisor = Supervisor::new(Instant::ZERO, &specs, Wishes::default());
    let mut world = World::new(&specs, &[SERVES; 2]);
    assert_eq!(world.obey(&mut supervisor), None);
    supervisor.handle_order(Instant::ZERO, 1, Deed::Restart, &[0]);
    supervisor.handle_exit(Instant::ZERO, 0, End::Signal(15));
    let error = Error::new(Class::NoObject, "./x: No such file");
    supervisor.handle_not_started(Instant::ZERO, 0, NotStarted { error: error.clone(), status: 127 });
    let mut actions = std::iter::from_fn(|| supervisor.poll_action());
    assert!(actions.any(|action| action == Action::Answer(1, Err(error.clone()))));
    assert_eq!(supervisor.told(0).map(|told| told.state), Some("stopped"));
}

fn nature() -> impl Strategy<Value = Nature> {
    let end = prop::option::of((0..20_000u64, 0..3u8).prop_map(|(after, status)| (after, End::Status(status))));
    (0..40_000u64, end, prop::option::of(0..6000u64)).prop_map(|(ready, ends, obeys)| Nature { ready, ends, obeys })
}

proptest! {
    /// Whatever the programs do: the bench ends, nobody is started before what it is after was ready, nobody is told to
    /// end before those behind have ended, and nothing is left running.
    #[test]
    fn order_is_kept(
        natures in prop::collection::vec(nature(), 6),
        edges in prop::collection::vec((0..6usize, 0..6usize), 0..8),
        asked in prop::collection::vec(any::<bool>(), 6),
        again in prop::collection::vec(any::<bool>(), 6),
        exit_with in prop::option::of(0..6usize),
        stop in 0..100_000u64,
    ) {
        let lines: Vec<String> = (0..6).map(|index| {
            let after: std::collections::BTreeSet<String> = edges.iter()
                .filter(|(one, other)| one != other && *one.max(other) == index)
                .map(|(one, other)| format!("\"i{}\"", one.min(other))).collect();
            let after = format!("after=[{}]", after.into_iter().collect::<Vec<_>>().join(","));
            let ready = if asked[index] { ";ready=\"log x\"" } else { "" };
            let restart = if again[index] { ";restart=\"on-failure\"" } else { "" };
            format!("i{index}:{after}{ready}{restart}")
        }).collect();
        let specs = specs(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let wishes = Wishes { exit_with, timeout: None };
        let mut supervisor = Supervisor::new(Instant::ZERO, &specs, wishes);
        let mut world = World::new(&specs, &natures);
        world.run(&mut supervisor, vec![(stop, STOP)]);

        let at = |word: &str, name: &str| {
            world.log.iter().position(|line| line.ends_with(&format!(" {word} {name}")))
        };
        let ready = |name: &str| world.told.iter().any(|line| line.starts_with(&format!("{name}: ready")));
        for spec in &specs {
            for before in &spec.after {
                if let Some(start) = at("start", &spec.name) {
                    prop_assert!(ready(before) && at("start", before).is_some_and(|earlier| earlier < start));
                }
                if let (Some(mine), Some(theirs)) = (at("term", &spec.name), at("term", before)) {
                    prop_assert!(mine < theirs, "{:?}", world.log);
                }
            }
            let starts = world.log.iter().filter(|line| line.ends_with(&format!(" start {}", spec.name))).count();
            let ends = world.told.iter().filter(|line| line.starts_with(&format!("{}: ended", spec.name))).count();
            prop_assert_eq!(starts, ends, "{:?} {:?}", world.log, world.told);
        }
    }
}
