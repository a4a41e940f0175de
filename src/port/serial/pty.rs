//! A pseudo-terminal that is linked to a path, for programs that want a terminal device.
//!
//! The link is made new each time; one that is there is replaced only if it leads nowhere, or to the very terminal that
//! was just made: then it was left by a process that is no more. Anything else at the path is left alone, and a terminal
//! that is in use is named with its owner.
//!
//! A terminal that was closed keeps what its program did not read, and the modes that it set; both are put right before
//! the next program comes.

use super::uart;
use crate::error::{Class, Error, Result};
use crate::port::owner;
use crate::rights::deed;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{QueueSelector, tcflush};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The terminal's device and the link to it.
pub struct Pty {
    device: PathBuf,
    name: String,
    link: PathBuf,
}

impl Pty {
    /// Makes a terminal, raw and without echo, and links it to `link`. Returns its controlling side too.
    ///
    /// # Errors
    /// There is something else at `link`, or no terminal is left.
    pub fn open(link: &Path) -> Result<(Self, OwnedFd)> {
        let cannot = |errno: Errno| Error::system("cannot make a pseudo-terminal", &errno.into());
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(cannot)?;
        grantpt(&master).and_then(|()| unlockpt(&master)).map_err(cannot)?;
        ioctl_fionbio(&master, true).map_err(cannot)?;
        let name = ptsname(&master, Vec::new()).map_err(cannot)?.to_string_lossy().into_owned();
        let device = PathBuf::from(&name);
        make_link(&device, link)?;
        let pty = Self { device, name, link: link.to_owned() };
        pty.reset(&master).map_err(cannot)?;
        Ok((pty, master))
    }

    /// The device, as `/dev/pts/3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Empties the terminal and makes it raw. Opening and closing it for that leaves the controlling side hung up, by
    /// which it is seen that nobody has it open.
    pub fn reset(&self, master: &OwnedFd) -> Result<(), Errno> {
        let terminal = ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        uart::make_raw(&terminal)?;
        tcflush(&terminal, QueueSelector::IFlush)
    }
}

fn make_link(device: &Path, link: &Path) -> Result<()> {
    let cannot = |error: &std::io::Error| {
        Error::system(format_args!("cannot link {} to {}", link.display(), device.display()), error)
    };
    match deed::link(device, link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let old = leads_to(link);
            if !old.as_ref().is_some_and(|old| old == device || !old.exists()) {
                let what = format!("cannot link {}: {}", link.display(), occupant(old.as_deref()));
                let hint = "a terminal that is in use is left alone; choose another path, or remove it";
                return Err(Error::new(Class::Runtime, what).hint(hint));
            }
            log::info!("{}: replacing a stale link", link.display());
            deed::remove(link).and_then(|()| deed::link(device, link)).map_err(|error| cannot(&error))
        }
        done => done.map_err(|error| cannot(&error)),
    }
}

fn leads_to(link: &Path) -> Option<PathBuf> {
    deed::look(link).ok()?.target
}

/// What is in the place of a link. Of a terminal, who has its controlling side: its number is that descriptor's
/// `tty-index` (drivers/tty/pty.c, `pty_show_fdinfo`).
fn occupant(old: Option<&Path>) -> String {
    let Some(old) = old else { return "something is there already".into() };
    let number = old.strip_prefix("/dev/pts").ok().and_then(Path::to_str);
    let Some(number) = number.filter(|number| number.parse::<u32>().is_ok()) else {
        return format!("it leads to {} already", old.display());
    };
    let controls = |fd: &Path| {
        let is_master = std::fs::read_link(fd).is_ok_and(|open| open.ends_with("ptmx"));
        let (Some(process), Some(name)) = (fd.ancestors().nth(2), fd.file_name()) else { return false };
        let told = || std::fs::read_to_string(process.join("fdinfo").join(name)).unwrap_or_default();
        is_master && told().lines().any(|line| line.strip_prefix("tty-index:").map(str::trim) == Some(number))
    };
    format!("it leads to {}, the terminal of {}", old.display(), owner::of_descriptor(controls))
}

impl Drop for Pty {
    fn drop(&mut self) {
        if leads_to(&self.link).is_some_and(|device| device == self.device) {
            // A link that stays is stale, and replaced by the next one.
            let _ = deed::remove(&self.link);
        }
    }
}
