//! Filters, beside tcpdump's answer on the same frames: those that people write, and some made by chance.

use std::io::Write;
use std::process::Command;
use support::{TempDir, needs, require};
use zbridge::internals::capture::{Filter, Seen};

const MACS: [[u8; 6]; 2] = [[2, 0, 0x5e, 0, 0x53, 1], [2, 0, 0x5e, 0, 0x53, 2]];
const BROADCAST: [u8; 6] = [0xff; 6];

fn ether(dst: [u8; 6], tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&dst[..], &MACS[0]].concat();
    for tag in tags {
        frame.extend([[0x81, 0], tag.to_be_bytes()].concat());
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    // As on a wire, so that no question runs past the end.
    frame.resize(frame.len().max(120), 0);
    frame
}

fn ipv4(protocol: u8, place: u16, dst: [u8; 4], options: usize, payload: &[u8]) -> Vec<u8> {
    let length = (20 + options + payload.len()) as u16;
    let first = 0x45 + (options / 4) as u8;
    let head = [&[first, 0][..], &length.to_be_bytes(), &[0, 9], &place.to_be_bytes(), &[64, protocol, 0, 0]].concat();
    [&head[..], &[192, 0, 2, 1], &dst, &vec![1; options], payload].concat()
}

fn ipv6(next: u8, dst: u8, payload: &[u8]) -> Vec<u8> {
    let head = [&[0x60, 0, 0, 0][..], &(payload.len() as u16).to_be_bytes(), &[next, 64]].concat();
    let src = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut to = src;
    (to[0], to[15]) = (dst, 2);
    [&head[..], &src, &to, payload].concat()
}

fn ports(src: u16, dst: u16) -> Vec<u8> {
    [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2], &[0; 30]].concat()
}

/// Frames of every kind that a filter tells apart.
fn frames() -> Vec<Vec<u8>> {
    let [near, far, group] = [[192, 0, 2, 2], [198, 51, 100, 7], [224, 0, 0, 251]];
    let mut found = Vec::new();
    let carried =
        [(6, ports(1000, 80)), (17, ports(53, 1000)), (132, ports(7, 5683)), (1, vec![8; 30]), (2, vec![0x11; 8])];
    for (protocol, payload) in &carried {
        for (dst, place, options) in [(near, 0, 0), (far, 0, 8), (near, 0x2000, 0), (far, 0x2005, 4), (group, 0, 0)] {
            let packet = ipv4(*protocol, place, dst, options, payload);
            found.push(ether(MACS[1], &[], 0x0800, &packet));
            found.push(ether(MACS[1], &[100], 0x0800, &packet));
        }
    }
    for (next, payload) in
        [(6, ports(22, 80)), (17, ports(5683, 53)), (58, vec![135; 24]), (58, vec![128; 24]), (0, vec![58; 24])]
    {
        found.push(ether(MACS[1], &[], 0x86dd, &ipv6(next, 0x20, &payload)));
        found.push(ether(BROADCAST, &[7, 100], 0x86dd, &ipv6(next, 0xff, &payload)));
        let piece = [&[next, 0, 0, 1, 0, 0, 0, 9][..], &payload].concat();
        found.push(ether(MACS[1], &[], 0x86dd, &ipv6(44, 0x20, &piece)));
    }
    let arp = |target: [u8; 4]| [&[0, 1, 8, 0, 6, 4, 0, 1][..], &MACS[0], &[192, 0, 2, 1], &[0; 6], &target].concat();
    found.push(ether(BROADCAST, &[], 0x0806, &arp(near)));
    found.push(ether(MACS[1], &[100], 0x0806, &arp(far)));
    found.push(ether(MACS[1], &[], 0x8035, &arp(far)));
    found.push(ether([1, 0x80, 0xc2, 0, 0, 0], &[], 0x88cc, &[0; 50]));
    found
}

