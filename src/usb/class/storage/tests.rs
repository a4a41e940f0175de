//! The disk by example: commands, the thirteen cases of Bulk-Only Transport, and what its jobs may answer.

use super::*;
use crate::usb::{Speed, Status, Urb};

const NOW: Instant = Instant::ZERO;
const BLOCKS: u64 = 4096;

/// A host, a disk, and the worker that does its jobs on a vector.
struct Rig {
    device: Device,
    image: Vec<u8>,
    error: Option<JobError>,
    next: u32,
    jobs: usize,
}

/// How a command ended: the data that came, the status byte, the residue.
type End = (Vec<u8>, u8, u32);

impl Rig {
    fn new(read_only: bool) -> Self {
        let mut device = MassStorage::device(&Identity::at(Speed::High), BLOCKS, read_only).unwrap();
        let setup = Setup { request: 9, value: 1, ..Setup::default() };
        device.submit(NOW, Urb::control(0, setup, vec![]));
        device.poll_complete().unwrap();
        let image = (0..BLOCKS as usize * BLOCK as usize).map(|at| (at / 512 + at % 251) as u8).collect();
        Self { device, image, error: None, next: 0, jobs: 0 }
    }

    fn work(&mut self) {
        while let Some(job) = self.device.with_function(NOW, MassStorage::poll_job).unwrap() {
            self.jobs += 1;
            let result = match (self.error, &job.work) {
                (Some(error), _) => Err(error),
                (None, Work::Flush) => Ok(vec![]),
                (None, Work::Read(at, length)) => Ok(self.image[*at as usize..*at as usize + length].to_vec()),
                (None, Work::Write(at, data)) => {
                    assert!(data.len() <= JOB_SIZE);
                    self.image[*at as usize..*at as usize + data.len()].copy_from_slice(data);
                    Ok(vec![])
                }
            };
            self.device.with_function(NOW, |disk: &mut MassStorage| disk.handle_job_done(job.id, result));
        }
    }

    fn submit(&mut self, urb: Urb) -> u32 {
        self.next += 1;
        self.device.submit(NOW, Urb { id: self.next, ..urb });
        self.next
    }

    fn run(&mut self, urb: Urb) -> Urb {
        let id = self.submit(urb);
        self.work();
        let done = std::iter::from_fn(|| self.device.poll_complete()).find(|urb| urb.id == id);
        done.expect("the transfer ends")
    }

    fn clear_halt(&mut self, endpoint: Address) {
        let setup = Setup { request_type: 2, request: 1, index: u16::from(endpoint.byte()), ..Setup::default() };
        self.run(Urb::control(0, setup, vec![]));
    }

    fn cbw(&self, length: u32, input: bool, cdb: &[u8]) -> Vec<u8> {
        let mut cbw = [&CBW_SIGNATURE[..], &0x1234_5678u32.to_le_bytes(), &length.to_le_bytes()].concat();
        cbw.extend([u8::from(input) << 7, 0, cdb.len() as u8]);
        cbw.extend(cdb);
        cbw.resize(CBW_LENGTH, 0);
        cbw
    }

    /// One command as Linux's usb-storage does it: IN data in transfers of `piece` bytes, all queued at once.
    fn command(&mut self, cdb: &[u8], input: bool, data: &[u8], length: u32, piece: u32) -> End {
        let cbw = self.cbw(length, input, cdb);
        assert_eq!(self.run(Urb::output(0, 2, cbw)).status, Status::Ok);
        let mut received = Vec::new();
        if input {
            let sizes = (0..length.div_ceil(piece)).map(|at| piece.min(length - at * piece));
            let ids: Vec<u32> = sizes.map(|size| self.submit(Urb::input(0, 1, size))).collect();
            self.work();
            for urb in std::iter::from_fn(|| self.device.poll_complete()) {
                assert!(ids.contains(&urb.id));
                received.extend(urb.data);
            }
        } else {
            for part in data.chunks(piece as usize) {
                assert_eq!(self.run(Urb::output(0, 2, part.to_vec())).actual, part.len() as u32);
            }
        }
        let mut csw = self.run(Urb::input(0, 1, 13));
        if csw.status == Status::Stall {
            self.clear_halt(DATA_IN);
            csw = self.run(Urb::input(0, 1, 13));
        }
        assert_eq!(csw.data[..8], [&CSW_SIGNATURE[..], &0x1234_5678u32.to_le_bytes()].concat());
        (received, csw.data[12], u32::from_le_bytes(csw.data[8..12].try_into().unwrap()))
    }

