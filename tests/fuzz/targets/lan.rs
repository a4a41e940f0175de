//! The servers of a segment, and the client: whatever hosts send, what is said is well-formed, bounded, and nobody gets
//! what is another's.
//!
//! Inputs are messages, each behind its length (u16), some behind a byte that says who sends it and how long after the
//! one before.

use super::Input;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zbridge::config::BootFile;
use zbridge::internals::service::lan::client::{Action, Client, frame};
use zbridge::internals::service::lan::dns::{self, Dns, DnsConfig, Names};
use zbridge::internals::service::lan::tftp::{self, Fault, Tftp};
use zbridge::internals::service::lan::{Dhcp4, Dhcp4Config, Dhcp6, Dhcp6Config, Fixed, Leases, Pool};
use zbridge::service::{Ingress, Station};
use zbridge::time::{Duration, Instant};
use zbridge::wire::Mac;

/// Messages of one input.
const WHOM: Station = Station { mac: Mac([2, 0, 0, 0, 0, 7]), ingress: Ingress::ONLY };

const MESSAGES: usize = 64;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const MAC: Mac = Mac([2, 0x6e, 10, 0, 2, 2]);

/// The messages of an input, with the byte before each.
fn messages(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut input = Input(data);
    std::iter::from_fn(move || {
        (!input.is_empty()).then(|| {
            let (head, length) = (input.byte(), input.word());
            (head, input.take(length.into()))
        })
    })
    .take(MESSAGES)
}

/// A DHCP server with a pool of four addresses, so that they run out.
pub fn dhcp4(data: &[u8]) {
    let addr = |last| Ipv4Addr::new(10, 0, 2, last);
    let config = Dhcp4Config {
        server: GATEWAY,
        prefix: 24,
        router: Some(GATEWAY),
        dns: vec![GATEWAY],
        domain: Some("lab".to_owned()),
        mtu: 1400,
        lease: Duration::from_secs(600),
        tftp: Some(GATEWAY),
        boot: vec![BootFile::new("zephyr.bin")],
    };
    let fixed = vec![Fixed { mac: Mac([2, 0, 0, 0, 0, 9]), addr: addr(9), name: Some("board1".to_owned()) }];
    let pool = Pool { first: addr(15), last: addr(18), reserved: vec![GATEWAY], fixed, reserved_names: Vec::new() };
    let (server, mut leases, mut now) = (Dhcp4::new(config), Leases::new(pool), Instant::from_secs(1));
    for (wait, message) in messages(data) {
        now += Duration::from_secs(wait.into());
        if let Some(answer) = server.handle(now, &mut leases, Mac([2, 0, 0, 0, 0, wait]), message) {
            let payload = &answer.payload;
            assert!((300..=1400 - 28).contains(&payload.len()), "{} bytes", payload.len());
            assert_eq!((payload[0], &payload[4..8]), (2, &message[4..8]), "an answer to what was asked");
            assert_eq!(options_end(payload), payload.iter().rposition(|byte| *byte == 255), "options to the end");
            let given = Ipv4Addr::new(payload[16], payload[17], payload[18], payload[19]);
            assert!(given.is_unspecified() || (15..=18).contains(&given.octets()[3]) || given == addr(9), "{given}");
        }
        let standing: Vec<_> = leases.list(now).collect();
        let mut macs: Vec<_> = standing.iter().map(|lease| lease.who.clone()).collect();
        let mut names: Vec<_> = standing.iter().filter_map(|lease| lease.name.clone()).collect();
        let (all, named) = (macs.len(), names.len());
        macs.sort();
        macs.dedup();
        names.sort();
        names.dedup();
        assert_eq!((macs.len(), names.len()), (all, named), "each has one address, and a name of its own");
        assert!(leases.held() <= 5, "{} entries", leases.held());
    }
}

/// Where the option 255 stands that ends the options of a message.
fn options_end(payload: &[u8]) -> Option<usize> {
    let mut at = 240;
    loop {
        match *payload.get(at)? {
            255 => return Some(at),
            0 => at += 1,
            _ => at += 2 + usize::from(*payload.get(at + 1)?),
        }
    }
}

/// A DHCPv6 server.
pub fn dhcp6(data: &[u8]) {
    let (dns, domain) = (vec![GATEWAY6], Some("lab".to_owned()));
    let mut server = Dhcp6::new(Dhcp6Config { mac: MAC, prefix: (GATEWAY6, 64), dns, domain });
    let from: SocketAddr = "[fe80::1]:546".parse().expect("an address");
    for (link, message) in messages(data) {
        let Some(answer) = server.handle(from, Mac([2, 0, 0, 0, 0, link]), message) else { continue };
        let payload = &answer.payload;
        assert_eq!((answer.dst, &payload[1..4]), (from, &message[1..4]));
        // every set is answered, and the client's name repeated; nothing else grows
        assert!(payload.len() <= message.len() + 400, "{} bytes for {}", payload.len(), message.len());
        let mut rest = &payload[4..];
        while let Some((&[_, _, high, low], behind)) = rest.split_first_chunk::<4>() {
            rest = behind.get(usize::from(u16::from_be_bytes([high, low]))..).expect("an option within the message");
        }
        assert!(rest.is_empty());
    }
}

struct OneHost;

impl Names for OneHost {
    fn addrs(&self, _: Instant, label: &str) -> Vec<IpAddr> {
        if label == "inst1" { vec![Ipv4Addr::new(10, 0, 2, 15).into()] } else { Vec::new() }
    }

    fn name(&self, _: Instant, addr: IpAddr) -> Option<String> {
        (addr == Ipv4Addr::new(10, 0, 2, 15)).then(|| "inst1".to_owned())
    }
}

