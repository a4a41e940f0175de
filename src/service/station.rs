//! Who sent a frame, as far as a guest cannot make it up: the port of the switch by which it came.
//!
//! A source address is what a guest says. So what a service holds for its guests, and how much of it, goes by the
//! [`Ingress`]; an answer goes to the [`Station`] that asked.

use crate::frame::PortId;
use crate::wire::Mac;

/// By which port of the switch a frame came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ingress {
    /// The port.
    pub port: PortId,
    /// It exchanges nothing with other isolated ports, and is not to by way of a service either.
    pub isolated: bool,
}

impl Ingress {
    /// The port of index 0, not isolated: for a service that is not behind a switch.
    pub const ONLY: Self = Self { port: PortId(0), isolated: false };
    /// None that there is: for what no guest has made, or where it is not known.
    pub const NONE: Self = Self { port: PortId(u16::MAX), isolated: false };
}

/// The sender of a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Station {
    /// Its MAC address, as it says.
    pub mac: Mac,
    /// Where it is.
    pub ingress: Ingress,
}

impl Station {
    /// The port that it is behind.
    pub fn port(&self) -> PortId {
        self.ingress.port
    }

    /// Whether it is believed that the way to `there`, where packets to somebody go, is narrow. It is either that station or
    /// the router behind which he is, as both have the MAC that the packets go to, behind the same port of the switch.
    /// Nobody else sees them, and may make it up, that MAC too.
    pub fn is_on_the_way_to(&self, there: &Self) -> bool {
        (self.mac, self.port()) == (there.mac, there.port())
    }
}