/// A classic pcap file in which a frame's time is its number.
fn file(dir: &TempDir, frames: &[Vec<u8>]) -> String {
    let mut bytes: Vec<u8> =
        [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
    for (number, frame) in frames.iter().enumerate() {
        let length = frame.len() as u32;
        bytes.extend([number as u32, 0, length, length].iter().flat_map(|word| word.to_le_bytes()));
        bytes.write_all(frame).unwrap();
    }
    dir.file("frames.pcap", bytes);
    dir.text("frames.pcap")
}

/// The numbers of the frames that tcpdump shows; `None`: it refuses the filter.
fn by_tcpdump(file: &str, filter: &str) -> Option<Vec<usize>> {
    let shown = Command::new("tcpdump").args(["-r", file, "-tt", "-n", "-q", "--", filter]).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let numbers = text.lines().filter_map(|line| line.split_once('.')?.0.parse().ok()).collect();
    shown.status.success().then_some(numbers)
}

fn by_us(frames: &[Vec<u8>], filter: &str) -> Vec<usize> {
    let filter = Filter::parse(filter).unwrap_or_else(|error| panic!("{error}")).expect("words");
    let seen =
        |bytes| Seen { port: "a", incoming: true, reason: None, bytes, len: 120.max(len(bytes)), ethernet: true };
    (0..frames.len()).filter(|&number| filter.takes(&seen(&frames[number]))).collect()
}

fn len(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

const WRITTEN: &[&str] = &[
    "arp",
    "ip",
    "ip6",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "not arp",
    "udp port 53",
    "port domain",
    "tcp port 80 or udp port 53",
    "host 192.0.2.2",
    "src host 192.0.2.1",
    "dst host 198.51.100.7",
    "arp host 198.51.100.7",
    "ip host 192.0.2.2",
    "net 198.51.100.0/24",
    "net 192.0.2",
    "dst net 198.51.100.0 mask 255.255.255.0",
    "portrange 50-100",
    "udp portrange 1000-2000",
    "src port 1000",
    "dst port 5683",
    "ether host 02:00:5e:00:53:02",
    "ether dst 02:00:5e:00:53:02",
    "ether proto 0x88cc",
    "ether proto 0x86dd",
    "ip proto 6",
    "ip6 proto 58",
    "proto 17",
    "broadcast",
    "multicast",
    "ether multicast",
    "ip multicast",
    "ip6 multicast",
    "vlan",
    "vlan 100",
    "vlan 7 and vlan 100",
    "vlan and ip",
    "vlan 100 and arp",
    "vlan 100 and udp port 53",
    "vlan 7 and vlan 100 and icmp6",
    "less 120",
    "greater 121",
    "len > 120",
    "tcp[13] & 2 != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "icmp[icmptype] = icmp-echo",
    "ip[8] < 65",
    "ip[6:2] & 0x1fff = 0",
    "ether[12:2] = 0x800",
    "icmp6[icmp6type] = 135",
    "udp[0:2] = 53",
    "port 80 or 53",
    "host 192.0.2.2 and not port 80",
    "tcp or udp and ip6",
    "not (tcp or udp)",
    "src or dst port 53",
    "src and dst net 192.0.2.0/24",
    "ip6 net 2001:db8::/32",
    "host 2001:db8::2",
    "src 192.0.2.1",
    "dst net 224.0.0.0/4",
    "! arp && ! ip6",
    "not tcp and not udp",
    "tcp src port 1000",
    "ip and not ip multicast and port 53",
    "arp or vlan and arp",
    "sctp port 5683",
    "len - 100 > 20",
    "ip[2:2] = len - 14",
];

#[test]
fn filters_are_tcpdumps() {
    require!(needs::tool("tcpdump", "tcpdump"));
    let (dir, frames) = (TempDir::new(), frames());
    let file = file(&dir, &frames);
    for filter in WRITTEN {
        let theirs = by_tcpdump(&file, filter).unwrap_or_else(|| panic!("tcpdump refuses {filter}"));
        assert_eq!(by_us(&frames, filter), theirs, "{filter}");
    }
}

#[test]
fn filters_made_by_chance_are_tcpdumps() {
    require!(needs::tool("tcpdump", "tcpdump"));
    let (dir, frames) = (TempDir::new(), frames());
    let file = file(&dir, &frames);
    let mut state = 0x9e37_79b9_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut compared = 0;
    for _ in 0..250 {
        let mut text = String::new();
        for term in 0..=next(4) {
            if term > 0 {
                text.push_str([" and ", " or ", " && ", " || "][next(4)]);
            }
            if next(3) == 0 {
                text.push_str(["not ", "! "][next(2)]);
            }
            let primitive = WRITTEN[next(WRITTEN.len())];
            let plain = if next(2) == 0 { primitive.to_owned() } else { format!("({primitive})") };
            text.push_str(&plain);
        }
        // What can never be true it refuses.
        if let Some(theirs) = by_tcpdump(&file, &text) {
            assert_eq!(by_us(&frames, &text), theirs, "{text}");
            compared += 1;
        }
    }
    assert!(compared > 150, "{compared}");
}
