//! The log of an instance: every byte that it writes, in a file.
//!
//! A log that cannot be written any more, because the disk is full, is no reason to stop a bench: it is said once, and
//! the file goes on when there is room again.
//!
//! A file is locked (flock(2)) as long as it is written, so that no other run of a bench empties it or mixes its own
//! output in.

use crate::error::{Class, Error, Result};
use rustix::fs::{FlockOperation, flock, fstat, major, minor};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// See the module.
pub struct Log<W = File> {
    instance: String,
    path: PathBuf,
    file: W,
    said: bool,
}

impl Log {
    /// Creates the file anew, and the folders above it.
    ///
    /// # Errors
    /// That it cannot be created, naming it; that it is written by somebody else, naming the process.
    pub fn create(instance: &str, path: &Path) -> Result<Self> {
        let cannot = |error| Error::system(format_args!("{instance}: its log {}", path.display()), &error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(cannot)?;
        }
        // It is emptied only when it is known to be nobody else's.
        let file = File::options().write(true).create(true).truncate(false).open(path).map_err(cannot)?;
        if file.metadata().map_err(cannot)?.is_file() {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Err(held(instance, path, &file)),
                // A file system without locks.
                Ok(()) | Err(_) => file.set_len(0).map_err(cannot)?,
            }
        }
        Ok(Self::on(instance, path, file))
    }
}

/// Why a file that another has locked is no log.
fn held(instance: &str, path: &Path, file: &File) -> Error {
    let (who, hint) = match owner(file) {
        Some(pid) if pid == std::process::id() => {
            ("another instance of the same bench".to_owned(), "each needs a log of its own: log = \"FILE\"")
        }
        Some(pid) => (format!("pid {pid}"), ELSEWHERE),
        None => ("another process".to_owned(), ELSEWHERE),
    };
    Error::new(Class::Runtime, format!("{instance}: its log {} is written by {who}", path.display())).hint(hint)
}

const ELSEWHERE: &str = "another run of the bench? `zbridge ls` shows it; this one can have --logs FOLDER";

/// The process that has locked a file, where the system tells (proc_locks(5)): `1: FLOCK ADVISORY WRITE PID MA:MI:INODE …`,
/// the device's numbers in hexadecimal digits.
fn owner(file: &File) -> Option<u32> {
    let stat = fstat(file).ok()?;
    let mine = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, _, pid, inode, ..] if inode == mine => pid.parse().ok().filter(|&pid| pid > 0),
        _ => None,
    })
}

impl<W: Write> Log<W> {
    fn on(instance: &str, path: &Path, file: W) -> Self {
        Self { instance: instance.to_owned(), path: path.to_owned(), file, said: false }
    }

    /// Appends what was written. When that fails for the first time, gives what is to be said.
    pub fn write(&mut self, bytes: &[u8]) -> Option<String> {
        let error = self.file.write_all(bytes).err()?;
        let first = !std::mem::replace(&mut self.said, true);
        first
            .then(|| format!("{}: its log {} is not complete: {error}; it goes on", self.instance, self.path.display()))
    }
}

/// The folder where the logs of the bench `name` are kept that have no place of their own: `zbridge/NAME` in the user's
/// folder for such files (`$XDG_STATE_HOME`, XDG Base Directory Specification; `~/.local/state`), or in that for temporary
/// ones.
pub fn default_folder(name: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local/state"));
    let state = set("XDG_STATE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir);
    state.join("zbridge").join(name)
}

/// What a bench is called: its file's name without the end, or for `bench.toml` that of its folder.
pub fn name_of(bench: &Path) -> String {
    let full = std::fs::canonicalize(bench).unwrap_or_else(|_| bench.to_owned());
    let stem = full.file_stem().unwrap_or_default();
    let folder = full.parent().and_then(Path::file_name).filter(|_| stem == "bench");
    folder.unwrap_or(stem).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/a.log");
        let mut log = Log::create("a", &path).unwrap();
        assert_eq!((log.write(b"\x1b[1mone\r\n"), log.write(b"\xff")), (None, None));
        assert_eq!(std::fs::read(&path).unwrap(), b"\x1b[1mone\r\n\xff");
        let error = Log::create("b", &path).err().unwrap();
        assert!(error.what().ends_with("new/folder/a.log is written by another instance of the same bench"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap().len(), 10, "nothing was lost");
        drop(log);
        Log::create("a", &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"", "a new run has a new log");
        let error = Log::create("a", &path.join("x")).err().unwrap();
        assert!(error.what().starts_with("a: its log "), "{error}");
    }

    #[test]
    fn a_full_disk_is_said_once_and_the_log_goes_on() {
        /// A disk that is full for the second and third write.
        struct Disk(Vec<u8>, u32);
        impl Write for Disk {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1 += 1;
                match self.1 {
                    2 | 3 => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
                    _ => self.0.write(bytes),
                }
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut log = Log::on("a", Path::new("a.log"), Disk(Vec::new(), 0));
        assert_eq!(log.write(b"1"), None);
        let said = log.write(b"2").unwrap();
        assert!(said.starts_with("a: its log a.log is not complete: No space left"), "{said}");
        assert_eq!((log.write(b"3"), log.write(b"4")), (None, None));
        assert_eq!(log.file.0, b"14");
    }

    #[test]
    fn a_bench_is_called_as_its_file_or_its_folder() {
        assert_eq!(name_of(Path::new("/x/lab.toml")), "lab");
        assert_eq!(name_of(Path::new("/x/native_sim/bench.toml")), "native_sim");
        assert!(default_folder("lab").ends_with("zbridge/lab"));
    }
}
