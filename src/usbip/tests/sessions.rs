//! What a session promises to a peer that keeps the rules.

use super::*;
use crate::usb::class::{CdcAcm, loopback as gadget_zero};
use crate::usb::{Address, IsoPacket};
use std::time::Duration;

/// What a client sends in a short life: import, configuration, data both ways, an input that waits, and its end.
fn script(dialect: Dialect) -> Vec<u8> {
    let mut client = Client::new(dialect, 100);
    client.import("1-1");
    let mut record = vec![1, 0x11, 0, 3, 0, 0, 0, 0];
    record.resize(320, 0);
    record[8 + 288 + 3] = 1;
    record[8 + 292 + 3] = 2;
    let mut bytes = client.transmit();
    client.handle_bytes(&record).unwrap();
    client.submit(set_configuration(2));
    client.submit(Urb::output(0, gadget_zero::LOOP, vec![7; 10]));
    client.submit(Urb::input(0, gadget_zero::LOOP, 10));
    let waits = client.submit(Urb::input(0, gadget_zero::LOOP, 10));
    client.unlink(waits);
    client.submit(Urb::input(0, gadget_zero::LOOP, 10));
    bytes.extend(client.transmit());
    bytes
}

#[test]
fn one_byte_at_a_time_makes_no_difference() {
    for dialect in [Dialect::Linux, Dialect::Windows] {
        let script = script(dialect);
        let replies = [script.len(), 1, 47].map(|chunk| {
            let mut server = server();
            let id = server.open(NOW, source(1)).unwrap();
            let mut all = Vec::new();
            for part in script.chunks(chunk) {
                server.handle_bytes(NOW, id, part);
                all.extend(drain(&mut server, id));
            }
            assert_eq!(server.closing(id), None);
            all
        });
        assert_eq!(replies[0].len(), 320 + 4 * 48 + 10);
        assert!(replies[0] == replies[1] && replies[1] == replies[2]);
    }
}

#[test]
fn a_connection_may_end_at_every_byte() {
    let mut server = server();
    let script = script(Dialect::Linux);
    for end in 0..=script.len() {
        let id = server.open(NOW, source(1)).unwrap();
        server.handle_bytes(NOW, id, &script[..end]);
        assert_eq!(server.closing(id), None, "{end}");
        let (_, _, importer) = server.exports().next().unwrap();
        assert_eq!(importer.map(|(id, _)| id), (end >= 40).then_some(id));
        server.close(NOW, id);
        let (_, device, importer) = server.exports().next().unwrap();
        assert_eq!((device.configuration(), importer), (0, None), "{end}");
    }
    // Nothing of the earlier lives is left in the loop.
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    peer.client.submit(Urb::input(0, gadget_zero::LOOP, 10));
    assert_eq!(peer.exchange(&mut server), []);
}

#[test]
fn a_device_has_one_importer_and_hides_meanwhile() {
    for show_busy in [false, true] {
        let mut server = Server::new(Options { show_busy });
        server.export("1-1", gadget(Pattern::Zero)).unwrap();
        let owner = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
        let listed = |server: &mut Server| {
            let mut peer = Peer::connect(server, Dialect::Linux, 0);
            peer.client.list();
            match &peer.exchange(server)[..] {
                [Event::Devices(devices)] => devices.iter().map(|device| device.busid.clone()).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(listed(&mut server).len(), usize::from(show_busy));
        let mut second = Peer::connect(&mut server, Dialect::Linux, 0);
        second.client.import("1-1");
        assert_eq!(second.exchange(&mut server), [Event::Refused(OpStatus::Busy)]);
        assert_eq!(server.exports().next().unwrap().2, Some((owner.id, source(1))));
        server.close(NOW, owner.id);
        assert_eq!(listed(&mut server), ["1-1"]);
        Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    }
}

#[test]
fn bus_ids_are_unique() {
    let mut server = server();
    assert_eq!(server.export("1-1", gadget(Pattern::Zero)), Err(ExportError::Taken("1-1".into())));
    assert_eq!(server.export("x", gadget(Pattern::Zero)), Err(ExportError::BusId("x".into())));
}

#[test]
fn an_unlink_has_two_outcomes() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    let waits = peer.client.submit(Urb::input(0, gadget_zero::LOOP, 8));
    let unlink = peer.client.unlink(waits);
    assert_eq!(peer.exchange(&mut server), [Event::Unlinked(unlink, waits, -104)]);
    let ends = peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![1]));
    let unlink = peer.client.unlink(ends);
    let events = peer.exchange(&mut server);
    assert!(matches!(&events[0], Event::Done(seqnum, 0, urb) if *seqnum == ends && urb.actual == 1));
    assert_eq!(events[1..], [Event::Unlinked(unlink, ends, 0)]);
    let unlink = peer.client.unlink(12345);
    assert_eq!(peer.exchange(&mut server), [Event::Unlinked(unlink, 12345, 0)]);
}

