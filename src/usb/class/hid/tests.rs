//! The keyboard and the mouse by example: what lines of a script become on the wire.

use super::*;
use crate::usb::{Status, Urb};

const NOW: Instant = Instant::ZERO;

fn open(kind: Kind) -> Device {
    let mut device = Hid::device(&Identity::default(), kind).unwrap();
    control(&mut device, (0x00, 9, 1), 0, &[]);
    device
}

/// `bmRequestType`, `bRequest`, `wValue`.
fn control(device: &mut Device, request: (u8, u8, u16), length: u16, data: &[u8]) -> Urb {
    let (request_type, request, value) = request;
    let length = length.max(data.len() as u16);
    let setup = Setup { request_type, request, value, index: 0, length };
    device.submit(NOW, Urb::control(99, setup, data.to_vec()));
    std::iter::from_fn(|| device.poll_complete()).find(|urb| urb.id == 99).unwrap()
}

/// Whether the items of a report descriptor fit it, and the bits of its input reports (HID 1.11, 6.2.2).
fn input_bits(mut items: &[u8]) -> u32 {
    let (mut bits, mut size, mut count) = (0, 0, 0);
    while let [prefix, rest @ ..] = items {
        let length = [0, 1, 2, 4][usize::from(prefix & 3)];
        let value = rest[..length].first().copied().unwrap_or(0);
        match prefix & 0xfc {
            0x74 => size = u32::from(value),
            0x94 => count = u32::from(value),
            0x80 => bits += size * count,
            _ => {}
        }
        items = &rest[length..];
    }
    bits
}

#[test]
fn report_descriptors_describe_the_reports() {
    for kind in [Kind::Keyboard, Kind::Mouse] {
        let mut device = open(kind);
        let report = control(&mut device, (0x81, 6, 0x2200), 255, &[]).data;
        assert_eq!(report, kind.report_descriptor());
        assert_eq!(input_bits(&report) as usize, 8 * kind.report_length());
        let hid = control(&mut device, (0x81, 6, 0x2100), 255, &[]).data;
        assert_eq!(hid[6..9], [0x22, report.len() as u8, 0]);
        let config = &device.descriptors().configurations()[0];
        assert_eq!(config[18..27], hid[..], "and stands behind the interface");
    }
}

#[test]
fn a_line_is_typed_report_by_report() {
    let mut device = open(Kind::Keyboard);
    device.submit(NOW, Urb::input(1, 1, 8));
    assert_eq!(device.poll_complete(), None);
    device.with_function(NOW, |hid: &mut Hid| hid.script("type=A\n").unwrap());
    let shift = [2, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(device.poll_complete().unwrap().data, shift);
    for id in 2..=5 {
        device.submit(NOW, Urb::input(id, 1, 8));
    }
    let mut now = NOW;
    for report in [[2, 0, 4, 0, 0, 0, 0, 0], shift, [0; 8]] {
        assert_eq!(device.poll_complete(), None, "before its time");
        assert_eq!(device.poll_timeout(), Some(now + Duration::from_millis(8)));
        now += Duration::from_millis(8);
        device.handle_timeout(now);
        assert_eq!(device.poll_complete().unwrap().data, report);
    }
    assert_eq!(device.poll_complete(), None);
    device.handle_timeout(now + Duration::from_millis(8));
    assert_eq!(device.poll_timeout(), None, "nothing more is to come");
}

#[test]
fn lights_are_told() {
    let mut device = open(Kind::Keyboard);
    assert_eq!(control(&mut device, (0x21, 9, 0x0200), 0, &[2]).status, Status::Ok);
    let leds = device.with_function(NOW, Hid::poll_leds).unwrap().unwrap();
    assert!(leds.caps_lock() && !leds.num_lock() && !leds.scroll_lock());
    assert_eq!(device.with_function(NOW, Hid::poll_leds), Some(None));
    assert_eq!(control(&mut open(Kind::Mouse), (0x21, 9, 0x0200), 0, &[2]).status, Status::Stall);
}

#[test]
fn idle_repeats_the_last_report() {
    let mut device = open(Kind::Mouse);
    assert_eq!(control(&mut device, (0x21, 10, 0x0500), 0, &[]).status, Status::Ok);
    assert_eq!(control(&mut device, (0xa1, 2, 0), 1, &[]).data, [5]);
    device.submit(NOW, Urb::input(1, 1, 4));
    let then = device.poll_timeout().unwrap();
    assert_eq!(then, NOW + Duration::from_millis(20));
    device.handle_timeout(then);
    assert_eq!(device.poll_complete().unwrap().data, [0; 4]);
    let then = device.poll_timeout().unwrap();
    device.handle_timeout(then);
    assert_eq!(device.poll_timeout(), None, "nobody fetches it: no more timeouts");
    device.submit(then, Urb::input(2, 1, 4));
    assert!(device.poll_complete().is_some());
    assert!(device.poll_timeout().is_some());
}

#[test]
fn protocols_and_reports() {
    let mut device = open(Kind::Keyboard);
    assert_eq!(control(&mut device, (0xa1, 3, 0), 1, &[]).data, [1]);
    assert_eq!(control(&mut device, (0x21, 11, 0), 0, &[]).status, Status::Ok);
    assert_eq!(control(&mut device, (0xa1, 3, 0), 1, &[]).data, [0]);
    assert_eq!(control(&mut device, (0x21, 11, 2), 0, &[]).status, Status::Stall);
    assert_eq!(control(&mut device, (0xa1, 1, 0x0100), 8, &[]).data, [0; 8]);
}

#[test]
fn the_queue_has_a_bound() {
    let mut device = open(Kind::Mouse);
    device.with_function(NOW, |hid: &mut Hid| {
        for _ in 0..MAX_REPORTS / 2 {
            hid.script("click=left").unwrap();
        }
        assert_eq!(hid.script("press=left"), Err(ScriptError::Full));
        assert_eq!((hid.waiting(), hid.buttons), (MAX_REPORTS, 0));
    });
    // A line that is more than that alone is typed all the same.
    let mut device = open(Kind::Keyboard);
    device.with_function(NOW, |hid: &mut Hid| {
        hid.script(&format!("type={}", "a".repeat(MAX_REPORTS))).unwrap();
        assert_eq!(hid.waiting(), 2 * MAX_REPORTS);
        assert_eq!(hid.script("type=a"), Err(ScriptError::Full));
    });
}
