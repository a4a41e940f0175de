//! Standard output and standard error of a job that runs: both are written aside ([`crate::port::writer`]), so that whoever
//! reads them holds up no frame, no answer and no end.
//!
//! A command that only prints something and ends has no need of that: what it prints must not be lost, so it writes
//! standard output itself and waits for its reader, as every tool does.

use super::style::{Label, Style};
use crate::error::{Error, Result};
use crate::port::writer::{Lost, Writer};
use rustix::fs::fstat;
use rustix::io::fcntl_dupfd_cloexec;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write, stderr, stdout};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long a print is waited for, to learn whether it succeeds.
const GLANCE: Duration = Duration::from_millis(200);
/// How long the end waits for a reader that goes on reading.
const AT_THE_END: Duration = Duration::from_secs(3);

struct Screen {
    out: Option<Arc<Writer>>,
    err: Arc<Writer>,
}

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// Has another thread write standard error and, with `all`, standard output.
///
/// # Errors
/// The system has no descriptors or threads left.
pub fn start(all: bool) -> Result<()> {
    let writer = |name: &str, stream: BorrowedFd<'_>| -> Result<Arc<Writer>> {
        let copy = fcntl_dupfd_cloexec(stream, 3).map_err(|errno| Error::system(name, &errno.into()))?;
        Writer::start(name, copy, Lost::Said).map(Arc::new)
    };
    let err = writer("zb-stderr", rustix::stdio::stderr())?;
    let out = match all {
        false => None,
        // One place, one order.
        true if are_one() => Some(err.clone()),
        true => Some(writer("zb-stdout", rustix::stdio::stdout())?),
    };
    // A second start, which there is none of, would change nothing.
    let _ = SCREEN.set(Screen { out, err });
    Ok(())
}

/// Whether both streams lead to the same terminal, pipe or file.
fn are_one() -> bool {
    match (fstat(rustix::stdio::stdout()), fstat(rustix::stdio::stderr())) {
        (Ok(out), Ok(err)) => (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino),
        _ => false,
    }
}

/// Says something on standard error.
pub fn say(text: &str) {
    match SCREEN.get() {
        Some(screen) => drop(screen.err.push(text.as_bytes())),
        // There is nowhere else to say that this failed.
        None => drop(stderr().lock().write_all(text.as_bytes())),
    }
}

/// Says what is wrong on standard error.
pub fn complain(label: Label, text: &dyn Display) {
    say(&Style::of(&stderr()).message(label, text));
}

/// Writes data to standard output. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// The stream's, as a run-time error, as far as it is known at once.
pub fn print(data: impl AsRef<[u8]>) -> Result<()> {
    let written = match SCREEN.get().and_then(|screen| screen.out.as_ref()) {
        Some(out) => {
            out.push(data.as_ref());
            out.flush(GLANCE);
            out.take_failure().map_or(Ok(()), Err)
        }
        None => {
            let mut stream = stdout().lock();
            stream.write_all(data.as_ref()).and_then(|()| stream.flush())
        }
    };
    match written {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(Error::system("standard output", &cause)),
        _ => Ok(()),
    }
}

/// Prints a line of a program. Waits for room as long as the reader goes on reading.
pub fn pass_on(line: &str) {
    match SCREEN.get().and_then(|screen| screen.out.as_ref()) {
        Some(out) => drop(out.push_patiently(line.as_bytes())),
        // A reader who has seen enough (`| head`) ends no bench; the log has it all.
        None => drop(print(line)),
    }
}

/// The next message begins a new line: a terminal shows the key of SIGINT as `^C` at its cursor.
pub fn begin_a_line() {
    match (stderr().is_terminal(), stdout().is_terminal()) {
        (true, _) => say("\n"),
        // A terminal that is gone shows nothing.
        (_, true) => drop(SCREEN.get().and_then(|screen| Some(screen.out.as_ref()?.push(b"\n")))),
        _ => {}
    }
}

/// Waits for queued output while it is read, and not for ever.
pub fn finish() {
    flush(AT_THE_END);
}

/// The same where the process has no time left.
pub fn finish_at_once() {
    flush(GLANCE);
}

fn flush(at_most: Duration) {
    if let Some(Screen { out, err }) = SCREEN.get() {
        out.iter().chain([err]).for_each(|stream| _ = stream.flush(at_most));
    }
}

/// Standard error, as the log writes it: a record in one call.
pub struct LogStream;

impl Write for LogStream {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match SCREEN.get() {
            Some(screen) => drop(screen.err.push(text)),
            None => stderr().lock().write_all(text)?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
