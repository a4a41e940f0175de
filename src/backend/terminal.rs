//! A pseudo-terminal as the other end of a serial line, with a link to it.
//!
//! Theory of operation. Programs open the link as they would a serial port; the terminal is raw at first, so that bytes
//! pass as they are. Programs come and go: while none has it open the master reports a hangup, and bytes to send wait
//! here. An open is no event of the master, so the terminal's path is watched (inotify(7)), and after every event of
//! either the master is polled. Unread bytes stay in the terminal for the next program; the settings of the one before
//! do not, or its echo would send the host its own bytes back.
//!
//! A pseudo-terminal has no modem lines. The other side's settings are shown as far as termios(3) has them: the bit
//! rate, 0 (hang up) while DTR is off, and the stop bits. A break is read as the program has chosen: not at all
//! (IGNBRK), as the interrupt character (BRKINT with ISIG), or as a zero byte.
//!
//! Both sides set the same termios(3), and no call sets a part of it: a change by the program between our read and our
//! write is lost. So only real changes are written, they are verified afterwards, and of a host that changes its line
//! all the time only the last change is shown, once a [`PAUSE`].

use crate::config::Access;
use crate::error::{Error, Result};
use crate::port::serial::pty::Pty;
use crate::time::{Clock, Duration, Instant};
use crate::usb::class::cdc_acm::Line;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use rustix::termios::{ControlModes, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Changes of the line that may be shown in a burst.
const BURST: u32 = 8;
/// Interval of further ones.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a change is rewritten that the program has undone at the same moment.
const TRIES: usize = 3;

/// See the module.
pub(super) struct Terminal {
    /// Dropped first, as the number of a closed terminal may be reused at once.
    _pty: Pty,
    master: OwnedFd,
    /// Tells that its path was opened or closed.
    watch: OwnedFd,
    /// A program has it open.
    there: bool,
    /// A break is being sent.
    breaking: bool,
    /// The other side's line settings, and whether they are still to be shown.
    line: Option<Line>,
    late: bool,
    /// Changes that may be shown now, and since when there are so many.
    allowed: u32,
    since: Instant,
    clock: Clock,
    /// Its other end, to count unread bytes when the service ends.
    probe: Option<OwnedFd>,
}

impl Terminal {
    /// Makes a terminal with `access`, and the link `path` to it.
    pub fn open(path: &Path, access: &Access) -> Result<Self> {
        let (pty, master) = Pty::open(path, access)?;
        let watch = watch(pty.name()).map_err(|errno| {
            Error::system("cannot watch a pseudo-terminal", &errno.into())
                .hint("`sysctl fs.inotify.max_user_instances` is how many watches a user may have")
        })?;
        let mut terminal = Self {
            _pty: pty,
            master,
            watch,
            there: false,
            breaking: false,
            line: None,
            late: false,
            allowed: BURST,
            since: Instant::ZERO,
            clock: Clock::start(),
            probe: None,
        };
        terminal.look();
        Ok(terminal)
    }

    /// The descriptors to be polled: the terminal's own, and that of its watch.
    pub fn fds(&self) -> [RawFd; 2] {
        [self.master.as_raw_fd(), self.watch.as_raw_fd()]
    }

    /// Polls whether a program has it open. Gives that if it has changed.
    pub fn look(&mut self) -> Option<bool> {
        // The events are dropped: the master tells more.
        let mut events = [0; 4096];
        while rustix::io::read(&self.watch, &mut events).is_ok_and(|count| count > 0) {}
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let known = rustix::event::poll(&mut fds, Some(&now)).is_ok();
        let there = !fds[0].revents().contains(PollFlags::HUP);
        let changed = known && there != self.there;
        self.there = there && known || self.there && !known;
        if changed && !there {
            if let Err(errno) = Pty::make_raw(&self.master) {
                log::debug!("a pseudo-terminal keeps the modes of its last program: {errno}");
            }
            self.show();
        }
        changed.then_some(there)
    }

    /// Writes; `WouldBlock` while no program has it open.
    pub fn write(&self, buffers: &[IoSlice]) -> io::Result<usize> {
        if !self.there {
            return Err(Errno::AGAIN.into());
        }
        rustix::io::writev(&self.master, buffers).map_err(waits)
    }

    /// Reads; `WouldBlock` if there is nothing, whether or not a program has it open.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        rustix::io::read(&self.master, buffer).map_err(waits)
    }

    /// Whether a program has it open.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// Bytes written that the program has not read; `None` if there is no program. This opens the program's end, after
    /// which the master does not report that the program has left, so it is for the end only.
    pub fn unread(&mut self) -> Option<usize> {
        let flags =
            rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
        if self.probe.is_none() && self.there {
            self.probe = rustix::pty::ioctl_tiocgptpeer(&self.master, flags).ok();
        }
        let end = self.probe.as_ref()?;
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // The count is of the terminal's own buffer; a poll first fills that from the one behind it (`n_tty_poll`). The
        // program may read between the two, so that nothing is counted although there is more.
        rustix::event::poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&now)).ok()?;
        usize::try_from(rustix::io::ioctl_fionread(end).ok()?).ok()
    }

    /// Shows the program the other side's settings. Gives the bytes that a break is read as, if one has begun.
    pub fn set(&mut self, line: &Line) -> Vec<u8> {
        self.line = Some(*line);
        self.late = true;
        self.catch_up();
        let begun = line.breaking && !self.breaking;
        self.breaking = line.breaking;
        if begun { self.break_bytes() } else { Vec::new() }
    }

    /// When [`Self::catch_up`] has something to do.
    pub fn late_in(&self) -> Option<Duration> {
        self.late.then(|| self.since + PAUSE - self.clock.now())
    }

    /// Shows a late change, if it may be shown by now.
    pub fn catch_up(&mut self) {
        let now = self.clock.now();
        let earned = u32::try_from((now - self.since).as_secs() / PAUSE.as_secs()).unwrap_or(BURST);
        if earned > 0 {
            (self.allowed, self.since) = (self.allowed.saturating_add(earned).min(BURST), now);
        }
        if self.late && self.allowed > 0 && self.show() {
            self.allowed -= 1;
        }
    }

    /// Shows the program the last settings. True if they are a change.
    fn show(&mut self) -> bool {
        let Some(line) = &self.line else { return false };
        self.late = false;
        let rate = if line.dtr { line.coding.rate } else { 0 };
        let two = line.coding.stop != 0;
        let write = || {
            let mut settings = tcgetattr(&self.master)?;
            if settings.output_speed() == rate && settings.control_modes.contains(ControlModes::CSTOPB) == two {
                return Ok(false);
            }
            settings.set_speed(rate)?;
            settings.control_modes.set(ControlModes::CSTOPB, two);
            tcsetattr(&self.master, OptionalActions::Now, &settings).map(|()| true)
        };
        let mut changed = false;
        for _ in 0..TRIES {
            match write() {
                Ok(true) => changed = true,
                Ok(false) => break,
                Err(errno) => {
                    log::debug!("a pseudo-terminal does not take {line}: {errno}");
                    break;
                }
            }
        }
        changed
    }

    /// The bytes that a break is read as.
    fn break_bytes(&self) -> Vec<u8> {
        let Ok(settings) = tcgetattr(&self.master) else { return Vec::new() };
        let input = |mode| settings.input_modes.contains(mode);
        if input(InputModes::IGNBRK) {
            Vec::new()
        } else if input(InputModes::BRKINT) && settings.local_modes.contains(LocalModes::ISIG) {
            vec![settings.special_codes[SpecialCodeIndex::VINTR]]
        } else {
            vec![0]
        }
    }
}

