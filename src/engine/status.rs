//! Switches and ports as they are shown.

use crate::config::Attach;
use crate::counters::Counters;
use crate::error::Error;
use crate::service::report::{Figures, Leased};
use crate::switch::Difference;
use crate::time::Instant;
use std::sync::Arc;
use std::time::Duration;

/// A port as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PortStatus {
    /// Its name.
    pub name: String,
    /// The word of its kind: `tap`, `unix` …
    pub kind: &'static str,
    /// `up`, `listening`, `connecting`, `waiting`, `down` or `stalled`; `left` where it is no more.
    pub state: &'static str,
    /// Its peer, or why there is none.
    pub peer: String,
    /// Frames that wait for it.
    pub queued: usize,
    /// Its counters; for a listener, the sum of the clients that have left.
    pub counters: Counters,
    /// What it is, as its specification says: `/tmp/inst1`, `zeth0,addr=192.0.2.2/24`. Nothing of a listener's client.
    pub target: String,
    /// The ports of whose frames it gets copies, as `mirror=` has them.
    pub mirrors: Vec<String>,
    /// What bad lines do to its frames, as `tx.loss=1%` says it.
    pub impairments: Vec<String>,
    /// It was set down, as if its cable were pulled, be it itself or its listener.
    pub set_down: bool,
    /// The ports that it is cut from: `from inst3`, or one way `inst1 to inst3`.
    pub cuts: Vec<String>,
    /// Frames that these hold: on their way in, and on their way out.
    pub held: [usize; 2],
    /// The listener that it is a client of.
    pub listener: Option<String>,
    /// The command line that attaches a peer.
    pub attach: Option<Attach>,
    /// How long it has been there; of a client, how long that has been connected.
    pub age: Duration,
    /// The figures of its service.
    pub figures: Vec<Figures>,
    /// The leases that its service has given out, by address.
    pub leases: Arc<[Leased]>,
}

/// The links of a radio medium by the names of ports, with the probability that a frame arrives; `None`: every node hears
/// every other.
pub type RadioStatus = Option<Vec<(String, String, f64)>>;

/// How a switch is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// It runs.
    #[default]
    Runs,
    /// It has not answered for more than a second; where it hangs.
    Hangs(Error),
    /// It has ended by itself, and why. It has no ports any more.
    Ended(Error),
}

/// A switch as it is shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct SwitchStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub condition: Condition,
    /// When this was, by its clock, which its counters tell times by.
    pub now: Instant,
    /// Whether it is a radio medium.
    pub radio: bool,
    /// Addresses in its forwarding database, those included that are forgotten when their place is needed.
    pub fdb: usize,
    /// What is cut from what, as it was written.
    pub cuts: Vec<String>,
    /// Its ports, each listener followed by its clients.
    pub ports: Vec<PortStatus>,
    /// Removed ports, in their last state; those of one name and kind share a row, with the sum of their counters. The
    /// last 64 are kept.
    pub left: Vec<PortStatus>,
    /// How far it is like the run that it replays, if it does.
    pub replay: Option<ReplayStatus>,
}

/// How far a switch is like the run that it replays.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ReplayStatus {
    /// Frames whose fates were recorded.
    pub frames: u64,
    /// Fates that the recording has not.
    pub missing: u64,
    /// What was not the same, by `PORT WAY`.
    pub differences: Vec<(String, Difference)>,
    /// Ports and directions that were recorded and have not come, with how many frames these had.
    pub absent: Vec<(String, u64)>,
}

impl SwitchStatus {
    /// The same when all ports are no more.
    pub(super) fn departed(mut self, name: &str) -> Self {
        let gone = std::mem::take(&mut self.ports).into_iter().map(|port| PortStatus {
            state: "left",
            queued: 0,
            attach: None,
            ..port
        });
        let left = std::mem::take(&mut self.left).into_iter().chain(gone).collect();
        Self { name: name.to_owned(), ports: Vec::new(), left, ..self }
    }
}
