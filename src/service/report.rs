//! What a service tells of itself: a report that the port keeps, and that is put into words when somebody looks.
//!
//! A service gives a [`Report`] whenever something has changed, which may be at every turn. The port keeps the newest one
//! closed. Whoever shows the port opens it ([`Show::show`]) and finds a [`Shown`]: a state, whom it serves, figures by
//! name, leases. So a service that counts something new names it here alone: nothing between it and `status --json`
//! knows which figures there are.

use crate::config::Attach;
use crate::wire::Mac;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

/// A report, still closed.
pub struct Report {
    of: Box<dyn Show>,
    news: bool,
}

/// What can be put into words.
pub trait Show: Send {
    /// Puts it into words.
    fn show(&self) -> Shown;

    /// How the service stands, alone: [`Standing::state`]. It may be asked at every turn of a switch, and the rest not.
    fn standing(&self) -> Option<&'static str> {
        self.show().standing.map(|standing| standing.state)
    }
}

impl Report {
    /// A report that is there when somebody asks.
    pub fn quiet(of: impl Show + 'static) -> Self {
        Self { of: Box::new(of), news: false }
    }

    /// A report that whoever waits for the port, or guards its switch, has to look at.
    pub fn news(of: impl Show + 'static) -> Self {
        Self { of: Box::new(of), news: true }
    }

    /// Whether it is to be looked at now.
    pub fn is_news(&self) -> bool {
        self.news
    }

    /// What it says.
    pub fn show(&self) -> Shown {
        self.of.show()
    }

    /// How its service stands, alone.
    pub fn standing(&self) -> Option<&'static str> {
        self.of.standing()
    }
}

/// What a service shows of itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Shown {
    /// How it stands. A service that does not say is up as long as it runs.
    pub standing: Option<Standing>,
    /// Whom or what it serves, in place of what its port's specification says.
    pub peer: Option<String>,
    /// What it counts.
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

/// How a service stands.
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
    /// What they are of: `flows`.
    pub of: &'static str,
    /// Each with its name.
    pub each: Vec<(&'static str, u64)>,
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
