//! Gadget zero: a device for testing hosts and engines, 0525:a4a0 as Linux has it
//! (`drivers/usb/gadget/legacy/zero.c`, `function/f_sourcesink.c`, `function/f_loopback.c`).
//!
//! Linux binds its driver `usbtest` to it, whose `testusb` cases then exercise every kind of transfer. Configuration 1
//! is source and sink: IN endpoints give a pattern without end, OUT endpoints take data and halt if it is not the
//! pattern. Its alternate settings are 0 bulk, 1 bulk and isochronous, 2 interrupt. Configuration 2 is a loop: each
//! transfer that comes in by a bulk endpoint goes out by the other as one, and an empty one as a zero-length packet.
//! Vendor requests 0x5b and 0x5c write and read a buffer.

use super::Identity;
use crate::time::Instant;
use crate::usb::{
    Address, Alternate, ClassCode, Configuration, Control, Description, DescriptionError, Device, Endpoint, Function,
    In, Interface, Out, Setup, Speed,
};
use std::collections::VecDeque;
use std::time::Duration;

/// Number of the bulk endpoints of source and sink.
pub const BULK: u8 = 1;
/// Number of the isochronous endpoints.
pub const ISOCHRONOUS: u8 = 2;
/// Number of the interrupt endpoints.
pub const INTERRUPT: u8 = 3;
/// Number of the bulk endpoints of the loop.
pub const LOOP: u8 = 4;

/// Vendor request: write the buffer.
pub(crate) const WRITE_BUFFER: u8 = 0x5b;
/// Vendor request: read the buffer.
const READ_BUFFER: u8 = 0x5c;
/// Bytes from which on the loop takes no further transfer. One that it takes it takes whole, however long it is: so what
/// comes back is never cut where it was not.
const LOOP_CAPACITY: usize = 64 << 10;
/// The most transfers in the loop, since empty ones have no bytes.
const LOOP_TRANSFERS: usize = 4096;

/// What source and sink exchange; the parameter `pattern` of `usbtest` and of gadget zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Pattern {
    /// 0: zeroes.
    #[default]
    Zero,
    /// 1: each byte its place in its packet, modulo 63.
    Mod63,
    /// 2: the source gives zeroes, the sink takes anything.
    Any,
}

/// The function of gadget zero.
pub struct Loopback {
    pattern: Pattern,
    /// Bytes of a packet of the bulk endpoints, at whose edges [`Pattern::Mod63`] begins anew.
    packet: usize,
    buffer: Vec<u8>,
    /// The data in the loop, transfer by transfer, with the rest of each.
    queue: VecDeque<u8>,
    transfers: VecDeque<usize>,
}

impl Loopback {
    /// A gadget zero.
    ///
    /// # Errors
    /// A serial number that is too long.
    pub fn device(identity: &Identity, pattern: Pattern) -> Result<Device, DescriptionError> {
        let speed = identity.speed;
        let function = Self {
            pattern,
            packet: usize::from(speed.bulk_packet()),
            buffer: Vec::new(),
            queue: VecDeque::new(),
            transfers: VecDeque::new(),
        };
        Device::new(identity.apply(description(speed)), function)
    }
}

fn description(speed: Speed) -> Description {
    let period = if speed == Speed::Full { Duration::from_millis(1) } else { Duration::from_micros(125) };
    let pair =
        |make: &dyn Fn(Address) -> Endpoint, number| [make(Address::input(number)), make(Address::output(number))];
    let isochronous = |address| Endpoint::isochronous(address, 1024, period);
    let interrupt = |address| Endpoint::interrupt(address, 64, period);
    let alternate = |endpoints| Alternate { class: ClassCode::VENDOR, endpoints, ..Alternate::default() };
    let bulk = pair(&Endpoint::bulk, BULK);
    let source_sink = vec![
        alternate(bulk.to_vec()),
        alternate([bulk, pair(&isochronous, ISOCHRONOUS)].concat()),
        alternate(pair(&interrupt, INTERRUPT).to_vec()),
    ];
    let configuration = |name: &str, alternates| Configuration {
        name: Some(name.to_owned()),
        self_powered: true,
        max_power: 2,
        interfaces: vec![Interface { alternates }],
        ..Configuration::default()
    };
    let mut description = Description::new(0x0525, 0xa4a0).named("zbridge", "Gadget Zero", "0123456789.0123456789");
    description.class = ClassCode::VENDOR;
    description.configurations = vec![
        configuration("source and sink data", source_sink),
        configuration("loop input to output", vec![alternate(pair(&Endpoint::bulk, LOOP).to_vec())]),
    ];
    description
}

