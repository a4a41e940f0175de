//! Whole exchanges, and what must not be answered.

use super::*;
use proptest::prelude::*;

/// INFORMATION-REQUEST, as ISC dhclient 4.4.3 has it: DUID-LL, list, elapsed time.
const INFORMATION: [u8; 36] = [
    11, 0x7b, 0x23, 0xc6, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 10, 0, 6, 0, 8, 0, 23, 0, 24, 0, 39, 0, 31, 0, 8, 0,
    2, 0, 0,
];

const LINK: Mac = Mac([2, 0, 0, 0, 0, 10]);

const DUID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 10];

fn server(len: u8) -> Dhcp6 {
    Dhcp6::new(Dhcp6Config {
        mac: Mac([0x02, 0x6e, 10, 0, 2, 2]),
        prefix: ("2001:db8::2".parse().unwrap(), len),
        dns: vec!["2001:db8::2".parse().unwrap()],
        domain: Some("lab".into()),
    })
}

fn from() -> SocketAddr {
    "[fe80::ff:fe00:a]:546".parse().unwrap()
}

/// A message of the client with its DUID, the server's where it has to be, and `more`.
fn message(kind: u8, to_server: bool, more: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 1, 2, 3];
    put(&mut out, option::CLIENT, &DUID);
    if to_server {
        put(&mut out, option::SERVER, &server(64).duid);
    }
    out.extend_from_slice(more);
    out
}

/// A set that asks for an address, holding these.
fn set(iaid: u32, held: &[Ipv6Addr]) -> Vec<u8> {
    let mut value = [&iaid.to_be_bytes()[..], &[0; 8]].concat();
    held.iter().for_each(|addr| put_address(&mut value, *addr, (0, 0)));
    let mut out = Vec::new();
    put(&mut out, option::IA_NA, &value);
    out
}

/// The addresses of the first set of an answer, with their valid lifetimes.
fn given(answer: &[u8]) -> Vec<(Ipv6Addr, u32)> {
    let set = find(&answer[4..], option::IA_NA).unwrap();
    let pairs = all(&set[12..], option::ADDRESS);
    pairs.map(|value| (addresses_of(value), u32::from_be_bytes(value[20..24].try_into().unwrap()))).collect()
}

fn addresses_of(value: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(<[u8; 16]>::try_from(&value[..16]).unwrap())
}

