//! Subscriptions: who hears what comes, changes and goes on the bridge, without asking again and again.
//!
//! Theory of operation. While anybody is subscribed a thread looks at the bridge ([`Look`]) four times a second, and hands
//! what differs from the last look to the control socket's thread, which writes the lines. All subscribers share the looks:
//! one more costs a write. Nothing waits for a subscriber. One that has not read its lines gets no more, and is told how many
//! events it has missed once it has read them; so each holds the lines of one look at most. The switches know nothing of all
//! this: they are asked as `status` asks them.

use super::aside::ROLE;
use super::board::Board;
use super::look::{Counts, Look, wall_millis};
use super::server::Serving;
use super::session::Session;
use crate::control::{EventInfo, print};
use crate::engine::command::Handle;
use crate::error::{Error, Result};
use crate::rights;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded, unbounded};
use mio::Waker;
use std::sync::Arc;
use std::time::Duration;

/// Time from one look to the next.
const LOOK: Duration = Duration::from_millis(250);
/// Events of one look that are told; the others count as missed.
const MOST: usize = 8192;
/// Looks that may wait to be handed on.
const WAITING: usize = 4;

/// A client that subscribes.
pub struct Join {
    /// The number of its session.
    pub session: u64,
    /// It hears first what there is.
    pub initial: bool,
}

/// What a look came to.
struct Told {
    /// For those who were there before.
    events: Vec<EventInfo>,
    /// Who joins with it, and what each hears first.
    joined: Vec<(u64, Vec<EventInfo>)>,
}

/// The thread that looks, while there is one.
#[derive(Default)]
pub struct Herald {
    thread: Option<(Sender<Join>, Receiver<Told>)>,
}

/// What a client that is subscribed has missed.
#[derive(Default)]
pub struct Subscription {
    /// It has joined: events are for it.
    joined: bool,
    missed: u64,
}

impl Herald {
    /// Has a client join at the next look.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn join(&mut self, join: Join, handles: &[Handle], board: &Arc<Board>, waker: &Arc<Waker>) -> Result<()> {
        let unsent = match &self.thread {
            Some((joins, _)) => joins.send(join).err().map(SendError::into_inner),
            None => Some(join),
        };
        unsent.map_or(Ok(()), |join| self.begin(join, handles, board, waker))
    }

    fn begin(&mut self, join: Join, handles: &[Handle], board: &Arc<Board>, waker: &Arc<Waker>) -> Result<()> {
        // Bounded by use: one for each client.
        let (joins, joining) = unbounded();
        let (tell, told) = bounded(WAITING);
        let _ = joins.send(join);
        let (handles, board, waker) = (handles.to_vec(), board.clone(), waker.clone());
        let work = move || run(&handles, &board, &joining, &tell, &waker);
        rights::spawn("zb-herald", &ROLE, work).map_err(|error| Error::system("cannot start a thread", &error))?;
        self.thread = Some((joins, told));
        Ok(())
    }

    /// Nobody is subscribed any more.
    fn rest(&mut self) {
        self.thread = None;
    }
}

/// Looks until nobody wants to know any more.
fn run(handles: &[Handle], board: &Arc<Board>, joining: &Receiver<Join>, tell: &Sender<Told>, waker: &Arc<Waker>) {
    let (mut counts, mut before) = (Counts::default(), None::<Look>);
    loop {
        let mut joins = Vec::new();
        match joining.recv_timeout(if before.is_none() { Duration::ZERO } else { LOOK }) {
            Ok(join) => joins.push(join),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        joins.extend(joining.try_iter());
        let now = Look::taken(handles, board, &mut counts, before.as_ref());
        let events = before.as_ref().map(|before| now.since(before)).unwrap_or_default();
        let initial = |join: &Join| if join.initial { now.initial() } else { Vec::new() };
        let joined: Vec<_> = joins.iter().map(|join| (join.session, initial(join))).collect();
        before = Some(now);
        if (!events.is_empty() || !joined.is_empty()) && tell.send(Told { events, joined }).is_err() {
            return;
        }
        if waker.wake().is_err() {
            return;
        }
    }
}

impl Session {
    /// Tells a subscriber what has happened, or notes that it has missed it.
    fn tell(&mut self, events: &[EventInfo]) {
        let behind = self.is_behind();
        let Some(subscription) = self.events.as_mut() else { return };
        if behind || !subscription.joined {
            subscription.missed += if subscription.joined { events.len() as u64 } else { 0 };
            return;
        }
        let left_out = events.len().saturating_sub(MOST) as u64;
        subscription.missed += left_out;
        let lines: Vec<u8> = events.iter().take(MOST).flat_map(print).collect();
        self.say_missed();
        self.say(&lines);
    }

    /// Says how many events were missed, once its lines are read.
    pub fn say_missed(&mut self) {
        if self.is_behind() {
            return;
        }
        let missed = self.events.as_mut().map_or(0, |subscription| std::mem::take(&mut subscription.missed));
        if missed > 0 {
            let (of, what) = ("missed".to_owned(), "new".to_owned());
            self.say(&print(&EventInfo { time: wall_millis(), of, what, count: missed, ..EventInfo::default() }));
        }
    }
}

impl Serving {
    /// Hands on what the herald has seen.
    pub fn spread_news(&mut self) {
        let Some((_, told)) = &self.herald.thread else { return };
        let all: Vec<Told> = told.try_iter().collect();
        for Told { events, joined } in all {
            for (_, session) in self.clients.iter_mut().filter(|_| !events.is_empty()) {
                session.tell(&events);
            }
            for (number, initial) in joined {
                let Some((_, session)) = self.clients.find(number) else { continue };
                let Some(subscription) = session.events.as_mut() else { continue };
                subscription.joined = true;
                session.tell(&initial);
            }
        }
        if !self.clients.iter().any(|(_, session)| session.events.is_some()) {
            self.herald.rest();
        }
    }
}
