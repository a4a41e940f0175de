//! The fates of frames, as they are noted, and how they are told again.
//!
//! Theory of operation. Whoever wants to know what impairments do gives the switch a [`Journal`]
//! ([`Switch::set_journal`]): every copy of a frame that goes through a [`Line`] is noted with its number, a digest of its
//! bytes and what became of it. Notes are bounded; those that find no room are counted, until somebody takes them.
//!
//! With a [`Replay`] ([`Switch::set_replay`]) nothing is drawn any more: fates are those of an earlier run, by the names
//! of port and direction and by the frame's number (`replay.rs`). Without either, a frame pays one look at two `Option`s,
//! and only on ports with impairments.

use super::bend::Way;
use super::impair::{Fate, Line, Verdict};
use super::replay::{Replay, Track, Unlike};
use super::{Event, Switch};
use crate::frame::PortId;
use crate::time::{Duration, Instant};
use std::sync::Arc;

/// Notes that wait to be taken at most.
pub const NOTES: usize = 65_536;

/// What became of one copy of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Became {
    /// It was lost.
    Lost,
    /// As many were held as may be, or as there is memory for: it was dropped.
    Full,
    /// It passed at once.
    Passed {
        /// The bit that was flipped, counted from its first.
        flip: Option<u32>,
    },
    /// It was held.
    Held {
        /// For so long; a slot may have added to that.
        delay: Duration,
        /// As of [`Became::Passed`].
        flip: Option<u32>,
    },
}

/// A note about one direction of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FateNote {
    /// `PORT WAY`.
    pub of: Arc<str>,
    /// The frame, or how many came before those of which there are notes.
    pub number: u64,
    /// What is noted.
    pub what: FateNoted,
}

/// What is noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FateNoted {
    /// A port of this name is impaired from here on.
    Begins,
    /// The fate of one copy of a frame.
    Frame {
        /// Its bytes.
        len: u32,
        /// A digest of them, before a bit was flipped.
        digest: u32,
        /// It is the second copy.
        copy: bool,
        /// It leaves before one that came earlier.
        overtook: bool,
        /// What became of it.
        became: Became,
    },
}

/// Notes, and how many found no room behind them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Journal {
    /// The notes, in their order.
    pub notes: Vec<FateNote>,
    /// Frames of which there is none.
    pub missed: u64,
}

impl Journal {
    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.missed == 0
    }

    fn note(&mut self, note: impl FnOnce() -> FateNote) {
        // Nothing comes behind a gap but in the next piece, so that the gap is where it was.
        if self.missed == 0 && self.notes.len() < NOTES { self.notes.push(note()) } else { self.missed += 1 }
    }
}

/// What the fates of a direction are noted under, and where they are taken from. Both are set when its line is made.
#[derive(Default)]
pub struct Told {
    of: Option<Arc<str>>,
    track: Option<Track>,
}

impl Switch {
    /// Has fates noted from now on, for ports that are not yet impaired.
    pub fn set_journal(&mut self, on: bool) {
        self.journal = on.then(Box::default);
    }

    /// What was noted since the last call.
    pub fn take_journal(&mut self) -> Option<Journal> {
        self.journal.as_deref_mut().filter(|journal| !journal.is_empty()).map(std::mem::take)
    }

    /// How much was noted since.
    pub fn noted_fates(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| journal.notes.len() + usize::from(journal.missed > 0))
    }

    /// Fates are those of an earlier run from now on, for the ports that come.
    pub fn set_replay(&mut self, replay: Replay) {
        self.replay = Some(Box::new(replay));
    }

    /// Whether a port `name` that comes now is to meet what it met in an earlier run.
    pub(super) fn replays(&self, name: &str, way: Way) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.awaits(&of(name, way)))
    }

    /// How far this run is like the one that is replayed, if one is.
    pub fn replay(&self) -> Option<&Replay> {
        self.replay.as_deref()
    }

    /// What the fates of a new line, that of the port `name`, are noted under and taken from. So many frames `came` before.
    pub(super) fn begin_telling(&mut self, name: &str, way: Way, came: u64) -> Told {
        if self.journal.is_none() && self.replay.is_none() {
            return Told::default();
        }
        let of = of(name, way);
        if let Some(journal) = &mut self.journal {
            journal.note(|| FateNote { of: of.clone(), number: came, what: FateNoted::Begins });
        }
        let track = self.replay.as_mut().and_then(|replay| replay.begin(&of));
        Told { of: Some(of), track }
    }

    /// Decides what becomes of the next frame of a line.
    pub(super) fn judge(&mut self, id: PortId, way: Way, line: &mut Line, frame: &[u8]) -> Verdict {
        let now = self.now;
        let Some(replay) = &mut self.replay else { return line.judge(now, frame) };
        let number = line.count();
        let Some(track) = line.told.track else { return Verdict::UNTOUCHED };
        let (verdict, unlike) = replay.verdict(track, now, number, frame);
        if let Some(how) = unlike {
            self.unlike(id, way, number, how);
        }
        verdict
    }

    #[cold]
    fn unlike(&mut self, port: PortId, way: Way, number: u64, how: Unlike) {
        self.tell(Event::Unlike { port, way, number, how });
    }

    /// Notes what became of a copy of the line's last frame. `ended`: it was dropped, whatever was decided.
    #[inline]
    pub(super) fn note_fate(&mut self, line: &Line, copy: bool, fate: Fate, ended: bool, frame: &[u8]) {
        if let Some(journal) = &mut self.journal {
            note(journal, self.now, line, copy, fate, ended, frame);
        }
    }
}

