//! Lines of known frames, and of any bytes.

use super::super::pcapng::read::Blocks;
use super::super::pcapng::write::{self, Direction};
use super::*;
use proptest::prelude::*;

fn ether(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0x5e, 0, 0x53, 2, 2, 0, 0x5e, 0, 0x53, 1][..], &kind.to_be_bytes(), payload].concat()
}

fn line(frame: &[u8]) -> String {
    let mut out = String::new();
    describe(LinkType::ETHERNET, frame, frame.len() as u32, &mut out);
    out
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let header = [0x45, 0, high, low, 0, 7, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    ether(0x0800, &[&header, payload].concat())
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    ipv4(17, &[&[0xc0, 0][..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat())
}

#[test]
fn known_frames() {
    let arp = ether(
        0x0806,
        &[&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0x5e, 0, 0x53, 1, 192, 0, 2, 1][..], &[0; 6], &[192, 0, 2, 2]].concat(),
    );
    assert_eq!(line(&arp), "ARP, Request who-has 192.0.2.2 tell 192.0.2.1");
    let tcp = [&[0xc0, 0, 0, 80, 0, 0, 0, 9, 0, 0, 0, 3, 0x50, 0x18, 1, 0, 0, 0, 0, 0][..], b"GET"].concat();
    assert_eq!(
        line(&ipv4(6, &tcp)),
        "IP 192.0.2.1.49152 > 192.0.2.2.80: Flags [P.], seq 9:12, ack 3, win 256, length 3"
    );
    assert_eq!(line(&udp(9, &[1; 5])), "IP 192.0.2.1.49152 > 192.0.2.2.9: UDP, length 5");
    let ping = [8, 0, 0, 0, 0, 7, 0, 2, 1, 1];
    assert_eq!(line(&ipv4(1, &ping)), "IP 192.0.2.1 > 192.0.2.2: ICMP echo request, id 7, seq 2, length 10");
    let query = [&[0, 17, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7][..], b"example\x03or\x1b\0", &[0, 1, 0, 1]].concat();
    assert_eq!(line(&udp(53, &query)), "IP 192.0.2.1.49152 > 192.0.2.2.53: 17+ A? example.or\\x1b. (29)");
    let answer = [
        &[0, 17, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1][..],
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9],
    ]
    .concat();
    assert_eq!(line(&udp(53, &answer)), "IP 192.0.2.1.49152 > 192.0.2.2.53: 17 1/0/0 A 192.0.2.9 (35)");
    let coap = [&[0x40, 1, 0, 5, 0xb4][..], b"test"].concat();
    assert_eq!(line(&udp(5683, &coap)), "IP 192.0.2.1.49152 > 192.0.2.2.5683: CoAP CON GET /test, id 5, length 9");
    let target = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[2]].concat();
    let six =
        [&[0x60, 0, 0, 0, 0, 24, 58, 255][..], &[0xfe, 0x80], &[0; 13], &[1], &[0xff, 2], &[0; 13], &[2], &target]
            .concat();
    let solicits = "IP6 fe80::1 > ff02::2: ICMP6, neighbor solicitation, who has 2001:db8::2, length 24";
    assert_eq!(line(&ether(0x86dd, &six)), solicits);
    let plain = ipv4(1, &ping);
    let tagged = [&plain[..12], &[0x81, 0, 0, 100], &plain[12..]].concat();
    assert!(line(&tagged).starts_with("vlan 100, IP 192.0.2.1 > "));
    assert_eq!(line(&plain[..30]), "IP  [cut short]");
    assert_eq!(line(&ether(0x88cc, &[0; 4])), "02:00:5e:00:53:01 > 02:00:5e:00:53:02, ethertype 0x88cc, length 18");
}

#[test]
fn a_frame_of_nothing_but_tags_is_a_line_of_bounded_length() {
    let said = line(&ether(0x8100, &[0, 7, 0x81, 0].repeat(2000)));
    assert!(said.starts_with("vlan 7, vlan 7, ") && said.ends_with("… [cut short]"), "{said}");
    assert!(said.len() < 1100, "{}", said.len());
}

#[test]
fn a_usb_transfer() {
    let mut urb = [0; 64];
    (urb[8], urb[9], urb[10], urb[11], urb[12]) = (b'S', 2, 0x80, 2, 1);
    urb[32] = 18;
    urb[40..48].copy_from_slice(&[0x80, 6, 0, 1, 0, 0, 18, 0]);
    let line = |urb: &[u8]| {
        let mut out = String::new();
        describe(LinkType::USB, urb, urb.len() as u32, &mut out);
        out
    };
    assert_eq!(line(&urb), "USB 1.2.0 control IN, request 0x80 0x06 0x0100 0x0000, length 18");
    (urb[8], urb[9], urb[10], urb[14]) = (b'C', 3, 2, b'-');
    urb[28..32].copy_from_slice(&(-32i32).to_le_bytes());
    assert_eq!(line(&urb), "USB 1.2.2 bulk OUT done, status -32 (stall), length 18");
}

#[test]
fn a_radio_frame() {
    let frame = [&[0, 0, 4, 0][..], &[0x61, 0x88, 5, 0xcd, 0xab, 1, 0, 2, 0, 9, 9]].concat();
    let mut out = String::new();
    describe(LinkType::IEEE802_15_4_TAP, &frame, frame.len() as u32, &mut out);
    assert_eq!(out, "802.15.4 data 5, PAN abcd, 0002 > 0001, length 11");
}

#[test]
fn a_line_has_its_port_and_the_reason_of_a_drop() {
    let (mut file, frame) = (Vec::new(), udp(9, &[1; 5]));
    write::section(&mut file, "test");
    for name in ["a", "inst1"] {
        let (link, snap) = (LinkType::ETHERNET, 0);
        write::interface(&mut file, &write::Interface { link, snap, name, description: "", speed: None });
    }
    let packet = write::Packet {
        interface: 1,
        at: 5,
        head: &[],
        bytes: &frame,
        len: frame.len() as u32,
        direction: Direction::Out,
        comment: Some("dropped: no-peer: nobody was at the other end"),
        id: 0,
        lost: 3,
    };
    write::packet(&mut file, &packet);
    write::packet(
        &mut file,
        &write::Packet { interface: 0, direction: Direction::In, comment: None, lost: 0, ..packet },
    );
    let (mut blocks, mut lines, mut out) = (Blocks::default(), Lines::new(), String::new());
    blocks.push(&file);
    while let Some(block) = blocks.next_block().unwrap() {
        lines.push(&block, |nanos| format!("{nanos}ns"), &mut out);
    }
    let said = "IP 192.0.2.1.49152 > 192.0.2.2.9: UDP, length 5";
    let wanted = format!(
        "5ns 3 frames were missed by the capture\n5ns inst1 out {said}  [dropped: no-peer]\n5ns a     in  {said}\n"
    );
    assert_eq!(out, wanted);
}

proptest! {
    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..120), link in prop::sample::select(&[1u16, 101, 220, 283][..]),
                       kind in prop::sample::select(&[0x0800u16, 0x86dd, 0x0806, 0x8100][..]), port: u16) {
        let mut out = String::new();
        describe(LinkType(link), &bytes, bytes.len() as u32, &mut out);
        let _ = line(&ether(kind, &bytes));
        for port in [53, 67, 5683, 547, 69, port] {
            let said = line(&udp(port, &bytes));
            prop_assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
}
