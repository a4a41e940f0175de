//! Serial ports on sockets of the test's own: framing under every kind of short write, Contiki's words, the adapter.

use super::*;
use crate::limits::BATCH_BYTES;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration as StdDuration, Instant as StdInstant};

/// How long anything may take on a loaded machine; nothing that works waits for it.
const PATIENCE: StdDuration = StdDuration::from_secs(20);

/// A port that dials the test, and the test's end.
fn pair(spec: &str) -> (Serial, UnixStream) {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("line")).unwrap();
    let spec = spec.replace("LINE", &format!("unix:{},connect", dir.path().join("line").display()));
    let spec = PortSpec::parse(&spec).unwrap();
    let serial = match &spec.kind {
        crate::config::PortKind::Slip(slip) => Serial::slip(&spec, slip),
        crate::config::PortKind::Wpan(wpan) => Serial::wpan(&spec, wpan),
        other => panic!("{other:?}"),
    };
    let peer = listener.accept().unwrap().0;
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (serial.unwrap(), peer)
}

fn batch_of<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> Batch {
    let mut batch = Batch::new(4 << 20);
    frames.into_iter().for_each(|frame| assert!(batch.push(frame, PortId(0), Offload::NONE)));
    batch
}

/// Reads until `wanted` frames and drops have come, and returns the frames.
fn received(serial: &mut Serial, counters: &mut Counters, wanted: usize) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let start = StdInstant::now();
    while frames.len() as u64 + counters.rx_frames < wanted as u64 {
        let mut batch = Batch::new(BATCH_BYTES);
        serial.receive(&mut batch, PortId(1), counters).unwrap();
        frames.extend(batch.frames().iter().map(|frame| batch.bytes(frame).to_vec()));
        assert!(start.elapsed() < PATIENCE, "{frames:02x?}");
    }
    frames
}

fn encoded(frames: &[&[u8]]) -> Vec<u8> {
    let mut line = Vec::new();
    frames.iter().for_each(|frame| slip::encode(frame, &mut line));
    line
}

