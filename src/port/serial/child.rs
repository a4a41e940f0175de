//! A program whose standard input and output are the line.
//!
//! It is started from its words, never by a shell unless the user wrote one, and in a process group of its own: so a
//! Ctrl-C at zbridge's terminal is zbridge's to handle, and what the program has started ends with it. Its standard
//! error is zbridge's.

use crate::config::command_words;
use crate::error::{Error, Result};
use crate::port::descriptors;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// After SIGTERM a program has so long to end before SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// A running program. Ended on drop.
pub struct Child(Option<std::process::Child>);

impl Child {
    /// Starts `command`. Returns where its output is read from, and where its input is written to.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &str) -> Result<(Self, OwnedFd, OwnedFd)> {
        let words = command_words(command).unwrap_or_default();
        let Some((program, arguments)) = words.split_first() else {
            return Err(Error::usage(format!("exec:{command}: there is no program in it")));
        };
        let cannot = |error: std::io::Error| Error::system(format_args!("cannot start {program}"), &error);
        let mut ready = Command::new(program);
        ready.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        descriptors::restore(&mut ready);
        let mut child = Self(Some(ready.spawn().map_err(cannot)?));
        let (input, output) = child.ends().ok_or_else(|| cannot(std::io::ErrorKind::BrokenPipe.into()))?;
        for end in [&input, &output] {
            ioctl_fionbio(end, true).map_err(|errno| cannot(errno.into()))?;
        }
        Ok((child, input, output))
    }

    fn ends(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        let child = self.0.as_mut()?;
        Some((child.stdout.take()?.into(), child.stdin.take()?.into()))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, std::process::Child::id)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        signal(&child, Signal::TERM);
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        // The thread of a switch waits for nobody. If there is none to be had, init reaps the program.
        let reaper = std::thread::Builder::new().name("zb-reaper".into());
        let reaped = reaper.spawn(move || {
            let start = Instant::now();
            while start.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
            signal(&child, Signal::KILL);
            let _ = child.wait();
        });
        drop(reaped);
    }
}

/// Sends a signal to the program and all that it started; one that is gone needs none.
fn signal(child: &std::process::Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}
