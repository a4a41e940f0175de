//! The programs that are measured: started alike, in the foreground and with a log, read in `/proc`, ended by process
//! id.

use super::Result;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program; ended on drop.
pub struct Program {
    child: Child,
    log: PathBuf,
}

/// What a program has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Nanoseconds of CPU, all threads together.
    pub cpu: u64,
    /// Times that a thread went to sleep by itself.
    pub sleeps: u64,
    /// Resident memory in KiB.
    pub resident: u64,
}

impl Program {
    /// Starts `command`; what it prints goes to the file `log`. Its stdin stays open, for programs that end with it.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let out = File::create(&log)?;
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { child, log })
    }

    /// What it used since it was started.
    pub fn usage(&self) -> Usage {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let mut usage = Usage { resident: field(&folder.join("status"), "VmRSS:"), ..Usage::default() };
        for thread in fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
            let schedstat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            usage.cpu += schedstat.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            usage.sleeps += field(&thread.path().join("status"), "voluntary_ctxt_switches:");
        }
        usage
    }

    /// Waits until it has nothing to do.
    pub fn settle(&self) {
        let start = Instant::now();
        let mut before = self.usage().cpu;
        while start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(60));
            let now = self.usage().cpu;
            if now - before < 1_000_000 {
                return;
            }
            before = now;
        }
    }

    /// Says why it is not there any more, if so.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = said.trim_end().lines().rev().take(3).collect();
                Err(format!("it has ended ({status}): {}", last.into_iter().rev().collect::<Vec<_>>().join(" / "))
                    .into())
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            // fails only if it has just ended
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let start = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(3) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // the same
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of a file of `/proc` with one `Name: value` a line.
fn field(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
