//! A terminal shared with the program: its keys, signals, and foreground process group.
//!
//! Theory of operation. Program and zbridge are one job of the shell's, in one process group: the terminal signals
//! both, so that zbridge passes on only signals that were sent to it alone. If the program is a shell, it takes the
//! terminal, and cannot give it back to a process group outside its PID namespace; zbridge takes it back at the end.

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

/// Signals passed on to the program. SIGTTOU is only blocked: another process group may have the terminal at the end.
const PASSED: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTTOU];

/// The terminal and the signals of this process, used for its program.
pub struct Terminal {
    signals: Signals,
    foreground: Foreground,
}

impl Terminal {
    /// Blocks signals, which must precede any other thread, and notes the terminal's foreground group.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn of_this_job() -> Result<Self> {
        let signals = Signals::hold(&PASSED).map_err(|errno| Error::system("signals", &errno.into()))?;
        Ok(Self { signals, foreground: Foreground::of_this_job() })
    }

    /// The channel of signals to pass on, and a guard that takes the terminal back.
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

/// It reads blocked signals.
static ROLE: Role = Role::new("signals", &[BASE]);

/// Sends every signal that the program did not get, as long as anybody listens.
fn tell_signals(signals: &Signals, told: &Sender<i32>) {
    loop {
        // It fails for want of memory only, and then the signal is still there.
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Some(signal) = signals.next() {
            // The program gets signals of the terminal's keys itself.
            if !signal.from_kernel && signal.number != SIGTTOU && told.send(signal.number).is_err() {
                return;
            }
        }
    }
}

/// The terminal, if the job was in the foreground at the start; taken back on drop.
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
