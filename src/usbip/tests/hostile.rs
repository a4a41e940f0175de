//! Peers that break the protocol (`known_faults.rs` tells which of it others fell over): the answer is an error or a clean
//! close, memory stays bounded, and the other clients notice nothing.

use super::*;
use crate::usb::class::loopback as gadget_zero;
use crate::usb::{Address, Alternate, Configuration, Description, Endpoint, Function, In, Interface, Out};
use proptest::prelude::*;

/// A CMD_SUBMIT that can be bent.
fn submit(seqnum: u32, endpoint: Address, length: u32) -> pdu::CmdSubmit {
    let base = pdu::Base { seqnum, devid: DEVID, endpoint };
    pdu::CmdSubmit { base, flags: 0, length, start_frame: 0, packets: 0, interval: 0, setup: [0; 8] }
}

fn bytes(command: pdu::CmdSubmit) -> Vec<u8> {
    Pdu::CmdSubmit(command).encode().to_vec()
}

/// `bytes` with the word at `at` changed.
fn with_word(mut bytes: Vec<u8>, at: usize, word: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
    bytes
}

/// Sends `bytes` on an attached connection and tells why it was closed, while another client goes on.
fn outcome(bytes: &[u8]) -> Option<CloseReason> {
    let mut server = server();
    let mut other = Peer::attach(&mut server, Dialect::Linux, "1-2", 1);
    let peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    server.handle_bytes(NOW, peer.id, bytes);
    other.client.submit(Urb::input(0, gadget_zero::BULK, 64));
    assert!(matches!(&other.exchange(&mut server)[..], [Event::Done(_, 0, urb)] if urb.actual == 64));
    let reason = server.closing(peer.id);
    if reason.is_some() {
        assert!(server.exports().all(|(busid, _, importer)| busid != "1-1" || importer.is_none()), "not freed");
    }
    reason
}

#[test]
fn impossible_headers_close_only_their_connection() {
    let input = bytes(submit(10, Address::input(1), 64));
    let rows = [
        (with_word(input.clone(), 0, 7), Fault::Command(7).into()),
        (with_word(input.clone(), 0, 3), Fault::Command(3).into()),
        (with_word(input.clone(), 8, 0x0001_0003), CloseReason::DevId(0x0001_0003)),
        (with_word(input.clone(), 12, 2), Fault::Direction(2).into()),
        (with_word(input.clone(), 16, 200), Fault::Endpoint(200).into()),
        (with_word(input.clone(), 16, 16), Fault::Endpoint(16).into()),
        (with_word(input.clone(), 24, 0x8000_0000), Fault::Length(0x8000_0000).into()),
        (with_word(input.clone(), 24, u32::MAX), Fault::Length(u32::MAX).into()),
        (with_word(input.clone(), 32, 0x7fff_ffff), Fault::Packets(0x7fff_ffff).into()),
        (with_word(input.clone(), 32, 1), Fault::Packets(1).into()),
    ];
    for (bytes, reason) in rows {
        assert_eq!(outcome(&bytes), Some(reason));
    }
    assert_eq!(outcome(&input), None);
}

#[test]
fn packets_stay_inside_their_buffer() {
    let mut server = server();
    for (setting, packets, descriptor, closes) in [
        (1, 1, [0, 64], false),
        (1, 1, [1, 64], true),
        (1, 1, [u32::MAX, 2], true),
        (1, MAX_PACKETS + 1, [0, 0], true),
        (1, pdu::NO_PACKETS, [0, 0], true),
        // Without its endpoint the transfer is refused, but its descriptors are still taken from the stream.
        (0, 1, [0, 64], false),
    ] {
        let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
        let setup = Setup { request_type: 1, request: 11, value: setting, ..Setup::default() };
        peer.client.submit(Urb::control(0, setup, vec![]));
        peer.exchange(&mut server);
        let command = pdu::CmdSubmit { packets, ..submit(10, Address::input(gadget_zero::ISOCHRONOUS), 64) };
        let mut all = bytes(command);
        all.extend(descriptor.iter().flat_map(|word| word.to_be_bytes()));
        all.resize(64, 0);
        server.handle_bytes(NOW, peer.id, &all);
        assert_eq!(server.closing(peer.id).is_some(), closes, "{packets} {descriptor:?}");
        server.close(NOW, peer.id);
    }
}

