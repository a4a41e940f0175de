//! The folder whose files are served: opened below it, read, never written.
//!
//! Every path is resolved by openat2(2) with RESOLVE_BENEATH, so neither `..` nor a symbolic link leads out, whoever made
//! it; a link that stays inside works. Only regular files are served: a FIFO would make the reader wait.

use crate::error::{Error, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// See the module.
pub(super) struct Folder {
    folder: OwnedFd,
    files: HashMap<u64, File, foldhash::fast::RandomState>,
}

impl Folder {
    /// Serves the folder at `path`.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty());
        let cannot = |errno: rustix::io::Errno| {
            Error::system(format_args!("cannot serve {}", path.display()), &errno.into())
                .hint("tftp= names the folder in which the files are")
        };
        Ok(Self { folder: folder.map_err(cannot)?, files: HashMap::default() })
    }

    /// Opens a file under a name; gives its length.
    pub fn open_file(&mut self, name: u64, path: &str) -> io::Result<u64> {
        // An open that would wait fails instead, and what is found to be no file is closed again.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.folder, path, flags, Mode::empty(), resolve)?;
        let found = fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.files.insert(name, file.into());
        u64::try_from(found.st_size).map_err(io::Error::other)
    }

    /// Fills `room` from `offset` on.
    pub fn read_file(&self, name: u64, offset: u64, room: &mut [u8]) -> io::Result<()> {
        self.files.get(&name).ok_or(io::ErrorKind::NotFound)?.read_exact_at(room, offset)
    }

    /// Closes a file.
    pub fn close_file(&mut self, name: u64) {
        self.files.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

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
        let mut folder = Folder::open(&inside).unwrap();
        let mut number = 0;
        let mut open = |path: &str| {
            number += 1;
            folder.open_file(number, path)
        };
        assert_eq!(open("arm/zephyr.bin").unwrap(), 6);
        assert_eq!(open("latest").unwrap(), 6);
        for path in ["out", "absolute", "magic", "fifo", "arm", "../secret", "absent", "arm/../../secret"] {
            assert!(open(path).is_err(), "{path}");
        }
        let mut room = [0; 3];
        folder.read_file(1, 3, &mut room).unwrap();
        assert_eq!(&room, b"hyr");
        assert!(folder.read_file(1, 4, &mut room).is_err(), "it ends before");
        folder.close_file(1);
        assert!(folder.read_file(1, 0, &mut room).is_err());
        assert!(Folder::open(&secret).is_err());
    }
}
