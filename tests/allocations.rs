//! In steady state the switch does not allocate: not for a frame, a copy, a queue that comes and goes, or a pause. Nor
//! does the thread of a service for what it receives and sends.
//!
//! The allocator counts the calls of the thread that asks. Each test warms the switch up (lists and queues grow to the
//! size that the traffic needs) and then wants to see none at all.
#![allow(unsafe_code)] // a global allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zbridge::counters::Counters;
use zbridge::engine::{Bridge, run_service};
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::service::{Arrived, Outside, Service};
use zbridge::switch::{Flush, PortConfig, Switch, SwitchConfig, Taken, Transmit};
use zbridge::time::{Duration, Instant};
use zbridge::wire::{Mac, Offload};

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator with the arguments it came with. The counter is a thread-local
// without destructor or lazy initialisation, so that touching it never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` with this `layout`, as all memory of this allocator does.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as for `dealloc`, and the caller's promises about `size` are those that `System` asks for.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Descriptors that take so many frames each, then no more.
struct Edges {
    room: usize,
    frames: u64,
}

impl Transmit for Edges {
    fn transmit(&mut self, _: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        let frames = out.len().min(self.room);
        self.room -= frames;
        for (_, bytes) in out.frames().take(frames) {
            counters.sent(1, bytes.len() as u64);
        }
        self.frames += frames as u64;
        Taken { frames }
    }
}

const WARM: u64 = 10;
const ROUNDS: u64 = 50;
const FRAMES: u64 = 64;

fn station(number: u64) -> u64 {
    0x0200_5e00_5300 + number
}

fn frame(dst: u64, src: u64) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[..6].copy_from_slice(&dst.to_be_bytes()[2..]);
    frame[6..12].copy_from_slice(&src.to_be_bytes()[2..]);
    frame
}

/// As many frames as a breath has, each from the station and port that `between` says: destination, source, ingress.
fn batch(frames: u64, between: impl Fn(u64) -> (u64, u64, u16)) -> Batch {
    let mut batch = Batch::new(1 << 20);
    for number in 0..frames {
        let (dst, src, ingress) = between(number);
        assert!(batch.push(&frame(dst, src), PortId(ingress), Offload::NONE));
    }
    batch
}

/// A switch of so many ports, on each of which the station of its number has been heard.
fn switch(ports: u16) -> Switch {
    let mut switch = Switch::new(&SwitchConfig::default());
    for port in 0..ports {
        let config = PortConfig::with(|port| {
            port.pausable = true;
            port.queue = 800;
        });
        assert_eq!(switch.add_port(config), Some(PortId(port)));
        let hello = frame(Mac::BROADCAST.as_u64(), station(port.into()));
        switch.handle_frame(Instant::ZERO, PortId(port), &hello);
    }
    while switch.poll_transmit(&mut Vec::new()).is_some() {}
    switch
}

/// Allocations in `ROUNDS` rounds after `WARM` rounds of warming up. `round` gets the time, one tick of the table apart.
fn allocations(mut round: impl FnMut(Instant)) -> u64 {
    let at = |number| Instant::ZERO + Duration::from_millis(100 * (number + 1));
    (0..WARM).for_each(|number| round(at(number)));
    let before = CALLS.get();
    (WARM..WARM + ROUNDS).for_each(|number| round(at(number)));
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|_| drop(std::hint::black_box(Box::new(1)))), ROUNDS);
}

#[test]
fn unicast() {
    let mut switch = switch(8);
    let mut edges = Edges { room: usize::MAX, frames: 0 };
    let batch = batch(FRAMES, |frame| (station(frame % 8), station((frame + 1) % 8), ((frame + 1) % 8) as u16));
    assert_eq!(allocations(|now| switch.run(now, &batch, &mut edges)), 0);
    assert_eq!(edges.frames, (WARM + ROUNDS) * FRAMES);
}

#[test]
fn flood() {
    let mut switch = switch(8);
    let mut edges = Edges { room: usize::MAX, frames: 0 };
    let batch = batch(FRAMES, |frame| (Mac::BROADCAST.as_u64(), station(frame % 8), (frame % 8) as u16));
    assert_eq!(allocations(|now| switch.run(now, &batch, &mut edges)), 0);
    assert_eq!(edges.frames, (WARM + ROUNDS) * FRAMES * 7);
}