#[test]
fn seqnums_are_unique_while_they_fly() {
    let twice = [bytes(submit(10, Address::input(gadget_zero::LOOP), 64)), bytes(submit(10, Address::input(4), 64))];
    let mut server = server();
    let peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    server.handle_bytes(NOW, peer.id, &twice.concat());
    assert_eq!(server.closing(peer.id), Some(CloseReason::Duplicate(10)));
    assert_eq!(
        outcome(&[bytes(submit(10, Address::input(1), 4)), bytes(submit(10, Address::input(1), 4))].concat()),
        None
    );
}

/// How the transfers ended that have an end.
fn ends(events: &[Event]) -> Vec<(i32, u32)> {
    let end = |event: &Event| match event {
        Event::Done(_, status, urb) => (*status, urb.actual),
        other => panic!("{other:?}"),
    };
    events.iter().map(end).collect()
}

#[test]
fn pending_transfers_have_a_bound() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    // Room for data that does not come costs nothing.
    for _ in 0..MAX_PENDING_URBS {
        peer.client.submit(Urb::input(0, gadget_zero::LOOP, MAX_BUFFER));
    }
    assert_eq!(ends(&peer.exchange(&mut server)), []);
    peer.client.submit(Urb::input(0, gadget_zero::LOOP, 1));
    assert_eq!(ends(&peer.exchange(&mut server)), [(pdu::errno::NO_ROOM, 0)], "one too many ends alone");
    // It had no place, so that one more has when one has ended.
    peer.client.submit(Urb::control(
        0,
        Setup { request_type: 0x80, request: 8, length: 1, ..Setup::default() },
        vec![],
    ));
    assert_eq!(ends(&peer.exchange(&mut server)), [(pdu::errno::NO_ROOM, 0)]);
    let first = peer.client.in_flight().min().unwrap();
    peer.client.unlink(first);
    assert!(matches!(peer.exchange(&mut server)[..], [Event::Unlinked(_, victim, -104)] if victim == first));
    peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![5]));
    assert_eq!(ends(&peer.exchange(&mut server)), [(0, 1), (0, 1)], "the transfer, and the first that waits for it");
}

#[test]
fn pending_bytes_have_a_bound() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    // The loop takes the first, since it is empty; the next ones wait.
    for _ in 0..=MAX_PENDING_BYTES / MAX_BUFFER as usize {
        peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![5; MAX_BUFFER as usize]));
        peer.exchange(&mut server);
    }
    peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![6]));
    assert_eq!(ends(&peer.exchange(&mut server)), [(pdu::errno::NO_ROOM, 0)]);
    peer.client.submit(Urb::input(0, gadget_zero::LOOP, MAX_BUFFER));
    assert_eq!(ends(&peer.exchange(&mut server)), [(0, MAX_BUFFER), (0, MAX_BUFFER)], "there is room again");
    peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![6]));
    assert_eq!(ends(&peer.exchange(&mut server)), [], "it waits");
}

#[test]
fn transfers_of_any_length_are_done_or_end_alone() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    for length in [4 << 20, (4 << 20) + 512, MAX_BUFFER] {
        peer.client.submit(Urb::input(0, gadget_zero::BULK, length));
        assert_eq!(ends(&peer.exchange(&mut server)), [(0, length)]);
        peer.client.submit(Urb::output(0, gadget_zero::BULK, vec![1; length as usize]));
        assert_eq!(ends(&peer.exchange(&mut server)), [(0, length)]);
    }
    for length in [MAX_BUFFER + 1, i32::MAX as u32] {
        peer.client.submit(Urb::input(0, gadget_zero::BULK, length));
        assert_eq!(ends(&peer.exchange(&mut server)), [(pdu::errno::NO_ROOM, 0)]);
    }
    peer.client.submit(Urb::output(0, gadget_zero::BULK, vec![1; MAX_BUFFER as usize + 1]));
    peer.client.submit(Urb::input(0, gadget_zero::BULK, 10));
    assert_eq!(ends(&peer.exchange(&mut server)), [(pdu::errno::NO_ROOM, 0), (0, 10)], "and the stream is whole");
}

