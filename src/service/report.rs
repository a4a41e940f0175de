//! Reports of services: the port keeps the newest one, and formats it when it is shown.
//!
//! A service gives a [`Report`] whenever something has changed, which may be at every turn. The port keeps the newest one
//! unformatted. `status` formats it ([`Show::show`]) as a [`Shown`]: state, peer, counters by name, leases. So a new
//! counter is named in its service alone: nothing between the service and `status --json` knows which counters there
//! are.

use crate::config::Attach;
use crate::wire::Mac;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

/// A report, not formatted yet.
pub struct Report {
    of: Box<dyn Show>,
    news: bool,
}

/// Something that can be formatted as a [`Shown`].
pub trait Show: Send {
    /// Formats it.
    fn show(&self) -> Shown;

    /// The state alone: [`Standing::state`]. Cheap enough for every turn of a switch, unlike the rest.
    fn standing(&self) -> Option<&'static str> {
        self.show().standing.map(|standing| standing.state)
    }
}

impl Report {
    /// A report that wakes nobody.
    pub fn quiet(of: impl Show + 'static) -> Self {
        Self { of: Box::new(of), news: false }
    }

    /// A report for those who wait for the port, or guard its switch: a changed state or lease.
    pub fn news(of: impl Show + 'static) -> Self {
        Self { of: Box::new(of), news: true }
    }

    /// Whether it is for them.
    pub fn is_news(&self) -> bool {
        self.news
    }

    /// The formatted report.
    pub fn show(&self) -> Shown {
        self.of.show()
    }

    /// The state alone.
    pub fn standing(&self) -> Option<&'static str> {
        self.of.standing()
    }
}

/// A formatted report.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Its state. A service without one is up as long as it runs.
    pub standing: Option<Standing>,
    /// Its peer, in place of the one in the port's specification.
    pub peer: Option<String>,
    /// Its counters.
    pub figures: Vec<Figures>,
    /// The addresses that it has leased, by address.
    pub leases: Arc<[Leased]>,
}

impl Show for Shown {
    fn show(&self) -> Self {
        self.clone()
    }

    fn standing(&self) -> Option<&'static str> {
        self.standing.as_ref().map(|standing| standing.state)
    }
}

/// State of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Standing {
    /// One of [`PORT_STATES`](crate::control::PORT_STATES).
    pub state: &'static str,
    /// How a peer is attached now, where one can be.
    pub attach: Option<Attach>,
}

impl Standing {
    /// One of [`PORT_STATES`](crate::control::PORT_STATES).
    pub fn new(state: &'static str) -> Self {
        Self { state, attach: None }
    }
}

/// Figures of one kind. `status --json` has them as an object of the port, so that their name is none of a port's keys.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Figures {
    /// Name of the group: `flows`.
    pub of: &'static str,
    /// Each with its name.
    pub each: Vec<(&'static str, u64)>,
}

/// The group of figures on what a service has dropped, for reasons of its own.
pub const LOST: &str = "lost";

/// A reason for which a service drops, beyond those of a port.
pub struct LostRow {
    /// Its name in output and JSON.
    pub word: &'static str,
    /// One line on what happened.
    pub meaning: &'static str,
    /// One line on what to do.
    pub advice: &'static str,
}

impl Figures {
    /// Figures of `of`, each with its name.
    pub fn new(of: &'static str, each: impl Into<Vec<(&'static str, u64)>>) -> Self {
        Self { of, each: each.into() }
    }
}

/// An address that a host of a segment was given.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Leased {
    /// The address.
    pub addr: Ipv4Addr,
    /// The host's MAC address.
    pub mac: Mac,
    /// Its name in the segment's domain.
    pub name: Option<String>,
    /// When it ends.
    pub until: SystemTime,
}
