//! One transfer of each kind, offered to the function as a bus would.
//!
//! A step either finishes its URB (true) or leaves it as it is, but for the bytes of an OUT transfer that were taken.

use super::super::function::{Control, In, Out};
use super::super::standard;
use super::super::types::{Direction, TransferKind};
use super::super::urb::{Status, Urb};
use super::{Active, BACKLOG, Device, Waiting, slot_of};
use crate::time::Instant;

impl Device {
    /// Offers one URB to its function. True when it is finished.
    pub(super) fn step(&mut self, now: Instant, at: usize, waiting: &mut Waiting) -> bool {
        let urb = &mut waiting.urb;
        let Some(active) = self.slots[at].active else {
            urb.status = Status::Stall;
            return true;
        };
        let input = urb.endpoint.direction() == Direction::In;
        if input && active.kind != TransferKind::Control && self.backlog >= BACKLOG {
            (self.held, self.slots[at].paced) = (true, false);
            return false;
        }
        match active.kind {
            TransferKind::Control => self.step_control(now, urb),
            TransferKind::Isochronous => now >= waiting.due && self.step_isochronous(now, urb),
            TransferKind::Interrupt => self.step_interrupt(now, at, active, urb),
            TransferKind::Bulk if input => self.step_in(now, urb),
            TransferKind::Bulk => self.step_out(now, urb),
        }
    }

    /// One packet in an interval, and so one transfer in as many as it has packets. The intervals follow each other as
    /// long as there is something for them, however late this is called in each.
    fn step_interrupt(&mut self, now: Instant, at: usize, active: Active, urb: &mut Urb) -> bool {
        let next = self.slots[at].next;
        self.slots[at].paced = now < next;
        if now < next {
            return false;
        }
        let done = match urb.endpoint.direction() {
            Direction::In => self.step_in(now, urb),
            Direction::Out => self.step_out(now, urb),
        };
        if done {
            let packets = (urb.actual as usize).div_ceil(active.packet.max(1)).max(1);
            let start = if now < next + active.period { next } else { now };
            self.slots[at].next = start + active.period.saturating_mul(u32::try_from(packets).unwrap_or(u32::MAX));
        }
        done
    }

    fn step_control(&mut self, now: Instant, urb: &mut Urb) -> bool {
        let setup = urb.setup;
        let input = setup.direction() == Direction::In;
        if input {
            urb.data.clear();
        }
        let own = match standard::reads_descriptor(&setup) {
            true => self.function.descriptor(now, &setup, &mut urb.data),
            false => None,
        };
        let answer = match own {
            Some(answer) => answer,
            None => match self.standard(now, &setup, &urb.data) {
                Some(reply) => reply.answer(&mut urb.data),
                None => self.function.control(now, &setup, &mut urb.data),
            },
        };
        match answer {
            Control::Wait => return false,
            Control::Stall => {
                urb.status = Status::Stall;
                urb.actual = 0;
                if input {
                    urb.data.clear();
                }
            }
            Control::Done if input => {
                urb.data.truncate(usize::from(setup.length));
                if urb.data.len() > urb.length as usize {
                    urb.data.truncate(urb.length as usize);
                    urb.status = Status::Babble;
                }
                end_in(urb);
            }
            Control::Done => urb.actual = urb.length,
        }
        // Where there is no data stage, a host may name the direction of the status stage. That carries nothing.
        if !input && urb.endpoint.direction() == Direction::In {
            urb.data.clear();
        }
        true
    }

    fn step_out(&mut self, now: Instant, urb: &mut Urb) -> bool {
        loop {
            let rest = urb.data.get(urb.actual as usize..).unwrap_or_default();
            match self.function.handle_out(now, urb.endpoint, rest) {
                Out::Wait => return false,
                Out::Taken(0) if !rest.is_empty() => return false,
                Out::Taken(taken) => {
                    let whole = taken >= rest.len();
                    urb.actual += taken.min(rest.len()) as u32;
                    if whole {
                        return true;
                    }
                }
                Out::Stall => {
                    self.slots[slot_of(urb.endpoint)].halted = true;
                    urb.status = Status::Stall;
                    return true;
                }
            }
        }
    }

    fn step_in(&mut self, now: Instant, urb: &mut Urb) -> bool {
        let room = urb.length as usize;
        urb.data.clear();
        match self.function.poll_in(now, urb.endpoint, room, &mut urb.data) {
            In::Wait => return false,
            In::Stall => {
                urb.data.clear();
                self.slots[slot_of(urb.endpoint)].halted = true;
                urb.status = Status::Stall;
            }
            In::Done => {
                if urb.data.len() > room {
                    urb.data.truncate(room);
                    urb.status = Status::Babble;
                }
                end_in(urb);
            }
        }
        true
    }

    fn step_isochronous(&mut self, now: Instant, urb: &mut Urb) -> bool {
        let input = urb.endpoint.direction() == Direction::In;
        if input {
            urb.data.clear();
        }
        let mut total: u32 = 0;
        for packet in &mut urb.packets {
            // Packets may lie over each other; all of them have no more room than the buffer has.
            let room =
                (if input { packet.length.min(urb.length.saturating_sub(total)) } else { packet.length }) as usize;
            packet.status = Status::Ok;
            packet.actual = packet.length;
            if input {
                self.packet.clear();
                match self.function.poll_in(now, urb.endpoint, room, &mut self.packet) {
                    In::Done if self.packet.len() > room => packet.status = Status::Babble,
                    In::Done => {}
                    In::Wait => self.packet.clear(),
                    In::Stall => {
                        self.packet.clear();
                        packet.status = Status::Stall;
                    }
                }
                self.packet.truncate(room);
                packet.actual = self.packet.len() as u32;
                urb.data.extend_from_slice(&self.packet);
            } else {
                let from = packet.offset as usize;
                let bytes = urb.data.get(from..from.saturating_add(room)).unwrap_or_default();
                if self.function.handle_out(now, urb.endpoint, bytes) == Out::Stall {
                    packet.status = Status::Stall;
                    packet.actual = 0;
                }
            }
            total = total.saturating_add(packet.actual);
        }
        urb.actual = total;
        true
    }
}

/// Fills in the result of an IN transfer from its data.
fn end_in(urb: &mut Urb) {
    urb.actual = urb.data.len() as u32;
    if urb.status == Status::Ok && urb.short_not_ok && urb.actual < urb.length {
        urb.status = Status::Short;
    }
}
