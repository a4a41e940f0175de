//! The folder whose files are served: opened below it, read, never written.
//!
//! Theory of operation. A folder may be on a server or a card that does not answer, so nothing here blocks: up to
//! [`WORKERS`] threads open and read, each one file at a time, and wake the service ([`Folder::poll`]). They are
//! started as they are needed. Waiting jobs are bounded by [`JOBS`]; one more fails at once. A file that blocks for
//! ever takes one worker only. A worker ends when the folder is dropped and its call has returned.
//!
//! Every path is resolved by openat2(2) with RESOLVE_BENEATH, so neither `..` nor a symbolic link leads out, whoever made
//! it; a link that stays inside works. Only regular files are served: a FIFO would make the reader wait.

use crate::error::{Error, Result};
use crate::rights::role::{BASE, BLOCKS, SOCKETS};
use crate::rights::{self, Role, deed};
use crate::service::outside::FileAnswer;
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Threads that open and read.
const WORKERS: usize = 4;
/// Jobs that may wait for one of them: more than there are transfers.
const JOBS: usize = 256;

/// A job for a worker.
enum Job {
    Open {
        name: u64,
        path: String,
    },
    Read {
        name: u64,
        file: Arc<File>,
        offset: u64,
        len: usize,
    },
    /// Closing may block as well.
    Close(Arc<File>),
}

/// Its result.
enum Done {
    Opened { name: u64, file: io::Result<(File, u64)> },
    Read { name: u64, offset: u64, bytes: io::Result<Vec<u8>> },
}

/// See the module.
pub(super) struct Folder {
    folder: Arc<OwnedFd>,
    waker: Arc<Waker>,
    jobs: Sender<Job>,
    /// The receiver, for the next worker.
    queue: Receiver<Job>,
    tell: Sender<Done>,
    told: Receiver<Done>,
    workers: usize,
    /// Jobs that nobody has answered.
    under_way: usize,
    /// Files that are being opened and were not closed meanwhile.
    opening: HashSet<u64, foldhash::fast::RandomState>,
    files: HashMap<u64, Arc<File>, foldhash::fast::RandomState>,
    /// Results of jobs that failed at once.
    refused: VecDeque<FileAnswer>,
}

