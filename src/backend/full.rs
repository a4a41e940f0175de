//! Logs once when a disk is full, and once when it has room again.

use std::io;

/// The state of one file or folder.
pub struct Full {
    what: String,
    then: &'static str,
    full: bool,
}

impl Full {
    /// `what`: the file or folder; `then`: the consequence for its writes. Both are logged.
    pub fn new(what: String, then: &'static str) -> Self {
        Self { what, then, full: false }
    }

    /// Notes the result of a write. Returns whether the disk is full.
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
