//! The URB phase of a session: SUBMIT, UNLINK, and their replies.
//!
//! Theory of operation. Every SUBMIT is entered in `flights` until its answer is encoded. Answers stand in one queue, in
//! the order in which they came about, and are encoded while the output is below its mark. That order gives the two
//! outcomes of an UNLINK: if the device still has the victim, it is taken back, and the answer is -104; otherwise the
//! victim's answer already stands before that of the UNLINK, which is 0. A device also ends URBs by itself, when its back
//! end or its time has come: so what it has finished is queued before it is asked for a victim.
//!
//! There is a third case, seen from Linux: its sending thread lets an UNLINK overtake the SUBMIT of its victim. The client
//! has not forgotten the victim before it has sent the SUBMIT, and has afterwards; so the UNLINK is held until the SUBMIT
//! comes, which is then dropped, and answered with -104. Such a victim is told from one that is long gone by its number: a
//! client counts up, so it is newer than every SUBMIT so far, and older than the UNLINK. If a newer SUBMIT comes, or none
//! within [`OVERTAKEN_TIMEOUT`], it was not one, and the answer is 0.

use super::CloseReason;
use crate::codec::ByteQueue;
use crate::time::{Duration, Instant};
use crate::usb::{Address, Direction, Status, Urb};
use crate::usbip::decode::{Command, Decoder};
use crate::usbip::export::Export;
use crate::usbip::pdu::{CmdSubmit, CmdUnlink, Pdu, RetSubmit, RetUnlink, encode_packet, errno, status_word};
use crate::usbip::{MAX_BUFFER, MAX_PENDING_BYTES, MAX_PENDING_URBS, OUTPUT_MARK};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How long an UNLINK waits for the SUBMIT that it has overtaken.
pub(super) const OVERTAKEN_TIMEOUT: Duration = Duration::from_secs(1);
/// The data of a reply from this length on is sent from where it lies.
const UNCOPIED: usize = 16 << 10;
/// Most buffers kept for the next transfers.
const POOL_BUFFERS: usize = 64;
/// The sum of their capacities, in bytes.
const POOL_CAPACITY: usize = 4 << 20;

/// A SUBMIT without an answer.
struct Flight {
    /// `number_of_packets` as it came, which the answer repeats.
    packets: u32,
    /// Its cost against [`MAX_PENDING_BYTES`].
    bytes: usize,
    input: bool,
}

/// An answer that waits to be encoded.
enum Answer {
    Submit(Urb),
    Unlink(RetUnlink),
}

/// The URB phase of a session.
pub(super) struct Attached {
    pub export: usize,
    devid: u32,
    decoder: Decoder,
    flights: HashMap<u32, Flight, foldhash::fast::RandomState>,
    pending: usize,
    answers: VecDeque<Answer>,
    /// Bytes of IN data among them.
    answered: usize,
    /// It was reported that a transfer found no room.
    told: bool,
    pool: Pool,
    /// The newest seqnum of a SUBMIT.
    newest: Option<u32>,
    /// Victims whose SUBMIT is still to come, and the seqnum of the UNLINK that is held for each.
    held: BTreeMap<u32, u32>,
    /// The peer hears no answer any more.
    deaf: bool,
}

impl Attached {
    /// The export of this number, which the peer knows by `devid`.
    pub fn new(export: usize, devid: u32) -> Self {
        Self {
            export,
            devid,
            decoder: Decoder::default(),
            flights: HashMap::default(),
            pending: 0,
            answers: VecDeque::new(),
            answered: 0,
            told: false,
            pool: Pool::default(),
            newest: None,
            held: BTreeMap::new(),
            deaf: false,
        }
    }

    /// The peer hears no answer any more: transfers to it are taken back, and none is begun. What it sends is taken.
    pub fn deafen(&mut self, export: &mut Export) {
        self.deaf = true;
        let inputs: Vec<u32> = self.flights.iter().filter(|(_, it)| it.input).map(|(seqnum, _)| *seqnum).collect();
        for seqnum in inputs {
            if let Some(urb) = export.device.cancel(seqnum) {
                export.show(urb.endpoint, |monitor, kind| monitor.unlinked(&urb, kind));
                self.land(seqnum);
                self.pool.give(urb.data);
            }
        }
    }

