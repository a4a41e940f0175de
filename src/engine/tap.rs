//! The switch's end of captures: hands over the notes of the switch's tape, and never blocks.
//!
//! Theory of operation. While nothing is captured the switch has no tape. The first capture gives it one, which notes
//! what any of the captures wants. Notes are gathered over the turns of the loop, for [`GATHER`] at most, and handed
//! over in one piece, which all captures share. The backlog of each capture is bounded in bytes ([`WAITING`]); a piece
//! that finds no room is counted as missed, by that capture alone. Port names travel in order among the notes.

use super::feed::{Feed, WAITING};
use super::slot::PortSlot;
use crate::capture::{Piece, PortNews, Sight};
use crate::frame::PortId;
use crate::port::channel::Seen;
use crate::switch::{Notes, Switch, Tape, Wanted};
use crate::time::{Duration, Instant};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// How long notes are gathered before they are handed over.
const GATHER: Duration = Duration::from_millis(5);
/// Bytes of frames, and notes, after which they are handed over at once.
const PIECE_BYTES: usize = 256 * 1024;
const PIECE_NOTES: usize = 4096;
/// The cost of a note beside the bytes of its frame.
const NOTE_COST: usize = std::mem::size_of::<crate::switch::Note>();
/// The cost of the name of a port or a host.
const NEWS_COST: usize = 512;

/// The way to the thread of a capture.
#[derive(Clone)]
pub(super) struct Inlet {
    /// Its number, which no other has.
    pub number: u64,
    pub wanted: Wanted,
    feed: Feed<Piece>,
}

impl Inlet {
    pub fn new(number: u64, wanted: Wanted, feed: Feed<Piece>) -> Self {
        Self { number, wanted, feed }
    }

    /// Hands a piece over, or counts it as missed. False: the capture has ended.
    ///
    /// Port names have to arrive, or frames would be shown as another port's: of a piece that finds no room, the names
    /// alone are handed over. A capture without room even for these ends.
    fn offer(&self, piece: &Arc<Piece>) -> bool {
        if self.feed.has_room(cost(piece)) {
            return self.feed.send(piece.clone(), cost(piece));
        }
        self.feed.miss(frames(piece));
        if piece.news.is_empty() && piece.names.is_empty() {
            return true;
        }
        let Piece { switch, epoch, .. } = **piece;
        let (news, names) = (piece.news.clone(), piece.names.clone());
        let bare = Piece { switch, epoch, news, names, ..Piece::default() };
        let cost = cost(&bare);
        self.feed.waits() + cost <= 2 * WAITING && self.feed.send(Arc::new(bare), cost)
    }
}

/// The cost of a piece while it waits.
pub(super) fn cost(piece: &Piece) -> usize {
    let words = piece.news.len() + piece.names.len();
    let sights: usize = piece.sights.iter().map(|(.., sight)| NOTE_COST + sight.bytes.len()).sum();
    piece.notes.bytes.len() + NOTE_COST * (1 + piece.notes.notes.len()) + NEWS_COST * words + sights
}

/// The frames of a piece.
pub(super) fn frames(piece: &Piece) -> u64 {
    (piece.notes.notes.len() + piece.sights.len()) as u64 + piece.notes.missed
}

/// See the head of the file.
pub(super) struct Tap {
    /// The number of the switch among those of the bridge.
    pub number: u16,
    /// When its clock began, in nanoseconds since 1970.
    epoch: u64,
    captures: Vec<Inlet>,
    news: Vec<(usize, PortId, Arc<PortNews>)>,
    /// What services have seen, by time since 1970.
    sights: Vec<(PortId, u64, Sight)>,
    /// Of that what found no room.
    unseen: u64,
    /// Names of hosts that may soon be known no more.
    names: Vec<(IpAddr, String)>,
    /// When the notes are handed over.
    due: Option<Instant>,
}

