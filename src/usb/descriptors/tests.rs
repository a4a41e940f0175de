//! The descriptors by example: the bytes that a host reads at each speed.

use super::*;
use crate::usb::{Address, Association, Interface};

/// A communication device with a notification endpoint, a bulk pair, and an isochronous setting.
fn device(speed: Speed) -> Description {
    let mut device = Description::new(0x2fe3, 0x0001).named("zbridge", "both", "0001");
    device.speed = speed;
    device.class = ClassCode::ASSOCIATION;
    let notify = Endpoint::interrupt(Address::input(1), 16, Duration::from_millis(16));
    let bulk = vec![Endpoint::bulk(Address::output(2)).with_burst(3), Endpoint::bulk(Address::input(2))];
    let mut both = bulk.clone();
    both.push(Endpoint::isochronous(Address::input(3), 1024, Duration::from_millis(1)).with_burst(1));
    let control = Alternate { class: ClassCode(2, 2, 0), endpoints: vec![notify], ..Alternate::default() };
    let control = Alternate { extra: vec![5, 0x24, 0, 0x10, 1], name: Some("both".into()), ..control };
    let data = |endpoints| Alternate { class: ClassCode(10, 0, 0), endpoints, ..Alternate::default() };
    device.configurations = vec![Configuration {
        self_powered: true,
        max_power: 100,
        associations: vec![Association { first: 0, count: 2, class: ClassCode(2, 2, 0), name: None }],
        interfaces: vec![Interface::new(control), Interface { alternates: vec![data(bulk), data(both)] }],
        ..Configuration::default()
    }];
    device
}

/// Splits a chain of descriptors.
fn chain(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(&length) = bytes.first() {
        let (one, rest) = bytes.split_at(usize::from(length));
        all.push(one);
        bytes = rest;
    }
    all
}

#[test]
fn high_speed_bytes() {
    let made = Descriptors::new(&device(Speed::High)).unwrap();
    let expected = [18, 1, 0, 2, 0xef, 2, 1, 64, 0xe3, 0x2f, 1, 0, 0, 1, 1, 2, 3, 1];
    assert_eq!(made.device(), &expected);
    let parts = chain(&made.configurations()[0]);
    let whole = made.configurations()[0].len() as u8;
    let expected: [&[u8]; 13] = [
        &[9, 2, whole, 0, 2, 1, 0, 0xc0, 50],
        &[8, 11, 0, 2, 2, 2, 0, 0],
        &[9, 4, 0, 0, 1, 2, 2, 0, 2],
        &[5, 0x24, 0, 0x10, 1],
        &[7, 5, 0x81, 3, 16, 0, 8],
        &[9, 4, 1, 0, 2, 10, 0, 0, 0],
        &[7, 5, 2, 2, 0, 2, 0],
        &[7, 5, 0x82, 2, 0, 2, 0],
        &[9, 4, 1, 1, 3, 10, 0, 0, 0],
        &[7, 5, 2, 2, 0, 2, 0],
        &[7, 5, 0x82, 2, 0, 2, 0],
        &[7, 5, 0x83, 1, 0, 4, 4],
        &[],
    ];
    assert_eq!(parts, expected[..12]);
    assert_eq!(made.get(kind::DEVICE_QUALIFIER, 0).unwrap(), [10, 6, 0, 2, 0xef, 2, 1, 64, 1, 0]);
    assert_eq!(made.get(kind::BOS, 0), None);
    assert_eq!(made.get(kind::STRING, 0).unwrap(), [4, 3, 9, 4]);
    assert_eq!(made.get(kind::STRING, 2).unwrap(), [10, 3, b'b', 0, b'o', 0, b't', 0, b'h', 0]);
    assert_eq!(made.get(kind::STRING, 4), None, "the interface shares the product's text");
}

#[test]
fn full_speed_is_the_other_speed_of_high() {
    let full = Descriptors::new(&device(Speed::Full)).unwrap();
    let high = Descriptors::new(&device(Speed::High)).unwrap();
    let (config, other) = (full.get(kind::CONFIGURATION, 0).unwrap(), high.get(kind::OTHER_SPEED, 0).unwrap());
    assert_eq!((config[1], other[1]), (2, 7));
    assert_eq!(config[2..], other[2..]);
    assert_eq!(chain(config)[4], [7, 5, 0x81, 3, 16, 0, 16], "milliseconds");
    assert_eq!(chain(config)[6], [7, 5, 2, 2, 64, 0, 0]);
    assert_eq!(chain(config)[11], [7, 5, 0x83, 1, 0xff, 3, 1], "1023 bytes, 2^0 frames");
    assert_eq!(full.get(kind::DEVICE_QUALIFIER, 0), None, "a full-speed device stalls this");
    assert_eq!(full.get(kind::OTHER_SPEED, 0), None);
}

#[test]
fn superspeed_has_companions_and_a_bos() {
    let made = Descriptors::new(&device(Speed::Super)).unwrap();
    assert_eq!(made.device()[2..4], [0, 3]);
    assert_eq!(made.device()[7], 9);
    let bos =
        [0x05, 0x0f, 0x16, 0x00, 0x02, 0x07, 0x10, 0x02, 0x02, 0, 0, 0, 0x0a, 0x10, 0x03, 0, 0x0e, 0, 1, 0x0a, 0xff, 7];
    assert_eq!(made.get(kind::BOS, 0).unwrap(), bos);
    let parts = chain(&made.configurations()[0]);
    assert_eq!(parts[0][8], 13, "units of 8 mA, rounded up");
    for pair in parts.windows(2).filter(|pair| pair[0][1] == kind::ENDPOINT) {
        assert_eq!(pair[1][..2], [6, kind::ENDPOINT_COMPANION]);
    }
    assert!(parts.contains(&&[6, 48, 3, 0, 0, 0][..]), "bulk burst");
    assert!(parts.contains(&&[6, 48, 1, 0, 0, 8][..]), "isochronous: 2048 bytes an interval");
    assert_eq!(made.get(kind::DEVICE_QUALIFIER, 0), None);
}

#[test]
fn a_capability_brings_a_bos_at_high_speed() {
    let mut device = device(Speed::High);
    device.capabilities = vec![vec![4, 0x10, 5, 0]];
    let made = Descriptors::new(&device).unwrap();
    assert_eq!(made.device()[2..4], [0x10, 2]);
    assert_eq!(made.get(kind::BOS, 0).unwrap(), [5, 15, 16, 0, 2, 7, 0x10, 2, 2, 0, 0, 0, 4, 0x10, 5, 0]);
}

#[test]
fn intervals_are_what_a_speed_can_say() {
    let endpoint = |micros| Endpoint::interrupt(Address::input(1), 8, Duration::from_micros(micros));
    assert_eq!(interval(&endpoint(10_000), Speed::Full), 10);
    assert_eq!(interval(&endpoint(10_000), Speed::High), 7, "8 ms is the longest below 10");
    assert_eq!(period(&endpoint(10_000), Speed::High), Duration::from_millis(8));
    assert_eq!(interval(&endpoint(125), Speed::Super), 1);
    assert_eq!(interval(&endpoint(3_600_000_000), Speed::High), 16);
    assert_eq!(interval(&endpoint(3_600_000_000), Speed::Full), 255);
}
