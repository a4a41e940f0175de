//! A serial port: CDC-ACM (USB CDC PSTN 1.2), 2fe3:0001 as Zephyr's sample shows itself.
//!
//! Its other end is a pair of byte queues for the owner of the device: [`CdcAcm::handle_backend`] takes bytes for the
//! host, [`CdcAcm::poll_backend`] gives bytes of the host. Both queues are bounded. When the one to the back end is full,
//! the host's OUT transfers wait; when the one to the host is full, `handle_backend` takes less than it is given. So
//! nothing is lost, and neither side can make the other grow. What the host sets (line coding, DTR, RTS, break) is told
//! by [`CdcAcm::poll_line`], and what a modem would report goes the other way by [`CdcAcm::set_serial_state`].
//!
//! A reset forgets the line and the bytes for the host. Bytes of the host stay: their transfers had succeeded.

use super::Identity;
use crate::time::{Duration, Instant};
use crate::usb::{
    Address, Alternate, Association, ClassCode, Configuration, Control, Description, DescriptionError, Device,
    Endpoint, Function, In, Interface, Out, Setup,
};
use std::collections::VecDeque;
use std::fmt;

/// Bytes that wait in each direction before the sender has to.
pub const QUEUE_CAPACITY: usize = 64 << 10;

/// The interrupt endpoint of notifications.
const NOTIFY: Address = Address::input(1);
/// Data of the host.
const DATA_OUT: Address = Address::output(1);
/// Data for the host.
const DATA_IN: Address = Address::input(2);
/// The number of the communication interface.
const COMMUNICATION: u8 = 0;

/// Class requests (PSTN 1.2, table 13).
mod request {
    pub const SET_LINE_CODING: u8 = 0x20;
    pub const GET_LINE_CODING: u8 = 0x21;
    pub const SET_CONTROL_LINE_STATE: u8 = 0x22;
    pub const SEND_BREAK: u8 = 0x23;
}

/// Bits of SERIAL_STATE (PSTN 1.2, table 31).
pub mod serial_state {
    /// Carrier: DCD.
    pub const RX_CARRIER: u16 = 1;
    /// Ready: DSR.
    pub const TX_CARRIER: u16 = 1 << 1;
    /// A break was received. This and the following are events, told once.
    pub const BREAK: u16 = 1 << 2;
    /// Ring.
    pub const RING: u16 = 1 << 3;
    /// A framing error.
    pub const FRAMING: u16 = 1 << 4;
    /// A parity error.
    pub const PARITY: u16 = 1 << 5;
    /// Data was lost.
    pub const OVERRUN: u16 = 1 << 6;
}

/// `wValue` of SEND_BREAK: until told otherwise.
const BREAK_FOR_EVER: u16 = 0xffff;

/// The line coding structure, 7 bytes, little-endian (PSTN 1.2, table 17).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LineCoding {
    /// Bits per second.
    pub rate: u32,
    /// Stop bits: 0 is 1, 1 is 1.5, 2 is 2.
    pub stop: u8,
    /// 0 none, 1 odd, 2 even, 3 mark, 4 space.
    pub parity: u8,
    /// Data bits.
    pub bits: u8,
}

impl Default for LineCoding {
    fn default() -> Self {
        Self { rate: 115_200, stop: 0, parity: 0, bits: 8 }
    }
}

impl LineCoding {
    /// The structure's bytes.
    pub fn to_bytes(self) -> [u8; 7] {
        let [a, b, c, d] = self.rate.to_le_bytes();
        [a, b, c, d, self.stop, self.parity, self.bits]
    }

    /// Reads the structure; `None` if it names a coding that PSTN 1.2 does not know.
    pub fn from_bytes(bytes: [u8; 7]) -> Option<Self> {
        let [a, b, c, d, stop, parity, bits] = bytes;
        let known = stop <= 2 && parity <= 4 && matches!(bits, 5..=8 | 16);
        known.then_some(Self { rate: u32::from_le_bytes([a, b, c, d]), stop, parity, bits })
    }
}

/// The host's settings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Line {
    /// The coding.
    pub coding: LineCoding,
    /// Data Terminal Ready: a program has opened the port.
    pub dtr: bool,
    /// Request To Send.
    pub rts: bool,
    /// A break is being sent.
    pub breaking: bool,
}

/// As people write it: `115200 8N1, DTR on, RTS on`.
impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LineCoding { rate, stop, parity, bits } = self.coding;
        let parity = ["N", "O", "E", "M", "S"].get(usize::from(parity)).unwrap_or(&"?");
        let stop = ["1", "1.5", "2"].get(usize::from(stop)).unwrap_or(&"?");
        let state = |on| if on { "on" } else { "off" };
        write!(out, "{rate} {bits}{parity}{stop}, DTR {}, RTS {}", state(self.dtr), state(self.rts))?;
        if self.breaking { out.write_str(", break") } else { Ok(()) }
    }
}

/// The function of a serial port.
#[derive(Default)]
pub struct CdcAcm {
    /// It echoes the host's data.
    echo: bool,
    to_host: VecDeque<u8>,
    to_backend: VecDeque<u8>,
    line: Line,
    told: Line,
    break_end: Option<Instant>,
    state: u16,
    /// The state is to be notified.
    notify: bool,
}

impl CdcAcm {
    /// A serial port. With `echo` it is its own back end.
    ///
    /// # Errors
    /// A serial number that is too long.
    pub fn device(identity: &Identity, echo: bool) -> Result<Device, DescriptionError> {
        let state = if echo { serial_state::RX_CARRIER | serial_state::TX_CARRIER } else { 0 };
        Device::new(identity.apply(description()), Self { echo, state, ..Self::default() })
    }

