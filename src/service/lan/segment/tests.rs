//! The servers of a segment together: dispatch of datagrams, and names of leases.

use super::*;
use crate::config::{PortKind, PortSpec};
use crate::service::station::Ingress;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const WHOM: Station = Station { mac: Mac(MAC), ingress: Ingress::ONLY };

fn segment(keys: &str) -> Segment {
    let PortKind::Nat(nat) = PortSpec::parse(&format!("nat:10.0.2.2/24{keys}")).unwrap().kind else { panic!("no nat") };
    Segment::new(&nat, 1500, 1)
}

fn drain(segment: &mut Segment, now: Instant) -> Vec<Output> {
    std::iter::from_fn(|| segment.poll_output(now)).collect()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A DHCP message of type `kind` with the host name `inst1`.
fn dhcp(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&MAC);
    bytes[236..].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend_from_slice(&[53, 1, kind, 50, 4, 10, 0, 2, 15, 12, 5]);
    bytes.extend_from_slice(b"inst1\xff");
    bytes
}

/// The host `MAC` gets 10.0.2.15, after it was probed.
fn bind(segment: &mut Segment, now: Instant) -> Vec<Output> {
    segment.handle(now, WHOM, (addr("0.0.0.0:68"), addr("255.255.255.255:67")), &dhcp(3));
    assert_eq!(drain(segment, now), [Output::Ask([10, 0, 2, 15].into())]);
    let over = segment.poll_timeout().unwrap();
    segment.handle_timeout(over);
    drain(segment, over)
}

fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(super::super::name::wire(name));
    bytes.extend([0, 1, 0, 1]);
    bytes
}

#[test]
fn what_is_heard_is_what_is_served() {
    let all = segment(",ipv6=2001:db8::2/64,dns=10.0.2.3,tftp=/srv");
    for good in [
        "10.0.2.2:67",
        "255.255.255.255:67",
        "10.0.2.255:67",
        "10.0.2.3:53",
        "[2001:db8::2]:53",
        "10.0.2.2:69",
        "[2001:db8::2]:69",
        "[ff02::1:2]:547",
    ] {
        assert!(all.hears(addr(good)), "{good}");
    }
    for bad in ["10.0.2.2:53", "10.0.3.255:67", "10.0.2.3:69", "10.0.2.9:53", "[ff02::1]:547", "10.0.2.2:50000"] {
        assert!(!all.hears(addr(bad)), "{bad}");
    }
    let none = segment(",dhcp=off,dns=off");
    for off in ["10.0.2.2:67", "255.255.255.255:67", "10.0.2.2:53", "10.0.2.2:69", "[ff02::1:2]:547"] {
        assert!(!none.hears(addr(off)), "{off}");
    }
    assert_eq!(none.poll_timeout(), None, "nobody wakes it");
}

