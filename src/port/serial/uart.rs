//! A UART of this machine, set by termios(3): raw, 8 data bits, no modem lines, opened exclusively.
//!
//! Two readers of one line steal each other's bytes. TIOCEXCL keeps everybody but root from opening it; a lock
//! (flock(2)) keeps out programs that lock it as well, as root, too: pyserial (`exclusive=True`), picocom, ser2net.

use crate::config::{Parity, Uart};
use crate::error::{Class, Error, Result};
use crate::port::owner;
use crate::port::owner::lock_holder;
use crate::rights::deed;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open as open_file};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Opens the device and sets its line.
///
/// # Errors
/// It is not there, in use, or takes no such setting.
pub fn open(settings: &Uart) -> Result<OwnedFd> {
    let device = std::fs::canonicalize(&settings.device).unwrap_or_else(|_| settings.device.clone());
    let subject = format!("cannot open {}", settings.device.display());
    let cannot = |errno: Errno| {
        let error = Error::system(&subject, &errno.into());
        match errno {
            Errno::ACCESS | Errno::PERM => error.hint("the group dialout may use it: sudo usermod -aG dialout $USER"),
            Errno::NOENT => error.hint("with the key optional the port waits until it is plugged in"),
            Errno::BUSY => {
                let is_it = |fd: &Path| std::fs::read_link(fd).is_ok_and(|open| open == device);
                in_use(&subject, &owner::of_descriptor(is_it))
            }
            Errno::NOTTY => error.hint("it is no serial line"),
            Errno::INVAL => error.hint("its driver takes no such speed or format"),
            _ => error,
        }
    };
    // Without O_NONBLOCK the opening would wait for the carrier.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let path = &settings.device;
    let fd = open_file(path, flags, Mode::empty()).or_else(|errno| deed::open(path, flags.bits(), errno));
    let fd = fd.map_err(cannot)?;
    // The lock first, since TIOCEXCL would last as long as anybody has the line open.
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Err(in_use(&subject, &lock_holder(&fd))),
        done => done.map_err(cannot)?,
    }
    ioctl_tiocexcl(&fd).and_then(|()| set(&fd, settings)).map_err(cannot)?;
    tcflush(&fd, QueueSelector::IOFlush).map_err(cannot)?;
    Ok(fd)
}

fn in_use(subject: &str, holder: &str) -> Error {
    Error::new(Class::Runtime, format!("{subject}: it is in use by {holder}"))
        .because(Errno::BUSY)
        .hint("two on one line would steal each other's bytes: stop that one, or choose another device")
}

fn set(fd: &OwnedFd, settings: &Uart) -> Result<(), Errno> {
    let mut line = tcgetattr(fd)?;
    line.make_raw();
    line.set_speed(settings.baud)?;
    line.special_codes[SpecialCodeIndex::VMIN] = 1;
    line.special_codes[SpecialCodeIndex::VTIME] = 0;
    let modes = &mut line.control_modes;
    modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
    modes.set(ControlModes::PARENB, settings.parity != Parity::None);
    modes.set(ControlModes::PARODD, settings.parity == Parity::Odd);
    modes.set(ControlModes::CSTOPB, settings.two_stop_bits);
    modes.set(ControlModes::CRTSCTS, settings.rtscts);
    tcsetattr(fd, OptionalActions::Now, &line)
}

/// Makes a terminal raw: no echo, no line editing, no translation.
///
/// # Errors
/// The system call's.
pub fn make_raw(fd: impl AsFd) -> Result<(), Errno> {
    let mut line = tcgetattr(&fd)?;
    line.make_raw();
    line.special_codes[SpecialCodeIndex::VMIN] = 1;
    line.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&fd, OptionalActions::Now, &line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;
    use crate::port::serial::pty::Pty;

    #[test]
    fn a_line_that_another_has_locked_is_left_to_it_and_ours_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("tty");
        let (_pty, _master) = Pty::open(&device, &Access::default()).unwrap();
        let settings =
            Uart { device: device.clone(), baud: 9600, parity: Parity::None, two_stop_bits: false, rtscts: false };
        let theirs = open_file(&device, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        flock(&theirs, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = open(&settings).unwrap_err();
        assert!(error.what().contains(&format!("in use by pid {}", std::process::id())), "{error}");
        // Nothing stays of the attempt: without their lock the line is free.
        flock(&theirs, FlockOperation::Unlock).unwrap();
        let ours = open(&settings).unwrap();
        assert_eq!(flock(&theirs, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
        drop(ours);
        flock(&theirs, FlockOperation::NonBlockingLockExclusive).unwrap();
    }
}
