//! The way from switches to a thread that writes what they hand over: they never wait for it.
//!
//! Theory of operation. Pieces go through a channel whose bound is their cost in bytes ([`WAITING`]): who offers one looks
//! how much waits, and counts what finds no room as missed. The thread sleeps in a poll, and is woken once for all that
//! came since it looked. It hears of the end when the last feed is dropped.

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Bytes that may wait for a thread.
pub(super) const WAITING: usize = 16 << 20;

/// The state that a thread shares with its feeds.
pub(super) struct Shared {
    /// Bytes that wait for it.
    pub waiting: AtomicUsize,
    /// Frames that found no room.
    pub missed: AtomicU64,
    /// Feeds that there are.
    pub feeds: AtomicUsize,
    /// It was called, and has not looked yet.
    pub called: AtomicBool,
    waker: Waker,
}

/// The way to a thread. Its end comes when the last of them is dropped.
pub(super) struct Feed<P> {
    /// `None` only in the drop.
    pieces: Option<Sender<Arc<P>>>,
    shared: Arc<Shared>,
}

impl<P> Feed<P> {
    /// The first feed of a thread that is woken by `waker`, what that shares, and where pieces come out.
    pub fn new(waker: Waker) -> (Self, Arc<Shared>, Receiver<Arc<P>>) {
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            missed: AtomicU64::new(0),
            feeds: AtomicUsize::new(1),
            called: AtomicBool::new(false),
            waker,
        });
        // Bounded by the cost of its pieces.
        let (sender, pieces) = unbounded();
        (Self { pieces: Some(sender), shared: shared.clone() }, shared, pieces)
    }

    /// Bytes that wait.
    pub fn waits(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Whether there is room for a piece of this cost. There always is for one.
    pub fn has_room(&self, cost: usize) -> bool {
        let waits = self.waits();
        waits == 0 || waits + cost <= WAITING
    }

    /// Counts frames that found no room.
    pub fn miss(&self, frames: u64) {
        self.shared.missed.fetch_add(frames, Ordering::Relaxed);
    }

    /// Hands a piece over. False: the thread has ended.
    pub fn send(&self, piece: Arc<P>, cost: usize) -> bool {
        let Some(pieces) = &self.pieces else { return false };
        self.shared.waiting.fetch_add(cost, Ordering::Relaxed);
        let sent = pieces.send(piece).is_ok();
        if sent && !self.shared.called.swap(true, Ordering::AcqRel) {
            // The waker fails only when the thread has ended.
            let _ = self.shared.waker.wake();
        }
        sent
    }
}

impl<P> Clone for Feed<P> {
    fn clone(&self) -> Self {
        self.shared.feeds.fetch_add(1, Ordering::Relaxed);
        Self { pieces: self.pieces.clone(), shared: self.shared.clone() }
    }
}

impl<P> Drop for Feed<P> {
    fn drop(&mut self) {
        self.pieces = None;
        self.shared.feeds.fetch_sub(1, Ordering::AcqRel);
        // Wakes the thread even if it was called before.
        let _ = self.shared.waker.wake();
    }
}
