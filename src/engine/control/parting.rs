//! `cut` and `heal`: which switch they are for.

use super::answer::{Answerer, Outcome, done};
use super::session::Session;
use crate::config::Cut;
use crate::control::HealedInfo;
use crate::engine::command::Handle;
use crate::error::{Error, Result};
use serde_json::json;

/// Cuts ports from each other. A cut that names nobody is one of every switch.
///
/// # Errors
/// A port is not known; they are on different switches.
pub fn cut(bridge: &Answerer, cut: &Cut, session: &Session) -> Result<Outcome> {
    let mut places = Vec::new();
    for name in cut.names() {
        places.push((name, place(bridge, name)?));
    }
    if let [(first, one), ..] = places.as_slice()
        && let Some((second, other)) = places.iter().find(|(_, other)| other.name() != one.name())
    {
        let what = format!("{first} is on switch {}, and {second} on {}", one.name(), other.name());
        return Err(Error::usage(what).hint("ports of different switches hear nothing of each other anyway"));
    }
    match places.first() {
        Some((_, handle)) => handle.cut(cut.clone())?,
        None => running(bridge).try_for_each(|handle| handle.cut(cut.clone()))?,
    }
    log::info!("{cut}: cut by {}", session.who);
    done(&json!({}))
}

/// Heals all cuts, or those of these ports.
///
/// # Errors
/// A port is not known.
pub fn heal(bridge: &Answerer, ports: &[String], session: &Session) -> Result<Outcome> {
    let mut healed = Vec::new();
    if ports.is_empty() {
        for handle in running(bridge) {
            healed.extend(handle.heal(Vec::new())?);
        }
    } else {
        let places = ports.iter().map(|name| Ok((name, place(bridge, name)?))).collect::<Result<Vec<_>>>()?;
        for handle in running(bridge) {
            let here = places.iter().filter(|(_, at)| at.name() == handle.name()).map(|(name, _)| (*name).clone());
            let here: Vec<String> = here.collect();
            if !here.is_empty() {
                healed.extend(handle.heal(here)?);
            }
        }
    }
    healed.iter().for_each(|cut| log::info!("{cut}: healed by {}", session.who));
    done(&HealedInfo { healed })
}

fn running(bridge: &Answerer) -> impl Iterator<Item = &Handle> {
    bridge.handles.iter().filter(|handle| !handle.has_ended())
}

/// The switch on which a port is, was, or is cut from others.
fn place<'a>(bridge: &'a Answerer, name: &str) -> Result<&'a Handle> {
    let was_there = || running(bridge).find(|handle| handle.knows(name).unwrap_or(false));
    bridge.switch_of(name).or_else(was_there).ok_or_else(|| bridge.no_port(name))
}
