//! The standard device requests (USB 2.0, 9.4; USB 3.2, 9.4) that the core answers for every function.
//!
//! A request that chapter 9 leaves undefined for the state or the recipient is answered with STALL. Standard requests
//! for descriptors of an interface belong to its class and go to the function.

use super::device::Device;
use super::function::Control;
use super::types::{Address, Recipient, RequestType, Setup, Speed, TransferKind};
use crate::time::Instant;

/// `bRequest` (USB 2.0, table 9-4; USB 3.2, table 9-5).
mod request {
    pub const GET_STATUS: u8 = 0;
    pub const CLEAR_FEATURE: u8 = 1;
    pub const SET_FEATURE: u8 = 3;
    pub const SET_ADDRESS: u8 = 5;
    pub const GET_DESCRIPTOR: u8 = 6;
    pub const GET_CONFIGURATION: u8 = 8;
    pub const SET_CONFIGURATION: u8 = 9;
    pub const GET_INTERFACE: u8 = 10;
    pub const SET_INTERFACE: u8 = 11;
    pub const SYNCH_FRAME: u8 = 12;
    pub const SET_SEL: u8 = 48;
    pub const SET_ISOCH_DELAY: u8 = 49;
}

/// Feature selectors (USB 2.0, table 9-6; USB 3.2, table 9-7).
mod feature {
    pub const ENDPOINT_HALT: u16 = 0;
    pub const FUNCTION_SUSPEND: u16 = 0;
    pub const DEVICE_REMOTE_WAKEUP: u16 = 1;
    pub const U1_ENABLE: u16 = 48;
    pub const U2_ENABLE: u16 = 49;
    pub const LTM_ENABLE: u16 = 50;
    /// PORT_RESET of a hub's port (USB 2.0, table 11-17), which usbip-win2 sends to the device itself.
    pub const PORT_RESET: u16 = 4;
}

/// `bmRequestType` of a request to a hub's port: class, other, host to device.
const HUB_PORT: u8 = 0x23;
/// Bytes of the system exit latencies that SET_SEL carries (USB 3.2, 9.4.12).
const SEL_LENGTH: usize = 6;

/// The core's answer.
pub(super) enum Reply<'a> {
    /// Done, without data.
    Done,
    /// Not possible.
    Stall,
    /// Two bytes or fewer: a status, a number.
    Small(u8, [u8; 2]),
    /// A descriptor.
    Bytes(&'a [u8]),
}

impl Reply<'_> {
    /// Writes the reply's data and says how the request ended.
    pub(super) fn answer(self, data: &mut Vec<u8>) -> Control {
        match self {
            Self::Done => {}
            Self::Stall => return Control::Stall,
            Self::Small(length, bytes) => data.extend_from_slice(bytes.get(..usize::from(length)).unwrap_or(&bytes)),
            Self::Bytes(bytes) => data.extend_from_slice(bytes),
        }
        Control::Done
    }

    fn word(value: u16) -> Self {
        Self::Small(2, value.to_le_bytes())
    }

    fn byte(value: u8) -> Self {
        Self::Small(1, [value, 0])
    }

    fn check(ok: bool) -> Self {
        if ok { Self::Done } else { Self::Stall }
    }
}

/// Whether a request is a standard GET_DESCRIPTOR for the device or an interface.
pub(super) fn reads_descriptor(setup: &Setup) -> bool {
    setup.request == request::GET_DESCRIPTOR && matches!(setup.request_type, 0x80 | 0x81)
}

