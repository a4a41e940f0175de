//! The flow table: finds a flow by its key, its socket, its turn or its deadline. The connections of an endpoint are in
//! one, and the flows of a gateway.
//!
//! A flow lives in a slot, and the slot's index names it; indices are reused. A packet costs one look into a hash
//! table, and so does an event of a socket, however many flows there are.
//!
//! The number of flows is bounded. So that one guest cannot take all, whatever addresses it forges, each port of the
//! switch has its share ([`Shares`]).

mod timers;

use crate::frame::PortId;
use crate::service::outside::SocketId;
use crate::service::shares::Shares;
use crate::time::Instant;
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use timers::Timers;

/// A flow, as the table uses it.
pub(crate) trait Flow {
    type Key: Copy + Eq + Hash;

    /// The key that its packets are found by; stays the same.
    fn key(&self) -> Self::Key;

    /// The port of the switch that it counts for; stays the same.
    fn port(&self) -> PortId;

    /// Its socket, if it may be found by one; see [`Table::forget_socket`].
    fn socket(&self) -> Option<SocketId> {
        None
    }

    /// Whether it counts for its port.
    fn counts(&self) -> bool {
        self.socket().is_some()
    }

    /// Its deadline, if any. It may become earlier only if [`Table::schedule`] is called.
    fn due(&self) -> Option<Instant>;
}

struct Slot<F> {
    flow: F,
    /// It waits for its turn.
    ready: bool,
    /// Where it stands among the timers.
    entry: Option<Instant>,
}

/// See the module.
pub(crate) struct Table<F: Flow> {
    slots: Vec<Option<Slot<F>>>,
    free: Vec<u32>,
    keys: HashMap<F::Key, u32, FixedState>,
    sockets: HashMap<SocketId, u32, FixedState>,
    /// How many flows that count each port has.
    shares: Shares,
    ready: VecDeque<u32>,
    timers: Timers,
    most: usize,
}