/// A resolver. Bit 0 of the byte: the message is a query of a host, or an answer to the oldest question that waits. Bit
/// 1: over a stream. Bit 2: the answer has the question and the number that it should.
pub fn dns(data: &[u8]) {
    let mut resolver = Dns::new(DnsConfig {
        domain: Some("lab".to_owned()),
        prefixes: vec!["10.0.2.2/24".parse().expect("a network")],
        resolvers: vec!["192.0.2.1:53".parse().expect("an address"), "192.0.2.2:53".parse().expect("an address")],
        restrict: false,
        seed: 7,
    });
    let mut now = Instant::from_secs(1);
    let mut asked: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let (mut queries, mut answers) = (0, 0);
    for (head, message) in messages(data) {
        now += Duration::from_millis(u64::from(head >> 3) * 100);
        resolver.handle_timeout(now);
        let host: SocketAddr = "10.0.2.15:9".parse().expect("an address");
        match (head & 1, asked.first_key_value()) {
            (0, _) | (_, None) => {
                queries += 1;
                let stream = head & 2 != 0;
                let client = if stream { dns::Client::Tcp(1, host.ip()) } else { dns::Client::Udp(host, host, WHOM) };
                resolver.handle(now, &OneHost, client, message);
            }
            (_, Some((&attempt, query))) => {
                let mut answer = message.to_vec();
                if head & 4 != 0 {
                    answer = [query, message].concat();
                    answer[2] |= 0x80;
                }
                resolver.handle_answer(now, attempt, &answer);
            }
        }
        while let Some(output) = resolver.poll_output() {
            match output {
                dns::Output::Answer(client, answer) => {
                    answers += 1;
                    assert!(answer.len() >= 12 && answer[2] & 0x80 != 0, "an answer: {}", answer.escape_ascii());
                    assert!(matches!(client, dns::Client::Tcp(..)) || answer.len() <= 4096 + 512);
                }
                dns::Output::Ask { attempt, query, .. } => drop(asked.insert(attempt, query)),
                dns::Output::Forget(attempt) => drop(asked.remove(&attempt)),
            }
        }
        assert_eq!(resolver.waiting(), asked.len(), "a socket for each question that waits");
    }
    assert!(answers <= queries, "{answers} answers to {queries} queries");
}

/// A TFTP server with one file of 1000 bytes. The byte says which of two hosts sends, whether to the server's port or the
/// newest transfer's, and how long after the message before.
pub fn tftp(data: &[u8]) {
    let (mut server, mut now) = (Tftp::new(1500, true, 7), Instant::from_secs(1));
    let (mut port, mut open) = (tftp::PORT, 0_usize);
    for (head, message) in messages(data) {
        now += Duration::from_millis(u64::from(head >> 2) * 50);
        server.handle_timeout(now);
        let from = SocketAddr::from(([10, 0, 2, 15 + (head & 1)], 2000));
        let to = SocketAddr::from((GATEWAY, if head & 2 == 0 { tftp::PORT } else { port }));
        server.handle(now, WHOM, (from, to), message);
        let mut sent = 0;
        while let Some(output) = server.poll_output() {
            match output {
                tftp::Output::Open { file, path } => {
                    assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
                    open += 1;
                    let size = if path == "zephyr.bin" { Ok(1000) } else { Err(Fault::NoFile) };
                    server.handle_opened(now, file, size);
                }
                tftp::Output::Read { file, offset, len } => {
                    assert!(offset + len as u64 <= 1000);
                    server.handle_data(now, file, offset, Some(vec![7; len]));
                }
                tftp::Output::Create { file, path } => {
                    assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
                    open += 1;
                    server.handle_opened(now, file, if path == "full" { Err(Fault::Full) } else { Ok(0) });
                }
                tftp::Output::Write { file, bytes, .. } => {
                    server.handle_written(now, file, if bytes.len() == 7 { Err(Fault::Full) } else { Ok(()) });
                }
                tftp::Output::Keep(file) => server.handle_kept(now, file, Ok(())),
                tftp::Output::Close(_) => open -= 1,
                tftp::Output::Send(datagram) => {
                    assert!(datagram.payload.len() <= 1500 - 28);
                    port = datagram.src.port();
                    sent += 1;
                }
            }
        }
        // at most a window to each of the transfers
        assert!(sent <= 1 + 32 * (server.transfers() + 1), "{sent} datagrams");
        assert_eq!(open, server.transfers(), "a file for each transfer");
    }
}

/// A client. Bit 0 of the byte: the message has the client's own header, as an answer would. Bit 1: it is a frame.
pub fn dhcp_client(data: &[u8]) {
    let (mut client, mut now) = (Client::new(MAC, "inst1", 7), Instant::from_secs(1));
    let mut header = Vec::new();
    for (head, message) in messages(data) {
        now += Duration::from_secs(u64::from(head >> 2) * 10);
        let mut sent = 0;
        while let Some(action) = client.poll(now) {
            sent += 1;
            match action {
                Action::Send(_, payload) => {
                    assert!((300..=576).contains(&payload.len()));
                    header = payload[..240].to_vec();
                    header[0] = 2;
                }
                Action::Lost => assert_eq!(client.grant(), None),
            }
        }
        assert!(sent <= 3, "{sent} messages at once");
        let mut answer = message.to_vec();
        if head & 1 == 1 {
            answer = header.clone();
            answer[16..20].copy_from_slice(&[10, 0, 2, 15]);
            answer.extend_from_slice(message);
        }
        let payload = if head & 2 == 0 { Some(answer.as_slice()) } else { frame::read(&answer) };
        let taken = payload.is_some_and(|payload| client.handle(now, payload));
        assert!(!taken || client.grant().is_some_and(|grant| grant.addr.prefix <= 32 && grant.dns.len() <= 3));
    }
}
