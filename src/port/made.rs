//! The paths that this process has made and that should not outlive it: sockets, FIFOs, links to pseudo-terminals, the
//! folders of guests' sockets.
//!
//! Theory of operation. The maker keeps a [`Made`], which removes the path when dropped. All paths are also in one
//! list, for a process that ends without dropping everything: [`remove_all`]. A path is removed only while it leads to
//! the file that was made there: another process may have replaced it.
//!
//! The replacement may look the same. A removed port ends on its own thread, and its successor at the same path may get
//! its old inode, or its terminal's number. So a path has one owner in this process: the last maker takes it over in
//! the list, which is locked while a path is made or removed ([`hold`]).

use crate::rights::deed;
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long [`remove_all`] waits for the list, which others lock only for a moment.
const PATIENCE: Duration = Duration::from_millis(100);

static LIST: Mutex<List> = Mutex::new(List { next: 0, places: BTreeMap::new() });

struct List {
    next: u64,
    places: BTreeMap<u64, Place>,
}

impl List {
    /// Gives the path of `place` to a new owner, whose number this is.
    fn add(&mut self, place: Place) -> u64 {
        self.places.retain(|_, other| other.path != place.path);
        let number = self.next;
        self.next += 1;
        self.places.insert(number, place);
        number
    }
}

struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// The target of a link, as the inode of a removed link is soon reused.
    target: Option<PathBuf>,
    folder: bool,
}

impl Place {
    /// A path that cannot be removed is stale; its next user replaces it.
    fn remove(&self) {
        let same = deed::look(&self.path)
            .is_ok_and(|now| (now.device, now.inode, now.target) == (self.device, self.inode, self.target.clone()));
        if same {
            let _ = if self.folder { std::fs::remove_dir(&self.path) } else { deed::remove(&self.path) };
        }
    }
}

/// Locks the list: no path is removed, so that a new file can be noted before its predecessor takes it for its own.
pub struct Held(MutexGuard<'static, List>);

/// See [`Held`].
pub fn hold() -> Held {
    Held(LIST.lock())
}

impl Held {
    /// As [`Made::note`].
    ///
    /// # Errors
    /// It is not there any more.
    pub fn note(&mut self, path: &Path) -> Result<Made, Errno> {
        let there = deed::look(path)?;
        let number = self.0.add(Place {
            path: absolute(path),
            device: there.device,
            inode: there.inode,
            target: there.target,
            folder: FileType::from_raw_mode(there.mode) == FileType::Directory,
        });
        Ok(Made { number })
    }

    /// Whether a link that this process has made leads to `target`, and it is not the one at `path`.
    pub fn has_linked(&self, target: &Path, path: &Path) -> bool {
        let path = absolute(path);
        self.0.places.values().any(|place| place.target.as_deref() == Some(target) && place.path != path)
    }
}

/// A path that this process has made. Removed on drop.
#[derive(Debug)]
pub struct Made {
    number: u64,
}

impl Made {
    /// Takes note of what was just made at `path`: a socket, a FIFO, a link or an empty folder.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn note(path: &Path) -> Result<Self, Errno> {
        hold().note(path)
    }

    /// Leaves it in place: it belongs to another process from now on.
    pub fn leave(self) {
        LIST.lock().places.remove(&self.number);
    }

    /// Takes note that what was made stands at `path` now.
    pub fn moved_to(&self, path: &Path) {
        if let Some(place) = LIST.lock().places.get_mut(&self.number) {
            place.path = absolute(path);
        }
    }
}

/// The process may move to another folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Drop for Made {
    fn drop(&mut self) {
        let mut list = LIST.lock();
        list.places.remove(&self.number).into_iter().for_each(|place| place.remove());
    }
}

/// Removes all paths that still exist: the process ends now, whatever its threads do. The last made go first, so that a
/// folder is empty when its turn comes.
pub fn remove_all() {
    let Some(mut list) = LIST.try_lock_for(PATIENCE) else { return };
    std::mem::take(&mut list.places).into_values().rev().for_each(|place| place.remove());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_was_made_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("folder")).unwrap();
        let _listener = UnixListener::bind(path("folder/socket")).unwrap();
        symlink("elsewhere", path("link")).unwrap();
        let made = ["folder", "folder/socket", "link"].map(|name| Made::note(&path(name)).unwrap());
        assert_eq!(Made::note(&path("absent")).unwrap_err(), Errno::NOENT);
        // another has put a link of its own in the place of ours
        symlink("theirs", path("new")).unwrap();
        std::fs::rename(path("new"), path("link")).unwrap();
        made.into_iter().rev().for_each(drop);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["link"], "a folder is empty before it goes, and what is another's stays");
    }

    #[test]
    fn a_path_is_its_last_makers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("path");
        std::fs::write(&path, "").unwrap();
        // The inode of the second is that of the first, as it may be when a successor comes at once.
        let (first, second) = (Made::note(&path).unwrap(), Made::note(&path).unwrap());
        drop(first);
        assert!(path.exists(), "it is the second's");
        drop(second);
        assert!(!path.exists());
    }
}