#[test]
fn a_victim_may_end_before_its_unlink_comes() {
    let mut server = server();
    server.export("1-3", CdcAcm::device(&Identity::at(Speed::High), false).unwrap()).unwrap();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-3", 1);
    let victim = peer.client.submit(Urb::input(0, 2, 64));
    let waits = peer.client.submit(Urb::input(0, 2, 64));
    assert_eq!(peer.exchange(&mut server), [], "there is nothing to read yet");
    let unlinks = [victim, waits].map(|seqnum| peer.client.unlink(seqnum));
    // The back end's byte is there before the UNLINK is.
    server.with_function(NOW, "1-3", |port: &mut CdcAcm| port.handle_backend(&[7])).unwrap();
    let events = peer.exchange(&mut server);
    assert!(matches!(&events[0], Event::Done(seqnum, 0, urb) if *seqnum == victim && urb.data == [7]), "{events:?}");
    assert_eq!(events[1..], [Event::Unlinked(unlinks[0], victim, 0), Event::Unlinked(unlinks[1], waits, -104)]);
}

#[test]
fn an_unlink_comes_after_the_reply_that_waits_to_be_sent() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    let big: Vec<u32> =
        (0..3).map(|_| peer.client.submit(Urb::input(0, gadget_zero::BULK, OUTPUT_MARK as u32))).collect();
    let unlink = peer.client.unlink(big[2]);
    let events = peer.exchange(&mut server);
    let seqnums: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Done(seqnum, 0, _) | Event::Unlinked(seqnum, _, 0) => *seqnum,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seqnums, [big[0], big[1], big[2], unlink]);
}

#[test]
fn an_unlink_may_overtake_its_victim() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    let victim = peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![1; 8]));
    let late = peer.client.transmit();
    let unlink = peer.client.unlink(victim);
    assert_eq!(peer.exchange(&mut server), [], "held until the victim is there");
    server.handle_bytes(NOW, peer.id, &late);
    assert_eq!(peer.exchange(&mut server), [Event::Unlinked(unlink, victim, -104)]);
    assert_eq!(server.poll_timeout(), None);
    peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![2; 4]));
    peer.client.submit(Urb::input(0, gadget_zero::LOOP, 8));
    let events = peer.exchange(&mut server);
    assert!(matches!(&events[1], Event::Done(_, 0, urb) if urb.data == [2; 4]), "and it had no effect");
}