/// A terminal that nobody has open answers EIO.
fn waits(errno: Errno) -> io::Error {
    if errno == Errno::IO { Errno::AGAIN.into() } else { errno.into() }
}

fn watch(path: &str) -> rustix::io::Result<OwnedFd> {
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, path, WatchFlags::OPEN | WatchFlags::CLOSE)?;
    Ok(watch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usb::class::cdc_acm::LineCoding;
    use rustix::fs::{Mode, OFlags};
    use rustix::termios::OutputModes;

    fn line(rate: u32) -> Line {
        Line { coding: LineCoding { rate, ..LineCoding::default() }, dtr: true, ..Line::default() }
    }

    /// As a program opens it.
    fn program(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK, Mode::empty()).unwrap()
    }

    /// Bytes of `read`, until they are `wanted`, or for ten seconds.
    fn all(wanted: usize, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> Vec<u8> {
        let (mut found, mut chunk) = (Vec::new(), [0; 64]);
        for _ in 0..10_000 {
            let count = read(&mut chunk).unwrap_or(0);
            found.extend_from_slice(&chunk[..count]);
            if found.len() >= wanted {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        found
    }

    #[test]
    fn the_next_program_finds_the_terminal_raw_and_what_was_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tty");
        let mut terminal = Terminal::open(&path, &Access::default()).unwrap();
        terminal.set(&line(9600));
        let first = program(&path);
        assert_eq!(terminal.look(), Some(true));
        let mut cooked = tcgetattr(&first).unwrap();
        cooked.input_modes |= InputModes::ICRNL | InputModes::IXON;
        cooked.output_modes |= OutputModes::OPOST;
        cooked.local_modes |= LocalModes::ECHO | LocalModes::ICANON;
        cooked.set_speed(300).unwrap();
        tcsetattr(&first, OptionalActions::Now, &cooked).unwrap();
        assert_eq!(terminal.write(&[IoSlice::new(b"unread\n")]).unwrap(), 7);
        // The kernel echoes late: the echo for this program must not become the next one's.
        assert_eq!(all(8, |found| terminal.read(found)), b"unread\r\n");
        drop(first);
        assert_eq!(terminal.look(), Some(false));
        let next = program(&path);
        assert_eq!(terminal.look(), Some(true));
        let modes = tcgetattr(&next).unwrap();
        assert!(!modes.input_modes.intersects(InputModes::ICRNL | InputModes::IXON));
        assert!(!modes.output_modes.contains(OutputModes::OPOST));
        assert!(!modes.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON));
        assert_eq!(modes.output_speed(), 9600, "the rate is the host's");
        let said = |count| all(count, |found| rustix::io::read(&next, found).map_err(io::Error::from));
        assert_eq!(said(7), b"unread\n");
        terminal.write(&[IoSlice::new(b"ping")]).unwrap();
        assert_eq!(said(4), b"ping");
        assert!(terminal.read(&mut [0; 64]).is_err(), "nothing is said back");
    }

    #[test]
    fn a_line_that_changes_all_the_time_is_shown_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tty");
        let mut terminal = Terminal::open(&path, &Access::default()).unwrap();
        let program = program(&path);
        let shown = || tcgetattr(&program).unwrap().output_speed();
        for rate in [1200, 2400, 4800] {
            terminal.set(&line(rate));
            assert_eq!((shown(), terminal.late_in()), (rate, None));
        }
        (0..100).for_each(|n| _ = terminal.set(&line([300, 600][n % 2])));
        assert!(terminal.late_in().is_some_and(|wait| wait <= PAUSE));
        terminal.set(&line(19_200));
        while let Some(wait) = terminal.late_in() {
            std::thread::sleep(wait);
            terminal.catch_up();
        }
        assert_eq!(shown(), 19_200);
    }
}
