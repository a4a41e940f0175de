//! Decides when each instance of a bench is started, counts as ready, is started again, and is stopped.
//!
//! # Theory of operation
//! Sans-I/O: events come in with their time ([`Supervisor::handle_ready`], [`Supervisor::handle_exit`] …), actions come
//! out of [`Supervisor::poll_action`], and [`Supervisor::poll_timeout`] says when [`Supervisor::handle_timeout`] is
//! due. The driver does the actions and nothing else.
//!
//! - An instance is started when all instances that it depends on (`after`) are ready. Without a check it is ready as
//!   soon as it runs. Ready once is ready for good: its dependents are not stopped when it is restarted; but it is
//!   checked again in each run, and told of.
//! - A failed instance that may be restarted is restarted after a pause, which doubles from [`FIRST_PAUSE`] to
//!   [`LONGEST_PAUSE`], and is short again once the instance has run for [`STEADY`].
//! - What is ordered by hand is in `orders.rs`: one that was stopped so, or ended by a signal sent so, is no failure, and
//!   can be started again; the bench is not over as long as there is one.
//! - The bench fails when an instance cannot be started, or ends for good or takes too long before it is ready. It is
//!   over when all have ended, or as soon as the instance has ended whose status is asked for.
//! - It is stopped in reverse order: an instance gets SIGTERM when all its dependents have ended, and is killed when it
//!   has not ended within [`GRACE`].

use super::Outcome;
use super::end::End;
use super::orders::Pending;
use super::place::{Instance, Standing, State, Then};
use crate::config::{InstanceSpec, Restart, value};
use crate::error::{Class, Error, Result};
use crate::launch::NotStarted;
use crate::time::{Duration, Instant, earliest};
use std::collections::{HashSet, VecDeque};

/// How long an instance has to end by itself once it was told to.
pub const GRACE: Duration = Duration::from_secs(5);
/// The same if all are to end at once and it was not told before.
pub const LAST_GRACE: Duration = Duration::from_millis(500);
/// The pause before an instance is started again for the first time.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause before an instance is started again.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// After a run this long the pause is short again.
pub const STEADY: Duration = Duration::from_secs(10);
/// How long the end of a killed instance is waited for, as the system may not end it.
const GIVEN_UP: Duration = Duration::from_secs(2);

/// An action for the driver. Instances are given by their index in the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Start it. [`Supervisor::handle_started`] or [`Supervisor::handle_not_started`] follows.
    Start(usize),
    /// Ask whether it is ready, until it is.
    Ask(usize),
    /// Stop asking.
    Forget(usize),
    /// Tell it to end (SIGTERM).
    Terminate(usize),
    /// Kill it (SIGKILL).
    Kill(usize),
    /// Send it this signal.
    Signal(usize, i32),
    /// Answer the order with this number.
    Answer(u64, Result<()>),
    /// Say this to the person who watches.
    Tell(String),
    /// Report why the bench fails. It precedes the actions that follow from it, and is part of the outcome.
    Blame(Error),
    /// The bench is over. Nothing follows.
    Over(Outcome),
}

/// Options of the whole bench.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wishes {
    /// The instance whose end is the bench's, with its status.
    pub exit_with: Option<usize>,
    /// How long the bench may last.
    pub timeout: Option<Duration>,
}

/// See the module.
pub struct Supervisor {
    pub(super) instances: Vec<Instance>,
    /// Orders whose answer is still to come.
    pub(super) pending: Vec<Pending>,
    exit_with: Option<usize>,
    begun: Instant,
    deadline: Option<Instant>,
    pub(super) actions: VecDeque<Action>,
    /// Why it is being stopped, once it is.
    pub(super) stopping: Option<Outcome>,
    /// The first failure of an instance, reported unless something worse happens.
    failure: Option<Error>,
    /// All are to end at once.
    at_once: bool,
    over: bool,
}