/// Room was offered for much more than a peer that does not read may have waiting.
#[test]
fn what_a_device_gives_waits_in_it_while_its_peer_does_not_read() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    let setup = Setup { request_type: 1, request: 11, value: 2, ..Setup::default() };
    peer.client.submit(Urb::control(0, setup, vec![]));
    peer.exchange(&mut server);
    for _ in 0..4 {
        peer.client.submit(Urb::input(0, gadget_zero::INTERRUPT, MAX_BUFFER));
    }
    server.handle_bytes(NOW, peer.id, &peer.client.transmit());
    // One packet passed at once, in effect half a million; the next ones would be hours away but for this.
    for hour in 1..4 {
        server.handle_timeout(Instant::from_secs(hour * 3600));
    }
    assert!(
        server.poll_timeout().is_none(),
        "nothing is to be done before the peer has read: {:?}",
        server.poll_timeout()
    );
    let bytes = drain(&mut server, peer.id);
    assert_eq!(bytes.len(), (pdu::HEADER_LENGTH + MAX_BUFFER as usize));
    assert!(server.poll_timeout().is_some());
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    let mut rounds = 0;
    while server.wants_bytes(peer.id) {
        peer.client.submit(Urb::input(0, gadget_zero::BULK, 16384));
        let bytes = peer.client.transmit();
        server.handle_bytes(NOW, peer.id, &bytes);
        rounds += 1;
    }
    assert!((16..=17).contains(&rounds), "{rounds}");
    assert_eq!(peer.exchange(&mut server).len(), rounds);
    assert!(server.wants_bytes(peer.id));
}

#[test]
fn contradictory_control_transfers_stall() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    let get = Setup { request_type: 0x80, request: 6, value: 0x100, index: 0, length: 18 };
    let good = Urb::control(0, get, vec![]);
    // A device sees what SETUP says only.
    let (longer, shorter) = (Urb { length: 64, ..good.clone() }, Urb { length: 8, ..good.clone() });
    let other_way = Urb { setup: get, ..Urb::output(0, 0, vec![0; 18]) };
    let set = Setup { request_type: 0x40, request: gadget_zero::WRITE_BUFFER, value: 0, index: 0, length: 18 };
    let cut = Urb { setup: set, ..Urb::output(0, 0, vec![0; 17]) };
    let beyond = Urb { setup: set, ..Urb::output(0, 0, vec![0; 19]) };
    let stalled = (pdu::errno::STALL, 0);
    for (urb, end) in [
        (longer, (0, 18)),
        (shorter, (pdu::errno::BABBLE, 8)),
        (other_way, stalled),
        (cut, stalled),
        (beyond, stalled),
        (good, (0, 18)),
    ] {
        peer.client.submit(urb);
        assert_eq!(ends(&peer.exchange(&mut server)), [end]);
    }
}

#[test]
fn undeclared_endpoints_stall_and_keep_the_stream() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    peer.client.submit(Urb::output(0, 9, vec![1; 5000]));
    peer.client.submit(Urb::input(0, 9, 100));
    peer.client.submit(Urb::input(0, gadget_zero::BULK, 10));
    let ends: Vec<_> = peer
        .exchange(&mut server)
        .into_iter()
        .map(|event| match event {
            Event::Done(_, status, urb) => (status, urb.actual),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [(-32, 0), (-32, 0), (0, 10)]);
}

#[test]
fn requests_that_are_none() {
    for (request, reason) in [
        ([1, 0x11, 0x80, 9, 0, 0, 0, 0], CloseReason::Request(0x8009)),
        ([1, 0x11, 0, 5, 0, 0, 0, 0], CloseReason::Request(5)),
        ([1, 0x06, 0x80, 5, 0, 0, 0, 0], CloseReason::Version(0x0106)),
        // SUBMIT before IMPORT.
        ([0, 0, 0, 1, 0, 0, 0, 1], CloseReason::Version(0)),
    ] {
        let mut server = server();
        let id = server.open(NOW, source(1)).unwrap();
        server.handle_bytes(NOW, id, &[&request[..], &[0; 40]].concat());
        assert_eq!((server.closing(id), drain(&mut server, id).len()), (Some(reason), 0));
    }
}

#[test]
fn import_refusals_are_eight_bytes() {
    let mut server = server();
    let _owner = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    for (busid, status) in [(&b"1-1\0"[..], 2), (b"9-9\0", 4), (b"\0", 4), (&[b'1'; 32], 4), (&[0xff, 0], 4)] {
        let id = server.open(NOW, source(1)).unwrap();
        let mut request = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
        request.extend(busid);
        request.resize(40, 0);
        server.handle_bytes(NOW, id, &request);
        assert_eq!(drain(&mut server, id), [1, 0x11, 0, 3, 0, 0, 0, status]);
        assert_eq!(server.closing(id), Some(CloseReason::Served));
        server.close(NOW, id);
    }
}

