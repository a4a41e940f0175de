//! A disk: USB mass storage, Bulk-Only Transport 1.0, with the SCSI commands of a block device.
//!
//! Theory of operation. Each command goes through three phases: a 31-byte command block wrapper comes in, data goes one
//! way, a 13-byte status wrapper goes out. The device compares what the host announced with what the command means (the
//! thirteen cases of BOT 1.0, 6.7) before it does anything; where they cannot be reconciled nothing is done and the
//! status is "phase error". An IN data stage that is shorter than announced ends with a short transfer; a host that may
//! have more transfers queued gets a STALL behind it, so that none of them swallows the status.
//!
//! Reading and writing the medium takes time, so it is not done here. The device emits jobs ([`MassStorage::poll_job`])
//! of at most [`JOB_SIZE`] bytes, one at a time, and takes their results ([`MassStorage::handle_job_done`]); its owner
//! may run them on another thread. While the host fetches one piece, the next is being read; while one is being written,
//! the next comes in. A failed job becomes a medium error, never more. A reset leaves the job that is under way alone, and
//! what the next command needs of the medium waits for its end: resets do not add up to more work.

mod scsi;

pub use scsi::Sense;

use super::Identity;
use crate::time::Instant;
use crate::usb::{
    Address, Alternate, ClassCode, Configuration, Control, Description, DescriptionError, Device, Endpoint, Function,
    In, Interface, Out, Setup,
};
use scsi::Plan;
use std::collections::VecDeque;

/// Bytes of a block.
pub const BLOCK: u32 = 512;
/// The most bytes of a job.
pub const JOB_SIZE: usize = 256 << 10;

const DATA_IN: Address = Address::input(1);
const DATA_OUT: Address = Address::output(2);

/// Bytes of a command block wrapper, and how it begins (BOT 1.0, 5.1).
const CBW_LENGTH: usize = 31;
const CBW_SIGNATURE: [u8; 4] = *b"USBC";
/// How a command status wrapper begins (BOT 1.0, 5.2).
const CSW_SIGNATURE: [u8; 4] = *b"USBS";

/// Class requests (BOT 1.0, 3).
const BULK_ONLY_RESET: u8 = 0xff;
const GET_MAX_LUN: u8 = 0xfe;

/// `bCSWStatus`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Outcome {
    Passed = 0,
    Failed = 1,
    PhaseError = 2,
}

/// The parameters of a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Disk {
    blocks: u64,
    read_only: bool,
    serial: String,
}

/// Work on the medium. Offsets and lengths are in bytes, multiples of [`BLOCK`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Work {
    /// Read so many bytes from this offset.
    Read(u64, usize),
    /// Write these bytes at this offset.
    Write(u64, Vec<u8>),
    /// Make everything written durable.
    Flush,
}

/// A piece of work and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Job {
    /// To be given back with the result.
    pub id: u32,
    /// What to do.
    pub work: Work,
}

/// Why a job failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum JobError {
    /// The medium could not be read or written, or has become too short.
    Medium,
    /// There is no room for the data to write.
    Full,
}

/// Where a command is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Waits for a command.
    Command,
    /// Data to the host; so many bytes are still announced.
    Input,
    /// Data from the host; so many bytes are still announced.
    Output,
    /// The last job is to end before the status.
    Settle,
    /// The data was short: a STALL, then the status.
    Stall,
    /// The status is to be fetched.
    Status,
    /// A wrapper was not one: only a reset helps (BOT 1.0, 6.6.1).
    Broken,
}

/// The function of a disk.
pub struct MassStorage {
    disk: Disk,
    sense: Sense,
    phase: Phase,
    tag: u32,
    outcome: Outcome,
    /// Bytes of the data stage that the host still expects to move.
    announced: u32,
    /// `dCSWDataResidue`: announced bytes that the device did not use or fill.
    residue: u32,
    /// Bytes of the data stage that the device still means to move.
    meant: u64,
    /// Bytes of `meant` for which no job has been made.
    unasked: u64,
    /// Where the next job begins on the medium.
    offset: u64,
    /// Data read and not fetched, from `fetched` on; or data that came and is not given to a job.
    buffer: Vec<u8>,
    fetched: usize,
    jobs: VecDeque<Job>,
    running: Option<u32>,
    /// The running job is one from before a reset: its result is discarded.
    orphaned: bool,
    /// The command is to end with a flush, which is still to be begun.
    flush: bool,
    next_id: u32,
}

