//! The main job: starts the switches, says what is there and how to attach to it, waits for a signal, and sums up.

use super::{Label, complain, print, show};
use crate::config::Config;
use crate::engine::control::{Claim, DEFAULT_NAME, Server};
use crate::engine::{Bridge, SwitchStatus};
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, REMOVE, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, bounded, select};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, Write, stderr, stdout};

/// The first thread, once everything is open: it waits, prints, and takes away what was made.
static MAIN: Role = Role::new("main", &[BASE, SOCKETS, REMOVE]);

/// The thread of signals may end the process, and with it what was made.
pub(super) static SIGNALS: Role = Role::new("signals", &[BASE, SOCKETS, REMOVE]);

/// Runs `config` as the bridge called `name` until a signal ends it.
///
/// # Errors
/// The name is taken; a port that cannot be opened; a switch that ended by itself.
pub fn run(config: &Config, name: Option<&str>, quiet: bool) -> Result<()> {
    // Before anything is bound, so that a signal during the start does not leave it behind.
    let stop = stop_signals()?;
    let claim = rights::for_people(|| claim(name, DEFAULT_NAME))?;
    let bridge = rights::apart(|| Bridge::start(config))?;
    let control = rights::apart(|| claim.map(|claim| claim.serve(&bridge)).transpose())?;
    rights::enter(&MAIN);
    if let Some(control) = &control {
        log::info!("bridge {}: `zbridge status {0}` shows it", control.name());
    }
    if !quiet {
        let status = bridge.status()?;
        print([show::ports(&status), show::attachments(&status)].concat())?;
    }
    select! {
        recv(stop) -> _ => {}
        recv(bridge.ended()) -> ended => {
            let name = ended.map(|ended| ended.switch).unwrap_or_default();
            bridge.stop()?;
            return Err(Error::new(Class::Runtime, format!("switch {name} has ended")));
        }
    }
    let last = end(bridge, control)?;
    if quiet { Ok(()) } else { print(show::counters(&last)) }
}

/// Stops a bridge and its control socket. Returns what all ports had counted.
pub(super) fn end(bridge: Bridge, control: Option<Server>) -> Result<Vec<SwitchStatus>> {
    match control {
        Some(control) => control.end(bridge),
        None => bridge.stop(),
    }
}

/// Takes the bridge's name. One that was given none takes `usual` or the next that is free, and runs on without a control
/// socket if there is no place for it.
pub(super) fn claim(name: Option<&str>, usual: &str) -> Result<Option<Claim>> {
    match name.map_or_else(|| Claim::like(usual), |name| Claim::new(Some(name))) {
        Ok(claim) => Ok(Some(claim)),
        Err(error) if name.is_none() => {
            complain(Label::Warning, &error.at("it runs, but cannot be commanded"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What is said next begins a line: a terminal shows the key of SIGINT as `^C`, where its cursor was.
pub(super) fn begin_a_line(signal: i32) {
    let terminal: Option<Box<dyn Write>> = match (stderr().is_terminal(), stdout().is_terminal()) {
        (true, _) => Some(Box::new(stderr())),
        (_, true) => Some(Box::new(stdout())),
        _ => None,
    };
    if let Some(mut terminal) = terminal.filter(|_| signal == SIGINT) {
        // A terminal that is gone shows nothing.
        let _ = terminal.write_all(b"\n").and_then(|()| terminal.flush());
    }
}

/// Where the first SIGINT, SIGTERM or SIGHUP is told of. A second one ends the process at once.
pub(super) fn stop_signals() -> Result<Receiver<i32>> {
    let cannot = |error| Error::system("cannot watch for signals", &error);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let (sender, stop) = bounded(1);
    let watch = move || {
        for (count, signal) in signals.forever().enumerate() {
            begin_a_line(signal);
            if count > 0 {
                std::process::exit(128 + signal);
            }
            // The main thread has stopped listening only when it is on its way out.
            let _ = sender.send(signal);
        }
    };
    rights::spawn("zb-signals", &SIGNALS, watch).map_err(cannot)?;
    Ok(stop)
}