impl Function for Loopback {
    fn control(&mut self, _: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        match (setup.request_type, setup.request, setup.value, setup.index) {
            (0x40, WRITE_BUFFER, 0, 0) => self.buffer.clone_from(data),
            (0xc0, READ_BUFFER, 0, 0) => {
                data.extend_from_slice(&self.buffer);
                data.resize(usize::from(setup.length), 0);
            }
            _ => return Control::Stall,
        }
        Control::Done
    }

    fn handle_out(&mut self, _: Instant, endpoint: Address, data: &[u8]) -> Out {
        if endpoint.number() == LOOP {
            if self.queue.len() >= LOOP_CAPACITY || self.transfers.len() >= LOOP_TRANSFERS {
                return Out::Wait;
            }
            self.queue.extend(data);
            self.transfers.push_back(data.len());
            return Out::Taken(data.len());
        }
        let good = match self.pattern {
            Pattern::Zero => data.iter().fold(0, |all, byte| all | byte) == 0,
            Pattern::Mod63 => data.chunks(self.packet).all(|it| it.iter().zip(mod63()).all(|(a, b)| *a == b)),
            Pattern::Any => true,
        };
        if good { Out::Taken(data.len()) } else { Out::Stall }
    }

    fn poll_in(&mut self, _: Instant, endpoint: Address, room: usize, data: &mut Vec<u8>) -> In {
        if endpoint.number() == LOOP {
            let Some(left) = self.transfers.pop_front() else { return In::Wait };
            let count = room.min(left);
            data.extend(self.queue.drain(..count));
            if count < left {
                self.transfers.push_front(left - count);
            }
            return In::Done;
        }
        data.resize(room, 0);
        if self.pattern == Pattern::Mod63 {
            for packet in data.chunks_mut(self.packet) {
                packet.iter_mut().zip(mod63()).for_each(|(place, byte)| *place = byte);
            }
        }
        In::Done
    }

    fn reset(&mut self) {
        self.queue.clear();
        self.transfers.clear();
    }
}

