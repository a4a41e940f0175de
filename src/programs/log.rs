//! The log of an instance: every byte that it writes, in a file.
//!
//! Another thread writes it ([`crate::port::writer`]): a disk that hangs, and a FIFO or a terminal that nobody reads,
//! block neither the instance nor the bench. An incomplete log, for that reason or because the disk is full, does not
//! stop a bench: there is one warning, and another message when there is room again and the log goes on.
//!
//! A file is locked (flock(2)) as long as it is written, so that no other run of a bench puts it aside or mixes its own
//! output in. The next run renames it to `NAME.log.1`, for a look at a failure after another try.

use crate::error::{Class, Error, Result};
use crate::port::own_folder::private;
use crate::port::owner::lock_owner;
use crate::port::writer::{Lost, Writer};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the end of an instance waits for its last output to be written.
const LAST: Duration = Duration::from_secs(1);

/// See the module.
pub struct Log {
    instance: String,
    path: PathBuf,
    writer: Writer,
    /// It was reported that output is lost, for want of room or of a reader.
    said: bool,
}

impl Log {
    /// Creates the file anew, and the folders above it. The file of an earlier run is renamed to `FILE.1`.
    ///
    /// # Errors
    /// That it cannot be created, naming it; that it is written by somebody else, naming the process.
    pub fn create(instance: &str, path: &Path) -> Result<Self> {
        let cannot = |error| Error::system(format_args!("{instance}: its log {}", path.display()), &error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(instance, folder)?;
        }
        let mut file = open(path).map_err(cannot)?;
        let mut found = file.metadata().map_err(cannot)?;
        if found.is_file() {
            lock(instance, path, &file)?;
            // Renamed only when locked: nobody else writes it.
            if found.len() > 0 && std::fs::rename(path, before(path)).is_ok() {
                file = open(path).map_err(cannot)?;
                found = file.metadata().map_err(cannot)?;
                lock(instance, path, &file)?;
            }
            // If it cannot be renamed, it is emptied.
            if found.len() > 0 {
                file.set_len(0).map_err(cannot)?;
            }
        }
        let writer = Writer::start("zb-log", file.into(), Lost::Counted)?;
        Ok(Self { instance: instance.to_owned(), path: path.to_owned(), writer, said: false })
    }

    /// Appends output. Returns a warning when some of it is lost for the first time.
    pub fn write(&mut self, bytes: &[u8]) -> Option<String> {
        let lost = !self.writer.push_patiently(bytes);
        self.trouble(lost)
    }

    /// Waits a moment until all is written. Returns a warning as [`Log::write`] does.
    pub fn settle(&mut self) -> Option<String> {
        self.writer.flush(LAST);
        self.trouble(false)
    }

    fn trouble(&mut self, lost: bool) -> Option<String> {
        let cause = match self.writer.take_failure() {
            Some(error) => error.to_string(),
            None if lost => "nobody reads it".to_owned(),
            None if self.said && self.writer.take_recovery() => {
                self.said = false;
                return Some(format!("{}: its log {} is written again", self.instance, self.path.display()));
            }
            None => return None,
        };
        let first = !std::mem::replace(&mut self.said, true);
        first
            .then(|| format!("{}: its log {} is not complete: {cause}; it goes on", self.instance, self.path.display()))
    }
}

/// The path of the log of the run before.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Locks a file that nobody else has locked. A file system without locks is accepted.
fn lock(instance: &str, path: &Path, file: &File) -> Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(held(instance, path, file)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the folder of a log, and those above it.
fn make_folder(instance: &str, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|cause| {
        let error = match folder.symlink_metadata() {
            // `create_dir_all` fails with "File exists" for both.
            Ok(found) if found.is_symlink() && !folder.exists() => Error::new(
                Class::NoObject,
                format!("{instance}: the folder of its log, {}, is a link that leads nowhere", folder.display()),
            ),
            Ok(found) if !found.is_dir() && !found.is_symlink() => {
                Error::usage(format!("{instance}: the folder of its log, {}, is no folder", folder.display()))
            }
            _ => Error::system(format_args!("{instance}: the folder of its log, {}", folder.display()), &cause),
        };
        error.hint("name another with --logs FOLDER or log = \"FILE\"").because(cause)
    })
}

/// Opens a log for writing without blocking. It is not truncated before it is locked.
///
/// A FIFO is opened for reading, too, so that its readers may come and go.
fn open(path: &Path) -> std::io::Result<File> {
    let open = |also_read| {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        File::options().read(also_read).write(true).create(true).truncate(false).custom_flags(flags).open(path)
    };
    match open(false) {
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => open(true),
        Ok(file) if file.metadata()?.file_type().is_fifo() => open(true),
        opened => opened,
    }
}

/// The error for a log that another process has locked.
fn held(instance: &str, path: &Path, file: &File) -> Error {
    let (who, hint) = match lock_owner(file) {
        Some(pid) if pid == std::process::id() => {
            ("another instance of the same bench".to_owned(), "each needs a log of its own: log = \"FILE\"")
        }
        Some(pid) => (format!("pid {pid}"), ELSEWHERE),
        None => ("another process".to_owned(), ELSEWHERE),
    };
    Error::new(Class::Runtime, format!("{instance}: its log {} is written by {who}", path.display()))
        .hint(hint)
        .because(Errno::WOULDBLOCK)
}

