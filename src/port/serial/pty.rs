//! A pseudo-terminal that is linked to a path, for programs that want a terminal device.
//!
//! The link is made new each time; an existing link is replaced only if a process that has ended left it: it leads
//! nowhere, to the very terminal that was just made, or to one that this process has made and linked elsewhere.
//! Anything else at the path is left alone, and a terminal that is in use is named with its owner.
//!
//! A closed terminal keeps the unread data and the modes of its program. The modes are reset before the next program
//! comes; unread data is discarded, too, if it would be half a frame.

use super::uart;
use crate::config::Access;
use crate::error::{Class, Error, Result, SOMEBODY};
use crate::port::made::{self, Made};
use crate::port::{access, owner};
use crate::rights::deed;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{QueueSelector, tcflush};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The terminal's device, and the link to it, which is removed on drop.
pub struct Pty {
    name: String,
    _link: Made,
}

impl Pty {
    /// Makes a terminal, raw and without echo, for those of `access`, and links it to `link`. Returns its controlling side
    /// too.
    ///
    /// # Errors
    /// There is something else at `link`, no terminal is left, or it cannot be given away.
    pub fn open(link: &Path, access: &Access) -> Result<(Self, OwnedFd)> {
        let cannot = |errno: Errno| Error::system("cannot make a pseudo-terminal", &errno.into());
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(cannot)?;
        grantpt(&master).and_then(|()| unlockpt(&master)).map_err(cannot)?;
        ioctl_fionbio(&master, true).map_err(cannot)?;
        let name = ptsname(&master, Vec::new()).map_err(cannot)?.to_string_lossy().into_owned();
        let device = PathBuf::from(&name);
        access::give(&device, access)?;
        let pty = Self { name, _link: make_link(&device, link)? };
        pty.reset(&master).map_err(cannot)?;
        Ok((pty, master))
    }

    /// The device, as `/dev/pts/3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the terminal raw and leaves what is in it. A program's own settings are gone; its rate stays.
    pub fn make_raw(master: &OwnedFd) -> Result<(), Errno> {
        // Modes set on the controlling side apply to the terminal (`tty_mode_ioctl`).
        uart::make_raw(master)
    }

    /// Empties the terminal and makes it raw. Opening and closing it for that leaves the controlling side hung up, by
    /// which it is seen that nobody has it open.
    pub fn reset(&self, master: &OwnedFd) -> Result<(), Errno> {
        let terminal = ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        uart::make_raw(&terminal)?;
        tcflush(&terminal, QueueSelector::IFlush)
    }
}

/// Makes the link. The predecessor of this port may be about to remove it.
fn make_link(device: &Path, link: &Path) -> Result<Made> {
    let cannot = |error: &std::io::Error| {
        Error::system(format_args!("cannot link {} to {}", link.display(), device.display()), error)
    };
    let mut held = made::hold();
    match deed::link(device, link) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let old = leads_to(link);
            if !old.as_ref().is_some_and(|old| old == device || !old.exists() || held.has_linked(old, link)) {
                let hint = "a terminal that is in use is left alone; choose another path, or remove it";
                let taken = |why: &str| {
                    Error::new(Class::Runtime, format!("cannot link {}: {why}", link.display())).because(Errno::EXIST)
                };
                return Err(occupied(old.as_deref(), taken).hint(hint));
            }
            log::info!("{}: replacing a stale link", link.display());
            deed::remove(link).and_then(|()| deed::link(device, link)).map_err(|error| cannot(&error))?;
        }
        done => done.map_err(|error| cannot(&error))?,
    }
    let gone = |errno: Errno| Error::system(format_args!("cannot look at {}", link.display()), &errno.into());
    held.note(link).map_err(gone)
}

fn leads_to(link: &Path) -> Option<PathBuf> {
    deed::look(link).ok()?.target
}

/// The error for a path that is taken. For a terminal it names the process with the controlling side: its number is
/// that descriptor's `tty-index` (drivers/tty/pty.c, `pty_show_fdinfo`).
fn occupied(old: Option<&Path>, taken: impl Fn(&str) -> Error) -> Error {
    let Some(old) = old else { return taken("something is there already") };
    let number = old.strip_prefix("/dev/pts").ok().and_then(Path::to_str);
    let Some(number) = number.filter(|number| number.parse::<u32>().is_ok()).map(str::to_owned) else {
        return taken(&format!("it leads to {} already", old.display()));
    };
    let controls = move |fd: &Path| {
        let is_master = std::fs::read_link(fd).is_ok_and(|open| open.ends_with("ptmx"));
        let (Some(process), Some(name)) = (fd.ancestors().nth(2), fd.file_name()) else { return false };
        let told = || std::fs::read_to_string(process.join("fdinfo").join(name)).unwrap_or_default();
        is_master && told().lines().any(|line| line.strip_prefix("tty-index:").map(str::trim) == Some(&number[..]))
    };
    taken(&format!("it leads to {}, the terminal of {SOMEBODY}", old.display()))
        .who(move || owner::of_descriptor(&controls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::read_link;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_successor_keeps_the_link_when_its_predecessor_ends() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("tty");
        let open = || Pty::open(&link, &Access::default()).unwrap();
        let (first, master) = open();
        // Its number is free, and it is the second's next. The first has still to remove its link.
        drop(master);
        let second = open();
        drop(first);
        assert_eq!(read_link(&link).unwrap().to_str(), Some(second.0.name()));
        drop(second);
        assert!(read_link(&link).is_err(), "the last removes it");
    }

    #[test]
    fn links_that_were_left_behind_are_replaced_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        let open = |link: &Path| Pty::open(link, &Access::default());
        let first = open(&one).unwrap();
        // A process that was killed had this number for the other one.
        symlink(first.0.name(), &other).unwrap();
        let second = open(&other).unwrap();
        assert_eq!(read_link(&other).unwrap().to_str(), Some(second.0.name()));
        assert_eq!(read_link(&one).unwrap().to_str(), Some(first.0.name()));
        let refused = open(&one).err().unwrap().told();
        assert!(refused.what().contains(&format!("the terminal of pid {}", std::process::id())), "{refused}");
    }
}