    fn input(&mut self, cdb: &[u8], length: u32) -> End {
        self.command(cdb, true, &[], length, 122_880)
    }

    fn sense(&mut self) -> (u8, u8) {
        let (data, status, _) = self.input(&[3, 0, 0, 0, 18, 0], 18);
        assert_eq!((status, data.len()), (0, 18));
        (data[2], data[12])
    }
}

fn ten(code: u8, first: u32, count: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (first.to_be_bytes(), count.to_be_bytes());
    [code, 0, a, b, c, d, 0, e, f, 0]
}

#[test]
fn what_linux_asks_first() {
    let mut rig = Rig::new(false);
    let (inquiry, status, residue) = rig.input(&[0x12, 0, 0, 0, 36, 0], 36);
    assert_eq!((inquiry.len(), status, residue, &inquiry[8..16]), (36, 0, 0, &b"zbridge "[..]));
    assert_eq!(rig.command(&[0; 6], false, &[], 0, 512), (vec![], 0, 0));
    assert_eq!(rig.input(&ten(0x25, 0, 0), 8), (vec![0, 0, 15, 255, 0, 0, 2, 0], 0, 0));
    let (mode, status, residue) = rig.input(&[0x1a, 0, 0x3f, 0, 192, 0], 192);
    assert_eq!((mode[0] as usize + 1, mode[2], status, residue), (mode.len(), 0, 0, 192 - 24));
    assert_eq!(rig.input(&[0x12, 1, 0x80, 0, 255, 0], 255).0, b"\0\x80\0\x0c000000000001");
    let mut capacity = [0; 16];
    (capacity[0], capacity[1], capacity[13]) = (0x9e, 0x10, 32);
    assert_eq!(rig.input(&capacity, 32).0[..12], [0, 0, 0, 0, 0, 0, 15, 255, 0, 0, 2, 0]);
    assert_eq!(rig.input(&[0xc1, 0, 0, 0, 36, 0], 36), (vec![], 1, 36));
    assert_eq!(rig.sense(), (5, 0x20));
    assert_eq!(rig.sense(), (0, 0), "told once");
    let lun = Setup { request_type: 0xa1, request: 0xfe, length: 1, ..Setup::default() };
    assert_eq!(rig.run(Urb::control(0, lun, vec![])).data, [0]);
}

#[test]
fn reads_and_writes_of_every_size() {
    let mut rig = Rig::new(false);
    for (first, count, piece) in
        [(0, 1, 512), (7, 240, 122_880), (100, 2048, 4096), (4095, 1, 65536), (0, 4096, 2 << 20)]
    {
        let length = u32::from(count) * BLOCK;
        let from = first as usize * 512;
        let (data, status, residue) = rig.command(&ten(0x28, first, count), true, &[], length, piece);
        assert!(data == rig.image[from..from + length as usize], "{first} {count}");
        assert_eq!((status, residue), (0, 0));
        let new: Vec<u8> = data.iter().map(|byte| byte ^ 0x5a).collect();
        assert_eq!(rig.command(&ten(0x2a, first, count), false, &new, length, piece), (vec![], 0, 0));
        assert!(rig.image[from..from + length as usize] == new, "{first} {count}");
    }
    assert_eq!(rig.command(&ten(0x35, 0, 0), false, &[], 0, 512).1, 0);
    let (data, ..) = rig.input(&[0x08, 0, 0, 3, 2, 0], 1024);
    assert!(data == rig.image[1536..2560]);
    let mut sixteen = [0; 16];
    (sixteen[0], sixteen[9], sixteen[13]) = (0x88, 9, 1);
    assert!(rig.input(&sixteen, 512).0 == rig.image[9 * 512..10 * 512]);
}

