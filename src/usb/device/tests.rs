//! The device core by example: standard requests, halts, resets and the order of answers.

use super::*;
use crate::usb::function::{Control, In, Out};
use crate::usb::{Alternate, Configuration, Endpoint, Interface, IsoPacket, Setup, Speed};

const NOW: Instant = Instant::from_secs(1);

/// Takes as many OUT bytes as it has room for, and gives what it was told to give.
#[derive(Default)]
struct Pipe {
    room: usize,
    taken: Vec<u8>,
    give: VecDeque<Vec<u8>>,
    stall: bool,
    resets: u32,
    cleared: Vec<Address>,
    asked: Vec<(u16, u16)>,
}

impl Function for Pipe {
    fn control(&mut self, _: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        match setup.request {
            1 => data.extend([7; 100]),
            2 => return Control::Wait,
            3 => self.taken.append(data),
            _ => return Control::Stall,
        }
        Control::Done
    }

    fn descriptor(&mut self, _: Instant, setup: &Setup, data: &mut Vec<u8>) -> Option<Control> {
        self.asked.push((setup.value, setup.index));
        match setup.value {
            0x03ee => data.extend(b"\x12\x03MSFT100 ".iter().copied().chain([0; 8])),
            0x2100 if setup.request_type == 0x80 => data.extend([9, 0x21, 7]),
            _ => return None,
        }
        Some(Control::Done)
    }

    fn handle_out(&mut self, _: Instant, _: Address, data: &[u8]) -> Out {
        if self.stall {
            return Out::Stall;
        }
        let taken = data.len().min(self.room);
        self.room -= taken;
        self.taken.extend_from_slice(&data[..taken]);
        Out::Taken(taken)
    }

    fn poll_in(&mut self, _: Instant, _: Address, _: usize, data: &mut Vec<u8>) -> In {
        match self.give.pop_front() {
            Some(bytes) => data.extend(bytes),
            None if self.stall => return In::Stall,
            None => return In::Wait,
        }
        In::Done
    }

    fn reset(&mut self) {
        self.resets += 1;
    }

    fn clear_halt(&mut self, endpoint: Address) {
        self.cleared.push(endpoint);
    }
}

fn device(speed: Speed) -> Device {
    let mut description = Description::new(1, 2);
    description.speed = speed;
    let bulk = vec![Endpoint::bulk(Address::output(1)), Endpoint::bulk(Address::input(1))];
    let mut iso = bulk.clone();
    iso.push(Endpoint::isochronous(Address::output(2), 256, Duration::from_millis(1)));
    iso.push(Endpoint::isochronous(Address::input(2), 256, Duration::from_millis(1)));
    let alternates = [bulk, iso].map(|endpoints| Alternate { endpoints, ..Alternate::default() }).to_vec();
    description.configurations = vec![Configuration {
        self_powered: true,
        remote_wakeup: true,
        interfaces: vec![Interface { alternates }],
        ..Configuration::default()
    }];
    Device::new(description, Pipe::default()).unwrap()
}

/// `bmRequestType`, `bRequest`, `wValue`, `wIndex`, `wLength`.
type Request = (u8, u8, u16, u16, u16);

/// One control transfer.
fn control(device: &mut Device, request: Request) -> (Status, Vec<u8>) {
    let (request_type, request, value, index, length) = request;
    let setup = Setup { request_type, request, value, index, length };
    let data = if setup.direction() == Direction::Out { vec![0; usize::from(length)] } else { Vec::new() };
    device.submit(NOW, Urb::control(99, setup, data));
    let urb = std::iter::from_fn(|| device.poll_complete()).find(|urb| urb.id == 99).unwrap();
    (urb.status, urb.data)
}

fn configured() -> Device {
    let mut device = device(Speed::High);
    assert_eq!(control(&mut device, (0x00, 9, 1, 0, 0)).0, Status::Ok);
    device
}

#[test]
fn a_status_stage_carries_nothing() {
    let mut device = configured();
    for request in [0, 1] {
        for request_type in [0x00, 0x40] {
            let urb = Urb { setup: Setup { request_type, request, ..Setup::default() }, ..Urb::input(1, 0, 0) };
            device.submit(NOW, urb);
            let urb = device.poll_complete().unwrap();
            assert_eq!((urb.actual, urb.data), (0, vec![]), "request {request} of type {request_type:#04x}");
        }
    }
}

