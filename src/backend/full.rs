//! A disk without room, of which a word is said when it is full, and another when there is room again.

use std::io;

/// Of one file, or one folder.
pub struct Full {
    what: String,
    then: &'static str,
    full: bool,
}

impl Full {
    /// `what` is on a disk that may be full; `then` is what becomes of what is to be written.
    pub fn new(what: String, then: &'static str) -> Self {
        Self { what, then, full: false }
    }

    /// Takes note of what became of a write. Returns whether the disk is full.
    pub fn note<T>(&mut self, done: &io::Result<T>) -> bool {
        match done {
            Ok(_) if std::mem::take(&mut self.full) => log::warn!("{}: there is room on its disk again", self.what),
            Err(error) if is_full(error) => {
                if !std::mem::replace(&mut self.full, true) {
                    log::warn!("{}: {error}; {}", self.what, self.then);
                }
                return true;
            }
            _ => {}
        }
        false
    }
}

/// Whether an error says that a disk, or a user's part of it, has no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_is_one() {
        let mut full = Full::new("file".to_owned(), "it waits");
        let error = |kind: io::ErrorKind| Err::<(), _>(io::Error::from(kind));
        assert!(!full.note(&Ok(())) && !full.note(&error(io::ErrorKind::Interrupted)) && !full.full);
        assert!(full.note(&error(io::ErrorKind::StorageFull)) && full.note(&error(io::ErrorKind::QuotaExceeded)));
        assert!(full.full);
        assert!(!full.note(&Ok(())));
        assert!(!full.full);
    }
}
