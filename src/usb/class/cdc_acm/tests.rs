//! The serial port by example: line states, back-pressure, and what a reset takes away.

use super::*;
use crate::usb::{Status, Urb};

const NOW: Instant = Instant::from_secs(5);

fn open(echo: bool) -> Device {
    let mut device = CdcAcm::device(&Identity::default(), echo).unwrap();
    control(&mut device, (0x00, 9, 1), &[]);
    device
}

/// A request to interface 0: `bmRequestType`, `bRequest`, `wValue`. IN requests ask for 7 bytes.
fn control(device: &mut Device, (request_type, request, value): (u8, u8, u16), data: &[u8]) -> Urb {
    let length = if request_type < 0x80 { data.len() as u16 } else { 7 };
    let setup = Setup { request_type, request, value, index: 0, length };
    device.submit(NOW, Urb::control(99, setup, data.to_vec()));
    std::iter::from_fn(|| device.poll_complete()).find(|urb| urb.id == 99).unwrap()
}

fn backend<R>(device: &mut Device, act: impl FnOnce(&mut CdcAcm) -> R) -> R {
    device.with_function(NOW, act).unwrap()
}

#[test]
fn shows_itself_as_zephyr_does() {
    let device = open(true);
    assert_eq!(device.descriptors().device()[4..12], [0xef, 2, 1, 64, 0xe3, 0x2f, 1, 0]);
    let config = &device.descriptors().configurations()[0];
    assert_eq!(config[9..17], [8, 11, 0, 2, 2, 2, 0, 0]);
    assert_eq!(config[17..26], [9, 4, 0, 0, 1, 2, 2, 0, 0]);
    assert_eq!(config[26..45], [5, 36, 0, 16, 1, 5, 36, 1, 0, 1, 4, 36, 2, 6, 5, 36, 6, 0, 1]);
    assert_eq!(config[52..61], [9, 4, 1, 0, 2, 10, 0, 0, 0]);
}

#[test]
fn line_coding_and_lines() {
    let mut device = open(true);
    let coding = [0x00, 0xc2, 0x01, 0x00, 0, 0, 8];
    assert_eq!(control(&mut device, (0xa1, 0x21, 0), &[]).data, coding, "115200 8N1");
    let new = [0x80, 0x25, 0, 0, 2, 2, 7];
    assert_eq!(control(&mut device, (0x21, 0x20, 0), &new).status, Status::Ok);
    assert_eq!(control(&mut device, (0xa1, 0x21, 0), &[]).data, new);
    assert_eq!(control(&mut device, (0x21, 0x20, 0), &new[..6]).status, Status::Stall);
    assert_eq!(control(&mut device, (0x21, 0x20, 0), &[0, 0, 0, 0, 3, 0, 8]).status, Status::Stall);
    assert_eq!(control(&mut device, (0x21, 0x22, 3), &[]).status, Status::Ok);
    let coding = LineCoding { rate: 9600, stop: 2, parity: 2, bits: 7 };
    let line = Line { coding, dtr: true, rts: true, breaking: false };
    assert_eq!(backend(&mut device, CdcAcm::poll_line), Some(line));
    assert_eq!(line.to_string(), "9600 7E2, DTR on, RTS on");
    assert_eq!(backend(&mut device, CdcAcm::poll_line), None);
    assert_eq!(control(&mut device, (0x21, 0x55, 0), &[]).status, Status::Stall);
}

#[test]
fn a_timed_break_ends() {
    let mut device = open(true);
    control(&mut device, (0x21, 0x23, 250), &[]);
    assert!(backend(&mut device, CdcAcm::poll_line).unwrap().breaking);
    let end = NOW + Duration::from_millis(250);
    assert_eq!(device.poll_timeout(), Some(end));
    device.handle_timeout(end);
    assert!(!backend(&mut device, CdcAcm::poll_line).unwrap().breaking);
    control(&mut device, (0x21, 0x23, 0xffff), &[]);
    assert_eq!(device.poll_timeout(), None);
    assert!(backend(&mut device, CdcAcm::poll_line).unwrap().breaking);
    control(&mut device, (0x21, 0x23, 0), &[]);
    assert!(!backend(&mut device, CdcAcm::poll_line).unwrap().breaking);
}

