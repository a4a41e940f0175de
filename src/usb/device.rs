//! The device core: configuration state, the queues of URBs, and the bus between them and a [`Function`].
//!
//! Theory of operation. [`Device::submit`] puts a URB at the end of its endpoint's queue and runs the device;
//! [`Device::poll_complete`] takes finished URBs in the order in which they finished. Only the head of a queue is ever
//! offered to the function. When the function answers "not yet" the URB stays, and it is offered again after every
//! event: a submit, a timeout, [`Device::with_function`]. Each round either moves a byte, finishes a URB, or ends, so
//! that running a device is bounded by what waits in it.
//!
//! Isochronous URBs are paced: each ends when its last service interval would have passed on a bus, which
//! [`Device::poll_timeout`] tells. Their packets go to the function at that moment.
//!
//! A URB leaves in exactly one of three ways: finished, taken back by [`Device::cancel`], or dropped with everything
//! else by [`Device::detach`].

use super::describe::Description;
use super::descriptors::{self, Descriptors};
use super::function::{Control, Function, In, Out};
use super::types::{Address, Direction, TransferKind};
use super::urb::{Status, Urb};
use super::validate::DescriptionError;
use crate::time::{Duration, Instant, earliest};
use std::any::Any;
use std::collections::VecDeque;

/// The index of the slot of endpoint 0, whose control transfers go both ways.
const CONTROL: usize = 0;

/// An endpoint of the active configuration.
#[derive(Clone, Copy, Debug)]
struct Active {
    kind: TransferKind,
    interface: u8,
    period: Duration,
}

/// A URB that waits, and the instant before which an isochronous one does not end.
struct Waiting {
    urb: Urb,
    due: Instant,
}

/// One endpoint address: what it is now, and what waits for it.
#[derive(Default)]
struct Slot {
    active: Option<Active>,
    halted: bool,
    queue: VecDeque<Waiting>,
    /// The end of the last isochronous URB accepted.
    next: Instant,
}

/// A device made of software.
pub struct Device {
    description: Description,
    pub(super) descriptors: Descriptors,
    pub(super) function: Box<dyn Function>,
    /// `bConfigurationValue` of the active configuration, 0 for none.
    pub(super) configuration: u8,
    /// The alternate setting of each interface of the active configuration.
    pub(super) alternates: Vec<u8>,
    /// The device features that are set, as the bits of GET_STATUS (USB 3.2, figure 9-4): 1 remote wakeup, 2 U1, 3 U2,
    /// 4 LTM.
    pub(super) features: u8,
    slots: [Slot; 32],
    /// One bit for each slot with a queue.
    waiting: u32,
    done: VecDeque<Urb>,
    packet: Vec<u8>,
}

impl Device {
    /// A device that shows `description` and behaves as `function` does.
    ///
    /// # Errors
    /// The first rule that the description breaks.
    pub fn new(description: Description, function: impl Function) -> Result<Self, DescriptionError> {
        let descriptors = Descriptors::new(&description)?;
        let mut device = Self {
            description,
            descriptors,
            function: Box::new(function),
            configuration: 0,
            alternates: Vec::new(),
            features: 0,
            slots: Default::default(),
            waiting: 0,
            done: VecDeque::new(),
            packet: Vec::new(),
        };
        device.slots[CONTROL].active =
            Some(Active { kind: TransferKind::Control, interface: 0, period: Duration::ZERO });
        Ok(device)
    }

    /// What the device is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The descriptors it shows.
    pub fn descriptors(&self) -> &Descriptors {
        &self.descriptors
    }

    /// `bConfigurationValue` of the active configuration, 0 for none.
    pub fn configuration(&self) -> u8 {
        self.configuration
    }

    /// The kind of an endpoint in the active configuration; `None` if it has no such endpoint.
    pub fn endpoint_kind(&self, address: Address) -> Option<TransferKind> {
        self.slots[slot_of(address)].active.map(|active| active.kind)
    }

    /// Whether `address` is halted; `None` if there is no such endpoint.
    pub fn is_halted(&self, address: Address) -> Option<bool> {
        let slot = &self.slots[slot_of(address)];
        slot.active.map(|_| slot.halted)
    }

    /// The function, if it is an `F`.
    pub fn function<F: Function>(&self) -> Option<&F> {
        let function: &dyn Any = self.function.as_ref();
        function.downcast_ref()
    }

    /// Lets `act` at the function, if it is an `F`, and then offers it everything that waits.
    pub fn with_function<F: Function, R>(&mut self, now: Instant, act: impl FnOnce(&mut F) -> R) -> Option<R> {
        let function: &mut dyn Any = self.function.as_mut();
        let result = act(function.downcast_mut()?);
        self.run(now);
        Some(result)
    }

