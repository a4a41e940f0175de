//! The place of a port: where it came from, where it stands, and what is attached to it.

use super::life::{Backoff, Life, Wish};
use crate::capture::PortNews;
use crate::config::PortSpec;
use crate::port::seat::Seat;
use crate::port::{Edge, Gone};
use crate::time::Instant;
use crate::wire::Rewriter;
use std::sync::Arc;

/// Where a port came from.
pub(super) enum Origin {
    /// It was asked for: opened again when lost.
    Spec(Arc<PortSpec>),
    /// Its descriptor was handed over, and does not come back.
    Given(Arc<PortSpec>),
    /// As `Given`, for an interface in a program's network namespace.
    Apart(Arc<PortSpec>),
    /// It connected to the listener with this index, and has this number among its clients.
    Client { listener: usize, number: u32 },
    /// It is inside the process.
    Inside,
}

impl Origin {
    /// The port's own specification.
    pub fn spec(&self) -> Option<&Arc<PortSpec>> {
        match self {
            Self::Spec(spec) | Self::Given(spec) | Self::Apart(spec) => Some(spec),
            Self::Client { .. } | Self::Inside => None,
        }
    }
}

/// A port of the switch.
pub(super) struct PortSlot {
    pub name: String,
    /// Its description in captures.
    pub news: Arc<PortNews>,
    pub origin: Origin,
    pub life: Life<Attached>,
    /// The pause before the next attempt to open it.
    pub backoff: Backoff,
    /// Translates addresses, where it was asked to.
    pub rewriter: Option<Rewriter>,
    /// When it came.
    pub since: Instant,
    /// Its place is kept when its descriptor is lost, for the next one that is handed over.
    pub stays: bool,
}

impl PortSlot {
    /// The edge, as long as it is whole.
    pub fn edge(&self) -> Option<&Edge> {
        self.life.there()?.seat.edge()
    }

    /// The same, to be asked or set.
    pub fn edge_mut(&mut self) -> Option<&mut Edge> {
        self.life.there_mut()?.seat.edge_mut()
    }

    /// Its peer, or why there is none.
    pub fn peer(&self) -> String {
        let noted = match &self.life {
            Life::Wished(Wish { why, .. }) | Life::Over(why) | Life::Kept(why) => why,
            Life::Arriving(it) | Life::Open(it) => &it.peer,
        };
        self.edge().and_then(Edge::peer).unwrap_or_else(|| noted.clone())
    }

    /// Takes out an edge that has failed. A port with a specification becomes a wish again; any other is over.
    pub fn take_failed(&mut self) -> Option<Lost> {
        self.life.there().filter(|it| it.seat.has_failed())?;
        let arriving = self.life.is_arriving();
        let (Life::Arriving(it) | Life::Open(it)) = std::mem::replace(&mut self.life, Life::Over(String::new())) else {
            return None;
        };
        let (edge, gone) = it.seat.into_failed()?;
        self.life = match self.origin {
            Origin::Spec(_) => Life::Wished(Wish::again(gone.0.clone(), edge.made_its_interface())),
            _ if self.stays => Life::Kept(gone.0.clone()),
            Origin::Given(_) | Origin::Apart(_) | Origin::Client { .. } | Origin::Inside => Life::Over(it.peer),
        };
        Some(Lost { edge, gone, arriving, untold: it.untold, since: it.since })
    }
}

/// The edge of a port, with its peer and the state of its descriptor.
pub(super) struct Attached {
    pub seat: Seat<Edge>,
    /// Its peer.
    pub peer: String,
    pub since: Instant,
    /// Its last wake-up brought one frame only; so may the next.
    pub lone: bool,
    /// The poll has reported end-of-file (hang-up); a read has still to reach it.
    pub ending: bool,
    /// Its descriptor is watched for writability, too.
    pub room_watched: bool,
    /// Its link state as last logged or shown: down.
    pub link_down: bool,
    /// Nothing was logged of it yet: if its peer does not come, that is to be logged.
    pub untold: bool,
}

impl Attached {
    /// A new attachment, whose descriptors are watched for reading and writing.
    pub fn new(edge: Edge, peer: String, since: Instant) -> Self {
        let link_down = edge.link_is_down();
        Self {
            seat: Seat::new(edge),
            peer,
            since,
            lone: false,
            ending: false,
            room_watched: true,
            link_down,
            untold: false,
        }
    }
}

/// A failed edge, and the state of its port before.
pub(super) struct Lost {
    pub edge: Edge,
    pub gone: Gone,
    /// Its peer had not come.
    pub arriving: bool,
    /// See [`Attached::untold`].
    pub untold: bool,
    pub since: Instant,
}
