//! A keyboard and a mouse (HID 1.11), both usable by a BIOS (boot protocol), played from a script.
//!
//! [`Hid::script`] turns a line into input reports, which wait until the host fetches them, one for each interrupt
//! transfer, at the pace of the endpoint's interval: many hosts lose what comes faster. Without one, transfers wait, unless the host has asked for repetition (SET_IDLE). What the host does to the
//! lights of a keyboard is told by [`Hid::poll_leds`].

mod script;

pub use script::ScriptError;

use super::Identity;
use crate::time::{Duration, Instant};
use crate::usb::{
    Address, Alternate, ClassCode, Configuration, Control, Description, DescriptionError, Device, Endpoint, Function,
    In, Interface, Setup,
};
use script::Report;
use std::collections::VecDeque;

/// Where so many reports wait for the host no further line is done. One line may be more than that.
pub const MAX_REPORTS: usize = 4096;

const INPUT: Address = Address::input(1);

/// Class requests (HID 1.11, 7.2), and the standard request for class descriptors (7.1).
mod request {
    pub const GET_REPORT: u8 = 0x01;
    pub const GET_IDLE: u8 = 0x02;
    pub const GET_PROTOCOL: u8 = 0x03;
    pub const SET_REPORT: u8 = 0x09;
    pub const SET_IDLE: u8 = 0x0a;
    pub const SET_PROTOCOL: u8 = 0x0b;
    pub const GET_DESCRIPTOR: u8 = 0x06;
}

/// Descriptor types (HID 1.11, 7.1).
const HID_DESCRIPTOR: u8 = 0x21;
const REPORT_DESCRIPTOR: u8 = 0x22;
/// Report types in the high byte of `wValue` (HID 1.11, 7.2.1).
const INPUT_REPORT: u16 = 0x0100;
const OUTPUT_REPORT: u16 = 0x0200;

/// The keyboard of HID 1.11, appendix B.1: modifiers, a reserved byte, six keys; five lights as output.
const KEYBOARD_REPORT: [u8; 63] = [
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95,
    0x08, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01, 0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05,
    0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01, 0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19,
    0x00, 0x29, 0x65, 0x81, 0x00, 0xc0,
];
/// The mouse of HID 1.11, appendix B.2, with a wheel behind: three buttons, x, y, wheel.
const MOUSE_REPORT: [u8; 52] = [
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, 0x05, 0x09, 0x19, 0x01, 0x29, 0x03, 0x15, 0x00, 0x25,
    0x01, 0x95, 0x03, 0x75, 0x01, 0x81, 0x02, 0x95, 0x01, 0x75, 0x05, 0x81, 0x01, 0x05, 0x01, 0x09, 0x30, 0x09, 0x31,
    0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06, 0xc0, 0xc0,
];

/// Which device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// A keyboard of 104 keys, US layout.
    Keyboard,
    /// A mouse with three buttons and a wheel.
    Mouse,
}

impl Kind {
    /// Bytes of an input report.
    pub fn report_length(self) -> usize {
        match self {
            Self::Keyboard => 8,
            Self::Mouse => 4,
        }
    }

    fn report_descriptor(self) -> &'static [u8] {
        match self {
            Self::Keyboard => &KEYBOARD_REPORT,
            Self::Mouse => &MOUSE_REPORT,
        }
    }

    /// The HID descriptor (HID 1.11, 6.2.1): release 1.11, no country, one report descriptor.
    fn hid_descriptor(self) -> [u8; 9] {
        [9, HID_DESCRIPTOR, 0x11, 0x01, 0, 1, REPORT_DESCRIPTOR, self.report_descriptor().len() as u8, 0]
    }
}

/// The lights of a keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Leds(pub u8);

impl Leds {
    /// Num Lock is on.
    pub fn num_lock(self) -> bool {
        self.0 & 1 != 0
    }

    /// Caps Lock is on.
    pub fn caps_lock(self) -> bool {
        self.0 & 2 != 0
    }

    /// Scroll Lock is on.
    pub fn scroll_lock(self) -> bool {
        self.0 & 4 != 0
    }
}

/// The function of a keyboard or a mouse.
pub struct Hid {
    kind: Kind,
    reports: VecDeque<Report>,
    /// The report that the host has seen last.
    last: Report,
    buttons: u8,
    leds: Leds,
    told: Leds,
    /// 1 is the report protocol, 0 the boot protocol. The reports are the same.
    protocol: u8,
    /// Repetition in units of 4 ms, 0 for none.
    idle: u8,
    repeat: Option<Instant>,
    /// The last report is to be repeated.
    due: bool,
}