#[test]
fn learning_known_and_moving_stations() {
    let mut switch = switch(3);
    let mut edges = Edges { room: usize::MAX, frames: 0 };
    let here = batch(1000, |frame| (station(2), station(100 + frame), 0));
    let there = batch(1000, |frame| (station(2), station(100 + frame), 1));
    let both = |now| {
        switch.run(now, &here, &mut edges);
        switch.run(now, &there, &mut edges);
        while switch.poll_event().is_some() {}
    };
    assert_eq!(allocations(both), 0);
    assert_eq!(switch.fdb(Instant::ZERO).filter(|entry| entry.port == PortId(1)).count(), 1001);
}

#[test]
fn a_queue_that_comes_and_goes_and_pauses_its_source() {
    let mut switch = switch(2);
    let mut edges = Edges { room: 0, frames: 0 };
    let batch = batch(500, |_| (station(1), station(0), 0));
    let round = |now| {
        edges.room = 10;
        switch.run(now, &batch, &mut edges);
        assert!(switch.is_paused(PortId(0)));
        switch.handle_timeout(now + Duration::from_millis(5));
        assert_eq!(switch.poll_resumed(), Some(PortId(0)));
        edges.room = 1000;
        assert_eq!(switch.flush(now, PortId(1), &mut edges), Flush::Empty);
        while switch.poll_event().is_some() {}
    };
    assert_eq!(allocations(round), 0);
    assert_eq!(edges.frames, (WARM + ROUNDS) * 500);
}

#[test]
fn a_queue_of_many_segments_that_is_always_half_full() {
    let mut switch = Switch::new(&SwitchConfig::default());
    (0..2).for_each(|_| assert!(switch.add_port(PortConfig::with(|port| port.queue = 100_000)).is_some()));
    let mut edges = Edges { room: 0, frames: 0 };
    let batch = batch(3000, |_| (Mac::BROADCAST.as_u64(), station(0), 0));
    (0..4).for_each(|_| switch.run(Instant::ZERO, &batch, &mut edges));
    let round = |now| {
        switch.run(now, &batch, &mut edges);
        edges.room = 3000;
        while switch.flush(now, PortId(1), &mut edges) == Flush::More {}
    };
    assert_eq!(allocations(round), 0);
    assert_eq!(switch.state(PortId(1)).map(|state| state.queued), Some(4 * 3000));
}

#[test]
fn one_frame_at_a_time() {
    let mut switch = switch(4);
    let mut out = Vec::new();
    let round = |now| {
        for port in 0..4 {
            let frame = frame(station(3 - port), station(port));
            switch.handle_frame(now, PortId(port as u16), &frame);
        }
        for _ in 0..4 {
            assert!(switch.poll_transmit(&mut out).is_some());
        }
        assert_eq!(switch.poll_transmit(&mut out), None);
    };
    assert_eq!(allocations(round), 0);
}

/// Sends every frame back, and tells how often its thread has allocated.
struct Echo {
    frame: [u8; 1514],
    len: usize,
    calls: Arc<AtomicU64>,
}

impl Service for Echo {
    fn handle_frame(&mut self, _: Instant, Arrived { frame, .. }: Arrived<'_>, _: &mut dyn Outside) {
        self.len = frame.len();
        self.frame[..self.len].copy_from_slice(frame);
        let (dst, src) = (&frame[..6], &frame[6..12]);
        self.frame[..6].copy_from_slice(src);
        self.frame[6..12].copy_from_slice(dst);
        self.calls.store(CALLS.get(), Ordering::SeqCst);
    }

    fn poll_transmit(&mut self, _: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        let len = std::mem::take(&mut self.len);
        if len > 0 {
            out.push(&self.frame[..len], PortId(0), Offload::NONE);
        }
        false
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _: Instant, _: &mut dyn Outside) {}
}

#[test]
fn the_thread_of_a_service() {
    let bridge = Bridge::empty().unwrap();
    let mut me = bridge.add_channel("default", "me").unwrap();
    let link = bridge.add_channel("default", "echo").unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let mut echo = Echo { frame: [0; 1514], len: 0, calls: calls.clone() };
    let service = std::thread::spawn(move || run_service(&link, &mut echo));
    let frames = [frame(station(1), station(0)).to_vec(), [&frame(station(1), station(0))[..], &[7; 1450]].concat()];
    let mut round = |number: u64| {
        let frame = &frames[number as usize % frames.len()];
        me.send(frame).unwrap();
        let back = me.recv(std::time::Duration::from_secs(20)).unwrap().unwrap();
        assert_eq!((back.len(), &back[6..12]), (frame.len(), &frame[..6]));
        calls.load(Ordering::SeqCst)
    };
    let before = (0..WARM).map(&mut round).last();
    assert_eq!((WARM..WARM + 10 * ROUNDS).map(round).last(), before);
    bridge.stop().unwrap();
    service.join().unwrap().unwrap();
}
