//! One direction of a port: what becomes of each frame, and those that are held.
//!
//! Theory of operation. A frame goes through the impairments in netem's order (`netem_enqueue`): it may be doubled, lost,
//! altered, and is held for its delay or overtakes. A second copy goes the same way, with draws of its own. The rate is a
//! line that takes one frame at a time: one that comes while others are held leaves after the last of them. Slots come
//! last: a frame whose time has come waits for the next that is open.

use super::dice::Dice;
use super::held::Held;
use super::loss::Losses;
use super::{Impairment, Slot};
use crate::frame::PortId;
use crate::switch::fates::Told;
use crate::switch::memory::Memory;
use crate::time::{Duration, Instant};
use std::num::NonZeroU64;

/// What becomes of one copy of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is lost.
    Lost,
    /// As many are held as may be: it is dropped.
    Full,
    /// It goes on at once.
    Passes {
        /// The bit of it that is flipped, counted from its first.
        flip: Option<u32>,
    },
    /// It is to be held.
    Held {
        /// Until then.
        until: Instant,
        /// As of [`Fate::Passes`].
        flip: Option<u32>,
    },
}

impl Fate {
    /// It goes on at once, as it is.
    pub const UNTOUCHED: Self = Self::Passes { flip: None };
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The frame itself.
    pub first: Fate,
    /// A second copy of it.
    pub second: Option<Fate>,
}

impl Verdict {
    /// It goes on at once, as it is.
    pub const UNTOUCHED: Self = Self { first: Fate::UNTOUCHED, second: None };
}

/// The draws of a frame, or of the second copies of frames.
struct Draws {
    losses: Losses,
    corrupt: Dice,
    bit: Dice,
    delay: Dice,
    reorder: Dice,
}

impl Draws {
    fn new(seed: u64, name: &str) -> Self {
        let dice = |what: &str| Dice::new(seed, &format!("{name}.{what}"));
        Self {
            losses: Losses::new(seed, name),
            corrupt: dice("corrupt"),
            bit: dice("bit"),
            delay: dice("delay"),
            reorder: dice("reorder"),
        }
    }
}

/// See the head of the file.
pub struct Line {
    settings: Impairment,
    /// Frames that came so far.
    number: u64,
    /// Of these, the ones that were concerned.
    concerned: u64,
    duplicate: Dice,
    draws: Draws,
    copies: Draws,
    /// Frames held since the last that overtook.
    since_overtaking: u32,
    held: Held,
    /// When the last of all that were held until now leaves, or left.
    tail: Instant,
    /// Bytes that might leave at once, and when that was so.
    tokens: (u64, Instant),
    turns: Turns,
    /// What its fates are noted under, and taken from.
    pub told: Told,
}

impl Line {
    /// The line of a direction, whose name is `PORT.tx` or `PORT.rx`. So many frames `came` before there was a line.
    pub fn new(seed: u64, name: &str, came: u64, settings: Impairment) -> Self {
        Self {
            number: came,
            concerned: 0,
            duplicate: Dice::new(seed, &format!("{name}.duplicate")),
            draws: Draws::new(seed, name),
            copies: Draws::new(seed, &format!("{name}.copy")),
            since_overtaking: 0,
            held: Held::default(),
            tail: Instant::ZERO,
            tokens: (settings.burst, Instant::ZERO),
            turns: Turns::new(Dice::new(seed, &format!("{name}.slot"))),
            told: Told::default(),
            settings,
        }
    }

    /// Other settings from the next frame on. What is held leaves when it was to leave.
    pub fn set(&mut self, settings: Impairment) {
        self.settings = settings;
    }

    /// The settings.
    pub fn settings(&self) -> &Impairment {
        &self.settings
    }

    /// Frames that are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The number of the last frame that came.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the last of all that were held until now leaves, or left.
    pub fn tail(&self) -> Instant {
        self.tail
    }

