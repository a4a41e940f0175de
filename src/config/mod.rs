//! The words in which a person says what should run: port specifications, and the configuration file with its
//! switches, ports and instances.
//!
//! ```text
//! tap:zeth0,addr=…   (command line) ─ grammar::split ─┐
//! [[port]] type = …  (TOML)         ─ file ───────────┴─ Words ─ Keys checked against kind's rows ─ PortSpec ─ Config
//! ```
//!
//! The one table of port kinds ([`KINDS`]) gives the grammar its words, and help, manual and README their text. What
//! comes out is typed and within its limits; nothing was opened or resolved yet.

mod copies;
mod doubles;
mod exposure;
mod file;
pub mod grammar;
mod instance;
mod kind;
mod order;
mod plan;
mod port;
mod programs;
mod shell_words;
mod switch;
pub mod text;
pub mod value;

pub use instance::{
    DEFAULT_HOST, Host, HostAddr, INSTANCE_KEYS, InstanceSpec, Network, READY_TIMEOUT, Ready, Restart, port_name,
};
pub use kind::{
    Access, Arrival, Attach, BootClient, BootFile, COMMON, Choice, Choices, DEFAULT_MODE, DEVICES, Forward, Import,
    IpPeer, KINDS, KeyRow, KindRow, KindText, Lan, LanHost, Nat, Packet, Parity, PortKind, Protocol, Serial, Slip,
    TRANSPORTS, Tap, Tcp, Transport, TransportRow, Uart, Udp, UnixGram, UnixSeq, UnixStream, UsbDevice, UsbKind,
    UsbSpeed, Usbip, Wpan, command_words, find,
};
pub use plan::{Config, misplaced, same_host, same_path};
pub use port::{DEFAULT_SWITCH, LEAST_IP_MTU, MTU_RANGE, PortSpec, SERVICE_MTU, check_rules};
pub use switch::{FDB_LIMIT_RANGE, Medium, SWITCH_KEYS, SwitchSpec};