impl Hid {
    /// A keyboard or a mouse.
    ///
    /// # Errors
    /// A serial number that is too long.
    pub fn device(identity: &Identity, kind: Kind) -> Result<Device, DescriptionError> {
        let function = Self {
            kind,
            reports: VecDeque::new(),
            last: vec![0; kind.report_length()],
            buttons: 0,
            leds: Leds::default(),
            told: Leds::default(),
            protocol: 1,
            idle: 0,
            repeat: None,
            due: false,
        };
        Device::new(identity.apply(description(kind)), function)
    }

    /// Does one line of a script.
    ///
    /// # Errors
    /// What is wrong with the line, or that too many reports of others wait; then nothing of it was done.
    pub fn script(&mut self, line: &str) -> Result<(), ScriptError> {
        let mut buttons = self.buttons;
        let reports = script::reports(self.kind, line, &mut buttons)?;
        if !self.reports.is_empty() && self.reports.len() + reports.len() > MAX_REPORTS {
            return Err(ScriptError::Full);
        }
        self.buttons = buttons;
        self.reports.extend(reports);
        Ok(())
    }

    /// Reports that the host has not fetched.
    pub fn waiting(&self) -> usize {
        self.reports.len()
    }

    /// The lights, if they have changed since the last call.
    pub fn poll_leds(&mut self) -> Option<Leds> {
        let changed = self.leds != self.told;
        self.told = self.leds;
        changed.then_some(self.leds)
    }

    fn set_repeat(&mut self, now: Instant) {
        let wait = Duration::from_millis(4 * u64::from(self.idle));
        self.repeat = (self.idle != 0).then(|| now + wait);
        self.due = false;
    }
}

fn description(kind: Kind) -> Description {
    let (name, protocol, product) = match kind {
        Kind::Keyboard => ("keyboard", 1, 0x0006),
        Kind::Mouse => ("mouse", 2, 0x0007),
    };
    let alternate = Alternate {
        class: ClassCode(3, 1, protocol),
        extra: kind.hid_descriptor().to_vec(),
        endpoints: vec![Endpoint::interrupt(INPUT, kind.report_length() as u16, Duration::from_millis(8))],
        ..Alternate::default()
    };
    let mut description = Description::new(0x2fe3, product).named("zbridge", name, "0001");
    description.configurations = vec![Configuration {
        self_powered: true,
        max_power: 100,
        interfaces: vec![Interface::new(alternate)],
        ..Configuration::default()
    }];
    description
}

impl Function for Hid {
    fn control(&mut self, now: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        let [low, high] = setup.value.to_le_bytes();
        match (setup.request_type, setup.request) {
            (0x81, request::GET_DESCRIPTOR) => match high {
                HID_DESCRIPTOR => data.extend(self.kind.hid_descriptor()),
                REPORT_DESCRIPTOR => data.extend_from_slice(self.kind.report_descriptor()),
                _ => return Control::Stall,
            },
            (0xa1, request::GET_REPORT) if setup.value == INPUT_REPORT => data.extend_from_slice(&self.last),
            (0xa1, request::GET_IDLE) => data.push(self.idle),
            (0xa1, request::GET_PROTOCOL) => data.push(self.protocol),
            (0x21, request::SET_REPORT) if setup.value == OUTPUT_REPORT && self.kind == Kind::Keyboard => {
                let Some(lights) = data.first() else { return Control::Stall };
                self.leds = Leds(lights & 0x1f);
            }
            (0x21, request::SET_IDLE) => {
                self.idle = high;
                self.set_repeat(now);
            }
            (0x21, request::SET_PROTOCOL) if low <= 1 => self.protocol = low,
            _ => return Control::Stall,
        }
        Control::Done
    }

    fn poll_in(&mut self, now: Instant, _: Address, room: usize, data: &mut Vec<u8>) -> In {
        match self.reports.pop_front() {
            Some(report) => self.last = report,
            None if self.due => {}
            None => return In::Wait,
        }
        self.set_repeat(now);
        data.extend_from_slice(self.last.get(..room).unwrap_or(&self.last));
        In::Done
    }

    fn reset(&mut self) {
        self.leds = Leds::default();
        self.last = vec![0; self.kind.report_length()];
        self.protocol = 1;
        self.idle = 0;
        self.repeat = None;
        self.due = false;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.repeat
    }

    fn handle_timeout(&mut self, _: Instant) {
        // The next transfer gets it, whenever it comes.
        self.repeat = None;
        self.due = true;
    }
}

#[cfg(test)]
mod tests;
