//! A pseudo-terminal with a link to it.
//!
//! The slave side is held open here, so that bytes wait in the terminal while no program has it open, instead of the
//! master reporting a hangup. The terminal is raw: bytes pass as they are.

use crate::error::{Class, Error, Result};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A link that this process has made; removed at the end, if it still leads to the same place.
pub(super) struct Link {
    path: PathBuf,
    target: PathBuf,
    /// The slave, held open.
    _slave: File,
}

impl Drop for Link {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            // When this fails a link to nowhere is left, which the next owner replaces.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a terminal and the link `path` to it. Gives the master, which does not block.
pub(super) fn open(path: &Path) -> Result<(OwnedFd, Link)> {
    let cannot = |errno: Errno| Error::system("cannot make a pseudo-terminal", &errno.into());
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).map_err(cannot)?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(cannot)?;
    let name = ptsname(&master, Vec::new()).map_err(cannot)?;
    let target = PathBuf::from(name.to_string_lossy().into_owned());
    let slave = File::options().read(true).write(true).open(&target);
    let slave = slave.map_err(|error| Error::system(target.display(), &error))?;
    let mut settings = tcgetattr(&slave).map_err(cannot)?;
    settings.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &settings).map_err(cannot)?;
    rustix::io::ioctl_fionbio(&master, true).map_err(cannot)?;
    link(path, &target)?;
    Ok((master, Link { path: path.to_owned(), target, _slave: slave }))
}

/// Makes the link, in the place of another link but of nothing else.
fn link(path: &Path, target: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_symlink() => {
            return Err(Error::new(Class::Runtime, format!("cannot make the link {}: it exists", path.display()))
                .hint("choose another path, or move the file away"));
        }
        Ok(_) => fs::remove_file(path).map_err(|error| Error::system(path.display(), &error))?,
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, path)
        .map_err(|error| Error::system(format_args!("cannot make the link {}", path.display()), &error))
}