#[test]
fn a_lease_has_a_name() {
    let (mut segment, now) = (segment(",domain=bench.test"), Instant::from_secs(1));
    let sent = bind(&mut segment, now);
    let [Output::Datagram(ack)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((ack.src, ack.dst, ack.mac), (addr("10.0.2.2:67"), addr("10.0.2.15:68"), Some(Mac(MAC))));
    let leases: Vec<Lease> = segment.leases(now).collect();
    assert_eq!((leases[0].name.as_deref(), leases[0].addr.to_string()), (Some("inst1"), "10.0.2.15".to_owned()));
    let before = segment.leases_version();
    for (name, answer) in [("inst1.bench.test", [10, 0, 2, 15]), ("gateway.bench.test", [10, 0, 2, 2])] {
        segment.handle(now, WHOM, (addr("10.0.2.15:9"), addr("10.0.2.2:53")), &query(name));
        let sent = drain(&mut segment, now);
        let [Output::Datagram(found)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!((found.src, found.dst), (addr("10.0.2.2:53"), addr("10.0.2.15:9")));
        assert!(found.payload.ends_with(&answer), "{name}");
    }
    assert_eq!(segment.leases_version(), before);
}

#[test]
fn questions_for_others_go_out_unless_nothing_does() {
    let (mut open, now) = (segment(""), Instant::from_secs(1));
    open.dns().unwrap().set_resolvers(vec![addr("192.0.2.53:53")]);
    open.handle_stream(now, 7, addr("10.0.2.15:9").ip(), &query("example.com"));
    let sent = drain(&mut open, now);
    assert!(matches!(sent.as_slice(), [Output::Dns(dns::Output::Ask { tcp: true, .. })]), "{sent:?}");
    let mut closed = segment(",restrict");
    closed.dns().unwrap().set_resolvers(vec![addr("192.0.2.53:53")]);
    closed.handle_stream(now, 7, addr("10.0.2.15:9").ip(), &query("example.com"));
    let sent = drain(&mut closed, now);
    assert!(matches!(sent.as_slice(), [Output::Stream(7, _)]), "{sent:?}");
}

/// The address that the one datagram among these offers.
fn offered(sent: &[Output]) -> Ipv4Addr {
    let [Output::Datagram(Datagram { payload, .. })] = sent else { panic!("{sent:?}") };
    Ipv4Addr::new(payload[16], payload[17], payload[18], payload[19])
}

#[test]
fn an_address_is_tried_before_it_is_offered() {
    let (mut segment, now) = (segment(",dhcp=.15-.17"), Instant::from_secs(1));
    let (other, to_all) = (Mac([2, 0, 0, 0, 0, 8]), (addr("0.0.0.0:68"), addr("255.255.255.255:67")));
    let discover = |segment: &mut Segment, now| segment.handle(now, WHOM, to_all, &dhcp(1));
    discover(&mut segment, now);
    assert_eq!(drain(&mut segment, now), [Output::Ask([10, 0, 2, 15].into())]);
    // repeated meanwhile, and said by the client itself
    discover(&mut segment, now);
    assert!(!segment.hear(now, Mac(MAC), [10, 0, 2, 15].into()));
    assert_eq!(drain(&mut segment, now), []);
    // another host has it: the next one is tried, which nobody has
    assert!(segment.hear(now, other, [10, 0, 2, 15].into()));
    assert_eq!(drain(&mut segment, now), [Output::Ask([10, 0, 2, 16].into())]);
    let later = segment.poll_timeout().unwrap();
    assert!(later > now && later <= Instant::from_secs(2), "{later:?}");
    segment.handle_timeout(later);
    assert_eq!(offered(&drain(&mut segment, later)), Ipv4Addr::new(10, 0, 2, 16));
    // one that takes the used address without asking is refused
    segment.handle(later, WHOM, to_all, &dhcp(3));
    let sent = drain(&mut segment, later);
    let [Output::Datagram(nak)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(nak.payload[240..243], [53, 1, 6]);
}

#[test]
fn a_declined_address_is_left_alone() {
    let (mut segment, now) = (segment(",dhcp=.15-.16"), Instant::from_secs(1));
    let to_all = (addr("0.0.0.0:68"), addr("255.255.255.255:67"));
    bind(&mut segment, now);
    segment.handle(now, WHOM, to_all, &dhcp(4));
    drain(&mut segment, now);
    segment.handle(now, WHOM, to_all, &dhcp(1));
    assert_eq!(drain(&mut segment, now), [Output::Ask([10, 0, 2, 16].into())]);
}

/// An address that a forward leads to is given as any other: with one guest that asks, the usual forward leads to it. A
/// host that has it of its own accord says so when it is tried.
#[test]
fn what_a_forward_leads_to_is_given_unless_somebody_has_it() {
    let forward = ",forward=tcp:127.0.0.1:2222->10.0.2.15:22";
    for (static_host, wanted) in [(false, 15), (true, 16)] {
        let (mut segment, mut now) = (segment(forward), Instant::from_secs(1));
        segment.handle(now, WHOM, (addr("0.0.0.0:68"), addr("255.255.255.255:67")), &dhcp(1));
        if static_host {
            segment.hear(now, Mac([2, 0, 0, 0, 0, 8]), [10, 0, 2, 15].into());
        }
        let sent = drain(&mut segment, now);
        assert!(sent.iter().all(|output| matches!(output, Output::Ask(_))), "{sent:?}");
        now = segment.poll_timeout().unwrap();
        segment.handle_timeout(now);
        assert_eq!(offered(&drain(&mut segment, now)), Ipv4Addr::new(10, 0, 2, wanted));
    }
}

/// A host that says that it has an address from before is believed, unless another answers for it (RFC 2131, sections
/// 4.3.1 and 4.3.2).
#[test]
fn an_address_from_before_is_tried_too() {
    let (mut segment, now) = (segment(""), Instant::from_secs(1));
    let to_all = (addr("0.0.0.0:68"), addr("255.255.255.255:67"));
    segment.handle(now, WHOM, to_all, &dhcp(3));
    assert_eq!(drain(&mut segment, now), [Output::Ask([10, 0, 2, 15].into())]);
    assert!(segment.hear(now, Mac([2, 0, 0, 0, 0, 8]), [10, 0, 2, 15].into()));
    let sent = drain(&mut segment, now);
    let [Output::Datagram(nak)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(nak.payload[240..243], [53, 1, 6]);
    // once it has a lease it is not tried again
    let (mut segment, _) = (super::tests::segment(""), now);
    bind(&mut segment, now);
    segment.handle(now, WHOM, to_all, &dhcp(3));
    assert_eq!(drain(&mut segment, now).len(), 1);
}

/// Answers that nobody fetches do not pile up, and those of one server are not in another's way.
#[test]
fn a_flood_of_questions_is_bounded() {
    let (mut segment, now) = (segment(",tftp=/srv"), Instant::from_secs(1));
    for port in 0..3 * OUTPUTS as u16 {
        let host = SocketAddr::new(addr("10.0.2.15:0").ip(), 1 + port);
        segment.handle(now, WHOM, (host, addr("10.0.2.2:53")), &query("gateway.lab"));
        segment.handle(now, WHOM, (host, addr("10.0.2.2:69")), &[0, 2, b'a', 0, b'o', b'c', b't', b'e', b't', 0]);
    }
    assert_eq!(segment.dropped(), 4 * OUTPUTS as u64);
    segment.handle(now, WHOM, (addr("0.0.0.0:68"), addr("255.255.255.255:67")), &dhcp(3));
    assert_eq!(drain(&mut segment, now).len(), 2 * OUTPUTS + 1);
    segment.handle(now, WHOM, (addr("10.0.2.15:9"), addr("10.0.2.2:53")), &query("gateway.lab"));
    assert_eq!(drain(&mut segment, now).len(), 1);
}

/// A malformed DHCP message is counted, and makes no output.
#[test]
fn what_is_no_message_is_counted() {
    let (mut segment, now) = (segment(""), Instant::from_secs(1));
    let to_all = (addr("0.0.0.0:68"), addr("255.255.255.255:67"));
    let mut token_ring = dhcp(1);
    token_ring[1] = 6;
    for bad in [&token_ring[..], b"", &dhcp(9)[..], &dhcp(1)[..239]] {
        segment.handle(now, WHOM, to_all, bad);
    }
    assert_eq!((segment.malformed(), drain(&mut segment, now).len()), (4, 0));
}
