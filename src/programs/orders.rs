//! What is ordered of a bench's instances while it runs: to start, stop, restart and kill them by hand.
//!
//! Theory of operation. An order names one instance or more, and has one answer: at once where it cannot be done (then
//! nothing of it is), else when it is done for all: a start when the program runs, a stop when it has ended, a signal when
//! it was sent, and SIGKILL when the program has ended.

use super::place::{Instance, State, Then};
use super::supervisor::{Action, GRACE, Supervisor};
use crate::error::{Class, Error, Result};
use crate::time::Instant;
use signal_hook::consts::SIGKILL;

/// What is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Start what does not run.
    Start,
    /// Stop what runs, as at the end of the bench: SIGTERM, and SIGKILL later.
    Stop,
    /// Stop it if it runs, and start it.
    Restart,
    /// Send this signal.
    Signal(i32),
}

/// An order whose answer is still to come.
pub struct Pending {
    number: u64,
    deed: Deed,
    /// For which it is not done, with the number of the run that it was ordered in.
    left: Vec<(usize, u64)>,
}

impl Supervisor {
    /// Does what is ordered of these instances. The answer bears `number`.
    pub fn handle_order(&mut self, now: Instant, number: u64, deed: Deed, of: &[usize]) {
        let instances = of.iter().filter_map(|&index| Some((index, self.instances.get(index)?)));
        let instances: Vec<(usize, u64)> = instances.map(|(index, instance)| (index, instance.starts)).collect();
        let refused = of.iter().filter_map(|&index| self.instances.get(index)?.refuses(deed));
        let refused = match &self.stopping {
            Some(_) => Some(Error::new(Class::Runtime, "the bench is being stopped")),
            None => refused.into_iter().next(),
        };
        if let Some(error) = refused {
            self.actions.push_back(Action::Answer(number, Err(error)));
            return;
        }
        for &(index, _) in &instances {
            self.order(now, index, deed);
        }
        self.pending.push(Pending { number, deed, left: instances });
        self.advance(now);
    }

    fn order(&mut self, now: Instant, index: usize, deed: Deed) {
        let Some(instance) = self.instances.get_mut(index) else { return };
        if let Deed::Signal(signal) = deed {
            instance.signal = Some(signal);
            let kills = signal == SIGKILL;
            self.actions.push_back(if kills { Action::Kill(index) } else { Action::Signal(index, signal) });
            return;
        }
        let then = if deed == Deed::Stop { Then::Stays } else { Then::StartsAgain };
        match instance.state {
            State::Running { .. } => {
                (instance.state, instance.then) = (State::Terminated { deadline: now + GRACE }, then);
                self.actions.push_back(Action::Terminate(index));
            }
            State::Terminated { .. } | State::Killed { .. } => instance.then = then,
            State::Waiting | State::Pausing { .. } | State::Stopped | State::Ended => {
                let next = if deed == Deed::Stop { State::Stopped } else { State::Pausing { until: now } };
                instance.state = next;
                if !instance.was_ready {
                    // It has all of its time to become ready.
                    instance.started = None;
                }
            }
        }
    }

    /// Answers the orders that are done.
    pub(super) fn answer_orders(&mut self) {
        let (instances, actions) = (&self.instances, &mut self.actions);
        let stopping = self.stopping.is_some();
        self.pending.retain_mut(|order| {
            let mut failed = None;
            order.left.retain(|&(index, run)| {
                let Some(instance) = instances.get(index) else { return false };
                match instance.outcome(order.deed, run) {
                    None if stopping && matches!(order.deed, Deed::Start | Deed::Restart) => {
                        failed.get_or_insert_with(|| Error::new(Class::Runtime, "the bench is being stopped"));
                        false
                    }
                    None => true,
                    Some(Ok(())) => false,
                    Some(Err(error)) => {
                        failed.get_or_insert(error);
                        false
                    }
                }
            });
            if order.left.is_empty() || failed.is_some() {
                actions.push_back(Action::Answer(order.number, failed.map_or(Ok(()), Err)));
                return false;
            }
            true
        });
    }

    /// Answers the orders to start this instance, which could not be. False: there is none.
    pub(super) fn refuse_start(&mut self, index: usize, why: &Error) -> bool {
        let actions = &mut self.actions;
        let before = self.pending.len();
        self.pending.retain(|order| {
            let starts = matches!(order.deed, Deed::Start | Deed::Restart);
            let concerned = starts && order.left.iter().any(|&(of, _)| of == index);
            if concerned {
                actions.push_back(Action::Answer(order.number, Err(why.clone())));
            }
            !concerned
        });
        self.pending.len() < before
    }
}

impl Instance {
    /// Why this cannot be done with it.
    fn refuses(&self, deed: Deed) -> Option<Error> {
        let name = &self.name;
        let ended = || self.end.map(|end| format!(": it ended with {end}")).unwrap_or_default();
        let (what, hint) = match (deed, self.state) {
            (Deed::Start, State::Running { .. }) => {
                (format!("{name} runs already"), format!("start it anew: zbridge restart {name}"))
            }
            (Deed::Stop, State::Stopped) => (format!("{name} is stopped already"), format!("zbridge start {name}")),
            (Deed::Stop, State::Ended) => {
                (format!("{name} does not run{}", ended()), format!("start it again: zbridge start {name}"))
            }
            (Deed::Signal(_), State::Waiting | State::Pausing { .. } | State::Stopped | State::Ended) => {
                (format!("{name} does not run{}", ended()), "zbridge ps shows what does".to_owned())
            }
            _ => return None,
        };
        Some(Error::new(Class::Runtime, what).hint(hint))
    }

    /// What has become of an order, given in this run of it; nothing: it is not done.
    fn outcome(&self, deed: Deed, run: u64) -> Option<Result<()>> {
        let over = matches!(self.state, State::Stopped | State::Ended);
        match deed {
            // The run has ended, whoever has it started again.
            Deed::Stop | Deed::Signal(SIGKILL) => (!self.is_alive() || self.starts != run).then_some(Ok(())),
            Deed::Signal(_) => Some(Ok(())),
            Deed::Start | Deed::Restart if self.starts > run && self.runs => Some(Ok(())),
            Deed::Start | Deed::Restart if over => {
                let end = self.end.map(|end| format!(": it ended with {end}")).unwrap_or_default();
                Some(Err(Error::new(Class::Runtime, format!("{} does not run{end}", self.name))))
            }
            Deed::Start | Deed::Restart => None,
        }
    }
}
