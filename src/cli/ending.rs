//! `zbridge down` and `zbridge reload`: a bridge ends, or reads its file again.

use super::ask::connect;
use super::{Label, complain, print};
use crate::control::{Command, ReloadedInfo};
use crate::error::{Class, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a bridge, and the programs of a bench before it, may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether its process is gone.
const LOOK: Duration = Duration::from_millis(10);

/// Ends a bridge, and waits until it is gone: its name, paths and interfaces are free then.
///
/// # Errors
/// No bridge runs (class no-daemon); it does not end.
pub fn down(name: Option<&str>) -> Result<()> {
    let begun = Instant::now();
    let mut client = connect(name)?;
    let (name, pid) = (client.greeting().name.clone(), client.greeting().pid);
    client.request(Command::Down).map(|_: serde_json::Value| ())?;
    let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN)];
    // A signal that breaks it off only begins the second wait sooner.
    let _ = poll(&mut fds, Some(&patience));
    drop(client);
    let process = PathBuf::from(format!("/proc/{pid}"));
    while is_alive(&process) {
        if begun.elapsed() > PATIENCE {
            let what = format!("{name} was told to end, and after {} s has not", PATIENCE.as_secs());
            return Err(Error::new(Class::Runtime, what).hint(format!("its process is {pid}")));
        }
        sleep(LOOK);
    }
    Ok(())
}

/// Whether a process is there, and is not one that only its parent has not asked for its status yet.
fn is_alive(process: &std::path::Path) -> bool {
    let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The name in front of it may have any character.
    state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Has a bridge read its file again, and says what came of it.
///
/// # Errors
/// No bridge runs (class no-daemon); what is wrong with the file.
pub fn reload(name: Option<&str>, json: bool) -> Result<()> {
    let told: ReloadedInfo = connect(name)?.request(Command::Reload)?;
    told.warnings.iter().for_each(|warning| complain(Label::Warning, warning));
    print(if json { crate::control::print(&told) } else { format!("{}\n", told.summary()).into_bytes() })
}
