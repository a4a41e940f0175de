//! The terminal of a job whose program has it: keys, signals, and who has the foreground.
//!
//! Theory of operation. Program and zbridge are one job of the shell's: a key at the terminal reaches both, being in one
//! process group, so that zbridge passes on only what somebody has sent to it alone. A shell that the program was takes
//! the terminal, and cannot give it back to a process group outside of its PID namespace; zbridge takes it back at the end.

use crate::error::{Error, Result};
use crate::port::process::{Signals, own_group};
use crate::rights::role::BASE;
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTOU, SIGUSR1, SIGUSR2};
use std::fs::File;

/// What is passed on to the program. SIGTTOU is held back for itself: the terminal may be another's in the end.
const PASSED: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTTOU];

/// The terminal and the signals of this process, which are its program's.
pub struct Terminal {
    signals: Signals,
    foreground: Foreground,
}

impl Terminal {
    /// Holds signals back, which has to be before there is any other thread, and sees whose the terminal is.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn of_this_job() -> Result<Self> {
        let signals = Signals::hold(&PASSED).map_err(|errno| Error::system("signals", &errno.into()))?;
        Ok(Self { signals, foreground: Foreground::of_this_job() })
    }

    /// Where the signals are told that are to be passed on, and who takes the terminal back.
    ///
    /// # Errors
    /// The system has no threads left.
    pub(super) fn listen(self) -> Result<(Receiver<i32>, Foreground)> {
        let (told, heard) = unbounded();
        let Self { signals, foreground } = self;
        let started = rights::spawn("zb-signals", &ROLE, move || tell_signals(&signals, &told));
        started.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok((heard, foreground))
    }
}

/// It tells of signals.
static ROLE: Role = Role::new("signals", &[BASE]);

/// Tells of every signal that the program has not got, for as long as anybody listens.
fn tell_signals(signals: &Signals, told: &Sender<i32>) {
    loop {
        // It fails for want of memory only, and then the signal is still there.
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Some(signal) = signals.next() {
            // What a key at the terminal has sent, the program has got too.
            if !signal.from_kernel && signal.number != SIGTTOU && told.send(signal.number).is_err() {
                return;
            }
        }
    }
}

/// The terminal of a job, if the job had it at the start, which takes it back on drop.
pub(super) struct Foreground(Option<(File, Pid)>);

impl Foreground {
    fn of_this_job() -> Self {
        let Some(ours) = own_group() else { return Self(None) };
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Self(terminal.filter(|terminal| tcgetpgrp(terminal) == Ok(ours)).map(|terminal| (terminal, ours)))
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if let Self(Some((terminal, ours))) = self {
            // A terminal that is gone needs no owner.
            let _ = tcsetpgrp(terminal, *ours);
        }
    }
}
