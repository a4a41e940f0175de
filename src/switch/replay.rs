//! The fates of an earlier run, told again.
//!
//! Theory of operation. A recording has tracks: one for each time that a port of a name was impaired in a direction, in
//! the order in which that was so. The line of such a port takes the next track of its name. Of a frame its track has what
//! became of it under the frame's number, length and digest. A frame that is another than the recorded one gets the fate of
//! its number all the same, and so do those behind it: that way a run in which a byte differs loses the same frames. Where
//! the track has nothing, before its first frame or behind its last, frames pass. What was not the same is counted, with
//! its first place.
//!
//! A frame takes [`Recorded`]'s 24 bytes, and there may be [`FRAMES_MAX`] of them; the rare ones with a second copy, or
//! with a delay beyond an hour, are kept beside.

use super::fates::{Became, FateNote, FateNoted, digest};
use super::impair::{Fate, Verdict};
use crate::time::{Duration, Instant};
use std::collections::HashMap;
use std::sync::Arc;

/// Frames of a recording at most: they take 240 MB.
pub const FRAMES_MAX: usize = 10_000_000;
/// Tracks of it at most.
pub const TRACKS_MAX: usize = 65_536;

/// The number of a track in its recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track(usize);

/// How a frame is not what it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unlike {
    /// Its bytes are others.
    Other,
    /// The recording had ended.
    More,
}

/// A frame of a track.
struct Recorded {
    number: u64,
    len: u32,
    digest: u32,
    fate: Packed,
}

/// A fate in 64 bits: two of its kind, 20 of the flipped bit and one, 42 of nanoseconds; or the index of a rare one.
#[derive(Clone, Copy)]
struct Packed(u64);

const KIND: u32 = 62;
const FLIP: u32 = 42;
const FLIP_MAX: u32 = (1 << (KIND - FLIP)) - 1;
const NANOS_MAX: u64 = (1 << FLIP) - 1;
/// Kinds. Of a rare one the rest is its index.
const PASSED: u64 = 0;
const HELD: u64 = 1;
const ENDED: u64 = 2;
const RARE: u64 = 3;

impl Packed {
    /// `None`: it has no room here.
    fn of(became: Became) -> Option<Self> {
        let (kind, flip, nanos) = match became {
            Became::Lost => (ENDED, None, 0),
            Became::Full => (ENDED, None, 1),
            Became::Passed { flip } => (PASSED, flip, 0),
            Became::Held { delay, flip } => (HELD, flip, u64::try_from(delay.as_nanos()).ok()?),
        };
        let flip = flip.map_or(Some(0), |bit| bit.checked_add(1).filter(|flip| *flip <= FLIP_MAX))?;
        (nanos <= NANOS_MAX).then_some(Self(kind << KIND | u64::from(flip) << FLIP | nanos))
    }

    /// The index of a rare one, otherwise what became of the frame.
    fn get(self) -> Result<Became, usize> {
        let nanos = self.0 & NANOS_MAX;
        let flip = (self.0 >> FLIP) as u32 & FLIP_MAX;
        let flip = flip.checked_sub(1);
        match self.0 >> KIND {
            PASSED => Ok(Became::Passed { flip }),
            HELD => Ok(Became::Held { delay: Duration::from_nanos(nanos), flip }),
            ENDED if nanos == 0 => Ok(Became::Lost),
            ENDED => Ok(Became::Full),
            _ => Err(nanos as usize),
        }
    }
}

/// One direction of a port, from when it was impaired until the port went.
struct Of {
    name: Arc<str>,
    frames: Vec<Recorded>,
    /// The frame behind the last that was looked for.
    next: usize,
    /// Whether a port has come for it.
    came: bool,
    unlike: Difference,
}

/// What was not the same in one direction of a port.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Difference {
    /// Frames that were others than those recorded, and the first.
    pub others: u64,
    /// Its number.
    pub first_other: Option<u64>,
    /// Frames behind the last recorded.
    pub more: u64,
    /// The number of the first of these.
    pub first_more: Option<u64>,
}

impl Difference {
    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.others + self.more > 0
    }

    /// The number of the first frame that was not the same.
    pub fn first(&self) -> Option<u64> {
        self.first_other.into_iter().chain(self.first_more).min()
    }
}

/// A recording, and how far this run is like it. See the head of the file.
#[derive(Default)]
pub struct Replay {
    tracks: Vec<Of>,
    /// Of each name the tracks that no port has come for yet, the last first once it is complete; while it is read the
    /// last is at the end.
    waiting: HashMap<Arc<str>, Vec<usize>>,
    rare: Vec<(Became, Option<Became>)>,
    frames: usize,
    /// Fates that the recording had no room for.
    missing: u64,
    /// Something is missing since: numbers may begin anew.
    gap: bool,
}

