//! `fdb-add`, `fdb-del` and `fdb-flush`: the forwarding database is changed by hand.

use super::answer::{Answerer, Outcome, done};
use super::session::Session;
use crate::config::value;
use crate::engine::command::Handle;
use crate::engine::settings::Stations;
use crate::error::{Class, Error, Result};
use crate::wire::Mac;
use serde_json::json;

fn station(text: &str) -> Result<Mac> {
    value::station(text).map_err(|form| Error::usage(format!("{text:?}: expected {form}")))
}

/// The switches that are meant, those that run.
fn meant<'a>(bridge: &'a Answerer, switch: Option<&str>) -> Result<Vec<&'a Handle>> {
    match switch {
        Some(name) => bridge.switch(name).map(|handle| vec![handle]),
        None => Ok(bridge.handles.iter().filter(|handle| !handle.has_ended()).collect()),
    }
}

/// Binds a station to a port.
///
/// # Errors
/// There is no such port; the station is bound there already.
pub fn bind(bridge: &Answerer, (mac, port): (&str, &str), may_exist: bool, session: &Session) -> Result<Outcome> {
    let mac = station(mac)?;
    let handle = bridge.switch_of(port).ok_or_else(|| bridge.no_port(port))?;
    if handle.change_stations(Stations::Bind(mac, port.to_owned()))? {
        log::info!("{port}: {mac} is bound to it by {}", session.who);
    } else if !may_exist {
        return Err(Error::usage(format!("{mac} is bound to {port} already")).hint("--may-exist allows that"));
    }
    done(&json!({}))
}

/// Forgets a station.
///
/// # Errors
/// It is not known.
pub fn forget(
    bridge: &Answerer,
    (mac, switch): (&str, Option<&str>),
    if_exists: bool,
    session: &Session,
) -> Result<Outcome> {
    let mac = station(mac)?;
    let mut any = false;
    for handle in meant(bridge, switch)? {
        // A radio medium knows none.
        any |= handle.change_stations(Stations::Forget(mac)).or_else(|error| match (error.class(), switch) {
            (Class::Usage, None) => Ok(false),
            _ => Err(error),
        })?;
    }
    if any {
        log::info!("{mac} is forgotten, by {}", session.who);
    } else if !if_exists {
        return Err(Error::new(Class::NoObject, format!("{mac} is not known")).hint("--if-exists allows that"));
    }
    done(&json!({}))
}

/// Forgets what was learned.
///
/// # Errors
/// There is no such port, or switch.
pub fn flush(bridge: &Answerer, (port, switch): (Option<&str>, Option<&str>), session: &Session) -> Result<Outcome> {
    let handles = match port {
        Some(port) => vec![bridge.switch_of(port).ok_or_else(|| bridge.no_port(port))?],
        None => meant(bridge, switch)?,
    };
    for handle in handles {
        match handle.change_stations(Stations::Flush(port.map(str::to_owned))) {
            Err(error) if port.is_some() || switch.is_some() || error.class() != Class::Usage => return Err(error),
            _ => {}
        }
    }
    log::info!("{}: what was learned is forgotten, by {}", port.or(switch).unwrap_or("fdb"), session.who);
    done(&json!({}))
}
