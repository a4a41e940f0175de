//! Parts by example: what the server sees, and what the client is told. The rules at random are in `usbip/tests/model.rs`.

use super::*;
use crate::usbip::pdu::{Base, SHORT_NOT_OK};

const IN: Address = Address::input(2);
const OUT: Address = Address::output(1);

/// A splitter for parts of 512 bytes, with whole PDUs in and out.
struct Bench(Splitter);

impl Bench {
    fn new() -> Self {
        Self(Splitter::new(600, SpeedCode(3)))
    }

    fn submit(&mut self, seqnum: u32, endpoint: Address, length: u32, flags: u32) -> Result<(), SplitFault> {
        let base = Base { seqnum, devid: 7, endpoint };
        let command = CmdSubmit { base, flags, length, start_frame: 0, packets: 0, interval: 0, setup: [9; 8] };
        let mut bytes = Pdu::CmdSubmit(command).encode().to_vec();
        if endpoint.direction() == Direction::Out {
            bytes.extend((0..length).map(|at| at as u8));
        }
        self.0.handle_client(&bytes)
    }

    fn unlink(&mut self, seqnum: u32, victim: u32) {
        let base = Base { seqnum, devid: 7, endpoint: Address::CONTROL };
        self.0.handle_client(&Pdu::CmdUnlink(CmdUnlink { base, victim }).encode()).unwrap();
    }

    fn reply(&mut self, seqnum: u32, status: i32, actual: u32, data: &[u8]) -> Result<(), SplitFault> {
        let head = RetSubmit { seqnum, status, actual, start_frame: 0, packets: 0, errors: 0 };
        self.0.handle_server(&[Pdu::RetSubmit(head).encode().as_slice(), data].concat())
    }

    fn unlinked(&mut self, seqnum: u32, status: i32) {
        self.0.handle_server(&Pdu::RetUnlink(RetUnlink { seqnum, status }).encode()).unwrap();
    }

    /// What has gone to the server: seqnum, length, flags, data; or an UNLINK's seqnum and victim.
    fn sent(&mut self) -> Vec<(u32, u32, u32, Vec<u8>)> {
        let bytes: Vec<u8> = std::iter::from_fn(|| self.0.to_server().take_first()).flatten().collect();
        let (mut rest, mut decoder) = (bytes.as_slice(), Decoder::default());
        let commands = std::iter::from_fn(|| decoder.decode(&mut rest, |_| None, Vec::new).unwrap());
        let shown = commands.map(|command| match command {
            Command::Submit(command, urb) => (command.base.seqnum, command.length, command.flags, urb.data),
            Command::Unlink(command) => (command.base.seqnum, command.victim, 0, Vec::new()),
        });
        shown.collect()
    }

