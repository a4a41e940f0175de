//! Whole transfers between the server and clients that the tests play, over links that lose, repeat and reorder.

use super::*;
use crate::frame::PortId;
use crate::service::station::Ingress;
use crate::wire::Mac;
use proptest::prelude::*;

const WHOM: Station = station(7, 1);

const fn station(last: u8, port: u16) -> Station {
    Station { mac: Mac([2, 0, 0, 0, 0, last]), ingress: Ingress { port: PortId(port), isolated: false } }
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 15], port))
}

fn server() -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 2], PORT))
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn request(file: &str, options: &[(&str, u32)]) -> Vec<u8> {
    let mut bytes = format!("\0\x01{file}\0octet\0").into_bytes();
    for (name, value) in options {
        bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    bytes
}

fn ack(block: u16) -> Vec<u8> {
    [&[0, 4][..], &block.to_be_bytes()].concat()
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 256) as u8).collect()
}

/// Does what the outside does: gives `file`'s bytes. Returns the datagrams.
fn serve(tftp: &mut Tftp, now: Instant, file: &[u8]) -> Vec<Datagram> {
    let mut sent = Vec::new();
    while let Some(output) = tftp.poll_output() {
        match output {
            Output::Send(datagram) => sent.push(datagram),
            Output::Open { file: id, path } => {
                let size = if path == "zephyr.bin" { Ok(file.len() as u64) } else { Err(Fault::NoFile) };
                tftp.handle_opened(now, id, size);
            }
            Output::Read { file: id, offset, len } => {
                let bytes = file.get(offset as usize..offset as usize + len).map(<[u8]>::to_vec);
                tftp.handle_data(now, id, offset, bytes);
            }
            Output::Close(_) => {}
            other => panic!("nothing is written here: {other:?}"),
        }
    }
    sent
}

/// Fetches the file as a client does that takes blocks in order and acknowledges the last of each window. `lost(n)`
/// says whether the n-th datagram, in either direction, is lost. Returns what arrived, and how many datagrams it took.
fn fetch(options: &[(&str, u32)], file: &[u8], mut lost: impl FnMut(usize) -> bool) -> (Vec<u8>, usize) {
    let mut tftp = Tftp::new(1500, false, 7);
    let (mut now, mut count) = (at(0), 0);
    let (mut got, mut next, mut block_len, mut window) = (Vec::new(), 1_u64, 512, 1);
    let mut uplink = vec![(server(), request("zephyr.bin", options))];
    while count < 100_000 {
        for (to, bytes) in std::mem::take(&mut uplink) {
            count += 1;
            if !lost(count) {
                tftp.handle(now, WHOM, (client(1000), to), &bytes);
            }
        }
        let sent = serve(&mut tftp, now, file);
        if sent.is_empty() {
            let Some(until) = tftp.poll_timeout() else {
                // the request itself was lost
                if got.len() == file.len() || next > 1 {
                    return (got, count);
                }
                uplink.push((server(), request("zephyr.bin", options)));
                continue;
            };
            now = until;
            tftp.handle_timeout(now);
        }
        let mut in_window = 0;
        for datagram in sent {
            count += 1;
            if lost(count) {
                continue;
            }
            let payload = &datagram.payload;
            match payload[1] {
                6 => {
                    let texts: Vec<_> = payload[2..].split(|byte| *byte == 0).collect();
                    for pair in texts.chunks(2) {
                        let value = || std::str::from_utf8(pair[1]).unwrap().parse().unwrap();
                        match pair[0] {
                            b"blksize" => block_len = value(),
                            b"windowsize" => window = value(),
                            b"tsize" => assert_eq!(value(), file.len()),
                            _ => {}
                        }
                    }
                    uplink.push((datagram.src, ack(0)));
                }
                3 => {
                    let number = u16::from_be_bytes([payload[2], payload[3]]);
                    if number == next as u16 {
                        got.extend_from_slice(&payload[4..]);
                        next += 1;
                        in_window += 1;
                        if in_window == window || payload.len() - 4 < block_len {
                            uplink.push((datagram.src, ack(number)));
                            in_window = 0;
                        }
                    } else {
                        uplink.push((datagram.src, ack((next - 1) as u16)));
                    }
                }
                _ => return (got, count),
            }
        }
    }
    panic!("no end after {count} datagrams");
}

