//! The protocol of the control socket: requests to a running bridge, and its answers.
//!
//! A connection carries lines of JSON (RFC 8259), each ended by `\n`. The bridge speaks first, once:
//!
//! ```text
//! ← {"zbridge":1,"version":"0.1.0","name":"default","pid":4242}
//! → {"id":1,"command":"port-del","port":"inst1"}
//! ← {"id":1,"ok":{}}
//! → {"id":2,"command":"port-del","port":"inst1"}
//! ← {"id":2,"error":{"class":"no-object","what":"no port is named inst1"}}
//! ```
//!
//! `zbridge` is the version of this protocol ([`PROTOCOL`]). It grows without a new version: a field that is not known
//! is ignored by both ends, a new command is refused as unknown by an old bridge. An `id` is the asker's, comes back in
//! the answer, and may be left out. Requests of one connection are answered in their order, but for `wait`, whose answer
//! comes when there is one.
//!
//! A `port-add` with `"fd":true` takes a descriptor that was sent with the bytes of its line (SCM_RIGHTS, unix(7)).
//!
//! Nothing here reads or writes a descriptor: [`Lines`] cuts what has come into lines, [`Request`], [`Greeting`] and
//! [`Reply`] turn them into values and back, each within bounds.

mod detail;
mod drops;
mod event;
mod gateway;
mod instance;
pub(crate) mod line;
pub(crate) mod openmetrics;
mod reload;
pub(crate) mod reply;
pub(crate) mod request;
mod stations;
mod trace;

pub use crate::capture::Wish;
pub use detail::{DeviceInfo, FlowInfo, FlowsInfo, ImporterInfo, UrbInfo, UsbInfo};
pub use drops::{DropsInfo, ExampleInfo, LossInfo, PortDrops, SwitchDrops};
pub(crate) use drops::{hex, unhex};
pub use event::{EVENTS_OF, EventInfo};
pub use gateway::{ChangedInfo, ForwardInfo, ForwardsInfo, HeldInfo, LeasesInfo, NameInfo, NamesInfo};
pub use instance::{InstanceInfo, InstancesInfo, LogInfo};
pub(crate) use line::{Lines, TooLong};
pub use reload::ReloadedInfo;
pub use reply::{
    AbsentInfo, Added, AttachInfo, DifferenceInfo, FdbInfo, FdbPage, Greeting, HealedInfo, LeaseInfo, MediumInfo,
    PortInfo, RadioInfo, RadioLinkInfo, RatesInfo, ReplayInfo, StatusInfo, SwitchInfo, TroubleInfo,
};
pub(crate) use reply::{Failure, Reply, print};
pub(crate) use request::Request;
pub use request::{Command, Cursor, Lifetime, PORT_STATES};
pub use stations::{AddressInfo, FlapInfo, StationsInfo};
pub use trace::{TraceCopy, TraceInfo, TraceStep};

/// The version of the protocol, in the greeting. It changes when an old client would misunderstand a bridge.
pub const PROTOCOL: u32 = 1;

/// The longest line that a bridge takes, its end not counted. A port's specification is a few hundred bytes.
pub(crate) const REQUEST_BYTES: usize = 64 * 1024;

/// The longest line that a client takes: the status of as many ports as a switch can have.
pub(crate) const REPLY_BYTES: usize = 64 * 1024 * 1024;

/// Entries of the forwarding database in one answer; the next request goes on behind them.
pub(crate) const FDB_PAGE: usize = 8192;

/// The states of an instance. `waits`: for those that it comes after, or before it is started again; `starts`: it runs,
/// and is not ready; `ready`; `stops`: it was told to end; `stopped`: by hand, and may be started again; `ended`.
pub const INSTANCE_STATES: &[&str] = &["waits", "starts", "ready", "stops", "stopped", "ended"];

/// Links of one radio medium in an answer.
pub(crate) const RADIO_LINKS: usize = 4096;