    /// What the client is told, one reply at most: seqnum, status, actual, data.
    fn told(&mut self) -> Option<(u32, i32, u32, Vec<u8>)> {
        let bytes: Vec<u8> = std::iter::from_fn(|| self.0.to_client().take_first()).flatten().collect();
        let (header, data) = bytes.split_first_chunk()?;
        match Pdu::decode(header).unwrap() {
            Pdu::RetSubmit(it) => Some((it.seqnum, it.status, it.actual, data.to_vec())),
            Pdu::RetUnlink(it) => Some((it.seqnum, it.status, 0, data.to_vec())),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn parts_are_whole_packets_of_the_speed() {
    for (limit, speed, part) in [(2048, 3, 2048), (2000, 3, 1536), (100, 3, 512), (100, 2, 64), (2047, 5, 1024)] {
        assert_eq!(Splitter::new(limit, SpeedCode(speed)).part, part);
    }
}

#[test]
fn a_long_output_goes_in_parts_and_ends_once() {
    let mut bench = Bench::new();
    bench.submit(1, OUT, 1024, ZERO_PACKET).unwrap();
    let first: Vec<u8> = (0..512_u32).map(|at| at as u8).collect();
    assert_eq!(bench.sent(), [(1, 512, 0, first)], "an empty packet follows the last part only");
    bench.reply(1, 0, 512, &[]).unwrap();
    let sent = bench.sent();
    assert_eq!((sent[0].1, sent[0].2, sent[0].3[0]), (512, ZERO_PACKET, 0));
    assert_eq!(bench.told(), None);
    bench.reply(1, 0, 512, &[]).unwrap();
    assert_eq!(bench.told(), Some((1, 0, 1024, Vec::new())));
    assert!(bench.sent().is_empty() && bench.0.flights.is_empty() && bench.0.pending == 0);
}

#[test]
fn a_short_part_and_an_error_are_the_end() {
    let mut bench = Bench::new();
    bench.submit(1, IN, 2000, SHORT_NOT_OK).unwrap();
    bench.reply(1, 0, 512, &[1; 512]).unwrap();
    assert_eq!(bench.sent().last(), Some(&(1, 512, SHORT_NOT_OK, Vec::new())));
    bench.reply(1, errno::SHORT, 3, &[2; 3]).unwrap();
    assert_eq!(bench.told(), Some((1, errno::SHORT, 515, [vec![1; 512], vec![2; 3]].concat())));
    // An empty packet behind whole ones is short, too.
    bench.submit(2, IN, 2000, 0).unwrap();
    bench.reply(2, 0, 512, &[1; 512]).unwrap();
    bench.reply(2, 0, 0, &[]).unwrap();
    assert_eq!(bench.told(), Some((2, 0, 512, vec![1; 512])));
    bench.submit(3, OUT, 1025, 0).unwrap();
    bench.reply(3, 0, 512, &[]).unwrap();
    bench.reply(3, errno::STALL, 64, &[]).unwrap();
    assert_eq!(bench.told(), Some((3, errno::STALL, 576, Vec::new())));
    // The last part is what is left.
    bench.sent();
    bench.submit(4, IN, 513, 0).unwrap();
    bench.reply(4, 0, 512, &[1; 512]).unwrap();
    bench.reply(4, 0, 1, &[5]).unwrap();
    assert_eq!(bench.sent().iter().map(|it| it.1).collect::<Vec<_>>(), [512, 1]);
    assert_eq!(bench.told().map(|it| it.2), Some(513));
}

#[test]
fn transfers_of_an_endpoint_stay_in_order_and_others_pass() {
    let mut bench = Bench::new();
    bench.submit(1, IN, 600, 0).unwrap();
    bench.submit(2, IN, 100, 0).unwrap();
    bench.submit(3, IN, 1000, 0).unwrap();
    bench.submit(4, OUT, 100, 0).unwrap();
    bench.submit(5, IN, 100, 0).unwrap();
    assert_eq!(bench.sent().iter().map(|it| it.0).collect::<Vec<_>>(), [1, 4]);
    bench.reply(1, 0, 10, &[0; 10]).unwrap();
    assert_eq!(bench.sent().iter().map(|it| (it.0, it.1)).collect::<Vec<_>>(), [(2, 100), (3, 512)]);
    bench.told();
    bench.reply(3, errno::STALL, 0, &[]).unwrap();
    assert_eq!(bench.sent().iter().map(|it| it.0).collect::<Vec<_>>(), [5]);
}

#[test]
fn an_unlink_has_two_outcomes_here_too() {
    let mut bench = Bench::new();
    // One that waits here.
    bench.submit(1, IN, 600, 0).unwrap();
    bench.submit(2, IN, 100, 0).unwrap();
    bench.sent();
    bench.unlink(10, 2);
    assert_eq!(bench.told(), Some((10, errno::UNLINKED, 0, Vec::new())));
    // One whose part ends in the meantime: what came is not lost.
    bench.unlink(11, 1);
    assert_eq!(bench.sent(), [(11, 1, 0, Vec::new())]);
    bench.reply(1, 0, 512, &[3; 512]).unwrap();
    assert!(bench.sent().is_empty(), "no further part");
    bench.unlinked(11, 0);
    let told: Vec<u8> = std::iter::from_fn(|| bench.0.to_client().take_first()).flatten().collect();
    assert_eq!(told.len(), 48 + 512 + 48);
    assert_eq!((&told[..8], &told[20..28]), (&[0, 0, 0, 3, 0, 0, 0, 1][..], &[0, 0, 0, 0, 0, 0, 2, 0][..]));
    assert_eq!((&told[560..568], &told[580..584]), (&[0, 0, 0, 4, 0, 0, 0, 11][..], &[0; 4][..]));
    // An output between two parts is given up; so is one that the server gave up itself.
    for (seqnum, status) in [(20, 0), (30, errno::UNLINKED)] {
        bench.submit(seqnum, OUT, 1024, 0).unwrap();
        bench.unlink(seqnum + 1, seqnum);
        if status == 0 {
            bench.reply(seqnum, 0, 512, &[]).unwrap();
        }
        bench.unlinked(seqnum + 1, status);
        assert_eq!(bench.told(), Some((seqnum + 1, errno::UNLINKED, 0, Vec::new())));
    }
    // One that has ended.
    bench.unlink(40, 1);
    bench.unlinked(40, 0);
    assert_eq!(bench.told(), Some((40, 0, 0, Vec::new())));
    assert!(bench.0.flights.is_empty() && bench.0.unlinks.is_empty() && bench.0.pending == 0);
}

#[test]
fn control_transfers_are_not_cut() {
    let mut bench = Bench::new();
    bench.submit(1, Address::CONTROL, 600, 0).unwrap();
    assert_eq!(bench.told(), Some((1, errno::STALL, 0, Vec::new())));
    let base = Base { seqnum: 2, devid: 7, endpoint: Address::new(0, Direction::In) };
    let setup = [0x80, 6, 0, 2, 0, 0, 0, 4];
    let command = CmdSubmit { base, flags: 0, length: 1024, start_frame: 0, packets: 0, interval: 0, setup };
    bench.0.handle_client(&Pdu::CmdSubmit(command).encode()).unwrap();
    let sent = bench.0.to_server().take_first().unwrap();
    assert_eq!((&sent[24..28], &sent[40..]), (&[0, 0, 2, 0][..], &[0x80, 6, 0, 2, 0, 0, 0, 2][..]));
}

#[test]
fn breaches_are_told() {
    let mut bench = Bench::new();
    bench.submit(1, IN, 600, 0).unwrap();
    assert_eq!(bench.submit(1, IN, 10, 0), Err(SplitFault::Duplicate(1)));
    assert_eq!(bench.reply(2, 0, 0, &[]), Err(SplitFault::Seqnum(2)));
    assert_eq!(bench.reply(1, 0, 513, &[]), Err(SplitFault::Overrun(1, 513)));
    let mut bench = Bench::new();
    assert_eq!(bench.0.handle_server(&[9; 48]), Err(SplitFault::Fault(Fault::Direction(0x0909_0909))));
}

#[test]
fn what_is_too_much_ends_alone() {
    let mut bench = Bench::new();
    for seqnum in 0..MAX_PENDING_URBS as u32 {
        bench.submit(seqnum, IN, 600, 0).unwrap();
    }
    assert_eq!(bench.told(), None);
    bench.submit(9999, IN, 600, 0).unwrap();
    assert_eq!(bench.told(), Some((9999, errno::NO_ROOM, 0, Vec::new())));
    let mut bench = Bench::new();
    let base = Base { seqnum: 1, devid: 7, endpoint: IN };
    let length = crate::usbip::MAX_BUFFER + 1;
    let command = CmdSubmit { base, flags: 0, length, start_frame: 0, packets: 0, interval: 0, setup: [0; 8] };
    bench.0.handle_client(&Pdu::CmdSubmit(command).encode()).unwrap();
    assert_eq!(bench.told(), Some((1, errno::NO_ROOM, 0, Vec::new())));
    bench.submit(2, IN, 100, 0).unwrap();
    bench.reply(2, 0, 3, &[1, 2, 3]).unwrap();
    assert_eq!(bench.told(), Some((2, 0, 3, vec![1, 2, 3])), "the others go on");
}

/// As Zephyr answers, which has passed the bytes on by then.
#[test]
fn an_output_that_is_counted_as_nothing_was_taken_whole() {
    let mut bench = Bench::new();
    bench.submit(1, OUT, 1300, 0).unwrap();
    for _ in 0..3 {
        bench.reply(1, 0, 0, &[]).unwrap();
    }
    assert_eq!(bench.sent().iter().map(|it| it.1).collect::<Vec<_>>(), [512, 512, 276]);
    assert_eq!(bench.told(), Some((1, 0, 1300, Vec::new())));
    bench.submit(2, OUT, 100, 0).unwrap();
    bench.reply(2, 0, 0, &[]).unwrap();
    assert_eq!(bench.told(), Some((2, 0, 100, Vec::new())), "in one part, too");
    bench.submit(3, OUT, 1300, 0).unwrap();
    bench.reply(3, 0, 0, &[]).unwrap();
    bench.reply(3, errno::STALL, 5, &[]).unwrap();
    assert_eq!(bench.told(), Some((3, errno::STALL, 517, Vec::new())), "an error counts what was taken");
}