#[test]
fn standard_requests() {
    let mut device = configured();
    let table: [(Request, Option<&[u8]>); 24] = [
        ((0x80, 0, 0, 0, 2), Some(&[1, 0])),
        ((0x00, 3, 1, 0, 0), Some(&[])),
        ((0x80, 0, 0, 0, 2), Some(&[3, 0])),
        ((0x00, 1, 1, 0, 0), Some(&[])),
        ((0x80, 0, 0, 0, 2), Some(&[1, 0])),
        ((0x00, 3, 2, 0, 0), None),
        ((0x81, 0, 0, 0, 2), Some(&[0, 0])),
        ((0x81, 0, 0, 1, 2), None),
        ((0x82, 0, 0, 0, 2), Some(&[0, 0])),
        ((0x82, 0, 0, 0x81, 2), Some(&[0, 0])),
        ((0x82, 0, 0, 0x82, 2), None),
        ((0x80, 8, 0, 0, 1), Some(&[1])),
        ((0x81, 10, 0, 0, 1), Some(&[0])),
        ((0x01, 11, 1, 0, 0), Some(&[])),
        ((0x81, 10, 0, 0, 1), Some(&[1])),
        ((0x82, 0, 0, 0x82, 2), Some(&[0, 0])),
        ((0x82, 12, 0, 0x82, 2), Some(&[0xe8, 3])),
        ((0x01, 11, 2, 0, 0), None),
        ((0x00, 9, 2, 0, 0), None),
        ((0x80, 6, 0x0100, 0, 8), Some(&[18, 1, 0, 2, 0, 0, 0, 64])),
        ((0x80, 6, 0x0400, 0, 9), None),
        ((0x80, 6, 0x0200, 0, 4), Some(&[9, 2, 69, 0])),
        ((0x00, 48, 0, 0, 6), None),
        ((0x00, 5, 9, 0, 0), Some(&[])),
    ];
    for (request, expected) in table {
        let (status, data) = control(&mut device, request);
        match expected {
            Some(bytes) => assert_eq!((status, &data[..]), (Status::Ok, bytes), "{request:02x?}"),
            None => assert_eq!(
                (status, data.len()),
                (Status::Stall, usize::from(request.4 * u16::from(request.0 < 0x80))),
                "{request:02x?}"
            ),
        }
    }
}

#[test]
fn superspeed_requests() {
    let mut device = device(Speed::Super);
    assert_eq!(control(&mut device, (0x00, 49, 40, 0, 0)).0, Status::Ok);
    assert_eq!(control(&mut device, (0x00, 48, 0, 0, 6)).0, Status::Ok);
    assert_eq!(control(&mut device, (0x00, 3, 48, 0, 0)).0, Status::Stall, "U1 needs a configuration");
    control(&mut device, (0x00, 9, 1, 0, 0));
    assert_eq!(control(&mut device, (0x00, 3, 48, 0, 0)).0, Status::Ok);
    assert_eq!(control(&mut device, (0x80, 0, 0, 0, 2)).1, [5, 0]);
}

#[test]
fn replies_are_cut_to_what_was_asked() {
    let mut device = configured();
    assert_eq!(control(&mut device, (0xc0, 1, 0, 0, 40)).1.len(), 40);
    assert_eq!(control(&mut device, (0xc0, 1, 0, 0, 400)).1.len(), 100);
    assert_eq!(control(&mut device, (0xc0, 9, 0, 0, 4)), (Status::Stall, vec![]));
    let setup = Setup { request_type: 0xc0, request: 1, length: 400, ..Setup::default() };
    device.submit(NOW, Urb { short_not_ok: true, ..Urb::control(1, setup, vec![]) });
    let urb = device.poll_complete().unwrap();
    assert_eq!((urb.status, urb.actual), (Status::Short, 100));
}

#[test]
fn input_without_data_waits() {
    let mut device = configured();
    device.submit(NOW, Urb::input(1, 1, 8));
    device.submit(NOW, Urb::input(2, 1, 8));
    assert_eq!(device.poll_complete(), None);
    device.with_function(NOW, |pipe: &mut Pipe| pipe.give.push_back(vec![5; 3]));
    let urb = device.poll_complete().unwrap();
    assert_eq!((urb.id, urb.status, urb.actual, &urb.data[..]), (1, Status::Ok, 3, &[5, 5, 5][..]));
    assert_eq!(device.cancel(2).unwrap().id, 2);
    assert_eq!(device.cancel(2), None);
    device.with_function(NOW, |pipe: &mut Pipe| pipe.give.push_back(vec![6; 3]));
    assert_eq!(device.poll_complete(), None);
    device.submit(NOW, Urb::input(3, 1, 2));
    let urb = device.poll_complete().unwrap();
    assert_eq!((urb.status, urb.actual), (Status::Babble, 2));
}