#[test]
fn files_of_every_length_arrive() {
    for len in [0, 1, 511, 512, 513, 1024, 5000] {
        let file = content(len);
        assert_eq!(fetch(&[], &file, |_| false).0, file, "{len}");
        let options = [("blksize", 1428), ("tsize", 0), ("windowsize", 4)];
        assert_eq!(fetch(&options, &file, |_| false).0, file, "{len}, with options");
    }
}

#[test]
fn block_numbers_wrap() {
    let file = content(70_000 * 8 + 3);
    assert_eq!(fetch(&[("blksize", 8), ("windowsize", 32)], &file, |_| false).0, file);
}

#[test]
fn a_window_takes_fewer_turns() {
    let file = content(32 * 512);
    let (_, one) = fetch(&[], &file, |_| false);
    let (_, many) = fetch(&[("windowsize", 8)], &file, |_| false);
    assert_eq!((one, many), (1 + 2 * 33, 1 + 2 + 33 + 5));
}

#[test]
fn no_ack_is_answered_twice() {
    let file = content(2000);
    let mut tftp = Tftp::new(1500, false, 7);
    tftp.handle(at(0), WHOM, (client(1), server()), &request("zephyr.bin", &[]));
    let first = serve(&mut tftp, at(0), &file);
    let port = first[0].src;
    assert!(tftp.has_port(port.port()) && PORTS.contains(&port.port()) && port.ip() == server().ip());
    tftp.handle(at(1), WHOM, (client(1), port), &ack(1));
    tftp.handle(at(1), WHOM, (client(1), port), &ack(1));
    tftp.handle(at(1), WHOM, (client(1), port), &ack(9));
    assert_eq!(serve(&mut tftp, at(1), &file).len(), 1, "one block for three acknowledgements");
    tftp.handle(at(2), WHOM, (client(1), server()), &request("zephyr.bin", &[]));
    assert_eq!(tftp.transfers(), 1, "it began again");
    assert_eq!(serve(&mut tftp, at(2), &file)[0].payload[..4], [0, 3, 0, 1]);
}

#[test]
fn a_client_that_is_gone_is_given_up() {
    let mut tftp = Tftp::new(1500, false, 7);
    tftp.handle(at(0), WHOM, (client(1), server()), &request("zephyr.bin", &[]));
    let mut times = Vec::new();
    let mut sent = serve(&mut tftp, at(0), &content(10));
    while let Some(now) = tftp.poll_timeout() {
        assert_eq!((sent.len(), sent[0].payload[1]), (1, 3));
        times.push(now.as_millis() / 1000);
        tftp.handle_timeout(now);
        sent = serve(&mut tftp, now, &content(10));
    }
    assert_eq!(times, [1, 3, 7, 15, 23, 31, 39]);
    assert_eq!((sent[0].payload[1], tftp.transfers()), (5, 0));
}

#[test]
fn refusals_say_why() {
    let mut tftp = Tftp::new(1500, false, 7);
    for (bytes, code, text) in [
        (request("other", &[]), 1, "cannot be read"),
        (request("../zephyr.bin", &[]), 1, "no such file"),
        (b"\0\x02zephyr.bin\0octet\0".to_vec(), 2, "read only"),
        (b"\0\x01zephyr.bin\0netascii\0".to_vec(), 4, "only octet mode"),
    ] {
        tftp.handle(at(0), WHOM, (client(1), server()), &bytes);
        let sent = serve(&mut tftp, at(0), b"");
        assert_eq!((sent.len(), &sent[0].payload[..4]), (1, &[0, 5, 0, code][..]), "{text}");
        assert_eq!(sent[0].payload[4..], format!("{text}\0").into_bytes());
    }
    assert_eq!(tftp.transfers(), 0);
    let nowhere = SocketAddr::new(server().ip(), 50_000);
    tftp.handle(at(0), WHOM, (client(1), nowhere), &ack(1));
    assert_eq!(serve(&mut tftp, at(0), b"")[0].payload[..4], [0, 5, 0, 5]);
    tftp.handle(at(0), WHOM, (client(1), nowhere), b"\0\x05\0\0\0");
    assert_eq!(serve(&mut tftp, at(0), b""), []);
}

#[test]
fn a_file_that_changes_ends_its_transfer() {
    let mut tftp = Tftp::new(1500, false, 7);
    tftp.handle(at(0), WHOM, (client(1), server()), &request("zephyr.bin", &[]));
    let port = serve(&mut tftp, at(0), &content(2000))[0].src;
    tftp.handle(at(0), WHOM, (client(1), port), &ack(1));
    let sent = serve(&mut tftp, at(0), &content(600));
    assert_eq!((&sent[0].payload[..2], tftp.transfers()), (&[0, 5][..], 0));
}