fn mod63() -> impl Iterator<Item = u8> {
    (0..63).cycle()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::{IsoPacket, Status, TransferKind, Urb};

    const NOW: Instant = Instant::ZERO;

    fn device(speed: Speed, pattern: Pattern, configuration: u16) -> Device {
        let mut device = Loopback::device(&Identity::at(speed), pattern).unwrap();
        let setup = Setup { request: 9, value: configuration, ..Setup::default() };
        assert_eq!(run(&mut device, Urb::control(1, setup, vec![])).status, Status::Ok);
        device
    }

    fn run(device: &mut Device, urb: Urb) -> Urb {
        device.submit(NOW, urb);
        device.poll_complete().unwrap()
    }

    #[test]
    fn source_and_sink_know_their_pattern() {
        for (pattern, third, last) in [(Pattern::Zero, 0, 0), (Pattern::Mod63, 2, 1), (Pattern::Any, 0, 0)] {
            let mut device = device(Speed::High, pattern, 1);
            let data = run(&mut device, Urb::input(2, BULK, 514)).data;
            assert_eq!((data.len(), data[2], data[513]), (514, third, last));
            assert_eq!(run(&mut device, Urb::output(3, BULK, data)).actual, 514);
            let bad = run(&mut device, Urb::output(4, BULK, vec![9])).status;
            assert_eq!(bad, if pattern == Pattern::Any { Status::Ok } else { Status::Stall });
        }
    }

    #[test]
    fn loop_gives_back_what_it_takes() {
        let mut device = device(Speed::Full, Pattern::Zero, 2);
        device.submit(NOW, Urb::input(1, LOOP, 3));
        assert_eq!(device.poll_complete(), None);
        device.submit(NOW, Urb::output(2, LOOP, vec![1, 2, 3, 4]));
        let ends: Vec<_> = std::iter::from_fn(|| device.poll_complete()).map(|urb| (urb.id, urb.data)).collect();
        assert_eq!(ends, [(2, vec![1, 2, 3, 4]), (1, vec![1, 2, 3])]);
        assert_eq!(run(&mut device, Urb::input(3, LOOP, 1)).data, [4]);
        let long = vec![7; LOOP_CAPACITY + 1];
        assert_eq!(run(&mut device, Urb::output(4, LOOP, long.clone())).actual as usize, long.len());
        for (id, data) in [(5, vec![8]), (6, vec![])] {
            device.submit(NOW, Urb::output(id, LOOP, data));
        }
        assert_eq!(device.poll_complete(), None, "full: they wait");
        assert_eq!(run(&mut device, Urb::input(7, LOOP, 1 << 20)).data, long, "as one, and none of the next");
        assert_eq!(
            [device.poll_complete(), device.poll_complete()].map(|urb| urb.map(|urb| urb.id)),
            [Some(5), Some(6)]
        );
    }

    #[test]
    fn loop_keeps_transfers_apart() {
        let mut device = device(Speed::High, Pattern::Zero, 2);
        let transfers = [&b"hello"[..], b"worlds!", b"", &[1; 512], &[2; 1536], &[3; 183], b""];
        for data in transfers {
            assert_eq!(run(&mut device, Urb::output(1, LOOP, data.to_vec())).status, Status::Ok);
        }
        for data in transfers {
            assert_eq!(run(&mut device, Urb::input(2, LOOP, 4096)).data, data);
        }
        // An empty one wakes a host that waits.
        device.submit(NOW, Urb::input(3, LOOP, 64));
        device.submit(NOW, Urb::output(4, LOOP, Vec::new()));
        let ends: Vec<_> = std::iter::from_fn(|| device.poll_complete()).map(|urb| (urb.id, urb.actual)).collect();
        assert_eq!(ends, [(4, 0), (3, 0)]);
        for id in 0..=LOOP_TRANSFERS as u32 {
            device.submit(NOW, Urb::output(10 + id, LOOP, Vec::new()));
        }
        assert_eq!(std::iter::from_fn(|| device.poll_complete()).count(), LOOP_TRANSFERS, "the last one waits");
    }

    #[test]
    fn the_buffer_keeps_what_was_written() {
        let mut device = device(Speed::High, Pattern::Zero, 1);
        let written: Vec<u8> = (0..=255).cycle().take(65535).collect();
        let write = Setup { request_type: 0x40, request: WRITE_BUFFER, length: 65535, ..Setup::default() };
        let read = Setup { request_type: 0xc0, request: READ_BUFFER, ..write };
        assert_eq!(run(&mut device, Urb::control(2, write, written.clone())).actual, 65535);
        assert_eq!(run(&mut device, Urb::control(3, read, vec![])).data, written);
    }

    #[test]
    fn settings_have_their_endpoints_at_every_speed() {
        for speed in [Speed::Full, Speed::High, Speed::Super] {
            let mut device = device(speed, Pattern::Zero, 1);
            let kinds = [
                (0, BULK, TransferKind::Bulk),
                (1, ISOCHRONOUS, TransferKind::Isochronous),
                (2, INTERRUPT, TransferKind::Interrupt),
            ];
            for (setting, number, kind) in kinds {
                let setup = Setup { request_type: 1, request: 11, value: setting, ..Setup::default() };
                assert_eq!(run(&mut device, Urb::control(2, setup, vec![])).status, Status::Ok);
                assert_eq!(device.endpoint_kind(Address::input(number)), Some(kind));
                assert_eq!(device.endpoint_kind(Address::output(number)), Some(kind));
            }
        }
    }

    #[test]
    fn isochronous_source_fills_its_packets() {
        let mut device = device(Speed::High, Pattern::Zero, 1);
        let setup = Setup { request_type: 1, request: 11, value: 1, ..Setup::default() };
        run(&mut device, Urb::control(2, setup, vec![]));
        let packets = vec![IsoPacket { length: 100, ..IsoPacket::default() }];
        device.submit(NOW, Urb { packets, ..Urb::input(3, ISOCHRONOUS, 100) });
        device.handle_timeout(NOW + Duration::from_micros(125));
        assert_eq!(device.poll_complete().map(|urb| (urb.actual, urb.errors())), Some((100, 0)));
    }
}