    /// Takes a URB. Its end comes out of [`Device::poll_complete`], perhaps at once.
    pub fn submit(&mut self, now: Instant, urb: Urb) {
        let at = slot_of(urb.endpoint);
        let slot = &mut self.slots[at];
        let Some(active) = slot.active.filter(|_| !slot.halted) else {
            return self.finish(urb, Status::Stall);
        };
        let mut waiting = Waiting { urb, due: now };
        if active.kind == TransferKind::Isochronous {
            let start = slot.next.max(now);
            let intervals = u32::try_from(waiting.urb.packets.len()).unwrap_or(u32::MAX);
            waiting.due = start + active.period.saturating_mul(intervals);
            // Frame numbers are eleven bits of milliseconds (USB 2.0, 8.4.3).
            waiting.urb.start_frame = (start.as_millis() & 0x7ff) as u32;
            slot.next = waiting.due;
        }
        if slot.queue.is_empty() && self.step(now, at, &mut waiting) {
            self.done.push_back(waiting.urb);
        } else {
            self.slots[at].queue.push_back(waiting);
            self.waiting |= 1 << at;
        }
        self.run(now);
    }

    /// Takes back a URB that is not finished. `None` if there is none of that name.
    pub fn cancel(&mut self, id: u32) -> Option<Urb> {
        let mut bits = self.waiting;
        while bits != 0 {
            let at = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let queue = &mut self.slots[at].queue;
            if let Some(place) = queue.iter().position(|waiting| waiting.urb.id == id) {
                let found = queue.remove(place);
                if queue.is_empty() {
                    self.waiting &= !(1 << at);
                }
                return found.map(|waiting| waiting.urb);
            }
        }
        None
    }

    /// The next finished URB.
    pub fn poll_complete(&mut self) -> Option<Urb> {
        self.done.pop_front()
    }

    /// A bus reset while attached: halts, class state and everything queued are gone; the configuration and the
    /// alternate settings stay, because the host that asks for a reset over USB/IP restores none of them.
    pub fn reset(&mut self) {
        self.flush(|_| true, Status::Shutdown);
        self.features = 0;
        self.function.reset();
        for (interface, alternate) in (0..).zip(&self.alternates) {
            if *alternate != 0 {
                self.function.set_interface(interface, *alternate);
            }
        }
    }

    /// The host is gone: nothing is finished, everything is forgotten, and the device is as when it was built.
    pub fn detach(&mut self) {
        self.configure(0);
        self.slots[CONTROL].queue.clear();
        self.waiting = 0;
        self.done.clear();
    }

