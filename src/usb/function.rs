//! The behaviour of a device: the trait that every class implements.
//!
//! The core ([`super::Device`]) plays the bus. It calls a function only for endpoints that the active configuration
//! declares and that are not halted, and takes care of queues, standard requests, halts, truncation and cancelling. A
//! function holds only its own data. When it cannot go on it answers `Wait`, like a device that answers NAK, and is
//! asked again after every event that could have changed its mind: another transfer, a timeout, or access by the owner
//! of the device ([`super::Device::with_function`]).

use super::types::{Address, Setup};
use crate::time::Instant;
use std::any::Any;

/// A function's answer to a control request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Control {
    /// Done. An IN reply is in the buffer; the core cuts it to `wLength`.
    Done,
    /// Not known, or not possible.
    Stall,
    /// Not yet: ask again.
    Wait,
}

/// A function's answer to OUT data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Out {
    /// So many bytes were taken. The rest is offered again later; the transfer is done when all are taken.
    Taken(usize),
    /// Not yet, not even a zero-length packet: ask again.
    Wait,
    /// Halt the endpoint.
    Stall,
}

/// A function's answer to a request for IN data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum In {
    /// The transfer ends with what is in the buffer, which may be nothing (a zero-length packet).
    Done,
    /// Nothing yet: ask again.
    Wait,
    /// Halt the endpoint.
    Stall,
}

/// The behaviour of a device. Every method has a default, so that a function says only what it does.
pub trait Function: Any + Send {
    /// A class or vendor request, or a standard request for an interface that the core does not know (a HID report
    /// descriptor). `data` holds the data stage of an OUT request, and takes the reply to an IN request.
    fn control(&mut self, now: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        let _ = (now, setup, data);
        Control::Stall
    }

    /// The host reads a descriptor (GET_DESCRIPTOR: `setup.value` is type and index, `setup.index` the language of a string
    /// or the interface), of the device or of an interface, before anyone else answers. `Some`: this is the answer, with
    /// the descriptor in `data`, which is empty. `None`: the core answers from the description, and what it does not know
    /// of an interface goes to [`Function::control`]. For descriptors that no description holds (Microsoft's OS string
    /// 0xee, strings in other languages), and to see what a host asks.
    fn descriptor(&mut self, now: Instant, setup: &Setup, data: &mut Vec<u8>) -> Option<Control> {
        let _ = (now, setup, data);
        None
    }

    /// Data for OUT endpoint `endpoint`: what is left of one transfer, possibly nothing (a zero-length packet). Of an
    /// isochronous endpoint: one packet, which is lost as far as it is not taken.
    fn handle_out(&mut self, now: Instant, endpoint: Address, data: &[u8]) -> Out {
        let _ = (now, endpoint, data);
        Out::Stall
    }

    /// The host asks IN endpoint `endpoint` for at most `room` bytes: append them to `data`, which is empty. Of an
    /// isochronous endpoint: one packet, and `Wait` sends an empty one.
    fn poll_in(&mut self, now: Instant, endpoint: Address, room: usize, data: &mut Vec<u8>) -> In {
        let _ = (now, endpoint, room, data);
        In::Stall
    }

    /// The bus was reset, or a configuration chosen: forget everything that a host had set or sent. Also called when
    /// the host is gone.
    fn reset(&mut self) {}

    /// The host chose alternate setting `alternate` of `interface`; the core has checked that it exists.
    fn set_interface(&mut self, interface: u8, alternate: u8) {
        let _ = (interface, alternate);
    }

    /// The host cleared the halt of `endpoint` (CLEAR_FEATURE ENDPOINT_HALT).
    fn clear_halt(&mut self, endpoint: Address) {
        let _ = endpoint;
    }

    /// When the function next wants [`Function::handle_timeout`].
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The instant that [`Function::poll_timeout`] named has come.
    fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
}