    /// Transfers without an answer.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether an UNLINK waits for its victim.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Does the commands in `bytes`, until they are used up or the output has reached its mark.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        export: &mut Export,
        bytes: &mut &[u8],
        out: &mut ByteQueue,
    ) -> Result<(), CloseReason> {
        while self.answers.is_empty() && out.len() < OUTPUT_MARK {
            let kind = |address: Address| export.device.endpoint_kind(address);
            let pool = &mut self.pool;
            let Some(command) = self.decoder.decode(bytes, kind, || pool.take())? else {
                return Ok(());
            };
            match command {
                Command::Submit(command, urb) => self.submit(now, export, command, urb)?,
                Command::Unlink(command) => self.unlink(export, command)?,
            }
            self.collect(export);
            self.encode(out);
            if bytes.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn submit(&mut self, now: Instant, export: &mut Export, command: CmdSubmit, urb: Urb) -> Result<(), CloseReason> {
        let seqnum = self.check(command.base.devid, command.base.seqnum)?;
        if self.newest.is_none_or(|newest| is_newer(seqnum, newest)) {
            self.newest = Some(seqnum);
        }
        if !self.held.is_empty() && self.release(seqnum) {
            export.tally.unlinked += 1;
            self.pool.give(urb.data);
            return Ok(());
        }
        let input = urb.endpoint.direction() == Direction::In;
        if self.deaf && input {
            self.pool.give(urb.data);
            return Ok(());
        }
        let bytes = held_bytes(&urb);
        let refused = self.refusal(&urb, bytes);
        self.pending += bytes;
        export.show(urb.endpoint, |monitor, kind| monitor.submitted(&urb, kind));
        self.flights.insert(seqnum, Flight { packets: command.packets, bytes, input });
        if let Some(what) = refused {
            if !std::mem::replace(&mut self.told, true) {
                log::warn!("{}: {what}: it ends with ENOMEM, as all further ones do", export.busid);
            }
            self.answer(export, end(urb, Status::NoRoom));
        } else if urb.endpoint.number() == 0 && !is_consistent(&urb) {
            self.answer(export, end(urb, Status::Stall));
        } else {
            export.device.submit(now, urb);
        }
        Ok(())
    }

    /// Why there is no room for a URB that holds so many bytes, if there is none.
    fn refusal(&self, urb: &Urb, bytes: usize) -> Option<String> {
        const MIB: usize = 1 << 20;
        if urb.status == Status::NoRoom {
            let most = MAX_BUFFER as usize / MIB;
            return Some(format!("a transfer of {} bytes is more than the {most} MiB of one", urb.length));
        }
        if self.flights.len() >= MAX_PENDING_URBS {
            return Some(format!("{MAX_PENDING_URBS} transfers wait, and no more may"));
        }
        let full = self.pending + bytes > MAX_PENDING_BYTES;
        full.then(|| format!("a transfer of {bytes} bytes, and {} MiB of others may wait", MAX_PENDING_BYTES / MIB))
    }

    fn answer(&mut self, export: &mut Export, urb: Urb) {
        export.tally.ended(&urb);
        export.show(urb.endpoint, |monitor, kind| monitor.completed(&urb, kind));
        self.answered += input_bytes(&urb);
        self.answers.push_back(Answer::Submit(urb));
    }

    fn unlink(&mut self, export: &mut Export, command: CmdUnlink) -> Result<(), CloseReason> {
        let seqnum = self.check(command.base.devid, command.base.seqnum)?;
        self.collect_all(export);
        let status = match export.device.cancel(command.victim) {
            Some(urb) => {
                export.show(urb.endpoint, |monitor, kind| monitor.unlinked(&urb, kind));
                self.land(urb.id);
                self.pool.give(urb.data);
                export.tally.unlinked += 1;
                errno::UNLINKED
            }
            None if self.hold(command.victim, seqnum) => return Ok(()),
            None => 0,
        };
        self.answers.push_back(Answer::Unlink(RetUnlink { seqnum, status }));
        Ok(())
    }

    /// Holds UNLINK `seqnum`, if the SUBMIT of its victim must still be under way.
    fn hold(&mut self, victim: u32, seqnum: u32) -> bool {
        let overtaken = self.newest.is_some_and(|newest| is_newer(victim, newest)) && is_newer(seqnum, victim);
        let held = overtaken && self.held.len() < MAX_PENDING_URBS && !self.held.contains_key(&victim);
        if held {
            self.held.insert(victim, seqnum);
        }
        held
    }

    /// Answers the UNLINKs that waited for SUBMIT `seqnum`, or for an older one that now cannot come. True if `seqnum` is
    /// a victim.
    fn release(&mut self, seqnum: u32) -> bool {
        let answers = &mut self.answers;
        let mut dropped = false;
        self.held.retain(|victim, unlink| {
            let found = *victim == seqnum;
            let over = found || is_newer(seqnum, *victim);
            if over {
                let status = if found { errno::UNLINKED } else { 0 };
                answers.push_back(Answer::Unlink(RetUnlink { seqnum: *unlink, status }));
            }
            dropped |= found;
            !over
        });
        dropped
    }

    /// Answers every UNLINK that is held: their victims did not come.
    pub fn give_up(&mut self) {
        for (_, seqnum) in std::mem::take(&mut self.held) {
            self.answers.push_back(Answer::Unlink(RetUnlink { seqnum, status: 0 }));
        }
    }

    /// Checks common to all commands: it is for this device, and its seqnum is unused.
    fn check(&self, devid: u32, seqnum: u32) -> Result<u32, CloseReason> {
        if devid != self.devid {
            return Err(CloseReason::DevId(devid));
        }
        if self.flights.contains_key(&seqnum) {
            return Err(CloseReason::Duplicate(seqnum));
        }
        Ok(seqnum)
    }

    /// Takes a SUBMIT out of the table. Gives its `number_of_packets`.
    fn land(&mut self, seqnum: u32) -> u32 {
        let Some(flight) = self.flights.remove(&seqnum) else { return 0 };
        self.pending -= flight.bytes;
        flight.packets
    }

    /// Queues what the device has finished, as long as the peer takes what is queued. What the device still has bounds
    /// what it takes on.
    pub fn collect(&mut self, export: &mut Export) {
        while self.answered < OUTPUT_MARK
            && let Some(urb) = export.device.poll_complete()
        {
            self.answer(export, urb);
        }
    }

    /// Queues all that the device has finished.
    fn collect_all(&mut self, export: &mut Export) {
        while let Some(urb) = export.device.poll_complete() {
            self.answer(export, urb);
        }
    }

    /// Encodes answers while the output is below its mark. Those for a peer that hears none are dropped.
    pub fn encode(&mut self, out: &mut ByteQueue) {
        if self.deaf {
            for answer in std::mem::take(&mut self.answers) {
                if let Answer::Submit(urb) = answer {
                    self.land(urb.id);
                    self.pool.give(urb.data);
                }
            }
            self.answered = 0;
            return;
        }
        while out.len() < OUTPUT_MARK {
            match self.answers.pop_front() {
                None => return,
                Some(Answer::Unlink(reply)) => out.extend(&Pdu::RetUnlink(reply).encode()),
                Some(Answer::Submit(urb)) => self.encode_submit(urb, out),
            }
        }
    }

    fn encode_submit(&mut self, urb: Urb, out: &mut ByteQueue) {
        let packets = self.land(urb.id);
        self.answered -= input_bytes(&urb);
        let reply = RetSubmit {
            seqnum: urb.id,
            status: status_word(urb.status),
            actual: urb.actual,
            start_frame: urb.start_frame,
            packets,
            errors: urb.errors(),
        };
        out.extend(&Pdu::RetSubmit(reply).encode());
        // An OUT reply carries no data, although its actual_length says how much went out.
        let data = match urb.endpoint.direction() {
            Direction::In if urb.data.len() >= UNCOPIED => {
                out.push(urb.data);
                Vec::new()
            }
            Direction::In => {
                out.extend(&urb.data);
                urb.data
            }
            Direction::Out => urb.data,
        };
        for packet in &urb.packets {
            out.extend(&encode_packet(packet, status_word(packet.status)));
        }
        self.pool.give(data);
    }
}

/// Buffers of finished transfers, for the next ones.
#[derive(Default)]
struct Pool {
    buffers: Vec<Vec<u8>>,
    capacity: usize,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.capacity -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0 && self.buffers.len() < POOL_BUFFERS && self.capacity + capacity <= POOL_CAPACITY {
            buffer.clear();
            self.capacity += capacity;
            self.buffers.push(buffer);
        }
    }
}

