//! A UART of this machine, set by termios(3): raw, 8 data bits, no modem lines, nobody else's while it is ours.

use crate::config::{Parity, Uart};
use crate::error::{Error, Result};
use crate::rights::deed;
use rustix::fs::{Mode, OFlags, open as open_file};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
};
use std::os::fd::{AsFd, OwnedFd};

/// Opens the device and sets its line.
///
/// # Errors
/// It is not there, in use, or takes no such setting.
pub fn open(settings: &Uart) -> Result<OwnedFd> {
    let subject = format!("cannot open {}", settings.device.display());
    let cannot = |errno: Errno| {
        let error = Error::system(&subject, &errno.into());
        match errno {
            Errno::ACCESS | Errno::PERM => error.hint("the group dialout may use it: sudo usermod -aG dialout $USER"),
            Errno::NOENT => error.hint("with the key optional the port waits until it is plugged in"),
            Errno::BUSY => error.hint("`fuser -v` shows who has it open"),
            Errno::NOTTY => error.hint("it is no serial line"),
            Errno::INVAL => error.hint("its driver takes no such speed or format"),
            _ => error,
        }
    };
    // Without O_NONBLOCK the opening would wait for the carrier.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = &settings.device;
    let fd = open_file(device, flags, Mode::empty()).or_else(|errno| deed::open(device, flags.bits(), errno));
    let fd = fd.map_err(cannot)?;
    ioctl_tiocexcl(&fd).and_then(|()| set(&fd, settings)).map_err(cannot)?;
    tcflush(&fd, QueueSelector::IOFlush).map_err(cannot)?;
    Ok(fd)
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

/// Takes echo, lines and translations away from a terminal.
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