#[test]
fn output_is_taken_piece_by_piece_and_in_order() {
    let mut device = configured();
    device.submit(NOW, Urb::output(1, 1, vec![1, 2, 3]));
    device.submit(NOW, Urb::output(2, 1, vec![4]));
    for room in [1, 1] {
        device.with_function(NOW, |pipe: &mut Pipe| pipe.room = room);
        assert_eq!(device.poll_complete(), None);
    }
    device.with_function(NOW, |pipe: &mut Pipe| pipe.room = 9);
    assert_eq!(device.poll_complete().map(|urb| (urb.id, urb.actual)), Some((1, 3)));
    assert_eq!(device.poll_complete().map(|urb| (urb.id, urb.actual)), Some((2, 1)));
    assert_eq!(device.function::<Pipe>().unwrap().taken, [1, 2, 3, 4]);
    device.submit(NOW, Urb::output(3, 1, vec![]));
    assert_eq!(device.poll_complete().map(|urb| urb.id), Some(3), "a zero-length packet");
}

#[test]
fn halts() {
    let mut device = configured();
    device.submit(NOW, Urb::input(1, 1, 8));
    assert_eq!(control(&mut device, (0x02, 3, 0, 0x81, 0)).0, Status::Ok, "find() also drained URB 1");
    assert_eq!(control(&mut device, (0x82, 0, 0, 0x81, 2)).1, [1, 0]);
    for _ in 0..2 {
        device.submit(NOW, Urb::input(2, 1, 8));
        assert_eq!(device.poll_complete().map(|urb| urb.status), Some(Status::Stall));
    }
    control(&mut device, (0x02, 1, 0, 0x81, 0));
    assert_eq!(device.function::<Pipe>().unwrap().cleared, [Address::input(1)]);
    device.submit(NOW, Urb::input(3, 1, 8));
    assert_eq!(device.poll_complete(), None);
    device.submit(NOW, Urb::input(4, 1, 8));
    device.with_function(NOW, |pipe: &mut Pipe| pipe.stall = true);
    let ends: Vec<_> = std::iter::from_fn(|| device.poll_complete()).map(|urb| (urb.id, urb.status)).collect();
    assert_eq!(ends, [(3, Status::Stall), (4, Status::Stall)]);
    assert_eq!(device.is_halted(Address::input(1)), Some(true));
}

#[test]
fn a_configuration_is_a_full_reset() {
    let mut device = configured();
    control(&mut device, (0x01, 11, 1, 0, 0));
    control(&mut device, (0x02, 3, 0, 0x01, 0));
    device.submit(NOW, Urb::input(1, 1, 8));
    let setup = Setup { request: 9, value: 1, ..Setup::default() };
    device.submit(NOW, Urb::control(2, setup, vec![]));
    let ends: Vec<_> = std::iter::from_fn(|| device.poll_complete()).map(|urb| (urb.id, urb.status)).collect();
    assert_eq!(ends, [(1, Status::Shutdown), (2, Status::Ok)]);
    assert_eq!(device.is_halted(Address::output(1)), Some(false));
    assert_eq!(control(&mut device, (0x81, 10, 0, 0, 1)).1, [0]);
    assert_eq!(device.function::<Pipe>().unwrap().resets, 2);
}

#[test]
fn a_port_reset_keeps_the_configuration() {
    let mut device = configured();
    control(&mut device, (0x02, 3, 0, 0x01, 0));
    device.submit(NOW, Urb::input(1, 1, 8));
    assert_eq!(control(&mut device, (0x23, 3, 4, 0, 0)).0, Status::Ok);
    assert_eq!((device.configuration(), device.is_halted(Address::output(1))), (1, Some(false)));
    assert_eq!(device.function::<Pipe>().unwrap().resets, 2);
}

#[test]
fn detaching_forgets_everything() {
    let mut device = configured();
    let setup = Setup { request_type: 0xc0, request: 2, length: 4, ..Setup::default() };
    device.submit(NOW, Urb::control(1, setup, vec![]));
    device.submit(NOW, Urb::input(2, 1, 8));
    device.detach();
    assert_eq!((device.poll_complete(), device.cancel(1), device.cancel(2)), (None, None, None));
    assert_eq!(device.configuration(), 0);
    device.submit(NOW, Urb::input(3, 1, 8));
    assert_eq!(device.poll_complete().map(|urb| urb.status), Some(Status::Stall));
}