impl MassStorage {
    /// A disk of `blocks` blocks of [`BLOCK`] bytes, at least one.
    ///
    /// # Errors
    /// A serial number that is too long.
    pub fn device(identity: &Identity, blocks: u64, read_only: bool) -> Result<Device, DescriptionError> {
        let description = identity.apply(description());
        let serial = description.serial.clone().unwrap_or_default();
        let function = Self {
            disk: Disk { blocks: blocks.max(1), read_only, serial },
            sense: Sense::NONE,
            phase: Phase::Command,
            tag: 0,
            outcome: Outcome::Passed,
            announced: 0,
            residue: 0,
            meant: 0,
            unasked: 0,
            offset: 0,
            buffer: Vec::new(),
            fetched: 0,
            jobs: VecDeque::new(),
            running: None,
            orphaned: false,
            flush: false,
            next_id: 0,
        };
        Device::new(description, function)
    }

    /// Work for the medium. There is never more than one job without a result.
    pub fn poll_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// The result of job `id`: of a read as many bytes as were asked for, of others none.
    pub fn handle_job_done(&mut self, id: u32, result: Result<Vec<u8>, JobError>) {
        if self.running != Some(id) {
            return;
        }
        self.running = None;
        if std::mem::take(&mut self.orphaned) {
            return self.go_on();
        }
        let reading = self.phase == Phase::Input;
        match result {
            Ok(bytes) if !reading => drop(bytes),
            Ok(bytes) if self.asked().is_some_and(|asked| asked == bytes.len() as u64) => {
                if self.fetched == self.buffer.len() {
                    self.buffer = bytes;
                    self.fetched = 0;
                } else {
                    self.buffer.extend_from_slice(&bytes);
                }
            }
            Ok(_) => self.fail(Sense::READ),
            Err(JobError::Full) => self.fail(Sense::FULL),
            Err(JobError::Medium) => self.fail(if reading { Sense::READ } else { Sense::WRITE }),
        }
        self.go_on();
    }

    /// Bytes of the read that has just ended.
    fn asked(&self) -> Option<u64> {
        (self.meant - self.unasked).checked_sub((self.buffer.len() - self.fetched) as u64)
    }

    /// The command fails. Data of the host is still taken, data for the host ends with what is there.
    fn fail(&mut self, sense: Sense) {
        self.sense = sense;
        self.outcome = Outcome::Failed;
        self.unasked = 0;
        if self.phase == Phase::Input {
            self.meant = (self.buffer.len() - self.fetched) as u64;
        } else {
            self.buffer.clear();
            self.meant = 0;
        }
    }

    fn start(&mut self, work: Work) {
        self.next_id = self.next_id.wrapping_add(1);
        self.running = Some(self.next_id);
        self.jobs.push_back(Job { id: self.next_id, work });
    }

    /// Makes the next job, if there is one to make, and enters the phase that follows when nothing is left to do.
    fn go_on(&mut self) {
        if self.running.is_some() {
            return;
        }
        if std::mem::take(&mut self.flush) {
            return self.start(Work::Flush);
        }
        // The last piece of a write may be a small one.
        let least = if self.phase == Phase::Settle { 1 } else { JOB_SIZE };
        match self.phase {
            Phase::Input if self.buffer.len() - self.fetched < JOB_SIZE => self.read_on(),
            Phase::Output | Phase::Settle if self.buffer.len() >= least => {
                let data = std::mem::take(&mut self.buffer);
                let at = self.offset;
                self.offset += data.len() as u64;
                self.start(Work::Write(at, data));
            }
            Phase::Settle => self.phase = Phase::Status,
            _ => {}
        }
    }