    /// Bytes for the host. Gives how many were taken; the rest is to be offered again later.
    pub fn handle_backend(&mut self, bytes: &[u8]) -> usize {
        fill(&mut self.to_host, bytes)
    }

    /// How many bytes [`CdcAcm::handle_backend`] would take.
    pub fn room(&self) -> usize {
        QUEUE_CAPACITY - self.to_host.len()
    }

    /// The next bytes of the host. They stay until [`CdcAcm::backend_took`].
    pub fn poll_backend(&self) -> &[u8] {
        self.to_backend.as_slices().0
    }

    /// How many bytes of the host wait for the back end.
    pub fn for_backend(&self) -> usize {
        self.to_backend.len()
    }

    /// The back end has taken `count` bytes.
    pub fn backend_took(&mut self, count: usize) {
        self.to_backend.drain(..count.min(self.to_backend.len()));
    }

    /// The host's settings, if they have changed since the last call.
    pub fn poll_line(&mut self) -> Option<Line> {
        let changed = self.line != self.told;
        self.told = self.line;
        changed.then_some(self.line)
    }

    /// What a modem would report, as bits of [`serial_state`]. The host is told of a change; events are told once.
    pub fn set_serial_state(&mut self, state: u16) {
        self.notify |= state != self.state;
        self.state = state;
    }

    fn set_break(&mut self, now: Instant, duration: u16) {
        self.line.breaking = duration != 0;
        let timed = duration != 0 && duration != BREAK_FOR_EVER;
        self.break_end = timed.then(|| now + Duration::from_millis(u64::from(duration)));
    }

    /// SERIAL_STATE, 10 bytes (PSTN 1.2, 6.5.4).
    fn notification(&mut self, data: &mut Vec<u8>) {
        let [low, high] = self.state.to_le_bytes();
        data.extend([0xa1, 0x20, 0, 0, COMMUNICATION, 0, 2, 0, low, high]);
        self.state &= serial_state::RX_CARRIER | serial_state::TX_CARRIER;
        self.notify = false;
    }
}

/// Appends as much of `bytes` as there is room for.
fn fill(queue: &mut VecDeque<u8>, bytes: &[u8]) -> usize {
    let taken = bytes.len().min(QUEUE_CAPACITY - queue.len());
    queue.extend(bytes.iter().take(taken));
    taken
}

fn description() -> Description {
    // Functional descriptors (CDC 1.2, 5.2.3; PSTN 1.2, 5.3): header 1.10, no call management, line coding and break,
    // union of interfaces 0 and 1.
    let functional = [
        [5, 0x24, 0x00, 0x10, 0x01].as_slice(),
        &[5, 0x24, 0x01, 0x00, 0x01],
        &[4, 0x24, 0x02, 0x06],
        &[5, 0x24, 0x06, 0x00, 0x01],
    ];
    let communication = Alternate {
        class: ClassCode(0x02, 0x02, 0x00),
        extra: functional.concat(),
        endpoints: vec![Endpoint::interrupt(NOTIFY, 16, Duration::from_millis(8))],
        ..Alternate::default()
    };
    let data = Alternate {
        class: ClassCode(0x0a, 0x00, 0x00),
        endpoints: vec![Endpoint::bulk(DATA_OUT), Endpoint::bulk(DATA_IN)],
        ..Alternate::default()
    };
    let mut description = Description::new(0x2fe3, 0x0001).named("zbridge", "CDC ACM", "0001");
    description.class = ClassCode::ASSOCIATION;
    description.configurations = vec![Configuration {
        self_powered: true,
        max_power: 100,
        associations: vec![Association { first: 0, count: 2, class: ClassCode(2, 2, 0), name: None }],
        interfaces: vec![Interface::new(communication), Interface::new(data)],
        ..Configuration::default()
    }];
    description
}

impl Function for CdcAcm {
    fn control(&mut self, now: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        if setup.index != u16::from(COMMUNICATION) {
            return Control::Stall;
        }
        match (setup.request_type, setup.request) {
            (0x21, request::SET_LINE_CODING) => {
                let coding = data.first_chunk().filter(|_| data.len() == 7).and_then(|it| LineCoding::from_bytes(*it));
                let Some(coding) = coding else { return Control::Stall };
                self.line.coding = coding;
            }
            (0xa1, request::GET_LINE_CODING) => data.extend(self.line.coding.to_bytes()),
            (0x21, request::SET_CONTROL_LINE_STATE) => {
                // A program that opens the port learns the state of the line.
                self.notify |= !self.line.dtr && setup.value & 1 != 0;
                self.line.dtr = setup.value & 1 != 0;
                self.line.rts = setup.value & 2 != 0;
            }
            (0x21, request::SEND_BREAK) => self.set_break(now, setup.value),
            _ => return Control::Stall,
        }
        Control::Done
    }

    fn handle_out(&mut self, _: Instant, _: Address, data: &[u8]) -> Out {
        let queue = if self.echo { &mut self.to_host } else { &mut self.to_backend };
        Out::Taken(fill(queue, data))
    }

    fn poll_in(&mut self, _: Instant, endpoint: Address, room: usize, data: &mut Vec<u8>) -> In {
        match endpoint {
            NOTIFY if self.notify => self.notification(data),
            DATA_IN if !self.to_host.is_empty() => data.extend(self.to_host.drain(..room.min(self.to_host.len()))),
            _ => return In::Wait,
        }
        In::Done
    }

    fn reset(&mut self) {
        self.to_host.clear();
        self.line = Line::default();
        self.break_end = None;
        self.notify = false;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.break_end
    }

    fn handle_timeout(&mut self, _: Instant) {
        self.line.breaking = false;
        self.break_end = None;
    }
}

#[cfg(test)]
mod tests;