impl Tap {
    /// Nothing is captured. `now` is what the clock of the switch shows.
    pub fn new(now: Instant) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let epoch = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).saturating_sub(now.as_nanos());
        Self {
            number: 0,
            epoch,
            captures: Vec::new(),
            news: Vec::new(),
            sights: Vec::new(),
            unseen: 0,
            names: Vec::new(),
            due: None,
        }
    }

    /// When [`Tap::hand_over`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether anything is captured.
    pub fn is_on(&self) -> bool {
        !self.captures.is_empty()
    }

    /// Bytes that captures keep of each thing that services see; 0: none wants any.
    pub fn snap(&self) -> u32 {
        let wanted = self.captures.iter().map(|inlet| inlet.wanted).filter(|wanted| wanted.arrivals);
        wanted.map(|wanted| wanted.snap).max().unwrap_or(0)
    }

    /// A service on the port `id` has seen this.
    pub fn see(&mut self, id: PortId, Seen { sights, epoch }: Seen) {
        self.unseen += sights.missed;
        let at = |sight: &Sight| epoch.saturating_add(sight.at.as_nanos());
        self.sights.extend(sights.list.into_iter().map(|sight| (id, at(&sight), sight)));
    }

    /// Hosts are called so.
    pub fn name(&mut self, names: Vec<(IpAddr, String)>) {
        self.names = names;
    }

    /// Whether nothing waits to be handed over.
    fn is_idle(&self, notes: &Notes) -> bool {
        notes.is_empty() && self.news.is_empty() && self.sights.is_empty() && self.names.is_empty() && self.unseen == 0
    }

    /// Adds a capture.
    pub fn add<'a>(
        &mut self,
        switch: &mut Switch,
        inlet: Inlet,
        slots: impl Iterator<Item = (PortId, &'a PortSlot)>,
        names: Vec<(IpAddr, String)>,
    ) {
        self.hand_over_now(switch);
        let news = slots.map(|(id, slot)| (0, id, slot.news.clone())).collect();
        let first = Piece { switch: self.number, epoch: self.epoch, news, names, ..Piece::default() };
        inlet.offer(&Arc::new(first));
        self.captures.push(inlet);
        self.want(switch);
    }

    /// Ends the capture with this number, which gets the notes so far.
    pub fn remove(&mut self, switch: &mut Switch, number: u64, names: Vec<(IpAddr, String)>) {
        self.hand_over_now(switch);
        if let Some(place) = self.captures.iter().position(|inlet| inlet.number == number) {
            let inlet = self.captures.remove(place);
            let last = Piece { switch: self.number, epoch: self.epoch, names, ..Piece::default() };
            inlet.offer(&Arc::new(last));
            self.want(switch);
        }
    }

    /// The switch ends, and all captures with it.
    pub fn end(&mut self, switch: &mut Switch, names: &[(IpAddr, String)]) {
        while let Some(number) = self.captures.last().map(|inlet| inlet.number) {
            self.remove(switch, number, names.to_vec());
        }
    }

    /// Has the switch note what any capture wants.
    fn want(&self, switch: &mut Switch) {
        let wanted = self.captures.iter().map(|inlet| inlet.wanted).reduce(Wanted::and);
        match (wanted, switch.tape_mut()) {
            (Some(wanted), Some(tape)) => tape.want(wanted),
            (wanted, _) => drop(switch.set_tape(wanted.map(Tape::new))),
        }
    }

    /// Notes the name of a port that has a slot from now on.
    pub fn note_port(&mut self, switch: &mut Switch, id: PortId, news: &Arc<PortNews>) {
        if let Some(tape) = switch.tape_mut() {
            self.news.push((tape.notes().notes.len(), id, news.clone()));
        }
    }

    /// Hands the notes over when they are due or many.
    pub fn hand_over(&mut self, now: Instant, switch: &mut Switch) {
        let Some(tape) = switch.tape_mut() else { return };
        let notes = tape.notes();
        if self.is_idle(notes) {
            return;
        }
        let is_much = self.sights.len() >= PIECE_NOTES
            || notes.bytes.len() >= PIECE_BYTES
            || notes.notes.len() >= PIECE_NOTES
            || notes.missed > 0;
        match self.due {
            Some(due) if due <= now => self.hand_over_now(switch),
            _ if is_much => self.hand_over_now(switch),
            Some(_) => {}
            None => self.due = Some(now + GATHER),
        }
    }

    fn hand_over_now(&mut self, switch: &mut Switch) {
        self.due = None;
        let Some(tape) = switch.tape_mut() else { return };
        if self.is_idle(tape.notes()) {
            return;
        }
        let room = Notes {
            notes: Vec::with_capacity(tape.notes().notes.len()),
            bytes: Vec::with_capacity(tape.notes().bytes.len()),
            missed: 0,
        };
        let (mut notes, news) = (tape.take(room), std::mem::take(&mut self.news));
        notes.missed += std::mem::take(&mut self.unseen);
        let (sights, names) = (std::mem::take(&mut self.sights), std::mem::take(&mut self.names));
        let piece = Arc::new(Piece { switch: self.number, epoch: self.epoch, notes, news, sights, names });
        let before = self.captures.len();
        self.captures.retain(|inlet| inlet.offer(&piece));
        if self.captures.len() < before {
            self.want(switch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::pcapng::LinkType;
    use mio::{Poll, Token, Waker};
    use std::sync::atomic::Ordering;

    #[test]
    fn what_waits_is_bounded_and_names_are_not_lost() {
        let poll = Poll::new().unwrap();
        let (feed, shared, pieces) = Feed::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let inlet = Inlet::new(0, Wanted { snap: 96, arrivals: true, copies: false }, feed);
        let mut piece = Piece::default();
        (piece.notes.bytes, piece.notes.missed) = (vec![0; 1 << 20], 5);
        let plain = Arc::new(piece.clone());
        assert!((0..40).all(|_| inlet.offer(&plain)));
        let waiting = || shared.waiting.load(Ordering::Relaxed);
        assert!(waiting() <= WAITING && pieces.len() == 15, "{} of {}", pieces.len(), waiting());
        assert_eq!(shared.missed.load(Ordering::Relaxed), 25 * 5);
        let (link, speed) = (LinkType(1), None);
        let news = PortNews { switch: "lab".into(), name: "a".into(), description: String::new(), link, speed };
        piece.news.push((7, PortId(3), Arc::new(news)));
        let named = Arc::new(piece);
        assert!(inlet.offer(&named) && waiting() <= WAITING + 1024);
        let last = pieces.try_iter().nth(15).unwrap();
        assert_eq!((last.news.len(), last.notes.bytes.len()), (1, 0));
        let many = (0..100_000).take_while(|_| inlet.offer(&named)).count();
        assert!(many < 100_000 && waiting() <= 2 * WAITING, "a capture that has no room for names ends");
        drop(pieces);
        shared.waiting.store(0, Ordering::Relaxed);
        assert!(!inlet.offer(&plain), "nobody takes any more");
    }
}
