//! A program whose standard input and output are the line.
//!
//! It is started from its words, never by a shell unless the user wrote one, and in a process group of its own: so a
//! Ctrl-C at zbridge's terminal is zbridge's to handle, and what the program has started ends with it. Its standard
//! error is zbridge's.

use crate::config::command_words;
use crate::error::{Class, Error, Result};
use crate::port::descriptors;
use crate::rights;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Grace period between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);

/// A running program. Ended on drop.
pub struct Child(Option<std::process::Child>);

impl Child {
    /// Starts `command`. Returns the descriptors to read its output from, and to write its input to.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &str) -> Result<(Self, OwnedFd, OwnedFd)> {
        let words = command_words(command).unwrap_or_default();
        let Some((program, arguments)) = words.split_first() else {
            return Err(Error::usage(format!("exec:{command}: there is no program in it")));
        };
        if rights::current().is_some() {
            let what = format!("exec:{command}: a bridge in its sandbox starts no program");
            let hint = "name the port when the bridge starts, or start the bridge with --sandbox off";
            return Err(Error::new(Class::Permission, what).hint(hint));
        }
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
        let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
        // A group that is gone needs no signal.
        let _ = kill_process_group(group, Signal::TERM);
        if is_over(&mut child, group) {
            return;
        }
        // The switch's thread must not block. If no thread can be started, init reaps the program.
        let reaper = std::thread::Builder::new().name("zb-reaper".into());
        let reaped = reaper.spawn(move || {
            let start = Instant::now();
            while !is_over(&mut child, group) {
                if start.elapsed() >= GRACE {
                    let _ = kill_process_group(group, Signal::KILL);
                    let _ = child.wait();
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        drop(reaped);
    }
}

/// Whether the program and its whole process group have ended: as long as one process is left, the group's number is
/// not reused.
fn is_over(child: &mut std::process::Child, group: Pid) -> bool {
    !matches!(child.try_wait(), Ok(None)) && test_kill_process_group(group).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, read_to_string};
    use std::io::{BufRead, BufReader};

    /// Whether a process is there, and not only waited for.
    fn lives(pid: &str) -> bool {
        let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
    }

    /// Whether a process ignores SIGTERM: bit 14 of what proc(5) calls `SigIgn`.
    fn ignores_sigterm(pid: &str) -> bool {
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 << 14 != 0
    }

    #[test]
    fn what_a_program_leaves_behind_ends_too() {
        let script = r#"sh -c "(trap '' TERM; exec sleep 1000) & echo $!""#;
        let (mut child, input, _output) = Child::start(script).unwrap();
        ioctl_fionbio(&input, false).unwrap();
        let left = BufReader::new(File::from(input)).lines().next().unwrap().unwrap();
        // The program ends by itself; what it leaves does not heed SIGTERM, once it has said so.
        child.0.as_mut().unwrap().wait().unwrap();
        let start = Instant::now();
        while !ignores_sigterm(&left) {
            assert!(start.elapsed() < 20 * GRACE, "pid {left} is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(lives(&left));
        drop(child);
        let start = Instant::now();
        while lives(&left) {
            assert!(start.elapsed() < 20 * GRACE, "pid {left} lives");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