#[test]
fn an_unlink_does_not_wait_for_ever() {
    let unlink = |seqnum, victim| {
        let base = pdu::Base { seqnum, devid: DEVID, endpoint: Address::CONTROL };
        Pdu::CmdUnlink(pdu::CmdUnlink { base, victim }).encode()
    };
    let answer = |seqnum| Pdu::RetUnlink(pdu::RetUnlink { seqnum, status: 0 }).encode().to_vec();
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    server.handle_bytes(NOW, peer.id, &unlink(50, 40));
    assert_eq!(drain(&mut server, peer.id), [0_u8; 0]);
    let then = server.poll_timeout().unwrap();
    assert_eq!(then, Instant::from_secs(1));
    server.handle_timeout(then);
    assert_eq!(drain(&mut server, peer.id), answer(50));
    assert_eq!(server.closing(peer.id), None);
    server.handle_bytes(NOW, peer.id, &unlink(0x200, 2));
    assert_eq!(drain(&mut server, peer.id), [0_u8; 0]);
    // The next SUBMIT is a newer one: the victim cannot come any more.
    peer.client.submit(Urb::input(0, gadget_zero::LOOP, 8));
    let next = peer.client.submit(Urb::input(0, gadget_zero::LOOP, 8));
    assert_eq!(next, 3);
    let bytes = peer.client.transmit().split_off(48);
    server.handle_bytes(NOW, peer.id, &bytes);
    assert_eq!(drain(&mut server, peer.id), answer(0x200));
}

#[test]
fn both_dialects_get_their_numbers_back() {
    for (dialect, first) in [(Dialect::Linux, u32::MAX - 2), (Dialect::Windows, u32::MAX - 2)] {
        let mut server = server();
        let mut peer = Peer::connect(&mut server, dialect, first);
        peer.client.import("1-1");
        peer.exchange(&mut server);
        peer.client.submit(set_configuration(2));
        let mut seqnums = Vec::new();
        for round in 0..6 {
            let stale = Setup::from_bytes([0x80, 6, 0, 1, 0, 0, 64, round]);
            seqnums.push(peer.client.submit(Urb { setup: stale, ..Urb::output(0, gadget_zero::LOOP, vec![round; 4]) }));
            seqnums.push(peer.client.submit(Urb { setup: stale, ..Urb::input(0, gadget_zero::LOOP, 4) }));
        }
        let events = peer.exchange(&mut server);
        assert_eq!(events.len(), 13);
        assert!(seqnums.iter().any(|seqnum| *seqnum < 100) && seqnums[1] != seqnums[0]);
        if dialect == Dialect::Windows {
            assert!(seqnums.chunks(2).all(|pair| pair[0] & 1 == 0 && pair[1] & 1 == 1));
        }
        assert!(events.iter().all(|event| matches!(event, Event::Done(_, 0, urb) if urb.actual == urb.length)));
    }
}

#[test]
fn isochronous_both_ways() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Windows, "1-1", 1);
    let setup = Setup { request_type: 1, request: 11, value: 1, ..Setup::default() };
    peer.client.submit(Urb::control(0, setup, vec![]));
    assert_eq!(peer.exchange(&mut server).len(), 1);
    // With gaps between the packets: an IN reply has none, an OUT buffer keeps them.
    let packets: Vec<_> = (0..4).map(|at| IsoPacket { offset: at * 100, length: 60, ..IsoPacket::default() }).collect();
    peer.client.submit(Urb { packets: packets.clone(), ..Urb::input(0, gadget_zero::ISOCHRONOUS, 400) });
    peer.client.submit(Urb { packets, ..Urb::output(0, gadget_zero::ISOCHRONOUS, vec![0; 400]) });
    assert_eq!(peer.exchange(&mut server), [], "four microframes have not passed");
    let then = server.poll_timeout().unwrap();
    assert_eq!(then, NOW + Duration::from_micros(500));
    server.handle_timeout(then);
    let ends: Vec<_> = peer
        .exchange(&mut server)
        .into_iter()
        .map(|event| match event {
            Event::Done(_, 0, urb) => (urb.endpoint, urb.actual, urb.data.len(), urb.packets[3].offset),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [(Address::output(2), 240, 0, 300), (Address::input(2), 240, 240, 300)]);
}

#[test]
fn a_halt_is_seen_and_cleared() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    for (request, status) in [(3, -32), (1, 0)] {
        let setup = Setup { request_type: 2, request, index: 0x81, ..Setup::default() };
        peer.client.submit(Urb::control(0, setup, vec![]));
        peer.client.submit(Urb::input(0, gadget_zero::BULK, 8));
        assert!(matches!(peer.exchange(&mut server)[1], Event::Done(_, end, _) if end == status));
    }
}
