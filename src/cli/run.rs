//! The main job: starts the switches, says what is there and how to attach to it, waits for a signal, and sums up.

use super::style::width_of;
use super::{print, show, stop};
use crate::config::Config;
use crate::engine::control::DEFAULT_NAME;
use crate::error::{Class, Result};
use crate::programs::OwnBridge;
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
    let (stop, again) = stop::one_wish_or_reload(config.source.is_some())?;
    let own = OwnBridge::start(config, name, DEFAULT_NAME)?;
    tell_name(&own);
    let (bridge, down) = (own.bridge(), own.attend_down());
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
            recv(down) -> _ => {
                stop::leave_within(stop::ORDERLY, Class::Fault.code());
                break;
            }
            recv(again) -> _ => own.reload(),
            // It was logged where it happened, and what is left goes on.
            recv(bridge.ended()) -> _ => {}
        }
    }
    let (last, failure) = own.finish();
    if !quiet {
        print(show::counters(&last, width_of(std::io::stdout())))?;
    }
    failure.map_or(Ok(0), Err)
}

/// Says what a bridge is called, and who may command it where that is not who runs it.
pub(super) fn tell_name(own: &OwnBridge) {
    let Some(name) = own.name() else { return };
    log::info!("bridge {name}: `zbridge status {name}` shows it");
    if let Some(user) = rights::stand_in() {
        log::info!("it goes on as {user}; only root commands it, or whom --user NAME names");
    }
}
