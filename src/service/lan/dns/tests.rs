//! Queries of hosts against a table of names and resolvers that the test plays.

use super::message::reverse;
use super::*;
use crate::service::station::Ingress;
use crate::wire::Mac;
use proptest::prelude::*;

const WHOM: Station = Station { mac: Mac([2, 0, 0, 0, 0, 7]), ingress: Ingress::ONLY };

/// One host, `inst1` at 10.0.2.15, and the gateway with both families.
struct Table;

impl Names for Table {
    fn addrs(&self, _: Instant, label: &str) -> Vec<IpAddr> {
        match label {
            "gateway" => vec!["10.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()],
            "inst1" => vec!["10.0.2.15".parse().unwrap()],
            _ => Vec::new(),
        }
    }

    fn name(&self, _: Instant, addr: IpAddr) -> Option<String> {
        ["gateway", "inst1"].into_iter().find(|name| self.addrs(Instant::ZERO, name).contains(&addr)).map(str::to_owned)
    }
}

fn config() -> DnsConfig {
    DnsConfig {
        domain: Some("lab".into()),
        prefixes: vec!["10.0.2.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()],
        resolvers: vec!["127.0.0.53:53".parse().unwrap(), "192.0.2.1:53".parse().unwrap()],
        restrict: false,
        seed: 7,
    }
}

fn client(port: u16) -> Client {
    Client::Udp(SocketAddr::from(([10, 0, 2, 15], port)), SocketAddr::from(([10, 0, 2, 3], 53)), WHOM)
}

/// glibc's query: recursion desired, nothing else.
fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// The answer given at once: code, count of answers, and the whole.
fn answered(dns: &mut Dns, bytes: &[u8]) -> (u8, u8, Vec<u8>) {
    dns.handle(at(0), &Table, client(1000), bytes);
    let Some(Output::Answer(to, answer)) = dns.poll_output() else { panic!("no answer") };
    assert_eq!((to, dns.poll_output()), (client(1000), None));
    (message::code(&answer), answer[7], answer)
}

fn asked(dns: &mut Dns) -> (u64, SocketAddr, Vec<u8>) {
    match dns.poll_output() {
        Some(Output::Ask { attempt, resolver, query, tcp: false }) => (attempt, resolver, query),
        other => panic!("{other:?}"),
    }
}

/// An answer with one A record to the query that was passed on.
fn reply(passed: &[u8]) -> Vec<u8> {
    let mut bytes = passed.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes[7] = 1;
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
    bytes
}

#[test]
fn names_of_the_segment_are_known_here() {
    let mut dns = Dns::new(config());
    for (name, kind, code, count) in [
        ("inst1.lab", kind::A, 0, 1),
        ("INST1.lab", kind::A, 0, 1),
        ("inst1", kind::A, 0, 1),
        ("inst1.lab", kind::AAAA, 0, 0),
        ("gateway.lab", kind::AAAA, 0, 1),
        ("gateway.lab", kind::ANY, 0, 2),
        ("lab", kind::A, 0, 0),
        ("other.lab", kind::A, 3, 0),
        ("x.inst1.lab", kind::A, 3, 0),
        ("15.2.0.10.in-addr.arpa", kind::PTR, 0, 1),
        ("16.2.0.10.in-addr.arpa", kind::PTR, 3, 0),
    ] {
        let (got, answers, answer) = answered(&mut dns, &query(0xabcd, name, kind));
        assert_eq!((got, answers), (code, count), "{name} {kind}");
        assert_eq!(answer[..3], [0xab, 0xcd, 0x85], "{name}: answer, authoritative");
    }
    let (_, _, answer) = answered(&mut dns, &query(1, "15.2.0.10.in-addr.arpa", kind::PTR));
    assert!(answer.ends_with(b"\x05inst1\x03lab\0"));
    assert_eq!(dns.poll_timeout(), None);
}

#[test]
fn other_names_come_from_a_resolver() {
    let mut dns = Dns::new(config());
    let question = query(0xabcd, "example.com", kind::A);
    dns.handle(at(0), &Table, client(1000), &question);
    dns.handle(at(1), &Table, client(1000), &question);
    let (attempt, resolver, passed) = asked(&mut dns);
    assert_eq!(resolver.to_string(), "127.0.0.53:53");
    assert_eq!(passed[2..], question[2..]);
    assert_ne!(passed[..2], question[..2], "an identifier of its own");
    assert_eq!(dns.poll_output(), None, "the client's second try adds nothing");

    let mut forged = reply(&passed);
    forged[0] ^= 1;
    dns.handle_answer(at(2), attempt, &forged);
    let mut other = reply(&passed);
    other[14] ^= 1;
    dns.handle_answer(at(2), attempt, &other);
    dns.handle_answer(at(2), attempt, &passed);
    assert_eq!((dns.poll_output(), dns.waiting()), (None, 1), "none of these is its answer");

    dns.handle_answer(at(3), attempt, &reply(&passed));
    assert_eq!(dns.poll_output(), Some(Output::Forget(attempt)));
    let Some(Output::Answer(to, answer)) = dns.poll_output() else { panic!("no answer") };
    assert_eq!((to, &answer[..2], &answer[2..]), (client(1000), &question[..2], &reply(&passed)[2..]));
    assert_eq!((dns.waiting(), dns.poll_timeout()), (0, None));
}

#[test]
fn a_silent_resolver_is_followed_by_the_next() {
    let mut dns = Dns::new(config());
    dns.handle(at(0), &Table, client(1000), &query(1, "example.com", kind::A));
    let (first, resolver, _) = asked(&mut dns);
    assert_eq!(resolver.port(), 53);
    assert_eq!(dns.poll_timeout(), Some(at(2000)));
    dns.handle_timeout(at(2000));
    assert_eq!(dns.poll_output(), Some(Output::Forget(first)));
    let (second, resolver, passed) = asked(&mut dns);
    assert_eq!(resolver.to_string(), "192.0.2.1:53");
    dns.handle_answer(at(2100), second, &reply(&passed));
    while dns.poll_output().is_some() {}
    // the one that answered is asked first from now on
    dns.handle(at(3000), &Table, client(1000), &query(2, "example.org", kind::A));
    let (third, resolver, _) = asked(&mut dns);
    assert_eq!(resolver.to_string(), "192.0.2.1:53");
    // nobody is left
    dns.handle_failure(at(3000), third);
    let mut now = at(3000);
    while let Some(next) = dns.poll_timeout() {
        now = next;
        dns.handle_timeout(now);
    }
    assert_eq!(now, at(9000));
    let last = std::iter::from_fn(|| dns.poll_output()).last();
    let Some(Output::Answer(_, answer)) = last else { panic!("{last:?}") };
    assert_eq!((message::code(&answer), &answer[..2]), (Code::Failed as u8, &[0, 2][..]));
}

#[test]
fn a_resolver_that_refuses_is_followed_by_the_next() {
    let mut dns = Dns::new(config());
    dns.handle(at(0), &Table, client(1000), &query(1, "example.com", kind::A));
    for refused in [true, false] {
        let (attempt, _, passed) = asked(&mut dns);
        let mut answer = reply(&passed);
        answer[3] |= 5;
        dns.handle_answer(at(1), attempt, &answer);
        assert_eq!(dns.poll_output(), Some(Output::Forget(attempt)));
        assert_eq!(dns.waiting() == 1, refused, "the last one's word is passed on");
    }
    let Some(Output::Answer(_, answer)) = dns.poll_output() else { panic!("no answer") };
    assert_eq!(message::code(&answer), 5);
}

#[test]
fn long_answers_are_cut_for_udp_alone() {
    let mut dns = Dns::new(config());
    let question = query(1, "example.com", kind::A);
    for stream in [false, true] {
        let client = if stream { Client::Tcp(5, [10, 0, 2, 15].into()) } else { client(1000) };
        dns.handle(at(0), &Table, client, &question);
        let Some(Output::Ask { attempt, query: passed, tcp, .. }) = dns.poll_output() else { panic!("not asked") };
        assert_eq!(tcp, stream);
        let mut long = reply(&passed);
        long.resize(600, 0);
        dns.handle_answer(at(1), attempt, &long);
        dns.poll_output();
        let Some(Output::Answer(_, answer)) = dns.poll_output() else { panic!("no answer") };
        assert_eq!((answer.len(), answer[2] & 2 != 0), if stream { (600, false) } else { (question.len(), true) });
    }
    dns.handle(at(0), &Table, Client::Tcp(6, [10, 0, 2, 15].into()), &question);
    dns.handle_closed(6);
    assert_eq!(dns.waiting(), 0);
}

/// RFC 7766, section 7: each message on a stream is a question.
#[test]
fn a_question_is_repeated_by_datagram_and_asked_twice_on_a_stream() {
    let bytes = query(9, "zephyrproject.org", kind::A);
    for (client, wanted) in [(client(1000), 1), (Client::Tcp(5, IpAddr::from([10, 0, 2, 15])), 2)] {
        let mut dns = Dns::new(config());
        (0..2).for_each(|_| dns.handle(at(0), &Table, client, &bytes));
        let mut asked = Vec::new();
        while let Some(Output::Ask { attempt, query, .. }) = dns.poll_output() {
            asked.push((attempt, query));
        }
        assert_eq!(asked.len(), wanted, "{client:?}");
        for (attempt, passed) in asked {
            dns.handle_answer(at(1), attempt, &reply(&passed));
            assert_eq!(dns.poll_output(), Some(Output::Forget(attempt)));
            assert!(matches!(dns.poll_output(), Some(Output::Answer(to, _)) if to == client));
        }
        assert_eq!(dns.waiting(), 0);
    }
}

#[test]
fn a_segment_of_its_own_answers_for_itself_alone() {
    let mut dns = Dns::new(DnsConfig { restrict: true, ..config() });
    assert_eq!(answered(&mut dns, &query(1, "example.com", kind::A)).0, Code::Refused as u8);
    assert_eq!(answered(&mut dns, &query(1, "1.0.0.127.in-addr.arpa", kind::PTR)).0, Code::Refused as u8);
    assert_eq!(answered(&mut dns, &query(1, "inst1.lab", kind::A)).0, 0);
    let mut alone = Dns::new(DnsConfig { resolvers: Vec::new(), ..config() });
    assert_eq!(answered(&mut alone, &query(1, "example.com", kind::A)).0, Code::Failed as u8);
}

#[test]
fn the_table_is_bounded() {
    let mut dns = Dns::new(config());
    for port in 0..3000 {
        let host = SocketAddr::from(([10, 0, 2, (port % 10) as u8], port));
        dns.handle(at(0), &Table, Client::Udp(host, host, WHOM), &query(port, "example.com", kind::A));
        let host = client(port);
        dns.handle(at(0), &Table, host, &query(port, "example.com", kind::A));
    }
    assert_eq!(dns.waiting(), WAITING / 8 * 7, "whatever addresses a port makes up");
    let other = Station { ingress: Ingress { port: PortId(9), isolated: false }, ..WHOM };
    let from = client(1).host();
    let asked = Client::Udp(SocketAddr::new(from, 1), SocketAddr::new(from, 53), other);
    dns.handle(at(0), &Table, asked, &query(1, "example.com", kind::A));
    assert_eq!(dns.waiting(), WAITING / 8 * 7 + 1, "another port is heard");
    let own = dns
        .waiting
        .values()
        .filter(|waiting| (waiting.client.host(), waiting.client.port()) == (from, client(0).port()))
        .count();
    assert_eq!(own, WAITING_OF_ONE);
}

proptest! {
    /// Any bytes from either side: no panic, and a host gets only answers that fit its query.
    #[test]
    fn answers_are_bounded(
        asked in prop::collection::vec(any::<u8>(), 0..100),
        cut in 0usize..60,
        sent in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut dns = Dns::new(config());
        let mut odd = query(1, "example.com", kind::A);
        odd.truncate(cut);
        odd.extend_from_slice(&asked);
        for bytes in [&asked, &odd] {
            dns.handle(at(0), &Table, client(1), bytes);
            while let Some(output) = dns.poll_output() {
                match output {
                    Output::Answer(_, answer) => {
                        prop_assert!(answer[2] & 0x80 != 0 && answer.len() <= 1232);
                        prop_assert_eq!(&answer[..2], &bytes[..2]);
                    }
                    Output::Ask { attempt, mut query, .. } => {
                        let id = [query[0], query[1]];
                        dns.handle_answer(at(1), attempt, &sent);
                        query.extend_from_slice(&sent);
                        query[2] |= 0x80;
                        prop_assert_eq!(&query[..2], &id);
                        dns.handle_answer(at(1), attempt, &query);
                    }
                    Output::Forget(_) => {}
                }
            }
        }
    }

    #[test]
    fn reverse_names_are_read_back(octets: [u8; 4], six: [u8; 16]) {
        let four = octets.iter().rev().map(u8::to_string).collect::<Vec<_>>().join(".");
        prop_assert_eq!(reverse(&format!("{four}.in-addr.arpa")), Some(octets.into()));
        let nibbles: Vec<String> =
            six.iter().rev().flat_map(|byte| [byte & 15, byte >> 4]).map(|nibble| format!("{nibble:x}")).collect();
        prop_assert_eq!(reverse(&format!("{}.ip6.arpa", nibbles.join("."))), Some(six.into()));
    }
}