impl<F: Flow> Table<F> {
    /// For `most` flows. `seed` is a secret random number, so that nobody can choose keys that collide.
    pub fn new(seed: u64, most: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            keys: HashMap::with_hasher(FixedState::with_seed(seed)),
            sockets: HashMap::with_hasher(FixedState::with_seed(seed.rotate_left(17))),
            shares: Shares::default(),
            ready: VecDeque::new(),
            timers: Timers::default(),
            most,
        }
    }

    /// Whether `port` may have one flow more.
    pub fn admits(&self, port: PortId) -> bool {
        self.len() < self.most && self.is_within(port)
    }

    /// The flow to evict for a new one of `port`, the one with the first deadline: of `port` itself if it has its
    /// share, and else of the port that has most.
    pub fn first_to_go(&mut self, port: PortId) -> Option<u32> {
        let whose = self.whose_to_go(port)?;
        loop {
            // An entry that is earlier than its flow's deadline goes where that is: each time one is due later.
            let (at, index) = self.timers.first_of(whose)?;
            let slot = self.slots.get_mut(index as usize).and_then(Option::as_mut)?;
            match slot.flow.due() {
                Some(due) if due <= at => return Some(index),
                Some(due) => self.timers.move_to((index, whose), &mut slot.entry, due),
                None => self.timers.remove((index, whose), &mut slot.entry),
            }
        }
    }

    /// The port that loses a flow for a new one of `port`.
    pub fn whose_to_go(&self, port: PortId) -> Option<PortId> {
        if self.is_within(port) { self.shares.greediest() } else { Some(port) }
    }

    /// Whether `port` has less than its share.
    pub fn is_within(&self, port: PortId) -> bool {
        self.shares.is_within(port, self.most)
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = &F> {
        self.slots.iter().flatten().map(|slot| &slot.flow)
    }

    /// Shows the flows in the slots from `from` on to `look`, those of `most` slots. Gives the slot that follows, if
    /// there is one.
    pub fn page(&self, from: usize, most: usize, look: impl FnMut(&F)) -> Option<usize> {
        let slots = self.slots.get(from..).unwrap_or_default();
        slots.iter().take(most).flatten().map(|slot| &slot.flow).for_each(look);
        (slots.len() > most).then(|| from + most)
    }

    /// The indices of the flows of these ports.
    pub fn of_ports(&self, ports: &BTreeSet<PortId>) -> Vec<u32> {
        let slots = self.slots.iter().zip(0..).filter_map(|(slot, index)| Some((&slot.as_ref()?.flow, index)));
        slots.filter(|(flow, _)| ports.contains(&flow.port())).map(|(_, index)| index).collect()
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The flow with this key.
    pub fn find(&self, key: &F::Key) -> Option<u32> {
        self.keys.get(key).copied()
    }

    /// The flow with this socket.
    pub fn find_socket(&self, socket: SocketId) -> Option<u32> {
        self.sockets.get(&socket).copied()
    }

    /// The flow in a slot.
    pub fn get(&self, index: u32) -> Option<&F> {
        self.slots.get(index as usize)?.as_ref().map(|slot| &slot.flow)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut F> {
        self.slot(index).map(|slot| &mut slot.flow)
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot<F>> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Inserts a flow with a new key.
    pub fn insert(&mut self, flow: F) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.keys.insert(flow.key(), index);
        if let Some(socket) = flow.socket() {
            self.sockets.insert(socket, index);
        }
        if flow.counts() {
            self.shares.take(flow.port());
        }
        self.slots[index as usize] = Some(Slot { flow, ready: false, entry: None });
        self.schedule(index);
        index
    }

    /// Takes a flow out.
    pub fn remove(&mut self, index: u32) -> Option<F> {
        let mut slot = self.slots.get_mut(index as usize)?.take()?;
        self.timers.remove((index, slot.flow.port()), &mut slot.entry);
        self.keys.remove(&slot.flow.key());
        if let Some(socket) = slot.flow.socket() {
            self.sockets.remove(&socket);
        }
        if slot.flow.counts() {
            self.shares.give(slot.flow.port());
        }
        self.free.push(index);
        Some(slot.flow)
    }

    /// A flow that lingers gives up its socket, and counts for no port.
    pub fn forget_socket(&mut self, socket: SocketId) {
        let flow = self.sockets.remove(&socket).and_then(|index| self.get(index));
        if let Some(port) = flow.map(Flow::port) {
            self.shares.give(port);
        }
    }

    /// The flow gets a turn.
    pub fn make_ready(&mut self, index: u32) {
        if let Some(slot) = self.slot(index)
            && !std::mem::replace(&mut slot.ready, true)
        {
            self.ready.push_back(index);
        }
    }

    /// An upper bound of the flows that wait for their turns.
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// The flow whose turn it is.
    pub fn next_ready(&mut self) -> Option<u32> {
        loop {
            let index = self.ready.pop_front()?;
            // A removed flow leaves its index in the queue, and another flow may have it by now.
            if self.slot(index).is_some_and(|slot| std::mem::take(&mut slot.ready)) {
                return Some(index);
            }
        }
    }

    /// The flow may be due earlier than before.
    pub fn schedule(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize).and_then(Option::as_mut)
            && let Some(due) = slot.flow.due()
        {
            self.timers.set((index, slot.flow.port()), &mut slot.entry, due);
        }
    }

    /// When a flow may be due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| at)
    }

    /// The next flow that is due at `now`. It has to be scheduled again, or removed.
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        loop {
            let (_, index) = self.timers.first().filter(|(at, _)| *at <= now)?;
            let slot = self.slots.get_mut(index as usize).and_then(Option::as_mut)?;
            self.timers.remove((index, slot.flow.port()), &mut slot.entry);
            if slot.flow.due().is_some_and(|due| due <= now) {
                return Some(index);
            }
            self.schedule(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: usize = 16;

    thread_local! {
        /// How often flows were asked when they are due.
        static ASKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Call {
        key: u8,
        socket: Option<SocketId>,
        due: Instant,
    }

    impl Flow for Call {
        type Key = u8;
        fn key(&self) -> u8 {
            self.key
        }
        fn port(&self) -> PortId {
            port(self.key)
        }
        fn socket(&self) -> Option<SocketId> {
            self.socket
        }
        fn due(&self) -> Option<Instant> {
            ASKED.set(ASKED.get() + 1);
            Some(self.due)
        }
    }

    /// Every third flow is of the same port.
    fn port(key: u8) -> PortId {
        PortId(u16::from(key % 3))
    }

    fn call(key: u8, socket: u64, due: u64) -> Call {
        Call { key, socket: Some(SocketId(socket)), due: Instant::from_secs(due) }
    }

    #[test]
    fn an_index_that_another_has_gives_no_turn() {
        let mut table = Table::new(7, MOST);
        let first = table.insert(call(1, 1, 0));
        table.make_ready(first);
        assert_eq!(table.remove(first), Some(call(1, 1, 0)));
        let second = table.insert(call(2, 2, 0));
        assert_eq!((second, table.next_ready(), table.waiting()), (first, None, 0));
        table.make_ready(second);
        assert_eq!(table.next_ready(), Some(second));
    }

    #[test]
    fn one_port_leaves_room_for_others() {
        let mut table = Table::new(7, MOST);
        let mut insert =
            |key: u8| table.admits(port(key)).then(|| table.insert(call(key, key.into(), 100 - u64::from(key))));
        let taken = |inserted: Vec<Option<u32>>| inserted.into_iter().flatten().count();
        assert_eq!(taken((0..40).map(|number| insert(3 * number)).collect()), 14, "seven eighths");
        assert_eq!(insert(1), Some(14), "another port");
        assert_eq!((table.first_to_go(port(0)), table.first_to_go(port(1))), (Some(13), Some(13)));
        table.forget_socket(SocketId(0));
        assert_eq!(table.remove(1), Some(call(3, 3, 97)));
        assert_eq!((table.admits(port(0)), table.admits(port(1)), table.shares.of(port(0))), (true, true, 12));
    }

    /// Flooding a full table with new flows costs others a scan of a few entries, not of all.
    #[test]
    fn room_is_made_without_a_look_at_all_flows() {
        let mut table = Table::new(7, MOST);
        for number in 0..14 {
            table.insert(call(3 * number, number.into(), u64::from(number)));
        }
        // All but one have been active since.
        table.slots.iter_mut().flatten().skip(1).for_each(|slot| slot.flow.due = Instant::from_secs(100));
        ASKED.set(0);
        for number in 14..80 {
            let index = table.first_to_go(port(0)).unwrap();
            table.remove(index);
            table.insert(call(3 * number, number.into(), 200));
        }
        assert!(ASKED.get() < 5 * 66, "{}", ASKED.get());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u64),
        Remove,
        LoseSocket,
        MakeReady,
        Turns,
        Move(u64),
        Due(u64),
        FirstToGo,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..50u64).prop_map(Step::Insert),
            1 => Just(Step::Remove),
            1 => Just(Step::LoseSocket),
            2 => Just(Step::MakeReady),
            1 => Just(Step::Turns),
            2 => (0..50u64).prop_map(Step::Move),
            1 => (0..50u64).prop_map(Step::Due),
            1 => Just(Step::FirstToGo),
        ]
    }

    /// A table, and a naive one: a list of flows, and whether each is ready.
    struct Pair {
        table: Table<Call>,
        list: Vec<(Call, bool)>,
        sockets: u64,
    }

    impl Pair {
        fn take(&mut self, key: u8, step: Step) {
            let Self { table, list, sockets } = self;
            let place = list.iter().position(|(call, _)| call.key == key);
            let found = table.find(&key).zip(place);
            match (step, found) {
                (Step::Insert(due), None) => {
                    *sockets += 1;
                    table.insert(call(key, *sockets, due));
                    list.push((call(key, *sockets, due), false));
                }
                (Step::Remove, Some((index, place))) => {
                    assert_eq!(table.remove(index), Some(list.remove(place).0));
                    assert_eq!(table.remove(index), None);
                }
                (Step::LoseSocket, Some((index, place))) => {
                    list[place].0.socket = None;
                    let socket = table.get_mut(index).and_then(|call| call.socket.take());
                    socket.into_iter().for_each(|socket| table.forget_socket(socket));
                }
                (Step::MakeReady, Some((index, place))) => {
                    table.make_ready(index);
                    list[place].1 = true;
                }
                (Step::Move(due), Some((index, place))) => {
                    let due = Instant::from_secs(due);
                    table.get_mut(index).unwrap().due = due;
                    // that it is later need not be said
                    if due < std::mem::replace(&mut list[place].0.due, due) {
                        table.schedule(index);
                    }
                }
                (Step::Turns, _) => {
                    let turns = std::iter::from_fn(|| table.next_ready().map(|index| table.get(index).unwrap().key));
                    let ready = list.iter_mut().filter_map(|(call, ready)| std::mem::take(ready).then_some(call.key));
                    assert_eq!(sorted(turns.collect()), sorted(ready.collect()));
                }
                (Step::Due(now), _) => {
                    let now = Instant::from_secs(now);
                    let ended = std::iter::from_fn(|| table.pop_due(now).and_then(|index| table.remove(index)));
                    let due = list.extract_if(.., |(call, _)| call.due <= now);
                    assert_eq!(
                        sorted(ended.map(|call| call.key).collect()),
                        sorted(due.map(|(call, _)| call.key).collect())
                    );
                }
                (Step::FirstToGo, _) => {
                    let first = table.first_to_go(port(key)).and_then(|index| table.get(index)).copied();
                    let whose = first.map(|call| call.port());
                    let its = list.iter().filter(|(call, _)| Some(call.port()) == whose);
                    assert_eq!(first.map(|call| call.due), its.map(|(call, _)| call.due).min());
                }
                _ => {}
            }
        }

        fn look(&self) {
            assert_eq!(self.table.len(), self.list.len());
            for key in 0..3 {
                let its = self.list.iter().filter(|(call, _)| call.socket.is_some() && call.port() == port(key));
                assert_eq!(self.table.shares.of(port(key)), its.count());
            }
            assert!(self.table.waiting() >= self.list.iter().filter(|(_, ready)| *ready).count());
            for (call, _) in &self.list {
                let index = self.table.find(&call.key).unwrap();
                assert_eq!(self.table.get(index), Some(call));
                assert!(call.socket.is_none_or(|socket| self.table.find_socket(socket) == Some(index)));
                assert!(self.table.poll_timeout().is_some_and(|at| at <= call.due), "it would be late");
            }
            assert!((1..=self.sockets).all(|socket| {
                let found = self.table.find_socket(SocketId(socket));
                found.is_none_or(|index| self.table.get(index).unwrap().socket == Some(SocketId(socket)))
            }));
        }
    }

    fn sorted(mut keys: Vec<u8>) -> Vec<u8> {
        keys.sort_unstable();
        keys
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_flows(steps in prop::collection::vec((0u8..12, step()), 1..200)) {
            let mut pair = Pair { table: Table::new(7, MOST), list: Vec::new(), sockets: 0 };
            for (key, step) in steps {
                pair.take(key, step);
                pair.look();
            }
        }
    }
}
