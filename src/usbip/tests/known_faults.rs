//! Faults that other servers, clients and proxies of USB/IP have had, and the test that shows each absent here. That every
//! test of the table exists is a test, too.
//!
//! | fault | where | test |
//! |---|---|---|
//! | memory allocated from a header's length | CVE-2017-16913 | `memory_follows_what_has_arrived` |
//! | a length of 2^31 or more taken as one | CVE-2017-16914 | `impossible_headers_close_only_their_connection` |
//! | `number_of_packets` 0x7fffffff ends the server | jiegec/usbip | `impossible_headers_close_only_their_connection` |
//! | a packet outside its buffer | CVE-2017-16914 | `packets_stay_inside_their_buffer` |
//! | an endpoint above 15 is an index | CVE-2017-16912 | `impossible_headers_close_only_their_connection` |
//! | header and SETUP packet contradict each other | CVE-2017-16914 | `contradictory_control_transfers_stall` |
//! | SUBMIT before IMPORT panics | jiegec/usbip | `requests_that_are_none` |
//! | data behind the reply to an OUT transfer: "unknown pdu 0" | several servers | `a_reply_to_an_output_has_no_data` |
//! | an UNLINK of an unknown seqnum has no answer, or two | several servers | `an_unlink_of_nothing_is_answered_once` |
//! | a victim answered after its UNLINK: the client detaches | several servers | `an_unlink_has_two_outcomes` |
//! | the same, where the device ended the victim by itself | this server, once | `a_victim_may_end_before_its_unlink_comes` |
//! | an undeclared endpoint has no answer: the client hangs | Linux usbip-host | `undeclared_endpoints_stall_and_keep_the_stream` |
//! | a reply longer than wLength: the client detaches | several servers | `replies_are_cut_to_what_was_asked` |
//! | an IN transfer without data is answered empty | several servers | `an_input_without_data_waits` |
//! | a seqnum twice | fuzzers | `seqnums_are_unique_while_they_fly` |
//! | any number of URBs pending | fuzzers | `pending_transfers_have_a_bound` |
//! | a client that does not read makes the server grow | fuzzers | `a_peer_that_does_not_read_is_not_read_from` |
//! | half-open clients stay for ever | Linux usbipd | `half_open_clients_end_after_ten_seconds` |
//! | any number of connections | Linux usbipd | `connections_have_caps` |
//! | a client that stops in the middle | passt, and others like it | `a_connection_may_end_at_every_byte` |
//! | a message in chunks is not understood | several servers | `one_byte_at_a_time_makes_no_difference` |
//! | a transfer over 2048 bytes is written behind its buffer | Zephyr, once | `a_long_output_goes_in_parts_and_ends_once` |
//! | an OUT transfer that was taken is counted as 0 bytes | Zephyr, once | `an_output_that_is_counted_as_nothing_was_taken_whole` |
//! | a transfer beyond a limit closes the connection | this server, once | `transfers_of_any_length_are_done_or_end_alone` |
//! | a server that lies is believed | Linux vhci-hcd | `a_client_sees_through_a_bad_server` |
//!
//! Where a descriptor of the operating system has a part in it, `tests/usbip_host` has the same rows against the program.
//! The length of an NTB's block (CVE-2026-31617) has no row: there is no NCM parser here.

use super::*;
use crate::usb::Address;
use crate::usb::class::loopback as gadget_zero;

#[test]
fn every_test_of_the_table_exists() {
    let sources = [
        include_str!("known_faults.rs"),
        include_str!("hostile.rs"),
        include_str!("sessions.rs"),
        include_str!("../decode.rs"),
        include_str!("../split/tests.rs"),
    ];
    let rows: Vec<_> = include_str!("known_faults.rs").lines().filter(|line| line.ends_with("` |")).collect();
    assert!(rows.len() >= 22, "{}", rows.len());
    for row in rows {
        let name = row.rsplit('`').nth(1).unwrap();
        let test = format!("#[test]\nfn {name}()");
        let nested = format!("#[test]\n    fn {name}()");
        assert!(sources.iter().any(|source| source.contains(&test) || source.contains(&nested)), "{row}");
    }
}

#[test]
fn a_reply_to_an_output_has_no_data() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    let outputs = [Urb::output(0, gadget_zero::BULK, vec![1; 700]), Urb::output(0, 9, vec![1; 700])];
    for (urb, actual) in outputs.into_iter().zip([700, 0]) {
        peer.client.submit(urb);
        server.handle_bytes(NOW, peer.id, &peer.client.transmit());
        let reply = drain(&mut server, peer.id);
        assert_eq!(reply.len(), pdu::HEADER_LENGTH);
        assert_eq!(reply[24..28], u32::to_be_bytes(actual));
    }
}

#[test]
fn an_unlink_of_nothing_is_answered_once() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    // Behind a transfer, so that what is unknown is old.
    peer.client.submit(Urb::input(0, gadget_zero::BULK, 4));
    peer.exchange(&mut server);
    for victim in [0, 1, 0x8000_0000] {
        let base = pdu::Base { seqnum: 77, devid: DEVID, endpoint: Address::CONTROL };
        server.handle_bytes(NOW, peer.id, &Pdu::CmdUnlink(pdu::CmdUnlink { base, victim }).encode());
        let answer = Pdu::RetUnlink(pdu::RetUnlink { seqnum: 77, status: 0 }).encode();
        assert_eq!(drain(&mut server, peer.id), answer);
    }
    assert_eq!(server.poll_timeout(), None, "nothing more is to come");
}

#[test]
fn replies_are_cut_to_what_was_asked() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 1);
    // Device, configuration and string descriptors: each is longer.
    for (value, length) in [(0x0100, 8), (0x0200, 9), (0x0302, 3), (0x0600, 1)] {
        let get = Setup { request_type: 0x80, request: 6, value, index: 0, length };
        peer.client.submit(Urb::control(0, get, vec![]));
        server.handle_bytes(NOW, peer.id, &peer.client.transmit());
        let reply = drain(&mut server, peer.id);
        assert_eq!(reply.len(), pdu::HEADER_LENGTH + usize::from(length), "{value:#06x}");
    }
}

#[test]
fn an_input_without_data_waits() {
    let mut server = server();
    let mut peer = Peer::attach(&mut server, Dialect::Linux, "1-1", 2);
    peer.client.submit(Urb::input(0, gadget_zero::LOOP, 8));
    assert_eq!(peer.exchange(&mut server), []);
    assert_eq!(server.poll_timeout(), None);
    peer.client.submit(Urb::output(0, gadget_zero::LOOP, vec![5]));
    let events = peer.exchange(&mut server);
    assert!(matches!(&events[..], [_, Event::Done(_, 0, urb)] if urb.data == [5]), "{events:?}");
}