impl Device {
    /// Answers a standard request; `None` leaves it to the function. `data` is the data stage of an OUT request.
    pub(super) fn standard(&mut self, now: Instant, setup: &Setup, data: &[u8]) -> Option<Reply<'_>> {
        if setup.request_type == HUB_PORT && setup.request == request::SET_FEATURE && setup.value == feature::PORT_RESET
        {
            self.reset();
            return Some(Reply::Done);
        }
        if setup.kind() != RequestType::Standard {
            return None;
        }
        if setup.length != 0 && (setup.request_type & 0x80 != 0) != reads(setup.request) {
            return Some(Reply::Stall);
        }
        match setup.recipient() {
            Recipient::Device => Some(self.device_request(setup, data)),
            Recipient::Interface => self.interface_request(setup),
            Recipient::Endpoint => Some(self.endpoint_request(now, setup)),
            Recipient::Other | Recipient::Reserved => Some(Reply::Stall),
        }
    }

    fn device_request(&mut self, setup: &Setup, data: &[u8]) -> Reply<'_> {
        let superspeed = self.description().speed == Speed::Super;
        let [low, high] = setup.value.to_le_bytes();
        match setup.request {
            request::GET_STATUS => {
                let powered = self.active_configuration().is_some_and(|active| active.self_powered);
                Reply::word(u16::from(powered) | u16::from(self.features))
            }
            request::CLEAR_FEATURE => self.device_feature(setup.value, false),
            request::SET_FEATURE => self.device_feature(setup.value, true),
            // The host's controller gives addresses; over USB/IP the request means nothing.
            request::SET_ADDRESS => Reply::check(setup.value <= 127),
            request::GET_DESCRIPTOR => self.descriptors.get(high, low).map_or(Reply::Stall, Reply::Bytes),
            request::GET_CONFIGURATION => Reply::byte(self.configuration),
            request::SET_CONFIGURATION => {
                let exists = usize::from(low) <= self.description().configurations.len();
                if exists && high == 0 {
                    self.configure(low);
                }
                Reply::check(exists && high == 0)
            }
            request::SET_SEL => Reply::check(superspeed && data.len() == SEL_LENGTH),
            request::SET_ISOCH_DELAY => Reply::check(superspeed && setup.length == 0),
            _ => Reply::Stall,
        }
    }

    fn device_feature(&mut self, selector: u16, set: bool) -> Reply<'_> {
        let superspeed = self.description().speed == Speed::Super && self.configuration != 0;
        let wakes = self.active_configuration().is_some_and(|active| active.remote_wakeup);
        let bit = match selector {
            feature::DEVICE_REMOTE_WAKEUP if wakes => 1,
            feature::U1_ENABLE if superspeed => 2,
            feature::U2_ENABLE if superspeed => 3,
            feature::LTM_ENABLE if superspeed => 4,
            _ => return Reply::Stall,
        };
        self.features = self.features & !(1 << bit) | u8::from(set) << bit;
        Reply::Done
    }

    fn interface_request(&mut self, setup: &Setup) -> Option<Reply<'_>> {
        // At SuperSpeed the high byte of wIndex carries the options of FUNCTION_SUSPEND.
        let [number, _] = setup.index.to_le_bytes();
        let Some(&alternate) = self.alternates.get(usize::from(number)) else {
            return Some(Reply::Stall);
        };
        Some(match setup.request {
            request::GET_STATUS => Reply::word(0),
            request::GET_INTERFACE => Reply::byte(alternate),
            request::SET_INTERFACE => {
                let wanted = self
                    .active_configuration()
                    .and_then(|active| active.interfaces.get(usize::from(number)))
                    .filter(|interface| usize::from(setup.value) < interface.alternates.len());
                let exists = wanted.is_some();
                if exists {
                    self.choose(number, setup.value as u8);
                }
                Reply::check(exists)
            }
            request::CLEAR_FEATURE | request::SET_FEATURE => {
                let superspeed = self.description().speed == Speed::Super;
                Reply::check(superspeed && setup.value == feature::FUNCTION_SUSPEND)
            }
            request::GET_DESCRIPTOR => return None,
            _ => Reply::Stall,
        })
    }

    fn endpoint_request(&mut self, now: Instant, setup: &Setup) -> Reply<'_> {
        let address = u8::try_from(setup.index).ok().and_then(Address::from_byte);
        let Some((address, kind)) = address.and_then(|it| Some((it, self.endpoint_kind(it)?))) else {
            return Reply::Stall;
        };
        let halts = matches!(kind, TransferKind::Bulk | TransferKind::Interrupt | TransferKind::Control);
        let feature = setup.value == feature::ENDPOINT_HALT && halts;
        match setup.request {
            request::GET_STATUS => Reply::word(u16::from(self.is_halted(address) == Some(true))),
            request::CLEAR_FEATURE if feature => {
                self.set_halt(address, false);
                Reply::Done
            }
            request::SET_FEATURE if feature && kind != TransferKind::Control => {
                self.set_halt(address, true);
                Reply::Done
            }
            request::SYNCH_FRAME if kind == TransferKind::Isochronous => Reply::word((now.as_millis() & 0x7ff) as u16),
            _ => Reply::Stall,
        }
    }
}

/// Whether a standard request has a data stage from the device to the host.
fn reads(request: u8) -> bool {
    matches!(
        request,
        request::GET_STATUS
            | request::GET_DESCRIPTOR
            | request::GET_CONFIGURATION
            | request::GET_INTERFACE
            | request::SYNCH_FRAME
    )
}
