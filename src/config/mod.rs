//! The words in which a person says what should run: port specifications and the configuration file.

mod file;
pub mod grammar;
mod kind;
mod plan;
mod port;
mod switch;
pub mod text;
pub mod value;

pub use kind::{
    Attach, COMMON, DEFAULT_MODE, KINDS, KeyRow, KindRow, KindText, Packet, PortKind, Tap, Tcp, Udp, UnixGram, UnixSeq,
    UnixStream, find,
};
pub use plan::Config;
pub use port::{DEFAULT_SWITCH, MTU_RANGE, PortSpec};
pub use switch::{FDB_LIMIT_RANGE, SWITCH_KEYS, SwitchSpec};
