//! `zbridge wait` and `zbridge assert`: one condition, waited for or looked at once.

use super::{ask, look};
use crate::engine::control::Client;
use crate::error::{Class, Error, Result};
use crate::scenario::{Condition, Look};
use crate::time::Duration;
use std::time::Instant;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(50);
/// How long a host may take to answer.
const ASKED: Duration = Duration::from_secs(2);

/// Waits until a condition holds on the bridge of `client`. A line of a program counts if its present run has written it.
///
/// # Errors
/// Class unmet if it does not hold in time, with what is seen instead; the bridge has ended.
pub fn wait_for(client: &mut Client, text: &str, condition: &Condition, until: Instant) -> Result<()> {
    loop {
        let (holds, seen) = state(client, condition, until.saturating_duration_since(Instant::now()).min(ASKED))?;
        if holds {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(Class::Unmet, format!("in vain for {text}: {}", condition.seen(&seen))));
        }
        std::thread::sleep(EVERY.min(left));
    }
}

/// That a condition holds now.
///
/// # Errors
/// Class unmet if it does not, with the values that it has.
pub fn assert(client: &mut Client, text: &str, condition: &Condition) -> Result<()> {
    let (holds, seen) = state(client, condition, ASKED)?;
    if holds {
        return Ok(());
    }
    Err(Error::new(Class::Unmet, format!("{text} does not hold: {}", condition.seen(&seen))))
}

fn state(client: &mut Client, condition: &Condition, room: Duration) -> Result<(bool, Look)> {
    let seen = look(client, &[])?;
    let holds = match condition {
        Condition::Log { instance, pattern } => {
            let told = client.logs(instance, 0)?;
            let lines = (told.first..).zip(&told.lines).filter(|(number, _)| *number > told.run);
            lines.into_iter().any(|(_, line)| pattern.matches(line))
        }
        Condition::Answers(probe) => match ask(client, probe, room.max(EVERY)) {
            Ok(()) => true,
            Err(error) if error.class() == Class::Unmet => false,
            Err(error) => return Err(error),
        },
        Condition::Program { .. } | Condition::Holds(_) => condition.holds(&seen).unwrap_or(false),
    };
    Ok((holds, seen))
}
