//! Files that guests upload to the served folder: each under a temporary name until it is whole.
//!
//! The parent folder is opened by openat2(2) with RESOLVE_BENEATH, so nothing leads out. The file is made there as
//! `.NAME.NUMBER.part`, and renamed when it is whole: readers of the old one read on, and nobody sees half a file. Only
//! a regular file is replaced. Unfinished files are removed.

use crate::error::{Error, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat, openat2, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

struct Upload {
    file: File,
    /// The folder in which it is.
    parent: OwnedFd,
    /// Its temporary name.
    part: String,
    /// Its final name.
    name: String,
}

impl Upload {
    fn discard(&self) {
        // a file that cannot be removed stays: there is nobody to tell
        let _ = unlinkat(&self.parent, &self.part, AtFlags::empty());
    }
}

/// See the module.
pub(super) struct Uploads {
    folder: OwnedFd,
    files: HashMap<u64, Upload, foldhash::fast::RandomState>,
}

impl Uploads {
    /// Takes files into the folder at `path`.
    ///
    /// # Errors
    /// There is no such folder, or nothing may be written into it.
    pub fn open(path: &Path) -> Result<Self> {
        let cannot = |errno: Errno| {
            Error::system(format_args!("cannot let guests write into {}", path.display()), &errno.into())
                .hint("tftp-write needs a folder into which this user may write")
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(cannot)?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(path, access).map_err(cannot)?;
        Ok(Self { folder, files: HashMap::default() })
    }

    /// Makes a file under a number; its place will be `path`.
    pub fn create(&mut self, number: u64, path: &str) -> io::Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat2(&self.folder, folder, flags, Mode::empty(), resolve)?;
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        // the name alone may already have the greatest length
        let short: String = name.chars().take(60).collect();
        let part = format!(".{short}.{}.{number}.part", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&parent, &part, flags, Mode::from_raw_mode(0o644))?.into();
        self.files.insert(number, Upload { file, parent, part, name: name.to_owned() });
        Ok(())
    }

    /// Writes to a file from `offset` on.
    pub fn write(&self, number: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.get(&number).ok_or(io::ErrorKind::NotFound)?.file.write_all_at(bytes, offset)
    }

    /// A file is whole, and takes its place.
    pub fn keep(&mut self, number: u64) -> io::Result<()> {
        let upload = self.files.remove(&number).ok_or(io::ErrorKind::NotFound)?;
        renameat(&upload.parent, &upload.part, &upload.parent, &upload.name).map_err(|errno| {
            upload.discard();
            errno.into()
        })
    }

    /// Closes a file; one that was not kept is removed.
    pub fn close(&mut self, number: u64) {
        if let Some(upload) = self.files.remove(&number) {
            upload.discard();
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.files.values().for_each(Upload::discard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_seen_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("old"), "old").unwrap();
        let mut uploads = Uploads::open(dir.path()).unwrap();
        uploads.create(1, "old").unwrap();
        uploads.create(2, "other").unwrap();
        uploads.write(1, 0, b"ne").unwrap();
        uploads.write(1, 2, b"w").unwrap();
        assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"old");
        uploads.keep(1).unwrap();
        assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"new");
        uploads.close(1);
        drop(uploads);
        assert_eq!(names(dir.path()), ["old"], "what was not finished is gone");
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("boot");
        fs::create_dir_all(inside.join("logs")).unwrap();
        symlink("..", inside.join("out")).unwrap();
        symlink("../secret", inside.join("link")).unwrap();
        let mut uploads = Uploads::open(&inside).unwrap();
        for (number, path) in ["out/x", "../x", "absent/x", "logs", "link"].into_iter().enumerate() {
            assert!(uploads.create(number as u64, path).is_err(), "{path}");
        }
        uploads.create(9, "logs/board.txt").unwrap();
        uploads.keep(9).unwrap();
        assert_eq!((names(dir.path()), names(&inside.join("logs"))), (vec!["boot".into()], vec!["board.txt".into()]));
    }
}
