//! The device core: configuration state, the queues of URBs, and the bus between them and a [`Function`].
//!
//! Theory of operation. [`Device::submit`] puts a URB at the end of its endpoint's queue and runs the device;
//! [`Device::poll_complete`] takes finished URBs in the order in which they finished. Only the head of a queue is ever
//! offered to the function. When the function answers "not yet" the URB stays, and it is offered again after every
//! event: a submit, a timeout, [`Device::with_function`]. Each round either moves a byte, finishes a URB, or ends, so
//! that running a device is bounded by what waits in it.
//!
//! What has an interval is paced, by [`Device::poll_timeout`]. An isochronous URB ends when its last service interval would
//! have passed on a bus, and its packets go to the function at that moment. An interrupt endpoint is served at most once
//! in an interval: the first packet at once, and the next when the function has one and the interval is over.
//!
//! What functions have given and nobody has taken with [`Device::poll_complete`] is bounded: beyond [`BACKLOG`] IN
//! endpoints are not asked, and [`Device::poll_timeout`] tells when they are again. So it does not matter how much room
//! the URBs that wait offer.
//!
//! A URB leaves in exactly one of three ways: finished, taken back by [`Device::cancel`], or dropped with everything
//! else by [`Device::detach`].

mod steps;

use super::describe::Description;
use super::descriptors::{self, Descriptors};
use super::function::Function;
use super::types::{Address, Direction, TransferKind};
use super::urb::{Status, Urb};
use super::validate::DescriptionError;
use crate::time::{Duration, Instant, earliest};
use std::any::Any;
use std::collections::VecDeque;

/// Bytes of finished IN transfers behind which no IN endpoint is asked.
const BACKLOG: usize = 1 << 20;
/// The index of the slot of endpoint 0, whose control transfers go both ways.
const CONTROL: usize = 0;

/// An endpoint of the active configuration.
#[derive(Clone, Copy, Debug)]
struct Active {
    kind: TransferKind,
    interface: u8,
    period: Duration,
    /// Bytes of a packet of an interrupt endpoint.
    packet: usize,
}

/// A URB that waits, and the instant before which an isochronous one does not end.
struct Waiting {
    urb: Urb,
    due: Instant,
}

/// One endpoint address: its present endpoint, and its queue.
#[derive(Default)]
struct Slot {
    active: Option<Active>,
    halted: bool,
    queue: VecDeque<Waiting>,
    /// Isochronous: the end of the last URB that waits. Interrupt: when the next packet may pass.
    next: Instant,
    /// The head of the queue waits for `next`.
    paced: bool,
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
    /// Bytes of IN data in `done`.
    backlog: usize,
    /// An IN endpoint was not asked for that.
    held: bool,
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
            backlog: 0,
            held: false,
            packet: Vec::new(),
        };
        device.slots[CONTROL].active =
            Some(Active { kind: TransferKind::Control, interface: 0, period: Duration::ZERO, packet: 0 });
        Ok(device)
    }

    /// The device's description.
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
            self.end(waiting.urb);
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
                let last = queue.back().map(|waiting| waiting.due);
                self.slots[at].taken_back(last);
                if last.is_none() {
                    self.waiting &= !(1 << at);
                }
                return found.map(|waiting| waiting.urb);
            }
        }
        None
    }

    /// The next finished URB.
    pub fn poll_complete(&mut self) -> Option<Urb> {
        let urb = self.done.pop_front()?;
        self.backlog -= input_bytes(&urb);
        Some(urb)
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
        (self.backlog, self.held) = (0, false);
    }

    /// When the device next wants [`Device::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let mut deadline = self.function.poll_timeout();
        if self.held && self.backlog < BACKLOG {
            deadline = Some(Instant::ZERO);
        }
        let mut bits = self.waiting;
        while bits != 0 {
            let slot = &self.slots[bits.trailing_zeros() as usize];
            bits &= bits - 1;
            let due = match slot.active.map(|active| active.kind) {
                // Behind a backlog it is late, and nothing is to be done before that is gone.
                Some(TransferKind::Isochronous) if self.backlog < BACKLOG => {
                    slot.queue.front().map(|waiting| waiting.due)
                }
                Some(TransferKind::Interrupt) => slot.paced.then_some(slot.next),
                _ => None,
            };
            deadline = earliest(deadline, due);
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

    /// Halts an endpoint, and ends its waiting transfers as the bus would; or lifts the halt.
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
                let speed = self.description.speed;
                let (period, packet) = (descriptors::period(endpoint, speed), usize::from(endpoint.packet(speed)));
                active[endpoint.address.index()] =
                    Some(Active { kind: endpoint.kind, interface: number, period, packet });
            }
        }
        for (slot, active) in self.slots.iter_mut().zip(active).skip(1) {
            slot.active = active;
        }
    }

    /// Ends the transfers that wait for the endpoints picked by `which`, but endpoint 0, and lifts their halts.
    fn flush(&mut self, which: impl Fn(&Active) -> bool, status: Status) {
        for at in 1..self.slots.len() {
            if self.slots[at].active.as_ref().is_some_and(&which) {
                self.flush_slot(at, status);
                self.slots[at].halted = false;
                (self.slots[at].next, self.slots[at].paced) = (Instant::ZERO, false);
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
        self.end(urb);
    }

    /// Puts a URB to the finished ones.
    fn end(&mut self, urb: Urb) {
        self.backlog += input_bytes(&urb);
        self.done.push_back(urb);
    }

    /// Offers the heads of all queues to the function until none moves.
    fn run(&mut self, now: Instant) {
        self.held = false;
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
            self.end(waiting.urb);
            moved = true;
            if self.slots[at].halted {
                self.flush_slot(at, Status::Stall);
            }
        }
        self.waiting &= !(1 << at);
        moved
    }
}

impl Slot {
    /// A URB was taken back, and `last` is the end of the last that is left: its intervals are free again.
    fn taken_back(&mut self, last: Option<Instant>) {
        match self.active.map(|active| active.kind) {
            Some(TransferKind::Isochronous) => self.next = last.unwrap_or(Instant::ZERO),
            // Past packets have had their interval.
            Some(TransferKind::Interrupt) => self.paced &= last.is_some(),
            _ => {}
        }
    }
}

/// Bytes of a finished transfer that are for the host.
fn input_bytes(urb: &Urb) -> usize {
    if urb.endpoint.direction() == Direction::In { urb.data.len() } else { 0 }
}

fn slot_of(address: Address) -> usize {
    if address.number() == 0 { CONTROL } else { address.index() }
}

#[cfg(test)]
mod tests;
