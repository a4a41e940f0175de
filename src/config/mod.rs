//! The words in which a person says what should run: port specifications and the configuration file.

pub mod grammar;
mod kind;
mod port;
pub mod text;
pub mod value;

pub use kind::{
    Attach, COMMON, DEFAULT_MODE, KINDS, KeyRow, KindRow, KindText, Packet, PortKind, Tap, Tcp, Udp, UnixGram, UnixSeq,
    UnixStream, find,
};
pub use port::{DEFAULT_SWITCH, MTU_RANGE, PortSpec};
