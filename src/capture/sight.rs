//! What a service shows a capture that is no frame of the switch: transfers of its USB devices.

use super::pcapng::LinkType;
use crate::time::Instant;
use std::sync::Arc;

/// Bytes of sights that wait for a capture at one port, at most.
const ROOM: usize = 4 << 20;
/// How many of them.
const COUNT: usize = 16 * 1024;

/// A part of a port that has an interface of its own in a capture: `usbip#1-1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What its name has behind that of the port.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The link type.
    pub link: LinkType,
    /// Bits per second, where that is known.
    pub speed: Option<u64>,
}

/// Something seen.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When, by the clock of who saw it.
    pub at: Instant,
    /// Where.
    pub part: Arc<Part>,
    /// It came from there; else it went there.
    pub incoming: bool,
    /// Its bytes, as far as they are kept. None: the part is there.
    pub bytes: Vec<u8>,
    /// How many it had.
    pub len: u32,
}

/// Sights on their way, within bounds.
#[derive(Default, Debug)]
pub struct Sights {
    /// In their order.
    pub list: Vec<Sight>,
    /// Those that found no room.
    pub missed: u64,
    bytes: usize,
}

impl Sights {
    /// Takes one, if there is room.
    pub fn push(&mut self, sight: Sight) {
        if self.list.len() >= COUNT || self.bytes + sight.bytes.len() > ROOM {
            self.missed += 1;
            return;
        }
        self.bytes += sight.bytes.len();
        self.list.push(sight);
    }

    /// Takes all of `other`, as far as there is room.
    pub fn append(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        self.missed += other.missed;
        other.list.into_iter().for_each(|sight| self.push(sight));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.missed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let part = Part { name: "1-1".into(), description: String::new(), link: LinkType::USB, speed: None };
        let sight =
            Sight { at: Instant::ZERO, part: part.into(), incoming: true, bytes: vec![0; 1 << 20], len: 1 << 20 };
        let (mut all, mut more) = (Sights::default(), Sights::default());
        (0..3).for_each(|_| all.push(sight.clone()));
        (0..3).for_each(|_| more.push(sight.clone()));
        all.append(&mut more);
        assert_eq!((all.list.len(), all.missed, more.is_empty()), (4, 2, true));
    }
}
