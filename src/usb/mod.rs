//! USB devices made of software: descriptors from one description, a device core, and the functions that give a
//! device its behaviour.
//!
//! Theory of operation. A [`Description`] says once what a device is; [`Descriptors`] are its bytes at one speed. A
//! [`Device`] owns the configuration state and the queues of URBs, answers the standard requests of USB 2.0 chapter 9
//! itself, and drives a [`Function`] as a bus would: it hands over OUT data and asks for IN data. A function that has
//! no room or no data says so (`Wait`, a NAK on a real bus) and is asked again after the next event; so it needs no
//! queue of its own, and a cancelled URB is never its concern. Nothing here knows how URBs arrive (that is the room
//! `usbip`), reads a clock or touches a descriptor of the operating system.
//!
//! A device of one's own is a description and a function:
//!
//! ```
//! use std::time::Duration;
//! use zbridge::time::Instant;
//! use zbridge::usb::{
//!     Address, Alternate, ClassCode, Configuration, Control, Description, Device, Endpoint, Function, In, Interface,
//!     Setup, Speed, Urb,
//! };
//!
//! /// A thermometer: vendor request 1 sets the period, and an interrupt endpoint gives degrees as they are measured.
//! struct Thermometer {
//!     measured: Option<i16>,
//!     period: u16,
//! }
//!
//! impl Function for Thermometer {
//!     fn control(&mut self, _: Instant, setup: &Setup, _: &mut Vec<u8>) -> Control {
//!         match (setup.request_type, setup.request) {
//!             (0x40, 1) => self.period = setup.value,
//!             _ => return Control::Stall,
//!         }
//!         Control::Done
//!     }
//!
//!     fn poll_in(&mut self, _: Instant, _: Address, _: usize, data: &mut Vec<u8>) -> In {
//!         let Some(degrees) = self.measured.take() else { return In::Wait };
//!         data.extend(degrees.to_le_bytes());
//!         In::Done
//!     }
//! }
//!
//! let notify = Endpoint::interrupt(Address::input(1), 2, Duration::from_millis(10));
//! let alternate = Alternate { class: ClassCode::VENDOR, endpoints: vec![notify], ..Alternate::default() };
//! let mut description = Description::new(0x2fe3, 0x0100).named("example", "thermometer", "1");
//! description.speed = Speed::Full;
//! description.configurations =
//!     vec![Configuration { interfaces: vec![Interface::new(alternate)], ..Configuration::default() }];
//! let mut device = Device::new(description, Thermometer { measured: None, period: 1000 })?;
//!
//! // What a host does: choose the configuration, ask for degrees. The transfer waits for a measurement.
//! let now = Instant::ZERO;
//! device.submit(now, Urb::control(1, Setup { request: 9, value: 1, ..Setup::default() }, vec![]));
//! device.submit(now, Urb::input(2, 1, 2));
//! assert_eq!(device.poll_complete().map(|urb| urb.id), Some(1));
//! assert_eq!(device.poll_complete(), None);
//! device.with_function(now, |it: &mut Thermometer| it.measured = Some(21));
//! assert_eq!(device.poll_complete().map(|urb| urb.data), Some(vec![21, 0]));
//! # Ok::<(), zbridge::usb::DescriptionError>(())
//! ```

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