/// BOT 1.0, 6.7: what the host announces against what the command means, in blocks.
#[test]
fn thirteen_cases() {
    const READ: u8 = 0x28;
    const WRITE: u8 = 0x2a;
    const NOTHING: u8 = 0x00;
    for piece in [512, 4096] {
        for (case, host, command, meant, end) in [
            (1, 0i32, NOTHING, 0, (0, 0, 0)),
            (2, 0, READ, 1, (0, 2, 0)),
            (3, 0, WRITE, 1, (0, 2, 0)),
            (4, 2, NOTHING, 0, (0, 0, 2)),
            (5, 4, READ, 2, (2, 0, 2)),
            (6, 2, READ, 2, (2, 0, 0)),
            (7, 2, READ, 4, (0, 2, 2)),
            (8, 2, WRITE, 2, (0, 2, 2)),
            (9, -2, NOTHING, 0, (0, 0, 2)),
            (10, -2, READ, 2, (0, 2, 2)),
            (11, -4, WRITE, 2, (0, 0, 2)),
            (12, -2, WRITE, 2, (0, 0, 0)),
            (13, -2, WRITE, 4, (0, 2, 2)),
        ] {
            let mut rig = Rig::new(false);
            let before = rig.image.clone();
            let length = host.unsigned_abs() * BLOCK;
            let data = vec![0xee; if host < 0 { length as usize } else { 0 }];
            let (data, status, residue) = rig.command(&ten(command, 5, meant), host > 0, &data, length, piece);
            let found = (data.len() / 512, status, residue / BLOCK);
            assert_eq!(found, end, "case {case}, transfers of {piece}");
            let written = rig.image.iter().zip(&before).any(|(new, old)| new != old);
            assert_eq!(written, matches!(case, 11 | 12), "case {case}");
            assert_eq!(rig.command(&[0; 6], false, &[], 0, 512).1, 0, "case {case}: the next command");
        }
    }
}

#[test]
fn a_bad_wrapper_needs_a_reset() {
    for bend in [
        |cbw: &mut Vec<u8>| cbw[0] = 0,
        |cbw: &mut Vec<u8>| cbw.push(0),
        |cbw: &mut Vec<u8>| cbw[13] = 1,
        |cbw: &mut Vec<u8>| cbw[14] = 17,
    ] {
        let mut rig = Rig::new(false);
        let mut cbw = rig.cbw(0, false, &[0; 6]);
        bend(&mut cbw);
        assert_eq!(rig.run(Urb::output(0, 2, cbw)).status, Status::Stall);
        rig.clear_halt(DATA_OUT);
        rig.clear_halt(DATA_IN);
        let cbw = rig.cbw(0, false, &[0; 6]);
        assert_eq!(rig.run(Urb::output(0, 2, cbw)).status, Status::Stall, "still broken");
        assert_eq!(rig.run(Urb::input(0, 1, 13)).status, Status::Stall);
        let setup = Setup { request_type: 0x21, request: 0xff, ..Setup::default() };
        assert_eq!(rig.run(Urb::control(0, setup, vec![])).status, Status::Ok);
        rig.clear_halt(DATA_OUT);
        rig.clear_halt(DATA_IN);
        assert_eq!(rig.command(&[0; 6], false, &[], 0, 512).1, 0);
    }
}

#[test]
fn failures_of_the_medium_are_told() {
    let mut rig = Rig::new(false);
    rig.error = Some(JobError::Medium);
    assert_eq!(rig.input(&ten(0x28, 0, 8), 4096), (vec![], 1, 4096));
    assert_eq!(rig.sense(), (3, 0x11));
    for (error, sense) in [(JobError::Medium, (3, 0x0c)), (JobError::Full, (7, 0x27))] {
        rig.error = Some(error);
        assert_eq!(rig.command(&ten(0x2a, 0, 8), false, &[1; 4096], 4096, 512).1, 1);
        assert_eq!(rig.sense(), sense);
    }
    assert_eq!(rig.command(&ten(0x35, 0, 0), false, &[], 0, 512).1, 1, "a flush that fails");
    rig.error = None;
    assert_eq!(rig.input(&ten(0x28, 4095, 2), 1024).1, 1);
    assert_eq!(rig.sense(), (5, 0x21));
    let mut rig = Rig::new(true);
    assert_eq!(rig.command(&ten(0x2a, 0, 1), false, &[1; 512], 512, 512).1, 1);
    assert_eq!(rig.sense(), (7, 0x27));
    assert_eq!(rig.input(&[0x1a, 0, 0x3f, 0, 192, 0], 192).0[2], 0x80);
    assert_eq!(rig.jobs, 0);
}

