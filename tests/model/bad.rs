//! A bad line as one would write it on a whiteboard: a counter, and a list of what is held.

use super::ops::Bad;
use super::reference::Arrival;
use zbridge::time::Instant;

/// What becomes of a frame.
pub enum Fate {
    Lost,
    Full,
    Held,
    Passes,
}

pub struct Line {
    pub bad: Bad,
    /// Frames that came so far.
    came: u64,
    /// Frames in the order in which they leave.
    held: Vec<(Instant, Arrival)>,
}

impl Line {
    pub fn new(bad: &Bad) -> Self {
        Self { bad: bad.clone(), came: 0, held: Vec::new() }
    }

    /// Every frame passes as it is.
    pub fn is_whole(&self) -> bool {
        self.bad.nth == 0 && !self.bad.all && self.bad.delay.is_zero()
    }

    pub fn judge(&mut self, now: Instant, arrival: &Arrival) -> Fate {
        self.came += 1;
        if self.bad.all || self.bad.nth > 0 && self.came.is_multiple_of(self.bad.nth) {
            return Fate::Lost;
        }
        if self.bad.delay.is_zero() {
            return Fate::Passes;
        }
        if self.held.len() >= self.bad.limit {
            return Fate::Full;
        }
        let until = now + self.bad.delay;
        // Behind all of the same time.
        let place = self.held.partition_point(|(other, _)| *other <= until);
        self.held.insert(place, (until, arrival.clone()));
        Fate::Held
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    pub fn next(&self) -> Option<Instant> {
        self.held.first().map(|(until, _)| *until)
    }

    pub fn take_due(&mut self, now: Instant) -> Vec<Arrival> {
        let due = self.held.partition_point(|(until, _)| *until <= now);
        self.held.drain(..due).map(|(_, arrival)| arrival).collect()
    }

    pub fn clear(&mut self) -> Vec<Arrival> {
        self.held.drain(..).map(|(_, arrival)| arrival).collect()
    }
}