#[test]
fn transfers_are_bounded_and_their_own() {
    let mut tftp = Tftp::new(1500, false, 7);
    for host in 0..20 {
        for port in 1..20 {
            let from = SocketAddr::from(([10, 0, 2, host], port));
            tftp.handle(at(0), WHOM, (from, server()), &request("zephyr.bin", &[("windowsize", 9)]));
        }
    }
    assert_eq!(tftp.transfers(), TRANSFERS / 8 * 7, "whatever addresses a port makes up");
    for host in 0..20 {
        tftp.handle(at(0), station(host, 2 + u16::from(host)), (client(2000), server()), &request("zephyr.bin", &[]));
    }
    assert_eq!(tftp.transfers(), TRANSFERS);
    let sent = serve(&mut tftp, at(0), b"x");
    let oack = sent.iter().find(|datagram| datagram.payload[1] == 6).unwrap();
    for (whom, from) in [(WHOM, client(999)), (station(8, 9), oack.dst)] {
        tftp.handle(at(0), whom, (from, oack.src), &ack(0));
        let answer = serve(&mut tftp, at(0), b"x").remove(0);
        assert_eq!((&answer.payload[..4], answer.mac), (&[0, 5, 0, 5][..], Some(whom.mac)), "another's transfer");
    }
    tftp.handle(at(0), WHOM, (oack.dst, oack.src), b"\0\x05\0\0\0");
    assert_eq!(tftp.transfers(), TRANSFERS - 1);
}

/// A board that is reset again and again, and asks from another port each time.
#[test]
fn a_transfer_that_nobody_has_acknowledged_makes_room_for_its_own_host() {
    let file = content(10);
    let mut tftp = Tftp::new(1500, false, 7);
    for port in 1..=100 {
        tftp.handle(at(0), WHOM, (client(port), server()), &request("zephyr.bin", &[]));
        let sent = serve(&mut tftp, at(0), &file);
        assert!(sent.iter().all(|datagram| datagram.payload[1] == 3), "{port}");
    }
    assert_eq!(tftp.transfers(), TRANSFERS_OF_ONE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The file arrives intact over a link that loses a twelfth.
    #[test]
    fn losses_are_made_good(seed: u64, len in 0usize..9000, window in 1u32..9, block in 8u32..1468) {
        let file = content(len);
        let mut state = seed | 1;
        let lost = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 12 == 0
        };
        let (got, _) = fetch(&[("windowsize", window), ("blksize", block.max(64))], &file, lost);
        // a client whose last acknowledgements are all lost has the file all the same
        prop_assert!(got == file);
    }

    #[test]
    fn any_bytes_are_survived(steps: Vec<(bool, Vec<u8>)>) {
        let mut tftp = Tftp::new(1500, false, 7);
        tftp.handle(at(0), WHOM, (client(1), server()), &request("zephyr.bin", &[]));
        let port = serve(&mut tftp, at(0), &content(2000))[0].src;
        for (known, bytes) in steps {
            tftp.handle(at(0), WHOM, (client(1), if known { port } else { server() }), &bytes);
            for datagram in serve(&mut tftp, at(0), &content(2000)) {
                prop_assert!(datagram.payload.len() <= 1500 - 28);
            }
        }
    }
}

