//! Bytes that a Linux 6.12 client and server exchanged, word by word.

use super::*;
use crate::usb::IsoPacket;

/// Twelve words, as they are printed.
fn words(text: &str) -> Vec<u8> {
    let bytes: Vec<u8> =
        text.split_whitespace().flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_be_bytes()).collect();
    assert_eq!(bytes.len(), 48);
    bytes
}

const GET_DEVICE: &str = "00000001 00000001 00010002 00000001 00000000 00000200 00000040 00000000 00000000 00000000 \
                          80060001 00004000";
const DEVICE_REPLY: &str = "00000003 00000001 00000000 00000000 00000000 00000000 00000012 00000000 00000000 00000000 \
                            00000000 00000000";
const SET_CONFIGURATION: &str = "00000001 0000000c 00010002 00000000 00000000 00000000 00000000 00000000 00000000 \
                                 00000000 00090100 00000000";
const SET_LINE_CODING: &str = "00000001 0000000d 00010002 00000000 00000000 00000000 00000007 00000000 00000000 \
                               00000000 21200000 00000700";
const INTERRUPT_IN: &str = "00000001 0000000e 00010002 00000001 00000001 00000200 00000010 ffffffff 00000000 00000008 \
                            00000000 00000000";
const BULK_IN: &str = "00000001 0000000f 00010002 00000001 00000002 00000200 00000080 00000000 00000000 00000000 \
                       00000000 00000000";

#[test]
fn headers_are_read_and_written_back() {
    for text in [GET_DEVICE, DEVICE_REPLY, SET_CONFIGURATION, SET_LINE_CODING, INTERRUPT_IN, BULK_IN] {
        let bytes: [u8; 48] = words(text).try_into().unwrap();
        assert_eq!(Pdu::decode(&bytes).unwrap().encode(), bytes, "{text}");
    }
}

#[test]
fn fields_stand_where_linux_has_them() {
    let Ok(Pdu::CmdSubmit(it)) = Pdu::decode(&words(INTERRUPT_IN).try_into().unwrap()) else { panic!() };
    assert_eq!((it.base.seqnum, it.base.devid, it.base.endpoint.byte()), (14, DEVID, 0x81));
    assert_eq!((it.flags, it.length, it.start_frame, it.packets, it.interval), (0x200, 16, u32::MAX, 0, 8));
    let Ok(Pdu::CmdSubmit(it)) = Pdu::decode(&words(SET_LINE_CODING).try_into().unwrap()) else { panic!() };
    let setup = Setup::from_bytes(it.setup);
    assert_eq!((setup.request_type, setup.request, setup.length), (0x21, 0x20, 7));
}

#[test]
fn first_request_gets_the_golden_reply() {
    let mut server = server();
    let id = server.open(NOW, source(1)).unwrap();
    let mut import = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
    import.extend(b"1-1");
    import.resize(40, 0);
    server.handle_bytes(NOW, id, &import);
    let reply = drain(&mut server, id);
    assert_eq!((reply.len(), &reply[..8]), (320, &[1, 0x11, 0, 3, 0, 0, 0, 0][..]));
    assert_eq!(&reply[8 + 256..8 + 288], &import[8..]);
    assert_eq!(reply[8 + 288..8 + 300], [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    server.handle_bytes(NOW, id, &words(GET_DEVICE));
    let reply = drain(&mut server, id);
    assert_eq!(reply[..48], words(DEVICE_REPLY));
    assert_eq!(reply[48..], [18, 1, 0, 2, 0xff, 0, 0, 64, 0x25, 5, 0xa0, 0xa4, 0, 1, 1, 2, 3, 2]);
}

#[test]
fn list_is_as_long_as_it_says() {
    let mut server = server();
    let id = server.open(NOW, source(1)).unwrap();
    server.handle_bytes(NOW, id, &[1, 0x11, 0x80, 5, 0, 0, 0, 0]);
    let reply = drain(&mut server, id);
    assert_eq!(reply[..12], [1, 0x11, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2]);
    assert_eq!(reply.len(), 12 + 2 * (312 + 4));
    assert_eq!(server.closing(id), Some(CloseReason::Served));
}

#[test]
fn isochronous_descriptor() {
    let bytes = [0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xee];
    let (packet, status) = pdu::decode_packet(&bytes, 1024).unwrap();
    assert_eq!((packet, status), (IsoPacket { length: 1024, ..IsoPacket::default() }, pdu::errno::PARTIAL));
    assert_eq!(pdu::encode_packet(&packet, status), bytes);
    assert_eq!(pdu::decode_packet(&bytes, 1023), Err(Fault::Packet(0, 1024)));
}