impl Folder {
    /// Serves the folder at `path`. `waker` is told when something was done.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn open(path: &Path, waker: Arc<Waker>) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty());
        let cannot = |errno: rustix::io::Errno| {
            Error::system(format_args!("cannot serve {}", path.display()), &errno.into())
                .hint("tftp= names the folder in which the files are")
        };
        let folder = Arc::new(folder.map_err(cannot)?);
        let ((jobs, queue), (tell, told)) = (bounded(JOBS), bounded(JOBS));
        Ok(Self {
            folder,
            waker,
            jobs,
            queue,
            tell,
            told,
            workers: 0,
            under_way: 0,
            opening: HashSet::default(),
            files: HashMap::default(),
            refused: VecDeque::new(),
        })
    }

    /// Opens a file under a fresh name.
    pub fn open_file(&mut self, name: u64, path: &str) {
        self.opening.insert(name);
        if let Err(error) = self.give(Job::Open { name, path: path.to_owned() }) {
            self.opening.remove(&name);
            self.refused.push_back(FileAnswer::Opened { file: name, size: Err(error) });
        }
    }

    /// Reads `len` bytes from `offset` on.
    pub fn read_file(&mut self, name: u64, offset: u64, len: usize) {
        let file = self.files.get(&name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
        if let Err(error) = file.and_then(|file| self.give(Job::Read { name, file, offset, len })) {
            self.refused.push_back(FileAnswer::Read { file: name, offset, bytes: Err(error) });
        }
    }

    /// Closes a file. Results of its jobs under way are dropped.
    pub fn close_file(&mut self, name: u64) {
        self.opening.remove(&name);
        if let Some(file) = self.files.remove(&name) {
            // If the queue is full, it is closed here.
            let _ = self.jobs.try_send(Job::Close(file));
        }
    }

    /// The next result.
    pub fn poll(&mut self) -> Option<FileAnswer> {
        if let Some(answer) = self.refused.pop_front() {
            return Some(answer);
        }
        while let Ok(done) = self.told.try_recv() {
            self.under_way -= 1;
            match done {
                Done::Opened { name, .. } if !self.opening.remove(&name) => {}
                Done::Opened { name, file } => {
                    let size = file.map(|(file, size)| {
                        self.files.insert(name, Arc::new(file));
                        size
                    });
                    return Some(FileAnswer::Opened { file: name, size });
                }
                Done::Read { name, .. } if !self.files.contains_key(&name) => {}
                Done::Read { name, offset, bytes } => return Some(FileAnswer::Read { file: name, offset, bytes }),
            }
        }
        None
    }

    /// Gives a job to the workers; starts another one if none is idle.
    fn give(&mut self, job: Job) -> io::Result<()> {
        // So there is room for every answer.
        if self.under_way >= JOBS {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.workers < WORKERS && self.under_way >= self.workers {
            let worker = Worker {
                folder: self.folder.clone(),
                queue: self.queue.clone(),
                tell: self.tell.clone(),
                waker: self.waker.clone(),
            };
            match rights::spawn("zb-folder", &ROLE, move || worker.run()) {
                Ok(_) => self.workers += 1,
                Err(error) if self.workers == 0 => return Err(error),
                Err(_) => {}
            }
        }
        self.jobs.try_send(job).map_err(|_| io::ErrorKind::WouldBlock)?;
        self.under_way += 1;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody takes results any more: drops the waiting jobs.
        while self.queue.try_recv().is_ok() {}
    }
}

/// It opens and reads files below one folder.
static ROLE: Role = Role::new("folder", &[BASE, SOCKETS, BLOCKS, &["openat2"]]);

struct Worker {
    folder: Arc<OwnedFd>,
    queue: Receiver<Job>,
    tell: Sender<Done>,
    waker: Arc<Waker>,
}

impl Worker {
    /// Works until there is nobody to work for.
    fn run(&self) {
        while let Ok(job) = self.queue.recv() {
            let done = match job {
                Job::Open { name, path } => Done::Opened { name, file: self.open(&path) },
                Job::Read { name, file, offset, len } => {
                    let mut bytes = vec![0; len];
                    let read = file.read_exact_at(&mut bytes, offset);
                    Done::Read { name, offset, bytes: read.map(|()| bytes) }
                }
                Job::Close(file) => {
                    drop(file);
                    continue;
                }
            };
            if self.tell.send(done).is_err() || self.waker.wake().is_err() {
                return;
            }
        }
    }

    /// Opens a file; gives its length, too.
    fn open(&self, path: &str) -> io::Result<(File, u64)> {
        // An open that would block fails instead, and anything but a regular file is closed again.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let folder = &*self.folder;
        let file = openat2(folder, path, flags, Mode::empty(), resolve)
            .or_else(|errno| deed::open_below(folder, path, errno))?;
        let found = fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok((file.into(), u64::try_from(found.st_size).map_err(io::Error::other)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A folder, and where its workers call.
    struct Served {
        folder: Folder,
        poll: Poll,
    }

    impl Served {
        fn new(path: &Path) -> Result<Self> {
            let poll = Poll::new().unwrap();
            let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
            Ok(Self { folder: Folder::open(path, waker)?, poll })
        }

        fn answer(&mut self) -> FileAnswer {
            loop {
                if let Some(answer) = self.folder.poll() {
                    return answer;
                }
                self.poll.poll(&mut Events::with_capacity(1), None).unwrap();
            }
        }

        fn open(&mut self, name: u64, path: &str) -> io::Result<u64> {
            self.folder.open_file(name, path);
            match self.answer() {
                FileAnswer::Opened { file, size } if file == name => size,
                other => panic!("{other:?}"),
            }
        }

        fn read(&mut self, name: u64, from: u64, count: usize) -> io::Result<Vec<u8>> {
            self.folder.read_file(name, from, count);
            match self.answer() {
                FileAnswer::Read { file, offset, bytes } if (file, offset) == (name, from) => bytes,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, secret) = (dir.path().join("boot"), dir.path().join("secret"));
        fs::create_dir_all(inside.join("arm")).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::write(inside.join("arm/zephyr.bin"), "zephyr").unwrap();
        symlink("arm/zephyr.bin", inside.join("latest")).unwrap();
        symlink("../secret", inside.join("out")).unwrap();
        symlink(&secret, inside.join("absolute")).unwrap();
        symlink("/proc/self/exe", inside.join("magic")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, inside.join("fifo"), Mode::from(0o644)).unwrap();
        let mut served = Served::new(&inside).unwrap();
        assert_eq!(served.open(1, "arm/zephyr.bin").unwrap(), 6);
        assert_eq!(served.open(2, "latest").unwrap(), 6);
        let paths = ["out", "absolute", "magic", "fifo", "arm", "../secret", "absent", "arm/../../secret"];
        for (number, path) in paths.into_iter().enumerate() {
            assert!(served.open(3 + number as u64, path).is_err(), "{path}");
        }
        assert_eq!(served.read(1, 3, 3).unwrap(), b"hyr");
        assert!(served.read(1, 4, 3).is_err(), "it ends before");
        served.folder.close_file(1);
        assert!(served.read(1, 0, 3).is_err());
        assert!(Served::new(&secret).is_err());
    }

    #[test]
    fn what_was_closed_meanwhile_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "abc").unwrap();
        let mut served = Served::new(dir.path()).unwrap();
        served.folder.open_file(1, "a");
        served.folder.close_file(1);
        assert_eq!(served.open(2, "a").unwrap(), 3, "nothing is told of the first");
        assert_eq!(served.folder.files.len(), 1);
        served.folder.read_file(2, 0, 3);
        served.folder.close_file(2);
        assert_eq!(served.open(3, "a").unwrap(), 3);
    }

    /// No worker returns, as if the folder were on a server that is gone: further jobs fail at once.
    #[test]
    fn what_cannot_be_done_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut served = Served::new(dir.path()).unwrap();
        served.folder.workers = WORKERS;
        for name in 0..=JOBS as u64 {
            assert!(served.folder.poll().is_none());
            served.folder.open_file(name, "a");
        }
        let full = served.folder.poll();
        assert!(matches!(full, Some(FileAnswer::Opened { file, size: Err(_) }) if file == JOBS as u64), "{full:?}");
    }
}