#[test]
fn isochronous_packets_are_paced_and_compacted() {
    let mut device = configured();
    control(&mut device, (0x01, 11, 1, 0, 0));
    device.with_function(NOW, |pipe: &mut Pipe| pipe.give.extend([vec![1; 2], vec![2; 300]]));
    let packet = |offset| IsoPacket { offset, length: 256, ..IsoPacket::default() };
    let packets = vec![packet(0), packet(256), packet(512)];
    for id in [1, 2] {
        device.submit(NOW, Urb { packets: packets.clone(), ..Urb::input(id, 2, 768) });
    }
    assert_eq!(device.poll_complete(), None);
    assert_eq!(device.poll_timeout(), Some(NOW + Duration::from_millis(3)));
    device.handle_timeout(NOW + Duration::from_millis(3));
    let urb = device.poll_complete().unwrap();
    assert_eq!(urb.packets.iter().map(|packet| packet.actual).collect::<Vec<_>>(), [2, 256, 0]);
    assert_eq!((urb.actual, urb.data.len(), urb.errors(), urb.start_frame), (258, 258, 1, 1000));
    assert_eq!(device.poll_timeout(), Some(NOW + Duration::from_millis(6)));
    device.handle_timeout(NOW + Duration::from_millis(7));
    assert_eq!(device.poll_complete().map(|urb| urb.actual), Some(0));
    let packets = vec![IsoPacket { offset: 2, length: 2, ..IsoPacket::default() }];
    device.with_function(NOW, |pipe: &mut Pipe| pipe.room = 100);
    device.submit(NOW, Urb { packets, ..Urb::output(3, 2, vec![1, 2, 3, 4]) });
    device.handle_timeout(NOW + Duration::from_secs(1));
    assert_eq!(device.poll_complete().map(|urb| (urb.id, urb.actual)), Some((3, 2)));
    assert_eq!(device.function::<Pipe>().unwrap().taken, [3, 4]);
}

#[test]
fn a_function_sees_every_request_for_a_descriptor() {
    let mut device = device(Speed::High);
    let mut get = |request_type, value, index| {
        let setup = Setup { request_type, request: 6, value, index, length: 255 };
        device.submit(NOW, Urb::control(1, setup, vec![]));
        let urb = device.poll_complete().unwrap();
        (urb.status, urb.data.len())
    };
    assert_eq!(get(0x80, 0x03ee, 0), (Status::Ok, 18), "Microsoft's OS string, which no description has");
    assert_eq!(get(0x80, 0x2100, 0), (Status::Ok, 3), "a class descriptor asked of the device");
    assert_eq!(get(0x80, 0x0100, 0), (Status::Ok, 18), "what it leaves to the core");
    assert_eq!(get(0x80, 0x03ef, 0x0407).0, Status::Stall);
    let asked = device.function::<Pipe>().unwrap().asked.clone();
    assert_eq!(asked, [(0x03ee, 0), (0x2100, 0), (0x0100, 0), (0x03ef, 0x0407)]);
}

/// What was taken back is not on the bus, so what comes next need not wait for it.
#[test]
fn the_intervals_of_transfers_that_were_taken_back_are_free() {
    let mut device = configured();
    control(&mut device, (0x01, 11, 1, 0, 0));
    let packets = vec![IsoPacket { length: 256, ..IsoPacket::default() }; 100];
    let submit =
        |device: &mut Device, id| device.submit(NOW, Urb { packets: packets.clone(), ..Urb::input(id, 2, 25_600) });
    let period = Duration::from_millis(100);
    (1..=3).for_each(|id| submit(&mut device, id));
    device.cancel(3).unwrap();
    submit(&mut device, 4);
    [1, 2].iter().for_each(|id| _ = device.cancel(*id).unwrap());
    assert_eq!(device.poll_timeout(), Some(NOW + period * 3), "in the place of the third");
    device.cancel(4).unwrap();
    submit(&mut device, 5);
    assert_eq!(device.poll_timeout(), Some(NOW + period), "as if there had been none");
}

/// Packets that lie over each other have the room of their buffer and no more.
#[test]
fn isochronous_packets_together_are_no_more_than_their_buffer() {
    let mut device = configured();
    control(&mut device, (0x01, 11, 1, 0, 0));
    device.with_function(NOW, |pipe: &mut Pipe| pipe.give.extend(vec![vec![7; 200]; 3]));
    let packets = vec![IsoPacket { length: 256, ..IsoPacket::default() }; 3];
    device.submit(NOW, Urb { packets, ..Urb::input(1, 2, 256) });
    device.handle_timeout(NOW + Duration::from_millis(3));
    let urb = device.poll_complete().unwrap();
    assert_eq!((urb.actual, urb.data.len()), (256, 256));
}