    /// Counts the next frame, and gives its number.
    pub fn count(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Decides what becomes of the next frame.
    pub fn judge(&mut self, now: Instant, frame: &[u8]) -> Verdict {
        let number = self.count();
        let Impairment { only, matches, .. } = &self.settings;
        let concerned = only.as_ref().is_none_or(|only| only.contains(&number))
            && matches.as_ref().is_none_or(|it| (it.holds)(frame));
        if !concerned {
            return Verdict::UNTOUCHED;
        }
        self.concerned += 1;
        if self.settings.nth.is_some_and(|nth| self.concerned.is_multiple_of(nth.get())) {
            return Verdict { first: Fate::Lost, second: None };
        }
        let twice = self.duplicate.hits(number, self.settings.duplicate);
        let first = self.judge_one(now, frame.len(), false);
        Verdict { first, second: twice.then(|| self.judge_one(now, frame.len(), true)) }
    }

    fn judge_one(&mut self, now: Instant, len: usize, is_copy: bool) -> Fate {
        let Self { settings, number, draws, copies, since_overtaking, .. } = self;
        let draws = if is_copy { copies } else { draws };
        if draws.losses.take(*number, &settings.loss) {
            return Fate::Lost;
        }
        let bits = u64::try_from(len).unwrap_or(0) * 8;
        let flip = (draws.corrupt.hits(*number, settings.corrupt) && bits > 0)
            .then(|| ((u64::from(draws.bit.draw(*number)) * bits) >> 32) as u32);
        if !settings.holds() {
            return Fate::Passes { flip };
        }
        let is_full = self.held.len() >= settings.limit
            || settings.limit_bytes.is_some_and(|most| self.held.bytes() + len > most);
        if is_full {
            return Fate::Full;
        }
        let may_overtake = !settings.reorder.share.is_none() && *since_overtaking + 1 >= settings.gap;
        if may_overtake && draws.reorder.hits(*number, settings.reorder) {
            *since_overtaking = 0;
            return Fate::Passes { flip };
        }
        *since_overtaking = since_overtaking.saturating_add(1);
        let delay = settings.distribution.delay(
            &mut draws.delay,
            *number,
            settings.delay,
            settings.jitter,
            settings.delay_correlation,
        );
        let until = self.leaves_at(now, len, delay);
        if until <= now && self.held.next().is_none() && self.settings.slot.is_none() {
            return Fate::Passes { flip };
        }
        self.tail = self.tail.max(until);
        Fate::Held { until, flip }
    }

    /// When a frame leaves that comes now and takes `delay`, by the rate.
    fn leaves_at(&mut self, now: Instant, len: usize, delay: Duration) -> Instant {
        let Some(rate) = self.settings.rate else { return now + delay };
        // As netem: what it waits for those before it is part of its delay.
        let start = self.tail.max(now);
        let delay = delay.saturating_sub(start - now);
        start + delay + self.takes(rate, start, len)
    }

    /// How long the line is taken by a frame that begins at `start`.
    fn takes(&mut self, rate: NonZeroU64, start: Instant, len: usize) -> Duration {
        let (tokens, at) = self.tokens;
        let bits = u128::from(rate.get());
        let earned = (start - at).as_nanos() * bits / 8 / 1_000_000_000;
        let tokens = tokens.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)).min(self.settings.burst);
        let owed = (len as u64).saturating_sub(tokens);
        let nanos = u128::from(owed) * 8 * 1_000_000_000 / bits;
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // What is earned while it leaves is spent on it.
        self.tokens = (tokens.saturating_sub(len as u64), start + takes);
        takes
    }

    /// Holds a frame until its time, with a bit flipped. False: there is no memory for it.
    pub fn hold(&mut self, until: Instant, flip: Option<u32>, from: PortId, frame: &[u8], memory: &mut Memory) -> bool {
        self.held.push(until, from, frame, memory, |copy| flip.into_iter().for_each(|bit| flip_bit(copy, bit)))
    }

    /// Hands over the frames whose time has come, until `take` has no room for one. Returns how many.
    pub fn release(&mut self, now: Instant, memory: &mut Memory, mut take: impl FnMut(PortId, &[u8]) -> bool) -> usize {
        let mut released = 0;
        while let Some(next) = self.held.next() {
            let due = match &self.settings.slot {
                None => next,
                Some(slot) => self.turns.for_one_at(slot, next),
            };
            if due > now {
                break;
            }
            let Some(len) = self.held.pop(memory, &mut take) else { break };
            released += 1;
            if let Some(slot) = &self.settings.slot {
                self.turns.took(slot, now, len);
            }
        }
        released
    }

    /// When [`Line::release`] wants to be called: the next frame leaves then, or has to wait for a slot from then on.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.held.next()?;
        Some(if self.settings.slot.is_some() { self.turns.opens.map_or(next, |opens| opens.max(next)) } else { next })
    }

    /// Every frame that is held, in no order.
    pub fn frames(&self) -> impl Iterator<Item = (PortId, &[u8])> {
        self.held.iter()
    }

    /// Forgets what is held. Returns how many there were.
    pub fn clear(&mut self, memory: &mut Memory) -> usize {
        self.tail = Instant::ZERO;
        self.held.clear(memory)
    }
}

/// The slots of a line, of which one is open or opens next.
struct Turns {
    dice: Dice,
    number: u64,
    /// When the present one opens, or has; `None` before the first.
    opens: Option<Instant>,
    frames_left: u64,
    bytes_left: u64,
}

impl Turns {
    fn new(dice: Dice) -> Self {
        Self { dice, number: 0, opens: None, frames_left: 0, bytes_left: 0 }
    }

    /// The slot for a frame whose time comes at `at`: the next one, or a new one where that is over by then.
    fn for_one_at(&mut self, slot: &Slot, at: Instant) -> Instant {
        match self.opens {
            Some(opens) if opens >= at => opens,
            _ => self.open_after(slot, at),
        }
    }

    fn open_after(&mut self, slot: &Slot, at: Instant) -> Instant {
        self.number += 1;
        let span = slot.to.saturating_sub(slot.from).as_nanos();
        let spread = (span * u128::from(self.dice.draw(self.number))) >> 32;
        let opens = at + slot.from + Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX));
        self.opens = Some(opens);
        self.frames_left = slot.frames.map_or(u64::MAX, NonZeroU64::get);
        self.bytes_left = slot.bytes.map_or(u64::MAX, NonZeroU64::get);
        opens
    }

    /// A frame has left in the open slot, which is over when it has its share.
    fn took(&mut self, slot: &Slot, now: Instant, len: usize) {
        self.frames_left = self.frames_left.saturating_sub(1);
        self.bytes_left = self.bytes_left.saturating_sub(len as u64);
        if self.frames_left == 0 || self.bytes_left == 0 {
            self.open_after(slot, now);
        }
    }
}

/// Flips a bit of a frame, counted from its first.
pub fn flip_bit(frame: &mut [u8], bit: u32) {
    if let Some(byte) = frame.get_mut(bit as usize / 8) {
        *byte ^= 0x80 >> (bit % 8);
    }
}

#[cfg(test)]
mod million;
#[cfg(test)]
mod tests;