impl Supervisor {
    /// A new bench; the first actions are there at once. `specs` have been checked: their dependencies exist and have
    /// no cycle, and each has its log.
    pub fn new(now: Instant, specs: &[InstanceSpec], wishes: Wishes) -> Self {
        let place = |name: &String| specs.iter().position(|spec| spec.name == *name);
        let instance = |spec: &InstanceSpec| Instance::new(spec, spec.after.iter().filter_map(place).collect());
        let mut supervisor = Self {
            instances: specs.iter().map(instance).collect(),
            pending: Vec::new(),
            exit_with: wishes.exit_with,
            begun: now,
            deadline: wishes.timeout.map(|timeout| now + timeout),
            actions: VecDeque::new(),
            stopping: None,
            failure: None,
            at_once: false,
            over: false,
        };
        supervisor.advance(now);
        supervisor
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// An instance as it is told of.
    pub fn told(&self, index: usize) -> Option<Standing> {
        self.instances.get(index).map(Instance::standing)
    }

    /// When [`Supervisor::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let own = self.instances.iter().map(|instance| {
            let state = match instance.state {
                State::Terminated { deadline } | State::Killed { deadline } => Some(deadline),
                State::Pausing { until } => Some(until),
                State::Waiting | State::Running { .. } | State::Stopped | State::Ended => None,
            };
            earliest(state, instance.ready_by().filter(|_| self.stopping.is_none()))
        });
        let deadline = self.deadline.filter(|_| self.stopping.is_none());
        own.fold(deadline, earliest)
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(deadline) = self.deadline.filter(|&deadline| deadline <= now && self.stopping.is_none()) {
            let lasted = value::span(deadline - self.begun);
            self.fail(Error::new(Class::Unmet, format!("the bench is not over after {lasted}")));
        }
        if let Some(late) = self.instances.iter().find(|it| it.ready_by().is_some_and(|by| by <= now)) {
            let check = late.check.as_deref().unwrap_or("start");
            let what = format!("{}: not ready after {}: {check}", late.name, value::span(late.patience));
            let hint = format!("its output is in {}; ready-timeout= gives it longer", late.log.display());
            self.fail(Error::new(Class::Unmet, what).hint(hint));
        }
        for index in 0..self.instances.len() {
            self.end_by_force(index, now);
        }
        self.advance(now);
    }

    /// Kills an instance whose grace period is over, or gives it up.
    fn end_by_force(&mut self, index: usize, now: Instant) {
        let Some(instance) = self.instances.get_mut(index) else { return };
        match instance.state {
            State::Terminated { deadline } if deadline <= now => {
                instance.state = State::Killed { deadline: now + GIVEN_UP };
                let grace = value::span(if self.at_once { LAST_GRACE } else { GRACE });
                let told = format!("{}: still there after {grace}; killed", instance.name);
                self.actions.extend([Action::Kill(index), Action::Tell(told)]);
            }
            State::Killed { deadline } if deadline <= now => {
                (instance.state, instance.runs) = (State::Ended, false);
                let told = format!("{}: does not end although it was killed; left behind", instance.name);
                self.actions.push_back(Action::Tell(told));
            }
            _ => {}
        }
    }

    /// The instance runs.
    pub fn handle_started(&mut self, now: Instant, index: usize) {
        let Some(instance) = self.instances.get_mut(index).filter(|it| it.is_alive()) else { return };
        instance.started.get_or_insert(now);
        instance.runs = true;
        match instance.check.is_some() {
            true => self.actions.push_back(Action::Ask(index)),
            false => self.handle_ready(now, index),
        }
        self.answer_orders();
    }

    /// The instance is ready. A second call, or one after its end, changes nothing.
    pub fn handle_ready(&mut self, now: Instant, index: usize) {
        let total = self.instances.len();
        let Some(instance) = self.instances.get_mut(index).filter(|it| !it.ready && it.is_alive()) else { return };
        let again = std::mem::replace(&mut instance.was_ready, true);
        instance.ready = true;
        let lasted = instance.started.map_or(Duration::ZERO, |started| now - started);
        let (name, check) = (instance.name.clone(), instance.check.clone());
        let ready = self.instances.iter().filter(|instance| instance.was_ready).count();
        if self.stopping.is_none() {
            let how = match &check {
                Some(check) if again => format!(" again ({check})"),
                Some(check) => format!(" after {} ms ({check})", lasted.as_millis()),
                None if again => " again".to_owned(),
                None => String::new(),
            };
            self.tell(format!("{name}: ready{how}, {ready} of {total}"));
        }
        if check.is_some() {
            self.actions.push_back(Action::Forget(index));
        }
        self.advance(now);
    }

    /// The instance has ended.
    pub fn handle_exit(&mut self, now: Instant, index: usize, end: End) {
        let Some(instance) = self.instances.get_mut(index).filter(|it| it.is_alive()) else { return };
        let since = if let State::Running { since } = instance.state { Some(since) } else { None };
        (instance.state, instance.end, instance.runs) = (State::Ended, Some(end), false);
        let (name, then, ready) = (instance.name.clone(), instance.then, instance.was_ready);
        let by_hand = instance.ended_by_hand(end);
        if !instance.ready && instance.check.is_some() {
            self.actions.push_back(Action::Forget(index));
        }
        match since.filter(|_| self.stopping.is_none()) {
            // It was told to.
            None if self.stopping.is_none() => self.ended_as_told(now, index, then, end),
            None => self.tell(format!("{name}: ended with {end}")),
            Some(since) if !end.is_success() && instance.restart == Restart::OnFailure => {
                let pause = if now - since >= STEADY { FIRST_PAUSE } else { instance.pause };
                instance.pause = (pause * 2).min(LONGEST_PAUSE);
                instance.state = State::Pausing { until: now + pause };
                self.tell(format!("{name}: ended with {end}; started again in {}", value::span(pause)));
            }
            Some(_) if by_hand && self.exit_with != Some(index) => {
                self.ended_as_told(now, index, Then::Stays, end);
            }
            Some(_) => self.ended_for_good(index, &name, ready, end),
        }
        self.advance(now);
    }

    /// An instance has ended that was told to.
    fn ended_as_told(&mut self, now: Instant, index: usize, then: Then, end: End) {
        let Some(instance) = self.instances.get_mut(index) else { return };
        let (state, what) = match then {
            Then::Ends => (State::Ended, ""),
            Then::Stays => (State::Stopped, "; `zbridge start` starts it again"),
            Then::StartsAgain => (State::Pausing { until: now }, "; started again"),
        };
        instance.state = state;
        let told = format!("{}: ended with {end}{what}", instance.name);
        self.tell(told);
    }

    /// A pointer to its output, for messages.
    fn output_of(&self, index: usize) -> String {
        let log = self.instances.get(index).map(|it| it.log.display().to_string());
        format!("its output is in {}", log.unwrap_or_default())
    }

    /// An instance has ended by itself and is not started again.
    fn ended_for_good(&mut self, index: usize, name: &str, ready: bool, end: End) {
        self.tell(format!("{name}: ended with {end}"));
        if self.exit_with == Some(index) {
            self.stop(Outcome::Status(end));
        } else if !ready {
            let what = format!("{name}: ended with {end} before it was ready");
            self.fail(Error::new(Class::Runtime, what).hint(self.output_of(index)));
        } else if !end.is_success() {
            let hint = self.output_of(index);
            let blame = || Error::new(Class::Runtime, format!("{name}: ended with {end}")).hint(hint);
            self.failure.get_or_insert_with(blame);
        }
    }

    /// The instance could not be started: the bench cannot go on, unless it was to be started by hand.
    pub fn handle_not_started(&mut self, now: Instant, index: usize, failed: NotStarted) {
        let by_hand = self.stopping.is_none() && self.refuse_start(index, &failed.error);
        if let Some(instance) = self.instances.get_mut(index) {
            instance.state = if by_hand { State::Stopped } else { State::Ended };
            if instance.check.is_some() && !instance.ready {
                self.actions.push_back(Action::Forget(index));
            }
        }
        match (by_hand, self.instances.get(index)) {
            (true, Some(instance)) => {
                self.tell(format!("{}: cannot be started: {}", instance.name, failed.error.what()))
            }
            _ => self.stop(Outcome::NotStarted(failed)),
        }
        self.advance(now);
    }

    /// The bench cannot go on.
    pub fn handle_failure(&mut self, now: Instant, error: Error) {
        self.fail(error);
        self.advance(now);
    }

    /// The switch of an instance has ended by itself. The instance is stopped, and the others go on, unless one waits
    /// for it to be ready, or its status was asked for.
    pub fn handle_lost(&mut self, now: Instant, index: usize, error: Error) {
        let Some(instance) = self.instances.get_mut(index).filter(|it| it.state != State::Ended) else { return };
        let (name, ready, state) = (instance.name.clone(), instance.was_ready, instance.state);
        let waited_for = self.instances.iter().any(|it| it.state == State::Waiting && it.after.contains(&index));
        if self.exit_with == Some(index) || waited_for && !ready {
            self.fail(error);
        } else if self.stopping.is_none() {
            self.tell(format!("{name}: is stopped, for its switch has ended; the others go on"));
            // It takes precedence over an instance's failure.
            self.failure = Some(error);
        }
        let next = match state {
            State::Running { .. } => {
                self.actions.push_back(Action::Terminate(index));
                State::Terminated { deadline: now + GRACE }
            }
            State::Waiting | State::Pausing { .. } | State::Stopped => State::Ended,
            ending => ending,
        };
        if let Some(instance) = self.instances.get_mut(index) {
            (instance.state, instance.then) = (next, Then::Ends);
        }
        self.advance(now);
    }

    /// The user stops the bench: all are stopped in order.
    pub fn handle_stop(&mut self, now: Instant) {
        let unmet = || Error::new(Class::Interrupted, "stopped before the instance ended whose status was asked for");
        self.stop(self.exit_with.map_or(Outcome::Stopped, |_| Outcome::Failed(unmet())));
        self.advance(now);
    }

    /// What the bench was there for is done: all are stopped in order.
    pub fn handle_done(&mut self, now: Instant) {
        let failed = self.failure.take();
        self.stop(failed.map_or(Outcome::Ended, Outcome::Failed));
        self.advance(now);
    }

    /// Why it is being stopped, once it is.
    pub fn stops_for(&self) -> Option<String> {
        Some(match self.stopping.as_ref()? {
            Outcome::Ended => "the bench has ended".to_owned(),
            Outcome::Stopped => "interrupted".to_owned(),
            Outcome::Status(end) => {
                format!("the bench has ended: the instance ended with {end} whose status was asked for")
            }
            Outcome::NotStarted(NotStarted { error, .. }) | Outcome::Failed(error) => error.what().to_owned(),
        })
    }

    /// The user ends the bench at once: instances that were told before are killed; the others are told now, and have
    /// [`LAST_GRACE`] to save their state.
    pub fn handle_kill(&mut self, now: Instant) {
        self.stopping = None;
        self.at_once = true;
        self.fail(Error::new(Class::Interrupted, "stopped at once; all are killed"));
        for (index, instance) in self.instances.iter_mut().enumerate() {
            match instance.state {
                State::Running { .. } => {
                    instance.state = State::Terminated { deadline: now + LAST_GRACE };
                    self.actions.push_back(Action::Terminate(index));
                }
                State::Terminated { .. } => {
                    instance.state = State::Killed { deadline: now + GIVEN_UP };
                    self.actions.push_back(Action::Kill(index));
                }
                _ => {}
            }
        }
        self.advance(now);
    }

    pub(super) fn tell(&mut self, text: String) {
        self.actions.push_back(Action::Tell(text));
    }

    fn fail(&mut self, error: Error) {
        self.stop(Outcome::Failed(error));
    }

    /// Begins to stop; the first reason stands.
    fn stop(&mut self, why: Outcome) {
        if self.stopping.is_none() {
            let blamed = match &why {
                Outcome::Failed(error) | Outcome::NotStarted(NotStarted { error, .. }) => Some(error.clone()),
                Outcome::Ended | Outcome::Stopped | Outcome::Status(_) => None,
            };
            self.actions.extend(blamed.map(Action::Blame));
            self.stopping = Some(why);
        }
    }

    /// Starts what can be started, stops what can be stopped, and sees whether all is over.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.over {
            return;
        }
        if self.stopping.is_some() {
            self.stop_from_behind(now);
        } else {
            self.start_what_can_be(now);
        }
        self.answer_orders();
        if self.instances.iter().all(|instance| instance.state == State::Ended) {
            self.over = true;
            let blamed = self.failure.take().map_or(Outcome::Ended, Outcome::Failed);
            self.stop(blamed);
            self.actions.extend(self.stopping.take().map(Action::Over));
        }
    }

    fn start_what_can_be(&mut self, now: Instant) {
        for index in 0..self.instances.len() {
            let is_ready = |at: &usize| self.instances.get(*at).is_none_or(|instance| instance.was_ready);
            let due = match self.instances.get(index) {
                Some(Instance { state: State::Waiting, after, .. }) => after.iter().all(is_ready),
                Some(Instance { state: State::Pausing { until }, .. }) => *until <= now,
                _ => false,
            };
            if let Some(instance) = self.instances.get_mut(index).filter(|_| due) {
                instance.begin(now);
                self.actions.push_back(Action::Start(index));
            }
        }
    }

    fn stop_from_behind(&mut self, now: Instant) {
        for instance in &mut self.instances {
            if matches!(instance.state, State::Waiting | State::Pausing { .. } | State::Stopped) {
                instance.state = State::Ended;
            }
        }
        let alive = self.instances.iter().filter(|other| other.is_alive());
        let needed: HashSet<usize> = alive.flat_map(|other| &other.after).copied().collect();
        for (index, instance) in self.instances.iter_mut().enumerate() {
            if !needed.contains(&index) && matches!(instance.state, State::Running { .. }) {
                instance.state = State::Terminated { deadline: now + GRACE };
                self.actions.push_back(Action::Terminate(index));
            }
        }
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
