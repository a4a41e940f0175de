//! A file that grows, written by a thread of its own: a disk that is slow, or full, holds up nobody else.
//!
//! What is sent is told of once it is written, so the window of the stream bounds what waits here. On a full disk the
//! thread tries again until there is room, and so nothing is lost; other errors end the stream.

use super::full::Full;
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, BLOCKS};
use crate::rights::{self, Role};
use crate::service::outside::{Input, Stream};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

/// It writes what is open.
static ROLE: Role = Role::new("file", &[BASE, BLOCKS]);

/// After this long a full disk is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The thread of a file. When this is dropped it writes what it has, unless the disk is full, and ends.
pub(super) struct Append {
    pieces: Option<Sender<Vec<u8>>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Opens a file that may be appended to without waiting for anyone but its disk.
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
    File::options().create(true).append(true).open(path).map_err(|error| cannot(&error))
}

impl Append {
    /// Starts the thread that writes the file at `path` for `stream`. `tell` takes what comes of it; false ends the thread.
    pub fn new(
        (path, file): (&Path, File),
        stream: Stream,
        tell: impl Fn(Input) -> bool + Send + 'static,
    ) -> Result<Self> {
        let (pieces, queue) = unbounded();
        let (stop, stopped) = bounded(0);
        let path = path.display().to_string();
        let work = move || {
            let full = Full::new(path.clone(), "what is to be written waits");
            if let Err(error) = write(file, full, &queue, &stopped, |count| tell(Input::Sent(stream, count))) {
                log::error!("{path} is written no more: {error}");
                tell(Input::Ended(stream));
            }
        };
        let thread = rights::spawn("zb-file", &ROLE, work);
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(Self { pieces: Some(pieces), stop: Some(stop), thread: Some(thread) })
    }

    /// Queues a piece.
    pub fn send(&self, piece: Vec<u8>) {
        if self.pieces.as_ref().is_none_or(|pieces| pieces.send(piece).is_err()) {
            log::debug!("the thread of a file has ended");
        }
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        (self.pieces, self.stop) = (None, None);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of a file ended abnormally");
        }
    }
}

/// Writes what is queued until nothing more will come. `sent` takes how many bytes are written; false ends it.
fn write(
    mut file: impl Write,
    mut full: Full,
    queue: &Receiver<Vec<u8>>,
    stopped: &Receiver<()>,
    sent: impl Fn(usize) -> bool,
) -> io::Result<()> {
    for piece in queue {
        let mut rest = piece.as_slice();
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

    /// A disk with room for so many bytes, which somebody makes room on after some attempts.
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
        let (pieces, queue) = unbounded();
        let (_stop, stopped) = bounded(0);
        [vec![1; 30], vec![2; 30]].into_iter().for_each(|piece| pieces.send(piece).unwrap());
        drop(pieces);
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
        let append =
            Append::new((Path::new("/dev/full"), full), Stream(3), move |input| tell.send(input).is_ok()).unwrap();
        append.send(vec![1; 10]);
        drop(append);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [Input::Ended(Stream(3))]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(open(Path::new("/dev/null")).is_err_and(|error| error.what().contains("not a regular file")));
    }
}