/// What a direction is noted under. A name of the library's own ports may have blanks.
fn of(name: &str, way: Way) -> Arc<str> {
    let name: String =
        name.chars().map(|char| if char.is_whitespace() || char.is_control() { '_' } else { char }).collect();
    format!("{name} {}", way.word()).into()
}

#[cold]
fn note(journal: &mut Journal, now: Instant, line: &Line, copy: bool, fate: Fate, ended: bool, frame: &[u8]) {
    let Some(of) = &line.told.of else { return };
    let became = match fate {
        Fate::Lost => Became::Lost,
        Fate::Full => Became::Full,
        _ if ended => Became::Full,
        Fate::Passes { flip } => Became::Passed { flip },
        Fate::Held { until, flip } => Became::Held { delay: until - now, flip },
    };
    let overtook = match (became, fate) {
        (Became::Passed { .. }, _) => line.held() > 0,
        (Became::Held { .. }, Fate::Held { until, .. }) => until < line.tail(),
        _ => false,
    };
    journal.note(|| FateNote {
        of: of.clone(),
        number: line.number(),
        what: FateNoted::Frame {
            len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            digest: digest(frame),
            copy,
            overtook,
            became,
        },
    });
}

/// The polynomial of IEEE 802.3's frame check sequence, in the order of its bits on the wire.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Of each byte what it makes of the sum, if so many bytes come behind it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut behind = 1;
    while behind < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// A short digest of a frame: its CRC-32, as of its frame check sequence and of zlib's `crc32`. Eight bytes at a time.
pub fn digest(frame: &[u8]) -> u32 {
    let at = |behind: usize, byte: u32| TABLES[behind & 7][(byte & 0xff) as usize];
    let (eights, rest) = frame.as_chunks::<8>();
    let mut sum = u32::MAX;
    for &[a, b, c, d, e, f, g, h] in eights {
        let first = sum ^ u32::from_le_bytes([a, b, c, d]);
        sum = at(7, first) ^ at(6, first >> 8) ^ at(5, first >> 16) ^ at(4, first >> 24);
        sum ^= at(3, e.into()) ^ at(2, f.into()) ^ at(1, g.into()) ^ at(0, h.into());
    }
    !rest.iter().fold(sum, |sum, &byte| sum >> 8 ^ at(0, sum ^ u32::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_crc_32() {
        // The check value of the catalogue of CRCs, and what zlib says.
        assert_eq!(digest(b"123456789"), 0xcbf4_3926);
        assert_eq!(digest(b""), 0);
        let frame: Vec<u8> = (0..=255).cycle().take(1514).collect();
        for len in [1, 7, 8, 9, 63, 64, 65, 1514] {
            assert_eq!(digest(&frame[..len]), digest_slow(&frame[..len]), "{len}");
        }
    }

    fn digest_slow(frame: &[u8]) -> u32 {
        let step = |sum: u32, _| (sum >> 1) ^ ((sum & 1) * POLYNOMIAL);
        !frame.iter().fold(u32::MAX, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
    }

    #[test]
    fn notes_are_bounded_and_a_gap_is_where_it_was() {
        let mut journal = Journal::default();
        let note = |number| FateNote { of: "a tx".into(), number, what: FateNoted::Begins };
        (0..NOTES as u64 + 7).for_each(|number| journal.note(|| note(number)));
        assert_eq!((journal.notes.len(), journal.missed), (NOTES, 7));
        journal.notes.clear();
        journal.note(|| note(9));
        assert_eq!((journal.notes.len(), journal.missed), (0, 8));
    }
}
