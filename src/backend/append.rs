//! Appending to a file, on a thread of its own: a slow or full disk holds up nobody else.
//!
//! No more than [`WINDOW`] waits here. On a full disk the thread tries again until there is room, and so nothing is lost;
//! other errors end the stream.

use super::full::Full;
use super::{Tell, Told};
use crate::error::{Class, Error, Result};
use crate::rights::deed;
use crate::rights::role::{BASE, BLOCKS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// Sandbox: it writes to open descriptors only.
static ROLE: Role = Role::new("file", &[BASE, BLOCKS]);

/// Bytes that wait to be written at most.
const WINDOW: usize = 256 << 10;

/// After this long a full disk is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The thread of a file. When this is dropped it writes what it has, unless the disk is full, and ends.
pub(super) struct Append {
    chunks: Option<Sender<Vec<u8>>>,
    /// Bytes that wait.
    waiting: usize,
    /// Writing has failed for good.
    failed: bool,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens a file for appending; refuses one that could block on anything but its disk.
pub(super) fn open(path: &Path) -> Result<File> {
    let cannot = |error: &io::Error| Error::system(format_args!("cannot open {}", path.display()), error);
    if let Ok(there) = std::fs::metadata(path)
        && !there.is_file()
    {
        return Err(Error::new(
            Class::Runtime,
            format!("cannot append to {}: it is not a regular file", path.display()),
        )
        .hint("pty, unix and tcp are back ends for programs"));
    }
    let append = OFlags::WRONLY | OFlags::APPEND;
    let file = match deed::file(path, append) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = File::options().create(true).append(true).open(path);
            made.or_else(|_refused| deed::create(path).and_then(|_made| deed::file(path, append)))
        }
        opened => opened,
    };
    file.map_err(|error| cannot(&error))
}

impl Append {
    /// Starts the thread that writes the file at `path`. `tell` takes the results.
    pub fn new((path, file): (&Path, File), tell: Tell) -> Result<Self> {
        let (chunks, queue) = unbounded();
        let (stop, stopped) = bounded(0);
        let path = path.display().to_string();
        let work = move || {
            let full = Full::new(path.clone(), "what is to be written waits");
            if let Err(error) = write(file, full, &queue, &stopped, |count| tell(Told::Written(count))) {
                log::error!("{path} is written no more: {error}");
                tell(Told::Failed);
            }
        };
        let thread = rights::spawn("zb-file", &ROLE, work);
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(Self { chunks: Some(chunks), waiting: 0, failed: false, stop: Some(stop), thread: Some(thread) })
    }

    /// Queues as much as there is room for.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(WINDOW - self.waiting);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let (Some(chunks), Some(chunk)) = (&self.chunks, bytes.get(..count))
            && chunks.send(chunk.to_vec()).is_ok()
        {
            self.waiting += count;
        }
        Ok(count)
    }

    /// So many bytes were written.
    pub fn wrote(&mut self, count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
    }

    /// Writing has failed for good.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Bytes that are not written.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        (self.chunks, self.stop) = (None, None);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of a file ended abnormally");
        }
    }
}

/// Writes queued bytes until the sender is gone. `sent` takes the number of bytes written; false ends it.
fn write(
    mut file: impl Write,
    mut full: Full,
    queue: &Receiver<Vec<u8>>,
    stopped: &Receiver<()>,
    sent: impl Fn(usize) -> bool,
) -> io::Result<()> {
    for chunk in queue {
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let done = file.write(rest);
            let no_room = full.note(&done);
            match done {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    if !sent(count) {
                        return Ok(());
                    }
                }
                Err(error) if no_room => {
                    if stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A disk with room for so many bytes, and more after some attempts.
    struct Small {
        written: Arc<Mutex<Vec<u8>>>,
        room: usize,
        attempts: usize,
    }

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.written.lock().unwrap();
            let count = bytes.len().min(self.room.saturating_sub(written.len()));
            if count == 0 {
                self.attempts -= 1;
                self.room += if self.attempts == 0 { 100 } else { 0 };
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (chunks, queue) = unbounded();
        let (_stop, stopped) = bounded(0);
        [vec![1; 30], vec![2; 30]].into_iter().for_each(|chunk| chunks.send(chunk).unwrap());
        drop(chunks);
        let told = Mutex::new(0);
        let file = Small { written: written.clone(), room: 40, attempts: 2 };
        write(file, Full::new("file".to_owned(), "it waits"), &queue, &stopped, |count| {
            *told.lock().unwrap() += count;
            true
        })
        .unwrap();
        assert_eq!(*told.lock().unwrap(), 60);
        assert_eq!(*written.lock().unwrap(), [[1; 30], [2; 30]].concat());
    }

    #[test]
    fn a_full_disk_does_not_keep_the_program() {
        let (tell, told) = unbounded();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let tell: Tell = Box::new(move |what| tell.send(what).is_ok());
        let mut append = Append::new((Path::new("/dev/full"), full), tell).unwrap();
        assert_eq!(append.send(&[1; 10]).unwrap(), 10);
        drop(append);
        assert!(matches!(*told.try_iter().collect::<Vec<_>>(), [Told::Failed]));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(open(Path::new("/dev/null")).is_err_and(|error| error.what().contains("not a regular file")));
    }
}
