//! Plays scenarios on a bridge that runs, over its control socket, and waits for conditions: what [`crate::scenario`] decides
//! is done here.
//!
//! It is a client as any other, in the process of the bench (`zbridge up --play`) or in one of its own (`zbridge play`). Each
//! look at the bridge is a request, and so is each deed; questions to hosts are asked by the bridge itself. Files are opened
//! before anything is played.

mod captures;
mod file;
mod waiting;

use crate::control::{Command, LogInfo};
use crate::engine::control::Client;
use crate::error::{Class, Error, Result};
use crate::scenario::{Act, Action, Look, Machine, News, Probe, Report, Scenario};
use crate::time::{Clock, Duration};
use captures::Captures;
use crossbeam_channel::{Receiver, after, select};
pub use file::JunitFile;
pub use waiting::{assert, wait_for};

/// How long the reason of a bench's end may come after its connection is gone.
const REASON: Duration = Duration::from_secs(1);

/// What is played, on which bridge.
pub struct Player {
    client: Client,
    scenarios: Vec<Scenario>,
    captures: Captures,
    junit: Option<JunitFile>,
}

impl Player {
    /// Opens what the scenarios need.
    ///
    /// # Errors
    /// A file of a capture that cannot be created.
    pub fn new(client: Client, scenarios: Vec<Scenario>, mut junit: Option<JunitFile>) -> Result<Self> {
        let captures = Captures::new(&client.greeting().name, &scenarios)?;
        junit.iter_mut().for_each(|file| file.write(&Report::of(&scenarios), None));
        Ok(Self { client, scenarios, captures, junit })
    }

    /// Plays to the end, or until `stop` says why it ends before. Gives the outcome, and the file to complete.
    pub fn play(mut self, stop: &Receiver<String>) -> (Report, Option<JunitFile>) {
        let clock = Clock::start();
        let mut machine = Machine::new(clock.now(), std::mem::take(&mut self.scenarios));
        loop {
            while let Some(action) = machine.poll_action() {
                if action == Action::Over {
                    self.captures.stop();
                    return (machine.report().clone(), self.junit);
                }
                // A bench that ends is the reason of all that fails then.
                match stop.try_recv() {
                    Ok(why) => machine.abort(clock.now(), &why),
                    Err(_) => self.act(&mut machine, &clock, action, stop),
                }
            }
            let due = machine.poll_timeout().map_or(Duration::ZERO, |at| at - clock.now());
            select! {
                recv(stop) -> why => machine.abort(clock.now(), &why.unwrap_or_else(|_| ENDED.to_owned())),
                recv(after(due)) -> _ => machine.handle_timeout(clock.now()),
            }
        }
    }

    fn act(&mut self, machine: &mut Machine, clock: &Clock, action: Action, stop: &Receiver<String>) {
        let gone = match action {
            Action::Look(of) => match look(&mut self.client, &of) {
                Ok(look) => {
                    machine.handle_look(clock.now(), look);
                    None
                }
                Err(error) => Some(error),
            },
            Action::Do(act) => {
                let done = self.deed(act);
                let gone = done.as_ref().err().filter(|error| error.class() == Class::NoDaemon).cloned();
                if gone.is_none() {
                    machine.handle_done(clock.now(), done);
                }
                gone
            }
            Action::Ask(probe, room) => {
                let answer = ask(&mut self.client, &probe, room);
                let gone = answer.as_ref().err().filter(|error| error.class() == Class::NoDaemon).cloned();
                if gone.is_none() {
                    machine.handle_answer(clock.now(), answer);
                }
                gone
            }
            Action::Tell(text) => {
                log::info!("{}", crate::visible::visible_lines(&text));
                None
            }
            Action::Note => {
                self.junit.iter_mut().for_each(|file| file.write(machine.report(), None));
                None
            }
            Action::Over => None,
        };
        if let Some(error) = gone {
            let why = stop.recv_timeout(REASON).unwrap_or_else(|_| error.what().to_owned());
            machine.abort(clock.now(), &why);
        }
    }

    fn deed(&mut self, act: Act) -> Result<()> {
        match act {
            Act::Ask(command @ (Command::Start { .. } | Command::Stop { .. } | Command::Restart { .. })) => {
                self.client.order(command)
            }
            Act::Ask(command @ Command::Kill { .. }) => self.client.order(command),
            Act::Ask(command) => self.client.request(command).map(|_: serde_json::Value| ()),
            Act::CaptureStart(path) => self.captures.start(&path),
            Act::CaptureStop => {
                self.captures.stop();
                Ok(())
            }
        }
    }
}

/// Why a scenario ends with its bench, where nothing else is known.
const ENDED: &str = "the bench has ended";

/// Looks at a bridge, and takes the lines of these programs behind those with these numbers.
fn look(client: &mut Client, of: &[(String, u64)]) -> Result<Look> {
    let mut look = Look::new(client.status()?, client.instances()?.instances);
    for (instance, after) in of {
        match client.logs(instance, *after) {
            Ok(LogInfo { first, lines, .. }) => look.news.push(News { instance: instance.clone(), first, lines }),
            // There is no such program here, as there may be on the bridge that a file was written for.
            Err(error) if error.class() == Class::NoObject => {}
            Err(error) => return Err(error),
        }
    }
    Ok(look)
}

/// Has the bridge ask a host.
fn ask(client: &mut Client, probe: &Probe, room: Duration) -> Result<()> {
    client.probe(&probe.text, room).map_err(|error| match error.class() {
        Class::Unmet => Error::new(Class::Unmet, format!("no answer to {}", probe.text)),
        _ => error,
    })
}
