//! The main job: starts the switches, says what is there and how to attach to it, waits for a signal, and sums up.

use super::style::width_of;
use super::{Label, complain, print, show, stop};
use crate::config::Config;
use crate::engine::control::{Claim, DEFAULT_NAME, Server};
use crate::engine::{Bridge, SwitchStatus};
use crate::error::{Error, Result};
use crate::rights::role::{BASE, REMOVE, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::select;

/// The first thread, once everything is open: it waits, prints, and takes away what was made.
static MAIN: Role = Role::new("main", &[BASE, SOCKETS, REMOVE]);

/// Runs `config` as the bridge called `name` until a signal ends it, or its last switch has ended by itself. Gives the
/// exit status.
///
/// # Errors
/// The name is taken; a port that cannot be opened; why a switch or a service ended by itself.
pub fn run(config: &Config, name: Option<&str>, quiet: bool) -> Result<u8> {
    // Before anything is bound, so that a signal during the start does not leave it behind.
    let stop = stop::one_wish()?;
    let claim = rights::for_people(|| claim(name, DEFAULT_NAME))?;
    let bridge = rights::apart(|| Bridge::start(config))?;
    let control = rights::apart(|| claim.map(|claim| claim.serve(&bridge)).transpose())?;
    if let Some(control) = &control {
        tell_name(control);
    }
    let status = bridge.status()?;
    // What holds a port up may be another process, which is hidden from one that has given up its rights.
    let shown = [show::ports(&status, width_of(std::io::stdout())), show::attachments(&status)].concat();
    rights::enter(&MAIN);
    if !quiet {
        print(shown)?;
    }
    while bridge.has_a_switch() {
        select! {
            recv(stop) -> _ => break,
            // It was logged where it happened, and what is left goes on.
            recv(bridge.ended()) -> _ => {}
        }
    }
    let (last, failure) = end(bridge, control);
    if !quiet {
        print(show::counters(&last, width_of(std::io::stdout())))?;
    }
    failure.map_or(Ok(0), Err)
}

/// Says what a bridge is called, and who may command it where that is not who runs it.
pub(super) fn tell_name(control: &Server) {
    log::info!("bridge {}: `zbridge status {0}` shows it", control.name());
    if let Some(user) = rights::stand_in() {
        log::info!("it goes on as {user}; only root commands it, or whom --user NAME names");
    }
}

/// Stops a bridge and its control socket. Gives what all ports had counted, and what had failed.
pub(super) fn end(bridge: Bridge, control: Option<Server>) -> (Vec<SwitchStatus>, Option<Error>) {
    control.into_iter().for_each(Server::end);
    bridge.finish()
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
