//! The words of a filter, and what they take. What pcap-filter itself makes of them is asked in `tests/capture`.

use super::*;
use crate::counters::DROP_REASONS;
use proptest::prelude::*;

const SENDER: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 1];

fn ether(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0x5e, 0, 0x53, 2][..], &SENDER, &kind.to_be_bytes(), payload].concat()
}

/// UDP from 192.0.2.1, port 1000, to 198.51.100.2, port 53.
fn udp() -> Vec<u8> {
    let ip = [0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
    ether(0x0800, &[&ip[..], &[3, 0xe8, 0, 53, 0, 16, 0, 0], &[7; 8]].concat())
}

fn seen(bytes: &[u8]) -> Seen<'_> {
    Seen { port: "inst1#2", incoming: true, reason: None, bytes, len: bytes.len() as u32, ethernet: true }
}

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{error}")).unwrap()
}

#[test]
fn words_mean_what_they_do_elsewhere() {
    let udp = udp();
    let taken = |text: &str| filter(text).takes(&seen(&udp));
    for yes in [
        "ip",
        "udp",
        "not tcp",
        "udp port 53",
        "port domain",
        "dst port 53",
        "src portrange 900-1000",
        "host 192.0.2.1",
        "src 192.0.2.1",
        "src net 192.0.2.0/24",
        "net 192.0.2",
        "net 198.51.100.0 mask 255.255.255.0",
        "ip proto 17",
        "ip proto \\udp",
        "proto udp",
        "ether src 02:00:5e:00:53:01",
        "ether host 02-00-5e-00-53-02",
        "ether proto 0x800",
        "less 50",
        "greater 50",
        "len == 50",
        "udp[0:2] = 1000",
        "ip[8] & 0xc0 != 0",
        "src or dst host 198.51.100.2",
        "tcp or udp and ip",
        "port 80 or 53",
        "in inst1",
        "in inst1#2",
        "(tcp port 22 or (udp and port 53)) && !arp",
        "ip host 192.0.2.1 and not 203.0.113.1",
        "not not udp",
        "ether[12:2] == 0x0800",
        "2 + 3 * 4 = 14",
        "(2 + 3) * 4 = 20",
    ] {
        assert!(taken(yes), "{yes}");
    }
    for no in [
        "ip6",
        "tcp",
        "arp",
        "src port 53",
        "dst 192.0.2.1",
        "host 192.0.2.2",
        "vlan",
        "vlan and ip",
        "broadcast",
        "multicast",
        "ip multicast",
        "arp host 192.0.2.1",
        "src and dst host 192.0.2.1",
        "in inst",
        "out inst1",
        "drop",
        "tcp[13] & 2 != 0",
        "not (udp or tcp)",
        "ip or udp and tcp",
        "ip[200] = 0",
        "not ip[200] = 0",
        "greater 51",
    ] {
        assert!(!taken(no), "{no}");
    }
}

#[test]
fn a_tag_hides_what_is_behind_it_until_it_is_asked_for() {
    let plain = udp();
    let tagged = [&plain[..12], &[0x81, 0, 0x20, 100], &plain[12..]].concat();
    let taken = |text: &str| filter(text).takes(&seen(&tagged));
    assert!(taken("vlan") && taken("vlan 100") && taken("vlan 100 and udp port 53") && taken("ether proto 0x8100"));
    assert!(!taken("ip") && !taken("vlan 101") && !taken("ip and vlan") && !taken("vlan and vlan"));
}

#[test]
fn ones_own_words() {
    let udp = udp();
    let lost = Seen { incoming: false, reason: Some(DropReason::QueueFull), ..seen(&udp) };
    let taken = |text: &str| filter(text).takes(&lost);
    assert!(taken("drop") && taken("drop queue-full") && taken("out inst1 and drop or arp") && taken("(drop) and udp"));
    assert!(!taken("drop stalled") && !taken("in inst1") && !taken("not drop"));
    assert!(filter("out inst1").wants_copies() && filter("not (arp or out a)").wants_copies());
    assert!(!filter("in inst1").wants_copies());
    let radio = Seen { ethernet: false, ..lost };
    assert!(filter("drop and not ip and len < 127").takes(&radio) && !filter("udp").takes(&radio));
    for row in DROP_REASONS {
        filter(&format!("drop {}", row.word));
    }
}

#[test]
fn what_is_wrong_is_said_with_the_nearest_word() {
    for (text, says) in [
        ("prot 5", "this is no word of a filter; the nearest is \"port\""),
        ("udp prt 5", "\"and\" or \"or\" has to stand here; the nearest is \"port\""),
        ("port", "at its end: expected a port"),
        ("port http-", "expected a port"),
        ("host 192.0.2", "expected an IP address"),
        ("host www", "expected an IP address, not a name"),
        ("net 192.0.2.1/24", "expected a network"),
        ("drop qeue-full", "this is no reason of a drop; the nearest is \"queue-full\""),
        ("(ip", "a \")\" is missing"),
        ("ip)", "there is a \")\" without its \"(\""),
        ("ip and", "at its end: something to look for is missing"),
        ("ether", "ether says nothing alone"),
        ("icmp port 5", "port means nothing of this protocol"),
        ("vlan 5000", "a VLAN is 0 to 4095"),
        ("ip[0:3] = 1", "a size is 1, 2 or 4"),
        ("len <", "a number is missing"),
    ] {
        let error = Filter::parse(text).unwrap_err();
        assert!(error.what().contains(says), "{text}: {error}");
        assert!(error.advice().is_some());
    }
    assert_eq!(Filter::parse(" \n"), Ok(None));
    assert!(Filter::parse(&"(".repeat(4000)).is_err());
    assert!(Filter::parse(&"ip or ".repeat(2000)).is_err(), "too long");
    filter(&format!("{}ip", "ip or ".repeat(600)));
}

#[test]
fn every_word_is_documented_and_known() {
    let known = ["ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp"];
    assert!(known.iter().all(|word| WORDS.iter().any(|row| row.word == *word)));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(Some(filter)) = Filter::parse(&text) {
            filter.takes(&seen(&bytes));
        }
    }

    #[test]
    fn no_words_and_no_frame_panic(
        words in prop::collection::vec(prop::sample::select(&[
            "ip", "ip6", "tcp", "port", "host", "net", "and", "or", "not", "(", ")", "[", "]", "5", "1:2", "192.0.2.1", "::1",
            "len", "<", "=", "&", "-", "/", "0", "vlan", "drop", "in", "src", "dst", "ether", "proto", "portrange", "1-2",
            "mask", "icmp6", "tcpflags", "4294967295", "*",
        ][..]), 0..20),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        if let Ok(Some(filter)) = Filter::parse(&words.join(" ")) {
            filter.takes(&seen(&bytes));
        }
    }
}