const ELSEWHERE: &str = "another run of the bench? `zbridge ls` shows it; this one can have --logs FOLDER";

/// The folder where the logs of the bench `name` are kept that have no place of their own: `zbridge/NAME` in the user's
/// folder for such files (`$XDG_STATE_HOME`, XDG Base Directory Specification; `~/.local/state`), or where neither is
/// set `zbridge-UID/NAME` in that for temporary ones. Anybody may make folders in the latter, so this one is created
/// here, with access for the user alone.
///
/// # Errors
/// It is not.
pub fn default_folder(name: &str) -> Result<PathBuf> {
    let [state, home] = ["XDG_STATE_HOME", "HOME"].map(std::env::var_os);
    Ok(state_folder(state, home, &std::env::temp_dir())?.join(name))
}

fn state_folder(state: Option<OsString>, home: Option<OsString>, temporary: &Path) -> Result<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let home = || Some(home.and_then(absolute)?.join(".local/state"));
    if let Some(state) = state.and_then(absolute).or_else(home) {
        return Ok(state.join("zbridge"));
    }
    let folder = temporary.join(format!("zbridge-{}", geteuid().as_raw()));
    private(&folder, "logs", "name another folder with --logs, or set HOME")?;
    Ok(folder)
}

/// The name of a bench: its file's name without the extension, or for `bench.toml` that of its folder.
pub fn name_of(bench: &Path) -> String {
    let full = std::fs::canonicalize(bench).unwrap_or_else(|_| bench.to_owned());
    let stem = full.file_stem().unwrap_or_default();
    let folder = full.parent().and_then(Path::file_name).filter(|_| stem == "bench");
    folder.unwrap_or(stem).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_log_has_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/a.log");
        let mut log = Log::create("a", &path).unwrap();
        assert_eq!((log.write(b"\x1b[1mone\r\n"), log.write(b"\xff"), log.settle()), (None, None, None));
        assert_eq!(std::fs::read(&path).unwrap(), b"\x1b[1mone\r\n\xff");
        let error = Log::create("b", &path).err().unwrap();
        assert!(error.what().ends_with("new/folder/a.log is written by another instance of the same bench"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap().len(), 10, "nothing was lost");
        drop(log);
        Log::create("a", &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"", "a new run has a new log");
        let before = dir.path().join("new/folder/a.log.1");
        assert_eq!(std::fs::read(&before).unwrap(), b"\x1b[1mone\r\n\xff", "and that of the last one stays");
        drop(Log::create("a", &path).unwrap());
        assert_eq!(std::fs::read(&before).unwrap().len(), 10, "an empty one displaces nothing");
        let error = Log::create("a", &path.join("x")).err().unwrap();
        assert!(error.what().starts_with("a: the folder of its log, "), "{error}");
    }

    #[test]
    fn a_full_disk_is_said_once() {
        let mut log = Log::create("a", Path::new("/dev/full")).unwrap();
        let said: Vec<String> = (0..3).filter_map(|_| log.write(b"1\n").or_else(|| log.settle())).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("a: its log /dev/full is not complete: No space left"), "{said:?}");
    }

    #[test]
    fn a_fifo_waits_for_its_reader_and_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path);
        let mut log = Log::create("a", &path).unwrap();
        let chunk = [b'x'; 4096];
        let said = std::iter::from_fn(|| Some(log.write(&chunk))).flatten().next().unwrap();
        assert!(said.ends_with("is not complete: nobody reads it; it goes on"), "{said}");
        let mut reader = File::open(&path).unwrap();
        let mut got = vec![0; 100_000];
        reader.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|byte| *byte == b'x'), "what fitted is there for who comes later");
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        symlink("nowhere", dir.path().join("link")).unwrap();
        let error = Log::create("a", &dir.path().join("link/a.log")).err().unwrap();
        assert!(error.what().ends_with("link, is a link that leads nowhere"), "{error}");
        assert_eq!(error.class(), Class::NoObject);
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = Log::create("a", &dir.path().join("file/a.log")).err().unwrap();
        assert!(error.what().ends_with("file, is no folder"), "{error}");
    }

    fn mkfifo(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    }

    #[test]
    fn a_bench_is_called_as_its_file_or_its_folder() {
        assert_eq!(name_of(Path::new("/x/lab.toml")), "lab");
        assert_eq!(name_of(Path::new("/x/native_sim/bench.toml")), "native_sim");
    }

    #[test]
    fn logs_are_where_nobody_else_can_put_anything() {
        let dir = tempfile::tempdir().unwrap();
        let of = |state: Option<&str>, home: Option<&str>| {
            state_folder(state.map(OsString::from), home.map(OsString::from), dir.path())
        };
        assert_eq!(of(Some("/state"), Some("/home/me")), Ok("/state/zbridge".into()));
        assert_eq!(of(Some("state"), Some("/home/me")), Ok("/home/me/.local/state/zbridge".into()));
        let own = dir.path().join(format!("zbridge-{}", geteuid().as_raw()));
        assert_eq!(of(None, None), Ok(own.clone()));
        assert_eq!(own.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        // somebody was there first, and leads elsewhere
        std::fs::rename(&own, dir.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &own).unwrap();
        assert!(of(Some(""), Some("")).unwrap_err().what().starts_with("logs: "));
    }
}