impl Replay {
    /// Adds a note behind those before it.
    ///
    /// # Errors
    /// It does not fit those before it, in words.
    pub fn add(&mut self, note: &FateNote) -> Result<(), String> {
        let (number, known) = (note.number, self.waiting.get(&note.of).and_then(|them| them.last()).copied());
        let (len, digest, copy, became) = match note.what {
            FateNoted::Begins => return self.add_track(&note.of).map(drop),
            FateNoted::Frame { len, digest, copy, became, .. } => (len, digest, copy, became),
        };
        let last = known.and_then(|track| self.tracks.get(track)?.frames.last()).map(|frame| frame.number);
        if copy && last == Some(number) {
            return self.add_copy(known.unwrap_or_default(), became);
        }
        if copy && self.gap {
            // The frame itself is missing.
            return Ok(());
        }
        if copy {
            return Err(format!("it is a copy of frame {number}, which is not before it"));
        }
        let track = match (known, last) {
            (Some(track), None) => track,
            (Some(track), Some(last)) if last < number => track,
            (Some(_), Some(last)) if !self.gap => {
                return Err(format!("frame {number} comes behind frame {last} of {}", note.of));
            }
            _ => self.add_track(&note.of)?,
        };
        if self.frames >= FRAMES_MAX {
            return Err(format!("there are more than {FRAMES_MAX} frames in it"));
        }
        let fate = Packed::of(became).unwrap_or_else(|| {
            self.rare.push((became, None));
            Packed(RARE << KIND | (self.rare.len() - 1) as u64)
        });
        self.frames += 1;
        if let Some(track) = self.tracks.get_mut(track) {
            track.frames.push(Recorded { number, len, digest, fate });
        }
        Ok(())
    }

    fn add_track(&mut self, of: &Arc<str>) -> Result<usize, String> {
        if self.tracks.len() >= TRACKS_MAX {
            return Err(format!("there are more than {TRACKS_MAX} beginnings in it"));
        }
        self.tracks.push(Of {
            name: of.clone(),
            frames: Vec::new(),
            next: 0,
            came: false,
            unlike: Difference::default(),
        });
        self.waiting.entry(of.clone()).or_default().push(self.tracks.len() - 1);
        Ok(self.tracks.len() - 1)
    }

    /// The last frame of a track came twice.
    fn add_copy(&mut self, track: usize, second: Became) -> Result<(), String> {
        let frame = self.tracks.get_mut(track).and_then(|track| track.frames.last_mut());
        let Some(frame) = frame else { return Ok(()) };
        match frame.fate.get() {
            Ok(first) => {
                self.rare.push((first, Some(second)));
                frame.fate = Packed(RARE << KIND | (self.rare.len() - 1) as u64);
            }
            Err(index) => match self.rare.get_mut(index) {
                Some((_, copy @ None)) => *copy = Some(second),
                _ => return Err(format!("frame {} has a third copy", frame.number)),
            },
        }
        Ok(())
    }

    /// So many fates are missing here.
    pub fn add_gap(&mut self, missing: u64) {
        self.missing = self.missing.saturating_add(missing);
        self.gap = true;
    }

    /// All notes were added.
    #[must_use]
    pub fn complete(mut self) -> Self {
        for tracks in self.waiting.values_mut() {
            tracks.reverse();
        }
        for track in &mut self.tracks {
            track.frames.shrink_to_fit();
        }
        self
    }

    /// A port came: the track that its direction takes from now on, if there is one more.
    pub(super) fn begin(&mut self, of: &str) -> Option<Track> {
        let track = self.waiting.get_mut(of)?.pop()?;
        self.tracks.get_mut(track)?.came = true;
        Some(Track(track))
    }

    /// Whether a port with this direction is in it that has not come yet.
    pub(super) fn awaits(&self, of: &str) -> bool {
        self.waiting.get(of).is_some_and(|tracks| !tracks.is_empty())
    }

    /// What becomes of a frame, and how it is not what it was, where that is so for the first time.
    pub(super) fn verdict(
        &mut self,
        Track(track): Track,
        now: Instant,
        number: u64,
        frame: &[u8],
    ) -> (Verdict, Option<Unlike>) {
        let Self { tracks, rare, .. } = self;
        let Some(track) = tracks.get_mut(track) else { return (Verdict::UNTOUCHED, None) };
        let found = loop {
            match track.frames.get(track.next) {
                Some(recorded) if recorded.number < number => track.next += 1,
                found => break found,
            }
        };
        let Some(recorded) = found else {
            track.unlike.more += 1;
            let first = track.unlike.first_more.is_none();
            track.unlike.first_more.get_or_insert(number);
            return (Verdict::UNTOUCHED, first.then_some(Unlike::More));
        };
        if recorded.number > number {
            return (Verdict::UNTOUCHED, None);
        }
        let is_same = recorded.len as usize == frame.len() && recorded.digest == digest(frame);
        let (first, second) = match recorded.fate.get() {
            Ok(became) => (became, None),
            Err(index) => rare.get(index).copied().unwrap_or((Became::Passed { flip: None }, None)),
        };
        track.next += 1;
        let verdict = Verdict { first: again(now, first), second: second.map(|second| again(now, second)) };
        if is_same {
            return (verdict, None);
        }
        track.unlike.others += 1;
        let is_first = track.unlike.first_other.is_none();
        track.unlike.first_other.get_or_insert(number);
        (verdict, is_first.then_some(Unlike::Other))
    }

    /// Fates that it has not, because the disk was full or the writer slow.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Frames in it.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// What was not the same, by `PORT WAY`.
    pub fn differences(&self) -> impl Iterator<Item = (&str, Difference)> {
        self.tracks.iter().filter(|track| track.unlike.is_some()).map(|track| (&*track.name, track.unlike))
    }

    /// The ports and directions with frames in it that have not come, and how many frames these are.
    pub fn absent(&self) -> impl Iterator<Item = (&str, usize)> {
        let absent = self.tracks.iter().filter(|track| !track.came && !track.frames.is_empty());
        absent.map(|track| (&*track.name, track.frames.len()))
    }
}

fn again(now: Instant, became: Became) -> Fate {
    match became {
        Became::Lost => Fate::Lost,
        Became::Full => Fate::Full,
        Became::Passed { flip } => Fate::Passes { flip },
        Became::Held { delay, flip } => Fate::Held { until: now + delay, flip },
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