#[test]
fn every_short_write_keeps_frames_whole() {
    for spec in ["slip:LINE", "wpan:LINE"] {
        let (mut serial, mut peer) = pair(spec);
        let most = if spec.starts_with("wpan") { 127 } else { 1514 };
        let thorns = [slip::END, slip::ESC, uart_pipe::START, 0];
        let frame = |n: usize| -> Vec<u8> { (0..14 + (n * 37) % (most - 13)).map(|at| thorns[(at + n) % 4]).collect() };
        let frames: Vec<Vec<u8>> = (0..3000).map(frame).collect();
        let batch = batch_of(frames.iter().map(Vec::as_slice));
        let mut counters = Counters::default();
        let mut line = Vec::new();
        let mut done = 0;
        while done < batch.len() {
            done += serial.transmit(Outgoing::rest_of(&batch, done), &mut counters).unwrap();
            let mut some = vec![0; 4999];
            let got = peer.read(&mut some).unwrap();
            line.extend_from_slice(&some[..got]);
        }
        drop(serial);
        peer.read_to_end(&mut line).unwrap();
        let expected = if most == 127 {
            let mut line = Vec::new();
            frames.iter().for_each(|frame| uart_pipe::encode(frame, &mut line).unwrap());
            line
        } else {
            encoded(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        assert!(line == expected, "{spec}: every byte once, in order");
        assert_eq!(counters.tx_frames, 3000);
        assert_eq!(counters.tx_bytes as usize, frames.iter().map(Vec::len).sum::<usize>());
    }
}

#[test]
fn frames_come_in_whatever_the_pieces_and_faults_are_counted() {
    let (mut serial, mut peer) = pair("slip:LINE");
    let worst = [slip::END; 1518];
    let (long, wrong) = ([7; 1523], [slip::END, 1, slip::ESC, 9, slip::END]);
    let line = [encoded(&[&worst, &long]), wrong.to_vec(), encoded(&[&[slip::ESC; 1518], &[1, 2, 3]])].concat();
    let mut counters = Counters::default();
    let mut frames = Vec::new();
    for piece in line.chunks(1000) {
        peer.write_all(piece).unwrap();
        let mut batch = Batch::new(BATCH_BYTES);
        serial.receive(&mut batch, PortId(1), &mut counters).unwrap();
        frames.extend(batch.frames().iter().map(|frame| batch.bytes(frame).to_vec()));
    }
    assert!(frames == [worst.to_vec(), [slip::ESC; 1518].to_vec(), vec![1, 2, 3]]);
    assert_eq!((counters.dropped(DropReason::Oversize), counters.dropped(DropReason::LineNoise)), (1, 1));
    assert_eq!(counters.rx_frames, 2, "what was put into the batch is counted by the switch");
}

#[test]
fn a_radio_line_recovers_within_a_frame() {
    let (mut serial, mut peer) = pair("wpan:LINE");
    let mut line = vec![0x55];
    for n in 0..3 {
        uart_pipe::encode(&[n; 20], &mut line).unwrap();
    }
    // A byte of the second frame is lost: its length then takes the start of the third.
    line.remove(1 + 22 + 5);
    let mut tail = Vec::new();
    uart_pipe::encode(&[9; 3], &mut tail).unwrap();
    peer.write_all(&[line, tail].concat()).unwrap();
    let mut counters = Counters::default();
    let mut batch = Batch::new(BATCH_BYTES);
    serial.receive(&mut batch, PortId(1), &mut counters).unwrap();
    let frames: Vec<_> = batch.frames().iter().map(|frame| batch.bytes(frame)).collect();
    assert_eq!((frames.first(), frames.last()), (Some(&&[0; 20][..]), Some(&&[9; 3][..])));
    assert!(frames.contains(&&[2; 20][..]), "the frame behind the damaged one is whole: {frames:02x?}");
    assert!(counters.dropped(DropReason::LineNoise) >= 1);
}

#[test]
fn contikis_words_are_answered_and_never_frames() {
    let (mut serial, mut peer) = pair("slip:LINE,mode=ip,ip=2001:db8:1:2::1/64,mac=02:00:5e:00:53:09");
    let mut counters = Counters::default();
    let line = encoded(&[b"?P", b"\rStarting\n", b"!M0012740000001234", b"?M", &[0x45, 0]]);
    peer.write_all(&line).unwrap();
    let frames = received(&mut serial, &mut counters, 1);
    assert!(frames.is_empty());
    assert_eq!((counters.rx_frames, counters.dropped(DropReason::LineNoise)), (1, 1), "the last is half a packet");
    let mut answers = vec![0; 12];
    peer.read_exact(&mut answers).unwrap();
    assert_eq!(answers, encoded(&[b"!P\x20\x01\x0d\xb8\0\x01\0\x02"]));
    peer.write_all(&encoded(&[b"?M", &[0x45, 0]])).unwrap();
    received(&mut serial, &mut counters, 2);
    let mut answers = vec![0; 20];
    peer.read_exact(&mut answers).unwrap();
    assert_eq!(answers, encoded(&[b"!M02005EFFFE005309"]));
}

#[test]
fn lines_that_firmware_prints_between_packets_are_no_noise_and_packets_that_look_like_text_pass() {
    let (mut serial, mut peer) = pair("slip:LINE,mode=ip,ip=192.0.2.1/24,mac=02:00:5e:00:53:09");
    let mut counters = Counters::default();
    // All of its data could be printed.
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([192, 0, 2, 1], [224, 0, 0, 1], 64).udp(0x4141, 0x4242);
    builder.write(&mut packet, b"a line of text\n").unwrap();
    let lines = [&b"[INFO: Main] framed\n"[..], b"[INFO: Main] bare\n[INFO: RPL] another\n", b"Boot\r\n"];
    peer.write_all(&encoded(&[&lines[..], &[&packet, b"x\x00y"]].concat())).unwrap();
    let frames = received(&mut serial, &mut counters, 2);
    assert!(frames.len() == 1 && frames[0].ends_with(&packet), "{frames:?}");
    assert_eq!(counters.dropped(DropReason::LineNoise), 1, "what is neither is noise");
}

#[test]
fn contikis_words_can_be_turned_off() {
    let (mut serial, mut peer) = pair("slip:LINE,contiki=off");
    peer.write_all(&encoded(&[b"?P", b"\rtext"])).unwrap();
    let frames = received(&mut serial, &mut Counters::default(), 2);
    assert_eq!(frames, [&b"?P"[..], b"\rtext"], "for the switch to count as malformed");
}

#[test]
fn questions_between_packets_are_answered_once_however_the_line_stutters() {
    let (mut serial, mut peer) = pair("slip:LINE,mode=ip,ip=192.0.2.1/24,mac=02:00:5e:00:53:09,mtu=1500");
    let (own, host) = ([2, 0, 0x5e, 0, 0x53, 9], [2, 0, 0, 0, 0, 2]);
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64).udp(7, 7);
    builder.write(&mut packet, &[slip::END; 1400]).unwrap();
    let data = [&own[..], &host, &[8, 0], &packet].concat();
    let question =
        [&[0xff; 6][..], &host, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &host, &[192, 0, 2, 2], &[0; 6], &[192, 0, 2, 1]]
            .concat();
    let stranger = [&[2, 9, 9, 9, 9, 9][..], &data[6..]].concat();
    let batch = batch_of((0..600).map(|n| match n % 3 {
        0 => &question[..],
        1 => &data[..],
        _ => &stranger[..],
    }));
    let mut counters = Counters::default();
    let (mut done, mut line, mut answers) = (0, Vec::new(), 0);
    while done < batch.len() {
        done += serial.transmit(Outgoing::rest_of(&batch, done), &mut counters).unwrap();
        let mut some = vec![0; 5001];
        let got = peer.read(&mut some).unwrap();
        line.extend_from_slice(&some[..got]);
        let mut own = Batch::new(BATCH_BYTES);
        serial.receive(&mut own, PortId(1), &mut counters).unwrap();
        answers += own.len();
    }
    drop(serial);
    peer.read_to_end(&mut line).unwrap();
    assert!(line == encoded(&vec![&packet[..]; 200]));
    assert_eq!((answers, counters.tx_frames), (200, 400));
    assert_eq!(counters.dropped(DropReason::NotForPeer), 200);
}

#[test]
fn macs_made_from_names_are_local_and_differ() {
    let macs = ["node1", "node2", "slip.sock"].map(mac_from);
    assert!(macs.iter().all(|mac| mac.0[0] == 2));
    assert!(macs[0] != macs[1] && macs[1] != macs[2] && mac_from("node1") == macs[0]);
}