#[test]
fn dhclient_is_told_resolver_and_domain() {
    let answer = server(64).handle(from(), LINK, &INFORMATION).unwrap();
    assert_eq!((answer.dst, answer.src.to_string()), (from(), "[fe80::6e:aff:fe00:202]:547".into()));
    let payload = &answer.payload;
    assert_eq!(payload[..4], [7, 0x7b, 0x23, 0xc6]);
    let options = &payload[4..];
    assert!(whole(options));
    assert_eq!(find(options, option::CLIENT), Some(&DUID[..]));
    assert_eq!(find(options, option::SERVER), Some(&[0, 3, 0, 1, 0x02, 0x6e, 10, 0, 2, 2][..]));
    assert_eq!(find(options, option::DNS), Some(&"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets()[..]));
    assert_eq!(find(options, option::DOMAINS), Some(&b"\x03lab\0"[..]));
}

/// The address that a client at `link` is offered for its set 1.
fn offered(dhcp: &mut Dhcp6, link: Mac) -> Ipv6Addr {
    let offer = dhcp.handle(from(), link, &message(kind::SOLICIT, false, &set(1, &[]))).unwrap();
    assert_eq!(offer.mac, Some(link), "copies may have one link-local address");
    given(&offer.payload)[0].0
}

/// RFC 8415, section 18.3.8: the address is not offered again; and copies of one image have one DUID.
#[test]
fn what_another_host_uses_is_not_offered_again() {
    let (mut dhcp, other) = (server(64), Mac([2, 0, 0, 0, 0, 11]));
    let first = offered(&mut dhcp, LINK);
    let of_other = offered(&mut dhcp, other);
    assert_ne!(first, of_other);
    let decline = message(kind::DECLINE, true, &set(1, &[first]));
    dhcp.handle(from(), other, &decline).unwrap();
    assert_eq!(offered(&mut dhcp, LINK), first, "another's word does not count");
    dhcp.handle(from(), LINK, &decline).unwrap();
    let second = offered(&mut dhcp, LINK);
    assert_ne!(second, first);
    let renewal = dhcp.handle(from(), LINK, &message(kind::RENEW, true, &set(1, &[second, first]))).unwrap();
    assert_eq!(given(&renewal.payload), [(second, VALID), (first, 0)]);
    for _ in 0..2 * TRIES {
        let held = offered(&mut dhcp, LINK);
        dhcp.handle(from(), LINK, &message(kind::DECLINE, true, &set(1, &[held]))).unwrap();
    }
    assert_eq!((dhcp.declined.len(), offered(&mut dhcp, other)), (usize::from(TRIES), of_other), "bounded");
}

#[test]
fn a_client_gets_the_same_address_always() {
    let mut dhcp = server(64);
    let offer = dhcp.handle(from(), LINK, &message(kind::SOLICIT, false, &set(1, &[]))).unwrap().payload;
    assert_eq!(offer[0], kind::ADVERTISE);
    let [(addr, VALID)] = given(&offer)[..] else { panic!("not one address") };
    assert!(addr.to_string().starts_with("2001:db8::d6"), "{addr}");
    for (kind, to_server) in [(kind::REQUEST, true), (kind::RENEW, true), (kind::REBIND, false)] {
        let reply = dhcp.handle(from(), LINK, &message(kind, to_server, &set(1, &[addr]))).unwrap().payload;
        assert_eq!((reply[0], given(&reply)), (kind::REPLY, vec![(addr, VALID)]));
    }
    let other: Ipv6Addr = "2001:db8:1::9".parse().unwrap();
    let reply = dhcp.handle(from(), LINK, &message(kind::REBIND, false, &set(1, &[other]))).unwrap().payload;
    assert_eq!(given(&reply), [(addr, VALID), (other, 0)]);
    let second = dhcp.handle(from(), LINK, &message(kind::SOLICIT, false, &set(2, &[]))).unwrap().payload;
    assert_ne!(given(&second)[0].0, addr, "another set, another address");

    let rapid = [&set(1, &[])[..], &[0, 14, 0, 0]].concat();
    let reply = dhcp.handle(from(), LINK, &message(kind::SOLICIT, false, &rapid)).unwrap().payload;
    assert_eq!((reply[0], find(&reply[4..], option::RAPID)), (kind::REPLY, Some(&[][..])));
}

#[test]
fn a_prefix_without_room_has_no_addresses() {
    let offer = server(96).handle(from(), LINK, &message(kind::SOLICIT, false, &set(1, &[]))).unwrap().payload;
    let set = find(&offer[4..], option::IA_NA).unwrap();
    assert_eq!(find(&set[12..], option::STATUS), Some(&[0, 2][..]));
}

#[test]
fn a_client_that_was_elsewhere_is_told() {
    for (addr, status) in [("2001:db8::1", 0), ("2001:db8:1::1", NOT_ON_LINK)] {
        let confirm = message(kind::CONFIRM, false, &set(1, &[addr.parse().unwrap()]));
        let reply = server(64).handle(from(), LINK, &confirm).unwrap().payload;
        assert_eq!(find(&reply[4..], option::STATUS), Some(&status.to_be_bytes()[..]), "{addr}");
    }
    assert_eq!(server(64).handle(from(), LINK, &message(kind::CONFIRM, false, &set(1, &[]))), None);
    let release = server(64).handle(from(), LINK, &message(kind::RELEASE, true, &set(1, &[]))).unwrap().payload;
    assert_eq!(find(&release[4..], option::STATUS), Some(&[0, 0][..]));
}

#[test]
fn what_is_not_answered() {
    let mut dhcp = server(64);
    for (bytes, why) in [
        (message(kind::REQUEST, false, &[]), "a request names its server"),
        (message(kind::SOLICIT, true, &[]), "a solicitation names none"),
        (vec![kind::SOLICIT, 1, 2, 3], "nobody asks"),
        (message(kind::REPLY, false, &[]), "an answer"),
        (message(12, false, &[]), "a relay"),
        (message(kind::INFORMATION, false, &[0, 2, 0, 1, 9]), "another server"),
        (message(kind::SOLICIT, false, &[0, 3, 0, 9]), "cut short"),
        (vec![kind::INFORMATION, 1, 2], "too short"),
    ] {
        assert_eq!(dhcp.handle(from(), LINK, &bytes), None, "{why}");
    }
}

proptest! {
    #[test]
    fn answers_are_bounded(kind in 0u8..14, server_named: bool, options: Vec<(u8, Vec<u8>)>) {
        let mut more = Vec::new();
        for (code, value) in &options {
            put(&mut more, u16::from(*code) % 25, value);
        }
        let mut dhcp = server(64);
        let sent = message(kind, server_named, &more);
        if let Some(answer) = dhcp.handle(from(), LINK, &sent) {
            prop_assert!(whole(&answer.payload[4..]) && answer.payload.len() < 1232);
            prop_assert_eq!(&answer.payload[1..4], &sent[1..4]);
        }
        dhcp.handle(from(), LINK, &more);
    }
}