#[test]
fn half_open_clients_end_after_ten_seconds() {
    let mut server = server();
    let late = server.open(NOW, source(1)).unwrap();
    server.handle_bytes(NOW, late, &[1, 0x11, 0x80]);
    assert_eq!(server.poll_timeout(), Some(Instant::from_secs(10)));
    server.handle_timeout(Instant::from_millis(9999));
    assert_eq!(server.closing(late), None);
    server.handle_timeout(Instant::from_secs(10));
    assert_eq!(server.closing(late), Some(CloseReason::Timeout));
    assert_eq!(server.poll_timeout(), None);
    let _attached = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    assert_eq!(server.poll_timeout(), None, "an importer may be silent");
}

#[test]
fn connections_have_caps() {
    let mut server = server();
    for address in 0.. {
        for _ in 0..MAX_CONNECTIONS_PER_SOURCE {
            server.open(NOW, source(address)).unwrap();
        }
        if server.connections().count() == MAX_CONNECTIONS {
            break;
        }
        assert_eq!(server.open(NOW, source(address)), Err(Refused::Source));
    }
    assert_eq!(server.open(NOW, source(200)), Err(Refused::Full));
    let one = server.connections().next().unwrap();
    server.close(NOW, one);
    assert!(server.open(NOW, source(200)).is_ok());
}

#[test]
fn importers_do_not_count_as_connections() {
    let mut server = Server::new(Options { show_busy: true });
    let busids: Vec<_> = (1..=40).map(|port| format!("1-{port}")).collect();
    busids.iter().for_each(|busid| server.export(busid, gadget(Pattern::Any)).unwrap());
    let peers: Vec<_> = busids.iter().map(|busid| Peer::attach(&mut server, Dialect::Linux, busid, 1)).collect();
    assert_eq!(server.exports().filter(|(.., importer)| importer.is_some()).count(), peers.len());
    let mut lister = Peer::connect(&mut server, Dialect::Linux, 0);
    lister.client.list();
    assert!(matches!(&lister.exchange(&mut server)[..], [Event::Devices(devices)] if devices.len() == 40));
    // The others have their caps as before.
    while server.open(NOW, source(1)).is_ok() {}
    assert_eq!(server.open(NOW, source(1)), Err(Refused::Source));
    assert_eq!(server.connections().count(), peers.len() + MAX_CONNECTIONS_PER_SOURCE);
}

#[test]
fn a_client_sees_through_a_bad_server() {
    let client = || {
        let mut client = Client::new(Dialect::Linux, 0);
        client.import("1-1");
        let mut reply = vec![1, 0x11, 0, 3, 0, 0, 0, 0];
        reply.resize(320, 0);
        client.handle_bytes(&reply).unwrap();
        client
    };
    let reply = |seqnum, actual, packets| {
        let reply = pdu::RetSubmit { seqnum, status: 0, actual, start_frame: 0, packets, errors: 0 };
        Pdu::RetSubmit(reply).encode()
    };
    let unlinked = |seqnum, status| Pdu::RetUnlink(pdu::RetUnlink { seqnum, status }).encode();
    let mut one = client();
    let seqnum = one.submit(Urb::input(0, 1, 8));
    assert_eq!(one.handle_bytes(&reply(seqnum, 9, 0)), Err(ClientFault::Overrun(seqnum, 9)));
    let mut one = client();
    assert_eq!(one.handle_bytes(&reply(5, 0, 0)), Err(ClientFault::Seqnum(5)));
    let mut one = client();
    let victim = one.submit(Urb::output(0, 1, vec![1; 4]));
    let unlink = one.unlink(victim);
    assert_eq!(one.handle_bytes(&unlinked(unlink, 0)), Err(ClientFault::Lost(victim)));
    let mut one = client();
    let victim = one.submit(Urb::input(0, 1, 8));
    let unlink = one.unlink(victim);
    one.handle_bytes(&unlinked(unlink, -104)).unwrap();
    assert_eq!(one.handle_bytes(&reply(victim, 0, 0)), Err(ClientFault::Seqnum(victim)));
    let mut one = client();
    let seqnum = one.submit(Urb::output(0, 1, vec![1; 4]));
    // Data after an OUT reply is read as a header.
    let fault = one.handle_bytes(&[&reply(seqnum, 4, 0)[..], &[0; 48]].concat());
    assert_eq!(fault, Err(Fault::Command(0).into()));
}