/// Other ports of the gateway are its forwards'.
#[test]
fn transfers_keep_to_their_ports() {
    let mut tftp = Tftp::new(1500, false, 7);
    let ports: Vec<u16> = (0..1000).map(|_| tftp.free_port()).collect();
    assert!(ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
}

/// The folder is on a server that does not answer: a transfer ends in time, and others have its place.
#[test]
fn a_file_that_does_not_come_is_given_up() {
    let mut tftp = Tftp::new(1500, true, 7);
    for read in [false, true] {
        tftp.handle(at(0), WHOM, (client(1000), server()), &request("zephyr.bin", &[]));
        let opened = tftp.poll_output();
        let Some(Output::Open { file, .. }) = opened else { panic!("{opened:?}") };
        if read {
            tftp.handle_opened(at(0), file, Ok(5));
            assert!(matches!(tftp.poll_output(), Some(Output::Read { .. })));
        }
        assert_eq!(tftp.poll_timeout(), Some(at(30_000)));
        tftp.handle_timeout(at(29_999));
        assert_eq!((tftp.poll_output(), tftp.transfers()), (None, 1));
        tftp.handle_timeout(at(30_000));
        let told = tftp.poll_output();
        assert!(matches!(&told, Some(Output::Send(it)) if it.payload.starts_with(&[0, 5, 0, 0])), "{told:?}");
        assert_eq!((tftp.poll_output(), tftp.transfers()), (Some(Output::Close(file)), 0));
        // its late result is ignored
        tftp.handle_opened(at(31_000), file, Ok(5));
        tftp.handle_data(at(31_000), file, 0, Some(b"hello".to_vec()));
        assert_eq!(tftp.poll_output(), None);
    }
}

/// The same for a file that is written: it is not made, not written, or does not get its name.
#[test]
fn a_file_that_cannot_be_written_in_time_is_given_up() {
    for step in 0..3 {
        let mut tftp = Tftp::new(1500, true, 7);
        tftp.handle(at(0), WHOM, (client(1000), server()), &write_request("log.bin", &[]));
        let made = tftp.poll_output();
        let Some(Output::Create { file, .. }) = made else { panic!("{made:?}") };
        if step > 0 {
            tftp.handle_opened(at(0), file, Ok(0));
            let answer = tftp.poll_output();
            let Some(Output::Send(answer)) = answer else { panic!("{answer:?}") };
            tftp.handle(at(0), WHOM, (client(1000), answer.src), &block(1, b"log"));
            assert!(matches!(tftp.poll_output(), Some(Output::Write { .. })));
        }
        if step > 1 {
            tftp.handle_written(at(0), file, Ok(()));
            assert_eq!(tftp.poll_output(), Some(Output::Keep(file)));
        }
        assert_eq!(tftp.poll_timeout(), Some(at(30_000)));
        tftp.handle_timeout(at(30_000));
        let told = tftp.poll_output();
        assert!(matches!(&told, Some(Output::Send(it)) if it.payload.starts_with(&[0, 5, 0, 0])), "{step} {told:?}");
        assert_eq!((tftp.poll_output(), tftp.transfers()), (Some(Output::Close(file)), 0));
    }
}

/// A board with one port for all its requests is reset before anything was acknowledged.
#[test]
fn another_request_from_the_same_port_begins_anew() {
    let mut tftp = Tftp::new(1500, false, 7);
    tftp.handle(at(0), WHOM, (client(1000), server()), &request("zephyr.bin", &[]));
    assert_eq!(serve(&mut tftp, at(0), b"content").len(), 1);
    tftp.handle(at(300), WHOM, (client(1000), server()), &request("zephyr.bin", &[]));
    assert_eq!(serve(&mut tftp, at(300), b"content"), [], "the same again is answered in time");
    for other in [request("absent", &[]), request("zephyr.bin", &[("blksize", 1000)])] {
        tftp.handle(at(300), WHOM, (client(1000), server()), &other);
        assert_eq!((serve(&mut tftp, at(300), b"content").len(), tftp.transfers() < 2), (1, true));
    }
}

/// Complete files of a server that takes uploads, by name.
#[derive(Default)]
struct Disk {
    open: BTreeMap<u64, (String, Vec<u8>)>,
    kept: BTreeMap<String, Vec<u8>>,
    full: bool,
}

impl Disk {
    fn serve(&mut self, tftp: &mut Tftp, now: Instant) -> Vec<Datagram> {
        let mut sent = Vec::new();
        while let Some(output) = tftp.poll_output() {
            match output {
                Output::Send(datagram) => sent.push(datagram),
                Output::Create { file, path } => {
                    self.open.insert(file, (path, Vec::new()));
                    tftp.handle_opened(now, file, Ok(0));
                }
                Output::Write { file, offset, bytes } => {
                    let (_, content) = self.open.get_mut(&file).unwrap();
                    assert_eq!(content.len() as u64, offset);
                    content.extend(bytes);
                    tftp.handle_written(now, file, if self.full { Err(Fault::Full) } else { Ok(()) });
                }
                Output::Keep(file) => {
                    let (path, content) = self.open.remove(&file).unwrap();
                    self.kept.insert(path, content);
                    tftp.handle_kept(now, file, Ok(()));
                }
                Output::Close(file) => drop(self.open.remove(&file)),
                other => panic!("nothing is read here: {other:?}"),
            }
        }
        sent
    }
}

fn write_request(file: &str, options: &[(&str, u32)]) -> Vec<u8> {
    let mut bytes = request(file, options);
    bytes[1] = 2;
    bytes
}

fn block(number: u16, bytes: &[u8]) -> Vec<u8> {
    [&[0, 3][..], &number.to_be_bytes(), bytes].concat()
}

/// Writes a file as a client does that repeats what is not acknowledged. `lost(n)` as above.
fn put(content: &[u8], options: &[(&str, u32)], mut lost: impl FnMut(usize) -> bool) -> BTreeMap<String, Vec<u8>> {
    let block_len = options.iter().find(|(name, _)| *name == "blksize").map_or(512, |(_, len)| *len as usize);
    let (mut tftp, mut disk, mut now, mut count) = (Tftp::new(1500, true, 7), Disk::default(), at(0), 0);
    let (mut to, mut acked) = (server(), None);
    let last = content.len() / block_len + 1;
    while acked.is_none_or(|acked: usize| acked < last) && count < 20_000 {
        let next = acked.map_or_else(
            || write_request("log.bin", options),
            |acked| {
                let rest = &content[acked * block_len..];
                block(acked as u16 + 1, rest.get(..block_len).unwrap_or(rest))
            },
        );
        count += 1;
        if !lost(count) {
            tftp.handle(now, WHOM, (client(1000), to), &next);
        }
        for datagram in disk.serve(&mut tftp, now) {
            count += 1;
            if !lost(count) {
                let number = if datagram.payload[1] == 6 { 0 } else { usize::from(datagram.payload[3]) };
                if acked.is_none_or(|acked| number == (acked + 1) & 0xff) {
                    acked = Some(acked.map_or(0, |acked| acked + 1));
                }
                to = datagram.src;
            }
        }
        now += Duration::from_millis(300);
        tftp.handle_timeout(now);
    }
    disk.kept
}

#[test]
fn a_client_writes_a_file() {
    for len in [0, 1, 511, 512, 513, 5000] {
        for options in [&[][..], &[("tsize", len), ("blksize", 1000)]] {
            let kept = put(&content(len as usize), options, |_| false);
            assert_eq!(kept, BTreeMap::from([("log.bin".to_owned(), content(len as usize))]), "{len} {options:?}");
        }
    }
}

#[test]
fn what_a_client_writes_is_whole_or_not_there() {
    let (mut tftp, mut disk) = (Tftp::new(1500, true, 7), Disk::default());
    let begin = |tftp: &mut Tftp, disk: &mut Disk, now| {
        tftp.handle(now, WHOM, (client(1000), server()), &write_request("log.bin", &[]));
        disk.serve(tftp, now).pop().unwrap().src
    };
    let to = begin(&mut tftp, &mut disk, at(0));
    tftp.handle(at(0), WHOM, (client(1000), to), &block(1, &[7; 512]));
    assert_eq!(disk.serve(&mut tftp, at(0))[0].payload, [0, 4, 0, 1]);
    // a block from the future and one of the past
    for (number, answers) in [(3, 0), (1, 1)] {
        tftp.handle(at(0), WHOM, (client(1000), to), &block(number, &[7; 512]));
        assert_eq!(disk.serve(&mut tftp, at(0)).len(), answers, "{number}");
    }
    // the client is gone
    while let Some(until) = tftp.poll_timeout() {
        tftp.handle_timeout(until);
        disk.serve(&mut tftp, until);
    }
    assert_eq!((tftp.transfers(), disk.open.len(), disk.kept.len()), (0, 0, 0));
    disk.full = true;
    let to = begin(&mut tftp, &mut disk, at(0));
    tftp.handle(at(0), WHOM, (client(1000), to), &block(1, &[7; 5]));
    assert_eq!(disk.serve(&mut tftp, at(0))[0].payload[..4], [0, 5, 0, 3]);
    tftp.handle(at(0), WHOM, (client(1000), server()), &write_request("log.bin", &[("tsize", 300 << 20)]));
    assert_eq!(disk.serve(&mut tftp, at(0))[0].payload[..4], [0, 5, 0, 3], "too long from the start");
    let to = begin(&mut tftp, &mut disk, at(0));
    tftp.handle(at(0), WHOM, (client(1000), to), &block(1, &[7; 513]));
    assert_eq!(disk.serve(&mut tftp, at(0))[0].payload[..4], [0, 5, 0, 4]);
    assert_eq!((tftp.transfers(), disk.open.len(), disk.kept.len()), (0, 0, 0));
}

proptest! {
    #[test]
    fn a_file_that_is_written_arrives_over_any_link(len in 0_usize..4000, seed: u64) {
        let mut random = Random::new(seed, "loss");
        let kept = put(&content(len), &[("blksize", 100)], |_| random.word().is_multiple_of(4));
        prop_assert_eq!(kept.get("log.bin"), Some(&content(len)));
    }
}