    /// When the device next wants [`Device::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut deadline = self.function.poll_timeout();
        let mut bits = self.waiting;
        while bits != 0 {
            let slot = &self.slots[bits.trailing_zeros() as usize];
            bits &= bits - 1;
            if slot.active.is_some_and(|active| active.kind == TransferKind::Isochronous) {
                deadline = earliest(deadline, slot.queue.front().map(|waiting| waiting.due));
            }
        }
        deadline
    }

    /// The instant that [`Device::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.function.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.function.handle_timeout(now);
        }
        self.run(now);
    }

    /// Enters configuration `value`, or none for 0, and resets everything that a configuration holds. The caller has
    /// checked that it exists.
    pub(super) fn configure(&mut self, value: u8) {
        self.flush(|_| true, Status::Shutdown);
        self.configuration = value;
        self.features = 0;
        let interfaces = self.active_configuration().map_or(0, |active| active.interfaces.len());
        self.alternates = vec![0; interfaces];
        self.function.reset();
        self.activate();
    }

    /// Enters an alternate setting, which the caller has checked. Its endpoints start afresh (USB 2.0, 9.1.1.5).
    pub(super) fn choose(&mut self, interface: u8, alternate: u8) {
        self.flush(|active| active.interface == interface, Status::Shutdown);
        if let Some(current) = self.alternates.get_mut(usize::from(interface)) {
            *current = alternate;
        }
        self.activate();
        self.function.set_interface(interface, alternate);
    }

    /// Halts an endpoint, and ends what waits for it as the bus would; or lifts the halt.
    pub(super) fn set_halt(&mut self, address: Address, halted: bool) {
        let at = slot_of(address);
        if at == CONTROL {
            return;
        }
        if halted {
            self.flush_slot(at, Status::Stall);
        }
        self.slots[at].halted = halted;
        if !halted {
            self.function.clear_halt(address);
        }
    }

    /// The active configuration's description.
    pub(super) fn active_configuration(&self) -> Option<&super::describe::Configuration> {
        self.description.configurations.get(usize::from(self.configuration).checked_sub(1)?)
    }

    /// Makes the slots say what the configuration and the alternate settings are now.
    fn activate(&mut self) {
        let mut active: [Option<Active>; 32] = [None; 32];
        let interfaces = self.active_configuration().map_or(&[][..], |active| &active.interfaces);
        for ((number, interface), setting) in (0..).zip(interfaces).zip(&self.alternates) {
            for endpoint in interface.alternates.get(usize::from(*setting)).map_or(&[][..], |it| &it.endpoints) {
                let period = descriptors::period(endpoint, self.description.speed);
                active[endpoint.address.index()] = Some(Active { kind: endpoint.kind, interface: number, period });
            }
        }
        for (slot, active) in self.slots.iter_mut().zip(active).skip(1) {
            slot.active = active;
        }
    }

    /// Ends what waits for the endpoints that `which` picks, endpoint 0 apart, and lifts their halts.
    fn flush(&mut self, which: impl Fn(&Active) -> bool, status: Status) {
        for at in 1..self.slots.len() {
            if self.slots[at].active.as_ref().is_some_and(&which) {
                self.flush_slot(at, status);
                self.slots[at].halted = false;
                self.slots[at].next = Instant::ZERO;
            }
        }
    }

    fn flush_slot(&mut self, at: usize, status: Status) {
        while let Some(waiting) = self.slots[at].queue.pop_front() {
            self.finish(waiting.urb, status);
        }
        self.waiting &= !(1 << at);
    }

    /// Ends a URB that the function did not end.
    fn finish(&mut self, mut urb: Urb, status: Status) {
        urb.status = status;
        if urb.endpoint.direction() == Direction::In {
            urb.data.clear();
        }
        urb.packets.iter_mut().for_each(|packet| (packet.actual, packet.status) = (0, status));
        if !urb.packets.is_empty() {
            urb.actual = 0;
        }
        self.done.push_back(urb);
    }

    /// Offers the heads of all queues to the function until none moves.
    fn run(&mut self, now: Instant) {
        let mut moved = self.waiting != 0;
        while moved {
            moved = false;
            let mut bits = self.waiting;
            while bits != 0 {
                let at = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                moved |= self.run_slot(now, at);
            }
        }
    }

    /// Offers the URBs of one queue in turn, until one has to wait. True if anything moved.
    fn run_slot(&mut self, now: Instant, at: usize) -> bool {
        let mut moved = false;
        while let Some(mut waiting) = self.slots[at].queue.pop_front() {
            let before = waiting.urb.actual;
            if !self.step(now, at, &mut waiting) {
                moved |= waiting.urb.actual != before;
                self.slots[at].queue.push_front(waiting);
                return moved;
            }
            self.done.push_back(waiting.urb);
            moved = true;
            if self.slots[at].halted {
                self.flush_slot(at, Status::Stall);
            }
        }
        self.waiting &= !(1 << at);
        moved
    }

    /// Offers one URB to its function. True when it is finished.
    fn step(&mut self, now: Instant, at: usize, waiting: &mut Waiting) -> bool {
        let urb = &mut waiting.urb;
        match self.slots[at].active.map(|active| active.kind) {
            Some(TransferKind::Control) => self.step_control(now, urb),
            Some(TransferKind::Isochronous) => now >= waiting.due && self.step_isochronous(now, urb),
            Some(_) if urb.endpoint.direction() == Direction::Out => self.step_out(now, urb),
            Some(_) => self.step_in(now, urb),
            None => {
                urb.status = Status::Stall;
                true
            }
        }
    }

    fn step_control(&mut self, now: Instant, urb: &mut Urb) -> bool {
        let setup = urb.setup;
        let input = setup.direction() == Direction::In;
        if input {
            urb.data.clear();
        }
        let answer = match self.standard(now, &setup, &urb.data) {
            Some(reply) => reply.answer(&mut urb.data),
            None => self.function.control(now, &setup, &mut urb.data),
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
                urb.data.truncate(urb.length.min(u32::from(setup.length)) as usize);
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
        let mut total = 0;
        for packet in &mut urb.packets {
            let room = packet.length as usize;
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
            total += packet.actual;
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

fn slot_of(address: Address) -> usize {
    if address.number() == 0 { CONTROL } else { address.index() }
}

#[cfg(test)]
mod tests;