    /// Takes a command block wrapper.
    fn command(&mut self, cbw: &[u8]) -> Out {
        let fields = cbw.first_chunk::<CBW_LENGTH>().filter(|_| cbw.len() == CBW_LENGTH);
        let Some(cbw) = fields.filter(|it| it[..4] == CBW_SIGNATURE && it[13] == 0 && matches!(it[14], 1..=16)) else {
            self.phase = Phase::Broken;
            return Out::Stall;
        };
        let word = |at: usize| u32::from_le_bytes([cbw[at], cbw[at + 1], cbw[at + 2], cbw[at + 3]]);
        self.tag = word(4);
        self.announced = word(8);
        self.residue = self.announced;
        self.outcome = Outcome::Passed;
        self.buffer.clear();
        self.fetched = 0;
        (self.meant, self.unasked) = (0, 0);
        let input = cbw[12] & 0x80 != 0;
        let mut cdb = [0; 16];
        let length = usize::from(cbw[14]);
        cdb[..length].copy_from_slice(&cbw[15..15 + length]);
        let plan = scsi::plan(&cdb, &self.disk);
        if !matches!(plan, Ok(Plan::Sense(_))) {
            self.sense = plan.as_ref().err().copied().unwrap_or(Sense::NONE);
        }
        self.phase = match (self.announced, input) {
            (0, _) => Phase::Settle,
            (_, true) => Phase::Input,
            (_, false) => Phase::Output,
        };
        self.execute(plan);
        self.go_on();
        Out::Taken(CBW_LENGTH)
    }

    /// Begins a command, or finds that the host and it do not agree on the data stage.
    fn execute(&mut self, plan: Result<Plan, Sense>) {
        let bytes = |count: u32| u64::from(count) * u64::from(BLOCK);
        let (meant, phase) = match &plan {
            Err(_) => {
                self.outcome = Outcome::Failed;
                return;
            }
            Ok(Plan::Nothing | Plan::Flush) => (0, self.phase.clone()),
            Ok(Plan::Reply(reply)) => (reply.len() as u64, Phase::Input),
            Ok(Plan::Sense(most)) => (scsi::sense_bytes(self.sense, *most).len() as u64, Phase::Input),
            Ok(Plan::Read(_, count)) => (bytes(*count), Phase::Input),
            Ok(Plan::Write(_, count)) => (bytes(*count), Phase::Output),
        };
        // Cases 2, 3, 7, 8, 10 and 13 of BOT 1.0, 6.7.
        if meant > u64::from(self.announced) || (meant > 0 && phase != self.phase) {
            self.outcome = Outcome::PhaseError;
            return;
        }
        self.meant = meant;
        match plan {
            Ok(Plan::Reply(reply)) => self.buffer = reply,
            Ok(Plan::Sense(most)) => {
                self.buffer = scsi::sense_bytes(self.sense, most);
                self.sense = Sense::NONE;
            }
            Ok(Plan::Read(first, _)) => {
                self.offset = first * u64::from(BLOCK);
                self.unasked = meant;
            }
            Ok(Plan::Write(first, _)) => self.offset = first * u64::from(BLOCK),
            Ok(Plan::Flush) => self.flush = true,
            Ok(Plan::Nothing) | Err(_) => {}
        }
    }

    /// Takes data of the host. What the command does not mean to have is thrown away.
    fn take(&mut self, data: &[u8]) -> usize {
        let offered = data.len().min(self.announced as usize);
        let room = if self.meant > 0 { JOB_SIZE - self.buffer.len().min(JOB_SIZE) } else { usize::MAX };
        let taken = offered.min(room);
        let kept = taken.min(usize::try_from(self.meant).unwrap_or(usize::MAX));
        self.buffer.extend_from_slice(&data[..kept]);
        self.meant -= kept as u64;
        self.residue -= kept as u32;
        self.announced -= taken as u32;
        if self.announced == 0 {
            self.phase = Phase::Settle;
        }
        self.go_on();
        taken
    }

