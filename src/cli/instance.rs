//! `zbridge run`: one program on a switch. Its terminal, its signals and its exit status are as if it ran alone.
//!
//! What zbridge itself has to say goes to standard error with `zbridge: ` before it, and is little: the terminal is the
//! program's.

use super::style::Label;
use super::{complain, log, screen, show, stop};
use crate::config::{Config, DEFAULT_SWITCH};
use crate::engine::control::DEFAULT_NAME;
use crate::error::{Error, Result};
use crate::programs::{self, Bench, Console, Network, Outcome, OwnBridge, Screen, Terminal, Wishes};
use rustix::process::geteuid;
use std::io::IsTerminal;
use std::sync::Arc;

/// A program and the ports beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// The program, which is the only instance, and the ports of a bridge of its own; there may be none.
    pub config: Config,
    /// The name of that bridge; `None`: `default`, or one like it.
    pub bridge: Option<String>,
    /// The running bridge to join instead.
    pub join: Option<String>,
    /// The switch of it that the program joins; `None`: the only one, or the default one.
    pub switch: Option<String>,
    /// It was given its name, and gets no other where that is taken.
    pub named: bool,
}

impl Instance {
    /// Starts or joins the bridge.
    fn reach(&self) -> Result<Network> {
        if let Some(name) = &self.join {
            return Network::join(name);
        }
        let mut config = if geteuid().is_root() { self.config.for_programs_of_root() } else { self.config.clone() };
        // Where there are ports it is on one of their switches.
        if !config.ports.is_empty() {
            config.instances.clear();
        }
        OwnBridge::start(&config, self.bridge.as_deref(), DEFAULT_NAME).map(Network::Own)
    }
}

/// Runs the program to its end. Gives its exit status.
///
/// # Errors
/// A port that cannot be opened, a network that cannot be made; a switch or a service that ended by itself. That the
/// program cannot be started is told, and is only a status.
pub fn run(mut instance: Instance) -> Result<u8> {
    let terminal = Terminal::of_this_job()?;
    screen::start(false)?;
    let mut network = instance.reach()?;
    let switch = network.switch(instance.switch.as_deref())?;
    instance.config.instances.iter_mut().for_each(|program| program.join(&switch));
    if let Network::Own(own) = &network {
        own.name().into_iter().for_each(|name| tell(name, &switch));
    }
    let bench = Bench {
        config: &instance.config,
        wishes: Wishes { exit_with: Some(0), timeout: None },
        console: Console::Terminal { terminal, named: instance.named },
        play: None,
    };
    let outcome = programs::run(bench, &mut network, Arc::new(Beside));
    let status = match &outcome {
        Ok(Outcome::Status(end)) => end.code(),
        Ok(Outcome::NotStarted(failed)) => failed.status,
        Ok(Outcome::Failed(error)) | Err(error) => error.class().code(),
        Ok(Outcome::Ended | Outcome::Stopped) => 0,
    };
    // From here on nobody is waited for but zbridge itself.
    stop::leave_within(stop::ORDERLY, status);
    let (last, failure) = network.leave();
    if let Outcome::Status(_) = outcome? {
        log::say(&show::counters(&last, log::width()));
    }
    match failure {
        // The program's own status says more.
        Some(failure) if status == 0 => Err(failure),
        _ => Ok(status),
    }
}

/// Says how another program comes to a bridge of this process, to a person.
fn tell(name: &str, switch: &str) {
    let on = if switch == DEFAULT_SWITCH { String::new() } else { format!(" --switch {switch}") };
    let what = format!(
        "bridge {name}: `zbridge run --join {name}{on} …` puts another program on it, `zbridge status {name}` shows it"
    );
    // A file or a program that reads on is not told what a person would do next.
    if std::io::stderr().is_terminal() { log::tell(&what) } else { ::log::info!("{what}") }
}

/// Standard error beside a program that has the terminal.
struct Beside;

impl Screen for Beside {
    /// It writes its lines itself.
    fn line(&self, _: usize, _: &[u8]) {}

    fn tell(&self, text: &str) {
        ::log::debug!("{text}");
    }

    fn warn(&self, error: &Error) {
        ::log::warn!("{error}");
    }

    fn blame(&self, error: &Error) {
        complain(Label::Error, error);
    }

    fn parted(&self, bridge: &str) {
        ::log::warn!(
            "bridge {bridge} has ended; the program goes on without its network\n  hint: start it again once the bridge \
             runs again: zbridge run --join {bridge} …"
        );
    }
}