proptest! {
    /// Any bytes, attached or not, in any chunks: no panic, and the other client goes on.
    #[test]
    fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..400), attached: bool, chunk in 1usize..80) {
        let mut server = server();
        let mut other = Peer::attach(&mut server, Dialect::Linux, "1-2", 1);
        let id = match attached {
            true => Peer::attach(&mut server, Dialect::Linux, "1-1", 1).id,
            false => server.open(NOW, source(1)).unwrap(),
        };
        for part in data.chunks(chunk) {
            server.handle_bytes(NOW, id, part);
        }
        other.client.submit(Urb::input(0, gadget_zero::BULK, 64));
        prop_assert_eq!(other.exchange(&mut server).len(), 1);
        let mut client = Client::new(Dialect::Linux, 0);
        client.list();
        let _ = client.handle_bytes(&data);
    }

    /// Headers that are nearly right reach further than random bytes.
    #[test]
    fn nearly_right_headers_are_survived(words in proptest::collection::vec((0usize..12, any::<u32>()), 0..4), seqnum: u32, input: bool) {
        let endpoint = if input { Address::input(1) } else { Address::output(1) };
        let mut all = bytes(submit(seqnum, endpoint, 32));
        for (at, word) in words {
            all = with_word(all, at * 4, word);
        }
        all.extend([0; 64]);
        outcome(&all);
    }

    #[test]
    fn what_is_decoded_is_encoded_again(data in proptest::collection::vec(any::<u8>(), 48)) {
        let mut header: [u8; 48] = data.try_into().unwrap();
        header[..4].copy_from_slice(&[0, 0, 0, 1]);
        let route = [0, 0, 0, header[12] & 1, 0, 0, 0, header[16] & 15];
        header[12..20].copy_from_slice(&route);
        header[24..26].fill(0);
        prop_assert_eq!(Pdu::decode(&header).unwrap().encode(), header);
    }
}

/// Counts how often it is asked for data, and the bytes that it was given.
#[derive(Default)]
struct Counting {
    asked: usize,
    given: usize,
}

impl Function for Counting {
    fn poll_in(&mut self, _: Instant, _: Address, room: usize, data: &mut Vec<u8>) -> In {
        self.asked += 1;
        data.resize(room, 0);
        In::Done
    }

    fn handle_out(&mut self, _: Instant, _: Address, data: &[u8]) -> Out {
        self.given += data.len();
        Out::Taken(data.len())
    }
}

#[test]
fn for_a_peer_that_hears_nothing_any_more_no_data_is_made() {
    let endpoints = vec![Endpoint::bulk(Address::input(1)), Endpoint::bulk(Address::output(1))];
    let alternates = vec![Alternate { endpoints, ..Alternate::default() }];
    let interfaces = vec![Interface { alternates }];
    let mut description = Description::new(1, 2);
    description.configurations = vec![Configuration { interfaces, ..Configuration::default() }];
    let mut server = Server::new(Options::default());
    server.export("1-1", Device::new(description, Counting::default()).unwrap()).unwrap();
    let peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    let submits: Vec<u8> = (10..200).flat_map(|seqnum| bytes(submit(seqnum, Address::input(1), 1 << 20))).collect();
    server.handle_bytes(NOW, peer.id, &submits);
    let asked = |server: &Server| server.function::<Counting>("1-1").map(|it| (it.asked, it.given)).unwrap();
    let (before, _) = asked(&server);
    assert!((1..100).contains(&before), "of what the peer does not take only so much is made: {before}");
    server.deafen(NOW, peer.id);
    assert!(server.wants_bytes(peer.id), "what it has sent last may still be an order");
    let mut out = bytes(submit(300, Address::output(1), 512));
    out.extend([7; 512]);
    server.handle_bytes(NOW, peer.id, &[submits, out].concat());
    assert_eq!((asked(&server), server.transmit(NOW, peer.id)), ((before, 512), &[][..]));
    server.close(NOW, peer.id);
    let mut next = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    next.client.submit(Urb::input(0, 1, 64));
    assert!(matches!(&next.exchange(&mut server)[..], [Event::Done(_, 0, urb)] if urb.actual == 64));
}
