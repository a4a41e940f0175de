//! The log of the fates of a switch's frames, and the file of an earlier run that is replayed.
//!
//! Theory of operation. The switch notes fates in memory ([`Journal`]). Notes are gathered over the turns of the loop, for
//! [`GATHER`] at most, and handed to the thread that writes them; the switch never waits for it. What finds no room is
//! counted, and said in the file and at its end.

use super::feed::Feed;
use super::recorder::{Running, journal_cost, journal_frames, start_fates};
use super::status::ReplayStatus;
use crate::capture::fates::{self, Fates};
use crate::config::{Config, SwitchSpec};
use crate::error::{Error, Result};
use crate::rights::deed;
use crate::switch::{Difference, Journal, Replay, Switch, Unlike, Way};
use crate::time::{Duration, Instant};
use rustix::fs::OFlags;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long notes are gathered before they are handed over.
const GATHER: Duration = Duration::from_millis(5);
/// Notes after which they are handed over at once.
const PIECE: usize = 4096;

/// The log of a switch's fates.
pub(super) struct FateLog {
    /// `None`: its thread has ended.
    feed: Option<Feed<Journal>>,
    /// When notes are handed over.
    due: Option<Instant>,
    /// Declared after `feed`: its end is waited for when that is gone.
    _running: Running,
}

impl FateLog {
    /// Starts a log at `path` for the switch of this name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn start(path: &Path, name: &str, switch: &mut Switch) -> Result<Self> {
        let (feed, running) = start_fates(path, name, switch.fate_seed())?;
        switch.set_journal(true);
        Ok(Self { feed: Some(feed), due: None, _running: running })
    }

    /// When [`FateLog::hand_over`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands notes over when they are due or many.
    pub fn hand_over(&mut self, now: Instant, switch: &mut Switch) {
        let noted = switch.noted_fates();
        match self.due {
            _ if noted == 0 => self.due = None,
            Some(due) if due <= now => self.hand_over_now(switch),
            _ if noted >= PIECE => self.hand_over_now(switch),
            Some(_) => {}
            None => self.due = Some(now + GATHER),
        }
    }

    /// Hands over what there is.
    pub fn hand_over_now(&mut self, switch: &mut Switch) {
        self.due = None;
        let (Some(feed), Some(journal)) = (&self.feed, switch.take_journal()) else { return };
        let cost = journal_cost(&journal);
        if !feed.has_room(cost) {
            feed.miss(journal_frames(&journal));
        } else if !feed.send(Arc::new(journal), cost) {
            // It has said why.
            self.feed = None;
            switch.set_journal(false);
        }
    }
}

/// The process is to end: a recording that is being read is wanted no more.
static UNWANTED: AtomicBool = AtomicBool::new(false);

/// Has a start that still reads a recording fail soon.
pub(crate) fn give_up() {
    UNWANTED.store(true, Ordering::Relaxed);
}

/// The fates in the file that a switch is to replay, and its path; `None`: it draws its own.
///
/// # Errors
/// The file cannot be read, or a line of it is wrong; the process is to end meanwhile.
pub(super) fn replayed(spec: &SwitchSpec) -> Result<Option<Fates>> {
    let Some(path) = &spec.replay else { return Ok(None) };
    let place = || format!("replay={}", path.display());
    let cannot = |error: &std::io::Error| Error::system(place(), error);
    // A FIFO is not waited for.
    let file = deed::file(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(|error| cannot(&error))?;
    let found = file.metadata().map_err(|error| cannot(&error))?.file_type();
    if !found.is_file() {
        let what = if found.is_dir() { "it is a folder" } else { "it is no file" };
        return Err(Error::usage(what).at(place()).hint("--fates FILE writes what --replay FILE reads"));
    }
    let is_wanted = || !UNWANTED.load(Ordering::Relaxed);
    let lines = BufReader::with_capacity(64 * 1024, file);
    let fates = fates::read(lines, is_wanted).map_err(|error| error.at(path.display()))?;
    let (frames, missing) = (fates.replay.frames(), fates.replay.missing());
    log::info!("switch {}: the fates of {frames} frames are those of {}", spec.name, path.display());
    if missing > 0 {
        log::warn!("{}: {missing} fates are missing in it, and these frames pass", path.display());
    }
    Ok(Some(fates))
}

/// Device and inode of what is at a path, links followed. Nothing is opened that would be noticed.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = deed::file(path, OFlags::PATH).ok()?.metadata().ok()?;
    Some((found.dev(), found.ino()))
}

/// Refuses to write over a recording that is to be replayed, whatever it is called there.
///
/// # Errors
/// The key that would, and the file.
pub(super) fn spare_recordings(config: &Config) -> Result<()> {
    let switches = config.switches_in_use();
    let read: Vec<&Path> = switches.iter().filter_map(|switch| switch.replay.as_deref()).collect();
    if read.is_empty() {
        return Ok(());
    }
    let of_switches = switches.iter().flat_map(|switch| {
        let keys = [("fates", switch.fates.as_deref()), ("capture", switch.capture.as_deref())];
        keys.into_iter().filter_map(|(key, path)| Some((key, path?)))
    });
    let of_ports = config.ports.iter().filter_map(|port| port.capture.as_deref());
    let of_instances = config.instances.iter().flat_map(|instance| instance.captures()).map(|(path, _)| path);
    let captures = of_ports.chain(of_instances).map(|path| ("capture", path));
    for (key, written) in of_switches.chain(captures) {
        let Some(found) = identity(written) else { continue };
        if let Some(read) = read.iter().find(|read| identity(read) == Some(found)) {
            let (read, written) = (read.display(), written.display());
            let what = format!("{key}={written} would write over replay={read}, the same file");
            return Err(Error::usage(what).hint(format!("give {key}= another name, and compare the two afterwards")));
        }
    }
    Ok(())
}

/// Differences, and ports that have not come, that are shown.
const SHOWN: usize = 256;

/// How far this run is like the one that is replayed, as it is shown.
pub(super) fn status(replay: &Replay) -> ReplayStatus {
    ReplayStatus {
        frames: replay.frames() as u64,
        missing: replay.missing(),
        differences: replay.differences().take(SHOWN).map(|(of, how)| (of.to_owned(), how)).collect(),
        absent: replay.absent().take(SHOWN).map(|(of, frames)| (of.to_owned(), frames as u64)).collect(),
    }
}

/// What is said of the first frame that is not what it was.
pub(super) fn say_unlike(port: &str, way: Way, number: u64, how: Unlike) {
    let way = way.word();
    match how {
        Unlike::Other => log::warn!(
            "replay: frame {number} of {port} {way} is another than the recorded one; the fates go on by number"
        ),
        Unlike::More => {
            log::warn!("replay: {port} {way} goes on with frame {number}, and the file has no more; what comes passes")
        }
    }
}

/// Says at the end what was not the same.
pub(super) fn say_differences(switch: &Switch) {
    let Some(replay) = switch.replay() else { return };
    for (of, Difference { others, first_other, more, first_more }) in replay.differences() {
        if let Some(first) = first_other {
            log::warn!("replay: {others} frames of {of} were others than the recorded ones, from {first} on");
        }
        if let Some(first) = first_more {
            log::warn!("replay: {more} frames of {of} came behind the recorded ones, from {first} on");
        }
    }
    for (of, frames) in replay.absent() {
        log::warn!("replay: {of} has not come, of which the file has {frames} frames");
    }
}
