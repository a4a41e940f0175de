//! The configuration language: port specifications, and the configuration file with its switches, ports and instances.
//!
//! ```text
//! tap:zeth0,addr=…   (command line) ─ grammar::split ─┐
//! [[port]] type = …  (TOML)         ─ file ───────────┴─ Words ─ Keys checked against kind's rows ─ PortSpec ─ Config
//! ```
//!
//! The one table of port kinds ([`KINDS`]) gives the grammar its words, and help, manual and README their text. The
//! result is typed and within its limits; nothing is opened or resolved yet.

mod asking;
mod bend;
mod copies;
mod cut;
mod difference;
mod doubles;
mod exposure;
mod file;
pub(crate) mod grammar;
mod instance;
mod kind;
mod metrics;
mod mirror;
mod order;
mod plan;
mod port;
mod programs;
mod scenario;
mod setting;
mod shell_words;
mod switch;
pub(crate) mod text;
pub(crate) mod value;

pub(crate) use asking::Asking;
pub(crate) use bend::BEND_KEYS;
pub use bend::Bend;
pub use cut::Cut;
pub use difference::Source;
pub(crate) use difference::{Step, difference};
pub(crate) use instance::{DEFAULT_HOST, INSTANCE_KEYS, port_name};
pub use instance::{Host, HostAddr, InstanceSpec, Network, Ready, Restart};
pub use kind::{
    Access, Attach, BootClient, BootFile, Forward, Framing, Import, IpPeer, Lan, LanHost, Nat, Packet, Parity,
    PortKind, Protocol, Serial, Slip, Tap, Tcp, Transport, Uart, Udp, UnixGram, UnixSocket, UsbDevice, UsbKind,
    UsbSpeed, Usbip, Wpan,
};
pub(crate) use kind::{Arrival, COMMON, Choices, KINDS, KeyRow, KindRow, TRANSPORTS, command_words, find};
pub use metrics::MetricsAt;
pub use mirror::Mirror;
pub use plan::Config;
pub(crate) use plan::{misplaced, same_host, same_path};
pub(crate) use port::check_rules;
pub use port::{DEFAULT_SWITCH, PortSpec};
pub use scenario::{ScenarioSpec, StepSpec, Text};
pub(crate) use setting::{SET_KEYS, Setting, settings};
pub(crate) use switch::SWITCH_KEYS;
pub use switch::{Medium, SwitchSpec};
pub use value::HostPort;