/// Whether the header of a control transfer and its SETUP packet can both be meant. A device sees the SETUP packet only:
/// an IN buffer may be larger or smaller than what that asks for, but OUT data of another length breaks the protocol of
/// the bus.
fn is_consistent(urb: &Urb) -> bool {
    let setup = urb.setup;
    let input = urb.endpoint.direction() == Direction::In;
    let same = u32::from(setup.length) == urb.length;
    (same || input && setup.length != 0) && (setup.length == 0 || setup.direction() == urb.endpoint.direction())
}

/// What a URB that waits holds, or will all at once: OUT data, and the buffers of isochronous transfers. For other IN
/// transfers there are bytes only when they end.
fn held_bytes(urb: &Urb) -> usize {
    if urb.packets.is_empty() { urb.data.len() } else { urb.length as usize }
}

fn input_bytes(urb: &Urb) -> usize {
    if urb.endpoint.direction() == Direction::In { urb.data.len() } else { 0 }
}

/// A URB that the device has not seen, at its end.
fn end(mut urb: Urb, status: Status) -> Urb {
    urb.packets.iter_mut().for_each(|packet| (packet.actual, packet.status) = (0, status));
    Urb { status, data: Vec::new(), ..urb }
}

/// Whether seqnum `a` was given after `b`; numbers wrap (as in RFC 1982).
fn is_newer(a: u32, b: u32) -> bool {
    (1..1 << 31).contains(&a.wrapping_sub(b))
}