#[test]
fn serial_state_is_notified_on_change_and_on_open() {
    let mut device = open(false);
    device.submit(NOW, Urb::input(1, 1, 16));
    assert_eq!(device.poll_complete(), None);
    backend(&mut device, |acm| acm.set_serial_state(serial_state::RX_CARRIER | serial_state::BREAK));
    assert_eq!(device.poll_complete().unwrap().data, [0xa1, 0x20, 0, 0, 0, 0, 2, 0, 5, 0]);
    device.submit(NOW, Urb::input(2, 1, 16));
    assert_eq!(device.poll_complete(), None);
    let setup = Setup { request_type: 0x21, request: 0x22, value: 1, ..Setup::default() };
    device.submit(NOW, Urb::control(3, setup, vec![]));
    let ends: Vec<_> = std::iter::from_fn(|| device.poll_complete()).map(|urb| (urb.id, urb.data)).collect();
    assert_eq!(ends, [(3, vec![])], "the interval of the endpoint is not over");
    device.handle_timeout(NOW + Duration::from_millis(8));
    let end = device.poll_complete().map(|urb| (urb.id, urb.data));
    assert_eq!(end, Some((2, vec![0xa1, 0x20, 0, 0, 0, 0, 2, 0, 1, 0])), "the break was an event");
}

#[test]
fn a_slow_back_end_holds_the_host() {
    let mut device = open(false);
    let sent: Vec<u8> = (0..=255).cycle().take(QUEUE_CAPACITY + 10_240).collect();
    for (id, part) in sent.chunks(10_240).enumerate() {
        device.submit(NOW, Urb::output(id as u32, 1, part.to_vec()));
    }
    let done = std::iter::from_fn(|| device.poll_complete()).count();
    assert_eq!(done, QUEUE_CAPACITY / 10_240);
    let mut received: Vec<u8> = Vec::new();
    while !backend(&mut device, |acm| acm.poll_backend().is_empty()) {
        let part = backend(&mut device, |acm| acm.poll_backend().iter().take(777).copied().collect::<Vec<_>>());
        received.extend(&part);
        backend(&mut device, |acm| acm.backend_took(part.len()));
    }
    assert!(received == sent);
}

#[test]
fn a_slow_host_holds_the_back_end() {
    let mut device = open(false);
    let sent: Vec<u8> = (0..=255).cycle().take(3 * QUEUE_CAPACITY).collect();
    let (mut offered, mut received) = (0, Vec::<u8>::new());
    for id in 0.. {
        offered += backend(&mut device, |acm| acm.handle_backend(&sent[offered..]));
        assert!(offered - received.len() <= QUEUE_CAPACITY);
        device.submit(NOW, Urb::input(id, 2, 1024));
        match device.poll_complete() {
            Some(urb) => received.extend(urb.data),
            None => break,
        }
    }
    assert!(received == sent);
}

#[test]
fn echo_needs_no_back_end_and_a_reset_forgets_it() {
    let mut device = open(true);
    device.submit(NOW, Urb::output(1, 1, b"hello".to_vec()));
    device.submit(NOW, Urb::input(2, 2, 3));
    let ends: Vec<_> = std::iter::from_fn(|| device.poll_complete()).map(|urb| urb.data).collect();
    assert_eq!(ends[1], b"hel");
    control(&mut device, (0x00, 9, 1), &[]);
    device.submit(NOW, Urb::input(3, 2, 3));
    assert_eq!(device.poll_complete(), None);
}

#[test]
fn bytes_of_the_host_survive_its_leaving() {
    let mut device = open(false);
    device.submit(NOW, Urb::output(1, 1, b"last words".to_vec()));
    device.detach();
    assert_eq!(backend(&mut device, |acm| acm.poll_backend().to_vec()), b"last words");
}
