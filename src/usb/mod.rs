//! USB devices made of software: descriptors from one description, a device core, and the functions that give a
//! device its behaviour.
//!
//! Theory of operation. A [`Description`] says once what a device is; [`Descriptors`] are its bytes at one speed. A
//! [`Device`] owns the configuration state and the queues of URBs, answers the standard requests of USB 2.0 chapter 9
//! itself, and drives a [`Function`] as a bus would: it hands over OUT data and asks for IN data. A function that has
//! no room or no data says so (`Wait`, a NAK on a real bus) and is asked again after the next event; so it needs no
//! queue of its own, and a cancelled URB is never its concern. Nothing here knows how URBs arrive (that is the room
//! `usbip`), reads a clock or touches a descriptor of the operating system.

pub mod class;
mod describe;
mod descriptors;
mod device;
mod function;
mod standard;
mod types;
mod urb;
mod validate;

pub use describe::{Alternate, Association, Configuration, Description, Endpoint, Interface};
pub use descriptors::Descriptors;
pub use device::Device;
pub use function::{Control, Function, In, Out};
pub use types::{Address, ClassCode, Direction, Recipient, RequestType, Setup, Speed, TransferKind};
pub use urb::{IsoPacket, Status, Urb};
pub use validate::DescriptionError;
