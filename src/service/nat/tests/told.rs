//! ICMP errors that spare guests a timeout, or tell them the path MTU.

use super::Bench;
use crate::service::nat::guest::{GATEWAY, Script, gateway_with, hear, said};
use crate::service::nat::packet::{ICMPV4, ICMPV6, TCP, UDP};
use crate::service::outside::{Refusal, Refused};
use crate::time::Instant;

const SYN: [u8; 20] = [7, 7, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];

/// RFC 3927, 2.7: no router forwards there. A guest that asks for cloud metadata goes on at once.
#[test]
fn a_link_local_address_cannot_be_reached() {
    let mut bench = Bench::new();
    bench.far = "169.254.169.254";
    bench.packet(TCP, &[&SYN]);
    bench.datagram(1000);
    let said = bench.said();
    let told = said.iter().filter(|packet| packet[9] == ICMPV4 && packet[20..22] == [3, 1]);
    assert_eq!(told.map(|packet| packet[37]).collect::<Vec<_>>(), [TCP, UDP], "what it was about");
    assert_eq!((bench.nat.flows().tcp, bench.nat.flows().udp), (0, 0));
}

/// RFC 7084, L-14.
#[test]
fn who_speaks_from_an_old_prefix_is_told_so() {
    let ask = |src: &str, keys: &str| {
        let (mut nat, mut host, now) = (gateway_with(keys), Script::default(), Instant::from_secs(1));
        said(&mut nat, now, &mut host);
        hear(&mut nat, now, GATEWAY, (src, "2001:db8:77::7"), (TCP, None), &[&SYN], &mut host);
        let said = said(&mut nat, now, &mut host);
        said.into_iter().find(|(.., packet)| packet[6] == ICMPV6 && packet[40] == 1).map(|(.., packet)| packet[41])
    };
    let with = ",ipv6=2001:db8::2/64";
    assert_eq!(ask("2001:db8:0:1::15", with), Some(5));
    assert_eq!(ask("2001:db8::15", with), None);
    assert_eq!(ask("2001:db8:0:1::15", ""), None, "there is nothing of IPv6 here");
}

/// A datagram with don't-fragment is dropped, and its sender gets the path MTU (RFC 1191).
#[test]
fn a_datagram_stays_whole_if_it_says_so() {
    let mut bench = Bench::new();
    bench.datagram(1000);
    assert_eq!(bench.host.whole, Some(true));
    bench.datagram_may_be_cut(1000);
    assert_eq!(bench.host.whole, Some(false));
    let to = "198.51.100.7:9".parse().unwrap();
    bench.host.refused = vec![Refused { to, by: None, number: 0, why: Refusal::TooBig(1280) }];
    bench.host.too_long = true;
    bench.datagram(1000);
    let told = bench.said().into_iter().find(|packet| packet[20..22] == [3, 4]).unwrap();
    assert_eq!((&told[26..28], &told[44..48], bench.nat.stats().host), (&[5, 0][..], &[198, 51, 100, 7][..], 0));
}