    /// Gives data to the host.
    fn give(&mut self, room: usize, data: &mut Vec<u8>) -> In {
        let wanted = room.min(self.announced as usize).min(usize::try_from(self.meant).unwrap_or(usize::MAX));
        let ready = self.buffer.get(self.fetched..).unwrap_or_default();
        if ready.len() < wanted {
            // A transfer may be larger than a job: collect until it can be filled.
            self.read_on();
            return In::Wait;
        }
        data.extend_from_slice(&ready[..wanted]);
        self.fetched += wanted;
        self.meant -= wanted as u64;
        self.residue -= wanted as u32;
        let whole = room >= self.announced as usize;
        self.announced -= wanted as u32;
        if self.announced == 0 || self.meant == 0 {
            self.buffer.clear();
            self.fetched = 0;
            self.phase = if self.announced == 0 || whole { Phase::Settle } else { Phase::Stall };
        }
        self.go_on();
        In::Done
    }

    /// Makes the next job of a read, if one is left to make.
    fn read_on(&mut self) {
        if self.running.is_none() && self.unasked > 0 {
            self.buffer.drain(..self.fetched);
            self.fetched = 0;
            let length = self.unasked.min(JOB_SIZE as u64);
            self.unasked -= length;
            let at = self.offset;
            self.offset += length;
            self.start(Work::Read(at, length as usize));
        }
    }

    /// The command status wrapper.
    fn status(&mut self, data: &mut Vec<u8>) {
        data.extend_from_slice(&CSW_SIGNATURE);
        data.extend(self.tag.to_le_bytes());
        data.extend(self.residue.to_le_bytes());
        data.push(self.outcome as u8);
        self.phase = Phase::Command;
    }
}

fn description() -> Description {
    let alternate = Alternate {
        // SCSI transparent command set, bulk-only transport.
        class: ClassCode(0x08, 0x06, 0x50),
        endpoints: vec![Endpoint::bulk(DATA_IN).with_burst(15), Endpoint::bulk(DATA_OUT).with_burst(15)],
        ..Alternate::default()
    };
    // The serial number is twelve hexadecimal digits or more (BOT 1.0, 4.1.1).
    let mut description = Description::new(0x2fe3, 0x0008).named("zbridge", "disk", "000000000001");
    description.configurations = vec![Configuration {
        self_powered: true,
        max_power: 100,
        interfaces: vec![Interface::new(alternate)],
        ..Configuration::default()
    }];
    description
}

impl Function for MassStorage {
    fn control(&mut self, _: Instant, setup: &Setup, data: &mut Vec<u8>) -> Control {
        match (setup.request_type, setup.request, setup.value, setup.index) {
            (0xa1, GET_MAX_LUN, 0, 0) => data.push(0),
            (0x21, BULK_ONLY_RESET, 0, 0) => self.reset(),
            _ => return Control::Stall,
        }
        Control::Done
    }

    fn handle_out(&mut self, _: Instant, _: Address, data: &[u8]) -> Out {
        match self.phase {
            Phase::Command => self.command(data),
            Phase::Output => Out::Taken(self.take(data)),
            // A host that sends a command before it has fetched the status has lost its place.
            Phase::Status | Phase::Stall | Phase::Input if data.len() == CBW_LENGTH => {
                self.phase = Phase::Broken;
                Out::Stall
            }
            Phase::Broken => Out::Stall,
            _ => Out::Taken(0),
        }
    }

    fn poll_in(&mut self, _: Instant, _: Address, room: usize, data: &mut Vec<u8>) -> In {
        match self.phase {
            Phase::Input => self.give(room, data),
            Phase::Status => {
                self.status(data);
                In::Done
            }
            Phase::Stall => {
                self.phase = Phase::Settle;
                self.go_on();
                In::Stall
            }
            Phase::Broken => In::Stall,
            Phase::Command | Phase::Output | Phase::Settle => In::Wait,
        }
    }

    fn reset(&mut self) {
        self.phase = Phase::Command;
        self.sense = Sense::NONE;
        self.buffer.clear();
        self.fetched = 0;
        self.flush = false;
        // An accepted write is done, even if its result is not awaited.
        let before = self.jobs.len();
        self.jobs.retain(|job| matches!(job.work, Work::Write(..)));
        if self.jobs.len() < before {
            self.running = None;
        }
        self.orphaned = self.running.is_some();
    }
}

#[cfg(test)]
mod tests;
