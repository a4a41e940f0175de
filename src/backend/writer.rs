//! The thread that writes guests' uploads to the served folder ([`Uploads`]), so that a disk or a server that does not
//! answer holds up uploads only.
//!
//! Theory of operation. Each upload has one job under way at most, so jobs are bounded by the number of transfers, and
//! by [`JOBS`] in any case; one more fails at once. When this is dropped the thread removes unfinished files, and ends.
//! It is joined with a timeout: a call that does not return ends with the process.

use super::full::{Full, is_full};
use super::uploads::Uploads;
use crate::error::{Error, Result};
use crate::rights::role::{BASE, BLOCKS, FILES, REMOVE};
use crate::rights::{self, Role};
use crate::service::outside::FileAnswer;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Jobs that may wait.
const JOBS: usize = 256;
/// Timeout for its end.
const END: Duration = Duration::from_secs(1);

/// Sandbox: it makes and writes files below one folder.
static ROLE: Role = Role::new("uploads", &[BASE, FILES, REMOVE, BLOCKS]);

enum Job {
    Create(u64, String),
    Write(u64, u64, Vec<u8>),
    Keep(u64),
    Close(u64),
}

/// See the module.
pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    told: Receiver<FileAnswer>,
    /// Jobs without a result so far.
    under_way: usize,
    /// Results of jobs that failed at once.
    refused: VecDeque<FileAnswer>,
    /// Closed when the thread ends; carries nothing.
    ended: Receiver<()>,
}

impl Writer {
    /// Starts the thread, for uploads into `folder`. `waker` is told when something was done.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(mut uploads: Uploads, folder: &Path, waker: Arc<Waker>) -> Result<Self> {
        let ((jobs, queue), (tell, told)) = (bounded(JOBS), bounded(JOBS));
        let (alive, ended) = bounded::<()>(0);
        let mut full = Full::new(folder.display().to_string(), "files of guests are not kept");
        let work = move || {
            let _alive = alive;
            for job in queue {
                let answer = match job {
                    Job::Create(file, path) => {
                        let size = uploads.create(file, &path).map(|()| 0);
                        // A created file is no sign that there is room for its bytes.
                        if size.as_ref().is_err_and(is_full) {
                            full.note(&size);
                        }
                        FileAnswer::Opened { file, size }
                    }
                    Job::Write(file, offset, bytes) => {
                        let done = uploads.write(file, offset, &bytes);
                        full.note(&done);
                        FileAnswer::Written { file, done }
                    }
                    Job::Keep(file) => FileAnswer::Kept { file, done: uploads.keep(file) },
                    Job::Close(file) => {
                        uploads.close(file);
                        continue;
                    }
                };
                if tell.send(answer).is_err() || waker.wake().is_err() {
                    break;
                }
            }
            // Unfinished files are removed before the end is signalled.
            drop(uploads);
        };
        let thread = rights::spawn("zb-writer", &ROLE, work);
        thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok(Self { jobs: Some(jobs), told, under_way: 0, refused: VecDeque::new(), ended })
    }

    /// As [`Uploads::create`].
    pub fn create(&mut self, file: u64, path: &str) {
        if let Err(error) = self.give(Job::Create(file, path.to_owned())) {
            self.refused.push_back(FileAnswer::Opened { file, size: Err(error) });
        }
    }

    /// As [`Uploads::write`].
    pub fn write(&mut self, file: u64, offset: u64, bytes: Vec<u8>) {
        if let Err(error) = self.give(Job::Write(file, offset, bytes)) {
            self.refused.push_back(FileAnswer::Written { file, done: Err(error) });
        }
    }

    /// As [`Uploads::keep`].
    pub fn keep(&mut self, file: u64) {
        if let Err(error) = self.give(Job::Keep(file)) {
            self.refused.push_back(FileAnswer::Kept { file, done: Err(error) });
        }
    }

    /// As [`Uploads::close`].
    pub fn close(&mut self, file: u64) {
        if let Some(jobs) = &self.jobs {
            // If the queue is full, the file is removed at the end.
            let _ = jobs.try_send(Job::Close(file));
        }
    }

    /// The next result.
    pub fn poll(&mut self) -> Option<FileAnswer> {
        if let Some(answer) = self.refused.pop_front() {
            return Some(answer);
        }
        let answer = self.told.try_recv().ok()?;
        self.under_way -= 1;
        Some(answer)
    }

    fn give(&mut self, job: Job) -> io::Result<()> {
        // So there is room for every answer.
        let room = self.jobs.as_ref().filter(|_| self.under_way < JOBS);
        room.and_then(|jobs| jobs.try_send(job).ok()).ok_or(io::ErrorKind::WouldBlock)?;
        self.under_way += 1;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.ended.recv_timeout(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    #[test]
    fn files_are_written_in_order_and_what_is_not_kept_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut writer = Writer::start(Uploads::open(dir.path()).unwrap(), dir.path(), waker).unwrap();
        writer.create(1, "log.txt");
        writer.write(1, 0, b"lo".to_vec());
        writer.write(1, 2, b"g".to_vec());
        writer.keep(1);
        writer.create(2, "half.txt");
        writer.create(3, "absent/x");
        let mut told = Vec::new();
        while told.len() < 6 {
            poll.poll(&mut Events::with_capacity(1), None).unwrap();
            told.extend(std::iter::from_fn(|| writer.poll()));
        }
        assert!(
            matches!(
                told.as_slice(),
                [
                    FileAnswer::Opened { file: 1, size: Ok(0) },
                    FileAnswer::Written { file: 1, done: Ok(()) },
                    FileAnswer::Written { file: 1, done: Ok(()) },
                    FileAnswer::Kept { file: 1, done: Ok(()) },
                    FileAnswer::Opened { file: 2, size: Ok(0) },
                    FileAnswer::Opened { file: 3, size: Err(_) },
                ]
            ),
            "{told:?}"
        );
        drop(writer);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["log.txt"]);
    }
}
