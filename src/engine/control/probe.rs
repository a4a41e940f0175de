//! `probe`: a small host in user space, on a port of its own, asks another host on the switch. It needs no rights, and is
//! there only while it asks.

use super::answer::{Outcome, Told};
use crate::config::{Asking, Ready};
use crate::engine::command::Handle;
use crate::engine::runner::run_service;
use crate::error::{Class, Error, Result};
use crate::frame::Batch;
use crate::service::endpoint::EndpointConfig;
use crate::service::outside::Outside;
use crate::service::prober::{Prober, Question, free_beside};
use crate::service::{Arrived, Service};
use crate::switch::PortConfig;
use crate::time::{Duration, Instant, earliest};
use crate::wire::Mac;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest that a host is asked at a time: a thread of its own does it.
const LONGEST: Duration = Duration::from_secs(60);

/// Gives each probe a port of its own.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The work of a probe, for another thread: each switch is asked in turn, until one has the answer.
///
/// # Errors
/// The question is wrong.
pub fn work(question: &str, handles: Vec<Handle>, patience: Duration) -> Result<Outcome> {
    let asking = Asking::parse(question).map_err(|form| Error::usage(format!("{question:?}: expected {form}")))?;
    let text = question.to_owned();
    let ask = move || {
        let handles: Vec<Handle> = handles.into_iter().filter(|handle| is_asked(handle, &asking)).collect();
        let share = patience.min(LONGEST) / u32::try_from(handles.len().max(1)).unwrap_or(1);
        for handle in &handles {
            if probe(handle, &asking, share)? {
                return Ok(serde_json::json!({}));
            }
        }
        Err(Error::new(Class::Unmet, format!("no answer to {text}")))
    };
    Ok(Outcome::Aside(Box::new(move || Told::Asked(ask()))))
}

/// Whether a switch is worth asking: of several, a radio medium has no host that could be.
fn is_asked(handle: &Handle, _: &Asking) -> bool {
    !matches!(handle.radio(), Ok(Some(_)) | Err(_))
}

/// Asks on one switch.
fn probe(handle: &Handle, asking: &Asking, patience: Duration) -> Result<bool> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("probe#{number}");
    let (known, _) = handle.known()?;
    let taken: HashSet<IpAddr> = known.into_iter().map(|(known, _)| known.addr).collect();
    let from = asking.from().unwrap_or_else(|| free_beside(asking.of(), |addr| taken.contains(&addr)));
    // The same MAC each time, so that neighbour caches stay valid.
    let mut config = EndpointConfig::new(Mac::made_of("probe"), vec![from]);
    config.seed = number;
    let question = match asking {
        Asking::Host(Ready::Ping { addr, .. }) => Question::Ping(*addr),
        Asking::Host(Ready::Tcp { addr, .. }) => Question::Tcp(*addr),
        Asking::Name { name, addr, server, .. } => Question::Name(*server, name.clone(), *addr),
        Asking::Host(Ready::Log(_)) => return Ok(false),
    };
    let prober = Prober::new(&config, question)?;
    let link = handle.add_channel(&name, PortConfig::default())?;
    let end = Instant::ZERO + patience;
    let mut probing = Probing { prober, handle: handle.clone(), name, end, answered: None };
    run_service(&link, &mut probing)?;
    Ok(probing.answered.unwrap_or(false))
}

/// A prober that removes its port when it has its answer, or its time is over.
struct Probing {
    prober: Prober,
    handle: Handle,
    name: String,
    end: Instant,
    /// Whether there was an answer, once that is known.
    answered: Option<bool>,
}

impl Probing {
    fn look(&mut self, now: Instant) {
        let answered = self.prober.is_answered();
        if self.answered.is_none() && (answered || self.end <= now) {
            self.answered = Some(answered);
            // A switch that has ended has no ports.
            let _ = self.handle.remove_port(&self.name);
        }
    }
}

impl Service for Probing {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, outside: &mut dyn Outside) {
        self.prober.handle_frame(now, arrived, outside);
        self.look(now);
    }

    fn poll_transmit(&mut self, now: Instant, outside: &mut dyn Outside, out: &mut Batch) -> bool {
        let more = self.prober.poll_transmit(now, outside, out);
        self.look(now);
        more
    }

    fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.prober.poll_timeout(), Some(self.end).filter(|_| self.answered.is_none()))
    }

    fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside) {
        self.prober.handle_timeout(now, outside);
        self.look(now);
    }
}
