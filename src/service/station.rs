//! The sender of a frame, by what a guest cannot forge: the port of the switch by which it came.
//!
//! A source address can be forged. So a service's limits on what it holds for guests go by the [`Ingress`]; an answer
//! goes to the [`Station`] that asked.

use crate::frame::PortId;
use crate::wire::Mac;

/// By which port of the switch a frame came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ingress {
    /// The port.
    pub port: PortId,
    /// It exchanges nothing with other isolated ports, through a service neither.
    pub isolated: bool,
}

impl Ingress {
    /// The port of index 0, not isolated: for a service that is not behind a switch.
    pub const ONLY: Self = Self { port: PortId(0), isolated: false };
    /// No port: for things that no guest has made, or of unknown origin.
    pub const NONE: Self = Self { port: PortId(u16::MAX), isolated: false };
}

/// The sender of a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Station {
    /// Its source MAC address.
    pub mac: Mac,
    /// Where it is.
    pub ingress: Ingress,
}

impl Station {
    /// The port that it is behind.
    pub fn port(&self) -> PortId {
        self.ingress.port
    }

    /// Whether its report of a small path MTU to `there`, the next hop of some packets, is believed: it must have the
    /// same MAC behind the same port of the switch, as the destination or its router has. Nobody else sees the packets;
    /// others may forge reports, that MAC too.
    pub fn is_on_the_way_to(&self, there: &Self) -> bool {
        (self.mac, self.port()) == (there.mac, there.port())
    }
}