#[test]
fn a_medium_that_ends_in_the_middle_gives_what_it_has() {
    let mut rig = Rig::new(false);
    let cbw = rig.cbw(1 << 20, true, &ten(0x28, 0, 2048));
    rig.submit(Urb::output(0, 2, cbw));
    let first = rig.device.with_function(NOW, MassStorage::poll_job).unwrap().unwrap();
    assert_eq!(first.work, Work::Read(0, JOB_SIZE));
    assert_eq!(rig.device.with_function(NOW, MassStorage::poll_job).unwrap(), None, "one at a time");
    rig.device.with_function(NOW, |disk: &mut MassStorage| disk.handle_job_done(first.id, Ok(vec![7; JOB_SIZE])));
    rig.error = Some(JobError::Medium);
    let urb = rig.run(Urb::input(0, 1, 1 << 20));
    assert_eq!((urb.actual as usize, urb.status), (JOB_SIZE, Status::Ok));
    let csw = rig.run(Urb::input(0, 1, 13));
    assert_eq!((csw.data[12], csw.data[8..12].to_vec()), (1, ((1 << 20) - JOB_SIZE as u32).to_le_bytes().to_vec()));
}

#[test]
fn a_reset_forgets_the_job_under_way_and_keeps_writes() {
    let mut rig = Rig::new(false);
    let cbw = rig.cbw(512, false, &ten(0x2a, 3, 1));
    rig.submit(Urb::output(0, 2, cbw));
    rig.submit(Urb::output(0, 2, vec![9; 512]));
    rig.device.detach();
    rig.work();
    assert_eq!(rig.image[3 * 512..4 * 512], [9; 512]);
    let setup = Setup { request: 9, value: 1, ..Setup::default() };
    rig.run(Urb::control(0, setup, vec![]));
    assert_eq!(rig.command(&[0; 6], false, &[], 0, 512), (vec![], 0, 0));
}

#[test]
fn a_host_that_resets_again_and_again_has_one_job_at_a_time() {
    let mut rig = Rig::new(false);
    let reset = Setup { request_type: 0x21, request: BULK_ONLY_RESET, ..Setup::default() };
    let jobs = |rig: &mut Rig| -> Vec<Job> {
        std::iter::from_fn(|| rig.device.with_function(NOW, MassStorage::poll_job).flatten()).collect()
    };
    let mut under_way = Vec::new();
    for round in 0..8 {
        let cbw = rig.cbw(JOB_SIZE as u32, false, &[0x2a, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
        rig.submit(Urb::output(0, 2, cbw));
        rig.submit(Urb::output(0, 2, vec![round; JOB_SIZE]));
        rig.submit(Urb::control(0, reset, vec![]));
        under_way.extend(jobs(&mut rig));
    }
    assert_eq!(under_way.len(), 1, "none is begun before the first has ended");
    // Commands wait for it, a flush like any other; and its end is not taken for theirs.
    let flush = rig.cbw(0, false, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    rig.submit(Urb::output(0, 2, flush));
    let status = rig.submit(Urb::input(0, 1, 13));
    assert_eq!(jobs(&mut rig), []);
    let first = under_way.remove(0);
    assert!(matches!(&first.work, Work::Write(0, data) if data.iter().all(|byte| *byte == 0)));
    let end = |disk: &mut MassStorage| disk.handle_job_done(first.id, Err(JobError::Medium));
    rig.device.with_function(NOW, end).unwrap();
    rig.work();
    assert_eq!(rig.jobs, 1, "the flush");
    let done = std::iter::from_fn(|| rig.device.poll_complete()).find(|urb| urb.id == status).expect("the status");
    assert_eq!((done.data.len(), done.data[12]), (13, 0));
}
